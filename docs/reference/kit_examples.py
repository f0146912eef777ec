"""Examples of the kit: one program, in parts; the reference shows them beside the names."""

import logging
from pathlib import Path
from typing import Any

import numpy as np
from my_fractal_tasks.kit import (
    Array,
    Channel,
    Image,
    ImageUpdate,
    NgffVersion,
    ParallelizationItem,
    PlateImage,
    Region,
    Regions,
    Roi,
    Step,
    Table,
    ZarrDir,
    ZarrUrl,
    build_pyramid,
    cached_model,
    cast,
    check_name,
    create_image,
    create_plate,
    current_step,
    cut_blocks,
    derive_image,
    derive_label,
    each_block,
    each_roi,
    filter_image,
    find_in_plate,
    find_points,
    find_rois,
    group_version,
    histogram,
    in_threads,
    init_task_output,
    is_made,
    is_zarr,
    label_blocks,
    label_image,
    label_regions,
    label_tiles,
    level_like,
    list_plate,
    map_blocks,
    map_regions,
    measure_image,
    measure_labels,
    micrometers,
    model_file,
    model_sources,
    n_threads,
    ome_metadata,
    open_group,
    open_image,
    open_label,
    parse_numbers,
    percentile_range,
    plate_images,
    plate_position,
    plate_table,
    read_table,
    regions_of_labels,
    run_task,
    seconds,
    sibling_path,
    table_names,
    task,
    task_output,
    write_feature_table,
    write_levels,
    write_roi_table,
    write_table,
)
from scipy import ndimage

# %% create_plate
plate = Path("plate.zarr").resolve()
create_plate(plate, {("B", "03"): {"0": 0}})  # images by well, with their acquisitions

# %% create_image build_pyramid
folder = plate / "B" / "03" / "0"
pixels = np.random.default_rng(1).integers(100, 200, (2, 64, 64), np.uint16)
pixels[0, 8:16, 8:16] = pixels[0, 40:52, 30:44] = 1000
with create_image(
    folder,
    shape=pixels.shape,
    axes="cyx",
    dtype="uint16",
    scale={"y": 0.5, "x": 0.5},
    channels=["DAPI", "GFP"],
    min_levels=2,
) as new:
    new.levels[0][...] = pixels
    build_pyramid(new)

# %% open_image Image
image: Image = open_image(folder)
assert (image.axes, image.shape) == ("cyx", (2, 64, 64))
assert image.scale["x"] == 0.5
assert image.channel_names == ["DAPI", "GFP"]
assert (image.read() == pixels).all()
part = image.read((slice(0, 8), slice(0, 16)), Channel(mode="label", identifier="DAPI"))
assert part.shape == (8, 16)

# %% Channel
# The user of the web form chooses how to name the channel.
by_name = Channel(mode="label", identifier="GFP")
assert image.channel_index(by_name) == image.channel_index(Channel(identifier="1")) == 1


# %% task ZarrUrl
@task
def invert(
    *, zarr_url: ZarrUrl, level: float = 65535, overwrite: bool = False
) -> dict[str, Any]:
    """Subtract all pixels from a level."""
    return filter_image(
        zarr_url,
        lambda pixels: level - pixels,
        suffix="inverted",
        overwrite=overwrite,
        types={"inverted": True},
    )


output = invert(zarr_url=str(folder))
assert output["image_list_updates"][0]["zarr_url"] == f"{folder}inverted"


# %% run_task
def main() -> None:
    """Run the task by `python invert.py --args-json … --out-json …`, as Fractal does."""
    run_task(invert)  # the same as `invert.main()`


# %% ZarrDir NgffVersion
@task
def import_images(
    *, zarr_dir: ZarrDir, ngff_version: NgffVersion = "0.4"
) -> dict[str, Any]:
    """Return the output of a converter, which gets the folder of the dataset."""
    return task_output(ImageUpdate(zarr_url=f"{zarr_dir}/plate.zarr/B/03/0"))


assert import_images(zarr_dir=str(plate.parent))

