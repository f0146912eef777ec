"""Labels of overlapping tiles do not depend on the tiles; models are fetched once."""

import hashlib
import http.server
import importlib
import io
import logging
import os
import pickle
import re
import subprocess
import sys
import threading
import time
import types
import urllib.parse
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pooch
import pytest
from full_workflow import write_network
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from my_fractal_tasks.kit import (
    Roi,
    cached_model,
    create_image,
    derive_label,
    find_rois,
    histogram,
    label_blocks,
    label_regions,
    label_tiles,
    model_file,
    open_image,
    percentile_range,
)
from my_fractal_tasks.kit.regions import Regions
from my_fractal_tasks.model_segmentation import load_model
from package_images import write_image
from readme import read_blocks
from rendering import ROOT
from scipy import ndimage
from test_package import nox

publish = importlib.import_module("my_fractal_tasks.kit.publish")


def dots(shape, seed=0, size=7):
    """Many objects of at most so many pixels in each direction; some touch."""
    rng = np.random.default_rng(seed)
    pixels = np.zeros(shape, np.uint16)
    for _ in range(int(np.prod(shape) / 150)):
        corner = [rng.integers(0, extent) for extent in shape]
        box = tuple(slice(c, c + rng.integers(1, size // 2 + 1)) for c in corner)
        pixels[box] = 1000
    labels, _ = ndimage.label(pixels)
    for number, box in enumerate(ndimage.find_objects(labels), start=1):
        if max(s.stop - s.start for s in box) > size:
            pixels[labels == number] = 0
    return pixels


def segment(pixels):
    return ndimage.label(pixels > 500)[0]


def tiled(image, name="objects", function=segment, **arguments):
    """The labels, and how many `label_tiles` says that there are."""
    with derive_label(image, name, overwrite=True) as label:
        highest = label_tiles(function, image, label, **arguments)
    found = open_image(image.path / "labels" / name)
    assert not [path.name for path in found.path.glob(".[!z]*")]
    return found.levels[0][...], highest


@settings(
    deadline=None,
    max_examples=settings.default.max_examples // 6,
    suppress_health_check=[*HealthCheck],
)
@given(data=st.data())
def test_labels_do_not_depend_on_tiles_or_chunks(tmp_path_factory, data):
    axes = data.draw(st.sampled_from(["yx", "zyx", "tyx", "cyx", "tczyx"]))
    sizes = {axis: data.draw(st.integers(1, 2)) for axis in "tc"}
    sizes |= {axis: data.draw(st.integers(1, 70)) for axis in "yx"}
    sizes["z"] = data.draw(st.integers(1, 9))
    shape = [sizes[axis] for axis in axes]
    overlap = data.draw(st.integers(8, 20))
    path = tmp_path_factory.mktemp("tiles") / "image.zarr"
    chunks = {axis: data.draw(st.integers(1, 40)) for axis in "zyx"}
    pixels = dots(shape, seed=data.draw(st.integers(0, 99)))
    write_image(path, axes, "0.5", pixels=pixels, chunks=chunks)

    # One channel, or all of them in front.
    channel = data.draw(st.sampled_from([0, range(sizes["c"] if "c" in axes else 1)]))

    def segment_all(given):
        if channel == 0:
            return segment(given)
        assert given.shape[0] == len(channel)
        return segment(given.max(axis=0))

    found, highest = tiled(
        open_image(path),
        function=segment_all,
        channel=channel,
        tile=2 * overlap + data.draw(st.integers(8, 40)),
        overlap=overlap,
    )

    inside = pixels
    if "c" in axes:
        every = np.moveaxis(pixels, axes.index("c"), 0)
        inside = every[0] if channel == 0 else every.max(axis=0)
    structure = ndimage.generate_binary_structure(inside.ndim, 1)
    if "t" in axes:
        structure[[0, 2]] = False
    expected, n_objects = ndimage.label(inside > 500, structure)
    assert highest == n_objects
    assert (found == expected).all()


def test_planes_have_labels_of_their_own_if_asked_for(tmp_path):
    pixels = np.zeros((3, 40, 40), np.uint16)
    pixels[:, 5:12, 5:12] = pixels[1, 20:25, 20:25] = 1000
    write_image(tmp_path / "image.zarr", "zyx", pixels=pixels)
    image = open_image(tmp_path / "image.zarr")

    def flat(plane):
        assert plane.ndim == 2
        return segment(plane)

    found, highest = tiled(image, function=flat, axes="yx", tile=20, overlap=8)
    assert highest == 4
    assert [np.unique(plane).tolist() for plane in found] == [[0, 1], [0, 2, 3], [0, 4]]
    assert tiled(image, tile=20, overlap=8)[1] == 2


def test_tiles_that_disagree_a_little_make_no_new_objects(tmp_path):
    """As networks do, the function draws outlines by what else is in the tile."""
    pixels = np.zeros((200, 200), np.uint16)
    for y in range(10, 200, 16):
        for x in range(10, 200, 16):
            pixels[y - 5 : y + 6, x - 5 : x + 6] = 1000
    write_image(tmp_path / "image.zarr", "yx", pixels=pixels)
    image = open_image(tmp_path / "image.zarr")
    calls = Counter()

    def moody(tile):
        calls["n"] += 1
        labels = segment(tile)
        if calls["n"] % 2:
            return labels * ndimage.binary_erosion(labels > 0)
        return labels

    _, n_objects = ndimage.label(pixels)
    assert tiled(image, function=moody, tile=64, overlap=24)[1] == n_objects
    # The margins are what they are matched by.
    assert tiled(image, function=moody, tile=60, overlap=0)[1] > n_objects


def test_an_object_of_two_parts_is_one_though_a_tile_between_them_sees_neither(
    tmp_path,
):
    pixels = np.zeros((40, 60), np.uint16)
    pixels[10:14, 20:22] = pixels[10:14, 27:29] = 1000
    write_image(tmp_path / "image.zarr", "yx", pixels=pixels)
    image = open_image(tmp_path / "image.zarr")

    def near(tile):
        grown, _ = ndimage.label(ndimage.binary_dilation(tile > 0, iterations=4))
        return grown * (tile > 0)

    for tile in (64, 30, 28):
        assert tiled(image, function=near, tile=tile, overlap=12)[1] == 1, tile


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_a_coarser_level_of_a_sharded_image_is_tiled_too(tmp_path, version):
    pixels = dots((4, 200, 260), size=12)
    options = {"shards": {"y": 64, "x": 64}} if version == "0.5" else {}
    write_image(
        tmp_path / "image.zarr",
        "zyx",
        version,
        pixels=pixels,
        chunks={"y": 32, "x": 32},
        **options,
    )
    image = open_image(tmp_path / "image.zarr")

    found, highest = tiled(image, level=1, tile=40, overlap=13)

    coarse = segment(image.levels[1][...])
    label = open_image(image.path / "labels" / "objects")
    assert (label.levels[1][...] == coarse).all()
    assert highest == coarse.max()
    assert (found[:, ::2, ::2] == coarse).all()


def test_large_objects_are_joined_and_small_ones_removed(tmp_path):
    pixels = np.zeros((60, 300), np.uint16)
    pixels[20:40, 5:290] = pixels[50:53, 50:53] = 1000
    write_image(tmp_path / "image.zarr", "yx", pixels=pixels)
    image = open_image(tmp_path / "image.zarr")

    found, highest = tiled(image, tile=40, overlap=10, min_size=10)
    assert highest == 1
    assert ((found == 1) == (segment(pixels) == 1)).all()


def test_labels_are_unique_beyond_65535(tmp_path):
    pixels = np.zeros((540, 540), np.uint16)
    pixels[::2, ::2] = 1000
    write_image(tmp_path / "image.zarr", "yx", pixels=pixels)

    found, highest = tiled(open_image(tmp_path / "image.zarr"), tile=200, overlap=4)
    assert highest == 270**2
    assert (found == segment(pixels)).all()


def test_regions_are_tiled_by_themselves(tmp_path):
    pixels = dots((90, 120))
    write_image(tmp_path / "image.zarr", "yx", pixels=pixels)
    image = open_image(tmp_path / "image.zarr")
    mask = np.zeros((90, 120), np.uint32)
    mask[10:80, 5:70], mask[30:60, 71:110] = 1, 2
    with derive_label(image, "mask") as label:
        label.levels[0][...] = mask
        label.levels[1][...] = mask[::2, ::2]
    image = open_image(tmp_path / "image.zarr")

    seen = []

    def watch(tile):
        seen.append(tile.shape)
        return segment(tile)

    rois = find_rois(image, Regions(mask="mask"))
    found, highest = tiled(image, function=watch, tile=30, overlap=8, rois=rois)

    first, second = segment(pixels * (mask == 1)), segment(pixels * (mask == 2))
    expected = np.where(second, second + first.max(), first)
    assert highest == expected.max()
    assert (found == expected).all()
    assert max(max(shape) for shape in seen) <= 30

    # Of regions that overlap, the later one counts.
    rois = [Roi(str(n), (slice(0, 90), slice(20 * n, 20 * n + 60))) for n in (0, 1)]
    found, _ = tiled(image, tile=30, overlap=8, rois=rois)
    first, second = segment(pixels[:, :60]), segment(pixels[:, 20:80])
    assert (found[:, 20:80] == np.where(second, second + first.max(), 0)).all()


def test_memory_is_bounded_by_the_tile(tmp_path):
    code = (
        "import resource, sys\n"
        "from my_fractal_tasks.kit import *\n"
        "from scipy import ndimage\n"
        "import zarr.storage\n"
        "image = open_image(sys.argv[1])\n"
        "with derive_label(image, 'objects') as label:\n"
        "    label_tiles(lambda pixels: ndimage.label(pixels > 500)[0], image, label,\n"
        "                tile=512, overlap=64)\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)\n"
    )
    peaks = []
    for planes in (3, 27):
        path = tmp_path / f"{planes}.zarr"
        shape = (planes, 1024, 1024)
        scale = {"z": 100.0, "y": 0.5, "x": 0.5}
        with create_image(
            path, shape=shape, axes="zyx", dtype="u2", scale=scale, channels=["a"]
        ) as image:
            image.levels[0][:, 1000:1010, 500:600] = 1000
        output = subprocess.check_output([sys.executable, "-c", code, str(path)])
        peaks.append(int(output) / 1024)
    # The labels of 24 more planes would take 96 MiB.
    assert peaks[1] - peaks[0] < 48, peaks


def test_tiles_that_are_nearly_all_overlap_end_and_are_counted(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    pixels = np.zeros((100, 100), "u2")
    pixels[40:60, 5:9] = pixels[3:9, 70:90] = 1000
    write_image(tmp_path / "image.zarr", "yx", pixels=pixels)
    found, highest = tiled(open_image(tmp_path / "image.zarr"), tile=66, overlap=30)
    assert highest == 2
    assert (found > 0).tolist() == (pixels > 0).tolist()
    assert "image.zarr: 49" in caplog.text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"tile": 20, "overlap": 10}, "overlap: 10 .* tile of 20; allowed is 0 to 9"),
        ({"overlap": -1}, "overlap"),
        ({"tile": 1, "overlap": 0}, "tile: 1 with an overlap of 0 makes 2000 tiles"),
        ({"tile": 39, "overlap": 19}, "an overlap of at most 9"),
        ({"function": lambda pixels: pixels > 0}, "segment: .*bool"),
        ({"function": lambda pixels: pixels * 0.5}, "segment: .*float"),
        ({"function": lambda pixels: segment(pixels[1:])}, "segment: .*shape"),
        ({"axes": "zx"}, "axes"),
        ({"channel": None}, r"channel: .*image.zarr has 2 channels: give .* a list"),
        ({"channel": [0, 2]}, "channel: .* has 2 channels: .* 0 to 1, .* not 2"),
        ({"channel": []}, r"channel: the list is empty; name at least one channel"),
        ({"channel": [0, 1], "function": lambda p: segment(p)}, "segment: .*shape"),
    ],
)
def test_invalid_arguments_are_rejected(tmp_path, monkeypatch, arguments, message):
    tiles = importlib.import_module("my_fractal_tasks.kit.tiles")
    monkeypatch.setattr(tiles, "MAX_TILES", 1000)
    monkeypatch.setattr(tiles, "MAX_FAR_PAIRS", 100)
    write_image(tmp_path / "image.zarr", "cyx", pixels=np.zeros((2, 40, 50), "u2"))
    image = open_image(tmp_path / "image.zarr")
    with pytest.raises(ValueError, match=message):
        tiled(image, **{"channel": 0} | arguments)
    assert not [*(image.path / "labels").glob("*obj*")]


