"""Each image gets the facts of its own TIFFs; those that are not understood are rejected."""

import numpy as np
import pytest
import tifffile
from my_fractal_tasks.convert_tiffs_compute import convert_tiffs_compute
from my_fractal_tasks.convert_tiffs_init import convert_tiffs_init
from my_fractal_tasks.kit import open_image

STACK = np.random.default_rng(0).integers(1, 4000, (3, 20, 30), np.uint16)
MICRO = {"PhysicalSizeXUnit": "µm", "PhysicalSizeYUnit": "µm"}
HALF = {"PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5} | MICRO


def convert(folder, **arguments):
    """Convert a folder; return the images by their place in the plate."""
    arguments = {"zarr_dir": str(folder), "tiff_dir": str(folder)} | arguments
    items = convert_tiffs_init(**arguments)["parallelization_list"]
    for item in items:
        convert_tiffs_compute(**item)
    images = [open_image(item["zarr_url"]) for item in items]
    return {"".join(image.path.parts[-3:-1]): image for image in images}


def write_ome(path, pixels=STACK, axes="ZYX", **metadata):
    metadata = {"axes": axes} | HALF | metadata
    tifffile.imwrite(
        path, pixels, ome=True, photometric="minisblack", metadata=metadata
    )


def write_imagej(path, pixels=STACK, axes="ZYX", resolution=(2, 2), **metadata):
    metadata = {"axes": axes, "unit": "um"} | metadata
    tifffile.imwrite(
        path, pixels, imagej=True, resolution=resolution, metadata=metadata
    )


IMAGEJ = [
    ({"axes": "TYX", "finterval": 5.0, "tunit": "min"}, {"t": 300}),
    ({"axes": "TYX", "finterval": 5.0, "tunit": "ms"}, {"t": 0.005}),
    ({"axes": "TYX", "finterval": 5.0, "tunit": "seconds"}, {"t": 5}),
    ({"axes": "TYX", "finterval": 5.0}, {"t": 5}),
    (
        {"spacing": 0.5, "unit": "nm", "zunit": "um", "resolution": (0.002, 0.002)},
        {"z": 0.5, "y": 0.5},
    ),
    (
        {"unit": "nm", "yunit": "um", "resolution": (0.002, 2.0), "spacing": 900},
        {"y": 0.5, "x": 0.5, "z": 0.9},
    ),
    ({"unit": r"\u00B5m", "spacing": 2.0}, {"z": 2, "x": 0.5}),
    (
        {"unit": "inch", "spacing": 1e-4, "resolution": (25400,) * 2},
        {"z": 2.54, "x": 1},
    ),
    ({"unit": "pixel", "spacing": 3.0}, {"z": 1, "x": 1}),
]


@pytest.mark.parametrize(("metadata", "expected"), IMAGEJ)
def test_units_of_imagej_are_read(tmp_path, metadata, expected):
    write_imagej(tmp_path / "A01.tif", **metadata)
    scale = convert(tmp_path)["A01"].scale
    assert {axis: scale[axis] for axis in expected} == pytest.approx(expected, rel=1e-4)


def planes(key, values, unit):
    return {"Plane": {key: values, f"{key}Unit": [unit] * len(values)}}


OME = [
    ({"PhysicalSizeZ": 5e-6, "PhysicalSizeZUnit": "dm"}, {"z": 0.5}),
    ({"PhysicalSizeZ": 5e-5, "PhysicalSizeZUnit": "in"}, {"z": 1.27}),
    ({"PhysicalSizeZ": 9000, "PhysicalSizeZUnit": "Å"}, {"z": 0.9}),
    ({"axes": "TYX", "TimeIncrement": 1, "TimeIncrementUnit": "d"}, {"t": 86400}),
    ({"axes": "TYX", "TimeIncrement": 2, "TimeIncrementUnit": "h"}, {"t": 7200}),
    ({"axes": "TYX"} | planes("DeltaT", [0.0, 300.1, 599.9], "s"), {"t": 299.95}),
    ({"axes": "TYX"} | planes("DeltaT", [1.0, 2.0, 3.0], "min"), {"t": 60}),
    (
        {"axes": "TYX", "TimeIncrement": 0} | planes("DeltaT", [1.0, 2.0, 3.0], "s"),
        {"t": 1},
    ),
    (planes("PositionZ", [7.0, 5.0, 3.0], "µm"), {"z": 2}),
    (planes("PositionZ", [0.0, 1e-6, 2e-6], "m"), {"z": 1}),
    (planes("PositionZ", [4.0, 4.0, 4.0], "m"), {"z": 1}),
    (planes("PositionZ", [0.0, 3.0, 6.0], "reference frame"), {"z": 1}),
]


@pytest.mark.parametrize(("metadata", "expected"), OME)
def test_units_and_planes_of_ome_are_read(tmp_path, metadata, expected):
    write_ome(tmp_path / "A01.ome.tif", **metadata)
    scale = convert(tmp_path)["A01"].scale
    assert {axis: scale[axis] for axis in expected} == pytest.approx(expected, rel=1e-6)
    assert scale["x"] == 0.5


REJECTED = [
    (write_imagej, {"spacing": -0.5}, "pixel_size_z"),
    (write_imagej, {"spacing": 0}, "pixel_size_z"),
    (write_imagej, {"spacing": 0.5, "zunit": "foo"}, "pixel_size_z"),
    (write_imagej, {"spacing": 0.5, "zunit": "mm"}, "pixel_size_z"),
    (write_imagej, {"spacing": 0.5, "zunit": "nm"}, "pixel_size_z"),
    (write_imagej, {"unit": "furlong"}, "pixel_size_xy"),
    (write_imagej, {"yunit": "mm"}, "pixel_size_xy"),
    (write_imagej, {"axes": "TYX", "finterval": -1.0}, "time_interval"),
    (write_imagej, {"axes": "TYX", "finterval": float("nan")}, "time_interval"),
    (write_imagej, {"axes": "TYX", "finterval": 1.0, "tunit": "m"}, "time_interval"),
    (write_ome, {"PhysicalSizeZ": 1, "PhysicalSizeZUnit": "Mm"}, "pixel_size_z"),
    (write_ome, {"PhysicalSizeX": 0}, "pixel_size_xy"),
    (write_ome, {"PhysicalSizeX": -0.5, "PhysicalSizeY": -0.5}, "pixel_size_xy"),
    (write_ome, {"PhysicalSizeX": "INF"}, "pixel_size_xy"),
    (write_ome, {"PhysicalSizeX": "1_0"}, "pixel_size_xy"),
    (write_ome, {"PhysicalSizeXUnit": "px"}, "pixel_size_xy"),
    (write_ome, {"PhysicalSizeX": ""}, "pixel_size_xy"),
    (
        write_ome,
        {"PhysicalSizeX": 160.0, "PhysicalSizeXUnit": "nm"}
        | {"PhysicalSizeY": 160.0, "PhysicalSizeYUnit": "cm"},
        "pixel_size_xy",
    ),
    (write_ome, {"axes": "TYX", "TimeIncrement": 0}, "time_interval"),
    (write_ome, {"axes": "TYX"} | planes("DeltaT", [0, 1, 9], "s"), "time_interval"),
    (write_ome, {"axes": "TYX"} | planes("DeltaT", [9, 5, 1], "s"), "time_interval"),
    (write_ome, {"axes": "TYX"} | planes("DeltaT", [0, 5, 10], "x"), "time_interval"),
    (write_ome, planes("PositionZ", [0.0, 1.0, 9.0], "µm"), "pixel_size_z"),
    (write_ome, planes("PositionZ", [0.0, 1.0, 2.0], "m"), "pixel_size_z"),
]


@pytest.mark.parametrize(("write", "metadata", "argument"), REJECTED)
def test_values_that_are_not_understood_are_rejected_unless_given(
    tmp_path, write, metadata, argument
):
    write(tmp_path / "A01.ome.tif", **metadata)
    with pytest.raises(ValueError, match=rf"tiff_dir: .*A01.ome.tif.* give {argument}"):
        convert(tmp_path)
    assert not list(tmp_path.glob("*.zarr"))
    image = convert(tmp_path, **{argument: 0.75})["A01"]
    axis = {"pixel_size_xy": "x", "pixel_size_z": "z", "time_interval": "t"}[argument]
    assert image.scale[axis] == 0.75


def test_a_value_that_is_not_needed_is_not_rejected(tmp_path):
    write_ome(
        tmp_path / "A01.ome.tif", STACK[0], "YX", PhysicalSizeZ=0, TimeIncrement=0
    )
    assert convert(tmp_path)["A01"].scale["x"] == 0.5


@pytest.mark.parametrize("sizes", [(0.65, 0.325), (0.325, 0.65)])
def test_each_well_has_its_own_sizes(tmp_path, sizes):
    for well, size in zip(("B02", "B03"), sizes, strict=True):
        metadata = {"PhysicalSizeX": size, "PhysicalSizeY": size}
        write_ome(tmp_path / f"{well}.ome.tif", PhysicalSizeZ=size * 3, **metadata)
    images = convert(tmp_path)
    assert [image.scale["y"] for image in images.values()] == [*sizes]
    assert [image.scale["z"] for image in images.values()] == [3 * s for s in sizes]


@pytest.mark.parametrize(
    ("first", "second", "argument"),
    [
        ({}, {"PhysicalSizeX": 0.65, "PhysicalSizeY": 0.65}, "pixel_size_xy"),
        ({"PhysicalSizeZ": 1}, {"PhysicalSizeZ": 2}, "pixel_size_z"),
        (planes("PositionZ", [0, 1, 2], "µm"), {"PhysicalSizeZ": 2}, "pixel_size_z"),
    ],
)
def test_files_of_one_image_that_differ_are_rejected(tmp_path, first, second, argument):
    write_ome(tmp_path / "A01_f1.ome.tif", **first)
    write_ome(tmp_path / "A01_f2.ome.tif", **second)
    with pytest.raises(ValueError, match=rf"A01_f1.*A01_f2.*give {argument}"):
        convert(tmp_path)
    assert not list(tmp_path.glob("*.zarr"))
    assert convert(tmp_path, **{argument: 3})
    (tmp_path / "A01_f2.ome.tif").rename(tmp_path / "A02_f1.ome.tif")
    assert len(convert(tmp_path, plate_name="wells")) == 2


def test_rounding_is_no_difference(tmp_path):
    for field, size in enumerate((0.65, 0.6500001)):
        metadata = {"PhysicalSizeX": size, "PhysicalSizeY": size}
        write_ome(tmp_path / f"A01_f{field}.ome.tif", **metadata)
    assert convert(tmp_path)["A01"].scale["x"] == 0.65


def test_planes_in_files_of_their_own_give_steps(tmp_path):
    for t in (0, 1):
        for z in (2, 4, 6):
            plane = {"PositionZ": 10 + z, "PositionZUnit": "µm"}
            plane |= {"DeltaT": 60 * t + z, "DeltaTUnit": "s"}
            name = tmp_path / f"A01_z{z}_t{t}.ome.tif"
            write_ome(name, STACK[0], "YX", Plane=plane)
    scale = convert(tmp_path)["A01"].scale
    assert (scale["z"], scale["t"]) == (2, 60)


@pytest.mark.parametrize("arrangement", ["auto", "grid", "separate", "files"])
def test_each_arrangement_gives_the_same_pixels(tmp_path, arrangement):
    with tifffile.TiffWriter(tmp_path / "A01.ome.tif", ome=True) as file:
        for n, plane in enumerate(STACK):
            place = {"PositionX": 15.0 * n, "PositionY": 0.0}
            file.write(plane, metadata={"axes": "YX", "Plane": place} | HALF)
    arguments = {"fields": {"arrangement": arrangement}}
    items = convert_tiffs_init(
        zarr_dir=str(tmp_path), tiff_dir=str(tmp_path), **arguments
    )["parallelization_list"]
    for item in items:
        convert_tiffs_compute(**item)
    pixels = [np.asarray(open_image(item["zarr_url"]).levels[0][0]) for item in items]
    if arrangement == "separate":
        assert all((a == b).all() for a, b in zip(pixels, STACK, strict=True))
    elif arrangement == "grid":
        expected = np.zeros((40, 60), np.uint16)
        for n, plane in enumerate(STACK):
            y, x = 20 * (n // 2), 30 * (n % 2)
            expected[y : y + 20, x : x + 30] = plane
        assert (pixels[0] == expected).all()
    else:
        assert (pixels[0] == np.hstack(STACK)).all()


def test_names_of_channels_are_those_of_each_image(tmp_path):
    names = {"A01": ["DAPI", "GFP"], "A02": ["GFP", "DAPI"]}
    for well, channels in names.items():
        pixels = STACK[[0, 1]] if well == "A01" else STACK[[1, 0]]
        metadata = {"Channel": {"Name": channels}}
        write_ome(tmp_path / f"{well}.ome.tif", pixels, "CYX", **metadata)
    for well, image in convert(tmp_path).items():
        assert image.channel_names == names[well]
        ids = [channel["wavelength_id"] for channel in image.channels]
        for name, wavelength, plane in (("DAPI", "A01_C01", 0), ("GFP", "A01_C02", 1)):
            index = image.channel_names.index(name)
            assert ids[index] == wavelength
            assert (image.levels[0][index] == STACK[plane]).all()


def test_files_of_one_image_with_other_channels_are_rejected(tmp_path):
    for field, names in ((1, ["DAPI", "GFP"]), (2, ["GFP", "DAPI"])):
        metadata = {"Channel": {"Name": names}}
        path = tmp_path / f"A01_f{field}.ome.tif"
        write_ome(path, STACK[:2], "CYX", **metadata)
    with pytest.raises(
        ValueError, match=r"'DAPI' in .*_f1.*'GFP' in .*_f2.*channel_names"
    ):
        convert(tmp_path)
    image = convert(tmp_path, channel_names=["a", "b"])["A01"]
    assert image.channel_names == ["a", "b"]


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["DAPI", "DAPI", "DAPI_1"], ["DAPI", "DAPI_2", "DAPI_1"]),
        (["1", "", "GFP"], ["1", "1_1", "GFP"]),
        (["DAPI", "", ""], ["DAPI", "1", "2"]),
    ],
)
def test_names_of_channels_are_unique_and_none_is_lost(tmp_path, names, expected):
    path = tmp_path / "A01.ome.tif"
    write_ome(path, STACK, "CYX", Channel={"Name": names})
    assert convert(tmp_path)["A01"].channel_names == expected


