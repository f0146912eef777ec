"""No result of the kit depends on threads, blocks or chunks, and none is lost in a cast."""

import asyncio
import json
import os
import re
from operator import mul
from pathlib import Path

import numcodecs
import numpy as np
import pytest
import zarr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from my_fractal_tasks.gaussian_blur import blur, gaussian_blur
from my_fractal_tasks.kit import (
    Roi,
    Step,
    blocks,
    build_pyramid,
    cast,
    create_image,
    derive_image,
    derive_label,
    in_threads,
    is_made,
    label_blocks,
    label_regions,
    labels,
    map_blocks,
    open_image,
    open_label,
    pyramid,
    voxels,
)
from my_fractal_tasks.kit.voxels import read_voxels, write_voxels
from my_fractal_tasks.measure_features import measure_features
from package_images import read_table, write_image
from scipy import ndimage
from zarr.codecs import BloscCodec, Crc32cCodec, GzipCodec, TransposeCodec, ZstdCodec

SIZES = {"t": 2, "c": 2, "z": 5, "y": 24, "x": 20}
ZARRS_OWN = "zarr.core.codec_pipeline.BatchedCodecPipeline"
LEAST = {"y": 5, "x": 7}
PROPERTY = settings(
    max_examples=25,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@st.composite
def layouts(draw, axes):
    """Chunks of any size."""
    return {
        axis: draw(st.integers(LEAST.get(axis, 1), SIZES[axis] + 2), label=axis)
        for axis in axes
    }


def assert_levels_are_made_of_each_other(image):
    """Compare each level with what `build_pyramid` makes of the level before it."""
    found = [np.asarray(level) for level in image.levels]
    build_pyramid(image)
    for written, level in zip(found, image.levels, strict=True):
        np.testing.assert_array_equal(written, np.asarray(level))


@PROPERTY
@given(data=st.data())
def test_labels_do_not_depend_on_threads_blocks_or_chunks(
    tmp_path_factory, monkeypatch, data
):
    axes = data.draw(st.sampled_from(["yx", "zyx", "tyx", "tzyx"]), label="axes")
    # The only channel, one of three, or two of them in front.
    channel = data.draw(st.sampled_from([None, 1, [2, 1]]), label="channel")
    wholes = ["", "yx"] + (["zyx"] if "z" in axes else [])
    whole = data.draw(st.sampled_from(wholes), label="whole")
    version = data.draw(st.sampled_from(["0.4", "0.5"]), label="version")
    threads = data.draw(st.integers(1, 8), label="threads")
    voxels = data.draw(st.sampled_from([1, 200, 1000, 2**21]), label="voxels")
    rng = np.random.default_rng(data.draw(st.integers(0, 3), label="seed"))
    shape = [SIZES[axis] for axis in axes]
    noise = rng.normal(size=shape)
    sigma = [0 if axis == "t" else 1.5 for axis in axes]
    pixels = (ndimage.gaussian_filter(noise, sigma) > 0.05) * np.uint16(1000)
    path = tmp_path_factory.mktemp("labels") / "image.zarr"
    with_channels = axes
    written = pixels
    if channel is not None or data.draw(st.booleans(), label="has a channel"):
        with_channels = axes.replace("t", "tc") if "t" in axes else f"c{axes}"
        parts = [0 * pixels, pixels, pixels // 2] if channel is not None else [pixels]
        written = np.stack(parts, axis=with_channels.index("c"))
    chunks = data.draw(layouts(axes), "chunks")
    write_image(path, with_channels, version, pixels=written, chunks=chunks)
    for module in (blocks, pyramid):
        monkeypatch.setattr(module, "BLOCK_VOXELS", voxels)
    # No label, some, or all of them find room in memory.
    room = data.draw(st.sampled_from([0, 500, 2**27]), label="room")
    monkeypatch.setattr(labels, "KEPT", room)
    monkeypatch.setattr(
        os, "sched_getaffinity", lambda _: range(threads), raising=False
    )

    def segment(block):
        if channel == [2, 1]:
            half, block = block
            assert (half == block // 2).all()
        if whole:
            sizes = dict(zip(axes, block.shape, strict=True))
            assert all(sizes[axis] == SIZES[axis] for axis in whole)
            assert all(n == 1 for axis, n in sizes.items() if axis not in whole)
        structure = ndimage.generate_binary_structure(block.ndim, 1)
        if "t" in axes:
            structure[[0, 2]] = False
        return ndimage.label(block > 300, structure)[0]

    image = open_image(path)
    with derive_label(image, "objects") as label:
        n_objects = label_blocks(segment, image, label, channel=channel, whole=whole)

    written = open_image(path / "labels" / "objects", mode="r+")
    found = np.asarray(written.levels[0])
    assert_levels_are_made_of_each_other(written)
    if whole == "yx" and "z" in axes:
        expected = labels_of_planes((pixels > 300).reshape(-1, *pixels.shape[-3:]))
        expected = expected.reshape(pixels.shape)
    else:
        structure = ndimage.generate_binary_structure(len(axes), 1)
        if "t" in axes:
            structure[[0, 2]] = False
        expected, _ = ndimage.label(pixels > 300, structure)
    assert n_objects == expected.max()
    assert (found == expected).all()


def labels_of_planes(bright):
    """Label each plane of (t, z, y, x) and join neighbours, object by object."""
    labels, highest = np.zeros(bright.shape, int), 0
    for labels_of_time, time in zip(labels, bright, strict=True):
        before = np.zeros(time.shape[1:], int)
        for z, plane in enumerate(time):
            own, n_own = ndimage.label(plane)
            for one in range(1, n_own + 1):
                partner = best_partner(own == one, before)
                shared = (own == one) & (before == partner)
                smaller = min((own == one).sum(), (before == partner).sum())
                if (
                    partner
                    and best_partner(before == partner, own) == one
                    and 2 * shared.sum() >= smaller
                ):
                    number = labels_of_time[z - 1][before == partner][0]
                else:
                    number = highest = highest + 1
                labels_of_time[z][own == one] = number
            before = own
    return labels


def best_partner(mine, labels):
    """Return the label that shares most pixels with a mask, the first of equal ones."""
    shared = np.bincount(labels[mine], minlength=1)
    shared[0] = 0
    return shared.argmax()


@pytest.mark.parametrize("threads", [1, 2, 4, 8])
@pytest.mark.parametrize("z_chunk", [1, 2, 5])
def test_objects_of_planes_that_number_them_by_themselves_stay_apart(
    tmp_path, monkeypatch, threads, z_chunk
):
    """One object for each plane, that touch none of the next, all called 1."""
    monkeypatch.setattr(
        os, "sched_getaffinity", lambda _: range(threads), raising=False
    )
    pixels = np.zeros((5, 40, 30), np.uint16)
    for z in range(5):
        pixels[z, 3 * z : 3 * z + 3, 5:20] = 1000
        pixels[z, 30:35, 6 * z : 6 * z + 5] = 1000
    write_image(tmp_path / "image.zarr", "zyx", pixels=pixels, chunks={"z": z_chunk})
    image = open_image(tmp_path / "image.zarr")
    with derive_label(image, "objects") as label:
        n_objects = label_blocks(
            lambda block: ndimage.label(block > 0)[0],
            image,
            label,
            whole="yx",
        )
    assert n_objects == 10


def test_labels_of_two_objects_that_touch_in_a_plane_stay_two(tmp_path):
    """A function that tells them apart sees the whole plane; its halves go through z."""
    pixels = np.full((4, 40, 30), 7, np.uint16)
    write_image(tmp_path / "image.zarr", "zyx", pixels=pixels, chunks={"y": 8, "x": 8})
    image = open_image(tmp_path / "image.zarr")

    def halves(plane):
        labels = np.ones(plane.shape, int)
        labels[:, 20:] = 2_000_000_000  # numbers may have gaps
        return labels

    with derive_label(image, "halves") as label:
        assert label_blocks(halves, image, label, whole="yx") == 2
    found = np.asarray(open_label(image, "halves").levels[0])
    assert (found[:, :20] == 1).all()
    assert (found[:, 20:] == 2).all()


@pytest.mark.parametrize("z_chunk", [1, 3])
@pytest.mark.parametrize("regions", [False, True])
def test_objects_of_a_plane_stay_apart_though_one_of_the_next_touches_both(
    tmp_path, regions, z_chunk
):
    pixels = np.zeros((3, 20, 40), np.uint16)
    pixels[:, 5:15, 5:15] = pixels[:, 5:15, 20:30] = 1000
    # It shares 100 pixels with the left one, and 80 with the right one.
    pixels[1, 5:15, 5:28] = 1000
    pixels[2, 5:15, 29:39] = 1000  # an object whose best partner has a better one
    write_image(tmp_path / "image.zarr", "zyx", pixels=pixels, chunks={"z": z_chunk})
    image = open_image(tmp_path / "image.zarr")
    whole_image = Roi("all", tuple(slice(0, n) for n in pixels.shape))
    with derive_label(image, "objects") as label:
        function, options = label_blocks, []
        if regions:
            function, options = label_regions, [[whole_image]]
        n_objects = function(
            lambda plane: ndimage.label(plane)[0], image, label, *options, whole="yx"
        )
    found = np.asarray(open_label(image, "objects").levels[0])
    assert (found[:, 10, 10] == 1).all()
    assert found[0, 10, 25] == 2
    assert found[1, 10, 25] == 1
    assert found[2, 10, 25] == 3 == n_objects


@pytest.mark.parametrize(("step", "n_objects"), [(5, 1), (6, 2)])
def test_objects_of_two_planes_are_one_if_they_share_half_of_the_smaller(
    tmp_path, step, n_objects
):
    pixels = np.zeros((2, 20, 40), np.uint16)
    pixels[0, 5:15, 5:15] = 1000
    pixels[1, 5:15, 5 + step : 25 + step] = 1000
    write_image(tmp_path / "image.zarr", "zyx", pixels=pixels)
    image = open_image(tmp_path / "image.zarr")
    with derive_label(image, "objects") as label:
        found = label_blocks(
            lambda plane: ndimage.label(plane)[0], image, label, whole="yx"
        )
    assert found == n_objects


@pytest.mark.parametrize("bad", [-1, 0.5, np.nan, True])
def test_arrays_that_are_no_labels_are_rejected(tmp_path, bad):
    write_image(tmp_path / "image.zarr", "yx")
    image = open_image(tmp_path / "image.zarr")
    with pytest.raises(ValueError, match="uint32"):  # noqa: SIM117
        with derive_label(image, "objects") as label:
            label_blocks(lambda block: np.full(block.shape, bad), image, label)
    assert open_image(image.path).label_names == []


def test_one_of_several_channels_has_to_be_named(tmp_path):
    """Or a list of them; so do regions, and `map_blocks` into a label image."""
    write_image(tmp_path / "image.zarr", "cyx", pixels=np.zeros((2, 40, 50), "u2"))
    image = open_image(tmp_path / "image.zarr")
    roi = Roi("left", (slice(0, 40), slice(0, 20)))

    def two_in_front(block):
        assert block.shape[0] == 2
        return block[0]

    for call in (
        label_blocks,
        lambda *given, **named: label_regions(*given, [roi], **named),
        map_blocks,
    ):
        with pytest.raises(ValueError, match=r"channel: .*\.zarr has 2 channels"):  # noqa: SIM117
            with derive_label(image, "objects", overwrite=True) as label:
                call(two_in_front, image, label)
        if call is not map_blocks:
            with derive_label(image, "objects", overwrite=True) as label:
                assert call(two_in_front, image, label, channel=[0, 1]) == 0


@PROPERTY
@given(data=st.data())
def test_pixels_do_not_depend_on_threads_blocks_or_chunks(
    tmp_path_factory, monkeypatch, data
):
    axes = data.draw(st.sampled_from(["yx", "zyx", "czyx", "tczyx"]), label="axes")
    wholes = ["", "yx"] + (["zyx"] if "z" in axes else [])
    whole = data.draw(st.sampled_from(wholes), label="whole")
    halo = data.draw(st.dictionaries(st.sampled_from("zyx"), st.integers(0, 4)), "halo")
    threads = data.draw(st.integers(1, 8), label="threads")
    voxels = data.draw(st.sampled_from([1, 200, 1000, 2**21]), label="voxels")
    path = tmp_path_factory.mktemp("pixels") / "image.zarr"
    pixels = write_image(
        path,
        axes,
        pixels=np.random.default_rng(0).integers(
            0, 60000, [SIZES[axis] for axis in axes], np.uint16
        ),
        chunks=data.draw(layouts(axes), "chunks"),
    )
    for module in (blocks, pyramid):
        monkeypatch.setattr(module, "BLOCK_VOXELS", voxels)
    monkeypatch.setattr(
        os, "sched_getaffinity", lambda _: range(threads), raising=False
    )
    size = [2 * halo.get(axis, 0) + 1 for axis in axes]

    def function(block):
        result = ndimage.uniform_filter(block.astype(float), size, mode="constant")
        if whole:  # it may use all that it sees of these axes
            dims = tuple(axes.index(axis) for axis in whole)
            result = result - result.min(axis=dims, keepdims=True)
        return result

    image = open_image(path)
    new = path.with_name("new.zarr")
    with derive_image(image, new, dtype=np.float64) as derived:
        map_blocks(function, image, derived, halo=halo, whole=whole)
    written = open_image(new, mode="r+")
    found = np.asarray(written.levels[0])
    assert_levels_are_made_of_each_other(written)
    # Beyond the border of the image is 0 for both; blocks end nowhere else.
    np.testing.assert_allclose(found, function(pixels), atol=1e-6)


@pytest.mark.parametrize(("y", "n_blocks"), [(80, 1), (68, 1), (60, 2), (40, 3)])
def test_chunks_are_read_once_for_a_halo_where_the_last_is_short(
    tmp_path, monkeypatch, y, n_blocks
):
    """A block reads all chunks that its halo touches, and decodes them whole."""
    monkeypatch.setattr(blocks, "BLOCK_VOXELS", 1)
    pixels = write_image(tmp_path / "image.zarr", "yx", chunks={"y": y, "x": 64})
    image, seen = open_image(tmp_path / "image.zarr"), []

    def function(block):
        seen.append(block.shape)
        return ndimage.uniform_filter(block, 3)

    with derive_image(image, tmp_path / "new.zarr") as derived:
        map_blocks(function, image, derived, halo={"y": 1, "x": 1})
    assert len(seen) == n_blocks
    written = open_image(tmp_path / "new.zarr", mode="r+")
    np.testing.assert_array_equal(written.levels[0], ndimage.uniform_filter(pixels, 3))
    assert_levels_are_made_of_each_other(written)


def test_sums_of_blocks_are_the_same_on_every_machine(tmp_path, monkeypatch):
    path = tmp_path / "image.zarr"
    pixels = np.random.default_rng(0).normal(size=(5, 101, 83)).astype(np.float32)
    write_image(path, "zyx", pixels=pixels, chunks={"y": 20, "x": 20})
    image = open_image(path)
    with derive_label(image, "objects") as label:
        map_blocks(lambda _: np.ones(pixels.shape, int), image, label, whole="zyx")
    tables = []
    for threads in (1, 3, 64):
        monkeypatch.setattr(os, "sched_getaffinity", lambda _, n=threads: range(n))
        measure_features(zarr_url=str(path), overwrite=True)
        tables.append(read_table(path, "features"))
    assert tables[0] == tables[1] == tables[2]


CASTS = [
    # values, from, into; None: refused
    ([0.4, 0.6, 200.5], float, np.uint8, [0, 1, 200]),
    ([-1, 5], np.int16, np.uint16, None),
    ([-0.6, 5], float, np.uint16, None),
    ([-0.4, 5], float, np.uint16, [0, 5]),
    ([255.4], float, np.uint8, [255]),
    ([255.6], float, np.uint8, None),
    ([300], int, np.uint8, None),
    ([np.nan, 1], float, np.uint8, None),
    ([np.inf, 1], float, np.int32, None),
    ([2.0**64], float, np.uint64, None),
    ([1e300], float, np.float32, None),
    ([7e4], np.float32, np.float16, None),
    ([np.nan, np.inf, 0.1], float, np.float32, np.float32([np.nan, np.inf, 0.1])),
    ([True, False], bool, np.uint8, [1, 0]),
    ([1j], complex, np.uint8, None),
    ([2**40], np.int64, np.float32, [2**40]),
    ([], float, np.uint8, []),
]


@pytest.mark.parametrize(("values", "old", "new", "expected"), CASTS)
def test_a_cast_rounds_or_is_refused(values, old, new, expected):
    pixels = np.array(values, old)
    if expected is None:
        with pytest.raises(ValueError, match=np.dtype(new).name):
            cast(pixels, new)
    else:
        found = cast(pixels, new)
        assert found.dtype == new
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda block: block.astype(int) - 1000, "from -.* uint16, which holds 0"),
        (lambda block: block * 100.0, "65535"),
        (lambda block: block / block.max(), "between 0 and 1"),
        (lambda block: block * np.nan, "nan"),
    ],
)
def test_values_that_an_integer_image_can_not_hold_are_an_error(
    tmp_path, function, message
):
    write_image(tmp_path / "image.zarr", "yx", chunks={"y": 20})
    image = open_image(tmp_path / "image.zarr")
    with pytest.raises(ValueError, match=message):  # noqa: SIM117
        with derive_image(image, tmp_path / "new.zarr") as new:
            map_blocks(function, image, new)
    assert [path.name for path in tmp_path.iterdir()] == ["image.zarr"]


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_an_image_of_another_type_can_be_derived(tmp_path, version):
    path = tmp_path / "image.zarr"
    pixels = write_image(path, "czyx", version, chunks={"y": 20})
    image = open_image(path)
    with derive_image(image, tmp_path / "new.zarr", dtype=np.float32) as new:
        map_blocks(lambda block: block / 65535, image, new)
    new = open_image(tmp_path / "new.zarr")
    assert [level.dtype for level in new.levels] == [np.float32] * 2
    assert new.levels[0].chunks == image.levels[0].chunks
    np.testing.assert_allclose(new.levels[0][...], pixels / np.float32(65535))
    assert (tmp_path / "new.zarr" / "0" / "0" / "0").is_dir() == (version == "0.4")
    # What viewers show of it is not what they show of 16 bits.
    for channel, found in zip(new.channels, new.levels[0][...], strict=True):
        window = channel.pop("window")
        expected = np.percentile(found[len(found) // 2], [1, 99.9])
        assert (window["start"], window["end"]) == pytest.approx(tuple(expected))
        assert 0 < window["end"] <= 1
    others = [channel | {"window": None} for channel in image.channels]
    assert [channel | {"window": None} for channel in new.channels] == others
    with derive_image(image, tmp_path / "same.zarr") as same:
        map_blocks(lambda block: block // 2, image, same)
    assert open_image(tmp_path / "same.zarr").channels == image.channels
    # Also in place, where the step is known by what it has left.
    step = Step("halve", {}, [image])
    with derive_image(
        image, path, dtype=np.float32, overwrite=True, made_by=step
    ) as new:
        map_blocks(lambda block: block / 65535, image, new)
    again = open_image(path)
    assert again.channels[0]["window"]["end"] <= 1
    assert is_made(path, Step("halve", {}, [again]))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16])
def test_a_blur_is_neither_darker_nor_brighter(dtype):
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, np.iinfo(dtype).max, (1000, 1000), dtype)
    exact = ndimage.gaussian_filter(pixels.astype(float), 2)
    error = blur(pixels, (2, 2)) - exact
    assert abs(error).max() < 0.505  # float32 has 24 bits
    assert abs(error.mean()) < 0.001


