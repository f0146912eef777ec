"""Names of TIFF files, by a pattern or by microscope."""

import os
import re
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import Literal, NamedTuple

FIELDS = {
    "row": "[A-Za-z]{1,2}",
    "row_number": "[0-9]{1,2}",
    "column": "[0-9]{1,3}",
    "acquisition": "[0-9]+",
    "field": "[0-9]+",
    "action": "[0-9]+",
    "channel": "[^_./]+",
    "z": "[0-9]+",
    "t": "[0-9]+",
    "guid": "[0-9A-F]{8}(?:-[0-9A-F]{4}){3}-[0-9A-F]{12}",
}
DEFAULT_PATTERN = (
    "{row}{column}[_a{acquisition}][_f{field}][_c{channel}][_z{z}][_t{t}].*"
)
ALLOWED = f"allowed are well, {', '.join(FIELDS)}, each in braces"
BRACKETS = r"in [ ] is what may be missing: write \[ and \] for brackets in a name"
WELL = re.compile("([A-Za-z]{1,2})[-_ ]?([0-9]{1,3})")

ENDINGS = (".tif", ".tiff", ".stk", ".btf", ".tf2", ".tf8")  # the last, of BigTIFF
ENDING = "{ending}"  # of a pattern that has none
ANY_ENDING = r"(?:\.ome\.(?:tiff?|btf|tf[28])|(?<!\.ome)\.(?:tiff?|stk|btf|tf[28]))"

Microscope = Literal[
    "pattern", "yokogawa_cv", "operetta", "imagexpress", "incell", "micromanager"
]


class Convention(NamedTuple):
    """How a microscope names its files: the first pattern that fits counts."""

    patterns: Sequence[str]
    skip: Sequence[str] = ()


CONVENTIONS = {
    "yokogawa_cv": Convention(
        ["*_{row}{column}_T{t}F{field}L*A{action}Z{z}C{channel}.tif"],
        ["DC_*", "SC_*"],
    ),
    "operetta": Convention(
        [
            "[*/]r{row_number}c{column}f{field}p{z}-ch{channel}sk{t}fk*fl*.tiff",
            "[*/]r{row_number}c{column}f{field}p{z}-ch{channel}t{t}.tiff",
        ]
    ),
    "imagexpress": Convention(
        [
            "[TimePoint_{t}/][ZStep_{z}/][*_]{row}{column}"
            f"{field}{channel}{guid}.tif"
            for guid in ("{guid}", "")
            for field in ("_s{field}", "")
            for channel in ("_w{channel}", "")
        ],
        ["*_thumb*"],
    ),
    "incell": Convention(
        [
            "{row} - {column}(fld {field} wv {channel}" + z + time + ").tif"
            for z in (" z {z}", "")
            for time in (" time {t} - * ms", " time {t}", "")
        ]
    ),
    "micromanager": Convention(
        [
            "[*/]*MMStack_{row}{column}-Site_{field}[_*].ome.tif",
            "[*/]*MMStack_Pos{field}[_*].ome.tif",
            "[*/]*MMStack*.ome.tif",
            "{row}{column}-Site_{field}/img_channel{channel}_position*_time{t}_z{z}.tif",
            "[*/]img_channel{channel}_position{field}_time{t}_z{z}.tif",
            "{row}{column}-Site_{field}/img_{t}_{channel}_{z}.tif",
            "*Pos{field}/img_{t}_{channel}_{z}.tif",
            "[*/]img_{t}_{channel}_{z}.tif",
        ]
    ),
}


class Name(NamedTuple):
    """The parts of a file name; missing ones are 0."""

    row: str
    column: str
    acquisition: int
    field: int
    channel: str
    z: int
    t: int
    says: frozenset[str]


