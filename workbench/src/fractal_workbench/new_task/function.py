"""The user's function: its arguments, and the call of it in a task.

Its arguments come from its signature and its docstring. What the web form of Fractal cannot
show is left at its default.
"""

import ast
import difflib
import functools
import importlib
import importlib.util
import inspect
import itertools
import re
import sys
import textwrap
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any, Literal

import docstring_parser
import numpy as np
from pydantic import PydanticUserError, TypeAdapter, ValidationError

from ..form.check import check_numbers, check_texts, lost_options
from ..project import project
from .names import Needed, Rejected

ARRAYS = ["image", "img", "input", "pixels", "array", "arr", "data", "volume", "stack"]
ARRAYS += ["im", "x", "a", "intensity_image", "intensity", "intensities"]
# Names of arguments that take labels, such as `nuclei_labels`, `label_img` or `lbl`.
LABELS = re.compile(
    r"(\w+_)?(labels?|labell?ed|lbls?|masks?|seg|segmentation)(_(image|img|im|array|arr|map))?",
    re.IGNORECASE,
)
TABLES = ("df", "dataframe", "data_frame", "table", "features", "feature_table")
# What functions call the number of their threads.
THREADS = {
    "max_workers",
    "n_jobs",
    "n_threads",
    "num_threads",
    "num_workers",
    "workers",
}

# What pip calls modules that have another name.
DISTRIBUTIONS = {
    "bs4": "beautifulsoup4",
    "cv2": "opencv-python-headless",
    "PIL": "pillow",
    "skimage": "scikit-image",
    "sklearn": "scikit-learn",
    "yaml": "pyyaml",
}
FRAMEWORKS = {"cellpose", "keras", "onnxruntime", "stardist", "tensorflow", "torch"}

UNIONS = (typing.Union, types.UnionType)
MANY = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
ARRAY_NAME = re.compile(r"(?<!byte)array", re.IGNORECASE)

# Values for arguments whose type nobody says: numbers of pixels, fractions, grey values.
NUMBERS = (3, 1, 0.5, 2.0, 10, 50, 5000)
# Arguments of that kind which are no numbers.
NO_NUMBERS = {"out", "output", "dtype", "where", "axis", "axes", "index", "labels"}
# Of the name of an argument that takes an array, which may be left out.
OF_ARRAYS = re.compile("arr|image|img|mask|label|marker|kernel|footprint|weights")
# Of one that probably takes a channel.
OF_CHANNELS = re.compile(
    r"^(b|y)$|^(ch|chan|channel|im|img|image|c)_?\d$|image|img|channel|dapi|hoechst|fitc|gfp|rfp"
    r"|nucle|cell|membrane|actin|donor|acceptor|reference|signal|background|red|green|blue",
    re.IGNORECASE,
)
# Of an argument that takes labels or a mask, and not grey values.
OF_MASKS = re.compile(
    r"\blabels\b|\b(binary|boolean|bool|mask)\b|\blabell?ed (image|array|region|object)|\blabel (image|"
    r"array)|containing the (connected components|objects) of interest",
    re.IGNORECASE,
)

