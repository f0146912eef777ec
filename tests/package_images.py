"""The image and plate fixtures of the generated package, for the tests of this repository."""

import csv
import importlib.util
from pathlib import Path

import my_fractal_tasks

PACKAGE = Path(my_fractal_tasks.__file__).parent
AXES = [f"{t}{c}{z}yx" for t in ("", "t") for c in ("", "c") for z in ("", "z")]

_spec = importlib.util.spec_from_file_location(
    "package_conftest", PACKAGE.parents[1] / "tests" / "conftest.py"
)
_conftest = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_conftest)
write_image = _conftest.write_image
write_plate = _conftest.write_plate


def read_table(image: Path, name: str) -> list[dict[str, float]]:
    """Rows of a feature table."""
    with (image / "tables" / name / "table.csv").open(newline="") as file:
        return [
            {key: float(value) for key, value in row.items()}
            for row in csv.DictReader(file)
        ]
