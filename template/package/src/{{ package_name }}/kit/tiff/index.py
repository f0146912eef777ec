"""Indices: files in which an instrument describes its images.

- Harmony (Operetta, Opera Phenix): `Index.idx.xml` or `Index.xml`.
- Yokogawa CV: `MeasurementData.mlf` with `MeasurementDetail.mrf`.
- InCell: a file `*.xdce`, which has the size of a pixel.

The stages of Operetta and Yokogawa CV count upwards, and images downwards.
"""

import logging
import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple
from xml.etree import ElementTree

from ..units import seconds
from .metadata import Facts, Unclear, Value, number, size

logger = logging.getLogger(__name__)

HARMONY = re.compile(
    r"r[0-9]+c[0-9]+f[0-9]+p[0-9]+-ch[0-9]+(sk[0-9]+fk.*|t[0-9]+)\.tiff", re.IGNORECASE
)
CELLVOYAGER = re.compile(
    r".*_T[0-9]+F[0-9]+L[0-9]+A[0-9]+Z[0-9]+C[0-9]+\.tif", re.IGNORECASE
)
"""File names of Harmony and of Yokogawa CV, whatever the pattern that reads them."""


class Record(NamedTuple):
    """An element of an index: its text and attributes, and those of its children."""

    text: str
    attributes: Mapping[str, str]
    children: Mapping[str, tuple[str, str]]

    def get(self, key: str) -> str | None:
        """Text of a child."""
        return self.children.get(key, (None, ""))[0]

    def unit(self, key: str, default: str) -> str:
        """Unit of a child."""
        return self.children.get(key, ("", ""))[1] or default


class _Reader:
    """Collects the records of an XML file, without a tree of the file."""

    def __init__(self, names: Iterable[str]) -> None:
        self.records: dict[str, list[Record]] = {name: [] for name in names}
        self._inside: list[tuple[str, dict[str, str], list[str]]] = []
        self._children: dict[str, tuple[str, str]] = {}

    def doctype(self, name: str, pubid: str | None, system: str | None) -> None:
        """Reject what can have entities that grow, or that are other files."""
        raise ValueError(f"its XML has a document type, {name}")

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        """Begin an element."""
        name = tag.rpartition("}")[2]
        if self._inside or name in self.records:
            known = {key.rpartition("}")[2]: text for key, text in attributes.items()}
            self._inside.append((name, known, []))

    def data(self, text: str) -> None:
        """Keep text of an element."""
        if self._inside:
            self._inside[-1][2].append(text)

    def end(self, tag: str) -> None:
        """End an element."""
        if not self._inside:
            return
        name, attributes, texts = self._inside.pop()
        text = "".join(texts).strip()
        if self._inside:
            self._children[name] = text, attributes.get("Unit", "")
        else:
            self.records[name].append(Record(text, attributes, self._children))
            self._children = {}

    def close(self) -> dict[str, list[Record]]:
        """Give all records by the name of their element."""
        return self.records


def read_records(path: Path, *names: str) -> dict[str, list[Record]]:
    """Read elements of an XML file, by their names.

    Raises:
        ValueError: The file is damaged, or has a document type.
    """
    parser: Any = ElementTree.XMLParser(target=_Reader(names))
    try:
        with path.open("rb") as file:
            while part := file.read(1 << 20):
                parser.feed(part)
        records: dict[str, list[Record]] = parser.close()
    except (ElementTree.ParseError, ValueError) as error:
        raise ValueError(f"tiff_dir: {path} cannot be read: {error}") from error
    return records


class Index(NamedTuple):
    """Facts of files by their indices.

    Attributes:
        facts: Of each file that an index lists, also of those that are not there.
        absent: Files that an index lists, and that are not there.
        decides: Files whose own resolution tag is not that of the pixels.
    """

    facts: dict[Path, Facts]
    absent: list[Path]
    decides: set[Path]


def read_indices(paths: Iterable[Path], file_names: str) -> Index:
    """Read the index of the instrument in each folder of files.

    Args:
        paths: The files.
        file_names: The argument of the task.

    Raises:
        ValueError: An index is damaged.
    """
    by_folder: dict[Path, list[Path]] = {}
    for path in paths:
        by_folder.setdefault(path.parent, []).append(path)
    index = Index({}, [], set())
    for folder, files in by_folder.items():
        listed: dict[str, Facts] = {}
        for name, facts in _listed(folder, [path.name for path in files]):
            known = listed.setdefault(name, facts)
            if known is not facts:  # its pages have other heights, times and channels
                listed[name] = known._replace(heights=(), times=(), channels=())
        index.facts.update(
            {path: listed[path.name] for path in files if path.name in listed}
        )
        names = {path.name for path in files}
        if names & listed.keys():
            away = sorted(listed.keys() - names)
            away = [name for name in away if not (folder / name).exists()]
            index.absent.extend(folder / name for name in away)
            index.facts.update({folder / name: listed[name] for name in away})
        index.decides.update(
            path
            for path in files
            if file_names not in ("pattern", "micromanager")
            or path.name in listed
            or HARMONY.fullmatch(path.name)
            or CELLVOYAGER.fullmatch(path.name)
        )
    return index


