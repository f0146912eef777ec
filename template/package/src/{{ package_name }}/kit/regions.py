"""Regions of an image: of ROI tables, and of the objects of a mask.

ROI tables are in micrometers from the corner of the image. As for ngio, a region is made
of all pixels that it touches, but for a hundredth of a pixel.
"""

import logging
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from .blocks import Roi, each_block, each_roi
from .columns import kind_of, parse_numbers
from .image import Image, level_like, open_label
from .provenance import Step
from .publish import suggest
from .slices import Array, Region, common, grow, union
from .tables import COLUMNS, Table, read_table, table_files, table_names, write_table

logger = logging.getLogger(__name__)
FARTHEST = 1e300  # what is no number is not below it either


class Regions(BaseModel):
    """Where in an image to work; by default everywhere."""

    model_config = ConfigDict(extra="forbid")

    roi_table: str | None = Field(
        default=None,
        description="Name of a ROI table, such as `FOV_ROI_table`: each of its regions is "
        "worked on by itself. Where regions overlap, the later one counts.",
    )
    mask: str | None = Field(
        default=None,
        description="Name of a label image, or of a masking ROI table: each of its objects "
        "is worked on by itself. With a ROI table, each part of an object that lies in one "
        "region is.",
    )

    def sources(self, image: Image) -> list[Image | Path]:
        """Labels and files of tables on which the result depends, for a `Step`."""
        found: list[Image | Path] = []
        tables = [self.roi_table] if self.roi_table else []
        if self.mask:
            found.append(_mask_label(image, self.mask, "regions.mask"))
            if self.mask not in image.label_names:
                tables.append(self.mask)
        return [*found, *(path for name in tables for path in table_files(image, name))]


def find_rois(
    image: Image,
    regions: Regions,
    level: int = 0,
    *,
    sources: Sequence[Image | Path] = (),
) -> list[Roi] | None:
    """Selected regions, in the order of their tables; each has one time point.

    Args:
        image: Image to work on.
        regions: The task's argument.
        level: Pyramid level whose pixels the regions shall be in.
        sources: Those of `regions`, if they are known: a mask is not opened again.

    Returns:
        None if the whole image is meant.

    Raises:
        ValueError: There is no such table or label, or no region lies in the image.
    """
    image = image.from_level(level)
    found = None
    if regions.mask:
        label = next((s for s in sources if isinstance(s, Image)), None)
        label = label or _mask_label(image, regions.mask, "regions.mask")
        found = _objects(image, regions.mask, label)
    if regions.roi_table:
        fields = read_rois(image, regions.roi_table, "regions.roi_table")
        found = fields if found is None else _intersections(found, fields)
    if found is None or "t" not in image.axes:
        return found
    times = [(roi, t) for roi in found for t in range(*roi.region[0].indices(2**62))]
    return [replace(roi, region=(slice(t, t + 1), *roi.region[1:])) for roi, t in times]


def _objects(image: Image, name: str, label: Image) -> list[Roi]:
    """A region around each object of a label image, or of its masking ROI table."""
    argument = "regions.mask"
    mask = level_like(label, image, argument)
    if name in image.label_names:
        return [replace(roi, mask=mask) for roi in label_rois(mask)]
    rois = read_rois(image, name, argument)
    if any(roi.label is None for roi in rois):
        raise ValueError(
            f"{argument}: the table {name!r} has no column of labels: give a label image, "
            "or a masking ROI table"
        )
    boxes = {thing.label: thing.region for thing in label_rois(mask)}
    for roi in rois:
        box = boxes.get(roi.label)
        if box is None and mask.shape != label.shape:  # lost at a lower resolution
            continue
        if box is None or not _is_around(roi.region, box, moves="t" in image.axes):
            raise ValueError(
                f"{argument}: the table {name!r} of {image.path} has a region of the object "
                f"{roi.label}, which is not there in the label, or not as a whole: make the "
                "table again, or give the label itself"
            )
    return [replace(roi, mask=mask) for roi in rois]


