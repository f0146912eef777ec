"""Read and write regions of an array in the thread that calls, with checks of each chunk.

zarr gives each file and each codec to tasks and threads of its own, and waits for them. The
kit has as many threads as processors already. The detour takes as long as decoding a large
chunk, and several times as long as decoding a small one.
"""
# A `Path` takes as long as a small file.
# ruff: noqa: PTH103, PTH105, PTH108, PTH120, PTH123

import asyncio
import os
import secrets
from collections.abc import Callable, Coroutine, Iterable
from contextlib import closing, suppress
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar, TypeVarTuple

import numcodecs
import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.codecs import BloscCodec
from zarr.core.codec_pipeline import BatchedCodecPipeline
from zarr.registry import register_codec, register_pipeline
from zarr.storage import LocalStore

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


def _is_direct() -> bool:
    """Return True where a `_Loop` runs, so that no thread waits for another one."""
    return isinstance(asyncio.get_running_loop(), _Loop)


class CheckedBlosc(numcodecs.Blosc):  # type: ignore[misc] # it has no types
    """Rejects a chunk of the wrong length; blosc would read past its end (Zarr 2)."""

    def decode(self, buf: Any, out: Any = None) -> Any:
        """Decompress a chunk."""
        check_chunk(buf)
        return super().decode(buf, out)


class CheckedBloscCodec(BloscCodec):
    """The same for Zarr 3."""

    def _decode_sync(self, chunk_bytes: Any, chunk_spec: Any) -> Any:
        check_chunk(chunk_bytes.as_numpy_array())
        return super()._decode_sync(chunk_bytes, chunk_spec)


def check_chunk(chunk: Any) -> None:
    """Compare the length of a chunk with what its header says.

    Raises:
        ValueError: They differ.
    """
    size = int.from_bytes(bytes(chunk[12:16]), "little")
    if len(chunk) < 16 or size != len(chunk):
        raise ValueError(
            f"a damaged chunk: its size is {len(chunk)} bytes, not {size}; copy the image again "
            "from where it came, or make it again"
        )


numcodecs.register_codec(CheckedBlosc, "blosc")
register_codec("blosc", CheckedBloscCodec)
zarr.config.set({"codecs.blosc": f"{__name__}.CheckedBloscCodec"})


class CheckedStore(LocalStore):
    """Rejects files that zarr would read as missing chunks.

    Where a `_Loop` runs, it reads and writes whole files itself: zarr's paths and tasks take
    longer than a small chunk.
    """

    async def get(self, key: str, prototype: Any = None, byte_range: Any = None) -> Any:
        """Read a file, or a part of it.

        Raises:
            ValueError: It is empty, or behind a link to what is not there.
        """
        content: Any = None
        if prototype is None or byte_range is not None or not _is_direct():
            content = await super().get(key, prototype, byte_range)
        else:
            try:
                with open(f"{self.root}/{key}", "rb") as file:
                    content = prototype.buffer.from_bytes(file.read())
            except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
                pass
        if content is None:
            path = self.root / key
            for part in (path, *islice(path.parents, key.count("/"))):
                if part.is_symlink() and not part.exists():
                    raise ValueError(dangling(part))
        elif not len(content):
            raise ValueError(
                f"{self.root / key} is empty: copy it again from where it came"
            )
        return content

    async def set(self, key: str, value: Any) -> None:
        """Write a file, in one step."""
        if not _is_direct():
            await super().set(key, value)
            return
        self._check_writable()
        path = new = f"{self.root}/{key}"
        if self.root.suffix != ".partial":  # such a folder is published as a whole
            new = f"{path}.{secrets.token_hex(8)}.partial"
        try:
            try:
                _write_file(new, value)
            except FileNotFoundError:
                os.makedirs(os.path.dirname(path), exist_ok=True)
                _write_file(new, value)
            if new != path:
                os.replace(new, path)
        except BaseException:
            with suppress(FileNotFoundError):
                os.unlink(new)
            raise


def _write_file(path: str, value: Any) -> None:
    with open(path, "wb") as file:
        file.write(value.as_buffer_like())


def dangling(path: Path) -> str:
    """Describe a link of a chunk to a file that is not there, and the remedy."""
    return (
        f"{path} is a link to {path.readlink()}, where there is nothing: fetch that file, for "
        "example with `datalad get`, or copy the image with the files that its links lead to"
    )


class ChunkPipeline(BatchedCodecPipeline):
    """Reads and writes one chunk after the other, where a `_Loop` runs.

    It calls the store and the codecs as zarr's own pipeline does, but without a task for each
    call. Inner chunks of a shard come here too.
    """

    async def read(
        self, batch_info: Iterable[Any], out: Any, drop_axes: tuple[int, ...] = ()
    ) -> Any:
        """Read parts of chunks into an array."""
        if self.supports_partial_decode or not self._can_be_direct():
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
        if self.supports_partial_encode or not self._can_be_direct() or not value.shape:
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

    def _can_be_direct(self) -> bool:
        """Return True where a `_Loop` runs, and no codec changes the shape or type."""
        return _is_direct() and not self.array_array_codecs


register_pipeline(ChunkPipeline)
if zarr.config.get("codec_pipeline.path").endswith(".BatchedCodecPipeline"):
    zarr.config.set({"codec_pipeline.path": f"{__name__}.ChunkPipeline"})


def _fill_value(spec: Any) -> Any:
    """Value of missing chunks; Zarr 2 may have none."""
    fill = spec.fill_value
    return spec.dtype.default_scalar() if fill is None else fill


def _is_empty(chunk: Any, spec: Any) -> bool:
    """Return True for a chunk of the fill value alone; look at a few pixels first."""
    fill = _fill_value(spec)
    pixels = chunk.as_ndarray_like()
    if pixels.dtype.kind in "biuf" and fill == fill:
        few = pixels[tuple(slice(None, None, max(1, n // 8)) for n in pixels.shape)]
        if (few != fill).any():
            return False
    return bool(chunk.all_equal(fill))


def _has_loop() -> bool:
    """Return True if this thread runs an event loop, as a notebook does."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _run(coroutine: Coroutine[Any, Any, T]) -> T:
    with closing(_Loop()) as loop:
        return loop.run_until_complete(coroutine)


def read_voxels(
    array: "zarr.Array[Any]", region: tuple[slice | int, ...]
) -> NDArray[Any]:
    """Return the voxels of a region, one slice or index for each axis."""
    if _has_loop():
        return np.asarray(array[region])
    return np.asarray(_run(array.async_array.getitem(region)))


def write_voxels(
    array: "zarr.Array[Any]", region: tuple[slice | int, ...], voxels: NDArray[Any]
) -> None:
    """Write the voxels of a region, one slice or index for each axis."""
    if _has_loop():
        array[region] = voxels
    else:
        _run(array.async_array.setitem(region, voxels))
