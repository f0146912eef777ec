"""Units of the columns of tables, by the images that the tables are about."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from .. import kit
from ..kit.multiscale import coordinates
from .objects import Objects, column_units, find_objects, intensity_units

MAX_TRIES = 5  # images of a kind, until one has enough objects to compare


class ImageKind(NamedTuple):
    """Properties of an image that decide about the units of its measurements.

    Attributes:
        axes: Name and unit of each axis.
        is_deep: Whether there are several planes.
        is_calibrated: Whether the metadata have the size of a pixel.
        channels: Names of the channels.
    """

    axes: tuple[tuple[str, str], ...]
    is_deep: bool
    is_calibrated: bool
    channels: tuple[str, ...]


def find_units(
    name: str,
    holders: Sequence[Path],
    known: Mapping[Path, Mapping[str, Objects | None]],
    seconds: float,
) -> dict[str, list[str]]:
    """Find the units of each column, in images of each kind.

    Images of one kind have the same units, so that one of them is measured.

    Args:
        name: Name of the tables.
        holders: Images that have one.
        known: Objects of label images, by image and label, that are measured already.
        seconds: Time, after which the units of further kinds count as not known.

    Returns:
        Different units by column; an empty text stands for one that is not known.
    """
    kinds: dict[ImageKind | None, list[Path]] = {}
    for holder in sorted(holders, key=lambda path: path not in known):
        kinds.setdefault(kind_of(holder), []).append(holder)
    end = time.monotonic() + seconds
    # By column, for each kind of pixels; an empty one stands for images without evidence.
    found: dict[str, dict[ImageKind, set[str]]] = {}
    is_complete = True
    for kind, images in kinds.items():
        if kind is None or time.monotonic() > end:
            is_complete = False
            continue
        pixels = kind._replace(channels=())
        for column, units in units_of_kind(name, images, known).items():
            found.setdefault(column, {}).setdefault(pixels, set()).update(units)
    result = {}
    for column, of_kinds in found.items():
        units = {unit for of_kind in of_kinds.values() for unit in of_kind}
        if not (is_complete and all(of_kinds.values())):
            units.add("")
        result[column] = sorted(units, key=lambda unit: (unit == "pixels", unit))
    return result


def units_of_kind(
    name: str,
    images: Sequence[Path],
    known: Mapping[Path, Mapping[str, Objects | None]],
) -> dict[str, set[str]]:
    """Different units of each column, in some images of one kind; none without evidence."""
    found: dict[str, set[str]] = {}
    has_objects = False
    for number, path in enumerate(images):
        if path not in known and (has_objects or number >= MAX_TRIES):
            break
        image = kit.open_image(path)
        table = kit.read_table(image, name)
        units = intensity_units(table, image)
        label = table.label_name
        if path in known:
            objects = known[path].get(label)
        elif label and (path / "labels" / label).is_dir():
            objects = find_objects(kit.open_label(image, label))
        else:
            objects = None
        # The size of a single object can agree by chance, and of none with all.
        enough = objects is not None and len(objects) > 1
        has_objects |= enough or not label
        if objects and enough:
            units |= column_units(table, objects)
        for column in table.columns:
            of_column = found.setdefault(column, set())
            if enough or not label or column in units:
                of_column.add(units.get(column, ""))
    return found


def kind_of(path: Path) -> ImageKind | None:
    """The kind of an image; None if it cannot be read."""
    try:
        group = kit.open_group(path)
        metadata = kit.ome_metadata(group)
        multiscale = metadata["multiscales"][0]
        axes = tuple(
            (axis["name"], axis.get("unit") or "") for axis in multiscale["axes"]
        )
        level = group[multiscale["datasets"][0]["path"]]
        names = [name for name, _ in axes]
        depth = level.shape[names.index("z")] if "z" in names else 1  # type: ignore[union-attr]
        channels = (metadata.get("omero") or {}).get("channels") or []
        return ImageKind(
            axes,
            depth > 1,
            coordinates(multiscale)[0] is not None,
            tuple(str(channel.get("label")) for channel in channels),
        )
    except Exception:
        return None
