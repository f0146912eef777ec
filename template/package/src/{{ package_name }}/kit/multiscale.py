"""Read and check the scales and pyramid levels in the metadata of an image."""

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from .units import micrometers, seconds

AXES = {f"{t}{c}{z}yx" for t in ("", "t") for c in ("", "c") for z in ("", "z")}
TYPES = {"t": "time", "c": "channel", "z": "space", "y": "space", "x": "space"}
LIKE = 0.005  # sizes of pixels that differ by less are the same, but for rounding


def coordinates(
    multiscale: Mapping[str, Any], level: int = 0
) -> tuple[list[float] | None, list[float] | None]:
    """Size of a pixel, and position of the first one, of a pyramid level by axis.

    Those of the level are combined with those of the whole pyramid.

    Returns:
        None for what is not said.

    Raises:
        ValueError: It is said in a way that is not understood.
    """
    n_axes = len(multiscale["axes"])
    scale: list[float] | None = None
    start: list[float] | None = None
    for holder in (multiscale["datasets"][level], multiscale):
        for transformation in holder.get("coordinateTransformations") or []:
            kind = transformation.get("type")
            if kind == "identity":
                continue
            if kind not in ("scale", "translation"):
                raise ValueError(
                    f"coordinateTransformations: the type {kind!r} is not understood; "
                    "allowed are scale, translation and identity"
                )
            values = transformation.get(kind)
            if (
                not isinstance(values, list)
                or len(values) != n_axes
                or not all(map(_is_number, values))
                or (kind == "scale" and min(values) <= 0)
            ):
                allowed = "numbers above 0" if kind == "scale" else "numbers"
                raise ValueError(
                    f"coordinateTransformations: the {kind} {values} of pyramid level "
                    f"{level} must be {n_axes} {allowed}, one for each axis"
                )
            if kind == "scale":
                scale = [
                    a * b for a, b in zip(scale or [1.0] * n_axes, values, strict=True)
                ]
                start = start and [a * b for a, b in zip(start, values, strict=True)]
            else:
                start = [
                    a + b for a, b in zip(start or [0.0] * n_axes, values, strict=True)
                ]
    return scale, start


