"""Label objects that cross the borders of blocks."""

import threading
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from .blocks import (
    Roi,
    build_pyramid,
    check_axes,
    cut_blocks,
    cut_slabs,
    each_roi,
    write_levels,
)
from .image import Channels, Image, channels_to_read
from .objects import (
    Runs,
    checked_labels,
    matching_labels,
    number_objects,
    touching_labels,
)
from .slices import Array, Region
from .threads import in_threads
from .voxels import read_voxels, write_voxels

KEPT = 2**27  # bytes of local labels in memory; others wait in the label image


class Local(NamedTuple):
    """Labels of one block, numbered from 1.

    Attributes:
        sizes: Number of pixels of each.
        firsts: First pixel of each, as a position in the flat image.
        pairs: Labels of slabs of the block that touch each other; two rows.
        runs: Where they are; None if they wait in the label image.
    """

    sizes: Array
    firsts: Array
    pairs: Array
    runs: Runs | None


class Borders:
    """Compares the faces of two blocks as soon as both have labels."""

    def __init__(self) -> None:
        """Begin without blocks."""
        self._waiting: dict[tuple[int, int], Array] = {}
        self._lock = threading.Lock()
        self.pairs: list[tuple[int, int, Array]] = []

    def meet(
        self,
        lower: int,
        upper: int,
        dim: int,
        face: Array,
        find_pairs: Callable[[Array, Array], Array],
        *,
        is_upper: bool,
    ) -> None:
        """Add the face of one of two blocks.

        Args:
            lower: Number of the block before the border.
            upper: Number of the one behind it.
            dim: Axis on which they touch.
            face: Labels of one of them at the border.
            find_pairs: Pairs of labels that are one object, of the two faces.
            is_upper: Whether it is the one behind.
        """
        with self._lock:
            other = self._waiting.pop((lower, dim), None)
            if other is None:
                # A view would keep its whole block in memory.
                self._waiting[lower, dim] = np.ascontiguousarray(face)
                return
        below, above = (other, face) if is_upper else (face, other)
        self.pairs.append((lower, upper, find_pairs(below, above)))


def segment_slabs(
    segment: Callable[[Array], Array], pixels: Array, axes: str, whole: str
) -> Array:
    """Labels of a block or region, of which each slab has labels of its own.

    Args:
        segment: Takes the pixels of a slab and returns its labels.
        pixels: Pixels with the axes, or with channels in front of them.
        axes: Axes of the labels.
        whole: Axes of a slab, as for `cut_slabs`.
    """
    shape = pixels.shape[-len(axes) :]
    if not whole and (axes[0] != "t" or shape[0] == 1):
        return checked_labels(segment(pixels), shape)
    whole = whole or axes.replace("t", "")  # objects do not touch in time
    labels, highest = np.zeros(shape, np.uint32), 0
    for slab in cut_slabs(axes, tuple(slice(0, n) for n in shape), whole):
        own: tuple[Any, ...] = (..., *slab)  # of all channels
        found = checked_labels(segment(pixels[own]), labels[slab].shape)
        labels[slab] = np.where(found, found + np.uint32(highest), 0)
        highest = max(highest, int(labels[slab].max(initial=0)))
    return labels


def objects_of_slabs(labels: Array, axes: str, whole: str) -> Array:
    """Pairs of labels of two slabs that are one object, but not in time; two rows."""
    pairs = [np.zeros((2, 0), np.int64)]
    for dim, axis in enumerate(axes):
        if _is_cut(axis, whole):
            planes = np.moveaxis(labels, dim, 0)
            pairs.append(matching_labels(planes[:-1], planes[1:]))
    return np.concatenate(pairs, axis=1)


def _is_cut(axis: str, whole: str) -> bool:
    """Return true for an axis between slabs, in each of which objects were told apart."""
    return bool(whole) and axis not in f"{whole}t"


