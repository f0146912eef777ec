"""Outputs and results of units, recorded beside the images to resume a run."""

import hashlib
import json
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import BaseModel, StrictInt

from ..kit import modules
from . import costs, nodes, rules
from .history import Unit

FILE = ".run_workflow.jsonl"


class Written(BaseModel):
    """The fields of a record that say what is on disk."""

    step: StrictInt
    part: str
    key: str
    roots: list[str]
    outputs: list[str]
    tops: list[str]
    seen: nodes.Nodes
    made: nodes.Nodes
    changed: dict[str, tuple[str, str]]


Record = dict[str, Any]
Stage = tuple[int, str]  # number of a step, and part of its task


class Finished:
    """The successful units of a run.

    A unit is known by its step, its code and its arguments. It is true as long as what it
    made, and what it was given, is on disk as the run left it. As soon as one of a step has
    to run, all later steps do: they work on what it makes. What the run before made is put
    aside then, for what is made in its place.
    """

    def __init__(self, folder: str | Path, *, resume: bool) -> None:
        """Read the record of a folder, or discard it.

        Args:
            folder: The folder of the images.
            resume: Whether what was done is reused.
        """
        self.folder = str(Path(folder).resolve())
        self.file = Path(folder, FILE)
        self.lock = threading.Lock()
        self.known: dict[Stage, dict[str, Record]] = {}
        self.state: nodes.Nodes = {}  # what the run left on disk
        self.seen: set[str] = set()  # of which paths that is known
        self.listings: dict[str, set[str]] = {}  # names in folders, before a stage
        self.aside: dict[str, Path] = {}
        self.left: dict[str, Record] = {}  # what units of this stage may know as theirs
        latest: dict[tuple[int, str, str], Record] = {}
        for record in self._read():
            unit = (record["step"], record["part"], record["key"])
            latest.pop(unit, None)
            latest[unit] = record
        records = [*latest.values()]
        for record in records:
            for path in record["tops"]:
                self._settle(Path(path))
        if resume:
            for record in records:
                stage = (record["step"], record["part"])
                self.known.setdefault(stage, {})[record["key"]] = record
            self._judge(records)

    def _read(self) -> Iterator[Record]:
        with suppress(OSError):
            for line in self.file.read_text("utf-8", "replace").splitlines():
                with suppress(ValueError, KeyError, TypeError):  # half a line
                    empty: Record = {"roots": [], "seen": {}, "made": {}, "changed": {}}
                    record = empty | {"tops": [], "outputs": []} | json.loads(line)
                    Written.model_validate(record)
                    # What is elsewhere was not made by a run in this folder.
                    tops = [os.path.realpath(path) for path in record["tops"]]
                    if all(_is_in(path, self.folder) for path in tops):
                        yield record

    def _judge(self, records: Sequence[Record]) -> None:
        """Find changed results and inputs, and the units that they concern."""
        made: dict[str, Record] = {}
        for record in records:
            after = {path: pair[1] for path, pair in record["changed"].items()}
            self.state |= record["seen"] | record["made"] | after
            self.seen.update(record["roots"])
            for path in record["made"]:
                made.setdefault(path, record)
        tops = {top for record in records for top in record["tops"]}
        apart = [
            r for r in self.seen if not tops.intersection(map(str, Path(r).parents))
        ]
        now = nodes.scan(self._ours({*tops, *apart}))
        gone = []
        for path, digest in self.state.items():
            if now.get(path) == digest:
                continue
            if path not in now or path not in made:
                gone.append(path)
            if path in made:
                made[path]["good"] = False
                continue
            for record in records:  # this was there before
                if any(_is_in(path, root) for root in record["roots"]):
                    record |= {"good": False, "of others": True}
        for path in gone:
            self.state.pop(path)
            if path in now:
                self.state[path] = now[path]

    def _ours(self, roots: Iterable[str]) -> list[str]:
        """Paths but for the folder of the images, which is no input, and what holds it."""
        return sorted(root for root in roots if not _is_in(self.folder, root))

    def find(self, units: Sequence[Unit]) -> int:
        """Count the units of a stage to reuse, and make room for the others.

        Raises:
            WorkflowError: One would work on what it, or a later step, has overwritten.
        """
        self.close()
        stage = units[0].step, units[0].part
        old, keys = self.known.get(stage, {}), {_key(unit) for unit in units}
        good = {key: old[key] for key in keys if key in old and _exists(old[key])}
        urls = [unit.args.get("zarr_url") for unit in units]
        if len(good) < len(keys) and len({*urls}) < len(urls):
            good = {}  # who made what in an image that they share is not known
        stale = [record for key, record in old.items() if key not in good]
        if len(good) < len(keys):
            # Of a task, the part `non_parallel` is the first one.
            for later in (s for s in self.known if s > stage):
                for record in self.known[later].values():
                    record["good"] = False
        for record in stale:
            record["good"] = False
        self._write()
        self.left = {}
        for record in stale:
            self._make_room(
                record, same=record["key"] in keys and "of others" not in record
            )
        # What was of other arguments or code, and is not in the way, is of this run no more.
        self.known[stage] = {key: old[key] for key in keys if key in old}
        parents = {self.folder, *(str(Path(url).parent) for url in urls if url)}
        parents |= {
            str(Path(url).parent)
            for unit in units
            for url in unit.args.get("zarr_urls") or ()
        }
        self.listings = {p: _names(p) for p in parents}
        return len(good)

    def made_after(self, step: int) -> frozenset[str]:
        """Return the folders that later steps have made, in this run or the one before."""
        tops: dict[bool, set[str]] = {False: set(), True: set()}
        for (number, _), records in self.known.items():
            for record in records.values():
                tops[number > step].update(record["tops"])
        return frozenset(tops[True] - tops[False])

    def _write(self) -> None:
        records = [record for known in self.known.values() for record in known.values()]
        with suppress(OSError):
            if records or self.file.exists():
                new = self.file.with_suffix(".new")
                new.write_text("".join(map(_line, records)), "utf-8")
                new.replace(self.file)

    def _make_room(self, record: Record, *, same: bool) -> None:
        """Move the results of a unit aside, unless the unit will recognize them."""
        tops = [path for path in record["tops"] if Path(path).exists()]
        now = nodes.scan([*tops, *self._ours(record["roots"])])
        whole = all(now.get(path) == digest for path, digest in record["made"].items())
        its_own = same and all(nodes.made_by(path) for path in tops)
        for path, (_, after) in record["changed"].items():
            if any(_is_in(path, output) for output in record["outputs"]):
                continue  # the unit takes nothing from it, and replaces it again
            part = path.split("/labels/")[0].split("/tables/")[0]
            overwritten = after.startswith(nodes.PIXELS) and now.get(path) == after
            if (
                overwritten
                and part == path
                and not (same and nodes.made_by(str(Path(path).parent)))
            ):
                raise rules.WorkflowError(
                    f"--resume: the last run has overwritten the pixels of {path}, and step "
                    f"{record['step']} needs them as they were: put them back, or delete that "
                    "image if an earlier step makes it, and resume again"
                )
        if tops and whole and its_own:
            self.left[record["key"]] = record
            return
        for path in tops:
            self._put_aside(Path(path))

    def _put_aside(self, path: Path) -> None:
        """Rename results of the last run; edited ones are kept."""
        if not path.exists():
            return
        now = nodes.scan([str(path)])
        unchanged = all(self.state.get(node) == digest for node, digest in now.items())
        self.state = {n: d for n, d in self.state.items() if not _is_in(n, str(path))}
        self.seen = {root for root in self.seen if not _is_in(root, str(path))}
        if unchanged:
            hidden = _hidden(path)
            if hidden.exists():  # a run was killed before it made this anew
                shutil.rmtree(path)
                return
        else:
            hidden = path.with_name(f".{path.name}.{time.time_ns()}.kept")
        path.rename(hidden)
        self.aside[str(path)] = hidden

    def _settle(self, path: Path) -> None:
        """Settle the results that a killed run moved aside."""
        hidden = _hidden(path)
        if hidden.exists() and not path.exists():
            hidden.rename(path)
        elif hidden.exists():
            shutil.rmtree(hidden, ignore_errors=True)

    def close(self) -> None:
        """Remove replaced results, and restore the others."""
        for name, hidden in self.aside.items():
            path = Path(name)
            if not path.exists() and path.parent.exists():
                hidden.rename(path)
            elif hidden.name.endswith(".kept"):
                print(f"  {path} was changed after it was made: it is kept as {hidden}")
            else:
                shutil.rmtree(hidden, ignore_errors=True)
        self.aside = {}

    def run(self, call: Callable[[Unit], Any], unit: Unit) -> Any:
        """Run a unit, or return its recorded output."""
        record = self.known[unit.step, unit.part].get(_key(unit))
        if record and record.get("good"):
            unit.folder.mkdir(parents=True)
            if record["cost"]:
                costs.write(unit.folder, costs.Cost(*record["cost"]))
            return record["output"]
        roots = self._ours(_paths(unit.args))
        with self.lock:
            new = [root for root in roots if root not in self.seen]
            seen = nodes.scan(new)
            self.seen.update(new)
            self.state |= seen
        try:
            try:
                output = call(unit)
            except Exception:
                if _key(unit) not in self.left:
                    raise
                with self.lock:
                    for path in self.left[_key(unit)]["tops"]:
                        self._put_aside(Path(path))
                shutil.rmtree(unit.folder, ignore_errors=True)
                output = call(unit)
        except Exception:
            self._keep(unit, roots, seen, good=False)
            raise
        self._keep(
            unit, roots, seen, good=True, output=output, cost=costs.read(unit.folder)
        )
        return output

    def forget(self, unit: Unit) -> None:
        """Forget a unit whose output is wrong; it will run again."""
        self._add(
            unit, self.known[unit.step, unit.part].get(_key(unit), {}), good=False
        )

    def _keep(
        self, unit: Unit, roots: list[str], seen: nodes.Nodes, **rest: Any
    ) -> None:
        """Record the output of a unit, and its new and changed files."""
        outputs = [path for path in _outputs(rest.get("output")) if path not in roots]
        with self.lock:
            now = nodes.scan([*roots, *self._ours(outputs)])
            new = {path: d for path, d in now.items() if path not in self.state}
            tops = {top for path in (*roots, *outputs) if (top := self._top(path))}
            # What an image had that the unit has replaced is not of the unit.
            inside = [
                path
                for path in new
                if not any(_is_in(path, there) for there in (*tops, *outputs))
            ]
            tops.update(
                path
                for path in inside
                if str(Path(path).parent) not in new
                and Path(path).parent.name in nodes.LISTS
            )
            now |= nodes.scan(top for top in tops if top not in roots)
            # What the same unit made before is its own, whether it has made it again or not.
            before = self.left.get(_key(unit), {"tops": [], "made": {}})
            tops.update(path for path in before["tops"] if Path(path).exists())
            made = {
                path: digest
                for path, digest in now.items()
                if path not in self.state or path in before["made"]
            }
            changed = {
                path: [self.state[path], digest]
                for path, digest in now.items()
                if path not in made and self.state[path] != digest
            }
            self.state |= now
            self.seen.update(outputs)
            record = {
                "roots": [*roots, *outputs],
                "outputs": outputs,
                "seen": {path: d for path, d in seen.items() if path not in made},
                "made": made,
                "changed": changed,
                "tops": sorted(tops),
            }
        self._add(unit, record, **rest)

    def _top(self, path: str) -> str | None:
        """Return the first new folder on the way to a path."""
        for folder in (*reversed(Path(path).parents), Path(path)):
            listing = self.listings.get(str(folder.parent))
            if listing is not None and folder.name not in listing:
                return str(folder) if folder.exists() else None
        return None

    def _add(self, unit: Unit, record: Record, **rest: Any) -> None:
        record = (
            record | {"step": unit.step, "part": unit.part, "key": _key(unit)} | rest
        )
        with self.lock, suppress(OSError):  # then there will be nothing to resume
            self.known[unit.step, unit.part][record["key"]] = record
            self.file.parent.mkdir(parents=True, exist_ok=True)
            with self.file.open("a", encoding="utf-8") as stream:
                stream.write(_line(record))


