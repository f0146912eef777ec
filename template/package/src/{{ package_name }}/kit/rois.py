"""Regions of interest (ROIs): their tables, and the ROIs of the objects of a label.

ROI tables are in micrometers from the corner of the image. As for ngio, a region is made
of all pixels that it touches, but for a hundredth of a pixel.
"""

import logging
import math
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .blocks import each_block
from .columns import kind_of, parse_numbers
from .image import Array, Image, Region
from .ngff import add_to_image, open_group
from .provenance import Step
from .tables import Table, check_links, read_table, table_names, write_table

logger = logging.getLogger(__name__)

COLUMNS = {axis: (f"{axis}_micrometer", f"len_{axis}_micrometer") for axis in "zyx"}
COLUMNS["t"] = ("t_second", "len_t_second")
FARTHEST = 1e300  # what is no number is not below it either


@dataclass(frozen=True, eq=False)
class Roi:
    """A region of interest.

    Attributes:
        name: Name in the table, or label of the object.
        region: One slice, in pixels, for each axis of the image but `c`.
        label: Label of the object that it surrounds, if it does.
        mask: Label image with that object.
    """

    name: str
    region: Region
    label: int | None = None
    mask: Image | None = None

    def inside(self) -> Array:
        """Mask of the object in the region; all true without an object."""
        if self.mask is None:
            return np.ones([s.stop - s.start for s in self.region], bool)
        return np.asarray(self.mask.read(self.region, 0) == self.label)


