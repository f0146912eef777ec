"""`--resume` notices changes on disk, and makes results again in place of failing."""

import importlib
import json
import shutil
import time
import traceback
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import zarr
from my_fractal_tasks.kit import (
    open_image,
    open_label,
    provenance,
    read_table,
    write_table,
)
from package_images import PACKAGE, write_image, write_plate
from scipy.ndimage import gaussian_filter

from fractal_workbench.engine import resume as resuming
from fractal_workbench.engine import rules
from fractal_workbench.engine import runner as local
from fractal_workbench.report.page import Report


def copy_image(*, zarr_url: str, **_: Any) -> dict[str, Any]:
    """Task of another package, which leaves no record, and replaces nothing."""
    new = f"{zarr_url.removesuffix('.zarr')}_copy.zarr"
    shutil.copytree(zarr_url, new)
    update = {"zarr_url": new, "origin": zarr_url, "types": {"copied": True}}
    return {"image_list_updates": [update]}


def invert(*, zarr_url: str, level: int = 0, **_: Any) -> dict[str, Any]:
    """Task of another package that overwrites its input."""
    array = zarr.open_array(f"{zarr_url}/0", mode="r+")
    array[...] = 60000 - level - array[...]
    return {"image_list_updates": [{"zarr_url": zarr_url}]}


FOREIGN = {"copy_image": copy_image, "invert": invert}


class Played(local.Processes):
    """Calls tasks without a process for each."""

    def __init__(self, environment: object) -> None:
        pass

    def run(self, command: list[str], log: Path, home: Path) -> int:
        _, executable, _, args_json, _, out_json = command
        name = Path(executable).stem
        try:
            task = FOREIGN.get(name) or getattr(
                importlib.import_module(f"my_fractal_tasks.{name}"), name
            )
            output = task(**json.loads(Path(args_json).read_text()))
        except Exception:
            log.write_text(traceback.format_exc())
            return 1
        Path(out_json).write_text(json.dumps(output))
        return 0

    def close(self) -> None:
        pass


class Job:
    """Three steps on two images: blur, find objects in the blurred one, measure them."""

    def __init__(self, folder: Path) -> None:
        self.package = folder / "my_fractal_tasks"
        shutil.copytree(PACKAGE, self.package)
        self.manifest = json.loads(
            (self.package / "__FRACTAL_MANIFEST__.json").read_text()
        )
        for name in FOREIGN:
            (self.package / f"{name}.py").touch()
            task = {"name": name, "executable_parallel": f"{name}.py"}
            task |= {
                "type": "parallel",
                "args_schema_parallel": {},
                "meta_parallel": {},
            }
            self.manifest["task_list"].append(task)
        self.folder = folder / "zarr"
        self.folder.mkdir()
        for name in "ab":
            write_image(self.folder / f"{name}.zarr", "yx")
        self.images = [self.folder / f"{name}.zarr" for name in "ab"]
        self.init: dict[str, Any] = {}
        self.steps: list[tuple[str, dict[str, Any]]] = [
            ("Gaussian Blur", {"sigma_xy": 1}),
            (
                "Threshold Segmentation",
                {"min_size": 1, "masking_roi_table": "masks"},
            ),
            ("Measure Features", {}),
        ]

    def run(self, *, resume: bool = True, with_page: bool = False) -> list[list[bool]]:
        """Return for each step which units were reused."""
        resuming._code.cache_clear()
        done: list[Any] = []
        kept = resuming.Finished(self.folder, resume=resume)
        images = [{"zarr_url": str(path)} for path in self.images]

        def watch(step: Any) -> None:
            done.append(step)
            if with_page:
                self.page.add(step)

        task = {"pkg_name": "my-fractal-tasks"}
        steps = [
            {"task": task | {"name": name}, "args_parallel": args}
            for name, args in self.steps
        ]
        if self.init:
            steps[0] = {"task": steps[0]["task"], "args_non_parallel": self.init}
        options: dict[str, Any] = {
            "workflow": {"name": "Job", "task_list": steps},
            "zarr_dir": str(self.folder),
            "images": images,
            "manifest": self.manifest,
            "package_root": self.package,
        }
        if with_page:
            planned = rules.find_tasks(rules.read_job(**options))
            self.page = Report(
                *("Job", self.folder, images, []),
                later=kept.made_after(0),
                steps=planned,
                start=time.time_ns(),
            )
        try:
            local.run_workflow(
                **options,
                finished=kept,
                watch=watch,
                workers=1,
            )
        finally:
            kept.close()
        hidden = [path.name for path in self.folder.rglob(".*.aside")]
        assert not hidden
        return [[unit.reused for unit in step.units] for step in done]

    def shown(self) -> list[tuple[set[str], set[str]]]:
        """Titles of the pictures, and names of the tables, of each step of the page."""
        return [
            (
                {p.title for figure in section.figures for p in figure.pictures},
                {group.name for group, _ in section.tables},
            )
            for section in self.page.sections
        ]

    def kept(self) -> list[Path]:
        return sorted(self.folder.rglob(".*.kept"))

    def pixels(self, name: str) -> Any:
        return np.asarray(open_image(self.folder / name).levels[0])

    def check(self, sigma: float = 1) -> None:
        """Compare all results with what the input gives."""
        for name in "ab":
            blurred = gaussian_filter(
                self.pixels(f"{name}.zarr").astype(np.float32), sigma, truncate=4
            )
            assert (self.pixels(f"{name}_blurred.zarr") == np.rint(blurred)).all()
            image = open_image(self.folder / f"{name}_blurred.zarr")
            assert np.asarray(open_label(image, "objects").levels[0]).max() > 0
            assert (image.path / "tables" / "features" / "table.csv").exists()
            assert sorted(image.group["tables"].attrs["tables"]) == [
                "features",
                "masks",
            ]


