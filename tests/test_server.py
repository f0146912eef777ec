"""A generated package on a real fractal-server.

As a script: write TIFFs and a workflow over all examples into the folder that is given.
"""

import importlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import nox.project as nox_project
import numpy as np
import onnx
import pytest
import tifffile
from onnx import TensorProto, helper
from package_images import PACKAGE
from rendering import EXAMPLES, ROOT, TOOLS, import_folder, make_environment, run
from test_package import find_python, nox

SHIFT = (-4, 7)  # of the second acquisition, in y and x


def write_network(path: Path) -> str:
    """Write a network for normalised planes, which says what it sees; return its path."""
    image, seen = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 1, "y", "x"])
        for name in ("image", "seen")
    )
    node = helper.make_node("Identity", ["image"], ["seen"])
    graph = helper.make_graph([node], "identity", [image], [seen])
    opset = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, ir_version=8, opset_imports=opset), path)
    return str(path)


def write_workflow(folder: Path) -> Path:
    """Write z stacks of three wells, one of them in two acquisitions, and a workflow."""
    tiffs = folder / "tiffs"
    tiffs.mkdir(parents=True)
    y, x = np.indices((160, 200))
    for well, seed in (("A01", 1), ("A02", 2), ("B01", 3)):
        rng = np.random.default_rng(seed)
        pixels = rng.normal(200, 20, y.shape)
        for y0, x0, radius in rng.uniform((20, 20, 4), (140, 180, 12), (12, 3)):
            pixels[np.hypot(y - y0, x - x0) < radius] += 2000
        stack = np.stack([pixels * z / 5 for z in (2, 3, 5, 4, 1)]).astype(np.uint16)
        tifffile.imwrite(tiffs / f"{well}_a0.tif", stack)
        if well == "A01":
            tifffile.imwrite(tiffs / f"{well}_a1.tif", np.roll(stack, SHIFT, (1, 2)))

    def step(name: str, **arguments: object) -> dict[str, object]:
        task = {"pkg_name": "my-fractal-tasks", "version": "0.1.0", "name": name}
        return {"task": task, **arguments}

    workflow = {
        "name": "All examples",
        "task_list": [
            step(
                "Convert TIFFs to OME-Zarr",
                args_non_parallel={"tiff_dir": str(tiffs), "plate_name": "plate"},
            ),
            step("Import OME-Zarr", args_non_parallel={"zarr_name": "plate.zarr"}),
            step("Register Acquisitions"),
            step("Project Image"),
            step("Gaussian Blur", args_parallel={"sigma_xy": 1}),
            step(
                "Threshold Segmentation",
                args_parallel={
                    "min_size": 30,
                    "regions": {"roi_table": "FOV_ROI_table"},
                },
            ),
            step(
                "Model Segmentation",
                args_parallel={
                    "model": write_network(folder / "network.onnx"),
                    "min_size": 30,
                    "label_name": "cells",
                },
            ),
            step("Measure Features"),
            step("Aggregate Tables"),
            step("Check Images", args_non_parallel={"read_pixels": True}),
        ],
    }
    file = folder / "workflow.json"
    file.write_text(json.dumps(workflow, indent=2), encoding="utf-8")
    return file


@pytest.fixture
def start(monkeypatch):
    """Return the module of the tool, which is imported in the folder of a package."""
    monkeypatch.chdir(PACKAGE.parents[1])
    monkeypatch.syspath_prepend(TOOLS)
    return importlib.import_module("start")


def test_no_password_is_an_argument_or_in_a_file(start, monkeypatch, tmp_path):
    commands, inputs = [], []

    def run(command, given="", **options):
        commands.append(command)
        inputs.append(given)

    guard = SimpleNamespace(
        start=lambda command, *_, **options: commands.append(command)
    )
    monkeypatch.setattr(start, "run", run)
    _, password = start.start_fractal_server(tmp_path, guard, tmp_path / "db", None)
    assert len(password) == 64
    assert len(commands) == 3
    assert any(password in given for given in inputs)
    assert password not in str(commands)
    assert not [
        p for p in tmp_path.rglob("*") if p.is_file() and password in p.read_text()
    ]


def test_arguments_of_fractalctl_come_from_its_input(start):
    command = [sys.executable, "-c", start.FRACTALCTL]
    with pytest.raises(start.ServerError, match="invalid choice: 'no-such-command'"):
        start.run(command, '["no-such-command", "--admin-pwd", "secret"]')


