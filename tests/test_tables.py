"""Text in tables stays text, numbers keep their values, and what is neither is rejected."""

import math
import re
import shutil
from contextlib import nullcontext
from typing import Any

import numpy as np
import pandas
import pytest
import with_ngio
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from my_fractal_tasks.aggregate_tables import aggregate_tables
from my_fractal_tasks.gaussian_blur import gaussian_blur
from my_fractal_tasks.kit import (
    Image,
    Roi,
    open_image,
    parse_numbers,
    read_table,
    table_names,
    write_roi_table,
    write_table,
)
from my_fractal_tasks.kit.regions import read_rois
from my_fractal_tasks.kit.tables import read_tables
from my_fractal_tasks.kit.tiff.lists import read_layout, read_positions
from package_images import write_image, write_plate

# What Python, or pandas, or a spreadsheet takes for a number.
NAMES = ["12E3", "1E5", "1e5", "1_2", "INF", "NaN", "NAN", "Infinity", "007", "+5", "-"]
NAMES += ["１２", "١٢", "1²", " 12", "12 ", "0x10", "1,5", "1.", ".5", "1e", "--1", "∞"]
NAMES += ["1e400", "9" * 400, "1.5e999", "1__0", "1j", "True1", "None", "NA", "1\0"]
NUMBERS = [
    "0",
    "-3",
    "9007199254740993",
    "0.5",
    "1e-05",
    "1e+20",
    "1.0E10",
    "-0",
    "2.5",
]

hostile_texts = st.one_of(
    st.sampled_from(
        [*NAMES, *NUMBERS, "nan", "inf", "True", "false", '"', "a\r\nb", "#"]
    ),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=5),
)
integers = st.integers(-(2**63), 2**63 - 1)
VALUES = {
    "texts": hostile_texts,
    "integers": integers,
    "integers with gaps": st.none() | integers,
    "floats": st.floats(allow_nan=False),
    "floats with gaps": st.none() | st.floats(allow_nan=False),
    "booleans": st.booleans(),
    "booleans with gaps": st.none() | st.booleans(),
}


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Image:
    path = tmp_path_factory.mktemp("tables") / "image.zarr"
    write_image(path)
    return open_image(path)


def plain(values: Any) -> list[Any]:
    """Values with None where there is none."""
    return [None if v is None or v != v or v == "" else v for v in values.tolist()]


def write_csv(
    image: Image, text: str | bytes, name: str = "foreign", **more: Any
) -> None:
    """Put a table of another program beside an image."""
    shutil.rmtree(image.path / "tables" / name, ignore_errors=True)
    write_table(image, name, {})
    group = zarr.open_group(image.path / "tables" / name, mode="r+")
    attributes = {"type": "generic_table", "backend": "csv"} | more
    group.attrs.put(attributes)
    data = text.encode() if isinstance(text, str) else text
    (image.path / "tables" / name / "table.csv").write_bytes(data)


@pytest.mark.parametrize("text", NAMES)
def test_a_name_is_no_number(image, text):
    assert parse_numbers([text]) is None
    frame = pandas.DataFrame({"name": [text, "1"], "n": [1, 2]})
    write_csv(image, frame.to_csv(index=False))
    columns = read_table(image, "foreign").columns
    assert columns["name"].tolist() == [text, "1"]
    assert columns["n"].tolist() == [1, 2]


@given(
    st.lists(
        st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**70), 2**70)
    )
)
def test_numbers_that_python_writes_are_numbers(numbers):
    assert parse_numbers(map(repr, numbers)) == numbers