def test_a_smaller_level_is_neither_darker_nor_brighter(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 4000, (2048, 2048), np.uint16)
    with create_image(
        tmp_path / "image.zarr",
        shape=pixels.shape,
        axes="yx",
        dtype=pixels.dtype,
        scale={},
        channels=["DAPI"],
    ) as image:
        image.levels[0][...] = pixels
        build_pyramid(image)
    for level in open_image(tmp_path / "image.zarr").levels[1:3]:
        assert abs(np.mean(level[...]) - pixels.mean()) < 0.01


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_floats_of_any_size_are_blurred_and_measured(tmp_path, dtype):
    path = tmp_path / "image.zarr"
    pixels = np.random.default_rng(0).normal(1000, 1, (60, 50)).astype(dtype)
    write_image(path, "yx", pixels=pixels, chunks={"y": 20, "x": 20})
    gaussian_blur(zarr_url=str(path), sigma_xy=2)
    blurred = open_image(tmp_path / "image_blurred.zarr").levels[0]
    assert blurred.dtype == dtype
    exact = ndimage.gaussian_filter(pixels.astype(float), 2)
    np.testing.assert_allclose(blurred[...], exact, rtol=2 * np.finfo(dtype).eps)
    image = open_image(path)
    with derive_label(image, "objects") as label:
        map_blocks(lambda _: np.ones(pixels.shape, int), image, label, whole="yx")
    measure_features(zarr_url=str(path))
    (row,) = read_table(path, "features")
    values = pixels.astype(float)
    assert row["mean_DAPI"] == pytest.approx(values.mean(), rel=1e-12)
    assert row["std_DAPI"] == pytest.approx(values.std(), rel=1e-9)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"halo": {"yx": 2}}, "halo: .'yx'.; allowed"),
        ({"halo": {"Y": 2}}, "halo: .'Y'.; allowed"),
        ({"whole": "YX"}, "whole: .'Y', 'X'.; allowed"),
        ({"function": lambda block: block[..., :1]}, "function: it returns the shape"),
        ({"function": lambda block: block.mean()}, "function: it returns the shape"),
    ],
)
def test_arguments_that_would_be_passed_over_are_refused(tmp_path, arguments, message):
    write_image(tmp_path / "image.zarr", "yx", chunks={"y": 20})
    image = open_image(tmp_path / "image.zarr")
    with pytest.raises(ValueError, match=message):  # noqa: SIM117
        with derive_image(image, tmp_path / "new.zarr") as new:
            map_blocks(
                **{"function": lambda block: block} | arguments,
                source=image,
                target=new,
            )
    assert not (tmp_path / "new.zarr").exists()


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_chunks_without_labels_have_no_file(tmp_path, version):
    pixels = np.zeros((2, 64, 96), np.uint16)
    pixels[0, 40:50, 40:60] = 9
    path = tmp_path / "image.zarr"
    write_image(path, "zyx", version, pixels=pixels, chunks={"z": 1, "y": 32, "x": 32})
    image = open_image(path)
    with derive_label(image, "objects") as label:
        label_blocks(lambda block: ndimage.label(block)[0], image, label)
    level = open_label(image, "objects").levels[0]
    folder = path / "labels" / "objects" / level.path.rpartition("/")[2]
    files = [f for f in folder.rglob("*") if f.is_file() and f.name[0] not in ".z"]
    assert len(files) == 1
    np.testing.assert_array_equal(np.asarray(level), pixels > 0)


