"""A task may be killed, run twice at a time, or be given nonsense: nothing is lost."""

import json
import shutil
import subprocess
import sys
import warnings
from functools import partial

import numpy as np
import pytest
import tifffile
import zarr
from full_workflow import write_network
from killed_task import HIDDEN, run_and_kill, run_both
from my_fractal_tasks.gaussian_blur import gaussian_blur
from my_fractal_tasks.kit import (
    Channel,
    Step,
    build_pyramid,
    create_image,
    derive_image,
    derive_label,
    filter_image,
    is_made,
    label_image,
    map_blocks,
    open_image,
    open_label,
    plate_images,
    publish,
    read_table,
    run_task,
    table_names,
    write_feature_table,
)
from my_fractal_tasks.threshold_segmentation import threshold_segmentation
from package_images import PACKAGE, write_image, write_plate
from scipy.ndimage import gaussian_filter


def visible_images(folder, known=()):
    """Contents that a reader lists, or knows of: pixels of images and labels, bytes of tables."""
    found = {}
    listed = {path.name for path in folder.glob("[!.]*.zarr")}
    for path in sorted(folder / name for name in listed.union(known)):
        image = open_image(path)
        nodes = {path.name: image} | {
            f"{path.name}/labels/{name}": open_label(image, name)
            for name in image.label_names
        }
        for name, node in nodes.items():
            found[name] = [np.asarray(level) for level in node.levels]
        if "tables" in image.group:
            for name in image.group["tables"].attrs["tables"]:
                # The last whole version may lie in a hidden folder.
                table = (image.path / "tables" / name / "table.csv").read_bytes()
                found[f"{path.name}/tables/{name}"] = [np.frombuffer(table, np.uint8)]
    return found


def equal(a, b):
    return all((x == y).all() for x, y in zip(a, b, strict=True))


CASES = {
    "a new image": ("gaussian_blur", {"sigma_xy": 1}),
    "an image that is replaced": ("gaussian_blur", {"sigma_xy": 3, "overwrite": True}),
    "the input is overwritten": ("gaussian_blur", {"overwrite_input": True}),
    "the input is moved": ("register_acquisitions_compute", {"overwrite_input": True}),
    "a new label": ("threshold_segmentation", {"label_name": "new"}),
    "a label that is replaced": (
        "threshold_segmentation",
        {"label_name": "old", "threshold": 5, "overwrite": True},
    ),
    "a new label of a model": (
        "model_segmentation",
        {
            "label_name": "new",
            "tile_size": 40,
            "overlap": 10,
            "masking_roi_table": "new",
        },
    ),
    "a new table": ("measure_features", {"label_name": "old"}),
    "a new image of regions": ("gaussian_blur", {"regions": {"mask": "old"}}),
    "a new label with a table of its regions": (
        "threshold_segmentation",
        {"label_name": "new", "masking_roi_table": "new", "regions": {"mask": "old"}},
    ),
}


@pytest.fixture
def pick(is_weekly):
    """Return the moments to kill a task at: once a week all, else each third from one on."""

    def pick(moments, first=0):
        moments = sorted(set(moments))
        assert len(moments) > 5
        return moments if is_weekly else moments[first % 3 :: 3]

    return pick


@pytest.mark.parametrize(
    ("case", "exchange"),
    [(case, True) for case in CASES]
    # As on NFS, where one folder takes the place of another in two steps.
    + [(case, False) for case in CASES if "new" not in case],
)
def test_a_killed_task_loses_nothing_and_succeeds_when_run_again(
    tmp_path, case, exchange, pick
):
    start, work = tmp_path / "start", tmp_path / "work"
    path = start / "image.zarr"
    write_image(path, "cyx", chunks={"y": 64, "x": 64})
    threshold_segmentation(zarr_url=str(path), label_name="old")
    if case == "an image that is replaced":
        gaussian_blur(zarr_url=str(path), sigma_xy=1)
    task, arguments = CASES[case]
    arguments = {"zarr_url": str(work / "image.zarr"), **arguments}
    if case == "the input is moved":
        write_image(start / "reference.zarr", "cyx")
        arguments["init_args"] = {"reference": str(work / "reference.zarr")}
        image = open_image(path, mode="r+")
        image.levels[0][...] = np.roll(image.levels[0][...], (5, -3), (1, 2))
        build_pyramid(image)
    if task == "model_segmentation":
        arguments["model"] = write_network(tmp_path / "network.onnx")
    run = partial(run_and_kill, task, exchange=exchange)

    shutil.copytree(start, work)
    before = visible_images(work)
    moments = run(arguments)
    after = visible_images(work)
    assert before.keys() != after.keys() or not all(
        equal(before[name], after[name]) for name in before
    )
    for moment in pick(moments, [*CASES].index(case) + exchange):
        shutil.rmtree(work)
        shutil.copytree(start, work)
        assert run(arguments, moment) is None, moment
        seen = visible_images(work, [path.name for path in start.iterdir()])
        assert before.keys() <= seen.keys() <= after.keys(), moment
        for name, levels in seen.items():
            old = name in before and equal(levels, before[name])
            assert old or equal(levels, after[name]), (moment, name)
        # Also if all was done, and only Fractal does not know it.
        assert run(arguments), moment
        result = visible_images(work)
        assert result.keys() == after.keys(), moment
        assert all(equal(result[name], after[name]) for name in after), moment
        assert not [path for path in work.rglob(".*") if HIDDEN.fullmatch(path.name)]


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_a_killed_conversion_goes_on_when_run_again(tmp_path, version, pick):
    tiffs = tmp_path / "tiffs"
    tiffs.mkdir()
    pixels = np.random.default_rng(0).integers(0, 4000, (2, 40, 30), np.uint16)
    for well, plane in zip(("A01", "A02"), pixels, strict=True):
        tifffile.imwrite(tiffs / f"{well}_a0_cDAPI.tif", plane)
    run = partial(run_and_kill, "convert_tiffs")
    arguments = {"tiff_dir": str(tiffs), "ngff_version": version}
    moments = run(arguments | {"zarr_dir": str(tmp_path / "whole")})
    assert len(set(moments)) > 10
    for moment in pick(moments, int(version[-1])):
        folder = tmp_path / str(moment)
        plate = folder / "plate.zarr"
        assert run(arguments | {"zarr_dir": str(folder)}, moment) is None, moment
        for image in plate_images(plate) if plate.exists() else ():
            if image.exists():
                assert (open_image(image).levels[0][0] == pixels).all((1, 2)).any()
        assert run(arguments | {"zarr_dir": str(folder)}), moment
        for image, plane in zip(plate_images(plate), pixels, strict=True):
            assert (open_image(image).levels[0][0] == plane).all()
        hidden = [path for path in folder.rglob(".*") if HIDDEN.fullmatch(path.name)]
        assert [path.name for path in hidden if path.name != "out.json"] == [], moment


