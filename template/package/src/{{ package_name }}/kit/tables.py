"""Tables beside an image or a plate, as ngio specifies them.

Read in each of ngio's backends, written as CSV, or as Parquet on request: any program
reads CSV, and it needs no library. Tables of ROIs are written and understood by `regions`.
"""

import csv
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import zarr

from .backends import KINDS, READERS, WRITERS, checked
from .columns import INTEGER, Cells, kind_of, make_column, texts, unify, with_nan
from .image import Image
from .ngff import add_to_image, find_group, inside, open_group
from .provenance import Step, recorded
from .publish import check_name, is_zarr, suggest
from .slices import Array

COLUMNS = {axis: (f"{axis}_micrometer", f"len_{axis}_micrometer") for axis in "zyx"}
COLUMNS["t"] = ("t_second", "len_t_second")


@dataclass(frozen=True, eq=False)
class Table:
    """A table in memory.

    Attributes:
        type: What it is: `roi_table`, `feature_table`, … or empty if it does not say.
        columns: Values by name of the column: numbers (NaN where there is none), texts
            or booleans. Booleans with gaps, and integers with gaps that NaN would change,
            are objects with None.
        index: The column that names the rows, which is the first one, if it says so.
        label_name: Label image whose objects are its rows, if it says so.
    """

    type: str
    columns: dict[str, Array]
    index: str = ""
    label_name: str = ""


def table_names(holder: Image | Path, argument: str = "zarr_url") -> list[str]:
    """Names of the tables of an image, or of the plate in a folder.

    Raises:
        ValueError: A name is that of no folder beside the other tables.
    """
    path = _folder(holder)
    folder = path / "tables"
    if isinstance(holder, Path) and not is_zarr(folder):
        folder = find_group(path, argument, "r")[0] / "tables"
    names: Any = open_group(folder).attrs.get("tables", []) if is_zarr(folder) else []
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError(f"{argument}: {path} has a list of tables that is {names!r}")
    for name in names:
        check_name(name, f"{argument}: a table of {path}")
    return names


def _folder(holder: Image | Path) -> Path:
    return holder.path if isinstance(holder, Image) else holder


def check_links(path: Path, argument: str) -> None:
    """Reject a table with links: they would read files from elsewhere.

    Raises:
        ValueError: Its folder, or something in it, is a link.
    """
    for file in (path.parent, path, *path.rglob("*")):
        if file.is_symlink():
            raise ValueError(
                f"{argument}: {file} is a link, and links in tables are not followed; "
                "put the file itself in its place"
            )


def table_files(holder: Image | Path, name: str) -> list[Path]:
    """Files of a table, for a `Step` that depends on it."""
    files = (_folder(holder) / "tables" / name).rglob("*")
    return sorted(file for file in files if file.is_file())


def read_table(holder: Image | Path, name: str, argument: str = "table_name") -> Table:
    """Read a table.

    Args:
        holder: An image, or the folder of a plate.
        name: Name of the table.
        argument: Name of the task's argument, for the error messages.

    Raises:
        ValueError: There is no such table, the message lists those that exist; or it is
            damaged, or of an unknown backend, or has links.
        ModuleNotFoundError: It is stored as Parquet, and pyarrow is not installed.
    """
    return read_tables([holder], name, argument)[0]


def read_tables(
    holders: Sequence[Image | Path], name: str, argument: str = "table_name"
) -> list[Table]:
    """Read a table of several images; each column has the same kind in all of them.

    CSV does not say of what kind a column is: of wells with the compounds `12E3`, `3E8`
    and `12CA5`, the last one alone shows that these are no numbers.

    Args:
        holders: Images, or folders of plates.
        name: Name of the table.
        argument: Name of the task's argument, for the error messages.

    Raises:
        ValueError: As `read_table`.
        ModuleNotFoundError: As `read_table`.
    """
    return unify_tables([read_cells(holder, name, argument) for holder in holders])


def unify_tables(tables: Sequence[Table]) -> list[Table]:
    """Tables of `read_cells`, in which each column has the same kind in all of them."""
    tables = [replace(table, columns={**table.columns}) for table in tables]
    for key in dict.fromkeys(key for table in tables for key in table.columns):
        having: list[Any] = [table.columns for table in tables if key in table.columns]
        arrays = unify([columns[key] for columns in having])
        for columns, values in zip(having, arrays, strict=True):
            columns[key] = with_nan(values)
    return tables


