"""Work in regions of an image: of a ROI table, or the objects of a mask."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import TypeVar

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from .blocks import Fit, build_pyramid, cast, cut_blocks, in_threads, n_threads
from .image import Array, Image, Region
from .overlays import level_like, open_label
from .rois import Roi, label_rois, read_rois
from .tables import read_table, table_files, table_names

R = TypeVar("R")


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
        "is worked on by itself. With a ROI table, the part of each object in each region "
        "is.",
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


def find_rois(image: Image, regions: Regions, level: int = 0) -> list[Roi] | None:
    """Selected regions, in the order of their tables; each has one time point.

    Args:
        image: Image to work on.
        regions: The task's argument.
        level: Pyramid level whose pixels the regions shall be in.

    Returns:
        None if the whole image is meant.

    Raises:
        ValueError: There is no such table or label, or no region lies in the image.
    """
    image = image.from_level(level)
    found = None
    if regions.mask:
        found = _objects(image, regions.mask)
    if regions.roi_table:
        fields = read_rois(image, regions.roi_table, "regions.roi_table")
        found = fields if found is None else _intersections(found, fields)
    if found is None or "t" not in image.axes:
        return found
    times = [(roi, t) for roi in found for t in range(*roi.region[0].indices(2**62))]
    return [replace(roi, region=(slice(t, t + 1), *roi.region[1:])) for roi, t in times]


def _objects(image: Image, name: str) -> list[Roi]:
    """A region around each object of a label image, or of a masking ROI table."""
    argument = "regions.mask"
    mask = level_like(_mask_label(image, name, argument), image, argument)
    if name in image.label_names:
        return [replace(roi, mask=mask) for roi in label_rois(mask)]
    rois = read_rois(image, name, argument)
    if any(roi.label is None for roi in rois):
        raise ValueError(f"{argument}: the table {name!r} has no column of labels")
    return [replace(roi, mask=mask) for roi in rois]


def _mask_label(image: Image, name: str, argument: str) -> Image:
    """The label image with a name, or of the masking ROI table with that name."""
    if name in image.label_names:
        return open_label(image, name, argument)
    if name not in table_names(image):
        raise ValueError(
            f"{argument}: no label or table {name!r} in {image.path}; there are: "
            + (", ".join([*image.label_names, *table_names(image)]) or "none")
        )
    label_name = read_table(image, name, argument).label_name
    if not label_name:
        raise ValueError(f"{argument}: the table {name!r} names no label image")
    return open_label(image, label_name, argument)


def _intersections(objects: list[Roi], fields: list[Roi]) -> list[Roi]:
    """The part of each object in each region."""
    parts = []
    for field, thing in product(fields, objects):
        region = tuple(
            slice(max(one.start, other.start), min(one.stop, other.stop))
            for one, other in zip(field.region, thing.region, strict=True)
        )
        if all(s.start < s.stop for s in region):
            name = f"{field.name}:{thing.name}"
            parts.append(replace(thing, name=name, region=region))
    return parts


def each_roi(
    function: Callable[[Roi], R], rois: Sequence[Roi], threads: int | None = None
) -> Iterator[tuple[Roi, R]]:
    """Call `function` on each region, some at a time; results in the order of the regions.

    What is written between two results meets no other thread: regions may share chunks.

    Args:
        function: Takes a region.
        rois: Regions, from `find_rois`.
        threads: How many calls run at a time; by default one per processor.
    """
    size = threads or n_threads()
    for start in range(0, len(rois), size):
        some = rois[start : start + size]
        yield from zip(some, [*in_threads(function, some, threads)], strict=True)


def map_regions(
    function: Callable[[Array], Array],
    source: Image,
    target: Image,
    rois: Sequence[Roi],
    *,
    copy_rest: bool = True,
    threads: int | None = None,
) -> None:
    """Apply `function` to the pixels of each region, and copy the rest of `source`.

    As with `map_blocks`, integers are rounded, and what the data type of `target` cannot
    hold is an error. Memory grows with a region and the number of threads.

    Args:
        function: Takes and returns an array with the axes of `target`: the region of one
            channel. It sees all pixels around an object; those inside of it are written.
        source: Image to read.
        target: Image to write, with the same axes, from `derive_image`.
        rois: Regions, from `find_rois`. Where they overlap, the later one counts.
        copy_rest: Whether the rest of the image is that of `source`; otherwise it is 0,
            where what the function makes is no grey value.
        threads: How many regions at a time; by default one per processor.

    Raises:
        ValueError: The results do not fit the data type of `target`.
    """
    array = target.levels[0]

    def copy(region: Region) -> None:
        array[region] = cast(source.read(region), array.dtype) if copy_rest else 0

    for _ in in_threads(copy, product(*cut_blocks(target)), threads):
        pass
    at = target.axes.find("c")
    channels = range(target.shape[at]) if at >= 0 else range(1)
    fit = Fit(array.dtype)

    def with_channel(region: Region, channel: int) -> Region:
        if at < 0:
            return region
        return (*region[:at], slice(channel, channel + 1), *region[at:])

    for channel in channels:

        def run(roi: Roi, channel: int = channel) -> Array:
            pixels = source.read(with_channel(roi.region, channel))
            result = function(pixels)
            if result.shape != pixels.shape:
                raise ValueError(
                    f"function: it returns the shape {result.shape} for {pixels.shape}"
                )
            return fit(result)

        for roi, result in each_roi(run, rois, threads):
            region = with_channel(roi.region, channel)
            if roi.mask:
                inside = roi.inside()
                inside = inside if at < 0 else np.expand_dims(inside, at)
                result = np.where(inside, result, np.asarray(array[region]))
            array[region] = result
    fit.check()
    build_pyramid(target, threads)


def regions_of_labels(
    label: Image, rois: Sequence[Roi], threads: int | None = None
) -> dict[tuple[int, int], str]:
    """Name of the region in which each label has most of its pixels.

    Args:
        label: Label image.
        rois: Regions in its pixels, from `find_rois`. Of equal ones, the first counts.
        threads: How many regions at a time; by default one per processor.

    Returns:
        Names by label and time point, of the labels that have pixels in a region.
    """

    def count(roi: Roi) -> tuple[Array, Array]:
        labels = label.read(roi.region, 0)
        return np.unique(labels[roi.inside() & (labels > 0)], return_counts=True)

    most: dict[tuple[int, int], tuple[int, str]] = {}
    for roi, (numbers, sizes) in each_roi(count, rois, threads):
        time = roi.region[0].start if "t" in label.axes else 0
        for number, size in zip(numbers.tolist(), sizes.tolist(), strict=True):
            if size > most.get((number, time), (0, ""))[0]:
                most[number, time] = size, roi.name
    return {key: name for key, (_, name) in most.items()}
