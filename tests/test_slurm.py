"""`nox -s server -- --slurm`: a workflow by a SLURM of one node, where there is one."""

import json
import os
import platform
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from full_workflow import write_workflow
from rendering import import_folder
from test_package import nox

from fractal_workbench import cli
from fractal_workbench.engine import rules
from fractal_workbench.server import client, command, slurm, watchdog

CONVERT = "Convert TIFFs to OME-Zarr"
PROJECT = "Project Image (HCS Plate)"
IGNORE = "import signal, time; signal.signal(signal.SIGINT, signal.SIG_IGN); "


def slurm_or_skip() -> None:
    try:
        slurm.check_programs()
    except watchdog.ServerError as error:
        pytest.skip(str(error))


@pytest.fixture
def complaint(monkeypatch, richest, capsys) -> Callable[..., str]:
    """Return what the command complains about before it starts anything."""
    monkeypatch.chdir(richest)
    monkeypatch.setattr(command, "start_server", None)

    def call(*arguments: object) -> str:
        with pytest.raises(SystemExit) as error:
            cli.main(["server", *map(str, arguments)])
        assert error.value.code
        return f"{error.value}\n{capsys.readouterr().err}"

    return call


def test_missing_programs_are_named_with_their_packages(
    complaint, monkeypatch, tmp_path
):
    program = tmp_path / "squeue"
    program.touch(mode=0o755)
    monkeypatch.setattr(slurm, "PATH", str(tmp_path))
    monkeypatch.setattr(platform, "system", lambda: "Linux")
    text = complaint("--slurm")
    assert "munged, slurmctld, slurmd, sbatch" in text
    assert "squeue" not in text
    assert "packages slurm-wlm and munge" in text


def test_other_systems_than_linux_are_named(complaint, monkeypatch):
    monkeypatch.setattr(platform, "system", lambda: "Darwin")
    assert "needs Linux, and this is Darwin" in complaint("--slurm")
    monkeypatch.setattr(sys, "platform", "win32")
    assert "needs Linux or macOS, and this is Windows" in complaint()


@pytest.mark.parametrize(
    ("meta", "problem"),
    [
        ({"mem": "lots"}, "meta_parallel.mem: Value error, 'lots' is neither"),
        ({"mem": 0}, "meta_parallel.mem: Input should be greater than 0"),
        ({"cpus_per_task": "two"}, "meta_parallel.cpus_per_task: Input should be"),
    ],
)
def test_invalid_resources_are_rejected(
    complaint, monkeypatch, tmp_path, meta, problem
):
    monkeypatch.setattr(command, "check_programs", lambda: None)
    step = {
        "task": {"pkg_name": "my-fractal-tasks", "name": CONVERT},
        "args_non_parallel": {"tiff_dir": "/tiffs"},
    }
    workflow = {"name": "w", "task_list": [step | {"meta_parallel": meta}]}
    file = tmp_path / "workflow.json"
    file.write_text(json.dumps(workflow), encoding="utf-8")
    assert f"{CONVERT}: {problem}" in complaint(file, "--slurm")


@pytest.mark.parametrize(
    ("step", "problem"),
    [
        ({"name": "Blur"}, "my-fractal-tasks has no task 'Blur'"),
        ({"name": CONVERT}, r"'Convert TIFFs to OME-Zarr' needs \['tiff_dir'\]"),
        (
            {"name": "Gaussian Blur", "args_parallel": {"sigma": 1}},
            r"'Gaussian Blur' knows .*, not \['sigma'\]",
        ),
    ],
)
def test_a_step_with_a_mistake_is_rejected_before_anything_is_built(
    complaint, tmp_path, step, problem
):
    task = {"task": {"pkg_name": "my-fractal-tasks", "name": step.pop("name")}}
    file = tmp_path / "workflow.json"
    file.write_text(json.dumps({"name": "w", "task_list": [task | step]}), "utf-8")
    text = complaint(file)
    assert text.startswith("2\n")
    assert re.search(problem, text)


