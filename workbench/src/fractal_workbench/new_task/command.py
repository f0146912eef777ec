"""Add a task to a package: from a function, from scratch, or a worked example."""

import ast
import builtins
import importlib
import importlib.util
import json
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from ..cli import MAKES
from ..form import stale
from ..project import ANSWERS, project
from ..task_list import read_entries
from ..template.command import TemplateError, kept_files, recorded_answers, render
from .merge import with_dependencies, with_tasks
from .names import (
    RESERVED,
    Needed,
    Rejected,
    bound_names,
    module_name,
    module_problems,
    scaffold,
)

if TYPE_CHECKING:
    from .function import Function

MADE = {
    "image": "an image",
    "label": "a label image",
    "features": "features",
    "measurements": "measurements",
    "points": "points",
    "table": "a table of the plate",
}
# Folders of the template.
SCAFFOLDS = {
    "image": "parallel",
    "label": "label",
    "features": "features",
    "measurements": "measurements",
    "points": "measurements",
    "table": "table",
}
UNDO = (
    "To undo it: delete what is new, `git checkout` what is changed or deleted, and run "
    "`nox -s manifest`."
)
SEARCH = 20.0  # seconds, for options with which a function can become a task

# What a task with a model needs: its weights may have to be fetched.
OF_MODELS = """
[project]
optional-dependencies.model = ["pooch>=1.8"]
"""

Files = dict[Path, str]


# --- what is added ---


def new_task(
    name: str, scaffold: str, folder: Path, extra: Files | None = None, **answers: Any
) -> Files:
    """Render a task to fill in; return its new and changed files.

    Args:
        name: Name of the task, as users will see it.
        scaffold: Folder of the template with such a task. If it has a pyproject.toml, the
            task needs what this requires, and no kit.
        folder: An empty folder to render into.
        extra: Modules that come with the task.
        answers: What else is to be rendered.

    Raises:
        Rejected: It cannot have this name.
    """
    name = name.strip()
    module = module_name(name)
    rendered = render(
        folder / "task",
        scaffold=scaffold,
        task_name=name,
        task_module=module,
        **({"function": None, "makes": None} | answers),
    )
    files = read(rendered)
    entry = files.pop(project().task_list)
    needs = files.pop(project().pyproject, "")
    if both := files.keys() & (extra or {}).keys():
        raise Rejected(
            f"{both.pop().name} would be the task, too: choose another name."
        )
    files |= extra or {}
    kit = {} if needs else kit_files(folder)
    check(files, entry, RESERVED, kit)
    files |= kit | {project().task_list: with_tasks(entry)}
    if needs:
        require(files, needs)
    return files


