"""Source and version that this workbench was installed from."""

import json
from importlib import metadata
from typing import Any


def read_origin() -> dict[str, Any]:
    """Return the record of PEP 610; empty after an installation from an index."""
    record = metadata.distribution("fractal-workbench").read_text("direct_url.json")
    origin: dict[str, Any] = json.loads(record) if record else {}
    return origin


def requirement(extra: str) -> str:
    """Return what installs this version of the workbench with an extra."""
    name, origin = f"fractal-workbench[{extra}]", read_origin()
    if not origin:
        return f"{name}=={metadata.version('fractal-workbench')}"
    url = origin["url"]
    if vcs := origin.get("vcs_info"):
        url = f"{vcs['vcs']}+{url}@{vcs['commit_id']}"
    folder = origin.get("subdirectory")
    return f"{name} @ {url}#subdirectory={folder}" if folder else f"{name} @ {url}"
