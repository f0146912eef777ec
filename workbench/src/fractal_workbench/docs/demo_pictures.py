"""Pictures of tasks, from the page that `nox -s demo` has written."""

import base64
import io
import re
from collections.abc import Iterable
from html.parser import HTMLParser
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from .pages import escape

PAGE = Path(".nox", "demo-out", "index.html")  # the default of the demo
MAX_PICTURES = 2  # of a task: before and after, or one with outlines


class Picture(NamedTuple):
    """A picture of a step.

    Attributes:
        layers: Data URIs, the lowest first.
        text: What it shows.
    """

    layers: list[str]
    text: str


class PageReader(HTMLParser):
    """Collects the first pictures of each step of a page.

    Attributes:
        pictures: By name of the step, of the first image that it shows.
    """

    def __init__(self) -> None:
        super().__init__()
        self.pictures: dict[str, list[Picture]] = {}
        self._step = ""
        self._is_title = False
        self._group = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag == "section":
            self._step = ""
        elif tag == "h2":
            self._is_title = bool(re.fullmatch(r"h-\d+", given.get("id", "")))
        elif "-picture-" in given.get("id", ""):
            self._group = given["id"]
        elif tag == "h4":  # pieces at full resolution come after the image
            self._group = ""
        elif tag == "img" and self._step and self._group.endswith("-picture-1"):
            self._add(given)

    def handle_data(self, data: str) -> None:
        if self._is_title:
            self._step = data.strip().partition(". ")[2]
            self._is_title = False

    def _add(self, image: dict[str, str]) -> None:
        pictures = self.pictures.setdefault(self._step, [])
        kinds = image.get("class", "").split()
        if "layer" not in kinds:
            pictures.append(Picture([image["src"]], image["alt"]))
        elif "fill" not in kinds and pictures:
            pictures[-1].layers.append(image["src"])


def read_pictures(project: Path) -> dict[str, list[Picture]]:
    """Read the pictures of each task from the page of the demo; none if it did not run.

    Args:
        project: Folder of the package.
    """
    if not (project / PAGE).is_file():
        return {}
    reader = PageReader()
    reader.feed((project / PAGE).read_text("utf-8"))
    return reader.pictures


def write_pictures(pictures: Iterable[Picture], folder: Path, name: str) -> str:
    """Write pictures into a folder, and return a section of the page beside it.

    Args:
        pictures: Those of a task.
        folder: Where the page is.
        name: Beginning of the names of the files.
    """
    parts = ["## Example", "On the plate of real cells of `nox -s demo`:"]
    for number, picture in enumerate([*pictures][:MAX_PICTURES], 1):
        image, *layers = (
            Image.open(io.BytesIO(base64.b64decode(data.partition(",")[2])))
            for data in picture.layers
        )
        drawn = image.convert("RGBA")
        for layer in layers:
            drawn.alpha_composite(layer.convert("RGBA").resize(drawn.size))
        file = folder / f"{name}-{number}.webp"
        drawn.convert("RGB").save(file, quality=90)
        text = " ".join(picture.text.split())
        parts += [
            f"```{{image}} {file.name}\n:alt: {text}\n:width: 320px\n```",
            escape(text),
        ]
    return "\n\n".join(parts)
