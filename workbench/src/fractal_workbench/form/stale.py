"""Generated texts that no longer describe their task.

`dev/generated.json` records, for each task that the template wrote, what its generated
documentation and test are about. A text that nobody has edited, although the task has
changed since, is stale.
"""

import ast
import json
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Any

from packaging.utils import canonicalize_name

from ..engine.rules import Step, Task, find_mistakes, without_nulls
from ..kit.publish import suggest
from ..project import MANIFEST
from ..task_list import Entry, read_entries

RECORD = "dev/generated.json"
# In the docstrings of functions that are to be replaced.
PLACEHOLDER = "replace this by"
# The kit's functions and models by which a task says, or writes, what it makes.
OUTPUT = (
    "derive_",
    "create_",
    "write_",
    "task_output",
    "init_task_output",
    "ImageUpdate",
)

Record = dict[str, str]  # checksums, by what they are of
Records = dict[str, Record]  # by the name that the modules of a task share


def checksum(content: object) -> str:
    """Return a short checksum of a text, or of lists and dicts of texts."""
    text = content if isinstance(content, str) else json.dumps(content, sort_keys=True)
    return sha256(text.encode()).hexdigest()[:16]


def text_files(package: Path, stem: str) -> dict[str, Path]:
    """Return the files of generated text of a task.

    Args:
        package: The folder of the modules.
        stem: The name that the modules of the task share.
    """
    return {
        "documentation": package / "dev" / "docs_info" / f"{stem}.md",
        "test": package.parents[1] / "tests" / f"test_{stem}.py",
    }


def describe(entry: Entry, modules: Iterable[tuple[str, str]]) -> Record:
    """Return checksums of the arguments and of the output of a task.

    Args:
        entry: The task in the task list.
        modules: Name and text of each module that it is made of.

    Raises:
        SyntaxError: A module is no Python.
    """
    keywords = entry.node.keywords if isinstance(entry.node, ast.Call) else []
    arguments: list[str] = []
    output = [ast.unparse(entry.node.func)] if isinstance(entry.node, ast.Call) else []
    output += [
        f"{keyword.arg}={ast.unparse(keyword.value)}"
        for keyword in keywords
        if keyword.arg in ("input_types", "output_types")
    ]
    for name, text in modules:
        tree = ast.parse(text)
        output += find_placeholders(tree)
        for node in tree.body:
            if isinstance(node, ast.FunctionDef) and node.name == name:
                arguments += ["(", *_arguments(node, tree)]
                output += sorted({*_output(node)})
    return {"arguments": checksum(arguments), "output": checksum(output)}


def find_placeholders(tree: ast.Module) -> list[str]:
    """Return the functions whose docstrings say that they are to be replaced."""
    return [
        node.name
        for node in tree.body
        if isinstance(node, ast.FunctionDef)
        and PLACEHOLDER in " ".join((ast.get_docstring(node) or "").split())
    ]


def _arguments(function: ast.FunctionDef, tree: ast.Module) -> Iterator[str]:
    """Yield each argument, and what its type means if the module defines that."""
    given = function.args
    names = [*given.posonlyargs, *given.args]
    defaults: list[ast.expr | None] = [None] * (len(names) - len(given.defaults))
    defaults += given.defaults
    names, defaults = names + given.kwonlyargs, defaults + given.kw_defaults
    used: set[str] = set()
    for argument, default in zip(names, defaults, strict=True):
        yield f"{ast.unparse(argument)}={default and ast.unparse(default)}"
        used |= {n.id for n in ast.walk(argument) if isinstance(n, ast.Name)}
    for node in tree.body:
        defined = getattr(node, "name", None)
        if isinstance(node, ast.Assign | ast.AnnAssign):
            target = node.targets[0] if isinstance(node, ast.Assign) else node.target
            defined = ast.unparse(target)
        if defined in used and not isinstance(node, ast.FunctionDef):
            if isinstance(node, ast.ClassDef):  # its docstring is no argument
                yield from (ast.unparse(n) for n in node.body if not _is_text(n))
            else:
                yield ast.unparse(node)


def _is_text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _output(function: ast.FunctionDef) -> Iterator[str]:
    """Yield what a task function calls to write and return its output."""
    for node in ast.walk(function):
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func).rpartition(".")[2]
            if name.startswith(OUTPUT):
                yield name
        elif (
            isinstance(node, ast.Dict)
            and node.keys
            and all(
                isinstance(part, ast.Constant) for part in [*node.keys, *node.values]
            )
        ):
            yield ast.unparse(node)


def read_records(package: Path) -> Records:
    """Return what was recorded of the generated tasks of a package.

    Raises:
        ValueError: The file is no record.
    """
    file = package / RECORD
    records = json.loads(file.read_text("utf-8")) if file.exists() else {}
    if not isinstance(records, dict) or not all(
        isinstance(record, dict) for record in records.values()
    ):
        raise ValueError("it has to have an object for each task")
    return records


