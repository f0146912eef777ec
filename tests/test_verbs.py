"""A verb of the kit gives what its function gives on the whole image, and repeats no work."""

import inspect
import os
import traceback
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import numpy as np
import pytest
from my_fractal_tasks.gaussian_blur import gaussian_blur
from my_fractal_tasks.kit import (
    Channel,
    Regions,
    blocks,
    filter_image,
    fractal,
    in_threads,
    label_image,
    measure_labels,
    ngff,
    open_image,
    open_label,
    plate_table,
    task,
    write_roi_table,
)
from my_fractal_tasks.kit.blocks import Roi
from my_fractal_tasks.measure_features import measure_features
from my_fractal_tasks.threshold_segmentation import threshold_segmentation
from package_images import PACKAGE, read_table, write_image, write_plate
from scipy import ndimage


@pytest.fixture(autouse=True)
def _many_small_blocks_in_threads(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(4))
    monkeypatch.setattr(blocks, "BLOCK_VOXELS", 1000)


def new_image(output):
    (update,) = output["image_list_updates"]
    return open_image(update["zarr_url"])


def test_read_without_a_region_reads_everything(tmp_path):
    pixels = write_image(tmp_path / "i.zarr", "tczyx", "0.4")
    image = open_image(tmp_path / "i.zarr")
    assert (image.read() == pixels).all()
    name = Channel(mode="label", identifier=image.channel_names[1])
    assert (image.read(channel=name) == pixels[:, 1]).all()
    assert (
        image.read(channel=[1, Channel()]) == pixels[:, [1, 0]].swapaxes(0, 1)
    ).all()
    assert (image.read(channel=1, level=1) == image.levels[1][:, 1]).all()
    with pytest.raises(ValueError, match=r"channel: .* give a position from 0 to 1"):
        image.read(channel=2)


def joined(planes):
    """Labels of planes, in which an object and its best partner, both ways, are one."""
    offsets = np.cumsum([0] + [plane.max() for plane in planes])
    labels = [np.where(p, p + o, 0) for p, o in zip(planes, offsets, strict=False)]
    parent = [*range(offsets[-1] + 1)]
    for lower, upper in pairwise(labels):
        inside = (lower > 0) & (upper > 0)
        shared = Counter(
            zip(lower[inside].tolist(), upper[inside].tolist(), strict=True)
        )
        best = sorted(shared, key=lambda pair: (-shared[pair], pair))
        for a, b in best:
            is_best = (a, b) == next(p for p in best if p[0] == a)
            is_best &= (a, b) == next(p for p in best if p[1] == b)
            smaller = min((lower == a).sum(), (upper == b).sum())
            if is_best and 2 * shared[a, b] >= smaller:
                parent[b] = parent[a]  # each has one partner in the plane before
    return np.array(parent)[np.stack(labels)]


@pytest.mark.parametrize("whole", ["yx", "zyx"])
@pytest.mark.parametrize("axes", ["yx", "zyx", "tczyx"])
@pytest.mark.parametrize("in_regions", [False, True])
def test_a_function_sees_the_whole_axes_alone(tmp_path, axes, whole, in_regions):
    pixels = write_image(tmp_path / "i.zarr", axes, "0.4", chunks={"y": 16, "x": 16})
    image = open_image(tmp_path / "i.zarr")
    regions = None
    if in_regions:
        region = tuple(slice(0, n) for n in image.read(channel=0).shape)
        write_roi_table(image, "all", [Roi("all", region)])
        regions = Regions(roi_table="all")
    seen = set()

    def mirror(part):
        seen.add(part.ndim)
        return np.flip(part)

    output = filter_image(image, mirror, suffix="m", whole=whole, regions=regions)

    flipped = [dim for dim, axis in enumerate(axes) if axis in whole]
    assert (new_image(output).read() == np.flip(pixels, flipped)).all()
    assert seen == {len(flipped)}


