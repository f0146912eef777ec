"""Compare a package with the template that it was made from, or update it."""

import difflib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
import warnings
from collections.abc import Iterable, Sequence
from contextlib import redirect_stderr, suppress
from functools import cache
from io import StringIO
from itertools import chain
from pathlib import Path
from typing import Any

import copier
import plumbum
import yaml
from copier.errors import CopierError, DirtyLocalWarning

from ..project import ANSWERS, git, project

MANIFEST = "__FRACTAL_MANIFEST__.json"

# These stay as the template has them, but for the task list. What else it has made is the
# owner's from then on; pyproject.toml, .gitignore, LICENSE and CITATION.cff are both's.
# AGENTS.md is the owner's once it is edited, or if it was there before the template's.
TEMPLATE_OWNED = (
    ".github/dependabot.yml",
    ".github/workflows/*.yml",
    ".pre-commit-config.yaml",
    "noxfile.py",
    "src/*/dev/*.py",
    "src/*/kit/**/*.py",
    "src/*/kit/ruff.toml",
    "tests/conftest.py",
    "tests/test_manifest.py",
)
UNTIL_EDITED = ("AGENTS.md",)

# Copier reads what git prints, quoted, and where git works: no setting of a user or
# a repository, and no hook, may change that.
GIT_SETTINGS = {
    "apply.ignoreWhitespace": "no",
    "apply.whitespace": "nowarn",
    "color.ui": "false",
    "commit.gpgSign": "false",
    "core.attributesFile": os.devnull,
    "core.fsmonitor": "false",
    "core.hooksPath": os.devnull,
    "core.quotePath": "true",
    "core.safecrlf": "false",
    "diff.mnemonicPrefix": "false",
    "diff.noprefix": "false",
    "diff.orderFile": os.devnull,
    "init.templateDir": "",
    "status.showUntrackedFiles": "normal",
}
GIT_PLACES = (
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_COMMON_DIR",
    "GIT_DIR",
    "GIT_EXTERNAL_DIFF",
    "GIT_INDEX_FILE",
    "GIT_NAMESPACE",
    "GIT_OBJECT_DIRECTORY",
    "GIT_PREFIX",
    "GIT_WORK_TREE",
)
CONFLICT = re.compile(rb"^(<{7}|>{7}) (before|after) updating\r?$", re.MULTILINE)

# Dependabot may be ahead of the template.
PINNED_ACTION = re.compile(r"@[0-9a-f]{40} # v\S+")

# Copier warns that a template is a shallow clone, and takes changes that are not committed:
# the package would record a version that exists nowhere.
warnings.filterwarnings("ignore", module="copier")
warnings.filterwarnings("error", category=DirtyLocalWarning)


class TemplateError(Exception):
    """The template cannot be read, or rejects an answer."""


def recorded_answers() -> dict[str, Any]:
    """Return the recorded answers of this package.

    Raises:
        TemplateError: The file is damaged.
    """
    remedy = f"take an older one by `git checkout COMMIT -- {ANSWERS}`"
    try:
        text = (project().folder / ANSWERS).read_text(encoding="utf-8")
        answers = yaml.safe_load(text)
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise TemplateError(f"{ANSWERS} is not YAML: {remedy}") from error
    if not isinstance(answers, dict) or "_src_path" not in answers:
        raise TemplateError(f"{ANSWERS} does not name the template: {remedy}")
    return answers


def check_tracked(names: Iterable[str]) -> None:
    """Reject an update of files whose content git may not have: it would be lost.

    Raises:
        TemplateError: Git does not track a file, or has been told to pass over its changes.
    """
    with suppress(OSError, subprocess.CalledProcessError):  # copier says so
        listed = git(project().folder, "ls-files", "-v", "-z").split("\0")
        states = {entry[2:]: entry[0] for entry in listed if entry}
        hidden = [
            n for n in names if not states.get(n, "?").isupper() or states[n] == "S"
        ]
        if hidden:
            raise TemplateError(
                "Git does not have these files as they are, and an update could lose your "
                "changes. Run `git update-index --no-assume-unchanged --no-skip-worktree "
                "FILE` or `git add --force FILE`, and commit:\n"
                + "\n".join(sorted(hidden))
            )


