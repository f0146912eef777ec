"""The forms of the tasks of a package, as Fractal's web interface will show them."""

# Jedison makes the forms: one file without dependencies, often released, under the MIT
# license. It knows tuples, dictionaries and models with a discriminator, lets a page have
# fields of its own, and styles nothing. json-editor is twice as large;
# react-jsonschema-form and JSON Forms need a framework and a build. What Jedison finds
# wrong is not asked: Ajv checks, in the version and with the settings of the real form. As
# neither it nor its formats come in one file, `bundle` makes one.

import html
import json
import re
import sys
from pathlib import Path
from typing import Any

from markdown_it import MarkdownIt

from ..project import project
from .npm import bundle, fetch

Schema = dict[str, Any]
# What Fractal sets itself.
RESERVED = {"zarr_url", "zarr_urls", "zarr_dir", "init_args"}
SCALARS = {"string", "number", "integer", "boolean"}
PARTS = {"non_parallel": "Initialisation Arguments", "parallel": "Compute Arguments"}
# Their versions, and the SHA-512 that npm has of them.
RELEASES = """
jedison 1.23.0 cH1WfrXgj72jT65yjKmiXTKgRF0A6CEpE3STy6AGDipn2uuE48mUzcaQQfJU4jlL+G+0+2mrK4XSNZVO2sq00g==
ajv 8.20.0 Thbli+OlOj+iMPYFBVBfJ3OmCAnaSyNn4M1vz9T6Gka5Jt9ba/HIR56joy65tY6kx/FCF5VXNB819Y7/GUrBGA==
ajv-formats 3.0.1 8iUql50EUR+uUcdRQ3HDqa6EVyo3docL8g5WJ3FNcWmu62IbkGUue/pEyLBW8VGKKucTPgqeks4fIU1DA4yowQ==
fast-deep-equal 3.1.3 f3qQ9oQy9j2AhBe/H9VC91wLmKBCCU/gDOnKNAYG5hswO7BLKj09Hc5HYNz9cGI++xlpDCIgDaitVs03ATR84Q==
fast-uri 3.1.9 hS/0Wt3Ya043oKXs0sIxrMpKQITXhMLIrVAKKXi4gozGC9v7YRWVnXIZzjNPTO02M9BdxLCWqK1yRXgNziVyJQ==
json-schema-traverse 1.0.0 NM8/P9n3XjXhIZn1lLhkFaACTOURQXjWhV4BA/RnOv8xvgqtqpAX9IO4mRQxSx1Rlo4tqzeqb0sOlruaOy3dug==
"""


# What a schema says.


def resolve(schema: Any, models: Schema) -> Any:
    """Put each model in the place of its name, as the real form does."""
    match schema:
        case {"$ref": str(ref), **rest}:
            if (name := ref.removeprefix("#/$defs/")) not in models:
                raise ValueError(f"the model {name} contains itself")
            others = {key: models[key] for key in models if key != name}
            return {**resolve(models[name], others), **resolve(rest, models)}
        case {"allOf": [dict(one)], **rest}:
            return {**resolve(rest, models), **resolve(one, models)}
        case dict():
            return {key: resolve(value, models) for key, value in schema.items()}
        case list():
            return [resolve(value, models) for value in schema]
    return schema


def arguments(schema: Schema) -> Schema:
    """Return the schema of what the user gives: without what Fractal sets, and models."""
    fields = schema.get("properties", {})
    fields = {name: field for name, field in fields.items() if name not in RESERVED}
    required = [name for name in schema.get("required", []) if name not in RESERVED]
    models = schema.get("$defs", {})
    rest = {key: value for key, value in schema.items() if key != "$defs"}
    found: Schema = resolve(rest | {"properties": fields, "required": required}, models)
    return found


