"""Workflows that `run_workflow` and fractal-server must judge alike: the cases, as data.

A step is a task and what each of its units answers: `{zarr_url: answer}`, or one answer
for all. `fails` says what both must do; the test compares the image lists.
"""

import json
from dataclasses import dataclass, field
from typing import Any

DIR = "/zarr"
A, B, C, D = "/zarr/a", "/zarr/b", "/zarr/c", "/zarr/d"

Answer = dict[str, Any]
CRASH: Answer = {"exit": 1}
NOTHING: Answer = {}


@dataclass
class Case:
    name: str
    steps: list[dict[str, Any]]
    images: list[dict[str, Any]] = field(default_factory=list)
    fails: bool = False
    zarr_dir: str = DIR
    type_filters: dict[str, Any] = field(default_factory=dict)
    attribute_filters: dict[str, Any] = field(default_factory=dict)
    # What else stands in the workflow, and in the manifest.
    workflow: dict[str, Any] = field(default_factory=dict)
    manifest: dict[str, Any] = field(default_factory=dict)


def text(output: str) -> Answer:
    """A unit that writes this text."""
    return {"text": output}


def out(*updates: Any, remove: Any = ()) -> Answer:
    """A unit that writes image list updates and removals."""
    return js({"image_list_updates": [*updates], "image_list_removals": [*remove]})


def js(output: Any) -> Answer:
    return text(json.dumps(output))


def echo(url: str) -> Answer:
    """A unit that makes an image of which an attribute is what the unit was given."""
    return {"echo": url}


def units(*items: Any) -> Answer:
    """An init function that writes a parallelization list."""
    return js({"parallelization_list": [*items]})


def up(zarr_url: Any, **rest: Any) -> dict[str, Any]:
    return {"zarr_url": zarr_url, **rest}


def image(zarr_url: str, attributes: Any = (), **types: bool) -> dict[str, Any]:
    return {"zarr_url": zarr_url, "attributes": dict(attributes), "types": types}


def step(
    type_: str | None, answers: Any = None, init: Any = None, **fields: Any
) -> dict[str, Any]:
    """A task in the manifest together with a step of the workflow."""
    return {"type": type_, "answers": answers, "init": init, **fields}


def parallel(answers: Any, **fields: Any) -> dict[str, Any]:
    return step("parallel", answers, **fields)


def non_parallel(answer: Answer, **fields: Any) -> dict[str, Any]:
    return step("non_parallel", init=answer, **fields)


def compound(init: Answer, answers: Any = NOTHING, **fields: Any) -> dict[str, Any]:
    return step("compound", answers, init, **fields)


def converter(answer: Answer, **fields: Any) -> dict[str, Any]:
    return step("converter_non_parallel", init=answer, **fields)


def converter_compound(
    init: Answer, answers: Any = NOTHING, **fields: Any
) -> dict[str, Any]:
    return step("converter_compound", answers, init, **fields)


# A line for each case, however long.
# fmt: off

AB = [image(A, {"well": "A1"}), image(B, {"well": "B1"})]
MIXED = [image(A, {"n": 1}, is_3D=True), image(B, {"n": 2}, is_3D=False), image(C)]

# What one unit of a parallel task may answer, on the images A and B: all of it for A.

