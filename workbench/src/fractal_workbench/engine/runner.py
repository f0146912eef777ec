"""Run a workflow on this machine, under the rules of fractal-server.

Every job is a process of its own, every output is checked, and the image list is updated
and filtered as on the server. This is no scheduler: for a cluster, use the server.
"""

import json
import os
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import closing, suppress
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from pydantic import ValidationError

from ..kit.fractal import InitTaskOutput, TaskOutput, Types
from . import costs, logs, rules
from .history import StepDone, Unit, UnitDone
from .processes import Processes, own_environment
from .resume import Finished
from .rules import (
    Image,
    Job,
    OutputsLost,
    Planned,
    Step,
    Task,
    WorkflowError,
    warn,
)

MAX_UNITS = 20_000
MAX_ROWS = 50
MAX_LOG = 4000  # characters that are kept of a successful unit
# Where tasks may keep models: servers set this too. It stays, for the next workflow. Who has
# no home gets none: what others can write to is no place for what is loaded.
CACHE: dict[str, str] = {}
with suppress(RuntimeError):
    CACHE["FRACTAL_CACHE_DIR"] = str(Path.home() / ".cache" / "fractal")

Output = TypeVar("Output", TaskOutput, InitTaskOutput)


class Run(NamedTuple):
    """Shared state of the steps of a workflow.

    Attributes:
        job: What the workflow was given.
        processes: Those that run its units.
        finished: Where the outputs of units are kept, to be reused.
        progress: Called as units end: how many, of how many, after how many seconds.
    """

    job: Job
    processes: Processes
    finished: Finished | None
    progress: Callable[[int, int, float], None]


