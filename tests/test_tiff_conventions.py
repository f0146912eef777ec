"""TIFFs as microscopes write them: positions, pixel sizes and channels arrive by their metadata."""

import json

import numpy as np
import pytest
import tifffile
from my_fractal_tasks.convert_tiffs_compute import convert_tiffs_compute
from my_fractal_tasks.convert_tiffs_init import convert_tiffs_init
from my_fractal_tasks.kit import open_image
from my_fractal_tasks.kit.regions import read_rois

FIELDS = np.random.default_rng(0).integers(1, 4000, (2, 20, 30), np.uint16)
STAGE = [(1000.0, 500.0), (1000.0, 510.0)]  # y and x, in micrometers
PIXEL = 0.5


def convert(folder, **arguments):
    arguments = {"zarr_dir": str(folder), "tiff_dir": str(folder)} | arguments
    items = convert_tiffs_init(**arguments)["parallelization_list"]
    for item in items:
        convert_tiffs_compute(**item)
    return [open_image(item["zarr_url"]) for item in items]


def micromanager(path, pixels, y, x):
    """Micro-Manager's tag of a page."""
    known = {"XPositionUm": x, "YPositionUm": y, "PixelSizeUm": PIXEL, "Channel": "Cy5"}
    text = json.dumps(known).encode()
    tifffile.imwrite(path, pixels, extratags=[(51123, "s", 0, text, True)])


def imagej(path, pixels, y, x):
    """Micro-Manager's metadata in the text that ImageJ keeps."""
    known = {"XPositionUm": x, "YPositionUm": y, "Channel": "Cy5"}
    metadata = {"unit": "um", "Info": json.dumps(known)}
    resolution = (1 / PIXEL, 1 / PIXEL)
    tifffile.imwrite(
        path, pixels, imagej=True, resolution=resolution, metadata=metadata
    )


def ome(path, pixels, y, x):
    """OME-XML, in meters as Operetta has it."""
    plane = {"PositionX": x * 1e-6, "PositionY": y * 1e-6}
    plane |= {"PositionXUnit": "m", "PositionYUnit": "m"}
    metadata = {"axes": "YX", "Plane": plane, "Channel": {"Name": "Cy5"}}
    metadata |= {"PhysicalSizeX": PIXEL * 1e3, "PhysicalSizeXUnit": "nm"}
    metadata |= {"PhysicalSizeY": PIXEL * 1e3, "PhysicalSizeYUnit": "nm"}
    tifffile.imwrite(path, pixels, ome=True, metadata=metadata)


def metamorph(path, pixels, y, x):
    """MetaSeries, which MetaXpress writes."""
    known = {
        "spatial-calibration-x": ("float", PIXEL),
        "spatial-calibration-y": ("float", PIXEL),
        "spatial-calibration-units": ("string", "um"),
        "stage-position-x": ("float", x),
        "stage-position-y": ("float", y),
        "_IllumSetting_": ("string", "Cy5"),
    }
    props = "".join(
        f'<prop id="{key}" type="{kind}" value="{value}"/>'
        for key, (kind, value) in known.items()
    )
    text = f"<MetaData><PlaneInfo>{props}</PlaneInfo></MetaData>"
    tifffile.imwrite(
        path, pixels, description=text, software="MetaSeries", metadata=None
    )


WRITERS = [micromanager, imagej, ome, metamorph]


@pytest.mark.parametrize("write", WRITERS)
def test_fields_lie_where_the_metadata_place_them(tmp_path, write):
    for number, (pixels, place) in enumerate(zip(FIELDS, STAGE, strict=True), start=1):
        write(tmp_path / f"A01_f{number}.tif", pixels, *place)

    (image,) = convert(tmp_path)

    expected = np.zeros((20, 50), np.uint16)
    expected[:, :30] = FIELDS[0]
    expected[:, 20:] = FIELDS[1]  # it overlaps the first, and counts
    assert (image.levels[0][0] == expected).all()
    assert (image.scale["y"], image.scale["x"]) == (PIXEL, PIXEL)
    assert image.channel_names == ["Cy5"]
    assert image.channels[0]["wavelength_id"] == "A01_C01"
    assert [roi.region[-1] for roi in read_rois(image, "FOV_ROI_table")] == [
        slice(0, 30),
        slice(20, 50),
    ]


