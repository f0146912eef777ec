"""Each tutorial works as it is written, and shows the output that a reader gets."""

import ast
import re
import shlex
import sys
from pathlib import Path

import pytest
from readme import Block, read_blocks
from rendering import ROOT, import_folder, make_environment, run
from test_package import nox
from test_update import commit

TUTORIALS = ROOT / "docs" / "tutorials"


class Reader:
    """A reader of a tutorial, with a package and an environment that has it."""

    def __init__(self, package: Path, python: Path, data: Path) -> None:
        self.package, self.python, self.data = package, python, data

    def read(self, name: str) -> list[Block]:
        text = (TUTORIALS / f"{name}.md").read_text("utf-8")
        blocks = read_blocks(text.replace("/data", str(self.data)))
        return [block for block in blocks if not block.language.startswith("{")]

    def run(self, *arguments: str | Path) -> str:
        return run(self.python, *arguments, cwd=self.package)

    def execute(self, block: Block, output: Block, rel: float = 0) -> None:
        """Run a program, and compare its output with the one that is shown.

        Args:
            block: The program.
            output: What it prints.
            rel: How far numbers may be off, such as those of another version of a model.
        """
        assert (block.language, output.language) == ("python", "text")
        printed = self.run("-c", block.code)
        assert without_numbers(printed) == without_numbers(output.code)
        shown, values = (
            [float(number) for number in re.findall(r"\d+", text)]
            for text in (output.code, printed)
        )
        assert values == pytest.approx(shown, rel=rel), printed

    def use_nox(self, block: Block) -> str:
        """Run the commands of a block that call the workbench by nox; return their output."""
        output = ""
        for line in block.code.splitlines():
            if match := re.match("nox -s (run|new_task) -- (.*)", line):
                verb, arguments = match[1].replace("_", "-"), shlex.split(match[2])
                if verb == "run":  # what nox would build and install is here
                    if "--with" in arguments:
                        place = arguments.index("--with")
                        del arguments[place : place + 2]
                    arguments += ["--env", f"my-fractal-tasks={self.python}"]
                output += self.run("-m", "fractal_workbench", verb, *arguments)
        return output


def without_numbers(text: str) -> str:
    """Return a text in which times and versions of libraries are 0."""
    return re.sub(r"[0-9]+([.][0-9]+)*", "0", text.replace("[ ", "["))


def replace(file: Path, code: str) -> None:
    """Replace the functions of a file by those of a text, in front of the first one."""
    text = file.read_text("utf-8")
    names = {node.name for node in ast.parse(code).body}
    places = []
    for node in ast.parse(text).body:
        if isinstance(node, ast.FunctionDef) and node.name in names:
            first = min([node.lineno, *(d.lineno for d in node.decorator_list)])
            places.append((first - 1, node.end_lineno))
    assert places, f"{file} has none of {names}"
    lines = text.splitlines(keepends=True)
    for start, end in reversed(places):
        lines[start:end] = []
    lines.insert(places[0][0], code)
    file.write_text("".join(lines), "utf-8")


@pytest.mark.long
@pytest.mark.weekly
def test_tiffs_become_a_table_on_a_server_too_and_a_model_segments_them(
    render, tmp_path
):
    """The tutorials of servers and models begin with the package of that of TIFFs."""
    text = (TUTORIALS / "tiffs-to-table.md").read_text("utf-8")
    (examples,) = re.findall(r"'examples=\[(.+?)\]'", text)
    package = render(tmp_path / "my-fractal-tasks", examples=examples.split(", "))
    requirements = ("--editable", package, f"{ROOT / 'workbench'}[new-task,run]")
    libraries = ("scikit-image", "scikit-learn", "joblib")
    tests = ("--group", f"{package / 'pyproject.toml'}:test")
    python = make_environment(
        tmp_path / "venv", *requirements, *libraries, *tests, python=sys.executable
    )
    reader = Reader(package, python, tmp_path / "data")
    workflow = package / "workflow.json"

    _, tiffs, names, steps, plan, planned, job, table, rows = reader.read(
        "tiffs-to-table"
    )
    reader.execute(tiffs, names)
    workflow.write_text(steps.code)
    assert planned.code in reader.use_nox(plan)
    assert "report.html" in reader.use_nox(job)
    reader.execute(table, rows)

    _, server, done, build, built = reader.read("package-to-server")
    commit(package)
    log = nox(package, *shlex.split(server.code)[1:])
    lines = without_numbers(log).splitlines()
    for line in without_numbers(done.code).splitlines():
        assert line == "…" or line in lines, (line, lines)
    log = nox(package, *shlex.split(build.code)[1:])
    assert built.code in log
    assert (package / "dist" / built.code.split()[-1]).exists()

    begin, task, train, _, agreement, fixture, imports, check, images, *rest = (
        reader.read("trained-model")
    )
    steps, job, count, counts = rest
    reader.use_nox(begin)
    replace(import_folder(package) / "segment_nuclei.py", task.code)
    reader.execute(train, agreement, rel=0.1)
    test = package / "tests" / "test_segment_nuclei.py"
    replace(test, fixture.code)
    test.write_text(imports.code + test.read_text("utf-8"))
    assert "nox -s format manifest" in check.code
    reader.run(import_folder(package) / "dev" / "create_manifest.py")
    assert "nox -s tests -- tests/test_segment_nuclei.py" in check.code
    reader.run("-m", "pytest", test)
    (package / "images.json").write_text(images.code)
    workflow.write_text(steps.code)
    reader.use_nox(job)
    reader.execute(count, counts, rel=0.1)
