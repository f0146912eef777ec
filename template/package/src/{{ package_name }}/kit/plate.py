"""Create plates, and choose paths of new images."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import zarr

from .image import Image
from .ngff import (
    NgffVersion,
    drop_consolidated,
    edit_group,
    group_version,
    new_group,
    ome_metadata,
    open_group,
)
from .provenance import MADE_BY, Step
from .publish import is_zarr, published
from .wells import listed_image, plate_images


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
        ValueError: What is to be extended is no plate of this version.
    """
    if extend and path.exists():
        _extend_plate(path, wells, version, _acquisitions(like))
        return
    from ome_zarr.format import format_from_version
    from ome_zarr.writer import write_plate_metadata, write_well_metadata

    fmt = format_from_version(version)
    acquisitions = [list(images.values()) for images in wells.values()]
    known = _acquisitions(like)
    source = ome_metadata(open_group(like))["plate"] if like else {}
    rows, columns = (
        [axis["name"] for axis in source.get(key) or ()] for key in ("rows", "columns")
    )
    record = {MADE_BY: made_by.record(path)} if made_by else {}
    with published(path, overwrite=overwrite, argument="plate_name") as partial:
        plate = new_group(partial, version, {})
        plate.update_attributes(record)
        write_plate_metadata(
            plate,
            rows=rows or sorted({row for row, _ in wells}),
            columns=columns or sorted({column for _, column in wells}),
            wells=[f"{row}/{column}" for row, column in sorted(wells)],
            acquisitions=[
                known.get(n, {"id": n})
                for n in sorted({n for well in acquisitions for n in well})
            ],
            field_count=max(
                well.count(number) for well in acquisitions for number in well
            ),
            name=source.get("name") or path.name.removesuffix(".zarr"),
            fmt=fmt,
        )
        if like:
            _copy_attributes(open_group(like), plate)
        for (row, column), images in wells.items():
            for folder in (partial / row, partial / row / column):
                if not folder.exists():
                    new_group(folder, version, {})
            write_well_metadata(
                zarr.open_group(folder, mode="r+"),
                [{"path": name, "acquisition": n} for name, n in images.items()],
                fmt=fmt,
            )


def _acquisitions(plate: Path | None) -> dict[int, dict[str, Any]]:
    """Metadata of the acquisitions of a plate, by their numbers."""
    if plate is None:
        return {}
    listed = ome_metadata(open_group(plate))["plate"].get("acquisitions") or []
    # Where their wells lie is not where those of another plate do.
    return {
        one["id"]: {key: one[key] for key in one.keys() - {"path"}} for one in listed
    }


def _copy_attributes(source: zarr.Group, target: zarr.Group) -> None:
    """Copy attributes from another plate, unless they are there."""

    def add(lacking: dict[str, Any], full: Mapping[str, Any]) -> dict[str, Any]:
        """`lacking`, with keys that are only in `full`; in `ome` and `plate` likewise."""
        both = {**full, **lacking}
        for key in {"ome", "plate"} & lacking.keys() & full.keys():
            both[key] = add(lacking[key], full[key])
        return both

    attributes = source.attrs.asdict()
    attributes.pop(MADE_BY, None)
    target.update_attributes(add(target.attrs.asdict(), attributes))


def _extend_plate(
    path: Path,
    wells: Mapping[tuple[str, str], Mapping[str, int]],
    version: NgffVersion,
    known_acquisitions: Mapping[int, dict[str, Any]],
) -> None:
    """Add wells and images to the lists of a plate, unless they are there.

    A well appears in the list of the plate when it has its own.
    """
    from ome_zarr.format import format_from_version
    from ome_zarr.writer import write_plate_metadata, write_well_metadata

    found = {*plate_images(path, "plate_name")}
    if group_version(open_group(path)) != version:
        raise ValueError(f"plate_name: {path} is no plate of NGFF {version}")
    wanted = {path / r / c / name for (r, c), names in wells.items() for name in names}
    if wanted <= found:
        return
    fmt = format_from_version(version)
    drop_consolidated(path / "row" / "column" / "image")
    zarr_format: Literal[2, 3] = 2 if version == "0.4" else 3
    numbers: list[list[int]] = []

    def ome(attributes: dict[str, Any]) -> dict[str, Any]:
        if version == "0.4":
            return attributes
        holder: dict[str, Any] = attributes.setdefault("ome", {"version": version})
        return holder

    def edit(
        folder: Path, key: str, write: Callable[[zarr.Group, dict[str, Any]], None]
    ) -> dict[str, Any]:
        """Rewrite the metadata of a well or plate; `write` gets the present ones."""
        result: dict[str, Any] = {}

        def change(attributes: dict[str, Any]) -> None:
            group = zarr.create_group({}, zarr_format=zarr_format)
            write(group, ome(attributes).get(key, {}))
            result.update(ome_metadata(group)[key])
            ome(attributes)[key] = result

        edit_group(folder, zarr_format, change)
        return result

    for (row, column), images in wells.items():
        for folder in (path / row, path / row / column):
            folder.mkdir(exist_ok=True)
        if not is_zarr(path / row):
            edit_group(path / row, zarr_format, ome)

        def extend_well(
            group: zarr.Group,
            well: dict[str, Any],
            images: Mapping[str, int] = images,
        ) -> None:
            listed = list(well.get("images", []))
            known = {image["path"] for image in listed}
            listed += [
                {"path": name, "acquisition": number}
                for name, number in images.items()
                if name not in known
            ]
            write_well_metadata(group, listed, fmt=fmt)

        well = edit(folder, "well", extend_well)
        numbers.append([image.get("acquisition", 0) for image in well["images"]])

    def extend_plate(group: zarr.Group, plate: dict[str, Any]) -> None:
        rows, columns = (
            [axis["name"] for axis in plate[key]] for key in ("rows", "columns")
        )
        rows += sorted({row for row, _ in wells}.difference(rows))
        columns += sorted({column for _, column in wells}.difference(columns))
        paths = {well["path"] for well in plate["wells"]}
        acquisitions = list(plate.get("acquisitions", []))
        new = {number for well in numbers for number in well}
        new -= {acquisition["id"] for acquisition in acquisitions}
        write_plate_metadata(
            group,
            rows=rows,
            columns=columns,
            wells=[
                *plate["wells"],
                *(f"{r}/{c}" for r, c in sorted(wells) if f"{r}/{c}" not in paths),
            ],
            acquisitions=[
                *acquisitions,
                *(known_acquisitions.get(n, {"id": n}) for n in sorted(new)),
            ],
            field_count=max(
                plate.get("field_count", 1),
                *(well.count(number) for well in numbers for number in well),
            ),
            name=plate.get("name"),
            fmt=fmt,
        )

    edit(path, "plate", extend_plate)
