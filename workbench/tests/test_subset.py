"""A workflow is tried on a copy of a little of a dataset, and the dataset stays as it is."""

import hashlib
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from fractal_workbench import kit
from fractal_workbench.engine import command, subset
from fractal_workbench.engine.rules import WorkflowError
from fractal_workbench.report.page import Report

SHAPE = (2, 2, 40, 60)
PIXELS = np.arange(np.prod(SHAPE), dtype=np.uint16).reshape(SHAPE)


@pytest.fixture
def images(tmp_path: Path) -> list[dict[str, Any]]:
    """A plate of two wells, one of which has two acquisitions, and an image beside it."""
    zarr_dir = tmp_path / "zarr"
    zarr_dir.mkdir()
    wells = {("A", "01"): {"0": 0, "1": 1}, ("B", "03"): {"0": 0}}
    kit.create_plate(zarr_dir / "plate.zarr", wells)
    paths = [
        zarr_dir / "plate.zarr" / row / column / name
        for (row, column), names in wells.items()
        for name in names
    ]
    for path in (*paths, zarr_dir / "alone.zarr"):
        given: dict[str, Any] = {"axes": "czyx", "channels": ["DAPI", "FITC"]}
        given |= {"wavelengths": ["A01_C01", "A02_C02"], "dtype": np.uint16}
        scale = {"z": 2.0, "y": 0.5, "x": 0.5}
        with kit.create_image(path, shape=SHAPE, scale=scale, **given) as image:
            image.levels[0][...] = PIXELS
            kit.build_pyramid(image)
        image = kit.open_image(path)
        with kit.derive_label(image, "nuclei") as label:
            label.levels[0][...] = PIXELS[0] % 7
            kit.build_pyramid(label)
        regions = {"FieldIndex": ["1", "2"], "x_micrometer": [0.0, 15.0]}
        regions |= {"y_micrometer": [5.0, 0.0], "z_micrometer": [0.0, 0.0]}
        regions |= {"len_x_micrometer": [15.0, 15.0], "len_y_micrometer": [10.0, 20.0]}
        regions |= {"len_z_micrometer": [4.0, 4.0]}
        kit.write_table(
            image, "FOV_ROI_table", regions, type="roi_table", index="FieldIndex"
        )
        kit.write_table(
            image, "condition_table", {"drug": ["a"]}, type="condition_table"
        )
    return [
        {"zarr_url": str(path), "types": {"is_3D": True}}
        for path in (*paths, zarr_dir / "alone.zarr")
    ]


def digest(folder: Path) -> str:
    """Digest of the names, contents and times of all files in a folder."""
    total = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        total.update(f"{path} {path.stat().st_mtime_ns}".encode())
        if path.is_file():
            total.update(path.read_bytes())
    return total.hexdigest()


@pytest.mark.parametrize(
    ("text", "y", "x", "regions"),
    [
        (
            "A01",
            slice(0, 40),
            slice(0, 60),
            {"1": (10, 0, 20, 30), "2": (0, 30, 40, 30)},
        ),
        (
            "A01:20",
            slice(10, 30),
            slice(20, 40),
            {"1": (0, 0, 20, 10), "2": (0, 10, 20, 10)},
        ),
        (
            "A01:50",
            slice(0, 40),
            slice(5, 55),
            {"1": (10, 0, 20, 25), "2": (0, 25, 40, 25)},
        ),
        ("A01:FOV_ROI_table/1", slice(10, 30), slice(0, 30), {"1": (0, 0, 20, 30)}),
    ],
)
def test_a_copy_has_the_pixels_labels_and_regions_of_the_part(
    tmp_path: Path,
    images: list[dict[str, Any]],
    text: str,
    y: slice,
    x: slice,
    regions: dict[str, tuple[int, ...]],
) -> None:
    before = digest(tmp_path / "zarr")
    copies, folder = subset.copy_part(images, tmp_path / "zarr", text)
    assert digest(tmp_path / "zarr") == before
    assert folder == tmp_path / "zarr_try"
    assert [Path(image["zarr_url"]) for image in copies] == [
        folder / "plate.zarr" / "A" / "01" / name for name in "01"
    ]
    for number, entry in enumerate(copies):
        assert entry["types"] == {"is_3D": True}
        place = kit.plate_position(entry["zarr_url"])
        assert place == {"plate": "plate.zarr", "well": "A01", "acquisition": number}
        image = kit.open_image(entry["zarr_url"])
        assert (image.read() == PIXELS[:, :, y, x]).all()
        assert image.channel_names == ["DAPI", "FITC"]
        assert image.channels[1]["wavelength_id"] == "A02_C02"
        assert image.scale == {"c": 1.0, "z": 2.0, "y": 0.5, "x": 0.5}
        labels = kit.open_label(image, "nuclei").read()
        assert (labels == (PIXELS[0] % 7)[:, y, x]).all()
        table = kit.read_table(image, "FOV_ROI_table").columns
        names = ("y", "x", "len_y", "len_x")
        found = zip(*(table[f"{name}_micrometer"] / 0.5 for name in names), strict=True)
        assert dict(zip(table["FieldIndex"], map(tuple, found), strict=True)) == regions
        assert kit.read_table(image, "condition_table").columns["drug"].tolist() == [
            "a"
        ]


