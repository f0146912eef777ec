"""`copier update` and `nox -s template`: what the template owns, and what it leaves alone."""

import ast
import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from unittest.mock import patch

import click
import copier
import plumbum
import pytest
import rendering
import yaml
from click.testing import CliRunner, Result
from rendering import EXAMPLES, ROOT, import_folder, run
from test_package import nox

from fractal_workbench import project
from fractal_workbench.cli import main
from fractal_workbench.template.command import TEMPLATE_OWNED, use_plain_git

# Not updated any more: files have moved since.
OLD = {
    "0.1.0": "41a8d39a88ac2bccca92911c81c70d2c0bfdb324",
    "0.2.0": "b6aa24bd8d4ae71cb6192b6b760a07717546541b",
}
RELEASES = json.loads((ROOT / "tests" / "releases.json").read_text(encoding="utf-8"))
NOW, NEXT = "9998", "9999"  # the working tree; the same, with every file changed

# What a package shares with its template: an update merges both.
SHARED = {
    ".copier-answers.yml",
    ".gitignore",
    "CITATION.cff",
    "LICENSE",
    "pyproject.toml",
}
# What `own` edits, and an update too.
MERGED = {"pyproject.toml", ".gitignore", ".github/workflows/ci.yml"}


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=Tests", "-c", "user.email=tests@example.org"]
    return run("git", *identity, *arguments, cwd=folder)


def commit(folder: Path, tag: str | None = None) -> None:
    if not (folder / ".git").exists():
        git(folder, "init", "--quiet")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--allow-empty", "--message", "All")
    if tag:
        git(folder, "tag", tag)
        # Copier clones a template for each rendering, and looks at each file of the clone.
        git(folder, "gc", "--quiet")


def changed(folder: Path) -> dict[str, str]:
    """Files that are not as committed, with what git says of them."""
    lines = git(folder, "status", "--porcelain", "--no-renames", "-uall").splitlines()
    return {line[3:].strip('"'): line[:2] for line in lines}


def update(package: Path, version: str, **answers: object) -> None:
    copier.run_update(
        package,
        vcs_ref=version,
        data=answers,
        defaults=True,
        overwrite=True,
        quiet=True,
        settings=copier.Settings(),
    )


def append(text: str, *paths: Path) -> None:
    for path in paths:
        path.write_text(path.read_text(encoding="utf-8") + text, encoding="utf-8")


@pytest.fixture(scope="session")
def history(tmp_path_factory) -> Path:
    """Return a clone of this repository, with a tag for each release: a checkout may have none."""
    folder = tmp_path_factory.mktemp("history") / "template"
    if not (ROOT / ".git").exists():
        pytest.skip("a plain copy of this repository has no history")
    if git(ROOT, "rev-parse", "--is-shallow-repository").strip() == "true":
        pytest.skip("a shallow clone has no releases")
    run("git", "clone", "--quiet", "--no-tags", ROOT, folder)
    for version, released in (OLD | RELEASES).items():
        git(folder, "tag", version, released)
    # Copier copies each file: those that no package needs stay away.
    for name in ("benchmark", "docs", "template", "tests", "workbench"):
        shutil.rmtree(folder / name, ignore_errors=True)
    rendering.snapshot(folder)
    shutil.copy(ROOT / "CHANGELOG.md", folder)
    commit(folder, NOW)
    suffixes = (".py", ".yml", ".yaml", ".md", ".jinja")
    for path in (folder / "template" / "package").rglob("*"):
        # The text of a license has no comments.
        if path.suffix in suffixes and not re.search(
            "LICENSE|copier_|generated", path.name
        ):
            append(
                "\n\n# The template's.\n"
                if ".py" in path.name
                else "# The template's.\n",
                path,
            )
    package = folder / "template" / "package"
    replace(package / "pyproject.toml.jinja", '"zarr>=3.1.4"', '"zarr>=3.1.5"')
    replace(package / ".gitignore", "*.zarr/\n", "*.zarr/\n*.ome.tif\n")
    commit(folder, NEXT)
    return folder


