"""Compare the files of an array with the chunk keys of its metadata.

An array whose chunks have other keys reads as its fill value everywhere, without an error.
"""

import os
import re
from collections import defaultdict
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from .voxels import dangling

NUMBER = "(?:0|[1-9][0-9]*)"
# A folder or file of a chunk; all else that lies in an array does not count.
PART = re.compile(rf"c|(?:c\.)?{NUMBER}(?:\.{NUMBER})*")
# One whose name another tool has changed: 01, C, 0-0, 0.0.gz, chunk_0. It counts if there
# are no others.
ODD = re.compile(
    r"c|(?:(?:c|chunk)[\W_]*|[^\w.]*_*)\d[\d\W_]*(?:\.[a-z]{2,4})?", re.IGNORECASE
)
ENTRIES, FOLDERS = 100, 16  # how much of an array is looked at: its size must not count


def check_chunks(array: "zarr.Array[Any]", folder: Path) -> bool:
    """Reject an array with chunks under other keys than its metadata say.

    Args:
        array: Array, with or without shards; one without any chunk is empty, which is right.
        folder: Folder of the array.

    Returns:
        Whether a chunk was found, among the files that were looked at.

    Raises:
        ValueError: A chunk has another key, lies outside of the array, or is a link to a
            file that is not there.
    """
    sizes = array.shards or array.chunks
    grid = [
        -(-extent // max(size, 1))
        for extent, size in zip(array.shape, sizes, strict=True)
    ]
    encode = array.metadata.encode_chunk_key
    origin = (0,) * len(grid)
    for axis, end in enumerate(grid):  # the first chunk behind the end
        behind = encode((*origin[:axis], end, *origin[axis + 1 :]))
        if (folder / behind).exists():
            raise ValueError(_beyond(array, folder, behind, grid))
    names, odd = _names(folder)
    by_form = defaultdict(list)  # of each form, one file is enough
    for name in names:
        by_form[re.sub("[0-9]+", "0", name)].append(name)
    is_stored = False
    for alike in by_form.values():
        # Those that lie outside come first.
        alike.sort(key=lambda name: _fits(_numbers(name), grid))
        key, more_odd = _find_key(folder, alike)
        odd += more_odd
        if key:
            is_stored = True
            place = _numbers(key) if grid else ()
            if len(place) != len(grid) or encode(place) != key:
                raise ValueError(_other_key(array, folder, key))
            if not _fits(place, grid):
                raise ValueError(_beyond(array, folder, key, grid))
    # A large folder may have chunks that were not looked at.
    if not is_stored and not (folder / encode(origin)).exists():
        key, _ = _find_key(folder, odd, with_odd=True)
        if key:
            raise ValueError(_other_key(array, folder, key))
    return is_stored


def check_levels(levels: Sequence["zarr.Array[Any]"], folders: Sequence[Path]) -> None:
    """Check the chunks of a pyramid, full resolution first; see `check_chunks`.

    Raises:
        ValueError: A level has no chunks, and a smaller one has pixels that were made of it.
    """
    pairs = list(zip(levels, folders, strict=True))
    found = [check_chunks(level, folder) for level, folder in pairs]
    for index, is_stored in enumerate(found):
        if is_stored or not any(found[index:]) or levels[index].nchunks_initialized:
            continue
        for smaller, folder in pairs[index + 1 :][::-1]:
            if (np.asarray(smaller) != smaller.fill_value).any():
                raise ValueError(
                    f"{folders[index]} has no chunks, but {folder}, which is a smaller copy "
                    "of it, has pixels: copy the image again from where it came"
                )


def _names(folder: Path) -> tuple[list[str], list[str]]:
    """Names of some parts of chunks in a folder, and those that another tool has changed."""
    with os.scandir(folder) as entries:
        names = [entry.name for entry in islice(entries, ENTRIES)]
    parts = [name for name in names if PART.fullmatch(name)]
    return parts, [n for n in names if n not in parts and ODD.fullmatch(n)]


def _numbers(key: str) -> tuple[int, ...]:
    """Position of a chunk, or the part of it that is in the name of a folder."""
    return tuple(map(int, re.findall("[0-9]+", key)))


def _fits(place: tuple[int, ...], grid: list[int]) -> bool:
    """Whether a chunk, or a folder of chunks, lies in the array."""
    return all(number < end for number, end in zip(place, grid, strict=False))


def _find_key(
    folder: Path, names: list[str], *, with_odd: bool = False
) -> tuple[str | None, list[str]]:
    """Find a chunk below a folder, in the parts with these names.

    Args:
        folder: Folder of an array.
        names: Names of parts in it.
        with_odd: Whether to look also into parts whose names another tool has changed.

    Returns:
        The key of the chunk, or None; and the keys of parts that were not looked into.

    Raises:
        ValueError: One is a link to what is not there; it would be read as a missing chunk.
    """
    todo, odd, looked_at = names[::-1], list[str](), 0
    while todo and looked_at < FOLDERS:
        key = todo.pop()
        try:
            parts, changed = _names(folder / key)
        except NotADirectoryError:
            return key, odd
        except OSError as error:
            if (folder / key).is_symlink():
                raise ValueError(dangling(folder / key)) from error
            continue  # it is gone by now
        looked_at += 1
        todo += [f"{key}/{name}" for name in parts]
        keys = [f"{key}/{name}" for name in changed]
        todo += keys if with_odd else []
        odd += [] if with_odd else keys
    return None, odd


def _beyond(array: "zarr.Array[Any]", folder: Path, key: str, grid: list[int]) -> str:
    counts = " x ".join(map(str, grid))
    return (
        f"{folder} has the chunk {key}, which lies outside of its {counts} chunks: correct "
        f"the shape or the chunks in {_metadata_file(array, folder)}, or remove the chunk"
    )


def _other_key(array: "zarr.Array[Any]", folder: Path, key: str) -> str:
    """Describe the mistake in the key of a chunk, and its remedy."""
    expected = array.metadata.encode_chunk_key((0,) * array.ndim)
    place, file = _numbers(key)[: array.ndim], _metadata_file(array, folder)
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


def _metadata_file(array: "zarr.Array[Any]", folder: Path) -> Path:
    """File of the metadata of an array."""
    return folder / (".zarray" if array.metadata.zarr_format == 2 else "zarr.json")
