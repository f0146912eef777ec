"""The task package in the current folder."""

import os
import subprocess
import sys
import tomllib
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

MANIFEST = "__FRACTAL_MANIFEST__.json"
ANSWERS = ".copier-answers.yml"


class Project(NamedTuple):
    """The source folder of a task package.

    Attributes:
        folder: Where `pyproject.toml` is.
        table: The table `project` of that file.
    """

    folder: Path
    table: dict[str, Any]

    @property
    def name(self) -> str:
        """Name of the package, as in `pip install`."""
        return str(self.table["name"])

    @property
    def root(self) -> Path:
        """Folder of the modules, with the manifest."""
        module = self.name.replace("-", "_").replace(".", "_")
        flat = self.folder / module
        return flat if flat.is_dir() else self.folder / "src" / module

    @property
    def pyproject(self) -> Path:
        """Its `pyproject.toml`."""
        return self.folder / "pyproject.toml"

    @property
    def task_list(self) -> Path:
        """The module that lists the tasks."""
        return self.root / "dev" / "task_list.py"

    def read_version(self) -> str | None:
        """Return the version; one that comes from git is known if the package is installed."""
        if "version" in self.table:
            return str(self.table["version"])
        try:
            return metadata.version(self.name)
        except metadata.PackageNotFoundError:
            return None


@cache
def _read(folder: Path) -> Project | None:
    file = folder / "pyproject.toml"
    try:
        table = tomllib.loads(file.read_text("utf-8")).get("project", {})
    except FileNotFoundError:
        return None
    except ValueError as error:  # of TOML, or of UTF-8
        sys.exit(f"{file}: {error}: correct the file")
    return Project(folder, table) if "name" in table else None


def find_project() -> Project | None:
    """Return the task package in the current folder, if there is one."""
    known = _read(Path.cwd())
    return known if known and known.root.is_dir() else None


def project() -> Project:
    """Return the task package in the current folder, or exit with what is missing there."""
    if (known := find_project()) is None:
        sys.exit(
            f"{Path.cwd()} has no task package: go to the folder of its pyproject.toml"
        )
    return known


def git(folder: Path, *arguments: str) -> str:
    """Run git without the variables of a hook; a failure raises `CalledProcessError`."""
    keep = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}
    return subprocess.run(
        ["git", "-C", folder, *arguments],
        env=keep,
        capture_output=True,
        check=True,
        text=True,
        encoding="utf-8",
    ).stdout
