"""Places of the fields of a well in its image."""

import logging
import math
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from .facts import Sizes
from .images import Group, Key
from .lists import Position, read_positions
from .metadata import Unclear
from .sources import Source

logger = logging.getLogger(__name__)

K = TypeVar("K", bound=Hashable)
Places = dict[int, tuple[int, int]]
"""Corner of each field in its image, y and x in pixels."""
Known = dict[int, Position | Unclear | None]
"""Position of each field, if it is known, or why it is not understood."""

FARTHEST = 1000  # sizes of a field; beyond, positions are in another unit
SAME = 0.01  # of a field; closer ones are at the same place
JITTER = 0.1  # of a field; the stage comes back to a field as exactly as this


class Fields(BaseModel):
    """How the fields of a well become its image."""

    model_config = ConfigDict(extra="forbid")

    arrangement: Literal["auto", "files", "csv", "grid", "separate"] = Field(
        default="auto",
        description="Where the fields lie: by the positions of the stage in the `files`, by "
        "those of a `csv`, on a `grid`; or each field is an image of its own (`separate`). "
        "With `auto`, by the CSV file if it is given, else by the files if they have "
        "positions, else on a grid.",
    )
    positions_csv: str | None = Field(
        default=None,
        description="CSV file with the columns `field`, `x` and `y` (in micrometers) and, if "
        "wells differ, `well`. Fields have their numbers in the names of the files.",
    )
    columns: int | None = Field(
        default=None,
        ge=1,
        description="Columns of the grid; by default, it is as square as can be.",
    )
    order: Literal["row by row", "snake"] = Field(
        default="row by row",
        description="How the grid is filled, from the left of its top row; in a snake, every "
        "other row from the right.",
    )
    overlap: float = Field(
        default=0.0,
        ge=0,
        lt=100,
        description="Overlap of neighbours on the grid, in percent of a field.",
    )
    flip_x: bool = Field(
        default=False, description="Whether larger positions in x lie further left."
    )
    flip_y: bool = Field(
        default=False, description="Whether larger positions in y lie further up."
    )

    def check(self) -> None:
        """Reject options that the arrangement does not use.

        Raises:
            ValueError: One is given.
        """
        if self.arrangement != "auto":
            reject_unused(self, self.arrangement)


USED = {
    "files": {"flip_x", "flip_y"},
    "csv": {"positions_csv", "flip_x", "flip_y"},
    "grid": {"columns", "order", "overlap"},
    "separate": set[str](),
}


def reject_unused(how: Fields, arrangement: str) -> None:
    """Reject options of fields that an arrangement does not use.

    Raises:
        ValueError: One is given.
    """
    for name, field in Fields.model_fields.items():
        value = getattr(how, name)
        if name in {"arrangement", *USED[arrangement]} or value == field.default:
            continue
        wanted = [kind for kind, names in USED.items() if name in names]
        reason = f"fields.{name}: {value!r} is not used by arrangement {arrangement}"
        if how.arrangement == "auto":
            reason += ", as it is by the files here"
        raise ValueError(
            f"{reason}: leave it out, or set fields.arrangement to {' or '.join(wanted)}"
        )


def on_grid(
    slot: int, n_slots: int, size: tuple[int, int], how: Fields
) -> tuple[int, int]:
    """Place of the corner of a field on the grid, y and x in pixels.

    Args:
        slot: Which field it is, counted from 0.
        n_slots: How many there are.
        size: Height and width of a field, in pixels.
        how: Columns, order and overlap.
    """
    columns = how.columns or math.ceil(math.sqrt(n_slots))
    row, column = divmod(slot, columns)
    if how.order == "snake" and row % 2:
        column = columns - 1 - column
    height, width = (max(1, round(n * (1 - how.overlap / 100))) for n in size)
    return row * height, column * width


def by_position(
    positions: Mapping[K, Position], pixel: tuple[float, float], how: Fields
) -> dict[K, tuple[int, int]]:
    """Places of the corners of fields in their image, y and x in pixels.

    Args:
        positions: Positions of the fields of an image.
        pixel: Size of a pixel in y and x, in micrometers.
        how: Which way the axes run.
    """
    signs = (-1 if how.flip_y else 1, -1 if how.flip_x else 1)
    scaled = {
        key: [
            p * sign / size for p, sign, size in zip(place, signs, pixel, strict=True)
        ]
        for key, place in positions.items()
    }
    y0, x0 = (min(values) for values in zip(*scaled.values(), strict=True))
    return {
        key: (math.floor(y - y0 + 0.5), math.floor(x - x0 + 0.5))
        for key, (y, x) in scaled.items()
    }


