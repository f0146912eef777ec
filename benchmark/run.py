"""Compare the examples with the shortest programs that do the same, and with libraries.

Each task runs as the processes that a server would start, also the tasks of a library. At
once each program follows with which it is compared. The ratio is the median over such
rounds, which meet the same machine. Of several processes, the seconds are the sum and the memory is the largest peak.
"""

import argparse
import json
import multiprocessing
import os
import platform
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from importlib.metadata import version
from importlib.util import find_spec
from operator import truediv
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

PACKAGE = Path(str(find_spec("my_fractal_tasks").origin)).parent
HERE = Path(__file__).parent
MEMORY_UNIT = 1 if sys.platform == "darwin" else 1024  # bytes
SHAPES = {
    "small": (1, 64, 64),  # what a process costs before it does anything
    "plane": (1, 2160, 2560),
    "stack": (20, 2160, 2560),
}

Programs = dict[str, tuple[str | Path, Path]]
"""How to start each other program: its Python and its script."""

LIBRARIES = {
    "ngio": "ngio_way.py",
    "ome-zarr-converters-tools": "converters_way.py",
    "fractal-tasks-core": "core_way.py",
}
OTHER_LIBRARIES = {
    "convert_tiffs": "ome-zarr-converters-tools",
    "register_acquisitions": "fractal-tasks-core",
}


class Unit(NamedTuple):
    """One process of each program: what it reads, and what each writes."""

    source: str
    example: str
    bare: str
    library: str


WELL = "plate.zarr/B/03"
IMAGE = f"{WELL}/0"
UNITS = {
    "convert_tiffs": [
        Unit("tiffs/B03_a0", f"{WELL}/0", "bare_0.zarr", "library_0.zarr"),
        Unit("tiffs/B03_a1", f"{WELL}/1", "bare_1.zarr", "library_1.zarr"),
    ],
    "register_acquisitions": [
        Unit(
            f"{WELL}/1",
            f"{WELL}/1registered",
            "bare_registered.zarr",
            f"{WELL}/1_registered",
        )
    ],
    "gaussian_blur": [
        Unit(IMAGE, f"{IMAGE}blurred", "bare_blurred.zarr", "ngio_blurred.zarr")
    ],
    "threshold_segmentation": [
        Unit(
            IMAGE,
            f"{IMAGE}/labels/objects",
            "bare_objects.zarr",
            f"{IMAGE}/labels/ngio",
        )
    ],
    "measure_features": [
        Unit(
            IMAGE,
            f"{IMAGE}/tables/features/table.csv",
            "bare_features.csv",
            f"{IMAGE}/tables/ngio/table.csv",
        )
    ],
}


class Figures(NamedTuple):
    """Time and memory of a program."""

    seconds: float
    cpu: float  # seconds of all processors
    peak: float  # memory, in megabytes


def write_tiffs(folder: Path, shape: tuple[int, ...]) -> None:
    """Write two acquisitions of bright cells with noise, the second one moved."""
    import numpy as np
    import tifffile
    from scipy.ndimage import gaussian_filter

    folder.mkdir(parents=True)
    random = np.random.default_rng(0)
    field = random.standard_normal(shape, np.float32)
    field = gaussian_filter(field, (2, 12, 12), mode="wrap")
    cells = 2000 * np.clip(field / field.std() - 1, 0, 2)
    for acquisition in (0, 1):
        for z, plane in enumerate(cells):
            moved = np.roll(plane, (8 * acquisition, -12 * acquisition), (0, 1))
            pixels = (moved + random.poisson(200, moved.shape)).astype(np.uint16)
            name = f"B03_a{acquisition}_cDAPI_z{z:02}.tif"
            tifffile.imwrite(folder / name, pixels)


