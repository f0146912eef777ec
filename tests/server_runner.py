"""Run a workflow with fractal-server's own code, on the pretence of a database.

Collection, import and submission go through the server's models, the run through its
`execute_tasks` and its local runner. Only what reads or writes PostgreSQL is replaced.
"""

import copy
import inspect
import json
import os
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock, patch

os.environ.setdefault("POSTGRES_DB", "none")
os.environ.setdefault("JWT_SECRET_KEY", "none")

from fractal_server.app.schemas.v2 import (
    JobCreate,
    ManifestV2,
    WorkflowImport,
    WorkflowTaskCreate,
)
from fractal_server.app.schemas.v2.dataset import DatasetImport
from fractal_server.images.tools import merge_type_filters
from fractal_server.runner.executors.local import runner as local
from fractal_server.runner.executors.local.get_local_config import (
    get_local_backend_config,
)
from fractal_server.runner.v2 import runner, runner_functions
from fractal_server.tasks.v2.utils_background import prepare_tasks_metadata

Images = list[dict[str, Any]]


def require_storable(value: Any) -> None:
    """Refuse what PostgreSQL refuses in JSON."""
    text = json.dumps(value, allow_nan=False)
    if re.search(r"(?<!\\)\\u0000", text):
        raise ValueError("unsupported Unicode escape sequence")
    # Half of a character, which is written as two.
    json.dumps(value, ensure_ascii=False).encode()


def collect(manifest: dict[str, Any], package_root: Path, python: str) -> list[Any]:
    """Return the tasks that a server would find in a package."""
    tasks = prepare_tasks_metadata(
        package_manifest=ManifestV2(**manifest),
        package_root=package_root,
        python_bin=Path(python),
        package_version="1",
    )
    require_storable([task.model_dump() for task in tasks])
    return tasks


class Database:
    """One dataset: its image list is what the last commit left."""

    def __init__(self, dataset: DatasetImport) -> None:
        images = [image.model_dump() for image in dataset.images]
        self.images = copy.deepcopy(images)
        self.row = SimpleNamespace(id=1, zarr_dir=dataset.zarr_dir, images=images)
        self.session = MagicMock(commit=self.commit, get=self.get, get_one=self.get)
        self.session.__enter__.return_value = self.session

    def get(self, model: type, _: Any) -> Any:
        if model.__name__ == "DatasetV2":
            return self.row
        return MagicMock(prevent_new_submissions=False)

    def commit(self) -> None:
        require_storable(self.row.images)
        self.images = copy.deepcopy(self.row.images)

    @contextmanager
    def in_place_of_postgresql(self) -> Iterator[None]:
        def history_unit(*, zarr_urls: list[str], **columns: Any) -> SimpleNamespace:
            require_storable(zarr_urls)
            return SimpleNamespace(id=1, zarr_urls=zarr_urls, **columns)

        writers = re.compile(
            r"(bulk_)?(update|upsert)_.*|flag_modified|.*(Run|Dump|Record)"
        )
        with ExitStack() as stack:
            for module in (runner, runner_functions, local):
                replaced = {
                    name: MagicMock()
                    for name in vars(module)
                    if writers.fullmatch(name)
                }
                replaced["get_sync_db"] = lambda: iter([self.session])
                if hasattr(module, "orm_model_to_dict"):
                    replaced["orm_model_to_dict"] = lambda *_, **__: {}
                if module is runner_functions:
                    replaced["HistoryUnit"] = history_unit
                stack.enter_context(patch.multiple(module, **replaced))
            yield


def run_on_server(
    workflow: dict[str, Any],
    manifest: dict[str, Any],
    *,
    package_root: Path,
    python: str,
    zarr_dir: str,
    images: Images,
    type_filters: dict[str, bool],
    attribute_filters: dict[str, Any],
    folder: Path,
) -> tuple[Exception | None, Images]:
    """Return the error, if any, and the image list in the database."""
    try:
        database = Database(
            DatasetImport(name="name", zarr_dir=zarr_dir, images=images)
        )
    except ValueError as error:
        return error, images
    try:
        tasks = {task.name: task for task in collect(manifest, package_root, python)}
        steps = []
        for order, imported in enumerate(WorkflowImport(**workflow).task_list):
            fields = imported.model_dump(exclude_none=True, exclude={"task"})
            step = WorkflowTaskCreate(
                **fields, **optional(WorkflowTaskCreate, task_id=1)
            )
            task = tasks[imported.task.name]
            if imported.task.pkg_name != package_root.name.replace("_", "-"):
                raise LookupError(imported.task.pkg_name)
            merge_type_filters(
                task_input_types=task.input_types, wftask_type_filters=step.type_filters
            )
            steps.append(stored_step(order, step.model_dump(), task.model_dump()))
        database = Database(
            DatasetImport(name="name", zarr_dir=zarr_dir, images=images)
        )
        if not steps:
            raise ValueError("Workflow has empty task list")
        require_storable(workflow)
        job = JobCreate(type_filters=type_filters, attribute_filters=attribute_filters)
        require_storable(job.model_dump())
        settings = SimpleNamespace(jobs_runner_config={})
        context = optional(
            local.LocalRunner, fractal_job_id=1, resource_id=1, user_cache_dir=""
        )
        with (
            database.in_place_of_postgresql(),
            local.LocalRunner(
                folder, resource=settings, profile=None, **context
            ) as backend,
        ):
            runner.execute_tasks(
                wf_task_list=steps,
                dataset=copy.deepcopy(database.row),
                runner=backend,
                user_id=1,
                workflow_dir_local=folder,
                job_id=1,
                get_runner_config=get_local_backend_config,
                job_type_filters=job.type_filters,
                job_attribute_filters=job.attribute_filters,
                resource_id=1,
            )
    except Exception as error:
        return error, database.images
    return None, database.images


def optional(function: Any, **arguments: Any) -> dict[str, Any]:
    """Return those arguments that this version of the server knows."""
    known = inspect.signature(function).parameters
    return {name: value for name, value in arguments.items() if name in known}


def stored_step(
    order: int, step: dict[str, Any], task: dict[str, Any]
) -> SimpleNamespace:
    """Return what the database would hold of a step and its task."""
    commands = {"command_parallel": None, "command_non_parallel": None}
    row = SimpleNamespace(id=1, taskgroupv2_id=1, model_dump=dict, **(commands | task))
    columns = {"order": order, "alias": None} | step
    return SimpleNamespace(
        **columns | {"id": 1, "task_id": 1, "task": row, "task_type": row.type},
        model_dump=lambda **_: {},
    )
