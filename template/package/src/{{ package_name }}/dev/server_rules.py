"""The rules of fractal-server, as far as they can be known without running anything.

What a workflow and a manifest may say, which images a task gets, and how its outputs
change the image list. What the server accepts although it will hurt prints a warning.
"""

import copy
import json
import os
import re
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    Field,
    HttpUrl,
    JsonValue,
    PositiveInt,
    StringConstraints,
    ValidationError,
    model_validator,
)

from ..kit.fractal import (
    ImageUpdate,
    TaskOutput,
    Types,
    ZarrDir,
    merge_outputs,
    storable,
    strip_names,
)

PACKAGE = Path(__file__).resolve().parents[1]
MANIFEST = "__FRACTAL_MANIFEST__.json"
RESERVED_ARGUMENTS = {"zarr_url", "zarr_urls", "zarr_dir", "init_args"}
HOW_TO_HAVE_IMAGES = (
    "begin with a converter, or give a list by --images FILE, such as "
    '[{"zarr_url": "/data/image.zarr"}]'
)

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

    @property
    def summary(self) -> str:
        """Say why: what a unit raised comes before its exit code."""
        _, found, trace = self.log.rpartition("Traceback (most recent call last):\n")
        raised = re.search(r"^\S.*", trace if found else "", re.MULTILINE | re.DOTALL)
        cause = re.split(r"\n\w+ failed: ", raised[0])[0].strip() if raised else ""
        return f"{cause} ({self.reason})" if cause else self.reason

    def __str__(self) -> str:
        """Say where, why, and what was printed."""
        where_and_why = ": ".join(filter(None, [self.task, self.unit, self.summary]))
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
    mistakes = [
        (
            ".".join(map(str, e["loc"])),
            "is args_parallel, or args_non_parallel"
            if e["loc"][-1:] == ("args",) and e["type"] == "extra_forbidden"
            else e["msg"],
        )
        for e in error.errors()
    ]
    return "\n".join(": ".join(filter(None, mistake)) for mistake in mistakes)


def read_json(path: Path) -> Any:
    """Return what a file holds; the error for one that is not JSON names it."""
    try:
        # Bytes may be of any encoding of Unicode, with a byte order mark or without.
        return json.loads(
            path.read_bytes(), object_pairs_hook=_unrepeated, parse_constant=_no_number
        )
    except UnicodeDecodeError as error:
        place = f"its byte {error.start} is not {error.encoding.upper()}"
        raise ValueError(f"{path} is not JSON: {place}: save it as UTF-8") from error
    except (ValueError, RecursionError) as error:
        reason = error if path.stat().st_size else "it is empty"
        raise ValueError(f"{path} is not JSON: {reason}") from error


def _unrepeated(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        (key, times), *_ = Counter(key for key, _ in pairs).most_common()
        raise ValueError(f"the key {key!r} is there {times} times: leave one of them")
    return found


def _no_number(name: str) -> None:
    raise ValueError(f"{name} is no number of JSON: write null")


def _of_one_type(values: list[Any]) -> list[Any]:
    if len({type(value) for value in values}) != 1:
        raise ValueError("must be a list of values of one type, and not empty")
    return values


def _unique(items: list[Any]) -> list[Any]:
    names = [getattr(i, "zarr_url", getattr(i, "name", i)) for i in items]
    if repeated := [name for name, times in Counter(names).items() if times > 1]:
        raise ValueError(f"listed twice (blanks are stripped): {sorted(repeated)}")
    return items


STORABLE, STRIPPED = AfterValidator(storable), AfterValidator(strip_names)
Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1), STORABLE]
Json = Annotated[dict[str, JsonValue], STRIPPED, STORABLE]
FilterValues = Annotated[list[int | float | str | bool], AfterValidator(_of_one_type)]
AttributeFilters = Annotated[dict[str, FilterValues], STRIPPED, STORABLE]
# It becomes a part of a command line.
Executable = Annotated[str, Field(pattern=r"^[^\s'\"`#$&*()\\|\[\]{};<>?!]+$")]
TASK_TYPE = r"^(parallel|(converter_)?(non_parallel|compound))$"


