"""What made a result: for whoever reads it, and so that the same unit is not run twice.

Fractal runs a unit again if it was killed before it could answer, or if its job failed
elsewhere. A task asks `is_made` first: what the same unit has made stays as it is.
"""

import hashlib
import json
import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from importlib import metadata
from pathlib import Path
from typing import Any

from pydantic_core import to_jsonable_python

from .image import Image
from .ngff import add_to_image, add_to_well, open_group
from .publish import is_zarr, remove_leftovers

MADE_BY = "made_by"  # attribute of what a step has made
UNCOUNTED = ("zarr_url", "zarr_urls", "zarr_dir", "overwrite")


@dataclass(frozen=True)
class Step:
    """What one unit of a task does.

    Attributes:
        task: Name of the task.
        arguments: Those of the task, as `dict(locals())` has them at its beginning; what
            Fractal gives and `overwrite` do not count.
        sources: Images and files that the result is made from.
    """

    task: str
    arguments: Mapping[str, Any]
    sources: Sequence[Image | Path]

    @cached_property
    def known(self) -> dict[Path, str]:
        """Checksum of the sources by folder, looked at once, before the work.

        Of files, it is that of their names, sizes and times: they are not read. Those of
        an image are its chunks at full resolution, and its metadata count too.
        """
        totals: defaultdict[Path, Any] = defaultdict(hashlib.sha256)
        for source in self.sources:
            folder = source.path if isinstance(source, Image) else source.parent
            total = totals[folder.resolve()]
            if isinstance(source, Image):
                total.update(_metadata(source))
            for path in _chunks(source) if isinstance(source, Image) else [source]:
                name, status = path.relative_to(folder).as_posix(), path.stat()
                total.update(f"{name} {status.st_size} {status.st_mtime_ns}\n".encode())
        return {folder: total.hexdigest() for folder, total in totals.items()}

    def record(self, result: Path) -> dict[str, Any]:
        """Attributes that say what made `result`.

        Raises:
            ValueError: JSON cannot hold an argument: it is NaN, for example.
        """
        package = Path(__file__).parents[1]
        version = "unknown"
        with suppress(metadata.PackageNotFoundError):
            version = metadata.version(package.name)
        code = hashlib.sha256()  # while it is developed, the version says little
        for module in sorted(package.glob("*.py")):
            code.update(module.read_bytes())
        arguments = to_jsonable_python(
            {k: v for k, v in self.arguments.items() if k not in UNCOUNTED}
        )
        return {
            "task": self.task,
            "package": package.name.replace("_", "-"),
            "version": version,
            "code": code.hexdigest()[:16],
            "arguments": json.loads(json.dumps(arguments, allow_nan=False)),
            "sources": {
                os.path.relpath(folder, result.resolve()): checksum
                for folder, checksum in self.known.items()
            },
        }


def is_made(path: Path, step: Step, *, overwrite: bool = False) -> bool:
    """Whether this very step has made what is at `path`; finish it if it was killed then.

    Another version of the package, an edited module of it, other arguments, or sources
    that have changed are another step. A result that took the place of its source is
    known by its pixels, and only the last step that did so is known.

    Args:
        path: Folder of an image, label, table or plate.
        step: What this unit would do.
        overwrite: Whether the user wants a result that exists to be made again. One that
            took the place of its source cannot be.

    Raises:
        ValueError: JSON cannot hold an argument of the step.
    """
    expected = step.record(path)
    try:
        made_by: Any = open_group(path).attrs.asdict().get(MADE_BY)
    except (FileNotFoundError, ValueError):
        return False
    if not isinstance(made_by, dict) or not isinstance(made_by.get("sources"), dict):
        return False
    if "." in expected["sources"]:  # compared in the end, since this reads all pixels
        expected["sources"]["."] = made_by["sources"].get(".")
    elif overwrite:
        return False
    if made_by != expected:
        return False
    here = path.resolve()
    for image in [source for source in step.sources if isinstance(source, Image)]:
        there = image.path.resolve()
        if there == here and made_by["sources"]["."] != checksum(image):
            return False
        if there != here and there.parent == here.parent:
            add_to_well(path, there.name)
    if path.parent.name in ("labels", "tables") and is_zarr(path.parents[1]):
        add_to_image(path)
    remove_leftovers(path)
    return True


def checksum(image: Image) -> str:
    """Checksum of the chunks at full resolution, as they are stored, and of the metadata."""
    total = hashlib.sha256(_metadata(image))
    for path in _chunks(image):
        total.update(path.relative_to(image.path).as_posix().encode())
        with path.open("rb") as file:
            total.update(hashlib.file_digest(file, "sha256").digest())
    return total.hexdigest()


def _metadata(image: Image) -> bytes:
    """Axes, scales and channels, on which a result depends as on the pixels."""
    known = [image.metadata.get(key) for key in ("multiscales", "omero")]
    return json.dumps(known, sort_keys=True).encode()


def _chunks(image: Image) -> list[Path]:
    """Files of the chunks at full resolution."""
    folder = image.path / image.levels[0].path
    return [
        Path(parent, name)
        for parent, _, names in sorted(os.walk(folder, followlinks=True))
        for name in sorted(names)
        if name[0] != "." and name != "zarr.json"
    ]
