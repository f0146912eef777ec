"""A task that does as it is told by the JSON file beside it: `name.py` reads `name.json`.

The file says for each `zarr_url` (`*`: for any other) what to print, which text to write as
the output and with which code to exit. It runs as a process, or in the test's own.
"""

import argparse
import json
import shutil
from pathlib import Path
from typing import Any


def play(executable: Path, args_json: Path, out_json: Path) -> int:
    """Do as told, and return the exit code."""
    args = json.loads(args_json.read_text())
    script = json.loads(executable.with_suffix(".json").read_text())
    item = f"{args.get('zarr_url')} {json.dumps(args.get('init_args'))}"
    keys = [key for key in (item, args.get("zarr_url"), "*") if key in script]
    answer = script[keys[0]] if keys else {}
    print(answer.get("print", ""))
    if "echo" in answer:
        update = {"zarr_url": answer["echo"], "attributes": {"args": json.dumps(args)}}
        answer = {"text": json.dumps({"image_list_updates": [update]})}
    if "text" in answer:
        out_json.write_text(answer["text"])
    return int(answer.get("exit", 0))


def write_package(folder: Path, steps: list[dict[str, Any]]) -> dict[str, Any]:
    """Write the tasks of a workflow; return the workflow, the manifest and the folder."""
    folder.mkdir(exist_ok=True)
    in_workflow = {
        "alias",
        "args_parallel",
        "args_non_parallel",
        "description",
        "input_filters",
        "meta_parallel",
        "meta_non_parallel",
        "task",
        "type_filters",
    }
    task_list, step_list = [], []
    for index, step in enumerate(steps):
        task: dict[str, Any] = {"name": f"Task {index}"}
        executables = ("parallel", step["answers"]), ("non_parallel", step["init"])
        for kind, answers in executables:
            if answers is not None:
                executable = folder / f"{kind}_{index}.py"
                task[f"executable_{kind}"] = executable.name
                shutil.copy(__file__, executable)
                one_for_all = answers.keys() <= {"text", "exit", "echo", "print"}
                script = {"*": answers} if one_for_all else answers
                executable.with_suffix(".json").write_text(json.dumps(script))
        apart = {"answers", "init", "in_manifest"}
        fields = {key: step[key] for key in step.keys() - apart}
        task_list.append(
            task
            | {key: fields[key] for key in fields.keys() - in_workflow}
            | step.get("in_manifest", {})
        )
        reference = {"task": {"pkg_name": "my-tasks", "name": task["name"]}}
        step_list.append(
            reference | {key: fields[key] for key in fields.keys() & in_workflow}
        )
    return {
        "workflow": {"name": "workflow", "task_list": step_list},
        "manifest": {"manifest_version": "2", "task_list": task_list},
        "package_root": folder,
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--args-json", type=Path, required=True)
    parser.add_argument("--out-json", type=Path, required=True)
    options = parser.parse_args()
    raise SystemExit(play(Path(__file__), options.args_json, options.out_json))
