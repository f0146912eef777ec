"""The rules of fractal-server, as far as they can be known without running anything.

What a workflow and a manifest may say, which images a task gets, and how its outputs
change the image list. Whatever the server accepts although it will hurt is printed as a
warning. Used by `run_workflow`.
"""

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    Field,
    PositiveInt,
    ValidationError,
    model_validator,
)

from ..fractal_io import (
    ImageUpdate,
    TaskOutput,
    Types,
    ZarrDir,
    merge_outputs,
    storable,
    strip_names,
)

RESERVED_ARGUMENTS = {"zarr_url", "zarr_urls", "zarr_dir", "init_args"}
FORBIDDEN_IN_EXECUTABLES = set(" `#$&*()\\|[]{};<>?!")

Image = dict[str, Any]


@dataclass(eq=False)
class WorkflowError(Exception):
    """A workflow that cannot run, or that failed.

    Attributes:
        reason: What went wrong.
        task: The name of the task, once one was started.
        unit: The unit of that task, if one of them failed.
        log: What that unit printed.
        images: The image list as the server would have kept it.
    """

    reason: str
    task: str | None = None
    unit: str | None = None
    log: str = ""
    images: list[Image] = field(default_factory=list)

    def __str__(self) -> str:
        """Say where, why, and what was printed."""
        where_and_why = ": ".join(filter(None, [self.task, self.unit, self.reason]))
        return where_and_why + (self.log and f"\n\n{self.log}")


class OutputsLost(WorkflowError):
    """A mistake of one unit for which the server loses the outputs of all."""


def warn(text: str) -> None:
    """Print what the server accepts although it will hurt."""
    print(f"  warning: {text}", flush=True)


def explain(error: Exception) -> str:
    """Say what is wrong, in a line for each mistake."""
    if not isinstance(error, ValidationError):
        return str(error)
    mistakes = error.errors()
    return "\n".join(f"{'.'.join(map(str, m['loc']))}: {m['msg']}" for m in mistakes)


def read_json(path: Path) -> Any:
    """Return what a file holds; the error for one that is not JSON names it."""
    try:
        return json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not JSON: {error}") from error


def _unreserved(args: dict[str, Any]) -> dict[str, Any]:
    if reserved := RESERVED_ARGUMENTS & args.keys():
        raise ValueError(f"set by Fractal, not by a workflow: {sorted(reserved)}")
    json.dumps(args)
    return storable(args)


def _of_one_type(values: list[Any]) -> list[Any]:
    if len({type(value) for value in values}) != 1:
        raise ValueError("must be a list of values of one type, and not empty")
    return values


Args = Annotated[
    dict[str, Any], AfterValidator(strip_names), AfterValidator(_unreserved)
]
FilterValues = Annotated[list[int | float | str | bool], AfterValidator(_of_one_type)]
AttributeFilters = Annotated[dict[str, FilterValues], AfterValidator(strip_names)]
TASK_TYPE = r"^(parallel|(converter_)?(non_parallel|compound))$"


class TaskReference(BaseModel, extra="forbid"):
    """How a workflow names a task."""

    pkg_name: str
    version: str | None = None
    name: str


class Step(BaseModel, extra="forbid"):
    """A task with its arguments, as part of a workflow."""

    task: TaskReference
    args_parallel: Args | None = None
    args_non_parallel: Args | None = None
    type_filters: Types | None = None
    meta_parallel: dict[str, Any] | None = None  # resources: of use on the server only
    meta_non_parallel: dict[str, Any] | None = None
    alias: str | None = None
    description: str | None = None


class Workflow(BaseModel, extra="forbid"):
    """A workflow as Fractal exports it."""

    name: str
    description: str | None = None
    task_list: Annotated[list[Step], Field(min_length=1)]


class Task(BaseModel):
    """A task of the manifest."""

    name: str
    type: Annotated[str, Field(pattern=TASK_TYPE)]
    executable_parallel: str | None = None
    executable_non_parallel: str | None = None
    args_schema_parallel: dict[str, Any] | None = None
    args_schema_non_parallel: dict[str, Any] | None = None
    input_types: Types = {}
    output_types: Types = {}

    @property
    def is_converter(self) -> bool:
        """Whether the task makes images from something else."""
        return self.type.startswith("converter")

    @model_validator(mode="before")
    @classmethod
    def _type_in_old_manifests(cls, task: Any) -> Any:
        if isinstance(task, dict) and task.get("type") is None:
            parallel = task.get("executable_parallel") is not None
            non_parallel = task.get("executable_non_parallel") is not None
            kind = "parallel" if parallel else "non_parallel"
            return task | {"type": "compound" if parallel and non_parallel else kind}
        return task


class Manifest(BaseModel):
    """The manifest of a task package."""

    task_list: list[Task]


class Job(BaseModel):
    """All that a run is given."""

    workflow: Workflow
    manifest: Manifest
    package_root: Path
    zarr_dir: ZarrDir
    images: list[ImageUpdate]
    type_filters: Types
    attribute_filters: AttributeFilters
    python: str
    workers: PositiveInt


