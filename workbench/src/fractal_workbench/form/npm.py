"""Scripts from the npm registry, for a page that needs neither node nor a network."""

import base64
import functools
import json
import os
import posixpath
import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pooch


@functools.cache
def registry() -> str:
    """Return the npm registry in the settings of this machine."""
    if npm := shutil.which("npm"):
        command = [npm, "config", "get", "registry"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if (address := done.stdout.strip()).startswith("http"):
            return address.rstrip("/")
    file = Path.home() / ".npmrc"
    text = file.read_text("utf-8") if file.exists() else ""
    set_in = re.search(r"^\s*registry\s*=\s*(\S+)", text, re.MULTILINE)
    default = set_in[1] if set_in else "https://registry.npmjs.org"
    # npm takes it in capitals, too.
    environment = {name.lower(): value for name, value in os.environ.items()}
    return environment.get("npm_config_registry", default).rstrip("/")


def fetch(name: str, version: str, integrity: str) -> dict[str, str]:
    """Return the scripts and the license of a package, from the cache or the registry.

    Args:
        name: Name of the package.
        version: Its version.
        integrity: What npm has of it: the SHA-512 of its archive, in base 64.
    """
    address = registry()
    url = f"{address}/{name}/-/{name}-{version}.tgz"
    digest = base64.b64decode(integrity).hex()
    pooch.get_logger().setLevel("ERROR")
    try:
        file = pooch.retrieve(
            url,
            known_hash=f"sha512:{digest}",
            fname=f"{name}-{version}.tgz",
            path=pooch.os_cache("fractal-task-form"),
        )
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())
        sys.exit(
            f"{name} {version} cannot be had from the npm registry "
            f"{address}: {reason}\nIt is fetched once: connect to the network, or set "
            "npm_config_registry to a registry that can be reached"
        )
    texts = {}
    with tarfile.open(file) as archive:
        for member in archive:
            path = member.name.partition("/")[2]
            wanted = path.endswith((".js", ".json")) or path == "LICENSE"
            if wanted and (content := archive.extractfile(member)):
                texts[f"{name}/{path}"] = content.read().decode("utf-8")
    return texts


def bundle(texts: dict[str, str], *entries: str) -> str:
    """Bundle CommonJS modules and their dependencies into a script with `require`."""
    done: dict[str, str] = {}
    todo = [*entries]
    while todo:
        if (path := todo.pop()) in done:
            continue
        text, names = texts[path], {}
        if path.endswith(".json"):
            text = f"module.exports = {text}"
        for name in re.findall(r"require\([\"']([^\"']+)[\"']\)", text):
            folder = posixpath.dirname(path) if name.startswith(".") else ""
            target = posixpath.normpath(posixpath.join(folder, name))
            package = json.loads(texts.get(f"{target}/package.json", "{}"))
            main = posixpath.normpath(f"{target}/{package.get('main', 'index.js')}")
            options = (target, f"{target}.js", main, f"{main}.js")
            names[name] = next(option for option in options if option in texts)
            todo.append(names[name])
        head = f"{json.dumps(path)}: [{json.dumps(names)}, (module, exports, require) => {{"
        done[path] = f"{head}\n{text}\n}}]"
    modules = ",\n".join(done.values())
    return f"""const require = (() => {{
const modules = {{
{modules}
}};
const made = {{}};
const load = (path) => {{
  if (!made[path]) {{
    const [names, define] = modules[path];
    const module = made[path] = {{exports: {{}}}};
    define(module, module.exports, (name) => load(names[name]));
  }}
  return made[path].exports;
}};
return load;
}})();"""
