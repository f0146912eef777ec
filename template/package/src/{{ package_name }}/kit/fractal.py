"""The interface of a task and Fractal: Zarr URLs and task outputs.

The only module that knows the task API. Its models follow those of fractal-server, so
that a wrong output fails in the task, with a sentence, and not on the server.
"""

import inspect
import math
import os
import re
import sys
import traceback
from collections.abc import Callable, Iterable, Mapping
from contextvars import ContextVar
from functools import wraps
from importlib import metadata
from pathlib import PurePath
from typing import Annotated, Any, NamedTuple, ParamSpec, Protocol, TypeVar, cast

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    JsonValue,
    ValidationError,
    model_validator,
    validate_call,
)
from pydantic_core import PydanticCustomError

P = ParamSpec("P")
R_co = TypeVar("R_co", covariant=True)
T = TypeVar("T")


def storable(value: T) -> T:
    """Reject text that PostgreSQL, the server's database, cannot store."""
    if isinstance(value, dict):
        storable([*value, *value.values()])
    elif isinstance(value, list):
        for item in value:
            storable(item)
    elif (isinstance(value, float) and not math.isfinite(value)) or (
        isinstance(value, str) and re.search("[\0\ud800-\udfff]", value)
    ):
        raise PydanticCustomError(
            "not_storable",
            "Fractal's database stores neither NaN nor infinity nor NUL nor half of a "
            "character: {value}",
            {"value": repr(value)},
        )
    return value


def _local_path(value: str) -> str:
    """Return the normalised path, as the server will compare it with others."""
    path = value.strip()
    if not PurePath(path).is_absolute() or ".." in PurePath(path).parts:
        raise ValueError(
            "must be an absolute path without '..', such as /data/plate.zarr; "
            f"neither S3 nor relative paths are supported: {value!r}"
        )
    return os.path.normpath(path)


def _python_scalar(value: Any) -> Any:
    """Unwrap a NumPy scalar, since pydantic would read `np.True_` as a number."""
    if getattr(value, "shape", None) == ():
        value = value.item()
    if not isinstance(value, int | float | str | None):
        kind = type(value).__name__
        raise ValueError(f"must be a number, a text, True, False or None, not {kind}")
    return value


def strip_names(value: dict[str, T]) -> dict[str, T]:
    """Strip the names as the server does, which must leave them unique."""
    stripped = {key.strip(): item for key, item in value.items()}
    if "" in stripped or len(stripped) < len(value):
        raise ValueError(f"empty or repeated names (blanks are stripped): {[*value]}")
    return stripped


Scalar = int | float | str | bool | None
Attributes = Annotated[
    dict[str, Annotated[Scalar, BeforeValidator(_python_scalar)]],
    AfterValidator(strip_names),
    AfterValidator(storable),
]
Types = Annotated[
    dict[str, Annotated[bool, BeforeValidator(_python_scalar)]],
    AfterValidator(strip_names),
    AfterValidator(storable),
]

ZarrUrl = Annotated[str, AfterValidator(storable), AfterValidator(_local_path)]
"""The path of an OME-Zarr image; part of every task's signature."""

ZarrDir = ZarrUrl
"""The folder below which a task may create images."""


class ImageUpdate(BaseModel, extra="forbid", defer_build=True):
    """A new or changed entry of the image list.

    Args:
        zarr_url: The image, known to the list or new.
        origin: The image from which a new one inherits attributes and types.
        attributes: Values to filter by, such as the well; `None` deletes one.
        types: Properties that an image has or lacks, such as `is_3D`.
    """

    zarr_url: ZarrUrl
    origin: ZarrUrl | None = None
    attributes: Attributes = {}
    types: Types = {}


class ParallelizationItem(BaseModel, extra="forbid", defer_build=True):
    """One unit of a compound task: the arguments of its compute function.

    Args:
        zarr_url: The image to compute on.
        init_args: Further arguments: numbers, text, lists and dictionaries, since they
            travel as JSON (`str(path)`, `array.tolist()`).
    """

    zarr_url: ZarrUrl
    init_args: dict[str, JsonValue] = {}


class TaskOutput(BaseModel, extra="forbid", defer_build=True):
    """The output of a task, except of the init function of a compound task."""

    image_list_updates: list[ImageUpdate] = []
    image_list_removals: list[ZarrUrl] = []

    @model_validator(mode="before")
    @classmethod
    def _filters_are_gone(cls, data: Any) -> Any:
        if isinstance(data, dict) and "filters" in data:
            raise ValueError(
                "'filters' is gone since fractal-server 2.11: set types in the items "
                "of image_list_updates, or output_types in the task list"
            )
        return data


class InitTaskOutput(BaseModel, extra="forbid", defer_build=True):
    """The output of the init function of a compound task."""

    parallelization_list: list[ParallelizationItem] = []


