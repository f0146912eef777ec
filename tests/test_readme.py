"""All that the READMEs tell a reader to type works, and what they speak of is there."""

import json
import re
import sys
from pathlib import Path

import pytest
from package_images import write_image
from readme import Block, read_blocks
from rendering import ROOT, import_folder, run
from test_adopt import make_package
from test_update import commit

from fractal_workbench.engine import rules

README = (ROOT / "README.md").read_text(encoding="utf-8")
GUIDES = ROOT / "docs" / "guides"
IMPORT = {"pkg_name": "my-tasks", "name": "Import OME-Zarr"}


@pytest.mark.long
def test_the_readme_of_this_repository(checkout: Path, tmp_path: Path) -> None:
    data, workflow = tmp_path / "data", tmp_path / "import.json"
    data.mkdir()
    write_image(data / "image.zarr", "yx")
    step = {"task": IMPORT, "args_non_parallel": {"zarr_name": "image.zarr"}}
    workflow.write_text(json.dumps({"name": "Import", "task_list": [step]}))
    theirs = make_package(tmp_path / "lab-tasks", "0.6")
    package = checkout / "my-tasks"
    run_it = f"run {workflow} --zarr-dir {data}"
    replaced = {
        # This test is a part of what the command runs.
        "/bin/nox\n": "/bin/nox --list\n",
        # Nobody is here to answer the questions.
        "copier copy": "copier copy --defaults",
        "fractal-workbench run WORKFLOW.json --zarr-dir DIR": f"fractal-workbench "
        f"{run_it} --yes --with 'my-tasks @ {package.as_uri()}'",
        "run -- WORKFLOW.json --zarr-dir DIR": f"run -- {workflow} --zarr-dir {data}",
        "form -- --workflow WORKFLOW.json": f"form -- --workflow {workflow}",
        "<absolute path or URL of this repository>": str(checkout),
        "<URL of the template>": checkout.as_uri(),
        "/path/to/package": str(theirs),
    }
    guides = [
        (GUIDES / f"{name}.md").read_text("utf-8")
        for name in ("run-a-workflow", "adopt")
    ]
    # The first block has been run: what a reader sees first is what `checkout` makes.
    first, second, copy, in_package, anywhere, forms, adopt = read_blocks(
        "\n\n".join([README, *guides]), replaced
    )
    assert "nox -s demo" in first.code
    assert (checkout / "demo" / "out" / "index.html").exists()

    assert "* tests -> " in second.run(checkout)
    copy.run(checkout)
    assert import_folder(package).name == "my_tasks"
    programs = checkout / ".venv" / "bin"
    log = in_package.run(package, programs)
    assert f"What it did: {data / 'report.html'}" in log
    assert "The forms of 10 tasks: " in forms.run(package, programs)
    adopt.run(checkout)
    answers = (theirs / ".copier-answers.yml").read_text("utf-8")
    assert f"_src_path: {checkout}\n" in answers

    commit(checkout)
    (data / "report.html").unlink()
    (tmp_path / "empty").mkdir()
    log = anywhere.run(tmp_path / "empty", programs)
    assert f"What it did: {data / 'report.html'}" in log
    assert "Import OME-Zarr" in (data / "report.html").read_text("utf-8")
    as_written = read_blocks(guides[0])[1].code.replace(
        "the template", "this repository"
    )
    assert as_written in (ROOT / "workbench" / "README.md").read_text("utf-8")


@pytest.mark.long
def test_the_readme_of_a_package(render, tmp_path: Path) -> None:
    package = render(tmp_path / "package")
    data = tmp_path / "data"
    data.mkdir()
    write_image(data / "image.zarr", "yx")
    replaced = {
        # It installs the same, in a tenth of the time.
        "python -m pip install": "uv pip install",
        # `test_package` has it run all checks.
        "nox uv\nnox\n": "nox uv\nnox -s lint\n",
        "/data": str(data),
    }
    text = (package / "README.md").read_text("utf-8")
    assert len(text.splitlines()) <= 90
    blocks = read_blocks(text, replaced)
    # The workflow is shown after the command that runs it.
    for block in sorted(blocks, key=lambda block: block.language != "json"):
        block.run(package, package / ".venv" / "bin")
    modules = import_folder(package)
    assert (modules / "top_hat.py").exists()
    assert "Top Hat" in (modules / "__FRACTAL_MANIFEST__.json").read_text("utf-8")
    assert "Import OME-Zarr" in (data / "report.html").read_text("utf-8")


