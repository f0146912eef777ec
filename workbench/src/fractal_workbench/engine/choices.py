"""Resolve the packages of a workflow, and check its steps against them.

A workflow is data from strangers. Its names are looked at, as wheels of the user's index,
and nothing of them is built, imported or run before the user agrees.
"""

from collections.abc import Iterable, Iterator, Sequence
from copy import copy
from pathlib import Path
from typing import NamedTuple

from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import Version

from ..form.model import read_arguments
from ..kit.publish import suggest
from . import rules
from .packages import Agree, Release, find_installed, find_releases, read_root

Key = tuple[str, str | None]  # the name and version that a step gives


class Option(NamedTuple):
    """An option `--with` or `--env` for a package.

    Attributes:
        text: The option, as it was given.
        requirement: The package, with the versions and extras for which that holds.
        python: The interpreter of `--env`.
    """

    text: str
    requirement: Requirement
    python: str | None = None

    @property
    def name(self) -> str:
        """The name of the package, as indexes write it."""
        name: str = rules.normalise(self.requirement.name)
        return name

    def fits(self, version: str | None, versions: Iterable[str | None]) -> bool:
        """Whether the option applies to a version of the workflow.

        Where it names one, `--with` may replace that.
        """
        wanted = self.requirement.specifier
        is_allowed = {v: v is None or wanted.contains(v, True) for v in versions}
        is_only = len(is_allowed) == 1 and self.python is None
        return is_allowed[version] or is_only

    def pin(self, version: str | None) -> Requirement:
        """Return the requirement to install for a step with a version."""
        wanted = copy(self.requirement)
        if version and not wanted.url and wanted.specifier.contains(version, True):
            wanted.specifier = SpecifierSet(f"=={version}")
        return wanted


class Found(NamedTuple):
    """The resolved packages of a workflow.

    Attributes:
        packages: By what the steps call them.
        releases: Those of them that are to be installed.
        mistakes: A line for each that cannot be had.
    """

    packages: dict[str, rules.Package]
    releases: dict[str, Release]
    mistakes: list[str]


def find_packages(
    workflow: rules.Workflow,
    requirements: Iterable[str],
    interpreters: Iterable[tuple[str, str]],
    folder: Path,
    agree: Agree = lambda lines: False,
    *,
    with_own: bool = False,
) -> Found:
    """Find the packages of a workflow; install none.

    Args:
        workflow: The workflow.
        requirements: What to install of some of them: `name[extra]==1.2`, or `name @ URL`.
        interpreters: For some, `name` or `name==1.2`, the interpreter that has it.
        folder: Where packages may be unpacked.
        agree: Whether what an address of the user has is built, if that takes a build.
        with_own: Whether the package in the current folder is to be installed too, if it
            is not installed beside this one and has no interpreter.
    """
    resolved, own = Found({}, {}, []), own_name()
    keys: dict[Key, None] = {}
    uses_own = False
    for step in workflow.task_list:
        name, version = step.task.pkg_name, step.task.version
        try:
            version and Version(version)
        except ValueError:  # also of a number of thousands of digits
            resolved.mistakes.append(
                f"{step.task.name!r}: {version!r:.80} is no version of {name}: write one "
                "such as '1.2.0', or leave it out"
            )
            continue
        if name != own:
            keys[name, version] = None
        uses_own |= name == own
    options = [*read_options(requirements, interpreters, resolved.mistakes)]
    pythons = [o.python for o in options if o.name == own and o.python]
    options = [o for o in options if o.name != own or not o.python]
    extras: set[str] = set()
    if with_own and uses_own and not pythons:
        extras = own_extras(options, resolved.mistakes)
        options = [o for o in options if o.name != own or not o.requirement.extras]
    chosen = choose(options, [*keys], resolved.mistakes)

    fetched: dict[str, Requirement] = {}
    if uses_own and (project := rules.find_own()):
        if pythons:
            version = project.read_version() or ""
            resolved.packages[own] = read_root(own, version, project.root, pythons[-1])
        elif with_own and (extras or rules.version_of(own) is None):
            name = f"{own}[{','.join(sorted(extras))}]" if extras else own
            fetched[own] = Requirement(f"{name} @ {project.folder.as_uri()}")
    for name, version in keys:
        key, option = (
            f"{name}=={version}" if version else name,
            chosen.get((name, version)),
        )
        try:
            rules.check_package_name(name)
            if option and option.python:
                resolved.packages[key] = find_installed(
                    option.requirement, option.python
                )
                continue
            if option:
                fetched[key] = option.pin(version)
                continue
            beside = rules.find_package(name)
            if beside and version in (None, beside.version):
                resolved.packages[key] = beside
            else:
                pin = f"=={Version(version)}" if version else ""
                fetched[key] = Requirement(name + pin)
        except rules.WorkflowError as error:
            resolved.mistakes.append(error.reason)
    for key, release in find_releases(fetched, folder, agree).items():
        if isinstance(release, Release):
            resolved.releases[key] = release
            resolved.packages[key] = release.describe()
        else:
            resolved.mistakes.append(release)
    return resolved