def test_a_copy_of_a_label_has_its_numbers(
    tmp_path: Path, images: list[dict[str, Any]]
) -> None:
    image = kit.open_image(images[-1]["zarr_url"])
    source, folder = kit.open_label(image, "nuclei"), image.path / "labels" / "large"
    with kit.derive_image(source, folder, dtype=np.int64) as label:
        label.levels[0][...] = 2**33 + PIXELS[0].astype(np.int64)
        kit.build_pyramid(label)
    copies, _ = subset.copy_part(images, tmp_path / "zarr", "alone.zarr:20")
    made = kit.open_image(copies[0]["zarr_url"])
    found = kit.open_label(made, "large")
    assert (found.read() == 2**33 + PIXELS[0][:, 10:30, 20:40].astype(np.int64)).all()
    assert len(found.levels) == len(made.levels)


def test_a_copy_is_replaced_by_the_next_one_and_nothing_else_is(
    tmp_path: Path, images: list[dict[str, Any]]
) -> None:
    (tmp_path / "zarr_try").mkdir()
    with pytest.raises(WorkflowError, match="is no copy of an earlier --try"):
        subset.copy_part(images, tmp_path / "zarr", "A01")
    (tmp_path / "zarr_try").rmdir()
    subset.copy_part(images, tmp_path / "zarr", "A01:8")
    (copy,), folder = subset.copy_part(images, tmp_path / "zarr", "alone.zarr:8")
    assert copy["zarr_url"] == str(folder / "alone.zarr")
    assert kit.open_image(copy["zarr_url"]).shape == (2, 2, 8, 8)
    assert not (folder / "plate.zarr").exists()
    # Who gets the page has to know that it is not about all images.
    for zarr_dir, is_copy in ((folder, True), (tmp_path / "zarr", False)):
        Report("Try", zarr_dir, [], []).write(tmp_path / "page.html")
        page = (tmp_path / "page.html").read_text("utf-8")
        tried = f"Tried on a part of {tmp_path / 'zarr'}: alone.zarr:8."
        assert (tried in page) is is_copy


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("A1", "no image is in 'A1'; did you mean A01?"),
        ("nowhere", "there are A01, B03, alone.zarr"),
        ("A01:", ""),
        ("A01:0", "it has no pixels"),
        ("A01:half", "write a well such as A01"),
        (":5", "write a well such as A01"),
        ("A01:FOV_ROI_table/3", "no region '3' in FOV_ROI_table; there are: 1, 2"),
        ("A01:FOV/1", "no table 'FOV'"),
    ],
)
def test_missing_places_are_rejected(
    tmp_path: Path, images: list[dict[str, Any]], text: str, reason: str
) -> None:
    if not reason:  # which is the whole well
        assert len(subset.copy_part(images, tmp_path / "zarr", text)[0]) == 2
        return
    with pytest.raises(WorkflowError, match=reason):
        subset.copy_part(images, tmp_path / "zarr", text)


FILES = {
    "pattern": ("B02", ["P12_B02_C01.tif", "P12_B02_C02.tif"], ["P12_B03_C02.tif"]),
    "channels": ("C02", ["C02_C01.tif", "C02_C03.tif"], ["D01_C02.tif"]),
    "one well": ("A01", ["A01_C01.tif", "A01_C02.tif"], []),
    "folders": ("A10", ["A/10/1.tif", "A/10/2.tif"], ["A/1/1.tif", "B/10/1.tif"]),
    "Yokogawa": (
        "B03",
        ["p_B03_T0001F001L01A01Z01C01.tif"],
        ["p_B04_T0001F001L01A01Z01C01.tif"],
    ),
    "three digits": ("A01", ["A001.tif"], ["A002.tif", "B001.tif"]),
    "1536 wells": ("Q01", ["Q01.tif"], ["A01.tif", "Z01.tif", "AF48.tif"]),
    "planes": ("A01", ["A01_Z01.tif", "A01_Z02.tif"], []),
    "first of 1536 wells": ("A01", ["A01.tif"], ["Q01.tif", "AA01.tif"]),
    "Harmony": ("B3", ["Images/r02c03f01p01-ch1.tiff"], ["Images/r03c02f01p01.tiff"]),
    "GE": ("A01", ["A - 1(fld 1 wv DAPI - DAPI).tif"], ["A - 11(fld 1 wv DAPI).tif"]),
}


