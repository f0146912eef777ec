"""Write the manifest of this package, from its task list and its task functions."""

import argparse
import difflib
import json
import logging
import sys
from collections.abc import Iterator
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

from fractal_task_tools import _create_manifest, task_models

PACKAGE = Path(__file__).resolve().parents[1]
MANIFEST = PACKAGE / "__FRACTAL_MANIFEST__.json"

# The web form shows nothing of a task if it meets another keyword in its schema.
KEYWORDS = """
    $defs $ref additionalProperties allOf anyOf const contentEncoding contentMediaType
    default deprecated description discriminator enum examples exclusiveMaximum
    exclusiveMinimum format items maxItems maxLength maxProperties maximum minItems
    minLength minProperties minimum multipleOf oneOf pattern patternProperties
    prefixItems properties propertyNames readOnly required title type uniqueItems
    writeOnly
"""


def create_manifest() -> str:
    """Return the text of the manifest, or exit with what has to be changed first."""
    task_list = import_module(f"{PACKAGE.name}.dev.task_list")
    # The models of fractal-tasks-core, which older task lists import, have no type.
    for number, task in enumerate(task_list.TASK_LIST):
        if not hasattr(task, "type"):
            model = getattr(task_models, type(task).__name__)
            task_list.TASK_LIST[number] = model(**task.model_dump(exclude_unset=True))
    create = partial(
        _create_manifest.create_manifest,
        raw_package_name=PACKAGE.name,
        task_list_path="dev.task_list",
    )
    try:
        manifest = create()
    except ValueError as error:
        # It does not say which task it is about.
        for task in [*task_list.TASK_LIST]:
            task_list.TASK_LIST[:] = [task]
            try:
                create()
            except ValueError as reason:
                hint = " (give it a type that JSON can hold)"
                unsupported = "Unsupported" in str(reason)
                sys.exit(f"{task.name}: {reason}{hint if unsupported else ''}")
        sys.exit(str(error))
    problems = [
        f"{task['name']}: {problem}."
        for task in manifest["task_list"]
        for kind in ("args_schema_non_parallel", "args_schema_parallel")
        if kind in task
        for problem in arguments_problems(task[kind])
    ]
    if problems:
        sys.exit("\n".join(problems))
    return json.dumps(manifest, indent=2) + "\n"


def arguments_problems(schema: dict[str, Any]) -> Iterator[str]:
    """Yield which arguments fractal-task-tools accepts and the web form does not."""
    if schema.get("additionalProperties") is not False:
        yield "argument `**kwargs` is hidden by the web form: name each argument"
    for name, argument in schema["properties"].items():
        if name in ("args", "kwargs"):
            yield f"argument `{name}` is hidden by the web form: give it another name"
        for problem in schema_problems(argument, schema.get("$defs", {})):
            yield f"argument `{name}` breaks the web form: {problem}"


def schema_problems(
    schema: dict[str, Any], models: dict[str, Any], inside: tuple[str, ...] = ()
) -> Iterator[str]:
    """Yield what breaks the web form in the schema of an argument or a part of it."""
    if unknown := schema.keys() - KEYWORDS.split():
        yield f"JSON Schema does not know {', '.join(sorted(unknown))}"
    if schema.get("format", "").endswith("path"):
        yield "it is a path; take a `str`"
    if any("discriminator" in option for option in schema.get("anyOf", [])):
        yield "a discriminated union can not be optional; give it a default instead"
    try:
        json.dumps(schema.get("default"), allow_nan=False)
    except ValueError:
        yield "its default is not finite; take None"

    model = schema.get("$ref", "").removeprefix("#/$defs/")
    if model in inside:
        yield f"the model {model} contains itself"
    elif model:
        yield from schema_problems(models[model], models, (*inside, model))
    for keyword in ("properties", "patternProperties"):
        for part in schema.get(keyword, {}).values():
            yield from schema_problems(part, models, inside)
    for keyword in ("allOf", "anyOf", "oneOf", "prefixItems"):
        for part in schema.get(keyword, []):
            yield from schema_problems(part, models, inside)
    for keyword in ("additionalProperties", "items"):
        if isinstance(part := schema.get(keyword), dict):
            yield from schema_problems(part, models, inside)


def main() -> None:
    """Write the manifest, or compare it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--check", action="store_true", help="write nothing, show what differs"
    )
    check = parser.parse_args().check

    # fractal-task-tools logs each of its steps.
    logging.disable(logging.INFO)
    # Import the package that this file is part of, not another copy or its dev folder.
    sys.path[0] = str(PACKAGE.parent)
    new = create_manifest()
    if not check:
        MANIFEST.write_text(new, encoding="utf-8", newline="\n")
        return
    old = MANIFEST.read_text(encoding="utf-8")
    names = (f"{MANIFEST.name} (on disk)", f"{MANIFEST.name} (from the tasks)")
    sys.stdout.writelines(
        difflib.unified_diff(old.splitlines(True), new.splitlines(True), *names)
    )
    if new != old:
        sys.exit("The manifest is out of date: run `nox -s manifest`.")


if __name__ == "__main__":
    main()