def merge_outputs(outputs: Iterable[TaskOutput]) -> TaskOutput:
    """Merge the outputs of a task's units, which must not contradict each other.

    Raises:
        ValueError: If an image is updated in two ways, or both updated and removed.
    """
    updates: dict[str, ImageUpdate] = {}
    removals: dict[str, None] = {}
    for output in outputs:
        for update in output.image_list_updates:
            if updates.setdefault(update.zarr_url, update) != update:
                raise ValueError(f"two different updates of {update.zarr_url}")
        removals |= dict.fromkeys(output.image_list_removals)
    if both := updates.keys() & removals.keys():
        raise ValueError(f"an update and a removal for both {', '.join(sorted(both))}")
    return TaskOutput(
        image_list_updates=list(updates.values()), image_list_removals=list(removals)
    )


def task_output(*updates: ImageUpdate, removals: Iterable[str] = ()) -> dict[str, Any]:
    """Return a task's output: the images that it made or changed, and those it removed.

    A task with `output_types` should always return its image, changed or not.
    """
    output = TaskOutput(
        image_list_updates=list(updates), image_list_removals=list(removals)
    )
    return merge_outputs([output]).model_dump(mode="json")


def init_task_output(items: Iterable[ParallelizationItem]) -> dict[str, Any]:
    """Return the output of a compound task's init function: the units to run."""
    return InitTaskOutput(parallelization_list=list(items)).model_dump(mode="json")


def find_remedy(module: str, package: str = __name__.partition(".")[0]) -> str:
    """Return the remedy for a missing module, by the dependencies of a package."""
    top = module.partition(".")[0]
    if top == package:
        file = f"src/{module.replace('.', '/')}.py"
        is_kit = module.startswith(f"{package}.kit.")
        restore = f"`nox -s template -- restore {file}` brings it back"
        return restore if is_kit else f"{file} is missing"
    try:
        required = metadata.requires(package) or []
    except metadata.PackageNotFoundError:
        required = []
    name = top.lower().replace("_", "[-_.]")
    for requirement in required:
        if re.match(rf"{name}(?![\w.-])", requirement, re.IGNORECASE):
            extra = re.search(r"extra *== *.([\w.-]+)", requirement)
            if not extra:
                return f"{package} requires it: install the package again"
            return (
                f"`pip install -e '.[{extra[1]}]'` installs it here, and a server has to "
                f"collect the package with the extra `{extra[1]}`"
            )
    return (
        f"nothing of its name is required by {package}: add what has it to `dependencies` "
        "in pyproject.toml, and install the package again"
    )


class Call(NamedTuple):
    """A call of a task that has begun.

    Attributes:
        task: Name of the task.
        file: File of its module.
        arguments: All of its arguments, validated.
    """

    task: str
    file: str
    arguments: Mapping[str, Any]


CALL: ContextVar[Call | None] = ContextVar("CALL", default=None)


class Task(Protocol[P, R_co]):
    """A function that Fractal can start."""

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R_co:
        """Validate the arguments, and call the function."""

    def main(self) -> None:
        """Run the task as Fractal starts it; see `run_task`."""


def task(function: Callable[P, R_co]) -> Task[P, R_co]:
    """Make a function a task: its arguments are validated whenever it is called.

    The functions of the kit that write know the arguments of the task that calls them, and
    so recognise the result of an earlier run. A call from another task, from a thread or
    from a notebook is as good as one from Fractal.

    Args:
        function: Its annotations say what is valid, as for `pydantic.validate_call`.
    """

    @wraps(function)
    def pass_on(*args: Any, **kwargs: Any) -> Any:
        return args, kwargs

    # The function itself is called below, so that a traceback and a debugger come to it
    # without a detour through pydantic.
    validate = validate_call(pass_on)
    signature = inspect.signature(function)

    @wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> R_co:
        args, kwargs = validate(*args, **kwargs)
        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()
        file = function.__code__.co_filename
        token = CALL.set(Call(function.__name__, file, bound.arguments))
        try:
            return function(*args, **kwargs)
        finally:
            CALL.reset(token)

    decorated = cast(Task[P, R_co], run)
    decorated.main = lambda: run_task(run)  # type: ignore[method-assign]
    return decorated


def argument_name(value: object, default: str) -> str:
    """Name of the argument of the running task that has a value, or a list with it."""
    call = CALL.get()
    for name, argument in call.arguments.items() if call else ():
        values = argument if isinstance(argument, list | tuple) else [argument]
        if any(item is value for item in values):
            return name
    return default


def run_task(function: Callable[..., Any]) -> None:
    """Run a task as Fractal starts it: with files of arguments and results.

    The last line in the log of one that fails is the reason, below the traceback.
    """
    from fractal_task_tools.task_wrapper import run_fractal_task

    try:
        run_fractal_task(task_function=function)
    except Exception as error:
        traceback.print_exc()
        reason = str(error)
        if not reason or isinstance(error, LookupError):  # whose text is but a key
            reason = f"{type(error).__name__} {reason}".strip()
        if isinstance(error, ModuleNotFoundError) and error.name:
            reason += f": {find_remedy(error.name)}"
        if isinstance(error, ValidationError):
            reason = "; ".join(
                f"{'.'.join(map(str, mistake['loc']))}: "
                f"{mistake['msg'].removeprefix('Value error, ')}"
                for mistake in error.errors()
            )
        sys.exit(f"{function.__name__} failed: {reason}")
