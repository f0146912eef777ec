"""Tables of numbers and of points have what their function returns for each part of an image."""

import numpy as np
import pytest
from my_fractal_tasks.kit import (
    Channel,
    Regions,
    Roi,
    derive_label,
    find_points,
    measure_image,
    open_image,
    read_table,
    write_roi_table,
)
from package_images import write_image


def table(path, name="t"):
    return {
        k: v.tolist() for k, v in read_table(open_image(path), name).columns.items()
    }


def peaks(pixels):
    return np.argwhere(pixels == 60000)


def with_peaks(path, axes, *places):
    """Write an image with bright pixels."""
    shape = {"yx": (50, 60), "zyx": (5, 50, 60), "tczyx": (2, 2, 5, 50, 60)}[axes]
    pixels = np.zeros(shape, np.uint16)
    for place in places:
        pixels[(..., *place)] = 60000
    write_image(path, axes, "0.4", pixels=pixels)
    return str(path)


@pytest.mark.parametrize("whole", ["yx", "zyx"])
def test_each_time_point_and_plane_has_a_row(tmp_path, whole):
    path = tmp_path / "i.zarr"
    pixels = write_image(path, "tczyx", "0.4")
    output = measure_image(
        str(path),
        lambda seen: {"mean": seen.mean(), "what": "signal"},
        table_name="t",
        channel=1,
        whole=whole,
    )
    assert output == {"image_list_updates": [{"zarr_url": str(path)}]} or (
        output["image_list_updates"][0]["zarr_url"] == str(path)
    )
    columns = table(path)
    axes = (2, 3) if whole == "yx" else (1, 2, 3)
    means = pixels[:, 1].mean(axis=axes)
    assert columns["mean"] == pytest.approx(means.ravel().tolist())
    assert set(columns["what"]) == {"signal"}
    n_planes = pixels.shape[2] if whole == "yx" else 1
    assert columns["time_point"] == np.repeat([0, 1], n_planes).tolist()
    assert ("z" in columns) == (whole == "yx")


def test_several_channels_and_regions_are_measured(tmp_path):
    path = tmp_path / "i.zarr"
    pixels = write_image(path, "cyx", "0.4")
    top = Roi("top", (slice(0, 20), slice(10, 60)))
    write_roi_table(open_image(path), "fields", [top])
    measure_image(
        str(path),
        lambda seen: {"ratio": seen[0].mean() / seen[1].mean()},
        table_name="t",
        channel=[Channel(), Channel(identifier="1")],
        regions=Regions(roi_table="fields"),
    )
    means = pixels[:, :20, 10:60].mean(axis=(1, 2))
    assert table(path) == {
        "region": ["top"],
        "ratio": [pytest.approx(means[0] / means[1])],
    }


def test_columns_become_as_many_rows(tmp_path):
    path = tmp_path / "i.zarr"
    write_image(path, "yx", "0.4")
    measure_image(
        str(path), lambda seen: {"band": [0, 1], "mean": [1.5, 2.5]}, table_name="t"
    )
    assert table(path) == {"band": [0, 1], "mean": [1.5, 2.5]}


@pytest.mark.parametrize(
    ("result", "message"),
    [
        (3.0, "it returns a float"),
        ({"a": [1, 2], "b": [1]}, "its columns differ"),
        ({"time_point": 1}, "a column 'time_point'"),
    ],
)
def test_results_that_are_no_rows_are_rejected(tmp_path, result, message):
    path = tmp_path / "i.zarr"
    write_image(path, "tczyx", "0.4")
    with pytest.raises(ValueError, match=f"function: .*{message}"):
        measure_image(str(path), lambda seen: result, table_name="t", channel=0)
    assert not (path / "tables").exists()


def test_parts_with_other_columns_and_masks_are_rejected(tmp_path):
    path = tmp_path / "i.zarr"
    write_image(path, "tczyx", "0.4")
    with pytest.raises(ValueError, match=r"regions\.mask: 'cells' has objects"):
        measure_image(str(path), np.mean, table_name="t", regions=Regions(mask="cells"))
    names = iter("ab")
    with pytest.raises(ValueError, match="the columns"):
        measure_image(
            str(path), lambda seen: {next(names): 1}, table_name="t", channel=0
        )
    with pytest.raises(ValueError, match="whole: 'z'"):
        measure_image(str(path), np.mean, table_name="t", channel=0, whole="z")


