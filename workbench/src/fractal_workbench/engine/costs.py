"""What the units of a workflow cost, and what the task list asks for.

The operating system measures: time, processor time of a unit with what it waited for, and
the peak memory of the largest of these processes, or of the one that starts them if that
is more. SLURM counts the sum of processes that run at the same time.
"""

import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from .rules import Resources

MARGIN = 1.5  # of the memory that is proposed
LEAST = 500  # megabytes
FILE = "cost.json"
MAXRSS = 1 if sys.platform == "darwin" else 1024  # bytes


class Cost(NamedTuple):
    """What a unit cost.

    Attributes:
        seconds: From its start to its end.
        cpu_seconds: Time of processors.
        memory: Peak, in megabytes.
    """

    seconds: float
    cpu_seconds: float
    memory: float


class Costs(NamedTuple):
    """What the units of a task cost; of a compound task, those of one of its parts.

    Attributes:
        task: Name of the task.
        part: `parallel` or `non_parallel`.
        cpus: What it asks for: `cpus_per_task`.
        memory: What it asks for: `mem`, in megabytes.
        units: Those that ran to their ends, well or not.
    """

    task: str
    part: str
    cpus: int | None
    memory: int | None
    units: list[Cost]

    @property
    def proposal(self) -> dict[str, int]:
        """What to ask for, by these units."""
        most = max(unit.memory for unit in self.units) * MARGIN
        mem = max(math.ceil(most / 100) * 100, LEAST)
        return {"cpus_per_task": self.processors, "mem": mem}

    @property
    def processors(self) -> int:
        """How many processors a unit used at most, as a whole number of at least one."""
        used = (unit.cpu_seconds / max(unit.seconds, 0.1) for unit in self.units)
        return max(1, math.floor(max(used) + 0.5))

    def complaints(self) -> Iterable[str]:
        """What the task asks too little of."""
        wanted = self.proposal
        most = max(unit.memory for unit in self.units)
        if self.memory is not None and most > max(self.memory, _own_memory()):
            yield (
                f"{self.task} asks for too little memory: mem is {self.memory}, and a unit "
                f"took {most:.0f} MB. Ask for {wanted['mem']}."
            )
        if self.cpus is not None and self.processors > self.cpus:
            yield (
                f"{self.task} asks for too few processors: cpus_per_task is {self.cpus}, "
                f"and a unit kept {self.processors} of them busy."
            )


def wait(process: "subprocess.Popen[bytes]", folder: Path) -> int:
    """Wait for the end of a process; write what it cost, and return its exit code."""
    start = time.monotonic()
    if not hasattr(os, "wait4"):  # on Windows
        return process.wait()
    try:
        _, status, usage = os.wait4(process.pid, 0)
    except ChildProcessError:  # where SIGCHLD is ignored
        return process.wait()
    process.returncode = os.waitstatus_to_exitcode(status)
    cost = Cost(
        seconds=time.monotonic() - start,
        cpu_seconds=usage.ru_utime + usage.ru_stime,
        memory=usage.ru_maxrss * MAXRSS / 2**20,
    )
    with suppress(OSError):  # of a full disk
        write(folder, cost)
    return process.returncode


def write(folder: Path, cost: Cost) -> None:
    """Write what a unit cost."""
    (folder / FILE).write_text(json.dumps(cost), "utf-8")


def read(folder: Path) -> Cost | None:
    """Read what a unit cost, if that is known."""
    with suppress(OSError, ValueError, TypeError):  # none, or half of one
        return Cost(*json.loads((folder / FILE).read_text("utf-8")))
    return None


def sum_up(task: str, part: str, meta: Mapping[str, Any], units: list[Cost]) -> Costs:
    """Return what units of a part of a task cost, beside what it asks for."""
    requested = Resources.model_validate(meta)
    cpus = requested.cpus_per_task if "cpus_per_task" in meta else None
    mem = requested.mem if "mem" in meta else None
    return Costs(task, part, cpus, mem, units)


def _own_memory() -> float:
    """Peak memory of this process, which counts as that of a unit that takes less."""
    with suppress(OSError, StopIteration):  # without what started this process
        lines = Path("/proc/self/status").read_text("utf-8").splitlines()
        peak = next(line for line in lines if line.startswith("VmHWM:"))
        return int(peak.split()[1]) / 1024
    most = 0
    if sys.platform != "win32":
        import resource

        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most * MAXRSS / 2**20


def show(costs: Sequence[Costs]) -> None:
    """Print a table, and which tasks ask for too little."""
    costs = [one for one in costs if one.units]
    if not costs:
        return
    head = (
        "",
        "units",
        "seconds",
        "(most)",
        "processors",
        "MB",
        "(most)",
        "asks for",
        "would do",
    )
    table = [head]
    for one in costs:
        seconds, cpu_seconds, memory = zip(*one.units, strict=True)
        used = median(
            c / max(s, 0.1) for c, s in zip(cpu_seconds, seconds, strict=True)
        )
        asks = [
            f"{one.cpus} cpus" if one.cpus else "",
            f"{one.memory} MB" if one.memory else "",
        ]
        first = " (init)" if one.part == "non_parallel" and _has_two(one, costs) else ""
        table.append(
            (
                one.task + first,
                str(len(one.units)),
                f"{median(seconds):.1f}",
                f"({max(seconds):.1f})",
                f"{used:.1f}",
                f"{median(memory):.0f}",
                f"({max(memory):.0f})",
                ", ".join(filter(None, asks)) or "nothing",
                f"mem: {one.proposal['mem']}",
            )
        )
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    print(
        f"\nWhat a unit cost, and what would do for such images, {MARGIN} times the most:"
    )
    for row in table:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        print("   ", "  ".join(cells).rstrip())
    for one in costs:
        for complaint in one.complaints():
            print(complaint)


def _has_two(one: Costs, costs: Sequence[Costs]) -> bool:
    """Whether a task has two parts."""
    return len({other.part for other in costs if other.task == one.task}) == 2
