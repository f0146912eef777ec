"""The forms and the manifest of any package: published, in a folder, or in this one."""

import json
import re
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest
from packaging.requirements import Requirement
from rendering import workbench

from fractal_workbench.engine import packages, rules
from fractal_workbench.form.source import find_package

FIELD = {"type": "number", "title": "Sigma", "description": "Width.", "default": 1.5}
SCHEMA = {
    "additionalProperties": False,
    "type": "object",
    "properties": {"zarr_url": {"type": "string", "title": "Url"}, "sigma": FIELD},
    "required": ["zarr_url"],
}
TASK = {
    "name": "Blur",
    "type": "parallel",
    "executable_parallel": "blur.py",
    "args_schema_parallel": SCHEMA,
}
MANIFEST = {
    "manifest_version": "2",
    "args_schema_version": "fractal_schema_v1",
    "has_args_schemas": True,
    "authors": "A",
    "task_list": [TASK],
}
TASK_LIST = """
from fractal_task_tools.task_models import ParallelTask

AUTHORS = "A"
TASK_LIST = [ParallelTask(name="Blur", executable="blur.py")]
"""


@pytest.fixture
def official(tmp_path: Path) -> Path:
    """A package with the layout of the official template, which was never adopted."""
    package = tmp_path / "their-tasks"
    modules = package / "src" / "their_tasks"
    (modules / "dev").mkdir(parents=True)
    project = '[project]\nname = "their-tasks"\nversion = "0.1.0"\n'
    (package / "pyproject.toml").write_text(project)
    (modules / "__init__.py").write_text("raise RuntimeError('imported')")
    (modules / "blur.py").write_text("def blur(*, zarr_url: str, sigma=1.5): ...")
    (modules / "dev" / "task_list.py").write_text(TASK_LIST)
    (modules / "__FRACTAL_MANIFEST__.json").write_text(json.dumps(MANIFEST))
    return package


def read_data(page: Path) -> Any:
    """Return what a page knows of the tasks."""
    data = re.search(r"^const DATA = (.*);$", page.read_text("utf-8"), re.MULTILINE)
    assert data
    return json.loads(data[1])


def test_the_forms_of_a_published_package_are_shown(tmp_path: Path) -> None:
    package = ("--package", "fractal-tasks-core==2.1.0")
    said = workbench("form", *package, "page.html", cwd=tmp_path)
    page = tmp_path / "page.html"
    assert said == f"The forms of 9 tasks: {page.as_uri()}\n"
    data = read_data(page)
    keys = ("package", "package_version", "schema_version")
    expected = ("fractal-tasks-core", "2.1.0", "fractal_schema_v1")
    assert {tuple(task[key] for key in keys) for task in data["tasks"]} == {expected}
    parts = [part for task in data["tasks"] for part in task["parts"]]
    assert len(parts) == 12
    assert not [part["error"] for part in parts if "error" in part]
    (projection,) = (t for t in data["tasks"] if t["name"] == "Project Image")
    assert projection["parts"][0]["initial"]["method"] == "Maximum intensity projection"
    said = workbench("check-manifest", *package, cwd=tmp_path)
    assert said == "fractal-tasks-core: nothing is wrong with its 9 tasks\n"


def test_a_package_of_the_official_template_is_served_as_it_is(official: Path) -> None:
    assert "The forms of 1 task: " in workbench("form", cwd=official)
    data = read_data(official / ".nox" / "form" / "index.html")
    assert data["tasks"][0]["parts"][0]["initial"] == {"sigma": 1.5}
    said = workbench("check-manifest", cwd=official)
    assert said == "their-tasks: nothing is wrong with its 1 task\n"

    step = {"task": {"pkg_name": "their-tasks", "name": "Blur"}}
    workflow = {"name": "W", "task_list": [step | {"args_parallel": {"sigma": 2}}]}
    (official / "workflow.json").write_text(json.dumps(workflow))
    (official / "images.json").write_text(json.dumps([{"zarr_url": "/data/a.zarr"}]))
    options = ("--zarr-dir", "/data", "--images", "images.json", "--plan")
    said = workbench("run", "workflow.json", *options, cwd=official)
    assert "[1/1] Blur (parallel)" in said
    assert "sigma = 2" in said
    workflow["task_list"][0]["args_parallel"] = {"sigma": "wide"}
    (official / "workflow.json").write_text(json.dumps(workflow))
    with pytest.raises(RuntimeError, match="'Blur', sigma: 'wide' is not of type 'num"):
        workbench("run", "workflow.json", *options, cwd=official)


