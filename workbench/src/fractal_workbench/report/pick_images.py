"""Choose the images to show: of a few wells, the same ones after each step."""

from collections import Counter
from collections.abc import Container, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

MAX_PLACES = 3
MAX_FOLDERS = 20  # in the name of a place
MAX_IMAGES = 8  # of a place, that are looked at after a step

Image = Mapping[str, Any]


class Sample:
    """The chosen places: wells, or images outside of plates with their derived images.

    Attributes:
        places: Those that are shown.
        total: How many there are.
        kind: What all of them are: `wells`, `images`, or both.
    """

    def __init__(self) -> None:
        self.places: list[str] = []
        self.total = 0
        self.kind = "wells"
        self._origins: dict[str, str] = {}
        self._in_wells: set[str] = set()
        self._names: dict[str, str] = {}  # of all places, also of removed images

    def learn(self, images: Sequence[Image], in_wells: Container[str] = ()) -> None:
        """Add an image list, and choose places, if there are too few so far.

        Args:
            images: The image list.
            in_wells: Images that are known to be in wells, by `zarr_url`; of others, the
                attributes say so.
        """
        for image in images:
            url, origin = image["zarr_url"], image.get("origin")
            if origin and origin != url:
                self._origins.setdefault(url, origin)
            if url in in_wells or "well" in (image.get("attributes") or {}):
                self._in_wells.add(url)
        known = [*dict.fromkeys(self.place(image["zarr_url"]) for image in images)]
        self.total = len(known)
        wells = {str(Path(url).parent) for url in self._in_wells}
        outside = wells.isdisjoint(known)
        mixed = "images" if outside else "wells and single images"
        self.kind = "wells" if wells.issuperset(known) else mixed
        self._names = place_names({**self._names, **dict.fromkeys(known)})
        kept = [place for place in self.places if place in known]
        new = sorted(set(known) - {*kept})
        self.places = kept + evenly(new, MAX_PLACES - len(kept))

    def place(self, url: str) -> str:
        """The place of an image: that of its first origin."""
        seen = {url}
        while (origin := self._origins.get(url)) and origin not in seen:
            url = origin
            seen.add(url)
        return str(Path(url).parent) if url in self._in_wells else url

    def pick(self, urls: Iterable[str]) -> list[str]:
        """Images of the chosen places; a few others, if there are none."""
        urls = [*urls]
        chosen: dict[str, list[str]] = {}
        for url in urls:
            chosen.setdefault(self.place(url), []).append(url)
        places = [place for place in self.places if place in chosen]
        places = places or evenly(sorted(chosen), MAX_PLACES)
        return [url for place in places for url in chosen[place][:MAX_IMAGES]]

    def name(self, url: str) -> str:
        """Name of the place of an image, such as `A01`."""
        place = self.place(url)
        return self._names.get(place, place)


def place_names(places: Iterable[str]) -> dict[str, str]:
    """Name of each well, or image outside of plates; with its folder if others share it."""
    short, folders = {}, {}
    for place in places:
        path = Path(place)
        row, column = path.parent.name, path.name
        is_well = row.isalpha() and column.isdigit()
        short[place] = row + column if is_well else column
        folders[place] = (path.parents[1] if is_well else path.parent).parts
    names, depth = short, 0
    counts = Counter(names.values())
    while max(counts.values(), default=1) > 1 and depth < MAX_FOLDERS:
        depth += 1
        names = {
            place: f"{short[place]} of {'/'.join(folders[place][-depth:])}"
            if counts[name] > 1
            else name
            for place, name in names.items()
        }
        counts = Counter(names.values())
    return names


def evenly(names: list[str], n: int) -> list[str]:
    """An even sample, from the first to the last."""
    if len(names) <= n:
        return names
    return [names[round(float(i))] for i in np.linspace(0, len(names) - 1, n)]