def maxima(plate):
    """Whether each image of a projected plate that there is has the right pixels."""
    source = plate.with_name("plate.zarr")
    found = {}
    for path in plate_images(plate) if plate.exists() else ():
        if path.exists():
            image = open_image(source / path.relative_to(plate))
            expected = image.levels[0][...].max(axis=0, keepdims=True)
            found[path] = (open_image(path).levels[0][...] == expected).all()
    return found


def leftovers(folder):
    """Hidden files, but for locks, which expire."""
    hidden = [p.name for p in folder.rglob(".*") if HIDDEN.fullmatch(p.name)]
    return [name for name in hidden if not name.endswith(".lock")]


@pytest.mark.parametrize(("before", "version"), [(0, "0.4"), (1, "0.5")])
def test_a_killed_projection_goes_on_when_run_again(tmp_path, before, version, pick):
    """Also one that adds wells to a plate that exists."""
    start, work = tmp_path / "start", tmp_path / "work"
    plate, projected = work / "plate.zarr", work / "plate_projected.zarr"
    wells = {"A/01": [0], "A/02": [1], "B/01": [0]}
    write_plate(start / "plate.zarr", wells, version, axes="zyx")
    shutil.copytree(start, work)
    urls = [str(path) for path in plate_images(plate)]
    if before:
        run_both("project_image", zarr_urls=urls[:before], zarr_dir=str(work))
        shutil.copytree(projected, start / projected.name)
    run = partial(
        run_and_kill, "project_image", {"zarr_urls": urls, "zarr_dir": str(work)}
    )
    moments = run()
    assert len(set(moments)) > 10
    for moment in pick(moments, before):
        shutil.rmtree(work)
        shutil.copytree(start, work)
        assert run(moment) is None, moment
        assert len(maxima(projected)) >= before, moment
        assert all(maxima(projected).values()), moment
        assert run(), moment
        assert [*maxima(projected).values()] == [True] * 3, moment
        assert len(plate_images(projected)) == 3
        assert leftovers(work) == [], moment


def test_jobs_that_project_into_one_plate_at_a_time_add_all_of_their_wells(tmp_path):
    wells = {f"{row}/0{column}": [0] for row in "AB" for column in (1, 2, 3)}
    images = write_plate(tmp_path / "plate.zarr", wells, axes="zyx")
    run_both("project_image", zarr_urls=[str(images[0])], zarr_dir=str(tmp_path))
    units = [
        start("project_image_init", zarr_urls=[str(image)], zarr_dir=str(tmp_path))
        for image in images[1:]
    ]
    assert [unit.wait() for unit in units] == [0] * 5
    plate = tmp_path / "plate_projected.zarr"
    assert len(plate_images(plate)) == 6
    metadata = json.loads((plate / ".zattrs").read_text())["plate"]
    rows, columns = (
        [axis["name"] for axis in metadata[key]] for key in ("rows", "columns")
    )
    assert (sorted(rows), sorted(columns)) == (["A", "B"], ["01", "02", "03"])
    for well in metadata["wells"]:
        place = f"{rows[well['rowIndex']]}/{columns[well['columnIndex']]}"
        assert place == well["path"]


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_a_killed_aggregation_leaves_no_table_or_a_whole_one(tmp_path, version, pick):
    start, work = tmp_path / "start", tmp_path / "work"
    wells = {"A/01": [0], "B/02": [0]}
    for path in write_plate(start / "plate.zarr", wells, version, axes="yx"):
        columns = {"label": [1, 2], "area": [3.0, 4.5]}
        write_feature_table(open_image(path), "features", columns, label_name="x")
    shutil.copytree(start, work)
    plate = work / "plate.zarr"
    urls = [str(path) for path in plate_images(plate)]
    arguments = {"zarr_urls": urls, "zarr_dir": str(work)}
    run = partial(run_and_kill, "aggregate_tables", arguments)
    moments = run()
    for moment in pick(moments, int(version[-1])):
        shutil.rmtree(work)
        shutil.copytree(start, work)
        assert run(moment) is None, moment
        for _ in table_names(plate):
            assert read_table(plate, "features").columns["label"].tolist() == [1, 2] * 2
        assert run(), moment
        assert read_table(plate, "features").columns["label"].tolist() == [1, 2] * 2
        assert leftovers(work) == [], moment


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_a_step_that_has_overwritten_its_input_is_not_applied_to_its_result(
    tmp_path, version
):
    path = tmp_path / "image.zarr"
    write_image(path, "cyx", version)
    blur = partial(gaussian_blur, zarr_url=str(path), overwrite_input=True)

    def pixels():
        return np.asarray(open_image(path).levels[0])

    output = blur(sigma_xy=2)
    once = pixels()
    threshold_segmentation(zarr_url=str(path))
    (path / "0" / ".DS_Store").touch()
    assert blur(sigma_xy=2) == output
    assert (pixels() == once).all()
    assert open_image(path).label_names == ["objects"]


