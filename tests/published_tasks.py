"""Tasks of four packages in one workflow, three of them from PyPI, by `nox -s run`.

`nox -- tests/published_tasks.py`: each package gets an environment, which takes minutes
and gigabytes the first time, and depends on what their authors publish. So it is no test
of each run.
"""

import json
import subprocess
import sys
import time

import numpy as np
import tifffile
from fractal_workbench.kit import open_image, open_label, plate_images, read_table

THEIRS = {
    "zmb-fractal-tasks": "0.4.3",
    "fractal-tasks-core": "2.1.0",
    "apx-fractal-task-collection": "0.4.14",
}


def step(package: str, name: str, *, init: object = None, **arguments: object) -> dict:
    version = THEIRS.get(package)
    reference = {"pkg_name": package, "name": name, "version": version}
    found = {"args_parallel": arguments, "args_non_parallel": init}
    return {"task": reference} | {k: v for k, v in found.items() if v}


STEPS = [
    step("my-fractal-tasks", "Convert TIFFs to OME-Zarr"),
    step("my-fractal-tasks", "Project Image", init={"suffix": "mip"}),
    step("my-fractal-tasks", "Threshold Segmentation", label_name="nuclei"),
    step(
        "zmb-fractal-tasks",
        "Expand segmentation",
        expansion_distance=3,
        union_output_label_name="cells",
        difference_output_label_name="rings",
    ),
    step("fractal-tasks-core", "Measure Features", input_label_name="cells"),
    step(
        "apx-fractal-task-collection",
        "Filter Label by Size",
        init={"label_name": "cells"},
        output_label_name="large",
        min_size=100,
        max_size=10**6,
    ),
]


def test_four_packages_in_one_workflow(richest, tmp_path, monkeypatch):
    # The newest environment of zmb-fractal-tasks has a pyarrow that needs another NumPy.
    constraint = tmp_path / "constraint.txt"
    constraint.write_text("pyarrow<21\n")
    monkeypatch.setenv("UV_CONSTRAINT", str(constraint))
    tiffs, zarr_dir = tmp_path / "tiffs", tmp_path / "zarr"
    tiffs.mkdir()
    y, x = np.mgrid[:160, :160]
    for well, radius in (("A01", 4), ("B02", 8)):
        away = np.hypot((y % 40) - 20, (x % 40) - 20)
        pixels = np.random.default_rng(0).normal(200, 20, y.shape)
        pixels[away < radius] += 2000
        tifffile.imwrite(
            tiffs / f"{well}.tif", np.stack([pixels, pixels]).astype(np.uint16)
        )
    STEPS[0]["args_non_parallel"] = {"tiff_dir": str(tiffs), "plate_name": "plate"}
    workflow = tmp_path / "workflow.json"
    workflow.write_text(json.dumps({"name": "Four packages", "task_list": STEPS}))
    command = [sys.executable, "-m", "fractal_workbench", "run", workflow]
    command += ["--zarr-dir", zarr_dir]
    start = time.monotonic()
    subprocess.run([*command, "--plan"], cwd=richest, check=True)
    print(f"All steps were checked in {time.monotonic() - start:.1f} s.")
    subprocess.run([*command, "--yes"], cwd=richest, check=True)

    images = [open_image(path) for path in plate_images(zarr_dir / "plate_mip.zarr")]
    counts = {}
    for image in images:
        assert {*image.label_names} == {"nuclei", "cells", "rings", "large"}
        label = {
            n: np.asarray(open_label(image, n).levels[0]) for n in image.label_names
        }
        counts[image.path.parts[-3]] = {
            name: len(np.unique(found)) - 1 for name, found in label.items()
        }
        assert (label["rings"] == np.where(label["nuclei"], 0, label["cells"])).all()
        table = read_table(image, "region_props_features")
        assert len(table.columns["label"]) == 16
    assert counts["A"] == {"nuclei": 16, "cells": 16, "rings": 16, "large": 16}
    assert (zarr_dir / "report.html").stat().st_size > 100_000