class TaskReference(BaseModel, extra="forbid"):
    """How a workflow names a task."""

    pkg_name: Text
    version: Text | None = None
    name: Text


class Step(BaseModel, extra="forbid"):
    """A task with its arguments, as part of a workflow."""

    task: TaskReference
    args_parallel: Json | None = None
    args_non_parallel: Json | None = None
    type_filters: Types | None = None
    input_filters: None = None  # before fractal-server 2.11; they become type_filters
    meta_parallel: Json | None = None  # resources: of use on the server only
    meta_non_parallel: Json | None = None
    alias: Text | None = None
    description: Text | None = None

    @model_validator(mode="before")
    @classmethod
    def _old_filters(cls, step: Any) -> Any:
        match step:
            case {"input_filters": {"attributes": {**all}, **old}, **new} if not all:
                types = {"type_filters": old.get("types", {})}
                return step if "type_filters" in new else new | types
        return step


class Workflow(BaseModel, extra="forbid"):
    """A workflow as Fractal exports it."""

    name: Text
    description: Text | None = None
    task_list: Annotated[list[Step], Field(min_length=1)]


class Task(BaseModel):
    """A task of the manifest."""

    name: Text
    type: Annotated[str, Field(pattern=TASK_TYPE)]
    executable_parallel: Executable | None = None
    executable_non_parallel: Executable | None = None
    args_schema_parallel: Json | None = None
    args_schema_non_parallel: Json | None = None
    meta_parallel: Json = {}
    meta_non_parallel: Json = {}
    input_types: Types = {}
    output_types: Types = {}
    category: Text | None = None
    modality: Text | None = None
    tags: Annotated[list[Text], AfterValidator(_unique)] = []
    docs_info: Annotated[str | None, STORABLE] = None
    docs_link: Annotated[HttpUrl | None, BeforeValidator(storable)] = None

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

    manifest_version: Literal["2"]
    task_list: Annotated[list[Task], AfterValidator(_unique)]
    authors: Text | None = None


class Package(BaseModel):
    """A package of tasks, and where it is installed.

    Attributes:
        name: Its name, as in a workflow.
        version: Its version, if it is known.
        root: The folder of its executables.
        python: The interpreter that runs them.
        manifest: Its manifest.
    """

    name: str
    version: str | None = None
    root: Path
    python: str = sys.executable
    manifest: Manifest

    @property
    def tasks(self) -> dict[str, Task]:
        """Its tasks by their names."""
        return {task.name: task for task in self.manifest.task_list}

    def find_executable(self, task: Task, kind: str) -> Path:
        """Return the path of the executable of one of its tasks."""
        name: str | None = getattr(task, f"executable_{kind}")
        if name is None:
            raise WorkflowError(f"a {task.type} task needs an executable_{kind}")
        if not (self.root / name).is_file():
            raise WorkflowError(f"there is no executable {self.root / name}")
        return self.root / name


class Job(BaseModel, extra="forbid"):
    """All that a run is given, of which a workflow is enough to check it."""

    workflow: Workflow
    zarr_dir: ZarrDir = "/"
    images: Annotated[list[ImageUpdate], AfterValidator(_unique)] = []
    type_filters: Types = {}
    attribute_filters: AttributeFilters = {}
    manifest: Manifest
    package_root: Path = PACKAGE  # the folder of the executables
    python: str = sys.executable
    packages: dict[str, Package] = {}  # others than this one, by their names
    workers: PositiveInt = os.cpu_count() or 1  # units at a time

    @property
    def package(self) -> Package:
        """This package."""
        name = normalise(self.package_root.absolute().name)
        return Package(
            name=name,
            version=version_of(name),
            root=self.package_root,
            python=self.python,
            manifest=self.manifest,
        )


