"""Blocks of code in a README, to be executed as a reader would."""

import os
import shutil
import tempfile
from pathlib import Path
from typing import NamedTuple

from markdown_it import MarkdownIt
from rendering import ROOT, run


class Block(NamedTuple):
    """A block of code, and the heading that it is under."""

    section: str
    language: str
    code: str

    def run(self, folder: Path, *programs: Path) -> str:
        """Execute it in a folder, where a JSON file is `workflow.json`; return what it said.

        Args:
            folder: Where the reader is.
            *programs: Folders with what the reader has installed.
        """
        others = ("VIRTUAL_ENV", "PYTHONPATH", "UV_PYTHON")
        env = {
            name: value
            for name, value in os.environ.items()
            if name not in others and not name.startswith("NOX_")
        }
        env["PATH"] = os.pathsep.join([*map(str, programs), env["PATH"]])
        if self.language == "json":
            (folder / "workflow.json").write_text(self.code, encoding="utf-8")
            return ""
        command = {"": ["bash", "-ex"], "python": ["python"]}.get(self.language)
        if command is None:
            raise ValueError(f"no test knows how to run {self.language!r}: {self.code}")
        with tempfile.NamedTemporaryFile("w", encoding="utf-8") as file:
            file.write(self.code)
            file.flush()
            return run(*command, file.name, cwd=folder, env=env)


def read_blocks(text: str, replaced: dict[str, str] | None = None) -> list[Block]:
    """Read the blocks of a README.

    Args:
        text: The README.
        replaced: What is written otherwise in the blocks.

    Raises:
        ValueError: If something that is to be replaced is in none of them.
    """
    blocks, section, is_heading = [], "", False
    todo = {*(replaced or {})}
    for token in MarkdownIt().parse(text):
        if is_heading:
            section = token.content
        is_heading = token.type == "heading_open"
        if token.type in ("fence", "code_block"):
            code = token.content
            for old, new in (replaced or {}).items():
                if old in code:
                    todo.discard(old)
                    code = code.replace(old, new)
            blocks.append(Block(section, token.info.strip(), code))
    if todo:
        raise ValueError(f"no block has {sorted(todo)}")
    return blocks


def try_it(checkout: Path) -> None:
    """Copy this repository, and run the first command of its README there, on two wells."""
    junk = (".git", ".nox", ".venv", "__pycache__", ".*_cache")
    shutil.copytree(
        ROOT, checkout, dirs_exist_ok=True, ignore=shutil.ignore_patterns(*junk)
    )
    text = (checkout / "README.md").read_text(encoding="utf-8")
    fewer = {"nox -s demo": "nox -s demo -- --wells 2"}
    read_blocks(text, fewer)[0].run(checkout)
