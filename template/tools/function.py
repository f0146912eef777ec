"""A function of somebody else, as a task would call it.

Its arguments come from its signature and its docstring. What the web form of Fractal cannot
show is left at its default.
"""

import ast
import difflib
import importlib
import importlib.util
import inspect
import math
import re
import sys
import textwrap
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import docstring_parser
import numpy as np
from pydantic import PydanticUserError, TypeAdapter, ValidationError

from merge import Refused

ARRAYS = ["image", "img", "input", "pixels", "array", "arr", "data", "volume", "stack"]
ARRAYS += ["im", "x", "a", "intensity_image", "intensity", "intensities"]
LABELS = [
    "label_image",
    "labels",
    "label",
    "label_img",
    "labeled_image",
    "mask",
    "masks",
]
# What functions call the number of their threads.
THREADS = {
    "max_workers",
    "n_jobs",
    "n_threads",
    "num_threads",
    "num_workers",
    "workers",
}

# Names that a task needs for something else.
TAKEN = {"arguments", "channel", "columns", "feature_table", "image", "label_name"}
TAKEN |= {"level", "logger", "made", "output", "overwrite", "regions", "rois", "step"}
TAKEN |= {"suffix", "table_name", "types", "zarr_dir", "zarr_url", "zarr_urls", "np"}
TAKEN |= {
    "process",
    "pixels",
    "options",
    "expected",
    "labels",
    "label",
    "min_size",
    "whole",
    "path",
    "rows",
}

SAMPLES: dict[Any, Any] = {bool: True, int: 3, float: 2.0}
WORDS: dict[str, Any] = {"int": int, "integer": int, "bool": bool, "boolean": bool}
WORDS |= {"float": float, "number": float, "scalar": float, "double": float}
WORDS |= {"str": str, "string": str, "ints": int, "floats": float, "strings": str}
WORDS |= {"scalars": float, "numbers": float, "integers": int, "bools": bool}
WORDS |= {"uint": int}
ADJECTIVES = {"positive", "unsigned", "non-negative", "nonnegative", "strictly", "odd"}


@dataclass
class Argument:
    """An argument of the function that the task has too.

    Attributes:
        name: Name in the function.
        task_name: Name in the task.
        type: Its type, as source code.
        description: One paragraph.
        default: As source code; None if it has to be given.
        value: What a test gives, if it has to be given.
    """

    name: str
    task_name: str
    type: str
    description: str
    default: str | None
    value: Any = None

    @property
    def line(self) -> str:
        """The argument in the signature of the task."""
        default = "" if self.default is None else f" = {self.default}"
        noqa = "  # noqa: B006" if default.startswith(" = [") else ""
        return f"{self.task_name}: {self.type}{default},{noqa}"

    @property
    def docs(self) -> str:
        """The argument in the docstring of the task."""
        text = f"{self.task_name}: {self.description}"
        return textwrap.fill(
            text, 88, initial_indent=" " * 8, subsequent_indent=" " * 12
        ).strip()


@dataclass
class Function:
    """A function, and how a task calls it.

    Attributes:
        name: Its name.
        module: Module to import it from.
        summary: First sentence of its docstring.
        array: Name of the argument that takes the pixels.
        labels: Name of the argument that takes labels, if there is one.
        arguments: Those that the task has too.
        left: Those that stay at their defaults, with the reason.
        makes: `image`, `label`, `features` or `table`.
        whole: Axes that it sees: `yx` or `zyx`.
        result: How its result becomes what the task writes: `{}` stands for the call.
        dtype: Data type of the new image, if it is not that of the input.
        positional: Arguments that take their array by position.
        alias: Name that the task imports it by, if that is another one.
        of_pixels: Whether it measures the pixels of one object, without their places.
        is_untyped: Whether it is of a file whose types are to be checked, and has none.
        returned: What it returns, by its docstring.
    """

    name: str
    module: str
    summary: str
    array: str
    labels: str | None
    arguments: list[Argument]
    left: dict[str, str]
    makes: str = ""
    whole: str = "zyx"
    result: str = "{}"
    dtype: str = ""
    positional: list[str] = field(default_factory=list)
    alias: str = ""
    of_pixels: bool = False
    is_untyped: bool = False
    returned: str = ""

    @property
    def imported(self) -> str:
        """What the task imports."""
        return f"{self.name} as {self.alias}" if self.alias else self.name

    @property
    def call(self) -> str:
        """Call of the function in the task, whose arrays are `pixels` and `labels`."""
        return self._call({"": "options"} if self.arguments else {})

    @property
    def options(self) -> str:
        """Arguments of the function in the task, as source code."""
        items = [f'"{one.name}": {one.task_name}' for one in self.arguments]
        return f"{{{', '.join(items)}}}"

    @property
    def test_call(self) -> str:
        """Call of the function with what the test gives to the task, and all defaults."""
        return self._call(
            {
                one.name: repr(one.value) if one.default is None else one.default
                for one in self.arguments
            }
        )

    def _call(self, others: dict[str, str]) -> str:
        arrays = {self.array: "pixels"} | (
            {self.labels: "labels"} if self.labels else {}
        )
        arrays.pop("", None)
        given = [arrays.pop(name) for name in self.positional]
        given += [
            f"{name}={value}" if name else f"**{value}"
            for name, value in (arrays | others).items()
        ]
        return self.result.format(f"{self.alias or self.name}({', '.join(given)})")


