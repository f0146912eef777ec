"""Published packages: read as data, and installed after a confirmation.

Each gets an environment of its own, in the user's cache folder, for this workflow and for
those to come.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from copy import copy
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit
from urllib.request import url2pathname

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from ..kit import publish
from ..project import MANIFEST
from . import processes, rules

# What an installer generates, which depends on the Python that runs it.
SCRIPT = re.compile(r"(\.\./)*(bin|Scripts)/")
# Where a package is, seen from the interpreter that has it, and its version.
LOCATE = (
    "import importlib.metadata as m, importlib.util as u, sys; "
    "print(u.find_spec(sys.argv[1]).origin, m.version(sys.argv[1]), sep='\\n')"
)

# Whether the user agrees to what these lines say.
Agree = Callable[[Sequence[str]], bool]


class Release(NamedTuple):
    """A package that is not installed yet.

    Attributes:
        requirement: What was asked for.
        version: What that is, if it is known.
        python: The versions of Python that it is for.
        files: The names of its modules and data, with their checksums; none if it is still
            to be built.
        manifest: Its tasks.
    """

    requirement: Requirement
    version: str | None
    python: str
    files: str
    manifest: dict[str, Any]

    @property
    def folder(self) -> Path:
        """The folder of its environment."""
        return environment(self.requirement, self.version or "")

    @property
    def is_kept(self) -> bool:
        """Whether it is installed there."""
        file = self.folder / "installed"
        is_built = bool(self.files) and file.exists()
        return is_built and file.read_text("utf-8") == self.files + constraints()

    def describe(
        self, python: str = sys.executable, root: Path = Path()
    ) -> rules.Package:
        """Return the package as a workflow needs it."""
        return rules.Package(
            name=rules.normalise(self.requirement.name),
            version=self.version,
            root=root,
            python=python,
            manifest=rules.Manifest.model_validate(self.manifest),
        )

    def __str__(self) -> str:
        """Name the package and its source."""
        extras = f"[{','.join(sorted(self.requirement.extras))}]"
        name = self.requirement.name + (extras if self.requirement.extras else "")
        source = "the package index"
        if self.requirement.url:
            source = without_password(self.requirement.url)
            source += "" if self.files else ", which is built: that runs its code"
        return f"{' '.join(filter(None, [name, self.version]))}, from {source}"


def without_password(url: str) -> str:
    """Return an address without its password."""
    return re.sub("//[^/@]*@", "//", url)


def confirm(lines: Sequence[str], *, agreed: bool) -> bool:
    """List packages to install or build, and ask for confirmation.

    Args:
        lines: What it is.
        agreed: The user does, by `--yes`.
    """
    print("\nTo be installed, with what it depends on:", *lines, sep="\n  ", flush=True)
    if agreed:
        return True
    if not sys.stdin.isatty():
        return False
    try:
        answer = input("Only agree if you trust who publishes it. Install it? [y/N] ")
    except EOFError:
        return False
    return answer.strip().lower() in ("y", "yes")


def agree_to(releases: Iterable[Release], agree: Agree) -> None:
    """Ask before an installation; kept environments need no confirmation.

    Raises:
        WorkflowError: The user does not agree.
    """
    lines = [str(release) for release in releases if not release.is_kept]
    if lines and not agree([*dict.fromkeys(lines)]):
        raise rules.WorkflowError(
            "Nothing was installed, and nothing was run: answer y, or agree by --yes"
        )


def find_installed(wanted: Requirement, python: str) -> rules.Package:
    """Return a package of another interpreter."""
    name = rules.normalise(wanted.name)
    module = name.replace("-", "_")
    text = f"--env {wanted}={python}"
    if wanted.extras or wanted.url:
        raise rules.WorkflowError(f"{text}: it takes NAME, or NAME==VERSION")
    try:
        origin, version = run([python, "-I", "-c", LOCATE, module]).splitlines()
    except (OSError, rules.WorkflowError) as error:
        raise rules.WorkflowError(
            f"{text}: {name} is not installed there; name the Python of its environment"
        ) from error
    if not wanted.specifier.contains(version, prereleases=True):
        raise rules.WorkflowError(
            f"{text}: version {version} is installed there; name this one, or another Python"
        )
    return read_root(name, version, Path(origin).parent, python)


def read_root(name: str, version: str, root: Path, python: str) -> rules.Package:
    """Return a package that is installed somewhere."""
    manifest = rules.read_manifest(name, root)
    return rules.Package(
        name=name, version=version, root=root, python=python, manifest=manifest
    )


def find_releases(
    requirements: Mapping[str, Requirement], folder: Path, agree: Agree
) -> dict[str, Release | str]:
    """Return packages to install, or the reasons against them.

    Wheels are looked at, and what is in a folder; nothing is built. What a version is like
    is kept for later runs.

    Args:
        requirements: The packages.
        folder: Where packages may be unpacked.
        agree: Whether what only a build can tell of is built.
    """
    wanted = {str(item): item for item in requirements.values()}
    releases: dict[str, Release | str] = {}
    for text, requirement in wanted.items():
        try:
            if release := read_release(requirement) or read_source(requirement):
                releases[text] = release
        except rules.WorkflowError as error:
            releases[text] = error.reason
    unseen = [
        text for text in wanted if text not in releases and is_source(wanted[text])
    ]
    lines = [
        f"{without_password(text)}, which is built: that runs its code"
        for text in unseen
    ]
    if unseen and not agree(lines):
        for text in unseen:
            releases[text] = (
                f"{without_password(text)}: only a build, which runs its code, tells its "
                "tasks: agree to that (--yes, without --plan), or give a folder or a wheel"
            )
    missing = [wanted[text] for text in wanted if text not in releases]
    together, has_uv = folder / "together", bool(shutil.which("uv"))
    at_once = missing and not unseen and (has_uv or len(missing) > 1)
    done = unpack(missing, together) if at_once else None

    def look(number: int) -> Release | str:
        try:
            if done and done.returncode == 0:
                return keep(look_at(missing[number], together))
            # Alone, it does not share the fate of others.
            return keep(fetch(missing[number], folder / str(number)))
        except rules.WorkflowError as error:
            return str(error.reason)

    with ThreadPoolExecutor() as pool:
        looked = pool.map(look, range(len(missing)))
        releases |= dict(zip(map(str, missing), looked, strict=True))
    return {
        key: releases[str(requirement)] for key, requirement in requirements.items()
    }


def is_source(requirement: Requirement) -> bool:
    """Whether the package at the user's address has to be built."""
    address = urlsplit(requirement.url or "x.whl")
    is_folder = address.scheme == "file" and Path(url2pathname(address.path)).is_dir()
    return is_folder or "+" in address.scheme or not address.path.endswith(".whl")


