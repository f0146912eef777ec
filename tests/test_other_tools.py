"""ngio, ome-zarr and ome-zarr-models read what the tasks write, and the tasks what ngio writes."""

import json
import warnings

# Imported after ngio, the models of 0.4 refuse everything.
from ome_zarr_models import v04, v05  # isort: skip

import ngio
import numpy as np
import pandas
import pytest
import tifffile
import zarr
from killed_task import run_both
from my_fractal_tasks.aggregate_tables import aggregate_tables
from my_fractal_tasks.check_images import check_images
from my_fractal_tasks.convert_tiffs_compute import convert_tiffs_compute
from my_fractal_tasks.convert_tiffs_init import convert_tiffs_init
from my_fractal_tasks.gaussian_blur import gaussian_blur
from my_fractal_tasks.import_ome_zarr import import_ome_zarr
from my_fractal_tasks.kit import (
    ome_metadata,
    open_group,
    open_image,
    open_label,
    plate_images,
)
from my_fractal_tasks.measure_features import measure_features
from my_fractal_tasks.register_acquisitions_compute import register_acquisitions_compute
from my_fractal_tasks.register_acquisitions_init import register_acquisitions_init
from my_fractal_tasks.threshold_segmentation import threshold_segmentation
from ome_zarr.io import parse_url
from ome_zarr.reader import Reader
from package_images import AXES, read_table, write_image, write_plate

VERSIONS = ["0.4", "0.5"]


def run_pipeline(image):
    """Blur, segment and measure an image; return the folder of the blurred one."""
    output = gaussian_blur(zarr_url=str(image), sigma_xy=1)
    (update,) = output["image_list_updates"]
    threshold_segmentation(zarr_url=update["zarr_url"], label_name="cells")
    threshold_segmentation(zarr_url=update["zarr_url"], label_name="nuclei")
    measure_features(zarr_url=update["zarr_url"], label_name="cells")
    return update["zarr_url"]


def assert_valid(path):
    """Ask the validators, and check what none of them notices."""
    group = zarr.open_group(path, mode="r")
    models = v05 if "ome" in group.attrs else v04
    metadata = ome_metadata(group)
    if "plate" in metadata:
        models.HCS.from_zarr(group)
        for well in metadata["plate"]["wells"]:
            models.Well.from_zarr(group[well["path"]])
        images = plate_images(path)
    else:
        images = [path]
    for image in images:
        models.Image.from_zarr(zarr.open_group(image, mode="r"))
        for name in open_image(image).label_names:
            models.ImageLabel.from_zarr(
                zarr.open_group(image / "labels" / name, mode="r")
            )
    assert list(Reader(parse_url(path))())
    for metadata in path.rglob(".zarray"):
        assert json.loads(metadata.read_text())["dimension_separator"] == "/"
    for metadata in path.rglob("zarr.json"):
        contents = json.loads(metadata.read_text())
        if contents["node_type"] == "array":
            assert contents["chunk_key_encoding"]["configuration"]["separator"] == "/"
    for labels in path.rglob("labels"):
        listed = open_image(labels.parent).label_names
        on_disk = [folder.name for folder in labels.iterdir() if folder.is_dir()]
        assert sorted(listed) == sorted(on_disk)
    hidden = {file.name for file in path.rglob(".*")}
    assert hidden <= {".zarray", ".zattrs", ".zgroup"}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("axes", AXES)
def test_a_derived_image_with_labels_and_a_table_is_valid(tmp_path, axes, version):
    write_image(tmp_path / "image.zarr", axes, version)

    derived = run_pipeline(tmp_path / "image.zarr")
    gaussian_blur(zarr_url=derived, overwrite_input=True)

    assert_valid(tmp_path / "image_blurred.zarr")
    ours = open_image(derived)
    theirs = ngio.open_ome_zarr_container(derived)
    assert (theirs.get_image().get_as_numpy() == ours.levels[0][...]).all()
    assert theirs.list_labels() == ["cells", "nuclei"]
    labels = np.asarray(open_label(ours, "cells").levels[0])
    assert (theirs.get_label("cells").get_as_numpy() == labels).all()
    table = theirs.get_feature_table("features")
    assert table.reference_label == "cells"
    rows = read_table(tmp_path / "image_blurred.zarr", "features")
    assert list(table.dataframe.index) == [row["label"] for row in rows]
    assert list(table.dataframe["mean_DAPI"]) == [row["mean_DAPI"] for row in rows]


