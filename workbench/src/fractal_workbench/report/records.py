"""The step that a label or table is of: by the record in it, or by when it was written."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..engine import nodes
from ..engine.rules import Planned, normalise


class Records:
    """Finds the step of labels and tables that were there before a run began.

    A task that runs again may find its result, and leave it as it is. The record of the kit
    says which task has made it, with which arguments.

    Args:
        steps: The steps of the workflow.
        start: When the run began, in nanoseconds.
    """

    def __init__(self, steps: Sequence[Planned], start: int) -> None:
        self._start = start
        self._steps = [_parts(step) for step in steps]
        self._known: dict[tuple[Path, int], int | None] = {}

    def step_of(self, folder: Path) -> int | None:
        """Number of the step that makes this, from 1; None if no record says so."""
        written = written_at(folder)
        if (folder, written) not in self._known:
            image = folder.parents[1]
            record = nodes.made_by(str(folder))
            if record is None and written <= written_at(image):
                record = nodes.made_by(str(image))  # it came with its image
            self._known[folder, written] = self._find(record)
        return self._known[folder, written]

    def is_older(self, folder: Path) -> bool:
        """Return whether this was there before the run, and no copy was made since."""
        return all(status.st_ctime_ns < self._start for status in _metadata(folder))

    def _find(self, record: Any) -> int | None:
        if not isinstance(record, Mapping):
            return None
        arguments = record.get("arguments")
        key = normalise(str(record.get("package"))), record.get("task")
        for number, parts in enumerate(self._steps, 1):
            wanted = parts.get(key)
            if wanted is not None and _agree(wanted, arguments):
                return number
        return None


def written_at(folder: Path) -> int:
    """When the metadata of a group were written, in nanoseconds; 0 without any."""
    return max((status.st_mtime_ns for status in _metadata(folder)), default=0)


def _metadata(folder: Path) -> list[os.stat_result]:
    files = [folder / name for name in nodes.METADATA]
    return [file.stat() for file in files if file.is_file()]


def _parts(planned: Planned) -> dict[tuple[str, Any], dict[str, Any]]:
    """Arguments of each part of a task, with defaults, by package and module."""
    step, task, package = planned
    parts = {}
    for part in ("non_parallel", "parallel"):
        if executable := getattr(task, f"executable_{part}"):
            schema = getattr(task, f"args_schema_{part}") or {}
            given = getattr(step, f"args_{part}") or {}
            defaults = {
                name: one["default"]
                for name, one in schema.get("properties", {}).items()
                if "default" in one
            }
            given = {name: one for name, one in given.items() if one is not None}
            key = normalise(package.name), Path(executable).stem
            parts[key] = defaults | given
    return parts


def _agree(wanted: Any, found: Any) -> bool:
    """Return whether arguments are those of a record, which has more of them."""
    if isinstance(wanted, Mapping) and isinstance(found, Mapping):
        return all(_agree(one, found[k]) for k, one in wanted.items() if k in found)
    return bool(wanted == found)
