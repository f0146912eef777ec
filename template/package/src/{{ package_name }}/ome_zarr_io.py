"""Open, derive and create OME-Zarr images, label images and plates (NGFF 0.4 and 0.5).

- `open_image`, `open_label`: an `Image` with its pyramid levels, axes, scale, channels.
- `derive_image`, `derive_label`, `create_image`, `create_plate`, `write_feature_table`:
  something new, which appears under its name complete or not at all.

Paths are absolute paths of a file system. Importing `ome_zarr` takes a second, which
every unit of a task would pay for: only what makes new metadata imports it.
"""

import csv
import ctypes
import glob
import hashlib
import json
import math
import os
import secrets
import shutil
import sys
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import zarr
from numpy.typing import DTypeLike, NDArray
from pydantic import BaseModel, ConfigDict
from zarr.codecs import BloscCodec

Array = NDArray[Any]
Region = tuple[slice, ...]
NgffVersion = Literal["0.4", "0.5"]

LOCK_EXPIRES = 10.0  # seconds; a lock is held for milliseconds
OVERWRITTEN_BY = "overwritten_by"  # attribute of an image that replaced its input


class Channel(BaseModel):
    """Which channel of an image to use."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    mode: Literal["index", "label", "wavelength_id"] = "index"
    """Whether the identifier is a position, a channel name or a wavelength ID."""

    identifier: str = "0"
    """Position (counted from 0), name (such as DAPI) or wavelength ID."""


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
        multiscale = self.metadata["multiscales"][0]
        scale = np.ones(len(self.axes))
        for holder in (multiscale["datasets"][0], multiscale):
            for transformation in holder.get("coordinateTransformations", []):
                scale *= transformation.get("scale", 1.0)
        return dict(zip(self.axes, scale.tolist(), strict=True))

    @property
    def is_3d(self) -> bool:
        """Whether there is more than one z plane."""
        return dict(zip(self.axes, self.shape, strict=True)).get("z", 1) > 1

    @property
    def is_label(self) -> bool:
        """Whether the pixels are labels, which must never be averaged."""
        return "image-label" in self.metadata

    @property
    def channels(self) -> list[dict[str, Any]]:
        """Metadata of each channel; empty where there are none."""
        size = dict(zip(self.axes, self.shape, strict=True)).get("c", 1)
        channels = (self.metadata.get("omero") or {}).get("channels") or []
        return [*channels, *([{}] * size)][:size]

    @property
    def channel_names(self) -> list[str]:
        """Name of each channel; with its position if it has none, or shares it."""
        names = [str(channel.get("label") or "") for channel in self.channels]
        return [
            name if name and names.count(name) == 1 else f"{name}{index}"
            for index, name in enumerate(names)
        ]

    @property
    def label_names(self) -> list[str]:
        """Names of the label images of this image."""
        if "labels" not in self.group:
            return []
        return list(ome_metadata(self.group["labels"]).get("labels", []))

    def channel_index(self, channel: Channel) -> int:
        """Position of `channel` on the channel axis.

        Raises:
            ValueError: There is no such channel; the message lists those that exist.
        """
        names = self.channel_names
        if channel.mode == "index":
            known = [str(index) for index in range(len(names))]
        elif channel.mode == "label":
            known = names
        else:
            known = [str(entry.get("wavelength_id")) for entry in self.channels]
        if known.count(channel.identifier) != 1:
            raise ValueError(
                f"channel: {channel.mode} {channel.identifier!r} fits "
                f"{known.count(channel.identifier)} channels of {self.path}; "
                f"there are: {', '.join(known) or 'none'}"
            )
        return known.index(channel.identifier)

    def read(self, region: Region, channel: int | None = None) -> Array:
        """Pixels at full resolution.

        Args:
            region: One slice per axis; without the channel axis if `channel` is given.
            channel: Position on the channel axis, for images with or without that axis.
        """
        index: list[slice | int] = list(region)
        if channel is not None and "c" in self.axes:
            index.insert(self.axes.index("c"), channel)
        return np.asarray(self.levels[0][tuple(index)])


# --- open ---


def ome_metadata(group: Any) -> dict[str, Any]:
    """OME metadata of a Zarr group, wherever its NGFF version keeps them."""
    attributes = group.attrs.asdict()
    return dict(attributes.get("ome", attributes))


def group_version(group: zarr.Group) -> NgffVersion:
    """NGFF version of an image, well or plate: 0.4 is stored as Zarr 2, 0.5 as Zarr 3."""
    return "0.4" if group.metadata.zarr_format == 2 else "0.5"


def open_group(
    path: Path | str, argument: str = "zarr_url", mode: Literal["r", "r+"] = "r"
) -> zarr.Group:
    """Open the Zarr group of an image, well or plate.

    Raises:
        FileNotFoundError: There is nothing at `path`.
        ValueError: There is something, but no Zarr group.
    """
    path = Path(path)
    _repair(path)
    if not path.exists():
        raise FileNotFoundError(f"{argument}: there is nothing at {path}")
    try:
        # Consolidated metadata would hide labels that were added after it was written.
        return zarr.open_group(path, mode=mode, use_consolidated=False)
    except (FileNotFoundError, NotADirectoryError, ValueError) as error:
        raise ValueError(f"{argument}: {path} is not an OME-Zarr image") from error


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
    path = Path(path)
    group = open_group(path, argument, mode)
    metadata = ome_metadata(group)
    for kind in ("plate", "well"):
        if kind in metadata:
            raise ValueError(f"{argument}: {path} is a {kind}, not one of its images")
    try:
        (multiscale, *_) = metadata["multiscales"]
        version = str(metadata.get("version", multiscale.get("version", "0.4")))
        if version not in ("0.4", "0.5"):
            raise ValueError(f"NGFF {version}; allowed are 0.4 and 0.5")
        levels: list[Any] = [
            group[dataset["path"]] for dataset in multiscale["datasets"]
        ]
        image = Image(path, group, metadata, levels)
        if not all(isinstance(level, zarr.Array) for level in levels):
            raise ValueError("a pyramid level is no array")
        if image.axes not in _ALLOWED_AXES or len(image.axes) != levels[0].ndim:
            raise ValueError(f"axes {image.axes!r} of an array of {levels[0].ndim}")
        _ = image.scale
    except (KeyError, TypeError, ValueError) as error:
        reason = f"no {error}" if isinstance(error, KeyError) else error
        raise ValueError(f"{argument}: {path} is not an image: {reason}") from error
    return image


_ALLOWED_AXES = {
    f"{t}{c}{z}yx" for t in ("", "t") for c in ("", "c") for z in ("", "z")
}


def open_label(image: Image, name: str, argument: str = "label_name") -> Image:
    """Open a label image of an image.

    Raises:
        ValueError: There is no such label; the message lists those that exist.
    """
    if name not in image.label_names:
        raise ValueError(
            f"{argument}: no label {name!r} in {image.path}; "
            f"there are: {', '.join(image.label_names) or 'none'}"
        )
    return open_image(image.path / "labels" / name, argument)


def plate_position(path: Path | str) -> dict[str, Any]:
    """Plate, well and acquisition of an image, by Fractal's names for these attributes.

    Args:
        path: Folder of the image, such as `plate.zarr/A/01/0`.

    Returns:
        Empty for an image that no well lists.
    """
    path = Path(path)
    try:
        images = ome_metadata(open_group(path.parent))["well"]["images"]
        _ = ome_metadata(open_group(path.parents[2]))["plate"]
    except (FileNotFoundError, IndexError, KeyError, ValueError):
        return {}
    row, column = path.parts[-3:-1]
    for image in images:
        if image["path"] == path.name:
            plate = path.parents[2].name
            acquisition = image.get("acquisition", 0)
            return {"plate": plate, "well": row + column, "acquisition": acquisition}
    return {}


def plate_images(path: Path, argument: str = "zarr_url") -> list[Path]:
    """Folders of all images of a plate, in the order of its wells.

    Raises:
        ValueError: It is no plate, or lacks a well.
    """
    try:
        return [
            path / well["path"] / image["path"]
            for well in ome_metadata(open_group(path))["plate"]["wells"]
            for image in ome_metadata(open_group(path / well["path"]))["well"]["images"]
        ]
    except (FileNotFoundError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{argument}: {path} is no whole plate: {error}") from error


def sibling_path(image: Image, suffix: str) -> Path:
    """Where to write an image that is derived from `image`.

    Args:
        image: `plate.zarr/A/01/0` gives `plate.zarr/A/01/0blurred`, since NGFF allows
            only letters and digits there; `cells.zarr` gives `cells_blurred.zarr`.
        suffix: Letters and digits.
    """
    if not (suffix.isascii() and suffix.isalnum()):
        raise ValueError(f"suffix: {suffix!r}; allowed are letters and digits")
    if plate_position(image.path):
        return image.path.with_name(f"{image.path.name}{suffix}")
    extension = ".ome.zarr" if image.path.match("*.ome.zarr") else image.path.suffix
    stem = image.path.name.removesuffix(extension)
    return image.path.with_name(f"{stem}_{suffix}{extension}")


# --- write ---


@contextmanager
def derive_image(
    image: Image,
    path: Path,
    *,
    overwrite: bool = False,
    step: Mapping[str, Any] | None = None,
) -> Iterator[Image]:
    """Make an image with the axes, scale, channels, chunks and codecs of another one.

    Fill it with `map_blocks` inside the `with`: at its end the image appears at `path`
    and, if it lies in a well, in the list of the well. With an error, nothing changes.

    Args:
        image: The image to derive from.
        path: Folder of the new image; may be that of `image`, which is then replaced.
            Nothing else may write into it at that time.
        overwrite: Whether to replace the pixels of an image that exists at `path`. Its
            labels and tables are kept.
        step: Given by a task that overwrites `image`; see `is_overwritten`.

    Raises:
        FileExistsError: There is something at `path`, and `overwrite` is false.
        RuntimeError: Another task has begun to write it, or has just overwritten it.
    """
    in_place = path.resolve() == image.path.resolve()
    attributes = deepcopy(image.group.attrs.asdict())

    def finish(partial: Path) -> None:
        if in_place and step is not None:
            derived = open_image(partial, mode="r+")
            done = {"step": dict(step), "checksum": checksum(derived)}
            derived.group.update_attributes({OVERWRITTEN_BY: done})
        _keep_children(path, partial)

    def register() -> None:
        _register_in_well(path, image.path.name)

    with _published(
        path,
        overwrite=overwrite,
        finish=finish,
        register=None if in_place else register,
    ) as partial:
        # From here on no other task can publish; one may have, since `image` was opened.
        if in_place and open_group(path).attrs.asdict() != attributes:
            raise RuntimeError(f"another task has overwritten {path}")
        attributes.pop(OVERWRITTEN_BY, None)
        group = zarr.create_group(
            partial,
            zarr_format=image.group.metadata.zarr_format,
            attributes=attributes,
        )
        datasets = image.metadata["multiscales"][0]["datasets"]
        for dataset, level in zip(datasets, image.levels, strict=True):
            zarr.from_array(
                group.store, data=level, write_data=False, name=dataset["path"]
            )
        yield open_image(partial, mode="r+")


def is_overwritten(image: Image, step: Mapping[str, Any] | None) -> bool:
    """Whether the pixels are what this very step made of them; clean up if they are.

    A task that overwrites its input asks this before it does. Fractal runs a unit again
    if it was killed before it could answer, or if its job failed elsewhere: the step
    must not be applied to its own result, and what was left beside it is removed. Only
    the last step that has overwritten the image is known.

    Args:
        image: The image to overwrite.
        step: Name of the task, and all that the result depends on, in types that JSON
            has. None for a task that does not overwrite `image`.
    """
    if step is None:
        return False
    done: Any = image.group.attrs.asdict().get(OVERWRITTEN_BY)
    step = json.loads(json.dumps(step, allow_nan=False))
    if not isinstance(done, dict) or done.get("step") != step:
        return False
    if done.get("checksum") != checksum(image):
        return False
    _remove_partial(image.path.resolve())
    return True


def checksum(image: Image) -> str:
    """Checksum of all chunks at full resolution, as they are stored."""
    total = hashlib.sha256()
    folder = image.path / image.levels[0].path
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.name[0] != "." and path.name != "zarr.json":
            total.update(path.relative_to(folder).as_posix().encode())
            with path.open("rb") as file:
                total.update(hashlib.file_digest(file, "sha256").digest())
    return total.hexdigest()


@contextmanager
def derive_label(
    image: Image, name: str, *, overwrite: bool = False
) -> Iterator[Image]:
    """Make a label image (uint32) with the levels of an image and no channel axis.

    Fill it with `map_blocks` or `label_blocks` inside the `with`: at its end the label
    appears in the image and in its list of labels.

    Raises:
        ValueError: `name` cannot be the name of a folder.
        FileExistsError: The label exists, and `overwrite` is false.
    """
    check_name(name, "label_name")
    kept = [dim for dim, axis in enumerate(image.axes) if axis != "c"]
    multiscale = deepcopy(image.metadata["multiscales"][0]) | {"name": name}
    multiscale["axes"] = [multiscale["axes"][dim] for dim in kept]
    for holder in (*multiscale["datasets"], multiscale):
        for transformation in holder.get("coordinateTransformations", []):
            for key in {"scale", "translation"} & transformation.keys():
                transformation[key] = [transformation[key][dim] for dim in kept]
    metadata = {
        "multiscales": [multiscale],
        "image-label": {"version": image.version, "source": {"image": "../../"}},
    }
    with _published(
        image.path / "labels" / name,
        overwrite=overwrite,
        argument="label_name",
        register=lambda: _register(image.path, "labels", name),
    ) as partial:
        group = _new_group(partial, image.version, metadata)
        for dataset, level in zip(multiscale["datasets"], image.levels, strict=True):
            shards = level.shards and [level.shards[dim] for dim in kept]
            _new_array(
                group,
                dataset["path"],
                shape=[level.shape[dim] for dim in kept],
                chunks=[level.chunks[dim] for dim in kept],
                shards=shards,
                dtype=np.uint32,
                axes=[axis["name"] for axis in multiscale["axes"]],
            )
        yield open_image(partial, mode="r+")


@contextmanager
def create_image(
    path: Path,
    *,
    shape: Sequence[int],
    axes: str,
    dtype: DTypeLike,
    scale: Mapping[str, float],
    channels: Sequence[str],
    version: NgffVersion = "0.4",
    chunk_yx: int = 2048,
    overwrite: bool = False,
) -> Iterator[Image]:
    """Make a new image, with a pyramid by factors of two in y and x.

    Args:
        path: Folder of the new image.
        shape: Shape at full resolution.
        axes: Axes in order, such as `czyx`.
        dtype: Data type of the pixels.
        scale: Size of a pixel by axis: micrometers, seconds for `t`. Axes left out: 1.
        channels: Name of each channel.
        version: NGFF version.
        chunk_yx: Size of a chunk in y and x; a chunk has one plane.
        overwrite: Whether to replace the pixels of an image that exists at `path`.

    Raises:
        FileExistsError: There is something at `path`, and `overwrite` is false.
    """
    from ome_zarr.format import format_from_version
    from ome_zarr.writer import write_multiscales_metadata

    if overwrite and path.exists():
        open_image(path, "overwrite")
    shapes = [tuple(shape)]
    while max(shapes[-1][-2:]) > 256:
        *other, y, x = shapes[-1]
        shapes.append((*other, math.ceil(y / 2), math.ceil(x / 2)))
    datasets = [
        {
            "path": str(level),
            "coordinateTransformations": [
                {
                    "type": "scale",
                    "scale": [
                        scale.get(axis, 1.0) * (2.0**level if axis in "yx" else 1.0)
                        for axis in axes
                    ],
                }
            ],
        }
        for level in range(len(shapes))
    ]
    units = {
        axis: "second" if axis == "t" else "micrometer" for axis in axes if axis != "c"
    }

    def finish(partial: Path) -> None:
        _write_channels(open_image(partial, mode="r+"), channels)
        _keep_children(path, partial)

    with _published(path, overwrite=overwrite, finish=finish) as partial:
        group = _new_group(partial, version, {})
        write_multiscales_metadata(
            group,
            datasets,
            fmt=format_from_version(version),
            axes=list(axes),
            axes_units=units,
            name=path.name,
        )
        for level, level_shape in enumerate(shapes):
            chunks = [1] * (len(axes) - 2) + [
                min(chunk_yx, n) for n in level_shape[-2:]
            ]
            _new_array(
                group,
                str(level),
                shape=level_shape,
                chunks=chunks,
                dtype=dtype,
                axes=axes,
            )
        yield open_image(partial, mode="r+")


def create_plate(
    path: Path,
    wells: Mapping[tuple[str, str], Mapping[str, int]],
    *,
    version: NgffVersion = "0.4",
    overwrite: bool = False,
) -> None:
    """Write the metadata of a plate and of all its wells; the images are written later.

    Args:
        path: Folder of the plate.
        wells: Acquisition of each image by its name, by row and column.
        version: NGFF version.
        overwrite: Whether to replace a plate that exists at `path`, images included.

    Raises:
        FileExistsError: There is something at `path`, and `overwrite` is false.
    """
    from ome_zarr.format import format_from_version
    from ome_zarr.writer import write_plate_metadata, write_well_metadata

    fmt = format_from_version(version)
    acquisitions = [list(images.values()) for images in wells.values()]
    with _published(path, argument="plate_name", overwrite=overwrite) as partial:
        write_plate_metadata(
            _new_group(partial, version, {}),
            rows=sorted({row for row, _ in wells}),
            columns=sorted({column for _, column in wells}),
            wells=[f"{row}/{column}" for row, column in sorted(wells)],
            acquisitions=[
                {"id": n} for n in sorted({n for well in acquisitions for n in well})
            ],
            field_count=max(
                well.count(number) for well in acquisitions for number in well
            ),
            name=path.name.removesuffix(".zarr"),
            fmt=fmt,
        )
        for (row, column), images in wells.items():
            for folder in (partial / row, partial / row / column):
                if not folder.exists():
                    _new_group(folder, version, {})
            write_well_metadata(
                zarr.open_group(folder, mode="r+"),
                [{"path": name, "acquisition": n} for name, n in images.items()],
                fmt=fmt,
            )


def write_feature_table(
    image: Image,
    name: str,
    columns: Mapping[str, Sequence[Any] | Array],
    *,
    label_name: str,
    overwrite: bool = False,
) -> None:
    """Write features of labels as a table, as specified by ngio (backend CSV).

    Args:
        image: Image that has the label.
        name: Name of the table.
        columns: Values by name of the column; the column `label` has the label numbers.
        label_name: Name of the label image that was measured.
        overwrite: Whether to replace a table of this name.

    Raises:
        ValueError: `name` cannot be the name of a folder.
        FileExistsError: The table exists, and `overwrite` is false.
    """
    check_name(name, "table_name")
    metadata = {
        "type": "feature_table",
        "table_version": "1",
        "backend": "csv",
        "region": {"path": f"../labels/{label_name}"},
        "instance_key": "label",
        "index_key": "label",
        "index_type": "int",
    }
    with _published(
        image.path / "tables" / name,
        overwrite=overwrite,
        argument="table_name",
        register=lambda: _register(image.path, "tables", name),
    ) as partial:
        zarr_format = image.group.metadata.zarr_format
        zarr.create_group(partial, zarr_format=zarr_format, attributes=metadata)
        with (partial / "table.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(columns)
            writer.writerows(zip(*columns.values(), strict=True))


def check_name(name: str, argument: str) -> None:
    """Refuse what cannot be the name of a folder, or would be hidden.

    Raises:
        ValueError: `name` cannot.
    """
    if not 0 < len(name) <= 200 or name[0] == "." or set(name) & set("/\\\0"):
        raise ValueError(f"{argument}: {name!r} cannot be the name of a folder")


def _new_group(
    path: Path, version: NgffVersion, metadata: dict[str, Any]
) -> zarr.Group:
    if version == "0.4":
        return zarr.create_group(path, zarr_format=2, attributes=metadata)
    ome = {"ome": {"version": version, **metadata}}
    return zarr.create_group(path, zarr_format=3, attributes=ome)


def _new_array(
    group: zarr.Group,
    name: str,
    *,
    shape: Sequence[int],
    chunks: Sequence[int],
    shards: Sequence[int] | None = None,
    dtype: DTypeLike,
    axes: Iterable[str],
) -> None:
    """Create an array as NGFF wants it: chunk keys with `/`, names of dimensions."""
    options: dict[str, Any] = {"chunks": tuple(chunks)}
    if group.metadata.zarr_format == 2:
        options["chunk_key_encoding"] = {"name": "v2", "separator": "/"}
        options["compressors"] = {"id": "blosc", "cname": "zstd", "clevel": 1}
    else:
        options["shards"] = shards and tuple(shards)
        options["dimension_names"] = list(axes)
        options["compressors"] = BloscCodec(cname="zstd", clevel=1)
    group.create_array(name, shape=tuple(shape), dtype=dtype, fill_value=0, **options)


def _write_channels(image: Image, names: Sequence[str]) -> None:
    """Write the names of the channels, with a display range that shows something."""
    from ome_zarr.format import format_from_version
    from ome_zarr.writer import add_metadata

    smallest = image.levels[-1]
    dtype = smallest.dtype
    limits = np.iinfo(dtype) if dtype.kind in "iu" else np.finfo(dtype)
    colors = ["00FFFF", "FF00FF", "FFFF00", "00FF00", "FF0000", "0000FF"]
    channels = []
    for index, name in enumerate(names):
        # One plane in the middle of the stack is enough.
        middle = {"c": index, "z": smallest.shape[image.axes.find("z")] // 2, "t": 0}
        plane = smallest[tuple(middle.get(axis, slice(None)) for axis in image.axes)]
        finite = np.asarray(plane)[np.isfinite(plane)]
        start, end = np.percentile(finite, [1, 99.9]) if finite.size else (0, 1)
        window = {
            "min": float(limits.min),
            "max": float(limits.max),
            "start": float(start),
            "end": max(float(end), float(start) + 1.0),
        }
        color = colors[index % len(colors)] if len(names) > 1 else "FFFFFF"
        channels.append(
            {"label": name, "color": color, "active": True, "window": window}
        )
    group = zarr.open_group(image.path, mode="r+")
    add_metadata(
        group, {"omero": {"channels": channels}}, format_from_version(image.version)
    )


# --- publish ---


@contextmanager
def _published(
    path: Path,
    *,
    overwrite: bool,
    argument: str = "overwrite",
    finish: Callable[[Path], None] | None = None,
    register: Callable[[], None] | None = None,
) -> Iterator[Path]:
    """Give a hidden folder beside `path`; without an error, it becomes `path`.

    Args:
        path: Folder to make.
        overwrite: Whether to replace an OME-Zarr that exists.
        argument: Name of the task's argument, for the error message.
        finish: Called with the hidden folder before it becomes `path`.
        register: Called at the end, to make `path` known to those who look for it.
    """
    path = path.resolve()
    _repair(path)
    # Names a folder that a task had made, and not yet registered, when it was killed.
    unfinished = path.with_name(f".{path.name}.unfinished")
    if path.exists():
        known = unfinished.read_text() if unfinished.exists() else ""
        if not overwrite and known != str(path.stat().st_ino):
            raise FileExistsError(
                f"{argument}: {path} exists; set overwrite, or choose another name"
            )
        if not _is_zarr(path):
            raise ValueError(f"{argument}: {path} is no OME-Zarr, it is not replaced")
    _remove_partial(path)
    partial = _partial(path)
    partial.mkdir(parents=True)
    # Another task that begins to write `path` takes this folder away. If this one writes
    # on, it makes the folder anew, but not this file.
    mine = partial / ".mine"
    mine.touch()
    try:
        yield partial
        if finish is not None and mine.exists():
            finish(partial)
        if not mine.exists():
            raise RuntimeError(f"another task is writing {path}")
        mine.unlink()
        if register is None:
            _replace(path, partial)
        else:
            unfinished.write_text(str(partial.stat().st_ino))
            _replace(path, partial)
            register()
        unfinished.unlink(missing_ok=True)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _partial(path: Path) -> Path:
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial")


def _remove_partial(path: Path) -> None:
    """Remove what killed tasks were making, or had replaced."""
    for killed in path.parent.glob(f".{glob.escape(path.name)}.{'?' * 8}.partial"):
        # Renamed first: a task that is still alive can no longer publish it.
        removed = _partial(path)
        with suppress(OSError):
            killed.rename(removed)
            shutil.rmtree(removed, ignore_errors=True)


def _is_zarr(path: Path) -> bool:
    return any((path / name).exists() for name in (".zgroup", "zarr.json"))


def _replace(path: Path, new: Path) -> None:
    """Put `new` in the place of `path`, in one step where the file system can."""
    if not path.exists():
        new.rename(path)
    elif not _exchange(path, new):
        # On NFS, for example; `_repair` does what is left after a kill.
        old = path.with_name(f".{path.name}.old")
        path.rename(old)
        try:
            new.rename(path)
        except OSError:
            old.rename(path)
            raise
        old.rename(new)


def _repair(path: Path) -> None:
    """Undo, or finish, what a task that was killed in `_replace` has left."""
    path = path.resolve()
    old = path.with_name(f".{path.name}.old")
    if not old.exists():
        return
    time.sleep(1.0)  # unless that task is still at it
    with suppress(OSError):
        if path.exists():
            shutil.rmtree(old)
        else:
            old.rename(path)


def _exchange(one: Path, other: Path) -> bool:
    """Exchange two folders in one step; only Linux and local file systems can."""
    if sys.platform != "linux":
        return False
    at_cwd, rename_exchange = -100, 2  # constants of Linux
    renameat2 = getattr(ctypes.CDLL(None), "renameat2", None)
    paths = (at_cwd, os.fsencode(one), at_cwd, os.fsencode(other))
    return renameat2 is not None and renameat2(*paths, rename_exchange) == 0


def _keep_children(path: Path, partial: Path) -> None:
    """Link into `partial` what lies in the image at `path` beside its pyramid."""
    if not path.exists():
        return

    def link(source: str, target: str) -> None:
        try:
            os.link(source, target)
        except OSError:  # no hard links on this file system
            shutil.copy2(source, target)

    replaced = {level.name.split("/")[1] for level in open_image(path).levels}
    replaced |= {".zattrs", ".zgroup", ".zmetadata", "zarr.json"}
    others = shutil.ignore_patterns(".*.partial", ".*.unfinished")  # being written
    for child in path.iterdir():
        target = partial / child.name
        if child.name in replaced or target.exists():
            continue
        if child.is_dir():
            shutil.copytree(child, target, copy_function=link, ignore=others)
        else:
            link(str(child), str(target))


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Wait for the other writers of `path`, also on other nodes.

    Making a folder is atomic on network file systems too, where file locks may not be.
    """
    path = path.resolve()
    lock = path.with_name(f".{path.name}.lock")
    made, since = 0, 0.0
    while True:
        try:
            lock.mkdir()
            break
        except FileExistsError:
            with suppress(FileNotFoundError):
                if lock.stat().st_mtime_ns != made:  # another holder
                    made, since = lock.stat().st_mtime_ns, time.monotonic()
                elif time.monotonic() - since > LOCK_EXPIRES:
                    lock.rmdir()  # its holder was killed
            time.sleep(0.02)
    try:
        yield
    finally:
        with suppress(FileNotFoundError):
            lock.rmdir()


