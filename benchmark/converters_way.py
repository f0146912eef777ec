"""Convert TIFFs with ome-zarr-converters-tools, to compare `convert_tiffs` with it.

python converters_way.py convert_tiffs SOURCE RESULT [SOURCE RESULT ...]

The init part is one process, and the compute part of each image another, as on a server.
Chunks, levels and the version of NGFF are those of `convert_tiffs`.
"""

import json
import subprocess
import sys
from pathlib import Path


def run_part(*arguments: str | Path) -> str:
    """Run a part of the conversion in a process of its own; return what it prints."""
    return subprocess.check_output([sys.executable, __file__, *arguments], text=True)


def convert_tiffs(*paths: Path) -> None:
    for item in json.loads(run_part("init", *paths).splitlines()[-1]):
        run_part("compute", json.dumps(item))


def init(*paths: Path) -> None:
    import tifffile
    from ome_zarr_converters_tools import (
        AcquisitionDetails,
        ChannelInfo,
        ConverterOptions,
        DefaultImageLoader,
        SingleImage,
        Tile,
    )
    from ome_zarr_converters_tools.core import tiled_image_from_tiles
    from ome_zarr_converters_tools.fractal import setup_images_for_conversion
    from ome_zarr_converters_tools.models import OverwriteMode

    tiles = []
    for source, result in zip(paths[::2], paths[1::2], strict=True):
        files = sorted(source.parent.glob(f"{source.name}_*.tif"))
        with tifffile.TiffFile(files[0]) as file:
            height, width = file.pages.first.shape
        details = AcquisitionDetails(
            channels=[ChannelInfo(channel_label="DAPI")],
            axes=["c", *(["z"] if len(files) > 1 else []), "y", "x"],
        )
        tiles += [
            Tile(
                fov_name="1",
                start_x=0,
                start_y=0,
                start_z=z,
                length_x=width,
                length_y=height,
                collection=SingleImage(image_path=result.name),
                image_loader=DefaultImageLoader(file_path=str(path)),
                acquisition_details=details,
            )
            for z, path in enumerate(files)
        ]
    n_levels = 1
    while max(height, width) >> (n_levels - 1) > 256:
        n_levels += 1
    options = ConverterOptions.model_validate(
        {
            "omezarr_options": {
                "levels": {"mode": "Number of Levels", "num_levels": n_levels},
                "chunks": {"mode": "Fixed Size", "xy_chunk": 2048, "z_chunk": 1},
                "ngff_version": "0.4",
            }
        }
    )
    items = setup_images_for_conversion(
        tiled_image_from_tiles(tiles=tiles),
        zarr_dir=str(paths[1].parent),
        collection_type="SingleImage",
        converter_options=options,
        overwrite_mode=OverwriteMode.OVERWRITE,
    )
    print(json.dumps(items))


def compute(item: str) -> None:
    from ome_zarr_converters_tools import DefaultImageLoader, SingleImage
    from ome_zarr_converters_tools.fractal import generic_compute_task

    generic_compute_task(
        **json.loads(item),
        collection_type=SingleImage,
        image_loader_type=DefaultImageLoader,
    )


if __name__ == "__main__":
    if sys.argv[1] == "compute":
        compute(sys.argv[2])
    else:
        globals()[sys.argv[1]](*map(Path, sys.argv[2:]))
