"""`nox -s form`: its page shows and sends what Fractal's web form does.

What is expected here was compared with the code of the form of fractal-web 1.29.6, which
was given the same schemas: those of the examples, of fractal-tasks-core 2.1, and of the
list of `test_form`. It begins with the same values, and makes the same of what is typed,
added, switched on and chosen; but for ten defaults that `nox -s manifest` refuses, such as
None in the place of a list. `real_form.py` asks that code again.
"""

import copy
import json
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any

import pytest
import test_form
import zarr
from form_browser import use_page
from package_images import write_image
from pydantic import Field
from rendering import import_folder, workbench
from scipy import ndimage
from test_form import NEVER, schema_of
from test_package import nox

from fractal_workbench.engine import rules
from fractal_workbench.form.model import RESERVED_ARGUMENTS

Schema = dict[str, Any]
Ask = Callable[..., Any]

# What the form of fractal-web begins with if there is no default: None for all other types.
WITHOUT_DEFAULT = [
    (list[int], []),
    (Annotated[list[int], Field(min_length=2)], [None, None]),
    (tuple[int, int], [None, None]),
    (test_form.Point, [None, None]),
    (test_form.Model, {"x": 1, "y": None}),
    (test_form.Needy, {"x": None}),
    (test_form.Dict, {"x": None}),
    (test_form.Nested, {"inner": {"x": 1, "y": None}, "maybe": None, "many": []}),
    (test_form.Made, {"x": [1, 2]}),
    (test_form.Plain, {"x": 1}),
    (test_form.Threshold, {"level": 1, "method": "fixed"}),
]

READ_ALL = "for (const {name} of DATA.tasks) { await show(name); found.push(read()) }"
TYPE_ALL = """
for (const {task, part, path, kind, value} of given) {
  await show(task);
  press("Back to the defaults");
  if (kind === "list") {
    set(part, path);
    press("Add", find(part, path).at(-1));
    fill(field(part, `${path}/0`), value);
  } else if (kind === "choice") option(field(part, path), value);
  else fill(field(part, path), value);
  found.push(read());
}"""


@pytest.fixture(scope="module")
def ask(tmp_path_factory: pytest.TempPathFactory) -> Ask:
    """Return a function that opens a page, does something in it, and returns what it says."""
    return lambda *given: use_page(tmp_path_factory.mktemp("browser"), *given)


@pytest.fixture(scope="module")
def folder(shared, render) -> Path:
    """Return a package with all examples, and its page."""

    def fill(folder: Path) -> None:
        package = render(folder / "package")
        said = workbench("form", "../page.html", cwd=package)
        assert f"The forms of 10 tasks: {(folder / 'page.html').as_uri()}" in said

    return shared("form", fill)


