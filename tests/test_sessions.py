"""The sessions of a package install the workbench that belongs to it, once."""

import importlib.util
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest
import rendering
from copier.errors import ShallowCloneWarning
from filelock import FileLock, Timeout
from rendering import run
from test_package import nox
from test_update import append, changed, commit, contents, make, replace

INSTALLS = re.compile(r"nox > (?:uv )?(?:python -m )?pip install (.+)")
NOWHERE = "http://localhost:1"
OFFLINE = {
    "UV_OFFLINE": "1",
    "PIP_INDEX_URL": NOWHERE,
    **dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"), NOWHERE),
}


def snapshot(folder: Path) -> Path:
    """Return a template with a changelog, and room for a blank in its path."""
    rendering.snapshot(folder)
    (folder / "CHANGELOG.md").write_text(
        "# Changelog\n\n## 1.0.0\n\n### After updating\n\n- Nothing.\n"
    )
    return folder


@pytest.fixture(scope="module")
def released(tmp_path_factory) -> Path:
    """Return a template with two versions, that differ in the workbench."""
    folder = snapshot(tmp_path_factory.mktemp("released") / "a template")
    commit(folder, "1.0.0")
    module = folder / "workbench/src/fractal_workbench/template/command.py"
    replace(module, "and there is no newer one", "and is the newest")
    replace(
        folder / "CHANGELOG.md",
        "## 1.0.0",
        "## 2.0.0\n\n### After updating\n\n- Look twice.\n\n### Added\n\n- A look.\n\n## 1.0.0",
    )
    commit(folder, "2.0.0")
    return folder


