"""Results of a run as JSON, for programs."""

from collections.abc import Sequence
from typing import Any

from .history import StepDone


def as_json(steps: Sequence[StepDone]) -> dict[str, Any]:
    """Return image list, costs, and the outcome of each step."""
    return {
        "images": steps[-1].after if steps else None,
        "costs": [
            {
                "task": one.task,
                "part": one.part,
                "asks": {"cpus_per_task": one.cpus, "mem": one.memory},
                "proposal": one.proposal if one.units else None,
                "units": [unit._asdict() for unit in one.units],
            }
            for done in steps
            for one in done.costs
        ],
        "steps": [
            {
                "package": done.package,
                "version": done.version,
                "task": done.task.name,
                "seconds": done.seconds,
                "inputs": done.inputs,
                "failure": done.failure,
                "units": [
                    unit._asdict() | {"cost": unit.cost and unit.cost._asdict()}
                    for unit in done.units
                ],
            }
            for done in steps
        ],
    }
