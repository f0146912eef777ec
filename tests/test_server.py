"""A generated package on a real fractal-server."""

import json
import re

import pytest
from form_browser import use_page
from full_workflow import write_workflow
from rendering import (
    EXAMPLES,
    ROOT,
    import_folder,
    make_environment,
    run,
    workbench,
)
from test_adopt import make_package
from test_package import find_python, nox
from test_update import changed, commit

from fractal_workbench.demo import command as demo


@pytest.mark.long
def test_all_examples_do_the_same_on_a_server_and_locally(render, tmp_path):
    """On the newest server; that of the oldest Python runs in `test_slurm`."""
    file = write_workflow(tmp_path / "data")
    package = render(tmp_path / "package")
    shipped = (import_folder(package) / "workflow.json").read_text("utf-8")
    template = json.loads(shipped)
    steps = {
        step["task"]["name"]: step for step in json.loads(file.read_text())["task_list"]
    }
    for step in template["data"]["task_list"]:
        step |= steps.pop(step["task"]["name"]) | {"task": step["task"]}
    assert not steps
    file.write_text(json.dumps(template), "utf-8")
    # By way of the page of forms, which has each step filled in.
    page = tmp_path / "forms.html"
    workbench("form", page, "--workflow", file, cwd=package)
    read = """await show("/");
    found.push(texts("#workflow li"), JSON.parse(texts("#workflow pre")[0]));"""
    (tmp_path / "browser").mkdir()
    wrong, built = use_page(tmp_path / "browser", page.read_text("utf-8"), read)
    assert wrong == []
    assert built["task_list"] != template["data"]["task_list"]
    template["data"] = built
    file.write_text(json.dumps(template), "utf-8")
    python = find_python("3.13")
    log = nox(package, "--force-python", python, "-s", "server", "--", str(file))
    assert "imported the template 'Examples of my-fractal-tasks'" in log
    assert "The image lists are the same." in log


@pytest.mark.long
def test_a_package_of_the_official_template_runs_on_a_server(tmp_path):
    """It is not adopted, and not installed beside the workbench."""
    package, data = make_package(tmp_path / "lab-tasks", "0.6"), tmp_path / "data"
    file = import_folder(package) / "__FRACTAL_MANIFEST__.json"
    manifest = json.loads(file.read_text("utf-8"))
    details = {"executable_parallel": "brighten.py", "output_types": {"bright": True}}
    manifest["task_list"][0] |= details
    file.write_text(json.dumps(manifest), "utf-8")
    commit(package, "0.2.0")
    image = data / "image.zarr"
    image.mkdir(parents=True)
    images, workflow = tmp_path / "images.json", tmp_path / "workflow.json"
    images.write_text(json.dumps([{"zarr_url": str(image)}]), "utf-8")
    task = {"pkg_name": "lab-tasks", "version": "0.2.0", "name": "Brighten"}
    step = {"task": task, "args_parallel": {"factor": 3}}
    workflow.write_text(json.dumps({"name": "w", "task_list": [step]}), "utf-8")
    options = ("--zarr-dir", data, "--images", images)

    log = workbench("server", workflow, *options, cwd=package)

    assert "collected lab-tasks 0.2.0, which offers" in log
    assert "The image lists are the same." in log
    assert re.search(r"image\.zarr +True$", log, re.MULTILINE)
    assert changed(package) == {}


# Starts a server in the folder of a package, and has the official client import files.
IMPORT_ALL = """
import json, os, subprocess, sys

from fractal_workbench.server import client, command
from fractal_workbench.server.services import start_server

workflow, shipped, unnamed = sys.argv[1:]
fractal = [os.path.join(os.path.dirname(sys.executable), "fractal"), "--batch"]
with start_server("project", None) as (server, folder):
    env = os.environ | {
        "FRACTAL_USER": client.EMAIL,
        "FRACTAL_PASSWORD": server.password,
        "FRACTAL_SERVER": server.url,
        "FRACTAL_CACHE_PATH": str(folder / "client"),
    }
    project = server.project.rpartition("/")[2]

    def call(*arguments):
        done = subprocess.run(
            [*fractal, *arguments], env=env, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, cwd=folder,
        )
        return done.returncode, done.stdout

    submission = command.Submission(json.load(open(unnamed)), None, {}, [])
    try:
        command.collect_all(server, folder, submission)
    except command.ServerError as error:
        print("REJECTED", error)
    command.collect(server, folder)
    import_it = ("workflow", "import", "--project-id", project, "--json-file")
    print("WORKFLOW", *call(*import_it, workflow))
    print("UNNAMED", *call(*import_it, unnamed))
    code, text = call("template", "new", "--json-file", shipped)
    print("TEMPLATE", code, text)
    number = text.split()[-1]
    print("FROM", *call("workflow", "import-from-template", project, number))
"""


@pytest.mark.weekly
def test_the_official_client_imports_the_workflows_that_we_write(
    richest, tmp_path, monkeypatch
):
    """That of the demo, and that of a package, which is a template of workflows."""
    monkeypatch.chdir(richest)
    tasks = demo.read_tasks()
    workflow = demo.make_workflow(demo.list_candidates(tmp_path, tasks), tasks)
    assert len(workflow["task_list"]) == len(EXAMPLES)
    files = [tmp_path / "workflow.json", tmp_path / "unnamed.json"]
    files[0].write_text(json.dumps(workflow), "utf-8")
    workflow["name"] = "Unnamed"  # a server takes each name once
    for step in workflow["task_list"]:
        del step["task"]["version"]
    files[1].write_text(json.dumps(workflow), "utf-8")
    python = make_environment(
        tmp_path / "venv",
        *("fractal-client", f"{ROOT / 'workbench'}[server]"),
        python=find_python("3.13"),
    )
    shipped = import_folder(richest) / "workflow.json"

    log = run(python, "-c", IMPORT_ALL, files[0], shipped, files[1], cwd=richest)

    for imported in ("WORKFLOW", "TEMPLATE", "FROM"):
        assert re.search(rf"^{imported} 0 \d", log, re.MULTILINE), log
    assert re.search("^UNNAMED 1 ", log, re.MULTILINE), log
    assert re.search('^REJECTED .*imports no step without.*"0.1.0"', log, re.MULTILINE)


@pytest.mark.weekly
def test_the_newest_server_has_the_same_rules(richest, tmp_path, is_weekly):
    """It needs a newer Python than the oldest that the tests run on."""
    python = make_environment(
        tmp_path / "venv",
        *("--editable", richest, f"{ROOT / 'workbench'}[run]"),
        "s3fs>=2025.1",  # else the resolver may take one that cannot be built
        *("copier", "fractal-server>=2.26", "hypothesis", "nox", "pytest~=9.0"),
        python=find_python("3.13"),
    )
    modules = ["tests/test_fractal_contract.py", "tests/test_run_workflow.py"]
    weekly = ["--weekly"] if is_weekly else []
    command = ["-m", "pytest", "-q", "-p", "no:cacheprovider", *weekly]
    run(python, *command, *modules, cwd=ROOT)