def read_source(requirement: Requirement) -> Release | None:
    """Read a package in a folder, if its files are enough without a build."""
    address = urlsplit(requirement.url or "")
    if address.scheme != "file" or not is_source(requirement):
        return None
    parts = parse_qs(address.fragment).get("subdirectory", [""])
    folder = Path(url2pathname(address.path), *parts)
    if not folder.exists():
        raise rules.WorkflowError(f"{requirement}: there is no folder {folder}")
    try:
        text = (folder / "pyproject.toml").read_text("utf-8")
        project = tomllib.loads(text)["project"]
        name, version = project["name"], project.get("version")
        python = str(project.get("requires-python", ""))
    except (OSError, LookupError, TypeError, ValueError):
        return None
    if rules.normalise(name) != rules.normalise(requirement.name):
        raise rules.WorkflowError(f"no {requirement}: what is there is called {name}")
    module = rules.normalise(name).replace("-", "_")
    for root in (folder / "src" / module, folder / module):
        if (root / MANIFEST).exists():
            manifest = rules.read_manifest(str(requirement), root)
            return Release(
                requirement, version, python, "", manifest.model_dump(mode="json")
            )
    return None


def fetch(wanted: Requirement, folder: Path) -> Release:
    """Download and read a package; build it only after a confirmation."""
    done = unpack([wanted], folder)
    if done.returncode:  # whose errors we cannot explain
        done = unpack([wanted], folder, by_pip=True)
    if done.returncode:
        shown = without_password(str(wanted))
        raise rules.WorkflowError(f"no {shown}: {explain(wanted, done.stderr)}")
    return look_at(wanted, folder)