def read_rois(image: Image, name: str, argument: str = "roi_table") -> list[Roi]:
    """Regions of a ROI table, cut at the border of the image.

    Args:
        image: Image that has the table; regions are in its pixels.
        name: Name of the table.
        argument: Name of the task's argument, for the error messages.

    Raises:
        ValueError: There is no such table, it is no ROI table, its positions are no
            numbers, the unit of an axis is not known, or all regions lie outside.
    """
    table = read_table(image, name, argument)
    columns = table.columns
    where = f"{argument}: the table {name!r} of {image.path}"
    needed = [column for axis in "yx" for column in COLUMNS[axis]]
    if missing := [column for column in needed if column not in columns]:
        raise ValueError(f"{where} is no ROI table: it has no column {missing[0]}")
    scale = _pixel_sizes(image, argument)
    axes = image.axes.replace("c", "")
    sizes = dict(zip(image.axes, image.shape, strict=True))
    regions: list[list[slice]] = [[] for _ in columns[needed[0]]]
    n_cut = 0
    for axis in axes:
        start, length = (columns.get(column) for column in COLUMNS[axis])
        if start is None or length is None:
            for region in regions:
                region.append(slice(0, sizes[axis]))
            continue
        places = zip(_numbers(start), _numbers(length), strict=True)
        for row, (region, (first, size)) in enumerate(
            zip(regions, places, strict=True)
        ):
            if not (abs(first) + abs(size) < FARTHEST and size >= 0):
                reason = "no region inside of the image" if size < 0 else "no numbers"
                raise ValueError(
                    f"{where} has positions in {axis} that are {reason}: row {row + 1} "
                    f"begins at {start[row]!s} and is {length[row]!s} long"
                )
            low = math.floor(_pixel(first / scale[axis]))
            high = math.ceil(_pixel((first + size) / scale[axis]))
            n_cut += low < 0 or high > sizes[axis]
            region.append(slice(max(low, 0), min(high, sizes[axis])))
    names = _names(table, len(regions), where)
    labels = _labels(table, len(regions), where)
    rois = [
        Roi(name, tuple(region), label)
        for name, label, region in zip(names, labels, regions, strict=True)
        if all(s.start < s.stop for s in region)
    ]
    if regions and not rois:
        raise ValueError(f"{where} has no region inside of the image")
    if n_cut:
        logger.info("%s: regions reach beyond the image, and are cut there", where)
    if len(rois) < len(regions):
        left_out = len(regions) - len(rois)
        logger.info("%s: %d regions outside of the image are left out", where, left_out)
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
        raise ValueError(f"{where} has no name in row {names.index('') + 1}")
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
        ValueError: `name` cannot be the name of a folder, a region has not one slice for
            each axis but `c`, or the unit of an axis is not known.
        FileExistsError: The table exists, and `overwrite` is false.
    """
    scale = _pixel_sizes(image, "table_name")
    axes = image.axes.replace("c", "")
    index = "label" if label_name else "FieldIndex"
    values = [roi.label if label_name else roi.name for roi in rois]
    for value, n_times in Counter(values).items():
        if value is None or n_times > 1:
            raise ValueError(
                f"rois: {n_times} regions for the table {name!r} have the {index} "
                f"{value!r}; each needs one of its own"
            )
    columns: dict[str, list[Any]] = {index: values}
    for first, length in (COLUMNS[axis] for axis in "xyz"):
        columns |= {first: [], length: []}
    if "t" in axes and any(roi.region[0] != slice(0, image.shape[0]) for roi in rois):
        columns |= {column: [] for column in COLUMNS["t"]}
    for roi in rois:
        by_axis = dict(zip(axes, roi.region, strict=True))
        by_axis.setdefault("z", slice(0, 1))
        for axis, (first, length) in COLUMNS.items():
            if first in columns:
                step, s = scale.get(axis, 1.0), by_axis[axis]
                columns[first].append(s.start * step)
                columns[length].append((s.stop - s.start) * step)
    order = [index, *(COLUMNS[axis][part] for part in (0, 1) for axis in "xyzt")]
    write_table(
        image,
        name,
        {column: columns[column] for column in order if column in columns},
        type="masking_roi_table" if label_name else "roi_table",
        index=index,
        label_name=label_name,
        overwrite=overwrite,
        made_by=made_by,
    )


def roi_tables(image: Image) -> list[str]:
    """Names of the ROI and condition tables of an image, which its copies get.

    Raises:
        ValueError: One has links, or its name leads elsewhere.
    """
    names = []
    for name in table_names(image):
        path = image.path / "tables" / name
        kept = ("roi_table", "generic_roi_table", "condition_table")
        if path.is_dir() and open_group(path).attrs.get("type") in kept:
            check_links(path, "zarr_url")
            names.append(name)
    return names


def copy_roi_tables(image: Image, path: Path, sizes: Mapping[str, int]) -> None:
    """Copy the ROI and condition tables of a source to a new image.

    Tables of labels stay behind, as labels do.

    Args:
        image: Image that has the tables.
        path: Folder of the new image; what it has already stays.
        sizes: Number of pixels along the axes that have changed, which regions then cover.

    Raises:
        ValueError: As `roi_tables`.
    """
    for name in roi_tables(image):
        source, target = (folder / "tables" / name for folder in (image.path, path))
        if target.exists():
            continue
        table = read_table(image, name) if sizes else None
        if table and table.type != "condition_table":
            for axis, size in sizes.items():
                first, length = (table.columns.get(column) for column in COLUMNS[axis])
                if first is not None and length is not None:
                    whole = size * image.physical_scale[axis]
                    ends = np.zeros(len(first)), np.full(len(first), whole)
                    table.columns.update(zip(COLUMNS[axis], ends, strict=True))
            write_table(path, name, table.columns, type=table.type, index=table.index)
        else:
            junk = shutil.ignore_patterns(".*.partial")  # being written
            shutil.copytree(source, target, symlinks=True, ignore=junk)
            add_to_image(target)


def label_rois(label: Image) -> list[Roi]:
    """The region around each object of a label image, in the order of the labels.

    Raises:
        ValueError: It is no image of integers.
    """
    if label.levels[0].dtype.kind not in "iu":
        dtype = label.levels[0].dtype
        raise ValueError(f"{label.path} is of {dtype}, which is no type of labels")

    def find(region: Region, labels: Array) -> dict[int, Region]:
        from scipy.ndimage import find_objects

        numbers = np.arange(int(labels.max(initial=0)) + 1)
        if len(numbers) > labels.size:  # large gaps, which would take memory
            numbers, labels = np.unique(labels, return_inverse=True)
            numbers, labels = np.append(0, numbers), labels.reshape(labels.shape) + 1
        boxes = {}
        for number, box in enumerate(find_objects(labels.astype(np.int64)), start=1):
            if box and numbers[number] > 0:
                places = zip(box, region, strict=True)
                boxes[int(numbers[number])] = tuple(
                    slice(s.start + r.start, s.stop + r.start) for s, r in places
                )
        return boxes

    found: dict[int, Region] = {}
    for boxes in each_block(find, label, 0):
        for number, box in boxes.items():
            known = found.get(number, box)
            found[number] = tuple(
                slice(min(one.start, other.start), max(one.stop, other.stop))
                for one, other in zip(known, box, strict=True)
            )
    return [Roi(str(n), found[n], n) for n in sorted(found)]
