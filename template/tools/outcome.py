"""What a function makes: an image, labels, features or a row of a table.

It is called on small images, and what it returns decides.
"""

import ast
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from function import Function
from merge import Refused

MADE = {"image": "an image", "label": "labels"}


def blobs(shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """A small image of 16 bits, with four bright objects on noise; and their labels."""
    pixels = np.random.default_rng(0).integers(100, 200, shape).astype(np.uint16)
    labels = np.zeros(shape, np.int32)
    for number, (y, x) in enumerate([(6, 6), (6, 38), (38, 6), (34, 36)], start=1):
        pixels[..., y : y + 12, x : x + 14] += 30000
        labels[..., y : y + 12, x : x + 14] = number
    return pixels, labels


def look(given: Function, function: Callable[..., Any], makes: str, axes: str) -> None:
    """Call the function on small images, to see what it makes of them.

    Args:
        given: Is completed: `makes`, `whole`, `result`, `dtype`.
        function: The function.
        makes: What the task shall make; empty if the result decides.
        axes: `yx` for planes or `zyx` for volumes; empty if the result decides.

    Raises:
        Refused: It fails, or returns what no task writes.
    """
    results = {}
    for dims, shape in (("yx", (56, 64)), ("zyx", (6, 56, 64))):
        pixels, labels = blobs(shape)
        arrays = {given.array: pixels, str(given.labels): labels}
        arrays |= {
            one.name: np.roll(pixels, 3 * number, axis=-1)
            for number, one in enumerate(given.channels)
        }
        named = {key: array for key, array in arrays.items() if key not in ("", "None")}
        positional = [named.pop(key) for key in given.positional]
        for one in given.arguments:
            default = (
                one.value if one.default is None else ast.literal_eval(one.default)
            )
            if one.is_tuple:
                default = tuple(default)
            named[one.name] = default
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                results[dims] = function(*positional, **named)
        except Exception as error:
            if dims == "yx":
                shown = {k: v for k, v in named.items() if np.size(v) < 10}
                raise Refused(
                    f"{given.name} fails on a plane of 16 bits, with {shown}: "
                    f"{type(error).__name__}: {error}\nGive other values by --set "
                    "NAME=VALUE, or write a function that calls it, into a file of your own. "
                    "If it takes several channels, name their arguments by --array "
                    "NUCLEI,MEMBRANES; if a trained model, begin with --makes label --model."
                ) from error
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
    """Shape of an array; all else has none."""
    return result.shape if isinstance(result, np.ndarray) else ()


def is_number(result: Any) -> bool:
    """Whether a result is a number, or an array of one."""
    is_array = isinstance(result, np.ndarray) and result.ndim == 0
    return is_array or isinstance(result, int | float | np.number | np.bool_)


def first(result: Any) -> Any:
    """Return the array of a tuple that begins with one; all else as it is."""
    is_array = isinstance(result, tuple) and result and len(shape_of(result[0])) >= 2
    return result[0] if is_array else result


def what_is(result: Any, shape: tuple[int, ...], given: Function) -> str:
    """Return what a result is: `image`, `label`, `mask`, `features` or `table`.

    Raises:
        Refused: No task writes such a thing.
    """
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
    """Say what kind of thing a result is."""
    if isinstance(result, np.ndarray):
        return f"an array of {result.dtype} and shape {result.shape}"
    return f"a {type(result).__name__}"