class Naming(NamedTuple):
    """How the files of a folder are named.

    Attributes:
        folder: Folder from which on their paths are names.
        patterns: The first that fits a name counts.
        skip: Names to leave out, of which there may be none.
        below: Whether the folders below it are searched too.
        well: Row and column of all files, if their names do not say it.
    """

    folder: Path
    patterns: Sequence[str]
    skip: Sequence[str]
    below: bool
    well: tuple[str, str] | None

    @classmethod
    def by(
        cls, tiff_dir: str, file_names: str, pattern: str, well: str | None
    ) -> "Naming":
        """Choose the patterns by the arguments of a task.

        Args:
            tiff_dir: Folder of the files.
            file_names: A `Microscope`.
            pattern: For `file_names` pattern; without an ending, it fits all of TIFFs.
            well: Well of all files, such as A01.

        Raises:
            ValueError: An argument is wrong, not used, or missing.
        """
        known = split_well(well, "well") if well else None
        if file_names != "pattern":
            if pattern != DEFAULT_PATTERN:
                raise ValueError(
                    f"pattern: {pattern!r} is not used where file_names is {file_names}: "
                    "leave it out, or set file_names to pattern"
                )
            return cls(Path(tiff_dir), *CONVENTIONS[file_names], True, known)
        fields = compile_pattern(pattern).groupindex.keys()
        says_well = bool({"row", "row_number"} & fields) and "column" in fields
        if says_well and known:
            raise ValueError(
                f"well: {well!r} is for file names that do not say it, and {pattern!r} does"
            )
        if not says_well and not known:
            raise ValueError(
                f"pattern: {pattern!r}; needed are row (or row_number) and column, unless "
                f"the argument well is given; {ALLOWED}"
            )
        has_ending = re.search(
            r"\*|\.(tiff?|stk|btf|tf[28])", pattern.rpartition("}")[2], re.I
        )
        whole = pattern if has_ending else pattern + ENDING
        return cls(Path(tiff_dir), [whole], (), "/" in pattern, known)

    def read(self, paths: Iterable[Path]) -> list[Name]:
        """Read the names of files.

        Raises:
            ValueError: Names do not fit, or in two ways, or do not say the well.
        """
        names = {path: self.find(path) for path in paths}
        unfit = [path for path, name in names.items() if name is None]
        if unfit:
            shown = [path.relative_to(self.folder).as_posix() for path in unfit[:5]]
            texts = [show_misfit(name, self.patterns) for name in shown]
            parts = {part for one in self.patterns for part in split_pattern(one)}
            in_names = "[" in parts and any("[" in name for name in shown)
            hint = f"; {BRACKETS}" if in_names else ""
            raise ValueError(
                f"pattern: {' or '.join(map(_shown, self.patterns))} does not fit "
                f"{len(unfit)} of {len(names)} file names: {', '.join(texts)}; the "
                f"argument skip leaves files out{hint}"
            )
        return [name for name in names.values() if name]

    def find(self, path: Path) -> Name | None:
        """Read the name of a file; None if it does not fit.

        Raises:
            ValueError: It fits in two ways, or does not say the well.
        """
        name = path.relative_to(self.folder).as_posix()
        if (match := fit_pattern(name, self.patterns)) is None:
            return None
        said = {field: value for field, value in match.groupdict().items() if value}
        row, column = said.get("row", "").upper(), said.get("column", "")
        if "row_number" in said:
            row = row_letters(int(said["row_number"]), name)
        if not (row and column):
            if self.well is None:
                raise ValueError(f"well: {name} does not say it: give it, such as A01")
            row, column = self.well
        elif self.well:
            given = "".join(self.well)
            raise ValueError(f"well: {given!r} is given, and {name} says {row}{column}")
        channel = said.get("channel", "0")
        in_brackets = any("[{channel}]" in pattern for pattern in self.patterns)
        if in_brackets and re.fullmatch(r"\[.*\]", channel):
            raise ValueError(
                f"pattern: the channel of {name} would be {channel!r}; {BRACKETS}"
            )
        if "action" in said:
            channel = f"A{said['action']}_C{channel}"
        acquisition, field, z, t = (
            int(said.get(key, 0)) for key in ("acquisition", "field", "z", "t")
        )
        says = frozenset(said)
        return Name(row, f"{int(column):02}", acquisition, field, channel, z, t, says)


def find_tiffs(naming: Naming, skip: Sequence[str]) -> list[Path]:
    """TIFF files of a folder, in the order of their names.

    Args:
        naming: The folder, and how files are named.
        skip: Names to leave out, such as `*_thumb*`; of files, or paths below the folder.

    Raises:
        FileNotFoundError: There are none.
        ValueError: No file has a name that `skip` leaves out.
    """
    folder, below = naming.folder, naming.below
    globs = {glob.lower(): glob for glob in [*naming.skip, *skip]}
    used, walked = set(), {folder.resolve()}
    paths = []
    # A folder may be a link, such as to another disk.
    for parent, folders, names in os.walk(folder, followlinks=True):
        folders[:] = [name for name in folders if below and not name.startswith(".")]
        folders[:] = [name for name in folders if not name.endswith(".zarr")]
        for name in filter(lambda name: Path(parent, name).is_symlink(), [*folders]):
            if (place := Path(parent, name).resolve()) in walked:
                raise ValueError(
                    f"tiff_dir: {Path(parent, name)} is a link to {place}, whose files are "
                    "read already: remove the link"
                )
            walked.add(place)
        paths += [
            Path(parent, name)
            for name in names
            if name[0] != "." and name.lower().endswith(ENDINGS)
        ]
    kept = []
    for path in sorted(paths):
        names = [path.name.lower(), path.relative_to(folder).as_posix().lower()]
        fitting = {glob for glob in globs for name in names if fnmatchcase(name, glob)}
        used |= fitting
        if not fitting:
            kept.append(path)
    if not kept:
        left_out = f" but {len(paths)} that are left out" if paths else ""
        raise FileNotFoundError(
            f"tiff_dir: there are no TIFF files in {folder}{left_out}"
        )
    if unused := [glob for glob in skip if glob.lower() not in used]:
        raise ValueError(
            f"skip: no TIFF file in {folder} has a name like {unused[0]!r}: correct it, "
            "or leave it out"
        )
    return kept


