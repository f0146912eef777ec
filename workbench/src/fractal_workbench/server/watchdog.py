"""Start private servers, and clean up after them."""

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

PATIENCE = 120  # seconds until a server has to be ready


class ServerError(Exception):
    """The server, or its preparation, failed."""


class Guard:
    """Starts servers, and stops them and removes their folder as soon as it is closed.

    A process of its own does so when it sees the end of a pipe. That includes the death
    of this process by SIGKILL, which nox sends half a second after Ctrl-C.
    """

    def __init__(self, folder: Path) -> None:
        self.servers: list[subprocess.Popen[bytes]] = []
        end, pipe = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            try:
                os.setsid()  # away from the terminal's Ctrl-C
                signal.signal(signal.SIGTERM, signal.SIG_IGN)
                os.close(pipe)
                with os.fdopen(end) as lines:
                    servers = [int(line) for line in lines]
                for server in reversed(servers):
                    stop(server)
                kill_strays(folder)
                shutil.rmtree(folder, ignore_errors=True)
            finally:
                os._exit(0)
        os.close(end)
        self.pipe = os.fdopen(pipe, "w")

    def start(
        self,
        command: Sequence[str | Path],
        log: Path,
        is_ready: Callable[[], bool],
        **options: Any,
    ) -> None:
        """Start a server, and wait until it is ready."""
        with log.open("wb") as stream:
            server = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # a group, to be stopped as a whole
                **options,
            )
        print(server.pid, file=self.pipe, flush=True)
        self.servers.append(server)
        deadline = time.monotonic() + PATIENCE
        while not is_ready():
            if server.poll() is not None or time.monotonic() > deadline:
                text = log.read_text("utf-8", errors="replace")
                raise ServerError(f"{command[0]} does not start:\n\n{text}")
            time.sleep(0.1)

    def close(self) -> None:
        """Stop all servers."""
        self.pipe.close()
        for server in reversed(self.servers):
            server.wait()
        os.waitpid(self.pid, 0)


def stop(group: int, patience: float = 5) -> None:
    """Interrupt a group of processes, and kill it if that does not help."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal.SIGINT)
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline:
            time.sleep(0.05)
            os.killpg(group, 0)
        os.killpg(group, signal.SIGKILL)


def kill_strays(folder: Path, patience: float = 5) -> None:
    """Kill processes with a folder in their environment, where the system shows it.

    The jobs of SLURM are in no group of a server, and outlive it.
    """
    deadline, strays = time.monotonic() + patience, True
    while strays and time.monotonic() < deadline:
        strays = False
        for process in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                if os.fsencode(folder) in (process / "environ").read_bytes():
                    os.kill(int(process.name), signal.SIGKILL)
                    strays = True


def run(command: Sequence[str | Path], stdin: str = "", **options: Any) -> str:
    """Run a command to its end, and return its output; an error has the output too.

    Args:
        command: The command. Other users of the machine see it.
        stdin: Its input, which nobody sees.
        **options: What else `subprocess.run` takes.
    """
    done: subprocess.CompletedProcess[str] = subprocess.run(
        command,
        input=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
        **options,
    )
    if done.returncode:
        raise ServerError(f"{command[0]} failed:\n\n{done.stdout}")
    return done.stdout


def find_ports(number: int) -> list[int]:
    """Return free ports of this machine's own address."""
    sockets = [socket.socket() for _ in range(number)]
    try:
        for free in sockets:
            free.bind(("127.0.0.1", 0))
        return [free.getsockname()[1] for free in sockets]
    finally:
        for free in sockets:
            free.close()
