"""The manifest that is rendered is the one that the rendered package would write."""

import itertools
import json
import os
import re
from pathlib import Path

import pytest
from manifest_template import (
    CHECKSUMS,
    TEMPLATE,
    checksums,
    current,
    manifest_template,
)
from rendering import EXAMPLES, ROOT, import_folder, run

from fractal_workbench.form.stale import PLACEHOLDER, find_stale

# One process checks many packages: importing what the tasks need takes longer than all else.
CHECK_EACH = """
import runpy, sys
for script in sys.argv[1:]:
    sys.argv[:] = [script, "--check"]
    runpy.run_path(script, run_name="__main__")
"""
NUMBER = len(EXAMPLES)
SCAFFOLDS = sorted((ROOT / "template" / "task").iterdir())
AUTHORS = ['Zoë "Zed" O\'Neill', "back\\slash", "李 🐍", "</script>", "{{ user }}"]


def check(package: Path, python: Path, *options: str) -> str:
    """Run the manifest's script of a rendered package."""
    return run(python, import_folder(package) / "dev" / "create_manifest.py", *options)


def test_the_template_of_the_manifest_is_up_to_date(tmp_path, richest_python):
    on_disk = TEMPLATE.read_text(encoding="utf-8")
    assert current(tmp_path, richest_python) == on_disk, "run `nox -s manifest`"


def test_the_checksums_of_the_examples_are_up_to_date(richest):
    on_disk = CHECKSUMS.read_text(encoding="utf-8")
    assert checksums(richest) == on_disk, "run `nox -s manifest`"


def test_generated_text_that_no_longer_fits_an_example_is_stale(package):
    modules = import_folder(package)
    assert not [*find_stale(modules)]
    task = modules / "gaussian_blur.py"
    task.write_text(task.read_text().replace("sigma_xy", "width"))
    documentation, test = find_stale(modules)
    assert "gaussian_blur.md is as the template generated it" in documentation
    assert "test_gaussian_blur.py is as the template generated it" in test


def test_steps_of_the_workflow_that_no_longer_fit_are_named(package):
    modules = import_folder(package)
    file = modules / "workflow.json"
    workflow = json.loads(file.read_text())
    steps = workflow["data"]["task_list"]
    (blur,) = [step for step in steps if step["task"]["name"] == "Gaussian Blur"]
    blur["args_parallel"] = {"sigma_yx": 2}
    gone = {"task": blur["task"] | {"name": "Gausian Blur"}}
    other = {"task": {"pkg_name": "of-others", "name": "Unknown"}}
    unfinished = steps[0] | {"args_non_parallel": {}}
    workflow["data"]["task_list"] = [other, blur, gone, unfinished]
    file.write_text(json.dumps(workflow))
    argument, task = find_stale(modules)
    place = "workflow.json: step 2, 'Gaussian Blur', args_parallel"
    assert f"{place}: no argument 'sigma_yx'; did you mean 'sigma_xy'? " in argument
    assert "step 3, no task 'Gausian Blur'; did you mean 'Gaussian Blur'" in task


@pytest.mark.parametrize(
    "scaffold", [p.name for p in SCAFFOLDS if not p.name.startswith("from_")]
)
def test_each_scaffold_has_a_placeholder(scaffold):
    modules = (ROOT / "template" / "task" / scaffold / "src").glob("*/*.jinja")
    assert any(PLACEHOLDER in module.read_text("utf-8") for module in modules)


@pytest.mark.parametrize(
    "sizes",
    [
        # Of any two examples, both, one and none are in some package.
        pytest.param((0, 1, NUMBER - 1, NUMBER), id="any-one"),
        pytest.param((2,), id="any-two", marks=pytest.mark.weekly),
    ],
)
def test_any_examples_pass_the_manifest_check(render, tmp_path, richest_python, sizes):
    """For different authors, with and without a GitHub user."""
    scripts = []
    subsets = [itertools.combinations(EXAMPLES, size) for size in sizes]
    for number, examples in enumerate(itertools.chain(*subsets)):
        package = render(
            tmp_path / str(number),
            # Modules of one process must differ in name.
            project_name=f"tasks-{number}",
            examples=[*examples],
            user_name=AUTHORS[number % len(AUTHORS)],
            github_user="fractal-lab" if number % 2 else "",
        )
        scripts.append(import_folder(package) / "dev" / "create_manifest.py")
    run(richest_python, "-c", CHECK_EACH, *scripts)


def test_jinja_in_a_manifest_is_refused():
    with pytest.raises(ValueError, match="Jinja"):
        manifest_template('{"docs_info": "{{ x }}"}')


@pytest.fixture
def package(render, tmp_path) -> Path:
    return render(tmp_path / "package")


def test_the_manifest_is_regenerated_from_any_folder(package, tmp_path, richest_python):
    manifest = import_folder(package) / "__FRACTAL_MANIFEST__.json"
    fresh = manifest.read_bytes()
    manifest.write_text("{}")
    script = import_folder(package) / "dev" / "create_manifest.py"
    run(richest_python, script.relative_to(package), cwd=package)
    assert manifest.read_bytes() == fresh
    manifest.unlink()
    run(richest_python, script, cwd=tmp_path)
    assert manifest.read_bytes() == fresh


def test_the_official_tool_writes_the_same_bytes(package, richest_python):
    manifest = import_folder(package) / "__FRACTAL_MANIFEST__.json"
    fresh = manifest.read_bytes()
    manifest.unlink()
    code = "import sys; from fractal_task_tools._cli import main; main()"
    run(
        richest_python,
        *("-c", code, "create", "--package", import_folder(package).name),
        cwd=package / "src",
    )
    assert manifest.read_bytes() == fresh


