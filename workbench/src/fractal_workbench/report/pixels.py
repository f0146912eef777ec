"""Small arrays of OME-Zarr images of any size, for pictures.

A pyramid level that fits is read. Without one, the plane is read if memory bears it, and
else a piece of its middle: the notes say so.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

from ..kit import Image

Array = NDArray[Any]
Place = tuple[float, float, float, float]
"""Top, left, bottom and right, as parts of the height and the width of an image."""

WHOLE: Place = (0, 0, 1, 1)
MAX_PLANE = 2**24  # pixels of a plane that are read to make a picture
MAX_VOLUME = 2**25  # voxels
MAX_CHUNK = 2**28  # bytes
CROP = 256  # pixels of a piece at full resolution
BINS = 48  # of a histogram of grey values
PIECE = 512  # pixels of the middle of a plane that is larger


@dataclass
class Small:
    """Some planes of an image.

    Attributes:
        planes: One plane for each channel.
        place: Which part of the image they show.
        shape: Height and width in pixels of full resolution.
        size: Height and width in the unit of the image.
        notes: What of the image they show, in words.
    """

    planes: list[Array]
    place: Place
    shape: tuple[float, float]
    size: tuple[float, float]
    notes: list[str]


def read_small(
    image: Image, channels: Sequence[int | None], want: int, place: Place | None = None
) -> Small:
    """Read some channels of an image.

    Args:
        image: An image, or a label image.
        channels: Positions of channels; None for a label image.
        want: Pixels along the longer side that are enough.
        place: Which part to show; by default all of it, if it can be read.

    Raises:
        ValueError: It cannot be read in a small piece.
    """
    if place is not None:  # of which the whole would have more pixels
        want = round(want / max(place[2] - place[0], place[3] - place[1]))
    number = fitting_level(image, want)
    level = image.levels[number]
    sizes = dict(zip(image.axes, level.shape, strict=True))
    chunk = int(np.prod(level.chunks)) * level.dtype.itemsize
    if chunk > MAX_CHUNK:
        raise ValueError(f"a chunk of it takes {chunk / 1e6:.0f} MB")
    height, width = sizes["y"], sizes["x"]
    if not all(sizes.values()):
        raise ValueError(f"it has no pixels: {sizes}")
    notes = []
    if place is None:
        place = WHOLE
        if height * width > MAX_PLANE:
            place = middle(height, width)
            notes.append(
                f"the middle of the image, {PIECE} pixels wide: no pyramid level is small"
            )
    rows, columns = (
        slice(int(first * n), max(int(np.ceil(last * n)), int(first * n) + 1))
        for first, last, n in (
            (place[0], place[2], height),
            (place[1], place[3], width),
        )
    )
    n_z = sizes.get("z", 1)
    voxels = n_z * (rows.stop - rows.start) * (columns.stop - columns.start)
    deep = slice(0, n_z) if voxels <= MAX_VOLUME else slice(n_z // 2, n_z // 2 + 1)
    if n_z > 1 and deep.stop - deep.start > 1:
        notes.append(f"maximum of {n_z} planes")
    elif n_z > 1:
        notes.append(f"plane {deep.start + 1} of {n_z}")
    if sizes.get("t", 1) > 1:
        notes.append(f"time point 1 of {sizes['t']}")
    steps = dict(zip(image.axes, level.chunks, strict=True))

    def read(channel: int | None) -> Array:
        """The plane of a channel, never with more than the depth of a chunk in memory."""
        plane: Array | None = None
        for first in range(deep.start, deep.stop, steps.get("z", 1)):
            last = min(first + steps.get("z", 1), deep.stop)
            region = {"t": slice(1), "z": slice(first, last), "y": rows, "x": columns}
            axes = [axis for axis in image.axes if axis != "c" or channel is None]
            part = image.read(
                tuple(region.get(axis, slice(1)) for axis in axes), channel, number
            )
            flat = part.reshape(-1, *part.shape[-2:]).max(axis=0)
            plane = flat if plane is None else np.maximum(plane, flat)
        assert plane is not None
        return plane

    full = dict(zip(image.axes, image.shape, strict=True))
    part_y, part_x = place[2] - place[0], place[3] - place[1]
    shape = full["y"] * part_y, full["x"] * part_x
    size = shape[0] * image.scale["y"], shape[1] * image.scale["x"]
    return Small([read(channel) for channel in channels], place, shape, size, notes)


@dataclass
class Sharp:
    """A piece of a channel at full resolution, and a summary of the plane around it.

    Attributes:
        pixels: The piece, in y and x.
        place: Where it is.
        plane: Which plane it is, in words; empty if there is only one.
        counts: Histogram of the grey values.
        edges: Lowest and highest grey value of the histogram.
        saturated: Part of the pixels at `limit`.
        limit: Highest value that the camera or the data type has.
        summarized: What the summary is about, in words: the plane, or the piece.
    """

    pixels: Array
    place: Place
    plane: str
    counts: list[int]
    edges: tuple[float, float]
    saturated: float
    limit: float
    summarized: str


def read_sharp(
    image: Image, channel: int | None, focus: tuple[float, float], size: int = CROP
) -> Sharp:
    """Read a piece of the middle plane at full resolution, and summarize the plane.

    Args:
        image: An image, or a label image.
        channel: Position of the channel; None for a label image.
        focus: Middle of the piece, in y and x, as parts of the image.
        size: Height and width of the piece, in pixels.

    Raises:
        ValueError: A chunk is too large, or cannot be read.
    """
    sizes = dict(zip(image.axes, image.shape, strict=True))
    level = image.levels[0]
    if int(np.prod(level.chunks)) * level.dtype.itemsize > MAX_CHUNK:
        raise ValueError("its chunks are too large")
    height, width, depth = sizes["y"], sizes["x"], sizes.get("z", 1)
    top, left = (
        int(np.clip(round(middle * n - size / 2), 0, max(n - size, 0)))
        for middle, n in zip(focus, (height, width), strict=True)
    )
    whole = height * width <= MAX_PLANE
    rows = slice(0, height) if whole else slice(top, min(top + size, height))
    columns = slice(0, width) if whole else slice(left, min(left + size, width))
    region = {"z": slice(depth // 2, depth // 2 + 1), "y": rows, "x": columns}
    axes = [axis for axis in image.axes if axis != "c" or channel is None]
    read = image.read(tuple(region.get(axis, slice(1)) for axis in axes), channel)
    plane = read.reshape(read.shape[-2:])
    piece = plane[top : top + size, left : left + size] if whole else plane
    place = (
        top / height,
        left / width,
        (top + piece.shape[0]) / height,
        (left + piece.shape[1]) / width,
    )
    name = f"plane {depth // 2 + 1} of {depth}" if depth > 1 else ""
    about = ("the plane" if depth > 1 else "the image") if whole else "this piece"
    known = plane[np.isfinite(plane)] if plane.dtype.kind == "f" else plane.ravel()
    if not len(known):
        return Sharp(piece, place, name, [], (0, 0), 0, 0, about)
    low, high = float(known.min()), float(known.max())
    counts, _ = np.histogram(known, BINS, (low, high if high > low else low + 1))
    limit = camera_limit(plane.dtype, high)
    saturated = float(np.count_nonzero(known >= limit)) / len(known)
    return Sharp(
        piece.copy(), place, name, counts.tolist(), (low, high), saturated, limit, about
    )


def camera_limit(dtype: np.dtype[Any], highest: float) -> float:
    """Highest value of a camera: 255 of 8 bits, or of 10, 12, 14 or 16 bits in 16 of data.

    Args:
        dtype: Data type of the pixels.
        highest: The highest value in an image: 4095 is the limit of a camera of 12 bits.
    """
    if dtype.kind not in "iu":
        return float("inf")
    if dtype.itemsize > 1 and highest in (1023, 4095, 16383):
        return highest
    return float(np.iinfo(dtype).max)


def fitting_level(image: Image, want: int) -> int:
    """Position of the smallest level that has enough pixels."""
    for number in range(len(image.levels) - 1, 0, -1):
        sizes = dict(zip(image.axes, image.levels[number].shape, strict=True))
        if max(sizes["y"], sizes["x"]) >= want:
            return number
    return 0


def middle(height: int, width: int) -> Place:
    """A square of the middle of a plane."""
    half_y, half_x = (min(PIECE / n, 1) / 2 for n in (height, width))
    return 0.5 - half_y, 0.5 - half_x, 0.5 + half_y, 0.5 + half_x


def frame_of(small: Small, longer: int) -> tuple[int, int]:
    """Height and width of a picture, in which all directions are equally large.

    Few pixels are enlarged by a whole number.
    """
    height, width = small.size
    if not (0 < height < np.inf and 0 < width < np.inf):
        height, width = small.shape
    n_y, n_x = small.planes[0].shape
    if max(n_y, n_x) <= longer / 2 and abs(height / width / (n_y / n_x) - 1) < 0.02:
        times = longer // max(n_y, n_x)
        return n_y * times, n_x * times
    # What is long and thin would be no more than a line.
    ratio = float(np.clip(height / width, 1 / 8, 8))
    return (
        (longer, max(round(longer / ratio), 1))
        if ratio > 1
        else (max(round(longer * ratio), 1), longer)
    )


def resize(plane: Array, frame: tuple[int, int]) -> Array:
    """Finite grey values with the height and width of a picture; NaN becomes 0."""
    with np.errstate(over="ignore"):
        known = np.nan_to_num(plane.astype(np.float32), posinf=0, neginf=0)
    if plane.shape[0] <= frame[0]:
        return nearest(known, frame)
    resized = Pillow.fromarray(known).resize(frame[::-1], Pillow.Resampling.BOX)
    return np.asarray(resized)


def nearest(plane: Array, frame: tuple[int, int]) -> Array:
    """Some of the values of a plane, never mixed: labels."""
    rows, columns = (
        ((np.arange(new) + 0.5) * old / new).astype(int)
        for new, old in zip(frame, plane.shape, strict=True)
    )
    chosen: Array = plane[rows[:, None], columns]
    return chosen
