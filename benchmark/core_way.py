"""Register with fractal-tasks-core, to compare `register_acquisitions` with it.

python core_way.py register_acquisitions SOURCE RESULT

Each job of the three tasks is a process, as on a server. The shift is found at their
default level, 2, which is enough: it is a multiple of its pixels.
"""

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any


def run_job(task: str, **arguments: Any) -> Any:
    """Run a part of a task for one image, or for all; return its output."""
    with tempfile.TemporaryDirectory() as folder:
        given, returned = Path(folder, "args.json"), Path(folder, "output.json")
        given.write_text(json.dumps(arguments))
        command = [sys.executable, "-m", f"fractal_tasks_core.{task}"]
        files = ["--args-json", given, "--out-json", returned]
        subprocess.run([*command, *files], check=True)
        return json.loads(returned.read_text())


def register_acquisitions(source: Path, result: Path) -> None:
    urls = [str(source.with_name("0")), str(source)]
    images = {"zarr_urls": urls, "zarr_dir": ""}
    metadata = json.loads((source / ".zattrs").read_text())
    channel = metadata["omero"]["channels"][0]["wavelength_id"]
    level = metadata["multiscales"][0]["datasets"][-1]["path"]
    options = {"wavelength_id": channel, "level_path": min("2", level)}
    for item in run_job("init_image_based_registration", **images)[
        "parallelization_list"
    ]:
        run_job("compute_image_based_registration", **item, **options)
    for item in run_job("init_registration_consensus", **images)[
        "parallelization_list"
    ]:
        run_job("compute_registration_consensus", **item)
    table = "FOV_ROI_table_registered"
    for url in urls:
        shutil.rmtree(result.with_name(f"{Path(url).name}_registered"), True)
        run_job(
            "apply_registration_to_image",
            zarr_url=url,
            registered_roi_table=table,
            overwrite_input=False,
        )


if __name__ == "__main__":
    globals()[sys.argv[1]](Path(sys.argv[2]), Path(sys.argv[3]))
