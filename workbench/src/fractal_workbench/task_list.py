"""The entries of a task list, read without importing it."""

import ast
import re
from pathlib import PurePosixPath
from typing import NamedTuple

DOCS = "file:docs_info/"


class Entry(NamedTuple):
    """A task in a task list.

    Attributes:
        node: Its expression.
        keywords: The text of each keyword that is a text, such as `name` and `executable`.
    """

    node: ast.expr
    keywords: dict[str, str]

    @property
    def name(self) -> str:
        """Name of the task, or else its expression."""
        return self.keywords.get("name", "").strip() or ast.unparse(self.node)

    @property
    def executables(self) -> list[str]:
        """Paths of its modules in the package; the init part comes first."""
        names = ("executable_init", "executable")
        return [self.keywords[name] for name in names if name in self.keywords]

    @property
    def stem(self) -> str:
        """The name that its modules share, such as `project_image` of a compound task.

        Empty, if they share none.
        """
        stems = [PurePosixPath(path).stem for path in self.executables]
        if len(stems) == 2:
            stems = [stems[0].removesuffix("_init"), stems[1].removesuffix("_compute")]
        return stems[0] if len({*stems}) == 1 else ""

    @property
    def docs(self) -> str:
        """Name of the file of its documentation in `dev/docs_info`; empty if it has none."""
        text = self.keywords.get("docs_info", "")
        return text.removeprefix(DOCS) if text.startswith(DOCS) else ""


def find_assignment(text: str) -> ast.Assign | ast.AnnAssign | None:
    """Return the statement that assigns `TASK_LIST`."""
    for node in ast.parse(text, "task_list.py").body:
        if isinstance(node, ast.Assign | ast.AnnAssign) and re.match(
            r"TASK_LIST\b", ast.unparse(node)
        ):
            return node
    return None


def read_entries(text: str) -> list[Entry]:
    """Return the tasks in the text of a task list."""
    node = find_assignment(text)
    tasks = node.value.elts if node and isinstance(node.value, ast.List) else []
    entries = []
    for task in tasks:
        pairs = task.keywords if isinstance(task, ast.Call) else []
        keywords = {
            str(pair.arg): pair.value.value
            for pair in pairs
            if isinstance(pair.value, ast.Constant)
            and isinstance(pair.value.value, str)
        }
        entries.append(Entry(task, keywords))
    return entries