# %% task_output ImageUpdate
update = ImageUpdate(
    zarr_url=f"{folder}inverted", origin=str(folder), types={"inverted": True}
)
assert task_output(update)["image_list_updates"][0]["origin"] == str(folder)

# %% init_task_output ParallelizationItem
item = ParallelizationItem(zarr_url=str(folder), init_args={"sigma": 2.0})
assert init_task_output([item])["parallelization_list"][0]["zarr_url"] == str(folder)

# %% filter_image Array
radius = 3


def smooth(pixels: Array) -> Array:
    """Blur the plane of a block; `halo` is as far as the filter sees."""
    return ndimage.uniform_filter(pixels, (1, 2 * radius + 1, 2 * radius + 1))


filter_image(image, smooth, suffix="smooth", halo={"y": radius, "x": radius})
result = open_image(f"{folder}smooth")
assert (result.read() == smooth(pixels)).all()

# %% label_image
label_image(
    image,
    lambda pixels: ndimage.label(pixels > 500)[0],
    label_name="nuclei",
    channel=0,
    masking_roi_table="nuclei_boxes",
)
assert image.label_names == ["nuclei"]

# %% open_label level_like
nuclei = open_label(image, "nuclei")
assert nuclei.axes == "yx"  # a label image has no channels
assert nuclei.read().max() == 2
assert (
    level_like(image, nuclei).shape == image.shape
)  # of the level that has its pixels


# %% measure_labels
def brightness(labels: Array, pixels: Array) -> dict[str, Any]:
    """Return columns with a row for each label of a time point."""
    numbers = np.unique(labels[labels > 0])
    return {"label": numbers, "max": ndimage.maximum(pixels, labels, numbers)}


measure_labels(
    image,
    brightness,
    label_name="nuclei",
    table_name="brightness",
    channel=0,
)
assert read_table(image, "brightness").columns["max"].tolist() == [1000, 1000]

# %% measure_image
measure_image(
    image, lambda pixels: {"mean": pixels.mean()}, table_name="means", channel=1
)
assert 100 < read_table(image, "means").columns["mean"][0] < 200

# %% find_points
find_points(
    image,
    lambda pixels: np.argwhere(pixels == pixels.max())[:1],  # rows of (y, x)
    table_name="peaks",
    channel=0,
    label_name="nuclei",
)
assert read_table(image, "peaks").columns["y"][0] == 8

# %% plate_table
plate_table(
    [str(folder)],
    lambda columns: {"count": len(columns["label"])},
    feature_table="brightness",
    table_name="counts",
    per="well",
)
assert read_table(plate, "counts").columns["count"].tolist() == [2]

# %% read_table Table
table: Table = read_table(image, "brightness")
assert table.type == "feature_table"
assert table.label_name == "nuclei"
assert table.columns["label"].tolist() == [1, 2]

# %% table_names
assert table_names(plate) == ["counts"]
assert "brightness" in table_names(image)

# %% write_table
write_table(image, "notes", {"well": ["B03"], "dose": [0.5]}, overwrite=True)

# %% write_feature_table
write_feature_table(
    image, "areas", {"label": [1, 2], "area": [16.0, 42.0]}, label_name="nuclei"
)

# %% write_roi_table Roi
left = Roi("left", (slice(0, 64), slice(0, 32)))  # a slice for each axis but c
write_roi_table(image, "halves", [left, Roi("right", (slice(0, 64), slice(32, 64)))])

# %% find_rois Regions
halves = find_rois(image, Regions(roi_table="halves"))
assert halves is not None
assert [roi.name for roi in halves] == ["left", "right"]
assert find_rois(image, Regions()) is None  # the whole image
objects = find_rois(image, Regions(mask="nuclei"))
assert objects is not None
assert objects[0].inside().all()  # the first object fills the box around it

# %% each_roi
sums = {
    roi.name: value
    for roi, value in each_roi(lambda roi: image.read(roi.region, 0).sum(), halves)
}
assert sums["left"] + sums["right"] == pixels[0].sum()

# %% regions_of_labels
assert regions_of_labels(nuclei, halves) == {(1, 0): "left", (2, 0): "right"}

