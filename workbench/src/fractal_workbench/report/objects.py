"""Objects of a label image: sizes, places, and which of them are far from the rest."""

import re
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy import ndimage

from ..engine.rules import count_of
from ..kit import Image, Table
from .pixels import Array, Place

MAX_VOXELS = 2**24  # that are read to measure objects
MIN_SIDE = 32  # pixels of a picture of an object
FENCE = 1.5  # interquartile ranges beyond the quartiles, after Tukey


@dataclass
class Objects:
    """Objects of a label image, one row each, at the first time point.

    Attributes:
        numbers: Label of each.
        sizes: Area, or volume of a label image with several planes, in `unit`.
        unit: Such as `µm²` or `pixels`.
        pixels: The same sizes in pixels of full resolution.
        extent: Height and width of the image in the unit of length, or in pixels.
        boxes: First and last y, first and last x, as parts of the image; shape (n, 4).
        at_border: Whether it touches the border of the image in y or x.
        touching: Whether it touches another object.
        factor: By how much y is smaller than at full resolution, where it was measured.
    """

    numbers: Array
    sizes: Array
    unit: str
    pixels: Array
    extent: tuple[float, float]
    boxes: Array
    at_border: Array
    touching: Array
    factor: float

    def __len__(self) -> int:
        return len(self.numbers)

    @property
    def limits(self) -> tuple[float, float]:
        """Sizes between which an object is not far from the rest."""
        low, high = np.percentile(self.sizes, (25, 75)).tolist()
        return low - FENCE * (high - low), high + FENCE * (high - low)

    @property
    def far(self) -> Array:
        """Mask of the objects whose size is far from the rest."""
        if not len(self):
            return np.zeros(0, bool)
        low, high = self.limits
        result: Array = (self.sizes < low) | (self.sizes > high)
        return result

    @property
    def centers(self) -> Array:
        """Middle of the box of each object, as parts of the image: y and x."""
        result: Array = self.boxes.reshape(-1, 2, 2).mean(axis=2)
        return result

    def summary(self) -> str:
        """Counts of objects, and of those far from the rest, in words."""
        n = len(self)
        text = count_of(n, "object")
        if self.factor > 1.01:
            text += (
                f" at {self.factor:.3g} times fewer pixels, so that small ones may lack"
            )
        parts = [
            f"{np.count_nonzero(mask)} {what}"
            for mask, what in (
                (self.at_border, "at the border"),
                (self.touching, "touching another"),
                (self.far, "of unusual size"),
            )
            if mask.any()
        ]
        return f"{text}: {', '.join(parts)}" if parts else text


def length_unit(image: Image, axes: str) -> str:
    """Unit of the pixel sizes along some axes; empty if it is not the same, or not known."""
    if not image.is_calibrated:  # then a pixel has no size, whatever the axes say
        return ""
    short = {"micrometer": "µm", "nanometer": "nm", "millimeter": "mm"}
    units = {
        str(axis.get("unit") or "")
        for axis in image.metadata["multiscales"][0]["axes"]
        if axis["name"] in axes
    }
    unit = units.pop()
    return "" if units else short.get(unit, unit)


def find_objects(label: Image) -> Objects | None:
    """Measure the objects of a label image; None if each level of it is too large.

    Args:
        label: A label image with the axes (t)(z)yx.
    """
    read = read_labels(label)
    if read is None:
        return None
    labels, factor = read
    numbers, compact = renumbered(labels)
    n = len(numbers) - 1
    counts = np.bincount(compact.ravel(), minlength=n + 1)[1:]
    height, width = labels.shape[-2:]
    boxes = np.zeros((n, 4))
    for number, box in enumerate(ndimage.find_objects(compact, n)):
        y, x = box[-2:]
        boxes[number] = (
            y.start / height,
            y.stop / height,
            x.start / width,
            x.stop / width,
        )
    touching = np.zeros(n + 1, bool)
    for axis in range(labels.ndim):
        first = compact[tuple([slice(None)] * axis + [slice(None, -1)])]
        second = compact[tuple([slice(None)] * axis + [slice(1, None)])]
        differs = (first != second) & (first > 0) & (second > 0)
        touching[first[differs]] = touching[second[differs]] = True
    border = (boxes[:, 0] == 0) | (boxes[:, 1] == 1) | (boxes[:, 2] == 0)
    axes = "zyx"[-labels.ndim :]
    voxel = float(np.prod([label.scale[axis] for axis in axes])) * factor[0] * factor[1]
    full = dict(zip(label.axes, label.shape, strict=True))
    unit = length_unit(label, axes)
    step = label.scale if unit else dict.fromkeys(label.axes, 1.0)
    power = "²" if len(axes) == 2 else "³"
    return Objects(
        numbers=numbers[1:],
        sizes=counts * voxel if unit else counts * factor[0] * factor[1],
        unit=f"{unit}{power}" if unit else ("pixels" if len(axes) == 2 else "voxels"),
        pixels=counts * factor[0] * factor[1],
        extent=(full["y"] * step["y"], full["x"] * step["x"]),
        boxes=boxes,
        at_border=border | (boxes[:, 3] == 1),
        touching=touching[1:],
        factor=factor[0],
    )


