"""A task is renamed or removed with all that belongs to it, and nothing else."""

import ast
import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from fractal_workbench.cli import main
from fractal_workbench.form import stale
from fractal_workbench.project import MANIFEST

TASK_LIST = """\
from fractal_task_tools.task_models import CompoundTask, ParallelTask

TASK_LIST = [
    ParallelTask(
        name="Blur",
        executable="blur.py",
        output_types={"blur": True},
        docs_info="file:docs_info/blur.md",
    ),
    ParallelTask(name="Blur Fast", executable="blur_fast.py"),
    CompoundTask(
        name="Align",
        executable_init="align_init.py",
        executable="align_compute.py",
    ),
]
"""
BLUR = '''\
"""Blur: of an owner, who calls a blur a blur."""

import logging

from blur_tasks.kit import Step, task_output

logger = logging.getLogger("blur")


def width(blur: float) -> float:
    """Not the task: an argument has its name."""
    return 2 * blur


def blur(*, zarr_url: str, method: str = "blur") -> dict:
    """Blur an image."""
    step = Step("blur", {})
    return task_output(zarr_url, types={"blur": True})


if __name__ == "__main__":
    blur(zarr_url="")
'''
FILES = {
    "pyproject.toml": '''\
[project]
name = "blur-tasks"
version = "0.1.0"

[tool.ruff.lint.per-file-ignores]
"src/blur_tasks/blur.py" = ["D"]
''',
    "NOTES.md": f"{'word ' * 40}`blur.py` end\n",
    "README.md": "Blur is not sharp. `blur.py` makes a blur of what is no blur.\n",
    "src/blur_tasks/__init__.py": "",
    "src/blur_tasks/blur.py": BLUR,
    "src/blur_tasks/blur_fast.py": '''\
"""Blur fast: another task, whose name begins in the same way."""

from . import blur as other
from .blur import blur, width as blur_width


def blur_fast(*, zarr_url: str) -> dict:
    """Blur an image fast."""
    text = "blur"
    return {text: (blur(zarr_url=zarr_url), other.width(1), blur_width(2))}
''',
    "src/blur_tasks/align_init.py": '''\
"""Align, init."""

import blur_tasks.align_shift


def align_init(*, zarr_urls: list[str], zarr_dir: str) -> dict:
    """List images."""
    return {"parallelization_list": blur_tasks.align_shift.shift(zarr_urls)}
''',
    "src/blur_tasks/align_compute.py": '''\
"""Align, compute."""


def align_compute(*, zarr_url: str, init_args: dict) -> dict:
    """Align an image."""
    return {}
''',
    "src/blur_tasks/align_shift.py": '''\
"""Used by `align_init` alone."""


def shift(values: list[str]) -> list[str]:
    """Return the values."""
    return values
''',
    "src/blur_tasks/kit/__init__.py": "blur = 1\n",
    "src/blur_tasks/dev/__init__.py": "",
    "src/blur_tasks/dev/task_list.py": TASK_LIST,
    "src/blur_tasks/dev/docs_info/blur.md": "- The type `blur`.\n- **Blur** an image.\n",
    "src/blur_tasks/__FRACTAL_MANIFEST__.json": "{}\n",
    "src/blur_tasks/workflow.json": json.dumps(
        {
            "name": "Blur",
            "data": {
                "name": "Blur",
                "task_list": [
                    {"task": {"pkg_name": "other-tasks", "name": "Blur"}},
                    {"task": {"pkg_name": "Blur_Tasks", "name": "Blur"}},
                    {"task": {"pkg_name": "blur-tasks", "name": "Align"}},
                ],
            },
        },
        indent=2,
    )
    + "\n",
    "tests/test_blur.py": '''\
"""Blur."""

from blur_tasks.blur import blur, width


def test_it(run_task, monkeypatch):
    monkeypatch.setattr("blur_tasks.blur.width", width)
    monkeypatch.setattr("blur_tasks.blur.blur", blur)
    types = run_task("blur.py", zarr_url="/blur.py/blur")["types"]
    assert types == {"blur": True}
''',
    "tests/test_steps.py": '''\
"""All steps."""


def test_steps(steps):
    assert steps["Blur"]["name"] == "Blur"
    text = "Blur"
    assert {"name": "Blur", "title": text}
''',
}  # fmt: skip


