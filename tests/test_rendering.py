"""Every kind of package that the template can render, before anything of it is run."""

import ast
import json
import re
import shutil
import subprocess
import sys
import tomllib
from functools import cache
from importlib.metadata import packages_distributions
from itertools import combinations
from pathlib import Path
from typing import Any
from unittest.mock import patch

import codespell_lib
import copier
import jinja2
import pytest
import yaml
from packaging.specifiers import SpecifierSet
from rendering import EXAMPLES, QUESTIONS, ROOT, import_folder, run
from repo_review.processor import process

from fractal_workbench.template.command import TEMPLATE_OWNED

PACKAGE = ROOT / "template" / "package" / "src" / "{{ package_name }}"
RULES = PACKAGE / "kit" / "ruff.toml"
# Answers to the questions that have no choices.
TYPED = {
    "project_name": ["a", "a-name-of-just-as-many-letters-as-can-be"],
    "project_description": ["Say \"it\", with 'quotes' and a \\."],
    "user_name": ['Zoë "Zed" O\'Neill & 李'],
    "user_email": ["tasks@example.org"],
    "github_user": ["fractal-lab"],
}


def cases() -> dict[str, dict[str, Any]]:
    """Return the answers of each package: all examples, none, and every other answer once."""
    found: dict[str, dict[str, Any]] = {"defaults": {}, "no-example": {"examples": []}}
    for example in EXAMPLES:
        others = [name for name in EXAMPLES if name != example]
        found[f"only-{example}"] = {"examples": [example]}
        found[f"without-{example}"] = {"examples": others}
    for name, question in QUESTIONS.items():
        if name == "examples":
            continue
        answers = TYPED.get(name) or question["choices"]
        if isinstance(answers, dict):
            answers = answers.values()
        for answer in answers:
            if answer != question["default"]:
                found[f"{name}: {answer}"] = {name: answer}
    found["no-example, with the kit"] = {"examples": [], "kit": True}
    return found


CASES = cases()


class Package:
    """A rendered package and the answers that led to it."""

    def __init__(self, folder: Path, given: dict[str, Any]) -> None:
        self.folder = folder
        self.given = given
        self.answers = yaml.safe_load(self.read(".copier-answers.yml"))
        self.modules = import_folder(folder)
        self.pyproject = tomllib.loads(self.read("pyproject.toml"))
        self.project = self.pyproject["project"]

    def read(self, path: str) -> str:
        return (self.folder / path).read_text(encoding="utf-8")

    def files(self, pattern: str = "*") -> list[Path]:
        return [path for path in self.folder.rglob(pattern) if path.is_file()]

    def owned(self) -> list[Path]:
        """Return the Python files that stay as the template has them."""
        found = [path for name in TEMPLATE_OWNED for path in self.folder.glob(name)]
        return [p for p in found if p.suffix == ".py" and p.name != "task_list.py"]


def check_recorded_answers(package: Package) -> None:
    """All answers are in the file that updates read."""
    for name, answer in package.given.items():
        assert package.answers[name] == answer
    recorded = {name for name in package.answers if not name.startswith("_")}
    assert recorded - {"kit", "scaffold", "tiff_readers"} == QUESTIONS.keys()


def check_kit(package: Package) -> None:
    """The kit, its dependencies and the fixtures for images come with the first task."""
    has_kit = package.answers["kit"]
    assert has_kit == bool(package.answers["examples"] or package.given.get("kit"))
    assert (package.modules / "kit").exists() == has_kit
    assert ("make_image" in package.read("tests/conftest.py")) == has_kit
    assert ("zarr" in str(package.project["dependencies"])) == has_kit


def check_template_syntax(package: Package) -> None:
    """No template syntax is left."""
    for path in package.files():
        assert not re.search(r"[{}]|jinja", str(path.relative_to(package.folder)))
        text = path.read_text(encoding="utf-8")
        # GitHub's own expressions begin with a dollar sign.
        assert not re.search(r"(?<!\$)\{\{[ -]|\{%|%\}|\{#", text), path


