"""Compare the examples with the shortest program that does the same: time, memory, size.

Each pair runs as two processes, one after the other, as a server would run the task.
The ratio is the median over the pairs: the two of a pair meet the same machine.
"""

import argparse
import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import NamedTuple

PACKAGE = Path(str(find_spec("my_fractal_tasks").origin)).parent
BARE = Path(__file__).with_name("bare.py")
KILOBYTES = 1 if sys.platform == "darwin" else 1024  # unit of the peak memory
SHAPES = {
    "small": (1, 1, 64, 64),  # what a unit costs before it does anything
    "plane": (1, 1, 2160, 2560),
    "stack": (1, 20, 2160, 2560),
}
# What the example writes, and what the bare program writes.
RESULTS = {
    "gaussian_blur": ("image_blurred.zarr", "image_bare.zarr"),
    "threshold_segmentation": ("image.zarr/labels/objects", "image.zarr/labels/bare"),
    "measure_features": ("image.zarr/tables/features", "bare.csv"),
}


class Figures(NamedTuple):
    """What a process took."""

    seconds: float
    peak: float  # memory, in megabytes
    size: float  # of the result on disk, in megabytes


def write_cells(path: Path, shape: tuple[int, ...], chunk_yx: int) -> None:
    """Write an image of bright cells, some thousands in a plane, with noise."""
    import numpy as np
    from my_fractal_tasks.blocks import build_pyramid
    from my_fractal_tasks.ome_zarr_io import create_image
    from scipy.ndimage import gaussian_filter

    random = np.random.default_rng(0)
    with create_image(
        path,
        shape=shape,
        axes="czyx",
        dtype=np.uint16,
        scale={"z": 1.0, "y": 0.5, "x": 0.5},
        channels=["DAPI"],
        chunk_yx=chunk_yx,
    ) as image:
        cells = gaussian_filter(random.normal(size=shape[-2:]), 12, mode="wrap")
        cells = 2000 * np.clip(cells / cells.std(), 0, 3)
        for z in range(shape[1]):
            noise = random.poisson(200, shape[-2:])
            image.levels[0][0, z] = (np.roll(cells, z, 0) + noise).astype(np.uint16)
        build_pyramid(image)


def run(result: Path, *command: str | Path) -> Figures:
    """Run a process to its end."""
    start = time.perf_counter()
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - start
        if status:
            log.seek(0)
            sys.exit(f"{command} failed:\n{log.read().decode()}")
    files = [path for path in (result, *result.rglob("*")) if path.is_file()]
    size = sum(path.stat().st_size for path in files) / 1e6
    return Figures(seconds, usage.ru_maxrss * KILOBYTES / 1e6, size)


def compare(task: str, folder: Path, pairs: int) -> list[str]:
    """Run an example and its bare program in turn; return a text for each figure."""
    image = folder / "image.zarr"
    args_json, out_json = folder / f"{task}.json", folder / f"{task}_output.json"
    args_json.write_text(json.dumps({"zarr_url": str(image), "overwrite": True}))
    files = ("--args-json", args_json, "--out-json", out_json)
    ours, bare = [], []
    for _ in range(pairs):
        out_json.unlink(missing_ok=True)
        result, bare_result = (folder / name for name in RESULTS[task])
        ours.append(run(result, sys.executable, PACKAGE / f"{task}.py", *files))
        bare.append(run(bare_result, sys.executable, BARE, task, image))
    texts = []
    for a, b in zip(zip(*ours, strict=True), zip(*bare, strict=True), strict=True):
        ratio = median(one / other for one, other in zip(a, b, strict=True))
        texts.append(f"{median(a):.2f} / {median(b):.2f} = {ratio:.2f}")
    return texts


def main() -> None:
    """Run all pairs, and print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--images", nargs="+", choices=SHAPES, default=SHAPES)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--chunk-yx", type=int, default=1024)
    args = parser.parse_args()
    processors = len(os.sched_getaffinity(0))
    print(f"{processors} processors, {args.pairs} pairs, chunks of {args.chunk_yx}.")
    print("Medians of the example, of the bare program, and of their ratios.\n")
    print("| image | task | seconds | peak memory, MB | result, MB |")
    print("|---|---|---|---|---|")
    for name in args.images:
        folder = args.folder.resolve() / name
        # A process begins with the peak memory of the one that starts it.
        writer = multiprocessing.get_context("spawn").Process(
            target=write_cells,
            args=(folder / "image.zarr", SHAPES[name], args.chunk_yx),
        )
        writer.start()
        writer.join()
        for task in RESULTS:
            texts = compare(task, folder, args.pairs)
            print(f"| {name} | {task} | {' | '.join(texts)} |", flush=True)


if __name__ == "__main__":
    main()
