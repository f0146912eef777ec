"""The images that files make: a well and an acquisition, or a field, and its planes."""

import logging
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import product
from math import gcd
from pathlib import Path
from typing import NamedTuple

from .files import TiffFile
from .sources import Source

logger = logging.getLogger(__name__)

LISTED = 20  # lines of an error; the log has all
SPARSE = 1000  # times as many numbers as files have: they are no numbers of planes


class Key(NamedTuple):
    """An image of a plate: a well and an acquisition, and a field if each is an image."""

    row: str
    column: str
    acquisition: int
    field: int | None = None

    @property
    def well(self) -> str:
        """Its well, such as A01."""
        return self.row + self.column

    @property
    def image(self) -> str:
        """Name of its folder."""
        return f"{self.acquisition}" + ("" if self.field is None else f"f{self.field}")


class Extent(NamedTuple):
    """Channels, planes and time points that all images of an acquisition share.

    Attributes:
        channels: Name of each channel, as in the names of the files if they say it.
        starts: Lowest number in the names of the files, by axis.
        steps: Distance of the numbers in the names, by axis.
        sizes: Number of planes by axis.
        fields: Number of each field.
    """

    channels: list[str]
    starts: dict[str, int]
    steps: dict[str, int]
    sizes: dict[str, int]
    fields: list[int]

    @property
    def n_planes(self) -> int:
        """Number of planes of a field."""
        return self.sizes["t"] * self.sizes["c"] * self.sizes["z"]


class Group(NamedTuple):
    """The files of an image.

    Attributes:
        files: Positions that are there.
        absent: Positions that metadata place in files that are not there.
        extent: Of its acquisition.
        planes: The planes in the files, with their places.
        gaps: Planes field, t, c, z that have no file.
    """

    files: list[Source]
    absent: list[Source]
    extent: Extent
    planes: list[TiffFile]
    gaps: list[tuple[int, ...]]

    @property
    def fields(self) -> list[int]:
        """Number of each field that has files."""
        return sorted({source.field for source in self.files})

    @property
    def field_size(self) -> tuple[int, int]:
        """Height and width of its fields, in pixels."""
        height, width = self.files[0].scene.shape[-2:]
        return height, width


def sort_images(
    sources: Iterable[Source], absent: Iterable[Source], *, separate: bool
) -> dict[Key, Group]:
    """Sort the files of a folder into images, in the order of wells.

    Args:
        sources: Positions in the files.
        absent: Positions that metadata place in files that are not there.
        separate: Whether each field is an image.

    Raises:
        ValueError: Planes are repeated, or files of an image differ in size or data type.
    """
    acquisitions: dict[int, list[Source]] = defaultdict(list)
    images: dict[Key, tuple[list[Source], list[Source]]] = {}
    for number, of in enumerate((sources, absent)):
        for source in of:
            acquisitions[source.name.acquisition].append(source)
            key = Key(*source.home, source.field if separate else None)
            images.setdefault(key, ([], []))[number].append(source)
    extents = {number: find_extent(of) for number, of in acquisitions.items()}
    return {
        key: Group(
            files,
            away,
            extents[key.acquisition],
            *place_planes(files, extents[key.acquisition]),
        )
        for key, (files, away) in sorted(images.items())
    }


def find_extent(sources: Sequence[Source]) -> Extent:
    """Channels, z planes, time points and fields of an acquisition.

    Raises:
        ValueError: Both the names and the pages of the files count them. Or only some names
            say one of them, or numbers lie far apart.
    """
    _reject_some(sources)
    starts, steps, sizes = {}, {}, {}
    for dim, axis in enumerate("tz"):
        numbers = sorted({getattr(source.name, axis) for source in sources})
        starts[axis] = numbers[0]
        steps[axis] = gcd(*(n - numbers[0] for n in numbers)) or 1
        if steps[axis] > 1:  # or planes are missing from all images
            logger.warning(
                "pattern: %s is %s in the names of files, in steps of %d: these are taken "
                "as planes that follow each other",
                *(axis, ", ".join(map(str, numbers[:5])), steps[axis]),
            )
        in_names = (numbers[-1] - numbers[0]) // steps[axis] + 1
        if in_names > SPARSE * len(numbers):
            raise ValueError(
                f"pattern: {axis} is {', '.join(map(str, numbers[:3]))} and so on to "
                f"{numbers[-1]}, in the names of files: as numbers of planes, these would "
                f"be {in_names} planes. Write * in place of {{{axis}}}, or rename the files"
            )
        in_files = max(_span(source, 2 * dim, axis) for source in sources)
        _reject_both(sources, 2 * dim, axis, in_names, in_files)
        sizes[axis] = max(in_names, in_files)
    channels = sorted({source.name.channel for source in sources})
    if all(map(is_number, channels)):
        channels.sort(key=int)
    in_files = max(_span(source, 1, "channel") for source in sources)
    _reject_both(sources, 1, "channel", len(channels), in_files)
    sizes["c"] = max(len(channels), in_files)
    fields = sorted({source.field for source in sources})
    return Extent(channels, starts, steps, sizes, fields)