def test_channels_make_an_image_of_one_channel(tmp_path):
    pixels = write_image(tmp_path / "i.zarr", "czyx", "0.5")
    image = open_image(tmp_path / "i.zarr")
    region = tuple(slice(3, 9) for _ in range(3))
    write_roi_table(image, "part", [Roi("a", (slice(0, 2), *region[1:]))])

    def ratio(both):
        return (both[0] + 1.0) / (both[1] + 1.0)

    output = filter_image(image, ratio, suffix="r", channel=[1, 0], dtype="f4")
    expected = ratio(pixels[[1, 0]].astype(float)).astype("f4")
    made = new_image(output)
    assert made.channel_names == ["r"]
    assert (made.read() == expected[np.newaxis]).all()
    assert made.metadata["omero"]["channels"][0]["window"]["max"] > 1e6

    output = filter_image(image, np.invert, suffix="one", channel=1)
    assert (new_image(output).read(channel=0) == ~pixels[1]).all()
    for channel, rest in (([1, 0], 0), (1, pixels[1])):
        output = filter_image(
            image,
            lambda part: np.full(part.shape[-3:], 7, part.dtype),
            suffix="p",
            channel=channel,
            regions=Regions(roi_table="part"),
            overwrite=True,
        )
        expected = np.zeros_like(pixels[1]) + rest
        expected[0:2, 3:9, 3:9] = 7
        assert (new_image(output).read(channel=0) == expected).all()
    with pytest.raises(ValueError, match=r"overwrite_input: .* would keep one"):
        filter_image(image, np.invert, suffix="", channel=1, overwrite_input=True)
    assert (image.read() == pixels).all()


@pytest.mark.parametrize("in_regions", [False, True])
def test_objects_of_planes_that_share_most_pixels_are_joined(tmp_path, in_regions):
    write_image(tmp_path / "i.zarr", "zyx", "0.4", chunks={"y": 16, "x": 16})
    image = open_image(tmp_path / "i.zarr")
    regions = None
    if in_regions:
        region = tuple(slice(0, n) for n in image.shape)
        write_roi_table(image, "all", [Roi("all", region)])
        regions = Regions(roi_table="all")
    limit = np.percentile(image.read(), 80)
    output = label_image(
        image,
        lambda plane: ndimage.label(plane > limit)[0],
        label_name="planes",
        whole="yx",
        regions=regions,
        min_size=3,
        masking_roi_table="boxes",
    )
    assert output["image_list_updates"]
    expected = joined([ndimage.label(plane > limit)[0] for plane in image.read()])
    sizes = np.bincount(expected.ravel())
    expected[sizes[expected] < 3] = 0
    assert len(np.unique(expected)) > 20
    found = open_label(image, "planes").read()
    # The same objects, under the same or other numbers.
    pairs = {*zip(found.ravel().tolist(), expected.ravel().tolist(), strict=True)}
    assert len(pairs) == len({a for a, _ in pairs}) == len({b for _, b in pairs})
    assert (0, 0) in pairs
    assert Regions(mask="boxes").sources(image)


