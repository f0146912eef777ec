"""Move pixels through a function, block by block and in threads.

- `map_blocks`: an image, or a label image, from another one.
- `each_block`: anything else, such as measurements.
- `build_pyramid`: the smaller levels, of what was written in another way.

Memory grows with a block and the number of threads, not with the image. No result depends
on either of them, as long as a function computes a pixel only from those that `halo` and
`whole` give it.
"""

import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise, product
from typing import Any, TypeVar

import numpy as np
from numpy.typing import DTypeLike

from .fractal import CALL
from .image import Channels, Image, channels_to_read
from .pyramid import BLOCK_VOXELS, NextLevel, Shrink, Writer
from .slices import Array, Region, extents, grow, within
from .voxels import read_voxels

T = TypeVar("T")
R = TypeVar("R")


def n_threads() -> int:
    """Number of processors that this process may use; SLURM sets it per job."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def in_threads(function: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
    """Call `function` on each item, one per processor at a time; results in order.

    zarr, its codecs, NumPy and SciPy release Python's lock in most of their work.

    Args:
        function: Takes an item.
        items: What to call it on.
    """
    # A thread does not know by itself which task runs.
    with ThreadPoolExecutor(
        n_threads(), initializer=CALL.set, initargs=(CALL.get(),)
    ) as pool:
        yield from pool.map(function, items)


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
    write_levels(target, cuts, make)
    fit.check()


def check_axes(**arguments: Iterable[str]) -> None:
    """Reject letters that are not in `tczyx`.

    Raises:
        ValueError: An argument has another key or letter.
    """
    for name, axes in arguments.items():
        if wrong := [axis for axis in axes if axis not in tuple("tczyx")]:
            raise ValueError(f"{name}: {wrong}; allowed are the letters t, c, z, y, x")


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
        """Cast an array, in any thread; see `cast`."""
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
    write_block = Writer(image.levels[level])
    following = NextLevel.plan(image.levels, level, cuts, mean=not image.is_label)
    order = following.order if following else list(np.ndindex(*map(len, cuts)))

    def write(place: tuple[int, ...]) -> None:
        region = tuple(cut[index] for cut, index in zip(cuts, place, strict=True))
        block = make(region)
        if block is not None:
            write_block(region, block)
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
    finer = pairwise(image.levels[level::-1])
    for source, target in [*finer, *pairwise(image.levels[last or level :])]:
        shrink = Shrink(source, target, mean=not image.is_label)
        write = Writer(target)

        def run(
            region: Region,
            source: Any = source,
            shrink: Shrink = shrink,
            write: Writer = write,
        ) -> None:
            write(region, shrink(read_voxels(source, shrink.seen(region)), region))

        written = Image(image.path, image.group, image.metadata, [target])
        for _ in in_threads(run, product(*cut_blocks(written))):
            pass
