"""Rename or remove a task, with all that belongs to it."""

import ast
import json
import re
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from rope.base.project import Project
from rope.refactor.rename import Rename

from ..form import stale
from ..project import ANSWERS, MANIFEST, git, project
from ..task_list import DOCS, Entry, read_entries
from .command import UNDO, polished, write
from .names import (
    RESERVED,
    Rejected,
    bound_names,
    check_rename,
    find_entry,
    module_name,
    module_problems,
)

Changes = dict[Path, str | None]  # None: the file is deleted
Edit = tuple[ast.expr, str]  # an expression, and its new source


class Task(NamedTuple):
    """A task of the package.

    Attributes:
        entry: What the task list says of it.
        others: The other entries of the task list.
        modules: Its modules, and those that only these import, with a name that begins with
            its own.
        texts: The texts of all Python files of the owner.
        imported: What these import of the package, with the lines.
    """

    entry: Entry
    others: list[Entry]
    modules: list[Path]
    texts: dict[Path, str]
    imported: dict[Path, list[tuple[str, int]]]


# --- what there is ---


def owned_files() -> list[Path]:
    """Return the files of the package that git knows or would add, but not the kit.

    Raises:
        Rejected: The package is not under git.
    """
    folder = project().folder
    try:
        listed = git(folder, "ls-files", "-z", "-co", "--exclude-standard", "--", ".")
    except (OSError, subprocess.CalledProcessError) as error:
        raise Rejected(
            f"{folder} is not under git: run `git init`, and commit all of it. What is "
            "renamed or removed can then be read, and undone."
        ) from error
    paths = [folder / name for name in sorted({*listed.split("\0")} - {""})]
    kit = project().root / "kit"
    return [path for path in paths if path.is_file() and kit not in path.parents]


def read_task(name: str, files: list[Path]) -> Task:
    """Return a task of the package.

    Raises:
        Rejected: There is none of this name, or its modules cannot be read.
    """
    entries = read_entries(project().task_list.read_text("utf-8"))
    entry = find_entry(entries, name)
    texts = {}
    for path in files:
        if path.suffix == ".py":
            try:
                texts[path] = path.read_text("utf-8")
                ast.parse(texts[path])
            except ValueError:
                texts.pop(path, None)  # what is no text imports nothing
            except SyntaxError as error:
                raise Rejected(
                    f"{shown(path)}, line {error.lineno}: {error.msg}: correct it first."
                ) from error
    others = [neighbour for neighbour in entries if neighbour is not entry]
    shared = {path for neighbour in others for path in neighbour.executables}
    own = [path for path in entry.executables if path not in shared]
    modules = [project().root / path for path in own]
    if missing := [path for path in modules if path not in texts]:
        raise Rejected(f"{shown(missing[0])} is not here: correct the task list.")
    imported = {path: imports(path, text) for path, text in texts.items()}
    used_by = {path: [*importers(path, imported)] for path in texts if is_module(path)}
    executables = {project().root / path for e in entries for path in e.executables}
    tests = [stale.text_files(project().root, entry.stem)["test"]]
    grown = True
    while grown:
        helpers = [
            path
            for path, users in used_by.items()
            if path not in {*modules, *executables}
            and entry.stem
            and path.stem.startswith(f"{entry.stem}_")
            and {user for user, _ in users} <= {*modules, *tests}
            and users
        ]
        modules += helpers
        grown = bool(helpers)
    return Task(entry, others, modules, texts, imported)


def is_module(path: Path) -> bool:
    """Return true for a module of the tasks."""
    return path.is_relative_to(project().root) and path.parent.name != "dev"


def dotted(path: Path) -> str:
    """Return the name by which a module of the package is imported."""
    parts = path.relative_to(project().root.parent).with_suffix("").parts
    return ".".join(parts)


