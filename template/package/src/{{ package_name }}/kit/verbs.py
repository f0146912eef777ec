"""Filter or segment an image by a function of arrays, in one call.

A verb opens the image, checks the arguments, and returns the output of the task. It finds
the result of an earlier run, or makes a new one. In a function with `@task`, the result keeps a
record of the task, its arguments and its sources: the same job finds it again, and any
other one is rejected unless `overwrite` is set. Elsewhere, as in a notebook, there is no
record, and a result that exists is always rejected or overwritten.
"""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from .blocks import cut_slabs, map_blocks, map_regions, reject_masked
from .fractal import ImageUpdate, task_output
from .image import Channels, Image, channels_to_read, image_to_write, open_label
from .labels import label_blocks, label_regions
from .models import model_sources
from .plate import sibling_path
from .provenance import current_step, is_made
from .publish import check_free, check_name
from .regions import Regions, find_rois, label_rois, write_roi_table
from .slices import Array
from .tiles import label_tiles
from .write import derive_image, derive_label

logger = logging.getLogger(__name__)


def filter_image(
    image: Image | str,
    function: Callable[..., Array],
    *,
    suffix: str,
    channel: Channels | None = None,
    halo: Mapping[str, int] | None = None,
    whole: str = "",
    regions: Regions | None = None,
    dtype: DTypeLike | None = None,
    overwrite_input: bool = False,
    overwrite: bool = False,
    types: Mapping[str, bool] | None = None,
    setup: Callable[[Image], Any] | None = None,
    depends_on: Sequence[Image | Path | str] = (),
) -> dict[str, Any]:
    """Make a new image by a function of the pixels of an image.

    It has the axes, scale, pyramid, chunks and ROI tables of the image. Integers are
    rounded; what the data type cannot hold is an error. Memory grows with a block, a region
    or what `whole` names, not with the image.

    Example:
        `filter_image(zarr_url, lambda pixels: 255 - pixels, suffix="inverted")`

    Args:
        image: The image, or its `zarr_url`.
        function: Takes pixels, and returns an array of their shape, without the channels in
            front if `channel` is a list. The pixels have the axes of the image, or those
            that `whole` names.
        suffix: Letters and digits that are added to the name of the new image.
        channel: Channel that `function` gets, or a list of them, which come in front of
            the other axes. The new image then has one channel, with the name of the
            `suffix` if it is made of a list. By default, it has all channels, each made of
            the same one.
        halo: How many pixels around a block `function` must see, by axis: those that the
            result in a pixel depends on.
        whole: Axes that `function` must see whole, and the only ones it sees: `yx` for one
            plane after the other, `zyx` for volumes (planes, if the image has one z plane).
        regions: Where to work; by default everywhere. The rest is copied from the image, or
            0 if there is a `dtype` or a list of channels. `function` sees a region whole.
        dtype: Data type of the new image; by default that of the image.
        overwrite_input: Replace the pixels of the image in place of a new image.
        overwrite: Replace the new image if it exists.
        types: Types of the new image in Fractal's image list.
        setup: Called with the image, once, if the new one has to be made; `function` gets
            what it returns after the pixels.
        depends_on: More images and files that the result depends on, such as a profile of
            the illumination; the names of files in arguments do not say if they changed.
            Of a text, the path of a file counts, and an address does not.

    Returns:
        The output of the task: the new image with the image as its origin, or the image.

    Raises:
        FileExistsError: The new image exists, this job did not make it, and `overwrite` is
            false.
        ValueError: An argument is wrong, or results have another shape or do not fit.
    """
    image = image_to_write(image)
    regions = regions or Regions()
    read = None if channel is None else channels_to_read(image, channel)
    if overwrite_input and read is not None and len(image.channels) > 1:
        raise ValueError(
            f"overwrite_input: {image.path} has {len(image.channels)} channels, and would "
            "keep one of them; write a new image"
        )
    if whole and halo:
        raise ValueError(
            f"halo: with the axes {whole!r} as `whole`, a function sees no other pixels; "
            "leave out one of the two"
        )
    output = image.path if overwrite_input else sibling_path(image, suffix)
    sources = regions.sources(image)
    step = current_step([image, *sources, *_sources(depends_on)])
    if not is_made(output, step, overwrite=overwrite):
        rois = find_rois(image, regions, sources=sources)
        logger.info("%s: filter the axes %s", image.path, image.axes)
        axes = image.axes if read is None else image.axes.replace("c", "")
        whole = _whole_axes(image, whole)
        name = suffix if isinstance(read, list) else read
        is_replaced = overwrite or overwrite_input
        check_free(output, overwrite=is_replaced, argument="overwrite")
        prepared = _prepared(function, setup, image)  # before anything is written
        with derive_image(
            image,
            output,
            dtype=dtype,
            channel=name,
            overwrite=is_replaced,
            made_by=step,
        ) as filtered:
            process = _on_whole(prepared, axes, whole)
            if rois is None:
                map_blocks(
                    process, image, filtered, channel=read, halo=halo, whole=whole
                )
            else:
                is_grey = dtype is None and not isinstance(read, list)
                map_regions(
                    process, image, filtered, rois, channel=read, copy_rest=is_grey
                )
    origin = None if overwrite_input else str(image.path)
    update = ImageUpdate(zarr_url=str(output), origin=origin, types=dict(types or {}))
    return task_output(update)


