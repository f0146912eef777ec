"""A workflow of the tasks of a package, on a plate of real cells."""

import json
import shutil
import sys
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from scipy import ndimage

from ..engine import rules
from ..engine.command import run
from ..engine.rules import Image, Task
from ..project import project
from ..report.page import Report
from .cells import (
    FIELD,
    PIXEL,
    SOURCE,
    STEP,
    WELLS,
    Well,
    write_layout,
    write_plate,
    write_tiffs,
)

TITLE = "Demo on a plate of fly cells"
DESCRIPTION = f"The cells are those of {SOURCE}."
PLATE = "plate.zarr"
DRAWN = "drawn"  # label of the nuclei, for want of a segmentation
NARROW, WIDE = 1.5, 12.0  # sigma of what the network compares
PART = 0.8  # of the wide one that is subtracted
CONTRAST = 0.06  # of the range of the pixels, above which there is a nucleus


class Candidate(NamedTuple):
    """A possible step of the workflow.

    Attributes:
        name: Example whose task it is, or module of a task of the owner.
        parallel: Arguments of what runs for each image.
        non_parallel: Arguments of what runs once.
        missing: What it needs, and the package cannot give.
    """

    name: str
    parallel: dict[str, Any] | None = None
    non_parallel: dict[str, Any] | None = None
    missing: str = ""


def read_tasks() -> dict[str, Task]:
    """Read the tasks of the package, by the name of their example or module."""
    file = project().root / "__FRACTAL_MANIFEST__.json"
    tasks = {}
    for task in rules.Manifest.model_validate(rules.read_json(file)).task_list:
        module = Path(
            task.executable_parallel or task.executable_non_parallel or ""
        ).stem
        tasks[module.removesuffix("_compute")] = task
    return tasks


def write_network(file: Path) -> None:
    """Write a network that detects pixels brighter than their surroundings.

    Nobody has trained it: it is the difference of two blurs. It stands for the weights of
    a real one, which no package registry has.
    """
    reach = int(3 * WIDE)
    point = np.zeros((1, 1, 2 * reach + 1, 2 * reach + 1))
    point[..., reach, reach] = 1
    near, far = (
        ndimage.gaussian_filter(point, (0, 0, sigma, sigma), truncate=3)
        for sigma in (NARROW, WIDE)
    )
    steepness = 50
    weights = {
        "around": np.array([0, 0, reach, reach] * 2),
        "kernel": ((near - PART * far) * steepness).astype(np.float32),
        "bias": np.array([-CONTRAST * steepness], np.float32),
    }
    nodes = [
        helper.make_node("Pad", ["image", "around"], ["padded"], mode="edge"),
        helper.make_node("Conv", ["padded", "kernel", "bias"], ["contrast"]),
        helper.make_node("Sigmoid", ["contrast"], ["nucleus"]),
    ]
    image, nucleus = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 1, "y", "x"])
        for name in ("image", "nucleus")
    )
    arrays = [numpy_helper.from_array(array, name) for name, array in weights.items()]
    graph = helper.make_graph(nodes, "contrast", [image], [nucleus], arrays)
    opset = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, ir_version=8, opset_imports=opset), file)


def list_candidates(folder: Path, tasks: Mapping[str, Task]) -> list[Candidate]:
    """List the steps of a workflow of all examples and of the owner's parallel tasks."""
    dapi = {"mode": "label", "identifier": "DAPI"}
    tiffs = {
        "tiff_dir": str(folder / "tiffs"),
        "pixel_size_xy": PIXEL["x"],
        "pixel_size_z": PIXEL["z"],
        "fields": {"overlap": 100 * (1 - STEP / FIELD)},
        "plate_layout": str(folder / "layout.csv"),
    }
    segmentation = {"channel": dapi, "min_size": 30}
    model = {"model": str(folder / "contrast.onnx"), "label_name": "nuclei"}
    label = "nuclei" if "model_segmentation" in tasks else "objects"
    missing = ""
    if not is_measured(tasks):
        label = DRAWN
        if "convert_tiffs" in tasks:
            missing = "it needs objects: add a segmentation, and a measurement"
    measurements = [
        Candidate("measure_features", {"label_name": label}, missing=missing),
        Candidate("aggregate_tables", non_parallel={"rows": "wells"}, missing=missing),
    ]
    candidates = [
        Candidate("convert_tiffs", non_parallel=tiffs),
        Candidate("import_ome_zarr", non_parallel={"zarr_name": PLATE}),
        *([] if is_measured(tasks) else measurements),  # before there are new images
        Candidate("register_acquisitions", {"channel": dapi}),
        Candidate("project_image"),
        Candidate("gaussian_blur"),
        Candidate("threshold_segmentation", segmentation),
        Candidate("model_segmentation", segmentation | model | {"overlap": 64}),
        *(measurements if is_measured(tasks) else []),
        Candidate("check_images", non_parallel={"read_pixels": True}),
    ]
    examples = {candidate.name for candidate in candidates}
    for name, task in tasks.items():
        if name not in examples:
            parallel = task.type == "parallel"
            missing = "" if parallel else "of your own tasks, parallel ones are tried"
            candidates.append(Candidate(name, missing=missing))
    return [candidate for candidate in candidates if candidate.name in tasks]


