"""Replay a recorded run, and compare the results.

`nox -s run -- ... --record NAME` writes a folder `tests/recorded/NAME`, of which `input`
has what the workflow works on, and a test that replays it.
"""

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from ..kit import open_image, open_label, plate_images, read_table, table_names
from ..kit.image import Image
from ..kit.multiscale import coordinates
from .rules import count_of
from .runner import run_workflow

RTOL = 1e-5
BLOCK = 32  # pixels of floats are compared by blocks of this size
DIM = 1e-3  # of the brightest pixel: what is darker is compared as if it were this
Summary = dict[str, Any]


def replay(
    folder: Path,
    zarr_dir: Path,
    run_workflow: Callable[..., list[dict[str, Any]]] = run_workflow,
) -> None:
    """Run a recorded workflow, and compare with the recorded results.

    Args:
        folder: What was recorded.
        zarr_dir: A folder for the images, which does not exist.
        run_workflow: What runs it.

    Raises:
        AssertionError: With a line for each difference.
    """
    if (folder / "input" / "zarr").exists():
        shutil.copytree(folder / "input" / "zarr", zarr_dir)
    zarr_dir.mkdir(parents=True, exist_ok=True)
    text = (folder / "workflow.json").read_text("utf-8")
    for name, path in (("input", folder / "input"), ("zarr_dir", zarr_dir)):
        text = text.replace(f"<{name}>", json.dumps(str(path.resolve()))[1:-1])
    given = json.loads(text)
    images = run_workflow(given["workflow"], zarr_dir=zarr_dir, images=given["images"])
    expected = json.loads((folder / "expected.json").read_text("utf-8"))
    summary = json.loads(json.dumps(summarise(images, zarr_dir)))
    differences = compare(expected, summary)
    assert not differences, "\n".join(["", *differences])


def summarise(images: list[dict[str, Any]], zarr_dir: Path) -> Summary:
    """Summarize images: image list, pixels, labels and tables."""
    summary: Summary = {"images": [], "arrays": {}, "tables": {}}
    root = f"{zarr_dir}/"
    plates = set()
    for entry in sorted(images, key=lambda entry: str(entry["zarr_url"])):
        urls = {
            key: (entry[key] or "").removeprefix(root) for key in ("zarr_url", "origin")
        }
        summary["images"].append(entry | urls)
        image = open_image(entry["zarr_url"])
        name = urls["zarr_url"]
        for plate in image.path.parents[2:4]:
            with suppress(OSError, ValueError):  # of what is no plate
                if plate_images(plate):
                    plates.add(plate)
        summary["arrays"][name] = _describe_image(image)
        for label in image.label_names:
            described = _describe_image(open_label(image, label))
            summary["arrays"][f"{name}, label {label}"] = described
        for table in table_names(image.path):
            summary["tables"][f"{name}, table {table}"] = _columns(image.path, table)
    for plate in sorted(plates):
        for table in table_names(plate):
            name = f"{str(plate).removeprefix(root)}, table {table}"
            summary["tables"][name] = _columns(plate, table)
    return summary


def _describe_image(image: Image) -> Summary:
    """Describe an image or label: pixels at all levels, and metadata."""
    (first, *smaller) = [_describe(np.asarray(level[...])) for level in image.levels]
    _, start = coordinates(image.metadata["multiscales"][0])
    position = {"position": start} if start and any(start) else {}
    return (
        first
        | position
        | {
            "axes": image.axes,
            "scale": image.scale,
            "channels": image.channel_names,
            "other levels": smaller,
        }
    )


def _describe(pixels: np.ndarray) -> Summary:
    """Shape, type and checksum of pixels; of floats, which differ between machines, blocks."""
    array = np.ascontiguousarray(pixels)
    summary: Summary = {"shape": [*array.shape], "dtype": str(array.dtype)}
    if array.dtype.kind in "iub":
        return summary | {"sha256": hashlib.sha256(array.tobytes()).hexdigest()}
    return summary | {"blocks": _describe_blocks(array)}


