"""A copy of a little of a dataset, to try a workflow on: a well, a region, or some pixels.

The original is read and never written.
"""

import difflib
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import zarr

from .. import kit
from ..kit.blocks import Roi
from ..kit.plate import find_in_plate
from ..kit.publish import suggest
from ..kit.regions import read_rois
from ..kit.tables import roi_tables
from .rules import Image, WorkflowError, count_of

MARK = ".tried"  # names what a folder is a copy of; without it, none is replaced
HOW = (
    "write a well such as A01, A01:512 for pixels of its middle, or A01:FOV_ROI_table/1"
)

# A well in the name of a file: A01, A001, A/01, `A - 1`, or r01c01.
WELL = re.compile(
    r"(?<![A-Za-z0-9])(?:(A[A-F]|[A-Z])(?:/| ?[-_] ?)?|r(?=\d+c))0?(\d{1,2})(?:c(\d{1,2}))?(?!\d)"
)


class Part(NamedTuple):
    """A part of the images, to be copied.

    Attributes:
        place: Well, or folder of an image that lies in none.
        pixels: Height and width of the piece of the middle; None for all.
        table: ROI table of the region to copy; empty for all.
        region: Name of the region.
    """

    place: str
    pixels: int | None = None
    table: str = ""
    region: str = ""


def read_part(text: str) -> Part:
    """Read the option `--try`.

    Raises:
        WorkflowError: It is wrong.
    """
    place, _, rest = text.partition(":")
    table, _, region = rest.partition("/")
    if not place or (rest and not rest.isdigit() and not (table and region)):
        raise WorkflowError(f"--try {text}: {HOW}")
    if rest.isdigit() and int(rest) < 1:
        raise WorkflowError(f"--try {text}: it has no pixels; {HOW}")
    if rest.isdigit():
        return Part(place, pixels=int(rest))
    return Part(place, table=table, region=region)


def copy_part(
    images: Sequence[Mapping[str, Any]], zarr_dir: Path, text: str
) -> tuple[list[Image], Path]:
    """Copy the images of a well, or a part of them, into a folder beside a dataset.

    Args:
        images: The image list.
        zarr_dir: Folder of the dataset; the copy is in a folder with `_try` at its end,
            which is replaced if it is such a copy.
        text: What to copy, as in `read_part`.

    Returns:
        The image list of the copies, and their folder.

    Raises:
        WorkflowError: There is nothing of that name, or something else at the place of the
            copy.
    """
    part = read_part(text)
    chosen = choose_images(images, part, text)
    folder = new_folder(zarr_dir, text)
    targets = prepare_plates([Path(image["zarr_url"]) for image in chosen], folder)
    for source, target in targets.items():
        if part.pixels is None and not part.table:
            shutil.copytree(source, target)
        else:
            copy_piece(kit.open_image(source), target, part, text)
    urls = {str(source): str(target) for source, target in targets.items()}
    return [
        {
            **image,
            "zarr_url": urls[str(Path(image["zarr_url"]))],
            "origin": urls.get(str(image.get("origin") or "")),
        }
        for image in chosen
    ], folder