@pytest.mark.parametrize(
    ("options", "segment", "message"),
    [
        ({"channel": 1}, np.zeros_like, "channel: .* give a position from 0 to 0"),
        ({"channel": -1}, np.zeros_like, "channel: .* give a position from 0 to 0"),
        ({"level": 9}, np.zeros_like, "level: .* has the pyramid levels"),
        ({}, lambda pixels: None, r"segment: .* not object of \(\)"),
        ({}, lambda pixels: 1, r"segment: .* not int64 of \(\)"),
    ],
)
@pytest.mark.parametrize("function", [label_tiles, label_blocks, label_regions])
def test_each_function_that_labels_rejects_alike(
    tmp_path, function, options, segment, message
):
    write_image(tmp_path / "image.zarr", "yx", pixels=np.ones((64, 64), "u2"))
    image = open_image(tmp_path / "image.zarr")
    if function is label_regions:
        options = options | {"rois": [Roi("all", (slice(0, 64), slice(0, 64)))]}
    with (
        pytest.raises(ValueError, match=message),
        derive_label(image, "objects") as label,
    ):
        function(segment, image, label, **options)
    assert not image.label_names


@pytest.mark.parametrize("dtype", ["bool", "u1", "i2", "u2", "u4", "f4", "f8"])
def test_percentiles_are_those_of_all_pixels(tmp_path, dtype):
    rng = np.random.default_rng(0)
    pixels = rng.normal(100, 30, (2, 57, 83)).clip(0, 255).astype(dtype)
    write_image(
        tmp_path / "image.zarr", "cyx", pixels=pixels, chunks={"y": 20, "x": 20}
    )
    image = open_image(tmp_path / "image.zarr")

    for wanted in ((0, 100), (1, 99.8), (50, 75)):
        low, high = percentile_range(image, 1, wanted)
        expected = np.percentile(pixels[1].astype("f8"), wanted, method="inverted_cdf")
        if expected[1] == expected[0]:
            expected[1] += 1
        exact = np.dtype(dtype).kind != "f" and np.dtype(dtype).itemsize < 4
        assert np.allclose(
            (low, high), expected, rtol=0, atol=0 if exact else 255 / 65536
        )


