"""Read and write the values of a table: CSV, JSON, AnnData or Parquet."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from .chunks import check_chunks
from .columns import Cells, kind_of, make_column, parse_as
from .ngff import open_group
from .slices import Array

# Attribute of a table of CSV that we wrote: of what kind each column is.
KINDS = "column_kinds"
csv.field_size_limit(2**31 - 1)


def checked(name: Any, values: Any) -> Array:
    """Values of a column.

    Raises:
        ValueError: They are no column; the message names it.
    """
    try:
        if not isinstance(name, str) or name.startswith("\ufeff"):
            raise ValueError("a column cannot have this name")
        found = make_column(values)
        "".join([name, *(found.tolist() if kind_of(found) == "str" else [])]).encode()
    except (TypeError, ValueError) as error:
        raise ValueError(f"its column {name!r}: {error}") from error
    return found


def _check_names(names: Sequence[str]) -> None:
    """Reject repeated names of columns."""
    if twice := [name for name in names if names.count(name) > 1]:
        raise ValueError(f"there are two columns {twice[0]!r}: rename one of them")


def _read_csv(group: zarr.Group, path: Path) -> dict[str, Array | Cells]:
    kinds: Any = group.attrs.get(KINDS, {})
    known = ("str", "bool", "int", "float")
    if not isinstance(kinds, dict) or not all(kind in known for kind in kinds.values()):
        raise ValueError(
            f"its {KINDS} are {kinds!r:.80}; allowed are {', '.join(known)}"
        )
    try:
        with (path / "table.csv").open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file, strict=True)
            lines = [line for line in reader if line or reader.line_num == 1]
    except UnicodeDecodeError as error:
        raise ValueError("table.csv is no text in UTF-8: save it as that") from error
    if not lines:
        raise ValueError("table.csv is empty: make the table again")
    header, *rows = lines
    _check_names(header)
    if not kinds and header[0].startswith("sep="):
        raise ValueError("table.csv begins with the line 'sep=' of Excel: remove it")
    for mark in {*";\t|"} & {*"".join(() if kinds else header)}:
        # Decimal commas make columns too; then, all lines have as many of these marks.
        same = len({",".join(line).count(mark) for line in lines}) == 1 < len(lines)
        if (same and mark != "|") or len(header) == 1:
            raise ValueError(
                f"table.csv has {mark!r} between its columns: write commas, and a point in "
                "numbers"
            )
    for number, row in enumerate(rows, start=1):
        if len(row) != len(header):
            raise ValueError(
                f"row {number} has length {len(row)}, and the header {len(header)}"
            )
    columns: dict[str, Array | Cells] = {}
    by_column = map(list, zip(*rows, strict=True)) if rows else ([] for _ in header)
    for name, cells in zip(header, by_column, strict=True):
        columns[name] = cells
        if name in kinds:
            try:
                columns[name] = parse_as(cells, kinds[name])
            except ValueError as error:
                raise ValueError(f"its column {name!r}: {error}") from error
    return columns


def _read_json(group: zarr.Group, path: Path) -> dict[str, Array | Cells]:
    attributes = open_group(path / "table").attrs.asdict()
    return {name: checked(name, values) for name, values in attributes.items()}


def _read_parquet(group: zarr.Group, path: Path) -> dict[str, Array | Cells]:
    from pyarrow import types  # type: ignore[import-untyped,import-not-found,unused-ignore]
    from pyarrow.parquet import ParquetFile  # type: ignore[import-untyped,import-not-found,unused-ignore]

    with ParquetFile(path / "table.parquet") as file:
        table = file.read()
    _check_names(table.column_names)
    columns: dict[str, Array | Cells] = {}
    for name, values in zip(table.column_names, table.columns, strict=True):
        is_full = not values.null_count and types.is_primitive(values.type)
        is_number = types.is_integer(values.type) or types.is_floating(values.type)
        plain = values.to_numpy() if is_full and is_number else values.to_pylist()
        columns[name] = checked(name, plain)
    return columns


def _read_anndata(group: Any, path: Path) -> dict[str, Array | Cells]:
    """Columns of `obs`, and of the matrix `X`, whose names are the index of `var`.

    By the specification of anndata's files, since importing anndata takes as long as a
    short task.
    """
    observed, variables = group["obs"], group["var"]
    index = observed.attrs["_index"]
    names = [index, *observed.attrs["column-order"]]
    of_matrix = _read_element(variables[variables.attrs["_index"]]).tolist()
    _check_names([*names, *of_matrix])
    columns: dict[str, Array | Cells] = {
        name: checked(name, _read_element(observed[name], observed)) for name in names
    }
    if of_matrix:
        if not isinstance(group["X"], zarr.Array):
            raise ValueError("X is sparse: write it as a dense array")
        matrix = _values(group["X"])
        columns |= {
            name: checked(name, matrix[:, i]) for i, name in enumerate(of_matrix)
        }
    key = group.attrs.get("index_key")
    if index == "_index":  # without a name of its own
        rows = columns.pop(index)
        columns = {key: rows, **columns} if key and key not in columns else columns
    return columns


def _read_element(element: Any, holder: Any = None) -> Array:
    """A column of anndata: an array, or a group of codes and categories.

    Args:
        element: The array or group.
        holder: Group of the column. Before anndata 0.8, it also has the categories.
    """
    kind = element.attrs.get("encoding-type", "array")
    old = element.attrs.get("categories")
    if kind == "categorical" or old:
        categories = _read_element(
            holder[old] if old else element["categories"]
        ).tolist()
        codes = _values(element if old else element["codes"]).tolist()
        return make_column(categories[code] if code >= 0 else None for code in codes)
    if kind.startswith("nullable-"):
        values, masks = (_values(element[part]) for part in ("values", "mask"))
        pairs = zip(values.tolist(), masks.tolist(), strict=True)
        return make_column(None if masked else value for value, masked in pairs)
    if kind not in ("array", "string-array"):
        raise ValueError(
            f"a column is encoded as {kind!r}: write an array, categories or a nullable array"
        )
    return make_column(_values(element))


def _values(array: Any) -> Array:
    """All values of an array; without the check, lost chunks would be zeros."""
    check_chunks(array, array.store.root / array.path)
    return np.asarray(array)


def _write_csv(path: Path, columns: Mapping[str, Array]) -> None:
    with (path / "table.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        values = [array.tolist() for array in columns.values()]
        full = [["" if v is None or v != v else v for v in column] for column in values]
        writer.writerows(zip(*full, strict=True))


def _write_parquet(path: Path, columns: Mapping[str, Array]) -> None:
    import pyarrow  # type: ignore[import-untyped,import-not-found,unused-ignore]
    from pyarrow.parquet import write_table as write_parquet  # type: ignore[import-untyped,import-not-found,unused-ignore]

    arrays = {}
    for name, values in columns.items():
        known = [v for v in values.tolist() if v is not None]
        is_large = kind_of(values) == "int" and max(known) > np.iinfo(np.int64).max
        dtype = pyarrow.uint64() if is_large else None
        try:
            # Of an array of texts, pyarrow takes each up to its first NUL.
            objects = values.tolist() if values.dtype.kind in "OU" else values
            arrays[name] = pyarrow.array(objects, dtype)
        except (OverflowError, ValueError) as error:
            reason = f"its column {name!r} does not fit Parquet: {error}"
            raise ValueError(reason) from error
    write_parquet(pyarrow.table(arrays), path / "table.parquet")


READERS = {
    "csv": _read_csv,
    "json": _read_json,
    "anndata": _read_anndata,
    "anndata_v1": _read_anndata,
    "parquet": _read_parquet,
}

WRITERS = {"csv": _write_csv, "parquet": _write_parquet}