def check(one: Path, other: Path) -> None:
    """Check that two results are the same, but for rounding."""
    import numpy as np
    import zarr

    if one.suffix == ".csv":
        columns = []
        for path in (one, other):
            table = np.atleast_1d(np.genfromtxt(path, delimiter=",", names=True))
            label, size, *rest = table.dtype.names
            mean = next(name for name in rest if "mean" in name)
            table.sort(order=label)
            columns.append([table[label], table[size], table[mean]])
        same = np.shape(columns[0]) == np.shape(columns[1]) and np.allclose(*columns)
    else:
        a, b = (zarr.open_group(path, mode="r")["0"][...] for path in (one, other))
        if other.name == "1_registered":  # what only one acquisition sees is cut off
            seen = b > 0
            a, b = (a * seen, b) if seen.mean() > 0.5 else (a, b)
        # SciPy cuts off after each of two axes, the example rounds once.
        tolerance = 2 if one.name == "0blurred" else 0
        same = a.shape == b.shape
        same = same and np.abs(np.subtract(a, b, dtype=np.int32)).max() <= tolerance
    if not same:
        raise ValueError(f"{one} and {other} differ")


def apart(function: Callable[..., None], *args: Any) -> None:
    """Call a function in a process of its own.

    Each process begins with the peak memory of the one that starts it: this one's must
    stay small.
    """
    process = multiprocessing.get_context("spawn").Process(target=function, args=args)
    process.start()
    process.join()
    if process.exitcode:
        sys.exit(process.exitcode)


def run(*command: str | Path) -> Figures:
    """Run a process to its end."""
    start = time.perf_counter()
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - start
        if status:
            log.seek(0)
            sys.exit(f"{command} failed:\n{log.read().decode()}")
    cpu = usage.ru_utime + usage.ru_stime
    return Figures(seconds, cpu, usage.ru_maxrss * MEMORY_UNIT / 1e6)


def add(figures: list[Figures]) -> Figures:
    """Figures of processes that run one after the other."""
    seconds, cpu, peaks = zip(*figures, strict=True)
    return Figures(sum(seconds), sum(cpu), max(peaks))


def run_example(task: str, folder: Path) -> Figures:
    """Run a task of the package: each of its parts, for each image."""
    files = folder / "args.json", folder / "output.json"

    def run_part(name: str, **args: Any) -> Figures:
        files[0].write_text(json.dumps(args))
        files[1].unlink(missing_ok=True)
        command = ("--args-json", files[0], "--out-json", files[1])
        return run(sys.executable, PACKAGE / f"{name}.py", *command)

    images = [str(folder / WELL / name) for name in ("0", "1")]
    overwrite = {"overwrite": True}
    if task == "convert_tiffs":
        init, compute = {"tiff_dir": str(folder / "tiffs")} | overwrite, {}
    elif task == "register_acquisitions":
        init, compute = {"zarr_urls": images}, overwrite
    else:
        return run_part(task, zarr_url=images[0], **overwrite)
    figures = [run_part(f"{task}_init", zarr_dir=str(folder), **init)]
    for item in json.loads(files[1].read_text())["parallelization_list"]:
        figures.append(run_part(f"{task}_compute", **item, **compute))
    return add(figures)


class Comparison(NamedTuple):
    """Medians of an example and of another program, and of their ratios."""

    example: Figures
    other: Figures
    ratio: Figures


def medians(figures: Iterable[Figures]) -> Figures:
    """Median of each figure."""
    return Figures(*map(median, zip(*figures, strict=True)))


def compare(
    task: str, folder: Path, pairs: int, programs: Programs
) -> dict[str, Comparison]:
    """Run an example and the other programs in turn; return the comparison with each."""
    ours: list[Figures] = []
    others: dict[str, list[Figures]] = {name: [] for name in programs}
    for _ in range(pairs):
        ours.append(run_example(task, folder))
        for name, command in programs.items():
            units = UNITS[task]
            calls = [[folder / u.source, folder / getattr(u, name)] for u in units]
            if name == "library":  # it starts a process for each part and image itself
                calls = [[path for paths in calls for path in paths]]
            figures = [run(*command, task, *paths) for paths in calls]
            others[name].append(add(figures))
            for unit in units if len(ours) == 1 else ():
                apart(check, folder / unit.example, folder / getattr(unit, name))
    compared = {}
    for name, theirs in others.items():
        rounds = zip(ours, theirs, strict=True)
        ratios = (Figures(*map(truediv, *both)) for both in rounds)
        compared[name] = Comparison(medians(ours), medians(theirs), medians(ratios))
    return compared


def describe(compared: dict[str, Comparison]) -> str:
    """Cells of a table: each figure as `example / other = ratio`."""
    return " | ".join(
        f"{ours:.{digits}f} / {theirs:.{digits}f} = {ratio:.2f}"
        for comparison in compared.values()
        for ours, theirs, ratio, digits in zip(*comparison, (2, 2, 0), strict=True)
    )


