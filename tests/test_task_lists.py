"""Which task lists `nox -s manifest` refuses: those that no fractal-server collects."""

import importlib
import json
import logging
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import server_runner
from fractal_task_tools import _create_manifest
from rendering import ROOT

IMPORTS = """
from pathlib import Path
from fractal_task_tools.task_models import *
AUTHORS, DOCS_LINK = "A", "https://a.org"
"""
# The modules of the package beside `dev`, by name: a task, or what looks like one.
MODULES = {
    "__init__": "",
    "ok": 'def ok(*, zarr_url: str):\n    """Do."""',
    "all": 'def all(*, zarr_urls: list[str], zarr_dir: str):\n    """Do."""',
    "compute": 'def compute(*, zarr_url: str, init_args: dict):\n    """Do."""',
    "a blank/inside": 'def inside(*, zarr_url: str):\n    """Do."""',
    "docs": "",
    "exits": "raise SystemExit(2)",
    "imported": "from tiny_tasks.ok import ok as imported",
    "loop": 'def loop(*zarr_url: str):\n    """Do."""',
    "no_function": "",
    "position": 'def position(zarr_url: str, /):\n    """Do."""',
    "raises": "raise RuntimeError('no GPU')",
    "sub/inside": 'def inside(*, zarr_url: str):\n    """Do."""',
    "syntax": "def syntax(:",
    "typed": 'from pathlib import Path\ndef typed(*, zarr_url: str, a: Path):\n    """Do."""',
    "undocumented": "def undocumented(*, zarr_url: str): ...",
    "untyped": 'def untyped(*, zarr_url: str, a):\n    """Do."""',
    "weird$/inside": 'def inside(*, zarr_url: str):\n    """Do."""',
}


def tasks(*lines: str) -> str:
    return f"TASK_LIST = [{', '.join(lines)}]"


def task(**fields: str) -> str:
    """Return a list of one task, with these fields as Python code."""
    given = {"name": '"T"', "executable": '"ok.py"'} | fields
    return tasks(f"ParallelTask({', '.join(f'{k}={v}' for k, v in given.items())})")


# A line for each case, however long.
# fmt: off

GOOD = [
    tasks(), task(), task(name='" T "'), task(name='"Ünïcode 🔬"'), task(executable='"sub/inside.py"'), task().replace("[", "(").replace("]", ",)"),
    tasks('NonParallelTask(name="T", executable="all.py")'), tasks('CompoundTask(name="T", executable_init="all.py", executable="compute.py", meta_init={"mem": 1})'),
    task(docs_info='""'), task(docs_info='"file:docs_info/empty.md"'), task(docs_info='"file:docs_info/a.md"'), task(docs_info="None"),
    task(category="None"), task(category='"Segmentation"', modality='" EM "'), task(tags="[]"), task(tags='["a", "b"]'), task(tags='("a",)'),
    task(meta="None"), task(meta="{}"), task(meta='{"mem": 4000, "custom": ["a", {"b": [None, 1.5, True]}]}'), task(meta='{" mem ": 1}'),
    task(input_types='{"is_3D": True}', output_types='{" a ": False}'), task(input_types='{"is_3D": "yes"}'), task(input_types="{}"),
    "AUTHORS = None\n" + task(), "del AUTHORS\n" + task(), "AUTHORS = ' A, B '\n" + task(), "DOCS_LINK = ''\n" + task(), "DOCS_LINK = None\n" + task(), "del DOCS_LINK\n" + task(),
    "DOCS_LINK = ' http://a '\n" + task(),
]

