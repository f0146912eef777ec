"""The task package in the current folder."""

import pytest
from click.testing import CliRunner

from fractal_workbench.cli import main


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (None, "has no task package"),
        ("[tool.ruff]\n", "has no task package"),
        ('[project]\nname = "a"\n<<<<<<< before updating\n', "pyproject.toml: "),
        ('[project]\nname = "\udce9"\n', "pyproject.toml: "),
    ],
    ids=["none", "no-project", "conflict", "encoding"],
)
def test_a_folder_without_a_readable_package_is_an_error_that_says_so(
    tmp_path, monkeypatch, text, answer
):
    monkeypatch.chdir(tmp_path)
    if text is not None:
        (tmp_path / "pyproject.toml").write_bytes(
            text.encode("utf-8", "surrogateescape")
        )
    result = CliRunner().invoke(main, ["template"])
    assert result.exit_code == 1
    assert isinstance(result.exception, SystemExit)
    assert answer in result.output
