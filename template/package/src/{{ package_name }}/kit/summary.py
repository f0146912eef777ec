"""Make one table of a plate from the tables of its images, in one call."""

import logging
import os
import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from .columns import join_columns, kind_of, make_column
from .fractal import task_output
from .image import open_image
from .multiscale import coordinates, unit_size
from .ngff import MADE_BY, ome_metadata, open_group
from .plate import PlateImage, find_in_plate
from .provenance import current_step, is_made
from .publish import check_name, suggest
from .slices import Array
from .tables import (
    Table,
    read_cells,
    table_files,
    table_names,
    unify_tables,
    write_table,
)

logger = logging.getLogger(__name__)

WELL = re.compile("([A-Za-z]{1,2})[-_ ]?0*([0-9]{1,2})")

Columns = dict[str, Array]


class Source(NamedTuple):
    """An image with a table.

    Attributes:
        path: Folder of the image.
        place: Its place in a plate.
        tables: Names of all its tables.
    """

    path: Path
    place: PlateImage
    tables: list[str]


class Part(NamedTuple):
    """Rows of the table of a plate.

    Attributes:
        place: Where in the plate they come from.
        conditions: Values of the condition table, by column.
        features: Columns of the rows.
    """

    place: dict[str, Any]
    conditions: dict[str, Any]
    features: Columns

    @property
    def n_rows(self) -> int:
        """Number of rows."""
        return len(next(iter(self.features.values()), ()))


def plate_table(
    zarr_urls: Sequence[str],
    function: Callable[[Columns], Mapping[Any, Any]] | None = None,
    *,
    feature_table: str,
    table_name: str,
    condition_table: str = "condition_table",
    per: Literal["image", "well"] = "image",
    missing: Literal["reject", "skip"] = "reject",
    file_format: Literal["csv", "parquet"] = "csv",
    overwrite: bool = False,
) -> dict[str, Any]:
    """Make one table of each plate from the tables of its images.

    Its columns are `plate`, `well`, `row`, `column`, `acquisition` and, per image, `image`;
    then those of the condition tables, and those that `function` returns. What an image
    lacks is empty.

    Example:
        `plate_table(zarr_urls, lambda columns: {"n": len(columns["label"])},
        feature_table="features", table_name="counts")`

    Args:
        zarr_urls: Images of plates.
        function: Takes the columns of a feature table and returns others: values for one
            row, or arrays for several. By default, all rows are collected.
        feature_table: Table of each image.
        table_name: Name of the new table, a part of the plate.
        condition_table: Table of an image whose values are added to each of its rows, if the
            image has it.
        per: Whether `function` is called for each image; or for each well and acquisition,
            and each condition if there are several, with the rows of all its images. Their
            column `label` then has the names of the rows.
        missing: Whether to reject an image without the feature table, or to skip it with a
            line in the log.
        file_format: How the table is stored.
        overwrite: Replace the table if it exists.

    Returns:
        The output of the task: nothing, since no image has changed.

    Raises:
        FileExistsError: The table exists, this job did not make it, and `overwrite` is
            false.
        ValueError: An image belongs to no plate or lacks the table. Or images of a plate
            are in different units, or a condition table has several values for an image.
    """
    check_name(table_name, "table_name")
    plates: dict[Path, list[Source]] = defaultdict(list)
    for zarr_url in sorted(set(zarr_urls)):
        path = Path(zarr_url)
        place, tables = find_in_plate(path), table_names(path, "zarr_urls")
        if place is None:
            open_image(path, "zarr_urls")  # unless it is no image at all
            raise ValueError(
                f"zarr_urls: {zarr_url} belongs to no well of a plate: give images of plates"
            )
        if feature_table in tables:
            plates[place.plate].append(Source(path, place, tables))
        elif missing == "skip":
            logger.info("%s has no table %r, and is left out", zarr_url, feature_table)
        else:
            raise ValueError(
                f"feature_table: {zarr_url} has no table {feature_table!r}; "
                f"{suggest(feature_table, tables)}"
            )
    if not plates:
        raise ValueError(
            f"feature_table: no image has a table {feature_table!r}: measure the images, or "
            "correct the name"
        )
    for images in plates.values():
        _check_units(images)
        if per == "well":
            _check_origins(images)
    for plate, images in plates.items():
        files = [
            file
            for image in images
            for name in (feature_table, condition_table)
            if name in image.tables
            for file in table_files(image.path, name)
        ]
        step = current_step(files)
        path = plate / "tables" / table_name
        if is_made(path, step, overwrite=overwrite):
            continue
        parts = _read_parts(images, feature_table, condition_table, per)
        if function:
            parts = [p._replace(features=_rows(function(p.features))) for p in parts]
        columns = _join(parts)
        write_table(
            plate,
            table_name,
            columns,
            backend=file_format,
            overwrite=overwrite,
            made_by=step,
        )
        logger.info(
            "Columns of %s: %d, from images: %d", path, len(columns), len(images)
        )
    return task_output()


