"""`new_task --from` makes tasks from functions of libraries and laboratories, or says how."""

import os
import re
import shlex
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from rendering import run
from test_new_task import add, create_manifest

from fractal_workbench.new_task import command, function, outcome
from fractal_workbench.new_task.names import Rejected

LABORATORY = Path(__file__).with_name("laboratory.py")

# What a task of each function makes, with the options that its user gives.
ACCEPTED = {
    # --- of images ---
    "skimage.filters:gaussian": "image",
    "skimage.filters:sobel": "image",
    "skimage.filters:median": "image",
    "skimage.filters:unsharp_mask": "image",
    "skimage.filters:difference_of_gaussians --set low_sigma=1": "image",
    "skimage.filters:laplace": "image",
    "skimage.filters:threshold_local": "image",
    "skimage.filters:butterworth": "image",
    "skimage.exposure:equalize_adapthist": "image",
    "skimage.exposure:rescale_intensity": "image",
    "skimage.exposure:adjust_gamma": "image",
    "skimage.exposure:match_histograms --array image,reference": "image",
    "skimage.restoration:rolling_ball --set radius=5 --axes yx": "image",
    "skimage.restoration:denoise_tv_chambolle": "image",
    "skimage.morphology:white_tophat": "image",
    "skimage.morphology:opening": "image",
    "skimage.feature:corner_harris": "image",
    "skimage.util:invert": "image",
    "skimage.transform:rotate --set angle=10": "image",
    "scipy.ndimage:median_filter --set size=3": "image",
    "scipy.ndimage:gaussian_filter --set sigma=2": "image",
    "scipy.ndimage:rotate --set angle=10 --set reshape=false": "image",
    "scipy.ndimage:percentile_filter --set percentile=20 --set size=5": "image",
    "scipy.signal:medfilt2d": "image",
    "numpy:log1p": "image",
    "numpy:clip": "image",
    "numpy:gradient --returns 1": "image",
    "laboratory.py:subtract_illumination": "image",
    "laboratory.py:ratio --array donor,acceptor": "image",
    "laboratory.py:clean": "image",
    "laboratory.py:cells_and_background --returns 1": "image",
    "laboratory.py:sum_of_three --array dapi,gfp,rfp": "image",
    # --- of labels ---
    "skimage.segmentation:watershed": "label",
    "skimage.segmentation:felzenszwalb": "label",
    "skimage.segmentation:slic --set channel_axis=null": "label",
    "skimage.filters:apply_hysteresis_threshold --set low=5000 --set high=20000": "label",
    "skimage.morphology:local_maxima": "label",
    "skimage.feature:canny": "label",
    "skimage.measure:label": "label",
    "scipy.ndimage:label": "label",
    "laboratory.py:nuclei_and_count": "label",
    "laboratory.py:cells_and_background --returns 0": "label",
    "laboratory.py:cells_of_two --array nuclei,membranes": "label",
    "laboratory.py:otsu_mask": "label",
    "laboratory.py:by_method": "label",
    "laboratory.py:very_bright": "label",
    # --- of points ---
    "skimage.feature:peak_local_max": "points",
    "skimage.measure:centroid": "points",
    "scipy.ndimage:center_of_mass": "points",
    "scipy.ndimage:maximum_position": "points",
    "laboratory.py:find_spots": "points",
    "laboratory.py:local_maxima_list": "points",
    "laboratory.py:spots_xy": "points",
    "laboratory.py:small_spots": "points",
    # --- of measurements ---
    "skimage.filters:threshold_otsu": "measurements",
    "skimage.measure:shannon_entropy": "measurements",
    "skimage.measure:blur_effect": "measurements",
    "scipy.ndimage:mean": "measurements",
    "scipy.ndimage:standard_deviation": "measurements",
    "numpy:mean": "measurements",
    "numpy:percentile --set q=90": "measurements",
    "laboratory.py:compare_channels --array nuclei,reference": "measurements",
    "laboratory.py:focus_score": "measurements",
    "laboratory.py:quality": "measurements",
    "laboratory.py:limits": "measurements",
    "laboratory.py:profile": "measurements",
    "laboratory.py:summary": "measurements",
    "laboratory.py:maybe": "measurements",
    "laboratory.py:inside": "measurements",
    # --- of features ---
    "skimage.measure:regionprops_table": "features",
    "laboratory.py:intensity_per_cell": "features",
    "laboratory.py:marker_per_nucleus": "features",
    "laboratory.py:two_intensities --array gfp,rfp": "features",
    "laboratory.py:flat_shapes": "features",
    # --- of tables ---
    "laboratory.py:large_objects": "table",
    "laboratory.py:summary_of_objects": "table",
    "laboratory.py:by_size": "table",
    "laboratory.py:number_of_rows": "table",
}
# What the message says; of commands, what begins after the name of the task.
REJECTED = {
    "laboratory.py:by_channel": "whose 'channel' is no number",
    "laboratory.py:rows_of_objects": "list of dictionaries.*pandas.DataFrame",
    "laboratory.py:objects": "regionprops_table",
    "laboratory.py:doubled_in_place": "writes into df.*`df = df.copy\\(\\)`",
    "laboratory.py:guess": "something else when it is called again",
    "laboratory.py:summary_of_objects --makes image": "takes a table",
    "skimage.segmentation:slic": "This works:.*--set channel_axis=null",
    "scipy.ndimage:median_filter": "This works:.*--set size=3",
    "scipy.ndimage:rotate --set angle=10": "This works:.*--set angle=10 --set reshape=false",
    "numpy:percentile": "This works:.*--set q=3",
    "skimage.exposure:match_histograms": "This works:.*--array image,reference",
    "numpy:gradient": "These work:.*--returns 0.*--returns 1",
    "laboratory.py:cells_and_background": "These work:.*--returns 0.*--returns 1",
    "laboratory.py:two_intensities": "This works:.*--array gfp,rfp",
    "laboratory.py:undescribed_marker": "This works:.*--array damage$",
    "skimage.morphology:remove_small_objects": "takes a mask or labels.*threshold_otsu",
    "skimage.morphology:skeletonize": "takes a mask or labels.*threshold_otsu",
    "scipy.ndimage:binary_fill_holes": "takes a mask or labels.*--array input",
    "scipy.ndimage:distance_transform_edt": "takes a mask or labels",
    "skimage.segmentation:clear_border": "--makes label",
    "skimage.segmentation:expand_labels": "--makes label",
    "scipy.ndimage:generic_filter": "needs function, and a form has no place for functions",
    "skimage.transform:resize": "needs output_shape",
    "scipy.ndimage:zoom": "an array of uint16 and shape",
    "skimage.feature:hog": "array of float64 and shape",
    "skimage.measure:moments": "no positions",
    "numpy:argwhere": "no positions",
    "numpy.fft:fft2": "complex128.*write a function",
    "laboratory.py:binary_to_labels": "takes a mask or labels",
    "laboratory.py:without_small": "lbl takes labels.*--makes label",
    "laboratory.py:cytoplasm": "as cell_labels and as nuclei_labels.*open_label",
    "laboratory.py:trained": "trained needs model",
    "laboratory.py:save_plot": "returns nothing.*write a function",
    "laboratory.py:projected": "shape \\(64,\\).*write a function",
    "laboratory.py:noise": "returns something else when it is called again",
}
# At each push; all of them once a week.
OFTEN = {
    "skimage.filters:gaussian",
    "numpy:clip",
    "skimage.segmentation:watershed",
    "skimage.feature:peak_local_max",
    "laboratory.py:find_spots",
    "laboratory.py:compare_channels --array nuclei,reference",
    "laboratory.py:nuclei_and_count",
    "laboratory.py:marker_per_nucleus",
    "laboratory.py:undescribed_marker",
    "laboratory.py:two_intensities --array gfp,rfp",
    "laboratory.py:otsu_mask",
    "laboratory.py:by_method",
    "laboratory.py:very_bright",
    "laboratory.py:without_small",
    "laboratory.py:cytoplasm",
    "laboratory.py:number_of_rows",
    "laboratory.py:summary_of_objects",
    "scipy.ndimage:rotate --set angle=10",
    "numpy:percentile",
    "laboratory.py:cells_and_background",
    "skimage.morphology:remove_small_objects",
    "laboratory.py:projected",
}


