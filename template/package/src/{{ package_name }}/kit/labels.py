"""Labels of objects that may cross the borders of blocks."""

from collections.abc import Callable, Sequence
from itertools import product
from typing import Any, NamedTuple

import numpy as np

from .blocks import (
    build_pyramid,
    cast,
    check_axes,
    cut_blocks,
    cut_slabs,
    in_threads,
)
from .image import Array, Image, Region, channels_to_read
from .regions import each_roi
from .rois import Roi


class Local(NamedTuple):
    """Labels of one block, numbered from 1.

    Attributes:
        sizes: Number of pixels of each.
        firsts: First pixel of each, as a position in the flat image.
        pairs: Labels of slabs of the block that touch each other; two rows.
    """

    sizes: Array
    firsts: Array
    pairs: Array


def label_blocks(
    segment: Callable[[Array], Array],
    image: Image,
    label: Image,
    *,
    channel: int | Sequence[int] | None = None,
    whole: str = "",
    min_size: int = 1,
    level: int = 0,
    threads: int | None = None,
) -> int:
    """Fill a label image block by block, then build its pyramid.

    Objects that touch by their faces across the border of two blocks become one. Labels
    are numbered from 1 in the order of their first pixels, through all time points: the
    result does not depend on the blocks. Where `segment` finds connected components, it is that of
    `scipy.ndimage.label` on the whole image.

    Args:
        segment: Takes the pixels of a block and returns its labels, numbered from 1;
            both with the axes of `label`. Pixels of an object have to touch by their
            faces: `connectivity=1` for scikit-image.
        image: Image to read.
        label: Label image to write, from `derive_label`.
        channel: Channel of `image` to read, which has to be given if it has several. Of a
            list, `segment` gets an array with the channels in front of the axes of `label`.
        whole: Axes that `segment` must see whole, since it tells touching objects apart:
            with `yx`, it is called on one plane after the other, with `zyx` on one
            volume. Objects of two planes that touch become one.
        min_size: Objects of fewer pixels are removed.
        level: Pyramid level to work on; finer ones of `label` get its nearest pixels.
        threads: How many blocks at a time; by default one per processor.

    Returns:
        Number of labels.

    Raises:
        ValueError: `segment` returns what is no label (a mask, floats, negative numbers),
            or `channel` is not one that `image` has.
    """
    check_axes(whole=whole)
    channel = channels_to_read(image, channel)
    whole_label = label
    image, label = image.from_level(level), label.from_level(level)
    array = label.levels[0]
    cuts = cut_blocks(label, whole)
    regions = list(product(*cuts))
    inner_dims = [
        dim for dim, axis in enumerate(label.axes) if whole and axis not in whole + "t"
    ]

    def write_local(region: Region) -> Local:
        pixels = image.read(region, channel)
        corner = [s.start for s in region]
        local = np.zeros(pixels.shape[-array.ndim :], np.uint32)
        n_labels = 0
        for slab in cut_slabs(label, region, whole):
            own = (
                slice(s.start - start, s.stop - start)
                for s, start in zip(slab, corner, strict=True)
            )
            place: tuple[Any, ...] = (..., *own)  # of all channels that are in front
            found = checked_labels(segment(pixels[place]), local[place].shape)
            if n_labels:
                found = np.where(found, found + np.uint32(n_labels), 0)
            local[place] = found
            n_labels = max(n_labels, int(found.max(initial=0)))
        array[region] = local

        pairs = [np.zeros((2, 0), np.int64)]
        for dim in inner_dims:
            planes = np.moveaxis(local, dim, 0)
            pairs.append(_touching(planes[:-1], planes[1:], n_labels))
        sizes, firsts = sizes_and_firsts(local, n_labels, corner, array.shape)
        return Local(sizes, firsts, np.concatenate(pairs, axis=1))

    blocks = list(in_threads(write_local, regions, threads))
    # Label 3 of block 7 is number offsets[7] + 3 of all.
    offsets = np.cumsum([0] + [len(block.sizes) for block in blocks])
    grid = np.arange(len(regions)).reshape([len(cut) for cut in cuts])

    def across(place: tuple[int, ...]) -> Array:
        """Pairs of labels that touch in a block, or across its lower borders."""
        number = grid[place]
        pairs = [blocks[number].pairs + offsets[number]]
        for dim, axis in enumerate(label.axes):
            if axis == "t" or place[dim] == 0:
                continue
            region = list(regions[number])
            border = region[dim].start
            region[dim] = slice(border - 1, border + 1)
            below = grid[tuple(p - (d == dim) for d, p in enumerate(place))]
            lower, upper = np.moveaxis(np.asarray(array[tuple(region)]), dim, 0)
            touching = _touching(lower, upper, len(blocks[number].sizes))
            pairs.append(touching + np.array([[offsets[below]], [offsets[number]]]))
        return np.concatenate(pairs, axis=1)

    places = np.ndindex(grid.shape)
    pairs = np.concatenate(list(in_threads(across, places, threads)), axis=1)
    number, n_objects = number_objects(
        np.concatenate([block.sizes for block in blocks]),
        np.concatenate([block.firsts for block in blocks]),
        pairs,
        min_size,
    )
    background = np.zeros(1, np.uint32)

    def write_final(block: int) -> None:
        local = np.asarray(array[regions[block]])
        final = number[offsets[block] : offsets[block + 1]]
        array[regions[block]] = np.concatenate([background, final])[local]

    for _ in in_threads(write_final, range(len(regions)), threads):
        pass
    build_pyramid(whole_label, threads, level)
    return n_objects


