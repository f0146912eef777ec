"""Sites about the tasks of a package: complete, checked, and safe with texts of strangers."""

from pathlib import Path

import pytest

from fractal_workbench.docs import command, pages
from fractal_workbench.engine import rules

SCHEMA = {
    "type": "object",
    "properties": {
        "zarr_url": {"type": "string"},
        "sigma": {
            "type": "number",
            "minimum": 0,
            "default": 1.5,
            "description": "Of\n it | all.",
        },
        "mode": {"enum": ["a", "b"], "type": "string"},
        "box": {
            "type": "array",
            "prefixItems": [{"type": "integer"}, {"type": "integer", "maximum": 9}],
            "minItems": 2,
            "maxItems": 2,
        },
        "names": {"type": "array", "items": {"type": "string"}, "default": []},
        "weights": {"type": "object", "additionalProperties": {"type": "number"}},
        "limit": {"anyOf": [{"type": "integer"}, {"type": "null"}], "default": None},
        "channels": {"type": "array", "items": {"$ref": "#/$defs/Channel"}},
        "method": {
            "oneOf": [{"$ref": "#/$defs/Otsu"}, {"$ref": "#/$defs/Fixed"}],
            "discriminator": {"propertyName": "kind"},
        },
    },
    "required": ["zarr_url", "mode", "channels"],
    "$defs": {
        "Channel": {
            "title": "Channel",
            "type": "object",
            "properties": {"label": {"type": "string", "default": "DAPI"}},
        },
        "Otsu": {
            "title": "Otsu",
            "type": "object",
            "properties": {"kind": {"const": "otsu", "type": "string"}},
        },
        "Fixed": {
            "title": "Fixed",
            "type": "object",
            "properties": {
                "kind": {"const": "fixed", "type": "string"},
                "value": {"type": "number", "exclusiveMinimum": 0},
            },
            "required": ["value"],
        },
    },
}


def make_package(folder: Path, **task: object) -> rules.Package:
    """A package with one parallel task."""
    entry = {
        "name": "My Task",
        "type": "parallel",
        "executable_parallel": "my_task.py",
        "args_schema_parallel": SCHEMA,
    }
    manifest = {"manifest_version": "2", "task_list": [entry | task]}
    return rules.Package(
        name="my-tasks", root=folder, manifest=rules.Manifest.model_validate(manifest)
    )


def test_every_argument_is_described_with_type_default_and_limits():
    arguments = pages.read_arguments(SCHEMA)
    rows = {name: rest for name, *rest in pages.describe_fields(arguments)}
    assert rows == {
        "`sigma`": ["number, ≥ 0", "`1.5`", "Of it | all."],
        "`mode`": ['`"a"` \\| `"b"`', "required", ""],
        "`box`": ["(integer, integer, ≤ 9)", "empty", ""],
        "`names`": ["list of: text", "empty", ""],
        "`weights`": ["dictionary of: number", "empty", ""],
        "`limit`": ["integer or empty", "empty", ""],
        "`channels`": ["list of: Channel", "required", ""],
        "`channels[].label`": ["text", '`"DAPI"`', ""],
        "`method`": ["one of Otsu, Fixed", "empty", ""],
        "`method(Otsu).kind`": ['`"otsu"`', "empty", ""],
        "`method(Fixed).kind`": ['`"fixed"`', "empty", ""],
        "`method(Fixed).value`": ["number, > 0", "required", ""],
    }


def test_a_model_that_contains_itself_ends():
    node = {"type": "object", "properties": {"next": {"$ref": "#/$defs/Node"}}}
    schema = {"properties": {"tree": {"$ref": "#/$defs/Node"}}, "$defs": {"Node": node}}
    rows = [*pages.describe_fields(pages.read_arguments(schema))]
    assert [name for name, *_ in rows] == ["`tree`", "`tree.next`"]


def test_headings_become_those_of_a_section_but_not_in_code():
    text = "### Purpose\n```\n# no heading\n```\n#### Details"
    assert pages.shift_headings(text, 2) == (
        "## Purpose\n```\n# no heading\n```\n### Details"
    )


def test_texts_of_strangers_run_nothing_and_read_no_file(tmp_path, monkeypatch):
    secret = tmp_path / "secret.txt"
    secret.write_text("TOP SECRET")
    monkeypatch.chdir(tmp_path)
    text = (
        f"### Purpose\n<script>alert(1)</script> <img src=x onerror=alert(2)>\n\n"
        f"```{{include}} {secret}\n```\n\n~~~ {{eval-rst}}\n.. include:: {secret}\n~~~\n\n"
        f"- ```{{literalinclude}} {secret}\n  ```\n\n{{download}}`{secret}`\n\n"
        f"[link]({secret}) ![image]({secret})\n"
    )
    package = make_package(tmp_path, docs_info=text, name="<b>My</b> {download}`x`")
    monkeypatch.setattr(command, "find_package", lambda _: package)

    command.build(tmp_path / "site", "my-tasks")

    files = [file for file in (tmp_path / "site").rglob("*") if file.is_file()]
    assert not [file for file in files if b"TOP SECRET" in file.read_bytes()]
    (page,) = (tmp_path / "site" / "tasks").glob("*.html")
    html = page.read_text("utf-8")
    assert "<script>alert" not in html
    assert "<img src=x" not in html


def test_a_page_with_a_broken_link_is_rejected_and_the_old_site_stays(
    tmp_path, monkeypatch, capsys
):
    package = make_package(tmp_path)
    root = tmp_path / "src" / "my_tasks"
    root.mkdir(parents=True)
    manifest = package.manifest.model_dump_json(exclude_none=True)
    (root / "__FRACTAL_MANIFEST__.json").write_text(manifest)
    (tmp_path / "pyproject.toml").write_text(
        '[project]\nname = "my-tasks"\nversion = "1.0"\ndescription = "Of *us*"\n'
    )
    (tmp_path / "CHANGELOG.md").write_text("# Changelog\n\n## Unreleased\n")
    own = tmp_path / "docs" / "about.md"
    own.parent.mkdir()
    own.write_text("# About us\n\nSee [the task](tasks/my-task.md).\n")
    monkeypatch.chdir(tmp_path)
    site = tmp_path / "site"

    command.build(site)

    assert "Without pictures: My Task." in capsys.readouterr().out
    index = (site / "index.html").read_text("utf-8")
    for text in ("Of *us*", "My Task", "About us", "Changelog", "<code"):
        assert text in index
    before = (site / "about.html").read_bytes()

    own.write_text("# About us\n\nSee [the task](tasks/no-task.md#none).\n")
    with pytest.raises(rules.WorkflowError, match="mistakes"):
        command.build(site)
    assert "no-task" in capsys.readouterr().err
    assert (site / "about.html").read_bytes() == before


def test_a_folder_with_other_files_is_not_replaced(tmp_path, monkeypatch):
    package = make_package(tmp_path)
    monkeypatch.setattr(command, "find_package", lambda _: package)
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "thesis.txt").write_text("of years")
    with pytest.raises(rules.WorkflowError, match="FOLDER"):
        command.build(folder, "my-tasks")
    assert [file.name for file in folder.iterdir()] == ["thesis.txt"]