def without_discriminators(schema: Any) -> Any:
    """Return a schema as Ajv gets it, in whose strict mode they are no keyword."""
    if isinstance(schema, dict):
        drop = "discriminator" if "oneOf" in schema else None
        rest = {key: value for key, value in schema.items() if key != drop}
        return {key: without_discriminators(value) for key, value in rest.items()}
    if isinstance(schema, list):
        return [without_discriminators(value) for value in schema]
    return schema


def is_optional(schema: Schema) -> bool:
    """Return whether None is the second of two options, as Pydantic writes it."""
    match schema:
        case {"anyOf": [_, {"type": "null"}]}:
            return True
    return False


def is_tuple(schema: Schema) -> bool:
    """Return whether an array has a fixed size."""
    return "prefixItems" in schema and schema.get("minItems") == schema.get("maxItems")


def branch_of(schema: Schema, value: Any) -> Schema | None:
    """Return the model among several that a value says it is of."""
    key = schema.get("discriminator", {}).get("propertyName")
    for branch in schema["oneOf"]:
        field = branch.get("properties", {}).get(key, {})
        if key in value and value[key] in [field.get("const"), *field.get("enum", [])]:
            found: Schema = branch
            return found
    return None


def initial(
    schema: Schema, value: Any = None, *, defaults: bool = True, required: bool = False
) -> Any:
    """Return what the real form sends of an argument that nobody touches.

    Args:
        schema: Schema of the argument, with its models.
        value: What is known of the value.
        defaults: Whether the defaults of the schema count. A default has none in it.
        required: Whether the argument is required.
    """
    if defaults and "default" in schema:
        default = schema["default"]
        if default is None:
            return None
        return initial(schema, default, defaults=False, required=required)
    if "oneOf" in schema:
        if not value or not isinstance(value, dict):
            return value or initial(schema["oneOf"][0])
        branch = branch_of(schema, value)
        return initial(branch, value, defaults=defaults) if branch else value
    if "anyOf" in schema:
        if not defaults and value is None and is_optional(schema):
            return None
        one = schema["anyOf"][0]
        return initial(one, value, defaults=defaults, required=required)
    if "const" in schema:
        return schema["const"]
    if "enum" in schema:
        return value or None  # it loses such as 0
    kind = str(schema.get("type"))
    container = {"object": dict, "array": list}.get(kind)
    if value and container and not isinstance(value, container):
        return value
    if kind == "object":
        value = value or {}
        fields: Schema = {**schema.get("properties", {})}
        if isinstance(extra := schema.get("additionalProperties"), dict):
            fields |= {key: extra for key in value if key not in fields}
        needed = schema.get("required", [])
        return value | {
            name: initial(
                field, value.get(name), defaults=defaults, required=name in needed
            )
            for name, field in fields.items()
        }
    if kind == "array":
        if is_tuple(schema):
            items, known = schema["prefixItems"], value or []
            known = [*known, *[None] * (len(items) - len(known))]
            return [
                initial(item, one, defaults=False) if value else None
                for one, item in zip(known, items, strict=False)
            ]
        missing = schema.get("minItems", 0) - len(value or [])
        values = [*(value or []), *[None] * (missing if required else 0)]
        items = schema.get("items", {})
        return [initial(items, v, defaults=defaults) for v in values]
    return value


# How the form shows it.

MARKDOWN = MarkdownIt("gfm-like", {"html": False})
# Else each module.py and pixel.size would be the address of a site.
MARKDOWN.linkify.set({"fuzzy_link": False, "fuzzy_email": False})  # type: ignore[union-attr]


def markdown(text: str | None) -> str:
    """Return a text as HTML in which Jedison sees no template."""
    found: str = MARKDOWN.render(text or "")
    return found.replace("{{", "{&#123;")


