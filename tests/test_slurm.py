"""`nox -s server -- --slurm`: a workflow by a SLURM of one node, where there is one."""

import json

import pytest
from full_workflow import write_workflow
from test_package import nox

from fractal_workbench.server import slurm, watchdog

CONVERT = "Convert TIFFs to OME-Zarr"
PROJECT = "Project Image (HCS Plate)"


@pytest.mark.weekly
def test_jobs_request_the_resources_of_task_list_and_workflow(render, tmp_path):
    try:
        slurm.check_programs()
    except watchdog.ServerError as error:
        pytest.skip(str(error))
    file = write_workflow(tmp_path / "data")
    workflow = json.loads(file.read_text(encoding="utf-8"))
    # This task has both parts, and is installed the fastest; the other is somebody else's.
    step = workflow["task_list"][0]
    step["meta_parallel"] = {"cpus_per_task": 1, "mem": "3G"}
    core = {"pkg_name": "fractal-tasks-core", "version": "2.1.0", "name": PROJECT}
    workflow["task_list"] = [step, {"task": core}]
    file.write_text(json.dumps(workflow), encoding="utf-8")
    package = render(tmp_path / "package", examples=["convert_tiffs"])
    run_json = tmp_path / "run.json"
    options = ("--slurm", "--yes", "--json", str(run_json))
    log = nox(package, "-s", "server", "--", str(file), *options)
    jobs = json.loads(run_json.read_text("utf-8"))["server"]["jobs"]
    requested = {
        (job["step"], job["part"]): (job["cpus_per_task"], job["mem"]) for job in jobs
    }
    assert requested == {
        (0, "non_parallel"): (1, 2000),
        (0, "parallel"): (1, 3000),
        (1, "non_parallel"): (1, 4000),
        (1, "parallel"): (1, 4000),
    }
    assert sum(job["units"] for job in jobs if job["part"] == "parallel") == 8
    assert "This is what the task list requests." in log
    assert "The image lists are the same." in log
