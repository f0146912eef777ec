"""Generated packages as their owners use them: their own checks, and their wheel."""

import json
import os
import re
import shutil
import sys
import zipfile
from pathlib import Path

import pytest
import yaml
from rendering import EXAMPLES, QUESTIONS, ROOT, import_folder, make_environment, run

# Quotes, a backslash and other scripts have to survive the build of a wheel as well.
AUTHOR = 'Zoë "Zed" O\'Neill, 李 \\ 🐍'
RICHEST = {"user_name": AUTHOR, "github_user": "fractal-lab"}


def find_python(version: str) -> str:
    """Return an interpreter; pyenv's shims only answer for the versions that are switched on."""
    root = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    folders = [str(path) for path in root.glob(f"versions/{version}.*/bin")]
    path = os.pathsep.join([*folders, os.environ["PATH"]])
    if python := shutil.which(f"python{version}", path=path):
        return python
    if os.environ.get("CI"):
        pytest.fail(f"CI has to test on Python {version}, and there is none")
    pytest.skip(f"there is no Python {version}")


def nox(package: Path, *arguments: str) -> str:
    """Run nox in a package, without the variables of the environment around it."""
    keep = {
        name: value
        for name, value in os.environ.items()
        if name not in ("VIRTUAL_ENV", "PYTHONPATH") and not name.startswith("NOX_")
    }
    return run(sys.executable, "-m", "nox", *arguments, cwd=package, env=keep)


def run_all_checks(package: Path, version: str) -> Path:
    """Run nox on a version of Python, and return the interpreter of the tests."""
    log = nox(package, "--force-python", find_python(version))
    for session in ("lint", "types", "tests"):
        assert re.search(rf"\* {session}.*: success", log)
    (python,) = package.glob(".nox/tests*/bin/python")
    return python


@pytest.mark.long
@pytest.mark.parametrize(
    "answers",
    [
        # The tests of the oldest Python run at each push with the oldest dependencies.
        pytest.param({}, id="richest", marks=pytest.mark.weekly),
        pytest.param({"examples": []}, id="smallest"),
    ],
)
def test_all_checks_of_a_fresh_package_pass_on_the_oldest_python(
    render, tmp_path, answers
):
    run_all_checks(render(tmp_path / "package", **answers), "3.11")


@pytest.mark.long
def test_all_checks_pass_and_the_tasks_do_the_same_on_the_newest_python(
    render, tmp_path, is_weekly
):
    package = render(tmp_path / "package", **RICHEST, min_python="3.13")
    python = run_all_checks(package, "3.13")
    tools = "copier hypothesis ngio>=1.1 nox ome-zarr ome-zarr-models pooch pytest>=9"
    install = ("uv", "pip", "install", "--quiet", "--python", python)
    run(*install, *tools.split(), "onnx", "onnxruntime")
    # There, ome-zarr is another: what it and others read and write.
    names, options = ["other_tools"], ["-k", "plate or tczyx"]
    if is_weekly:
        names += ["pixels", "blocks", "robustness", "odd_input"]
        # What a killed task leaves behind depends on neither.
        options = ["--weekly", "-k", "not killed"]
    modules = [f"tests/test_{name}.py" for name in names]
    command = ("-m", "pytest", "-q", "-p", "no:cacheprovider")
    run(python, *command, *options, *modules, cwd=ROOT)


@pytest.mark.parametrize("resolution", ["highest", "lowest-direct"])
@pytest.mark.parametrize("min_python", QUESTIONS["min_python"]["choices"])
@pytest.mark.parametrize("examples", [EXAMPLES, []], ids=["richest", "smallest"])
def test_the_metadata_resolve_for_every_python_that_they_allow(
    render, tmp_path, examples, min_python, resolution
):
    """As `uv lock` takes them, with all extras and groups; wheels exist for each Python."""
    package = render(tmp_path / "package", examples=examples, min_python=min_python)
    newest = find_python(QUESTIONS["min_python"]["choices"][-1])
    options = ("--quiet", "--resolution", resolution, "--python")
    run("uv", "lock", *options, newest, cwd=package)
    everything = ("--all-extras", "--all-groups", "--no-install-project", "--no-build")
    for python in {newest, find_python(min_python)}:
        dry = ("uv", "sync", "--locked", "--dry-run", *everything, *options, python)
        run(*dry, cwd=package)


@pytest.mark.parametrize("min_python", QUESTIONS["min_python"]["choices"])
def test_the_oldest_python_that_the_metadata_allow_is_enough(
    render, tmp_path, min_python
):
    """The patch release counts: a library may leave out the first one."""
    package = render(tmp_path / "package", min_python=min_python)
    text = (package / "pyproject.toml").read_text(encoding="utf-8")
    (oldest,) = re.findall(r'^requires-python = ">=(.+?)"', text, re.MULTILINE)
    version = oldest if oldest.count(".") == 2 else f"{oldest}.0"
    given = (
        "--all-extras",
        "--group",
        "test",
        "--python-version",
        version,
        "--only-binary",
        ":all:",
    )
    resolved = run("uv", "pip", "compile", "pyproject.toml", *given, cwd=package)
    assert "\nome-zarr==" in resolved


