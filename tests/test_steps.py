"""A step is known by all that decides its result, and by nothing else."""

import json
import os
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
from my_fractal_tasks.convert_tiffs_compute import convert_tiffs_compute
from my_fractal_tasks.convert_tiffs_init import convert_tiffs_init
from my_fractal_tasks.gaussian_blur import gaussian_blur
from my_fractal_tasks.kit import Regions, Step, open_image, open_label, provenance
from my_fractal_tasks.kit.models import model_sources
from my_fractal_tasks.kit.modules import needed_modules
from my_fractal_tasks.measure_features import measure_features
from my_fractal_tasks.threshold_segmentation import threshold_segmentation
from package_images import PACKAGE, write_image

IMPORTS = {
    "from pkg.helper import f": True,
    "from pkg import helper": True,
    "import pkg.helper": True,
    "import pkg.helper as h": True,
    "from .helper import f": True,
    "from . import helper": True,
    "from .sub import other": True,
    "from .sub.other import f": True,
    "import os, pkg.sub.other as o": True,
    "from pkg.between import g": True,
    "def run():\n    from . import helper": True,
    "try:\n    import pkg.helper\nexcept ImportError:\n    pass": True,
    "from importlib import import_module\nimport_module('.helper', __package__)": True,
    "import importlib\nimportlib.import_module('pkg.helper')": True,
    "from pkg.sub import *": True,
    "from pkg.lazy import anything": True,
    "import helper": True,
    "if True: from .helper import f": True,
    "x = 1; import pkg.helper": True,
    "from pkg import (  # a comment (of one)\n    between as b,\n    helper,\n)": True,
    "from pkg.sub import x, \\\n    other": True,
    "from.helper import(f)": True,
    "from .helper import *": True,
    "    import\tpkg.helper\r\n": True,
    "import pkg": False,
    "from pkg import helpers, helper_": False,
    "x.helper = helper": False,
    "raise E from helper": False,
    "import pkg_helper, packaging.helper": False,
    "# from pkg import helper": False,
    "'from pkg import helper'": False,
    "from ..helper import f": False,
}