def whole_factor(large: int, small: int) -> int:
    """Factor between two levels along an axis, the last pixel aside; 0 if it is not whole."""
    factor = max(1, round(large / small))
    return factor if small in (large // factor, math.ceil(large / factor)) else 0


def level_scale(
    multiscale: Mapping[str, Any], shapes: Sequence[tuple[int, ...]]
) -> list[float]:
    """Size of a pixel of a level that does not say it, by axis.

    Args:
        multiscale: Metadata of the pyramid.
        shapes: Shapes of the levels down to this one.
    """
    sizes = coordinates(multiscale)[0] or [1.0] * len(multiscale["axes"])
    for fine, coarse in pairwise(shapes):
        sizes = [
            size * (whole_factor(n, m) or n / m)
            for size, n, m in zip(sizes, fine, coarse, strict=True)
        ]
    return sizes


def begin_like(multiscale: dict[str, Any], other: Mapping[str, Any]) -> None:
    """Let all levels of a pyramid begin where another one does in space.

    Args:
        multiscale: Metadata of the pyramid, which are changed.
        other: Metadata of the other one.

    Raises:
        ValueError: The unit of an axis is not known.
    """
    here, there = _starts(multiscale), _starts(other)
    # Those of the whole pyramid apply to what its levels say.
    factors, _ = coordinates(multiscale | {"datasets": [{}]})
    names = [axis["name"] for axis in multiscale["axes"]]
    moves = [
        (there.get(name, 0.0) - here.get(name, 0.0)) / (unit_size(axis) * factor)
        for name, axis, factor in zip(
            names, multiscale["axes"], factors or [1.0] * len(names), strict=True
        )
    ]
    for dataset in multiscale["datasets"] if any(moves) else ():
        entries = [*(dataset.get("coordinateTransformations") or [])]
        own = [entry for entry in entries if entry["type"] == "translation"][-1:]
        old = own[0]["translation"] if own else [0.0] * len(names)
        new = [start + move for start, move in zip(old, moves, strict=True)]
        moved = {"type": "translation", "translation": new}
        others = [entry for entry in entries if entry not in own]
        dataset["coordinateTransformations"] = [*others, moved]


def _starts(multiscale: Mapping[str, Any]) -> dict[str, float]:
    """Position of the first pixel along z, y and x, in micrometers, if it is said."""
    _, starts = coordinates(multiscale)
    return {
        axis["name"]: start * unit_size(axis)
        for axis, start in zip(multiscale["axes"], starts or [], strict=bool(starts))
        if axis["name"] in "zyx"
    }


def _is_number(value: Any) -> bool:
    """Whether a value of JSON is a number."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and math.isfinite(value)


def unit_size(axis: Mapping[str, Any]) -> float:
    """Micrometers, or seconds for `t`, of the unit of an axis; 1 without a unit.

    Raises:
        ValueError: The unit is not known.
    """
    unit = axis.get("unit")
    if unit is None or unit == "" or axis["name"] == "c":
        return 1.0
    size = seconds(unit) if axis["name"] == "t" else micrometers(unit)
    if size is None:
        raise ValueError(
            f"the axis {axis['name']} has the unit {unit!r}, which is no length: write "
            "micrometer, for example"
        )
    return size


def check_multiscale(metadata: Mapping[str, Any], levels: Sequence[Any]) -> None:
    """Reject an image whose metadata contradict each other, or its arrays.

    Args:
        metadata: OME metadata of the image.
        levels: Its arrays.

    Raises:
        ValueError: They do not agree.
    """
    multiscale = metadata["multiscales"][0]
    if not all(
        isinstance(axis, dict) and "name" in axis for axis in multiscale["axes"]
    ):
        raise ValueError(
            f"axes {multiscale['axes']!r:.80}: since NGFF 0.4, each is an object with a name "
            "and a type; convert the image by a newer program"
        )
    names = [axis["name"] for axis in multiscale["axes"]]
    if "".join(map(str, names)) not in AXES or any(
        level.ndim != len(names) for level in levels
    ):
        numbers = sorted({level.ndim for level in levels})
        raise ValueError(
            f"axes {names} of arrays whose number of axes is {numbers}: name each axis of the "
            "arrays, in the order t, c, z, y, x"
        )
    for axis in multiscale["axes"]:
        kind = axis.get("type")
        if kind is not None and kind != TYPES[axis["name"]]:
            raise ValueError(
                f"the axis {axis['name']} has the type {kind!r}: write "
                f"{TYPES[axis['name']]!r}"
            )
    _check_units(multiscale["axes"], levels[0].shape)
    if (dtype := levels[0].dtype).kind not in "biuf":
        raise ValueError(f"its pixels are of {dtype}: write integers or floats")
    if len({level.dtype for level in levels}) > 1:
        types = ", ".join(str(level.dtype) for level in levels)
        raise ValueError(
            f"its pyramid levels have different data types: {types}; write all of them with "
            "the first one"
        )
    for level in levels:
        dimensions = getattr(level.metadata, "dimension_names", None) or ()
        dimensions = dimensions or level.attrs.get("_ARRAY_DIMENSIONS", ())  # of xarray
        for name, dimension in zip(names, dimensions, strict=False):
            if dimension is not None and dimension != name:
                raise ValueError(
                    f"the axes are {names}, and the dimension_names (in Zarr 2, the "
                    f"_ARRAY_DIMENSIONS) of the array {level.basename} are "
                    f"{list(dimensions)}: correct one of them"
                )
    check_scales(multiscale, [level.shape for level in levels])
    channels = (metadata.get("omero") or {}).get("channels") or []
    n_channels = dict(zip(names, levels[0].shape, strict=True)).get("c", 1)
    if not all(isinstance(channel, dict) for channel in channels):
        raise ValueError(
            f"omero: its channels are {channels!r}, and not objects: write one with a label "
            "for each channel"
        )
    if channels and len(channels) != n_channels:
        raise ValueError(
            f"omero: the number of its channels is {len(channels)}, and {n_channels} in the "
            "array: describe all of them in their order, or none"
        )


def _check_units(axes: Sequence[Mapping[str, Any]], shape: Sequence[int]) -> None:
    """Reject axes of space in different units: volumes would be in neither.

    Raises:
        ValueError: They are.
    """
    space = {
        axis["name"]: axis
        for axis, extent in zip(axes, shape, strict=True)
        if axis["name"] in "zyx" and extent > 1
    }
    units = {name: str(axis.get("unit") or "none") for name, axis in space.items()}
    if len({*units.values()}) > 1 and len({*map(unit_size, space.values())}) > 1:
        listed = ", ".join(f"{name}: {unit}" for name, unit in units.items())
        raise ValueError(
            f"its axes are in different units ({listed}): give all the same"
        )


def check_scales(
    multiscale: Mapping[str, Any], shapes: Sequence[tuple[int, ...]]
) -> None:
    """Reject a pyramid whose pixel sizes do not fit its shapes.

    Raises:
        ValueError: They contradict each other, or are no sizes.
    """
    names = [axis["name"] for axis in multiscale["axes"]]
    scales = [coordinates(multiscale, level)[0] for level in range(len(shapes))]
    for level in range(1, len(shapes)):
        for axis, name in enumerate(names):
            fine, full, coarse = (shapes[n][axis] for n in (level - 1, 0, level))
            if coarse > fine or (name == "c" and coarse != full):
                raise ValueError(
                    f"datasets: pyramid level {level} has {coarse} pixels along {name}, "
                    f"and level {level - 1} has {fine}: the finest level comes first"
                )
            size, width = scales[0], scales[level]
            if size is None or width is None:
                continue
            factor = width[axis] / size[axis]
            if abs(coarse * factor - full) > max(factor, 1) + LIKE * full:
                raise ValueError(
                    f"coordinateTransformations: pixels of pyramid level {level} are "
                    f"{factor:g} times as large along {name} as those of level 0, but "
                    f"there are {coarse} of them in place of {full}"
                )


def same_extent(one: tuple[int, float], other: tuple[int, float]) -> bool:
    """Whether two lengths in pixels agree, to within a pixel.

    Args:
        one: Number and size of pixels.
        other: Number and size of other pixels.
    """
    (n, size), (m, width) = one, other
    if n == m:
        return math.isclose(size, width, rel_tol=LIKE)
    tolerance = max(size, width) + LIKE * max(n * size, m * width)
    return abs(n * size - m * width) <= tolerance
