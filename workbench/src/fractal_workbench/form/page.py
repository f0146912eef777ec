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
from collections.abc import Iterator, Sequence
from pathlib import Path

from markdown_it import MarkdownIt

from ..engine import rules
from .model import Argument, Schema, inline, path_of, read_arguments
from .npm import bundle, fetch
from .source import find_package, find_packages

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


# How the form shows it.

MARKDOWN = MarkdownIt("gfm-like", {"html": False})
# Else each module.py and pixel.size would be the address of a site.
MARKDOWN.linkify.set({"fuzzy_link": False, "fuzzy_email": False})  # type: ignore[union-attr]


def markdown(text: str | None) -> str:
    """Convert Markdown to HTML, without templates of Jedison."""
    rendered: str = MARKDOWN.render(text or "")
    return rendered.replace("{{", "{&#123;")


def shown(argument: Argument, title: str, *, required: bool = False) -> Schema:
    """Return a schema with which Jedison shows an argument as the real form does.

    Rules are left out: what is typed stays as it is, and Ajv says what is wrong. Each
    field has as its default what the real form begins with.
    """
    argument.check_shown()
    schema, kind = argument.schema, argument.kind
    title = title if schema.get("title") is None else str(schema["title"])
    label = html.escape(title).replace("{{", "{&#123;")
    if required:
        label += ' <span class="required">required</span>'
    head: Schema = {"title": label, "description": markdown(schema.get("description"))}
    if argument.is_nullable:
        given = shown(argument.without_none(), title)
        if kind not in {"array", "tuple", "object"}:
            # An empty field is None, and a model cannot become it.
            start = {"default": argument.initial()} if "default" in given else {}
            return given | start
        none = head | {"type": "null", "x-switcherTitle": "not set"}
        options = [given | {"x-switcherTitle": "set"}, none]
        return head | {"anyOf": options, "x-switcherInput": "select-inline"}
    if kind == "models":
        key = argument.discriminator
        about = {"x-discriminator": key, "x-switcherInput": "select-inline"}
        return head | about | {"oneOf": [*map_models(argument, head)]}
    field = head | {"default": argument.initial(required=required)}
    match kind:
        case "choice":
            is_blank = "default" not in schema
            choices = {"x-choices": schema["enum"], "x-blank": is_blank}
            return field | {"type": "string"} | choices
        case "constant" if schema["type"] == "string":
            return field | {"type": "string", "x-fixed": True}
        case "object":
            return field | fields_of(argument)
        case "tuple":
            fixed = {"x-arrayAdd": False, "x-arrayDelete": False, "x-arrayMove": False}
            items = [shown(item, str(n)) for n, item in enumerate(argument.places)]
            return field | fixed | {"type": "array", "prefixItems": items}
        case "array":
            item = shown(argument.item, "Item")
            item["x-titleHidden"] = item.get("type") not in {"array", "object", None}
            size = {"maxItems": schema["maxItems"]} if "maxItems" in schema else {}
            return field | size | {"type": "array", "items": item}
    is_switch = schema["type"] == "boolean"
    return (
        field
        | {"type": schema["type"]}
        | ({"x-format": "checkbox"} if is_switch else {})
    )


def map_models(argument: Argument, head: Schema) -> Iterator[Schema]:
    """Yield how models are shown of which one is chosen by the value of a field."""
    key = argument.discriminator or ""
    for option in argument.options:
        model = shown(option, "")
        (value, *_) = option.fields[key].values
        hidden = {"type": "string", "const": value, "default": value, "x-hidden": True}
        model["properties"][key] = hidden
        model["default"] = option.initial() | {key: value}
        about = {"title": head["title"], "x-switcherTitle": str(value)}
        about["description"] = head["description"] or model["description"]
        yield model | about