@cache
def compile_pattern(
    pattern: str, *, greedy: bool = True, any_channel: bool = False
) -> re.Pattern[str]:
    """Make a regular expression of a pattern such as `{row}{column}[_z{z}].tif`.

    Args:
        pattern: Fields in braces, * for any text, and in [ ] what may be missing. {well} is
            {row}{column}, also with a space, - or _ between them. A backslash before *, [,
            ], { or } makes it a part of the name.
        greedy: Whether each part takes as much of a name as it can, or as little.
        any_channel: Whether the name of a channel may have _ and . in it.

    Raises:
        ValueError: A field is unknown or repeated, or brackets do not match.
    """
    lazy = "" if greedy else "?"
    meanings = {"[": "(?:", "]": f")?{lazy}", "*": f"[^/]*{lazy}", ENDING: ANY_ENDING}
    for field, values in FIELDS.items():
        if field == "channel" and any_channel:
            values = "[^/]+"
        meanings["{" + field + "}"] = f"(?P<{field}>{values}{lazy})"
    expression = ""
    meanings["{well}"] = f"{meanings['{row}']}[ _-]?{meanings['{column}']}"
    for part in split_pattern(pattern):
        if part[0] == "{" and part not in meanings:
            raise ValueError(f"pattern: {pattern!r}; {ALLOWED}")
        text = part[1:] if len(part) == 2 else part  # without its backslash
        expression += meanings.get(part, re.escape(text))
    try:
        return re.compile(expression, re.IGNORECASE)
    except re.error as error:
        reason = str(error)
        if "parenthesis" in reason or "unterminated" in reason:
            reason = f"a [ or ] has no other one; {BRACKETS}"
        raise ValueError(f"pattern: {pattern!r} cannot be read: {reason}") from error


def split_pattern(pattern: str) -> list[str]:
    """Fields, characters with a backslash, and single characters of a pattern."""
    return re.findall(r"\\[]*{}[]|\{\w+\}|.", pattern, re.DOTALL)


def fit_pattern(name: str, patterns: Sequence[str]) -> re.Match[str] | None:
    """Parse a name by the first pattern that it fits.

    Raises:
        ValueError: It fits that pattern in two ways.
    """
    for any_channel in (False, True):
        for pattern in patterns:
            greedy, lazy = (
                compile_pattern(pattern, greedy=way, any_channel=any_channel)
                for way in (True, False)
            )
            match, other = greedy.fullmatch(name), lazy.fullmatch(name)
            if match is None or other is None:
                continue
            if any(
                match.span(field) != other.span(field) for field in greedy.groupindex
            ):
                raise ValueError(
                    f"pattern: {name} fits {_shown(pattern)} in two ways, "
                    f"{match.groupdict()} and {other.groupdict()}: write the text that is "
                    "the same in all names in place of *, and no [ ] around what each has"
                )
            return match
    return None


def show_misfit(name: str, patterns: Sequence[str]) -> str:
    """Mark the place where a name stops fitting, and say what the pattern has there."""
    farthest, expected = 0, patterns[0]
    for pattern in patterns:
        parts = split_pattern(pattern)
        for n_parts in range(len(parts), 0, -1):
            # Which fit everything; the text behind them is not in the name.
            if parts[n_parts - 1] in ("*", "{channel}"):
                continue
            some = parts[:n_parts]
            start = "".join(some) + "]" * (some.count("[") - some.count("]"))
            match = compile_pattern(start).match(name)
            match = match or compile_pattern(start, any_channel=True).match(name)
            if match and match.end() > farthest:
                farthest, expected = match.end(), "".join(parts[n_parts:])
    wanted = _shown(expected) if expected != ENDING else "an ending such as .tif"
    wanted = wanted if expected else "its end"
    marked = f"{name[:farthest]}>>{name[farthest:]}"
    return f"{name}: {marked} (at >> the pattern has {wanted})"


def _shown(pattern: str) -> str:
    """A pattern as it was given."""
    return f"'{pattern.removesuffix(ENDING)}'"


def row_letters(number: int, name: str) -> str:
    """Letters of a row by its number: 1 is A, 27 is AA.

    Raises:
        ValueError: There is no such row.
    """
    if not 1 <= number <= 702:
        raise ValueError(f"pattern: {name} is in row {number}; rows begin with 1")
    first, last = divmod(number - 1, 26)
    return (chr(64 + first) if first else "") + chr(65 + last)


def split_well(well: str, argument: str) -> tuple[str, str]:
    """Row and column of a well such as A1, a01 or B-03, as they are in the plate.

    Raises:
        ValueError: It is no well.
    """
    match = WELL.fullmatch(well.strip())
    if match is None:
        raise ValueError(f"{argument}: {well!r} is no well, such as A01")
    return match[1].upper(), f"{int(match[2]):02}"
