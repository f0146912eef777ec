"""A package of the official template comes under this one, and keeps what it has."""

import copy
import json
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import copier
import pytest
import rendering
import yaml
from test_package import nox
from test_update import append, commit

from fractal_workbench.adopt import command as adopt

TASK = '''"""Make an image brighter."""

from pydantic import validate_call
from {runner}

from lab_tasks.utils import Limits


@validate_call
def {name}(*, zarr_url: str, limits: Limits = Limits(), factor: float = 2.0) -> None:
    """Make an image brighter.

    Args:
        zarr_url: Path of the image.
        limits: Range of the result.
        factor: How much brighter.
    """


if __name__ == "__main__":
    run_fractal_task(task_function={name})
'''
UTILS = '''"""What the tasks share."""

from pydantic import BaseModel


class Limits(BaseModel):
    """Range of the result.

    Attributes:
        low: Smallest value.
        high: Largest value.
    """

    low: int = 0
    high: int = 65535
'''
TASK_LIST = '''"""Contains the list of tasks available to fractal."""

from {models} import ParallelTask

{constants}
TASK_LIST = [
    ParallelTask(
        name="Brighten",
        executable="brighten.py",
        meta={{"cpus_per_task": 1, "mem": 4000}},
        category="Image Processing",
        tags=["brightness"],
        output_types={{"bright": True}},
        docs_info="file:docs_info/brighten.md",
    ),
    ParallelTask(name="Brighten Again", executable="more/brighten_again.py"),
]
'''
PYPROJECT = """\
[build-system]
requires = ["hatchling", "hatch-vcs"]
build-backend = "hatchling.build"

[tool.hatch.version]
source = "vcs"

[tool.hatch.build.targets.wheel]
packages = ["src/lab_tasks"]

[project]
name = "lab-tasks"
dynamic = ["version"]
description = "Tasks of the \\"lab\\""
readme = "README.md"
license = {{ text = "{license}" }}
authors = [
    {{ name = "Zoë O'Neill", email = "zoe@example.org" }},
    {{ name = "李" }},
]
requires-python = "{python}"
dependencies = [{dependencies}]

[project.optional-dependencies]
dev = ["devtools", "hatch", "jsonschema<5", 'tomli; python_version < "3.11"', "pytest"]

[tool.ruff]
line-length = 100  # ours
"""
CREATE_MANIFEST = """\
from fractal_tasks_core.dev.create_manifest import create_manifest

if __name__ == "__main__":
    create_manifest(
        package="lab_tasks",
        authors="The lab",
        docs_link="https://github.com/the-lab/lab-tasks",
        custom_pydantic_models=[("lab_tasks", "utils.py", "Limits")],
    )
"""
TEST = """\
from jsonschema import validate

import lab_tasks


def test_the_package_is_there():
    validate(instance=lab_tasks.__name__, schema={"type": "string"})
"""
CONSTANTS = """\
AUTHORS = "The lab"
DOCS_LINK = "https://github.com/the-lab/lab-tasks"
"""
INPUT_MODELS = 'INPUT_MODELS = [("lab_tasks", "utils.py", "Limits")]\n'
LAYOUTS = {
    "0.4": {
        "models": "fractal_tasks_core.dev.task_models",
        "runner": "fractal_tasks_core.tasks._utils import run_fractal_task",
        "dependencies": '"fractal-tasks-core == 1.3.4"',
        "constants": "",
        "python": ">=3.9",
        "license": "GPL-3.0",
    },
    "0.5": {
        "models": "fractal_task_tools.task_models",
        "runner": "fractal_task_tools.task_wrapper import run_fractal_task",
        # It allows a version that makes another manifest.
        "dependencies": '"fractal-task-tools"',
        "constants": CONSTANTS + INPUT_MODELS,
        "python": ">=3.11",
        "license": "BSD-3-Clause",
    },
    "0.6": {
        "models": "fractal_task_tools.task_models",
        "runner": "fractal_task_tools.task_wrapper import run_fractal_task",
        "dependencies": '"fractal-task-tools>=0.4.0,<0.5.0"',
        "constants": CONSTANTS + INPUT_MODELS,
        "python": ">=3.11,<3.15",
        "license": "BSD-3-Clause",
    },
}


