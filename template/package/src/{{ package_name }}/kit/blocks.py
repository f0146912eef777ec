"""Move pixels through a function, by block or region of interest, and in threads.

- `map_blocks`, `map_regions`: an image, or a label image, from another one.
- `each_block`, `each_roi`: anything else, such as measurements.
- `build_pyramid`: the smaller levels, of what was written in another way.

Memory grows with a block and the number of threads, not with the image. No result depends
on either of them, as long as a function computes a pixel only from those that `halo` and
`whole` give it.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise, product
from typing import Any, TypeVar

import numpy as np
from numpy.typing import DTypeLike

from .image import Channels, Image, channels_to_read
from .multiscale import coordinates
from .pyramid import BLOCK_VOXELS, NextLevel, Shrink
from .slices import Array, Region, extents, grow, within
from .threads import in_threads, n_threads
from .voxels import read_voxels, write_voxels

T = TypeVar("T")
R = TypeVar("R")


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
            return np.ones(extents(self.region), bool)
        return np.asarray(self.mask.read(self.region, 0) == self.label)


def cut_blocks(image: Image, whole: str = "", parts: int = 16) -> list[list[slice]]:
    """Cut every axis so that each combination of slices is a block.

    A block is made of whole chunks, or shards, so that no two blocks share a file.

    Args:
        image: Image that is going to be written.
        whole: Axes that are never cut, such as `yx`. Memory then grows with them.
        parts: Least number of blocks, if the image has so many chunks.
    """
    array = image.levels[0]
    size = [
        extent if axis in whole else min(unit, extent)
        for axis, unit, extent in zip(
            image.axes, array.shards or array.chunks, array.shape, strict=True
        )
    ]
    voxels = min(BLOCK_VOXELS, math.prod(array.shape) // parts)
    for dim in reversed(range(len(size))):
        if image.axes[dim] in "zyx":
            times = max(1, voxels // math.prod(size))
            size[dim] = min(size[dim] * times, array.shape[dim])
    return [
        [slice(start, min(start + step, extent)) for start in range(0, extent, step)]
        for step, extent in zip(size, array.shape, strict=True)
    ]


def _join_short_end(cut: list[slice]) -> None:
    """Make one slice of the last two, if the last is not half as long as the other.

    For a halo, both would read the chunks at their border: whole, since a chunk cannot be
    decoded in part.
    """
    *_, before, last = [slice(0, 0), *cut]
    if 2 * (last.stop - last.start) <= before.stop - before.start:
        cut[-2:] = [slice(before.start, last.stop)]


def cut_slabs(axes: str, region: Region, whole: str) -> Iterator[Region]:
    """Split a block into the parts that a function gets alone, such as its planes.

    Args:
        axes: Axes of the region.
        region: Region of the block.
        whole: Axes that the function must see whole. Along all others, a slab has one
            pixel; without any, there is one slab, the block.
    """
    if not whole:
        yield region
        return
    yield from product(
        *(
            [s] if axis in whole else [slice(i, i + 1) for i in range(s.start, s.stop)]
            for axis, s in zip(axes, region, strict=True)
        )
    )


def each_block(
    function: Callable[[Region, Array], R],
    image: Image,
    channel: Channels | None = None,
) -> Iterator[R]:
    """Call `function` on each block of an image; results in order.

    The blocks are the same on every machine, and so are sums of what they give.

    Args:
        function: Takes the region of a block and its pixels.
        image: Image to read.
        channel: Channel to read, which leaves out the channel axis; by default all. Of a
            list, the channels come in front of all other axes.
    """
    cuts = cut_blocks(image)
    if channel is not None and "c" in image.axes:
        del cuts[image.axes.index("c")]
    yield from in_threads(
        lambda region: function(region, image.read(region, channel)),
        product(*cuts),
    )


def map_blocks(
    function: Callable[[Array], Array],
    source: Image,
    target: Image,
    *,
    channel: Channels | None = None,
    halo: Mapping[str, int] | None = None,
    whole: str = "",
) -> None:
    """Fill `target` with `function` of the pixels of `source`, then build its pyramid.

    Integers are rounded. What the data type of `target` cannot hold is an error: give
    `derive_image` another `dtype`, or scale or clip the values in `function`.

    Args:
        function: Takes and returns an array with the axes of `target`; with `channel`,
            without the axis of channels.
        source: Image to read.
        target: Image to write, from one of the `derive_` functions.
        channel: Channel of `source` that `function` sees, if `target` has one channel or no
            axis of channels; a list of them comes in front of the axes. By default all in
            their place, or the only one.
        halo: How many pixels around a block `function` must see, by axis, so that the
            result equals that of the whole image.
        whole: Axes that `function` must see whole: with `yx`, it is called on one plane
            after the other, with `zyx` on one volume.

    Raises:
        ValueError: The results do not fit the data type of `target`, or the channel of
            `source` has to be given.
    """
    check_axes(whole=whole, halo=halo or {})
    read: Channels | None = None
    if channel is not None or "c" not in target.axes:
        read = channels_to_read(source, channel)
    # Those of what the function returns.
    axes = target.axes if read is None else target.axes.replace("c", "")
    dims = [target.axes.index(axis) for axis in axes]
    shape = [target.shape[dim] for dim in dims]
    margin = [(halo or {}).get(axis, 0) for axis in axes]
    dtype = target.levels[0].dtype
    fit = Fit(dtype)

    def make(region: Region) -> Array:
        inner = tuple(region[dim] for dim in dims)
        wide = grow(inner, margin, shape)
        pixels = source.read(wide, read)
        block: Array = np.empty(extents(inner), dtype)
        for slab in cut_slabs(axes, inner, whole):
            seen = grow(slab, margin, shape)
            own: tuple[Any, ...] = (..., *within(seen, wide))  # of channels in front
            result = np.asanyarray(function(pixels[own]))
            expected = extents(seen)
            if result.shape != expected:
                raise ValueError(
                    f"function: it returns the shape {result.shape} for {expected}"
                )
            block[within(slab, inner)] = fit(result[within(slab, seen)])
        return block.reshape(extents(region))

    # A halo is read again for each block: there are no more than the threads need.
    cuts = cut_blocks(target, whole, parts=2 * n_threads())
    for cut, axis in zip(cuts, target.axes, strict=True):
        if (halo or {}).get(axis):
            _join_short_end(cut)
    write_levels(target, cuts, make)
    fit.check()


def each_roi(
    function: Callable[[Roi], R], rois: Sequence[Roi]
) -> Iterator[tuple[Roi, R]]:
    """Call `function` on each region, some at a time; results in the order of the regions.

    What is written between two results meets no other thread: regions may share chunks.

    Args:
        function: Takes a region.
        rois: Regions, from `find_rois`.
    """
    size = n_threads()
    for start in range(0, len(rois), size):
        some = rois[start : start + size]
        yield from zip(some, [*in_threads(function, some)], strict=True)


def map_regions(
    function: Callable[[Array], Array],
    source: Image,
    target: Image,
    rois: Sequence[Roi],
    *,
    channel: Channels | None = None,
    copy_rest: bool = True,
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
        channel: Channel of `source` that `function` sees, without the axis of channels, if
            `target` has one channel; a list of them comes in front of the axes. By default
            each in turn.
        copy_rest: Whether the rest of the image is that of `source`; otherwise it is 0,
            where what the function makes is no grey value of one channel.

    Raises:
        ValueError: The results do not fit the data type of `target`.
    """
    array, at = target.levels[0], target.axes.find("c")
    read = None if channel is None else channels_to_read(source, channel)
    fit = Fit(array.dtype)

    def copy(region: Region) -> None:
        if not copy_rest:
            array[region] = 0
        elif read is None:
            write_voxels(array, region, cast(source.read(region), array.dtype))
        else:
            own = tuple(s for dim, s in enumerate(region) if dim != at)
            pixels = cast(source.read(own, read), array.dtype)
            pixels = pixels if at < 0 else np.expand_dims(pixels, at)
            write_voxels(array, region, pixels)

    for _ in in_threads(copy, product(*cut_blocks(target))):
        pass
    for position in range(target.shape[at]) if at >= 0 else range(1):

        def run(roi: Roi, position: int = position) -> Array:
            pixels = source.read(roi.region, position if read is None else read)
            shape = extents(roi.region)
            if read is None and at >= 0:
                pixels = np.expand_dims(pixels, at)
                shape = pixels.shape
            result = np.asanyarray(function(pixels))
            if result.shape != shape:
                raise ValueError(
                    f"function: it returns the shape {result.shape} for {shape}"
                )
            return fit(result)

        for roi, found in each_roi(run, rois):
            place: list[Any] = list(roi.region)
            if at >= 0:
                place.insert(at, position)
            result = found.reshape(extents(roi.region))
            if roi.mask:
                result = np.where(roi.inside(), result, array[tuple(place)])
            array[tuple(place)] = result
    fit.check()
    build_pyramid(target)


