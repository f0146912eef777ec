"""The tasks compute the voxels of an earlier commit, from the images of two test modules.

Those tests run once: each call of a task is recorded, with the files that changed before
it and in it. Then the tasks of the earlier commit are called in the same way. This module
is also the script that does each of the two.
"""

import functools
import importlib
import json
import os
import pkgutil
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rendering
import zarr

EARLIER = "81a314f"
INPUTS = ["test_odd_input.py", "test_other_tools.py"]
# Folder of a test, and its difference, and why it is right.
RIGHT = {
    (
        "test_a_converted_and_registere",
        "voxels",
    ): "Both acquisitions are noise. No shift "
    "fits better than others, and the task warns of that; it took another one earlier.",
    (
        "test_a_blur_that_no_integer_ho",
        "error now",
    ): "Values that 64 bits cannot hold wrapped; the blur is rejected.",
    (
        "test_a_threshold_of_a_mask_is_",
        "error now",
    ): "No pixel of a mask is above 1: the threshold is rejected.",
    (
        "test_features_in_different_uni",
        "error now",
    ): "Columns in several units are not put into one table.",
    (
        "test_a_blur_that_no_integer_ho",
        "only earlier",
    ): "The image of that blur is not made.",
    (
        "test_a_threshold_of_a_mask_is_",
        "only earlier",
    ): "The label image of that threshold is not made.",
    (
        "test_features_in_pixels_and_in",
        "error now",
    ): "Features in pixels and in micrometers are not put into one table.",
    (
        "test_an_image_and_one_made_of_",
        "error now",
    ): "An image and one that was made of it are not put into one row of a well.",
    (
        "test_features_of_different_lab",
        "error now",
    ): "Features of different labels are not put into one table.",
} | dict.fromkeys(
    (
        (test, "coarse labels")
        for test in (
            "test_nan_pixels_give_metadata_",
            "test_channels_may_share_a_name",
            "test_a_threshold_of_a_mask_is_",
            "test_a_derived_image_with_labe",
            "test_a_label_that_is_added_to_",
        )
    ),
    "Of an odd number of pixels, a coarse one is that in its middle by the scale in the "
    "metadata; it was by the number of pixels.",
)

Array = np.ndarray[Any, Any]
State = dict[str, tuple[int, ...]]


def state_of(root: Path) -> State:
    """Return what tells whether a file has changed, by path."""
    state = {}
    for folder, folders, files in os.walk(root):
        links = [name for name in folders if Path(folder, name).is_symlink()]
        for name in files + links:
            status = Path(folder, name).lstat()
            path = str(Path(folder, name).relative_to(root))
            state[path] = (status.st_ino, status.st_mtime_ns, status.st_size)
    return state