def _register(image_path: Path, kind: Literal["labels", "tables"], name: str) -> None:
    """Add a label or table to the list in its image, unless it is there."""
    with _locked(image_path):
        image = zarr.open_group(image_path, mode="r+", use_consolidated=False)
        group = image.require_group(kind)
        attributes: dict[str, Any] = group.attrs.asdict()
        # NGFF 0.5 keeps its own metadata under "ome"; tables are not part of NGFF.
        in_ome = kind == "labels" and group.metadata.zarr_format == 3
        holder = (
            attributes.setdefault("ome", {"version": "0.5"}) if in_ome else attributes
        )
        names = holder.setdefault(kind, [])
        if name not in names:
            names.append(name)
            group.update_attributes(attributes)
        if zarr.open_group(image_path, mode="r").metadata.consolidated_metadata:
            with warnings.catch_warnings(action="ignore"):  # not yet standard in Zarr 3
                zarr.consolidate_metadata(image_path)


def _register_in_well(path: Path, origin: str) -> None:
    """Add an image to the list in its well, with the acquisition of `origin`."""
    if not plate_position(path.with_name(origin)):
        return
    with _locked(path.parent):
        group = open_group(path.parent, mode="r+")
        attributes: dict[str, Any] = group.attrs.asdict()
        images = attributes.get("ome", attributes)["well"]["images"]
        entries = {entry["path"]: entry for entry in images}
        if path.name not in entries:
            images.append(entries[origin] | {"path": path.name})
            group.update_attributes(attributes)
