"""The template follows the rules of fractal-server."""

import copy
import importlib
import itertools
import json
import math
import shlex
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import scripted_task
import server_runner
from fractal_server import types as server_types
from fractal_server.app.schemas.v2 import WorkflowImport
from fractal_server.images import SingleImageTaskOutput
from fractal_server.runner.exceptions import TaskExecutionError
from fractal_server.runner.v2 import task_interface
from fractal_server.runner.v2.merge_outputs import merge_outputs
from fractal_workbench.kit import fractal as fractal_io
from hypothesis import given, settings
from hypothesis import strategies as st
from parity_cases import BEYOND_TWO_UNITS, CASES, STRICTER, Case
from pydantic import BaseModel, RootModel, TypeAdapter

from fractal_workbench.engine import rules
from fractal_workbench.engine import runner as local

REAL_PROCESSES = [
    case
    for case in CASES
    if case.name
    in ("a pipeline", "init: one of two units fails", "compound without init")
    or case.name
    in ("parallel, half an object beside a good unit", "filtered zarr_urls")
    or case.name.startswith("arguments of")
]


# Each answer is tried on a parallel task, and on one further type at each push.
FURTHER = ("non_parallel", "converter_non_parallel", "compound", "converter_compound")
NUMBERS = {type_: itertools.count() for type_ in FURTHER}


def once(case: Case) -> Any:
    """Mark a case as weekly if another one of its rule runs at each push."""
    type_, _, answer = case.name.partition(", ")
    if answer and type_ in FURTHER:
        number = next(NUMBERS[type_]) + FURTHER.index(type_)
        is_repeated = bool(number % len(FURTHER))
    else:
        is_repeated = answer.endswith(" beside a good unit")
    marks = [pytest.mark.weekly] if is_repeated else []
    return pytest.param(case, id=case.name, marks=marks)


def both(case: Case, folder: Path) -> tuple[Any, Any]:
    """Run a case here and on the server; return error and image list of each."""
    job = scripted_task.write_package(folder / "my_tasks", case.steps)
    job["workflow"] |= case.workflow
    job["manifest"] |= case.manifest
    job |= {
        "python": sys.executable,
        "zarr_dir": case.zarr_dir,
        "images": case.images,
        "type_filters": case.type_filters,
        "attribute_filters": case.attribute_filters,
    }
    try:
        here: Any = None, local.run_workflow(**job)
    except local.WorkflowError as error:
        here = error, error.images
    return here, server_runner.run_on_server(**job, folder=folder / "server")


def as_json(images: list[dict[str, Any]]) -> str:
    """Return text, since Python finds 1, 1.0 and True equal."""
    return json.dumps([{"origin": None, **image} for image in images], sort_keys=True)