def options(case: str) -> SimpleNamespace:
    """The options of the command line."""
    place, *rest = shlex.split(case)
    given = SimpleNamespace(name="Mine", function=place, set=(), array="", axes=None)
    given.makes = given.type = given.returns = None
    given.requirements = ()
    for option, value in zip(rest[::2], rest[1::2], strict=True):
        name = option.removeprefix("--")
        if name == "set":
            given.set = (*given.set, value)
        else:
            setattr(given, name, int(value) if name == "returns" else value)
    return given


def analyse(case: str, monkeypatch, patience: float = 120) -> function.Function:
    """Analyse a function as the command does."""
    monkeypatch.chdir(LABORATORY.parent)
    monkeypatch.setattr(outcome, "PATIENCE", patience)
    monkeypatch.delitem(sys.modules, "laboratory", raising=False)
    given = options(case)
    called, module, _ = function.find(given.function)
    return command.analyse(given, called, module)


def with_marks(cases: dict[str, str]) -> list:
    """Mark what is not tried at each push."""
    return [
        pytest.param(
            case, expected, id=case, marks=[] if case in OFTEN else pytest.mark.weekly
        )
        for case, expected in cases.items()
    ]


@pytest.mark.parametrize(("case", "makes"), with_marks(ACCEPTED))
def test_a_function_is_classified(case, makes, monkeypatch):
    assert analyse(case, monkeypatch).makes == makes


