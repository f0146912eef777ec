"""Label objects by a function of overlapping tiles, such as a neural network."""

import logging
import math
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise, product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import zarr

from .blocks import Roi, build_pyramid, cut_blocks, cut_slabs
from .image import Channels, Image, channels_to_read
from .objects import Runs, checked_labels, number_objects, shared_pixels
from .slices import Array, Region, common, extents, within
from .voxels import read_voxels, write_voxels

logger = logging.getLogger(__name__)

MAX_TILES = 1_000_000
MAX_FAR_PAIRS = 200_000  # of tiles that overlap, and are no neighbours
IN_MEMORY = 2**26  # bytes of labels


class Tile(NamedTuple):
    """A part of a region.

    Attributes:
        place: Position in the grid of tiles.
        outer: What the function sees.
        core: Where its labels are taken; the cores of all tiles make the region.
    """

    place: tuple[int, ...]
    outer: Region
    core: Region


def label_tiles(
    segment: Callable[[Array], Array],
    image: Image,
    label: Image,
    *,
    channel: Channels | None = None,
    tile: int = 1024,
    overlap: int = 128,
    axes: str = "zyx",
    rois: Sequence[Roi] | None = None,
    min_size: int = 1,
    level: int = 0,
) -> int:
    """Fill a label image tile by tile, then build its pyramid.

    Where two tiles see the same place, objects are matched if they share more than half of
    their pixels there (intersection over union). So objects that are smaller than the
    overlap do not depend on the tiles, if `segment` finds them by the pixels near them.
    Larger ones are joined where the tiles agree on them.

    Labels are numbered from 1, region by region, in the order of their first pixels.
    Memory grows with a tile, not with the image or its regions: the labels of all tiles
    wait in the folder of `label`, compressed, if they take more than 64 MB.

    Args:
        segment: Called on one tile at a time, since a network has threads, or a GPU, of its
            own. Takes the pixels of a tile, and returns labels in an array of that shape.
            Axes are (z, y, x), or (y, x) if the image has one plane or `axes` is `yx`.
        image: Image to read.
        label: Label image to write, from `derive_label`.
        channel: Channel of `image` to read, which has to be given if it has several. Of a
            list, `segment` gets them in front: (c, z, y, x), or (c, y, x).
        tile: Longest side of a tile in y and x, in pixels of the pyramid level; in z, as
            many planes as take the same length.
        overlap: How far a tile reaches into each of its neighbours, likewise.
        axes: `zyx`, or `yx` to segment each plane by itself, with labels of its own.
        rois: Regions of the pyramid level, from `find_rois`: each is segmented by itself.
            Pixels outside of a mask are 0. Where regions overlap, the later one counts.
        min_size: Objects of fewer pixels are removed.
        level: Pyramid level to work on; finer ones of `label` get its nearest pixels.

    Returns:
        Highest label; where regions overlap, some may be hidden.

    Raises:
        ValueError: `axes` are others, the overlap leaves nothing of a tile, or so little
            that there are millions of them; or `segment` returns what is no label: a mask,
            floats, negative numbers; or `channel` is not one that `image` has.
    """
    if axes not in ("yx", "zyx"):
        raise ValueError(f"axes: must be yx or zyx, not {axes}")
    if not 0 <= 2 * overlap < tile:
        raise ValueError(
            f"overlap: {overlap} on both sides leaves nothing of a tile of {tile}; "
            f"allowed is 0 to {(tile - 1) // 2}"
        )
    channel = channels_to_read(image, channel)
    scale, array = label.from_level(level).scale, label.levels[level]
    sides = {axis: (tile, overlap) for axis in "yx"}
    if "z" in axes and "z" in label.axes:
        planes = scale["x"] / scale["z"]
        margin = math.ceil(overlap * planes)
        sides["z"] = max(math.ceil(tile * planes), 3 * margin, 1), margin
    seen = tuple(
        slice(None) if axis in sides and (axis != "z" or extent > 1) else 0
        for axis, extent in zip(label.axes, array.shape, strict=True)
    )

    def run(roi: Roi) -> Array:
        pixels = image.read(roi.region, channel, level)
        inside = roi.inside()
        pixels = np.where(inside, pixels, np.zeros((), pixels.dtype))
        found = checked_labels(segment(pixels[(..., *seen)]), inside[seen].shape)
        return np.where(inside, found.reshape(inside.shape), np.uint32(0))

    def segment_part(part: Roi, highest: int) -> int:
        """Fill a part of the label image; return the number of its labels."""
        tiles = _cut_tiles(part.region, label.axes, sides)
        kept = _room_for(tiles, folder)
        sizes, firsts = [], []
        for number, (_, outer, core) in enumerate(tiles):
            found = run(replace(part, region=outer))
            kept[(number, *map(slice, found.shape))] = found
            runs = Runs.find(found[within(core, outer)])
            corner = [s.start for s in core]
            n_labels = int(found.max(initial=0))
            size, first = runs.sizes_and_firsts(n_labels, corner, array.shape)
            sizes.append(size)
            firsts.append(first)
        # Label 3 of tile 7 is number offsets[7] + 3 of all.
        offsets = np.cumsum([0, *map(len, sizes)])
        pairs = [np.zeros((2, 0), np.int64)]
        for lower, upper in _neighbours(tiles, reach):
            shared = common(tiles[lower].outer, tiles[upper].outer) or ()
            same = _same_objects(
                *(kept[(n, *within(shared, tiles[n].outer))] for n in (lower, upper))
            )
            # What lies but in the margin of its tile may have been cut there.
            counts = (sizes[lower][same[0] - 1] > 0) & (sizes[upper][same[1] - 1] > 0)
            offset = np.array([[offsets[lower]], [offsets[upper]]])
            pairs.append(same[:, counts] + offset)
        joined, n_objects = number_objects(
            np.concatenate(sizes),
            np.concatenate(firsts),
            np.concatenate(pairs, axis=1),
            min_size,
        )
        final = np.where(joined, joined + np.uint32(highest), 0)
        background = np.zeros(1, np.uint32)
        # Block by block, so that no chunk is written twice.
        for block in product(*blocks):
            region = common(block, part.region)
            if region is None:
                continue
            labels = np.zeros(extents(region), np.uint32)
            for number, one in enumerate(tiles):
                place = common(region, one.core)
                if place is not None:
                    own = final[offsets[number] : offsets[number + 1]]
                    local = kept[(number, *within(place, one.outer))]
                    labels[within(place, region)] = np.append(background, own)[local]
            if part.mask:
                inside = replace(part, region=region).inside()
                labels = np.where(inside, labels, read_voxels(array, region))
            write_voxels(array, region, labels)
        return n_objects

    highest = 0
    blocks = cut_blocks(label.from_level(level))
    # Tiles that are so far from each other in their grid may still overlap.
    reach = [
        math.ceil(2 * margin / (side - 2 * margin))
        for side, margin in (sides.get(axis, (1, 0)) for axis in label.axes)
    ]
    folder = label.path / ".tiles"
    whole = Roi("", tuple(slice(0, extent) for extent in array.shape))
    parts = [
        replace(roi, region=slab)
        for roi in ([whole] if rois is None else rois)
        for slab in cut_slabs(label.axes, roi.region, axes)
    ]
    n_tiles = n_far = 0
    for part in parts:
        grid = [len(cut) for cut in _cut_axes(part.region, label.axes, sides)]
        near = [min(3, n) for n in grid]
        seen_by = [min(2 * far + 1, n) for far, n in zip(reach, grid, strict=True)]
        n_tiles += math.prod(grid)
        n_far += math.prod(grid) * (math.prod(seen_by) - math.prod(near)) // 2
    if n_tiles > MAX_TILES or n_far > MAX_FAR_PAIRS:
        raise ValueError(
            f"tile: {tile} with an overlap of {overlap} makes {n_tiles} tiles, of which "
            f"{n_far} pairs overlap that are no neighbours: take larger tiles, or an "
            f"overlap of at most {tile // 4}"
        )
    logger.info("Tiles of %s: %d", image.path, n_tiles)
    try:
        for part in parts:
            highest += segment_part(part, highest)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    build_pyramid(label, level=level)
    return highest


