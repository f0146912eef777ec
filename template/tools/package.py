"""The package that a tool works on: nox runs it in the package's folder."""

import tomllib
from pathlib import Path

PROJECT = Path.cwd()
PYPROJECT = PROJECT / "pyproject.toml"
NAME: str = tomllib.loads(PYPROJECT.read_text("utf-8"))["project"]["name"]
PACKAGE = PROJECT / "src" / NAME.replace("-", "_")
