"""A task may be killed, run twice at a time, or be given nonsense: nothing is lost."""

import json
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest
from my_fractal_tasks import ome_zarr_io
from my_fractal_tasks.gaussian_blur import gaussian_blur
from my_fractal_tasks.ome_zarr_io import open_image, open_label, plate_images
from my_fractal_tasks.threshold_segmentation import threshold_segmentation
from package_images import PACKAGE, write_image, write_plate

# Runs a task and kills it when it is about to touch the file system for the n-th time.
KILL = """
import json, os, signal, sys
sys.path.insert(0, {package!r})
from {task} import {task}
from my_fractal_tasks import ome_zarr_io
ome_zarr_io.LOCK_EXPIRES = 0.5
arguments = json.loads(sys.argv[1])
left = int(sys.argv[2])
counted = {{"os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.link", "shutil.rmtree"}}

def hook(event, args):
    global left
    if event in counted or (event == "open" and args[1] and "r" not in args[1]):
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

sys.addaudithook(hook)
{task}(**arguments)
print(int(sys.argv[2]) - left)
"""


def run_and_kill(task, arguments, at):
    """Run a task in a process of its own; return how often it touched the file system."""
    code = KILL.format(package=str(PACKAGE), task=task)
    command = [sys.executable, "-c", code, json.dumps(arguments), str(at)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode == -signal.SIGKILL:
        return None
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


def visible_images(folder):
    """Pixels of every level of what a reader would list: images and their labels."""
    found = {}
    for path in sorted(folder.glob("*.zarr")):
        if path.name.startswith("."):
            continue
        image = open_image(path)
        nodes = [image] + [open_label(image, name) for name in image.label_names]
        for node in nodes:
            name = str(node.path.relative_to(folder))
            found[name] = [np.asarray(level) for level in node.levels]
    return found


def equal(a, b):
    return all((x == y).all() for x, y in zip(a, b, strict=True))


CASES = {
    "a new image": ("gaussian_blur", {"sigma_xy": 1}),
    "an image that is replaced": ("gaussian_blur", {"sigma_xy": 3, "overwrite": True}),
    "the input is overwritten": ("gaussian_blur", {"overwrite_input": True}),
    "a new label": ("threshold_segmentation", {"label_name": "new"}),
    "a label that is replaced": (
        "threshold_segmentation",
        {"label_name": "old", "threshold": 500, "overwrite": True},
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_a_killed_task_loses_nothing_and_succeeds_when_run_again(tmp_path, case):
    start, work = tmp_path / "start", tmp_path / "work"
    path = start / "image.zarr"
    write_image(path, "cyx", chunks={"y": 64, "x": 64})
    threshold_segmentation(zarr_url=str(path), label_name="old")
    if case == "an image that is replaced":
        gaussian_blur(zarr_url=str(path), sigma_xy=1)
    task, arguments = CASES[case]
    arguments = {"zarr_url": str(work / "image.zarr"), **arguments}

    shutil.copytree(start, work)
    before = visible_images(work)
    total = run_and_kill(task, arguments, at=0)
    after = visible_images(work)
    # The first and the last steps, where folders are moved, and some in between.
    moments = sorted({1, total // 2, *range(total - 4, total + 1)})
    for moment in moments:
        shutil.rmtree(work)
        shutil.copytree(start, work)
        assert run_and_kill(task, arguments, at=moment) is None, moment
        seen = visible_images(work)
        assert before.keys() <= seen.keys() <= after.keys(), moment
        for name, levels in seen.items():
            old = name in before and equal(levels, before[name])
            assert old or equal(levels, after[name]), (moment, name)
        if case == "the input is overwritten" and not equal(
            seen["image.zarr"], before["image.zarr"]
        ):
            continue  # the work was done: a second run would blur what is blurred
        done = seen.keys() == after.keys() and not list(work.rglob(".*.unfinished"))
        assert run_and_kill(
            task, arguments | {"overwrite": True} if done else arguments, 0
        )
        again = visible_images(work)
        assert again.keys() == after.keys(), moment
        assert all(equal(again[name], after[name]) for name in after), moment
        hidden = [
            p for p in work.rglob(".*") if p.is_dir() or p.suffix == ".unfinished"
        ]
        assert not hidden, moment


def test_a_replacement_in_two_steps_is_repaired_after_a_kill(tmp_path, monkeypatch):
    """Where the file system cannot exchange two folders, as on NFS."""
    path = tmp_path / "image.zarr"
    pixels = write_image(path, "cyx")
    monkeypatch.setattr(ome_zarr_io, "_exchange", lambda *_: False)
    (tmp_path / "image.zarr").rename(tmp_path / ".image.zarr.old")

    assert (open_image(path).levels[0][...] == pixels).all()

    gaussian_blur(zarr_url=str(path), overwrite_input=True)
    assert (open_image(path).levels[0][...] != pixels).any()
    assert [entry.name for entry in tmp_path.iterdir()] == ["image.zarr"]


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
