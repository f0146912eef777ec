"""TIFFs whose names, metadata and pages contradict each other are rejected, before a plate is made."""

import os
import time

import numpy as np
import pytest
import tifffile
from my_fractal_tasks.convert_tiffs_compute import convert_tiffs_compute
from my_fractal_tasks.convert_tiffs_init import convert_tiffs_init
from my_fractal_tasks.kit import open_image
from my_fractal_tasks.kit.tiff.index import _cellvoyager

PLANE = np.random.default_rng(0).integers(1, 4000, (20, 30), np.uint16)
COLOURS = np.stack([PLANE // 16] * 3, axis=-1).astype(np.uint8)


def convert(folder, **arguments):
    """Convert the files in a folder; return the pixels by the place of the image."""
    arguments = {"zarr_dir": str(folder), "tiff_dir": str(folder)} | arguments
    items = convert_tiffs_init(**arguments)["parallelization_list"]
    for item in items:
        convert_tiffs_compute(**item)
    images = [open_image(item["zarr_url"]) for item in items]
    return {"/".join(i.path.parts[-3:]): np.asarray(i.levels[0]) for i in images}


def write(path, pixels=PLANE, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    tifffile.imwrite(path, pixels, **options)


def write_ome(path, pages=(PLANE,), channels="", data="<TiffData/>", **attributes):
    sizes = {"SizeX": 30, "SizeY": 20, "SizeZ": 1, "SizeC": 1, "SizeT": 1}
    attributes = {"Type": "uint16", "DimensionOrder": "XYCZT"} | sizes | attributes
    said = " ".join(f'{key}="{value}"' for key, value in attributes.items())
    xml = (
        '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"><Image ID="Image:0">'
        f'<Pixels ID="Pixels:0" {said}>{channels}{data}</Pixels></Image></OME>'
    )
    with tifffile.TiffWriter(path) as file:
        for number, page in enumerate(pages):
            description = b"" if number else xml.encode()
            file.write(page, description=description, metadata=None, contiguous=False)


def names(*names):
    return "".join(f'<Channel ID="Channel:0:{n}" Name="{n}"/>' for n in names)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"SizeX": 60}, "SizeX is 60 .* pages have 30"),
        ({"SizeX": 20, "SizeY": 30}, "SizeX is 20 .* pages have 30"),
        ({"Type": "int16"}, "Type is int16 .* pages have uint16"),
        ({"Type": "float"}, "Type is float32 .* pages have uint16"),
        ({"SizeC": "one"}, "SizeC is 'one'"),
        ({"SizeZ": 0}, "SizeZ is '0'"),
        ({"SizeT": "٢"}, "SizeT is '٢'"),
        ({"DimensionOrder": "xyczt"}, "DimensionOrder is 'xyczt'"),
        ({"DimensionOrder": "XYCCT"}, "DimensionOrder is 'XYCCT'"),
        ({"data": '<TiffData FirstZ="4"/>'}, "places planes beyond its sizes"),
        ({"data": '<TiffData PlaneCount="2"/>'}, "places planes beyond its sizes"),
        ({"data": '<TiffData/><Plane TheZ="a"/>'}, "TheZ is 'a'"),
        (
            {"SizeC": 2, "pages": [PLANE] * 2, "channels": names(*"abc")},
            "describes 3 channels, and SizeC is 2",
        ),
        (
            {"pages": [COLOURS], "SizeC": 3, "Type": "uint8"},
            "SamplesPerPixel is 1 .* pages have 3",
        ),
    ],
)
def test_ome_xml_of_other_pages_is_rejected(tmp_path, given, message):
    write_ome(tmp_path / "A01.ome.tif", **given)
    with pytest.raises(ValueError, match=f"tiff_dir: .*A01.ome.tif.*{message}"):
        convert(tmp_path)
    assert not (tmp_path / "plate.zarr").exists()


def test_ome_xml_that_agrees_with_its_pages_is_read(tmp_path):
    write_ome(tmp_path / "A01.ome.tif", [PLANE, PLANE + 1], names("a", "b"), SizeC=2)
    write_ome(tmp_path / "A02.ome.tif", [PLANE, PLANE + 1], SizeC=2)
    for pixels in convert(tmp_path).values():
        assert (pixels == [PLANE, PLANE + 1]).all()


PROJECTION = "TimePoint_1/x_A01_s1_w1.tif"
STACK = [f"TimePoint_1/ZStep_{z}/x_A01_s1_w1.tif" for z in (1, 2)]
MIXED = {
    "z": ("imagexpress", [PROJECTION, *STACK]),
    "t": ("pattern", ["A01.tif", "A01_t1.tif", "A01_t2.tif"]),
    "channel": ("pattern", ["A01.tif", "A01_c1.tif"]),
    "field": ("pattern", ["A01.tif", "A01_f1.tif", "A02_f1.tif"]),
}


