"""Metadata of images and plates: they agree with each other and with the files, or are rejected."""

import json
import math
import os
import re
import shutil
from contextlib import contextmanager, nullcontext
from itertools import product

import numpy as np
import pytest
import yaozarrs
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from my_fractal_tasks.aggregate_tables import aggregate_tables
from my_fractal_tasks.check_images import check_images
from my_fractal_tasks.gaussian_blur import gaussian_blur
from my_fractal_tasks.import_ome_zarr import import_ome_zarr
from my_fractal_tasks.kit import (
    create_image,
    create_plate,
    derive_image,
    map_blocks,
    open_image,
    open_label,
    plate_position,
    write_table,
)
from my_fractal_tasks.kit import read_table as read_any_table
from my_fractal_tasks.kit.chunks import check_chunks
from my_fractal_tasks.kit.image import unique_names
from my_fractal_tasks.kit.multiscale import check_scales
from my_fractal_tasks.kit.ngff import inside
from my_fractal_tasks.kit.regions import label_rois
from my_fractal_tasks.measure_features import measure_features
from my_fractal_tasks.project_image_compute import project_image_compute
from my_fractal_tasks.project_image_init import project_image_init
from my_fractal_tasks.threshold_segmentation import threshold_segmentation
from package_images import read_table, write_image, write_plate

LEAVES = [
    "..",
    "../x",
    "a/../../x",
    "/etc",
    "",
    ".",
    "a\\..\\b",
    "a\0",
]


@pytest.mark.parametrize("name", [*LEAVES, None, 1, ["0"]])
def test_a_path_in_metadata_stays_in_its_folder(tmp_path, name):
    with pytest.raises(ValueError, match=r"zarr_url: .* lies outside"):
        inside(tmp_path, name, argument="zarr_url")


@pytest.mark.parametrize("links", [False, True])
def test_a_link_leads_out_of_a_folder_only_to_a_whole_image(tmp_path, links):
    (tmp_path / "image").mkdir()
    (tmp_path / "other").mkdir()
    (tmp_path / "image" / "0").symlink_to(tmp_path / "other")
    (tmp_path / "image" / "1").symlink_to(tmp_path / "image")
    assert (
        inside(tmp_path / "image", "1", argument="zarr_url") == tmp_path / "image" / "1"
    )
    if links:
        assert inside(tmp_path / "image", "0", argument="zarr_url", links=True).exists()
    else:
        with pytest.raises(ValueError, match=r"zarr_url: .* is a link out of"):
            inside(tmp_path / "image", "0", argument="zarr_url")


def edit(path, change):
    """Change the metadata of an image, whichever its NGFF version."""
    file = next(f for f in (path / ".zattrs", path / "zarr.json") if f.exists())
    document = json.loads(file.read_text())
    attributes = document.get("attributes", document)
    change(attributes.get("ome", attributes))
    file.write_text(json.dumps(document))


def set_scale(value, level=1, axis=-1):
    def change(ome):
        dataset = ome["multiscales"][0]["datasets"][level]
        dataset["coordinateTransformations"][0]["scale"][axis] = value

    return change


# --- chunks that are on disk ---


def write_with_keys(path, zarr_format, keys, shape=(3, 50, 40), **options):
    """Write an array alone, whose chunks have keys of an encoding."""
    name, separator = keys
    array = zarr.create_array(
        path,
        shape=shape,
        chunks=tuple(min(n, 16) for n in shape),
        dtype="uint16",
        zarr_format=zarr_format,
        chunk_key_encoding={"name": name, "separator": separator},
        **options,
    )
    array[...] = 7
    return array


def set_keys(path, zarr_format, keys):
    """Change what an array says of its keys; its files stay."""
    name, separator = keys
    file = path / (".zarray" if zarr_format == 2 else "zarr.json")
    document = json.loads(file.read_text())
    if zarr_format == 2:
        document["dimension_separator"] = separator
    else:
        configuration = {"separator": separator}
        document["chunk_key_encoding"] = {"name": name, "configuration": configuration}
    file.write_text(json.dumps(document))


