"""Write the manifest of this package, from its task list and its task functions."""

import argparse
import difflib
import json
import logging
import sys
import tomllib
from importlib import import_module, metadata
from pathlib import Path
from typing import Any

from fractal_task_tools import _create_manifest, task_models

try:  # the rules of the server and of the web form
    workbench: Any = import_module("fractal_workbench.form.check")
except ImportError:
    workbench = None

PACKAGE = Path(__file__).resolve().parents[1]
MANIFEST = PACKAGE / "__FRACTAL_MANIFEST__.json"
WORKFLOW = PACKAGE / "workflow.json"


def create_manifest() -> str:
    """Return the text of the manifest, or exit with what has to be changed first."""
    args = {"raw_package_name": PACKAGE.name, "task_list_path": "dev.task_list"}
    place = "TASK_LIST"
    try:
        module: Any = import_module(f"{PACKAGE.name}.dev.task_list")
        tasks, module.TASK_LIST = [*module.TASK_LIST], []
        result: dict[str, Any] = _create_manifest.create_manifest(**args)
        for number, task in enumerate(tasks):
            place = getattr(task, "name", "").strip() or f"TASK_LIST[{number}]"
            if not hasattr(task, "type"):  # a model of fractal-tasks-core
                model = getattr(task_models, type(task).__name__)
                task = model(**task.model_dump(exclude_unset=True))
            module.TASK_LIST = [task]
            result["task_list"] += _create_manifest.create_manifest(**args)["task_list"]
    except (Exception, SystemExit) as error:
        explain = workbench.explain if workbench else "{1}: {0!r}".format
        sys.exit(explain(error, place, PACKAGE))
    if workbench and (mistakes := [*workbench.find_mistakes(result)]):
        sys.exit("\n".join(mistakes))
    return json.dumps(result, indent=2) + "\n"


def name_version() -> str:
    """Return the text of the workflow, whose own steps name the version of this package."""
    text = WORKFLOW.read_text("utf-8")
    pyproject = PACKAGE.parents[1] / "pyproject.toml"
    project = tomllib.loads(pyproject.read_text("utf-8"))["project"]
    version = project.get("version") or metadata.version(project["name"])
    try:
        workflow = json.loads(text)
        for step in workflow.get("data", workflow)["task_list"]:
            if (task := step["task"])["pkg_name"] == project["name"]:
                task["version"] = version  # a server imports no step with another
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        sys.exit(f"{WORKFLOW}: it is no workflow: {error!r}")
    new = json.dumps(workflow, indent=2, ensure_ascii=False) + "\n"
    return text if workflow == json.loads(text) else new


def main() -> None:
    """Write the manifest and the versions in the workflow, or compare them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="only show what differs")
    check = parser.parse_args().check
    logging.disable(logging.INFO)  # fractal-task-tools logs each of its steps
    sys.path[0] = str(PACKAGE.parent)  # this package, not another copy, or its `dev`
    files = {MANIFEST: create_manifest()}
    files |= {WORKFLOW: name_version()} if WORKFLOW.exists() else {}
    problems = []
    for file, new in files.items():
        old = file.read_text("utf-8") if file.exists() else ""
        if new != old and check:
            texts = old.splitlines(True), new.splitlines(True)
            sys.stdout.writelines(difflib.unified_diff(*texts, file.name, "created"))
            problems.append(f"{file.name} is out of date: run `nox -s manifest`.")
        elif new != old:
            file.write_text(new, encoding="utf-8", newline="\n")
    if workbench:
        problems += workbench.find_stale(PACKAGE)
    else:
        print("No workbench here: server, web form and stale texts are not checked.")
    sys.stdout.writelines(f"{problem}\n" for problem in problems)
    sys.exit(check and bool(problems))


if __name__ == "__main__":
    main()