def _is_around(region: Region, box: Region, *, moves: bool) -> bool:
    """Return True if a region contains an object, give or take a rounded pixel.

    Args:
        region: Of a table.
        box: Of the object, at all time points.
        moves: Whether it can be at different places: they then overlap.
    """
    if moves:
        return common(region, box) is not None
    space = grow(region, [1] * len(region), [s.stop + 1 for s in region])
    return common(box, space) == box


def _mask_label(image: Image, name: str, argument: str) -> Image:
    """The label image with a name, or of the masking ROI table with that name."""
    if name in image.label_names:
        return open_label(image, name, argument)
    if name not in table_names(image):
        raise ValueError(
            f"{argument}: no label or table {name!r} in {image.path}; "
            f"{suggest(name, [*image.label_names, *table_names(image)])}"
        )
    label_name = read_table(image, name, argument).label_name
    if not label_name:
        raise ValueError(
            f"{argument}: the table {name!r} names no label image: give the label image "
            "itself"
        )
    return open_label(image, label_name, argument)


def _intersections(objects: list[Roi], fields: list[Roi]) -> list[Roi]:
    """The part of each object in each region."""
    parts = []
    for field, thing in product(fields, objects):
        if region := common(field.region, thing.region):
            name = f"{field.name}:{thing.name}"
            parts.append(replace(thing, name=name, region=region))
    return parts


def label_rois(label: Image) -> list[Roi]:
    """The region around each object of a label image, in the order of the labels.

    Raises:
        ValueError: It is no image of integers, or one of them is no label.
    """
    if label.levels[0].dtype.kind not in "iu":
        dtype = label.levels[0].dtype
        raise ValueError(f"{label.path} is of {dtype}, which is no type of labels")

    def find(region: Region, labels: Array) -> dict[int, Region]:
        from scipy.ndimage import find_objects

        low, high = int(labels.min(initial=0)), int(labels.max(initial=0))
        if low < 0 or high >= 2**63:
            raise ValueError(
                f"{label.path} has labels that are negative, or above 2^63"
            )
        labels, numbers = labels.astype(np.int64), np.arange(min(high, labels.size) + 1)
        if high > labels.size:  # large gaps, which would take memory
            numbers, labels = np.unique(labels, return_inverse=True)
            numbers, labels = np.append(0, numbers), labels.reshape(labels.shape) + 1
        boxes = {}
        for number, box in enumerate(find_objects(labels), start=1):
            if box and numbers[number] > 0:
                places = zip(box, region, strict=True)
                boxes[int(numbers[number])] = tuple(
                    slice(s.start + r.start, s.stop + r.start) for s, r in places
                )
        return boxes

    found: dict[int, Region] = {}
    for boxes in each_block(find, label, 0):
        for number, box in boxes.items():
            found[number] = union(found.get(number, box), box)
    return [Roi(str(n), found[n], n) for n in sorted(found)]


def regions_of_labels(label: Image, rois: Sequence[Roi]) -> dict[tuple[int, int], str]:
    """Name of the region in which each label has most of its pixels.

    Args:
        label: Label image.
        rois: Regions in its pixels, from `find_rois`. Of equal ones, the first counts.

    Returns:
        Names by label and time point, of the labels that have pixels in a region.
    """

    def count(roi: Roi) -> tuple[Array, Array]:
        labels = label.read(roi.region, 0)
        return np.unique(labels[roi.inside() & (labels > 0)], return_counts=True)

    most: dict[tuple[int, int], tuple[int, str]] = {}
    for roi, (numbers, sizes) in each_roi(count, rois):
        time = roi.region[0].start if "t" in label.axes else 0
        for number, size in zip(numbers.tolist(), sizes.tolist(), strict=True):
            if size > most.get((number, time), (0, ""))[0]:
                most[number, time] = size, roi.name
    return {key: name for key, (_, name) in most.items()}