KEYS = {2: [("v2", "."), ("v2", "/")]}
KEYS[3] = [*KEYS[2], ("default", "."), ("default", "/")]
SHAPES = [(), (7,), (70,), (50, 40), (1, 1), (3, 50, 40), (2, 1, 3, 50, 40)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("sharded", [False, True])
@pytest.mark.parametrize("zarr_format", [2, 3])
def test_chunks_are_found_or_the_message_names_a_remedy(
    tmp_path, zarr_format, sharded, shape
):
    if sharded and (zarr_format == 2 or not shape):
        return
    options = {"shards": tuple(min(n, 16) * 2 for n in shape)} if sharded else {}
    for number, (written, said) in enumerate(product(KEYS[zarr_format], repeat=2)):
        path = tmp_path / str(number)
        write_with_keys(path, zarr_format, written, shape, **options)
        set_keys(path, zarr_format, said)
        array = zarr.open_array(path)
        if (np.asarray(array) == 7).all():
            check_chunks(array, path)
            continue
        with pytest.raises(ValueError, match=f"{path} has the chunk") as error:
            check_chunks(array, path)
        message = str(error.value)
        if zarr_format == 2:
            assert (
                f"set dimension_separator to {written[1]!r} in {path}/.zarray"
                in message
            )
        else:
            start, end = message.index("{"), message.rindex("}") + 1
            advice = json.loads(message[start:end])
            set_keys(path, 3, (advice["name"], advice["configuration"]["separator"]))
            assert (np.asarray(zarr.open_array(path)) == 7).all()


@pytest.mark.parametrize("keys", KEYS[3])
@pytest.mark.parametrize("written", [0, 1, 5])
def test_arrays_that_are_empty_or_partly_written_are_valid(tmp_path, keys, written):
    array = write_with_keys(tmp_path / "a", 3, keys)
    files = sorted(f for f in (tmp_path / "a").rglob("*") if f.is_file())
    for file in files[written:]:
        if file.name != "zarr.json":
            file.unlink()  # its folders stay
    check_chunks(array, tmp_path / "a")


JUNK = [".DS_Store", "Thumbs.db", ".0.0.lock/x", "0.0.0.4f3a.partial", "._0", ".zattrs"]
JUNK += ["copy of 0/0", "x/0/0/0", "c.txt"]


@pytest.mark.parametrize("keys", KEYS[3])
def test_files_that_are_no_chunks_do_not_count(tmp_path, keys):
    array = write_with_keys(tmp_path / "a", 3, keys)
    for empty in (False, True):
        if empty:
            array[...] = 0
            for file in (tmp_path / "a").rglob("[0c]*"):
                if file.is_file():
                    file.unlink()
        for name in JUNK:
            (tmp_path / "a" / name).parent.mkdir(exist_ok=True, parents=True)
            (tmp_path / "a" / name).write_text("junk")
        check_chunks(array, tmp_path / "a")


RENAMED = [("([0-9]+)", r"0\1"), ("^c?", "C"), ("^(c.)?", "chunk_")]
RENAMED += [("[./]", mark) for mark in ("-", "_", ",", r"\\")]
RENAMED += [("$", end) for end in (".gz", ".bin", " (1)")]


@pytest.mark.parametrize(("pattern", "new"), RENAMED)
@pytest.mark.parametrize("keys", [("default", "/"), ("v2", ".")])
def test_chunks_whose_names_another_tool_has_changed_are_found(
    tmp_path, keys, pattern, new
):
    array = write_with_keys(tmp_path / "a", 3, keys)
    for file in [f for f in (tmp_path / "a").rglob("*") if f.is_file()]:
        key = str(file.relative_to(tmp_path / "a"))
        if key != "zarr.json":
            key = re.sub(pattern, new, key)
        (tmp_path / "b" / key).parent.mkdir(parents=True, exist_ok=True)
        file.rename(tmp_path / "b" / key)
    with pytest.raises(ValueError, match="b has the chunk"):
        check_chunks(array, tmp_path / "b")
    chunk = tmp_path / "b" / array.metadata.encode_chunk_key((0, 0, 0))
    chunk.parent.mkdir(parents=True, exist_ok=True)
    chunk.write_bytes(b"7")
    check_chunks(array, tmp_path / "b")  # beside this one, they are copies


@pytest.mark.parametrize("version", ["0.4", "0.5"])
@pytest.mark.parametrize("what", ["file", "folder", "one file"])
def test_links_to_chunks_that_were_not_fetched_are_named(tmp_path, version, what):
    path = tmp_path / "image.zarr"
    write_image(path, "cyx", version, chunks={"y": 32, "x": 32})
    level = path / ("0/c" if version == "0.5" else "0")
    files = sorted(f for f in level.rglob("[0-9]*") if f.is_file())
    if what == "folder":
        shutil.move(level / "0", tmp_path / "elsewhere")
        (level / "0").symlink_to(tmp_path / "elsewhere")
        open_image(path).read()
        (tmp_path / "elsewhere").rename(tmp_path / "gone")
    for file in files if what == "file" else files[-1:] if what == "one file" else []:
        file.unlink()
        file.symlink_to("../../.git/annex/objects/MD5-s10")
    with pytest.raises(ValueError, match=r"is a link to .* fetch that file"):
        open_image(path).read()


@pytest.mark.parametrize("shards", [None, (1, 64, 64)])
def test_an_empty_file_is_no_missing_chunk(tmp_path, shards):
    path = tmp_path / "image.zarr"
    write_image(path, "cyx", "0.5", chunks={"y": 32, "x": 32})
    array = zarr.create_array(
        path / "0",
        data=open_image(path).read(),
        chunks=(1, 32, 32),
        shards=shards,
        dimension_names="cyx",
        overwrite=True,
    )
    first = path / "0" / array.metadata.encode_chunk_key((0, 0, 0))
    first.write_bytes(b"")
    with pytest.raises(ValueError, match=f"{first} is empty"):
        open_image(path).read()


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_a_level_without_chunks_is_rejected_if_a_smaller_one_has_pixels(
    tmp_path, version
):
    path = tmp_path / "image.zarr"
    write_image(path, "cyx", version)
    for folder in (path / "0").iterdir():
        if folder.is_dir():
            shutil.rmtree(folder)
    with pytest.raises(ValueError, match=f"{path}/0 has no chunks, but {path}/1"):
        open_image(path)
    smaller = zarr.open_array(
        path / "1", mode="r+", config={"write_empty_chunks": True}
    )
    smaller[...] = 0
    assert not open_image(path).read().any()


@pytest.mark.parametrize("keys", KEYS[3])
@pytest.mark.parametrize(
    "change", [{"shape": [3, 20, 40]}, {"chunks": 50}, {"chunks": 32}]
)
def test_chunks_outside_of_the_array_are_found(tmp_path, keys, change):
    write_with_keys(tmp_path / "a", 3, keys)
    document = json.loads((tmp_path / "a" / "zarr.json").read_text())
    document["shape"] = change.get("shape", document["shape"])
    if "chunks" in change:
        document["chunk_grid"]["configuration"]["chunk_shape"][1:] = [
            change["chunks"]
        ] * 2
    (tmp_path / "a" / "zarr.json").write_text(json.dumps(document))
    with pytest.raises(ValueError, match="outside of its"):
        check_chunks(zarr.open_array(tmp_path / "a"), tmp_path / "a")


@pytest.mark.parametrize("version", ["0.4", "0.5"])
@pytest.mark.parametrize("where", ["0", "1", "labels/objects/0", "labels/objects/1"])
@pytest.mark.parametrize("separator", [".", "/"])
def test_pixels_that_are_not_found_are_an_error_in_every_task(
    tmp_path, version, where, separator
):
    path = tmp_path / "image.zarr"
    write_image(path, "cyx", version, chunks={"y": 32, "x": 32})
    threshold_segmentation(zarr_url=str(path))
    array = path / where
    pixels = np.asarray(zarr.open_array(array))
    shutil.rmtree(array)
    zarr_format = 2 if version == "0.4" else 3
    written = zarr.create_array(
        array,
        shape=pixels.shape,
        chunks=(1, 32, 32)[-pixels.ndim :],
        dtype=pixels.dtype,
        zarr_format=zarr_format,
        chunk_key_encoding={"name": "v2", "separator": separator},
    )
    written[...] = pixels
    set_keys(array, zarr_format, ("v2", "/" if separator == "." else "."))
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(ValueError, match=f"{array} has the chunk"):
        check_images(zarr_urls=[str(path)], zarr_dir=str(tmp_path))
    with pytest.raises(ValueError, match=f"{array} has the chunk"):
        measure_features(zarr_url=str(path))
    assert sorted(tmp_path.rglob("*")) == before


def test_a_large_folder_is_not_listed_as_a_whole(tmp_path, monkeypatch):
    array = write_with_keys(tmp_path / "a", 2, ("v2", "."), (2, 2))
    for number in range(3000):
        (tmp_path / "a" / f"note{number}").touch()
    seen = []
    scandir = os.scandir

    @contextmanager
    def counting(path):
        with scandir(path) as entries:
            yield (seen.append(entry.name) or entry for entry in entries)

    monkeypatch.setattr(os, "scandir", counting)
    check_chunks(array, tmp_path / "a")
    assert 0 < len(seen) < 300


# --- scales, axes, versions, channels ---

NO_SIZES = [0, -0.5, math.nan, math.inf, -math.inf, "0.5", None, True, [1]]


@pytest.mark.parametrize("version", ["0.4", "0.5"])
@pytest.mark.parametrize("level", [0, 1])
@pytest.mark.parametrize("value", NO_SIZES, ids=repr)
def test_a_pixel_has_a_size(tmp_path, version, level, value):
    path = tmp_path / "image.zarr"
    write_image(path, "cyx", version)
    edit(path, set_scale(value, level))
    with pytest.raises(
        ValueError, match=f"{path} is not an image: .*scale .*level {level}"
    ):
        open_image(path)
    with pytest.raises(ValueError, match=f"{path} is not an image: .*scale"):
        check_images(zarr_urls=[str(path)], zarr_dir=str(tmp_path))


def same_type_twice(ome):
    ome["multiscales"][0]["axes"][1]["name"] = "x"


def add_channel(ome):
    ome["omero"]["channels"].append({"label": "third"})


def take_channel(ome):
    ome["omero"]["channels"].pop()


CONTRADICTIONS = {
    "levels of one size": set_scale(0.5),
    "levels of other sizes": set_scale(2.0),
    "scale too short": lambda ome: ome["multiscales"][0]["datasets"][0][
        "coordinateTransformations"
    ][0]["scale"].pop(),
    "scale is text": lambda ome: ome["multiscales"][0]["datasets"][0].update(
        coordinateTransformations=[{"type": "scale", "scale": "0.5"}]
    ),
    "infinite translation": lambda ome: ome["multiscales"][0]["datasets"][0][
        "coordinateTransformations"
    ].append({"type": "translation", "translation": [0, math.nan, 0]}),
    "scale of all levels": lambda ome: ome["multiscales"][0].update(
        coordinateTransformations=[{"type": "scale", "scale": [1, 0, 1]}]
    ),
    "affine": lambda ome: ome["multiscales"][0]["datasets"][0][
        "coordinateTransformations"
    ].append({"type": "affine", "affine": [[1]]}),
    "order of levels": lambda ome: ome["multiscales"][0]["datasets"].reverse(),
    "no levels": lambda ome: ome["multiscales"][0].update(datasets=[]),
    "axis twice": same_type_twice,
    "order of axes": lambda ome: ome["multiscales"][0]["axes"].reverse(),
    "too few axes": lambda ome: ome["multiscales"][0]["axes"].pop(0),
    "type of an axis": lambda ome: ome["multiscales"][0]["axes"][2].update(type="time"),
    "unit of one axis": lambda ome: ome["multiscales"][0]["axes"][2].update(unit="nm"),
    "axes of NGFF 0.3": lambda ome: ome["multiscales"][0].update(axes=["c", "y", "x"]),
    "version": lambda ome: ome["multiscales"][0].update(version="0.3"),
    "more channels": add_channel,
    "fewer channels": take_channel,
}


@pytest.mark.parametrize("version", ["0.4", "0.5"])
@pytest.mark.parametrize("kind", CONTRADICTIONS)
def test_an_image_that_contradicts_itself_is_rejected(tmp_path, version, kind):
    path = tmp_path / "image.zarr"
    write_image(path, "cyx", version)
    edit(path, CONTRADICTIONS[kind])
    with pytest.raises(ValueError, match=f"zarr_url: {path} is not an image: "):
        open_image(path)


def test_names_of_dimensions_are_those_of_the_axes(tmp_path):
    path = tmp_path / "image.zarr"
    write_image(path, "czyx", "0.5")
    file = path / "0" / "zarr.json"
    document = json.loads(file.read_text())
    for names, is_valid in (
        (["c", "z", None, "x"], True),
        (["z", "c", "y", "x"], False),
    ):
        file.write_text(json.dumps(document | {"dimension_names": names}))
        if is_valid:
            open_image(path)
        else:
            with pytest.raises(ValueError, match="dimension_names"):
                open_image(path)


def test_names_of_dimensions_of_xarray_are_those_of_the_axes(tmp_path):
    write_image(tmp_path, "czyx", "0.4")
    for names, is_valid in ("czyx", True), ("zcyx", False):
        text = json.dumps({"_ARRAY_DIMENSIONS": [*names]})
        (tmp_path / "0" / ".zattrs").write_text(text)
        with nullcontext() if is_valid else pytest.raises(ValueError, match="_ARRAY"):
            open_image(tmp_path)


def test_levels_have_one_data_type(tmp_path):
    path = tmp_path / "image.zarr"
    pixels = write_image(path, "cyx")
    shutil.rmtree(path / "1")
    zarr.create_array(path / "1", data=pixels[:, ::2, ::2].astype("f4"), zarr_format=2)
    with pytest.raises(ValueError, match="data types: uint16, float32"):
        open_image(path)


def test_the_sizes_of_a_level_and_of_the_pyramid_are_combined(tmp_path):
    path = tmp_path / "image.zarr"
    write_image(path, "zyx")

    def change(ome):
        ome["multiscales"][0]["coordinateTransformations"] = [
            {"type": "scale", "scale": [2.0, 4.0, 4.0]},
            {"type": "translation", "translation": [0, 1.0, 1.0]},
        ]

    edit(path, change)
    assert open_image(path).scale == {"z": 2.0, "y": 2.0, "x": 2.0}


SIZES = st.integers(1, 200)


@given(st.data())
@settings(max_examples=200, deadline=None)
def test_every_pyramid_by_whole_factors_is_valid(data):
    """However a writer rounds, and whether it says the factors or the ratios of shapes."""
    shape = data.draw(st.tuples(SIZES, SIZES))
    factor = data.draw(st.integers(2, 4))
    rounding = data.draw(st.sampled_from([math.floor, math.ceil, round]))
    by_shape = data.draw(st.booleans())
    size = data.draw(st.sampled_from([0.1083333, 0.325, 1, 2.5e-7, 650.0]))
    shapes, factors = [shape], [(1.0, 1.0)]
    for level in range(1, 6):
        shapes.append(tuple(max(1, rounding(n / factor)) for n in shapes[-1]))
        ratios = tuple(a / b for a, b in zip(shape, shapes[-1], strict=True))
        factors.append(ratios if by_shape else (float(factor**level),) * 2)
    datasets = [
        {
            "coordinateTransformations": [
                {"type": "scale", "scale": [f * size for f in fs]}
            ]
        }
        for fs in factors
    ]
    axes = [{"name": "y"}, {"name": "x"}]
    check_scales({"axes": axes, "datasets": datasets}, shapes)


# --- names of channels ---


@pytest.mark.parametrize(
    ("names", "unique"),
    [
        (["1", None], ["1", "_1"]),
        (["DAPI", "DAPI", "DAPI1"], ["DAPI0", "DAPI_1", "DAPI1"]),
        (["", "0", None, "2"], ["_0", "0", "_2", "2"]),
        (["a", "a", "a0", "a_0", "a1"], ["a__0", "a_1", "a0", "a_0", "a1"]),
        ([7, "7"], ["70", "71"]),
        ([None, None], ["0", "1"]),
    ],
)
def test_a_made_name_is_not_that_of_another(names, unique):
    assert unique_names(names) == unique


@given(st.lists(st.one_of(st.none(), st.text("a01_", max_size=4)), max_size=8))
def test_names_are_unique_and_those_that_are_stay(names):
    unique = unique_names(names)
    assert len({*unique, ""}) == len(names) + 1
    for name, made in zip(names, unique, strict=True):
        if name and names.count(name) == 1:
            assert made == name


def test_a_channel_is_measured_under_its_own_name(tmp_path):
    path = tmp_path / "image.zarr"
    pixels = np.stack([np.full((40, 30), level, np.uint16) for level in (10, 20, 30)])
    write_image(path, "cyx", pixels=pixels)

    def change(ome):
        ome["omero"]["channels"] = [{"label": n} for n in ("DAPI", "DAPI", "DAPI1")]

    edit(path, change)
    write_label(path, "cells", np.ones((40, 30), np.uint32))
    measure_features(zarr_url=str(path), label_name="cells")
    (row,) = read_table(path, "features")
    means = {name: row[f"mean_{name}"] for name in ("DAPI0", "DAPI_1", "DAPI1")}
    assert means == {"DAPI0": 10, "DAPI_1": 20, "DAPI1": 30}


# --- labels and their images ---


def write_label(path, name, labels, scale=None, axes=None, **options):
    """Write a label into an image, by hand."""
    version = "0.4" if (path / ".zattrs").exists() else "0.5"
    axes = axes or open_image(path).axes.replace("c", "")
    write_image(path / "labels" / name, axes, version, pixels=labels, **options)
    edit(path / "labels" / name, lambda ome: ome.pop("omero"))
    group = zarr.open_group(
        path / "labels", mode="a", zarr_format=2 if version == "0.4" else 3
    )
    names = {"labels": [name]}
    group.update_attributes(
        names if version == "0.4" else {"ome": {"version": version, **names}}
    )
    for level, factor in ((0, 1), (1, 2)) if scale else ():
        for axis in (-2, -1):
            edit(path / "labels" / name, set_scale(scale * factor, level, axis))


def use(path, tmp_path):
    """Each task that uses a label with its image."""
    url = {"zarr_url": str(path)}
    yield lambda: measure_features(**url, label_name="cells")
    yield lambda: gaussian_blur(**url, regions={"mask": "cells"})
    yield lambda: threshold_segmentation(**url, regions={"mask": "cells"})
    yield lambda: check_images(zarr_urls=[str(path)], zarr_dir=str(tmp_path))


@pytest.mark.parametrize("version", ["0.4", "0.5"])
@pytest.mark.parametrize("scale", [1.0, 0.25, 0.52])
def test_a_label_of_another_scale_is_rejected(tmp_path, version, scale):
    path = tmp_path / "image.zarr"
    pixels = write_image(path, "czyx", version)
    write_label(path, "cells", np.ones(pixels.shape[1:], np.uint32), scale)
    for task in use(path, tmp_path):
        with pytest.raises(ValueError, match=rf"{path}/labels/cells has .*{path} has"):
            task()
    assert not (path / "tables").exists()
    assert not list(tmp_path.glob("*blurred*"))


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_a_label_of_a_coarser_level_is_measured_as_large_as_it_is(tmp_path, version):
    path = tmp_path / "image.zarr"
    write_image(path, "cyx", version)  # 101 x 83 pixels of 0.5
    labels = np.zeros((51, 42), np.uint32)
    labels[:8, :8] = 1
    write_label(path, "cells", labels, 1.0)
    measure_features(zarr_url=str(path), label_name="cells")
    assert read_table(path, "features")[0]["area"] == 64


@pytest.mark.parametrize("unit", ["nanometer", "nm", "NANOMETER", None])
def test_a_label_in_another_unit_is_measured_in_that_of_its_image(tmp_path, unit):
    path = tmp_path / "image.zarr"
    pixels = write_image(path, "cyx")
    size = 0.5 if unit is None else 500.0
    write_label(path, "cells", np.ones(pixels.shape[1:], np.uint32), size)

    def change(ome):
        for axis in ome["multiscales"][0]["axes"]:
            axis.pop("unit")
            axis |= {"unit": unit} if unit else {}

    edit(path / "labels" / "cells", change)
    measure_features(zarr_url=str(path), label_name="cells")
    area = 0.25 * pixels[0].size
    assert read_table(path, "features")[0]["area"] == pytest.approx(area)
    edit(path / "labels" / "cells", lambda ome: set_scale(0.51 * size / 0.5, 0)(ome))
    edit(path / "labels" / "cells", lambda ome: set_scale(1.02 * size / 0.5, 1)(ome))
    with pytest.raises(ValueError, match="correct the coordinateTransformations"):
        open_label(open_image(path), "cells")


@pytest.mark.parametrize("version", ["0.4", "0.5"])
@pytest.mark.parametrize("axes", ["cyx", "czyx", "tczyx"])
@pytest.mark.parametrize("n_channels", [1, 2])
def test_a_label_may_have_an_axis_of_one_channel(tmp_path, version, axes, n_channels):
    path = tmp_path / "image.zarr"
    pixels = write_image(path, axes, version)
    labels = np.zeros_like(pixels, np.uint32).take([0] * n_channels, axes.index("c"))
    labels[..., 10:20, 30:40] = 4
    write_label(path, "cells", labels, axes=axes)
    if n_channels > 1:
        for task in [*use(path, tmp_path)][:3]:
            with pytest.raises(ValueError, match="labels/cells has 2 channels"):
                task()
        return
    for task in use(path, tmp_path):
        task()
    blurred = open_image(tmp_path / "image_blurred.zarr").levels[0][...]
    inside = (labels > 0) & np.ones_like(pixels, bool)
    assert (blurred[~inside] == pixels[~inside]).all()
    assert (blurred[inside] != pixels[inside]).any()
    columns = read_table(path, "features")[0]
    assert columns["label"] == 4
    assert "centroid_c" not in columns


@pytest.mark.parametrize(
    ("dtype", "label"), [("i4", -1), ("i8", -(2**40)), ("u8", 2**63 + 5)]
)
def test_numbers_that_are_no_labels_are_not_measured(tmp_path, dtype, label):
    path = tmp_path / "image.zarr"
    pixels = write_image(path, "cyx")
    labels = np.zeros(pixels.shape[1:], dtype)
    labels[:9, :9] = label
    write_label(path, "cells", labels)
    with pytest.raises(ValueError, match=r"label_name: 'cells' has .* negative"):
        measure_features(zarr_url=str(path), label_name="cells")
    assert not (path / "tables").exists()
    with pytest.raises(ValueError, match=r"cells has labels that are negative"):
        label_rois(open_label(open_image(path), "cells"))


@pytest.mark.parametrize("dtype", ["i8", "u8"])
def test_an_object_of_any_number_is_a_region(tmp_path, dtype):
    pixels = write_image(tmp_path, "cyx")
    labels = np.zeros(pixels.shape[1:], dtype)
    labels[:9, :9], labels[20:] = 2**53 + 1, 3
    write_label(tmp_path, "cells", labels)
    rois = label_rois(open_label(open_image(tmp_path), "cells"))
    assert [roi.label for roi in rois] == [3, 2**53 + 1]
    assert [int(roi.region[0].start) for roi in rois] == [20, 0]


def test_a_label_may_lie_in_a_folder_of_labels(tmp_path):
    path = tmp_path / "image.zarr"
    pixels = write_image(path, "cyx")
    write_label(path, "by/hand", np.ones(pixels.shape[1:], np.uint32))
    for source, is_valid in (("../../../", True), ("../../", False)):
        label = {"image-label": {"source": {"image": source}}}
        edit(path / "labels" / "by" / "hand", lambda ome, new=label: ome.update(new))
        if is_valid:
            open_label(open_image(path), "by/hand")
        else:
            with pytest.raises(ValueError, match=r"image-label\.source"):
                open_label(open_image(path), "by/hand")


@pytest.mark.parametrize(
    ("start", "is_valid"), [(0.0, True), (0.25, True), (20.0, False)]
)
@pytest.mark.parametrize("is_said", [True, False])
def test_a_label_begins_where_its_image_does(tmp_path, start, is_said, is_valid):
    path = tmp_path / "image.zarr"
    pixels = write_image(path, "cyx")
    write_label(path, "cells", np.ones(pixels.shape[1:], np.uint32))
    places = [(path, 0.0)] * is_said + [(path / "labels" / "cells", start)]
    for folder, position in places:

        def change(ome, position=position):
            for dataset in ome["multiscales"][0]["datasets"]:
                transformations = dataset["coordinateTransformations"]
                place = [0.0] * (len(transformations[0]["scale"]) - 1) + [position]
                transformations.append({"type": "translation", "translation": place})

        edit(folder, change)
    if is_valid:
        open_label(open_image(path), "cells")
    else:
        with pytest.raises(ValueError, match=f"cells begins at 20 along x, and {path}"):
            open_label(open_image(path), "cells")


@pytest.mark.parametrize(
    ("source", "is_valid"),
    [
        ("../../", True),
        ("../..", True),
        ("../../../image.zarr", True),
        ("../../../b", False),
    ],
)
def test_a_label_is_of_the_image_that_it_lies_in(tmp_path, source, is_valid):
    path = tmp_path / "image.zarr"
    pixels = write_image(path, "cyx")
    write_label(path, "cells", np.ones(pixels.shape[1:], np.uint32))
    label = {"image-label": {"source": {"image": source}}}
    edit(path / "labels" / "cells", lambda ome: ome.update(label))
    if is_valid:
        open_label(open_image(path), "cells")
    else:
        with pytest.raises(ValueError, match=r"image-label\.source"):
            open_label(open_image(path), "cells")


# --- names lead nowhere else ---


@pytest.mark.parametrize("version", ["0.4", "0.5"])
@pytest.mark.parametrize("kind", ["path", "absolute", "link"])
@pytest.mark.parametrize("what", ["level", "label"])
def test_an_image_reads_nothing_outside_of_it(tmp_path, version, kind, what):
    path, secret = tmp_path / "image.zarr", tmp_path / "secret.zarr"
    pixels = write_image(path, "cyx", version)
    if what == "level":
        write_image(secret, "cyx", version)
    else:
        write_image(secret, "yx", version, pixels=np.ones(pixels.shape[1:], np.uint32))
        write_label(path, "cells", np.ones(pixels.shape[1:], np.uint32))
    holder = path if what == "level" else path / "labels"
    name, target = ("0", secret / "0") if what == "level" else ("cells", secret)
    if kind == "link":
        shutil.rmtree(holder / name)
        (holder / name).symlink_to(target)
    else:
        name = str(target) if kind == "absolute" else os.path.relpath(target, holder)

    def change(ome):
        if what == "level":
            ome["multiscales"][0]["datasets"][0]["path"] = name
        else:
            ome["labels"] = [name]

    edit(holder, change)
    with pytest.raises(ValueError, match=r"lies outside|is a link out of"):
        measure_features(zarr_url=str(path), label_name=name)
    with pytest.raises(ValueError, match="images, 1 of 1:"):
        check_images(zarr_urls=[str(path)], zarr_dir=str(tmp_path))


def test_an_image_may_be_a_link_as_a_whole(tmp_path):
    write_image(tmp_path / "image.zarr", "cyx")
    (tmp_path / "link.zarr").symlink_to(tmp_path / "image.zarr")
    threshold_segmentation(zarr_url=str(tmp_path / "link.zarr"))
    open_label(open_image(tmp_path / "link.zarr"), "objects")


# --- plates ---


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_a_plate_is_imported_as_far_as_it_is_there(tmp_path, version, caplog):
    caplog.set_level("INFO")
    plate = tmp_path / "plate.zarr"
    images = write_plate(
        plate, {"A/01": [0, 1], "A/02": [0], "B/01": [0], "B/02": [0]}, version
    )
    shutil.rmtree(plate / "A" / "01" / "1")
    shutil.rmtree(plate / "A" / "02")
    shutil.rmtree(plate / "B" / "02" / "0")
    (plate / "B" / "02" / "0").mkdir()  # of a copy that was ended
    edit(plate / "B" / "01", lambda ome: ome["well"].update(images=[]))
    arguments = {"zarr_dir": str(tmp_path), "zarr_name": "plate.zarr"}
    before = sorted(tmp_path.rglob("*"))
    absent = (
        "the well A/02",
        "images in the well B/01",
        "the image A/01/1",
        "the image B/02/0",
    )
    with pytest.raises(ValueError, match=r"zarr_name: .*missing to skip") as error:
        import_ome_zarr(**arguments)
    assert [str(error.value).count(name) for name in absent] == [1] * 4
    (update,) = import_ome_zarr(**arguments, missing="skip")["image_list_updates"]
    assert update["zarr_url"] == str(images[0])
    assert update["attributes"] == {
        "plate": "plate.zarr",
        "well": "A01",
        "acquisition": 0,
    }
    assert [caplog.text.count(name) for name in absent] == [1] * 4
    shutil.rmtree(images[0])
    with pytest.raises(ValueError, match="nothing is left to import"):
        import_ome_zarr(**arguments, missing="skip")
    shutil.rmtree(plate / "A")
    assert set(tmp_path.rglob("*")) < set(before)


def no_images(well):
    edit(well, lambda ome: ome.pop("well"))


def image_twice(well):
    edit(well, lambda ome: ome["well"].update(images=[{"path": "0"}] * 2))


def images_of_nothing(well):
    edit(well, lambda ome: ome["well"].update(images=None))


def image_without_path(well):
    edit(well, lambda ome: ome["well"].update(images=[{"acquisition": 0}]))


def image_elsewhere(well):
    edit(well, lambda ome: ome["well"].update(images=[{"path": "../../A/01/0"}]))


def acquisition_as_text(well):
    edit(well, lambda ome: ome["well"]["images"][0].update(acquisition="0"))


def version_of_well(well):
    edit(well, lambda ome: ome["well"].update(version="0.1"))


def half_written(well):
    file = next(f for f in (well / ".zattrs", well / "zarr.json") if f.exists())
    file.write_text(file.read_text()[:20])


def no_array(well):
    shutil.rmtree(well / "0" / "0")


BROKEN = [
    no_images,
    images_of_nothing,
    image_twice,
    image_without_path,
    image_elsewhere,
]
BROKEN += [acquisition_as_text, version_of_well, half_written, no_array]


@pytest.mark.parametrize("version", ["0.4", "0.5"])
@pytest.mark.parametrize("damage", BROKEN)
def test_a_damaged_well_is_never_skipped(tmp_path, version, damage):
    plate = tmp_path / "plate.zarr"
    write_plate(plate, {"A/01": [0], "B/03": [0], "C/04": [0]}, version)
    damage(plate / "B" / "03")
    damage(plate / "C" / "04")
    for missing in ("reject", "skip"):
        with pytest.raises(
            ValueError, match=r"zarr_name: .*damaged (wells|images):\n.*B/03.*\n.*C/04"
        ):
            import_ome_zarr(
                zarr_dir=str(tmp_path), zarr_name="plate.zarr", missing=missing
            )


def two_wells_of_one_name(plate):
    plate["rows"].append({"name": "A0"})
    plate["columns"].append({"name": "1"})
    plate["wells"].append({"path": "A0/1", "rowIndex": 2, "columnIndex": 2})


PLATES = {
    "two wells A01": two_wells_of_one_name,
    "a negative index": lambda plate: plate["wells"][0].update(rowIndex=-2),
    "an index of text": lambda plate: plate["wells"][0].update(rowIndex="0"),
    "a well twice": lambda plate: plate["wells"].append(plate["wells"][0]),
    "wells elsewhere": lambda plate: plate["wells"][0].update(
        path="../other.zarr/A/01"
    ),
    "an absolute well": lambda plate: plate["wells"][0].update(path="/A/01"),
    "an index too high": lambda plate: plate["wells"][0].update(rowIndex=7),
    "an index of another": lambda plate: plate["wells"][0].update(columnIndex=1),
    "no such row": lambda plate: plate["rows"][0].update(name="Z"),
    "no well": lambda plate: plate.pop("wells"),
    "wells of nothing": lambda plate: plate.update(wells=None),
    "an empty list of wells": lambda plate: plate.update(wells=[]),
    "another version": lambda plate: plate.update(version="0.3"),
    "other acquisitions": lambda plate: plate.update(
        acquisitions=[{"id": 5}, {"id": 6}]
    ),
}


@pytest.mark.parametrize("version", ["0.4", "0.5"])
@pytest.mark.parametrize("kind", PLATES)
def test_a_plate_that_contradicts_itself_is_rejected(tmp_path, version, kind):
    plate = tmp_path / "plate.zarr"
    write_plate(plate, {"A/01": [0], "B/03": [0]}, version)
    edit(plate, lambda ome: PLATES[kind](ome["plate"]))
    for missing in ("reject", "skip"):
        with pytest.raises(ValueError, match=f"zarr_name: .*{plate}"):
            import_ome_zarr(
                zarr_dir=str(tmp_path), zarr_name="plate.zarr", missing=missing
            )


@pytest.mark.parametrize(
    "acquisitions", [None, [{"id": 4, "path": "0"}, {"id": 7, "path": "1"}]]
)
def test_wells_may_lie_in_a_folder_of_their_acquisition(tmp_path, acquisitions):
    """As older plates of OMERO have them."""
    plate = tmp_path / "plate.zarr"
    metadata = {
        "version": "0.4",
        "rows": [{"name": "A"}],
        "columns": [{"name": "3"}],
        "wells": [{"path": "0/A/3"}, {"path": "1/A/3"}],
    } | ({"acquisitions": acquisitions} if acquisitions else {})
    zarr.create_group(plate, zarr_format=2, attributes={"plate": metadata})
    for well in ("0/A/3", "1/A/3"):
        for folder in (plate / well[0], plate / well[:3]):
            zarr.open_group(folder, mode="a", zarr_format=2)
        images = {"version": "0.4", "images": [{"path": "0"}]}
        zarr.create_group(plate / well, zarr_format=2, attributes={"well": images})
        write_image(plate / well / "0")
    output = import_ome_zarr(zarr_dir=str(tmp_path), zarr_name="plate.zarr")
    numbers = [0, 1] if acquisitions is None else [4, 7]
    attributes = [update["attributes"] for update in output["image_list_updates"]]
    assert attributes == [
        {"plate": "plate.zarr", "well": "A3", "acquisition": number}
        for number in numbers
    ]
    urls = [update["zarr_url"] for update in output["image_list_updates"]]
    assert [plate_position(url) for url in urls] == attributes
    checked = check_images(zarr_urls=urls, zarr_dir=str(tmp_path))["image_list_updates"]
    assert [update["attributes"] for update in checked] == attributes
    for url in urls:
        write_table(open_image(url), "features", {"label": [1]})
    aggregate_tables(zarr_urls=urls, zarr_dir=str(tmp_path))
    columns = read_any_table(plate, "features").columns
    assert columns["acquisition"].tolist() == numbers
    assert columns["image"].tolist() == ["0/A/3/0", "1/A/3/0"]
    with pytest.raises(ValueError, match=r"zarr_urls: .* would both become"):
        project_image_init(zarr_urls=urls, zarr_dir=str(tmp_path))
    (item,) = project_image_init(zarr_urls=urls[1:], zarr_dir=str(tmp_path))[
        "parallelization_list"
    ]
    assert item["zarr_url"] == str(tmp_path / "plate_projected.zarr" / "A" / "3" / "0")


@pytest.mark.parametrize(("known", "expected"), [([], None), ([5], 5), ([5, 6], None)])
def test_the_acquisition_of_an_image_is_said_or_the_only_one(tmp_path, known, expected):
    plate = tmp_path / "plate.zarr"
    (path,) = write_plate(plate, {"A/01": [0]})
    edit(
        plate, lambda ome: ome["plate"].update(acquisitions=[{"id": n} for n in known])
    )
    edit(plate / "A" / "01", lambda ome: ome["well"]["images"][0].pop("acquisition"))
    assert plate_position(path, unknown=None).get("acquisition") == expected


def test_a_link_to_a_well_is_no_other_well(tmp_path):
    plate = tmp_path / "plate.zarr"
    (path,) = write_plate(plate, {"A/01": [0]})
    (plate / "B").symlink_to(plate / "A")
    with pytest.raises(
        ValueError, match=rf"{plate}/B/01 does not fit its plate {plate}"
    ):
        plate_position(plate / "B" / "01" / "0")
    (tmp_path / "link.zarr").symlink_to(plate)
    assert plate_position(tmp_path / "link.zarr" / "A" / "01" / "0")["well"] == "A01"
    assert plate_position(path)["well"] == "A01"


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_a_folder_of_bioformats2raw_names_the_images_to_import(tmp_path, version):
    path = tmp_path / "series.zarr"
    layout = {"bioformats2raw.layout": 3}
    zarr_format = 2 if version == "0.4" else 3
    attributes = layout if zarr_format == 2 else {"ome": {"version": version, **layout}}
    zarr.create_group(path, zarr_format=zarr_format, attributes=attributes)
    write_image(path / "0", version=version)
    with pytest.raises(ValueError, match=r"zarr_name: .* such as series\.zarr/0"):
        import_ome_zarr(zarr_dir=str(tmp_path), zarr_name="series.zarr")
    assert import_ome_zarr(zarr_dir=str(tmp_path), zarr_name="series.zarr/0")


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_a_projected_plate_has_the_metadata_of_its_origin(tmp_path, version):
    plate = tmp_path / "plate.zarr"
    acquisitions = [
        {
            "id": 2,
            "name": "day 2",
            "maximumfieldcount": 1,
            "description": "drug",
            "starttime": 5,
        },
        {"id": 7, "name": "day 7", "endtime": 9},
    ]
    urls = [
        str(path) for path in write_plate(plate, {"B/03": [2, 7], "C/04": [2]}, version)
    ]
    edit(
        plate,
        lambda ome: ome["plate"].update(
            name="Screen 12", acquisitions=acquisitions, layout="ours"
        ),
    )
    zarr.open_group(plate, mode="r+").update_attributes({"barcode": {"text": "7"}})
    arguments = {"zarr_dir": str(tmp_path)}
    for some in (urls[:1], urls):  # the second time, the plate is extended
        for item in project_image_init(zarr_urls=some, **arguments)[
            "parallelization_list"
        ]:
            project_image_compute(**item, overwrite=True)
    group = zarr.open_group(tmp_path / "plate_projected.zarr")
    attributes = group.attrs.asdict()
    assert attributes["barcode"] == {"text": "7"}
    projected = attributes.get("ome", attributes)["plate"]
    assert projected["name"] == "Screen 12"
    assert projected["layout"] == "ours"
    assert projected["acquisitions"] == acquisitions
    assert [row["name"] for row in projected["rows"]] == ["B", "C"]
    assert len(projected["wells"]) == 2
    yaozarrs.validate_zarr_store(tmp_path / "plate_projected.zarr")


# --- new and derived images ---

NEW = {"shape": (2, 40, 30), "axes": "cyx", "dtype": "uint16", "scale": {"y": 0.5}}
NEW |= {
    "channels": ["DAPI", "GFP"],
    "wavelengths": ["A01", "A02"],
}
IMPOSSIBLE = {
    "channels": [
        ["DAPI"],
        ["a", "b", "c"],
        [],
        ["a", "a"],
        ["a", ""],
        ["a", None],
        "ab",
    ],
    "wavelengths": [["A01"], ["A01", "A01"], ["a", "b", "c"], ["a", 2]],
    "shape": [(40, 30), (2, 0, 30), (2, -1, 30), (1, 2, 40, 30)],
    "axes": ["yxc", "ycx", "", "xy", "cyxz", "CYX"],
    "dtype": ["complex64", "U3", "datetime64[s]", object],
    "scale": [
        {"y": 0},
        {"x": -1.0},
        {"y": math.nan},
        {"y": math.inf},
        {"q": 1.0},
        {"yx": 1.0},
    ],
    "version": ["0.3", 0.4],
    "chunk_yx": [0, -1],
}


@pytest.mark.parametrize(
    ("argument", "value"),
    [(name, value) for name, values in IMPOSSIBLE.items() for value in values],
)
def test_an_image_that_cannot_be_is_rejected_before_it_is_begun(
    tmp_path, argument, value
):
    image = create_image(tmp_path / "image.zarr", **NEW | {argument: value})
    with pytest.raises(ValueError, match=f"^{argument}: "):
        image.__enter__()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("version", ["0.4", "0.5"])
@pytest.mark.parametrize("axes", ["yx", "cyx", "tczyx"])
def test_new_metadata_are_those_of_ome_zarr(tmp_path, version, axes):
    from ome_zarr.format import format_from_version
    from ome_zarr.writer import (
        write_multiscales_metadata,
        write_plate_metadata,
        write_well_metadata,
    )

    plate, well = tmp_path / "plate.zarr", tmp_path / "plate.zarr" / "B" / "03"
    images = {"0": 0, "1": 7}
    create_plate(plate, {("B", "03"): images, ("A", "11"): {"0": 0}}, version=version)
    shape = [{"t": 2, "c": 3, "z": 4, "y": 300, "x": 600}[axis] for axis in axes]
    with create_image(
        well / "0",
        shape=shape,
        axes=axes,
        dtype="uint8",
        scale={"t": 60.0, "z": 2.0, "y": 0.5, "x": 0.5},
        channels=["a", "b", "c"][: 3 if "c" in axes else 1],
        version=version,
    ):
        pass

    fmt = format_from_version(version)
    groups = [
        zarr.open_group(tmp_path / name, mode="w", zarr_format=fmt.zarr_format)
        for name in ("plate", "well", "image")
    ]
    entries = [{"path": name, "acquisition": n} for name, n in images.items()]
    write_plate_metadata(
        groups[0],
        ["A", "B"],
        ["03", "11"],
        ["A/11", "B/03"],
        fmt=fmt,
        acquisitions=[{"id": 0}, {"id": 7}],
        field_count=1,
        name="plate",
    )
    write_well_metadata(groups[1], entries, fmt=fmt)
    attributes = open_image(well / "0").group.attrs.asdict()
    (multiscale,) = attributes.get("ome", attributes)["multiscales"]
    units = dict.fromkeys("zyx", "micrometer") | {"t": "second"}
    write_multiscales_metadata(
        groups[2],
        multiscale["datasets"],
        fmt=fmt,
        axes=[*axes],
        axes_units={axis: units[axis] for axis in axes if axis in units},
        name="0",
    )
    assert attributes.get("ome", attributes).pop("omero")
    scales = [level["coordinateTransformations"][0] for level in multiscale["datasets"]]
    size = {"t": 60.0, "c": 1.0, "z": 2.0, "y": 0.5, "x": 0.5}
    assert [scale["scale"] for scale in scales] == [
        [size[a] * (factor if a in "yx" else 1) for a in axes] for factor in (1, 2, 4)
    ]
    assert attributes == groups[2].attrs.asdict()
    for folder, group in zip((plate, well), groups, strict=False):
        assert zarr.open_group(folder).attrs.asdict() == group.attrs.asdict()


@pytest.mark.parametrize("name", ["", "B-1", "B/1", "\u00c4"])
def test_a_plate_with_other_names_than_letters_and_digits_is_rejected(tmp_path, name):
    for wells in ({(name, "1"): {"0": 0}}, {("A", name): {"0": 0}}):
        with pytest.raises(ValueError, match=f"^wells: '{name}' .* letters and digits"):
            create_plate(tmp_path / "plate.zarr", wells)
    with pytest.raises(ValueError, match=r"^wells: there are none"):
        create_plate(tmp_path / "plate.zarr", {})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_a_new_image_has_the_channels_that_were_given(tmp_path, version):
    with create_image(tmp_path / "image.zarr", **NEW, version=version):
        pass
    channels = open_image(tmp_path / "image.zarr").channels
    assert [c["label"] for c in channels] == NEW["channels"]
    assert [c["wavelength_id"] for c in channels] == NEW["wavelengths"]
    assert [c["color"] for c in channels] == ["00FFFF", "FF00FF"]


@pytest.mark.parametrize("version", ["0.4", "0.5"])
@pytest.mark.parametrize("dtype", [None, "float32"])
def test_a_derived_image_keeps_all_metadata_of_its_origin(tmp_path, version, dtype):
    path = tmp_path / "image.zarr"
    write_image(path, "tczyx", version)

    def change(ome):
        ome["omero"]["rdefs"] = {"model": "color"}
        ome["custom"] = [1, {"a": None}]
        ome["multiscales"][0] |= {"type": "gaussian", "metadata": {"method": "x"}}
        ome["multiscales"][0]["axes"][0]["unit"] = "minute"
        for dataset in ome["multiscales"][0]["datasets"]:
            place = {"type": "translation", "translation": [0, 0, 1.5, 2, 3]}
            dataset["coordinateTransformations"].append(place)

    edit(path, change)
    zarr.open_group(path, mode="r+").update_attributes({"acquired": "today"})
    for level in "01":
        zarr.open_array(path / level, mode="r+").update_attributes({"note": level})
    image = open_image(path)
    with derive_image(image, tmp_path / "new.zarr", dtype=dtype) as new:
        map_blocks(lambda pixels: pixels, image, new)
    derived = open_image(tmp_path / "new.zarr")
    same = ["multiscales", "custom"] + ["omero"] * (dtype is None)
    assert [derived.metadata[key] for key in same] == [
        image.metadata[key] for key in same
    ]
    assert derived.metadata["omero"]["rdefs"] == {"model": "color"}
    assert derived.group.attrs["acquired"] == "today"
    assert [level.attrs["note"] for level in derived.levels] == ["0", "1"]


def test_a_link_beside_a_pyramid_stays_a_link(tmp_path):
    path = tmp_path / "image.zarr"
    write_image(path, "cyx")
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "file").write_text("private")
    (path / "OME").mkdir()
    for link in (path / "link", path / "OME" / "link"):
        link.symlink_to(tmp_path / "secret" / "file")
    (path / "folder").symlink_to(tmp_path / "secret")
    gaussian_blur(zarr_url=str(path), overwrite_input=True)
    assert (path / "link").is_symlink()
    assert (path / "OME" / "link").is_symlink()
    assert (path / "folder").is_symlink()
    assert (path / "folder" / "file").read_text() == "private"


