"""The rules of fractal-server that need no run: formats, filters, image lists.

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
from typing import Annotated, Any, Literal, NamedTuple, Self

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

from ..form.model import RESERVED_ARGUMENTS, read_arguments
from ..kit.fractal import (
    ImageUpdate,
    TaskOutput,
    Types,
    ZarrDir,
    merge_outputs,
    storable,
    strip_names,
)
from ..kit.publish import suggest
from ..project import MANIFEST, Project, find_project

TRACE = "Traceback (most recent call last):\n"
MAX_FILE_NAME = 255  # bytes
MAX_DIGITS = sys.int_info.default_max_str_digits  # of an integer in a text, for Python
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
        number: Of the step, from 1, once one was started.
        task: The name of its task.
        unit: The unit of that task, if one of them failed.
        log: What that unit printed.
        images: The image list as the server would have kept it.
    """

    reason: str
    number: int | None = None
    task: str | None = None
    unit: str | None = None
    log: str = ""
    images: list[Image] = field(default_factory=list)

    @property
    def summary(self) -> str:
        """Give the reason: the exception of a unit comes before its exit code."""
        _, head, trace = self.log.rpartition(TRACE)
        raised = re.search(r"^\S.*", trace if head else "", re.MULTILINE | re.DOTALL)
        cause, *reasons = re.split(r"\n\w+ failed: ", raised[0]) if raised else [""]
        if reasons and cause.startswith("pydantic"):  # many lines, with an address
            cause = reasons[-1]
        cause = cause.strip()
        return f"{cause} ({self.reason})" if cause else self.reason

    def __str__(self) -> str:
        """Give place, reason and log."""
        place = [self.number and f"step {self.number}", self.task]
        step = ", ".join(map(str, filter(None, place)))
        where_and_why = ": ".join(filter(None, [step, self.unit, self.summary]))
        lines = map(printable, where_and_why.split("\n"))
        log = without_expected_trace(self.log)
        return "\n".join(lines) + (log and f"\n\n{log}")


class OutputsLost(WorkflowError):
    """A mistake of a unit for which the server loses the outputs of all units."""


def without_expected_trace(log: str) -> str:
    """Leave out the traceback of input that the kit of a package has rejected.

    Such an error names the argument, the value and the remedy: that is its reason, and no
    line of code tells more. Any other traceback stays.
    """
    before, head, trace = log.rpartition(TRACE)
    files = re.findall(r'^  File "(.+?)", line', trace, re.MULTILINE)
    is_expected = re.search(
        r"^(ValueError|File(Exists|NotFound)Error): ", trace, re.MULTILINE
    )
    if head and files and is_expected and Path(files[-1]).parent.name == "kit":
        return before.rstrip()
    return log


def printable(text: str) -> str:
    """Escape control characters in the text of strangers."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def count_of(number: int, noun: str) -> str:
    """Return a number of things, such as `1 image` or `2 images`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def warn(text: str) -> None:
    """Print a warning about input that the server accepts."""
    print(f"  warning: {printable(text)}", flush=True)


def explain(error: Exception) -> str:
    """Describe an error, in a line for each mistake."""
    if isinstance(error, OSError) and error.filename:
        return f"{error.filename} cannot be read: {error.strerror}: name a file"
    if not isinstance(error, ValidationError):
        return str(error)
    mistakes = [
        (
            ".".join(map(str, e["loc"])),
            "is args_parallel, or args_non_parallel"
            if e["loc"][-1:] == ("args",) and e["type"] == "extra_forbidden"
            else e["msg"].removeprefix("Value error, "),
        )
        for e in error.errors()
    ]
    return "\n".join(": ".join(filter(None, mistake)) for mistake in mistakes)


def read_json(path: Path) -> Any:
    """Read a JSON file; an error names the file."""
    try:
        # Bytes may be of any encoding of Unicode, with a byte order mark or without.
        return json.loads(
            path.read_bytes(),
            object_pairs_hook=_unrepeated,
            parse_constant=_no_number,
            parse_int=_integer,
        )
    except UnicodeDecodeError as error:
        place = f"its byte {error.start} is not {error.encoding.upper()}"
        raise ValueError(f"{path} is not JSON: {place}: save it as UTF-8") from error
    except RecursionError as error:
        raise ValueError(f"{path} is not JSON: it has too many levels") from error
    except ValueError as error:
        reason = error if path.stat().st_size else "it is empty"
        raise ValueError(f"{path} is not JSON: {reason}") from error


