"""Regions and tables: the tasks work where they are told to, as ngio's iterators do.

No result depends on threads, chunks or shards; what is no region is refused.
"""

import csv
import json
import math
import os
import subprocess
import sys

import ngio
import numpy as np
import pytest
import zarr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from my_fractal_tasks.gaussian_blur import blur, gaussian_blur
from my_fractal_tasks.kit import (
    Regions,
    Roi,
    build_pyramid,
    create_image,
    derive_image,
    derive_label,
    find_points,
    find_rois,
    label_regions,
    map_blocks,
    map_regions,
    open_image,
    open_label,
    read_table,
    table_names,
    write_roi_table,
    write_table,
)
from my_fractal_tasks.kit.regions import label_rois, read_rois
from my_fractal_tasks.measure_features import measure_features
from my_fractal_tasks.threshold_segmentation import segment, threshold_segmentation
from ngio.tables import MaskingRoiTable, RoiTable
from package_images import write_image
from scipy import ndimage

PROPERTY = settings(
    max_examples=20,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
SIZES = {"t": 2, "c": 2, "z": 4, "y": 40, "x": 32}
VERSIONS = ["0.4", "0.5"]


def add_rois(image, name, boxes):
    """Write a table of regions in y and x, which may overlap."""
    others = [slice(0, SIZES[axis]) for axis in image.axes if axis in "tz"]
    write_roi_table(
        image,
        name,
        [
            Roi(f"FOV_{n}", (*others, slice(y, y + h), slice(x, x + w)))
            for n, (y, x, h, w) in enumerate(boxes, start=1)
        ],
    )


def in_table(image, name):
    return find_rois(image, Regions(roi_table=name))


def test_with_a_mask_and_a_table_a_region_is_their_intersection(tmp_path):
    path = tmp_path / "image.zarr"
    write_image(path, "yx", pixels=np.zeros((40, 32), np.uint16))
    image = open_image(path)
    objects = np.zeros((40, 32), np.uint32)
    objects[2:8, 20:30], objects[10:25, 4:20], objects[38:, :2] = 1, 2, 3
    with derive_label(image, "objects") as label:
        label.levels[0][...] = objects
        build_pyramid(label)
    add_rois(image, "fields", [(0, 0, 20, 16), (20, 0, 15, 32)])
    rois = find_rois(image, Regions(roi_table="fields", mask="objects"))
    assert [(roi.name, roi.region) for roi in rois] == [
        ("FOV_1:2", (slice(10, 20), slice(4, 16))),
        ("FOV_2:2", (slice(20, 25), slice(4, 20))),
    ]


def structure(axes):
    touching = ndimage.generate_binary_structure(len(axes), 1)
    if "t" in axes:
        touching[[0, 2]] = False
    return touching


@st.composite
def boxes(draw):
    found = []
    for _ in range(draw(st.integers(1, 6))):
        y, x = draw(st.integers(0, 38)), draw(st.integers(0, 30))
        found.append((y, x, draw(st.integers(1, 40 - y)), draw(st.integers(1, 32 - x))))
    return found


@PROPERTY
@given(data=st.data())
def test_regions_do_not_depend_on_threads_chunks_or_shards(
    tmp_path_factory, monkeypatch, data
):
    axes = data.draw(st.sampled_from(["yx", "zyx", "cyx", "tczyx"]), label="axes")
    version = data.draw(st.sampled_from(VERSIONS), label="version")
    threads = data.draw(st.integers(1, 8), label="threads")
    monkeypatch.setattr(
        os, "sched_getaffinity", lambda _: range(threads), raising=False
    )
    least = {"y": 7, "x": 5}
    chunks = {
        axis: data.draw(st.integers(least.get(axis, 1), 24), label=axis)
        for axis in axes
    }
    shards = None
    if version == "0.5" and data.draw(st.booleans(), label="shards"):
        chunks = {axis: min(chunks[axis], SIZES[axis] // 4) for axis in axes}
        chunks |= {axis: 1 for axis in axes if axis not in "yx"}
        shards = {axis: 2 * chunks[axis] for axis in axes}
    shape = [SIZES[axis] for axis in axes]
    pixels = np.random.default_rng(1).integers(0, 1000, shape, np.uint16)
    path = tmp_path_factory.mktemp("regions") / "image.zarr"
    write_image(path, axes, version, pixels=pixels, chunks=chunks, shards=shards)
    image = open_image(path)
    add_rois(image, "fields", data.draw(boxes(), label="boxes"))
    rois = in_table(image, "fields")
    sigma = [2 if axis in "yx" else 0 for axis in axes]
    copy_rest = data.draw(st.booleans(), label="copy_rest")

    with derive_image(image, path.with_name("blurred.zarr")) as target:
        map_regions(
            lambda p: blur(p, sigma),
            image,
            target,
            rois,
            copy_rest=copy_rest,
        )
    with derive_label(image, "objects") as label:
        label_regions(
            lambda p: segment(p, 600),
            image,
            label,
            rois,
            channel=0,
            min_size=2,
        )

    expected = pixels.copy() if copy_rest else np.zeros_like(pixels)
    at = axes.find("c")
    first = pixels if at < 0 else pixels.take(0, at)
    labels = np.zeros(first.shape, np.uint32)
    highest = 0
    for roi in rois:
        everywhere = roi.region
        if at >= 0:
            everywhere = (*roi.region[:at], slice(None), *roi.region[at:])
        expected[everywhere] = blur(pixels[everywhere], sigma)
        found, n = ndimage.label(first[roi.region] > 600, structure(label.axes))
        sizes = np.bincount(found.ravel(), minlength=n + 1) * (np.arange(n + 1) > 0)
        number = np.where(sizes >= 2, np.cumsum(sizes >= 2), 0)
        found = number[found]
        labels[roi.region] = np.where(found, found + highest, 0)
        highest += int(found.max())
    assert (open_image(path.with_name("blurred.zarr")).levels[0][...] == expected).all()
    assert (open_label(image, "objects").levels[0][...] == labels).all()


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("axes", ["cyx", "czyx"])
def test_labels_in_regions_and_masks_are_those_of_ngios_iterators(
    tmp_path, version, axes
):
    path = tmp_path / "image.zarr"
    write_image(path, axes, version)
    image = open_image(path)
    others = [slice(0, 5)] if "z" in axes else []
    yx = [(0, 60, 0, 41), (40, 101, 10, 83), (60, 101, 0, 41)]
    rois = [
        Roi(f"F{i}", (*others, slice(*b[:2]), slice(*b[2:]))) for i, b in enumerate(yx)
    ]
    write_roi_table(image, "fields", rois)
    with derive_label(image, "organoids") as label:
        label.levels[0][..., 5:70, 3:30] = 7
        label.levels[0][..., 20:90, 40:80] = 2
        label.levels[0][..., 30:40, 50:60] = 0  # the background of an object

    for regions in (
        {"roi_table": "fields"},
        {"mask": "organoids"},
        {"mask": "organoids", "roi_table": "fields"},
    ):
        threshold_segmentation(
            zarr_url=str(path), threshold=600, regions=regions, overwrite=True
        )
        container = ngio.open_ome_zarr_container(path)
        output = container.derive_label("theirs", overwrite=True)
        order = ["z", "y", "x"] if "z" in axes else ["y", "x"]
        options = {"channel_selection": 0, "axes_order": order}
        if "mask" in regions:
            source = container.get_masked_image("organoids")
            iterator = ngio.MaskedSegmentationIterator(source, output, **options)
        else:
            iterator = ngio.SegmentationIterator(
                container.get_image(), output, **options
            )
        iterator = iterator.by_zyx(strict=False)
        if "mask" not in regions:
            iterator = iterator.on_overlap("last")
        if "roi_table" in regions:
            iterator = iterator.product(container.get_generic_roi_table("fields"))
        highest = 0
        for pixels, write in iterator.iter_as_numpy():
            found = ndimage.label(pixels > 600)[0]
            write(np.where(found, found + highest, 0).astype(np.uint32))
            highest += int(found.max())

        image = open_image(path)
        ours, theirs = (
            np.asarray(open_label(image, name).levels[0])
            for name in ("objects", "theirs")
        )
        assert ours.max() > 3
        assert ((ours > 0) == (theirs > 0)).all()
        pairs = {*zip(ours[ours > 0].tolist(), theirs[ours > 0].tolist(), strict=True)}
        assert len(pairs) == len({a for a, _ in pairs}) == len({b for _, b in pairs})


@PROPERTY
@given(data=st.data())
def test_positions_become_the_pixels_that_ngio_makes_of_them(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("rois") / "image.zarr"
    write_image(path, "zyx", data.draw(st.sampled_from(VERSIONS)))
    numbers = st.floats(0, 60, allow_nan=False) | st.integers(0, 160).map(
        lambda n: n / 4
    )
    slices = {axis: (data.draw(numbers), data.draw(numbers)) for axis in "xyz"}
    roi = ngio.Roi.from_values(name="one", slices=slices)
    backend = data.draw(st.sampled_from(["csv", "json", "anndata"]), label="backend")
    container = ngio.open_ome_zarr_container(path)
    container.add_table("rois", RoiTable(rois=[roi]), backend=backend)
    theirs = container.get_image().get_roi_as_numpy(roi)

    if theirs.size:
        (ours,) = read_rois(open_image(path), "rois")
        assert open_image(path).read(ours.region).shape == theirs.shape
        assert (open_image(path).read(ours.region) == theirs).all()
    else:
        with pytest.raises(ValueError, match="no region inside of the image"):
            read_rois(open_image(path), "rois")


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("axes", ["yx", "tzyx"])
def test_our_roi_tables_are_ngios(tmp_path, version, axes):
    path = tmp_path / "image.zarr"
    write_image(path, axes, version)
    threshold_segmentation(zarr_url=str(path), masking_roi_table="objects_ROI_table")
    image = open_image(path)
    add_rois(image, "fields", [(0, 0, 20, 32), (20, 8, 20, 3)])

    container = ngio.open_ome_zarr_container(path)
    table = container.get_table("objects_ROI_table")
    assert isinstance(table, MaskingRoiTable)
    assert isinstance(container.get_table("fields"), RoiTable)
    labels = np.asarray(open_label(image, "objects").levels[0])
    assert len(table.rois()) == labels.max() > 3
    for roi in table.rois():
        expected = ndimage.find_objects((labels == roi.label).astype(int))[0]
        found = roi.to_pixel(pixel_size=container.get_label("objects").pixel_size)
        for axis, place in zip(axes, expected, strict=True):
            s = found.get(axis)
            assert (round(s.start), round(s.end)) == (place.start, place.stop)


def test_a_level_is_segmented_and_the_finer_ones_follow(tmp_path):
    path = tmp_path / "image.zarr"
    write_image(path, "czyx")
    image = open_image(path)
    add_rois(image, "all", [(0, 0, 101, 83)])
    coarse = np.asarray(image.levels[1])[0]
    for regions, stop in (({}, 5), ({"roi_table": "all"}, SIZES["z"])):
        expected = np.zeros(coarse.shape, int)
        expected[:stop], n = ndimage.label(coarse[:stop] > 600)
        threshold_segmentation(
            zarr_url=str(path), threshold=600, level=1, regions=regions, overwrite=True
        )
        label = open_label(image, "objects")
        assert n > 3
        assert (np.asarray(label.levels[1]) == expected).all()
        y, x = (np.arange(n) // 2 for n in label.shape[1:])
        full = np.asarray(label.levels[1])[:, y][:, :, x]
        assert (np.asarray(label.levels[0]) == full).all()
    with pytest.raises(ValueError, match=r"level: .* has the pyramid levels 0 to 1"):
        threshold_segmentation(zarr_url=str(path), level=2, label_name="other")


@pytest.mark.parametrize("is_said", [True, False])
@pytest.mark.parametrize("level", [1, 3, 5])
def test_a_pixel_of_a_level_is_where_its_pixels_are(tmp_path, level, is_said):
    """Each of six levels is a pixel more than half as large: 1025, 513, 257, 129, 65, 33."""
    path, factor = tmp_path / "image.zarr", 2**level
    corner = 1024 - 3 * factor
    with create_image(
        path,
        shape=(1025, 1025),
        axes="yx",
        dtype="uint16",
        scale={"y": 0.5, "x": 0.5} if is_said else {},
        channels=["DAPI"],
        min_levels=6,
    ) as image:
        image.levels[0][corner : corner + factor, corner : corner + factor] = 1000
        build_pyramid(image)
    if not is_said:
        metadata = json.loads((path / ".zattrs").read_text())
        for dataset in metadata["multiscales"][0]["datasets"]:
            del dataset["coordinateTransformations"]
        (path / ".zattrs").write_text(json.dumps(metadata))
    image, at = open_image(path), slice(corner, corner + factor)
    threshold_segmentation(zarr_url=str(path), level=level, threshold=500)
    label = open_label(image, "objects").read()
    assert label[at, at].all()
    assert np.count_nonzero(label) == factor**2

    find_points(
        image, lambda pixels: np.argwhere(pixels > 500), table_name="t", level=level
    )
    columns = read_table(image, "t").columns
    middle = corner + (factor - 1) / 2
    assert (columns["y"].tolist(), columns["x"].tolist()) == ([middle], [middle])

    write_roi_table(image, "rois", [Roi("one", (at, at))])
    (roi,) = find_rois(image, Regions(roi_table="rois"), level)
    assert (image.read(roi.region, level=level) == 1000).all()


def test_a_label_follows_levels_whose_factor_is_said_to_be_no_whole_number(tmp_path):
    """A program that resizes 101 pixels to 50 says that they are 2.02 times as large."""
    path = tmp_path / "image.zarr"
    group = zarr.create_group(path, zarr_format=2)
    datasets = []
    for name, n in (("0", 101), ("1", 50)):
        group.create_array(name, shape=(n, n), dtype="u1", chunks=(64, 64))
        scale = {"type": "scale", "scale": [101 / n] * 2}
        datasets.append({"path": name, "coordinateTransformations": [scale]})
    axes = [{"name": name, "type": "space"} for name in "yx"]
    group.attrs["multiscales"] = [
        {"version": "0.4", "axes": axes, "datasets": datasets}
    ]
    with derive_label(open_image(path, mode="r+"), "objects") as label:
        label.levels[1][...] = np.tile(np.arange(1, 51), (50, 1))
        build_pyramid(label, 1)
    found = open_label(open_image(path), "objects").read()
    assert found[0].tolist() == [int((n + 0.5) / 2.02) + 1 for n in range(101)]


@pytest.mark.parametrize(
    "change",
    {
        "moved": lambda label: np.roll(label, 6, -1),
        "removed": lambda label: np.where(label == 2, 0, label),
        "larger": lambda label: ndimage.grey_dilation(label, (1, 7, 7)),
        "numbered": lambda label: np.where(label, label.max() + 1 - label, 0),
    }.items(),
    ids=lambda pair: pair[0],
)
@pytest.mark.parametrize("level", [0, 1])
def test_a_masking_table_of_an_older_label_is_rejected(tmp_path, change, level):
    path = tmp_path / "image.zarr"
    write_image(path, "czyx")
    threshold_segmentation(zarr_url=str(path), masking_roi_table="boxes")
    image, regions = open_image(path), Regions(mask="boxes")
    label = open_label(open_image(path), "objects")
    rois = find_rois(image, regions, level)
    assert [roi.label for roi in rois] == [roi.label for roi in label_rois(label)]
    new = change[1](np.asarray(label.levels[0]))
    with derive_label(image, "objects", overwrite=True) as label:
        label.levels[0][...] = new
        build_pyramid(label)
    if change[0] == "removed" and level:  # as an object that is too small for it
        assert len(find_rois(image, regions, level)) == len(rois)
        return
    with pytest.raises(ValueError, match=r"regions.mask: .*'boxes'.* object .* again"):
        find_rois(image, regions, level)
    blurred = tmp_path / "image_blurred.zarr"
    with pytest.raises(ValueError, match=r"regions.mask: the table 'boxes'"):
        gaussian_blur(zarr_url=str(path), regions={"mask": "boxes"})
    assert not blurred.exists()


def test_the_blur_of_an_object_changes_nothing_outside_of_it(tmp_path):
    path = tmp_path / "image.zarr"
    pixels = write_image(path, "cyx")
    image = open_image(path)
    with derive_label(image, "organoid") as label:
        label.levels[0][10:50, 20:60] = 3
        label.levels[0][30:50, 40:60] = 0
    gaussian_blur(zarr_url=str(path), sigma_xy=2, regions={"mask": "organoid"})

    found = np.asarray(open_image(tmp_path / "image_blurred.zarr").levels[0])
    inside = np.asarray(open_label(image, "organoid").levels[0]) == 3
    assert (found[:, ~inside] == pixels[:, ~inside]).all()
    box = blur(pixels[:, 10:50, 20:60], [0, 2, 2])
    assert (
        found[:, 10:50, 20:60][:, inside[10:50, 20:60]] == box[:, inside[10:50, 20:60]]
    ).all()


def test_each_measured_label_names_its_region_once(tmp_path):
    path = tmp_path / "image.zarr"
    write_image(path, "cyx", pixels=np.zeros((2, 40, 32), np.uint16))
    image = open_image(path)
    with derive_label(image, "objects") as label:
        label.levels[0][2:6, 2:6] = 5  # in the first region
        label.levels[0][8:18, 2:6] = 6  # more of it in the second
        label.levels[0][8:12, 10:12] = 8  # as much in both: the first counts
        label.levels[0][35:39, 20:30] = 9  # in none
    add_rois(image, "fields", [(0, 0, 10, 32), (10, 0, 20, 32)])

    measure_features(zarr_url=str(path), regions={"roi_table": "fields"})

    table = read_table(image, "features")
    assert table.columns["label"].tolist() == [5, 6, 8]
    assert table.columns["region"].tolist() == ["FOV_1", "FOV_2", "FOV_1"]
    assert table.columns["area"].tolist() == [4.0, 10.0, 2.0]  # as a whole
    frame = ngio.open_ome_zarr_container(path).get_table("features").dataframe
    assert frame["region"].tolist() == ["FOV_1", "FOV_2", "FOV_1"]


def test_labels_of_many_regions_go_beyond_65535(tmp_path):
    path = tmp_path / "image.zarr"
    pixels = np.zeros((600, 600), np.uint16)
    pixels[::2, ::2] = 1000
    write_image(path, "yx", pixels=pixels)
    image = open_image(path)
    add_rois(image, "fields", [(0, 0, 300, 600), (300, 0, 300, 600)])
    threshold_segmentation(
        zarr_url=str(path), threshold=500, regions={"roi_table": "fields"}
    )
    labels = np.asarray(open_label(image, "objects").levels[0])
    assert (labels[::2, ::2] == np.arange(1, 90001).reshape(300, 300)).all()


def write_csv(image, name, header, *rows):
    columns = dict(zip(header, zip(*rows, strict=True), strict=True)) if rows else {}
    columns = columns or {column: [] for column in header}
    index = header[0] if header[0] == "FieldIndex" else ""
    write_table(image, name, columns, type="roi_table", index=index)


ROI = ["FieldIndex", "x_micrometer", "y_micrometer", "z_micrometer"]
ROI += ["len_x_micrometer", "len_y_micrometer", "len_z_micrometer"]


@pytest.mark.parametrize(
    ("rows", "header", "message"),
    [
        ([("a", 0, 0, 0, 5, 5, 1)], [*ROI[:4], "width", *ROI[5:]], "no column len_x"),
        ([("a", 0, "left", 0, 5, 5, 1)], ROI, "positions in y that are no numbers"),
        ([("a", 0, "", 0, 5, 5, 1), ("b", 0, 1, 0, 5, 5, 1)], ROI, "in y that are no"),
        ([("a", 900, 0, 0, 5, 5, 1)], ROI, "no region inside of the image"),
        ([("a", 0, 0, 0, -5, 5, 1)], ROI, "no region inside of the image"),
    ],
)
def test_invalid_regions_are_rejected_before_anything_is_written(
    tmp_path, rows, header, message
):
    path = tmp_path / "image.zarr"
    write_image(path)
    write_csv(open_image(path), "fields", header, *rows)
    before = sorted(tmp_path.rglob("*"))
    arguments = {"zarr_url": str(path), "regions": {"roi_table": "fields"}}
    for task in (gaussian_blur, threshold_segmentation):
        with pytest.raises(ValueError, match=f"regions.roi_table: .*{message}"):
            task(**arguments)
    assert sorted(tmp_path.rglob("*")) == before


def test_tables_and_labels_that_are_not_there_are_named(tmp_path):
    path = tmp_path / "image.zarr"
    write_image(path)
    image = open_image(path)
    add_rois(image, "fields", [(0, 0, 9, 9)])
    for regions, message in (
        (
            {"roi_table": "FOV_ROI_table"},
            "regions.roi_table: no table .*there are: fields",
        ),
        ({"mask": "organoids"}, "regions.mask: no label or table .*there are: fields"),
        ({"mask": "feilds"}, "regions.mask: .* did you mean 'fields'"),
        ({"mask": "fields"}, "regions.mask: the table 'fields' names no label image"),
        ({"roi": "fields"}, "regions.roi"),
    ):
        with pytest.raises(ValueError, match=message):
            gaussian_blur(zarr_url=str(path), regions=regions)


def test_a_parquet_table_without_pyarrow_names_the_requirement(tmp_path, monkeypatch):
    path = tmp_path / "image.zarr"
    write_image(path, "yx")
    write_table(open_image(path), "stored", {"a": [1, 2]}, backend="parquet")
    assert read_table(open_image(path), "stored").columns["a"].tolist() == [1, 2]
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(ModuleNotFoundError, match="needs pyarrow: add it to the dep"):
        read_table(open_image(path), "stored")


UNITS = {"nanometer": 1e3, "micron": 1.0, "\u03bcm": 1.0, "\u00b5m": 1.0, "mm": 1e-3}
UNITS |= {"angstrom": 1e4, "NANOMETER": 1e3, None: 1.0}


def set_units(path, unit, factor=1.0):
    """Write units of the axes, without types, and sizes that many times as large."""
    attributes = json.loads((path / ".zattrs").read_text())
    multiscale = attributes["multiscales"][0]
    for axis in multiscale["axes"]:
        axis.pop("type")
        axis.pop("unit", None)
        if unit and axis["name"] in "zyx":
            axis["unit"] = unit
    for dataset in multiscale["datasets"]:
        scale = dataset["coordinateTransformations"][0]["scale"]
        scale[1:] = [size * factor for size in scale[1:]]
    (path / ".zattrs").write_text(json.dumps(attributes))


@pytest.mark.parametrize("unit", UNITS)
def test_roi_tables_are_in_micrometers_for_all_units_of_the_image(tmp_path, unit):
    path = tmp_path / "image.zarr"
    write_image(path)
    add_rois(open_image(path), "fields", [(0, 10, 9, 20)])
    (expected,) = read_rois(open_image(path), "fields")
    set_units(path, unit, UNITS[unit])
    image = open_image(path)
    (roi,) = read_rois(image, "fields")
    assert roi.region == expected.region
    write_roi_table(image, "again", [roi])
    (roi,) = read_rois(image, "again")
    assert roi.region == expected.region
    rows = [
        (path / "tables" / name / "table.csv").read_text().splitlines()[1]
        for name in ("fields", "again")
    ]
    numbers = [[float(cell) for cell in row.split(",")[1:]] for row in rows]
    assert numbers[1] == pytest.approx(numbers[0])


@pytest.mark.parametrize("unit", ["pixel", "parrot", "second", 5])
def test_an_image_in_an_unknown_unit_has_no_roi_tables(tmp_path, unit):
    path = tmp_path / "image.zarr"
    write_image(path)
    add_rois(open_image(path), "fields", [(0, 0, 9, 9)])
    set_units(path, unit)
    with pytest.raises(
        ValueError, match=r"regions.roi_table: .* has the axis z in a unit"
    ):
        gaussian_blur(zarr_url=str(path), regions={"roi_table": "fields"})
    gaussian_blur(zarr_url=str(path))  # which needs none


def test_regions_of_a_registered_plate_are_where_they_have_been_moved_to(tmp_path):
    """As with fractal-tasks-core, which keeps the old positions beside the new ones."""
    path = tmp_path / "image.zarr"
    write_image(path, "yx")
    header = [*ROI, "x_micrometer_original", "y_micrometer_original", "translation_x"]
    row = ("1", 1, 2, 0, 4, 5, 1, 90, 90, -89)
    write_csv(open_image(path), "registered", header, row)
    (roi,) = read_rois(open_image(path), "registered")
    assert roi.region == (slice(4, 14), slice(2, 10))


@pytest.mark.parametrize("version", VERSIONS)
def test_a_table_without_rows_is_a_table(tmp_path, version):
    path = tmp_path / "image.zarr"
    pixels = write_image(path, "cyx", version)
    image = open_image(path)
    write_csv(image, "fields", ROI)
    with derive_label(image, "nothing"):
        pass
    for regions in ({"roi_table": "fields"}, {"mask": "nothing"}):
        gaussian_blur(zarr_url=str(path), regions=regions, overwrite=True)
        threshold_segmentation(
            zarr_url=str(path),
            regions=regions,
            masking_roi_table="boxes",
            overwrite=True,
        )
        measure_features(zarr_url=str(path), regions=regions, overwrite=True)
        blurred = open_image(tmp_path / "image_blurred.zarr")
        assert (blurred.levels[0][...] == pixels).all()
        assert not np.asarray(open_label(image, "objects").levels[0]).any()
        assert len(read_table(image, "features").columns["label"]) == 0
        assert read_rois(image, "boxes") == label_rois(open_label(image, "objects"))
    container = ngio.open_ome_zarr_container(path)
    for name in ("fields", "boxes"):
        assert container.get_table(name).rois() == []
    assert len(container.get_table("features").dataframe) == 0


@pytest.mark.parametrize("sizes", [{}, {"z": 1}])
@pytest.mark.parametrize("version", VERSIONS)
def test_a_new_image_has_the_regions_and_conditions_of_its_origin(
    tmp_path, version, sizes
):
    path = tmp_path / "image.zarr"
    write_image(path, "czyx", version)
    image = open_image(path)
    add_rois(image, "fields", [(0, 0, 20, 32), (20, 8, 20, 3)])
    write_table(image, "condition_table", {"drug": ["x"]}, type="condition_table")
    threshold_segmentation(zarr_url=str(path), masking_roi_table="boxes")
    measure_features(zarr_url=str(path))

    with derive_image(image, tmp_path / "new.zarr", sizes=sizes):
        pass

    new = open_image(tmp_path / "new.zarr")
    assert table_names(new) == ["fields", "condition_table"]
    assert read_table(new, "condition_table").columns == {"drug": ["x"]}
    expected = [roi.region for roi in read_rois(image, "fields")]
    if sizes:
        expected = [(slice(0, 1), *region[1:]) for region in expected]
    assert [roi.region for roi in read_rois(new, "fields")] == expected
    assert new.shape[1] == (1 if sizes else 5)
    container = ngio.open_ome_zarr_container(new.path)
    assert len(container.get_table("fields").rois()) == 2


def test_a_changed_table_is_another_step(tmp_path):
    path = tmp_path / "image.zarr"
    write_image(path)
    image = open_image(path)
    add_rois(image, "fields", [(0, 0, 20, 32)])
    arguments = {"zarr_url": str(path), "regions": {"roi_table": "fields"}}
    assert gaussian_blur(**arguments) == gaussian_blur(**arguments)
    table = path / "tables" / "fields" / "table.csv"
    table.write_text(table.read_text().replace("16.0", "12.0"))
    with pytest.raises(FileExistsError):
        gaussian_blur(**arguments)


def test_tables_of_units_that_run_at_the_same_time_are_all_listed(tmp_path):
    path = tmp_path / "image.zarr"
    write_image(path)
    code = (
        "import sys\nfrom my_fractal_tasks.kit import open_image, write_table\n"
        "for n in range(5): write_table(open_image(sys.argv[1]), "
        "f'{sys.argv[2]}{n}', {'a': [n]})"
    )
    processes = [
        subprocess.Popen([sys.executable, "-c", code, path, letter])
        for letter in "abcd"
    ]
    assert [process.wait() for process in processes] == [0] * 4
    assert sorted(table_names(open_image(path))) == [
        f"{letter}{n}" for letter in "abcd" for n in range(5)
    ]


def test_names_that_look_like_numbers_stay_names(tmp_path):
    path = tmp_path / "image.zarr"
    write_image(path)
    image = open_image(path)
    columns = {"well": ["01", "02"], "dose": ["1", "2.5"], "none": [None, 3]}
    columns |= {"text": ["", "a,b"], "flag": [True, False]}
    write_table(image, "conditions", columns)
    found = read_table(image, "conditions").columns
    assert found["well"].tolist() == ["01", "02"]
    assert found["dose"].tolist() == ["1", "2.5"]
    assert math.isnan(found["none"][0])
    assert found["text"].tolist() == ["", "a,b"]
    assert found["flag"].tolist() == [True, False]
    with (path / "tables" / "conditions" / "table.csv").open(newline="") as file:
        assert len(list(csv.reader(file))) == 3
    json.loads((path / "tables" / ".zattrs").read_text())


RESULTS = {
    "fractions": lambda pixels: pixels / (pixels.max() + 1.0),
    "small fractions of floats": lambda pixels: np.full(pixels.shape, 0.25, np.float16),
    "NaN": lambda pixels: np.where(pixels > 5, np.nan, pixels),
    "infinity": lambda pixels: np.full(pixels.shape, -np.inf),
    "too large": lambda pixels: pixels.astype(np.int64) + 70_000,
    "negative": lambda pixels: -pixels.astype(np.int32) - 1,
    "complex": lambda pixels: pixels.astype(complex),
    "texts": lambda pixels: pixels.astype(str),
}


@pytest.mark.parametrize("name", RESULTS)
@pytest.mark.parametrize("mask", [False, True])
def test_blocks_and_regions_reject_the_same_results(tmp_path, name, mask):
    path = tmp_path / "image.zarr"
    write_image(path, "cyx")
    image = open_image(path)
    whole = tuple(slice(0, n) for n in image.shape[1:])
    label = None
    if mask:
        with derive_label(image, "cells") as label:
            label.levels[0][...] = 1
    rois = [Roi("all", whole, 1, label and open_label(image, "cells"))]
    reasons = []
    for fill in (
        lambda target: map_blocks(RESULTS[name], image, target),
        lambda target: map_regions(RESULTS[name], image, target, rois),
    ):
        with (
            pytest.raises(ValueError, match=r"uint16") as error,
            derive_image(image, tmp_path / "new.zarr") as target,
        ):
            fill(target)
        reasons.append(str(error.value).split(":")[-1])
        assert not (tmp_path / "new.zarr").exists()
    assert reasons[0] == reasons[1]


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.float32])
def test_blocks_and_regions_accept_the_same_results(tmp_path, dtype):
    path = tmp_path / "image.zarr"
    pixels = write_image(path, "yx")
    image = open_image(path)
    whole = tuple(slice(0, n) for n in image.shape)
    expected = (pixels > 500).astype(dtype)
    for name, fill in (
        (
            "a",
            lambda target: map_blocks(lambda p: (p > 500).astype(dtype), image, target),
        ),
        (
            "b",
            lambda target: map_regions(
                lambda p: (p > 500).astype(dtype), image, target, [Roi("all", whole)]
            ),
        ),
    ):
        with derive_image(image, tmp_path / name) as target:
            fill(target)
        assert (np.asarray(open_image(tmp_path / name).levels[0]) == expected).all()