@pytest.mark.parametrize("window", [None, {"start": math.nan}, {}, {"start": "low"}, 7])
def test_a_wrong_display_range_is_named_in_a_sentence(tmp_path, window):
    path = tmp_path / "image.zarr"
    write_image(path, "cyx")
    edit(path, lambda ome: ome["omero"]["channels"][1].update(window=window))
    with pytest.raises(
        ValueError, match=rf"{path}: .*omero\.channels\.1\.window"
    ) as error:
        check_images(zarr_urls=[str(path)], zarr_dir=str(tmp_path))
    assert "https://" not in str(error.value)
    gaussian_blur(zarr_url=str(path))


@pytest.mark.parametrize("value", [None, 3, "x", [None], [3], [{}], {"a": 1}], ids=repr)
@pytest.mark.parametrize("part", ["labels", "image-label", "well", "plate", "channels"])
def test_metadata_of_a_wrong_type_are_named(tmp_path, part, value):
    (path,) = write_plate(tmp_path / "plate.zarr", {"A/01": [0]}, axes="cyx")
    label = path / "labels" / "cells"
    write_label(path, "cells", np.ones((101, 83), np.uint32))
    is_nothing = value is None and part in ("labels", "channels")
    if part == "image-label":
        value = {"source": {"image": value or 5}}
    folder = {
        "labels": path / "labels",
        "image-label": label,
        "well": path.parent,
        "plate": tmp_path / "plate.zarr",
        "channels": path,
    }[part]
    edit(
        folder,
        lambda ome: (ome["omero"] if part == "channels" else ome).update({part: value}),
    )
    if is_nothing:
        open_image(path)
        return

    def use_it():
        if part in ("labels", "image-label"):
            open_label(open_image(path), "cells")
        else:
            import_ome_zarr(zarr_dir=str(tmp_path), zarr_name="plate.zarr")

    with pytest.raises(ValueError, match=f"{folder.parent}"):
        use_it()


