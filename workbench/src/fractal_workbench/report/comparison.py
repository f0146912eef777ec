"""Changes of images by a step: before and after, labels, regions, registration."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from .. import kit
from ..engine.history import StepDone
from ..engine.rules import count_of
from .agreement import Agreement, agreement
from .background import named_channels
from .measurements import natural
from .objects import choose_crops, count_in, extremes, place_around, read_labels
from .pick_images import Sample
from .pictures import (
    Picture,
    boxed,
    by_itself,
    changed,
    crop,
    dotted,
    grey,
    grey_of,
    marked,
    outline_in_white,
    outlined,
    overlaid,
    overlapping,
    plain,
    rings,
    shows,
    stretched,
    thumbnail,
    window_text,
)
from .pixels import CROP, Array, nearest, read_small
from .views import Channel, Taken, View, first_line, short_name

MAX_FIGURES = 2  # of a place, after a step
MAX_BELOW = 2  # channels below the outlines of a label image
FULL = 2**30  # pixels along a side, so that full resolution is read


@dataclass
class Figure:
    """Pictures that belong together.

    Attributes:
        title: Image or well that they show.
        pictures: One or more.
        crops: Pieces at full resolution.
        channels: Each channel by itself.
        remarks: Sentences, also in place of pictures.
        extremes: The largest and smallest objects of a label image, by its name: rows
            of a table, with a `picture` of each if there is room.
        thumb: A small picture of the result, for the table of wells.
        url: The image.
    """

    title: str
    pictures: list[Picture] = field(default_factory=list)
    crops: list[Picture] = field(default_factory=list)
    channels: list[Picture] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    extremes: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    thumb: Picture | None = None
    url: str = ""


@dataclass
class Budget:
    """Limits for the pictures of a step.

    Attributes:
        end: Time of the processor after which there are fewer pictures, by
            `time.process_time`.
        size: Bytes after which there are fewer.
        used: Bytes of the pictures so far.
    """

    end: float
    size: float
    used: int = 0

    @property
    def is_spent(self) -> bool:
        """Whether the page is near its limits, and takes fewer pictures."""
        return self.used >= self.size or time.process_time() > self.end

    def spend(self, figure: Figure) -> None:
        """Count the pictures of a figure."""
        pictures = [*figure.pictures, *figure.crops, *figure.channels]
        rows = [row for rows in figure.extremes.values() for row in rows]
        pictures += [row["picture"] for row in rows if "picture" in row]
        self.used += sum(picture.size for picture in pictures)


def compare(
    done: StepDone,
    picked: Sequence[str],
    before: Mapping[str, Taken],
    after: Mapping[str, Taken],
    sample: Sample,
    acquisitions: Mapping[str, str],
    zarr_dir: Path,
    budget: Budget,
) -> list[Figure]:
    """Show the changes by a step.

    Args:
        done: The step.
        picked: Images to show, by `zarr_url`, as the step leaves them.
        before: What images looked like before the step.
        after: What they look like now.
        sample: Which place an image belongs to.
        acquisitions: Acquisition of each image; empty if it is not known.
        zarr_dir: Folder of the dataset.
        budget: Limits of time and size.
    """
    origins = {image["zarr_url"]: image["origin"] or "" for image in done.after}
    figures: list[Figure] = []
    shown: dict[str, int] = {}
    left_out = 0
    moved: dict[str, list[tuple[View, View]]] = {}
    for url in picked:
        if budget.is_spent and any(figure.pictures for figure in figures):
            left_out += 1
            continue
        now, name = after[url], short_name(url, zarr_dir)
        if isinstance(now, str):
            figures.append(Figure(name, remarks=[now]))
            continue
        base = before.get(url) or before.get(origins[url])
        base = base if isinstance(base, View) else None
        try:
            named = named_channels(done, now)
            full = not budget.is_spent
            figure = difference(name, base, now, named, zarr_dir, full=full)
            budget.spend(figure)
        except Exception as error:
            figure = Figure(name, remarks=[f"It cannot be shown: {first_line(error)}"])
        place = sample.place(url)
        if figure.pictures or figure.remarks:
            shown[place] = shown.get(place, 0) + 1
            if shown[place] <= MAX_FIGURES:
                figures.append(figure)
            else:
                left_out += 1
        if base:
            moved.setdefault(place, []).append((base, now))
    overlays = []
    for pairs in moved.values():
        overlays += registration(pairs, acquisitions, sample)
    if budget.is_spent:
        remark = "Some pictures are left out, to keep the page small."
        figures.append(Figure("", remarks=[remark]))
    if left_out:
        remark = f"Not shown: {count_of(left_out, 'more image')} of these wells."
        figures.append(Figure("", remarks=[remark]))
    return overlays + figures


def difference(
    name: str,
    base: View | None,
    now: View,
    named: Sequence[Channel],
    zarr_dir: Path,
    *,
    full: bool = True,
) -> Figure:
    """Pictures of the differences; none if nothing differs.

    Args:
        name: Name of the image.
        base: What it, or its origin, looked like before.
        now: What it looks like now.
        named: The channels that the step was given.
        zarr_dir: Folder of the dataset.
        full: Whether to add pieces at full resolution, and each channel by itself.
    """
    figure = Figure(name, remarks=[*now.remarks], url=now.url)
    new = changed_marks(base, now)
    if not new:
        return Figure(name)
    labels = [label for label in now.labels if f"label {label}" in new]
    tables = [table for table in now.regions if f"regions {table}" in new]
    parts = [table for table in tables if not is_whole(now, table)]
    points = [table for table in now.points if f"points {table}" in new]
    shown = now.channels if full and "pixels" in new else []
    channels = [by_itself(now, channel, name) for channel in shown]
    if base is None:
        figure.pictures.append(plain(now, name, "image"))
        figure.channels = channels
    elif "pixels" in new or base.depth != now.depth:
        own = short_name(base.url, zarr_dir)
        if base.depth == now.depth or now.depth > 1:  # else they would look the same
            figure.pictures.append(plain(base, own, "before"))
        figure.pictures.append(plain(now, name, "after", base))
        figure.crops = before_and_after(base, now, named, name) if full else []
        figure.channels = channels
        if base.url != now.url:
            figure.title = f"{own} → {name}"
    elif not labels and not parts and not points:
        figure.pictures.append(plain(now, name, "image, unchanged"))
    below = [*(named or now.channels)][: MAX_BELOW if full else 1]
    for label in labels:
        figure.pictures += [outlined(now, label, name, channel) for channel in below]
        crops = label_crops(now, label, below[0], name) if full else []
        for picture in crops if len(labels) > 1 else ():
            picture.notes.insert(0, label)
        figure.crops += crops
        figure.extremes[label] = extreme_rows(now, label, below[0], name, full=full)
        overlap = compared(now, label, below[0]) if full else None
        figure.pictures += [overlap] if overlap else []
    if whole := [table for table in tables if is_whole(now, table)]:
        figure.remarks.append(f"One region, all of the image: {', '.join(whole)}.")
    if parts:
        figure.pictures.append(boxed(now, parts, name))
    for table in points:
        figure.pictures.append(dotted(now, table, name, below[0]))
        figure.crops += point_crops(now, table, below[0], name) if full else []
    figure.thumb = thumbnail(now, labels[-1] if labels else None, below[0], name)
    figure.thumb.notes += [f"{len(now.points[table])} {table}" for table in points]
    return figure


def changed_marks(base: View | None, now: View) -> list[str]:
    """Marks of what a step has made, or made again with the same result."""
    if base is None or base.url != now.url:
        known = base.marks if base else {}
        marks = [mark for mark in now.marks if mark not in now.old]
        return [mark for mark in marks if known.get(mark) != now.marks[mark]]
    return [
        mark
        for mark, state in now.marks.items()
        if base.marks.get(mark) != state
        or (mark != "pixels" and base.written[mark] != now.written[mark])
    ]


def before_and_after(
    base: View, now: View, named: Sequence[Channel], name: str
) -> list[Picture]:
    """The same piece at full resolution before and after a step, and the difference."""
    wanted = [channel.name for channel in named] or [c.name for c in now.channels]
    pairs = [
        (old, new)
        for new in now.channels
        for old in base.channels
        if old.name == new.name and new.name in wanted
    ]
    for old, new in pairs[:1]:
        if old.sharp is None or new.sharp is None:
            continue
        pictures = []
        window = stretched(old.sharp.pixels)
        for title, channel, piece in (
            ("before", old, old.sharp),
            ("after", new, new.sharp),
        ):
            own = window if shows(piece.pixels, window) else stretched(piece.pixels)
            notes = [
                channel.name,
                *([piece.plane] if piece.plane else []),
                window_text(own),
            ]
            alt = f"{channel.name} of a piece of {name} {title} the step"
            pictures.append(crop(piece.pixels, None, own, title, notes, alt))
        if old.sharp.place == new.sharp.place and base.depth == now.depth:
            third = changed(old.sharp.pixels, new.sharp.pixels, name)
            pictures += [third] if third else []
        return pictures
    return []


def label_crops(view: View, label: str, channel: Channel, name: str) -> list[Picture]:
    """Pieces at full resolution: where objects are dense, sparse, large and small."""
    objects = view.objects.get(label)
    if not objects or not len(objects):
        return []
    image = kit.open_image(view.url)
    sizes = dict(zip(image.axes, image.shape, strict=True))
    part = min(CROP / sizes["y"], 1), min(CROP / sizes["x"], 1)
    _, window = grey_of(channel)
    pictures = []
    for title, place, number in choose_crops(objects, part):
        pixels = read_small(image, [channel.index], FULL, place)
        labels = read_small(kit.open_label(image, label), [None], FULL, place).planes[0]
        (plane,) = pixels.planes
        if labels.shape != plane.shape:
            labels = nearest(labels, (plane.shape[0], plane.shape[1]))
        count = count_of(count_in(objects, place), "object")
        notes = [count, f"on {channel.name}"]
        alt = f"{label} on {channel.name} of {name}, {title}: {count}"
        picture = crop(plane, labels, window, title, notes, alt)
        if number is not None:
            outline_in_white(picture, labels == number, "this object")
        pictures.append(picture)
    return pictures


def extreme_rows(
    view: View, label: str, channel: Channel, name: str, *, full: bool
) -> list[dict[str, Any]]:
    """The largest and the smallest objects, as rows of a table.

    Args:
        view: View of the image.
        label: Name of the label image.
        channel: The channel below the outlines.
        name: Name of the image.
        full: Whether each row has a picture.
    """
    objects = view.objects.get(label)
    rows: list[dict[str, Any]] = [*extremes(objects)] if objects else []
    if not objects or not full:
        return rows
    image = kit.open_image(view.url)
    labels = kit.open_label(image, label)
    sizes = dict(zip(image.axes, image.shape, strict=True))
    _, window = grey_of(channel)
    for row in rows:
        number = int(row["label"])
        place = place_around(objects, number, (sizes["y"], sizes["x"]))
        (plane,) = read_small(image, [channel.index], FULL, place).planes
        (mask,) = read_small(labels, [None], FULL, place).planes
        alt = f"label {number} of {label} on {channel.name} of {name}"
        mask = nearest(mask == number, (plane.shape[0], plane.shape[1]))
        row["picture"] = marked(plane, mask, window, alt)
    return rows


def point_crops(view: View, table: str, channel: Channel, name: str) -> list[Picture]:
    """A piece at full resolution, with the points in it."""
    if channel.sharp is None:
        return []
    top, left, bottom, right = place = channel.sharp.place
    y, x = view.points[table].T
    inside = (y >= top) & (y < bottom) & (x >= left) & (x < right)
    _, window = grey_of(channel)
    count = count_of(int(np.count_nonzero(inside)), "point")
    plane = [channel.sharp.plane] if channel.sharp.plane else []
    alt = f"{count} of {table} on {channel.name} of a piece of {name}"
    notes = [count, f"on {channel.name}", *plane]
    picture = crop(channel.sharp.pixels, None, window, table, notes, alt)
    size = picture.height, picture.width
    picture.layers["lines"] = rings(view.points[table][inside], place, size)
    return [picture]


def compared(view: View, label: str, channel: Channel) -> Picture | None:
    """A label image on the one that most of its objects agree with, and the numbers.

    Args:
        view: View of the image.
        label: Name of the label image.
        channel: The channel below.
    """
    image = kit.open_image(view.url)
    read = read_labels(kit.open_label(image, label))
    best: tuple[str, Agreement] | None = None
    for neighbour in view.labels:
        older = (
            read_labels(kit.open_label(image, neighbour))
            if neighbour != label
            else None
        )
        if read and older and read[0].shape == older[0].shape:
            matches = agreement(older[0], read[0])
            if best is None or matches.agree > best[1].agree:
                best = neighbour, matches
    if best is None:
        return None
    neighbour, matches = best
    first, second = view.labels[neighbour], view.labels[label]
    grey, _ = grey_of(channel)
    title = f"{neighbour} and {label}"
    picture = overlapping(grey, first, second, (neighbour, label), title)
    picture.notes = [matches.text(neighbour, label), f"on {channel.name}"]
    return picture


def is_whole(view: View, table: str) -> bool:
    """Whether the only region of a table is the whole picture."""
    top, left, bottom, right = ([*view.regions[table].values()] or [(0, 0, 0, 0)])[0]
    height, width = view.frame
    covers = top <= 0 and left <= 0 and bottom >= height and right >= width
    return len(view.regions[table]) == 1 and covers


def registration(
    pairs: Sequence[tuple[View, View]],
    acquisitions: Mapping[str, str],
    sample: Sample,
) -> list[Figure]:
    """Overlays of the acquisitions of a well, if the step has moved one of them."""
    by_acquisition: dict[str, tuple[View, View]] = {}
    for base, now in pairs:
        key = acquisitions.get(now.url, "")
        if key not in by_acquisition or base.marks["pixels"] != now.marks["pixels"]:
            by_acquisition[key] = (base, now)
    keys = sorted(by_acquisition, key=lambda key: natural([key]))
    if len(keys) < 2 or "" in keys:
        return []
    figures = []
    first, *rest = keys
    base, now = by_acquisition[first]
    for key in rest:
        moved_base, moved = by_acquisition[key]
        if not any((*shift(base, now), *shift(moved_base, moved))):
            continue
        names = f"acquisition {first}", f"acquisition {key}"
        figure = Figure(f"{sample.name(now.url)}: {names[0]} and {names[1]}")
        figure.pictures = [
            overlaid(base, moved_base, names, "before"),
            overlaid(now, moved, names, "after"),
        ]
        figure.remarks = ["Where both agree, it is grey or white."]
        figures.append(figure)
    return figures


def shift(base: View, now: View) -> tuple[int, int]:
    """Return the shift in pixels of a picture, by phase correlation."""
    pictures = grey(base), grey(now)
    height, width = pictures[0].shape
    if pictures[1].shape != (height, width):
        return 0, 0
    window = np.outer(np.hanning(height), np.hanning(width))
    spectra = [np.fft.rfft2((p - p.mean()) * window) for p in pictures]
    product = spectra[1] * np.conj(spectra[0])
    correlation: Array = np.abs(
        np.fft.irfft2(product / np.maximum(np.abs(product), 1e-9), (height, width))
    )
    y, x = np.unravel_index(int(correlation.argmax()), correlation.shape)
    if correlation.max() < 0.05:  # nothing that both show
        return 0, 0
    return (
        int(y - height if y > height / 2 else y),
        int(x - width if x > width / 2 else x),
    )
