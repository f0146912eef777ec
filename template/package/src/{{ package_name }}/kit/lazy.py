"""Names of a package whose modules are imported when a name is used."""

import gc
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

NAME = re.compile(r"from (\.[\w.]+) import (\w+) as")


def lazy_names(
    package: str, file: str
) -> tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]:
    """Make the `__getattr__`, `__dir__` and `__all__` of a package.

    Args:
        package: Its name.
        file: Its `__init__.py`, which has a line `from .module import name as name` for each
            name, for editors and type checkers only.
    """
    homes = {n: m for m, n in NAME.findall(Path(file).read_text("utf-8"))}

    def get(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        with _no_collection():
            value = getattr(import_module(homes[name], package), name)
        setattr(sys.modules[package], name, value)
        return value

    return get, lambda: sorted(homes), sorted(homes)


@contextmanager
def _no_collection() -> Iterator[None]:
    """Pause the search for garbage, which takes 3 to 4 % of the imports of a task."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
