"""Names and wavelength IDs of the channels of images."""

import logging
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import count
from pathlib import Path

from .images import Extent, Group, Key, first_plane, is_number
from .sources import Source

logger = logging.getLogger(__name__)


def find_channels(
    images: Mapping[Key, Group], given: Sequence[str] | None
) -> dict[Key, list[str]]:
    """Name of each channel of each image: by its own files, unless they are given.

    Raises:
        ValueError: Files of an image differ, or names given are not those of channels.
    """
    if given is not None:
        called = defaultdict[str, list[str]](list)
        for key, group in images.items():
            n_channels = group.extent.sizes["c"]
            if len({*given} - {""}) != n_channels or len(given) > len({*given}):
                raise ValueError(
                    f"channel_names: {list(given)}; the number of channels of acquisition "
                    f"{key.acquisition} is {n_channels}: give each another name"
                )
            own = _reject_swapped(given, group)
            pairs = zip(own, given, strict=True)
            text = ", ".join(f"{old or 'no name'} becomes {new}" for old, new in pairs)
            called[text].append(f"{key.well}/{key.image}")
        for text, names in called.items():
            which = "all images" if len(called) == 1 else ", ".join(names)
            logger.info("channel_names: %s: %s", text, which)
        return {key: list(given) for key in images}
    known: dict[int, list[str]] = defaultdict(list)
    labels = {}
    for key, group in images.items():
        labels[key] = find_labels([*group.files, *group.absent], group.extent)
        of_files = [label for label in labels[key] if label]
        known[key.acquisition] = max(known[key.acquisition], of_files, key=len)
    return {
        key: unique_labels(labels[key], known[key.acquisition], group.extent)
        for key, group in images.items()
    }


def _reject_swapped(given: Sequence[str], group: Group) -> list[str | None]:
    """Names of channels by the files, unless one of those given is that of another channel.

    A name is alike if one contains the other: `A594` and `A594 (50 ms)`.

    Raises:
        ValueError: One is.
    """
    try:
        labels = find_labels([*group.files, *group.absent], group.extent)
    except ValueError:  # files differ, and the argument decides
        return [None] * len(given)
    for index, name in enumerate(given):
        alike = [n for n, label in enumerate(labels) if _are_alike(name, label or "")]
        if alike and index not in alike:
            listed = ", ".join(label or "one without a name" for label in labels)
            raise ValueError(
                f"channel_names: {name!r} is at position {index}, and by the files the "
                f"channels are {listed}, in this order: give the names in it"
            )
    return labels


def _are_alike(name: str, label: str) -> bool:
    """Return whether the letters and digits of a name are in the other one."""
    short, long = sorted(
        ("".join(filter(str.isalnum, text.lower())) for text in (name, label)), key=len
    )
    return short == long if len(short) < 3 else short in long


def find_wavelengths(
    channels: Mapping[Key, Sequence[str]], given: Sequence[str] | None
) -> dict[Key, list[str]]:
    """Wavelength ID of each channel of each image: the same for a name in an acquisition.

    Raises:
        ValueError: Of those given there are more or fewer than channels, or two are equal.
    """
    labels: dict[int, dict[str, None]] = defaultdict(dict)
    for key, names in sorted(channels.items()):
        labels[key.acquisition] |= dict.fromkeys(names)
    ids = {
        number: _wavelengths(given, number, [*names])
        for number, names in sorted(labels.items())
    }
    return {
        key: [ids[key.acquisition][name] for name in names]
        for key, names in channels.items()
    }


def _wavelengths(
    given: Sequence[str] | None, key: int, labels: Sequence[str]
) -> dict[str, str]:
    """Wavelength ID of each channel of an acquisition, by its name.

    Raises:
        ValueError: There are more or fewer than channels, or two are equal.
    """
    if given is None:
        if all(label[:1] == "A" and "_C" in label for label in labels):
            return {label: label for label in labels}  # as Yokogawa writes them
        return {label: f"A01_C{n + 1:02}" for n, label in enumerate(labels)}
    if len(given) != len(labels) or len({*given}) < len(given) or "" in given:
        raise ValueError(
            f"wavelengths: {list(given)}; needed is one for each of the channels "
            f"{', '.join(labels)} of acquisition {key}, each another one"
        )
    return dict(zip(labels, given, strict=True))


def find_labels(sources: Sequence[Source], extent: Extent) -> list[str | None]:
    """Name of each channel of an image by its own files; empty if they do not say it.

    A channel that has no file has None.

    Raises:
        ValueError: Two files call a channel differently.
    """
    n_channels = extent.sizes["c"]
    said = any("channel" in source.name.says for source in sources)
    if said and not all(map(is_number, extent.channels)):
        same = len(extent.channels) == n_channels
        return [*extent.channels] if same else [""] * n_channels
    found: dict[int, tuple[str, Path]] = {}
    filled = set[int]()
    for source in sources:
        _, start, _ = first_plane(source, extent)
        filled |= {*range(start, start + source.scene.shape[1])}
        for index, label in enumerate(source.facts.channels, start=start):
            known, path = found.setdefault(index, (label, source.path))
            if known and label and known != label:
                raise ValueError(
                    f"tiff_dir: channel {index} is {known!r} in {path}, and {label!r} in "
                    f"{source.path}, which are of one image; give channel_names"
                )
            found[index] = known or label, path
    return [
        found[n][0] if n in found else "" if n in filled else None
        for n in range(n_channels)
    ]


def unique_labels(
    labels: Sequence[str | None], known: Iterable[str], extent: Extent
) -> list[str]:
    """Names of channels, each another one: those without a name get their number.

    Args:
        labels: Of an image, as `find_labels` gives them.
        known: Names in its acquisition: a channel without files gets one that is left,
            if all others have names.
        extent: Of the acquisition.
    """
    named = [] if "" in labels else [*dict.fromkeys(known)]
    left = iter([name for name in named if name not in labels])
    labels = [next(left, "") if label is None else label for label in labels]
    n_channels = extent.sizes["c"]
    numbers = extent.channels if len(extent.channels) == n_channels else []
    numbers = numbers or [str(n) for n in range(n_channels)]
    real, unique = {*labels}, list[str]()
    for label, number in zip(labels, numbers, strict=True):
        name = label or number
        if name in unique or (not label and name in real):
            names = (f"{name}_{n}" for n in count(1))
            name = next(n for n in names if n not in real and n not in unique)
        unique.append(name)
    return unique