def from_function(name: str, given: SimpleNamespace, folder: Path) -> Files:
    """Render a task that calls a function; return its new and changed files.

    Args:
        name: Name of the task, as users will see it.
        given: What the command line says of the function.
        folder: An empty folder to render into.

    Raises:
        Rejected: A task cannot call it; the sentence says what to do.
    """
    where, _, called_name = given.function.rpartition(":")
    copied = project().root / Path(where).name
    if where.endswith(".py") and not copied.exists():
        # Once it is imported, it would hide what has its name.
        for problem in module_problems(copied.stem, "", RESERVED):
            raise Rejected(f"--from {given.function}: rename the file. {problem}")
    # It needs libraries of the package.
    from . import function as functions

    if given.requirements:
        install(given.requirements)
    try:
        called, module, file = functions.find(given.function)
    except Needed as error:
        if error.changes:
            way = command_of(with_options(given, error.changes[0]))
            raise Rejected(f"{error}\nSuch as:\n  {way}") from error
        raise
    extra: Files = {}
    if file:
        target = project().root / file.name
        try:
            text = file.read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise Rejected(f"{file}: it is not in UTF-8: save it so.") from error
        there = target.read_text(encoding="utf-8") if target.exists() else ""
        module = f"{project().root.name}.{module}"
        if there not in (text, polished_text := polished(target, text, of_owner=True)):
            if there:
                own = target.relative_to(project().folder)
                raise Rejected(
                    f"{own} exists, and is another version of {file}: edit that in the "
                    f"package, and write --from {module}:{called_name}. If it is "
                    "something else, rename your file."
                )
            extra[target] = polished_text
    function = analyse(given, called, module)
    makes = function.makes
    if given.type not in (None, MAKES[makes][0]):
        raise Rejected(
            f"--type {given.type}: from a function that makes {MADE[makes]} comes a task of "
            f"the type {MAKES[makes][0]}."
        )
    is_own = module.partition(".")[0] == project().root.name
    annotations = getattr(functions.source_of(called), "__annotations__", None)
    function.is_untyped = is_own and not annotations
    place = f"task/{SCAFFOLDS[makes]}"
    task = module_name(name)
    other_name = f"{module.rpartition('.')[2]}_{function.name}"
    function.alias = other_name if function.name == task else ""
    tests = project().folder / "tests"
    paths = project().root / f"{task}.py", tests / f"test_{task}.py"
    answers = {"function": function, "makes": makes}
    files = new_task(name, place, folder, extra, **answers)
    if rename_what_clashes(function, other_name, [files[path] for path in paths]):
        files = new_task(name, place, folder / "renamed", extra, **answers)
    for path in paths:
        files[path] = polished(path, files[path])
    if not is_own:
        require(files, requirement(module.partition(".")[0]))
    for text in given.requirements:
        require(files, requirement_of(text))
    takes = [f"{function.array} takes the pixels"] if function.array else []
    if function.channels:
        named = [
            f"{one.name} is channel {n}" for n, one in enumerate(function.channels)
        ]
        takes = [f"By default, {', '.join(named)}: choose others in the workflow"]
    takes += [f"{function.labels} takes the labels"] if function.labels else []
    part = "plane" if function.whole == "yx" else "volume, or plane of a 2D image"
    if (makes, function.whole) == ("features", "yx"):
        part = "image of one plane, and takes no others"
    if function.table:
        takes = [f"{function.table} takes the feature table of an image or a well"]
        part = "image or well"
        require(files, requirement("pandas"))
    guessed = not given.array and function.array
    change = " To choose another argument, use --array." if guessed else ""
    print(f"{', '.join(takes)}.{change}")
    sees_volumes = function.whole == "zyx" and not (given.axes or function.table)
    change = " If it is for planes, use --axes yx." if sees_volumes else ""
    columns = ""
    if function.columns:
        columns = f", with the columns {', '.join(function.columns)}"
    print(f"{function.name} makes {MADE[makes]} of each {part}{columns}.{change}")
    if given.returns is None and (
        element := re.match(r".*\{\}\[(\d+)\]", function.result)
    ):
        print(
            f"It returns several values, of which the task writes number {element[1]}, counted "
            "from 0. To choose another one, use --returns."
        )
    for path in extra:
        is_inside = file and file.resolve().is_relative_to(project().folder)
        print(
            f"From now on, edit {path.relative_to(project().folder)}, and "
            f"{f'delete {file}, which `nox` checks too' if is_inside else f'not {file}'}."
        )
    if function.returned:
        print(f"Its output, by the docstring of {function.name}: {function.returned}")
    for key, kinds in function.narrowed.items():
        print(f"{key}: {kinds}.")
    for argument in function.arguments:
        if argument.value is not None and argument.default is not None:
            print(
                f"{function.name} finds nothing in the images of its test with "
                f"{argument.name} = {argument.default}: the test gives {argument.value}."
            )
    for argument in (*function.arguments, *function.channels):
        if argument.task_name != argument.name and not argument.is_fixed:
            print(
                f"{argument.name} is called {argument.task_name}: the task has a {argument.name} of its own."
            )
    for key, reason in function.left.items():
        print(f"{key} stays at its default: {reason}.")
    return files


def rename_what_clashes(
    function: "Function", other_name: str, texts: Sequence[str]
) -> bool:
    """Give a function and its arguments other names where a task or its test has these.

    Args:
        function: The function; its `alias`, and the `task_name` of arguments, may change.
        other_name: The alias of the function if it needs one.
        texts: The module of the task, and its test.

    Returns:
        Whether something has changed.
    """
    before, bound = function.alias, [bound_names(text) for text in texts]
    if max(names.count(function.name) for names in bound) > 1 or function.name in dir(
        builtins
    ):
        function.alias = other_name
    shadowed = [
        argument
        for argument in (*function.arguments, *function.channels)
        if bound[0].count(argument.task_name) > (not argument.is_fixed)
    ]
    for argument in shadowed:
        argument.task_name = f"{function.name}_{argument.name}"
    return function.alias != before or bool(shadowed)