def test_a_package_in_a_folder_or_installed_is_read_and_not_imported(
    official: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = find_package(f"their-tasks @ {official.as_uri()}")
    assert list(package.tasks) == ["Blur"]
    monkeypatch.syspath_prepend(official / "src")
    assert find_package("Their_Tasks").root == official / "src" / "their_tasks"


def test_a_wheel_is_read_by_its_path(official: Path, tmp_path: Path) -> None:
    """None of its code runs, also if it is called as its package in the current folder."""
    about = "Metadata-Version: 2.1\nName: their-tasks\nVersion: 7.0\n"
    files = {
        "their_tasks/__init__.py": "raise RuntimeError('imported')",
        "their_tasks/__FRACTAL_MANIFEST__.json": json.dumps(MANIFEST),
        "their_tasks-7.0.dist-info/METADATA": about,
        "their_tasks-7.0.dist-info/WHEEL": "Wheel-Version: 1.0\nTag: py3-none-any\n",
    }
    record = [f"{name},," for name in (*files, "their_tasks-7.0.dist-info/RECORD")]
    files["their_tasks-7.0.dist-info/RECORD"] = "\n".join(record) + "\n"
    (official / "dist").mkdir()
    wheel = official / "dist" / "their_tasks-7.0-py3-none-any.whl"
    with ZipFile(wheel, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    nothing_wrong = "their-tasks: nothing is wrong with its 1 task\n"
    for place, folder in (
        ("dist/", official),
        ("", wheel.parent),
        ("./", wheel.parent),
    ):
        path = place + wheel.name
        said = workbench("check-manifest", "--package", path, cwd=folder)
        assert said == nothing_wrong
    workbench("form", "page.html", "--package", wheel, cwd=tmp_path)
    (task,) = read_data(tmp_path / "page.html")["tasks"]
    assert task["package_version"] == "7.0"


def test_each_task_with_a_mistake_is_listed(official: Path) -> None:
    folder = {"type": "string", "format": "path", "default": "a"}
    wrong = {
        "name": "Odd",
        "args_schema_parallel": SCHEMA | {"properties": {"p": folder}},
    }
    file = official / "src" / "their_tasks" / "__FRACTAL_MANIFEST__.json"
    tasks = [TASK, TASK | wrong, TASK | {"name": "T", "category": ""}]
    file.write_text(json.dumps(MANIFEST | {"task_list": tasks}))
    with pytest.raises(RuntimeError) as error:
        workbench("check-manifest", file, cwd=official.parent)
    assert str(error.value).splitlines()[-2:] == [
        "Odd: argument `p` or its default breaks the web form: it knows no format path: take a `str`",
        "T: category: String should have at least 1 character (correct it, or leave it out)",
    ]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("form",), "has no task package: .*or name another package by --package"),
        (("form", "--package", "=3"), "--package '=3': Expected package name"),
        (
            ("docs", "--package", "dist/a-1-py3-none-any.whl"),
            "there is no file /.*/dist/a",
        ),
        (("form", "--package", "list.whl"), "list.whl': Invalid wheel filename"),
        (
            ("form", "--package", "pytest"),
            "pytest is no package of Fractal tasks: it has",
        ),
        (
            ("check-manifest", "--package", "fractal-tasks-core==99"),
            "--package 'fractal-tasks-core==99': .* the newest versions are",
        ),
        (
            ("form", "--package", "a @ git+https://localhost/a"),
            "https://localhost/a, which is built: .*: give a wheel",
        ),
        (("check-manifest", "none.json"), "File 'none.json' does not exist"),
        (("check-manifest", "list.json"), "the manifest: Input should be a valid dict"),
        (("check-manifest", "list.json", "--package", "a"), "or --package, not both"),
    ],
)
def test_unreadable_files_are_named(
    tmp_path: Path, arguments: tuple[str, ...], says: str
) -> None:
    (tmp_path / "list.json").write_text("[]")
    (tmp_path / "list.whl").touch()
    with pytest.raises(RuntimeError, match=f"(?s){says}") as error:
        workbench(*arguments, cwd=tmp_path)
    assert "Traceback" not in str(error.value)


def test_records_of_an_older_workbench_are_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They lack the version of the schemas, which decides what the form sends."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    manifest = rules.Manifest.model_validate(MANIFEST).model_dump(mode="json")
    release = packages.Release(Requirement("a==1"), "1", "", "", manifest)
    packages.keep(release)
    assert packages.read_release(release.requirement) == release
    del manifest["args_schema_version"]
    packages.keep(release)
    assert packages.read_release(release.requirement) is None
