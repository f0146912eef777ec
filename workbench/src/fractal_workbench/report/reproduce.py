"""Files of a page to download, and how its workflow can run again."""

import base64
import json
import os
import platform
import re
import shlex
from collections.abc import Collection, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

from ..engine.history import StepDone
from ..engine.rules import Image
from ..project import find_project
from .plate import plate_names

MAX_FILE = 500_000  # characters of a file that is a part of the page


class File(NamedTuple):
    """A file that the page offers.

    Attributes:
        name: Its name.
        text: Its content.
        data: The same as a data URI.
    """

    name: str
    text: str
    data: str


class Reproduction(NamedTuple):
    """How to run a workflow again.

    Attributes:
        command: The command line.
        files: Workflow and image list, which the command line names.
        versions: Name and version of the packages, of Python and of libraries.
        machine: Name and kind of the machine.
        folder: Where to run the command line, in words.
        remark: A file that the page does not have, in a sentence.
    """

    command: str
    files: list[File]
    versions: list[tuple[str, str]]
    machine: str
    folder: str
    remark: str = ""


def reproduce(
    steps: Sequence[StepDone],
    workflow: Mapping[str, Any] | None,
    images: Sequence[Image],
    zarr_dir: Path,
    options: Sequence[str],
) -> Reproduction:
    """Describe how to run the steps of a workflow again.

    Args:
        steps: The steps that ran.
        workflow: The workflow, as Fractal exports it.
        images: The image list to begin with.
        zarr_dir: Folder of the dataset.
        options: Further options of the command line.
    """
    files = []
    remark = ""
    package = package_with_run()
    verb = ["nox", "-s", "run", "--"] if package else ["fractal-workbench", "run"]
    command = [*verb, "workflow.json", "--zarr-dir", str(zarr_dir)]
    if workflow:
        files.append(as_file("workflow.json", with_versions(workflow, steps)))
    if images:
        given = as_file("images.json", [*images])
        if len(given.text) <= MAX_FILE:
            files.append(given)
        else:
            remark = (
                f"images.json has {len(images)} images: it is too long for this page."
            )
        command += ["--images", "images.json"]
    packages = {f"{step.package}": step.version or "unknown" for step in steps}
    libraries = ("fractal-workbench", "zarr", "numpy")
    versions = {"Python": platform.python_version()}
    for name in libraries:
        try:
            versions[name] = metadata.version(name)
        except (
            metadata.PackageNotFoundError
        ):  # the files of the kit, without its package
            continue
    return Reproduction(
        command=without_passwords(shlex.join([*command, *options])),
        files=files,
        versions=[*packages.items(), *versions.items()],
        machine=f"{platform.node()}, {platform.platform()}, {os.cpu_count()} processors",
        folder=f"the folder of the package {package}" if package else "a folder",
        remark=remark,
    )


def package_with_run() -> str:
    """Name of the package in the current folder, if it has the session `run` of nox."""
    project = find_project()
    file = project.folder / "noxfile.py" if project else None
    if project is None or file is None or not file.is_file():
        return ""
    has_run = re.search(r"^def run\(", file.read_text("utf-8", "replace"), re.MULTILINE)
    return project.name if has_run else ""


def with_versions(
    workflow: Mapping[str, Any], steps: Sequence[StepDone]
) -> dict[str, Any]:
    """Return a workflow with the version of each package that ran."""
    tasks: list[Any] = [dict(step) for step in workflow["task_list"]]
    for task, done in zip(tasks, steps, strict=False):
        if done.version and not task["task"].get("version"):
            task["task"] = {**task["task"], "version": done.version}
    return {**workflow, "task_list": tasks}


def as_file(name: str, content: object) -> File:
    """A JSON file to download."""
    text = json.dumps(content, indent=2, ensure_ascii=False)
    return File(name, text, data_uri("application/json", text))


def plate_tables(plates: Collection[Path]) -> tuple[list[File], list[Path]]:
    """Tables of plates in CSV: those to download, and those too long for the page."""
    files, long = [], []
    names = plate_names(map(str, plates))
    for plate in sorted(plates):
        for table in sorted(plate.glob("tables/*/table.csv")):
            if table.stat().st_size > MAX_FILE:
                long.append(table)
                continue
            name = f"{names[str(plate)]}-{table.parent.name}.csv".replace("/", "-")
            text = table.read_text("utf-8", errors="replace")
            files.append(File(name, text, data_uri("text/csv", text)))
    return files, long


def data_uri(kind: str, text: str) -> str:
    """Data URI of a text."""
    return f"data:{kind};base64,{base64.b64encode(text.encode()).decode()}"


def without_passwords(command: str) -> str:
    """Remove names and passwords from URLs: the page may be sent to others."""
    return re.sub(r"(?<=://)[^/@\s']+@", "", command)
