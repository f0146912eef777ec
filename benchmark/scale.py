"""Measure how time and size grow with chunks, time points, wells, images and jobs.

Each curve has the figures of one quantity; `--write` draws all of them into the
documentation. A task is measured by the processor time of its process, the fastest of
several, as other programs only lengthen it.
"""

import argparse
import contextlib
import io
import json
import os
import platform
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from itertools import product
from multiprocessing import get_context
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

from run import HERE, PACKAGE, Figures, apart, run, write_table

CHUNKS = [64, 256, 1024, 2048]
TIME_POINTS = [1, 16, 100, 500]
SIDE = 2048  # pixels of an image of the curve of chunks, in y and x
PLANES = 4
WELLS = [24, 96, 384]
JOBS_AT_ONCE = 8
N_IMAGES = [1000, 10_000, 100_000]
N_JOBS = [1000, 10_000]
N_STEPS = 10


class Curve(NamedTuple):
    """Figures of one quantity."""

    name: str
    x: str
    unit: str
    series: dict[str, dict[int, float]]
    """Values by number on the x axis, by the name of a line."""


def write_image(
    path: Path, shape: tuple[int, int, int, int], chunk: int, shard: int
) -> None:
    """Write bright cells with noise, along t, z, y and x; a shard of 0 is none."""
    import numpy as np
    from my_fractal_tasks.kit import build_pyramid, create_image, open_image
    from scipy.ndimage import gaussian_filter

    random = np.random.default_rng(0)
    field = gaussian_filter(random.standard_normal((256, 256)), 4, mode="wrap")
    cells = 1000 * np.clip(field / field.std() - 1, 0, 2)
    n_tiles = [-(-n // 256) for n in shape[-2:]]
    cells = np.tile(cells, n_tiles)[: shape[-2], : shape[-1]]
    ngff_version = "0.5" if shard else "0.4"
    given: dict[str, Any] = {"axes": "tzyx", "scale": {}, "channels": ["DAPI"]}
    given |= {"dtype": np.uint16, "version": ngff_version, "chunk_yx": chunk}
    with create_image(path, shape=shape, **given) as image:
        for level in image.levels if shard else ():
            image.group.create_array(
                level.path.rpartition("/")[2],
                shape=level.shape,
                chunks=level.chunks,
                shards=(
                    1,
                    1,
                    *[
                        max(chunk, min(shard, -(-n // chunk) * chunk))
                        for n in level.shape[-2:]
                    ],
                ),
                dtype=level.dtype,
                dimension_names=["t", "z", "y", "x"],
                overwrite=True,
            )
        image = open_image(image.path, mode="r+")
        for t in range(shape[0]):
            for z in range(shape[1]):
                image.levels[0][t, z] = cells + random.poisson(50, cells.shape)
        build_pyramid(image)


def time_task(task: str, image: Path, rounds: int) -> float:
    """Return nanoseconds of the processor for each voxel, the fastest of several runs."""
    import zarr

    n_voxels = zarr.open_array(image / "0", mode="r").size
    arguments, output = image.with_name("args.json"), image.with_name("out.json")
    arguments.write_text(json.dumps({"zarr_url": str(image)}))
    seconds = []
    for _ in range(rounds):
        for made in (image.with_name(f"{image.stem}_blurred.zarr"), image / "labels"):
            shutil.rmtree(made, ignore_errors=True)
        output.unlink(missing_ok=True)
        program = (sys.executable, PACKAGE / f"{task}.py")
        seconds.append(
            run(*program, "--args-json", arguments, "--out-json", output).cpu
        )
    return 1e9 * min(seconds) / n_voxels


def time_bare(image: Path, rounds: int) -> float:
    """Return the same for the shortest program that blurs."""
    import zarr

    n_voxels = zarr.open_array(image / "0", mode="r").size
    program = (sys.executable, HERE / "bare.py", "gaussian_blur", image)
    result = image.with_name("bare.zarr")
    return 1e9 * min(run(*program, result).cpu for _ in range(rounds)) / n_voxels


TASKS = {"gaussian_blur": "blur", "threshold_segmentation": "segmentation"}


def curve_of_chunks(folder: Path, rounds: int) -> Curve:
    """Time a voxel of images of one size, cut into chunks of several sizes."""
    series: dict[str, dict[int, float]] = {}
    for shard in (0, SIDE):
        for chunk in CHUNKS if not shard else CHUNKS[:-1]:
            image = folder / f"{chunk}_{shard}.zarr"
            apart(write_image, image, (1, PLANES, SIDE, SIDE), chunk, shard)
            for task, name in TASKS.items():
                line = series.setdefault(name + ", shards" * bool(shard), {})
                line[chunk] = time_task(task, image, rounds)
            if not shard:
                line = series.setdefault("blur, short program", {})
                line[chunk] = time_bare(image, rounds)
            shutil.rmtree(image)
    return Curve("chunks", "pixels of a chunk in y and x", "ns a voxel", series)


def curve_of_time_points(folder: Path, rounds: int) -> Curve:
    """Time a voxel of images with as many voxels, in more and smaller planes."""
    series: dict[str, dict[int, float]] = {name: {} for name in TASKS.values()}
    for n in TIME_POINTS:
        side = round((PLANES * SIDE**2 / n) ** 0.5)
        image = folder / f"{n}.zarr"
        apart(write_image, image, (n, 1, side, side), 256, 0)
        for task, name in TASKS.items():
            series[name][n] = time_task(task, image, rounds)
        shutil.rmtree(image)
    return Curve("time points", "time points", "ns a voxel", series)


def work_on_well(image: str) -> tuple[float, float]:
    """Blur, segment and measure an image; return seconds of waiting for locks, and all."""
    from my_fractal_tasks.gaussian_blur import gaussian_blur
    from my_fractal_tasks.kit import publish
    from my_fractal_tasks.measure_features import measure_features
    from my_fractal_tasks.threshold_segmentation import threshold_segmentation

    waiting = 0.0

    def sleep(seconds: float) -> None:
        nonlocal waiting
        start = time.perf_counter()
        time.sleep(seconds)
        waiting += time.perf_counter() - start

    publish.time = SimpleNamespace(sleep=sleep, monotonic=time.monotonic)
    start = time.perf_counter()
    gaussian_blur(zarr_url=image)
    threshold_segmentation(zarr_url=image)
    measure_features(zarr_url=image)
    return waiting, time.perf_counter() - start


def write_plate(
    plate: Path, n_wells: int, side: int, *, labels: bool, acquisitions: int = 1
) -> list[str]:
    """Write a plate with an image of each acquisition in each well; return their folders."""
    from my_fractal_tasks.kit import create_plate

    names = [(chr(65 + n // 24), f"{n % 24 + 1:02}") for n in range(n_wells)]
    numbers = {str(number): number for number in range(acquisitions)}
    create_plate(plate, dict.fromkeys(names, numbers))
    first = plate.with_name("first.zarr")
    write_image(first, (1, 1, side, side), 2048, 0)
    if labels:
        work_on_well(str(first))
    images = []
    for (row, column), number in product(names, numbers):
        # Links take no space; what writes a file makes a new one.
        image = plate / row / column / number
        shutil.copytree(first, image, copy_function=os.link)
        images.append(str(image))
    return images


def share_waiting(folder: Path, n_wells: int) -> float:
    """Percent of the time of jobs that they wait for locks; check that no result is lost."""
    from my_fractal_tasks.kit import open_image, plate_images

    plate = folder / f"locks{n_wells}" / "plate.zarr"
    images = write_plate(plate, n_wells, 64, labels=False)
    with get_context("spawn").Pool(JOBS_AT_ONCE) as pool:
        waiting, seconds = map(
            sum, zip(*pool.map(work_on_well, images, 1), strict=True)
        )
    if len(plate_images(plate)) != 2 * n_wells or any(
        not open_image(Path(image)).label_names for image in images
    ):
        raise RuntimeError(f"{plate} lacks results of some jobs")
    return 100 * waiting / seconds


def curve_of_locks(folder: Path) -> Curve:
    """Share of waiting of jobs on a plate, of which several run at once."""
    line = {n: share_waiting(folder, n) for n in WELLS}
    name = f"{JOBS_AT_ONCE} jobs at once"
    return Curve("locks", "wells", "% of the time waiting for locks", {name: line})


def curve_of_tables(folder: Path) -> Curve:
    """Time an image of `aggregate_tables`, with 500 objects in each."""
    import numpy as np
    from my_fractal_tasks.kit import open_image, write_feature_table

    line = {}
    for n in WELLS:
        plate = folder / f"tables{n}" / "plate.zarr"
        images = write_plate(plate, n, 64, labels=True)
        random = np.random.default_rng(0)
        for image in images:
            columns = {"label": np.arange(1, 501)}
            columns |= {f"feature_{k}": random.normal(100, 20, 500) for k in range(8)}
            write_feature_table(
                open_image(Path(image)),
                "features",
                columns,
                label_name="objects",
                overwrite=True,
            )
        arguments, output = folder / "args.json", folder / "out.json"
        arguments.write_text(json.dumps({"zarr_urls": images, "zarr_dir": str(folder)}))
        output.unlink(missing_ok=True)
        files = ("--args-json", arguments, "--out-json", output)
        figures = run(sys.executable, PACKAGE / "aggregate_tables.py", *files)
        line[n] = 1000 * figures.cpu / n
    name = "500 objects, 8 features"
    return Curve("tables", "wells", "ms an image", {name: line})


WORKFLOW = {
    "name": "Overhead",
    "task_list": [{"task": {"pkg_name": "my-fractal-tasks", "name": "Gaussian Blur"}}],
}
LOOK = {
    "name": "Look",
    "task_list": [{"task": {"pkg_name": "my-fractal-tasks", "name": "Check Images"}}],
}


def write_list(folder: Path, urls: Sequence[str]) -> Path:
    """Write a list of images, eight in a well if they lie in no plate."""
    images = [
        {"zarr_url": url, "attributes": {"well": f"W{index // 8}"}}
        for index, url in enumerate(urls)
    ]
    file = folder / "images.json"
    file.write_text(json.dumps(images))
    return file


def run_command(
    package: Path, folder: Path, workflow: object, images: Path, *options: str
) -> Figures:
    """Run a command of the workbench in a package, as a process."""
    file = folder / "workflow.json"
    file.write_text(json.dumps(workflow))
    program = (sys.executable, "-m", "fractal_workbench", "run", file)
    given = ("--zarr-dir", folder, "--images", images, *options)
    return run("env", f"--chdir={package}", *program, *given)


def time_jobs(package: Path, folder: Path, images: Path) -> float:
    """Milliseconds of the processor that the engine takes for a job, which runs `true`."""
    from fractal_workbench.engine.runner import run_workflow

    start = time.process_time()
    with contextlib.redirect_stdout(io.StringIO()):
        left = run_workflow(
            WORKFLOW,
            zarr_dir=folder,
            images=json.loads(images.read_text()),
            workers=os.cpu_count(),
            package_root=package / "src" / "my_fractal_tasks",
            python="true",
        )
    return 1000 * (time.process_time() - start) / len(left)


def curves_of_lists(
    package: Path, folder: Path, numbers: Sequence[int], n_jobs: Sequence[int]
) -> Iterator[Curve]:
    """Time and memory of planning, and time of the engine, for lists of several lengths."""
    plans, jobs = {}, {}
    with tempfile.TemporaryDirectory(dir=folder) as name:
        place = Path(name).resolve()
        urls = [str(place / str(n)) for n in range(max(*numbers, *n_jobs))]
        for number in numbers:
            images = write_list(place, urls[:number])
            plans[number] = run_command(package, place, WORKFLOW, images, "--plan")
        for number in n_jobs:
            jobs[number] = time_jobs(package, place, write_list(place, urls[:number]))
    seconds = {number: plan.cpu for number, plan in plans.items()}
    yield Curve("planning", "images", "seconds", {"planning": seconds})
    peaks = {number: plan.peak for number, plan in plans.items()}
    yield Curve("memory of planning", "images", "MB", {"planning": peaks})
    yield Curve("jobs", "jobs", "ms a job", {"a job that does nothing": jobs})


def curves_of_page(package: Path, folder: Path) -> Iterator[Curve]:
    """Time and size of the page of a run that looks at a plate with labels and tables."""
    seconds, sizes = {}, {}
    for n in WELLS:
        place = folder / f"page{n}"
        place.mkdir()
        urls = write_plate(place / "plate.zarr", n, 1024, labels=True)
        images = write_list(place, urls)
        seconds[n] = run_command(package, place, LOOK, images).cpu
        sizes[n] = (place / "report.html").stat().st_size / 1e6
    yield Curve("page", "wells", "seconds of a run with its page", {"page": seconds})
    yield Curve("size of the page", "wells", "MB", {"page": sizes})


def step_done(number: int, made: str, images: list[Any], job: Any) -> Any:
    """Record of a step that has given all images something."""
    from fractal_workbench.engine.costs import Costs
    from fractal_workbench.engine.history import StepDone
    from fractal_workbench.engine.rules import Step, Task

    name = f"Make {made or 'images'}"
    step = {"task": {"pkg_name": "my-fractal-tasks", "name": name}, "args_parallel": {}}
    units = [job._replace(name=f"job of {image['zarr_url']}") for image in images]
    return StepDone(
        number=number,
        total=N_STEPS,
        package="my-fractal-tasks",
        version="1",
        task=Task(name=name, type="parallel"),
        step=Step.model_validate(step),
        filters={},
        before=images if number > 1 else [],
        inputs=[image["zarr_url"] for image in images] if number > 1 else [],
        after=images,
        units=units,
        costs=[Costs(name, "parallel", None, None, [unit.cost for unit in units])],
        seconds=1.0,
        error=None,
    )


def page_of_steps(folder: Path, n_wells: int) -> tuple[float, float]:
    """Seconds of the processor, and MB, of the page of ten steps on two acquisitions."""
    from my_fractal_tasks.kit.ngff import add_to_image
    from my_fractal_tasks.kit.plate import plate_position

    from fractal_workbench.engine.costs import Cost
    from fractal_workbench.engine.history import UnitDone
    from fractal_workbench.report.page import Report

    urls = write_plate(
        folder / "plate.zarr", n_wells, 1024, labels=True, acquisitions=2
    )
    images = [
        {
            "zarr_url": url,
            "origin": None,
            "attributes": plate_position(url),
            "types": {},
        }
        for url in urls
    ]
    job = UnitDone("", "parallel", {}, Cost(1.0, 1.0, 100.0), None, "ended\n", False)
    page = Report("Ten steps", folder, [], [])
    for number in range(1, N_STEPS + 1):
        made = ""
        if number > 1:
            kind, name = ("labels", "objects") if number % 2 else ("tables", "features")
            made = f"{name}{number}"
            for url in urls:
                source = Path(url, kind, name)
                target = source.with_name(made)
                shutil.copytree(source, target, copy_function=os.link)
                add_to_image(target)
        page.add(step_done(number, made, images, job))
    file = folder / "page.html"
    seconds = page.seconds
    start = time.process_time()
    page.write(file)
    return seconds + time.process_time() - start, file.stat().st_size / 1e6


def curves_of_steps(folder: Path) -> Iterator[Curve]:
    """Time and size of the page of a workflow of ten steps."""
    pages = {n: page_of_steps(folder / f"steps{n}", n) for n in WELLS}
    name = "two acquisitions"
    seconds = {n: time for n, (time, _) in pages.items()}
    yield Curve("page of ten steps", "wells", "seconds", {name: seconds})
    sizes = {n: size for n, (_, size) in pages.items()}
    yield Curve("size of the page of ten steps", "wells", "MB", {name: sizes})


def draw(curves: Sequence[Curve], file: Path) -> None:
    """Draw all curves, on logarithmic axes of numbers, from zero."""
    import matplotlib

    matplotlib.use("svg")
    import matplotlib.pyplot as plt

    plt.rcParams.update(
        {"svg.fonttype": "none", "svg.hashsalt": "scale", "font.size": 8}
    )
    n_rows = -(-len(curves) // 2)
    figure, axes = plt.subplots(n_rows, 2, figsize=(7, 2.4 * n_rows), squeeze=False)
    for curve, ax in zip(curves, axes.flat, strict=False):
        for name, line in curve.series.items():
            ax.plot(list(line), list(line.values()), "o-", ms=3, lw=1, label=name)
        numbers = sorted({n for line in curve.series.values() for n in line})
        ax.set_xscale("log")
        ax.set_xticks(numbers, [f"{n:,}".replace(",", " ") for n in numbers])
        ax.minorticks_off()
        ax.set(xlabel=curve.x, ylabel=curve.unit, title=curve.name)
        ax.set_ylim(bottom=0)
        if len(curve.series) > 1:
            ax.legend(frameon=False, fontsize=6)
    for ax in axes.flat[len(curves) :]:
        ax.set_visible(False)
    figure.tight_layout()
    figure.savefig(file, metadata={"Date": None})


def table(curves: Sequence[Curve]) -> list[str]:
    """Lines of a table with all figures."""
    lines = ["| curve | unit | line | figures |", "|---|---|---|---|"]
    for curve in curves:
        for name, line in curve.series.items():
            cells = ", ".join(
                f"{number}: {value:.3g}" for number, value in line.items()
            )
            lines.append(f"| {curve.name} | {curve.unit} | {name} | {cells} |")
    return lines


def measure(package: Path, folder: Path, args: argparse.Namespace) -> Iterator[Curve]:
    """Measure one curve after the other."""
    # Peak memory is that of the process that starts another, if this is more: these first.
    yield from curves_of_lists(package, folder, args.images, args.jobs)
    if not args.lists_only:
        yield curve_of_chunks(folder, args.rounds)
        yield curve_of_time_points(folder, args.rounds)
        yield curve_of_locks(folder)
        yield curve_of_tables(folder)
        yield from curves_of_page(package, folder)
        yield from curves_of_steps(folder)


def about(rounds: int) -> str:
    """Describe the machine and the versions."""
    versions = f"Python {platform.python_version()}, zarr {version('zarr')}"
    processors = len(os.sched_getaffinity(0))
    return f"{processors} processors, the fastest of {rounds} runs, {versions}."


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("package", type=Path, help="with all examples")
    parser.add_argument("--images", nargs="+", type=int, default=N_IMAGES)
    parser.add_argument("--jobs", nargs="+", type=int, default=N_JOBS)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--lists-only", action="store_true", help="no pixels")
    parser.add_argument("--write", action="store_true", help="also write docs")
    args = parser.parse_args(arguments)
    package = args.package.resolve()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve()
        curves = []
        for curve in measure(package, folder, args):
            curves.append(curve)
            print("\n".join(table([curve])[2:]), flush=True)
    if args.write:
        docs = HERE.parent / "docs" / "explanation"
        draw(curves, docs / "scale.svg")
        write_table("scale", [about(args.rounds), "", *table(curves)])


if __name__ == "__main__":
    main()
