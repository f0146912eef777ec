"""`nox -s run`: any package, each in an environment of its own; all is checked before."""

import json
import os
import pty
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from package_images import write_image
from rendering import make_environment
from small_workflow import write_workflow
from test_package import find_python

from fractal_workbench.engine import packages

TASK = """
import argparse, json, sys
from pathlib import Path
parser = argparse.ArgumentParser()
parser.add_argument("--args-json")
parser.add_argument("--out-json")
args = parser.parse_args()
given = json.loads(Path(args.args_json).read_text())
{body}
update = {{"zarr_url": given["zarr_url"], "attributes": {{"by": sys.prefix}}}}
Path(args.out_json).write_text(json.dumps({{"image_list_updates": [update]}}))
"""

WORKBENCH = (sys.executable, "-m", "fractal_workbench")
Run = Callable[..., "subprocess.CompletedProcess[str]"]


def write_their_package(
    folder: Path,
    *,
    name: str = "their",
    version: str = "1.2.0",
    body: str = "",
    python: str = ">=3.11",
) -> Path:
    """Write a package of somebody else: a task that says in which environment it runs."""
    module = folder / f"{name}_tasks"
    module.mkdir(parents=True)
    folder.joinpath("pyproject.toml").write_text(
        '[build-system]\nrequires = ["hatchling"]\nbuild-backend = "hatchling.build"\n'
        f'[project]\nname = "{name}-tasks"\nversion = "{version}"\n'
        f'requires-python = "{python}"\n'
    )
    (module / "__init__.py").touch()
    (module / "tell.py").write_text(TASK.format(body=body))
    schema = {"type": "object", "properties": {"level": {"type": "integer"}}}
    task = {
        "name": "Tell",
        "executable_parallel": "tell.py",
        "args_schema_parallel": schema | {"additionalProperties": False},
    }
    manifest = {"manifest_version": "2", "task_list": [task]}
    (module / "__FRACTAL_MANIFEST__.json").write_text(json.dumps(manifest))
    return folder


def step(package: str, name: str, version: str | None = None, **args: Any) -> Any:
    reference = {"pkg_name": package, "name": name, "version": version}
    return {"task": reference, "args_parallel": args}


BLUR = step("my-fractal-tasks", "Gaussian Blur", sigma_xy=1)
TELL = step("their-tasks", "Tell")


