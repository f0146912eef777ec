"""Bring a package made with the official Fractal template under this one.

Nothing that the package has is changed, but for tables at the end of its `pyproject.toml`
and the answers for copier: what it lacks is added, and what a person has to decide is
listed.
"""

import argparse
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import copier
import yaml
from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import InvalidSpecifier, SpecifierSet

ROOT = Path(__file__).resolve().parents[1]
sys.path.append(str(ROOT / "template" / "tools"))

from template import TEMPLATE_OWNED  # noqa: E402

QUESTIONS = yaml.safe_load((ROOT / "copier.yml").read_text(encoding="utf-8"))
ANSWERS = ".copier-answers.yml"
MANIFEST = "__FRACTAL_MANIFEST__.json"
RUFF = ".ruff.toml"  # which ruff reads before any other

# By what people write in pyproject.toml; others have no counterpart in the template.
LICENSES = {
    "apache-2.0": "Apache-2.0",
    "bsd-3-clause": "BSD-3-Clause",
    "gpl-3.0-or-later": "GPL-3.0-or-later",
    "mit": "MIT",
}
# What owners call the requirements of their tests, where their CI does not tell.
TEST_NAMES = ("test", "tests", "testing", "dev")
# What CI installs for another end.
NO_TEST_REQUIREMENTS = {"build", "hatch", "nox", "pip", "tox", "twine", "uv"}


class Refused(Exception):
    """The package can not be adopted as it is; nothing was written."""


class Package(NamedTuple):
    """What a package says about itself."""

    root: Path
    name: str  # normalised
    modules: Path
    pyproject: dict[str, Any]
    answers: dict[str, Any]  # to the template that it was made with
    manifest: dict[str, Any]

    @property
    def project(self) -> dict[str, Any]:
        return self.pyproject["project"]

    @property
    def requirements(self) -> dict[str, SpecifierSet]:
        """The packages that it depends on, and their versions."""
        return read_requirements(self.project.get("dependencies", []))

    @property
    def docs_links(self) -> list[str]:
        """The addresses of documentation in the manifest, as a rule one."""
        tasks = self.manifest.get("task_list", [])
        return sorted({task.get("docs_link") for task in tasks} - {None, ""})