@pytest.mark.parametrize("backend", ["csv", "parquet"])
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_columns_survive_each_backend_that_is_written(image, backend, data):
    n_rows = data.draw(st.integers(0, 4))
    columns = {
        name: data.draw(st.lists(values, min_size=n_rows, max_size=n_rows))
        for name, values in VALUES.items()
    }
    write_table(image, "own", columns, backend=backend, overwrite=True)

    table = read_table(image, "own")

    expected = {
        k: [None if v == "" else v for v in values] for k, values in columns.items()
    }
    assert {name: plain(values) for name, values in table.columns.items()} == expected
    for name, values in table.columns.items():
        kinds = {type(value) for value in values.tolist() if value is not None}
        assert kinds <= {float, *map(type, columns[name])}
    again = dict(table.columns)
    write_table(image, "own", again, backend=backend, overwrite=True)
    assert {
        k: plain(v) for k, v in read_table(image, "own").columns.items()
    } == expected


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_csv_of_pandas_has_the_same_values(image, data):
    n_rows = data.draw(st.integers(1, 4))
    lists = {
        "floats": st.lists(st.floats(), min_size=n_rows, max_size=n_rows),
        "integers": st.lists(integers, min_size=n_rows, max_size=n_rows),
        "names": st.lists(st.sampled_from(NAMES), min_size=n_rows, max_size=n_rows),
    }
    columns = {name: data.draw(values) for name, values in lists.items()}
    write_csv(image, pandas.DataFrame(columns).to_csv(index=False))
    found = read_table(image, "foreign").columns
    assert found["names"].tolist() == columns["names"]
    assert found["integers"].tolist() == columns["integers"]
    known = [value for value in columns["floats"] if not math.isnan(value)]
    if all(map(math.isinf, known)) and known:  # names, for all that the file shows
        assert plain(found["floats"]) == [*map(str, known)] or len(known) < n_rows
    else:
        assert np.array_equal(found["floats"], columns["floats"], equal_nan=True)


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_odd_columns_of_ngio_are_read_from_each_backend(tmp_path, version):
    with_ngio.write(str(tmp_path / "image.zarr"), version)
    image = open_image(tmp_path / "image.zarr")
    for backend in with_ngio.BACKENDS:
        with_ngio.check_odd(read_table(image, f"odd_{backend}").columns)


def test_ngio_reads_the_names_of_our_rows_as_texts(tmp_path):
    write_image(tmp_path / "image.zarr")
    image = open_image(tmp_path / "image.zarr")
    write_table(
        image,
        "named",
        {"plate": ["1_1", "12E3", "x"], "n": [1, None, 3]},
        index="plate",
    )
    import ngio

    frame = ngio.open_ome_zarr_container(image.path).get_table("named").dataframe
    assert [*frame.index] == ["1_1", "12E3", "x"]
    assert frame["n"].tolist()[::2] == [1, 3]


@pytest.mark.parametrize("kind", ["str", "int"])
def test_the_kind_of_an_index_is_that_of_the_metadata(image, kind):
    write_csv(image, "plate,n\n1,5\n20,6\n", index_key="plate", index_type=kind)
    expected = {"str": ["1", "20"], "int": [1, 20]}[kind]
    assert read_table(image, "foreign").columns["plate"].tolist() == expected
    write_csv(image, "plate,n\n1,5\nx,6\n", index_key="plate", index_type="int")
    with pytest.raises(
        ValueError, match=r"foreign cannot be read: row 2 has 'x' in its column"
    ):
        read_table(image, "foreign")


def test_the_kind_of_a_column_is_that_in_all_images_of_a_plate(tmp_path):
    compounds = ["9E10", "12CA5", "1e+05", ""]
    doses = ["1", "0.5", "", "3"]
    wells = {f"A/0{n}": [0] for n in range(1, 5)}
    images = [open_image(path) for path in write_plate(tmp_path / "p.zarr", wells)]
    for image, compound, dose in zip(images, compounds, doses, strict=True):
        write_csv(image, f"compound,dose\n{compound},{dose}\n", "condition_table")
        write_table(image, "features", {"label": [1]})
    tables = read_tables(images, "condition_table")
    assert [table.columns["compound"].item() for table in tables] == compounds

    urls = [str(image.path) for image in images]
    for file_format in ("csv", "parquet"):
        aggregate_tables(
            zarr_urls=urls,
            zarr_dir=str(tmp_path),
            table_name=file_format,
            file_format=file_format,
        )
        columns = read_table(tmp_path / "p.zarr", file_format).columns
        assert columns["compound"].tolist() == compounds
        assert plain(columns["dose"]) == [1, 0.5, None, 3]