SAMPLES: dict[Any, Any] = {bool: True, int: 3, float: 2.0}
WORDS: dict[str, Any] = {"int": int, "integer": int, "bool": bool, "boolean": bool}
WORDS |= {"float": float, "number": float, "scalar": float, "double": float}
WORDS |= {"str": str, "string": str, "ints": int, "floats": float, "strings": str}
WORDS |= {"scalars": float, "numbers": float, "integers": int, "bools": bool}
WORDS |= {"uint": int}
# Alternatives to what a form can show, as a docstring may name them.
OTHERS = re.compile(r"arr|sequence|iterable|list|tuple|call|dict")
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
        value: What a test gives, if it has to be given, or if the default finds nothing.
        is_tuple: Whether the function takes a tuple, which is a list in the task.
        choices: Name of the `Enum` that the function takes, and the task the values of.
        is_fixed: Whether the task always gives the default, and has no such argument.
    """

    name: str
    task_name: str
    type: str
    description: str
    default: str | None
    value: Any = None
    is_tuple: bool = False
    choices: str = ""
    is_fixed: bool = False

    def given(self, text: str) -> str:
        """The argument of the call, as source code."""
        if self.choices:
            return f"{self.choices}({text})"
        return f"tuple({text})" if self.is_tuple else text

    def tried(self, function: Callable[..., Any]) -> Any:
        """Value of the argument when the function is tried."""
        value = self.value
        if value is None and self.default is not None:
            value = ast.literal_eval(self.default)
        if self.choices:  # that of its own module, which may have been imported again
            return source_of(function).__globals__[self.choices](value)
        return tuple(value) if self.is_tuple else value

    @property
    def line(self) -> str:
        """The argument in the signature of the task."""
        default = "" if self.default is None else f" = {self.default}"
        noqa = "  # noqa: B006" if default.startswith(" = [") else ""
        noqa = "  # noqa: B008" if self.type == "Channel" else noqa
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
        array: Name of the argument that takes the pixels; of several channels, the first.
        labels: Name of the argument that takes labels, if there is one.
        table: Name of the argument that takes a table; it then takes no pixels.
        table_columns: Columns of the table that it asks for.
        arguments: Those that the task has too.
        left: Those that stay at their defaults, with the reason.
        channels: Those that take the pixels of a channel each, if there are several.
        narrowed: Types of arguments that may be something else in the function, with that.
        makes: `image`, `label`, `features`, `measurements`, `points` or `table`; empty if
            the result decides.
        axes: `yx` for planes or `zyx` for volumes; empty if the result decides.
        returns: Which element of the tuple that it returns is written, if the user says so.
        whole: Axes that it sees: `yx` or `zyx`.
        result: How its result becomes what the task writes: `{}` stands for the call.
        dtype: Data type of the new image, if it is not that of the input.
        positional: Arguments that take their array by position.
        alias: Name that the task imports it by, if that is another one.
        of_pixels: Whether it measures the pixels of one object, without their places.
        is_untyped: Whether it is of a file whose types are to be checked, and has none.
        returned: What it returns, by its docstring.
        columns: Of an array of points, the name of each column, if these are not the axes.
        returns_text: All that its docstring says of what it returns.
        open: Descriptions of arguments without a type, which may be numbers.
    """

    name: str
    module: str
    summary: str
    array: str
    labels: str | None
    arguments: list[Argument]
    left: dict[str, str]
    channels: list[Argument] = field(default_factory=list)
    narrowed: dict[str, str] = field(default_factory=dict)
    makes: str = ""
    axes: str = ""
    returns: int | None = None
    whole: str = "zyx"
    result: str = "{}"
    dtype: str = ""
    positional: list[str] = field(default_factory=list)
    alias: str = ""
    of_pixels: bool = False
    is_untyped: bool = False
    returned: str = ""
    columns: tuple[str, ...] = ()
    open: dict[str, str] = field(default_factory=dict)
    returns_text: str = ""
    table: str = ""
    table_columns: list[str] = field(default_factory=list)

    @property
    def names(self) -> set[str]:
        """Names of its arguments, except those that take arrays."""
        return {*self.left, *(argument.name for argument in self.arguments)}

    @property
    def imported(self) -> str:
        """Imports of the task."""
        own = f"{self.name} as {self.alias}" if self.alias else self.name
        choices = {one.choices for one in self.arguments if one.choices}
        return ", ".join([own, *sorted(choices)])

    @property
    def call(self) -> str:
        """Call of the function in the task, whose arrays are `pixels` and `labels`.

        Of several channels, `pixels` has the arrays.
        """
        return self._call({"": "options"} if self.arguments else {})

    @property
    def options(self) -> str:
        """Arguments of the function in the task, as source code."""
        items = [
            f'"{argument.name}": {argument.default if argument.is_fixed else argument.given(argument.task_name)}'
            for argument in self.arguments
        ]
        return f"{{{', '.join(items)}}}"

    @property
    def test_call(self) -> str:
        """Call of the function with the arguments of the test, and all defaults."""
        return self._call(
            {
                one.name: one.given(
                    one.default or "" if one.value is None else repr(one.value)
                )
                for one in self.arguments
            }
        )

    @property
    def imports(self) -> str:
        """Imports of the task, of which the linter removes those that it does not need."""
        lines = ["# mypy: allow-untyped-calls"] if self.is_untyped else []
        if self.table:
            lines += [
                "import dataclasses",
                "from typing import Annotated, Any, Literal",
                "",
                "import pandas as pd",
                "from pydantic import Field",
                f"from {self.module} import {self.imported}",
            ]
            return "\n".join(lines)
        lines += [
            "import dataclasses",
            "from typing import Annotated, Any, Literal",
            "",
            "import numpy as np",
            "from pydantic import Field, NonNegativeInt",
            "from scipy import ndimage",
            f"from {self.module} import {self.imported}",
        ]
        return "\n".join(lines)

    @property
    def signature(self) -> str:
        """Arguments of the task that are those of the function, a line each."""
        lines = [argument.line for argument in self.arguments if not argument.is_fixed]
        lines[:0] = [f"# Those of {self.name}"] if lines else []
        return "\n".join(f"    {line}" for line in lines)

    @property
    def channel_signature(self) -> str:
        """Arguments of the task that are channels, a line each."""
        lines = [channel.line for channel in self.channels]
        if not lines and self.array and self.makes != "image":
            lines = ["channel: Channel = Channel(),  # noqa: B008"]
        return "\n".join(f"    {line}" for line in lines)

    @property
    def documentation(self) -> str:
        """Descriptions of the arguments of the function and of the channels."""
        arguments = [shown for shown in self.arguments if not shown.is_fixed]
        lines = [argument.docs for argument in (*arguments, *self.channels)]
        if not self.channels and self.array and self.makes != "image":
            lines += ["channel: Channel that it sees; by default the first one."]
        return "\n".join(f"        {line}" for line in lines)

    @property
    def options_line(self) -> str:
        """Arguments of the function in the task, as a dictionary."""
        line = f"    options: dict[str, Any] = {self.options}"
        return line if self.arguments else ""

    @property
    def keywords(self) -> str:
        """Keywords of the call of the kit."""
        names = ", ".join(channel.task_name for channel in self.channels)
        lines = [f"channel=[{names}],"] if names else []
        if not names and self.array and self.makes != "image":
            lines = ["channel=channel,"]
        if self.makes != "features":
            lines += [f'whole="{self.whole}",']
        lines += [f'dtype="{self.dtype}",'] if self.dtype else []
        lines += [f"columns={self.columns!r},"] if self.columns else []
        return " ".join(lines)

    @property
    def pixels_argument(self) -> str:
        """Argument for the pixels of one channel, or of several."""
        return "*pixels" if self.channels else "pixels"

    @property
    def seen(self) -> str:
        """Part of the image that the function sees at once."""
        return "each plane" if self.whole == "yx" else "each volume"

    @property
    def channel_words(self) -> str:
        """How many channels it sees."""
        return "several channels" if self.channels else "one channel"

    @property
    def paragraph(self) -> str:
        """A paragraph on what the function sees, for the docstring of the task."""
        where = " of each channel and time point" if self.makes == "image" else ""
        where = (
            " of each time point" if self.makes != "image" or self.channels else where
        )
        planes = ", or plane of a 2D image," if self.whole == "zyx" else ""
        text = f"`{self.name}` sees {self.seen}{planes}{where} by itself."
        if (self.makes, self.whole) == ("label", "yx"):
            text += (
                " Objects of neighbouring planes become one where they share at least half "
                "of the smaller one; those of one plane stay apart."
            )
        if self.makes == "image" and self.channels:
            text += " The new image has one channel."
        return textwrap.fill(
            text, 88, initial_indent=" " * 4, subsequent_indent=" " * 4
        )

    @property
    def n_channels(self) -> int:
        """How many channels it sees."""
        return len(self.channels) or 1

    @property
    def plane_ndim(self) -> int:
        """Dimensions of what it sees of an image without z axis."""
        return 3 if self.channels else 2

    @property
    def test_arguments(self) -> dict[str, Any]:
        """Arguments of the task in the test, with their values."""
        return {a.task_name: a.value for a in self.arguments if a.value is not None}

    @property
    def test_axes(self) -> list[str]:
        """Axes of the images of the test."""
        return ["cyx", "czyx"] if self.channels else ["yx", "cyx", "czyx"]

    @property
    def feature_axes(self) -> list[str]:
        """Axes of the images of the test of features, which takes any that the task does."""
        in_time = "tczyx" if self.whole == "zyx" else "tcyx"
        return [in_time] if self.channels else ["yx", in_time]

    @property
    def test_columns(self) -> tuple[str, ...]:
        """Columns of an array of points of a volume."""
        return self.columns or tuple("zyx")

    def _call(self, names: dict[str, str]) -> str:
        arrays = {self.array: "pixels"} | (
            {self.labels: "labels"} if self.labels else {}
        )
        arrays |= {self.table: "pd.DataFrame(columns)"}
        arrays.pop("", None)
        arrays |= {
            channel.name: f"pixels[{n}]" for n, channel in enumerate(self.channels)
        }
        given = [arrays.pop(name) for name in self.positional]
        given += [
            f"{name}={value}" if name else f"**{value}"
            for name, value in (arrays | names).items()
        ]
        call = f"{self.alias or self.name}({', '.join(given)})"
        return self.result.replace("{}", call, 1)