@pytest.mark.parametrize(("case", "message"), with_marks(REJECTED))
def test_a_function_that_is_no_task_is_rejected_with_a_way(case, message, monkeypatch):
    with pytest.raises(Rejected) as caught:
        analyse(case, monkeypatch)
    text = str(caught.value)
    assert re.search(message, text, re.DOTALL), text
    # The commands that are shown do work.
    for line in re.findall(
        r"^  nox -s new_task -- Mine --from (.+)$", text, re.MULTILINE
    ):
        analyse(line, monkeypatch)


def test_the_lists_are_long_enough():
    assert {*ACCEPTED, *REJECTED} >= OFTEN
    assert len(ACCEPTED) >= 52


# --- functions with which a task would be wrong ---

ODD = '''
import asyncio, functools, time, warnings
from functools import partial, wraps
from typing import Literal

import numpy as np
import pandas as pd
from scipy import ndimage

generator = np.random.default_rng(0)
buffer = np.zeros((56, 64), np.uint16)
calls = []
seen = {}

def in_place(image):
    image[image < 150] = 0
    return image

def in_place_of_nothing(image):
    image += 1

def below_a_view(image):
    image.ravel()[:3] = 0
    return image * 2

def asks_to_write(image):
    image.setflags(write=True)
    return image * 2

def noisy(image, sigma=1.0):
    return image + generator.normal(0, sigma, image.shape)

def global_noise(image):
    return np.random.normal(0, 1, image.shape)

def seeded_by_argument(image, seed: int | None = None):
    return image + np.random.default_rng(seed).random(image.shape)

def counts_calls(image):
    calls.append(1)
    return image * len(calls)

def scales_to_the_first(image):
    return image / seen.setdefault("max", image.mean())

def keeps_its_result(image):
    if image.shape != buffer.shape:
        return image * 2
    np.multiply(image, 2, out=buffer)
    return buffer

def random_number(image):
    return {"mean": image.mean(), "noise": np.random.random()}

def random_labels(image):
    return ndimage.label(image > 10000)[0] + np.random.randint(1, 3) * (image > 10000)

def slow(image):
    time.sleep(1000)

async def later(image):
    return image

def one_by_one(image):
    yield image

def awaited(image):
    return later(image)

def ends(image):
    raise SystemExit(3)

def warns(image):
    warnings.warn("of something", FutureWarning)
    return image

def divides(image):
    return image / (image - image)

def of_even_sizes(image):
    return image.reshape(image.shape[0] // 2, 2, -1).max(axis=1).repeat(2, 0).reshape(image.shape)

def masked(image):
    return np.ma.masked_less(image, 150)

def one_object(image, low: float = 100.0):
    return ndimage.label(image > low, np.ones((3,) * image.ndim))[0]

def many(*images):
    return images[0]

last = lambda *arguments, **others: arguments[0]

def second_by_position(sigma, image, /):
    return image

def features(labels, image):
    n = np.unique(labels[labels > 0])
    return pd.DataFrame({"label": n, "mean": ndimage.mean(image, labels, n)})

def label_is_index(labels, image):
    return features(labels, image).set_index("label")

def without_label(labels):
    return {"n": int(labels.max())}

def label_is_float(labels, image):
    return features(labels, image).astype(float)

def label_twice(labels, image):
    return pd.concat([features(labels, image)] * 2)

# What follows is right.

def is_itself(image):
    return image

def a_view(image):
    return image[..., ::-1]

def writes_into_a_copy(image):
    image = image.copy()
    image[image < 150] = 0
    return image

def not_a_number(image):
    return np.where(image > 10000, np.nan, image)

def seeds_all(image):
    np.random.seed(0)
    return image + np.random.normal(0, 1, image.shape)

def talks(image):
    print("Hello")
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.warn("of nothing")
    np.seterr(all="ignore")
    return image

def odd_defaults(image, low=-0.0, top=float("inf"), levels: list[float] = [-0.0], seed=2**60,
                 mode: str = " a", empty: str = "", words: list[str] = [""],
                 best: Literal["all", 3] = "all", axis: Literal[0, 1] = 1, initial: float = np._NoValue,
                 n: int = 2):
    return image * n

def by_position(image, /, sigma: float = 1.0):
    return ndimage.gaussian_filter(image, sigma)

def with_more(image, *more, sigma: float = 1.0, **others):
    return ndimage.gaussian_filter(image, sigma)

class Blur:
    """Not of the task."""

    def __init__(self, sigma):
        self.sigma = sigma

    def __call__(self, image: np.ndarray, times: int = 1):
        """Blur an image by an object.

        Args:
            image: The image.
            times: How often.
        """
        for _ in range(times):
            image = ndimage.gaussian_filter(image, self.sigma)
        return image

    def method(self, image):
        return self(image)

def without_wraps(function):
    def wrapper(image, factor: float = 2.0):
        return function(image) * factor
    return wrapper

def with_wraps(function):
    @wraps(function)
    def wrapper(*arguments, **others):
        return function(*arguments, **others)
    return wrapper

def outer():
    def inner(image, factor: float = 2.0):
        return image * factor
    return inner

@without_wraps
def decorated(image):
    return image

@with_wraps
def wrapped(image, sigma: float = 1.0):
    """Blur an image in a wrapper."""
    return ndimage.gaussian_filter(image, sigma)

blurred = partial(ndimage.gaussian_filter, sigma=2.0)
of_partial = partial(partial(ndimage.gaussian_filter), sigma=2.0)
called_object = Blur(2)
bound = Blur(1).method
doubled = lambda image, factor=2.0: image * factor
nested = outer()
alias = wrapped
cached = functools.cache(outer)()
'''
COPY = r"writes into image, .*`image = image.copy\(\)`"
AGAIN = "returns something else when it is called again.*seed"
WRONG = {
    "in_place": COPY,
    "in_place_of_nothing": COPY + ", end it with `return image`",
    "below_a_view": COPY,
    "asks_to_write": COPY,
    "noisy": AGAIN,
    "global_noise": AGAIN,
    "seeded_by_argument": "called again.*This works.*--set seed=0",
    "counts_calls": AGAIN,
    "scales_to_the_first": AGAIN,
    "keeps_its_result": AGAIN,
    "random_number": AGAIN,
    "random_labels": AGAIN,
    "slow": "slow has not ended after 2 seconds.*--axes yx.*--set",
    "later": "it is asynchronous.*`def`",
    "one_by_one": "returns a generator .*write a function",
    "awaited": "returns a coroutine .*write a function",
    "ends": "SystemExit: 3",
    "warns": r"warns: FutureWarning: of something \(odd\.py, line [0-9]+\)",
    "divides": "warns: RuntimeWarning: .*divi.*function that calls it",
    "of_even_sizes": "fails on a plane.*cannot reshape",
    "masked": r"masked array.*\.filled\(0\)",
    "one_object": "one object .*labels and a mask look alike.*This works.*--set low=5000",
    "many": "its arguments have no names.*Write a function",
    "last": "its arguments have no names.*Write a function",
    "second_by_position": "needs sigma, .* no name for a caller",
    "Blur": "it is a type, not a function. Write one",
    "generator": "it is a Generator, not a function",
    "label_is_index": r"without a column `label`.*the index now.*reset_index\(\)",
    "without_label": "without a column `label`.*Write a function",
    "label_is_float": r"'label' is of float64: return integers",
    "label_twice": "'label' has a label in several rows",
}
RIGHT = {
    "features": "features",
    "is_itself": "image",
    "a_view": "image",
    "writes_into_a_copy": "image",
    "not_a_number": "image",
    "seeds_all": "image",
    "talks": "image",
    "odd_defaults": "image",
    "by_position": "image",
    "with_more": "image",
    "decorated": "image",
    "wrapped": "image",
    "blurred": "image",
    "of_partial": "image",
    "called_object": "image",
    "bound": "image",
    "doubled": "image",
    "nested": "image",
    "alias": "image",
    "cached": "image",
}


