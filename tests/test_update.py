"""`copier update` brings what the template owns, and leaves alone what the owner does."""

from pathlib import Path

import copier
import pytest
import rendering


def git(folder: Path, *arguments: str) -> None:
    identity = ["-c", "user.name=Tests", "-c", "user.email=tests@example.org"]
    rendering.run("git", *identity, *arguments, cwd=folder)


def commit(folder: Path, tag: str | None = None) -> None:
    if not (folder / ".git").exists():
        git(folder, "init", "--quiet")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "All")
    if tag:
        git(folder, "tag", tag)


@pytest.fixture
def versioned(tmp_path) -> Path:
    """Return a template of which one version is released."""
    folder = rendering.snapshot(tmp_path / "template")
    commit(folder, "1.0.0")
    return folder


def append(text: str, *paths: Path) -> None:
    for path in paths:
        path.write_text(path.read_text(encoding="utf-8") + text, encoding="utf-8")


def test_an_update_changes_the_files_of_the_template_and_none_of_the_owner(
    versioned, tmp_path
):
    package = rendering.render(versioned, tmp_path / "package")
    modules = rendering.import_folder(package)
    owned = [
        modules / "gaussian_blur.py",
        modules / "dev" / "docs_info" / "gaussian_blur.md",
        modules / "__FRACTAL_MANIFEST__.json",
        package / "tests" / "test_gaussian_blur.py",
        package / "README.md",
        package / "CHANGELOG.md",
    ]
    append("\n# Mine.\n", *owned)
    before = {path: path.read_bytes() for path in owned}
    deleted = modules / "check_images.py"
    deleted.unlink()
    task_list = modules / "dev" / "task_list.py"
    marker = "# Add your own tasks below this line.\n"
    entry = '    ParallelTask(name="Mine", executable="mine.py"),\n'
    text = task_list.read_text(encoding="utf-8")
    task_list.write_text(text.replace(marker, marker + entry), encoding="utf-8")
    commit(package)

    source = versioned / "template" / "package"
    for path in source.rglob("*"):
        if path.suffix in (".py", ".md", ".jinja") and "_copier_conf" not in path.name:
            append("\n# The template's.\n", path)
    commit(versioned, "2.0.0")
    copier.run_update(package, defaults=True, overwrite=True, quiet=True)

    assert {path: path.read_bytes() for path in owned} == before
    assert not deleted.exists()
    assert entry in task_list.read_text(encoding="utf-8")
    for path in (
        package / "noxfile.py",
        package / "pyproject.toml",
        package / "tests" / "conftest.py",
        package / "tests" / "test_manifest.py",
        modules / "fractal_io.py",
        modules / "ome_zarr_io.py",
        modules / "dev" / "create_manifest.py",
        task_list,
    ):
        assert "# The template's." in path.read_text(encoding="utf-8"), path
    assert not list(package.rglob("*.rej"))
