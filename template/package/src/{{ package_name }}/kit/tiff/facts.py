"""Sizes of a pixel and time intervals of images, by their own files."""

import logging
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from .images import Extent, Group, Key, first_plane
from .metadata import REGULAR, Unclear, Value, regular_step
from .sources import Source

logger = logging.getLogger(__name__)

Sizes = dict[str, float | None]
"""Fact of an image by its name; None if its files do not say it."""
ARGUMENTS = {
    "pixel_x": "pixel_size_xy",
    "pixel_y": "pixel_size_xy",
    "pixel_z": "pixel_size_z",
    "interval": "time_interval",
}
"""Argument that counts more than a fact of the files."""
ALLOWED = {
    "pixel_x": (1e-5, 200),
    "pixel_y": (1e-5, 200),
    "pixel_z": (1e-5, 1e4),
    "interval": (1e-8, 1e8),
}
"""Micrometers and seconds; beyond, a unit is wrong."""
SQUARE = 5  # times that a pixel may be longer in y than in x
FLAT, TALL = 1 / 50, 250  # times that planes may lie apart, in pixels
SAME = {"pixel_x": 1e-4, "pixel_y": 1e-4, "pixel_z": 1e-3, "interval": 1e-3}
"""Relative differences that are those of rounding."""


def find_sizes(
    images: Mapping[Key, Group],
    pixel_size_xy: float | None,
    pixel_size_z: float | None,
    time_interval: float | None,
) -> dict[Key, Sizes]:
    """Sizes of a pixel and the interval of each image, and log them.

    Args:
        images: The images.
        pixel_size_xy: In micrometers; it counts more than the files.
        pixel_size_z: In micrometers; it counts more than the files.
        time_interval: In seconds; it counts more than the files.

    Raises:
        ValueError: A value is not understood, nobody can mean it, or files of an image
            differ; or one is given for an axis that no image has.
    """
    for argument, value, axis in (
        ("pixel_size_z", pixel_size_z, "z"),
        ("time_interval", time_interval, "t"),
    ):
        if value and all(group.extent.sizes[axis] == 1 for group in images.values()):
            raise ValueError(
                f"{argument}: {value:g} is not used, since no image has the axis {axis}: "
                "leave it out"
            )
    given = {"pixel_x": pixel_size_xy, "pixel_y": pixel_size_xy}
    given |= {"pixel_z": pixel_size_z, "interval": time_interval}
    found = {}
    alike: dict[str, list[str]] = defaultdict(list)
    for key, group in images.items():
        found[key] = find_facts(group.files, group.extent, given)
        known = [f"{name} {n:g}" for name, n in found[key].items() if n]
        needed = _needed(group.extent)
        if assumed := [name for name in needed if not found[key][name]]:
            verb = "is" if len(assumed) == 1 else "are"
            known.append(f"{', '.join(assumed)} {verb} assumed to be 1")
        alike[", ".join(known)].append(f"{key.well}/{key.image}")
    for text, names in alike.items():
        logger.info("%s: %s", text, ", ".join(names))
    return found


def _needed(extent: Extent) -> list[str]:
    """The facts that an image has: no distance of planes where there is one plane."""
    deep = {"pixel_z": extent.sizes["z"], "interval": extent.sizes["t"]}
    return ["pixel_x", "pixel_y", *(fact for fact, n in deep.items() if n > 1)]


def find_facts(
    sources: Sequence[Source], extent: Extent, given: Mapping[str, float | None]
) -> Sizes:
    """Sizes of a pixel and the interval of an image, by its own files; None if not said.

    Args:
        sources: Its files.
        extent: Of the acquisition.
        given: Facts by the arguments of the task, which count more.

    Raises:
        ValueError: A value is not understood, or nobody can mean it, or files differ.
    """
    needed = _needed(extent)
    found: Sizes = {}
    for fact, argument in ARGUMENTS.items():
        found[fact] = given[fact]
        if given[fact] is not None or fact not in needed:
            continue
        said = [(source.path, getattr(source.facts, fact)) for source in sources]
        found[fact] = _agreed(said, argument, SAME[fact])
        if fact in ("pixel_z", "interval"):
            steps = _measured(sources, extent, fact)
            if found[fact] is not None:  # they only have to agree, if they are regular
                steps = [
                    (path, step) for path, step in steps if isinstance(step, float)
                ]
            said = sorted([*said, *steps], key=lambda pair: pair[0])
            found[fact] = _agreed(said, argument, REGULAR)
        low, high = ALLOWED[fact]
        if (value := found[fact]) is not None and not low <= value <= high:
            _reject(sources, fact, f"{value:g}")
    x, y, z = (found[fact] for fact in ("pixel_x", "pixel_y", "pixel_z"))
    if (x is None) != (y is None):
        unsaid, text = ("x", f"{y:g} in y") if x is None else ("y", f"{x:g} in x")
        _reject(sources, "pixel_x", f"{text}, and of none in {unsaid}, in")
    if x and y and not 1 / SQUARE <= x / y <= SQUARE:
        _reject(sources, "pixel_x", f"{x:g} in x, and {y:g} in y")
    if x and z and given["pixel_z"] is None and not FLAT <= z / x <= TALL:
        _reject(sources, "pixel_z", f"{z:g}, where a pixel is {x:g} wide")
    return found


def _reject(sources: Sequence[Source], fact: str, text: str) -> None:
    """Reject a fact that nobody can mean."""
    unit = "seconds" if fact == "interval" else "micrometers"
    raise ValueError(
        f"tiff_dir: {sources[0].path} says {fact.partition('_')[0]} of {text} {unit}, "
        f"which cannot be meant; give {ARGUMENTS[fact]}"
    )


def _agreed(
    said: Iterable[tuple[Path, Value]], argument: str, tolerance: float
) -> float | None:
    """The value that all files say; None if none does."""
    known: tuple[Path, float] | None = None
    for path, value in said:
        if isinstance(value, Unclear):
            raise ValueError(f"tiff_dir: {path}: {value}; give {argument}")
        if value is None:
            continue
        known = known or (path, value)
        if abs(value - known[1]) > tolerance * abs(known[1]):
            raise ValueError(
                f"tiff_dir: {known[0]} says {known[1]:g}, and {path} says {value:g}, and "
                f"they are of one image; give {argument}"
            )
    return known[1] if known else None


def _measured(
    sources: Sequence[Source], extent: Extent, fact: str
) -> list[tuple[Path, Value]]:
    """Steps of the heights, or of the times, of planes that differ in nothing else."""
    groups: dict[tuple[int, ...], dict[int, Value]] = defaultdict(dict)
    paths: dict[tuple[int, ...], Path] = {}
    for source in sources:
        t, c, z = first_plane(source, extent)
        at, values, other = (
            (z, source.facts.heights, t)
            if fact == "pixel_z"
            else (t, source.facts.times, z)
        )
        group = source.field, c, other
        paths.setdefault(group, source.path)
        groups[group].update(enumerate(values, start=at))
    steps = [(paths[group], regular_step(values)) for group, values in groups.items()]
    if fact == "pixel_z":  # a stack may begin at its top
        return [(p, abs(s) if isinstance(s, float) else s) for p, s in steps]
    negative = Unclear("its times decrease")
    return [(p, negative if isinstance(s, float) and s < 0 else s) for p, s in steps]
