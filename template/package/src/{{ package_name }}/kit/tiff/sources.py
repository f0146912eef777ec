"""The positions in all files of a folder, and those that their metadata list in vain."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from ..threads import in_threads
from .files import Content, read_content
from .index import Index
from .metadata import Facts, merged
from .names import Name, Naming
from .ome import Scene

Set = tuple[Path, int]
"""Folder of files that share their metadata, and a number for these."""
Home = tuple[str, str, int]
"""Row and column of a well, and the number of an acquisition."""


class Source(NamedTuple):
    """A position in a file, with all that is known of it.

    Attributes:
        path: The file.
        name: What its name says.
        scene: The position.
        number: Which of the positions in the file it is.
        facts: By the index of the instrument, and by the file.
    """

    path: Path
    name: Name
    scene: Scene
    number: int
    facts: Facts

    @property
    def field(self) -> int:
        """Number of the field, by the name of the file or by its metadata."""
        return self.name.field if "field" in self.name.says else self.scene.number

    @property
    def set(self) -> Set:
        """The files that share their metadata."""
        return self.path.parent, self.scene.set

    @property
    def home(self) -> Home:
        """Its well and acquisition."""
        return self.name.row, self.name.column, self.name.acquisition

    def renumbered(self, numbers: Mapping[tuple[Set, Home, int], int]) -> "Source":
        """Return the position with its number in its well, if that is another one."""
        number = numbers.get((self.set, self.home, self.scene.number))
        return (
            self
            if number is None
            else self._replace(scene=replace(self.scene, number=number))
        )


def read_files(
    paths: Sequence[Path], naming: Naming, index: Index
) -> tuple[list[Source], list[Source], list[str]]:
    """Open all files, and list the positions in them, and those that are missing.

    Args:
        paths: The files.
        naming: Reads their names.
        index: What the instrument says of them.

    Returns:
        Positions in the files; those that metadata place in files that are not there; and a
        line for each of these whose well or field is not known.

    Raises:
        ValueError: Names do not fit, a file is damaged, or both its name and its metadata count fields.
    """

    def content_of(path: Path) -> Content:
        return read_content(path, resolution=path not in index.decides)

    sources = []
    names = naming.read(paths)
    contents = dict(zip(paths, in_threads(content_of, paths), strict=True))
    for (path, content), name in zip(contents.items(), names, strict=True):
        if len(content.scenes) > 1 and "field" in name.says:
            raise ValueError(
                f"pattern: {path} has several positions, and its name says one of them"
            )
        known = index.facts.get(path, Facts())
        sources += [
            Source(path, name, scene, number, merged(known, scene.facts))
            for number, scene in enumerate(content.scenes)
        ]
    absent, unclear = find_absent(contents, sources, naming)
    plane = Scene(0, (0, 0, 0), (1, 1, 1), (1, 1, 1, 0, 0), "", Facts())
    plane = replace(plane, missing=frozenset([(0, 0, 0)]))
    for path in index.absent:
        if listed := naming.find(path):
            absent.append(Source(path, listed, plane, 0, index.facts[path]))
    numbers = count_positions([*sources, *absent])
    sources, absent = (
        [source.renumbered(numbers) for source in of] for of in (sources, absent)
    )
    return sources, absent, unclear


def count_positions(sources: Iterable[Source]) -> dict[tuple[Set, Home, int], int]:
    """Number of each position in its well, where the metadata of a set have several wells.

    Args:
        sources: All positions, also those that are missing.
    """
    wells: dict[Set, dict[Home, set[int]]] = defaultdict(lambda: defaultdict(set))
    for source in sources:
        wells[source.set][source.home].add(source.scene.number)
    return {
        (of_set, home, position): number
        for of_set, homes in wells.items()
        for home, positions in homes.items()
        if len(homes) > 1
        for number, position in enumerate(sorted(positions))
    }


def find_absent(
    contents: Mapping[Path, Content],
    sources: Sequence[Source],
    naming: Naming,
) -> tuple[list[Source], list[str]]:
    """Positions that the metadata of files place in none that is there.

    Args:
        contents: Of each file.
        sources: Positions in the files.
        naming: Reads names of files.

    Returns:
        These positions, and a line for each whose well or field is not known.
    """
    there = {(path.parent, content.uuid) for path, content in contents.items()}
    recorded = {(source.set, source.scene.number) for source in sources}
    names: dict[Set, set[Name]] = defaultdict(set)
    for source in sources:
        names[source.set].add(source.name)
    found: dict[tuple[Set, str, int], Source] = {}
    unclear: dict[str, None] = {}
    for path, (_, absent, _) in contents.items():
        for file, uuid, scene in absent:
            of_set = path.parent, scene.set
            if uuid and (path.parent, uuid) in there:  # it was renamed
                continue
            if not file and (of_set, scene.number) in recorded:
                continue
            name = naming.find(path.with_name(file)) if file else None
            if name is None and len(names[of_set]) == 1:
                (only,) = names[of_set]
                name = None if "field" in only.says else only
            if name is None:
                what = file or f"position {scene.number}"
                unclear[f"{what}, by the metadata of {path.name}"] = None
                continue
            source = Source(
                path.with_name(file or path.name), name, scene, 0, scene.facts
            )
            found.setdefault((of_set, file or uuid, scene.number), source)
    return [*found.values()], [*unclear]
