"""Arguments are read from schemas of any package, also from odd ones."""

from typing import Any

import pytest

from fractal_workbench.form.model import Argument, read_arguments

CHANNEL = {
    "type": "object",
    "title": "Channel",
    "properties": {"label": {"type": "string"}, "index": {"type": "integer"}},
    "required": ["label"],
}
FLUORESCENCE = {
    "type": "object",
    "properties": {"label": {"type": "string"}, "index": {"type": "integer"}},
    "required": ["index"],
}


def read(schema: dict[str, Any], **models: Any) -> Argument:
    """Return the argument `x` of a task."""
    properties = {"zarr_url": {"type": "string"}, "x": schema}
    about = {"type": "object", "properties": properties, "required": ["zarr_url", "x"]}
    return read_arguments(about | {"$defs": models}).fields["x"]


def test_arguments_that_fractal_sets_are_left_out() -> None:
    properties = {"zarr_url": {"type": "string"}, "x": {"type": "integer"}}
    schema = {"properties": properties, "required": ["zarr_url", "x"]}
    arguments = read_arguments(schema)
    assert arguments.fields.keys() == arguments.required == {"x"}
    assert [*arguments.find_mistakes({"x": 1})] == []
    assert read_arguments(None).fields == {}


def test_models_are_found_by_their_old_and_new_places() -> None:
    for place in ("definitions", "$defs"):
        reference = {"$ref": f"#/{place}/Channel"}
        for schema in (reference, {"allOf": [reference], "title": "X"}):
            about = {"properties": {"x": schema}, place: {"Channel": CHANNEL}}
            argument = read_arguments(about).fields["x"]
            assert argument.schema["title"] == "Channel"
            assert argument.initial() == {"label": None, "index": None}
            (mistake,) = read_arguments(about).find_mistakes({"x": {"label": 1}})
            assert mistake == ("x.label", "1 is not of type 'string'")


@pytest.mark.parametrize(
    "model",
    [
        {"$ref": "#/$defs/A"},
        {"allOf": [{"$ref": "#/$defs/A"}]},
        {"type": "array", "items": {"$ref": "#/$defs/A"}},
        {"type": "object", "properties": {"a": {"$ref": "#/$defs/A"}}},
    ],
    ids=["itself", "all-of", "list", "field"],
)
def test_a_model_that_contains_itself_ends_nowhere_but_in_the_form(
    model: dict[str, Any],
) -> None:
    argument = read({"$ref": "#/$defs/A"}, A=model)
    assert argument.drop_nulls({"a": {"a": None}})
    items = [argument.item] if argument.kind == "array" else []
    parts = [argument, *items, *argument.fields.values()]
    with pytest.raises(ValueError, match="the model A contains itself"):
        [part.check_shown() for part in parts]


def test_nulls_are_dropped_by_the_model_that_a_value_can_be() -> None:
    models = {"A": CHANNEL, "B": FLUORESCENCE}
    both = {"anyOf": [{"$ref": "#/$defs/A"}, {"$ref": "#/$defs/B"}]}
    optional = {"type": "array", "items": {"$ref": "#/$defs/A"}}
    argument = read(both, **models)
    assert argument.drop_nulls({"label": None, "index": 1}) == {"index": 1}
    assert argument.drop_nulls({"label": "a", "index": None}) == {"label": "a"}
    argument = read({"anyOf": [optional, {"type": "null"}]}, **models)
    assert argument.drop_nulls([{"label": "a", "index": None}]) == [{"label": "a"}]
    assert argument.drop_nulls(None) is None
    # One that needs what is missing is not meant: there, None has a place.
    needy = {
        "type": "object",
        "properties": {"a": {"type": ["integer", "null"]}, "b": {"type": "integer"}},
        "required": ["b"],
    }
    lenient = {"type": "object", "properties": {"a": {"type": "integer"}}}
    argument = read({"anyOf": [needy, lenient]})
    assert argument.drop_nulls({"a": None}) == {}


def test_a_mistake_in_an_optional_value_is_that_of_the_value() -> None:
    number = {"type": "number", "exclusiveMinimum": 0}
    arguments = read_arguments(
        {"properties": {"x": {"anyOf": [number, {"type": "null"}]}}}
    )
    (mistake,) = arguments.find_mistakes({"x": -1})
    assert mistake == ("x", "-1 is less than or equal to the minimum of 0")
    assert [*arguments.fields["x"].find_mistakes(None)] == []
    ((place, _),) = arguments.fields["x"].find_mistakes("a")
    assert place == ""