def find(place: str) -> tuple[Callable[..., Any], str, Path | None]:
    """Import a function.

    Args:
        place: `package.module:function`, or `FILE.py:function`.

    Returns:
        The function, the module to import it from, and the file to copy.

    Raises:
        Refused: There is no such function, or it cannot be imported.
    """
    where, _, name = place.rpartition(":")
    if not where or not name.isidentifier():
        raise Refused(f"--from {place}: write MODULE:FUNCTION, or FILE.py:FUNCTION.")
    file = Path(where) if where.endswith(".py") else None
    try:
        module = load(file) if file else importlib.import_module(where)
    except ModuleNotFoundError as error:
        raise Refused(
            f"--from {place}: {error}. If it is a library, write the name that pip knows "
            'it by into pyproject.toml, below "Add your own", and run this again.'
        ) from error
    except Exception as error:
        raise Refused(
            f"--from {place}: importing it fails: {type(error).__name__}: {error}"
        ) from error
    function = getattr(module, name, None)
    if function is None:
        near = difflib.get_close_matches(name, dir(module), 5, 0.5)
        meant = f"; is it {' or '.join(near)}?" if near else ""
        raise Refused(f"--from {place}: there is no {name} in {where}{meant}")
    if not callable(function) or inspect.isclass(function):
        raise Refused(
            f"--from {place}: it is a {type(function).__name__}, not a function. Write "
            "one that uses it, into a file of your own."
        )
    return function, file.stem if file else where, file


def load(file: Path) -> types.ModuleType:
    """Import a file, wherever it lies."""
    if not file.is_file():
        raise Refused(f"--from {file}: there is no such file")
    if not file.stem.isidentifier():
        raise Refused(f"--from {file}: rename it, so that it is a name for a module")
    spec = importlib.util.spec_from_file_location(file.stem, file)
    if spec is None or spec.loader is None:
        raise Refused(f"--from {file}: it is no Python")
    module = importlib.util.module_from_spec(spec)
    sys.modules[file.stem] = module
    spec.loader.exec_module(module)
    return module


# --- its arguments ---


