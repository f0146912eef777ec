"""Settings of the site, and the parts of its reference that are made from the code."""

# Sphinx checks each link and anchor, needs no network, and takes signatures from the code
# (autodoc, sphinx-click). MyST reads Markdown; Furo is a theme that reads well on a phone.

import importlib
import inspect
import json
import re
from collections.abc import Iterator
from pathlib import Path

import my_fractal_tasks
import yaml
from my_fractal_tasks import kit
from numpy.typing import DTypeLike
from sphinx.application import Sphinx
from sphinx.pycode import ModuleAnalyzer
from sphinx.util.typing import stringify_annotation

from fractal_workbench.docs.pages import describe_task, make_table

HERE = Path(__file__).parent
MADE = HERE / "reference" / "made"

project = "Template for Fractal task packages"
html_title = "Fractal task template"
language = "en"
extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_click",
]
exclude_patterns = ["reference/made/questions.md", "reference/made/kit.md"]
default_role = "code"  # in docstrings, `name` is code, as in Markdown
html_theme = "furo"
html_copy_source = False
html_show_sphinx = False
napoleon_use_ivar = True
myst_enable_extensions = ["deflist"]
myst_heading_anchors = 3
suppress_warnings = [
    "myst.header"
]  # texts of tasks begin with headings of the third level
autodoc_typehints = "signature"
add_module_names = False
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"


def describe_questions() -> str:
    """Return a table of the questions of copier, with their answers and defaults."""
    questions = yaml.safe_load((HERE.parent / "copier.yml").read_text("utf-8"))
    rows = []
    for name, question in questions.items():
        if name.startswith("_") or question.get("when", True) is False:
            continue
        if question.get("ask", True) is False:
            continue
        choices = question.get("choices", [])
        if isinstance(choices, dict):
            choices = [f"`{value}`: {text}" for text, value in choices.items()]
            if question["type"] == "yaml":
                choices = ["yes", "no"]
        default = question["default"]
        if isinstance(default, list):
            default = "all"
        if name == "project_name":
            default = "the name of the folder, or `my-fractal-tasks`"
        default = {False: "no", "": "empty"}.get(default, default)
        rows.append((f"`{name}`", question["help"], "<br>".join(choices), str(default)))
    return make_table(("Question", "Meaning", "Answers", "Default"), rows)


def read_examples() -> dict[str, str]:
    """Return the part of the program of examples that belongs to each name of the kit."""
    _, *parts = (
        (HERE / "reference" / "kit_examples.py").read_text("utf-8").split("# %% ")
    )
    examples = {}
    for part in parts:
        names, _, code = part.partition("\n")
        examples |= dict.fromkeys(names.split(), code.strip())
    return examples


def describe_kit() -> Iterator[str]:
    """Yield an overview, and the names of the kit below the title of their module."""
    examples = read_examples()
    yield "## Find the function that you need"
    yield re.sub(
        r"`(\w+)`",
        lambda name: (
            f"{{py:obj}}`~{kit.__name__}.{name[1]}`"
            if name[1] in kit.__all__
            else name[0]
        ),
        (inspect.getdoc(kit) or "").partition("\n\n")[2],
    )
    modules: dict[str, list[str]] = {}
    for name in kit.__all__:
        value = getattr(kit, name)
        module = getattr(value, "__module__", None) or ""
        if not module.startswith(kit.__name__):  # an alias of a type of a library
            module = f"{kit.__name__}.slices"
        modules.setdefault(module, []).append(name)
    for module in sorted(modules):
        title, *_ = (inspect.getdoc(importlib.import_module(module)) or "").splitlines()
        yield f"## {title.rstrip('.')}"
        for name in modules[module]:
            value = getattr(kit, name)
            if inspect.isfunction(value):
                directive = f"autofunction:: {kit.__name__}.{name}"
            elif inspect.isclass(value):
                members = ":members:\n   :exclude-members: model_config"
                directive = f"autoclass:: {kit.__name__}.{name}\n   {members}"
            else:  # a type, with what its module says below it
                texts = ModuleAnalyzer.for_module(module).find_attr_docs()
                text = " ".join(texts.get(("", name), [f"The type `{value}`."]))
                directive = f"py:data:: {kit.__name__}.{name}\n\n   {text}"
            yield f"```{{eval-rst}}\n.. {directive}\n```"
            yield f"Example:\n\n```python\n{examples[name]}\n```"


def shorten(app: Sphinx, *about: object) -> tuple[str | None, str | None]:
    """Return a signature with the names of the types of the kit in place of what they are."""
    *_, signature, result = about
    texts = [str(text) if text else None for text in (signature, result)]
    for name, value in {
        "Array": kit.Array,
        "Region": kit.Region,
        "DTypeLike": DTypeLike,
    }.items():
        long = stringify_annotation(value, mode="smart")
        texts = [text and text.replace(long, name) for text in texts]
    return texts[0], texts[1]


def make_reference(app: Sphinx) -> None:
    """Write the pages that are made from the code."""
    (MADE / "tasks").mkdir(parents=True, exist_ok=True)
    (MADE / "questions.md").write_text(describe_questions(), "utf-8")
    (MADE / "kit.md").write_text("\n\n".join(describe_kit()), "utf-8")
    package = Path(my_fractal_tasks.__file__).parent
    manifest = json.loads((package / "__FRACTAL_MANIFEST__.json").read_text("utf-8"))
    for task in manifest["task_list"]:
        executable = task.get("executable_non_parallel") or task["executable_parallel"]
        name = Path(executable).stem.removesuffix("_init")
        (MADE / "tasks" / f"{name}.md").write_text(describe_task(task), "utf-8")


def setup(app: Sphinx) -> None:
    """Make the reference before Sphinx looks for pages."""
    app.connect("builder-inited", make_reference)
    app.connect("autodoc-process-signature", shorten)