def test_a_layout_keeps_the_text_unless_all_of_a_column_are_numbers(tmp_path):
    path = tmp_path / "layout.csv"
    path.write_text(
        'Well;compound;dose;passage;note\nA1;9E10;1;007;"two\nlines"\nA2;12CA5;;8;nan\n'
        "A3;3E8;0.50;9;TRUE\n"
    )
    layout = read_layout(str(path))
    assert [well["compound"] for well in layout.values()] == ["9E10", "12CA5", "3E8"]
    assert [well["dose"] for well in layout.values()] == [1, None, 0.5]
    assert [well["passage"] for well in layout.values()] == ["007", "8", "9"]
    assert [well["note"] for well in layout.values()] == ["two\nlines", "nan", "TRUE"]
    path.write_text('well,drug\nA1,"x\n')
    with pytest.raises(
        ValueError, match=r"plate_layout: line 2 of .*layout.csv cannot be read"
    ):
        read_layout(str(path))


@pytest.mark.parametrize(
    "text", ["well;dose\nA1;1,5\nA2;2\n", 'well,dose\nA1,3\nA2,"0,25"\n']
)
def test_decimal_commas_of_a_layout_are_rejected(tmp_path, text):
    path = tmp_path / "layout.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"plate_layout: .*'dose': write a point"):
        read_layout(str(path))
    path.write_text(text.replace("dose", "d") + "A3;x\n")
    if ";" in text:  # with a text, it is no column of numbers
        assert read_layout(str(path))["A01"] == {"d": "1,5"}


@pytest.mark.parametrize(
    "row", ["1_0,0,0", "１,0,0", "1,1_0,0", "1,inf,0", "1,,0", "-1,0,0"]
)
def test_positions_are_numbers_by_the_same_grammar(tmp_path, row):
    path = tmp_path / "positions.csv"
    path.write_text(f"field,x,y\n01,1e-05,-2.5\n{row}\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"fields.positions_csv: .*has the row"):
        read_positions(str(path))


def test_columns_of_positions_are_used_or_named(tmp_path, caplog):
    path = tmp_path / "positions.csv"
    for more, values in ("unit", "mm"), ("Well,well", "A1,B1"):
        path.write_text(f"field,x,y,{more}\n1,2,3,{values}\n")
        with pytest.raises(ValueError, match=f"positions_csv: .*columns {more[:4]}"):
            read_positions(str(path))
    path.write_text("field,x,y,Well,z\n1,2,3,A1,9\n")
    assert read_positions(str(path)) == {("A01", 1): (3, 2)}
    assert "columns without a use: z" in caplog.text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "table.csv is empty"),
        ("a,a\n1,2\n", "there are two columns 'a'"),
        ("a,b\n1\n", "row 1 has length 1, and the header 2"),
        ("a,b\n1,2\n3,4,5\n", "row 2 has length 3"),
        ("label;area, um\n1;2,5\n2;3,5\n", "';' between its columns"),
        ("a;b\n1;2\n", "';' between its columns: write commas"),
        ('a,b\n1,"2\n', "unexpected end of data"),
        ('a,b\n1,"2"x\n', "expected after"),
        ("a|b\n1|2\n", "'|' between its columns"),
        ("sep=,\na,b\n1,2\n", "begins with the line 'sep='"),
        (b"a\n\xff\n", "no text in UTF-8"),
        ("a,b\n1,2\n".encode("utf-16"), "no text in UTF-8"),
    ],
)
def test_a_damaged_csv_is_rejected(image, text, message):
    write_csv(image, text)
    with pytest.raises(
        ValueError,
        match=f"^table_name: .*foreign cannot be read: .*{re.escape(message)}",
    ):
        read_table(image, "foreign")


def test_odd_but_right_csv_is_read(image):
    huge = "x" * 200_000
    write_csv(image, f'\ufeffa,"b,c"\r\n1,"say ""no""\nor \0"\r\n\r\n2,{huge}\r\n')
    columns = read_table(image, "foreign").columns
    assert columns["a"].tolist() == [1, 2]
    assert columns["b,c"].tolist() == ['say "no"\nor \0', huge]
    write_csv(image, "a,b\n")
    assert {k: v.tolist() for k, v in read_table(image, "foreign").columns.items()} == {
        "a": [],
        "b": [],
    }


