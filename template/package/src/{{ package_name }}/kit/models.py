"""Weights of models: fetched once into a cache folder, however many units start.

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
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

from .ngff import check_name
from .publish import hidden_path, locked, take_over

logger = logging.getLogger(__name__)


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
    """Path of a model in the cache folder; the first unit that needs it fetches it.

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
                take_over(path)
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
    except Exception as error:
        raise RuntimeError(
            f"model: {path} is missing, and cannot be fetched from this machine: {error}. "
            "Fetch it on one with internet, with FRACTAL_CACHE_DIR set to a folder that "
            f"both see, or copy it to {path}"
        ) from error
    return path


def model_file(model: str) -> Path:
    """Path of the file of a model, which may be on the internet.

    Args:
        model: Absolute path of a file, or its address: `https://…/weights.onnx`, and
            `#sha256=…` after it if the file has to be exactly that one.

    Raises:
        ValueError: It is no address, nor the path of a file.
        RuntimeError: The file cannot be fetched, also since pooch is missing; the message
            says what to put where.
    """
    address, _, known_hash = model.partition("#sha256=")
    if not re.match("https?://", model):
        if not Path(model).is_absolute():
            raise ValueError(
                "model: must be the absolute path of a file, or an address that begins "
                f"with https://, not {model!r}"
            )
        if not Path(model).is_file():
            raise ValueError(f"model: there is no file {model}")
        return Path(model)

    def fetch(path: Path) -> None:
        try:
            import pooch  # type: ignore[import-not-found, import-untyped, unused-ignore]
        except ImportError as error:
            raise ImportError("pooch is not installed, which fetches files") from error
        pooch.retrieve(
            address,
            f"sha256:{known_hash}" if known_hash else None,
            fname=path.name,
            path=path.parent,
        )

    # Many models are called weights.onnx.
    number = hashlib.sha256(model.encode()).hexdigest()[:8]
    return cached_model(
        f"{number}-{re.sub('[?].*', '', address).split('/')[-1]}", fetch
    )


def model_sources(model: str) -> list[Path]:
    """Files of a model, for a `Step`; none of an address, whose file stays the same.

    ONNX may keep weights in a second file, such as `model.onnx.data`.

    Args:
        model: As for `model_file`.
    """
    if "://" in model:
        return []
    path = model_file(model)
    return sorted(path.parent.glob(f"{glob.escape(path.name)}*"))


def main() -> None:
    """Fetch what a task needs."""
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