# --- ROI tables ---


def read_rois(image: Image, name: str, argument: str = "roi_table") -> list[Roi]:
    """Regions of a ROI table, cut at the border of the image.

    Args:
        image: Image that has the table; regions are in its pixels.
        name: Name of the table.
        argument: Name of the task's argument, for the error messages.

    Raises:
        ValueError: There is no such ROI table, its positions are no numbers, the unit of
            an axis is not known, or all regions lie outside.
    """
    table = read_table(image, name, argument)
    columns = table.columns
    where = f"{argument}: the table {name!r} of {image.path}"
    needed = [column for axis in "yx" for column in COLUMNS[axis]]
    if missing := [column for column in needed if column not in columns]:
        raise ValueError(
            f"{where} is no ROI table: it has no column {missing[0]}; "
            f"{suggest(missing[0], columns)}"
        )
    scale = _pixel_sizes(image, argument)
    n_rows, n_cut = len(columns[needed[0]]), 0
    by_axis: list[list[slice]] = []
    for axis, extent in zip(image.axes, image.shape, strict=True):
        start, length = (columns.get(name) for name in COLUMNS.get(axis, ("", "")))
        if axis == "c":
            continue
        by_axis.append([])
        if (start is None) != (length is None):
            raise ValueError(
                f"{where} has one of the columns {' and '.join(COLUMNS[axis])}: add the "
                "other one, or remove it"
            )
        if start is None or length is None:
            by_axis[-1] += [slice(0, extent)] * n_rows
            continue
        places = zip(_numbers(start), _numbers(length), strict=True)
        for row, (first, size) in enumerate(places):
            if not (abs(first) + abs(size) < FARTHEST and size >= 0):
                reason = "no region inside of the image" if size < 0 else "no numbers"
                raise ValueError(
                    f"{where} has positions in {axis} that are {reason}: row {row + 1} "
                    f"begins at {start[row]!s} and is {length[row]!s} long"
                )
            low = math.floor(_pixel(first / scale[axis]))
            high = math.ceil(_pixel((first + size) / scale[axis]))
            n_cut += low < 0 or high > extent
            by_axis[-1].append(slice(max(low, 0), min(high, extent)))
    regions = [*zip(*by_axis, strict=True)]
    names = _names(table, n_rows, where)
    labels = _labels(table, n_rows, where)
    rois = [
        Roi(name, region, label)
        for name, label, region in zip(names, labels, regions, strict=True)
        if all(s.start < s.stop for s in region)
    ]
    if regions and not rois:
        raise ValueError(
            f"{where} has no region inside of the image: its positions count from the first "
            "pixel of the image, in the unit of the image"
        )
    if n_cut:
        logger.info("%s: regions reach beyond the image, and are cut there", where)
    if len(rois) < len(regions):
        left_out = len(regions) - len(rois)
        logger.info("%s: regions outside of the image, left out: %d", where, left_out)
    return rois


def _numbers(values: Array) -> list[float]:
    """Numbers of a column; NaN where it has none, or only texts that look like numbers."""
    if kind_of(values) in ("int", "float"):
        return [math.nan if value is None else value for value in values.tolist()]
    found = [(parse_numbers([str(v)]) or [None])[0] for v in values.tolist()]
    return [math.nan if None not in found or n is None else n for n in found]


def _names(table: Table, n_rows: int, where: str) -> list[str]:
    """Unique names of regions.

    Raises:
        ValueError: A region has none.
    """
    if not table.index:
        return [str(row) for row in range(n_rows)]
    names = [str(name) for name in table.columns[table.index].tolist()]
    if "" in names:
        raise ValueError(
            f"{where} has no name in row {names.index('') + 1}: name all regions, or none"
        )
    unique = _unique(names)
    for row, (name, new) in enumerate(zip(names, unique, strict=True), start=1):
        if name != new:
            logger.warning(
                "%s has the name %r again in row %d: it is called %r",
                where,
                name,
                row,
                new,
            )
    return unique


