"""A plan counts the jobs of the package's own converter, and changes nothing."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from fractal_workbench.engine import dry_run, rules
from fractal_workbench.engine.plan import in_wells, plan

TASK = """
import json, logging, os, sys
from pathlib import Path
logging.basicConfig(level="INFO", format="2026-01-01 10:00:00,1; %(name)s; %(levelname)s; %(message)s")
arguments = json.loads(Path(sys.argv[2]).read_text())
zarr_dir = Path(arguments["zarr_dir"])
(zarr_dir / "plate.zarr").mkdir()
Path({outside!r}).{write}
if not arguments["n"]:
    raise ValueError("n: 0 is too few")
logging.info("START init task")
logging.info("channels of %s: DAPI", zarr_dir)
items = [
    {{"zarr_url": f"{{zarr_dir}}/plate.zarr/{{i // 2}}", "init_args": {{"i": i}}}}
    for i in range(arguments["n"])
]
Path(sys.argv[4]).write_text(json.dumps({{"parallelization_list": items}}))
"""


@pytest.fixture
def planned(tmp_path, monkeypatch):
    """A function that plans a workflow of one converter of a package."""

    def run(write: str = "exists()", home: str = "own-tasks", n: int = 5) -> list[str]:
        root = tmp_path / "src" / "own_tasks"
        root.mkdir(parents=True)
        outside = str(tmp_path / "outside")
        (root / "init.py").write_text(TASK.format(outside=outside, write=write))
        (root / "compute.py").touch()
        task = {
            "name": "Convert",
            "type": "converter_compound",
            "executable_non_parallel": "init.py",
            "executable_parallel": "compute.py",
        }
        manifest = {"manifest_version": "2", "task_list": [task]}
        (root / rules.MANIFEST).write_text(json.dumps(manifest))
        table = f'[project]\nname = "{home}"\nversion = "1"\n'
        (tmp_path / "pyproject.toml").write_text(table)
        if home != "own-tasks":
            other = tmp_path / "src" / home.replace("-", "_")
            other.mkdir()
            (other / rules.MANIFEST).write_text(json.dumps(manifest))
        monkeypatch.chdir(tmp_path)
        reference = {"pkg_name": "own-tasks", "name": "Convert"}
        step = {"task": reference, "args_non_parallel": {"n": n}}
        workflow = {"name": "w", "task_list": [step]}
        package = rules.Package(
            name="own-tasks", root=root, manifest=rules.read_manifest("own-tasks", root)
        )
        job = rules.Job(
            workflow=workflow,
            zarr_dir=str(tmp_path / "zarr"),
            packages={"own-tasks": package},
        )
        before = sorted(tmp_path.rglob("*"))
        try:
            return [
                *plan(
                    job,
                    [
                        rules.Planned(
                            job.workflow.task_list[0], package.tasks["Convert"], package
                        )
                    ],
                    count_jobs=True,
                )
            ]
        finally:
            assert sorted(tmp_path.rglob("*")) == before

    return run


def test_the_jobs_of_the_own_converter_are_counted(planned):
    assert planned()[1] == "    runs     once, then 5 jobs for 3 images"


def test_the_messages_of_the_own_converter_are_shown(planned, tmp_path):
    said = [line for line in planned() if line.startswith("    says")]
    assert said == [f"    says     channels of {tmp_path}/zarr: DAPI"]


def test_the_wells_of_the_jobs_are_named():
    urls = [f"/data/plate.zarr/B/{n:02}/{image}" for n in (3, 2) for image in "01"]
    assert in_wells(urls) == " in 2 wells: B02, B03"
    assert in_wells([*urls, "/data/image.zarr"]) == ""
    many = [f"/data/plate.zarr/{row}/{n:02}/0" for row in "ABCD" for n in range(1, 7)]
    assert in_wells(many) == " in 24 wells: A01, A02, A03, A04, A05, A06, B01, …, D06"


def test_a_converter_of_other_people_does_not_run(planned):
    assert (
        planned(home="other-tasks")[1]
        == "    runs     once, then as often as that says"
    )


def test_the_reason_of_a_converter_that_fails_is_shown(planned):
    with pytest.raises(
        rules.WorkflowError, match=r"'Convert' would fail: .*n: 0 is too"
    ):
        planned(n=0)


@pytest.mark.parametrize(
    "write", ["mkdir()", "touch()", 'write_text("x")', 'symlink_to("x")']
)
def test_a_converter_that_writes_elsewhere_is_stopped(planned, write):
    with pytest.raises(
        rules.WorkflowError, match=r"a plan writes nothing, and not .*outside"
    ):
        planned(write)


CHANGES = [
    "open('there', 'a')",
    "open('there', 'r+')",
    "os.open('there', os.O_WRONLY)",
    "os.remove('there')",
    "os.rename('there', FOLDER + '/x')",
    "os.rename(FOLDER + '/own', 'x')",
    "os.replace(FOLDER + '/own', 'there')",
    "os.link(FOLDER + '/own', 'x')",
    "os.chmod('there', 0)",
    "os.truncate('there', 0)",
    "os.utime('there')",
    "os.rmdir('folder')",
    "shutil.rmtree('folder')",
    "os.symlink(os.path.abspath('there'), FOLDER + '/link') or open(FOLDER + '/link', 'w')",
    "open(FOLDER + '/../x', 'w')",
    "sqlite3.connect('there')",
    "os.system('rm there')",
    "subprocess.run(['rm', 'there'])",
    "os.fork()",
    "socket.create_connection(('127.0.0.1', 9))",
]


def attempt(folder: Path, code: str) -> subprocess.CompletedProcess[str]:
    """Run a line of Python as a plan does."""
    own = folder / "own-folder"
    own.mkdir()
    (own / "own").write_text("own")
    (folder / "there").write_text("there")
    (folder / "folder").mkdir()
    script = folder / "script.py"
    modules = "import os, shutil, socket, sqlite3, subprocess, sys, tempfile"
    script.write_text(f"{modules}\nFOLDER = sys.argv[1]\n{code}\n")
    command: list[Any] = [sys.executable, dry_run.__file__, own, script, own]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True)


@pytest.mark.parametrize("code", CHANGES)
def test_no_change_is_possible_outside_of_the_folder(tmp_path, code):
    if sys.platform == "win32" and "fork" in code:
        pytest.skip("Windows has no fork")
    done = attempt(tmp_path, code)
    assert "PermissionError: a plan " in done.stderr
    names = {"folder", "own-folder", "script.py", "there"}
    assert {path.name for path in tmp_path.iterdir()} == names
    assert (tmp_path / "there").read_text() == "there"


@pytest.mark.parametrize(
    "code",
    [
        "print(open('there').read(), os.listdir('folder'))",
        "open(FOLDER + '/own', 'w').close(); os.remove(FOLDER + '/own')",
        "os.makedirs(FOLDER + '/a/b'); shutil.rmtree(FOLDER + '/a')",
        "open(os.devnull, 'w').close()",
        "tempfile.TemporaryFile().close()",
    ],
)
def test_reading_and_the_own_folder_are_free(tmp_path, code):
    done = attempt(tmp_path, code)
    assert done.returncode == 0, done.stderr
    assert not [*(tmp_path / "folder").iterdir()]


def test_the_reason_of_an_invalid_argument_is_the_sentence_of_the_task() -> None:
    log = (
        'Traceback (most recent call last):\n  File "convert.py", line 1\n'
        "pydantic_core._pydantic_core.ValidationError: 1 validation error for convert\n"
        "n\n  Input should be a valid integer [type=int_parsing]\n"
        "convert failed: n: Input should be a valid integer\n"
    )
    error = rules.WorkflowError("exit code 1", log=log)
    assert error.summary == "n: Input should be a valid integer (exit code 1)"
    other = rules.WorkflowError("exit code 1", log=log.replace("pydantic_core", "a"))
    assert other.summary.startswith("a._a.ValidationError: ")
