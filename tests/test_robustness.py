"""A task may be killed, run twice at a time, or be given nonsense: nothing is lost."""

import json
import shutil
import subprocess
import sys
from functools import partial

import numpy as np
import pytest
import tifffile
import zarr
from killed_task import HIDDEN, run_and_kill
from my_fractal_tasks import ome_zarr_io
from my_fractal_tasks.blocks import build_pyramid
from my_fractal_tasks.gaussian_blur import gaussian_blur
from my_fractal_tasks.ome_zarr_io import (
    create_image,
    derive_image,
    derive_label,
    is_overwritten,
    open_image,
    open_label,
    plate_images,
)
from my_fractal_tasks.threshold_segmentation import threshold_segmentation
from package_images import PACKAGE, write_image, write_plate
from scipy.ndimage import gaussian_filter


def visible_images(folder, known=()):
    """What a reader would list, or knows of: pixels of images and labels, bytes of tables."""
    found = {}
    listed = {path.name for path in folder.glob("[!.]*.zarr")}
    for path in sorted(folder / name for name in listed.union(known)):
        image = open_image(path)
        nodes = [image] + [open_label(image, name) for name in image.label_names]
        for node in nodes:
            name = str(node.path.relative_to(folder))
            found[name] = [np.asarray(level) for level in node.levels]
        if "tables" in image.group:
            for name in image.group["tables"].attrs["tables"]:
                table = (path / "tables" / name / "table.csv").read_bytes()
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
    "a new table": ("measure_features", {"label_name": "old"}),
}