def _line(record: Record) -> str:
    return f"{json.dumps(record)}\n"


def _exists(record: Record) -> bool:
    """Whether a unit succeeded, and its images exist."""
    try:
        exist = [os.access(path, os.F_OK) for path in _updates(record["output"])]
        return bool(record["good"]) and all(exist)
    except (AttributeError, KeyError, TypeError):  # it was killed before that was said
        return False


def _updates(output: Any) -> list[str]:
    return [i["zarr_url"] for i in (output or {}).get("image_list_updates", ())]


def _outputs(output: Any) -> list[str]:
    """Paths of images that a unit has made, or has requested."""
    with suppress(AttributeError, KeyError, TypeError):
        items = (output or {}).get("parallelization_list", ())
        return [*_updates(output), *(item["zarr_url"] for item in items)]
    return []


def _paths(value: Any, key: str = "") -> set[str]:
    """Absolute paths in arguments, and the tables of plates of their images."""
    if isinstance(value, dict):
        return {path for k, v in value.items() for path in _paths(v, k)}
    if isinstance(value, list):
        return {path for item in value for path in _paths(item, key)}
    if not isinstance(value, str) or not Path(value).is_absolute() or key == "zarr_dir":
        return set()
    paths = {os.path.normpath(value)}
    # Of OMERO, a plate may have a folder for each acquisition.
    for plate in Path(value).parents[2:4] if key in ("zarr_url", "zarr_urls") else ():
        if any((plate / name).exists() for name in (".zgroup", "zarr.json")):
            paths.add(str(plate / "tables"))
    return paths


def _names(folder: str) -> set[str]:
    with suppress(OSError):
        return {path.name for path in Path(folder).iterdir()}
    return set()


def _hidden(path: Path) -> Path:
    return path.with_name(f".{path.name}.aside")


def _is_in(path: str, folder: str) -> bool:
    return path == folder or path.startswith(f"{folder}/")


def _key(unit: Unit) -> str:
    """The identity of a unit: the code of its task, and its arguments."""
    package = unit.package
    own = rules.find_own()
    version = None if own and package.root == own.root else package.version
    code = version, _code(package.root, unit.executable)
    text = json.dumps([*code, unit.executable.name, unit.args], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


@cache
def _code(root: Path, executable: Path) -> str:
    """Checksum of a module, and of its imports from the package."""
    root, executable = root.resolve(), executable.resolve()
    digest = hashlib.sha256()
    for file in modules.needed_modules(root, [executable]):
        digest.update(str(file.relative_to(root)).encode())
        digest.update(file.read_bytes())
    return digest.hexdigest()
