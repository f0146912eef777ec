"""Render the template, and make environments for what was rendered.

As a script: render the package with all examples into the folder that is given. If its
tools will be needed, give a second one, for the template to stay in.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

# An inherited GIT_INDEX_FILE, as in a git hook, would have copier write into this repository.
for variable in [name for name in os.environ if name.startswith("GIT_")]:
    del os.environ[variable]
os.environ |= {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
# Tests run on the interpreters that are there.
os.environ["UV_PYTHON_DOWNLOADS"] = "never"
# Without bytecode, each process of a test would spend seconds on compiling what it imports.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

import copier  # noqa: E402
import jinja2  # noqa: E402

ROOT = Path(__file__).parents[1]
SETTINGS = yaml.safe_load((ROOT / "copier.yml").read_text(encoding="utf-8"))
QUESTIONS = {
    name: details
    for name, details in SETTINGS.items()
    if not name.startswith("_")
    and details.get("when") is None
    and details.get("ask", True)
}
EXAMPLES = QUESTIONS["examples"]["default"]

Render = Callable[..., Path]
Shared = Callable[[str, Callable[[Path], None]], Path]


compile_template = jinja2.Environment.compile
compiled: dict[Any, Any] = {}


def compile_once(environment: jinja2.Environment, source: Any, *where: Any) -> Any:
    """Compile a Jinja text: copier has the same ones compiled for each file that it renders."""
    key = (environment.lexer, source, where)
    if key not in compiled:
        compiled[key] = compile_template(environment, source, *where)
    return compiled[key]


jinja2.Environment.compile = compile_once


def snapshot(folder: Path) -> Path:
    """Copy the template without its git history: rendering from git takes three times as long."""
    junk = shutil.ignore_patterns("__pycache__", ".*_cache")
    for name in ("template", "workbench"):
        shutil.copytree(ROOT / name, folder / name, ignore=junk)
    shutil.copy(ROOT / "copier.yml", folder)
    return folder


def render(template: Path, package: Path, **answers: Any) -> Path:
    """Render a package; copier itself would ignore an answer without a question."""
    if unknown := answers.keys() - {*QUESTIONS, "kit", "tiff_readers"}:
        raise ValueError(f"copier.yml has no question {sorted(unknown)}")
    copier.run_copy(
        str(template),
        package,
        data={"project_name": "my-fractal-tasks"} | answers,  # else that of the folder
        defaults=True,
        quiet=True,
        settings=copier.Settings(),
    )
    return package


def import_folder(package: Path) -> Path:
    """Return the folder with the modules of a rendered package."""
    (folder,) = (package / "src").iterdir()
    return folder


def run(*command: str | Path, **options: Any) -> str:
    """Run a command, and return what it printed; the error of a failed one shows it."""
    done = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
        **options,
    )
    if done.returncode != 0:
        raise RuntimeError(f"{command} exited {done.returncode}:\n{done.stdout}")
    return done.stdout


def workbench(*arguments: str | Path, **options: Any) -> str:
    """Run a command of the workbench that is installed beside the tests."""
    return run(sys.executable, "-m", "fractal_workbench", *arguments, **options)


def make_environment(folder: Path, *requirements: str | Path, python: str) -> Path:
    """Make a virtual environment, and return its interpreter."""
    run("uv", "venv", "--quiet", "--python", python, folder)
    interpreter = folder / "bin" / "python"
    options = ("--quiet", "--refresh-package", "fractal-workbench", "--python")
    run("uv", "pip", "install", *options, interpreter, *requirements)
    return interpreter


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        template = snapshot(Path(*sys.argv[2:] or [folder, "template"]))
        render(template, Path(sys.argv[1]))