@pytest.mark.parametrize(
    ("case", "exchange"),
    [(case, True) for case in CASES]
    # As on NFS, where one folder takes the place of another in two steps.
    + [(case, False) for case in CASES if "new" not in case],
)
def test_a_killed_task_loses_nothing_and_succeeds_when_run_again(
    tmp_path, case, exchange
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
    run = partial(run_and_kill, task, exchange=exchange)

    shutil.copytree(start, work)
    before = visible_images(work)
    moments = run(arguments)
    after = visible_images(work)
    assert before.keys() != after.keys() or not all(
        equal(before[name], after[name]) for name in before
    )
    for moment in sorted(set(moments)):
        shutil.rmtree(work)
        shutil.copytree(start, work)
        assert run(arguments, moment) is None, moment
        seen = visible_images(work, [path.name for path in start.iterdir()])
        assert before.keys() <= seen.keys() <= after.keys(), moment
        for name, levels in seen.items():
            old = name in before and equal(levels, before[name])
            assert old or equal(levels, after[name]), (moment, name)
        again = arguments
        published = seen.keys() == after.keys() and "the input" not in case
        if published and not list(work.rglob(".*.unfinished")):
            again = arguments | {"overwrite": True}
        assert run(again), moment
        result = visible_images(work)
        assert result.keys() == after.keys(), moment
        assert all(equal(result[name], after[name]) for name in after), moment
        assert not [path for path in work.rglob(".*") if HIDDEN.fullmatch(path.name)]


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_a_killed_conversion_goes_on_when_run_again(tmp_path, version):
    tiffs = tmp_path / "tiffs"
    tiffs.mkdir()
    pixels = np.random.default_rng(0).integers(0, 4000, (2, 40, 30), np.uint16)
    for well, plane in zip(("A01", "A02"), pixels, strict=True):
        tifffile.imwrite(tiffs / f"{well}_a0_cDAPI.tif", plane)
    run = partial(run_and_kill, "convert_tiffs")
    arguments = {"tiff_dir": str(tiffs), "ngff_version": version}
    moments = run(arguments | {"zarr_dir": str(tmp_path / "whole")})
    assert len(set(moments)) > 10
    for moment in sorted(set(moments)):
        folder = tmp_path / str(moment)
        plate = folder / "plate.zarr"
        assert run(arguments | {"zarr_dir": str(folder)}, moment) is None, moment
        for image in plate_images(plate) if plate.exists() else ():
            if image.exists():
                assert (open_image(image).levels[0][0] == pixels).all((1, 2)).any()
        # All is there, and only Fractal does not know it: the plate exists.
        done = plate.exists() and all(image.exists() for image in plate_images(plate))
        again = arguments | {"zarr_dir": str(folder), "overwrite": done}
        assert run(again), moment
        for image, plane in zip(plate_images(plate), pixels, strict=True):
            assert (open_image(image).levels[0][0] == plane).all()
        hidden = [path for path in folder.rglob(".*") if HIDDEN.fullmatch(path.name)]
        assert [path.name for path in hidden if path.name != "out.json"] == [], moment


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
    with derive_image(open_image(path), path, overwrite=True, step={"x": 1}) as image:
        image.group.update_attributes({"mine": 1})
    attributes = open_image(path).group.attrs.asdict()
    assert attributes["mine"] == 1
    assert "overwritten_by" in attributes


def test_a_step_that_json_cannot_hold_is_refused_before_anything_is_done(tmp_path):
    write_image(tmp_path / "image.zarr")
    image = open_image(tmp_path / "image.zarr")
    assert not is_overwritten(image, {"x": (1, 2)})
    for step in ({"x": tmp_path}, {"x": float("nan")}):
        with pytest.raises((TypeError, ValueError), match="JSON"):
            is_overwritten(image, step)


def test_a_step_that_makes_a_new_image_is_not_recorded(tmp_path):
    (path,) = write_plate(tmp_path / "plate.zarr", {"A/01": [0]}, axes="yx")
    new = path.with_name("0new")
    gaussian_blur(zarr_url=str(path), overwrite_input=True)
    with derive_image(open_image(path), new, step={"x": 1}) as image:
        build_pyramid(image)
    assert plate_images(tmp_path / "plate.zarr") == [path, new]
    assert "overwritten_by" in open_image(path).group.attrs
    assert "overwritten_by" not in open_image(new).group.attrs


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
    assert (after == gaussian_filter(before, (0, 2, 2))).all()
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


def test_what_is_no_image_is_not_replaced_by_one(tmp_path):
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
def test_what_a_user_has_put_into_an_image_is_kept_when_it_is_overwritten(
    tmp_path, name
):
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
    monkeypatch.setattr(ome_zarr_io, "_exchange", lambda *_: False)
    for name in (path, link):
        (tmp_path / "image.zarr").rename(tmp_path / ".image.zarr.old")
        assert (open_image(name).levels[0][...] == pixels).all()
    shutil.rmtree(link.parent)

    gaussian_blur(zarr_url=str(path), overwrite_input=True)
    assert (open_image(path).levels[0][...] != pixels).any()
    assert [entry.name for entry in tmp_path.iterdir()] == ["image.zarr"]


@pytest.mark.parametrize("version", ["0.4", "0.5"])
@pytest.mark.parametrize("step", [None, {"blur": 1}])
def test_two_tasks_that_write_the_same_image_do_not_mix(tmp_path, version, step):
    """One of them fails; what is there is whole."""
    path = tmp_path / "image.zarr"
    pixels = write_image(path, "cyx", version)
    image = open_image(path)
    entered = derive_image(image, path, overwrite=True, step=step)
    first = entered.__enter__()
    first.levels[0][...] = 6
    with derive_image(image, path, overwrite=True, step=step) as second:
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
    replace = ome_zarr_io._replace

    def after_another_has_begun(path, new):
        ome_zarr_io._remove_partial(path)
        replace(path, new)

    monkeypatch.setattr(ome_zarr_io, "_replace", after_another_has_begun)
    if not exchange:
        monkeypatch.setattr(ome_zarr_io, "_exchange", lambda *_: False)
    with pytest.raises(FileNotFoundError):
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


def test_a_step_does_not_begin_with_what_another_task_has_just_made(tmp_path):
    path = tmp_path / "image.zarr"
    write_image(path, "cyx")
    image = open_image(path)
    gaussian_blur(zarr_url=str(path), overwrite_input=True)
    once = np.asarray(open_image(path).levels[0])
    with pytest.raises(RuntimeError, match="another task has overwritten"):  # noqa: SIM117
        with derive_image(image, path, overwrite=True, step={"x": 1}):
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


def test_what_a_killed_replacement_left_behind_does_not_stop_the_next(
    tmp_path, monkeypatch
):
    path = tmp_path / "image.zarr"
    write_image(path, "cyx")
    shutil.copytree(path, tmp_path / ".image.zarr.old")  # killed after the second step
    monkeypatch.setattr(ome_zarr_io, "_exchange", lambda *_: False)
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
    monkeypatch.setattr(ome_zarr_io, "LOCK_EXPIRES", 0.5)
    threshold_segmentation(zarr_url=str(path))
    assert open_image(path).label_names == ["objects"]
    assert not (tmp_path / ".image.zarr.lock").exists()


TASKS_ON_ONE_IMAGE = {
    "gaussian_blur": {},
    "threshold_segmentation": {},
    "measure_features": {},
    "register_acquisitions_compute": {"init_args": {"reference": "/absent"}},
}
TASKS_ON_MANY_IMAGES = {"register_acquisitions_init": {}, "check_images": {}}


def bad_urls(folder):
    """What cannot be an image, and a part of the message that says why."""
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
    transformations = attributes["multiscales"][0]["datasets"][0]
    transformations["coordinateTransformations"][0]["scale"] = [0, 1]
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
            "channel: label 'Cy5' fits 0 channels",
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