def write_table(name: str, lines: list[str]) -> None:
    """Write lines between the marks of a name in the documentation."""
    page = HERE.parent / "docs" / "explanation" / "figures.md"
    begin, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->"
    before, begins, rest = page.read_text("utf-8").partition(begin)
    _, ends, after = rest.partition(end)
    if not (begins and ends):
        raise ValueError(
            f"{page} lacks {begin.strip()!r} or {end!r} after it: add both"
        )
    text = "\n".join([before + begin + lines[0], *lines[1:], end + after])
    page.write_text(text, encoding="utf-8")


def write_figures(
    results: dict[tuple[str, str], dict[str, Comparison]], about: str
) -> None:
    """Write the ratios into the documentation, and those of one plane into README.md."""
    lines = [
        about,
        "Each cell has the ratio of processor time, and that of memory.",
        "",
        "| image | task | s, MB | to the short program | to the library |",
        "|---|---|---|---|---|",
    ]
    for (image, task), compared in results.items():
        ratios = [
            f"{ratio.cpu:.2f}, {ratio.peak:.2f}" if ratio else "–"
            for ratio in (
                compared[name].ratio if name in compared else None
                for name in ("bare", "library")
            )
        ]
        example = compared["bare"].example
        size = " x ".join(str(n) for n in SHAPES[image] if n > 1)
        cells = [size, f"`{task}`", f"{example.cpu:.1f}, {example.peak:.0f}", *ratios]
        lines.append(f"| {' | '.join(cells)} |")
    write_table("figures", lines)
    plane = [
        compared["library"].ratio
        for (image, task), compared in results.items()
        if image == "plane" and task not in OTHER_LIBRARIES
    ]
    ranges = [
        f"{min(values):.2f} to {max(values):.2f}"
        for values in zip(*((ratio.cpu, ratio.peak) for ratio in plane), strict=True)
    ]
    readme = HERE.parent / "README.md"
    row = r"(\| processor time; memory \| 1; 1 \| ).*?( \|)"
    text = re.sub(row, rf"\g<1>{'; '.join(ranges)}\g<2>", readme.read_text("utf-8"))
    readme.write_text(text, encoding="utf-8")


def main() -> None:
    """Run all pairs, and print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--images", nargs="+", choices=SHAPES, default=SHAPES)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument(
        "--libraries", type=Path, help="folder with an environment of each library"
    )
    parser.add_argument(
        "--write", action="store_true", help="also write docs and README.md"
    )
    args = parser.parse_args()
    versions = f"Python {platform.python_version()}, zarr {version('zarr')}"
    pythons, theirs = {}, []
    for name in LIBRARIES if args.libraries else ():
        pythons[name] = args.libraries.resolve() / name / "bin" / "python"
        code = f"from importlib.metadata import version; print(version({name!r}))"
        found = subprocess.check_output([pythons[name], "-c", code], text=True)
        theirs.append(f"{name} {found.strip()}")
    processors = len(os.sched_getaffinity(0))
    about = f"{processors} processors, {args.pairs} pairs, {versions}."
    if theirs:
        about += f"\nCompared with {', '.join(theirs)}."
    print(about)
    print("Medians of the example, of the other program, and of their ratios.\n")
    others = ["bare", "library"] if args.libraries else ["bare"]
    columns = [f"{name}: seconds | CPU seconds | MB" for name in others]
    print(f"| image | task | {' | '.join(columns)} |")
    print(f"|{'---|' * (2 + 3 * len(columns))}")
    results = {}
    for name in args.images:
        folder = args.folder.resolve() / name
        apart(write_tiffs, folder / "tiffs", SHAPES[name])
        for task in UNITS:
            programs: Programs = {"bare": (sys.executable, HERE / "bare.py")}
            if args.libraries:
                library = OTHER_LIBRARIES.get(task, "ngio")
                programs["library"] = (pythons[library], HERE / LIBRARIES[library])
            compared = compare(task, folder, args.pairs, programs)
            results[name, task] = compared
            print(f"| {name} | {task} | {describe(compared)} |", flush=True)
    if args.write:
        write_figures(results, about)


if __name__ == "__main__":
    main()
