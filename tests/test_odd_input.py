"""Files as microscopes and other tools write them: every pixel arrives, or an error says why not."""

import importlib
import json
import math
import warnings
from contextlib import nullcontext

import numpy as np
import pytest
import tifffile
import zarr
from killed_task import run_both
from my_fractal_tasks.aggregate_tables import aggregate_tables
from my_fractal_tasks.check_images import check_images
from my_fractal_tasks.convert_tiffs_compute import convert_tiffs_compute
from my_fractal_tasks.convert_tiffs_init import convert_tiffs_init
from my_fractal_tasks.gaussian_blur import gaussian_blur
from my_fractal_tasks.import_ome_zarr import import_ome_zarr
from my_fractal_tasks.kit import (
    build_pyramid,
    derive_label,
    open_image,
    plate_images,
    write_feature_table,
    write_table,
)
from my_fractal_tasks.kit import read_table as read_any_table
from my_fractal_tasks.measure_features import measure_features
from my_fractal_tasks.project_image_compute import project_image_compute
from my_fractal_tasks.project_image_init import project_image_init
from my_fractal_tasks.register_acquisitions_compute import register_acquisitions_compute
from my_fractal_tasks.register_acquisitions_init import register_acquisitions_init
from my_fractal_tasks.threshold_segmentation import threshold_segmentation
from package_images import read_table, write_image, write_plate
from scipy.ndimage import gaussian_filter

STACK = np.random.default_rng(0).integers(0, 4000, (5, 40, 50), np.uint16)


def convert(folder, **arguments):
    """Convert the TIFFs in a folder; return the pixels by image."""
    arguments = {"zarr_dir": str(folder), "tiff_dir": str(folder)} | arguments
    for item in convert_tiffs_init(**arguments)["parallelization_list"]:
        convert_tiffs_compute(**item)
    plate = folder / f"{arguments.get('plate_name', 'plate')}.zarr"
    images = plate_images(plate)
    return {
        str(p.relative_to(plate)): np.asarray(open_image(p).levels[0]) for p in images
    }


def write_series(path):
    with tifffile.TiffWriter(path) as file:
        for plane in STACK:
            file.write(plane)


TIFFS = {
    "a stack": lambda path: tifffile.imwrite(path, STACK),
    "page by page": write_series,
    "ImageJ": lambda path: tifffile.imwrite(path, STACK, imagej=True),
    "big-endian": lambda path: tifffile.imwrite(path, STACK, byteorder=">"),
    "LZW": lambda path: tifffile.imwrite(path, STACK, compression="lzw"),
    "tiles": lambda path: tifffile.imwrite(path, STACK, tile=(16, 16)),
}


@pytest.mark.parametrize("kind", TIFFS)
@pytest.mark.parametrize("name", ["A01.tif", "a1.TIFF"])
def test_every_pixel_of_any_tiff_arrives(tmp_path, kind, name):
    TIFFS[kind](tmp_path / name)
    (pixels,) = convert(tmp_path).values()
    assert (pixels == STACK[np.newaxis]).all()


def test_samples_of_a_colour_image_are_channels_and_masks_are_integers(tmp_path):
    colours = np.random.default_rng(1).integers(0, 255, (300, 310, 3), np.uint8)
    tifffile.imwrite(tmp_path / "A01_a0.tif", colours)
    tifffile.imwrite(tmp_path / "A01_a1.tif", colours[..., 0] > 9)
    images = convert(tmp_path)
    assert (images["A/01/0"] == np.moveaxis(colours, 2, 0)).all()
    assert (images["A/01/1"][0] == (colours[..., 0] > 9)).all()


def truncate(folder):
    tifffile.imwrite(folder / "A01.tif", STACK, imagej=True)
    (folder / "A01.tif").write_bytes((folder / "A01.tif").read_bytes()[:-9000])


def no_tiff(folder):
    (folder / "A01.tif").write_text("text")


def different_shapes(folder):
    tifffile.imwrite(folder / "A01_z0.tif", STACK[0])
    tifffile.imwrite(folder / "A01_z1.tif", STACK[0, 1:])


def gap(folder):
    for z in (1, 2, 4):
        tifffile.imwrite(folder / f"A01_z{z}.tif", STACK[0])


