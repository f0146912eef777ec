"""Open an OME-Zarr image or its label images: pyramid levels, axes, scale, channels."""

import math
import os
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import zarr
from pydantic import BaseModel, ConfigDict, Field

from .chunks import check_levels
from .fractal import argument_name
from .multiscale import (
    check_multiscale,
    coordinates,
    level_scale,
    same_extent,
    unit_size,
)
from .ngff import (
    NgffVersion,
    check_version,
    find_group,
    group_version,
    inside,
    ome_metadata,
    open_group,
)
from .publish import is_zarr, suggest
from .slices import Array, Region
from .voxels import read_voxels


class Channel(BaseModel):
    """Which channel of an image to use."""

    # Attribute docstrings would cost each unit 20 ms: pydantic looks for them in the source.
    model_config = ConfigDict(extra="forbid")

    mode: Literal["index", "label", "wavelength_id"] = Field(
        default="index",
        description="Whether the identifier is a position, a channel name or a wavelength "
        "ID.",
    )
    identifier: str = Field(
        default="0",
        description="Position (counted from 0), name (such as DAPI) or wavelength ID.",
    )


Channels = Channel | int | Sequence[Channel | int]
"""A channel, by its position or as the argument of a task, or several of them."""


@dataclass(frozen=True, eq=False)
class Image:
    """An OME-Zarr image, or label image, on disk.

    Attributes:
        path: Folder of the image.
        group: The Zarr group in that folder.
        metadata: OME metadata as in the file: `multiscales`, `omero`, `image-label`.
        levels: Arrays of the pyramid, full resolution first.
    """

    path: Path
    group: zarr.Group
    metadata: dict[str, Any]
    levels: list[zarr.Array[Any]]

    @property
    def version(self) -> NgffVersion:
        """NGFF version."""
        return group_version(self.group)

    @property
    def axes(self) -> str:
        """Axes of the arrays in order, one letter each, such as `czyx`."""
        return "".join(axis["name"] for axis in self.metadata["multiscales"][0]["axes"])

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape at full resolution."""
        return self.levels[0].shape

    @property
    def scale(self) -> dict[str, float]:
        """Size of a pixel at full resolution by axis, in the unit of that axis."""
        scale, _ = coordinates(self.metadata["multiscales"][0])
        return dict(zip(self.axes, scale or [1.0] * len(self.axes), strict=True))

    @property
    def is_calibrated(self) -> bool:
        """Whether the metadata have the size of a pixel; if not, `scale` is 1."""
        return coordinates(self.metadata["multiscales"][0])[0] is not None

    @property
    def physical_scale(self) -> dict[str, float]:
        """Size of a pixel at full resolution by axis, in micrometers, or seconds for `t`.

        An axis without a unit is in these.

        Raises:
            ValueError: The unit of an axis is not known.
        """
        sizes = {}
        for axis in self.metadata["multiscales"][0]["axes"]:
            try:
                sizes[axis["name"]] = self.scale[axis["name"]] * unit_size(axis)
            except ValueError as error:
                raise ValueError(
                    f"{self.path} has the axis {axis['name']} in a unit that is not "
                    f"understood: {error}"
                ) from error
        return sizes

    @property
    def is_3d(self) -> bool:
        """Whether there is more than one z plane."""
        return dict(zip(self.axes, self.shape, strict=True)).get("z", 1) > 1

    @property
    def is_label(self) -> bool:
        """Whether the pixels are labels. Labels must never be averaged."""
        in_image = self.path.parent.name == "labels" and is_zarr(self.path.parents[1])
        return in_image or "image-label" in self.metadata

    @property
    def channels(self) -> list[dict[str, Any]]:
        """Metadata of each channel; empty where there are none."""
        size = dict(zip(self.axes, self.shape, strict=True)).get("c", 1)
        return (self.metadata.get("omero") or {}).get("channels") or [{}] * size

    @property
    def channel_names(self) -> list[str]:
        """Name of each channel; with its position if it has none, or shares it."""
        return unique_names([channel.get("label") for channel in self.channels])

    def from_level(self, level: int) -> "Image":
        """This image with `level` as its first pyramid level.

        Raises:
            ValueError: There is no such level.
        """
        if not 0 <= level < len(self.levels):
            raise ValueError(
                f"level: {self.path} has the pyramid levels 0 to "
                f"{len(self.levels) - 1}, not {level}"
            )
        first, *others = self.metadata["multiscales"]
        datasets = [*first["datasets"][level:]]
        if level and coordinates(first, level)[0] is None:
            sizes = level_scale(
                first, [array.shape for array in self.levels[: level + 1]]
            )
            datasets[0] = datasets[0] | {
                "coordinateTransformations": [{"type": "scale", "scale": sizes}]
            }
        first = first | {"datasets": datasets}
        metadata = self.metadata | {"multiscales": [first, *others]}
        return replace(self, metadata=metadata, levels=self.levels[level:])

    @property
    def label_names(self) -> list[str]:
        """Names of the label images of this image."""
        folder = self.path / "labels"
        names = (
            ome_metadata(open_group(folder)).get("labels") if is_zarr(folder) else []
        )
        names = names or []
        if not isinstance(names, list) or not all(isinstance(n, str) for n in names):
            raise ValueError(f"{self.path}/labels lists {names!r}, and not names")
        return names

    def channel_index(self, channel: Channel | int, argument: str = "channel") -> int:
        """Position of `channel` on the channel axis.

        Args:
            channel: The channel, or its position.
            argument: Name of the task's argument, for the error message; of a `Channel`
                that is an argument of the running task, its name is known.

        Raises:
            ValueError: There is no such channel; the message lists those that exist.
        """
        n_channels = len(self.channels)
        if not isinstance(channel, Channel):
            if not 0 <= channel < n_channels:
                raise ValueError(
                    f"{argument}: {self.path} has {n_channels} channel"
                    f"{'s' if n_channels > 1 else ''}: give a position from 0 to "
                    f"{n_channels - 1}, or a list of them, not {channel}"
                )
            return channel
        if channel.mode == "index":
            known = [str(index) for index in range(n_channels)]
        elif channel.mode == "label":
            known = self.channel_names
        else:
            known = [str(entry.get("wavelength_id")) for entry in self.channels]
        if (n_fitting := known.count(channel.identifier)) != 1:
            remedy = "choose one by mode index and its position, from 0"
            remedy = remedy if n_fitting else suggest(channel.identifier, known)
            raise ValueError(
                f"{argument_name(channel, argument)}: {self.path} has "
                f"{n_fitting or 'no'} channel{'s' * bool(n_fitting)} with the {channel.mode} "
                f"{channel.identifier!r}; {remedy}"
            )
        return known.index(channel.identifier)

    def read(
        self,
        region: Region | None = None,
        channel: Channels | None = None,
        level: int = 0,
    ) -> Array:
        """Pixels of a region.

        Args:
            region: One slice per axis, without the channel axis if `channel` is given; by
                default the whole image.
            channel: Channel to read, for images with or without a channel axis. Of a list
                of them, the channels come in front of all other axes. By default all, in
                their place.
            level: Pyramid level; 0 is full resolution.

        Raises:
            ValueError: There is no such channel, or a chunk is damaged.
        """
        if isinstance(channel, Sequence):
            return np.stack([self.read(region, item, level) for item in channel])
        has_c = "c" in self.axes
        if region is None:
            region = (slice(None),) * (len(self.axes) - (has_c and channel is not None))
        index: list[slice | int] = list(region)
        if channel is not None:
            position = self.channel_index(channel)
            if has_c:
                index.insert(self.axes.index("c"), position)
        try:
            return read_voxels(self.levels[level], tuple(index))
        except (EOFError, OSError, RuntimeError, ValueError, zlib.error) as error:
            raise ValueError(f"{self.path} cannot be read: {error}") from error


def unique_names(names: Sequence[Any]) -> list[str]:
    """Names as unique texts.

    One that is empty, or that several have, gets its position, so that it is not the name
    of another: of `DAPI, DAPI, DAPI1`, the second one becomes `DAPI_1`.
    """
    texts = ["" if name is None else str(name) for name in names]
    taken = {*texts, ""}
    unique = []
    for index, text in enumerate(texts):
        new = text
        if not text or texts.count(text) > 1:
            new = f"{text}{index}"
            while new in taken:
                new = f"{text}_{new.removeprefix(text)}"
            taken.add(new)
        unique.append(new)
    return unique


def channels_to_read(image: Image, channel: Channels | None) -> int | list[int]:
    """Resolve the `channel` argument; None is the only channel of the image.

    Raises:
        ValueError: There are several channels and none is named, or one is not there.
    """
    if channel is None and len(image.channels) > 1:
        raise ValueError(
            f"channel: {image.path} has {len(image.channels)} channels: give the position "
            "of one, or a list such as [0, 1], and the function sees these in front of the "
            "other axes"
        )
    if not isinstance(channel, Sequence):
        return image.channel_index(0 if channel is None else channel)
    if not channel:
        raise ValueError("channel: the list is empty; name at least one channel")
    return [image.channel_index(item) for item in channel]


def open_image(
    path: Path | str, argument: str = "zarr_url", mode: Literal["r", "r+"] = "r"
) -> Image:
    """Open an OME-Zarr image.

    Args:
        path: Folder of the image.
        argument: Name of the task's argument, for the error messages.
        mode: `r+` allows to write into its arrays.

    Raises:
        FileNotFoundError: There is nothing at `path`.
        ValueError: It is no image of NGFF 0.4 or 0.5.
    """
    path, group = find_group(path, argument, mode)
    metadata = ome_metadata(group)
    for kind in ("plate", "well"):
        if kind in metadata:
            raise ValueError(f"{argument}: {path} is a {kind}, not one of its images")
    try:
        if metadata["multiscales"] == []:
            raise ValueError("its multiscales are empty: list its pyramid there")
        check_version(group, metadata["multiscales"][0])
        levels: list[Any] = []
        folders = []
        for dataset in metadata["multiscales"][0]["datasets"]:
            folders.append(inside(path, dataset["path"], argument=argument))
            if folders[-1] in folders[:-1]:
                raise ValueError(
                    f"datasets: the pyramid level {dataset['path']} is listed twice: remove "
                    "one of the entries"
                )
            levels.append(group[dataset["path"]])
            if not isinstance(levels[-1], zarr.Array):
                raise ValueError(f"the pyramid level {dataset['path']} is no array")
        check_levels(levels, folders)
        check_multiscale(metadata, levels)
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        reason = f"no {error}" if isinstance(error, KeyError) else error
        raise ValueError(f"{argument}: {path} is not an image: {reason}") from error
    return Image(path, group, metadata, levels)


def image_to_write(image: Image | str) -> Image:
    """Open an image into which, or beside which, something is going to be written.

    Args:
        image: The image, or its `zarr_url`.
    """
    return image if isinstance(image, Image) else open_image(image, mode="r+")


def open_label(image: Image, name: str, argument: str = "label_name") -> Image:
    """Open a label image of an image; its pixel sizes are in the units of the image.

    Raises:
        ValueError: There is no such label, the message lists those that exist; or it does
            not lie where the image does.
    """
    if name not in image.label_names:
        raise ValueError(
            f"{argument}: no label {name!r} in {image.path}; "
            f"{suggest(name, image.label_names)}"
        )
    path = inside(image.path, "labels", name, argument=argument)
    label = open_image(path, argument)
    try:
        _check_place(label, image)
    except (AttributeError, TypeError, ValueError) as error:
        raise ValueError(
            f"{argument}: {path} is no label of {image.path}: {error}"
        ) from error
    return _in_units_of(label, image)


def _in_units_of(label: Image, image: Image) -> Image:
    """A label image with its pixel sizes in the units of its image, which fit."""
    multiscale, *others = label.metadata["multiscales"]
    units = {axis["name"]: axis for axis in image.metadata["multiscales"][0]["axes"]}
    axes = [axis | units.get(axis["name"], {}) for axis in multiscale["axes"]]
    factors = [
        unit_size(old) / unit_size(new)
        if old.get("unit") not in (None, "", new.get("unit"))
        else 1.0
        for old, new in zip(multiscale["axes"], axes, strict=True)
    ]
    if all(factor == 1 for factor in factors):
        return label
    moves = [*(multiscale.get("coordinateTransformations") or [])]
    moves.append({"type": "scale", "scale": factors})
    multiscale |= {"axes": axes, "coordinateTransformations": moves}
    return replace(
        label, metadata=label.metadata | {"multiscales": [multiscale, *others]}
    )


def _check_place(label: Image, image: Image) -> None:
    """Compare the positions of the pixels of a label and of its image.

    Raises:
        ValueError: They do not agree.
    """
    source = label.metadata.get("image-label", {}).get("source") or {}
    named = source.get("image")
    if named and os.path.normpath(label.path / named) != os.path.normpath(image.path):
        raise ValueError(
            f"{label.path} says that it is a label of {named}, "
            f"but it lies in {image.path}: correct its image-label.source"
        )
    for axis in filter(image.axes.__contains__, label.axes.replace("c", "")):
        (n, size, start), (m, width, first) = _extents(label, image, axis)
        if n == 1 < m and axis in "tz":  # of a projection: it has no extent here
            continue
        if not same_extent((n, size), (m, width)):
            raise ValueError(
                f"{label.path} has the extent {n} along {axis}, in pixels of {size:g}, and "
                f"{image.path} has {m}, in pixels of {width:g}: correct the "
                "coordinateTransformations of one of them"
            )
        if abs(start - first) > max(size, width):  # nor is NaN
            raise ValueError(
                f"{label.path} begins at {start:g} along {axis}, and "
                f"{image.path} at {first:g}: correct the coordinateTransformations of one "
                "of them"
            )


def _extents(one: Image, other: Image, axis: str) -> list[tuple[int, float, float]]:
    """Number, size and origin of the pixels of two images along an axis.

    They are in one unit: that which only one of them says is that of the other. If `one`
    does not say where it begins, this is NaN; `other` then begins at 0.
    """
    extents = []
    units = []
    for image, unsaid in ((one, math.nan), (other, 0.0)):
        multiscale, place = image.metadata["multiscales"][0], image.axes.index(axis)
        _, starts = coordinates(multiscale)
        start = starts[place] if starts else unsaid
        extents.append((image.shape[place], image.scale[axis], start))
        units.append(multiscale["axes"][place])
    if len({str(unit.get("unit") or "") for unit in units} - {""}) < 2:
        return extents
    sizes = map(unit_size, units)
    return [
        (n, width * size, start * size)
        for (n, width, start), size in zip(extents, sizes, strict=True)
    ]


def level_like(image: Image, like: Image, argument: str = "label_name") -> Image:
    """An image from the pyramid level that has the shape of another image.

    Args:
        image: Image or label image.
        like: Image with the same axes; channels do not count.
        argument: Name of the task's argument, for the error messages.

    Raises:
        ValueError: No level has that shape, or a label image has several channels.
    """
    for label in filter(lambda one: one.is_label, (image, like)):
        if len(label.channels) > 1:
            raise ValueError(
                f"{argument}: {label.path} has {len(label.channels)} channels, and a label "
                "image that is used with another image has one"
            )
    wanted = _without_channels(like)
    for level in range(len(image.levels)):
        if _without_channels(image, level) == wanted:
            return image.from_level(level)
    raise ValueError(
        f"{argument}: no pyramid level of {image.path} ({image.axes}, {image.shape}) "
        f"has the shape of {like.path} ({like.axes}, {like.shape})"
    )


def _without_channels(image: Image, level: int = 0) -> dict[str, int]:
    """Number of pixels of a level by axis, without the channels."""
    sizes = dict(zip(image.axes, image.levels[level].shape, strict=True))
    sizes.pop("c", None)
    return sizes