def normalise(name: str) -> str:
    """Return the name of a distribution as pip compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def read_requirements(texts: list[str]) -> dict[str, SpecifierSet]:
    """Return the specifiers by name."""
    requirements = map(Requirement, texts)
    return {normalise(r.name): r.specifier for r in requirements}


def git(folder: Path, *arguments: str) -> str:
    """Run git without the variables of a hook; a failure raises `CalledProcessError`."""
    keep = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}
    return subprocess.run(
        ["git", "-C", folder, *arguments],
        env=keep,
        capture_output=True,
        check=True,
        text=True,
        encoding="utf-8",
    ).stdout


def find_package(root: Path) -> Package:
    """Read a package, or refuse it."""
    file = root / "pyproject.toml"
    if not file.is_file():
        raise Refused(f"{root} is no Python package: it has no pyproject.toml.")
    try:
        pyproject = tomllib.loads(file.read_text(encoding="utf-8"))
        written = pyproject["project"]["name"]
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise Refused(f"{file} is not valid: {error}.") from error
    except KeyError as error:
        raise Refused(f"{file} has no [project] with a name.") from error
    name = normalise(written)
    if written.replace("_", "-") != name:
        raise Refused(
            f'{file}: write the name "{written}" as "{name}", which is the same for pip.'
        )
    module = name.replace("-", "_")
    modules = root / "src" / module
    if not (modules / "dev" / "task_list.py").is_file():
        elsewhere = [
            path.parents[1].relative_to(root)
            for pattern in ("src/*/dev/task_list.py", "*/dev/task_list.py")
            for path in root.glob(pattern)
        ]
        if not elsewhere:
            raise Refused(
                f"{root} is no package of Fractal tasks: it has no src/{module}/dev/task_list.py."
            )
        raise Refused(
            f"The modules of {written} are in {elsewhere[0]}, and have to be in src/{module}: "
            "a Fractal server finds a package by its own name only, and the template "
            "keeps it in src. Move the folder, or rename the project."
        )
    try:
        changes = git(root, "status", "--porcelain", "--", ".")
    except (OSError, subprocess.CalledProcessError) as error:
        raise Refused(
            f"{root} is not under git: `git init`, and commit all of it. "
            "What adopting does can then be read, and undone."
        ) from error
    if changes:
        raise Refused(
            f"{root} has changes that are not committed: commit or stash them. "
            f"What adopting does can then be read, and undone.\n{changes.rstrip()}"
        )
    file = root / ANSWERS
    answers = yaml.safe_load(file.read_text("utf-8")) or {} if file.exists() else {}
    if "min_python" in answers:
        raise Refused(f"{root} is under this template already: run `copier update`.")
    file = modules / MANIFEST
    manifest = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    return Package(root, name, modules, pyproject, answers, manifest)


def find_answers(package: Package) -> dict[str, Any]:
    """Answer the questions of this template from what the package says."""
    project, old = package.project, package.answers
    authors = project.get("authors", [])
    if not authors and "author_name" in old:
        authors = [{"name": old["author_name"], "email": old.get("author_email")}]
    description = project.get("description") or old.get("project_short_description")
    answers = {
        "project_name": package.name,
        "project_description": " ".join((description or "").split()),
        "user_name": ", ".join(a["name"] for a in authors if a.get("name")),
        "user_email": next((a["email"] for a in authors if a.get("email")), ""),
        "github_user": find_github_user(package),
        "license": LICENSES.get(find_license(package).lower()),
        "examples": [],
        "min_python": find_python(package),
    }
    return {name: value for name, value in answers.items() if value or value == []}


def find_github_user(package: Package) -> str:
    """Return the owner of the repository, if that has the name of the package."""
    urls = [
        *package.project.get("urls", {}).values(),
        package.answers.get("project_url"),
        *package.docs_links,
    ]
    for url in urls:
        match = re.match(r"https?://github\.com/([^/]+)/([^/#?]+)", url or "")
        if match and normalise(match[2].removesuffix(".git")) == package.name:
            return match[1]
    return ""


def find_license(package: Package) -> str:
    """Return the license as the package writes it."""
    license = package.project.get("license", "")
    if isinstance(license, dict):
        license = license.get("text", "")
    return license or package.answers.get("project_license", "")


def find_python(package: Package) -> str:
    """Return the oldest Python of both the template and the package."""
    pythons = QUESTIONS["min_python"]["choices"]
    wanted = package.project.get("requires-python", "")
    for python in pythons:
        # As >=3.12.4 allows.
        if python in SpecifierSet(wanted) or f"{python}.99" in SpecifierSet(wanted):
            return python
    raise Refused(
        f'{package.root / "pyproject.toml"}: requires-python = "{wanted}" leaves out all '
        f"of Python {', '.join(pythons)}, which the template supports."
    )


def render(template: str, folder: Path, answers: dict[str, Any]) -> None:
    """Render a whole package into a folder, beside the one that is adopted."""
    shutil.rmtree(folder, ignore_errors=True)
    try:
        copier.run_copy(
            template,
            folder,
            data=answers,
            defaults=True,
            quiet=True,
            settings=copier.Settings(),
        )
    except (copier.errors.CopierError, OSError, ValueError) as error:
        raise Refused(f"The template refuses what the package says: {error}") from error
    commit = read_commit(folder)
    if commit and Path(template, ".git").exists():
        try:
            git(Path(template), "rev-parse", "--verify", f"{commit}^{{commit}}")
        except subprocess.CalledProcessError as error:
            raise Refused(
                f"{template} has changes that are not committed: the package would record "
                "a version of the template that exists nowhere. Commit them."
            ) from error


def read_commit(folder: Path) -> str | None:
    """Return the version of the template that a package records."""
    return yaml.safe_load((folder / ANSWERS).read_text(encoding="utf-8")).get("_commit")


def compare_files(
    package: Package, rendered: Path
) -> tuple[list[str], list[str], dict[str, str]]:
    """Return what to add, what the package has in another form, what to leave out and why."""
    add, kept, left_out = [], [], {}
    documents = {path.stem.lower() for path in package.root.iterdir()}
    if documents & {"licence", "copying"}:
        documents.add("license")
    for path in sorted(rendered.rglob("*")):
        name = path.relative_to(rendered).as_posix()
        file = package.root / name
        if path.is_dir() or name == ANSWERS:
            continue
        if file.exists():
            if file.read_bytes() != path.read_bytes() and not is_owned(name):
                kept.append(name)
        elif path.parent == rendered and path.stem.lower() in documents:
            continue  # as README.rst
        elif reason := find_reason(package, rendered, name):
            left_out[name] = reason
        else:
            add.append(name)
    return add, kept, left_out


def is_owned(name: str) -> bool:
    """Is this a file that the template gives, and never again changes?"""
    owned = ("README.md", "CHANGELOG.md", "task_list.py", MANIFEST, "test_workflow.py")
    return name.endswith(owned) or Path(name).match("src/*/*.py")


def find_reason(package: Package, rendered: Path, name: str) -> str:
    """Return why a file of the template would do harm in this package."""
    file = Path(name)
    workflows = package.root / ".github" / "workflows"
    if file.parts[:2] == (".github", "workflows") and workflows.is_dir():
        others = ", ".join(sorted(path.name for path in workflows.iterdir()))
        return f"the package has workflows of its own ({others})"
    if file.name == "ruff.toml":
        return f"{RUFF} leaves the template's files to the template"
    kit = file.parent.name == "kit" and file.name not in ("__init__.py", "fractal.py")
    if (kit or file.name == "conftest.py") and not has_image_layer(package, rendered):
        return "needs ome-zarr and zarr 3, which the package does not depend on"
    license = find_license(package)
    if file.name in ("LICENSE", "CITATION.cff") and license.lower() not in LICENSES:
        return f"the template has no license {license!r}"
    if file.name == "py.typed":
        return "says that the package has types: add it when `nox -s types` passes"
    if file.name == "CHANGELOG.md":
        return "a changelog begins with the package"
    return ""


def has_image_layer(package: Package, rendered: Path) -> bool:
    """Can what the template writes OME-Zarr with be imported in the package?"""
    project = tomllib.loads((rendered / "pyproject.toml").read_text(encoding="utf-8"))
    wanted = read_requirements(project["project"]["dependencies"])
    for name in ("numpy", "ome-zarr", "zarr"):
        (oldest,) = (s.version for s in wanted[name] if s.operator == ">=")
        allowed = package.requirements.get(name, SpecifierSet())
        # An upper bound below the oldest that would do excludes every later one too.
        if oldest not in allowed and "999" not in allowed:
            return False
    return "ome-zarr" in package.requirements


def new_groups(package: Package, rendered: Path) -> str:
    """Return the dependency groups of the template, but for `test`: that is the package's."""
    text = (rendered / "pyproject.toml").read_text(encoding="utf-8")
    (groups,) = re.findall(r"^\[dependency-groups\]\n.*?(?=\n+^\[)", text, re.M | re.S)
    (test,) = re.findall(r"^test = \[.*\]$", groups, re.M)
    own = package.pyproject.get("dependency-groups", {})
    if names := [name for name in TEST_NAMES if name in own]:
        needed = f'{{ include-group = "{names[0]}" }}'
    else:
        needed = ", ".join(map(json.dumps, test_requirements(package)))
    return groups.replace(test, f"test = [{needed}]") + "\n"