def print_progress(done: int, total: int, seconds: float) -> None:
    """Print about ten lines for each step."""
    if done == total or (done and done % (total // 10 + 1) == 0):
        print(
            f"  {done} of {rules.count_of(total, 'job')}, {seconds:.1f} s", flush=True
        )


def run_workflow(
    workflow: str | Path | Mapping[str, Any],
    *,
    zarr_dir: str | Path,
    images: Iterable[Mapping[str, Any]] = (),
    finished: Finished | None = None,
    watch: Callable[[StepDone], None] = lambda done: None,
    progress: Callable[[int, int, float], None] = print_progress,
    **options: Any,
) -> list[Image]:
    """Run a workflow, print its progress, and return the final image list.

    Args:
        workflow: The workflow, or its file.
        zarr_dir: The folder below which tasks create images.
        images: The image list to begin with.
        finished: Where the outputs of units are kept, and taken from.
        watch: Called after each step, also after the one that failed.
        progress: Called as units end: how many, of how many, after how many seconds.
        **options: What else a `Job` has: workers, type_filters, attribute_filters;
            packages, by their names, that are not installed beside this one; or manifest,
            package_root and python for other tasks than this package's.

    Raises:
        WorkflowError: If the input is not valid, or a task fails.
    """
    image_list: list[Any] = [*images]
    spent: list[costs.Costs] = []
    number = name = None
    try:
        given = options | {"workflow": workflow, "images": image_list}
        job = rules.read_job(zarr_dir=str(zarr_dir), **given)
        steps = rules.find_tasks(job)
        if mistakes := [m for step in steps for m in rules.check_resources(*step[:2])]:
            raise WorkflowError("\n".join(mistakes))
        image_list = [image.model_dump() for image in job.images]
        filters = job.type_filters
        root = job.package_root
        kept = own_environment(root.parent if root else None)
        if os.environ.get("PYTHONPATH") != kept.get("PYTHONPATH"):
            print("PYTHONPATH is left out: a task imports what its interpreter has")
        with (
            tempfile.TemporaryDirectory(prefix="fractal-") as folder,
            closing(Processes(CACHE)) as processes,
        ):
            run = Run(job, processes, finished, progress)
            for number, planned in enumerate(steps, 1):
                name = planned.task.name
                kind = planned.task.type
                print(f"\n[{number}/{len(steps)}] {name} ({kind})", flush=True)
                own = Path(folder, str(number))
                done = run_task(run, number, planned, image_list, filters, own)
                done = done._replace(total=len(steps))
                image_list = done.after
                spent += done.costs
                watch(done)
                if done.error:
                    raise done.error
                filters = filters | planned.task.output_types
    except WorkflowError as error:
        error.number, error.task, error.images = number, name, image_list
        raise
    finally:
        costs.show(spent)
    return image_list


def run_task(
    run: Run,
    number: int,
    planned: Planned,
    images: list[Image],
    filters: Types,
    folder: Path,
) -> StepDone:
    """Run a task; the result says whether it failed."""
    start = time.monotonic()
    step, task, package = planned
    if not task.is_converter:
        filters = filters | task.input_types | (step.type_filters or {})
    inputs: list[Image] = []
    ended: list[UnitDone] = []
    after = images
    error: WorkflowError | None = None
    try:
        if not task.is_converter:
            inputs = rules.select_images(images, filters, run.job.attribute_filters)
        show_images("before (* input)", images, inputs, "*", run.job.zarr_dir)
        if not inputs and not task.is_converter:
            raise WorkflowError(
                f"no image has the types {filters} and attributes "
                f"{run.job.attribute_filters}"
                if images
                else f"there are no images: {rules.HOW_TO_HAVE_IMAGES}"
            )
        urls = [image["zarr_url"] for image in inputs]
        units = plan_units(run, number, planned, urls, folder, ended)
        after, error = update_list(run, planned, urls, images, units, ended)
    except WorkflowError as failure:
        error = failure
    return StepDone(
        number=number,
        total=number,
        package=package.name,
        version=package.version,
        task=task,
        step=step,
        filters=filters,
        before=images,
        inputs=[image["zarr_url"] for image in inputs],
        after=after,
        units=ended,
        costs=sum_costs(step, task, ended),
        seconds=time.monotonic() - start,
        error=error,
        later=run.finished.made_after(number) if run.finished else frozenset(),
    )


def update_list(
    run: Run,
    planned: Planned,
    urls: list[str],
    images: list[Image],
    units: list[Unit],
    ended: list[UnitDone],
) -> tuple[list[Image], WorkflowError | None]:
    """Run units; return the new image list, and the first failure."""
    task = planned.task
    outputs = [] if units else [TaskOutput()]
    failures = []
    for unit, future in zip(units, run_units(run, units), strict=True):
        try:
            outputs.append(read_output(TaskOutput, unit, future, run, ended))
        except WorkflowError as error:
            failures.append(error)
    for failure in failures[:MAX_ROWS]:
        print(f"  failed: {failure.unit}: {failure.summary}")
    if len(failures) > MAX_ROWS:
        print(f"  failed: {rules.count_of(len(failures) - MAX_ROWS, 'more job')}")
    for failure in failures:
        if isinstance(failure, OutputsLost):
            raise failure
    zarr_dir = run.job.zarr_dir
    output = rules.merge_units(outputs, task, urls)
    after = rules.update_images(images, output, task, zarr_dir)
    updates = {update.zarr_url for update in output.image_list_updates}
    updated = [image for image in after if image["zarr_url"] in updates]
    show_images("after (+ new or updated)", after, updated, "+", zarr_dir)
    return after, failures[0] if failures else None


def sum_costs(step: Step, task: Task, units: list[UnitDone]) -> list[costs.Costs]:
    """Return the costs of a task, for each part of it that ran."""
    parts = []
    for part in ("non_parallel", "parallel"):
        meta = rules.requested(step, task, part)
        spent = [unit.cost for unit in units if unit.part == part and unit.cost]
        if spent:
            parts.append(costs.sum_up(task.name, part, meta, spent))
    return parts


def plan_units(
    run: Run,
    number: int,
    planned: Planned,
    urls: list[str],
    folder: Path,
    ended: list[UnitDone],
) -> list[Unit]:
    """Return the units of a task; the init function of a compound task lists them."""
    step, task, package = planned
    calls: list[dict[str, Any]] = [{"zarr_url": url} for url in urls]
    if task.type != "parallel":
        args: dict[str, Any] = step.args_non_parallel or {}
        args = {"zarr_dir": run.job.zarr_dir, **args}
        if not task.is_converter:
            args["zarr_urls"] = urls
        part = "non_parallel"
        executable = package.find_executable(task, part)
        own = folder / part
        unit = Unit("non-parallel job", number, part, package, executable, args, own)
        if task.type.endswith("non_parallel"):
            return [unit]
        (future,) = run_units(run, [unit])
        init = read_output(InitTaskOutput, unit, future, run, ended)
        distinct: dict[Any, dict[str, Any]] = {}
        for item in init.parallelization_list:
            call = item.model_dump()
            distinct.setdefault(_frozen(call), call)
        calls = [*distinct.values()]
    if len(calls) > MAX_UNITS:
        raise WorkflowError(
            f"{len(calls)} jobs, and the server allows {MAX_UNITS}: run the step on fewer "
            "images at a time"
        )
    return [
        Unit(
            f"job {index} ({call['zarr_url']})",
            number,
            "parallel",
            package,
            package.find_executable(task, "parallel"),
            call | (step.args_parallel or {}),
            folder / str(index),
        )
        for index, call in enumerate(calls, 1)
    ]


def _frozen(value: Any) -> Any:
    """Return a hashable value; as on the server, 1 and True are equal."""
    if isinstance(value, dict):
        return frozenset((key, _frozen(item)) for key, item in value.items())
    return tuple(map(_frozen, value)) if isinstance(value, list) else value


def run_units(run: Run, units: list[Unit]) -> list[Future[Any]]:
    """Run units to their ends, a few at a time, or kill them when interrupted."""
    start, total = time.monotonic(), len(units)
    futures: list[Future[Any]] = []
    call = partial(run_unit, processes=run.processes)
    if run.finished and units:
        if known := run.finished.find(units):
            jobs = rules.count_of(total, "job")
            print(f"  {known} of {jobs} reused from the last run")
        call = partial(run.finished.run, call)
    with ThreadPoolExecutor(run.job.workers) as pool:
        try:
            for unit in units:
                futures.append(pool.submit(call, unit))
            for done, _ in enumerate(chain([None], as_completed(futures))):
                run.progress(done, total, time.monotonic() - start)
        except BaseException as error:
            pairs = zip(units, futures, strict=False)
            killed = [unit.name for unit, future in pairs if future.running()]
            error.add_note(f"killed: {', '.join(killed)}")
            pool.shutdown(wait=False, cancel_futures=True)
            while not all(future.done() for future in futures):
                with suppress(KeyboardInterrupt):  # of the impatient
                    run.processes.kill()
                    time.sleep(0.01)
            raise
    if noisy := sum("warning" in unit.log().lower() for unit in units):
        flagged = rules.count_of(noisy, "job")
        warn(f"newer servers flag {flagged}, as 'warning' occurs in the log")
    if silent := sum(not f.exception() and f.result() is None for f in futures):
        affected = rules.count_of(silent, "job")
        warn(f"{affected} wrote no output, which the server takes for an empty one")
    return futures


def run_unit(unit: Unit, processes: Processes) -> Any:
    """Run a unit as the server does; return its output, None without any."""
    args_json, out_json = unit.folder / "args.json", unit.folder / "out.json"
    files = ["--args-json", str(args_json), "--out-json", str(out_json)]
    try:
        unit.folder.mkdir(parents=True)
        args_json.write_text(json.dumps(unit.args), "utf-8")
        command = [unit.package.python, str(unit.executable), *files]
        log, home = unit.folder / "log.txt", unit.package.root.parent
        if code := processes.run(command, log, home):
            death = f"exit code {code}" if code > 0 else f"killed by signal {-code}"
            raise WorkflowError(death)
        return json.loads(out_json.read_text("utf-8")) if out_json.exists() else None
    except (OSError, ValueError, RecursionError) as error:
        raise WorkflowError(f"cannot be run, or wrote no JSON: {error}") from error


def read_output(
    model: type[Output],
    unit: Unit,
    future: Future[Any],
    run: Run,
    ended: list[UnitDone],
) -> Output:
    """Return the validated output of a unit, which has ended."""
    done = UnitDone(
        name=unit.name,
        part=unit.part,
        args=unit.args,
        cost=costs.read(unit.folder),
        reason=None,
        log="",
        reused=not (unit.folder / "args.json").exists(),
    )
    try:
        output = parse_output(model, unit, future)
    except WorkflowError as error:
        error.unit, error.log = unit.name, unit.log()
        if run.finished:
            run.finished.forget(unit)
        ended.append(done._replace(reason=error.summary, log=error.log, reused=False))
        raise
    ended.append(done._replace(log=logs.excerpt(unit.log(), MAX_LOG)))
    return output


def parse_output(model: type[Output], unit: Unit, future: Future[Any]) -> Output:
    """Parse the output of a unit; no output counts as an empty one."""
    output = future.result()
    if output is None:
        return model()
    if not isinstance(output, dict):
        raise OutputsLost(f"the output is not a JSON object: {output!r:.100}")
    rules.drop_unknown(output.get("image_list_updates"), unit.name)
    try:
        return model.model_validate(output)
    except ValidationError as mistakes:
        kinds = {mistake["type"] for mistake in mistakes.errors()}
        failed = OutputsLost if kinds == {"not_storable"} else WorkflowError
        raise failed(rules.explain(mistakes)) from mistakes


def show_images(
    title: str, images: list[Image], marked: list[Image], mark: str, zarr_dir: str
) -> None:
    """Print an image list as a table with a column for each attribute and type."""
    print(f"  {title}: {rules.count_of(len(images), 'image')}")
    kinds = ("attributes", "types")
    columns = sorted({(k, name) for i in images for k in kinds for name in i[k]})
    marks = {id(image) for image in marked}
    table = [["", "image", *(name for _, name in columns)]] if images else []
    for image in images[:MAX_ROWS]:
        cells = [str(image[kind].get(name, "")) for kind, name in columns]
        url = image["zarr_url"].removeprefix(f"{zarr_dir}/")
        table.append([mark if id(image) in marks else "", url, *cells])
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for row in table:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        print("   ", rules.printable(" ".join(cells).rstrip()))
    if len(images) > MAX_ROWS:
        print(f"    ... and {len(images) - MAX_ROWS} more")
