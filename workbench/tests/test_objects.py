"""Objects of label images are counted, measured and compared as they are."""

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fractal_workbench import kit
from fractal_workbench.engine import history, rules
from fractal_workbench.report import objects, pixels, views
from fractal_workbench.report.agreement import Agreement, agreement
from fractal_workbench.report.background import named_channels
from fractal_workbench.report.views import Channel, View

BOXES = [(0, 4, 0, 4), (10, 14, 10, 14), (10, 14, 14, 18), (30, 50, 30, 50)]


def draw(boxes: list[tuple[int, int, int, int]], size: int = 64) -> np.ndarray:
    """Labels 1, 2, ... as boxes: first and last y, first and last x."""
    labels = np.zeros((size, size), np.uint32)
    for number, (top, bottom, left, right) in enumerate(boxes, 1):
        labels[top:bottom, left:right] = number
    return labels


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> kit.Image:
    """An image of 12 bits with two saturated columns of pixels, and a label image."""
    path = tmp_path_factory.mktemp("image") / "image.zarr"
    given: dict[str, Any] = {"axes": "czyx", "channels": ["DAPI", "FITC"]}
    given |= {"dtype": np.uint16, "scale": {"z": 2.0, "y": 0.5, "x": 0.5}}
    with kit.create_image(path, shape=(2, 3, 64, 64), **given) as image:
        image.levels[0][0, 1] = np.arange(64, dtype=np.uint16)[:, None]
        image.levels[0][0, 1, :, 62:] = 4095
        kit.build_pyramid(image)
    with kit.derive_label(kit.open_image(path), "nuclei") as label:
        label.levels[0][1] = draw(BOXES)
        kit.build_pyramid(label)
    return kit.open_image(path)


def test_objects_are_measured_in_the_unit_of_the_image(image: kit.Image) -> None:
    found = objects.find_objects(kit.open_label(image, "nuclei"))
    assert found is not None
    assert found.numbers.tolist() == [1, 2, 3, 4]
    voxel = 2.0 * 0.5 * 0.5
    assert found.sizes.tolist() == [16 * voxel, 16 * voxel, 16 * voxel, 400 * voxel]
    assert found.unit == "µm³"
    assert found.at_border.tolist() == [True, False, False, False]
    assert found.touching.tolist() == [False, True, True, False]
    assert found.far.tolist() == [False, False, False, True]
    assert found.summary() == (
        "4 objects: 1 at the border, 2 touching another, 1 of unusual size"
    )


@pytest.mark.parametrize("missing", ["scale", "unit of z", "another unit"])
def test_objects_without_a_size_are_measured_in_voxels(
    image: kit.Image, missing: str
) -> None:
    """An image may have sizes that its label image lacks."""
    label = kit.open_label(image, "nuclei")
    label = replace(label, metadata=copy.deepcopy(label.metadata))
    multiscale = label.metadata["multiscales"][0]
    axes = {axis["name"]: axis for axis in multiscale["axes"]}
    if missing == "scale":
        for dataset in multiscale["datasets"]:
            del dataset["coordinateTransformations"]
    elif missing == "unit of z":
        del axes["z"]["unit"]
    else:
        axes["z"]["unit"] = "nanometer"
    found = objects.find_objects(label)
    assert found is not None
    assert (found.sizes.tolist(), found.unit) == ([16, 16, 16, 400], "voxels")
    assert objects.extremes(found)[0]["y"] == "40 pixels"


def test_an_empty_label_image_has_no_objects(tmp_path: Path, image: kit.Image) -> None:
    with kit.derive_label(image, "nothing") as label:
        kit.build_pyramid(label)
    found = objects.find_objects(kit.open_label(image, "nothing"))
    assert found is not None
    assert (len(found), found.summary()) == (0, "0 objects")
    assert len(objects.choose_crops(found, (0.5, 0.5))) > 0