def commit(folder: Path) -> None:
    user = ("-c", "user.name=a", "-c", "user.email=a@example.org")
    for command in (["add", "--all"], [*user, "commit", "--quiet", "--message=a"]):
        subprocess.run(["git", *command], cwd=folder, check=True)


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package with three tasks, committed, as the current folder."""
    folder = tmp_path / "blur-tasks"
    for name, text in FILES.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    subprocess.run(["git", "init", "--quiet"], cwd=folder, check=True)
    commit(folder)
    monkeypatch.chdir(folder)
    return folder


def contents(folder: Path) -> dict[str, str]:
    """Return the texts of the files in a package."""
    return {
        path.relative_to(folder).as_posix(): path.read_text("utf-8")
        for path in sorted(folder.rglob("*"))
        if path.is_file() and ".git" not in path.parts
    }


def call(*arguments: str) -> str:
    """Run the command, which succeeds; return what it prints."""
    result = CliRunner().invoke(main, ["new-task", *arguments])
    assert result.exit_code == 0, result.output
    return result.output


def test_a_task_is_renamed_wherever_its_name_can_only_mean_it(package: Path) -> None:
    output = call("--rename", "Blur", "Smooth Image")

    now = contents(package)
    gone = {"blur.py", "dev/docs_info/blur.md"}
    assert FILES.keys() - now.keys() == {
        *(f"src/blur_tasks/{name}" for name in gone),
        "tests/test_blur.py",
    }
    module = now["src/blur_tasks/smooth_image.py"]
    assert module == (
        BLUR.replace('"""Blur: of', '"""Smooth Image: of')
        .replace('Logger("blur")', 'Logger("smooth_image")')
        .replace('Step("blur"', 'Step("smooth_image"')
        .replace("def blur(", "def smooth_image(")
        .replace("    blur(zarr_url", "    smooth_image(zarr_url")
    )
    fast = now["src/blur_tasks/blur_fast.py"]
    assert "from . import smooth_image as other" in fast
    assert "from .smooth_image import smooth_image, width as blur_width" in fast
    assert "(smooth_image(zarr_url=zarr_url), other.width(1), blur_width(2))" in fast
    assert 'text = "blur"' in fast
    test = now["tests/test_smooth_image.py"]
    assert "from blur_tasks.smooth_image import smooth_image, width" in test
    assert '"blur_tasks.smooth_image.width", width' in test
    assert '"blur_tasks.smooth_image.smooth_image", smooth_image' in test
    assert 'run_task("smooth_image.py", zarr_url="/blur.py/blur")' in test
    assert 'types == {"blur": True}' in test
    assert now["src/blur_tasks/dev/task_list.py"] == (
        TASK_LIST.replace('name="Blur"', 'name="Smooth Image"')
        .replace('"blur.py"', '"smooth_image.py"')
        .replace("info/blur.md", "info/smooth_image.md")
    )
    steps = now["tests/test_steps.py"]
    assert 'steps["Smooth Image"]["name"] == "Smooth Image"' in steps
    assert 'text = "Blur"\n    assert {"name": "Smooth Image"' in steps
    old = json.loads(FILES["src/blur_tasks/workflow.json"])
    old["data"]["task_list"][1]["task"]["name"] = "Smooth Image"
    assert now["src/blur_tasks/workflow.json"] == json.dumps(old, indent=2) + "\n"
    assert '"src/blur_tasks/smooth_image.py" = ["D"]' in now["pyproject.toml"]
    unchanged = ["README.md", "src/blur_tasks/kit/__init__.py"]
    assert [now[name] for name in unchanged] == [FILES[name] for name in unchanged]
    for mention in [
        "README.md:1: Blur is not",
        'smooth_image.py:18: return task_output(zarr_url, types={"blur": True})',
        'task_list.py:7: output_types={"blur": True},',
        "docs_info/smooth_image.md:1: - The type `blur`.",
        "docs_info/smooth_image.md:2: - **Blur** an image.",
        'test_steps.py:6: text = "Blur"',
        'workflow.json:2: "name": "Blur",',
        f"NOTES.md:1: {'word ' * 8}`blur.py` end",
    ]:
        assert mention in output
    # And back? An argument has the old name.
    commit(package)
    back = ["new-task", "--rename", "Smooth Image", "Blur"]
    result = CliRunner().invoke(main, back)
    assert (
        "smooth_image.py, line 10: blur already means something else" in result.output
    )
    assert contents(package) == now


def test_both_parts_of_a_task_and_their_own_modules_are_renamed(
    package: Path,
) -> None:
    call("--rename", "align", "Register")
    now = contents(package)
    names = {
        f"src/blur_tasks/register_{end}.py" for end in ("init", "compute", "shift")
    }
    assert names <= now.keys()
    assert not [name for name in now if "align" in name]
    init = now["src/blur_tasks/register_init.py"]
    assert "import blur_tasks.register_shift\n" in init
    assert "blur_tasks.register_shift.shift(zarr_urls)" in init
    assert "def register_init(" in init
    # And back: nothing is lost.
    commit(package)
    call("--rename", "Register", "Align")
    assert contents(package) == FILES


def test_a_task_is_removed_with_modules_that_only_it_uses(package: Path) -> None:
    call("--remove", "Align")
    now = contents(package)
    gone = {name for name in FILES if "/align_" in name}
    assert FILES.keys() - now.keys() == gone
    tasks = ast.parse(now["src/blur_tasks/dev/task_list.py"]).body[-1]
    assert isinstance(tasks, ast.Assign)
    assert isinstance(tasks.value, ast.List)
    assert len(tasks.value.elts) == 2
    steps = json.loads(now["src/blur_tasks/workflow.json"])["data"]["task_list"]
    assert [step["task"]["name"] for step in steps] == ["Blur", "Blur"]


@pytest.mark.parametrize(
    "arguments", [("--rename", "Blur", "Smooth Image"), ("--remove", "Align")]
)
def test_either_change_is_undone_as_the_output_says(
    package: Path, arguments: tuple[str, ...]
) -> None:
    """Changes of other files that are not committed stay."""
    edit("NOTES.md", "end", "END")(package)
    before = contents(package)
    output = call(*arguments)
    assert contents(package) != before
    assert "delete what is new, `git checkout` what is changed or deleted" in output
    listed = re.findall(r"^(new|changed|deleted) +(\S+)$", output, re.MULTILINE)
    for verb, name in listed:
        if verb == "new":
            (package / name).unlink()
        else:
            subprocess.run(["git", "checkout", "-q", name], cwd=package, check=True)
    assert contents(package) == before


def edit(name: str, old: str, new: str) -> Callable[[Path], None]:
    """Return a change of a file of a package, which is not committed."""

    def change(package: Path) -> None:
        file = package / name
        assert old in file.read_text("utf-8")
        file.write_text(file.read_text("utf-8").replace(old, new), "utf-8")

    return change


def without_git(package: Path) -> None:
    (package / ".git").rename(package.parent / "git")


def nothing(package: Path) -> None:
    pass


@pytest.mark.parametrize(
    ("change", "arguments", "reason"),
    [
        (nothing, ["--rename", "Blu", "X"], "did you mean 'Blur'? there are: Blur, "),
        (nothing, ["--remove", "Crop"], "there are: Blur, Blur Fast, Align"),
        (nothing, ["--rename", "Blur", "Align"], "there is a task 'Align'"),
        (nothing, ["--rename", "Blur", "Blur"], "is the name of the task already"),
        (nothing, ["--rename", "Blur", "Json"], "json already means a part of Python"),
        (nothing, ["--rename", "Blur", '"'], "is no name for a task"),
        (nothing, ["--rename", "Blur", "Blur, Fast"], "blur_fast.py exists"),
        (nothing, ["--rename", "Blur", "Width"], "width already means something else"),
        (nothing, ["--rename", "Blur", "Text"], "line 9: text already means"),
        (nothing, ["--remove", "Blur"], "blur_fast.py, line 3, imports src/blur_tasks"),
        (nothing, ["--remove", "Blur", "--rename", "Blur", "X"], "no other option"),
        (nothing, ["X", "--remove", "Blur"], "take no other option"),
        (without_git, ["--rename", "Blur", "X"], "is not under git: run `git init`"),
        (
            edit("src/blur_tasks/blur.py", "2 *", "3 *"),
            ["--rename", "Blur", "X"],
            "Commit your changes first",
        ),
        (
            edit("tests/test_steps.py", "All", "Some"),
            ["--rename", "Blur", "X"],
            " M tests/test_steps.py",
        ),
        (
            edit("tests/test_steps.py", ":", ""),
            ["--rename", "Blur", "X"],
            "tests/test_steps.py, line 4: expected ':': correct it",
        ),
        (
            edit("src/blur_tasks/dev/task_list.py", "align_init", "align_compute"),
            ["--rename", "Align", "X"],
            "share no name",
        ),
    ],
)  # fmt: skip
def test_impossible_requests_are_rejected_and_change_nothing(
    package: Path, change: Callable[[Path], None], arguments: list[str], reason: str
) -> None:
    change(package)
    before = contents(package)
    result = CliRunner().invoke(main, ["new-task", *arguments])
    assert result.exit_code != 0
    assert isinstance(result.exception, SystemExit)
    assert reason in result.output + str(result.exception)
    assert contents(package) == before


def test_changes_of_other_files_need_no_commit(package: Path) -> None:
    edit("README.md", "sharp", "bright")(package)
    call("--rename", "Align", "Register")
    assert "bright" in contents(package)["README.md"]


def test_lines_end_as_they_did(package: Path) -> None:
    file = package / "src" / "blur_tasks" / "align_compute.py"
    file.write_bytes(file.read_bytes().replace(b"\n", b"\r\n"))
    commit(package)
    call("--rename", "Align", "Register")
    text = file.with_name("register_compute.py").read_bytes()
    assert text.count(b"\r\n") == text.count(b"\n") > 5


@pytest.fixture
def generated(package: Path) -> Path:
    """The same package, whose first task counts as generated."""
    return record_as_generated(package)


def record_as_generated(package: Path) -> Path:
    """Record that nobody has edited the first task; return the folder of modules."""
    root = package / "src" / "blur_tasks"
    names = ("blur.py", "dev/task_list.py", "dev/docs_info/blur.md")
    files = {root / name: (root / name).read_text("utf-8") for name in names}
    test = package / "tests" / "test_blur.py"
    files[test] = test.read_text("utf-8")
    records = stale.new_records(root, files)
    (root / stale.RECORD).write_text(stale.show_records(records))
    return root


def test_generated_text_is_renamed_too(generated: Path, package: Path) -> None:
    commit(package)
    call("--rename", "Blur", "Smooth Image")
    now = contents(package)
    assert now["src/blur_tasks/dev/docs_info/smooth_image.md"] == (
        "- The type `smooth_image`.\n- **Blur** an image.\n"
    )
    assert (
        'output_types={"smooth_image": True}' in now["src/blur_tasks/dev/task_list.py"]
    )
    assert 'types={"smooth_image": True}' in now["src/blur_tasks/smooth_image.py"]
    assert 'types == {"smooth_image": True}' in now["tests/test_smooth_image.py"]
    assert not [line for line in stale.find_stale(generated) if "since" in line]


def test_a_function_with_the_name_of_the_task_keeps_it(package: Path) -> None:
    """As of a task from a function of the laboratory, which it imports by another name."""
    lab = '"""How to `blur`."""\n\n\ndef blur(x):\n    return x\n'
    root = package / "src" / "blur_tasks"
    (root / "lab.py").write_text(lab)
    name = "src/blur_tasks/blur.py"
    edit(name, "import logging\n", "import logging\n\nfrom .lab import blur as by\n")(
        package
    )
    edit(name, "Blur an image.", "Blur an image by `blur`.")(package)
    record_as_generated(package)
    commit(package)
    said = call("--rename", "Blur", "Smooth Image")
    now = contents(package)
    assert "Blur an image by `blur`." in now["src/blur_tasks/smooth_image.py"]
    assert now["src/blur_tasks/lab.py"] == lab
    assert "lab.py" not in said


@pytest.mark.parametrize(
    ("old", "new", "changed"),
    [
        ('method: str = "blur"', 'method: str = "box"', "arguments"),
        ("zarr_url: str,", "zarr_url: str, size: int = 2,", "arguments"),
        ("zarr_url: str,", "zarr_url: int,", "arguments"),
        ('types={"blur": True}', 'types={"blur": True, "is_3D": False}', "output"),
        ("return task_output(", "write_table(); return task_output(", "output"),
    ],
)  # fmt: skip
def test_generated_text_of_a_task_that_changed_is_stale(
    generated: Path, package: Path, old: str, new: str, changed: str
) -> None:
    assert not [*stale.find_stale(generated)]
    edit("src/blur_tasks/blur.py", old, new)(package)
    lines = [*stale.find_stale(generated)]
    for line, name in zip(
        lines, ["dev/docs_info/blur.md", "test_blur.py"], strict=True
    ):
        assert line.startswith("Blur: ")
        assert name in line
        assert f"the {changed} of the task changed" in line
    edit("tests/test_blur.py", "Blur.", "Blur by size.")(package)
    (line,) = stale.find_stale(generated)
    assert "docs_info/blur.md" in line
    edit("src/blur_tasks/dev/docs_info/blur.md", "type", "one type")(package)
    assert not [*stale.find_stale(generated)]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("2 * blur", "blur + blur"),
        ('"""Blur an image."""', '"""Blur an image.\n\n    Slowly.\n    """'),
        ('    step = Step("blur", {})\n', '    step = Step("blur", {"a": zarr_url})\n'),
    ],
    ids=["helper", "docstring", "code"],
)  # fmt: skip
def test_a_change_of_neither_arguments_nor_output_makes_nothing_stale(
    generated: Path, package: Path, old: str, new: str
) -> None:
    edit("src/blur_tasks/blur.py", old, new)(package)
    assert not [*stale.find_stale(generated)]


def test_a_placeholder_is_found(generated: Path, package: Path) -> None:
    edit("src/blur_tasks/blur.py", "Not the task:", "Twice; replace this by X:")(
        package
    )
    line, *_ = stale.find_stale(generated)
    assert line.startswith("Blur: width in blur.py is still the placeholder")


def test_an_argument_without_description_is_found(generated: Path) -> None:
    schema = {
        "properties": {"size": {"description": "Missing description"}},
        "$defs": {"Model": {"properties": {"n": {"description": "How many."}}}},
    }
    task = {"name": "Blur", "args_schema_parallel": schema}
    (generated / MANIFEST).write_text(json.dumps({"task_list": [task]}), "utf-8")
    (line,) = stale.find_stale(generated)
    assert line.startswith("Blur: size has no description")


def test_a_record_that_is_none_is_named(generated: Path) -> None:
    (generated / stale.RECORD).write_text("<<<<<<<")
    (line,) = stale.find_stale(generated)
    assert line.startswith("dev/generated.json: ")
    (generated / stale.RECORD).unlink()
    assert not [*stale.find_stale(generated)]