def fewer_planes_than_another_well(folder):
    for name in ("A01_z0", "A01_z1", "A02_z0"):
        tifffile.imwrite(folder / f"{name}.tif", STACK[0])


def planes_in_names_and_pages(folder):
    for z in (1, 2):
        tifffile.imwrite(folder / f"A01_z{z}.tif", STACK)


def several_positions(folder):
    with tifffile.TiffWriter(folder / "A01.ome.tif", ome=True) as file:
        for plane in STACK:
            file.write(plane, metadata={"axes": "YX"})


def positions_in_a_set_of_files(folder):
    """As Micro-Manager writes them: the metadata of each file name all of them."""
    images = "".join(
        f'<Image ID="Image:{n}"><Pixels ID="Pixels:{n}" DimensionOrder="XYZCT" '
        'Type="uint16" SizeX="50" SizeY="40" SizeZ="1" SizeC="1" SizeT="1">'
        f'<Channel ID="Channel:{n}:0"/><TiffData IFD="0" PlaneCount="1">'
        f'<UUID FileName="A01_f{n}.ome.tif">urn:uuid:{n}</UUID></TiffData>'
        "</Pixels></Image>"
        for n in range(2)
    )
    for n in range(2):
        tifffile.imwrite(
            folder / f"A01_f{n}.ome.tif",
            STACK[n],
            metadata=None,
            description='<?xml version="1.0"?><OME xmlns="http://www.openmicroscopy.org/'
            f'Schemas/OME/2016-06" UUID="urn:uuid:{n}">{images}</OME>',
        )


@pytest.mark.parametrize(
    ("write", "n_positions"), [(several_positions, 5), (positions_in_a_set_of_files, 2)]
)
def test_positions_become_fields_and_no_z_planes(tmp_path, write, n_positions):
    write(tmp_path)
    images = convert(tmp_path, fields={"columns": 5})
    assert (images["A/01/0"][0] == np.hstack(STACK[:n_positions])).all()


@pytest.mark.parametrize(
    ("pattern", "name"),
    [
        ("*_{row}{column}[_s{field}].tif", "Exp_B02_s1.tif"),  # S01?
        ("{row}{column}*{z}.tif", "A01_z12.tif"),
        ("{row}{column}{field}.tif", "A0123.tif"),
        ("*{row}{column}[_*]_t{t}.tif", "xB02_t1_t2.tif"),
    ],
)
def test_a_name_that_fits_in_two_ways_is_refused(tmp_path, pattern, name):
    tifffile.imwrite(tmp_path / name, STACK)
    with pytest.raises(ValueError, match=r"pattern: .* in two ways"):
        convert(tmp_path, pattern=pattern)
    assert not list(tmp_path.glob("*.zarr"))


def test_a_name_that_fits_in_one_way_is_read(tmp_path):
    for field in (1, 2):
        tifffile.imwrite(tmp_path / f"Exp_B02_s{field}_w1.tif", STACK[field])
    images = convert(tmp_path, pattern="*_{row}{column}_s{field}_w*.tif")
    assert (images["B/02/0"][0] == np.concatenate(STACK[1:3], axis=-1)).all()


@pytest.mark.parametrize(
    "write",
    [
        truncate,
        no_tiff,
        different_shapes,
        gap,
        fewer_planes_than_another_well,
        planes_in_names_and_pages,
    ],
)
def test_tiffs_that_would_lose_pixels_are_refused_and_an_old_plate_is_kept(
    tmp_path, write
):
    (old,) = write_plate(tmp_path / "plate.zarr", {"A/01": [0]})
    before = np.asarray(open_image(old).levels[0])
    write(tmp_path)
    with pytest.raises(ValueError, match=r"tiff_dir|pattern"):
        convert(tmp_path, overwrite=True)
    assert (np.asarray(open_image(old).levels[0]) == before).all()


