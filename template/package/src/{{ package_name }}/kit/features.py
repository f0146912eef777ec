"""Measure the labels of an image by a function of arrays, in one call."""

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from .blocks import cut_slabs, each_block
from .columns import unmasked
from .fractal import ImageUpdate, task_output
from .image import (
    Channels,
    Image,
    channels_to_read,
    image_to_write,
    level_like,
    open_label,
)
from .provenance import current_step, is_made
from .publish import check_name, suggest
from .regions import Regions, find_rois, regions_of_labels
from .slices import Array, Region, within
from .tables import write_feature_table

logger = logging.getLogger(__name__)

Columns = dict[str, Array]


def measure_labels(
    image: Image | str,
    function: Callable[..., Mapping[str, Any]],
    *,
    label_name: str,
    table_name: str,
    channel: Channels | None = None,
    combine: Mapping[str, np.ufunc] | None = None,
    finish: Callable[[Columns, Image], Mapping[str, Any]] | None = None,
    regions: Regions | None = None,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Make a feature table by a function of the labels of an image.

    By default `function` sees a whole plane or volume, and memory grows with it. With
    `combine` it sees a block, and memory grows with a block and the number of labels.

    Example:
        `measure_labels(zarr_url, lambda labels, pixels: regionprops_table(labels, pixels,
        properties=("label", "area", "intensity_mean")), label_name="nuclei",
        table_name="features", channel=0)`

    Args:
        image: The image, or its `zarr_url`.
        function: Takes the labels of a time point, with the axes (z, y, x) or (y, x), and
            with `channel` the pixels at the same place. Returns columns by their name: one,
            `label`, has the numbers of the labels; all have a row for each of them.
        label_name: Label image to measure, a part of the image.
        table_name: Name of the new table, a part of the image. It also gets the columns
            `time_point`, if the image has the axis t, and `region`, if there are regions.
        channel: Channel that `function` sees; a list of them comes in front of the other
            axes. By default none.
        combine: How rows of blocks that share a label become one, by column, such as
            `{"darkest": np.minimum}`; other columns are added up. `function` then also
            takes the position of the first pixel of its block.
        finish: Makes the columns of the table of the combined ones and the label image.
        regions: Which labels to measure: those that have pixels in a region; by default
            all. Each is measured as a whole. `region` names the region with most of it.
        overwrite: Replace the table if it exists.

    Returns:
        The output of the task: the image.

    Raises:
        FileExistsError: The table exists, this job did not make it, and `overwrite` is
            false.
        ValueError: An argument is wrong, or `function` returns no such columns.
    """
    image = image_to_write(image)
    regions = regions or Regions()
    check_name(table_name, "table_name")
    label = open_label(image, label_name)
    if label.levels[0].dtype.kind not in "iu":
        raise ValueError(
            f"label_name: {label_name!r} is of {label.levels[0].dtype}, not of integers"
        )
    image = level_like(image, label, "label_name")
    read = None if channel is None else channels_to_read(image, channel)
    sources = regions.sources(image)
    step = current_step([image, label, *sources])
    path = image.path / "tables" / table_name
    if not is_made(path, step, overwrite=overwrite):
        rois = find_rois(image, regions, sources=sources)
        if combine is None:
            tables = [*_whole_tables(function, image, label, read)]
        else:
            tables = _block_tables(function, image, label, read)
        columns = _join(tables, combine)
        if columns["label"].min(initial=1) < 1:
            raise ValueError(
                f"label_name: {label_name!r} has labels that are negative, or above 2^63"
            )
        time = columns.pop("time_point")
        keys = [*zip(columns["label"].tolist(), time.tolist(), strict=True)]
        if finish:
            columns = _checked(finish(columns, label))
            if len(columns["label"]) != len(keys):
                raise ValueError(
                    f"finish: its columns have length {len(columns['label'])}, not {len(keys)}"
                )
        if "t" in label.axes:
            columns["time_point"] = time
        if rois is not None:
            names = regions_of_labels(label, rois)
            chosen = [key in names for key in keys]
            columns = {name: values[chosen] for name, values in columns.items()}
            columns["region"] = np.array([names[k] for k in keys if k in names], str)
        write_feature_table(
            image,
            table_name,
            columns,
            label_name=label_name,
            overwrite=overwrite,
            made_by=step,
        )
        logger.info("Rows of %s: %d", path, len(columns["label"]))
    return task_output(ImageUpdate(zarr_url=str(image.path)))


def _whole_tables(
    function: Callable[..., Mapping[str, Any]],
    image: Image,
    label: Image,
    channel: Channels | None,
) -> list[Columns]:
    """Columns of each time point that has labels."""
    axes = label.axes.replace("c", "")
    sizes = dict(zip(label.axes, label.shape, strict=True))
    everything = tuple(slice(0, sizes[axis]) for axis in axes)
    tables = []
    for region in cut_slabs(axes, everything, axes.replace("t", "")):
        labels = _drop_time(label.read(region, 0), axes)
        if not labels.any():
            continue
        pixels = [] if channel is None else [image.read(region, channel)]
        table = _checked(function(labels, *(_drop_time(p, axes) for p in pixels)))
        if len(np.unique(table["label"])) < len(table["label"]):
            raise ValueError("function: its column 'label' has a label in several rows")
        known = np.isin(table["label"], labels) & (table["label"] != 0)
        if not known.all():
            raise ValueError(
                f"function: its column 'label' has {table['label'][~known][0]}, which is no "
                "label of the pixels that it got: return the numbers of the labels there"
            )
        tables.append(table | {"time_point": _times(table, region, axes)})
    return tables


def _block_tables(
    function: Callable[..., Mapping[str, Any]],
    image: Image,
    label: Image,
    channel: Channels | None,
) -> list[Columns]:
    """Columns of each block, in the order of the blocks."""
    axes = label.axes.replace("c", "")

    def run(region: Region, labels: Array) -> list[Columns]:
        tables = []
        pixels = None if channel is None else image.read(region, channel)
        for slab in cut_slabs(axes, region, axes.replace("t", "")):
            own: tuple[Any, ...] = (..., *within(slab, region))
            seen = [labels[own]] if pixels is None else [labels[own], pixels[own]]
            corner = [
                s.start for axis, s in zip(axes, slab, strict=True) if axis != "t"
            ]
            table = _checked(function(*(_drop_time(p, axes) for p in seen), corner))
            tables.append(table | {"time_point": _times(table, slab, axes)})
        return tables

    return [table for tables in each_block(run, label, 0) for table in tables]


def _drop_time(pixels: Array, axes: str) -> Array:
    """Pixels of one time point, without its axis."""
    return pixels.squeeze(-len(axes)) if "t" in axes else pixels


def _times(table: Columns, region: Region, axes: str) -> Array:
    """The time point of a region, for each row of its table."""
    time = region[0].start if "t" in axes else 0
    return np.full(len(table["label"]), time, np.int64)


def _checked(columns: Mapping[str, Any]) -> Columns:
    """Columns as arrays.

    Raises:
        ValueError: They differ in length, have no labels, or one has the name of another.
    """
    table = {name: unmasked(values) for name, values in dict(columns).items()}
    sizes = {name: values.shape for name, values in table.items()}
    if "label" not in table or len({*sizes.values()}) > 1 or len(sizes["label"]) != 1:
        raise ValueError(
            "function: it must return columns of one length, and `label` among them, not "
            f"columns of the shapes {sizes}"
        )
    if table["label"].size and table["label"].dtype.kind not in "iu":
        raise ValueError(
            f"function: its column 'label' is of {table['label'].dtype}, not of integers"
        )
    if taken := {"time_point", "region"} & table.keys():
        raise ValueError(
            f"function: the table has a column {min(taken)} of its own; give yours another "
            "name"
        )
    return table | {"label": table["label"].astype(np.int64)}


def _join(tables: Sequence[Columns], combine: Mapping[str, np.ufunc] | None) -> Columns:
    """One table of several, sorted by time point and label if rows are combined.

    Raises:
        ValueError: The tables have different columns, or `combine` names another one.
    """
    names = tables[0].keys() if tables else {"label", "time_point"}
    for table in tables:
        if table.keys() != names:
            raise ValueError(
                f"function: it returns the columns {', '.join(table)} here, and "
                f"{', '.join(names)} elsewhere"
            )
    columns = {
        name: np.concatenate([table[name] for table in tables])
        if tables
        else np.zeros(0, np.int64)
        for name in names
    }
    if combine is None or not tables:
        return columns
    if unknown := combine.keys() - names:
        raise ValueError(
            f"combine: {min(unknown)} is no column that `function` returns; "
            f"{suggest(min(unknown), names)}"
        )
    order = np.lexsort((columns["label"], columns["time_point"]))
    keys = np.stack([columns.pop("time_point"), columns.pop("label")])[:, order]
    is_first = np.append(True, (keys[:, 1:] != keys[:, :-1]).any(axis=0))
    starts = np.flatnonzero(is_first[: keys.shape[1]])
    combined = {"label": keys[1, starts], "time_point": keys[0, starts]}
    for name, values in columns.items():
        rows = values[order]
        ufunc = combine.get(name, np.add)
        combined[name] = ufunc.reduceat(rows, starts) if len(rows) else rows
    return combined
