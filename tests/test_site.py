"""The site of the documentation: complete, without a broken link, and with code that works."""

import json
import os
import re
import shlex
import shutil
import sys
from pathlib import Path

import my_fractal_tasks.kit as kit
import numpy as np
import pytest
import yaml
from my_fractal_tasks.kit import (
    Channel,
    Regions,
    Roi,
    derive_label,
    open_image,
    read_table,
    write_roi_table,
)
from package_images import PACKAGE, write_image
from readme import read_blocks
from rendering import ROOT, run, workbench

from fractal_workbench import cli
from fractal_workbench.engine import rules


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A copy of the sources, beside copier.yml, from which a part is made."""
    folder = tmp_path_factory.mktemp("repository")
    made = shutil.ignore_patterns("made")
    shutil.copytree(ROOT / "docs", folder / "docs", ignore=made)
    for name in ("copier.yml", "SECURITY.md"):
        shutil.copy(ROOT / name, folder)
    return folder / "docs"


def build(source, site):
    options = ("-W", "--keep-going", "--quiet", "-d", site.with_name("doctrees"))
    run(sys.executable, "-m", "sphinx", *options, source, site)


def test_the_site_is_complete_and_a_broken_link_is_an_error(source, tmp_path):
    site = tmp_path / "site"
    build(source, site)

    page = (site / "reference" / "kit.html").read_text("utf-8")
    for name in kit.__all__:
        assert f'id="my_fractal_tasks.kit.{name}"' in page, name
    assert page.count("<p>Example:</p>") == len(kit.__all__)
    page = (site / "reference" / "questions.html").read_text("utf-8")
    questions = yaml.safe_load((ROOT / "copier.yml").read_text("utf-8"))
    for name, question in questions.items():
        if not name.startswith("_") and question.get("ask", True):
            assert (f">{name}<" in page) == question.get("when", True), name
    page = (site / "reference" / "workbench.html").read_text("utf-8")
    for option in ("--zarr-dir", "--from", "--package", "--wells"):
        assert option in page
    assert (
        "sigma_xy"
        in (site / "reference" / "made" / "tasks" / "gaussian_blur.html").read_text()
    )

    (source / "guides" / "update.md").write_text(
        "# Update\n\n[this](nowhere.md#at-all)\n"
    )
    with pytest.raises(RuntimeError, match="nowhere"):
        build(source, site)


def load(guide):
    """Execute the Python of a guide, and return its names."""
    names = {"__name__": guide}
    for block in read_blocks(
        (ROOT / "docs" / "guides" / f"{guide}.md").read_text("utf-8")
    ):
        if block.language == "python":
            exec(compile(block.code, guide, "exec"), names)
    return names


@pytest.fixture
def cells(tmp_path):
    """An image of two channels and a label of two cells, in a region and outside of it."""
    path = tmp_path / "image.zarr"
    write_image(path, "cyx")
    image = open_image(path)
    with derive_label(image, "cells") as label:
        label.levels[0][5:15, 20:40] = 2
        label.levels[0][30:40, 5:10] = 7
    write_roi_table(image, "corner", [Roi("top", (slice(0, 20), slice(0, 60)))])
    return str(path), image.read()


def pixels_of(output):
    (update,) = output["image_list_updates"]
    return open_image(update["zarr_url"]).levels[0][...]


def test_the_guide_of_channels_divides_them(cells):
    path, pixels = cells
    ratio_image = load("channels")["ratio_image"]
    expected = pixels[1] / (pixels[0] + 1.0)
    output = ratio_image(
        zarr_url=path, signal=Channel(identifier="1"), reference=Channel()
    )
    np.testing.assert_allclose(pixels_of(output)[0], expected, rtol=1e-6)


def test_the_guide_of_regions_measures_each(cells):
    path, pixels = cells
    regions = Regions(roi_table="corner")
    load("regions")["measure_brightness"](zarr_url=path, regions=regions)
    columns = read_table(open_image(path), "brightness").columns
    assert columns["region"].tolist() == ["top"]
    np.testing.assert_allclose(columns["mean"], [pixels[0, :20, :60].mean()])


def test_the_guide_of_own_loops_inverts_segments_and_measures(cells):
    path, pixels = cells
    invert = load("own-loop")["invert"]
    assert (pixels_of(invert(zarr_url=path)) == 65535 - pixels).all()
    names = load("own-labels")
    corner = Regions(roi_table="corner")
    assert names["segment_bright"](path, Regions(), -1) == 1
    assert names["segment_bright"](path, corner, -1) == 1
    assert names["segment_planes"](path, -1) == 1
    expected = {
        2: pixels[0, 5:15, 20:40].max(),
        7: pixels[0, 30:40, 5:10].max(),
    }
    brightest_pixels = names["brightest_pixels"]
    assert brightest_pixels(path, "cells", Regions()) == expected
    assert brightest_pixels(path, "cells", corner) == {2: expected[2]}


def test_the_guide_of_points_finds_and_counts_them(cells):
    path, pixels = cells
    names = load("points-and-tables")
    names["find_bright_pixels"](zarr_url=path, threshold=990, label_name="cells")
    assert names["count_rows"](path, "points") == (pixels[0] > 990).sum() > 0


def test_the_guide_of_debugging_runs_a_job_on_an_image_and_on_a_part(tmp_path):
    pixels = write_image(tmp_path / "image.zarr", "cyx")
    text = (ROOT / "docs" / "guides" / "debug.md").read_text("utf-8")
    text = text.replace("/data", str(tmp_path))
    call, job, crop = read_blocks(text)
    names = {}
    exec(call.code, names)
    blurred = open_image(tmp_path / "image_blurred.zarr")
    job = job._replace(code=job.code.replace("-c continue", "-c continue -c quit"))
    job = job._replace(code=job.code.replace("src/my_fractal_tasks", str(PACKAGE)))
    log = job.run(tmp_path, Path(sys.executable).parent)
    assert "The program finished" in log
    assert (tmp_path / "out.json").exists()
    exec(crop.code, names)
    part = open_image(tmp_path / "part.zarr")
    assert (part.read() == pixels[:, :64, :64]).all()
    assert len(part.levels) == 2
    assert blurred.shape == pixels.shape


def test_the_tutorial_shows_the_output_of_its_command(render, tmp_path):
    text = (ROOT / "docs" / "tutorials" / "first-task.md").read_text("utf-8")
    blocks = read_blocks(text)
    (code,) = [block.code for block in blocks if block.language == "python"]
    (output,) = [block.code for block in blocks if block.language == "text"]
    command = next(b.code for b in blocks if b.code.startswith("nox -s new_task"))
    package = render(tmp_path / "package", project_name="my-tasks", examples=[])
    (package / "nuclei.py").write_text(code)
    arguments = shlex.split(command)[4:]
    assert workbench("new-task", *arguments, cwd=package).startswith(output)
    for path in ("segment_nuclei.py", "nuclei.py", "dev/docs_info/segment_nuclei.md"):
        assert (package / "src" / "my_tasks" / path).exists()


def test_each_name_of_the_kit_has_an_example_that_works(tmp_path):
    file = ROOT / "docs" / "reference" / "kit_examples.py"
    text = file.read_text("utf-8")
    parts = re.findall(r"^# %% (.*)\n((?:(?!# %%).*\n)*)", text, re.MULTILINE)
    for names, code in parts:
        for name in names.split():  # a comment is no example
            assert re.search(rf"\b{name}\b", re.sub(r"#.*", "", code)), name
    assert {*" ".join(names for names, _ in parts).split()} == {*kit.__all__}
    env = os.environ | {"FRACTAL_CACHE_DIR": str(tmp_path / "cache")}
    run(sys.executable, file, cwd=tmp_path, env=env)


def pages():
    """The pages of the site, and all READMEs, with their text."""
    package = PACKAGE.parents[1]
    files = [
        *(ROOT / "docs").glob("[!r]*/*.md"),
        *(ROOT / "docs" / "reference").glob("*.md"),
        *(ROOT / name for name in ("README.md", "CONTRIBUTING.md")),
        ROOT / "workbench" / "README.md",
        *(package / name for name in ("README.md", "AGENTS.md")),
    ]
    return {file: file.read_text("utf-8") for file in files}


def find_commands(text):
    """Yield the name and the arguments of each session and verb in the code of a text."""
    text = text.replace("\\\n", " ")
    code = re.findall(r"^ *```\w*\n(.*?)^ *```", text, re.MULTILINE | re.DOTALL)
    code = [line for block in code for line in block.splitlines()]
    code += [
        " ".join(span.split()) for span in re.findall(r"(?<!`)`([^`]+)`(?!`)", text)
    ]
    for line in code:
        line = line.partition(" #")[0].partition("&&")[0]
        if match := re.search(r"\bnox -s ((?:\w+ ?)+)(?:-- (.*))?", line):
            for name in match[1].split():
                yield name, match[2] or ""
        if match := re.search(r"\bfractal-workbench ([a-z][\w-]*)(.*)", line):
            yield match[1].replace("-", "_"), match[2]


def find_mistakes(text, sessions):
    """Return the commands of a text whose session or option does not exist."""
    mistakes = []
    for name, arguments in find_commands(text):
        verb = cli.main.commands.get(name.replace("_", "-"))
        if verb is None and name not in {*sessions, "VERB"}:
            mistakes.append(name)
        if verb is not None:
            known = {option for p in verb.params for option in p.opts} | {"--help"}
            options = re.findall(r"(?<!\S)--[a-z][\w-]*", arguments)
            mistakes += [f"{name} {option}" for option in {*options} - known]
    return mistakes


def test_each_command_of_the_documentation_exists():
    texts = [
        (folder / "noxfile.py").read_text("utf-8")
        for folder in (ROOT, PACKAGE.parents[1])
    ]
    sessions = {*re.findall(r"^def (\w+)\(session", "\n".join(texts), re.MULTILINE)}
    assert {"tests", "run", "benchmark"} <= sessions
    found = 0
    for file, text in pages().items():
        assert not find_mistakes(text, sessions), file
        found += len([*find_commands(text)])
    assert found > 100
    wrong = "```\nnox -s fly -- x\n```\n`fractal-workbench run x --fast`, `nox -s run --\ny --plan`"
    assert find_mistakes(wrong, sessions) == ["fly", "run --fast"]


def test_each_workflow_of_the_documentation_is_valid():
    """Its steps of the examples name tasks and arguments that exist."""
    manifest = json.loads((PACKAGE / "__FRACTAL_MANIFEST__.json").read_text("utf-8"))
    tasks = {("my-fractal-tasks", task["name"]) for task in manifest["task_list"]}
    found = 0
    for file, text in pages().items():
        for block in read_blocks(text):
            if block.language != "json" or "task_list" not in block.code:
                continue
            workflow = json.loads(block.code)
            steps = [
                step
                for step in workflow["task_list"]
                if (step["task"]["pkg_name"], step["task"]["name"]) in tasks
            ]
            workflow["task_list"] = steps
            job = rules.read_job(workflow=workflow, package_root=PACKAGE)
            assert len(rules.find_tasks(job)) == len(steps) > 0, file
            found += len(steps)
    assert found > 8