def label_blocks(
    segment: Callable[[Array], Array],
    image: Image,
    label: Image,
    *,
    channel: Channels | None = None,
    whole: str = "",
    min_size: int = 1,
    level: int = 0,
) -> int:
    """Fill a label image block by block, then build its pyramid.

    Objects that touch by their faces across the border of two blocks become one. Labels
    are numbered from 1 in the order of their first pixels, through all time points: the
    result does not depend on the blocks. Without `whole`, and where `segment` finds connected
    components, it is that of `scipy.ndimage.label` on the whole image.

    Args:
        segment: Takes the pixels of a block at one time point, and returns its labels,
            numbered from 1; both with the axes of `label`. Pixels of an object have to
            touch by their faces: `connectivity=1` for scikit-image.
        image: Image to read.
        label: Label image to write, from `derive_label`.
        channel: Channel of `image` to read, which has to be given if it has several. Of a
            list, `segment` gets an array with the channels in front of the axes of `label`.
        whole: Axes that `segment` must see whole, since it tells touching objects apart:
            with `yx`, it is called on one plane after the other, with `zyx` on one
            volume. Objects of neighbouring planes become one as `matching_labels` says;
            those of one plane stay apart.
        min_size: Objects of fewer pixels are removed.
        level: Pyramid level to work on; finer ones of `label` get its nearest pixels.

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
    grid = np.ndindex(*map(len, cuts))
    # Along z first: few faces, which may be whole planes, wait for their neighbours.
    places = sorted(
        grid, key=lambda p: [n for n, a in zip(p, label.axes, strict=True) if a != "z"]
    )
    numbers = {place: number for number, place in enumerate(places)}
    borders, lock, n_kept = Borders(), threading.Lock(), 0

    def write_local(place: tuple[int, ...]) -> Local:
        nonlocal n_kept
        region = tuple(cut[n] for cut, n in zip(cuts, place, strict=True))
        corner = [s.start for s in region]
        local, n_labels = label_block(region)
        pairs = objects_of_slabs(local, label.axes, whole)
        for dim, axis in enumerate(label.axes):
            for step in (0, 1) if axis != "t" else ():
                # The border before the block, and the one behind it.
                lower, upper = (
                    (*place[:dim], place[dim] + n, *place[dim + 1 :])
                    for n in (step - 1, step)
                )
                if lower in numbers and upper in numbers:
                    borders.meet(
                        numbers[lower],
                        numbers[upper],
                        dim,
                        local.take(-step, dim),
                        matching_labels if _is_cut(axis, whole) else touching_labels,
                        is_upper=not step,
                    )
        runs = Runs.find(local)
        sizes, firsts = runs.sizes_and_firsts(n_labels, corner, array.shape)
        n_bytes = runs.starts.nbytes + runs.values.nbytes
        with lock:
            is_kept = n_kept + n_bytes <= KEPT
            n_kept += n_bytes if is_kept else 0
        if not is_kept:
            write_voxels(array, region, local)
        return Local(sizes, firsts, pairs, runs if is_kept else None)

    def label_block(region: Region) -> tuple[Array, int]:
        """Labels of a block, and the highest label."""
        pixels = image.read(region, channel)
        labels = segment_slabs(segment, pixels, label.axes, whole)
        return labels, int(labels.max(initial=0))

    blocks = list(in_threads(write_local, places))
    # Label 3 of block 7 is number offsets[7] + 3 of all.
    offsets = np.cumsum([0] + [len(block.sizes) for block in blocks])
    pairs = [block.pairs + offsets[n] for n, block in enumerate(blocks)]
    pairs += [
        touching + np.array([[offsets[lower]], [offsets[upper]]])
        for lower, upper, touching in borders.pairs
    ]
    number, n_objects = number_objects(
        np.concatenate([block.sizes for block in blocks]),
        np.concatenate([block.firsts for block in blocks]),
        np.concatenate(pairs, axis=1),
        min_size,
    )
    by_corner = {
        tuple(cut[n].start for cut, n in zip(cuts, place, strict=True)): block
        for place, block in numbers.items()
    }

    def final(region: Region) -> Array | None:
        block = by_corner[tuple(s.start for s in region)]
        own = np.append(np.uint32(0), number[offsets[block] : offsets[block + 1]])
        runs = blocks[block].runs
        if runs is None:
            return np.asarray(own[read_voxels(array, region)])
        return runs.renumbered(own) if own.any() else None

    write_levels(whole_label, cuts, final, level)
    return n_objects


def label_regions(
    segment: Callable[[Array], Array],
    image: Image,
    label: Image,
    rois: Sequence[Roi],
    *,
    channel: Channels | None = None,
    whole: str = "",
    min_size: int = 1,
    level: int = 0,
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
        whole: As for `label_blocks`, within a region.
        min_size: Objects of fewer pixels are removed.
        level: Pyramid level to work on; finer ones of `label` get its nearest pixels.

    Returns:
        Highest label.

    Raises:
        ValueError: `segment` returns what is no label (a mask, floats, negative numbers),
            or `channel` is not one that `image` has.
    """
    channel = channels_to_read(image, channel)
    array = label.from_level(level).levels[0]

    def run(roi: Roi) -> Array:
        pixels = image.read(roi.region, channel, level)
        inside = roi.inside()
        pixels = np.where(inside, pixels, np.zeros((), pixels.dtype))
        found = np.where(inside, segment_slabs(segment, pixels, label.axes, whole), 0)
        sizes = np.bincount(found.ravel())[1:]
        pairs = objects_of_slabs(found, label.axes, whole)
        # Of slabs as of a whole: in the order of the labels.
        number, _ = number_objects(sizes, np.arange(len(sizes)), pairs, min_size)
        return np.append(np.uint32(0), number)[found]

    highest = 0
    for roi, found in each_roi(run, rois):
        numbered = np.where(found, found + np.uint32(highest), 0)
        if roi.mask:
            numbered = np.where(roi.inside(), numbered, array[roi.region])
        array[roi.region] = numbered
        highest += int(found.max(initial=0))
    build_pyramid(label, level)
    return highest
