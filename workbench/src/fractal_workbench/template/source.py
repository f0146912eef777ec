"""The location of this workbench's template."""

from urllib.parse import urlsplit
from urllib.request import url2pathname

from ..origin import read_origin
from .command import TemplateError


def find_template() -> str:
    """Return the path or URL of the repository that the workbench was installed from.

    Raises:
        TemplateError: It was installed from an index, or by other means that leave no trace.
    """
    origin = read_origin()
    url = str(origin.get("url", ""))
    if "vcs_info" in origin:
        return url if url.endswith(".git") else f"git+{url}"
    if not url.startswith("file:"):
        raise TemplateError("--template: name the path or URL of the template")
    # The workbench is a folder of the template.
    return url2pathname(urlsplit(url).path).rstrip("/").removesuffix("/workbench")
