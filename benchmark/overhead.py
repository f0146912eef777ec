"""Overhead of a workflow, besides its units, for image lists of several lengths.

Planning is what `nox -s run -- … --plan` does, from the start of Python to its end. A unit
is a process that runs `true` in place of a task; as many run at a time as there are
processors, and the figure is the time of all by their number.
"""

import argparse
import contextlib
import io
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from fractal_workbench.engine.runner import run_workflow

WORKFLOW = {
    "name": "Overhead",
    "task_list": [{"task": {"pkg_name": "my-fractal-tasks", "name": "Gaussian Blur"}}],
}


def write_images(folder: Path, number: int) -> Path:
    """Write a list of images of a plate; there are no images."""
    images = [
        {"zarr_url": str(folder / str(index)), "attributes": {"well": f"W{index // 8}"}}
        for index in range(number)
    ]
    file = folder / "images.json"
    file.write_text(json.dumps(images))
    return file


def time_plan(package: Path, folder: Path, images: Path) -> float:
    """Return the seconds that it takes to plan."""
    workflow = folder / "workflow.json"
    workflow.write_text(json.dumps(WORKFLOW))
    command = [sys.executable, "-m", "fractal_workbench", "run", workflow, "--plan"]
    start = time.perf_counter()
    subprocess.run(
        [*command, "--zarr-dir", folder, "--images", images],
        cwd=package,
        check=True,
        stdout=subprocess.DEVNULL,
    )
    return time.perf_counter() - start


def time_unit(package: Path, folder: Path, images: Path) -> float:
    """Return the seconds of a unit, in a workflow of many."""
    start = time.perf_counter()
    with contextlib.redirect_stdout(io.StringIO()):
        left = run_workflow(
            WORKFLOW,
            zarr_dir=folder,
            images=json.loads(images.read_text()),
            workers=os.cpu_count(),
            package_root=package / "src" / "my_fractal_tasks",
            python="true",
        )
    return (time.perf_counter() - start) / len(left)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("package", type=Path, help="with all examples")
    parser.add_argument("--images", nargs="+", type=int, default=[300, 3000, 10000])
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args(arguments)
    print("| images | seconds of planning | milliseconds of a unit |\n|---|---|---|")
    for number in args.images:
        figures = []
        for _ in range(args.rounds):
            with tempfile.TemporaryDirectory() as name:
                folder = Path(name).resolve()
                images = write_images(folder, number)
                plan = time_plan(args.package, folder, images)
                figures.append((plan, 1000 * time_unit(args.package, folder, images)))
        plans, units = zip(*figures, strict=True)
        print(f"| {number} | {median(plans):.2f} | {median(units):.2f} |", flush=True)


if __name__ == "__main__":
    main()
