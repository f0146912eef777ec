"""Conditions of the wells, from the condition tables of their images."""

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ..kit import Table
from ..kit.tables import read_cells, unify_tables
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
        self._known: dict[Path, tuple[TableState | None, Table | None]] = {}

    @property
    def columns(self) -> set[str]:
        """Names of all columns that were read."""
        return {
            name for _, table in self._known.values() if table for name in table.columns
        }

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
        positions: list[Position] = []
        known: list[Table] = []
        for path, state in tables.items():
            position = where(path.parents[1])
            if path.name != TABLE or position is None:
                continue
            if self._known.get(path, (None, None))[0] != state:
                if time.monotonic() > end:
                    continue
                self._known[path] = state, _read(path)
            if table := self._known[path][1]:
                positions.append(position)
                known.append(table)
        conditions: dict[Position, Condition] = {}
        differing: set[Position] = set()
        for position, table in zip(positions, unify_tables(known), strict=True):
            if condition := describe(table):
                well = position._replace(acquisition="")
                if conditions.setdefault(well, condition) != condition:
                    differing.add(well)
                conditions[position] = condition
        return {key: c for key, c in conditions.items() if key not in differing}


def _read(path: Path) -> Table | None:
    """Read a table; None if it is damaged."""
    try:
        return read_cells(path.parents[1], path.name)
    except Exception:  # plots without names of conditions are better than none
        return None


def describe(table: Table) -> Condition | None:
    """Return the condition in a table, unless a column has several values."""
    values = {name: {*map(_word, c.tolist())} for name, c in table.columns.items()}
    if not values or any(len(distinct) != 1 for distinct in values.values()):
        return None
    words = [word for (word,) in values.values()]
    named = dict(zip((name.lower() for name in values), words, strict=True))
    control = named.get("control", "").lower()
    return Condition(
        ", ".join(values),
        ", ".join(words),
        control if control in ("positive", "negative") else "",
    )


def _word(value: Any) -> str:
    """A value as a text that no other value has."""
    if value is None or value != value:
        return ""
    return str(int(value) if isinstance(value, float) and value.is_integer() else value)