@pytest.mark.parametrize("version", VERSIONS)
def test_a_converted_and_registered_plate_is_valid(tmp_path, version):
    rng = np.random.default_rng(0)
    for well in ("A01", "B03", "B12"):
        for acquisition in (0, 1):
            pixels = rng.integers(0, 4000, (3, 300, 280), np.uint16)
            name = f"{well}_a{acquisition}_cDAPI.tif"
            tifffile.imwrite(tmp_path / name, pixels, photometric="minisblack")

    items = convert_tiffs_init(
        zarr_dir=str(tmp_path), tiff_dir=str(tmp_path), ngff_version=version
    )["parallelization_list"]
    urls = []
    for item in items:
        output = convert_tiffs_compute(**item)
        urls += [update["zarr_url"] for update in output["image_list_updates"]]
    items = register_acquisitions_init(zarr_urls=urls, zarr_dir=str(tmp_path))
    for item in items["parallelization_list"]:
        register_acquisitions_compute(**item)

    plate = tmp_path / "plate.zarr"
    assert_valid(plate)
    theirs = ngio.open_ome_zarr_plate(plate)
    assert theirs.rows == ["A", "B"]
    assert theirs.columns == ["01", "03", "12"]
    assert theirs.acquisition_ids == [0, 1]
    assert set(theirs.images_paths()) == {
        str(path.relative_to(plate)) for path in plate_images(plate)
    }
    assert len(plate_images(plate)) == 9
    for well in ome_metadata(open_group(plate))["plate"]["wells"]:
        row, column = well["path"].split("/")
        assert theirs.rows[well["rowIndex"]] == row
        assert theirs.columns[well["columnIndex"]] == column


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("axes", AXES)
def test_an_image_that_ngio_created_is_valid_input(tmp_path, axes, version):
    path = tmp_path / "ngio.zarr"
    sizes = {"t": 2, "c": 2, "z": 4, "y": 100, "x": 120}
    ngio.create_synthetic_ome_zarr(
        path,
        shape=tuple(sizes[axis] for axis in axes),
        axes_names=axes,
        ngff_version=version,
    )
    pixels = ngio.open_ome_zarr_container(path).get_image().get_as_numpy()

    derived = run_pipeline(path)
    gaussian_blur(zarr_url=str(path), overwrite_input=True)

    output = check_images(zarr_urls=[str(path), derived], zarr_dir=str(tmp_path))
    assert len(output["image_list_updates"]) == 2
    again = ngio.open_ome_zarr_container(path)
    assert again.get_image().get_as_numpy().shape == pixels.shape
    assert (
        "nuclei" in again.list_labels()
    )  # the labels of an overwritten image are kept
    assert "well_ROI_table" in again.list_tables()


@pytest.mark.parametrize("version", VERSIONS)
def test_a_plate_that_ngio_created_is_valid_input(tmp_path, version):
    plate = tmp_path / "plate.zarr"
    images = [
        ngio.ImageInWellPath(
            row=row, column=column, path=str(acquisition), acquisition_id=acquisition
        )
        for row, column in (("A", "01"), ("C", "11"))
        for acquisition in (0, 1)
    ]
    ngio.create_empty_plate(plate, name="plate", images=images, ngff_version=version)
    for image in images:
        ngio.create_synthetic_ome_zarr(
            plate / image.row / image.column / image.path,
            shape=(1, 3, 100, 120),
            axes_names="czyx",
            ngff_version=version,
        )

    output = import_ome_zarr(zarr_dir=str(tmp_path), zarr_name="plate.zarr")
    updates = output["image_list_updates"]
    assert [update["attributes"]["well"] for update in updates] == [
        "A01",
        "A01",
        "C11",
        "C11",
    ]
    urls = [update["zarr_url"] for update in updates]
    items = register_acquisitions_init(zarr_urls=urls, zarr_dir=str(tmp_path))
    for item in items["parallelization_list"]:
        register_acquisitions_compute(**item)
    run_pipeline(urls[0])

    paths = set(ngio.open_ome_zarr_plate(plate).images_paths())
    assert {"A/01/0blurred", "A/01/1registered", "C/11/1registered"} < paths


@pytest.mark.parametrize("version", VERSIONS)
def test_a_label_that_is_added_to_consolidated_metadata_is_seen(tmp_path, version):
    path = tmp_path / "image.zarr"
    write_image(path, "cyx", version)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        zarr.consolidate_metadata(path)

    threshold_segmentation(zarr_url=str(path))

    assert zarr.open_group(path, mode="r")["labels"].attrs.asdict()
    nodes = list(Reader(parse_url(path))())
    assert any("objects" in str(node.zarr) for node in nodes)


def test_the_plates_of_the_fixtures_are_valid(tmp_path):
    for version in VERSIONS:
        plate = tmp_path / version
        write_plate(plate, {"A/01": [0, 1], "B/02": [0]}, version)
        assert_valid(plate)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_projected_plate_with_a_table_of_its_own_is_valid(tmp_path, version):
    wells = {"A/01": [0, 1], "B/03": [0]}
    images = write_plate(tmp_path / "plate.zarr", wells, version)
    for some in (images[:1], images):  # the second adds to the plate of the first
        urls = [str(image) for image in some]
        run_both("project_image", zarr_urls=urls, zarr_dir=str(tmp_path))
    projected = tmp_path / "plate_projected.zarr"
    assert_valid(projected)
    theirs = ngio.open_ome_zarr_plate(projected)
    assert sorted(theirs.images_paths()) == ["A/01/0", "A/01/1", "B/03/0"]
    assert theirs.acquisition_ids == [0, 1]

    backends = dict(
        zip(plate_images(projected), ("csv", "json", "anndata"), strict=True)
    )
    for path, backend in backends.items():
        frame = pandas.DataFrame({"area": [1.5, 2.5], "kind": ["round", "long"]})
        frame.index = pandas.Index([1, 2], name="label")
        table = ngio.tables.FeatureTable(frame, reference_label="cells")
        container = ngio.open_ome_zarr_container(path)
        assert not container.is_3d
        container.add_table("features", table, backend=backend)
    arguments = {"zarr_urls": [str(path) for path in backends]}
    arguments["zarr_dir"] = str(tmp_path)
    for file_format in ("csv", "parquet"):
        aggregate_tables(**arguments, table_name=file_format, file_format=file_format)
        table = ngio.open_ome_zarr_plate(projected).get_table(file_format).dataframe
        assert table["label"].tolist() == [1, 2] * 3
        assert table["area"].tolist() == [1.5, 2.5] * 3
        assert table["kind"].tolist() == ["round", "long"] * 3
        assert table["well"].tolist() == ["A01"] * 4 + ["B03"] * 2
