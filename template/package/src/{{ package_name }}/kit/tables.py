"""Tables beside an image, as specified by ngio."""

import csv
from collections.abc import Mapping, Sequence
from typing import Any

import zarr

from .image import Array, Image
from .ngff import add_to_image, check_name
from .provenance import MADE_BY, Step
from .publish import published


def write_feature_table(
    image: Image,
    name: str,
    columns: Mapping[str, Sequence[Any] | Array],
    *,
    label_name: str,
    overwrite: bool = False,
    made_by: Step | None = None,
) -> None:
    """Write features of labels as a table (backend CSV).

    Args:
        image: Image that has the label.
        name: Name of the table.
        columns: Values by name of the column; the column `label` has the label numbers.
        label_name: Name of the label image that was measured.
        overwrite: Whether to replace a table of this name.
        made_by: What the task does, to be written into the table; see `is_made`.

    Raises:
        ValueError: `name` cannot be the name of a folder.
        FileExistsError: The table exists, and `overwrite` is false.
    """
    check_name(name, "table_name")
    metadata: dict[str, Any] = {
        "type": "feature_table",
        "table_version": "1",
        "backend": "csv",
        "region": {"path": f"../labels/{label_name}"},
        "instance_key": "label",
        "index_key": "label",
        "index_type": "int",
    }
    path = image.path / "tables" / name
    if made_by:
        metadata[MADE_BY] = made_by.record(path)
    with published(path, overwrite=overwrite, argument="table_name") as partial:
        zarr_format = image.group.metadata.zarr_format
        zarr.create_group(partial, zarr_format=zarr_format, attributes=metadata)
        with (partial / "table.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(columns)
            writer.writerows(zip(*columns.values(), strict=True))
    add_to_image(path)
