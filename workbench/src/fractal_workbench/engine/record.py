"""Record a run as a test: its input and its results."""

import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

from ..project import project
from . import replay as recorded
from . import rules

LIMIT = (
    20_000_000  # bytes of what a workflow works on: it becomes a part of the package
)
TEST = '''\
"""The workflow {name} gives what it gave when it was recorded."""

from pathlib import Path

FOLDER = Path(__file__).parent / "recorded" / "{name}"


def test_it_gives_the_recorded_result(run_workflow, tmp_path):
    from fractal_workbench.engine.replay import replay

    replay(FOLDER, tmp_path / "zarr", run_workflow)
'''


class Recording:
    """A run that becomes a test, if it ends well."""

    def __init__(
        self,
        name: str,
        workflow: dict[str, Any],
        zarr_dir: Path,
        images: list[rules.Image],
    ) -> None:
        """Copy the input of the workflow.

        Args:
            name: Of the test: a word of Python.
            workflow: The workflow.
            zarr_dir: The folder of the images.
            images: The image list to begin with.

        Raises:
            WorkflowError: The name is none, or taken; or the data are too large.
        """
        if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
            raise rules.WorkflowError(
                f"--record: {name!r} is no name of a test: use lower-case letters, digits, _"
            )
        tests = project().folder / "tests"
        self.name, self.zarr_dir = name, zarr_dir.resolve()
        self.test = tests / f"test_{name}.py"
        self.folder = tests / "recorded" / name
        if self.test.exists() or self.folder.exists():
            raise rules.WorkflowError(
                f"--record: there is a test of the name {name}: choose another"
            )
        copies: dict[Path, str] = {}
        for image in images:
            inside = Path(image["zarr_url"]).relative_to(zarr_dir)
            copies[zarr_dir / inside.parts[0]] = f"zarr/{inside.parts[0]}"
        given = {"workflow": workflow, "images": images}
        self.given = self._replace(given, copies)
        size = sum(map(_size, copies))
        if size > LIMIT:
            raise rules.WorkflowError(
                f"--record: the workflow works on {size / 1e6:.0f} MB, and a test has room "
                f"for {LIMIT / 1e6:.0f} MB: record a run on less"
            )
        try:
            for source, name_there in copies.items():
                target = self.folder / "input" / name_there
                target.parent.mkdir(parents=True, exist_ok=True)
                if source.is_dir():
                    shutil.copytree(source, target)
                else:
                    shutil.copy(source, target)
        except OSError:
            self.discard()
            raise

    def _replace(self, value: Any, copies: dict[Path, str]) -> Any:
        """Replace paths that differ in the test by names."""
        if isinstance(value, dict):
            return {key: self._replace(item, copies) for key, item in value.items()}
        if isinstance(value, list):
            return [self._replace(item, copies) for item in value]
        if not isinstance(value, str) or not Path(value).is_absolute():
            return value
        path = Path(os.path.normpath(value))
        if path.is_relative_to(self.zarr_dir):
            return f"<zarr_dir>{str(path).removeprefix(str(self.zarr_dir))}"
        if not path.exists():
            return value
        copies.setdefault(path, f"{len(copies)}_{path.name}")
        return f"<input>/{copies[path]}"

    def finish(self, images: list[rules.Image]) -> None:
        """Write the test, with the results of the run."""
        self.folder.mkdir(parents=True, exist_ok=True)
        summary = recorded.summarise(images, self.zarr_dir)
        for name, content in (("workflow", self.given), ("expected", summary)):
            file = self.folder / f"{name}.json"
            file.write_text(json.dumps(content, indent=1), "utf-8")
        self.test.write_text(TEST.format(name=self.name), "utf-8")
        print(f"\nIt is a test now: {self.test}, and its data in {self.folder}")

    def discard(self) -> None:
        """Remove the recording of a failed run."""
        shutil.rmtree(self.folder, ignore_errors=True)


def _size(path: Path) -> int:
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())