@pytest.mark.parametrize("write", WRITERS)
def test_arguments_count_more_than_metadata(tmp_path, write):
    write(tmp_path / "A01.tif", FIELDS[0], *STAGE[0])
    for argument, axis in (("pixel_size_z", "z"), ("time_interval", "t")):
        reason = f"{argument}: 3 is not used, since no image has the axis {axis}"
        with pytest.raises(ValueError, match=reason):
            convert(tmp_path, **{argument: 3})
    assert not list(tmp_path.glob("*.zarr"))
    (image,) = convert(tmp_path, pixel_size_xy=0.25)
    assert (image.scale["y"], image.scale["x"]) == (0.25, 0.25)


def test_positions_of_another_unit_are_not_a_picture_of_kilometers(tmp_path):
    for number, x in ((1, 0.0), (2, 5e6)):
        ome(tmp_path / f"A01_f{number}.tif", FIELDS[number - 1], 0.0, x)
    with pytest.raises(ValueError, match=r"fields.arrangement: .* fields apart"):
        convert(tmp_path, fields={"arrangement": "files"})
    assert not list(tmp_path.glob("*.zarr"))


def test_numbers_may_have_steps_and_files_may_be_left_out(tmp_path):
    for z in (0, 5, 10):
        tifffile.imwrite(tmp_path / f"B123_cF.I-T_C_z{z:03}.tif", FIELDS[0] + z)
        tifffile.imwrite(tmp_path / f"B123_cF.I-T_C_z{z:03}_thumb.tif", FIELDS[0])
    (image,) = convert(
        tmp_path, pattern="{row}{column}_c{channel}_z{z}.tif", skip=["*_thumb*"]
    )
    assert image.path.parts[-3:] == ("B", "123", "0")
    assert image.channel_names == ["F.I-T_C"]
    assert image.shape == (1, 3, 20, 30)
    assert (image.levels[0][0, 2] == FIELDS[0] + 10).all()


def test_a_well_may_be_the_same_for_all_files(tmp_path):
    for field in (1, 2):
        tifffile.imwrite(tmp_path / f"dish_{field}.tif", FIELDS[field - 1])
    (image,) = convert(tmp_path, pattern="dish_{field}.tif", well="c4")
    assert image.path.parts[-3:] == ("C", "04", "0")
    assert (image.levels[0][0] == np.hstack(FIELDS)).all()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("field,x\n1,0\n", r"positions_csv: .*needed are field, x, y"),
        ("field,x,y\n1,0,0\n1,0,0\n", r"positions_csv: .*field 1 twice"),
        ("field,x,y\n1,0,left\n", r"positions_csv: .*has the row"),
        ("field,x,y\n1,0,0\n", r"positions_csv: no position of field 2"),
        ("field,x,y\n1,0,0\n2,0,0\n", r"positions_csv: .*at the same place"),
        ("field,x,y\n1,0,0,0\n", r"positions_csv: line 2 .*length 4, .* has 3:"),
    ],
)
def test_positions_that_are_none_are_refused_before_anything_is_written(
    tmp_path, text, message
):
    for field in (1, 2):
        tifffile.imwrite(tmp_path / f"A01_f{field}.tif", FIELDS[field - 1])
    (tmp_path / "positions.csv").write_text(text)
    with pytest.raises(ValueError, match=message):
        convert(tmp_path, fields={"positions_csv": str(tmp_path / "positions.csv")})
    assert not list(tmp_path.glob("*.zarr"))
