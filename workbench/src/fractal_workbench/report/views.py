"""Views of an image: small pixels, labels and regions, with what they mean.

Views are taken right after a step, since a later one may overwrite the image.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from .. import kit
from ..engine.rules import count_of
from ..kit import Image
from ..kit.regions import read_rois
from .objects import Objects, find_objects, length_unit
from .pixels import (
    Array,
    Place,
    Sharp,
    Small,
    frame_of,
    nearest,
    read_sharp,
    read_small,
    resize,
)
from .records import written_at

LONGER = 512  # pixels of the longer side of a picture
MAX_CHANNELS = 4
MAX_LABELS = 4
MAX_REGIONS = 500  # of a table
# Told apart on a dark ground, also by most of those who see no red or green.
COLOURS = ("#4cc9f0", "#f72585", "#b8e04a", "#ffb703")
Box = tuple[float, float, float, float]
Metadata = Mapping[str, Any]


@dataclass
class Channel:
    """A channel in a picture.

    Attributes:
        name: Its name.
        colour: As `#rrggbb`.
        window: Grey values of black and of full colour, by the metadata of the image.
        pixels: Grey values, of the size of the picture.
        index: Position in the image.
        wavelength: Its wavelength ID; empty if it has none.
        sharp: A piece at full resolution, and a summary of the plane around it.
        shown: Grey values of black and of full colour in pictures, and their source, once
            they were chosen.
    """

    name: str
    colour: str
    window: tuple[float, float] | None
    pixels: Array
    index: int = 0
    wavelength: str = ""
    sharp: Sharp | None = None
    shown: tuple[tuple[float, float], str] | None = None


@dataclass
class View:
    """A view of an image.

    Attributes:
        url: Folder of the image.
        channels: Its channels.
        small: What was read.
        unit: Of its pixel sizes.
        depth: Number of its planes in z.
        labels: Labels by the name of the label image, of the size of the picture.
        objects: Objects by the name of the label image; None if it is too large for that.
        regions: Boxes by name of the table: top, left, bottom, right in the picture.
        points: Points by name of the table, at the first time point: y and x as parts of
            the image; shape (n, 2).
        remarks: Sentences about what cannot be shown.
        marks: Digests of the pixels, and of each label image, ROI table and table of points.
        written: When the metadata of each of these were written.
        old: Labels and tables that were there before the run, and are of no step so far.
    """

    url: str
    channels: list[Channel]
    small: Small
    unit: str
    depth: int = 1
    labels: dict[str, Array] = field(default_factory=dict)
    objects: dict[str, Objects | None] = field(default_factory=dict)
    regions: dict[str, dict[str, Box]] = field(default_factory=dict)
    points: dict[str, Array] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)
    marks: dict[str, str] = field(default_factory=dict)
    written: dict[str, int] = field(default_factory=dict)
    old: set[str] = field(default_factory=set)

    @property
    def frame(self) -> tuple[int, int]:
        """Height and width of the picture."""
        height, width = self.channels[0].pixels.shape
        return height, width

    def folder_of(self, mark: str) -> Path:
        """Folder of what a mark is of: of the image for its pixels."""
        kind, _, name = mark.partition(" ")
        if kind == "pixels":
            return Path(self.url)
        return Path(self.url, "labels" if kind == "label" else "tables", name)


def take_view(
    url: str,
    longer: int = LONGER,
    *,
    only_pixels: bool = False,
    focus: tuple[float, float] | None = None,
    hidden: Callable[[Path], bool] | None = None,
) -> View:
    """Look at an image.

    Args:
        url: Folder of the image.
        longer: Pixels of the longer side of the picture.
        only_pixels: Leave labels, regions and full resolution out.
        focus: Middle of the piece at full resolution, in y and x, as parts of the image;
            by default where the picture has most contrast.
        hidden: Whether to leave out a label or table, by its folder.

    Raises:
        Exception: Of any kind: the image cannot be read.
    """
    image = kit.open_image(url)
    metadata = image.channels
    shown = [n for n, c in enumerate(metadata) if c.get("active", True) is not False]
    shown = (shown or [*range(len(metadata))])[:MAX_CHANNELS]
    small = read_small(image, shown, want=longer * 4 // 5)
    if len(shown) < len(metadata):
        small.notes.append(f"{len(shown)} of {len(metadata)} channels")
    frame = frame_of(small, longer)
    colours = channel_colours([metadata[n] for n in shown])
    names = image.channel_names
    channels = [
        Channel(
            names[n],
            colour,
            omero_window(metadata[n]),
            resize(plane, frame),
            n,
            str(metadata[n].get("wavelength_id") or ""),
        )
        for n, colour, plane in zip(shown, colours, small.planes, strict=True)
    ]
    mark = hashlib.sha256(str(image.shape).encode())
    for plane in small.planes:
        mark.update(np.ascontiguousarray(plane).tobytes())
    small.planes = []
    view = View(
        url=url,
        channels=channels,
        small=small,
        unit=length_unit(image, "yx"),
        depth=dict(zip(image.axes, image.shape, strict=True)).get("z", 1),
        marks={"pixels": mark.hexdigest()},
    )
    if not only_pixels:
        if focus is None:
            focus = most_contrast(channels[0].pixels, small.place)
        for channel in channels:
            with remark_on_error(view, f"full resolution of {channel.name}"):
                channel.sharp = read_sharp(image, channel.index, focus)
        labels = _shown(image, "labels", image.label_names, hidden)
        tables = _shown(image, "tables", kit.table_names(image), hidden)
        look_at_labels(image, view, labels)
        look_at_regions(image, view, tables)
        look_at_points(image, view, tables)
        view.written = {mark: written_at(view.folder_of(mark)) for mark in view.marks}
    return view


def most_contrast(pixels: Array, place: Place) -> tuple[float, float]:
    """Middle of the part of a picture with most contrast, as parts of the image.

    Args:
        pixels: A picture of a channel.
        place: Which part of the image it shows.
    """
    height, width = pixels.shape
    n = 4 if min(height, width) >= 16 else 1
    best, corner = -1.0, (0, 0)
    for row, column in np.ndindex(2 * n - 1, 2 * n - 1):
        y, x = row * height // (2 * n), column * width // (2 * n)
        spread = float(pixels[y : y + height // n, x : x + width // n].std())
        if spread > best:
            best, corner = spread, (y, x)
    y, x = ((c + m / (2 * n)) / m for c, m in zip(corner, (height, width), strict=True))
    top, left, bottom, right = place
    return top + y * (bottom - top), left + x * (right - left)


def _shown(
    image: Image,
    folder: str,
    names: Iterable[str],
    hidden: Callable[[Path], bool] | None,
) -> list[str]:
    """Names of the labels or tables of an image that are not hidden."""
    paths = [image.path / folder / name for name in names]
    return [path.name for path in paths if hidden is None or not hidden(path)]


def look_at_labels(image: Image, view: View, names: Sequence[str]) -> None:
    """Add the label images."""
    if len(names) > MAX_LABELS:
        view.remarks.append(
            f"{len(names)} label images, of which {MAX_LABELS} are shown"
        )
    for name in names[:MAX_LABELS]:
        with remark_on_error(view, f"the label image {name!r}"):
            label = kit.open_label(image, name)
            small = read_small(label, [None], max(view.frame), view.small.place)
            (plane,) = small.planes
            view.labels[name] = nearest(plane, view.frame)
            mark = hashlib.sha256(np.ascontiguousarray(plane).tobytes())
            view.marks[f"label {name}"] = mark.hexdigest()
            view.objects[name] = find_objects(label)


def look_at_regions(image: Image, view: View, names: Sequence[str]) -> None:
    """Add the ROI tables."""
    top, left, bottom, right = view.small.place
    sizes = dict(zip(image.axes, image.shape, strict=True))
    axes = image.axes.replace("c", "")
    for name in names:
        folder = image.path / "tables" / name
        with remark_on_error(view, f"the table {name!r}"):
            kind = kit.open_group(folder).attrs.get("type")
            if not str(kind).endswith("roi_table"):
                continue
            boxes: dict[str, Box] = {}
            for roi in read_rois(image, name):
                places = dict(zip(axes, roi.region, strict=True))
                y, x = (
                    (
                        (np.array([s.start, s.stop]) / sizes[axis] - first)
                        / (last - first)
                        * n
                    ).tolist()
                    for axis, s, first, last, n in (
                        ("y", places["y"], top, bottom, view.frame[0]),
                        ("x", places["x"], left, right, view.frame[1]),
                    )
                )
                boxes[roi.name] = (y[0], x[0], y[1], x[1])
            if len(boxes) > MAX_REGIONS:
                view.remarks.append(
                    f"{len(boxes)} regions in {name}, of which {MAX_REGIONS} are shown"
                )
            view.regions[name] = dict([*boxes.items()][:MAX_REGIONS])
            mark = hashlib.sha256(json.dumps(boxes).encode())
            view.marks[f"regions {name}"] = mark.hexdigest()


def look_at_points(image: Image, view: View, tables: Sequence[str]) -> None:
    """Add the tables of points, with their positions in `y_micrometer` and `x_micrometer`."""
    sizes = dict(zip(image.axes, image.shape, strict=True))
    names = {axis: f"{axis}_micrometer" for axis in "yx"}
    for table_name in tables:
        folder = image.path / "tables" / table_name
        with remark_on_error(view, f"the table {table_name!r}"):
            kind = str(kit.open_group(folder).attrs.get("type"))
            if kind.endswith(("roi_table", "condition_table")):
                continue
            if (file := folder / "table.csv").is_file():  # which may be a large one
                with file.open(encoding="utf-8") as lines:
                    if not {*names.values()} <= {*lines.readline().strip().split(",")}:
                        continue
            table = kit.read_table(image, table_name)
            if table.label_name or not {*names.values()} <= table.columns.keys():
                continue  # of objects, which are shown
            if any(column.startswith("len_") for column in table.columns):
                continue  # of regions
            parts = np.stack(
                [
                    (table.columns[name] / image.physical_scale[axis] + 0.5)
                    / sizes[axis]
                    for axis, name in names.items()
                ],
                axis=1,
            )
            if "time_point" in table.columns:
                parts = parts[table.columns["time_point"] == 0]
            outside = np.count_nonzero(~((parts >= 0) & (parts <= 1)).all(axis=1))
            if outside:
                total = count_of(len(parts), "point")
                view.remarks.append(
                    f"outside of the image: {outside} of {total} of {table_name}"
                )
            view.points[table_name] = parts
            mark = hashlib.sha256(np.ascontiguousarray(parts).tobytes())
            view.marks[f"points {table_name}"] = mark.hexdigest()


@contextmanager
def remark_on_error(view: View, name: str) -> Iterator[None]:
    """Add a remark to the view in place of what cannot be read."""
    try:
        yield
    except Exception as error:
        view.remarks.append(f"{name} cannot be shown: {first_line(error)}")


def first_line(error: BaseException) -> str:
    """Return the first line of the message of an error."""
    lines = str(error).strip().splitlines() or [""]
    return lines[0][:300] or type(error).__name__


def channel_colours(channels: Sequence[Metadata]) -> list[str]:
    """Colours by the metadata; others where several channels have the same, or none."""
    colours = [str(c.get("color") or "").lstrip("#").lower()[:6] for c in channels]
    valid = all(len(c) == 6 and set(c) <= set("0123456789abcdef") for c in colours)
    if valid and len(set(colours)) == len(colours) and "000000" not in colours:
        return [f"#{colour}" for colour in colours]
    return ["#ffffff"] if len(colours) == 1 else list(COLOURS[: len(colours)])


def omero_window(channel: Metadata) -> tuple[float, float] | None:
    """The window of a channel, if its metadata have a valid one."""
    window = channel.get("window") or {}
    try:
        low, high = float(window["start"]), float(window["end"])
    except (KeyError, TypeError, ValueError):
        return None
    return (low, high) if np.isfinite([low, high]).all() and low < high else None


def short_name(url: str, zarr_dir: Path) -> str:
    """Name of an image in the dataset."""
    path = Path(url)
    return str(path.relative_to(zarr_dir) if path.is_relative_to(zarr_dir) else path)


Taken = View | str


def try_view(
    url: str,
    focus: tuple[float, float] | None = None,
    hidden: Callable[[Path], bool] | None = None,
) -> Taken:
    """Look at an image; if that fails, return the reason."""
    try:
        return take_view(url, focus=focus, hidden=hidden)
    except Exception as error:
        return f"It cannot be shown: {first_line(error)}"