@cache
def use_plain_git() -> None:
    """Ignore the user's git settings, in this process and in copier."""
    count = int(os.environ.get("GIT_CONFIG_COUNT") or 0)
    new = {"GIT_CONFIG_COUNT": str(count + len(GIT_SETTINGS))}
    for number, (key, value) in enumerate(GIT_SETTINGS.items(), start=count):
        new |= {f"GIT_CONFIG_KEY_{number}": key, f"GIT_CONFIG_VALUE_{number}": value}
    # Copier's is a copy of when it was imported.
    for environment in (os.environ, plumbum.local.env):
        environment.update(new)
        for name in GIT_PLACES:
            environment.pop(name, "")


def render(folder: Path, *exclude: str, **answers: Any) -> Path:
    """Render the recorded version of the template into an empty folder.

    Args:
        folder: Where to.
        *exclude: Patterns of files to leave out.
        **answers: Answers in place of the recorded ones.

    Raises:
        TemplateError: The template cannot be reached, or rejects an answer.
    """
    use_plain_git()
    recorded = recorded_answers()
    known = {name: value for name, value in recorded.items() if name[0] != "_"}
    try:
        copier.run_copy(
            recorded["_src_path"],
            folder,
            data=known | answers,
            exclude=exclude,
            vcs_ref=recorded.get("_commit"),
            defaults=True,
            quiet=True,
            settings=copier.Settings(),
        )
    except DirtyLocalWarning as error:  # of a clone, where no version is recorded
        raise TemplateError(
            f"Cannot render {recorded['_src_path']}: it has changes that are not "
            f"committed, and {ANSWERS} names no version (_commit). Commit them first."
        ) from error
    except (CopierError, OSError, ValueError) as error:
        version = recorded.get("_commit", "")
        raise TemplateError(
            f"Cannot render {recorded['_src_path']} {version}: {last_line(error)}"
        ) from error
    return folder


def last_line(error: object) -> str:
    """Return the reason of an error; a failed git command has it in its last line.

    What git adds to a reason, it begins with an empty line.
    """
    printed = (str(error).strip() or repr(error)).partition("\n              | \n")[0]
    reason = printed.splitlines()[-1].rpartition("| ")[2].strip()
    if "must be run in a work tree" in reason:
        reason += (
            ": the template is a bare repository; write its path as an address, such as "
            "file:///data/template.git, for _src_path in .copier-answers.yml, and commit"
        )
    return reason


def newer_version() -> str | None:
    """Return the newest version of the template, unless this package has it.

    Raises:
        TemplateError: The template can not be reached.
    """
    if "_commit" not in recorded_answers():
        return None  # made from a plain folder, which has no versions
    command = [sys.executable, "-m", "copier", "check-update", "--output-format=json"]
    done = subprocess.run(
        [*command, project().folder], capture_output=True, text=True, check=False
    )
    try:
        answer = json.loads(done.stdout)
    except ValueError as error:
        raise TemplateError(
            f"The newest version of the template is unknown: {last_line(done.stderr)}"
        ) from error
    return answer["latest_version"] if answer["update_available"] else None


def kept_files() -> list[str]:
    """Return the template's files that the owner changed on purpose.

    Raises:
        TemplateError: The table is no list.
    """
    table = tomllib.loads(project().pyproject.read_text("utf-8"))
    mine = table.get("tool", {}).get("fractal-template", {}).get("mine", [])
    if not isinstance(mine, list):
        raise TemplateError(f"pyproject.toml: mine is {mine!r}, not a list of files")
    return mine


def drifted_files(fresh: Path) -> dict[str, list[str]]:
    """Return the changed files of the template, with their differences.

    Args:
        fresh: What the recorded version of the template renders.
    """
    mine = kept_files()
    paths = chain.from_iterable(fresh.glob(pattern) for pattern in TEMPLATE_OWNED)
    names = sorted(path.relative_to(fresh).as_posix() for path in paths)
    differences = {
        name: difference(fresh, name)
        for name in names
        if name not in mine and not name.endswith("task_list.py")
    }
    return {name: lines for name, lines in differences.items() if lines}


def difference(fresh: Path, name: str) -> list[str]:
    """Return how a file differs from what the template renders, in lines.

    Raises:
        TemplateError: The template has no such file.
    """
    if not (fresh / name).is_file():
        files = [path.relative_to(fresh) for path in fresh.rglob("*") if path.is_file()]
        known = {file.name: file.as_posix() for file in files}
        near = difflib.get_close_matches(Path(name).name, known, 1)
        hint = f"; did you mean {known[near[0]]}?" if near else ""
        raise TemplateError(f"{name}: the template has no such file{hint}")
    texts = [
        path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
        for path in (fresh / name, project().folder / name)
    ]
    theirs, ours = (PINNED_ACTION.sub("", text).splitlines(True) for text in texts)
    titles = f"{name} (the template's)", f"{name} (here)"
    return list(difflib.unified_diff(theirs, ours, *titles))


