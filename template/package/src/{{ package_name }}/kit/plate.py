"""Plates and wells: where an image lies, and which images there are."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import zarr

from .image import Image
from .ngff import NgffVersion, new_group, ome_metadata, open_group
from .provenance import MADE_BY, Step
from .publish import published


def plate_position(path: Path | str) -> dict[str, Any]:
    """Plate, well and acquisition of an image, by Fractal's names for these attributes.

    Args:
        path: Folder of the image, such as `plate.zarr/A/01/0`.

    Returns:
        Empty for an image that no well lists.
    """
    path = Path(path)
    try:
        images = ome_metadata(open_group(path.parent))["well"]["images"]
        _ = ome_metadata(open_group(path.parents[2]))["plate"]
    except (FileNotFoundError, IndexError, KeyError, ValueError):
        return {}
    row, column = path.parts[-3:-1]
    for image in images:
        if image["path"] == path.name:
            plate = path.parents[2].name
            acquisition = image.get("acquisition", 0)
            return {"plate": plate, "well": row + column, "acquisition": acquisition}
    return {}


def plate_images(path: Path, argument: str = "zarr_url") -> list[Path]:
    """Folders of all images of a plate, in the order of its wells.

    Raises:
        ValueError: It is no plate, or lacks a well.
    """
    try:
        return [
            path / well["path"] / image["path"]
            for well in ome_metadata(open_group(path))["plate"]["wells"]
            for image in ome_metadata(open_group(path / well["path"]))["well"]["images"]
        ]
    except (FileNotFoundError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{argument}: {path} is no whole plate: {error}") from error


def sibling_path(image: Image, suffix: str) -> Path:
    """Where to write an image that is derived from `image`.

    Args:
        image: `plate.zarr/A/01/0` gives `plate.zarr/A/01/0blurred`, since NGFF allows
            only letters and digits there; `cells.zarr` gives `cells_blurred.zarr`.
        suffix: Letters and digits.
    """
    if not (suffix.isascii() and suffix.isalnum()):
        raise ValueError(f"suffix: {suffix!r}; allowed are letters and digits")
    if plate_position(image.path):
        return image.path.with_name(f"{image.path.name}{suffix}")
    extension = ".ome.zarr" if image.path.match("*.ome.zarr") else image.path.suffix
    stem = image.path.name.removesuffix(extension)
    return image.path.with_name(f"{stem}_{suffix}{extension}")


def create_plate(
    path: Path,
    wells: Mapping[tuple[str, str], Mapping[str, int]],
    *,
    version: NgffVersion = "0.4",
    overwrite: bool = False,
    made_by: Step | None = None,
) -> None:
    """Write the metadata of a plate and of all its wells; the images are written later.

    Args:
        path: Folder of the plate.
        wells: Acquisition of each image by its name, by row and column.
        version: NGFF version.
        overwrite: Whether to replace a plate that exists at `path`, images included.
        made_by: What the task does, to be written into the plate; see `is_made`.

    Raises:
        FileExistsError: There is something at `path`, and `overwrite` is false.
    """
    from ome_zarr.format import format_from_version
    from ome_zarr.writer import write_plate_metadata, write_well_metadata

    fmt = format_from_version(version)
    acquisitions = [list(images.values()) for images in wells.values()]
    record = {MADE_BY: made_by.record(path)} if made_by else {}
    with published(path, overwrite=overwrite, argument="plate_name") as partial:
        plate = new_group(partial, version, {})
        plate.update_attributes(record)
        write_plate_metadata(
            plate,
            rows=sorted({row for row, _ in wells}),
            columns=sorted({column for _, column in wells}),
            wells=[f"{row}/{column}" for row, column in sorted(wells)],
            acquisitions=[
                {"id": n} for n in sorted({n for well in acquisitions for n in well})
            ],
            field_count=max(
                well.count(number) for well in acquisitions for number in well
            ),
            name=path.name.removesuffix(".zarr"),
            fmt=fmt,
        )
        for (row, column), images in wells.items():
            for folder in (partial / row, partial / row / column):
                if not folder.exists():
                    new_group(folder, version, {})
            write_well_metadata(
                zarr.open_group(folder, mode="r+"),
                [{"path": name, "acquisition": n} for name, n in images.items()],
                fmt=fmt,
            )