def test_a_conversion_goes_on_only_as_it_began(tmp_path):
    for name in ("A01", "A02"):
        tifffile.imwrite(tmp_path / f"{name}.tif", STACK)
    arguments = {"zarr_dir": str(tmp_path), "tiff_dir": str(tmp_path)}
    first, _ = convert_tiffs_init(**arguments)["parallelization_list"]
    convert_tiffs_compute(**first)
    gaussian_blur(zarr_url=first["zarr_url"])
    for changed in ({"ngff_version": "0.5"}, {"pixel_size_xy": 9}):
        with pytest.raises(FileExistsError, match="plate_name"):
            convert_tiffs_init(**arguments, **changed)
    assert len(convert(tmp_path)) == 3


def test_folders_that_are_not_ome_zarr_are_never_replaced(tmp_path):
    tifffile.imwrite(tmp_path / "A01.tif", STACK)
    (tmp_path / "plate.zarr").mkdir()
    (tmp_path / "plate.zarr" / "thesis.txt").write_text("years")
    with pytest.raises(ValueError, match="plate_name"):
        convert(tmp_path, overwrite=True)
    assert (tmp_path / "plate.zarr" / "thesis.txt").exists()


def test_nan_pixels_give_metadata_that_is_json(tmp_path):
    pixels = STACK.astype(np.float32)
    pixels[0, 0, 0] = np.nan
    tifffile.imwrite(tmp_path / "A01.tif", pixels)
    convert(tmp_path)

    def refuse(value):
        raise AssertionError(value)

    image = tmp_path / "plate.zarr" / "A" / "01" / "0"
    json.loads((image / ".zattrs").read_text(), parse_constant=refuse)
    threshold_segmentation(zarr_url=str(image))


@pytest.mark.parametrize("link", [False, True])
def test_an_overwritten_image_keeps_files_beside_its_pyramid(tmp_path, link):
    path = tmp_path / "image.zarr"
    write_image(path, "cyx")
    (path / "OME").mkdir()
    (path / "OME" / "METADATA.ome.xml").write_text("<OME/>")
    (path / "notes.txt").write_text("notes")
    if link:
        (tmp_path / "link.zarr").symlink_to(path)
        path = tmp_path / "link.zarr"
    for _ in range(2):
        gaussian_blur(zarr_url=str(path), overwrite_input=True)
    assert path.is_symlink() == link
    assert (path / "OME" / "METADATA.ome.xml").exists()
    assert (path / "notes.txt").exists()
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize(
    "dtype", ["bool", "int8", "int32", "uint32", "int64", "float64"]
)
def test_pyramids_do_not_overflow(tmp_path, dtype):
    limits = np.iinfo(dtype) if dtype not in ("bool", "float64") else None
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 2, (64, 64)).astype(dtype)
    if limits:
        pixels = rng.integers(limits.min, limits.max, (64, 64), dtype)
    write_image(tmp_path / "image.zarr", "yx", pixels=pixels)
    output = gaussian_blur(zarr_url=str(tmp_path / "image.zarr"), sigma_xy=0)
    image = open_image(output["image_list_updates"][0]["zarr_url"])
    large, small = (np.asarray(level) for level in image.levels)
    corners = np.stack([large[y::2, x::2] for y in (0, 1) for x in (0, 1)])
    assert (small >= corners.min(axis=0)).all()
    assert (small <= corners.max(axis=0)).all()
    threshold_segmentation(zarr_url=str(tmp_path / "image.zarr"))


def test_channels_may_share_a_name_or_have_none(tmp_path):
    path = tmp_path / "image.zarr"
    pixels = write_image(path, "cyx")
    group = zarr.open_group(path, mode="r+")
    attributes = group.attrs.asdict()
    for channels, names in (
        ([{"label": "DAPI"}, {"label": "DAPI"}], ["DAPI0", "DAPI1"]),
        ([{"label": 7}, {}], ["7", "1"]),
        (None, ["0", "1"]),
    ):
        group.update_attributes(attributes | {"omero": {"channels": channels}})
        assert open_image(path).channel_names == names
        threshold_segmentation(zarr_url=str(path), overwrite=True)
        measure_features(zarr_url=str(path), overwrite=True)
        row = read_table(path, "features")[0]
        labels = np.asarray(open_image(path).group["labels/objects/0"])
        for index, name in enumerate(names):
            assert row[f"mean_{name}"] == pytest.approx(
                pixels[index][labels == 1].mean()
            )


