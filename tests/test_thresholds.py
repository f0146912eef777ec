"""Otsu's threshold of a region depends on its pixels alone, whatever its shape."""

import warnings

import numpy as np
import pytest
from my_fractal_tasks.threshold_segmentation import segment


@pytest.mark.parametrize("dtype", ["u1", "u2", "i2", "u4", "i4", "f4", "f8", "bool"])
@pytest.mark.parametrize("shape", [(5, 40, 3), (2, 5, 20, 4), (40, 3), (3, 3, 3)])
def test_a_narrow_region_is_no_colour_image(dtype, shape):
    pixels = np.random.default_rng(0).integers(0, 20, shape)
    pixels[..., 1] += 100
    pixels = (pixels > 50).astype(dtype) if dtype == "bool" else pixels.astype(dtype)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = segment(pixels, None)
        in_one_row = segment(pixels.ravel(), None)
    assert ((found > 0).ravel() == (in_one_row > 0)).all()
    assert (found[..., 1] > 0).all()
    assert (found[..., 0] == 0).mean() > 0.9


def test_a_wide_range_of_integers_takes_no_memory_for_each_value():
    pixels = np.array([[0, 2**32 - 1], [1, 2**32 - 2]], "u4")
    assert (segment(pixels, None) > 0).tolist() == [[False, True]] * 2


def test_pixels_that_are_not_finite_do_not_count():
    pixels = np.array([[0, 1, np.nan, np.inf], [10, 11, -np.inf, np.nan]])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = segment(pixels, None)
        nothing = segment(np.full((3, 4), np.nan), None)
    assert (found > 0).tolist() == [
        [False, False, False, True],
        [True, True, False, False],
    ]
    assert not nothing.any()
