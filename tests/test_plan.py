"""`nox -s run -- --plan` describes a workflow, and runs nothing."""

import json
from pathlib import Path
from typing import Any

import pytest
from package_images import PACKAGE, write_image
from parity_cases import CRASH, NOTHING, compound, converter_compound, parallel
from scripted_task import write_package
from test_fractal_contract import local

from fractal_workbench.engine import choices, command, rules
from fractal_workbench.engine.plan import plan


def planned(job: dict[str, Any], **given: Any) -> list[str]:
    """The plan of a workflow."""
    read = rules.read_job(**job, **given)
    return [*plan(read, rules.find_tasks(read))]


def test_a_plan_shows_the_input_of_each_task_and_runs_nothing(
    tmp_path: Path, zarr_dir: Path, images: list[dict[str, Any]]
) -> None:
    images[0]["types"] = {"is_3D": True}
    steps = [
        parallel(CRASH, input_types={"is_3D": True}, output_types={"blurred": True}),
        compound(CRASH, CRASH, type_filters={"registered": False}),
        converter_compound(CRASH, CRASH),
    ]
    job = write_package(tmp_path / "my_tasks", steps)
    job["workflow"]["task_list"][0]["args_parallel"] = {"sigma": 2}
    before = sorted(tmp_path.rglob("*"))

    lines = planned(
        job,
        zarr_dir=str(zarr_dir),
        images=images,
        attribute_filters={"well": ["a", "b"]},
    )

    assert lines == [
        "[1/3] Task 0 (parallel)",
        "    takes    1 of 2 images where is_3D is True, well in ['a', 'b']",
        "    runs     once for each of them",
        "    returns  images, the same or new ones, with blurred = True",
        "      sigma = 2",
        "[2/3] Task 1 (compound)",
        "    takes    images where blurred is True, registered is False, "
        "well in ['a', 'b']",
        "    runs     once for all of them, then as often as that says",
        "    returns  images, the same or new ones",
        "[3/3] Task 2 (converter_compound)",
        "    runs     once, then as often as that says",
        "    returns  the first images",
    ]
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("task", "given", "why"),
    [
        ({"input_types": {"is_3D": True}}, {}, "is_3D is False or missing in all"),
        ({"input_types": {"good": False}}, {}, "good is True in all of them"),
        ({}, {"attribute_filters": {"well": ["x"]}}, r"well is a, b, none of \['x'\]"),
        ({}, {"images": []}, "there are none: begin with a converter"),
        (
            {"input_types": {"odd": True}},
            {"attribute_filters": {"well": ["b"]}},
            "no single image meets all conditions",
        ),
    ],
)
def test_a_plan_says_why_a_task_finds_no_image(
    tmp_path: Path,
    zarr_dir: Path,
    images: list[dict[str, Any]],
    task: dict[str, Any],
    given: dict[str, Any],
    why: str,
) -> None:
    for image in images:
        image["types"] = {"good": True, "odd": image["attributes"]["well"] == "a"}
    job = write_package(tmp_path / "my_tasks", [parallel(NOTHING, **task)])
    given = {"zarr_dir": str(zarr_dir), "images": images} | given
    error = rules.WorkflowError
    with pytest.raises(error, match=f"'Task 0' finds no image: .*{why}"):
        planned(job, **given)
    with pytest.raises(local.WorkflowError):  # as the run says, later
        local.run_workflow(**job, **given)


def test_a_plan_warns_of_missing_images_and_channels(
    tmp_path: Path, zarr_dir: Path
) -> None:
    job = write_package(tmp_path / "my_tasks", [parallel(NOTHING)])
    channel = {"mode": "label", "identifier": "FITC"}
    job["workflow"]["task_list"][0]["args_parallel"] = {"nuclei": channel}
    write_image(zarr_dir / "a.zarr", "cyx")
    images = [{"zarr_url": str(zarr_dir / name)} for name in ("a.zarr", "b.zarr")]
    read = rules.read_job(**job, zarr_dir=str(zarr_dir), images=images)
    lines = [*plan(read, rules.find_tasks(read), count_jobs=True)]
    warned = [line.split(maxsplit=1)[1] for line in lines if "    warns " in line]
    assert warned[0].startswith(
        f"nuclei: {zarr_dir}/a.zarr has no channel with the label"
    )
    assert warned[1].endswith(f"there is nothing at {zarr_dir}/b.zarr")


