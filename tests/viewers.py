"""Pixels that two viewers of plates load of one, without their windows.

A script, to be run in the environment of the program: `navigator PLATE IMAGE`, or
`explorer PLATE TABLE`. It prints what was loaded, as JSON.
"""

import json
import os
import sys
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any


class Nothing(ModuleType):
    """A library of widgets, whose classes do nothing."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.__path__: list[str] = []

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        if name == "thread_worker":
            return lambda function: function
        return type(name, (), {"__init__": lambda *_, **__: None})


class WithoutWindows:
    """Finds nothing of what napari-ome-zarr-navigator shows with."""

    def find_spec(self, name: str, *_: Any) -> ModuleSpec | None:
        is_shown = name.split(".")[0] in ("magicgui", "napari", "qtpy")
        return ModuleSpec(name, self, is_package=True) if is_shown else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return Nothing(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        """There is nothing in it."""


def navigator(plate: str, path: str) -> dict[str, Any]:
    """Layers that napari-ome-zarr-navigator adds to napari for each region of an image."""
    sys.meta_path.insert(0, WithoutWindows())
    import ngio
    from napari_ome_zarr_navigator.roi_loading_utils import (
        fetch_labels_and_features,
        fetch_single_image,
    )
    from napari_ome_zarr_navigator.util import calculate_well_positions

    row, column, _ = path.split("/")
    start, _ = calculate_well_positions(plate, row, column)
    image = ngio.open_ome_zarr_container(f"{plate}/{path}")
    tables: dict[str, Any] = {}
    for table in image.list_tables(filter_types="roi_table"):
        tables[table] = {}
        for roi in image.get_generic_roi_table(table).rois():
            what = (image, table, roi.name, "", "0")
            channels = [
                fetch_single_image(*what, channel, start)["data"]
                for channel in image.channel_labels
            ]
            features = image.list_tables(filter_types="feature_table")
            more = fetch_labels_and_features(
                *what, image.list_labels(), features, start
            )
            tables[table][roi.name] = {
                "channels": [list(pixels.shape) for pixels in channels],
                "labels": [list(label["data"].shape) for label in more["labels"]],
                "n_features": [len(table["df"]) for table in more["features"]],
            }
    return tables


def explorer(plate: str, table: str) -> dict[str, Any]:
    """The rows that the first page of fractal-feature-explorer makes of a plate."""
    os.environ["FRACTAL_FEATURE_EXPLORER_CONFIG"] = "explorer.toml"  # it will write it
    from fractal_feature_explorer.pages.setup_page import setup_page
    from streamlit.testing.v1 import AppTest

    page = AppTest.from_file(setup_page.__file__, default_timeout=60)
    page.query_params["zarr_url"] = plate
    page.run()
    tables = page.selectbox[0].options
    page.selectbox[0].select(f"{table} (Require Agg.)").run()
    mistakes = [str(each.value) for each in (*page.exception, *page.error)]
    rows = page.session_state["data:feature_table"].collect()
    return {
        "tables": tables,
        "mistakes": mistakes,
        "columns": rows.columns,
        "n_rows": len(rows),
    }


if __name__ == "__main__":
    program, *arguments = sys.argv[1:]
    print(
        json.dumps({"navigator": navigator, "explorer": explorer}[program](*arguments))
    )
