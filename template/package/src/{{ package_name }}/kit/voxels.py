"""Read and write regions of an array in the thread that calls.

zarr gives each file and each codec to threads of its own, and waits for them. The kit has
as many threads as processors already, and the detour takes as long as decoding.
"""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import closing
from typing import Any, TypeVar, TypeVarTuple

import numpy as np
import zarr

from .slices import Array

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class _Loop(asyncio.SelectorEventLoop):
    """An event loop that calls at once what others give to a thread."""

    def run_in_executor(
        self, executor: Any, func: Callable[[*Ts], T], *args: *Ts
    ) -> asyncio.Future[T]:
        """Call a function, and return its result as a future."""
        future = self.create_future()
        try:
            future.set_result(func(*args))
        except Exception as error:
            future.set_exception(error)
        return future


def _has_loop() -> bool:
    """Whether this thread runs an event loop, as a notebook does."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _run(coroutine: Coroutine[Any, Any, T]) -> T:
    with closing(_Loop()) as loop:
        return loop.run_until_complete(coroutine)


def read_voxels(array: "zarr.Array[Any]", region: tuple[slice | int, ...]) -> Array:
    """Return the voxels of a region, one slice or index for each axis."""
    if _has_loop():
        return np.asarray(array[region])
    return np.asarray(_run(array.async_array.getitem(region)))


def write_voxels(
    array: "zarr.Array[Any]", region: tuple[slice | int, ...], voxels: Array
) -> None:
    """Write the voxels of a region, one slice or index for each axis."""
    if _has_loop():
        array[region] = voxels
    else:
        _run(array.async_array.setitem(region, voxels))
