"""A command names the extra that it lacks, before it runs."""

import json
from importlib import metadata
from types import SimpleNamespace

import pytest
from click.testing import CliRunner

from fractal_workbench import cli


def test_a_command_names_the_missing_extra(monkeypatch, tmp_path):
    def distributions(name):
        return [] if name in ("rich", "onnx") else metadata.distributions(name=name)

    lacking = SimpleNamespace(requires=metadata.requires, distributions=distributions)
    monkeypatch.setattr(cli, "metadata", lacking)
    workflow = tmp_path / "workflow.json"
    step = {"task": {"pkg_name": "my-tasks", "version": "1.0", "name": "Blur"}}
    workflow.write_text(json.dumps({"name": "Blur", "task_list": [step]}))
    command = ["run", str(workflow), "--zarr-dir", str(tmp_path)]
    monkeypatch.setattr(cli.shutil, "which", lambda name: None)
    monkeypatch.delenv("UV", raising=False)
    result = CliRunner().invoke(cli.main, command)
    assert result.exit_code == 2
    assert "rich not installed: install the workbench as" in result.output
    assert "`fractal-workbench[run]`" in result.output
    # An extra includes others.
    assert cli.find_missing("demo") == ["onnx", "rich"]
    assert cli.find_missing("check-manifest") == []
    # Arguments are checked without an extra.
    assert CliRunner().invoke(cli.main, ["--check-arguments", *command]).exit_code == 0


def test_uv_continues_with_the_missing_extra(monkeypatch, tmp_path):
    """As after `uvx --from "git+URL#subdirectory=workbench" fractal-workbench run ...`."""
    record = tmp_path / "called"
    uv = tmp_path / "uv"
    uv.write_text(f'#!/bin/sh\necho "$@" > {record}\nexit 7\n')
    uv.chmod(0o755)
    monkeypatch.setenv("UV", str(uv))
    monkeypatch.setattr("sys.argv", ["fractal-workbench", "run", "w.json"])
    origin = {
        "url": "https://example.org/template.git",
        "vcs_info": {"vcs": "git", "commit_id": "abc123"},
        "subdirectory": "workbench",
    }
    monkeypatch.setattr("fractal_workbench.origin.read_origin", lambda: origin)
    with pytest.raises(SystemExit, match="7"):
        cli.run_with_extra("run")
    called = record.read_text()
    assert called.endswith("fractal-workbench run w.json\n")
    address = "git+https://example.org/template.git@abc123#subdirectory=workbench"
    assert f"--from fractal-workbench[run] @ {address}" in called