@pytest.fixture
def run(richest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a workflow over an image, as `nox -s run` of the package with all examples."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    image = tmp_path / "zarr" / "image.zarr"
    image.parent.mkdir()
    write_image(image, "yx")
    images = tmp_path / "images.json"
    images.write_text(json.dumps([{"zarr_url": str(image)}]))

    def call(
        steps: list[Any],
        *options: object,
        cwd: Path = richest,
        agreed: bool = True,
        stdin: int = subprocess.DEVNULL,
    ) -> "subprocess.CompletedProcess[str]":
        workflow = tmp_path / "workflow.json"
        workflow.write_text(json.dumps({"name": "Mixed", "task_list": steps}))
        told = ("--json", tmp_path / "told.json")
        where = ("--zarr-dir", image.parent, "--images", images, *told)
        command = [*WORKBENCH, "run", workflow, *where, *options]
        return subprocess.run(
            command + ["--yes"] * agreed,
            cwd=cwd,
            stdin=stdin,
            capture_output=True,
            text=True,
            check=False,
        )

    return call


def told(tmp_path: Path) -> Any:
    return json.loads((tmp_path / "told.json").read_text())


def test_a_package_is_installed_once_and_runs_in_its_own_environment(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = write_their_package(tmp_path / "theirs")
    given = ("--with", f"their-tasks @ {theirs.as_uri()}")
    done = run([BLUR, TELL], *given)
    assert (done.returncode, done.stderr) == (0, "")
    assert "[2/2] Tell (parallel, of their-tasks 1.2.0)" in done.stdout
    assert "installing their-tasks@ file:" in done.stdout
    image = told(tmp_path)["images"][-1]
    assert image["attributes"]["by"].startswith(str(tmp_path / "cache"))

    done = run([BLUR, TELL], *given, "--resume")
    assert (done.returncode, done.stderr) == (0, "")
    assert "installing" not in done.stdout
    assert done.stdout.count("1 of 1 job reused from the last run") == 2
    module = theirs / "their_tasks" / "tell.py"
    module.write_text(module.read_text() + "# mended\n")
    done = run([BLUR, TELL], *given, "--resume")
    assert "installing" in done.stdout, "of the same version, and another"
    assert done.stdout.count("1 of 1 job reused from the last run") == 1
    page = (tmp_path / "zarr" / "report.html").read_text()
    assert "Gaussian Blur" in page
    assert "their-tasks" in page
    limits = tmp_path / "constraints.txt"
    limits.write_text("numpy<3\n")
    monkeypatch.setenv("UV_CONSTRAINT", str(limits))
    assert ["installing" in run([TELL], *given).stdout for _ in "ab"] == [True, False]


def test_a_package_is_run_by_an_interpreter_that_has_it(
    run: Run, tmp_path: Path
) -> None:
    theirs = write_their_package(tmp_path / "theirs", version="3.0")
    python = make_environment(tmp_path / "venv", str(theirs), python=sys.executable)
    done = run([TELL], "--env", f"their-tasks={python}")
    assert (done.returncode, done.stderr) == (0, "")
    assert "of their-tasks 3.0" in done.stdout
    assert told(tmp_path)["images"][0]["attributes"]["by"] == str(tmp_path / "venv")
    done = run([TELL], "--env", f"their-tasks={sys.executable}")
    assert "their-tasks is not installed there" in done.stderr
    done = run([TELL], "--env", "their-tasks")
    assert "'their-tasks' is not NAME=INTERPRETER, of a file" in done.stderr


def test_versions_are_fetched_together_and_once(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = tmp_path / "index"
    for name in ("their", "other"):
        folder = write_their_package(tmp_path / name, name=name)
        command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--wheel-dir"]
        subprocess.run([*command, str(index), str(folder)], check=True)
    for installer in ("PIP", "UV"):
        monkeypatch.setenv(f"{installer}_NO_INDEX", "1")
        monkeypatch.setenv(f"{installer}_FIND_LINKS", str(index))
    calls, log = tmp_path / "bin" / "uv", tmp_path / "calls"
    calls.parent.mkdir()
    calls.write_text(f'#!/bin/sh\necho $@ >> {log}\nexec {shutil.which("uv")} "$@"\n')
    calls.chmod(0o755)
    monkeypatch.setenv("PATH", str(calls.parent), prepend=os.pathsep)
    steps = [step(f"{name}-tasks", "Tell", "1.2.0") for name in ("their", "other")]
    expected = [f"{name}-tasks 1.2.0)" for name in ("their", "other")]
    for _ in range(2):
        done = run(steps, "--plan")
        assert (done.returncode, done.stderr) == (0, "")
        assert all(words in done.stdout for words in expected)
        assert len(log.read_text().splitlines()) == 1
        shutil.rmtree(index, ignore_errors=True)
    missing = step("their-tasks", "Tell", "1.3.0")
    done = run([*steps, missing], "--plan")
    said = done.stderr.strip()
    assert said.startswith("no their-tasks==1.3.0: the index has no such package")
    assert len(said.splitlines()) == 1


def test_a_package_gets_the_python_that_it_needs(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    minor = next(m for m in (11, 13) if m != sys.version_info.minor)
    folder = Path(find_python(f"3.{minor}")).parent
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)
    theirs = write_their_package(tmp_path / "theirs", python=f"==3.{minor}.*")
    done = run([TELL], "--with", f"their-tasks @ {theirs.as_uri()}")
    assert (done.returncode, done.stderr) == (0, "")
    venv = Path(told(tmp_path)["images"][-1]["attributes"]["by"])
    assert f"version_info = 3.{minor}." in (venv / "pyvenv.cfg").read_text()


def test_files_that_an_installer_generates_are_no_other_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = write_their_package(tmp_path / "theirs")
    script = '[project.scripts]\ntell = "their_tasks.tell:main"\n'
    file = theirs / "pyproject.toml"
    file.write_text(file.read_text() + script)
    monkeypatch.setenv("PIP_USER", "1")
    wanted = packages.Requirement(f"their-tasks @ {theirs.as_uri()}")
    files = []
    for name, by_pip in (("a", False), ("b", True)):
        packages.unpack([wanted], tmp_path / name, by_pip=by_pip)
        files.append(packages.look_at(wanted, tmp_path / name).files)
    assert files[0] == files[1]
    assert "their_tasks/tell.py,sha256=" in files[0]


@pytest.mark.parametrize(
    ("manifest", "says"), [("{", "is not JSON"), ("[]", "is no dictionary")]
)
def test_a_manifest_that_is_none_is_told_with_all_else(
    run: Run, tmp_path: Path, manifest: str, says: str
) -> None:
    theirs = write_their_package(tmp_path / "theirs")
    (theirs / "their_tasks" / "__FRACTAL_MANIFEST__.json").write_text(manifest)
    wrong = step("my-fractal-tasks", "Gaussian Blurr")
    done = run([TELL, wrong], "--with", f"their-tasks @ {theirs.as_uri()}")
    first, second = done.stderr.strip().splitlines()
    assert first.startswith("their-tasks@ file:")
    assert says in first
    assert "no task 'Gaussian Blurr'" in second


def test_a_package_under_another_name_is_reported(run: Run, tmp_path: Path) -> None:
    other = write_their_package(tmp_path / "other", name="other")
    done = run([TELL], "--with", f"their-tasks @ {other.as_uri()}")
    assert "what is there is called other-tasks" in done.stderr
    nothing = "their-tasks==1.2; python_version < '3'"
    done = run([TELL], "--with", nothing)
    assert "nothing of this name is installed" in done.stderr


SPY = "import pathlib; pathlib.Path({file!r}).touch()\nimport setuptools; setuptools.setup()\n"


def write_spy(folder: Path, marker: Path) -> Path:
    """Write a package of somebody else whose build is seen."""
    write_their_package(folder)
    (folder / "setup.py").write_text(SPY.format(file=str(marker)))
    file = folder / "pyproject.toml"
    text = file.read_text().replace("hatchling.build", "setuptools.build_meta")
    file.write_text(text.replace("hatchling", "setuptools"))
    return folder


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An index of wheels: two versions of a package, and one with an old manifest."""
    wheels = tmp_path / "index"
    for version in ("1.2.0", "2.0.0", "0.1"):
        folder = write_their_package(tmp_path / version, version=version)
        extras = "[project.optional-dependencies]\nx = []\n"
        with (folder / "pyproject.toml").open("a") as file:
            file.write(extras)
        if version == "0.1":
            manifest = folder / "their_tasks" / "__FRACTAL_MANIFEST__.json"
            manifest.write_text('{"manifest_version": "1", "task_list": []}')
        command = ["uv", "build", "--quiet", "--wheel", "--out-dir", wheels, folder]
        subprocess.run(command, check=True)
    for installer in ("PIP", "UV"):
        monkeypatch.setenv(f"{installer}_NO_INDEX", "1")
        monkeypatch.setenv(f"{installer}_FIND_LINKS", str(wheels))
    return wheels


OLD, NEW = (step("their-tasks", "Tell", version) for version in ("1.2.0", "2.0.0"))


@pytest.mark.usefixtures("index")
def test_an_option_is_for_one_version_or_for_all(run: Run) -> None:
    def listed(*options: str) -> list[str]:
        done = run([OLD, NEW], *options, agreed=False)
        assert "Nothing was installed, and nothing was run" in done.stderr
        _, text = done.stdout.split("what it depends on:\n")
        return [
            line.strip().removesuffix(", from the package index")
            for line in text.splitlines()
        ]

    one = ["their-tasks[x] 1.2.0", "their-tasks 2.0.0"]
    assert listed("--with", "their-tasks[x]==1.2") == one
    assert listed("--with", "their-tasks[x]<2") == one
    both = ["their-tasks[x] 1.2.0", "their-tasks[x] 2.0.0"]
    assert listed("--with", "their-tasks[x]") == both
    assert listed("--with", "their-tasks[x]", "--with", "their-tasks==2.0.0") == one


@pytest.mark.usefixtures("index")
def test_options_that_cannot_be_used_are_told_at_once(run: Run) -> None:
    this = sys.executable
    cases = {
        (
            "--with",
            "their-tasks==3",
        ): "is for no step: they are in their-tasks 1.2.0, their",
        ("--with", "their-tasks[y]==1.2.0"): r"has no extra \['y'\]; .*there are: x",
        ("--with", "my-fractal-tasks==1"): "my-fractal-tasks is run as it is here",
        ("--with", "their tasks"): "--with 'their tasks': ",
        ("--env", f"other-tasks={this}"): "no step is in other-tasks: they are in",
        (
            "--env",
            f"their-tasks==2.0.0={this}",
            "--with",
            "their-tasks==2",
        ): "leave one",
    }
    options = [option for given in cases for option in given]
    done = run([OLD, NEW, step("their-tasks", "T", "0.1")], *options, "--plan")
    assert done.returncode == 1
    said = done.stderr.strip()
    for says in cases.values():
        assert re.search(says, said), says
    assert "their-tasks==0.1: its manifest is wrong: it is for Fractal before" in said


def test_an_interpreter_is_for_one_version(
    run: Run, tmp_path: Path, index: Path
) -> None:
    wheel = index / "their_tasks-1.2.0-py3-none-any.whl"
    python = make_environment(tmp_path / "venv", wheel, python=sys.executable)
    done = run([OLD, NEW], "--env", f"their-tasks==1.2.0={python}", agreed=False)
    _, text = done.stdout.split("what it depends on:\n")
    assert text.strip() == "their-tasks 2.0.0, from the package index"
    done = run([NEW], "--env", f"their-tasks==2={python}", "--plan")
    assert "version 1.2.0 is installed there" in done.stderr
    done = run([NEW], "--env", f"their-tasks==1.2={python}", "--plan")
    assert "is for no step: they are in their-tasks 2.0.0" in done.stderr


@pytest.mark.parametrize("tool", ["run", "server"])
def test_a_workflow_builds_and_runs_nothing(
    tool: str, richest: Path, tmp_path: Path, index: Path, run: Run
) -> None:
    marker = tmp_path / "ran"
    spy = write_spy(tmp_path / "spy", marker)
    build = "import sys, setuptools.build_meta as m; m.build_sdist(sys.argv[1])"
    command = [
        "uv",
        "run",
        "--no-project",
        "--with",
        "setuptools",
        "python",
        "-c",
        build,
    ]
    subprocess.run([*command, index], cwd=spy, check=True, stdout=subprocess.DEVNULL)
    marker.unlink()
    (wheel,) = index.glob("their_tasks-1.2.0-*.whl")
    wheel.unlink()
    names = [f"their-tasks @ {spy.as_uri()}", spy.as_uri(), str(spy), f"-e{spy}"]
    steps = [step(name, "Tell") for name in names]
    steps += [step("their-tasks", "Tell", f"1.2.0 @ {spy.as_uri()}"), OLD]
    steps += [step("my-fractal-tasks", "Blurr")]
    if tool == "run":
        done = run(steps)
        again = run(steps, "--plan").stderr
        assert again == done.stderr
    else:
        workflow = tmp_path / "workflow.json"
        workflow.write_text(json.dumps({"name": "w", "task_list": steps}))
        done = subprocess.run(
            [*WORKBENCH, tool, workflow, "--yes"],
            cwd=richest,
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode
    assert not marker.exists()
    assert (
        done.stderr.count("is no name of a package: write one such as 'my-tasks'") == 4
    )
    assert "is no version of their-tasks: write one such as" in done.stderr
    assert "1.2.0 has no wheel, and a build would run its code" in done.stderr
    assert "has no task 'Blurr'" in done.stderr


def test_a_folder_is_built_only_once_agreed_to(run: Run, tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    spy = write_spy(tmp_path / "spy", marker)
    given = ("--with", f"their-tasks @ {spy.as_uri()}")
    assert run([TELL], *given, "--plan").returncode == 0
    done = run([TELL], *given, agreed=False)
    assert "spy, which is built: that runs its code" in done.stdout
    assert "answer y, or agree by --yes" in done.stderr
    (spy / "pyproject.toml").unlink()  # only a build tells its tasks
    done = run([TELL, step("my-fractal-tasks", "Blurr")], *given, agreed=False)
    first, second = done.stderr.strip().splitlines()
    assert "only a build, which runs its code, tells its tasks" in first
    assert "has no task 'Blurr'" in second
    assert not marker.exists()


@pytest.mark.usefixtures("index")
def test_a_question_comes_before_a_new_package_only(tmp_path: Path, run: Run) -> None:
    def ask(answer: str) -> str:
        ours, theirs = pty.openpty()
        os.write(ours, f"{answer}\n".encode())
        done = run([NEW], agreed=False, stdin=theirs)
        os.close(ours)
        os.close(theirs)
        return done.stdout + done.stderr

    for answer in ("", "yes, but"):
        said = ask(answer)
        assert "their-tasks 2.0.0, from the package index" in said
        assert "Install it? [y/N]" in said
        assert "nothing was run" in said
        assert not (tmp_path / "told.json").exists()
    assert "installing their-tasks==2.0.0, once" in ask("y")
    assert told(tmp_path)["images"]
    done = run([NEW], agreed=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "To be installed" not in done.stdout
    folder = tmp_path / "cache" / "fractal-task-environments"
    folder.chmod(0o777)
    assert "others can change what is installed there" in run([NEW]).stderr


def test_tasks_do_not_see_the_packages_of_another_python(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = (
        "import os; assert 'PYTHONPATH' not in os.environ; import colorsys_of_a_module"
    )
    theirs = write_their_package(tmp_path / "theirs", body=body)
    (tmp_path / "module").mkdir()
    (tmp_path / "module" / "colorsys_of_a_module.py").touch()
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "module"))
    done = run([TELL], "--with", f"their-tasks @ {theirs.as_uri()}")
    assert "No module named 'colorsys_of_a_module'" in done.stderr
    assert "PYTHONPATH is left out: a task imports what its interpreter" in done.stdout


def test_sessions_do_not_see_the_packages_of_another_python(richest: Path) -> None:
    command = [sys.executable, "-m", "nox", "--list"]
    env = os.environ | {"PYTHONPATH": "/cluster/module"}
    done = subprocess.run(
        command, cwd=richest, env=env, capture_output=True, text=True, check=True
    )
    assert "PYTHONPATH=/cluster/module is ignored" in done.stderr


def test_all_mistakes_are_told_before_anything_is_installed_or_run(
    run: Run, tmp_path: Path
) -> None:
    theirs = write_their_package(tmp_path / "theirs")
    steps = [
        step("my-fractal-tasks", "Gaussian Blur", sigma_xy="two"),
        step("my-fractal-tasks", "Gaussian Blurr"),
        step("their-tasks", "Tell", level=1.5, lvl=2),
        step("no-such-fractal-tasks", "X", "1.0"),
        step("packaging", "X", "24.0"),
    ]
    done = run(
        steps, "--with", f"their-tasks @ {theirs.as_uri()}", "--with", "numpy>=2"
    )
    assert done.returncode == 1
    expected = [
        "no step is in numpy: ",
        "no no-such-fractal-tasks==1.0: the index has no such package, or cannot be reached",
        "packaging==24.0 is no package of Fractal tasks: it has no __FRACTAL_MANIFEST__.json",
        "step 1, 'Gaussian Blur', sigma_xy: 'two' is not of type 'number'",
        "step 2, my-fractal-tasks has no task 'Gaussian Blurr'; did you mean 'Gaussian Blur'",
        "step 3, 'Tell', args_parallel: no argument 'lvl'; did you mean 'level'? there are: ",
    ]
    said = done.stderr.strip().splitlines()
    for start, line in zip(expected, said, strict=True):
        assert line.startswith(start)
    assert not (tmp_path / "cache" / "fractal-task-environments").exists()
    assert [file.name for file in (tmp_path / "zarr").iterdir()] == ["image.zarr"]


def test_a_failed_run_leaves_a_page_and_the_reason(run: Run, tmp_path: Path) -> None:
    theirs = write_their_package(tmp_path / "theirs", body="raise ValueError('level')")
    done = run([TELL], "--with", f"their-tasks @ {theirs.as_uri()}", "--workers", "1")
    assert done.returncode == 1
    assert done.stderr.lstrip().startswith("step 1, Tell: job 1 (")
    assert "): ValueError: level (exit code 1)\n\nTraceback" in done.stderr
    assert "ValueError: level" in (tmp_path / "zarr" / "report.html").read_text()
    assert told(tmp_path)["steps"][0]["failure"] == "ValueError: level (exit code 1)"


def test_a_run_becomes_a_test_that_fails_when_something_changes(
    run: Run, richest: Path, tmp_path: Path
) -> None:
    package = tmp_path / "package"
    shutil.copytree(richest, package, ignore=shutil.ignore_patterns("test_*.py"))
    tests = package / "tests"
    done = run([BLUR], "--record", "blurred", cwd=package)
    assert (done.returncode, done.stderr) == (0, "")
    assert not (tests / "recorded/blurred/input/zarr/image_blurred.zarr").exists()

    def test(*options: str) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-m", "pytest", "-n0", "-p", "no:cacheprovider"]
        return subprocess.run(
            [*command, *options],
            cwd=package,
            capture_output=True,
            text=True,
            check=False,
        )

    other = "def test_something_else(): assert False\n"
    (tests / "test_other.py").write_text(other)
    done = test(f"--workflows={sys.executable}")
    assert "1 passed, 1 deselected" in done.stdout
    workflow = tests / "recorded" / "blurred" / "workflow.json"
    text = workflow.read_text()
    assert str(tmp_path) not in text
    workflow.write_text(text.replace('"sigma_xy": 1', '"sigma_xy": 3'))
    done = test("tests/test_blurred.py")
    assert "arrays > image_blurred.zarr > sha256: '" in done.stdout, done.stdout
    assert done.returncode == 1

    done = run([BLUR], "--record", "blurred", cwd=package)
    assert "--record: there is a test of the name blurred" in done.stderr
    done = run([BLUR], "--record", "../x", cwd=package)
    assert "'../x' is no name of a test" in done.stderr
    wrong = step("my-fractal-tasks", "Measure Features")
    done = run([wrong], "--record", "failed", cwd=package)
    assert "no label 'objects'" in done.stderr
    assert not (tests / "recorded" / "failed").exists()


def test_a_plan_runs_nothing(run: Run, tmp_path: Path) -> None:
    done = run([BLUR], "--plan")
    assert (done.returncode, done.stderr) == (0, "")
    assert "[1/1] Gaussian Blur (parallel)\n    takes    1 of 1 image" in done.stdout
    assert not (tmp_path / "told.json").exists()
    assert [file.name for file in (tmp_path / "zarr").iterdir()] == ["image.zarr"]


@pytest.fixture
def tool(tmp_path: Path) -> list[str]:
    """Make a package with a workflow of two tasks; return the command that runs it."""
    images = [tmp_path / "zarr" / name for name in "ab"]
    for image in images:
        image.mkdir(parents=True)
    given = write_workflow(tmp_path, [{"zarr_url": str(image)} for image in images])
    return [*WORKBENCH, "run", *given]


GREEDY = """
import json, sys, time
from pathlib import Path

arguments = json.loads(Path(sys.argv[2]).read_text())
if arguments["zarr_url"].endswith("a"):
    ballast = b"x" * 300_000_000
    while time.process_time() < 1:
        pass
if arguments["zarr_url"].endswith("b"):
    print("why")
    sys.exit(1)
"""


def test_costs_are_reported_also_for_failed_units(
    tool: list[str], tmp_path: Path
) -> None:
    """In a process of its own: what this one takes would count as theirs."""
    (tmp_path / "my_tasks" / "parallel_1.py").write_text(GREEDY)
    path = tmp_path / "workflow.json"
    workflow = json.loads(path.read_text())
    said = {}
    for mem in ("2G", "200M"):
        workflow["task_list"][1]["meta_parallel"] = {"cpus_per_task": 1, "mem": mem}
        path.write_text(json.dumps(workflow))
        done = subprocess.run(
            [*tool, "--json", "told.json"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 1
        assert done.stderr.endswith("why\n")  # and no empty line
        said[mem] = done.stdout

    costs = json.loads((tmp_path / "told.json").read_text())["costs"][2]
    first, second = costs["units"]
    assert 280 < first["memory"] < 500
    assert 1 <= first["cpu_seconds"] < 3
    assert second["cpu_seconds"] < 1
    assert 450 <= costs["proposal"]["mem"] <= 700
    assert re.search(r"\(most\) +requested +suggested\n", said["200M"])
    assert re.search(r"Task 1 +2 .* 1 cpu, 200 MB +mem: ", said["200M"])
    assert "Task 1 requests too little memory: mem is 200" in said["200M"]
    assert "too little" not in said["2G"]


def test_it_plans_or_reports_a_run(tool: list[str], tmp_path: Path) -> None:
    def call(*options: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [*tool, *options],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=True,
        )

    said = call("--plan", "--json", "told.json").stdout
    assert said.startswith("[1/2] Task 0 (compound)\n    takes    2 of 2 images\n")
    assert "after" not in said
    assert not (tmp_path / "told.json").exists()
    call("--json", "told.json")
    told = json.loads((tmp_path / "told.json").read_text())
    assert [Path(image["zarr_url"]).name for image in told["images"]] == ["a", "b"]
    parts = [(one["task"], one["part"], len(one["units"])) for one in told["costs"]]
    assert parts == [
        ("Task 0", "non_parallel", 1),
        ("Task 0", "parallel", 1),
        ("Task 1", "parallel", 2),
    ]
    unit = told["costs"][2]["units"][0]
    assert unit["memory"] > 5
    assert 0 < unit["cpu_seconds"] < 5


def test_it_resumes_a_run(tool: list[str], tmp_path: Path) -> None:
    for option, reused in (("--resume", 0), ("--resume", 3), ("--workers=1", 0)):
        done = subprocess.run(
            [*tool, option], cwd=tmp_path, capture_output=True, text=True, check=True
        )
        assert done.stdout.count("reused from the last run") == reused