@pytest.mark.parametrize(
    "examples", [[], ["gaussian_blur"], ["import_ome_zarr"]], ids=", ".join
)
def test_the_readme_of_a_package_with_some_examples(
    render, richest: Path, tmp_path: Path, examples: list[str]
) -> None:
    """It has no block that the one with all of them has not, but for its workflow."""
    package = render(tmp_path / "package", examples=examples)
    blocks = read_blocks((package / "README.md").read_text("utf-8"))
    known = {*read_blocks((richest / "README.md").read_text("utf-8"))}
    (workflow,) = (block for block in blocks if block.language == "json")
    assert {*blocks} - {workflow} <= known
    job = rules.read_job(workflow=json.loads(workflow.code))
    if "import_ome_zarr" in examples:
        rules.find_tasks(job)
    assert len(blocks) == len(known)


def test_a_block_that_nobody_runs_or_that_fails_is_noticed(tmp_path: Path) -> None:
    bash, unknown, indented = read_blocks(
        "# A\n```\ntrue\nfalse\ntrue\n```\n- b\n  ```r\n  1\n  ```\n\nC\n\n    echo $0\n"
    )
    with pytest.raises(RuntimeError, match=r"exited 1:\n\+ true\n\+ false\n$"):
        bash.run(tmp_path)
    with pytest.raises(ValueError, match="no test knows how to run 'r': 1"):
        unknown.run(tmp_path)
    assert indented == Block("A", "", "echo $0\n")
    with pytest.raises(ValueError, match=r"no block has \['false\\nfalse'\]"):
        read_blocks("```\nfalse\n```", {"false\nfalse": "true"})


@pytest.fixture(scope="module")
def sessions(richest: Path) -> dict[Path, dict[str, str]]:
    """Of this repository and of a package: the sessions in their order, with their text."""
    found = {}
    for folder in (ROOT, richest):
        listed = run(sys.executable, "-m", "nox", "--list", cwd=folder)
        lines = re.findall(r"^([*-]) (\w+) -> (.*)$", listed, re.MULTILINE)
        found[folder] = {name: mark + text for mark, name, text in lines}
    return found


def test_the_list_of_sessions_reads_as_a_table_of_contents(sessions) -> None:
    for listed in sessions.values():
        marks = [text[0] for text in listed.values()]
        assert marks == sorted(marks), "what `nox` runs comes first"
        for name, text in listed.items():
            assert re.fullmatch(r".[A-Z].*[.]", text), name
            assert len(text) <= 80, name


def test_each_session_that_is_spoken_of_is_there_and_each_is_spoken_of(
    sessions, richest: Path
) -> None:
    here, there = ({*sessions[folder]} for folder in (ROOT, richest))
    commands = ROOT / "docs" / "reference" / "commands.md"
    files = [commands, ROOT / "CONTRIBUTING.md", richest / "README.md"]
    repository, contributing, package = (
        {*re.findall(r"nox -s (\w+)", file.read_text("utf-8"))} for file in files
    )
    contributing |= {"adopt"}  # which has a guide of its own
    assert package <= there
    assert repository | contributing <= here | there
    checks = {"lint", "types", "tests"}
    assert here - checks <= repository | contributing
    assert there - checks <= repository


def test_each_claim_of_the_table_has_a_test() -> None:
    _, _, rest = README.partition("## Compared with the official template")
    table, _, _ = rest.partition("\n## ")
    shown = re.findall(r"\| ([^|\n]+) \|$", table, re.MULTILINE)[1:]
    assert len(shown) >= 8
    for cell in shown:
        names = re.findall(r"`(.+?)`", cell)
        assert names, cell
        for name in names:
            files = [*ROOT.glob(f"tests/{name}.py"), *ROOT.glob(f"*/tests/{name}.py")]
            assert name == "nox -s benchmark" or files, name


def test_the_pictures_are_there_and_said_in_words() -> None:
    pictures = re.findall(r'(?:src|srcset)="(.+?)"', README)
    assert pictures
    for name in pictures:
        assert (ROOT / name).stat().st_size < 250_000, name
    assert len(pictures) == len({*pictures})
    assert re.search(r'<img [^>]*alt="[^"]{40,}"', README)
    assert "© Broad Institute, BSD-3-Clause" in README
