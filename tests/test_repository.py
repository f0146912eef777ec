"""This repository keeps its own rules."""

import sys

from rendering import ROOT, run


def test_it_is_linted_and_formatted():
    run("ruff", "check", "--no-cache", ".", cwd=ROOT)
    run("ruff", "format", "--no-cache", "--check", ".", cwd=ROOT)


def test_ci_runs_the_test_command_of_the_readme():
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    *_, commands = script.rpartition("\n\n")
    command = " && ".join(commands.split("\n")).removesuffix(" && ")
    assert command in (ROOT / "README.md").read_text(encoding="utf-8")
    workflow = (ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8")
    assert "run: .ci/run" in workflow


def test_its_workflows_have_no_security_findings():
    run("zizmor", "--offline", "--persona=pedantic", ROOT / ".github")


def test_the_benchmark_compares_each_task(tmp_path):
    script = ROOT / "benchmark" / "run.py"
    table = run(sys.executable, script, tmp_path, "--pairs=1", "--images", "small")
    for task in ("gaussian_blur", "threshold_segmentation", "measure_features"):
        assert f"| small | {task} | " in table
