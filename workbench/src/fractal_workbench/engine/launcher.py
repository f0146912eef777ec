"""Start jobs, measure what they cost, and kill those that are left at the end.

This is the script of a small process. Linux counts the memory of the parent of a process as
part of its peak memory. The runner of a workflow has more than many jobs need. Each line
of its input is a request in JSON: a job to start, or `null` to kill all jobs. When the input
ends, the one that runs the workflow has ended or was killed.

It answers in lines of JSON: a job has started, cannot be started, or has ended.
"""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from typing import Any

MEGABYTE = 2**20 if sys.platform == "darwin" else 2**10  # in units of `ru_maxrss`
Process = subprocess.Popen[bytes]


def answer(job: int, **fields: Any) -> None:
    """Write an answer, as a whole, although several threads do."""
    os.write(sys.stdout.fileno(), f"{json.dumps({'job': job, **fields})}\n".encode())


def start(command: list[str], log: str, environment: dict[str, str]) -> Process:
    """Start a job in a group of processes of its own, to be killed as a whole."""
    with open(log, "wb") as stream:  # noqa: PTH123 (pathlib takes memory)
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
            env={**os.environ, **environment},
            start_new_session=True,
        )


def wait(process: Process) -> tuple[int, float | None, float | None]:
    """Wait for the end of a job: its exit code, seconds of processors, and peak memory."""
    if sys.platform != "win32":
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        memory = usage.ru_maxrss / MEGABYTE or None  # which some systems do not count
        return process.returncode, usage.ru_utime + usage.ru_stime, memory
    else:
        return process.wait(), None, None


def kill(process: Process) -> None:
    """Kill a job and what it has started."""
    with suppress(ProcessLookupError, PermissionError):
        if sys.platform == "win32":
            process.kill()
        else:
            os.killpg(process.pid, signal.SIGKILL)


def main() -> None:
    """Read requests until the input ends."""
    if sys.platform != "win32":
        signal.signal(
            signal.SIGCHLD, signal.SIG_DFL
        )  # ignored, it would hide the costs
    running: dict[int, Process] = {}

    def finish(job: int, process: Process, begin: float) -> None:
        code, cpu_seconds, memory = wait(process)
        seconds = time.monotonic() - begin
        kill(process)  # what it has left
        del running[job]
        answer(job, code=code, cost=[seconds, cpu_seconds, memory])

    for line in sys.stdin:
        request = json.loads(line)
        if request is None:
            for process in [*running.values()]:
                kill(process)
            continue
        job, begin = request.pop("job"), time.monotonic()
        try:
            running[job] = process = start(**request)
        except OSError as error:
            answer(job, error=str(error))
            continue
        answer(job, pid=process.pid)
        arguments = (job, process, begin)
        threading.Thread(target=finish, args=arguments, daemon=True).start()
    for process in [*running.values()]:
        kill(process)
    os._exit(0)  # without the threads, which wait


if __name__ == "__main__":
    main()