def _listed(folder: Path, names: Iterable[str]) -> Iterator[tuple[str, Facts]]:
    """Name and facts of each file that an index in a folder lists."""
    harmony = any(HARMONY.fullmatch(name) for name in names)
    for name in ("Index.idx.xml", "Index.xml"):
        if harmony and (folder / name).is_file():
            logger.info("Facts of %s are those of %s", folder, name)
            yield from _harmony(folder / name)
            return
    if (folder / "MeasurementData.mlf").is_file():
        logger.info("Facts of %s are those of MeasurementData.mlf", folder)
        yield from _cellvoyager(folder)
    for path in sorted(folder.glob("*.xdce")):
        logger.info("Sizes of pixels in %s are those of %s", folder, path.name)
        yield from _incell(path)


def _harmony(path: Path) -> Iterator[tuple[str, Facts]]:
    """Facts by Harmony's index: those of a channel may stand apart from its images."""
    records = read_records(path, "Image", "Entry")
    channels: dict[str, dict[str, tuple[str, str]]] = {}
    for entry in records["Entry"]:
        number_of = entry.attributes.get("ChannelID", "")
        channels.setdefault(number_of, {}).update(entry.children)
    for image in records["Image"]:
        url = image.get("URL")
        if not url:  # it was not recorded
            continue
        of_channel = channels.get(image.get("ChannelID") or "", {})
        known = Record("", {}, {**of_channel, **image.children})
        pixel_x, pixel_y = (
            size(f"{path.name}: {key}", known.get(key), known.unit(key, "m"))
            for key in ("ImageResolutionX", "ImageResolutionY")
        )
        x, y, height, deeper = (
            number(f"{path.name}: {key}", known.get(key), known.unit(key, "m"))
            for key in ("PositionX", "PositionY", "PositionZ", "AbsPositionZ")
        )
        key = "MeasurementTimeOffset"
        time = number(
            f"{path.name}: {key}", known.get(key), known.unit(key, "s"), seconds
        )
        name = known.get("ChannelName")
        yield (
            _file_name(url),
            Facts(
                x=x,
                y=_upwards(y),
                pixel_x=pixel_x,
                pixel_y=pixel_y,
                heights=_one(deeper if height is None else height),
                times=_one(time),
                channels=(name,) if name else (),
            ),
        )


def _cellvoyager(folder: Path) -> Iterator[tuple[str, Facts]]:
    """Facts by the files of Yokogawa CV, in micrometers."""
    detail, sizes = folder / "MeasurementDetail.mrf", {}
    if detail.is_file():
        for channel in read_records(detail, "MeasurementChannel")["MeasurementChannel"]:
            keys = ("HorizontalPixelDimension", "VerticalPixelDimension")
            sizes[channel.attributes.get("Ch")] = [
                size(f"{detail.name}: {key}", channel.attributes.get(key))
                for key in keys
            ]
    data = folder / "MeasurementData.mlf"
    for record in read_records(data, "MeasurementRecord")["MeasurementRecord"]:
        known = record.attributes
        if known.get("Type", "IMG") != "IMG" or not record.text:
            continue
        x, y, height = (number(f"{data.name}: {a}", known.get(a)) for a in "XYZ")
        pixel_x, pixel_y = sizes.get(known.get("Ch"), [None, None])
        moment = known.get("Time", "")
        time: Value = None
        try:
            if moment:
                at = datetime.fromisoformat(moment)
                # Without a time zone, it must not be that of this machine.
                time = (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()
        except ValueError:
            time = Unclear(f"{data.name}: Time is {moment!r}, which is no time")
        yield (
            _file_name(record.text),
            Facts(
                x=x,
                y=_upwards(y),
                pixel_x=pixel_x,
                pixel_y=pixel_y,
                heights=_one(height),
                times=_one(time),
            ),
        )


def _incell(path: Path) -> Iterator[tuple[str, Facts]]:
    """Sizes of pixels by the file of InCell, in micrometers."""
    records = read_records(path, "ObjectiveCalibration", "Image")
    found = {
        tuple(
            size(f"{path.name}: {key}", known.attributes.get(key))
            for key in ("pixel_width", "pixel_height")
        )
        for known in records["ObjectiveCalibration"]
    }
    if len(found) > 1:
        reason = Unclear(f"{path.name} has the pixel sizes of several objectives")
        found = {(reason, reason)}
    for pixel_x, pixel_y in found:
        for image in records["Image"]:
            name = _file_name(image.attributes.get("filename", ""))
            yield name, Facts(pixel_x=pixel_x, pixel_y=pixel_y)


def _file_name(text: str) -> str:
    """Name of a file, without the folders of another system."""
    return re.split(r"[/\\]", text)[-1]


def _upwards(value: Value) -> Value:
    """The other direction of an axis."""
    return -value if isinstance(value, float) else value


def _one(value: Value) -> tuple[Value, ...]:
    """A value of the only plane."""
    return () if value is None else (value,)
