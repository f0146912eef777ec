"""Compare the files of an array with the chunk keys of its metadata.

An array whose chunks have other keys reads as its fill value everywhere, without an error.
"""

import os
import re
from collections import defaultdict
from itertools import islice
from pathlib import Path
from typing import Any

import zarr

NUMBER = "(?:0|[1-9][0-9]*)"
# A folder or file of a chunk; all else that lies in an array does not count.
PART = re.compile(rf"c|(?:c\.)?{NUMBER}(?:\.{NUMBER})*")
ENTRIES, FOLDERS = 100, 16  # how much of an array is looked at: its size must not count


def check_chunks(array: "zarr.Array[Any]", folder: Path) -> None:
    """Reject an array with chunks under other keys than its metadata say.

    Args:
        array: Array, with or without shards; one without any chunk is empty, which is right.
        folder: Folder of the array.

    Raises:
        ValueError: A chunk has another key, or lies outside of the array.
    """
    sizes = array.shards or array.chunks
    grid = [
        -(-extent // max(size, 1))
        for extent, size in zip(array.shape, sizes, strict=True)
    ]
    encode = array.metadata.encode_chunk_key
    origin = (0,) * len(grid)
    for axis, end in enumerate(grid):  # the first chunk behind the end
        key = encode((*origin[:axis], end, *origin[axis + 1 :]))
        if (folder / key).exists():
            raise ValueError(_beyond(folder, key, grid))
    names = defaultdict(list)  # by their form: of each, one file is enough
    with os.scandir(folder) as entries:
        for entry in islice(entries, ENTRIES):
            if PART.fullmatch(entry.name):
                names[re.sub("[0-9]+", "0", entry.name)].append(entry.name)
    for alike in names.values():
        # Those that lie outside come first.
        alike.sort(key=lambda name: _fits(_numbers(name), grid))
        for key in islice(_keys(folder, alike), 1):
            place = _numbers(key) if grid else ()
            if len(place) != len(grid) or encode(place) != key:
                raise ValueError(_other_key(array, folder, key))
            if not _fits(place, grid):
                raise ValueError(_beyond(folder, key, grid))


def _numbers(key: str) -> tuple[int, ...]:
    """Position of a chunk, or the part of it that is in the name of a folder."""
    return tuple(map(int, re.findall("[0-9]+", key)))


def _fits(place: tuple[int, ...], grid: list[int]) -> bool:
    """Whether a chunk, or a folder of chunks, lies in the array."""
    return all(number < end for number, end in zip(place, grid, strict=False))


def _keys(folder: Path, names: list[str]) -> Any:
    """Keys of some chunks below a folder that has these names."""
    todo, looked_at = names[::-1], 0
    while todo and looked_at < FOLDERS:
        key = todo.pop()
        try:
            with os.scandir(folder / key) as entries:
                looked_at += 1
                first = [entry.name for entry in islice(entries, ENTRIES)]
        except NotADirectoryError:
            yield key
        except OSError:  # it is gone by now
            continue
        else:
            todo += [f"{key}/{name}" for name in first if PART.fullmatch(name)]


def _beyond(folder: Path, key: str, grid: list[int]) -> str:
    counts = " x ".join(map(str, grid))
    return (
        f"{folder} has the chunk {key}, which lies outside of its {counts} chunks: correct "
        f"the shape or the chunks in {_metadata_file(folder)}, or remove the chunk"
    )


def _other_key(array: "zarr.Array[Any]", folder: Path, key: str) -> str:
    """Describe the mistake in the key of a chunk, and its remedy."""
    expected = array.metadata.encode_chunk_key((0,) * array.ndim)
    place, file = _numbers(key)[: array.ndim], _metadata_file(folder)
    remedy = f"rename the chunks, or correct {file}"
    separator = "." if "." in key else "/"
    prefix = ["c"] * (key[0] == "c")
    rebuilt = separator.join([*prefix, *map(str, place)]) or "0"
    if rebuilt == key and len(place) == array.ndim:
        if array.metadata.zarr_format == 3:
            name = "default" if prefix else "v2"
            remedy = (
                f'set chunk_key_encoding to {{"name": "{name}", "configuration": '
                f'{{"separator": "{separator}"}}}} in {file}'
            )
        elif not prefix:
            remedy = f"set dimension_separator to {separator!r} in {file}"
    return (
        f"{folder} has the chunk {key}, but its metadata look for keys such as "
        f"{expected}, and would not find its pixels: {remedy}"
    )


def _metadata_file(folder: Path) -> Path:
    """File of the metadata of an array."""
    names = (".zarray", "zarr.json")
    return next(folder / name for name in names if (folder / name).exists())
