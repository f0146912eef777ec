"""The page of a run shows what happened, in one file, and never makes the run fail."""

import base64
import io
import json
import re
import shutil
import subprocess
from collections.abc import Callable
from html import escape, unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from form_browser import find_browser
from my_fractal_tasks.kit import (
    create_plate,
    derive_label,
    open_image,
    write_feature_table,
    write_table,
)
from package_images import write_image, write_plate
from PIL import Image

from fractal_workbench.engine import costs, history, rules
from fractal_workbench.form import npm
from fractal_workbench.report import measurements, pick_images, views
from fractal_workbench.report.page import Report


class Page(HTMLParser):
    """Elements of a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.html = html
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += f"{data} "

    def all(self, tag: str, key: str) -> list[str]:
        found = [
            attributes.get(key) for name, attributes in self.elements if name == tag
        ]
        return [value for value in found if value]

    def pictures(self, words: str) -> list[np.ndarray]:
        """Pixels of the pictures whose alternative text begins with these words."""
        found = [
            a
            for tag, a in self.elements
            if tag == "img" and (a["alt"] or "").startswith(words)
        ]
        return [pixels_of(attributes["src"] or "") for attributes in found]

    def layers(self, words: str, kind: str) -> list[np.ndarray]:
        """Pixels of a layer of the pictures whose alternative text begins like this."""
        images = [attributes for tag, attributes in self.elements if tag == "img"]
        found = []
        for number, attributes in enumerate(images):
            if (attributes["alt"] or "").startswith(words):
                above = images[number + 1 : number + 3]
                (layer,) = [a for a in above if a.get("class") == f"layer {kind}"]
                found.append(pixels_of(layer["src"] or ""))
        return found

    def scripts(self) -> list[str]:
        """Scripts of the page."""
        return re.findall(r"<script[^>]*>.*?</script>", self.html, re.DOTALL)

    def outside(self) -> list[str]:
        """Addresses that the page would fetch."""
        found = [tag for tag, _ in self.elements if tag in ("link", "iframe")]
        fetches = r"src=|//|fetch|import|XMLHttp"
        found += [text for text in self.scripts() if re.search(fetches, text)]
        for _, attributes in self.elements:
            for key in ("src", "srcset", "href", "xlink:href", "data", "style"):
                value = attributes.get(key) or ""
                if re.search(r"//|^file:", re.sub(r"data:[^ )]*", "", value)):
                    found.append(value)
        return found + re.findall(
            r"@import|url\(\s*['\"]?[^#'\"\s)][^)]*", self.styles()
        )

    def styles(self) -> str:
        return "".join(re.findall(r"<style.*?</style>", self.html, re.DOTALL))

    def dangling(self) -> list[str]:
        """Links to places that the page does not have, and names that it has twice."""
        ids = [a["id"] for _, a in self.elements if a.get("id")]
        links = [
            a["href"] for _, a in self.elements if (a.get("href") or "").startswith("#")
        ]
        pointed = re.findall(r"url\(#([^)]+)\)", self.html)
        missing = {link[1:] for link in links} | {*pointed}
        return sorted(missing - {*ids}) + sorted({i for i in ids if ids.count(i) > 1})


def pixels_of(uri: str) -> np.ndarray:
    """The pixels of a data URI."""
    _, _, data = uri.partition("base64,")
    return np.asarray(
        Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB")
    ).astype(int)


def entry(path: Path, **attributes: Any) -> dict[str, Any]:
    return {
        "zarr_url": str(path),
        "origin": None,
        "attributes": attributes,
        "types": {},
    }


def unit(number: int, url: str, reason: str | None = None, log: str = "") -> Any:
    cost = costs.Cost(1.0 + number, 0.5, 100.0 + 50 * number)
    name = f"job {number} ({url})"
    return history.UnitDone(name, "parallel", {}, cost, reason, log, reused=False)


def step(
    number: int, name: str, before: list[Any], after: list[Any], **more: Any
) -> Any:
    """Result of a step of a parallel task; all images are its input."""
    urls = [image["zarr_url"] for image in before]
    units = [unit(n, url) for n, url in enumerate(urls, 1)]
    given = {
        "number": number,
        "total": 5,
        "package": "my-fractal-tasks",
        "version": "1.2.3",
        "task": rules.Task(name=name, type="parallel"),
        "step": rules.Step(
            task={"pkg_name": "my-fractal-tasks", "name": name},
            args_parallel={"sigma": 2.5},
        ),
        "filters": {"is_3D": True},
        "before": before,
        "inputs": urls,
        "after": after,
        "units": units,
        "costs": [costs.Costs(name, "parallel", 1, 10, [u.cost for u in units])],
        "seconds": 12.5,
        "error": None,
    }
    return history.StepDone(**given | more)


def each_level(path: Path, change: Callable[[np.ndarray], np.ndarray]) -> None:
    for level in open_image(path, mode="r+").levels:
        level[...] = change(np.asarray(level))


def recolour(path: Path, *colours: str) -> None:
    group = zarr.open_group(path, mode="r+", use_consolidated=False)
    omero = group.attrs["omero"]
    for channel, colour in zip(omero["channels"], colours, strict=True):
        channel["color"] = colour
    group.attrs["omero"] = omero


SQUARE = slice(30, 60)  # of the label, at full resolution


@pytest.fixture(scope="module")
def page(tmp_path_factory) -> Page:
    """The page of a run: an image is inverted, labelled and measured, then a unit fails."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pick_images, "MAX_PLACES", 5)
        return make_page(tmp_path_factory.mktemp("run"))


