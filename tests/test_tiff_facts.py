"""Each image gets the facts of its own TIFFs; those that are not understood are rejected."""

from types import SimpleNamespace

import numpy as np
import pytest
import tifffile
from my_fractal_tasks.convert_tiffs_compute import convert_tiffs_compute
from my_fractal_tasks.convert_tiffs_init import convert_tiffs_init
from my_fractal_tasks.kit import open_image
from my_fractal_tasks.kit.regions import read_rois
from my_fractal_tasks.kit.tiff.metadata import metamorph_facts

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


def write_imagej(
    path, pixels=STACK, axes="ZYX", resolution=(2, 2), resolutionunit=1, **metadata
):
    options = {"resolution": resolution, "resolutionunit": resolutionunit}
    metadata = {"axes": axes, "unit": "um"} | metadata
    tifffile.imwrite(path, pixels, imagej=True, metadata=metadata, **options)


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
    ({"unit": r"\\u00b5m", "spacing": 2.0}, {"z": 2, "x": 0.5}),
    (
        {"unit": "inch", "spacing": 1e-4, "resolution": (25400,) * 2},
        {"z": 2.54, "x": 1},
    ),
    ({"unit": "pixel", "spacing": 3.0}, {"z": 1, "x": 1}),
    ({"resolutionunit": "INCH"}, {"x": 0.5}),  # of a screen: ImageJ's unit counts
    (
        {"unit": "", "resolution": (2e4, 2e4), "resolutionunit": "CENTIMETER"},
        {"x": 0.5},
    ),
]


@pytest.mark.parametrize(("metadata", "expected"), IMAGEJ)
def test_units_of_imagej_are_read(tmp_path, metadata, expected):
    write_imagej(tmp_path / "A01.tif", **metadata)
    scale = convert(tmp_path)["A01"].scale
    assert {axis: scale[axis] for axis in expected} == pytest.approx(expected, rel=1e-4)


def test_a_size_that_no_file_says_has_no_unit_and_is_in_the_log(tmp_path, caplog):
    caplog.set_level("INFO")
    write_imagej(tmp_path / "A01.tif")
    axes = convert(tmp_path)["A01"].metadata["multiscales"][0]["axes"]
    units = {axis["name"]: axis.get("unit") for axis in axes}
    assert (units["z"], units["y"], units["x"]) == (None, "micrometer", "micrometer")
    said = "pixel_x 0.5, pixel_y 0.5, pixel_z is assumed to be 1: A01/0"
    assert said in caplog.messages
    said = (
        "channels 0; time points 1; z planes 3; fields 1, of 30 x 20 pixels: all images"
    )
    assert said in caplog.messages


def test_the_description_of_tifffile_is_read_as_that_of_imagej(tmp_path):
    metadata = {"axes": "ZYX", "unit": "um", "spacing": 2.5}
    options = {"resolution": (4, 4), "photometric": "minisblack"}
    tifffile.imwrite(tmp_path / "A01.tif", STACK, metadata=metadata, **options)
    scale = convert(tmp_path)["A01"].scale
    assert (scale["z"], scale["y"], scale["x"]) == (2.5, 0.25, 0.25)


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
    (
        write_imagej,
        {"resolution": (2e4, 2e4), "resolutionunit": "CENTIMETER"},
        "pixel_size_xy",
    ),
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


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["DAPI", "GFP"], ["DAPI", "GFP", "RFP"]),
        (["RFP", "DAPI"], ["RFP", "DAPI", "GFP"]),
        (["DAPI", "Cy5"], ["DAPI", "Cy5", "GFP"]),
        (["", ""], ["0", "1", "2"]),
    ],
)
def test_a_channel_without_files_has_a_name_of_its_acquisition(
    tmp_path, names, expected
):
    channels = ["DAPI", "GFP", "RFP"]
    write_ome(tmp_path / "A01.ome.tif", STACK, "CYX", Channel={"Name": channels})
    write_ome(tmp_path / "A02.ome.tif", STACK[:2], "CYX", Channel={"Name": names})
    images = convert(tmp_path, missing="fill")
    assert images["A01"].channel_names == channels
    assert images["A02"].channel_names == expected
    assert not images["A02"].levels[0][2].any()