@st.composite
def array_layouts(draw):
    """Options of `zarr.create_array`, of which not all are usual."""
    layout = {
        "shape": draw(st.tuples(*[st.integers(1, n) for n in (3, 20, 20)])),
        "chunks": draw(st.tuples(*[st.integers(1, n) for n in (2, 8, 8)])),
        "dtype": draw(st.sampled_from(["bool", "|u1", "<u2", ">u2", "<f4", ">f8"])),
        "config": {"write_empty_chunks": draw(st.booleans())},
        "zarr_format": draw(st.sampled_from([2, 3])),
    }
    fills = [0, 1] + [np.nan, -0.0] * ("f" in layout["dtype"])
    if layout["zarr_format"] == 2:
        layout["order"] = draw(st.sampled_from("CF"))
        layout["filters"] = draw(st.sampled_from([None, [numcodecs.Zlib(1)]]))
        layout["fill_value"] = draw(st.sampled_from([*fills, None]))
        codecs = [None, numcodecs.Blosc("zstd", 1), numcodecs.GZip(1), numcodecs.Zstd()]
        layout["chunk_key_encoding"] = {
            "name": "v2",
            "separator": draw(st.sampled_from("./")),
        }
    else:
        layout["fill_value"] = draw(st.sampled_from(fills))
        codecs = [None, BloscCodec(), GzipCodec(), [ZstdCodec(), Crc32cCodec()]]
        if draw(st.booleans()):
            layout["filters"] = [TransposeCodec(order=(2, 0, 1))]
        elif draw(st.booleans()):
            times = [draw(st.integers(1, 3)) for _ in range(3)]
            layout["shards"] = list(map(mul, layout["chunks"], times))
    return layout | {"compressors": draw(st.sampled_from(codecs))}


