"""Provenance of results; a unit that is run again finds its result.

Fractal runs a unit again if it was killed before it could answer, or if its job failed
elsewhere. A task asks `is_made` first: what the same unit has made stays as it is.
"""

import glob
import hashlib
import json
import logging
import math
import os
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property
from importlib import metadata
from itertools import chain, product
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic_core import to_jsonable_python

from .fractal import CALL
from .image import Image, open_image
from .modules import needed_modules
from .ngff import MADE_BY, WRITTEN, add_to_image, add_to_well, ome_metadata, open_group
from .publish import is_zarr, published, remove_leftovers
from .threads import in_threads

logger = logging.getLogger(__name__)

# Chunks below a folder; to look for each is faster than to list it. Names of less than ten
# are sorted as numbers are.
FEW = 4
UNCOUNTED = ("zarr_url", "zarr_urls", "zarr_dir", "overwrite")


def _callers() -> list[Path]:
    """Modules of the package that called, by the stack and by the task that runs."""
    names = set()
    frame = sys._getframe()
    while frame.f_back:
        frame = frame.f_back
        names.add(str(frame.f_globals.get("__file__")))
    if call := CALL.get():  # which may have begun in another thread
        names.add(call.file)
    return _own_modules(names)


def _own_modules(names: Iterable[str]) -> list[Path]:
    """Those of some files that are modules of the package, without `kit` and `dev`."""
    package = os.path.realpath(Path(__file__).parents[1])
    files = {os.path.realpath(name) for name in names if name.endswith(".py")}
    tools = [f"{package}{os.sep}{room}{os.sep}" for room in ("kit", "dev")]
    return [
        Path(file)
        for file in sorted(files)
        if file.startswith(f"{package}{os.sep}") and not file.startswith((*tools,))
    ]


@dataclass(frozen=True)
class Step:
    """A unit of a task: arguments, sources and code.

    It is known by all that decides its result: the attributes below, the module of the
    task, the modules of the package that this one imports, and the kit.

    Attributes:
        task: Name of the task.
        arguments: Those of the task; what Fractal gives and `overwrite` do not count.
        sources: Images and files that the result is made from.
        callers: Files of modules of the package from which it was called.
    """

    task: str
    arguments: Mapping[str, Any]
    sources: Sequence[Image | Path]
    callers: Sequence[Path] = field(default_factory=_callers, init=False, repr=False)

    @cached_property
    def known(self) -> dict[Path, str]:
        """Checksum of the sources by folder, computed once, before the work.

        Of files, it is that of their names, sizes and times: they are not read. Those of
        an image are its chunks at all levels, and its metadata count too.
        """
        totals: defaultdict[Path, Any] = defaultdict(hashlib.sha256)
        for source in self.sources:
            if isinstance(source, Image):
                total = totals[source.path.resolve()]
                total.update(_metadata(source))
                files = _chunks(source)
                start = len(f"{source.path}/")
            else:
                total = totals[source.parent.resolve()]
                files = iter([(str(source), source.stat())])
                start = len(f"{source.parent}/")
            for file, status in files:
                name = file[start:]
                total.update(f"{name} {status.st_size} {status.st_mtime_ns}\n".encode())
        return {folder: total.hexdigest() for folder, total in totals.items()}

    @cached_property
    def code(self) -> str:
        """Checksum of the modules of the step."""
        package = Path(__file__).resolve().parents[1]
        kit = [*(package / "kit").glob("*.py")]
        own = [*package.glob(f"{glob.escape(self.task)}.py"), *self.callers]
        total = hashlib.sha256()
        for file in needed_modules(package, own, kit):
            text = file.read_bytes()
            total.update(f"{file.relative_to(package)} {len(text)}\n".encode() + text)
        return total.hexdigest()[:16]

    @staticmethod
    def written(result: Path, ome: Mapping[str, Any]) -> str:
        """Checksum of the names and sizes of the files of a result, but for its metadata.

        Args:
            result: Folder of an image, without its labels and tables; or of one of these.
            ome: Its OME metadata.
        """
        total = hashlib.sha256()
        pyramids = ome.get("multiscales")
        levels = pyramids[0]["datasets"] if pyramids else [{"path": ""}]
        start = len(f"{result}/")
        for file, status in _files(
            [(str(result / level["path"]), ()) for level in levels]
        ):
            total.update(f"{file[start:]} {status.st_size}\n".encode())
        return total.hexdigest()[:16]

    def record(self, result: Path) -> dict[str, Any]:
        """Attributes that say what made `result`; `written` is added once it is whole.

        Raises:
            ValueError: JSON cannot hold an argument: it is NaN, for example.
        """
        package = Path(__file__).parents[1]
        version = "unknown"
        with suppress(metadata.PackageNotFoundError):
            version = metadata.version(package.name)
        arguments = to_jsonable_python(
            {k: _ordered(v) for k, v in self.arguments.items() if k not in UNCOUNTED}
        )
        return {
            "task": self.task,
            "package": package.name.replace("_", "-"),
            "version": version,
            "code": self.code,
            "arguments": json.loads(json.dumps(arguments, allow_nan=False)),
            "sources": {
                os.path.relpath(folder, result.resolve()): checksum
                for folder, checksum in self.known.items()
            },
        }


