"""What was done to the wells, by the condition tables of their images."""

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from .. import kit
from .measured import Well

SECONDS = 5.0
TABLE = "condition_table"


class Condition(NamedTuple):
    """What was done to a well: names of the columns, and their values."""

    names: str
    values: str


class Conditions:
    """Reads condition tables once, and forgets what was replaced."""

    def __init__(self) -> None:
        self._known: dict[Path, tuple[Any, Condition | None]] = {}

    def read(
        self, tables: Mapping[Path, Any], where: Callable[[Path], Well | None]
    ) -> dict[Well, Condition]:
        """What was done to each well.

        Args:
            tables: States of tables, by their folders.
            where: The well of an image, by its folder.
        """
        end = time.monotonic() + SECONDS
        found = {}
        for table, state in tables.items():
            well = where(table.parents[1])
            if table.name != TABLE or well is None:
                continue
            if self._known.get(table, (None, None))[0] != state:
                if time.monotonic() > end:
                    continue
                self._known[table] = state, describe(table)
            if condition := self._known[table][1]:
                found[well] = condition
        return found


def describe(table: Path) -> Condition | None:
    """The columns of a condition table, unless they say several things of the image."""
    try:
        columns = kit.read_table(table.parents[1], table.name).columns
    except Exception:  # plots without names of conditions are better than none
        return None
    values = {name: {*column.tolist()} for name, column in columns.items()}
    if not values or any(len(one) != 1 for one in values.values()):
        return None
    words = [
        f"{v:g}" if isinstance(v, float) else str(v)
        for one in values.values()
        for v in one
    ]
    return Condition(", ".join(values), ", ".join(words))