def make(history: Path, version: str, folder: Path, **answers: object) -> Path:
    copier.run_copy(
        str(history),
        folder,
        vcs_ref=version,
        data={"project_name": "my-fractal-tasks"} | answers,
        defaults=True,
        quiet=True,
        settings=copier.Settings(),
    )
    return folder


def make_package(history: Path, version: str, folder: Path, **answers: object) -> Path:
    commit(make(history, version, folder, **answers))
    return folder


def contents(package: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(package)): path.read_bytes()
        for path in package.rglob("*")
        if path.is_file()
        and {".git", "__pycache__"}.isdisjoint(path.relative_to(package).parts)
    }


def replace(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text, (path, old)
    path.write_text(text.replace(old, new, 1), encoding="utf-8")


def check_is_green(package: Path, python: Path, *tests: str) -> None:
    """Run what `nox` runs, or some of the tests, in an environment that has the dependencies."""
    environment = os.environ | {"PYTHONPATH": str(package / "src")}
    for command in (
        ["ruff", "check"],
        ["ruff", "format", "--check"],
        ["mypy"],
        ["pytest", "-q", *tests],
    ):
        run(python, "-m", *command, cwd=package, env=environment)


def own(
    package: Path, new_task: Sequence[object], python: Path
) -> tuple[set[str], set[str]]:
    """Edit a package as owners do; return what was edited or added, and what was deleted."""
    modules = import_folder(package)
    task_list = modules / "dev" / "task_list.py"
    readme, pyproject = package / "README.md", package / "pyproject.toml"

    replace(readme, "\n## ", "\n## Our microscopes\n\n## ")
    append("\n## 0.1.0\n\n- Ours.\n", package / "CHANGELOG.md")
    below = "# Add your own below this line.\n"
    replace(pyproject, below, f'{below}  "networkx>=3",\n')
    append("data/\n", package / ".gitignore")
    replace(
        package / ".github" / "workflows" / "ci.yml",
        "branches: [main]",
        "branches: [main, dev]",
    )
    # An example becomes the owner's.
    replace(modules / "gaussian_blur.py", "with less noise", "with far less noise")
    append("\nOurs.\n", modules / "dev" / "docs_info" / "gaussian_blur.md")
    append(
        "\n\ndef test_ours():\n    assert True\n",
        package / "tests" / "test_gaussian_blur.py",
    )
    # Tasks of one's own, by hand and by the command.
    module = (modules / "measure_features.py").read_text(encoding="utf-8")
    (modules / "count_cells.py").write_text(
        module.replace("measure_features", "count_cells"), encoding="utf-8"
    )
    (package / "tests" / "test_count_cells.py").write_text(
        "def test_it():\n    assert True\n"
    )
    marker = "    # Add your own tasks below this line.\n"
    replace(
        task_list,
        marker,
        f'{marker}    ParallelTask(name="Count Cells", executable="count_cells.py"),\n',
    )
    environment = os.environ | {"PYTHONPATH": str(package / "src")}
    options = ("Deconvolve Image", "--type", "compound")
    run(*new_task, *options, cwd=package, env=environment)
    # Its placeholders are replaced, as an owner does.
    for path in modules.glob("deconvolve_image_*.py"):
        text = path.read_text("utf-8").replace("replace this by", "instead of")
        path.write_text(text, "utf-8")
    append("\n\n# Mine.\n", package / "tests" / "test_deconvolve_image.py")
    append("- Mine.\n", modules / "dev" / "docs_info" / "deconvolve_image.md")
    # An example goes, with its entry.
    deleted = {
        "src/my_fractal_tasks/check_images.py",
        "src/my_fractal_tasks/dev/docs_info/check_images.md",
        "tests/test_check_images.py",
        "tests/test_workflow.py",
    }
    for name in deleted:
        (package / name).unlink()
    text = task_list.read_text(encoding="utf-8")
    entries = re.findall(r"    NonParallelTask\(\n.*?\n    \),\n", text, re.DOTALL)
    (entry,) = (entry for entry in entries if "check_images" in entry)
    replace(task_list, entry, "")
    run(python, modules / "dev" / "create_manifest.py", cwd=package)

    names = changed(package).keys() - deleted
    assert "src/my_fractal_tasks/deconvolve_image_init.py" in names
    commit(package)
    return names, deleted


@pytest.mark.long
@pytest.mark.parametrize(
    ("old", "new"), [*((release, NOW) for release in RELEASES), (NOW, NEXT)]
)
def test_an_update_brings_files_of_the_template_and_leaves_those_of_the_owner(
    history, tmp_path, richest_python, old, new
):
    package = make_package(history, old, tmp_path / "package")
    new_task = [sys.executable, "-m", "fractal_workbench", "new-task"]
    if old == "0.3.0":  # where the tools were rendered
        tools = make(history, old, tmp_path / "tools", scaffold="tools")
        new_task = [sys.executable, tools / "new_task.py"]
    edited, deleted = own(package, new_task, richest_python)
    before = {name: (package / name).read_bytes() for name in edited - MERGED}

    update(package, new)

    differs = changed(package)
    assert not [name for name, status in differs.items() if "U" in status]
    assert not [name for name in differs if name.endswith(".rej")]
    assert {name: (package / name).read_bytes() for name in before} == before
    assert not [name for name in deleted if (package / name).exists()]
    assert '"networkx>=3"' in (package / "pyproject.toml").read_text()
    assert "[main, dev]" in (package / ".github/workflows/ci.yml").read_text()
    # The tests of a release meet a kit that has changed since; here, those that were edited.
    tests = [name for name in edited if "/test_" in name] if old == NOW else []
    check_is_green(package, richest_python, *tests)
    commit(package)
    update(package, new)
    assert not changed(package)


def promises(history: Path, version: str) -> set[str]:
    """Return what owners build on: names of the kit, sessions, commands and answers."""

    def show(path: str) -> str:
        names = git(history, "ls-tree", "-r", "--name-only", version, path)
        return git(history, "show", f"{version}:{path}") if names else ""

    package = "template/package"
    kit = ast.parse(show(f"{package}/src/{{{{ package_name }}}}/kit/__init__.py"))
    names = {
        alias.name
        for node in ast.walk(kit)
        if isinstance(node, ast.ImportFrom) and node.level
        for alias in node.names
    }
    sessions = re.findall(
        r"^@nox\.session.*\ndef (\w+)", show(f"{package}/noxfile.py"), re.M
    )
    cli: dict[str, Any] = {"__name__": "cli", "main": click.Group()}
    exec(show("workbench/src/fractal_workbench/cli.py"), cli)
    commands = {
        f"fractal-workbench {verb} {option}"
        for verb, command in cli["main"].commands.items()
        for parameter in command.params
        for option in parameter.opts
    }
    answers = set()
    for question, details in yaml.safe_load(show("copier.yml")).items():
        if not question.startswith("_") and details.get("ask", True):
            choices = details.get("choices", [""])
            values = choices.values() if isinstance(choices, dict) else choices
            answers |= {f"{question}: {value}" for value in values}
    return {*names, *(f"nox -s {name}" for name in sessions)} | commands | answers


@pytest.mark.parametrize("release", RELEASES)
def test_promises_to_owners_are_kept(history, tmp_path, release):
    old, new = promises(history, release), promises(history, NOW)
    assert not old - new
    assert {"open_image", "nox -s new_task", "license: MIT"} <= old
    assert {
        "fractal-workbench run --zarr-dir",
        "fractal-workbench adopt --template",
    } <= new
    changed = tmp_path / "changed"
    git(tmp_path, "clone", "--quiet", history, changed)
    replace(changed / "template/package/noxfile.py", "def new_task(", "def add_task(")
    replace(
        changed / "workbench/src/fractal_workbench/cli.py", '"--zarr-dir"', '"--dir"'
    )
    replace(changed / "copier.yml", "MIT, ", "")
    commit(changed)
    lost = {"nox -s new_task", "license: MIT", "fractal-workbench run --zarr-dir"}
    assert new - promises(changed, "HEAD") == lost


# At each push, `test_an_update_brings…` updates a package of this release as well.
@pytest.mark.long
@pytest.mark.weekly
def test_the_recipe_of_the_changelog_brings_a_package_over(history, tmp_path):
    """One with an own test of workflows, and an edit of a file that an update deletes."""
    package = make_package(history, "0.3.0", tmp_path / "package")
    engine = "src/my_fractal_tasks/dev/run_workflow.py"
    append("# Ours.\n", package / engine)
    commit(package)
    with pytest.raises(RuntimeError, match=f"{engine} has drifted"):
        nox(package, "-s", "template")

    changelog = (history / "CHANGELOG.md").read_text("utf-8")
    recipe = changelog.split("\n## 0.3.0")[0].split("### After updating\n")[1]
    recipe = recipe.split("\n### ")[0]
    nox(package, "-s", "template", "--", "update")
    assert not (package / engine).exists()
    (recover,) = re.findall(r"`git show HEAD:(\S+)`", recipe)
    assert recover.replace("<package>", "my_fractal_tasks") == engine
    assert git(package, "show", f"HEAD:{engine}").endswith("# Ours.\n")

    test = package / "tests" / "test_workflow.py"
    removed, old, new = (
        text.replace("<package>", "my_fractal_tasks")
        for text in (
            re.search("remove the line `(.+?)`", recipe)[1],
            re.search(r"in place of `(local\.run_workflow)\(...\)`", recipe)[1],
            re.search(r"call `(run_workflow)\(...\)`", recipe)[1],
        )
    )
    replace(test, f"{removed}\n", "")
    replace(test, "workflow(make_plate,", f"workflow({new}, make_plate,")
    replace(test, f"{old}(", f"{new}(")
    log = nox(package, "-s", "format", "manifest", "workflow")
    assert re.search("1 passed", log)
    python = package / ".nox" / "workflow" / "bin" / "python"  # as that of a server
    log = nox(package, "-R", "-s", "workflow", "--", str(python), "--collect-only")
    assert "test_workflow.py" in log


@pytest.mark.parametrize("release", RELEASES)
def test_a_release_does_not_change(history, release):
    commit = RELEASES[release]
    git(history, "merge-base", "--is-ancestor", commit, NOW)
    changelog = git(history, "show", f"{commit}:CHANGELOG.md")
    section = changelog.split(f"\n## {release} ")[1].split("\n## ")[0]
    assert "### After updating" in section
    tags = git(ROOT, "tag", "--list", release).split()
    for tag in tags:
        assert git(ROOT, "rev-parse", f"{tag}^{{commit}}").strip() == commit


@pytest.mark.parametrize("release", RELEASES)
def test_an_update_of_an_untouched_package_equals_a_fresh_one(
    history, tmp_path, release
):
    """But for the owner's files: an example that has changed since stays as it was."""
    package = make_package(history, release, tmp_path / "package")
    old = contents(package)
    update(package, NOW)
    # An update chooses no example that has come since.
    answers = yaml.safe_load((package / ".copier-answers.yml").read_text("utf-8"))
    chosen = answers["examples"]
    fresh = make_package(history, NOW, tmp_path / "fresh", examples=chosen)
    merged = {
        path.relative_to(fresh).as_posix()
        for pattern in TEMPLATE_OWNED
        for path in fresh.glob(pattern)
        if path.name != "task_list.py"
    } | SHARED
    expected = {
        name: content if name in merged else old[name]
        for name, content in contents(fresh).items()
        if name in merged or name in old
    }
    assert contents(package) == expected


def test_all_files_of_the_template_are_known_to_be_its_own(history, tmp_path):
    """Copier knows them by what it excludes, `nox -s template` by its list."""
    package = make_package(history, NOW, tmp_path / "package")
    update(package, NEXT)
    updated = changed(package).keys()
    append("# Ours.\n", *(package / name for name in updated if "answers" not in name))
    drifted = run_template(package, exit_code=4).split("An update")[0]
    listed = set(re.findall(r"^(\S+) has changed here$", drifted, re.MULTILINE))
    assert updated - SHARED == listed
    assert "src/my_fractal_tasks/dev/task_list.py" not in updated


def test_an_update_changes_answers(history, tmp_path, richest_python):
    package = make_package(history, NOW, tmp_path / "package")
    update(package, NOW, license="MIT", min_python="3.12")
    fresh = make_package(
        history, NOW, tmp_path / "fresh", license="MIT", min_python="3.12"
    )
    assert "MIT License" in (package / "LICENSE").read_text()
    assert changed(package).keys() == {
        ".copier-answers.yml",
        "LICENSE",
        "CITATION.cff",
        "pyproject.toml",
    }
    for name in changed(package):
        assert (package / name).read_bytes() == (fresh / name).read_bytes()


@pytest.mark.parametrize(
    ("first", "then"),
    [(EXAMPLES, ["check_images"]), (["check_images"], EXAMPLES)],
    ids=["fewer", "more"],
)
def test_other_examples_in_an_update_change_no_file_of_the_owner(
    history, tmp_path, first, then
):
    package = make_package(history, NOW, tmp_path / "package", examples=first)
    update(package, NOW, examples=then)
    assert changed(package).keys() <= SHARED | {"tests/conftest.py"}


def invoke(package: Path, *arguments: str) -> Result:
    """Run a command of the workbench in this process: its imports take seconds."""
    project._read.cache_clear()
    of_copier = plumbum.local.env(**os.environ)
    with contextlib.chdir(package), patch.dict(os.environ), of_copier:
        result = CliRunner().invoke(main, arguments)
    use_plain_git.cache_clear()  # with the environment, its settings are gone
    return result


def run_template(
    package: Path,
    *arguments: str,
    exit_code: int = 0,
    env: Mapping[str, str] | None = None,
) -> str:
    """Run what `nox -s template` runs; return what it prints.

    In a process of its own if the environment matters.
    """
    if env is None:
        result = invoke(package, "template", *arguments)
        assert result.exit_code == exit_code, result.output
        return result.output
    done = subprocess.run(
        [sys.executable, "-m", "fractal_workbench", "template", *arguments],
        cwd=package,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=env,
    )
    assert done.returncode == exit_code, done.stdout
    return done.stdout


def test_a_package_as_its_template_has_it_needs_nothing(history, tmp_path):
    package = make_package(history, NEXT, tmp_path / "package")
    assert "no newer one" in run_template(package)


def test_a_newer_template_is_announced_and_comes_with_an_update(history, tmp_path):
    package = make_package(history, NOW, tmp_path / "package")
    said = run_template(package)
    assert f"newer template, {NEXT}" in said
    assert "has changed here" not in said
    assert "no newer one" not in said

    append("Not committed.\n", package / "README.md")
    said = run_template(package, "update", exit_code=1)
    assert "dirty" in said
    assert changed(package).keys() == {"README.md"}

    commit(package)
    assert f"at version {NEXT}" in run_template(package, "update")
    assert "noxfile.py" in changed(package)
    commit(package)
    run_template(package)


def test_a_drifted_file_is_found_shown_and_restored(history, tmp_path):
    package = make_package(history, NOW, tmp_path / "package")
    gone, edited = "tests/test_manifest.py", "src/my_fractal_tasks/kit/fractal.py"
    (package / gone).unlink()
    append("OURS = 1\n", package / edited, package / "README.md")
    pyproject = package / "pyproject.toml"
    replace(
        pyproject,
        "[tool.pytest]",
        "[tool.fractal-template]\nmine = []\n\n[tool.pytest]",
    )
    commit(package)

    update(package, NEXT)
    commit(package)

    said = run_template(package, exit_code=4)
    marked = re.findall(r"^\S+(?= has marks of a conflict$)", said, re.MULTILINE)
    assert marked == [edited]
    assert re.findall(r"^\S+(?= is gone$)", said, re.MULTILINE) == [gone]
    assert "+OURS = 1\n" in run_template(package, "diff")
    said = run_template(package, "restore", gone, "mine.py", exit_code=1)
    assert "mine.py: the template has no such file" in said
    assert not changed(package)
    run_template(package, "restore", gone)
    assert changed(package).keys() == {gone}
    # What is the owner's as well: an example that the template has mended, say.
    assert "+OURS = 1\n" in run_template(package, "diff", "README.md")
    append("Not committed.\n", package / "README.md")
    said = run_template(package, "restore", "README.md", exit_code=1)
    assert "Commit your changes first" in said
    assert "Not committed." in (package / "README.md").read_text()
    git(package, "checkout", "README.md")
    run_template(package, "restore", "README.md")
    assert changed(package).keys() == {gone, "README.md"}
    replace(pyproject, "mine = []", f'mine = ["{edited}"]')
    run_template(package)
    replace(pyproject, f'mine = ["{edited}"]', f'mine = "{edited}"')
    assert "not a list" in run_template(package, exit_code=1)
    append("<<<<<<< a conflict\n", pyproject)
    assert "pyproject.toml: " in run_template(package, exit_code=1)


def test_a_bare_repository_without_tags_needs_an_address(history, tmp_path):
    package = make_package(history, NOW, tmp_path / "package")
    bare = tmp_path / "template.git"
    run("git", "clone", "--quiet", "--bare", "--no-tags", history, bare)
    replace(
        package / ".copier-answers.yml", f"_src_path: {history}", f"_src_path: {bare}"
    )
    sha = git(history, "rev-parse", f"{NOW}^{{commit}}").strip()
    replace(package / ".copier-answers.yml", f"_commit: '{NOW}'", f"_commit: {sha}")
    append("# Ours.\n", package / "noxfile.py")
    commit(package)
    said = run_template(package, exit_code=1)
    assert "noxfile.py has changed here" in said  # what is known is not lost
    assert "such as file:///data/template.git, for _src_path" in said


def test_dependabot_may_be_ahead(history, tmp_path):
    package = make_package(history, NEXT, tmp_path / "package")
    workflow = package / ".github" / "workflows" / "ci.yml"
    pin = re.search(r"checkout@(\w+ # v[\d.]+)", workflow.read_text())[1]
    text = workflow.read_text()
    workflow.write_text(text.replace(pin, f"{'0' * 40} # v99.0.0"))
    run_template(package)
    append("# Ours.\n", workflow)
    assert "ci.yml has changed here" in run_template(package, exit_code=4)


def test_a_conflict_is_named(history, tmp_path):
    package = make_package(history, NOW, tmp_path / "package")
    append("# Ours.\n", package / "noxfile.py")
    commit(package)
    said = run_template(package, "update", exit_code=1)
    assert "Resolve its conflicts" in said
    assert said.splitlines()[-1] == "noxfile.py"
    said = run_template(package, exit_code=4)
    assert "noxfile.py has marks of a conflict" in said
    said = run_template(package, "restore", "noxfile.py", exit_code=1)
    (command,) = re.findall("`git (.+?)`", said)
    git(package, *command.split())
    run_template(package)


# What users, repositories and hooks have set of git; each once broke an update, or is near.
HOSTILE = {
    "hidden": {"status.showUntrackedFiles": "no"},
    "spaces": {
        "apply.whitespace": "error-all",
        "core.whitespace": "tab-in-indent,trailing-space",
        "core.safecrlf": "true",
        "core.autocrlf": "input",
    },
    "mended": {
        "apply.whitespace": "fix",
        "apply.ignoreWhitespace": "change",
        "core.autocrlf": "true",
    },
    "shown": {
        "color.ui": "always",
        "core.editor": "false",
        "core.pager": "false",
        "core.quotePath": "false",
        "diff.context": "0",
        "diff.external": "false",
        "diff.mnemonicPrefix": "true",
        "diff.noprefix": "true",
        "diff.orderFile": "/nowhere",
        "diff.renames": "copies",
        "diff.suppressBlankEmpty": "true",
        "merge.conflictStyle": "zdiff3",
        "merge.renames": "false",
        "status.branch": "true",
        "status.relativePaths": "false",
        "status.short": "true",
    },
    "foreign": {
        "commit.gpgSign": "true",
        "core.attributesFile": "{folder}/attributes",
        "core.excludesFile": "{folder}/ignored",
        "core.hooksPath": "{folder}/hooks",
        "gpg.program": "false",
        "init.templateDir": "{folder}/hooks-of-all",
        "user.useConfigOnly": "true",
    },
}


@pytest.fixture(scope="module")
def edited(history, tmp_path_factory) -> Path:
    """A package in a repository of others, with an edit of its owner that is in the way."""
    root = tmp_path_factory.mktemp("edited") / "repository"
    package = make(history, NOW, root / "für alle" / "my tasks")
    replace(package / "noxfile.py", '"uv|virtualenv"', '"uv|conda"  # ours')
    append("# Ours.\n", package / "noxfile.py")
    commit(root)
    (root / ".gitignore").write_text("*.rej\n*.orig\n")
    commit(root)
    return root


@pytest.mark.parametrize(
    ("settings", "where"),
    [
        ("hidden", "--local"),
        *(
            pytest.param(settings, "--global", marks=pytest.mark.weekly)
            for settings in HOSTILE
        ),
    ],
)
def test_a_conflict_is_found_with_any_settings_of_git(
    edited, tmp_path, settings, where
):
    (tmp_path / "attributes").write_text("*.py -diff -text\n* -merge\n")
    (tmp_path / "ignored").write_text("*.rej\n*.orig\n*.md\n")
    for hook in (
        "hooks/pre-commit",
        "hooks/post-checkout",
        "hooks-of-all/hooks/pre-commit",
    ):
        (tmp_path / hook).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / hook).write_text("#!/bin/sh\nexit 1\n")
        (tmp_path / hook).chmod(0o755)
    root = tmp_path / "repository"
    git(tmp_path, "clone", "--quiet", edited, root)
    package = root / "für alle" / "my tasks"
    env = os.environ | {"GIT_CONFIG_GLOBAL": str(tmp_path / "config")}
    for key, value in HOSTILE[settings].items():
        value = value.format(folder=tmp_path)
        run("git", "config", where, key, value, cwd=root, env=env)

    said = run_template(package, "update", exit_code=1, env=env)

    assert "Resolve its conflicts" in said
    assert said.splitlines()[-1] == "noxfile.py"
    text = (package / "noxfile.py").read_text("utf-8")
    assert '"uv|conda"  # ours' in text
    assert "# Ours." in text
    assert "# The template's." in text
    assert not [*root.rglob("*.rej")]


