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
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from email.parser import Parser
from importlib import import_module
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
# Where a package is, seen from the interpreter that has it.
LOCATE = "import importlib.util as u, sys; print(u.find_spec(sys.argv[1]).origin)"


class Wheel(NamedTuple):
    """A package that is not installed yet."""

    file: Path
    requirement: Requirement
    version: str
    python: str  # the versions of Python that it is for
    manifest: dict[str, Any]

    @property
    def folder(self) -> Path:
        """Where its environment is kept."""
        extras = "".join(f"+{extra}" for extra in sorted(self.requirement.extras))
        running = f"python{sys.version_info.major}.{sys.version_info.minor}"
        return (
            ENVIRONMENTS / f"{self.requirement.name}{extras}-{self.version}-{running}"
        )

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
        wheels: Of those of them that are to be installed.
        mistakes: A line for each that cannot be had.
    """

    packages: dict[str, Any]
    wheels: dict[str, Wheel]
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
        folder: Where wheels may be put.
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
    for key, wheel in find_wheels(fetched, folder).items():
        if isinstance(wheel, Wheel):
            found.wheels[key] = wheel
            found.packages[key] = wheel.describe()
        else:
            found.mistakes.append(wheel)
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


def find_wheels(
    requirements: Mapping[str, Requirement], folder: Path
) -> dict[str, Wheel | str]:
    """Return the wheels of packages, or why one cannot be had.

    They come from an index, or are kept since another run if their versions are given.
    """
    files = {key: kept_wheel(wanted) for key, wanted in requirements.items()}
    missing = [key for key, file in files.items() if file is None]
    # One process for all costs a second or two; alone, each has an error of its own.
    if len(missing) > 1:
        with suppress(rules.WorkflowError):
            fetch([requirements[key] for key in missing], folder / "all")
    names = {
        key: rules.normalise(requirements[key].name).replace("-", "_")
        for key in missing
    }

    def find(key: str) -> Wheel | str:
        own = folder / re.sub(r"\W", "_", str(requirements[key]))
        try:
            file = files[key] or next((folder / "all").glob(f"{names[key]}-*"), None)
            if file is None:
                fetch([requirements[key]], own)
                (file,) = own.glob("*.whl")
            wheel = read_wheel(file, requirements[key])
            return wheel if files[key] else keep(wheel)
        except rules.WorkflowError as error:
            return str(error)

    with ThreadPoolExecutor() as pool:
        return dict(zip(files, pool.map(find, files), strict=True))


def kept_wheel(requirement: Requirement) -> Path | None:
    """Return the wheel of a version of a package that an earlier run has looked at."""
    version = pinned(requirement)
    if version is None:
        return None
    kept = Wheel(Path(), requirement, version, "", {}).folder / "wheel"
    return next(kept.glob("*.whl"), None)


def keep(wheel: Wheel) -> Wheel:
    """Keep a wheel for later runs, if it is that of a version."""
    if pinned(wheel.requirement) is None:
        return wheel
    kept = wheel.folder / "wheel" / wheel.file.name
    ENVIRONMENTS.mkdir(parents=True, exist_ok=True)
    with publish.locked(wheel.folder, long=True):
        kept.parent.mkdir(parents=True, exist_ok=True)
        new = Path(shutil.copy(wheel.file, kept.with_suffix(".new")))
        new.replace(kept)
    return wheel._replace(file=kept)


def pinned(requirement: Requirement) -> str | None:
    """Return the one version that a requirement allows, if there is one."""
    found = re.fullmatch(r"==([^*]+)", str(requirement.specifier))
    return found[1] if found and not requirement.url else None


def fetch(requirements: Sequence[Requirement], folder: Path) -> None:
    """Download wheels, or make those that packages do not have."""
    wanted = [str(requirement) for requirement in requirements]
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", *wanted]
    done = subprocess.run(
        [*command, "--wheel-dir", str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise rules.WorkflowError(f"no {wanted[0]}: {explain(done.stderr)}")


def explain(said: str) -> str:
    """Return the sentence in which pip says why there is no such package."""
    errors = [line for line in said.splitlines() if line.startswith("ERROR: ")]
    versions = re.search(r"\(from versions: (.*?)\)", said)
    if versions and versions[1] != "none":
        newest = versions[1].split(", ")[-5:]
        return f"the newest versions are {', '.join(newest)}"
    if versions:
        return "the index has no such package, or cannot be reached"
    return errors[-1].removeprefix("ERROR: ") if errors else said[-500:]


def read_wheel(file: Path, requirement: Requirement) -> Wheel:
    """Read what a wheel says of itself, and its manifest."""
    root = rules.normalise(requirement.name).replace("-", "_")
    with zipfile.ZipFile(file) as wheel:
        (place,) = (
            name for name in wheel.namelist() if name.endswith(".dist-info/METADATA")
        )
        about = Parser().parsestr(wheel.read(place).decode("utf-8"))
        try:
            manifest = json.loads(wheel.read(f"{root}/{rules.MANIFEST}"))
        except KeyError as error:
            raise rules.WorkflowError(
                f"{requirement} is no package of Fractal tasks: it has no {rules.MANIFEST}"
            ) from error
    python = about["Requires-Python"] or ""
    return Wheel(file, requirement, about["Version"], python, manifest)


def install(wheel: Wheel) -> Any:
    """Install a package, unless that was done before; return where it is."""
    folder = wheel.folder
    kept = folder / "wheel" / wheel.file.name
    python = folder / "venv" / ("Scripts" if os.name == "nt" else "bin") / "python"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with publish.locked(folder, long=True):
        is_new = kept != wheel.file and (
            not kept.exists() or kept.read_bytes() != wheel.file.read_bytes()
        )
        if is_new or not (folder / "installed").exists():
            print(f"\ninstalling {wheel.requirement}, once", flush=True)
            content = wheel.file.read_bytes()
            shutil.rmtree(folder, ignore_errors=True)
            kept.parent.mkdir(parents=True)
            kept.write_bytes(content)
            fill(folder / "venv", python, kept, wheel)
            (folder / "installed").touch()
    module = wheel.describe().name.replace("-", "_")
    root = Path(run([str(python), "-I", "-c", LOCATE, module])).parent
    return wheel.describe(str(python), root)


def fill(venv: Path, python: Path, file: Path, wheel: Wheel) -> None:
    """Make an environment, and install a wheel in it."""
    extras = ",".join(sorted(wheel.requirement.extras))
    what = f"{file}[{extras}]" if extras else str(file)
    fits = SpecifierSet(wheel.python).contains(sys.version.split()[0])
    if uv := shutil.which("uv"):
        which = sys.executable if fits else wheel.python
        run([uv, "venv", "--quiet", "--python", which, str(venv)])
        run([uv, "pip", "install", "--quiet", "--python", str(python), what])
    elif fits:
        run([sys.executable, "-m", "venv", str(venv)])
        run([str(python), "-m", "pip", "install", "--quiet", what])
    else:
        raise rules.WorkflowError(
            f"{wheel.requirement} needs Python {wheel.python}: install uv, which finds it"
        )


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
            ((_, task, _),) = rules.find_tasks(one)
        except rules.WorkflowError as error:
            mistakes += error.reason.splitlines()
        else:
            for part in ("non_parallel", "parallel"):
                mistakes += check_values(step, task, part)
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