@pytest.fixture
def in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Play scripted tasks without a process for each, which takes too long for hundreds."""

    class Played(local.Processes):
        def __init__(self, environment: object) -> None:
            pass

        def run(self, command: list[str], log: Path, home: Path) -> int:
            _, executable, _, args_json, _, out_json = command
            return scripted_task.play(Path(executable), Path(args_json), Path(out_json))

        def close(self) -> None:
            pass

    def call_command_wrapper(*, cmd: str, **_: object) -> None:
        try:
            code = Played({}).run(shlex.split(cmd), Path(), Path())
        except Exception as error:
            raise TaskExecutionError(str(error)) from error
        if code != 0:
            raise TaskExecutionError(f"exit code {code}")

    monkeypatch.setattr(local, "Processes", Played)
    monkeypatch.setattr(
        server_runner.local, "call_command_wrapper", call_command_wrapper
    )


def assert_agreement(case: Case, folder: Path) -> None:
    """Require the verdict that the case names, and one image list, here and there."""
    (error, images), (server_error, server_images) = both(case, folder)
    assert (bool(error), bool(server_error)) == (case.fails, case.fails), (
        error,
        server_error,
    )
    assert as_json(images) == as_json(server_images)


@pytest.mark.usefixtures("in_process")
@pytest.mark.parametrize("case", [*map(once, CASES)])
def test_run_workflow_agrees_with_the_server(case: Case, tmp_path: Path) -> None:
    assert_agreement(case, tmp_path)


@pytest.mark.parametrize("case", REAL_PROCESSES, ids=lambda case: case.name)
def test_run_workflow_agrees_with_the_server_on_real_processes(
    case: Case, tmp_path: Path
) -> None:
    assert_agreement(case, tmp_path)


@pytest.mark.usefixtures("in_process")
@pytest.mark.parametrize("case", BEYOND_TWO_UNITS, ids=lambda case: case.name)
def test_run_workflow_allows_as_many_units_as_the_server(
    case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit = "MAX_PARALLELIZATION_LIST_SIZE"
    assert getattr(server_runner.runner_functions, limit) == local.MAX_UNITS
    monkeypatch.setattr(local, "MAX_UNITS", 2)
    monkeypatch.setattr(server_runner.runner_functions, limit, 2)
    assert_agreement(case, tmp_path)


@pytest.mark.usefixtures("in_process")
@pytest.mark.parametrize("case", STRICTER, ids=lambda case: case.name)
def test_run_workflow_is_stricter_than_the_server_by_choice(
    case: Case, tmp_path: Path
) -> None:
    (error, _), (server_error, _) = both(case, tmp_path)
    assert error
    assert not server_error


# The models: whatever a task writes, ours and the server's judge it alike and read it alike.

URLS = st.sampled_from(["/zarr/a", "/zarr/b/", " /zarr//c", "/zarr/./d"]) | st.lists(
    st.sampled_from(["/", "/", "a", "b.zarr", "..", ".", " ", "s3://", "\x1c", "\xa0"]),
    max_size=6,
).map("".join)
NAMES = st.sampled_from(["well", " well", "plate ", "n", "", " ", "\x1f", "\u00fc"])
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.sampled_from([0, 1, 2, 0.0, 1.0, "yes", "off", "1", "maybe", ""]),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(st.characters(exclude_characters="\0", exclude_categories=()), max_size=3),
)
JSON = st.recursive(
    SCALARS,
    lambda j: st.lists(j, max_size=2) | st.dictionaries(NAMES, j, max_size=2),
    max_leaves=4,
)


def test_the_workflow_of_a_package_can_be_imported() -> None:
    """As a template, by servers that have these."""
    package = Path(importlib.import_module("my_fractal_tasks").__file__ or "").parent
    shipped = json.loads((package / "workflow.json").read_text("utf-8"))
    schemas = importlib.import_module("fractal_server.app.schemas.v2")
    given = WorkflowImport(**shipped["data"])
    with suppress(AttributeError):  # up to 2.18
        template = schemas.WorkflowTemplateImport(**shipped)
        assert template.data == given
    ours = {"manifest": package / rules.MANIFEST, "package_root": package}
    assert rules.find_tasks(rules.read_job(workflow=shipped, **ours))
    assert {*shipped} == {"name", "version", "description", "data"}
    # Without them, fractal-server 2.26 keeps a template that it then cannot show.
    assert all("type_filters" in step for step in shipped["data"]["task_list"])


def objects(**values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Draw objects with these keys; at times one is missing, another type, or unknown."""

    def now_and_then(odd: st.SearchStrategy[Any], usual: st.SearchStrategy[Any]) -> Any:
        return st.integers(0, 12).flatmap(lambda number: usual if number else odd)

    usual = st.fixed_dictionaries(
        {key: now_and_then(JSON, v) for key, v in values.items()}
    )
    odd = st.fixed_dictionaries({}, optional={"other": JSON, **values})
    return now_and_then(odd | JSON, usual)


UPDATES = objects(
    zarr_url=URLS,
    origin=st.none() | URLS,
    attributes=st.dictionaries(NAMES, SCALARS, max_size=3),
    types=st.dictionaries(NAMES, st.booleans() | SCALARS, max_size=2),
)
OUTPUTS = objects(
    image_list_updates=st.lists(UPDATES, max_size=3),
    image_list_removals=st.lists(URLS, max_size=2),
)
ITEMS = objects(zarr_url=URLS, init_args=st.dictionaries(NAMES, JSON, max_size=3))
INIT_OUTPUTS = objects(parallelization_list=st.lists(ITEMS, max_size=3))

# What our models refuse on purpose: how it looks as JSON, and an update with it.
STRICTER_MODELS = {
    "S3 URLs, which newer servers accept": ("s3://", {"zarr_url": "s3://bucket/a"}),
    "'..' with a control character, which the server strips too late": (
        "\\u001c",
        {"zarr_url": "/zarr/..\x1c"},
    ),
    "unknown keys in an update, which the server ignores": (
        '"other"',
        {"zarr_url": "/zarr/a", "other": 1},
    ),
}


def judge(read: Callable[[Any], BaseModel], given: Any) -> str:
    """Return what a model reads, or that it refuses."""
    try:
        read_as = read(copy.deepcopy(given)).model_dump()
    except (TypeError, ValueError):
        return "refused"
    return json.dumps(read_as, sort_keys=True)


def assert_alike(
    ours: Callable[..., BaseModel], theirs: Callable[..., BaseModel], given: Any
) -> None:
    our_verdict, their_verdict = judge(ours, given), judge(theirs, given)
    if any(text in json.dumps(given) for text, _ in STRICTER_MODELS.values()):
        assert our_verdict in ("refused", their_verdict)
    else:
        assert our_verdict == their_verdict


