"""Tables of the page about a step: arguments, images, units, logs."""

import json
import re
from collections.abc import Collection, Sequence
from pathlib import Path
from statistics import median
from typing import NamedTuple

from ..engine.costs import Costs
from ..engine.history import StepDone
from ..engine.logs import clean, notable
from ..engine.rules import Image, Step, count_of
from ..form.model import RESERVED_ARGUMENTS
from .views import short_name

MAX_ROWS = 60  # of an image list
MAX_LOGS = 10
MAX_LOG = 20_000  # characters
MAX_ARGUMENTS = 50_000  # characters
MAX_MESSAGES = 12  # of a step


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
    bold = {*marked}
    rows = [
        (
            image["zarr_url"] in bold,
            short_name(image["zarr_url"], zarr_dir),
            [str(image[kind].get(name, "")) for kind, name in columns],
        )
        for image in images[:MAX_ROWS]
    ]
    return [name for _, name in columns], rows, max(len(images) - MAX_ROWS, 0)


class Status(NamedTuple):
    """Success or failure of a workflow.

    Attributes:
        kind: `succeeded`, `partly`, `failed`, or `nothing` without a step.
        text: What happened, in a sentence.
        links: Place on the page, and name, of what failed or has messages.
    """

    kind: str
    text: str
    links: list[tuple[str, str]]


def status_of(
    steps: Sequence[StepDone],
    left: Sequence[str] = (),
    noted: Collection[int] = (),
) -> Status:
    """Return the status of a run: succeeded, failed, or partly succeeded.

    Args:
        steps: The steps that ran.
        left: Numbers and names of the steps that did not run, such as `2. Blur`.
        noted: Numbers of the steps whose jobs have messages.
    """
    if not steps:
        if not left:
            return Status("nothing", "The workflow has no steps.", [])
        return Status("failed", f"No step ran. {_did_not_run(left)}.", [])
    last, n = steps[-1], len(steps)
    left = left or [f"step {number}" for number in range(n + 1, last.total + 1)]
    jobs = sum(len(step.units or ()) for step in steps)
    if last.failure is None and not left:
        which = "The step" if n == 1 else f"All {n} steps"
        text = f"{which} succeeded, with {count_of(jobs, 'job')}."
        links = [
            (f"step-{step.number}-messages", f"{step.number}. {step_name(step)}")
            for step in steps
            if step.number in noted
        ]
        if links:
            text += f" Read the messages of {len(links)} of the steps:"
        return Status("succeeded", text, links)
    if last.failure is None:
        link = [(f"step-{last.number}", f"{last.number}. {step_name(last)}")]
        text = f"Stopped after step {n} of {last.total}. {_did_not_run(left)}."
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
        text += f": {len(failed)} of {count_of(len(last.units), 'job')}"
    if n > 1:
        text += f". {'The step' if n == 2 else f'The {n - 1} steps'} before succeeded"
    if left:
        text += f". {_did_not_run(left)}"
    return Status("partly" if done else "failed", f"{text}.", links)


def _did_not_run(names: Sequence[str]) -> str:
    """The steps that did not run, in words."""
    more = f", and {len(names) - 3} more" if len(names) > 3 else ""
    return f"Did not run: {', '.join(names[:3])}{more}"


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


def as_json(step: Step) -> str:
    """The arguments of a step as JSON, as a workflow has them; empty if there are none."""
    parts = ("args_non_parallel", "args_parallel")
    given = {part: getattr(step, part) for part in parts if getattr(step, part)}
    return json.dumps(given, indent=2, ensure_ascii=False) if given else ""


class FailedJob(NamedTuple):
    """A job that failed.

    Attributes:
        name: Its name.
        reason: Why it failed.
        log: The end of its log.
        arguments: Its arguments as JSON; empty if they are too long for the page.
    """

    name: str
    reason: str
    log: str
    arguments: str


def failed_jobs(done: StepDone) -> tuple[list[FailedJob], int]:
    """Return the first jobs that failed, and the number of the others."""
    failed = [unit for unit in done.units if unit.reason is not None]
    jobs = []
    for unit in failed[:MAX_LOGS]:
        log = clean(unit.log)
        log = log if len(log) <= MAX_LOG else f"…\n{log[-MAX_LOG:]}"
        given = json.dumps(unit.args, indent=2, ensure_ascii=False)
        given = given if len(given) <= MAX_ARGUMENTS else ""
        jobs.append(FailedJob(unit.name, unit.reason or "", log, given))
    return jobs, len(failed) - len(jobs)


class Message(NamedTuple):
    """A message about a problem, or about what a task decided by itself.

    Attributes:
        text: The message of the first job that has it.
        jobs: How many jobs have it, with other paths and numbers.
        first: Name of the first one.
    """

    text: str
    jobs: int
    first: str


class Logs(NamedTuple):
    """The logs of the successful jobs of a step.

    Attributes:
        messages: Messages to read, alike ones once.
        more_messages: How many further ones there are.
        logs: Name and log of some jobs, those with messages first.
        more_logs: How many further jobs have a log.
    """

    messages: list[Message]
    more_messages: int
    logs: list[tuple[str, str]]
    more_logs: int


def read_logs(done: StepDone) -> Logs:
    """Return the messages in the logs of successful jobs, and some of these logs."""
    messages: dict[str, Message] = {}
    noted: list[tuple[str, str]] = []
    quiet: list[tuple[str, str]] = []
    for unit in done.units or ():
        if unit.reason is not None or not unit.log:
            continue
        log = clean(unit.log)
        # A job may repeat a message for each object.
        own = {re.sub(r"\S*[/\\]\S*|\d+", "#", text): text for text in notable(log)}
        for key, text in own.items():
            known = messages.get(key, Message(text, 0, unit.name))
            messages[key] = known._replace(jobs=known.jobs + 1)
        (noted if own else quiet).append((unit.name, log[:MAX_LOG]))
    kept, logs = [*messages.values()][:MAX_MESSAGES], [*noted, *quiet]
    shown = logs[:MAX_LOGS]
    return Logs(kept, len(messages) - len(kept), shown, len(logs) - len(shown))