def read_cells(holder: Image | Path, name: str, argument: str = "table_name") -> Table:
    """Read a table; columns of CSV stay texts unless its metadata have their kinds."""
    folder, known = _folder(holder), table_names(holder, argument)
    if name not in known:
        raise ValueError(
            f"{argument}: no table {name!r} in {folder}; {suggest(name, known)}"
        )
    path = folder / "tables" / name
    check_links(path, argument)
    try:
        group = open_group(path, argument)
        attributes: Any = group.attrs.asdict()
        backend = attributes.get("backend") or "anndata"  # older ones do not say it
        if backend not in READERS:
            raise ValueError(f"backend {backend!r}; allowed are {', '.join(READERS)}")
        columns = READERS[backend](group, path)
        if len({len(values) for values in columns.values()}) > 1:
            raise ValueError("columns of different lengths: make the table again")
        label_name = _label_name(attributes.get("region"))
        index = _name_rows(columns, attributes, label_name)
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"{argument}: {path} is stored as Parquet, which needs pyarrow: add it to "
            "the dependencies of this package"
        ) from error
    except (KeyError, OSError, TypeError, ValueError, csv.Error) as error:
        raise ValueError(f"{argument}: {path} cannot be read: {error}") from error
    if index:
        columns = {index: columns.pop(index), **columns}
    # Cells become values in `unify_tables`.
    typed: Any = columns
    return Table(str(attributes.get("type") or ""), typed, index, label_name)


def _label_name(region: Any) -> str:
    """Label image whose objects are the rows of a table, by its metadata.

    Raises:
        ValueError: It is not beside the table.
    """
    if not region:
        return ""
    path = region.get("path", "") if isinstance(region, dict) else region
    *way, name = (Path(path).parts if isinstance(path, str) else [".."]) or [""]
    is_beside = way in ([], ["labels"], ["..", "labels"], ["..", "..", "labels"])
    if not is_beside or name == ".." or "\\" in name:
        raise ValueError(f"its region is {path!r}, and not such as '../labels/nuclei'")
    return name


def _name_rows(
    columns: dict[str, Array | Cells], attributes: Any, label_name: str
) -> str:
    """Find the column that names the rows, and give it the kind in the metadata.

    Raises:
        ValueError: It is something else.
    """
    # fractal-tasks-core 1 names no index, and writes labels as texts.
    index = attributes.get("index_key") or attributes.get("instance_key")
    index = str(index or "FieldIndex")
    if index not in columns:
        if attributes.get("index_key") and columns:
            raise ValueError(
                f"its index_key is {index!r}, and it has no such column; "
                f"{suggest(index, columns)}"
            )
        return ""
    values, kind = columns[index], attributes.get("index_type")
    if kind == "int" and not isinstance(values, list) and values.dtype.kind in "iu":
        return index
    rows = values if isinstance(values, list) else make_column(values).tolist()
    if kind is None and index == "FieldIndex":
        kind = "str"
    if kind is None and label_name and all(INTEGER.fullmatch(str(r)) for r in rows):
        kind = "int"
    if kind not in (None, "int", "str"):
        raise ValueError(f"index_type {kind!r}; allowed are int and str")
    for number, row in enumerate(rows if kind else [], start=1):
        is_int = isinstance(row, int) or (kind == "int" and INTEGER.fullmatch(str(row)))
        if isinstance(row, bool) or not (
            is_int or (kind == "str" and isinstance(row, str))
        ):
            raise ValueError(
                f"row {number} has {row!r} in its column {index!r}, which is of {kind}"
            )
    if kind:
        columns[index] = (
            texts(map(str, rows)) if kind == "str" else make_column(map(int, rows))
        )
    return index


