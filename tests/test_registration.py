"""Known shifts of volumes are found; what may be wrong comes with a warning."""

import logging
import shutil
import warnings

import numpy as np
import pytest
import zarr
from my_fractal_tasks import register_acquisitions_compute as compute
from my_fractal_tasks.kit import (
    build_pyramid,
    derive_label,
    open_image,
    open_label,
    read_table,
    write_roi_table,
    write_table,
)
from my_fractal_tasks.kit.blocks import Roi
from my_fractal_tasks.kit.multiscale import coordinates
from my_fractal_tasks.kit.regions import read_rois
from my_fractal_tasks.register_acquisitions_init import register_acquisitions_init
from my_fractal_tasks.register_acquisitions_shift import align
from package_images import write_image, write_plate
from scipy.ndimage import gaussian_filter

MIN_MATCH = 3  # default of the task
PLANES = (4, 5, 6, 8, 10, 12, 16, 20, 30, 40)
MICROMETERS_Z = (0.1, 0.2, 0.3, 0.5, 1, 2, 3, 5)
MICROMETERS_XY = (0.1, 0.2, 0.325, 0.65)


def draw_spots(rng, shape, size, pixel):
    """Spots as a microscope shows them: longer along z."""
    sigma = np.clip(0.5 / size, 0.6, 2), *[np.clip(0.25 / pixel, 0.8, 2)] * 2
    scene = np.zeros(shape, np.float32)
    number = int(np.prod(shape) * rng.choice([0.0005, 0.001, 0.002])) + 20
    for place in zip(*(rng.integers(0, n, number) for n in shape), strict=True):
        scene[place] += rng.uniform(0.5, 1.5)
    return gaussian_filter(scene, sigma) * (2 * np.pi) ** 1.5 * np.prod(sigma)


def draw_cells(rng, shape, size, pixel):
    """Round cells, which are flat where planes are far from each other."""
    scene = np.zeros(shape, np.float32)
    z, y, x = np.indices(shape, np.float32)
    for _ in range(int(shape[1] * shape[2] / rng.choice([400, 800])) + 8):
        radius = rng.uniform(4, 10)
        depth = max(min(radius * pixel / size * 4, radius), 0.8)
        center = [rng.uniform(0, n) for n in shape]
        distance = ((z - center[0]) / depth) ** 2
        distance += ((y - center[1]) ** 2 + (x - center[2]) ** 2) / radius**2
        scene[distance < 1] += rng.uniform(0.5, 1.5)
    return gaussian_filter(scene, (0.5, 1, 1))


