"""What the page says about a step in rows and columns: arguments, images, units, logs."""

import json
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

from ..engine.history import StepDone
from .views import short_name

Image = dict[str, Any]

MAX_ROWS = 60  # of an image list
MAX_LOGS = 10
MAX_LOG = 20_000  # characters


def arguments(done: StepDone) -> list[tuple[str, str, bool]]:
    """Name and value of each argument, and whether it is the default."""
    rows = []
    for part in ("non_parallel", "parallel"):
        given = getattr(done.step, f"args_{part}") or {}
        schema = getattr(done.task, f"args_schema_{part}") or {}
        known = schema.get("properties", {})
        reserved = {"zarr_url", "zarr_urls", "zarr_dir", "init_args"}
        for name in dict.fromkeys([*known, *given]):
            if name in given:
                rows.append((name, value(given[name]), False))
            elif name not in reserved and "default" in known[name]:
                rows.append((name, value(known[name]["default"]), True))
    return rows


def value(given: Any) -> str:
    """A value as the workflow has it."""
    return (
        given
        if isinstance(given, str) and given
        else json.dumps(given, ensure_ascii=False)
    )


def duration(seconds: float) -> str:
    """A time as people say it."""
    if seconds < 1:
        return f"{seconds:.2g} s"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def image_table(images: Sequence[Image], marked: Sequence[str], zarr_dir: Path) -> Any:
    """Head and rows of an image list, and how many rows are left out."""
    kinds = ("attributes", "types")
    columns = sorted(
        {(kind, name) for i in images for kind in kinds for name in i[kind]}
    )
    some = {*marked}
    rows = [
        (
            image["zarr_url"] in some,
            short_name(image["zarr_url"], zarr_dir),
            [str(image[kind].get(name, "")) for kind, name in columns],
        )
        for image in images[:MAX_ROWS]
    ]
    return [name for _, name in columns], rows, max(len(images) - MAX_ROWS, 0)


def unit_rows(done: StepDone) -> list[dict[str, Any]]:
    """What the units of each part cost, and what they ask for."""
    rows = []
    for part in ("non_parallel", "parallel"):
        units = [unit for unit in done.units if unit.part == part]
        if not units:
            continue
        costs = [unit.cost for unit in units if unit.cost]
        asked = next(
            (one for one in done.costs if one.part == part and one.units), None
        )
        row: dict[str, Any] = {
            "part": "once for all" if part == "non_parallel" else "for each",
            "units": len(units),
            "failed": sum(unit.reason is not None for unit in units),
            "reused": sum(unit.reused for unit in units),
            "costs": len(costs),
            "asked": asked,
            "complaints": list(asked.complaints()) if asked else [],
        }
        for name in ("seconds", "cpu_seconds", "memory"):
            values = [getattr(cost, name) for cost in costs]
            row[name] = (median(values), max(values)) if values else None
        rows.append(row)
    return rows


def logs(done: StepDone) -> tuple[list[tuple[str, str, str]], int]:
    """Name, reason and log of the units that failed, and how many are left out."""
    failed = [unit for unit in done.units if unit.reason is not None]
    some = [
        (
            unit.name,
            unit.reason or "",
            unit.log if len(unit.log) <= MAX_LOG else f"…\n{unit.log[-MAX_LOG:]}",
        )
        for unit in failed[:MAX_LOGS]
    ]
    return some, len(failed) - len(some)
