"""The planes and the metadata of a TIFF file.

A file has one or more scenes: the positions of the stage in it. OME-XML says which page is
which plane, also in a set of files that share it; without it, pages are z planes.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tifffile
from pydantic import BaseModel

from ..slices import Array
from .metadata import alpha_channels, merged, plain_facts
from .ome import (
    Absent,
    Read,
    Scene,
    absent_scenes,
    ome_scenes,
    pixel_type,
    read_ome,
    reject_pages_beside,
)

OPEN_FILES = 32  # of a thread: a stack is opened once, not for each of its planes


class Content(NamedTuple):
    """Content of a file, by its metadata.

    Attributes:
        scenes: Its positions.
        absent: Positions of its set that neither the file nor its folder has.
        uuid: Its name in the metadata of its set.
    """

    scenes: list[Scene]
    absent: list[Absent]
    uuid: str


class TiffFile(BaseModel):
    """A position in a TIFF file, and the planes of a field that it has.

    Args:
        path: The file.
        scene: Which of its positions.
        field: Which field of the image.
        start: First plane on the axes t, c and z of the image.
        size: Number of planes along these axes.
        missing: Planes t, c, z of this size that the file does not have.
    """

    path: str
    scene: int
    field: int
    start: tuple[int, ...]
    size: tuple[int, ...]
    missing: list[tuple[int, ...]] = []


class RaiseOnError(logging.Handler):
    """Raises what tifffile only logs: that a file is damaged."""

    def emit(self, record: logging.LogRecord) -> None:
        """Raise the message of an error."""
        raise ValueError(record.getMessage())


logging.getLogger("tifffile").addHandler(RaiseOnError(logging.ERROR))


class Tiff:
    """A TIFF file, open until it is closed.

    Attributes:
        scenes: Its positions.
    """

    def __init__(self, path: str, *, resolution: bool = True) -> None:
        """Open a file.

        Args:
            path: The file.
            resolution: Whether its resolution tag is that of the pixels.

        Raises:
            ValueError: The file is damaged, or its axes or metadata are not understood.
        """
        self.path = path
        with self._reading():
            self._file = tifffile.TiffFile(path)
            try:
                reject_turned(self._file)
                reject_inverted(self._file)
                self._ome = read_ome(self._file)
                found = (
                    ome_scenes(self._file, self._ome, resolution=resolution)
                    if self._ome
                    else [plain_scene(self._file, resolution=resolution)]
                )
            except BaseException:
                self._file.close()
                raise
            self.scenes = [name_alpha(scene, self._file) for scene, _ in found]
            self._readers = [read for _, read in found]

    def read(self, scene: int, t: int, c: int, z: int) -> Array:
        """Give a plane of a scene, with axes yx.

        Raises:
            ValueError: The file is damaged, or its planes differ in size or data type.
        """
        known = self.scenes[scene]
        expected = known.shape[-2:], known.dtype
        with self._reading():
            pixels = self._readers[scene](t, c, z)
            if (found := (pixels.shape, pixel_type(pixels.dtype))) != expected:
                raise ValueError(
                    f"its planes differ: one is {expected}, and another is {found}"
                )
            return np.asarray(pixels, known.dtype)

    def describe(self) -> Content:
        """Describe the file, and what its metadata place in files that are not there.

        Raises:
            ValueError: The metadata are not understood.
        """
        if self._ome is None:
            return Content(self.scenes, [], "")
        with self._reading():
            absent = [*absent_scenes(self._file, self._ome)]
        return Content(self.scenes, absent, self._ome.uuid)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    @contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            reason = f"tiff_dir: {self.path} cannot be read: {error}"
            raise ValueError(reason) from error


class OpenFiles:
    """Files that a thread reads, the last ones of which stay open."""

    def __init__(self) -> None:
        """Begin without a file."""
        self._files: dict[str, Tiff] = {}

    def read(self, path: str, scene: int, t: int, c: int, z: int) -> Array:
        """Give a plane, with axes yx.

        Raises:
            ValueError: The file is damaged.
        """
        file = self._files.pop(path, None) or Tiff(path)
        self._files[path] = file
        while len(self._files) > OPEN_FILES:
            self._files.pop(next(iter(self._files))).close()
        return file.read(scene, t, c, z)

    def close(self) -> None:
        """Close all."""
        for file in self._files.values():
            file.close()


def read_content(path: Path, *, resolution: bool = True) -> Content:
    """Positions in a file, and those that its metadata place in files that are not there.

    Args:
        path: The file.
        resolution: Whether its resolution tag is that of the pixels.

    Raises:
        ValueError: The file is damaged, or its axes or metadata are not understood.
    """
    tiff = Tiff(str(path), resolution=resolution)
    try:
        return tiff.describe()
    finally:
        tiff.close()


def reject_turned(file: tifffile.TiffFile) -> None:
    """Reject a file that is to be shown turned: most programs show it as it is stored.

    Raises:
        ValueError: Its tag says so.
    """
    tag = file.pages.first.tags.get("Orientation")
    if tag is not None and tag.value not in (0, 1):  # 0 is not said
        raise ValueError(
            f"its tag Orientation is {tag.value}, by which some programs turn or mirror "
            "it: set the tag to 1 if the pixels are stored as they lie, or write the file "
            "again the right way round"
        )


def reject_inverted(file: tifffile.TiffFile) -> None:
    """Reject a file in which 0 is white: some programs turn its grey values round.

    Not masks of one bit, which tifffile writes in this way.

    Raises:
        ValueError: Its tag says so.
    """
    page = file.pages.first
    if page.photometric == 0 and page.bitspersample > 1:
        raise ValueError(
            "its tag PhotometricInterpretation is 0, by which 0 is white, and some programs "
            "invert it: write the file again with 0 as black"
        )


def name_alpha(scene: Scene, file: tifffile.TiffFile) -> Scene:
    """Give transparency, which is stored beside colours, its name as a channel."""
    names = alpha_channels(file.pages.first, scene.shape[1])
    if scene.facts.channels or not any(names):
        return scene
    return replace(scene, facts=scene.facts._replace(channels=names))


def plain_scene(file: tifffile.TiffFile, *, resolution: bool) -> tuple[Scene, Read]:
    """The only position in a file without OME-XML.

    Pages without a meaning of their own are z planes; samples (RGB) are channels.

    Args:
        file: The file.
        resolution: Whether its resolution tag is that of the pixels.

    Raises:
        ValueError: It has other axes, or several images.
    """
    first, *others = file.series
    axes = first.axes.upper().translate(str.maketrans("QIS", "ZZC"))[-first.ndim :]
    if len(file.pages) > sum(map(len, file.series)):
        pages = (page for series in file.series for page in series if page)
        reject_pages_beside(file, {page.index for page in pages})
    if others and file.is_micromanager:
        raise ValueError(f"{len(file.series)} images without OME-XML")
    same = all(other.shape == first.shape for other in others)
    if others and ("Z" in axes or not same):  # it is written page by page
        raise ValueError(f"{len(file.series)} images that make no stack")
    if not set(axes) <= set("TCZYX") or len(set(axes)) < len(axes):
        raise ValueError(f"axes {first.axes}; allowed are T, C, Z, Y and X")
    sizes = dict(zip(axes, first.shape, strict=True))
    sizes |= {"Z": len(file.series)} if others else {}
    shape = tuple(sizes.get(axis, 1) for axis in "TCZYX")
    known: Any = file.imagej_metadata or {}
    # ImageJ writes signed numbers as unsigned ones, with a line that shifts them back.
    line = [known.get(key) for key in ("cf", "c0", "c1")]
    is_signed = first.dtype == np.uint16 and line == [0, -(2**15), 1]
    scene = Scene(
        number=0,
        start=(0, 0, 0),
        end=shape[:3],
        shape=shape,
        dtype=pixel_type(np.int16 if is_signed else first.dtype),
        facts=merged(*plain_facts(file, resolution=resolution)),
    )
    wholes: dict[int, Array] = {}

    def read(t: int, c: int, z: int) -> Array:
        place = {"T": t, "C": c, "Z": z}
        index: list[Any] = [place.get(axis, slice(None)) for axis in axes]
        number = z if others else 0
        series = file.series[number]
        lead = series.ndim - series.keyframe.ndim
        pages = prod(series.shape[: max(lead, 0)])
        if series.shape[lead:] == series.keyframe.shape and len(series) == pages:
            flat = (
                np.ravel_multi_index(index[:lead], series.shape[:lead]) if lead else 0
            )
            page = series[int(flat)]
            pixels, index = page.asarray() if page else None, index[lead:]
        else:  # it has one page for all, and is mapped into memory if it can be
            if number not in wholes:
                wholes.clear()
                mapped = "memmap" if series.dataoffset is not None else None
                wholes[number] = series.asarray(out=mapped)
            pixels = wholes[number]
        plane = np.asarray(pixels)[tuple(index)]
        if is_signed:
            plane = (plane.astype(np.int32) - 2**15).astype(np.int16)
        return np.asarray(plane.T if axes.index("X") < axes.index("Y") else plane)

    return scene, read
