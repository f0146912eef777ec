"""Checks of a manifest by the rules of the server and of the web form."""

import re
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..engine import rules
from ..kit.fractal import find_remedy
from .model import check_arguments

# What to do about a mistake, by what is said of it: the first that fits.
REMEDIES = {
    r"\[E05": "give it a default: the form needs none, fractal-task-tools does",
    r"\[E(03|06|08|1[012])": "take words: the form has this, fractal-task-tools has not",
    r"\[E07": "take None: the form has no blank text",
    r"\[E\d|JsonSchema|core schema": "give it one type, which JSON can hold",
    "'properties'": "let each argument have a name: no `*args`, and none before a `/`",
    "'TASK_LIST'|task_models|iterable": "list tasks of fractal_task_tools.task_models",
    r"executable|\.py'|empty name|StopI": "name a X.py that defines X",
    "docs_link": "DOCS_LINK begins with https://, or is None",
    "docs_|codec|directory": "take a text, or file:docs_info/X.md",
    "meta_": "take what JSON can hold, such as {'mem': 4000}",
    "should|twice|Extra|stores|required": "correct it, or leave it out",
}


def check_task(entry: dict[str, Any]) -> None:
    """Reject a task of a manifest that no server runs, or that the web form cannot show.

    Args:
        entry: What the manifest says of the task.

    Raises:
        ValueError: With what is wrong.
    """
    task = rules.Task.model_validate(entry)
    mistakes = [*rules.check_name(task.name), *rules.check_resources(None, task)]
    if mistakes:
        raise ValueError(
            "; ".join(text.removeprefix(f"{task.name}: ") for text in mistakes)
        )
    for part in ("non_parallel", "parallel"):
        if schema := entry.get(f"args_schema_{part}"):
            check_arguments(schema)


def find_mistakes(file: Path) -> Iterator[str]:
    """Yield what is wrong with each task of the manifest in a file."""
    try:
        manifest = rules.read_json(file)
        rules.Manifest.model_validate(manifest)
    except (OSError, ValueError) as error:
        yield f"{file}: {rules.explain(error)}"
        return
    for entry in manifest["task_list"]:
        try:
            check_task(entry)
        except ValueError as error:
            yield explain(error, entry["name"])


def explain(error: BaseException, place: str, package: Path | None = None) -> str:
    """Say where a mistake is, what is wrong, and what to do.

    Args:
        error: What was raised on the way to a manifest.
        place: The task, or the variable of the task list.
        package: The folder of the modules, whose lines are shown.
    """
    for frame in traceback.extract_tb(error.__traceback__):
        file = Path(frame.filename)
        if package and file.is_relative_to(package) and file.stem != "create_manifest":
            place += f" ({file.name}, line {frame.lineno})"
    if path := ".".join(reversed(getattr(error, "__notes__", []))):
        place += f": argument `{path}` or its default breaks the web form"
    reason = rules.explain(error) if isinstance(error, Exception) else str(error)
    text = f"{place}: {reason or repr(error)}"
    remedy = package and find_import(error, package)
    remedies = [remedy, *(REMEDIES[key] for key in REMEDIES if re.search(key, text))]
    return next((f"{text} ({remedy})" for remedy in remedies if remedy), text)


def find_import(error: BaseException, package: Path) -> str | None:
    """Return what to do about what cannot be imported: of the kit, or of another package."""
    kit = f"{package.name}.kit"
    name = getattr(error, "name", None) or ""
    is_missing = isinstance(error, ModuleNotFoundError)
    if is_missing and f"{name}.".startswith(f"{kit}."):
        end = "/__init__.py" if name == kit else ".py"
        return f"`nox -s template -- restore src/{name.replace('.', '/')}{end}` brings it back"
    if isinstance(error, ImportError) and f"{name}.".startswith(f"{kit}."):
        return (
            "the kit has no such name: take one that it lists, or update the template"
        )
    if is_missing and name.startswith(f"{package.name}."):
        return "name a X.py that defines X"
    return find_remedy(name) if is_missing else None