def renumbered(labels: Array) -> tuple[Array, Array]:
    """Numbers in a label image, of which the first is 0, and their positions in its place."""
    high = int(labels.max(initial=0))
    if 0 <= high <= MAX_VOXELS and labels.dtype.kind in "iu":  # no need to sort
        known = np.bincount(labels.ravel(), minlength=1) > 0
        known[0] = True
        places = np.cumsum(known) - 1
        return np.flatnonzero(known), places[labels]
    numbers, flat = np.unique(np.append(0, labels), return_inverse=True)
    return numbers, flat.ravel()[1:].reshape(labels.shape)


def read_labels(label: Image) -> tuple[Array, tuple[float, float]] | None:
    """Labels of the first time point, with the axes (z)yx, at the best level that fits.

    Returns:
        The labels, and by how much y and x are smaller than at full resolution.
    """
    for number, level in enumerate(label.levels):
        sizes = dict(zip(label.axes, level.shape, strict=True))
        n = sizes.get("z", 1) * sizes["y"] * sizes["x"]
        if not 0 < n <= MAX_VOXELS:
            continue
        region = tuple(slice(1) if axis in "tc" else slice(None) for axis in label.axes)
        labels = label.read(region, level=number)
        shape = tuple(
            m for m, axis in zip(labels.shape, label.axes, strict=True) if axis in "zyx"
        )
        labels = labels.reshape(shape)
        if labels.ndim == 3 and labels.shape[0] == 1:
            labels = labels[0]
        full = dict(zip(label.axes, label.shape, strict=True))
        return labels, (full["y"] / sizes["y"], full["x"] / sizes["x"])
    return None


class Crop(NamedTuple):
    """A place to look at.

    Attributes:
        title: Why.
        place: Where it is.
        label: The object that is meant, if it is one.
    """

    title: str
    place: Place
    label: int | None = None


