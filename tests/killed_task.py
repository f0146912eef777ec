"""Run a task and kill it when it is about to touch the file system for the n-th time."""

import importlib
import json
import multiprocessing
import os
import re
import signal
import sys
from functools import partial
from pathlib import Path
from typing import Any

# Imports the tasks once; each run is a fork of it.
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(
    [
        "my_fractal_tasks.aggregate_tables",
        "my_fractal_tasks.convert_tiffs_compute",
        "my_fractal_tasks.convert_tiffs_init",
        "my_fractal_tasks.gaussian_blur",
        "my_fractal_tasks.measure_features",
        "my_fractal_tasks.model_segmentation",
        "my_fractal_tasks.project_image_compute",
        "my_fractal_tasks.project_image_init",
        "my_fractal_tasks.threshold_segmentation",
        "my_fractal_tasks.register_acquisitions_compute",
        "scipy.sparse.csgraph",
    ]
)
COUNTED = {"os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.link", "shutil.rmtree"}
# What a task puts beside its image, and its output.
HIDDEN = re.compile(
    r"\..+\.([0-9a-f]{8}-[0-9]+-[0-9a-f]{8}\.partial|old|lock)|out\.json"
)


def run_and_kill(
    task: str, arguments: dict[str, Any], at: int = 0, *, exchange: bool = True
) -> list[int] | None:
    """Run a task as a process; its output is `out.json` beside the image.

    Args:
        task: Name of the task, or one of `COMPOUND` for both of its parts.
        arguments: Its arguments.
        at: When to kill it; with 0, it runs to its end.
        exchange: Whether the file system can exchange two folders.

    Returns:
        None if it was killed; else the moments when folders appeared or went.
    """
    url = arguments.get("zarr_url") or f"{arguments['zarr_dir']}/plate.zarr"
    output = Path(url).with_name("out.json")
    output.unlink(missing_ok=True)
    moments, result = CONTEXT.Pipe(duplex=False)
    process = CONTEXT.Process(
        target=_run, args=(task, arguments, output, at, exchange, result)
    )
    process.start()
    result.close()
    process.join()
    if process.exitcode == -signal.SIGKILL:
        return None
    assert process.exitcode == 0
    return moments.recv()


COMPOUND = ("convert_tiffs", "project_image")


def import_function(name: str) -> Any:
    """The function of a task, or of one of its parts."""
    return getattr(importlib.import_module(f"my_fractal_tasks.{name}"), name)


def run_both(task: str, **arguments: Any) -> list[dict[str, Any]]:
    """Run a compound task as Fractal does: the init part says what the units are."""
    init, compute = (import_function(f"{task}_{part}") for part in ("init", "compute"))
    return [compute(**unit) for unit in init(**arguments)["parallelization_list"]]


def _run(
    task: str,
    arguments: dict[str, Any],
    output: Path,
    at: int,
    exchange: bool,
    result: Any,
) -> None:
    import zarr
    from my_fractal_tasks.kit import publish

    # Which of two threads makes a folder first would change the count, and bytecode too.
    os.sched_getaffinity = lambda _: {0}
    sys.dont_write_bytecode = True
    zarr.config.set({"async.concurrency": 1, "threading.max_workers": 1})
    publish.LOCK_EXPIRES = 0.5
    if not exchange:
        publish._exchange = lambda *_: False
    is_compound = task in COMPOUND
    function = partial(run_both, task) if is_compound else import_function(task)
    count = 0
    moments = []

    def hook(event: str, args: tuple[Any, ...]) -> None:
        nonlocal count
        if event in COUNTED or (event == "open" and args[1] and "r" not in args[1]):
            count += 1
            if any(HIDDEN.fullmatch(Path(str(arg)).name) for arg in args[:2]):
                moments.append(count)
            if count == at:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)
    output.write_text(json.dumps(function(**arguments)))
    result.send([1, count // 2, *moments, count])