def current_step(sources: Sequence[Image | Path]) -> Step | None:
    """Return the step that the running task does, with its arguments.

    Args:
        sources: Images and files that the result is made from.

    Returns:
        None outside of a function with `@task`, such as in a notebook, or if its module is
        none of this package: nobody could say later whether its code has changed.
    """
    call = CALL.get()
    if call is None or not _own_modules([call.file]):
        return None
    return Step(call.task, call.arguments, sources)


def _ordered(value: Any) -> Any:
    """An argument with sets as sorted lists: their order differs between processes."""
    if isinstance(value, BaseModel | Mapping):
        return {key: _ordered(item) for key, item in dict(value).items()}
    if isinstance(value, set | frozenset):
        value = sorted(value, key=repr)
    return [*map(_ordered, value)] if isinstance(value, list | tuple) else value


def is_made(path: Path, step: Step | None, *, overwrite: bool = False) -> bool:
    """Whether this very step made the result at `path`; finish it after a kill.

    The log says so.

    Other arguments, sources that have changed, an edited module that the task needs, or
    another kit are another step. A result that took the place of its source is
    known by its pixels, and only the last step that did so is known. So is one whose
    files were changed or deleted since.

    Args:
        path: Folder of an image, label, table or plate.
        step: This unit; nothing is known to be made by None.
        overwrite: Whether the user wants a result that exists to be made again. One that
            took the place of its source cannot be.

    Raises:
        ValueError: JSON cannot hold an argument of the step.
    """
    if step is None:
        return False
    expected = step.record(path)
    try:
        group = open_group(path)
        made_by: Any = group.attrs.asdict().get(MADE_BY)
    except (FileNotFoundError, ValueError):
        return False
    if not isinstance(made_by, dict) or not isinstance(made_by.get("sources"), dict):
        return False
    if "." in expected["sources"]:  # compared in the end, since this reads all pixels
        expected["sources"]["."] = made_by["sources"].get(".")
    elif overwrite:
        return False
    written = made_by.get(WRITTEN)
    # The version is for who reads it: what it changes for this step, its code says.
    uncounted = {"version": None, WRITTEN: None}
    if made_by | uncounted != expected | uncounted:
        if made_by.get("task") == step.task:
            others = [key for key in expected if made_by.get(key) != expected[key]]
            others = [key for key in others if key not in uncounted]
            logger.info("%s: made before, of other %s", path, " and ".join(others))
        return False
    if written not in (None, step.written(path, ome_metadata(group))):
        logger.warning("%s: its files were changed or deleted after it was made", path)
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
    if is_zarr(path.parent):  # of a lock of the well
        remove_leftovers(path.parent)
    logger.info("%s: an earlier run has made it", path)
    return True