def at_one_place(
    places: Mapping[K, tuple[int, int]], size: tuple[int, int]
) -> tuple[K, K] | None:
    """Two fields that lie at the same place, or None."""
    (height, width) = (max(1.0, SAME * n) for n in size)
    ordered = sorted(places.items(), key=lambda item: item[1])
    for index, (key, (y, x)) in enumerate(ordered):
        for other, (below, beside) in ordered[index + 1 :]:
            if below - y >= height:
                break
            if abs(beside - x) < width:
                return key, other
    return None


def find_places(
    images: Mapping[Key, Group],
    sizes: Mapping[Key, Sizes],
    how: Fields,
    *,
    fill: bool,
) -> dict[Key, Places]:
    """Corner of each field in its image, y and x in pixels.

    Args:
        images: The images.
        sizes: Size of a pixel in each image.
        how: The argument of the task.
        fill: Whether fields without a file have a place too: on a grid, by a CSV file, or
            by metadata, or else none.

    Raises:
        ValueError: Positions are not known, or not those of fields of an image, or the
            size of a pixel is not known.
    """
    fields = {key: g.extent.fields if fill else g.fields for key, g in images.items()}
    several = [key for key in images if len(fields[key]) > 1]
    known = {key: _in_files(group.files) for key, group in images.items()}
    for key, group in images.items() if fill else ():
        for number, place in _in_files(group.absent).items():
            if place is not None:
                known[key].setdefault(number, place)
    if how.arrangement == "separate":
        return {key: dict.fromkeys(g.fields, (0, 0)) for key, g in images.items()}
    arrangement: str = how.arrangement
    if arrangement == "auto":
        arrangement = "grid"
        if how.positions_csv:
            arrangement = "csv"
        elif any(_are_positions(known[key].values()) for key in several):
            arrangement = "files"
        if several:
            reject_unused(how, arrangement)
    numbers = sorted({number for of_image in fields.values() for number in of_image})
    if arrangement == "grid" or (arrangement == "files" and not several):
        if several:
            logger.info("Fields lie on a grid, with an overlap of %g %%", how.overlap)
        return {
            key: {
                n: on_grid(numbers.index(n), len(numbers), group.field_size, how)
                if several
                else (0, 0)
                for n in fields[key]
            }
            for key, group in images.items()
        }
    argument = "fields.arrangement"
    if arrangement == "csv":
        argument = "fields.positions_csv"
        if not how.positions_csv:
            raise ValueError(f"{argument}: give it, as fields.arrangement is csv")
        in_csv = read_positions(how.positions_csv)
        known, used = {}, set()
        for key in images:
            rows = {n: (key.well, n) for n in fields[key]}
            rows = {n: row if row in in_csv else ("", n) for n, row in rows.items()}
            known[key] = {n: in_csv.get(row) for n, row in rows.items()}
            used |= {*rows.values()}
        if unused := sorted(in_csv.keys() - used):
            names = ", ".join(f"{well} {field}".strip() for well, field in unused)
            logger.warning("%s: there is no image of the fields %s", argument, names)
    else:
        for key in several:
            _reject_moved(images[key], sizes[key])
    logger.info("Fields lie by the positions of the %s", arrangement)
    return {
        key: _placed(
            key,
            known[key],
            _elsewhere(key, known, images, sizes),
            images[key].field_size,
            sizes[key],
            how,
            argument,
        )
        for key in images
    }


def _elsewhere(
    key: Key,
    known: Mapping[Key, Known],
    images: Mapping[Key, Group],
    sizes: Mapping[Key, Sizes],
) -> dict[int, Position]:
    """Positions of fields that other acquisitions of a well have, and this one lacks.

    With them, the images of all acquisitions begin at the same place.
    """
    own, more = _positions(known[key]), dict[int, Position]()
    limits = [
        JITTER * n * (sizes[key][axis] or 0.0)
        for axis, n in zip(("pixel_y", "pixel_x"), images[key].field_size, strict=True)
    ]
    for other in known:
        places = _positions(known[other])
        if other[:2] != key[:2] or not places.keys() - own.keys():
            continue
        shared = own.keys() & places.keys()
        if shared and all(
            abs(here - there) <= limit
            for number in shared
            for here, there, limit in zip(
                own[number], places[number], limits, strict=True
            )
        ):
            more = places | more
        else:
            logger.warning(
                "Acquisition %d of well %s lacks fields of acquisition %d, and fields of one "
                "number do not lie at one place: the two images begin at different places",
                *(key.acquisition, key.well, other.acquisition),
            )
    return {number: more[number] for number in more.keys() - own.keys()}


