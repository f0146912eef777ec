"""Write the manifest of this package, from its task list and its task functions."""

import argparse
import difflib
import json
import logging
import math
import re
import sys
import tomllib
import traceback
from functools import partial
from importlib import import_module, metadata
from pathlib import Path
from typing import Any

from fractal_task_tools import _create_manifest, task_models
from pydantic_core import SchemaValidator

PACKAGE = Path(__file__).resolve().parents[1]
PROJECT = PACKAGE.parents[1]
MANIFEST = PACKAGE / "__FRACTAL_MANIFEST__.json"
WORKFLOW = PACKAGE / "workflow.json"
RESERVED_ARGUMENTS = {"zarr_url", "zarr_urls", "zarr_dir", "init_args"}
Schema = dict[str, Any]
# Before fractal-task-tools 0.5, None has no place in a schema, and the form sends no blank.
OLD = _create_manifest.ARGS_SCHEMA_VERSION == "pydantic_v2"

# What to do about a mistake, by what is said of it: the first that fits.
REMEDIES = {
    r"\[E05": "give it a default: the form needs none, fractal-task-tools does",
    r"\[E(03|06|08|1[012])": "take words: the form has this, fractal-task-tools has not",
    r"\[E07": "take None: the form has no blank text",
    r"\[E\d|JsonSchema|core schema": "give it one type, which JSON can hold",
    "'properties'": "let each argument have a name: no `*args`, and none before a `/`",
    "'TASK_LIST'|task_models|iterable": "list tasks of fractal_task_tools.task_models",
    rf"'{PACKAGE.name}\.|executable|\.py'|empty name|StopI": "name a X.py that defines X",
    "docs_link": "DOCS_LINK begins with https://, or is None",
    "docs_|codec|directory": "take a text, or file:docs_info/X.md",
    "meta_": "take what JSON can hold, such as {'mem': 4000}",
    "should|twice|Extra|stores|required": "correct it, or leave it out",
}
# What the web form knows of JSON Schema (else it stays empty), and Pydantic's word for it.
KNOWN = """
    $comment $defs $ref additionalProperties allOf anyOf array:list boolean:bool const
    contains contentEncoding contentMediaType contentSchema default dependentRequired
    deprecated description discriminator else enum examples exclusiveMaximum:lt
    exclusiveMinimum:gt format if integer:int items maxContains maxItems:max_length
    maxLength:max_length maxProperties maximum:le minContains minItems:min_length
    minLength:min_length minProperties minimum:ge multipleOf:multiple_of not nullable
    number:float object:typed-dict oneOf pattern:pattern patternProperties prefixItems
    properties propertyNames readOnly required string:str then title type
    unevaluatedItems unevaluatedProperties uniqueItems writeOnly
"""
BOUNDS = ["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"]
NAMES = {word.split(":")[0]: word.partition(":")[2] for word in KNOWN.split()}
FORMATS = "binary date date-time duration email ipv4 ipv6 password regex time uri uuid"
# The patterns that JavaScript shares with Python, piece by piece.
CHAR = r"\\(?:[\^$\\.*+?()[\]{}|/fnrtv]|0(?!\d)|x[\da-fA-F]{2}|u[\da-fA-F]{4})"
KIND = r"\\[dDsSwW]"
ITEM = rf"(?:[^\\\]]|{CHAR}|\\[-b])"
PATTERN = re.compile(
    r"(?:[$^|]|\\[Bb]|\((?:\?(?:[:=!]|<[!=]))?"
    rf"|(?:[^\\^$.*+?()[\]{{}}|]|[.)]|{CHAR}|{KIND}|\\[1-9]\d*"
    rf"|\[\^?(?:{ITEM}-{ITEM}|{ITEM}(?!-{KIND})|{KIND}(?!-[^\]]))*\])"
    r"(?:(?:[*+?]|\{\d+(?:,\d*)?\})\??)?)*"
)


def import_rules() -> Any:
    """Return the rules of servers, or exit with what is missing of the kit."""
    try:
        return import_module(f"{PACKAGE.name}.dev.server_rules")
    except ImportError as error:
        sys.exit(f"{error} ({remedy_for_import(error)})")


def remedy_for_import(error: BaseException) -> str | None:
    """Return what to do about what cannot be imported: of the kit, or of another package."""
    kit = f"{PACKAGE.name}.kit"
    name = getattr(error, "name", None) or ""
    if isinstance(error, ModuleNotFoundError) and f"{name}.".startswith(f"{kit}."):
        file = f"src/{name.replace('.', '/')}" + (
            "/__init__.py" if name == kit else ".py"
        )
        return f"`nox -s template -- restore {file}` brings it back"
    if isinstance(error, ImportError) and f"{name}.".startswith(f"{kit}."):
        return (
            "the kit has no such name: take one that it lists, or update the template"
        )
    if isinstance(error, ModuleNotFoundError) and name.split(".")[0] != PACKAGE.name:
        remedy: str = import_module(f"{kit}.fractal").find_remedy(name)
        return remedy
    return None