def label_image(
    image: Image | str,
    function: Callable[..., Array],
    *,
    label_name: str,
    channel: Channels | None = None,
    level: int = 0,
    whole: str = "",
    tile: int = 0,
    overlap: int = 0,
    min_size: int = 0,
    regions: Regions | None = None,
    masking_roi_table: str | None = None,
    overwrite: bool = False,
    setup: Callable[[Image], Any] | None = None,
    depends_on: Sequence[Image | Path | str] = (),
) -> dict[str, Any]:
    """Make a label image by a function of the pixels of an image.

    Objects that touch across the borders of blocks become one; labels count from 1. Memory
    grows with a block, a region, a tile or what `whole` names, not with the image.

    Example:
        `label_image(zarr_url, lambda pixels: label(pixels > 500)[0], label_name="nuclei")`

    Args:
        image: The image, or its `zarr_url`.
        function: Takes pixels of a time point, and returns an array of their shape with the
            labels of objects, 0 for the background. The pixels have the axes z, y, x of the
            image, or those that `whole` names. A tile has the axes (z, y, x), or (y, x).
        label_name: Name of the new label image, a part of the image.
        channel: Channel that `function` sees; a list of them comes in front of the other
            axes. By default the only one.
        level: Pyramid level to work on; the label image has all levels.
        whole: Axes that `function` must see whole, and the only ones it sees, since the
            labels depend on far pixels, or it tells touching objects apart: `yx` for one
            plane after the other, `zyx` for volumes (planes, if the image has one z plane).
            With `yx`, an object and that of the next plane which it shares most pixels with
            become one. This must hold both ways, and for half of the smaller one. Objects of
            one plane stay apart. In tiles, each plane has labels of its own.
        tile: Longest side, in pixels of y and x, of tiles that overlap and are segmented one
            at a time, such as by a neural network; 0 for blocks. See `label_tiles`.
        overlap: How far tiles reach into each other, in pixels.
        min_size: Objects of fewer pixels, at the pyramid level, are removed.
        regions: Where to segment, each region by itself; by default everywhere. Pixels
            outside of a mask are 0.
        masking_roi_table: Name of a new table of the regions around the objects.
        overwrite: Replace the label image and the table if they exist.
        setup: Called with the image at the pyramid level, once, if the label image has to
            be made: to load a model, for example. `function` gets what it returns after the
            pixels.
        depends_on: As for `filter_image`, such as the path or address of a model.

    Returns:
        The output of the task: the image.

    Raises:
        FileExistsError: The label image or the table exists, this job did not make it, and
            `overwrite` is false.
        ValueError: An argument is wrong, or `function` returns no labels.
    """
    image = image_to_write(image)
    regions = regions or Regions()
    check_name(label_name, "label_name")
    if masking_roi_table:
        check_name(masking_roi_table, "masking_roi_table")
    positions = channels_to_read(image, channel)
    sources = regions.sources(image)
    step = current_step([image, *sources, *_sources(depends_on)])
    path = image.path / "labels" / label_name
    if not is_made(path, step, overwrite=overwrite):
        rois = find_rois(image, regions, level, sources=sources)
        whole = _whole_axes(image, whole)
        check_free(path, overwrite=overwrite, argument="label_name")
        # Before anything is written.
        prepared = _prepared(function, setup, image.from_level(level))
        with derive_label(
            image, label_name, overwrite=overwrite, made_by=step
        ) as label:
            seen = whole or label.axes.replace("t", "")
            segment = _on_whole(prepared, label.axes, seen)
            options: dict[str, Any] = {
                "channel": positions,
                "min_size": min_size,
                "level": level,
            }
            if tile:
                options |= {"tile": tile, "overlap": overlap, "axes": whole or "zyx"}
                n_objects = label_tiles(prepared, image, label, rois=rois, **options)
            elif rois is None:
                n_objects = label_blocks(segment, image, label, whole=whole, **options)
            else:
                options["whole"] = whole
                n_objects = label_regions(segment, image, label, rois, **options)
        logger.info("Objects in %s: %d", path, n_objects)
    if masking_roi_table:
        label = open_label(image, label_name)
        step = current_step([label])
        path = image.path / "tables" / masking_roi_table
        if not is_made(path, step, overwrite=overwrite):
            write_roi_table(
                image,
                masking_roi_table,
                label_rois(label),
                label_name=label_name,
                overwrite=overwrite,
                made_by=step,
            )
    return task_output(ImageUpdate(zarr_url=str(image.path)))


