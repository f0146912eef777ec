"""The same tasks with ngio's iterators, as its documentation shows them.

python ngio_way.py TASK SOURCE RESULT

- Blur: tiles that share no chunk, with a margin, in threads; by default it has one.
- Segmentation: the whole image at once, since its threshold is that of the whole image.
- Features: likewise, since tiles give an object that they cut one row each.
- Converting and registering: it has no iterator for them.
"""

import sys
from pathlib import Path

import numpy as np
from ngio import (
    FeatureExtractorIterator,
    ImageProcessingIterator,
    Roi,
    SegmentationIterator,
    open_ome_zarr_container,
)
from ngio.iterators import ThreadedMapper


def gaussian_blur(source: Path, result: Path) -> None:
    from scipy.ndimage import gaussian_filter

    image = open_ome_zarr_container(source)
    blurred = image.derive_image(result, overwrite=True)
    iterator = ImageProcessingIterator(
        image.get_image(),
        blurred.get_image(),
        axes_order=["c", "z", "y", "x"],
        consolidation_mode="auto",
    )
    iterator = iterator.by_write_units().with_halo(x=4, y=4)
    iterator.process(
        lambda pixels: gaussian_filter(pixels, (0, 0, 1, 1)), mapper=ThreadedMapper()
    )


def threshold_segmentation(source: Path, result: Path) -> None:
    from scipy.ndimage import label
    from skimage.filters import threshold_otsu

    def segment(pixels: np.ndarray) -> np.ndarray:
        return label(pixels > threshold_otsu(pixels), output="uint32")[0]

    image = open_ome_zarr_container(source)
    iterator = SegmentationIterator(
        image.get_image(),
        image.derive_label(result.name, overwrite=True),
        channel_selection=0,
        axes_order=["z", "y", "x"],
        consolidation_mode="auto",
    )
    iterator.by_zyx(strict=False).segment(segment)


def measure_features(source: Path, result: Path) -> None:
    from skimage.measure import regionprops_table

    names = ["label", "area", "centroid"]
    names += [f"intensity_{name}" for name in ("mean", "min", "max", "std")]

    def measure(pixels: np.ndarray, labels: np.ndarray, _: Roi) -> dict:
        return regionprops_table(labels[..., 0], pixels, properties=names)

    image = open_ome_zarr_container(source)
    pixels = image.get_image()
    iterator = FeatureExtractorIterator(
        pixels,
        image.get_label("objects"),
        axes_order=["y", "x", "c"] if pixels.is_2d else ["z", "y", "x", "c"],
    )
    table = iterator.by_zyx(strict=False).measure(measure)
    image.add_table(result.parent.name, table, backend="csv", overwrite=True)


if __name__ == "__main__":
    globals()[sys.argv[1]](Path(sys.argv[2]), Path(sys.argv[3]))
