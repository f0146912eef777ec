"""A recorded test sees where pixels are, and passes over what a machine rounds."""

import json

import numpy as np
import pytest
from fractal_workbench.kit import build_pyramid, create_image
from scipy.ndimage import gaussian_filter

from fractal_workbench.engine import replay

SHAPE = (2, 3, 70, 90)


def summary(folder, pixels, scale=0.5, channels=("a", "b")):
    """Record of an image."""
    with create_image(
        folder / "image.zarr",
        shape=pixels.shape,
        axes="czyx",
        dtype=pixels.dtype,
        scale={"z": 1, "y": scale, "x": scale},
        channels=channels,
        overwrite=True,
    ) as image:
        image.levels[0][...] = pixels
        build_pyramid(image)
    images = [{"zarr_url": str(folder / "image.zarr"), "origin": None}]
    return json.loads(json.dumps(replay.summarise(images, folder)))


def noise():
    return np.random.default_rng(0).random(SHAPE)


IMAGES = {
    "noise": noise,
    "a smooth image": lambda: gaussian_filter(noise(), (0, 0, 8, 8)) + 1,
    "dark, below 0": lambda: gaussian_filter(noise() - 0.5, (0, 0, 2, 2)) * 1e-6,
    "few pixels": lambda: (noise() > 0.999) * noise(),
}


def shuffled(p):
    rows = np.random.default_rng(1).permutation(p.shape[-2])
    return p[..., rows, :]


def in_a_block(p):
    new = p.copy()
    new[..., :20, :20] = p[..., :20, :20].swapaxes(-1, -2)
    return new


def one_pixel(p):
    new = p.copy()
    at = np.unravel_index(np.abs(p[1, 1]).argmax(), p.shape[2:])
    new[1, 1, at[0], at[1]] *= 1.5
    return new


def with_value(value, y, x):
    def change(p):
        new = p.copy()
        new[0, 0, y, x] = value
        return new

    return change


MUTATIONS = {
    "mirrored in x": lambda p: p[..., ::-1],
    "mirrored in y": lambda p: p[..., ::-1, :],
    "mirrored in z": lambda p: p[:, ::-1],
    "channels exchanged": lambda p: p[::-1],
    "shifted in x": lambda p: np.roll(p, 1, -1),
    "shifted in y": lambda p: np.roll(p, 1, -2),
    "shifted in z": lambda p: np.roll(p, 1, 1),
    "rotated": lambda p: p[..., ::-1, ::-1],
    "rows shuffled": shuffled,
    "transposed in a block": in_a_block,
    "one pixel": one_pixel,
    "NaN": with_value(np.nan, 0, 0),
    "infinite": with_value(np.inf, 69, 89),
    "scaled": lambda p: p * 1.001,
}


@pytest.mark.parametrize("dtype", ["float32", "float64", "uint16"])
@pytest.mark.parametrize("mutation", MUTATIONS)
@pytest.mark.parametrize("kind", IMAGES)
def test_pixels_at_another_place_are_seen(kind, mutation, dtype):
    pixels = IMAGES[kind]()
    changed = MUTATIONS[mutation](pixels)
    if dtype == "uint16":
        if not np.isfinite(changed).all():
            return
        factor = 60000 / np.abs(pixels).max() / 2
        pixels, changed = (np.abs(p * factor) for p in (pixels, changed))
    expected, found = (
        json.loads(json.dumps(replay._describe(p.astype(dtype))))
        for p in (pixels, changed)
    )
    assert not replay.compare(expected, expected)
    assert replay.compare(expected, found)


@pytest.mark.parametrize("kind", IMAGES)
def test_rounding_errors_are_ignored(kind):
    pixels = IMAGES[kind]()
    rounded = pixels * (1 + 1e-6 * np.random.default_rng(2).uniform(-1, 1, SHAPE))
    rounded += 1e-10 * np.abs(pixels).max()
    expected, found = (replay._describe(p) for p in (pixels, rounded))
    assert not replay.compare(expected, found)
    single = replay._describe(pixels.astype(np.float32).astype(np.float64))
    assert not replay.compare(expected, single)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_where_pixels_are_not_finite_is_seen(value):
    first, second = (replay._describe(with_value(value, 3, x)(noise())) for x in (3, 4))
    assert replay.compare(first, second)
    assert not replay.compare(first, json.loads(json.dumps(first)))
    for other in {"nan", "inf", "-inf"} - {str(value)}:
        found = replay._describe(with_value(float(other), 3, 3)(noise()))
        assert replay.compare(first, found)


def test_changes_of_pixels_are_seen(tmp_path):
    pixels = np.ones(SHAPE, np.float32)
    expected = summary(tmp_path, pixels)
    assert not replay.compare(expected, summary(tmp_path, pixels))
    assert replay.compare(expected, summary(tmp_path, pixels, scale=0.6))
    assert replay.compare(expected, summary(tmp_path, pixels, channels=["b", "a"]))
    found = summary(tmp_path, pixels)
    image = replay.open_image(tmp_path / "image.zarr")
    assert len(image.levels) == 1 + len(found["arrays"]["image.zarr"]["other levels"])


def test_another_pyramid_is_seen(tmp_path):
    pixels = np.random.default_rng(0).random((1, 1, 300, 300)).astype(np.float32)
    expected = summary(tmp_path, pixels, channels=["a"])
    level = replay.open_image(tmp_path / "image.zarr", mode="r+").levels[1]
    level[...] = level[...][..., ::-1]
    images = [{"zarr_url": str(tmp_path / "image.zarr"), "origin": None}]
    (line,) = replay.compare(expected, replay.summarise(images, tmp_path))
    assert "other levels" in line


@pytest.mark.parametrize(
    ("expected", "found"), [(1_000_000, 1_000_001), (2**60, 2**60 + 1), (True, 1)]
)
def test_labels_counts_and_truth_are_not_rounded(expected, found):
    assert replay.compare({"column": [expected]}, {"column": [found]})
    assert not replay.compare([1_000_000], [1_000_000.5])


def test_the_position_of_an_image_is_seen(tmp_path):
    pixels = np.zeros(SHAPE, np.uint8)
    expected = summary(tmp_path, pixels)
    file = tmp_path / "image.zarr" / ".zattrs"
    metadata = json.loads(file.read_text())
    for dataset in metadata["multiscales"][0]["datasets"]:
        start = {"type": "translation", "translation": [0, 0, 0, 5]}
        dataset["coordinateTransformations"].append(start)
    file.write_text(json.dumps(metadata))
    images = [{"zarr_url": str(tmp_path / "image.zarr"), "origin": None}]
    found = replay.summarise(images, tmp_path)
    assert replay.compare(expected, found)
    assert not replay.compare(found, found)
