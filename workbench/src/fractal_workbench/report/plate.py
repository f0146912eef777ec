"""Plates at a glance: maps of measurements, and sheets with a picture of each well."""

import time
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, cycle
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..engine.rules import count_of
from . import plots
from .conditions import Condition
from .measurements import Layer, Position, TableGroup, by_well, layers, natural
from .pick_images import Image
from .pictures import PALETTE, encode, mixed, shows, stretched
from .pixels import Array
from .views import COLOURS, Channel, View, first_line, short_name, take_view

MAX_PLATES = 4
MAX_WELLS = 1536
MIN_CONTROLS = 3  # wells of each, for a Z' factor
FEW = (
    12  # values, of which no histogram is needed; rows of a table that is shown as one
)
FEW_VALUES = 6  # which are written, and not plotted
MIN_WELLS = 3  # of a map
ALIKE = 1e-3  # part of the largest value, below which wells are no map
MAX_GROUPS = 24  # of which each has a box
THUMB = 96  # pixels


class Thumb(NamedTuple):
    """A well on a sheet.

    Attributes:
        anchor: Place on the page.
        link: Place on the page of larger pictures; empty if there are none.
        data: Data URI; empty if there is no picture.
        text: What it shows, or why there is none.
    """

    anchor: str
    link: str
    data: str
    text: str