def read_changes() -> dict[str, str]:
    """Return what owners have to do after an update to each version, newest first.

    It is in the changelog of the recorded version of the template, which may have none.
    """
    with tempfile.TemporaryDirectory() as folder:
        try:
            render(Path(folder), scaffold="changes")
        except TemplateError:  # of 0.3.0 or older, where copier looks at each file
            render(Path(folder), "*", "!/CHANGELOG.md", scaffold="..")
        file = Path(folder, "CHANGELOG.md")
        text = file.read_text("utf-8") if file.exists() else ""
    changes = {}
    for section in re.split("^## ", text, flags=re.MULTILINE)[1:]:
        _, _, rest = section.partition("\n### After updating\n")
        if steps := re.split("^### ", rest, maxsplit=1, flags=re.MULTILINE)[0].strip():
            changes[section.splitlines()[0].strip()] = steps
    return changes


def check() -> int:
    """Show whether there is a newer template, and which files differ from the recorded one."""
    with tempfile.TemporaryDirectory() as folder:
        drifted = drifted_files(render(Path(folder)))
    for name in drifted:  # also if the newest version is unknown
        print(f"{name} {_state(project().folder / name)}", flush=True)
    version = newer_version()
    if version:
        print(f"There is a newer template, {version}: run `nox -s template -- update`.")
    if drifted:
        print(
            "An update keeps your changes of these, and does not bring back what is gone.\n"
            "  nox -s template -- diff             shows the difference\n"
            "  nox -s template -- restore FILE...  takes the template's\n"
            "To keep yours, name it in pyproject.toml: "
            '[tool.fractal-template] mine = ["noxfile.py"]'
        )
        return 4
    newest = ", and there is no newer one" if not version else ""
    if mine := kept_files():
        newest += f". Not compared, as they are yours: {', '.join(mine)}"
    print(f"The template's own files are as the template has them{newest}.")
    return 0


def _state(file: Path) -> str:
    """Say how a file of this package differs from the template's."""
    if not file.exists():
        return "is gone"
    marked = CONFLICT.search(file.read_bytes())
    return "has marks of a conflict" if marked else "has changed here"


def diff(names: Sequence[str]) -> None:
    """Show how files differ from the recorded version of the template.

    Args:
        names: Which files, also the owner's; if empty, those of the template.
    """
    with tempfile.TemporaryDirectory() as folder:
        fresh = render(Path(folder))
        for name in names or drifted_files(fresh):
            sys.stdout.writelines(difference(fresh, name))