BAD = [
    # No list, or no tasks in it.
    ("", r"^TASK_LIST: .*no attribute 'TASK_LIST' \(list tasks of"), ("TASK_LIST = None", r"^TASK_LIST: .*must be an iterable, not NoneType \(list tasks"), ("TASK_LIST = 3", "^TASK_LIST: .*iterable, not int"),
    ("TASK_LIST = [None]", r"^TASK_LIST\[0\]: .*task_models.*NoneType.*\(list tasks"), ("TASK_LIST = ['ok.py']", r"^TASK_LIST\[0\]: .*'str'"), ("TASK_LIST = 'ok'", r"^TASK_LIST\[0\]"),
    ("TASK_LIST = [{'name': 'T', 'executable': 'ok.py'}]", r"^TASK_LIST\[0\]: .*'dict'"), ("TASK_LIST = [ParallelTask]", r"^TASK_LIST\[0\]: "), ("TASK_LIST = [[]]", r"^TASK_LIST\[0\]"),
    ("TASK_LIST = [", r"^TASK_LIST: .*was never closed \(task_list.py, line 5\)"), ("import nothing_of_this_name", r"^TASK_LIST \(task_list.py, line 5\): No module named 'nothing_of_this_name' \(nothing of its name is required by tiny_tasks: add"),
    ("import tiny_tasks.kit.gone", r"No module named 'tiny_tasks.kit.gone' \(`nox -s template -- restore src/tiny_tasks/kit/gone.py`"), ("from tiny_tasks.kit import gone", r"\(the kit has no such name: take"),
    ("raise SystemExit", r"^TASK_LIST \(task_list.py, line 5\): "),
    # What the models of fractal-task-tools refuse.
    (task(tagss='["a"]'), r"^TASK_LIST \(task_list.py, line 5\): tagss: Extra inputs are not permitted \(correct it, or leave it out\)"),
    (task(tags="None"), r"line 5\): tags: .*valid list \(correct it, or leave it out\)"), (task(tags='[1]'), r"line 5\): tags.0: .*valid string"), (task(tags='"a"'), r"line 5\): tags: .*valid list"),
    (task(name="None"), r"line 5\): name: .*valid string"), (task(name="3"), r"line 5\): name: "), (task(executable="None"), r"line 5\): executable: "), (task(executable="Path('ok.py')"), r"line 5\): executable: "),
    (task(executable_init='"all.py"'), r"line 5\): executable_init: Extra"), (task(meta='["mem"]'), r"line 5\): meta: .*valid dictionary"), (task(meta="{1: 2}"), r"line 5\): meta.1.*valid string"),
    (task(input_types='{"a": "maybe"}'), r"line 5\): input_types.a: .*valid boolean"), (task(input_types='["a"]'), r"line 5\): input_types: "), (task(category="1"), r"line 5\): category: "),
    (task(docs_info="1"), r"line 5\): docs_info: .*valid string \(take a text, or file:"), (task(type='"parallels"'), r"line 5\): type: "), (tasks("ParallelTask(name='T')"), r"line 5\): executable: Field required"),
    (tasks('CompoundTask(name="T", executable="compute.py")'), r"line 5\): executable_init: Field required"), (tasks('SerialTask(name="T", executable="ok.py")'), "name 'SerialTask' is not defined"),
    # Names.
    (task(name='""'), r"^TASK_LIST\[0\]: name: .*at least 1 character \(correct it"), (task(name='" "'), r"^TASK_LIST\[0\]: name: "), (task(name='"a\\0b"'), r"^a\0b: name: Fractal's database stores .*NUL"),
    (task(name='"\\ud800"'), r": name: .*unicode"), (tasks('ParallelTask(name="T", executable="ok.py")', 'ParallelTask(name="T", executable="ok.py")'), r"names: task_list: .*listed twice .*\['T'\] \(correct it"),
    # Executables.
    (task(executable='"none.py"'), r"^T: No module named 'tiny_tasks.none' \(name a X.py that defines X\)"), (task(executable='"ok"'), r"^T: .*must end with '.py' \(name a X.py"),
    (task(executable='""'), r"^T: .*empty name \(name a X.py"), (task(executable='"docs.md"'), r"^T: .*must end with '.py'"), (task(executable='"no_function.py"'), r"^T: .*no attribute 'no_function' \(name a X.py that defines X\)"),
    (task(executable='"imported.py"'), r"^T: StopIteration\(\) \(name a X.py"), (task(executable='"/tmp/ok.py"'), r"^T: .*absolute executable='/tmp/ok.py'.* \(name a X.py"), (task(executable='"../ok.py"'), "^T: "),
    (task(executable='"syntax.py"'), r"^T: invalid syntax \(syntax.py, line 1\)"), (task(executable='"raises.py"'), r"^T \(raises.py, line 1\): no GPU"), (task(executable='"exits.py"'), r"^T \(exits.py, line 1\): 2"),
    (task(executable='"weird$/inside.py"'), r"^T: executable_parallel: .*match pattern .* \(name a X.py"), (task(executable='"sub"'), "^T: "),
    # Arguments.
    (task(executable='"all.py"'), r"^T: \[validate_arguments\] Required arguments {'zarr_url'} are missing"), (task(executable='"compute.py"').replace("Parallel", "NonParallel"), "^T: .*Required"),
    (task(executable='"position.py"'), r"^T: 'properties' \(let each argument have a name: no `\*args`, and none before a `/`\)"), (task(executable='"loop.py"'), r"^T: 'properties' \(let"),
    (task(executable='"untyped.py"'), r"^T: \[E04\] Unsupported schema at Untyped/properties/a \(give it one type"),
    # Texts.
    (task(category='""'), r"^T: category: .*at least 1 character \(correct it, or leave it out\)"), (task(category='" "'), "^T: category"), (task(modality='""'), "^T: modality"), (task(category='"\\0"'), "^T: category: .*NUL"),
    (task(tags='[""]'), r"^T: tags.0: .*at least 1 character \(correct it, or leave it out\)"), (task(tags='["a", " "]'), "^T: tags.1"), (task(tags='["a", "a"]'), r"^T: tags: .*listed twice .*\['a'\] \(correct"),
    (task(tags='["a", " a"]'), "^T: tags: .*blanks are stripped"), (task(tags='["\\0"]'), "^T: tags.0: .*NUL"), (task(tags='["\\ud800"]'), r"tags.0: .*unicode"),
    (task(docs_info='"file:docs_info/none.md"'), r"^T: .*No such file .*none.md' \(take a text, or file:"), (task(docs_info='"file:/docs_info/a.md"'), "^T: .*path must be relative"), (task(docs_info='"file:"'), r"^T: .*directory.*\(take a text"),
    (task(docs_info='"file:docs_info/latin.md"'), r"^T: 'utf-8' codec .*\(take a text, or file:"), (task(docs_info='"a\\0"'), r"^T: docs_info: .*NUL.*\(take a text"), (task(docs_info='"\\ud800"'), "^T: docs_info: .*half of a character"),
    # Types.
    (task(input_types="None"), r"^T: input_types: .*valid dictionary \(correct it, or leave it out\)"), (task(output_types="None"), "^T: output_types: .*valid dictionary"), (task(input_types='{"": True}'), "^T: input_types: .*empty"),
    (task(input_types='{" ": True}'), "^T: input_types: .*empty"), (task(output_types='{"a": True, "a ": False}'), "^T: output_types: .*repeated"), (task(output_types='{"a\\0": True}'), "^T: output_types: .*NUL"),
    # What is sent to SLURM.
    (task(meta='{"mem": float("nan")}'), r"^T: meta_parallel: .*NaN.*nan \(take what JSON can hold, such as {'mem': 4000}\)"), (task(meta='{"a": [1, float("inf")]}'), "^T: meta_parallel: .*infinity.*inf"),
    (task(meta='{"a": "\\0"}'), "^T: meta_parallel: .*NUL"), (task(meta='{"a": "\\ud800"}'), "^T: meta_parallel: .*half of a character"), (task(meta='{"": 1}'), "^T: meta_parallel: .*empty"), (task(meta='{"a": 1, " a": 2}'), "^T: meta_parallel: .*repeated"),
    (task(meta='{"a": {1, 2}}'), r"^T: meta_parallel.a.*JSON.*\(take what JSON can hold"), (task(meta='{"a": Path("b")}'), "^T: meta_parallel.a.*"), (task(meta='{"a": b"b"}'), "^T: meta_parallel.a"), (task(meta='{"a": 1j}'), "^T: meta_parallel.a"),
    # The whole package.
    ("AUTHORS = ''\n" + task(), "^AUTHORS or names: authors: .*at least 1 character"), ("AUTHORS = ' '\n" + task(), "^AUTHORS or names: authors"), ("AUTHORS = ['A', 'B']\n" + task(), "^AUTHORS or names: authors: .*valid string"),
    ("AUTHORS = 3\n" + task(), "authors: .*valid string"), ("AUTHORS = 'a\\0'\n" + task(), "authors: .*NUL"), ("DOCS_LINK = 'github.com/a'\n" + task(), r"^T: docs_link: .*without a base \(DOCS_LINK begins with https://, or is None\)"),
    ("DOCS_LINK = ' '\n" + task(), "^T: docs_link: "), ("DOCS_LINK = 'ftp://a'\n" + task(), "^T: docs_link: .*'http' or 'https'"), ("DOCS_LINK = 3\n" + task(), "^T: docs_link: "), ("DOCS_LINK = 'https://'\n" + task(), "^T: docs_link: "),
    ("DOCS_LINK = Path('a')\n" + task(), "^T: docs_link: "),
]