def _unrepeated(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        (key, times), *_ = Counter(key for key, _ in pairs).most_common()
        raise ValueError(f"the key {key!r} is there {times} times: leave one of them")
    return content


def _integer(text: str) -> int:
    if len(text) > MAX_DIGITS:
        raise ValueError("a number has thousands of digits: write a shorter one")
    return int(text)


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


def megabytes(mem: Any) -> int:
    """Return megabytes as the server reads them: 4000, "4000", "4000M" or "4G"."""
    match = re.fullmatch(r"([0-9]+)([MGT]?)", str(mem))
    if match is None or isinstance(mem, bool):
        raise ValueError(f"{mem!r} is neither megabytes, nor a text such as '4G'")
    return int(match[1]) * {"G": 1000, "T": 1_000_000}.get(match[2], 1)


def _truth(value: Any) -> bool:
    if str(value).lower() not in ("true", "false"):
        raise ValueError(f"{value!r} is neither true nor false")
    return str(value).lower() == "true"


class Resources(BaseModel):
    """Requested resources of each unit of a part of a task."""

    cpus_per_task: PositiveInt = 1
    mem: Annotated[PositiveInt, BeforeValidator(megabytes)] = 1000
    needs_gpu: Annotated[bool, BeforeValidator(_truth)] = False
    time: str | None = None
    gres: str | None = None
    gpus: str | None = None
    constraint: str | None = None
    nodelist: str | None = None
    exclude: str | None = None
    extra_lines: list[str] = []
    tasks_per_job: PositiveInt | None = None
    parallel_tasks_per_job: Annotated[int, Field(strict=True, gt=0)] | None = None


class TaskReference(BaseModel, extra="forbid"):
    """The reference to a task in a workflow."""

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
        """Whether the task is a converter."""
        return self.type.startswith("converter")

    @model_validator(mode="after")
    def _meta_of_parts(self) -> Self:
        for part in ("parallel", "non_parallel"):
            schema, meta = (
                getattr(self, f"{key}_{part}") for key in ("args_schema", "meta")
            )
            if not getattr(self, f"executable_{part}") and (meta or schema is not None):
                raise ValueError(
                    f"without executable_{part}, nothing reads args_schema_{part} and "
                    f"meta_{part}: leave them out"
                )
        return self

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
    args_schema_version: str | None = None


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
            raise WorkflowError(
                f"a {task.type} task needs an executable_{kind}: add it to the task list"
            )
        if not (self.root / name).is_file():
            raise WorkflowError(
                f"there is no executable {self.root / name}: correct the task list"
            )
        return self.root / name


class Job(BaseModel, extra="forbid"):
    """The input of a run; a workflow is enough to check it."""

    workflow: Workflow
    zarr_dir: ZarrDir = "/"
    images: Annotated[list[ImageUpdate], AfterValidator(_unique)] = []
    type_filters: Types = {}
    attribute_filters: AttributeFilters = {}
    # The package that the workflow is run for, if there is one: its manifest, the folder of
    # its executables, and the interpreter that has it.
    manifest: Manifest | None = None
    package_root: Path | None = None
    python: str = sys.executable
    packages: dict[str, Package] = {}  # others, by their names
    workers: PositiveInt = os.cpu_count() or 1  # units at a time

    @property
    def package(self) -> Package | None:
        """The package that the workflow is run for."""
        if self.package_root is None or self.manifest is None:
            return None
        name = normalise(self.package_root.absolute().name)
        return Package(
            name=name,
            version=version_of(name),
            root=self.package_root,
            python=self.python,
            manifest=self.manifest,
        )


class Planned(NamedTuple):
    """A step of a workflow, its task, and the package of the task."""

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
    """Read the manifest in the folder of a package; an error names the file."""
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


def check_package_name(name: str) -> None:
    """Reject an invalid name of a package; servers distinguish spellings."""
    if not re.fullmatch("[a-z0-9]+(-[a-z0-9]+)*", name):
        # A requirement, an address or a path is none: it would be built and run.
        likely = normalise(name.strip(".-_"))
        is_near = re.fullmatch("[a-z0-9-]+", likely)
        way_out = f"write {likely!r}" if is_near else "write one such as 'my-tasks'"
        raise WorkflowError(f"pkg_name {name!r} is no name of a package: {way_out}")


def find_package(name: str) -> Package | None:
    """Return a package that is installed beside this one, if it has a manifest."""
    check_package_name(name)
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
    """Reject a file that is no workflow, or an old one, with the remedy."""
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
    """Delete keys of images that the server ignores, with a warning for each."""
    unknown: dict[str, list[Any]] = {}
    with suppress(AttributeError, TypeError):  # the model is to complain
        for update in updates:
            for key in update.keys() - ImageUpdate.model_fields.keys():
                unknown.setdefault(key, []).append(update.pop(key))
    for key, values in unknown.items():
        more = (
            f", and of {count_of(len(values) - 1, 'more image')}" if values[1:] else ""
        )
        warn(f"{where}: the server ignores {key}={values[0]!r}{more}")


def read_images(file: Path) -> list[Any]:
    """Read the image list in a file."""
    try:
        images = read_json(file)
    except ValueError as error:
        raise WorkflowError(str(error)) from error
    if not isinstance(images, list):
        raise WorkflowError(
            f"--images: {file} is no list: write one, such as "
            '[{"zarr_url": "/data/image.zarr"}]; a dataset has it as `images`'
        )
    return images


def find_own() -> Project | None:
    """Return the task package in the current folder, if there is one."""
    own = find_project()
    files = (own.root / MANIFEST, own.task_list) if own else ()
    return own if any(file.exists() for file in files) else None


def read_job(**given: Any) -> Job:
    """Read the files of the input, and validate all of it."""
    if "package_root" not in given and (own := find_own()):
        given["package_root"] = own.root
    if given.get("package_root"):
        given.setdefault("manifest", Path(given["package_root"]) / MANIFEST)
    is_file = isinstance(given["workflow"], str | Path)
    file = str(given["workflow"]) if is_file else "workflow"
    try:
        for name in ("workflow", "manifest"):
            if isinstance(given.get(name), str | Path):
                given[name] = read_json(Path(given[name]))
        match given["workflow"]:
            case {"data": {**workflow}, "version": int()}:  # as a template of a server
                given["workflow"] = workflow
        check_kind(given["workflow"], file)
        if isinstance(images := given.get("images", []), list):
            given["images"] = [copy.copy(image) for image in images]
        drop_unknown(given["images"], "the image list")
        job = Job.model_validate(given)
    except (OSError, RecursionError, TypeError, ValueError) as error:
        raise WorkflowError(explain(error)) from error
    urls = [image.zarr_url for image in job.images]
    inside = job.zarr_dir.rstrip("/") + "/"
    if outside := [u for u in urls if not u.startswith(inside) and u != job.zarr_dir]:
        raise WorkflowError(
            f"images outside {job.zarr_dir}: {outside[:20]}; name a folder that has all of them"
        )
    for image in job.images:
        if None in image.attributes.values():
            raise WorkflowError(
                f"{image.zarr_url} has an attribute without a value in the image list: give "
                "it one, or leave it out"
            )
    return job


def find_tasks(job: Job, first: int = 0) -> list[Planned]:
    """Return each step of the workflow with its task, and check that they fit.

    Args:
        job: The workflow, and its packages.
        first: The position of its first step, if it is a part of a workflow.

    Raises:
        WorkflowError: With a line for each mistake of any step.
    """
    own = job.package
    packages: dict[str, Package | None] = {**job.packages}
    if own:  # unless it was installed for this
        packages.setdefault(own.name, own)
    planned, mistakes = [], []
    for position, step in enumerate(job.workflow.task_list, first):
        name, home = step.task.name, step.task.pkg_name
        place = step_place(position)
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
                f"{place}{name!r} is in {home}, which is not installed here: "
                "`nox -s run` installs it"
            )
        elif name not in package.tasks:
            mistakes.append(
                f"{place}{home} has no task {name!r}; {suggest(name, package.tasks)}"
            )
        else:
            task = package.tasks[name]
            fitted = without_nulls(step, task)
            planned.append(Planned(fitted, task, package))
            mistakes += (f"{place}{text}" for text in find_mistakes(fitted, task))
            mistakes += (f"{place}{text}" for text in check_name(name, position))
            if step.task.version not in (None, package.version or step.task.version):
                warn(
                    f"{name!r} is run as of {package.version}, not {step.task.version}"
                )
    if mistakes:
        raise WorkflowError("\n".join(dict.fromkeys(mistakes)))
    return planned