def check_syntax(package: Package) -> None:
    """Python and YAML files parse."""
    for path in package.files("*.py"):
        compile(path.read_text(encoding="utf-8"), path, "exec", dont_inherit=True)
    for path in [*package.files("*.yml"), *package.files("*.yaml")]:
        yaml.safe_load(path.read_text(encoding="utf-8"))


def check_lint(package: Package) -> None:
    """The package passes its own lint."""
    run("ruff", "check", "--no-cache", ".", cwd=package.folder)
    log = run("ruff", "format", "--no-cache", "--check", ".", cwd=package.folder)
    # Ruff passes over a folder such as `.nox` in silence.
    assert "files already formatted" in log


def check_lint_of_the_template(package: Package) -> None:
    """The package leaves to the template what is not in `kit`, and is tested here."""
    config = ("--no-cache", "--config", RULES)
    files = package.owned()
    # They print, and the tests are named by what they say.
    ignored = "--extend-per-file-ignores=**/dev/*:T20,tests/*:D"
    run("ruff", "check", *config, ignored, *files, cwd=package.folder)
    run("ruff", "format", "--check", *config, *files, cwd=package.folder)


def check_rules_of_the_kit(package: Package) -> None:
    """The kit is linted by the rules of a fresh package."""
    kit = tomllib.loads(RULES.read_text("utf-8"))
    lint = package.pyproject["tool"]["ruff"]["lint"]
    assert kit["lint"]["select"] == lint["select"]
    assert kit["lint"]["pydocstyle"] == lint["pydocstyle"]
    assert {*kit["lint"]["ignore"]} <= {*lint["ignore"]}


def check_whitespace(package: Package) -> None:
    """Editors and hooks have no whitespace to repair."""
    for path in package.files():
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"[ \t]\n", text), path
        assert not text or re.search(r"[^\n]\n\Z", text), path


def check_examples(package: Package) -> None:
    """The package has exactly the chosen examples."""
    text = "\n".join(path.read_text("utf-8") for path in package.files("task_list.py"))
    for example in EXAMPLES:
        modules = list(package.modules.glob(f"{example}*.py"))
        chosen = example in package.answers["examples"]
        assert bool(modules) == chosen
        assert bool(package.files(f"{example}.md")) == chosen
        assert bool(package.files(f"test_{example}*.py")) == chosen
        for module in modules:
            source = module.read_text(encoding="utf-8")
            is_program = "run_task(" in source or ".main()" in source
            assert (f'"{module.name}"' in text) == is_program, module


def check_metadata(package: Package) -> None:
    """The answers are in the metadata."""
    answers, project = package.answers, package.project
    assert project["name"] == answers["project_name"]
    assert package.modules.name == answers["project_name"].replace("-", "_")
    assert project["description"] == answers["project_description"]
    (author,) = project["authors"]
    assert author["name"] == answers["user_name"]
    assert author.get("email", "") == answers["user_email"]
    assert project["license"] == answers["license"]
    supported = SpecifierSet(project["requires-python"])
    choices = QUESTIONS["min_python"]["choices"]
    oldest = choices.index(answers["min_python"])
    assert [f"{python}.1" in supported for python in choices] == [
        index >= oldest for index in range(len(choices))
    ]


def check_license(package: Package) -> None:
    """The license is the chosen one."""
    text = package.read("LICENSE")
    title = {
        "BSD-3-Clause": "BSD 3-Clause License",
        "MIT": "MIT License",
        "Apache-2.0": "Apache License",
        "GPL-3.0-or-later": "GNU GENERAL PUBLIC LICENSE",
    }
    assert text.lstrip().startswith(title[package.answers["license"]])
    if package.answers["license"] in ("BSD-3-Clause", "MIT"):
        assert f"Copyright (c) {package.answers['user_name']}\n" in text


def check_repository(package: Package) -> None:
    """The package names its repository only if there is one."""
    user = package.answers["github_user"]
    tasks = json.loads(
        (package.modules / "__FRACTAL_MANIFEST__.json").read_text("utf-8")
    )["task_list"]
    if user:
        url = f"https://github.com/{user}/{package.answers['project_name']}"
        assert package.project["urls"]["Repository"] == url
        assert all(task["docs_link"] == url for task in tasks)
    else:
        assert "urls" not in package.project
        assert not any("docs_link" in task for task in tasks)


