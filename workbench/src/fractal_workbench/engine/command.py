"""Run a workflow of tasks of any packages, and write a page about it."""

import json
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from . import choices, packages, rules
from . import runner as local
from .history import StepDone
from .plan import plan
from .resume import Finished
from .rules import Image
from .run_json import as_json


def run(
    workflow: str | Path | Mapping[str, Any],
    zarr_dir: str | Path,
    images: Iterable[Image] = (),
    *,
    report: Path | None = None,
    requirements: Iterable[str] = (),
    interpreters: Mapping[str, str] | Iterable[tuple[str, str]] = (),
    yes: bool = False,
    resume: bool = False,
    only_plan: bool = False,
    run_json: Path | None = None,
    record: str = "",
    view: str = "",
    part: str = "",
    **options: Any,
) -> list[Image]:
    """Run a workflow, and return the final image list.

    Args:
        workflow: The workflow, or its file.
        zarr_dir: The folder of the images.
        images: The image list to begin with.
        report: The page to write, also if the workflow fails; default: report.html in
            the folder.
        requirements: What to install of packages, instead of the versions in the workflow.
        interpreters: For packages that are installed elsewhere, their interpreters: by
            `name`, or `name==1.2`.
        yes: Whether what is to be installed is agreed to.
        resume: Whether what the last run in this folder has done is reused.
        only_plan: Say what would be run, and write nothing.
        run_json: A file that gets what happened, for programs.
        record: Name of a test that the run becomes, if it ends well.
        view: Beginning of the URLs of a viewer, which the path of an image in the folder
            completes.
        part: Copy only that of the images, beside the folder, and run on the copy: `A01`,
            `A01:512` for pixels of its middle, or `A01:FOV_ROI_table/1`. Without images,
            a well: its files are copied, of the folders that the first step is given.
        **options: What else `run_workflow` takes.

    Raises:
        WorkflowError: If something is wrong, with a line for each mistake; or if a task fails.
    """
    zarr_dir = Path(zarr_dir)
    images = [*images]
    check_files(report=report, json=run_json)
    if part:
        if only_plan or resume or record:
            raise rules.WorkflowError(
                "--try runs on a new copy: leave out --plan, --resume and --record"
            )
        whole = rules.read_job(
            workflow=workflow, zarr_dir=str(zarr_dir), images=images, **options
        )
        from .subset import copy_files, copy_part

        if images:
            images, zarr_dir = copy_part(images, zarr_dir, part)
        else:  # it begins with a converter
            workflow = whole.workflow.model_dump(exclude_none=True)
            workflow, zarr_dir = copy_files(workflow, zarr_dir, part)
        print(f"A copy of {part}: {zarr_dir}", flush=True)
    report = report or zarr_dir / "report.html"
    given = options | {"zarr_dir": str(zarr_dir), "images": [*images]}
    job = rules.read_job(workflow=workflow, **given)
    as_given = job.workflow.model_dump(exclude_none=True)
    requirements = [*requirements]
    pairs = [
        *(interpreters.items() if isinstance(interpreters, Mapping) else interpreters)
    ]
    agree = partial(packages.confirm, agreed=yes)
    with tempfile.TemporaryDirectory(prefix="fractal-packages-") as folder:
        builds = {} if only_plan else {"agree": agree}
        resolved = choices.find_packages(
            job.workflow, requirements, pairs, Path(folder), **builds, with_own=True
        )
    planned = choices.find_tasks(job, resolved)
    lines = [*map(rules.printable, plan(job, planned, count_jobs=only_plan))]
    print(*lines, sep="\n", flush=True)
    if only_plan:
        return [image.model_dump() for image in job.images]
    packages.agree_to(resolved.releases.values(), agree)
    installed: dict[str, rules.Package] = {}
    for key, release in resolved.releases.items():
        text = str(release.requirement)
        installed[text] = installed.get(text) or packages.install(release)
        resolved.packages[key] = installed[text]

    # What is wrong is told before these are imported, which takes seconds.
    from ..report.page import Report
    from .record import Recording

    recording = (
        Recording(record, as_given, zarr_dir, given["images"]) if record else None
    )
    steps: list[StepDone] = []
    name = job.workflow.name
    finished = Finished(zarr_dir, resume=resume)
    page = Report(
        name,
        zarr_dir,
        [image.model_dump() for image in job.images],
        lines,
        as_given,
        as_options(requirements, pairs, options),
        view,
        finished.made_after(0),
        planned,
        time.time_ns(),
    )

    def watch(done: StepDone) -> None:
        steps.append(done)
        page.add(done)

    try:
        with progress_bar() as progress:
            result = local.run_workflow(
                workflow,
                **given,
                packages=resolved.packages,
                finished=finished,
                watch=watch,
                progress=progress,
            )
        if recording:
            recording.finish(result)
        return result
    except BaseException:
        if recording:
            recording.discard()
        raise
    finally:
        finished.close()
        if run_json:
            run_json.write_text(json.dumps(as_json(steps), indent=2), "utf-8")
        if page.write(report):
            print(f"\nWhat it did: {report}", flush=True)


def check_files(**files: Path | None) -> None:
    """Reject the file of an option that cannot be written, before anything runs.

    Raises:
        WorkflowError: It is a folder, or its folder does not exist.
    """
    for option, file in files.items():
        if file and file.is_dir():
            raise rules.WorkflowError(f"--{option}: {file} is a folder: name a file")
        if file and not file.absolute().parent.is_dir():
            raise rules.WorkflowError(
                f"--{option}: there is no folder {file.absolute().parent}: make it, or name "
                "another file"
            )


def as_options(
    requirements: Iterable[str],
    interpreters: Iterable[tuple[str, str]],
    options: Mapping[str, Any],
) -> list[str]:
    """Return the options of a command line that runs a workflow with the same packages."""
    given = [text for wanted in requirements for text in ("--with", wanted)]
    for name, python in interpreters:
        given += ["--env", f"{name}={python}"]
    if options.get("workers"):
        given += ["--workers", str(options["workers"])]
    return given


@contextmanager
def progress_bar() -> Iterator[Callable[[int, int, float], None]]:
    """A bar with a time to go on a terminal, and plain lines in a log."""
    console = Console()
    if not console.is_terminal:
        yield local.print_progress
        return
    columns = (
        TextColumn("  jobs"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("to go"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as bars:
        bar = bars.add_task("", visible=False)

        def show(done: int, total: int, seconds: float) -> None:
            if done == 0:
                bars.reset(bar, total=total, visible=True)
            bars.update(bar, completed=done)
            if done == total:
                bars.update(bar, visible=False)
                jobs = rules.count_of(total, "job")
                bars.console.print(f"  {jobs}, {seconds:.1f} s", highlight=False)

        yield show
