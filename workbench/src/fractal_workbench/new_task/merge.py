"""Add a task to the owner's files: the task list and the dependencies."""

import ast
import re
from typing import Any

import tomlkit

from ..project import project
from ..task_list import find_assignment, read_entries
from .names import Rejected

MARKER = "# Add your own tasks below this line."
MODELS = "fractal_task_tools.task_models"


def with_tasks(new: str) -> str:
    """Return the task list with the entries of another list at its end.

    Raises:
        Rejected: The marker is gone.
    """
    text = project().task_list.read_text(encoding="utf-8")
    before, marker, after = text.partition(MARKER)
    own, bracket, rest = after.partition("\n]")
    entries = read_entries(new)
    for entry in entries:
        own += f"\n    {ast.get_source_segment(new, entry.node)},"
    result = f"{before}{marker}{own}{bracket}{rest}"
    try:
        known = [*read_entries(text), *entries]
        complete = len(read_entries(result)) == len(known)
    except SyntaxError:
        complete = False
    if not complete:
        raise Rejected(
            f"{project().task_list.relative_to(project().folder)}: there is no place for a task. Write the "
            f"line\n    {MARKER}\nabove the last line of TASK_LIST, which is ]."
        )
    for entry in entries:
        if isinstance(entry.node, ast.Call):
            result = with_model(result, ast.unparse(entry.node.func))
    return result


def with_model(text: str, model: str) -> str:
    """Import the model of a task, and allow it in the list, if the owner removed it."""
    body = ast.parse(text).body
    imports = [n for n in body if isinstance(n, ast.ImportFrom) and n.module == MODELS]
    if not imports:
        raise Rejected(
            f"{project().task_list.relative_to(project().folder)}: import {model} from {MODELS}."
        )
    names = {ast.unparse(alias) for alias in imports[0].names}
    if model not in names:
        lines = "".join(f"    {name},\n" for name in sorted(names | {model}))
        old = ast.get_source_segment(text, imports[0]) or ""
        text = text.replace(old, f"from {MODELS} import (\n{lines})", 1)

    node = find_assignment(text)
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


OWN_DEPENDENCIES = "  # Add your own below this line.\n"
# Lists of requirements in a pyproject.toml.
REQUIREMENTS = (
    ("project", "dependencies"),
    ("project", "optional-dependencies", "model"),
    ("dependency-groups", "test"),
    ("dependency-groups", "types"),
)


def with_dependencies(text: str, requirements: str) -> str:
    """Return a pyproject.toml with those dependencies of another one that it lacks."""
    # What is appended to a list stands below its last comment.
    has_own = f"{OWN_DEPENDENCIES}]" not in text
    document: Any = tomlkit.parse(text.replace(f"{OWN_DEPENDENCIES}]", "]"))
    theirs: Any = tomlkit.parse(requirements)
    for *tables, last in REQUIREMENTS:
        wanted: Any = theirs
        for key in (*tables, last):
            wanted = wanted.get(key, {})
        if not wanted:
            continue
        table, source = document, theirs
        for key in tables:
            source = source[key]
            if key not in table:
                table[key] = source  # with its comments
            table = table[key]
        ours = table.setdefault(last, [])
        for line in filter(lambda line: isinstance(line, str), wanted):
            names = [distribution(known) for known in ours if isinstance(known, str)]
            name = distribution(line)
            if name not in names:
                later = (index for index, known in enumerate(names) if known > name)
                ours.insert(next(later, len(names)), line)
        if "\n" not in ours.as_string() and all(isinstance(one, str) for one in ours):
            table[last] = tomlkit.item(
                [str(one) for one in ours]
            )  # blanks after commas
    untyped = [_untyped(one) for one in (document, theirs)]
    if all(untyped):
        untyped[0].extend(name for name in untyped[1] if name not in untyped[0])
    # After a table that is new, a blank line.
    table = r"(?m)^\[project\.optional-dependencies\]\n(?:(?!\[|$).*\n)+(?=\[)"
    result = re.sub(table, r"\g<0>\n", tomlkit.dumps(document))
    end = OWN_DEPENDENCIES * (not has_own)
    return re.sub(
        r"(?ms)^dependencies = \[\n.*?^(?=\])", rf"\g<0>{end}", result, count=1
    )


def _untyped(document: Any) -> Any:
    """Return mypy's list of libraries without types."""
    overrides = document.get("tool", {}).get("mypy", {}).get("overrides", [])
    listed = (
        override["module"]
        for override in overrides
        if override.get("ignore_missing_imports")
    )
    return next((modules for modules in listed if isinstance(modules, list)), None)


def distribution(requirement: str) -> str:
    """Return the normalised name in a requirement such as `scikit_image>=0.25`."""
    return re.sub(r"[-_.]+", "-", re.split(r"[^\w.-]", requirement.strip())[0]).lower()
