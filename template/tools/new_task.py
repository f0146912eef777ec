# /// script
# dependencies = ["copier>=9.19", "pyyaml", "tomlkit>=0.13"]
# ///
"""Add a task to this package, or a worked example of its template.

    nox -s new_task -- "Deconvolve Image" --type parallel
    nox -s new_task -- --example gaussian_blur

A task comes as a module (two for a compound task) with a test, documentation and an entry
in the task list. It runs at once: replace what it does by your algorithm.
"""

import argparse
import ast
import builtins
import re
import sys
import tempfile
import unicodedata
from collections.abc import Iterable, Iterator
from contextlib import suppress
from importlib.machinery import PathFinder
from pathlib import Path

from merge import TASK_LIST, Refused, task_name, tasks, with_dependencies, with_tasks
from package import PACKAGE, PROJECT, PYPROJECT
from template import ANSWERS, TemplateError, recorded_answers, render

RESERVED = Path(__file__).with_name("reserved_names.txt").read_text("utf-8").split()
TYPES = {
    "parallel": "once for each image",
    "non_parallel": "once for all images",
    "compound": "once for all images, then for each item of the list that this returns",
    "converter_non_parallel": "once, to make the first images",
    "converter_compound": "once, then for each image that is to be made",
}

Files = dict[Path, str]


# --- what is added ---


def new_task(name: str, task_type: str, folder: Path) -> Files:
    """Return the new and changed files of a task that is to be filled.

    Args:
        name: Name of the task, as users will see it.
        task_type: One of `TYPES`.
        folder: An empty folder to render into.
    """
    name = name.strip()
    module = module_name(name)
    render(folder, scaffold=f"task/{task_type}", task_name=name, task_module=module)
    files = read(path for path in folder.rglob("*") if path.is_file())
    files = {PROJECT / path.relative_to(folder): text for path, text in files.items()}
    entry = files.pop(TASK_LIST)
    check(files, entry, RESERVED)
    return files | {TASK_LIST: with_tasks(entry)}


def example(name: str, folder: Path) -> Files:
    """Return the new and changed files of an example, as if it had been chosen at first.

    Args:
        name: Name of the example.
        folder: An empty folder to render into.
    """
    alone = render(folder / "alone", examples=[name])
    files = read(path for path in alone.rglob(f"*{name}*") if path.is_file())
    files = {PROJECT / path.relative_to(alone): text for path, text in files.items()}
    entry = (alone / TASK_LIST.relative_to(PROJECT)).read_text(encoding="utf-8")
    check(files, entry, [])

    chosen = [one for one in recorded_answers().get("examples", []) if one != name]
    together = render(folder / "together", examples=[*chosen, name])
    return files | {
        TASK_LIST: with_tasks(entry),
        PYPROJECT: with_dependencies((alone / PYPROJECT.name).read_text("utf-8")),
        # An update begins with the answers.
        ANSWERS: (together / ANSWERS.name).read_text(encoding="utf-8"),
    }


def read(paths: Iterable[Path]) -> Files:
    """Read files."""
    return {path: path.read_text(encoding="utf-8") for path in sorted(paths)}


def module_name(name: str) -> str:
    """Return what the module and function of a task are called.

    Raises:
        Refused: The name gives no identifier.
    """
    letters = unicodedata.normalize("NFKD", name)
    plain = "".join(letter for letter in letters if not unicodedata.combining(letter))
    words = re.sub(r"[\W_]+", " ", plain.lower()).split()
    # No module begins with a digit: that of `3D Stitch` is stitch_3d.
    first = next((n for n, word in enumerate(words) if not word[0].isdigit()), 0)
    module = "_".join(words[first:] + words[:first])
    if not name.isprintable() or '"' in name or "\\" in name:
        raise Refused(
            f"{name!r} is no name for a task: use one line of text without double "
            "quotes and backslashes."
        )
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,39}", module):
        problem = (
            "gives no name for a module: begin a word with a letter, and use letters "
            "from a to z, digits and blanks, at most 40"
        )
    elif module.startswith("test"):
        problem = "is the name of a test to pytest and ruff: begin with another word"
    else:
        return module
    raise Refused(
        f"{name!r} {problem}. Once the task is there, its name in {TASK_LIST.name} may "
        "be any other."
    )


# --- what must not be there yet ---


def check(files: Files, entry: str, reserved: list[str]) -> None:
    """Refuse what exists, or what would hide something else.

    Args:
        files: The new files.
        entry: Text of a task list with the new entry.
        reserved: Names that a module must not have.
    """
    problems = [
        f"{path.relative_to(PROJECT)} exists." for path in files if path.exists()
    ]
    names = map(task_name, tasks(TASK_LIST.read_text(encoding="utf-8")))
    for name in {*names} & {*map(task_name, tasks(entry))}:
        problems.append(f"{TASK_LIST.relative_to(PROJECT)} has a task {name!r}.")
    for path, text in files.items():
        if path.parent == PACKAGE:
            problems.extend(module_problems(path.stem, text, reserved))
    if not problems:  # or else a module may be no Python
        problems = [
            f"{path.relative_to(PROJECT)} is used, and is not here."
            for path in sorted(siblings(files) - files.keys())
            if not path.exists()
        ]
    if problems:
        raise Refused("\n".join(problems))