def create_manifest() -> str:
    """Return the text of the manifest, or exit with what has to be changed first."""
    rules = import_rules()
    names = {"raw_package_name": PACKAGE.name, "task_list_path": "dev.task_list"}
    place = "TASK_LIST"
    try:
        module: Any = import_module(f"{PACKAGE.name}.dev.task_list")
        tasks, module.TASK_LIST = [*module.TASK_LIST], []
        manifest: Schema = _create_manifest.create_manifest(**names)
        for number, task in enumerate(tasks):
            place = getattr(task, "name", "").strip() or f"TASK_LIST[{number}]"
            # The models of fractal-tasks-core, which older task lists import, have no type.
            if not hasattr(task, "type"):
                model = getattr(task_models, type(task).__name__)
                task = model(**task.model_dump(exclude_unset=True))
            module.TASK_LIST = [task]
            (entry,) = _create_manifest.create_manifest(**names)["task_list"]
            checked = rules.Task.model_validate(entry)
            mistakes = [*rules.check_name(checked.name)]
            if mistakes := [*mistakes, *rules.check_resources(None, checked)]:
                own = f"{checked.name}: "
                raise ValueError("; ".join(m.removeprefix(own) for m in mistakes))
            for kind in ("non_parallel", "parallel"):
                if schema := entry.get(f"args_schema_{kind}"):
                    check_arguments(schema)
            manifest["task_list"].append(entry)
        place = "AUTHORS or names"
        rules.Manifest.model_validate(manifest)
    except (Exception, SystemExit) as error:
        for frame in traceback.extract_tb(error.__traceback__):
            file = Path(frame.filename)
            if file.is_relative_to(PACKAGE) and file != Path(__file__).resolve():
                place += f" ({file.name}, line {frame.lineno})"
        if path := ".".join(reversed(getattr(error, "__notes__", []))):
            place += f": argument `{path}` or its default breaks the web form"
        text = f"{place}: {rules.explain(error) or repr(error)}"
        remedies = [REMEDIES[key] for key in REMEDIES if re.search(key, text)]
        remedies = [*filter(None, [remedy_for_import(error)]), *remedies]
        sys.exit(f"{text} ({remedies[0]})" if remedies else text)
    return json.dumps(manifest, indent=2) + "\n"


def check_arguments(schema: Schema) -> None:
    """Refuse arguments that fractal-task-tools accepts and the web form does not."""
    if schema.get("additionalProperties") is not False:
        raise ValueError("the web form hides `**kwargs`: name each argument")
    fields = schema["properties"].items()
    fields = {name: field for name, field in fields if name not in RESERVED_ARGUMENTS}
    form_schema(schema | {"properties": fields}, schema.get("$defs", {}))


