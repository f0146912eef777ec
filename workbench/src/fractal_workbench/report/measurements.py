"""Measurements in tables: which have changed, and their features by image and by well."""

import re
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .. import kit
from ..kit.tables import read_cells, unify_tables
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


class Position(NamedTuple):
    """Position of an image in a plate.

    Attributes:
        plate: Folder of the plate.
        well: Name of the well, such as `A01`.
        acquisition: Its number as a text; empty if it is not known.
    """

    plate: Path
    well: str
    acquisition: str = ""


@dataclass
class TableGroup:
    """The tables of one name, of all images or plates that a step gave them.

    Attributes:
        name: Name of the tables.
        of: `images` or `plates`.
        total: How many there are.
        read: How many of them were read.
        holders: Folders of the images or plates whose tables were read.
        n_rows: Rows that were read.
        features: Numbers by name of the column; NaN where a row has none.
        wells: Well of each row; empty if it has none.
        plates: Plate of each row, likewise.
        acquisitions: Acquisition of each row, likewise.
        images: Name of the image of each row in its well, likewise.
        times: Time point of each row, likewise.
        units: Units of columns, as far as they are known.
        not_drawn: Columns without a plot: texts, positions, and further numbers.
        needs_control: Whether there are conditions, and none says what is a control.
        remarks: Sentences about what could not be read.
    """

    name: str
    of: str
    total: int = 0
    read: int = 0
    holders: list[Path] = field(default_factory=list)
    n_rows: int = 0
    features: dict[str, Array] = field(default_factory=dict)
    wells: Array = field(default_factory=lambda: np.zeros(0, str))
    plates: Array = field(default_factory=lambda: np.zeros(0, str))
    acquisitions: Array = field(default_factory=lambda: np.zeros(0, str))
    images: Array = field(default_factory=lambda: np.zeros(0, str))
    times: Array = field(default_factory=lambda: np.zeros(0, str))
    units: dict[str, str] = field(default_factory=dict)
    not_drawn: list[str] = field(default_factory=list)
    needs_control: bool = False
    remarks: list[str] = field(default_factory=list)

    @property
    def n_times(self) -> int:
        """Number of time points that the rows are of; 0 if they do not say it."""
        return len({*self.times.tolist()} - {""})


def find_positions(
    images: Iterable[Image], known: dict[str, Position | None]
) -> dict[str, Position | None]:
    """Return the position of each image; a folder is opened once for all its images.

    Args:
        images: Entries of an image list.
        known: Those of before, by the folders of images.
    """
    # By folder: whether it is a plate, and the acquisitions of the images of a well.
    is_plate = cache(lambda folder: "plate" in metadata_of(folder))
    listed = cache(
        lambda folder: {
            Path(image["path"]).name: image.get("acquisition")
            for image in metadata_of(folder).get("well", {})["images"]
        }
    )
    positions = {}
    for image in images:
        url = image["zarr_url"]
        positions[url] = (
            known[url] if url in known else position_of(image, is_plate, listed)
        )
    return positions


def position_of(
    image: Image,
    is_plate: Callable[[Path], bool],
    listed: Callable[[Path], Mapping[str, Any]],
) -> Position | None:
    """Position of an image, by its attributes if they agree with its folder."""
    path = Path(image["zarr_url"])
    if len(path.parts) < 5:
        return None
    # Of OMERO, a plate may have a folder for each acquisition.
    plates, well = path.parents[2:4], path.parts[-3] + path.parts[-2]
    attributes = image.get("attributes") or {}
    name = attributes.get("plate") if attributes.get("well") == well else None
    plate = next((plate for plate in plates if plate.name == name), None)
    agrees = plate is not None
    acquisition = attributes.get("acquisition") if agrees else None
    try:
        # A converter need not list an image in its well: the attributes are enough.
        plate = plate or next(filter(is_plate, plates), None)
        if plate is None or not (agrees or path.name in listed(path.parent)):
            return None
        if acquisition is None:
            acquisition = listed(path.parent).get(path.name)
        if acquisition is None and plate == path.parents[3]:
            acquisition = path.parts[-4]
    except Exception:  # a damaged plate is none
        if not agrees:
            return None
    number = "" if acquisition is None else str(acquisition)
    return Position(plate, well, number) if plate else None


