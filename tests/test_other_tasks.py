"""Tasks of fractal-tasks-core work on what ours wrote, and ours on what theirs wrote."""

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import my_fractal_tasks
import ngio
import numpy as np
import pytest
import with_ngio
from mixed_workflow import (
    FIELD,
    FIELDS,
    SHIFT,
    Tasks,
    convert,
    describe,
    n_rows,
    pixels,
    run_mixed,
    run_steps,
    write_tiffs,
)
from my_fractal_tasks.import_ome_zarr import import_ome_zarr
from my_fractal_tasks.kit import (
    Image,
    open_image,
    open_label,
    plate_images,
    read_table,
    table_names,
)
from my_fractal_tasks.kit.regions import read_rois
from my_fractal_tasks.threshold_segmentation import threshold_segmentation
from rendering import Shared, make_environment, run
from test_package import find_python

VERSIONS = [pytest.param("0.4", marks=pytest.mark.weekly), "0.5"]
HERE = Path(__file__).parent


@pytest.fixture(scope="session")
def core(shared: Shared) -> Tasks:
    """fractal-tasks-core with its ngio 0.5; and the navigator, without its windows."""

    def fill(folder: Path) -> None:
        requirement = "fractal-tasks-core==2.1.*"
        oldest = find_python("3.11")
        python = make_environment(folder / "venv", requirement, python=oldest)
        install = ("uv", "pip", "install", "--quiet", "--python", python, "--no-deps")
        run(*install, "napari-ome-zarr-navigator==0.4.*")

    folder = shared("core", fill) / "venv"
    (root,) = folder.glob("lib/*/site-packages/fractal_tasks_core")
    return Tasks(root, folder / "bin" / "python")


@pytest.fixture(scope="session")
def ours() -> Tasks:
    return Tasks(Path(my_fractal_tasks.__file__).parent, sys.executable)


@pytest.fixture(
    scope="session",
    params=[pytest.param(axes, marks=pytest.mark.weekly) for axes in ("2D", "3D")],
)
def mixed(
    request: pytest.FixtureRequest, shared: Shared, core: Tasks, ours: Tasks
) -> Path:
    """Folder in which a workflow of both packages was run."""
    n_planes = 3 if request.param == "3D" else 1
    fill = lambda folder: run_mixed(core, ours, folder, n_planes)  # noqa: E731
    return shared(f"mixed_{request.param}", fill)


@pytest.fixture(scope="session", params=VERSIONS)
def own(request: pytest.FixtureRequest, shared: Shared, ours: Tasks) -> Path:
    """Folder of plates that only our tasks have touched."""

    def fill(folder: Path) -> None:
        write_tiffs(folder / "tiffs", {"A01": 2}, n_planes=2)
        segment = {"regions": FIELDS, "masking_roi_table": "masks"}
        run_steps(
            folder,
            [],
            convert(
                ours, folder / "tiffs", pixel_size_z=1.5, ngff_version=request.param
            ),
            ours("Project Image"),
            ours("Threshold Segmentation", **segment),
            ours("Measure Features"),
        )

    return shared(f"own_{request.param}", fill)


def measured(folder: Path) -> list[Image]:
    """Images that the tasks of both packages have measured."""
    images = [
        open_image(path)
        for plate in folder.glob("plate*.zarr")
        for path in plate_images(plate)
    ]
    found = [i for i in images if {"objects", "DAPI_segmented"} <= {*i.label_names}]
    assert len(found) == (6 if folder.name.endswith("3D") else 2)
    return found


def test_each_of_their_tasks_ends_well_at_its_defaults_with_ours_in_between(
    mixed: Path, core: Tasks
) -> None:
    """But the one that projects images outside of plates; imports have a test of theirs."""
    used = {*json.loads((mixed / "used.json").read_text()), "Import OME-Zarr"}
    left_out = {"Project Image"}
    if mixed.name.endswith("2D"):
        left_out |= {"Project Image (HCS Plate)"}
    assert core.tasks.keys() - used == left_out


def test_images_keep_their_types_and_acquisitions(mixed: Path) -> None:
    images = json.loads((mixed / "images.json").read_text())
    for image in images:
        name = Path(image["zarr_url"]).name
        assert image["attributes"]["acquisition"] == int(name[0])
        true = {key for key, value in image["types"].items() if value}
        assert true >= {"registered"}
        if name.endswith("blurred"):
            assert true == {"registered", "illumination_corrected", "blurred"}


