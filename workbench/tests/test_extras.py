"""A command names the extra that it lacks, before it runs."""

import json
from importlib import metadata
from types import SimpleNamespace

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
