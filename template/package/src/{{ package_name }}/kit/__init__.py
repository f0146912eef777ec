"""The library of the tasks, in the order in which a task needs it.

- Arguments: `ZarrUrl` and `ZarrDir` are paths that Fractal gives, checked; `Channel` says
  which channel, `NgffVersion` 0.4 or 0.5.
- In one call: `filter_image`, `label_image`, `measure_labels`, `measure_image` and
  `find_points` make an image, a label, tables or points by a function of arrays, in a function
  with `task`; `plate_table` makes the table of a plate. All else is for loops of your own.
- Read: `open_image`, `open_label` give an `Image` with its levels, axes, scale, channels;
  `level_like` the levels that fit another one. `plate_position` and `plate_images` know
  plates, `list_plate` also what is missing; `find_in_plate` gives the `PlateImage` of an image.
  `is_zarr`, `open_group`, `ome_metadata`, `group_version` know all else that is OME-Zarr.
- Where to work: `Regions` is the argument, `find_rois` gives each `Roi`.
- Tables: `table_names`, and `read_table` for a `Table`. `parse_numbers` makes numbers of
  texts.
- Name: `sibling_path` says where a new image goes, `check_name` what may be a folder.
- Run again: `current_step` gives the `Step` of the running task, `is_made` says whether it
  has been done.
- Write: `derive_image`, `derive_label`, `create_image`, `create_plate`,
  `write_feature_table`, `write_roi_table` and `write_table` make something complete or
  not at all.
- Pixels: `map_blocks`, `label_blocks` and `each_block` call a function on each `Array`, in
  threads; `map_regions` and `label_regions` on each `Roi`. For a loop of your own over each
  `Region`: `cut_blocks`, `cast` and `write_levels`; or `each_roi`, `in_threads`, and in
  the end `build_pyramid`. `regions_of_labels` says in which one a label lies. `histogram`
  and `percentile_range` say how bright a channel is.
- Models: `label_tiles` calls one on overlapping tiles, in regions or everywhere;
  `model_file` and `cached_model` give its weights, `model_sources` those for a `Step`,
  `n_threads` its processors.
- Units: `micrometers` and `seconds` of those that files and axes have.
- Return: `task_output` with an `ImageUpdate` for each image; `init_task_output` with a
  `ParallelizationItem` for each unit. `run_task` starts a function without `@task`.

What can be imported from here stays so; the modules behind it may change.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .blocks import Roi as Roi
    from .blocks import build_pyramid as build_pyramid
    from .blocks import cast as cast
    from .blocks import cut_blocks as cut_blocks
    from .blocks import each_block as each_block
    from .blocks import each_roi as each_roi
    from .blocks import map_blocks as map_blocks
    from .blocks import map_regions as map_regions
    from .blocks import write_levels as write_levels
    from .columns import parse_numbers as parse_numbers
    from .create import create_image as create_image
    from .features import measure_labels as measure_labels
    from .fractal import ImageUpdate as ImageUpdate
    from .fractal import ParallelizationItem as ParallelizationItem
    from .fractal import ZarrDir as ZarrDir
    from .fractal import ZarrUrl as ZarrUrl
    from .fractal import init_task_output as init_task_output
    from .fractal import run_task as run_task
    from .fractal import task as task
    from .fractal import task_output as task_output
    from .image import Channel as Channel
    from .image import Image as Image
    from .image import level_like as level_like
    from .image import open_image as open_image
    from .image import open_label as open_label
    from .image_tables import find_points as find_points
    from .image_tables import measure_image as measure_image
    from .intensity import histogram as histogram
    from .intensity import percentile_range as percentile_range
    from .labels import label_blocks as label_blocks
    from .labels import label_regions as label_regions
    from .models import cached_model as cached_model
    from .models import model_file as model_file
    from .models import model_sources as model_sources
    from .ngff import NgffVersion as NgffVersion
    from .ngff import group_version as group_version
    from .ngff import ome_metadata as ome_metadata
    from .ngff import open_group as open_group
    from .plate import PlateImage as PlateImage
    from .plate import create_plate as create_plate
    from .plate import find_in_plate as find_in_plate
    from .plate import list_plate as list_plate
    from .plate import plate_images as plate_images
    from .plate import plate_position as plate_position
    from .plate import sibling_path as sibling_path
    from .provenance import Step as Step
    from .provenance import current_step as current_step
    from .provenance import is_made as is_made
    from .publish import check_name as check_name
    from .publish import is_zarr as is_zarr
    from .regions import Regions as Regions
    from .regions import find_rois as find_rois
    from .regions import regions_of_labels as regions_of_labels
    from .regions import write_roi_table as write_roi_table
    from .slices import Array as Array
    from .slices import Region as Region
    from .summary import plate_table as plate_table
    from .tables import Table as Table
    from .tables import read_table as read_table
    from .tables import table_names as table_names
    from .tables import write_feature_table as write_feature_table
    from .tables import write_table as write_table
    from .threads import in_threads as in_threads
    from .threads import n_threads as n_threads
    from .tiles import label_tiles as label_tiles
    from .units import micrometers as micrometers
    from .units import seconds as seconds
    from .verbs import filter_image as filter_image
    from .verbs import label_image as label_image
    from .write import derive_image as derive_image
    from .write import derive_label as derive_label
else:
    # Editors and type checkers read the lines above.
    from .lazy import lazy_names

    __getattr__, __dir__, __all__ = lazy_names(__name__, __file__)
