"""Workflows run without a package, and in one that this template has not made."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

TASK = """
import argparse, json, sys
from pathlib import Path
import official_helper
parser = argparse.ArgumentParser()
parser.add_argument("--args-json")
parser.add_argument("--out-json")
given = parser.parse_args()
url = json.loads(Path(given.args_json).read_text())["zarr_url"]
update = {"zarr_url": url, "attributes": {"by": sys.prefix}}
Path(given.out_json).write_text(json.dumps({"image_list_updates": [update]}))
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with an image, and a cache for the environments of packages."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    image = tmp_path / "zarr" / "image.zarr"
    write_image(image)
    (tmp_path / "images.json").write_text(json.dumps([{"zarr_url": str(image)}]))
    return tmp_path


def write_image(path: Path) -> None:
    """Write an image of bright squares in one channel."""
    pixels = np.full((1, 64, 64), 100, np.uint16)
    pixels[0, 10:20, 10:20] = pixels[0, 40:50, 30:45] = 3000
    axes: list[dict[str, str]] = [{"name": "c", "type": "channel"}]
    axes += [{"name": a, "type": "space", "unit": "micrometer"} for a in "yx"]
    scale = {"type": "scale", "scale": [1.0, 0.5, 0.5]}
    datasets = [{"path": "0", "coordinateTransformations": [scale]}]
    multiscale = {"version": "0.4", "axes": axes, "datasets": datasets}
    window = {"min": 0, "max": 65535, "start": 0, "end": 4000}
    channel = {"label": "DAPI", "wavelength_id": "A01", "color": "FFFFFF"}
    omero = {"channels": [channel | {"window": window}]}
    attributes = {"multiscales": [multiscale], "omero": omero}
    group = zarr.create_group(path, zarr_format=2, attributes=attributes)
    separator: Any = {"name": "v2", "separator": "/"}
    group.create_array("0", data=pixels, chunk_key_encoding=separator)