def _positions(known: Known) -> dict[int, Position]:
    """Positions that are known."""
    return {n: place for n, place in known.items() if isinstance(place, tuple)}


def _in_files(files: Sequence[Source]) -> Known:
    """Positions of the fields of an image by its files."""
    found: Known = {}
    for source in files:
        y, x = source.facts.y, source.facts.x
        place: Position | Unclear | None = None
        if isinstance(unclear := y if isinstance(y, Unclear) else x, Unclear):
            place = Unclear(f"{source.path}: {unclear}")
        elif isinstance(y, float) and isinstance(x, float):
            place = y, x
        elif y is not None or x is not None:
            place = Unclear(f"{source.path} has a position in x or y alone")
        found[source.field] = found.get(source.field) or place
    return found


def _are_positions(known: Iterable[Position | Unclear | None]) -> bool:
    """Return whether positions differ, so that they can place fields."""
    places = {*known} - {None}
    return len(places) > 1 or any(isinstance(place, Unclear) for place in places)


def _reject_moved(group: Group, sizes: Sizes) -> None:
    """Reject files of one field that lie at different places."""
    first: dict[int, Source] = {}
    for source in group.files:
        other = first.setdefault(source.field, source)
        lengths = zip("xy", reversed(group.field_size), strict=True)
        for axis, n_pixels in lengths:
            pixel = sizes[f"pixel_{axis}"]
            here, there = getattr(source.facts, axis), getattr(other.facts, axis)
            if not (pixel and isinstance(here, float) and isinstance(there, float)):
                continue
            if abs(here - there) > JITTER * n_pixels * pixel:
                raise ValueError(
                    f"fields.arrangement: field {source.field} lies at {axis} {there:g} "
                    f"by {other.path}, and at {here:g} by {source.path}; set "
                    "fields.arrangement to grid or csv"
                )


def _placed(
    key: Key,
    known: Known,
    more: Mapping[int, Position],
    size: tuple[int, int],
    sizes: Sizes,
    how: Fields,
    argument: str,
) -> Places:
    """Corners of the fields of an image by their positions.

    Args:
        key: The image.
        known: Positions of its fields.
        more: Those of fields that it lacks.
        size: Height and width of a field, in pixels.
        sizes: Size of a pixel.
        how: Which way the axes run.
        argument: Argument that says where the fields lie, for the error messages.

    Raises:
        ValueError: A position is unknown, or two are at one place, or they are too far
            apart.
    """
    places: dict[int, Position] = {}
    for number, place in sorted(known.items()):
        if isinstance(place, Unclear):
            raise ValueError(
                f"{argument}: {place}; set fields.arrangement to grid or csv"
            )
        if place is not None:
            places[number] = place
    several = len(known) > 1 or argument == "fields.positions_csv"
    if several and (unknown := sorted(known.keys() - places.keys())):
        raise ValueError(
            f"{argument}: no position of field {unknown[0]} in well {key.well}"
        )
    if len(known) + len(more) < 2:
        return dict.fromkeys(known, (0, 0))
    pixel = sizes["pixel_y"], sizes["pixel_x"]
    corners = by_position({**more, **places}, (pixel[0] or 1.0, pixel[1] or 1.0), how)
    corners = {number: corners[number] for number in places}
    same = len({*places.values()}) < len(places) or None not in pixel
    if same and (pair := at_one_place(corners, size)):
        raise ValueError(
            f"{argument}: fields {pair[0]} and {pair[1]} of well {key.well} are at the "
            "same place"
        )
    if None in pixel:
        raise ValueError(
            f"pixel_size_xy: positions of the fields of well {key.well} are in "
            "micrometers, and its files do not say the size of a pixel: give it"
        )
    if any(
        y > FARTHEST * size[0] or x > FARTHEST * size[1] for y, x in corners.values()
    ):
        raise ValueError(
            f"{argument}: fields of well {key.well} lie more than {FARTHEST} fields "
            "apart: are positions and pixel sizes in micrometers?"
        )
    return corners


def canvas(
    key: Key, images: Mapping[Key, Group], places: Mapping[Key, Places]
) -> list[int]:
    """Height and width of an image, the same for all acquisitions of its well.

    The stage is not exact: fields of another acquisition lie a few pixels aside.
    """
    alike = [other for other in images if other[:2] == key[:2]]
    alike = [key] if key.field is not None else alike
    return [
        max(
            corner[dim] + images[other].field_size[dim]
            for other in alike
            for corner in places[other].values()
        )
        for dim in (0, 1)
    ]
