"""Names that a new task can have."""

import ast
import builtins
import json
import re
import sys
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any

from ..cli import MAKES
from ..kit.publish import suggest
from ..project import project
from ..task_list import Entry, read_entries

FILES = Path(__file__).parents[1]
RESERVED = (FILES / "reserved_names.txt").read_text("utf-8").split()


class Rejected(Exception):
    """The task cannot be added."""


class Needed(Rejected):
    """The task cannot be added as it is, but perhaps with other options of the command.

    Attributes:
        problem: What is wrong.
        changes: Options that may help, most likely ones first; what is no option that
            begins with `--` is a NAME=VALUE of `--set`.
        is_choice: Whether all changes that help are to be shown.
        is_of_test: Whether the function only finds nothing in the images of the test.
    """

    def __init__(
        self,
        problem: str,
        changes: Sequence[Mapping[str, Any]],
        way: str,
        *,
        is_choice: bool = False,
        is_of_test: bool = False,
    ) -> None:
        """Say the problem, and the general way out of it."""
        super().__init__(f"{problem}\n{way}".strip())
        self.problem = problem
        self.changes = changes
        self.is_choice = is_choice
        self.is_of_test = is_of_test


def scaffold(makes: str | None, task_type: str | None, *, model: bool = False) -> str:
    """Return the folder of the template with a task to fill in.

    Raises:
        Rejected: No task of this type makes this.
    """
    if model and makes != "label":
        raise Rejected(
            "--model: the task that runs a model makes labels: --makes label."
        )
    types = MAKES[makes] if makes else [task_type or ""]
    task_type = task_type or types[0]
    if task_type not in types:
        raise Rejected(
            f"--makes {makes}: such a task is of the type {' or '.join(types)}, not "
            f"{task_type}."
        )
    if model:
        return "model"
    # Tasks that share a folder.
    names = {"points": "measurements", "non_parallel": "table"}
    name = task_type if makes in (None, "image") else str(makes)
    return names.get(name, name)


def module_name(name: str) -> str:
    """Return the name of the module and function of a task.

    Raises:
        Rejected: The name gives no identifier.
    """
    letters = unicodedata.normalize("NFKD", name)
    plain = "".join(letter for letter in letters if not unicodedata.combining(letter))
    words = re.sub(r"[\W_]+", " ", plain.lower()).split()
    # No module begins with a digit: that of `3D Stitch` is stitch_3d.
    first = next((n for n, word in enumerate(words) if not word[0].isdigit()), 0)
    module = "_".join(words[first:] + words[:first])
    if not name.isprintable() or '"' in name or "\\" in name:
        raise Rejected(
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
    raise Rejected(
        f"{name!r} {problem}. Once the task is there, its name in {project().task_list.name} may "
        "be any other."
    )


def module_problems(module: str, text: str, reserved: list[str]) -> Iterator[str]:
    """Yield reasons against this name of a module."""
    there = [project().root / module, project().root / "dev" / f"{module}.py"]
    here = {"", str(project().folder)}  # what lies there is not installed
    if module == project().root.name:
        yield f"{module} already means the package: choose another name for the task."
    elif taken := next((path for path in there if path.exists()), None):
        yield f"{taken.relative_to(project().folder)} exists: choose another name."
    elif (
        module in {*reserved, *sys.stdlib_module_names, *dir(builtins)}
        # A server finds the modules of a package before all others.
        or PathFinder.find_spec(module, [p for p in sys.path if p not in here])
        is not None
    ):
        yield (
            f"{module} already means a part of Python, of a dependency, or of what the "
            "template brings: choose another name."
        )
    elif defined_names(text).count(module) > 1:
        yield f"{module} already means what the task uses: choose another name."


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


def bound_names(text: str, *, imports: bool = True) -> list[str]:
    """Return all names that a module gives a meaning anywhere, with repetitions.

    Args:
        text: The module.
        imports: Whether to return imported names, too.
    """
    names: list[str] = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.alias):
            names += [node.asname or node.name] * imports
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.append(node.name)
        elif isinstance(node, ast.arg):
            names.append(node.arg)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.append(node.id)
    return names


def check_arguments(
    name: str, makes: str | None, task_type: str | None, *, model: bool
) -> None:
    """Check what needs no look at a function, nor at the template.

    Raises:
        Rejected: The task cannot have this name, or cannot be of this type.
    """
    module = module_name(name)
    kind = scaffold(makes, task_type, model=model) if makes or task_type else ""
    if "compound" not in kind:  # its modules have longer names
        for problem in module_problems(module, "", RESERVED):
            raise Rejected(problem)


# --- names that there are ---


def check_example(name: str) -> None:
    """Reject an example that the template does not have.

    Raises:
        Rejected: There is none of this name.
    """
    examples = json.loads((FILES / "checksums.json").read_text("utf-8"))
    if name not in examples:
        raise Rejected(f"--example {name}: no such example; {suggest(name, examples)}")


def find_task(name: str) -> Entry:
    """Return a task of the package by its name, or by that of its modules.

    Raises:
        Rejected: There is none of this name.
    """
    return find_entry(read_entries(project().task_list.read_text("utf-8")), name)


def find_entry(entries: list[Entry], name: str) -> Entry:
    """Return a task in a list of tasks by its name, or by that of its modules.

    Raises:
        Rejected: There is none of this name, or there are several.
    """
    for key in ("name", "stem"):
        fits = [e for e in entries if getattr(e, key) == name.strip()]
        if len(fits) > 1:
            raise Rejected(f"{name!r}: the task list has it {len(fits)} times.")
        if fits:
            return fits[0]
    names = [entry.name for entry in entries]
    raise Rejected(f"{name!r}: the package has no such task; {suggest(name, names)}")


def check_rename(old: str, new: str) -> Entry:
    """Return a task that is to be renamed.

    Raises:
        Rejected: There is no such task, or it cannot have the new name.
    """
    entry = find_task(old)
    module_name(new)
    entries = read_entries(project().task_list.read_text("utf-8"))
    if new.strip() == entry.name:
        raise Rejected(f"--rename: {entry.name!r} is the name of the task already.")
    if new.strip() in {known.name for known in entries}:
        raise Rejected(
            f"--rename: there is a task {new.strip()!r}: choose another name."
        )
    return entry
