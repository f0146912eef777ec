"""Run a workflow on a real fractal-server, and compare with a local run."""

import ctypes
import json
import os
import shutil
import signal
import sys
import tomllib
from difflib import unified_diff
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import httpx

from ..engine import choices, packages, rules, runner
from ..engine.history import StepDone
from ..engine.run_json import as_json
from ..project import project
from .client import EMAIL, FractalServer, Image, TaskGroup
from .services import say, start_server
from .slurm import (
    Requests,
    SlurmJob,
    check_programs,
    read_jobs,
    read_requests,
    show_jobs,
)
from .watchdog import ServerError, run


class Submission(NamedTuple):
    """A checked workflow, and its packages.

    Attributes:
        workflow: The workflow, or the `data` of the template.
        template: The whole file, if it is a template of workflows.
        packages: Other packages of the workflow, by the names that its steps give.
        planned: Its steps with their tasks.
    """

    workflow: dict[str, Any]
    template: dict[str, Any] | None
    packages: dict[str, rules.Package]
    planned: list[rules.Planned]


def relocate(images: list[Image], old: str, new: str) -> list[Image]:
    """Return an image list with its paths in another folder."""
    return [
        image
        | {
            key: os.path.normpath(f"{new}/{os.path.relpath(image[key], old)}")
            for key in ("zarr_url", "origin")
            if image.get(key)
        }
        for image in images
    ]


def collect(server: FractalServer, folder: Path) -> TaskGroup:
    """Build and collect the wheel of this package; return the group of its tasks."""
    run(
        [sys.executable, "-m", "build", "--wheel", "--outdir", folder, project().folder]
    )
    (wheel,) = folder.glob("*.whl")
    say(f"built {wheel.name}")
    pyproject = tomllib.loads(project().pyproject.read_text(encoding="utf-8"))
    extras = pyproject["project"].get("optional-dependencies", {})
    group = server.collect(wheel, "model" if "model" in extras else "")
    show_group(group, " with its extra model" if "model" in extras else "")
    return group


def collect_all(
    server: FractalServer, folder: Path, submission: Submission | None
) -> dict[str, TaskGroup]:
    """Collect this package, and others by name and version; return their groups.

    Raises:
        ServerError: The server would not import the workflow.
    """
    steps = submission.workflow["task_list"] if submission else []
    tasks = [step["task"] for step in steps]
    unnamed = [task["name"] for task in tasks if not task.get("version")]
    if unnamed and not server.is_old:
        version = project().read_version()
        hint = f'; that of {project().name} is "{version}"' if version else ""
        raise ServerError(
            f"{', '.join(map(repr, unnamed))}: a server imports no step without the "
            f'version of its package. Write "version": "..." beside "pkg_name"{hint}.'
        )
    groups = {project().name: collect(server, folder)}
    collected: dict[tuple[str, str | None], TaskGroup] = {}
    for key, package in submission.packages.items() if submission else ():
        release = package.name, package.version
        if release not in collected:
            collected[release] = server.collect_release(*release)
            show_group(collected[release])
        groups[key] = collected[release]
    return groups


def show_group(group: TaskGroup, extra: str = "") -> None:
    """Print the tasks that were collected."""
    say(f"collected {group['pkg_name']} {group['version']}{extra}, which offers")
    for task in group["task_list"]:
        print(f"    {task['name']} ({task['type']})")


def collected_package(group: TaskGroup) -> rules.Package:
    """Return a package in the environment that the server made for it."""
    venv, module = Path(group["venv_path"]), group["pkg_name"].replace("-", "_")
    (root,) = venv.glob(f"lib/python*/site-packages/{module}")
    python = str(venv / "bin" / "python")
    return packages.read_root(group["pkg_name"], group["version"], root, python)


