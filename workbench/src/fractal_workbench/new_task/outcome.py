"""Call a function to see its result: an image, labels, features or a row of a table.

What it returns for small images decides. It has to return the same when it is called
again, on arrays that it cannot write into, after other images, and without a warning.
"""

import ast
import inspect
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from typing import Any, NamedTuple

import numpy as np

from .function import Function
from .names import Refused

MADE = {"image": "an image", "label": "labels"}


SHAPES = {"yx": (56, 64), "zyx": (6, 56, 64)}
KINDS = {"yx": "plane", "zyx": "volume"}
TESTED = {"yx": (101, 83), "zyx": (5, 101, 83)}  # sizes in the tests of a package
SEEDS = ("rng", "seed", "random_state", "random_seed")
OWN = "into a file of your own"
PATIENCE = 60.0  # seconds, for all calls
# Calls on one image: of a function that decides at random between two results, one in 2^40
# gives the same, and if it takes long, one in 2^10.
FEWEST_CALLS, MOST_CALLS = 10, 40

Call = Callable[..., Any]


class Outcome(NamedTuple):
    """The result of a call, or why a task cannot make it."""

    result: Any
    trouble: str


def blobs(shape: tuple[int, ...], seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """A small image of 16 bits, with four bright objects on noise; and their labels."""
    pixels = np.random.default_rng(seed).integers(100, 200, shape).astype(np.uint16)
    labels = np.zeros(shape, np.int32)
    for number, (y, x) in enumerate([(6, 6), (6, 38), (38, 6), (34, 36)], start=1):
        pixels[..., y : y + 12, x : x + 14] += 30000
        labels[..., y : y + 12, x : x + 14] = number
    return pixels, labels


def call(
    given: Function,
    function: Call,
    shape: tuple[int, ...],
    *,
    seed: int = 0,
    writable: bool = False,
) -> Outcome:
    """Call a function on a small image.

    Args:
        given: The function, as it was read.
        function: The function.
        shape: Size of the image.
        seed: Of its noise.
        writable: Whether the function can write into its arrays.

    Raises:
        Refused: It fails.
    """
    pixels, labels = blobs(shape, seed)
    arrays = {given.array: pixels, str(given.labels): labels}
    arrays |= {
        one.name: np.roll(pixels, 3 * number, axis=-1)
        for number, one in enumerate(given.channels)
    }
    arrays = {key: array for key, array in arrays.items() if key not in ("", "None")}
    before = {key: array.copy() for key, array in arrays.items()}
    if not writable:  # as a part of an array that nobody can make writable
        for key, array in arrays.items():
            array.flags.writeable = False
            arrays[key] = array[...]
    named: dict[str, Any] = dict(arrays)
    positional = [named.pop(key) for key in given.positional]
    for one in given.arguments:
        default = one.value if one.default is None else ast.literal_eval(one.default)
        named[one.name] = tuple(default) if one.is_tuple else default
    try:
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            result = function(*positional, **named)
    except (Exception, SystemExit) as error:
        shown = {k: v for k, v in named.items() if k not in arrays}
        raise Refused(
            f"{given.name} fails on a {KINDS['zyx'[-len(shape) :]]} of 16 bits, with "
            f"{shown}: {type(error).__name__}: {error}\nGive other values by --set "
            f"NAME=VALUE, or write a function that calls it, {OWN}. "
            "If it takes several channels, name their arguments by --array "
            "NUCLEI,MEMBRANES; if a trained model, begin with --makes label --model."
        ) from error
    trouble = ""
    if warned:
        trouble = (
            f"{given.name} warns: {warned[0].category.__name__}: {warned[0].message}\n"
            "Fractal flags a run that warns, and the tests of the package fail. Give other "
            "values by --set NAME=VALUE, or write a function that calls it and does not "
            f"warn, {OWN}."
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


def look(
    given: Function, function: Call, again: Callable[[], Call], makes: str, axes: str
) -> None:
    """Call a function on small images, and classify its results.

    Args:
        given: Is completed: `makes`, `whole`, `result`, `dtype`.
        function: The function.
        again: Imports it anew, if it is of a file.
        makes: What the task shall make; empty if the result decides.
        axes: `yx` for planes or `zyx` for volumes; empty if the result decides.

    Raises:
        Refused: It fails, does not end, or returns what no task writes.
    """
    errors: list[BaseException] = []

    def work() -> None:
        try:
            decide(given, function, makes, axes)
            repeat(given, function, again())
        except BaseException as error:
            errors.append(error)

    # A thread, since most libraries cannot be interrupted; it ends with Python.
    worker = threading.Thread(target=work, daemon=True)
    worker.start()
    worker.join(PATIENCE)
    if worker.is_alive():
        planes = "" if axes == "yx" else "try it on planes by --axes yx, "
        raise Refused(
            f"{given.name} has not ended after {PATIENCE:.0f} seconds on images of "
            f"6 x 56 x 64 pixels: {planes}give other values by --set NAME=VALUE, or write "
            f"a function that does less, {OWN}."
        )
    if errors:
        raise errors[0]


def repeat(given: Function, function: Call, again: Call) -> None:
    """Call a function repeatedly, on shared images, as a task and its test do.

    Args:
        given: The function, as it was read, and what it makes.
        function: The function.
        again: The same; if it is of a file, imported anew.

    Raises:
        Refused: It writes into its arguments, warns, or returns something else.
    """
    for key in ["zyx", "yx"] if given.whole == "zyx" else ["yx"]:
        shape = SHAPES[key]
        outcomes = [call(given, function, shape, writable=True)]
        results = [content(outcomes[0].result)]
        # Another image in between, which is the first one of what was imported anew.
        call(given, again, shape, seed=1, writable=True)
        for one in (function, again):
            try:
                outcomes.append(call(given, one, shape))
            except Refused as error:
                call(given, one, shape, writable=True)
                array = given.array or str(given.labels)
                raise Refused(copy_of(given, array)) from error
            results.append(content(outcomes[-1].result))
        if key == "yx":
            results += recur(given, function, shape)
        if given.makes != "label":  # that is tested on images of the same size
            outcomes.append(call(given, function, TESTED[key]))
        if troubles := [one.trouble for one in outcomes if one.trouble]:
            raise Refused(troubles[0])
        # Blocks are processed at the same time.
        once, twice = (np.asarray(first(one.result)) for one in outcomes[:2])
        is_kept = np.may_share_memory(once, twice)
        if is_kept or not all(is_same(results[0], result) for result in results[1:]):
            seed = next((k for k in SEEDS if k in given.names), "")
            way = f"Give it a seed by --set {seed}=0" if seed else "Give it a seed"
            raise Refused(
                f"{given.name} returns something else when it is called again: it is "
                "random, or keeps something from one call to the next. A task would not "
                f"give the same result again. {way}, or write a function without this, {OWN}."
            )


def recur(
    given: Function, function: Call, shape: tuple[int, ...]
) -> Iterator[dict[str, np.ndarray] | np.ndarray]:
    """Yield the results of further calls on the same image.

    A function that tosses a coin returns the same twice in a row as often as not.
    """
    start = time.monotonic()
    for number in range(MOST_CALLS):
        if number >= FEWEST_CALLS and time.monotonic() - start > PATIENCE / 20:
            break
        yield content(call(given, function, shape, writable=True).result)


def content(result: Any) -> Any:
    """Copy the parts of a result that become pixels or columns."""
    result = first(result)
    columns = getattr(result, "columns", None)
    if columns is not None or isinstance(result, Mapping):
        names = result if columns is None else columns
        return {name: np.array(result[name]) for name in names}
    return np.array(result)


def is_same(one: Any, other: Any) -> bool:
    """Whether two results are equal; NaN equals NaN."""
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(
            is_same(value, other[key]) for key, value in one.items()
        )
    nans = bool({one.dtype.kind, other.dtype.kind} <= {*"fc"})
    same = np.array_equal(one, other, equal_nan=nans)
    return same and bool(one.dtype == other.dtype)


def decide(given: Function, function: Call, makes: str, axes: str) -> None:
    """Decide which kind of task a function becomes.

    Args:
        given: Is completed: `makes`, `whole`, `result`, `dtype`.
        function: The function.
        makes: What the task shall make; empty if the result decides.
        axes: `yx` for planes or `zyx` for volumes; empty if the result decides.

    Raises:
        Refused: It fails, or returns what no task writes.
    """
    outcome = call(given, function, SHAPES["yx"], writable=True)
    if outcome.trouble:
        raise Refused(outcome.trouble)
    results = {"yx": outcome.result}
    if axes != "yx":
        with suppress(Refused):
            results["zyx"] = call(given, function, SHAPES["zyx"], writable=True).result
    as_volume = "zyx" in results
    if shape_of(first(results["yx"])) == (56, 64):  # not of channels, say
        as_volume = as_volume and shape_of(first(results["zyx"])) == (6, 56, 64)
    if axes == "zyx" and not as_volume:
        raise Refused(f"--axes zyx: {given.name} takes no volume")
    result, shape = results["yx"], (56, 64)
    if first(result) is not result:
        given.result, result = "{}[0]", first(result)
    kind = what_is(result, shape, given)
    given.makes = makes or kind
    if given.makes == "features" and kind == "table" and is_number(result):
        # A row per object, where it would be one per image.
        kind, given.of_pixels, given.result = "features", True, "np.float64({})"
    if given.channels and given.makes not in ("label", "mask"):
        raise Refused(
            f"--array: of several channels, {given.name} has to make labels, and it returns "
            f"{describe(result)}. Begin with --makes {given.makes}, and call it there."
        )
    if given.labels and given.makes in ("image", "label", "mask"):
        made = "image" if given.makes == "image" else "label"
        way_out = f"Begin with --makes {made}, and call it there."
        if given.array and made == "label":
            way_out = (
                f"If it is another channel: --array {given.array},{given.labels}. Else "
                "begin with --makes label, and call it there."
            )
        raise Refused(
            f"{given.name} makes {MADE[made]}, and {given.labels} takes labels, of which "
            f"such a task has none. {way_out}"
        )
    fits = {"image": {"image", "label", "mask"}, "label": {"label", "mask"}}
    if kind not in fits.get(given.makes, {given.makes}) and given.makes != "mask":
        raise Refused(
            f"--makes {given.makes}: {given.name} returns {describe(result)}, which is "
            f"{'an' if kind == 'image' else 'a'} {kind}"
        )
    if given.makes == "mask":
        given.makes = "label"
    if given.makes == "label" and kind == "mask":
        given.result = f"ndimage.label({given.result})[0]"
    if given.makes == "label" and not np.any(result):
        raise Refused(
            f"{given.name} finds nothing in a plane with bright objects (30 000 on 200): "
            "give other arguments by --set NAME=VALUE."
        )
    if given.makes == "image" and isinstance(result, np.ndarray):
        if result.dtype.kind == "b":
            given.dtype = "uint8"
        elif result.dtype != np.uint16:
            given.dtype = "float32" if result.dtype.kind == "f" else result.dtype.name
    if given.makes == "table":
        given.result = "dict({})" if isinstance(result, Mapping) else "float({})"
    default = "yx" if given.makes == "image" else "zyx"
    given.whole = axes or (default if as_volume else "yx")


def shape_of(result: Any) -> tuple[int, ...]:
    """Shape of an array; empty for other values."""
    return result.shape if isinstance(result, np.ndarray) else ()


def is_number(result: Any) -> bool:
    """Whether a result is a number, or an array of one."""
    is_array = isinstance(result, np.ndarray) and result.ndim == 0
    return is_array or isinstance(result, int | float | np.number | np.bool_)


def first(result: Any) -> Any:
    """Return the array at the start of a tuple; other values unchanged."""
    is_array = isinstance(result, tuple) and result and len(shape_of(result[0])) >= 2
    return result[0] if is_array else result


def what_is(result: Any, shape: tuple[int, ...], given: Function) -> str:
    """Return the kind of a result: `image`, `label`, `mask`, `features` or `table`.

    Raises:
        Refused: No task writes such a thing.
    """
    if isinstance(result, np.ma.MaskedArray):
        raise Refused(
            f"{given.name} returns a masked array, and images have no masked pixels: write a "
            f"function that fills them, such as by `.filled(0)`, {OWN}."
        )
    if isinstance(result, np.ndarray) and result.shape == shape:
        if result.dtype.kind == "b":
            return "mask"
        values = np.unique(result)
        few = len(values) < 500 and values[0] >= 0 and values[-1] <= len(values)
        if result.dtype.kind in "iu" and result.dtype.itemsize > 2 and few:
            return "label"
        if result.dtype.kind in "iuf":
            return "image"
    if is_number(result):
        return "table"
    columns = getattr(
        result, "columns", result if isinstance(result, Mapping) else None
    )
    if columns is not None:
        if all(np.ndim(result[name]) == 0 for name in columns):
            return "table"
        if given.labels and "label" in columns:
            return "features"
        raise Refused(
            f"{given.name} returns the columns {', '.join(map(str, columns))}. A table of "
            "features is made by a function of labels (an argument of that name), and has "
            "a column `label` and numbers: write one that calls it, into a file of your own."
        )
    raise Refused(
        f"{given.name} returns {describe(result)} for a plane of {shape}. A task can write "
        "an array of the same shape (an image, or labels), a number or dict of numbers (a "
        "row of a table), or columns with `label` (features): write a function that "
        "returns one of these, into a file of your own."
    )


def describe(result: Any) -> str:
    """Describe a result in words."""
    if inspect.iscoroutine(result):
        result.close()  # or else Python warns
    if isinstance(result, np.ndarray):
        return f"an array of {result.dtype} and shape {result.shape}"
    return f"a {type(result).__name__}"