@pytest.mark.parametrize("dtype", ["int64", "uint64", "uint8"])
def test_labels_may_have_any_integers(tmp_path, dtype):
    path = tmp_path / "image.zarr"
    pixels = np.random.default_rng(0).normal(1e9, 1, (40, 30))
    write_image(path, "yx", pixels=pixels)
    number = 7 if dtype == "uint8" else 2**40 + 7
    labels = np.zeros((40, 30), dtype)
    labels[:9], labels[20:] = 7, number
    write_image(path / "labels" / "cells", "yx", pixels=labels)
    zarr.open_group(path / "labels", mode="a", zarr_format=2).attrs["labels"] = [
        "cells"
    ]

    measure_features(zarr_url=str(path), label_name="cells")

    rows = {row["label"]: row for row in read_table(path, "features")}
    assert rows.keys() == {7, number}
    expected = pixels[labels == 7]
    assert rows[7]["std_DAPI"] == pytest.approx(expected.std(), rel=1e-6)
    assert rows[7]["mean_DAPI"] == pytest.approx(expected.mean())


def test_labels_of_floats_are_refused(tmp_path):
    path = tmp_path / "image.zarr"
    write_image(path, "yx")
    write_image(path / "labels" / "cells", "yx", pixels=np.zeros((101, 83)))
    zarr.open_group(path / "labels", mode="a", zarr_format=2).attrs["labels"] = [
        "cells"
    ]
    with pytest.raises(ValueError, match=r"label_name.*float64"):
        measure_features(zarr_url=str(path), label_name="cells")


def test_every_level_is_read_if_asked_for(tmp_path):
    write_image(tmp_path / "image.zarr", "yx", chunks={"y": 32, "x": 32})
    (tmp_path / "image.zarr" / "1" / "0" / "0").write_bytes(b"garbage")
    arguments = {"zarr_urls": [str(tmp_path / "image.zarr")], "zarr_dir": str(tmp_path)}
    with pytest.raises(ValueError, match="images, 1 of 1:"):
        check_images(**arguments, read_pixels=True)


def test_fields_are_registered_with_the_same_field(tmp_path):
    rng = np.random.default_rng(0)
    for field in (1, 2):
        pixels = rng.integers(0, 4000, (60, 70), np.uint16)
        for acquisition in (0, 1):
            moved = np.roll(pixels, 3 * acquisition, axis=0)
            tifffile.imwrite(tmp_path / f"A01_a{acquisition}_f{field}.tif", moved)
    images = convert(tmp_path, fields={"arrangement": "separate"})
    well = tmp_path / "plate.zarr" / "A" / "01"
    urls = [str(well / name) for name in ("0f1", "0f2", "1f2", "1f1")]

    items = register_acquisitions_init(zarr_urls=urls, zarr_dir=str(tmp_path))
    for item in items["parallelization_list"]:
        register_acquisitions_compute(**item)
    for field in (1, 2):
        found = np.asarray(open_image(well / f"1f{field}registered").levels[0])
        assert (found[:, :-3] == images[f"A/01/0f{field}"][:, :-3]).all()

    with pytest.raises(ValueError, match="reference_acquisition"):
        register_acquisitions_init(zarr_urls=urls[2:], zarr_dir=str(tmp_path))


def test_an_empty_well_stays_where_it_is_and_no_library_warns(tmp_path, caplog):
    blank = np.full((2, 60, 70), 7, np.uint16)
    reference, later = write_plate(
        tmp_path / "plate.zarr", {"A/01": [0, 1]}, axes="cyx", pixels=blank
    )
    with warnings.catch_warnings(action="error"):  # a server would flag the unit
        output = register_acquisitions_compute(
            zarr_url=str(later), init_args={"reference": str(reference)}
        )
    (update,) = output["image_list_updates"]
    image = open_image(update["zarr_url"])
    assert (image.levels[0][...] == 7).all()  # where it moved, it would be 0
    assert not any(image.group.attrs["registration"]["shift"].values())
    assert "its shift onto the reference" in caplog.text