def run(
    folder: Path, cwd: Path, steps: list[Any], *options: str
) -> "subprocess.CompletedProcess[str]":
    workflow = folder / "workflow.json"
    workflow.write_text(json.dumps({"name": "Others", "task_list": steps}))
    command = [sys.executable, "-m", "fractal_workbench", "run", str(workflow)]
    where = ["--zarr-dir", str(folder / "zarr"), "--images", folder / "images.json"]
    log = ["--json", str(folder / "run.json")]
    return subprocess.run(
        [*command, *where, *log, *options],
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def official(folder: Path) -> Path:
    """A package as the official template lays it out, which is not installed."""
    root = folder / "official" / "src" / "official_tasks"
    (root / "dev").mkdir(parents=True)
    (folder / "official" / "pyproject.toml").write_text(
        '[build-system]\nrequires = ["hatchling"]\nbuild-backend = "hatchling.build"\n'
        '[project]\nname = "official-tasks"\nversion = "0.3.0"\n'
        '[tool.hatch.build.targets.wheel]\npackages = ["src/official_tasks"]\n'
        # What it depends on is in its own environment only.
        '[tool.hatch.build.targets.wheel.force-include]\n"helper.py" = "official_helper.py"\n'
    )
    (folder / "official" / "helper.py").touch()
    for module in (root, root / "dev"):
        (module / "__init__.py").touch()
    (root / "dev" / "task_list.py").write_text("TASK_LIST = []\n")
    (root / "tell.py").write_text(TASK)
    task = {"name": "Tell", "executable_parallel": "tell.py"}
    manifest = {"manifest_version": "2", "task_list": [task]}
    (root / "__FRACTAL_MANIFEST__.json").write_text(json.dumps(manifest))
    return folder / "official"


TELL = {"task": {"pkg_name": "official-tasks", "name": "Tell"}}


def test_a_package_that_is_not_installed_is_installed_for_its_workflow(
    folder: Path, official: Path
) -> None:
    done = run(folder, official, [TELL], "--plan")
    assert (done.returncode, done.stderr) == (0, "")
    assert "[1/1] Tell (parallel" in done.stdout
    assert not (folder / "cache").exists()
    done = run(folder, official, [TELL])
    assert "official, which is built: that runs its code" in done.stdout
    assert "agree by --yes" in done.stderr
    done = run(folder, official, [TELL], "--yes")
    assert (done.returncode, done.stderr) == (0, "")
    (image,) = json.loads((folder / "run.json").read_text())["images"]
    assert image["attributes"]["by"].startswith(str(folder / "cache"))
    assert (folder / "zarr" / "report.html").exists()


def test_a_package_that_is_not_installed_runs_by_a_given_interpreter(
    folder: Path, official: Path
) -> None:
    (official / "helper.py").rename(official / "src/official_tasks/official_helper.py")
    done = run(folder, official, [TELL], "--env", f"official-tasks={sys.executable}")
    assert (done.returncode, done.stderr) == (0, "")
    (image,) = json.loads((folder / "run.json").read_text())["images"]
    assert image["attributes"]["by"] == sys.prefix


def test_an_extra_of_the_package_in_this_folder_is_installed_with_it(
    folder: Path, official: Path
) -> None:
    project = official / "pyproject.toml"
    text = project.read_text()
    project.write_text(text + '[project.optional-dependencies]\nfast = ["click"]\n')
    done = run(folder, official, [TELL], "--plan", "--with", "official-tasks[slow]")
    assert "official-tasks has no extra ['slow']; there are: fast" in done.stderr
    done = run(folder, official, [TELL], "--plan", "--with", "official-tasks[fast]==1")
    assert "official-tasks is run as it is here: leave out ==1" in done.stderr
    done = run(folder, official, [TELL], "--yes", "--with", "official-tasks[fast]")
    assert (done.returncode, done.stderr) == (0, "")
    (image,) = json.loads((folder / "run.json").read_text())["images"]
    assert "official-tasks+fast-" in image["attributes"]["by"]


def test_a_project_without_tasks_does_not_matter(folder: Path) -> None:
    """Its folder may be where somebody stands who runs other people's tasks."""
    name = "no-such-fractal-tasks"
    (folder / "src" / "no_such_fractal_tasks").mkdir(parents=True)
    (folder / "pyproject.toml").write_text(f'[project]\nname = "{name}"\n')
    done = run(folder, folder, [{"task": {"pkg_name": name, "name": "T"}}])
    assert done.returncode == 1
    assert done.stderr.startswith(f"\nno {name}: the index has no such package")


def test_a_relative_folder_of_images_is_found(folder: Path, official: Path) -> None:
    done = run(folder, official, [TELL], "--plan", "--zarr-dir", "../zarr")
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.long
def test_published_tasks_run_in_an_empty_folder(folder: Path) -> None:
    (folder / "empty").mkdir()
    core = {"pkg_name": "fractal-tasks-core", "version": "2.1.0"}
    channel = {"mode": "label", "identifier": "DAPI"}
    steps = [
        {
            "task": core | {"name": "Threshold Segmentation"},
            "args_parallel": {"channel": channel, "output_label_name": "nuclei"},
        },
        {
            "task": core | {"name": "Measure Features"},
            "args_parallel": {"input_label_name": "nuclei"},
        },
    ]
    done = run(folder, folder / "empty", steps, "--plan")
    assert (done.returncode, done.stderr) == (0, "")
    assert "[2/2] Measure Features (parallel, of fractal-tasks-core 2.1.0)" in (
        done.stdout
    )
    assert not list(folder.rglob("venv"))

    done = run(folder, folder / "empty", steps, "--yes")
    assert (done.returncode, done.stderr) == (0, "")
    found = json.loads((folder / "run.json").read_text())
    assert [step["failure"] for step in found["steps"]] == [None, None]
    assert all(50 < part["units"][0]["memory"] < 2000 for part in found["costs"])
    label = zarr.open_array(folder / "zarr/image.zarr/labels/nuclei/0", mode="r")
    assert np.unique(np.asarray(label[...])).tolist() == [0, 1, 2]
    page = (folder / "zarr" / "report.html").read_text()
    assert "Threshold Segmentation" in page
    assert not list((folder / "empty").iterdir())
