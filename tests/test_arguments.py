"""Values of a workflow are used or rejected: null, other parts, resources, names."""

import json
from pathlib import Path
from typing import Any

import pytest
import server_runner
from fractal_server.runner.config import JobRunnerConfigLocal, JobRunnerConfigSLURM
from fractal_server.runner.executors.slurm_common.get_slurm_config import (
    get_slurm_config,
)
from fractal_server.runner.task_files import task_subfolder_name
from hypothesis import given, settings
from hypothesis import strategies as st
from parity_cases import NOTHING, converter, parallel
from scripted_task import write_package
from test_fractal_contract import local, rules

CHANNEL = {
    "type": "object",
    "properties": {
        "label": {"type": "string"},
        "index": {"anyOf": [{"type": "integer"}, {"type": "null"}]},
        "names": {"type": "array", "items": {"type": "string"}, "default": []},
    },
}
FIXED = {
    "type": "object",
    "properties": {"method": {"const": "fixed"}, "level": {"type": "number"}},
}
OTSU = {
    "type": "object",
    "properties": {
        "method": {"const": "otsu", "type": "string"},
        "level": {"type": ["number", "null"]},
        "channel": {"$ref": "#/$defs/Channel"},
    },
    "required": ["method"],
}
SCHEMA = {
    "type": "object",
    "properties": {
        "zarr_url": {"type": "string"},
        "needed": {"type": "integer"},
        "text": {"type": "string"},
        "sigma": {"type": "number", "default": 1.5},
        "maybe": {"anyOf": [{"type": "integer"}, {"type": "null"}], "default": 3},
        "choice": {"enum": ["a", None]},
        "word": {"enum": ["a", "b"], "type": "string"},
        "any": {"title": "Any"},
        "channel": {"$ref": "#/$defs/Channel"},
        "old": {"allOf": [{"$ref": "#/$defs/Channel"}]},
        "many": {"type": "array", "items": {"$ref": "#/$defs/Channel"}},
        "pair": {"type": "array", "prefixItems": [{"$ref": "#/$defs/Channel"}]},
        "by_name": {"additionalProperties": {"$ref": "#/$defs/Channel"}},
        "how": {"oneOf": [{"$ref": "#/$defs/Fixed"}, {"$ref": "#/$defs/Otsu"}]},
    },
    "required": ["zarr_url", "needed"],
    "additionalProperties": False,
    "$defs": {"Channel": CHANNEL, "Fixed": FIXED, "Otsu": OTSU},
}
TASK = rules.Task(
    name="T",
    type="parallel",
    executable_parallel="t.py",
    args_schema_parallel=SCHEMA,
)


def fitted(**arguments: Any) -> Any:
    """The step of a workflow, as its task gets it."""
    step = rules.Step(task={"pkg_name": "p", "name": "T"}, args_parallel=arguments)
    return rules.without_nulls(step, TASK)


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ({"text": None, "word": None, "channel": None, "how": None}, {}),
        ({"maybe": None, "choice": None, "any": None}, ...),
        ({"channel": {"label": None, "index": None}}, {"channel": {"index": None}}),
        ({"old": {"label": None, "names": None}}, {"old": {}}),
        ({"many": [{"label": None}, {"label": "a"}]}, {"many": [{}, {"label": "a"}]}),
        ({"pair": [{"label": None}]}, {"pair": [{}]}),
        ({"by_name": {"a": {"label": None}}}, {"by_name": {"a": {}}}),
        ({"how": {"method": "fixed", "level": None}}, {"how": {"method": "fixed"}}),
        ({"how": {"method": "otsu", "level": None}}, ...),
        (
            {"how": {"method": "otsu", "channel": {"label": None}}},
            {"how": {"method": "otsu", "channel": {}}},
        ),
        # No optional argument: it is for the schema to reject.
        ({"many": [None], "by_name": {"a": None}}, ...),
        ({"many": [1, "a", []], "how": 3, "channel": "x"}, ...),
    ],
)
def test_null_counts_as_not_given_where_the_schema_has_no_null(
    given: dict[str, Any], kept: Any
) -> None:
    expected = given if kept is ... else kept
    assert fitted(needed=1, **given).args_parallel == {"needed": 1} | expected
    assert not [*rules.find_mistakes(fitted(needed=1, **given), TASK)]