@st.composite
def regions(draw, shape):
    """One slice or index for each axis; nothing, a part or all of it."""
    region = []
    for extent in shape:
        start = draw(st.integers(0, extent - 1))
        stop = draw(st.integers(start, extent))
        choices = [start, slice(start, stop), slice(0, extent)]
        region.append(draw(st.sampled_from(choices)))
    return tuple(region)


def read_files(folder):
    """Bytes of all files, without the time that gzip writes."""
    files = {
        f.relative_to(folder): f.read_bytes() for f in folder.rglob("*") if f.is_file()
    }
    gzip = re.compile(rb"(\x1f\x8b\x08\0)....", re.DOTALL)
    return {name: gzip.sub(rb"\1", content) for name, content in files.items()}


@settings(PROPERTY, max_examples=100)
@given(data=st.data())
def test_voxels_are_read_and_written_as_by_zarr(tmp_path_factory, data):
    """All bytes of all files are equal, also after a part was written again."""
    folder = tmp_path_factory.mktemp("arrays")
    layout = data.draw(array_layouts(), "layout")
    parts = [data.draw(regions(layout["shape"]), "region") for _ in range(3)]
    kind = np.dtype(layout["dtype"]).newbyteorder("=")
    random = np.random.default_rng(data.draw(st.integers(0, 3), "seed"))
    # Chunks that have only zeros, or only the fill value, or some of them.
    pixels = random.integers(0, 2, layout["shape"]).cumsum(axis=-1).astype(kind)
    pixels[:, : data.draw(st.integers(0, 20), "rows")] = layout["fill_value"] or 0
    expected = []
    with zarr.config.set({"codec_pipeline.path": ZARRS_OWN}):
        array = zarr.create_array(folder / "zarr", **layout)
        for part in parts:
            array[part] = pixels[part]
        expected = [array[part] for part in [*parts, ...]]

    # One that exists, and one that is published as a whole.
    made = folder / data.draw(st.sampled_from(["kit", ".kit.partial"]), "folder")

    def run():
        array = zarr.create_array(voxels.CheckedStore(made), **layout)
        for part in parts:
            write_voxels(array, part, pixels[part])
        everything = tuple(map(slice, array.shape))
        return [read_voxels(array, part) for part in [*parts, everything]]

    async def run_in_loop():
        return run()

    # A notebook runs a loop of its own.
    in_notebook = data.draw(st.booleans(), "in a notebook")
    found = asyncio.run(run_in_loop()) if in_notebook else run()
    for theirs, ours in zip(expected, found, strict=True):
        assert np.asarray(theirs).dtype.name == ours.dtype.name
        np.testing.assert_array_equal(theirs, ours)
    assert read_files(made) == read_files(folder / "zarr")