@pytest.fixture(scope="module")
def page(folder: Path) -> str:
    return (folder / "page.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def tasks(folder: Path) -> list[Schema]:
    file = import_folder(folder / "package") / "__FRACTAL_MANIFEST__.json"
    found: list[Schema] = json.loads(file.read_text(encoding="utf-8"))["task_list"]
    return found


def make_package(folder: Path, *tasks: Schema, **manifest: str) -> Path:
    """Make what the form needs of a package: its name and its manifest."""
    modules = folder / "src" / "odd_tasks"
    about = {"manifest_version": "2", "args_schema_version": "fractal_schema_v1"}
    part = {"type": "parallel", "executable_parallel": "t.py"}
    manifest = about | manifest | {"task_list": [part | task for task in tasks]}
    modules.mkdir(parents=True)
    (folder / "pyproject.toml").write_text('[project]\nname = "odd-tasks"\n')
    (modules / "__FRACTAL_MANIFEST__.json").write_text(json.dumps(manifest))
    return folder


def page_of(
    folder: Path, schemas: list[Schema], version: str = "fractal_schema_v1"
) -> str:
    """Return the page of a package of parallel tasks with these arguments."""
    tasks = [
        {"name": f"Task {number}", "args_schema_parallel": schema}
        for number, schema in enumerate(schemas)
    ]
    make_package(folder, *tasks, args_schema_version=version)
    workbench("form", cwd=folder)
    return (folder / ".nox" / "form" / "index.html").read_text(encoding="utf-8")


def parts_of(task: Schema) -> Iterator[tuple[str, Schema, Schema]]:
    """Return the arguments of each part, and their models."""
    for part in ("non_parallel", "parallel"):
        if schema := task.get(f"args_schema_{part}"):
            fields = schema["properties"].items()
            fields = {
                name: field for name, field in fields if name not in RESERVED_ARGUMENTS
            }
            yield f"args_{part}", fields, schema.get("$defs", {})


def defaults_of(task: Schema) -> Schema:
    """Return the step of a task whose form nobody touches."""
    package = {"pkg_name": "my-fractal-tasks", "version": "0.1.0"}
    reference = package | {"name": task["name"]}
    values = {
        part: {name: field.get("default") for name, field in fields.items()}
        for part, fields, _ in parts_of(task)
    }
    return {"task": reference, **values}


def walk(
    fields: Schema, models: Schema, place: str = ""
) -> Iterator[tuple[str, Schema]]:
    """Return each argument that is no model, also of those in models, and its path."""
    for name, field in fields.items():
        field = field | field.get("anyOf", [{}])[0]
        if ref := field.get("$ref"):
            model = models[ref.removeprefix("#/$defs/")]
            yield from walk(model["properties"], models, f"{place}{name}/")
        else:
            yield f"{place}{name}", field


def typed(tasks: list[Schema]) -> list[tuple[Schema, Schema]]:
    """Return something to do with each argument, and the step that it has to make."""
    found = []
    for task in tasks:
        for part, fields, models in parts_of(task):
            for path, field in walk(fields, models):
                match field:
                    case {"enum": [*_, last]}:
                        kind, value, sent = "choice", str(last), last
                    case {"type": "array"}:
                        kind, value, sent = "list", "a b", ["a b"]
                    case {"type": "boolean"}:
                        kind, value, sent = "switch", None, not field["default"]
                    case {"type": "integer"}:
                        kind, value, sent = "text", "7", 7
                    case {"type": "number"}:
                        kind, value, sent = "text", "7.25", 7.25
                    case _:
                        kind, value, sent = "text", " a b ", "a b"
                action = {"task": task["name"], "part": part, "path": path}
                step = copy.deepcopy(defaults_of(task))
                *way, last = path.split("/")
                place = step[part]
                for key in way:
                    place = place[key]
                place[last] = sent
                found.append((action | {"kind": kind, "value": value}, step))
    return found


def test_the_session_of_a_package_writes_the_same_page(folder, page):
    """With what its extra installs, which has none of the libraries of tasks."""
    nox(folder / "package", "-s", "form", "--", "../session.html")
    assert (folder / "session.html").read_text(encoding="utf-8") == page
    (installed,) = (folder / "package").glob(".nox/form/lib/*/site-packages")
    names = {path.name for path in installed.iterdir()}
    assert "markdown_it" in names
    assert names.isdisjoint({"fractal_task_tools", "numpy", "zarr"})


def test_at_its_defaults_the_page_makes_the_step_that_the_web_form_makes(
    ask, page, tasks
):
    seen = ask(page, READ_ALL)
    assert [one["step"] for one in seen] == [defaults_of(task) for task in tasks]
    for one in seen:
        rules.Step.model_validate(one["step"])
        assert one["said"] == []
    # What has no default is required, and nothing else is wrong.
    missing = [
        [
            f"{name} is required"
            for name, field in fields.items()
            if "default" not in field
        ]
        for task in tasks
        for fields in [{k: v for _, some, _ in parts_of(task) for k, v in some.items()}]
    ]
    assert [one["wrong"] for one in seen] == missing
    assert sum(map(len, missing)) == 3


def test_the_step_has_the_typed_values(ask, page, tasks):
    actions, steps = zip(*typed(tasks), strict=True)
    kinds = {action["kind"] for action in actions}
    assert kinds == {"choice", "list", "switch", "text"}
    seen = ask(page, TYPE_ALL, actions)
    judged = zip(actions, steps, seen, strict=True)
    assert [action for action, step, one in judged if one["step"] != step] == []


def test_values_that_the_library_would_change_are_found(ask, page, tasks):
    """Its own fields make other numbers of what is typed, as the test above would see."""
    others = page.replace("customEditors: [Choice, Field, Keys]", "customEditors: []")
    assert others != page
    action = {"task": "Threshold Segmentation", "part": "args_parallel", "kind": "text"}
    given = [action | {"path": "min_size", "value": value} for value in ("1.5", "")]
    sent = [
        [
            seen["step"]["args_parallel"]["min_size"]
            for seen in ask(one, TYPE_ALL, given)
        ]
        for one in (page, others)
    ]
    assert sent == [[1.5, None], [1, 0]]


def test_an_error_is_shown_beside_its_argument(ask, page, tasks):
    said = {
        ("min_size", "-1"): "must be >= 0",
        ("neck", "0"): "must be > 0",
        ("high_percentile", "101"): "must be <= 100",
        ("tile_size", "1.5"): "must be integer",
        ("overlap", "many"): "must be integer",
        ("threshold", ""): "is required",
        ("label_name", "   "): "is required",
        ("regions/roi_table", ""): None,
        ("model", "/model.onnx"): None,
    }
    place = {"task": "Model Segmentation", "part": "args_parallel", "kind": "text"}
    actions = [place | {"path": path, "value": value} for path, value in said]
    seen = ask(page, TYPE_ALL, actions)
    for (path, value), words, one in zip(said, said.values(), seen, strict=True):
        wrong = [f"{path} {words}"] if words else []
        missing = [] if path == "model" else ["model is required"]
        assert sorted(one["wrong"]) == sorted(wrong + missing), (path, value)
        # An empty field is not red before somebody was there.
        assert len(one["beside"]) == len(wrong)
        assert words is None or words in one["beside"]


def test_of_an_optional_argument_and_of_a_model_the_part_that_is_wrong_is_named(
    ask, page
):
    place = {"task": "Convert TIFFs to OME-Zarr", "part": "args_non_parallel"}
    said = {
        ("pixel_size_z", "0"): "pixel_size_z must be > 0",
        ("pixel_size_z", "x"): "pixel_size_z must be number",
        ("fields/columns", "0"): "fields.columns must be >= 1",
        ("fields/overlap", "100"): "fields.overlap must be < 100",
    }
    actions = [place | {"path": path, "value": value} for path, value in said]
    actions = [{**action, "kind": "text"} for action in actions]
    actions.append(place | {"path": "skip", "value": "", "kind": "list"})
    wrong = [{*one["wrong"]} for one in ask(page, TYPE_ALL, actions)]
    texts = [*said.values(), "skip[0] is required"]
    assert wrong == [{text, "tiff_dir is required"} for text in texts]


def test_all_that_the_web_form_shows_begins_as_there(ask, tmp_path):
    schemas = [schema_of(*case) for case in test_form.SHOWN]
    seen = ask(page_of(tmp_path / "odd", schemas), READ_ALL)
    for case, schema, one in zip(test_form.SHOWN, schemas, seen, strict=True):
        others = [value for kind, value in WITHOUT_DEFAULT if str(kind) == str(case[0])]
        expected = schema["properties"]["x"].get("default", (others or [None])[0])
        assert one["step"]["args_parallel"] == {"x": expected}, case
        assert one["said"] == [], case
        # None has a place in a model whose field may be None.
        is_given = case[1] is not NEVER or case[0] in (
            test_form.Model,
            test_form.Nested,
        )
        is_missing = not is_given and "None" in str(expected)
        assert bool(one["wrong"]) == is_missing, case


def test_arguments_that_the_web_form_hides_are_reported(ask, tmp_path):
    cases = [*test_form.DEAD_BY_AJV, *test_form.UNSUPPORTED]
    # In a dictionary, it shows the mistake when a value is added.
    schemas = [schema_of(*case[:2]) for case in cases]
    seen = ask(page_of(tmp_path / "odd", schemas), READ_ALL)
    for case, one in zip(cases, seen, strict=True):
        assert len(one["said"]) == len(one["wrong"]) == 1, case
        assert re.match("The web form (stays empty|cannot show this): ", *one["said"])
        assert "args_parallel" not in one["step"], case


def test_lists_dictionaries_tuples_and_models_are_filled_by_hand(ask, tmp_path):
    kinds = [
        (list[test_form.Threshold], [test_form.Otsu()]),
        (dict[str, int], {"a": 1}),
        (tuple[int, str] | None, None),
        (test_form.Threshold, test_form.Otsu()),
        (test_form.Model | None, None),
        (dict[str, list[int]], {"a": [1]}),
    ]
    page = page_of(tmp_path / "odd", [schema_of(*kind) for kind in kinds])
    script = """
    const part = "args_parallel", x = () => find(part, "x").at(-1);
    const see = () => found.push([read().step[part].x, read().wrong]);
    await show("Task 0");
    press("Add", x()); see();
    fill(field(part, "x/1/level"), "2"); see();
    press("↓", x()); see();
    option(x().querySelectorAll(".jedi-switcher-slot select")[0], "otsu"); see();
    press("Remove", x()); see();
    await show("Task 1");
    const dialog = x().querySelector(".jedi-quick-add-property-slot");
    press("Add a key", x().querySelector("legend"));
    fill(dialog.querySelector("input"), " b c ");
    press("Add a key", dialog); see();
    fill(field(part, "x/b c"), "2"); see();
    press("Remove", x()); see();
    await show("Task 2");
    set(part, "x"); see();
    fill(field(part, "x/0"), "3"); fill(field(part, "x/1"), "b"); see();
    option(find(part, "x")[0].querySelector("select"), "not set"); see();
    await show("Task 3");
    fill(field(part, "x/bins"), "many"); see();
    option(find(part, "x")[0].querySelector("select"), "fixed"); see();
    fill(field(part, "x/level"), "1e-3"); see();
    await show("Task 4");
    set(part, "x"); fill(field(part, "x/y"), "-1."); see();
    fill(field(part, "x/x"), " "); see();
    await show("Task 5");
    press("Add", find(part, "x/a").at(-1)); fill(field(part, "x/a/1"), "2"); see();
    """
    fixed, otsu = {"method": "fixed", "level": 1}, {"method": "otsu", "bins": 3}
    assert ask(page, script) == [
        [[otsu, fixed], []],
        [[otsu, fixed | {"level": 2}], []],
        [[fixed | {"level": 2}, otsu], []],
        [[otsu, otsu], []],
        [[otsu], []],
        [{"a": 1, "b c": None}, ["x.b c is required"]],
        [{"a": 1, "b c": 2}, []],
        [{"b c": 2}, []],
        [[None, None], ["x[0] is required", "x[1] is required"]],
        [[3, "b"], []],
        [None, []],
        [otsu | {"bins": "many"}, ["x.bins must be integer"]],
        [fixed, []],
        [fixed | {"level": 0.001}, []],
        [{"x": 1, "y": -1}, []],
        [{"x": None, "y": -1}, ["x.x is required"]],
        [{"a": [1, 2]}, []],
    ]


# Fills in two forms, adds them in the wrong order, and takes out what is one too many.
BUILD = """
const go = (name) => press(name, document.querySelector("main"));
await show("Gaussian Blur");
found.push(texts("#steps button"));
go("Add to the workflow");
await show("Import OME-Zarr");
go("Add to the workflow");
await turn();
found.push(texts("#steps button"), texts(".step .wrong li"), texts(".step .todo li"));
fill(field("args_non_parallel", "zarr_name"), "image.zarr");
found.push(texts(".step li"));
fill(field("args_non_parallel", "zarr_name"), "");
await show("/");
found.push(texts("#workflow .wrong li"));
await show("/2");
fill(field("args_non_parallel", "zarr_name"), "image.zarr");
go("Earlier");
await turn();
await show("Check Images");
go("Add to the workflow");
await turn();
go("Remove");
await show("/2");
fill(field("args_parallel", "sigma_xy"), "1.5");
await show("/");
fill(document.querySelector("#workflow input"), "My own");
found.push(texts("#workflow li"), JSON.parse(texts("#workflow pre")[0]));
const link = document.querySelector("#workflow a");
found.push(link.download, decodeURIComponent(link.href.split(",")[1]));
"""


def test_a_workflow_is_built_of_forms_and_runs(ask, folder, page, tmp_path):
    fresh, added, wrong, todo, filled, empty, left, workflow, name, text = ask(
        page, BUILD
    )
    whole = "The whole workflow"
    assert fresh == [f"{whole}empty", "Open workflow.json"]
    first, second = "1. Gaussian Blur", "2. Import OME-Zarr"
    assert added == [first, f"{second}1 to fill in", whole]
    assert (wrong, todo, filled) == ([], ["zarr_name is required"], [])
    assert empty == ["Step 2, Import OME-Zarr zarr_name is required"]
    assert left == []
    assert name == "my-own.json"
    assert text == json.dumps(workflow, indent=2, ensure_ascii=False) + "\n"

    file, data = tmp_path / name, tmp_path / "data"
    file.write_text(text, "utf-8")
    pixels = write_image(data / "image.zarr", "yx")
    options = ("--zarr-dir", data, "--env", f"my-fractal-tasks={sys.executable}")
    workbench("run", file, *options, cwd=folder / "package")
    blurred = zarr.open_group(data / "image_blurred.zarr", mode="r")["0"][...]
    assert blurred.shape == pixels.shape
    assert abs(blurred - ndimage.gaussian_filter(pixels.astype(float), 1.5)).max() < 2


def test_a_workflow_is_opened_and_nothing_of_it_is_lost(ask, folder, page, tmp_path):
    other = {"task": {"pkg_name": "elsewhere", "version": "2", "name": "Odd"}}
    other |= {"args_parallel": {"a": [None, {"b": 1}]}, "meta_parallel": {"mem": 1}}
    blur = {
        "task": {"pkg_name": "My_Fractal.Tasks", "name": "Gaussian Blur"},
        "args_parallel": {"sigma_xy": 2.5, "regions": {"roi_table": "r"}, "sigmas": 1},
        "alias": "Smooth",
        "type_filters": {"is_3D": False},
    }
    workflow = {"name": "Ours", "description": "Of us.", "task_list": [blur, other]}
    read = """
    const open = async (text) => {
      workflow.open(text, "a.json");
      await show("/");
      return [texts("#workflow li"), JSON.parse(texts("#workflow pre")[0]), texts("#steps button")];
    };
    for (const text of given) found.push(await open(text));
    """
    texts = [
        "\ufeff" + json.dumps(workflow),
        json.dumps({"version": 2, "data": workflow}),
        "{}",
        "[",
    ]
    first, second, *bad = ask(page, read, texts)
    assert first == second
    left_out = "sigmas is no argument of this task, and is left out"
    assert first[0] == [f"Step 1, Gaussian Blur {left_out}"]
    steps = first[1].pop("task_list")
    assert first[1] == {"name": "Ours", "description": "Of us."}
    arguments = steps[0].pop("args_parallel")
    assert steps[0] == {
        key: value for key, value in blur.items() if key != "args_parallel"
    } | {"task": blur["task"] | {"version": "0.1.0"}}
    assert arguments["sigma_xy"] == 2.5
    assert arguments["regions"]["roi_table"] == "r"
    assert arguments["overwrite"] is False
    assert steps[1] == other
    assert first[2] == ["1. Gaussian Blur1 wrong", "2. Odd", "The whole workflow"]
    # What cannot be read is named, and replaces nothing.
    for problems, still, _ in bad:
        assert problems[0].startswith("a.json is no workflow: ")
        assert still["task_list"][1] == other


def test_the_workflow_of_the_package_is_offered(ask, folder, page, tmp_path):
    """A file that is no workflow is named there, and the page still has the forms."""
    read = """
    press("Open workflow.json");
    await turn();
    found.push(JSON.parse(texts("#workflow pre")[0]), texts("#workflow li"), texts("#steps button"));
    """
    opened, mistakes, steps = ask(page, read)
    file = import_folder(folder / "package") / "workflow.json"
    own = json.loads(file.read_text("utf-8"))["data"]
    assert opened["name"] == own["name"]
    assert [step["task"] for step in opened["task_list"]] == [
        step["task"] for step in own["task_list"]
    ]
    assert mistakes == []
    assert len(steps) == len(opened["task_list"]) + 1, "and nothing more is offered"

    package = make_package(tmp_path / "odd", {"name": "Odd"})
    (package / "src" / "odd_tasks" / "workflow.json").write_text("</script>{")
    workbench("form", "page.html", cwd=package)
    _, mistakes, steps = ask((package / "page.html").read_text("utf-8"), read)
    assert mistakes[0].startswith("workflow.json is no workflow: ")
    assert steps == ["The whole workflowempty", "Open workflow.json"]


def test_a_page_of_a_workflow_has_its_packages_and_its_steps(ask, folder, tmp_path):
    package = make_package(tmp_path / "odd", {"name": "Odd"})
    (package / "workflow.json").write_text(
        json.dumps(
            {
                "name": "Both",
                "task_list": [
                    {"task": {"pkg_name": name, "name": task}}
                    for name, task in (
                        ("my-fractal-tasks", "Check Images"),
                        ("odd-tasks", "Odd"),
                    )
                ],
            }
        )
    )
    workbench("form", "page.html", "--workflow", "workflow.json", cwd=package)
    page = (package / "page.html").read_text("utf-8")
    seen = """found.push(texts("#steps button"), texts("#tasks button").filter((text) => text.includes("Odd")), texts("#workflow li"))"""
    whole = "The whole workflow"
    steps = ["1. Check Images", "2. Odd", whole]
    assert ask(page, seen) == [steps, ["odd-tasks: Oddparallel"], []]

    text = (package / "workflow.json").read_text().replace("my-fractal", "no-such")
    (package / "workflow.json").write_text(text)
    with pytest.raises(RuntimeError, match=r"Step 1, Check Images: .*no-such-tasks"):
        workbench("form", "--workflow", "workflow.json", cwd=package)


def test_before_fractal_schema_v1_empty_values_are_not_sent(ask, tmp_path):
    model = {"type": "object", "properties": {"y": {"type": "integer"}}}
    kinds = {
        "a": {"type": "integer"},
        "b": {"type": "array", "items": model},
        "c": model,
    }
    schema = {"type": "object", "properties": kinds, "required": ["a"]}
    page = page_of(tmp_path / "odd", [schema], "pydantic_v2")
    ((one,)) = ask(page, READ_ALL)
    assert one["step"]["args_parallel"] == {}
    assert one["wrong"] == ["a is required"]


def test_texts_are_markdown_and_no_html_or_template(ask, tmp_path):
    evil = "**b** <b>i</b> `{{ value }}` </script><script>document.title = 1</script>"
    field = {"type": "string", "title": evil, "description": evil, "default": evil}
    schema = {"type": "object", "properties": {"x": field}}
    task = {"name": evil, "docs_info": evil, "args_schema_parallel": schema}
    package = make_package(tmp_path / "odd", task)
    workbench("form", "page.html", cwd=package)
    script = """
    const places = [".docs .markdown", ".jedi-description", ".jedi-label span", "main h2"];
    found.push(places.map((place) => [all(`${place} strong, ${place} code`).length, texts(place)[0].trim()]), document.title);
    found.push(read().step.args_parallel.x);"""
    shown, title, sent = ask((package / "page.html").read_text(), script)
    plain = evil.replace("**", "").replace("`", "")
    assert shown == [[2, plain], [2, plain], [0, evil], [0, evil]]
    assert title == "odd-tasks: forms and workflow"
    assert sent == evil


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["page"], "FILE.html: page must be the name of a file that ends in .html"),
        (
            [],
            "odd-tasks is no package of Fractal tasks: it has no __FRACTAL_MANIFEST__.json."
            " `nox -s manifest`, or `fractal-manifest create`, writes it",
        ),
    ],
    ids=["name", "manifest"],
)
def test_missing_files_are_named_before_anything_is_written(tmp_path, arguments, says):
    package = make_package(tmp_path / "odd")
    next(package.glob("src/*/*.json")).unlink()
    with pytest.raises(RuntimeError, match=f"(?s){says}") as error:
        workbench("form", *arguments, cwd=package)
    assert "Traceback" not in str(error.value)
    assert not (package / ".nox").exists()


@pytest.mark.parametrize("has_npm", [True, False], ids=["npm", "no-npm"])
def test_a_registry_that_can_not_be_reached_is_named(tmp_path, has_npm):
    """It is the one that npm is set to, also where there is no npm."""
    if has_npm and not shutil.which("npm"):
        absent = pytest.fail if os.environ.get("CI") else pytest.skip
        absent("there is no npm")
    package = make_package(tmp_path / "odd")
    (tmp_path / ".npmrc").write_text("registry=http://localhost:1/npm/\n")
    names = ("PATH",) if has_npm else ()
    env = {name: os.environ[name] for name in names}
    env |= {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    says = "jedison .* cannot be had from the npm registry http://localhost:1/npm: .*set npm_"
    with pytest.raises(RuntimeError, match=f"(?s){says}") as error:
        workbench("form", cwd=package, env=env)
    assert "Traceback" not in str(error.value)
    assert not (package / ".nox").exists()


def test_downloaded_files_need_no_network(tmp_path, page):
    package = make_package(tmp_path / "odd")
    nowhere = {"npm_config_registry": "http://localhost:1"}
    workbench("form", cwd=package, env=os.environ | nowhere)
    assert (package / ".nox" / "form" / "index.html").exists()