@pytest.mark.parametrize("axis", "TCZ")
@pytest.mark.parametrize("lost", [0, 1])
def test_files_that_a_set_lacks_are_listed(tmp_path, axis, lost):
    """The metadata of each file of a set name all of them."""
    blocks = "".join(
        f'<TiffData First{axis}="{n}" IFD="0" PlaneCount="1">'
        f'<UUID FileName="A01_{n}.ome.tif">urn:uuid:{n}</UUID></TiffData>'
        for n in range(2)
    )
    sizes = " ".join(f'Size{name}="{1 + (name == axis)}"' for name in "TCZ")
    channels = "".join(
        f'<Channel ID="Channel:0:{n}"/>' for n in range(1 + (axis == "C"))
    )
    for n in range(2):
        tifffile.imwrite(
            tmp_path / f"A01_{n}.ome.tif",
            STACK[n],
            metadata=None,
            description='<?xml version="1.0"?><OME xmlns="http://www.openmicroscopy.org/'
            f'Schemas/OME/2016-06" UUID="urn:uuid:{n}"><Image ID="Image:0"><Pixels '
            f'ID="Pixels:0" DimensionOrder="XYZCT" Type="uint16" SizeX="30" SizeY="20" '
            f"{sizes}>{channels}{blocks}</Pixels></Image></OME>",
        )
    pattern = "{row}{column}_*"
    assert (
        convert(tmp_path, pattern=pattern)["A01"].levels[0][...].any((-2, -1))
    ).all()
    (tmp_path / f"A01_{lost}.ome.tif").unlink()
    with pytest.raises(ValueError, match=r"missing planes, 1 in all: A01, "):
        convert(tmp_path, pattern=pattern, plate_name="partial")
    image = convert(tmp_path, pattern=pattern, plate_name="filled", missing="fill")
    pixels = np.squeeze(image["A01"].levels[0][...])
    assert (pixels[1 - lost] == STACK[1 - lost]).all()
    assert not pixels[lost].any()


@pytest.mark.parametrize("names", [["a"], ["a", "a"], ["a", ""], ["a", "b", "c"]])
def test_given_names_of_channels_fit_or_are_rejected(tmp_path, names):
    write_ome(tmp_path / "A01.ome.tif", STACK[:2], "CYX")
    with pytest.raises(ValueError, match=r"channel_names: .*acquisition 0 is 2"):
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
            "well: 'A01' is given, and .* says B",
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
    layout.write_text("well,drug\n")
    with pytest.raises(ValueError, match=r"plate_layout: .*has no rows"):
        convert(tmp_path, plate_layout=str(layout))
    layout.write_text("well,drug\nB02,none\nA01,none\n")
    assert convert(tmp_path, plate_layout=str(layout))


def test_a_document_type_in_xml_is_rejected(tmp_path):
    text = '<?xml version="1.0"?><!DOCTYPE OME [<!ENTITY b "c">]><OME>&b;</OME>'
    tifffile.imwrite(tmp_path / "A01.tif", STACK[0], metadata=None, description=text)
    with pytest.raises(ValueError, match=r"A01.tif cannot be read: .* document type"):
        convert(tmp_path)


IMAGE = """<Image Version="1"><id>0</id><State>Ok</State><URL>{url}</URL><Row>2</Row><Col>3</Col>
<FieldID>{field}</FieldID><PlaneID>{z}</PlaneID><TimepointID>0</TimepointID>
<ChannelID>{channel}</ChannelID>{own}<PositionX Unit="m">{x}</PositionX>
<PositionY Unit="m">{y}</PositionY><AbsPositionZ Unit="m">0.1</AbsPositionZ>
<PositionZ Unit="m">{height}</PositionZ>
<MeasurementTimeOffset Unit="s">0</MeasurementTimeOffset></Image>"""
OF_CHANNEL = """<ChannelName>{name}</ChannelName><ImageResolutionX Unit="m">9.93e-07
</ImageResolutionX><ImageResolutionY Unit="m">9.93e-07</ImageResolutionY>"""