def metadata_of(folder: Path) -> dict[str, Any]:
    """The OME metadata of a group; nothing where there is none."""
    try:
        return kit.ome_metadata(kit.open_group(folder))
    except Exception:
        return {}


def read_states(
    folders: Iterable[Path], hidden: Callable[[Path], bool] | None = None
) -> dict[Path, TableState]:
    """Return the state of each table in some folders, without reading the table.

    Args:
        folders: Images and plates.
        hidden: Whether to leave out a table, by its folder.
    """
    states = {}
    for folder in folders:
        try:
            for table in (folder / "tables").iterdir():
                is_table = table.is_dir() and not table.name.startswith(".")
                if is_table and not (hidden and hidden(table)):
                    files = [file.stat() for file in sorted(table.rglob("*"))]
                    times = tuple((file.st_mtime_ns, file.st_size) for file in files)
                    states[table] = table.stat().st_ino, times
        except OSError:
            continue
    return states


def measure(
    tables: Sequence[Path],
    position: Callable[[Path], Position | None],
    seconds: float,
    left_out: Collection[str] = (),
) -> list[TableGroup]:
    """Read tables, those of one name together, within limits of time and size.

    Args:
        tables: Their folders.
        position: The position of an image, by its folder; None for a plate.
        seconds: Time to read tables, and then no more.
        left_out: Names of columns that are no measurements, such as conditions.
    """
    groups: dict[tuple[str, str], list[Path]] = {}
    for table in tables:
        holder = table.parents[1]
        of = "images" if position(holder) or is_image(table) else "plates"
        groups.setdefault((table.name, of), []).append(table)
    end = time.monotonic() + seconds
    read = [
        collect(TableGroup(*key), paths, position, end, left_out)
        for key, paths in groups.items()
    ]
    return [
        group for group in read if group.features or group.not_drawn or group.remarks
    ]


def is_image(table: Path) -> bool:
    """Whether a table belongs to an image, and not to a plate."""
    try:
        return "multiscales" in kit.ome_metadata(kit.open_group(table.parents[1]))
    except Exception:
        return True


def collect(
    group: TableGroup,
    paths: list[Path],
    position: Callable[[Path], Position | None],
    end: float,
    left_out: Collection[str],
) -> TableGroup:
    """Read the tables of one name, spread evenly if there is no time for all."""
    group.total = len(paths)
    holders = group.holders
    tables: list[kit.Table] = []
    for path in spread(paths):
        if tables and (time.monotonic() > end or group.n_rows > MAX_ROWS):
            break
        try:
            table = read_cells(path.parents[1], path.name)
        except Exception as error:
            group.remarks.append(f"A table cannot be shown: {first_line(error)}")
            group.total -= 1
            continue
        if table.type in LISTS_OF_PLACES:
            group.total -= 1
            continue
        holders.append(path.parents[1])
        tables.append(table)
        group.n_rows += len(next(iter(table.columns.values()), []))
    parts: list[dict[str, Array]] = []
    places: list[tuple[Array, Array, Array, Array, Array]] = []
    for holder, table in zip(holders, unify_tables(tables), strict=True):
        columns = table.columns
        n = len(next(iter(columns.values()), []))
        found_none = n == 0 and group.of == "images"
        if found_none:  # one row without features, whose count is 0
            columns, n = {}, 1
        features = {
            name: values
            for name, values in columns.items()
            if name not in left_out and is_feature(name, values, table.index)
        }
        where = position(holder)
        times = as_texts(columns.get("time_point", np.full(n, "")))
        if group.of == "images":
            count = "objects" if is_of_objects(table) else "rows"
            features[count] = np.full(n, np.nan)
            # Once for each time point, and never the sum of these.
            first, counts = np.unique(times, return_index=True, return_counts=True)[1:]
            features[count][first] = 0 if found_none else counts
        group.read += 1
        parts.append(features)
        # A table of a plate says where each of its rows comes from.
        own = {} if where else columns
        known = where or Position(holder, "")
        texts = {"well": known.well, "acquisition": known.acquisition}
        texts["image"] = "" if group.of == "plates" else holder.name
        well, acquisition, image = (
            as_texts(own.get(name, np.full(n, text))) for name, text in texts.items()
        )
        plate = np.full(n, str(known.plate))
        places.append((plate, well, acquisition, image, times))
    for column in chosen(parts):
        values = [
            part.get(column, np.full(len(place[0]), np.nan))
            for part, place in zip(parts, places, strict=True)
        ]
        group.features[column] = np.concatenate(values).astype(float)
    names = (name for table in tables for name in table.columns)
    group.not_drawn = [
        name for name in dict.fromkeys(names) if name not in group.features
    ]
    if places:
        joined = map(np.concatenate, zip(*places, strict=True))
        group.plates, group.wells, group.acquisitions, group.images, group.times = (
            joined
        )
    del group.remarks[3:]
    return group


