"""Build the documentation of a task package as a site."""

# Sphinx makes the site: it checks each link and each anchor, and needs no network. MyST reads
# Markdown, in which Fractal's tasks are described; Furo is a theme that reads well on a phone.

import re
import shutil
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx
from sphinx.util.docutils import docutils_namespace

from ..engine import rules
from ..form.source import find_package
from ..project import Project, find_project
from .demo_pictures import read_pictures, write_pictures
from .pages import describe_task, escape

SETTINGS: Mapping[str, Any] = {
    "extensions": ["myst_parser"],
    "exclude_patterns": ["README.md"],
    "html_theme": "furo",
    "html_copy_source": False,
    "html_show_sphinx": False,
    "myst_enable_extensions": ["deflist", "linkify"],
    "myst_linkify_fuzzy_links": False,
    "myst_heading_anchors": 3,
    # Texts of tasks begin with any heading, and name a language that nobody highlights.
    "suppress_warnings": ["myst.header", "misc.highlighting_failure"],
}
INSTALL = """\
## Install in Fractal

The tasks run where the package is collected. In Fractal's web interface, go to *Tasks*, *Add task package*:

- *PyPI*, if it is published there: the package `{name}`{version}{extras}.
- *Local* for the file `dist/*.whl`, which `nox -s build` writes{extras}.

The tasks then appear in the list of tasks of a workflow.
"""


def build(folder: Path, requirement: str = "") -> None:
    """Build the site of a package into a folder.

    Its pages are those of `docs/`, beside a page for each task and the changelog.

    Args:
        folder: Where the site goes; what an earlier call made there is replaced.
        requirement: As of `find_package`; by default the package in the current folder.

    Raises:
        WorkflowError: There is no such package, or a page has a mistake.
    """
    package = find_package(requirement)
    project = None if requirement else find_project()
    is_site = (folder / "objects.inv").exists()
    if folder.exists() and not is_site and any(folder.iterdir()):
        raise rules.WorkflowError(
            f"FOLDER: {folder} has files that are no site: name an empty folder"
        )
    with tempfile.TemporaryDirectory(prefix="fractal-docs-") as work:
        source, site = Path(work, "source"), Path(work, "site")
        without = write_pages(source, package, project)
        if not render(source, site, package):  # each mistake was printed
            raise rules.WorkflowError(
                "The pages have mistakes, which are listed above: correct them in `docs/`, "
                "in `docs_info/` of the task, or in CHANGELOG.md"
            )
        if is_site:
            shutil.rmtree(folder)
        shutil.copytree(site, folder, dirs_exist_ok=True)
    if project and without:
        print(
            f"Without pictures: {', '.join(without)}. The last `nox -s demo` without a "
            "folder did not run them."
        )
    print(f"Open {(folder / 'index.html').absolute()}")


def render(source: Path, site: Path, package: rules.Package) -> bool:
    """Make a site of pages, and return whether they have no mistakes."""
    settings = {
        **SETTINGS,
        "project": package.name,
        "html_title": package.name,
        "copyright": package.manifest.authors or "",
        "language": "en",
    }
    with docutils_namespace():
        sphinx = Sphinx(
            *(source, None, site, site.with_name("doctrees"), "html"),
            confoverrides=settings,
            status=None,
            warning=sys.stderr,
        )
        sphinx.build()
    return not sphinx._warncount


def write_pages(
    source: Path, package: rules.Package, project: Project | None
) -> list[str]:
    """Write the sources of a site: those of the owner, the tasks, and the changelog.

    Args:
        source: A new folder.
        package: The package.
        project: Its source folder, if that is at hand.

    Returns:
        Names of the tasks without pictures.
    """
    own = project.folder / "docs" if project else Path()
    if project and own.is_dir():
        shutil.copytree(own, source)
    tasks = source / "tasks"
    tasks.mkdir(parents=True, exist_ok=True)
    names: dict[str, list[str]] = {}
    without: list[str] = []
    pictures = read_pictures(project.folder) if project else {}
    for task in package.manifest.model_dump(mode="json")["task_list"]:
        name = re.sub(r"[^a-z0-9]+", "-", task["name"].lower()).strip("-") or "task"
        while (tasks / f"{name}.md").exists():
            name += "-2"
        text = describe_task(task)
        if found := pictures.get(task["name"]):
            text += "\n" + write_pictures(found, tasks, name) + "\n"
        else:
            without.append(task["name"])
        (tasks / f"{name}.md").write_text(text, "utf-8")
        names.setdefault(task["category"] or "Other", []).append(name)
    changelog = project.folder / "CHANGELOG.md" if project else Path()
    if project and changelog.is_file():
        shutil.copy(changelog, source / "changelog.md")
    if not (source / "index.md").exists():
        text = describe_package(package, project, names, source)
        (source / "index.md").write_text(text, "utf-8")
    return without


def describe_package(
    package: rules.Package,
    project: Project | None,
    names: Mapping[str, list[str]],
    source: Path,
) -> str:
    """Return the first page: what the package is, its tasks, and how a server gets it."""
    table = project.table if project else {}
    version = package.version or (project.read_version() if project else None)
    extras = ", ".join(table.get("optional-dependencies", {}))
    lines = [f"# {escape(package.name)}", escape(table.get("description", ""))]
    lines += ["## Tasks"]
    for category, pages in names.items():
        lines.append(make_contents(category, [f"tasks/{page}" for page in pages]))
    lines.append(
        INSTALL.format(
            name=package.name,
            version=f", version `{version}`" if version else "",
            extras=f"; with the extra `{extras}` for all tasks" if extras else "",
        )
    )
    files = sorted(source.rglob("*.md"))
    pages = [file.relative_to(source).with_suffix("").as_posix() for file in files]
    more = [p for p in pages if p not in {"index", "README"} and p[:6] != "tasks/"]
    if more:
        lines.append(make_contents("More", more))
    return "\n\n".join(line for line in lines if line) + "\n"


def make_contents(title: str, pages: list[str]) -> str:
    """Return a list of pages, which the navigation has too."""
    return "\n".join(
        ["```{toctree}", f":caption: {title}", ":maxdepth: 1", "", *pages, "```"]
    )