def test_an_update_does_not_depend_on_where_a_hook_lets_git_work(edited, tmp_path):
    root = tmp_path / "repository"
    git(tmp_path, "clone", "--quiet", edited, root)
    package = root / "für alle" / "my tasks"
    other = tmp_path / "other"
    other.mkdir()
    commit(other)
    index = (other / ".git" / "index").read_bytes()
    env = os.environ | {
        "GIT_DIR": str(other / ".git"),
        "GIT_WORK_TREE": str(other),
        "GIT_INDEX_FILE": str(other / ".git" / "index"),
        "GIT_EXTERNAL_DIFF": "false",
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": "status.showUntrackedFiles",
        "GIT_CONFIG_VALUE_0": "no",
    }
    said = run_template(package, "update", exit_code=1, env=env)
    assert said.splitlines()[-1] == "noxfile.py"
    assert (other / ".git" / "index").read_bytes() == index


@pytest.mark.parametrize(
    "hide",
    [
        ("update-index", "--assume-unchanged"),
        ("update-index", "--skip-worktree"),
        ("rm", "--quiet", "--cached"),
    ],
)
def test_changes_that_git_does_not_have_are_not_overwritten(edited, tmp_path, hide):
    root = tmp_path / "repository"
    git(tmp_path, "clone", "--quiet", edited, root)
    package = root / "für alle" / "my tasks"
    git(package, *hide, "noxfile.py")
    (root / ".git" / "info" / "exclude").write_text("noxfile.py\n")
    git(root, "commit", "--quiet", "--allow-empty", "--message", "All")
    append("# Mine alone.\n", package / "noxfile.py")
    before = contents(package)
    said = run_template(package, "update", exit_code=1)
    assert "could lose your changes" in said
    assert said.splitlines()[-1] == "noxfile.py"
    assert contents(package) == before