def _describe_blocks(array: np.ndarray) -> list[list[float]]:
    """Describe each block by numbers for its content and position.

    They are the mean, and two sums with random weights, which see any other order of the
    pixels. There are the same of pixels that are not finite, and the mean and maximum of
    all sizes.
    """
    weights = np.random.RandomState(0).uniform(-1, 1, (2, BLOCK, BLOCK))
    blocks = []
    for plane in array.reshape(-1, *array.shape[-2:]):
        for y in range(0, plane.shape[0], BLOCK):
            for x in range(0, plane.shape[1], BLOCK):
                # Of 32 bits, sums depend on the machine.
                block = plane[y : y + BLOCK, x : x + BLOCK].astype(np.float64)
                finite = np.isfinite(block)
                kinds = np.where(
                    finite, 0, np.where(np.isnan(block), 1, np.sign(block) + 3)
                )
                block = np.where(finite, block, 0)
                own = weights[:, : block.shape[0], : block.shape[1]]
                numbers = [
                    block.mean(),
                    *((own - own.mean()) * block).mean(axis=(1, 2)),
                    (own[0] * kinds).mean(),
                    np.abs(block).mean(),
                    np.abs(block).max(),
                ]
                blocks.append([float(number) for number in numbers])
    return blocks


def _compare_blocks(expected: Any, blocks: Any, place: str) -> list[str]:
    """Compare blocks of pixels, to within rounding."""
    if np.shape(expected) != np.shape(blocks):
        return [
            f"{place}: {count_of(len(blocks), 'block')}, not {len(expected)} as recorded"
        ]
    recorded, new = np.asarray(expected), np.asarray(blocks)
    size = np.maximum(recorded[:, 4], DIM * recorded[:, 5].max(initial=0))
    # Roundings of many pixels cancel in sums with weights.
    tolerance = RTOL * np.outer(size, [1, 0.1, 0.1])
    wrong = (np.abs(new - recorded)[:, :3] > tolerance).any(axis=1)
    wrong |= new[:, 3] != recorded[:, 3]
    if not wrong.any():
        return []
    return [
        f"{place}: other pixels than were recorded in {wrong.sum()} of "
        f"{count_of(len(wrong), 'block')} of {BLOCK}x{BLOCK}, the first is number {wrong.argmax()}"
    ]


def _columns(owner: Path, table: str) -> Mapping[str, Any]:
    columns = read_table(owner, table).columns
    return {name: np.asarray(values).tolist() for name, values in columns.items()}


def compare(expected: Any, summary: Any, place: str = "") -> list[str]:
    """Return the differences of two summaries beyond rounding."""
    if isinstance(expected, dict) and isinstance(summary, dict):
        lines = []
        for key in sorted({*expected, *summary}):
            where = f"{place} > {key}" if place else key
            if key == "blocks" and key in expected and key in summary:
                lines += _compare_blocks(expected[key], summary[key], where)
            elif key not in summary or key not in expected:
                lines.append(f"{where}: {'missing' if key in expected else 'new'}")
            else:
                lines += compare(expected[key], summary[key], where)
        return lines
    if isinstance(expected, list) and isinstance(summary, list):
        if len(expected) != len(summary):
            return [
                f"{place}: {count_of(len(summary), 'value')}, not {len(expected)} as recorded"
            ]
        pairs = enumerate(zip(expected, summary, strict=True))
        return [line for i, (e, f) in pairs for line in compare(e, f, f"{place}[{i}]")]
    # Integers are labels and counts: they are not rounded.
    numbers = {type(expected), type(summary)} in ({float}, {int, float})
    if numbers and np.isclose(summary, expected, rtol=RTOL, atol=0, equal_nan=True):
        return []
    return (
        []
        if expected == summary
        and isinstance(expected, bool) == isinstance(summary, bool)
        else [f"{place}: {summary!r}, and {expected!r} was recorded"]
    )