@pytest.mark.parametrize("wanted", [(5, 5), (60, 40), (-1, 50), (1, 101)])
def test_percentiles_are_from_0_to_100_and_in_order(tmp_path, wanted):
    write_image(tmp_path / "image.zarr", "yx")
    with pytest.raises(ValueError, match="percentiles: "):
        percentile_range(open_image(tmp_path / "image.zarr"), 0, wanted)


def test_pixels_that_are_no_numbers_do_not_count(tmp_path):
    pixels = np.full((20, 20), np.nan, np.float32)
    write_image(tmp_path / "nan.zarr", "yx", pixels=pixels)
    assert percentile_range(open_image(tmp_path / "nan.zarr"), 0) == (0, 1)
    pixels[3, 4], pixels[5, 5] = 7, np.inf
    write_image(tmp_path / "one.zarr", "yx", pixels=pixels)
    assert [a.tolist() for a in histogram(open_image(tmp_path / "one.zarr"), 0)] == [
        [7],
        [1],
    ]
    assert percentile_range(open_image(tmp_path / "one.zarr"), 0) == (7, 8)


@pytest.mark.parametrize(
    "values",
    [
        np.array([2**60, 2**60 + 256], np.uint64),
        np.array([1, 1 + 2e-12]),
        np.array([1e20, 1e20], np.float32),
        np.array([7, 7], np.uint32),
    ],
)
def test_values_that_hardly_differ_have_a_range(tmp_path, values):
    write_image(tmp_path / "image.zarr", "yx", pixels=np.tile(values, (10, 5)))
    image = open_image(tmp_path / "image.zarr")
    low, high = percentile_range(image, 0)
    assert low < high
    assert histogram(image, 0)[1].sum() == 100