@pytest.fixture
def odd(tmp_path) -> Path:
    path = tmp_path / "odd.py"
    path.write_text(ODD)
    return path


@pytest.mark.parametrize(("name", "message"), WRONG.items())
def test_a_function_that_a_task_cannot_trust_is_rejected(
    odd, name, message, monkeypatch
):
    with pytest.raises(Rejected) as caught:
        analyse(f"{odd}:{name}", monkeypatch, patience=2 if name == "slow" else 60)
    assert re.search(message, str(caught.value), re.DOTALL), caught.value


@pytest.mark.parametrize(("name", "makes"), RIGHT.items())
def test_a_function_of_any_style_is_accepted(odd, name, makes, monkeypatch, capsys):
    found = analyse(f"{odd}:{name}", monkeypatch)
    assert found.makes == makes
    assert not capsys.readouterr().out  # also of a function that prints
    if name == "called_object":
        assert [one.description for one in found.arguments] == ["How often."]
    if name == "odd_defaults":  # the form cannot show the others, or changes them
        assert [argument.name for argument in found.arguments] == ["n"]


def test_a_random_function_is_always_rejected(odd, monkeypatch):
    for _ in range(20):
        with pytest.raises(Rejected, match="called again"):
            analyse(f"{odd}:random_labels", monkeypatch)


