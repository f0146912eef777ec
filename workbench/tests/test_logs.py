"""Messages in the logs of jobs are found, and excerpts keep them."""

import pytest

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
