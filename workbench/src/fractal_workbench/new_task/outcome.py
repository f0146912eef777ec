"""Call a function on small images to classify its result.

The documentation of the function and its results for several images decide whether it makes
an image, labels, features, measurements or points. It has to return the same when it is
called again, on arrays that it cannot write into, after other images, and without a warning.
"""

import contextlib
import inspect
import io
import re
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, is_dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy import ndimage
from scipy.spatial import cKDTree

from .function import NUMBERS, Argument, Function
from .names import Needed, Rejected

SHAPES = {"yx": (56, 64), "zyx": (6, 56, 64)}
KINDS = {"yx": "plane", "zyx": "volume"}
TESTED = {"yx": (101, 83), "zyx": (5, 101, 83)}  # sizes in the tests of a package
SHIFT = {"yx": (2, 10), "zyx": (1, 2, 10)}  # of the image whose points are compared
SEEDS = ("rng", "seed", "random_state", "random_seed")
OWN = "into a file of your own"
PATIENCE = 30.0  # seconds, for all calls
# Calls on one image: of a function that decides at random between two results, one in 2^40
# gives the same, and if it takes long, one in 2^10.
FEWEST_CALLS, MOST_CALLS = 10, 40
MOST_VALUES = 6  # of a point, beside its position
SIMPLE = (bool, int, float, str, np.generic, type(None))  # what a table can hold
OF_LABELS = re.compile(r"label|segment(s|ation)\b|\bregions?\b", re.IGNORECASE)

Call = Callable[..., Any]


class Outcome(NamedTuple):
    """The result of a call, or why a task cannot make it."""

    result: Any
    trouble: str


class Part(NamedTuple):
    """A part of a result that a task can write.

    Attributes:
        makes: `image`, `label`, `mask`, `features`, `measurements` or `points`; `nothing`
            if all pixels are 0.
        code: How the part becomes what the task writes: `{}` stands for it.
        columns: Of an array of points.
    """

    makes: str
    code: str = "{}"
    columns: tuple[str, ...] = ()


# --- calls ---


