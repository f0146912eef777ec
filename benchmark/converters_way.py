"""Convert TIFFs with ome-zarr-converters-tools, to compare `convert_tiffs` with it.

python converters_way.py convert_tiffs SOURCE RESULT

One process does what the two parts of a converter do, which saves it a start. Chunks,
levels and the version of NGFF are those of `convert_tiffs`.
"""

import sys
from pathlib import Path

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
from ome_zarr_converters_tools.fractal import (
    generic_compute_task,
    setup_images_for_conversion,
)
from ome_zarr_converters_tools.models import OverwriteMode


def convert_tiffs(source: Path, result: Path) -> None:
    paths = sorted(source.parent.glob(f"{source.name}_*.tif"))
    with tifffile.TiffFile(paths[0]) as file:
        height, width = file.pages.first.shape
    details = AcquisitionDetails(
        channels=[ChannelInfo(channel_label="DAPI")],
        axes=["c", *(["z"] if len(paths) > 1 else []), "y", "x"],
    )
    tiles = [
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
        for z, path in enumerate(paths)
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
    (item,) = setup_images_for_conversion(
        tiled_image_from_tiles(tiles=tiles),
        zarr_dir=str(result.parent),
        collection_type="SingleImage",
        converter_options=options,
        overwrite_mode=OverwriteMode.OVERWRITE,
    )
    generic_compute_task(
        **item, collection_type=SingleImage, image_loader_type=DefaultImageLoader
    )


if __name__ == "__main__":
    globals()[sys.argv[1]](Path(sys.argv[2]), Path(sys.argv[3]))