def objects_in(boxes: list[tuple[int, int, int, int]]) -> objects.Objects:
    """Objects that fill boxes in an image of 64 x 64 pixels, half a micrometer wide."""
    edges = np.array(boxes)
    sizes = (edges[:, 1] - edges[:, 0]) * (edges[:, 3] - edges[:, 2])
    none = np.zeros(len(sizes), bool)
    return objects.Objects(
        numbers=np.arange(1, len(sizes) + 1),
        sizes=sizes.astype(float),
        unit="µm²",
        pixels=4.0 * sizes,
        extent=(32.0, 32.0),
        boxes=edges / 64,
        at_border=none,
        touching=none,
        factor=1.0,
    )


def test_crops_are_chosen_by_the_number_of_objects_that_they_show() -> None:
    """Five objects reach into a crop, and have their middles outside of it."""
    wide = [(y, y + 3, 14, 64) for y in range(33, 63, 6)]
    small = [(40, 42, 2, 4), (50, 52, 2, 4)]
    found = objects_in([*wide, *small, (4, 6, 50, 52)])
    crops = {crop.title: crop.place for crop in objects.choose_crops(found, (0.5, 0.5))}
    counts = [
        objects.count_in(found, crops[title])
        for title in ("densest", "median", "sparsest")
    ]
    assert counts == sorted(counts, reverse=True)
    assert counts[0] == len(wide) + len(small)


def test_crops_are_where_objects_are_dense_and_around_extreme_ones() -> None:
    many = [(y, y + 2, x, x + 2) for y in range(0, 20, 4) for x in range(0, 20, 4)]
    found = objects_in([*many, (50, 60, 50, 60)])
    chosen = objects.choose_crops(found, (0.5, 0.5))
    crops = {crop.title: crop.place for crop in chosen}
    assert [crop.label for crop in chosen if crop.label] == [26, 1]
    assert objects.count_in(found, crops["densest"]) == len(many)
    assert objects.count_in(found, crops["sparsest"]) == 0
    largest = crops["largest: label 26, 100 µm²"]
    assert largest[0] < 50 / 64 < 60 / 64 < largest[2]
    assert all(0 <= edge <= 1 for place in crops.values() for edge in place)
    first, *_ = objects.extremes(found)
    assert first == {
        "label": "26",
        "size": "100 µm²",
        "y": "27.5 µm",
        "x": "27.5 µm",
        "remarks": "unusual size",
    }
    # Of 10 pixels, in a picture of 32, and at the border in one that ends there.
    assert objects.place_around(found, 26, (64, 64)) == (0.5, 0.5, 1, 1)
    assert objects.place_around(found, 1, (64, 64)) == (0, 0, 0.5, 0.5)


def test_units_are_those_with_which_a_column_agrees(image: kit.Image) -> None:
    found = objects.find_objects(kit.open_label(image, "nuclei"))
    assert found is not None
    columns = {
        "label": np.array([4, 2, 3, 1]),
        "volume": np.array([200.0, 8.0, 8.0, 8.0]),
        "count": np.array([400, 16, 16, 16]),
        "area": np.array([400.0, 16.0, 16.0, 17.0]),
    }
    table = kit.Table("feature_table", columns, "label", "nuclei")
    assert objects.column_units(table, found) == {"volume": "µm³", "count": "pixels"}
    other = kit.Table("feature_table", columns | {"label": np.arange(5, 9)}, "label")
    assert objects.column_units(other, found) == {}
    # Of a time series, the first time point is compared.
    later = {name: np.append(values, values * 3) for name, values in columns.items()}
    later |= {"label": np.tile(columns["label"], 2), "time_point": np.repeat([0, 1], 4)}
    series = kit.Table("feature_table", later, "label")
    assert objects.column_units(series, found) == {"volume": "µm³", "count": "pixels"}