def _cut_axes(
    region: Region, axes: str, sides: Mapping[str, tuple[int, int]]
) -> list[list[tuple[slice, slice]]]:
    """Outer parts and cores of the tiles of a region, axis by axis.

    Args:
        region: One slice for each of the axes.
        axes: Axes of the region.
        sides: Longest side of a tile and overlap, of the axes that are cut.
    """
    cuts = []
    for axis, whole in zip(axes, region, strict=True):
        length = whole.stop - whole.start
        side, margin = sides.get(axis, (length, 0))
        step = side - 2 * margin
        # The first and the last tile need no margin at the border.
        n_tiles = max(1, math.ceil((length - 2 * margin) / step))
        inner = [whole.start + margin + step * n for n in range(1, n_tiles)]
        cuts.append(
            [
                (
                    slice(
                        max(low - margin, whole.start), min(high + margin, whole.stop)
                    ),
                    slice(low, high),
                )
                for low, high in pairwise([whole.start, *inner, whole.stop])
            ]
        )
    return cuts


def _cut_tiles(
    region: Region, axes: str, sides: Mapping[str, tuple[int, int]]
) -> list[Tile]:
    """Cut a region into tiles; the arguments are those of `_cut_axes`."""
    cuts = _cut_axes(region, axes, sides)
    tiles = []
    for place in np.ndindex(*map(len, cuts)):
        outer, core = zip(
            *(cut[n] for cut, n in zip(cuts, place, strict=True)), strict=True
        )
        tiles.append(Tile(place, outer, core))
    return tiles


def _neighbours(
    tiles: Sequence[Tile], reach: Sequence[int]
) -> Iterator[tuple[int, int]]:
    """Numbers of two tiles that overlap, the earlier one first."""
    numbers = {one.place: number for number, one in enumerate(tiles)}
    for upper, one in enumerate(tiles):
        places = zip(one.place, reach, strict=True)
        for place in product(*(range(n - far, n + far + 1) for n, far in places)):
            lower = numbers.get(place, upper)
            if lower < upper and common(tiles[lower].outer, one.outer):
                yield lower, upper


def _room_for(tiles: Sequence[Tile], folder: Path) -> Any:
    """An array for the labels of all tiles, each in a corner of its own row."""
    longest = tuple(map(max, zip(*(extents(one.outer) for one in tiles), strict=True)))
    shape = (len(tiles), *longest)
    if len(tiles) == 1 or 4 * math.prod(shape) <= IN_MEMORY:
        return np.zeros(shape, np.uint32)
    return zarr.create_array(
        folder, shape=shape, chunks=(1, *longest), dtype=np.uint32, overwrite=True
    )


def _same_objects(lower: Array, upper: Array) -> Array:
    """Pairs of labels that share more than half of their pixels; two rows.

    Args:
        lower: Labels of one tile, where it overlaps with another one.
        upper: Labels of that one at the same place.
    """
    pairs, shared = shared_pixels(lower, upper)
    sizes = np.bincount(lower.ravel())[pairs[0]] + np.bincount(upper.ravel())[pairs[1]]
    # Of both together, more than half: no object can be two others.
    return pairs[:, 2 * shared > sizes - shared]