@pytest.mark.parametrize("axis", MIXED)
@pytest.mark.parametrize("missing", ["reject", "fill"])
def test_a_file_without_a_number_is_not_the_one_before_the_first(
    tmp_path, axis, missing
):
    file_names, files = MIXED[axis]
    for file in files:
        write(tmp_path / file)
    with pytest.raises(ValueError, match=f"pattern: .*says its {axis} in its name"):
        convert(tmp_path, file_names=file_names, missing=missing)
    assert not (tmp_path / "plate.zarr").exists()


def test_a_projection_beside_its_stack_can_be_left_out(tmp_path):
    for file in (PROJECTION, *STACK):
        write(tmp_path / file)
    given = {"file_names": "imagexpress", "skip": ["TimePoint_1/x_*"]}
    (pixels,) = convert(tmp_path, **given).values()
    assert pixels.shape == (1, 2, 20, 30)


def test_a_folder_of_projections_of_metaxpress_is_no_plane(tmp_path):
    for z in range(3):
        write(tmp_path / f"TimePoint_1/ZStep_{z}/x_A01_s1_w1.tif", PLANE + z)
    with pytest.raises(ValueError, match=r"ZStep_0.* is a projection.*\*ZStep_0/\*"):
        convert(tmp_path, file_names="imagexpress")
    skips = {"p": ["*ZStep_0/*"], "q": ["*ZStep_1/*", "*ZStep_2/*"]}
    for name, skip in skips.items():
        given = {"file_names": "imagexpress", "skip": skip, "plate_name": name}
        (pixels,) = convert(tmp_path, **given).values()
        assert pixels.shape[:-2] == ((1, 2) if name == "p" else (1,))


def test_numbers_that_are_dates_are_no_numbers_of_planes(tmp_path):
    for t in (1, 2, 20240101120000):
        write(tmp_path / f"A01_t{t}.tif")
    with pytest.raises(ValueError, match=r"pattern: t is 1, 2, 20240101120000 "):
        convert(tmp_path)


def test_a_channel_named_by_a_digit_of_another_script_is_no_number(tmp_path):
    for channel in ("1", "²"):
        write(tmp_path / f"A01_c{channel}.tif")
    (item,) = convert_tiffs_init(zarr_dir=str(tmp_path), tiff_dir=str(tmp_path))[
        "parallelization_list"
    ]
    assert item["init_args"]["channels"] == ["1", "²"]


def test_complex_pixels_are_rejected_before_a_plate_is_made(tmp_path):
    write(tmp_path / "A01.tif", PLANE.astype(np.complex64))
    with pytest.raises(ValueError, match=r"A01.tif.* pixels are of complex64"):
        convert(tmp_path)
    assert not (tmp_path / "plate.zarr").exists()


def test_signed_pixels_of_imagej_are_signed(tmp_path):
    line = {"axes": "ZYX", "cf": 0, "c0": -32768.0, "c1": 1.0, "vunit": "Gray Value"}
    write(
        tmp_path / "A01.tif",
        np.stack([PLANE, PLANE + 40000]),
        imagej=True,
        metadata=line,
    )
    (pixels,) = convert(tmp_path).values()
    assert pixels.dtype == np.int16
    assert (pixels[0] == np.stack([PLANE, PLANE + 40000]).astype(int) - 32768).all()


def test_folders_behind_links_are_read(tmp_path):
    folder = tmp_path / "measurement"
    write(folder / "TimePoint_1" / "x_A01_s1_w1.tif")
    write(tmp_path / "elsewhere" / "x_A01_s1_w1.tif", PLANE + 1)
    (folder / "TimePoint_2").symlink_to(tmp_path / "elsewhere")
    given = {"tiff_dir": str(folder), "file_names": "imagexpress"}
    (pixels,) = convert(tmp_path, **given).values()
    assert (pixels[:, 0] == [PLANE, PLANE + 1]).all()
    (tmp_path / "elsewhere" / "circle").symlink_to(folder)
    with pytest.raises(ValueError, match=r"tiff_dir: .*circle is a link to"):
        convert(tmp_path, **given)


@pytest.mark.parametrize("ending", ["btf", "tf2", "tf8"])
def test_large_tiffs_have_endings_of_their_own(tmp_path, ending):
    write(tmp_path / f"A01.ome.{ending}")
    write(tmp_path / f"A02.{ending}")
    for pattern in ("{well}", "{well}.*"):
        arguments = {"pattern": pattern, "plate_name": f"p{len(pattern)}"}
        assert [*convert(tmp_path, **arguments)] == ["A/01/0", "A/02/0"]


