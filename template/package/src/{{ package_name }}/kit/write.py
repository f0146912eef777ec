"""Create images and label images that are derived from another image.

What is made appears under its name complete or not at all; its pixels are written inside
the `with`.
"""

import math
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import DTypeLike

from .image import Image, open_image
from .intensity import display_window
from .multiscale import begin_like
from .ngff import (
    MADE_BY,
    add_to_image,
    add_to_well,
    drop_consolidated,
    new_array,
    new_group,
    ome_metadata,
    open_group,
)
from .provenance import Step, recorded
from .publish import check_name, is_zarr
from .tables import copy_roi_tables, roi_tables, table_names


def _channel(channels: list[dict[str, Any]], channel: int | str) -> dict[str, Any]:
    """One of the channels; or a new one of this name, in white."""
    if isinstance(channel, int):
        return channels[channel]
    names = dict.fromkeys(channels[0].keys() & {"label", "wavelength_id"}, channel)
    return channels[0] | names | {"color": "FFFFFF"}


@contextmanager
def derive_image(
    image: Image,
    path: Path,
    *,
    dtype: DTypeLike | None = None,
    sizes: Mapping[str, int] | None = None,
    channel: int | str | None = None,
    place: Image | None = None,
    overwrite: bool = False,
    made_by: Step | None = None,
) -> Iterator[Image]:
    """Create an image with the axes, scale, channels, chunks and codecs of another image.

    It gets the ROI and condition tables of that one, which tasks of others look for, but
    neither its labels nor their tables. Of another data type, or of one channel, what
    viewers show is found anew.

    Fill it with `map_blocks` inside the `with`: at its end the image appears at `path`
    and, if it lies in a well, in the list of the well; a label, in that of its image.
    With an error, nothing changes.

    Args:
        image: The image to derive from.
        path: Folder of the new image; may be that of `image`, which is then replaced.
            Nothing else may write into it at that time.
        dtype: Data type of the pixels, by default that of `image`.
        sizes: Number of pixels along axes that are shorter than those of `image`: with
            `{"z": 1}`, it has one plane. Regions in its tables then cover this axis.
        channel: Position of the channel whose name and colour the new image has, if it has
            one channel only; or the name of a new one. By default it has all of `image`.
        place: Image with whose pixels those of the new one coincide: it begins where that
            one does. By default where `image` does.
        overwrite: Whether to replace the pixels of an image that exists at `path`. Its
            labels and tables are kept.
        made_by: What the task does, to be written into the image; see `is_made`.

    Raises:
        FileExistsError: There is something at `path`, and `overwrite` is false.
        RuntimeError: Another task has begun to write it, or has just overwritten it.
        ValueError: `dtype` is no type of pixels.
    """
    if dtype is not None and np.dtype(dtype).kind not in "biuf":
        raise ValueError(f"dtype: {np.dtype(dtype)} is no type of pixels")
    in_place = path.resolve() == image.path.resolve()
    if not in_place:
        roi_tables(image)  # before the work
    attributes: dict[str, Any] = deepcopy(image.group.attrs.asdict())
    with recorded(path, made_by, overwrite=overwrite, argument="overwrite") as partial:
        # From here on no other task can publish; one may have, since `image` was opened.
        if in_place and open_group(path).attrs.asdict() != attributes:
            raise RuntimeError(f"zarr_url: another task has overwritten {path}")
        attributes.pop(MADE_BY, None)
        ome: Any = attributes.get("ome", attributes)
        del ome["multiscales"][1:]  # of other arrays, which the new image does not have
        if place:
            begin_like(ome["multiscales"][0], place.metadata["multiscales"][0])
        omero = ome.get("omero") or {}
        if channel is not None and omero.get("channels"):
            omero["channels"] = [_channel(omero["channels"], channel)]
        extents = dict(sizes or {}) | ({} if channel is None else {"c": 1})
        shown: Any = omero.get("rdefs")  # by viewers, at first
        for axis in extents if isinstance(shown, dict) else ():
            shown.pop(f"default{axis.upper()}", None)
        group = zarr.create_group(
            partial, zarr_format=image.group.metadata.zarr_format, attributes=attributes
        )
        datasets = image.metadata["multiscales"][0]["datasets"]
        for dataset, level in zip(datasets, image.levels, strict=True):
            shape = [
                math.ceil(extents.get(axis, full) * n / full)
                for axis, full, n in zip(
                    image.axes, image.shape, level.shape, strict=True
                )
            ]
            name, kind = dataset["path"], np.dtype(dtype or level.dtype)
            if kind == level.dtype and tuple(shape) == level.shape:
                _copy_metadata(image, group, name, partial)
            else:
                _array_like(level, group, name, kind, shape)
        derived = open_image(partial, mode="r+")
        yield derived
        if derived.levels[0].dtype != image.levels[0].dtype or channel is not None:
            _renew_windows(derived)
        keep_children(path, partial)
        if not in_place:
            copy_roi_tables(image, partial, sizes or {})
    if in_place:
        drop_consolidated(path)
    elif path.parent.name == "labels" and is_zarr(path.parents[1]):
        add_to_image(path)
    else:
        add_to_well(path, image.path.name)


