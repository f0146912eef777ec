"""Atomic publication of folders, and locks between processes.

Each writer of a folder has a hidden one of its own beside it, which takes the place of
that folder when all is well. What a killed task leaves hidden, the next one removes.
"""

import ctypes
import errno
import hashlib
import logging
import os
import platform
import re
import secrets
import shutil
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

logger = logging.getLogger(__name__)

LOCK_EXPIRES = 10.0  # seconds; a lock is held for milliseconds
# Of one that is held for long, and renewed: NFS may show a time that is a minute old.
LONG_LOCK_EXPIRES = 180.0
# A folder that is being made: its name, the machine and the process.
HIDDEN = re.compile(r"\.(.+)\.([0-9a-f]{8})-([0-9]+)-[0-9a-f]{8}\.partial")


@contextmanager
def published(path: Path, *, overwrite: bool, argument: str) -> Iterator[Path]:
    """Give a hidden folder beside `path`; without an error, it becomes `path`.

    Args:
        path: Folder to make.
        overwrite: Whether to replace an OME-Zarr that exists.
        argument: Name of the task's argument, for the error messages.

    Raises:
        FileExistsError: There is something at `path`, and `overwrite` is false.
        ValueError: It is not OME-Zarr.
        RuntimeError: Another task has begun to write `path`.
    """
    path = path.resolve()
    check_free(path, overwrite=overwrite, argument=argument)
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_leftovers(path, of_the_living=True)
    partial = hidden_path(path)
    partial.mkdir()
    # Another task that begins to write `path` takes this folder away. If this one writes
    # on, it makes the folder anew, but not this file.
    mark = partial / ".mine"
    try:
        mark.touch()
        yield partial
        mark.unlink()
        mark = partial
        if overwrite:
            _replace(path, partial)
        else:
            partial.rename(path)
    except Exception as error:
        if mark.exists():
            if path.exists() and not overwrite and mark == partial:
                raise FileExistsError(f"{argument}: {path} exists by now") from error
            raise
        raise RuntimeError(
            f"{argument}: another task is writing {path}; this one gives up. Run it again "
            "after that one, or choose another name"
        ) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        if partial.exists():
            logger.info("%s could not be removed: do it by hand", partial)


def check_free(path: Path, *, overwrite: bool, argument: str) -> None:
    """Reject a path that must not be written to, before anything is computed for it.

    Raises:
        FileExistsError: There is something at `path`, and `overwrite` is false.
        ValueError: It is not OME-Zarr.
    """
    path = path.resolve()
    repair(path, argument)
    if path.exists():
        if not overwrite:
            raise FileExistsError(
                f"{argument}: {path} exists; set overwrite, or choose another name"
            )
        if not is_zarr(path):
            raise ValueError(
                f"{argument}: refusing to replace {path}: it is not OME-Zarr. Move it, or "
                "choose another name"
            )


def remove_leftovers(path: Path, *, of_the_living: bool = False) -> None:
    """Remove leftovers of killed tasks beside `path`; on request, also unfinished versions."""
    path = path.resolve()
    for hidden in path.parent.glob(".*.partial"):
        made_by = HIDDEN.fullmatch(hidden.name)
        if made_by is None:
            continue
        mine = of_the_living and made_by[1] == path.name
        if mine or _is_dead(*made_by.group(2, 3)):
            # Of those who write lists in that folder:
            shutil.rmtree(hidden.with_name(f".{hidden.name}.lock"), ignore_errors=True)
            # Renamed first: a task that is still alive can no longer publish it.
            removed = hidden_path(path)
            with suppress(OSError):
                hidden.rename(removed)
                shutil.rmtree(removed, ignore_errors=True)


def hidden_path(path: Path) -> Path:
    """Name for a folder that only this process writes."""
    maker = f"{_machine()}-{os.getpid()}-{secrets.token_hex(4)}"
    return path.with_name(f".{path.name}.{maker}.partial")


@cache
def _machine() -> str:
    """Identify the machine and boot for which a process number is valid."""
    parts = [platform.node()]
    with suppress(OSError):  # elsewhere than on Linux
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text())
        parts.append(str(Path("/proc/self/ns/pid").stat().st_ino))  # of a container
    return hashlib.sha256("".join(parts).encode()).hexdigest()[:8]


def _is_dead(machine: str, process: str) -> bool:
    """Whether a process of this machine has ended; False for other machines."""
    if machine != _machine() or os.name != "posix":
        return False
    try:
        os.kill(int(process), 0)
    except ProcessLookupError:
        return True
    except PermissionError:  # it is somebody else's
        pass
    return False


def _replace(path: Path, new: Path) -> None:
    """Replace `path` by `new`, in one step where the file system supports it."""
    if not path.exists():
        new.rename(path)
    elif not _exchange(path, new):
        # On NFS, for example; `repair` does what is left after a kill.
        old = _old_version(path)
        path.rename(old)
        try:
            new.rename(path)
        except OSError:
            old.rename(path)
            raise
        old.rename(new)


def _exchange(one: Path, other: Path) -> bool:
    """Exchange two folders in one step; only Linux and local file systems support it."""
    if platform.system() != "Linux":
        return False
    at_cwd, rename_exchange = -100, 2  # constants of Linux
    renameat2 = getattr(ctypes.CDLL(None), "renameat2", None)
    paths = (at_cwd, os.fsencode(one), at_cwd, os.fsencode(other))
    return renameat2 is not None and renameat2(*paths, rename_exchange) == 0