def test_metadata_that_a_step_writes_arrive(tmp_path):
    path = tmp_path / "image.zarr"
    write_image(path, "cyx")
    image = open_image(path)
    step = Step("mine", {"x": 1}, [image])
    with derive_image(image, path, overwrite=True, made_by=step) as derived:
        derived.group.update_attributes({"mine": 1})
    attributes = open_image(path).group.attrs.asdict()
    assert attributes["mine"] == 1
    assert attributes["made_by"]["task"] == "mine"


def test_a_step_that_json_cannot_hold_is_refused_before_anything_is_done(tmp_path):
    write_image(tmp_path / "image.zarr")
    image = open_image(tmp_path / "image.zarr")
    before = contents(tmp_path)
    assert not is_made(image.path, Step("mine", {"x": (1, tmp_path)}, [image]))
    for value in (object(), float("nan")):
        step = Step("mine", {"x": value}, [image])
        with pytest.raises(ValueError, match=r"JSON|serialize"):
            is_made(image.path, step)
        with pytest.raises(ValueError, match=r"JSON|serialize"):  # noqa: SIM117
            with derive_image(image, tmp_path / "new.zarr", made_by=step):
                pytest.fail("it began")
    assert contents(tmp_path) == before


def test_a_new_image_does_not_say_that_it_was_made_as_its_source(tmp_path):
    (path,) = write_plate(tmp_path / "plate.zarr", {"A/01": [0]}, axes="yx")
    new = path.with_name("0new")
    gaussian_blur(zarr_url=str(path), overwrite_input=True)
    with derive_image(open_image(path), new) as image:
        build_pyramid(image)
    assert plate_images(tmp_path / "plate.zarr") == [path, new]
    assert "made_by" in open_image(path).group.attrs
    assert "made_by" not in open_image(new).group.attrs


RESULTS = {
    "gaussian_blur": ("image_blurred.zarr", {"sigma_xy": 2}),
    "threshold_segmentation": ("image.zarr/labels/objects", {"min_size": 3}),
    "model_segmentation": ("image.zarr/labels/objects", {"threshold": 0.4}),
    "measure_features": ("image.zarr/tables/features", {"label_name": "other"}),
}