def copy_files(
    workflow: Mapping[str, Any], zarr_dir: Path, text: str
) -> tuple[dict[str, Any], Path]:
    """Copy the files of a well from the folders that the first step, a converter, reads.

    Files whose names have no well, such as lists of positions, are copied too.

    Args:
        workflow: A workflow that begins without images.
        zarr_dir: Folder of the dataset; the copy is beside it, as in `copy_part`.
        text: The well.

    Returns:
        The workflow, with the folders of the copies, and the folder to run it in.

    Raises:
        WorkflowError: The files are not told apart by wells, there are none of this well,
            or something else is at the place of the copy.
    """
    part = read_part(text)
    if part.pixels is not None or part.table:
        raise WorkflowError(
            f"--try {text}: a converter reads whole files: write --try {part.place}, or "
            "convert first, and give the images by --images"
        )
    wanted = find_wells(part.place)
    if len(wanted) != 1:
        raise WorkflowError(f"--try {text}: {part.place!r} is no well: write A01")
    step, *rest = workflow["task_list"]
    chosen: dict[str, list[Path]] = {}
    wells: set[str] = set()

    def choose(value: str) -> str:
        # Others are no folder of files: a model, say, or a Zarr that lists its wells.
        # `Path.is_dir` raises if a text is too long for a path.
        is_folder = Path(value).is_absolute() and os.path.isdir(value)  # noqa: PTH112
        if is_folder and value not in chosen:
            files, there = files_of_well(Path(value), wanted[0])
            wells.update(there)
            if there:
                chosen[value] = files
        return value

    parts = ("args_non_parallel", "args_parallel")
    for key in parts:
        map_texts(step.get(key), choose)
    if not any(chosen.values()):
        raise WorkflowError(
            f"--try {text}: {no_files(step['task']['name'], wanted[0], wells)}"
        )
    folder = new_folder(zarr_dir, text)
    copies: dict[str, str] = {}
    for number, (source, files) in enumerate(chosen.items(), 1):
        # Of the same name, as a converter may name a plate after it.
        target = folder / "files" / str(number) / Path(source).name
        for file in files:
            copy = target / file.relative_to(source)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(file, copy)
        target.mkdir(parents=True, exist_ok=True)
        copies[source] = str(target)
        print(f"{count_of(len(files), 'file')} of {source}: {target}")
    args = {
        key: map_texts(step.get(key), lambda value: copies.get(value, value))
        for key in parts
    }
    return {**workflow, "task_list": [{**step, **args}, *rest]}, folder


def no_files(name: str, well: str, wells: set[str]) -> str:
    """Explain why there is nothing to convert for a well."""
    if not wells:
        return (
            f"the workflow begins without images, and {name!r} has no argument that is a "
            "folder of files with wells in their names, such as A01 or r01c01. Give the "
            "task a folder with fewer files, or images by --images"
        )
    near = difflib.get_close_matches(well, wells, 1)
    hint = f"did you mean {near[0]}? " if near else ""
    return (
        f"no file of {name!r} is of {well}; {hint}There are "
        f"{', '.join(sorted(wells))[:300]}"
    )