# What a server collects, and we refuse on purpose.
STRICTER = [
    # It would offer two tasks of one name, of which a workflow finds the first.
    (tasks('ParallelTask(name="T", executable="ok.py")', 'ParallelTask(name="T ", executable="ok.py")'), r"names: task_list: .*listed twice \(blanks are stripped\): \['T'\]"),
    # Its command would end at the blank.
    (task(executable='"a blank/inside.py"'), r"^T: executable_parallel: .*match pattern .* \(name a X.py"),
    # It would fail at the first tuple that becomes a list on the way.
    (task(meta='{"a": (1, 2)}'), r"^T: meta_parallel.a.*JSON.*\(take what JSON can hold"),
    # Its form would stay empty.
    (task(executable='"typed.py"'), r"^T: argument `a` or its default breaks the web form: it knows no format path"),
]
# fmt: on


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A package whose modules can be imported; its task list is still to be written."""
    folder = tmp_path_factory.mktemp("task_lists")
    package = folder / "tiny_tasks"
    source = ROOT / "template/package/src/{{ package_name }}"
    ignore = shutil.ignore_patterns("*.jinja", "docs_info")
    for name in ("dev", "kit"):
        shutil.copytree(source / name, package / name, ignore=ignore)
    for name, text in MODULES.items():
        (package / name).parent.mkdir(exist_ok=True)
        (package / f"{name}.py").write_text(text)
    docs = package / "dev" / "docs_info"
    docs.mkdir()
    (docs / "a.md").write_text("# A")
    (docs / "empty.md").write_text("")
    (docs / "latin.md").write_bytes("ü".encode("latin-1"))
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    sys.path.insert(0, str(folder))
    yield package
    sys.path.remove(str(folder))
    logging.disable(before)
    for name in [name for name in sys.modules if name.startswith("tiny_tasks")]:
        del sys.modules[name]


@pytest.fixture
def create_manifest(package: Path, tmp_path: Path, monkeypatch) -> ModuleType:
    monkeypatch.chdir(tmp_path)
    return importlib.import_module("tiny_tasks.dev.create_manifest")


def write(package: Path, task_list: str) -> None:
    """Write the task list, as it is to be imported next."""
    sys.modules.pop("tiny_tasks.dev.task_list", None)
    shutil.rmtree(package / "dev" / "__pycache__", ignore_errors=True)
    file = package / "dev" / "task_list.py"
    file.write_text(IMPORTS + task_list, encoding="utf-8")
    importlib.invalidate_caches()


def official_manifest(package: Path, task_list: str) -> str:
    """Return what fractal-task-tools makes of a task list."""
    write(package, task_list)
    names = {"raw_package_name": package.name, "task_list_path": "dev.task_list"}
    return json.dumps(_create_manifest.create_manifest(**names), indent=2) + "\n"


def refusal_of_server(package: Path, task_list: str) -> Exception | None:
    """Return why no server would collect a package with this task list."""
    try:
        manifest = json.loads(official_manifest(package, task_list))
        collected = server_runner.collect(manifest, package, sys.executable)
        for task in collected:
            for command in (task.command_parallel, task.command_non_parallel):
                if (
                    isinstance(command, str)
                    and not Path(command.split(" ", 1)[1]).is_file()
                ):
                    raise FileNotFoundError(command)
    except (Exception, SystemExit) as error:
        return error
    return None


def our_refusal(create_manifest: ModuleType, task_list: str) -> str | None:
    """Return what `nox -s manifest` says of a task list."""
    write(create_manifest.PACKAGE, task_list)
    try:
        create_manifest.create_manifest()
    except SystemExit as refusal:
        return str(refusal)
    return None


def test_task_lists_that_a_server_collects_are_accepted(package, create_manifest):
    for task_list in GOOD:
        assert refusal_of_server(package, task_list) is None, task_list
        assert our_refusal(create_manifest, task_list) is None, task_list


def test_an_accepted_task_list_becomes_the_manifest_of_fractal_task_tools(
    package, create_manifest
):
    for task_list in GOOD:
        expected = official_manifest(package, task_list)
        write(package, task_list)
        assert create_manifest.create_manifest() == expected, task_list


def test_task_lists_that_no_server_collects_are_refused(package, create_manifest):
    """With the task, the field and, where it is not plain, the remedy."""
    for task_list, says in BAD:
        assert refusal_of_server(package, task_list), task_list
        said = our_refusal(create_manifest, task_list)
        assert said, task_list
        assert re.search(says, said, re.DOTALL), (task_list, said)


def test_a_kit_that_is_not_whole_is_told_with_how_to_restore_it(
    create_manifest, monkeypatch
):
    for name, file in {"kit": "kit/__init__.py", "kit.gone": "kit/gone.py"}.items():
        monkeypatch.setitem(sys.modules, f"tiny_tasks.{name}", None)
        said = our_refusal(create_manifest, f"import tiny_tasks.{name}")
        assert f"`nox -s template -- restore src/tiny_tasks/{file}` brings it" in said


def test_no_remedy_is_given_for_errors_of_the_code_of_a_task(create_manifest):
    """Although their words are those of errors that have one."""
    texts = {
        "FileNotFoundError('docs_info.md')": ": docs_info.md$",
        "ValueError('executable must end with .py')": ": executable must end with .py$",
        "AttributeError('TASK_LIST')": ": TASK_LIST$",
        "KeyError('properties')": ": 'properties'$",
        "ModuleNotFoundError('x', name='tiny_tasks.helper')": "src/tiny_tasks/helper.py is missing",
    }
    for number, (raised, says) in enumerate(texts.items()):
        module = create_manifest.PACKAGE / f"odd_{number}.py"
        module.write_text(f"raise {raised}")
        said = our_refusal(create_manifest, task(executable=f"'{module.name}'"))
        assert re.search(rf"^T \({module.name}, line 1.*{says}", said), said


def test_a_mistake_of_a_task_is_placed_in_its_module_and_not_in_the_kit(
    create_manifest,
):
    """A mistake of the kit itself, such as after an edit, is placed there."""
    kit = create_manifest.PACKAGE / "kit"
    kit.mkdir(exist_ok=True)
    (kit / "decorate.py").write_text("def task(function):\n    raise NameError('np')")
    (kit / "broken.py").write_text("import json\nraise NameError('np')")
    for name, text, place in (
        ("wrong", "from tiny_tasks.kit.decorate import task\n@task\n", "line 2"),
        ("right", "from tiny_tasks.kit.broken import task\n", "line 1"),
    ):
        module = create_manifest.PACKAGE / f"{name}.py"
        module.write_text(f"{text}def {name}(*, zarr_url: str): ...")
        said = our_refusal(create_manifest, task(executable=f"'{module.name}'"))
        rest = r" \(broken.py, line 2\)" if name == "right" else ""
        assert re.search(rf"^T \({module.name}, {place}\){rest}: np$", said), said


def test_task_lists_are_refused_more_strictly_by_choice(package, create_manifest):
    for task_list, says in STRICTER:
        assert refusal_of_server(package, task_list) is None, task_list
        said = our_refusal(create_manifest, task_list)
        assert re.search(says, said or "accepted"), (task_list, said)
