"""The decisions that adopting leaves to the owner, and the tables that it adds."""

import ast
import json
import re
import shlex
from collections.abc import Iterator
from contextlib import suppress
from fnmatch import fnmatch
from importlib import metadata
from pathlib import Path
from typing import Any

import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import InvalidVersion, Version

from ..form.check import check_arguments
from ..form.model import path_of
from ..form.stale import undescribed
from ..project import ANSWERS, MANIFEST
from .owner import (
    LICENSES,
    Package,
    find_license,
    normalise,
)

QUESTIONS = yaml.safe_load(
    Path(__file__).parents[1].joinpath("copier.yml").read_text(encoding="utf-8")
)
RUFF = ".ruff.toml"  # which ruff reads before any other
# What owners call the requirements of their tests, where their CI does not tell.
TEST_NAMES = ("test", "tests", "testing", "dev")
# What the kit imports, which comes with the first task that uses it.
KIT = ("numpy", "pydantic", "zarr")
# What CI installs for another end.
NO_TEST_REQUIREMENTS = {"build", "hatch", "nox", "pip", "tox", "twine", "uv"}


def new_groups(package: Package, rendered: Path) -> str:
    """Return the dependency groups of the template, except the package's own `test`."""
    text = (rendered / "pyproject.toml").read_text(encoding="utf-8")
    (groups,) = re.findall(r"^\[dependency-groups\]\n.*?(?=\n+^\[)", text, re.M | re.S)
    (test,) = re.findall(r"^test = \[.*\]$", groups, re.M)
    if has_pixi(package):  # which adds a group to the extra with its name
        groups = re.sub(r"^dev = .*?^\]\n", "", groups, flags=re.M | re.S)
    own = package.pyproject.get("dependency-groups", {})
    if names := [name for name in TEST_NAMES if name in own]:
        needed = f'{{ include-group = "{names[0]}" }}'
    else:
        needed = ", ".join(map(json.dumps, test_requirements(package)))
    return str(groups).replace(test, f"test = [{needed}]") + "\n"


def test_requirements(package: Package) -> list[str]:
    """Return the requirements of the package's own tests.

    An extra by its name: its requirements, one by one, may resolve to other versions.
    """
    extras = package.project.get("optional-dependencies", {})
    used: list[str] = []
    more: list[str] = []
    for path in sorted((package.root / ".github" / "workflows").glob("*.y*ml")):
        text = path.read_text(encoding="utf-8")
        for line in re.findall(r"pip install (.+)", text) if "pytest" in text else ():
            used += re.findall(r"\w[\w.-]*", "".join(re.findall(r"\.\[.+?\]", line)))
            if not re.search(r"""(^| )["']?[-.]|\$""", line):
                more += [word.strip("\"'") for word in line.split()]
    used = sorted({*used} & {*extras}) or [x for x in TEST_NAMES if x in extras][:1]
    names = {text: normalise(Requirement(text).name) for text in more}
    needed = [text for text in names if names[text] not in NO_TEST_REQUIREMENTS]
    inside = [Requirement(text).name for name in used for text in extras[name]]
    if not {"pytest", package.name} & {*map(normalise, [*inside, *names.values()])}:
        needed.append("pytest")
    return [f"{package.name}[{','.join(used)}]"] * bool(used) + needed


def has_pixi(package: Package) -> bool:
    """Whether pixi makes the environments of the package."""
    is_there = (package.root / "pixi.toml").exists()
    return is_there or "pixi" in package.pyproject.get("tool", {})


def ruff_rules(package: Package, add: list[str]) -> str:
    """Return a ruff configuration with which the owner's rules apply to own files only."""
    file = "ruff.toml" if (package.root / "ruff.toml").exists() else "pyproject.toml"
    kit = (package.modules / "kit").relative_to(package.root).as_posix()
    added = [name for name in add if name.endswith(".py") or name == "AGENTS.md"]
    names = [name for name in added if not name.startswith(f"{kit}/")]
    return (
        f"# Your rules are those of {file}. What the template brought is checked there.\n"
        f'extend = "{file}"\nextend-exclude = {toml_list([*names, kit])}\n'
    )


def toml_list(names: list[str]) -> str:
    """Return names in lines of their own."""
    return "[\n" + "".join(f"  {json.dumps(name)},\n" for name in names) + "]"


