"""Compute a pyramid level from the level before: means of images, nearest of labels."""

import math
import threading
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise, product
from typing import Any, NamedTuple

import numpy as np

from .multiscale import whole_factor
from .slices import Array, Region, extents, within
from .voxels import write_voxels

BLOCK_VOXELS = 2**21  # of a block, unless one chunk or shard is larger

Place = tuple[int, ...]
"""Position in the grid of blocks, or of groups of them."""


class Shrink:
    """Computes a level of a pyramid, whole or in parts.

    Nearest pixels instead of means where levels do not differ by whole factors. So too for
    booleans and 64-bit integers, whose sums no NumPy type can hold.

    Attributes:
        starts: First pixel, by axis, of which each pixel is made.
        stops: The one after the last of them.
    """

    def __init__(
        self,
        source: Any,
        target: Any,
        *,
        mean: bool,
        ratios: Sequence[float] | None = None,
    ) -> None:
        """Compare two levels, which are arrays.

        Args:
            source: The level that is read; for nearest pixels, it may be the smaller one.
            target: The level that is computed.
            mean: Whether to compute means.
            ratios: Size of a pixel of `target` in pixels of `source`, by axis, if it is said.
        """
        sizes = list(zip(source.shape, target.shape, strict=True))
        kind, bytes_each = source.dtype.kind, source.dtype.itemsize
        factors = [whole_factor(large, small) for large, small in sizes]
        has_sums = kind == "f" or (kind in "iu" and bytes_each < 8)
        self._factors = factors if mean and all(factors) and has_sums else None
        if self._factors:
            self.starts = [
                factor * np.arange(small)
                for (_, small), factor in zip(sizes, factors, strict=True)
            ]
            self.stops = [
                np.minimum(starts + factor, large)
                for starts, (large, _), factor in zip(
                    self.starts, sizes, factors, strict=True
                )
            ]
        else:
            self.starts = [
                _nearest(*pair, ratio)
                for pair, ratio in zip(sizes, ratios or [0.0] * len(sizes), strict=True)
            ]
            self.stops = [starts + 1 for starts in self.starts]

    def seen(self, region: Region) -> Region:
        """Pixels that a region of the smaller level is computed from."""
        return tuple(
            slice(int(starts[s.start]), int(stops[s.stop - 1]))
            for s, starts, stops in zip(region, self.starts, self.stops, strict=True)
        )

    def __call__(self, block: Array, region: Region) -> Array:
        """Compute a region of the smaller level from its pixels in the larger one."""
        if self._factors:
            return _mean(block, region, self._factors)
        picked = [
            starts[s] - starts[s.start]
            for s, starts in zip(region, self.starts, strict=True)
        ]
        return np.asarray(block[np.ix_(*picked)])


def _nearest(source: int, target: int, ratio: float) -> Array:
    """Pixel of a level in which the middle of each pixel of another level lies.

    Args:
        source: Number of pixels of the level that is read.
        target: Number of pixels of the other one.
        ratio: Size of its pixels in those of `source`; 0 if it is not said.
    """
    exact = source / target
    upwards = 1 / (whole_factor(target, source) or target / source)
    step = whole_factor(source, target) or upwards
    # 51 of 101 pixels: the last one is half outside, unless the ratio is said to be 101/51.
    if ratio and abs(ratio - exact) < abs(ratio - step):
        step = exact
    middles = (np.arange(target) + 0.5) * step
    return np.asarray(np.minimum(middles, source - 1), int)


