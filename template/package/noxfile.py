#!/usr/bin/env -S uv run --script
# /// script
# dependencies = ["nox>=2025.5.1"]
# ///
"""The verbs of this package: `nox` runs the checks, `nox --list` shows the rest."""

import shutil
from pathlib import Path

import nox

PROJECT = nox.project.load_toml("pyproject.toml")
PACKAGE = Path("src", PROJECT["project"]["name"].replace("-", "_"))

nox.needs_version = ">=2025.5.1"
nox.options.default_venv_backend = "uv|virtualenv"


def group(name: str) -> list[str]:
    """Return the requirements of a dependency group."""
    return nox.project.dependency_groups(PROJECT, name)


@nox.session
def lint(session: nox.Session) -> None:
    """Check style and formatting."""
    session.install(*group("lint"))
    session.run("ruff", "check", *session.posargs)
    session.run("ruff", "format", "--check")


@nox.session
def types(session: nox.Session) -> None:
    """Check the types."""
    session.install("-e", ".", *group("types"))
    session.run("mypy", *session.posargs)


@nox.session
def tests(session: nox.Session) -> None:
    """Run the tests; one of them checks that the manifest is up to date."""
    session.install("-e", ".", *group("test"))
    session.run("pytest", *session.posargs)


@nox.session(default=False)
def manifest(session: nox.Session) -> None:
    """Regenerate the manifest; `-- --check` compares instead and shows the difference."""
    session.install("-e", ".")
    session.run("python", PACKAGE / "dev" / "create_manifest.py", *session.posargs)


@nox.session(default=False)
def new_task(session: nox.Session) -> None:
    """Add a task: `-- "Deconvolve Image" --type parallel`; `-- --help` says more."""
    session.install("-e", ".", *group("template"))
    session.run("python", "-m", f"{PACKAGE.name}.dev.new_task", *session.posargs)
    session.install("-e", ".")  # what an added example depends on
    session.run("python", PACKAGE / "dev" / "create_manifest.py")


@nox.session(default=False)
def server(session: nox.Session) -> None:
    """Collect the wheel on a real fractal-server; `-- WORKFLOW.json` runs it there."""
    # The server runs the tasks in an environment of its own, as does this session.
    session.install("-e", ".", "--no-deps")
    session.install(*group("server"))
    session.run("python", "-m", f"{PACKAGE.name}.dev.run_on_server", *session.posargs)


@nox.session(default=False)
def template(session: nox.Session) -> None:
    """Compare with the template, newer or not; `-- diff`, `-- update`, `-- restore FILE`."""
    session.install(*group("template"))
    # By path: importing the package may need what is not installed here.
    session.run("python", PACKAGE / "dev" / "template.py", *session.posargs)
    if session.posargs == ["update"]:
        session.notify("manifest", posargs=[])


@nox.session(default=False)
def build(session: nox.Session) -> None:
    """Build the wheel into `dist`."""
    shutil.rmtree("dist", ignore_errors=True)
    session.install("build")
    session.run("python", "-m", "build", "--wheel")


if __name__ == "__main__":
    nox.main()
