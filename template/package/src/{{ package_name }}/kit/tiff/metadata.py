"""Positions, pixel sizes and channels in the metadata of a TIFF file.

OME-XML, and the metadata of MetaMorph, Micro-Manager and ImageJ. A value that is absent is
None; one that is not understood is `Unclear`, and an error where it is needed.
"""

import json
import re
from collections.abc import Callable, Iterable, Mapping
from itertools import pairwise
from math import isclose, isfinite
from typing import Any, NamedTuple
from xml.etree import ElementTree

import tifffile

from ..units import micrometers, seconds

NUMBER = re.compile(r"[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?")
REGULAR = 0.1  # steps that differ by less are one step, measured
LARGEST_PIXEL = 20.0  # micrometers; a resolution tag that says more is that of a screen


class Unclear(str):
    """A value that is there and not understood: the reason."""


Value = float | Unclear | None


class Facts(NamedTuple):
    """Facts of a position, by its metadata, in micrometers and seconds.

    Attributes:
        x: Of the stage.
        y: Of the stage.
        pixel_x: Size of a pixel in x.
        pixel_y: Size of a pixel in y.
        pixel_z: Distance of the planes.
        interval: Time between time points.
        heights: Of the stage at each z plane of the first time point.
        times: Of each time point.
        channels: Name of each channel in the file; empty if there are none.
    """

    x: Value = None
    y: Value = None
    pixel_x: Value = None
    pixel_y: Value = None
    pixel_z: Value = None
    interval: Value = None
    heights: tuple[Value, ...] = ()
    times: tuple[Value, ...] = ()
    channels: tuple[str, ...] = ()


def merged(*known: Facts) -> Facts:
    """Facts by the first source that gives them."""
    return Facts(
        *(
            next((value for value in values if value not in (None, ())), values[0])
            for values in zip(Facts(), *known, strict=True)
        )
    )


def number(
    key: str,
    value: Any,
    unit: Any = "um",
    factor: Callable[[Any], float | None] = micrometers,
) -> Value:
    """A number in micrometers, or seconds; None if there is none, or not of a length.

    Args:
        key: Name in the metadata.
        value: As it stands there.
        unit: Its unit.
        factor: Function that knows units.
    """
    text = "" if value is None else str(value).strip()
    if not text:
        return None
    if not NUMBER.fullmatch(text):
        return Unclear(f"{key} is {text!r}, which is no number")
    try:
        scale = factor(unit)
    except ValueError as error:
        return Unclear(f"{key} is {text}, but {error}")
    if scale is None:
        return None
    found = float(text) * scale
    return found if isfinite(found) else Unclear(f"{key} is {text}, which is too large")


def _known(values: Iterable[Value]) -> tuple[Value, ...]:
    """Values, or none if all are absent."""
    known = tuple(values)
    return () if all(value is None for value in known) else known


def size(
    key: str,
    value: Any,
    unit: Any = "um",
    factor: Callable[[Any], float | None] = micrometers,
) -> Value:
    """A size in micrometers, or seconds: a number that is positive."""
    found = number(key, value, unit, factor)
    if isinstance(found, float) and found <= 0:
        return Unclear(f"{key} is {value}, which is not positive")
    return found


def place(key: str, value: Any, unit: Any = "um") -> Value:
    """A position of the stage in micrometers; a unit that is no length is not understood."""
    found = number(key, value, unit)
    if found is None and value is not None:
        return Unclear(f"{key} is {value} in {unit!r}, which is no length")
    return found


class NoDoctype(ElementTree.TreeBuilder):
    """Builds XML without document types: these can have entities that grow, or files."""

    def doctype(self, name: str, pubid: str | None, system: str | None) -> None:
        """Reject the file."""
        raise ValueError(f"its XML has a document type, {name}")


def parse_xml(text: str) -> ElementTree.Element:
    """Parse XML of a file.

    Raises:
        ValueError: It has a document type, or is no XML.
    """
    try:
        parser = ElementTree.XMLParser(target=NoDoctype())
        return ElementTree.fromstring(text, parser=parser)
    except ElementTree.ParseError as error:
        raise ValueError(f"its XML is damaged: {error}") from error


def count_of(element: ElementTree.Element, key: str, least: int = 0) -> int:
    """A number in OME-XML; the least one if it is not said.

    Raises:
        ValueError: It is none, or lower.
    """
    text = element.get(key, str(least))
    if not (text.isascii() and text.isdigit() and least <= int(text) < 2**31):
        raise ValueError(
            f"{key} is {text!r} in its OME-XML, and not a whole number from {least}"
        )
    return int(text)


