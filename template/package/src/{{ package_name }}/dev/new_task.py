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

import tomlkit

from .template import ANSWERS, PROJECT, TemplateError, recorded_answers, render

PACKAGE = Path(__file__).resolve().parents[1]
TASK_LIST = PACKAGE / "dev" / "task_list.py"
PYPROJECT = PROJECT / "pyproject.toml"
MARKER = "# Add your own tasks below this line."
MODELS = "fractal_task_tools.task_models"
TYPES = {
    "parallel": "once for each image",
    "non_parallel": "once for all images",
    "compound": "once for all images, then for each item of the list that this returns",
    "converter_non_parallel": "once, to make the first images",
    "converter_compound": "once, then for each image that is to be made",
}

Files = dict[Path, str]


class Refused(Exception):
    """What cannot be added."""


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
    render(
        folder,
        scaffold="task",
        task_name=name,
        task_type=task_type,
        task_module=module,
    )
    reserved = folder / "reserved_names.txt"
    files = read(
        path
        for path in [*folder.rglob("*.py"), *folder.rglob("*.md")]
        if path.name != TASK_LIST.name
    )
    files = {PROJECT / path.relative_to(folder): text for path, text in files.items()}
    entry = (folder / TASK_LIST.relative_to(PROJECT)).read_text(encoding="utf-8")
    check(files, entry, reserved.read_text(encoding="utf-8").split())
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
    module = re.sub(r"[\W_]+", "_", plain.lower()).strip("_")
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,39}", module):
        raise Refused(
            f"{name!r} gives no name for a module: begin with a letter, and use letters "
            "from a to z, digits and blanks, at most 40. Once the task is there, its "
            f"name in {TASK_LIST.name} may be any other."
        )
    if not name.isprintable() or '"' in name or "\\" in name:
        raise Refused(
            f"{name!r} is no name for a task: use one line of text without double "
            "quotes and backslashes."
        )
    return module


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
    if (PACKAGE / module).exists():
        yield f"{(PACKAGE / module).relative_to(PROJECT)} exists."
    elif (
        module in {*reserved, *sys.stdlib_module_names, *dir(builtins)}
        # A server finds the modules of a package before all others. The first path is
        # the folder that this is run in.
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
    return {
        PACKAGE / f"{node.module.removeprefix(f'{PACKAGE.name}.')}.py"
        for path, text in files.items()
        if path.parent == PACKAGE
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.ImportFrom)
        and node.module
        and node.module.startswith(f"{PACKAGE.name}.")
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


# --- the task list and the dependencies ---


def task_list(text: str) -> ast.Assign | ast.AnnAssign | None:
    """Return the statement that makes TASK_LIST."""
    for node in ast.parse(text, TASK_LIST.name).body:
        if isinstance(node, ast.Assign | ast.AnnAssign) and re.match(
            r"TASK_LIST\b", ast.unparse(node)
        ):
            return node
    return None


def tasks(text: str) -> list[ast.expr]:
    """Return the entries of a task list."""
    node = task_list(text)
    return node.value.elts if node and isinstance(node.value, ast.List) else []


def task_name(task: ast.expr) -> str:
    """Return the name in an entry of a task list."""
    for keyword in task.keywords if isinstance(task, ast.Call) else []:
        if keyword.arg == "name" and isinstance(keyword.value, ast.Constant):
            return str(keyword.value.value).strip()
    return ast.unparse(task)


def with_tasks(new: str) -> str:
    """Return the task list with the entries of another one at its end.

    Raises:
        Refused: The marker is gone.
    """
    text = TASK_LIST.read_text(encoding="utf-8")
    before, marker, after = text.partition(MARKER)
    own, bracket, rest = after.partition("\n]")
    for task in tasks(new):
        own += f"\n    {ast.get_source_segment(new, task)},"
    result = f"{before}{marker}{own}{bracket}{rest}"
    try:
        complete = len(tasks(result)) == len(tasks(text)) + len(tasks(new))
    except SyntaxError:
        complete = False
    if not complete:
        raise Refused(
            f"{TASK_LIST.relative_to(PROJECT)}: there is no place for a task. Write the "
            f"line\n    {MARKER}\nabove the last line of TASK_LIST, which is ]."
        )
    for task in tasks(new):
        if isinstance(task, ast.Call):
            result = with_model(result, ast.unparse(task.func))
    return result


def with_model(text: str, model: str) -> str:
    """Import the model of a task, and allow it in the list, if the owner removed it."""
    body = ast.parse(text).body
    imports = [n for n in body if isinstance(n, ast.ImportFrom) and n.module == MODELS]
    if not imports:
        raise Refused(
            f"{TASK_LIST.relative_to(PROJECT)}: import {model} from {MODELS}."
        )
    names = {ast.unparse(alias) for alias in imports[0].names}
    if model not in names:
        lines = "".join(f"    {name},\n" for name in sorted(names | {model}))
        old = ast.get_source_segment(text, imports[0]) or ""
        text = text.replace(old, f"from {MODELS} import (\n{lines})", 1)

    node = task_list(text)
    if isinstance(node, ast.AnnAssign):
        old = ast.get_source_segment(text, node.annotation) or ""
        union = set(re.findall(r"\w+Task\b", old))
        if union and model not in union:
            union.add(model)
            new = f"list[{' | '.join(sorted(union))}]"
            if len(f"TASK_LIST: {new} = [") > 88:
                lines = "\n    | ".join(sorted(union))
                new = f"list[\n    {lines}\n]"
            text = text.replace(old, new, 1)
    return text


def with_dependencies(other: str) -> str:
    """Return pyproject.toml with those dependencies of another one that it lacks."""
    document = tomlkit.parse(PYPROJECT.read_text(encoding="utf-8"))
    ours = document["project"]["dependencies"]
    for line in tomlkit.parse(other)["project"]["dependencies"]:
        names = [distribution(known) for known in ours]
        name = distribution(line)
        if name not in names:
            later = (index for index, known in enumerate(names) if known > name)
            ours.insert(next(later, len(names)), line)
    return tomlkit.dumps(document)


def distribution(requirement: str) -> str:
    """Return the normalised name in a requirement such as `scikit_image>=0.25`."""
    return re.sub(r"[-_.]+", "-", re.split(r"[^\w.-]", requirement.strip())[0]).lower()


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
    else:
        print("Replace the functions whose docstrings say so, then run `nox`.")


if __name__ == "__main__":
    main()
