"""The demo runs whatever examples a package has, on real cells, and ends with its page."""

import csv
import json
import random
from itertools import combinations

import numpy as np
import pytest
from fractal_workbench.kit import open_image, open_label
from rendering import EXAMPLES, import_folder, workbench

from fractal_workbench.demo import command
from fractal_workbench.engine import rules


@pytest.fixture
def in_package(richest, monkeypatch):
    """The package with all examples is the current folder."""
    monkeypatch.chdir(richest)


@pytest.mark.long
def test_all_examples_find_the_nuclei(checkout):
    folder = checkout / "demo" / "out"
    workflow = json.loads((folder / "workflow.json").read_text("utf-8"))
    assert len(workflow["task_list"]) == len(EXAMPLES)
    page = (folder / "index.html").read_text("utf-8")
    assert all(step["task"]["name"] in page for step in workflow["task_list"])
    rules.find_tasks(rules.read_job(workflow=workflow))
    plate = folder / "zarr" / "plate_projected.zarr"
    with (plate / "tables" / "features" / "table.csv").open(newline="") as file:
        counts = {
            (row["place"], row["acquisition"]): int(row["count"])
            for row in csv.DictReader(file)
        }
    # There are few cells in one of the places, and many in the other.
    assert len(counts) == 3
    assert all(75 < counts["POS002", number] < 105 for number in "01")
    assert 195 < counts["POS076", "0"] < 235

    def labels(name, label):
        image = open_image(plate / "A" / "01" / name)
        return open_label(image, label).levels[0][0] > 0

    def likeness(one, other):
        return (one & other).sum() / (one | other).sum()

    nuclei = labels("0blurred", "nuclei")
    assert likeness(nuclei, labels("0blurred", "objects")) > 0.7
    aligned = labels("1registeredblurred", "nuclei")
    inside = np.s_[16:-16, 16:-16]  # of the shift
    assert likeness(nuclei[inside], aligned[inside]) > 0.9


@pytest.mark.parametrize(
    "examples",
    [
        random.Random(1).sample(EXAMPLES, 3),
        pytest.param(random.Random(2).sample(EXAMPLES, 4), marks=pytest.mark.weekly),
        ["measure_features", "aggregate_tables"],
    ],
    ids=", ".join,
)
def test_some_examples_run(render, tmp_path, examples):
    package = render(tmp_path / "package", examples=examples)
    folder = tmp_path / "made"
    log = workbench("demo", folder, "--wells=1", cwd=package)
    assert f"The page: {folder / 'index.html'}" in log
    page = (folder / "index.html").read_text("utf-8")
    for task in rules.read_json(import_folder(package) / "__FRACTAL_MANIFEST__.json")[
        "task_list"
    ]:
        assert (task["name"] in page) != (
            f"{task['name']} is not in the workflow" in log
        )
    assert "ExampleFly (© Broad Institute, BSD-3-Clause)" in page
    again = ["--zarr-dir", folder / "zarr", "--images", folder / "images.json"]
    workbench("run", folder / "workflow.json", *again, "--plan", cwd=package)


def test_a_package_without_tasks_has_the_plate(render, tmp_path):
    package = render(tmp_path / "package", examples=[])
    folder = package / ".nox" / "demo-out"
    log = workbench("demo", "--wells=1", cwd=package)
    assert f"The page: {folder / 'index.html'}" in log
    assert "No task can run on it yet" in log
    assert "A01" in (folder / "index.html").read_text("utf-8")
    image = open_image(folder / "zarr" / "plate.zarr" / "A" / "01" / "1")
    assert image.channel_names == ["DAPI", "Rhodamine"]


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [([""], "exists: name one that does not"), (["new", "--wells=7"], "--wells")],
)
def test_invalid_arguments_are_rejected_first(render, tmp_path, arguments, reason):
    package = render(tmp_path / "package", examples=[])
    with pytest.raises(RuntimeError, match=reason) as error:
        workbench("demo", tmp_path / arguments[0], *arguments[1:], cwd=package)
    assert "Traceback" not in str(error.value)
    assert {path.name for path in tmp_path.iterdir()} == {"package"}


def test_each_subset_of_the_examples_has_a_workflow(in_package, tmp_path, capsys):
    tasks = command.read_tasks()
    assert {*tasks} == {*EXAMPLES}
    for size in range(len(EXAMPLES) + 1):
        for examples in map(set, combinations(EXAMPLES, size)):
            chosen = {name: task for name, task in tasks.items() if name in examples}
            workflow = command.make_workflow(
                command.list_candidates(tmp_path, chosen), chosen
            )
            said = capsys.readouterr().out
            names = [step["task"]["name"] for step in workflow["task_list"]]
            expected = {task.name for task in chosen.values()}
            segmented = {"threshold_segmentation", "model_segmentation"} & examples
            if "convert_tiffs" in examples and not (
                segmented and "measure_features" in examples
            ):
                expected -= {"Measure Features", "Aggregate Tables"}
            assert sorted(names) == sorted(expected)
            assert said.count("it needs objects") == len(chosen) - len(names)


def test_own_tasks_run_if_they_are_parallel_and_need_nothing(
    in_package, tmp_path, capsys
):
    def task(name, kind="parallel", required=(), **more):
        schema = {"properties": {"zarr_url": {}, "size": {}}, "required": [*required]}
        part = "parallel" if kind == "parallel" else "non_parallel"
        given = {f"executable_{part}": f"{name}.py", f"args_schema_{part}": schema}
        return rules.Task(name=name, type=kind, **given, **more)

    tasks = command.read_tasks() | {
        "good": task("good", required=["zarr_url"]),
        "needs": task("needs", required=["zarr_url", "size"]),
        "whole": task("whole", "non_parallel"),
        "converter": task("converter", "converter_non_parallel"),
        "stack": task("stack", input_types={"is_3D": True}),
    }
    workflow = command.make_workflow(command.list_candidates(tmp_path, tasks), tasks)
    assert len(workflow["task_list"]) == len(EXAMPLES) + 1
    assert workflow["task_list"][-1]["task"]["name"] == "good"
    said = capsys.readouterr().out
    for reason in (
        "needs is not in the workflow: 'needs', args_parallel: no value for size",
        "whole is not in the workflow: of your own tasks, parallel ones are tried",
        "converter is not in the workflow: of your own tasks",
        "stack is not in the workflow: it takes images of the types {'is_3D': True}",
    ):
        assert reason in said


def test_a_change_of_an_example_that_does_not_fit_is_told(in_package, tmp_path, capsys):
    tasks = command.read_tasks()
    schema = tasks["gaussian_blur"].args_schema_parallel
    schema["required"] = [*schema["required"], "sigma_xy"]
    workflow = command.make_workflow(command.list_candidates(tmp_path, tasks), tasks)
    assert len(workflow["task_list"]) == len(EXAMPLES) - 1
    assert "Gaussian Blur is not in the workflow: " in capsys.readouterr().out