def analyse(
    given: SimpleNamespace, called: Callable[..., Any], module: str
) -> "Function":
    """Read a function, and call it on small images.

    Raises:
        Rejected: A task cannot call it; the message has a command that works, if there is one.
    """
    from . import function as functions
    from .outcome import look

    def again() -> Callable[..., Any]:
        return functions.find(given.function)[0]

    def read(options: SimpleNamespace) -> "Function":
        return functions.read(
            called,
            options.function.rpartition(":")[2],
            module,
            array=options.array,
            settings=dict(map(setting, options.set)),
        )

    def attempt(options: SimpleNamespace) -> "Function":
        function = read(options)
        function.makes, function.axes = options.makes or "", options.axes or ""
        function.returns = options.returns
        look(function, called, again)
        return function

    try:
        return attempt(given)
    except Needed as error:
        ways = [*find_ways(error, given, attempt, time.monotonic() + SEARCH)]
        if not ways:
            raise
        if error.is_of_test and vars(ways[0]) == vars(given) | {"set": ways[0].set}:
            return of_test(attempt(ways[0]), read(given))
        commands = "\n".join(f"  {command_of(way)}" for way in ways)
        several = "These work" if len(ways) > 1 else "This works"
        raise Rejected(f"{error.problem}\n{several}:\n{commands}") from error


def of_test(tried: "Function", given: "Function") -> "Function":
    """Return a function that finds something in the test, with the defaults of its owner.

    Args:
        tried: The function with defaults that find something.
        given: The function as its owner wants it.
    """
    defaults = {argument.name: argument.default for argument in given.arguments}
    for argument in tried.arguments:
        if argument.default != defaults.get(argument.name):
            argument.value = ast.literal_eval(str(argument.default))
            argument.default = defaults.get(argument.name)
    return tried


def find_ways(
    error: Needed,
    given: SimpleNamespace,
    attempt: Callable[[SimpleNamespace], Any],
    end: float,
    depth: int = 2,
) -> Iterator[SimpleNamespace]:
    """Yield options with which a function can become a task: the first, or all of a choice.

    Args:
        error: What is wrong with the options.
        given: The options.
        attempt: Raises `Rejected` if a task cannot call the function.
        end: When to give up, by `time.monotonic`.
        depth: How many options may be changed.
    """
    more: list[tuple[SimpleNamespace, Needed]] = []
    for change in error.changes:
        changed = with_options(given, change)
        if time.monotonic() > end:
            return
        if vars(changed) == vars(given):
            continue
        try:
            if "--with" not in change:  # nothing is installed to see whether it helps
                attempt(changed)
        except Needed as problem:
            more.append((changed, problem))
        except Rejected:
            continue
        else:
            yield changed
            if not error.is_choice:
                return
    for changed, reason in more if depth > 1 else ():
        for way in find_ways(reason, changed, attempt, end, depth - 1):
            yield way
            return


def with_options(given: SimpleNamespace, change: Mapping[str, Any]) -> SimpleNamespace:
    """Return options with changes; what begins with `--` is no NAME=VALUE of `--set`."""
    changed = SimpleNamespace(**vars(given))
    for key, value in change.items():
        if key == "--with":
            changed.requirements = (*given.requirements, value)
        elif key.startswith("--"):
            setattr(changed, key[2:], value)
        else:
            kept = [text for text in changed.set if not text.startswith(f"{key}=")]
            changed.set = (*kept, f"{key}={json.dumps(value)}")
    return changed


def command_of(given: SimpleNamespace) -> str:
    """Return the command with these options."""
    parts = ["nox", "-s", "new_task", "--", given.name, "--from", given.function]
    for option in ("makes", "type", "array", "axes", "returns"):
        value = getattr(given, option)
        parts += [f"--{option}", str(value)] if value not in (None, "") else []
    parts += [part for text in given.set for part in ("--set", text)]
    parts += [part for text in given.requirements for part in ("--with", text)]
    return shlex.join(parts)


