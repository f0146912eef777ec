#!/usr/bin/env -S uv run --script
# /// script
# dependencies = ["nox>=2025.5.1", "uv"]
# ///
"""Sessions of nox: `nox` tests; the others build, show, compare and adopt."""

import logging
import os
import shutil
from pathlib import Path

import nox

PROJECT = nox.project.load_toml("pyproject.toml")

nox.needs_version = ">=2025.5.1"
nox.options.default_venv_backend = "uv|virtualenv"

# Of the shell around: they would be imported in place of what a session installs.
for name in {"PYTHONHOME", "PYTHONPATH", "PYTHONSTARTUP"} & {*os.environ}:
    value = os.environ.pop(name)
    logging.getLogger("nox").warning("%s=%s is ignored in all sessions", name, value)


def group(name: str) -> list[str]:
    """Return the requirements of a dependency group."""
    return nox.project.dependency_groups(PROJECT, name)


def install_workbench(session: nox.Session, *requirements: str) -> None:
    """Install the workbench as it stands here, with all that its commands need."""
    new = (
        ["--refresh-package=fractal-workbench"] if session.venv_backend == "uv" else []
    )
    extras = "adopt,demo,docs,form,new-task,run,server"
    session.install(*new, f"./workbench[{extras}]", *requirements)


@nox.session
def tests(session: nox.Session) -> None:
    """Render packages, and run what they contain: `-- -k WORD` for some of it."""
    install_workbench(session, *group("test"))
    # Some tests import the tasks: they are those of a package with all examples.
    package = Path(session.cache_dir, "my-fractal-tasks")
    shutil.rmtree(package, ignore_errors=True)
    session.run("python", "tests/rendering.py", package)
    session.install("-e", package)
    # One more than processors: tests also wait, for servers, browsers and locks.
    workers = f"--numprocesses={min(os.cpu_count() or 1, 3) + 1}"
    session.run("pytest", workers, "--dist=worksteal", *session.posargs)


@nox.session(default=False)
def lint(session: nox.Session) -> None:
    """Check style and formatting of this repository."""
    session.install(*group("lint"))
    session.run("ruff", "check", *session.posargs)
    session.run("ruff", "format", "--check")


@nox.session(default=False)
def manifest(session: nox.Session) -> None:
    """Regenerate the template of the manifest from the tasks."""
    session.install(*group("render"))
    install_workbench(session)
    session.run("python", "tests/manifest_template.py")


@nox.session(default=False)
def docs(session: nox.Session) -> None:
    """Build the documentation as a site, `site/index.html`; each warning is an error."""
    install_workbench(session, *group("docs"))
    package = Path(session.cache_dir, "docs", "my-fractal-tasks")
    shutil.rmtree(package.parent, ignore_errors=True)
    session.run("python", "tests/rendering.py", package)
    session.install("-e", package)
    shutil.rmtree("docs/reference/made", ignore_errors=True)
    options = ("-W", "--keep-going", "-E", "--quiet", "-d", package.parent / "doctrees")
    session.run("sphinx-build", *options, "docs", "site", *session.posargs)


@nox.session(default=False)
def demo(session: nox.Session) -> None:
    """Make a package, run its examples on real cells: `-- FOLDER --wells N`."""
    options = [*session.posargs]
    is_named = bool(options) and not options[0].startswith("-")
    made = Path(options.pop(0) if is_named else "demo/out").resolve()
    if is_named and made.exists():
        session.error(f"{made} exists: name a folder that does not")
    shutil.rmtree(made, ignore_errors=True)
    folder = Path(session.cache_dir, "demo").resolve()
    shutil.rmtree(folder, ignore_errors=True)
    session.install(*group("render"), "nox>=2025.5.1")
    package, template = folder / "my-fractal-tasks", folder / "template"
    session.run("python", "tests/rendering.py", package, template)
    session.chdir(package)
    session.run("nox", "-s", "demo", "--", made, *options)
    session.log("The package: %s", package)


@nox.session(default=False)
def server(session: nox.Session) -> None:
    """Run all examples on a real fractal-server: `-- --keep`, `-- --slurm`."""
    folder = Path(session.cache_dir, "server").resolve()
    shutil.rmtree(folder, ignore_errors=True)
    session.install(*group("render"), "nox>=2025.5.1", "numpy", "onnx", "tifffile")
    package, template = folder / "package", folder / "template"
    session.run("python", "tests/rendering.py", package, template)
    session.run("python", "tests/full_workflow.py", folder)
    session.chdir(package)
    session.run("nox", "-s", "server", "--", folder / "workflow.json", *session.posargs)


@nox.session(default=False)
def benchmark(session: nox.Session) -> None:
    """Compare the examples with short programs and with libraries: `-- --help`.

    `-- --scale` measures how time and size grow with chunks, wells, images and jobs.
    """
    folder = Path(session.cache_dir, "benchmark").resolve()
    shutil.rmtree(folder, ignore_errors=True)
    session.install(*group("render"))
    session.run("python", "tests/rendering.py", folder / "package")
    # As pip does: without it, the first start of each program would take twice as long.
    compiled = {"UV_COMPILE_BYTECODE": "1"}
    session.install("-e", folder / "package", env=compiled)
    if "--scale" in session.posargs:
        install_workbench(session)
        options = [option for option in session.posargs if option != "--scale"]
        session.run("python", "benchmark/scale.py", folder / "package", *options)
        return
    libraries = {
        "ngio": ("ngio>=1.1", "scikit-image"),
        "ome-zarr-converters-tools": ("ome-zarr-converters-tools>=1.1",),
        "fractal-tasks-core": ("fractal-tasks-core==2.1.*",),
    }
    for name, requirements in libraries.items():
        environment = folder / "libraries" / name
        session.run("uv", "venv", "--python", Path(session.bin, "python"), environment)
        install = ("uv", "pip", "install", "--quiet", "--python", environment)
        session.run(*install, *requirements, env=compiled)
    command = ("benchmark/run.py", folder, "--libraries", folder / "libraries")
    session.run("python", *command, *session.posargs)
    write = {"--write"} & {*session.posargs}
    session.run("python", "benchmark/startup.py", *write)


@nox.session(default=False)
def adopt(session: nox.Session) -> None:
    """Bring a package of the official template under this one: `-- FOLDER`."""
    install_workbench(session)
    session.run("fractal-workbench", "adopt", *session.posargs)


if __name__ == "__main__":
    nox.main()