def test_an_edited_cell_that_is_not_of_the_recorded_kind_is_rejected(image):
    write_table(image, "edited", {"n": [1, 2], "ok": [True, None]}, overwrite=True)
    file = image.path / "tables" / "edited" / "table.csv"
    file.write_text(file.read_text().replace("2,", "1_2,"))
    with pytest.raises(
        ValueError, match=r"its column 'n': row 2 has '1_2'; by its metadata"
    ):
        read_table(image, "edited")


@pytest.mark.parametrize(
    ("values", "backend", "message"),
    [
        ([1j], "csv", "neither a text, a number nor a boolean"),
        ([b"x"], "csv", "neither"),
        ([[1, 2]], "csv", "neither"),
        (np.zeros((2, 2)), "csv", "the shape"),
        (["\ud800"], "csv", "surrogates"),
        ([2**64], "parquet", "does not fit Parquet.*choose csv"),
        ([2**60 + 1, 0.5], "parquet", "does not fit Parquet.*choose csv"),
    ],
)
def test_values_that_a_backend_cannot_hold_are_rejected(
    image, values, backend, message
):
    before = sorted(image.path.rglob("*"))
    with pytest.raises(ValueError, match=f"columns: .*bad: its column 'v'.*{message}"):
        write_table(image, "bad", {"v": values}, backend=backend)
    assert sorted(image.path.rglob("*")) == before


ROI_COLUMNS = (
    "FieldIndex,x_micrometer,y_micrometer,len_x_micrometer,len_y_micrometer,label"
)


def rois_of(image: Image, *rows: str) -> list[Roi]:
    text = "\n".join([ROI_COLUMNS, *rows, ""])
    write_csv(image, text, "rois", type="roi_table", index_key="FieldIndex")
    return read_rois(image, "rois", "regions.roi_table")


@pytest.mark.parametrize(
    "label", ["", "x", "1.5", "0", "-1", "inf", "1_0", "True", str(2**64)]
)
def test_a_bad_label_is_named_with_its_table_and_row(image, label):
    message = (
        "regions.roi_table: the table 'rois' of .*image.zarr has the label .* in row 2"
    )
    with pytest.raises(ValueError, match=message):
        rois_of(image, "a,0,0,9,9,1", f"b,0,0,9,9,{label}")


@pytest.mark.parametrize("place", ["x", "", "nan", "1e400", "12E3", "１", "9" * 308])
def test_a_bad_position_is_named_with_its_row(image, place):
    with pytest.raises(
        ValueError, match=r"regions.roi_table: .* no numbers: row 2 begins"
    ):
        rois_of(image, "a,0,0,9,9,1", f"b,{place},0,{place},9,2")


def test_names_of_regions_stay_as_they_are_and_unique(image, caplog):
    rois = rois_of(
        image, *(f"{name},0,0,9,9,1" for name in ("007", "1.50", "1_1", "12E3"))
    )
    assert [roi.name for roi in rois] == ["007", "1.50", "1_1", "12E3"]
    rois = rois_of(
        image, *(f"{name},0,0,9,9,1" for name in ("a", "a_2", "a", "a", "b"))
    )
    assert [roi.name for roi in rois] == ["a", "a_2", "a_3", "a_4", "b"]
    assert "has the name 'a' again in row 3: it is called 'a_3'" in caplog.text
    with pytest.raises(ValueError, match=r"no name in row 1"):
        rois_of(image, ",0,0,9,9,1")
    region = tuple(slice(0, 2) for axis in image.axes if axis != "c")
    for rois in ([Roi("a", region)] * 2, [Roi("a", region, 3)] * 2, [Roi("a", region)]):
        label_name = "" if rois[0].label is None and len(rois) > 1 else "cells"
        with pytest.raises(
            ValueError, match=r"rois: the .* among the regions for the table 'new'"
        ):
            write_roi_table(image, "new", rois, label_name=label_name)


