"""OME-XML: the positions in a TIFF file, and those that are in other files or missing."""

from collections import defaultdict
from collections.abc import (
    Callable,
    Container,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from dataclasses import dataclass, replace
from functools import cache
from itertools import product
from math import prod
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple
from xml.etree import ElementTree

import numpy as np
import tifffile

from ..slices import Array
from .metadata import Facts, count_of, merged, ome_facts, page_facts, parse_xml

Plane = tuple[int, ...]
"""Place of a plane, t, c and z."""
Read = Callable[[int, int, int], Array]
"""Gives a plane, with axes yx, by its place t, c, z."""


@dataclass(frozen=True)
class Scene:
    """One position of the stage in a TIFF file.

    Attributes:
        number: Which of the positions in its metadata it is.
        start: Where this file begins in it, on the axes t, c and z; other files may have
            its other planes.
        end: Where it ends by this file, and by planes that its metadata place in no file.
        shape: Shape in this file, with axes tczyx.
        dtype: Data type of the pixels.
        facts: What its metadata tell.
        missing: Planes t, c, z of this shape that were not recorded.
        set: The same in all files that share their metadata; 0 if they share none.
    """

    number: int
    start: tuple[int, int, int]
    end: tuple[int, ...]
    shape: tuple[int, ...]
    dtype: str
    facts: Facts
    missing: frozenset[tuple[int, ...]] = frozenset()
    set: int = 0


class Absent(NamedTuple):
    """A position, or the part of it in one file, that a folder does not have.

    Attributes:
        file: Name of that file; empty if the metadata name none.
        uuid: Another name of that file, by which it is known if it was renamed.
        scene: The position, without a plane that was recorded.
    """

    file: str
    uuid: str
    scene: Scene


def pixel_type(dtype: Any) -> str:
    """Data type of the pixels in the image: masks are integers.

    Raises:
        ValueError: They are no real numbers.
    """
    dtype = np.dtype(dtype)
    if dtype.kind not in "biuf":
        raise ValueError(f"its pixels are of {dtype}: write integers or floats")
    return "uint8" if dtype.kind == "b" else str(dtype.newbyteorder("=").name)


class Ome(NamedTuple):
    """OME-XML of a file.

    Attributes:
        images: Elements of its positions.
        others: Elements that name other files.
        uuid: Name of this file in it.
        set: The same for all files that share their metadata.
    """

    images: list[ElementTree.Element]
    others: set[ElementTree.Element]
    uuid: str
    set: int

    def pixels(self, number: int) -> ElementTree.Element:
        """Return the element with the planes of a position.

        Raises:
            ValueError: There is none.
        """
        pixels = self.images[number].find("{*}Pixels")
        if pixels is None:
            raise ValueError("an image in its OME-XML has no pixels")
        return pixels

    def blocks(self, number: int) -> list[ElementTree.Element]:
        """Return the elements that say where planes of a position are, in any file."""
        pixels = self.pixels(number)
        blocks = pixels.findall("{*}TiffData")
        if blocks or len(self.images) > 1 or pixels.find("{*}MetadataOnly") is not None:
            return blocks
        return [ElementTree.Element("TiffData")]

    def own_pages(self, number: int) -> dict[Plane, int]:
        """Return the page of each plane of a position that lies in this file."""
        blocks = self.blocks(number)
        own = [block for block in blocks if block.find("{*}UUID") not in self.others]
        return ome_pages(self.pixels(number), own)


def read_ome(file: tifffile.TiffFile) -> Ome | None:
    """OME-XML of a file, or of the file that has it for a set; None if there is none.

    Raises:
        ValueError: It is damaged, or that of other files.
    """
    text = file.ome_metadata
    root = parse_xml(text) if text else ElementTree.Element("OME")
    uuid = root.get("UUID", "")
    reference = root.find("{*}BinaryOnly")
    if reference is not None:
        name = reference.get("MetadataFile", "")
        path = Path(file.filehandle.dirname, PurePosixPath(name).name)
        if path.is_file():
            root = parse_xml(_metadata_of(path))
        elif len(file.pages) > 1 and not (file.is_imagej or file.is_micromanager):
            raise ValueError(f"its OME-XML is in {name!r}, which is not beside it")
    images = root.findall("{*}Image")
    if not images:
        return None
    named = root.findall(".//{*}TiffData/{*}UUID")
    mine = [element for element in named if uuid and element.text == uuid]
    mine = mine or [e for e in named if _file_of(e) == Path(file.filename).name]
    names = sorted({_file_of(element) for element in named})
    if not mine and (len(names) > 1 or (names and reference is not None)):
        listed = ", ".join(names[:5])
        raise ValueError(f"its OME-XML is that of {listed}: was it renamed?")
    titles = tuple((image.get("ID"), image.get("Name")) for image in images)
    return Ome(images, {*named} - {*mine} if mine else set(), uuid, hash(titles))


def _metadata_of(path: Path) -> str:
    """OME-XML of a companion, or of the first file of a set."""
    if path.suffix.lower() not in (".tif", ".tiff"):
        return path.read_text("utf-8-sig")
    with tifffile.TiffFile(path) as file:
        return file.ome_metadata or ""


def _file_of(uuid: ElementTree.Element) -> str:
    """Name of the file that an element names."""
    return PurePosixPath(uuid.get("FileName", "").replace("\\", "/")).name


def ome_scenes(
    file: tifffile.TiffFile, ome: Ome, *, resolution: bool
) -> list[tuple[Scene, Read]]:
    """The positions that OME-XML places into a file.

    Args:
        file: The file.
        ome: Its OME-XML.
        resolution: Whether its resolution tag is that of the pixels.

    Raises:
        ValueError: The metadata are of other files, or of other pages, or not of all.
    """
    scenes = []
    wanted, placed = 0, set[int]()
    for number in range(len(ome.images)):
        pages = ome.own_pages(number)
        placed |= {*pages.values()}
        wanted = max([wanted, *(1 + page for page in pages.values())])
        if pages and min(pages.values()) < len(file.pages):
            scene, read = ome_scene(file, ome, number, pages)
            tags = page_facts(file.pages[min(pages.values())], resolution=resolution)
            facts = merged(scene.facts, *tags)
            scenes.append((replace(scene, facts=facts), read))
    if not scenes:
        raise ValueError(
            f"the number of its pages is {len(file.pages)}, and {wanted} in its OME-XML"
            if wanted
            else "its OME-XML places no plane into it"
        )
    reject_pages_beside(file, placed)
    return scenes


def reject_pages_beside(file: tifffile.TiffFile, placed: Container[int]) -> None:
    """Reject a file with pages beside its images, unless these are reduced copies.

    Args:
        file: The file.
        placed: Numbers of the pages that are in an image.

    Raises:
        ValueError: There is one.
    """
    n_pages = len(file.pages)
    for number in range(n_pages):
        page: Any = None if number in placed else file.pages[number]
        if page and not page.is_reduced:
            raise ValueError(
                f"its metadata say nothing of page {number + 1} of {n_pages}: correct "
                "them, or remove the page"
            )


def absent_scenes(file: tifffile.TiffFile, ome: Ome) -> Iterator[Absent]:
    """Positions of OME-XML, or parts of them, whose planes are in no file of its folder.

    Args:
        file: The file.
        ome: Its OME-XML.
    """
    folder = Path(file.filehandle.dirname)
    is_there = cache(lambda name: bool(name) and (folder / name).exists())
    for number in range(len(ome.images)):
        by_file: dict[tuple[str, str], list[ElementTree.Element]] = defaultdict(list)
        blocks = ome.blocks(number)
        for block in blocks:
            uuid = block.find("{*}UUID")
            if uuid is not None and uuid in ome.others and not is_there(_file_of(uuid)):
                by_file[_file_of(uuid), uuid.text or ""].append(block)
        for (name, text), of_file in by_file.items():
            planes = [*ome_pages(ome.pixels(number), of_file)]
            if planes:
                yield Absent(name, text, planned_scene(ome, number, planes))
        own = ome.own_pages(number)
        is_own = bool(own) or not blocks
        if is_own and not any(page < len(file.pages) for page in own.values()):
            planes = [*ome_planes(ome.pixels(number))]
            yield Absent("", "", planned_scene(ome, number, planes))


def ome_sizes(pixels: ElementTree.Element) -> tuple[int, dict[str, int]]:
    """Samples of a page, and the number of pages along T, C and Z, of a position."""
    channels = pixels.findall("{*}Channel")
    samples = max([1, *(count_of(one, "SamplesPerPixel", 1) for one in channels)])
    sizes = {axis: count_of(pixels, f"Size{axis}", 1) for axis in "TCZ"}
    if len(channels) > sizes["C"]:
        raise ValueError(
            f"its OME-XML describes {len(channels)} channels, and SizeC is {sizes['C']}: "
            "correct one of them"
        )
    sizes["C"] = max(1, sizes["C"] // samples)
    return samples, sizes


def ome_planes(pixels: ElementTree.Element) -> Iterator[Plane]:
    """All planes t, c, z of a position."""
    return product(*map(range, ome_sizes(pixels)[1].values()))


def ome_pages(
    pixels: ElementTree.Element, blocks: Iterable[ElementTree.Element]
) -> dict[Plane, int]:
    """Page of each plane t, c, z of a position.

    Args:
        pixels: Element of the position.
        blocks: Elements in it that place planes into a file.

    Raises:
        ValueError: The order of the planes, or a place, is none.
    """
    _, sizes = ome_sizes(pixels)
    known = pixels.get("DimensionOrder", "XYZCT")
    if known[:2] != "XY" or sorted(known[2:]) != ["C", "T", "Z"]:
        raise ValueError(f"its DimensionOrder is {known!r}, and not such as XYZCT")
    order = [*known[:1:-1]]
    shape = [sizes[axis] for axis in order]
    pages = {}
    for block in blocks:
        place = [count_of(block, f"First{axis}") for axis in order]
        n_planes = 1 if "IFD" in block.attrib else None
        if "PlaneCount" in block.attrib:
            n_planes = count_of(block, "PlaneCount")
        try:
            first = int(np.ravel_multi_index(place, shape))
            last = first + (prod(shape) - first if n_planes is None else n_planes)
            places = np.unravel_index(np.arange(first, last), shape)
        except ValueError as error:
            raise ValueError(
                f"its OME-XML places planes beyond its sizes, {sizes}: correct its TiffData"
            ) from error
        for n, at in enumerate(np.transpose(places).tolist()):
            plane = tuple(at[order.index(axis)] for axis in "TCZ")
            pages[plane] = count_of(block, "IFD") + n
    return pages


def planned_scene(ome: Ome, number: int, planes: Sequence[Plane]) -> Scene:
    """A position by its OME-XML alone, none of whose planes was recorded.

    Args:
        ome: The OME-XML.
        number: Which position it is.
        planes: Planes t, c, z that it should have.
    """
    pixels = ome.pixels(number)
    samples, _ = ome_sizes(pixels)
    (t0, t1), (c0, c1), (z0, z1) = spans_of(planes)
    shape = t1 - t0, (c1 - c0) * samples, z1 - z0
    return Scene(
        number=number,
        start=(t0, c0 * samples, z0),
        end=(t1, c1 * samples, z1),
        shape=(*shape, count_of(pixels, "SizeY"), count_of(pixels, "SizeX")),
        dtype="",
        facts=ome_facts(
            ome.images[number],
            pixels,
            ome_channels(pixels, c0, c1, samples),
            (t0, c0, z0),
            (shape[0], shape[2]),
        ),
        missing=frozenset(product(*map(range, shape))),
        set=ome.set,
    )


def spans_of(planes: Iterable[Plane]) -> list[tuple[int, int]]:
    """First and last plane, counted from 0 and 1, along t, c and z."""
    return [(min(places), max(places) + 1) for places in zip(*planes, strict=True)]


def ome_channels(
    pixels: ElementTree.Element, first: int, end: int, samples: int
) -> tuple[str, ...]:
    """Names of some channels of a position; none if pages have several."""
    names = [channel.get("Name", "") for channel in pixels.iterfind("{*}Channel")]
    return tuple(names[first:end]) if samples == 1 and len(names) >= end else ()


OME_TYPES = {"float": "float32", "double": "float64"}
OME_TYPES |= {f"{sign}int{bits}": "" for sign in ("", "u") for bits in (8, 16, 32)}


def reject_other_pixels(
    pixels: ElementTree.Element, sizes: Mapping[str, int], dtype: Any
) -> None:
    """Reject pages that are not as OME-XML says: its other values may be wrong too.

    Args:
        pixels: Element of the position.
        sizes: Number of pixels of a page along Y, X and S.
        dtype: Their data type.
    """
    samples, _ = ome_sizes(pixels)
    said: dict[str, Any] = {"SamplesPerPixel": samples}
    found: dict[str, Any] = {"SamplesPerPixel": sizes.get("S", 1)}
    for axis in "XY":
        if f"Size{axis}" in pixels.attrib:
            said[f"Size{axis}"] = count_of(pixels, f"Size{axis}", 1)
            found[f"Size{axis}"] = sizes[axis]
    if (kind := pixels.get("Type", "")) in OME_TYPES:
        said["Type"] = OME_TYPES[kind] or kind
        found["Type"] = np.dtype(dtype).newbyteorder("=").name
    if said != found:
        key = next(key for key in said if said[key] != found[key])
        raise ValueError(
            f"{key} is {said[key]} in its OME-XML, and its pages have {found[key]}: write "
            "the file again with its own metadata"
        )


def ome_scene(
    file: tifffile.TiffFile, ome: Ome, number: int, pages: dict[Plane, int]
) -> tuple[Scene, Read]:
    """A position in a file with OME-XML.

    It ends with the planes of this file, or with those that no file has.

    Args:
        file: The file.
        ome: Its OME-XML.
        number: Which position it is.
        pages: Page of each plane t, c, z that lies in this file.

    Raises:
        ValueError: Its pages are no planes.
    """
    image, pixels = ome.images[number], ome.pixels(number)
    (t0, t1), (c0, c1), (z0, z1) = spans_of(pages)
    nowhere = {*ome_planes(pixels)} - ome_pages(pixels, ome.blocks(number)).keys()
    t_end, c_end, z_end = (end for _, end in spans_of([*pages, *nowhere]))
    first: Any = file.pages[min(pages.values())]
    sizes = dict(zip(first.axes, first.shape, strict=True))
    samples = sizes.get("S", 1)
    if not {"Y", "X"} <= sizes.keys() <= {"Y", "X", "S"}:
        raise ValueError(f"its pages have the axes {first.axes}")
    reject_other_pixels(pixels, sizes, first.dtype)
    missing = [
        (t - t0, (c - c0) * samples + sample, z - z0)
        for t, c, z in product(range(t0, t1), range(c0, c1), range(z0, z1))
        if pages.get((t, c, z), len(file.pages)) >= len(file.pages)
        for sample in range(samples)
    ]
    known = ome_channels(pixels, c0, c1, samples)

    def read(t: int, c: int, z: int) -> Array:
        page: Any = file.pages[pages[t0 + t, c0 + c // samples, z0 + z]]
        plane = np.asarray(page.asarray())
        at = page.axes.find("S")
        return plane if at < 0 else plane.take(c % samples, axis=at)

    scene = Scene(
        number=number,
        start=(t0, c0 * samples, z0),
        end=(t_end, c_end * samples, z_end),
        shape=(t1 - t0, (c1 - c0) * samples, z1 - z0, sizes["Y"], sizes["X"]),
        dtype=pixel_type(first.dtype),
        facts=ome_facts(image, pixels, known, (t0, c0, z0), (t1 - t0, z1 - z0)),
        missing=frozenset(missing),
        set=ome.set,
    )
    return scene, read
