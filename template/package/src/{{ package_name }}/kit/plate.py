"""Plates and wells: their lists of images, new ones, and the position of an image."""

from collections import Counter
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import zarr

from .image import Image
from .ngff import (
    MADE_BY,
    NgffVersion,
    check_version,
    drop_consolidated,
    edit_group,
    group_version,
    inside,
    new_group,
    ome_metadata,
    open_group,
    plain_path,
)
from .provenance import Step
from .publish import is_zarr, published

# Reasons why the metadata of a plate or well cannot be understood.
DAMAGE = (AttributeError, LookupError, OSError, TypeError, ValueError)


class PlateImage(NamedTuple):
    """An image of a plate.

    Attributes:
        plate: Folder of the plate.
        row: Name of the row of its well.
        column: Name of the column of its well.
        acquisition: Number of the acquisition; None if neither well nor plate says it.
    """

    plate: Path
    row: str
    column: str
    acquisition: int | None

    def attributes(self, unknown: int | None = 0) -> dict[str, Any]:
        """Attributes of the image in Fractal's image list; see `plate_position`."""
        number = unknown if self.acquisition is None else self.acquisition
        position = {"plate": self.plate.name, "well": self.row + self.column}
        return position | ({} if number is None else {"acquisition": number})


class Listing(NamedTuple):
    """The wells and images of a plate.

    Attributes:
        images: The images of all wells that are on disk, by folder, in the order of wells.
        missing: Wells that are not on disk.
        empty: Wells that list no image.
    """

    images: dict[Path, PlateImage]
    missing: list[Path]
    empty: list[Path]


def list_plate(path: Path, argument: str = "zarr_url") -> Listing:
    """Read the lists of a plate and of its wells.

    Args:
        path: Folder of the plate.
        argument: Name of the task's argument, for the error messages.

    Raises:
        ValueError: It is no plate, or metadata of it or of some wells are wrong; the
            message lists all of these. What is but missing is no error.
    """
    listing = Listing({}, [], [])
    problems = []
    try:
        plate = _metadata(open_group(path), "plate")
        names = [plain_path(well["path"]) for well in plate["wells"]]
        wells = dict(zip(names, plate["wells"], strict=True))
        if len(wells) < len(names):
            twice = sorted({name for name in names if names.count(name) > 1})
            raise ValueError(
                f"it lists twice: {', '.join(twice)}; remove one entry of each"
            )
        folders = {
            name: inside(path, name, argument=argument, links=True) for name in wells
        }
    except DAMAGE as error:
        raise ValueError(f"{argument}: {path} is no plate: {_reason(error)}") from error
    places: dict[str, list[str]] = {}  # of wells, by their names in the image list
    for name, folder in folders.items():
        try:
            row, column = _row_and_column(plate, wells[name])
            other = places.setdefault(row + column, [row, column])
            if other != [row, column]:
                raise ValueError(
                    f"it and {'/'.join(other)} are called {row}{column}: rename one of them"
                )
            if not is_zarr(folder):
                listing.missing.append(folder)
                continue
            images = _metadata(open_group(folder), "well")["images"]
            if not images:
                listing.empty.append(folder)
            for image in images:
                place = inside(folder, image["path"], argument=argument, links=True)
                if place.parent != folder:
                    raise ValueError(
                        f"the image {image['path']} lies in a folder of its own: an image of "
                        "a well lies in the folder of the well"
                    )
                if place in listing.images:
                    raise ValueError(
                        f"it lists {image['path']} twice: remove one of the entries"
                    )
                acquisition = _acquisition(plate, wells[name], image)
                listing.images[place] = PlateImage(path, row, column, acquisition)
        except DAMAGE as error:
            problems.append(f"{folder}: {_reason(error)}")
    if problems:
        raise ValueError(
            f"{argument}: {path} has damaged wells:\n" + "\n".join(problems)
        )
    return listing