def make_page(folder: Path) -> Page:
    zarr_dir = folder / "zarr"
    zarr_dir.mkdir()
    flat, deep, timed, broken = (
        zarr_dir / f"{name}.zarr" for name in ("a", "b", "c", "d")
    )
    write_image(flat, "cyx")
    recolour(flat, "FF0000", "00FF00")
    each_level(flat, lambda pixels: pixels * np.array([1, 0], np.uint16)[:, None, None])
    write_image(deep, "zyx")
    write_image(timed, "tyx")
    write_image(broken, "yx")
    for chunk in (broken / "1" / "0").iterdir():
        chunk.write_bytes(chunk.read_bytes()[:-3])
    shutil.rmtree(broken / "0" / "0")
    shutil.copytree(broken / "1" / "0", broken / "0" / "0")
    images = [entry(flat)]
    names = ("Invert", "Segment", "Convert", "Break", "Never")
    steps = [{"task": {"pkg_name": "my-fractal-tasks", "name": name}} for name in names]
    workflow = {"name": "Title", "task_list": steps}
    found = Report("<b>Title</b>", zarr_dir, images, ["takes 1 image"], workflow)
    each_level(
        flat, lambda pixels: np.where(pixels > 0, 4000 - np.minimum(pixels, 4000), 0)
    )
    noted = unit(1, str(flat))._replace(log="pixel_z is assumed to be 1\ndone")
    found.add(step(1, "Invert", images, images, units=[noted]))
    image = open_image(flat)
    with derive_label(image, "squares") as label:
        for level in label.levels:
            factor = label.shape[0] / level.shape[0]
            part = slice(*(round(n / factor) for n in (SQUARE.start, SQUARE.stop)))
            level[part, part] = 7
    columns = {"label": np.arange(1, 41), "area": np.linspace(1, 9, 40)}
    write_feature_table(image, "features", columns, label_name="squares")
    roi = {"FieldIndex": ["one"], "x_micrometer": [5.0], "y_micrometer": [10.0]}
    roi |= {"len_x_micrometer": [15.0], "len_y_micrometer": [20.0]}
    write_table(image, "FOV_ROI_table", roi, type="roi_table", index="FieldIndex")
    spots = {"y_micrometer": [5.0, 20.0], "x_micrometer": [5.0, 20.0], "width": [1, 2]}
    write_table(image, "spots", spots)
    found.add(step(2, "Segment", images, images))
    missing = zarr_dir / "nothing.zarr"
    more = [*images, *map(entry, (deep, timed, broken, missing))]
    found.add(step(3, "Convert", images, more, inputs=[]))
    log = "<script>alert(1)</script> & the whole log"
    failed = [unit(1, str(flat)), unit(2, str(deep), "exit code 1", log)]
    failed[1] = failed[1]._replace(args={"zarr_url": "b.zarr", "name": "<b>"})
    ends = {"units": failed, "error": rules.WorkflowError("exit code 1", unit="job 2")}
    last = step(4, "Break", more, more, **ends)
    found.add(last)
    found.write(folder / "page.html")
    return Page((folder / "page.html").read_text("utf-8"))


