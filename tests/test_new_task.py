"""`nox -s new_task` adds a task, or an example, to a package that exists."""

import ast
import csv
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import copier
import numpy as np
import pytest
import rendering
import yaml
from package_images import write_plate
from rendering import EXAMPLES, import_folder, run, workbench
from test_package import nox
from test_rendering import imports
from test_update import append, commit, invoke

# Adds one after the other: what is imported takes longer than all else.
ADD_EACH = """
import contextlib, io, json, sys

from fractal_workbench.cli import main
from fractal_workbench.new_task import outcome
outcome.PATIENCE = float(sys.argv[2])
printed = []
for arguments in json.loads(sys.argv[1]):
    output = io.StringIO()
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
        try:
            main(["new-task", *arguments])
        except SystemExit as error:
            print(error.code or "")
    printed.append(output.getvalue())
print(json.dumps(printed))
"""

# But for the check of the manifest, which finds placeholders if the workbench is there.
FILLED = ("-k", "not up_to_date")
MARKER = "    # Add your own tasks below this line.\n"
# Names that are all that a name may be, and the modules that they give.
NAMES = {
    "parallel": ("Otsu's Denoising", "otsu_s_denoising"),
    "non_parallel": ("Zählung (é) {{ x }} & <b>'s #1", "zahlung_e_x_b_s_1"),
    "compound": ("n" * 40, "n" * 40),
    "converter_non_parallel": ("  a", "a"),
    "converter_compound": ("3D 10x Import", "import_3d_10x"),
}  # fmt: skip


def add(package: Path, *each: list[str], patience: float = 60) -> list[str]:
    """Add a task by each list of arguments; return what was printed.

    A function is imported and called, so in a process of its own.
    """
    if not any("--from" in arguments for arguments in each):
        return [invoke(package, "new-task", *arguments).output for arguments in each]
    paths = package / "src", package.parent / "libraries"
    env = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, paths))}
    command = (sys.executable, "-P", "-c", ADD_EACH, json.dumps(each), str(patience))
    return json.loads(run(*command, cwd=package, env=env).splitlines()[-1])


def tree(package: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(package)): path.read_bytes()
        for path in package.rglob("*")
        if path.is_file() and not {".git", "__pycache__"} & {*path.parts}
    }


def create_manifest(package: Path) -> list[dict]:
    """Regenerate the manifest, and return its tasks by name."""
    modules = import_folder(package)
    run(sys.executable, modules / "dev" / "create_manifest.py")
    manifest = json.loads((modules / "__FRACTAL_MANIFEST__.json").read_text("utf-8"))
    return {task["name"]: task for task in manifest["task_list"]}


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


@pytest.mark.parametrize(
    ("name", "examples"),
    [
        pytest.param("new-tasks", EXAMPLES, id="richest", marks=pytest.mark.weekly),
        pytest.param("a-name-of-just-as-many-letters-as-can-be", [], id="bare"),
    ],
)
def test_a_task_of_each_type_is_green_at_once(render, tmp_path, name, examples):
    package = render(tmp_path / "package", project_name=name, examples=examples)
    modules = import_folder(package)
    if examples:
        append("\n\n# Not committed.\n", modules / "kit" / "fractal.py")
    before = tree(package)

    said = add(
        package,
        *([title, "--type", kind] for kind, (title, _) in NAMES.items()),
    )

    tasks = create_manifest(package)
    assert len(tasks) == len(examples) + 5
    kit = {path for path in tree(package) if "/kit/" in path}
    assert kit
    new = tree(package).keys() - before.keys() - ({*()} if examples else kit)
    record = set() if examples else {f"src/{modules.name}/dev/generated.json"}
    assert record <= new
    assert len(new - record) == 5 * 3 + 2
    for (kind, (title, module)), output in zip(NAMES.items(), said, strict=True):
        parts = ("_init", "_compute") if "compound" in kind else ("",)
        src = f"src/{modules.name}"
        files = {f"{src}/{module}{part}.py" for part in parts}
        files |= {f"{src}/dev/docs_info/{module}.md", f"tests/test_{module}.py"}
        assert files <= new
        assert all(path in output for path in files)
        assert f"{src}/dev/task_list.py" in output
        assert tasks[title.strip()]["type"] == kind
    changed = {
        path for path, content in before.items() if tree(package)[path] != content
    }
    with_kit = {".copier-answers.yml", "conftest.py", "pyproject.toml"}
    assert {Path(path).name for path in changed} == {
        "task_list.py",
        "__FRACTAL_MANIFEST__.json",
        *({"generated.json"} if examples else with_kit),
    }
    for path in new:
        if path.endswith(".py"):
            shutil.copy(package / path, tmp_path)
    always = {"numpy", "scipy", "pydantic", modules.name}
    assert imports(tmp_path, "*.py") == always | {"pytest"}

    run("ruff", "check", "--no-cache", ".", cwd=package)
    run("ruff", "format", "--no-cache", "--check", ".", cwd=package)
    env = os.environ | {"PYTHONPATH": str(package / "src")}
    run(sys.executable, "-m", "mypy", cwd=package, env=env)
    # What the tasks compute does not depend on the package.
    tests = ["tests/test_manifest.py"] if examples else []
    run(sys.executable, "-m", "pytest", *FILLED, *tests, cwd=package, env=env)
    script = modules / "dev" / "create_manifest.py"
    with pytest.raises(RuntimeError) as error:
        run(sys.executable, script, "--check")
    for title, _ in NAMES.values():
        says = rf"^{re.escape(title.strip())}: \w+ in \w+\.py is still the placeholder"
        assert re.search(says, str(error.value), re.MULTILINE)