def find(place: str) -> tuple[Callable[..., Any], str, Path | None]:
    """Import a function; one of a file is imported again at each call.

    Args:
        place: `package.module:function`, or `FILE.py:function`.

    Returns:
        The function, the module to import it from, and the file to copy.

    Raises:
        Rejected: There is no such function, or it cannot be imported.
    """
    where, _, name = place.rpartition(":")
    if not where or not name.isidentifier():
        raise Rejected(f"--from {place}: write MODULE:FUNCTION, or FILE.py:FUNCTION.")
    file = Path(where) if where.endswith(".py") else None
    try:
        module = load(file) if file else importlib.import_module(where)
    except Rejected:
        raise
    except ModuleNotFoundError as error:
        module_of = (error.name or where).partition(".")[0]
        if (
            not file
            and module_of == where.partition(".")[0]
            and module_of in sys.modules
        ):
            raise Rejected(f"--from {place}: {error}") from error
        if file and (beside := file.with_name(f"{module_of}.py")).exists():
            raise Rejected(
                f"--from {place}: {file.name} imports {beside.name}, which lies beside it. "
                f"Move {beside.name} into {project().root.name}, begin it with the lines "
                "`# ruff: noqa` and `# mypy: ignore-errors`, and write "
                f"`from {project().root.name}.{module_of} import ...` in {file.name}."
            ) from error
        model = ""
        if module_of in FRAMEWORKS:
            model = " If a model needs it, begin with --makes label --model instead."
        raise Needed(
            f"--from {place}: {error}, which {'the file' if file else 'the function'} needs.",
            [{"--with": DISTRIBUTIONS.get(module_of, module_of)}],
            "Install it, and make it a dependency, by --with PACKAGE, with the name that pip "
            f"knows it by.{model}",
        ) from error
    except (Exception, SystemExit) as error:
        raise Rejected(
            f"--from {place}: importing it fails: {type(error).__name__}: {error}"
        ) from error
    function = getattr(module, name, None)
    if function is None:
        names = dir(module)
        if file:  # and not what it imports
            own = [key for key, value in vars(module).items() if is_own(value, module)]
            names = [key for key in own if inspect.isfunction(getattr(module, key))]
        near = difflib.get_close_matches(name, names, 5, 0.5)
        meant = f"; is it {' or '.join(near)}?" if near else ""
        if file and not near:
            meant = f"; its functions are: {', '.join(names) or 'none'}"
        raise Rejected(f"--from {place}: there is no {name} in {where}{meant}")
    if not callable(function) or inspect.isclass(function):
        raise Rejected(
            f"--from {place}: it is a {type(function).__name__}, not a function. Write "
            "one that uses it, into a file of your own."
        )
    if inspect.iscoroutinefunction(source_of(function)):
        raise Rejected(
            f"--from {place}: it is asynchronous, and a task waits for the result. Write "
            "`def` in place of `async def`, or a function that runs it by asyncio.run, "
            "into a file of your own."
        )
    return function, file.stem if file else where, file


