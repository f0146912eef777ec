# ruff: noqa
"""Functions as laboratories write them: of different people, years and habits."""

import os
from collections import namedtuple
from dataclasses import dataclass
from enum import Enum
from typing import Dict, List, Literal, NamedTuple, Optional, Tuple

import numpy as np
import pandas as pd
import scipy.ndimage as ndi
from scipy import ndimage
from skimage import feature, filters, measure, morphology, segmentation


def subtract_illumination(img, radius=20, mode="reflect"):
    bg = ndimage.gaussian_filter(img.astype("float32"), radius, mode=mode)
    return img - bg


def find_spots(image: np.ndarray, sigma: float = 1.5, n_max: int = 100) -> pd.DataFrame:
    """Find spots.

    Parameters
    ----------
    image : ndarray
        The image.
    sigma : float
        Their width, in pixels.
    n_max : int
        At most so many.
    """
    smooth = ndimage.gaussian_filter(image.astype(float), sigma)
    yx = feature.peak_local_max(
        smooth, min_distance=3, threshold_rel=0.5, num_peaks=n_max
    )
    return pd.DataFrame(
        {"y": yx[:, 0], "x": yx[:, 1], "intensity": smooth[tuple(yx.T)]}
    )


def compare_channels(nuclei, reference):
    """Compare two channels."""
    return {
        "mean_nuclei": nuclei.mean(),
        "mean_reference": reference.mean(),
        "pearson": float(np.corrcoef(nuclei.ravel(), reference.ravel())[0, 1]),
    }


def local_maxima_list(im, threshold=10000):
    """Return a list of (row, column) pairs."""
    peaks = (
        ndi.maximum_filter(ndi.gaussian_filter(im, 2), 7) == ndi.gaussian_filter(im, 2)
    ) & (im > threshold)
    return [(r, c) for r, c in np.argwhere(peaks)]


def spots_xy(im: np.ndarray) -> np.ndarray:
    """Return x and y, as OpenCV does."""
    return feature.peak_local_max(
        ndi.gaussian_filter(im.astype(float), 2), threshold_rel=0.5
    )[:, ::-1]


def nuclei_and_count(img, min_area: int = 20):
    """Segment nuclei, and count them."""
    labels = measure.label(img > filters.threshold_otsu(img), connectivity=1)
    labels = morphology.remove_small_objects(labels, max_size=min_area)
    return labels, labels.max()


def cells_and_background(img: np.ndarray, percentile: float = 20.0):
    """Return the labels of cells, and the image without its background."""
    background = np.percentile(img, percentile)
    labels, _ = ndi.label(img > 20 * background)
    return labels, np.clip(img - background, 0, None).astype(np.float32)


def cells_of_two(
    nuclei: np.ndarray, membranes: np.ndarray, min_distance: int = 5
) -> np.ndarray:
    """Segment cells by nuclei and membranes."""
    seeds = measure.label(nuclei > filters.threshold_otsu(nuclei), connectivity=1)
    return segmentation.watershed(membranes, seeds, mask=membranes > membranes.mean())


def ratio(donor, acceptor, epsilon: float = 1.0):
    """FRET ratio."""
    return donor / (acceptor + epsilon)


def otsu_mask(im):
    return ((im > filters.threshold_otsu(im)) * 255).astype(np.uint8)


def focus_score(plane):
    """Variance of the Laplacian."""
    return ndi.laplace(plane.astype(float)).var()


Quality = namedtuple("Quality", "mean maximum saturated")


def quality(stack):
    return Quality(stack.mean(), stack.max(), (stack == 65535).mean())


@dataclass
class Histogram:
    low: float
    high: float


def limits(image, low: float = 1, high: float = 99):
    """Percentiles of an image."""
    a, b = np.percentile(image, [low, high])
    return Histogram(float(a), float(b))


def intensity_per_cell(labels, image):
    """Mean of each cell."""
    return pd.DataFrame(
        measure.regionprops_table(labels, image, properties=("label", "mean_intensity"))
    )


def marker_per_nucleus(labels, damage, factor=2.0):
    """Intensity of a marker in each nucleus.

    Parameters
    ----------
    labels : array
        The nuclei.
    damage : array
        Pixels of the marker.
    factor : float
        Factor of the intensity.
    """
    n = np.unique(labels[labels > 0])
    return {"label": n, "damage": factor * ndi.mean(damage, labels, n)}


def undescribed_marker(labels, damage):
    n = np.unique(labels[labels > 0])
    return {"label": n, "damage": ndi.mean(damage, labels, n)}


def two_intensities(labels, gfp: np.ndarray, rfp: np.ndarray) -> Dict[str, np.ndarray]:
    """Mean of two channels in each cell."""
    n = np.unique(labels[labels > 0])
    return {
        "label": n,
        "gfp": ndi.mean(gfp, labels, n),
        "rfp": ndi.mean(rfp, labels, n),
    }


