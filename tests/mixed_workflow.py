"""Workflows of tasks of this package and of fractal-tasks-core on a plate of spots."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from my_fractal_tasks.kit import (
    Table,
    open_image,
    open_label,
    plate_images,
    read_table,
    table_names,
)

from fractal_workbench.engine.runner import run_workflow

FIELD = 160  # pixels; a well has 2 x 2 fields
SHIFT = (8, -4)  # of the second acquisition in y and x, to be undone
FIELDS = {"roi_table": "FOV_ROI_table"}

Images = list[dict[str, Any]]
Step = tuple["Tasks", dict[str, Any]]


class Tasks:
    """The tasks of a package, in its environment."""

    def __init__(self, root: Path, python: str | Path) -> None:
        self.name = root.name.replace("_", "-")
        self.python = python
        manifest = json.loads((root / "__FRACTAL_MANIFEST__.json").read_text("utf-8"))
        self.tasks = {task["name"]: task for task in manifest["task_list"]}
        self.job = {"package_root": root, "python": str(python), "manifest": manifest}

    def __call__(self, name: str, **arguments: Any) -> Step:
        """A step of a workflow; each argument goes to the part that knows it."""
        step: dict[str, Any] = {"task": {"pkg_name": self.name, "name": name}}
        for kind in ("parallel", "non_parallel"):
            schema = self.tasks[name].get(f"args_schema_{kind}") or {"properties": ()}
            known = arguments.keys() & schema["properties"]
            step[f"args_{kind}"] = {key: arguments.pop(key) for key in known}
        assert not arguments, f"{name} does not know {[*arguments]}"
        return self, step


def run_steps(folder: Path, images: Images, *steps: Step) -> Images:
    """Run a workflow; return the image list that it leaves."""
    types: dict[str, bool] = {}
    for tasks, step in steps:
        name = step["task"]["name"]
        images = run_workflow(
            {"name": "mixed", "task_list": [step]},
            zarr_dir=folder,
            images=images,
            type_filters=types,
            # Its units replace images that its other units read.
            workers=1 if name == "Apply Registration to Image" else 2,
            **tasks.job,
        )
        types |= tasks.tasks[name].get("output_types") or {}
    return images


def write_tiffs(folder: Path, wells: dict[str, int], n_planes: int) -> None:
    """Spots on a dark background in two channels, with a shift between acquisitions.

    Args:
        folder: Folder of the files.
        wells: Number of acquisitions by name of the well.
        n_planes: Number of z planes.
    """
    folder.mkdir()
    rng = np.random.default_rng(0)
    size, margin = 2 * FIELD, max(map(abs, SHIFT))
    z, y, x = np.indices((n_planes, size + 2 * margin, size + 2 * margin))
    for well, n_acquisitions in wells.items():
        scene = np.zeros(z.shape)
        for _ in range(80):
            at = rng.uniform(0, n_planes), *rng.uniform(0, len(y[0]), 2)
            distance = (3 * (z - at[0])) ** 2 + (y - at[1]) ** 2 + (x - at[2]) ** 2
            scene += rng.uniform(1500, 3000) * np.exp(-distance / rng.uniform(18, 50))
        for acquisition in range(n_acquisitions):
            top, left = (margin + acquisition * shift for shift in SHIFT)
            view = scene[:, top : top + size, left : left + size]
            for channel, factor in (("DAPI", 1), ("GFP", 0.5)):
                pixels = rng.normal(100 + factor * view, 5).astype(np.uint16)
                for field in range(4):
                    top, left = (n * FIELD for n in divmod(field, 2))
                    tifffile.imwrite(
                        folder / f"{well}_a{acquisition}_f{field}_c{channel}.tif",
                        pixels[:, top : top + FIELD, left : left + FIELD],
                        photometric="minisblack",
                    )


def convert(ours: Tasks, folder: Path, **arguments: Any) -> Step:
    """The step that makes a plate of the TIFF files in `folder`."""
    arguments = {"pixel_size_xy": 0.5} | arguments
    return ours("Convert TIFFs to OME-Zarr", tiff_dir=str(folder), **arguments)


def illumination(folder: Path, wavelengths: list[str]) -> dict[str, Any]:
    """Input of `Illumination Correction`: the left half of each field is dimmer."""
    profile = np.full((FIELD, FIELD), 200, np.uint8)
    profile[:, : FIELD // 2] = 100
    tifffile.imwrite(folder / "profile.tif", profile)
    profiles = dict.fromkeys(wavelengths, "profile.tif")
    return {"illumination_profiles": {"folder": str(folder), "profiles": profiles}}


def run_mixed(core: Tasks, ours: Tasks, folder: Path, n_planes: int) -> None:
    """Run each task of fractal-tasks-core at its defaults, and ours in between.

    The plate as it was converted stays as `before.zarr`; `images.json` and `used.json`
    have the image list and the names of their tasks that were run.
    """
    wells = {"A01": 2, "B03": 1} if n_planes > 1 else {"A01": 2}
    write_tiffs(folder / "tiffs", wells, n_planes)
    depth = {"pixel_size_z": 1.5} if n_planes > 1 else {}
    images = run_steps(folder, [], convert(ours, folder / "tiffs", **depth))
    shutil.copytree(folder / "plate.zarr", folder / "before.zarr")
    channels = open_image(images[0]["zarr_url"]).channels
    wavelengths = [channel["wavelength_id"] for channel in channels]
    registered = {"registered_roi_table": "FOV_ROI_table_registered"}
    measured = [
        ours("Threshold Segmentation", regions=FIELDS, masking_roi_table="masks"),
        core("Threshold Segmentation", channel={"identifier": "DAPI"}),
        core("Measure Features", input_label_name="objects"),
        ours("Measure Features"),
        ours("Measure Features", label_name="DAPI_segmented", table_name="of_theirs"),
    ]
    steps = [
        core("Calculate Registration (image-based)", wavelength_id=wavelengths[0]),
        core("Find Registration Consensus"),
        core("Apply Registration to Image", **registered),
        core("Illumination Correction", **illumination(folder, wavelengths)),
    ]
    if n_planes > 1:
        steps += [*measured, core("Project Image (HCS Plate)")]
    steps += [
        ours("Gaussian Blur", regions=FIELDS),
        *measured,
        ours("Aggregate Tables"),
        ours("Check Images"),
    ]
    images = run_steps(folder, images, *steps)
    if n_planes > 1:
        volumes = [image for image in images if image["types"].get("is_3D")]
        images += run_steps(folder, volumes, ours("Project Image"))
    used = [step["task"]["name"] for tasks, step in steps if tasks is core]
    (folder / "images.json").write_text(json.dumps(images))
    (folder / "used.json").write_text(json.dumps(used))


def pixels(path: Path) -> np.ndarray:
    """Pixels of an image."""
    return np.asarray(open_image(path).levels[0])


def n_rows(table: Table) -> int:
    """Number of rows."""
    return len(next(iter(table.columns.values())))


def describe(plate: Path) -> dict[str, Any]:
    """The result of `with_ngio.describe`, by the kit."""
    found = {}
    for path in plate_images(plate):
        image = open_image(path)
        tables = {name: read_table(image, name) for name in table_names(image)}
        found[str(path.relative_to(plate))] = {
            "shape": list(image.shape),
            "sum": int(pixels(path).sum(dtype=np.uint64)),
            "levels": len(image.levels),
            "channels": image.channel_names,
            "wavelengths": [channel["wavelength_id"] for channel in image.channels],
            "labels": {
                name: int(np.max(open_label(image, name).levels[0]))
                for name in image.label_names
            },
            "tables": {
                name: [table.type, n_rows(table), table.label_name]
                for name, table in tables.items()
            },
        }
    return found