def make_pair(seed, related=True):
    """Two images of one scene, each with its own noise and slow brightness.

    Returns:
        Reference, moving image, shift, sizes of pixels.
    """
    rng = np.random.default_rng(seed)
    draw = draw_spots if rng.random() < 0.5 else draw_cells
    size, pixel = rng.choice(MICROMETERS_Z), rng.choice(MICROMETERS_XY)
    shape = np.array([rng.choice(PLANES), *rng.integers(90, 150, 2)])
    noise, slope = rng.choice([0.02, 0.05, 0.1]), rng.choice([0, 0.5, 2])
    limits = [min(3, shape[0] - 2), *shape[1:] // 4]
    shift = np.array([rng.integers(-limit, limit + 1) for limit in limits])
    scenes = [draw(rng, tuple(shape + abs(shift)), size, pixel)] * 2
    if not related:
        scenes[1] = draw(rng, tuple(shape + abs(shift)), size, pixel)
    images = []
    for scene, sign in zip(scenes, (-1, 1), strict=True):
        corner = np.maximum(sign * shift, 0)
        ends = zip(corner, corner + shape, strict=True)
        pixels = scene[tuple(slice(*pair) for pair in ends)]
        _, y, x = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij")
        a, b, c, d, e, f = rng.normal(size=6)
        pixels = pixels * (1 + 0.2 * np.tanh(a * x + b * y))
        pixels += slope * (c * x + d * y + e * x * y + f * x * x)
        pixels += rng.normal(0, noise, pixels.shape) + 8
        pixels *= 500 * rng.uniform(0.5, 2)
        images.append(np.clip(pixels, 0, 65535).astype(np.uint16))
    return *images, shift, (size, pixel, pixel)


def count_results(seeds):
    """How many shifts are exact, and the match of each that is not."""
    exact, wrong, uncertain = 0, [], 0
    for seed in seeds:
        reference, moving, shift, sizes = make_pair(seed)
        found = align(reference, moving, sizes)
        if (found.shift == shift).all():
            exact += 1
            uncertain += found.match < MIN_MATCH
        else:
            wrong.append(found.match)
    return exact, wrong, uncertain


def test_known_shifts_of_volumes_are_found():
    exact, wrong, uncertain = count_results(range(16))
    assert exact == 16
    assert not wrong
    assert uncertain <= 1


@pytest.mark.long
@pytest.mark.weekly
def test_195_of_200_known_shifts_are_found_and_no_wrong_one_without_a_warning():
    exact, wrong, uncertain = count_results(range(200))
    assert exact >= 195
    assert max(wrong, default=0) < MIN_MATCH
    assert uncertain <= 10


@pytest.mark.parametrize("first", [0, 8])
def test_unrelated_volumes_do_not_match(first):
    for seed in range(first, first + 8):
        reference, moving, _, sizes = make_pair(seed, related=False)
        assert align(reference, moving, sizes).match < MIN_MATCH, seed


def noisy(pixels, seed):
    return pixels + np.random.default_rng(seed).normal(0, 0.01, pixels.shape)


PATTERN = np.zeros((4, 128, 128))
PATTERN[:, ::16, ::16] = 1
STRIPES = np.zeros((128, 128))
STRIPES[:, ::8] = 1
EDGE = np.zeros((128, 128))
EDGE[:, 60:70] = 1
SCENE = gaussian_filter(noisy(np.zeros((128, 128)), 9), 2) * 1000


@pytest.mark.parametrize(
    ("reference", "moving"),
    [
        pytest.param(np.zeros((4, 60, 70)), np.ones((4, 60, 70)), id="constant"),
        pytest.param(SCENE, np.full((128, 128), 65535), id="saturated"),
        pytest.param(SCENE, np.full((128, 128), np.nan), id="no numbers"),
        pytest.param(noisy(PATTERN, 0), noisy(np.roll(PATTERN, 5, 1), 1), id="grid"),
        pytest.param(noisy(STRIPES, 0), noisy(np.roll(STRIPES, 3, 1), 1), id="stripes"),
        pytest.param(noisy(EDGE, 0), noisy(np.roll(EDGE, 3, 1), 1), id="one direction"),
        pytest.param(noisy(SCENE * 0, 0), noisy(SCENE * 0, 1), id="noise"),
        pytest.param(SCENE[:7, :9], SCENE[50:57, 50:59], id="small"),
        pytest.param(SCENE[:1, :1], SCENE[1:2, 1:2], id="one pixel"),
    ],
)
def test_images_without_a_certain_shift_do_not_match(reference, moving):
    assert align(reference, moving).match < MIN_MATCH


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int32", "uint64", "float64"])
def test_the_data_type_does_not_count(dtype):
    scene = np.clip(SCENE * 2 + 100, 0, 255).astype(dtype)
    if dtype == "uint64":
        scene += np.uint64(2**40)
    found = align(scene[10:110, 10:110], scene[5:105, 20:120].astype(float))
    assert found.shift == (-5, 10)
    assert found.match > MIN_MATCH


def test_a_volume_of_equal_planes_stays_where_it_is():
    volume = np.stack([SCENE] * 3)
    assert align(volume, volume).shift == (0, 0, 0)
    assert align(volume[:, :, 5:], volume[:, :, :-5]).shift == (0, 0, -5)


def test_hot_pixels_of_the_camera_do_not_hide_a_shift():
    hot = np.zeros((100, 100))
    hot[tuple(np.random.default_rng(0).integers(0, 100, (2, 50)))] = SCENE.max() * 5
    for reference, moving, shift in (
        (SCENE[10:110, 10:110], SCENE[5:105, 20:120], (-5, 10)),
        (SCENE[10:110, 10:110], SCENE[10:110, 10:110], (0, 0)),
    ):
        images = [noisy(pixels, 1) + hot for pixels in (reference, moving)]
        images[1] = noisy(images[1], 2)
        found = align(*images)
        assert found.shift == shift
        assert found.match > MIN_MATCH


def test_a_pattern_of_the_camera_is_no_certain_shift():
    pattern = noisy(np.zeros((2, 120, 120)), 5)
    faint = (
        SCENE[:120, :120] / SCENE.max() / 1000,
        SCENE[4:124, 3:123] / SCENE.max() / 1000,
    )
    images = [pattern + noisy(pixels, seed) for seed, pixels in enumerate(faint)]
    found = align(*images)
    assert found.match < MIN_MATCH


@pytest.mark.parametrize(
    ("dtype", "factor"),
    [("f4", 1e30), ("f8", 1e200), ("f8", 1e-200), (">f8", 1e250)],
)
def test_floats_of_any_size_are_aligned(dtype, factor):
    images = [(SCENE[k : k + 100, :100] * factor).astype(dtype) for k in (0, 7)]
    with warnings.catch_warnings(action="error"):
        assert align(*images).shift == (7, 0)


# --- the task ---


def register(image, reference, **arguments):
    return compute.register_acquisitions_compute(
        zarr_url=str(image), init_args={"reference": str(reference)}, **arguments
    )


def make_images(tmp_path, seed=0, version="0.4", related=True):
    """A reference and an image that is to be aligned, of `make_pair`."""
    reference, moving, shift, _ = make_pair(seed, related)
    plate = tmp_path / "plate.zarr"
    paths = write_plate(plate, {"A/01": [0, 1]}, version, axes="zyx", pixels=reference)
    for name, level in (("0", moving), ("1", moving[:, ::2, ::2])):
        zarr.open_group(paths[1], mode="r+")[name][...] = level
    return *paths, moving, shift


def test_the_match_is_logged_and_kept(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    reference, image, _, shift = make_images(tmp_path)
    register(image, reference, suffix="moved")
    found = open_image(image.with_name("1moved")).group.attrs["registration"]
    assert found["shift"] == dict(zip("zyx", shift.tolist(), strict=True))
    assert found["match"] > MIN_MATCH
    assert 0.5 < found["correlation"] <= 1
    assert (image / found["reference"]).resolve() == reference.resolve()
    assert f"match {found['match']:.2f}" in caplog.text
    assert not [line for line in caplog.records if line.levelname == "WARNING"]


def test_a_poor_match_is_a_warning_also_when_the_unit_is_run_again(tmp_path, caplog):
    reference, image, *_ = make_images(tmp_path, related=False)
    for _ in range(2):
        caplog.clear()
        register(image, reference)
        (record,) = [r for r in caplog.records if r.levelname == "WARNING"]
        message = record.getMessage()
        assert all(text in message for text in (str(image), str(reference), "match"))


@pytest.mark.parametrize(
    ("names", "is_warned"),
    [(("DAPI", "GFP"), True), (("DAPI", "DAPI"), False), (("DAPI", None), False)],
)
def test_channels_of_different_names_are_aligned_with_a_warning(
    tmp_path, caplog, names, is_warned
):
    reference, image, *_ = make_images(tmp_path)
    for path, name in zip((reference, image), names, strict=True):
        omero = {"channels": [{} if name is None else {"label": name}]}
        zarr.open_group(path, mode="r+").update_attributes({"omero": omero})
    register(image, reference)
    assert ("its channel GFP is aligned with DAPI" in caplog.text) == is_warned


def test_a_poor_match_is_rejected_if_asked_for(tmp_path):
    reference, image, moving, _ = make_images(tmp_path, related=False)
    for overwrite_input in (False, True):
        with pytest.raises(ValueError, match=f"min_match: {image} .* {reference} "):
            register(
                image,
                reference,
                on_poor_match="reject",
                overwrite_input=overwrite_input,
            )
    assert (open_image(image).levels[0][...] == moving).all()
    assert not image.with_name("1registered").exists()


def rescale(path, scale):
    group = zarr.open_group(path, mode="r+")
    (multiscale,) = group.attrs["multiscales"]
    for level, dataset in enumerate(multiscale["datasets"]):
        (transformation,) = dataset["coordinateTransformations"]
        transformation["scale"] = [scale[0], *(n * 2**level for n in scale[1:])]
    group.update_attributes({"multiscales": [multiscale]})


@pytest.mark.parametrize(
    ("scale", "axis"), [((1, 0.25, 0.25), "y"), ((2, 0.5, 0.5), "z")]
)
def test_different_pixel_sizes_are_rejected(tmp_path, scale, axis):
    reference, image, *_ = make_images(tmp_path)
    rescale(image, scale)
    with pytest.raises(ValueError, match=f"zarr_url: {image} .*along {axis}.*resample"):
        register(image, reference)
    assert not image.with_name("1registered").exists()


def test_pixel_sizes_that_are_rounded_or_in_another_unit_are_the_same(tmp_path):
    reference, image, _, shift = make_images(tmp_path)
    rescale(image, (1000, 500.01, 500.01))
    group = zarr.open_group(image, mode="r+")
    (multiscale,) = group.attrs["multiscales"]
    for axis in multiscale["axes"]:
        axis["unit"] = "nanometer"
    group.update_attributes({"multiscales": [multiscale]})
    register(image, reference)
    found = open_image(image.with_name("1registered")).group.attrs["registration"]
    assert list(found["shift"].values()) == shift.tolist()


def start_at(path, start, unit="micrometer"):
    """Give an image the position of its first pixel, at all levels."""
    group = zarr.open_group(path, mode="r+")
    (multiscale,) = group.attrs["multiscales"]
    for dataset in multiscale["datasets"]:
        entry = {"type": "translation", "translation": list(start)}
        dataset["coordinateTransformations"].append(entry)
    for axis in multiscale["axes"]:
        axis["unit"] = unit
    group.update_attributes({"multiscales": [multiscale]})


def start_of(path):
    multiscale = open_image(path).metadata["multiscales"][0]
    levels = range(len(multiscale["datasets"]))
    return [coordinates(multiscale, level)[1] for level in levels]


@pytest.mark.parametrize("in_place", [False, True])
@pytest.mark.parametrize(
    ("there", "here"),
    [((0, 100, 50.5), (0, 20, 30)), ((1, 2, 3), None), (None, (1, 2, 3)), (None, None)],
)
def test_an_aligned_image_begins_where_its_reference_does(
    tmp_path, there, here, in_place
):
    reference, image, *_ = make_images(tmp_path)
    for path, start in ((reference, there), (image, here)):
        if start:
            start_at(path, start)
    with derive_label(open_image(image), "cells") as label:
        label.levels[0][...] = 1
    register(image, reference, overwrite_input=in_place)
    moved = image if in_place else image.with_name("1registered")
    expected = there or (here and (0, 0, 0))
    found = start_of(moved)
    assert all(one == pytest.approx(expected) for one in found if expected)
    assert found[0] is not None or expected is None
    if in_place:
        open_label(open_image(image), "cells")  # which rejects another position


def test_an_origin_in_another_unit_is_the_same_place(tmp_path):
    reference, image, *_ = make_images(tmp_path)
    rescale(image, (1000, 500, 500))
    start_at(reference, (0, 100, 50.5))
    start_at(image, (0, 0, 0), "nanometer")
    register(image, reference)
    for start in start_of(image.with_name("1registered")):
        assert start == pytest.approx((0, 100_000, 50_500))


def test_a_plane_is_aligned_with_a_volume_of_one_plane(tmp_path):
    scene = np.clip(SCENE * 50 + 2000, 0, 65535).astype(np.uint16)
    write_image(tmp_path / "reference.zarr", "zyx", pixels=scene[None, 10:110, 10:110])
    write_image(tmp_path / "image.zarr", "yx", pixels=scene[5:105, 20:120])
    register(tmp_path / "image.zarr", tmp_path / "reference.zarr")
    moved = open_image(tmp_path / "image_registered.zarr").levels[0][...]
    assert (moved[:-5, 10:] == scene[10:105, 20:110]).all()


def test_a_shift_found_in_a_small_level_is_exact(tmp_path, monkeypatch):
    monkeypatch.setattr(compute, "MAX_VOXELS", 40_000)
    monkeypatch.setattr(compute, "CROP_VOXELS", 50_000)
    for seed in (2, 3, 4):
        reference, image, _, shift = make_images(tmp_path / str(seed), seed)
        found = compute.find_image_shift(
            open_image(reference), open_image(image), compute.Channel()
        )
        assert found.shift == tuple(shift), seed


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_labels_and_roi_tables_of_an_overwritten_image_move_along(tmp_path, version):
    reference, path, moving, shift = make_images(tmp_path, version=version)
    image = open_image(path)
    with derive_label(image, "bright") as label:
        label.levels[0][...] = moving > np.percentile(moving, 90)
        build_pyramid(label)
    with derive_label(image, "empty"):
        pass
    before = np.asarray(open_label(image, "bright").levels[0])
    region = (slice(1, 3), slice(40, 60), slice(35, 65))
    write_roi_table(image, "fields", [Roi("one", region)])
    write_roi_table(image, "boxes", [Roi("1", region, 1)], label_name="bright")
    write_table(image, "conditions", {"drug": ["DMSO"]}, type="condition_table")

    for _ in range(2):  # the second run leaves them as they are
        register(path, reference, overwrite_input=True)
        image = open_image(path)
        assert image.label_names == ["bright", "empty"]
        assert (moved_region(before, shift) == label_of(image)).all()
        expected = tuple(
            slice(max(s.start + k, 0), s.stop + k)
            for s, k in zip(region, shift.tolist(), strict=True)
        )
        (roi,), (box,) = (read_rois(image, name) for name in ("fields", "boxes"))
        assert roi.region == box.region == expected
        assert box.label == 1
        assert read_table(image, "boxes").label_name == "bright"
        assert read_table(image, "conditions").columns["drug"].tolist() == ["DMSO"]


@pytest.mark.parametrize("version", ["0.4", "0.5"])
@pytest.mark.parametrize("is_plane", [True, False])
def test_labels_of_other_tools_move_along(tmp_path, version, is_plane):
    reference, path, moving, shift = make_images(tmp_path, version=version)
    with derive_label(open_image(path), "bright") as label:
        label.levels[0][...] = np.where(moving > np.percentile(moving, 90), 4001, 0)
    folder = path / "labels" / "bright"
    group = zarr.open_group(folder, mode="r+")
    attributes = group.attrs.asdict()
    attributes.get("ome", attributes).pop("image-label")
    group.attrs.put(attributes)
    if is_plane:  # one for all planes
        for name, level in list(group.arrays()):
            plane = np.asarray(level).max(axis=0, keepdims=True)
            del group[name]
            group.create_array(name, data=plane)
    before = label_of(open_image(path))
    assert shift[0]
    assert shift[1:].any()
    register(path, reference, overwrite_input=True)
    if is_plane:
        shift = [0, *shift[1:]]
    assert (label_of(open_image(path)) == moved_region(before, shift)).all()
    for level in open_label(open_image(path), "bright").levels:
        assert set(np.unique(level)) == {0, 4001}


def label_of(image):
    return np.asarray(open_label(image, "bright").levels[0])


def moved_region(pixels, shift):
    moved = np.zeros_like(pixels)
    pairs = list(zip(shift, pixels.shape, strict=True))
    here = tuple(slice(max(k, 0), n + min(k, 0)) for k, n in pairs)
    there = tuple(slice(max(-k, 0), n + min(-k, 0)) for k, n in pairs)
    moved[here] = pixels[there]
    return moved


def test_regions_of_a_new_image_move_along(tmp_path):
    reference, path, _, shift = make_images(tmp_path)
    region = (slice(1, 3), slice(40, 60), slice(35, 65))
    write_roi_table(open_image(path), "fields", [Roi("one", region)])
    register(path, reference)
    (roi,) = read_rois(open_image(path.with_name("1registered")), "fields")
    assert roi.region[1:] == tuple(
        slice(s.start + k, s.stop + k)
        for s, k in zip(region[1:], shift.tolist()[1:], strict=True)
    )
    (roi,) = read_rois(open_image(path), "fields")
    assert roi.region == region


@pytest.mark.parametrize("kind", ["feature_table", "generic_table"])
def test_tables_that_cannot_follow_the_pixels_are_rejected(tmp_path, kind):
    reference, path, moving, _ = make_images(tmp_path)
    write_table(open_image(path), "centers", {"y": [1.5]}, type=kind)
    with pytest.raises(
        ValueError, match=f"overwrite_input: the tables centers of {path}"
    ):
        register(path, reference, overwrite_input=True)
    assert (open_image(path).levels[0][...] == moving).all()
    register(path, reference)


def test_nothing_that_a_label_has_is_lost(tmp_path):
    reference, path, moving, _ = make_images(tmp_path)
    with derive_label(open_image(path), "cells") as label:
        label.levels[0][...] = moving > np.percentile(moving, 90)
    zarr.create_group(path / "labels" / "cells" / "tables", zarr_format=2)
    with pytest.raises(ValueError, match=r"overwrite_input: .*/cells has also tables"):
        register(path, reference, overwrite_input=True)
    assert (open_image(path).levels[0][...] == moving).all()
    register(path, reference)


@pytest.mark.parametrize("known", [[], [0, 1]])
def test_the_acquisition_of_an_image_is_never_guessed(tmp_path, known):
    paths = write_plate(tmp_path / "plate.zarr", {"A/01": [0, 1]})
    urls = {"zarr_urls": [str(path) for path in paths], "zarr_dir": str(tmp_path)}
    plate = zarr.open_group(tmp_path / "plate.zarr", mode="r+")
    plate.update_attributes(
        {"plate": plate.attrs["plate"] | {"acquisitions": [{"id": n} for n in known]}}
    )
    well = plate["A/01"]
    images = [{"path": "0", "acquisition": 0}, {"path": "1"}]
    for entries in (images, [{"path": "0"}, {"path": "1"}]):
        well.update_attributes({"well": well.attrs["well"] | {"images": entries}})
        if known or entries is images:
            with pytest.raises(ValueError, match=r"zarr_urls: .* acquisition"):
                register_acquisitions_init(**urls)
    if not known:  # they are two fields
        items = register_acquisitions_init(**urls)["parallelization_list"]
        assert [item["init_args"]["reference"] for item in items] == [None, None]


def write_folders(tmp_path):
    """A plate as OMERO writes it; return its images, the reference first."""
    write_plate(tmp_path / "plate.zarr", {"A/01": [0]})
    plate = zarr.open_group(tmp_path / "plate.zarr", mode="r+")
    for folder in ("0", "1"):
        shutil.copytree(
            tmp_path / "plate.zarr" / "A", tmp_path / "plate.zarr" / folder / "A"
        )
        well = plate[f"{folder}/A/01"]
        well.attrs["well"] = {"version": "0.4", "images": [{"path": "0"}]}
    plate.attrs["plate"] = {
        "version": "0.4",
        "rows": [{"name": "A"}],
        "columns": [{"name": "01"}],
        "wells": [{"path": "0/A/01"}, {"path": "1/A/01"}],
        "acquisitions": [{"id": 0, "path": "0"}, {"id": 1, "path": "1"}],
    }
    return [str(tmp_path / "plate.zarr" / n / "A/01/0") for n in ("0", "1")]


def test_acquisitions_in_folders_of_their_own_are_aligned(tmp_path):
    urls = write_folders(tmp_path)[::-1]
    items = register_acquisitions_init(zarr_urls=urls, zarr_dir=str(tmp_path))
    assert [
        (item["zarr_url"], item["init_args"]["reference"])
        for item in items["parallelization_list"]
    ] == [(urls[1], None), (urls[0], urls[1])]


def test_a_folder_without_that_of_its_reference_is_rejected(tmp_path):
    urls = write_folders(tmp_path)
    with pytest.raises(ValueError, match=r"reference_acquisition: .* but none of acq"):
        register_acquisitions_init(zarr_urls=urls[1:], zarr_dir=str(tmp_path))
    only = register_acquisitions_init(zarr_urls=urls[:1], zarr_dir=str(tmp_path))
    (item,) = only["parallelization_list"]
    assert item["init_args"]["reference"] is None


def test_a_label_of_larger_pixels_moves_by_whole_pixels_or_is_rejected(tmp_path):
    scene = np.clip(SCENE * 50 + 2000, 0, 65535).astype(np.uint16)
    for name, corner in (("even", (6, 4)), ("odd", (5, 4))):
        path, reference = tmp_path / f"{name}.zarr", tmp_path / f"{name}0.zarr"
        write_image(reference, "yx", pixels=scene[10:110, 10:110])
        pixels = scene[corner[0] :, corner[1] :][:100, :100]
        write_image(path, "yx", pixels=pixels)
        with derive_label(open_image(path), "cells") as label:
            label.levels[0][...] = pixels > 2000
            build_pyramid(label)
        group = zarr.open_group(path / "labels" / "cells", mode="r+")
        (multiscale,) = group.attrs["multiscales"]
        multiscale["datasets"] = multiscale["datasets"][1:]
        group.update_attributes({"multiscales": [multiscale]})
    before = np.asarray(
        open_label(open_image(tmp_path / "even.zarr"), "cells").levels[0]
    )
    register(tmp_path / "even.zarr", tmp_path / "even0.zarr", overwrite_input=True)
    after = np.asarray(
        open_label(open_image(tmp_path / "even.zarr"), "cells").levels[0]
    )
    assert (after == moved_region(before, (-2, -3))).all()
    with pytest.raises(
        ValueError, match=r"overwrite_input: .*-5 pixels along y.*-2\.5"
    ):
        register(tmp_path / "odd.zarr", tmp_path / "odd0.zarr", overwrite_input=True)
    assert (open_image(tmp_path / "odd.zarr").levels[0][...] == pixels).all()