def shown(schema: Schema, title: str, *, required: bool = False) -> Schema:
    """Return the schema that makes Jedison show an argument as the real form does.

    Rules are left out: what is typed stays as it is, and Ajv says what is wrong. Each
    field has as its default what the real form begins with.
    """
    title = title if schema.get("title") is None else str(schema["title"])
    label = html.escape(title).replace("{{", "{&#123;")
    if required:
        label += ' <span class="required">required</span>'
    head: Schema = {"title": label, "description": markdown(schema.get("description"))}
    if is_optional(schema):
        rest = {k: v for k, v in schema.items() if k not in {"anyOf", "default"}}
        one = schema["anyOf"][0] | rest
        if schema.get("default") is not None:
            one["default"] = schema["default"]
        elif "oneOf" in one:
            raise ValueError("it stays empty if None is in the place of a model")
        if {"oneOf", "enum", "const"} & one.keys() or one.get("type") in SCALARS:
            # An empty field is None, and a model cannot become it.
            found = shown(one, title)
            return found | ({"default": initial(schema)} if "default" in found else {})
        none = head | {"type": "null", "x-switcherTitle": "not set"}
        options = [shown(one, title) | {"x-switcherTitle": "set"}, none]
        return head | {"anyOf": options, "x-switcherInput": "select-inline"}
    if "oneOf" in schema:
        key = schema.get("discriminator", {}).get("propertyName")
        if key is None:
            raise ValueError("it shows several models only with a discriminator")
        about = {"x-discriminator": key, "x-switcherInput": "select-inline"}
        return head | about | {"oneOf": [*map_branches(schema["oneOf"], key, head)]}
    kind = str(schema.get("type"))
    if kind not in {*SCALARS, "object", "array"} and "enum" not in schema:
        raise ValueError(
            "it shows one type, or this with None, or models to choose from"
        )
    found = head | {"default": initial(schema, required=required)}
    if "enum" in schema:
        blank = "default" not in schema
        return found | {"type": "string", "x-choices": schema["enum"], "x-blank": blank}
    if "const" in schema and kind == "string":
        return found | {"type": kind, "x-fixed": True}
    if kind == "boolean":
        return found | {"type": kind, "x-format": "checkbox"}
    if kind in SCALARS:
        return found | {"type": kind}
    if kind == "array":
        if "prefixItems" in schema and not is_tuple(schema):
            raise ValueError("a tuple has a fixed size")
        if is_tuple(schema):
            items = [
                shown(item, str(n)) for n, item in enumerate(schema["prefixItems"])
            ]
            fixed = {"x-arrayAdd": False, "x-arrayDelete": False, "x-arrayMove": False}
            return found | fixed | {"type": "array", "prefixItems": items}
        if schema.get("minItems", 0) == schema.get("maxItems"):
            raise ValueError("a list has no fixed size, a tuple has")
        item = shown(schema.get("items", {}), "Item")
        item["x-titleHidden"] = item.get("type") not in {"array", "object", None}
        size = {"maxItems": schema["maxItems"]} if "maxItems" in schema else {}
        return found | size | {"type": "array", "items": item}
    return found | fields_of(schema)


def map_branches(branches: list[Schema], key: str, head: Schema) -> list[Schema]:
    """Return how models are shown of which one is chosen by the value of a key."""
    found = []
    for branch in branches:
        one = shown(branch, "")
        field = branch["properties"][key]
        value = field["const"] if "const" in field else field["enum"][0]
        hidden = {"type": "string", "const": value, "default": value, "x-hidden": True}
        one["properties"][key] = hidden
        one["default"] = initial(branch) | {key: value}
        about = {"title": head["title"], "x-switcherTitle": str(value)}
        about["description"] = head["description"] or one["description"]
        found.append(one | about)
    return found