def listed_image(path: Path) -> dict[str, Any] | None:
    """Entry of an image in the list of its well; None if there is none.

    Raises:
        ValueError: The well is damaged.
    """
    if not is_zarr(path.parent):
        return None
    try:
        group = open_group(path.parent)
        if "well" not in ome_metadata(group):
            return None
        images = _metadata(group, "well")["images"]
        entries = [one for one in images if plain_path(one["path"]) == path.name]
    except DAMAGE as error:
        reason = f"the well {path.parent} is damaged: {_reason(error)}"
        raise ValueError(reason) from error
    return entries[0] if len(entries) == 1 else None


def find_in_plate(path: Path | str) -> PlateImage | None:
    """Position of an image in a plate; None if no well lists the image.

    Raises:
        ValueError: The plate does not list the well, or contradicts it.
    """
    path = Path(path)
    image = listed_image(path)
    if image is None:
        return None
    for folder in path.parents[2:5]:  # of OMERO, there is one for the acquisition
        try:
            plate = _metadata(open_group(folder), "plate")
        except (LookupError, OSError, ValueError):
            continue
        name = path.parent.relative_to(folder).as_posix()
        try:
            listed = [w for w in plate["wells"] if plain_path(w["path"]) == name]
            if len(listed) != 1:
                raise ValueError(f"it lists the well {len(listed)} times")
            row, column = _row_and_column(plate, listed[0])
            acquisition = _acquisition(plate, listed[0], image)
        except DAMAGE as error:
            raise ValueError(
                f"{path.parent} does not fit its plate {folder}: {_reason(error)}"
            ) from error
        return PlateImage(folder, row, column, acquisition)
    return None


def plate_position(path: Path | str, unknown: int | None = 0) -> dict[str, Any]:
    """Plate, well and acquisition of an image, by Fractal's names for these attributes.

    Args:
        path: Folder of the image, such as `plate.zarr/A/01/0`.
        unknown: Acquisition of an image whose well does not say it; None leaves it out.

    Returns:
        Empty for an image that no well lists.

    Raises:
        ValueError: The plate does not list the well, or contradicts it.
    """
    place = find_in_plate(path)
    return place.attributes(unknown) if place else {}


def plate_images(path: Path, argument: str = "zarr_url") -> list[Path]:
    """Folders of all images that a plate lists, in the order of its wells.

    Raises:
        ValueError: It is no plate, lacks a well, or one is damaged.
    """
    listing = list_plate(path, argument)
    if listing.missing:
        names = [folder.relative_to(path).as_posix() for folder in listing.missing]
        raise ValueError(
            f"{argument}: {path} is no whole plate: it lists wells that are not there: "
            + ", ".join(names)
        )
    return list(listing.images)


def sibling_path(holder: Image | Path, suffix: str) -> Path:
    """Path of an image that is derived from another image or from a plate.

    Args:
        holder: `plate.zarr/A/01/0` gives `plate.zarr/A/01/0blurred`, since NGFF allows
            only letters and digits there; `cells.zarr` gives `cells_blurred.zarr`.
        suffix: Letters and digits.
    """
    path = holder.path if isinstance(holder, Image) else holder
    if not (suffix.isascii() and suffix.isalnum()):
        raise ValueError(f"suffix: {suffix!r}; allowed are letters and digits")
    if listed_image(path):
        return path.with_name(f"{path.name}{suffix}")
    extension = ".ome.zarr" if path.match("*.ome.zarr") else path.suffix
    stem = path.name.removesuffix(extension)
    return path.with_name(f"{stem}_{suffix}{extension}")