@pytest.mark.parametrize("axes", ["cyx", "tczyx"])
def test_labels_are_measured_whole_or_block_by_block(tmp_path, axes):
    write_image(tmp_path / "i.zarr", axes, "0.4", chunks={"y": 16, "x": 16})
    image = open_image(tmp_path / "i.zarr")
    label_image(
        image,
        lambda p: ndimage.label(p > 400)[0],
        label_name="l",
        channel=0,
        whole="zyx",
    )

    def measure(labels, pixels, corner=None):
        numbers = np.unique(labels[labels > 0])
        return {
            "label": numbers,
            "sum": ndimage.sum_labels(pixels[1].astype(float), labels, numbers),
            "low": ndimage.minimum(pixels[0], labels, numbers),
        }

    names = {"label_name": "l", "channel": [0, 1]}
    measure_labels(image, measure, table_name="whole", **names)
    low = {"low": np.minimum}
    measure_labels(image, measure, table_name="blocks", combine=low, **names)
    rows = read_table(image.path, "whole")
    assert len(rows) > 5
    assert read_table(image.path, "blocks") == rows
    assert ("time_point" in rows[0]) == ("t" in axes)
    labels, pixels = open_label(image, "l").read(), image.read(channel=[0, 1])
    if "t" not in axes:
        for row in rows:
            inside = labels == row["label"]
            assert row["sum"] == pixels[1][inside].sum()
            assert row["low"] == pixels[0][inside].min()

    def fails(columns, reason, **more):
        with pytest.raises(ValueError, match=reason):
            measure_labels(image, columns, **{"table_name": "x"} | names | more)

    fails(lambda *_: {"n": [1]}, "function: it must return columns of one length")
    fails(lambda *_: {"label": [1], "n": [1, 2]}, "columns of one length")
    fails(lambda *_: {"label": [1, 1]}, "has a label in several rows")
    fails(lambda *_: {"label": [0, 1]}, "column 'label' has 0, which is no label")
    fails(lambda *_: {"label": [1, 9999]}, "has 9999, which is no label")
    fails(lambda *_: {"label": [1.5]}, "is of float64, not of integers")
    fails(lambda *_: {"label": [1], "region": [1]}, "a column region of its own")
    fails(measure, "combine: high is no column", combine={"high": np.maximum})
    fails(
        measure,
        "finish: its columns have length 0",
        combine=low,
        finish=lambda *_: {"label": []},
    )
    fails(measure, "channel: .* give a position", channel=7)
    fails(measure, "table_name: ", table_name="a/b")


def test_a_plate_gets_a_row_for_each_image_or_well(tmp_path):
    plate = tmp_path / "plate.zarr"
    paths = [str(path) for path in write_plate(plate, {"A/01": [0, 1], "B/02": [0]})]
    for path in paths:
        image = open_image(path)
        label_image(
            image, lambda p: ndimage.label(p > 900)[0], label_name="l", channel=0
        )
        measure_labels(
            image,
            lambda labels: {"label": np.unique(labels[labels > 0])},
            label_name="l",
            table_name="f",
        )
    options = {"feature_table": "f", "overwrite": True}
    for per in ("image", "well"):
        plate_table(
            paths,
            lambda columns: {"n": len(columns["label"])},
            table_name="n",
            per=per,
            **options,
        )
        lines = (plate / "tables" / "n" / "table.csv").read_text().splitlines()
        names, *rows = (line.split(",") for line in lines)
        assert names[-1] == "n"
        counts = [int(row[-1]) for row in rows]
        total = sum(
            len(np.unique(open_label(open_image(p), "l").read())) - 1 for p in paths
        )
        assert sum(counts) == total > 0
        if per == "image":
            assert len(rows) == len(paths)
    with pytest.raises(ValueError, match="function: its columns differ in length"):
        plate_table(paths, lambda _: {"a": [1], "b": [1, 2]}, table_name="x", **options)
    with pytest.raises(ValueError, match=r"feature_table: .* no table 'g'"):
        plate_table(paths, feature_table="g", table_name="x")


