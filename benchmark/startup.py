"""Measure the imports of each task, in milliseconds.

Each cell is the time that the modules of a library take by themselves, as
`python -X importtime` says. A row is the fastest of several starts: this is elapsed time,
which other programs only lengthen.
"""

import argparse
import json
import os
import platform
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence

from run import PACKAGE, write_table

LIBRARIES = ["numpy", "scipy", "zarr", "pydantic"]
COLUMNS = ["Python", *LIBRARIES, "other libraries", "package", "all"]
LINE = re.compile(r"^import time: +(\d+) \| +\d+ \| +([\w.]+)$", re.MULTILINE)


def time_imports(module: str) -> Counter[str]:
    """Return the milliseconds of each column for a start of Python that imports a module."""
    command = [sys.executable, "-X", "importtime", "-c", f"import {module}"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    times: Counter[str] = Counter()
    for microseconds, name in LINE.findall(done.stderr):
        top = name.partition(".")[0]
        column = "other libraries"
        if top in sys.stdlib_module_names:
            column = "Python"
        elif top == PACKAGE.name:
            column = "package"
        elif top.partition("_core")[0] in LIBRARIES:  # pydantic_core
            column = top.partition("_core")[0]
        times[column] += int(microseconds) / 1000
    times["all"] = sum(times.values())
    return times


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "tasks", nargs="*", help="modules; by default those of all tasks"
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--write", action="store_true", help="also write docs")
    args = parser.parse_args(arguments)
    manifest = json.loads((PACKAGE / "__FRACTAL_MANIFEST__.json").read_text("utf-8"))
    files = [
        task[f"executable_{kind}"].removesuffix(".py")
        for task in manifest["task_list"]
        for kind in ("non_parallel", "parallel")
        if task.get(f"executable_{kind}")
    ]
    lines = [f"| module | {' | '.join(COLUMNS)} |", f"|{'---|' * (1 + len(COLUMNS))}"]
    print("\n".join(lines))
    for name in args.tasks or files:
        rounds = [time_imports(f"{PACKAGE.name}.{name}") for _ in range(args.rounds)]
        fastest = min(rounds, key=lambda times: times["all"])
        cells = [f"{fastest[column]:.0f}" for column in COLUMNS]
        lines.append(f"| `{name}` | {' | '.join(cells)} |")
        print(lines[-1], flush=True)
    if args.write:
        machine = f"{os.cpu_count()} processors, Python {platform.python_version()}"
        about = f"{machine}, the fastest of {args.rounds} starts; milliseconds."
        write_table("start-up", [about, "", *lines])


if __name__ == "__main__":
    main()
