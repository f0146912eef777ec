"""Create images.

Importing ome-zarr takes two seconds and 65 MB, which every job of a converter would pay for.
Its writer makes the same metadata, and reads them, in the tests.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, get_args

import numpy as np
from numpy.typing import DTypeLike

from .image import Image, open_image
from .intensity import display_window
from .multiscale import AXES, TYPES
from .ngff import NgffVersion, new_array, new_group
from .provenance import Step, recorded
from .write import keep_children


@contextmanager
def create_image(
    path: Path,
    *,
    shape: Sequence[int],
    axes: str,
    dtype: DTypeLike,
    scale: Mapping[str, float],
    channels: Sequence[str],
    wavelengths: Sequence[str] = (),
    version: NgffVersion = "0.4",
    chunk_yx: int = 2048,
    min_levels: int = 1,
    overwrite: bool = False,
    made_by: Step | None = None,
) -> Iterator[Image]:
    """Create an image, with a pyramid by factors of two in y and x.

    Inside the `with`, write into `levels[0]`, and call `build_pyramid` in the end.

    Args:
        path: Folder of the new image.
        shape: Shape at full resolution.
        axes: Axes in order, such as `czyx`.
        dtype: Data type of the pixels.
        scale: Size of a pixel by axis: micrometers, seconds for `t`. An axis that is left
            out has the size 1, and no unit if it has several pixels.
        channels: Name of each channel.
        wavelengths: Wavelength ID of each channel, such as `A01_C01`.
        version: NGFF version.
        chunk_yx: Size of a chunk in y and x; a chunk has one plane.
        min_levels: The pyramid ends at 256 pixels in y and x, but not before it has this
            many levels, as long as there are pixels: some tasks ask for a level by number.
        overwrite: Whether to replace the pixels of an image that exists at `path`.
        made_by: What the task does, to be written into the image; see `is_made`.

    Raises:
        FileExistsError: There is something at `path`, and `overwrite` is false.
        ValueError: An argument is wrong, or does not fit the others.
    """
    _check(shape, axes, dtype, scale, version, chunk_yx)
    n_channels = shape[axes.index("c")] if "c" in axes else 1
    _check_channels(n_channels, channels, wavelengths)
    if overwrite and path.exists():
        open_image(path, "overwrite")
    shapes = [tuple(shape)]
    while max(shapes[-1][-2:]) > (1 if len(shapes) < min_levels else 256):
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
    multiscale: dict[str, Any] = {
        "name": path.name,
        "axes": [
            _axis(axis, has_unit=axis in scale or n == 1)
            for axis, n in zip(axes, shape, strict=True)
        ],
        "datasets": datasets,
    }
    if version == "0.4":
        multiscale["version"] = version

    with recorded(path, made_by, overwrite=overwrite, argument="overwrite") as partial:
        group = new_group(partial, version, {"multiscales": [multiscale]})
        for level, level_shape in enumerate(shapes):
            chunks = [1] * (len(axes) - 2) + [
                min(chunk_yx, n) for n in level_shape[-2:]
            ]
            new_array(
                group,
                str(level),
                shape=level_shape,
                chunks=chunks,
                dtype=dtype,
                axes=axes,
            )
        yield open_image(partial, mode="r+")
        image = open_image(partial, mode="r+")
        attributes: dict[str, Any] = image.group.attrs.asdict()
        omero = {"channels": _describe_channels(image, channels, wavelengths)}
        attributes.get("ome", attributes)["omero"] = omero
        image.group.update_attributes(attributes)
        keep_children(path, partial)


def _axis(name: str, *, has_unit: bool) -> dict[str, str]:
    """Metadata of an axis."""
    axis = {"name": name, "type": TYPES[name]}
    if has_unit and name != "c":
        axis["unit"] = "second" if name == "t" else "micrometer"
    return axis


def _check(
    shape: Sequence[int],
    axes: str,
    dtype: DTypeLike,
    scale: Mapping[str, float],
    version: str,
    chunk_yx: int,
) -> None:
    """Reject an invalid image, before anything is written.

    Raises:
        ValueError: An argument is wrong, or does not fit another one.
    """
    if axes not in AXES:
        raise ValueError(f"axes: {axes!r}; allowed are some of tczyx, in this order")
    if len(shape) != len(axes) or min(shape) < 1:
        raise ValueError(
            f"shape: {tuple(shape)} must be {len(axes)} numbers above 0, for {axes}"
        )
    if np.dtype(dtype).kind not in "biuf":
        raise ValueError(f"dtype: {np.dtype(dtype)} is no type of pixels")
    if wrong := scale.keys() - {*"tczyx"}:
        raise ValueError(
            f"scale: {sorted(wrong)}; allowed are the letters t, c, z, y, x"
        )
    if not all(np.isfinite(size) and size > 0 for size in scale.values()):
        raise ValueError(f"scale: {dict(scale)}; a pixel has a size above 0")
    if version not in get_args(NgffVersion):
        raise ValueError(f"version: {version!r}; allowed are 0.4 and 0.5")
    if chunk_yx < 1:
        raise ValueError(f"chunk_yx: {chunk_yx} is no size of a chunk")


def _check_channels(
    n_channels: int,
    names: Sequence[str],
    wavelengths: Sequence[str],
) -> None:
    """Reject descriptions that do not fit the number of channels.

    Raises:
        ValueError: One is missing, too many, given twice, or no description.
    """
    given: dict[str, Any] = {"channels": names, "wavelengths": wavelengths}
    for argument, values in given.items():
        if len(values) != n_channels and (values or argument == "channels"):
            raise ValueError(
                f"{argument}: there are {len(values)}, and the image has {n_channels} "
                "channels"
            )
        if isinstance(values, str) or not all(isinstance(v, str) and v for v in values):
            raise ValueError(f"{argument}: {values!r} must be a list of texts")
        if len({*values}) < len(values):
            raise ValueError(f"{argument}: {[*values]} must differ from each other")


def _describe_channels(
    image: Image,
    names: Sequence[str],
    wavelengths: Sequence[str],
) -> list[dict[str, Any]]:
    """Metadata of the channels, with a display range that fits the pixels."""
    distinct = ["00FFFF", "FF00FF", "FFFF00", "00FF00", "FF0000", "0000FF"]
    channels = []
    for index, name in enumerate(names):
        window = display_window(image, index)
        color = distinct[index % len(distinct)] if len(names) > 1 else "FFFFFF"
        channel = {"label": name, "color": color, "active": True, "window": window}
        if wavelengths:
            channel["wavelength_id"] = wavelengths[index]
        channels.append(channel)
    return channels