class Planned(NamedTuple):
    """A step of a workflow, its task, and the package of that."""

    step: Step
    task: Task
    package: Package


def normalise(name: str) -> str:
    """Return the name of a package as indexes write it."""
    return re.sub(r"[-_.]+", "-", name.lower())


def version_of(name: str) -> str | None:
    """Return the version of a package that is installed beside this one."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def read_manifest(name: str, root: Path) -> Manifest:
    """Return the manifest in the folder of a package; the error for a wrong one names it."""
    try:
        manifest = read_json(root / MANIFEST)
        if not isinstance(manifest, dict):
            raise ValueError(f"{MANIFEST} is no dictionary")
        if str(manifest.get("manifest_version")) == "1":
            raise ValueError("it is for Fractal before version 2: take a newer version")
        return Manifest.model_validate(manifest)
    except FileNotFoundError as error:
        reason = f"is no package of Fractal tasks: it has no {MANIFEST}"
        raise WorkflowError(f"{name} {reason}") from error
    except (OSError, ValueError) as error:
        reason = explain(error).replace("\n", "; ")
        raise WorkflowError(f"{name}: its manifest is wrong: {reason}") from error


def find_package(name: str) -> Package | None:
    """Return a package that is installed beside this one, if it has a manifest."""
    if not re.fullmatch("[a-z0-9]+(-[a-z0-9]+)*", name):
        # A requirement, an address or a path is none: it would be built and run.
        likely = normalise(name.strip(".-_"))
        is_near = re.fullmatch("[a-z0-9-]+", likely)
        way_out = f"write {likely!r}" if is_near else "write one such as 'my-tasks'"
        raise WorkflowError(f"pkg_name {name!r} is no name of a package: {way_out}")
    try:
        # What Fractal asks for: the modules have the name of the package.
        spec = find_spec(name.replace("-", "_"))
    except (ImportError, ValueError):
        return None
    root = Path(spec.origin).parent if spec and spec.origin else None
    if root is None or not (root / MANIFEST).is_file():
        return None
    manifest = read_manifest(name, root)
    return Package(name=name, version=version_of(name), root=root, manifest=manifest)


def check_kind(workflow: Any, file: str) -> None:
    """Reject what is no workflow, or an old one, with what to give instead."""
    match workflow:
        case {"manifest_version": _}:
            kind, way_out = "the manifest of a package", "give a workflow"
        case {"workflow_dump": _}:
            kind, way_out = "a job", "export its workflow"
        case {"images": _, "zarr_dir": _}:
            kind, way_out = "a dataset", "give a workflow, and its `images` by --images"
        case [{"zarr_url": _}, *_]:
            kind, way_out = "an image list", "give a workflow, and this by --images"
        case {"task_list": [*steps]}:
            given = [step.get("task") for step in steps if isinstance(step, dict)]
            tasks = [task for task in given if isinstance(task, dict)]
            if not any("source" in task and "pkg_name" not in task for task in tasks):
                return
            keys = {key for step in steps if isinstance(step, dict) for key in step}
            is_old = keys.isdisjoint({"args_parallel", "args_non_parallel"})
            kind = "of Fractal before version 2" if is_old else "with `source` of tasks"
            way_out = "build it anew" if is_old else "import it, and export it again"
            kind, way_out = (
                f"a workflow {kind}",
                f"{way_out}, in Fractal's web interface",
            )
        case {"task_list": _} | {"data": _}:
            return
        case dict():
            kind = f"no workflow, but has {', '.join(map(str, workflow)):.80}"
            way_out = "export a workflow"
        case _:
            kind, way_out = f"no workflow, but {workflow!r:.80}", "export a workflow"
    raise ValueError(f"{file} is {kind}: {way_out}")


def drop_unknown(updates: Any, where: str) -> None:
    """Delete what the server ignores of an image, with a warning."""
    with suppress(AttributeError, TypeError):  # the model is to complain
        for update in updates:
            for key in update.keys() - ImageUpdate.model_fields.keys():
                warn(f"{where}: the server ignores {key}={update.pop(key)!r}")


def read_job(**given: Any) -> Job:
    """Read the files among what was given, and validate all of it."""
    given.setdefault("manifest", PACKAGE / MANIFEST)
    is_file = isinstance(given["workflow"], str | Path)
    file = str(given["workflow"]) if is_file else "workflow"
    try:
        for name in ("workflow", "manifest"):
            if isinstance(given[name], str | Path):
                given[name] = read_json(Path(given[name]))
        match given["workflow"]:
            case {"data": {**workflow}, "version": int()}:  # as a template of a server
                given["workflow"] = workflow
        check_kind(given["workflow"], file)
        given["images"] = copy.deepcopy(given.get("images", []))
        drop_unknown(given["images"], "the image list")
        job = Job.model_validate(given)
    except (OSError, RecursionError, TypeError, ValueError) as error:
        raise WorkflowError(explain(error)) from error
    urls = [image.zarr_url for image in job.images]
    if outside := [url for url in urls if not Path(url).is_relative_to(job.zarr_dir)]:
        raise WorkflowError(
            f"images outside {job.zarr_dir}: {outside}; name a folder that has all of them"
        )
    if any(None in image.attributes.values() for image in job.images):
        raise WorkflowError("an image of the list has an attribute without a value")
    return job


def find_tasks(job: Job) -> list[Planned]:
    """Return each step of the workflow with its task, which must fit.

    Raises:
        WorkflowError: With a line for each mistake of any step.
    """
    own = job.package
    packages: dict[str, Package | None] = {**job.packages, own.name: own}
    planned, mistakes = [], []
    for step in job.workflow.task_list:
        name, home = step.task.name, step.task.pkg_name
        # A workflow may have tasks of two versions of a package.
        key = f"{home}=={step.task.version}"
        key = key if key in packages else home
        try:
            if key not in packages:
                packages[key] = find_package(home)
            package = packages[key]
        except WorkflowError as error:
            mistakes.append(error.reason)
            continue
        if package is None:
            mistakes.append(
                f"{name!r} is in {home}, which is not installed beside {own.name}: "
                "`nox -s run` installs it"
            )
        elif name not in package.tasks:
            mistakes.append(
                f"{home} has no task {name!r}, only {sorted(package.tasks)}"
            )
        else:
            task = package.tasks[name]
            planned.append(Planned(step, task, package))
            mistakes += find_mistakes(step, task)
            if step.task.version not in (None, package.version or step.task.version):
                warn(
                    f"{name!r} is run as of {package.version}, not {step.task.version}"
                )
    if mistakes:
        raise WorkflowError("\n".join(dict.fromkeys(mistakes)))
    return planned


def find_mistakes(step: Step, task: Task) -> Iterator[str]:
    """Yield what a step says that its task does not know."""
    name = task.name
    for kind in ("parallel", "non_parallel"):
        args = getattr(step, f"args_{kind}") or {}
        if reserved := sorted(RESERVED_ARGUMENTS & args.keys()):
            yield f"{name!r}, args_{kind}: Fractal sets {reserved}"
        if args and not getattr(task, f"executable_{kind}"):
            warn(f"{name!r} has no such part: nobody reads its args_{kind}")
        schema = getattr(task, f"args_schema_{kind}") or {}
        known = schema.get("properties", {}).keys() - RESERVED_ARGUMENTS
        unknown = sorted(args.keys() - known - RESERVED_ARGUMENTS)
        if unknown and schema.get("additionalProperties", True) is False:
            yield f"{name!r} knows {sorted(known)}, not {unknown}"
        if missing := known & {*schema.get("required", [])} - args.keys():
            yield f"{name!r} needs {sorted(missing)}"
    for key, value in (step.type_filters or {}).items():
        if task.input_types.get(key, value) != value:
            yield f"{name!r}: {key}={value} contradicts input_types"


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
        if not os.access(url, os.F_OK):  # which may be too long for a path
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