@pytest.mark.parametrize("version", ["0.4", "0.5"])
@pytest.mark.parametrize("task", RESULTS)
def test_the_same_unit_finds_its_result_and_another_one_is_refused(
    tmp_path, task, version
):
    path = tmp_path / "image.zarr"
    write_image(path, "cyx", version)
    for name in ("objects", "other") if task == "measure_features" else ():
        threshold_segmentation(zarr_url=str(path), label_name=name)
    run = partial(import_task(task), zarr_url=str(path))
    if task == "model_segmentation":
        (tmp_path / "models").mkdir()
        run = partial(run, model=write_network(tmp_path / "models" / "network.onnx"))
    name, other = RESULTS[task]
    result = tmp_path / name
    output = run()
    record = zarr.open_group(result, mode="r").attrs["made_by"]
    assert record["task"] == task
    assert (record["package"], record["version"]) == ("my-fractal-tasks", "0.1.0")
    before = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*")}

    assert run() == output
    assert {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*")} == before
    with pytest.raises(FileExistsError):
        run(**other)
    run(overwrite=True)  # what a user wants to be made again
    assert result.stat().st_ino != before[result]
    assert any(
        p.stat().st_mtime_ns != before[p] for p in result.rglob("*") if p in before
    )
    image = open_image(path, mode="r+")
    image.levels[0][0, 0, 0] += 1
    with pytest.raises(FileExistsError):
        run()


def test_the_conversion_of_other_files_is_another_one(tmp_path):
    tiff = tmp_path / "A01.tif"
    convert = import_task("convert_tiffs_init")
    arguments = {"zarr_dir": str(tmp_path), "tiff_dir": str(tmp_path)}
    tifffile.imwrite(tiff, np.zeros((8, 8), np.uint8))
    output = convert(**arguments)
    assert convert(**arguments) == output
    tifffile.imwrite(tiff, np.ones((8, 9), np.uint8))
    with pytest.raises(FileExistsError, match="plate_name"):
        convert(**arguments)


@pytest.mark.parametrize("change", ["pixels", "another step", "a new image"])
def test_a_step_is_applied_again_once_something_else_has_changed(tmp_path, change):
    path = tmp_path / "image.zarr"
    write_image(path, "cyx")
    gaussian_blur(zarr_url=str(path), sigma_xy=2, overwrite_input=True)
    if change == "pixels":
        image = open_image(path, mode="r+")
        image.levels[0][0, 0, 0] += 100  # and not in the levels below
    elif change == "another step":
        gaussian_blur(zarr_url=str(path), sigma_xy=1, overwrite_input=True)
    else:
        gaussian_blur(zarr_url=str(path), sigma_xy=2)
        path = tmp_path / "image_blurred.zarr"
    before = np.asarray(open_image(path).levels[0])
    gaussian_blur(zarr_url=str(path), sigma_xy=2, overwrite_input=True)
    after = np.asarray(open_image(path).levels[0])
    blurred = gaussian_filter(before.astype(np.float32), (0, 2, 2))
    assert (after == np.rint(blurred)).all()
    assert (after != before).any()


def test_an_image_is_registered_again_once_its_reference_has_changed(tmp_path):
    path, reference = tmp_path / "image.zarr", tmp_path / "reference.zarr"
    pixels = write_image(path, "yx")
    write_image(reference, "yx")
    register = partial(
        import_task("register_acquisitions_compute"),
        zarr_url=str(path),
        init_args={"reference": str(reference)},
        overwrite_input=True,
    )
    register()
    assert (open_image(path).levels[0][...] == pixels).all()
    image = open_image(reference, mode="r+")
    image.levels[0][...] = np.roll(pixels, 5, axis=0)
    build_pyramid(image)
    register()
    assert (open_image(path).levels[0][5:] == pixels[:-5]).all()


def test_an_image_is_registered_again_by_another_channel_of_its_reference(tmp_path):
    """The channel may be the first of the image, and another one of its reference."""
    path, reference = tmp_path / "image.zarr", tmp_path / "reference.zarr"
    pixels = write_image(path, "cyx")
    write_image(reference, "cyx")
    group = open_image(reference, mode="r+").group
    group["0"][0] = np.roll(pixels[0], 5, axis=0)
    group["0"][1] = np.roll(pixels[0], -5, axis=0)
    build_pyramid(open_image(reference, mode="r+"))
    omero = group.attrs["omero"]
    omero["channels"].reverse()
    group.update_attributes({"omero": omero})
    name = open_image(path).channel_names[0]
    assert open_image(reference).channel_names[1] == name
    for channel, rows in (({}, 5), ({"mode": "label", "identifier": name}, -5)):
        import_task("register_acquisitions_compute")(
            zarr_url=str(path),
            init_args={"reference": str(reference)},
            channel=channel,
            overwrite_input=True,
        )
        moved = open_image(path).levels[0][0]
        inside = slice(10, -10)
        assert (moved[inside] == np.roll(pixels[0], rows, axis=0)[inside]).all()


def test_a_folder_without_an_image_is_not_replaced(tmp_path):
    zarr.create_group(tmp_path / "image.zarr", zarr_format=2)
    (tmp_path / "image.zarr" / "notes.txt").write_text("kept")
    before = contents(tmp_path)
    image = create_image(
        tmp_path / "image.zarr",
        shape=(8, 8),
        axes="yx",
        dtype=np.uint8,
        scale={},
        channels=["DAPI"],
        overwrite=True,
    )
    with pytest.raises(ValueError, match=r"overwrite: .* is not an image"):
        image.__enter__()
    assert contents(tmp_path) == before


@pytest.mark.parametrize("name", ["notes.txt", ".notes"])
def test_files_that_a_user_added_to_an_image_survive_an_overwrite(tmp_path, name):
    write_image(tmp_path / "image.zarr")
    (tmp_path / "image.zarr" / name).write_text("kept")
    gaussian_blur(zarr_url=str(tmp_path / "image.zarr"), overwrite_input=True)
    assert (tmp_path / "image.zarr" / name).read_text() == "kept"


def test_a_replacement_in_two_steps_is_repaired_after_a_kill(tmp_path, monkeypatch):
    """Where the file system cannot exchange two folders, as on NFS."""
    path = tmp_path / "image.zarr"
    pixels = write_image(path, "cyx")
    link = tmp_path / "link" / "linked.zarr"
    link.parent.mkdir()
    link.symlink_to(path)
    monkeypatch.setattr(publish, "_exchange", lambda *_: False)
    path.rename(tmp_path / ".image.zarr.old")
    for name in (path, link):  # which read what is there, and leave it to the next task
        assert (open_image(name).levels[0][...] == pixels).all()
    assert not path.exists()
    shutil.rmtree(link.parent)

    gaussian_blur(zarr_url=str(path), overwrite_input=True)
    assert (open_image(path).levels[0][...] != pixels).any()
    assert [entry.name for entry in tmp_path.iterdir()] == ["image.zarr"]


@pytest.mark.parametrize("version", ["0.4", "0.5"])
@pytest.mark.parametrize("recorded", [False, True])
def test_two_tasks_that_write_the_same_image_do_not_mix(tmp_path, version, recorded):
    """One of them fails; what is there is whole."""
    path = tmp_path / "image.zarr"
    pixels = write_image(path, "cyx", version)
    image = open_image(path)
    step = Step("mine", {}, [image]) if recorded else None
    entered = derive_image(image, path, overwrite=True, made_by=step)
    first = entered.__enter__()
    first.levels[0][...] = 6
    with derive_image(image, path, overwrite=True, made_by=step) as second:
        # This makes its folder anew, which the second has removed.
        first.levels[0][...] = 6
        first.group.update_attributes({"mine": 6})
        with pytest.raises(RuntimeError, match="another task"):
            entered.__exit__(None, None, None)
        assert (open_image(path).levels[0][...] == pixels).all()
        second.levels[0][...] = 7
        build_pyramid(second)
    assert (open_image(path).levels[0][...] == 7).all()
    assert [entry.name for entry in tmp_path.iterdir()] == ["image.zarr"]


@pytest.mark.parametrize("exchange", [True, False])
def test_a_task_whose_folder_is_taken_at_the_last_moment_changes_nothing(
    tmp_path, monkeypatch, exchange
):
    path = tmp_path / "image.zarr"
    pixels = write_image(path, "cyx")
    replace = publish._replace

    def after_another_has_begun(path, new):
        publish.remove_leftovers(path, of_the_living=True)
        replace(path, new)

    monkeypatch.setattr(publish, "_replace", after_another_has_begun)
    if not exchange:
        monkeypatch.setattr(publish, "_exchange", lambda *_: False)
    with pytest.raises(RuntimeError, match="another task is writing"):
        gaussian_blur(zarr_url=str(path), overwrite_input=True)
    assert [entry.name for entry in tmp_path.iterdir()] == ["image.zarr"]
    assert (open_image(path).levels[0][...] == pixels).all()


def test_a_label_that_is_written_while_its_image_is_overwritten_is_not_listed(tmp_path):
    path = tmp_path / "image.zarr"
    write_image(path, "cyx")
    threshold_segmentation(zarr_url=str(path), label_name="old")
    entered = derive_label(open_image(path), "new")
    label = entered.__enter__()
    gaussian_blur(zarr_url=str(path), overwrite_input=True)
    label.levels[0][...] = 1
    with pytest.raises(RuntimeError, match="another task"):
        entered.__exit__(None, None, None)
    assert open_image(path).label_names == ["old"]
    assert (open_label(open_image(path), "old").levels[0][...] > 0).any()
    assert {p.name for p in (path / "labels").iterdir()} == {
        ".zattrs",
        ".zgroup",
        "old",
    }


def test_a_step_does_not_begin_with_a_result_of_another_task(tmp_path):
    path = tmp_path / "image.zarr"
    write_image(path, "cyx")
    image = open_image(path)
    gaussian_blur(zarr_url=str(path), overwrite_input=True)
    once = np.asarray(open_image(path).levels[0])
    with pytest.raises(RuntimeError, match="another task has overwritten"):  # noqa: SIM117
        with derive_image(image, path, overwrite=True):
            pytest.fail("it began")
    assert (open_image(path).levels[0][...] == once).all()


def test_labels_whose_names_begin_alike_can_be_written_at_the_same_time(tmp_path):
    path = tmp_path / "image.zarr"
    write_image(path, "cyx")
    image = open_image(path)
    with derive_label(image, "nuclei.v2") as dotted, derive_label(image, "nuclei"):
        dotted.levels[0][...] = 1
    assert sorted(open_image(path).label_names) == ["nuclei", "nuclei.v2"]


def test_a_label_image_is_not_blurred(tmp_path):
    path = tmp_path / "image.zarr"
    write_image(path, "yx")
    threshold_segmentation(zarr_url=str(path))
    before = contents(tmp_path)
    with pytest.raises(ValueError, match=r"zarr_url: .* is a label image"):
        gaussian_blur(zarr_url=str(path / "labels" / "objects"))
    assert contents(tmp_path) == before


def test_an_image_that_waits_for_its_repair_is_not_missing(tmp_path):
    path = tmp_path / "image.zarr"
    write_image(path, "cyx")
    path.rename(tmp_path / ".image.zarr.old")
    output = import_task("check_images")(
        zarr_urls=[str(path)], zarr_dir=str(tmp_path), remove_missing=True
    )
    assert not output.get("image_list_removals")
    assert path.exists()


def test_leftovers_of_a_killed_replacement_do_not_stop_the_next(tmp_path, monkeypatch):
    path = tmp_path / "image.zarr"
    write_image(path, "cyx")
    shutil.copytree(path, tmp_path / ".image.zarr.old")  # killed after the second step
    monkeypatch.setattr(publish, "_exchange", lambda *_: False)
    gaussian_blur(zarr_url=str(path), overwrite_input=True)
    assert [entry.name for entry in tmp_path.iterdir()] == ["image.zarr"]


def start(task, **arguments):
    code = f"import json, sys; from my_fractal_tasks.{task} import {task}; " + (
        f"{task}(**json.loads(sys.argv[1]))"
    )
    return subprocess.Popen([sys.executable, "-c", code, json.dumps(arguments)])


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_units_on_images_of_one_well_register_all_of_their_images(tmp_path, version):
    plate = tmp_path / "plate.zarr"
    images = write_plate(plate, {"A/01": [0, 1, 2, 3]}, version, axes="yx")
    units = [start("gaussian_blur", zarr_url=str(image)) for image in images]
    assert [unit.wait() for unit in units] == [0] * 4
    names = {path.name for path in plate_images(plate)}
    assert names == {f"{n}{suffix}" for n in range(4) for suffix in ("", "blurred")}


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_units_that_write_labels_into_one_image_register_all_of_them(tmp_path, version):
    path = tmp_path / "image.zarr"
    write_image(path, "yx", version)
    names = [f"label{n}" for n in range(6)]
    units = [
        start("threshold_segmentation", zarr_url=str(path), label_name=name)
        for name in names
    ]
    assert [unit.wait() for unit in units] == [0] * len(names)
    assert sorted(open_image(path).label_names) == names


def test_the_lock_of_a_killed_task_expires(tmp_path, monkeypatch):
    path = tmp_path / "image.zarr"
    write_image(path, "yx")
    (tmp_path / ".image.zarr.lock").mkdir()
    monkeypatch.setattr(publish, "LOCK_EXPIRES", 0.5)
    threshold_segmentation(zarr_url=str(path))
    assert open_image(path).label_names == ["objects"]
    assert not (tmp_path / ".image.zarr.lock").exists()


TASKS_ON_ONE_IMAGE = {
    "gaussian_blur": {},
    "threshold_segmentation": {},
    "model_segmentation": {"model": "/absent"},
    "measure_features": {},
    "register_acquisitions_compute": {"init_args": {"reference": "/absent"}},
}
TASKS_ON_MANY_IMAGES = {
    "register_acquisitions_init": {},
    "project_image_init": {},
    "aggregate_tables": {},
    "check_images": {},
}


def bad_urls(folder):
    """Metadata that cannot be an image, and a part of the message that says why."""
    write_image(folder / "image.zarr")
    write_plate(folder / "plate.zarr", {"A/01": [0]})
    (folder / "folder").mkdir()
    (folder / "file").write_text("text")
    (folder / "broken").mkdir()
    (folder / "broken" / ".zgroup").write_text("{")
    return {
        "s3://bucket/image.zarr": "S3",
        "image.zarr": "absolute",
        f"{folder}/folder/../image.zarr": "absolute path without '..'",
        f"{folder}/absent.zarr": "nothing at",
        f"{folder}/folder": "not an OME-Zarr image",
        f"{folder}/file": "not an OME-Zarr image",
        f"{folder}/broken": "not an OME-Zarr image",
        f"{folder}/plate.zarr": "is a plate",
        f"{folder}/plate.zarr/A/01": "is a well",
        f"{folder}/plate.zarr/A": "is not an image",
        f"{folder}/image.zarr/0": "not an OME-Zarr image",
    }


def test_a_physical_sigma_needs_pixel_sizes(tmp_path):
    write_image(tmp_path / "image.zarr", "yx")
    metadata = tmp_path / "image.zarr" / ".zattrs"
    attributes = json.loads(metadata.read_text())
    for dataset in attributes["multiscales"][0]["datasets"]:
        del dataset["coordinateTransformations"]
    metadata.write_text(json.dumps(attributes))
    before = contents(tmp_path)
    arguments = {"zarr_url": str(tmp_path / "image.zarr")}
    with pytest.raises(ValueError, match="sigma_unit"):
        gaussian_blur(**arguments, sigma_unit="physical")
    assert contents(tmp_path) == before


def import_task(name):
    module = __import__(f"my_fractal_tasks.{name}", fromlist=[name])
    return getattr(module, name)


def contents(folder):
    return {path: path.is_file() and path.read_bytes() for path in folder.rglob("*")}


@pytest.mark.parametrize("name", [*TASKS_ON_ONE_IMAGE, *TASKS_ON_MANY_IMAGES])
def test_a_url_that_is_no_image_is_refused_before_anything_is_written(tmp_path, name):
    urls = bad_urls(tmp_path)
    before = contents(tmp_path)
    for url, reason in urls.items():
        if name in TASKS_ON_ONE_IMAGE:
            argument = "zarr_url"
            arguments = {"zarr_url": url, **TASKS_ON_ONE_IMAGE[name]}
        else:
            argument = "zarr_urls"
            arguments = {"zarr_urls": [url], "zarr_dir": str(tmp_path)}
        with pytest.raises((ValueError, FileNotFoundError)) as error:
            import_task(name)(**arguments)
        assert argument in str(error.value), url
        assert reason in str(error.value), url
    assert contents(tmp_path) == before


def test_of_two_channels_the_one_that_is_not_there_is_named(tmp_path):
    write_image(tmp_path / "image.zarr", "cyx")
    image = open_image(tmp_path / "image.zarr")
    channel = Channel(mode="label", identifier="Cy5")
    for arguments, name in (((), "channel"), (("fitc",), "fitc")):
        with pytest.raises(
            ValueError, match=f"^{name}: .* has no channel with the label 'Cy5'"
        ):
            image.channel_index(channel, *arguments)


@pytest.mark.parametrize(
    ("executable", "arguments", "message"),
    [
        ("gaussian_blur.py", {"sigma_xy": -1}, "sigma_xy"),
        ("gaussian_blur.py", {"zarr_url": "s3://bucket/image.zarr"}, "zarr_url"),
        ("gaussian_blur.py", {"sigma": 1}, "sigma"),
        ("gaussian_blur.py", {"suffix": "a/b"}, "suffix: 'a/b'; allowed are letters"),
        ("threshold_segmentation.py", {"threshold": float("nan")}, "threshold"),
        ("threshold_segmentation.py", {"threshold": 70000}, "allowed is 0 to 65534"),
        ("threshold_segmentation.py", {"label_name": "a/b"}, "label_name: 'a/b'"),
        (
            "threshold_segmentation.py",
            {"channel": {"mode": "label", "identifier": "Cy5"}},
            "has no channel with the label 'Cy5'",
        ),
        (
            "measure_features.py",
            {"label_name": "nuclei"},
            "label_name: no label 'nuclei'",
        ),
    ],
)
def test_a_unit_with_bad_input_exits_with_an_error(
    tmp_path, executable, arguments, message
):
    write_image(tmp_path / "image.zarr")
    before = contents(tmp_path)
    arguments = {"zarr_url": str(tmp_path / "image.zarr")} | arguments
    args_json = tmp_path / "args.json"
    args_json.write_text(json.dumps(arguments))
    done = subprocess.run(
        [
            *(sys.executable, PACKAGE / executable),
            *("--args-json", args_json, "--out-json", tmp_path / "out.json"),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert message in done.stderr
    args_json.unlink()
    assert contents(tmp_path) == before


ON_BLOSC = {  # tasks that read the pixels of an image
    "gaussian_blur": {},
    "threshold_segmentation": {},
    "model_segmentation": {"model": "network.onnx"},
    "measure_features": {"label_name": "mask", "overwrite": True},
    "register_acquisitions_compute": {"init_args": {"reference": "image.zarr"}},
    "check_images": {"read_pixels": True},
}


@pytest.mark.parametrize("version", ["0.4", "0.5"])
@pytest.mark.parametrize("cname", ["lz4", "zstd", "blosclz", "zlib"])
def test_a_chunk_that_is_cut_off_is_refused_by_every_task(tmp_path, version, cname):
    """Blosc itself reads past the end of it; whether it notices is luck."""
    path, reference = tmp_path / "damaged.zarr", tmp_path / "image.zarr"
    pixels = write_image(reference, "cyx", version)
    write_image(path, "cyx", version)
    group = zarr.open_group(path, mode="r+")
    codec = zarr.codecs.BloscCodec(cname=cname, typesize=2)
    if version == "0.4":
        codec = {"id": "blosc", "cname": cname}
    for level in ("0", "1"):
        step = 2 ** int(level)
        options = {"chunks": (1, 101, 83), "compressors": codec, "overwrite": True}
        if version == "0.4":
            options["chunk_key_encoding"] = {"name": "v2", "separator": "/"}
        else:
            options["dimension_names"] = list("cyx")
        group.create_array(level, data=pixels[..., ::step, ::step], **options)
    image = open_image(path)
    with derive_label(image, "mask") as label:
        map_blocks(lambda block: block > 300, image, label, channel=0)
    chunk = path / "0" / ("0/0/0" if version == "0.4" else "c/0/0/0")
    whole = chunk.read_bytes()
    for cut in (whole[:-1], whole[: len(whole) // 2], whole[:17], whole + b"x"):
        chunk.write_bytes(cut)
        for task, arguments in ON_BLOSC.items():
            urls = {"zarr_url": str(path)}
            if task == "check_images":
                urls = {"zarr_urls": [str(path)], "zarr_dir": str(tmp_path)}
            if "init_args" in arguments:
                arguments = {"init_args": {"reference": str(reference)}}
            if "model" in arguments:
                arguments = {"model": write_network(tmp_path / "network.onnx")}
            with pytest.raises(ValueError, match=r"damaged.zarr.* a damaged chunk"):
                import_task(task)(**urls, **arguments)
    chunk.write_bytes(whole)
    for folder in (tmp_path, path / "labels"):
        assert not [p for p in folder.iterdir() if "partial" in p.name]


def test_leftovers_of_a_killed_task_are_removed_by_the_next_writer(tmp_path):
    path = tmp_path / "image.zarr"
    write_image(path, "yx")
    dead = subprocess.run(
        [sys.executable, "-c", "import os; print(os.getpid())"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    hidden = publish.hidden_path(path).name
    _, machine, pid = publish.HIDDEN.fullmatch(hidden).groups()
    others = {
        hidden.replace(f"{machine}-{pid}", f"{machine}-{dead}"): False,
        hidden.replace("image.zarr", "of_this_process.zarr"): True,
        hidden.replace("image", "a").replace(machine, "0" * 8): True,  # who knows?
        ".image.zarr.partial": True,  # not a task's
        hidden.replace("image", "b").replace(f"-{pid}-", f"-{dead}-"): False,
    }
    for name in others:
        (tmp_path / name / "0").mkdir(parents=True)
    gaussian_blur(zarr_url=str(path))
    for name, stays in others.items():
        assert (tmp_path / name).exists() == stays, name


def test_the_loser_of_two_equal_units_says_so(tmp_path):
    path, new = tmp_path / "image.zarr", tmp_path / "new.zarr"
    write_image(path, "yx")
    image = open_image(path)
    entered = derive_image(image, new)
    first = entered.__enter__()
    with derive_image(image, new) as second:
        second.levels[0][...] = 7
        build_pyramid(second)
    # However it finds that its folder is gone.
    with pytest.raises(RuntimeError, match=r"overwrite: another task is writing .*new"):
        entered.__exit__(*raised(lambda: open_image(first.path)))
    assert (open_image(new).levels[0][...] == 7).all()
    assert {p.name for p in tmp_path.iterdir()} == {"image.zarr", "new.zarr"}


def raised(function):
    try:
        function()
    except Exception as error:
        return type(error), error, error.__traceback__
    raise AssertionError("it did not fail")


def test_a_full_disk_leaves_nothing_and_says_so_in_the_last_line(tmp_path):
    path = tmp_path / "image.zarr"
    write_image(path, "yx")
    before = {p.name for p in tmp_path.iterdir()}
    (tmp_path / "args.json").write_text(json.dumps({"zarr_url": str(path)}))
    code = f"""
import errno, runpy, sys
from zarr.storage import LocalStore
async def full(self, key, value, **_):
    raise OSError(errno.ENOSPC, "No space left on device", key)
LocalStore.set = full
sys.argv[1:] = ["--args-json", "args.json", "--out-json", "out.json"]
runpy.run_path({str(PACKAGE / "gaussian_blur.py")!r}, run_name="__main__")
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert last.startswith("gaussian_blur failed: ")
    assert "No space left on device" in last
    (tmp_path / "args.json").unlink()
    assert {p.name for p in tmp_path.iterdir()} == before


MISSING = {
    "onnxruntime": r"'\.\[model\]'` installs it here, .* with the extra `model`$",
    "pooch.core": r"'\.\[model\]'` installs it here",
    "pyarrow": "my_fractal_tasks requires it: install the package again$",
    "scipy.ndimage": "my_fractal_tasks requires it",
    "nothing_of_this_name": "nothing of its name is required by my_fractal_tasks: add",
    "zar": "nothing of its name is required",
    "my_fractal_tasks.kit.gone": "`nox -s template -- restore src/my_fractal_tasks/kit/gone",
    "my_fractal_tasks.helpers": "src/my_fractal_tasks/helpers.py is missing$",
}


@pytest.mark.parametrize(("module", "says"), MISSING.items(), ids=MISSING)
def test_a_missing_module_is_named_with_a_remedy(tmp_path, monkeypatch, module, says):
    def segment():
        raise ModuleNotFoundError(f"No module named {module!r}", name=module)

    (tmp_path / "args.json").write_text("{}")
    arguments = ["--args-json", "args.json", "--out-json", "out.json"]
    monkeypatch.setattr(sys, "argv", ["segment.py", *arguments])
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match=f"named '{module}': .*{says}"):
        run_task(segment)


def test_files_that_can_not_be_removed_are_named(tmp_path, monkeypatch, caplog):
    """The replaced image may belong to somebody else."""
    path = tmp_path / "image.zarr"
    write_image(path, "yx")
    caplog.set_level("INFO")
    with monkeypatch.context() as patch:
        patch.setattr(publish.shutil, "rmtree", lambda *_, **__: None)
        gaussian_blur(zarr_url=str(path), overwrite_input=True)
    (hidden,) = tmp_path.glob(".*.partial")
    assert f"{hidden} could not be removed" in caplog.text


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_readers_of_consolidated_metadata_see_new_labels(tmp_path, version):
    plate = tmp_path / "plate.zarr"
    (path,) = write_plate(plate, {"A/01": [0]}, version, axes="yx")
    with warnings.catch_warnings(action="ignore"):
        for folder in (path, path.parent, plate):
            zarr.consolidate_metadata(folder)
    gaussian_blur(zarr_url=str(path))
    threshold_segmentation(zarr_url=str(path))
    import_task("measure_features")(zarr_url=str(path))
    for folder, inside in ((path, ""), (path.parent, "0/"), (plate, "A/01/0/")):
        group = zarr.open_group(folder, mode="r")  # by them, if there are any
        assert f"{inside}labels/objects/0" in group
        attributes = group[f"{inside}labels"].attrs.asdict()
        assert attributes.get("ome", attributes)["labels"] == ["objects"]
        assert group[f"{inside}tables"].attrs["tables"] == ["features"]
    group = zarr.open_group(plate, mode="r")
    assert "A/01/0blurred/0" in group
    attributes = group["A/01"].attrs.asdict()
    images = attributes.get("ome", attributes)["well"]["images"]
    assert [image["path"] for image in images] == ["0", "0blurred"]


def test_an_image_of_ngff_0_4_need_not_say_its_version(tmp_path):
    path = tmp_path / "image.zarr"
    write_image(path, "cyx")
    attributes = json.loads((path / ".zattrs").read_text())
    del attributes["multiscales"][0]["version"]
    (path / ".zattrs").write_text(json.dumps(attributes))
    check = import_task("check_images")
    assert check(zarr_urls=[str(path)], zarr_dir=str(tmp_path))
    gaussian_blur(zarr_url=str(path))
    threshold_segmentation(zarr_url=str(path))
    attributes["multiscales"][0]["axes"].reverse()
    (path / ".zattrs").write_text(json.dumps(attributes))
    with pytest.raises(ValueError, match="axes"):
        check(zarr_urls=[str(path)], zarr_dir=str(tmp_path))


@pytest.mark.parametrize(
    "kind", ["pixel sizes", "channel names", "a pyramid level", "a file"]
)
def test_a_step_depends_on_more_than_pixels(tmp_path, kind):
    path, model = tmp_path / "image.zarr", tmp_path / "image.zarr" / "model.json"
    write_image(path, "cyx")
    model.write_text("1")

    def made() -> bool:
        image = open_image(path)
        return is_made(tmp_path / "new.zarr", Step("mine", {}, [model, image]))

    with derive_image(
        open_image(path),
        tmp_path / "new.zarr",
        made_by=Step("mine", {}, [model, open_image(path)]),
    ) as new:
        build_pyramid(new)
    assert made()
    attributes = json.loads((path / ".zattrs").read_text())
    if kind == "pixel sizes":
        for level, dataset in enumerate(attributes["multiscales"][0]["datasets"]):
            sizes = [1, 0.25 * 2**level, 0.25 * 2**level]
            dataset["coordinateTransformations"][0]["scale"] = sizes
    elif kind == "channel names":
        attributes["omero"]["channels"][0]["label"] = "Hoechst"
    elif kind == "a file":
        model.write_text("22")
    else:
        open_image(path, mode="r+").levels[1][0, 0, 0] += 1
    (path / ".zattrs").write_text(json.dumps(attributes))
    assert not made()


def test_a_source_that_changes_during_a_step_is_not_its_source(tmp_path):
    path, new = tmp_path / "image.zarr", tmp_path / "new.zarr"
    write_image(path, "yx")
    image = open_image(path, mode="r+")
    step = Step("mine", {}, [image])
    assert not is_made(new, step)
    image.levels[0][0, 0] += 1
    with derive_image(image, new, made_by=step) as derived:
        build_pyramid(derived)
    assert not is_made(new, Step("mine", {}, [open_image(path)]))


def test_an_image_that_waits_for_its_repair_is_never_deleted(tmp_path):
    """A label was written into the place of the image, after its task was killed."""
    path, old = tmp_path / "image.zarr", tmp_path / ".image.zarr.old"
    pixels = write_image(path, "yx")
    path.rename(old)
    (path / "labels" / "objects").mkdir(parents=True)
    assert (open_image(path).levels[0][...] == pixels).all()
    with pytest.raises(ValueError, match=r"zarr_url: .*\.old has to take the place of"):
        gaussian_blur(zarr_url=str(path))
    with pytest.raises(ValueError, match=r"zarr_url: .*\.old has to take the place of"):
        label_image(str(path), np.sign, label_name="new")
    assert (open_image(path).levels[0][...] == pixels).all()
    shutil.rmtree(path)
    filter_image(str(path), np.invert, suffix="inverted")  # in a notebook
    assert (open_image(path).levels[0][...] == pixels).all()
    assert {entry.name for entry in tmp_path.iterdir()} == {
        "image.zarr",
        "image_inverted.zarr",
    }


def test_a_result_that_appears_meanwhile_is_not_replaced_unasked(tmp_path):
    path, new = tmp_path / "image.zarr", tmp_path / "new.zarr"
    write_image(path, "yx")
    entered = derive_image(open_image(path), new)
    build_pyramid(entered.__enter__())
    write_image(new, "yx")
    with pytest.raises(FileExistsError, match=r"overwrite: .*new.zarr exists by now"):
        entered.__exit__(None, None, None)
    assert "made_by" not in open_image(new).group.attrs
    assert {p.name for p in tmp_path.iterdir()} == {"image.zarr", "new.zarr"}


def test_a_unit_that_is_done_leaves_alone_who_replaces_its_result(tmp_path):
    path = tmp_path / "image.zarr"
    write_image(path, "yx")
    gaussian_blur(zarr_url=str(path))
    new = tmp_path / "image_blurred.zarr"
    with derive_image(open_image(path), new, overwrite=True) as derived:
        gaussian_blur(zarr_url=str(path))
        derived.levels[0][...] = 7
        build_pyramid(derived)
    assert (open_image(new).levels[0][...] == 7).all()