@settings(deadline=None)
@given(URLS)
def test_zarr_url_is_read_as_on_the_server(url: str) -> None:
    ours = TypeAdapter(fractal_io.ZarrUrl), TypeAdapter(fractal_io.ZarrDir)
    theirs = TypeAdapter(server_types.ZarrUrlStr), TypeAdapter(server_types.ZarrDirStr)
    for our, their in zip(ours, theirs, strict=True):
        assert_alike(
            lambda value, our=our: RootModel[str](our.validate_python(value)),
            lambda value, their=their: RootModel[str](their.validate_python(value)),
            url,
        )


@settings(deadline=None)
@given(UPDATES)
def test_image_update_is_read_as_on_the_server(update: Any) -> None:
    assert_alike(
        fractal_io.ImageUpdate.model_validate,
        SingleImageTaskOutput.model_validate,
        update,
    )


@settings(deadline=None)
@given(st.lists(OUTPUTS, min_size=1, max_size=2))
def test_task_outputs_are_read_and_merged_as_on_the_server(outputs: list[Any]) -> None:
    def ours(outputs: list[Any]) -> BaseModel:
        return sort(
            fractal_io.merge_outputs([fractal_io.TaskOutput(**o) for o in outputs])
        )

    def theirs(outputs: list[Any]) -> BaseModel:
        merged = merge_outputs([task_interface.TaskOutput(**o) for o in outputs])
        merged.check_zarr_urls_are_unique()
        return sort(merged)

    def sort(output: Any) -> BaseModel:
        output.image_list_removals.sort()  # the server does not keep their order
        return output

    assert_alike(ours, theirs, outputs)


@settings(deadline=None)
@given(INIT_OUTPUTS)
def test_parallelization_list_is_read_as_on_the_server(output: Any) -> None:
    assert_alike(
        fractal_io.InitTaskOutput.model_validate,
        task_interface.InitTaskOutput.model_validate,
        output,
    )


@pytest.mark.parametrize("update", [update for _, update in STRICTER_MODELS.values()])
def test_models_are_stricter_than_the_server_by_choice(update: Any) -> None:
    assert judge(fractal_io.ImageUpdate.model_validate, update) == "refused"


class Scalar:
    """As much of a NumPy scalar as matters."""

    shape = ()

    def __init__(self, value: Any) -> None:
        self.value = value

    def item(self) -> Any:
        return self.value


def test_numpy_scalars_become_python_numbers() -> None:
    update = fractal_io.ImageUpdate(
        zarr_url="/zarr/a",
        attributes={"b": Scalar(True), "i": Scalar(2), "f": Scalar(0.5)},
        types={"t": Scalar(False)},
    )
    assert as_json([update.attributes, update.types]) == as_json(
        [{"b": True, "i": 2, "f": 0.5}, {"t": False}]
    )


def test_task_output_keeps_the_deletion_of_an_attribute() -> None:
    update = fractal_io.ImageUpdate(zarr_url="/zarr/a/", attributes={"well": None})
    assert fractal_io.task_output(update, removals=["/zarr/b"]) == {
        "image_list_updates": [
            {
                "zarr_url": "/zarr/a",
                "origin": None,
                "attributes": {"well": None},
                "types": {},
            }
        ],
        "image_list_removals": ["/zarr/b"],
    }


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (
            lambda io: io.ImageUpdate(zarr_url="s3://bucket/a"),
            "neither S3 nor relative paths",
        ),
        (lambda io: io.ImageUpdate(zarr_url="data/a"), "must be an absolute path"),
        (lambda io: io.ImageUpdate(zarr_url="/data/../a"), "without '..'"),
        (lambda io: io.ImageUpdate(zarr_url="/a", attributes={"n": math.nan}), "NaN"),
        (
            lambda io: io.ImageUpdate(
                zarr_url="/a", attributes={"n": Scalar(math.inf)}
            ),
            "infinity",
        ),
        (lambda io: io.ImageUpdate(zarr_url="/a", attributes={"n": "\0"}), "NUL"),
        (lambda io: io.ImageUpdate(zarr_url="/a", attributes={"n": [1]}), "not list"),
        (lambda io: io.ImageUpdate(zarr_url="/a", attribute={}), "attribute"),
        (
            lambda io: io.ParallelizationItem(zarr_url="/a", init_args={"p": Path()}),
            "valid JSON",
        ),
        (
            lambda io: io.ParallelizationItem(
                zarr_url="/a", init_args={"p": [Scalar(1)]}
            ),
            "list.0",
        ),
        (lambda io: io.TaskOutput(filters={}), "since fractal-server 2.11"),
        (
            lambda io: io.task_output(io.ImageUpdate(zarr_url="/a"), removals=["/a"]),
            "both /a",
        ),
        (
            lambda io: io.task_output(
                *(io.ImageUpdate(zarr_url="/a", types={"t": t}) for t in (0, 1))
            ),
            "two different updates of /a",
        ),
    ],
)
def test_wrong_output_fails_in_the_task_with_a_sentence(
    make: Callable[[ModuleType], Any], sentence: str
) -> None:
    with pytest.raises(ValueError, match=sentence):
        make(fractal_io)