def test_a_wrong_argument_is_rejected_before_anything_is_written(tmp_path):
    write_image(tmp_path / "i.zarr", "czyx", "0.4")
    image = open_image(tmp_path / "i.zarr")
    before = sorted(tmp_path.rglob("*"))

    def calls(**options):
        return filter_image(image, np.invert, **{"suffix": "x"} | options)

    with pytest.raises(ValueError, match=r"suffix: '../x'"):
        calls(suffix="../x")
    with pytest.raises(ValueError, match=r"whole: .*allowed are the letters"):
        calls(whole="yq")
    with pytest.raises(ValueError, match=r"halo: .* leave out one of the two"):
        calls(whole="yx", halo={"y": 1})
    with pytest.raises(ValueError, match=r"regions.roi_table: no table 'none'"):
        calls(regions=Regions(roi_table="none"))
    with pytest.raises(ValueError, match="channel: the list is empty"):
        calls(channel=[])
    with pytest.raises(ValueError, match=r"function: .* shape \(1,\) for"):
        filter_image(image, lambda _: [1], suffix="x")
    for name in ("a/b", "..", ""):
        with pytest.raises(ValueError, match="label_name: "):
            label_image(image, np.uint32, label_name=name, channel=0)
    with pytest.raises(ValueError, match=r"channel: .* has 2 channels"):
        label_image(image, np.uint32, label_name="x")
    with pytest.raises(ValueError, match="masking_roi_table: "):
        label_image(
            image, np.uint32, label_name="x", channel=0, masking_roi_table="../t"
        )
    assert sorted(tmp_path.rglob("*")) == before


# Tasks, as a module of the package would have them.
def task_of_the_package(function):
    code = function.__code__.replace(co_filename=str(PACKAGE / "gaussian_blur.py"))
    function.__code__ = code
    return task(function)


def test_the_same_job_again_repeats_no_work(tmp_path):
    write_image(tmp_path / "i.zarr", "cyx", "0.4")
    calls = []

    @task_of_the_package
    def brighten(*, zarr_url: str, by: int = 1, overwrite: bool = False):
        """Add a number."""

        def setup(image):
            calls.append(by)
            return by

        label_image(
            zarr_url,
            lambda pixels, limit: (pixels > limit).astype("u4"),
            label_name="l",
            channel=0,
            setup=setup,
            overwrite=overwrite,
        )
        return filter_image(
            zarr_url, np.add, suffix="b", setup=setup, overwrite=overwrite
        )

    path = str(tmp_path / "i.zarr")
    output = brighten(zarr_url=path)
    assert brighten(zarr_url=path, by="1") == output
    assert calls == [1, 1]
    # As of another task, and in a thread.
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(brighten, zarr_url=path).result() == output
    assert calls == [1, 1]
    with pytest.raises(FileExistsError, match="label_name: "):
        brighten(zarr_url=path, by=2)
    assert brighten(zarr_url=path, by=2, overwrite=True) == output
    assert calls == [1, 1, 2, 2]
    made_by = new_image(output).group.attrs["made_by"]
    assert made_by["arguments"] == {"by": 2}
    assert made_by["task"] == "brighten"


def test_outside_of_a_task_no_result_is_taken_for_another(tmp_path):
    write_image(tmp_path / "i.zarr", "yx", "0.4")
    image = open_image(tmp_path / "i.zarr")
    made = new_image(filter_image(image, np.invert, suffix="b"))
    assert "made_by" not in made.group.attrs
    with pytest.raises(FileExistsError, match="overwrite"):
        filter_image(image, np.invert, suffix="b")
    filter_image(image, np.positive, suffix="b", overwrite=True)
    assert (made.read() == image.read()).all()

    @task
    def elsewhere(*, zarr_url: str):
        return filter_image(zarr_url, np.invert, suffix="c")

    # Nobody could say later whether the code of this module is the same.
    assert "made_by" not in new_image(elsewhere(zarr_url=str(image.path))).group.attrs


def test_a_task_knows_its_own_call(tmp_path):
    seen = []

    @task
    def inner(*, number: int = 1):
        seen.append(fractal.CALL.get())

    @task
    def outer(*, number: float, names: list[str] = []):  # noqa: B006
        seen.append(fractal.CALL.get())
        inner(number=2)
        list(in_threads(lambda _: seen.append(fractal.CALL.get()), [0]))
        seen.append(fractal.CALL.get())

    outer(number="3")
    calls = [(call.task, dict(call.arguments)) for call in seen]
    mine = ("outer", {"number": 3.0, "names": []})
    assert calls == [mine, ("inner", {"number": 2}), mine, mine]
    assert fractal.CALL.get() is None
    with pytest.raises(ValueError, match="number"):
        outer(number="many")
    with pytest.raises(ValueError, match="nothing"):
        outer(number=1, nothing=2)
    assert fractal.CALL.get() is None