def test_images_with_different_pyramids_are_registered(tmp_path, monkeypatch):
    """The shift is searched in the smallest level that both have."""
    module = importlib.import_module("my_fractal_tasks.register_acquisitions_compute")
    monkeypatch.setattr(module, "MAX_VOXELS", 0)
    scene = gaussian_filter(np.random.default_rng(3).normal(size=(200, 240)), 4)
    pixels = (scene * 20000 + 5000).clip(0).astype(np.uint16)
    reference, later = write_plate(
        tmp_path / "plate.zarr", {"A/01": [0, 1]}, axes="yx", pixels=pixels
    )
    image = open_image(later, mode="r+")
    image.levels[0][...] = np.roll(pixels, (4, -9), (0, 1))
    build_pyramid(image)
    group = zarr.open_group(reference, mode="r+")
    attributes = group.attrs.asdict()
    attributes["multiscales"][0]["datasets"].pop()
    group.update_attributes(attributes)
    assert len(open_image(reference).levels) < len(image.levels)

    output = register_acquisitions_compute(
        zarr_url=str(later), init_args={"reference": str(reference)}
    )
    (update,) = output["image_list_updates"]
    moved = np.asarray(open_image(update["zarr_url"]).levels[0])
    assert (moved[:-4, 9:] == pixels[:-4, 9:]).all()


def test_a_plate_that_lacks_a_well_is_refused(tmp_path):
    plate = tmp_path / "plate.zarr"
    write_plate(plate, {"A/01": [0]})
    (plate / "A" / "01" / ".zattrs").write_text("{}")
    with pytest.raises(ValueError, match="zarr_name"):
        import_ome_zarr(zarr_dir=str(tmp_path), zarr_name="plate.zarr")


@pytest.mark.parametrize("size", [math.inf, 0, -1])
def test_sizes_are_positive_numbers(tmp_path, size):
    tifffile.imwrite(tmp_path / "A01.tif", STACK)
    with pytest.raises(ValueError, match="pixel_size_xy"):
        convert(tmp_path, pixel_size_xy=size)
    write_image(tmp_path / "image.zarr", "yx")
    if size:
        with pytest.raises(ValueError, match="sigma_xy"):
            gaussian_blur(zarr_url=str(tmp_path / "image.zarr"), sigma_xy=size)


@pytest.mark.parametrize("method", ["maximum", "minimum", "mean", "sum"])
@pytest.mark.parametrize(
    "dtype", ["bool", "int8", "uint32", "int32", "float16", "float64"]
)
def test_projections_of_any_type_are_those_of_numpy(tmp_path, dtype, method):
    limits = np.iinfo(dtype) if dtype not in ("bool", "float16", "float64") else None
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 2, (5, 40, 50)).astype(dtype)
    if limits:
        pixels = rng.integers(limits.min, limits.max, (5, 40, 50), dtype, endpoint=True)
    elif dtype != "bool":
        pixels = (rng.normal(0, 9000, (5, 40, 50))).astype(dtype)
        pixels[2, 3, 4] = np.nan
    write_image(tmp_path / "image.zarr", "zyx", pixels=pixels, chunks={"z": 2, "y": 16})
    init = {"origin": str(tmp_path / "image.zarr")}
    new = tmp_path / "new.zarr"
    project = importlib.import_module("my_fractal_tasks.project_image_compute")
    project.project_image_compute(zarr_url=str(new), init_args=init, method=method)
    wide = pixels.astype(np.float64)
    by_numpy = {"maximum": "max", "minimum": "min"}.get(method, method)
    expected = getattr(wide, by_numpy)(axis=0, keepdims=True)
    if method == "mean" and dtype not in ("float16", "float64"):
        expected = np.rint(expected)
    found = np.asarray(open_image(new).levels[0])
    types = {"sum": found.dtype, "mean": dtype}
    expected = expected.astype(types.get(method, np.float64))
    assert np.array_equal(found, expected, equal_nan=dtype.startswith("float"))


def test_plates_with_one_name_are_not_mixed_in_one_projection(tmp_path):
    images = [
        image
        for folder in ("a", "b")
        for image in write_plate(tmp_path / folder / "plate.zarr", {"A/01": [0]})
    ]
    urls = [str(image) for image in images]
    with pytest.raises(ValueError, match=r"zarr_urls: .*would both become"):
        run_both("project_image", zarr_urls=urls, zarr_dir=str(tmp_path))
    assert not (tmp_path / "plate_projected.zarr").exists()