@pytest.fixture
def job(tmp_path, monkeypatch) -> Job:
    monkeypatch.setattr(local, "Processes", Played)
    job = Job(tmp_path)
    kit = job.package / "kit" / "provenance.py"
    monkeypatch.setattr(provenance, "__file__", str(kit))
    return job


@pytest.fixture
def recorded_job(job, monkeypatch) -> Job:
    """A job whose results have a record, so that they are found without `--resume`."""
    kit = PACKAGE / "kit" / "provenance.py"
    monkeypatch.setattr(provenance, "__file__", str(kit))
    return job


ALL = [[True] * 2] * 3
NONE = [[False] * 2] * 3
FIRST = [[False, True], [False] * 2, [False] * 2]
SECOND = [[True] * 2, [False, True], [False] * 2]
THIRD = [[True] * 2, [True] * 2, [False, True]]


def edit_pixels(job: Job) -> None:
    open_image(job.folder / "a.zarr", mode="r+").levels[0][:5, :5] = 9999


def edit_result(job: Job) -> None:
    open_image(job.folder / "a_blurred.zarr", mode="r+").levels[1][:5, :5] = 9999


def edit_label(job: Job) -> None:
    path = job.folder / "a_blurred.zarr" / "labels" / "objects"
    open_image(path, mode="r+").levels[0][:5, :5] = 7


def delete(name: str) -> Any:
    def change(job: Job) -> None:
        path = job.folder / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()

    return change


def delete_chunk(job: Job) -> None:
    folder = job.folder / "a_blurred.zarr" / "0"
    next(path for path in folder.rglob("[0-9]*") if path.is_file()).unlink()


def unlist(job: Job) -> None:
    file = job.folder / "a_blurred.zarr" / "labels" / ".zattrs"
    file.write_text('{"labels": []}')


def edit_table(job: Job) -> None:
    path = job.folder / "a_blurred.zarr" / "tables" / "features" / "table.csv"
    path.write_text(path.read_text() + "\n")


def rename_channel(job: Job) -> None:
    file = job.folder / "a.zarr" / ".zattrs"
    file.write_text(file.read_text().replace("multiscales", "multiscales", 1) + " ")
    attributes = json.loads(file.read_text())
    attributes["multiscales"][0]["name"] = "other"
    file.write_text(json.dumps(attributes))