def test_requirements(package: Package) -> list[str]:
    """Return what its own tests run with.

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
    found = [text for text in names if names[text] not in NO_TEST_REQUIREMENTS]
    inside = [Requirement(text).name for name in used for text in extras[name]]
    if not {"pytest", package.name} & {*map(normalise, [*inside, *names.values()])}:
        found.append("pytest")
    return [f"{package.name}[{','.join(used)}]"] * bool(used) + found


def new_tables(
    package: Package, rendered: Path, add: list[str], names: list[str]
) -> str:
    """Return the tables to add to pyproject.toml: groups, and whose rules hold for what."""
    tool = package.pyproject.get("tool", {})
    mine = [
        name
        for name in find_owned(rendered, names)
        if not name.endswith("/create_manifest.py")
    ]
    groups = new_groups(package, rendered)
    tables = [] if "dependency-groups" in package.pyproject else [groups]
    if mine and "fractal-template" not in tool:
        tables.append(f"[tool.fractal-template]\nmine = {toml_list(mine)}\n")
    # One that is written as a list in one piece can not be continued.
    text = (package.root / "pyproject.toml").read_text(encoding="utf-8")
    overrides = tool.get("mypy", {}).get("overrides")
    if "mypy" in tool and (not overrides or "[[tool.mypy.overrides]]" in text):
        module = package.modules.name
        modules = [f"{module}.kit.*"] + [
            f"{module}.dev.{Path(name).stem}"
            for name in find_owned(rendered, add)
            if Path(name).match("dev/*.py") and Path(name).stem != "__init__"
        ]
        tables.append(
            "# The template checks its own types.\n[[tool.mypy.overrides]]\n"
            f"module = {toml_list(modules)}\nignore_errors = true\n"
        )
    return "\n".join(tables)


def ruff_rules(package: Package, add: list[str]) -> str:
    """Return a configuration by which the owner's rules judge the owner's files only."""
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


def find_owned(rendered: Path, names: list[str]) -> list[str]:
    """Return which of these files stay as the template has them."""
    files = {path for pattern in TEMPLATE_OWNED for path in rendered.glob(pattern)}
    return [name for name in sorted(names) if rendered / name in files]


def write(
    package: Package, rendered: Path, add: list[str], tables: str, rules: str
) -> None:
    """Add files, tables of pyproject.toml, what ruff leaves alone, and the answers."""
    file = package.root / RUFF
    if not file.exists():
        file.write_text(rules, encoding="utf-8", newline="\n")
    for name in add:
        file = package.root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(rendered / name, file)
    if tables:
        file = package.root / "pyproject.toml"
        old = file.read_bytes()
        end = "\r\n" if b"\r\n" in old else "\n"
        new = ("\n" if old.endswith(b"\n") else "\n\n") + tables
        file.write_bytes(old + new.replace("\n", end).encode())
    shutil.copy(rendered / ANSWERS, package.root)


def decisions(
    package: Package, rendered: Path, add: list[str], kept: list[str]
) -> Iterator[str]:
    """Yield what a person has to do before the manifest's check and the tests work."""
    module = package.modules.relative_to(package.root).as_posix()
    task_list = (package.modules / "dev" / "task_list.py").read_text(encoding="utf-8")
    manifest = package.manifest
    script = f"{module}/dev/create_manifest.py"
    if script in kept:
        yield (
            f"{script}: take the template's, "
            f"`{shlex.join(['cp', str(rendered / script), str(package.root / script)])}`. "
            "If yours names models for the schemas, list them in dev/task_list.py as INPUT_MODELS."
        )
    said = {
        "AUTHORS": manifest.get("authors"),
        "DOCS_LINK": "".join(package.docs_links[:1]),
    }
    for variable, value in said.items():
        if value and not re.search(rf"^{variable}\b", task_list, re.M):
            yield (
                f"{module}/dev/task_list.py: add `{variable} = {json.dumps(value, ensure_ascii=False)}`, "
                "which the manifest has and the task list does not say."
            )
    # Since 0.5, it writes other schemas, and refuses some arguments that it took before.
    old = manifest.get("args_schema_version", "pydantic_v2") == "pydantic_v2"
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
        yield 'pyproject.toml: the files of the template need requires-python = ">=3.11".'
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
    if not manifest:
        yield f"{module}/{MANIFEST}: there is none; `nox -s manifest` writes it."
    for task in manifest.get("task_list", []):
        if names := ", ".join(undescribed(task)):
            yield (
                f"{task['name']}: describe, in its docstring and those of its models: {names}. "
                "tests/test_manifest.py asks for it."
            )


