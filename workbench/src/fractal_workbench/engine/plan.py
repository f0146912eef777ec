"""The plan of a workflow: expected inputs and outputs of each step."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from . import rules
from .rules import Image, Job, Planned, Task

Types = Mapping[str, bool]


def plan(job: Job, steps: Sequence[Planned]) -> Iterator[str]:
    """Yield a few lines for each step.

    How many images there are is known until the first task that may make or change some.

    Args:
        job: The workflow, and the images to begin with.
        steps: Its steps with their tasks.

    Raises:
        WorkflowError: A task would find no image; the message says why.
    """
    images: list[Image] | None = [image.model_dump() for image in job.images]
    filters = job.type_filters
    for number, (step, task, package) in enumerate(steps, 1):
        home = f", of {package.name} {package.version or ''}".rstrip()
        home = "" if job.package and package.name == job.package.name else home
        yield f"[{number}/{len(steps)}] {task.name} ({task.type}{home})"
        if not task.is_converter:
            wanted = filters | task.input_types | (step.type_filters or {})
            count = "images"
            if images is not None:
                taken = rules.select_images(images, wanted, job.attribute_filters)
                if not taken:
                    why = _why_none(images, wanted, job.attribute_filters)
                    raise rules.WorkflowError(f"{task.name!r} finds no image: {why}")
                count = f"{len(taken)} of {len(images)} images"
            conditions = [f"{key} is {value}" for key, value in wanted.items()]
            conditions += [
                f"{key} in {list(values)}"
                for key, values in job.attribute_filters.items()
            ]
            where = " where " if conditions else ""
            yield f"    takes    {count}{where}{', '.join(conditions)}"
        yield f"    runs     {_units(task)}"
        told = [f"{key} = {value}" for key, value in task.output_types.items()]
        what = (
            "the first images" if task.is_converter else "images, the same or new ones"
        )
        yield f"    returns  {what}{', with ' if told else ''}{', '.join(told)}"
        for part in ("non_parallel", "parallel"):
            args = getattr(step, f"args_{part}") or {}
            for key, value in args.items():
                yield f"      {key} = {value!r}"
        filters = filters | task.output_types
        images = None


def _units(task: Task) -> str:
    """Describe the number of units of a task."""
    if task.type == "parallel":
        return "once for each of them"
    once = "once" if task.is_converter else "once for all of them"
    return (
        once
        if task.type.endswith("non_parallel")
        else f"{once}, then as often as that says"
    )


def _why_none(
    images: Sequence[Image], types: Types, attributes: Mapping[str, Sequence[Any]]
) -> str:
    """Explain why no image passes the filters."""
    if not images:
        return f"there are none: {rules.HOW_TO_HAVE_IMAGES}"
    for key, value in types.items():
        if not any(image["types"].get(key, False) == value for image in images):
            state = "is False or missing" if value else "is True"
            return f"{key} {state} in all of them"
    for key, values in attributes.items():
        found = {str(image["attributes"].get(key)) for image in images}
        if not any(image["attributes"].get(key) in values for image in images):
            return f"{key} is {', '.join(sorted(found))}, none of {list(values)}"
    return "no single image meets all conditions"