@pytest.fixture(scope="module")
def environments(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("nox")


@pytest.fixture(scope="module")
def run_template(environments):
    """Run the session, with one environment for all packages."""

    def run_session(package: Path, *arguments: str) -> str:
        options = (f"--envdir={environments}", "-s", "template", "--", *arguments)
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


@pytest.mark.parametrize(
    "kind",
    [
        "checkout",
        # Where the workbench is, `test_each_way_to_write_a_template…` tells at each push.
        pytest.param("URL", marks=pytest.mark.weekly),
        pytest.param("worktree", marks=pytest.mark.weekly),
    ],
)
def test_a_package_runs_the_workbench_of_its_own_version(
    released, tmp_path, run_template, kind
):
    """And updates without a difference where only that has changed."""
    source = str(released)
    if kind == "worktree":
        source = str(tmp_path / "worktree")
        run("git", "worktree", "add", "--quiet", "--detach", source, cwd=released)
    elif kind == "URL":
        source = f"git+{released.as_uri()}"
    repository = tmp_path / "repository"
    package = make(released, "1.0.0", repository / "package", examples=[])
    record(package, source, "1.0.0")
    commit(repository)
    log = run_template(package)
    assert "newer template, 2.0.0" in log
    log = run_template(package, "update")
    assert "at version 2.0.0" in log
    assert "  changed: .copier-answers.yml\n" in log
    assert "Session manifest was successful" in log
    assert "After updating to 2.0.0:\n\n- Look twice.\n" in log
    assert "Nothing." not in log
    assert "A look." not in log
    assert changed(repository).keys() == {"package/.copier-answers.yml"}
    assert "and is the newest" in run_template(package)


def test_an_environment_is_kept_until_its_workbench_changes(
    released, tmp_path, run_template, monkeypatch
):
    template = clone(released, tmp_path / "template")
    shutil.rmtree(template / ".git")
    package = rendering.render(template, tmp_path / "package", examples=[])
    assert "and is the newest" in run_template(package)
    with monkeypatch.context() as offline:
        for name, value in OFFLINE.items():
            offline.setenv(name, value)
        log = run_template(package)
    assert "and is the newest" in log
    assert not INSTALLS.search(log)
    module = template / "workbench/src/fractal_workbench/template/command.py"
    replace(module, "and is the newest", "and is edited")
    log = run_template(package)
    assert "and is edited" in log
    assert INSTALLS.search(log)


def test_help_and_rejected_arguments_come_before_large_installs(released, tmp_path):
    package = make(released, "1.0.0", tmp_path / "package", examples=[])
    for session, arguments, answer in (
        ("new_task", ("--help",), "Usage: fractal-workbench new-task"),
        ("new_task", ("--example", "a", "--makes", "image"), "--example: an example"),
        ("run", ("nowhere.json",), "--zarr-dir"),
    ):
        command = (sys.executable, "-m", "nox", "-s", session, "--", *arguments)
        done = subprocess.run(command, cwd=package, capture_output=True, text=True)
        assert done.returncode == ("--help" not in arguments)
        assert answer in done.stdout + done.stderr
        for requirements in INSTALLS.findall(done.stderr):
            assert re.search(r"'fractal-workbench @ \S+", requirements)
            assert "-e" not in requirements.split()


def test_sessions_at_the_same_time_do_not_disturb_each_other(released, tmp_path):
    """Of one package that has no environments, and of another one."""
    packages = [make(released, "2.0.0", tmp_path / name, examples=[]) for name in "ab"]
    calls = [
        (packages[0], "template"),
        (packages[0], "template"),
        (packages[0], "new_task", "--", "--help"),
        (packages[1], "template"),
    ]
    with ThreadPoolExecutor(len(calls)) as pool:
        logs = [pool.submit(nox, package, "-s", *rest) for package, *rest in calls]
    for (_, session, *_), log in zip(calls, logs, strict=True):
        assert f"Session {session} was successful" in log.result()
    first, second = ("Creating virtual" in log.result() for log in logs[:2])
    assert first != second


def test_the_exit_code_of_the_workbench_is_had_without_nox(
    released, tmp_path, run_template, environments
):
    package = make(released, "1.0.0", tmp_path / "package", examples=[])
    append("# Ours.\n", package / "noxfile.py")
    with pytest.raises(RuntimeError, match="exit code 4"):
        run_template(package)
    command = environments / "template" / "bin" / "fractal-workbench"
    done = subprocess.run([command, "template"], cwd=package, check=False)
    assert done.returncode == 4


@pytest.mark.long
def test_the_sessions_need_no_uv(released, tmp_path):
    package = make(released, "1.0.0", tmp_path / "package", examples=[])
    options = ("--default-venv-backend=virtualenv", "-s", "template")
    assert "newer template, 2.0.0" in nox(package, *options)
    assert not INSTALLS.search(nox(package, *options))
    record(package, released, "2.0.0")
    assert "and is the newest" in nox(package, *options)


def test_a_python_that_nox_is_given_changes_no_verb(released, tmp_path):
    package = make(released, "1.0.0", tmp_path / "package", examples=[])
    options = ("--force-python", sys.executable, "-s", "new_task", "--", "--help")
    assert "Usage: fractal-workbench new-task" in nox(package, *options)


def test_messages_of_copier_are_not_shown(released, tmp_path, run_template):
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
    for log in (run_template(package, "update"), run_template(package, "diff")):
        assert not re.search("(?i)warn|tags|shallow|dirty|HEAD", log)
    assert "noxfile.py" in changed(package)


PATH = "seen from another folder: write the absolute path, or the URL"
MOVED = r"If the template has moved, write its place as _src_path into \.copier-answers"
LACKS = "run `git fetch --tags` in it, also with `--unshallow`"
WAYS_OUT = {
    ".": PATH,
    "../template": PATH,
    "/nowhere": MOVED,
    "git+file:///nowhere": MOVED,
    "https://localhost:1/template.git": MOVED,
    "{shallow}": LACKS,
    "git+file://{shallow}": LACKS,
}


@pytest.mark.parametrize(("source", "way_out"), WAYS_OUT.items(), ids=WAYS_OUT)
def test_a_missing_template_is_named_with_a_remedy(
    released, tmp_path, run_template, source, way_out
):
    package = make(released, "1.0.0", tmp_path / "package", examples=[])
    shallow = clone(released, tmp_path / "shallow", "--depth=1")
    source = source.format(shallow=shallow)
    record(package, source, "1.0.0")
    before = contents(package)
    with pytest.raises(RuntimeError, match=f"(?s){way_out}") as error:
        run_template(package, "update")
    assert source.removeprefix("git+") in str(error.value)
    assert "Traceback" not in str(error.value)
    assert contents(package) == before


def test_a_package_without_answers_is_told_so(released, tmp_path, run_template):
    package = make(released, "1.0.0", tmp_path / "package", examples=[])
    (package / ".copier-answers.yml").unlink()
    with pytest.raises(RuntimeError, match=r"_src_path in .copier-answers.yml is ''"):
        run_template(package)


def test_a_manifest_is_written_where_the_workbench_cannot_be_had(released, tmp_path):
    package = make(released, "1.0.0", tmp_path / "package", examples=[])
    record(package, "/nowhere", "1.0.0")
    (manifest,) = package.glob("src/*/__FRACTAL_MANIFEST__.json")
    text = manifest.read_text("utf-8")
    manifest.unlink()
    log = nox(package, "-s", "manifest")
    assert re.search(MOVED, log)
    assert "No workbench here: server, web form" in log
    assert manifest.read_text("utf-8") == text


SOURCES = {
    ("gh:lab/template", "1.0.0"): "git+https://github.com/lab/template@1.0.0",
    ("gl:lab/template", "1.0.0"): "git+https://gitlab.com/lab/template@1.0.0",
    ("git@github.com:lab/t.git", "2"): "git+ssh://git@github.com/lab/t.git@2",
    ("git+https://a.org/t.git", "v1"): "git+https://a.org/t.git@v1",
    ("'https://a.org/t'", "'1.0'"): "git+https://a.org/t@1.0",
    ("https://a.org/t", "1.0-rc-2-g1a2b3c4"): "git+https://a.org/t@1a2b3c4",
    ("https://a.org/t", "1a2b3c4"): "git+https://a.org/t@1a2b3c4",
    ("/my templates/ü@1", "1"): "git+file:///my%20templates/%C3%BC%401@1",
    ("/a b\n    c d/t", "1"): "git+file:///a%20b%20c%20d/t@1",
    ("'/it''s: a\n  b'", "1"): "git+file:///it%27s%3A%20a%20b@1",
    ("~/t", "1"): "git+{home}/t@1",
    ("~/t", None): "{home}/t/workbench",
}


@pytest.fixture(scope="module")
def noxfile(richest):
    """Import the noxfile of a package, which reads the folder that it is run in."""
    spec = importlib.util.spec_from_file_location("noxfile", richest / "noxfile.py")
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(richest)
        spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(("source", "version"), SOURCES)
def test_each_way_to_write_a_template_leads_to_its_workbench(
    noxfile, tmp_path, monkeypatch, source, version
):
    (tmp_path / ".copier-answers.yml").touch()
    record(tmp_path, source, version)
    monkeypatch.chdir(tmp_path)
    expected = SOURCES[source, version].format(home=Path.home().as_uri())
    if version:
        expected += "#subdirectory=workbench"
    assert noxfile.find_workbench()[0] == expected


def test_an_environment_is_not_replaced_while_another_nox_uses_it(
    noxfile, tmp_path, monkeypatch
):
    monkeypatch.setattr(noxfile, "create", lambda environment: True)

    def start(name: str, *, kept: bool = False) -> None:
        place = str(tmp_path / name)
        noxfile.create_alone(SimpleNamespace(location=place, reuse_existing=kept))

    def is_free(name: str) -> bool:
        try:
            with FileLock(tmp_path / f"{name}.lock").acquire(blocking=False):
                return True
        except Timeout:
            return False

    start("lint")
    assert not is_free("lint")
    start("run", kept=True)
    assert is_free("lint")
    assert is_free("run")
    start("types")
    assert not is_free("types")