def fields_of(schema: Schema) -> Schema:
    """Return how the fields of a model, or of a dictionary, are shown."""
    fields, required = {}, schema.get("required", [])
    for name, field in schema.get("properties", {}).items():
        try:
            fields[name] = shown(field, name, required=name in required)
        except ValueError as error:
            error.add_note(name)
            raise
    found: Schema = {"type": "object", "properties": fields, "x-objectAdd": False}
    extra = schema.get("additionalProperties")
    if extra is True and {*(schema.get("default") or {})} - {*fields}:
        raise ValueError("it stays empty if a default has a value of any type")
    if isinstance(extra, dict):
        value = without_defaults(shown(extra, ""))
        del value["title"]  # the key takes its place
        found |= {"additionalProperties": value, "x-objectAdd": True}
        found["x-keys"] = initial(extra, extra.get("default"), defaults=False)
    return found


def without_defaults(field: Schema) -> Schema:
    """Return how a field is shown that begins with a value: Jedison prefers its defaults."""
    rest = {key: value for key, value in field.items() if key != "default"}
    if fields := rest.get("properties"):
        rest["properties"] = {key: without_defaults(fields[key]) for key in fields}
    return rest


def describe(manifest: Schema, package: str) -> Schema:
    """Return what the page has to know of a manifest."""
    tasks = []
    for task in manifest["task_list"]:
        parts = []
        for kind, title in PARTS.items():
            if not (schema := task.get(f"args_schema_{kind}")):
                continue
            part: Schema = {"key": f"args_{kind}", "title": title}
            try:
                adapted = arguments(schema)
                part["schema"] = without_discriminators(adapted)
                part["shown"] = fields_of(adapted)
                part["initial"] = initial(adapted)
            except ValueError as error:
                path = ".".join(reversed(getattr(error, "__notes__", [])))
                part["error"] = f"{path}: {error}" if path else str(error)
            parts.append(part)
        about = ("name", "type", "category", "modality", "input_types", "output_types")
        tasks.append(
            {key: task.get(key) for key in about}
            | {"tags": task.get("tags", []), "parts": parts}
            | {"docs": markdown(task.get("docs_info"))}
        )
    version = manifest.get("args_schema_version")
    return {"package": package, "version": version, "tasks": tasks}


# The libraries.


def libraries() -> str:
    """Return the scripts of the page, with their licenses."""
    texts, licenses = dict[str, str](), ""
    for line in RELEASES.strip().splitlines():
        name, version, integrity = line.split()
        texts |= fetch(name, version, integrity)
        licenses += f"{name} {version}\n{texts[f'{name}/LICENSE']}\n"
    scripts = [
        f"/*!\n{licenses.replace('*/', '* /')}\n*/",
        texts["jedison/dist/umd/jedison.umd.js"],
        bundle(texts, "ajv/dist/2020.js", "ajv-formats/dist/index.js"),
    ]
    text = "\n".join(scripts)
    # A script ends where it would end in HTML; and no map of it is there.
    text = re.sub("</(?=script)", r"<\\/", text, flags=re.IGNORECASE)
    return re.sub(r"(?m)^//# sourceMappingURL=.*$", "", text)


def make_page(manifest: Schema, package: str) -> str:
    """Return the page of all tasks of a manifest."""
    page = Path(__file__).with_suffix(".html").read_text("utf-8")
    data = json.dumps(describe(manifest, package), ensure_ascii=False)
    values = {
        "TITLE": html.escape(package),
        "LIBRARIES": libraries(),
        "DATA": data.replace("<", r"\u003c"),
    }
    return re.sub("@(TITLE|LIBRARIES|DATA)@", lambda found: values[found[1]], page)


def write_page(file: Path) -> None:
    """Write the page, and say where it is."""
    source = project().root / "__FRACTAL_MANIFEST__.json"
    try:
        manifest = json.loads(source.read_text("utf-8"))
    except (OSError, ValueError) as error:
        where = source.relative_to(project().folder)
        sys.exit(f"{where} cannot be read: {error}. `nox -s manifest` writes it")
    page = make_page(manifest, project().name)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(page, encoding="utf-8")
    print(f"The forms of {len(manifest['task_list'])} tasks: {file.resolve().as_uri()}")
