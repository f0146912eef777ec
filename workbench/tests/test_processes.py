"""Jobs cost what they cost, whatever starts them, and none outlives what started it."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from fractal_workbench.engine import costs
from fractal_workbench.engine.processes import Processes

pytestmark = pytest.mark.skipif(os.name != "posix", reason="as on Linux and macOS")

BALLAST = "ballast = bytearray(b'x') * {} * 2**20"
# Its own peak, as the system knows it from inside.
PEAK = """
from pathlib import Path
import resource, sys
status = Path("/proc/self/status")
if status.exists():
    line = next(l for l in status.read_text().splitlines() if l.startswith("VmHWM"))
    print(int(line.split()[1]) / 2**10)
else:
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20)
"""
HANG = """
import os, subprocess, sys, time
from pathlib import Path
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
Path(sys.argv[1]).write_text(f"{os.getpid()} {child.pid}\\n")
time.sleep(60)
"""


@pytest.fixture
def processes() -> Iterator[Processes]:
    with closing(Processes({"GREETING": "hello"})) as started:
        yield started


@pytest.fixture
def large() -> Iterator[bytearray]:
    """Have this process take half a gigabyte, as one that draws images does."""
    ballast = bytearray(b"x") * 2**29
    yield ballast
    ballast.clear()


@pytest.mark.usefixtures("large")
@pytest.mark.parametrize("megabytes", [0, 50, 300])
def test_the_memory_of_a_job_is_its_own_peak(
    processes: Processes, tmp_path: Path, megabytes: int
) -> None:
    code = BALLAST.format(megabytes) + PEAK
    log = tmp_path / "log.txt"
    assert processes.run([sys.executable, "-c", code], log) == 0
    cost = costs.read(tmp_path)
    assert cost is not None
    assert cost.memory == pytest.approx(float(log.read_text()), abs=10)
    assert megabytes < (cost.memory or 0) < megabytes + 40
    if judge := shutil.which("time"):
        command = [judge, "-f", "%M", sys.executable, "-c", BALLAST.format(megabytes)]
        done = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=True)
        assert cost.memory == pytest.approx(int(done.stderr) / 2**10, abs=10)


@pytest.mark.usefixtures("large")
def test_the_memory_of_children_that_a_job_awaits_counts(
    processes: Processes, tmp_path: Path
) -> None:
    child = [sys.executable, "-c", BALLAST.format(100)]
    code = f"import subprocess; subprocess.run({child!r})"
    processes.run([sys.executable, "-c", code], tmp_path / "log.txt")
    cost = costs.read(tmp_path)
    assert cost is not None
    assert 100 < (cost.memory or 0) < 140


def test_time_of_processors_is_that_of_the_job(
    processes: Processes, tmp_path: Path
) -> None:
    code = "import time\nwhile time.process_time() < 0.3: pass\ntime.sleep(0.3)"
    processes.run([sys.executable, "-c", code], tmp_path / "log.txt")
    cost = costs.read(tmp_path)
    assert cost is not None
    assert 0.3 <= (cost.cpu_seconds or 0) < 0.6
    assert cost.seconds > 0.59


@pytest.mark.parametrize("code", [0, 3])
def test_a_job_has_its_output_in_the_log_and_its_exit_code(
    processes: Processes, tmp_path: Path, code: int
) -> None:
    script = f"echo $GREETING; echo oh >&2; exit {code}"
    assert processes.run(["sh", "-c", script], tmp_path / "log.txt") == code
    assert (tmp_path / "log.txt").read_text() == "hello\noh\n"
    assert processes.run(["sh", "-c", "kill -9 $$"], tmp_path / "log.txt") == -9


def test_a_job_that_cannot_be_started_is_an_error(
    processes: Processes, tmp_path: Path
) -> None:
    with pytest.raises(OSError, match="no-such-program"):
        processes.run(["no-such-program"], tmp_path / "log.txt")
    with pytest.raises(OSError, match="no-such-folder"):
        processes.run(["true"], tmp_path / "no-such-folder" / "log.txt")
    assert processes.run(["true"], tmp_path / "log.txt") == 0


def test_costs_are_known_where_the_end_of_children_is_ignored(tmp_path: Path) -> None:
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        with closing(Processes({})) as processes:
            assert processes.run(["sh", "-c", "exit 3"], tmp_path / "log.txt") == 3
    finally:
        signal.signal(signal.SIGCHLD, before)
    assert costs.read(tmp_path) is not None


def hang(processes: Processes, folder: Path, end: Callable[[], None]) -> str | int:
    """Start a job that does not end, do something, and return what came of the job."""
    from concurrent.futures import ThreadPoolExecutor

    file = folder / "pids"
    command = [sys.executable, "-c", HANG, str(file)]
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(processes.run, command, folder / "log.txt")
        wait_until(lambda: file.exists() and file.read_text().endswith("\n"))
        end()
        error = future.exception(timeout=60)
        wait_until(lambda: not any(map(is_alive, file.read_text().split())))
        return str(error) if error else future.result()


def test_jobs_are_killed_with_their_children(
    processes: Processes, tmp_path: Path
) -> None:
    assert hang(processes, tmp_path, processes.kill) == -signal.SIGKILL


def test_no_job_outlives_a_launcher_that_was_killed(
    processes: Processes, tmp_path: Path
) -> None:
    said = hang(processes, tmp_path, processes._launcher.kill)
    assert said == "the process that starts jobs was killed"
    with pytest.raises(OSError, match="was killed"):
        processes.run(["true"], tmp_path / "log.txt")
    processes.kill()


def test_processes_that_a_job_leaves_running_are_killed(
    processes: Processes, tmp_path: Path
) -> None:
    log = tmp_path / "log.txt"
    assert processes.run(["sh", "-c", "sleep 60 > /dev/null & echo $!"], log) == 0
    wait_until(lambda: not is_alive(log.read_text().strip()))


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def is_alive(pid: str) -> bool:
    listed = subprocess.run(
        ["ps", "-o", "stat=", "-p", pid], capture_output=True, text=True, check=False
    )
    return bool(listed.stdout.strip()) and not listed.stdout.strip().startswith("Z")
