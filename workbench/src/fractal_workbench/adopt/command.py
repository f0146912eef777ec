"""Bring a package made with the official Fractal template under this one.

Nothing that the package has is changed, but for tables at the end of its `pyproject.toml`
and the answers for copier: what it lacks is added, and what a person has to decide is
listed.
"""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import copier
import yaml
from packaging.requirements import InvalidRequirement
from packaging.specifiers import InvalidSpecifier, SpecifierSet

from ..project import ANSWERS, MANIFEST, git
from ..template.command import TEMPLATE_OWNED, TemplateError
from ..template.source import find_template
from .owner import (
    LICENSES,
    Package,
    Rejected,
    find_license,
    find_package,
    normalise,
)
from .todo import (
    QUESTIONS,
    RUFF,
    decisions,
    new_groups,
    ruff_rules,
    toml_list,
)

NOWHERE = (
    "{template} has changes that are not committed: the package would record a version of "
    "the template that exists nowhere. Commit them."
)


def find_answers(package: Package) -> dict[str, Any]:
    """Answer the questions of this template from what the package says."""
    project, old = package.project, package.answers
    authors = project.get("authors", [])
    if not authors and "author_name" in old:
        authors = [{"name": old["author_name"], "email": old.get("author_email")}]
    description = project.get("description") or old.get("project_short_description")
    answers: dict[str, Any] = {
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
    """Return the owner of the repository, if it has the name of the package."""
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


def find_python(package: Package) -> str:
    """Return the oldest Python of both the template and the package."""
    pythons = QUESTIONS["min_python"]["choices"]
    wanted = package.project.get("requires-python", "")
    for python in pythons:
        # As >=3.12.4 allows.
        if python in SpecifierSet(wanted) or f"{python}.99" in SpecifierSet(wanted):
            return str(python)
    raise Rejected(
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
    except copier.errors.DirtyLocalWarning as error:  # an error to `template`
        raise Rejected(NOWHERE.format(template=template)) from error
    except (copier.errors.CopierError, OSError, ValueError) as error:
        raise Rejected(
            f"The template rejects an answer of the package: {error}"
        ) from error
    commit = read_commit(folder)
    if commit and Path(template, ".git").exists():
        try:
            git(Path(template), "rev-parse", "--verify", f"{commit}^{{commit}}")
        except subprocess.CalledProcessError as error:
            raise Rejected(NOWHERE.format(template=template)) from error


def read_commit(folder: Path) -> str | None:
    """Return the version of the template that a package records."""
    answers: dict[str, str] = yaml.safe_load((folder / ANSWERS).read_text("utf-8"))
    return answers.get("_commit")


def compare_files(
    package: Package, rendered: Path
) -> tuple[list[str], list[str], dict[str, str]]:
    """Sort files of the template: to add, different in the package, left out and why."""
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
        elif reason := find_reason(package, name):
            left_out[name] = reason
        else:
            add.append(name)
    return add, kept, left_out


def is_owned(name: str) -> bool:
    """Whether the owner owns this file: no update changes it."""
    owned = ("README.md", "CHANGELOG.md", "AGENTS.md", "task_list.py", MANIFEST)
    return name.endswith((*owned, "test_workflow.py")) or Path(name).match("src/*/*.py")


def find_reason(package: Package, name: str) -> str:
    """Return why a file of the template must be left out of this package."""
    file = Path(name)
    workflows = package.root / ".github" / "workflows"
    if file.parts[:2] == (".github", "workflows") and workflows.is_dir():
        names = ", ".join(sorted(path.name for path in workflows.iterdir()))
        return f"the package has workflows of its own ({names})"
    license = find_license(package)
    if file.name in ("LICENSE", "CITATION.cff") and license.lower() not in LICENSES:
        return f"the template has no license {license!r}"
    if file.name == "py.typed":
        return "says that the package has types: add it when `nox -s types` passes"
    if file.name == "CHANGELOG.md":
        return "a changelog begins with the package"
    return ""


def new_tables(
    package: Package, rendered: Path, add: list[str], names: list[str]
) -> str:
    """Return the tables to add to pyproject.toml: dependency groups, and rules of tools."""
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


def find_owned(rendered: Path, names: list[str]) -> list[str]:
    """Return which of these files stay as the template has them."""
    files = {path for pattern in TEMPLATE_OWNED for path in rendered.glob(pattern)}
    return [name for name in sorted(names) if rendered / name in files]


def write(
    package: Package, rendered: Path, add: list[str], tables: str, rules: str
) -> None:
    """Write files, tables of pyproject.toml, exclusions of ruff, and the answers."""
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


def report(
    package: Package,
    rendered: Path,
    add: list[str],
    kept: list[str],
    left_out: dict[str, str],
) -> Iterator[str]:
    """Yield the lines of the report: changes, and what is left to do."""
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
        folder.mkdir(parents=True, exist_ok=True)
        (folder / ".gitignore").write_text("*\n", encoding="utf-8")
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
        raise Rejected(f"{root} has a file that is not valid: {error}") from error
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
        raise Rejected(
            f"{root} has no manifest, or none in commit {commit}."
        ) from error
    after = json.loads(file.read_text(encoding="utf-8"))
    changes = list(differences(json.loads(before), after))
    return changes or [f"The manifest describes the same tasks as in {commit}."]


def act(package: Path, template: str | None, commit: str | None) -> None:
    """Adopt a package, or compare its manifests."""
    try:
        if commit:
            lines = compare(package, commit)
        else:
            source = template or find_template()
            # What the template renders stays there, to be compared with.
            lines = adopt(package, source, package / ".nox" / "adopt")
    except (Rejected, TemplateError) as error:
        sys.exit(f"{error}\nNothing was written.")
    print("\n".join(lines))
