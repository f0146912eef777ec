"""The library of the tasks, in the order in which a task needs it.

- Arguments: `ZarrUrl` and `ZarrDir` are paths that Fractal gives, checked; `Channel` says
  which channel, `NgffVersion` 0.4 or 0.5.
- Read: `open_image`, `open_label` give an `Image` with its levels, axes, scale, channels;
  `level_like` the levels that fit another one. `plate_position` and `plate_images` know
  plates, `list_plate` also what is missing; `find_in_plate` gives a `PlateImage`, and
  `attributes_of` what Fractal calls its place. `is_zarr`, `open_group`, `ome_metadata`,
  `group_version` know all else that is OME-Zarr.
- Where to work: `Regions` is the argument, `find_rois` gives each `Roi`; `read_rois` those
  of one table, `label_rois` those around labels.
- Tables: `table_names`, and `read_table` for a `Table`; `table_files` for a `Step`.
  `read_tables` reads one of several images, whose columns `join_columns` puts below each
  other. `make_column` makes one of values, `parse_numbers` numbers of texts.
- Name: `sibling_path` says where a new image goes, `check_name` what may be a folder.
- Run again: `Step` says what this unit does, `is_made` whether that has been done.
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
  `ParallelizationItem` for each unit. `run_task` is what Fractal starts.

What can be imported from here stays so; the modules behind it may change.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .blocks import (
        build_pyramid,
        cast,
        cut_blocks,
        each_block,
        in_threads,
        map_blocks,
        n_threads,
        write_levels,
    )
    from .columns import join_columns, make_column, parse_numbers
    from .create import create_image
    from .fractal import (
        ImageUpdate,
        ParallelizationItem,
        ZarrDir,
        ZarrUrl,
        init_task_output,
        run_task,
        task_output,
    )
    from .image import Array, Channel, Image, Region, open_image
    from .intensity import histogram, percentile_range
    from .labels import label_blocks, label_regions
    from .models import cached_model, model_file, model_sources
    from .ngff import NgffVersion, check_name, group_version, ome_metadata, open_group
    from .overlays import level_like, open_label
    from .plate import create_plate, sibling_path
    from .provenance import Step, is_made
    from .publish import is_zarr
    from .regions import Regions, each_roi, find_rois, map_regions, regions_of_labels
    from .rois import Roi, label_rois, read_rois, write_roi_table
    from .tables import (
        Table,
        read_table,
        read_tables,
        table_files,
        table_names,
        write_feature_table,
        write_table,
    )
    from .tiles import label_tiles
    from .units import micrometers, seconds
    from .wells import (
        PlateImage,
        attributes_of,
        find_in_plate,
        list_plate,
        plate_images,
        plate_position,
    )
    from .write import derive_image, derive_label
else:
    MODULES = ["units", "fractal", "ngff", "image", "overlays", "wells", "provenance"]
    MODULES += ["plate", "blocks", "columns", "tables", "rois", "regions", "labels"]
    MODULES += ["write", "intensity", "tiles", "models", "publish", "create"]

    def __getattr__(name: str) -> Any:
        """Import a name when it is used, and no library that it does not need."""
        for module in MODULES if name in __all__ else ():
            found = import_module(f"{__name__}.{module}")
            if hasattr(found, name):
                return getattr(found, name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = [
    "Array",
    "Channel",
    "Image",
    "ImageUpdate",
    "NgffVersion",
    "ParallelizationItem",
    "PlateImage",
    "Region",
    "Regions",
    "Roi",
    "Step",
    "Table",
    "ZarrDir",
    "ZarrUrl",
    "attributes_of",
    "build_pyramid",
    "cached_model",
    "cast",
    "check_name",
    "create_image",
    "create_plate",
    "cut_blocks",
    "derive_image",
    "derive_label",
    "each_block",
    "each_roi",
    "find_in_plate",
    "find_rois",
    "group_version",
    "histogram",
    "in_threads",
    "init_task_output",
    "is_made",
    "is_zarr",
    "join_columns",
    "label_blocks",
    "label_regions",
    "label_rois",
    "label_tiles",
    "level_like",
    "list_plate",
    "make_column",
    "map_blocks",
    "map_regions",
    "micrometers",
    "model_file",
    "model_sources",
    "n_threads",
    "ome_metadata",
    "open_group",
    "open_image",
    "open_label",
    "parse_numbers",
    "percentile_range",
    "plate_images",
    "plate_position",
    "read_rois",
    "read_table",
    "read_tables",
    "regions_of_labels",
    "run_task",
    "seconds",
    "sibling_path",
    "table_files",
    "table_names",
    "task_output",
    "write_feature_table",
    "write_levels",
    "write_roi_table",
    "write_table",
]