def _check_units(images: Sequence[Source]) -> None:
    """Reject images in different units of length: so are the features in their tables.

    Raises:
        ValueError: There are two.
    """
    known: dict[float | str, tuple[str, Path]] = {}
    for image in images:
        multiscale, *_ = ome_metadata(open_group(image.path)).get("multiscales") or [{}]
        for axis in multiscale.get("axes", []):
            if isinstance(axis, dict) and axis.get("name") in ("y", "x"):
                unit = str(axis.get("unit") or "micrometer")
                size: float | str = unit
                with suppress(ValueError):  # one that is not known
                    size = unit_size(axis)
                if coordinates(multiscale)[0] is None:
                    size = unit = "pixel, as no size of a pixel is said"
                known.setdefault(size, (unit, image.path))
    if len(known) > 1:
        (unit, path), (other, other_path), *_ = known.values()
        raise ValueError(
            f"zarr_urls: {path} is in the unit {unit}, and {other_path} in {other}, so that "
            "their features do not fit into one table: write both in one unit, and measure "
            "them again"
        )


def _check_origins(images: Sequence[Source]) -> None:
    """Reject an image and one that was made of it: each object would count twice.

    Raises:
        ValueError: Both are in one row.
    """
    places = {str(image.path): image.place for image in images}
    for image in images:
        made: Any = open_group(image.path).attrs.get(MADE_BY)
        sources = made.get("sources") if isinstance(made, dict) else None
        for source in sources if isinstance(sources, dict) else ():
            path = os.path.normpath(image.path / source)
            is_origin = image.path.name.startswith(Path(path).name)
            if (
                is_origin
                and str(image.path) != path
                and places.get(path) == image.place
            ):
                raise ValueError(
                    f"zarr_urls: {image.path} was made of {path}, and the objects of both "
                    "would count in one row of their well: leave one of them out"
                )


def _read_parts(
    images: Sequence[Source],
    feature_table: str,
    condition_table: str,
    per: Literal["image", "well"],
) -> list[Part]:
    """Read the tables of all images; each column is of one kind in all of them.

    Raises:
        ValueError: A table is damaged, or a condition table has several rows.
    """
    known = [image.path for image in images if condition_table in image.tables]
    tables = _read_all(known, condition_table, "condition_table")
    conditions = {
        path: _conditions(path, table)
        for path, table in zip(known, tables, strict=True)
    }
    groups: dict[tuple[Any, ...], list[Part]] = defaultdict(list)
    paths = [image.path for image in images]
    tables = _read_all(paths, feature_table, "feature_table")
    _check_labels(images, tables)
    for image, table in zip(images, tables, strict=True):
        _, row, column, _ = image.place
        position = image.place.attributes()
        place = {
            "plate": position["plate"],
            "well": position["well"],
            "row": row,
            "column": column,
            "acquisition": position["acquisition"],
        }
        own = conditions.get(image.path, {})
        _check_well(image, own)
        features = table.columns
        key: tuple[Any, ...] = (place["well"], place["acquisition"], *own.items())
        if per == "image":
            place["image"] = image.path.relative_to(image.place.plate).as_posix()
            key = (image.path,)
        elif table.index and table.index != "label":
            features = {"label": features[table.index]} | features
            del features[table.index]
        groups[key].append(Part(place, own, features))
    return [
        parts[0]._replace(
            features=_stack([p.features for p in parts], [p.n_rows for p in parts])
        )
        if per == "well"
        else parts[0]
        for parts in groups.values()
    ]


