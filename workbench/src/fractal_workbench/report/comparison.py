"""Changes of images by a step: before and after, labels, regions, registration."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from .measurements import natural
from .pick_images import Image, Sample
from .pictures import Picture, boxed, grey, outlined, overlaid, plain
from .pixels import Array
from .views import Taken, View, first_line, short_name

MAX_FIGURES = 2  # of a place, after a step


@dataclass
class Figure:
    """Pictures that belong together.

    Attributes:
        title: Image or well that they show.
        pictures: One or more.
        remarks: Sentences, also in place of pictures.
        anchor: Place on the page, if something leads there.
    """

    title: str
    pictures: list[Picture] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    anchor: str = ""


def compare(
    images: Sequence[Image],
    before: Mapping[str, Taken],
    after: Mapping[str, Taken],
    sample: Sample,
    acquisitions: Mapping[str, str],
    zarr_dir: Path,
) -> list[Figure]:
    """Show the changes.

    Args:
        images: Entries of the image list, as the step leaves it.
        before: What images looked like before the step.
        after: What they look like now.
        sample: Which place an image belongs to.
        acquisitions: Acquisition of each image; empty if it is not known.
        zarr_dir: Folder of the dataset.
    """
    figures: list[Figure] = []
    shown: dict[str, int] = {}
    left_out = 0
    moved: dict[str, list[tuple[View, View]]] = {}
    for image in images:
        url = image["zarr_url"]
        now, name = after[url], short_name(url, zarr_dir)
        if isinstance(now, str):
            figures.append(Figure(name, remarks=[now]))
            continue
        base = before.get(url) or before.get(image.get("origin") or "")
        base = base if isinstance(base, View) else None
        try:
            figure = difference(name, base, now, zarr_dir)
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
    if left_out:
        remark = (
            f"{left_out} more images of these places have changed, and are not shown."
        )
        figures.append(Figure("", remarks=[remark]))
    return overlays + figures


def difference(name: str, base: View | None, now: View, zarr_dir: Path) -> Figure:
    """Pictures of the differences; none if nothing differs."""
    figure = Figure(name, remarks=[*now.remarks])
    known = base.marks if base else {}
    new = [mark for mark, state in now.marks.items() if known.get(mark) != state]
    if not new:
        return Figure(name)
    if base is None:
        figure.pictures.append(plain(now, name, "image"))
    elif "pixels" in new:
        own = short_name(base.url, zarr_dir)
        figure.pictures.append(plain(base, own, "before"))
        figure.pictures.append(plain(now, name, "after", base))
        if base.url != now.url:
            figure.title = f"{own} → {name}"
    else:
        figure.pictures.append(plain(now, name, "image, unchanged"))
    for label in now.labels:
        if f"label {label}" in new:
            figure.pictures.append(outlined(now, label, name))
    tables = [table for table in now.regions if f"regions {table}" in new]
    if whole := [table for table in tables if is_whole(now, table)]:
        figure.remarks.append(f"One region, all of the image: {', '.join(whole)}.")
    if parts := [table for table in tables if not is_whole(now, table)]:
        figure.pictures.append(boxed(now, parts, name))
    return figure


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
