"""Make tables of an image from its pixels, in one call: of numbers, or of points.

As the verbs for images and labels, they return the output of the task. In a function with
`@task`, they find the result of an earlier run.
"""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from .blocks import Roi, check_axes
from .columns import unmasked
from .fractal import ImageUpdate, task_output
from .image import (
    Channels,
    Image,
    channels_to_read,
    image_to_write,
    level_like,
    open_label,
)
from .provenance import current_step, is_made
from .regions import Regions, find_rois
from .slices import Array, Region
from .tables import write_table
from .threads import in_threads

logger = logging.getLogger(__name__)


class Part(NamedTuple):
    """A part of an image that a function sees.

    Attributes:
        place: What the table says of it: `time_point`, `region`, `z`.
        region: One slice, in pixels, for each axis of the image but `c`.
        axes: Axes that the function sees.
        roi: The region of interest in which it lies, if there is one.
    """

    place: dict[str, Any]
    region: Region
    axes: str
    roi: Roi | None


def measure_image(
    image: Image | str,
    function: Callable[[Array], Any],
    *,
    table_name: str,
    channel: Channels | None = None,
    level: int = 0,
    whole: str = "zyx",
    regions: Regions | None = None,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Make a table of an image, with a row for each time point, region and plane.

    Memory grows with what `whole` names, or a region, and the number of threads.

    Example:
        `measure_image(zarr_url, lambda pixels: {"mean": pixels.mean()}, table_name="means")`

    Args:
        image: The image, or its `zarr_url`.
        function: Takes pixels with the axes that `whole` names. Returns numbers or texts by
            the name of their column, the same names for each part; or columns of the same
            length, also a DataFrame, which become as many rows.
        table_name: Name of the new table, a part of the image.
        channel: Channel that `function` sees; a list of them comes in front of the other
            axes. By default the only one.
        level: Pyramid level to measure: 0 is full resolution.
        whole: `zyx` for volumes (planes, if the image has one z plane), or `yx` for each
            plane; the column `z` then has its number.
        regions: Where to measure; by default the whole image. The column `region` has the
            name of the region.
        overwrite: Replace the table if it exists.

    Returns:
        The output of the task: the image.

    Raises:
        FileExistsError: The table exists, this job did not make it, and `overwrite` is
            false.
        ValueError: An argument is wrong, or `function` returns other columns for a part.
    """
    image = image_to_write(image)
    regions = regions or Regions()
    if regions.mask:
        raise ValueError(
            f"regions.mask: {regions.mask!r} has objects, and a part of the image has no "
            "place for their form; measure the objects of a label image in place of it"
        )

    def rows(part: Part, pixels: Array) -> dict[str, list[Any]]:
        return _columns(function(pixels))

    path = image.path / "tables" / table_name
    sources = regions.sources(image)
    step = current_step([image, *sources])
    if not is_made(path, step, overwrite=overwrite):
        rois = find_rois(image, regions, level, sources=sources)
        columns = _join(rows, image, channel, level, whole, rois, with_z=True)
        write_table(image, table_name, columns, overwrite=overwrite, made_by=step)
        n_rows = max(map(len, columns.values()), default=0)
        logger.info("Rows of %s: %d", path, n_rows)
    return task_output(ImageUpdate(zarr_url=str(image.path)))


def find_points(
    image: Image | str,
    function: Callable[[Array], Any],
    *,
    table_name: str,
    channel: Channels | None = None,
    level: int = 0,
    whole: str = "zyx",
    columns: Sequence[str] = (),
    label_name: str | None = None,
    regions: Regions | None = None,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Make a table of points in an image, such as spots.

    The columns `y` and `x`, and `z` of images with that axis, are in pixels of full
    resolution. They are 0 at the center of the first one. `y_micrometer` and so on are in
    micrometers.

    Example:
        `find_points(zarr_url, peak_local_max, table_name="spots")`

    Args:
        image: The image, or its `zarr_url`.
        function: Takes pixels with the axes that `whole` names. Returns an array with a row
            for each point: its position in pixels, in the order of the axes, and perhaps
            more numbers; or columns with the names of the axes, also a DataFrame.
        table_name: Name of the new table, a part of the image.
        channel: Channel that `function` sees; a list of them comes in front of the other
            axes. By default the only one.
        level: Pyramid level that `function` sees: 0 is full resolution.
        whole: `zyx` for volumes (planes, if the image has one z plane), or `yx` for each
            plane.
        columns: Names of the columns of an array, such as `("x", "y", "width")`; by default
            the axes, then `value_1` and so on.
        label_name: A label image of the image. The column `label` has the label in which a
            point lies, or 0.
        regions: Where to look for points; by default everywhere. `function` sees the box
            around an object of a mask; points in the object are kept.
        overwrite: Replace the table if it exists.

    Returns:
        The output of the task: the image.

    Raises:
        FileExistsError: The table exists, this job did not make it, and `overwrite` is
            false.
        ValueError: An argument is wrong, or `function` returns what is no position in its
            pixels.
    """
    image = image_to_write(image)
    regions = regions or Regions()
    label = open_label(image, label_name) if label_name else None
    shown = image.from_level(level)
    sizes, scale = dict(zip(image.axes, image.shape, strict=True)), image.physical_scale
    factors = {axis: size / image.scale[axis] for axis, size in shown.scale.items()}
    if label:
        label = level_like(label, shown)

    def rows(part: Part, pixels: Array) -> dict[str, list[Any]]:
        table = _table_of_points(function(pixels), part.axes, columns)
        inside = {axis: table.pop(axis) for axis in part.axes}
        shape = pixels.shape[-len(part.axes) :]
        _check_positions(inside, dict(zip(part.axes, shape, strict=True)))
        spatial = [axis for axis in image.axes if axis in "zyx"]
        starts = dict(zip(image.axes.replace("c", ""), part.region, strict=True))
        at = {
            axis: starts[axis].start + inside.get(axis, np.zeros(len(inside["x"])))
            for axis in spatial
        }
        pixel = [np.floor(at[axis] + 0.5).astype(int) for axis in spatial]
        kept = np.ones(len(inside["x"]), bool)
        if part.roi and part.roi.mask:
            kept = _values(part.roi.inside(), part.roi.region, pixel).astype(bool)
        place = {axis: (at[axis] + 0.5) * factors[axis] - 0.5 for axis in spatial}
        if level:  # the last pixel of which may reach out of the image
            place = {k: np.minimum(at, sizes[k] - 1) for k, at in place.items()}
        place |= {f"{axis}_micrometer": place[axis] * scale[axis] for axis in spatial}
        if label:
            place["label"] = _values(label.read(part.region, 0), part.region, pixel)
        if clash := place.keys() & table.keys():
            raise ValueError(
                f"function: it returns a column {min(clash)!r}, which the table of points has"
            )
        return {k: np.asarray(v)[kept].tolist() for k, v in (place | table).items()}

    sources = regions.sources(image)
    path = image.path / "tables" / table_name
    step = current_step([image, *sources, *([label] if label else [])])
    if not is_made(path, step, overwrite=overwrite):
        rois = find_rois(image, regions, level, sources=sources)
        found = _join(rows, image, channel, level, whole, rois, with_z=False)
        write_table(image, table_name, found, overwrite=overwrite, made_by=step)
        logger.info("Points in %s: %d", path, len(found["x"]))
    return task_output(ImageUpdate(zarr_url=str(image.path)))


def _parts(
    image: Image, whole: str, rois: Sequence[Roi] | None, *, with_z: bool
) -> Iterator[Part]:
    """Parts of an image that a function sees, in order."""
    axes = image.axes.replace("c", "")
    full = [n for axis, n in zip(image.axes, image.shape, strict=True) if axis != "c"]
    whole = whole if image.is_3d else "yx"
    for roi in rois if rois is not None else [None]:
        region = roi.region if roi else tuple(slice(0, n) for n in full)
        bounds = dict(zip(axes, region, strict=True))
        outer = {"t": bounds.get("t", slice(0, 1))}
        outer["z"] = bounds.get("z", slice(0, 1)) if whole == "yx" else slice(0, 1)
        for t in range(outer["t"].start, outer["t"].stop):
            for z in range(outer["z"].start, outer["z"].stop):
                place: dict[str, Any] = {"time_point": t} if "t" in axes else {}
                place |= {"region": roi.name} if roi else {}
                part = bounds | ({"t": slice(t, t + 1)} if "t" in axes else {})
                if whole == "yx" and "z" in axes:
                    place |= {"z": z} if image.is_3d and with_z else {}
                    part["z"] = slice(z, z + 1)
                yield Part(place, tuple(part[axis] for axis in axes), whole, roi)


def _join(
    rows: Callable[[Part, Array], dict[str, list[Any]]],
    image: Image,
    channel: Channels | None,
    level: int,
    whole: str,
    rois: Sequence[Roi] | None,
    *,
    with_z: bool,
) -> dict[str, list[Any]]:
    """Columns of the whole table, from those of each part of an image.

    Raises:
        ValueError: They differ between parts.
    """
    if whole not in ("yx", "zyx"):
        check_axes(whole=whole)
        raise ValueError(f"whole: {whole!r}; allowed are 'yx' and 'zyx'")
    positions = channels_to_read(image, channel)
    image = image.from_level(level)

    def run(part: Part) -> tuple[Part, dict[str, list[Any]]]:
        pixels = image.read(part.region, positions)
        front = pixels.shape[:1] if isinstance(positions, list) else ()
        shape = [s.stop - s.start for s in part.region][-len(part.axes) :]
        return part, rows(part, pixels.reshape(*front, *shape))

    table: dict[str, list[Any]] = {}
    names: list[str] = []
    for number, (part, columns) in enumerate(
        in_threads(run, _parts(image, whole, rois, with_z=with_z))
    ):
        if clash := part.place.keys() & columns.keys():
            raise ValueError(
                f"function: it returns a column {min(clash)!r}, which says where a row is from"
            )
        if number and names != [*columns]:
            raise ValueError(
                f"function: it returns the columns {', '.join(columns)} of a part of "
                f"{image.path}, and {', '.join(names)} of another part"
            )
        names = [*columns]
        n_rows = max(map(len, columns.values()), default=0)
        for key, values in (
            {key: [value] * n_rows for key, value in part.place.items()} | columns
        ).items():
            table.setdefault(key, []).extend(values)
    return table


def _names(result: Any) -> list[str] | None:
    """Names of the columns of a dictionary or DataFrame; None of other results."""
    if isinstance(result, Mapping):
        return [*result]
    return [*result.columns] if hasattr(result, "columns") else None


def _columns(result: Any) -> dict[str, list[Any]]:
    """Columns of values by name, of numbers or columns by name.

    Raises:
        ValueError: They have no names, or differ in length.
    """
    names = _names(result)
    if names is None:
        raise ValueError(
            f"function: it returns a {type(result).__name__}, and not numbers by the name "
            "of their column"
        )
    arrays = {name: unmasked(result[name]) for name in names}
    shapes = {array.shape for array in arrays.values()}
    if len(shapes) > 1 or any(len(shape) > 1 for shape in shapes):
        described = {name: array.shape for name, array in arrays.items()}
        raise ValueError(f"function: its columns differ in their shapes: {described}")
    return {name: np.atleast_1d(array).tolist() for name, array in arrays.items()}


def _table_of_points(result: Any, axes: str, columns: Sequence[str]) -> dict[str, Any]:
    """Columns with the names of the axes, and others, of what a function returns.

    Raises:
        ValueError: A column is missing, or an array has too few columns.
    """
    if (names := _names(result)) is not None:
        if missing := [axis for axis in axes if axis not in names]:
            raise ValueError(
                f"function: it returns no column {missing[0]!r}, which each point has"
            )
        return {name: unmasked(result[name]) for name in names}
    array = unmasked(result)
    if array.size == 0:
        array = np.empty((0, max(len(columns), len(axes))))
    if array.ndim != 2 or array.shape[1] < len(axes):
        raise ValueError(
            f"function: it returns an array of the shape {array.shape}, and not a row for "
            f"each point with its position along {', '.join(axes)}"
        )
    # A function may see planes or volumes, and z comes where x does not.
    known = [name for name in columns if name not in "zyx" or name in axes]
    known = known or [*axes]
    n_more = array.shape[1] - len(known)
    known += [f"value_{number}" for number in range(1, n_more + 1)]
    if len(known) != array.shape[1] or not {*axes} <= {*known}:
        raise ValueError(
            f"columns: {', '.join(columns)} for points with {', '.join(axes)} in an array of "
            f"shape {array.shape}"
        )
    return dict(zip(known, array.T, strict=True))


def _check_positions(inside: Mapping[str, Array], sizes: Mapping[str, int]) -> None:
    """Reject positions that are none of the pixels that a function saw.

    Raises:
        ValueError: The message has the first one.
    """
    for axis, values in inside.items():
        numbers = values.astype(float)
        wrong = ~((numbers >= -0.5) & (numbers < sizes[axis] - 0.5))
        if wrong.any():
            raise ValueError(
                f"function: it returns a point with {axis} = {numbers[wrong][0]:g}, and there "
                f"are the pixels 0 to {sizes[axis] - 1}"
            )


def _values(array: Array, region: Region, pixel: Sequence[Array]) -> Array:
    """Values of the pixels of a region at positions in the image."""
    starts = [s.start for s in region][-len(pixel) :]
    array = array.reshape(array.shape[-len(pixel) :])
    index = tuple(at - start for at, start in zip(pixel, starts, strict=True))
    return np.asarray(array[index])