def source_of(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return the function that has the annotations and docstring of a callable."""
    function = inspect.unwrap(function)
    if isinstance(function, functools.partial):
        return source_of(function.func)
    has_own = inspect.isroutine(function) or hasattr(function, "__name__")
    return function if has_own else type(function).__call__


def is_own(value: Any, module: types.ModuleType) -> bool:
    """Whether a module defines a function or class itself."""
    return getattr(value, "__module__", None) == module.__name__


def load(file: Path) -> types.ModuleType:
    """Import a file from any folder."""
    if not file.is_file():
        raise Rejected(f"--from {file}: there is no such file")
    if not file.stem.isidentifier():
        raise Rejected(f"--from {file}: rename it, so that it is a name for a module")
    spec = importlib.util.spec_from_file_location(file.stem, file)
    if spec is None or spec.loader is None:
        raise Rejected(f"--from {file}: it is no Python")
    module = importlib.util.module_from_spec(spec)
    sys.modules[file.stem] = module
    spec.loader.exec_module(module)
    return module


# --- its arguments ---


def read(
    function: Callable[..., Any],
    name: str,
    module: str,
    *,
    array: str = "",
    settings: Mapping[str, Any] | None = None,
) -> Function:
    """Read the arguments of a function.

    Args:
        function: The function.
        name: What the module calls it.
        module: Module to import it from.
        array: Name of the argument that takes the pixels, if it cannot be guessed; of
            several, with commas between them, each one takes a channel.
        settings: Defaults for the task, by name of the argument.

    Raises:
        Rejected: A task cannot call it; the sentence says what to do.
    """
    settings = settings or {}
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError) as error:
        raise Rejected(
            f"{name}: Python does not know its arguments. Write a function that calls it, "
            "into a file of your own."
        ) from error
    parameters = signature.parameters
    named = [one.strip() for one in array.split(",")] if array else []
    if unknown := [one for one in [*settings, *named] if one not in parameters]:
        raise Rejected(
            f"{name} has no argument {unknown[0]!r}, only {', '.join(parameters)}"
        )
    if len({*named}) < len(named) or any(parameters[n].kind in MANY for n in named):
        raise Rejected(
            f"--array {array}: name different arguments, each of which takes one array; "
            f"there are: {', '.join(parameters)}"
        )
    inner = source_of(function)
    try:
        hints = typing.get_type_hints(inner, include_extras=True)
    except Exception:
        hints = {}
    docs = docstring_parser.parse(inspect.getdoc(inner) or "")
    described = {one.arg_name.strip(" *"): one for one in docs.params}

    numbers = [
        key
        for key, one in described.items()
        if one.type_name and not re.search("arr|image|volume|mask", one.type_name)
    ]
    texts = {
        key: f"{one.type_name or ''} {one.description or ''}"
        for key, one in described.items()
    }
    types = {key: one.type_name or "" for key, one in described.items()}
    table = "" if named else find_table(parameters, hints, types)
    pixels, labels = "", None
    if not table:
        pixels, labels = find_arrays(name, parameters, hints, numbers, named, texts)
    labels = None if labels in named else labels
    if not named and not labels and pixels in described:
        check_values(name, module, pixels, texts[pixels])
    arrays = {pixels, labels, table, *named}
    arguments, channels, left, narrowed = [], [], {}, {}
    unsettled: dict[str, str] = {}
    for key, parameter in parameters.items():
        if key in arrays:
            if key in settings:
                content = {labels: "labels", table: "table"}.get(key, "pixels")
                raise Rejected(f"--set {key}: it takes the {content}")
            continue
        if parameter.kind in MANY:
            left[key] = "a form has no place for it"
            continue
        documented = described.get(key)
        text = plain((documented and documented.description) or "")
        hint = hints.get(key)
        type_name = (documented and documented.type_name) or ""
        default = settings.get(key, parameter.default)
        choices = enum_of(hint, default, inner)
        if choices is not None:
            hint = Literal[tuple(one.value for one in choices)]
            default = default.value if isinstance(default, Enum) else default
        kind, left_out = form_type(hint, type_name, default)
        if kind is float and type(default) is int and hint is None:
            kind = kind if "float" in type_name else int
        is_array = kind is None and means_array(hint, type_name)
        is_simple = kind is None and not is_array and may_be_simple(hint)
        is_call = bool(re.search(r"\bcall|\bfunction", type_name))
        reason = "a form has no place for arrays" if is_array else ""
        if key in NO_NUMBERS and parameter.default in (None, parameter.empty):
            reason = "a task gives it no value"
        if isinstance(function, np.ufunc):
            kind, reason = None, "it changes how NumPy computes, and not what"
        if key in THREADS and parameter.default is not parameter.empty:
            reason = "tasks have threads of their own"
        is_set = key in settings and (hint is None or may_be_simple(hint))
        if (is_simple or is_set) and type(default) in (bool, int, float, str):
            kind, is_array, reason = kind or type(default), False, ""
        if kind is None and is_call:
            reason = "a form has no place for functions"
        elif kind is None and not is_array:
            is_said = hint is not None or type_name
            reason = (
                "a form cannot show its type" if is_said else "nothing says its type"
            )
        elif kind and default is None and type(None) not in typing.get_args(kind):
            kind = kind | None
        if kind is not None and source(kind) is None:
            reason = "a form cannot show its type"
        if kind is not None and default is not parameter.empty:
            default = as_json(default)
            try:
                default = TypeAdapter(kind).validate_python(default)
            except (ValidationError, PydanticUserError):
                reason = f"{default!r} is not of the type that a form would show"
            else:
                try:
                    check_numbers(default)
                    check_texts(default)
                except ValueError as error:
                    reason = str(error).partition(":")[0]
        if parameter.kind is parameter.POSITIONAL_ONLY:
            reason = "it has no name for a caller"
        if reason and key in settings:
            raise Rejected(f"--set {key}: {reason}")
        if reason and parameter.default is parameter.empty:
            of_array = (is_array or is_simple) and hint is None
            may_be_array = of_array or is_array_type(hint)
            images = ",".join(filter(None, [array or pixels, key]))
            by_array = [{"--array": images}] if pixels or labels else []
            by_number = [{key: value} for value in NUMBERS]
            numbered = (hint is None or may_be_simple(hint)) and not is_call
            ways = by_number * numbered + by_array * may_be_array
            says_array = type_name.startswith(("array", "ndarray", "("))
            # Besides labels, a function mostly needs the image that it measures.
            says_array = says_array or bool(OF_CHANNELS.search(key))
            if (says_array and "of" not in type_name) or (labels and not pixels):
                ways.reverse()
            sentences = [
                f"Is it a number or a word, give one by --set {key}=VALUE." * numbered,
                f"If it is {'another channel' if pixels else 'an image'}: --array {images}."
                * bool(by_array and may_be_array),
                f"{'Else write' if ways else 'Write'} a function that gives it, into a file of "
                "your own, and has only int, float, bool, str or Literal to ask for.",
            ]
            raise Needed(
                f"{name} needs {key}, and {reason}.",
                ways,
                " ".join(filter(None, sentences)),
            )
        if reason:
            left[key] = reason
            if is_undecided(key, parameter, hint):
                unsettled[key] = text or f"As in `{name}`."
            continue
        if left_out:
            narrowed[key] = f"{source(kind)}; {left_out} is left out"
        elif kind is int and hint is None and not type_name and key not in settings:
            narrowed[key] = (
                f"whole numbers, as its default {parameter.default!r}; for others, write "
                f"`{key}: float = {parameter.default!r}`"
            )
        required = default is parameter.empty
        of_tuple = typing.get_args(hint) if typing.get_origin(hint) is tuple else ()
        is_tuple = bool(of_tuple) or isinstance(parameter.default, tuple)
        value: Any = sample(kind) if required else None
        if required and of_tuple and ... not in of_tuple:
            value *= len(of_tuple)
        arguments.append(
            Argument(
                name=key,
                task_name=key,
                type=str(source(kind)),
                description=text or f"As in `{name}`.",
                default=None if required else repr(default),
                value=value,
                is_tuple=is_tuple and typing.get_origin(kind) is list,
                choices=choices.__name__ if choices else "",
            )
        )
    for number, key in enumerate(named if len(named) > 1 else []):
        documented = described.get(key)
        text = plain((documented and documented.description) or "")
        default = f'Channel(identifier="{number}")' if number else "Channel()"
        channels.append(
            Argument(
                name=key,
                task_name=key,
                type="Channel",
                description=text or f"Channel that `{name}` gets as {key}.",
                default=default,
            )
        )
    # What has to be given comes first.
    arguments.sort(key=lambda one: one.default is not None)
    returned = (docs.returns and docs.returns.description) or ""
    returns_text = " ".join(
        f"{one.return_name or ''} {one.type_name or ''} {one.description or ''}"
        for one in docs.many_returns
    )
    in_front = itertools.takewhile(
        lambda one: one.name in arrays and one.kind is not one.KEYWORD_ONLY,
        parameters.values(),
    )
    return Function(
        name=name,
        module=module,
        summary=sentence(plain(docs.short_description or f"Apply `{name}`.")),
        array=pixels,
        labels=labels,
        table=table,
        arguments=arguments,
        left=left,
        narrowed=narrowed,
        channels=channels,
        positional=[one.name for one in in_front],
        open=unsettled,
        returns_text=returns_text,
        returned=sentence(plain(returned)) if returned.strip() else "",
    )


def check_values(name: str, module: str, pixels: str, text: str) -> None:
    """Reject a function whose documentation says that it takes a mask or labels.

    Raises:
        Rejected: The message has a function that takes grey values.
    """
    if not (match := OF_MASKS.search(plain(text))):
        return
    raise Rejected(
        f"{name} takes a mask or labels as {pixels} ({match[0]}, says its docstring), and an "
        "image has grey values. If yours has none but those of a mask, say so by --array "
        f"{pixels}. Else write into a file, such as own.py:\n\n"
        "    from skimage.filters import threshold_otsu\n"
        f"    from {module} import {name}\n\n"
        f"    def {name}_of_bright_pixels(image):\n"
        f"        return {name}(image > threshold_otsu(image))\n\n"
        f"and give --from own.py:{name}_of_bright_pixels"
    )


def is_undecided(key: str, parameter: inspect.Parameter, hint: Any) -> bool:
    """Whether an argument that is left out may take a number nonetheless."""
    has_none = (
        parameter.default is None or "no value" in repr(parameter.default).lower()
    )
    return (
        has_none
        and key not in NO_NUMBERS | THREADS
        and not OF_ARRAYS.search(key)
        and parameter.kind is not parameter.POSITIONAL_ONLY
        and (hint is None or may_be_simple(hint))
    )


def find_arrays(
    name: str,
    parameters: Mapping[str, inspect.Parameter],
    hints: Mapping[str, Any],
    numbers: Sequence[str],
    arrays: Sequence[str],
    texts: Mapping[str, str],
) -> tuple[str, str | None]:
    """Return the arguments that take pixels, and labels.

    Args:
        name: Name of the function.
        parameters: Its arguments.
        hints: Their annotations.
        numbers: Those that are no arrays, by the docstring.
        arrays: Those that take pixels, if they are known.
        texts: Their types and descriptions in the docstring.

    Raises:
        Rejected: It is not clear which one takes pixels.
    """
    array = [*arrays, ""][0]
    needed = [
        key
        for key, parameter in parameters.items()
        if parameter.kind not in MANY
        and (
            parameter.default is parameter.empty or key in ("image", "intensity_image")
        )
    ]
    annotated = [key for key in needed if is_array_type(hints.get(key))]
    # What has another type is no array, whatever its name.
    free = [key for key in needed if key in annotated or may_be_simple(hints.get(key))]
    free = [key for key in free if key in annotated or source(hints.get(key)) is None]
    named_so = [key for key in free if LABELS.fullmatch(key) and key != array]
    labels = next(iter(named_so), None)
    # `label_image` of skimage.measure.label is an image to label; `labels` are what they are.
    if labels not in ("labels", "masks", None) and not OF_MASKS.search(
        texts.get(labels) or "labels"
    ):
        labels = None
    others = [key for key in named_so if key not in (labels, *arrays)]
    if labels and others and len(arrays) < 2:
        raise Rejected(
            f"{name} takes labels as {labels} and as {others[0]}, and such a task has one "
            "label image. Begin with --makes label or --makes features, and read the other "
            "one there: `open_label(open_image(zarr_url), name).read()`."
        )
    rest = [key for key in free if key != labels]
    array_name = (
        array
        or next((key for key in rest[:1] if key.lower() in ARRAYS), "")
        or next((key for key in rest if key in annotated), "")
        or next((key for key in rest if key.lower() in ARRAYS), "")
        or next((key for key in rest if ARRAY_NAME.search(texts.get(key, ""))), "")
        or next((key for key in rest if key == needed[0] and key not in numbers), "")
    )
    if labels and not array_name:  # it measures shapes only
        return "", labels
    named = [n for n, parameter in parameters.items() if parameter.kind not in MANY]
    if not named:
        raise Rejected(
            f"{name}: its arguments have no names, of which one takes the pixels. Write a "
            "function that calls it, into a file of your own."
        )
    if not array_name:
        raise Needed(
            f"{name}: which of its arguments takes the pixels? There are: {', '.join(named)}.",
            [{"--array": key} for key in named],
            "Say it by --array NAME.",
        )
    return array_name, labels


def find_table(
    parameters: Mapping[str, inspect.Parameter],
    hints: Mapping[str, Any],
    types: Mapping[str, str],
) -> str:
    """Return the argument that takes a DataFrame; empty if there is none.

    Args:
        parameters: Arguments of the function.
        hints: Their annotations.
        types: Their types in the docstring.
    """
    for name, parameter in parameters.items():
        hint = hints.get(name)
        is_frame = "DataFrame" in (getattr(hint, "__name__", ""), str(hint))
        is_told = hint is None and "DataFrame" in types.get(name, "")
        is_named = hint is None and name in TABLES
        is_needed = parameter.default is parameter.empty
        if is_needed and (is_frame or is_told or is_named):
            return name
    return ""


def is_array_type(hint: Any) -> bool:
    """Whether an annotation is an array, and no list or dictionary of arrays."""
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Annotated:
        return is_array_type(inner[0])
    if origin in UNIONS:  # NumPy's ArrayLike has all numbers too
        is_number = {int, float} & {*inner} and complex not in inner
        return not is_number and any(map(is_array_type, inner))
    return bool(ARRAY_NAME.search(getattr(origin or hint, "__name__", "")))


def means_array(hint: Any, text: str) -> bool:
    """Whether an argument takes one or several arrays.

    Args:
        hint: Its annotation, if it has one.
        text: Its type in the docstring.
    """
    if hint is not None:
        return bool(ARRAY_NAME.search(str(hint)))
    return bool(re.search("arr|image|volume|mask", text))


def may_be_simple(hint: Any) -> bool:
    """Whether an annotation may be a number or a text: no array, list or dictionary."""
    alternatives = (
        typing.get_args(hint) if typing.get_origin(hint) in UNIONS else [hint]
    )
    return any(
        typing.get_origin(kind) is None
        and kind not in (dict, list, set, tuple, type(None))
        and not is_array_type(kind)
        for kind in alternatives
    )


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
        types_of = {type(choice) for choice in inner}
        simple = len(types_of) == 1 and types_of <= {str, int, bool}
        simple = simple and not lost_options(inner)
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
    if origin in UNIONS:
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


def enum_of(hint: Any, default: Any, function: Callable[..., Any]) -> type[Enum] | None:
    """Return the enumeration of an argument, if a task can import it with the function."""
    kind = hint if hint is not None else type(default)
    if not (isinstance(kind, type) and issubclass(kind, Enum)):
        return None
    is_beside = getattr(function, "__globals__", {}).get(kind.__name__) is kind
    return kind if is_beside else None


def form_type(hint: Any, text: str, default: Any) -> tuple[Any, str]:
    """Return a type of an argument that a form can show, and its other types.

    Args:
        hint: Its annotation, if it has one.
        text: Its type in the docstring.
        default: Its default.

    Returns:
        None if a form shows none; the other types as a text, empty if there are none.
    """
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if hint is not None and source(hint) is not None:
        return hint, ""
    numbers = {one for one in inner if one is not ...} if origin is tuple else set()
    if not numbers and hint is None and isinstance(default, list | tuple):
        numbers = {type(one) for one in default}
    kind, left_out = documented_type(text)
    if kind is None and numbers and numbers <= {int, float}:
        return (list[float] if float in numbers else list[int]), ""
    if origin in UNIONS and (some := [one for one in inner if source(one) is not None]):
        kind = next((one for one in some if is_of(default, one)), some[0])
        kind = float if kind is int and float in some else kind
        same = [kind, type(None), int if kind is float else kind]
        rest = [one for one in inner if one not in same]
        left_out = " and ".join(getattr(one, "__name__", str(one)) for one in rest)
        kind = kind | None if type(None) in inner and kind is not bool else kind
    return kind, left_out


def is_of(value: Any, kind: Any) -> bool:
    """Whether a value is of a type, without any conversion."""
    try:
        TypeAdapter(kind).validate_python(value, strict=True)
    except ValidationError:
        return False
    return True


def documented_type(text: str) -> tuple[Any, str]:
    """Return the type in a docstring; the first of several that a form can show.

    Returns:
        None if a form shows none; the others as a text, empty if there are none.
    """
    text = re.sub(r"\(.*?\)|optional|default[^,]*$", " ", text).strip(" ,.")
    optional = bool(re.search(r"\bNone\b", text))
    if choices := re.search(r"\{[^{}]*\}|\[\s*['\"][^\[\]]*\]", text):
        try:
            values = list(
                ast.literal_eval("[" + choices[0][1:-1].replace("`", "") + "]")
            )
        except (SyntaxError, ValueError):
            return None, ""
        if not values or not all(isinstance(one, str | int) for one in values):
            return None, ""
        kind: Any = Literal[tuple(values)]
        return kind | None if optional else kind, ""
    parts = [
        part.strip() for part in re.split(r",|\bor\b|\|", text.replace("None", ""))
    ]
    for part in parts:
        words = [word for word in part.split() if word not in ADJECTIVES]
        if not words:
            continue
        kind = WORDS.get(words[-1])
        many = re.fullmatch(r"(list|sequence|tuple|iterable) of", " ".join(words[:-1]))
        if len(words) > 1 and not many:
            return None, ""
        if kind is None:
            continue
        same = [kind, int] if kind is float else [kind]
        left_out = [
            one
            for one in parts
            if one != part and (OTHERS.search(one) or WORDS.get(one, kind) not in same)
        ]
        if many:
            kind = list[kind]
        return kind | None if optional else kind, " and ".join(left_out)
    return None, ""


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
    if origin in UNIONS:
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