def blobs(shape: tuple[int, ...], seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """A small image of 16 bits, with four bright objects on noise; and their labels.

    The objects of other seeds than 0 differ in brightness.
    """
    pixels = np.random.default_rng(seed).integers(100, 200, shape).astype(np.uint16)
    labels = np.zeros(shape, np.int32)
    for number, (y, x) in enumerate([(6, 6), (6, 38), (38, 6), (34, 36)], start=1):
        z = [slice(1, 4)] if len(shape) > 2 else []
        box = (*z, slice(y, y + 12), slice(x, x + 14))
        pixels[box] += 30000 - 4000 * number * bool(seed)
        labels[box] = number
    return pixels, labels


def call(
    given: Function,
    function: Call,
    axes: str,
    *,
    seed: int = 0,
    writable: bool = False,
    shape: tuple[int, ...] = (),
    shift: tuple[int, ...] = (),
) -> Outcome:
    """Call a function on a small image.

    Args:
        given: The function, as it was read.
        function: The function.
        axes: `yx` or `zyx`.
        seed: Of its noise.
        writable: Whether the function can write into its arrays.
        shape: Size of the image, if it is not that of `SHAPES`.
        shift: How far the image is moved, in pixels of each axis.

    Raises:
        Rejected: It fails.
    """
    pixels, labels = blobs(shape or SHAPES[axes], seed)
    if shift:
        pixels = np.roll(pixels, shift, range(pixels.ndim))
    arrays = {given.array: pixels, str(given.labels): labels}
    arrays |= {
        argument.name: np.roll(pixels, 3 * number, axis=-1)
        for number, argument in enumerate(given.channels)
    }
    arrays = {key: array for key, array in arrays.items() if key not in ("", "None")}
    before = {key: array.copy() for key, array in arrays.items()}
    if not writable:  # as a part of an array that nobody can make writable
        for key, array in arrays.items():
            array.flags.writeable = False
            arrays[key] = array[...]
    named: dict[str, Any] = dict(arrays)
    positional = [named.pop(key) for key in given.positional]
    named |= {argument.name: argument.tried(function) for argument in given.arguments}
    try:
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            result = function(*positional, **named)
            if inspect.isgenerator(result) or inspect.iscoroutine(result):
                result.close()  # or else Python warns
    except (Exception, SystemExit) as error:
        shown = {k: v for k, v in named.items() if k not in arrays}
        missing = re.search(
            r"(\w+) is not installed|No module named '(\w+)", str(error)
        )
        raise Needed(
            f"{given.name} fails on a {KINDS[axes]} of 16 bits, with "
            f"{shown}: {type(error).__name__}: {error}",
            [{"--with": missing[1]}] if missing else changes(given),
            "Give other values by --set NAME=VALUE, or write a function that calls it, "
            f"{OWN}. If it takes several channels, name their arguments by --array "
            "NUCLEI,MEMBRANES; if a trained model, begin with --makes label --model.",
        ) from error
    trouble = ""
    if warned:
        trouble = (
            f"{given.name} warns: {warned[0].category.__name__}: {warned[0].message} "
            f"({Path(warned[0].filename).name}, line {warned[0].lineno})\n"
            "Fractal flags a run that warns, and the tests of the package fail. Change that "
            "line if it is yours. If not, give other values by --set NAME=VALUE, or write a "
            f"function that calls it and does not warn, {OWN}."
        )
    for key, array in arrays.items():
        if not np.array_equal(array, before[key]):
            trouble = copy_of(given, key, returns=result is not None)
    return Outcome(result, trouble)


def copy_of(given: Function, key: str, *, returns: bool = True) -> str:
    """Return the remedy for a function that writes into an argument."""
    end = "" if returns else f", end it with `return {key}`"
    return (
        f"{given.name} writes into {key}, whose pixels a task still needs. Begin it with "
        f"`{key} = {key}.copy()`{end}, or write a function that calls it on a copy, {OWN}."
    )


def changes(given: Function) -> list[dict[str, Any]]:
    """Options of the command that may help a function that fails, most likely ones first."""
    ways: list[dict[str, Any]] = []
    names = {argument.name: argument for argument in given.arguments}
    for name in ("channel_axis", "axis"):
        if name in names:
            ways.append({name: None})
    for name, argument in names.items():
        if argument.type == "bool":
            ways.append({name: argument.default != "True"})
        if argument.type.startswith("Literal") and "'same'" in argument.type:
            ways.append({name: "same"})
    ways += [{"--axes": "yx"}]
    for name in given.open:
        ways += [{name: value} for value in NUMBERS]
    for name, argument in names.items():
        kind = argument.type.removesuffix(" | None")
        if re.fullmatch(r"(Annotated\[)?(int|float)\b.*", kind):
            is_int = "int" in kind.partition(",")[0]
            ways += [{name: v} for v in NUMBERS if not is_int or isinstance(v, int)]
    return ways


# --- what it makes ---


def look(given: Function, function: Call, again: Callable[[], Call]) -> None:
    """Call a function on small images, and classify its results.

    Args:
        given: Is completed: `makes`, `whole`, `result`, `dtype`, `columns`.
        function: The function.
        again: Imports it anew, if it is of a file.

    Raises:
        Rejected: It fails, does not end, or returns what no task writes.
    """
    errors: list[BaseException] = []
    stage = ["yx"]

    def work() -> None:
        try:
            if given.table:
                from .table import look_at_table

                look_at_table(given, function)
                return
            decide(given, function, stage)
            offer(given, function)
            repeat(given, function, again())
        except BaseException as error:
            errors.append(error)

    # A thread, since most libraries cannot be interrupted; it ends with Python.
    worker = threading.Thread(target=work, daemon=True)
    with contextlib.redirect_stdout(io.StringIO()):  # of what it prints at each call
        worker.start()
        worker.join(PATIENCE)
    if worker.is_alive():
        axes = stage[0]
        size = " x ".join(map(str, SHAPES[axes]))
        problem = (
            f"{given.name} has not ended after {PATIENCE:.0f} seconds on images of {size} "
            "pixels."
        )
        way = (
            "Try it on planes by --axes yx, or give other values by --set NAME=VALUE, or "
            f"write a function that does less, {OWN}."
        )
        # That it takes planes is known.
        raise Needed(problem, [{"--axes": "yx"}] if axes == "zyx" else [], way)
    if errors:
        raise errors[0]


def decide(given: Function, function: Call, stage: list[str]) -> None:
    """Decide which kind of task a function becomes.

    Args:
        given: Is completed: `makes`, `whole`, `result`, `dtype`, `columns`.
        function: The function.
        stage: Is set to the axes of the images that the function is called on.

    Raises:
        Rejected: It fails, or returns what no task writes.
    """
    results = samples(given, function, "yx")
    number, part = choose(given, results, function)
    axes = ["yx"]
    if given.axes != "yx":
        stage[0] = "zyx"
        try:
            of_volumes = samples(given, function, "zyx")
            as_volume = classify(
                given, [pick(result, number) for result in of_volumes], "zyx"
            )
            if as_volume.makes == "points":
                # z comes first, or last where x does.
                as_volume = in_order(given, function, of_volumes, number, "zyx")
            kinds = (
                {"label", "mask"} if part.makes in ("label", "mask") else {part.makes}
            )
            if as_volume.makes in kinds:
                axes.append("zyx")
        except Rejected as error:
            if given.axes == "zyx":
                raise Rejected(
                    f"--axes zyx: {given.name} takes no volume: {error}"
                ) from error
        if given.axes == "zyx" and "zyx" not in axes:
            raise Rejected(f"--axes zyx: {given.name} takes no volume")
    default = "yx" if part.makes == "image" else axes[-1]
    given.whole = given.axes or default
    if part.makes == "points" and given.whole == "zyx":
        part = as_volume
    complete(given, part, pick(results[0], number), number)
    check_inputs(given, pick(results[0], number))
    if part.makes in ("label", "mask", "points") and given.makes != "image":
        empty = [
            not np.size(pick(r, number)) or not np.any(pick(r, number)) for r in results
        ]
        if any(empty):
            raise Needed(
                f"{given.name} finds nothing in a plane with bright objects (30 000 on 200).",
                changes(given),
                "Give other arguments by --set NAME=VALUE.",
                is_of_test=True,
            )
    of_pixels = {"image": {"image"}, "label": {"label", "mask"}}
    if (
        part.makes in of_pixels.get(given.makes, ())
        and not OF_LABELS.search(given.returns_text)
        and all(is_one_object(pick(result, number)) for result in results)
    ):
        raise Needed(
            f"{given.name} finds one object in a plane with four (30 000 on 200), so that "
            "labels and a mask look alike.",
            changes(given),
            "Give other arguments by --set NAME=VALUE. If it returns a mask, return it as "
            f"`mask > 0`; or write a function that does so, {OWN}.",
        )


def is_one_object(result: Any) -> bool:
    """Return true for a single object whose pixels are 1: labels, or a mask."""
    if not isinstance(result, np.ndarray) or result.dtype.kind not in "iuf":
        return False
    diagonal = np.ones((3,) * result.ndim)
    return bool(result.max() == 1 and ndimage.label(result, diagonal)[1] == 1)


def samples(given: Function, function: Call, axes: str) -> list[Any]:
    """Results for two images.

    Raises:
        Rejected: The function fails, warns, or writes into its arguments.
    """
    outcomes = [call(given, function, axes, seed=s, writable=True) for s in (0, 1)]
    if trouble := outcomes[0].trouble or outcomes[1].trouble:
        raise Needed(trouble, changes(given) if "warns" in trouble else [], "")
    return [outcome.result for outcome in outcomes]


def elements(result: Any) -> Sequence[Any]:
    """The elements of a tuple of several results; empty for other results."""
    if not isinstance(result, tuple) or isinstance(result, Mapping) or len(result) < 2:
        return ()
    if all(is_number(value) for value in result):  # a position, or named numbers
        return ()
    return result


def pick(result: Any, number: int | None) -> Any:
    """Select an element of a result."""
    return result if number is None else result[number]


def choose(
    given: Function, results: Sequence[Any], function: Call
) -> tuple[int | None, Part]:
    """Select the part of the results that the task writes.

    Returns:
        Position in the tuple that the function returns, if it returns one; and the part.

    Raises:
        Rejected: There is none, or several.
    """
    parts: dict[int | None, Part] = {}
    problems: list[Rejected] = []
    several = elements(results[0])
    n_elements = len(results[0]) if isinstance(results[0], tuple) else 0
    if given.returns is not None and given.returns >= n_elements:
        raise Rejected(
            f"--returns {given.returns}: {given.name} returns {describe(results[0])}"
            + (
                f" with elements 0 to {n_elements - 1}." * bool(n_elements)
                or ", no tuple."
            )
        )
    numbers = [given.returns] if given.returns is not None else [*range(len(several))]
    for number in numbers or [None]:
        try:
            part = classify(given, [pick(result, number) for result in results], "yx")
            if part.makes == "points":
                part = in_order(given, function, results, number, "yx")
            parts[number] = part
        except Rejected as error:
            problems.append(error)
    if not parts:
        if len(problems) == 1 or not several:
            raise problems[0]
        raise Rejected(
            f"{given.name} returns {len(several)} values: "
            + ", ".join(map(describe, several))
            + f". A task can write none of them: write a function that returns what it can, {OWN}."
        )
    if len(parts) > 1:  # of labels and their number, the labels
        numbers = [n for n in parts if not is_number(pick(results[0], n))]
        if len(numbers) != 1:
            raise Needed(
                f"{given.name} returns {len(several)} values: "
                + "; ".join(
                    f"{n}: {parts[n].makes if n in parts else describe(several[n])}"
                    for n in range(len(several))
                ),
                [{"--returns": n} for n in parts],
                "Choose one by --returns N.",
                is_choice=True,
            )
        parts = {numbers[0]: parts[numbers[0]]}
    ((number, part),) = parts.items()
    return number, part


def complete(given: Function, part: Part, result: Any, number: int | None) -> None:
    """Complete a function with what it makes.

    Raises:
        Rejected: That is not what the task shall make.
    """
    kind, code = part.makes, part.code
    fits = {"image": {"image", "label", "mask"}, "label": {"label", "mask"}}
    wanted = given.makes
    of_pixels = wanted == "features" and kind == "measurements" and is_number(result)
    if wanted and not of_pixels and kind not in fits.get(wanted, {wanted}):
        names = {"image": "an image", "label": "labels", "mask": "a mask"}
        raise Rejected(
            f"--makes {wanted}: {given.name} returns {describe(result)}, which is "
            f"{names.get(kind, kind)}."
        )
    given.makes = wanted or ("label" if kind == "mask" else kind)
    element = "{}" if number is None else f"{{}}[{number}]"
    if of_pixels:  # a row per object, where it would be one per image
        given.of_pixels, code = True, "np.float64({})"
    elif given.makes == "image":
        code = "{}"
        if kind == "mask" or result.dtype.kind == "b":
            given.dtype = "uint8"
        elif result.dtype != np.uint16:
            given.dtype = "float32" if result.dtype.kind == "f" else result.dtype.name
    given.result = code.replace("{}", element)
    given.columns = part.columns


def check_inputs(given: Function, result: Any) -> None:
    """Reject a function of labels that makes what no task makes of labels.

    Args:
        given: The function, and what it makes.
        result: What it returned.

    Raises:
        Rejected: The message says what to do.
    """
    if not given.labels or given.makes == "features":
        return
    if given.makes == "measurements":
        index = getattr(getattr(result, "index", None), "name", None)
        way = " It is the index now: return `table.reset_index()`." * (index == "label")
        raise Rejected(
            f"{given.name} takes {given.labels}, and returns {describe(result)} without a "
            "column `label`, which says of which object a row is. Write a function that "
            f"returns it, {OWN}.{way}"
        )
    made = {"image": "an image", "label": "labels"}.get(given.makes, given.makes)
    way = "Begin with --makes label, and call it there."
    if given.makes == "image":
        way = "Begin with --makes image, and call it there."
    elif given.array:
        way = (
            f"If it is another channel: --array {given.array},{given.labels}. Else "
            "begin with --makes label, and call it there."
        )
    raise Rejected(
        f"{given.name} makes {made}, and {given.labels} takes labels, of which such a task "
        f"has none. {way}"
    )


# --- kinds of results ---


def is_number(result: Any) -> bool:
    """Whether a result is a number, or an array of one."""
    is_array = isinstance(result, np.ndarray) and result.ndim == 0
    return (is_array and result.dtype.kind in "biuf") or isinstance(
        result, int | float | np.integer | np.floating | np.bool_
    )


def names_of(result: Any) -> list[Any] | None:
    """Names of the columns of a dictionary, DataFrame or Series; None of other values."""
    if isinstance(result, Mapping):
        return [*result]
    columns = getattr(result, "columns", None)
    if columns is not None and hasattr(result, "iloc"):
        return [*columns]
    return [*result.index] if hasattr(result, "iloc") and np.ndim(result) == 1 else None


def content(result: Any) -> Any:
    """Copy the values of a result that a task writes."""
    if hasattr(result, "_asdict"):
        result = result._asdict()
    elif is_dataclass(result) and not isinstance(result, type):
        result = asdict(result)
    names = names_of(result)
    if names is not None:
        return {name: np.array(result[name]) for name in names}
    try:
        return np.array(result)
    except ValueError:  # elements of different shapes
        return np.array([np.shape(element) for element in result], dtype=object)


def classify(given: Function, results: Sequence[Any], axes: str) -> Part:
    """Return what a task can make of the results for two images.

    Raises:
        Rejected: No task writes such a thing, or the results are of two kinds.
    """
    parts = [classify_one(given, result, axes) for result in results]
    if any(part.makes == "nothing" for part in parts):
        parts = [part for part in parts if part.makes != "nothing"]
        if not parts:
            raise Needed(
                f"{given.name} returns zeros for planes with bright objects (30 000 on 200).",
                changes(given),
                "Give other arguments by --set NAME=VALUE, or say what it makes: --makes label, "
                "or --makes image.",
                is_of_test=True,
            )
    kinds = [part.makes for part in parts]
    if {*kinds} == {"label", "mask"}:
        parts.reverse() if kinds[0] == "mask" else None
    elif {*kinds} == {"image", "mask"} and not is_bool(results[0]):
        # Two grey values in one of two images are no mask.
        parts = [part for part in parts if part.makes == "image"]
    elif {*kinds} == {"image", "label"}:
        documented = OF_LABELS.search(given.returns_text)
        parts = [
            part for part in parts if part.makes == ("label" if documented else "image")
        ]
    elif len({*kinds}) > 1:
        raise Needed(
            f"{given.name} returns {kinds[0]} of an image and {kinds[1]} of another image.",
            [{"--makes": kind} for kind in dict.fromkeys(kinds)],
            "Say which by --makes.",
        )
    return parts[0]


def is_bool(result: Any) -> bool:
    """Whether a result is an array of truth values."""
    return isinstance(result, np.ndarray) and result.dtype.kind == "b"


def classify_one(given: Function, result: Any, axes: str) -> Part:
    """Return what a task can make of a result.

    Raises:
        Rejected: No task writes such a thing.
    """
    shape = SHAPES[axes]
    if isinstance(result, np.ma.MaskedArray):
        raise Rejected(
            f"{given.name} returns a masked array, and images have no masked pixels: write a "
            f"function that fills them, such as by `.filled(0)`, {OWN}."
        )
    if isinstance(result, np.ndarray) and result.shape == shape:
        if result.dtype.kind == "b":
            return Part("mask", "ndimage.label({})[0]")
        if result.dtype.kind in "iuf":
            return of_pixels(given, result)
    if is_number(result):
        return Part("measurements", f'{{"{given.name}": {{}}}}')
    if (table := of_columns(given, result, axes)) is not None:
        return table
    if isinstance(result, list) and result and hasattr(result[0], "keys"):
        raise Rejected(
            f"{given.name} returns a list of dictionaries: end it with `return "
            "pandas.DataFrame(rows)`, where rows is this list."
        )
    if isinstance(result, list) and result and hasattr(result[0], "bbox"):
        raise Rejected(
            f"{given.name} returns a list of objects of regionprops: call "
            "`skimage.measure.regionprops_table` in place of it, and return the numbers that "
            "you need by their names."
        )
    array = content(result) if isinstance(result, list | tuple | np.ndarray) else None
    if array is not None and array.dtype.kind in "iuf":
        if array.ndim == 1 and len(array) == len(shape):  # one position
            return Part("points", "np.atleast_2d({})")
        if array.ndim == 2 and 0 <= array.shape[1] - len(shape) <= MOST_VALUES:
            return Part("points")
        if array.ndim in (1, 2) and not array.size:
            return Part("points")
    raise Needed(
        f"{given.name} returns {describe(result)} for a plane of {SHAPES['yx']}.",
        changes(given),
        "A task can write an array of the same shape (an image, or labels), a number or dict "
        "of numbers (a row per image), positions (an array with a row per point), a "
        "DataFrame, or columns with `label` (features): write a function that returns one of "
        f"these, {OWN}.",
    )


def of_pixels(given: Function, result: np.ndarray) -> Part:
    """Tell labels and masks from grey values."""
    values = np.unique(result)
    is_integral = result.dtype.kind in "iu" or bool(np.all(values == np.rint(values)))
    code = "{}" if result.dtype.kind in "iu" else "np.asarray({}, np.int64)"
    documented = bool(OF_LABELS.search(given.returns_text))
    if not values.any() and given.makes != "image":
        return Part("label" if documented else "nothing", code)
    if not is_integral or values[0] < 0:
        return Part("image")
    if len(values) == 2 and values[0] == 0:
        highest = {1, 255} | ({65535} if result.dtype.itemsize == 2 else set())
        if values[1] in highest:
            return Part("mask", "ndimage.label({} > 0)[0]")
    is_wide = result.dtype.kind in "iu" and result.dtype.itemsize > 2
    if documented and is_wide and values[-1] > 0:
        return Part("label", code)
    known = values[values > 0]
    is_numbered = 1 < len(known) == known[-1] if len(known) else False
    if is_numbered and are_objects(result, known):
        return Part("label", code)
    return Part("image")


def are_objects(result: np.ndarray, numbers: np.ndarray) -> bool:
    """Whether nearly all labels are connected, as those of objects are."""
    boxes = ndimage.find_objects(result.astype(np.int64))
    # Some of them are enough.
    sample = numbers[:: max(1, len(numbers) // 100)].astype(int)
    diagonal = np.ones((3,) * result.ndim)
    whole = [ndimage.label(result[boxes[n - 1]] == n, diagonal)[1] == 1 for n in sample]
    is_noise = np.bincount(result.astype(np.int64).ravel())[1:].mean() < 1.5
    return sum(whole) >= 0.9 * len(whole) and not is_noise


def of_columns(given: Function, result: Any, axes: str) -> Part | None:
    """Tell features, points and measurements in what has named columns."""
    code = "dict({})"
    if hasattr(result, "_asdict"):
        result, code = result._asdict(), "{}._asdict()"
    elif is_dataclass(result) and not isinstance(result, type):
        result, code = asdict(result), "dataclasses.asdict({})"
    names = names_of(result)
    if names is None:
        return None
    if not isinstance(result, Mapping) and np.ndim(result) == 1:
        code = "{}.to_dict()"
    values = [np.asarray(result[name]) for name in names]
    bad = [
        name
        for name, value in zip(names, values, strict=True)
        if not isinstance(name, str)
        or value.ndim > 1
        or value.dtype.kind not in "biufUO"
        or not all(isinstance(cell, SIMPLE) for cell in value.astype(object).flat)
    ]
    sizes = {value.shape for value in values}
    if bad or len(sizes) > 1:
        problem = (
            f"whose {bad[0]!r} is no number, text, or column of them"
            if bad
            else "whose values differ in length"
        )
        raise Rejected(
            f"{given.name} returns {describe(result)}, {problem}. Write a function that calls "
            f"it and returns numbers by names, or columns of the same length, {OWN}."
        )
    if given.labels and "label" in names:
        rows = values[names.index("label")]
        if rows.size and rows.dtype.kind not in "iu":
            problem = f"is of {rows.dtype}: return integers, such as by `.astype(int)`"
        elif len({*rows.ravel().tolist()}) < rows.size:
            problem = "has a label in several rows: return one row for each object"
        else:
            return Part("features", code)
        raise Rejected(
            f"{given.name} returns {describe(result)}, whose column 'label' {problem}, from "
            f"a function that you write {OWN}."
        )
    if sizes != {()} and {*axes[-2:]} <= {*names}:
        return Part("points", code)
    return Part("measurements", code)


def in_order(
    given: Function,
    function: Call,
    results: Sequence[Any],
    number: int | None,
    axes: str,
) -> Part:
    """Find the order of the axes of points, by moving the image.

    Raises:
        Rejected: The points do not move with the image.
    """
    part = classify(given, [pick(result, number) for result in results], axes)
    result = pick(results[0], number)
    names = names_of(result)
    if names is not None:
        if axes == "zyx" and "z" not in names:
            raise Rejected(f"{given.name} returns no column z")
        return part
    moved = call(given, function, axes, writable=True, shift=SHIFT[axes])
    arrays = [
        np.atleast_2d(content(result)),
        np.atleast_2d(content(pick(moved.result, number))),
    ]
    if not all(array.size for array in arrays):
        if axes == "zyx":
            raise Rejected(
                f"{given.name} finds nothing in a volume with bright objects"
            )
        return part
    n = len(axes)
    if arrays[0].shape[1] < n:
        raise Rejected(f"{given.name} returns positions with {arrays[0].shape[1]} axes")
    old, new = (array[:, :n].astype(float) for array in arrays)
    tree = cKDTree(new)
    best = ""
    for tolerance in (0.75, 3.5):  # in pixels: exact, or as good as a blob's center
        scores = {}
        for order in dict.fromkeys((axes, axes[::-1])):
            shift = [SHIFT[axes][axes.index(axis)] for axis in order]
            scores[order] = float(np.mean(tree.query(old + shift)[0] < tolerance))
        likely = [order for order, score in scores.items() if score >= 0.5]
        if not best and len(likely) == 1:
            best = likely[0]
    if not best:
        raise Rejected(
            f"{given.name} returns {describe(result)}, which are no positions (z, y, x) or "
            "(x, y, z) in pixels: those of an image that is moved do not move with it. Write "
            f"a function that returns a dictionary of numbers or columns, {OWN}."
        )
    more = [f"value_{k}" for k in range(1, arrays[0].shape[1] - n + 1)]
    columns = (*best, *more)
    if "atleast" in part.code:
        return part._replace(columns=() if best == axes else columns)
    return part._replace(columns=() if best == axes and not more else columns)


# --- arguments whose type nobody says ---


def offer(given: Function, function: Call) -> None:
    """Make arguments of those without a type that take a number and change the result.

    Args:
        given: Is completed: `arguments`, `left`.
        function: The function.
    """

    def result(name: str, value: Any) -> Any:
        kind = "float" if isinstance(value, float) else "int"
        new = Argument(name, name, kind, "", repr(value))
        with_it = replace(given, arguments=[*given.arguments, new])
        outcome = call(with_it, function, "yx", writable=True)
        classify(with_it, [selected(given, outcome.result)] * 2, "yx")
        if outcome.trouble:
            raise Rejected(outcome.trouble)
        return content(selected(given, outcome.result))

    base = content(selected(given, call(given, function, "yx", writable=True).result))
    reason = "with another value, it returns something else"
    for offered in [*given.arguments]:
        if offered.type != "bool" or keeps_kind(given, function, offered):
            continue
        if offered.default == repr(
            inspect.signature(function).parameters[offered.name].default
        ):
            given.arguments.remove(offered)
            given.left[offered.name] = reason
        else:  # by --set
            offered.is_fixed = True
            given.narrowed[offered.name] = f"always {offered.default}; {reason}"
    for name in [*given.open]:
        taken = []
        for value in (3, 5, 2.5, 5000.0):
            try:
                if not is_same(result(name, value), base):
                    taken.append(type(value))
            except Rejected:
                continue
        try:
            if not taken or not is_same(result(name, None), base):
                continue
        except Rejected:
            continue
        kind = "float" if float in taken else "int"
        text = given.open.pop(name)
        argument = Argument(name, name, f"{kind} | None", text, "None")
        given.arguments.append(argument)
        given.left.pop(name)


def keeps_kind(given: Function, function: Call, argument: Argument) -> bool:
    """Whether a function makes the same kind of thing with a truth value turned over."""
    if argument.default is None:
        return True
    other = replace(argument, default=repr(argument.default != "True"))
    others = [other if one is argument else one for one in given.arguments]
    with_it = replace(given, arguments=others)
    try:
        result = call(with_it, function, "yx", writable=True).result
        part = classify_one(with_it, selected(given, result), "yx")
    except (Rejected, IndexError, TypeError):
        return False
    of_labels = {"label", "mask", "image"}
    return part.makes == given.makes or {part.makes, given.makes} <= of_labels


# --- again ---


def repeat(given: Function, function: Call, again: Call) -> None:
    """Call a function repeatedly, on shared images, as a task and its test do.

    Args:
        given: The function, as it was read, and what it makes.
        function: The function.
        again: The same; if it is of a file, imported anew.

    Raises:
        Rejected: It writes into its arguments, warns, or returns something else.
    """
    for axes in ["zyx", "yx"] if given.whole == "zyx" else ["yx"]:
        outcomes = [call(given, function, axes, writable=True)]
        results = [content(selected(given, outcomes[0].result))]
        # Another image in between, which is the first one of what was imported anew.
        call(given, again, axes, seed=1, writable=True)
        for one in (function, again):
            try:
                outcomes.append(call(given, one, axes))
            except Rejected as error:
                call(given, one, axes, writable=True)
                array = given.array or str(given.labels)
                raise Rejected(copy_of(given, array)) from error
            results.append(content(selected(given, outcomes[-1].result)))
        if axes == "yx":
            results += recur(given, function)
        if given.makes != "label":  # that is tested on images of the same size
            outcomes.append(call(given, function, axes, shape=TESTED[axes]))
        if troubles := [one.trouble for one in outcomes if one.trouble]:
            raise Needed(
                troubles[0], changes(given) if "warns" in troubles[0] else [], ""
            )
        # Blocks are processed at the same time.
        once, twice = (selected(given, one.result) for one in outcomes[:2])
        is_kept = isinstance(once, np.ndarray) and np.may_share_memory(once, twice)
        if is_kept or not all(is_same(results[0], result) for result in results[1:]):
            seed = next((k for k in SEEDS if k in given.names), "")
            raise Needed(
                f"{given.name} returns something else when it is called again: it is "
                "random, or keeps something from one call to the next. A task would not "
                "give the same result again.",
                [{seed: 0}] if seed else [],
                f"Give it a seed, or write a function without this, {OWN}.",
            )


def recur(
    given: Function, function: Call
) -> Iterator[dict[str, np.ndarray] | np.ndarray]:
    """Yield the results of further calls on the same image.

    A function that tosses a coin returns the same twice in a row as often as not.
    """
    start = time.monotonic()
    for number in range(MOST_CALLS):
        if number >= FEWEST_CALLS and time.monotonic() - start > PATIENCE / 20:
            break
        yield content(
            selected(given, call(given, function, "yx", writable=True).result)
        )


def selected(given: Function, result: Any) -> Any:
    """The part of a result that the task writes."""
    number = re.search(r"\{\}\[(\d+)\]", given.result)
    return result[int(number[1])] if number else result


def is_same(first: Any, second: Any) -> bool:
    """Whether two results are equal; NaN equals NaN."""
    if isinstance(first, dict) or isinstance(second, dict):
        return (
            isinstance(first, dict)
            and isinstance(second, dict)
            and first.keys() == second.keys()
            and all(is_same(value, second[key]) for key, value in first.items())
        )
    nans = bool({first.dtype.kind, second.dtype.kind} <= {*"fc"})
    same = np.array_equal(first, second, equal_nan=nans)
    return same and bool(first.dtype == second.dtype)


def describe(result: Any) -> str:
    """Describe a result in words."""
    if isinstance(result, np.ndarray):
        return f"an array of {result.dtype} and shape {result.shape}"
    if result is None:
        return "nothing"
    name = type(result).__name__
    return f"{'an' if name[0] in 'aeiou' else 'a'} {name}"