# --- packages ---

# Each style and kind of result, with the name of its task; the text of its output.
TASKS = {
    "Smooth": "skimage.filters:gaussian",
    "Median": "scipy.ndimage:median_filter --set size=3",
    "Turn": "scipy.ndimage:rotate --set angle=10 --set reshape=false",
    "Bounds": "numpy:clip",
    "Components": "scipy.ndimage:label",
    "Properties": "skimage.measure:regionprops_table",
    "Peaks": "skimage.feature:peak_local_max",
    "My Spots": "lab.py:find_spots",
    "Spots From X": "lab.py:spots_xy",
    "Compare": "lab.py:compare_channels --array nuclei,reference",
    "FRET": "lab.py:ratio --array donor,acceptor",
    "Cells Of Two": "lab.py:cells_of_two --array nuclei,membranes",
    "Two Intensities": "lab.py:two_intensities --array gfp,rfp",
    "Limits": "lab.py:limits",
    "Large Objects": "lab.py:large_objects",
    "By Method": "lab.py:by_method",
    "Very Bright": "lab.py:very_bright",
    "Small Spots": "lab.py:small_spots",
    "Flat Shapes": "lab.py:flat_shapes",
    "Sum Of Three": "lab.py:sum_of_three --array dapi,gfp,rfp",
    "Bands": "lab.py:profile --axes yx",
    "Blobs By Plane": "names.py:label_image --axes yx",
    "Two By Plane": "lab.py:cells_of_two --array nuclei,membranes --axes yx",
    # Functions and arguments that have names of the task, its test, Python or the kit.
    "Own Blobs": "names.py:blobs",
    "Own Labels": "names.py:label_image",
    "Own Points": "names.py:find_points",
    "Own Result": "names.py:expected",
    "Own Sum": "names.py:sum",
    "Own Filter": "names.py:filter_image --array path,pixels",
    "Own Name": "names.py:own_name",
}
NAMES = """
import numpy as np
from scipy import ndimage
from skimage.feature import peak_local_max

def blobs(image, sigma: float = 1.0, options: int = 1):
    return ndimage.label(ndimage.gaussian_filter(image, sigma) > 5000)[0]

def label_image(image, min_size: int = 5000, derive_label: float = 1.0):
    return ndimage.label(image > min_size)[0]

def find_points(image, label_name: float = 5000, found: int = 2):
    return peak_local_max(image, min_distance=found, threshold_abs=label_name)

def expected(image, channel: float = 1.5, np: int = 1):
    return ndimage.gaussian_filter(image, channel)

def sum(image, image_table: float = 2.0):
    return {"sum": float(image.sum() * image_table)}

def filter_image(path, pixels, overwrite: float = 0.5):
    return (path * overwrite + pixels * (1 - overwrite)).astype(path.dtype)

def own_name(image, suffix: float = 1.0):
    return ndimage.gaussian_filter(image, suffix)
"""