def step_place(position: int) -> str:
    """Return the number of a step, as messages begin with it."""
    return f"step {position + 1}, "


def find_mistakes(step: Step, task: Task, *, runs: bool = True) -> Iterator[str]:
    """Yield mistakes of a step: unknown arguments, and settings that servers reject.

    Args:
        step: The step.
        task: Its task.
        runs: Whether it is to run as it is, so that it needs all values.
    """
    name = task.name
    for kind in ("parallel", "non_parallel"):
        args = getattr(step, f"args_{kind}") or {}
        meta = getattr(step, f"meta_{kind}") or {}
        if reserved := sorted(RESERVED_ARGUMENTS & args.keys()):
            yield f"{name!r}, args_{kind}: Fractal sets {reserved}"
        if not getattr(task, f"executable_{kind}"):
            for key, given in ((f"args_{kind}", args), (f"meta_{kind}", meta)):
                if any(value is not None for value in given.values()):
                    yield (
                        f"{name!r}, {key}: a task of the type {task.type} has no such "
                        f"part, so nothing reads {sorted(given)}: move them, or leave "
                        "them out"
                    )
            continue
        arguments = read_arguments(getattr(task, f"args_schema_{kind}"))
        known = arguments.fields.keys()
        unknown = sorted(args.keys() - known - RESERVED_ARGUMENTS)
        if arguments.schema.get("additionalProperties", True) is False:
            other_kind = {"parallel": "non_parallel", "non_parallel": "parallel"}[kind]
            elsewhere = read_arguments(
                getattr(task, f"args_schema_{other_kind}")
            ).fields
            for key in unknown:
                hint = suggest(key, known)
                if key in elsewhere:
                    hint = f"move it to args_{other_kind}"
                yield f"{name!r}, args_{kind}: no argument {key!r}; {hint}"
        missing = known & arguments.required - args.keys()
        if missing and runs:
            yield (
                f"{name!r}, args_{kind}: no value for {', '.join(sorted(missing))}; give one "
                "(null counts as not given)"
            )
    for key, value in (step.type_filters or {}).items():
        if task.input_types.get(key, value) != value:
            yield f"{name!r}: {key}={value} contradicts input_types"
    if task.is_converter and step.type_filters:
        warn(f"{name!r}: a converter has no input images, so type_filters do nothing")


