"""Measured costs of units, beside the requested and suggested resources.

The operating system measures: time, processor time of a unit with what it waited for, and
the peak memory of the largest of these processes. SLURM counts the sum of processes that
run at the same time.
"""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from .rules import Resources, count_of

MARGIN = 1.5  # of the memory that is proposed
LEAST = 500  # megabytes
FILE = "cost.json"


class Cost(NamedTuple):
    """Costs of a unit.

    Attributes:
        seconds: From its start to its end.
        cpu_seconds: Time of processors; None on Windows.
        memory: Peak, in megabytes; None where the system does not count it.
    """

    seconds: float
    cpu_seconds: float | None
    memory: float | None


class Costs(NamedTuple):
    """Costs of the units of a task, or of a part of a compound task.

    Attributes:
        task: Name of the task.
        part: `parallel` or `non_parallel`.
        cpus: Requested `cpus_per_task`.
        memory: Requested `mem`, in megabytes.
        units: Those that ran to their ends, well or not.
    """

    task: str
    part: str
    cpus: int | None
    memory: int | None
    units: list[Cost]

    @property
    def proposal(self) -> dict[str, int]:
        """Suggested resources, by these units."""
        wanted = {}
        if used := self.processors:
            wanted["cpus_per_task"] = max(1, math.floor(max(used) + 0.5))
        if peaks := self.peaks:
            mem = math.ceil(max(peaks) * MARGIN / 100) * 100
            wanted["mem"] = max(mem, LEAST)
        return wanted

    @property
    def processors(self) -> list[float]:
        """How many processors each unit kept busy, where that is known."""
        return [
            unit.cpu_seconds / max(unit.seconds, 0.1)
            for unit in self.units
            if unit.cpu_seconds is not None
        ]

    @property
    def peaks(self) -> list[float]:
        """The peak memory of each unit in megabytes, where that is known."""
        return [unit.memory for unit in self.units if unit.memory is not None]

    def complaints(self) -> Iterable[str]:
        """Describe resources of which the task requests too little."""
        wanted, most = self.proposal, max(self.peaks, default=0)
        if self.memory is not None and most > self.memory:
            yield (
                f"{self.task} requests too little memory: mem is {self.memory}, and a job "
                f"took {most:.0f} MB. Request {wanted['mem']}."
            )
        cpus = wanted.get("cpus_per_task", 1)
        if self.cpus is not None and cpus > self.cpus:
            yield (
                f"{self.task} requests too few processors: cpus_per_task is {self.cpus}, "
                f"and a job kept {cpus} of them busy."
            )


def write(folder: Path, cost: Cost) -> None:
    """Write the costs of a unit."""
    (folder / FILE).write_text(json.dumps(cost), "utf-8")


def read(folder: Path) -> Cost | None:
    """Read the costs of a unit, if they are known."""
    with suppress(OSError, ValueError, TypeError):  # none, or half of one
        return Cost(*json.loads((folder / FILE).read_text("utf-8")))
    return None


def sum_up(task: str, part: str, meta: Mapping[str, Any], units: list[Cost]) -> Costs:
    """Return the costs of the units of a part of a task, beside its requests."""
    requested = Resources.model_validate(meta)
    cpus = requested.cpus_per_task if "cpus_per_task" in meta else None
    mem = requested.mem if "mem" in meta else None
    return Costs(task, part, cpus, mem, units)


def show(costs: Sequence[Costs]) -> None:
    """Print a table of costs, and the tasks that request too little."""
    costs = [part for part in costs if part.units]
    if not costs:
        return
    head = (
        "",
        "jobs",
        "seconds",
        "(most)",
        "processors",
        "MB",
        "(most)",
        "requested",
        "suggested",
    )
    table = [head]
    for part in costs:
        seconds = [unit.seconds for unit in part.units]
        used, peaks = part.processors, part.peaks
        asks = [
            count_of(part.cpus, "cpu") if part.cpus else "",
            f"{part.memory} MB" if part.memory else "",
        ]
        first = (
            " (init)" if part.part == "non_parallel" and _has_two(part, costs) else ""
        )
        table.append(
            (
                part.task + first,
                str(len(part.units)),
                f"{median(seconds):.1f}",
                f"({max(seconds):.1f})",
                f"{median(used):.1f}" if used else "",
                f"{median(peaks):.0f}" if peaks else "",
                f"({max(peaks):.0f})" if peaks else "",
                ", ".join(filter(None, asks)) or "nothing",
                f"mem: {part.proposal['mem']}" if peaks else "",
            )
        )
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    print(f"\nCosts of a job; the suggested memory is {MARGIN} times the highest peak:")
    for row in table:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        print("   ", "  ".join(cells).rstrip())
    for part in costs:
        for complaint in part.complaints():
            print(complaint)


def _has_two(part: Costs, costs: Sequence[Costs]) -> bool:
    """Whether a task has two parts."""
    return len({item.part for item in costs if item.task == part.task}) == 2