def _unique(names: Sequence[str]) -> list[str]:
    """Make names unique: repeated ones get `_2`, `_3` and so on."""
    taken, numbers, unique = {*names}, Counter[str](), []
    for name in names:
        numbers[name] += 1
        new = name if numbers[name] == 1 else f"{name}_{numbers[name]}"
        while new != name and new in taken:
            numbers[name] += 1
            new = f"{name}_{numbers[name]}"
        taken.add(new)
        unique.append(new)
    return unique


def _labels(table: Table, n_rows: int, where: str) -> Sequence[int | None]:
    """Labels of the objects in the regions; None if the table has none.

    Raises:
        ValueError: One is no label.
    """
    if "label" not in table.columns:
        return [None] * n_rows
    values = table.columns["label"]
    labels = []
    for row, label in enumerate(_numbers(values)):
        if not (0 < label < 2**64 and label == int(label)):
            raise ValueError(
                f"{where} has the label {values[row]!s} in row {row + 1}, and not a whole "
                "number from 1"
            )
        labels.append(int(label))
    return labels


def _pixel(position: float) -> float:
    """A position in pixels, without the errors of floating point numbers."""
    nearest = round(position)
    return nearest if abs(nearest - position) < 0.01 else position


def _pixel_sizes(image: Image, argument: str) -> dict[str, float]:
    """Size of a pixel by axis, in the units of ROI tables.

    Raises:
        ValueError: The unit of an axis is not known.
    """
    try:
        return image.physical_scale
    except ValueError as error:
        raise ValueError(
            f"{argument}: {error}; ROI tables are in micrometers"
        ) from error


def write_roi_table(
    image: Image,
    name: str,
    rois: Sequence[Roi],
    *,
    label_name: str = "",
    overwrite: bool = False,
    made_by: Step | None = None,
) -> None:
    """Write a table of regions.

    Args:
        image: Image that gets the table, also one that is being made.
        name: Name of the table; tasks of others look for `FOV_ROI_table` and
            `well_ROI_table`.
        rois: Regions, in pixels of the image.
        label_name: Label image whose objects they surround: it becomes a masking table.
        overwrite: Whether to replace a table of this name.
        made_by: What the task does, to be written into the table; see `is_made`.

    Raises:
        ValueError: `name` cannot be the name of a folder. Or a region has not one slice
            for each axis but `c`. Or the unit of an axis is not known.
        FileExistsError: The table exists, and `overwrite` is false.
    """
    scale = _pixel_sizes(image, "table_name")
    axes = image.axes.replace("c", "")
    index = "label" if label_name else "FieldIndex"
    values = [roi.label if label_name else roi.name for roi in rois]
    for value, n_times in Counter(values).items():
        if value is None or n_times > 1:
            raise ValueError(
                f"rois: the {index} {value!r} is missing or repeated among the regions for "
                f"the table {name!r}; each needs one of its own"
            )
    is_part = "t" in axes and any(
        roi.region[0] != slice(0, image.shape[0]) for roi in rois
    )
    places = [
        {"z": slice(0, 1), **dict(zip(axes, roi.region, strict=True))} for roi in rois
    ]
    columns: dict[str, list[Any]] = {index: values}
    for part in (0, 1):  # all starts, then all lengths
        for axis in "xyzt" if is_part else "xyz":
            pixels = [
                (s.start, s.stop - s.start)[part] for s in (p[axis] for p in places)
            ]
            step = scale.get(axis, 1.0)
            columns[COLUMNS[axis][part]] = [n * step for n in pixels]
    write_table(
        image,
        name,
        columns,
        type="masking_roi_table" if label_name else "roi_table",
        index=index,
        label_name=label_name,
        overwrite=overwrite,
        made_by=made_by,
    )