GOOD_ANSWERS = {
    "nothing": NOTHING,
    "null": text("null"),
    "an empty object": js({}),
    "empty lists": out(),
    "its image": out(up(A)),
    "its image, as its own origin": out(up(A, origin=A)),
    "a null origin": out(up(A, origin=None)),
    "attributes of each kind": out(up(A, attributes={"i": 1, "f": 0.5, "s": "x", "b": True})),
    "a changed attribute": out(up(A, attributes={"well": "C3"})),
    "a deleted attribute": out(up(A, attributes={"well": None})),
    "the deletion of an unknown attribute": out(up(A, attributes={"other": None})),
    "blanks around names": out(up(A, attributes={" well ": 1}, types={" t ": True})),
    "types": out(up(A, types={"t": True, "f": False})),
    "lax types": out(up(A, types={"a": "yes", "b": 0, "c": 1.0, "d": "off"})),
    "unknown keys in an item": out(up(A, path="x", attributes={"a": 1})),
    "slashes and blanks around a URL": out(up(f"  {A}// ")),
    "a new image": out(up(C)),
    "a new image with origin": out(up(C, origin=A)),
    "a new image with origin, attributes and types": out(up(C, origin=A, attributes={"well": None, "n": 1}, types={"t": True})),
    "a new image of unknown origin": out(up(C, origin=D, attributes={"n": 1})),
    "a chain of origins": out(up(C, origin=A, types={"t": True}), up(D, origin=C)),
    "an update of a new image's origin first": out(up(A, types={"t": True}), up(C, origin=A)),
    "a known image from another origin": out(up(A, origin=B, attributes={"n": 1})),
    "a known image from an unknown origin": out(up(A, origin=D)),
    "another image": out(up(B, attributes={"n": 1})),
    "the same item twice": out(up(A, types={"t": True}), up(A, types={"t": True})),
    "the same item, written in two ways": out(up(A), up(f"{A}/", attributes={})),
    "items that Python finds equal": out(up(A, attributes={"n": 1}), up(A, attributes={"n": 1.0})),
    "a removal": out(remove=[A]),
    "a removal, twice": out(remove=[A, f"{A}/"]),
    "a removal of the other image": out(remove=[B]),
    "an update and a removal": out(up(A, types={"t": True}), remove=[B]),
    "an image beside zarr_dir": out(up(f"{DIR}_sibling/a")),
    "an image outside the list, deep in zarr_dir": out(up(f"{DIR}/plate.zarr/B/03/0")),
    "text that looks like a number": out(up(A, attributes={"n": "1", "e": "1e3"})),
    "big and small numbers": out(up(A, attributes={"n": 2**70, "m": -1, "x": 1e-300})),
    "other scripts": out(up(f"{DIR}/\u56fe\u50cf", attributes={"\u00fc": "\U0001f52c"})),
    "a backslash u0000 that is no NUL": out(up(A, attributes={"n": "\\u0000"})),
}

BAD_ANSWERS = {
    "a crash": CRASH,
    "a crash after its output": {"exit": 3, **out(up(A, types={"t": True}))},
    "no JSON": text("{'a': 1}"),
    "an empty file": text(""),
    "half an object": text('{"image_list_updates": ['),
    "a list": js([]),
    "a number": js(1),
    "a text": js("done"),
    "the old filters": js({"filters": {"types": {"t": True}}}),
    "the old filters beside an update": js({"image_list_updates": [up(A)], "filters": {}}),
    "an unknown key": js({"image_list_update": [up(A)]}),
    "updates as an object": js({"image_list_updates": up(A)}),
    "updates null": js({"image_list_updates": None}),
    "removals null": js({"image_list_removals": None}),
    "an update that is a URL": js({"image_list_updates": [A]}),
    "an update without URL": out({"attributes": {"n": 1}}),
    "a null URL": out(up(None)),
    "an empty URL": out(up("")),
    "a blank URL": out(up("  ")),
    "a relative URL": out(up("zarr/a")),
    "a URL with dots": out(up(f"{DIR}/../zarr/a")),
    "a URL that is not local": out(up("https://zarr/a")),
    "an empty origin": out(up(A, origin="")),
    "a relative origin": out(up(A, origin="a")),
    "null attributes": out(up(A, attributes=None)),
    "a list as attribute": out(up(A, attributes={"n": [1]})),
    "an object as attribute": out(up(A, attributes={"n": {}})),
    "an empty name": out(up(A, attributes={" ": 1})),
    "a name twice, but for blanks": out(up(A, attributes={"n": 1, "n ": 2})),
    "null types": out(up(A, types=None)),
    "a null type": out(up(A, types={"t": None})),
    "a type that is no boolean": out(up(A, types={"t": "maybe"})),
    "a type of 2": out(up(A, types={"t": 2})),
    "a relative removal": out(remove=["a"]),
    "a removal of an unknown image": out(remove=[D]),
    "a removal with an update of another": out(up(B, types={"t": True}), remove=[D]),
    "an update and a removal of one image": out(up(A), remove=[A]),
    "two contents for one image": out(up(A, types={"t": True}), up(A)),
    "a new image, then removed": out(up(C), remove=[C]),
    "a new image outside zarr_dir": out(up("/elsewhere/a")),
    "a new image equal to zarr_dir": out(up(DIR)),
    "NaN": text(f'{{"image_list_updates": [{{"zarr_url": "{A}", "attributes": {{"n": NaN}}}}]}}'),
    "infinity": out(up(A, attributes={"n": float("inf")})),
    "NUL in an attribute": out(up(A, attributes={"n": "a\0b"})),
    "NUL in a name": out(up(A, types={"a\0b": True})),
    "NUL in a new URL": out(up(f"{DIR}/a\0b")),
}

