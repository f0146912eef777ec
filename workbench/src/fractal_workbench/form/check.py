"""Check of a manifest by the rules of the server and of the web form."""

import json
import math
import re
import traceback
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from jsonschema import FormatChecker
from pydantic import ValidationError
from pydantic.errors import PydanticUserError

from ..engine import rules
from ..kit.fractal import find_remedy
from .model import Argument, Schema, path_of, read, read_arguments
from .stale import find_stale as find_stale  # all checks of a package

# Before this, None has no place in a schema, and the form sends no blank.
NEW = "fractal_schema_v1"

# What the web form knows of JSON Schema: else it stays empty.
KEYWORDS = """
    $comment $defs $ref additionalProperties allOf anyOf const contains contentEncoding
    contentMediaType contentSchema default dependentRequired deprecated description
    discriminator else enum examples exclusiveMaximum exclusiveMinimum format if items
    maxContains maxItems maxLength maxProperties maximum minContains minItems minLength
    minProperties minimum multipleOf not nullable oneOf pattern patternProperties
    prefixItems properties propertyNames readOnly required then title type
    unevaluatedItems unevaluatedProperties uniqueItems writeOnly
"""
BOUNDS = ["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"]
FORMATS = "binary date date-time duration email ipv4 ipv6 password regex time uri uuid"
# The patterns that JavaScript shares with Python, piece by piece.
CHAR = r"\\(?:[\^$\\.*+?()[\]{}|/fnrtv]|0(?!\d)|x[\da-fA-F]{2}|u[\da-fA-F]{4})"
KIND = r"\\[dDsSwW]"
ITEM = rf"(?:[^\\\]]|{CHAR}|\\[-b])"
PATTERN = re.compile(
    r"(?:[$^|]|\\[Bb]|\((?:\?(?:[:=!]|<[!=]))?"
    rf"|(?:[^\\^$.*+?()[\]{{}}|]|[.)]|{CHAR}|{KIND}|\\[1-9]\d*"
    rf"|\[\^?(?:{ITEM}-{ITEM}|{ITEM}(?!-{KIND})|{KIND}(?!-[^\]]))*\])"
    r"(?:(?:[*+?]|\{\d+(?:,\d*)?\})\??)?)*"
)
# Of the formats, only that of a time tells what Pydantic takes from what the form takes.
ZONES = FormatChecker(())
# What to do about what fractal-task-tools says of an argument, by its number.
NUMBERED = {
    r"\[E05": "give it a default: the form needs none, fractal-task-tools does",
    r"\[E(03|06|08|1[012])": "take words: the form has this, fractal-task-tools has not",
    r"\[E07": "take None: the form has no blank text",
    r"\[E\d": "give it one type, which JSON can hold",
}
# Functions that reject an executable for its path.
PATHS = {"create_schema_for_single_task", "with_name", "with_suffix"}
EXECUTABLE = "name a X.py that defines X"
DOCS = "take a text, or file:docs_info/X.md"
# The same, by the function of fractal-task-tools that failed.
STEPS = {
    "_extract_function": EXECUTABLE,
    "_get_function_docstring": EXECUTABLE,
    "read_docs_info_from_file": DOCS,
}
# The same, by the field of a task.
FIELDS = {
    "executable": EXECUTABLE,
    "docs_link": "DOCS_LINK begins with https://, or is None",
    "docs_info": DOCS,
    "meta": "take what JSON can hold, such as {'mem': 4000}",
    "name": "correct it",
}


@ZONES.checks("date-time")
@ZONES.checks("time")
def has_zone(value: Any) -> bool:
    """Return whether a time says where it is meant."""
    return not isinstance(value, str) or bool(re.search(r"(Z|[+-]\d\d:\d\d)$", value))