def is_number(channel: str) -> bool:
    """Return True for a channel that has only a number in the names of files."""
    return channel.isascii() and channel.isdigit()


def _reject_some(sources: Sequence[Source]) -> None:
    """Reject names of which only some say a number: a projection is no plane 0.

    MetaXpress has projections in a folder beside those of the planes, or above them.
    """
    projected = [source.path.parent.name.lower() == "zstep_0" for source in sources]
    if any(projected) and not all(projected):
        raise ValueError(
            f"pattern: {sources[projected.index(True)].path} is a projection, as MetaXpress "
            "writes it beside the planes: set skip to ['*ZStep_0/*'] to leave them out, or "
            "to the folders of the planes"
        )
    for part in ("z", "t", "channel", "field"):
        first: dict[bool, Source] = {}
        for source in sources:
            first.setdefault(part in source.name.says, source)
        if len(first) > 1:
            raise ValueError(
                f"pattern: {first[True].path} says its {part} in its name, and "
                f"{first[False].path} does not: leave out one kind by the argument skip, or "
                "rename the files"
            )


def _span(source: Source, dim: int, axis: str) -> int:
    """Last plane of a file along an axis of tcz, counted from 1."""
    scene = source.scene
    return scene.shape[dim] if axis in source.name.says else scene.end[dim]


def _reject_both(
    sources: Sequence[Source], dim: int, axis: str, in_names: int, in_files: int
) -> None:
    """Reject names and pages that count the same axis."""
    if in_names > 1 and in_files > 1:
        path = next(source.path for source in sources if _span(source, dim, axis) > 1)
        raise ValueError(f"pattern: {path} has several {axis}, and so has the pattern")


def first_plane(source: Source, extent: Extent) -> tuple[int, int, int]:
    """Return the first plane of a file in its image, along t, c and z."""
    name, (t, c, z) = source.name, source.scene.start
    t, z = (
        (getattr(name, axis) - extent.starts[axis]) // extent.steps[axis]
        if axis in name.says
        else start
        for axis, start in (("t", t), ("z", z))
    )
    return t, extent.channels.index(name.channel) if len(extent.channels) > 1 else c, z


def place_planes(
    sources: Sequence[Source], extent: Extent
) -> tuple[list[TiffFile], list[tuple[int, ...]]]:
    """Files of an image with their places, and the planes field, t, c, z that it lacks.

    Raises:
        ValueError: There are two files of a plane, or files differ in size or data type.
    """
    fields = sorted({source.field for source in sources})
    taken: dict[tuple[int, ...], Path] = {}
    files = []
    for source in sources:
        kind, other = (
            (one.scene.shape[-2:], one.scene.dtype) for one in (source, sources[0])
        )
        if kind != other:
            raise ValueError(
                f"tiff_dir: {sources[0].path} is {other}, but {source.path} is {kind}"
            )
        field, start = fields.index(source.field), first_plane(source, extent)
        size = source.scene.shape[:3]
        for local in product(*map(range, size)):
            if local in source.scene.missing:
                continue
            place = (s + n for s, n in zip(start, local, strict=True))
            known = taken.setdefault((field, *place), source.path)
            if known != source.path:
                raise ValueError(
                    f"pattern: {known.name} and {source.path.name} are the same plane"
                )
        files.append(
            TiffFile(
                path=str(source.path),
                scene=source.number,
                field=field,
                start=start,
                size=size,
                missing=sorted(source.scene.missing),
            )
        )
    everything = product(range(len(fields)), *(range(extent.sizes[a]) for a in "tcz"))
    return files, [place for place in everything if place not in taken]