def test_a_message_names_the_argument_of_the_task(tmp_path):
    write_image(tmp_path / "i.zarr", "cyx", "0.4")

    @task
    def compare(*, zarr_url: str, nuclei: Channel, others: list[Channel]):
        return filter_image(
            zarr_url, np.sum, suffix="x", channel=[nuclei, *others], dtype="f4"
        )

    wrong = {"mode": "label", "identifier": "none"}
    arguments = {"zarr_url": str(tmp_path / "i.zarr"), "nuclei": {}, "others": [{}]}
    with pytest.raises(
        ValueError, match=r"^nuclei: .* no channel with the label 'none'"
    ):
        compare(**arguments | {"nuclei": wrong})
    with pytest.raises(
        ValueError, match=r"^others: .* no channel with the label 'none'"
    ):
        compare(**arguments | {"others": [{}, wrong]})


def test_a_task_looks_like_its_function():
    assert list(inspect.signature(gaussian_blur).parameters)[:2] == [
        "zarr_url",
        "sigma_xy",
    ]
    assert inspect.signature(threshold_segmentation).parameters["level"].default == 0
    assert gaussian_blur.__doc__.startswith("Blur every channel")
    assert gaussian_blur.__name__ == "gaussian_blur"

    @task
    def fail(*, zarr_url: str) -> None:
        raise KeyError(zarr_url)

    with pytest.raises(KeyError) as caught:
        fail(zarr_url="x")
    # This test, one frame of the decorator, and the function.
    frames = traceback.extract_tb(caught.value.__traceback__)
    assert [frame.name for frame in frames][1:] == ["run", "fail"]


def test_a_job_opens_its_image_once(tmp_path, monkeypatch):
    (path,) = write_plate(tmp_path / "p.zarr", {"B/03": [0]})
    url = str(path)
    opened = []
    load = ngff._load_group

    def count(path, mode):
        opened.append(str(path))
        return load(path, mode)

    monkeypatch.setattr(ngff, "_load_group", count)
    for job in (gaussian_blur, threshold_segmentation, measure_features):
        opened.clear()
        job(zarr_url=url)
        assert opened.count(url) == 1, job.__name__


@pytest.mark.parametrize("whole", ["", "yx"])
@pytest.mark.parametrize("in_regions", [False, True])
@pytest.mark.parametrize("verb", ["filter", "label"])
def test_a_masked_array_is_no_image(tmp_path, verb, in_regions, whole):
    write_image(tmp_path / "i.zarr", "yx")
    image = open_image(tmp_path / "i.zarr")
    region = tuple(slice(0, n) for n in image.shape)
    write_roi_table(image, "all", [Roi("all", region)])
    options = {"regions": Regions(roi_table="all" if in_regions else None)}
    options |= {"whole": whole}
    options |= {"suffix": "m"} if verb == "filter" else {"label_name": "m"}
    call = filter_image if verb == "filter" else label_image
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(
        ValueError, match=r"function: it returns a masked array.*filled"
    ):
        call(image, lambda p: np.ma.masked_less(p.astype(int), 500), **options)
    assert {*tmp_path.rglob("*")} - {*before} <= {image.path / "labels"}


@pytest.mark.parametrize("dtype", ["complex64", "U3"])
def test_a_new_image_has_a_type_of_pixels(tmp_path, dtype):
    write_image(tmp_path / "i.zarr", "yx")
    with pytest.raises(ValueError, match=r"^dtype: .* is no type of pixels"):
        filter_image(str(tmp_path / "i.zarr"), abs, suffix="m", dtype=dtype)
    assert [path.name for path in tmp_path.iterdir()] == ["i.zarr"]