def install(requirements: Sequence[str]) -> None:
    """Install libraries into the environment of this command.

    Raises:
        Rejected: They cannot be installed.
    """
    uv = shutil.which("uv")
    command = [uv, "pip", "install", "--python", sys.executable] if uv else []
    command = command or [sys.executable, "-m", "pip", "install"]
    done = subprocess.run([*command, *requirements], capture_output=True, text=True)
    if done.returncode:
        raise Rejected(
            f"--with {' --with '.join(requirements)}: it cannot be installed:\n"
            f"{done.stderr.strip()}"
        )
    importlib.invalidate_caches()


def require(files: Files, requirements: str) -> None:
    """Add the dependencies in another pyproject.toml to that of the package."""
    file = project().pyproject
    files[file] = with_dependencies(
        files.get(file) or file.read_text("utf-8"), requirements
    )


def kit_files(folder: Path) -> Files:
    """Return the kit and what comes with it, unless the package has it.

    Args:
        folder: An empty folder to render into.

    Raises:
        Rejected: Something else has its place.
    """
    if recorded_answers().get("kit", True):
        return {}
    for path in (project().root / "kit", project().root / "kit.py"):
        if path.exists():
            raise Rejected(
                f"{path.relative_to(project().folder)} exists, and the first task brings the "
                "kit of the template, which has this name: rename yours."
            )
    bare, rendered = (render(folder / f"kit-{kit}", kit=kit) for kit in (False, True))
    files = read(rendered, "src/*/kit/*", "tests/conftest.py", ANSWERS)
    conftest = project().folder / "tests" / "conftest.py"
    if conftest.exists():
        base = bare / "tests" / "conftest.py"
        files[conftest] = merged(conftest, base, rendered / "tests" / "conftest.py")
    require(files, (rendered / "pyproject.toml").read_text("utf-8"))
    return files


def merged(path: Path, base: Path, new: Path) -> str:
    """Return a file of the package with what is new between two others.

    Raises:
        Rejected: The owner has changed the same lines.
    """
    text = path.read_text("utf-8")
    if text == base.read_text("utf-8"):
        return new.read_text("utf-8")
    name = path.relative_to(project().folder).as_posix()
    if name in kept_files():
        print(
            f"{name} is yours: `nox -s template -- diff {name}` shows what tests need."
        )
        return text
    command: list[str | Path] = ["git", "merge-file", "--stdout", path, base, new]
    with suppress(FileNotFoundError):
        done = subprocess.run(command, capture_output=True, encoding="utf-8")
        if done.returncode == 0:
            return done.stdout
    raise Rejected(
        f"{name}: you have changed the lines beside which the fixtures for images come. Take "
        f"the template's by `nox -s template -- restore {name}`, add the task, and write your "
        "changes again."
    )


def setting(text: str) -> tuple[str, Any]:
    """Return name and value of an option `--set`."""
    name, equals, value = text.partition("=")
    if not equals:
        raise Rejected(f"--set {text}: write NAME=VALUE")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


def requirement(package: str) -> str:
    """Return a pyproject.toml that requires the distribution of an importable package."""
    names = metadata.packages_distributions().get(package, [])
    return requirement_of(names[0], package) if names else ""


def requirement_of(distribution: str, package: str = "") -> str:
    """Return a pyproject.toml that requires an installed distribution.

    Args:
        distribution: Its name, perhaps with a version.
        package: What is imported of it, if mypy may look for its types.
    """
    has_version = re.search(r"[<>=~!@]", distribution)
    if not has_version:
        distribution = f"{distribution}>={metadata.version(distribution)}"
    text = f"[project]\ndependencies = [{json.dumps(distribution)}]\n"
    spec = importlib.util.find_spec(package) if package else None
    is_typed = spec and spec.origin and Path(spec.origin).with_name("py.typed").exists()
    if package and not is_typed and package != "scipy":  # which has stubs
        text += (
            f'[[tool.mypy.overrides]]\nmodule = ["{package}.*"]\n'
            "ignore_missing_imports = true\n"
        )
    return text


