#!/usr/bin/env -S uv run --script
# /// script
# dependencies = ["nox>=2025.5.1"]
# ///
"""What can be done here: `nox` checks; the other sessions make, run and keep the package."""

import logging
import os
import re
import shutil
from pathlib import Path

import nox

PROJECT = nox.project.load_toml("pyproject.toml")
PACKAGE = Path("src", PROJECT["project"]["name"].replace("-", "_"))
ANSWERS = Path(".copier-answers.yml")

nox.needs_version = ">=2025.5.1"
nox.options.default_venv_backend = "uv|virtualenv"

# Of the shell around, such as a cluster's module: they would be imported in place of what a
# session installs.
for name in {"PYTHONHOME", "PYTHONPATH", "PYTHONSTARTUP"} & {*os.environ}:
    value = os.environ.pop(name)
    logging.getLogger("nox").warning("%s=%s is ignored in all sessions", name, value)


def group(name: str) -> list[str]:
    """Return the requirements of a dependency group."""
    return nox.project.dependency_groups(PROJECT, name)


def extra() -> str:
    """Return the extra of the package that has what runs a model, if there is one."""
    has_extra = "model" in PROJECT["project"].get("optional-dependencies", {})
    return "[model]" if has_extra else ""


def run_tool(session: nox.Session, name: str) -> None:
    """Run a tool of the template, at the version that this package has of it."""
    text = ANSWERS.read_text("utf-8") if ANSWERS.exists() else ""
    found = re.search(r"^_src_path: ['\"]?(.+?)['\"]?$", text, re.MULTILINE)
    source = found[1] if found else ""
    if ":" not in source and not Path(source).expanduser().is_absolute():
        session.error(
            f"_src_path in {ANSWERS} is {source!r}, seen from another folder: write the "
            "absolute path, or the URL, of the template there"
        )
    session.install("copier>=9.19")
    # No password is asked for, and a server that says nothing is left after a minute.
    session.env["GIT_TERMINAL_PROMPT"] = "0"
    session.env["GIT_HTTP_LOW_SPEED_LIMIT"] = "1"
    session.env["GIT_HTTP_LOW_SPEED_TIME"] = "60"
    # A hook of git would have copier work in the repository that it is for.
    session.env.update(dict.fromkeys(("GIT_DIR", "GIT_INDEX_FILE", "GIT_WORK_TREE")))
    tools = Path(".nox", "tools")
    shutil.rmtree(tools, ignore_errors=True)
    tools.mkdir(parents=True)  # the path of the answers begins there
    said = session.run(
        *("copier", "recopy", "--quiet", "--defaults", "--overwrite", tools),
        *("--vcs-ref=:current:", "--data=scaffold=tools"),
        f"--answers-file=../../{ANSWERS}",
        log=False,
        silent=True,
        success_codes=range(256),
    )
    if not (tools / f"{name}.py").exists():
        lines = said.splitlines() or [f"it has no {name}.py"]
        reason = next((line for line in lines if "fatal: " in line), lines[-1])
        session.error(
            f"No template at {source}: {re.split('fatal: |Error: ', reason)[-1]}\n"
            f"If it has moved, write where it is now as _src_path into {ANSWERS}. If it "
            "lacks the _commit of that file, run `git fetch --tags` in it, also with "
            "`--unshallow` if it is a shallow clone, or write one that it has"
        )
    session.install_and_run_script(tools / f"{name}.py", *session.posargs)


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
    """Run the tests, one of which checks the manifest: `-- -k WORD` for some."""
    session.install("-e", ".", *group("test"))
    session.run("pytest", *session.posargs)


@nox.session(default=False)
def format(session: nox.Session) -> None:
    """Repair style and formatting, as far as ruff can."""
    session.install(*group("lint"))
    session.run("ruff", "check", "--fix-only", *session.posargs)
    session.run("ruff", "format")


@nox.session(default=False)
def new_task(session: nox.Session) -> None:
    """Add a task: `-- "Top Hat" --from skimage.morphology:white_tophat`, `-- --help`."""
    session.install("-e", ".")
    run_tool(session, "new_task")
    if {"-h", "--help"} & {*session.posargs}:
        return
    session.install("-e", ".")  # what an added example depends on
    session.run("python", PACKAGE / "dev" / "create_manifest.py")


@nox.session(default=False)
def form(session: nox.Session) -> None:
    """Show the forms of the tasks in the web interface, as a page: `-- FILE.html`."""
    run_tool(session, "form")


@nox.session(default=False)
def manifest(session: nox.Session) -> None:
    """Regenerate the manifest; `-- --check` shows what would change."""
    session.install("-e", ".")
    session.run("python", PACKAGE / "dev" / "create_manifest.py", *session.posargs)


@nox.session(default=False)
def fetch_model(session: nox.Session) -> None:
    """Fetch a model, for machines without internet: `-- TASK MODEL`."""
    session.install("-e", f".{extra()}")
    session.run("python", "-m", f"{PACKAGE.name}.kit.models", *session.posargs)


@nox.session(default=False)
def run(session: nox.Session) -> None:
    """Run a workflow, and show what it did: `-- WORKFLOW.json --zarr-dir DIR`."""
    session.install("-e", f".{extra()}")
    run_tool(session, "run")


@nox.session(default=False)
def demo(session: nox.Session) -> None:
    """Run the tasks on real cells, and show what they did: `-- FOLDER`, `-- --help`."""
    session.install("-e", f".{extra()}")
    run_tool(session, "demo")


@nox.session(default=False)
def server(session: nox.Session) -> None:
    """Collect the wheel on a fractal-server, and run there: `-- WORKFLOW.json`."""
    # The server runs the tasks in an environment of its own, as does this session.
    session.install("-e", ".", "--no-deps")
    run_tool(session, "server")


@nox.session(default=False)
def selftest(session: nox.Session) -> None:
    """Test the workflows where a server has the package: `-- .../venv/bin/python`."""
    if len(session.posargs) != 1 or not Path(*session.posargs).is_file():
        session.error(
            "name the interpreter of the environment that the server has made"
        )
    session.install("-e", ".", *group("test"))
    session.run("pytest", f"--collected={Path(*session.posargs).absolute()}")


@nox.session(default=False)
def template(session: nox.Session) -> None:
    """Compare with the template: `-- diff`, `-- update`, `-- restore FILE`."""
    run_tool(session, "template")
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
