"""Client of a fractal-server: collect tasks, import workflows, and run them."""

import time
from pathlib import Path
from typing import Any, TypedDict

import httpx

from .watchdog import ServerError

EMAIL = "admin@example.org"

Image = dict[str, Any]


class CollectedTask(TypedDict):
    """A task that a server offers; it has further keys."""

    name: str
    type: str


class TaskGroup(TypedDict):
    """The tasks of a collected package, in the environment made for it; it has further keys."""

    pkg_name: str
    version: str
    venv_path: str
    task_list: list[CollectedTask]


class FractalServer:
    """The HTTP interface of a fractal-server, as a user with a project sees it."""

    def __init__(self, url: str, password: str, project: str) -> None:
        self.url, self.password = url, password
        self.http = httpx.Client(base_url=url, timeout=60, trust_env=False)
        self.version: str = self.call("GET", "/api/alive/")["version"]
        login = {"username": EMAIL, "password": password}
        token = self.call("POST", "/auth/token/login/", data=login)["access_token"]
        self.http.headers["Authorization"] = f"Bearer {token}"
        created = self.call("POST", "/api/v2/project/", json={"name": project})
        self.project = f"/api/v2/project/{created['id']}"

    @property
    def is_old(self) -> bool:
        """Whether it is older than 2.19, as the last one for Python 3.11 is."""
        return tuple(map(int, self.version.split(".")[:2])) < (2, 19)

    def call(self, method: str, path: str, **options: Any) -> Any:
        """Make a request; return the answer."""
        response = self.http.request(method, path, **options)
        if response.is_error:
            raise ServerError(
                f"{method} {path}: {response.status_code} {response.text}"
            )
        return response.json()

    def wait(self, path: str, *running: str) -> Any:
        """Poll a path until its status changes; return the answer."""
        while (answer := self.call("GET", path))["status"] in running:
            time.sleep(0.5)
        return answer

    def collect(self, wheel: Path, extras: str = "") -> TaskGroup:
        """Upload and install a wheel; return the group of its tasks.

        Args:
            wheel: File to upload.
            extras: Names of extras with which to install it, with commas between them.
        """
        return self._collect(
            wheel.name,
            files={"file": (wheel.name, wheel.read_bytes())},
            data={"package_extras": extras} if extras else None,
        )

    def collect_release(self, name: str, version: str | None) -> TaskGroup:
        """Install a package from an index; return the group of its tasks."""
        release = {"package": name, "package_version": version}
        return self._collect(f"{name} {version}", data=release)

    def _collect(self, what: str, **form: Any) -> TaskGroup:
        """Install a package on the server, and wait for it."""
        url = "/api/v2/task/collect/pip/"
        activity = self.call("POST", url, params={"private": False}, **form)
        path = f"/api/v2/task-group/activity/{activity['id']}/"
        activity = self.wait(path, "pending", "ongoing")
        if activity["status"] != "OK":
            raise ServerError(f"{what} was not collected:\n\n{activity['log']}")
        group: TaskGroup = self.call(
            "GET", f"/api/v2/task-group/{activity['taskgroupv2_id']}/"
        )
        return group

    def run(
        self, workflow: dict[str, Any], zarr_dir: str, images: list[Image]
    ) -> tuple[list[Image], str | None]:
        """Run a workflow; return the image list, and the log of a job that failed."""
        user = self.call("GET", "/auth/current-user/")
        folders = {"project_dirs": [*user["project_dirs"], zarr_dir]}
        self.call("PATCH", f"/auth/users/{user['id']}/", json=folders)
        dataset = self.call(
            "POST",
            f"{self.project}/dataset/import/",
            json={"name": "dataset", "zarr_dir": zarr_dir, "images": images},
        )
        workflow = self.call(
            "POST", f"{self.project}/workflow/import/", json=self.adapt(workflow)
        )
        job = self.call(
            "POST",
            f"{self.project}/job/submit/",
            params={"workflow_id": workflow["id"], "dataset_id": dataset["id"]},
            json={},
        )
        job = self.wait(f"{self.project}/job/{job['id']}/", "submitted")
        path = f"{self.project}/dataset/{dataset['id']}/export/"
        log = job["log"] or job["executor_error_log"] or "The job has no log."
        failure = None if job["status"] == "done" else log
        return self.call("GET", path)["images"], failure

    def import_template(self, template: dict[str, Any]) -> dict[str, Any] | None:
        """Import a workflow template.

        Returns:
            The template as the server exports it; None if it is too old to know any.
        """
        url = "/api/v2/workflow-template"
        if self.http.get(f"{url}/").status_code == 404:
            return None
        kept = self.call("POST", f"{url}/import/", json=template)
        exported: dict[str, Any] = self.call("GET", f"{url}/{kept['id']}/export/")
        return exported

    def adapt(self, workflow: dict[str, Any]) -> dict[str, Any]:
        """Return a workflow in the format of this version of the server."""
        # A step had no texts of its own.
        unknown = {"alias", "description"} if self.is_old else set()
        steps = [
            {key: value for key, value in step.items() if key not in unknown}
            for step in workflow["task_list"]
        ]
        return workflow | {"task_list": steps}