def module_problems(module: str, text: str, reserved: list[str]) -> Iterator[str]:
    """Yield why a module cannot have this name."""
    there = [PACKAGE / module, PACKAGE / "dev" / f"{module}.py"]
    if found := next((path for path in there if path.exists()), None):
        yield f"{found.relative_to(PROJECT)} exists: choose another name."
    elif (
        module in {*reserved, *sys.stdlib_module_names, *dir(builtins)}
        # A server finds the modules of a package before all others. The first path is
        # the folder of this tool.
        or PathFinder.find_spec(module, sys.path[1:]) is not None
    ):
        yield (
            f"{module} already means a part of Python, of a dependency, or of the "
            "package itself: choose another name."
        )
    elif defined_names(text).count(module) > 1:
        yield f"{module} already means what the task uses: choose another name."


def siblings(files: Files) -> set[Path]:
    """Return the modules of this package that new modules import."""
    kit = PACKAGE / "kit" / "__init__.py"
    homes: dict[str, str] = {}  # of what `kit` offers
    for node in ast.walk(ast.parse(kit.read_text("utf-8") if kit.exists() else "")):
        if isinstance(node, ast.ImportFrom) and node.level:
            homes |= {alias.name: f"kit.{node.module}" for alias in node.names}
    modules = set()
    for path, text in files.items():
        for node in ast.walk(ast.parse(text)) if path.parent == PACKAGE else ():
            if isinstance(node, ast.ImportFrom) and node.module:
                package, _, module = node.module.partition(".")
                if package == PACKAGE.name and module == "kit":
                    names = (alias.name for alias in node.names)
                    modules |= {homes.get(name, "kit.__init__") for name in names}
                elif package == PACKAGE.name:
                    modules.add(module)
    return {
        PACKAGE.joinpath(*module.split(".")).with_suffix(".py") for module in modules
    }


def defined_names(text: str) -> list[str]:
    """Return what a module imports and defines, with repetitions."""
    names: list[str] = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names += [alias.asname or alias.name for alias in node.names]
    for node in ast.parse(text).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.append(node.name)
        elif isinstance(node, ast.Assign):
            names += map(ast.unparse, node.targets)
    return names


# --- run ---


def write(files: Files) -> None:
    """Write files, all or none."""
    before = read(path for path in files if path.exists())
    new = {path: text for path, text in files.items() if before.get(path) != text}
    try:
        for path, text in new.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8", newline="\n")
    except BaseException as error:  # also Ctrl-C
        for path in new:
            with suppress(OSError):
                if path in before:
                    path.write_text(before[path], encoding="utf-8", newline="\n")
                else:
                    path.unlink(missing_ok=True)
        sys.exit(f"{error!r}\nNothing was written.")
    for path in new:
        print("changed" if path in before else "new    ", path.relative_to(PROJECT))


def main() -> None:
    """Add what the command line says."""
    parser = argparse.ArgumentParser(
        prog="nox -s new_task --",
        usage='%(prog)s "Name of the Task" --type TYPE\n       %(prog)s --example NAME',
        description=__doc__,
        epilog="Fractal runs a task of the type\n"
        + "\n".join(f"  {name:24}{when}" for name, when in TYPES.items()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("name", nargs="?", help='such as "Deconvolve Image"')
    parser.add_argument("--type", choices=TYPES, metavar="TYPE", help="see below")
    parser.add_argument("--example", metavar="NAME", help="such as gaussian_blur")
    arguments = parser.parse_args()
    if arguments.example and (arguments.name or arguments.type):
        parser.error("--example: an example has its name and type, give no other")
    if not arguments.example and not (arguments.name and arguments.type):
        parser.error(f"give a name, and one of these as --type: {', '.join(TYPES)}")

    try:
        with tempfile.TemporaryDirectory() as folder:
            if arguments.example:
                files = example(arguments.example, Path(folder))
            else:
                files = new_task(arguments.name, arguments.type, Path(folder))
    except (Refused, TemplateError, OSError, SyntaxError) as error:
        sys.exit(f"{error}\nNothing was written.")
    write(files)
    if arguments.example:
        print("README.md and tests/test_workflow.py are yours, and stay as they are.")
        print("Next: `nox`.")
    else:
        print(
            "Next: replace the functions whose docstrings say so, then run\n"
            "  nox -s format      after each change, so that its style is right\n"
            "  nox -s manifest    after each change of an argument or a docstring\n"
            "  nox                all checks"
        )


if __name__ == "__main__":
    main()