def test_null_for_an_argument_that_is_required_or_unknown_is_a_mistake() -> None:
    assert [*rules.find_mistakes(fitted(needed=None), TASK)] == [
        "'T', args_parallel: no value for needed; give one (null counts as not given)"
    ]
    (mistake,) = rules.find_mistakes(fitted(needed=1, other=None), TASK)
    assert mistake.startswith("'T', args_parallel: no argument 'other'; there are: ")
    (mistake,) = rules.find_mistakes(fitted(needed=1, zarr_url=None), TASK)
    assert mistake == "'T', args_parallel: Fractal sets ['zarr_url']"


def test_a_default_that_takes_the_place_of_null_is_said(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    zarr_dir: Path,
    images: list[dict[str, Any]],
) -> None:
    answers = {"echo": images[0]["zarr_url"]}
    step = parallel(answers, args_parallel={"sigma": None, "needed": 1, "text": None})
    job = write_package(
        tmp_path / "my_tasks", [step | {"args_schema_parallel": SCHEMA}]
    )
    after = local.run_workflow(**job, zarr_dir=zarr_dir, images=images[:1])
    seen = json.loads(after[0]["attributes"]["args"])
    assert seen == {"zarr_url": images[0]["zarr_url"], "needed": 1}
    assert "sigma: null counts as not given, which is 1.5" in capsys.readouterr().out


@pytest.mark.parametrize("key", ["args_non_parallel", "meta_non_parallel"])
def test_arguments_of_a_part_that_is_not_there_are_rejected(
    tmp_path: Path, zarr_dir: Path, images: list[dict[str, Any]], key: str
) -> None:
    step = parallel(NOTHING, **{key: {"mem": 2, "blank": None}})
    job = write_package(tmp_path / "my_tasks", [step])
    given = {"zarr_dir": zarr_dir, "images": images}
    with pytest.raises(local.WorkflowError, match=rf"'Task 0', {key}: .*'mem'"):
        local.run_workflow(**job, **given)
    job["workflow"]["task_list"][0][key] = {"blank": None}
    local.run_workflow(**job, **given)
    job["workflow"]["task_list"][0][key] = {}
    local.run_workflow(**job, **given)


def test_filters_of_a_converter_are_said_to_do_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], zarr_dir: Path
) -> None:
    step = converter(NOTHING, type_filters={"is_3D": True})
    job = write_package(tmp_path / "my_tasks", [step])
    local.run_workflow(**job, zarr_dir=zarr_dir)
    assert "'Task 0': a converter has no input images" in capsys.readouterr().out


# The server's own code judges the resources that a task requests.

NUMBERS = st.sampled_from(
    [0, 1, 2, -1, 2.0, 2.5, True, False, None, "2", "0", "-1", "two", "", [], {}, "1.5"]
)
MEMORY = NUMBERS | st.sampled_from(
    ["4G", "4GB", "4 G", "4000M", "3T", "g", "G4", "4g", "4.5G", "0G", " 4G", 1e9]
)
TEXTS = st.sampled_from([None, "", "a", 1, True, [], "1-00:00:00", ["a"]])
META = st.fixed_dictionaries(
    {},
    optional={
        "cpus_per_task": NUMBERS,
        "mem": MEMORY,
        "needs_gpu": NUMBERS | st.sampled_from(["true", "FALSE", "yes"]),
        "account": TEXTS,
        "extra_lines": TEXTS | st.just([1]),
        "other": TEXTS,
        **dict.fromkeys(
            ("time", "gres", "gpus", "constraint", "nodelist", "exclude"), TEXTS
        ),
    },
)
BOTH = ("tasks_per_job", "parallel_tasks_per_job")
BATCHES = st.fixed_dictionaries({}, optional=dict.fromkeys(BOTH, NUMBERS))
LIMITS = {"cpus_per_job": 10**9, "mem_per_job": 10**15, "num_jobs": 10**9}
SLURM = JobRunnerConfigSLURM(
    default_slurm_config={"partition": "p", "cpus_per_task": 1, "mem": 1000},
    batching_config={
        f"{k}_{n}": v for k in ("target", "max") for n, v in LIMITS.items()
    },
)