def test_a_plate_of_another_ngff_version_is_not_extended(tmp_path):
    (image,) = write_plate(tmp_path / "plate.zarr", {"A/01": [0]})
    write_plate(tmp_path / "plate_projected.zarr", {"B/01": [0]}, "0.5")
    with pytest.raises(ValueError, match=r"suffix: .* is not of NGFF 0.4"):
        run_both("project_image", zarr_urls=[str(image)], zarr_dir=str(tmp_path))


@pytest.mark.parametrize("file_format", ["csv", "parquet"])
def test_tables_with_odd_columns_are_aggregated(tmp_path, file_format):
    plate = tmp_path / "plate.zarr"
    images = write_plate(plate, {"A/01": [0], "A/02": [0], "A/03": [0]}, axes="yx")
    tables = [
        {
            "id": ["a", "b"],
            "well": [1, 2],
            "size": [1.5, np.nan],
            "good": [True, False],
        },
        {"id": [3], "size": ["large"]},
        {"id": [], "size": []},
    ]
    for path, columns in zip(images, tables, strict=True):
        write_table(open_image(path), "features", columns)
    arguments = {
        "zarr_urls": [str(path) for path in images],
        "zarr_dir": str(tmp_path),
        "file_format": file_format,
    }
    aggregate_tables(**arguments)
    columns = read_any_table(plate, "features").columns
    assert columns["well"].tolist() == ["A01", "A01", "A02"]
    assert columns["id"].tolist() == ["a", "b", "3"]
    assert columns["size"].tolist() == ["1.5", "", "large"]
    assert np.array_equal(columns["feature_well"], [1, 2, np.nan], equal_nan=True)
    aggregate_tables(**arguments, rows="wells", table_name="wells")
    columns = read_any_table(plate, "wells").columns
    assert columns["count"].tolist() == [2, 1, 0]
    good = columns["good_mean"].tolist()
    assert good[0] == 0.5
    assert np.isnan(good[1:]).all()


@pytest.mark.parametrize(
    ("units", "is_valid"),
    [
        (("micrometer", "nanometer"), False),
        (("micrometer", "furlong"), False),
        (("micrometer", "um"), True),
        ((None, "micrometer"), True),
    ],
)
def test_features_in_different_units_are_not_aggregated(tmp_path, units, is_valid):
    plate = tmp_path / "plate.zarr"
    images = write_plate(plate, {"A/01": [0], "A/02": [0]}, axes="yx")
    for path, unit in zip(images, units, strict=True):
        group = zarr.open_group(path, mode="r+")
        (multiscale,) = group.attrs["multiscales"]
        for axis in multiscale["axes"]:
            axis["unit"] = unit
        group.update_attributes({"multiscales": [multiscale]})
        write_table(open_image(path), "features", {"area": [1.5]})
    urls = [str(path) for path in images]
    expected = pytest.raises(
        ValueError, match=rf"{images[0]} is in the unit micrometer"
    )
    with nullcontext() if is_valid else expected:
        aggregate_tables(zarr_urls=urls, zarr_dir=str(tmp_path))
    assert (plate / "tables").exists() == is_valid


def test_features_in_pixels_and_in_micrometers_are_not_aggregated(tmp_path):
    images = write_plate(tmp_path / "plate.zarr", {"A/01": [0], "A/02": [0]}, axes="yx")
    group = zarr.open_group(images[1], mode="r+")
    (multiscale,) = group.attrs["multiscales"]
    for dataset in multiscale["datasets"]:
        del dataset["coordinateTransformations"]
    group.update_attributes({"multiscales": [multiscale]})
    for path in images:
        write_table(open_image(path), "features", {"area": [1.5]})
    with pytest.raises(ValueError, match="no size of a pixel is said"):
        aggregate_tables(zarr_urls=[*map(str, images)], zarr_dir=str(tmp_path))


