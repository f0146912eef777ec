"""Tasks with ngio are green without the kit, give the kit's results, and reject bad input."""

import csv
import importlib
import os
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import click
import numpy as np
import pandas as pd
import pytest
import zarr
from click.testing import CliRunner, Result
from package_images import write_image, write_plate
from rendering import import_folder, run
from test_new_task import FILLED, add, create_manifest
from test_rendering import imports

from fractal_workbench import cli
from fractal_workbench.new_task.names import module_name

# Some names are as long as can be, for the formatter.
MAKES = {
    "image": "Médian's Filter",
    "label": "n" * 40,
    "features": "Measure Cells",
    "table": "t" * 40,
}


@pytest.fixture(scope="module")
def package(render, tmp_path_factory) -> Path:
    """A package with a task of each kind."""
    package = render(
        tmp_path_factory.mktemp("ngio") / "package",
        project_name="a-name-of-just-as-many-letters-as-can-be",
        examples=[],
    )
    names = MAKES.items()
    add(
        package,
        *([name, "--makes", kind, "--with-library", "ngio"] for kind, name in names),
    )
    return package


@pytest.fixture
def load(package, monkeypatch):
    """Import a task of the package."""
    monkeypatch.syspath_prepend(package / "src")

    def load(task: str) -> tuple[ModuleType, Callable[..., Any]]:
        name = module_name(task)
        module = importlib.import_module(f"{import_folder(package).name}.{name}")
        return module, getattr(module, name)

    return load


def test_a_package_of_such_tasks_has_no_kit_and_is_green(package, is_weekly):
    modules = import_folder(package)
    assert len(create_manifest(package)) == len(MAKES)
    assert not (modules / "kit").exists()
    assert "kit: false" in (package / ".copier-answers.yml").read_text("utf-8")
    needed = imports(modules, "*_*.py") | imports(package / "tests", "test_*_*.py")
    text = (package / "pyproject.toml").read_text("utf-8")
    for name in needed - {"pytest", modules.name, "fractal_task_tools"}:
        assert f'  "{name}>=' in text

    run("ruff", "check", "--no-cache", ".", cwd=package)
    run("ruff", "format", "--no-cache", "--check", ".", cwd=package)
    env = os.environ | {"PYTHONPATH": str(package / "src")}
    run(sys.executable, "-m", "mypy", cwd=package, env=env)
    # Each worker of pytest-xdist, and each task, would import ngio, which takes seconds.
    some = [*FILLED] if is_weekly else ["-k", "not 0.4 and not up_to_date"]
    run(sys.executable, "-m", "pytest", "-n0", *some, cwd=package, env=env)


def test_the_results_are_those_of_the_kit(package, load, tmp_path):
    kinds = MAKES.keys()
    add(package, *([f"Kit {kind}", "--makes", kind] for kind in kinds))
    assert (import_folder(package) / "kit" / "__init__.py").exists()
    image, label, features, table = (
        [load(name)[1] for name in (f"Kit {kind}", MAKES[kind])] for kind in kinds
    )
    version = "0.5"
    plate = tmp_path / "plate.zarr"
    urls = [*map(str, write_plate(plate, {"A/01": [0], "B/02": [0]}, version))]

    filtered = []
    for task, suffix in zip(image, ("kit", "ngio"), strict=True):
        (update,) = task(zarr_url=urls[0], suffix=suffix)["image_list_updates"]
        filtered.append(zarr.open_group(update["zarr_url"], mode="r")["0"][...])
    assert np.array_equal(*filtered)
    names = [entry["path"] for entry in well_images(plate / "A" / "01")]
    assert names == ["0", "0kit", "0ngio"]

    for url in urls:
        for task, name in zip(label, ("kit", "ngio"), strict=True):
            task(zarr_url=url, label_name=name, threshold=600)
        labels = [
            zarr.open_group(f"{url}/labels/{name}", mode="r")["0"][...]
            for name in ("kit", "ngio")
        ]
        assert labels[0].max() > 2
        pairs = np.unique([labels[0].ravel(), labels[1].ravel()], axis=1)
        assert pairs.shape[1] == labels[0].max() + 1 == labels[1].max() + 1

        for task, name in zip(features, ("kit", "ngio"), strict=True):
            task(zarr_url=url, label_name="ngio", table_name=name)
        columns = [
            pd.read_csv(f"{url}/tables/{name}/table.csv")[["label", "maximum"]]
            for name in ("kit", "ngio")
        ]
        pd.testing.assert_frame_equal(*columns, check_dtype=False)

    rows = []
    for task, name in zip(table, ("kit", "ngio"), strict=True):
        task(
            zarr_urls=urls,
            zarr_dir=str(tmp_path),
            feature_table="ngio",
            table_name=name,
        )
        # The kit's is a table of the plate.
        ours = plate / "tables" / name / "table.csv"
        file = ours if name == "kit" else tmp_path / f"{name}.csv"
        rows.append([*csv.DictReader(file.read_text("utf-8").splitlines())])
    names = ("plate", "well", "n_objects")
    assert [row["well"] for row in rows[1]] == ["A01", "B02"]
    for ours, theirs in zip(*rows, strict=True):
        assert {name: ours[name] for name in names} == {
            name: theirs[name] for name in names
        }
        assert float(ours["maximum"]) == pytest.approx(float(theirs["maximum"]))