def new_records(package: Path, files: Mapping[Path, str]) -> Records:
    """Return the records of a package, with those of the tasks that files add to it.

    Args:
        package: The folder of the modules.
        files: The texts of new and changed files, among them the task list.
    """
    records = read_records(package)
    for entry in read_entries(files[package / "dev" / "task_list.py"]):
        paths = [package / path for path in entry.executables]
        if paths and {*paths} <= files.keys():
            modules = [(path.stem, files[path]) for path in paths]
            texts = text_files(package, entry.stem)
            records[entry.stem] = describe(entry, modules) | {
                key: checksum(files[path])
                for key, path in texts.items()
                if path in files
            }
    return records


def show_records(records: Records) -> str:
    """Return the text of a file of records."""
    return json.dumps(records, indent=2, sort_keys=True) + "\n"


def find_stale(package: Path) -> Iterator[str]:
    """Yield texts and steps that do not fit their task, and what is still to write.

    Args:
        package: The folder of the modules.
    """
    yield from find_stale_steps(package)
    try:
        records = read_records(package)
    except ValueError as error:
        yield f"{RECORD}: {error}: take it back from git, or delete it"
        records = {}
    text = (package / "dev" / "task_list.py").read_text("utf-8")
    for entry in read_entries(text):
        try:
            modules = [
                (Path(path).stem, (package / path).read_text("utf-8"))
                for path in entry.executables
            ]
            trees = [(name, ast.parse(module)) for name, module in modules]
        except (OSError, ValueError, SyntaxError):  # which the manifest's check names
            continue
        for name, tree in trees:
            for function in find_placeholders(tree):
                yield (
                    f"{entry.name}: {function} in {name}.py is still the placeholder of the "
                    "template: replace it by your algorithm, and delete the words "
                    f"`{PLACEHOLDER} ...` from its docstring"
                )
        record = records.get(entry.stem, {})
        now = describe(entry, modules)
        changed = [key for key in now if key in record and now[key] != record[key]]
        if not changed:
            continue
        for key, file in text_files(package, entry.stem).items():
            if file.exists() and checksum(file.read_text("utf-8")) == record.get(key):
                yield (
                    f"{entry.name}: {file.relative_to(package.parents[1])} is as the template "
                    f"generated it, but the {' and '.join(changed)} of the task changed "
                    f"since: update it. If it still holds, delete "
                    f'"{key}" of "{entry.stem}" in {RECORD}'
                )
    with suppress(LookupError, OSError, TypeError, ValueError):  # its check names it
        manifest = json.loads((package / MANIFEST).read_text("utf-8"))
        for task in manifest["task_list"]:
            for name in undescribed(task):
                yield (
                    f"{task['name']}: {name} has no description, and the web form says so: "
                    "write it under `Args:` of the docstring"
                )


def undescribed(task: dict[str, Any]) -> Iterator[str]:
    """Yield arguments, and fields of models, without a description."""
    for kind in ("args_schema_non_parallel", "args_schema_parallel"):
        schema = task.get(kind) or {}
        models = {"": schema} | schema.get("$defs", {})
        for model, part in models.items():
            for name, argument in part.get("properties", {}).items():
                if "Missing description" in argument.get("description", ""):
                    yield f"{model}.{name}".removeprefix(".")


def find_stale_steps(package: Path) -> Iterator[str]:
    """Yield what is wrong with the steps of the package in its own workflow.

    Args:
        package: The folder of the modules, with a manifest that is up to date.
    """
    file, manifest = package / "workflow.json", package / MANIFEST
    project = tomllib.loads((package.parents[1] / "pyproject.toml").read_text("utf-8"))
    own = canonicalize_name(project["project"]["name"])
    try:
        workflow = json.loads(file.read_text("utf-8"))
        steps = [*map(Step.model_validate, workflow.get("data", workflow)["task_list"])]
        entries = json.loads(manifest.read_text("utf-8"))["task_list"]
        tasks = {entry["name"]: Task.model_validate(entry) for entry in entries}
    except (OSError, AttributeError, LookupError, TypeError, ValueError):
        return  # there is no workflow, or the manifest's check names what is wrong
    for number, step in enumerate(steps, start=1):
        name = step.task.name
        if canonicalize_name(step.task.pkg_name) != own:
            continue
        task = tasks.get(name)
        mistakes = (
            find_mistakes(without_nulls(step, task), task, runs=False)
            if task
            else [f"no task {name!r}; {suggest(name, tasks)}"]
        )
        for mistake in mistakes:
            yield f"{file.relative_to(package.parents[1])}: step {number}, {mistake}"