def create_plate(
    path: Path,
    wells: Mapping[tuple[str, str], Mapping[str, int]],
    *,
    version: NgffVersion = "0.4",
    overwrite: bool = False,
    extend: bool = False,
    like: Path | None = None,
    made_by: Step | None = None,
) -> None:
    """Write the metadata of a plate and of all its wells; the images are written later.

    Args:
        path: Folder of the plate.
        wells: Acquisition of each image by its name, by row and column.
        version: NGFF version.
        overwrite: Whether to replace a plate that exists at `path`, images included.
        extend: Whether to add to the lists of a plate that exists at `path` the wells and
            images that it lacks; nothing else of it changes.
        like: Plate whose name, rows, columns, acquisitions and other metadata the new one
            gets.
        made_by: What the task does, to be written into the plate; see `is_made`.

    Raises:
        FileExistsError: There is something at `path`, and it is neither to be replaced
            nor to be extended.
        ValueError: What is to be extended is no plate of this version, or has wells that
            are damaged; or the name of a row or column is none.
    """
    if not wells:
        raise ValueError("wells: there are none; a plate has at least one")
    for name in (name for place in wells for name in place):
        if not (name.isascii() and name.isalnum()):
            raise ValueError(
                f"wells: {name!r} is no name of a row or column; allowed are letters and "
                "digits"
            )
    attributes: Any = open_group(like).attrs.asdict() if like else {}
    ome: Any = dict(attributes.pop("ome", {}))
    old: Any = ome.pop("plate", None) or attributes.pop("plate", {})
    # Where their wells lie is not where those of another plate do.
    acquisitions = {
        entry["id"]: {key: entry[key] for key in entry.keys() - {"path"}}
        for entry in old.get("acquisitions") or []
    }
    if extend and path.exists():
        found = {*plate_images(path, "plate_name")}
        if group_version(open_group(path)) != version:
            raise ValueError(f"plate_name: {path} is no plate of NGFF {version}")
        wanted = {
            path / r / c / name for (r, c), names in wells.items() for name in names
        }
        if not wanted <= found:
            drop_consolidated(path / "well")
            _add_wells(path, wells, version, acquisitions)
        return
    new_lists = {"rows": [], "columns": [], "name": path.name.removesuffix(".zarr")}
    left_out = ("wells", "acquisitions", "field_count")
    kept = {key: old[key] for key in old if old[key] and key not in left_out}
    ome = {key: ome[key] for key in ome if key != "version"}
    ome["plate"] = new_lists | kept | {"wells": []}
    attributes.pop(MADE_BY, None)
    if made_by:
        attributes[MADE_BY] = made_by.record(path)
    with published(path, overwrite=overwrite, argument="plate_name") as new:
        new_group(new, version, ome).update_attributes(attributes)
        _add_wells(new, wells, version, acquisitions)


def _add_wells(
    path: Path,
    wells: Mapping[tuple[str, str], Mapping[str, int]],
    version: NgffVersion,
    acquisitions: Mapping[int, dict[str, Any]],
) -> None:
    """Add wells and images to the lists of a plate, unless they are there.

    A well appears in the list of the plate when it has its own.

    Args:
        path: Folder of the plate.
        wells: As for `create_plate`.
        version: NGFF version of the plate.
        acquisitions: Metadata of acquisitions that are known, by number.
    """
    zarr_format = 2 if version == "0.4" else 3
    counts: dict[Path, Counter[int]] = {}  # of the images of each well, by acquisition

    def add_images(
        attributes: dict[str, Any], folder: Path, images: Mapping[str, int]
    ) -> None:
        well = _ome(attributes, version).setdefault("well", {})
        if version == "0.4":
            well["version"] = version
        listed = {plain_path(one["path"]): one for one in well.get("images", [])}
        for name, number in images.items():
            listed.setdefault(name, {"path": name, "acquisition": number})
        well["images"] = list(listed.values())
        counts[folder] = Counter(
            image.get("acquisition", 0) for image in well["images"]
        )

    def add_wells(attributes: dict[str, Any]) -> None:
        plate = _ome(attributes, version)["plate"]
        plate["version"] = version
        indices = []
        for part, key in enumerate(("rows", "columns")):
            listed = [axis["name"] for axis in plate[key]]
            new = sorted({place[part] for place in wells}.difference(listed))
            plate[key] = [*plate[key], *({"name": name} for name in new)]
            indices.append({name: index for index, name in enumerate(listed + new)})
        paths = {plain_path(well["path"]) for well in plate["wells"]}
        for row, column in sorted(wells):
            name = f"{row}/{column}"
            if name not in paths:
                index = {"rowIndex": indices[0][row], "columnIndex": indices[1][column]}
                plate["wells"].append({"path": name} | index)
        known = {entry["id"]: entry for entry in plate.get("acquisitions", [])}
        for number in sorted({number for count in counts.values() for number in count}):
            known.setdefault(number, acquisitions.get(number, {"id": number}))
        plate["acquisitions"] = list(known.values())
        largest = max(
            (n for count in counts.values() for n in count.values()), default=0
        )
        plate["field_count"] = max(plate.get("field_count", 1), largest)

    for (row, column), images in wells.items():
        folder = path / row / column
        folder.mkdir(parents=True, exist_ok=True)
        if not is_zarr(path / row):
            edit_group(path / row, zarr_format, lambda ome: _ome(ome, version))
        edit_group(
            folder, zarr_format, partial(add_images, folder=folder, images=images)
        )
    edit_group(path, zarr_format, add_wells)