def form_schema(schema: Schema, models: Schema) -> Schema:
    """Return how Pydantic checks what the form sends, if it can show that at all."""
    match schema:
        case {"$ref": ref, **rest}:
            if (name := ref.removeprefix("#/$defs/")) not in models:
                raise ValueError(f"the model {name} contains itself")
            others = {key: models[key] for key in models if key != name}
            return form_schema(models[name] | rest, others)
        case {"anyOf": [one, {"type": "null"}], **rest} | {"allOf": [one], **rest}:
            return form_schema(rest | one | {"nullable": True}, models)

    inner, get = partial(form_schema, models=models), schema.get
    kind, options = str(get("type")), get("enum", [])
    items, sizes = get("prefixItems"), {get("minItems"), get("maxItems")}
    fields, extra = get("properties", {}), get("additionalProperties")
    if not (NAMES.get(kind) or options or "oneOf" in schema):
        raise ValueError("take one type, or with None, or models with a discriminator")
    if unknown := schema.keys() - NAMES.keys():
        raise ValueError(f"it knows no {', '.join(sorted(unknown))}: leave it out")
    if get("format", "date") not in FORMATS.split():
        raise ValueError(f"it knows no format {get('format')}: take a `str`")
    if not PATTERN.fullmatch(get("pattern", "")):
        raise ValueError(f"JavaScript knows no pattern {get('pattern')}: write another")
    for key in ("default", "enum", "const", *BOUNDS):
        check_numbers(get(key))
    if float(get("multipleOf", 1)).as_integer_ratio()[1] > 1024:
        raise ValueError("JavaScript cannot count in such steps: take none, or 1/2^n")
    if lost := [o for o in options if str(o).strip() != (str(o) if o else "None")]:
        raise ValueError(f"it loses the options {lost}: take words")
    if sizes != {len(items) if items else None} and (items or len(sizes) == 1):
        raise ValueError("a tuple has a fixed size, a list has not: take a model")
    if extra is True or "patternProperties" in schema:
        raise ValueError("it cannot add a value of any type: take `dict[str, float]`")

    core: Schema = {"type": NAMES.get(kind), "strict": True, "allow_inf_nan": False}
    core |= {NAMES[key]: schema[key] for key in schema if NAMES[key]}
    core |= {"regex_engine": "python-re", "fields": {}, "extra_behavior": "allow"}
    if "oneOf" in schema:
        core = {"type": "union", "choices": [*map(inner, schema["oneOf"])]}
    elif options or "const" in schema:
        core = {"type": "literal", "expected": options or [schema["const"]]}
    elif items:
        core = {"type": "tuple", "items_schema": [*map(inner, items)]}
    elif kind == "array":
        core["items_schema"] = inner(get("items", {}))
    elif kind == "object":
        inner({"type": "string"} | get("propertyNames", {}))
        core |= {"extras_schema": inner(extra)} if extra else {}
    elif get("format") in ("date-time", "time"):
        core["pattern"] = r"(Z|[+-]\d\d:\d\d)$"
    for name, field in fields.items():
        try:
            if not OLD and name not in get("required", []) and "default" not in field:
                raise ValueError("its default is lost: take one that JSON can hold")
            core["fields"][name] = {"type": "typed-dict-field", "schema": inner(field)}
        except ValueError as error:
            error.add_note(name)
            raise
    if get("nullable") and "oneOf" not in schema:
        core = {"type": "nullable", "schema": core}
    if "default" in schema and not OLD:
        text = json.dumps(schema["default"], separators=(",", ":"))
        if re.search(r'"(\s|\\[nrt])|(\s|\\[nrt])"|""|"\*+"', text):
            raise ValueError(f"it strips the default {text}: take another")
        SchemaValidator(core).validate_python(schema["default"])
    return core


def check_numbers(value: Any) -> None:
    """Refuse numbers that JavaScript changes, or that JSON cannot hold."""
    match value:
        case {**fields}:
            check_numbers([*fields.values()])
        case [*items]:
            for item in items:
                check_numbers(item)
        case int() if abs(value) > 2**53:
            raise ValueError(f"JavaScript changes {value}: take no more than 2^53")
        case float() if not math.isfinite(value):
            raise ValueError(f"JSON has no {value}: take a finite number, or None")
        case float() if str(value) == "-0.0":
            raise ValueError("JavaScript makes 0 of -0.0: take 0")


def name_version() -> str:
    """Return the text of the workflow, whose steps name the version of this package.

    A server imports no step with another one.
    """
    text = WORKFLOW.read_text(encoding="utf-8")
    pyproject = PROJECT / "pyproject.toml"
    project = tomllib.loads(pyproject.read_text(encoding="utf-8"))["project"]
    version = project.get("version") or metadata.version(project["name"])
    try:
        workflow = json.loads(text)
        steps = workflow.get("data", workflow)["task_list"]
        tasks = [step["task"] for step in steps]
        own = [task for task in tasks if task["pkg_name"] == project["name"]]
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        sys.exit(f"{WORKFLOW}: it is no workflow: {error!r}")
    if all(task.get("version") == version for task in own):
        return text
    for task in own:
        task["version"] = version
    return json.dumps(workflow, indent=2, ensure_ascii=False) + "\n"


def main() -> None:
    """Write the manifest and the versions in the workflow, or compare them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="only show what differs")
    check = parser.parse_args().check

    # fractal-task-tools logs each of its steps.
    logging.disable(logging.INFO)
    # Import the package that this file is part of, not another copy or its dev folder.
    sys.path[0] = str(PACKAGE.parent)
    files = {MANIFEST: create_manifest()}
    if WORKFLOW.exists():
        files[WORKFLOW] = name_version()
    outdated = []
    for file, new in files.items():
        old = file.read_text(encoding="utf-8") if file.exists() else ""
        if new == old:
            continue
        outdated.append(file.name)
        if not check:
            file.write_text(new, encoding="utf-8", newline="\n")
            continue
        texts = old.splitlines(True), new.splitlines(True)
        sys.stdout.writelines(difflib.unified_diff(*texts, "on disk", "from the tasks"))
    if check and outdated:
        verb = "is" if len(outdated) == 1 else "are"
        sys.exit(f"{', '.join(outdated)} {verb} out of date: run `nox -s manifest`.")


if __name__ == "__main__":
    main()
