"""Processes of jobs, none of which outlives the one that runs their workflow."""

import itertools
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from typing import Any

from . import costs, launcher

Answer = dict[str, Any]  # of the launcher

# They have an interpreter import what is another one's, as the modules of a cluster do, or an
# installer put it elsewhere.
FOREIGN = {
    *(
        "PYTHONEXECUTABLE",
        "PYTHONHOME",
        "PYTHONPATH",
        "PYTHONPLATLIBDIR",
        "PYTHONSTARTUP",
    ),
    *("VIRTUAL_ENV", "__PYVENV_LAUNCHER__"),
    *(
        "PIP_NO_BINARY",
        "PIP_PREFIX",
        "PIP_PYTHON",
        "PIP_ROOT",
        "PIP_TARGET",
        "PIP_USER",
    ),
    *("UV_NO_BINARY", "UV_NO_BINARY_PACKAGE", "UV_PYTHON", "UV_SYSTEM_PYTHON"),
}


def own_environment(folder: Path | None = None) -> dict[str, str]:
    """Return an environment without variables that change a process's imports.

    Args:
        folder: What stays of `PYTHONPATH`: the folder of a package that is not installed.
    """
    kept = {key: value for key, value in os.environ.items() if key not in FOREIGN}
    paths = filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))
    if folder and folder.resolve() in [Path(path).resolve() for path in paths]:
        kept["PYTHONPATH"] = str(folder)
    return kept


class Processes:
    """Run jobs by a launcher; no job outlives the process that has this.

    Args:
        environment: Variables that they get in addition.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._numbers = itertools.count()
        self._lock = threading.Lock()
        self._jobs: dict[int, Future[Answer]] = {}  # those that have not ended
        self._pids: dict[int, int] = {}
        self._launcher = subprocess.Popen(
            [sys.executable, "-I", "-S", launcher.__file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**environment, **own_environment()},
            start_new_session=True,  # out of reach of Ctrl-C
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def run(self, command: list[str], log: Path, folder: Path | None = None) -> int:
        """Run a command to its end; return its exit code, and write what it cost.

        Args:
            command: The command.
            log: The file of its output; the costs get one beside it.
            folder: What stays of `PYTHONPATH`.

        Raises:
            OSError: It cannot be started.
        """
        job = next(self._numbers)
        done: Future[Answer] = Future()
        self._jobs[job] = done
        kept = own_environment(folder).get("PYTHONPATH")
        environment = {"PYTHONPATH": kept} if kept else {}
        request = {"command": command, "log": str(log), "environment": environment}
        try:
            self._send({"job": job, **request})
        except OSError:  # it has ended
            self._fail()
        answer = done.result()
        if "error" in answer:
            raise OSError(answer["error"])
        with suppress(OSError):  # of a full disk
            costs.write(log.parent, costs.Cost(*answer["cost"]))
        return int(answer["code"])

    def _send(self, request: Answer | None) -> None:
        assert self._launcher.stdin
        with self._lock:
            self._launcher.stdin.write(f"{json.dumps(request)}\n".encode())
            self._launcher.stdin.flush()

    def _read(self) -> None:
        """Read what the launcher answers, until it ends."""
        assert self._launcher.stdout
        for line in self._launcher.stdout:
            answer: Answer = json.loads(line)
            job = answer.pop("job")
            if "pid" in answer:
                self._pids[job] = answer["pid"]
            else:
                self._pids.pop(job, None)
                self._jobs.pop(job).set_result(answer)
        self._fail()

    def _fail(self) -> None:
        """Kill what a launcher that was killed has left."""
        with self._lock:
            for pid in self._pids.values():
                with suppress(ProcessLookupError, PermissionError):
                    if sys.platform == "win32":
                        os.kill(pid, signal.SIGTERM)
                    else:
                        os.killpg(pid, signal.SIGKILL)
            self._pids.clear()
            while self._jobs:
                _, done = self._jobs.popitem()
                done.set_result({"error": "the process that starts jobs was killed"})

    def kill(self) -> None:
        """Kill all processes."""
        with suppress(OSError):  # of a launcher that has ended, and they with it
            self._send(None)

    def close(self) -> None:
        """End the launcher."""
        assert self._launcher.stdin
        assert self._launcher.stdout
        with suppress(OSError):
            self._launcher.stdin.close()
        self._launcher.wait()
        self._reader.join()
        self._launcher.stdout.close()