def profile(image: np.ndarray, n_bins: int = 4) -> pd.DataFrame:
    """Mean of each horizontal band."""
    bands = np.array_split(image.astype(float), n_bins, axis=-2)
    return pd.DataFrame({"band": range(n_bins), "mean": [b.mean() for b in bands]})


def summary(image: np.ndarray) -> pd.Series:
    """Statistics of the pixels."""
    return pd.Series(image.ravel().astype(float)).describe().drop("count")


def clean(
    image,
    *,
    size=None,
    method: Literal["median", "mean"] = "median",
    callback=None,
    **kwargs,
):
    """Remove noise.

    :param size: Width of the filter in pixels; by default 3.
    :param method: Which filter.
    """
    size = size or 3
    return (
        ndi.median_filter(image, size)
        if method == "median"
        else ndi.uniform_filter(image, size)
    )


def binary_to_labels(binary_image: np.ndarray, structure: np.ndarray | None = None):
    """Label a mask.

    Args:
        binary_image: A binary image.
        structure: Which pixels touch.
    """
    return ndi.label(binary_image, structure)[0]


def trained(image, model):
    """Segment by a trained model."""
    return model.predict(image)


def save_plot(image, path: str = "plot.png"):
    """Show an image."""
    return None


def projected(stack):
    """Maximum along z."""
    return stack.max(axis=0)


def noise(image):
    """Add noise."""
    return image + np.random.default_rng().normal(size=image.shape)


def large_objects(table, min_area=10.0):
    """Select the large objects of a feature table.

    Parameters
    ----------
    table : pandas.DataFrame
        A row for each object.
    min_area : float
        Smaller ones are left out.
    """
    return table[table["area"] > min_area]


def summary_of_objects(df: pd.DataFrame, column: str = "eccentricity"):
    """Number of objects, and mean of one of their features."""
    return {"n": len(df), "mean": df[column].mean(), "low": df.area.min()}


def by_size(df):
    """Mean of the features of small and large objects."""
    sizes = np.where(df["area"] > 50, "large", "small")
    return df.drop(columns="label").groupby(sizes).mean()


def maybe(image):
    """Brightest pixel, and a value that is not known."""
    return {"brightest": image.max(), "dose": None}


def inside(image, mask=None):
    """Mean of an image, or of the pixels in a mask."""
    return {"mean": image.mean() if mask is None else image[mask].mean()}


def by_channel(image):
    """Numbers in a dictionary of their own."""
    return {"channel": {"mean": image.mean()}, "n": 1}


def rows_of_objects(labels, image):
    """Area of each object, row by row."""
    return [
        {"label": p.label, "area": p.area} for p in measure.regionprops(labels, image)
    ]


def objects(image):
    """Objects, as scikit-image describes them."""
    return measure.regionprops((image > 1000).astype(int))


def doubled_in_place(df):
    """Add a column to a table that others use too."""
    df["twice"] = df["area"] * 2
    return df


def guess(df):
    """Mean of some objects."""
    return float(df["area"].sample(3).mean())


class Method(Enum):
    OTSU = "otsu"
    LI = "li"


def by_method(image: np.ndarray, method: Method = Method.OTSU) -> np.ndarray:
    """Label what is brighter than a threshold by a method."""
    assert isinstance(method, Method)
    find = {Method.OTSU: filters.threshold_otsu, Method.LI: filters.threshold_li}
    return measure.label(image > find[method](image))


def very_bright(image, floor: int = 60000):
    """Label pixels that are brighter than those of any test."""
    return measure.label(image > floor)


def small_spots(image, n_sigma: float = 9.0):
    """Find small spots.

    :return: list of (x, y)
    """
    log = -ndi.gaussian_laplace(image.astype(float), 1.5)
    peaks = feature.peak_local_max(log, threshold_abs=log.mean() + n_sigma * log.std())
    return [(int(x), int(y)) for y, x in peaks]


def flat_shapes(label_image, image):
    """Measure what only planes have."""
    names = ("label", "area", "eccentricity", "mean_intensity")
    return pd.DataFrame(measure.regionprops_table(label_image, image, properties=names))


def sum_of_three(dapi, gfp, rfp):
    """Add three channels."""
    return dapi.astype(float) + gfp + rfp


def without_small(lbl, min_size=30):
    """Remove small labels."""
    sizes = np.bincount(lbl.ravel())
    return np.where(sizes[lbl] < min_size, 0, lbl)


def cytoplasm(cell_labels, nuclei_labels):
    """Remove nuclei from cells."""
    return np.where(nuclei_labels > 0, 0, cell_labels)


def number_of_rows(table):
    """Count objects."""
    return {"n": len(table), "largest": table["area"].max()}