# --- models ---


SLOW = """
import sys, time
from pathlib import Path
from my_fractal_tasks.kit import cached_model

def fetch(path):
    with Path(sys.argv[1]).open("a") as calls:
        calls.write("x")
    with path.open("w") as file:
        for _ in range(10):
            file.write("weights\\n")
            file.flush()
            time.sleep(0.05)

print(cached_model("slow.txt", fetch).read_text().count("weights"))
"""


def start_unit(folder):
    """Start a process that needs a model; it counts its calls in a file beside."""
    environment = os.environ | {"FRACTAL_CACHE_DIR": str(folder)}
    command = [sys.executable, "-c", SLOW, str(folder / "calls")]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)


def names(folder):
    return [path.name for path in folder.iterdir()]


def test_a_model_is_fetched_once_however_many_units_start(tmp_path):
    units = [start_unit(tmp_path) for _ in range(8)]
    assert [unit.communicate()[0] for unit in units] == ["10\n"] * 8
    assert (tmp_path / "calls").read_text() == "x"
    assert names(tmp_path / "models") == ["slow.txt"]


@pytest.mark.parametrize("name", ["", "..", "org/model", "/tmp/model"])
def test_a_model_has_the_name_of_a_file(tmp_path, monkeypatch, name):
    monkeypatch.setenv("FRACTAL_CACHE_DIR", str(tmp_path))
    with pytest.raises(ValueError, match="model: "):
        cached_model(name, lambda path: path.write_text("weights"))
    assert not names(tmp_path)