def old_axes(ome):
    ome["multiscales"][0]["axes"] = ["c", "y", "x"]


def no_pyramid(ome):
    ome["multiscales"].clear()


@pytest.mark.parametrize(
    ("change", "message"),
    [(old_axes, r"axes \['c', 'y', 'x'\]: since NGFF 0.4"), (no_pyramid, "are empty")],
)
def test_an_image_of_an_old_format_is_named(tmp_path, change, message):
    write_image(tmp_path / "i.zarr", "cyx")
    edit(tmp_path / "i.zarr", change)
    with pytest.raises(
        ValueError, match=f"zarr_name: .*i.zarr is not an image: .*{message}"
    ):
        import_ome_zarr(zarr_dir=str(tmp_path), zarr_name="i.zarr")


@pytest.mark.parametrize("dtype", ["complex64", "S3", "datetime64[s]"])
def test_pixels_are_numbers(tmp_path, dtype):
    path = tmp_path / "i.zarr"
    write_image(path, "yx")
    group = zarr.open_group(path, mode="r+")
    for name in [*group.array_keys()]:
        shape = group[name].shape
        group.create_array(name, shape=shape, dtype=dtype, overwrite=True)
    with pytest.raises(ValueError, match=r"i.zarr is not an image: its pixels are of"):
        import_ome_zarr(zarr_dir=str(tmp_path), zarr_name="i.zarr")


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_paths_of_a_plate_may_be_written_in_several_ways(tmp_path, version):
    plate = tmp_path / "plate.zarr"
    (path,) = write_plate(plate, {"A/01": [0]}, version)
    edit(plate, lambda ome: ome["plate"]["wells"][0].update(path="./A//01/"))
    edit(path.parent, lambda ome: ome["well"]["images"][0].update(path="./0/"))
    output = import_ome_zarr(zarr_dir=str(tmp_path), zarr_name="plate.zarr")
    (update,) = output["image_list_updates"]
    assert update["zarr_url"] == str(path)
    assert update["attributes"] == plate_position(path)
    assert update["attributes"]["well"] == "A01"
    gaussian_blur(zarr_url=str(path))
    assert plate_position(path.with_name("0blurred"))["well"] == "A01"