def test_times_without_a_zone_do_not_depend_on_the_machine(tmp_path, monkeypatch):
    (tmp_path / "MeasurementData.mlf").write_text(
        '<a xmlns:b="b">'
        + "".join(
            f'<b:MeasurementRecord b:Type="IMG" b:Time="2024-03-31T{hour}:30:00">'
            f"x{hour}.tif</b:MeasurementRecord>"
            for hour in ("01", "02", "03")
        )
        + "</a>"
    )
    for zone in ("Europe/Zurich", "UTC"):  # a clock of summer begins in Zurich
        monkeypatch.setitem(os.environ, "TZ", zone)
        time.tzset()
        times = [facts.times[0] for _, facts in _cellvoyager(tmp_path)]
        assert np.diff(times).tolist() == [3600, 3600]
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize("dtype", ["u2", "u1"])
def test_a_file_that_some_programs_invert_is_rejected(tmp_path, dtype):
    for number, photometric in (("01", "minisblack"), ("02", "miniswhite")):
        path = tmp_path / f"A{number}.tif"
        tifffile.imwrite(path, PLANE.astype(dtype), photometric=photometric)
    with pytest.raises(ValueError, match=r"tiff_dir: .*A02.tif.* 0 is white"):
        convert(tmp_path)


@pytest.mark.parametrize("value", [3, 6])
@pytest.mark.parametrize("of_ome", [False, True])
def test_a_file_that_some_programs_turn_is_rejected(tmp_path, of_ome, value):
    metadata = {"axes": "YX"} if of_ome else None
    for number, tag in (("01", 1), ("02", value)):
        extratags = [(274, "H", 1, tag, True)]
        path = tmp_path / f"A{number}.tif"
        write(path, ome=of_ome, metadata=metadata, extratags=extratags)
    with pytest.raises(
        ValueError, match=f"tiff_dir: .*A02.tif.* Orientation is {value}"
    ):
        convert(tmp_path)
    path.unlink()
    assert (convert(tmp_path)["A/01/0"].squeeze() == PLANE).all()


@pytest.mark.parametrize("of_ome", [False, True])
@pytest.mark.parametrize(
    ("extra", "names"),
    [
        (["UNASSALPHA"], ["0", "1", "2", "alpha"]),
        (["ASSOCALPHA"], ["0", "1", "2", "alpha"]),
        (["UNSPECIFIED"], ["0", "1", "2", "3"]),
    ],
)
def test_transparency_is_a_channel_of_that_name(tmp_path, of_ome, extra, names):
    pixels = np.stack([PLANE // 16] * 4, axis=-1).astype(np.uint8)
    options = {"photometric": "rgb", "extrasamples": extra, "ome": of_ome}
    metadata = {"axes": "YXS"} if of_ome else None
    write(tmp_path / "A01.tif", pixels, metadata=metadata, **options)
    found = convert(tmp_path)["A/01/0"]
    assert (found.squeeze() == np.moveaxis(pixels, -1, 0)).all()
    assert open_image(tmp_path / "plate.zarr/A/01/0").channel_names == names


@pytest.mark.parametrize(("numbers", "is_warned"), [((1, 2), False), ((1, 3), True)])
def test_numbers_of_planes_in_steps_are_a_warning(tmp_path, caplog, numbers, is_warned):
    for number in numbers:
        write(tmp_path / f"A01_z{number}.tif", metadata=None)
    convert(tmp_path, pattern="{row}{column}_z{z}.tif", missing="reject")
    assert (
        "z is 1, 3 in the names of files, in steps of 2" in caplog.text
    ) == is_warned


def test_names_of_channels_in_another_order_are_rejected(tmp_path):
    for name in ("AF-568", "DAPI"):
        write(tmp_path / f"A01_{name}.tif", metadata=None)
    pattern = {"pattern": "{row}{column}_{channel}.tif"}
    with pytest.raises(
        ValueError, match=r"channel_names: 'DAPI' is .* AF-568, DAPI, in"
    ):
        convert(tmp_path, channel_names=["DAPI", "AF-568"], **pattern)
    with pytest.raises(ValueError, match=r"channel_names: 'dapi' is at position 0"):
        convert(tmp_path, channel_names=["dapi", "actin"], **pattern)
    convert(tmp_path, channel_names=["actin", "DAPI"], **pattern)
    image = open_image(tmp_path / "plate.zarr/A/01/0")
    assert image.channel_names == ["actin", "DAPI"]


def test_names_that_are_like_those_of_other_channels_are_rejected(tmp_path, caplog):
    for channel in ("A594 (50ms)", "Hoechst-33342"):
        tifffile.imwrite(tmp_path / f"A01~{channel}.tif", PLANE)
    pattern = {"pattern": "{well}~{channel}"}
    with pytest.raises(ValueError, match=r"channel_names: 'A594' is at position 1"):
        convert(tmp_path, channel_names=["DNA", "A594"], **pattern)
    caplog.set_level("INFO")
    convert(tmp_path, channel_names=["A594", "DNA"], **pattern)
    said = "A594 (50ms) becomes A594, Hoechst-33342 becomes DNA: all images"
    assert f"channel_names: {said}" in caplog.messages


def test_names_of_channels_in_ome_xml_are_not_swapped(tmp_path):
    channels = names("DAPI", "FITC")
    write_ome(tmp_path / "A01.ome.tif", [PLANE] * 2, channels, SizeC=2)
    with pytest.raises(ValueError, match=r"channel_names: 'FITC' is at position 0"):
        convert(tmp_path, channel_names=["FITC", "DAPI"])
    assert convert(tmp_path, channel_names=["nuclei", "actin"])