def test_files_of_a_server_are_private():
    """Also where root lets another user reach PostgreSQL's."""
    code = (
        "import sys, start\n"
        "def stop(folder, *_):\n"
        "    folder.chmod(0o711)\n"
        "    print([oct(p.stat().st_mode & 0o777) for p in (folder, *folder.iterdir())])\n"
        "    raise SystemExit\n"
        "start.start_postgresql = stop\n"
        "with start.start_server('p', None): pass\n"
    )
    said = subprocess.run(
        [sys.executable, "-c", code],
        cwd=PACKAGE.parents[1],
        env=os.environ | {"PYTHONPATH": str(TOOLS)},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    ).stdout
    assert said.startswith("['0o711', '0o700']")


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
    python = find_python("3.13")
    log = nox(package, "--force-python", python, "-s", "server", "--", str(file))
    assert "imported the template 'Examples of my-fractal-tasks'" in log
    assert "The image lists are the same." in log


# Starts a server in the folder of a package, and has the official client import files.
IMPORT_ALL = """
import json, os, subprocess, sys

sys.path.insert(0, sys.argv[1])
import server as tool
from start import start_server

workflow, shipped, unnamed = sys.argv[2:]
fractal = [os.path.join(os.path.dirname(sys.executable), "fractal"), "--batch"]
with start_server(tool.PACKAGE.name, None) as (server, folder):
    env = os.environ | {
        "FRACTAL_USER": tool.EMAIL,
        "FRACTAL_PASSWORD": server.password,
        "FRACTAL_SERVER": server.url,
        "FRACTAL_CACHE_PATH": str(folder / "client"),
    }
    project = server.project.rpartition("/")[2]

    def call(*command):
        done = subprocess.run(
            [*fractal, *command], env=env, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, cwd=folder,
        )
        return done.returncode, done.stdout

    given = tool.Given(json.load(open(unnamed)), None, {}, [])
    try:
        tool.collect_all(server, folder, given)
    except tool.ServerError as error:
        print("TOLD", error)
    tool.collect(server, folder)
    import_it = ("workflow", "import", "--project-id", project, "--json-file")
    print("WORKFLOW", *call(*import_it, workflow))
    print("UNNAMED", *call(*import_it, unnamed))
    code, said = call("template", "new", "--json-file", shipped)
    print("TEMPLATE", code, said)
    number = said.split()[-1]
    print("FROM", *call("workflow", "import-from-template", project, number))
"""


@pytest.mark.long
def test_the_official_client_imports_the_workflows_that_we_write(
    richest, tmp_path, monkeypatch
):
    """That of the demo, and that of a package, which is a template of workflows."""
    monkeypatch.chdir(richest)
    demo = importlib.import_module("demo")
    tasks = demo.read_tasks()
    workflow = demo.make_workflow(demo.wish_steps(tmp_path, tasks), tasks)
    assert len(workflow["task_list"]) == len(EXAMPLES)
    files = [tmp_path / "workflow.json", tmp_path / "unnamed.json"]
    files[0].write_text(json.dumps(workflow), "utf-8")
    for step in workflow["task_list"]:
        del step["task"]["version"]
    files[1].write_text(json.dumps(workflow), "utf-8")
    requirements = nox_project.load_toml(TOOLS / "server.py")["dependencies"]
    python = make_environment(
        tmp_path / "venv",
        *("--editable", richest, "fractal-client", *requirements),
        python=find_python("3.13"),
    )
    shipped = import_folder(richest) / "workflow.json"
    code = (python, "-c", IMPORT_ALL, TOOLS, files[0], shipped, files[1])

    said = run(*code, cwd=richest)

    for imported in ("WORKFLOW", "TEMPLATE", "FROM"):
        assert re.search(rf"^{imported} 0 \d", said, re.MULTILINE), said
    assert re.search("^UNNAMED 1 ", said, re.MULTILINE), said
    assert re.search('^TOLD .*imports no step without.*"0.1.0"', said, re.MULTILINE)


@pytest.mark.long
def test_the_newest_server_has_the_same_rules(richest, tmp_path):
    """It needs a newer Python than the oldest that the tests run on."""
    python = make_environment(
        tmp_path / "venv",
        *("--editable", richest),
        *("copier", "fractal-server>=2.26", "hypothesis", "nox", "pytest~=9.0"),
        python=find_python("3.13"),
    )
    modules = ["tests/test_fractal_contract.py", "tests/test_run_workflow.py"]
    run(python, "-m", "pytest", "-q", "-p", "no:cacheprovider", *modules, cwd=ROOT)


if __name__ == "__main__":
    write_workflow(Path(sys.argv[1]).resolve())
