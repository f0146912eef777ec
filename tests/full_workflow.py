"""A workflow over all examples, and the TIFFs that it begins with.

As a script: write them into the folder that is given.
"""

import json
import sys
from pathlib import Path

import numpy as np
import onnx
import tifffile
from onnx import TensorProto, helper

SHIFT = (-4, 7)  # of the second acquisition, in y and x


def write_network(path: Path) -> str:
    """Write a network for normalised planes, which says what it sees; return its path."""
    image, seen = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 1, "y", "x"])
        for name in ("image", "seen")
    )
    node = helper.make_node("Identity", ["image"], ["seen"])
    graph = helper.make_graph([node], "identity", [image], [seen])
    opset = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, ir_version=8, opset_imports=opset), path)
    return str(path)


def write_workflow(folder: Path) -> Path:
    """Write z stacks of two wells, one of them in two acquisitions, and a workflow."""
    tiffs = folder / "tiffs"
    tiffs.mkdir(parents=True)
    y, x = np.indices((160, 200))
    for well, seed in (("A01", 1), ("B02", 2)):
        rng = np.random.default_rng(seed)
        pixels = rng.normal(200, 20, y.shape)
        for y0, x0, radius in rng.uniform((20, 20, 4), (140, 180, 12), (12, 3)):
            pixels[np.hypot(y - y0, x - x0) < radius] += 2000
        stack = np.stack([pixels * z / 5 for z in (2, 3, 5, 4, 1)]).astype(np.uint16)
        tifffile.imwrite(tiffs / f"{well}_a0.tif", stack)
        if well == "A01":
            tifffile.imwrite(tiffs / f"{well}_a1.tif", np.roll(stack, SHIFT, (1, 2)))

    def step(name: str, **arguments: object) -> dict[str, object]:
        task = {"pkg_name": "my-fractal-tasks", "version": "0.1.0", "name": name}
        return {"task": task, **arguments}

    workflow = {
        "name": "All examples",
        "task_list": [
            step(
                "Convert TIFFs to OME-Zarr",
                args_non_parallel={"tiff_dir": str(tiffs), "plate_name": "plate"},
            ),
            step("Import OME-Zarr", args_non_parallel={"zarr_name": "plate.zarr"}),
            step("Register Acquisitions"),
            step("Project Image"),
            step("Gaussian Blur", args_parallel={"sigma_xy": 1}),
            step(
                "Threshold Segmentation",
                args_parallel={
                    "min_size": 30,
                    "regions": {"roi_table": "FOV_ROI_table"},
                },
            ),
            step(
                "Model Segmentation",
                args_parallel={
                    "model": write_network(folder / "network.onnx"),
                    "min_size": 30,
                    "label_name": "cells",
                },
            ),
            step("Measure Features"),
            step("Aggregate Tables"),
            step("Check Images", args_non_parallel={"read_pixels": True}),
        ],
    }
    file = folder / "workflow.json"
    file.write_text(json.dumps(workflow, indent=2), encoding="utf-8")
    return file


if __name__ == "__main__":
    write_workflow(Path(sys.argv[1]).resolve())