def test_registrations_agree_and_undo_the_shift(
    mixed: Path, ours: Tasks, tmp_path: Path
) -> None:
    shutil.copytree(mixed / "before.zarr", tmp_path / "plate.zarr")
    images = import_ome_zarr(zarr_dir=str(tmp_path), zarr_name="plate.zarr")
    run_steps(tmp_path, images["image_list_updates"], ours("Register Acquisitions"))
    theirs = pixels(mixed / "plate.zarr/A/01/1")
    here = pixels(tmp_path / "plate.zarr/A/01/1registered")
    assert (here == theirs)[theirs > 0].all()
    seen_by_both = np.prod([1 - abs(shift) / FIELD for shift in SHIFT])
    assert (theirs > 0).mean() == pytest.approx(seen_by_both)


def test_illumination_is_corrected_in_the_fields_of_our_table(mixed: Path) -> None:
    well = mixed / "plate.zarr/A/01"
    is_dim = np.arange(2 * FIELD) % FIELD < FIELD // 2
    expected = pixels(well / "1") * np.where(is_dim, 2, 1)
    assert (pixels(well / "1_illum_corr") == expected).all()


@pytest.mark.weekly
@pytest.mark.parametrize("mixed", ["3D"], indirect=True)
def test_projections_agree(mixed: Path) -> None:
    for image in ("A/01/0_illum_corr", "A/01/1_illum_corr", "B/03/0_illum_corr"):
        expected = pixels(mixed / "plate.zarr" / image).max(axis=1, keepdims=True)
        for plate in ("plate_mip.zarr", "plate_projected.zarr"):
            assert (pixels(mixed / plate / image) == expected).all()
            assert "FOV_ROI_table" in table_names(open_image(mixed / plate / image))


def test_segmentations_agree(mixed: Path, core: Tasks, tmp_path: Path) -> None:
    path = tmp_path / "image.zarr"
    shutil.copytree(measured(mixed)[0].path, path)
    threshold_segmentation(zarr_url=str(path), label_name="whole")
    fields = {"iterator_configuration": FIELDS, "output_label_name": "fields"}
    step = core("Threshold Segmentation", channel={"identifier": "DAPI"}, **fields)
    run_steps(tmp_path, [{"zarr_url": str(path)}], step)
    image = open_image(path)
    for names in (("whole", "DAPI_segmented"), ("objects", "fields")):
        mine, theirs = (np.asarray(open_label(image, name).levels[0]) for name in names)
        assert ((mine > 0) == (theirs > 0)).all()
        # Objects of ours touch by faces, of theirs by corners too: some of ours are one.
        pairs = np.unique([mine[mine > 0], theirs[mine > 0]], axis=1)
        assert pairs.shape[1] == mine.max() >= theirs.max() > 20


def test_features_agree(mixed: Path) -> None:
    for image in measured(mixed):
        theirs = read_table(image, "region_props_features")
        mine = read_table(image, "features")
        assert theirs.type == mine.type == "feature_table"
        assert theirs.label_name == mine.label_name == "objects"
        pairs = {"label": "label", "volume" if image.is_3d else "area": "area"}
        for channel in ("DAPI", "GFP"):
            for kind in ("mean", "std", "min", "max"):
                pairs[f"{kind}_{channel}"] = f"intensity_{kind}-{channel}"
        for name, other in pairs.items():
            np.testing.assert_allclose(
                mine.columns[name], theirs.columns[other], rtol=1e-6, err_msg=name
            )
        n_labels = int(np.max(open_label(image, "DAPI_segmented").levels[0]))
        of_theirs = read_table(image, "of_theirs")
        assert of_theirs.columns["label"].tolist() == [*range(1, n_labels + 1)]


def test_the_masking_table_is_that_of_ngio(mixed: Path) -> None:
    for image in measured(mixed):
        container = ngio.open_ome_zarr_container(image.path)
        theirs = container.get_label("objects").build_masking_roi_table().dataframe
        mine = container.get_masking_roi_table("masks").dataframe
        assert {*mine.index} == {*theirs.index}
        np.testing.assert_allclose(mine.loc[theirs.index, theirs.columns], theirs)


def test_both_imports_list_the_same_images(
    mixed: Path, core: Tasks, ours: Tasks
) -> None:
    for plate in (mixed / "before.zarr", mixed / "plate_mip.zarr"):
        for tasks in (core, ours):
            step = tasks("Import OME-Zarr", zarr_name=plate.name)
            images = run_steps(mixed, [], step)
            urls = {image["zarr_url"] for image in images}
            assert urls == set(map(str, plate_images(plate)))


def run_with_ngio(core: Tasks, *arguments: str | Path) -> Any:
    """Run `with_ngio` in the environment of fractal-tasks-core."""
    printed = run(core.python, HERE / "with_ngio.py", *arguments)
    return json.loads(printed.splitlines()[-1])


def test_ngio_of_two_ages_opens_all_that_both_packages_wrote(
    mixed: Path, core: Tasks
) -> None:
    plates = [*mixed.glob("plate*.zarr")]
    assert plates
    for plate in plates:
        seen = describe(plate)
        assert with_ngio.describe(str(plate)) == seen
        assert run_with_ngio(core, "describe", plate) == seen