CASES = [
    *(Case(f"parallel, one unit answers {name}", [parallel({A: answer})], AB, fails=fails) for answers, fails in ((GOOD_ANSWERS, False), (BAD_ANSWERS, True)) for name, answer in answers.items()),
    *(Case(f"parallel, {name} beside a good unit", [parallel({A: BAD_ANSWERS[name], B: out(up(B, types={"good": True}))})], AB, fails=True) for name in BAD_ANSWERS),
    *(
        Case(f"{type_}, {name}", [step(type_, init=answer)], AB, fails=fails)
        for type_ in ("non_parallel", "converter_non_parallel")
        for answers, fails in ((GOOD_ANSWERS, False), (BAD_ANSWERS, True))
        for name, answer in answers.items()
    ),
    *(
        Case(f"{type_}, a compute unit answers {name}", [step(type_, answer, units(up(A, init_args={"n": 1})))], AB, fails=fails)
        for type_ in ("compound", "converter_compound")
        for answers, fails in ((GOOD_ANSWERS, False), (BAD_ANSWERS, True))
        for name, answer in answers.items()
    ),
]

# Workflows: filters, several units and tasks, compound tasks, and mistakes in the files.

T = {"t": True}
CASES += [
    # An empty output means something else if it is not alone.
    Case("all units are empty", [parallel(NOTHING, output_types=T)], AB),
    Case("some units are empty", [parallel({A: NOTHING, B: out(up(B))}, output_types=T)], AB),
    Case("the others are empty", [parallel({A: CRASH}, output_types=T)], AB, fails=True),
    Case("all units crash", [parallel(CRASH, output_types=T)], AB, fails=True),
    Case("non_parallel, empty", [non_parallel(NOTHING, output_types=T)], AB),
    Case("converter, empty", [converter(NOTHING, output_types=T)], AB),
    Case("compound, all empty", [compound(units(up(A), up(B)), output_types=T)], AB),
    Case("converter_compound, all empty", [converter_compound(units(up(A)), output_types=T)], AB),
    # Several units.
    Case("units agree", [parallel(out(up(A, types=T)))], AB),
    Case("units contradict", [parallel({A: out(up(C)), B: out(up(C, origin=B))})], AB, fails=True),
    Case("units remove each other", [parallel({A: out(remove=[B]), B: out(remove=[A])})], AB),
    Case("one updates, one removes", [parallel({A: out(up(B)), B: out(remove=[B])})], AB, fails=True),
    Case("a new image from another unit's", [parallel({A: out(up(C, origin=D)), B: out(up(D))})], AB),
    Case("order of units", [parallel({B: out(up(C)), A: out(up(D))})], AB),
    # Types.
    Case("output_types win", [parallel(out(up(A, types={"t": False})), output_types=T)], AB),
    Case("output_types of False", [parallel(NOTHING, output_types={"t": False})], AB),
    Case("output_types on a new image", [parallel({A: out(up(C, origin=A))}, output_types=T)], AB),
    Case("removals and output_types", [parallel({A: out(remove=[A])}, output_types=T)], AB),
    # Filters.
    Case("input_types", [parallel(NOTHING, input_types={"is_3D": True}, output_types=T)], MIXED),
    Case("a missing type is False", [parallel(NOTHING, input_types={"is_3D": False}, output_types=T)], MIXED),
    Case("type filters of a step", [parallel(NOTHING, type_filters={"is_3D": True}, output_types=T)], MIXED),
    Case("input_types and type filters agree", [parallel(NOTHING, input_types={"is_3D": True}, type_filters={"is_3D": True}, output_types=T)], MIXED),
    Case("input_types and type filters differ", [parallel(NOTHING, input_types={"is_3D": True}, type_filters={"is_3D": False})], MIXED, fails=True),
    Case("type filters of the job", [parallel(NOTHING, output_types=T)], MIXED, type_filters={"is_3D": True}),
    Case("a step overrules the job", [parallel(NOTHING, type_filters={"is_3D": True}, output_types=T)], MIXED, type_filters={"is_3D": False}),
    Case("input_types overrule the job", [parallel(NOTHING, input_types={"is_3D": False}, output_types=T)], MIXED, type_filters={"is_3D": True}),
    Case("nothing passes", [parallel(NOTHING, input_types={"never": True})], MIXED, fails=True),
    Case("lax type filters", [parallel(NOTHING, type_filters={"is_3D ": "yes"}, output_types=T)], MIXED),
    Case("null type filters", [parallel(NOTHING, type_filters=None, output_types=T)], MIXED),
    Case("type filter that is no boolean", [parallel(NOTHING, type_filters={"t": "x"})], MIXED, fails=True),
    Case("attribute filters", [parallel(NOTHING, output_types=T)], MIXED, attribute_filters={"n": [1, 3]}),
    Case("attribute filters with a space", [parallel(NOTHING, output_types=T)], MIXED, attribute_filters={"n ": [1, 3]}),
    Case("attribute filters exclude all", [parallel(NOTHING)], MIXED, attribute_filters={"n": [3]}, fails=True),
    Case("attribute filters: no such attribute", [parallel(NOTHING)], MIXED, attribute_filters={"m": [3]}, fails=True),
    Case("attribute filters: 1 and 1.0", [parallel(NOTHING, output_types=T)], MIXED, attribute_filters={"n": [1.0]}),
    Case("attribute filters: True and 1", [parallel(NOTHING, output_types=T)], MIXED, attribute_filters={"n": [True]}),
    Case("attribute filters: text and 1", [parallel(NOTHING)], MIXED, attribute_filters={"n": ["1"]}, fails=True),
    Case("attribute filters: empty", [parallel(NOTHING)], MIXED, attribute_filters={"n": []}, fails=True),
    Case("attribute filters: two types", [parallel(NOTHING)], MIXED, attribute_filters={"n": [1, "1"]}, fails=True),
    Case("attribute filters: no list", [parallel(NOTHING)], MIXED, attribute_filters={"n": 1}, fails=True),
    Case("filters do not stop converters", [converter(out(up(D)), input_types={"never": True})], MIXED, attribute_filters={"n": [9]}),
    Case("filters reach non_parallel", [non_parallel(NOTHING, input_types={"is_3D": True}, output_types=T)], MIXED),
    Case("filters reach compound", [compound(units(), input_types={"is_3D": True}, output_types=T)], MIXED),
    Case("compound: nothing passes", [compound(units(up(A)), input_types={"never": True})], MIXED, fails=True),
    Case("non_parallel on no images", [non_parallel(NOTHING)], fails=True),
    Case("parallel on no images", [parallel(NOTHING)], fails=True),
    # From task to task.
    Case("output_types carry on", [parallel({A: out(up(C, origin=A)), B: out(up(D, origin=B))}, output_types=T), parallel(NOTHING, output_types={"u": True})], AB),
    Case("output_types of a converter carry on", [converter(out(up(C)), output_types=T), parallel(NOTHING, output_types={"u": True})], AB),
    Case("images without output_types drop out", [parallel({A: out(up(A))}, output_types=T), parallel(NOTHING, output_types={"u": True})], AB),
    Case("all images drop out", [parallel({A: out(remove=[A]), B: out(remove=[B])}, output_types=T), parallel(NOTHING)], AB, fails=True),
    Case("type filters of a step do not carry on", [parallel(NOTHING, type_filters={"is_3D": True}), parallel(NOTHING, output_types=T)], MIXED),
    Case("input_types do not carry on", [parallel(NOTHING, input_types={"is_3D": True}), parallel(NOTHING, output_types=T)], MIXED),
    Case("later output_types overrule", [parallel(NOTHING, output_types=T), parallel(NOTHING, output_types={"t": False}), parallel(NOTHING, output_types={"u": True})], AB),
    Case("failed second task", [parallel(NOTHING, output_types=T), parallel({A: CRASH, B: out(up(C))})], AB, fails=True),
    Case("lost second task", [parallel(NOTHING, output_types=T), parallel({A: js([]), B: out(up(C))})], AB, fails=True),
    Case("a third task is not run", [parallel({A: CRASH}), parallel(NOTHING, output_types=T)], AB, fails=True),
    Case(
        "a pipeline",
        [
            converter_compound(
                units(up(A, init_args={"i": 1}), up(B, init_args={"i": 2})), {A: out(up(A, attributes={"well": "A1"}, types={"is_3D": True})), B: out(up(B, attributes={"well": "B1"}))}
            ),
            compound(units(up(A, init_args={"others": [B]})), {A: out(up(C, origin=A), up(D, origin=B))}, output_types={"registered": True}),
            parallel(NOTHING, input_types={"is_3D": True}),
            non_parallel(out(up(C, attributes={"n": 1}), remove=[D])),
        ],
    ),
    # What the units are given.
    Case("arguments of a parallel task", [parallel({A: echo(C)}, args_parallel={"sigma": 1.5, "names": ["a"], "none": None})], AB),
    Case("arguments of a non-parallel task", [non_parallel(echo(C), args_non_parallel={"sigma": 1.5})], AB),
    Case("arguments of a converter", [converter(echo(C), args_non_parallel={"sigma": 1.5})], AB),
    Case("arguments of a compute unit", [compound(units(up(A, init_args={"n": [1, {"m": None}]})), echo(C), args_parallel={"sigma": 1}, args_non_parallel={"tau": 2})], AB),
    Case("arguments of a converter's compute unit", [converter_compound(units(up(f" {A}/ ")), echo(C), args_parallel={"sigma": 1})], AB),
    Case("null arguments", [parallel({A: echo(C)}, args_parallel=None, args_non_parallel=None)], AB),
    Case("blanks around arguments", [parallel({A: echo(C)}, args_parallel={" sigma ": 1})], AB),
    Case("arguments twice but for blanks", [parallel(NOTHING, args_parallel={"a": 1, "a ": 2})], AB, fails=True),
    Case("NaN in an argument", [parallel(NOTHING, args_parallel={"a": float("nan")})], AB, fails=True),
    Case("NUL in an argument", [parallel(NOTHING, args_parallel={"a": ["\0"]})], AB, fails=True),
    Case("filtered zarr_urls", [non_parallel(echo(D), input_types={"is_3D": False})], MIXED),
    *(
        Case(f"{name} is reserved in args_{kind}", [parallel(NOTHING, **{f"args_{kind}": {name: "/x"}})], AB, fails=True)
        for name in ("zarr_url", "zarr_urls", "zarr_dir", "init_args", " zarr_url")
        for kind in ("parallel", "non_parallel")
    ),
    # Parallelization lists.
    Case("init answers nothing", [compound(NOTHING, CRASH, output_types=T)], AB),
    Case("init answers null", [compound(text("null"), CRASH, output_types=T)], AB),
    Case("init answers an empty object", [compound(js({}), CRASH, output_types=T)], AB),
    Case("init answers an empty list", [compound(units(), CRASH, output_types=T)], AB),
    Case("converter's init answers nothing", [converter_compound(NOTHING, CRASH, output_types=T)], AB),
    Case("init crashes", [compound(CRASH, NOTHING, output_types=T)], AB, fails=True),
    Case("init writes no JSON", [compound(text("{"), NOTHING, output_types=T)], AB, fails=True),
    Case("init writes a list", [compound(js([]), NOTHING, output_types=T)], AB, fails=True),
    Case("init writes a text", [compound(js("x"), NOTHING, output_types=T)], AB, fails=True),
    Case("init writes image updates", [compound(out(up(A)), NOTHING)], AB, fails=True),
    Case("init: null list", [compound(js({"parallelization_list": None}))], AB, fails=True),
    Case("init: unknown key", [compound(units(up(A, args={})))], AB, fails=True),
    Case("init: no URL", [compound(units({"init_args": {}}))], AB, fails=True),
    Case("init: relative URL", [compound(units(up("a")))], AB, fails=True),
    Case("init: URL with dots", [compound(units(up(f"{DIR}/../a")))], AB, fails=True),
    Case("init: NUL in a URL", [compound(units(up(f"{DIR}/a\0")))], AB, fails=True),
    Case("init: null init_args", [compound(units(up(A, init_args=None)))], AB, fails=True),
    Case("init: init_args is a list", [compound(units(up(A, init_args=[])))], AB, fails=True),
    Case("init: NaN in init_args", [compound(units(up(A, init_args={"n": float("nan")})), out(up(A, types=T)))], AB),
    Case("init: a URL anywhere", [compound(units(up("/elsewhere")), out(up(A, types=T)))], AB),
    Case("init: equal items", [compound(units(up(A), up(f"{A}/"), up(A, init_args={})), {f"{A} {{}}": echo(C)})], AB),
    Case("init: items that Python finds equal", [compound(units(up(A, init_args={"n": 1}), up(A, init_args={"n": True})), {A: echo(C)})], AB),
    Case("init: one URL, two items", [compound(units(up(A, init_args={"n": 1}), up(A, init_args={"n": 2})), {f'{A} {{"n": 1}}': out(up(C)), f'{A} {{"n": 2}}': out(up(D))})], AB),
    Case("init: one of two units fails", [compound(units(up(A), up(B)), {A: CRASH, B: out(up(B, types=T))})], AB, fails=True),
    # The image list to begin with.
    Case("images with origins", [parallel(NOTHING, output_types=T)], [image(A), {**image(B), "origin": A}]),
    Case("images in need of normalisation", [parallel(NOTHING, output_types=T)], [image(f" {A}//", {" n ": 1})]),
    Case("images without attributes and types", [parallel(NOTHING, output_types=T)], [{"zarr_url": A}]),
    Case("an image outside zarr_dir", [parallel(NOTHING)], [image("/elsewhere/a")], fails=True),
    Case("an image beside zarr_dir", [parallel(NOTHING)], [image(f"{DIR}_sibling/a")], fails=True),
    Case("an image with a relative URL", [parallel(NOTHING)], [image("a")], fails=True),
    Case("an image with a null attribute", [parallel(NOTHING)], [image(A, {"n": None})], fails=True),
    Case("an image with a list as attribute", [parallel(NOTHING)], [image(A, {"n": [1]})], fails=True),
    Case("relative zarr_dir", [converter(NOTHING)], zarr_dir="zarr", fails=True),
    Case("zarr_dir with dots", [converter(NOTHING)], zarr_dir="/zarr/../zarr", fails=True),
    Case("zarr_dir in need of normalisation", [converter(echo(C))], zarr_dir=" /zarr// "),
    # The workflow and the manifest.
    Case("no task", [], AB, fails=True),
    Case("a task of another package", [parallel(NOTHING, task={"pkg_name": "other", "name": "Task 0"})], AB, fails=True),
    Case("a package name that is not normalised", [parallel(NOTHING, task={"pkg_name": "my_tasks", "name": "Task 0"})], AB, fails=True),
    Case("an unknown task", [parallel(NOTHING, task={"pkg_name": "my-tasks", "name": "Task X"})], AB, fails=True),
    Case("a task without package", [parallel(NOTHING, task={"name": "Task 0"})], AB, fails=True),
    Case("a task with an unknown key", [parallel(NOTHING, task={"pkg_name": "my-tasks", "name": "Task 0", "id": 1})], AB, fails=True),
    Case("an unknown type of task", [step("serial", NOTHING)], AB, fails=True),
    Case("no type, parallel", [step(None, NOTHING, output_types=T)], AB),
    Case("no type, non_parallel", [step(None, init=NOTHING, output_types=T)], AB),
    Case("no type, compound", [step(None, out(up(A)), units(up(A)), output_types=T)], AB),
    Case("no executable at all", [step("parallel")], AB, fails=True),
    Case("parallel without its executable", [parallel(NOTHING, output_types=T), step("parallel", init=NOTHING)], AB, fails=True),
    Case("non_parallel without its executable", [parallel(NOTHING, output_types=T), step("non_parallel", NOTHING)], AB, fails=True),
    Case("compound without init", [parallel(NOTHING, output_types=T), step("compound", NOTHING)], AB, fails=True),
    Case("compound without compute", [parallel(NOTHING, output_types=T), step("compound", init=units(up(A)))], AB, fails=True),
    Case("converter without its executable", [parallel(NOTHING, output_types=T), step("converter_non_parallel", NOTHING)], AB, fails=True),
    Case("converter_compound without init", [parallel(NOTHING, output_types=T), step("converter_compound", NOTHING)], AB, fails=True),
    Case("input_types that are no booleans", [parallel(NOTHING, input_types={"t": "x"})], AB, fails=True),
    Case("an executable with a blank", [parallel(NOTHING, executable_parallel="parallel 0.py")], AB, fails=True),
    Case("an executable with a special character", [parallel(NOTHING, executable_parallel="parallel$0.py")], AB, fails=True),
    Case("an executable with a quotation mark", [parallel(NOTHING, executable_parallel="parallel'0.py")], AB, fails=True),
    # Filters of before fractal-server 2.11.
    Case("old filters", [parallel(NOTHING, input_filters={"types": {"is_3D": True}, "attributes": {}}, output_types=T)], MIXED),
    Case("old filters without types", [parallel(NOTHING, input_filters={"attributes": {}}, output_types=T)], MIXED),
    Case("null old filters", [parallel(NOTHING, input_filters=None, type_filters={"is_3D": True}, output_types=T)], MIXED),
    Case("old filters for attributes", [parallel(NOTHING, input_filters={"types": {}, "attributes": {"n": [1]}})], MIXED, fails=True),
    Case("old filters without attributes", [parallel(NOTHING, input_filters={"types": {}})], MIXED, fails=True),
    Case("old filters that are no booleans", [parallel(NOTHING, input_filters={"types": {"is_3D": "x"}, "attributes": {}})], MIXED, fails=True),
    Case("old filters as a list", [parallel(NOTHING, input_filters=[])], MIXED, fails=True),
    Case("old filters and new ones", [parallel(NOTHING, input_filters={"types": {}, "attributes": {}}, type_filters={})], MIXED, fails=True),
    # Names, of which the server strips blanks, and other texts.
    Case("blanks around names", [parallel(NOTHING, task={"pkg_name": " my-tasks", "name": "Task 0 ", "version": " 1"}, output_types=T)], AB, workflow={"name": " w "}),
    Case("blanks around the name in the manifest", [parallel(NOTHING, in_manifest={"name": " Task 0 "}, output_types=T)], AB),
    Case("a workflow without a name", [parallel(NOTHING)], AB, workflow={"name": " "}, fails=True),
    Case("a workflow without a description", [parallel(NOTHING)], AB, workflow={"description": ""}, fails=True),
    Case("a workflow with an unknown key", [parallel(NOTHING)], AB, workflow={"id": 1}, fails=True),
    Case("NUL in the workflow's name", [parallel(NOTHING)], AB, workflow={"name": "a\0"}, fails=True),
    Case("half a character in the workflow's name", [parallel(NOTHING)], AB, workflow={"name": "\ud800"}, fails=True),
    Case("no version", [parallel(NOTHING, task={"pkg_name": "my-tasks", "name": "Task 0", "version": None}, output_types=T)], AB),
    Case("a blank version", [parallel(NOTHING, task={"pkg_name": "my-tasks", "name": "Task 0", "version": ""})], AB, fails=True),
    Case("a blank task", [parallel(NOTHING, task={"pkg_name": "my-tasks", "name": " "})], AB, fails=True),
    Case("a blank package", [parallel(NOTHING, task={"pkg_name": "", "name": "Task 0"})], AB, fails=True),
    Case("a blank alias", [parallel(NOTHING, alias="")], AB, fails=True),
    Case("a blank description of a step", [parallel(NOTHING, description=" ")], AB, fails=True),
    # Half of a character, which is two in JSON.
    Case("half a character in an argument", [parallel(NOTHING, args_parallel={"a": "\ud800"})], AB, fails=True),
    Case("half a character deep in an argument", [parallel(NOTHING, args_parallel={"a": [{"b": "\udc00"}]})], AB, fails=True),
    Case("half a character as an argument's name", [parallel(NOTHING, args_parallel={"\ud800": 1})], AB, fails=True),
    Case("half a character in a resource", [parallel(NOTHING, meta_parallel={"a": "\ud800"})], AB, fails=True),
    Case("half a character in a filter", [parallel(NOTHING)], AB, attribute_filters={"well": ["A1", "\ud800"]}, fails=True),
    Case("half a character in an image", [parallel(NOTHING)], [image(A, {"n": "\ud800"})], fails=True),
    Case("a whole character in an argument", [parallel({A: echo(C)}, args_parallel={"a": "\U0001f52c"})], AB),
    # Resources, of use on the server only.
    Case("resources", [parallel(NOTHING, meta_parallel={"mem": 1}, meta_non_parallel={}, output_types=T)], AB),
    Case("NaN in a resource", [parallel(NOTHING, meta_parallel={"mem": float("nan")})], AB, fails=True),
    Case("a resource without a name", [parallel(NOTHING, meta_parallel={" ": 1})], AB, fails=True),
    Case("resources twice but for blanks", [parallel(NOTHING, meta_parallel={"a": 1, "a ": 2})], AB, fails=True),
    Case("resources as a list", [parallel(NOTHING, meta_parallel=["mem"])], AB, fails=True),
    # More filters of the job.
    Case("NaN in an attribute filter", [parallel(NOTHING)], MIXED, attribute_filters={"n": [1.0, float("nan")]}, fails=True),
    Case("NUL in an attribute filter", [parallel(NOTHING)], AB, attribute_filters={"well": ["A1", "\0"]}, fails=True),
    Case("NUL in a type filter", [parallel(NOTHING)], AB, type_filters={"\0": True}, fails=True),
    # Arguments of a task with `**kwargs`, whose schema does not name them.
    Case("more arguments of any type", [parallel({A: echo(C)}, args_parallel={"other": 1}, args_schema_parallel={"properties": {}})], AB),
    Case("more arguments of a type", [parallel({A: echo(C)}, args_parallel={"other": 1}, args_schema_parallel={"properties": {}, "additionalProperties": {"type": "integer"}})], AB),
    # The image list.
    Case("an image with an unknown key", [parallel(NOTHING, output_types=T)], [{**image(A), "path": "x"}]),
    Case("a URL that is too long for a path", [parallel({A: out(up(f"{DIR}/{'x' * 5000}"))})], AB),
    Case("an image that is too long for a path", [parallel(NOTHING, output_types=T)], [image(f"{DIR}/{'x' * 5000}")]),
    # What is collected.
    Case("all that a task may say", [parallel(NOTHING, in_manifest={"category": "c", "modality": "m", "tags": ["a"], "docs_info": "", "docs_link": "https://a", "meta_parallel": {"mem": 1}}, output_types=T)], AB, manifest={"authors": "A"}),
    *(
        Case(f"a task with {key}={value!r}", [parallel(NOTHING, in_manifest={key: value})], AB, fails=True)
        for key, value in (
            ("name", " "), ("category", ""), ("modality", " "), ("tags", [""]), ("tags", ["a", "a "]), ("tags", None), ("docs_link", "a.org"), ("docs_link", ""), ("input_types", None), ("output_types", {" ": True}),
            ("meta_parallel", {"": 1}), ("meta_parallel", {"a": float("nan")}), ("meta_parallel", None), ("docs_info", "\0"), ("docs_info", 1),
        )
    ),
    Case("two tasks of one name", [parallel(NOTHING), parallel(NOTHING, in_manifest={"name": "Task 0"})], AB, fails=True),
    Case("blank authors", [parallel(NOTHING)], AB, manifest={"authors": ""}, fails=True),
    Case("authors as a list", [parallel(NOTHING)], AB, manifest={"authors": ["A"]}, fails=True),
    Case("a manifest of another version", [parallel(NOTHING)], AB, manifest={"manifest_version": "1"}, fails=True),
]