def polished(path: Path, text: str, *, of_owner: bool = False) -> str:
    """Return a module after the linter and the formatter of the package.

    Args:
        path: Where it will be.
        text: Its text.
        of_owner: Whether somebody else has written it: what ruff cannot repair in it, and
            its types, are then not looked at.
    """
    name = path.relative_to(project().folder)
    ruff = [sys.executable, "-m", "ruff"]
    # Also the modules that are not written yet.
    known = f'lint.isort.known-first-party = ["{project().root.name}"]'
    options = ["--quiet", f"--config={known}", f"--stdin-filename={name}", "-"]

    def run(*command: str, given: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*ruff, *command, *options],
            input=given,
            capture_output=True,
            encoding="utf-8",
            cwd=project().folder,
        )

    # Of docstrings in the style of others, ruff would make half of its own.
    docstrings = ["--ignore=D"] if of_owner else []
    fixed = run("check", "--fix-only", *docstrings, given=text).stdout or text
    fixed = run("format", given=fixed).stdout or fixed
    if of_owner:
        lines = ["# mypy: ignore-errors\n"]
        if run("check", given=fixed).returncode:
            lines.append("# ruff: noqa\n")
        fixed = "".join(lines) + fixed
    return fixed


def example(name: str, folder: Path) -> Files:
    """Render an example; return its new and changed files.

    Args:
        name: Name of the example.
        folder: An empty folder to render into.
    """
    needs: dict[str, Any] = {"kit": True}
    if name == "convert_tiffs":
        needs["tiff_readers"] = True
    alone = render(folder / "alone", examples=[name], **needs)
    files = read(alone, f"**/*{name}*")
    readers = read(alone, "src/*/kit/*/*")  # which the kit has for some examples
    files |= {path: text for path, text in readers.items() if not path.exists()}
    task_list = alone / project().task_list.relative_to(project().folder)
    entry = task_list.read_text("utf-8")
    kit = kit_files(folder)
    check(files, entry, [], kit)

    chosen = [
        recorded for recorded in recorded_answers()["examples"] if recorded != name
    ]
    together = render(folder / "together", examples=[*chosen, name], **needs)
    files |= kit | read(together, ANSWERS)  # an update begins with the answers
    require(files, (alone / "pyproject.toml").read_text("utf-8"))
    return files | {project().task_list: with_tasks(entry)}


def read(rendered: Path, *patterns: str) -> Files:
    """Return the text of rendered files by where they belong in the package."""
    paths = {
        path for pattern in patterns or ["**/*"] for path in rendered.glob(pattern)
    }
    return {
        project().folder / path.relative_to(rendered): path.read_text("utf-8")
        for path in sorted(paths)
        if path.is_file()
    }


# --- what must not be there yet ---


def check(files: Files, entry: str, reserved: list[str], kit: Files) -> None:
    """Reject a task that exists, or whose name would hide a module.

    Args:
        files: The new files.
        entry: Text of a task list with the new entry.
        reserved: Names that a module must not have.
        kit: What comes with the first task.
    """
    problems = [
        f"{path.relative_to(project().folder)} exists."
        for path in files
        if path.exists()
    ]
    texts = (project().task_list.read_text(encoding="utf-8"), entry)
    known, new = ({task.name for task in read_entries(text)} for text in texts)
    for name in known & new:
        problems.append(
            f"{project().task_list.relative_to(project().folder)} has a task {name!r}."
        )
    for path, text in files.items():
        if path.parent == project().root:
            problems.extend(module_problems(path.stem, text, reserved))
    if not problems:  # or else a module may be no Python
        problems = [
            f"{path.relative_to(project().folder)} is used, and is not here."
            for path in sorted(siblings(files, kit) - {*files, *kit})
            if not path.exists()
        ]
    if problems:
        raise Rejected("\n".join(problems))


def siblings(files: Files, kit: Files) -> set[Path]:
    """Return the modules of this package that new modules import, and these of the kit."""

    def relative_imports(module: str) -> Iterator[ast.ImportFrom]:
        path = project().root.joinpath(*module.split(".")).with_suffix(".py")
        text = kit.get(path) or (path.read_text("utf-8") if path.exists() else "")
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.ImportFrom) and node.level == 1 and node.module:
                yield node

    homes: dict[str, str] = {}  # of what `kit` offers
    for line in relative_imports("kit.__init__"):
        homes |= {alias.name: f"kit.{line.module}" for alias in line.names}
    modules = set()
    for path, text in files.items():
        for node in ast.walk(ast.parse(text)) if path.parent == project().root else ():
            if isinstance(node, ast.ImportFrom) and node.module:
                package, _, module = node.module.partition(".")
                if package == project().root.name and module == "kit":
                    names = (alias.name for alias in node.names)
                    modules |= {homes.get(name, "kit.__init__") for name in names}
                elif package == project().root.name:
                    modules.add(module)
    todo = [module for module in modules if module.startswith("kit.")]
    while todo:
        needed = {f"kit.{line.module}" for line in relative_imports(todo.pop())}
        todo += needed - modules
        modules |= needed
    paths = {project().root.joinpath(*module.split(".")) for module in modules}
    folders = {path.parent for path in files}
    return {
        path / "__init__.py"
        if path in folders or path.is_dir()
        else path.with_suffix(".py")
        for path in paths
    }