def label_regions(
    segment: Callable[[Array], Array],
    image: Image,
    label: Image,
    rois: Sequence[Roi],
    *,
    channel: int | Sequence[int] | None = None,
    min_size: int = 1,
    level: int = 0,
    threads: int | None = None,
) -> int:
    """Fill a label image region by region, then build its pyramid.

    Objects of different regions have different labels, also where they touch; they are
    numbered from 1 in the order of the regions. Memory grows with a region.

    Args:
        segment: Takes the pixels of a region, and returns its labels; both with the axes
            of `label`. As with ngio, pixels outside of a mask are 0.
        image: Image to read.
        label: Label image to write, from `derive_label`.
        rois: Regions of the pyramid level, from `find_rois`. Where they overlap, the
            later one counts, and may cut or replace objects of the other.
        channel: Channel of `image` to read, which has to be given if it has several. Of a
            list, `segment` gets an array with the channels in front of the axes of `label`.
        min_size: Objects of fewer pixels are removed.
        level: Pyramid level to work on; finer ones of `label` get its nearest pixels.
        threads: How many regions at a time; by default one per processor.

    Returns:
        Highest label.

    Raises:
        ValueError: `segment` returns what is no label (a mask, floats, negative numbers),
            or `channel` is not one that `image` has.
    """
    channel = channels_to_read(image, channel)
    array = label.levels[level]

    def run(roi: Roi) -> Array:
        pixels = image.read(roi.region, channel, level)
        inside = roi.inside()
        pixels = np.where(inside, pixels, np.zeros((), pixels.dtype))
        found = np.where(inside, checked_labels(segment(pixels), inside.shape), 0)
        sizes = np.bincount(found.ravel())
        number = np.zeros(len(sizes), np.uint32)
        kept = np.flatnonzero(sizes >= max(min_size, 1))
        number[kept[kept > 0]] = np.arange(1, np.count_nonzero(kept) + 1)
        return number[found]

    highest = 0
    for roi, found in each_roi(run, rois, threads):
        numbered = np.where(found, found + np.uint32(highest), 0)
        if roi.mask:
            numbered = np.where(roi.inside(), numbered, array[roi.region])
        array[roi.region] = numbered
        highest += int(found.max(initial=0))
    build_pyramid(label, threads, level)
    return highest


def checked_labels(found: Array, shape: tuple[int, ...]) -> Array:
    """Labels as they have to be; an error if they cannot be."""
    if found.dtype.kind in "bf" or found.shape != shape:
        raise ValueError(
            "segment: labels are integers (uint32) of the shape of the block, "
            f"{shape}, not {found.dtype} of {found.shape}"
        )
    return _numbered(cast(found, np.uint32))


def _numbered(labels: Array) -> Array:
    """Labels without large gaps between their numbers, which would take memory."""
    if labels.max(initial=0) <= labels.size:
        return labels
    numbers, index = np.unique(labels, return_inverse=True)
    first = 0 if numbers[0] == 0 else 1
    return (index.reshape(labels.shape) + first).astype(np.uint32)


def sizes_and_firsts(
    labels: Array, n_labels: int, corner: Sequence[int], shape: Sequence[int]
) -> tuple[Array, Array]:
    """Number of pixels of each label of a block, and its first one in the flat image.

    Args:
        labels: Labels up to `n_labels`; not all of them have pixels.
        n_labels: Length of what is returned.
        corner: Where in the image the block begins.
        shape: Shape of the image.
    """
    flat = labels.ravel()
    inside = np.flatnonzero(flat)[::-1]
    first = np.zeros(n_labels + 1, np.int64)
    first[flat[inside]] = inside  # the last assignment wins: the first pixel
    in_block = np.unravel_index(first, labels.shape)
    in_image = tuple(p + c for p, c in zip(in_block, corner, strict=True))
    sizes = np.bincount(flat, minlength=n_labels + 1)
    return sizes[1:], np.ravel_multi_index(in_image, shape)[1:]


def number_objects(
    sizes: Array, firsts: Array, pairs: Array, min_size: int
) -> tuple[Array, int]:
    """Number the objects of which labels of several blocks are parts.

    Args:
        sizes: Number of pixels of each label.
        firsts: Position of its first pixel, in which order objects are numbered.
        pairs: Labels of the same object, counted from 1; two rows.
        min_size: Objects of fewer pixels get the number 0.

    Returns:
        The number of each label's object, and how many there are.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    n_labels = len(sizes)
    graph = coo_array(
        (np.ones(pairs.shape[1]), tuple(pairs - 1)), shape=(n_labels, n_labels)
    )
    n_objects, objects = connected_components(graph, directed=False)
    size = np.bincount(objects, sizes, n_objects)
    first = np.full(n_objects, np.iinfo(np.int64).max)
    np.minimum.at(first, objects, firsts)
    kept = np.flatnonzero(size >= max(min_size, 1))
    kept = kept[np.argsort(first[kept])]
    number = np.zeros(n_objects, np.uint32)
    number[kept] = np.arange(1, len(kept) + 1)
    return number[objects], len(kept)


def _touching(lower: Array, upper: Array, n_labels: int) -> Array:
    """Pairs of labels that lie on each other in two arrays; two rows.

    Args:
        lower: Labels.
        upper: Labels up to `n_labels`.
        n_labels: Makes one number of each pair.
    """
    both = (lower > 0) & (upper > 0)
    codes = lower[both].astype(np.int64) * (n_labels + 1) + upper[both]
    # The same pair mostly comes in long runs. np.unique, by its hash table, can take forty
    # times as long as sorting.
    codes = np.sort(codes[np.diff(codes, prepend=-1) != 0])
    codes = codes[np.diff(codes, prepend=-1) != 0]
    return np.array(np.divmod(codes, n_labels + 1))