@contextmanager
def recorded(
    path: Path, step: Step | None, *, overwrite: bool, argument: str
) -> Iterator[Path]:
    """Publish a folder with a record of the step that made it; see `published`.

    Args:
        path: Folder of an image, label or table to make.
        step: The step; without one, there is no record.
        overwrite: Whether to replace an OME-Zarr that exists.
        argument: Name of the task's argument, for the error messages.
    """
    record = step.record(path) if step else {}
    with published(path, overwrite=overwrite, argument=argument) as partial:
        yield partial
        if step:
            if "." in record["sources"]:  # it takes the place of its source
                record["sources"]["."] = checksum(open_image(partial))
            group = open_group(partial, mode="r+")
            record[WRITTEN] = step.written(partial, ome_metadata(group))
            group.update_attributes({MADE_BY: record})


def checksum(image: Image) -> str:
    """Checksum of the chunks, as they are stored, and of the metadata."""
    total = hashlib.sha256(_metadata(image))
    start = len(f"{image.path}/")
    paths = [path for path, _ in _chunks(image)]
    # A thread takes several chunks at a time, since they may be small.
    groups = [paths[first : first + 8] for first in range(0, len(paths), 8)]
    digests = chain.from_iterable(in_threads(_digests, groups))
    for path, digest in zip(paths, digests, strict=True):
        total.update(path[start:].encode() + digest)
    return total.hexdigest()


def _digests(paths: Sequence[str]) -> list[bytes]:
    """Checksum of each of some files."""
    digests = []
    for path in paths:
        with Path(path).open("rb") as file:
            digests.append(hashlib.file_digest(file, "sha256").digest())
    return digests


def _metadata(image: Image) -> bytes:
    """Axes, scales and channels: a result depends on them as on the pixels."""
    known = [image.metadata.get(key) for key in ("multiscales", "omero")]
    return json.dumps(known, sort_keys=True).encode()


def _chunks(image: Image) -> Iterator[tuple[str, os.stat_result]]:
    """Files of the chunks of all levels with their sizes and times, in a fixed order."""
    return _files(
        [(str(image.path / level.path), _few_chunks(level)) for level in image.levels]
    )


def _files(
    folders: list[tuple[str, Sequence[Sequence[str]]]],
) -> Iterator[tuple[str, os.stat_result]]:
    """Files below some folders with their sizes and times, but for metadata.

    The order is fixed: the files of a folder come before those of its folders.

    Args:
        folders: Each with all files that may lie below, by depth; see `_few_chunks`.
    """
    while folders:
        folder, tails = folders.pop()
        for tail in tails[0] if tails else ():
            path = f"{folder}/{tail}"
            try:
                # Of 100 000 files, each `Path` would take as long as all else.
                status = os.stat(path)  # noqa: PTH116
            except (FileNotFoundError, NotADirectoryError):
                continue
            yield path, status
        if tails and tails[0]:
            continue
        try:
            with os.scandir(folder) as found:
                entries = sorted(found, key=lambda entry: entry.name)
        except FileNotFoundError:
            continue
        for entry in entries:
            if entry.name[0] == "." or entry.name == "zarr.json":
                continue
            if entry.is_dir():
                folders.append((entry.path, tails[1:]))
            else:
                yield entry.path, entry.stat()


def _few_chunks(array: Any) -> list[list[str]]:
    """Paths of the chunks below a folder, by its depth; empty if there are many.

    A folder with few chunks need not be listed, which takes longer than all else. The order
    is that of `_files`.
    """
    counts = [
        -(-extent // size)
        for extent, size in zip(array.shape, array.shards or array.chunks, strict=True)
    ]
    encode = array.metadata.encode_chunk_key
    n_parts = len(encode((0,) * len(counts)).split("/"))
    tails: list[list[str]] = [[] for _ in range(n_parts)]
    first = n_parts - len(counts)  # of Zarr 3, `c` comes before the numbers
    for depth in range(n_parts if first >= 0 else 0):
        above = max(depth - first, 0)
        below = counts[above:]
        if math.prod(below) <= FEW:
            # The files of a folder are sorted, and its folders are taken from the end.
            numbers = [range(n)[::-1] for n in below[:-1]] + [*map(range, below[-1:])]
            keys = (encode((*[0] * above, *place)) for place in product(*numbers))
            tails[depth] = ["/".join(key.split("/")[depth:]) for key in keys]
    return tails
