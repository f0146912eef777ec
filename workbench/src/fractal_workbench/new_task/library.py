"""Tasks that are written with another library than the kit."""

import difflib
import shlex

# Each makes what `template/task_<library>/` has a folder for.
LIBRARIES = {"kit": (), "ngio": ("image", "label", "features", "table")}


def check_library(
    library: str,
    name: str | None,
    *,
    makes: str | None,
    task_type: str | None,
    default_type: str | None,
    kit_options: dict[str, list[str]],
) -> str | None:
    """Return why a task cannot be written with a library, and a command that works.

    Args:
        library: Library that the command line names.
        name: Name of the task.
        makes: What the task makes.
        task_type: Type of the task that the command line names.
        default_type: Type of a task that makes this.
        kit_options: Options that only tasks with the kit have, with their values; empty
            for an option that takes none.
    """
    if library not in LIBRARIES:
        near = difflib.get_close_matches(library.lower(), LIBRARIES, 1, 0.5)
        guess = f" Did you mean {near[0]}?" if near else ""
        return f"--with-library {library}: choose one of {', '.join(LIBRARIES)}.{guess}"
    if library == "kit":
        return None

    words = ["nox", "-s", "new_task", "--"]
    if name and "--example" not in kit_options:
        words.append(name)
    if makes not in (None, *LIBRARIES[library]):
        reason = f"--makes {makes}"
    elif task_type not in (None, default_type):
        reason = f"--type {task_type}"
    else:
        reason = ", ".join(kit_options)
    if reason:
        words += ["--makes", makes] if makes else []
        words += ["--type", task_type] if task_type else []
        for option, values in kit_options.items():
            words += [part for value in values for part in (option, value)] or [option]
        reason = f"only the kit has tasks with {reason}"
    elif not makes:
        words += ["--makes", "image", "--with-library", library]
        reason = "say what the task makes"
    else:
        return None
    return f"--with-library {library}: {reason}. This works: {shlex.join(words)}"