@pytest.mark.parametrize("line", IMPORTS)
def test_a_module_needs_its_imports(tmp_path, line):
    package = tmp_path / "pkg"
    files = {
        "__init__.py": "",
        "task.py": line,
        "helper.py": "f = 1",
        "between.py": "from .helper import f as g",
        "unrelated.py": "from . import helper, task",
        "sub/__init__.py": "",
        "sub/other.py": "from ..helper import f",
        "lazy/__init__.py": "def __getattr__(name): ...",
        "lazy/module.py": "from pkg import helper",
        "broken.py": "def",
    }
    for name, text in files.items():
        (package / name).parent.mkdir(exist_ok=True, parents=True)
        (package / name).write_text(text)
    found = needed_modules(package, [package / "task.py"])
    names = {file.relative_to(package).as_posix() for file in found}
    assert {"task.py", "__init__.py"} <= names
    assert ("helper.py" in names) == IMPORTS[line]
    assert "unrelated.py" not in names


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A copy of the package, whose steps are asked for."""
    copy = tmp_path / "my_fractal_tasks"
    shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__"))
    (copy / "deep").mkdir()
    (copy / "deep" / "__init__.py").write_text("")
    (copy / "deep" / "helper.py").write_text("VALUE = 1\n")
    task = copy / "gaussian_blur.py"
    text = "\ndef late():\n    from my_fractal_tasks.deep.helper import VALUE\n"
    task.write_text(task.read_text() + text)
    monkeypatch.setattr(provenance, "__file__", str(copy / "kit" / "provenance.py"))
    return copy


@pytest.mark.parametrize(
    ("file", "counts"),
    [
        ("gaussian_blur.py", True),
        ("deep/helper.py", True),
        ("deep/__init__.py", True),
        ("__init__.py", True),
        ("kit/blocks.py", True),
        ("kit/tiles.py", True),
        ("measure_features.py", False),
        ("kit/tiff/files.py", False),
        ("dev/task_list.py", False),
        ("new_module.py", False),
        ("kit/notes.txt", False),
    ],
)
def test_an_edit_counts_where_it_is_needed(package, file, counts):
    before = Step("gaussian_blur", {}, []).record(package)
    with (package / file).open("a") as stream:
        stream.write("\n# a comment\n")
    assert (Step("gaussian_blur", {}, []).record(package) != before) == counts


def test_the_calling_module_counts_for_any_name_of_the_step(package):
    task = package / "mine.py"
    task.write_text("from my_fractal_tasks.kit import Step\nstep = Step('x', {}, [])\n")
    code = (
        "import runpy, sys\n"
        "print(runpy.run_path(sys.argv[1], run_name='__main__')['step'].code)"
    )
    run = partial(
        subprocess.check_output,
        [sys.executable, "-c", code, task],
        env={"PYTHONPATH": str(package.parent)},
    )
    before = run()
    (package / "measure_features.py").write_text("")
    assert run() == before
    task.write_text(f"{task.read_text()}# a comment\n")
    assert run() != before


def test_a_new_version_that_changes_nothing_for_a_task_is_the_same_step(
    tmp_path, monkeypatch
):
    write_image(tmp_path / "image.zarr", "yx")
    run = partial(gaussian_blur, zarr_url=str(tmp_path / "image.zarr"))
    output = run()
    monkeypatch.setattr(provenance.metadata, "version", lambda name: "99")
    assert run() == output


def test_a_record_of_another_release_is_another_step(tmp_path):
    write_image(tmp_path / "image.zarr", "yx")
    run = partial(gaussian_blur, zarr_url=str(tmp_path / "image.zarr"))
    run()
    file = tmp_path / "image_blurred.zarr" / ".zattrs"
    attributes = json.loads(file.read_text())
    for record in (
        {"sources": {}},
        {"sources": {".": 1}, "code": 2},
        [],
        "0.3.0",
        None,
    ):
        file.write_text(json.dumps(attributes | {"made_by": record}))
        with pytest.raises(FileExistsError):
            run()


@pytest.mark.parametrize(
    ("task", "result", "file"),
    [
        (gaussian_blur, "image_blurred.zarr", "0/0/0"),
        (gaussian_blur, "image_blurred.zarr", "1/0/0"),
        (threshold_segmentation, "image.zarr/labels/objects", "0/0/0"),
        (threshold_segmentation, "image.zarr/tables/masks", "table.csv"),
    ],
)
def test_a_result_that_has_lost_a_file_is_not_whole(
    tmp_path, caplog, task, result, file
):
    write_image(tmp_path / "image.zarr", "yx")
    names = {"masking_roi_table": "masks"} if task is threshold_segmentation else {}
    run = partial(task, zarr_url=str(tmp_path / "image.zarr"), **names)
    output = run()
    assert run() == output
    (tmp_path / result / file).unlink()
    with pytest.raises(FileExistsError, match="set overwrite"):
        run()
    assert f"{result}: its files were changed or deleted" in caplog.text
    assert run(overwrite=True) == output
    assert run() == output


@pytest.fixture
def masked(tmp_path) -> Path:
    """An image with a label `cells`, a masking ROI table of it, and a ROI table."""
    path = tmp_path / "image.zarr"
    write_image(path, "yx")
    threshold_segmentation(
        zarr_url=str(path), label_name="cells", masking_roi_table="masks"
    )
    threshold_segmentation(zarr_url=str(path), label_name="others")
    return path


TASKS = {
    "a new image": partial(gaussian_blur, regions={"mask": "masks"}),
    "an image of a label": partial(gaussian_blur, regions={"mask": "cells"}),
    "a label": partial(threshold_segmentation, regions={"mask": "masks"}),
    "a label of a level": partial(
        threshold_segmentation, regions={"mask": "masks"}, level=1
    ),
    "a table": partial(
        measure_features, label_name="others", regions={"mask": "masks"}
    ),
}


@pytest.mark.parametrize("level", [0, 1])
@pytest.mark.parametrize("case", TASKS)
def test_the_label_behind_a_masking_table_is_a_source(masked, case, level):
    run = partial(TASKS[case], zarr_url=str(masked))
    output = run()
    assert run() == output
    label = open_image(masked / "labels" / "others", mode="r+")
    if case != "a table":  # of another label, nothing depends
        label.levels[level][:3, :3] = 7
        assert run() == output
    label = open_image(masked / "labels" / "cells", mode="r+")
    label.levels[level][:3, :3] = 7
    with pytest.raises(FileExistsError):
        run()
    run(overwrite=True)


def test_a_label_counts_before_a_table_of_its_name(masked):
    (masked / "tables" / "masks").rename(masked / "tables" / "cells")
    image = open_image(masked)
    (source,) = Regions(mask="cells").sources(image)
    assert source.path == open_label(image, "cells").path


def test_weights_in_a_second_file_are_a_source(tmp_path):
    for name in ("net.onnx", "net.onnx.data", "net.onnx_data", "other.onnx", "net.txt"):
        (tmp_path / name).write_bytes(b"net")
    names = [path.name for path in model_sources(str(tmp_path / "net.onnx"))]
    assert names == ["net.onnx", "net.onnx.data", "net.onnx_data"]
    assert not model_sources("https://example.org/net.onnx")


def test_the_same_files_in_another_order_are_another_conversion(tmp_path):
    import tifffile

    for number in (1, 2):
        pixels = [[number] * 8] * 8
        tifffile.imwrite(tmp_path / f"A01_z{number}.tif", pixels, dtype="uint8")
    (item,) = convert_tiffs_init(
        zarr_dir=str(tmp_path), tiff_dir=str(tmp_path), pattern="{row}{column}_z{z}.tif"
    )["parallelization_list"]
    convert_tiffs_compute(**item)
    convert_tiffs_compute(**item)
    first, second = item["init_args"]["files"]
    first["start"], second["start"] = second["start"], first["start"]
    with pytest.raises(FileExistsError):
        convert_tiffs_compute(**item)


@pytest.mark.parametrize(
    "argument",
    [
        "{'a', 'b', 'c', 'd'}",
        "frozenset('abcd')",
        "{'x': [{'a', 'b', 'c', 'd'}]}",
        "Names(names={'a', 'b', 'c', 'd'})",
    ],
)
def test_the_same_set_is_the_same_argument_in_each_process(argument):
    code = (
        "from pathlib import Path\n"
        "from pydantic import BaseModel\n"
        "from my_fractal_tasks.kit import Step\n"
        "class Names(BaseModel):\n"
        "    names: set[str]\n"
        f"print(Step('x', {{'a': {argument}}}, []).record(Path())['arguments'])\n"
    )
    records = {
        subprocess.check_output(
            [sys.executable, "-c", code], env={"PYTHONHASHSEED": str(seed)}
        )
        for seed in range(4)
    }
    assert len(records) == 1


@pytest.mark.parametrize("version", ["0.4", "0.5"])
@pytest.mark.parametrize(
    ("axes", "chunks"),
    [("tzyx", {"z": 1}), ("tczyx", {"y": 9}), ("yx", {"y": 8, "x": 8}), ("zyx", {})],
)
def test_a_source_is_known_by_all_of_its_chunks(tmp_path, axes, chunks, version):
    write_image(tmp_path / "image.zarr", axes, version, chunks=chunks)
    image = open_image(tmp_path / "image.zarr")
    files = {
        str(file)
        for level in image.levels
        for file in (image.path / level.path).rglob("[!.]*")
        if file.is_file() and file.name != "zarr.json"
    }
    found = [file for file, _ in provenance._chunks(image)]
    assert len(found) == len(files)
    assert {*found} == files
    before = Step("task", {}, [image]).known
    assert before == Step("task", {}, [image]).known
    os.utime(max(files), ns=(1, 1))
    assert before != Step("task", {}, [image]).known


@pytest.mark.parametrize("version", ["0.4", "0.5"])
@pytest.mark.parametrize(
    ("axes", "chunks"),
    [("tzyx", {"z": 1}), ("zyx", {"z": 1, "x": 30}), ("yx", {"y": 9})],
)
def test_folders_with_few_chunks_are_not_listed(
    tmp_path, monkeypatch, axes, chunks, version
):
    """The checksum is that of a listing, and missing chunks do not count."""
    write_image(tmp_path / "image.zarr", axes, version, chunks=chunks)
    image = open_image(tmp_path / "image.zarr")
    files = sorted(file for file, _ in provenance._chunks(image))
    for file in files[::7]:
        Path(file).unlink()
    listed = []
    scandir = os.scandir
    monkeypatch.setattr(
        os, "scandir", lambda folder: listed.append(folder) or scandir(folder)
    )
    found = Step("task", {}, [image]).known
    assert not {*listed} & {str(Path(file).parent) for file in files}
    monkeypatch.setattr(provenance, "FEW", 0)
    assert Step("task", {}, [image]).known == found
    assert {*listed} >= {str(Path(file).parent) for file in files}