def _read_all(paths: Sequence[Path], name: str, argument: str) -> list[Table]:
    """Read a table of several images; warn about a column that becomes text."""
    tables = [read_cells(path, name, argument) for path in paths]
    first: dict[str, dict[str, Path]] = {}
    for path, table in zip(paths, tables, strict=True):
        columns: dict[str, Any] = {**table.columns}
        for key, values in columns.items():
            # Cells of which it is not known decide on the whole column.
            if not isinstance(values, list) and (kind := kind_of(values)):
                kind = {"str": "texts", "bool": "booleans"}.get(kind, "numbers")
                first.setdefault(key, {}).setdefault(kind, path)
    for key, kinds in first.items():
        if len(kinds) > 1:
            logger.warning(
                "%s: the column %r has %s: all of it becomes text",
                argument,
                key,
                ", and ".join(f"{kind} in {path}" for kind, path in kinds.items()),
            )
    return unify_tables(tables)


def _check_labels(images: Sequence[Source], tables: Sequence[Table]) -> None:
    """Reject rows of different label images in one acquisition.

    Raises:
        ValueError: They are of other things, such as cells and nuclei.
    """
    first: dict[int | None, tuple[str, Path]] = {}
    for image, table in zip(images, tables, strict=True):
        if name := table.label_name:
            other, path = first.setdefault(image.place.acquisition, (name, image.path))
            if other != name:
                raise ValueError(
                    f"feature_table: that of {path} is of the label {other!r}, and that of "
                    f"{image.path} of {name!r}, which do not fit into one table: measure the "
                    "same label in all images of an acquisition"
                )


def _check_well(image: Source, conditions: Mapping[str, Any]) -> None:
    """Reject the conditions of another well.

    Raises:
        ValueError: They name it.
    """
    for key, value in conditions.items():
        said = WELL.fullmatch(str(value)) if key.lower() == "well" else None
        if not said:
            continue
        here = WELL.fullmatch(image.place.row + image.place.column)
        if here and (said[1].upper(), said[2]) != (here[1].upper(), here[2]):
            raise ValueError(
                f"condition_table: that of {image.path} is of the well {value}, and not of "
                f"{here[0]}: correct the table"
            )


def _conditions(path: Path, table: Table) -> dict[str, Any]:
    """The one value of each column of a condition table.

    Raises:
        ValueError: There are several.
    """
    conditions: dict[str, Any] = {}
    for key, column in table.columns.items():
        # NaN is equal to nothing.
        values = {None if value != value else value for value in column.tolist()}
        if len(values) > 1:
            raise ValueError(
                f"condition_table: that of {path} has several values in its "
                f"column {key}, and not one for the image"
            )
        if values:
            conditions[key] = values.pop()
    return conditions


def _rows(columns: Mapping[str, Any]) -> Columns:
    """Columns of what a function returns; a value is a row.

    Raises:
        ValueError: They differ in length.
    """
    arrays = {
        name: values
        if isinstance(values, np.ndarray) and values.ndim == 1
        else make_column(values if isinstance(values, list | tuple) else [values])
        for name, values in dict(columns).items()
    }
    if len({len(values) for values in arrays.values()}) > 1:
        sizes = {name: len(values) for name, values in arrays.items()}
        raise ValueError(f"function: its columns differ in length: {sizes}")
    return arrays


def _stack(parts: Sequence[Mapping[str, Array]], sizes: Sequence[int]) -> Columns:
    """Put tables below each other: each column that one of them has, in its type.

    Args:
        parts: The tables.
        sizes: Number of their rows.

    Returns:
        All columns; without a value where a table lacks one.
    """
    return {
        name: join_columns(
            [
                part.get(name, np.full(size, None))
                for part, size in zip(parts, sizes, strict=True)
                if size  # those without rows have no type
            ]
        )
        for name in dict.fromkeys(name for part in parts for name in part)
    }


def _join(parts: Sequence[Part]) -> Columns:
    """All columns; the name of one that is there already says where it is from."""
    sizes = [part.n_rows for part in parts]

    def repeat(values: Sequence[Mapping[str, Any]]) -> Columns:
        tables = [
            {name: np.repeat(make_column([value]), size) for name, value in row.items()}
            for row, size in zip(values, sizes, strict=True)
        ]
        return _stack(tables, sizes)

    columns = repeat([part.place for part in parts])
    conditions = repeat([part.conditions for part in parts])
    features = _stack([part.features for part in parts], sizes)
    for kind, more in (("condition", conditions), ("feature", features)):
        for name, values in more.items():
            while name in columns:
                name = f"{kind}_{name}"
            columns[name] = values
    return columns