@pytest.mark.parametrize("name", FILES)
def test_a_converter_is_given_the_files_of_a_well(tmp_path: Path, name: str) -> None:
    """Its other arguments stay as they are, and so do its files."""
    well, wanted, others = FILES[name]
    source = tmp_path / "tiffs"
    for file in (*wanted, *others, "positions.csv"):
        (source / file).parent.mkdir(parents=True, exist_ok=True)
        (source / file).write_text(file)
    before = digest(source)
    args = {"acquisitions": [{"path": str(source)}], "pattern": "{well}", "n": 3}
    task = {"pkg_name": "a", "name": "Convert"}
    steps = [{"task": task, "args_non_parallel": args}, {"task": task}]
    workflow = {"name": "a", "task_list": steps}
    changed, folder = subset.copy_files(workflow, tmp_path / "zarr", well)
    assert digest(source) == before
    step, second = changed["task_list"]
    copy = Path(step["args_non_parallel"]["acquisitions"][0]["path"])
    assert step["args_non_parallel"] == {**args, "acquisitions": [{"path": str(copy)}]}
    assert (second, copy.name) == ({"task": task}, "tiffs")
    assert folder == tmp_path / "zarr_try"
    assert copy.is_relative_to(folder)
    found = {path.relative_to(copy).as_posix() for path in copy.rglob("*.*")}
    assert found == {*wanted, "positions.csv"}
    assert (copy / wanted[0]).read_text() == wanted[0]


@pytest.mark.parametrize(
    ("files", "text", "reason"),
    [
        (["A01.tif", "A02.tif"], "B01", "'Convert' is of B01.*There are A01, A02"),
        (["A01.tif", "A02.tif"], "A01:64", "reads whole files: write --try A01, or"),
        (["A01.tif", "A02.tif"], "field", "'field' is no well: write A01"),
        (["cells.tif"], "A01", "no argument that is a folder of files with wells"),
        ([".zgroup", "A/01/0/.zattrs"], "A01", "or images by --images"),
    ],
)
def test_files_without_the_well_are_rejected(
    tmp_path: Path, files: list[str], text: str, reason: str
) -> None:
    source = tmp_path / "source"
    for file in files:
        (source / file).parent.mkdir(parents=True, exist_ok=True)
        (source / file).touch()
    task = {"pkg_name": "a", "name": "Convert"}
    step = {"task": task, "args_non_parallel": {"tiff_dir": str(source)}}
    with pytest.raises(WorkflowError, match=reason):
        command.run({"name": "a", "task_list": [step]}, tmp_path / "zarr", part=text)
    assert not (tmp_path / "zarr_try").exists()


def test_images_of_a_well_in_folders_of_their_acquisitions_are_copied(
    tmp_path: Path, images: list[dict[str, Any]]
) -> None:
    """As OMERO writes a plate."""
    plate = tmp_path / "omero.zarr"
    wells = [{"path": f"{n}/A/01"} for n in (0, 1)]
    metadata: dict[str, Any] = {"version": "0.4", "wells": wells}
    zarr.create_group(plate, zarr_format=2, attributes={"plate": metadata})
    urls = []
    for well in wells:
        folder = plate / str(well["path"])
        listed = {"version": "0.4", "images": [{"path": "0"}]}
        zarr.create_group(folder, zarr_format=2, attributes={"well": listed})
        shutil.copytree(images[0]["zarr_url"], folder / "0")
        urls.append({"zarr_url": str(folder / "0"), "attributes": {"well": "A01"}})
    copies, _ = subset.copy_part(urls, tmp_path / "zarr", "A01")
    paths = [Path(copy["zarr_url"]) for copy in copies]
    assert len({*paths}) == 2
    positions = [kit.plate_position(path) for path in paths]
    assert [position["acquisition"] for position in positions] == [0, 1]


def test_trying_needs_a_new_folder(tmp_path: Path) -> None:
    workflow = {"name": "a", "task_list": [{"task": {"pkg_name": "a", "name": "b"}}]}
    with pytest.raises(WorkflowError, match="leave out --plan"):
        command.run(workflow, tmp_path, part="A01", only_plan=True)
