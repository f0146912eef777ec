"""Measurements in tables: which have changed, and their features by image and by well."""

import re
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .. import kit
from .pick_images import Image
from .pixels import Array
from .views import first_line

MAX_ROWS = 500_000
MAX_FEATURES = 6
# They say where an object is, which makes no distribution to look at.
POSITIONS = re.compile(
    r"(label|index|id|row|column|acquisition|time_point|fieldindex)(_(mean|median))?"
    r"|.*(centroid|bbox|bounding|position|_micrometer|_second|center|centre).*"
    r"|(pos_)?[xyz](_.*)?",
    re.IGNORECASE,
)
LESS = re.compile(r"(^|_)(min|max|std|var|sum)(_|$)|minimum|maximum", re.IGNORECASE)
# Changes when a table does: its inode, and the time and size of its files.
TableState = tuple[int, tuple[tuple[int, int], ...]]
LISTS_OF_PLACES = (
    "roi_table",
    "masking_roi_table",
    "generic_roi_table",
    "condition_table",
)


class Well(NamedTuple):
    """Where an image lies: the folder of the plate, and the well."""

    plate: Path
    name: str


@dataclass
class TableGroup:
    """The tables of one name, of all images or plates that a step gave them.

    Attributes:
        name: Name of the tables.
        of: `images` or `plates`.
        total: How many there are.
        read: How many of them were read.
        n_rows: Rows that were read.
        features: Numbers by name of the column.
        wells: Well of each row; empty if it has none.
        plates: Plate of each row, likewise.
        remarks: Sentences about what could not be read.
    """

    name: str
    of: str
    total: int = 0
    read: int = 0
    n_rows: int = 0
    features: dict[str, Array] = field(default_factory=dict)
    wells: Array = field(default_factory=lambda: np.zeros(0, str))
    plates: Array = field(default_factory=lambda: np.zeros(0, str))
    remarks: list[str] = field(default_factory=list)


def find_wells(
    images: Iterable[Image], known: dict[str, Well | None]
) -> dict[str, Well | None]:
    """Where images lie, of which a folder is opened once for all images in it.

    Args:
        images: Entries of an image list.
        known: Those of before, by the folders of images.
    """
    # By folder: whether it is a plate, and the images that a well lists.
    is_plate = cache(lambda folder: "plate" in metadata_of(folder))
    listed = cache(
        lambda folder: {
            image["path"] for image in metadata_of(folder).get("well", {})["images"]
        }
    )
    wells = {}
    for image in images:
        url = image["zarr_url"]
        wells[url] = known[url] if url in known else well_of(image, is_plate, listed)
    return wells


def well_of(
    image: Image,
    is_plate: Callable[[Path], bool],
    listed: Callable[[Path], set[str]],
) -> Well | None:
    """Plate and well of an image, by its attributes if they agree with its folder."""
    path = Path(image["zarr_url"])
    if len(path.parts) < 5:
        return None
    well = Well(path.parents[2], path.parts[-3] + path.parts[-2])
    attributes = image["attributes"]
    if (
        attributes.get("well") == well.name
        and attributes.get("plate") == well.plate.name
    ):
        return well
    try:
        return (
            well if is_plate(well.plate) and path.name in listed(path.parent) else None
        )
    except Exception:  # a damaged plate is none
        return None


def metadata_of(folder: Path) -> dict[str, Any]:
    """The OME metadata of a group; nothing where there is none."""
    try:
        return kit.ome_metadata(kit.open_group(folder))
    except Exception:
        return {}


def read_states(folders: Iterable[Path]) -> dict[Path, TableState]:
    """Return the state of each table in some folders, without reading the table."""
    states = {}
    for folder in folders:
        try:
            for table in (folder / "tables").iterdir():
                if table.is_dir() and not table.name.startswith("."):
                    files = [file.stat() for file in sorted(table.rglob("*"))]
                    times = tuple((file.st_mtime_ns, file.st_size) for file in files)
                    states[table] = table.stat().st_ino, times
        except OSError:
            continue
    return states