def check_package(package: Path, *tests: str) -> None:
    """Run the checks of a package."""
    run("ruff", "check", "--no-cache", ".", cwd=package)
    run("ruff", "format", "--no-cache", "--check", ".", cwd=package)
    env = os.environ | {"PYTHONPATH": str(package / "src")}
    run(sys.executable, "-m", "mypy", cwd=package, env=env)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    run(*command, *tests, cwd=package, env=env)


@pytest.mark.long
def test_a_task_of_a_function_is_green_at_once(render, tmp_path):
    package = render(tmp_path / "package", project_name="new-tasks", examples=[])
    shutil.copy(LABORATORY, package / "lab.py")
    (package / "names.py").write_text(NAMES)
    cases = [[name, "--from", *shlex.split(case)] for name, case in TASKS.items()]
    entropy = ["--from", "skimage.measure:shannon_entropy", "--makes", "features"]
    cases += [["Object Entropy", *entropy]]
    said = add(package, *cases)
    for (name, *_), text in zip(cases, said, strict=True):
        assert "Nothing was written" not in text, (name, text)
    (package / "lab.py").unlink()
    (package / "names.py").unlink()
    tasks = create_manifest(package)

    # The arguments are those of the function; what a form cannot show is left out.
    schema = tasks["Median"]["args_schema_parallel"]["properties"]
    assert schema["size"]["default"] == 3
    assert "footprint" not in schema
    schema = tasks["Turn"]["args_schema_parallel"]["properties"]
    assert schema["angle"]["default"] == 10
    assert "reshape" not in schema
    schema = tasks["My Spots"]["args_schema_parallel"]["properties"]
    assert schema["sigma"]["description"] == "Their width, in pixels."
    assert "label_name" in schema
    schema = tasks["Bounds"]["args_schema_parallel"]["properties"]
    assert {"min", "max"} <= {*schema}
    schema = tasks["Compare"]["args_schema_parallel"]["properties"]
    assert "channel" not in schema
    assert schema["nuclei"]["default"] == {"mode": "index", "identifier": "0"}
    assert schema["reference"]["default"] == {"mode": "index", "identifier": "1"}
    project = (package / "pyproject.toml").read_text()
    assert re.findall(r'"(scikit-image)>=', project) == ["scikit-image"]
    # Once a week, all functions run with NGFF 0.4 too.
    check_package(package, "-k", "not kit and not 0.4")


@pytest.mark.weekly
@pytest.mark.long
def test_tasks_of_all_functions_are_green(render, tmp_path, odd):
    package = render(tmp_path / "package", project_name="new-tasks", examples=[])
    shutil.copy(LABORATORY, package / "lab.py")
    shutil.copy(odd, package / "odd.py")
    cases = [
        shlex.split(case.replace("laboratory.py", "lab.py"))
        for case in [*ACCEPTED, *(f"odd.py:{name}" for name in RIGHT)]
    ]
    said = add(
        package,
        *([f"Task {n}", "--from", *case] for n, case in enumerate(cases, start=1)),
        patience=120,
    )
    for case, text in zip(cases, said, strict=True):
        assert "Nothing was written" not in text, (case, text)
    for name in ("lab.py", "odd.py"):
        (package / name).unlink()
    assert len(create_manifest(package)) == len(cases)
    check_package(package)