class FeatureFigure(NamedTuple):
    """The plots of a feature.

    Attributes:
        feature: Its name.
        text: The values, if they are few or the same; and the Z' factors.
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


def anchor(plate: Path | str, acquisition: str, well: str) -> str:
    """Anchor of a well on the page, also if several plates have the same name."""
    place = f"{Path(plate)}\n{acquisition}"
    return f"well-{zlib.crc32(place.encode()):08x}-{well}"


def measured_figures(
    group: TableGroup,
    conditions: Mapping[Position, Condition],
    *,
    full: bool = True,
) -> list[FeatureFigure]:
    """Plots of the values of each feature; without `full`, these in words."""
    figures: list[FeatureFigure] = []
    maps = layers(group)
    groups = groups_of(group, maps, conditions)
    names = layer_names(maps)
    for feature, values in group.features.items():
        known = values[np.isfinite(values)]
        if not len(known):
            continue
        counts = feature in ("objects", "rows")
        label = f"{feature} of an image" if counts else feature
        if counts and group.n_times > 1:
            label += " and time point"
        if unit := group.units.get(feature):
            label = f"{feature} ({unit})"
        # An image without objects has a row here, and none in its table.
        no_row = np.zeros(len(values), bool)
        for count in {"objects", "rows"} & group.features.keys():
            no_row |= group.features[count] == 0
        missing = 0 if counts else np.count_nonzero(~np.isfinite(values) & ~no_row)
        in_table = group.n_rows <= FEW and not counts  # where all values are written
        text = ""
        if np.ptp(known) == 0 and not in_table:
            text = plots.short(known[0])
            if len(known) > 1:
                noun = "rows" if not counts else "images"
                noun = (
                    "images and time points" if counts and group.n_times > 1 else noun
                )
                text += f" in each of {len(known)} {noun}"
        elif len(known) <= FEW_VALUES and not in_table:
            text = "; ".join(
                f"{plots.short(values[n])} in {place_of(group, n, names)}"
                for n in np.flatnonzero(np.isfinite(values)).tolist()
            )
        if not (full or text or in_table):
            low, middle, high = map(plots.short, np.percentile(known, (0, 50, 100)))
            text = f"median {middle}, from {low} to {high}; no charts, to save time"
        drawn = []
        if not text and not in_table:
            drawn += [plots.histogram(known, label)] if len(known) >= FEW else []
            for of, of_rows in groups.items():
                drawn.append(plots.boxes(plots.by_group(of_rows, values), label, of))
            drawn = drawn or [plots.histogram(known, label)]
        for layer, rows in maps.items():
            by = by_well(group, rows, feature)
            by = {well: value for well, value in by.items() if plots.has_place(well)}
            finite = [v for v in by.values() if np.isfinite(v)]
            # What hardly differs would have the same colours as what differs much.
            differs = (
                np.ptp(finite) > ALIKE * np.max(np.abs(finite)) if finite else False
            )
            if full and len(finite) >= MIN_WELLS and differs:
                single = np.isfinite(values[rows]).sum() <= len(by)
                title = label if single else f"median of {label}"
                title = ", ".join(filter(None, [title, names[layer]]))
                links = links_of(layer, by, conditions)
                drawn.append(plots.plate_map(by, title, links))
        factors = [
            f"Z′ {factor}" + (f" ({names[layer]})" if names[layer] else "")
            for layer, rows in maps.items()
            if (factor := z_factor(by_well(group, rows, feature), layer, conditions))
        ]
        if missing and not in_table:
            rows_in_all = count_of(group.n_rows, "row")
            factors.append(f"no value in {missing} of {rows_in_all}")
        text = "; ".join(filter(None, [text, *factors]))
        if text or drawn:
            figures.append(FeatureFigure(feature, text, drawn))
    return figures


def place_of(group: TableGroup, row: int, names: Mapping[Layer, str]) -> str:
    """The place that a row of the tables is about, in words."""
    if not group.wells[row]:
        parts = [str(group.images[row]) or Path(group.plates[row]).name]
    else:
        plate, acquisition = str(group.plates[row]), str(group.acquisitions[row])
        image = str(group.images[row])
        layer = Layer(plate, acquisition, image)
        layer = layer if layer in names else layer._replace(image="")
        parts = [str(group.wells[row]), names.get(layer, "")]
    if group.n_times > 1 and group.times[row]:
        parts.append(f"time point {group.times[row]}")
    return ", ".join(filter(None, parts))


def small_table(group: TableGroup) -> tuple[list[str], list[list[str]]]:
    """Head and rows of tables with few rows, which say more than plots; else nothing."""
    features = [name for name in group.features if name not in ("objects", "rows")]
    if not 0 < len(group.wells) <= FEW or not features:
        return [], []
    names = layer_names(layers(group))
    units = {name: f" ({unit})" for name, unit in group.units.items()}
    head = ["of", *(name + units.get(name, "") for name in features)]
    rows = [
        [
            place_of(group, row, names),
            *(
                "none" if np.isnan(value) else plots.short(value)
                for value in (group.features[name][row] for name in features)
            ),
        ]
        for row in range(len(group.wells))
    ]
    return head, rows


def z_factor(
    values: Mapping[str, float],
    layer: Layer,
    conditions: Mapping[Position, Condition],
) -> str:
    """Robust Z' factor of the controls of a plate, in words; empty if there are none.

    It is 1 - 3 (s+ + s-) / |m+ - m-|, with medians m of the wells of positive and of negative
    controls, and s as 1.4826 times their median absolute deviations.

    Args:
        values: Value of each well.
        layer: Plate and acquisition of the wells.
        conditions: Conditions, of which some are controls.
    """
    groups: dict[str, list[float]] = {"positive": [], "negative": []}
    for well, value in values.items():
        position = Position(Path(layer.plate), well, layer.acquisition)
        condition = condition_of(position, conditions)
        if condition and condition.control and np.isfinite(value):
            groups[condition.control].append(value)
    counts = (
        f"wells: {len(groups['positive'])} positive, {len(groups['negative'])} negative"
    )
    if not any(groups.values()):
        return ""
    if min(map(len, groups.values())) < MIN_CONTROLS:
        return f"needs {MIN_CONTROLS} wells of each control: {counts}"
    middles = {name: float(np.median(group)) for name, group in groups.items()}
    spreads = [
        1.4826 * float(np.median(np.abs(np.array(group) - middles[name])))
        for name, group in groups.items()
    ]
    apart = abs(middles["positive"] - middles["negative"])
    if not apart:
        return f"is not defined: the medians are equal, {counts}"
    return f"{1 - 3 * sum(spreads) / apart:.2f}, {counts}"


def links_of(
    layer: Layer, wells: Iterable[str], conditions: Mapping[Position, Condition]
) -> dict[str, plots.Link]:
    """Links from the wells of a map to those of the sheet, with their conditions."""
    links = {}
    for well in wells:
        position = Position(Path(layer.plate), well, layer.acquisition)
        condition = condition_of(position, conditions)
        url = f"#{anchor(layer.plate, layer.acquisition, well)}"
        links[well] = plots.Link(url, condition.values if condition else "")
    return links


def condition_of(
    position: Position, conditions: Mapping[Position, Condition]
) -> Condition | None:
    """Condition of a position; that of its well, if its acquisition is not known."""
    if position.acquisition:
        return conditions.get(position)
    return conditions.get(position._replace(acquisition=""))


def plate_names(plates: Iterable[str]) -> dict[str, str]:
    """Return a short name for each plate; no two are equal."""
    plates = dict.fromkeys(plates)
    names = {plate: Path(plate).name for plate in plates}
    if len({*names.values()}) < len(names):
        names = {plate: "/".join(Path(plate).parts[-2:]) for plate in plates}
    return names if len({*names.values()}) == len(names) else {p: p for p in plates}


def layer_names(maps: Iterable[Layer]) -> dict[Layer, str]:
    """Difference of the layers of a table, in words; empty if there is only one."""
    maps = [*maps]
    plates = plate_names(layer.plate for layer in maps)
    several = len({layer.acquisition for layer in maps}) > 1
    return {
        layer: ", ".join(
            [
                *([plates[layer.plate]] if len(plates) > 1 else []),
                *([f"acquisition {layer.acquisition or 'unknown'}"] if several else []),
                *([f"image {layer.image}"] if layer.image else []),
            ]
        )
        for layer in maps
    }


def groups_of(
    group: TableGroup,
    maps: Mapping[Layer, Array],
    conditions: Mapping[Position, Condition],
) -> dict[str, list[str]]:
    """Group of each row, for each kind of group: wells, conditions, or both.

    Rows of several plates, acquisitions or images of a well are never in one group.
    """
    layer_of = [""] * len(group.wells)
    names = layer_names(maps)
    for layer, rows in maps.items():
        for number in np.flatnonzero(rows).tolist():
            layer_of[number] = names[layer]
    columns = (group.plates, group.wells, group.acquisitions)
    rows_at = [*zip(*(column.tolist() for column in columns), strict=True)]
    # Of many rows, there are few places.
    known = {
        (plate, *rest): condition_of(Position(Path(plate), *rest), conditions)
        for plate, *rest in dict.fromkeys(rows_at)
    }
    conditions_at = [known[place] for place in rows_at]

    def told_apart(groups: Iterable[str]) -> list[str]:
        pairs = zip(groups, layer_of, strict=True)
        return [", ".join(filter(None, pair)) for pair in pairs]

    images = group.images.tolist()
    wells = told_apart(
        well or image or Path(plate).name
        for (plate, well, _), image in zip(rows_at, images, strict=True)
    )
    kinds = told_apart(one.values if one else "none" for one in conditions_at)
    name = next((condition.names for condition in conditions_at if condition), "")
    further = sorted(
        {
            key
            for layer in maps
            for key in ("acquisition", "image")
            if getattr(layer, key)
        }
        if len(maps) > 1
        else ()
    )
    suffix = f" and {' and '.join(further)}" if further else ""
    groups = {}
    if 1 < group.n_times <= MAX_GROUPS:
        groups["time point"] = [
            point or "no time point" for point in group.times.tolist()
        ]
    if 1 < len({*wells}) <= MAX_GROUPS:
        in_well = [bool(well) for _, well, _ in rows_at]
        kind = "well" if all(in_well) else "well or image" if any(in_well) else "image"
        groups[f"{kind}{suffix}"] = wells
    # With a row for each well, there would be the same rows under other names.
    if name and 1 < len({*kinds}) <= MAX_GROUPS and len({*kinds}) < len({*wells}):
        groups[f"{name}{suffix}"] = kinds
    return groups


def make_sheets(
    images: Sequence[Image],
    positions: Mapping[str, Position | None],
    links: Mapping[str, str],
    zarr_dir: Path,
    seconds: float,
) -> list[Sheet]:
    """Sheets of plates, one for each acquisition, with the last image of each well.

    Args:
        images: The image list.
        positions: Position of each image, by `zarr_url`.
        links: Place on the page of larger pictures, of some images.
        zarr_dir: Folder of the dataset.
        seconds: Time after which no more images are read.
    """
    wells: dict[Path, dict[str, dict[str, str]]] = {}
    for image in images:
        position = positions.get(image["zarr_url"])
        if position and plots.has_place(position.well):
            of_plate = wells.setdefault(position.plate, {})
            of_acquisition = of_plate.setdefault(position.acquisition, {})
            of_acquisition[position.well] = image["zarr_url"]
    end = time.monotonic() + seconds
    sheets = []
    for plate, of_plate in [*wells.items()][:MAX_PLATES]:
        if len({well for urls in of_plate.values() for well in urls}) == 1:
            continue
        for acquisition in sorted(of_plate, key=lambda key: natural([key])):
            name = short_name(str(plate), zarr_dir)
            if len(of_plate) > 1:
                name += f", acquisition {acquisition or 'unknown'}"
            urls = of_plate[acquisition]
            anchors = {well: anchor(plate, acquisition, well) for well in urls}
            sheets.append(make_sheet(name, urls, anchors, links, end, zarr_dir))
    if sheets and len(wells) > MAX_PLATES:
        sheets[-1].remarks.append(
            f"not shown: {count_of(len(wells) - MAX_PLATES, 'more plate')}"
        )
    return sheets


def make_sheet(
    title: str,
    wells: Mapping[str, str],
    anchors: Mapping[str, str],
    links: Mapping[str, str],
    end: float,
    zarr_dir: Path,
) -> Sheet:
    """Make a sheet; each channel has one window in all wells, to compare them.

    Args:
        title: Name of the sheet.
        wells: Image of each well.
        anchors: Place on the page of each well.
        links: Place on the page of larger pictures, by image.
        end: Time after which no more images are read, by `time.monotonic`.
        zarr_dir: Folder of the dataset.
    """
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
    channels, keys = unify_channels([*views.values()])
    places = {name: plots.well_place(name) for name in wells}
    thumbs: dict[tuple[int, int], Thumb] = {}
    for name, url in wells.items():
        view = views.get(name)
        shown = short_name(url, zarr_dir)
        text = f"{name}: {shown}" + ("" if view else f", {reasons[name]}")
        data = ""
        if view:
            own = [channels[channel.name] for channel in view.channels]
            coloured = [
                Channel(channel.name, same.colour, same.window, channel.pixels)
                for channel, same in zip(view.channels, own, strict=True)
            ]
            windows = [same.window or (0, 1) for same in own]
            data = encode(mixed(coloured, windows))
        thumbs[places[name]] = Thumb(anchors[name], links.get(url, ""), data, text)
    n_rows, n_columns = (max(axis) + 1 for axis in zip(*places.values(), strict=True))
    rows = [
        (
            plots.row_name(row),
            [thumbs.get((row, column)) for column in range(n_columns)],
        )
        for row in range(n_rows)
    ]
    notes = [*chain.from_iterable(view.small.notes for view in views.values())]
    remarks = [
        note + in_wells(notes.count(note), len(views)) for note in dict.fromkeys(notes)
    ]
    if missing := len(wells) - len(views):
        remarks.append(f"no picture of {missing} of {count_of(len(wells), 'well')}")
    return Sheet(title, [str(n + 1) for n in range(n_columns)], rows, keys, remarks)


def unify_channels(
    views: Sequence[View],
) -> tuple[dict[str, Channel], list[tuple[str, str, str]]]:
    """Give channels of the same name the same colour and window in all wells.

    Returns:
        By name, a channel with that colour and window; and the legend: colour, name, text.
    """
    named: dict[str, list[Channel]] = {}
    for view in views:
        for channel in view.channels:
            named.setdefault(channel.name, []).append(channel)
    spare = cycle([*COLOURS, *PALETTE])
    unified: dict[str, Channel] = {}
    keys = []
    for name, channels in named.items():
        used = {channel.colour for channel in unified.values()}
        colour = channels[0].colour
        if colour in used and len(used) < len({*COLOURS, *PALETTE}):
            colour = next(candidate for candidate in spare if candidate not in used)
        pixels = np.concatenate([channel.pixels.ravel()[::7] for channel in channels])
        window = channels[0].window
        source = "by the metadata"
        same = all(channel.window == window for channel in channels)
        if not window or not same or not shows(pixels, window):
            window, source = (
                stretched(pixels),
                "1st to 99.8th percentile of these wells",
            )
        unified[name] = Channel(name, colour, window, channels[0].pixels)
        where = in_wells(len(channels), len(views))
        keys.append(
            (colour, name, f"{window[0]:.4g} to {window[1]:.4g}, {source}{where}")
        )
    return unified, keys


def in_wells(number: int, total: int) -> str:
    """In how many wells something holds, in words; empty if it does in all of them."""
    return "" if number == total else f", in {number} of {total} wells"