def ome_facts(
    image: ElementTree.Element,
    pixels: ElementTree.Element,
    channels: tuple[str, ...],
    first: tuple[int, int, int],
    shape: tuple[int, int],
) -> Facts:
    """Facts of a position by OME-XML.

    Args:
        image: Element of the position.
        pixels: Element therein.
        channels: Names of the channels in the file.
        first: First plane of the file, on the axes t, c and z.
        shape: Number of time points and of z planes in the file.
    """
    planes = {
        tuple(count_of(plane, f"The{axis}") for axis in "TCZ"): plane
        for plane in pixels.iterfind("{*}Plane")
    }
    places = [(plane, "Position") for plane in planes.values()]
    places += [(label, "") for label in image.iterfind("{*}StageLabel")]
    x = y = None
    for element, prefix in places:
        x, y = (
            place(key, element.get(key), element.get(f"{key}Unit", "um"))
            for key in (f"{prefix}X", f"{prefix}Y")
        )
        if x is not None and y is not None:
            break
    pixel_x, pixel_y, pixel_z = (
        size(key, pixels.get(key), pixels.get(f"{key}Unit", "um"))
        for key in ("PhysicalSizeX", "PhysicalSizeY", "PhysicalSizeZ")
    )
    t, c, z = first
    empty = ElementTree.Element("Plane")
    heights = [planes.get((t, c, z + n), empty) for n in range(shape[1])]
    times = [planes.get((t + n, c, z), empty) for n in range(shape[0])]
    key = "TimeIncrement"
    interval = size(key, pixels.get(key), pixels.get(f"{key}Unit", "s"), seconds)
    moments = _known(
        number("DeltaT", plane.get("DeltaT"), plane.get("DeltaTUnit", "s"), seconds)
        for plane in times
    )
    if len({*moments}) > 1 and number(key, pixels.get(key)) == 0:
        interval = None  # as fast as it could: the planes have the times
    return Facts(
        x,
        y,
        pixel_x,
        pixel_y,
        pixel_z,
        interval,
        _known(
            number(
                "PositionZ", plane.get("PositionZ"), plane.get("PositionZUnit", "um")
            )
            for plane in heights
        ),
        moments,
        channels if any(channels) else (),
    )


def micromanager_facts(known: Mapping[str, Any]) -> Facts:
    """Facts of a plane, as Micro-Manager writes them into a tag or ImageJ's text."""
    pixel = size("PixelSizeUm", known.get("PixelSizeUm") or None)  # 0: not calibrated
    channel = known.get("Channel")
    elapsed = known.get("ElapsedTime-ms")
    return Facts(
        x=number("XPositionUm", known.get("XPositionUm")),
        y=number("YPositionUm", known.get("YPositionUm")),
        pixel_x=pixel,
        pixel_y=pixel,
        heights=_known([number("ZPositionUm", known.get("ZPositionUm"))]),
        times=_known([number("ElapsedTime-ms", elapsed, "ms", seconds)]),
        channels=(channel,) if channel and isinstance(channel, str) else (),
    )


def page_facts(page: Any, *, resolution: bool) -> list[Facts]:
    """Facts by the tags of a page: those of Micro-Manager, then its resolution.

    Args:
        page: The page.
        resolution: Whether the resolution is that of the pixels.
    """
    found = []
    tag = page.tags.get(51123)
    if tag is not None and isinstance(tag.value, dict):
        found = [micromanager_facts(tag.value)]
        if "PixelSizeUm" in tag.value:  # it knows whether it was calibrated
            return found
    unit = _unit_of_tags(page)
    x, y = (
        tag_size(page, f"{axis}Resolution", unit, known=resolution) for axis in "XY"
    )
    if _are_of_a_screen(x, y):
        return found
    return [*found, Facts(pixel_x=x, pixel_y=y)]


def _unit_of_tags(page: Any) -> str:
    """Unit in which the resolution tags of a page count."""
    return {2: "inch", 3: "cm"}.get(int(getattr(page, "resolutionunit", 0)), "pixel")


def _are_of_a_screen(*sizes: Value) -> bool:
    """Whether a resolution is absent, or one for a screen or a printer."""
    return all(not isinstance(n, float) or n >= LARGEST_PIXEL for n in sizes)


def tag_size(page: Any, key: str, unit: Any, *, known: bool = True) -> Value:
    """Size of a pixel by a resolution tag, which counts pixels in a unit."""
    tag = page.tags.get(key)
    count, length = tag.value if tag is not None else (0, 1)
    return size(key, length / count if count and length and known else None, unit)


def alpha_channels(page: Any, n_channels: int) -> tuple[str, ...]:
    """Names of channels: `alpha` for transparency, and none for the others.

    Args:
        page: A page, whose samples are channels.
        n_channels: Number of channels of its image.
    """
    samples, extra = page.samplesperpixel, page.extrasamples
    first = samples - len(extra)
    alpha = {first + k for k, kind in enumerate(extra) if kind in (1, 2)}
    return tuple("alpha" if c % samples in alpha else "" for c in range(n_channels))