@pytest.mark.parametrize("shards", [None, (32, 32)])
def test_a_chunk_costs_no_task(tmp_path, monkeypatch, shards):
    """A task takes as long as the pixels of a small chunk."""
    n_tasks = 0

    def create_task(self, *args, **options):
        nonlocal n_tasks
        n_tasks += 1
        return asyncio.SelectorEventLoop.create_task(self, *args, **options)

    monkeypatch.setattr(voxels._Loop, "create_task", create_task, raising=False)
    everything = (slice(0, 32), slice(0, 32))
    pixels = np.arange(1024).reshape(32, 32)
    array = zarr.create_array(
        tmp_path, shape=(32, 32), chunks=(2, 2), shards=shards, dtype=int
    )
    write_voxels(array, everything, pixels)
    np.testing.assert_array_equal(read_voxels(array, everything), pixels)
    assert n_tasks < 64  # of 256 chunks


def test_a_chunk_that_cannot_be_written_stays_as_it_was(tmp_path, monkeypatch):
    store = voxels.CheckedStore(tmp_path / "image")
    array = zarr.create_array(store, shape=(4,), chunks=(4,), dtype="u1")
    everything = (slice(0, 4),)
    write_voxels(array, everything, np.full(4, 7, "u1"))
    files = sorted(tmp_path.rglob("*"))
    (chunk,) = (path for path in files if path.name == "0")
    (tmp_path / "linked").hardlink_to(chunk)
    before = chunk.read_bytes()

    def write_half(path, value):
        Path(path).write_bytes(bytes(value.as_buffer_like())[:3])
        raise OSError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(voxels, "_write_file", write_half)
        with pytest.raises(OSError, match="the disk is full"):
            write_voxels(array, everything, np.full(4, 8, "u1"))
    assert chunk.read_bytes() == before
    assert sorted(tmp_path.rglob("*")) == sorted([*files, tmp_path / "linked"])
    write_voxels(array, everything, np.full(4, 9, "u1"))
    assert read_voxels(array, everything).tolist() == [9] * 4
    assert (tmp_path / "linked").read_bytes() == before