def undescribed(task: dict[str, Any]) -> Iterator[str]:
    """Yield which arguments, and fields of models, the web form shows without a word."""
    for kind in ("args_schema_non_parallel", "args_schema_parallel"):
        schema = task.get(kind, {})
        models = {"": schema} | schema.get("$defs", {})
        for model, part in models.items():
            for name, argument in part.get("properties", {}).items():
                if "Missing description" in argument.get("description", ""):
                    yield f"{model}.{name}".removeprefix(".")


def report(
    package: Package,
    rendered: Path,
    add: list[str],
    kept: list[str],
    left_out: dict[str, str],
) -> Iterator[str]:
    """Yield what was done, and what is left to do, in lines."""
    root = package.root
    to_do = list(decisions(package, rendered, add, kept))
    yield f"{package.name} is under this template. `git diff` and `git status` show what is new."
    yield ""
    yield "Added:"
    yield from (f"  {name}" for name in add)
    yield "  pyproject.toml: at its end, what the sessions of nox install, and which files you keep"
    if f"{RUFF}: " not in "".join(to_do):
        yield f"  {RUFF}: your rules of ruff, for your files only"
    yield f"  {ANSWERS}: the answers to this template, instead of any other's"
    yield ""
    if to_do:
        yield "To do, so that `nox -s manifest -- --check` and `nox -s tests` work:"
        yield from (f"  {number}. {text}" for number, text in enumerate(to_do, 1))
        yield ""
    if left_out:
        yield "Not added:"
        yield from (f"  {name}: {reason}" for name, reason in left_out.items())
        yield ""
    if kept:
        yield "Yours, in another form than the template's, and not touched:"
        yield from (f"  {name}" for name in kept)
        yield ""
    yield (
        "`nox -s lint` goes by your [tool.ruff], and `nox -s types` needs a [tool.mypy]: take the template's tables if you like them."
    )
    yield f"The template's version of every file is below {rendered}. To look at one:"
    yield f"  git diff --no-index {root / 'pyproject.toml'} {rendered / 'pyproject.toml'}"
    yield "To take one, copy it, and delete its name from [tool.fractal-template] in pyproject.toml."
    yield "Where the template changes one that you keep, `copier update` marks a conflict, and"
    yield "`copier update --exclude FILE` leaves it alone."
    if not read_commit(rendered):
        yield "The template is not under git here: `copier update` will not work."
    yield ""
    yield "Then, in the package:"
    yield "  nox -s manifest -- --check     what the manifest would say now"
    yield "  nox -s tests"
    yield "  git add --all && git commit -m 'Adopt the template'"


