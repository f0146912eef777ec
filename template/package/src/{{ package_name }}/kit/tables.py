"""Tables beside an image or a plate, as ngio specifies them.

Read in each of ngio's backends, written as CSV, or as Parquet if asked for: any program
reads CSV, and it needs no library. Tables of ROIs are written and understood by `regions`.
"""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import zarr

from .image import Array, Image
from .ngff import add_to_image, check_name, open_group
from .provenance import MADE_BY, Step
from .publish import published


@dataclass(frozen=True, eq=False)
class Table:
    """A table in memory.

    Attributes:
        type: What it is: `roi_table`, `feature_table`, … or empty if it does not say.
        columns: Values by name of the column: numbers (NaN where there is none), texts
            or booleans.
        index: The column that names the rows, which is the first one, if it says so.
        label_name: Label image whose objects are its rows, if it says so.
    """

    type: str
    columns: dict[str, Array]
    index: str = ""
    label_name: str = ""


def table_names(holder: Image | Path) -> list[str]:
    """Names of the tables of an image, or of the plate in a folder."""
    group = holder.group if isinstance(holder, Image) else open_group(holder)
    names: Any = group["tables"].attrs.get("tables", []) if "tables" in group else []
    return list(names)


def table_files(holder: Image | Path, name: str) -> list[Path]:
    """Files of a table, for a `Step` that depends on it."""
    folder = holder.path if isinstance(holder, Image) else holder
    files = (folder / "tables" / name).rglob("*")
    return sorted(file for file in files if file.is_file())


def read_table(holder: Image | Path, name: str, argument: str = "table_name") -> Table:
    """Read a table.

    Args:
        holder: An image, or the folder of a plate.
        name: Name of the table.
        argument: Name of the task's argument, for the error messages.

    Raises:
        ValueError: There is no such table, the message lists those that exist; or it is
            damaged, or of an unknown backend.
        ModuleNotFoundError: It is stored as Parquet, and pyarrow is not installed.
    """
    folder = holder.path if isinstance(holder, Image) else holder
    known = table_names(holder)
    if name not in known:
        raise ValueError(
            f"{argument}: no table {name!r} in {folder}; "
            f"there are: {', '.join(known) or 'none'}"
        )
    path = folder / "tables" / name
    try:
        group = open_group(path, argument)
        attributes: Any = group.attrs.asdict()
        backend = attributes.get("backend") or "anndata"  # older ones do not say it
        if backend not in READERS:
            raise ValueError(f"backend {backend!r}; allowed are {', '.join(READERS)}")
        columns = READERS[backend](group, path)
        if len({len(values) for values in columns.values()}) > 1:
            raise ValueError("columns of different lengths")
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"{argument}: {path} is stored as Parquet, which needs pyarrow: add it to "
            "the dependencies of this package"
        ) from error
    except (KeyError, OSError, TypeError, ValueError) as error:
        raise ValueError(f"{argument}: {path} cannot be read: {error}") from error
    # fractal-tasks-core 1 names no index, and writes labels as texts.
    index = attributes.get("index_key") or attributes.get("instance_key")
    index = index or "FieldIndex"
    if index in columns:
        columns = {index: columns.pop(index), **columns}
    else:
        index = ""
    region = attributes.get("region") or {}
    rows = columns.get(index, np.empty(0))
    if region and rows.dtype.kind == "U" and all(map(str.isdigit, rows.tolist())):
        columns[index] = rows.astype(np.int64)
    return Table(
        type=str(attributes.get("type") or ""),
        columns=columns,
        index=index,
        label_name=Path(region.get("path", "")).name,
    )


def _column(values: Sequence[Any]) -> Array:
    """An array of values, in which None is NaN among numbers, and empty among texts."""
    known = [value for value in values if value is not None]
    is_text = any(isinstance(value, str) for value in known)
    missing = "" if is_text else np.nan
    full = (
        values
        if len(known) == len(values)
        else [missing if value is None else value for value in values]
    )
    return np.asarray([str(value) for value in full] if is_text else full)


def _parsed(texts: Sequence[str]) -> Array:
    """A column of CSV, as the narrowest of booleans, integers, floats and texts."""
    lower = {text.lower() for text in texts}
    if lower and lower <= {"true", "false"}:
        return np.asarray([text.lower() == "true" for text in texts])
    for kind in (int, float):
        try:
            # Leading zeros tell a name from a number: plate 0017, well 01.
            if not any(len(t) > 1 and t[0] == "0" and t.isdigit() for t in texts):
                return np.asarray([kind(text) if text else np.nan for text in texts])
        except ValueError:
            continue
    return np.asarray(texts, dtype=str)


def _read_csv(group: zarr.Group, path: Path) -> dict[str, Array]:
    with (path / "table.csv").open(newline="", encoding="utf-8-sig") as file:
        reader = csv.reader(file)
        header = next(reader, [])
        rows = [row for row in reader if row]
    if any(len(row) != len(header) for row in rows):
        raise ValueError("rows of different lengths")
    return {
        name: _parsed([row[index] for row in rows]) for index, name in enumerate(header)
    }