OWN = '''
from typing import Annotated, Literal

import numpy as np
from pydantic import Field
from scipy import ndimage

def find_spots(img: np.ndarray, sigma: Annotated[float, Field(ge=0)] = 1.0,
               background: Literal["mean", "median"] = "mean", *, verbose=None):
    """Find bright spots

    :param img: The image.
    :param sigma: Width of the
        spots.
    """
    smooth = ndimage.gaussian_filter(img.astype(float), sigma); x = 1
    return smooth > getattr(np, background)(smooth) + smooth.std()

def statistics(image, q=50.0):
    """Measure an image.

    Args:
        q (float): Percentile, such as :math:`50`.
    """
    return {"mean": image.mean(), "percentile": np.percentile(image, q)}

def subtract(pixels, size: int):
    return pixels - np.minimum(pixels, ndimage.uniform_filter(pixels, size))

def add_up(a, b):
    return a + b

def of_two(nuclei: np.ndarray, membranes: np.ndarray, size: int = 3, channels: int = 2):
    """Find cells.

    Args:
        membranes: What is around the cells.
        size: Width of a filter.
    """
    inside = ndimage.uniform_filter(membranes, size) < 5000 * channels
    return ndimage.label((nuclei > 10000) & inside)[0]

def by_seeds(image, seeds: dict[str, np.ndarray], *, kernel: np.ndarray | None = None):
    return image

def of_markers(image, markers: np.ndarray):
    return image

def keep_bright(image, labels):
    return np.where(image > 10000, labels, 0)
'''


MADE = {
    "My label": ["label"],
    "My features": ["features"],
    "My measurements": ["measurements"],
    "My points": ["points"],
    "My table": ["table"],
    "My model": ["label", "--model"],
}


@pytest.fixture
def with_made(render, tmp_path) -> Path:
    """A package with a task of each kind that is to be filled in."""
    package = render(tmp_path / "package", project_name="new-tasks", examples=[])
    said = add(package, *([name, "--makes", *what] for name, what in MADE.items()))
    assert not [text for text in said if "Nothing was written" in text]
    return package


@pytest.mark.long
def test_the_test_of_a_new_task_fails_if_it_computes_something_else(with_made):
    package = with_made
    modules = import_folder(package)
    functions = {
        "Smooth": "skimage.filters:gaussian",
        "Components": "scipy.ndimage:label",
        "Properties": "skimage.measure:regionprops_table",
        "Entropy": "skimage.measure:shannon_entropy",
        "Peaks": "skimage.feature:peak_local_max",
    }
    said = add(package, *([name, "--from", f] for name, f in functions.items()))
    assert not [text for text in said if "Nothing was written" in text]
    tasks = create_manifest(package)
    assert tasks["My model"]["meta_parallel"]["needs_gpu"] is True
    extras = tomllib.loads((package / "pyproject.toml").read_text())["project"]
    assert extras["optional-dependencies"] == {"model": ["pooch>=1.8"]}
    edit(modules / "smooth.py", "gaussian(pixels,", "gaussian(pixels // 2,")
    edit(modules / "components.py", "label(pixels", "label(pixels > 40000")
    edit(modules / "properties.py", "table(labels", "table(labels // 2")
    edit(modules / "entropy.py", "entropy(pixels", "entropy(pixels // 2")
    edit(modules / "peaks.py", "max(pixels", "max(pixels[..., 1:]")
    edit(modules / "my_label.py", "pixels > threshold", "pixels > threshold * 3")
    edit(modules / "my_features.py", "ndimage.maximum", "ndimage.minimum")
    edit(modules / "my_measurements.py", "pixels.max()", "pixels.min()")
    edit(modules / "my_points.py", "argwhere(is_peak", "argwhere(is_peak[..., 1:]")
    edit(modules / "my_points.py", "(smooth >", "(smooth[..., 1:] >")
    edit(modules / "my_table.py", ".mean()", ".max()")
    edit(modules / "my_model.py", "label(smooth >", "label(smooth * 0.3 >")
    env = os.environ | {"PYTHONPATH": str(package / "src")}
    tests = sorted(str(path) for path in (package / "tests").glob("test_*.py"))
    # What they compute depends on no version of NGFF.
    command = [sys.executable, "-m", "pytest", "-k", "not 0.4", *tests]
    done = subprocess.run(command, cwd=package, env=env, capture_output=True, text=True)
    failed = set(re.findall(r"^FAILED tests/test_(\w+)\.py", done.stdout, re.MULTILINE))
    # The check of the manifest finds the placeholders.
    assert failed == {path.stem for path in modules.glob("[a-z]*.py")} | {"manifest"}


