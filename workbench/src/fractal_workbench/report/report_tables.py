"""Tables of the page about a step: arguments, images, units, logs."""

import json
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import NamedTuple

from ..engine.costs import Costs
from ..engine.history import StepDone
from ..engine.rules import Image
from ..form.model import RESERVED_ARGUMENTS
from .views import short_name

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
        for name in dict.fromkeys([*known, *given]):
            if name in given:
                rows.append((name, value(given[name]), False))
            elif name not in RESERVED_ARGUMENTS and "default" in known[name]:
                rows.append((name, value(known[name]["default"]), True))
    return rows


def value(argument: object) -> str:
    """A value as the workflow has it."""
    if isinstance(argument, str) and argument:
        return argument
    return json.dumps(argument, ensure_ascii=False)


def duration(seconds: float) -> str:
    """A duration in words."""
    if seconds < 1:
        return f"{seconds:.2g} s"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def image_table(
    images: Sequence[Image], marked: Sequence[str], zarr_dir: Path
) -> tuple[list[str], list[tuple[bool, str, list[str]]], int]:
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


class Status(NamedTuple):
    """Success or failure of a workflow.

    Attributes:
        kind: `succeeded`, `partly` or `failed`.
        text: What happened, in a sentence.
        links: Place on the page, and name, of what failed.
    """

    kind: str
    text: str
    links: list[tuple[str, str]]


def status_of(steps: Sequence[StepDone]) -> Status:
    """Return the status of a run: succeeded, failed, or partly succeeded."""
    if not steps:
        return Status("failed", "No step ran.", [])
    last, n = steps[-1], len(steps)
    jobs = sum(len(step.units or ()) for step in steps)
    noun = "job" if jobs == 1 else "jobs"
    if last.failure is None and n == last.total:
        which = "The step" if n == 1 else f"All {n} steps"
        return Status("succeeded", f"{which} succeeded, with {jobs} {noun}.", [])
    if last.failure is None:
        link = [(f"step-{last.number}", f"{last.number}. {step_name(last)}")]
        text = f"Stopped after step {n} of {last.total}: {last.total - n} did not run."
        return Status("partly", text, link)
    failed = [unit for unit in last.units if unit.reason is not None]
    done = n > 1 or len(failed) < len(last.units)
    links = [(f"step-{last.number}", f"{last.number}. {step_name(last)}")]
    links += [
        (f"failed-{last.number}-{number}", unit.name)
        for number, unit in enumerate(failed[:MAX_LOGS], 1)
    ]
    text = f"Step {n} of {last.total}, {step_name(last)}, failed"
    if last.units:
        text += f": {len(failed)} of {len(last.units)} jobs"
    if n > 1:
        text += f". {'The step' if n == 2 else f'The {n - 1} steps'} before succeeded"
    if last.total > n:
        text += f". {last.total - n} did not run"
    return Status("partly" if done else "failed", f"{text}.", links)


def step_name(done: StepDone) -> str:
    """Name of a step, for people."""
    return done.step.alias or done.task.name


class CostRow(NamedTuple):
    """The costs of the jobs of one part of a task.

    Attributes:
        number: Of the step.
        step: Its name.
        part: How often that part runs, in words.
        jobs: How many jobs there were.
        failed: How many of them failed.
        reused: How many were taken from an earlier run.
        requested: The requested resources, with what was measured.
        complaints: Sentences about these.
        seconds: Median and largest time of a job.
        cpu_seconds: The same of its processors.
        memory: The same of its peak memory.
    """

    number: int
    step: str
    part: str
    jobs: int
    failed: int
    reused: int
    requested: Costs | None
    complaints: list[str]
    seconds: tuple[float, float] | None
    cpu_seconds: tuple[float, float] | None
    memory: tuple[float, float] | None


def cost_rows(steps: Sequence[StepDone]) -> list[CostRow]:
    """Costs of the jobs of each part of each step, and the requested resources."""
    rows = []
    for done in steps:
        for part in ("non_parallel", "parallel"):
            units = [unit for unit in done.units or () if unit.part == part]
            if not units:
                continue
            costs = [unit.cost for unit in units if unit.cost]
            requested = next(
                (c for c in done.costs if c.part == part and c.units), None
            )
            rows.append(
                CostRow(
                    number=done.number,
                    step=step_name(done),
                    part="once for all" if part == "non_parallel" else "for each",
                    jobs=len(units),
                    failed=sum(unit.reason is not None for unit in units),
                    reused=sum(unit.reused for unit in units),
                    requested=requested,
                    complaints=[*requested.complaints()] if requested else [],
                    seconds=_middle([cost.seconds for cost in costs]),
                    cpu_seconds=_middle([cost.cpu_seconds for cost in costs]),
                    memory=_middle([cost.memory for cost in costs]),
                )
            )
    return rows


def _middle(values: list[float | None]) -> tuple[float, float] | None:
    """Median and largest of the values, if there are any."""
    known = [value for value in values if value is not None]
    return (median(known), max(known)) if known else None


def logs(done: StepDone) -> tuple[list[tuple[str, str, str]], int]:
    """Name, reason and log of failed units, and the number of further ones."""
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