def select_images(
    images: Mapping[Key, Group], unclear: Sequence[str], missing: str
) -> dict[Key, Group]:
    """Return the images to make, and log everything that is missing.

    Args:
        images: All images, also those without a file.
        unclear: A line for each missing position whose image is not known.
        missing: `reject`, `skip` or `fill`, as the argument of the task.

    Raises:
        ValueError: Something is missing, and is to be rejected; or no image is left.
    """
    lines, n_planes = find_missing(images)
    texts = [
        f"{key.well}, acquisition {key.acquisition}, {line}"
        for key in sorted(lines)
        for line in lines[key]
    ]
    texts += unclear
    if texts:
        what = "planes" if n_planes else "files"
        count = f"missing {what}, {n_planes or len(unclear)} in all"
        logger.warning("%s:\n%s", count, "\n".join(texts))
        if missing == "reject":
            more = len(texts) - LISTED
            rest = f"; and {more} more, which the log lists" if more > 0 else ""
            raise ValueError(
                f"tiff_dir: {count}: {'; '.join(texts[:LISTED])}{rest}. "
                "The argument missing can skip these images, or fill them with zeros"
            )
    left_out = lines if missing == "skip" else {}
    kept = {
        k: group for k, group in images.items() if group.files and k not in left_out
    }
    if not kept:
        raise ValueError("missing: to skip all images leaves none")
    return kept


def find_missing(images: Mapping[Key, Group]) -> tuple[dict[Key, list[str]], int]:
    """List what images lack, and others of their acquisition have, or metadata list.

    Returns:
        Lines for each image that lacks something, and the number of planes.
    """
    lines: dict[Key, list[str]] = {}
    n_planes = 0
    for key, (files, absent, extent, _, gaps) in images.items():
        if not files:
            lines[key] = describe_absent(absent)
            n_planes += sum(len(source.scene.missing) for source in absent)
            continue
        own = images[key].fields
        if gaps:
            lines[key] = describe_missing(gaps, own, extent)
            n_planes += len(gaps)
        for number in extent.fields:
            other = key if key.field is None else key._replace(field=number)
            if number in own or other in images.keys() - {key}:
                continue
            if (line := f"field {number}") not in lines.setdefault(other, []):
                lines[other].append(line)
                n_planes += extent.n_planes
    return lines, n_planes


def describe_absent(absent: Iterable[Source]) -> list[str]:
    """One line for each field of an image that has no file at all."""
    names: dict[int, set[str]] = defaultdict(set)
    for source in absent:
        names[source.field].add(source.path.name)
    lines = []
    for field, of_field in sorted(names.items()):
        more = f" and {len(of_field) - 3} more" if len(of_field) > 3 else ""
        lines.append(f"field {field}, of {', '.join(sorted(of_field)[:3])}{more}")
    return lines


def describe_missing(
    missing: Sequence[tuple[int, ...]], fields: Sequence[int], extent: Extent
) -> list[str]:
    """One line for each field of an image that lacks planes.

    Args:
        missing: Planes field, t, c, z.
        fields: Number of each field.
        extent: Of the acquisition.
    """
    by_field: dict[int, list[tuple[int, ...]]] = defaultdict(list)
    for field, *plane in missing:
        by_field[field].append(tuple(plane))
    lines = []
    for field, planes in by_field.items():
        n_planes = len(planes)
        if n_planes == extent.n_planes:
            lines.append(f"field {fields[field]}")
            continue
        heights: dict[tuple[int, int], list[int]] = defaultdict(list)
        for t, c, z in planes:
            heights[t, c].append(extent.starts["z"] + z * extent.steps["z"])
        channels = extent.channels
        texts = [
            f"t {extent.starts['t'] + t * extent.steps['t']} channel "
            f"{channels[c] if len(channels) > 1 else c} z {', '.join(map(str, at))}"
            for (t, c), at in heights.items()
        ]
        lines.append(f"field {fields[field]}: {'; '.join(texts)}")
    return lines


def log_images(images: Mapping[Key, Group], channels: Mapping[Key, list[str]]) -> None:
    """Log channels, time points, planes and fields; once for all images that are alike.

    Args:
        images: The images.
        channels: Name of each channel of each image.
    """
    alike = defaultdict(list)
    for key, group in images.items():
        sizes, (height, width) = group.extent.sizes, group.field_size
        text = (
            f"channels {', '.join(channels[key])}; time points {sizes['t']}; z planes "
            f"{sizes['z']}; fields {len(group.fields)}, of {width} x {height} pixels"
        )
        alike[text].append(f"{key.well}/{key.image}")
    for text, names in alike.items():
        which = "all images" if len(alike) == 1 else ", ".join(names)
        logger.info("%s: %s", text, which)
