"""Each statement of the page of a run agrees with the data that it is about.

The plate is uneven: wells differ in their channels and the order of these, one has two
acquisitions, one is listed and missing, and images have several labels and tables.
"""

import base64
import html
import io
import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from PIL import Image as Pillow
from scipy import ndimage

from fractal_workbench import kit
from fractal_workbench.docs.demo_pictures import PAGE, read_pictures, write_pictures
from fractal_workbench.engine import costs, history, rules
from fractal_workbench.report import plots
from fractal_workbench.report import reproduce as reproduce_module
from fractal_workbench.report.conditions import Condition, Conditions
from fractal_workbench.report.measurements import (
    Layer,
    Position,
    by_well,
    layers,
    measure,
)
from fractal_workbench.report.objects import intensity_units
from fractal_workbench.report.page import Report
from fractal_workbench.report.plate import measured_figures, small_table, z_factor
from fractal_workbench.report.report_tables import status_of
from fractal_workbench.report.reproduce import plate_tables, reproduce

SIZE = 64
# Channels of each image, by plate, well and name of the image: the name is the acquisition.
CHANNELS = {
    ("one", "A01", "0"): ["DAPI", "FITC"],
    ("one", "A01", "1"): ["DAPI", "Rhodamine"],
    ("one", "A02", "0"): ["FITC", "DAPI"],
    ("one", "B01", "0"): ["DAPI"],
    ("two", "A01", "0"): ["DAPI", "FITC"],
}
COUNTS = {key: n for key, n in zip(CHANNELS, (5, 3, 2, 7, 4), strict=True)}
LEVELS = {"DAPI": 40, "FITC": 80, "Rhodamine": 120}


def pixels_of(data: str) -> np.ndarray:
    """Pixels of a picture that is in the page."""
    encoded = data.partition("base64,")[2]
    return np.asarray(Pillow.open(io.BytesIO(base64.b64decode(encoded))))


def folder_of(zarr_dir: Path, key: tuple[str, str, str]) -> Path:
    plate, well, name = key
    return zarr_dir / plate / "plate.zarr" / well[0] / well[1:] / name


def write_image(
    path: Path,
    channels: list[str],
    n_objects: int,
    scale: dict[str, float] = {"y": 0.5, "x": 0.5},  # noqa: B006
) -> None:
    """Write an image whose channels are flat but for a bright corner, with two labels."""
    shape = (len(channels), SIZE, SIZE)
    given = {"dtype": np.uint8, "scale": scale, "axes": "cyx", "channels": channels}
    with kit.create_image(path, shape=shape, **given) as image:
        for number, name in enumerate(channels):
            image.levels[0][number] = LEVELS[name]
            image.levels[0][number, :8, :8] = 255
        kit.build_pyramid(image)
    image = kit.open_image(path)
    for name, n in (("nuclei", n_objects), ("cells", 1)):
        with kit.derive_label(image, name) as label:
            for number in range(n):
                label.levels[0][8 * number : 8 * number + 6, 8:14] = number + 1
            kit.build_pyramid(label)
    numbers = np.arange(n_objects)
    columns = {"label": numbers + 1, "area": n_objects * 10.0 + numbers}
    kit.write_feature_table(image, "features", columns, label_name="nuclei")
    kit.write_table(image, "summary", {"brightness": [float(n_objects), 1.0]})


