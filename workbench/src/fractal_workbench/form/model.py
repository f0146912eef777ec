"""What Fractal's web form can show of the JSON Schema of a task, and what it makes of it."""

import json
import math
import re
from functools import partial
from typing import Any

from fractal_task_tools import _create_manifest
from pydantic_core import SchemaValidator

from ..engine.rules import RESERVED_ARGUMENTS

Schema = dict[str, Any]
# Before fractal-task-tools 0.5, None has no place in a schema, and the form sends no blank.
OLD = _create_manifest.ARGS_SCHEMA_VERSION == "pydantic_v2"

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


def check_arguments(schema: Schema) -> None:
    """Reject arguments that fractal-task-tools accepts and the web form does not.

    Args:
        schema: The schema of all arguments of a task, but for those that Fractal sets.

    Raises:
        ValueError: With the argument in its notes, innermost first.
    """
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