CHANGES = {
    "pixels of an input": (edit_pixels, FIRST),
    "metadata of an input": (rename_channel, FIRST),
    "pixels of a result": (edit_result, FIRST),
    "a result is deleted": (delete("a_blurred.zarr"), FIRST),
    "a chunk of a result": (delete_chunk, FIRST),
    "a label": (edit_label, SECOND),
    "a label is deleted": (delete("a_blurred.zarr/labels/objects"), SECOND),
    "all labels are deleted": (delete("a_blurred.zarr/labels"), SECOND),
    "a label is no longer listed": (unlist, SECOND),
    "a masking table is deleted": (delete("a_blurred.zarr/tables/masks"), SECOND),
    "a table is deleted": (delete("a_blurred.zarr/tables/features"), THIRD),
    "a file of a table": (delete("a_blurred.zarr/tables/features/table.csv"), THIRD),
    "a table": (edit_table, THIRD),
}


@pytest.mark.parametrize("change", CHANGES)
def test_outdated_results_are_made_again(job, change):
    assert job.run() == NONE
    assert job.run() == ALL
    before = (job.folder / "b_blurred.zarr").stat().st_ino
    edit, expected = CHANGES[change]
    edit(job)
    assert job.run() == expected
    job.check()
    assert (job.folder / "b_blurred.zarr").stat().st_ino == before
    assert job.run() == ALL


def test_edited_results_are_kept(job):
    job.run()
    edit_label(job)
    mine = job.folder / "a_blurred.zarr" / "labels" / "objects"
    edited = np.asarray(open_image(mine).levels[0])
    job.run()
    (kept,) = job.kept()
    assert kept.parent == mine.parent
    assert (np.asarray(open_image(kept).levels[0]) == edited).all()
    job.check()