def check_publishing(package: Package) -> None:
    """The package publishes to PyPI only if asked to."""
    asked = package.answers["publish_to_pypi"]
    workflows = package.folder / ".github" / "workflows"
    publishing = [
        path.name for path in workflows.iterdir() if "pypi-publish" in path.read_text()
    ]
    assert publishing == (["pypi.yml"] if asked else [])


def check_site(package: Package) -> None:
    """The package publishes a site of its tasks only if asked to."""
    workflow = package.folder / ".github" / "workflows" / "docs.yml"
    assert workflow.exists() == package.answers["publish_docs"]


def check_pythons_of_ci(package: Package) -> None:
    """CI tests every supported Python."""
    pattern = re.search(
        r"grep -oP '(.+?)' pyproject", package.read(".github/workflows/ci.yml")
    )
    # Python's `re` has no \K: what precedes it is a lookbehind.
    expression = re.sub(r"^(.*)\\K", r"(?<=\1)", pattern[1])
    pythons = re.findall(expression, package.read("pyproject.toml"))
    choices = QUESTIONS["min_python"]["choices"]
    assert pythons == choices[choices.index(package.answers["min_python"]) :]


distributions = cache(packages_distributions)


def check_dependencies(package: Package) -> None:
    """The package depends on exactly what it imports."""
    # The manifest is also checked where the workbench is.
    imported = imports(package.modules) - {package.modules.name, "fractal_workbench"}
    owners = distributions()

    def owner(modules: set[str]) -> set[str]:
        names = {owners[module][0].lower().replace("_", "-") for module in modules}
        # One cannot be had without the other, in exactly one version.
        return names - {"pydantic-core"}

    def declared(requirements: list[str]) -> set[str]:
        return {re.match(r"[\w-]+", line)[0] for line in requirements}

    dependencies = declared(package.project["dependencies"])
    extras = package.project.get("optional-dependencies", {})
    of_models = declared(extras.get("model", []))
    # Tables may be stored as Parquet, weights come from the internet; those who have none
    # need no library for it.
    optional = ({"pyarrow", "pooch"} | of_models) - dependencies
    assert owner(imported) - optional == dependencies
    assert of_models <= owner(imported)
    tested = imports(package.folder / "tests") - {
        package.modules.name,
        "fractal_workbench",
    }
    test_group = package.pyproject["dependency-groups"]["test"]
    assert owner(tested) <= dependencies | declared(test_group)


def check_review(package: Package) -> None:
    """The package has what the Scientific Python guide recommends.

    But for what `pyproject.toml` ignores, with its reasons.
    """
    # For each check, it compares the syntax tree of the noxfile with itself.
    with patch("ast.dump", cache(ast.dump)):
        results = process(package.folder).results
    assert len(results) > 50
    assert not [result for result in results if result.result is False]


def check_spelling(package: Package) -> None:
    """There are no spelling mistakes."""
    assert codespell_lib.main(str(package.folder)) == 0


CHECKS = [check for name, check in globals().items() if name.startswith("check_")]


@pytest.mark.parametrize("case", CASES)
def test_a_package_of_any_answers_keeps_the_rules(case, render, tmp_path, subtests):
    answers = CASES[case]
    package = Package(render(tmp_path / "package", **answers), answers)
    for check in CHECKS:
        with subtests.test(check.__name__):
            check(package)


def test_every_question_is_answered_in_more_than_one_way():
    assert set().union(*CASES.values()) - {"kit"} == QUESTIONS.keys()


@pytest.mark.parametrize("command", ["check", "format --check"])
def test_the_rules_of_an_owner_judge_all_files_but_the_templates(
    richest, tmp_path, command
):
    folder = shutil.copytree(richest, tmp_path / "package")
    package = Package(folder, {})
    text = package.read("pyproject.toml")
    text = text.replace("[tool.ruff]", "[tool.ruff]\nline-length = 100")
    text = text.replace("\nselect = [", '\nselect = ["ALL", ')
    (folder / "pyproject.toml").write_text(text, encoding="utf-8")
    done = subprocess.run(
        ["ruff", *command.split(), "--no-cache", "--output-format=json"],
        cwd=folder,
        stdout=subprocess.PIPE,
        check=False,
    )
    judged = {Path(finding["filename"]) for finding in json.loads(done.stdout)}
    assert not judged & {*package.owned()}
    assert package.modules / "dev" / "task_list.py" in judged