def step(images: list[dict[str, Any]], number: int = 1, **more: Any) -> Any:
    """A step that all images are the input of."""
    urls = [image["zarr_url"] for image in images]
    cost = costs.Cost(2.0, 1.0, 100.0)
    units = [
        history.UnitDone(f"job {n}", "parallel", {}, cost, None, "", reused=False)
        for n in range(len(urls))
    ]
    given: dict[str, Any] = {
        "number": number,
        "total": number,
        "package": "tasks",
        "version": "1.0",
        "task": rules.Task(name="Look", type="parallel"),
        "step": rules.Step(task={"pkg_name": "tasks", "name": "Look"}),
        "filters": {},
        "before": images,
        "inputs": urls,
        "after": images,
        "units": units,
        "costs": [costs.Costs("Look", "parallel", None, None, [u.cost for u in units])],
        "seconds": 2.0,
        "error": None,
    }
    return history.StepDone(**given | more)


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The page of a step that wrote the images of an image list with nothing but urls."""
    zarr_dir = tmp_path_factory.mktemp("zarr")
    for plate in ("one", "two"):
        wells: dict[tuple[str, str], dict[str, int]] = {}
        for owner, well, name in CHANNELS:
            if owner == plate:
                wells.setdefault((well[0], well[1:]), {})[name] = int(name)
        (zarr_dir / plate).mkdir()
        kit.create_plate(
            zarr_dir / plate / "plate.zarr", wells | {("B", "02"): {"0": 0}}
        )
    for key, channels in CHANNELS.items():
        write_image(folder_of(zarr_dir, key), channels, COUNTS[key])
    for plate, n in (("one", 3.5), ("two", 4.5)):
        kit.write_table(zarr_dir / plate / "plate.zarr", "wells", {"n": [n]})
    keys = [*CHANNELS, ("one", "B02", "0")]
    images = [{"zarr_url": str(folder_of(zarr_dir, key))} for key in keys]
    reference = {"pkg_name": "tasks", "name": "Look"}
    workflow = {"name": "Uneven", "task_list": [{"task": reference}] * 2}
    options = ["--with", "tasks @ https://me:secret@example.org/tasks.whl"]
    report = Report("Uneven", zarr_dir, images, [], workflow, options)
    report._tables = {}  # as if the step had written them
    full = [i | {"origin": None, "attributes": {}, "types": {}} for i in images]
    report.add(step(full))
    for (
        key
    ) in CHANNELS:  # the last object is missing, and the first one is in two parts
        image = kit.open_image(folder_of(zarr_dir, key))
        nuclei = kit.open_label(image, "nuclei").read()
        nuclei[nuclei == COUNTS[key]] = 0
        nuclei[:3][nuclei[:3] == 1] = 100
        with kit.derive_label(image, "again") as label:
            label.levels[0][...] = nuclei
            kit.build_pyramid(label)
    channel = {"mode": "label", "identifier": "FITC"}
    segment = rules.Step(task=reference, args_parallel={"channel": channel})
    report.add(step(full, 2, step=segment))
    file = zarr_dir / "page.html"
    report.write(file)
    return file.read_text("utf-8")


def labels_of(page: str, beginning: str) -> list[str]:
    """Alternative texts of the plots that begin with some words."""
    found = map(html.unescape, re.findall(r'aria-label="([^"]*)"', page))
    return [text for text in found if text.startswith(beginning)]


def words(page: str) -> str:
    text = re.sub(r"<style.*?</style>|<[^>]+>", " ", page, flags=re.DOTALL)
    return " ".join(html.unescape(text).split())


def sheet(page: str, title: str) -> str:
    """The part of the page with a sheet of a plate."""
    (found,) = re.findall(
        rf"<h2[^>]*>Plate {re.escape(title)}</h2>.*?</section>", page, re.DOTALL
    )
    return found


def thumb(sheet: str, well: str) -> np.ndarray:
    (data,) = re.findall(
        rf'<img src="data:image/webp;base64,([^"]+)" alt="{well}:', sheet
    )
    pixels = Pillow.open(io.BytesIO(base64.b64decode(data))).convert("RGB")
    return np.asarray(pixels).astype(int)


def test_an_image_list_of_urls_is_enough(page: str) -> None:
    assert "Error" not in words(page)
    assert re.search(
        r"B02: [^:]*, cannot be shown: [^:]*: there is nothing at", words(page)
    )
    assert "are shown have not changed" in words(page)


def test_each_acquisition_has_a_map_with_the_counts_of_its_images(page: str) -> None:
    maps = labels_of(page, "Map of the plate: objects")
    assert len(maps) == 1  # others have one well: a map of it says nothing
    assert "one/plate.zarr, acquisition 0 of 3 wells, from 2 to 7" in maps[0]
    titles = re.findall(r"<title>([A-Z]\d\d): ([^<,]+)", page)
    for well in ("A01", "A02", "B01"):
        count = COUNTS["one", well, "0"]
        assert (well, str(count)) in titles
        area = 10 * count + (count - 1) / 2
        assert (well, f"{area:.4g}") in titles
    sums = COUNTS["one", "A01", "0"] + COUNTS["one", "A01", "1"]
    assert ("A01", str(sums)) not in titles


def test_groups_never_mix_plates_or_acquisitions(page: str) -> None:
    for (plate, well, name), count in COUNTS.items():
        place = f"{well}, {plate}/plate.zarr, acquisition {name}"
        assert f"{count} in {place}" in words(page)
    (text,) = labels_of(page, "area by well")
    assert text.startswith("area by well and acquisition, medians: ")
    for (plate, well, name), count in COUNTS.items():
        area = 10 * count + (count - 1) / 2
        place = f"{well}, {plate}/plate.zarr, acquisition {name}"
        assert f"{place} {area:.4g}" in text


def test_there_are_no_groups_of_conditions_without_conditions(page: str) -> None:
    assert "none" not in " ".join(labels_of(page, ""))


def test_rows_are_objects_only_if_a_label_image_has_them(page: str) -> None:
    tables = dict(
        re.findall(r"Table (\w+) (.*?)(?= Table | Plate | Arguments )", words(page))
    )
    n = sum(COUNTS.values())
    assert f"{n} rows of the table of 5 images" in tables["features"]
    assert "objects" in tables["features"]
    assert "10 rows of the table of 5 images" in tables["summary"]
    assert re.search(r"Not drawn: (\w+, )*label", tables["features"])
    # Of few rows, the table is shown.
    assert "of brightness A01, one/plate.zarr, acquisition 0 5" in tables["summary"]
    assert "rows : 2 in each of 5 images" in tables["summary"]
    assert "objects" not in tables["summary"]


def test_channels_are_matched_by_name(page: str) -> None:
    first = sheet(page, "one/plate.zarr, acquisition 0")
    second = sheet(page, "one/plate.zarr, acquisition 1")
    text = words(first)
    assert "Rhodamine" not in text
    assert re.search(r"DAPI [\d.]+ to [\d.]+, [^,]*? FITC", text)  # in all three
    assert re.search(r"FITC [^,]*, [^,]*, in 2 of 3 wells", text)
    assert "Rhodamine" in words(second)
    assert "FITC" not in words(second)
    # The order of the channels makes no difference, and what a well lacks is dark.
    assert np.abs(thumb(first, "A01") - thumb(first, "A02")).max() <= 12
    lit = thumb(first, "B01")[:4, :4].mean((0, 1))
    both = thumb(first, "A01")[:4, :4].mean((0, 1))
    assert (both - lit).max() > 100
    assert "No picture of 1 of 4 wells" in text


def test_wells_lead_to_the_last_pictures_of_their_acquisition(page: str) -> None:
    links = re.findall(
        r'<td id="well-[^"]+"><a href="#([^"]+)"><img [^>]*alt="\w+: ([^"]+)"></a>',
        page,
    )
    assert links
    for target, name in links:
        figure = page[page.index(f'id="{target}"') :]
        assert target.startswith("step-2-")
        assert f"<h3>{name}</h3>" in figure[: figure.index("</h3>") + 5]


def test_wells_of_several_plates_have_different_names(page: str) -> None:
    table = page[page.index('id="wells"') : page.index('id="step-1"')]
    names = re.findall(r'<th scope="row">([^<]+)</th>', table)
    assert len({*names}) == len(names)
    shared = [name for name in names if name.startswith("A01")]
    assert all(
        re.match("A01 of (one|two)/plate.zarr, acquisition", name) for name in shared
    )
    assert shared


def test_labels_are_counted_and_shown_on_the_channel_of_the_step(page: str) -> None:
    second = page[page.index('id="step-2"') : page.index('id="sheet-1"')]
    figures = re.split(r'id="step-2-picture-\d+"', second)[1:]
    assert figures
    for figure in figures:
        text = words(figure)
        (found,) = re.findall(r"(one|two)/plate.zarr/([AB])/(\d\d)/(\d) again", text)
        plate, row, column, name = found
        key = plate, row + column, name
        # As many as before: one is missing, and one is in two parts.
        count = COUNTS[key]
        assert f"again {count} objects" in text, key
        on = "FITC" if "FITC" in CHANNELS[key] else "DAPI"
        assert f"on {on}" in text, key
        agree = f"Of nuclei in again: {count - 2} agree, 1 split, 0 merged, 1 missing;"
        assert f"{agree} 0 only in again" in text, key
    cells = re.findall(r'<img [^>]*alt="again of ([^"]+)">(\d+) again', page)
    for name, number in cells:
        plate, _, row, column, acquisition = name.split("/")
        assert int(number) == COUNTS[plate, row + column, acquisition]
    assert len(cells) == len(figures)


def test_each_extreme_object_has_a_picture_with_its_outline(tmp_path: Path) -> None:
    path = tmp_path / "a.zarr"
    write_image(path, ["DAPI"], 1)
    with kit.derive_label(kit.open_image(path), "spots") as label:
        label.levels[0][2:12, 2:12] = 7
        label.levels[0][40:44, 40:44] = 3
        label.levels[0][50:51, 62:64] = 5
        kit.build_pyramid(label)
    images = [{"zarr_url": str(path), "origin": None, "attributes": {}, "types": {}}]
    report = Report("Extremes", tmp_path, [], [])
    report.add(step(images, before=[]))
    (figure,) = report.sections[0].figures
    densest = [
        crop for crop in figure.crops if crop.title == "largest: label 7, 25 µm²"
    ]
    assert [crop.notes for crop in densest] == [["spots", "1 object", "on DAPI"]]
    for crop in densest:
        assert crop.keys == [("#ffffff", "this object", "")]
        lines = pixels_of(crop.layers["lines"])
        assert (lines[..., 3] > 0).sum() == 2 * 10 + 2 * 8  # around 10 x 10 pixels
    rows = figure.extremes["spots"]
    assert [row["label"] for row in rows] == ["7", "3", "5"]
    for row, sides in zip(rows, (20, 8, 3), strict=True):
        picture = row["picture"]
        assert picture.alt == f"label {row['label']} of spots on DAPI of a.zarr"
        pixels = pixels_of(picture.data)
        times = pixels.shape[0] // 32
        is_yellow = pixels[..., 0].astype(int) - pixels[..., 2] > 60
        # A line of one pixel around what is enlarged.
        assert is_yellow.sum() == pytest.approx(2 * sides * times - 4, rel=0.3)
    report.write(tmp_path / "page.html")
    assert (tmp_path / "page.html").read_text("utf-8").count('class="object"') == 3


def test_values_that_are_odd_or_not_known_are_shown_as_they_are(tmp_path: Path) -> None:
    """An image of one value, infinite measurements, and a machine that measures no memory."""
    path = tmp_path / "a.zarr"
    given = {"dtype": np.uint8, "axes": "cyx", "channels": ["DAPI", "FITC"]}
    with kit.create_image(
        path, shape=(2, SIZE, SIZE), scale={"y": 1, "x": 1}, **given
    ) as image:
        kit.build_pyramid(image)
    columns = {"width": [np.inf, 1.0, np.nan]}
    kit.write_table(kit.open_image(path), "numbers", columns)
    images = [{"zarr_url": str(path), "origin": None, "attributes": {}, "types": {}}]
    cost = costs.Cost(2.0, None, None)
    unit = history.UnitDone("job 1", "parallel", {}, cost, None, "", reused=False)
    report = Report("Odd", tmp_path, [], [])
    report.add(
        step(
            images,
            before=[],
            units=[unit],
            costs=[costs.Costs("Look", "parallel", 2, None, [cost])],
        )
    )
    report.write(tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text("utf-8")
    assert "2 CPUs not known" in words(page)
    assert labels_of(page, "Grey values of FITC") == [
        "Grey values of FITC, from 0 to 0"
    ]
    assert "a.zarr inf a.zarr 1 a.zarr none" in words(page)


def test_the_site_of_a_package_shows_the_pictures_of_its_demo(
    page: str, tmp_path: Path
) -> None:
    assert read_pictures(tmp_path) == {}
    file = tmp_path / PAGE
    file.parent.mkdir(parents=True)
    segmentation = page.replace(">2. Look</h2>", ">2. Segment</h2>")
    file.write_text(segmentation, "utf-8")
    outlined = read_pictures(tmp_path)["Segment"][0]
    text = write_pictures([outlined], tmp_path, "segment")
    assert "Outlines of 5 objects of the label image again" in text
    drawn = np.asarray(Pillow.open(tmp_path / "segment-1.webp").convert("RGB"))
    below, lines = (
        np.asarray(
            Pillow.open(io.BytesIO(base64.b64decode(data.partition(",")[2]))).convert(
                "RGBA"
            )
        )
        for data in outlined.layers
    )
    is_line = lines[..., 3] > 0
    assert is_line.any()
    assert np.abs(drawn[is_line].astype(int) - lines[is_line][:, :3]).mean() < 40
    away = ~ndimage.binary_dilation(is_line, iterations=8)
    assert np.abs(drawn[away].astype(int) - below[away][:, :3]).mean() < 5


def test_the_summary_agrees_with_the_steps(page: str) -> None:
    text = words(page)
    assert "✓ Succeeded. All 2 steps succeeded, with 12 jobs." in text
    assert "2 steps, 6 images in 5 wells of 2 plates in total, 4.0 s" in text
    costs_table = page[page.index('id="costs"') : page.index('id="reproduce"')]
    rows = words(costs_table)
    for number in (1, 2):
        assert (
            f"{number}. Look for each 6 0 0 2.0 s (2.0 s) 1.0 s (1.0 s) "
            "100 MB (100 MB) nothing 1 CPU, 500 MB"
        ) in rows


def test_the_block_to_reproduce_a_run_is_complete_and_has_no_password(
    page: str,
) -> None:
    files = dict(
        re.findall(
            r'download="([^"]+)" href="data:application/json;base64,([^"]+)"', page
        )
    )
    workflow = json.loads(base64.b64decode(files["workflow.json"]))
    assert [one["task"]["version"] for one in workflow["task_list"]] == ["1.0", "1.0"]
    assert rules.read_job(workflow=workflow).workflow.name == "Uneven"
    assert len(json.loads(base64.b64decode(files["images.json"]))) == 6
    command = words(page)[words(page).index("fractal-workbench run workflow.json") :]
    assert (
        "--images images.json --with 'tasks @ https://example.org/tasks.whl'" in command
    )
    assert "secret" not in page


def test_the_tables_of_plates_can_be_downloaded_unless_they_are_long(
    page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pattern = r'download="([^"]+)" href="data:text/csv;base64,([^"]+)"'
    files = {name: base64.b64decode(data) for name, data in re.findall(pattern, page)}
    assert {name: text.split() for name, text in files.items()} == {
        "one-plate.zarr-wells.csv": [b"n", b"3.5"],
        "two-plate.zarr-wells.csv": [b"n", b"4.5"],
    }
    table = tmp_path / "plate.zarr" / "tables" / "wells" / "table.csv"
    table.parent.mkdir(parents=True)
    table.write_text("n\n1\n")
    monkeypatch.setattr(reproduce_module, "MAX_FILE", 3)
    assert plate_tables({tmp_path / "plate.zarr"}) == ([], [table])


@pytest.mark.parametrize(
    ("total", "reasons", "kind", "text"),
    [
        (1, [None, None], "succeeded", "The step succeeded, with 2 jobs."),
        (1, ["bad", "bad"], "failed", "Step 1 of 1, Look, failed: 2 of 2 jobs."),
        (3, ["bad", None], "partly", "1 of 2 jobs. Did not run: 2. Blur, 3. Cut."),
        (3, [None, None], "partly", "after step 1 of 3. Did not run: 2. Blur, 3. Cut."),
    ],
)
def test_the_status_names_failures(
    total: int, reasons: list[str | None], kind: str, text: str
) -> None:
    units = [
        history.UnitDone(f"job {n}", "parallel", {}, None, reason, "", reused=False)
        for n, reason in enumerate(reasons)
    ]
    error = rules.WorkflowError("bad") if any(reasons) else None
    done = step([], units=units, total=total, error=error)
    status = status_of([done], ["2. Blur", "3. Cut"][: total - 1])
    assert status.kind == kind
    assert text in status.text
    n_failed = sum(reason is not None for reason in reasons)
    assert [link for link, _ in status.links if link.startswith("failed")] == [
        f"failed-1-{n}" for n in range(1, n_failed + 1)
    ]


def test_steps_that_did_not_run_are_on_the_page(tmp_path: Path) -> None:
    reference = {"pkg_name": "tasks", "name": "Look"}
    last = {"task": reference, "alias": "Cut", "args_parallel": {"size": 3, "b": "<i>"}}
    workflow = {"name": "Three", "task_list": [{"task": reference}] * 2 + [last]}
    report = Report("Three", tmp_path, [], [], workflow)
    error = rules.WorkflowError("no image has the types")
    report.add(step([], total=3, units=[], error=error))
    report.write(tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text("utf-8")
    assert "Step 1 of 3, Look, failed. Did not run: 2. Look, 3. Cut." in words(page)
    assert words(page).count("did not run") == 2
    section = page[page.index('<section id="step-3"') :]
    (given,) = re.findall(r'<pre id="arguments-3"[^>]*>(.*?)</pre>', section, re.DOTALL)
    assert json.loads(html.unescape(given)) == {"args_parallel": last["args_parallel"]}
    assert 'data-copy="arguments-3"' in section
    for number in "123":
        assert page.count(f'href="#step-{number}"') >= 2


@pytest.mark.parametrize("steps", [0, 2])
def test_a_workflow_without_steps_has_not_failed(tmp_path: Path, steps: int) -> None:
    task = {"task": {"pkg_name": "tasks", "name": "Look"}}
    report = Report("Empty", tmp_path, [], [], {"task_list": [task] * steps})
    report.write(tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text("utf-8")
    if steps:
        assert "✗ Failed. No step ran. Did not run: 1. Look, 2. Look." in words(page)
    else:
        assert "Nothing to run. The workflow has no steps." in words(page)
        assert "✗" not in page


def test_messages_of_successful_jobs_are_open_and_their_logs_folded(
    tmp_path: Path,
) -> None:
    stamp = "2026-01-02 03:04:05,678; task; INFO;"
    logs = [
        f"{stamp} /data/{n}.zarr: {n} regions outside of the image are left out\n"
        f"{stamp} /data/{n}.zarr: done <b>"
        for n in range(1, 31)
    ]
    logs[4] += "\n2026-01-02 03:04:05,678; task; WARNING; pixel_z is assumed to be 1"
    logs += ["\x1b[31mdone\x1b[0m", ""]
    units = [
        history.UnitDone(f"job {n}", "parallel", {}, None, None, log, reused=False)
        for n, log in enumerate(logs, 1)
    ]
    units[-1] = units[-1]._replace(reused=True)
    report = Report("Logs", tmp_path, [], [])
    report.add(step([], units=units))
    report.write(tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text("utf-8")
    text = words(page)
    assert "Read the messages of 1 of the steps: 1. Look" in text
    (told,) = re.findall(r'<div[^>]* id="step-1-messages">(.*?)</div>', page, re.DOTALL)
    first, second = re.findall("<li>(.*?)</li>", told, re.DOTALL)
    assert words(first) == (
        "/data/1.zarr: 1 regions outside of the image are left out 30 jobs have such a "
        "message; this is that of job 1."
    )
    assert words(second) == "warning: pixel_z is assumed to be 1"
    folded = page[page.index("Logs of 10 jobs; 21 more are not shown") :]
    assert f"{stamp} /data/1.zarr: done &lt;b&gt;" in folded
    assert "\x1b" not in page
    assert "1 job did not run again: its log is on the page of the earlier run." in text


@pytest.mark.parametrize(
    ("positive", "negative", "text"),
    [
        (
            [10, 11, 12],
            [0, 0, 0],
            f"{1 - 3 * 1.4826 / 11:.2f}, wells: 3 positive, 3 negative",
        ),
        (
            [10, 11],
            [0, 0, 0],
            "needs 3 wells of each control: wells: 2 positive, 3 negative",
        ),
        ([1, 1, 1], [1, 1, 1], "is not defined: the medians are equal"),
        ([], [], ""),
    ],
)
def test_controls_give_a_robust_z_factor(
    positive: list[float], negative: list[float], text: str
) -> None:
    values, conditions = {"H12": 5.0}, {}
    for row, group in (("A", positive), ("B", negative)):
        for number, value in enumerate(group, 1):
            values[f"{row}{number:02}"] = value
            kind = "positive" if row == "A" else "negative"
            position = Position(Path("/plate"), f"{row}{number:02}", "0")
            conditions[position] = Condition("control", kind, kind)
            # Another acquisition is no part of it.
            other = "negative" if row == "A" else "positive"
            conditions[position._replace(acquisition="1")] = Condition("", "", other)
    found = z_factor(values, Layer("/plate", "0", ""), conditions)
    assert found.startswith(text) if text else found == ""


def test_pictures_stay_within_their_limit(tmp_path: Path) -> None:
    """The page says how much it leaves out, and each step keeps one image."""
    images = []
    for name in ("a", "b", "c"):
        write_image(tmp_path / f"{name}.zarr", ["DAPI"], 3)
        images.append({"zarr_url": str(tmp_path / f"{name}.zarr"), "attributes": {}})
    full = [image | {"origin": None, "types": {}} for image in images]
    sizes = {}
    for limit in (0, 1e9):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("fractal_workbench.report.page.MAX_BYTES", limit)
            report = Report("Small", tmp_path, [], [])
            report.add(step(full, before=[]))
        (section,) = report.sections
        shown = [figure for figure in section.figures if figure.pictures]
        remarks = [remark for figure in section.figures for remark in figure.remarks]
        is_told = "Not shown: 2 more images of these wells." in remarks
        assert (len(shown), is_told) == ((1, True) if limit == 0 else (3, False))
        sizes[limit] = report._bytes
    assert sizes[0] < sizes[1e9] / 3


def test_wells_without_objects_have_none_on_the_map(tmp_path: Path) -> None:
    wells = {"A01": 0, "A02": 3, "B01": 5}
    tables = []
    for well, n in wells.items():
        write_image(tmp_path / well, ["DAPI"], n)
        tables.append(tmp_path / well / "tables" / "features")
    (group,) = measure(tables, lambda path: Position(tmp_path, path.name, "0"), 60)
    (layer,) = layers(group).values()
    assert by_well(group, layer, "objects") == wells
    assert np.isnan(by_well(group, layer, "area")["A01"])
    assert group.n_rows == 8
    (alone,) = measure(tables[:1], lambda path: Position(tmp_path, path.name, ""), 60)
    assert {k: v.tolist() for k, v in alone.features.items()} == {"objects": [0]}


def test_time_points_are_never_added_up(tmp_path: Path) -> None:
    """Two objects at each of three time points are not six objects."""
    tables = []
    for number, well in enumerate(("A01", "A02", "B01", "B02")):
        write_image(tmp_path / well, ["DAPI"], 2)
        columns = {
            "label": [1, 2] * 3,
            "time_point": [0, 0, 1, 1, 2, 2],
            "area": np.arange(6.0) + number,
        }
        kit.write_feature_table(
            kit.open_image(tmp_path / well), "tracks", columns, label_name="nuclei"
        )
        tables.append(tmp_path / well / "tables" / "tracks")
    (group,) = measure(tables, lambda path: Position(tmp_path, path.name, "0"), 60)
    assert group.n_times == 3
    (layer,) = layers(group).values()
    assert by_well(group, layer, "objects") == dict.fromkeys(
        ("A01", "A02", "B01", "B02"), 2
    )
    objects, area = measured_figures(group, {})
    assert objects.text == "2 in each of 12 images and time points"
    (by_time,) = [plot for plot in area.plots if "by time point" in plot]
    assert "area by time point, medians: 0 2, " in by_time
    short = measured_figures(group, {}, full=False)
    assert [(one.text.partition(";")[0], one.plots) for one in short] == [
        ("2 in each of 12 images and time points", []),
        ("median 4, from 0 to 8", []),
    ]
    # Without a label image, they are rows; also these are not added up.
    kit.write_table(
        tmp_path / "A01", "frames", {"time_point": [0, 1, 2], "mean": [1.0, 2.0, 4.0]}
    )
    frames = [tmp_path / "A01" / "tables" / "frames"]
    (group,) = measure(frames, lambda path: Position(tmp_path, path.name, "0"), 60)
    assert small_table(group) == (
        ["of", "mean"],
        [[f"A01, time point {n}", str(value)] for n, value in enumerate((1, 2, 4))],
    )


def test_odd_images_are_named_counted_and_never_pooled(tmp_path: Path) -> None:
    """A plate with gaps, images outside of it, one without a pixel size, and a removed one."""
    wells = {("A", "01"): {"0": 0}, ("B", "12"): {"0": 0}}
    kit.create_plate(tmp_path / "plate.zarr", wells)
    folders = ["plate.zarr/A/01/0", "plate.zarr/B/12/0", "no <size>.zarr", "gone.zarr"]
    images = []
    for n, folder in enumerate(folders):
        scale = {} if n == 2 else {"y": 0.5, "x": 0.5}
        write_image(tmp_path / folder, ["DAPI"], 5, scale)
        image = kit.open_image(tmp_path / folder)
        label = kit.open_label(image, "nuclei").read()
        sizes = np.bincount(label.ravel())[1:] * (1 if n == 2 else 0.25)
        columns = {
            "label": np.arange(1, 6),
            "area": sizes,
            "ratio": [np.nan] * n + [1, 2, 3, 4, 5][n:],
        }
        kit.write_feature_table(
            image, "features", columns, label_name="nuclei", overwrite=True
        )
        images.append({"zarr_url": str(tmp_path / folder), "attributes": {}})
    full = [i | {"origin": None, "types": {}} for i in images]
    report = Report("Odd", tmp_path, [], [])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("fractal_workbench.report.pick_images.MAX_PLACES", 5)
        report.add(step(full, before=[]))
    shutil.rmtree(tmp_path / folders[3])
    report.add(step(full, 2, after=full[:-1]))
    report.write(tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text("utf-8")
    text = words(page)
    assert "area is in µm² and in pixels, in different images: do not" in text
    assert "µm² : area" not in text
    assert "Input: 4 of 4 images. Output: 3 images; 1 removed." in text
    assert "ratio : no value in 6 of 20 rows" in text
    assert "3 images: 2 in 2 wells and 1 outside of plates in total" in text
    (by,) = labels_of(page, "area by well or image")
    for name in ("A01", "B12", "no <size>.zarr", "gone.zarr"):
        assert f"{name}" in by
    table = page[page.index('id="wells"') : page.index('id="step-1"')]
    names = re.findall(r'<th scope="row">([^<]+)</th>', table)
    assert names == [
        "A01, acquisition 0",
        "B12, acquisition 0",
        "gone.zarr",
        "no &lt;size&gt;.zarr",
    ]
    # All columns are equally wide, also without a well.
    assert 'class="sheet" style="--columns: 12"' in page


def test_units_are_those_of_all_images_also_of_those_without_a_picture(
    tmp_path: Path,
) -> None:
    """Pictures show the first, the middle and the last of five images."""
    for n, name in enumerate("abcde"):
        has_size = name != "b"
        # A single object says nothing about the unit of areas.
        own = {"a": ["Rhodamine"], "d": ["FITC"]}
        channels = ["DAPI", *own.get(name, [])]
        path = tmp_path / f"{name}.zarr"
        write_image(
            path, channels, 1 if n == 0 else 5, {"y": 0.5, "x": 0.5} if has_size else {}
        )
        image = kit.open_image(path)
        label = kit.open_label(image, "nuclei").read()
        pixels = np.bincount(label.ravel())[1:]
        columns = {
            "label": np.arange(1, len(pixels) + 1),
            "area": pixels * (0.25 if has_size else 1),
            "pixels": pixels,
            **{f"mean_{channel}": np.full(len(pixels), 40.0) for channel in channels},
            **({"time_point": np.zeros(len(pixels), int)} if name in "de" else {}),
        }
        if name == "e":
            columns["time_point"][2:] = 1
        kit.write_feature_table(
            image, "features", columns, label_name="nuclei", overwrite=True
        )
    images: list[dict[str, Any]] = [
        {
            "zarr_url": str(tmp_path / f"{name}.zarr"),
            "origin": None,
            "attributes": {},
            "types": {},
        }
        for name in "abcde"
    ]
    report = Report("Units", tmp_path, [], [])
    report.add(step(images, before=[]))
    assert len(report._sample.places) == 3
    group = next(g for g, _ in report.sections[0].tables if g.name == "features")
    assert {name: group.units.get(name, "") for name in group.features} == {
        "objects": "",
        "area": "",
        "pixels": "pixels",
        "mean_DAPI": "grey values",
        "mean_Rhodamine": "grey values",
        "mean_FITC": "grey values",
    }
    assert group.remarks == [
        "area is in µm² and in pixels, in different images: do not compare these."
    ]
    report.write(tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text("utf-8")
    assert "5 images in total" in words(page)
    assert "3 of 5 images, spread evenly: a.zarr, c.zarr, e.zarr" in words(page)
    (by_time,) = labels_of(page, "area by time point")
    groups = by_time.partition("medians: ")[2].split(", ")
    assert [name.rpartition(" ")[0] for name in groups] == ["0", "1", "no time point"]


def test_points_are_where_the_table_says(tmp_path: Path) -> None:
    write_image(tmp_path / "a.zarr", ["DAPI"], 0)
    images = [{"zarr_url": str(tmp_path / "a.zarr"), "attributes": {}}]
    report = Report("Points", tmp_path, images, [])
    # Pixels of 0.5 micrometers; the second time point is not shown.
    places = [(16, 48), (32, 8), (40, 40)]
    columns = {
        f"{axis}_micrometer": [place[n] / 2 for place in places]
        for n, axis in enumerate("yx")
    }
    kit.write_table(tmp_path / "a.zarr", "spots", columns | {"time_point": [0, 0, 1]})
    report.add(step([i | {"origin": None, "types": {}} for i in images]))
    (figure,) = report.sections[0].figures
    overview, piece = figure.pictures[-1], figure.crops[-1]
    assert overview.alt == "2 points of the table spots on DAPI of a.zarr"
    assert piece.alt == "2 points of spots on DAPI of a piece of a.zarr"
    for picture in (overview, piece):
        lines = pixels_of(picture.layers["lines"])[..., 3] > 0
        found, n = ndimage.label(ndimage.binary_fill_holes(lines))
        centers = np.array(ndimage.center_of_mass(found > 0, found, [1, 2]))
        times = lines.shape[0] / SIZE
        assert n == 2
        assert np.allclose(
            sorted(centers.tolist()), (np.array(places[:2]) + 0.5) * times, atol=1
        )
    assert figure.thumb
    assert figure.thumb.notes == ["2 spots"]


@pytest.mark.parametrize(
    ("column", "values", "unit"),
    [
        ("mean_DAPI", [40.0, 41.5], "grey values"),
        ("intensity_max", [40, 255], "grey values"),
        ("mean_FITC", [40.0, 41.5], None),  # there is no such channel
        ("mean_intensity", [40.0, 300.0], None),  # no pixel can have it
        ("mean_intensity", [0.1, 0.9], None),  # of something else
        ("eccentricity", [40.0, 41.5], None),
    ],
)
def test_intensities_are_grey_values_if_the_pixels_can_have_them(
    tmp_path: Path, column: str, values: list[float], unit: str | None
) -> None:
    write_image(tmp_path / "a", ["DAPI"], 2)
    image = kit.open_image(tmp_path / "a")
    kit.write_table(tmp_path / "a", "measured", {column: values})
    found = intensity_units(kit.read_table(image, "measured"), image)
    assert found == ({column: unit} if unit else {})


def test_names_cannot_change_the_text_around_them(tmp_path: Path) -> None:
    name = "<script>alert(1)</script>\u202eabc"
    report = Report(name, tmp_path, [], [])
    report.add(step([{"zarr_url": f"/data/{name}", "attributes": {}, "types": {}}]))
    report.write(tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text("utf-8")
    assert "<script>alert" not in page
    assert "\u202e" not in page
    assert words(page).count(r"alert(1)</script>\u202eabc") >= 2


def test_a_long_image_list_is_no_part_of_the_page(tmp_path: Path) -> None:
    images = [{"zarr_url": f"/data/plate.zarr/A/01/{n}"} for n in range(30_000)]
    found = reproduce([], {"name": "a", "task_list": []}, images, tmp_path, [])
    assert [file.name for file in found.files] == ["workflow.json"]
    assert "images.json has 30000 images" in found.remark
    assert reproduce([], None, images[:3], tmp_path, []).remark == ""


def write_foreign(path: Path, name: str, **values: str) -> Path:
    """Write a table whose metadata do not say of what kind its columns are."""
    zarr.create_group(path, zarr_format=2)
    kit.write_table(path, name, {key: [value] for key, value in values.items()})
    table = path / "tables" / name
    zarr.open_group(table, mode="r+").attrs.put({"backend": "csv"})
    return table


@pytest.mark.parametrize(
    "values", [("1.10", "1.1", "v2"), ("1234567.0", "1234567.5", "1234568.0")]
)
def test_different_conditions_have_different_names(
    tmp_path: Path, values: tuple[str, ...]
) -> None:
    names = {f"A0{n}": value for n, value in enumerate(values, 1)}
    tables = {
        write_foreign(tmp_path / well, "condition_table", dose=value): (0, ())
        for well, value in names.items()
    }
    found = Conditions().read(tables, lambda path: Position(tmp_path, path.name, ""))
    shown = {place.well: condition.values for place, condition in found.items()}
    assert shown == {well: value.removesuffix(".0") for well, value in names.items()}


def test_a_column_with_a_text_in_any_image_has_no_distribution(tmp_path: Path) -> None:
    tables = [
        write_foreign(tmp_path / f"{n}", "features", area=f"{n}", batch=batch)
        for n, batch in enumerate(["12", "7", "7b"], 1)
    ]
    (group,) = measure(tables, lambda path: Position(tmp_path, path.name, ""), 60)
    assert sorted(group.features["area"]) == [1, 2, 3]
    assert "batch" in group.not_drawn
    assert not {*group.features} & {*group.not_drawn}
    where = Position(tmp_path, "A01", "")
    (group,) = measure(tables, lambda _: where, 60, left_out={"area"})
    assert "area" in group.not_drawn


def test_a_long_label_of_a_plot_has_lines_that_fit() -> None:
    label = "mean AF-568 of image (grey values), acquisition 1"
    assert plots.lines_of(label, 20) == [
        "mean AF-568 of image",
        "(grey\u00a0values),",
        "acquisition\u00a01",
    ]