def adopt(root: Path, template: str, folder: Path) -> list[str]:
    """Adopt a package, and return the lines of the report."""
    root = root.resolve()
    if Path(template).is_dir():
        # The package records it, and looks for it from elsewhere.
        template = str(Path(template).resolve())
    try:
        package = find_package(root)
        answers = find_answers(package)
        rendered = folder.resolve() / package.name
        render(template, rendered, answers)
        add, kept, left_out = compare_files(package, rendered)
        tables = new_tables(package, rendered, add, [*kept, *left_out])
        rules = ruff_rules(package, add)
        lines = list(report(package, rendered, add, kept, left_out))
    except (
        InvalidRequirement,
        InvalidSpecifier,
        json.JSONDecodeError,
        yaml.YAMLError,
    ) as error:
        raise Refused(f"{root} has a file that is not valid: {error}") from error
    write(package, rendered, add, tables, rules)
    return lines


def differences(before: dict[str, Any], after: dict[str, Any]) -> Iterator[str]:
    """Yield what differs between two manifests, task by task."""
    for key in sorted((before.keys() | after.keys()) - {"task_list"}):
        if before.get(key) != after.get(key):
            yield f"{key}: {before.get(key)!r}, now {after.get(key)!r}"
    old, new = ({t["name"]: t for t in m["task_list"]} for m in (before, after))
    yield from (f"{name}: is gone" for name in old.keys() - new.keys())
    yield from (f"{name}: is new" for name in new.keys() - old.keys())
    for name in [name for name in old if name in new]:
        for key in sorted(old[name].keys() | new[name].keys()):
            was, now = old[name].get(key), new[name].get(key)
            if was == now:
                continue
            if key.startswith("args_schema") and was and now:
                yield from (f"{name}: {text}" for text in schema_differences(was, now))
            elif key == "docs_info":
                yield f"{name}: docs_info differs"
            else:
                yield f"{name}: {key}: {was!r}, now {now!r}"


def schema_differences(was: dict[str, Any], now: dict[str, Any]) -> Iterator[str]:
    """Yield what differs between the arguments of a task."""
    for kind, key in (("argument", "properties"), ("model", "$defs")):
        old, new = was.get(key, {}), now.get(key, {})
        for name in sorted(old.keys() | new.keys()):
            if name not in new:
                yield f"{kind} {name} is gone"
            elif name not in old:
                yield f"{kind} {name} is new"
            elif old[name] != new[name]:
                yield f"{kind} {name} differs"
    rest = (was.keys() | now.keys()) - {"properties", "$defs"}
    for key in sorted(rest):
        if was.get(key) != now.get(key):
            yield f"arguments, {key}: {was.get(key)!r}, now {now.get(key)!r}"


def compare(root: Path, commit: str) -> list[str]:
    """Compare the manifest on disk with that of a commit."""
    try:
        (file,) = root.glob(f"src/*/{MANIFEST}")
        before = git(root, "show", f"{commit}:./{file.relative_to(root).as_posix()}")
    except (OSError, ValueError, subprocess.CalledProcessError) as error:
        raise Refused(f"{root} has no manifest, or none in commit {commit}.") from error
    after = json.loads(file.read_text(encoding="utf-8"))
    found = list(differences(json.loads(before), after))
    names = [task["name"] for task in after["task_list"]]
    same = f"The manifest describes the same {len(names)} tasks as in {commit}."
    return found or [same]


def main() -> None:
    """Adopt a package, or compare its manifests."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("package", type=Path, help="folder of the package")
    parser.add_argument(
        "--template",
        default=str(ROOT),
        help="what `copier update` will follow, a path or a URL; by default this checkout",
    )
    parser.add_argument(
        "--rendered", type=Path, required=True, help="folder for the template's version"
    )
    parser.add_argument(
        "--compare",
        nargs="?",
        const="HEAD",
        metavar="COMMIT",
        help="only compare the manifest with that of a commit (by default HEAD)",
    )
    options = parser.parse_args()
    try:
        if options.compare:
            lines = compare(options.package, options.compare)
        else:
            lines = adopt(options.package, options.template, options.rendered)
    except Refused as error:
        sys.exit(f"{error}\nNothing was written.")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