def decisions(
    package: Package, rendered: Path, add: list[str], kept: list[str]
) -> Iterator[str]:
    """Yield what the owner has to do before the manifest's check and the tests work."""
    module = package.modules.relative_to(package.root).as_posix()
    task_list = (package.modules / "dev" / "task_list.py").read_text(encoding="utf-8")
    manifest = package.manifest
    script = f"{module}/dev/create_manifest.py"
    if script in kept:
        yield (
            f"{script}: take the template's, "
            f"`{shlex.join(['cp', str(rendered / script), str(package.root / script)])}`, "
            f"and add `{json.dumps(script)}` to the extend-exclude of {RUFF}."
        )
        models = named_models(package, script)
        if models and "INPUT_MODELS" not in task_list:
            yield (
                f"{module}/dev/task_list.py: add `INPUT_MODELS = {models!r}`, the models "
                "whose fields yours describes in the schemas."
            )
    values = {
        "AUTHORS": manifest.get("authors"),
        "DOCS_LINK": "".join(package.docs_links[:1]),
    }
    for variable, value in values.items():
        if value and not re.search(rf"^{variable}\b", task_list, re.M):
            yield (
                f"{module}/dev/task_list.py: add `{variable} = {json.dumps(value, ensure_ascii=False)}`, "
                "which the manifest has and the task list does not say."
            )
    # Since 0.5, it writes other schemas, and rejects some arguments that it took before.
    old = manifest.get("args_schema_version", "pydantic").startswith("pydantic")
    tools = "fractal-task-tools<0.5" if old else "fractal-task-tools>=0.5.1,<0.6"
    if "fractal-task-tools" not in package.requirements:
        yield f'pyproject.toml: add "{tools}" to the dependencies: it makes the manifest.'
    elif old and "0.5.1" in package.requirements["fractal-task-tools"]:
        yield (
            f'pyproject.toml: make it "{tools}", which the manifest was made with. '
            "Later, allow a newer one, and see what `nox -s manifest` changes."
        )
    if groups := package.pyproject.get("dependency-groups"):
        lines = re.findall(r"^(\w+)( = \[.+\])$", new_groups(package, rendered), re.M)
        missing = [name + value for name, value in lines if name not in groups]
        if missing:
            yield "\n     ".join(
                ["pyproject.toml: add to [dependency-groups]:", *missing]
            )
    old_pythons = SpecifierSet(package.project.get("requires-python", ""))
    if "3.10" in old_pythons:
        older = [
            path.relative_to(package.root).as_posix()
            for path in sorted((package.root / ".github" / "workflows").glob("*.y*ml"))
            if re.search(r"\b3\.(9|10)\b", path.read_text("utf-8"))
        ]
        yield (
            'pyproject.toml: the files of the template need requires-python = ">=3.11.1".'
            + (f" Take older ones out of {', '.join(older)}, too." if older else "")
        )
    yield from too_old(package)
    yield from of_tools(package)
    if (package.root / RUFF).exists():
        rules = ruff_rules(package, add).partition("\nextend-")[2]
        yield f"{RUFF}: so that it leaves the template's files alone, add to it:\nextend-{rules}"
    if "noxfile.py" in kept:
        yield "noxfile.py: copy the sessions `manifest` and `tests` of the template into yours."
    for test in sorted((package.root / "tests").glob("test_*.py")):
        if "raw.githubusercontent.com" in test.read_text(encoding="utf-8"):
            yield (
                f"tests/{test.name}: it needs the network; tests/test_manifest.py checks the "
                "manifest without, so delete the older one if you like."
            )
    license = find_license(package)
    if license.lower() not in LICENSES:
        yield (
            f"{ANSWERS}: the license {license!r} is none of {', '.join(LICENSES.values())}. "
            f"The answer is {QUESTIONS['license']['default']}, and changes no file of yours."
        )
    for name, part, mistake in broken(package):
        yield (
            f"{name}: the web form cannot show {part}: {mistake}. "
            "tests/test_manifest.py rejects it."
        )
    for task in package.tasks:
        if names := ", ".join(undescribed(task)):
            yield (
                f"{task['name']}: describe, in its docstring and those of its models: {names}. "
                "tests/test_manifest.py asks for it."
            )
    if not manifest:
        yield f"{module}/{MANIFEST}: there is none; `nox -s manifest` writes it."
    elif not all("type" in task for task in package.tasks):
        yield (
            f"{module}/{MANIFEST}: run `nox -s manifest`, which says of which type each "
            "task is, and commit it."
        )


