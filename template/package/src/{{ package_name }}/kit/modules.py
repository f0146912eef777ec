"""Modules of a package that one of them needs, as far as its source says."""

import ast
from collections.abc import Collection, Iterable, Iterator
from functools import cache
from importlib.machinery import EXTENSION_SUFFIXES, SOURCE_SUFFIXES
from pathlib import Path

SUFFIXES = (*EXTENSION_SUFFIXES, *SOURCE_SUFFIXES)
Name = tuple[str, ...]  # of a module, without that of the package


def needed_modules(
    package: Path, first: Iterable[Path], done: Collection[Path] = ()
) -> list[Path]:
    """Return files of modules, and of all modules of the package that they import.

    Nothing is executed. Imports inside of functions and of type checkers count as well;
    a folder whose `__init__` has a `__getattr__` counts as a whole. Neither a name that
    is made up at run time nor a data file beside a module can be known.

    Args:
        package: Folder of the package.
        first: Files of modules to begin with.
        done: Files that are needed too, and import no others.
    """
    found = {*done}
    new = [*first]
    while new:
        file = new.pop()
        if file in found:
            continue
        found.add(file)
        name = file.relative_to(package).with_suffix("").parts
        is_init = name[-1] == "__init__"
        holder = name[:-1]
        if file.suffix == ".py":
            for module in _imports(file.read_bytes(), package.name, holder, is_init):
                new += _files(package, module)
    return sorted(found)


@cache
def _imports(text: bytes, package: str, holder: Name, is_init: bool) -> set[Name]:
    """Names that a module imports from its package; the last of one may be a function."""
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError):  # it cannot be imported either
        return set()
    found = {holder}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                found |= _resolve(package, (), 0, alias.name)
        elif isinstance(node, ast.ImportFrom):
            for base in _resolve(package, holder, node.level, node.module or ""):
                found |= {(*base, alias.name) for alias in node.names}
        elif isinstance(node, ast.Call) and node.args:
            name = node.func.attr if isinstance(node.func, ast.Attribute) else node.func
            name = name.id if isinstance(name, ast.Name) else name
            given = getattr(node.args[0], "value", None)
            if name in ("import_module", "__import__") and isinstance(given, str):
                module = given.lstrip(".")
                level = len(given) - len(module)
                found |= _resolve(package, holder, level, module)
    names = [getattr(node, "name", "") for node in tree.body]
    if is_init and "__getattr__" in names:
        found.add((*holder, "*"))
    return found


def _resolve(package: str, holder: Name, level: int, module: str) -> set[Name]:
    """Name of a module without that of the package, which may be of another one.

    What is started by its path finds the modules beside it without the package's name.
    """
    parts = tuple(module.split(".")) if module else ()
    if level:
        base = len(holder) - level + 1
        return {(*holder[:base], *parts)} if base >= 0 else set()
    return {parts[1:] if parts[:1] == (package,) else parts}


def _files(package: Path, name: Name) -> Iterator[Path]:
    """Files of a module, and of the packages around it."""
    for length in range(len(name) + 1):
        module = package.joinpath(*name[:length])
        if module.name == "*":
            yield from module.parent.glob("*.py")
            continue
        for path in (module / "__init__", module):
            files = (path.with_name(path.name + suffix) for suffix in SUFFIXES)
            if file := next((file for file in files if file.is_file()), None):
                yield file
                break
