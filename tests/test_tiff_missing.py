"""Images that OME-XML lists and no file has are rejected, skipped or filled with zeros."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from my_fractal_tasks.convert_tiffs_compute import convert_tiffs_compute
from my_fractal_tasks.convert_tiffs_init import convert_tiffs_init
from my_fractal_tasks.kit import open_image

PIXELS = np.random.default_rng(0).integers(1, 4000, (4, 20, 30), np.uint16)
HEADER = '<?xml version="1.0"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"'
SIZE = 'PhysicalSizeX="0.5" PhysicalSizeY="0.5" SizeX="30" SizeY="20" Type="uint16"'


def write(path: Path, pixels: np.ndarray, xml: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    options = {"photometric": "minisblack", "metadata": None}
    tifffile.imwrite(path, pixels, description=xml, **options)


def image(number: int, content: str, t: int = 1, c: int = 1, z: int = 1) -> str:
    """OME-XML of a position, each 15 micrometers right of the last."""
    place = f'TheT="0" TheC="0" TheZ="0" PositionX="{15 * number}" PositionY="0"'
    return (
        f'<Image ID="Image:{number}"><Pixels ID="Pixels:{number}" '
        f'DimensionOrder="XYZCT" {SIZE} SizeT="{t}" SizeC="{c}" SizeZ="{z}">'
        f"{content}<Plane {place}/></Pixels></Image>"
    )


def in_file(name: str, **first: int) -> str:
    """An element that places one plane into a file of a set."""
    where = " ".join(f'First{axis}="{n}"' for axis, n in first.items())
    uuid = f'<UUID FileName="{name}">urn:uuid:{name}</UUID>'
    return f'<TiffData IFD="0" PlaneCount="1" {where}>{uuid}</TiffData>'


def write_set(
    folder: Path, names: Sequence[str], *, lost: str = "", renamed: str = ""
) -> None:
    """Write a file for each position, whose metadata name all."""
    images = "".join(image(n, in_file(name)) for n, name in enumerate(names))
    for pixels, name in zip(PIXELS, names, strict=False):
        if name != lost:
            path = folder / name.replace(*(renamed or "/ /").split())
            write(path, pixels, f'{HEADER} UUID="urn:uuid:{name}">{images}</OME>')


def convert(folder: Path, **arguments: Any) -> dict[str, np.ndarray]:
    """Convert a folder; return the pixels by the place of the image in the plate."""
    arguments = {"zarr_dir": str(folder), "tiff_dir": str(folder)} | arguments
    items = convert_tiffs_init(**arguments)["parallelization_list"]
    for item in items:
        convert_tiffs_compute(**item)
    opened = [open_image(item["zarr_url"]) for item in items]
    return {"/".join(i.path.parts[-3:]): np.asarray(i.levels[0]) for i in opened}


BY_NAME = ["A01_f1.ome.tif", "A01_f2.ome.tif", "A01_f3.ome.tif"]
BY_METADATA = ["A01_x.ome.tif", "A01_y.ome.tif", "A01_z.ome.tif"]


@pytest.mark.parametrize("lost", range(3))
@pytest.mark.parametrize(
    ("names", "pattern", "first"),
    [(BY_NAME, "{row}{column}_f{field}.*", 1), (BY_METADATA, "{row}{column}_*", 0)],
)
def test_a_position_without_its_file_is_missing(
    tmp_path, caplog, names, pattern, first, lost
):
    write_set(tmp_path, names, lost=names[lost])
    line = f"A01, acquisition 0, field {first + lost}"
    with pytest.raises(
        ValueError, match=rf"tiff_dir: missing planes, 1 in all: {line}\."
    ):
        convert(tmp_path, pattern=pattern)
    with pytest.raises(ValueError, match="to skip all images leaves none"):
        convert(tmp_path, pattern=pattern, missing="skip")
    assert not list(tmp_path.glob("*.zarr"))
    caplog.clear()
    filled = convert(tmp_path, pattern=pattern, missing="fill")["A/01/0"]
    assert caplog.text.count(line) == 1
    expected = PIXELS[:3].copy()
    expected[lost] = 0
    # The metadata also say where the missing one lay.
    assert (filled[0] == np.hstack(expected)).all()


def test_a_well_without_its_file_is_missing(tmp_path, caplog):
    names = ["A01.ome.tif", "A02.ome.tif", "B01.ome.tif"]
    write_set(tmp_path, names, lost="A02.ome.tif")
    pattern = "{row}{column}.ome.tif"
    with pytest.raises(
        ValueError, match=r"planes, 1 in all: A02, .* of A02\.ome\.tif\."
    ):
        convert(tmp_path, pattern=pattern)
    for missing in ("skip", "fill"):
        caplog.clear()
        options = {"missing": missing, "plate_name": missing, "pattern": pattern}
        images = convert(tmp_path, **options)
        assert [*images] == ["A/01/0", "B/01/0"]
        assert (images["B/01/0"][0] == PIXELS[2]).all()
        assert caplog.text.count("A02.ome.tif") == 1


@pytest.mark.parametrize("lost", ["", "A02_p.ome.tif", "A02_q.ome.tif"])
def test_positions_of_a_set_are_counted_within_their_wells(tmp_path, lost):
    names = [f"{well}_{place}.ome.tif" for well in ("A01", "A02") for place in "pq"]
    write_set(tmp_path, names, lost=lost)
    pattern = "{row}{column}_*"
    if lost:
        line = f"A02, acquisition 0, field {'pq'.index(lost[4])}"
        with pytest.raises(ValueError, match=f"missing planes, 1 in all: {line}"):
            convert(tmp_path, pattern=pattern)
    images = convert(tmp_path, pattern=pattern, missing="fill")
    expected = PIXELS * np.array([name != lost for name in names])[:, None, None]
    assert (images["A/01/0"][0] == np.hstack(expected[:2])).all()
    assert (images["A/02/0"][0] == np.hstack(expected[2:])).all()


@pytest.mark.parametrize("renamed", ["A01_ B02_", "A01_x A01_v"])
def test_files_of_a_set_that_were_renamed_are_not_missing(tmp_path, renamed):
    write_set(tmp_path, BY_METADATA, renamed=renamed)
    (pixels,) = convert(tmp_path, pattern="{row}{column}_*").values()
    assert (pixels[0] == np.hstack(PIXELS[:3])).all()


def test_files_of_a_set_that_are_left_out_are_not_missing(tmp_path):
    write_set(tmp_path, BY_METADATA)
    pattern = "{row}{column}_*"
    (pixels,) = convert(tmp_path, pattern=pattern, skip=["*_y*"]).values()
    assert (pixels[0, :, :30] == PIXELS[0]).all()
    assert (pixels[0, :, -30:] == PIXELS[2]).all()


def test_a_missing_file_whose_name_does_not_fit_is_listed(tmp_path):
    names = ["A01_f1.ome.tif", "A02_f2.ome.tif", "Pos3.ome.tif"]
    write_set(tmp_path, names, lost="Pos3.ome.tif")
    arguments = {"pattern": "{row}{column}_f{field}.ome.tif"}
    arguments["fields"] = {"arrangement": "separate"}
    match = r"Pos3\.ome\.tif, by the metadata of A01_f1\.ome\.tif"
    with pytest.raises(ValueError, match=match):
        convert(tmp_path, **arguments)
    images = convert(tmp_path, **arguments, missing="fill")
    assert [*images] == ["A/01/0f1", "A/02/0f2"]


NOWHERE = {
    "beyond": '<TiffData IFD="1" PlaneCount="1"/>',
    "metadata only": "<MetadataOnly/>",
    "nothing": "",
    "other file": in_file("A01_lost.ome.tif"),
    "unnamed file": '<TiffData IFD="0"><UUID>urn:uuid:lost</UUID></TiffData>',
}


@pytest.mark.parametrize("content", NOWHERE.values(), ids=NOWHERE)
@pytest.mark.parametrize("lost", [0, 1])
def test_a_position_that_lies_in_no_file_is_missing(tmp_path, content, lost):
    own = in_file("own").replace("FileName", "Name")
    contents = [content if n == lost else own for n in range(2)]
    images = "".join(image(n, content) for n, content in enumerate(contents))
    xml = f'{HEADER} UUID="urn:uuid:own">{images}</OME>'
    write(tmp_path / "A01.ome.tif", PIXELS[0], xml)
    with pytest.raises(
        ValueError, match=f"missing planes, 1 in all: A01, .*field {lost}"
    ):
        convert(tmp_path)
    pixels = convert(tmp_path, missing="fill")["A/01/0"]
    expected = [np.zeros_like(PIXELS[0])] * 2
    expected[1 - lost] = PIXELS[0]
    assert (pixels[0] == np.hstack(expected)).all()


@pytest.mark.parametrize("axis", "TCZ")
@pytest.mark.parametrize("there", [(0, 1), (1, 2), (0, 2)])
def test_planes_that_no_element_places_are_missing(tmp_path, axis, there):
    blocks = "".join(
        f'<TiffData First{axis}="{n}" IFD="{page}"/>' for page, n in enumerate(there)
    )
    xml = f"{HEADER}>{image(0, blocks, **{axis.lower(): 3})}</OME>"
    write(tmp_path / "A01.ome.tif", PIXELS[:2], xml)
    with pytest.raises(ValueError, match="missing planes, 1 in all: A01"):
        convert(tmp_path)
    pixels = np.squeeze(convert(tmp_path, missing="fill")["A/01/0"])
    expected = np.zeros((3, 20, 30), np.uint16)
    expected[[*there]] = PIXELS[:2]
    assert (pixels == expected).all()


def test_a_set_with_its_metadata_in_another_file_is_whole_or_missing(tmp_path):
    names = ["A01_a.tif", "A01_b.tif"]
    blocks = "".join(in_file(name, T=n) for n, name in enumerate(names))
    xml = f'{HEADER} UUID="urn:uuid:all">{image(0, blocks, t=2)}</OME>'
    (tmp_path / "A01.companion.ome").write_text(xml, "utf-8")
    only = '<BinaryOnly MetadataFile="A01.companion.ome" UUID="urn:uuid:all"/>'
    for pixels, name in zip(PIXELS, names, strict=False):
        own = f'{HEADER} UUID="urn:uuid:{name}">{only}</OME>'
        write(tmp_path / name, pixels, own)
    pattern = "{row}{column}_*"
    assert (convert(tmp_path, pattern=pattern)["A/01/0"][:, 0] == PIXELS[:2]).all()
    (tmp_path / names[1]).unlink()
    options = {"pattern": pattern, "plate_name": "partial"}
    with pytest.raises(ValueError, match=r"missing planes, 1 in all: A01, .*t 1 "):
        convert(tmp_path, **options)
    pixels = convert(tmp_path, **options, missing="fill")["A/01/0"]
    assert (pixels[0] == PIXELS[0]).all()
    assert not pixels[1].any()


def test_a_stack_without_the_file_of_its_metadata_is_rejected(tmp_path):
    only = '<BinaryOnly MetadataFile="gone.companion.ome" UUID="urn:uuid:all"/>'
    write(tmp_path / "A01.tif", PIXELS, f'{HEADER} UUID="urn:uuid:a">{only}</OME>')
    with pytest.raises(ValueError, match=r"A01\.tif .*'gone\.companion\.ome'"):
        convert(tmp_path)


def test_a_page_that_no_element_places_is_rejected_unless_it_is_a_thumbnail(tmp_path):
    xml = f"{HEADER}>{image(0, '<TiffData/>', c=2)}</OME>"
    write(tmp_path / "A01.ome.tif", PIXELS[:3], xml)
    with pytest.raises(ValueError, match=r"A01\.ome\.tif .*page 3 of 3"):
        convert(tmp_path)
    with tifffile.TiffWriter(tmp_path / "A01.ome.tif") as file:
        for page, pixels in enumerate([*PIXELS[:2], PIXELS[2, ::4, ::4]]):
            options = {"subfiletype": int(page == 2), "photometric": "minisblack"}
            text = None if page else xml
            file.write(
                pixels, description=text, metadata=None, contiguous=False, **options
            )
    assert (convert(tmp_path)["A/01/0"] == PIXELS[:2]).all()


@pytest.mark.parametrize("change", [np.float32, lambda pixels: pixels[:9]])
def test_planes_of_another_type_or_size_are_rejected(tmp_path, change):
    xml = f"{HEADER}>{image(0, '<TiffData/>', c=2)}</OME>"
    with tifffile.TiffWriter(tmp_path / "A01.ome.tif") as file:
        for page, pixels in enumerate([PIXELS[0], change(PIXELS[1])]):
            text = None if page else xml
            file.write(pixels, description=text, metadata=None, contiguous=False)
    with pytest.raises(ValueError, match=r"A01\.ome\.tif .*planes differ"):
        convert(tmp_path)


def test_a_page_that_imagej_does_not_count_is_rejected(tmp_path):
    description = "ImageJ=1.53t\nimages=2\nslices=2\nunit=um\n"
    write(tmp_path / "A01.tif", PIXELS[:3], description)
    with pytest.raises(ValueError, match=r"A01\.tif .*page 3 of 3"):
        convert(tmp_path)