def _mean(block: Array, region: Region, factors: Sequence[int]) -> Array:
    """Means of some pixels along each axis; halves of integers are rounded to even."""
    sizes = extents(region)
    # The last pixel of an odd size is the mean of one line, not of two.
    missing = [
        (0, size * factor - n)
        for size, factor, n in zip(sizes, factors, block.shape, strict=True)
    ]
    if any(after for _, after in missing):
        block = np.pad(block, missing, mode="edge")
    kind, bytes_each = block.dtype.kind, block.dtype.itemsize
    wide = np.float64 if kind == "f" else np.int64 if bytes_each == 4 else np.int32
    total: Array = np.zeros(sizes, wide)
    for first in product(*map(range, factors)):
        lines = zip(first, factors, strict=True)
        part = block[tuple(slice(start, None, step) for start, step in lines)]
        np.add(total, part, out=total)
    count = math.prod(factors)
    if kind == "f":
        return np.asarray(total / count, block.dtype)
    if count % 2:
        return np.asarray((total + count // 2) // count, block.dtype)
    # Or each level would be brighter than the one before.
    is_odd = (total // count) & 1
    return np.asarray((total + (count // 2 - 1) + is_odd) // count, block.dtype)


class Groups(NamedTuple):
    """Blocks along one axis, as groups that share no chunk of the next level.

    Attributes:
        of_block: Number of the group of each block.
        parts: Pixels of the next level that are made of each block.
        wholes: Pixels of the next level that are made of each group.
    """

    of_block: list[int]
    parts: list[slice]
    wholes: list[slice]


class NextLevel:
    """Writes the next level of a level that is written block by block.

    The blocks that share a chunk of that level are a group, whose last one writes it.

    Attributes:
        order: Places of the blocks, group by group: few groups wait at a time.
    """

    def __init__(self, target: Any, shrink: Shrink, groups: Sequence[Groups]) -> None:
        """Begin without a block; `plan` makes the arguments."""
        self._target, self._shrink, self._groups = target, shrink, groups
        places = np.ndindex(*(len(axis.parts) for axis in groups))
        self.order: list[Place] = sorted(places, key=self._group)
        self._missing = Counter(map(self._group, self.order))
        self._pixels: dict[Place, Array] = {}
        self._lock = threading.Lock()

    @classmethod
    def plan(
        cls,
        target: Any,
        shrink: Shrink,
        cuts: Sequence[Sequence[slice]],
    ) -> "NextLevel | None":
        """Group the blocks of a level.

        Args:
            target: Array of the next level.
            shrink: Computes it of the level that is written block by block.
            cuts: Slices of each axis.

        Returns:
            None if a pixel of the next level is made of two blocks, or a group is much
            larger than a block.
        """
        units = target.shards or target.chunks
        groups = []
        for dim, cut in enumerate(cuts):
            first = np.searchsorted(shrink.starts[dim], [s.start for s in cut])
            after = np.searchsorted(shrink.stops[dim], [s.stop for s in cut], "right")
            if (first[1:] != after[:-1]).any():
                return None
            begins = first % units[dim] == 0
            edges = [*first[begins].tolist(), int(after[-1])]
            groups.append(
                Groups(
                    (np.cumsum(begins) - 1).tolist(),
                    list(map(slice, first.tolist(), after.tolist())),
                    [slice(*pair) for pair in pairwise(edges)],
                )
            )
        largest = [max(s.stop - s.start for s in axis.wholes) for axis in groups]
        if math.prod(largest) > max(2 * BLOCK_VOXELS, math.prod(units)):
            return None
        return cls(target, shrink, groups)

    def _group(self, place: Place) -> Place:
        return tuple(
            axis.of_block[n] for axis, n in zip(self._groups, place, strict=True)
        )

    def add(self, place: Place, region: Region, block: Array | None) -> None:
        """Take a block of the level before, and where it lies; None is all zeros."""
        group = self._group(place)
        whole = tuple(
            axis.wholes[n] for axis, n in zip(self._groups, group, strict=True)
        )
        part = tuple(axis.parts[n] for axis, n in zip(self._groups, place, strict=True))
        if block is not None and all(s.start < s.stop for s in part):
            small = self._shrink(block[within(self._shrink.seen(part), region)], part)
            with self._lock:
                if group not in self._pixels:
                    self._pixels[group] = np.zeros(extents(whole), self._target.dtype)
                pixels = self._pixels[group]
            pixels[within(part, whole)] = small
        with self._lock:
            self._missing[group] -= 1
            if self._missing[group]:
                return
            done = self._pixels.pop(group, None)
        if done is not None:
            write_voxels(self._target, whole, done)