def write_harmony(folder, index="Index.idx.xml", *, compact=False):
    """Two fields below each other, two channels, two planes; return pixels by field."""
    folder.mkdir(parents=True)
    pixels, images = np.random.default_rng(1).integers(1, 99, (2, 2, 2, 20, 30)), ""
    names = "DAPI", "Alexa 488"
    for field, channel, z in np.ndindex(2, 2, 2):
        url = f"r02c03f{field + 1:02}p{z + 1:02}-ch{channel + 1}sk1fk1fl1.tiff"
        if compact:
            url = f"r02c03f{field + 1:02}p{z + 1:02}-ch{channel + 1:02}t01.tiff"
        own = "" if compact else OF_CHANNEL.format(name=names[channel])
        place = {"x": 1e-4, "y": -20 * 9.93e-7 * field, "height": 1.5e-6 * z}
        images += IMAGE.format(
            url=url, field=field + 1, z=z + 1, channel=channel + 1, own=own, **place
        )
        tifffile.imwrite(
            folder / url,
            pixels[field, channel, z].astype(np.uint16),
            resolution=(1550.3, 1550.3),
            resolutionunit="CENTIMETER",
            metadata=None,
        )
    maps = "".join(
        f'<Entry ChannelID="{n + 1}">{OF_CHANNEL.format(name=name)}</Entry>'
        for n, name in enumerate(names)
    )
    namespace = "http://www.perkinelmer.com/PEHH/HarmonyV5"
    if index:
        maps = f"<Maps><Map>{maps}</Map></Maps>" if compact else ""
        text = f"{maps}<Images>{images}</Images>"
        text = f'<EvaluationInputData xmlns="{namespace}">{text}</EvaluationInputData>'
        (folder / index).write_text('\ufeff<?xml version="1.0"?>' + text, "utf-8")
    return pixels


@pytest.mark.parametrize("file_names", ["operetta", "pattern"])
@pytest.mark.parametrize(
    ("index", "compact"), [("Index.idx.xml", False), ("Index.xml", True)]
)
def test_the_index_of_an_operetta_describes_its_images(
    tmp_path, file_names, index, compact
):
    pixels = write_harmony(tmp_path / "Images", index, compact=compact)
    end = "t01.tiff" if compact else "sk1fk*"
    pattern = "r{row_number}c{column}f{field}p{z}-ch{channel}" + end
    arguments = {"pattern": pattern} if file_names == "pattern" else {}
    folder = tmp_path / "Images" if file_names == "pattern" else tmp_path
    image = convert(tmp_path, tiff_dir=str(folder), file_names=file_names, **arguments)[
        "B03"
    ]
    assert image.channel_names == ["DAPI", "Alexa 488"]
    assert image.scale == pytest.approx({"c": 1, "z": 1.5, "y": 0.993, "x": 0.993})
    # Its stage counts upwards.
    assert (image.levels[0][...] == np.concatenate(pixels, axis=-2)).all()


def test_the_camera_of_an_operetta_does_not_say_the_size_of_a_pixel(tmp_path):
    write_harmony(tmp_path / "Images", index="")
    image = convert(tmp_path, file_names="operetta")["B03"]
    assert image.scale["x"] == 1
    assert image.channel_names == ["1", "2"]
    image = convert(
        tmp_path, file_names="operetta", pixel_size_xy=0.5, plate_name="given"
    )["B03"]
    assert image.scale["x"] == 0.5


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('Unit="m">9.93e-07', 'Unit="foo">9.93e-07', "Index.idx.xml.*pixel_size_xy"),
        ("9.93e-07", "0", "Index.idx.xml.*not positive; give pixel_size_xy"),
        ("</EvaluationInputData>", "", "Index.idx.xml cannot be read"),
        ("<EvaluationInputData ", "<!DOCTYPE a><EvaluationInputData ", "document type"),
    ],
)
def test_an_index_that_is_not_understood_is_rejected(tmp_path, old, new, message):
    write_harmony(tmp_path / "Images")
    index = tmp_path / "Images" / "Index.idx.xml"
    index.write_text(index.read_text("utf-8").replace(old, new), "utf-8")
    with pytest.raises(ValueError, match=message):
        convert(tmp_path, file_names="operetta")
    assert not list(tmp_path.glob("*.zarr"))


BTS = 'xmlns:bts="http://www.yokogawa.co.jp/BTS/BTSSchema/1.0"'


