"""The package that a tool works on: nox runs it in the package's folder."""

import tomllib
from importlib import metadata
from pathlib import Path

PROJECT = Path.cwd()
PYPROJECT = PROJECT / "pyproject.toml"
PROJECT_TABLE = tomllib.loads(PYPROJECT.read_text("utf-8"))["project"]
NAME: str = PROJECT_TABLE["name"]
PACKAGE = PROJECT / "src" / NAME.replace("-", "_")


def read_version() -> str:
    """Return the version of the package, which may come from git when it is installed."""
    return PROJECT_TABLE.get("version") or metadata.version(NAME)
