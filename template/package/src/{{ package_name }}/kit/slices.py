"""Regions of an array, and their arithmetic."""

from collections.abc import Iterable
from typing import Any

from numpy.typing import NDArray

Array = NDArray[Any]
Region = tuple[slice, ...]
"""One slice for each axis."""


def extents(region: Region) -> tuple[int, ...]:
    """Number of pixels along each axis."""
    return tuple(s.stop - s.start for s in region)


def grow(region: Region, margin: Iterable[int], shape: Iterable[int]) -> Region:
    """A region with a margin on all sides, which ends at the border of the image."""
    return tuple(
        slice(max(s.start - extra, 0), min(s.stop + extra, extent))
        for s, extra, extent in zip(region, margin, shape, strict=True)
    )


def within(inner: Region, outer: Region) -> Region:
    """A region relative to another region that contains it."""
    return tuple(
        slice(i.start - o.start, i.stop - o.start)
        for i, o in zip(inner, outer, strict=True)
    )


def common(first: Region, second: Region) -> Region | None:
    """Overlap of two regions; None if there is none."""
    region = tuple(
        slice(max(a.start, b.start), min(a.stop, b.stop))
        for a, b in zip(first, second, strict=True)
    )
    return region if all(s.start < s.stop for s in region) else None


def union(first: Region, second: Region) -> Region:
    """The smallest region that contains two regions."""
    return tuple(
        slice(min(a.start, b.start), max(a.stop, b.stop))
        for a, b in zip(first, second, strict=True)
    )