def _ome(attributes: dict[str, Any], version: NgffVersion) -> dict[str, Any]:
    """Return the place of the metadata of OME in the attributes of a group."""
    if version == "0.4":
        return attributes
    holder: dict[str, Any] = attributes.setdefault("ome", {"version": version})
    return holder


def _metadata(group: zarr.Group, kind: str) -> Any:
    """Metadata of a plate or well."""
    metadata = ome_metadata(group)[kind]
    check_version(group, metadata)
    key = {"plate": "wells", "well": "images"}[kind]
    if not isinstance(metadata[key], list):
        raise ValueError(
            f"its {key} are {metadata[key]!r}, and not a list: correct that"
        )
    return metadata


def _reason(error: Exception) -> str:
    """Text of an error; the text of a `KeyError` is only the key."""
    return f"no {error}" if isinstance(error, KeyError) else str(error)


def _row_and_column(plate: Mapping[str, Any], well: Mapping[str, Any]) -> list[str]:
    """Row and column of a well, from the end of its path and from the plate.

    Raises:
        ValueError: They differ.
    """
    parts: list[str] = plain_path(well["path"]).split("/")[-2:]
    if len(parts) < 2:
        raise ValueError(
            f"the path {well['path']!r} has not a row and a column: write B/03, for example"
        )
    kinds = (("rows", "rowIndex"), ("columns", "columnIndex"))
    for (kind, key), part in zip(kinds, parts, strict=True):
        names = [axis["name"] for axis in plate.get(kind, [])]
        if names and part not in names:
            raise ValueError(
                f"{part!r} of {well['path']} is none of the {kind} {names}: correct the "
                "path, or add it"
            )
        index: Any = well.get(key)
        is_place = index in range(len(names)) and type(index) is int  # no bool
        if index is not None and not (is_place and names[index] == part):
            raise ValueError(
                f"the {key} {index!r} of {well['path']} is not that of {part!r}: correct "
                "it, or leave it out"
            )
    return parts


def _acquisition(
    plate: Mapping[str, Any], well: Mapping[str, Any], image: Mapping[str, Any]
) -> int | None:
    """Number of the acquisition of an image, from its well, the plate or the path.

    Raises:
        ValueError: It is none of those of the plate.
    """
    acquisitions = plate.get("acquisitions") or []
    known = [acquisition["id"] for acquisition in acquisitions]
    number = image.get("acquisition")
    folder = "/".join(plain_path(well["path"]).split("/")[:-2])
    if number is None and folder:  # older plates of OMERO: acquisition/row/column
        names = [str(one.get("path", one["id"])) for one in acquisitions]
        if names.count(folder) == 1:
            number = known[names.index(folder)]
        elif folder.isdecimal() and not known:
            number = int(folder)
    if number is None and len(known) == 1:
        number = known[0]
    is_number = isinstance(number, int) and not isinstance(number, bool)
    # Some tasks add an image to its well without an acquisition: it has none.
    if number is not None and not (is_number and (not known or number in known)):
        raise ValueError(
            f"the image {image['path']} of the well {well['path']} has the acquisition "
            f"{number!r}, and the plate has {known or 'none'}: add it to the plate, or "
            "correct it"
        )
    return number