# --- run ---


def write(files: Mapping[Path, str | None]) -> None:
    """Write files, and delete those without a text: all or none."""
    before = {path: path.read_bytes() for path in files if path.exists()}
    new = {
        path: text
        for path, text in files.items()
        if before.get(path) != (None if text is None else text.encode())
    }
    try:
        for path, text in new.items():
            if text is None:
                path.unlink()
            else:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text, encoding="utf-8", newline="\n")
    except BaseException as error:  # also Ctrl-C
        for path in new:
            with suppress(OSError):
                if path in before:
                    path.write_bytes(before[path])
                else:
                    path.unlink(missing_ok=True)
        sys.exit(f"{error!r}\nNothing was written.")

    def verb(path: Path) -> str:
        return ("changed" if path in before else "new") if new[path] else "deleted"

    lines = []
    for path in new:
        name = path.relative_to(project().folder)
        of_kit = [p for p in name.parents if "kit" in (p.name, p.parent.name)]
        lines.append(f"{verb(path):7} {[*of_kit, name][0]}")
    lines = [*dict.fromkeys(lines)]  # of the kit one, since it comes as a whole
    print(*lines, sep="\n")
    if project().pyproject in new:
        print(
            "The dependencies changed. To import the package outside of nox, install it again."
        )


def add(arguments: SimpleNamespace) -> None:
    """Add the task of the command line."""
    try:
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary)
            if arguments.example:
                files = example(arguments.example, folder)
            elif arguments.function:
                files = from_function(arguments.name, arguments, folder)
            else:
                kind = scaffold(arguments.makes, arguments.type, model=arguments.model)
                place = f"task/{kind}"
                if arguments.with_library != "kit":
                    place = f"task_{arguments.with_library}/{arguments.makes}"
                files = new_task(arguments.name, place, folder, makes=arguments.makes)
                if arguments.model:
                    require(files, OF_MODELS)
        records = stale.new_records(project().root, files)
        files[project().root / stale.RECORD] = stale.show_records(records)
    except (Rejected, TemplateError, OSError, SyntaxError, ValueError) as error:
        sys.exit(f"{error}\nNothing was written.")
    write(files)
    (test,) = (path.name for path in files if path.match("tests/test_*.py"))
    loop = (
        "  nox -s format manifest\n"
        "                     after each change: style and manifest\n"
        f"  nox -s tests -- tests/{test}\n"
        "                     only the test of this task\n"
        "  nox                all checks"
    )
    if arguments.example:
        print(
            "README.md, workflow.json and tests/test_workflow.py are yours: they stay."
        )
        print("Next: `nox`.")
    elif arguments.model:
        print(
            "Next:\n"
            "- Replace load_model and segment. docs/guides/models.md of the template has them for\n"
            "  Cellpose, StarDist and scikit-learn.\n"
            "- In pyproject.toml, add the framework to the extra `model`, beside pooch: servers\n"
            "  install it. If the tests run it, add it to the group `test`. If mypy finds no\n"
            "  types of it, add it to the last `module = [...]`.\n"
            "- Install the framework here: `pip install -e '.[model]'`.\n"
            "- If the model needs no GPU, remove use_gpu from the module, and needs_gpu and the\n"
            "  tag from the task list. `nox -s run` suggests mem and cpus_per_task.\n"
            "- If the model takes grey values as they are, remove both percentiles.\n"
            "- Update the text in dev/docs_info.\n"
            f"Then\n{loop}"
        )
    elif arguments.function:
        print(f"Next: read the descriptions of the arguments in the task. Then\n{loop}")
    else:
        print(
            "Next: replace the functions whose docstrings say so. Steps of a workflow find each\n"
            "other's results by the arguments label_name, table_name and feature_table. Then run\n"
            f"{loop}"
        )
    print(UNDO)