def test_it_is_one_file_that_fetches_nothing_and_has_all_it_points_to(page):
    assert page.outside() == []
    assert page.dangling() == []
    shown = [a for tag, a in page.elements if tag == "img" and "class" not in a]
    assert all(attributes["alt"] for attributes in shown)
    assert len(page.all("svg", "aria-label")) >= 1
    assert len(page.scripts()) == 1  # without it, only the copy buttons are missing


@pytest.mark.parametrize(
    "bad",
    [
        '<img src="https://example.org/a.png">',
        "<style>a {background: url(https://example.org/a.png)}</style>",
        "<style>@import 'a.css'</style>",
        "<script>fetch('a')</script>",
        '<script src="a.js"></script>',
    ],
)
def test_a_page_that_fetches_something_would_be_noticed(bad):
    assert Page(bad).outside()
    assert Page('<p id="a"><p id="a"><a href="#b">').dangling() == ["b", "a"]


def test_pictures_before_and_after_have_the_colour_of_the_channel_and_differ(page):
    (before,), (after,) = page.pictures("before: "), page.pictures("after: ")
    for picture in (before, after):
        body = picture[:-60]  # without the scale bar
        assert body[..., 0].max() > 200
        assert body[..., 1:].max() < 60  # the second channel is dark
    red_before, red_after = before[:-60, :, 0].ravel(), after[:-60, :, 0].ravel()
    assert np.corrcoef(red_before, red_after)[0, 1] < -0.5
    assert "DAPI" in page.text
    assert "0 to 4000" in page.text


def test_outlines_are_where_the_label_is_and_boxes_where_the_region_is(page):
    (outlined, _) = page.layers("Outlines of 1 object of the label image", "outlines")
    coloured = np.ptp(outlined, axis=2) > 40
    times = outlined.shape[0] / 101
    rows, columns = np.nonzero(coloured)
    for found in (rows, columns):
        assert abs(found.min() - SQUARE.start * times) <= times
        assert abs(found.max() + 1 - SQUARE.stop * times) <= times
    middle = slice(round(36 * times), round(54 * times))
    assert not coloured[middle, middle].any()
    (fill, _) = page.layers("Outlines of 1 object of the label image", "fill")
    assert (np.ptp(fill[middle, middle], axis=2) > 40).all()
    (boxed,) = page.layers("Boxes", "lines")
    rows, columns = np.nonzero(np.ptp(boxed, axis=2) > 40)
    edges = rows.min(), rows.max() + 1, columns.min(), columns.max() + 1
    # 0.5 micrometers a pixel
    assert np.allclose(np.array(edges) / times, (20, 60, 10, 40), atol=1)


def test_it_describes_pictures_of_volumes_and_of_time(page):
    assert "maximum of 5 planes" in page.text
    assert "time point 1 of 2" in page.text


def test_it_tells_numbers_arguments_costs_and_complaints(page):
    text = " ".join(page.text.split())
    for words in (
        "Input: 1 of 1 image where is_3D is True. Output: 1 image.",
        "Output: 5 images, 4 of them new",
        "my-fractal-tasks 1.2.3",
        "sigma 2.5",
        "2.5 s (3.0 s)",
        "175 MB (200 MB)",
        "requests too little memory",
        "40 rows of the table of 1 image",
        "2 rows of the table of 1 image",
        "takes 1 image",
    ):
        assert words in text, words


def test_a_failed_unit_comes_with_its_reason_and_then_its_log_as_text(page):
    assert len(page.scripts()) == 1
    text = page.text
    assert text.index("exit code 1") < text.index("<script>alert(1)</script> & the")
    assert "Step 4 of 5, Break, failed" in " ".join(text.split())
    assert "✗ 1 failed" in text
    (given,) = re.findall(
        r'<pre id="failed-4-1-arguments"[^>]*>(.*?)</pre>', page.html, re.DOTALL
    )
    assert json.loads(unescape(given)) == {"zarr_url": "b.zarr", "name": "<b>"}


