"""Digests of arrays, tables and groups of OME-Zarr, and of folders of files.

Chunks and files are known by their names, sizes and times: none of them is read.
"""

import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

LISTS = ("labels", "tables")  # folders in an image whose metadata list what is in them
METADATA = (".zgroup", ".zattrs", ".zarray", ".zmetadata", "zarr.json")
# What a run itself may write beside files that a task reads.
WRITTEN = (".html", ".json")
PIXELS = "pixels "  # how the digest of an array begins

Nodes = dict[str, str]


def scan(roots: Iterable[str]) -> Nodes:
    """Return a digest of each node at and below some paths, by its path."""
    nodes: Nodes = {}
    for root in sorted(roots):
        path = Path(root)
        if root in nodes:  # below another one, whose list of labels says more of it
            continue
        if path.is_dir():
            _scan(root, nodes, is_root=True)
        elif path.is_file():
            nodes[root] = _digest([_line(root, path.stat())])
    return nodes


def made_by(path: str) -> Any:
    """Return the provenance of a node; empty without any."""
    return _attributes(Path(path)).get("made_by")


def _scan(folder: str, nodes: Nodes, *, is_root: bool = False) -> None:
    """Add a folder and its content; hidden names are unfinished and left out."""
    entries = _entries(folder)
    names = {entry.name for entry in entries}
    folders = [entry for entry in entries if entry.name[0] != "." and entry.is_dir()]
    files = [
        entry
        for entry in entries
        if entry.name[0] != "." and entry.name not in METADATA and entry.is_file()
    ]
    if not names.intersection((".zgroup", ".zarray", "zarr.json")):
        files = [file for file in files if not file.name.endswith(WRITTEN)]
        if files:
            nodes[folder] = _digest(_line(file.name, file.stat()) for file in files)
        for entry in folders:
            inside = {inner.name for inner in _entries(entry.path)}
            if not is_root or not inside.intersection((".zgroup", "zarr.json")):
                _scan(entry.path, nodes, is_root=is_root)
        return
    if _is_array(folder, names) or Path(folder).parent.name == "tables":
        nodes[folder] = PIXELS + _digest(_below(folder, len(folder)))
        return
    attributes = _attributes(Path(folder))
    if files:
        nodes[f"{folder}/*"] = _digest(_line(file.name, file.stat()) for file in files)
    for entry in folders:
        _scan(entry.path, nodes)
    kind = Path(folder).name
    if kind in LISTS:
        holder = attributes.get("ome", attributes)
        listed = holder.get(kind) or attributes.get(kind) or ()
        for entry in folders:
            if entry.path in nodes and entry.name not in listed:
                nodes[entry.path] += " not listed"
        return
    # Units on other images add to the lists of a plate and a well.
    is_list = {"plate", "well"} & attributes.get("ome", attributes).keys()
    text = "" if is_list else json.dumps(attributes, sort_keys=True)
    nodes[folder] = _digest([text])


def _is_array(folder: str, names: set[str]) -> bool:
    if "zarr.json" in names:
        return _read(Path(folder, "zarr.json")).get("node_type") == "array"
    return ".zarray" in names


def _attributes(folder: Path) -> dict[str, Any]:
    """Return the attributes of a group, in any version of Zarr."""
    attributes = _read(folder / "zarr.json").get("attributes")
    return attributes if isinstance(attributes, dict) else _read(folder / ".zattrs")


def _read(file: Path) -> dict[str, Any]:
    with suppress(OSError, ValueError):
        content = json.loads(file.read_text("utf-8"))
        return content if isinstance(content, dict) else {}
    return {}


def _below(folder: str, start: int) -> Iterator[str]:
    """Yield a line for each file below a folder, except unfinished ones."""
    for entry in _entries(folder):
        if entry.is_dir():
            yield from () if entry.name[0] == "." else _below(entry.path, start)
        elif entry.name[0] != "." or entry.name in METADATA:
            yield _line(entry.path[start:], entry.stat())


def _entries(folder: str) -> list["os.DirEntry[str]"]:
    with suppress(OSError), os.scandir(folder) as entries:
        return sorted(entries, key=lambda entry: entry.name)
    return []


def _line(name: str, status: os.stat_result) -> str:
    return f"{name} {status.st_size} {status.st_mtime_ns}\n"


def _digest(lines: Iterable[str]) -> str:
    return hashlib.blake2b("".join(lines).encode(), digest_size=8).hexdigest()
