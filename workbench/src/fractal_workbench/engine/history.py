"""Records of a workflow run, for reports and tests."""

from pathlib import Path
from typing import Any, NamedTuple

from .costs import Cost, Costs
from .rules import Image, Package, Step, Task, WorkflowError


class Unit(NamedTuple):
    """A unit to run: command, arguments, and the folder of its files."""

    name: str
    step: int
    part: str
    package: Package
    executable: Path
    args: dict[str, Any]
    folder: Path

    def log(self) -> str:
        """Return what the unit printed."""
        log = self.folder / "log.txt"
        return log.read_text("utf-8", errors="replace") if log.exists() else ""


class UnitDone(NamedTuple):
    """A unit of a task that has ended.

    Attributes:
        name: What it is called in the log.
        part: `parallel` or `non_parallel`.
        args: What it was given.
        cost: What it cost, if it could be measured.
        reason: Why it failed; None if it ended well.
        log: What it printed; an excerpt, if it ended well.
        reused: Whether its output is that of an earlier run.
    """

    name: str
    part: str
    args: dict[str, Any]
    cost: Cost | None
    reason: str | None
    log: str
    reused: bool


class StepDone(NamedTuple):
    """A step of a workflow that has ended, well or not.

    Attributes:
        number: Of the step, from 1.
        total: How many steps the workflow has.
        package: Name of the package of its task.
        version: Version of that package, if it is known.
        task: What the manifest says of the task.
        step: What the workflow says of it.
        filters: Types by which the images were selected.
        before: The image list before it.
        inputs: `zarr_url` of each image that it was given.
        after: The image list after it.
        units: Its units, in the order in which they were planned.
        costs: What they cost, for each part of the task that ran.
        seconds: From its start to its end.
        error: Why it failed, and with it the workflow; None if it ended well.
        later: Folders that are there after it, but that later steps have made before.
    """

    number: int
    total: int
    package: str
    version: str | None
    task: Task
    step: Step
    filters: dict[str, bool]
    before: list[Image]
    inputs: list[str]
    after: list[Image]
    units: list[UnitDone]
    costs: list[Costs]
    seconds: float
    error: WorkflowError | None
    later: frozenset[str] = frozenset()

    @property
    def failure(self) -> str | None:
        """The reason of the failure, without the log."""
        return None if self.error is None else self.error.summary
