"""Find the modules of a package that a module imports, from its source."""

import re
from collections.abc import Collection, Iterable, Iterator
from importlib.machinery import EXTENSION_SUFFIXES, SOURCE_SUFFIXES
from pathlib import Path

SUFFIXES = (*EXTENSION_SUFFIXES, *SOURCE_SUFFIXES)
Name = tuple[str, ...]  # of a module, without that of the package
Listings = dict[Path, set[str]]

# Each unit of a task looks for these: `ast` takes ten times as long.
START = r"(?:^|[:;])[ \t]*"
FROM = re.compile(
    rf"{START}from\b[ \t]*([.\w]+)[ \t]*import\b[ \t]*(\([^)]*\)|[^\n;]*)", re.MULTILINE
)
IMPORT = re.compile(rf"{START}import[ \t]+([^\n;]+)", re.MULTILINE)
CALL = re.compile(r"(?:import_module|__import__)\(\s*[\"']([.\w]+)[\"']")
LAZY = re.compile(r"\b__getattr__\b")
IGNORED = re.compile(r"\\\r?\n|#[^\n]*")


def needed_modules(
    package: Path, first: Iterable[Path], done: Collection[Path] = ()
) -> list[Path]:
    """Return files of modules, and of all modules of the package that they import.

    Nothing is executed. Imports inside of functions, of type checkers and in examples of
    docstrings count as well; a folder whose `__init__` has a `__getattr__` counts as a
    whole. Neither a name that is made up at run time nor a data file can be known.

    Args:
        package: Folder of the package.
        first: Files of modules to begin with.
        done: Files that are needed too, and import no others.
    """
    found = {*done}
    new = [*first]
    listings: Listings = {}
    while new:
        file = new.pop()
        if file in found:
            continue
        found.add(file)
        if file.suffix == ".py":
            holder = file.parent.relative_to(package).parts
            text = file.read_text("utf-8", errors="replace")
            names = _imports(text, package.name, holder)
            if file.name == "__init__.py" and LAZY.search(text):
                names.add((*holder, "*"))
            for name in names:
                new += _files(package, name, listings)
    return sorted(found)


def _imports(text: str, package: str, holder: Name) -> set[Name]:
    """Names that a module imports from its package; the last part may be a function."""
    text = IGNORED.sub(" ", text)
    found = {holder}
    for module, names in FROM.findall(text):
        base = _resolve(package, holder, module)
        found |= {(*base, name) for name in re.findall(r"\w+|\*", names)}
    for modules in IMPORT.findall(text):
        for module in modules.split(","):
            found.add(_resolve(package, (), module.split(" as ")[0].strip()))
    found |= {_resolve(package, holder, module) for module in CALL.findall(text)}
    return found


def _resolve(package: str, holder: Name, module: str) -> Name:
    """Name of a module, without the name of this package.

    What is started by its path finds the modules beside it without the package's name.
    """
    name = module.lstrip(".")
    parts = tuple(name.split(".")) if name else ()
    if level := len(module) - len(name):
        base = len(holder) - level + 1
        return (*holder[:base], *parts) if base >= 0 else ("", *parts)
    return parts[1:] if parts[:1] == (package,) else parts


def _files(package: Path, name: Name, listings: Listings) -> Iterator[Path]:
    """Files of a module, and of the packages around it."""
    folder = package
    for part in (*name, ""):
        if folder not in listings:
            is_folder = folder.is_dir()
            listings[folder] = (
                {p.name for p in folder.iterdir()} if is_folder else set()
            )
        inside = listings[folder]
        modules = (f"{stem}{end}" for stem in ("__init__", part) for end in SUFFIXES)
        yield from (folder / module for module in modules if module in inside)
        if part == "*":
            yield from folder.glob("*.py")
        if part not in inside:
            return
        folder = folder / part