def check_task(entry: Schema, version: str | None) -> None:
    """Reject a task of a manifest that no server runs, or that the web form cannot show.

    Args:
        entry: What the manifest says of the task.
        version: The version of the schemas of its arguments.

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
            check_arguments(schema, is_old=version != NEW)


def check_arguments(schema: Schema, *, is_old: bool = False) -> None:
    """Reject arguments that fractal-task-tools accepts and the web form does not.

    Args:
        schema: The schema of all arguments of a part of a task.
        is_old: Whether it has no None, so that nothing can be said of defaults.

    Raises:
        ValueError: With the argument in its notes, innermost first.
    """
    if schema.get("additionalProperties") is not False:
        raise ValueError("the web form hides `**kwargs`: name each argument")
    _check(read_arguments(schema), is_old)


def lost_options(values: Iterable[Any]) -> list[Any]:
    """Choices that the web form changes: 0, False, and texts that it strips."""
    return [value for value in values if str(value).strip() != str(value or None)]


def _check(argument: Argument, is_old: bool) -> None:
    argument.check_shown()
    schema, extra = argument.schema, argument.extra
    check_words(schema)
    if lost := lost_options(schema.get("enum", [])):
        raise ValueError(f"it loses the options {lost}: take words")
    if schema.get("additionalProperties") is True or "patternProperties" in schema:
        raise ValueError("it cannot add a value of any type: take `dict[str, float]`")
    parts = [*argument.options, *argument.places, *([extra] if extra else [])]
    if argument.kind == "array":
        parts.append(argument.item)
    if keys := schema.get("propertyNames"):
        parts.append(read({"type": "string"} | keys, argument.models, argument.parents))
    for part in parts:
        _check(part, is_old)
    for name, field in argument.fields.items():
        try:
            is_lost = name not in argument.required and "default" not in field.schema
            if is_lost and not is_old:
                raise ValueError("its default is lost: take one that JSON can hold")
            _check(field, is_old)
        except ValueError as error:
            error.add_note(name)
            raise
    if "default" in schema and not is_old:
        check_default(argument)


def check_words(schema: Schema) -> None:
    """Reject keywords, formats, patterns and numbers that the web form does not know."""
    if unknown := schema.keys() - {*KEYWORDS.split()}:
        raise ValueError(f"it knows no {', '.join(sorted(unknown))}: leave it out")
    if (name := schema.get("format", "date")) not in FORMATS.split():
        raise ValueError(f"it knows no format {name}: take a `str`")
    if not PATTERN.fullmatch(pattern := schema.get("pattern", "")):
        raise ValueError(f"JavaScript knows no pattern {pattern}: write another")
    for key in ("default", "enum", "const", *BOUNDS):
        check_numbers(schema.get(key))
    if float(schema.get("multipleOf", 1)).as_integer_ratio()[1] > 1024:
        raise ValueError("JavaScript cannot count in such steps: take none, or 1/2^n")


def check_numbers(value: Any) -> None:
    """Reject numbers that JavaScript changes, or that JSON cannot hold."""
    match value:
        case {**fields}:
            check_numbers([*fields.values()])
        case [*items]:
            for item in items:
                check_numbers(item)
        case int() if abs(value) > 2**53:
            raise ValueError(f"JavaScript changes {value}: take no more than 2^53")
        case float() if not math.isfinite(value):
            raise ValueError(f"JSON has no {value}: take a finite number, or None")
        case float() if str(value) == "-0.0":
            raise ValueError("JavaScript makes 0 of -0.0: take 0")


def check_texts(value: Any) -> None:
    """Reject texts that the web form changes, such as one that begins with a blank."""
    text = json.dumps(value, separators=(",", ":"))
    if re.search(r'"(\s|\\[nrt])|(\s|\\[nrt])"|""|"\*+"', text):
        raise ValueError(f"the web form strips {text}: take another")


def check_default(argument: Argument) -> None:
    """Reject a default that the web form changes, or that is none of its values."""
    default = argument.schema["default"]
    check_texts(default)
    mistakes = argument.find_mistakes(default, format_checker=ZONES)
    if lines := [": ".join(filter(None, mistake)) for mistake in mistakes]:
        raise ValueError("; ".join(lines))
    if (sent := argument.initial()) != default:
        raise ValueError(
            f"it sends {sent} for the default {default}: name all its fields"
        )


def find_mistakes(manifest: Any) -> Iterator[str]:
    """Yield what is wrong with each task of a manifest, or else with all of it."""
    known = manifest if isinstance(manifest, dict) else {}
    entries, is_right = known.get("task_list"), True
    for number, entry in enumerate(entries if isinstance(entries, list) else []):
        name = str(entry.get("name", "")) if isinstance(entry, dict) else ""
        try:
            check_task(entry, known.get("args_schema_version"))
        except ValueError as error:
            is_right = False
            yield explain(error, name.strip() or f"TASK_LIST[{number}]")
    try:
        if is_right:
            rules.Manifest.model_validate(manifest)
    except ValueError as error:
        yield explain(error, "AUTHORS or names" if known else "the manifest")


def explain(error: BaseException, place: str, package: Path | None = None) -> str:
    """Say where a mistake is, what is wrong, and what to do.

    Args:
        error: What was raised on the way to a manifest.
        place: The task, or the variable of the task list.
        package: The folder of the modules, whose lines are shown.
    """
    own, functions = [], []
    for frame in traceback.extract_tb(error.__traceback__):
        file = Path(frame.filename)
        functions.append(frame.name if file.stem != "create_manifest" else "")
        is_own = package and file.is_relative_to(package)
        # A function of the kit did what the task told it to.
        of_kit = file.parent.name == "kit" and frame.name != "<module>"
        if is_own and file.stem != "create_manifest" and not of_kit:
            own.append(file.stem)
            place += f" ({file.name}, line {frame.lineno})"
    if path := path_of(error):
        place += f": argument `{path}` or its default breaks the web form"
    # The remedy of a missing file is one of a task list, below.
    reason = rules.explain(error) if isinstance(error, ValidationError) else str(error)
    text = f"{place}: {reason or repr(error)}"
    if package and isinstance(error, ImportError):
        remedy = explain_import(error, package.name, of_task=bool(own))
    elif {*own} - {"task_list"}:
        remedy = None  # the code of a task raised it
    else:
        remedy = find_way_out(error, functions)
    return f"{text} ({remedy})" if remedy else text


def find_way_out(error: BaseException, functions: list[str]) -> str | None:
    """Return what to do about a mistake in a task list, if that is known.

    Args:
        error: What was raised.
        functions: The functions that were called on the way.
    """
    match error:
        case SyntaxError():
            return None
        case ValidationError():
            if not (location := error.errors()[0]["loc"]):
                return None
            field = str(location[0])
            known = (FIELDS[key] for key in FIELDS if field.startswith(key))
            return next(known, "correct it, or leave it out")
        case KeyError(args=("properties",)):
            return "let each argument have a name: no `*args`, and none before a `/`"
        case PydanticUserError():
            return "give it one type, which JSON can hold"
        case AttributeError() | TypeError() if functions[-1:] == [""]:
            return "list tasks of fractal_task_tools.task_models"
        case ValueError() if PATHS & {*functions[-1:]}:
            return EXECUTABLE
    numbered = (NUMBERED[key] for key in NUMBERED if re.match(key, str(error)))
    steps = (STEPS[name] for name in functions if name in STEPS)
    return next(numbered, next(steps, None))


def explain_import(error: ImportError, package: str, *, of_task: bool) -> str | None:
    """Return what to do about what cannot be imported.

    Args:
        error: What was raised.
        package: The package of the task list.
        of_task: Whether a module of the package imports it, and not the manifest.
    """
    name = error.name or ""
    if not isinstance(error, ModuleNotFoundError):
        is_kit = name.startswith(f"{package}.kit")
        way_out = "take one that it lists, or update the template"
        return f"the kit has no such name: {way_out}" if is_kit else None
    if name.startswith(f"{package}.") and not of_task:
        return EXECUTABLE
    return find_remedy(
        f"{name}.__init__" if name == f"{package}.kit" else name, package
    )