def test_a_table_has_the_columns_that_it_needs(image):
    write_csv(image, "a,b\n1,2\n", index_key="label")
    with pytest.raises(ValueError, match=r"index_key is 'label'"):
        read_table(image, "foreign")
    places = ",".join(
        f"{part}{axis}_micrometer" for part in ("", "len_") for axis in "xy"
    )
    write_csv(image, f"{places},len_z_micrometer\n0,0,9,9,1\n")
    with pytest.raises(ValueError, match=r"z_micrometer and len_z_micrometer: add"):
        read_rois(image, "foreign")


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_values_of_anndata_that_are_not_found_are_rejected(image, zarr_format):
    path = image.path / "tables" / "foreign"
    write_csv(image, "", backend="anndata")
    group = zarr.create_group(path, zarr_format=zarr_format, overwrite=True)
    group.attrs.put({"type": "generic_table", "backend": "anndata"})
    observed = group.create_group("obs")
    observed.attrs.put({"_index": "row", "column-order": []})
    variables = group.create_group("var", attributes={"_index": "name"})
    observed["row"] = np.arange(2)
    variables.create_array("name", shape=(1,), dtype=str)[:] = "area"
    group["X"] = np.ones((2, 1))
    assert read_table(image, "foreign").columns["area"].tolist() == [1, 1]
    (chunk,) = (file for file in path.rglob("X/**/*0") if file.is_file())
    chunk.rename(path / "X" / ("0.0" if zarr_format == 3 else "c.0.0"))
    with pytest.raises(ValueError, match=r"foreign cannot be read: .*X has the chunk"):
        read_table(image, "foreign")


@pytest.mark.parametrize("name", ["../sub", "/etc", "a/b", "", ".x", 5, None, "a\0"])
def test_a_table_that_is_listed_elsewhere_is_rejected(tmp_path, name):
    write_image(tmp_path / "image.zarr")
    zarr.create_group(
        tmp_path / "image.zarr/tables", attributes={"tables": [name]}, zarr_format=2
    )
    image = open_image(tmp_path / "image.zarr")
    for use in (table_names, lambda image: read_table(image, name)):
        with pytest.raises(ValueError, match=r"image.zarr"):
            use(image)
    with pytest.raises(ValueError, match=r"zarr_url: .*image.zarr"):
        gaussian_blur(zarr_url=str(image.path))
    assert [path.name for path in tmp_path.iterdir()] == ["image.zarr"]


@pytest.mark.parametrize(
    "path", ["../../../x.zarr/labels/a", "/labels/a", "..", "../other/a", 5]
)
def test_a_region_outside_of_the_image_is_rejected(image, path):
    write_csv(image, "label\n1\n", region={"path": path}, instance_key="label")
    with pytest.raises(ValueError, match=r"foreign cannot be read: its region is"):
        read_table(image, "foreign")


@pytest.mark.parametrize("link", ["table.csv", "notes.txt", "folder", ".", ".."])
def test_links_in_a_table_are_not_followed(tmp_path, link):
    write_image(tmp_path / "image.zarr")
    image = open_image(tmp_path / "image.zarr")
    rois_of(image, "a,0,0,9,9,1")
    folder = image.path / "tables" / "rois"
    path = {".": folder, "..": folder.parent}.get(link, folder / link)
    target = tmp_path / "secret"
    if path.exists():
        path.rename(target)
    elif link == "folder":
        (target / "deep").mkdir(parents=True)
    else:
        target.write_text("secret")
    path.symlink_to(target)

    image = open_image(image.path)
    with pytest.raises(
        ValueError, match=r"table_name: .* is a link, and links in tables"
    ):
        read_table(image, "rois")
    with pytest.raises(ValueError, match=r"zarr_url: .* is a link"):
        gaussian_blur(zarr_url=str(image.path))
    assert {p.name for p in tmp_path.iterdir()} == {"image.zarr", "secret"}
    gaussian_blur(zarr_url=str(image.path), overwrite_input=True)
    assert path.is_symlink()
    assert target.exists()