def compare(
    server: FractalServer,
    folder: Path,
    groups: dict[str, TaskGroup],
    workflow: dict[str, Any],
    zarr_dir: str,
    images: list[Image],
    requests: Requests | None,
    run_json: Path | None,
) -> bool:
    """Run a workflow on the server and locally; return whether both succeed alike."""
    local_dir = str(folder / "local")
    if Path(zarr_dir).exists():
        shutil.copytree(zarr_dir, local_dir, symlinks=True)

    say("the server runs the workflow")
    theirs, log = server.run(workflow, zarr_dir, images)
    say(f"the server's job has {'failed' if log else 'succeeded'}")
    if log:
        print(f"\n{log}\n")
    runner.show_images("image list", theirs, [], "", zarr_dir)
    jobs: list[SlurmJob] = []
    as_requested = True
    if requests is not None:
        jobs = read_jobs(folder / "slurm")
        as_requested = show_jobs(jobs, requests, is_complete=not log)

    # In the environments that the server made, only the runner is another.
    own, *groups_of_others = map(collected_package, groups.values())
    steps: list[StepDone] = []
    error: rules.WorkflowError | None = None
    try:
        ours = runner.run_workflow(
            workflow,
            zarr_dir=local_dir,
            images=relocate(images, zarr_dir, local_dir),
            manifest=own.manifest.model_dump(),
            package_root=own.root,
            python=own.python,
            packages=dict(zip([*groups][1:], groups_of_others, strict=True)),
            watch=steps.append,
        )
    except rules.WorkflowError as failure:
        error, ours = failure, failure.images
        print(f"\n{error}\n")
    say(f"the local run has {'failed' if error else 'succeeded'}")
    if run_json:
        on_server = {
            "images": theirs,
            "log": log,
            "jobs": [job._asdict() for job in jobs],
        }
        record = as_json(steps) | {"server": on_server}
        run_json.write_text(json.dumps(record, indent=2), "utf-8")

    expected, actual = (
        json.dumps(
            sorted(relocate(images, old, ""), key=lambda image: image["zarr_url"]),
            indent=2,
            sort_keys=True,
        ).splitlines()
        for images, old in ((theirs, zarr_dir), (ours, local_dir))
    )
    difference = list(unified_diff(expected, actual, "server", "local", lineterm=""))
    print("\nThe image lists", "differ:" if difference else "are the same.")
    print(*difference, sep="\n")
    return as_requested and not (log or error or difference)


def serve(
    file: str | None,
    zarr_dir: str | None,
    images: list[Image],
    *,
    keep: bool,
    slurm: bool,
    run_json: Path | None,
    yes: bool,
) -> bool:
    """Collect the package, and run a workflow; return whether all of it succeeded.

    Raises:
        WorkflowError: The workflow is not valid, or the user does not agree to install
            its packages; nothing was built or started.
        ServerError: A server does not start.
    """
    submission = read_workflow(file) if file else None
    published = submission.packages.values() if submission else ()
    lines = [
        f"{item.name} {item.version}, from the package index" for item in published
    ]
    if lines and not packages.confirm([*dict.fromkeys(lines)], agreed=yes):
        raise rules.WorkflowError("nothing was installed: answer y, or agree by --yes")
    requests: Requests | None = None
    if slurm:
        check_programs()
        own = packages.read_root(project().name, "", project().root, sys.executable)
        alone = [(None, task) for task in own.tasks.values()]
        planned = (
            [(step, task) for step, task, _ in submission.planned]
            if submission
            else alone
        )
        requests = read_requests(planned)
    elif submission:  # of which a local backend reads a part
        read_requests((step, task) for step, task, _ in submission.planned)
    if sys.platform == "linux":  # where the death of nox can be noticed
        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGTERM)
    with start_server(project().root.name, requests) as (server, folder):
        say(f"fractal-server {server.version} is up")
        try:
            groups = collect_all(server, folder, submission)
            success = True
            if submission:
                workflow, template = submission.workflow, submission.template
                if template and (kept := server.import_template(template)):
                    say(
                        f"imported the template {kept['name']!r}, and takes it from there"
                    )
                    workflow = kept["data"]
                place = zarr_dir or str(folder / "zarr")
                success = compare(
                    server, folder, groups, workflow, place, images, requests, run_json
                )
        except (ServerError, httpx.TransportError) as error:
            success = False
            print(f"\n{error}", file=sys.stderr)
        if keep:
            print(f"\nThe server stays up until Ctrl-C: {server.url}/docs")
            print(f"Login: {EMAIL}, password: {server.password}")
            print(f"Logs and jobs: {folder}", flush=True)
            if slurm:
                print(f"SLURM_CONF={folder}/slurm/slurm.conf squeue --states=all")
            signal.pause()
    return success


def read_workflow(file: str) -> Submission:
    """Read a workflow, and reject its mistakes before anything is built or started."""
    job = rules.read_job(workflow=file)
    workflow: dict[str, Any] = rules.read_json(Path(file))
    template = workflow if "data" in workflow else None
    workflow = workflow.get("data", workflow)
    if template and not all("type_filters" in s for s in workflow["task_list"]):
        # Servers up to 2.26 keep it, and fail whenever they are to show it.
        raise rules.WorkflowError(
            "each step of a template needs type_filters, if only {}"
        )
    with TemporaryDirectory(prefix="fractal-packages-") as folder:
        resolved = choices.find_packages(job.workflow, (), (), Path(folder))
    planned = choices.find_tasks(job, resolved)
    return Submission(workflow, template, resolved.packages, planned)