def read(
    function: Callable[..., Any],
    module: str,
    *,
    array: str = "",
    settings: Mapping[str, Any] | None = None,
) -> Function:
    """Find out what the arguments of a function are.

    Args:
        function: The function.
        module: Module to import it from.
        array: Name of the argument that takes the pixels, if it cannot be guessed.
        settings: Defaults for the task, by name of the argument.

    Raises:
        Refused: A task cannot call it; the sentence says what to do.
    """
    settings = settings or {}
    name = function.__name__
    try:
        signature = inspect.signature(function)
    except ValueError as error:
        raise Refused(
            f"{name}: Python does not know its arguments. Write a function that calls it, "
            "into a file of your own."
        ) from error
    parameters = signature.parameters
    if unknown := [one for one in {*settings, array} - {""} if one not in parameters]:
        raise Refused(
            f"{name} has no argument {unknown[0]!r}, only {', '.join(parameters)}"
        )
    try:
        hints = typing.get_type_hints(function, include_extras=True)
    except Exception:
        hints = {}
    docs = docstring_parser.parse(inspect.getdoc(function) or "")
    described = {one.arg_name.strip(" *"): one for one in docs.params}

    numbers = [
        key
        for key, one in described.items()
        if one.type_name and not re.search("arr|image|volume|mask", one.type_name)
    ]
    pixels, labels = find_arrays(name, parameters, hints, numbers, array)
    arguments, left = [], {}
    for key, parameter in parameters.items():
        if key in (pixels, labels):
            continue
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            left[key] = "a form has no place for it"
            continue
        documented = described.get(key)
        text = plain((documented and documented.description) or "")
        kind: Any = hints.get(key)
        if kind is None or source(kind) is None:
            kind = documented_type((documented and documented.type_name) or "")
        default = settings.get(key, parameter.default)
        if kind is float and type(default) is int and hints.get(key) is not float:
            kind = (
                int if "float" not in str(documented and documented.type_name) else kind
            )
        reason = ""
        if key in THREADS and parameter.default is not parameter.empty:
            reason = "tasks have threads of their own"
        if kind is None and type(default) in (bool, int, float, str):
            kind = type(default)
        if kind is None:
            reason = "a form cannot show its type"
        elif default is None and type(None) not in typing.get_args(kind):
            kind = kind | None
        if kind is not None and source(kind) is None:
            reason = "a form cannot show its type"
        if kind is not None and default is not parameter.empty:
            default = as_json(default)
            try:
                default = TypeAdapter(kind).validate_python(default)
            except (ValidationError, PydanticUserError):
                reason = f"{default!r} is not of the type that a form would show"
            if isinstance(default, float) and not math.isfinite(default):
                reason = f"JSON has no {default}"
        if parameter.kind is parameter.POSITIONAL_ONLY:
            reason = "it has no name for a caller"
        if reason and parameter.default is parameter.empty:
            raise Refused(
                f"{name} needs {key}, and {reason}. Is it a number or a word, give one by "
                f"--set {key}=VALUE; else write a function that gives it, into a file of "
                "your own, and has only int, float, bool, str or Literal to ask for."
            )
        if reason:
            left[key] = reason
            continue
        required = default is parameter.empty
        arguments.append(
            Argument(
                name=key,
                task_name=f"{name}_{key}" if key in TAKEN else key,
                type=str(source(kind)),
                description=text or f"As in `{name}`.",
                default=None if required else repr(default),
                value=sample(kind) if required else None,
            )
        )
    # What has to be given comes first.
    arguments.sort(key=lambda one: one.default is not None)
    returned = (docs.returns and docs.returns.description) or ""
    first = next(iter(parameters.values()))
    positional = [first.name] if first.name in (pixels, labels) else []
    if positional and labels:
        second = list(parameters.values())[1]
        if second.name in (pixels, labels) and second.kind is not second.KEYWORD_ONLY:
            positional.append(second.name)
    return Function(
        name=name,
        module=module,
        summary=sentence(plain(docs.short_description or f"Apply `{name}`.")),
        array=pixels,
        labels=labels,
        arguments=arguments,
        left=left,
        positional=positional,
        returned=sentence(plain(returned)) if returned.strip() else "",
    )


def find_arrays(
    name: str,
    parameters: Mapping[str, inspect.Parameter],
    hints: Mapping[str, Any],
    numbers: Sequence[str],
    array: str,
) -> tuple[str, str | None]:
    """Return the arguments that take pixels, and labels.

    Args:
        name: Name of the function.
        parameters: Its arguments.
        hints: Their annotations.
        numbers: Those that are no arrays, by the docstring.
        array: The one that takes pixels, if it is known.

    Raises:
        Refused: It is not clear which one takes pixels.
    """
    needed = [
        key
        for key, one in parameters.items()
        if one.kind not in (one.VAR_POSITIONAL, one.VAR_KEYWORD)
        and (one.default is one.empty or key in ("image", "intensity_image"))
    ]
    annotated = [key for key in needed if "ndarray" in str(hints.get(key, "")).lower()]
    labels = next((key for key in needed if key in LABELS), None)
    if array == labels:
        labels = None
    rest = [key for key in needed if key != labels]
    found = (
        array
        or next((key for key in rest if key in annotated), "")
        or next((key for key in rest if key.lower() in ARRAYS), "")
        or next((key for key in rest[:1] if key not in numbers), "")
    )
    if labels and not found:  # it measures shapes only
        return "", labels
    if not found:
        raise Refused(
            f"{name}: which of its arguments takes the pixels? Say it by --array NAME; "
            f"there are: {', '.join(parameters) or 'none'}"
        )
    return found, labels


