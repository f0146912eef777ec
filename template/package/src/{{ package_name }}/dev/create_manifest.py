"""Write the manifest of this package, from its task list and its task functions.

Where the template's workbench is installed, as in `nox -s manifest`, the tasks are also
checked by the rules of the server and of the web form.
"""

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

try:
    from fractal_workbench.form import check as workbench
except ImportError:
    workbench = None

PACKAGE = Path(__file__).resolve().parents[1]
PROJECT = PACKAGE.parents[1]
MANIFEST = PACKAGE / "__FRACTAL_MANIFEST__.json"
WORKFLOW = PACKAGE / "workflow.json"


def create_manifest() -> str:
    """Return the text of the manifest, or exit with what has to be changed first."""
    names = {"raw_package_name": PACKAGE.name, "task_list_path": "dev.task_list"}
    place = "TASK_LIST"
    try:
        module: Any = import_module(f"{PACKAGE.name}.dev.task_list")
        tasks, module.TASK_LIST = [*module.TASK_LIST], []
        manifest: dict[str, Any] = _create_manifest.create_manifest(**names)
        for number, task in enumerate(tasks):
            place = getattr(task, "name", "").strip() or f"TASK_LIST[{number}]"
            # The models of fractal-tasks-core, which older task lists import, have no type.
            if not hasattr(task, "type"):
                model = getattr(task_models, type(task).__name__)
                task = model(**task.model_dump(exclude_unset=True))
            module.TASK_LIST = [task]
            (entry,) = _create_manifest.create_manifest(**names)["task_list"]
            if workbench:
                workbench.check_task(entry)
            manifest["task_list"].append(entry)
        place = "AUTHORS or names"
        if workbench:
            workbench.rules.Manifest.model_validate(manifest)
    except (Exception, SystemExit) as error:
        if workbench:
            sys.exit(workbench.explain(error, place, PACKAGE))
        sys.exit(f"{place}: {str(error) or repr(error)}")
    return json.dumps(manifest, indent=2) + "\n"


def name_version() -> str:
    """Return the text of the workflow, whose own steps name the version of this package."""
    text = WORKFLOW.read_text(encoding="utf-8")
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text("utf-8"))["project"]
    version = project.get("version") or metadata.version(project["name"])
    try:
        workflow = json.loads(text)
        tasks = [s["task"] for s in workflow.get("data", workflow)["task_list"]]
        own = [task for task in tasks if task["pkg_name"] == project["name"]]
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        sys.exit(f"{WORKFLOW}: it is no workflow: {error!r}")
    if all(task.get("version") == version for task in own):
        return text
    for task in own:  # a server imports no step with another version
        task["version"] = version
    return json.dumps(workflow, indent=2, ensure_ascii=False) + "\n"


def main() -> None:
    """Write the manifest and the versions in the workflow, or compare them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="only show what differs")
    check = parser.parse_args().check
    logging.disable(logging.INFO)  # fractal-task-tools logs each of its steps
    # Import the package that this file is part of, not another copy or its dev folder.
    sys.path[0] = str(PACKAGE.parent)
    files = {MANIFEST: create_manifest()}
    if WORKFLOW.exists():
        files[WORKFLOW] = name_version()
    outdated = []
    for file, new in files.items():
        old = file.read_text(encoding="utf-8") if file.exists() else ""
        if new != old:
            outdated.append(file.name)
            texts = old.splitlines(True), new.splitlines(True)
            diff = difflib.unified_diff(*texts, "on disk", "from the tasks")
            if check:
                sys.stdout.writelines(diff)
            else:
                file.write_text(new, encoding="utf-8", newline="\n")
    if not workbench:
        print("Not checked by the rules of the server and the web form: no workbench.")
    if check and outdated:
        sys.exit(f"Out of date: {', '.join(outdated)}. Run `nox -s manifest`.")


if __name__ == "__main__":
    main()
