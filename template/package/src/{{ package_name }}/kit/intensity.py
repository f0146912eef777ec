"""Brightness of a channel: histogram, percentiles, and display range."""

import logging
from functools import reduce

import numpy as np

from .blocks import each_block
from .image import Channel, Image
from .slices import Array, Region

logger = logging.getLogger(__name__)


def histogram(
    image: Image, channel: Channel | int, bins: int = 256
) -> tuple[Array, Array]:
    """Count how often each grey value of a channel occurs.

    Args:
        image: Image to read.
        channel: The channel, or its position.
        bins: For floats and for integers of more than 16 bits, among their limits. Pixels
            that are NaN or infinite do not count.

    Returns:
        Grey values, without those beyond the darkest and the brightest pixel, and their
        counts. Empty if no pixel counts.
    """
    dtype = image.levels[0].dtype
    if dtype.kind == "b" or (dtype.kind in "iu" and dtype.itemsize <= 2):
        lowest = 0 if dtype.kind == "b" else int(np.iinfo(dtype).min)
        n_values = 2 ** (8 * dtype.itemsize)
        values = np.arange(n_values) + lowest
        counted = each_block(
            lambda _, pixels: np.bincount(
                # Of negative ones, no index; a copy in a larger type takes time.
                pixels.ravel() if lowest == 0 else pixels.ravel() - np.int64(lowest),
                minlength=n_values,
            ),
            image,
            channel,
        )
    else:
        limits = list(each_block(_finite_limits, image, channel))
        low, high = min(low for low, _ in limits), max(high for _, high in limits)
        if low > high:
            return np.zeros(0), np.zeros(0, np.int64)
        # Fewer, where so many values do not exist between the limits.
        edges = np.unique(np.linspace(low, high, bins + 1))
        if len(edges) == 1:
            edges = np.append(edges, np.nextafter(low, np.inf))
        values = (edges[:-1] + edges[1:]) / 2
        counted = each_block(
            lambda _, pixels: np.histogram(pixels, edges)[0], image, channel
        )
    counts = reduce(np.add, counted)
    used = np.flatnonzero(counts)
    part = slice(used[0], used[-1] + 1)
    return values[part], counts[part]


def percentile_range(
    image: Image,
    channel: Channel | int,
    percentiles: tuple[float, float] = (1, 99.8),
) -> tuple[float, float]:
    """Percentiles of the grey values of a channel.

    All blocks, tiles and regions of an image have to be normalised by the same values.

    Args:
        image: Image to read; `image.from_level(2)` is faster, and nearly the same.
        channel: The channel, or its position.
        percentiles: The lower and the higher percentage.

    Returns:
        Two grey values, of which the second is higher: by 1 if all pixels are equal.
        Exact for integers of up to 16 bits, else to 1/65 536 of the range.

    Raises:
        ValueError: The percentages are not from 0 to 100, the second one higher.
    """
    if not 0 <= percentiles[0] < percentiles[1] <= 100:
        raise ValueError(
            f"percentiles: {percentiles[0]:g} and {percentiles[1]:g} must be from 0 to 100, "
            "and the second one higher"
        )
    values, counts = histogram(image, channel, bins=65536)
    if not len(values):
        return 0.0, 1.0
    ranks = np.array(percentiles) * counts.sum() / 100
    # The first value up to which there are at least so many pixels.
    low, high = values[np.searchsorted(np.cumsum(counts), ranks)]
    high = high if high > low else max(low + 1, np.nextafter(low, np.inf))
    logger.info("%s: grey values from %g to %g", image.path, low, high)
    return float(low), float(high)


def _finite_limits(_: Region, pixels: Array) -> tuple[float, float]:
    """Lowest and highest of the pixels that are neither NaN nor infinite."""
    finite = pixels[np.isfinite(pixels)].astype(float)
    return finite.min(initial=np.inf), finite.max(initial=-np.inf)


def display_window(image: Image, channel: int) -> dict[str, float]:
    """Display range of a channel for viewers.

    Args:
        image: An image that is written.
        channel: Position of the channel.
    """
    fits = (level for level in image.levels if max(level.shape[-2:]) <= 256)
    small = next(fits, image.levels[-1])
    # The middle of one plane, in the middle of the stack, is enough.
    place: dict[str, int | slice] = {"c": channel, "t": 0}
    for axis, extent in zip(image.axes, small.shape, strict=True):
        if axis in "yx":
            place[axis] = slice(max(extent // 2 - 512, 0), extent // 2 + 512)
        elif axis == "z":
            place[axis] = extent // 2
    pixels = np.asarray(small[tuple(place[axis] for axis in image.axes)])
    kind = pixels.dtype.kind
    finite = pixels[np.isfinite(pixels)].astype(float)
    start, end = np.percentile(finite, [1, 99.9]) if finite.size else (0.0, 1.0)
    if kind != "f" or start == end:
        end = max(end, start + 1)
    low, high = 0.0, 1.0  # of booleans
    if kind in "iuf":
        limits = np.finfo(pixels.dtype) if kind == "f" else np.iinfo(pixels.dtype)
        low, high = float(limits.min), float(limits.max)
    return {"min": low, "max": high, "start": float(start), "end": float(end)}
