"""Columns of tables: texts, booleans, integers or floating point numbers.

A text is a number by the grammar below alone. Python takes more for one: `1_2`, `12E3`,
`INF`, `007` and the digits of other scripts, all of which are names in somebody's data.
"""

import math
import re
from collections.abc import Iterable, Mapping, Sequence, Set
from datetime import date, time
from typing import Any

import numpy as np

from .slices import Array

Cells = list[str]
"""A column of CSV, which does not say of what kind it is."""

# As JSON has them, but that an exponent needs a sign, or a fraction before it: `12E3` is a
# compound; `1e-05` and `1.2E10` are what programs write. 308 digits are finite.
DIGITS = "(?:0|[1-9][0-9]{0,307}+)"
INTEGER = re.compile(f"0|-?(?!0){DIGITS}")
EXPONENT = r"(?:\.[0-9]++(?:[eE][+-]?[0-9]++)?+|[eE][+-][0-9]++)?+"
LINES = re.compile(f"(?:(?:-?{DIGITS}{EXPONENT})?+\n)*+")
# Floating point numbers that are none, as Python and Arrow write them.
NO_NUMBERS = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}
BOOLEANS = {"True": True, "true": True, "TRUE": True}
BOOLEANS |= {"False": False, "false": False, "FALSE": False}
EXACT = 2**53  # up to here, floating point numbers hold each integer


def parse_numbers(cells: Iterable[str]) -> list[int | float | None] | None:
    """Values of texts if each is a number or empty, which gives None; else None alone."""
    lines = [*cells]
    text = "".join([f"{cell}\n" for cell in lines])
    if text.count("\n") != len(lines) or not LINES.fullmatch(text):
        return None
    if text.count(".") == len(lines):  # one in each
        numbers: list[Any] = [*map(float, lines)]
    else:
        numbers = [_number(cell) if cell else None for cell in lines]
    return None if math.inf in numbers or -math.inf in numbers else numbers


def _number(cell: str) -> int | float:
    is_float = "." in cell or "e" in cell or "E" in cell or cell == "-0"
    return float(cell) if is_float else int(cell)


def make_column(values: Iterable[Any]) -> Array:
    """An array of values of one kind; those of different kinds become texts.

    A missing value is NaN among floating point numbers, and an empty text among texts.
    Among integers and booleans it is None, which makes it an array of objects.

    Raises:
        ValueError: A value is neither a text, a number nor a boolean.
    """
    if isinstance(values, str | bytes | Mapping | Set):
        raise ValueError(
            f"its values are {values!r:.50}, and not a list with one a row"
        )
    if isinstance(values, np.ma.MaskedArray):
        values = values.tolist()  # None where it is masked
    if isinstance(values, np.ndarray):
        if values.ndim != 1:
            raise ValueError(f"its values have the shape {values.shape}, not one a row")
        if values.dtype.kind in "biuU" or values.dtype in (np.float32, np.float64):
            return values
    return _of_one_kind([_plain(value) for value in values])


def unmasked(values: Any) -> Array:
    """An array of values, or of one; None, in place of masked ones."""
    is_masked = isinstance(values, np.ma.MaskedArray) and np.ma.is_masked(values)
    return np.asarray(values.tolist(), object) if is_masked else np.asarray(values)


def _of_one_kind(known: list[Any]) -> Array:
    kinds = {*map(type, known)} - {type(None)}
    if kinds <= {float}:
        return np.asarray(known, np.float64)
    if kinds == {bool}:
        return np.asarray(known, object if None in known else bool)
    if kinds == {int} and None not in known:
        return _integers(known)
    if kinds == {int}:
        return np.asarray(known, object)
    if kinds == {int, float}:
        exact = all(abs(v) <= EXACT for v in known if isinstance(v, int))
        return np.asarray(known, np.float64 if exact else object)
    return texts("" if value is None else str(value) for value in known)


def _plain(value: Any) -> Any:
    """A value as a Python object; None if it is missing."""
    if isinstance(value, np.datetime64 | np.timedelta64):
        value = None if np.isnat(value) else str(value)
    elif isinstance(value, np.generic):
        value = value.item()
    if value is None or type(value).__name__ in ("NAType", "NaTType"):  # of pandas
        return None
    for kind in (bool, int, float, str):
        if isinstance(value, kind):
            return kind(value) if value == value else None
    if isinstance(value, date | time):
        return str(value)
    raise ValueError(f"{str(value)[:50]!r} is neither a text, a number nor a boolean")