def test_the_index_of_a_yokogawa_cv_describes_its_images(tmp_path):
    records = ""
    for t, field, z in np.ndindex(2, 2, 2):
        name = f"P_B03_T{t + 1:04}F{field + 1:03}L01A01Z{z + 1:02}C01.tif"
        place = f'bts:X="100" bts:Y="{-13 * field}" bts:Z="{1.2 * z}"'
        time = f"2026-01-01T00:0{2 * t}:0{z}.5+01:00"
        records += f'<bts:MeasurementRecord bts:Type="IMG" bts:Time="{time}" '
        records += f'{place} bts:Ch="1">{name}</bts:MeasurementRecord>'
        tifffile.imwrite(tmp_path / name, STACK[field], resolution=(72, 72))
    records += '<bts:MeasurementRecord bts:Type="ERR" bts:X="0" bts:Y="0"/>'
    data = f"<bts:MeasurementData {BTS}>{records}</bts:MeasurementData>"
    (tmp_path / "MeasurementData.mlf").write_text(data)
    keys = 'bts:HorizontalPixelDimension="0.65" bts:VerticalPixelDimension="0.65"'
    detail = f'<bts:MeasurementChannel bts:Ch="1" {keys}/>'
    detail = f"<bts:MeasurementDetail {BTS}>{detail}</bts:MeasurementDetail>"
    (tmp_path / "MeasurementDetail.mrf").write_text(detail)
    image = convert(tmp_path, file_names="yokogawa_cv")["B03"]
    scale = {axis: image.scale[axis] for axis in "tzyx"}
    assert scale == pytest.approx({"t": 120, "z": 1.2, "y": 0.65, "x": 0.65})
    assert (image.levels[0][1, 0, 1] == np.vstack(STACK[:2])).all()
    assert image.channel_names == ["A01_C01"]
    (tmp_path / "MeasurementData.mlf").write_text(data.replace("+01:00", " o'clock"))
    match = r"MeasurementData\.mlf: Time is .*; give time_interval"
    with pytest.raises(ValueError, match=match):
        convert(tmp_path, file_names="yokogawa_cv", overwrite=True)


def test_an_incell_says_the_size_of_its_pixels(tmp_path):
    name = "B - 3(fld 1 wv DAPI - DAPI).tif"
    tifffile.imwrite(tmp_path / name, STACK[0], resolution=(9999, 9999))
    (tmp_path / "plate.xdce").write_text(
        '<ImageStack><ObjectiveCalibration pixel_width="0.65" pixel_height="0.65"/>'
        f'<Images><Image filename="{name}"><Identifier/></Image></Images></ImageStack>'
    )
    assert convert(tmp_path, file_names="incell")["B03"].scale["x"] == 0.65
    xml = (tmp_path / "plate.xdce").read_text()
    other = '<ObjectiveCalibration pixel_width="0.3" pixel_height="0.3"/><Images>'
    (tmp_path / "plate.xdce").write_text(xml.replace("<Images>", other))
    match = r"plate\.xdce has the pixel sizes of several .*; give pixel_size_xy"
    with pytest.raises(ValueError, match=match):
        convert(tmp_path, file_names="incell", overwrite=True)


def test_distances_of_a_stack_of_metamorph_that_differ_are_rejected():
    for distances, expected in (([0.5, 0.5], 0.5), ([0.5, 0.0], 0.5), ([0.0], None)):
        assert stack_facts(distances).pixel_z == expected
    assert "0.5, 2.0" in str(stack_facts([2.0, 0.5]).pixel_z)


def stack_facts(distances):
    stack = {"ZDistance": distances, "CalibrationUnits": "um"}
    file = SimpleNamespace(is_metaseries=False, is_stk=True, stk_metadata=stack)
    (facts,) = metamorph_facts(file)
    return facts


def write_plate(folder, *, without):
    """Two wells, fields, channels and planes, but those that `without` says."""
    for well, field, channel, z in np.ndindex(2, 2, 2, 2):
        name = f"A0{well + 1}_f{field}_c{'ab'[channel]}_z{z}.tif"
        if not any(part in name for part in without):
            tifffile.imwrite(folder / name, STACK[field] + z)


MISSING = [
    (["A02_f1_ca_z1"], 1, "A02, acquisition 0, field 1: t 0 channel a z 1"),
    (["A02_f1_cb"], 2, "A02, acquisition 0, field 1: t 0 channel b z 0, 1"),
    (["A02_f1"], 4, "A02, acquisition 0, field 1"),
    (["A02_f0_ca_z0", "A02_f1"], 5, "field 0: t 0 channel a z 0; A02.* field 1"),
]


