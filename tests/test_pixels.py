"""Not one voxel is lost: results equal those of SciPy on the whole image."""

import math
import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from my_fractal_tasks.gaussian_blur import gaussian_blur
from my_fractal_tasks.kit import blocks, open_image, open_label
from my_fractal_tasks.measure_features import measure_features
from my_fractal_tasks.register_acquisitions_compute import (
    InitArgs,
    register_acquisitions_compute,
)
from my_fractal_tasks.threshold_segmentation import segment, threshold_segmentation
from package_images import AXES, read_table, write_image, write_plate
from scipy import ndimage
from skimage.filters import threshold_otsu


@pytest.fixture(autouse=True)
def _many_small_blocks_in_threads(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(4))
    monkeypatch.setattr(blocks, "BLOCK_VOXELS", 1000)


def layouts(version):
    """Chunks, and shards, as other tools write them."""
    yield {"chunks": {"z": 1, "y": 64, "x": 64}}
    yield {"chunks": {"z": 2, "y": 16, "x": 48}}
    yield {"chunks": {"c": 2, "z": 5, "y": 101, "x": 83}}
    yield {"chunks": {"t": 2, "c": 2, "z": 3, "y": 23, "x": 19}}
    if version == "0.5":
        for z, chunk in ((1, 1), (4, 1), (4, 2), (8, 4)):
            yield {
                "chunks": {"z": chunk, "y": 16, "x": 16},
                "shards": {"z": z, "y": 32, "x": 64},
            }


def images(is_weekly):
    """Each combination of axes, format and layout; `is_weekly` is asked by their numbers."""
    return [
        pytest.param(
            *(axes, version, layout),
            id=f"{axes}-{version}-{number}",
            marks=[pytest.mark.weekly] if is_weekly(index, number) else [],
        )
        for version in ("0.4", "0.5")
        for index, axes in enumerate(AXES)
        for number, layout in enumerate(layouts(version))
    ]


def take_channel(pixels, axes, channel=0):
    return np.take(pixels, channel, axes.index("c")) if "c" in axes else pixels