def test_files_added_to_a_result_are_kept(job):
    job.run()
    shutil.copytree(
        job.folder / "a_blurred.zarr" / "labels" / "objects",
        job.folder / "a_blurred.zarr" / "labels" / "mine",
    )
    (job.folder / "b_blurred.zarr" / "notes.txt").write_text("mine")
    assert job.run() == ALL
    job.steps[0] = "Gaussian Blur", {"sigma_xy": 2}
    assert job.run() == NONE
    job.check(sigma=2)
    first, second = job.kept()
    assert (first / "labels" / "mine").is_dir()
    assert (second / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize("number", range(3))
def test_other_arguments_make_it_again(job, number):
    job.run()
    name, args = job.steps[number]
    other = [
        {"sigma_xy": 2},
        {"min_size": 2},
        {"label_name": "objects", "table_name": "features"},
    ]
    args = args | other[number]
    if number == 2:
        args |= {"regions": {"mask": "masks"}}
    job.steps[number] = name, args
    expected = [[True] * 2] * number + [[False] * 2] * (3 - number)
    assert job.run() == expected
    job.check(sigma=2 if number == 0 else 1)
    assert job.run() == ALL
    assert not job.kept()


@pytest.mark.parametrize("number", range(3))
def test_an_edited_module_makes_its_own_step_again(job, number):
    job.run()
    name = job.steps[number][0].lower().replace(" ", "_")
    with (job.package / f"{name}.py").open("a") as module:
        module.write("# mended\n")
    assert job.run() == [[True] * 2] * number + [[False] * 2] * (3 - number)
    job.check()
    assert job.run() == ALL


def test_an_edited_kit_makes_all_again_and_an_unrelated_module_nothing(job):
    job.run()
    with (job.package / "aggregate_tables.py").open("a") as module:
        module.write("# mended\n")
    assert job.run() == ALL
    with (job.package / "kit" / "blocks.py").open("a") as module:
        module.write("# mended\n")
    assert job.run() == NONE
    job.check()


def test_another_suffix_leaves_the_images_of_the_first(job):
    job.run()
    before = job.pixels("a_blurred.zarr")
    job.steps[0] = "Gaussian Blur", {"sigma_xy": 2, "suffix": "soft"}
    assert job.run() == NONE
    assert (job.pixels("a_blurred.zarr") == before).all()
    assert (job.pixels("a_soft.zarr") != before).any()


def test_a_deleted_input_is_an_error_that_names_it(job):
    job.run()
    shutil.rmtree(job.images[0])
    with pytest.raises(local.WorkflowError) as error:
        job.run()
    assert "a.zarr" in str(error.value)


def test_existing_results_are_never_put_aside(job):
    """The image is of somebody else, and has the name of a result."""
    shutil.copytree(job.folder / "b.zarr", job.folder / "a_blurred.zarr")
    before = job.pixels("a_blurred.zarr")
    for _ in "ab":
        with pytest.raises(local.WorkflowError):
            job.run()
        assert (job.pixels("a_blurred.zarr") == before).all()
    job.steps[0] = "Gaussian Blur", {"sigma_xy": 1, "overwrite": True}
    job.run()
    (job.folder / "a_blurred.zarr" / "notes.txt").write_text("mine")
    job.steps[0] = "Gaussian Blur", {"sigma_xy": 2, "overwrite": True}
    job.run()
    assert (job.folder / "a_blurred.zarr" / "notes.txt").read_text() == "mine"
    assert (job.pixels("a_blurred.zarr") != before).any()


def test_a_task_without_records_makes_it_again(job):
    job.steps = [("copy_image", {})]
    assert job.run() == [[False] * 2]
    assert job.run() == [[True] * 2]
    edit_pixels(job)
    assert job.run() == [[False, True]]
    assert (job.pixels("a_copy.zarr") == job.pixels("a.zarr")).all()
    open_image(job.folder / "a_copy.zarr", mode="r+").levels[0][0, 0] = 1
    assert job.run() == [[False, True]]
    assert (job.pixels("a_copy.zarr") == job.pixels("a.zarr")).all()
    (job.package / "copy_image.py").write_text("# mended")
    assert job.run() == [[False] * 2]
    assert job.run() == [[True] * 2]


def test_a_step_on_pixels_that_it_has_overwritten_is_rejected(job):
    job.steps = [("invert", {})]
    before = job.pixels("a.zarr")
    assert job.run() == [[False] * 2]
    assert job.run() == [[True] * 2]
    job.steps = [("invert", {"level": 1})]
    with pytest.raises(
        local.WorkflowError, match=r"overwritten the pixels of .*a\.zarr"
    ):
        job.run()
    assert (job.pixels("a.zarr") == 60000 - before).all()
    for name in "ab":
        image = open_image(job.folder / f"{name}.zarr", mode="r+")
        image.levels[0][...] = 60000 - job.pixels(f"{name}.zarr")
    assert job.run() == [[False] * 2]
    assert (job.pixels("a.zarr") == 59999 - before).all()


def test_an_overwritten_image_is_made_again_by_the_step_that_made_it(job):
    task = next(t for t in job.manifest["task_list"] if t["name"] == "invert")
    task["input_types"] = {"copied": True}
    job.steps = [("copy_image", {}), ("invert", {})]
    job.run()
    job.steps[1] = "invert", {"level": 1}
    with pytest.raises(local.WorkflowError, match="delete that image"):
        job.run()
    for name in "ab":
        shutil.rmtree(job.folder / f"{name}_copy.zarr")
    assert job.run() == [[False] * 2, [False] * 2]
    assert (job.pixels("a_copy.zarr") == 59999 - job.pixels("a.zarr")).all()


def test_an_image_of_an_earlier_run_is_replaced_again_and_again(job):
    """It was there before, so the run does not move it, or its tables, aside."""
    job.steps = [("Gaussian Blur", {"sigma_xy": 1})]
    job.run(resume=False)
    made = job.folder / "a_blurred.zarr"
    write_table(open_image(made), "condition_table", {"drug": ["A"]})
    for sigma in (2, 3, 4, 5):
        job.steps = [("Gaussian Blur", {"sigma_xy": sigma, "overwrite": True})]
        assert job.run(resume=sigma > 2) == [[False] * 2]
        pixels = job.pixels("a.zarr").astype(float)
        assert np.abs(gaussian_filter(pixels, sigma) - job.pixels(made.name)).max() < 2
        record = (job.folder / resuming.FILE).read_text()
        assert not any(json.loads(line)["tops"] for line in record.splitlines())
    assert read_table(open_image(made), "condition_table").columns["drug"] == ["A"]


def test_a_run_that_is_killed_while_results_are_aside_goes_on(job):
    job.run()
    (job.folder / "a_blurred.zarr").rename(job.folder / ".a_blurred.zarr.aside")
    assert job.run() == ALL
    shutil.copytree(job.folder / "b_blurred.zarr", job.folder / ".b_blurred.zarr.aside")
    assert job.run() == ALL
    job.check()


def test_images_and_labels_that_somebody_adds_change_nothing(job):
    job.run()
    shutil.copytree(
        job.folder / "a_blurred.zarr" / "labels", job.folder / "a.zarr" / "labels"
    )
    write_image(job.folder / "c.zarr", "yx")
    write_plate(job.folder / "plate.zarr", {"A/01": [0]}, axes="yx")
    assert job.run() == ALL


def test_a_plate_is_converted_again_once_a_file_has_changed(job, tmp_path):
    tiffs = tmp_path / "tiffs"
    tiffs.mkdir()

    def write(name: str, value: int) -> None:
        pixels = np.full((40, 40), value, np.uint16)
        tifffile.imwrite(tiffs / f"{name}.tif", pixels)

    for name in ("A01", "A02"):
        write(name, 1)
    job.images = []
    job.steps = [("Convert TIFFs to OME-Zarr", {}), ("copy_image", {})]
    job.init = {"tiff_dir": str(tiffs)}
    assert job.run() == [[False] * 3, [False] * 2]
    assert job.run() == [[True] * 3, [True] * 2]
    (plate,) = job.folder.glob("*.zarr/A")
    write("A02", 7)
    assert job.run() == [[False] * 3, [False] * 2]
    values = [int(job.pixels(f"{plate}/{well}/0").max()) for well in ("01", "02")]
    assert values == [1, 7]
    assert job.run() == [[True] * 3, [True] * 2]
    shutil.rmtree(plate / "01" / "0")
    assert job.run() == [[True, False, True], [False] * 2]
    assert int(job.pixels(f"{plate}/01/0").max()) == 1


@pytest.mark.parametrize("n_steps", [2, 3])
def test_a_page_of_reused_steps_shows_each_result_where_it_was_made(
    job: Job, n_steps: int
) -> None:
    """Labels and tables of all steps are there from the start: the run before made them."""
    job.steps = job.steps[-n_steps:]
    shown = []
    for resume, min_size in ((False, 1), (True, 1), (True, 2)):
        job.steps[-2][1]["min_size"] = min_size
        reused = job.run(resume=resume, with_page=True)
        assert reused[-1] == [resume and min_size == 1] * 2
        shown.append(job.shown())
    assert shown[0] == shown[1] == shown[2]
    (*_, (pictures, _), (_, tables)) = shown[0]
    assert "objects" in pictures
    assert tables == {"features"}


@pytest.mark.parametrize("n_steps", [2, 3])
def test_the_page_of_the_same_run_again_is_the_same(
    recorded_job: Job, n_steps: int
) -> None:
    job = recorded_job
    job.steps = job.steps[-n_steps:]
    job.run(resume=False, with_page=True)
    first = job.shown()
    job.run(resume=False, with_page=True)
    assert job.shown() == first
    assert "objects" in first[-2][0]
    assert first[-1][1] == {"features"}


def test_a_result_that_is_made_again_is_shown_though_it_is_the_same(
    recorded_job: Job,
) -> None:
    job = recorded_job
    job.steps = job.steps[:2]
    job.run(resume=False)
    job.steps[1][1]["overwrite"] = True
    job.run(resume=False, with_page=True)
    pictures, _ = job.shown()[1]
    assert "objects" in pictures


def test_the_same_result_of_a_task_without_records_is_shown_again(job: Job) -> None:
    """The label is of the image to begin with, and was there before the run."""
    job.steps = job.steps[1:2]
    job.steps[0][1]["overwrite"] = True
    for _ in range(2):
        job.run(resume=False, with_page=True)
        ((pictures, _),) = job.shown()
        assert "objects" in pictures


def test_older_labels_are_of_no_step(recorded_job: Job) -> None:
    job = recorded_job
    job.run(resume=False)
    blurred = job.folder / "a_blurred.zarr"
    shutil.copytree(blurred / "labels" / "objects", blurred / "labels" / "drawn")
    for folder, names in (("labels", ["objects", "drawn"]), ("tables", [])):
        group = zarr.open_group(blurred / folder, mode="r+")
        group.update_attributes({folder: names or group.attrs[folder]})
    drawn = zarr.open_group(blurred / "labels" / "drawn", mode="r+")
    drawn.attrs.put({k: v for k, v in drawn.attrs.items() if k != "made_by"})
    job.run(resume=False, with_page=True)
    for pictures, _ in job.shown():
        assert "drawn" not in pictures
    # It is compared with what the step has made.
    assert "drawn and objects" in job.shown()[1][0]
