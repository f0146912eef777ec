"""Read an existing package: metadata, tasks, requirements, license."""

import json
import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from ..project import ANSWERS, MANIFEST, git

# By what people write in pyproject.toml; others have no counterpart in the template.
LICENSES = {
    "apache-2.0": "Apache-2.0",
    "bsd-3-clause": "BSD-3-Clause",
    "gpl-3.0-or-later": "GPL-3.0-or-later",
    "mit": "MIT",
}


class Rejected(Exception):
    """The package cannot be adopted; nothing was written."""


class Package(NamedTuple):
    """An existing package."""

    root: Path
    name: str  # normalised
    modules: Path
    pyproject: dict[str, Any]
    answers: dict[str, Any]  # to the template that it was made with
    manifest: dict[str, Any]

    @property
    def project(self) -> dict[str, Any]:
        table: dict[str, Any] = self.pyproject["project"]
        return table

    @property
    def requirements(self) -> dict[str, SpecifierSet]:
        """The packages that it depends on, and their versions."""
        return read_requirements(self.project.get("dependencies", []))

    @property
    def tasks(self) -> list[dict[str, Any]]:
        """Its tasks, by the manifest."""
        tasks: list[dict[str, Any]] = self.manifest.get("task_list", [])
        return tasks

    @property
    def docs_links(self) -> list[str]:
        """The addresses of documentation in the manifest, as a rule one."""
        return sorted({task.get("docs_link") or "" for task in self.tasks} - {""})


def normalise(name: str) -> str:
    """Return the name of a distribution as pip compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def read_requirements(texts: list[str]) -> dict[str, SpecifierSet]:
    """Return the specifiers by name."""
    requirements = map(Requirement, texts)
    return {normalise(r.name): r.specifier for r in requirements}


def find_package(root: Path) -> Package:
    """Read a package, or reject it."""
    file = root / "pyproject.toml"
    if not file.is_file():
        raise Rejected(f"{root} is no Python package: it has no pyproject.toml.")
    try:
        pyproject = tomllib.loads(file.read_text(encoding="utf-8"))
        written = pyproject["project"]["name"]
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise Rejected(f"{file} is not valid: {error}.") from error
    except KeyError as error:
        old = [name for name in ("setup.cfg", "setup.py") if (root / name).exists()]
        moved = f": move there what {' and '.join(old)} says" if old else ""
        raise Rejected(f"{file} has no [project] with a name{moved}.") from error
    name = normalise(written)
    if written.replace("_", "-") != name:
        raise Rejected(
            f'{file}: write the name "{written}" as "{name}", which is the same for pip.'
        )
    module = name.replace("-", "_")
    modules = root / "src" / module
    if not (modules / "dev" / "task_list.py").is_file():
        elsewhere = [
            path.parents[1].relative_to(root)
            for pattern in ("src/*/dev/task_list.py", "*/dev/task_list.py")
            for path in root.glob(pattern)
        ]
        if not elsewhere:
            raise Rejected(
                f"{root} is no package of Fractal tasks: it has no src/{module}/dev/task_list.py."
            )
        raise Rejected(
            f"The modules of {written} are in {elsewhere[0]}, and have to be in src/{module}: "
            "a Fractal server finds a package by its own name only, and the template "
            "keeps it in src. Move the folder, or rename the project."
        )
    try:
        changes = git(root, "status", "--porcelain", "--", ".")
    except (OSError, subprocess.CalledProcessError) as error:
        raise Rejected(
            f"{root} is not under git: `git init`, and commit all of it. "
            "What adopting does can then be read, and undone."
        ) from error
    if changes:
        raise Rejected(
            f"{root} has changes that are not committed: commit or stash them. "
            f"What adopting does can then be read, and undone.\n{changes.rstrip()}"
        )
    file = root / ANSWERS
    answers = yaml.safe_load(file.read_text("utf-8")) or {} if file.exists() else {}
    if "min_python" in answers:
        raise Rejected(f"{root} is under this template already: run `copier update`.")
    file = modules / MANIFEST
    manifest = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    return Package(root, name, modules, pyproject, answers, manifest)


def find_license(package: Package) -> str:
    """Return the license as the package writes it."""
    license = package.project.get("license", "")
    if isinstance(license, dict):
        license = license.get("text", "")
    return str(license or package.answers.get("project_license", ""))