def well_images(well: Path) -> list[dict[str, str]]:
    attributes = zarr.open_group(well, mode="r").attrs.asdict()
    return attributes["ome"]["well"]["images"]


def test_bad_input_is_rejected_before_anything_is_written(load, tmp_path, monkeypatch):
    write_image(tmp_path / "image.zarr", "czyx", "0.5")
    before = {path for path in tmp_path.rglob("*") if path.is_file()}
    url = str(tmp_path / "image.zarr")
    fifth = {"mode": "index", "identifier": "5"}
    (module, image), (_, label), (_, features), (_, table) = map(load, MAKES.values())

    for call, arguments, message in [
        (image, {"suffix": "../a"}, "suffix"),
        (image, {"suffix": ""}, "suffix"),
        (image, {"radius": -1}, "radius"),
        (label, {"label_name": "a/b"}, "label_name"),
        (label, {"channel": fifth}, r"channel: 5 is none of \['DAPI'"),
        (label, {"roi_table": "no"}, "roi_table: 'no' is none of"),
        (features, {"label_name": "no"}, "label_name: 'no' is none of"),
        (features, {"table_name": "a/b"}, "table_name"),
    ]:
        with pytest.raises(ValueError, match=message):
            call(zarr_url=url, **arguments)
    with pytest.raises(ValueError, match="feature_table: 'features' is none of"):
        table(zarr_urls=[url], zarr_dir=str(tmp_path))
    assert {path for path in tmp_path.rglob("*") if path.is_file()} == before

    monkeypatch.setattr(module, "process_region", lambda pixels, size: pixels - 500.5)
    with pytest.raises(TypeError, match="result is float64, but the image is uint16"):
        image(zarr_url=url)


REJECTED = [
    (["--makes", "label", "--with-library", "ngoi"], "Did you mean ngio?"),
    (["--makes", "label", "--with-library", "zarr"], "choose one of kit, ngio"),
    (["--with-library", "ngio"], "say what the task makes"),
    (["--with-library", "ngio", "--makes", "label", "--model"], "tasks with --model"),
    (
        [
            *("--with-library", "ngio", "--from", "skimage.filters:gaussian"),
            *("--set", "sigma=2.0", "--set", 'mode="wrap"'),
        ],
        "tasks with --from, --set",
    ),
    (["--with-library", "ngio", "--example", "gaussian_blur"], "tasks with --example"),
    (
        ["--with-library", "ngio", "--makes", "image", "--type", "compound"],
        "tasks with --type compound",
    ),
    (["--with-library", "ngio", "--type", "non_parallel"], "--type non_parallel"),
]


def test_options_that_ngio_lacks_are_rejected_with_a_command_that_works(
    render, tmp_path, monkeypatch
):
    package = render(tmp_path / "package", project_name="ngio-tasks", examples=[])
    monkeypatch.chdir(package)

    def check(*arguments: str) -> Result:
        return CliRunner().invoke(
            cli.main, ["--check-arguments", "new-task", *arguments]
        )

    for arguments, message in REJECTED:
        name = () if "--example" in arguments else ("Otsu's Cells",)
        rejected = check(*name, *arguments)
        assert rejected.exit_code == click.UsageError.exit_code
        text = " ".join(rejected.output.split())
        assert message in text
        _, command, words = text.partition("This works: nox -s new_task -- ")
        if command:
            works = check(*shlex.split(words))
            assert not works.exit_code, works.output
        else:
            assert "choose one of" in text
