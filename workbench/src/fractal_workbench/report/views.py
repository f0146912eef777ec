"""What can be seen of an image now: small pixels, labels, regions, with what they mean.

Views are taken right after a step, since a later one may overwrite the image.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from .. import kit
from .pixels import Array, Small, frame_of, nearest, read_small, resize

LONGER = 320  # pixels of the longer side of a picture
MAX_CHANNELS = 4
MAX_LABELS = 4
MAX_REGIONS = 500  # of a table
# Told apart on a dark ground, also by most of those who see no red or green.
COLOURS = ("#4cc9f0", "#f72585", "#b8e04a", "#ffb703")
Box = tuple[float, float, float, float]


@dataclass
class Channel:
    """A channel in a picture.

    Attributes:
        name: Its name.
        colour: As `#rrggbb`.
        window: Grey values of black and of full colour, by the metadata of the image.
        pixels: Grey values, of the size of the picture.
    """

    name: str
    colour: str
    window: tuple[float, float] | None
    pixels: Array


@dataclass
class View:
    """What can be seen of an image.

    Attributes:
        url: Folder of the image.
        channels: Its channels.
        small: What was read.
        unit: Of its pixel sizes.
        labels: Labels by the name of the label image, of the size of the picture.
        regions: Boxes by name of the table: top, left, bottom, right in the picture.
        told: Sentences about what cannot be shown.
        marks: What tells whether something has changed, by what it is.
    """

    url: str
    channels: list[Channel]
    small: Small
    unit: str
    labels: dict[str, Array] = field(default_factory=dict)
    regions: dict[str, dict[str, Box]] = field(default_factory=dict)
    told: list[str] = field(default_factory=list)
    marks: dict[str, str] = field(default_factory=dict)

    @property
    def frame(self) -> tuple[int, int]:
        """Height and width of the picture."""
        height, width = self.channels[0].pixels.shape
        return height, width


def take_view(url: str, longer: int = LONGER, *, only_pixels: bool = False) -> View:
    """Look at an image.

    Args:
        url: Folder of the image.
        longer: Pixels of the longer side of the picture.
        only_pixels: Leave labels and regions out.

    Raises:
        Exception: Of any kind: the image cannot be read.
    """
    image = kit.open_image(url)
    metadata = image.channels
    shown = [
        n for n, one in enumerate(metadata) if one.get("active", True) is not False
    ]
    shown = (shown or [*range(len(metadata))])[:MAX_CHANNELS]
    small = read_small(image, shown, want=longer * 4 // 5)
    if len(shown) < len(metadata):
        small.notes.append(f"{len(shown)} of {len(metadata)} channels")
    frame = frame_of(small, longer)
    colours = channel_colours([metadata[n] for n in shown])
    names = image.channel_names
    channels = [
        Channel(names[n], colour, omero_window(metadata[n]), resize(plane, frame))
        for n, colour, plane in zip(shown, colours, small.planes, strict=True)
    ]
    mark = hashlib.sha256(str(image.shape).encode())
    for plane in small.planes:
        mark.update(np.ascontiguousarray(plane).tobytes())
    small.planes = []
    axes = {one["name"]: one for one in image.metadata["multiscales"][0]["axes"]}
    unit = {"micrometer": "µm", "nanometer": "nm", "millimeter": "mm"}
    view = View(
        url=url,
        channels=channels,
        small=small,
        unit=unit.get(axes["x"].get("unit") or "", axes["x"].get("unit") or ""),
        marks={"pixels": mark.hexdigest()},
    )
    if not only_pixels:
        look_at_labels(image, view)
        look_at_regions(image, view)
    return view


def look_at_labels(image: Any, view: View) -> None:
    """Add the label images."""
    names = list(image.label_names)
    if len(names) > MAX_LABELS:
        view.told.append(f"{len(names)} label images, of which {MAX_LABELS} are shown")
    for name in names[:MAX_LABELS]:
        with Telling(view, f"the label image {name!r}"):
            label = kit.open_label(image, name)
            small = read_small(label, [None], max(view.frame), view.small.place)
            (plane,) = small.planes
            view.labels[name] = nearest(plane, view.frame)
            mark = hashlib.sha256(np.ascontiguousarray(plane).tobytes())
            view.marks[f"label {name}"] = mark.hexdigest()


def look_at_regions(image: Any, view: View) -> None:
    """Add the ROI tables."""
    top, left, bottom, right = view.small.place
    sizes = dict(zip(image.axes, image.shape, strict=True))
    axes = image.axes.replace("c", "")
    for name in kit.table_names(image):
        folder = image.path / "tables" / name
        with Telling(view, f"the table {name!r}"):
            kind = kit.open_group(folder).attrs.get("type")
            if not str(kind).endswith("roi_table"):
                continue
            boxes: dict[str, Box] = {}
            for roi in kit.read_rois(image, name):
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
                said = (
                    f"{len(boxes)} regions in {name}, of which {MAX_REGIONS} are shown"
                )
                view.told.append(said)
            view.regions[name] = dict([*boxes.items()][:MAX_REGIONS])
            mark = hashlib.sha256(json.dumps(boxes).encode())
            view.marks[f"regions {name}"] = mark.hexdigest()


class Telling:
    """Turns what goes wrong into a sentence of the view."""

    def __init__(self, view: View, what: str) -> None:
        self.view, self.what = view, what

    def __enter__(self) -> None:
        """Begin."""

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> bool:
        """Keep what happened as a sentence."""
        if not isinstance(error, Exception):
            return False
        self.view.told.append(f"{self.what} cannot be shown: {first_line(error)}")
        return True


def first_line(error: BaseException) -> str:
    """What an error says, in one line."""
    lines = str(error).strip().splitlines() or [""]
    return lines[0][:300] or type(error).__name__


def channel_colours(channels: list[Mapping[str, Any]]) -> list[str]:
    """Colours by the metadata; others where several channels have the same, or none."""
    found = [str(one.get("color") or "").lstrip("#").lower()[:6] for one in channels]
    right = all(len(c) == 6 and set(c) <= set("0123456789abcdef") for c in found)
    if right and len(set(found)) == len(found) and "000000" not in found:
        return [f"#{colour}" for colour in found]
    return ["#ffffff"] if len(found) == 1 else list(COLOURS[: len(found)])


def omero_window(channel: Mapping[str, Any]) -> tuple[float, float] | None:
    """The window of a channel, if its metadata say one that makes sense."""
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


def try_view(url: str, take: Callable[..., View] = take_view, **options: Any) -> Taken:
    """Look at an image; if that fails, say why."""
    try:
        return take(url, **options)
    except Exception as error:
        return f"It cannot be shown: {first_line(error)}"