def test_results_without_a_picture_have_a_sentence(page):
    assert "d.zarr" in page.text
    assert "a damaged chunk" in page.text
    assert "there is nothing at" in page.text


def test_the_title_is_text(page):
    assert "<b>Title</b>" in page.text


def test_a_run_goes_on_if_its_page_fails(tmp_path, capsys):
    nowhere = [entry(tmp_path / "nothing.zarr"), {"zarr_url": 5}]
    found = Report("Title", tmp_path, nowhere, [])
    found.add(step(1, "Do", [], [], costs=None, units=None))
    found.write(tmp_path / "no folder" / "page.html")
    assert "cannot be written" in capsys.readouterr().err


def test_acquisitions_are_overlaid_when_one_has_moved(tmp_path):
    rng = np.random.default_rng(0)
    squares = rng.integers(0, 4000, (40, 40)).astype(np.uint16)
    pixels = squares.repeat(4, axis=0).repeat(4, axis=1)
    wells = {"A/01": [0, 1]}
    paths = write_plate(tmp_path / "plate.zarr", wells, axes="yx", pixels=pixels)

    def move(pixels: np.ndarray, by: int) -> np.ndarray:
        return np.roll(pixels, by * pixels.shape[0] // 160, axis=0)

    each_level(paths[1], lambda pixels: move(pixels, 12))
    places = {"plate": "plate.zarr", "well": "A01"}
    images = [entry(path, **places, acquisition=n) for n, path in enumerate(paths)]
    found = Report("Title", tmp_path, images, [])
    found.add(step(1, "Look", images, images))
    each_level(paths[1], lambda pixels: move(pixels, -12))
    found.add(step(2, "Register", images, images))
    found.write(tmp_path / "page.html")
    page = Page((tmp_path / "page.html").read_text("utf-8"))
    (before,) = page.pictures("before: acquisition 0 in magenta")
    (after,) = page.pictures("after: acquisition 0 in magenta")
    colour = [np.ptp(picture[:-24], axis=2).mean() for picture in (before, after)]
    assert colour[0] > 10 * colour[1] + 20


def test_a_large_image_without_small_levels_is_read_in_a_piece(tmp_path):
    path = tmp_path / "large.zarr"
    write_image(path, "yx", pixels=np.zeros((8, 8), np.uint16))
    shutil.rmtree(path / "0")
    group = zarr.open_group(path, mode="r+", use_consolidated=False)
    multiscale, *_ = group.attrs["multiscales"]
    multiscale["datasets"] = multiscale["datasets"][:1]
    group.attrs["multiscales"] = [multiscale]
    chunk_keys = {"name": "v2", "separator": "/"}
    options = {"dtype": "u2", "fill_value": 3, "chunk_key_encoding": chunk_keys}
    group.create_array("0", shape=(8000, 9000), chunks=(1000, 1000), **options)
    view = views.take_view(str(path))
    assert any("the middle of the image" in note for note in view.small.notes)
    assert view.small.shape == pytest.approx((512, 512), abs=2)
    shutil.rmtree(path / "0")
    group.create_array("0", shape=(12_000, 12_000), chunks=(12_000, 12_000), **options)
    assert "a chunk of it takes 288 MB" in views.try_view(str(path))


def test_a_plate_of_384_wells_is_a_page_to_send(tmp_path):
    plate = tmp_path / "plate.zarr"
    names = [
        (row, f"{column:02}") for row in "ABCDEFGHIJKLMNOP" for column in range(1, 25)
    ]
    create_plate(plate, {name: {"0": 0} for name in names})
    pattern = tmp_path / "pattern.zarr"
    write_image(pattern, "cyx")
    columns = {"label": [1, 2, 3], "area": [5.0, 6.0, 7.0]}
    write_feature_table(open_image(pattern), "features", columns, label_name="objects")
    images = []
    for number, (row, column) in enumerate(names):
        path = plate / row / column / "0"
        shutil.copytree(pattern, path)
        table = path / "tables" / "features" / "table.csv"
        table.write_text(f"label,area\n1,{number}\n2,{number}\n")
        images.append(entry(path, plate="plate.zarr", well=row + column, acquisition=0))
    found = Report("Title", tmp_path, [], [])
    found.add(step(1, "Convert", [], images))
    found.write(tmp_path / "page.html")
    assert (tmp_path / "page.html").stat().st_size < 15e6
    page = Page((tmp_path / "page.html").read_text("utf-8"))
    assert page.outside() == page.dangling() == []
    assert len([alt for alt in page.all("img", "alt") if "plate.zarr/" in alt]) >= 384
    wells = [url for url in page.all("a", "href") if url.startswith("#well-")]
    assert sorted({url[-3:] for url in wells}) == sorted(map("".join, names))
    assert "P24: 383" in page.text
    assert "Pictures show 3 of 384 wells, spread evenly: A01" in page.text


def test_a_long_image_list_opens_each_folder_once(tmp_path, monkeypatch):
    """Where images lie is known by their plates and wells, of which there are few."""
    opened = []

    def open_group(folder):
        opened.append(Path(folder))
        return Path(folder)

    def ome_metadata(folder):
        if folder.name == "plate.zarr":
            return {"plate": {}}
        return {"well": {"images": [{"path": str(n)} for n in range(3000)]}}

    monkeypatch.setattr(measurements.kit, "open_group", open_group)
    monkeypatch.setattr(measurements.kit, "ome_metadata", ome_metadata)
    images = [
        {"zarr_url": str(tmp_path / folder / str(n)), "attributes": {}}
        for n in range(4000)
        for folder in ("plate.zarr/A/01", "plate.zarr/A/02", "other/B/03")
    ]
    wells = measurements.find_positions(images, {})
    assert sum(well is not None for well in wells.values()) == 6000
    assert len(opened) == 5
    assert measurements.find_positions(images, wells) == wells
    assert len(opened) == 5


def test_a_plate_may_have_a_folder_for_each_acquisition(tmp_path):
    """As older plates of OMERO do."""
    plate, urls = tmp_path / "plate.zarr", []
    metadata = {"version": "0.4", "wells": [{"path": f"{n}/A/01"} for n in (0, 1)]}
    zarr.create_group(plate, zarr_format=2, attributes={"plate": metadata})
    for number in (0, 1):
        well = {"well": {"version": "0.4", "images": [{"path": "0"}]}}
        folder = plate / str(number) / "A" / "01"
        zarr.create_group(folder, zarr_format=2, attributes=well)
        urls.append(str(folder / "0"))
    for attributes in ({}, {"plate": "plate.zarr", "well": "A01"}):
        images = [{"zarr_url": url, "attributes": attributes} for url in urls]
        assert measurements.find_positions(images, {}) == {
            url: measurements.Position(plate, "A01", str(number))
            for number, url in enumerate(urls)
        }


def test_links_lead_to_wells_of_their_own_plate_that_are_still_there(tmp_path):
    images = []
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        plate = tmp_path / folder / "plate.zarr"
        for number, path in enumerate(
            write_plate(plate, {"A/01": [0], "A/02": [0], "A/03": [0]}, axes="yx")
        ):
            columns = {"label": [1, 2], "area": [1.0 + number, 2.0 + number]}
            write_feature_table(
                open_image(path), "features", columns, label_name="objects"
            )
            images.append(entry(path, plate="plate.zarr", well=f"A0{number + 1}"))
    found = Report("Title", tmp_path, [], [])
    found.add(step(1, "Convert", [], images))
    found.add(step(2, "Leave out", images, images[:-1]))
    found.write(tmp_path / "page.html")
    page = Page((tmp_path / "page.html").read_text("utf-8"))
    assert page.dangling() == []
    links = {url for url in page.all("a", "xlink:href") + page.all("a", "href")}
    wells = [url for url in links if url.startswith("#well-")]
    assert sorted(url[-3:] for url in wells) == ["A01", "A01", "A02", "A02", "A03"]


AXE = "4.14.1"
AXE_SHA512 = "FHfa+lmNjQZfJz1q8wKqIDwC6DExcHt/pkjNQb09a3NPjCKg2rhu5qb2S4r76ASyFNNtuFooJpZe37OgudVGtQ=="


def open_at(width: int, html: str, folder: Path, *, dark: bool) -> dict[str, Any]:
    """Open a page in a browser, and check it by axe-core, also as it is printed.

    Returns:
        The violations, the width, and what the keyboard does not reach.
    """
    axe = npm.fetch("axe-core", AXE, AXE_SHA512)["axe-core/axe.min.js"]
    check = """(async () => {
      const said = parent.document.createElement("pre");
      const all = (selector) => [...document.querySelectorAll(selector)];
      const rules = {runOnly: ["wcag2a", "wcag2aa", "best-practice"]};
      const check = async () => (await axe.run(document, rules)).violations
        .map((v) => [v.id, v.nodes.map((n) => n.html)]);
      const isDark = matchMedia("(prefers-color-scheme: dark)").matches;
      const width = document.documentElement.scrollWidth;
      const violations = await check();
      // What can be clicked or scrolled can be reached by the keyboard, in its order.
      const wide = all("*").filter((e) => e.scrollWidth > e.clientWidth + 1 &&
        getComputedStyle(e).overflowX === "auto" && e.tagName !== "NAV");
      const used = [...all("a[href], button, input, summary"), ...wide];
      const visible = used.filter((e) => e.checkVisibility());
      const unreached = visible.filter((e) => { e.focus(); return document.activeElement !== e || e.tabIndex !== 0; })
        .map((e) => e.outerHTML.slice(0, 200));
      const zoom = document.querySelector("details.zoom"), opened = [];
      for (const act of [() => zoom.querySelector("summary").click(),
        () => document.dispatchEvent(new KeyboardEvent("keydown", {key: "Escape"}))]) {
        if (zoom) { act(); opened.push(zoom.open); }
      }
      // As it is printed: the rules of that medium hold for all.
      for (const sheet of document.styleSheets) for (const rule of sheet.cssRules)
        if (rule.media?.mediaText === "print") rule.media.mediaText = "all";
      const printed = await check();
      const hidden = all("nav, button").every((e) => !e.checkVisibility());
      said.id = "said";
      said.textContent = JSON.stringify({violations, width, isDark, unreached, opened, printed, hidden});
      parent.document.body.append(said);
    })();"""
    checked = html.replace(
        "</body>", f"<script>{axe}</script><script>{check}</script></body>"
    )
    frame = (
        f'<iframe style="width: {width}px; height: 900px" srcdoc="{escape(checked)}">'
    )
    (folder / "frame.html").write_text(f"<body>{frame}</iframe></body>", "utf-8")
    command = [
        find_browser(),
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--dump-dom",
    ]
    command += ["--no-first-run", "--virtual-time-budget=60000"]
    command += [f"--blink-settings=preferredColorScheme={0 if dark else 1}"]
    command += [
        f"--user-data-dir={folder / 'profile'}",
        (folder / "frame.html").as_uri(),
    ]
    options = {"capture_output": True, "text": True, "encoding": "utf-8"}
    done = subprocess.run(command, check=True, timeout=300, **options)
    found = re.search(r'<pre id="said">(.*?)</pre>', done.stdout, re.DOTALL)
    assert found, done.stderr
    said = json.loads(unescape(found[1]))
    assert said["isDark"] == dark
    return said


@pytest.mark.parametrize(("width", "dark"), [(390, False), (1280, True)])
def test_it_can_be_read_by_everybody_and_fits_a_phone(page, tmp_path, width, dark):
    said = open_at(width, page.html, tmp_path, dark=dark)
    assert said["violations"] == said["printed"] == []
    assert said["width"] <= width
    assert said["unreached"] == []
    assert said["opened"] == [True, False]
    assert said["hidden"]


def test_a_page_that_is_hard_to_read_would_be_noticed(tmp_path):
    bad = '<html lang="en"><title>a</title><body style="background: #fff"><p style="color: #ddd; width: 500px">pale words</p><button tabindex="-1">a</button></body>'
    said = open_at(390, bad, tmp_path, dark=False)
    assert "color-contrast" in dict(said["violations"])
    assert "color-contrast" in dict(said["printed"])
    assert len(said["unreached"]) == 1
    assert not said["hidden"]
    assert said["width"] > 390