def _whole_axes(image: Image, whole: str) -> str:
    """Axes that a function sees whole: a single z plane is none."""
    return whole if image.is_3d else whole.replace("z", "")


def _sources(depends_on: Sequence[Image | Path | str]) -> Iterator[Image | Path]:
    """Images and files; those of a model, of its path."""
    for source in depends_on:
        if isinstance(source, str):
            yield from model_sources(source)
        else:
            yield source


def _prepared(
    function: Callable[..., Array], setup: Callable[[Image], Any] | None, image: Image
) -> Callable[[Array], Array]:
    """Function of pixels alone; calls `setup` now."""
    if setup is None:
        return function
    ready = setup(image)
    return lambda pixels: function(pixels, ready)


def _on_whole(
    function: Callable[[Array], Array], axes: str, whole: str
) -> Callable[[Array], Array]:
    """Function of arrays with all axes, which calls `function` on those in `whole` alone.

    Args:
        function: Takes pixels with the axes of `whole`, or with channels in front of them.
        axes: Axes of the pixels.
        whole: Some of them; without any, `function` itself is returned.
    """
    if not whole or whole == axes:
        return function
    inner = [dim for dim, axis in enumerate(axes) if axis in whole]
    outer = [dim for dim, axis in enumerate(axes) if axis not in whole]

    def process(pixels: Array) -> Array:
        front, shape = pixels.shape[: -len(axes)], pixels.shape[-len(axes) :]
        inner_shape = tuple(shape[dim] for dim in inner)
        results = []
        for slab in cut_slabs(axes, tuple(slice(0, n) for n in shape), whole):
            own: tuple[Any, ...] = (..., *slab)
            given = pixels[own].reshape(front + inner_shape)
            result = np.asanyarray(function(given))
            reject_masked(result)
            if result.shape != inner_shape:
                raise ValueError(
                    f"function: it returns the shape {result.shape} for {inner_shape}"
                )
            results.append(result)
        joined = np.stack(results).reshape(*(shape[dim] for dim in outer), *inner_shape)
        return np.moveaxis(joined, range(len(outer)), outer)

    return process