# %% sibling_path check_name
assert sibling_path(image, "bright") == plate / "B" / "03" / "0bright"
check_name("bright", "suffix")  # raises ValueError for "a/b", naming the argument

# %% derive_image map_blocks
with derive_image(image, sibling_path(image, "bright")) as bright:
    map_blocks(lambda pixels: pixels * 2, image, bright)
# The image appears at the end of `with`, complete.

# %% map_regions
with derive_image(image, sibling_path(image, "left")) as target:
    map_regions(lambda pixels: pixels * 2, image, target, [left])
assert (open_image(f"{folder}left").read()[:, :, 32:] == pixels[:, :, 32:]).all()

# %% derive_label label_blocks
with derive_label(image, "blocks") as label:
    count = label_blocks(lambda p: ndimage.label(p > 500)[0], image, label, channel=0)
assert count == 2

# %% label_regions
with derive_label(image, "by_half") as label:
    label_regions(lambda p: ndimage.label(p > 500)[0], image, label, halves, channel=0)
assert open_label(image, "by_half").read().max() == 3  # the border cuts one object

# %% label_tiles
with derive_label(image, "tiles") as label:
    count = label_tiles(
        lambda p: ndimage.label(p > 500)[0],
        image,
        label,
        channel=0,
        tile=48,
        overlap=20,  # more than the size of an object
    )
assert count == 2


# %% each_block Region
def total(region: Region, pixels: Array) -> int:
    """Sum the pixels of a block; `region` has a slice for each axis."""
    return int(pixels.sum())


assert sum(each_block(total, image)) == pixels.sum()

# %% in_threads n_threads
logging.info("%d processors", n_threads())
assert list(in_threads(len, ["a", "bb"])) == [1, 2]  # in order

# %% cut_blocks write_levels cast
with derive_image(image, sibling_path(image, "float"), dtype="float32") as target:
    write_levels(
        target,
        cut_blocks(target),
        lambda region: cast(image.levels[0][region], "float32"),
    )  # writes the pyramid, too

# %% current_step is_made Step
step = Step("invert", {"level": 65535}, [image])  # arguments, and all that it reads
new_path = sibling_path(image, "once")
for _ in range(2):
    if not is_made(new_path, step):  # false, then true
        with derive_image(image, new_path, made_by=step) as target:
            map_blocks(lambda pixels: 65535 - pixels, image, target)
# In a function with `@task`, `current_step([image])` knows name and arguments.
assert current_step([image]) is None  # outside of a task

# %% histogram percentile_range
values, counts = histogram(image, 0)
assert counts.sum() == pixels[0].size
low, high = percentile_range(image, 0, (1, 99.8))
assert 100 <= low < high == 1000

# %% plate_images list_plate
assert folder in plate_images(plate)
assert list_plate(plate).missing == []

# %% plate_position find_in_plate PlateImage
position = plate_position(folder)
assert position == {"plate": "plate.zarr", "well": "B03", "acquisition": 0}
place: PlateImage | None = find_in_plate(folder)
assert place is not None
assert (place.row, place.column) == ("B", "03")

# %% is_zarr open_group ome_metadata group_version
assert is_zarr(plate)
group = open_group(plate)
assert ome_metadata(group)["plate"]["wells"][0]["path"] == "B/03"
assert group_version(group) == "0.4"

# %% model_file model_sources
weights = Path("weights.npz").resolve()
np.savez(weights, threshold=500)
assert model_file(str(weights)) == weights  # an address is downloaded once
assert model_sources(str(weights)) == [weights]


# %% cached_model
def fetch(folder: Path) -> None:
    """Download a model that is a folder."""
    folder.mkdir()
    (folder / "weights.bin").write_bytes(b"0")


assert (cached_model("my-model", fetch) / "weights.bin").exists()

# %% micrometers seconds
assert micrometers("nanometer") == 0.001
assert seconds("minute") == 60

# %% parse_numbers
assert parse_numbers(["1", "2.5", ""]) == [1, 2.5, None]
assert parse_numbers(["1", "B03"]) is None