def test_the_workflows_have_no_security_findings(render, tmp_path):
    package = render(
        tmp_path / "package", publish_to_pypi=True, publish_docs=True, examples=[]
    )
    run("zizmor", "--offline", "--persona=pedantic", package / ".github")


def test_the_workflows_contain_no_template_syntax():
    """Linters and Dependabot read them where they are."""
    folder = ROOT / "template" / "package" / ".github"
    for path in folder.rglob("*.y*"):
        assert path.suffix != ".jinja"
        assert "{%" not in path.read_text(encoding="utf-8")


def imports(folder: Path, pattern: str = "**/*.py") -> set[str]:
    """Return the top-level modules that are imported, without the standard library's."""
    modules = set()
    for path in folder.glob(pattern):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                modules |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                modules.add(node.module.partition(".")[0])
    return modules - sys.stdlib_module_names


@pytest.mark.parametrize("name", ["yes", "no", "on", "off", "null", "y"])
def test_a_name_that_yaml_has_another_meaning_for_stays_a_name(render, tmp_path, name):
    package = render(tmp_path / "package", project_name=name, examples=[])
    for file, key in (
        ("CITATION.cff", "title"),
        (".copier-answers.yml", "project_name"),
    ):
        assert yaml.safe_load((package / file).read_text("utf-8"))[key] == name


@pytest.mark.parametrize("github_user", ["", "fractal-lab"])
@pytest.mark.parametrize("publish", [False, True])
def test_copier_ends_with_the_next_steps(
    template, tmp_path, capfd, github_user, publish
):
    copier.run_copy(
        str(template),
        tmp_path / "my-fractal-tasks",
        data={
            "github_user": github_user,
            "publish_to_pypi": publish,
            "publish_docs": publish,
        },
        defaults=True,
        settings=copier.Settings(),
    )
    _, steps = capfd.readouterr().err.split("Next, in ")
    assert steps.startswith(str(tmp_path / "my-fractal-tasks"))
    commands = [
        "git init -b main",
        "pip install -e . nox uv",
        "nox  ",
        "nox -s new_task",
    ]
    assert sorted(commands, key=steps.index) == commands
    assert ("github.com/fractal-lab/my-fractal-tasks" in steps) == bool(github_user)
    assert ("trusted publisher" in steps) == publish
    assert ("Settings, Pages" in steps) == publish


def test_each_step_of_the_workflow_of_any_examples_finds_its_input():
    """But where no step makes images, and no test runs the workflow."""
    environment = jinja2.Environment(trim_blocks=True, undefined=jinja2.StrictUndefined)
    environment.filters["to_json"] = lambda value, indent: json.dumps(value)
    text = (PACKAGE / "workflow.json.jinja").read_text("utf-8")
    template = environment.from_string(text)
    made = {"Threshold Segmentation": "objects", "Model Segmentation": "cells"}
    tables = {"Measure Features", "Aggregate Tables"}
    for size in range(1, len(EXAMPLES) + 1):
        for examples in combinations(EXAMPLES, size):
            text = template.render(examples=examples, project_name="my-tasks")
            steps = {
                step["task"]["name"]: step.get("args_parallel", {})
                for step in json.loads(text)["data"]["task_list"]
            }
            assert steps
            labels = {label for name, label in made.items() if name in steps}
            if not steps.keys() <= tables and "Measure Features" in steps:
                measured = steps["Measure Features"].get("label_name", "objects")
                assert measured in labels, examples
            if not steps.keys() <= tables and "Aggregate Tables" in steps:
                assert "Measure Features" in steps, examples
            if labels and {"measure_features", "aggregate_tables"} <= {*examples}:
                assert tables <= steps.keys(), examples