def _read_json(group: zarr.Group, path: Path) -> dict[str, Array]:
    attributes = open_group(path / "table").attrs.asdict()
    return {name: _column(values) for name, values in attributes.items()}  # type: ignore[arg-type]


def _read_parquet(group: zarr.Group, path: Path) -> dict[str, Array]:
    from pyarrow.parquet import read_table as read_parquet  # type: ignore[import-untyped,import-not-found,unused-ignore]

    table = read_parquet(path / "table.parquet")
    return {name: _column(values) for name, values in table.to_pydict().items()}


def _read_anndata(group: Any, path: Path) -> dict[str, Array]:
    """Columns of `obs`, and of the matrix `X`, whose names are the index of `var`.

    By the specification of anndata's files, since importing anndata takes as long as a
    short task.
    """
    observed, variables = group["obs"], group["var"]
    index = observed.attrs["_index"]
    columns = {
        name: _read_element(observed[name])
        for name in [index, *observed.attrs["column-order"]]
    }
    names = _read_element(variables[variables.attrs["_index"]])
    if len(names):
        matrix = np.asarray(group["X"])
        columns |= {str(name): matrix[:, i] for i, name in enumerate(names)}
    key = group.attrs.get("index_key")
    if index == "_index":  # without a name of its own
        rows = columns.pop(index)
        columns = {key: rows, **columns} if key and key not in columns else columns
    if key in columns and group.attrs.get("index_type") == "int":
        columns[key] = columns[key].astype(np.int64)
    return columns


def _read_element(element: Any) -> Array:
    """A column of anndata: an array, or a group of codes and categories."""
    kind = element.attrs.get("encoding-type", "array")
    if kind == "categorical":
        categories = _read_element(element["categories"]).tolist()
        codes = np.asarray(element["codes"]).tolist()
        return _column([categories[code] if code >= 0 else None for code in codes])
    if kind.startswith("nullable-"):
        values, masks = (np.asarray(element[part]) for part in ("values", "mask"))
        pairs = zip(values.tolist(), masks.tolist(), strict=True)
        return _column([None if masked else value for value, masked in pairs])
    if kind not in ("array", "string-array"):
        raise ValueError(f"a column is encoded as {kind!r}")
    found = np.asarray(element)
    return _column(found.tolist()) if found.dtype.kind in ("O", "T") else found


READERS = {
    "csv": _read_csv,
    "json": _read_json,
    "anndata": _read_anndata,
    "anndata_v1": _read_anndata,
    "parquet": _read_parquet,
}


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
        columns: Values by name of the column, all of the same length; may be empty.
        type: What it is for ngio, such as `condition_table`.
        index: Column that names the rows, of integers or texts; it is written first.
        label_name: Label image whose objects the rows are.
        backend: How it is stored: any program reads CSV; Parquet is smaller, keeps the
            types of columns, and needs pyarrow.
        overwrite: Whether to replace a table of this name.
        made_by: What the task does, to be written into the table; see `is_made`.

    Raises:
        ValueError: `name` cannot be the name of a folder, or columns differ in length.
        FileExistsError: The table exists, and `overwrite` is false.
    """
    check_name(name, "table_name")
    if len({len(values) for values in columns.values()}) > 1:
        sizes = {column: len(values) for column, values in columns.items()}
        raise ValueError(f"columns: they differ in length: {sizes}")
    metadata: dict[str, Any] = {"type": type, "table_version": "1", "backend": backend}
    if label_name:
        metadata["region"] = {"path": f"../labels/{label_name}"}
        metadata["instance_key"] = index
    if index:
        columns = {index: columns[index], **columns}
        is_text = np.asarray(columns[index]).dtype.kind in "UO"
        metadata |= {"index_key": index, "index_type": "str" if is_text else "int"}
    group = holder.group if isinstance(holder, Image) else open_group(holder)
    path = (holder.path if isinstance(holder, Image) else holder) / "tables" / name
    if made_by:
        metadata[MADE_BY] = made_by.record(path)
    with published(path, overwrite=overwrite, argument="table_name") as partial:
        zarr_format = group.metadata.zarr_format
        zarr.create_group(partial, zarr_format=zarr_format, attributes=metadata)
        WRITERS[backend](partial, columns)
    add_to_image(path)


def _write_csv(path: Path, columns: Mapping[str, Sequence[Any] | Array]) -> None:
    with (path / "table.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))


def _write_parquet(path: Path, columns: Mapping[str, Sequence[Any] | Array]) -> None:
    import pyarrow  # type: ignore[import-untyped,import-not-found,unused-ignore]
    from pyarrow.parquet import write_table as write_parquet  # type: ignore[import-untyped,import-not-found,unused-ignore]

    write_parquet(pyarrow.table(dict(columns)), path / "table.parquet")


WRITERS = {"csv": _write_csv, "parquet": _write_parquet}


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