@pytest.mark.parametrize(
    ("value", "message"),
    [("fields/0", "lies in a folder of its own"), (0, "names 0"), (None, "names None")],
)
def test_an_image_lies_in_the_folder_of_its_well(tmp_path, value, message):
    plate = tmp_path / "plate.zarr"
    (path,) = write_plate(plate, {"A/01": [0]})
    edit(path.parent, lambda ome: ome["well"]["images"][0].update(path=value))
    with pytest.raises(
        ValueError, match=rf"(?s)zarr_name: .*{plate}/A/01: .*{message}"
    ):
        import_ome_zarr(zarr_dir=str(tmp_path), zarr_name="plate.zarr")


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_a_new_image_lists_no_array_or_plane_that_it_lacks(tmp_path, version):
    path = tmp_path / "i.zarr"
    write_image(path, "czyx", version)

    def add(ome):
        ome["multiscales"].append(ome["multiscales"][0] | {"name": "other"})
        ome["omero"]["rdefs"] = {"defaultZ": 3, "defaultT": 0, "model": "color"}

    edit(path, add)
    for item in project_image_init(zarr_urls=[str(path)], zarr_dir=str(tmp_path))[
        "parallelization_list"
    ]:
        project_image_compute(**item)
    metadata = open_image(tmp_path / "i_projected.zarr").metadata
    assert len(metadata["multiscales"]) == 1
    assert metadata["omero"]["rdefs"] == {"defaultT": 0, "model": "color"}


def test_the_file_to_correct_is_that_of_the_array(tmp_path):
    path = tmp_path / "i.zarr"
    write_image(path, "yx", "0.5")
    (path / "0" / ".zarray").write_text("{}")
    (path / "0" / "c" / "0").rename(path / "0" / "0")
    (path / "0" / "c").rmdir()
    with pytest.raises(
        ValueError, match=rf"set chunk_key_encoding .* in {path}/0/zarr.json"
    ):
        open_image(path)


def test_a_pyramid_level_is_listed_once(tmp_path):
    write_image(tmp_path / "i.zarr", "yx")

    def repeat(ome):
        datasets = ome["multiscales"][0]["datasets"]
        datasets[1] = dict(datasets[0])

    edit(tmp_path / "i.zarr", repeat)
    with pytest.raises(ValueError, match="the pyramid level 0 is listed twice"):
        open_image(tmp_path / "i.zarr")
