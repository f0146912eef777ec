"""Our form, and our rules, against the code of Fractal's web interface itself.

That code is in no registry of packages. Of a checkout of
https://github.com/fractal-analytics-platform/fractal-web, this runs what makes, reads and
validates a form: `nox -- tests/real_form.py --fractal-web=CHECKOUT`.
"""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import test_form
from rendering import run
from test_form import schema_of
from test_form_page import READ_ALL, TYPE_ALL, ask, folder, page, tasks, typed

from fractal_workbench.form.model import RESERVED_ARGUMENTS

__all__ = ["ask", "folder", "page", "tasks"]  # fixtures

# As the interface does, it leaves out what Fractal sets. Values are those of a workflow.
PLAY = """
import fs from "fs";
import {register} from "module";
const find = `export const resolve = (name, context, next) =>
  next(name, context).catch(() => next(name + ".js", context))`;
register("data:text/javascript," + encodeURIComponent(find));
const {FormManager} = await import("./lib/jschema/form_manager.js");

const play = ({schema, version, ignored, value}) => {
  try {
    let sent, valid;
    const form = new FormManager(schema, (data, is) => { [sent, valid] = [data, is] }, version, ignored, value);
    return {sent: form.getFormData(), valid, missing: form.unsupportedElements.length};
  } catch (error) { return {error: error.message} }
};
console.log(JSON.stringify(JSON.parse(fs.readFileSync("given.json")).map(play)));
"""
Play = Callable[[list[Any]], list[Any]]


@pytest.fixture(scope="module")
def play(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Play:
    """Return a function that gives schemas, and values, to the form of fractal-web."""
    checkout = pytestconfig.getoption("--fractal-web")
    if not checkout:
        pytest.fail("--fractal-web must name a checkout of fractal-web")
    components = Path(checkout, "components").resolve()
    needed = json.loads((components / "package.json").read_text("utf-8"))
    needed = needed["dependencies"] | needed["peerDependencies"]
    names = ("ajv", "ajv-formats", "dompurify", "marked", "svelte")
    folder = tmp_path_factory.mktemp("fractal-web")
    shutil.copytree(components / "src" / "lib", folder / "lib")
    (folder / "package.json").write_text('{"type": "module"}')
    (folder / "play.js").write_text(PLAY)
    packages = [f"{name}@{needed[name]}" for name in names]
    run("npm", "install", "--no-audit", "--no-fund", *packages, cwd=folder)

    def play(given: list[Any]) -> list[Any]:
        (folder / "given.json").write_text(json.dumps(given))
        return json.loads(run("node", "play.js", cwd=folder).splitlines()[-1])

    return play


def in_form(schema: Any, value: Any = None) -> dict[str, Any]:
    given = {"schema": schema, "version": "fractal_schema_v1", "value": value}
    return {k: v for k, v in given.items() if v is not None} | {
        "ignored": [*RESERVED_ARGUMENTS]
    }


def parts(tasks: list[Any], steps: list[Any]) -> list[tuple[Any, Any]]:
    """Return each schema of the tasks of steps, with its arguments."""
    schemas = {task["name"]: task for task in tasks}
    return [
        (schema, step[f"args_{part}"])
        for step in steps
        for part in ("non_parallel", "parallel")
        if (schema := schemas[step["task"]["name"]].get(f"args_schema_{part}"))
    ]


def test_at_its_defaults_each_example_is_sent_and_judged_alike(play, ask, page, tasks):
    seen = ask(page, READ_ALL)
    pairs = parts(tasks, [one["step"] for one in seen])
    theirs = play([in_form(schema) for schema, _ in pairs])
    assert [one["sent"] for one in theirs] == [args for _, args in pairs]
    assert [one["missing"] for one in theirs] == [0] * len(pairs)
    is_wrong = sum(not one["valid"] for one in theirs)
    assert is_wrong == sum(bool(one["wrong"]) for one in seen) == 3


def test_values_typed_into_our_page_are_kept_and_judged_alike(play, ask, page, tasks):
    place = {"task": "Model Segmentation", "part": "args_parallel", "kind": "text"}
    wrong = [("min_size", "-1"), ("overlap", "many"), ("threshold", "")]
    actions = [action for action, _ in typed(tasks)]
    actions += [place | {"path": path, "value": value} for path, value in wrong]
    seen = ask(page, TYPE_ALL, actions)
    given = [parts(tasks, [one["step"]]) for one in seen]
    theirs = iter(play([in_form(*pair) for pairs in given for pair in pairs]))
    for action, one, pairs in zip(actions, seen, given, strict=True):
        answers = [next(theirs) for _ in pairs]
        assert [a["sent"] for a in answers] == [args for _, args in pairs], action
        assert all(a["valid"] for a in answers) == (not one["wrong"]), action


def is_shown(answer: Any) -> bool:
    return "error" not in answer and answer["missing"] == 0


def test_it_shows_arguments_that_we_accept_and_none_that_we_reject(play):
    shown = [*test_form.SHOWN, *test_form.ONLY_TOOLS]
    answers = play([in_form(schema_of(*case[:2])) for case in shown])
    judged = zip(shown, answers, strict=True)
    assert [case for case, one in judged if not is_shown(one)] == []

    hidden = [*test_form.DEAD_BY_AJV, *test_form.UNSUPPORTED]
    # Of a dictionary, what is wrong shows when a value is added.
    filled = {"x": {"a": 1}}
    given = [in_form(schema_of(*case[:2]), filled) for case in hidden]
    judged = zip(hidden, play(given), strict=True)
    assert [case for case, one in judged if is_shown(one)] == []
