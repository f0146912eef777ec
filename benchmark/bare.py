"""The shortest program for each task, with the whole image in memory: what to compare with.

python bare.py TASK SOURCE RESULT
"""

import csv
import sys
from itertools import count
from pathlib import Path

import numpy as np
import zarr


def write_pyramid(
    path: Path, pixels: np.ndarray, attributes: dict | None = None
) -> None:
    """Write an image with the chunks, the codec and the levels of `convert_tiffs`."""
    group = zarr.open_group(path, mode="w", zarr_format=2, attributes=attributes)
    for level in count():
        group.create_array(
            str(level),
            data=np.ascontiguousarray(pixels),
            chunks=(*[1] * (pixels.ndim - 2), *np.minimum(pixels.shape[-2:], 2048)),
            chunk_key_encoding={"name": "v2", "separator": "/"},
            compressors={"id": "blosc", "cname": "zstd", "clevel": 1},
        )
        if max(pixels.shape[-2:]) <= 256:
            break
        pixels = pixels[..., ::2, ::2]


def convert_tiffs(source: Path, result: Path) -> None:
    import tifffile

    paths = sorted(source.parent.glob(f"{source.name}_*.tif"))
    stack = np.stack([tifffile.imread(path) for path in paths])
    write_pyramid(result, stack.squeeze()[np.newaxis])


def register_acquisitions(source: Path, result: Path) -> None:
    from scipy.ndimage import gaussian_laplace, shift
    from skimage.registration import phase_cross_correlation

    moving = zarr.open_group(source, mode="r")
    reference = zarr.open_group(source.with_name("0"), mode="r")
    level = next(n for n in sorted(moving.array_keys()) if moving[n].size <= 2**24)
    factor = 2 ** int(level)
    edges = [
        gaussian_laplace(image[level][0].astype("float32"), sigma=2)
        for image in (reference, moving)
    ]
    found, _, _ = phase_cross_correlation(
        *edges, upsample_factor=factor, normalization=None
    )
    scale = [1] * (len(found) - 2) + [factor, factor]
    pixels = np.rint([0, *(found * scale)])
    moved = shift(moving["0"][...], pixels, order=0)
    write_pyramid(result, moved, moving.attrs.asdict())


def gaussian_blur(source: Path, result: Path) -> None:
    from scipy.ndimage import gaussian_filter

    image = zarr.open_group(source, mode="r")
    sigma = [0] * (image["0"].ndim - 2) + [1, 1]
    blurred = gaussian_filter(image["0"][...], sigma)
    write_pyramid(result, blurred, image.attrs.asdict())


def threshold_segmentation(source: Path, result: Path) -> None:
    from scipy.ndimage import label
    from skimage.filters import threshold_otsu

    pixels = zarr.open_group(source, mode="r")["0"][0]
    labels, _ = label(pixels > threshold_otsu(pixels), output="uint32")
    write_pyramid(result, labels)


def measure_features(source: Path, result: Path) -> None:
    from skimage.measure import regionprops_table

    image = zarr.open_group(source, mode="r")
    names = ["label", "area", "centroid"]
    names += [f"intensity_{name}" for name in ("mean", "min", "max", "std")]
    labels = image["labels/objects/0"][...]
    table = regionprops_table(labels, image["0"][0], properties=names)
    with result.open("w", newline="") as file:
        csv.writer(file).writerows([[*table], *zip(*table.values(), strict=True)])


if __name__ == "__main__":
    globals()[sys.argv[1]](Path(sys.argv[2]), Path(sys.argv[3]))
