"""A private SLURM of one node, for a fractal-server to submit to.

Its daemons run as the user who starts them, listen on this machine's own address, and
have all files in a private folder. So it needs neither root nor sudo, and leaves alone
a SLURM that the machine may belong to. Debian's packages: slurm-wlm, munge.
"""

import os
import platform
import secrets
import shutil
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from pydantic import BaseModel, BeforeValidator, PositiveInt

from ..engine import rules
from .watchdog import Guard, ServerError, find_ports, run

DAEMONS = ("munged", "slurmctld", "slurmd")
PROGRAMS = (*DAEMONS, "sbatch", "scancel", "scontrol", "sinfo", "squeue", "srun")
# Where daemons are is not always in the PATH of an ordinary user.
PATH = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])

# Requests are counted, and not enforced, for which SLURM would have to be root.
# `config_overrides` is for a node that is larger than the machine.
SLURM_CONF = """\
ClusterName=private
SlurmctldHost=localhost
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
SlurmUser={user}
SlurmdUser={user}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SlurmdParameters=config_overrides
# Only backfill, each second: the main scheduler takes longer, and in SLURM 23.11.4, that
# of Ubuntu 24.04, accepts no job without a database of accounts.
SchedulerParameters=sched_interval=-1,bf_interval=1
# For a day, which is in seconds, it tells about jobs that have ended.
MinJobAge=86400
NodeName=localhost CPUs={cpus} RealMemory={mem}
PartitionName=main Nodes=ALL Default=YES
"""

# fractal-server submits as another user, by `sudo --set-home --non-interactive -u USER`.
# Here that is the same user; as with sudo, a job sees nothing of the environment around.
SUDO = """\
#!/bin/sh
shift 4
exec env -i HOME="$HOME" PATH="$PATH" SLURM_CONF="$SLURM_CONF" "$@"
"""


class Request(BaseModel):
    """Requested resources of each unit of a task."""

    cpus_per_task: PositiveInt = 1
    mem: Annotated[PositiveInt, BeforeValidator(rules.megabytes)] = 1000
    parallel_tasks_per_job: PositiveInt | None = None


class SlurmJob(NamedTuple):
    """A SLURM job: requested resources of each unit, and its duration."""

    step: int
    part: str
    units: int
    cpus_per_task: int
    mem: int
    seconds: int


# By the position of the step in the workflow, its task, and which part of the task.
Requests = dict[tuple[int, str, str], Request]


def check_programs() -> None:
    """Reject a machine without the programs of SLURM."""
    if (system := platform.system()) != "Linux":
        raise ServerError(f"--slurm needs Linux, and this is {system}.")
    if missing := [name for name in PROGRAMS if not shutil.which(name, path=PATH)]:
        raise ServerError(
            f"--slurm needs what is not installed: {', '.join(missing)}. "
            "On Debian and Ubuntu, it is in the packages slurm-wlm and munge."
        )


def read_requests(steps: Iterable[tuple[rules.Step | None, rules.Task]]) -> Requests:
    """Return the requests of tasks, and of steps that override them.

    Args:
        steps: Each step, or None, with its task.
    """
    requests = {}
    for position, (step, task) in enumerate(steps):
        if mistakes := [*rules.check_resources(step, task)]:
            raise ServerError("\n".join(mistakes))
        for part in ("non_parallel", "parallel"):
            if getattr(task, f"executable_{part}"):
                meta = rules.requested(step, task, part)
                request = Request.model_validate(meta)
                requests[position, task.name, part] = request
    return requests


def slurm_environment(folder: Path) -> dict[str, str]:
    """Return an environment in which programs find the SLURM of a folder."""
    # This may itself be a job of a SLURM, which says so in variables.
    prefixes = ("SLURM_", "SQUEUE_", "SINFO_")
    environment = {k: v for k, v in os.environ.items() if not k.startswith(prefixes)}
    return environment | {
        "PATH": f"{folder / 'bin'}{os.pathsep}{PATH}",
        "SLURM_CONF": str(folder / "slurm.conf"),
    }