def map_texts(value: Any, change: Callable[[str], str]) -> Any:
    """Return an argument with all texts in it changed."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, Mapping):
        return {key: map_texts(item, change) for key, item in value.items()}
    if isinstance(value, list):
        return [map_texts(item, change) for item in value]
    return value


def find_wells(name: str, last_row: str = "Z") -> list[str]:
    """Texts in the name of a file that may be its well, such as `A01`.

    Args:
        name: Name of the file, or path below a folder.
        last_row: Of the rows of one letter. Plates of 384 wells end at P: behind it, `T01`
            and `Z01` are mostly time points and planes.
    """
    wells = []
    for row, first, second in WELL.findall(name):
        if len(row) == 1 and row > last_row:
            continue
        if row:
            wells.append(f"{row}{int(first):02}")
        elif second and 1 <= int(first) <= 32:
            number = int(first) - 1
            row = chr(65 + number) if number < 26 else f"A{chr(39 + number)}"
            wells.append(f"{row}{int(second):02}")
    return wells


def files_of_well(folder: Path, well: str) -> tuple[list[Path], set[str]]:
    """Files of a well in a folder, with those of none; and all wells there.

    The well is the first such text that differs between files, or one before it: further
    ones may be channels (`A01_C02.tif`), and one before it a plate (`P12_A01.tif`).

    Args:
        folder: The folder; files in folders below it count.
        well: Such as `A01`.

    Returns:
        The files, empty if there are none of the well, and the wells.
    """
    if (folder / "zarr.json").exists() or (folder / ".zgroup").exists():
        return [], set()
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    names = {path: path.relative_to(folder).as_posix() for path in files}
    every = [well for name in names.values() for well in find_wells(name)]
    is_large = well[0] > "P" or any(well[:2].isalpha() for well in every)
    last_row = "Z" if is_large else "P"
    named = {path: find_wells(name, last_row) for path, name in names.items()}
    columns: list[set[str]] = []
    while here := {w[len(columns)] for w in named.values() if len(w) > len(columns)}:
        columns.append(here)
        if len(here) > 1:
            break
    position = next(
        (n for n, wells in enumerate(columns) if well in wells), len(columns) - 1
    )
    own = {path: wells[position:][:1] for path, wells in named.items()}
    chosen = [path for path, wells in own.items() if wells in ([], [well])]
    if [well] not in own.values():
        chosen = []
    return chosen, columns[position] if columns else set()


def new_folder(zarr_dir: Path, text: str) -> Path:
    """Make the folder of a copy beside a dataset, in place of an earlier copy.

    Raises:
        WorkflowError: It exists, and is something else.
    """
    folder = zarr_dir.absolute().with_name(f"{zarr_dir.absolute().name}_try")
    if folder.exists() and not (folder / MARK).is_file():
        raise WorkflowError(
            f"--try: {folder} exists, and is no copy of an earlier --try: move it away"
        )
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / MARK).write_text(json.dumps({"zarr_dir": str(zarr_dir), "try": text}))
    return folder


def describe_copy(folder: Path) -> str:
    """Return a sentence about what a folder is a copy of; empty for other folders."""
    try:
        made = json.loads((folder / MARK).read_text("utf-8"))
        return f"Tried on a part of {made['zarr_dir']}: {made['try']}."
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def choose_images(
    images: Sequence[Mapping[str, Any]], part: Part, text: str
) -> list[Mapping[str, Any]]:
    """Return the images of a well, or the image in a folder of a name.

    Raises:
        WorkflowError: There is none.
    """
    places: dict[str, list[Mapping[str, Any]]] = {}
    for image in images:
        path = Path(image["zarr_url"])
        name = (image.get("attributes") or {}).get("well")  # reads nothing
        if name is None:
            position = find_in_plate(path)
            name = position.row + position.column if position else path.name
        places.setdefault(name, []).append(image)
    if part.place in places:
        return places[part.place]
    near = difflib.get_close_matches(part.place, places, 1)
    hint = (
        f"did you mean {near[0]}?" if near else f"there are {', '.join(places)[:300]}"
    )
    raise WorkflowError(f"--try {text}: no image is in {part.place!r}; {hint}")


def prepare_plates(sources: Sequence[Path], folder: Path) -> dict[Path, Path]:
    """Write the plates of the copies, and return the place of each copy."""
    targets: dict[Path, Path] = {}
    plates: dict[Path, tuple[Path, dict[tuple[str, str], dict[str, int]]]] = {}
    for source in sources:
        position = find_in_plate(source)
        if position is None:
            name, number = source.name, 1
            while folder / name in targets.values():
                number += 1
                name = f"{number}_{source.name}"
            targets[source] = folder / name
            continue
        number = len(plates) + 1
        taken = {target for target, _ in plates.values()}
        default = folder / position.plate.name
        default = (
            folder / f"{number}_{position.plate.name}" if default in taken else default
        )
        target, wells = plates.setdefault(position.plate, (default, {}))
        names = wells.setdefault((position.row, position.column), {})
        # Of OMERO, images of a well may lie in folders of their acquisitions.
        name = source.name
        while name in names:
            name += "0"
        names[name] = position.acquisition or 0
        targets[source] = target / position.row / position.column / name
    for plate, (target, wells) in plates.items():
        version: Any = kit.open_image(
            next(s for s in sources if plate in s.parents)
        ).version
        kit.create_plate(target, wells, version=version, like=plate)
    return targets


def copy_piece(image: kit.Image, target: Path, part: Part, text: str) -> None:
    """Copy a piece of an image, with its labels and the regions in it.

    Tables of objects stay behind: some of these may be outside.

    Raises:
        WorkflowError: There is no such region.
    """
    axes = image.axes.replace("c", "")
    piece = dict(zip(axes, region_of(image, part, text), strict=True))
    sizes = dict(zip(image.axes, image.shape, strict=True))
    shape = [
        piece[axis].stop - piece[axis].start if axis in piece else sizes[axis]
        for axis in image.axes
    ]
    level = image.levels[0]
    chunk = dict(zip(image.axes, level.chunks, strict=True))
    units = {a["name"]: a.get("unit") for a in image.metadata["multiscales"][0]["axes"]}
    # A size of 1 without a unit is not said: the copy does not say it either.
    scale = {a: n for a, n in image.physical_scale.items() if units[a] or n != 1}
    with kit.create_image(
        target,
        shape=shape,
        axes=image.axes,
        dtype=level.dtype,
        scale=scale,
        channels=image.channel_names,
        wavelengths=[str(c.get("wavelength_id") or "") for c in image.channels]
        if all(c.get("wavelength_id") for c in image.channels)
        else (),
        version=image.version,
        chunk_yx=max(chunk["y"], chunk["x"]),
        min_levels=len(image.levels),
    ) as copy:
        copy_pixels(image, copy, piece)
        kit.build_pyramid(copy)
    if omero := image.metadata.get("omero"):
        group = zarr.open_group(target, mode="r+", use_consolidated=False)
        ome: Any = group.attrs.get("ome")
        if ome:
            group.attrs["ome"] = {**ome, "omero": omero}
        else:
            group.attrs["omero"] = omero
    made = kit.open_image(target)
    for name in image.label_names:
        source = kit.open_label(image, name)
        extents = {a: s.stop - s.start for a, s in piece.items() if a in source.axes}
        if source.shape == tuple(sizes[axis] for axis in source.axes):
            folder = made.path / "labels" / name
            with kit.derive_image(source, folder, sizes=extents, place=made) as label:
                copy_pixels(source, label, piece)
                kit.build_pyramid(label)
        else:
            print(
                f"the label {name} of {image.path} has other pixels, and is not copied"
            )
    for name in roi_tables(image):
        table = kit.read_table(image, name)
        if table.type == "condition_table":
            kit.write_table(
                made, name, table.columns, type=table.type, index=table.index
            )
        elif rois := [*inside(read_rois(image, name), [piece[axis] for axis in axes])]:
            kit.write_roi_table(made, name, rois)


def copy_pixels(
    source: kit.Image, target: kit.Image, piece: Mapping[str, slice]
) -> None:
    """Copy a piece of an image at full resolution, a plane of a time point at a time."""
    first = {axis: s.start for axis, s in piece.items()}
    sizes = dict(zip(target.axes, target.shape, strict=True))
    steps = [(t, z) for t in range(sizes.get("t", 1)) for z in range(sizes.get("z", 1))]
    for t, z in steps:
        at = {"t": slice(t, t + 1), "z": slice(z, z + 1)}
        region = tuple(at.get(axis, slice(0, sizes[axis])) for axis in target.axes)
        moved = tuple(
            slice(s.start + first.get(axis, 0), s.stop + first.get(axis, 0))
            for axis, s in zip(target.axes, region, strict=True)
        )
        target.levels[0][region] = source.read(moved)


def region_of(image: kit.Image, part: Part, text: str) -> tuple[slice, ...]:
    """The piece to copy: one slice for each axis but `c`.

    Raises:
        WorkflowError: There is no such region.
    """
    axes = image.axes.replace("c", "")
    sizes = dict(zip(image.axes, image.shape, strict=True))
    if part.pixels is not None:
        piece = []
        for axis in axes:
            size = min(part.pixels, sizes[axis]) if axis in "yx" else sizes[axis]
            start = (sizes[axis] - size) // 2
            piece.append(slice(start, start + size))
        return tuple(piece)
    try:
        rois = {roi.name: roi for roi in read_rois(image, part.table)}
    except ValueError as error:
        raise WorkflowError(f"--try {text}: {error}") from error
    if part.region not in rois:
        raise WorkflowError(
            f"--try {text}: {image.path} has no region {part.region!r} in {part.table}; "
            f"{suggest(part.region, rois)[:300]}"
        )
    limits = zip(rois[part.region].region, axes, strict=True)
    return tuple(slice(max(s.start, 0), min(s.stop, sizes[axis])) for s, axis in limits)


def inside(rois: Sequence[Roi], piece: Sequence[slice]) -> Iterator[Roi]:
    """Regions in a piece, cut at its borders, from its first pixel on."""
    for roi in rois:
        region = tuple(
            slice(max(s.start, p.start) - p.start, min(s.stop, p.stop) - p.start)
            for s, p in zip(roi.region, piece, strict=True)
        )
        if all(s.start < s.stop for s in region):
            yield Roi(roi.name, region)
