"""A network that is trained here segments the nuclei of a stained tissue."""

import json
import subprocess
import sys

import numpy as np
import onnx
import pytest
from my_fractal_tasks.kit import open_image, open_label
from my_fractal_tasks.model_segmentation import model_segmentation
from onnx import TensorProto, helper, numpy_helper
from package_images import PACKAGE, write_image
from scipy import ndimage, optimize, special
from skimage import data, filters

SIGMAS = (1, 2, 4)
REACH = 16  # of the kernels


def stain(y, x, size=240):
    """Nuclei of a stained tissue, bright on a dark background."""
    pixels = 255 - data.immunohistochemistry()[y : y + size, x : x + size, 0]
    return np.clip(pixels.astype(int) - int(np.median(pixels)), 0, 255).astype(np.uint8)


def nuclei(pixels):
    """Mask of the nuclei, nearly as a person would draw it: Otsu's threshold."""
    smooth = ndimage.gaussian_filter(pixels.astype(float), 2)
    return smooth > filters.threshold_otsu(smooth)


def normalized(pixels):
    low, high = np.percentile(pixels, [1, 99.8], method="inverted_cdf")
    return (pixels.astype(np.float32) - low) / (high - low)


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    """Train a logistic regression of blurred pixels, and write it as ONNX."""
    point = np.zeros((2 * REACH + 1, 2 * REACH + 1))
    point[REACH, REACH] = 1
    kernels = np.array([ndimage.gaussian_filter(point, sigma) for sigma in SIGMAS])
    pixels = stain(60, 60)
    seen = np.array(
        [ndimage.convolve(normalized(pixels), kernel) for kernel in kernels]
    )
    seen, target = seen.reshape(len(SIGMAS), -1), nuclei(pixels).ravel()

    def loss(weights):
        score = weights[:-1] @ seen + weights[-1]
        error = special.expit(score) - target
        value = np.mean(np.logaddexp(0, score) - target * score)
        return value, np.append(seen @ error, error.sum()) / len(target)

    trained = optimize.minimize(loss, np.zeros(len(SIGMAS) + 1), jac=True).x
    weights = {
        "kernels": kernels[:, None],
        "weights": trained[None, :-1, None, None],
        "bias": trained[-1:],
    }
    nodes = [
        helper.make_node("Conv", ["image", "kernels"], ["blurred"], pads=[REACH] * 4),
        helper.make_node("Conv", ["blurred", "weights", "bias"], ["score"]),
        helper.make_node("Sigmoid", ["score"], ["probability"]),
    ]
    image, probability = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 1, "y", "x"])
        for name in ("image", "probability")
    )
    graph = helper.make_graph(
        nodes,
        "nuclei",
        [image],
        [probability],
        [numpy_helper.from_array(w.astype(np.float32), n) for n, w in weights.items()],
    )
    path = tmp_path_factory.mktemp("network") / "nuclei.onnx"
    opset = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, ir_version=8, opset_imports=opset), path)
    return path


def labels(path, name="objects"):
    return open_label(open_image(path), name).levels[0][...]


def test_it_finds_nuclei_that_it_was_not_trained_on(tmp_path, network):
    pixels = stain(250, 200)
    write_image(tmp_path / "image.zarr", "yx", pixels=pixels)
    arguments = {"zarr_url": str(tmp_path / "image.zarr"), "model": str(network)}

    model_segmentation(**arguments, min_size=30)
    model_segmentation(
        **arguments, min_size=30, tile_size=128, overlap=48, label_name="tiles"
    )

    whole, tiles = (labels(tmp_path / "image.zarr", n) for n in ("objects", "tiles"))
    expected = nuclei(pixels)
    assert (expected & (whole > 0)).sum() / (expected | (whole > 0)).sum() > 0.8
    assert whole.max() > 20
    assert ((whole > 0) == (tiles > 0)).mean() > 0.999
    assert abs(int(whole.max()) - int(tiles.max())) <= 0.05 * whole.max()


def test_a_stack_is_segmented_as_a_volume(tmp_path, network):
    planes = [ndimage.gaussian_filter(stain(250, 200), sigma) for sigma in (3, 0, 3)]
    write_image(tmp_path / "stack.zarr", "zyx", pixels=np.array(planes))

    model_segmentation(
        zarr_url=str(tmp_path / "stack.zarr"),
        model=str(network),
        tile_size=128,
        overlap=32,
    )

    label = labels(tmp_path / "stack.zarr")
    in_two = np.intersect1d(label[0][label[0] > 0], label[1])
    assert len(in_two) > 0.5 * len(np.unique(label[1]))


def test_units_that_start_at_the_same_time_end_well(tmp_path, network):
    units = []
    for number in range(4):
        path = tmp_path / f"{number}.zarr"
        write_image(path, "yx", pixels=stain(60 + 40 * number, 60))
        arguments = tmp_path / f"{number}.json"
        arguments.write_text(json.dumps({"zarr_url": str(path), "model": str(network)}))
        command = [sys.executable, str(PACKAGE / "model_segmentation.py")]
        command += ["--args-json", str(arguments)]
        command += ["--out-json", str(tmp_path / f"{number}.out.json")]
        units.append(subprocess.Popen(command))
    assert [unit.wait() for unit in units] == [0] * 4
    assert all(labels(tmp_path / f"{number}.zarr").max() > 20 for number in range(4))
