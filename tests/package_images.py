"""The image and plate fixtures of the generated package, for the tests of this repository."""

import csv
import importlib.util
from pathlib import Path

import my_fractal_tasks
import onnx
from onnx import TensorProto, helper

PACKAGE = Path(my_fractal_tasks.__file__).parent
AXES = [f"{t}{c}{z}yx" for t in ("", "t") for c in ("", "c") for z in ("", "z")]

_spec = importlib.util.spec_from_file_location(
    "package_conftest", PACKAGE.parents[1] / "tests" / "conftest.py"
)
_conftest = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_conftest)
write_image = _conftest.write_image
write_plate = _conftest.write_plate


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


def read_table(image: Path, name: str) -> list[dict[str, float]]:
    """Rows of a feature table."""
    with (image / "tables" / name / "table.csv").open(newline="") as file:
        return [
            {key: float(value) for key, value in row.items()}
            for row in csv.DictReader(file)
        ]