@pytest.mark.parametrize("names", [["a"], ["a", "a"], ["a", ""], ["a", "b", "c"]])
def test_given_names_of_channels_fit_or_are_rejected(tmp_path, names):
    write_ome(tmp_path / "A01.ome.tif", STACK[:2], "CYX")
    with pytest.raises(ValueError, match=r"channel_names: .*has 2 channels"):
        convert(tmp_path, channel_names=names)


def write_positions(folder, unit="µm", **metadata):
    for n in (1, 2):
        place = {"PositionX": 15.0 * n, "PositionY": 0.0}
        place |= {"PositionXUnit": unit, "PositionYUnit": unit}
        path = folder / f"A01_f{n}.ome.tif"
        write_ome(path, STACK[n], "YX", Plane=place, **metadata)


def test_positions_without_the_size_of_a_pixel_are_rejected(tmp_path):
    for n in (1, 2):
        place = {"PositionX": 15.0 * n, "PositionY": 0.0}
        metadata = {"axes": "YX", "Plane": place}
        tifffile.imwrite(tmp_path / f"A01_f{n}.ome.tif", STACK[n], metadata=metadata)
    with pytest.raises(ValueError, match=r"pixel_size_xy: .*give it"):
        convert(tmp_path)
    assert not list(tmp_path.glob("*.zarr"))
    image = convert(tmp_path, pixel_size_xy=0.5)["A01"]
    assert (image.levels[0][0] == np.hstack(STACK[1:])).all()


