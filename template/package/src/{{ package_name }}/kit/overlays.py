"""Label images of an image, and matching pyramid levels of two images."""

import math
import os

from .image import Image, open_image
from .multiscale import coordinates, same_extent, unit_size
from .ngff import inside
from .publish import suggest


def open_label(image: Image, name: str, argument: str = "label_name") -> Image:
    """Open a label image of an image.

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
    return label


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