def imports(path: Path, text: str) -> list[tuple[str, int]]:
    """Return the modules of the package that a file imports, each with the line."""
    if project().root.name not in text and "from ." not in text:
        return []
    lines = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            lines += [(alias.name, node.lineno) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            origin = node.module or ""
            if node.level:
                above = path.parents[node.level - 1]
                if not above.is_relative_to(project().root):
                    continue
                origin = ".".join(filter(None, [dotted(above), origin]))
            # A name of a package may be a module.
            names = [origin, *(f"{origin}.{alias.name}" for alias in node.names)]
            lines += [(name, node.lineno) for name in names]
    return lines


def importers(
    module: Path, imported: Mapping[Path, list[tuple[str, int]]]
) -> Iterator[tuple[Path, int]]:
    """Yield each file, with the line, that imports a module of the package."""
    name = dotted(module)
    for path, lines in imported.items():
        if path != module:
            yield from ((path, line) for known, line in lines if known == name)


def shown(path: Path) -> str:
    """Return a path as the owner knows it."""
    return path.relative_to(project().folder).as_posix()


# --- edits of text ---


def edited(text: str, edits: list[Edit]) -> str:
    """Return a module whose expressions are replaced."""
    lines = text.encode().splitlines(keepends=True)
    starts = [0]
    for line in lines:
        starts.append(starts[-1] + len(line))
    content = b"".join(lines)

    def place(node: ast.expr) -> tuple[int, int]:
        last_line, last_column = node.end_lineno or 0, node.end_col_offset or 0
        return (
            starts[node.lineno - 1] + node.col_offset,
            starts[last_line - 1] + last_column,
        )

    for node, new in sorted(edits, key=lambda edit: place(edit[0]), reverse=True):
        start, end = place(node)
        content = content[:start] + new.encode() + content[end:]
    return content.decode()


def text_constants(tree: ast.AST) -> Iterator[tuple[ast.Constant, list[ast.AST]]]:
    """Yield the texts of a module, each with the nodes around it, outermost first."""

    def visit(
        node: ast.AST, around: list[ast.AST]
    ) -> Iterator[tuple[ast.Constant, list[ast.AST]]]:
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node, around
        elif not isinstance(node, ast.JoinedStr):  # whose parts have no place
            for child in ast.iter_child_nodes(node):
                yield from visit(child, [*around, node])

    yield from visit(tree, [])


def names_a_task(node: ast.Constant, parent: ast.AST) -> bool:
    """Return true if a text stands where a task is named."""
    match parent:
        case ast.keyword(arg="name"):
            return True
        case ast.Subscript(slice=part):
            return part is node
        case ast.Compare():
            return True
        case ast.Dict(keys=keys, values=values):
            pairs = zip(keys, values, strict=True)
            return any(
                value is node and isinstance(key, ast.Constant) and key.value == "name"
                for key, value in pairs
            )
    return False


def quoted(text: str) -> str:
    """Return the source of a text."""
    return json.dumps(text, ensure_ascii=False)


class Names(NamedTuple):
    """The old and new names of a task."""

    name: tuple[str, str]
    stem: tuple[str, str]
    modules: dict[Path, Path]

    def replace_paths(self, text: str) -> str:
        """Replace names of modules, as they are imported and as files, in a text."""
        old_stem, new_stem = self.stem
        for old, new in self.modules.items():
            if old == new:
                continue
            call = rf"(?<![\w.]){re.escape(dotted(old))}(\.{old.stem})?(?!\w)"
            for match in reversed([*re.finditer(call, text)]):
                place = dotted(new) + (f".{new.stem}" if match[1] else "")
                text = text[: match.start()] + place + text[match.end() :]
            # As in `run_task("x.py")`, and in paths of settings.
            file = rf"(\A(?:[\w.]+/)*|{project().root.name}/){old.stem}\.py(?![\w/])"
            text = re.sub(file, rf"\g<1>{new.stem}.py", text)
        if old_stem != new_stem:
            for before, after in ((r"\btest_", r"\.py"), (DOCS, r"\.md")):
                text = re.sub(
                    rf"({before}){old_stem}({after})\b", rf"\g<1>{new_stem}\2", text
                )
        return text

    def replace_data(self, text: str) -> str:
        """Replace a text that is the name of a type, label, table or suffix."""
        old, new = self.stem
        known = {old: new, old.replace("_", ""): new.replace("_", "")}
        known |= {a.stem: b.stem for a, b in self.modules.items()}
        return known.get(text, text)


# --- renaming ---


def renamed_code(
    texts: Mapping[Path, str], modules: Mapping[Path, Path]
) -> dict[Path, str]:
    """Return Python files after modules, and the functions of their names, are renamed.

    Raises:
        Rejected: A file has the new name for something else.
    """
    folder = project().folder
    with tempfile.TemporaryDirectory() as temporary:
        copy = Path(temporary).resolve()
        for path, text in texts.items():
            file = copy / path.relative_to(folder)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8", newline="\n")
        source = project().root.parent.relative_to(folder).as_posix()
        rope = Project(
            str(copy),
            ropefolder=None,
            ignore_syntax_errors=True,
            automatic_soa=False,  # which takes long, and is for calls without a type
            source_folders=["" if source == "." else source],
        )
        try:
            for old, new in modules.items():
                if old == new:
                    continue
                resource = rope.get_resource(old.relative_to(folder).as_posix())
                if match := re.search(
                    rf"^def ({old.stem})\b", texts[old], re.MULTILINE
                ):
                    changes = Rename(rope, resource, match.start(1)).get_changes(
                        new.stem
                    )
                    for changed in changes.get_changed_resources():
                        path = folder / changed.path
                        if line := find_name(texts[path], new.stem):
                            raise Rejected(
                                f"{shown(path)}, line {line}: {new.stem} already means "
                                "something else there: choose another name."
                            )
                    rope.do(changes)
                rope.do(Rename(rope, resource, None).get_changes(new.stem))
        finally:
            rope.close()
        return {
            folder / path.relative_to(copy): path.read_text("utf-8")
            for path in copy.rglob("*.py")
        }


def find_name(text: str, name: str) -> int | None:
    """Return a line of a module that uses a name, or None."""
    for node in ast.walk(ast.parse(text)):
        names = (getattr(node, key, None) for key in ("id", "arg", "name", "asname"))
        if name in names:
            return int(getattr(node, "lineno", 1))
    return None


def rename(old_name: str, new_name: str) -> None:
    """Rename a task.

    Raises:
        Rejected: It cannot have the new name, or changes are not committed.
    """
    check_rename(old_name, new_name)
    files = owned_files()
    task = read_task(old_name, files)
    entry, root = task.entry, project().root
    new_name, new_stem = new_name.strip(), module_name(new_name)
    if not entry.stem:
        paths = " and ".join(entry.executables)
        raise Rejected(
            f"{entry.name}: {paths} share no name. Call them X_init.py and X_compute.py, "
            "and their functions so, first."
        )
    modules = {
        path: path.with_name(path.name.replace(entry.stem, new_stem, 1))
        for path in task.modules
    }
    executables = [root / path for path in entry.executables]
    names = Names((entry.name, new_name), (entry.stem, new_stem), modules)
    moved = dict(modules)
    old_texts, new_texts = (
        stale.text_files(root, stem) for stem in (entry.stem, new_stem)
    )
    moved |= {path: new_texts[key] for key, path in old_texts.items() if path.exists()}
    if entry.stem != new_stem:
        problems = [f"{shown(new)} exists." for new in moved.values() if new.exists()]
        for old, new in modules.items():
            problems += module_problems(new.stem, task.texts[old], RESERVED)
        if problems:
            raise Rejected("\n".join(dict.fromkeys(problems)))

    records = stale.read_records(root)
    record = records.get(entry.stem, {})
    fresh = unchanged(entry, task, record)
    is_generated = fresh.keys() == record.keys() != set() and not is_ambiguous(
        executables, task, names
    )
    texts = renamed_code(task.texts, modules)
    changes: Changes = {}
    for path in task.texts:
        new = moved.get(path, path)
        text = texts[modules.get(path, path)]
        changes[new] = edit_module(text, path, task, names, is_generated)
    for path in files:
        if path.suffix == ".json" and path.name != MANIFEST:
            changes[path] = rename_steps(path, names)
        elif path == project().pyproject:
            changes[path] = names.replace_paths(path.read_text("utf-8"))
    if (docs := old_texts["documentation"]).exists():
        text = docs.read_text("utf-8")
        if is_generated:
            text = in_backticks(text, names)
        changes[new_texts["documentation"]] = text
    sources = {new: old for old, new in moved.items()}
    for path in [*changes]:
        text = str(changes[path])
        source = sources.get(path, path)
        old_text = source.read_text("utf-8")
        if path.suffix == ".py" and text != old_text:
            is_clean = polished(source, old_text) == old_text
            changes[path] = polished(path, text) if is_clean else text
    changes |= {old: None for old, new in moved.items() if old != new}
    if record:
        records.pop(entry.stem)
        records[new_stem] = record | renew(fresh, new_name, new_stem, changes)
        changes[root / stale.RECORD] = stale.show_records(records)
    described = new_texts["documentation"]
    finish(changes, names_of(names), files, sources, described)


def unchanged(entry: Entry, task: Task, record: stale.Record) -> stale.Record:
    """Return the parts of a record that still hold."""
    modules = [
        (Path(path).stem, task.texts[project().root / path])
        for path in entry.executables
    ]
    now = stale.describe(entry, modules)
    for key, path in stale.text_files(project().root, entry.stem).items():
        if path.exists():
            now[key] = stale.checksum(path.read_text("utf-8"))
    return {key: value for key, value in now.items() if record.get(key) == value}


def renew(fresh: stale.Record, name: str, stem: str, changes: Changes) -> stale.Record:
    """Return the parts of a record that hold for the renamed task."""
    root = project().root
    entries = read_entries(str(changes[project().task_list]))
    entry = next(entry for entry in entries if entry.name == name)
    modules = [
        (Path(path).stem, str(changes[root / path])) for path in entry.executables
    ]
    now = stale.describe(entry, modules)
    for key, path in stale.text_files(root, stem).items():
        if changes.get(path):
            now[key] = stale.checksum(str(changes[path]))
    return {key: value for key, value in now.items() if key in fresh}


def is_ambiguous(modules: list[Path], task: Task, names: Names) -> bool:
    """Return true if the old name is also an option of an argument, or a function's."""
    stem = names.stem[0]
    for path in modules:
        for node in ast.walk(ast.parse(task.texts[path])):
            if isinstance(node, ast.alias) and node.asname and node.name == stem:
                return True
            if isinstance(node, ast.Subscript) and any(
                names.replace_data(str(constant.value)) != constant.value
                for constant, _ in text_constants(node)
            ):
                return True
    return False


def in_backticks(text: str, names: Names) -> str:
    """Replace the names of a task that stand between backticks."""
    return re.sub(
        "`([^`\n]+)`", lambda match: f"`{names.replace_data(match[1])}`", text
    )


def edit_module(
    text: str, path: Path, task: Task, names: Names, is_generated: bool
) -> str:
    """Return a Python file after the texts in it are renamed.

    Args:
        text: The file, with the new names in its code.
        path: Its old place.
        task: The task.
        names: Its names.
        is_generated: Whether nobody has edited what the template wrote of the task.
    """
    test = stale.text_files(project().root, task.entry.stem)["test"]
    is_own = path in {*task.modules, test}
    tree = ast.parse(text)
    edits: list[Edit] = []
    position = None  # of the task in the task list
    if path == project().task_list:
        position = find_entry(read_entries(text), task.entry.name).node.lineno
    is_test = "tests" in path.relative_to(project().folder).parts
    for node, around in text_constants(tree):
        parent = around[-1]
        old = new = str(node.value)
        is_entry = position is not None and any(
            isinstance(part, ast.Call) and part.lineno == position for part in around
        )
        if old.strip() == names.name[0] and (is_entry or is_test):
            if names_a_task(node, parent):
                new = names.name[1]
        else:
            new = names.replace_paths(old)
        if new == old and is_own and isinstance(parent, ast.Call):
            function = ast.unparse(parent.func).rpartition(".")[2]
            if function in ("Step", "getLogger") and node is parent.args[0]:
                new = {a.stem: b.stem for a, b in names.modules.items()}.get(old, old)
        if new == old and is_generated and (is_own or is_entry):
            new = names.replace_data(old)
            if isinstance(parent, ast.Expr):
                new = in_backticks(old, names)
        if is_own and isinstance(parent, ast.Expr) and len(around) == 2:
            begin = re.escape(names.name[0])
            new = re.sub(rf"(?i)\A{begin}(?=[:,])", lambda _: names.name[1], new)
        if new == old:
            continue
        source = ast.get_source_segment(text, node) or ""
        if isinstance(parent, ast.Expr) and old in source:  # a docstring stays as it is
            edits.append((node, source.replace(old, new, 1)))
        else:
            edits.append((node, quoted(new)))
    return edited(text, edits)


def find_steps(content: Any) -> Iterator[dict[str, Any]]:
    """Yield the tasks that the steps of a workflow name, wherever it is in a file."""
    if isinstance(content, dict):
        task = content.get("task")
        if isinstance(task, dict):
            yield task
        for value in content.values():
            yield from find_steps(value)
    elif isinstance(content, list):
        for value in content:
            yield from find_steps(value)


def is_step_of(task: dict[str, Any], name: str) -> bool:
    """Whether a step of a workflow is a task of this package."""
    package = re.sub(r"[-_.]+", "-", str(task.get("pkg_name"))).lower()
    return package == project().name.lower() and task.get("name") == name


def rename_steps(path: Path, names: Names) -> str:
    """Return a JSON file whose workflow has the new name of a task, and is else the same."""
    text = path.read_text("utf-8", errors="surrogateescape")
    try:
        wanted = json.loads(text)
    except ValueError:
        return text
    old, new = names.name
    steps = [task for task in find_steps(wanted) if is_step_of(task, old)]
    for task in steps:
        task["name"] = new
    if not steps:
        return text
    # As it is written, so that nothing else in the file changes.
    forms = {json.dumps(old), quoted(old)}
    pattern = rf'("name"\s*:\s*)(?:{"|".join(map(re.escape, forms))})'
    for match in reversed([*re.finditer(pattern, text)]):
        changed = f"{text[: match.start()]}{match[1]}{quoted(new)}{text[match.end() :]}"
        if differences(json.loads(changed), wanted) < differences(
            json.loads(text), wanted
        ):
            text = changed
    return text


def differences(content: Any, wanted: Any) -> int:
    """Count the values that differ between two files of the same shape."""
    if isinstance(content, dict) and isinstance(wanted, dict):
        return sum(differences(content[key], wanted.get(key)) for key in content)
    if isinstance(content, list) and isinstance(wanted, list):
        pairs = zip(content, wanted, strict=True)
        return sum(differences(*pair) for pair in pairs)
    return int(content != wanted)


# --- removing ---


def remove(name: str) -> None:
    """Remove a task.

    Raises:
        Rejected: The rest of the package uses it, or changes are not committed.
    """
    files = owned_files()
    task = read_task(name, files)
    entry, root = task.entry, project().root
    texts = stale.text_files(root, entry.stem) if entry.stem else {}
    if entry.docs in [neighbour.docs for neighbour in task.others]:
        texts.pop("documentation", None)
    gone = [*task.modules, *(path for path in texts.values() if path.exists())]
    rest = {path: lines for path, lines in task.imported.items() if path not in gone}
    users = {
        f"{shown(path)}, line {line}, imports {shown(module)}: change that first."
        for module in task.modules
        for path, line in importers(module, rest)
    }
    if users:
        raise Rejected("\n".join(sorted(users)))
    before = task.texts[project().task_list]
    after = without_entry(before, entry)
    if polished(project().task_list, before) == before:
        after = polished(project().task_list, after)
    changes: Changes = dict.fromkeys(gone)
    changes[project().task_list] = after
    workflow = root / "workflow.json"
    if workflow in files:
        changes[workflow] = without_steps(workflow, entry.name)
    records = stale.read_records(root)
    if records.pop(entry.stem, None):
        file = root / stale.RECORD
        changes[file] = stale.show_records(records) if records else None
    names = Names((entry.name, ""), (entry.stem, ""), dict.fromkeys(task.modules, root))
    finish(changes, names_of(names), files)


def without_entry(text: str, entry: Entry) -> str:
    """Return a task list without a task, and the comma and line that end it."""
    mark = "REMOVED"
    while mark in text:
        mark += "_"
    new = edited(text, [(entry.node, mark)])
    return re.sub(rf"^[ \t]*{mark},?[ \t]*\n|{mark}\s*,?[ \t]*", "", new, flags=re.M)


def without_steps(path: Path, name: str) -> str:
    """Return a workflow without the steps of a task, if it is written as programs do."""
    text = path.read_text("utf-8")
    content = json.loads(text)
    forms = [
        {"indent": indent, "ensure_ascii": is_ascii}
        for indent in (2, 4, 1, None)
        for is_ascii in (False, True)
    ]
    end = "\n" * text.endswith("\n")
    for form in forms:
        if json.dumps(content, **form) + end == text:  # type: ignore[arg-type]
            steps = content.get("data", content)["task_list"]
            steps[:] = [step for step in steps if not is_step_of(step["task"], name)]
            return json.dumps(content, **form) + end  # type: ignore[arg-type]
    return text


# --- both ---


def names_of(names: Names) -> tuple[list[str], list[str]]:
    """Return the old and new names that a text can mention."""
    old = [names.name[0], names.stem[0], names.stem[0].replace("_", "")]
    old += [path.stem for path in names.modules]
    new = [names.name[1], names.stem[1], names.stem[1].replace("_", "")]
    new += [path.stem for path in names.modules.values()]
    return [*dict.fromkeys(filter(None, old))], [*dict.fromkeys(filter(None, new))]


def finish(
    changes: Changes,
    names: tuple[list[str], list[str]],
    files: list[Path],
    moved: Mapping[Path, Path] | None = None,
    described: Path | None = None,
) -> None:
    """Write changes, and list what still mentions the old names.

    Args:
        changes: The new texts.
        names: Old and new names.
        files: Where the old ones are looked for, besides the changed files.
        moved: The old places of files, by their new ones; the ends of lines stay.
        described: The documentation of the task, in which each word of the old name counts.

    Raises:
        Rejected: A file that would change has changes that are not committed.
    """
    for path, text in changes.items():
        source = (moved or {}).get(path, path)
        if text is not None and source.exists() and b"\r\n" in source.read_bytes():
            changes[path] = text.replace("\n", "\r\n")
    changes = {
        path: text
        for path, text in changes.items()
        if (path.read_bytes() if path.exists() else None)
        != (None if text is None else text.encode("utf-8", "surrogateescape"))
    }
    paths = [shown(path) for path in changes]
    status = git(project().folder, "status", "--porcelain", "--", *paths)
    if status:
        raise Rejected(
            "Commit your changes first, so that what follows can be read, and undone:\n"
            f"{status.rstrip()}"
        )
    write(changes)
    left = {path for path in {*files, *changes} if path.is_file()}
    mentions = [*find_mentions(sorted(left), *names, described)]
    if mentions:
        print("These still mention the old name. Decide for each:")
        print(*(f"  {line}" for line in mentions), sep="\n")


def find_mentions(
    files: list[Path], old: list[str], new: list[str], described: Path | None = None
) -> Iterator[str]:
    """Yield each line that has one of the old names, or in `described` a word of it."""
    skipped = {MANIFEST, ANSWERS, Path(stale.RECORD).name}
    words = [re.escape(name) for name in old if re.search(r"[\W_]", name)]
    # A word of its own may be any word: only where it is a name.
    single = [re.escape(name) for name in old if not re.search(r"[\W_]", name)]
    patterns = [rf"(?<![A-Za-z0-9])(?:{'|'.join(words)})(?![A-Za-z0-9])"] * bool(words)
    if single:
        any_of = "|".join(single)
        patterns.append(
            rf"""[`"'/_.](?:{any_of})(?![A-Za-z0-9])|\b(?:{any_of})(?:[`"'(_]|\.(?:py|md)\b)"""
        )
    in_all = re.compile("|".join(patterns), re.IGNORECASE)
    before, after = (re.findall(r"\w{3,}", "".join(n[:1]).lower()) for n in (old, new))
    patterns += [rf"\b{word}\b" for word in before if word not in after]
    in_documentation = re.compile("|".join(patterns), re.IGNORECASE)
    longer = [n for n in new if any(part.lower() in n.lower() for part in old)]
    longer.sort(key=len, reverse=True)
    # What is no mention: a new name, and the name of an example of the template.
    no_mentions = [*map(re.escape, longer), r"--example [a-z_]+"]
    covers = re.compile("|".join(no_mentions), re.IGNORECASE)
    for path in files:
        if path.name in skipped:
            continue
        pattern = in_documentation if path == described else in_all
        if pattern.search(covers.sub("", path.name)):
            yield f"{shown(path)}: its name"
        try:
            text = path.read_text("utf-8")
        except (OSError, ValueError):
            continue
        lines = text.splitlines()
        with suppress(SyntaxError):
            # A name that a module gives to something of its own means that.
            own = {*bound_names(text, imports=False)} if path.suffix == ".py" else set()
            for name in own & {*old}:
                text = re.sub(rf"\b{name}\b(?!['\"]|\.py|\.md)", "", text)
        hits = [
            n
            for n, line in enumerate(text.splitlines())
            if pattern.search(covers.sub("", line))
        ]
        for number in hits[:9]:
            line = lines[number].strip()
            parts = textwrap.wrap(line, 80, break_long_words=False)
            fits = [part for part in parts if pattern.search(covers.sub("", part))]
            yield f"{shown(path)}:{number + 1}: {[*fits, line][0]}"
        if hits[9:]:
            yield f"{shown(path)}: more lines: {len(hits) - 9}"


def act(change: Callable[..., None], *names: str) -> None:
    """Rename or remove a task of the command line."""
    try:
        change(*names)
    except (Rejected, OSError, SyntaxError, ValueError) as error:
        sys.exit(f"{error}\nNothing was written.")
    if change is remove and (project().folder / "tests" / "test_workflow.py").exists():
        print(
            "tests/test_workflow.py may expect what the task made: correct it, or delete it."
        )
    print(
        "Next: `nox` and `nox -s workflow`. `nox -s new_task` writes the manifest itself.\n"
        f"{UNDO}"
    )