def check_axes(**arguments: Iterable[str]) -> None:
    """Reject letters that are not in `tczyx`.

    Raises:
        ValueError: An argument has another key or letter.
    """
    for name, axes in arguments.items():
        if wrong := [axis for axis in axes if axis not in tuple("tczyx")]:
            raise ValueError(f"{name}: {wrong}; allowed are the letters t, c, z, y, x")


def reject_masked(result: Array) -> None:
    """Reject a masked array, which would lose its mask.

    Raises:
        ValueError: It is one.
    """
    if isinstance(result, np.ma.MaskedArray):
        raise ValueError(
            "function: it returns a masked array, and images have no masked pixels: return "
            "`result.filled(0)`, for example"
        )


def cast(pixels: Array, dtype: DTypeLike) -> Array:
    """Pixels in another data type; floats become integers by rounding.

    Raises:
        ValueError: More than a rounding would be lost.
    """
    dtype = np.dtype(dtype)
    if not pixels.size or np.can_cast(pixels.dtype, dtype):
        return pixels.astype(dtype, copy=False)
    if dtype.kind not in "iuf" or pixels.dtype.kind not in "iuf":
        raise ValueError(f"{pixels.dtype} cannot become {dtype}")
    judged = pixels
    if dtype.kind == "f":  # which has infinity and NaN too
        lowest, highest = float(np.finfo(dtype).min), float(np.finfo(dtype).max)
        judged = pixels[np.isfinite(pixels)]
    else:
        lowest, highest = np.iinfo(dtype).min, np.iinfo(dtype).max
        if pixels.dtype.kind == "f":
            pixels = judged = np.rint(pixels)
    low, high = judged.min(initial=0).item(), judged.max(initial=0).item()
    if not (lowest <= low and high <= highest):  # nor is NaN
        raise ValueError(
            f"values from {low:g} to {high:g} do not fit into {dtype}, which holds "
            f"{lowest:g} to {highest:g}: scale or clip them, or derive the image with "
            "another dtype"
        )
    return pixels.astype(dtype)


