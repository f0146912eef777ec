"""The packages of a workflow: each is looked at before it is installed, and kept.

A package that is not installed beside this one gets an environment of its own, in the
user's cache folder, for this workflow and for those to come.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from copy import copy
from importlib import import_module, metadata
from pathlib import Path
from typing import Any, NamedTuple

from jsonschema import Draft202012Validator
from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import SpecifierSet

from package import NAME, PACKAGE

rules = import_module(f"{PACKAGE.name}.dev.server_rules")
publish = import_module(f"{PACKAGE.name}.kit.publish")

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
ENVIRONMENTS = CACHE / "fractal-task-environments"
# What an installer generates, which depends on the Python that runs it.
SCRIPT = re.compile(r"(\.\./)*(bin|Scripts)/")
# Where a package is, seen from the interpreter that has it.
LOCATE = "import importlib.util as u, sys; print(u.find_spec(sys.argv[1]).origin)"


class Release(NamedTuple):
    """A package that is not installed yet.

    Attributes:
        requirement: What was asked for.
        version: What that is.
        python: The versions of Python that it is for.
        files: The names of its modules and data, with their checksums.
        manifest: Its tasks.
    """

    requirement: Requirement
    version: str
    python: str
    files: str
    manifest: dict[str, Any]

    @property
    def folder(self) -> Path:
        """Where its environment is kept."""
        return environment(self.requirement, self.version)

    def describe(self, python: str = sys.executable, root: Path = Path()) -> Any:
        """Return what a workflow has to know of the package."""
        return rules.Package(
            name=rules.normalise(self.requirement.name),
            version=self.version,
            root=root,
            python=python,
            manifest=self.manifest,
        )


class Found(NamedTuple):
    """What was found of the packages of a workflow.

    Attributes:
        packages: By what the steps call them.
        releases: Those of them that are to be installed.
        mistakes: A line for each that cannot be had.
    """

    packages: dict[str, Any]
    releases: dict[str, Release]
    mistakes: list[str]


def find_packages(
    workflow: Any,
    requirements: Sequence[str],
    interpreters: Mapping[str, str],
    folder: Path,
) -> Found:
    """Find the packages of a workflow; install none.

    Args:
        workflow: The workflow.
        requirements: What to install of some of them: `name[extra]==1.2`, or `name @ URL`.
        interpreters: For some of them, the interpreter that has the package.
        folder: Where packages may be unpacked.
    """
    found = Found({}, {}, [])
    given = {}
    for text in requirements:
        try:
            requirement = Requirement(text)
            given[rules.normalise(requirement.name)] = requirement
        except InvalidRequirement as error:
            found.mistakes.append(f"--with {text!r}: {error}".splitlines()[0])
    named = {step.task.pkg_name for step in workflow.task_list}
    if unused := sorted({*given, *interpreters} - named):
        found.mistakes.append(f"no step is in {', '.join(unused)}: {sorted(named)} are")

    wanted = {}
    for step in workflow.task_list:
        name, version = step.task.pkg_name, step.task.version
        if name != rules.normalise(NAME):
            is_free = name in given or name in interpreters or version is None
            wanted[name if is_free else f"{name}=={version}"] = name, version

    fetched: dict[str, Requirement] = {}
    for key, (name, version) in wanted.items():
        try:
            if name in interpreters:
                found.packages[key] = find_installed(name, interpreters[name])
                continue
            beside = None if name in given else rules.find_package(name)
            if beside and version in (None, beside.version):
                found.packages[key] = beside
            else:
                fetched[key] = given.get(name) or Requirement(key)
        except (rules.WorkflowError, InvalidRequirement) as error:
            found.mistakes.append(str(error))
    for key, release in find_releases(fetched, folder).items():
        if isinstance(release, Release):
            found.releases[key] = release
            found.packages[key] = release.describe()
        else:
            found.mistakes.append(release)
    return found


def find_installed(name: str, python: str) -> Any:
    """Return a package that another interpreter has."""
    module = name.replace("-", "_")
    code = f"from importlib.metadata import version; print(version({name!r}))"
    found = [
        subprocess.run(
            [python, "-I", "-c", code, module],
            capture_output=True,
            text=True,
            check=False,
        )
        for code in (LOCATE, code)
    ]
    if any(done.returncode for done in found):
        raise rules.WorkflowError(
            f"--env {name}={python}: {name} is not installed there"
        )
    origin, version = (done.stdout.strip() for done in found)
    return read_root(name, version, Path(origin).parent, python)


def read_root(name: str, version: str, root: Path, python: str) -> Any:
    """Return a package that is installed somewhere."""
    try:
        manifest = json.loads((root / rules.MANIFEST).read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise rules.WorkflowError(f"{name} has no manifest: {error}") from error
    return rules.Package(
        name=name, version=version, root=root, python=python, manifest=manifest
    )


def find_releases(
    requirements: Mapping[str, Requirement], folder: Path
) -> dict[str, Release | str]:
    """Return packages of an index, or why one cannot be had.

    What a version is like is kept for later runs.
    """
    known = {key: read_release(wanted) for key, wanted in requirements.items()}
    missing = [requirements[key] for key, found in known.items() if found is None]
    together, uv = folder / "together", shutil.which("uv")
    done = unpack(missing, together) if missing and (uv or len(missing) > 1) else None

    def find(key: str) -> Release | str:
        if release := known[key]:
            return release
        wanted = requirements[key]
        try:
            if done and done.returncode == 0:
                return keep(look_at(wanted, together))
            # Alone, it does not share the fate of others.
            own = folder / re.sub(r"\W", "_", str(wanted))
            said = unpack([wanted], own, by_pip=True)  # whose errors we explain
            if said.returncode:
                return f"no {wanted}: {explain(said.stderr)}"
            return keep(look_at(wanted, own))
        except rules.WorkflowError as error:
            return str(error)

    with ThreadPoolExecutor() as pool:
        return dict(zip(known, pool.map(find, known), strict=True))


def unpack(
    requirements: Sequence[Requirement], folder: Path, *, by_pip: bool = False
) -> "subprocess.CompletedProcess[str]":
    """Put packages into a folder, for whatever Python, without what they need."""
    command = uv_install(requirements, sys.executable)
    if by_pip or not command:
        command = pip_install(requirements, sys.executable)
        command += ["--ignore-requires-python", "--no-compile"]
    return subprocess.run(
        [*command, "--no-deps", "--target", str(folder)],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PIP_USER": "0"},
    )


def uv_install(requirements: Sequence[Requirement], python: str) -> list[str]:
    """Return the command by which uv, which is faster, installs packages, if it is there."""
    if (uv := shutil.which("uv")) is None:
        return []
    # It would not see that what is at an address has changed.
    new = [f"--refresh-package={one.name}" for one in requirements if one.url]
    options = ["--quiet", "--python", python, *new]
    return [uv, "pip", "install", *options, *map(str, requirements)]


def pip_install(requirements: Sequence[Requirement], python: str) -> list[str]:
    """Return the command by which pip installs packages."""
    return [python, "-m", "pip", "install", "--quiet", *map(str, requirements)]


def look_at(requirement: Requirement, folder: Path) -> Release:
    """Read what an unpacked package says of itself, and its manifest."""
    name = rules.normalise(requirement.name)
    found = metadata.distributions(name=name, path=[str(folder)])
    if (package := next(iter(found), None)) is None:
        raise rules.WorkflowError(f"{requirement}: nothing of this name is installed")
    file = folder / name.replace("-", "_") / rules.MANIFEST
    if not file.exists():
        raise rules.WorkflowError(
            f"{requirement} is no package of Fractal tasks: it has no {rules.MANIFEST}"
        )
    try:
        manifest = rules.read_json(file)
    except ValueError as error:
        raise rules.WorkflowError(f"{requirement}: {error}") from error
    if not isinstance(manifest, dict):
        raise rules.WorkflowError(f"{requirement}: {rules.MANIFEST} is no dictionary")
    # Not those in which an installer says what it did, and when.
    files = [
        line
        for line in (package.read_text("RECORD") or "").splitlines()
        if not SCRIPT.match(line)
        and (".dist-info/" not in line or ".dist-info/METADATA," in line)
    ]
    python = package.metadata["Requires-Python"] or ""
    said = "\n".join(sorted(files))
    return Release(requirement, package.version, python, said, manifest)


def read_release(requirement: Requirement) -> Release | None:
    """Return a version of a package that an earlier run has looked at."""
    version = pinned(requirement)
    if version is None:
        return None
    try:
        text = (environment(requirement, version) / "release.json").read_text("utf-8")
        return Release(requirement, *json.loads(text))
    except (OSError, ValueError, TypeError):  # none, or half of one
        return None


def keep(release: Release) -> Release:
    """Keep what a package is like for later runs, if it is that of a version."""
    if pinned(release.requirement) is not None:
        release.folder.mkdir(parents=True, exist_ok=True)
        file = release.folder / "release.json"
        file.write_text(json.dumps(release[1:]), "utf-8")
    return release


def pinned(requirement: Requirement) -> str | None:
    """Return the one version that a requirement allows, if there is one."""
    found = re.fullmatch(r"==([^*]+)", str(requirement.specifier))
    return found[1] if found and not requirement.url else None


def environment(requirement: Requirement, version: str) -> Path:
    """Return where the environment of a package is kept."""
    extras = "".join(f"+{extra}" for extra in sorted(requirement.extras))
    running = f"python{sys.version_info.major}.{sys.version_info.minor}"
    return ENVIRONMENTS / f"{requirement.name}{extras}-{version}-{running}"


def explain(said: str) -> str:
    """Return the sentence in which pip says why there is no such package."""
    if other := re.search(r"produced metadata for project name (\S+?)\.", said):
        return f"what is there is called {other[1]}"
    errors = [line for line in said.splitlines() if line.startswith("ERROR: ")]
    versions = re.search(r"\(from versions: (.*?)\)", said)
    if versions and versions[1] != "none":
        newest = versions[1].split(", ")[-5:]
        return f"the newest versions are {', '.join(newest)}"
    if versions:
        return "the index has no such package, or cannot be reached"
    return errors[-1].removeprefix("ERROR: ") if errors else said[-500:]


def install(release: Release) -> Any:
    """Install a package, unless that was done before; return where it is."""
    folder = release.folder
    python = folder / "venv" / ("Scripts" if os.name == "nt" else "bin") / "python"
    installed, what = folder / "installed", release.files + constraints()
    folder.mkdir(parents=True, exist_ok=True)
    with publish.locked(folder, long=True) as lock:
        if not installed.exists() or installed.read_text("utf-8") != what:
            print(f"\ninstalling {release.requirement}, once", flush=True)
            installed.unlink(missing_ok=True)
            shutil.rmtree(folder / "venv", ignore_errors=True)
            fill(folder / "venv", python, release)
            lock.replace(installed, what)
    module = release.describe().name.replace("-", "_")
    root = Path(run([str(python), "-I", "-c", LOCATE, module])).parent
    return release.describe(str(python), root)


def constraints() -> str:
    """Return what limits the versions of what is installed with a package."""
    files = [os.environ.get(f"{tool}_CONSTRAINT", "") for tool in ("UV", "PIP")]
    paths = [Path(file) for file in " ".join(files).split()]
    return "".join(path.read_text("utf-8") for path in paths if path.is_file())


def fill(venv: Path, python: Path, release: Release) -> None:
    """Make an environment, and install a package in it."""
    fits = SpecifierSet(release.python).contains(sys.version.split()[0])
    if uv := shutil.which("uv"):
        which = sys.executable if fits else release.python
        run([uv, "venv", "--quiet", "--python", which, str(venv)])
    elif fits:
        run([sys.executable, "-m", "venv", str(venv)])
    else:
        raise rules.WorkflowError(
            f"{release.requirement} needs Python {release.python}: install uv, which finds it"
        )
    wanted = copy(release.requirement)
    if not wanted.url:
        wanted.specifier = SpecifierSet(f"=={release.version}")
    run(uv_install([wanted], str(python)) or pip_install([wanted], str(python)))


def run(command: list[str]) -> str:
    """Run a command to its end; return what it printed."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        said = (done.stderr or done.stdout).strip()
        raise rules.WorkflowError(f"{' '.join(command)} failed:\n{said}")
    return done.stdout.strip()


