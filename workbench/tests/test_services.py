"""Private servers, and what is checked before one starts."""

import json
import os
import platform
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from fractal_workbench import cli
from fractal_workbench.engine import rules
from fractal_workbench.server import client, command, services, slurm, watchdog

IGNORE = "import signal, time; signal.signal(signal.SIGINT, signal.SIG_IGN); "
CONVERT = {
    "name": "Convert",
    "type": "converter_compound",
    "executable_non_parallel": "init.py",
    "executable_parallel": "compute.py",
    "meta_non_parallel": {"cpus_per_task": 1, "mem": 2000},
    "meta_parallel": {"cpus_per_task": 2, "mem": 4000},
    "args_schema_non_parallel": {
        "type": "object",
        "additionalProperties": False,
        "properties": {"zarr_dir": {"type": "string"}, "folder": {"type": "string"}},
        "required": ["zarr_dir", "folder"],
    },
    "args_schema_parallel": {"type": "object", "properties": {}},
}


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A package with a compound converter, as far as a server looks at it first."""
    root = tmp_path / "package" / "src" / "lab_tasks"
    root.mkdir(parents=True)
    manifest = {
        "manifest_version": "2",
        "has_args_schemas": True,
        "task_list": [CONVERT],
    }
    (root / "__FRACTAL_MANIFEST__.json").write_text(json.dumps(manifest), "utf-8")
    project = '[project]\nname = "lab-tasks"\nversion = "0.1.0"\n'
    (tmp_path / "package" / "pyproject.toml").write_text(project, "utf-8")
    return tmp_path / "package"


def write_workflow(folder: Path, name: str = "Convert", **step: object) -> Path:
    """Write a workflow of one step."""
    task = {"pkg_name": "lab-tasks", "version": "0.1.0", "name": name}
    file = folder / "workflow.json"
    workflow = {"name": "w", "task_list": [{"task": task, **step}]}
    file.write_text(json.dumps(workflow), "utf-8")
    return file


def test_no_password_is_an_argument_or_in_a_file(monkeypatch, tmp_path):
    commands, inputs = [], []

    def run(command, stdin="", **options):
        commands.append(command)
        inputs.append(stdin)

    guard = SimpleNamespace(
        start=lambda command, *_, **options: commands.append(command)
    )
    monkeypatch.setattr(services, "run", run)
    _, password = services.start_fractal_server(tmp_path, guard, tmp_path / "db", None)
    assert len(password) == 64
    assert len(commands) == 3
    assert any(password in text for text in inputs)
    assert password not in str(commands)
    assert not [
        p for p in tmp_path.rglob("*") if p.is_file() and password in p.read_text()
    ]


def test_arguments_of_fractalctl_come_from_its_input():
    command = [sys.executable, "-c", services.FRACTALCTL]
    with pytest.raises(watchdog.ServerError, match="invalid choice: 'no-such-command'"):
        services.run(command, '["no-such-command", "--admin-pwd", "secret"]')


def test_files_of_a_server_are_private():
    """Also where root lets another user reach PostgreSQL's."""
    code = (
        "from fractal_workbench.server import services\n"
        "def stop(folder, *_):\n"
        "    folder.chmod(0o711)\n"
        "    print([oct(p.stat().st_mode & 0o777) for p in (folder, *folder.iterdir())])\n"
        "    raise SystemExit\n"
        "services.start_postgresql = stop\n"
        "with services.start_server('p', None): pass\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True
    )
    assert done.stdout.startswith("['0o711', '0o700']")


@pytest.fixture
def complaint(monkeypatch, package, capsys) -> Callable[..., str]:
    """Return what the command complains about before it starts anything."""
    monkeypatch.chdir(package)
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
        ({"mem": "lots"}, "meta_parallel.mem: 'lots' is neither"),
        ({"mem": 0}, "meta_parallel.mem: Input should be greater than 0"),
        ({"cpus_per_task": "two"}, "meta_parallel.cpus_per_task: Input should be"),
    ],
)
def test_invalid_resources_are_rejected(
    complaint, monkeypatch, tmp_path, meta, problem
):
    monkeypatch.setattr(command, "check_programs", lambda: None)
    args = {"folder": "/tiffs"}
    file = write_workflow(tmp_path, args_non_parallel=args, meta_parallel=meta)
    assert f"step 1, 'Convert', {problem}" in complaint(file, "--slurm")


@pytest.mark.parametrize(
    ("step", "problem"),
    [
        ({"name": "Blur"}, "lab-tasks has no task 'Blur'"),
        (
            {"name": "Convert"},
            "'Convert', args_non_parallel: no value for folder; give one",
        ),
        (
            {"name": "Convert", "args_non_parallel": {"folder": "a", "sigma": 1}},
            "'Convert', args_non_parallel: no argument 'sigma'; there are: ",
        ),
    ],
)
def test_a_step_with_a_mistake_is_rejected_before_anything_is_built(
    complaint, tmp_path, step, problem
):
    text = complaint(write_workflow(tmp_path, **step))
    assert text.startswith("2\n")
    assert re.search(problem, text)


def test_a_template_that_servers_cannot_show_is_rejected(complaint, tmp_path):
    file = write_workflow(tmp_path, args_non_parallel={"folder": "a"})
    workflow = json.loads(file.read_text("utf-8"))
    template = {"name": "w", "version": 1, "data": workflow}
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
def test_the_server_ends_with_the_nox_that_started_it(package):
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
    process = subprocess.Popen(
        [sys.executable, "-c", nox, tool],
        cwd=package,
    )
    wait_for(package / "up")
    process.kill()
    process.wait()
    wait_for(package / "ended")


def wait_for(file: Path, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not file.exists():
        assert time.monotonic() < deadline, file
        time.sleep(0.05)


def test_requests_of_the_workflow_come_before_those_of_the_task_list(
    package, tmp_path, monkeypatch
):
    monkeypatch.chdir(package)
    args = {"folder": "tiffs"}
    file = write_workflow(tmp_path, args_non_parallel=args, meta_parallel={"mem": "3G"})
    steps = rules.find_tasks(rules.read_job(workflow=str(file)))
    assert slurm.read_requests((step, task) for step, task, _ in steps) == {
        (0, "Convert", "non_parallel"): slurm.Request(cpus_per_task=1, mem=2000),
        (0, "Convert", "parallel"): slurm.Request(cpus_per_task=2, mem=3000),
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
    try:
        slurm.check_programs()
    except watchdog.ServerError as error:
        pytest.skip(str(error))
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