@pytest.mark.parametrize("in_thread", [False, True])
def test_a_damaged_chunk_is_an_error_in_any_thread(tmp_path, in_thread):
    write_image(tmp_path / "image.zarr", "yx")
    (tmp_path / "image.zarr" / "0" / "0" / "0").write_bytes(b"garbage")
    image = open_image(tmp_path / "image.zarr")
    run = in_threads if in_thread else map
    with pytest.raises(ValueError, match="cannot be read"):
        list(run(lambda image: image.read(), [image]))


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_a_derived_array_has_the_metadata_of_its_source(tmp_path, version):
    """Also what zarr would write in another way, and below a folder of its own."""
    path = tmp_path / "image.zarr"
    write_image(path, "zyx", version)
    file, is_old = path / ("zarr.json", ".zattrs")[version == "0.4"], version == "0.4"
    metadata = json.loads(file.read_text())
    holder = metadata if is_old else metadata["attributes"]["ome"]
    holder["multiscales"][0]["datasets"][1]["path"] = "scale1/image"
    file.write_text(json.dumps(metadata))
    group = zarr.open_group(path, mode="r+")
    group.require_group("scale1")
    (path / "1").rename(path / "scale1" / "image")
    inner = path / "scale1" / "image" / (".zarray" if is_old else "zarr.json")
    layout = json.loads(inner.read_text()) | {"fill_value": 7}
    inner.write_text(json.dumps(layout))
    image = open_image(path)
    with derive_image(image, tmp_path / "new.zarr") as derived:
        map_blocks(lambda pixels: pixels + 1, image, derived)
    made = open_image(tmp_path / "new.zarr", mode="r+")
    assert made.levels[1].metadata == image.levels[1].metadata
    assert made.levels[1].fill_value == 7
    assert isinstance(made.group["scale1"], zarr.Group)
    assert_levels_are_made_of_each_other(made)