@pytest.mark.weekly
def test_a_new_task_takes_the_result_of_another_new_task(with_made, tmp_path):
    package = with_made
    create_manifest(package)
    env = os.environ | {"PYTHONPATH": str(package / "src")}
    plate = tmp_path / "data" / "plate.zarr"
    (path,) = write_plate(plate, {"A/01": [0]}, "0.4", axes="czyx")
    np.savez(tmp_path / "weights.npz", sigma=1, threshold=0.3)
    steps = {
        "My model": {"args_parallel": {"model": str(tmp_path / "weights.npz")}},
        "My label": {},
        "My features": {"args_parallel": {"label_name": "my_label"}},
        "My points": {"args_parallel": {"label_name": "my_model"}},
        "My measurements": {},
        "My table": {"args_non_parallel": {"feature_table": "my_features"}},
    }
    workflow = {
        "name": "Functions",
        "task_list": [
            {"task": {"pkg_name": "new-tasks", "name": name}, **arguments}
            for name, arguments in steps.items()
        ],
    }
    (tmp_path / "workflow.json").write_text(json.dumps(workflow))
    images = [{"zarr_url": str(path)}]
    (tmp_path / "images.json").write_text(json.dumps(images))
    data = ["--zarr-dir", tmp_path / "data", "--images", tmp_path / "images.json"]
    data += ["--env", f"new-tasks={sys.executable}"]
    workbench("run", tmp_path / "workflow.json", *data, cwd=package, env=env)
    with (plate / "tables" / "my_table" / "table.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert int(row["n_objects"]) > 0


NO_FUNCTION = {
    "own.py:add_up": "add_up needs b, .*nothing says its type.*This works.*--array a,b",
    "skimage.transform:AffineTransform": "not a function",
    "skimage.filters:gausian": "is it gaussian",
    "nothing_here.at_all:f": "No module named.*--with nothing_here",
    "missing.py:f": "No module named 'sklearn'.*--from missing.py:f --with scikit-learn",
    "part.py:f": "imports helper.py, which lies beside it. Move helper.py into new_tasks",
    "own.py:by_seeds": "by_seeds needs seeds, .* place for arrays.*Write a function",
    "own.py:of_markers": "of_markers needs markers, .*--array image,markers",
    "own.py:keep_bright": "makes labels, and labels takes labels.*--array image,labels",
    "own.py:find_dots": "no find_dots in own.py; is it find_spots",
    "own.py:nowhere": "its functions are: find_spots, statistics, subtract, add_up, of_two, by",
    "own.py": "write MODULE:FUNCTION",
    "absent.py:f": "^--from absent.py: there is no such file",
    "broken.py:f": "importing it fails: NameError",
}


def test_a_function_that_no_task_can_call_is_rejected_with_a_remedy(render, tmp_path):
    package = render(tmp_path / "package", project_name="new-tasks", examples=[])
    (package / "own.py").write_text(OWN)
    (package / "broken.py").write_text("x = y\n")
    (package / "missing.py").write_text("import sklearn\n")
    (package / "part.py").write_text("import helper\n")
    (package / "helper.py").write_text("def f(image): return image\n")
    before = tree(package)
    spots = ["Mine", "--from", "own.py:find_spots"]
    cases = [["Mine", "--from", where] for where in NO_FUNCTION]
    cases[-1] += ["--set", "sigma=50"]
    others = {
        "own.py would be the task": ["Own", *spots[1:]],
        "has no argument 'width'": [*spots, "--set", "width=1"],
        "write NAME=VALUE": [*spots, "--set", "sigma"],
        "--set img: it takes the pixels": [*spots, "--set", "img=3"],
        "--set seeds: a form has no place for arrays": (
            ["Mine", "--from", "own.py:by_seeds", "--set", "seeds=3"]
        ),
        "which is a mask": [*spots, "--makes", "features"],
        "has no argument '', only img": [*spots, "--array", "img,"],
        "--array img,img: name different arguments": [*spots, "--array", "img,img"],
        "--returns 1: find_spots returns an array": [*spots, "--returns", "1"],
        "comes a task of the type parallel": [*spots, "--type", "compound"],
        "no volume": ["Mine", "--from", "skimage.feature:canny", "--axes", "zyx"],
        "such a task is of the type parallel": (
            ["Mine", "--makes", "label", "--type", "compound"]
        ),
        "say more of the function": ["Mine", "--makes", "label", "--axes", "yx"],
    }
    said = add(package, *cases, *others.values())
    for expected, text in zip([*NO_FUNCTION.values(), *others], said, strict=True):
        assert re.search(expected, text, re.DOTALL), text
        assert "Nothing was written" in text or "Error: " in text
    assert tree(package) == before


CELLS = '''"""Cells."""

import os

import numpy as np
from scipy import ndimage

def smooth(image, size: int | str = 3, window=(3, 5), *, kernel: np.ndarray | None = None):
    """Smooth an image

    Parameters
    ----------
    image : ndarray
        The image.
    window : tuple
        Lengths of a box.

    Returns
    -------
    ndarray
        The image without its noise
    """
    assert isinstance(window, tuple)
    return ndimage.uniform_filter(image, size)

def twice(image, lengths: tuple[int, int], factor: float | np.ndarray = 2.0):
    """Smooth an image twice.

    Returns
    -------
    ndarray
        The image without any noise
    """
    return ndimage.uniform_filter(image, lengths)
'''


def docstrings(text: str) -> list[str | None]:
    functions = [n for n in ast.parse(text).body if isinstance(n, ast.FunctionDef)]
    return [ast.get_docstring(node) for node in functions]


def test_a_file_is_copied_once_and_then_edited_in_the_package(render, tmp_path):
    package = render(tmp_path / "package", project_name="new-tasks", examples=[])
    copied = import_folder(package) / "cells.py"
    for folder, text in (("one", CELLS), ("other", CELLS + "\nMORE = 1\n")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "cells.py").write_text(text)

    smooth, again, twice = add(
        package,
        ["Smooth", "--from", "../one/cells.py:smooth", "--array", "image"],
        ["Twice", "--from", "../other/cells.py:twice"],
        ["Twice", "--from", "new_tasks.cells:twice"],
    )

    assert "image takes the pixels.\n" in smooth
    assert "From now on, edit src/new_tasks/cells.py, and not ../one/cells" in smooth
    assert "size: int; str is left out." in smooth
    assert "kernel stays at its default: a form has no place for arrays." in smooth
    assert "nox -s tests -- tests/test_smooth.py\n" in smooth
    assert "To undo it: delete what is new, `git checkout` what is changed" in smooth
    assert "another version of ../other/cells.py: edit that in the package" in again
    assert "write --from new_tasks.cells:twice." in again
    assert "Nothing was written" in again
    assert "image takes the pixels. To choose another argument, use --array.\n" in twice
    assert "factor: float; ndarray is left out." in twice
    assert (
        "Its output, by the docstring of twice: The image without any noise." in twice
    )
    assert "edit src" not in twice
    # As `nox -s format` does it.
    run("ruff", "check", "--no-cache", "--fix-only", "--quiet", ".", cwd=package)
    run("ruff", "format", "--no-cache", ".", cwd=package)
    assert docstrings(copied.read_text()) == docstrings(CELLS)
    assert "import os\n" not in copied.read_text()
    run("ruff", "check", "--no-cache", ".", cwd=package)
    tasks = create_manifest(package)
    schema = tasks["Smooth"]["args_schema_parallel"]["properties"]
    assert schema["window"]["items"] == {"type": "integer"}
    assert schema["window"]["default"] == [3, 5]
    assert "lengths" in tasks["Twice"]["args_schema_parallel"]["required"]
    env = os.environ | {"PYTHONPATH": str(package / "src")}
    run(sys.executable, "-m", "mypy", cwd=package, env=env)
    tests = ("tests/test_smooth.py", "tests/test_twice.py")
    run(sys.executable, "-m", "pytest", "-n0", *tests, cwd=package, env=env)


def test_the_code_of_the_rules_is_a_task(render, tmp_path):
    """Of AGENTS.md: its command makes a task that has the shown function and test."""
    package = render(tmp_path / "package", project_name="new-tasks", examples=[])
    text = (package / "AGENTS.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 70
    run("ruff", "format", "--no-cache", "--isolated", "--check", package / "AGENTS.md")
    commands, task, test = re.findall(r"```(?:bash|python)\n(.*?)```", text, re.DOTALL)
    *nox_command, name, option, makes = shlex.split(commands, comments=True)[:7]
    assert nox_command == ["nox", "-s", "new_task", "--"]
    (said,) = add(package, [name, option, makes])
    assert "src/new_tasks/invert.py" in said

    def replace_function(path: Path, code: str) -> None:
        whole = path.read_text(encoding="utf-8")
        start = re.search(r"^@", whole, re.MULTILINE).start()
        end = re.search(r"^if __name__|\Z", whole, re.MULTILINE).start()
        path.write_text(f"{whole[:start]}{code}\n\n{whole[end:]}", encoding="utf-8")

    module = import_folder(package) / "invert.py"
    replace_function(module, task)
    replace_function(package / "tests" / "test_invert.py", test)
    run("ruff", "check", "--no-cache", "--fix-only", "--quiet", ".", cwd=package)
    run("ruff", "format", "--no-cache", ".", cwd=package)
    create_manifest(package)
    run("ruff", "check", "--no-cache", "--ignore=D417", ".", cwd=package)
    env = os.environ | {"PYTHONPATH": str(package / "src")}
    run(sys.executable, "-m", "mypy", cwd=package, env=env)
    command = [sys.executable, "-m", "pytest", "tests/test_invert.py"]
    run(*command, cwd=package, env=env)
    edit(module, "level - pixels", "level - pixels - 1")
    with pytest.raises(RuntimeError, match="test_it_inverts"):
        run(*command, cwd=package, env=env)


def test_help_has_an_example_for_each_reader(render, tmp_path):
    package = render(tmp_path / "package", project_name="new-tasks", examples=[])
    (text,) = add(package, ["--help"])
    for words in ("--from skimage", "--from FILE.py", "--makes label", "--example"):
        assert words in text


REFUSED = {
    "3D": "begin a word with a letter",
    "去卷积": "begin a word with a letter",
    "Größe": "begin a word with a letter",
    "n" * 41: "at most 40",
    'The "best" one': "without double quotes",
    "back\\slash": "without double quotes",
    "two\nlines": "one line",
    "Lambda": "lambda already means",
    "Owner's Library": "owner_s_library already means",
    "Array": "array already means",
    "NumPy": "numpy already means",
    "Tifffile": "tifffile already means",
    "Filter": "filter already means",
    "Gaussian Blur": "gaussian_blur already means",
    "New Tasks": "new_tasks already means the package: choose another name",
    "Dev": "src/new_tasks/dev exists",
    "Kit": "kit already means",
    "Task List": "src/new_tasks/dev/task_list.py exists",
    "Create Manifest": "src/new_tasks/dev/create_manifest.py exists",
    "Test Intensity": "is the name of a test to pytest and ruff",
    "3D Testing": "is the name of a test to pytest and ruff",
    "Manifest": "tests/test_manifest.py exists",
    "Filter Image": "filter_image already means what the task uses",
    "Task": "task already means",
    "Process Block": "process_block already means what the task uses",
    "mine": "src/new_tasks/dev/docs_info/mine.md exists",
    "Taken": "task_list.py has a task 'Taken'",
}


def test_a_name_is_refused_before_the_function_is_looked_for(render, tmp_path):
    package = render(tmp_path / "package", project_name="new-tasks", examples=[])
    (said,) = add(package, ["New Tasks", "--from", "nothing_here:f"])
    assert "new_tasks already means the package" in said
    assert "nothing_here" not in said


def test_a_name_that_can_not_be_is_refused_before_anything_is_written(
    render, tmp_path, monkeypatch
):
    package = render(tmp_path / "package", project_name="new-tasks", examples=[])
    modules = import_folder(package)
    (modules / "dev" / "docs_info" / "mine.md").write_text("Mine.\n")
    (tmp_path / "libraries").mkdir()  # what the owner depends on
    (tmp_path / "libraries" / "owner_s_library.py").touch()
    monkeypatch.syspath_prepend(tmp_path / "libraries")
    entry = '    ParallelTask(name=" Taken ", executable="other.py"),\n'
    edit(modules / "dev" / "task_list.py", MARKER, MARKER + entry)
    before = tree(package)
    names = list(REFUSED)

    said = add(package, *([name, "--type", "parallel"] for name in names))

    for name, output in zip(names, said, strict=True):
        assert REFUSED[name] in output
        assert "Nothing was written" in output
    usage = add(
        package,
        ["Name"],
        ["", "--type", "parallel"],
        ["Name", "--type", "serial"],
        ["Name", "--example", "gaussian_blur"],
    )
    assert "--type: parallel, non_parallel, compound" in usage[0]
    assert all("Error: " in output for output in usage)
    assert tree(package) == before


def test_a_name_is_refused_the_second_time(render, tmp_path):
    package = render(tmp_path / "package", project_name="new-tasks", examples=[])
    add(package, ["Mine", "--type", "compound"])
    before = tree(package)
    for said in add(
        package,
        ["Mine", "--type", "compound"],
        ["Mine ", "--type", "parallel"],
        ["mine init", "--type", "parallel"],
    ):
        assert "exists" in said
    assert tree(package) == before


def test_a_task_list_without_a_place_is_refused(render, tmp_path):
    package = render(tmp_path / "package", project_name="new-tasks", examples=[])
    path = import_folder(package) / "dev" / "task_list.py"
    fresh = path.read_text()
    no_comma = '    ParallelTask(name="a", executable="a")'
    for broken, message in (
        (fresh.replace(MARKER, ""), "there is no place"),
        (fresh.replace(MARKER, MARKER + no_comma), "there is no place"),
        (fresh.replace(f"[\n{MARKER}]", f"[]{MARKER}"), "there is no place"),
        (fresh.replace("from fractal", "from elsewhere"), "import ParallelTask from"),
        (fresh + "(", "task_list.py, line "),
    ):
        path.write_text(broken)
        before = tree(package)
        (said,) = add(package, ["Mine", "--type", "parallel"])
        assert message in said
        assert "task_list.py" in said
        assert "Nothing was written" in said
        assert tree(package) == before


def test_a_task_that_uses_a_missing_module_is_rejected(render, tmp_path):
    """A package that was adopted may do without the image layer."""
    package = render(
        tmp_path / "package", project_name="new-tasks", examples=[], kit=True
    )
    (import_folder(package) / "kit" / "blocks.py").unlink()
    before = tree(package)
    (said,) = add(package, ["Mine", "--type", "parallel"])
    assert said == (
        "src/new_tasks/kit/blocks.py is used, and is not here.\nNothing was written.\n"
    )
    assert tree(package) == before


def test_a_task_comes_whole_or_not_at_all(render, tmp_path):
    package = render(tmp_path / "package", project_name="new-tasks", examples=[])
    # A file in the place of the folder for its documentation.
    docs_info = import_folder(package) / "dev" / "docs_info"
    shutil.rmtree(docs_info)
    docs_info.touch()
    before = tree(package)
    (said,) = add(package, ["Mine", "--type", "compound"])
    assert "FileExistsError" in said
    assert "Nothing was written" in said
    assert tree(package) == before


@pytest.mark.parametrize(
    "removed", [["ParallelTask"], ["ParallelTask", "CompoundTask"]]
)
def test_a_task_that_the_owner_removed_comes_back(render, tmp_path, removed):
    package = render(tmp_path / "package", project_name="new-tasks", examples=[])
    path = import_folder(package) / "dev" / "task_list.py"
    fresh = path.read_text()
    for name in removed:
        edit(path, f"    {name},\n", "")
        text = path.read_text()
        path.write_text(
            text.replace(f"    | {name}\n", "").replace(f"    {name}\n    | ", "    ")
        )
    run("ruff", "format", "--no-cache", path)
    add(
        package,
        *(
            [f"My {name}", "--type", name.removesuffix("Task").lower()]
            for name in removed
        ),
    )
    run("ruff", "check", "--no-cache", ".", cwd=package)
    run("ruff", "format", "--no-cache", "--check", ".", cwd=package)
    before, _, _ = fresh.partition(MARKER)
    assert path.read_text().startswith(before)
    assert len(create_manifest(package)) == len(removed)


def entries(package: Path) -> set[str]:
    text = (import_folder(package) / "dev" / "task_list.py").read_text("utf-8")
    *_, statement = ast.parse(text).body
    return {ast.dump(task) for task in statement.value.elts}


def test_examples_that_come_later_are_those_of_a_fresh_package(render, tmp_path):
    package = render(tmp_path / "package", project_name="new-tasks", examples=[])
    fresh = render(tmp_path / "fresh", project_name="new-tasks")
    stay = {
        path: (package / path).read_text("utf-8")
        for path in ("README.md", "tests/test_workflow.py")
    }

    said = add(
        package,
        *(["--example", name] for name in reversed(EXAMPLES)),
        ["--example", "gaussian_blur"],
        ["--example", "unknown"],
    )

    assert "src/new_tasks/gaussian_blur.py exists" in said[-2]
    assert all(name in said[-1] for name in EXAMPLES)
    for path, text in stay.items():
        assert (package / path).read_text("utf-8") == text
        shutil.copy(fresh / path, package / path)
    # The workflow of a package is its owner's too; without examples, it has none.
    workflow = "src/new_tasks/workflow.json"
    shutil.copy(fresh / workflow, package / workflow)
    assert create_manifest(package) == create_manifest(fresh)
    assert entries(package) == entries(fresh)
    found, expected = tree(package), tree(fresh)
    answers, fresh_answers = (
        yaml.safe_load(files.pop(".copier-answers.yml")) for files in (found, expected)
    )
    assert set(answers.pop("examples")) == set(fresh_answers.pop("examples"))
    assert answers == fresh_answers
    for files in (found, expected):
        del files["src/new_tasks/dev/task_list.py"]
        del files["src/new_tasks/__FRACTAL_MANIFEST__.json"]
    assert found == expected
    run("ruff", "format", "--no-cache", "--check", ".", cwd=package)


def test_an_example_brings_its_extra_and_the_needs_of_its_tests(render, tmp_path):
    package = render(tmp_path / "package", project_name="new-tasks", examples=[])
    project = package / "pyproject.toml"
    edit(project, 'test = ["pytest', 'test = ["hypothesis", "pytest')
    edit(project, '"fractal_workbench.*"]', '"fractal_workbench.*", "mine.*"]')

    add(package, ["--example", "model_segmentation"])

    fresh = render(
        tmp_path / "fresh", project_name="new-tasks", examples=["model_segmentation"]
    )
    ours, theirs = (
        tomllib.loads((folder / "pyproject.toml").read_text())
        for folder in (package, fresh)
    )
    ours["dependency-groups"]["test"].remove("hypothesis")
    untyped = ours["tool"]["mypy"]["overrides"][0]["module"]
    untyped.remove("mine.*")
    assert ours == theirs
    run(sys.executable, "-m", "mypy", cwd=package)


def test_an_example_comes_into_a_package_that_was_changed(render, tmp_path):
    """Its neighbours are deleted, other dependencies are there, and a part of it is left."""
    examples = ["register_acquisitions", "measure_features"]
    package = render(tmp_path / "package", project_name="new-tasks", examples=examples)
    modules = import_folder(package)
    project = package / "pyproject.toml"
    mine = '  "requests>=2",  # mine\n  "scipy==1.16",\n  "seaborn",'
    edit(project, '  "scipy>=1.15",', mine)
    task_list = modules / "dev" / "task_list.py"
    before, _, after = task_list.read_text().partition("] = [\n")
    mine = '    ParallelTask(name="Mine", executable="mine.py"),\n'
    _, _, after = after.partition(MARKER)
    task_list.write_text(f"{before}] = [\n{MARKER}{mine}{after}")
    left = package / "tests" / "test_threshold_segmentation.py"
    left.write_text("# Mine.\n")
    unchanged = tree(package)

    (said,) = add(package, ["--example", "threshold_segmentation"])

    assert "tests/test_threshold_segmentation.py exists.\nNothing" in said
    assert tree(package) == unchanged
    left.unlink()
    add(package, ["--example", "threshold_segmentation"])
    assert MARKER + mine in task_list.read_text()
    assert "threshold_segmentation.py" in task_list.read_text()
    assert (
        '  "requests>=2",  # mine\n  "scikit-image>=0.25",\n'
        '  "scipy==1.16",\n  "seaborn",\n  "zarr'
    ) in project.read_text()
    answers = yaml.safe_load((package / ".copier-answers.yml").read_text())
    assert set(answers["examples"]) == {*examples, "threshold_segmentation"}


def test_updates_are_those_of_a_package_that_had_it_all_at_first(tmp_path):
    """The template is a git repository, and has gone on since."""
    template = rendering.snapshot(tmp_path / "template")
    commit(template, "1.0.0")
    package = tmp_path / "package"
    answers = {"project_name": "new-tasks", "examples": ["gaussian_blur"]}
    copier.run_copy(
        f"git+file://{template}",
        package,
        data=answers,
        defaults=True,
        quiet=True,
        settings=copier.Settings(),
    )
    for path in (template / "template").rglob("*"):
        if path.suffix in (".py", ".md", ".jinja") and "_copier_conf" not in path.name:
            append("\n# The new template's.\n", path)
    edit(template / "copier.yml", "# Settings\n", "# Settings!\n")
    commit(template, "2.0.0")
    modules = import_folder(package)

    said = add(
        package,
        ["Mine", "--type", "compound"],
        ["--example", "convert_tiffs"],
        ["--example", "check_images"],
    )

    assert not any("Nothing was written" in output for output in said)
    assert not any(b"The new template's" in text for text in tree(package).values())
    (modules / "check_images.py").unlink()
    commit(package)
    before = tree(package)
    copier.run_update(package, defaults=True, overwrite=True, quiet=True)
    after = tree(package)

    assert before.keys() == after.keys()
    changed = {path for path in after if after[path] != before[path]}
    assert "src/new_tasks/kit/blocks.py" in changed
    assert not {path for path in changed if "mine" in path or "convert_tiffs" in path}
    assert "src/new_tasks/dev/task_list.py" not in changed
    assert b"tifffile" in after["pyproject.toml"]
    assert not any(b"<<<<<<<" in text for text in after.values())
    said = add(package, ["Also Mine", "--type", "parallel"])
    assert b"The new template's" in tree(package)["src/new_tasks/also_mine.py"]


def test_an_update_brings_the_kit_forward_only_where_it_is(tmp_path):
    """Also a kit that is older than the answer that records it."""
    template = rendering.snapshot(tmp_path / "template")
    settings = template / "copier.yml"
    current = settings.read_text("utf-8")
    always = "kit: {type: bool, default: true, when: false}"
    settings.write_text(re.sub("(?m)^kit: .*", always, current), "utf-8")
    commit(template, "0.9.0")
    settings.write_text(current, "utf-8")
    commit(template, "1.0.0")
    packages = {name: tmp_path / name for name in ("older", "bare", "with-task")}
    for name, package in packages.items():
        copier.run_copy(
            f"git+file://{template}",
            package,
            data={"project_name": "new-tasks", "examples": []},
            vcs_ref="0.9.0" if name == "older" else "1.0.0",
            defaults=True,
            quiet=True,
            settings=copier.Settings(),
        )
    add(packages["with-task"], ["Mine", "--type", "parallel"])
    (source,) = template.glob("template/package/src/*/kit")
    append("\n# The new template's.\n", source / "blocks.py")
    (source / "new.py").write_text('"""New."""\n')
    conftest = template / "template" / "package" / "tests" / "conftest.py.jinja"
    append("\n# The new template's.\n", conftest)
    commit(template, "2.0.0")

    kits = {}
    for name, package in packages.items():
        commit(package)
        before = tree(package)
        copier.run_update(package, defaults=True, overwrite=True, quiet=True)
        after = tree(package)
        assert not before.keys() - after.keys()
        assert b"The new template's" in after["tests/conftest.py"]
        kits[name] = {path for path in after if "/kit/" in path}
        new = {"src/new_tasks/kit/new.py"} if kits[name] else set()
        assert after.keys() - before.keys() == new
        answers = yaml.safe_load(after[".copier-answers.yml"])
        assert answers["kit"] == bool(kits[name])
    assert kits["older"] == kits["with-task"]
    assert b"The new template's" in after["src/new_tasks/kit/blocks.py"]
    assert not kits["bare"]


def test_the_kit_comes_beside_changes_of_the_owner(render, tmp_path):
    package = render(tmp_path / "package", project_name="new-tasks", examples=[])
    conftest = package / "tests" / "conftest.py"
    fresh = conftest.read_text("utf-8")
    mine = '@pytest.fixture\ndef mine():\n    """Mine."""\n\n\n'
    start = "@pytest.fixture\ndef run_task"
    for text, reason in (
        (
            fresh.replace("import pytest\n", "import mine\n"),
            "restore tests/conftest.py",
        ),
        (fresh, "src/new_tasks/kit exists"),
    ):
        conftest.write_text(text, "utf-8")
        kit = import_folder(package) / "kit"
        if text == fresh:
            kit.mkdir()
            (kit / "__init__.py").touch()
        before = tree(package)
        (printed,) = add(package, ["Mine", "--type", "parallel"])
        assert reason in printed
        assert "Nothing was written" in printed
        assert tree(package) == before
    shutil.rmtree(kit)

    edit(conftest, start, mine + start)
    project = package / "pyproject.toml"
    edit(project, "below this line.\n", 'below this line.\n  "tqdm",\n')
    add(package, ["Mine", "--type", "parallel"])

    full = render(
        tmp_path / "full", project_name="new-tasks", examples=["gaussian_blur"]
    )
    expected = (full / "tests" / "conftest.py").read_text("utf-8")
    assert conftest.read_text("utf-8") == expected.replace(start, mine + start)
    ours, theirs = (
        tomllib.loads((folder / "pyproject.toml").read_text("utf-8"))
        for folder in (package, full)
    )
    ours["project"]["dependencies"].remove("tqdm")
    assert ours == theirs


def test_the_session_installs_the_dependencies_of_an_example(render, tmp_path):
    package = render(tmp_path / "package", project_name="new-tasks", examples=[])
    nox(package, "-s", "new_task", "--", "--example", "check_images")
    manifest = import_folder(package) / "__FRACTAL_MANIFEST__.json"
    found = manifest.read_bytes()
    assert "Check Images" in create_manifest(package)
    assert manifest.read_bytes() == found
    said = nox(package, "-R", "-s", "new_task", "--", "--help")
    assert "create_manifest" not in said
    with pytest.raises(RuntimeError, match=r"check_images\.py exists"):
        nox(package, "-R", "-s", "new_task", "--", "--example", "check_images")


@pytest.mark.long
def test_format_manifest_and_nox_are_all_that_a_new_task_needs(render, tmp_path):
    """Once the owner has replaced what it does, in a style of his own."""
    package = render(tmp_path / "package", project_name="new-tasks", examples=[])
    log = nox(package, "-s", "new_task", "--", "3D Stitch", "--type", "parallel")
    _, _, to_do = log.partition("Next: replace the functions")
    pattern = r"^  nox(?: -s (format manifest))?(?:  |$)"
    commands = re.findall(pattern, to_do, re.MULTILINE)
    assert commands == ["format manifest", ""]
    module = import_folder(package) / "stitch_3d.py"
    edit(module, "radius", "reach")
    edit(module, "2 * reach + 1", "2*reach+1")
    edit(module, "from typing", "import os\nfrom typing")
    edit(package / "tests" / "test_stitch_3d.py", "radius", "reach")
    for session, problem in (("lint", "F401"), ("tests", "run `nox -s manifest`")):
        with pytest.raises(RuntimeError, match=problem):
            nox(package, "-s", session)
    for command in commands:
        nox(package, "-R", *(["-s", *command.split()] if command else []))
