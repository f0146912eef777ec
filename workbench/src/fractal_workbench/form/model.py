"""The arguments of a task as Fractal's web form sees them.

One model, for the check of a manifest, the page of forms, and the checks of a workflow.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

Schema = dict[str, Any]

# What Fractal sets itself.
RESERVED_ARGUMENTS = frozenset({"zarr_url", "zarr_urls", "zarr_dir", "init_args"})
SCALARS = frozenset({"string", "number", "integer", "boolean"})


def read_arguments(schema: Schema | None) -> "Argument":
    """Return the arguments of a part of a task as one object, without the reserved ones.

    Args:
        schema: What the manifest says of the part; None if it says nothing.
    """
    schema = schema or {}
    fields = schema.get("properties", {})
    fields = {k: v for k, v in fields.items() if k not in RESERVED_ARGUMENTS}
    needed = [k for k in schema.get("required", []) if k not in RESERVED_ARGUMENTS]
    models = schema.get("definitions", {}) | schema.get("$defs", {})
    return read(schema | {"properties": fields, "required": needed}, models)


def read(schema: Any, models: Schema, parents: tuple[str, ...] = ()) -> "Argument":
    """Return the argument that a schema describes."""
    schema, parents = _follow(schema, models, parents)
    match schema.get("anyOf"):
        case [option, {"type": "null"}]:
            inner, parents = _follow(option, models, parents)
            rest = {key: value for key, value in schema.items() if key != "anyOf"}
            return Argument(inner | rest, models, parents, is_nullable=True)
    return Argument(schema, models, parents)


def _follow(
    schema: Any, models: Schema, parents: tuple[str, ...]
) -> tuple[Schema, tuple[str, ...]]:
    """Return a schema with its model in the place of its name, and the models around it."""
    seen = len(parents)
    beneath: Schema = {}
    while isinstance(schema, dict):
        match schema:
            case {"$ref": str(ref), **rest}:
                name = ref.rpartition("/")[2]
                if name in parents[seen:]:
                    return {}, (*parents, name)
                parents = (*parents, name)
                model = models.get(name)
                schema = (model if isinstance(model, dict) else {}) | rest
            case {"allOf": [dict(option)], **rest}:
                beneath |= rest  # what the model says comes first, as in the form
                schema = option
            case _:
                return beneath | schema, parents
    return {}, parents


def path_of(error: BaseException) -> str:
    """Return the path of the argument that an error is about, by the notes on its way."""
    return ".".join(reversed(getattr(error, "__notes__", [])))


def inline(schema: Any, models: Schema, parents: tuple[str, ...] = ()) -> Any:
    """Return a schema as the web form gives it to Ajv: without names of models.

    Discriminators are left out, which are no keyword in its strict mode.

    Raises:
        ValueError: A model contains itself.
    """
    if isinstance(schema, list):
        return [inline(item, models, parents) for item in schema]
    if not isinstance(schema, dict):
        return schema
    schema, parents = _follow(schema, models, parents)
    _check_parents(parents)
    left_out = {"$defs", "discriminator" if "oneOf" in schema else "$defs"}
    kept = {key: value for key, value in schema.items() if key not in left_out}
    return {key: inline(value, models, parents) for key, value in kept.items()}


def _check_parents(parents: tuple[str, ...]) -> None:
    if len({*parents}) < len(parents):
        raise ValueError(f"the model {parents[-1]} contains itself")


@dataclass(frozen=True)
class Argument:
    """An argument, a part of one, or all arguments of a task.

    Attributes:
        schema: Its JSON Schema, with its model in place.
        models: The models of the task, by name.
        parents: The names of the models that it is, or is a part of.
        is_nullable: Whether it may also be None.
    """

    schema: Schema
    models: Schema
    parents: tuple[str, ...] = ()
    is_nullable: bool = False

    @property
    def kind(self) -> str:
        """How the form shows it: `models`, `choice`, `constant`, `tuple` or a type of JSON.

        It is empty if the form cannot tell.
        """
        schema = self.schema
        if "oneOf" in schema:
            return "models"
        if "enum" in schema:
            return "choice"
        kind = str(schema.get("type"))
        if kind == "array" and "prefixItems" in schema:
            return "tuple"
        if kind not in {*SCALARS, "object", "array"}:
            return ""
        return "constant" if "const" in schema else kind

    @cached_property
    def fields(self) -> dict[str, "Argument"]:
        """The fields of a model, or all arguments."""
        fields = self.schema.get("properties", {})
        return {name: self._read(field) for name, field in fields.items()}

    @property
    def required(self) -> set[str]:
        """The names of the fields that have to be given."""
        return {*self.schema.get("required", [])}

    @cached_property
    def options(self) -> list["Argument"]:
        """The models, or types, of which it is one."""
        names = ("anyOf", "oneOf")
        return [self._read(option) for n in names for option in self.schema.get(n, [])]

    @cached_property
    def places(self) -> list["Argument"]:
        """The items of a tuple."""
        return [self._read(item) for item in self.schema.get("prefixItems", [])]

    @cached_property
    def item(self) -> "Argument":
        """Any item of a list."""
        return self._read(self.schema.get("items"))

    @cached_property
    def extra(self) -> "Argument | None":
        """Any value of a dictionary, if its type is known."""
        extra = self.schema.get("additionalProperties")
        return self._read(extra) if isinstance(extra, dict) else None

    @property
    def values(self) -> list[Any]:
        """The values that it may have, if its schema lists them."""
        schema = self.schema
        return [schema["const"]] if "const" in schema else schema.get("enum", [])

    @property
    def discriminator(self) -> str | None:
        """The field whose value says which of several models it is."""
        name = self.schema.get("discriminator", {}).get("propertyName")
        return name if isinstance(name, str) else None

    @property
    def takes_null(self) -> bool:
        """Whether None is one of its values."""
        if self.is_nullable:
            return True
        if self.options:
            return any(option.takes_null for option in self.options)
        if self.values:
            return None in self.values
        kind = self.schema.get("type", "null")
        return "null" in (kind if isinstance(kind, list) else [kind])

    def _read(self, schema: Any) -> "Argument":
        return read(schema, self.models, self.parents)

    def without_none(self) -> "Argument":
        """Return what it is when it is not None."""
        schema = {**self.schema}
        if schema.get("default") is None:
            schema.pop("default", None)
        return replace(self, schema=schema, is_nullable=False)

    # What the form does.

    def check_shown(self) -> None:
        """Reject what the web form cannot show; its parts are not looked at.

        Raises:
            ValueError: With what to do instead.
        """
        schema, kind = self.schema, self.kind
        _check_parents(self.parents)
        if not kind or (kind == "models" and not self.discriminator):
            raise ValueError(
                "take one type, or with None, or models with a discriminator"
            )
        if kind == "models" and self.is_nullable and schema.get("default") is None:
            raise ValueError("it stays empty if None is in the place of a model")
        least, most = schema.get("minItems"), schema.get("maxItems")
        is_odd = least == most and least is not None
        if kind == "tuple":
            is_odd = {least, most} != {len(self.places)}
        if is_odd:
            raise ValueError("a tuple has a fixed size, a list has not: take a model")
        is_open = schema.get("additionalProperties") is True
        if is_open and {*(schema.get("default") or {})} - {*self.fields}:
            raise ValueError(
                "it stays empty if a default has a value of any type: take `dict[str, float]`"
            )

    def initial(
        self, value: Any = None, *, defaults: bool = True, required: bool = False
    ) -> Any:
        """Return what the web form sends if nobody touches it.

        Args:
            value: What is known of the value.
            defaults: Whether the defaults of the schema count. A default has none in it.
            required: Whether the argument is required.
        """
        schema, kind = self.schema, self.kind
        if defaults and "default" in schema:
            if schema["default"] is None:
                return None
            return self.initial(schema["default"], defaults=False, required=required)
        if self.is_nullable and not defaults and value is None:
            return None
        if kind == "models":
            if not value or not isinstance(value, dict):
                return value or self.options[0].initial()
            model = self.find_model(value)
            return model.initial(value, defaults=defaults) if model else value
        if "const" in schema:
            return schema["const"]
        if kind == "choice":
            return value or None  # it loses such as 0
        container = {"object": dict, "array": list, "tuple": list}.get(kind)
        if container is None or (value and not isinstance(value, container)):
            return value
        if kind == "object":
            return self._initial_fields(value or {}, defaults=defaults)
        if kind == "tuple":
            known = [*(value or []), *[None] * len(self.places)]
            return [
                place.initial(item, defaults=False) if value else None
                for item, place in zip(known, self.places, strict=False)
            ]
        missing = schema.get("minItems", 0) - len(value or []) if required else 0
        values = [*(value or []), *[None] * missing]
        return [self.item.initial(item, defaults=defaults) for item in values]

    def _initial_fields(self, value: Schema, *, defaults: bool) -> Schema:
        fields = {**self.fields}
        if self.extra:
            fields |= {key: self.extra for key in value if key not in fields}
        return value | {
            name: field.initial(
                value.get(name), defaults=defaults, required=name in self.required
            )
            for name, field in fields.items()
        }

    def find_model(self, value: Schema) -> "Argument | None":
        """Return the one of several models that a value says it is of."""
        key = self.discriminator
        for option in self.options:
            field = option.fields.get(key or "")
            if field and key in value and value[key] in field.values:
                return option
        return None

    # What a workflow says.

    def drop_nulls(self, value: Any) -> Any:
        """Return a value without the fields that are None and may not be.

        Fractal's web interface writes null for each optional argument that is empty.
        """
        if isinstance(value, list):
            items = [*self.places, *[self.item] * len(value)]
            pairs = zip(value, items, strict=False)
            return [item.drop_nulls(given) for given, item in pairs]
        if not isinstance(value, dict):
            return value
        options = (option for option in self.options if option._may_be(value))
        model = next(options, self)
        return {
            key: field.drop_nulls(given) if field else given
            for key, given in value.items()
            if (field := model.fields.get(key, model.extra)) is None
            or given is not None
            or key not in model.fields
            or field.takes_null
        }

    def _may_be(self, value: Schema) -> bool:
        """Return whether an object is of this one among several models."""
        given = {key: item for key, item in value.items() if item is not None}
        if not self.required <= given.keys():
            return False
        if not self.fields.keys() >= given.keys():
            return bool(self.schema.get("additionalProperties", not self.fields))
        values = {key: self.fields[key].values for key in given}
        return all(given[key] in listed for key, listed in values.items() if listed)

    def find_mistakes(self, value: Any, **formats: Any) -> Iterator[tuple[str, str]]:
        """Yield where a value breaks the schema, and how.

        Args:
            value: The value.
            **formats: `format_checker`, if the formats of texts count.
        """
        from jsonschema import Draft202012Validator  # which takes a while
        from jsonschema.exceptions import best_match

        if value is None and self.is_nullable:
            return
        models = {"$defs": self.models, "definitions": self.models}
        validator = Draft202012Validator(self.schema | models, **formats)
        errors = validator.iter_errors(value)
        for error in sorted(errors, key=lambda error: error.json_path):
            closest = best_match([error])
            yield ".".join(map(str, closest.absolute_path)), closest.message