@pytest.mark.parametrize("whole", ["yx", "zyx"])
def test_points_have_positions_in_the_image_and_labels(tmp_path, whole):
    places = [(1, 10, 20), (3, 30, 40)]
    path = with_peaks(tmp_path / "i.zarr", "tczyx", *places)
    with derive_label(open_image(path), "cells") as label:
        label.levels[0][:, :, 25:35, 35:45] = 9
    find_points(path, peaks, table_name="t", channel=1, whole=whole, label_name="cells")
    columns = table(path)
    assert columns["time_point"] == [0, 0, 1, 1]
    found = zip(columns["z"], columns["y"], columns["x"], strict=True)
    assert [*found] == places * 2
    assert columns["label"] == [0, 9] * 2
    assert columns["z_micrometer"] == [1.0, 3.0] * 2
    assert columns["x_micrometer"] == [10.0, 20.0] * 2


def test_points_of_a_region_and_a_level_are_in_pixels_of_the_image(tmp_path):
    path = with_peaks(tmp_path / "i.zarr", "yx", (10, 20), (30, 40))
    write_roi_table(
        open_image(path), "fields", [Roi("low", (slice(20, 50), slice(0, 60)))]
    )
    find_points(
        path,
        peaks,
        table_name="t",
        level=1,
        regions=Regions(roi_table="fields"),
    )
    columns = table(path)
    # The middle of four pixels of full resolution.
    assert (columns["y"], columns["x"]) == ([30.5], [40.5])
    assert columns["region"] == ["low"]


def test_points_outside_of_a_mask_are_left_out(tmp_path):
    path = with_peaks(tmp_path / "i.zarr", "yx", (10, 20), (30, 40))
    with derive_label(open_image(path), "cells") as label:
        label.levels[0][:15, :15] = 1
        label.levels[0][25:35, 35:45] = 1
    find_points(path, peaks, table_name="t", regions=Regions(mask="cells"))
    assert (table(path)["y"], table(path)["x"]) == ([30], [40])


def test_columns_of_points_are_named(tmp_path):
    path = with_peaks(tmp_path / "i.zarr", "yx", (10, 20))
    find_points(
        path,
        lambda seen: [(x, y, 7.5) for y, x in peaks(seen)],
        table_name="t",
        columns=("x", "y", "width"),
    )
    columns = table(path)
    assert (columns["y"], columns["x"], columns["width"]) == ([10], [20], [7.5])
    find_points(path, lambda seen: [], table_name="none")
    assert table(path, "none")["x"] == []


@pytest.mark.parametrize(
    ("result", "message"),
    [
        ([(1, 60)], "a point with x = 60"),
        ([(1, float("nan"))], "a point with x = nan"),
        ([1, 2, 3], "and not a row for each point"),
        ({"x": [1]}, "no column 'y'"),
        ({"y": [1], "x": [1], "x_micrometer": [1]}, "a column 'x_micrometer'"),
    ],
)
def test_results_that_are_no_points_are_rejected(tmp_path, result, message):
    path = with_peaks(tmp_path / "i.zarr", "yx")
    with pytest.raises(ValueError, match=f"function: .*{message}"):
        find_points(path, lambda seen: result, table_name="t")


def test_masked_values_are_gaps(tmp_path):
    path = str(tmp_path / "i.zarr")
    write_image(tmp_path / "i.zarr", "yx")
    masked = np.ma.masked_array([1, 2], [False, True])
    measure_image(path, lambda _: {"a": masked}, table_name="rows")
    measure_image(path, lambda _: {"a": np.ma.masked}, table_name="one")
    assert table(path, "rows")["a"][0] == 1
    assert np.isnan([table(path, "rows")["a"][1], *table(path, "one")["a"]]).all()
    points = np.ma.masked_array([[1, 2]], [[True, False]])
    with pytest.raises(ValueError, match="returns a point with y = nan"):
        find_points(path, lambda _: points, table_name="points")