def start_slurm(
    folder: Path, guard: Guard, requests: Requests
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Start SLURM in a folder; return its part of a resource and of a profile."""
    for path in (folder / "bin", folder / "state", folder / "spool"):
        path.mkdir(parents=True)
    import pwd  # which Windows does not have

    user = pwd.getpwuid(os.getuid()).pw_name
    # The node is this machine, or else what the greediest job needs to start at all.
    jobs = [(r, r.parallel_tasks_per_job or 1) for r in requests.values()]
    ram = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2**20
    cpus = max([os.cpu_count() or 1, *(r.cpus_per_task * n for r, n in jobs)])
    mem = max([ram, *(r.mem * n for r, n in jobs)])
    ports = find_ports(2)
    conf = SLURM_CONF.format(folder=folder, user=user, ports=ports, cpus=cpus, mem=mem)
    (folder / "slurm.conf").write_text(conf, "utf-8")
    sudo, key, socket = (folder / n for n in ("bin/sudo", "munge.key", "munge.socket"))
    sudo.write_text(SUDO, "utf-8")
    sudo.chmod(0o755)
    key.touch(mode=0o600)
    key.write_bytes(secrets.token_bytes(128))

    options: dict[str, Any] = {"cwd": folder, "env": slurm_environment(folder)}

    def ask(*command: str) -> str:
        done: subprocess.CompletedProcess[str] = subprocess.run(
            command, capture_output=True, text=True, check=False, **options
        )
        return done.stdout

    munged = ["munged", "--foreground", f"--key-file={key}", f"--socket={socket}"]
    munged += [f"--pid-file={folder}/munged.pid", f"--seed-file={folder}/munge.seed"]
    guard.start(
        [*munged, "--force"],  # although no other user reaches its socket
        folder / "munged.log",
        socket.exists,
        **options,
    )
    guard.start(
        ["slurmctld", "-D"],
        folder / "slurmctld.log",
        lambda: "UP" in ask("scontrol", "ping"),
        **options,
    )
    guard.start(
        ["slurmd", "-D"],
        folder / "slurmd.log",
        lambda: ask("sinfo", "--noheader", "--format=%T") == "idle\n",
        **options,
    )

    default = Request().model_dump(exclude_none=True)
    limits = {"cpus_per_job": cpus, "mem_per_job": mem, "num_jobs": 100}
    resource = {
        "type": "slurm_sudo",
        "jobs_slurm_python_worker": sys.executable,
        "jobs_runner_config": {
            "default_slurm_config": {"partition": "main", **default},
            "batching_config": {
                f"{kind}_{name}": limit
                for kind in ("target", "max")
                for name, limit in limits.items()
            },
        },
        "jobs_poll_interval": 1,
    }
    return resource, {"resource_type": "slurm_sudo", "username": user}


def seconds(time: str) -> int:
    """Return the seconds of `[days-][[hours:]minutes:]seconds`."""
    days, _, rest = time.rpartition("-")
    total = 0
    for part in rest.split(":"):
        total = total * 60 + int(part)
    return int(days or 0) * 86400 + total


def read_jobs(folder: Path) -> list[SlurmJob]:
    """Return the jobs of SLURM."""
    fields = ("NumTasks", "cpus-per-task", "MinMemory", "TimeUsed", "Command")
    columns = ",".join(f"{field}:|" for field in fields)
    jobs = []
    for line in run(
        ["squeue", "--noheader", "--noconvert", "--states=all", f"--Format={columns}"],
        env=slurm_environment(folder),
    ).splitlines():
        at_once, cpus, mem, time, command, _ = line.split("|")
        script = Path(command)  # .../<position>_<task>/[non_]par-...
        position = int(script.parent.name.partition("_")[0])
        part = "non_parallel" if script.name.startswith("non_par") else "parallel"
        units = script.read_text("utf-8").count("\nsrun ")
        megabytes = int(mem.removesuffix("M")) // int(at_once)
        jobs.append(
            SlurmJob(position, part, units, int(cpus), megabytes, seconds(time))
        )
    return jobs


def show_jobs(jobs: Sequence[SlurmJob], requests: Requests, is_complete: bool) -> bool:
    """Print the requests of jobs; return whether they agree with the task list."""
    steps_with_jobs = {job.step for job in jobs}
    head = ("task", "part", "jobs", "units", "cpus_per_task", "mem", "seconds", "")
    table = [head]
    success = True
    for (position, task, part), request in requests.items():
        ran = [job for job in jobs if (job.step, job.part) == (position, part)]
        wanted = (request.cpus_per_task, request.mem)
        # There may be nothing for the second part of a compound task to do.
        is_right = position in steps_with_jobs or not is_complete
        is_right &= all((job.cpus_per_task, job.mem) == wanted for job in ran)
        success &= is_right
        table.append(
            (
                task,
                part,
                str(len(ran)),
                str(sum(job.units for job in ran)),
                ", ".join(sorted({str(job.cpus_per_task) for job in ran})),
                ", ".join(sorted({str(job.mem) for job in ran})),
                str(max((job.seconds for job in ran), default="")),
                "" if is_right else f"but the task requests {wanted}",
            )
        )
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    print("\nRequested for each unit of a task (mem in MB; seconds: the longest job):")
    for row in table:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        print("   ", "  ".join(cells).rstrip())
    print("This is", "what" if success else "NOT what", "the task list requests.")
    return success
