"""A package with a workflow of two tasks, as they lie in a folder."""

import json
import sys
from pathlib import Path
from typing import Any

from parity_cases import NOTHING, compound, parallel, units, up
from scripted_task import write_package


def write_workflow(folder: Path, images: list[dict[str, Any]]) -> list[str]:
    """Write it; return what runs it on images, as arguments of a command in the folder."""
    package = folder / "my_tasks"
    (folder / "pyproject.toml").write_text('[project]\nname = "my-tasks"\n')
    first = compound(units(up(images[0]["zarr_url"])), NOTHING)
    job = write_package(package, [first, parallel(NOTHING)])
    (package / "__FRACTAL_MANIFEST__.json").write_text(json.dumps(job["manifest"]))
    (folder / "workflow.json").write_text(json.dumps(job["workflow"]))
    (folder / "images.json").write_text(json.dumps(images))
    given = {"--zarr-dir": "zarr", "--images": "images.json", "--workers": "2"}
    # It has no build: its tasks run as they are.
    given["--env"] = f"my-tasks={sys.executable}"
    return ["workflow.json", *(part for pair in given.items() for part in pair)]