def test_a_template_that_servers_cannot_show_is_rejected(complaint, tmp_path):
    file = tmp_path / "workflow.json"
    task = {"pkg_name": "my-fractal-tasks", "name": "Check Images"}
    template = {
        "name": "w",
        "version": 1,
        "data": {"name": "w", "task_list": [{"task": task}]},
    }
    file.write_text(json.dumps(template), "utf-8")
    text = complaint(file)
    assert text.startswith("2\n")
    assert "each step of a template needs type_filters" in text


def test_a_server_without_templates_is_given_the_workflow():
    """Up to 2.18; it answers 404, and nothing is imported."""
    answer = SimpleNamespace(status_code=404)
    old = SimpleNamespace(http=SimpleNamespace(get=lambda _: answer), call=None)
    assert client.FractalServer.import_template(old, {"name": "w"}) is None


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells of a death")
def test_the_server_ends_with_the_nox_that_started_it(richest, tmp_path):
    tool = (
        "import contextlib, pathlib, sys, time\n"
        "from fractal_workbench import cli\n"
        "from fractal_workbench.server import command\n"
        "@contextlib.contextmanager\n"
        "def start(*_):\n"
        "    pathlib.Path('up').touch()\n"
        "    try:\n"
        "        time.sleep(60)\n"
        "        yield\n"
        "    finally:\n"
        "        pathlib.Path('ended').touch()\n"
        "command.start_server = start\n"
        "cli.main(['server'])\n"
    )
    nox = "import subprocess, sys; subprocess.run([sys.executable, '-c', sys.argv[1]])"
    folder = tmp_path / "package"
    shutil.copytree(richest, folder)
    process = subprocess.Popen(
        [sys.executable, "-c", nox, tool],
        cwd=folder,
    )
    wait_for(folder / "up")
    process.kill()
    process.wait()
    wait_for(folder / "ended")