@pytest.mark.parametrize(("without", "n_planes", "text"), MISSING)
def test_planes_that_are_missing_are_listed_skipped_or_filled(
    tmp_path, caplog, without, n_planes, text
):
    write_plate(tmp_path, without=without)
    message = (
        rf"tiff_dir: missing planes, {n_planes} in all: .*{text}\. The argument missing"
    )
    with pytest.raises(ValueError, match=message):
        convert(tmp_path)
    assert not list(tmp_path.glob("*.zarr"))
    (whole,) = convert(tmp_path, missing="skip").values()
    assert whole.path.parts[-3:-1] == ("A", "01")
    assert sorted(p.name for p in (tmp_path / "plate.zarr" / "A").glob("0*")) == ["01"]
    caplog.clear()
    images = convert(tmp_path, missing="fill", plate_name="filled")
    (warning,) = [r for r in caplog.messages if "missing planes" in r]
    assert f"missing planes, {n_planes} in all" in warning
    for well, image in images.items():
        expected = np.zeros((2, 2, 20, 60), np.uint16)
        for field, channel, z in np.ndindex(2, 2, 2):
            name = f"{well}_f{field}_c{'ab'[channel]}_z{z}.tif"
            if (tmp_path / name).exists():
                x = 30 * field
                expected[channel, z, :, x : x + 30] = STACK[field] + z
        assert (image.levels[0][...] == expected).all()


def test_each_missing_field_is_listed_where_fields_are_images(tmp_path):
    write_plate(tmp_path, without=["A02_f1"])
    fields = {"arrangement": "separate"}
    with pytest.raises(ValueError, match=r"missing planes, 4 in all: A02.* field 1"):
        convert(tmp_path, fields=fields)
    arguments = {"zarr_dir": str(tmp_path), "tiff_dir": str(tmp_path), "fields": fields}
    items = convert_tiffs_init(**arguments, missing="skip")["parallelization_list"]
    assert len(items) == 3


def test_a_long_list_of_missing_planes_is_cut_in_the_error_and_whole_in_the_log(
    tmp_path, caplog
):
    for field in range(40):
        for z in (0, 1) if field else (0, 1, 2):
            tifffile.imwrite(tmp_path / f"A01_f{field}_z{z}.tif", STACK[0])
    with pytest.raises(
        ValueError, match=r"planes, 39 in all: .*and 19 more, which the log lists"
    ):
        convert(tmp_path)
    assert all(f"field {field}" in caplog.text for field in range(1, 40))


def test_files_that_an_index_lists_are_missing(tmp_path):
    write_harmony(tmp_path / "Images")
    index = tmp_path / "Images" / "Index.idx.xml"
    text = index.read_text("utf-8")
    more = IMAGE.format(
        url="r04c05f01p01-ch1sk1fk1fl1.tiff",
        **{"field": 1, "z": 1, "channel": 1, "own": "", "x": 0, "y": 0, "height": 0},
    )
    index.write_text(text.replace("</Images>", more + "</Images>"), "utf-8")
    with pytest.raises(ValueError, match=r"missing planes, 1 in all: D05.* r04c05f01"):
        convert(tmp_path, file_names="operetta")
    assert [*convert(tmp_path, file_names="operetta", missing="skip")] == ["B03"]


def test_a_missing_field_keeps_its_place(tmp_path):
    for well, fields in (("A01", (1, 2, 3)), ("A02", (2, 3))):
        for field in fields:
            tifffile.imwrite(tmp_path / f"{well}_f{field}.tif", STACK[field - 1])
    (tmp_path / "p.csv").write_text("field,x,y\n1,0,0\n2,30,0\n3,60,0\n")
    fields = {"positions_csv": str(tmp_path / "p.csv")}
    image = convert(tmp_path, fields=fields, missing="fill", pixel_size_xy=1)["A02"]
    expected = np.hstack([np.zeros_like(STACK[0]), *STACK[1:]])
    assert (image.levels[0][0] == expected).all()
    assert [roi.name for roi in read_rois(image, "FOV_ROI_table")] == ["FOV_2", "FOV_3"]


@pytest.mark.parametrize(
    ("metadata", "argument"),
    [
        (planes("PositionZ", [0.0, 5.0, 10.0], "µm") | {"PhysicalSizeZ": 2}, "z"),
        (
            {"axes": "TYX", "TimeIncrement": 60}
            | planes("DeltaT", [0.0, 1.0, 2.0], "s"),
            "interval",
        ),
    ],
)
def test_two_sources_in_one_file_that_differ_are_rejected(tmp_path, metadata, argument):
    write_ome(tmp_path / "A01.ome.tif", **metadata)
    with pytest.raises(ValueError, match=f"A01.ome.tif says .* give .*{argument}"):
        convert(tmp_path)


