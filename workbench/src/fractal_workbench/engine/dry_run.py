"""Run the first part of a converter without writing anything that lasts.

This is a script for the interpreter of the task, and needs only the standard library:
`dry_run.py FOLDER EXECUTABLE ARGUMENT...`. The task can write in FOLDER, and nowhere else. It
can start no other program, and open no connection.
"""

import os
import runpy
import sys
from pathlib import Path
from typing import Any

WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
# Events of Python that change the paths in these arguments.
CHANGES = {
    **dict.fromkeys(("os.mkdir", "os.remove", "os.rmdir", "os.truncate"), (0,)),
    **dict.fromkeys(("os.chmod", "os.chown", "os.utime", "os.chflags"), (0,)),
    **dict.fromkeys(("os.setxattr", "os.removexattr", "sqlite3.connect"), (0,)),
    **dict.fromkeys(("os.rename", "os.link"), (0, 1)),
    "os.symlink": (1,),
}
FORBIDDEN = (
    *("subprocess.Popen", "os.system", "os.exec", "os.fork", "os.forkpty"),
    *("os.posix_spawn", "os.spawn", "os.startfile", "os.kill", "os.killpg"),
    *("socket.bind", "socket.connect", "socket.sendmsg", "socket.sendto"),
)


class Guard:
    """Rejects changes outside of a folder; an audit hook cannot be taken away.

    Attributes:
        folder: The folder.
    """

    def __init__(self, folder: str) -> None:
        self.folder = Path(folder).resolve()

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        """Raise an error for a change outside of the folder.

        Raises:
            PermissionError: It is one.
        """
        if event in FORBIDDEN:
            raise PermissionError(f"a plan does not allow {event}")
        if event == "open" and isinstance(arguments[2], int) and arguments[2] & WRITING:
            self.check(arguments[0], -1, links=True)
        for index in CHANGES.get(event, ()):
            numbers = [n for n in arguments[1:] if isinstance(n, int)]
            self.check(arguments[index], numbers[-1] if numbers else -1, links=False)

    def check(self, path: Any, folder: int, *, links: bool) -> None:
        """Reject a path outside of the folder.

        Args:
            path: The path; an open file was checked before.
            folder: Open folder that it begins in; -1 if it does in the current one.
            links: Whether a link is followed.
        """
        if isinstance(path, int) or os.fsdecode(path) == os.devnull:
            return
        opened = Path(f"/proc/self/fd/{folder}")
        base = opened.readlink() if folder > 2 and opened.is_symlink() else Path()
        place = base / os.fsdecode(path)
        place = place.resolve() if links else place.parent.resolve() / place.name
        if not place.is_relative_to(self.folder):
            raise PermissionError(f"a plan writes nothing, and not {place}")


def main(folder: str, executable: str, *arguments: str) -> None:
    """Run an executable with a guard."""
    sys.argv = [executable, *arguments]
    sys.path[0] = str(Path(executable).parent)
    sys.dont_write_bytecode = True
    for name in ("TMPDIR", "TEMP", "TMP", "XDG_CACHE_HOME"):
        os.environ[name] = folder
    sys.addaudithook(Guard(folder))
    runpy.run_path(executable, run_name="__main__")


if __name__ == "__main__":
    main(*sys.argv[1:])