def test_a_cache_that_cannot_be_used_is_named(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("FRACTAL_CACHE_DIR", str(tmp_path / "file"))
    with pytest.raises(RuntimeError, match=r"model: .*file/models/m is missing"):
        cached_model("m", lambda path: path.write_text("weights"))


def test_a_user_without_a_home_gets_no_cache_that_others_can_write_to(monkeypatch):
    def no_entry(user):
        raise KeyError(user)

    monkeypatch.setattr("pwd.getpwuid", no_entry)
    for name in ("HOME", "FRACTAL_CACHE_DIR"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(RuntimeError, match=r"FRACTAL_CACHE_DIR: .* only you can write"):
        cached_model("m", lambda path: path.write_text("weights"))
    code = (
        "import os, pwd\n"
        "pwd.getpwuid = {}.__getitem__\n"
        "from fractal_workbench.engine.runner import CACHE\n"
        "raise SystemExit(bool(CACHE))"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_leftovers_of_a_download_on_another_node_are_removed(tmp_path, monkeypatch):
    monkeypatch.setenv("FRACTAL_CACHE_DIR", str(tmp_path))
    (tmp_path / "models" / ".m.deadbeef-12-00000000.partial").mkdir(parents=True)
    cached_model("m", lambda path: path.write_text("weights"))
    assert names(tmp_path / "models") == ["m"]


def test_a_killed_download_is_begun_again(tmp_path, monkeypatch):
    unit = start_unit(tmp_path)
    while not (tmp_path / "calls").exists():
        time.sleep(0.01)
    unit.kill()
    unit.communicate()
    assert len(names(tmp_path / "models")) == 2  # a lock, and a part of it
    monkeypatch.setattr(publish, "LONG_LOCK_EXPIRES", 0.5)
    monkeypatch.setenv("FRACTAL_CACHE_DIR", str(tmp_path))

    path = cached_model("slow.txt", lambda path: path.write_text("weights"))
    assert path.read_text() == "weights"
    assert names(tmp_path / "models") == ["slow.txt"]


def test_a_long_lock_is_kept_as_long_as_its_holder_lives(tmp_path, monkeypatch):
    monkeypatch.setattr(publish, "LONG_LOCK_EXPIRES", 2.0)
    inside = []

    def hold(name):
        with publish.locked(tmp_path / "model", long=True):
            inside.append(f"{name} in")
            time.sleep(3)
            inside.append(f"{name} out")

    holders = [threading.Thread(target=hold, args=name) for name in "ab"]
    for holder in holders:
        holder.start()
        time.sleep(0.1)
    for holder in holders:
        holder.join()
    assert inside == ["a in", "a out", "b in", "b out"]


@pytest.fixture
def site(tmp_path, monkeypatch):
    """A web server for the files of a folder, and a cache."""
    monkeypatch.setenv("FRACTAL_CACHE_DIR", str(tmp_path / "cache"))
    folder = tmp_path / "site"
    folder.mkdir()
    (folder / "weights.onnx").write_bytes(b"weights" * 1000)

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args):
            super().__init__(*args, directory=folder)

        def log_message(self, *args):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", folder
        server.shutdown()


def test_a_model_comes_from_its_address_and_then_from_the_cache(site):
    address, folder = site
    path = model_file(f"{address}/weights.onnx")
    assert path.read_bytes() == b"weights" * 1000
    (folder / "weights.onnx").unlink()
    assert model_file(f"{address}/weights.onnx") == path  # without the server's file
    assert names(path.parent) == [path.name]


def test_a_session_fetches_a_model_for_machines_without_internet(
    site, render, tmp_path
):
    address, folder = site
    write_network(folder / "network.onnx")
    package = render(tmp_path / "package")
    arguments = ("-s", "fetch_model", "--", "model_segmentation")

    said = nox(package, *arguments, f"{address}/network.onnx")

    (path,) = (tmp_path / "cache" / "models").iterdir()
    assert f"What had to be fetched is in {path.parent}" in said
    with pytest.raises(RuntimeError, match="must be one of model_segmentation"):
        nox(package, *arguments[:-1], "gaussian_blur")
    (folder / "network.onnx").unlink()
    assert model_file(f"{address}/network.onnx") == path
    with pytest.raises(RuntimeError, match="cannot be fetched from this machine"):
        nox(package, *arguments, f"{address}/other.onnx")


def test_a_model_has_to_be_the_one_that_is_named(site):
    address, folder = site
    right = hashlib.sha256(b"weights" * 1000).hexdigest()
    named = f"{address}/weights.onnx#sha256="
    assert model_file(named + right).name.endswith("-weights.onnx")
    with pytest.raises(RuntimeError, match="hash"):
        model_file(named + "0" * 64)
    (folder / "other").mkdir()
    (folder / "other" / "weights.onnx").write_bytes(b"other")
    other = model_file(f"{address}/other/weights.onnx")
    assert other.read_bytes() == b"other"


@pytest.mark.parametrize(
    ("name", "content", "fault"),
    [
        ("weights.onnx", b"", "it is empty"),
        ("weights.onnx", b"\r\n <!DOCTYPE html><html>Log in</html>", "a page"),
        ("weights", b"\xef\xbb\xbf<?xml version='1.0'?><Error/>", "a page"),
        ("weights.pt", b'{"error": "not found"}', "it is JSON"),
        ("w.npz", b"version https://git-lfs.github.com/spec/v1\noid", "Git LFS"),
        ("weights.zip", b"PK\x03\x04 and the rest is missing", "no zip file"),
    ],
)
def test_downloads_that_are_no_model_are_not_kept(site, tmp_path, name, content, fault):
    address, folder = site
    (folder / name).write_bytes(content)
    with pytest.raises(RuntimeError, match=rf"model: {address}/{name} .*{fault}"):
        model_file(f"{address}/{name}")
    assert not names(tmp_path / "cache" / "models")
    with pytest.raises(ValueError, match=rf"model: .*/site/{name} .*{fault}"):
        model_file(str(folder / name))
    (folder / name).write_bytes(
        b"weights" if name[-4:] not in (".zip", ".npz") else zip_file()
    )
    assert model_file(f"{address}/{name}").read_bytes() == (folder / name).read_bytes()


def zip_file():
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("weights", "1")
    return stream.getvalue()


@pytest.mark.parametrize("with_length", [True, False])
def test_half_of_a_model_is_not_kept(tmp_path, monkeypatch, with_length):
    monkeypatch.setenv("FRACTAL_CACHE_DIR", str(tmp_path / "cache"))
    whole = write_network(tmp_path / "network.onnx")
    content = Path(whole).read_bytes()

    class Torn(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            if with_length:
                self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content[: len(content) // 2])

        def log_message(self, *args):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Torn) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}/network.onnx"
        with pytest.raises(RuntimeError, match="model: "):
            load_model(address)
        right = hashlib.sha256(content).hexdigest()
        with pytest.raises(RuntimeError, match="model: "):
            model_file(f"{address}#sha256={right}")
        server.shutdown()
    assert not names(tmp_path / "cache" / "models")


@pytest.mark.parametrize(
    "fragment",
    [
        *("SHA256=" + "0" * 64, "md5=" + "0" * 32, "sha256=", "sha256=12", "main", ""),
        *("sha256=" + "g" * 64, "sha256:" + "0" * 64, "sha256=" + "0" * 64 + "#x"),
    ],
)
def test_a_checksum_that_is_not_understood_is_rejected(site, tmp_path, fragment):
    address, folder = site
    for model in (f"{address}/weights.onnx", str(folder / "weights.onnx")):
        with pytest.raises(
            ValueError, match=r"model: #.* is not understood: write #sha256="
        ):
            model_file(f"{model}#{fragment}")
    assert not (tmp_path / "cache").exists()


def test_a_checksum_is_checked_wherever_the_file_is(site, caplog):
    address, folder = site
    caplog.set_level("INFO")
    file = folder / "a#1.onnx"
    file.write_bytes(b"weights" * 1000)
    assert model_file(str(file)) == file
    cached = model_file(f"{address}/weights.onnx")
    (checksum,) = re.findall("#sha256=([0-9a-f]{64})", caplog.text)
    local = str(folder / "weights.onnx")
    for model in (local, f"{address}/weights.onnx"):
        kept = model_file(f"{model}#sha256={checksum.upper()}")
        assert kept.read_bytes() == cached.read_bytes()
        with pytest.raises((ValueError, RuntimeError), match=r"hash of .* is sha256="):
            model_file(f"{model}#sha256={'0' * 64}")
    kept.write_bytes(b"other")  # of the cache
    with pytest.raises(ValueError, match=r"hash of .* is sha256="):
        model_file(f"{address}/weights.onnx#sha256={checksum}")


def test_a_model_of_any_address_has_a_name_of_its_own(site):
    address, folder = site
    name = "x" * 200 + " \u00e9%20(1).onnx"
    (folder / name).write_bytes(b"weights")
    path = model_file(f"{address}/{urllib.parse.quote(name)}?download=a/b")
    assert path.read_bytes() == b"weights"
    assert path.name.endswith(".onnx")
    assert len(path.name) < 120


def test_without_a_network_the_error_names_the_file_and_its_place(site, monkeypatch):
    with pytest.raises(RuntimeError) as error:
        model_file("https://nowhere.invalid/weights.onnx")
    (path,) = {
        word.rstrip(",:")
        for word in str(error.value).split()
        if "weights" in word and "/cache/" in word
    }
    assert not [*Path(path).parent.iterdir()]
    Path(path).write_bytes(b"by hand")
    assert model_file("https://nowhere.invalid/weights.onnx") == Path(path)


@pytest.mark.parametrize("model", ["weights.onnx", "", "s3://a/b"])
def test_a_model_is_a_path_or_an_address(model):
    with pytest.raises(ValueError, match="model: must be the absolute path of a file"):
        model_file(model)
    with pytest.raises(ValueError, match="model: there is no file /nowhere/weights"):
        model_file("/nowhere/weights.onnx")


# --- the frameworks that the documentation shows ---


def shown_functions(guide: str) -> dict[str, Any]:
    """Return what the code in the guide of a framework defines."""
    text = (ROOT / "docs" / "guides" / f"{guide}.md").read_text("utf-8")
    (block,) = read_blocks(text)
    names = dict(
        Any=Any, Array=Any, Path=Path, os=os, logger=logging.getLogger("frameworks")
    )
    names |= {"ndimage": ndimage, "np": np}
    names |= {"cached_model": cached_model, "model_file": model_file}
    exec(block.code, names)
    return names


def test_cellpose_is_called_as_it_wants_to_be(tmp_path, monkeypatch):
    """Arguments of `CellposeModel` and `eval` are those of Cellpose 4.2.1, in its order."""
    monkeypatch.setenv("FRACTAL_CACHE_DIR", str(tmp_path))
    fetched = []

    class CellposeModel:
        device = "cpu"

        def __init__(self, gpu=False, pretrained_model="cpsam_v2"):
            assert Path(pretrained_model).read_text() == "weights"

        def eval(self, x, *, z_axis=None, normalize=True, do_3D=False, anisotropy=None):
            assert x.dtype == np.float32
            assert normalize is False
            assert (z_axis, do_3D) == ((0, True) if x.ndim == 3 else (None, False))
            return np.squeeze(segment(x * 1000)).astype(np.uint16), [], []

    def retrieve(url, known_hash, fname, path):
        fetched.append(url)
        (path / fname).write_text("weights")

    monkeypatch.setitem(sys.modules, "cellpose", types.ModuleType("cellpose"))
    models = types.ModuleType("cellpose.models")
    models.CellposeModel = CellposeModel
    monkeypatch.setitem(sys.modules, "cellpose.models", models)
    monkeypatch.setattr("pooch.retrieve", retrieve)

    shown = shown_functions("cellpose")
    for axes, shape in (("yx", (60, 60)), ("zyx", (4, 60, 60))):
        write_image(tmp_path / f"{axes}.zarr", axes, pixels=dots(shape))
        image = open_image(tmp_path / f"{axes}.zarr")
        network = shown["load_model"](use_gpu=True)
        found, _ = tiled(
            image,
            function=lambda pixels, network=network: shown["segment"](
                pixels.astype(np.float32) / 1000, network, 2.0
            ),
            tile=40,
            overlap=10,
        )
        assert (found == segment(image.levels[0][...])).all()
    assert fetched == [
        "https://huggingface.co/mouseland/cellpose-sam/resolve/main/cpsam_v2"
    ]


def test_stardist_is_called_as_it_wants_to_be(tmp_path, monkeypatch, site):
    """Arguments are those of StarDist 0.9.2; pooch unpacks a real archive."""
    address, folder = site
    with zipfile.ZipFile(folder / "python_2D_versatile_fluo.zip", "w") as archive:
        archive.writestr("config.json", "{}")
        archive.writestr("weights_best.h5", "weights")

    class StarDist2D:
        def __init__(self, config, name=None, basedir="."):
            assert config is None
            assert (Path(basedir) / name / "weights_best.h5").read_text() == "weights"

        def predict_instances(self, img, axes=None, normalizer=None):
            assert axes == "YX"
            return segment(img * 1000).astype(np.int32), {}

    monkeypatch.setitem(sys.modules, "stardist", types.ModuleType("stardist"))
    models = types.ModuleType("stardist.models")
    models.StarDist2D = StarDist2D
    monkeypatch.setitem(sys.modules, "stardist.models", models)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    retrieve = pooch.retrieve
    monkeypatch.setattr(
        "pooch.retrieve",
        lambda url, *args, **options: retrieve(
            url.replace(url.rpartition("/")[0], address), *args, **options
        ),
    )

    shown = shown_functions("stardist")
    pixels = dots((60, 60))
    write_image(tmp_path / "image.zarr", "yx", pixels=pixels)
    network = shown["load_model"]()
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "-1"
    found, _ = tiled(
        open_image(tmp_path / "image.zarr"),
        function=lambda pixels: shown["segment"](pixels / 1000, network, 1.0),
        tile=40,
        overlap=10,
    )
    assert (found == segment(pixels)).all()


class Brighter:
    """A classifier by one threshold, as scikit-learn has them."""

    def predict(self, features):
        assert features.ndim == 2
        assert features.shape[1] == 3
        return (features[:, 0] > 0.3).astype(int)


def test_a_classifier_of_scikit_learn_is_called_as_it_wants_to_be(
    tmp_path, monkeypatch
):
    """By what all of its classifiers have: `predict` of samples and features."""
    (tmp_path / "forest.joblib").write_bytes(pickle.dumps(Brighter()))
    joblib = types.ModuleType("joblib")
    joblib.load = lambda path: pickle.loads(Path(path).read_bytes())
    monkeypatch.setitem(sys.modules, "joblib", joblib)

    shown = shown_functions("forest")
    network = shown["load_model"](str(tmp_path / "forest.joblib"))
    for axes, shape in (("yx", (60, 60)), ("zyx", (4, 60, 60))):
        pixels = dots(shape)
        write_image(tmp_path / f"{axes}.zarr", axes, pixels=pixels)
        found, _ = tiled(
            open_image(tmp_path / f"{axes}.zarr"),
            function=lambda p: shown["segment"](p / 1000, network, 1.0),
            tile=40,
            overlap=19,
        )
        smooth = ndimage.gaussian_filter(pixels / 1000, 1)
        assert ((found > 0) == (smooth > 0.3)).all()
        assert found.max() > 3