@pytest.mark.parametrize(
    ("axes", "version", "layout"),
    # At each push, all axes in both formats, and all layouts.
    images(lambda index, number: index % 4 != number % 4),
)
def test_every_task_sees_and_writes_every_voxel(tmp_path, axes, version, layout):
    path = tmp_path / "image.zarr"
    pixels = write_image(path, axes, version, **layout)
    image = open_image(path)

    output = gaussian_blur(zarr_url=str(path), sigma_xy=3, sigma_z=0.8)
    threshold_segmentation(zarr_url=str(path))
    measure_features(zarr_url=str(path))

    blurred = open_image(output["image_list_updates"][0]["zarr_url"])
    sigma = [{"z": 0.8, "y": 3, "x": 3}.get(axis, 0) for axis in axes]
    expected = np.rint(ndimage.gaussian_filter(pixels.astype(np.float32), sigma))
    assert (blurred.levels[0][...] == expected).all()
    # What came in is preserved.
    assert blurred.version == version
    assert blurred.metadata["multiscales"] == image.metadata["multiscales"]
    assert blurred.metadata["omero"] == image.metadata["omero"]
    for level, original in zip(blurred.levels, image.levels, strict=True):
        assert level.metadata == original.metadata
    # The next level is the rounded mean of 2 x 2 pixels.
    odd = [(0, 0)] * (len(axes) - 2) + [(0, n % 2) for n in pixels.shape[-2:]]
    padded = np.pad(expected, odd, mode="edge").astype(float)
    y, x = (n // 2 for n in padded.shape[-2:])
    means = padded.reshape(*padded.shape[:-2], y, 2, x, 2).mean(axis=(-3, -1))
    assert (blurred.levels[1][...] == np.rint(means)).all()

    channel = take_channel(pixels, axes)
    label = open_label(image, "objects")
    threshold = threshold_otsu(channel)
    frames = channel if "t" in axes else channel[np.newaxis]
    found = [segment(frame, threshold) for frame in frames]
    before = np.cumsum([0, *(frame.max() for frame in found[:-1])])
    numbered = [frame + (frame > 0) * n for frame, n in zip(found, before, strict=True)]
    objects = np.reshape(numbered, channel.shape)
    assert objects.max() > 3
    assert (label.levels[0][...] == objects).all()
    assert label.axes == axes.replace("c", "")
    assert label.scale == {a: s for a, s in image.scale.items() if a != "c"}
    assert set(np.unique(label.levels[1])) <= set(np.unique(objects))

    rows = read_table(path, "features")
    size = "volume" if "z" in axes else "area"
    voxel = math.prod(step for a, step in label.scale.items() if a != "t")
    assert [row["label"] for row in rows] == list(range(1, objects.max() + 1))
    assert [row[size] / voxel for row in rows] == list(np.bincount(objects.ravel())[1:])
    means = ndimage.mean(channel, objects, range(1, objects.max() + 1))
    assert [row["mean_DAPI"] for row in rows] == pytest.approx(list(means))


@pytest.mark.parametrize(
    ("axes", "version", "layout"), images(lambda _, number: number not in (3, 6))
)
def test_a_registered_image_has_every_voxel(tmp_path, axes, version, layout):
    plate = tmp_path / "plate.zarr"
    reference, later = write_plate(
        plate, {"A/01": [0, 1]}, version, axes=axes, **layout
    )
    pixels = np.asarray(open_image(reference).levels[0])
    for level, image in enumerate(open_image(later, mode="r+").levels):
        moved = np.roll(pixels, (4, -9), (-2, -1))
        image[...] = moved[..., :: 2**level, :: 2**level]

    output = register_acquisitions_compute(
        zarr_url=str(later), init_args=InitArgs(reference=str(reference))
    )

    (update,) = output["image_list_updates"]
    found = np.asarray(open_image(update["zarr_url"]).levels[0])
    assert (found[..., :-4, 9:] == pixels[..., :-4, 9:]).all()
    assert not found[..., -4:, :].any()
    assert not found[..., :9].any()


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint32", "float32"])
def test_otsu_equals_scikit_image_for_every_data_type(tmp_path, dtype):
    path = tmp_path / "image.zarr"
    pixels = write_image(path, "zyx", pixels=_pixels(dtype), chunks={"z": 1, "y": 20})
    threshold_segmentation(zarr_url=str(path))
    found = np.asarray(open_label(open_image(path), "objects").levels[0])
    if dtype == "uint32":  # scikit-image would make a bin of each integer
        expected = pixels > threshold_otsu(pixels.astype(float))
    else:
        expected = pixels > threshold_otsu(pixels)
    assert (found.astype(bool) == expected).all()


def _pixels(dtype):
    rng = np.random.default_rng(1)
    values = rng.normal(60, 10, (3, 50, 40))
    values[:, 10:30, 5:20] += 50
    return values.astype(dtype) - (100 if dtype == "int16" else 0)


def test_an_image_of_one_grey_value_has_no_objects(tmp_path):
    path = tmp_path / "image.zarr"
    write_image(path, "yx", pixels=np.full((40, 30), 7, np.uint16))
    threshold_segmentation(zarr_url=str(path))
    assert not np.asarray(open_label(open_image(path), "objects").levels[0]).any()


@settings(max_examples=settings.default.max_examples // 10, deadline=None)
@given(st.data())
def test_a_pyramid_of_any_shapes_has_every_voxel(tmp_path_factory, data):
    """Levels of odd sizes, rounded up or down, by any factor, as other tools write them."""
    import zarr
    from my_fractal_tasks.kit import Image

    shapes = [data.draw(st.tuples(*[st.integers(1, 40)] * 3), label="shape")]
    for _ in range(data.draw(st.integers(1, 3), label="levels")):
        factors = data.draw(st.tuples(*[st.integers(1, 3)] * 3), label="factors")
        rounding = data.draw(st.sampled_from([math.floor, math.ceil]))
        shapes.append(
            tuple(
                max(1, rounding(n / f))
                for n, f in zip(shapes[-1], factors, strict=True)
            )
        )
    chunks = data.draw(st.tuples(*[st.integers(1, 17)] * 3), label="chunks")
    path = tmp_path_factory.mktemp("pyramid")
    group = zarr.open_group(path, mode="w")
    levels = [
        group.create_array(str(i), shape=shape, chunks=chunks, dtype="uint16")
        for i, shape in enumerate(shapes)
    ]
    axes = [{"name": axis} for axis in "zyx"]
    multiscale = {"axes": axes, "datasets": [{}] * len(levels)}
    image = Image(path, group, {"multiscales": [multiscale]}, levels)
    levels[0][...] = 1000
    blocks.build_pyramid(image)
    assert all((np.asarray(level) == 1000).all() for level in levels)
