"""Plain English: short sentences and lines, docstrings that name things, clear test names."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
WORDS = 25
# Sections of the changelog about releases that are out stay as they are.
OLD_RELEASES = re.compile(r"^## 0[.].*", re.MULTILINE | re.DOTALL)


def sentences(text: str) -> Iterator[str]:
    """Yield the sentences of Markdown or of a docstring; code counts as a word."""
    text = re.sub(r"^ *```.*?^ *```", "", text, flags=re.MULTILINE | re.DOTALL)
    text = re.sub(r"{%.*?%}|^ *\x08\n.*?(\n\n|\Z)", "\n\n", text, flags=re.M | re.S)
    text = re.sub(r"`[^`]*`", "code", text)
    text = re.sub(r"\]\([^)]*\)", "]", text)
    # Paragraphs, items, cells, headings, and the arguments in a docstring.
    parts = r"\n\s*\n|^\s*[-*] |^\s*\d+[.] |[|]|^#+ |^    +\w+: "
    for part in re.split(parts, text, flags=re.MULTILINE):
        yield from re.split(r"(?<=[.!?:;])\s+", " ".join(part.split()))


def find_long_sentences(text: str) -> list[str]:
    return [s for s in sentences(text) if len(re.findall(r"[\w'’-]+", s)) > WORDS]


def find_long_lines(text: str) -> list[str]:
    text = re.sub(r"^ *```.*?^ *```", "", text, flags=re.MULTILINE | re.DOTALL)
    lines = text.splitlines()
    return [
        line for line in lines if len(line) > 120 and not re.search(r"^ *[|<]|{{", line)
    ]


def docstrings(code: str) -> Iterator[str]:
    """Yield the docstrings of a module, which may be a template of one."""
    try:
        tree = ast.parse(code)
    except SyntaxError:
        yield from re.findall(r'(?:\A|:\n+) *"""(.*?)"""', code, re.DOTALL)
        return
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    for node in ast.walk(tree):
        if isinstance(node, kinds) and (text := ast.get_docstring(node, clean=False)):
            yield text


def files(*patterns: str) -> list[Path]:
    found = [path for pattern in patterns for path in ROOT.glob(pattern)]
    hidden = ("made", "site", "build")
    return [
        path
        for path in found
        if not any(
            p[0] == "." or p in hidden for p in path.relative_to(ROOT).parts[:-1]
        )
    ]


PAGES = files("*.md", "docs/**/*.md", "template/**/*.md*", "workbench/*.md")
MODULES = files("**/*.py", "**/*.py.jinja")


def test_pages_have_short_sentences_and_lines() -> None:
    assert len(PAGES) > 50
    long = {}
    for page in PAGES:
        text = OLD_RELEASES.sub("", page.read_text("utf-8"))
        if found := find_long_sentences(text) + find_long_lines(text):
            long[str(page.relative_to(ROOT))] = found
    assert not long


def test_docstrings_have_short_sentences_and_do_not_begin_with_a_question() -> None:
    assert len(MODULES) > 200
    long, questions = {}, []
    for path in MODULES:
        for text in docstrings(path.read_text("utf-8")):
            if path.parts[-2] != "tests" and (found := find_long_sentences(text)):
                long[str(path.relative_to(ROOT))] = found
            if re.match(r"\s*What\b", text):
                questions.append((path.name, text))
    assert not long
    assert not questions


def test_names_of_tests_are_promises() -> None:
    names = {
        (path.name, name)
        for path in MODULES
        for name in re.findall(r"\bdef (test_\w+)", path.read_text("utf-8"))
    }
    assert len(names) > 500
    assert not {name for name in names if re.search(r"_what(_|$|ever)", name[1])}


def test_log_lines_are_right_for_one_and_for_many() -> None:
    """A number comes after the name of what it counts: `Objects in labels/nuclei: 1`."""
    lines = [
        line
        for path in MODULES
        for line in path.read_text("utf-8").splitlines()
        if "logger." in line
    ]
    assert len(lines) > 50
    assert not [line for line in lines if re.search(r"%d( more)? [a-z]+s\b", line)]


def test_long_sentences_and_lines_are_found() -> None:
    short, long = "A word. " * 30, "word " * 26
    assert not find_long_sentences(short + f"\n```\n{long}\n```\n")
    assert len(find_long_sentences(f"{long}.\n\n- {long}\n| {long} |")) == 3
    assert find_long_lines("x" * 121) == ["x" * 121]
    assert not find_long_lines(f"| {'x' * 121}")
    code = 'def f():\n    """What it is."""\n'
    assert [*docstrings(code)] == [*docstrings(code + "{% if x %}")] == ["What it is."]
