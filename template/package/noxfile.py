#!/usr/bin/env -S uv run --script
# /// script
# dependencies = ["filelock", "nox>=2025.5.1"]
# ///
"""Sessions of nox: `nox` checks; the others add tasks, run them, and update the package."""

import json
import logging
import os
import re
from pathlib import Path

import nox
from filelock import FileLock, Timeout

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

create = nox.virtualenv.VirtualEnv.create
held: list[FileLock] = []  # of the running session, unless its environment is kept


def create_alone(environment: nox.virtualenv.VirtualEnv) -> bool:
    """Create an environment, or wait until another nox has created, or needs it no more."""
    while held:
        held.pop().release()
    lock = FileLock(f"{environment.location}.lock")
    try:
        lock.acquire(blocking=False)
    except Timeout:
        logging.getLogger("nox").warning("Another nox uses %s: wait", lock.lock_file)
        lock.acquire()
    try:
        return create(environment)
    finally:
        if environment.reuse_existing:
            lock.release()
        else:
            held.append(lock)


nox.virtualenv.VirtualEnv.create = create_alone


def group(name: str) -> list[str]:
    """Return the requirements of a dependency group."""
    return nox.project.dependency_groups(PROJECT, name)


def editable() -> tuple[str, str]:
    """Return what installs this package as it stands, with what runs a model."""
    has_extra = "model" in PROJECT["project"].get("optional-dependencies", {})
    return "-e", ".[model]" if has_extra else "."


def find_workbench() -> tuple[str, str]:
    """Return where pip finds the workbench of this package, and when that has changed."""
    text = ANSWERS.read_text("utf-8") if ANSWERS.exists() else ""
    text = re.sub(r"\n +", " ", text)  # a long value continues in the next line
    answers = dict(re.findall(r"^(_\w+): ['\"]?(.+?)['\"]?$", text, re.MULTILINE))
    source = answers.get("_src_path", "").removeprefix("git+").replace("''", "'")
    folder = Path(source).expanduser()
    for short, host in (("gh:", "https://github.com/"), ("gl:", "https://gitlab.com/")):
        source = re.sub(f"^{short}", host, source)
    source = re.sub(r"^(\w+@[^:/]+):(?!//)", r"ssh://\1/", source)
    if folder.is_absolute():
        source = folder.as_uri()
    if ":" not in source:
        raise ValueError(
            f"_src_path in {ANSWERS} is {source!r}, seen from another folder: write the "
            "absolute path, or the URL, of the template there"
        )
    if "_commit" not in answers:  # made from a plain folder
        patterns = ("copier.yml", "workbench/**/*.*", "template/*/src/*/kit/*")
        files = [file for pattern in patterns for file in folder.glob(pattern)]
        changed = max((file.stat().st_mtime for file in files), default=0)
        return f"{source}/workbench", str(changed)
    # `git describe` writes a tag, or a tag, the commits since, and the last of these.
    revision = re.sub(r".+-\d+-g(?=[0-9a-f]{7,}$)", "", answers["_commit"])
    return f"git+{source}@{revision}#subdirectory=workbench", ""


def install_workbench(
    session: nox.Session, extra: str = "", *package: str, check: tuple[str, ...] = ()
) -> None:
    """Install the workbench, what an extra of it needs, and a package, unless all is there.

    Before the last two, a command of the workbench may check the arguments.
    """
    source, changed = find_workbench()
    wanted = [extra, *package]
    if package:
        wanted.append(Path("pyproject.toml").read_text("utf-8"))
    record = Path(session.virtualenv.location, "installed.json")
    with FileLock(f"{session.virtualenv.location}.lock"):
        installed = json.loads(record.read_text("utf-8")) if record.exists() else []
        if installed[:2] != [source, changed]:
            record.unlink(missing_ok=True)
            # No password is asked for, and a hook of git is for another repository.
            git = dict.fromkeys(("GIT_DIR", "GIT_INDEX_FILE", "GIT_WORK_TREE"))
            session.env.update(git, GIT_TERMINAL_PROMPT="0")
            again = {"uv": "--reinstall-package=fractal-workbench"}
            option = again.get(session.venv_backend, "--force-reinstall")
            try:
                session.install(option, f"fractal-workbench @ {source}")
            except nox.command.CommandFailed as error:
                raise ValueError(
                    f"No workbench at {source}. If the template has moved, write its place "
                    f"as _src_path into {ANSWERS}. If it lacks the _commit of that file, run "
                    "`git fetch --tags` in it, also with `--unshallow` if it is a shallow "
                    "clone, or write one that it has"
                ) from error
            installed = [source, changed]
            record.write_text(json.dumps(installed), "utf-8")
        if any(wanted) and installed[2:] != wanted:
            if check:
                session.run(*check)
            session.install(f"fractal-workbench[{extra}] @ {source}", *package)
            record.write_text(json.dumps([source, changed, *wanted]), "utf-8")


