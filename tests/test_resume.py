"""`--resume` runs changed and failed steps again, and reuses all other results."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from parity_cases import CRASH, NOTHING, compound, out, parallel, units, up
from scripted_task import write_package
from test_fractal_contract import in_process, local

from fractal_workbench.engine import resume as resuming

pytestmark = pytest.mark.usefixtures(in_process.__name__)


@pytest.fixture
def images(tmp_path: Path) -> list[dict[str, Any]]:
    for name in "ab":
        (tmp_path / "zarr" / name).mkdir(parents=True)
    return [{"zarr_url": str(tmp_path / "zarr" / name)} for name in "ab"]


@pytest.fixture
def job(tmp_path: Path, images: list[dict[str, Any]]) -> dict[str, Any]:
    """Three steps; in the second one, the unit of b fails."""
    a, b = (image["zarr_url"] for image in images)
    second = {a: out(up(a, types={"seen": True})), b: CRASH}
    steps = [
        compound(units(up(a), up(b)), NOTHING),
        parallel(second),
        parallel(NOTHING, args_parallel={"x": 1}),
    ]
    return write_package(tmp_path / "my_tasks", steps) | {"images": images}


def mend(job: dict[str, Any]) -> None:
    """Have the unit of b end well, as if a disk had been full."""
    script = job["package_root"] / "parallel_1.json"
    script.write_text(json.dumps(json.loads(script.read_text()) | {"*": {}}))
    told = json.loads(script.read_text())
    b = job["images"][1]["zarr_url"]
    script.write_text(json.dumps(told | {b: {}}))


def run(job: dict[str, Any], *, resume: bool = True) -> tuple[list[list[bool]], Any]:
    """Run; say for each step which units were reused, and what came of it."""
    seen: list[Any] = []
    zarr_dir = job["package_root"].parent / "zarr"
    resuming._code.cache_clear()  # each of these would be a process of its own
    kept = resuming.Finished(zarr_dir, resume=resume)
    try:
        result = local.run_workflow(
            **copy.deepcopy(job),
            zarr_dir=zarr_dir,
            finished=kept,
            watch=seen.append,
            workers=1,
        )
    except local.WorkflowError as error:
        result = error
    return [[unit.reused for unit in done.units] for done in seen], result


def test_only_failed_units_and_later_steps_run_again(job) -> None:
    new = [[False] * 3, [False] * 2]
    reused, error = run(job)
    assert (reused, error.unit) == (new, f"job 2 ({job['images'][1]['zarr_url']})")
    reused, error = run(job)
    assert reused == [[True] * 3, [True, False]]
    assert isinstance(error, local.WorkflowError)
    assert error.images[0]["types"] == {"seen": True}, "from the unit that was reused"
    mend(job)
    reused, images = run(job)
    assert reused == [[True] * 3, [True, False], [False, False]]
    assert [image["types"] for image in images] == [{"seen": True}, {}]
    assert run(job) == ([[True] * 3, [True] * 2, [True] * 2], images)
    assert run(job, resume=False) == ([[False] * 3, [False] * 2, [False] * 2], images)


def test_changed_steps_run_again_with_all_later_ones(job) -> None:
    mend(job)
    everything = [[False] * 3, [False] * 2, [False] * 2]
    assert run(job)[0] == everything
    changed = copy.deepcopy(job)
    changed["workflow"]["task_list"][1]["args_parallel"] = {"y": 2}
    assert run(changed)[0] == [[True] * 3, [False] * 2, [False] * 2]
    # What it made before is gone, although the arguments were the same then.
    assert run(job)[0] == [[True] * 3, [False] * 2, [False] * 2]
    with (job["package_root"] / "parallel_2.py").open("a") as module:
        module.write("# mended\n")
    assert run(job)[0] == [[True] * 3, [True] * 2, [False] * 2]
    with (job["package_root"] / "non_parallel_0.py").open("a") as module:
        module.write("# mended\n")
    assert run(job)[0] == everything
    assert run(job)[0] == [[True] * 3, [True] * 2, [True] * 2]


def test_deleted_results_are_made_again(job) -> None:
    mend(job)
    run(job)
    Path(job["images"][0]["zarr_url"]).rmdir()
    assert run(job)[0] == [[True] * 3, [False, True], [False] * 2]


def test_a_wrong_output_is_not_reused(job) -> None:
    mend(job)
    script = job["package_root"] / "parallel_2.json"
    script.write_text(json.dumps({"*": {"text": '{"image_list_updates": 1}'}}))
    assert run(job)[0][2] == [False, False]
    script.write_text(json.dumps({"*": {}}))
    reused, images = run(job)
    assert reused == [[True] * 3, [True] * 2, [False] * 2]
    assert len(images) == 2


@pytest.mark.parametrize("text", ["", "{", "[]\n", '{"step": 1}\n', "\n\n"])
def test_a_file_that_a_killed_run_left_does_no_harm(job, text: str) -> None:
    mend(job)
    run(job)
    file = job["package_root"].parent / "zarr" / resuming.FILE
    lines = file.read_text().splitlines(keepends=True)
    file.write_text("".join(lines[:4]) + text)
    assert run(job)[0] == [[True] * 3, [True, False], [False] * 2]


@pytest.mark.parametrize(
    "change",
    [
        {"tops": 5},
        {"tops": ["/"]},
        {"made": []},
        {"seen": None},
        {"roots": None},
        {"step": "1"},
        {"roots": [None]},
        {"changed": {"/x": "y"}},
    ],
    ids=str,
)
def test_a_record_that_no_run_has_written_is_not_used(
    job: dict[str, Any], tmp_path: Path, change: dict[str, Any]
) -> None:
    mend(job)
    run(job)
    assert all(map(all, run(job)[0]))
    file = tmp_path / "zarr" / resuming.FILE
    records = [json.loads(line) for line in file.read_text().splitlines()]
    lines = [json.dumps(record | change) for record in records]
    file.write_bytes(b"\xff\n" + "\n".join(lines).encode())
    assert not any(map(any, run(job)[0]))
