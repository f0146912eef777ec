"""Register with fractal-tasks-core, to compare `register_acquisitions` with it.

python core_way.py register_acquisitions SOURCE RESULT

One process does what the five tasks of a workflow do, which saves it four starts. The
shift is found at its default level, 2, which is enough: it is a multiple of its pixels.
"""

import json
import shutil
import sys
from pathlib import Path

from fractal_tasks_core.apply_registration_to_image import apply_registration_to_image
from fractal_tasks_core.compute_image_based_registration import (
    compute_image_based_registration,
)
from fractal_tasks_core.compute_registration_consensus import (
    compute_registration_consensus,
)
from fractal_tasks_core.init_image_based_registration import (
    init_image_based_registration,
)
from fractal_tasks_core.init_registration_consensus import init_registration_consensus


def register_acquisitions(source: Path, result: Path) -> None:
    reference = source.with_name("0")
    images = {"zarr_urls": [str(reference), str(source)], "zarr_dir": ""}
    metadata = json.loads((source / ".zattrs").read_text())
    channel = metadata["omero"]["channels"][0]["wavelength_id"]
    level = metadata["multiscales"][0]["datasets"][-1]["path"]
    (item,) = init_image_based_registration(**images)["parallelization_list"]
    compute_image_based_registration(
        **item, wavelength_id=channel, level_path=min("2", level)
    )
    (item,) = init_registration_consensus(**images)["parallelization_list"]
    compute_registration_consensus(**item)
    shutil.rmtree(result, ignore_errors=True)
    apply_registration_to_image(
        zarr_url=str(source),
        registered_roi_table="FOV_ROI_table_registered",
        overwrite_input=False,
    )


if __name__ == "__main__":
    globals()[sys.argv[1]](Path(sys.argv[2]), Path(sys.argv[3]))