def write_table(
    holder: Image | Path,
    name: str,
    columns: Mapping[str, Sequence[Any] | Array],
    *,
    type: str = "generic_table",
    index: str = "",
    label_name: str = "",
    backend: Literal["csv", "parquet"] = "csv",
    overwrite: bool = False,
    made_by: Step | None = None,
) -> None:
    """Write a table: it appears complete or not at all, and in the list of tables.

    Args:
        holder: An image, also one that is being made; or the folder of a plate.
        name: Name of the table.
        columns: Values by name of the column, all of the same length; may be empty. None
            and NaN are gaps. The metadata say what kind each is, so that texts stay texts.
        type: What it is for ngio, such as `condition_table`.
        index: Column that names the rows, of integers or texts; it is written first.
        label_name: Label image whose objects the rows are.
        backend: How it is stored: any program reads CSV; Parquet is smaller, keeps the
            types of columns, and needs pyarrow.
        overwrite: Whether to replace a table of this name.
        made_by: What the task does, to be written into the table; see `is_made`.

    Raises:
        ValueError: `name` cannot be the name of a folder, columns differ in length, or
            one has values that are neither texts, numbers nor booleans.
        FileExistsError: The table exists, and `overwrite` is false.
    """
    check_name(name, "table_name")
    path = inside(_folder(holder), "tables", name, argument="table_name")
    if len({len(values) for values in columns.values()}) > 1:
        sizes = {column: len(values) for column, values in columns.items()}
        raise ValueError(f"columns: they differ in length: {sizes}")
    metadata: dict[str, Any] = {"type": type, "table_version": "1", "backend": backend}
    try:
        arrays = {key: checked(key, values) for key, values in columns.items()}
        if index:
            arrays = {index: arrays[index], **arrays}
            is_text = arrays[index].dtype.kind in "UO"
            if (
                kind_of(arrays[index]) not in ("str", "int", "")
                or None in arrays[index]
            ):
                raise ValueError(
                    f"its column {index!r} names the rows: no integers or texts"
                )
            metadata |= {"index_key": index, "index_type": "str" if is_text else "int"}
    except ValueError as error:
        raise ValueError(f"columns: {path}: {error}") from error
    if label_name:
        metadata["region"] = {"path": f"../labels/{label_name}"}
        metadata["instance_key"] = index
    if backend == "csv":
        metadata[KINDS] = {
            key: kind_of(values) or ("str" if values.dtype.kind in "UO" else "float")
            for key, values in arrays.items()
        }
    group = holder.group if isinstance(holder, Image) else open_group(holder)
    with recorded(path, made_by, overwrite=overwrite, argument="table_name") as partial:
        zarr_format = group.metadata.zarr_format
        zarr.create_group(partial, zarr_format=zarr_format, attributes=metadata)
        try:
            WRITERS[backend](partial, arrays)
        except ValueError as error:
            raise ValueError(f"columns: {path}: {error}; choose csv") from error
    add_to_image(path)


def write_feature_table(
    image: Image,
    name: str,
    columns: Mapping[str, Sequence[Any] | Array],
    *,
    label_name: str,
    overwrite: bool = False,
    made_by: Step | None = None,
) -> None:
    """Write features of labels as a table.

    Args:
        image: Image that has the label.
        name: Name of the table.
        columns: Values by name of the column; the column `label` has the label numbers.
        label_name: Name of the label image that was measured.
        overwrite: Whether to replace a table of this name.
        made_by: What the task does, to be written into the table; see `is_made`.

    Raises:
        ValueError: `name` cannot be the name of a folder.
        FileExistsError: The table exists, and `overwrite` is false.
    """
    write_table(
        image,
        name,
        columns,
        type="feature_table",
        index="label",
        label_name=label_name,
        overwrite=overwrite,
        made_by=made_by,
    )


def roi_tables(image: Image) -> list[str]:
    """Names of the ROI and condition tables of an image, which its copies get.

    Raises:
        ValueError: One has links, or its name leads elsewhere.
    """
    names = []
    for name in table_names(image):
        path = image.path / "tables" / name
        kept = ("roi_table", "generic_roi_table", "condition_table")
        if path.is_dir() and open_group(path).attrs.get("type") in kept:
            check_links(path, "zarr_url")
            names.append(name)
    return names


def copy_roi_tables(image: Image, path: Path, sizes: Mapping[str, int]) -> None:
    """Copy the ROI and condition tables of a source to a new image.

    Tables of labels stay behind, as labels do.

    Args:
        image: Image that has the tables.
        path: Folder of the new image; what it has already stays.
        sizes: Number of pixels along the axes that have changed, which regions then cover.

    Raises:
        ValueError: As `roi_tables`.
    """
    for name in roi_tables(image):
        source, target = (folder / "tables" / name for folder in (image.path, path))
        if target.exists():
            continue
        table = read_table(image, name) if sizes else None
        if table and table.type != "condition_table":
            for axis, size in sizes.items():
                first, length = (table.columns.get(column) for column in COLUMNS[axis])
                if first is not None and length is not None:
                    whole = size * image.physical_scale[axis]
                    ends = np.zeros(len(first)), np.full(len(first), whole)
                    table.columns.update(zip(COLUMNS[axis], ends, strict=True))
            write_table(path, name, table.columns, type=table.type, index=table.index)
        else:
            junk = shutil.ignore_patterns(".*.partial")  # being written
            shutil.copytree(source, target, symlinks=True, ignore=junk)
            add_to_image(target)
