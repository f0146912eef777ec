"""Processes of units, none of which outlives the one that runs their workflow."""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO

from . import costs

# Told of each process as it starts and ends, it kills what is left when it hears no more:
# by then this process has ended, or was killed, by hand or for want of memory.
KEEPER = """
import os, signal, sys
left = set()
for line in sys.stdin:
    (left.add if line[0] == "+" else left.discard)(int(line[1:]))
for number in left:
    try:
        os.killpg(number, signal.SIGKILL) if os.name == "posix" else os.kill(number, 15)
    except OSError:
        pass
"""

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
    """Return the environment of a process that imports what its interpreter has.

    Args:
        folder: What stays of `PYTHONPATH`: the folder of a package that is not installed.
    """
    kept = {key: value for key, value in os.environ.items() if key not in FOREIGN}
    paths = filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))
    if folder and folder.resolve() in [Path(path).resolve() for path in paths]:
        kept["PYTHONPATH"] = str(folder)
    return kept


class Processes:
    """Those that run now. What they start belongs to them, and is killed with them.

    Args:
        environment: Variables that they get in addition.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        self.environment = environment
        self.running: set[subprocess.Popen[bytes]] = set()
        self.keeper = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", KEEPER],
            stdin=subprocess.PIPE,
            start_new_session=True,  # out of reach of Ctrl-C
        )

    def run(self, command: list[str], log: Path, folder: Path | None = None) -> int:
        """Run a command to its end; return its exit code.

        Args:
            command: The command.
            log: The file of its output.
            folder: What stays of `PYTHONPATH`.
        """
        with log.open("wb") as stream:
            process = self._start(command, stream, folder)
        code = costs.wait(process, log.parent)
        _kill(process)
        self.running.remove(process)
        self._tell(f"-{process.pid}")
        return code

    def _start(
        self, command: list[str], stream: IO[bytes], folder: Path | None
    ) -> "subprocess.Popen[bytes]":
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
            env={**self.environment, **own_environment(folder)},
            start_new_session=True,  # a group, to be killed as a whole
        )
        self._tell(f"+{process.pid}")
        self.running.add(process)
        return process

    def _tell(self, line: str) -> None:
        if self.keeper.stdin:
            with suppress(OSError):  # of a keeper that was killed
                os.write(self.keeper.stdin.fileno(), f"{line}\n".encode())

    def kill(self) -> None:
        """Kill all of them."""
        for process in self.running.copy():
            _kill(process)

    def close(self) -> None:
        """End the keeper."""
        self.keeper.communicate()


def _kill(process: "subprocess.Popen[bytes]") -> None:
    """Kill a process and those that it started."""
    with suppress(ProcessLookupError, PermissionError):
        if sys.platform != "win32":
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
