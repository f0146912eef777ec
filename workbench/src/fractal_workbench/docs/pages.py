"""Pages about tasks and their arguments, in Markdown, from a manifest."""

import json
import re
from collections.abc import Iterator
from typing import Any

from ..cli import TYPES
from ..form.model import Argument, Schema, read_arguments

PARTS = {"non_parallel": "initialisation", "parallel": "compute"}
LIMITS = {
    "minimum": "≥ {}",
    "exclusiveMinimum": "> {}",
    "maximum": "≤ {}",
    "exclusiveMaximum": "< {}",
    "multipleOf": "a multiple of {}",
    "minLength": "at least {} characters",
    "maxLength": "at most {} characters",
    "pattern": "that matches `{}`",
    "minItems": "at least {} items",
    "maxItems": "at most {} items",
}
# A manifest is data from strangers: its texts are Markdown that reads no file and runs nothing.
PLAIN = """\
---
myst:
  all_links_external: true
  disable_syntax: [html_block, html_inline, image, myst_role]
---
"""
COLUMNS = ("Argument", "Type", "Default", "Meaning")


def describe_task(task: Schema) -> str:
    """Return the page of a task: what it is for, what it needs, and its arguments.

    Args:
        task: Its entry in the `task_list` of a manifest.
    """
    text = "\n\n".join([f"# {escape(task['name'])}", *_sections(task)])
    # A block of code whose language is in braces would be a directive of MyST.
    text = re.sub(r"(```|~~~)([ \t]*)\{", r"\1\2", text)
    return f"{PLAIN}\n{text}\n"


def _sections(task: Schema) -> Iterator[str]:
    yield "\n".join(f"- {fact}" for fact in _facts(task))
    if text := task.get("docs_info"):
        yield shift_headings(text, 2)
    elif link := task.get("docs_link"):
        yield f"[Documentation of the task]({link})"
    parts = [name for name in PARTS if task.get(f"executable_{name}")]
    for name in parts:
        title = "Arguments"
        if len(parts) > 1:
            title += f" of the {PARTS[name]} part"
        arguments = read_arguments(task.get(f"args_schema_{name}"))
        yield f"## {title}"
        rows = [*describe_fields(arguments)]
        yield make_table(COLUMNS, rows) if rows else "None, but for those of Fractal."


def _facts(task: Schema) -> Iterator[str]:
    kind = task["type"]
    name = kind.replace("converter_", "converter, ").replace("non_", "non-")
    yield f"**Type:** {name}; Fractal runs it {TYPES[kind]}."
    for key, title in (("category", "Category"), ("modality", "Modality")):
        if task.get(key):
            yield f"**{title}:** {escape(task[key])}"
    if task.get("tags"):
        yield f"**Tags:** {escape(', '.join(task['tags']))}"
    for key, title in (
        ("input_types", "Input images"),
        ("output_types", "Output images"),
    ):
        if types := task.get(key):
            named = ", ".join(f"`{name}`: {_json(types[name])}" for name in types)
            yield f"**{title}:** {named}"
    for part, title in PARTS.items():
        if meta := task.get(f"meta_{part}"):
            keys = ", ".join(f"`{key}`: {_json(meta[key])}" for key in meta)
            about = f" of the {title} part" if "compound" in kind else ""
            yield f"**Requested resources{about}:** {keys}"


def describe_fields(argument: Argument, prefix: str = "") -> Iterator[tuple[str, ...]]:
    """Yield a row of a table for each argument, then for each field that it has.

    Args:
        argument: A model, or all arguments of a part of a task.
        prefix: What stands before the names of its fields.
    """
    for name, field in argument.fields.items():
        path = f"{prefix}{name}"
        schema = field.schema
        default = "required"
        if name not in argument.required:
            default = "empty"
            if schema.get("default") not in (None, "", [], {}):
                default = _json(schema["default"])
                # What a model has by default stands beside its fields.
                default = (
                    "see below" if isinstance(schema["default"], dict) else default
                )
            elif field.fields:
                default = "see below"
        text = " ".join(str(schema.get("description") or "").split())
        yield f"`{path}`", describe_type(field), default, text
        if len({*field.parents}) == len(field.parents):
            yield from _describe_parts(field, path)


def _describe_parts(field: Argument, path: str) -> Iterator[tuple[str, ...]]:
    yield from describe_fields(field, f"{path}.")
    if field.kind == "array":
        yield from _describe_parts(field.item, f"{path}[]")
    if field.extra:
        yield from _describe_parts(field.extra, f"{path}[name]")
    for option in field.options if field.kind == "models" else ():
        title = option.schema.get("title", "")
        yield from describe_fields(option, f"{path}({title}).")


def describe_type(argument: Argument) -> str:
    """Return the type of an argument in words, with its limits."""
    schema = argument.schema
    limits = [
        text.format(schema[key] if key == "pattern" else _number(schema[key]))
        for key, text in LIMITS.items()
        if key in schema and argument.kind != "tuple"
    ]
    return ", ".join([_kind(argument), *limits]) + (
        " or empty" if argument.is_nullable else ""
    )


def _kind(argument: Argument) -> str:
    match argument.kind:
        case "choice" | "constant":
            return " \\| ".join(_json(value) for value in argument.values)
        case "models":
            titles = [str(option.schema.get("title")) for option in argument.options]
            return f"one of {', '.join(titles)}"
        case "tuple":
            return f"({', '.join(describe_type(item) for item in argument.places)})"
        case "array":
            return f"list of: {describe_type(argument.item)}"
        case "object" if argument.extra and not argument.fields:
            return f"dictionary of: {describe_type(argument.extra)}"
        case "object":
            return str(argument.schema.get("title") or "object")
        case "string":
            return "text"
        case "boolean":
            return "true \\| false"
    return argument.kind or "any"


def make_table(columns: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """Return a table in Markdown; `|` in a cell does not end it."""
    lines = [columns, ("---",) * len(columns), *rows]
    escaped = [[re.sub(r"(?<!\\)[|]", r"\\|", cell) for cell in line] for line in lines]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in escaped)


def shift_headings(text: str, level: int) -> str:
    """Return Markdown whose highest headings have a level; code blocks are left alone."""
    parts = re.split(r"(^```.*?^```[ ]*$)", text, flags=re.MULTILINE | re.DOTALL)
    levels = [
        len(marks)
        for part in parts[::2]
        for marks in re.findall(r"^(#+)[ ]", part, re.MULTILINE)
    ]
    more = level - min(levels, default=level)

    def shift(match: re.Match[str]) -> str:
        return "#" * (len(match[1]) + more)

    parts[::2] = [
        re.sub(r"^(#+)(?=[ ])", shift, p, flags=re.MULTILINE) for p in parts[::2]
    ]
    return "".join(parts).strip()


def escape(text: str) -> str:
    """Return text as Markdown that shows it as it is."""
    return re.sub(r"([\\`*_{}\[\]<>|#])", r"\\\1", text)


def _number(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _json(value: Any) -> str:
    return f"`{json.dumps(value, ensure_ascii=False)}`"
