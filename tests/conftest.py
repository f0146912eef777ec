"""Fixtures: the template without git, rendered packages, and an environment that runs them."""

import fcntl
import os
import shutil
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import rendering
from hypothesis import settings

settings.register_profile("push", max_examples=100)
settings.register_profile("weekly", max_examples=1000)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--fractal-web", metavar="CHECKOUT", help="for `real_form.py`")
    parser.addoption("--weekly", action="store_true", help="run all cases")


def pytest_configure(config: pytest.Config) -> None:
    settings.load_profile("weekly" if config.getoption("--weekly") else "push")
    if hasattr(
        config, "workerinput"
    ):  # one of several processes: its own start no more
        os.environ["PYTEST_XDIST_AUTO_NUM_WORKERS"] = "0"


def pytest_collection_modifyitems(
    config: pytest.Config, items: list[pytest.Item]
) -> None:
    """Leave out what is `weekly`; begin with what takes long, so that nothing waits for it."""
    if not config.getoption("--weekly"):
        left_out = [item for item in items if item.get_closest_marker("weekly")]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if not item.get_closest_marker("weekly")]
    items.sort(key=lambda item: item.get_closest_marker("long") is None)


@pytest.fixture(scope="session", autouse=True)
def _share_types(shared: rendering.Shared) -> None:
    """Let all packages share what mypy knows of libraries."""
    os.environ["MYPY_CACHE_DIR"] = str(shared("mypy", lambda folder: None))


@pytest.fixture
def is_weekly(request: pytest.FixtureRequest) -> bool:
    """Whether all cases run, and not only those of each push."""
    return bool(request.config.getoption("--weekly"))


@pytest.fixture
def zarr_dir(tmp_path: Path) -> Path:
    """A folder with two images, of which only the names matter."""
    folder = tmp_path / "zarr"
    for name in "ab":
        (folder / name).mkdir(parents=True)
    return folder


@pytest.fixture
def images(zarr_dir: Path) -> list[dict[str, Any]]:
    """The image list of these."""
    return [
        {"zarr_url": str(zarr_dir / name), "attributes": {"well": name}}
        for name in "ab"
    ]


@pytest.fixture(scope="session")
def template(shared: rendering.Shared) -> Path:
    return shared("template", rendering.snapshot)


@pytest.fixture(scope="session")
def render(template: Path) -> rendering.Render:
    """Render a package: `render(folder, **answers)`."""
    return partial(rendering.render, template)


@pytest.fixture(scope="session")
def richest(render: rendering.Render, shared: rendering.Shared) -> Path:
    folder = shared("richest", lambda folder: render(folder / "my-fractal-tasks"))
    return folder / "my-fractal-tasks"


@pytest.fixture(scope="session")
def richest_python(richest: Path, template: Path, shared: rendering.Shared) -> Path:
    """Interpreter with what a generated package, and the tools of its template, need.

    But for the servers: their client is enough to check types.
    """
    requirements = (
        *(richest, template / "workbench"),
        *("docstring-parser", "ruff~=0.17.6", "tomlkit"),
        *("--group", f"{richest / 'pyproject.toml'}:dev"),
    )

    def make(folder: Path) -> None:
        make_environment = rendering.make_environment
        make_environment(folder / "venv", *requirements, python=sys.executable)

    return shared("environment", make) / "venv" / "bin" / "python"


@pytest.fixture(scope="session")
def shared(
    tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> rendering.Shared:
    """Fill a folder once for all processes that run tests: `shared(name, fill)`."""
    root = tmp_path_factory.getbasetemp()
    if hasattr(request.config, "workerinput"):
        root = root.parent

    def make(name: str, fill: Callable[[Path], None]) -> Path:
        with (root / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not (root / name / "filled").exists():
                shutil.rmtree(root / name, ignore_errors=True)
                (root / name).mkdir()
                fill(root / name)
                (root / name / "filled").touch()
        return root / name

    return make


@pytest.fixture(scope="session")
def checkout(shared: rendering.Shared) -> Path:
    """A copy of this repository, after the first command of its README: `nox -s demo`."""
    import readme  # which not all environments can

    return shared("checkout", readme.try_it)
