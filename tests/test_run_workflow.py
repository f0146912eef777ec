"""Users of `run_workflow` see results, and errors that explain themselves."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from parity_cases import (
    CRASH,
    NOTHING,
    compound,
    converter_compound,
    out,
    parallel,
    text,
    units,
    up,
)
from scripted_task import write_package
from small_workflow import write_workflow
from test_fractal_contract import local, rules
from test_processes import is_alive, wait_until

HANG = """
import os, signal, subprocess, sys, time
from pathlib import Path
signal.signal(signal.SIGINT, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
Path(__file__).with_suffix(".pids").write_text(f"{os.getpid()} {child.pid}")
time.sleep(60)
"""


def test_failed_unit_is_named_and_its_whole_log_is_kept(
    tmp_path: Path, zarr_dir: Path, images: list[dict[str, Any]]
) -> None:
    a, b = (image["zarr_url"] for image in images)
    crash = CRASH | {"print": "x" * 5_000_000}
    job = write_package(
        tmp_path / "my_tasks", [parallel({a: crash, b: out(up(b, types={"t": True}))})]
    )
    with pytest.raises(local.WorkflowError) as caught:
        local.run_workflow(**job, zarr_dir=zarr_dir, images=images)
    error = caught.value
    assert (error.task, error.unit, error.reason) == (
        "Task 0",
        f"job 1 ({a})",
        "exit code 1",
    )
    assert len(error.log) > 5_000_000
    assert error.log in str(error)
    assert [image["types"] for image in error.images] == [{}, {"t": True}]


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (text("{'a': 1}"), "wrote no JSON"),
        (text('"done"'), "the output is not a JSON object: 'done'"),
        (
            text('{"filters": {}}'),
            "'filters' is gone since fractal-server 2.11: set types .* or output_types",
        ),
        (
            out(up("s3://bucket/a")),
            "image_list_updates.0.zarr_url: .* neither S3 nor relative",
        ),
        (
            text('{"image_list_update": []}'),
            "image_list_update: Extra inputs are not permitted",
        ),
    ],
)
def test_wrong_output_is_explained(
    answer: dict[str, Any],
    reason: str,
    tmp_path: Path,
    zarr_dir: Path,
    images: list[dict[str, Any]],
) -> None:
    job = write_package(tmp_path / "my_tasks", [parallel(answer | {"print": "hello"})])
    with pytest.raises(
        local.WorkflowError, match=rf"^step 1, Task 0: job 1 \(.*\): .*{reason}"
    ) as caught:
        local.run_workflow(**job, zarr_dir=zarr_dir, images=images)
    assert caught.value.log == "hello\n"


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        (
            {"task": {"pkg_name": "my-tasks", "name": "Blur"}},
            "step 1, my-tasks has no task 'Blur'; there are: Task 0",
        ),
        (
            {"task": {"pkg_name": "other", "name": "Task 0"}},
            "'Task 0' is in other, which is not installed here",
        ),
        (
            {
                "args_parallel": {"sigmaa": 1},
                "args_schema_parallel": {
                    "properties": {"sigma": {}, "zarr_url": {}},
                    "additionalProperties": False,
                },
            },
            "step 1, 'Task 0', args_parallel: no argument 'sigmaa'; did you mean 'sigma'",
        ),
        (
            {
                "args_schema_parallel": {
                    "properties": {"sigma": {}, "zarr_url": {}},
                    "required": ["sigma", "zarr_url"],
                },
            },
            "'Task 0', args_parallel: no value for sigma; give one",
        ),
        (
            {"args_parallel": {"zarr_url": "/x"}},
            r"'Task 0', args_parallel: Fractal sets \['zarr_url'\]",
        ),
        (
            {"type_filters": {"t": True}, "input_types": {"t": False}},
            "'Task 0': t=True contradicts input_types",
        ),
        ({"executable_parallel": None}, "a parallel task needs an executable_parallel"),
        ({"executable_parallel": "no.py"}, "there is no executable .*no.py"),
        (
            {"executable_parallel": "a task.py"},
            "manifest.task_list.0.executable_parallel: String should match pattern",
        ),
        ({"type": "serial"}, "manifest.task_list.0.type: "),
    ],
)
def test_wrong_file_is_explained(
    fields: dict[str, Any],
    reason: str,
    tmp_path: Path,
    zarr_dir: Path,
    images: list[dict[str, Any]],
) -> None:
    job = write_package(tmp_path / "my_tasks", [parallel(NOTHING) | fields])
    with pytest.raises(local.WorkflowError, match=reason) as caught:
        local.run_workflow(**job, zarr_dir=zarr_dir, images=images)
    assert [image["zarr_url"] for image in caught.value.images] == [
        image["zarr_url"] for image in images
    ]


@pytest.mark.parametrize("name", ["workflow", "manifest"])
@pytest.mark.parametrize("content", [None, "{", "[]"])
def test_unreadable_file_is_a_workflow_error(
    name: str, content: str | None, tmp_path: Path
) -> None:
    job = write_package(tmp_path / "my_tasks", [parallel(NOTHING)])
    file = tmp_path / "file.json"
    if content is not None:
        file.write_text(content)
    with pytest.raises(local.WorkflowError, match=rf"file\.json|^{name}"):
        local.run_workflow(**job | {name: file}, zarr_dir=tmp_path)


def test_a_workflow_can_be_checked_before_there_is_anything_to_run_it_on(
    tmp_path: Path,
) -> None:
    steps = [parallel(NOTHING), compound(NOTHING), converter_compound(NOTHING)]
    job = write_package(tmp_path / "my_tasks", steps)
    found = rules.find_tasks(rules.read_job(**job))
    assert [planned.task.type for planned in found] == [
        "parallel",
        "compound",
        "converter_compound",
    ]
    job["workflow"]["task_list"][2]["task"]["name"] = "Task 3"
    with pytest.raises(local.WorkflowError, match="no task 'Task 3'"):
        rules.find_tasks(rules.read_job(**job))
    with pytest.raises(local.WorkflowError, match="imagess: Extra inputs"):
        rules.read_job(**job, imagess=[])
    job["workflow"]["task_list"][1]["args"] = {"sigma": 1}
    with pytest.raises(
        local.WorkflowError,
        match=r"^workflow\.task_list\.1\.args: is args_parallel, or args_non_parallel$",
    ):
        rules.read_job(**job)


def test_a_workflow_that_begins_without_images_is_told_how_to_have_some(tmp_path):
    job = write_package(tmp_path / "my_tasks", [parallel(NOTHING)])
    with pytest.raises(local.WorkflowError, match="--images"):
        local.run_workflow(**job, zarr_dir=tmp_path)
    with pytest.raises(local.WorkflowError, match=r"workers: .* greater than 0"):
        local.run_workflow(**job, zarr_dir=tmp_path, workers=0)


def test_missing_interpreter_is_a_workflow_error(
    tmp_path: Path, zarr_dir: Path, images: list[dict[str, Any]]
) -> None:
    job = write_package(tmp_path / "my_tasks", [parallel(NOTHING)])
    with pytest.raises(local.WorkflowError, match="cannot be run"):
        local.run_workflow(**job, zarr_dir=zarr_dir, images=images, python="no-python")


@pytest.mark.parametrize(
    ("step", "warning"),
    [
        (
            parallel(out(up("{dir}_sibling/a"))),
            "_sibling/a is not below .*, which the server overlooks",
        ),
        (parallel(out(up("{dir}/new"))), "/new is not on disk"),
        (parallel(out(up("{dir}/a", path="x"))), "the server ignores path='x'"),
        (parallel(out(up("{dir}/a"))), "the image list: the server ignores size=3"),
        (
            parallel(out(up("{dir}/a", types={"t": False})), output_types={"t": True}),
            "output_types overrule t=False",
        ),
        (
            parallel({"{dir}/b": out(up("{dir}/b"))}, output_types={"t": True}),
            "1 job returned no image, so that",
        ),
        (parallel({"print": "UserWarning: deprecated"}), "newer servers flag 2 jobs"),
        (parallel({"print": "hello"}), "2 jobs wrote no output"),
        (parallel({"{dir}/a": text("null")}), "2 jobs wrote no output"),
        (parallel(NOTHING, meta_parallel={"memory": 1}), "servers ignore ..memory"),
    ],
)
def test_mistakes_that_the_server_tolerates_cause_warnings(
    step: dict[str, Any],
    warning: str,
    tmp_path: Path,
    zarr_dir: Path,
    images: list[dict[str, Any]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    step = json.loads(json.dumps(step).replace("{dir}", str(zarr_dir)))
    images[0]["size"] = 3
    local.run_workflow(
        **write_package(tmp_path / "my_tasks", [step]), zarr_dir=zarr_dir, images=images
    )
    assert images[0]["size"] == 3
    lines = [
        line for line in capsys.readouterr().out.splitlines() if "warning: " in line
    ]
    assert any(re.search(warning, line) for line in lines), lines


def test_a_new_image_inherits_from_its_origin(tmp_path: Path, zarr_dir: Path) -> None:
    url = str(zarr_dir / "a")
    image = {"zarr_url": url, "origin": None, "attributes": {"n": 1}, "types": {}}
    copy = parallel(out(up(f"{url}_copy", origin=url)), output_types={"copied": True})
    job = write_package(tmp_path / "my_tasks", [copy])
    image_list = local.run_workflow(**job, zarr_dir=zarr_dir, images=[image])
    new = {"zarr_url": f"{url}_copy", "origin": url, "types": {"copied": True}}
    assert image_list == [image, image | new]


def test_tables_show_the_image_list_before_and_after(
    tmp_path: Path, zarr_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    a, b = str(zarr_dir / "a"), str(zarr_dir / "b")
    made = {
        url: out(
            up(url, attributes={"well": url[-1].upper()}, types={"is_3D": url == a})
        )
        for url in (a, b)
    }
    steps = [
        converter_compound(units(up(a), up(b)), made),
        parallel(NOTHING, input_types={"is_3D": True}, output_types={"blurred": True}),
    ]
    local.run_workflow(
        **write_package(tmp_path / "my_tasks", steps), zarr_dir=zarr_dir, workers=1
    )
    printed = re.sub(r"\d+\.\d s", "? s", capsys.readouterr().out)
    printed, _, costs = printed.partition("\nCosts of a job")
    assert [line.split("  ")[2] for line in costs.splitlines()[2:]] == [
        "Task 0 (init)",
        "Task 0",
        "Task 1",
    ]
    assert printed.splitlines() == [
        "",
        "[1/2] Task 0 (converter_compound)",
        "  before (* input): 0 images",
        "  1 of 1 job, ? s",
        "  1 of 2 jobs, ? s",
        "  2 of 2 jobs, ? s",
        "  after (+ new or updated): 2 images",
        "      image well is_3D",
        "    + a     A    True",
        "    + b     B    False",
        "",
        "[2/2] Task 1 (parallel)",
        "  before (* input): 2 images",
        "      image well is_3D",
        "    * a     A    True",
        "      b     B    False",
        "  1 of 1 job, ? s",
        "  warning: 1 job wrote no output, which the server takes for an empty one",
        "  after (+ new or updated): 2 images",
        "      image well blurred is_3D",
        "    + a     A    True    True",
        "      b     B            False",
    ]


@pytest.fixture
def command(tmp_path: Path, zarr_dir: Path, images: list[dict[str, Any]]) -> list[str]:
    """Make a package with a workflow of two tasks; return the command that runs it."""
    module = [sys.executable, "-m", "fractal_workbench", "run"]
    return [*module, *write_workflow(tmp_path, images)]


def test_command_line_runs_a_workflow_of_its_package(
    command: list[str], tmp_path: Path
) -> None:
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "[2/2] Task 1 (parallel)" in done.stdout


def test_the_reason_comes_before_the_log_of_a_unit(
    tmp_path: Path, zarr_dir: Path, images: list[dict[str, Any]]
) -> None:
    a, b = (image["zarr_url"] for image in images)
    trace = (
        "Traceback (most recent call last):\n  File ...\nValueError: sigma: not -1\n"
    )
    answers = {a: CRASH | {"print": f"hello\n{trace}"}, b: CRASH | {"print": "hello"}}
    job = write_package(tmp_path / "my_tasks", [parallel(answers)])
    seen: list[Any] = []
    with pytest.raises(local.WorkflowError) as caught:
        local.run_workflow(**job, zarr_dir=zarr_dir, images=images, watch=seen.append)
    where = f"step 1, Task 0: job 1 ({a})"
    why = "ValueError: sigma: not -1 (exit code 1)"
    assert str(caught.value).startswith(f"{where}: {why}\n\nhello\n")
    (done,) = seen
    assert (done.failure, done.total) == (why, 1)
    assert [unit.reason for unit in done.units] == [why, "exit code 1"]
    assert [unit.log for unit in done.units] == [f"hello\n{trace}\n", "hello\n"]


def test_the_log_of_a_successful_unit_is_kept_as_an_excerpt(
    tmp_path: Path, zarr_dir: Path, images: list[dict[str, Any]]
) -> None:
    a, b = (image["zarr_url"] for image in images)
    told = "pixel_z is assumed to be 1"
    long = "\n".join(["line"] * 5000 + [told] + ["line"] * 5000)
    answers = {a: NOTHING | {"print": told}, b: NOTHING | {"print": long}}
    job = write_package(tmp_path / "my_tasks", [parallel(answers)])
    seen: list[Any] = []
    local.run_workflow(**job, zarr_dir=zarr_dir, images=images, watch=seen.append)
    first, second = (unit.log for unit in seen[0].units)
    assert first == told
    assert told in second
    assert len(second) < 5000


def test_tasks_of_packages_that_are_installed_beside_it_are_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, zarr_dir: Path, images: Any
) -> None:
    job = write_package(tmp_path / "my_tasks", [parallel(NOTHING), parallel(NOTHING)])
    theirs = write_package(tmp_path / "their_tasks", [parallel(NOTHING)])
    (tmp_path / "their_tasks" / "__init__.py").touch()
    manifest = tmp_path / "their_tasks" / "__FRACTAL_MANIFEST__.json"
    manifest.write_text(json.dumps(theirs["manifest"]))
    reference = {"pkg_name": "their-tasks", "name": "Task 0"}
    steps = job["workflow"]["task_list"]
    steps[0] |= {"task": reference, "args_parallel": {"zarr_url": "/"}}
    steps[1] |= {"task": {"pkg_name": "my-tasks", "name": "Task 9"}}
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(local.WorkflowError) as caught:
        local.run_workflow(**job, zarr_dir=zarr_dir, images=images)
    first, second = caught.value.reason.splitlines()
    assert first == "step 1, 'Task 0', args_parallel: Fractal sets ['zarr_url']"
    assert second == (
        "step 2, my-tasks has no task 'Task 9'; "
        "did you mean 'Task 1'? there are: Task 0, Task 1"
    )

    steps[0]["args_parallel"], steps[1]["task"]["name"] = {}, "Task 1"
    seen: list[Any] = []
    local.run_workflow(**job, zarr_dir=zarr_dir, images=images, watch=seen.append)
    assert [done.package for done in seen] == ["their-tasks", "my-tasks"]

    manifest.write_text("{}")
    with pytest.raises(
        local.WorkflowError, match=r"^their-tasks: its manifest is wrong"
    ):
        rules.find_tasks(rules.read_job(**job))


ENCODINGS = ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32"]


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_workflow_may_be_in_any_encoding_of_unicode(
    tmp_path: Path, zarr_dir: Path, images: Any, encoding: str
) -> None:
    job = write_package(tmp_path / "my_tasks", [parallel(NOTHING)])
    job["workflow"]["name"] = "Kerne zählen"
    file = tmp_path / "workflow.json"
    file.write_bytes(json.dumps(job["workflow"], ensure_ascii=False).encode(encoding))
    read = rules.read_job(**job | {"workflow": file})
    assert read.workflow.name == "Kerne zählen"


V1 = {
    "name": "w",
    "task_list": [
        {"args": {}, "meta": {}, "task": {"name": "T", "source": "pip_remote:x:1::t"}}
    ],
}
V2 = {"task_list": [{"args_parallel": {}, "task": {"source": "pip_remote:x:1::t"}}]}
OTHERS = {
    "Fractal 1": (V1, "is a workflow of Fractal before version 2: build it anew"),
    "sources": (V2, "is a workflow with `source` of tasks: import it, and export it"),
    "mixed": ({"task_list": [*V1["task_list"], 3]}, "is a workflow of Fractal before"),
    "manifest": ({"manifest_version": "2", "task_list": []}, "is the manifest of a"),
    "dataset": (
        {"zarr_dir": "/", "images": []},
        "is a dataset: give a workflow, and its",
    ),
    "job": ({"workflow_dump": {}, "id": 1}, "is a job: export its workflow"),
    "images": ([{"zarr_url": "/a"}], "is an image list: give a workflow, and this by"),
    "project": ({"id": 1, "name": "p"}, "is no workflow, but has id, name: export a"),
    "list": ([], r"is no workflow, but \[\]: export a workflow"),
    "null": (None, "is no workflow, but None: export a workflow"),
    "empty": (b"", "is not JSON: it is empty"),
    "blank": (b"  ", "is not JSON: "),
    "page": (b"<html>", "is not JSON: Expecting value: line 1 column 1"),
    "half": (b'{"name": "w", ', "is not JSON: .* line 1 column "),
    "latin": (
        '{"name": "é"}'.encode("latin-1"),
        "byte 10 is not UTF-8: save it as UTF-8",
    ),
    "cut": ("{}".encode("utf-16")[:-1], "is not UTF-16.*: save it as UTF-8"),
    "twice": (
        b'{"name": "a", "name": "b"}',
        "the key 'name' is there 2 times: leave one",
    ),
    "nan": (b'{"a": NaN}', "NaN is no number of JSON: write null"),
    "infinity": (b'{"a": [-Infinity]}', "-Infinity is no number of JSON"),
    "deep": (b"[" * 100_000, "is not JSON: it has too many levels"),
    "long": (b"9" * 5000, "is not JSON: a number has thousands of digits"),
}


@pytest.mark.parametrize(("given", "says"), OTHERS.values(), ids=OTHERS)
def test_a_file_that_is_no_workflow_is_named_with_its_kind(
    tmp_path: Path, given: Any, says: str
) -> None:
    job = write_package(tmp_path / "my_tasks", [parallel(NOTHING)])
    file = tmp_path / "given.json"
    file.write_bytes(given if isinstance(given, bytes) else json.dumps(given).encode())
    with pytest.raises(local.WorkflowError) as caught:
        rules.read_job(**job | {"workflow": file})
    assert re.match(f"{re.escape(str(file))} .*{says}", caught.value.reason)
    assert len(caught.value.reason.splitlines()) == 1


def test_a_package_for_fractal_1_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = write_package(tmp_path / "my_tasks", [parallel(NOTHING)])
    (tmp_path / "their_tasks").mkdir()
    (tmp_path / "their_tasks" / "__init__.py").touch()
    manifest = tmp_path / "their_tasks" / "__FRACTAL_MANIFEST__.json"
    manifest.write_text('{"manifest_version": "1", "task_list": []}')
    monkeypatch.syspath_prepend(tmp_path)
    wrong = {"task": {"pkg_name": "my-tasks", "name": "Task 9"}}
    reference = {"pkg_name": "their-tasks", "name": "T"}
    job["workflow"]["task_list"] = [{"task": reference}, wrong]
    with pytest.raises(local.WorkflowError) as caught:
        rules.find_tasks(rules.read_job(**job))
    first, second = caught.value.reason.splitlines()
    assert first.startswith(
        "their-tasks: its manifest is wrong: it is for Fractal before"
    )
    assert second.startswith("step 2, my-tasks has no task 'Task 9'")


NO_NAMES = [
    *(
        "x @ file:///some/folder",
        "file:///some/folder",
        "git+https://localhost/x",
        "x[y]",
    ),
    *(
        "x==1",
        "x>1",
        "x;python_version>'3'",
        "--index-url=https://localhost",
        "-r",
        "-e.",
    ),
    *(
        "/some/folder",
        "../x",
        "./x",
        "x/y",
        r"x\y",
        "x y",
        "x\ny",
        "x\n--pre",
        "x,y",
    ),
    *(
        "$(x)",
        "`x`",
        "x;y",
        "x&y",
        "~",
        "*",
        ".",
        "x.",
        "-x",
        "x-",
        "ｘ",
        "ſ",
        "x\u2028y",
    ),
]


@pytest.mark.parametrize("name", NO_NAMES)
def test_the_name_of_a_package_is_nothing_else(tmp_path: Path, name: str) -> None:
    job = write_package(tmp_path / "my_tasks", [parallel(NOTHING)])
    job["workflow"]["task_list"][0]["task"] = {"pkg_name": name, "name": "X"}
    with pytest.raises(local.WorkflowError) as caught:
        rules.find_tasks(rules.read_job(**job))
    (reason,) = caught.value.reason.splitlines()
    assert reason.startswith("pkg_name ")
    assert " is no name of a package: write " in reason


def test_a_name_with_nul_is_rejected(tmp_path: Path) -> None:
    job = write_package(tmp_path / "my_tasks", [parallel(NOTHING)])
    job["workflow"]["task_list"][0]["task"] = {"pkg_name": "x\0", "name": "X"}
    with pytest.raises(local.WorkflowError, match=r"pkg_name: .* NUL .*: 'x\\x00'$"):
        rules.read_job(**job)


def test_a_name_that_indexes_write_otherwise_is_told_so(tmp_path: Path) -> None:
    job = write_package(tmp_path / "my_tasks", [parallel(NOTHING)])
    job["workflow"]["task_list"][0]["task"] = {"pkg_name": "My_Tasks", "name": "X"}
    with pytest.raises(local.WorkflowError, match=r"'My_Tasks' .*: write 'my-tasks'$"):
        rules.find_tasks(rules.read_job(**job))


def test_command_line_fails_with_the_log_of_the_unit(
    command: list[str], tmp_path: Path
) -> None:
    (tmp_path / "my_tasks" / "parallel_1.py").write_text(
        "raise SystemExit('no more disk')"
    )
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr.startswith("\nstep 2, Task 1: job 1 (")
    assert done.stderr.endswith("exit code 1\n\nno more disk\n")


@pytest.mark.parametrize("cache", [None, "/models"])
def test_units_have_a_cache_that_stays_as_on_the_server(
    cache: str | None, command: list[str], tmp_path: Path
) -> None:
    (tmp_path / "my_tasks" / "parallel_1.py").write_text(
        "import os; raise SystemExit(os.environ['FRACTAL_CACHE_DIR'])"
    )
    environment = os.environ | {"HOME": str(tmp_path / "home")}
    environment.pop("FRACTAL_CACHE_DIR", None)
    done = subprocess.run(
        command,
        cwd=tmp_path,
        env=environment | ({"FRACTAL_CACHE_DIR": cache} if cache else {}),
        capture_output=True,
        text=True,
        check=False,
    )
    expected = cache or str(tmp_path / "home" / ".cache" / "fractal")
    assert done.stderr.endswith(f"exit code 1\n\n{expected}\n")


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_a_unit_and_its_children_die_with_a_killed_runner(
    command: list[str], tmp_path: Path
) -> None:
    (tmp_path / "my_tasks" / "parallel_1.py").write_text(HANG)
    runner = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL)
    pids = tmp_path / "my_tasks" / "parallel_1.pids"
    wait_until(lambda: pids.exists() and len(pids.read_text().split()) == 2)
    runner.kill()
    runner.wait()
    wait_until(lambda: not any(map(is_alive, pids.read_text().split())))


@pytest.mark.skipif(os.name != "posix", reason="signals")
@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)]
)
def test_interrupt_leaves_no_process_and_no_file(
    number: signal.Signals, code: int, command: list[str], tmp_path: Path
) -> None:
    (tmp_path / "my_tasks" / "parallel_1.py").write_text(HANG)
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    environment = os.environ | {"TMPDIR": str(temporary)}
    runner = subprocess.Popen(
        command, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True
    )
    pids = tmp_path / "my_tasks" / "parallel_1.pids"
    wait_until(lambda: pids.exists() and len(pids.read_text().split()) == 2)
    runner.send_signal(number)
    _, errors = runner.communicate(timeout=10)
    assert runner.returncode == code
    assert number != signal.SIGINT or "killed: job 1 (" in errors
    wait_until(lambda: not any(map(is_alive, pids.read_text().split())))
    assert not list(temporary.iterdir())