ANSWERS = """\
# Changes here will be overwritten by Copier
_commit: v{layout}.1
_src_path: gh:fractal-analytics-platform/fractal-tasks-template
author_email: zoe@example.org
author_name: Zoë O'Neill
mode: quick
package_name: lab_tasks
project_name: lab-tasks
project_short_description: Another one
project_url: https://github.com/the-lab/lab-tasks
"""
MANIFEST = {
    "manifest_version": "2",
    "authors": "The lab",
    "args_schema_version": "pydantic_v2",
    "task_list": [
        {
            "name": "Brighten",
            "docs_link": "https://github.com/the-lab/lab-tasks",
            "args_schema_parallel": {
                "type": "object",
                "additionalProperties": False,
                "properties": {
                    "factor": {"type": "number", "description": "Missing description"},
                },
                "$defs": {"Limits": {"type": "object", "properties": {}}},
            },
        }
    ],
}


def write(package: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (package / name).parent.mkdir(parents=True, exist_ok=True)
        (package / name).write_text(text, encoding="utf-8", newline="\n")


def make_package(folder: Path, layout: str) -> Path:
    """Write and commit a package as the official template made them, with some edits."""
    values = LAYOUTS[layout]
    modules = "src/lab_tasks"
    files = {
        "pyproject.toml": PYPROJECT.format(**values),
        "README.md": "# Ours\n",
        "LICENSE": "Ours.\n",
        ".gitignore": "# Ours\n__pycache__/\n",
        ".copier-answers.yml": ANSWERS.format(layout=layout),
        ".github/workflows/build_and_test.yml": "name: Ours\n",
        f"{modules}/__init__.py": f'"""Ours."""\n\nimport {values["models"]}  # noqa: F401\n',
        f"{modules}/utils.py": UTILS,
        f"{modules}/brighten.py": TASK.format(name="brighten", **values),
        f"{modules}/more/brighten_again.py": TASK.format(
            name="brighten_again", **values
        ),
        f"{modules}/dev/task_list.py": TASK_LIST.format(**values),
        f"{modules}/dev/docs_info/brighten.md": "### Purpose\n- Brightens.\n",
        f"{modules}/__FRACTAL_MANIFEST__.json": json.dumps(MANIFEST),
        "tests/__init__.py": "",
        "tests/test_brighten.py": TEST,
        "tests/test_valid_manifest.py": "# From https://raw.githubusercontent.com\n",
    }
    if layout == "0.4":
        files[f"{modules}/dev/create_manifest.py"] = CREATE_MANIFEST
    write(folder, files)
    # hatch-vcs finds the version in the tag.
    commit(folder, "0.1.0")
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    """Return what is in all files of a package."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and not {".git", ".nox"} & {*path.parts}
    }


@pytest.fixture(scope="module")
def released(tmp_path_factory) -> Path:
    """Return a template of which one version is released."""
    folder = rendering.snapshot(tmp_path_factory.mktemp("released") / "template")
    commit(folder, "1.0.0")
    return folder


def run_adopt(package: Path, template: Path) -> str:
    """Adopt a package, and return the report."""
    return "\n".join(adopt.adopt(package, str(template), package.parent / "rendered"))


def follow(report: str, package: Path) -> None:
    """Do what the report leaves to do."""
    to_do = report[report.find("To do") : report.find("Not added")]
    for source, target in re.findall(r"`cp (\S+) (\S+)`", to_do):
        shutil.copy(source, target)
    task_list = package / "src/lab_tasks/dev/task_list.py"
    text = task_list.read_text(encoding="utf-8")
    for constant in re.findall(r"add `([A-Z_]+ = .+?)`", to_do):
        text += f"{constant}\n"
    task_list.write_text(text, encoding="utf-8")
    pyproject = package / "pyproject.toml"
    text = pyproject.read_text(encoding="utf-8")
    for python in re.findall(r'requires-python = "(.+?)"', to_do):
        text = re.sub('requires-python = ".+?"', f'requires-python = "{python}"', text)
    for tools in re.findall(r'"(fractal-task-tools\S+)"', to_do):
        text = text.replace('"fractal-task-tools", ', "").replace(
            '"fractal-task-tools"', ""
        )
        text = text.replace("\ndependencies = [", f'\ndependencies = ["{tools}", ')
    pyproject.write_text(text, encoding="utf-8")


@pytest.mark.long
@pytest.mark.parametrize(
    "layout", ["0.4", pytest.param("0.5", marks=pytest.mark.weekly), "0.6"]
)
def test_the_manifest_and_the_tests_work_after_the_steps_of_the_report(
    layout, released, tmp_path
):
    package = make_package(tmp_path / "lab-tasks", layout)
    tools = [] if layout == "0.4" else ["fractal-task-tools<0.5"]
    python = rendering.make_environment(
        tmp_path / "venv", "--editable", package, *tools, python=sys.executable
    )
    if layout == "0.4":
        rendering.run(python, package / "src/lab_tasks/dev/create_manifest.py")
    else:
        code = "from fractal_task_tools._cli import main; main()"
        create = ["create", "--package", "lab_tasks"]
        rendering.run(python, "-c", code, *create, cwd=package / "src")
    commit(package)

    report = run_adopt(package, released)
    follow(report, package)

    assert ("run `nox -s manifest`, which says of which type" in report) == (
        layout == "0.4"
    )
    if layout == "0.4":
        nox(package, "-s", "manifest")  # as the report says
        assert adopt.compare(package, "HEAD") == [
            "Brighten: type: None, now 'parallel'",
            "Brighten Again: type: None, now 'parallel'",
        ]
    nox(package, "-s", "manifest", "--", "--check")
    log = nox(package, "-s", "tests")
    for test in ("test_brighten.py", "test_manifest.py"):
        assert re.search(rf"{test} [.s]+ ", log)
    commit(package)
    # What the owner keeps has not drifted.
    assert "The template's own files are as the template has them" in nox(
        package, "-s", "template"
    )


@pytest.mark.parametrize("layout", LAYOUTS)
def test_files_of_the_package_stay(layout, released, tmp_path):
    package = make_package(tmp_path / "lab-tasks", layout)
    before = contents(package)
    report = run_adopt(package, released)
    after = contents(package)

    for name in before.keys() - {"pyproject.toml", ".copier-answers.yml"}:
        assert after[name] == before[name], name
    assert after["pyproject.toml"].startswith(before["pyproject.toml"])
    added = {
        "noxfile.py",
        "src/lab_tasks/dev/create_manifest.py",
        "tests/conftest.py",
        "tests/test_manifest.py",
    }
    assert added <= after.keys()
    assert not [name for name in after if "/kit/" in name]
    for name in after.keys() - before.keys():
        assert re.search(rf"\n  {re.escape(name)}(\n|: )", report), name
    assert "  .gitignore\n" in report
    assert "tests/test_valid_manifest.py: it needs the network" in report
    assert (
        "Brighten: describe, in its docstring and those of its models: factor."
        in report
    )
    # They would fail here, do harm here, or claim what is not so.
    unwanted = {
        ".github/workflows/ci.yml",
        ".github/workflows/release.yml",
        "CHANGELOG.md",
        "src/lab_tasks/py.typed",
    }
    assert not unwanted & after.keys()
    for name in unwanted:
        assert f"\n  {name}: " in report
    assert ("  CITATION.cff: the template has no" in report) == (layout == "0.4")


def test_the_answers_come_from_the_package(released, tmp_path):
    package = make_package(tmp_path / "lab-tasks", "0.6")
    run_adopt(package, released)
    answers = yaml.safe_load((package / ".copier-answers.yml").read_text("utf-8"))
    assert answers == {
        "_commit": "1.0.0",
        "_src_path": str(released),
        "examples": [],
        "kit": False,
        "github_user": "the-lab",
        "license": "BSD-3-Clause",
        "min_python": "3.11",
        "project_description": 'Tasks of the "lab"',
        "project_name": "lab-tasks",
        "publish_docs": False,
        "publish_to_pypi": False,
        "scaffold": "package",
        "tiff_readers": False,
        "user_email": "zoe@example.org",
        "user_name": "Zoë O'Neill, 李",
    }
    groups = tomllib.loads((package / "pyproject.toml").read_text("utf-8"))[
        "dependency-groups"
    ]
    assert groups["test"] == ["lab-tasks[dev]"]


def test_an_update_later_brings_the_template_and_leaves_the_owners_files(
    released, tmp_path
):
    template = shutil.copytree(released, tmp_path / "template")
    package = make_package(tmp_path / "lab-tasks", "0.5")
    owned = contents(package).keys() - {".copier-answers.yml", "pyproject.toml"}
    run_adopt(package, template)
    commit(package)
    before = contents(package)

    for path in (template / "template" / "package").rglob("*.py*"):
        append("\n# The template's.\n", path)
    (pyproject,) = (template / "template" / "package").glob("pyproject.toml*")
    text = pyproject.read_text("utf-8")
    pyproject.write_text(text.replace("ruff~=", "ruff~=9"), "utf-8")
    commit(template, "2.0.0")
    copier.run_update(package, defaults=True, overwrite=True, quiet=True)

    after = contents(package)
    assert after.keys() == before.keys()
    for name in owned:
        assert after[name] == before[name], name
    old = before["pyproject.toml"].decode()
    assert after["pyproject.toml"].decode() == old.replace("ruff~=", "ruff~=9")
    for name in (
        "noxfile.py",
        "src/lab_tasks/dev/create_manifest.py",
        "tests/conftest.py",
        "tests/test_manifest.py",
    ):
        assert after[name].endswith(b"# The template's.\n"), name


def test_an_update_leaves_out_a_file_that_the_owner_excludes(released, tmp_path):
    template = shutil.copytree(released, tmp_path / "template")
    package = make_package(tmp_path / "lab-tasks", "0.6")
    run_adopt(package, template)
    commit(package)
    append("*.swp\n", template / "template" / "package" / ".gitignore")
    commit(template, "2.0.0")
    options = {"defaults": True, "overwrite": True, "quiet": True}

    copier.run_update(package, exclude=[".gitignore"], **options)
    assert (package / ".gitignore").read_text() == "# Ours\n__pycache__/\n"
    rendering.run("git", "checkout", "--", ".", cwd=package)
    copier.run_update(package, **options)
    assert "\n*.swp\n>>>>>>> after updating\n" in (package / ".gitignore").read_text()


def replace(package: Path, name: str, old: str, new: str) -> None:
    path = package / name
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


def test_a_package_with_groups_gets_missing_requirements(released, tmp_path):
    package = make_package(tmp_path / "lab-tasks", "0.6")
    replace(
        package,
        "pyproject.toml",
        "[tool.ruff]",
        "[dependency-groups]\nlint = []\n\n[tool.ruff]",
    )
    shutil.rmtree(package / ".github")
    (package / "src/lab_tasks/dev/__init__.py").write_text("")
    commit(package)
    before = (package / "pyproject.toml").read_text(encoding="utf-8")
    report = run_adopt(package, released)
    after = (package / "pyproject.toml").read_text(encoding="utf-8")
    assert after.removeprefix(before) == (
        '\n[tool.fractal-template]\nmine = [\n  "src/lab_tasks/dev/__init__.py",\n]\n'
    )
    (missing,) = re.findall(r"add to \[dependency-groups\]:\n((?:     .+\n)+)", report)
    groups = tomllib.loads(re.sub("^ +", "", missing, flags=re.M))
    assert groups.keys() == {"test", "types"}
    for name in (
        "tests/conftest.py",
        ".github/workflows/ci.yml",
    ):
        assert (package / name).is_file()


EXTRAS = "\n[project.optional-dependencies]\n{}\n"
PYTEST = EXTRAS.format(
    'dev = ["pytest<9"]\ntests = ["pytest"]\nall = ["lab-tasks[dev]"]'
)
CI = "name: Ours\nrun: {}\nrun: pytest\n"
TESTED = {
    "by CI": (PYTEST, CI.format("python -m pip install -e .[dev]"), '"lab-tasks[dev]"'),
    "by CI, and more": (
        PYTEST,
        CI.format(
            "pip install -U pip\nrun: pip install '.[dev,all]'\nrun: pip install wget build 'a<2'"
        ),
        '"lab-tasks[all,dev]", "wget", "a<2"',
    ),
    "by name": (PYTEST, "name: Ours\n", '"lab-tasks[tests]"'),
    "by name, from elsewhere": (
        EXTRAS.format('testing = ["a @ git+https://example.org/a.git@dev"]'),
        CI.format("pip install torch --index-url https://example.org"),
        '"lab-tasks[testing]", "pytest"',
    ),
    "by a group": (
        '\n[dependency-groups]\ntesting = ["pytest<9"]\n',
        CI,
        '{ include-group = "testing" }',
    ),
    "not at all": ("", CI, '"pytest"'),
}


@pytest.mark.parametrize(("tables", "workflow", "wanted"), TESTED.values(), ids=TESTED)
def test_its_tests_run_with_the_same_requirements_as_before(
    released, tmp_path, tables, workflow, wanted
):
    package = make_package(tmp_path / "lab-tasks", "0.6")
    pyproject = package / "pyproject.toml"
    text = re.sub(r"\n\[project.opt[^\[]+\[.*", "", pyproject.read_text("utf-8"))
    pyproject.write_text(text + tables, encoding="utf-8")
    write(package, {".github/workflows/build_and_test.yml": workflow})
    commit(package)
    report = run_adopt(package, released)
    added = pyproject.read_text("utf-8").removeprefix(text + tables)
    assert f"test = [{wanted}]\n" in (report if "group" in wanted else added)


def judge(package: Path, *paths: str) -> str:
    """Return what the owner's ruff says."""
    said = ""
    for command in (["check", "--output-format=concise"], ["format", "--check"]):
        options = ("--no-cache", "--quiet", "--force-exclude", *paths)
        done = subprocess.run(
            ["ruff", *command, *options],
            cwd=package,
            capture_output=True,
            text=True,
            check=False,
        )
        said += done.stdout + done.stderr
    return said


@pytest.mark.parametrize("file", ["pyproject.toml", "ruff.toml"])
@pytest.mark.parametrize("layout", ["0.4", "0.6"])
def test_the_lint_of_the_owner_has_the_same_result(released, tmp_path, layout, file):
    package = make_package(tmp_path / "lab-tasks", layout)
    # Without INP001, as `dev` becomes a package.
    rules = "line-length = 100\n[{0}lint]\nselect = ['ALL']\nignore = ['INP001']\n[{0}format]\nquote-style = 'single'\n"
    text, _, _ = (
        (package / "pyproject.toml").read_text("utf-8").partition("[tool.ruff]")
    )
    if file == "ruff.toml":
        write(package, {"pyproject.toml": text, file: rules.format("")})
    else:
        write(package, {file: text + "[tool.ruff]\n" + rules.format("tool.ruff.")})
    commit(package)
    before = judge(package)
    for name in ("brighten.py", "dev/task_list.py"):
        assert before.count(f"src/lab_tasks/{name}") >= 2
    run_adopt(package, released)
    assert judge(package) == before
    # As a hook calls it.
    files = sorted(name for name in contents(package) if name.endswith(".py"))
    assert sorted(judge(package, *files)) == sorted(before)


def test_a_ruff_file_that_would_hide_ours_is_left_to_the_owner(released, tmp_path):
    package = make_package(tmp_path / "lab-tasks", "0.6")
    write(package, {".ruff.toml": "line-length = 100\n"})
    commit(package)
    report = run_adopt(package, released)
    assert (package / ".ruff.toml").read_text() == "line-length = 100\n"
    (lines,) = re.findall(r"add to it:\n(extend-exclude = \[\n(?:  .+\n)+\])", report)
    append(f"{lines}\n", package / ".ruff.toml")
    assert "kit" not in judge(package)
    assert "noxfile.py" not in judge(package)


@pytest.mark.parametrize("overrides", ["", "[[tool.mypy.overrides]]\nmodule = 'a'\n"])
def test_the_owners_types_are_as_they_were(
    released, tmp_path, richest_python, overrides
):
    package = make_package(tmp_path / "lab-tasks", "0.6")
    append(
        f"\n[tool.mypy]\nfiles = ['src']\nstrict = true\ndisallow_any_expr = true\n{overrides}",
        package / "pyproject.toml",
    )
    commit(package)

    def errors() -> list[str]:
        done = subprocess.run(
            [richest_python, "-m", "mypy", "--cache-dir", tmp_path / "mypy"],
            cwd=package,
            stdout=subprocess.PIPE,
            text=True,
            check=False,
        )
        return done.stdout.splitlines()[:-1]

    before = errors()
    assert "src/lab_tasks/dev/task_list.py" in "".join(before)
    run_adopt(package, released)
    assert errors() == before


def set_name(name):
    return lambda package: replace(
        package, "pyproject.toml", '"lab-tasks"', f'"{name}"'
    )


REFUSED = {
    "no package": (
        lambda package: (package / "pyproject.toml").unlink(),
        "has no pyproject.toml",
    ),
    "no project": (
        lambda package: replace(package, "pyproject.toml", "[project]", "[other]"),
        r"has no \[project\] with a name",
    ),
    "bad TOML": (
        lambda package: replace(package, "pyproject.toml", "[project]", "[project"),
        "is not valid: ",
    ),
    "bad requirement": (
        lambda package: replace(
            package, "pyproject.toml", "jsonschema<5", "json schema"
        ),
        "has a file that is not valid: .*json schema",
    ),
    "bad manifest": (
        lambda package: replace(
            package, "src/lab_tasks/__FRACTAL_MANIFEST__.json", "{", "<<<"
        ),
        "has a file that is not valid: ",
    ),
    "capitals": (set_name("Lab-Tasks"), 'write the name "Lab-Tasks" as "lab-tasks"'),
    "another import name": (
        set_name("other-tasks"),
        "modules of other-tasks are in src/lab_tasks, and have to be in src/other_tasks",
    ),
    "a name that the template refuses": (
        lambda package: (
            set_name("numpy")(package),
            (package / "src/lab_tasks").rename(package / "src/numpy"),
        ),
        "Choose another name: numpy already means",
    ),
    "no src": (
        lambda package: (package / "src/lab_tasks").rename(package / "lab_tasks"),
        "modules of lab-tasks are in lab_tasks, and have to be in src/lab_tasks",
    ),
    "no tasks": (
        lambda package: (package / "src/lab_tasks/dev/task_list.py").unlink(),
        "has no src/lab_tasks/dev/task_list.py",
    ),
    "an old Python only": (
        lambda package: replace(
            package, "pyproject.toml", '">=3.11,<3.15"', '"==3.10.*"'
        ),
        r'"==3.10.\*" leaves out all of Python 3.11, 3.12, 3.13',
    ),
    "an address that the template refuses": (
        lambda package: replace(package, "pyproject.toml", "zoe@example.org", "zoe"),
        "'user_email': Use an address such as",
    ),
    "adopted already": (
        lambda package: replace(package, ".copier-answers.yml", "mode:", "min_python:"),
        "under this template already: run `copier update`",
    ),
}


@pytest.mark.parametrize(("change", "message"), REFUSED.values(), ids=REFUSED)
def test_unsupported_packages_are_rejected_before_anything_is_written(
    change, message, released, tmp_path
):
    package = make_package(tmp_path / "lab-tasks", "0.6")
    change(package)
    commit(package)
    before = contents(package)
    with pytest.raises(adopt.Rejected, match=f"(?s){message}"):
        run_adopt(package, released)
    assert contents(package) == before


def test_a_package_that_git_can_not_bring_back_is_refused(released, tmp_path):
    package = make_package(tmp_path / "lab-tasks", "0.6")
    (package / "README.md").write_text("Not committed")
    with pytest.raises(adopt.Rejected, match=r"not committed: .*\n.* M README.md"):
        run_adopt(package, released)
    shutil.rmtree(package / ".git")
    with pytest.raises(adopt.Rejected, match="not under git"):
        run_adopt(package, released)
    assert not (package / "noxfile.py").exists()


OF_OTHERS = {
    "hook": (
        {
            ".pre-commit-config.yaml": "repos:\n- repo: https://github.com/abravalheri/"
            "validate-pyproject\n  rev: v0.15\n"
        },
        "make the rev of validate-pyproject v0.21 or later",
    ),
    "new hook": (
        {
            ".pre-commit-config.yaml": "repos:\n- repo: https://github.com/abravalheri/"
            "validate-pyproject\n  rev: v0.24.1\n- repo: local\n"
        },
        None,
    ),
    "pixi": ({"pixi.toml": ""}, "run `pixi lock`"),
    "matrix": (
        {".github/workflows/test.yml": "python-version: ['3.10', '3.11']\n"},
        "Take older ones out of .github/workflows/test.yml, too.",
    ),
}


@pytest.mark.parametrize(("files", "says"), OF_OTHERS.values(), ids=OF_OTHERS)
def test_needs_of_other_tools_of_the_owner_are_reported(
    released, tmp_path, files, says
):
    package = make_package(tmp_path / "lab-tasks", "0.4")
    write(package, files)
    commit(package)
    report = run_adopt(package, released)
    assert says in report if says else "validate-pyproject" not in report
    groups = tomllib.loads((package / "pyproject.toml").read_text())
    assert ("dev" in groups["dependency-groups"]) == ("pixi.toml" not in files)


def test_a_wheel_that_would_have_no_kit_is_told(released, tmp_path):
    package = make_package(tmp_path / "lab-tasks", "0.6")
    append(
        '\n[tool.setuptools.packages.find]\ninclude = ["lab_tasks"]\n',
        package / "pyproject.toml",
    )
    commit(package)
    assert 'add "lab_tasks.*" to [tool.setuptools' in run_adopt(package, released)


def test_arguments_without_a_form_and_changes_of_the_manifest_are_reported(
    released, tmp_path
):
    package = make_package(tmp_path / "lab-tasks", "0.4")
    manifest = copy.deepcopy(MANIFEST)
    schema = manifest["task_list"][0]["args_schema_parallel"]
    schema["properties"]["names"] = {"type": "array", "items": {}, "title": "Names"}
    schema["$defs"]["ChannelInputModel"] = {"properties": {}}
    file = package / "src/lab_tasks/__FRACTAL_MANIFEST__.json"
    file.write_text(json.dumps(manifest))
    commit(package)
    report = run_adopt(package, released)
    assert "Brighten: the web form cannot show names: take one type" in report
    models = (
        "[('lab_tasks', 'utils.py', 'Limits'), ('fractal_tasks_core', 'channels.py'"
    )
    assert f"add `INPUT_MODELS = {models}, 'ChannelInputModel')]`" in report


def test_a_manifest_of_another_pydantic_is_made_by_older_tools(released, tmp_path):
    package = make_package(tmp_path / "lab-tasks", "0.5")
    manifest = json.dumps(MANIFEST | {"args_schema_version": "pydantic_v1"})
    (package / "src/lab_tasks/__FRACTAL_MANIFEST__.json").write_text(manifest)
    commit(package)
    assert 'make it "fractal-task-tools<0.5"' in run_adopt(package, released)


def test_a_version_of_the_template_that_exists_nowhere_is_not_recorded(tmp_path):
    template = rendering.snapshot(tmp_path / "template")
    commit(template)
    (template / "template" / "package" / "noxfile.py").write_text("# Not committed.\n")
    package = make_package(tmp_path / "lab-tasks", "0.6")
    with pytest.raises(
        adopt.Rejected, match="has changes that are not committed: the package"
    ):
        run_adopt(package, template)
    with pytest.raises(RuntimeError, match=r"committed: the package.*\nNothing was"):
        rendering.workbench("adopt", package, "--template", template)
    assert not (package / "noxfile.py").exists()


def test_an_underscore_in_the_name_is_a_hyphen_to_the_template(released, tmp_path):
    package = make_package(tmp_path / "lab-tasks", "0.6")
    set_name("lab_tasks")(package)
    commit(package)
    run_adopt(package, released)
    answers = (package / ".copier-answers.yml").read_text(encoding="utf-8")
    assert "\nproject_name: lab-tasks\n" in answers


def test_a_change_of_the_tasks_is_told_task_by_task():
    def schema(**arguments):
        return {"type": "object", "properties": arguments, "$defs": {"Box": arguments}}

    before = {"authors": "A", "task_list": [{"name": "Gone"}, {"name": "Kept"}]}
    after = {"authors": "B", "task_list": [{"name": "Kept"}, {"name": "New"}]}
    before["task_list"][1] |= {
        "args_schema_parallel": schema(x=1, y=1),
        "docs_info": "a",
    }
    after["task_list"][0] |= {
        "args_schema_parallel": schema(x=2, z=1),
        "docs_info": "b",
    }
    after["task_list"][0]["executable_parallel"] = "kept.py"
    assert list(adopt.differences(before, before)) == []
    assert list(adopt.differences(before, after)) == [
        "authors: 'A', now 'B'",
        "Gone: is gone",
        "New: is new",
        "Kept: argument x differs",
        "Kept: argument y is gone",
        "Kept: argument z is new",
        "Kept: model Box differs",
        "Kept: docs_info differs",
        "Kept: executable_parallel: None, now 'kept.py'",
    ]


def test_the_command_explains_a_rejection(tmp_path):
    with pytest.raises(RuntimeError, match=r"no Python package.*\nNothing was written"):
        rendering.workbench("adopt", tmp_path)
    assert "--compare" in nox(rendering.ROOT, "-s", "adopt", "--", "--help")


def test_a_package_follows_the_template_that_the_workbench_came_from(
    released, tmp_path
):
    """Rendered files stay beside the package, as the report says, and are no change."""
    package = make_package(tmp_path / "lab-tasks", "0.6")
    python = rendering.make_environment(
        tmp_path / "venv",
        f"fractal-workbench[adopt] @ git+{released.as_uri()}#subdirectory=workbench",
        python=sys.executable,
    )
    report = rendering.run(python, "-m", "fractal_workbench", "adopt", package)
    answers = yaml.safe_load((package / ".copier-answers.yml").read_text("utf-8"))
    assert answers["_commit"] == "1.0.0"
    assert answers["_src_path"] == f"git+{released.as_uri()}"
    (command,) = re.findall(r"^  (git diff --no-index .+)$", report, re.MULTILINE)
    for path in command.split()[-2:]:
        assert Path(path).is_file()
    assert ".nox" not in rendering.run("git", "status", "--porcelain", cwd=package)


@pytest.mark.long
@pytest.mark.parametrize(
    "dependency",
    [
        pytest.param("", id="bare"),
        pytest.param('"ome-zarr>=0.18", ', id="zarr", marks=pytest.mark.weekly),
    ],
)
def test_its_workflows_are_planned_and_run(released, tmp_path, dependency):
    """With the image layer of the template, and without."""
    package = make_package(tmp_path / "lab-tasks", "0.6")
    replace(
        package, "pyproject.toml", "dependencies = [", f"dependencies = [{dependency}"
    )
    commit(package)
    follow(run_adopt(package, released), package)
    nox(package, "-s", "manifest")
    (tmp_path / "images" / "a").mkdir(parents=True)
    images = tmp_path / "images.json"
    images.write_text(json.dumps([{"zarr_url": str(tmp_path / "images" / "a")}]))
    workflow = tmp_path / "workflow.json"
    task = {"pkg_name": "lab-tasks", "name": "Brighten"}
    workflow.write_text(json.dumps({"name": "w", "task_list": [{"task": task}]}))
    command = ("-s", "run", "--", workflow, "--zarr-dir", tmp_path / "images")
    command += ("--images", images)
    assert "Brighten" in nox(package, *command, "--plan")
    nox(package, *command)
    assert "bright" in (tmp_path / "images" / "report.html").read_text("utf-8")
    assert "Session workflow was" in nox(package, "-s", "workflow")