def find_mistakes(job: Any, found: Found) -> list[str]:
    """Return what is wrong with the steps of a workflow: names, versions, arguments, types."""
    mistakes = [*found.mistakes]
    for step in job.workflow.task_list:
        name = step.task.pkg_name
        known = {rules.normalise(NAME), *found.packages}
        if known.isdisjoint({name, f"{name}=={step.task.version}"}):
            continue  # which is said already
        workflow = job.workflow.model_copy(update={"task_list": [step]})
        one = job.model_copy(update={"workflow": workflow, "packages": found.packages})
        try:
            ((fitted, task, _),) = rules.find_tasks(one)
        except rules.WorkflowError as error:
            mistakes += error.reason.splitlines()
        else:
            for part in ("non_parallel", "parallel"):
                mistakes += check_values(fitted, task, part)
    return mistakes


def check_values(step: Any, task: Any, part: str) -> Iterator[str]:
    """Yield what the schema of a task says against arguments of a step."""
    schema = getattr(task, f"args_schema_{part}") or {}
    given = getattr(step, f"args_{part}") or {}
    kept = rules.RESERVED_ARGUMENTS
    required = [name for name in schema.get("required", ()) if name not in kept]
    validator = Draft202012Validator(schema | {"required": required})
    for error in sorted(
        validator.iter_errors(given), key=lambda error: error.json_path
    ):
        if error.validator in ("required", "additionalProperties") and not error.path:
            continue  # which is said already
        place = ".".join(map(str, error.absolute_path))
        yield f"{task.name!r}, {place or f'args_{part}'}: {error.message:.300}"