def metamorph_facts(file: tifffile.TiffFile) -> list[Facts]:
    """Facts by the metadata of MetaSeries, which MetaXpress writes, and of stacks."""
    found = []
    if file.is_metaseries:
        known = (file.metaseries_metadata or {}).get("PlaneInfo", {})
        unit = known.get("spatial-calibration-units", "um")
        keys = [f"spatial-calibration-{axis}" for axis in "xy"]
        calibrated = known.get("spatial-calibration-state") not in (False, "off")
        x, y = (size(k, known.get(k) if calibrated else None, unit) for k in keys)
        channel = str(known.get("_IllumSetting_", ""))
        found.append(
            Facts(
                x=number("stage-position-x", known.get("stage-position-x")),
                y=number("stage-position-y", known.get("stage-position-y")),
                pixel_x=x,
                pixel_y=y,
                heights=_known([number("z-position", known.get("z-position"))]),
                channels=(channel,) if channel else (),
            )
        )
    if file.is_stk:
        stack: Any = file.stk_metadata or {}
        unit = stack.get("CalibrationUnits", "um")
        positions, steps = stack.get("StagePosition"), stack.get("ZDistance")
        x, y = (
            positions[0] if positions is not None and len(positions) else (None, None)
        )
        distances = {float(step) for step in ([] if steps is None else steps) if step}
        pixel_z = size("ZDistance", next(iter(distances), None))
        if len(distances) > 1:
            pixel_z = Unclear(f"its ZDistance differs: {sorted(distances)[:5]}")
        calibrated = stack.get("SpatialCalibration", True)
        pixel_x, pixel_y = (
            size(key, stack.get(key) if calibrated else None, unit)
            for key in ("XCalibration", "YCalibration")
        )
        found.append(
            Facts(
                x=number("StagePosition", x),
                y=number("StagePosition", y),
                pixel_x=pixel_x,
                pixel_y=pixel_y,
                pixel_z=pixel_z,
            )
        )
    return found


def imagej_facts(page: Any, known: Mapping[str, Any]) -> list[Facts]:
    """Facts by ImageJ's description, and by Micro-Manager's text therein.

    Args:
        page: The first page.
        known: The description, or the one of tifffile with the same keys.
    """
    try:
        info = json.loads(known.get("Info", ""))
    except (TypeError, ValueError):  # it is any text
        info = {}
    unit = known.get("unit") or "pixel"
    units = {axis: known.get(f"{axis}unit") or unit for axis in "xyz"}
    time = known.get("tunit") or "sec"
    x, y = (_counted(page, f"{a.upper()}Resolution", units[a]) for a in "xy")
    if unit == "inch" and _are_of_a_screen(x, y):
        x = y = None
    return [
        *([micromanager_facts(info)] if isinstance(info, dict) else []),
        Facts(
            pixel_x=x,
            pixel_y=y,
            pixel_z=size("spacing", known.get("spacing"), units["z"]),
            interval=size("finterval", known.get("finterval"), time, seconds),
        ),
    ]


def _counted(page: Any, key: str, unit: Any) -> Value:
    """Size of a pixel by a tag in the unit of a description; the tag may have its own."""
    found, by_tag = tag_size(page, key, unit), tag_size(page, key, _unit_of_tags(page))
    if (
        isinstance(found, float)
        and isinstance(by_tag, float)
        and by_tag < LARGEST_PIXEL
        and not isclose(found, by_tag, rel_tol=0.01)
    ):
        return Unclear(
            f"{key} is {found:g} micrometers by {unit!r}, and {by_tag:g} by ResolutionUnit"
        )
    return found


def plain_facts(file: tifffile.TiffFile, *, resolution: bool) -> list[Facts]:
    """Facts of a file without OME-XML, the most exact first.

    Args:
        file: The file.
        resolution: Whether its resolution tag is that of the pixels.
    """
    page: Any = file.pages[0]
    known: Any = file.imagej_metadata or (file.shaped_metadata or ({},))[0]
    found = metamorph_facts(file) + imagej_facts(page, known)
    if not known.get("unit"):
        found += page_facts(page, resolution=resolution)
    return found


def regular_step(values: Mapping[int, Value]) -> Value:
    """Distance of values by their numbers; None if they do not say it.

    Args:
        values: Height of each z plane, or time of each time point.
    """
    numbers: list[tuple[int, float]] = []
    for index, value in sorted(values.items()):
        if isinstance(value, Unclear):
            return value
        if value is not None:
            numbers.append((index, value))
    if len({value for _, value in numbers}) < 2:
        return None
    steps = [
        (value - before) / (index - last)
        for (last, before), (index, value) in pairwise(numbers)
    ]
    (first, start), (last, stop) = numbers[0], numbers[-1]
    mean = (stop - start) / (last - first)
    if not all(abs(step - mean) <= REGULAR * abs(mean) for step in steps):
        listed = ", ".join(f"{step:g}" for step in steps[:5])
        return Unclear(f"its planes have different distances: {listed}")
    return float(f"{mean:.6g}")