def server_accepts(meta: dict[str, Any]) -> bool:
    """Whether both backends of the server would start units with these resources."""
    step = local.rules.Step.model_construct(meta_parallel=meta, task=TASK)
    try:
        get_slurm_config(SLURM, step, "parallel", tot_tasks=3)
        config = server_runner.get_local_backend_config(
            JobRunnerConfigLocal(), step, "parallel"
        )
        at_once = config.parallel_tasks_per_job
        return len(range(0, 3, 3 if at_once is None else at_once)) > 0
    except Exception:
        return False


@settings(max_examples=200, deadline=None)
@given(META, BATCHES)
def test_resources_that_the_server_rejects_are_rejected(
    meta: dict[str, Any], batches: dict[str, Any]
) -> None:
    step = rules.Step(task={"pkg_name": "p", "name": "T"}, meta_parallel=meta | batches)
    rejected = [*rules.check_resources(step, TASK)]
    alone = (
        len({value is None for value in map(batches.get, BOTH)}) == 2
    )  # which SLURM rejects, and a local server accepts
    if not server_accepts(meta | batches) and not alone:
        assert rejected
    # By choice: numbers that the server cuts or takes for others.
    odd = [2.5, False, True, 0, -1, "0", "-1", "0G"]
    cut = any(meta.get(key) in odd for key in ("cpus_per_task", "mem"))
    batched = any(value in odd for value in batches.values())
    if server_accepts(meta | batches) and not cut and not batched:
        assert not rejected


@pytest.mark.parametrize(
    ("meta", "mistake"),
    [
        (
            {"parallel_tasks_per_job": 0},
            "parallel_tasks_per_job: Input should be greater",
        ),
        (
            {"parallel_tasks_per_job": "many"},
            "parallel_tasks_per_job: Input should be a",
        ),
        ({"mem": "4GB"}, "mem: .*'4GB' is neither megabytes, nor a text such as '4G'"),
        ({"gpus": 1}, "gpus: Input should be a valid string"),
        ({"account": "me"}, "account: it belongs to the job"),
    ],
)
def test_a_run_rejects_resources_before_anything_starts(
    tmp_path: Path,
    zarr_dir: Path,
    images: list[dict[str, Any]],
    meta: dict[str, Any],
    mistake: str,
) -> None:
    given = {"zarr_dir": zarr_dir, "images": images}
    for step in (
        parallel(NOTHING, meta_parallel=meta),
        parallel(NOTHING, in_manifest={"meta_parallel": meta}),
    ):
        job = write_package(tmp_path / "my_tasks", [step])
        with pytest.raises(
            local.WorkflowError, match=f"'Task 0', meta_parallel.{mistake}"
        ):
            local.run_workflow(**job, **given)


def test_resources_that_no_server_reads_are_said(
    capsys: pytest.CaptureFixture[str],
) -> None:
    step = rules.Step(task={"pkg_name": "p", "name": "T"}, meta_parallel={"memory": 1})
    assert not [*rules.check_resources(step, TASK)]
    assert "servers ignore ['memory']" in capsys.readouterr().out


@settings(deadline=None)
@given(
    st.integers(100, 300).flatmap(
        lambda n: st.text("aZ \u00e9\u0130\u56fe/.", max_size=n)
    ),
    st.integers(0, 120),
)
def test_names_that_make_no_folder_of_the_server_are_rejected(
    name: str, position: int
) -> None:
    size = len(task_subfolder_name(position, name).encode())
    assert bool([*rules.check_name(name, position)]) == (size > 255)
