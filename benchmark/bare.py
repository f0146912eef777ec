"""The shortest program for each task, with the whole image in memory: what to compare with.

python bare.py TASK IMAGE
"""

import csv
import sys
from pathlib import Path

import zarr


def write_pyramid(source: zarr.Group, target: Path, pixels, attributes: dict) -> None:
    """Write an image with the chunks and codecs of another one."""
    group = zarr.open_group(target, mode="w", zarr_format=source.metadata.zarr_format)
    group.update_attributes(attributes)
    for name in sorted(source.array_keys()):
        like = source[name]
        array = group.create_array(
            name,
            shape=pixels.shape,
            dtype=pixels.dtype,
            chunks=like.chunks[-pixels.ndim :],
            chunk_key_encoding={"name": "v2", "separator": "/"},
            compressors=like.compressors,
        )
        array[...] = pixels
        pixels = pixels[..., ::2, ::2]


def gaussian_blur(path: Path) -> None:
    from scipy.ndimage import gaussian_filter

    image = zarr.open_group(path, mode="r")
    sigma = [0] * (image["0"].ndim - 2) + [1, 1]
    blurred = gaussian_filter(image["0"][...], sigma)
    target = path.with_name("image_bare.zarr")
    write_pyramid(image, target, blurred, image.attrs.asdict())


def threshold_segmentation(path: Path) -> None:
    from scipy.ndimage import label
    from skimage.filters import threshold_otsu

    image = zarr.open_group(path, mode="r")
    pixels = image["0"][0]
    labels, _ = label(pixels > threshold_otsu(pixels))
    write_pyramid(image, path / "labels" / "bare", labels.astype("uint32"), {})


def measure_features(path: Path) -> None:
    from skimage.measure import regionprops_table

    image = zarr.open_group(path, mode="r")
    names = ["label", "area", "centroid"]
    names += [f"intensity_{name}" for name in ("mean", "min", "max", "std")]
    table = regionprops_table(
        zarr.open_group(path / "labels" / "objects", mode="r")["0"][...],
        image["0"][0],
        properties=names,
    )
    with path.with_name("bare.csv").open("w", newline="") as file:
        csv.writer(file).writerows([[*table], *zip(*table.values(), strict=True)])


if __name__ == "__main__":
    globals()[sys.argv[1]](Path(sys.argv[2]))