def too_old(package: Package) -> Iterator[str]:
    """Yield dependencies of which the package allows no version that the kit takes."""
    for text in metadata.requires("fractal-workbench") or ():
        needed = Requirement(text)
        name = normalise(needed.name)
        allowed = package.requirements.get(name)
        if name not in KIT or allowed is None:
            continue
        limits = [*needed.specifier, *allowed]
        versions = [limit.version.removesuffix(".*") for limit in limits]
        if not any(
            needed.specifier.contains(version, prereleases=True)
            and allowed.contains(version, prereleases=True)
            for version in versions
        ):
            yield (
                f'pyproject.toml: "{name}{allowed}" leaves out all of {needed.specifier}, which '
                "the kit of the template needs. Allow it before you add a task by "
                "`nox -s new_task`, which brings the kit."
            )


def named_models(package: Package, script: str) -> list[tuple[str, str, str]]:
    """Return the models whose fields an older script describes in the schemas."""
    text = (package.root / script).read_text(encoding="utf-8")
    try:
        tree = ast.parse(text)
    except SyntaxError:  # which takes the owner's attention first
        return []
    values = {
        target.id: node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    models = []
    for node in ast.walk(tree):
        if isinstance(node, ast.keyword) and node.arg == "custom_pydantic_models":
            value = values.get(getattr(node.value, "id", ""), node.value)
            with suppress(ValueError):  # of what is computed
                models += [tuple(model) for model in ast.literal_eval(value) or ()]
    used = {name for task in package.tasks for name in models_of(task)}
    if "fractal_tasks_core" in text:  # which describes its own, unasked
        own = ("ChannelInputModel", "OmeroChannel", "Window")
        models += [("fractal_tasks_core", "channels.py", n) for n in own if n in used]
    return models


def models_of(task: dict[str, Any]) -> Iterator[str]:
    """Yield the names of the models in the schemas of a task."""
    for kind in ("args_schema_non_parallel", "args_schema_parallel"):
        yield from (task.get(kind) or {}).get("$defs", {})


def of_tools(package: Package) -> Iterator[str]:
    """Yield conflicts of the added files with other tools of the owner."""
    file = package.root / ".pre-commit-config.yaml"
    hooks = yaml.safe_load(file.read_text("utf-8")) if file.exists() else None
    for hook in (hooks or {}).get("repos") or []:
        with suppress(InvalidVersion):
            is_old = Version(hook.get("rev", "")) < Version("0.21")
            if "validate-pyproject" in hook.get("repo", "") and is_old:
                yield (
                    f"{file.name}: make the rev of validate-pyproject v0.21 or later: older "
                    "ones know no [dependency-groups]."
                )
    if has_pixi(package):
        yield "pixi.lock: run `pixi lock`, which takes groups as features, and commit it."
    tool = package.pyproject.get("tool", {}).get("setuptools", {}).get("packages", {})
    include = tool.get("find", {}).get("include", []) if isinstance(tool, dict) else []
    module = package.modules.name
    inside = [f"{module}.dev", f"{module}.kit"]
    if include and not all(any(fnmatch(n, i) for i in include) for n in inside):
        yield (
            f'pyproject.toml: add "{module}.*" to [tool.setuptools.packages.find] include, '
            "so that the wheel has all modules."
        )


def broken(package: Package) -> Iterator[tuple[str, str, str]]:
    """Yield each task with arguments that the web form cannot show, and the reasons."""
    version = package.manifest.get("args_schema_version", "")
    if version == "pydantic_v1":
        return
    for task in package.tasks:
        for kind in ("args_schema_non_parallel", "args_schema_parallel"):
            try:
                if schema := task.get(kind):
                    schema = {"additionalProperties": False} | schema
                    check_arguments(schema, is_old=version == "pydantic_v2")
            except ValueError as error:
                yield task["name"], path_of(error) or kind, str(error)
            except (AttributeError, KeyError, TypeError):  # a schema of another time
                yield task["name"], kind, "it is no schema of today"