def test_a_table_is_not_written_through_a_link_out_of_its_image(tmp_path):
    write_image(tmp_path / "image.zarr")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "image.zarr" / "tables").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ValueError, match=r"table_name: .* is a link out of"):
        write_table(open_image(tmp_path / "image.zarr"), "new", {"a": [1]})
    assert not [*(tmp_path / "elsewhere").iterdir()]


@pytest.mark.parametrize("kinds", [{"a": "complex"}, ["a"], {"a": None}])
def test_a_kind_of_column_that_is_not_known_is_rejected(image, kinds):
    write_csv(image, "a\n1\n", column_kinds=kinds)
    with pytest.raises(ValueError, match=r"column_kinds are .*; allowed are str"):
        read_table(image, "foreign")


@pytest.mark.parametrize("values", [{"0": 5, "1": 6}, "ab", {5, 6}], ids=repr)
def test_a_column_is_a_list(image, values):
    with pytest.raises(ValueError, match=r"columns: .*'a': its values are"):
        write_table(image, "no_list", {"a": values})
    if isinstance(values, set):
        return
    write_csv(image, "", backend="json")
    path = image.path / "tables" / "foreign" / "table"
    zarr.create_group(path, zarr_format=2, attributes={"a": values}, overwrite=True)
    with pytest.raises(ValueError, match=r"foreign cannot be read: .*its values are"):
        read_table(image, "foreign")
    shutil.rmtree(path)


def test_categories_of_old_anndata_are_read(image):
    """Before version 0.8, a group beside the codes has them."""
    path = image.path / "tables" / "foreign"
    write_csv(image, "", backend="anndata")
    group = zarr.create_group(path, zarr_format=2, overwrite=True)
    group.attrs.put({"type": "generic_table", "backend": "anndata"})
    observed = group.create_group("obs")
    observed.attrs.put({"_index": "row", "column-order": ["dose"]})
    observed["row"] = np.arange(3)
    observed["dose"] = np.array([1, -1, 0], np.int8)
    observed["dose"].attrs["categories"] = "__categories/dose"
    observed.create_group("__categories")["dose"] = np.array([10, 20])
    group.create_group("var", attributes={"_index": "name"})["name"] = np.zeros(0, int)
    assert read_table(image, "foreign").columns["dose"].tolist()[::2] == [20, 10]


def test_a_table_has_no_name_of_a_file(image):
    with pytest.raises(ValueError, match=r"table_name: 'zarr.json' cannot be"):
        write_table(image, "zarr.json", {"a": [1]})


@pytest.mark.parametrize(
    ("name", "value", "is_valid"),
    [
        ("well", "A1", True),
        ("Well", "a-01", True),
        ("well", "unknown", True),
        ("well", "B07", False),
        ("Well", "A11", False),
    ],
)
def test_conditions_are_those_of_the_well(tmp_path, name, value, is_valid):
    (path,) = write_plate(tmp_path / "plate.zarr", {"A/01": [0]})
    image = open_image(path)
    write_table(image, "features", {"label": [1]})
    write_table(image, "condition_table", {name: [value]}, type="condition_table")
    expected = pytest.raises(ValueError, match=rf"condition_table: .*{path} is of the")
    with nullcontext() if is_valid else expected:
        aggregate_tables(zarr_urls=[str(path)], zarr_dir=str(tmp_path))


@pytest.mark.parametrize(("odd", "kind"), [("n/a", "texts"), (True, "booleans")])
def test_a_column_of_numbers_that_becomes_text_is_named(tmp_path, caplog, odd, kind):
    paths = write_plate(tmp_path / "plate.zarr", {"A/01": [0], "A/02": [0]})
    for path, value in zip(paths, (1.5, odd), strict=True):
        columns = {"area": [2.5], "quality": [value], "name": ["x"]}
        write_table(open_image(path), "features", columns)
    urls = [str(path) for path in paths]
    aggregate_tables(zarr_urls=urls, zarr_dir=str(tmp_path), rows="wells")
    (record,) = [r for r in caplog.records if r.levelname == "WARNING"]
    assert f"'quality' has numbers in {paths[0]}, and {kind} in" in record.getMessage()
    columns = read_table(tmp_path / "plate.zarr", "features").columns
    assert "area_mean" in columns
    assert "quality_mean" not in columns