def own_name() -> str:
    """Return the name of the package in the current folder; empty if there is none."""
    own = rules.find_own()
    return rules.normalise(own.name) if own else ""


def own_extras(options: Iterable[Option], mistakes: list[str]) -> set[str]:
    """Return the extras of the package in the current folder that are to be installed.

    Args:
        options: The options `--with`.
        mistakes: Gets a line for each that names what this package has not.
    """
    project, extras = rules.find_own(), set()
    known = project.table.get("optional-dependencies", {}) if project else {}
    names = {rules.normalise(name) for name in known}
    for option in options:
        wanted = option.requirement
        if option.name != own_name() or not wanted.extras:
            continue
        extras |= {rules.normalise(extra) for extra in wanted.extras}
        if wanted.url or wanted.specifier:
            mistakes.append(
                f"{option.text}: {option.name} is run as it is here: leave out "
                f"{wanted.url or wanted.specifier}"
            )
    if lacks := sorted(extras - names):
        mistakes.append(
            f"--with: {own_name()} has no extra {lacks}; {suggest(lacks[0], sorted(names))}"
        )
    return extras


def read_options(
    requirements: Iterable[str],
    interpreters: Iterable[tuple[str, str]],
    mistakes: list[str],
) -> Iterator[Option]:
    """Yield the options `--with` and `--env`; add invalid ones to the mistakes."""
    given: list[tuple[str, str | None]] = [(text, None) for text in requirements]
    for text, python in [*given, *interpreters]:
        shown = f"--env {text}={python}" if python else f"--with {text!r}"
        try:
            requirement = Requirement(text)
        except InvalidRequirement as error:
            mistakes.append(f"{shown}: {error}".splitlines()[0])
            continue
        if requirement.marker:
            mistakes.append(f"{shown}: leave out the condition, {requirement.marker}")
        yield Option(shown, requirement, python)


def choose(
    options: Sequence[Option], keys: Sequence[Key], mistakes: list[str]
) -> dict[Key, Option]:
    """Assign the options to packages; add unused ones to the mistakes."""
    chosen: dict[Key, Option] = {}
    used: set[str] = set()
    for name, version in keys:
        versions = [v for package, v in keys if package == name]
        fits = [o for o in options if o.name == name and o.fits(version, versions)]
        # What names its versions goes before what is for all of them.
        fits = [option for option in fits if option.requirement.specifier] or fits
        used.update(option.text for option in fits)
        texts = dict.fromkeys(option.text for option in fits)
        if len(fits) > 1:
            mistakes.append(f"{' and '.join(texts)} are for the same step: leave one")
        if fits:
            chosen[name, version] = fits[0]
    for option in options:
        versions = [version for name, version in keys if name == option.name]
        known = ", ".join(
            f"{option.name} {version or ''}".strip() for version in versions
        )
        if option.name == own_name():
            mistakes.append(
                f"{option.text}: {option.name} is run as it is here: leave this out, "
                f"or give its interpreter by --env {option.name}=PYTHON"
            )
        elif not versions:
            names = filter(None, [*sorted({name for name, _ in keys}), own_name()])
            mistakes.append(
                f"no step is in {option.name}: they are in {', '.join(names)} ({option.text})"
            )
        elif option.text not in used:
            mistakes.append(f"{option.text} is for no step: they are in {known}")
    return chosen


def find_tasks(job: rules.Job, resolved: Found) -> list[rules.Planned]:
    """Return each step of a workflow with its task, from the resolved packages.

    Raises:
        WorkflowError: With a line for each mistake: names, versions, arguments, resources.
    """
    planned: list[rules.Planned] = []
    mistakes = [*resolved.mistakes]
    for position, step in enumerate(job.workflow.task_list):
        name = step.task.pkg_name
        known = {own_name(), *resolved.packages}
        if known.isdisjoint({name, f"{name}=={step.task.version}"}):
            continue  # which is said already
        workflow = job.workflow.model_copy(update={"task_list": [step]})
        single = job.model_copy(
            update={"workflow": workflow, "packages": resolved.packages}
        )
        try:
            planned += rules.find_tasks(single, position)
        except rules.WorkflowError as error:
            mistakes += error.reason.splitlines()
            continue
        fitted, task, _ = planned[-1]
        texts: list[str] = []
        for part in ("non_parallel", "parallel"):
            texts += check_values(fitted, task, part)
        texts += rules.check_resources(fitted, task)
        mistakes += (f"{rules.step_place(position)}{text}" for text in texts)
    if mistakes:
        raise rules.WorkflowError("\n".join(mistakes))
    job.packages = resolved.packages
    return planned


def check_values(step: rules.Step, task: rules.Task, part: str) -> Iterator[str]:
    """Validate the arguments of a step by the schema of its task; yield the mistakes."""
    arguments = read_arguments(getattr(task, f"args_schema_{part}"))
    for place, mistake in arguments.find_mistakes(getattr(step, f"args_{part}") or {}):
        if place:  # else the names of arguments are wrong, which is said already
            yield f"{task.name!r}, {place}: {mistake:.300}"
