"""Turn the manifest of the richest package into the template that renders it for any answers.

Also record what the documentation and tests of the examples are about.
"""

import json
import sys
import tempfile
import textwrap
from pathlib import Path

from rendering import (
    EXAMPLES,
    ROOT,
    import_folder,
    make_environment,
    render,
    run,
    snapshot,
)

from fractal_workbench.form.stale import describe
from fractal_workbench.task_list import read_entries

NAME = "__FRACTAL_MANIFEST__.json"
TEMPLATE = (
    ROOT / "template" / "package" / "src" / "{{ package_name }}" / f"{NAME}.jinja"
)
CHECKSUMS = ROOT / "template" / "checksums.json"

# What is found in the manifest under these answers is replaced by the question.
ANSWERS = {
    "project_name": "the-project-name",
    "user_name": "the-user-name",
    "github_user": "the-github-user",
}


def manifest_template(text: str) -> str:
    """Put `{% if %}` around the tasks of a manifest, and the questions for the answers."""
    if any(mark in text for mark in ("{{", "{%", "{#")):
        raise ValueError("the manifest contains what Jinja would take for its own")
    manifest = json.loads(text)
    tasks, manifest["task_list"] = manifest["task_list"], "TASKS"
    before, after = json.dumps(manifest, indent=2).split('"TASKS"')
    blocks = [task_template(task) for task in tasks]
    # The joiner's first call gives nothing, each further one a comma.
    text = (
        f"{before}["
        '{% set comma = joiner(",") %}\n'
        f"{''.join(blocks)}"
        f"{{{{ '\\n  ' if examples else '' }}}}]{after}\n"
    )
    for question, answer in ANSWERS.items():
        text = text.replace(answer, f"{{{{ {question} }}}}")
    return text.replace('"{{ user_name }}"', "{{ user_name | to_json }}")


def task_template(task: dict) -> str:
    """Return the lines of one task, for packages with its example."""
    executable = task.get("executable_non_parallel") or task["executable_parallel"]
    example = next(name for name in EXAMPLES if executable.startswith(name))
    link = json.dumps(task.pop("docs_link"))
    lines = textwrap.indent(json.dumps(task, indent=2), "    ").removesuffix("\n    }")
    return (
        f"{{% if '{example}' in examples %}}{{{{ comma() }}}}\n"
        f"{lines}{{% if github_user %}},\n"
        f'      "docs_link": {link}{{% endif +%}}\n'
        "    }{% endif %}\n"
    )


def current(folder: Path, python: Path) -> str:
    """Return what the template should be, from the tasks as they are."""
    template = snapshot(folder / "template")
    package = render(template, folder / "package", **ANSWERS)
    modules = import_folder(package)
    run(python, modules / "dev" / "create_manifest.py")
    return manifest_template((modules / NAME).read_text(encoding="utf-8"))


def checksums(package: Path) -> str:
    """Return the checksums of arguments and output of each example in a package."""
    modules = import_folder(package)
    entries = read_entries((modules / "dev" / "task_list.py").read_text("utf-8"))
    records = {
        entry.stem: describe(
            entry,
            [
                (Path(path).stem, (modules / path).read_text("utf-8"))
                for path in entry.executables
            ],
        )
        for entry in entries
    }
    return json.dumps(records, indent=2) + "\n"


def main() -> None:
    """Rewrite the template, and the checksums."""
    with tempfile.TemporaryDirectory() as folder:
        package = render(snapshot(Path(folder, "source")), Path(folder, "richest"))
        CHECKSUMS.write_text(checksums(package), encoding="utf-8", newline="\n")
        python = make_environment(Path(folder, "venv"), package, python=sys.executable)
        TEMPLATE.write_text(
            current(Path(folder), python), encoding="utf-8", newline="\n"
        )


if __name__ == "__main__":
    main()