def restore(names: Sequence[str]) -> None:
    """Take files, also the owner's, from the recorded version of the template.

    Raises:
        TemplateError: The template has no such file, or changes here are not committed.
    """
    with tempfile.TemporaryDirectory() as folder:
        fresh = render(Path(folder))
        drifted = [name for name in names if difference(fresh, name)]
        here = [name for name in drifted if (project().folder / name).exists()]
        changed = ""
        with suppress(OSError, subprocess.CalledProcessError):  # there is no git
            if here:
                changed = git(project().folder, "status", "--porcelain", "--", *here)
        if changed:
            marked = [
                n for n in here if CONFLICT.search((project().folder / n).read_bytes())
            ]
            raise TemplateError(
                "In a conflict, take the template's by "
                f"`git checkout --theirs {' '.join(marked)}`, or edit the files."
                if marked
                else f"Commit your changes first, or they are lost:\n{changed}"
            )
        for name in drifted:
            (project().folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(fresh / name, project().folder / name)
            print(f"{name} is as the template has it.")


def contents(folder: Path, names: Iterable[str] | None = None) -> dict[str, bytes]:
    """Return the contents of files in a folder; by default all but the manifest."""
    if names is None:
        paths = (path for path in folder.rglob("*") if path.name != MANIFEST)
        names = sorted(path.relative_to(folder).as_posix() for path in paths)
    return {
        name: (folder / name).read_bytes()
        for name in names
        if (folder / name).is_file()
    }


def update() -> None:
    """Bring this package to the newest version of the template.

    Raises:
        TemplateError: The template can not be reached, there are uncommitted changes, or
            what the owner has changed in the template's files is in conflict with it.
    """
    source = recorded_answers()["_src_path"]
    known = read_changes()
    with tempfile.TemporaryDirectory() as folder:
        before = contents(render(Path(folder, "before")))
        ours = contents(project().folder, [*before, *UNTIL_EDITED])
        check_tracked(ours)
        rejected = rejections()
        try:
            # Copier says there, three times, that a template has no tags.
            with redirect_stderr(StringIO()):
                copier.run_update(
                    project().folder, defaults=True, overwrite=True, quiet=True
                )
        except DirtyLocalWarning as error:
            raise TemplateError(
                f"No update from {source}: it has changes that are not committed. "
                "Commit them first."
            ) from error
        except (CopierError, OSError, ValueError) as error:
            undo = ""
            if contents(project().folder, ours) != ours:
                undo = "\nFiles have changed; `git checkout -- .` takes them back."
            raise TemplateError(
                f"No update from {source}: {last_line(error)}{undo}"
            ) from error
        after = contents(render(Path(folder, "after")))
    for name in UNTIL_EDITED:
        if name in after and ours.get(name) == before.get(name):
            (project().folder / name).write_bytes(after[name])
    print(f"The package is at version {recorded_answers()['_commit']} of its template.")
    now = contents(project().folder, {*ours, *after})
    for name in sorted({*ours, *now}):
        if name not in ours and now[name] == after[name]:
            print(f"  new: {name}")
        elif name in ours and name not in now:
            print(f"  deleted: {name}")
        elif name in ours and now[name] != ours[name]:
            print(f"  changed: {name}")
    left = [
        name
        for name, text in now.items()
        if text == ours.get(name)
        and after.get(name) not in (None, before.get(name), text)
    ]
    if left:
        print(
            "These are yours and stayed as they are; the template has newer ones:",
            *left,
            "  nox -s template -- diff FILE...     shows the difference",
            "  nox -s template -- restore FILE...  takes the template's",
            f"CHANGELOG.md of {source} says what is new.",
            sep="\n",
        )
    for version, steps in read_changes().items():
        if steps not in known.values():
            print(f"\nAfter updating to {version}:\n\n{steps}")
    marked, lost = find_conflicts(before, ours, after)
    lost |= {path.removesuffix(".rej") for path in rejections() - rejected}
    problems = ""
    if marked:
        # Without these, no session of nox runs.
        needed = " and ".join(sorted({"noxfile.py", "pyproject.toml"} & marked))
        first = f", those in {needed} first" * bool(needed)
        problems = (
            f"The update is written. Resolve its conflicts, which are marked{first}. Then run "
            "`nox -s manifest` and `nox`, and commit all files:\n"
        )
        problems += "\n".join(sorted(marked))
    if lost := lost - marked:
        problems += "\n" * bool(marked) + (
            "Lines of yours are no longer in these: compare by `git diff FILE`, and write "
            "them again, or take yours back by `git checkout -- FILE`. Then run "
            "`nox -s manifest`:\n"
        )
        problems += "\n".join(sorted(lost))
    if problems:
        raise TemplateError(problems)


def rejections() -> set[str]:
    """Return the `.rej` files of git, also ignored ones."""
    paths = set()
    for folder, names, files in os.walk(project().folder):
        # Environments and data are large.
        names[:] = [n for n in names if not n.startswith(".") or n == ".github"]
        names[:] = [name for name in names if not name.endswith(".zarr")]
        place = Path(folder).relative_to(project().folder)
        paths |= {(place / name).as_posix() for name in files if name.endswith(".rej")}
    return paths


def find_conflicts(
    before: dict[str, bytes], ours: dict[str, bytes], after: dict[str, bytes]
) -> tuple[set[str], set[str]]:
    """Find conflicts in the files themselves, independent of git's settings.

    Args:
        before: What the template had rendered.
        ours: What the owner had.
        after: What the template renders now.

    Returns:
        Files with marks of conflicts, and those that have lost a line of the owner.
    """
    now = contents(project().folder, {*ours, *after})
    marked = {
        name
        for name, text in now.items()
        if text != ours.get(name) and CONFLICT.search(text)
    }
    lost = set()
    for name, text in ours.items():
        own = lines_of(text) - lines_of(before.get(name, b""))
        if name != ANSWERS and not own <= lines_of(now.get(name, b"")):
            lost.add(name)
    return marked, lost


def lines_of(text: bytes) -> set[bytes]:
    """Return the lines of a file, whatever ends them."""
    return {line.rstrip() for line in text.splitlines()}


def act(action: str, files: Sequence[str]) -> int:
    """Run an action of the command line; return the exit code."""
    try:
        if action == "check":
            return check()
        if action == "restore":
            restore(files)
        elif action == "diff":
            diff(files)
        else:
            update()
    except TemplateError as error:
        print(error, file=sys.stderr)
        return 1
    return 0