def read_job(**given: Any) -> Job:
    """Read the files among what was given, and validate all of it."""
    try:
        for name in ("workflow", "manifest"):
            if isinstance(given[name], str | Path):
                given[name] = read_json(Path(given[name]))
        job = Job.model_validate(given)
    except (OSError, TypeError, ValueError) as error:
        raise WorkflowError(explain(error)) from error
    urls = Counter(image.zarr_url for image in job.images)
    if repeated := [url for url, count in urls.items() if count > 1]:
        raise WorkflowError(f"images that are listed twice: {repeated}")
    if outside := [url for url in urls if not Path(url).is_relative_to(job.zarr_dir)]:
        raise WorkflowError(f"images outside {job.zarr_dir}: {outside}")
    if any(None in image.attributes.values() for image in job.images):
        raise WorkflowError("an image of the list has an attribute without a value")
    return job


def find_tasks(job: Job) -> list[tuple[Step, Task]]:
    """Return each step of the workflow with its task, which must fit."""
    package = re.sub(r"[-_.]+", "-", job.package_root.absolute().name.lower())
    tasks = {task.name: task for task in job.manifest.task_list}
    for step in job.workflow.task_list:
        name = step.task.name
        if step.task.pkg_name != package:
            raise WorkflowError(
                f"{name!r} is in {step.task.pkg_name}, not in {package}"
            )
        if name not in tasks:
            raise WorkflowError(f"{package} has no task {name!r}, only {sorted(tasks)}")
        for kind in ("parallel", "non_parallel"):
            args = getattr(step, f"args_{kind}") or {}
            if args and not getattr(tasks[name], f"executable_{kind}"):
                warn(f"{name!r} has no such part: nobody reads its args_{kind}")
            schema = getattr(tasks[name], f"args_schema_{kind}") or {"properties": args}
            known = schema.get("properties", {}).keys() - RESERVED_ARGUMENTS
            if unknown := sorted(args.keys() - known):
                raise WorkflowError(f"{name!r} knows {sorted(known)}, not {unknown}")
        for key, value in (step.type_filters or {}).items():
            if tasks[name].input_types.get(key, value) != value:
                raise WorkflowError(f"{name!r}: {key}={value} contradicts input_types")
        with suppress(metadata.PackageNotFoundError):
            version = metadata.version(package)
            if step.task.version not in (None, version):
                warn(f"{name!r} is run as of {version}, not {step.task.version}")
    return [(step, tasks[step.task.name]) for step in job.workflow.task_list]


def find_executable(job: Job, task: Task, kind: str) -> Path:
    """Return the path of a task's executable."""
    name: str | None = getattr(task, f"executable_{kind}")
    if name is None:
        raise WorkflowError(f"a {task.type} task needs an executable_{kind}")
    if FORBIDDEN_IN_EXECUTABLES & set(name):
        raise WorkflowError(f"the executable {name!r} has a blank or special character")
    if not (job.package_root / name).is_file():
        raise WorkflowError(f"there is no executable {job.package_root / name}")
    return job.package_root / name


def select_images(
    images: list[Image], types: Types, attributes: Mapping[str, Sequence[Any]]
) -> list[Image]:
    """Return the images that pass the filters; a missing type counts as False."""
    return [
        image
        for image in images
        if all(image["types"].get(k, False) == value for k, value in types.items())
        and all(image["attributes"].get(k) in v for k, v in attributes.items())
    ]


def merge_units(outputs: list[TaskOutput], task: Task, urls: list[str]) -> TaskOutput:
    """Merge the outputs of units; if all are empty, each input counts as updated."""
    empty = outputs.count(TaskOutput())
    if outputs and empty == len(outputs):
        updates = [ImageUpdate(zarr_url=url) for url in urls]
        return TaskOutput(image_list_updates=updates)
    if empty and task.output_types:
        warn(f"{empty} units returned no image: those miss {task.output_types}")
    try:
        return merge_outputs(outputs)
    except ValueError as error:
        raise WorkflowError(str(error)) from error


def update_images(
    images: list[Image], output: TaskOutput, task: Task, zarr_dir: str
) -> list[Image]:
    """Return the image list after a task."""
    listed = {image["zarr_url"]: image for image in images}
    for update in output.image_list_updates:
        url, origin = update.zarr_url, update.origin
        base = listed.get(origin or "", {"attributes": {}, "types": {}})
        if url not in listed:
            if url == zarr_dir or not url.startswith(zarr_dir):
                raise WorkflowError(f"the new image {url} is not below {zarr_dir}")
            if not Path(url).is_relative_to(zarr_dir):
                warn(f"{url} is not below {zarr_dir}, which the server overlooks")
        elif origin in (None, url):
            base, origin = listed[url], listed[url]["origin"]
        if not Path(url).exists():
            warn(f"{url} is not on disk")
        for name in update.types.keys() & task.output_types.keys():
            if update.types[name] != task.output_types[name]:
                warn(f"{url}: output_types overrule {name}={update.types[name]}")
        attributes = base["attributes"] | update.attributes
        listed[url] = {
            "zarr_url": url,
            "origin": origin,
            "attributes": {k: v for k, v in attributes.items() if v is not None},
            "types": base["types"] | update.types | task.output_types,
        }
    for url in output.image_list_removals:
        if url not in listed:
            raise WorkflowError(f"cannot remove {url}, which is not in the image list")
        del listed[url]
    return list(listed.values())