def test_ngio_of_two_ages_opens_a_plate_of_our_tasks(own: Path, core: Tasks) -> None:
    for plate in ("plate.zarr", "plate_projected.zarr"):
        seen = describe(own / plate)
        assert with_ngio.describe(str(own / plate)) == seen
        assert run_with_ngio(core, "describe", own / plate) == seen
    for image in seen.values():
        types = {name: type for name, (type, *_) in image["tables"].items()}
        expected = {"FOV_ROI_table": "roi_table", "well_ROI_table": "roi_table"}
        expected |= {"masks": "masking_roi_table", "features": "feature_table"}
        assert expected.items() <= types.items()


def assert_regions(image: Image, backend: str = "") -> None:
    """Those that `with_ngio` writes are read."""
    expected = {
        name: tuple(slice(s, s + n) for s, n in ((z, nz), (y, ny), (x, nx)))
        for name, (x, y, z, nx, ny, nz) in with_ngio.FIELDS.items()
    }
    rois = read_rois(image, f"fields{backend}")
    assert {roi.name: roi.region for roi in rois} == expected
    (mask,) = read_rois(image, f"masks{backend}")
    assert (mask.label, mask.region) == (7, expected["left"])


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("writer", ["ngio 0.5", "ngio 1"])
def test_tables_of_ngio_are_read_in_each_backend(
    core: Tasks, tmp_path: Path, writer: str, version: str
) -> None:
    path = tmp_path / "image.zarr"
    if writer == "ngio 1":
        with_ngio.write(str(path), version)
    else:
        run_with_ngio(core, "write", path, version)
    image = open_image(path)
    nothing: dict[str, list[Any]] = {name: [] for name in with_ngio.FEATURES}
    for backend in with_ngio.BACKENDS:
        for name, type, label_name, columns in (
            ("features", "feature_table", "cells", with_ngio.FEATURES),
            ("empty", "feature_table", "cells", nothing),
            ("conditions", "condition_table", "", with_ngio.CONDITIONS),
        ):
            table = read_table(image, f"{name}_{backend}")
            assert (table.type, table.label_name) == (type, label_name)
            found = {key: values.tolist() for key, values in table.columns.items()}
            assert found == columns
        assert_regions(image, f"_{backend}")
        with_ngio.check_odd(read_table(image, f"odd_{backend}").columns)


def test_tables_of_fractal_tasks_core_1_are_read(core: Tasks, tmp_path: Path) -> None:
    run_with_ngio(core, "write_old", tmp_path / "image.zarr")
    image = open_image(tmp_path / "image.zarr")
    table = read_table(image, "features")
    assert (table.type, table.label_name) == ("feature_table", "cells")
    for name in ("label", "area"):
        assert table.columns[name].tolist() == with_ngio.FEATURES[name]
    assert_regions(image)


def view(python: str | Path, *arguments: str | Path, **options: Any) -> Any:
    """Pixels that a program loads of a plate; see `viewers`."""
    printed = run(python, HERE / "viewers.py", *arguments, **options)
    return json.loads(printed.splitlines()[-1])


def test_the_navigator_loads_regions_with_labels_and_features(
    own: Path, core: Tasks
) -> None:
    seen = view(core.python, "navigator", own / "plate_projected.zarr", "A/01/1")
    image = open_image(own / "plate_projected.zarr/A/01/1")
    for table, size in (("FOV_ROI_table", FIELD), ("well_ROI_table", 2 * FIELD)):
        assert [*seen[table]] == [roi.name for roi in read_rois(image, table)]
        for roi in seen[table].values():
            assert roi["channels"] == [[size, size]] * 2
            assert roi["labels"] == [[size, size]]
        n_loaded = sum(sum(roi["n_features"]) for roi in seen[table].values())
        assert n_loaded == n_rows(read_table(image, "features"))


def test_the_feature_explorer_loads_our_feature_tables(
    own: Path, shared: Shared, tmp_path: Path
) -> None:
    def fill(folder: Path) -> None:
        requirement = "fractal-feature-explorer==0.1.*"
        make_environment(folder / "venv", requirement, python=find_python("3.13"))

    python = shared("explorer", fill) / "venv" / "bin" / "python"
    plate = own / "plate_projected.zarr"
    seen = view(python, "explorer", plate, "features", cwd=tmp_path)
    tables = [read_table(open_image(path), "features") for path in plate_images(plate)]
    assert seen["mistakes"] == []
    assert seen["n_rows"] == sum(map(n_rows, tables)) > 20
    assert {*tables[0].columns, "row", "column", "path_in_well"} <= {*seen["columns"]}
