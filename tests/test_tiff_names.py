"""Names of TIFF files are read by a pattern, or shown with the place where they stop fitting."""

from pathlib import Path

import pytest
from my_fractal_tasks.kit.tiff import DEFAULT_PATTERN, Naming, find_tiffs

ENDINGS = (".tif", ".tiff", ".ome.tif", ".ome.tiff", ".stk", ".TIF", ".OME.TIF")


def read(folder: Path, pattern: str, *names: str, well: str | None = None) -> list:
    for name in names:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).touch()
    naming = Naming.by(str(folder), "pattern", pattern, well)
    return naming.read(find_tiffs(naming, []))


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("channel", ["DAPI", "F.I-T_C"])
@pytest.mark.parametrize("pattern", ["{well}_{channel}", "{row}{column}_{channel}"])
def test_a_pattern_without_an_ending_fits_all_of_tiffs(
    tmp_path, pattern, channel, ending
):
    (name,) = read(tmp_path, pattern, f"b3_{channel}{ending}")
    assert (name.row, name.column, name.channel) == ("B", "03", channel)


@pytest.mark.parametrize(
    ("pattern", "name"),
    [
        ("{well}_{field}", "A01_7.ome.tif"),
        ("{well}[_f{field}]", "A01_f7.tif"),
        ("{well}/{field}", "A01/7.tiff"),
        ("{field}_{well}_*", "7_A01_x.ome.tif"),
        ("{well}_{field}.tif[f]", "A01_7.tiff"),
        ("{well}_{field}[.ome].tif", "A01_7.tif"),
        ("{well}_{field}.*", "A01_7.ome.tif"),
        ("{field}-{row}.v1.{column}", "7-A.v1.1.tif"),
        ("[{well}]_{field}".replace("[", r"\[").replace("]", r"\]"), "[A-01]_7.TIF"),
        (r"\{raw\} {well} {field}", "{raw} A_1 7.tif"),
    ],
)
def test_a_pattern_has_an_ending_of_its_own_or_gets_one(tmp_path, pattern, name):
    (found,) = read(tmp_path, pattern, name)
    assert (found.row, found.column, found.field) == ("A", "01", 7)


MISFITS = [
    ("{well}_{channel}", "A01-DAPI.tif", "A01>>-DAPI.tif", "'_{channel}'"),
    ("{well}_z{z}_{channel}", "A01_zDAPI.tif", "A01_z>>DAPI.tif", "'{z}_{channel}'"),
    ("{well}_f{field}", "A01_f12_x.tif", "A01_f12>>_x.tif", "an ending such as .tif"),
    ("{well}_{field}.tif", "A01_7.tiff", "A01_7.tif>>f", "its end"),
    ("{well}[_f{field}]_z{z}", "A01_f1.tif", "A01_f1>>.tif", "'_z{z}'"),
    ("{well}[_f{field}]_z{z}", "A01-1.tif", "A01>>-1.tif", "'_z{z}'"),
    ("{channel}@[{well}]", "C@[A01].tif", "C@>>[A01].tif", "an ending such as .tif"),
    ("c{channel}_f{z}_{well}", "c1 f1_A01.tif", "c1 f1_>>A01.tif", "'f{z}_{well}'"),
    ("x*_{well}", "y_A01.tif", ">>y_A01.tif", "'x*_{well}'"),
    ("x*_{well}", "x_01.tif", "x_>>01.tif", "'{well}'"),
    ("{well}", "A0001.tif", "A000>>1.tif", "an ending such as .tif"),
]


@pytest.mark.parametrize(("pattern", "name", "shown", "wanted"), MISFITS)
def test_a_name_is_shown_where_it_stops_fitting(tmp_path, pattern, name, shown, wanted):
    with pytest.raises(
        ValueError, match=r"pattern: .* does not fit 1 of 1 file"
    ) as error:
        read(tmp_path, pattern, name)
    text = f"file names: {name}: {shown} (at >> the pattern has {wanted}); the argument skip"
    assert text in str(error.value)


def test_the_pattern_of_a_microscope_that_fits_best_is_shown(tmp_path):
    (tmp_path / "B - 3(fld x wv DAPI).tif").touch()
    naming = Naming.by(str(tmp_path), "incell", DEFAULT_PATTERN, None)
    with pytest.raises(ValueError, match=r"3\(fld >>x wv DAPI"):
        naming.read(find_tiffs(naming, []))


@pytest.mark.parametrize(
    ("pattern", "name", "channel"),
    [
        (
            r"{well}_\[{channel}\]_s{field}",
            "A01_[Hoechst 33342]_s7.tif",
            "Hoechst 33342",
        ),
        (r"img \[{well}\] {channel} #{field}", "img [A-01] DAPI #7.tif", "DAPI"),
        (r"{well}\*[_f{field}]_{channel}", "A01*_f7_DAPI.tif", "DAPI"),
        (r"[x\]]{well}_{field}_{channel}", "x]A01_7_DAPI.tif", "DAPI"),
        (r"[x\]]{well}_{field}_{channel}", "A01_7_DAPI.tif", "DAPI"),
    ],
)
def test_a_name_may_have_brackets(tmp_path, pattern, name, channel):
    pattern = pattern.replace("{well}", "{row}-{column}") if "A-" in name else pattern
    (found,) = read(tmp_path, pattern, name)
    assert (found.row, found.column, found.field) == ("A", "01", 7)
    assert found.channel == channel


@pytest.mark.parametrize(
    ("pattern", "name", "message"),
    [
        (
            "{well}_[{channel}]_s1",
            "A01_[DAPI]_s1.tif",
            r"would be '\[DAPI\]'; in \[ \]",
        ),
        ("img [{well}]", "img [A01].tif", r"does not fit .*write \\\[ and \\\] for"),
        ("{well}]", "A01].tif", r"cannot be read: a \[ or \] has no other"),
        ("[{well}", "[A01.tif", r"cannot be read: a \[ or \] has no other"),
    ],
)
def test_brackets_that_mean_something_else_are_explained(
    tmp_path, pattern, name, message
):
    with pytest.raises(ValueError, match=f"pattern: .*{message}"):
        read(tmp_path, pattern, name)
