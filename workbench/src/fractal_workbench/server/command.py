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

# The package's own, in which the session has installed it.
from ..engine import choices, packages, rules, runner
from ..engine.run_json import as_json
from ..project import project
from .client import EMAIL, FractalServer, Image
from .services import say, start_server
from .slurm import Requests, check_programs, read_jobs, read_requests, show_jobs
from .watchdog import ServerError, run


class Given(NamedTuple):
    """A workflow, its packages but this one, and its steps with their tasks.

    If it was given as a template, it is the `data` of that.
    """

    workflow: dict[str, Any]
    template: dict[str, Any] | None
    packages: dict[str, Any]
    planned: list[Any]


def relocate(images: list[Image], old: str, new: str) -> list[Image]:
    """Return an image list as it would be in another folder."""
    return [
        image
        | {
            key: os.path.normpath(f"{new}/{os.path.relpath(image[key], old)}")
            for key in ("zarr_url", "origin")
            if image.get(key)
        }
        for image in images
    ]


def collect(server: FractalServer, folder: Path) -> dict[str, Any]:
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
    server: FractalServer, folder: Path, given: Given | None
) -> dict[str, dict[str, Any]]:
    """Collect this package, and others by name and version; return their groups.

    Raises:
        ServerError: The server would not import the workflow.
    """
    tasks = [step["task"] for step in given.workflow["task_list"]] if given else []
    unnamed = [task["name"] for task in tasks if not task.get("version")]
    if unnamed and not server.is_old:
        raise ServerError(
            f"{', '.join(map(repr, unnamed))}: a server imports no step without the version "
            f'of its package. Write "version": "..." beside "pkg_name"; that of {project().name} is '
            f'"{project().read_version()}".'
        )
    groups = {project().name: collect(server, folder)}
    collected: dict[Any, dict[str, Any]] = {}
    for key, package in given.packages.items() if given else ():
        release = package.name, package.version
        if release not in collected:
            collected[release] = server.collect_release(*release)
            show_group(collected[release])
        groups[key] = collected[release]
    return groups


def show_group(group: dict[str, Any], said: str = "") -> None:
    """Say what was collected."""
    say(f"collected {group['pkg_name']} {group['version']}{said}, which offers")
    for task in group["task_list"]:
        print(f"    {task['name']} ({task['type']})")


def collected_package(group: dict[str, Any]) -> Any:
    """Return a package in the environment that the server made for it."""
    venv, module = Path(group["venv_path"]), group["pkg_name"].replace("-", "_")
    (root,) = venv.glob(f"lib/python*/site-packages/{module}")
    python = str(venv / "bin" / "python")
    return packages.read_root(group["pkg_name"], group["version"], root, python)


def compare(
    server: FractalServer,
    folder: Path,
    groups: dict[str, dict[str, Any]],
    workflow: dict[str, Any],
    zarr_dir: str,
    images: list[Image],
    requests: Requests | None,
    told: Path | None,
) -> bool:
    """Run a workflow on the server and locally; return whether both do the same well."""
    local_dir = str(folder / "local")
    if Path(zarr_dir).exists():
        shutil.copytree(zarr_dir, local_dir, symlinks=True)

    say("the server runs the workflow")
    theirs, log = server.run(workflow, zarr_dir, images)
    say(f"the server's job has {'failed' if log else 'succeeded'}")
    if log:
        print(f"\n{log}\n")
    runner.show_images("image list", theirs, [], "", zarr_dir)
    if requests is None:
        jobs, as_asked = [], True
    else:
        jobs = read_jobs(folder / "slurm")
        as_asked = show_jobs(jobs, requests, is_complete=not log)

    # In the environments that the server made, only the runner is another.
    own, *others = map(collected_package, groups.values())
    error, steps = None, list[Any]()
    try:
        ours = runner.run_workflow(
            workflow,
            zarr_dir=local_dir,
            images=relocate(images, zarr_dir, local_dir),
            manifest=own.manifest.model_dump(),
            package_root=own.root,
            python=own.python,
            packages=dict(zip([*groups][1:], others, strict=True)),
            watch=steps.append,
        )
    except rules.WorkflowError as failure:
        error, ours = failure, failure.images
        print(f"\n{error}\n")
    say(f"the local run has {'failed' if error else 'succeeded'}")
    if told:
        said = as_json(steps) | {
            "server": {
                "images": theirs,
                "log": log,
                "jobs": [j._asdict() for j in jobs],
            }
        }
        told.write_text(json.dumps(said, indent=2), "utf-8")

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
    return as_asked and not (log or error or difference)


def serve(
    workflow: str | None,
    zarr_dir: str | None,
    images: Path | None,
    *,
    keep: bool,
    slurm: bool,
    run_json: Path | None,
    yes: bool,
) -> int:
    """Collect the package, and run a workflow; return the exit code."""
    try:
        given = read_workflow(workflow) if workflow else None
        listed = rules.read_images(images) if images else []
    except rules.WorkflowError as error:
        sys.exit(str(error))
    others = given.packages.values() if given else ()
    lines = {f"{one.name} {one.version}, from the package index": 0 for one in others}
    if lines and not packages.confirm([*lines], agreed=yes):
        sys.exit("nothing was installed: answer y, or agree by --yes")
    if sys.platform == "linux":  # where the death of nox can be noticed
        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGTERM)
    for number in (signal.SIGTERM, signal.SIGHUP):  # clean up as on Ctrl-C
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    try:
        requests = None
        if slurm:
            check_programs()
            planned = given and [step[:2] for step in given.planned]
            own = packages.read_root(project().name, "", project().root, sys.executable)
            requests = read_requests(
                planned or [(None, task) for task in own.tasks.values()]
            )
        elif given:  # of which a local backend reads a part
            read_requests(step[:2] for step in given.planned)
        with start_server(project().root.name, requests) as (server, folder):
            say(f"fractal-server {server.version} is up")
            try:
                groups = collect_all(server, folder, given)
                template = given and given.template
                if given and template and (kept := server.import_template(template)):
                    say(
                        f"imported the template {kept['name']!r}, and takes it from there"
                    )
                    given = given._replace(workflow=kept["data"])
                zarr_dir = zarr_dir or str(folder / "zarr")
                success = not given or compare(
                    server,
                    folder,
                    groups,
                    given.workflow,
                    zarr_dir,
                    listed,
                    requests,
                    run_json,
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
        return not success
    except ServerError as error:
        sys.exit(f"\n{error}")
    except KeyboardInterrupt:
        return 130


def read_workflow(file: str) -> Given:
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
        found = choices.find_packages(job.workflow, (), (), Path(folder))
    planned = choices.find_tasks(job, found)
    return Given(workflow, template, found.packages, planned)