def test_a_position_on_one_axis_alone_is_rejected(tmp_path):
    for n in (1, 2):
        path = tmp_path / f"A01_f{n}.ome.tif"
        write_ome(path, STACK[n], "YX", Plane={"PositionX": 15.0 * n})
    with pytest.raises(ValueError, match=r"fields.arrangement: .*x or y alone"):
        convert(tmp_path)


def test_an_index_of_other_images_is_not_read(tmp_path):
    (tmp_path / "Index.xml").write_text("no XML <")
    tifffile.imwrite(tmp_path / "A01.tif", STACK[0])
    assert convert(tmp_path)["A01"].scale["x"] == 1


TAGGED = {
    "yokogawa_cv": "P_B03_T0001F001L01A01Z01C01.tif",
    "imagexpress": "a_B03_s1_w1.tif",
    "incell": "B - 3(fld 1 wv DAPI - DAPI).tif",
    "operetta": "r02c03f01p01-ch01t01.tiff",
}


@pytest.mark.parametrize("file_names", TAGGED)
def test_resolution_tags_of_microscopes_are_not_used(tmp_path, file_names):
    path = tmp_path / TAGGED[file_names]
    unit = {"resolution": (1550.3, 1550.3), "resolutionunit": "CENTIMETER"}
    tifffile.imwrite(path, STACK[0], metadata=None, **unit)
    assert convert(tmp_path, file_names=file_names)["B03"].scale["x"] == 1


def test_an_acquisition_that_was_aborted_is_rejected_or_filled(tmp_path):
    """OME-XML has all planes that were planned, and the file those that were recorded."""
    sizes = 'SizeX="30" SizeY="20" SizeZ="3" SizeC="2" SizeT="2" Type="uint16"'
    pixels = (
        f'<Pixels ID="Pixels:0" DimensionOrder="XYCZT" {sizes}><TiffData/></Pixels>'
    )
    text = f'<?xml version="1.0"?><OME><Image ID="Image:0">{pixels}</Image></OME>'
    recorded = np.arange(1, 6)[:, None, None] * np.ones((20, 30), np.uint16)
    path = tmp_path / "A01.ome.tif"
    options = {"photometric": "minisblack", "metadata": None}
    tifffile.imwrite(path, recorded.astype(np.uint16), description=text, **options)
    with pytest.raises(
        ValueError, match=r"missing planes, 7 in all: A01.*t 0 channel 1 z 2"
    ):
        convert(tmp_path)
    image = convert(tmp_path, missing="fill")["A01"]
    expected = [[[1, 3, 5], [2, 4, 0]], [[0, 0, 0], [0, 0, 0]]]
    assert np.asarray(image.levels[0])[..., 0, 0].tolist() == expected


@pytest.mark.parametrize("moved", [0.0, 1.0, 100.0])
@pytest.mark.parametrize("fields", [(2, 4), (4,)])
def test_fields_lie_at_the_same_place_in_each_acquisition(
    tmp_path, caplog, fields, moved
):
    """A later acquisition has some of the fields only; the stage is off by a little."""
    for acquisition, numbers in ((0, (1, 2, 3, 4)), (1, fields)):
        for number in numbers:
            row, column = divmod(number - 1, 2)
            place = planes(
                "PositionX", [1000 + 15 * column + moved * acquisition], "µm"
            )
            place["Plane"] |= planes("PositionY", [500 + 10 * row], "µm")["Plane"]
            path = tmp_path / f"A01_a{acquisition}_f{number}.ome.tif"
            write_ome(path, STACK[0] + number, "YX", **place)
    convert(tmp_path)
    images = [
        open_image(tmp_path / "plate.zarr" / "A" / "01" / name) for name in ("0", "1")
    ]
    first, second = (
        {roi.name: roi.region[-2:] for roi in read_rois(image, "FOV_ROI_table")}
        for image in images
    )
    assert images[0].shape == images[1].shape
    offset = 0 if moved == 100 else round(moved / 0.5)
    for name, (rows, columns) in second.items():
        pixels = images[1].read((slice(0, 1), rows, columns))[0]
        assert (pixels == STACK[0] + int(name[-1])).all()
        if moved < 100:
            start = first[name][1].start + offset
            assert (rows, columns.start) == (first[name][0], start)
    assert ("two images begin at different places" in caplog.text) == (moved == 100)