def unpack(
    requirements: Sequence[Requirement], folder: Path, *, by_pip: bool = False
) -> "subprocess.CompletedProcess[str]":
    """Unpack packages into a folder, for any Python, without dependencies.

    Of an index, only wheels: they are unpacked, and run nothing.
    """
    command = uv_install(requirements, sys.executable)
    if by_pip or not command:
        command = pip_install(requirements, sys.executable)
        command += ["--ignore-requires-python", "--no-compile"]
    if not any(map(is_source, requirements)):
        command += ["--only-binary", ":all:"]
    return subprocess.run(
        [*command, "--no-deps", "--target", str(folder)],
        capture_output=True,
        text=True,
        check=False,
        env=processes.own_environment(),
    )


def uv_install(requirements: Sequence[Requirement], python: str) -> list[str]:
    """Return the command by which uv installs packages; uv is faster, but optional."""
    if (uv := shutil.which("uv")) is None:
        return []
    # It would not see that what is at an address has changed.
    new = [
        f"--refresh-package={requirement.name}"
        for requirement in requirements
        if requirement.url
    ]
    options = ["--quiet", "--python", python, *new]
    return [uv, "pip", "install", *options, *map(str, requirements)]


def pip_install(requirements: Sequence[Requirement], python: str) -> list[str]:
    """Return the command by which pip installs packages."""
    return [python, "-I", "-m", "pip", "install", "--quiet", *map(str, requirements)]


def look_at(requirement: Requirement, folder: Path) -> Release:
    """Read the metadata and the manifest of an unpacked package."""
    name, shown = rules.normalise(requirement.name), without_password(str(requirement))
    distributions = metadata.distributions(name=name, path=[str(folder)])
    if (package := next(iter(distributions), None)) is None:
        raise rules.WorkflowError(f"{shown}: nothing of this name is installed")
    manifest = rules.read_manifest(shown, folder / name.replace("-", "_"))
    extras = {
        rules.normalise(e) for e in package.metadata.get_all("Provides-Extra", [])
    }
    if lacks := sorted({*map(rules.normalise, requirement.extras)} - extras):
        raise rules.WorkflowError(
            f"{shown}: version {package.version} has no extra {lacks}; "
            f"{publish.suggest(lacks[0], sorted(extras))}"
        )
    # Not those in which an installer says what it did, and when.
    files = [
        line
        for line in (package.read_text("RECORD") or "").splitlines()
        if not SCRIPT.match(line)
        and (".dist-info/" not in line or ".dist-info/METADATA," in line)
    ]
    python = package.metadata["Requires-Python"] or ""
    listing = "\n".join(sorted(files))
    return Release(
        requirement, package.version, python, listing, manifest.model_dump(mode="json")
    )


def read_release(requirement: Requirement) -> Release | None:
    """Return a version of a package from the records of earlier runs."""
    version = pinned(requirement)
    if version is None:
        return None
    try:
        text = (environment(requirement, version) / "release.json").read_text("utf-8")
        release = Release(requirement, *json.loads(text))
        is_whole = release.manifest.keys() == rules.Manifest.model_fields.keys()
    except (OSError, ValueError, TypeError):  # none, or half of one
        return None
    return release if is_whole else None  # else of an older workbench


def keep(release: Release) -> Release:
    """Record a package with a fixed version, for later runs."""
    if pinned(release.requirement) is not None:
        release.folder.mkdir(parents=True, exist_ok=True)
        file = release.folder / "release.json"
        file.write_text(json.dumps(release[1:]), "utf-8")
    return release


def pinned(requirement: Requirement) -> str | None:
    """Return the one version that a requirement allows, if there is one."""
    match = re.fullmatch(r"==([^*]+)", str(requirement.specifier))
    return match[1] if match and not requirement.url else None


def environment(requirement: Requirement, version: str) -> Path:
    """Return the folder of a package's environment."""
    extras = "".join(f"+{extra}" for extra in sorted(requirement.extras))
    running = f"python{sys.version_info.major}.{sys.version_info.minor}"
    return private_folder() / f"{requirement.name}{extras}-{version}-{running}"


def private_folder() -> Path:
    """Return the folder of environments; reject one that others can change.

    Raises:
        WorkflowError: Others can change it, or the user has no folder of a cache.
    """
    try:
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    except RuntimeError as error:
        raise rules.WorkflowError(
            "XDG_CACHE_HOME: there is no home folder: set it to a folder of yours"
        ) from error
    folder = cache / "fractal-task-environments"
    if sys.platform != "win32" and folder.exists():
        status = folder.stat()
        if status.st_uid != os.getuid() or status.st_mode & 0o002:
            raise rules.WorkflowError(
                f"{folder}: others can change what is installed there: delete it, or set "
                "XDG_CACHE_HOME to a folder of yours"
            )
    return folder