def workbench(session: nox.Session, extra: str, *package: str) -> None:
    """Run the command of the workbench that has the name of the session."""
    name, _, _ = session.name.partition("-")  # without the Python of `--force-python`
    arguments = (name.replace("_", "-"), *session.posargs)
    check = ("fractal-workbench", "--check-arguments", *arguments)
    try:
        install_workbench(session)
        if not {"-h", "--help"} & {*session.posargs}:
            install_workbench(session, extra, *package, check=check)
    except ValueError as error:
        session.error(str(error))
    session.run("fractal-workbench", *arguments)


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
    """Run all tests but those of workflows: `-- -k WORD` for some."""
    session.install("-e", ".", *group("test"))
    session.run("pytest", *session.posargs)


@nox.session(default=False, reuse_venv=True)
def workflow(session: nox.Session) -> None:
    """Test the workflows, here or by the `-- .../venv/bin/python` of a server."""
    conftest = Path("tests", "conftest.py")
    if not conftest.exists() or "--workflows" not in conftest.read_text("utf-8"):
        session.skip("tests/conftest.py has no fixture `run_workflow`")
    session.install("-e", ".", *group("test"))
    try:
        install_workbench(session, "run")
    except ValueError as error:
        session.error(str(error))
    # 5: there are none.
    command = ("pytest", "tests", "--workflows", *session.posargs)
    session.run(*command, success_codes=[0, 5])


@nox.session(default=False)
def format(session: nox.Session) -> None:
    """Repair style and formatting, as far as ruff can."""
    session.install(*group("lint"))
    session.run("ruff", "check", "--fix-only", *session.posargs)
    session.run("ruff", "format")


@nox.session(default=False, reuse_venv=True)
def manifest(session: nox.Session) -> None:
    """Regenerate the manifest; `-- --check` shows what would change."""
    try:
        install_workbench(session)
    except ValueError as error:
        session.warn(f"The workbench cannot be had: {error}")
    session.install("-e", ".")  # last: what it depends on decides
    session.run("python", PACKAGE / "dev" / "create_manifest.py", *session.posargs)


@nox.session(default=False, reuse_venv=True)
def new_task(session: nox.Session) -> None:
    """Add a task: `-- "Top Hat" --from skimage.morphology:white_tophat`, `-- --help`."""
    workbench(session, "new-task", "-e", ".")
    if not {"-h", "--help"} & {*session.posargs}:
        session.install("-e", ".")  # what a task depends on may be new
        session.run("python", PACKAGE / "dev" / "create_manifest.py")


@nox.session(default=False, reuse_venv=True)
def form(session: nox.Session) -> None:
    """Show the forms of the tasks in the web interface, as a page: `-- FILE.html`."""
    workbench(session, "form")


@nox.session(default=False, reuse_venv=True)
def docs(session: nox.Session) -> None:
    """Build a site about the tasks, with all their arguments: `-- FOLDER`."""
    workbench(session, "docs")


@nox.session(default=False)
def fetch_model(session: nox.Session) -> None:
    """Fetch a model, for machines without internet: `-- TASK MODEL`."""
    session.install(*editable())
    session.run("python", "-m", f"{PACKAGE.name}.kit.models", *session.posargs)


@nox.session(default=False, reuse_venv=True)
def run(session: nox.Session) -> None:
    """Run a workflow, and show what it did: `-- WORKFLOW.json --zarr-dir DIR`."""
    workbench(session, "run", *editable())


@nox.session(default=False, reuse_venv=True)
def demo(session: nox.Session) -> None:
    """Run the tasks on real cells, and show what they did: `-- FOLDER`, `-- --help`."""
    workbench(session, "demo", *editable())


@nox.session(default=False, reuse_venv=True)
def server(session: nox.Session) -> None:
    """Collect the wheel on a fractal-server, and run there: `-- WORKFLOW.json`."""
    workbench(session, "server")


@nox.session(default=False, reuse_venv=True)
def template(session: nox.Session) -> None:
    """Compare with the template: `-- diff`, `-- update`, `-- restore FILE`."""
    workbench(session, "template")
    if session.posargs == ["update"]:
        session.notify("manifest", posargs=[])


@nox.session(default=False)
def build(session: nox.Session) -> None:
    """Build the wheel into `dist`, beside those of other versions."""
    session.install("build")
    session.run("python", "-m", "build", "--wheel")


if __name__ == "__main__":
    nox.main()