@pytest.mark.long
def test_the_oldest_dependencies_that_it_allows_pass_its_tests(
    render, tmp_path, monkeypatch
):
    """As its own CI asks for them."""
    package = render(tmp_path / "package")
    ci = yaml.safe_load((package / ".github" / "workflows" / "ci.yml").read_text())
    tests = ci["jobs"]["tests"]
    assert tests["steps"][-1]["env"]["UV_RESOLUTION"] == "${{ matrix.resolution }}"
    resolutions = tests["strategy"]["matrix"]["resolution"]
    monkeypatch.setenv("UV_RESOLUTION", resolutions[-1])
    nox(package, "--force-python", find_python("3.11"), "-s", "tests")
    (python,) = package.glob(".nox/tests*/bin/python")
    oldest = run(python, "-c", "import zarr; print(zarr.__version__)").strip()
    assert f'"zarr>={oldest}"' in (package / "pyproject.toml").read_text("utf-8")


def test_workflows_are_skipped_without_the_workbench_only_among_other_tests(
    richest,
):
    """The session of the workflows fails if the workbench is missing."""
    hide = "import sys; sys.modules['fractal_workbench'] = None; "
    code = f"{hide}import pytest; sys.exit(pytest.main(sys.argv[1:]))"
    command = (sys.executable, "-c", code, "-n0", "tests/test_workflow.py")
    assert "`nox -s workflow` runs this" in run(*command, cwd=richest)
    with pytest.raises(RuntimeError, match=r"ModuleNotFoundError: .*fractal_workbench"):
        run(*command, "--workflows", cwd=richest)


@pytest.fixture
def package(render, tmp_path) -> Path:
    return render(tmp_path / "package")


def test_the_lint_of_a_package_fails_on_bad_code(package):
    bad = package / "src" / "bad.py"
    bad.write_text("import os\n\n\ndef f( ):\n    print( 'no docstring' )\n")
    with pytest.raises(RuntimeError) as error:
        run("ruff", "check", cwd=package)
    for rule in ("D103", "F401", "T201"):
        assert rule in str(error.value)


def test_the_types_of_a_package_fail_on_a_wrong_type(render, tmp_path, richest_python):
    package = render(tmp_path / "package", examples=[])
    bad = import_folder(package) / "bad.py"
    bad.write_text('"""Bad."""\n\nANSWER: int = "42"\n')
    with pytest.raises(RuntimeError, match="Incompatible types in assignment"):
        run(richest_python, "-m", "mypy", cwd=package)


def test_the_tests_of_a_package_fail_on_a_stale_manifest_and_a_shadowing_module(
    package, richest_python, monkeypatch
):
    monkeypatch.setenv("PYTHONPATH", str(package / "src"))
    modules = import_folder(package)
    manifest = modules / "__FRACTAL_MANIFEST__.json"
    fresh = manifest.read_text()
    manifest.write_text(fresh.replace("Gaussian Blur", "Gaussian Bluff"))
    bad = modules / "tifffile.py"
    bad.write_text('"""Found before the library of this name."""\n')
    command = ("-m", "pytest", "-n0", "tests/test_manifest.py")
    with pytest.raises(RuntimeError) as error:
        run(richest_python, *command, cwd=package)
    assert "run `nox -s manifest`" in str(error.value)
    assert "tifffile.py" in str(error.value)
    bad.unlink()
    run(richest_python, modules / "dev" / "create_manifest.py", cwd=package)
    assert manifest.read_text() == fresh


def test_the_wheel_runs_a_task_in_an_empty_environment(render, tmp_path):
    package = render(tmp_path / "package", user_name=AUTHOR)
    earlier = package / "dist" / "my_fractal_tasks-0.0.9-py3-none-any.whl"
    earlier.parent.mkdir()
    earlier.touch()
    nox(package, "-s", "build")
    wheel = earlier.with_name("my_fractal_tasks-0.1.0-py3-none-any.whl")
    assert {*earlier.parent.iterdir()} == {earlier, wheel}
    python = make_environment(tmp_path / "venv", wheel, python=sys.executable)
    modules = Path(
        run(
            python,
            "-c",
            "import my_fractal_tasks as p, pathlib; print(pathlib.Path(p.__file__).parent)",
        ).strip()
    )
    assert modules.name == "my_fractal_tasks"
    manifest = json.loads((modules / "__FRACTAL_MANIFEST__.json").read_text("utf-8"))
    assert manifest["authors"] == AUTHOR
    names = zipfile.ZipFile(wheel).namelist()
    assert sum(name.endswith("__FRACTAL_MANIFEST__.json") for name in names) == 1
    assert {Path(name).name for name in names if "/dev/" in name} == {
        *("__init__.py", "task_list.py"),
        *(f"{example}.md" for example in EXAMPLES),
    }
    executables = [
        task[kind]
        for task in manifest["task_list"]
        for kind in ("executable_non_parallel", "executable_parallel")
        if kind in task
    ]
    assert len(executables) == 13
    for executable in executables:
        assert (modules / executable).is_file()

    image = tmp_path / "data" / "image.zarr"
    code = (
        "import pathlib, sys\n"
        "from my_fractal_tasks.kit import create_image\n"
        "with create_image(pathlib.Path(sys.argv[1]), shape=(64, 64), axes='yx', "
        "dtype='uint16', scale={}, channels=['DAPI']): pass"
    )
    run(python, "-W", "ignore", "-c", code, image)
    arguments = tmp_path / "arguments.json"
    arguments.write_text(
        json.dumps({"zarr_dir": str(image.parent), "zarr_name": image.name})
    )
    output = tmp_path / "output.json"
    run(
        python,
        modules / "import_ome_zarr.py",
        *("--args-json", arguments, "--out-json", output),
    )
    (update,) = json.loads(output.read_text())["image_list_updates"]
    assert update["zarr_url"] == str(image)
