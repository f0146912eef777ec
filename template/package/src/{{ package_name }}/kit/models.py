"""Weights of models: downloaded once into a cache folder, for all units.

As a program, `python -m PACKAGE.kit.models TASK MODEL` calls `load_model` of a task, which
fetches what a machine without internet then needs.
"""

import argparse
import glob
import hashlib
import logging
import os
import re
import shutil
import zipfile
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

from .publish import check_name, hidden_path, locked, remove_leftovers

logger = logging.getLogger(__name__)


class WrongFileError(ValueError):
    """A file that is not the expected model."""


def cache_folder() -> Path:
    """Folder of models: in `FRACTAL_CACHE_DIR`, which servers set, or in the user's cache.

    Raises:
        RuntimeError: The user has neither; a temporary folder is open to others.
    """
    given = os.environ.get("FRACTAL_CACHE_DIR") or "~/.cache/fractal"
    try:
        return Path(given, "models").expanduser().resolve()
    except RuntimeError as error:
        raise RuntimeError(
            f"FRACTAL_CACHE_DIR: there is no folder {given}: set it to one that only you "
            "can write to"
        ) from error


def cached_model(name: str, fetch: Callable[[Path], object]) -> Path:
    """Path of a model in the cache folder; the first unit downloads it.

    All other units wait for it, on other nodes too. What has the name is taken as it is.

    Args:
        name: Name of the file, or folder, with the weights.
        fetch: Makes a file, or folder, at the path that it gets.

    Raises:
        RuntimeError: It cannot be fetched; the message says what to put where.
    """
    check_name(name, "model")
    path = cache_folder() / name
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        while not path.exists():
            with locked(path, long=True) as lock:
                if path.exists():
                    break
                remove_leftovers(path, of_the_living=True)
                partial = hidden_path(path)
                try:
                    partial.mkdir()
                    logger.info("fetching the model %s", path)
                    fetch(partial / name)
                    (partial / name).rename(path)
                except Exception:
                    if lock.is_held():
                        raise  # otherwise, another unit fetches it, which took over
                finally:
                    shutil.rmtree(partial, ignore_errors=True)
    except WrongFileError as error:
        raise RuntimeError(str(error)) from error
    except Exception as error:
        raise RuntimeError(
            f"model: {path} is missing, and cannot be fetched from this machine: {error}. "
            "Fetch it on one with internet, with FRACTAL_CACHE_DIR set to a folder that "
            f"both see, or copy it to {path}"
        ) from error
    return path


def model_file(model: str, check: Callable[[Path], object] | None = None) -> Path:
    """Path of the file of a model; an address is downloaded once.

    A file that is fetched is kept only if it is what it should be. If `model` names no
    checksum, the log says that of the file.

    Args:
        model: Absolute path of a file, or its address: `https://…/weights.onnx`, and
            `#sha256=…` after either if the file has to be exactly that one.
        check: Fails for a file that is no model, such as a function that loads it; called
            for one that was just fetched.

    Raises:
        ValueError: It is no address, nor the path of a file; or the file is not the model.
        RuntimeError: The file cannot be fetched, also since pooch is missing; the message
            says what to put where. Or what was fetched is not the model.
    """
    address, mark, fragment = model.partition("#")
    is_local = not re.match("https?://", model)
    if is_local and Path(model).is_absolute() and Path(model).is_file():
        address, mark = model, ""  # a name of a file may have a #
    known = re.fullmatch("sha256=([0-9a-fA-F]{64})", fragment)
    if mark and not known:
        raise ValueError(
            f"model: #{fragment} is not understood: write #sha256= and the 64 hexadecimal "
            "digits of the checksum of the file, or leave it out"
        )
    checksum = known[1].lower() if mark and known else ""
    if is_local:
        if not Path(address).is_absolute():
            raise ValueError(
                "model: must be the absolute path of a file, or an address that begins "
                f"with https://, not {model!r}"
            )
        if not Path(address).is_file():
            raise ValueError(f"model: there is no file {address}")
        check_file(Path(address), checksum)
        return Path(address)

    def fetch(path: Path) -> None:
        try:
            import pooch  # type: ignore[import-not-found, import-untyped, unused-ignore]
        except ImportError as error:
            raise ImportError("pooch is not installed, which fetches files") from error
        pooch.retrieve(address, None, fname=path.name, path=path.parent)
        check_file(path, checksum, address)
        try:
            if check:
                check(path)
        except Exception as error:
            raise WrongFileError(
                f"model: {address} is no such model: {error}"
            ) from error
        if not checksum:
            logger.info("to insist on this file, add #sha256=%s to model", sha256(path))

    # Many models are called weights.onnx.
    exact = f"{address}#sha256={checksum}" if checksum else address
    number = hashlib.sha256(exact.encode()).hexdigest()[:8]
    name = re.sub(r"[^\w.-]+", "_", re.sub("[?].*", "", address).split("/")[-1])
    path = cached_model(f"{number}-{name[-100:]}", fetch)
    check_file(path, checksum)
    return path


def sha256(path: Path) -> str:
    """Checksum of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_file(path: Path, checksum: str = "", source: str = "") -> None:
    """Reject a file that is not the expected model.

    Args:
        path: The file.
        checksum: Its SHA-256, if that is known.
        source: Where it comes from, for the message.

    Raises:
        WrongFileError: It has another checksum. Or it is what comes in place of a model:
            nothing, a page, a message of a server, a pointer of Git LFS, half of a zip file.
    """
    source = source or str(path)
    if checksum:
        if (found := sha256(path)) != checksum:
            raise WrongFileError(
                f"model: the hash of {source} is sha256={found}, not {checksum}: it is "
                "another file, or not complete. Correct #sha256=, or replace the file"
            )
        return
    suffix = path.suffix.lower()
    with path.open("rb") as file:
        begin = file.read(512).lstrip(b"\xef\xbb\xbf \t\r\n")
    if not begin:
        fault = "it is empty"
    elif begin.startswith(b"version https://git-lfs"):
        fault = "it is a pointer of Git LFS: take the address of the file itself"
    elif begin.startswith(b"<") and suffix != ".xml":
        fault = "it is a page of a website, such as that of a login"
    elif begin.startswith((b"{", b"[")) and suffix not in (".json", ".yaml", ".yml"):
        fault = "it is JSON, such as the message of a server"
    elif suffix in (".zip", ".keras", ".npz") and not zipfile.is_zipfile(path):
        fault = "it is no zip file, or not complete"
    else:
        return
    raise WrongFileError(f"model: {source} is no model: {fault}")


def model_sources(model: str) -> list[Path]:
    """Files of a model, for a `Step`; none for an address, whose file stays the same.

    ONNX may keep weights in a second file, such as `model.onnx.data`.

    Args:
        model: As for `model_file`.
    """
    if "://" in model:
        return []
    path = model_file(model)
    return sorted(path.parent.glob(f"{glob.escape(path.name)}*"))


def main() -> None:
    """Download the models of a task."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "task",
        help="module of a task with a function load_model, such as segment_cells",
    )
    parser.add_argument("model", nargs="*", help="what load_model is called with")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    package = (__package__ or "").rpartition(".")[0]
    tasks = Path(__file__).parents[1].glob("*.py")
    names = [
        task.stem for task in tasks if "def load_model(" in task.read_text("utf-8")
    ]
    if arguments.task not in names:
        parser.error(f"task: must be one of {', '.join(sorted(names)) or '(none)'}")
    import_module(f"{package}.{arguments.task}").load_model(*arguments.model)
    logger.info("It is loaded. What had to be fetched is in %s", cache_folder())


if __name__ == "__main__":
    main()
