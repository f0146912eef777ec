"""The tools of a package are its template's: how a session of nox gets and runs them."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import rendering
from copier.errors import ShallowCloneWarning
from rendering import run
from test_package import nox
from test_update import append, changed, commit, contents, make, replace


@pytest.fixture(scope="module")
def released(tmp_path_factory) -> Path:
    """Return a template with two versions, that differ in a tool."""
    folder = rendering.snapshot(tmp_path_factory.mktemp("released") / "template")
    commit(folder, "1.0.0")
    tool = folder / "template" / "tools" / "template.py"
    replace(tool, "and there is no newer one", "and is the newest")
    commit(folder, "2.0.0")
    return folder


@pytest.fixture(scope="module")
def run_template(tmp_path_factory):
    """Run the session, with one environment for all packages."""
    folder = tmp_path_factory.mktemp("nox")

    def run_session(package: Path, *arguments: str) -> str:
        options = ("-R", f"--envdir={folder}", "-s", "template", "--", *arguments)
        return nox(package, *options)

    return run_session


def record(package: Path, source: object, version: str | None = None) -> None:
    """Write into the answers of a package where its template is."""
    answers = package / ".copier-answers.yml"
    text = re.sub(r"(?m)^_(src_path|commit): .*\n", "", answers.read_text("utf-8"))
    text += f"_src_path: {source}\n" + (f"_commit: {version}\n" if version else "")
    answers.write_text(text, encoding="utf-8")


def clone(template: Path, folder: Path, *options: str) -> Path:
    run("git", "clone", "--quiet", *options, f"file://{template}", folder)
    return folder


@pytest.mark.parametrize("source", ["{}", "git+file://{}"], ids=["checkout", "URL"])
def test_a_package_runs_the_tools_of_its_own_version(
    released, tmp_path, run_template, source
):
    """And updates without a difference where only they have changed."""
    repository = tmp_path / "repository"
    package = make(released, "1.0.0", repository / "package", examples=[])
    record(package, source.format(released), "1.0.0")
    commit(repository)
    with pytest.raises(RuntimeError, match=r"newer template, 2\.0\.0"):
        run_template(package)
    assert "at version 2.0.0" in run_template(package, "update")
    assert changed(repository).keys() == {"package/.copier-answers.yml"}
    assert "and is the newest" in run_template(package)


def test_a_package_of_a_plain_folder_runs_the_tools_that_are_there(
    released, tmp_path, run_template
):
    template = clone(released, tmp_path / "template")
    shutil.rmtree(template / ".git")
    package = rendering.render(template, tmp_path / "package")
    assert "and is the newest" in run_template(package)


def test_the_exit_code_of_the_tool_is_had_without_nox(released, tmp_path):
    package = make(released, "1.0.0", tmp_path / "package")
    append("# Ours.\n", package / "noxfile.py")
    with pytest.raises(RuntimeError, match="exit code 6"):
        nox(package, "-s", "template")
    python = package / ".nox" / "template" / "bin" / "python"
    done = subprocess.run([python, ".nox/tools/template.py"], cwd=package, check=False)
    assert done.returncode == 6


def test_what_copier_says_on_the_way_is_not_shown(released, tmp_path, run_template):
    """About a template that has no tags, is a shallow clone, or is being worked on."""
    template = clone(released, tmp_path / "template", "--depth=1", "--no-tags")
    with pytest.warns(ShallowCloneWarning):
        package = make(template, "HEAD", tmp_path / "package", examples=[])
    commit(package)
    append("# Newer.\n", template / "template" / "package" / "noxfile.py")
    with pytest.raises(RuntimeError, match="it has changes that are not committed"):
        run_template(package, "update")
    assert not changed(package)
    commit(template)
    for said in (run_template(package, "update"), run_template(package, "diff")):
        assert not re.search("(?i)warn|tags|shallow|dirty|HEAD", said)
    assert "noxfile.py" in changed(package)


PATH = "seen from another folder: write the absolute path, or the URL"
MOVED = r"If it has moved, write where it is now as _src_path into \.copier-answers"
LACKS = (
    "Unknown revision: '1.0.0'.*run `git fetch --tags` in it, also with `--unshallow`"
)
WAYS_OUT = {
    ".": PATH,
    "../template": PATH,
    "/nowhere": f"/nowhere: .*{MOVED}",
    "git+file:///nowhere": f"nowhere: '/nowhere' does not .*{MOVED}",
    "https://localhost:1/template.git": f"unable to access .*{MOVED}",
    "{shallow}": LACKS,
    "git+file://{shallow}": LACKS.replace("Unknown revision: '1.0.0'", "1.0.0"),
}


@pytest.mark.parametrize(("source", "way_out"), WAYS_OUT.items(), ids=WAYS_OUT)
def test_a_template_that_can_not_be_had_is_named_with_what_to_do(
    released, tmp_path, run_template, source, way_out
):
    package = make(released, "1.0.0", tmp_path / "package")
    shallow = clone(released, tmp_path / "shallow", "--depth=1")
    source = source.format(shallow=shallow)
    record(package, source, "1.0.0")
    before = contents(package)
    with pytest.raises(RuntimeError, match=f"(?s){way_out}") as error:
        run_template(package, "update")
    assert source in str(error.value)
    assert "Traceback" not in str(error.value)
    assert contents(package) == before


def test_a_package_without_answers_is_told_so(released, tmp_path, run_template):
    package = make(released, "1.0.0", tmp_path / "package")
    (package / ".copier-answers.yml").unlink()
    with pytest.raises(RuntimeError, match=r"_src_path in .copier-answers.yml is ''"):
        run_template(package)
