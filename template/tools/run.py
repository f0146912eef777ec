# /// script
# dependencies = ["jinja2", "jsonschema", "matplotlib", "packaging", "pillow", "pip", "rich"]
# ///
"""Run a workflow of tasks of any packages, and leave a page that shows what it did.

    nox -s run -- WORKFLOW.json --zarr-dir DIR

A task of another package is run by what is installed beside this one, if that has the
version that the workflow names; otherwise the package is installed for it, in an
environment of its own, which is kept. All steps are checked before anything is installed,
and what is to be installed is listed, and needs your agreement.
"""

import argparse
import json
import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from importlib import import_module
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

import choices
import packages
from finished import Finished
from package import PACKAGE
from plan import plan
from told import as_json

local = import_module(f"{PACKAGE.name}.dev.run_workflow")
rules = import_module(f"{PACKAGE.name}.dev.server_rules")

Image = dict[str, Any]


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
    told: Path | None = None,
    record: str = "",
    **options: Any,
) -> list[Image]:
    """Run a workflow, and return the image list that it leaves.

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
        only_plan: Say what would be run, and run nothing.
        told: A file that gets what happened, for programs.
        record: Name of a test that the run becomes, if it ends well.
        **options: What else `run_workflow` takes.

    Raises:
        WorkflowError: If something is wrong, with a line for each mistake; or if a task fails.
    """
    zarr_dir = Path(zarr_dir)
    report = report or zarr_dir / "report.html"
    given = options | {"zarr_dir": str(zarr_dir), "images": [*images]}
    job = rules.read_job(workflow=workflow, **given)
    as_given = job.workflow.model_dump(exclude_none=True)
    pairs = interpreters.items() if isinstance(interpreters, Mapping) else interpreters
    agree = partial(packages.confirm, agreed=yes)
    with tempfile.TemporaryDirectory(prefix="fractal-packages-") as folder:
        builds = {} if only_plan else {"agree": agree}
        found = choices.find_packages(
            job.workflow, requirements, pairs, Path(folder), **builds
        )
    planned = choices.find_tasks(job, found)
    lines = [*map(rules.printable, plan(job, planned))]
    print(*lines, sep="\n", flush=True)
    if only_plan:
        return [image.model_dump() for image in job.images]
    packages.agree_to(found.releases.values(), agree)
    installed: dict[str, Any] = {}
    for key, release in found.releases.items():
        text = str(release.requirement)
        installed[text] = installed.get(text) or packages.install(release)
        found.packages[key] = installed[text]

    # What is wrong is told before these are imported, which takes seconds.
    from record import Recording
    from report import Report

    recording = (
        Recording(record, as_given, zarr_dir, given["images"]) if record else None
    )
    steps: list[Any] = []
    name = job.workflow.name
    finished = Finished(zarr_dir, resume=resume)
    page = Report(name, zarr_dir, given["images"], lines)

    def watch(done: Any) -> None:
        steps.append(done)
        page.add(done)

    try:
        with progress_bar() as progress:
            result: list[Image] = local.run_workflow(
                workflow,
                **given,
                packages=found.packages,
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
        if told:
            told.write_text(json.dumps(as_json(steps), indent=2), "utf-8")
        page.write(report)
        print(f"\nWhat it did: {report}", flush=True)


@contextmanager
def progress_bar() -> Iterator[Any]:
    """A bar with a time to go on a terminal, and plain lines in a log."""
    console = Console()
    if not console.is_terminal:
        yield local.print_progress
        return
    columns = (
        TextColumn("  units"),
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
                bars.console.print(f"  {total} units, {seconds:.1f} s", highlight=False)

        yield show


def pair(text: str) -> tuple[str, str]:
    """Split `NAME=INTERPRETER`, or `NAME==VERSION=INTERPRETER`."""
    found = re.fullmatch("([^=]+(?:==[^=]+)?)=([^=].*)", text)
    if not found or not Path(found[2]).is_file():
        raise argparse.ArgumentTypeError(
            f"{text!r} is not NAME=INTERPRETER, of a file, or NAME==VERSION=INTERPRETER"
        )
    return found[1], str(Path(found[2]).absolute())


def main() -> None:
    """Run a workflow from the command line."""
    parser = argparse.ArgumentParser(
        prog="nox -s run --",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    local.add_arguments(parser)
    parser.add_argument(
        "--report", type=Path, help="the page; default: report.html in the folder"
    )
    parser.add_argument(
        "--plan",
        dest="only_plan",
        action="store_true",
        help="check, say what would run, and run nothing",
    )
    parser.add_argument(
        "--resume",
        action="store_true",
        help="reuse what the last run in this folder has done: run what failed, and all "
        "after the first step whose arguments, code, inputs or results have changed",
    )
    parser.add_argument(
        "--with",
        dest="requirements",
        metavar="REQUIREMENT",
        action="append",
        default=[],
        help="install this of a package: `name[extra]`, `name @ URL`; with `==1.2`, for the "
        "steps of that version, or in place of the only one",
    )
    parser.add_argument(
        "--env",
        dest="interpreters",
        metavar="NAME[==VERSION]=INTERPRETER",
        action="append",
        type=pair,
        default=[],
        help="run the tasks of a package by an interpreter that has it",
    )
    parser.add_argument(
        "--yes",
        action="store_true",
        help="install what the workflow names without a question",
    )
    parser.add_argument(
        "--record",
        metavar="NAME",
        default="",
        help="make a test of this run, on small data: tests/test_NAME.py",
    )
    parser.add_argument("--json", dest="told", type=Path, help="what happened, as JSON")
    local.call_from_command_line(parser, run)


if __name__ == "__main__":
    main()