def choose_crops(objects: Objects, part: tuple[float, float]) -> list[Crop]:
    """Choose places to look at: by the number of objects, and around extreme ones.

    Args:
        objects: The objects of an image.
        part: Height and width of a crop, as parts of the image, at most 1.
    """
    centers = objects.centers
    starts = [np.linspace(0, 1 - size, max(round(2 / size) - 1, 1)) for size in part]
    corners = np.array([(y, x) for y in starts[0] for x in starts[1]])
    counts = [count_in(objects, place_at(corner, part)) for corner in corners]
    order = np.argsort(counts, kind="stable")
    chosen = {
        "densest": order[-1],
        "median": order[len(order) // 2],
        "sparsest": order[0],
    }
    crops = []
    seen: set[int] = set()
    is_all = part == (1, 1)  # as the overview
    for title, number in chosen.items():
        if int(number) not in seen and not is_all:
            seen.add(int(number))
            crops.append(Crop(title, place_at(corners[number], part)))
    if len(objects) > 2:
        half = part[0] / 2, part[1] / 2
        largest, smallest = int(objects.sizes.argmax()), int(objects.sizes.argmin())
        extreme = {"largest": largest, "smallest": smallest}
        for title, number in extreme.items() if largest != smallest else ():
            corner = centers[number] - np.array(half) / 2
            size = f"{objects.sizes[number]:.4g} {objects.unit}"
            label = int(objects.numbers[number])
            place = place_at(np.clip(corner, 0, 1 - np.array(half)), half)
            crops.append(Crop(f"{title}: label {label}, {size}", place, label))
    return crops


def place_at(corner: Array, size: tuple[float, float]) -> Place:
    """The place with a corner, and a height and width."""
    top, left = corner.tolist()
    return top, left, min(top + size[0], 1), min(left + size[1], 1)


def place_around(objects: Objects, label: int, shape: tuple[int, int]) -> Place:
    """A square around an object, or what of it lies in the image.

    Args:
        objects: The objects of an image.
        label: Label of the object.
        shape: Height and width of the image in pixels.
    """
    (number,) = np.flatnonzero(objects.numbers == label).tolist()
    box = objects.boxes[number].reshape(2, 2)
    longer = float(((box[:, 1] - box[:, 0]) * shape).max())
    size = np.minimum(max(1.6 * longer, MIN_SIDE) / np.array(shape), 1)
    corner = np.clip(objects.centers[number] - size / 2, 0, 1 - size)
    return place_at(corner, (float(size[0]), float(size[1])))


def count_in(objects: Objects, place: Place) -> int:
    """Number of objects whose boxes overlap a place."""
    top, left, bottom, right = place
    first_y, last_y, first_x, last_x = objects.boxes.T
    inside = (first_y < bottom) & (last_y > top) & (first_x < right) & (last_x > left)
    return int(np.count_nonzero(inside))


def extremes(objects: Objects, most: int = 3) -> list[dict[str, str]]:
    """The largest and the smallest objects, as rows of a table.

    Args:
        objects: The objects of an image.
        most: How many of each.
    """
    if len(objects) < 2 or objects.sizes.min() == objects.sizes.max():
        return []
    order = np.argsort(objects.sizes, kind="stable")[::-1].tolist()
    length = objects.unit[:-1] if objects.unit[-1] in "²³" else "pixels"
    rows = []
    for n in dict.fromkeys([*order[:most], *order[-most:]]):
        y, x = (objects.centers[n] * objects.extent).tolist()
        flags = {
            "at the border": objects.at_border[n],
            "touching another": objects.touching[n],
            "unusual size": objects.far[n],
        }
        rows.append(
            {
                "label": str(objects.numbers[n]),
                "size": f"{objects.sizes[n]:.4g} {objects.unit}",
                "y": f"{y:.4g} {length}",
                "x": f"{x:.4g} {length}",
                "remarks": ", ".join(flag for flag, is_set in flags.items() if is_set),
            }
        )
    return rows


def column_units(table: Table, objects: Objects) -> dict[str, str]:
    """Units of the columns of a table that are the sizes of its objects.

    Tables name no units. What agrees with the label image in all rows, or in those of the
    first time point, needs no guess.

    Args:
        table: A table with a row for each object.
        objects: The objects of its label image.

    Returns:
        Unit by name of the column, such as `µm²` or `pixels`.
    """
    labels = table.columns.get(table.index)
    if labels is None or labels.dtype.kind not in "iu":
        return {}
    # The objects are those of the first time point.
    first = table.columns.get("time_point", np.zeros(len(labels), int)) == 0
    rows = {number: row for row, number in enumerate(objects.numbers.tolist())}
    known = labels[first].tolist()
    if len(known) < 2 or objects.factor > 1 or not {*known} <= rows.keys():
        return {}
    order = [rows[label] for label in known]
    units = {}
    for name, values in table.columns.items():
        if name == table.index or values.dtype.kind not in "iuf":
            continue
        for sizes, unit in (
            (objects.pixels, "pixels"),
            (objects.sizes, objects.unit),
        ):
            if np.allclose(
                values[first].astype(float), sizes[order], rtol=1e-4, atol=0
            ):
                units[name] = unit
    return units


def intensity_units(table: Table, image: Image) -> dict[str, str]:
    """Units of the columns of a table that are intensities of the pixels of its image.

    These are columns with `intensity` in their name, and those such as `mean_DAPI`, after a
    channel. Values that no pixel can have, or that are parts of 1, have no known unit.

    Args:
        table: A table of the image.
        image: The image.
    """
    names = "|".join(map(re.escape, image.channel_names))
    pattern = re.compile(rf"(?i:.*intensity.*)|(mean|median|std|min|max)_({names})")
    dtype = image.levels[0].dtype
    low, high = (0.0, np.inf)
    if dtype.kind in "iu":
        low, high = float(np.iinfo(dtype).min), float(np.iinfo(dtype).max)
    units = {}
    for name, values in table.columns.items():
        if values.dtype.kind not in "iuf" or not pattern.fullmatch(name):
            continue
        known = values[np.isfinite(values.astype(float))]
        if len(known) and low <= known.min() and 1 < known.max() <= high:
            units[name] = "grey values"
    return units