# What the server accepts and `run_workflow` refuses, on purpose.

STRICTER = [
    # The server would start the earlier tasks, and let this one crash.
    Case("an unknown argument", [parallel(NOTHING, args_parallel={"sigmaa": 1}, args_schema_parallel={"properties": {"sigma": {}}, "additionalProperties": False})], AB),
    Case("a missing argument", [parallel(NOTHING, args_parallel={}, args_schema_parallel={"properties": {"sigma": {}, "zarr_url": {}}, "required": ["sigma", "zarr_url"]})], AB),
    # No one would read them: the server takes them from a file, and not from its own form.
    Case("arguments for the part that is not there", [parallel({A: echo(C)}, args_non_parallel={"tau": 2})], AB),
    Case("arguments of a converter that has no such part", [converter(echo(C), args_parallel={"tau": 2})], AB),
    Case("resources for the part that is not there", [non_parallel(NOTHING, meta_parallel={"mem": 1})], AB),
    # Its second entry can neither be updated nor removed.
    Case("an image that is listed twice", [converter(out(up(B)))], [image(A), image(f"{A}/")]),
    # It could be either of them.
    Case("two tasks of one name but for blanks", [parallel(NOTHING), parallel(NOTHING, in_manifest={"name": "Task 0 "}, task={"pkg_name": "my-tasks", "name": "Task 0"})], AB),
]

# Too many, where two units are allowed.

ABC = [image(A), image(B), image(C)]
BEYOND_TWO_UNITS = [
    Case("two images", [parallel(NOTHING)], AB),
    Case("three images", [parallel(NOTHING)], ABC, fails=True),
    Case("two items", [compound(units(up(A), up(B)))], ABC),
    Case("two different items", [compound(units(up(A), up(B), up(A)))], ABC),
    Case("three items", [compound(units(up(A), up(B), up(C)))], ABC, fails=True),
    Case("three items of a converter", [converter_compound(units(up(A), up(B), up(C)))], fails=True),
    Case("three images for one unit", [non_parallel(NOTHING)], ABC),
]