def is_of_objects(table: kit.Table) -> bool:
    """Return True if each row is one object of a label image, at one time point."""
    labels = table.columns.get(table.index, table.columns.get("label"))
    if table.label_name and not any(map(len, table.columns.values())):
        return True  # without objects, there may be no columns
    if not table.label_name or labels is None:
        return False
    times = table.columns.get("time_point", np.zeros(len(labels), int))
    pairs = {*zip(labels.astype(str).tolist(), times.tolist(), strict=True)}
    return len(pairs) == len(labels)


def as_texts(values: Array) -> Array:
    """Numbers of wells and acquisitions as texts: gaps made `1.0` of `1`."""
    return np.array(
        [
            f"{value:g}" if isinstance(value, float) else str(value)
            for value in values.tolist()
        ],
        dtype=np.str_,
    )


def is_feature(name: str, values: Array, index: str) -> bool:
    """Whether a column is worth a distribution."""
    if name == index or values.dtype.kind not in "iuf" or POSITIONS.fullmatch(name):
        return False
    return bool(np.isfinite(values.astype(float)).any())


def chosen(parts: list[dict[str, Array]]) -> list[str]:
    """The columns to show: numbers of objects first, one of those that go together."""
    names = [*dict.fromkeys(name for part in parts for name in part)]
    first = [name for name in ("objects", "rows", "count") if name in names]
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


class Layer(NamedTuple):
    """Rows of which each well has one image, so that they can be a map of the plate.

    Attributes:
        plate: Folder of the plate.
        acquisition: As in `Position`.
        image: Name of the images; empty if each well has but one in this acquisition.
    """

    plate: str
    acquisition: str
    image: str


def layers(group: TableGroup) -> dict[Layer, Array]:
    """Return a mask of the rows of each layer: acquisitions are never added up."""
    columns = (group.plates, group.acquisitions, group.wells, group.images)
    rows = [*zip(*(column.tolist() for column in columns), strict=True)]
    # Images of each well, by plate and acquisition.
    images: dict[tuple[str, str], dict[str, set[str]]] = {}
    for plate, acquisition, well, image in rows:
        if well:
            wells = images.setdefault((plate, acquisition), {})
            wells.setdefault(well, set()).add(image)
    several = {
        key: any(len(names) > 1 for names in wells.values())
        for key, wells in images.items()
    }
    of_rows = [
        Layer(plate, acquisition, image if several[plate, acquisition] else "")
        if well
        else None
        for plate, acquisition, well, image in rows
    ]
    numbers: dict[Layer, list[int]] = {}
    for number, layer in enumerate(of_rows):
        if layer:
            numbers.setdefault(layer, []).append(number)
    masks = {}
    for layer in sorted(numbers, key=natural):
        masks[layer] = np.zeros(len(rows), bool)
        masks[layer][numbers[layer]] = True
    return masks


def natural(parts: Iterable[str]) -> list[list[tuple[bool, int, str]]]:
    """Key to sort texts with numbers: 2 before 10, and both before letters."""
    return [
        [
            (bool(text), int(digits or 0), text)
            for text, digits in re.findall(r"(\D+)|(\d+)", part)
        ]
        for part in parts
    ]


def by_well(group: TableGroup, rows: Array, feature: str) -> dict[str, float]:
    """Median of a feature by well, of some rows; NaN where there is no value.

    Args:
        group: The tables.
        rows: Mask of the rows of a layer: a number of objects is there once in each well.
        feature: Name of the feature.
    """
    values = group.features[feature][rows]
    names, places = np.unique(group.wells[rows], return_inverse=True)
    order = np.argsort(places, kind="stable")
    ends = np.cumsum(np.bincount(places))[:-1]  # each well is compared once
    result = {}
    for name, of_well in zip(
        names.tolist(), np.split(values[order], ends), strict=True
    ):
        known = of_well[np.isfinite(of_well)]
        result[name] = float(np.median(known)) if len(known) else float("nan")
    return result