def test_a_plan_names_the_package_of_a_task_of_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, zarr_dir: Path
) -> None:
    job = write_package(tmp_path / "my_tasks", [converter_compound(NOTHING, NOTHING)])
    theirs = write_package(tmp_path / "their_tasks", [parallel(NOTHING)])
    (tmp_path / "their_tasks" / "__init__.py").touch()
    manifest = tmp_path / "their_tasks" / "__FRACTAL_MANIFEST__.json"
    manifest.write_text(json.dumps(theirs["manifest"]))
    reference = {"pkg_name": "their-tasks", "name": "Task 0"}
    job["workflow"]["task_list"].append({"task": reference})
    monkeypatch.syspath_prepend(tmp_path)
    lines = planned(job, zarr_dir=str(zarr_dir))
    assert "[2/2] Task 0 (parallel, of their-tasks)" in lines


def test_a_plan_commands_no_terminal() -> None:
    assert rules.printable("a\x1b[8m\u202eü\n") == r"a\x1b[8m\u202eü\n"


def test_warnings_and_mistakes_command_no_terminal(
    zarr_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rules.warn("a\x1b[2J\r")
    assert capsys.readouterr().out == "  warning: a\\x1b[2J\\r\n"
    workflow = {"name": "w", "task_list": [], "a\x1b[2J": 1}
    with pytest.raises(rules.WorkflowError) as mistake:
        rules.read_job(workflow=workflow, zarr_dir=str(zarr_dir))
    assert "\nworkflow.a\\x1b[2J: Extra inputs" in str(mistake.value)


@pytest.mark.parametrize("text", ["null", "3", '"x"', '{"images": []}', "[1,]", ""])
def test_a_file_without_an_image_list_is_rejected(tmp_path: Path, text: str) -> None:
    file = tmp_path / "images.json"
    file.write_text(text)
    with pytest.raises(rules.WorkflowError, match=r"images\.json is no"):
        rules.read_images(file)


def test_a_key_of_many_images_is_warned_about_once(
    capsys: pytest.CaptureFixture[str],
) -> None:
    images = [{"zarr_url": f"/{n}", "size": n} for n in range(3000)]
    rules.drop_unknown(images, "list")
    assert capsys.readouterr().out == (
        "  warning: list: the server ignores size=0, and of 2999 more images\n"
    )
    assert images[-1] == {"zarr_url": "/2999"}


def test_mistakes_of_all_steps_are_told_at_once(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(PACKAGE.parents[1])
    blur = {"pkg_name": choices.own_name(), "name": "Gaussian Blur"}
    steps = [
        {"task": blur, "meta_parallel": {"mem": "much"}},
        {"task": blur | {"version": "1" * 5000}, "meta_parallel": {"memory": 1}},
    ]
    workflow = {"name": "w", "task_list": steps}
    read = rules.read_job(workflow=workflow, zarr_dir=str(tmp_path))
    found = choices.find_packages(read.workflow, [], [], tmp_path)
    list(choices.read_options(["x; os_name=='nt'"], [], found.mistakes))
    with pytest.raises(rules.WorkflowError) as error:
        choices.find_tasks(read, found)
    lines = str(error.value).splitlines()
    assert [line[:28] for line in lines] == [
        "'Gaussian Blur': '1111111111",
        "--with \"x; os_name=='nt'\": l",
        "step 1, 'Gaussian Blur', met",
    ]
    assert capsys.readouterr().out.count("servers ignore") == 1


def test_a_file_that_cannot_be_written_is_rejected_before_anything_runs(
    tmp_path: Path, zarr_dir: Path
) -> None:
    workflow = {"name": "w", "task_list": [{"task": {"pkg_name": "a", "name": "b"}}]}
    for option in ("report", "run_json"):
        name = option.removeprefix("run_")
        for file, reason in (
            (zarr_dir, "is a folder"),
            (tmp_path / "x" / "y", "/x: make"),
        ):
            options: dict[str, Any] = {option: file}
            with pytest.raises(rules.WorkflowError, match=f"--{name}: .*{reason}"):
                command.run(workflow, zarr_dir, **options)


@pytest.mark.parametrize("name", ["nothing.json", "."])
def test_a_workflow_that_is_no_file_is_named(tmp_path: Path, name: str) -> None:
    file = tmp_path / name
    with pytest.raises(
        rules.WorkflowError, match=f"^{file} cannot be read: .*: name a"
    ):
        rules.read_job(workflow=file, zarr_dir=str(tmp_path))
