"""Call a function on many items, in one thread for each processor."""

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from .fractal import CALL

T = TypeVar("T")
R = TypeVar("R")


def n_threads() -> int:
    """Number of processors that this process may use; SLURM sets it per job."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def in_threads(function: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
    """Call `function` on each item, one per processor at a time; results in order.

    zarr, its codecs, NumPy and SciPy release Python's lock in most of their work.

    Args:
        function: Takes an item.
        items: What to call it on.
    """
    # A thread does not know by itself which task runs.
    with ThreadPoolExecutor(
        n_threads(), initializer=CALL.set, initargs=(CALL.get(),)
    ) as pool:
        yield from pool.map(function, items)