def explain(wanted: Requirement, log: str) -> str:
    """Return pip's reason for a missing package."""
    if match := re.search(r"produced metadata for project name (\S+?)\.", log):
        return f"what is there is called {match[1]}"
    errors = [line for line in log.splitlines() if line.startswith("ERROR: ")]
    if not re.search(r"\(from versions: .*?\)", log):
        return errors[-1].removeprefix("ERROR: ") if errors else log[-500:]
    way_out = f"`--with '{wanted.name} @ URL'`, or `--env {wanted.name}=PYTHON`"
    command = [sys.executable, "-I", "-m", "pip", "index", "versions", wanted.name]
    done = subprocess.run(
        [*command, "--pre", "--ignore-requires-python"],
        capture_output=True,
        text=True,
        check=False,
        env=processes.own_environment(),
    )
    if not (listed := re.search("Available versions: (.*)", done.stdout)):
        return f"the index has no such package, or cannot be reached: if it is elsewhere, {way_out}"
    versions = listed[1].split(", ")
    if not (fitting := [*wanted.specifier.filter(versions, prereleases=True)]):
        return f"the newest versions are {', '.join(versions[:5])}"
    return f"{fitting[0]} has no wheel, and a build would run its code: if you trust it, {way_out}"


def install(release: Release) -> rules.Package:
    """Install a package, unless it is installed; return its folder."""
    if not release.files:
        release = build(release)
    folder = release.folder
    python = folder / "venv" / ("Scripts" if os.name == "nt" else "bin") / "python"
    folder.mkdir(parents=True, exist_ok=True)
    with publish.locked(folder, long=True) as lock:
        if not release.is_kept:
            shown = without_password(str(release.requirement))
            print(f"\ninstalling {shown}, once", flush=True)
            (folder / "installed").unlink(missing_ok=True)
            shutil.rmtree(folder / "venv", ignore_errors=True)
            fill(folder / "venv", python, release)
            lock.replace(folder / "installed", release.files + constraints())
    module = release.describe().name.replace("-", "_")
    origin, _ = run([str(python), "-I", "-c", LOCATE, module]).splitlines()
    return release.describe(str(python), Path(origin).parent)


def build(release: Release) -> Release:
    """Build the package in a folder; it must have the tasks that were checked."""
    with tempfile.TemporaryDirectory(prefix="fractal-packages-") as folder:
        built = fetch(release.requirement, Path(folder))
    if built.manifest != release.manifest:
        raise rules.WorkflowError(
            f"{release.requirement}: its build has another manifest than its folder: "
            "build a wheel, and give that"
        )
    return built


def constraints() -> str:
    """Return the constraints on the dependencies of a package."""
    files = [os.environ.get(f"{tool}_CONSTRAINT", "") for tool in ("UV", "PIP")]
    paths = [Path(file) for file in " ".join(files).split()]
    return "".join(path.read_text("utf-8") for path in paths if path.is_file())


def fill(venv: Path, python: Path, release: Release) -> None:
    """Create an environment, and install a package in it."""
    fits = SpecifierSet(release.python).contains(sys.version.split()[0])
    if uv := shutil.which("uv"):
        which = sys.executable if fits else release.python
        run([uv, "venv", "--quiet", "--python", which, str(venv)])
    elif fits:
        run([sys.executable, "-I", "-m", "venv", str(venv)])
    else:
        raise rules.WorkflowError(
            f"{release.requirement} needs Python {release.python}: install uv, which finds it"
        )
    wanted = copy(release.requirement)
    if not wanted.url:
        wanted.specifier = SpecifierSet(f"=={release.version}")
    run(uv_install([wanted], str(python)) or pip_install([wanted], str(python)))


def run(command: list[str]) -> str:
    """Run a command to its end; return its output."""
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        env=processes.own_environment(),
    )
    if done.returncode:
        output = (done.stderr or done.stdout).strip()
        raise rules.WorkflowError(f"{' '.join(command)} failed:\n{output}")
    return done.stdout.strip()
