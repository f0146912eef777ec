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
                "task": part.task,
                "part": part.part,
                "asks": {"cpus_per_task": part.cpus, "mem": part.memory},
                "proposal": part.proposal if part.units else None,
                "units": [unit._asdict() for unit in part.units],
            }
            for done in steps
            for part in done.costs
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
