"""The package whose forms are shown: in this folder, installed, or published."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import InvalidWheelFilename, parse_wheel_filename

from ..engine import packages, rules
from ..project import find_project


def find_package(requirement: str = "") -> rules.Package:
    """Return a package with its manifest; none of its code runs.

    Args:
        requirement: Its name, with a version or an address, or the path of a wheel, as pip
            takes it: what is installed here, or else its wheel, is read. By default the
            package in the current folder.

    Raises:
        WorkflowError: There is no such package, or no correct manifest in it.
    """
    if not requirement:
        if (own := find_project()) is None:
            raise rules.WorkflowError(
                f"{Path.cwd()} has no task package: go to the folder of its "
                "pyproject.toml, or name another package by --package"
            )
        try:
            manifest = rules.read_manifest(own.name, own.root)
        except rules.WorkflowError as error:
            error.reason += (
                ". `nox -s manifest`, or `fractal-manifest create`, writes it"
            )
            raise
        name = rules.normalise(own.name)
        version = own.read_version()
        return rules.Package(
            name=name, version=version, root=own.root, manifest=manifest
        )
    try:
        wanted = _read_requirement(requirement)
    except (InvalidRequirement, InvalidWheelFilename, FileNotFoundError) as error:
        reason = str(error).splitlines()[0]
        raise rules.WorkflowError(f"--package {requirement!r}: {reason}") from error
    beside = None if wanted.url else rules.find_package(rules.normalise(wanted.name))
    if beside and _is_wanted(beside.version, wanted):
        return beside
    with tempfile.TemporaryDirectory(prefix="fractal-packages-") as folder:
        releases = packages.find_releases({"": wanted}, Path(folder), _reject_builds)
    release = releases[""]
    if isinstance(release, str):
        raise rules.WorkflowError(f"--package {requirement!r}: {release}")
    return release.describe()


def find_packages(
    steps: Sequence[rules.Step], known: Sequence[rules.Package]
) -> list[rules.Package]:
    """Find the packages of the steps of a workflow, besides those that are known.

    Raises:
        WorkflowError: There is no such package, or no correct manifest in it.
    """
    by_name = {package.name: package for package in known}
    own = rules.find_own()
    for number, step in enumerate(steps, start=1):
        name, version = rules.normalise(step.task.pkg_name), step.task.version
        if name in by_name:
            continue
        is_own = own is not None and rules.normalise(own.name) == name
        requirement = f"{name}=={version}" if version else name
        try:
            by_name[name] = find_package("" if is_own else requirement)
        except rules.WorkflowError as error:
            error.reason = f"Step {number}, {step.task.name}: {error.reason}"
            raise
    return [package for package in by_name.values() if package not in known]


def _read_requirement(text: str) -> Requirement:
    if not text.endswith(".whl") or "://" in text:
        return Requirement(text)
    wheel = Path(text).absolute()
    if not wheel.is_file():
        raise FileNotFoundError(f"there is no file {wheel}")
    name, *_ = parse_wheel_filename(wheel.name)
    return Requirement(f"{name} @ {wheel.as_uri()}")


def _is_wanted(version: str | None, wanted: Requirement) -> bool:
    if not wanted.specifier:
        return True
    return version is not None and wanted.specifier.contains(version, prereleases=True)


def _reject_builds(lines: Sequence[str]) -> bool:
    raise rules.WorkflowError(
        f"{'; '.join(lines)}: give a wheel, or a version of an index"
    )
