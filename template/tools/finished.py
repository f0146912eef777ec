"""What the units of a run gave back, kept beside the images, so that it can be resumed."""

import hashlib
import json
import os
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

from package import PACKAGE

costs = import_module(f"{PACKAGE.name}.dev.costs")

FILE = ".run_workflow.jsonl"

Unit = Any  # of `dev/history.py` in the package
Record = dict[str, Any]
Stage = tuple[int, str]  # number of a step, and part of its task


class Finished:
    """The units that ended well.

    A unit is known by its step, its code and its arguments. As soon as one of a step has to
    run, all later steps are forgotten: they work on what it makes. What has changed in
    files, and not in the workflow or in the packages, is not noticed.
    """

    def __init__(self, folder: str | Path, *, resume: bool) -> None:
        """Read what was done in a folder, or forget it.

        Args:
            folder: The folder of the images.
            resume: Whether what was done is reused.
        """
        self.file = Path(folder, FILE)
        self.lock = threading.Lock()
        self.known: dict[Stage, dict[str, Record]] = {}
        with suppress(OSError):
            lines = self.file.read_text("utf-8").splitlines() if resume else ()
            for line in lines:
                with suppress(ValueError, KeyError, TypeError):  # half a line
                    record = json.loads(line)
                    stage = (record["step"], record["part"])
                    self.known.setdefault(stage, {})[record["key"]] = record

    def find(self, units: Sequence[Unit]) -> int:
        """Return how many of all units of a stage need not run."""
        stage = units[0].step, units[0].part
        old, keys = self.known.get(stage, {}), {_key(unit) for unit in units}
        good = {key: old[key] for key in keys if key in old and _exists(old[key])}
        self.known[stage] = good
        if len(good) < len(keys):
            # Of a task, the part `non_parallel` is the first one.
            self.known = {s: known for s, known in self.known.items() if s <= stage}
        records = [record for known in self.known.values() for record in known.values()]
        with suppress(OSError):
            if records or self.file.exists():
                new = self.file.with_suffix(".new")
                new.write_text("".join(map(_line, records)), "utf-8")
                new.replace(self.file)
        return len(good)

    def run(self, call: Callable[[Unit], Any], unit: Unit) -> Any:
        """Return what a unit gives back, or gave back."""
        if record := self.known[unit.step, unit.part].get(_key(unit)):
            unit.folder.mkdir(parents=True)
            if record["cost"]:
                costs.write(unit.folder, costs.Cost(*record["cost"]))
            return record["output"]
        output = call(unit)
        self._keep(unit, output=output, cost=costs.read(unit.folder), good=True)
        return output

    def forget(self, unit: Unit) -> None:
        """Have a unit run again, since what it gave back is wrong."""
        self._keep(unit, good=False)

    def _keep(self, unit: Unit, **rest: Any) -> None:
        record = {"step": unit.step, "part": unit.part, "key": _key(unit), **rest}
        with self.lock, suppress(OSError):  # then there will be nothing to resume
            self.known[unit.step, unit.part][record["key"]] = record
            self.file.parent.mkdir(parents=True, exist_ok=True)
            with self.file.open("a", encoding="utf-8") as stream:
                stream.write(_line(record))


def _line(record: Record) -> str:
    return f"{json.dumps(record)}\n"


def _exists(record: Record) -> bool:
    """Whether a unit ended well, and the images are there that it made."""
    try:
        updates = (record["output"] or {}).get("image_list_updates", ())
        exist = [os.access(update["zarr_url"], os.F_OK) for update in updates]
        return bool(record["good"]) and all(exist)
    except (AttributeError, KeyError, TypeError):  # it was killed before that was said
        return False


def _key(unit: Unit) -> str:
    """What a unit is known by: the code of its package, its executable, its arguments."""
    code = _code(unit.package.root), unit.package.version
    text = json.dumps([*code, unit.executable.name, unit.args], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


@cache
def _code(root: Path) -> str:
    """Checksum of the modules of a package."""
    digest = hashlib.sha256()
    for file in sorted(root.rglob("*.py")):
        digest.update(str(file.relative_to(root)).encode())
        digest.update(file.read_bytes())
    return digest.hexdigest()
