"""Description of a plate by any version of ngio, and the tables that it writes.

Also a script, to be run with the ngio of another environment.
"""

import json
import sys
from typing import Any

import ngio
import numpy as np
import pandas
from ngio.tables import ConditionTable, FeatureTable, MaskingRoiTable, RoiTable

BACKENDS = ("csv", "json", "anndata", "parquet")
FEATURES = {
    "label": [1, 2, 5],
    "area": [1.5, 2.0, 0.25],
    "class": ["round", "long", "round"],
    "n_spots": [0, 7, 300],
}
# Names that look like numbers, large integers, and gaps.
ODD = {
    "name": ["12E3", "1_2", "INF"],
    "digits": ["１２", "007", "1e5"],
    "large": [2**60 + 1, 0, -(2**60) - 1],
    "count": pandas.array([2**60 + 1, None, 3], "Int64"),
    "good": pandas.array([True, None, False], "boolean"),
    "kind": pandas.Categorical(["x", None, "y"]),
    "size": [1e-05, 1e20, float("nan")],
}
CONDITIONS = {"drug": ["DMSO"], "dose": [1.5], "hours": [24]}
# Name: first pixels and lengths in x, y and z.
FIELDS = {"left": (0, 0, 0, 20, 30, 3), "right": (20, 0, 0, 12, 30, 3)}
PIXEL_SIZES = {"x": 0.5, "y": 0.5, "z": 2.0}


def describe(plate: str) -> dict[str, Any]:
    """Pixels, channels, labels and tables of each image of a plate."""
    found = {}
    for path, container in ngio.open_ome_zarr_plate(plate).get_images().items():
        image = container.get_image()
        tables = {name: container.get_table(name) for name in container.list_tables()}
        found[path] = {
            "shape": list(image.shape),
            "sum": int(image.get_as_numpy().sum(dtype=np.uint64)),
            "levels": container.levels,
            "channels": list(image.channel_labels),
            "wavelengths": list(image.wavelength_ids),
            "labels": {
                name: int(container.get_label(name).get_as_numpy().max())
                for name in container.list_labels()
            },
            "tables": {
                name: [
                    table.table_type(),
                    len(table.dataframe),
                    getattr(table, "reference_label", None) or "",
                ]
                for name, table in tables.items()
            },
        }
    return found


def rois() -> list[ngio.Roi]:
    """The regions `FIELDS`."""
    found = []
    for name, (x, y, z, *lengths) in FIELDS.items():
        starts = dict(zip("xyz", (x, y, z), strict=True))
        slices = {
            axis: (starts[axis] * step, length * step)
            for (axis, step), length in zip(PIXEL_SIZES.items(), lengths, strict=True)
        }
        found.append(ngio.Roi.from_values(name=name, slices=slices))
    return found


def create(path: str, version: Any) -> ngio.OmeZarrContainer:
    """Create an image in which the regions lie."""
    return ngio.create_ome_zarr_from_array(
        path,
        np.zeros((3, 30, 32), np.uint16),
        pixelsize=PIXEL_SIZES["x"],
        z_spacing=PIXEL_SIZES["z"],
        axes_names="zyx",
        ngff_version=version,
    )


def write(path: str, version: Any) -> None:
    """Write an image with a table of each type in each backend."""
    container = create(path, version)
    features = pandas.DataFrame(FEATURES).set_index("label")
    odd = pandas.DataFrame({"label": [1, 2, 3], **ODD}).set_index("label")
    objects = [roi.model_copy(update={"name": "7", "label": 7}) for roi in rois()[:1]]
    for backend in BACKENDS:
        tables = {
            "features": FeatureTable(features, reference_label="cells"),
            # AnnData has no booleans with gaps: ngio makes texts of them.
            "odd": FeatureTable(
                odd.drop(columns="good") if backend == "anndata" else odd,
                reference_label="cells",
            ),
            "empty": FeatureTable(features[:0], reference_label="cells"),
            "conditions": ConditionTable(pandas.DataFrame(CONDITIONS)),
            "fields": RoiTable(rois=rois()),
            "masks": MaskingRoiTable(rois=objects, reference_label="cells"),
        }
        for name, table in tables.items():
            container.add_table(f"{name}_{backend}", table, backend=backend)


def write_old(path: str) -> None:
    """Write an image with tables of fractal-tasks-core 1: AnnData, and no backend."""
    import anndata
    import zarr
    from anndata.io import write_elem

    create(path, "0.4")
    columns = [f"{axis}_micrometer" for axis in "xyz"]
    columns += [f"len_{column}" for column in columns]
    scales = np.array([*PIXEL_SIZES.values()] * 2)
    places = pandas.DataFrame(
        np.array([*FIELDS.values()], np.float32) * scales,
        index=pandas.Index([*FIELDS], name="FieldIndex"),
        columns=columns,
    )
    regions = anndata.AnnData(X=places.astype(np.float32))
    masks = anndata.AnnData(X=places[:1].reset_index(drop=True).astype(np.float32))
    masks.obs = pandas.DataFrame({"label": ["7"]})
    measured = pandas.DataFrame({"area": FEATURES["area"]}, dtype=np.float32)
    features = anndata.AnnData(X=measured)
    features.obs = pandas.DataFrame({"label": [str(n) for n in FEATURES["label"]]})
    of_cells = {"region": {"path": "../labels/cells"}, "instance_key": "label"}
    kinds = {
        "fields": (regions, {"type": "roi_table"}),
        "masks": (masks, {"type": "masking_roi_table"} | of_cells),
        "features": (features, {"type": "feature_table"} | of_cells),
    }
    group = zarr.open_group(path, mode="r+").require_group("tables")
    for name, (table, attributes) in kinds.items():
        write_elem(group, name, table)
        group[name].attrs.update(attributes | {"fractal_table_version": "1"})
    group.attrs["tables"] = [*group.attrs.get("tables", []), *kinds]


def check_odd(columns: Any) -> None:
    """Compare what was read of a table `odd` with what was written."""
    for name in columns.keys() - {"label"}:
        expected = [None if pandas.isna(value) else value for value in ODD[name]]
        found = columns[name].tolist()
        assert [None if v == "" or v != v else v for v in found] == expected, name
    assert columns.keys() >= ODD.keys() - {"good"}


if __name__ == "__main__":
    verb, path, *arguments = sys.argv[1:]
    verbs = {"describe": describe, "write": write, "write_old": write_old}
    print(json.dumps(verbs[verb](path, *arguments)))
