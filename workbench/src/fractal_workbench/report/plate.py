"""Plates at a glance: maps of measurements, and sheets with a picture of each well."""

import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from . import plots
from .conditions import Condition
from .measurements import TableGroup, Well, by_well
from .pick_images import Image
from .pictures import encode, mixed, shows, stretched
from .views import View, first_line, short_name, take_view

MAX_PLATES = 4
MAX_WELLS = 1536
FEW = 12  # values, of which no histogram is needed
MAX_GROUPS = 24  # of which each has a box
THUMB = 96  # pixels


class Thumb(NamedTuple):
    """A well on a sheet.

    Attributes:
        anchor: Place on the page.
        data: Data URI; empty if there is no picture.
        text: What it shows, or why there is none.
    """

    anchor: str
    data: str
    text: str


class FeatureFigure(NamedTuple):
    """The plots of a feature.

    Attributes:
        feature: Its name.
        text: What all values are, if they are the same.
        plots: SVG elements.
    """

    feature: str
    text: str
    plots: list[str]


@dataclass
class Sheet:
    """The pictures of a plate.

    Attributes:
        name: Name of the plate.
        columns: Names of the columns.
        rows: Name of each row, and its wells.
        keys: Colour, name and window of each channel.
        remarks: Sentences.
    """

    name: str
    columns: list[str]
    rows: list[tuple[str, list[Thumb | None]]]
    keys: list[tuple[str, str, str]] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)


def anchor(plate: Path | str, well: str) -> str:
    """Anchor of a well on the page, also if several plates have the same name."""
    return f"well-{zlib.crc32(str(Path(plate)).encode()):08x}-{well}"


def measured_figures(
    group: TableGroup, conditions: Mapping[Well, Condition]
) -> list[FeatureFigure]:
    """Plots of the values of each feature."""
    figures: list[FeatureFigure] = []
    plates = [plate for plate in dict.fromkeys(group.plates.tolist()) if plate]
    groups = groups_of(group, conditions)
    for feature, values in group.features.items():
        known = values[np.isfinite(values)]
        if not len(known):
            continue
        label = f"{feature} of an image" if feature == "objects" else feature
        if np.ptp(known) == 0:
            several = f" in all {len(known)}" if len(known) > 1 else ""
            text = plots.short(known[0]) + several
            figures.append(FeatureFigure(feature, text, []))
            continue
        drawn = [plots.histogram(known, label)] if len(known) >= FEW else []
        for of, names in groups.items():
            drawn.append(plots.boxes(plots.by_group(names, values), label, of))
        for plate in plates:
            by = by_well(group, plate, feature)
            by = {well: value for well, value in by.items() if plots.has_place(well)}
            if len({v for v in by.values() if np.isfinite(v)}) > 1:
                links = {}
                for well in by:
                    condition = conditions.get(Well(Path(plate), well))
                    text = condition.values if condition else ""
                    links[well] = plots.Link(f"#{anchor(plate, well)}", text)
                what = "sum of" if feature == "objects" else "median of"
                title = f"{what} {feature}" if len(known) > len(by) else feature
                drawn.append(plots.plate_map(by, title, links))
        drawn = drawn or [plots.histogram(known, label)]
        figures.append(FeatureFigure(feature, "", drawn))
    return figures


def groups_of(
    group: TableGroup, conditions: Mapping[Well, Condition]
) -> dict[str, list[str]]:
    """Group of each row, for each kind of group: wells, conditions, or both."""
    wells = group.wells.tolist()
    pairs = zip(group.plates.tolist(), wells, strict=True)
    by_row = [conditions.get(Well(Path(plate), well)) for plate, well in pairs]
    kinds = [condition.values if condition else "none" for condition in by_row]
    names = next((condition.names for condition in by_row if condition), "")
    groups = {}
    if 1 < len({*wells}) <= MAX_GROUPS:
        groups["well"] = wells
    # With a row for each well, there would be the same rows under other names.
    if 1 < len({*kinds}) <= MAX_GROUPS and len({*kinds}) < len({*wells}):
        groups[names] = kinds
    return groups


def make_sheets(
    images: Sequence[Image],
    well: Callable[[str], Well | None],
    zarr_dir: Path,
    seconds: float,
) -> list[Sheet]:
    """Sheets of the plates in an image list, with the last image of each well."""
    plates: dict[Path, dict[str, str]] = {}
    for image in images:
        where = well(image["zarr_url"])
        if where and plots.has_place(where.name):
            plates.setdefault(where.plate, {})[where.name] = image["zarr_url"]
    plates = {plate: wells for plate, wells in plates.items() if len(wells) > 1}
    end = time.monotonic() + seconds
    return [
        make_sheet(plate, wells, end, zarr_dir)
        for plate, wells in [*plates.items()][:MAX_PLATES]
    ]


def make_sheet(plate: Path, wells: dict[str, str], end: float, zarr_dir: Path) -> Sheet:
    """The sheet of a plate; all wells with the same windows, so that they can be compared."""
    views: dict[str, View] = {}
    reasons: dict[str, str] = {}
    for name, url in wells.items():
        if time.monotonic() > end or len(views) >= MAX_WELLS:
            reasons[name] = "left out, as there are many"
            continue
        try:
            views[name] = take_view(url, THUMB, only_pixels=True)
        except Exception as error:
            reasons[name] = f"cannot be shown: {first_line(error)}"
    chosen = []
    keys = []
    first = next(iter(views.values()), None)
    for number, channel in enumerate(first.channels if first else []):
        same = [v.channels[number] for v in views.values() if len(v.channels) > number]
        pixels = np.concatenate([c.pixels.ravel()[::7] for c in same])
        by_metadata = channel.window and shows(pixels, channel.window)
        window = channel.window if channel.window and by_metadata else stretched(pixels)
        source = (
            "by the metadata"
            if by_metadata
            else "1st to 99.8th percentile of the plate"
        )
        chosen.append(window)
        keys.append(
            (
                channel.colour,
                channel.name,
                f"{window[0]:.4g} to {window[1]:.4g}, {source}",
            )
        )
    places = {name: plots.well_place(name) for name in wells}
    thumbs: dict[tuple[int, int], Thumb] = {}
    for name, url in wells.items():
        view = views.get(name)
        shown = short_name(url, zarr_dir)
        text = f"{name}: {shown}" + ("" if view else f", {reasons[name]}")
        data = ""
        if view:
            n = min(len(view.channels), len(chosen))
            data = encode(mixed(view.channels[:n], chosen[:n]))
        thumbs[places[name]] = Thumb(anchor(plate, name), data, text)
    n_rows, n_columns = (max(axis) + 1 for axis in zip(*places.values(), strict=True))
    rows = [
        (
            plots.row_name(row),
            [thumbs.get((row, column)) for column in range(n_columns)],
        )
        for row in range(n_rows)
    ]
    remarks = [*dict.fromkeys(first.small.notes if first else [])]
    if missing := len(wells) - len(views):
        remarks.append(f"{missing} of {len(wells)} wells have no picture")
    name = short_name(str(plate), zarr_dir)
    return Sheet(name, [str(n + 1) for n in range(n_columns)], rows, keys, remarks)