def fields_of(argument: Argument) -> Schema:
    """Return how the fields of a model, or of a dictionary, are shown."""
    fields = {}
    for name, field in argument.fields.items():
        try:
            fields[name] = shown(field, name, required=name in argument.required)
        except ValueError as error:
            error.add_note(name)
            raise
    shown_fields: Schema = {
        "type": "object",
        "properties": fields,
        "x-objectAdd": False,
    }
    if extra := argument.extra:
        value = without_defaults(shown(extra, ""))
        del value["title"]  # the key takes its place
        shown_fields |= {"additionalProperties": value, "x-objectAdd": True}
        shown_fields["x-keys"] = extra.initial(
            extra.schema.get("default"), defaults=False
        )
    return shown_fields


def without_defaults(field: Schema) -> Schema:
    """Return the schema of a field with a value, without defaults: Jedison prefers them."""
    rest = {key: value for key, value in field.items() if key != "default"}
    if fields := rest.get("properties"):
        rest["properties"] = {key: without_defaults(fields[key]) for key in fields}
    return rest


def describe(
    packages: Sequence[rules.Package], workflow: Schema | None, offer: Schema | None
) -> Schema:
    """Return the data of the page about the tasks of packages."""
    tasks = []
    for package in packages:
        for task in package.manifest.task_list:
            about = {"name", "type", "category", "modality", "tags"}
            filters = {"input_types", "output_types"}
            named = task.name if len(packages) == 1 else f"{package.name}: {task.name}"
            tasks.append(
                task.model_dump(include=about | filters)
                | {"parts": [*map_parts(task)], "docs": markdown(task.docs_info)}
                | {"package": package.name, "package_version": package.version}
                | {"schema_version": package.manifest.args_schema_version}
                | {"key": named}
            )
    return {"tasks": tasks, "workflow": workflow, "offer": offer}


def map_parts(task: rules.Task) -> Iterator[Schema]:
    """Yield the forms of a task: of a compound one, those of both parts."""
    for kind, title in PARTS.items():
        if not (schema := getattr(task, f"args_schema_{kind}")):
            continue
        part: Schema = {"key": f"args_{kind}", "title": title}
        arguments = read_arguments(schema)
        try:
            part["shown"] = fields_of(arguments)
            part["initial"] = arguments.initial()
            part["schema"] = inline(arguments.schema, arguments.models)
        except ValueError as error:
            part["error"] = ": ".join(filter(None, [path_of(error), str(error)]))
        yield part


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


def make_page(
    packages: Sequence[rules.Package],
    workflow: Schema | None = None,
    offer: Schema | None = None,
) -> str:
    """Return the page of all tasks of packages.

    Args:
        packages: The packages.
        workflow: A workflow, whose steps are filled in.
        offer: Name and text of a file with a workflow, which a button of the page opens.
    """
    page = Path(__file__).with_suffix(".html").read_text("utf-8")
    data = json.dumps(describe(packages, workflow, offer), ensure_ascii=False)
    values = {
        "TITLE": html.escape(", ".join(package.name for package in packages)),
        "LIBRARIES": libraries(),
        "DATA": data.replace("<", r"\u003c"),
    }
    return re.sub("@(TITLE|LIBRARIES|DATA)@", lambda name: values[name[1]], page)


def write_page(
    file: Path, requirements: Sequence[str], workflow_file: Path | None = None
) -> None:
    """Write the page of some packages, and print its path.

    Args:
        file: The page.
        requirements: Which packages, as pip takes them, if not the one in the current
            folder. The page of that one offers its `workflow.json`.
        workflow_file: A workflow, whose steps are filled in. Its packages are on the page.
    """
    workflow: Schema | None = None
    offer: Schema | None = None
    requested = [find_package(name) for name in requirements]
    if workflow_file:
        read = rules.read_job(workflow=workflow_file).workflow
        workflow = read.model_dump(exclude_unset=True)
        requested += find_packages(read.task_list, requested)
    packages = requested or [find_package()]
    own = packages[0].root / "workflow.json"
    if not requested and own.is_file():
        offer = {"name": own.name, "text": own.read_bytes().decode("utf-8", "replace")}
    page = make_page(packages, workflow, offer)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(page, encoding="utf-8")
    number = sum(len(package.manifest.task_list) for package in packages)
    tasks = rules.count_of(number, "task")
    print(f"The forms of {tasks}: {file.resolve().as_uri()}")
