"""Lists of the user: positions of fields, and the layout of a plate."""

import csv
import io
import logging
import re
from collections.abc import Sequence
from pathlib import Path

from ..columns import parse_numbers
from .names import split_well

logger = logging.getLogger(__name__)

Position = tuple[float, float]
"""y and x, in micrometers."""
Condition = str | int | float | None
"""A value of the layout of a plate."""


def read_csv(path: str, argument: str, needed: Sequence[str]) -> list[dict[str, str]]:
    """Rows of a CSV file, also one with semicolons or tabs; empty rows are left out.

    Args:
        path: The file.
        argument: Name of the task's argument, for the error messages.
        needed: Columns that it must have; their names may be capital in the file.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It lacks a column, or a row has more or fewer values than columns.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"{argument}: there is no file {path}")
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{argument}: {path} is no text in UTF-8") from error
    delimiter = max(",;\t", key=text.split("\n", 1)[0].count)
    reader = csv.reader(io.StringIO(text), delimiter=delimiter, strict=True)
    try:
        header, *lines = [*reader] or [[]]
    except csv.Error as error:
        where = f"line {reader.line_num} of {path}"
        raise ValueError(f"{argument}: {where} cannot be read: {error}") from error
    columns = [name.strip() for name in header]
    columns = [n.lower() if n.lower() in needed else n for n in columns]
    missing = [name for name in needed if name not in columns]
    if missing or "" in columns or len(set(columns)) < len(columns):
        raise ValueError(
            f"{argument}: {path} has the columns {columns}; needed are "
            f"{', '.join(needed)}, each column with a name of its own"
        )
    rows = []
    for number, values in enumerate(lines, start=2):
        if not any(value.strip() for value in values):
            continue
        if len(values) != len(columns):
            raise ValueError(
                f"{argument}: line {number} of {path} has length {len(values)}, and the "
                f"first line has {len(columns)}: give each column a value, or leave it empty"
            )
        rows.append(dict(zip(columns, (v.strip() for v in values), strict=True)))
    return rows


def read_positions(path: str) -> dict[tuple[str, int], Position]:
    """Position of each field by well, such as A01, or by "" for all wells.

    Raises:
        ValueError: A value is no number, a field is repeated, or a column has units.
    """
    argument = "fields.positions_csv"
    found: dict[tuple[str, int], Position] = {}
    rows = read_csv(path, argument, ["field", "x", "y"])
    others = [key for key in (rows or [{}])[0] if key not in ("field", "x", "y")]
    of_well = [key for key in others if key.lower() == "well"]
    if len(of_well) > 1 or any("unit" in key.lower() for key in others):
        raise ValueError(
            f"{argument}: {path} has the columns {', '.join(others)} beside field, x and y: "
            "allowed is one for the well; positions are in micrometers"
        )
    if unused := sorted({*others} - {*of_well}):
        logger.warning("%s: columns without a use: %s", argument, ", ".join(unused))
    for row in rows:
        well = row[of_well[0]] if of_well else ""
        try:
            x, y = parse_numbers([row["x"], row["y"]]) or (None, None)
            if x is None or y is None or not re.fullmatch("[0-9]+", row["field"]):
                raise ValueError("it needs the number of a field, and two positions")
            field = int(row["field"])
        except ValueError as error:
            raise ValueError(
                f"{argument}: {path} has the row {row}: {error}"
            ) from error
        key = ("".join(split_well(well, argument)) if well else "", field)
        if key in found:
            raise ValueError(f"{argument}: {path} has field {field} twice: {row}")
        found[key] = y, x
    return found


def read_layout(path: str) -> dict[str, dict[str, Condition]]:
    """Conditions of each well, such as A01, by column.

    They are numbers where all of a column are, and otherwise the texts that the user
    typed; None is an empty cell among numbers.

    Raises:
        ValueError: It names no wells, or one twice, or says nothing of them.
    """
    argument = "plate_layout"
    found: dict[str, dict[str, Condition]] = {}
    rows = read_csv(path, argument, ["well"])
    if not rows:
        raise ValueError(f"{argument}: {path} has no rows: add one for each well")
    for row in rows:
        well = "".join(split_well(row.pop("well"), argument))
        if well in found:
            raise ValueError(f"{argument}: {path} has the well {well} twice")
        if not row:
            raise ValueError(f"{argument}: {path} has no other column than well")
        found[well] = dict(row)
    for column in next(iter(found.values()), {}):
        texts = [row[column] for row in rows]
        numbers = parse_numbers(texts)
        if numbers is None and parse_numbers(text.replace(",", ".") for text in texts):
            text = next(text for text in texts if "," in text)
            raise ValueError(
                f"{argument}: {path} has {text!r} in the column {column!r}: write a point "
                "in place of the comma in numbers"
            )
        if numbers is not None:
            for conditions, number in zip(found.values(), numbers, strict=True):
                conditions[column] = number
    return found