def _integers(known: Sequence[int]) -> Array:
    """Integers in the first type that holds them."""
    low, high = min(known), max(known)
    for dtype in (np.int64, np.uint64):
        if np.iinfo(dtype).min <= low and high <= np.iinfo(dtype).max:
            return np.asarray(known, dtype)
    return np.asarray(known, object)


def texts(cells: Iterable[str]) -> Array:
    """An array of texts; of objects where numpy would lose a NUL, or take much memory."""
    known = list(cells)
    longest = max(map(len, known), default=0)
    is_odd = any(cell.endswith("\0") for cell in known)
    return np.asarray(known, object if is_odd or longest * len(known) > 2**26 else str)


def kind_of(values: Array) -> str:
    """Kind of a column: `str`, `bool`, `int` or `float`; empty if it has no values."""
    known = {"b": "bool", "i": "int", "u": "int"}.get(values.dtype.kind)
    if known:
        return known if len(values) else ""
    if values.dtype.kind == "f":
        return "" if np.isnan(values).all() else "float"
    kinds = {type(v) for v in values.tolist() if v is not None and v != ""}
    return "float" if len(kinds) > 1 else next((kind.__name__ for kind in kinds), "")


def parse_cells(cells: Cells) -> Array:
    """Values of a column of CSV: all are texts if one cell is not a number."""
    known = {*cells} - {""}
    if known and known <= BOOLEANS.keys():
        return _of_one_kind([BOOLEANS.get(cell) for cell in cells])
    odd = known & NO_NUMBERS.keys()
    numbers = parse_numbers(
        ["" if c in NO_NUMBERS else c for c in cells] if odd else cells
    )
    # A gene is called `inf`: beside numbers only, that is one too.
    if numbers is None or (odd - {"nan"} and odd == known):
        return texts(cells)
    if odd:
        pairs = zip(cells, numbers, strict=True)
        return make_column(NO_NUMBERS.get(cell, number) for cell, number in pairs)
    return _of_one_kind(numbers)


def parse_as(cells: Cells, kind: str) -> Array:
    """Values of a column of CSV as the `kind` in the metadata of its table.

    Raises:
        ValueError: A cell is something else.
    """
    if kind == "str":
        return texts(cells)
    found = parse_cells(cells)
    if kind_of(found) in ("", kind) or (kind == "float" and kind_of(found) == "int"):
        return found
    for row, cell in enumerate(cells, start=1):
        if cell and not _is(cell, kind):
            raise ValueError(f"row {row} has {cell!r}; by its metadata, it is {kind}")
    return make_column(NO_NUMBERS.get(cell) for cell in cells)  # none of them is finite


def _is(cell: str, kind: str) -> bool:
    if kind == "bool":
        return cell in BOOLEANS
    if kind == "int":
        return INTEGER.fullmatch(cell) is not None
    return cell in NO_NUMBERS or parse_numbers([cell]) is not None


def unify(parts: Sequence[Array | Cells]) -> list[Array]:
    """Give a column the same kind in several tables: numbers if all values are numbers.

    Args:
        parts: The column in each table, as cells where it is not known of what kind.
    """
    cells = parse_cells([c for part in parts if isinstance(part, list) for c in part])
    kinds = {kind_of(p) for p in parts if not isinstance(p, list)} | {kind_of(cells)}
    kinds -= {""}
    is_text = "str" in kinds or ("bool" in kinds and len(kinds) > 1)
    arrays, start = [], 0
    for part in parts:
        if isinstance(part, list):
            array = texts(part) if is_text else cells[start : start + len(part)]
            start += len(part)
        elif is_text:
            values = part.tolist()
            array = texts("" if v is None or v != v else str(v) for v in values)
        elif kinds and not kind_of(part):
            array = np.full(len(part), np.nan)
        else:
            array = part
        arrays.append(array)
    return arrays


def join_columns(arrays: Sequence[Array]) -> Array:
    """Concatenate columns without a loss of values."""
    dtypes = {values.dtype for values in arrays}
    n_rows = sum(map(len, arrays))
    if {dtype.kind for dtype in dtypes} == {"U"}:
        # As long as the longest one; many long ones become objects.
        if max(dtype.itemsize for dtype in dtypes) * n_rows <= 2**28:
            return np.concatenate(arrays)
    elif len(dtypes) == 1 and dtypes.pop().kind in "biuf":
        return np.concatenate(arrays)
    return make_column(value for values in arrays for value in values.tolist())


def with_nan(values: Array) -> Array:
    """Integers with gaps as floating point numbers, if these hold them all."""
    if values.dtype == object and kind_of(values) == "int":
        known = [value for value in values.tolist() if value is not None]
        if len(known) < len(values) and all(abs(value) <= EXACT for value in known):
            return values.astype(np.float64)
    return values