class Fit:
    """Casts the results of a function, and detects results that the cast has lost."""

    def __init__(self, dtype: DTypeLike) -> None:
        self.dtype = np.dtype(dtype)
        self._is_lost = False  # fractions have become zeros and ones
        self._is_larger = False  # a result is none of these

    def __call__(self, result: Array) -> Array:
        """Cast an array, in any thread; see `cast`.

        Raises:
            ValueError: It has masked pixels, or does not fit.
        """
        reject_masked(result)
        if self.dtype.kind in "iu" and result.dtype.kind == "f" and not self._is_larger:
            if np.abs(result).max(initial=0) > 1:
                self._is_larger = True
            elif (result != np.rint(result)).any():
                self._is_lost = True
        return cast(result, self.dtype)

    def check(self) -> None:
        """Reject results that became only zeros and ones.

        Raises:
            ValueError: All results were fractions between 0 and 1.
        """
        if self._is_lost and not self._is_larger:
            raise ValueError(
                f"all results lie between 0 and 1, which {self.dtype} cannot tell apart: "
                "scale them, or derive the image with dtype=np.float32"
            )


def write_levels(
    image: Image,
    cuts: Sequence[Sequence[slice]],
    make: Callable[[Region], Array | None],
    level: int = 0,
) -> None:
    """Write an image block by block, then all other levels of its pyramid.

    Where chunks allow it, the next level is made of the blocks while they are in memory.

    Args:
        image: Image to write.
        cuts: Slices of each axis, from `cut_blocks`.
        make: Takes the region of a block and returns its pixels; None is all zeros.
        level: The level that is written.
    """
    array = image.levels[level]
    following = None
    if level + 1 < len(image.levels):
        shrink = _shrink(image, level, level + 1)
        following = NextLevel.plan(image.levels[level + 1], shrink, cuts)
    order = following.order if following else list(np.ndindex(*map(len, cuts)))

    def write(place: tuple[int, ...]) -> None:
        region = tuple(cut[index] for cut, index in zip(cuts, place, strict=True))
        block = make(region)
        if block is not None:
            write_voxels(array, region, block)
        if following:
            following.add(place, region, block)

    for _ in in_threads(write, order):
        pass
    build_pyramid(image, level, level + bool(following))


def build_pyramid(
    image: Image,
    level: int = 0,
    last: int | None = None,
) -> None:
    """Compute each level from the one before: means of images, nearest of labels.

    Means of integers are rounded, halves to the even number as NumPy does it.

    Args:
        image: Image that has been written at one level.
        level: The level that has been written: finer ones get its nearest pixels.
        last: The last level that has been written, if several have.
    """
    finer = pairwise(range(level, -1, -1))
    for first, second in [*finer, *pairwise(range(last or level, len(image.levels)))]:
        source, target = image.levels[first], image.levels[second]
        shrink = _shrink(image, first, second)

        def run(
            region: Region,
            source: Any = source,
            shrink: Shrink = shrink,
            target: Any = target,
        ) -> None:
            pixels = shrink(read_voxels(source, shrink.seen(region)), region)
            write_voxels(target, region, pixels)

        written = Image(image.path, image.group, image.metadata, [target])
        for _ in in_threads(run, product(*cut_blocks(written))):
            pass


def _shrink(image: Image, first: int, second: int) -> Shrink:
    """The way from one level of an image to another."""
    sizes = [
        coordinates(image.metadata["multiscales"][0], n)[0] for n in (first, second)
    ]
    known = [*zip(*(size or [] for size in sizes), strict=all(sizes))]
    return Shrink(
        image.levels[first],
        image.levels[second],
        mean=not image.is_label,
        ratios=[width / size for size, width in known] or None,
    )