@pytest.mark.parametrize("unit", ["reference frame", "pixel", "furlong"])
def test_positions_in_no_known_length_are_rejected_unless_they_are_not_used(
    tmp_path, unit
):
    write_positions(tmp_path, unit)
    with pytest.raises(ValueError, match=r"fields.arrangement: .*A01_f1.*grid or csv"):
        convert(tmp_path)
    image = convert(tmp_path, fields={"arrangement": "grid"})["A01"]
    assert (image.levels[0][0] == np.hstack(STACK[1:])).all()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"arrangement": "files", "positions_csv": "p.csv"}, "positions_csv: .*csv"),
        ({"arrangement": "grid", "positions_csv": "p.csv"}, "positions_csv: .*csv"),
        ({"arrangement": "separate", "positions_csv": "p.csv"}, "positions_csv"),
        ({"arrangement": "csv"}, "positions_csv: give it"),
        ({"arrangement": "files", "columns": 2}, "columns: .*grid"),
        ({"columns": 2}, "columns: .*grid"),
        ({"order": "snake"}, "order: .*grid"),
        ({"overlap": 10}, "overlap: .*grid"),
        ({"arrangement": "grid", "flip_y": True}, "flip_y: .*files or csv"),
        ({"arrangement": "separate", "flip_x": True}, "flip_x: .*files or csv"),
    ],
)
def test_options_of_fields_that_are_not_used_are_rejected(tmp_path, fields, message):
    write_positions(tmp_path)
    (tmp_path / "p.csv").write_text("field,x,y\n1,0,0\n2,0,10\n")
    if "positions_csv" in fields:
        fields = fields | {"positions_csv": str(tmp_path / "p.csv")}
    with pytest.raises(ValueError, match=f"fields.{message}"):
        convert(tmp_path, fields=fields)
    assert not list(tmp_path.glob("*.zarr"))


