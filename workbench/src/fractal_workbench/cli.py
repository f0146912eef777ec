"""The command line: arguments of all commands. A command imports its code when it runs."""

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import click
from packaging.requirements import Requirement

from fractal_workbench.origin import requirement

CONTENTS = {
    "Run workflows": ["run", "server", "demo"],
    "Look at tasks": ["form", "docs", "check-manifest"],
    "Write and keep a package": ["new-task", "template", "adopt"],
}
TYPES = {
    "parallel": "once for each image",
    "non_parallel": "once for all images",
    "compound": "once for all images, then for each item of the list that this returns",
    "converter_non_parallel": "once, to make the first images",
    "converter_compound": "once, then for each image that is to be made",
}
# What makes what; the first type is the one that is taken if none is given.
MAKES = {
    "image": ["parallel", "compound", "converter_non_parallel", "converter_compound"],
    "label": ["parallel"],
    "features": ["parallel"],
    "measurements": ["parallel"],
    "points": ["parallel"],
    "table": ["non_parallel"],
}
FILE = click.Path(path_type=Path)


class Contents(click.Group):
    """A command whose help groups its commands by purpose."""

    def format_commands(
        self, ctx: click.Context, formatter: click.HelpFormatter
    ) -> None:
        """Write a section for each purpose."""
        for title, names in CONTENTS.items():
            with formatter.section(title):
                lines = [
                    (name, self.commands[name].get_short_help_str(80)) for name in names
                ]
                formatter.write_dl(lines)