def test_saturated_pixels_are_counted_at_full_resolution(image: kit.Image) -> None:
    sharp = pixels.read_sharp(image, 0, (0.5, 0.5), size=16)
    assert sharp.limit == 4095
    assert sharp.saturated == pytest.approx(2 / 64)
    assert sharp.plane == "plane 2 of 3"
    assert sum(sharp.counts) == 64 * 64
    assert sharp.place == (24 / 64, 24 / 64, 40 / 64, 40 / 64)
    assert (sharp.pixels == np.arange(24, 40)[:, None]).all()
    dark = pixels.read_sharp(image, 1, (0, 1))
    assert (dark.saturated, dark.limit) == (0, 65535)


def test_a_view_tells_objects_and_channels(image: kit.Image) -> None:
    view = views.take_view(str(image.path))
    assert [channel.name for channel in view.channels] == ["DAPI", "FITC"]
    assert (view.unit, view.depth) == ("µm", 3)
    found = view.objects["nuclei"]
    assert found is not None
    assert len(found) == 4


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ([(0, 8, 0, 8)], [(0, 8, 0, 8)], Agreement(1, 0, 0, 0, 0, 0)),
        ([(0, 8, 0, 8)], [(0, 8, 0, 4), (0, 8, 4, 8)], Agreement(0, 1, 0, 0, 0, 0)),
        ([(0, 8, 0, 4), (0, 8, 4, 8)], [(0, 8, 0, 8)], Agreement(0, 0, 2, 0, 0, 0)),
        ([(0, 8, 0, 8)], [], Agreement(0, 0, 0, 1, 0, 0)),
        ([], [(0, 8, 0, 8)], Agreement(0, 0, 0, 0, 0, 1)),
        ([(0, 8, 0, 8)], [(0, 8, 5, 13)], Agreement(0, 0, 0, 0, 1, 0)),
        ([], [], Agreement(0, 0, 0, 0, 0, 0)),
    ],
)
def test_two_label_images_are_compared_object_by_object(
    first: list[Any], second: list[Any], expected: Agreement
) -> None:
    assert agreement(draw(first), draw(second)) == expected


def test_each_object_is_counted_once() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        a, b = (rng.integers(0, 6, (8, 8)).repeat(4, 0).repeat(4, 1) for _ in range(2))
        found = agreement(a, b)
        n = len(np.unique(a[a > 0]))
        assert found.agree + sum(found[1:5]) == n
    with pytest.raises(ValueError, match="shapes differ"):
        agreement(a, b[1:])


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"channel": {"mode": "label", "identifier": "FITC"}}, ["FITC"]),
        ({"channel": {"mode": "wavelength_id", "identifier": "A01_C01"}}, ["DAPI"]),
        ({"channel": {"mode": "index", "identifier": "1"}}, ["FITC"]),
        ({"channel": {"wavelength_id": "A02_C02", "label": None}}, ["FITC"]),
        (
            {"channels": {"mode": "label", "identifiers": ["FITC", "DAPI"]}},
            ["FITC", "DAPI"],
        ),
        ({"nuclei": {"label": "DAPI"}, "sigma": 2}, ["DAPI"]),
        ({"channel_name": "FITC"}, ["FITC"]),
        ({"label_name": "DAPI", "text": "FITC"}, []),
        ({"channel": {"mode": "label", "identifier": "Cy5"}}, []),
        ({"channel": 1}, ["FITC"]),
        ({}, []),
    ],
)
def test_the_channels_of_a_step_are_found(
    arguments: dict[str, Any], expected: list[str]
) -> None:
    channels = [
        Channel(name, "#ffffff", None, np.zeros((2, 2)), number, wavelength)
        for number, (name, wavelength) in enumerate(
            [("DAPI", "A01_C01"), ("FITC", "A02_C02")]
        )
    ]
    small = pixels.Small([], pixels.WHOLE, (2, 2), (2, 2), [])
    step = rules.Step(task={"pkg_name": "a", "name": "A"}, args_parallel=arguments)
    task = rules.Task(name="A", type="parallel")
    rest = ({}, [], [], [], [], [], 1.0, None)
    done = history.StepDone(1, 1, "a", None, task, step, *rest)
    found = named_channels(done, View("", channels, small, ""))
    assert [channel.name for channel in found] == expected