def requested(step: Step | None, task: Task, part: str) -> dict[str, Any]:
    """Return the resources of a part of a task; the step overrides the task."""
    own: dict[str, Any] = getattr(task, f"meta_{part}")
    return own | (getattr(step, f"meta_{part}", None) or {})


def check_resources(step: Step | None, task: Task) -> Iterator[str]:
    """Yield mistakes in the resources of a task; warn about ignored keys."""
    for part in ("non_parallel", "parallel"):
        if not getattr(task, f"executable_{part}"):
            continue
        meta, place = requested(step, task, part), f"{task.name!r}, meta_{part}"
        try:
            Resources.model_validate(meta)
        except ValidationError as error:
            yield from (f"{place}.{line}" for line in explain(error).splitlines())
        if meta.get("account") is not None:
            yield f"{place}.account: it belongs to the job, not to a task: leave it out"
        known = {*Resources.model_fields, "account"}
        if unread := sorted(meta.keys() - known):
            warn(f"{place}: servers ignore {unread}; they read {sorted(known)}")
        batches = {
            meta.get(f"{kind}tasks_per_job") is None for kind in ("", "parallel_")
        }
        if len(batches) == 2:
            warn(
                f"{place}: SLURM needs tasks_per_job and parallel_tasks_per_job together"
            )


def check_name(name: str, position: int = 0) -> Iterator[str]:
    """Yield mistakes in the name of a task, as a step at this position."""
    # It makes a folder `<position>_<name>`.
    if (size := len(f"{position}_{name.lower()}".encode())) > MAX_FILE_NAME:
        yield (
            f"{name[:40]!r}…: the name of the task is too long for a folder of the "
            f"server: shorten it by {count_of(size - MAX_FILE_NAME, 'byte')}"
        )


def without_nulls(step: Step, task: Task) -> Step:
    """Return a step without null arguments where the schema allows no null.

    Fractal's web interface writes null for each optional argument that is empty.
    """
    update: dict[str, Any] = {}
    for key in ("args_parallel", "args_non_parallel"):
        args = getattr(step, key)
        arguments = read_arguments(getattr(task, key.replace("args", "args_schema")))
        if args:
            kept = update[key] = arguments.drop_nulls(args)
            for name in args.keys() - kept.keys():
                default = arguments.fields[name].schema.get("default")
                if default is not None:
                    warn(
                        f"{task.name!r}, {name}: null counts as not given, which is "
                        f"{json.dumps(default)}"
                    )
    return step.model_copy(update=update)


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
        jobs = count_of(empty, "job")
        warn(f"{jobs} returned no image, so that {task.output_types} is not set there")
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
                raise WorkflowError(
                    f"the new image {url} is not below {zarr_dir}: a task may only make "
                    "images there"
                )
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
            raise WorkflowError(
                f"image_list_removals: {url} is not in the image list, so a task cannot "
                "remove it"
            )
        del listed[url]
    return list(listed.values())
