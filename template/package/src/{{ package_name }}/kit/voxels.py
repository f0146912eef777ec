"""Read and write regions of an array in the thread that calls.

zarr gives each file and each codec to tasks and threads of its own, and waits for them. The
kit has as many threads as processors already. The detour takes as long as decoding a large
chunk, and several times as long as decoding a small one.
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from contextlib import closing
from typing import Any, TypeVar, TypeVarTuple

import numpy as np
import zarr
from zarr.core.codec_pipeline import BatchedCodecPipeline
from zarr.registry import register_pipeline

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


class ChunkPipeline(BatchedCodecPipeline):
    """Reads and writes one chunk after the other, where a `_Loop` runs.

    It calls the store and the codecs as zarr's own pipeline does, but without a task for each
    call. Inner chunks of a shard come here too.
    """

    async def read(
        self, batch_info: Iterable[Any], out: Any, drop_axes: tuple[int, ...] = ()
    ) -> Any:
        """Read parts of chunks into an array."""
        if self.supports_partial_decode or not self._is_direct:
            return await super().read(batch_info, out, drop_axes)
        results = []
        for store, spec, part, place, *_ in batch_info:
            data = await store.get(spec.prototype)
            results.append({"status": "missing" if data is None else "present"})
            if data is None:
                out[place] = _fill_value(spec)
                continue
            for codec in reversed(self.bytes_bytes_codecs):
                data = await codec._decode_single(data, spec)
            chunk = await self.array_bytes_codec._decode_single(data, spec)
            chunk = chunk[part]
            out[place] = chunk.squeeze(axis=drop_axes) if drop_axes else chunk
        return tuple(results)

    async def write(
        self, batch_info: Iterable[Any], value: Any, drop_axes: tuple[int, ...] = ()
    ) -> None:
        """Write an array, and no chunks that have only the fill value, as zarr does."""
        if self.supports_partial_encode or not self._is_direct or not value.shape:
            return await super().write(batch_info, value, drop_axes)
        for item in batch_info:
            store, spec, _, place, is_complete = item
            chunk = value[place]
            if not is_complete or chunk.shape != spec.shape:
                await super().write([item], value, drop_axes)
                continue
            data: Any = None
            if spec.config.write_empty_chunks or not _is_empty(chunk, spec):
                data = await self.array_bytes_codec._encode_single(chunk, spec)
            for codec in self.bytes_bytes_codecs if data is not None else ():
                data = await codec._encode_single(data, spec)
            await (store.delete() if data is None else store.set(data))

    @property
    def _is_direct(self) -> bool:
        """Whether nothing waits for a thread, and no codec changes the shape or type."""
        is_here = isinstance(asyncio.get_running_loop(), _Loop)
        return is_here and not self.array_array_codecs


register_pipeline(ChunkPipeline)
if zarr.config.get("codec_pipeline.path").endswith(".BatchedCodecPipeline"):
    zarr.config.set({"codec_pipeline.path": f"{__name__}.ChunkPipeline"})


def _fill_value(spec: Any) -> Any:
    """Value of missing chunks; Zarr 2 may have none."""
    fill = spec.fill_value
    return spec.dtype.default_scalar() if fill is None else fill


def _is_empty(chunk: Any, spec: Any) -> bool:
    """Whether a chunk has only the fill value; a few pixels mostly show that it has not."""
    fill = _fill_value(spec)
    pixels = chunk.as_ndarray_like()
    if pixels.dtype.kind in "biuf" and fill == fill:
        few = pixels[tuple(slice(None, None, max(1, n // 8)) for n in pixels.shape)]
        if (few != fill).any():
            return False
    return bool(chunk.all_equal(fill))


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