def test_positions_that_are_given_count_more_than_those_of_the_files(tmp_path):
    write_positions(tmp_path)
    (tmp_path / "p.csv").write_text("field,x,y\n1,0,0\n2,0,10\n")
    image = convert(tmp_path, fields={"positions_csv": str(tmp_path / "p.csv")})["A01"]
    assert (image.levels[0][0] == np.vstack(STACK[1:])).all()


def test_files_of_a_field_at_other_places_are_rejected(tmp_path):
    for field, channel, x in ((1, 0, 0), (1, 1, 8), (2, 0, 15), (2, 1, 15)):
        path = tmp_path / f"A01_f{field}_c{channel}.ome.tif"
        place = {"PositionX": float(x), "PositionY": 0.0}
        write_ome(path, STACK[0], "YX", Plane=place)
    with pytest.raises(ValueError, match=r"field 1 lies at x 0 .*_c0.* at 8 by .*_c1"):
        convert(tmp_path)


@pytest.mark.parametrize(
    ("names", "arguments", "message"),
    [
        (["A01.tif"], {"skip": ["*_thumb*"]}, "skip: .*'\\*_thumb\\*'"),
        (["img_0_a_0.tif"], {"file_names": "micromanager"}, "well: "),
        (
            ["B3-Site_0/img_0_a_0.tif"],
            {"file_names": "micromanager", "well": "A1"},
            "well: 'A1' is given, and .* says B",
        ),
        (
            ["r01c01f01p01-ch1sk1fk1fl1.tiff"],
            {"file_names": "operetta", "pattern": "{row}{column}.tif"},
            "pattern: .*operetta",
        ),
    ],
)
def test_arguments_that_are_not_used_are_rejected(tmp_path, names, arguments, message):
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        tifffile.imwrite(tmp_path / name, STACK[0])
    with pytest.raises(ValueError, match=message):
        convert(tmp_path, **arguments)
    assert not list(tmp_path.glob("*.zarr"))


def test_a_layout_of_other_wells_is_rejected(tmp_path):
    tifffile.imwrite(tmp_path / "A01.tif", STACK[0])
    layout = tmp_path / "layout.csv"
    layout.write_text("well,drug\nB02,none\n")
    with pytest.raises(ValueError, match=r"plate_layout: .*nothing of a well"):
        convert(tmp_path, plate_layout=str(layout))
    layout.write_text("well,drug\nB02,none\nA01,none\n")
    assert convert(tmp_path, plate_layout=str(layout))


def test_a_document_type_in_xml_is_rejected(tmp_path):
    text = '<?xml version="1.0"?><!DOCTYPE OME [<!ENTITY b "c">]><OME>&b;</OME>'
    tifffile.imwrite(tmp_path / "A01.tif", STACK[0], metadata=None, description=text)
    with pytest.raises(ValueError, match=r"A01.tif cannot be read: .* document type"):
        convert(tmp_path)