def test_a_stale_manifest_is_shown_and_not_overwritten(package, richest_python):
    manifest = import_folder(package) / "__FRACTAL_MANIFEST__.json"
    stale = manifest.read_text().replace("Gaussian Blur", "Gaussian Bluff")
    manifest.write_text(stale)
    with pytest.raises(RuntimeError) as error:
        check(package, richest_python, "--check")
    assert '-      "name": "Gaussian Bluff",' in str(error.value)
    assert '+      "name": "Gaussian Blur",' in str(error.value)
    assert manifest.read_text() == stale


def test_a_missing_manifest_is_out_of_date(package, richest_python):
    (import_folder(package) / "__FRACTAL_MANIFEST__.json").unlink()
    with pytest.raises(RuntimeError, match="is out of date: run `nox -s manifest`"):
        check(package, richest_python, "--check")


def test_the_workflow_names_the_version_of_the_package(package, richest_python):
    """A server imports no step with another one."""
    workflow = import_folder(package) / "workflow.json"
    first = workflow.read_text("utf-8")
    pyproject = package / "pyproject.toml"
    text = pyproject.read_text("utf-8")
    pyproject.write_text(text.replace('\nversion = "0.1.0"', '\nversion = "0.2.0"'))
    with pytest.raises(RuntimeError, match="is out of date: run `nox -s manifest`"):
        check(package, richest_python, "--check")
    assert workflow.read_text("utf-8") == first
    check(package, richest_python)
    assert workflow.read_text("utf-8") == first.replace('"0.1.0"', '"0.2.0"')
    check(package, richest_python, "--check")
    # Steps of other packages, and a step without a version.
    steps = json.loads(first)
    theirs, own = (step["task"] for step in steps["data"]["task_list"][:2])
    theirs["pkg_name"] = "their-tasks"
    del own["version"]
    workflow.write_text(json.dumps(steps))
    check(package, richest_python)
    theirs, own = (
        step["task"]["version"]
        for step in json.loads(workflow.read_text("utf-8"))["data"]["task_list"][:2]
    )
    assert (theirs, own) == ("0.1.0", "0.2.0")
    workflow.write_text("{}")
    with pytest.raises(RuntimeError, match="it is no workflow"):
        check(package, richest_python)


def test_a_task_that_has_no_manifest_is_named(package, richest_python):
    task = import_folder(package) / "gaussian_blur.py"
    task.write_text(task.read_text().replace("suffix: str =", "suffix="))
    with pytest.raises(
        RuntimeError, match=r"\nGaussian Blur: .*/suffix \(give it one type"
    ):
        check(package, richest_python)


@pytest.fixture
def odd_package(package: Path) -> Path:
    """A package whose first two tasks have an argument that breaks the web form."""
    for name in ("gaussian_blur", "project_image_init"):
        task = import_folder(package) / f"{name}.py"
        text = task.read_text().replace(
            f"def {name}(\n    *,",
            f"def {name}(\n    *,\n    place: Path | None = None,",
        )
        task.write_text("from pathlib import Path\n" + text)
    return package


def test_all_arguments_that_break_the_web_form_are_named(odd_package, richest_python):
    with pytest.raises(RuntimeError) as error:
        check(odd_package, richest_python)
    for name in ("Gaussian Blur", "Project Image"):
        says = rf"\n{name}: argument `place` .*: it knows no format path: take a `str`"
        assert re.search(says, str(error.value))


def test_without_the_workbench_the_manifest_is_written_and_the_check_left_out_is_named(
    odd_package, richest_python
):
    script = import_folder(odd_package) / "dev" / "create_manifest.py"
    hide = "import runpy, sys; sys.modules['fractal_workbench'] = None; "
    code = f"{hide} sys.argv[:] = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name='__main__')"
    said = run(richest_python, "-c", code, script)
    assert "server, web form and stale texts are not checked" in said
    manifest = import_folder(odd_package) / "__FRACTAL_MANIFEST__.json"
    assert manifest.read_text().count('"place"') == 2
    # What fractal-task-tools itself rejects is named all the same.
    task = import_folder(odd_package) / "gaussian_blur.py"
    task.write_text(task.read_text().replace("suffix: str =", "suffix="))
    with pytest.raises(RuntimeError, match=r"\nGaussian Blur: .*/suffix"):
        run(richest_python, "-c", code, script)


@pytest.mark.parametrize("place", ["regions", "Regions"])
def test_a_package_tests_that_each_argument_is_described(
    package, richest_python, place
):
    """Also each field of a model."""
    file = import_folder(package) / "__FRACTAL_MANIFEST__.json"
    manifest = json.loads(file.read_text())
    (task,) = (t for t in manifest["task_list"] if t["name"] == "Gaussian Blur")
    schema = task["args_schema_parallel"]
    fields = schema["$defs"].get(place, schema)["properties"]
    del fields[place if place in fields else next(iter(fields))]["description"]
    file.write_text(json.dumps(manifest))
    environment = os.environ | {"PYTHONPATH": str(package / "src")}
    command = ("-m", "pytest", "-n0", "-k", "describes", "tests/test_manifest.py")
    with pytest.raises(RuntimeError, match=r"AssertionError: Gaussian Blur: regions"):
        run(richest_python, *command, cwd=package, env=environment)