def is_measured(tasks: Collection[str]) -> bool:
    """Whether the workflow measures objects that it has segmented."""
    segmentations = {"threshold_segmentation", "model_segmentation"}
    return "measure_features" in tasks and not segmentations.isdisjoint(tasks)


def make_workflow(
    candidates: Iterable[Candidate], tasks: Mapping[str, Task]
) -> dict[str, Any]:
    """Make a workflow of the steps that can run, with reasons for the others."""
    steps = []
    types = {"is_3D": True}
    version = project().read_version()  # without which no server imports a step
    for candidate in candidates:
        task = tasks[candidate.name]
        reference = {"pkg_name": project().name, "version": version}
        step: dict[str, Any] = {"task": reference | {"name": task.name}}
        if candidate.parallel:
            step["args_parallel"] = candidate.parallel
        if candidate.non_parallel:
            step["args_non_parallel"] = candidate.non_parallel
        mistakes = rules.find_mistakes(rules.Step.model_validate(step), task)
        missing = candidate.missing or "; ".join(mistakes)
        if not missing and not task.input_types.items() <= types.items():
            missing = f"it takes images of the types {task.input_types}"
        if missing:
            print(f"{task.name} is not in the workflow: {missing}")
        else:
            steps.append(step)
            types |= task.output_types
    return {"name": TITLE, "description": DESCRIPTION, "task_list": steps}


def write_input(folder: Path, tasks: Collection[str], wells: list[Well]) -> list[Image]:
    """Write the input of the workflow, and return its image list."""
    if "model_segmentation" in tasks:
        write_network(folder / "contrast.onnx")
    if "convert_tiffs" in tasks:
        write_tiffs(folder / "tiffs", wells)
        write_layout(folder / "layout.csv", wells)
        return []
    label = table = ""
    if not is_measured(tasks):
        label = DRAWN
        table = "" if "measure_features" in tasks else "features"
    images = write_plate(folder / "zarr" / PLATE, wells, label=label, table=table)
    return [] if "import_ome_zarr" in tasks else images


def run_demo(chosen: Path | None, wells: int) -> None:
    """Make the plate and the workflow, and run it."""
    folder = (chosen or project().folder / ".nox" / "demo-out").resolve()
    shutil.rmtree(folder, ignore_errors=True)
    try:
        tasks = read_tasks()
        workflow = make_workflow(list_candidates(folder, tasks), tasks)
        (folder / "zarr").mkdir(parents=True)
        images = write_input(folder, tasks, WELLS[:wells])
        file, page = folder / "workflow.json", folder / "index.html"
        if workflow["task_list"]:
            file.write_text(json.dumps(workflow, indent=2), encoding="utf-8")
            listed = folder / "images.json"
            listed.write_text(json.dumps(images, indent=2), encoding="utf-8")
            run(file, folder / "zarr", images, report=page)
        else:
            Report(TITLE, folder / "zarr", images, [], workflow).write(page)
    except (OSError, RuntimeError, ValueError, rules.WorkflowError) as error:
        sys.exit(f"\n{error}")
    print(f"\nThe plate: {folder / 'zarr' / PLATE}")
    if workflow["task_list"]:
        print(f"The workflow, which Fractal's web interface can import: {file}")
    else:
        print("No task can run on it yet: `nox -s new_task -- --help` adds one.")
    print(f"The page: {page}")