class Recorder:
    """Record the calls of tasks: `calls/N.json`, and the files that changed before and in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.states: dict[Path, State] = {}
        self.calls = 0
        package = importlib.import_module("my_fractal_tasks")
        for module in pkgutil.iter_modules(package.__path__):
            if not module.ispkg:
                loaded = importlib.import_module(f"my_fractal_tasks.{module.name}")
                function = getattr(loaded, module.name, None)
                if function is not None:
                    setattr(loaded, module.name, self.recorded(function))

    def save(self, root: Path, name: str) -> None:
        """Copy the files below a root that are not as they were."""
        old, new = self.states.get(root, {}), state_of(root)
        self.states[root] = new
        target = self.folder / name
        for path in [path for path in new if old.get(path) != new[path]]:
            (target / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(root / path, target / path, follow_symlinks=False)
        self.removed = sorted(old.keys() - new.keys())

    def recorded(self, function: Any) -> Any:
        """A task that is recorded whenever it is called."""

        @functools.wraps(function)
        def call(**arguments: Any) -> Any:
            number = self.calls = self.calls + 1
            text = json.dumps(arguments, default=str)
            base = f"{self.folder / 'tests'}{os.sep}"
            test = text.partition(base)[2].partition('"')[0].partition(os.sep)[0]
            root = Path(base, test)
            self.save(root, f"calls/{number}/before")
            about = {"task": function.__name__, "arguments": text, "root": str(root)}
            about["removed_before"] = self.removed
            about["failed"] = True
            try:
                output = function(**arguments)
                about["failed"] = False
            finally:
                self.save(root, f"calls/{number}/after")
                about["removed_after"] = self.removed
                file = self.folder / "calls" / f"{number}.json"
                file.write_text(json.dumps(about))
            return output

        return call


def apply(change: Path, removed: list[str], root: Path) -> None:
    """Bring files to the state that was recorded."""
    for path in removed:
        (root / path).unlink(missing_ok=True)
    if change.exists():
        for path in state_of(change):
            target = root / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.unlink(missing_ok=True)
            shutil.copy2(change / path, target, follow_symlinks=False)


def arrays_below(root: Path) -> set[str]:
    """Return the paths of images and labels below a folder, without tables and leftovers."""
    files = [*root.rglob(".zarray")]
    for file in root.rglob("zarr.json"):
        if json.loads(file.read_text())["node_type"] == "array":
            files.append(file)
    paths = {str(file.parent.relative_to(root)) for file in files}
    return {path for path in paths if "/." not in f"/{path}" and "/tables/" not in path}


def read_voxels(path: Path) -> Array | None:
    """Return the voxels of an array, or nothing of one that a test made unreadable."""
    try:
        return np.asarray(zarr.open_array(path, mode="r"))
    except ValueError:
        return None


def differences(earlier: Path, now: Path) -> Iterator[tuple[str, str]]:
    """Compare the arrays below two folders; yield path and kind of each difference."""
    paths = arrays_below(earlier), arrays_below(now)
    for path in sorted(paths[0] | paths[1]):
        if path not in paths[0] or path not in paths[1]:
            yield path, "only now" if path in paths[1] else "only earlier"
            continue
        old, new = (read_voxels(folder / path) for folder in (earlier, now))
        if old is None or new is None:
            if old is not new:
                yield path, "readable"
        elif (old.shape, old.dtype) != (new.shape, new.dtype):
            yield path, "shape or type"
        elif not np.array_equal(old, new, equal_nan=old.dtype.kind == "f"):
            is_coarse = re.search(r"/labels/[^/]+/[1-9]$", path)
            yield path, "coarse labels" if is_coarse else "voxels"


def replay(folder: Path) -> None:
    """Call the tasks that can be imported as recorded; write what differs after each call.

    A compute part gets the arguments from the init part that was called here, since the
    two parts of one commit belong together.
    """
    compared = []
    units: dict[str, Any] = {}
    seen: dict[str, set[str]] = {}
    files = (folder / "calls").glob("*.json")
    for file in sorted(files, key=lambda file: int(file.stem)):
        about = json.loads(file.read_text())
        root = Path(about["root"])
        now = folder / "now" / root.name
        calls = folder / "calls" / file.stem
        for copy in (root, now):
            copy.mkdir(parents=True, exist_ok=True)
            apply(calls / "before", about["removed_before"], copy)
        apply(calls / "after", about["removed_after"], now)
        task, arguments = about["task"], json.loads(about["arguments"])
        if "init_args" in arguments:
            arguments |= units.get(arguments["zarr_url"], {})
        found = []
        try:
            module = importlib.import_module(f"my_fractal_tasks.{task}")
            output = getattr(module, task)(**arguments) or {}
        except Exception as error:
            if not about["failed"]:
                found.append(("", f"error earlier: {error}"))
        else:
            if about["failed"]:
                found.append(("", "error now"))
            for unit in output.get("parallelization_list", []):
                units[unit["zarr_url"]] = unit
        known = seen.setdefault(root.name, set())
        found += [pair for pair in differences(root, now) if pair[0] not in known]
        known |= {path for path, _ in found}
        compared.append([root.name, task, found])
    (folder / "compared.json").write_text(json.dumps(compared))


def record(folder: Path) -> None:
    """Run the tests, and record the calls of their tasks."""
    Recorder(folder)
    tests = [str(Path(__file__).with_name(name)) for name in INPUTS]
    options = ["-q", "-p", "no:cacheprovider", f"--basetemp={folder / 'tests'}"]
    code = pytest.main([*options, "-o", "tmp_path_retention_policy=all", *tests])
    # The folders of the tests are to be made again, under the same names.
    (folder / "tests").rename(folder / "recorded")
    sys.exit(code)


@pytest.mark.long
@pytest.mark.weekly
def test_voxels_are_those_of_an_earlier_commit(tmp_path):
    if subprocess.run(
        ["git", "cat-file", "-e", EARLIER], cwd=rendering.ROOT
    ).returncode:
        absent = pytest.fail if os.environ.get("CI") else pytest.skip
        absent(f"no commit {EARLIER} here: the clone has no history")
    template, archive = tmp_path / "template", tmp_path / "template.tar"
    command = ("git", "archive", "-o", archive, EARLIER, "template", "copier.yml")
    rendering.run(*command, cwd=rendering.ROOT)
    shutil.unpack_archive(archive, template, filter="data")
    package = rendering.render(template, tmp_path / "package")
    folder = tmp_path / "calls"
    (folder / "calls").mkdir(parents=True)
    rendering.run(sys.executable, __file__, "record", folder)
    earlier = os.environ | {"PYTHONPATH": str(package / "src")}
    rendering.run(sys.executable, __file__, "replay", folder, env=earlier)
    compared = json.loads((folder / "compared.json").read_text())
    assert len(compared) > 300
    found = {
        (test.rstrip("0123456789"), kind)
        for test, _, differences_of_call in compared
        for _, kind in differences_of_call
    }
    assert not found - RIGHT.keys()
    assert not RIGHT.keys() - found


if __name__ == "__main__":
    {"record": record, "replay": replay}[sys.argv[1]](Path(sys.argv[2]))