def measure(
    tables: Sequence[Path], well: Callable[[Path], Well | None], seconds: float
) -> list[TableGroup]:
    """Read tables, those of one name together, within limits of time and size.

    Args:
        tables: Their folders.
        well: The well of an image, by its folder; none for plates.
        seconds: Time to read tables, and then no more.
    """
    groups: dict[tuple[str, str], list[Path]] = {}
    for table in tables:
        of = "images" if well(table.parents[1]) or is_image(table) else "plates"
        groups.setdefault((table.name, of), []).append(table)
    end = time.monotonic() + seconds
    read = [collect(TableGroup(*k), paths, well, end) for k, paths in groups.items()]
    return [group for group in read if group.features or group.remarks]


def is_image(table: Path) -> bool:
    """Whether a table belongs to an image, and not to a plate."""
    try:
        return "multiscales" in kit.ome_metadata(kit.open_group(table.parents[1]))
    except Exception:
        return True


def collect(
    group: TableGroup,
    paths: list[Path],
    well: Callable[[Path], Well | None],
    end: float,
) -> TableGroup:
    """Read the tables of one name, spread evenly if there is no time for all."""
    group.total = len(paths)
    parts: list[dict[str, Array]] = []
    wells: list[Array] = []
    plates: list[Array] = []
    for path in spread(paths):
        if parts and (time.monotonic() > end or group.n_rows > MAX_ROWS):
            break
        holder = path.parents[1]
        try:
            table = kit.read_table(holder, path.name)
        except Exception as error:
            group.remarks.append(f"A table cannot be shown: {first_line(error)}")
            group.total -= 1
            continue
        if table.type in LISTS_OF_PLACES:
            group.total -= 1
            continue
        columns = table.columns
        n = len(next(iter(columns.values()), []))
        features = {k: v for k, v in columns.items() if is_feature(k, v, table.index)}
        if group.of == "images":
            features["objects"] = np.full(n, np.nan)
            features["objects"][:1] = n
        where = well(holder)
        group.read += 1
        group.n_rows += n
        parts.append(features)
        name = where.name if where else ""
        own = columns.get("well", np.full(n, name)) if not where else np.full(n, name)
        wells.append(own.astype(str))
        plates.append(np.full(n, str(where.plate if where else holder)))
    names = chosen(parts)
    for column in names:
        group.features[column] = np.concatenate(
            [
                part.get(column, np.full(len(w), np.nan))
                for part, w in zip(parts, wells, strict=True)
            ]
        ).astype(float)
    if parts:
        group.wells, group.plates = np.concatenate(wells), np.concatenate(plates)
    del group.remarks[3:]
    return group


def is_feature(name: str, values: Array, index: str) -> bool:
    """Whether a column is worth a distribution."""
    if name == index or values.dtype.kind not in "iuf" or POSITIONS.fullmatch(name):
        return False
    return bool(np.isfinite(values.astype(float)).any())


def chosen(parts: list[dict[str, Array]]) -> list[str]:
    """The columns to show: numbers of objects first, one of those that go together."""
    names = [*dict.fromkeys(name for part in parts for name in part)]
    first = [name for name in ("objects", "count") if name in names]
    # Of mean and median, the median; spread and limits last.
    rest = [
        name
        for name in names
        if name not in first
        and not (name.endswith("_mean") and f"{name[:-5]}_median" in names)
    ]
    rest.sort(key=lambda name: bool(LESS.search(name)))
    return (first + rest)[:MAX_FEATURES]


def spread(paths: list[Path]) -> Iterator[Path]:
    """All of them, so that those of any beginning lie far apart."""
    left = [*range(len(paths))]
    step = 1
    while step * 2 < len(left):
        step *= 2
    seen: set[int] = set()
    while step:
        for number in left[::step]:
            if number not in seen:
                seen.add(number)
                yield paths[number]
        step //= 2


def by_well(group: TableGroup, plate: str, feature: str) -> dict[str, float]:
    """Median of a feature by well; the sum of numbers of objects."""
    values = group.features[feature]
    result = {}
    here = (group.plates == plate) & (group.wells != "")
    for name in np.unique(group.wells[here]):
        mine = values[here & (group.wells == name)]
        mine = mine[np.isfinite(mine)]
        total = np.sum if feature == "objects" else np.median
        result[str(name)] = float(total(mine)) if len(mine) else float("nan")
    return result
