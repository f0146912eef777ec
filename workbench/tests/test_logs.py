"""Messages in the logs of jobs are found, and excerpts keep them."""

import pytest

from fractal_workbench.engine import rules
from fractal_workbench.engine.logs import MAX_MESSAGE, clean, excerpt, notable

STAMP = "2026-01-02 03:04:05,678; import_ome_zarr; INFO; "


@pytest.mark.parametrize(
    ("log", "messages"),
    [
        ("", []),
        (f"{STAMP}a.zarr: 3 objects", []),
        (
            f"{STAMP}pixel_z is assumed to be 1: A01/0",
            ["pixel_z is assumed to be 1: A01/0"],
        ),
        (
            f"{STAMP}a.zarr: not on disk, and skipped: 0",
            ["a.zarr: not on disk, and skipped: 0"],
        ),
        ("[2026-01-02T03:04:05Z] WARNING: dark", ["warning: dark"]),
        ("0 errors, no warnings", []),
        ("no terror, and unassuming", []),
        (
            "/a.py:3: UserWarning: low contrast\n  warn(text)\ndone",
            ["/a.py:3: UserWarning: low contrast\n  warn(text)"],
        ),
        (
            f"{STAMP}missing planes, 2 in all:\nA01, z 1\nA02, z 1\n{STAMP}done",
            ["missing planes, 2 in all:\nA01, z 1\nA02, z 1"],
        ),
    ],
)
def test_messages_about_problems_and_decisions_are_found(
    log: str, messages: list[str]
) -> None:
    assert [*notable(clean(log))] == messages


def test_long_messages_are_cut() -> None:
    (message,) = notable("missing:\n" + "x" * 10_000)
    assert len(message) == MAX_MESSAGE + 1
    (message,) = notable("missing:\n" + "\n".join(map(str, range(20))))
    assert message.endswith("3\n… 16 more lines")


def test_colors_and_progress_bars_are_no_part_of_a_log() -> None:
    assert (
        clean("\x1b[1mone\x1b[0m\r\n 1 %\r 50 %\r100 %\nend\n\n") == "one\n100 %\nend"
    )


def test_an_excerpt_has_the_beginning_the_end_and_messages_between() -> None:
    log = (
        "begin\n" + "line\n" * 5000 + "z is assumed to be 1\n" + "line\n" * 5000 + "end"
    )
    short = excerpt(log, 900)
    assert len(short) < 1000
    assert short.startswith("begin\n")
    assert short.endswith("\nend")
    assert short.count("z is assumed to be 1") == 1
    assert excerpt("short\n", 900) == "short"


@pytest.mark.parametrize(
    ("file", "error", "is_shown"),
    [
        ("my_tasks/kit/image.py", "ValueError: channel: no channel 'dapi'", False),
        ("my_tasks/kit/write.py", "FileExistsError: label_name: it exists", False),
        ("my_tasks/kit/image.py", "IndexError: list index out of range", True),
        ("my_tasks/blur.py", "ValueError: operands could not be broadcast", True),
    ],
)
def test_rejected_input_has_no_traceback(
    file: str, error: str, *, is_shown: bool
) -> None:
    log = (
        "INFO: START blur\nTraceback (most recent call last):\n"
        '  File "/site/my_tasks/blur.py", line 1, in blur\n    read()\n'
        f'  File "/site/{file}", line 2, in read\n    raise\n{error}\nblur failed: {error}\n'
    )
    failed = rules.WorkflowError("exit code 1", task="Blur", unit="job 1", log=log)
    reason = f"Blur: job 1: {error} (exit code 1)\n\n"
    assert str(failed) == reason + (log if is_shown else "INFO: START blur")