@pytest.mark.parametrize("rows", ["objects", "wells"])
def test_an_image_and_one_made_of_it_do_not_count_twice(tmp_path, rows):
    plate = tmp_path / "plate.zarr"
    images = write_plate(plate, {"A/01": [0, 1]}, axes="yx")
    gaussian_blur(zarr_url=str(images[0]))
    images.append(images[0].with_name(f"{images[0].name}blurred"))
    for path in images:
        write_table(open_image(path), "features", {"label": [1], "area": [1.5]})
    options = {"zarr_dir": str(tmp_path), "rows": rows, "table_name": "t"}
    expected = pytest.raises(ValueError, match=r"0blurred was made of .*leave one")
    with nullcontext() if rows == "objects" else expected:
        aggregate_tables(zarr_urls=[*map(str, images)], **options)
    urls = [*map(str, images[1:])]
    aggregate_tables(zarr_urls=urls, overwrite=True, **options)
    assert read_any_table(plate, "t").columns["acquisition"].tolist() == [0, 1]


@pytest.mark.parametrize("acquisitions", [(0, 0), (0, 1)])
def test_features_of_different_labels_are_not_aggregated(tmp_path, acquisitions):
    plate = tmp_path / "plate.zarr"
    wells = {"A/01": acquisitions[:1], "A/02": acquisitions[1:]}
    images = write_plate(plate, wells, axes="yx")
    for path, name in zip(images, ["nuclei", "cells"], strict=True):
        write_feature_table(
            open_image(path), "features", {"label": [1]}, label_name=name
        )
    is_valid = len({*acquisitions}) > 1
    expected = pytest.raises(
        ValueError, match=r"feature_table: .*label 'nuclei'.* of 'cells'"
    )
    with nullcontext() if is_valid else expected:
        aggregate_tables(zarr_urls=[*map(str, images)], zarr_dir=str(tmp_path))
    assert (plate / "tables").exists() == is_valid


@pytest.mark.parametrize(
    ("dtype", "odd"), [("float32", np.inf), ("float32", 1e20), ("uint64", 2**62)]
)
def test_an_extreme_pixel_changes_no_other_object(tmp_path, dtype, odd):
    path = tmp_path / "i.zarr"
    pixels = np.full((101, 83), 7, dtype)
    pixels[10:12, 10:12] = [[3, 5], [7, 9]]
    pixels[50, 41] = odd
    write_image(path, "yx", pixels=pixels)
    labels = np.zeros(pixels.shape, np.uint32)
    labels[10:12, 10:12] = 1
    with derive_label(open_image(path), "objects") as label:
        label.levels[0][...] = labels
        build_pyramid(label)
    measure_features(zarr_url=str(path))
    (row,) = read_table(path, "features")
    found = [row[f"{name}_DAPI"] for name in ("mean", "min", "max")]
    assert found == [6, 3, 9]
    assert row["std_DAPI"] == pytest.approx(math.sqrt(5))


@pytest.mark.parametrize("dtype", ["int64", "uint64"])
def test_a_blur_that_no_integer_holds_is_rejected(tmp_path, dtype):
    path = tmp_path / "i.zarr"
    highest = np.iinfo(dtype).max
    write_image(path, "yx", pixels=np.full((101, 83), highest, dtype))
    with pytest.raises(ValueError, match=f"do not fit into {dtype}"):
        gaussian_blur(zarr_url=str(path))
    assert [p.name for p in tmp_path.iterdir()] == ["i.zarr"]


@pytest.mark.parametrize(
    ("threshold", "is_valid"), [(0.5, True), (1, False), (-1, False)]
)
def test_a_threshold_of_a_mask_is_between_its_values(tmp_path, threshold, is_valid):
    path = str(tmp_path / "i.zarr")
    write_image(tmp_path / "i.zarr", "yx", pixels=np.eye(101, 83) > 0)
    expected = pytest.raises(ValueError, match=r"threshold: .* is outside of bool")
    with nullcontext() if is_valid else expected:
        threshold_segmentation(zarr_url=path, threshold=threshold)


def test_a_projection_beyond_the_largest_number_is_rejected(tmp_path):
    path = tmp_path / "i.zarr"
    write_image(path, "zyx", pixels=np.full((3, 101, 83), 1e308))
    given = {"zarr_urls": [str(path)], "zarr_dir": str(tmp_path)}
    (item,) = project_image_init(**given)["parallelization_list"]
    with pytest.raises(ValueError, match="method: the sum of these planes is larger"):
        project_image_compute(**item, method="sum")