class Verb(click.Command):
    """A command that can check its arguments without running."""

    check: Callable[..., None] | None = None

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the arguments, and reject those that do not go together."""
        rest = super().parse_args(ctx, args)
        if self.check and not ctx.resilient_parsing:
            self.check(**ctx.params)
        return rest

    def invoke(self, ctx: click.Context) -> Any:
        """Run, unless only the arguments are to be checked."""
        if ctx.find_root().params["check_arguments"]:
            return None
        if missing := find_missing(str(self.name)):
            run_with_extra(str(self.name))
            raise reject(
                f"{', '.join(missing)} not installed: install the workbench as "
                f"`fractal-workbench[{self.name}]`, or install uv"
            )
        return super().invoke(ctx)


def check(verb: click.Command) -> Callable[[Callable[..., None]], None]:
    """Add a check of the arguments of a verb, by a function that takes all of them."""

    def add(function: Callable[..., None]) -> None:
        assert isinstance(verb, Verb)
        verb.check = function

    return add


def find_missing(extra: str) -> list[str]:
    """Return the requirements of an extra that are not installed."""
    missing = []
    for text in metadata.requires("fractal-workbench") or ():
        required = Requirement(text)
        if required.marker and required.marker.evaluate({"extra": extra}):
            if required.name == "fractal-workbench":
                missing += [
                    name for part in required.extras for name in find_missing(part)
                ]
            elif not [*metadata.distributions(name=required.name)]:
                missing.append(required.name)
    return missing


def run_with_extra(extra: str) -> None:
    """Run the same command where the extra is installed, if uv can make such a place."""
    if uv := os.environ.get("UV") or shutil.which("uv"):  # uv tells what it runs
        wanted = requirement(extra)
        command = [uv, "tool", "run", "--python", sys.executable, "--from", wanted]
        click.echo(f"Continued by uv, which has {wanted}", err=True)
        done = subprocess.run(
            [*command, "fractal-workbench", *sys.argv[1:]], check=False
        )
        sys.exit(done.returncode)


def reject(text: str) -> click.UsageError:
    """Return the error of arguments that do not go together."""
    return click.UsageError(text)


@click.group(cls=Contents, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="fractal-workbench")
@click.option(
    "--check-arguments", is_flag=True, help="Only check the arguments of the command."
)
def main(check_arguments: bool) -> None:
    """Run, look at, test and extend packages of Fractal tasks.

    In a task package, `nox -s VERB -- ...` runs the version that belongs to the package.
    """


@contextmanager
def clean_exit(*errors: type[Exception]) -> Iterator[None]:
    """Clean up on signals, and show an error of the user without a traceback."""
    for name in {"SIGTERM", "SIGHUP"} & {*dir(signal)}:  # clean up as on Ctrl-C
        signal.signal(getattr(signal, name), lambda number, _: sys.exit(128 + number))
    try:
        yield
    except errors as error:
        sys.exit(f"\n{str(error).rstrip()}")
    except KeyboardInterrupt as interrupt:
        print("\ninterrupted", *getattr(interrupt, "__notes__", ()), file=sys.stderr)
        sys.exit(130)


# --- run ---


def interpreter(
    ctx: click.Context, parameter: click.Parameter, texts: tuple[str, ...]
) -> list[tuple[str, str]]:
    """Split each `NAME=INTERPRETER`, or `NAME==VERSION=INTERPRETER`."""
    pairs = []
    for text in texts:
        match = re.fullmatch("([^=]+(?:==[^=]+)?)=([^=].*)", text)
        if not match or not Path(match[2]).is_file():
            raise click.BadParameter(
                f"{text!r} is not NAME=INTERPRETER, of a file, or NAME==VERSION=INTERPRETER"
            )
        pairs.append((match[1], str(Path(match[2]).absolute())))
    return pairs


def absolute(
    ctx: click.Context, parameter: click.Parameter, path: str | None
) -> str | None:
    """Make a path absolute; links stay, unless `..` follows one."""
    if path is None:
        return None
    return str(Path(path).resolve() if ".." in Path(path).parts else Path.cwd() / path)


@main.command(cls=Verb)
@click.argument("workflow", metavar="WORKFLOW.json")
@click.option(
    "--zarr-dir", required=True, callback=absolute, help="The folder of the images."
)
@click.option(
    "--images",
    type=FILE,
    help="Images to begin with, if no converter does: a JSON file such as "
    '[{"zarr_url": "/data/image.zarr", "types": {"is_3D": true}}].',
)
@click.option(
    "--workers", type=int, help="Units at a time; default: one per processor."
)
@click.option(
    "--report", type=FILE, help="The page; default: report.html in the folder."
)
@click.option(
    "--plan",
    "only_plan",
    is_flag=True,
    help="Check the workflow, and show what would run and how many jobs the converters of this "
    "package make; change nothing.",
)
@click.option(
    "--resume",
    is_flag=True,
    help="Reuse the results of the last run in this folder: run what failed, and all after "
    "the first step whose arguments, code, inputs or results have changed.",
)
@click.option(
    "--with",
    "requirements",
    metavar="REQUIREMENT",
    multiple=True,
    help="Install this variant of a package: `name[extra]`, `name @ URL`; with `==1.2`, for "
    "the steps of that version, or in place of the only version.",
)
@click.option(
    "--env",
    "interpreters",
    metavar="NAME[==VERSION]=INTERPRETER",
    multiple=True,
    callback=interpreter,
    help="Run the tasks of a package by an interpreter that has it.",
)
@click.option(
    "--yes", is_flag=True, help="Install what the workflow names without a question."
)
@click.option(
    "--record",
    metavar="NAME",
    default="",
    help="Make a test of this run, on small data: tests/test_NAME.py.",
)
@click.option(
    "--try",
    "part",
    metavar="WELL[:PIXELS|:TABLE/REGION]",
    default="",
    help="Copy a well of --images, or a part of it, into the folder DIR_try, and run on the copy: "
    "A01, A01:512 for pixels of its middle, or A01:FOV_ROI_table/1. If the workflow begins with "
    "a converter, copy the files of the well. The original stays as it is.",
)
@click.option(
    "--view",
    metavar="URL",
    default="",
    help="Link each image on the page to a viewer: the URL, and then the path of the image in "
    "the folder, such as https://example.org/viewer/?source=https://example.org/data/.",
)
@click.option(
    "--json", "run_json", type=FILE, help="A file for results, costs and image list."
)
def run(workflow: str, images: Path | None, **options: Any) -> None:
    """Run a workflow of tasks of any packages, and write a page about it.

    WORKFLOW.json is a workflow that you exported from Fractal's web interface. Each unit is
    a process of its own: a call of a task, for one image or for all. Outputs are checked,
    and the image list is updated and filtered, as on the server.

    All steps are checked first. A package that is installed in the right version is used as
    it is. All others are listed, and installed once you agree, each in an environment of its
    own, which is kept.
    """
    from .engine import command, rules

    with clean_exit(rules.WorkflowError, OSError, ValueError):
        given = {key: value for key, value in options.items() if value is not None}
        if images is not None:
            given["images"] = rules.read_images(images)
        command.run(workflow, **given)


@check(run)
def check_run(workflow: str, zarr_dir: str, images: Path | None, **_: Any) -> None:
    """Read the files, before anything is installed."""
    from .engine import rules

    with clean_exit(rules.WorkflowError, OSError, ValueError):
        listed = rules.read_images(images) if images else []
        rules.read_job(workflow=workflow, zarr_dir=zarr_dir, images=listed)


@main.command(cls=Verb)
@click.argument("folder", metavar="[FOLDER]", required=False, type=FILE, default=None)
@click.option(
    "--wells",
    metavar="N",
    type=click.IntRange(1, 6),
    default=6,
    show_default=True,
    help="How many wells the plate has, at most.",
)
def demo(folder: Path | None, wells: int) -> None:
    """Run the tasks of a package on real cells, and write a page about it.

    FOLDER is a new folder for data and page; the default, .nox/demo-out, is replaced. The
    workflow has all examples in the package, and its own parallel tasks that need no
    argument.
    """
    from .demo.command import run_demo

    with clean_exit():
        run_demo(folder, wells)


@check(demo)
def check_demo(folder: Path | None, wells: int) -> None:
    """Reject a folder that exists."""
    if folder and folder.exists():
        raise reject(f"FOLDER: {folder} exists: name one that does not")


@main.command(cls=Verb)
@click.argument("workflow", metavar="[WORKFLOW.json]", required=False)
@click.option(
    "--zarr-dir",
    callback=absolute,
    help="Where the server's images stay; a copy of it is for the local run.",
)
@click.option(
    "--images", metavar="IMAGES.json", type=FILE, help="The images to begin with."
)
@click.option("--keep", is_flag=True, help="Keep the server running until Ctrl-C.")
@click.option("--slurm", is_flag=True, help="Run it on a SLURM of one node.")
@click.option("--json", "run_json", type=FILE, help="A file for results and costs.")
@click.option(
    "--yes", is_flag=True, help="Install what the workflow names without a question."
)
def server(workflow: str | None, images: Path | None, **options: Any) -> None:
    """Run a workflow on a real fractal-server, and compare with a local run.

    PostgreSQL and fractal-server run in a private folder, until this command ends. You need
    no rights of an administrator. The wheel of this package is built, uploaded and
    collected; without a workflow, that is all. Other packages of the workflow are collected
    by name and version, once you agree.
    """
    from .engine import rules
    from .server import command
    from .server.watchdog import ServerError

    with clean_exit(ServerError):
        try:
            listed = rules.read_images(images) if images else []
            success = command.serve(workflow, images=listed, **options)
        except rules.WorkflowError as error:
            raise reject(str(error)) from error
    sys.exit(not success)


@check(server)
def check_server(workflow: str | None, images: Path | None, **_: Any) -> None:
    """Read the files, before anything is installed or started."""
    if sys.platform == "win32":
        sys.exit("fractal-server needs Linux or macOS, and this is Windows.")
    from .engine import rules

    try:
        if images:
            rules.read_images(images)
        if workflow:
            rules.read_job(workflow=workflow)
    except (OSError, ValueError, rules.WorkflowError) as error:
        raise reject(str(error)) from error


# --- tasks ---


PACKAGE = click.option(
    "--package",
    "requirement",
    metavar="REQUIREMENT",
    default="",
    help="Instead of the package in this folder, one that is installed or published, such "
    "as `fractal-tasks-core==2.1.0`, or the path of a wheel. Its files are read, and none of "
    "its code runs.",
)


@main.command(cls=Verb)
@click.argument(
    "file",
    metavar="[FILE.html]",
    required=False,
    type=FILE,
    default=Path(".nox", "form", "index.html"),
)
@click.option(
    "--package",
    "requirements",
    metavar="REQUIREMENT",
    multiple=True,
    help="Instead of the package in this folder, one that is installed or published, such "
    "as `fractal-tasks-core==2.1.0`, or the path of a wheel. Can be given several times. Its "
    "files are read, and none of its code runs.",
)
@click.option(
    "--workflow",
    metavar="WORKFLOW.json",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A workflow whose steps are filled in. The page has the forms of its packages.",
)
def form(file: Path, requirements: tuple[str, ...], workflow: Path | None) -> None:
    """Write a page with the web forms of the tasks, as in Fractal's web interface.

    The page needs no server and no network. It checks the input by the rules of the real
    form. On the page you build a workflow: fill in forms, add them as steps, order the
    steps, and download the JSON. It also opens a workflow that you have.
    """
    from .engine import rules
    from .form import page

    with clean_exit(rules.WorkflowError):
        page.write_page(file, requirements, workflow)


@check(form)
def check_form(
    file: Path, requirements: tuple[str, ...], workflow: Path | None
) -> None:
    """Reject a file that is no page."""
    if file.suffix != ".html" or file.is_dir():
        raise reject(f"FILE.html: {file} must be the name of a file that ends in .html")


@main.command(cls=Verb)
@click.argument(
    "folder",
    metavar="[FOLDER]",
    required=False,
    type=FILE,
    default=Path(".nox", "docs-out"),
)
@PACKAGE
def docs(folder: Path, requirement: str) -> None:
    """Build a site about the tasks: what each is for, and all its arguments.

    The pages of the tasks are made from the manifest. Your own pages, Markdown files in
    `docs/`, and CHANGELOG.md become a part of the site. FOLDER is replaced if it has an
    earlier site.
    """
    from .docs import command
    from .engine import rules

    with clean_exit(rules.WorkflowError):
        command.build(folder, requirement)


@main.command("check-manifest", cls=Verb)
@click.argument(
    "manifest",
    metavar="[MANIFEST.json]",
    required=False,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
)
@PACKAGE
def check_manifest(manifest: Path | None, requirement: str) -> None:
    """Check a manifest by the rules of the server and of the web form.

    Without a file, this is the manifest of the package in this folder. Mistakes are listed
    with the task and the argument, and the exit code is 1.
    """
    from .engine import rules
    from .form.check import find_mistakes
    from .form.source import find_package

    with clean_exit(rules.WorkflowError, OSError, ValueError):
        if manifest:
            content, name = rules.read_json(manifest), str(manifest)
        else:
            package = find_package(requirement)
            content, name = package.manifest.model_dump(mode="json"), package.name
        mistakes = [*find_mistakes(content)]
    if mistakes:
        sys.exit("\n".join(mistakes))
    tasks = rules.count_of(len(content["task_list"]), "task")
    print(f"{name}: nothing is wrong with its {tasks}")


@check(check_manifest)
def check_check_manifest(manifest: Path | None, requirement: str) -> None:
    """Reject a file and a package at once."""
    if manifest and requirement:
        raise reject("give MANIFEST.json or --package, not both")


# --- packages ---


@main.command("new-task", cls=Verb)
@click.argument("name", required=False)
@click.option("--makes", type=click.Choice([*MAKES]), help="What the task makes.")
@click.option("--type", type=click.Choice([*TYPES]), metavar="TYPE", help="See below.")
@click.option("--model", is_flag=True, help="With --makes label: of a model on tiles.")
@click.option(
    "--with-library",
    default="kit",
    metavar="[kit|ngio]",
    help="With --makes: write the task with ngio, in place of the kit.",
)
@click.option("--example", metavar="NAME", help="Such as gaussian_blur.")
@click.option(
    "--from",
    "function",
    metavar="FUNCTION",
    help="MODULE:FUNCTION, or FILE.py:FUNCTION; the file is copied into the package.",
)
@click.option(
    "--array",
    metavar="NAME",
    default="",
    help="With --from: its argument that takes the pixels; or several, with commas.",
)
@click.option(
    "--axes",
    type=click.Choice(["yx", "zyx"]),
    help="With --from: call it for each plane, or for each volume.",
)
@click.option(
    "--set",
    "set",
    multiple=True,
    metavar="NAME=VALUE",
    help="With --from: another default for one of its arguments, as JSON.",
)
@click.option(
    "--returns",
    type=click.IntRange(min=0),
    metavar="N",
    help="With --from: the element of the tuple that it returns, from 0.",
)
@click.option(
    "--with",
    "requirements",
    multiple=True,
    metavar="PACKAGE",
    help="With --from: install a library that its file imports, and depend on it.",
)
@click.option(
    "--rename",
    nargs=2,
    metavar="OLD NEW",
    help="Rename a task: its modules, test, documentation, entries and steps.",
)
@click.option("--remove", metavar="NAME", help="Remove a task, with all of these.")
def new_task(**options: Any) -> None:
    """Add a task to this package: from a function, from scratch, or a worked example.

    \b
    You have a function that takes an array
      of a library     "Top Hat" --from skimage.morphology:white_tophat
      of your own      "Count Spots" --from FILE.py:count_spots
      of several channels
                       "Compare" --from FILE.py:compare --array nuclei,reference
      What it returns decides what the task makes:
        an array of the same shape     a new image; of labels, or a mask: labels
        numbers by name, a number      measurements, one row per image
        positions (an array with a     points, in pixels and micrometers
        row or list of pairs each)
        a DataFrame                    points if it has columns y and x, or measurements
        columns of a function that     features, one row per object
        takes labels, with `label`
        numbers or rows, of a function a table of the plate
        that takes a DataFrame
      --makes, --axes, --array, --returns and --set override this. The function is called
      for each plane or volume. If it takes a trained model: --makes label --model.

    \b
    You want to write a task that makes
      a new image      "Deconvolve Image" --makes image
      labels           "Segment Nuclei" --makes label
      labels, by a model: Cellpose, StarDist, a forest of scikit-learn; also of
      several channels
                       "Segment Cells" --makes label --model
      features         "Measure Shape" --makes features       one row per object
      measurements     "Measure Focus" --makes measurements   one row per image
      points           "Find Spots" --makes points            one row per point
      a table          "Summarize Plate" --makes table        one row per image; for
                       rows by well or object, see --example aggregate_tables
      an image that depends on all others, such as on a reference
                       "Match Intensities" --makes image --type compound
      the first images "Import CZI" --type converter_compound
      an image, labels, features or a table, with ngio in place of the kit
                       "Segment Nuclei" --makes label --with-library ngio
      The new task runs at once. Replace its function by your algorithm.

    \b
    You want a worked example
                       --example gaussian_blur

    \b
    You want another name for a task, or no longer need it
                       --rename "Top Hat" "Remove Background"
                       --remove "Top Hat"
      Commit your changes first. What still mentions the old name is listed.

    A task comes as a module (two for a compound task) with a test, documentation and an
    entry in the task list.

    \b
    Fractal runs a task of the type
      parallel                once for each image
      non_parallel            once for all images
      compound                once for all images, then for each item of the list
                              that this returns
      converter_non_parallel  once, to make the first images
      converter_compound      once, then for each image that is to be made
    """
    if options["rename"] or options["remove"]:
        from .new_task import existing

        if options["rename"]:
            existing.act(existing.rename, *options["rename"])
        else:
            existing.act(existing.remove, options["remove"])
    else:
        from .new_task import command

        command.add(SimpleNamespace(**options))


@check(new_task)
def check_new_task(
    name: str | None,
    makes: str | None,
    type: str | None,
    function: str | None,
    example: str | None,
    model: bool,
    with_library: str,
    array: str,
    axes: str | None,
    set: tuple[str, ...],
    returns: int | None,
    requirements: tuple[str, ...],
    rename: tuple[str, str] | None,
    remove: str | None,
) -> None:
    """Reject options that do not go together, and names that cannot be."""
    kinds = makes or type or function
    changes = [value for value in (rename, remove) if value]
    if changes and (len(changes) > 1 or name or kinds or example or model):
        raise reject("--rename OLD NEW and --remove NAME take no other option")
    if with_library != "kit":
        from .new_task.library import check_library

        given: dict[str, Sequence[str | None]] = {
            "--from": [function],
            "--array": [array],
            "--axes": [axes],
            "--set": set,
            "--returns": [] if returns is None else [str(returns)],
            "--with": requirements,
            "--example": [example],
        }
        kit_options = {
            option: [value for value in values if value]
            for option, values in given.items()
            if any(values)
        }
        if problem := check_library(
            with_library,
            name,
            makes=makes,
            task_type=type,
            default_type=MAKES[makes][0] if makes else None,
            kit_options=kit_options | ({"--model": []} if model else {}),
        ):
            raise reject(problem)
    if example and (name or kinds):
        raise reject("--example: an example has its name and type, give no other")
    if not changes and not example and not (name and kinds):
        raise reject(
            "give a name, and --from FUNCTION, or --makes WHAT, or one of these as "
            f"--type: {', '.join(TYPES)}"
        )
    if model and (example or function):
        raise reject("--model: give a name and --makes label, and no other")
    if not function and (array or axes or set or returns is not None or requirements):
        raise reject(
            "--array, --axes, --set, --returns and --with say more of the function of --from"
        )
    from .new_task import names

    try:
        if rename:
            names.check_rename(*rename)
        elif remove:
            names.find_task(remove)
        elif example:
            names.check_example(example)
        else:
            names.check_arguments(str(name), makes, type, model=model)
    except (names.Rejected, OSError, SyntaxError) as error:
        sys.exit(f"{error}\nNothing was written.")


@main.command(cls=Verb)
@click.argument(
    "action",
    required=False,
    default="check",
    metavar="[diff|update|restore]",
    type=click.Choice(["check", "diff", "update", "restore"]),
)
@click.argument("files", nargs=-1)
def template(action: str, files: tuple[str, ...]) -> None:
    """Compare this package with the template that it was made from, or update it.

    Without an argument, the exit code is 4 if files of the template have changed here.
    Otherwise it is 0, also if there is a newer template; 1 is an error. `diff [FILE...]` shows
    the changes, and `restore FILE...` reverts them.
    """
    from .template import command

    sys.exit(command.act(action, files))


@check(template)
def check_template(action: str, files: tuple[str, ...]) -> None:
    """Reject files for actions that take none."""
    if files and action not in ("diff", "restore"):
        raise reject(f"{action} takes no files")
    if action == "restore" and not files:
        raise reject("restore: name the files")


@main.command(cls=Verb)
@click.argument("package", metavar="FOLDER", type=FILE)
@click.option(
    "--template",
    help="The path or URL for updates; default: where the workbench was installed from.",
)
@click.option(
    "--compare",
    is_flag=False,
    flag_value="HEAD",
    metavar="COMMIT",
    help="Only compare the manifest with that of a commit (by default HEAD).",
)
def adopt(package: Path, template: str | None, compare: str | None) -> None:
    """Use this template for a package of the official Fractal template.

    Missing files are added, and tables at the end of `pyproject.toml`, and the answers for
    copier. Nothing else is changed. The report lists what you have to decide.
    """
    from .adopt import command

    command.act(package, template, compare)