def whole_version(path: Path) -> Path:
    """Folder to read a group from: `path`, or what a killed `_replace` has left of it."""
    if is_zarr(path):
        return path
    old = _old_version(path)
    if not old.exists():
        return path
    time.sleep(1.0)  # unless that task is still at it
    return path if is_zarr(path) else old


def _old_version(path: Path) -> Path:
    """Name of a group while `_replace` replaces it."""
    path = path.resolve()
    return path.with_name(f".{path.name}.old")


def repair(path: Path, argument: str) -> None:
    """Undo, or finish, a `_replace` of a killed task; only for those who write."""
    path = path.resolve()
    old = _old_version(path)
    if not old.exists():
        return
    time.sleep(1.0)  # unless that task is still at it
    if is_zarr(path):
        shutil.rmtree(old, ignore_errors=True)
    elif path.exists():  # another task has begun to write into what is missing
        raise ValueError(
            f"{argument}: {old} has to take the place of {path}: move it by hand"
        )
    else:
        with suppress(OSError):
            old.rename(path)


def is_zarr(path: Path) -> bool:
    """Whether there is a Zarr group, or array, in a folder."""
    return any((path / name).exists() for name in (".zgroup", ".zarray", "zarr.json"))


def suggest(name: str, names: Iterable[str]) -> str:
    """Return what to write in place of an unknown name, as the end of a message.

    Args:
        name: The unknown name.
        names: All names that there are.
    """
    import difflib  # 8 ms, which only a wrong name has to pay

    names = [*names]
    known = {known.lower(): known for known in names}
    near = difflib.get_close_matches(name.lower(), known, 1)
    hint = f"did you mean {known[near[0]]!r}? " if near else ""
    return f"{hint}there are: {', '.join(names) or 'none'}"


def check_name(name: str, argument: str) -> None:
    """Reject a name that no folder can have, or that hides it.

    Raises:
        ValueError: It has a slash, begins with a dot, is that of a file, or is too long.
    """
    if (
        not 0 < len(name) <= 200
        or name[0] == "."
        or set(name) & set("/\\\0")
        or name == "zarr.json"
    ):
        raise ValueError(f"{argument}: {name!r} cannot be the name of a folder")


class LockLostError(RuntimeError):
    """Another task took the lock over, because its holder stood still for too long."""


class Lock:
    """A held lock: a folder of its holder, inside the folder of the lock.

    Who takes the lock over moves this folder away. So its holder cannot take the next
    one's lock away, and what it was about to write from here does not arrive.
    """

    def __init__(self, own: Path) -> None:
        """Hold a lock by a folder."""
        self.own = own

    def is_held(self) -> bool:
        """Whether no other task has taken it over."""
        return self.own.is_dir()

    def replace(self, file: Path, text: str) -> None:
        """Write a file in one step, if the lock is held at that moment.

        Raises:
            LockLostError: It is not.
        """
        new = self.own / "new"
        try:
            new.write_text(text, "utf-8")
            new.replace(file)
        except FileNotFoundError as error:
            if self.is_held():
                raise
            raise LockLostError(f"another task has begun to write {file}") from error


@contextmanager
def locked(path: Path, *, long: bool = False) -> Iterator[Lock]:
    """Wait for other writers of `path`, also on other nodes.

    Renaming a folder is atomic on network file systems too, where file locks may not be.
    A holder that stands still may lose its lock: see `Lock.replace` and `while_locked`.

    Args:
        path: What is shared.
        long: Whether it may take longer than milliseconds, as a download does.
    """
    path = path.resolve()
    expires = LONG_LOCK_EXPIRES if long else LOCK_EXPIRES
    lock = path.with_name(f".{path.name}.lock")
    own = lock / secrets.token_hex(8)
    remove_leftovers(lock)
    new = hidden_path(lock)
    new.mkdir()
    (new / own.name).mkdir()
    seen: tuple[str, int] | None = None
    since = 0.0
    while True:
        try:
            new.rename(lock)  # onto nothing, or onto an empty folder
            break
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.EACCES):
                raise
        holder = _holder(lock)
        if holder != seen:
            seen, since = holder, time.monotonic()
        elif holder and time.monotonic() - since > expires:
            removed = hidden_path(lock)  # its holder was killed, or stands still
            with suppress(OSError):
                (lock / holder[0]).rename(removed)
                shutil.rmtree(removed, ignore_errors=True)
        time.sleep(0.02)
    ended = threading.Event()

    def renew() -> None:
        while not ended.wait(expires / 20):
            with suppress(OSError):
                os.utime(own)

    if long:
        threading.Thread(target=renew, daemon=True).start()
    try:
        yield Lock(own)
    finally:
        ended.set()
        shutil.rmtree(own, ignore_errors=True)
        with suppress(OSError):  # it is gone, or has its next holder
            lock.rmdir()


def _holder(lock: Path) -> tuple[str, int] | None:
    """Name and last sign of life of the holder of a lock."""
    with suppress(OSError):
        for own in lock.iterdir():
            return own.name, own.stat().st_mtime_ns
        lock.rmdir()  # not every system renames onto an empty folder
    return None


def while_locked(path: Path, change: Callable[[Lock], None]) -> None:
    """Call `change` under a lock; again, if another task took the lock over meanwhile.

    Args:
        path: What is shared.
        change: Reads what is there, and writes it anew by `Lock.replace`.
    """
    done = False
    while not done:
        with locked(path) as lock, suppress(LockLostError):
            change(lock)
            done = True
