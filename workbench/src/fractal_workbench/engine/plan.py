"""The plan of a workflow: expected inputs and outputs of each step."""

import json
import re
import subprocess
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from .. import kit
from ..project import MANIFEST
from . import dry_run, processes, rules
from .logs import messages
from .rules import Image, Job, Package, Planned, Step, Task, count_of

Types = Mapping[str, bool]
MAX_WELLS = 8  # that are named
MAX_MESSAGES = 20  # of a converter
MAX_OPENED = 200  # images of a step, which are looked at
MAX_PROBLEMS = 5  # of these, which are shown


def plan(
    job: Job, steps: Sequence[Planned], *, count_jobs: bool = False
) -> Iterator[str]:
    """Yield a few lines for each step.

    How many images there are is known until the first task that may make or change some.

    Args:
        job: The workflow, and the images to begin with.
        steps: Its steps with their tasks.
        count_jobs: Whether the first part of a converter runs, if it is in the package of
            the current folder: in an empty folder, and with a guard against all changes
            elsewhere. It says which jobs there will be.

    Raises:
        WorkflowError: A task would find no image, or rejects its arguments; the message
            says why.
    """
    images: list[Image] | None = [image.model_dump() for image in job.images]
    filters = job.type_filters
    for number, (step, task, package) in enumerate(steps, 1):
        home = f", of {package.name} {package.version or ''}".rstrip()
        home = "" if job.package and package.name == job.package.name else home
        yield f"[{number}/{len(steps)}] {task.name} ({task.type}{home})"
        if not task.is_converter:
            wanted = filters | task.input_types | (step.type_filters or {})
            count = "images"
            if images is not None:
                taken = rules.select_images(images, wanted, job.attribute_filters)
                if not taken:
                    why = _why_none(images, wanted, job.attribute_filters)
                    raise rules.WorkflowError(f"{task.name!r} finds no image: {why}")
                count = f"{len(taken)} of {count_of(len(images), 'image')}"
            conditions = [f"{key} is {value}" for key, value in wanted.items()]
            conditions += [
                f"{key} in {list(values)}"
                for key, values in job.attribute_filters.items()
            ]
            where = " where " if conditions else ""
            yield f"    takes    {count}{where}{', '.join(conditions)}"
            if images is not None and count_jobs:
                problems = [*islice(_problems(taken[:MAX_OPENED], step), MAX_PROBLEMS)]
                yield from (f"    warns    {problem}" for problem in problems)
        jobs, said = _units(task), []
        if count_jobs and task.type == "converter_compound" and _is_own(package):
            counted, *said = _count_jobs(step, task, package, job.zarr_dir)
            jobs = f"once, then {counted}"
        yield f"    runs     {jobs}"
        yield from (f"    says     {message}" for message in said)
        types = [f"{key} = {value}" for key, value in task.output_types.items()]
        result = (
            "the first images" if task.is_converter else "images, the same or new ones"
        )
        yield f"    returns  {result}{', with ' if types else ''}{', '.join(types)}"
        for part in ("non_parallel", "parallel"):
            args = getattr(step, f"args_{part}") or {}
            for key, value in args.items():
                yield f"      {key} = {value!r}"
        filters = filters | task.output_types
        images = None


def _problems(images: Sequence[Image], step: Step) -> Iterator[str]:
    """Yield what images lack: themselves, or a channel that an argument names."""
    given = {**(step.args_non_parallel or {}), **(step.args_parallel or {})}
    channels = {
        key: value
        for key, value in given.items()
        if isinstance(value, Mapping) and value.keys() == {"mode", "identifier"}
    }
    for image in images:
        try:
            opened = kit.open_image(image["zarr_url"])
            for key, value in channels.items():
                opened.channel_index(kit.Channel.model_validate(value), key)
        except (OSError, ValueError) as error:
            yield str(error).splitlines()[0]


def _units(task: Task) -> str:
    """Describe the number of units of a task."""
    if task.type == "parallel":
        return "once for each of them"
    once = "once" if task.is_converter else "once for all of them"
    return (
        once
        if task.type.endswith("non_parallel")
        else f"{once}, then as often as that says"
    )


def _is_own(package: Package) -> bool:
    """Return whether a package is that of the current folder, and installed."""
    own = rules.find_own()
    is_own = own is not None and rules.normalise(own.name) == package.name
    return is_own and (package.root / MANIFEST).is_file()


def _count_jobs(step: Step, task: Task, package: Package, zarr_dir: str) -> list[str]:
    """Run the first part of a converter in an empty folder; count its jobs.

    Returns:
        How many jobs for how many images, and then the messages of this part.

    Raises:
        WorkflowError: It fails; the message has its reason.
    """
    executable = package.find_executable(task, "non_parallel")
    with tempfile.TemporaryDirectory(prefix="fractal-plan-") as name:
        folder = Path(name).resolve()
        args_json, out_json = folder / "args.json", folder / "out.json"
        (folder / "zarr_dir").mkdir()
        args = {**(step.args_non_parallel or {}), "zarr_dir": str(folder / "zarr_dir")}
        args_json.write_text(json.dumps(args), "utf-8")
        files = ["--args-json", str(args_json), "--out-json", str(out_json)]
        done = subprocess.run(
            [package.python, dry_run.__file__, str(folder), str(executable), *files],
            capture_output=True,
            text=True,
            check=False,
            env=processes.own_environment(package.root.parent),
        )
        if done.returncode:
            code = f"exit code {done.returncode}"
            reason = rules.WorkflowError(code, log=done.stderr).summary
            raise rules.WorkflowError(f"{task.name!r} would fail: {reason}")
        try:
            items = json.loads(out_json.read_text("utf-8"))["parallelization_list"]
            urls = {item["zarr_url"] for item in items}
        except (OSError, LookupError, TypeError, ValueError):
            return ["as often as that says"]
    jobs, images = count_of(len(items), "job"), count_of(len(urls), "image")
    log = done.stderr.replace(str(folder / "zarr_dir"), zarr_dir)
    return [f"{jobs} for {images}{in_wells(urls)}", *messages(log)[:MAX_MESSAGES]]


def in_wells(urls: Iterable[str]) -> str:
    """Name the wells of images, by their paths; nothing if some are in none."""
    wells = {Path(url).parent for url in urls}
    names = sorted({well.parent.name + well.name for well in wells})
    if not names or not all(re.fullmatch(r"[A-Z]{1,2}\d{1,2}", name) for name in names):
        return ""
    shown = (
        names if len(names) <= MAX_WELLS else [*names[: MAX_WELLS - 1], "…", names[-1]]
    )
    return f" in {count_of(len(wells), 'well')}: {', '.join(shown)}"


def _why_none(
    images: Sequence[Image], types: Types, attributes: Mapping[str, Sequence[Any]]
) -> str:
    """Explain why no image passes the filters."""
    if not images:
        return f"there are none: {rules.HOW_TO_HAVE_IMAGES}"
    for key, value in types.items():
        if not any(image["types"].get(key, False) == value for image in images):
            state = "is False or missing" if value else "is True"
            return f"{key} {state} in all of them"
    for key, values in attributes.items():
        known = {str(image["attributes"].get(key)) for image in images}
        if not any(image["attributes"].get(key) in values for image in images):
            return f"{key} is {', '.join(sorted(known))}, none of {list(values)}"
    return "no single image meets all conditions"
