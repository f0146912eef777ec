"""Plates and wells: their lists of images, and the position of an image in a plate."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from .ngff import check_version, inside, ome_metadata, open_group
from .publish import is_zarr


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
        plate = _metadata(path, "plate")
        wells = {well["path"]: well for well in plate["wells"]}
        if len(wells) < len(plate["wells"]):
            names = [well["path"] for well in plate["wells"]]
            twice = sorted({name for name in names if names.count(name) > 1})
            raise ValueError(f"it lists twice: {', '.join(twice)}")
        folders = {
            name: inside(path, name, argument=argument, links=True) for name in wells
        }
    except (AttributeError, LookupError, OSError, TypeError, ValueError) as error:
        raise ValueError(f"{argument}: {path} is no plate: {_reason(error)}") from error
    for name, folder in folders.items():
        try:
            row, column = _row_and_column(plate, wells[name])
            if not is_zarr(folder):
                listing.missing.append(folder)
                continue
            images = _metadata(folder, "well")["images"]
            if not images:
                listing.empty.append(folder)
            for image in images:
                place = inside(folder, image["path"], argument=argument, links=True)
                if place in listing.images:
                    raise ValueError(f"it lists {image['path']} twice")
                acquisition = _acquisition(plate, wells[name], image)
                listing.images[place] = PlateImage(path, row, column, acquisition)
        except (AttributeError, LookupError, OSError, TypeError, ValueError) as error:
            problems.append(f"{folder}: {_reason(error)}")
    if problems:
        raise ValueError(
            f"{argument}: {len(problems)} wells of {path} are damaged:\n"
            + "\n".join(problems)
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
        images = _metadata(path.parent, "well")["images"]
        entries = [one for one in images if one["path"].rstrip("/") == path.name]
    except (AttributeError, LookupError, OSError, TypeError, ValueError) as error:
        raise ValueError(
            f"the well {path.parent} is damaged: {_reason(error)}"
        ) from error
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
            plate = _metadata(folder, "plate")
        except (LookupError, OSError, ValueError):
            continue
        name = path.parent.relative_to(folder).as_posix()
        try:
            listed = [well for well in plate["wells"] if well["path"] == name]
            if len(listed) != 1:
                raise ValueError(f"it lists the well {len(listed)} times")
            row, column = _row_and_column(plate, listed[0])
            acquisition = _acquisition(plate, listed[0], image)
        except (AttributeError, LookupError, TypeError, ValueError) as error:
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
    return attributes_of(place, unknown) if place else {}


def attributes_of(place: PlateImage, unknown: int | None = 0) -> dict[str, Any]:
    """Attributes of an image of a plate; see `plate_position`."""
    number = unknown if place.acquisition is None else place.acquisition
    position = {"plate": place.plate.name, "well": place.row + place.column}
    return position | ({} if number is None else {"acquisition": number})


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


def _metadata(folder: Path, kind: str) -> Any:
    """Metadata of a plate or well."""
    group = open_group(folder)
    metadata = ome_metadata(group)[kind]
    check_version(group, metadata)
    return metadata


def _reason(error: Exception) -> str:
    """Text of an error; the text of a `KeyError` is only the key."""
    return f"no {error}" if isinstance(error, KeyError) else str(error)


def _row_and_column(plate: Mapping[str, Any], well: Mapping[str, Any]) -> list[str]:
    """Row and column of a well, from the end of its path and from the plate.

    Raises:
        ValueError: They differ.
    """
    parts: list[str] = well["path"].rstrip("/").split("/")[-2:]
    if len(parts) < 2:
        raise ValueError(f"the path {well['path']!r} has not a row and a column")
    kinds = (("rows", "rowIndex"), ("columns", "columnIndex"))
    for (kind, key), part in zip(kinds, parts, strict=True):
        names = [axis["name"] for axis in plate.get(kind, [])]
        if names and part not in names:
            raise ValueError(
                f"{part!r} of {well['path']} is none of the {kind} {names}"
            )
        index = well.get(key)
        if index is not None and names[index:][:1] != [part]:
            raise ValueError(
                f"the {key} {index} of {well['path']} is not that of {part!r}"
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
    folder = "/".join(well["path"].rstrip("/").split("/")[:-2])
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
            f"{number}, and the plate has {known or 'none'}"
        )
    return number
