"""Conditions of the wells, from the condition tables of their images."""

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from .. import kit
from .measurements import Position, TableState

SECONDS = 5.0
TABLE = "condition_table"


class Condition(NamedTuple):
    """The condition of a well.

    Attributes:
        names: Names of the columns.
        values: Their values.
        control: `positive` or `negative`, by a column `control`; else empty.
    """

    names: str
    values: str
    control: str = ""


class Conditions:
    """Reads condition tables once, and forgets replaced ones."""

    def __init__(self) -> None:
        self._known: dict[Path, tuple[TableState | None, Condition | None]] = {}

    def read(
        self,
        tables: Mapping[Path, TableState],
        where: Callable[[Path], Position | None],
    ) -> dict[Position, Condition]:
        """Return the condition of each position.

        A well whose acquisitions agree is also there without an acquisition.

        Args:
            tables: States of tables, by their folders.
            where: The position of an image, by its folder.
        """
        end = time.monotonic() + SECONDS
        conditions: dict[Position, Condition] = {}
        differing: set[Position] = set()
        for table, state in tables.items():
            position = where(table.parents[1])
            if table.name != TABLE or position is None:
                continue
            if self._known.get(table, (None, None))[0] != state:
                if time.monotonic() > end:
                    continue
                self._known[table] = state, describe(table)
            if condition := self._known[table][1]:
                well = position._replace(acquisition="")
                if conditions.setdefault(well, condition) != condition:
                    differing.add(well)
                conditions[position] = condition
        return {key: c for key, c in conditions.items() if key not in differing}


def describe(table: Path) -> Condition | None:
    """Return the condition in a table, unless a column has several values."""
    try:
        columns = kit.read_table(table.parents[1], table.name).columns
    except Exception:  # plots without names of conditions are better than none
        return None
    values = {name: {*column.tolist()} for name, column in columns.items()}
    if not values or any(len(distinct) != 1 for distinct in values.values()):
        return None
    words = [
        f"{value:g}" if isinstance(value, float) else str(value)
        for (value,) in values.values()
    ]
    named = dict(zip((name.lower() for name in values), words, strict=True))
    control = named.get("control", "").lower()
    return Condition(
        ", ".join(values),
        ", ".join(words),
        control if control in ("positive", "negative") else "",
    )
