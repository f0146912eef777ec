"""Copier asks its questions, and rejects invalid answers."""

import ast
import json
import keyword
import re
import string
import sys
import tomllib
from pathlib import Path

import copier
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rendering import QUESTIONS, ROOT, import_folder, run

# Letters that break the quoting of one of the formats, and of other scripts.
NASTY = "\"'\\`{}[]<>#%&*!|@:,;$~é µ李אЖ\N{RIGHT SINGLE QUOTATION MARK}\N{SNAKE}\u200d\ufeff"
LINES = (
    st.one_of(
        st.text(st.sampled_from(NASTY + string.ascii_letters)),
        st.text(
            st.characters(
                exclude_categories=["Cc", "Cs"],
                exclude_characters="\u2028\u2029\ufffe\uffff",
            )
        ),
    )
    .map(str.strip)
    .filter(bool)
)


def test_copier_asks_these_questions_in_this_order():
    assert list(QUESTIONS) == [
        "project_name",
        "project_description",
        "user_name",
        "user_email",
        "github_user",
        "license",
        "examples",
        "min_python",
        "publish_to_pypi",
        "publish_docs",
    ]
    assert len((ROOT / "copier.yml").read_text().splitlines()) <= 160


@pytest.mark.parametrize("name", QUESTIONS)
def test_a_question_has_a_type_one_sentence_of_help_and_a_default(name):
    question = QUESTIONS[name]
    assert {"type", "help", "default"} <= question.keys()
    assert question["help"][-1] in ".?"
    assert ". " not in question["help"]
    # Copier refuses what is not among the choices, and lists them.
    assert {"validator", "choices"} & question.keys()


def test_another_name_of_the_modules_is_rejected(template, tmp_path):
    """It is not recorded: nox and updates would look for the modules elsewhere."""
    options = {"defaults": True, "quiet": True, "settings": copier.Settings()}
    answers = {"project_name": "cell-tasks", "examples": []}
    with pytest.raises(ValueError, match="leave out package_name"):
        copier.run_copy(
            *(str(template), tmp_path / "package"),
            data=answers | {"package_name": "cells"},
            **options,
        )
    assert not (tmp_path / "package").exists()


def test_an_answer_without_a_question_is_refused(render, tmp_path):
    with pytest.raises(ValueError, match="no question"):
        render(tmp_path, projekt_name="x")


@pytest.mark.parametrize(
    "name",
    ["My-Tasks", "my_tasks", "my--tasks", "-tasks", "tasks-", "1-task", "", "a b", "a" * 41, "tasks\n", "ångström"],
)  # fmt: skip
def test_a_name_that_fractal_can_not_collect_is_refused(render, tmp_path, name):
    with pytest.raises(ValueError, match="at most 40 of a-z"):
        render(tmp_path, project_name=name)


@pytest.mark.parametrize(
    ("folder", "name"),
    [
        ("cell-tasks", "cell-tasks"),
        ("lab/Cell_Tasks/.", "cell-tasks"),
        ("3d", "my-fractal-tasks"),
        ("numpy", "my-fractal-tasks"),
        ("zebrafish tasks", "my-fractal-tasks"),
    ],
)
def test_the_name_of_the_folder_is_suggested_if_it_can_be_one(
    template, tmp_path, folder, name
):
    """In the folder of another name, an update keeps the answer."""
    package = tmp_path / folder
    options = {"defaults": True, "quiet": True, "settings": copier.Settings()}
    copier.run_copy(str(template), package, data={"examples": []}, **options)
    moved = package.resolve().rename(tmp_path / "elsewhere")
    copier.run_recopy(moved, overwrite=True, **options)
    recorded = yaml.safe_load((moved / ".copier-answers.yml").read_text("utf-8"))
    assert recorded["project_name"] == name
    assert import_folder(moved).name == name.replace("-", "_")


@pytest.mark.parametrize(
    "name", ["lambda", "json", "numpy", "scikit-image", "skimage", "gaussian-blur", "tests", "dev", "kit"]
)  # fmt: skip
def test_a_name_that_is_taken_is_refused(render, tmp_path, name):
    with pytest.raises(ValueError, match="already means"):
        render(tmp_path, project_name=name)


def test_the_list_of_taken_names_is_complete(richest, richest_python):
    """The list is a file, so that rendering needs no Python with the dependencies."""
    listed = (ROOT / "template" / "reserved_names.txt").read_text().split()
    assert listed == sorted(set(listed))
    dependencies = run(
        richest_python,
        "-c",
        "from importlib.metadata import *\n"
        "print(*packages_distributions(), *(d.name for d in distributions()))",
    )
    modules = import_folder(richest)
    names = {
        *sys.stdlib_module_names,
        *keyword.kwlist,
        *dependencies.split(),
        *(path.stem for path in modules.iterdir()),
    }
    # Some file systems do not tell `pil` from `PIL`.
    taken = {re.sub(r"[-.]", "_", name).lower() for name in names} - {modules.name}
    missing = {name for name in taken - set(listed) if name[0].isalpha()}
    assert not missing, f"add to reserved_names.txt: {sorted(missing)}"


@pytest.mark.parametrize(
    "answers",
    [
        {"project_description": ""},
        {"project_description": "two\nlines"},
        {"user_name": " "},
        {"user_name": "nul\0"},
        {"user_name": "line\u2028separator"},
        {"user_email": "nobody"},
        {"user_email": "a b@example.org"},
        {"github_user": "some/one"},
        {"github_user": "a" * 40},
        {"license": "WTFPL"},
        {"examples": ["gaussian_blur", "unknown"]},
        {"min_python": "3.10"},
        {"publish_to_pypi": "maybe"},
        {"publish_docs": "maybe"},
    ],
    ids=str,
)
def test_an_invalid_answer_is_refused_before_anything_is_written(
    render, tmp_path, answers
):
    (name,) = answers
    with pytest.raises(ValueError, match=name) as error:
        render(tmp_path / "package", **answers)
    choices = QUESTIONS[name].get("choices", [])
    for choice in choices.values() if isinstance(choices, dict) else choices:
        assert repr(choice) in str(error.value)
    assert not (tmp_path / "package").exists()


@settings(
    max_examples=settings.default.max_examples // 8,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
@given(description=LINES, author=LINES)
def test_free_text_arrives_as_it_was_typed(
    render, tmp_path_factory, description, author
):
    package = render(
        tmp_path_factory.mktemp("text") / "package",
        project_description=description,
        user_name=author,
        examples=[],
    )
    read = read_text(package)
    project = tomllib.loads(read["pyproject.toml"])["project"]
    assert project["description"] == description
    assert project["authors"] == [{"name": author}]
    citation = yaml.safe_load(read["CITATION.cff"])
    assert citation["abstract"] == description
    assert citation["authors"] == [{"name": author}]
    assert f"Copyright (c) {author}\n" in read["LICENSE"]
    answers = yaml.safe_load(read[".copier-answers.yml"])
    assert (answers["project_description"], answers["user_name"]) == (
        description,
        author,
    )
    assert json.loads(read["__FRACTAL_MANIFEST__.json"])["authors"] == author
    constants = [
        node.value
        for node in ast.walk(ast.parse(read["task_list.py"]))
        if isinstance(node, ast.Constant)
    ]
    assert author in constants
    run("ruff", "check", ".", cwd=package)
    run("ruff", "format", "--check", ".", cwd=package)


def read_text(package: Path) -> dict[str, str]:
    return {
        path.name: path.read_text(encoding="utf-8")
        for path in package.rglob("*")
        if path.is_file()
    }