def plain(text: str) -> str:
    """One paragraph of a docstring, without markup of Sphinx."""
    paragraph = re.split(r"\n\s*\n", text.strip())[0]
    paragraph = re.sub(r":\w+:`~?([^`]+)`", r"\1", paragraph)
    paragraph = paragraph.replace("``", "`").replace("\\", "").replace('"""', "'''")
    return " ".join(paragraph.split())


def sentence(text: str) -> str:
    """A text that begins and ends as a sentence does."""
    return text[:1].upper() + text[1:] + ("" if text[-1:] in tuple(".?!") else ".")


def source(kind: Any) -> str | None:
    """Return a type as source code; None if the form cannot show it."""
    if kind in (bool, int, float, str):
        return str(kind.__name__)
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin is Literal:
        simple = all(isinstance(one, str | int | bool) for one in inner)
        return f"Literal[{', '.join(map(repr, inner))}]" if simple else None
    if origin is typing.Annotated:
        base, limits = source(inner[0]), []
        for metadata in (
            m for one in inner[1:] for m in getattr(one, "metadata", [one])
        ):
            for limit in ("ge", "gt", "le", "lt", "multiple_of"):
                if (value := getattr(metadata, limit, None)) is not None:
                    limits.append(f"{limit}={value!r}")
        return (
            f"Annotated[{base}, Field({', '.join(limits)})]"
            if base and limits
            else base
        )
    if origin in (typing.Union, types.UnionType):
        some = [one for one in inner if one is not type(None)]
        # Of a truth value that may be empty, the form makes none.
        if len(some) != 1 or some[0] is bool:
            return None
        shown = source(some[0])
        return shown and f"{shown} | None"
    if origin in (list, Sequence) and len(inner) == 1:
        shown = source(inner[0])
        return shown and f"list[{shown}]"
    return None


def documented_type(text: str) -> Any:
    """Return the type that a docstring names: of several, the first that a form can show."""
    text = re.sub(r"\(.*?\)|optional|default[^,]*$", " ", text).strip(" ,.")
    optional = bool(re.search(r"\bNone\b", text))
    if choices := re.search(r"\{[^{}]*\}|\[\s*['\"][^\[\]]*\]", text):
        try:
            values = list(
                ast.literal_eval("[" + choices[0][1:-1].replace("`", "") + "]")
            )
        except (SyntaxError, ValueError):
            return None
        if not values or not all(isinstance(one, str | int) for one in values):
            return None
        kind: Any = Literal[tuple(values)]
        return kind | None if optional else kind
    for part in re.split(r",|\bor\b|\|", text.replace("None", "")):
        words = [word for word in part.split() if word not in ADJECTIVES]
        if not words:
            continue
        kind = WORDS.get(words[-1])
        many = re.fullmatch(r"(list|sequence|tuple|iterable) of", " ".join(words[:-1]))
        if len(words) > 1 and not many:
            return None
        if kind is None:
            continue
        if many:
            kind = list[kind]
        return kind | None if optional else kind
    return None


def as_json(value: Any) -> Any:
    """Return a default as JSON would hold it."""
    if isinstance(value, np.generic):
        return value.item()
    return list(value) if isinstance(value, tuple) else value


def sample(kind: Any) -> Any:
    """Return a value of a type, for a first call and the test."""
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin is Literal:
        return inner[0]
    if origin in (typing.Union, types.UnionType):
        return None
    if origin is list:
        return [sample(inner[0])]
    if origin is typing.Annotated:
        for value in (SAMPLES.get(inner[0]), 1, 0.5, 0, -1):
            try:
                return TypeAdapter(kind).validate_python(value)
            except ValidationError:
                continue
    return SAMPLES.get(kind, "a")
