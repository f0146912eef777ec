"""What this package has to do with the template that it was made from."""

from pathlib import Path
from typing import Any

import copier
import yaml

PROJECT = Path(__file__).resolve().parents[3]
ANSWERS = PROJECT / ".copier-answers.yml"


class TemplateError(Exception):
    """The template can not be had, or refuses an answer."""


def recorded_answers() -> dict[str, Any]:
    """Return the answers that this package was made with.

    Raises:
        TemplateError: They were deleted.
    """
    try:
        return dict(yaml.safe_load(ANSWERS.read_text(encoding="utf-8")))
    except FileNotFoundError as error:
        raise TemplateError(
            f"{ANSWERS} is missing: without it, nobody knows the template"
        ) from error


def render(folder: Path, **answers: Any) -> Path:
    """Render the recorded version of the template into an empty folder.

    Args:
        folder: Where to.
        answers: What to answer instead of what is recorded.

    Raises:
        TemplateError: The template can not be reached, or refuses an answer.
    """
    recorded = recorded_answers()
    source = recorded.get("_src_path", "")
    known = {name: value for name, value in recorded.items() if name[0] != "_"}
    try:
        copier.run_copy(
            source,
            folder,
            data=known | answers,
            vcs_ref=recorded.get("_commit"),
            defaults=True,
            quiet=True,
            settings=copier.Settings(),
        )
    except (copier.errors.CopierError, OSError, ValueError) as error:
        raise TemplateError(f"The template at {source} does not render: {error}") from error
    return folder