@pytest.mark.parametrize("text", ["a: [", "- a", "", "_commit: '1'", "\xff"])
def test_damaged_answers_are_named(edited, tmp_path, text):
    root = tmp_path / "repository"
    git(tmp_path, "clone", "--quiet", edited, root)
    package = root / "für alle" / "my tasks"
    (package / ".copier-answers.yml").write_bytes(text.encode("latin-1"))
    said = run_template(package, "update", exit_code=1)
    assert ".copier-answers.yml" in said.splitlines()[-1]
    assert "git checkout" in said


def test_a_conflict_is_found_in_a_worktree(edited, tmp_path):
    clone, root = tmp_path / "clone", tmp_path / "worktree"
    git(tmp_path, "clone", "--quiet", edited, clone)
    git(clone, "config", "status.showUntrackedFiles", "no")
    git(clone, "worktree", "add", "--quiet", "-b", "mine", root)
    said = run_template(root / "für alle" / "my tasks", "update", exit_code=1)
    assert said.splitlines()[-1] == "noxfile.py"


def test_a_line_that_an_update_loses_is_missed(edited, tmp_path, monkeypatch):
    """Whatever copier and git do: here, they take the template's file as it is."""
    root = tmp_path / "repository"
    git(tmp_path, "clone", "--quiet", edited, root)
    package = root / "für alle" / "my tasks"
    program = tmp_path / "git"
    program.write_text(
        f'#!/bin/sh\ncase " $* " in *" apply "*) exit 1;; esac\nexec {shutil.which("git")} "$@"\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    said = run_template(package, "update", exit_code=1)
    assert "Lines of yours are no longer in these" in said
    assert said.splitlines()[-1] == "noxfile.py"


@pytest.mark.parametrize("release", OLD)
def test_a_package_of_before_the_files_moved_is_told_how_to_bring_it_over(
    history, tmp_path, release
):
    package = make_package(history, release, tmp_path / "package")
    own = import_folder(package) / "dev" / "template.py"
    for command in (
        [sys.executable, own, "update"],
        [sys.executable, "-m", "copier", "update", "--defaults"],
    ):
        done = subprocess.run(command, cwd=package, capture_output=True, text=True)
        assert done.returncode == 1
        sentence = "is not updated, but brought over, as the CHANGELOG.md"
        assert sentence in done.stderr.splitlines()[-1]
        assert not changed(package)
    # As of a template without tags.
    answers = package / ".copier-answers.yml"
    replace(answers, f"_commit: {release}", f"_commit: {OLD[release][:7]}")
    commit(package)
    with pytest.raises(OSError, match="is not updated, but brought over"):
        update(package, NOW)
    assert not changed(package)


@pytest.mark.parametrize(
    ("release", "own"),
    [
        pytest.param("0.3.0", "Ours.\n", id="own", marks=pytest.mark.weekly),
        pytest.param("0.3.0", None, id="none", marks=pytest.mark.weekly),
        pytest.param(NOW, "Ours.\n", id="edited"),
        pytest.param(NOW, "", id="deleted", marks=pytest.mark.weekly),
        pytest.param(NOW, None, id="untouched"),
    ],
)
def test_the_rules_for_agents_are_the_owners_once_they_are_edited(
    history, tmp_path, release, own
):
    package = make_package(history, release, tmp_path / "package")
    rules = package / "AGENTS.md"
    assert rules.exists() == (release == NOW)
    if own:
        rules.write_text(own)
    elif own == "":
        rules.unlink()
    commit(package)

    run_template(package, "update")

    text = rules.read_text() if rules.exists() else ""
    if own is None:
        assert text.startswith("# The rules of a task")
        assert text.endswith("# The template's.\n")
    else:
        assert text == own
    assert not (package / "AGENTS.md.rej").exists()


def test_a_package_of_a_plain_folder_is_compared_with_that_folder(render, tmp_path):
    package = render(tmp_path / "package")
    run_template(package)
    append("# Ours.\n", package / "noxfile.py")
    run_template(package, exit_code=4)


def test_an_update_lists_files_of_the_owner_with_the_command_for_those_of_the_template(
    history, tmp_path
):
    package = make_package(history, NOW, tmp_path / "package")
    log = run_template(package, "update")
    listed = log.partition("These are yours")[2].partition("nox -s template")[0]
    for name in ("src/my_fractal_tasks/gaussian_blur.py", "README.md"):
        assert f"\n{name}\n" in listed
    for name in ("noxfile.py", "pyproject.toml", "__FRACTAL_MANIFEST__.json"):
        assert name not in listed