def wait_for(file: Path, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not file.exists():
        assert time.monotonic() < deadline, file
        time.sleep(0.05)


def test_requests_of_the_workflow_come_before_those_of_the_task_list(richest):
    file = import_folder(richest) / "__FRACTAL_MANIFEST__.json"
    manifest = json.loads(file.read_text(encoding="utf-8"))
    step = {
        "task": {"pkg_name": "my-fractal-tasks", "name": CONVERT},
        "args_non_parallel": {"tiff_dir": "tiffs"},
        "meta_parallel": {"mem": "3G"},
    }
    workflow = {"name": "w", "task_list": [step]}
    given = {"manifest": manifest, "package_root": file.parent}
    job = rules.read_job(workflow=workflow, **given)
    requests = slurm.read_requests(step[:2] for step in rules.find_tasks(job))
    assert requests == {
        (0, CONVERT, "non_parallel"): slurm.Request(cpus_per_task=1, mem=2000),
        (0, CONVERT, "parallel"): slurm.Request(cpus_per_task=2, mem=3000),
    }


@pytest.mark.parametrize(
    ("jobs", "is_right"),
    [
        (["1|1|2000M|0:09|0_t/non_par-slurm-submit.sh", "2|2|8000M|1:01|0_t/par-0-slurm-submit.sh"], True),
        (["1|1|2000M|0:09|0_t/non_par-slurm-submit.sh"], True),
        (["1|1|2000M|0:09|0_t/non_par-slurm-submit.sh", "2|1|8000M|1:01|0_t/par-0-slurm-submit.sh"], False),
        (["1|1|2000M|0:09|0_t/non_par-slurm-submit.sh", "2|2|4000M|2:01:01|0_t/par-0-slurm-submit.sh"], False),
        (["1|1|2001M|1-00:00:01|0_t/non_par-slurm-submit.sh"], False),
        (["1|1|2000M|0:09|1_t/non_par-slurm-submit.sh"], False),
        ([], False),
    ],
    ids=["right", "nothing to compute", "CPUs", "memory", "memory of init", "another step", "no job"],
)  # fmt: skip
def test_jobs_that_ask_for_something_else_are_noticed(tmp_path, capsys, jobs, is_right):
    lines = []
    for line in jobs:
        *columns, name = line.split("|")
        script = tmp_path / name
        lines.append("|".join([*columns, str(script), ""]))
        script.parent.mkdir(exist_ok=True)
        script.write_text("#!/bin/sh\nsrun a &\nsrun b &\nwait\n")
    (tmp_path / "bin").mkdir()
    squeue = tmp_path / "bin" / "squeue"
    squeue.write_text("#!/bin/sh\ncat <<END\n" + "\n".join([*lines, "END\n"]))
    squeue.chmod(0o755)
    requests = {
        (0, "t", "non_parallel"): slurm.Request(mem=2000),
        (0, "t", "parallel"): slurm.Request(cpus_per_task=2, mem=4000),
    }
    read = slurm.read_jobs(tmp_path)
    assert slurm.show_jobs(read, requests, is_complete=True) is is_right
    assert ("but the task requests" not in capsys.readouterr().out) is is_right


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_no_process_outlives_the_guard(tmp_path):
    """A job of SLURM is in a session of its own, and its parent may be dead."""
    folder = tmp_path / "folder"
    folder.mkdir()
    servers = watchdog.Guard(folder)
    stray = subprocess.Popen(
        [sys.executable, "-c", IGNORE + "time.sleep(60)"],
        env=os.environ | {"SLURM_CONF": f"{folder}/slurm.conf"},
        start_new_session=True,
    )
    servers.close()
    assert stray.wait(timeout=10) == -9
    assert not folder.exists()


def test_slurm_starts_and_leaves_nothing(tmp_path):
    slurm_or_skip()
    servers = watchdog.Guard(tmp_path / "private")
    request = slurm.Request(cpus_per_task=1000, mem=10_000_000)
    try:
        slurm.start_slurm(
            tmp_path / "private", servers, {(0, "t", "parallel"): request}
        )
        ask = [
            "srun",
            "--cpus-per-task=1000",
            "--mem=10000000M",
            "printenv",
            "SLURM_CPUS_PER_TASK",
        ]
        environment = slurm.slurm_environment(tmp_path / "private")
        assert watchdog.run(ask, env=environment).strip() == "1000"
    finally:
        servers.close()
    assert not (tmp_path / "private").exists()


@pytest.mark.long
def test_jobs_ask_for_what_the_task_list_and_the_workflow_say(render, tmp_path):
    slurm_or_skip()
    file = write_workflow(tmp_path / "data")
    workflow = json.loads(file.read_text(encoding="utf-8"))
    # This task has both parts, and is installed the fastest; the other is somebody else's.
    step = workflow["task_list"][0]
    step["meta_parallel"] = {"cpus_per_task": 1, "mem": "3G"}
    core = {"pkg_name": "fractal-tasks-core", "version": "2.1.0", "name": PROJECT}
    workflow["task_list"] = [step, {"task": core}]
    file.write_text(json.dumps(workflow), encoding="utf-8")
    package = render(tmp_path / "package", examples=["convert_tiffs"])
    told = tmp_path / "told.json"
    log = nox(
        package,
        "-s",
        "server",
        "--",
        str(file),
        "--slurm",
        "--yes",
        "--json",
        str(told),
    )
    jobs = json.loads(told.read_text("utf-8"))["server"]["jobs"]
    asked = {
        (job["step"], job["part"]): (job["cpus_per_task"], job["mem"]) for job in jobs
    }
    assert asked == {
        (0, "non_parallel"): (1, 2000),
        (0, "parallel"): (1, 3000),
        (1, "non_parallel"): (1, 4000),
        (1, "parallel"): (1, 4000),
    }
    assert sum(job["units"] for job in jobs if job["part"] == "parallel") == 8
    assert "This is what the task list requests." in log
    assert "The image lists are the same." in log