def _renew_windows(image: Image) -> None:
    """Write a new display range for each channel that had one."""
    attributes: dict[str, Any] = deepcopy(image.group.attrs.asdict())
    omero = attributes.get("ome", attributes).get("omero") or {}
    for index, channel in enumerate(omero.get("channels", [])[: len(image.channels)]):
        if "window" in channel:
            channel["window"] = display_window(image, index)
    image.group.update_attributes(attributes)


def _copy_metadata(image: Image, group: zarr.Group, name: str, folder: Path) -> None:
    """Create an array like one of an image, in a tenth of the time that zarr takes."""
    if holder := name.rpartition("/")[0]:
        group.require_group(holder)
    (folder / name).mkdir()
    is_zarr3 = group.metadata.zarr_format == 3
    for file in ["zarr.json"] if is_zarr3 else [".zarray", ".zattrs"]:
        with suppress(FileNotFoundError):
            shutil.copyfile(image.path / name / file, folder / name / file)


def _array_like(
    level: "zarr.Array[Any]",
    group: zarr.Group,
    name: str,
    dtype: DTypeLike,
    shape: Sequence[int],
) -> None:
    """Create an array like another one, with another data type and shape."""
    options: dict[str, Any] = {"chunk_key_encoding": {"name": "v2", "separator": "/"}}
    options["attributes"] = level.attrs.asdict()
    if level.metadata.zarr_format == 3:
        options["chunk_key_encoding"] = level.metadata.chunk_key_encoding
        options["dimension_names"] = level.metadata.dimension_names
    chunks = tuple(min(pair) for pair in zip(level.chunks, shape, strict=True))
    if level.shards:
        # Shards are made of whole chunks, and end with the array.
        whole = [-(-n // chunk) * chunk for n, chunk in zip(shape, chunks, strict=True)]
        options["shards"] = [min(p) for p in zip(level.shards, whole, strict=True)]
    group.create_array(
        name,
        shape=shape,
        chunks=chunks,
        dtype=dtype,
        compressors=level.compressors,
        fill_value=0,
        **options,
    )


@contextmanager
def derive_label(
    image: Image, name: str, *, overwrite: bool = False, made_by: Step | None = None
) -> Iterator[Image]:
    """Create a label image (uint32) with the levels of an image and no channel axis.

    Fill it with `map_blocks` or `label_blocks` inside the `with`: at its end the label
    appears in the image and in its list of labels.

    Args:
        image: The image to which the label belongs.
        name: Name of the label.
        overwrite: Whether to replace a label of this name.
        made_by: What the task does, to be written into the label; see `is_made`.

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
    path = image.path / "labels" / name
    with recorded(path, made_by, overwrite=overwrite, argument="label_name") as partial:
        group = new_group(partial, image.version, metadata)
        for dataset, level in zip(multiscale["datasets"], image.levels, strict=True):
            shards = level.shards and [level.shards[dim] for dim in kept]
            new_array(
                group,
                dataset["path"],
                shape=[level.shape[dim] for dim in kept],
                chunks=[level.chunks[dim] for dim in kept],
                shards=shards,
                dtype=np.uint32,
                axes=[axis["name"] for axis in multiscale["axes"]],
                shuffle=False,
            )
        yield open_image(partial, mode="r+")
    add_to_image(path)


def keep_children(path: Path, partial: Path) -> None:
    """Link the labels, tables and other children of the image at `path` into `partial`."""
    if not path.exists():
        return

    def link(source: str, target: str) -> None:
        try:
            os.link(source, target, follow_symlinks=False)
        except OSError:  # no hard links on this file system
            shutil.copy2(source, target, follow_symlinks=False)

    group = open_group(path)
    # Not opened as an image: that would reject one that is damaged, and is replaced.
    image = Image(path, group, ome_metadata(group), [])
    datasets = image.metadata["multiscales"][0]["datasets"]
    replaced = {dataset["path"].split("/")[0] for dataset in datasets}
    replaced |= {".zattrs", ".zgroup", ".zmetadata", "zarr.json"}
    junk = shutil.ignore_patterns(".*.partial")  # being written
    children = [child for child in path.iterdir() if child.name not in replaced]
    # A task may have made some of the labels or tables anew.
    for kind, names in (("labels", image.label_names), ("tables", table_names(image))):
        if (partial / kind).exists() and path / kind in children:
            children.remove(path / kind)
            listed = [path / kind / name for name in names]
            children += [child for child in listed if child.exists()]
    for child in children:
        new = partial / child.relative_to(path)
        if new.exists():
            continue
        if child.is_symlink():
            new.symlink_to(child.readlink())
        elif child.is_dir():
            shutil.copytree(child, new, symlinks=True, ignore=junk, copy_function=link)
        else:
            link(str(child), str(new))
        if child.parent != path:
            add_to_image(new)
