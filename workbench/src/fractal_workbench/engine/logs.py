"""Logs of jobs: the lines that a person has to see, and excerpts."""

import re
from collections.abc import Iterator

from .rules import count_of

MAX_LINES = 5  # of a message of several lines
MAX_MESSAGE = 600  # characters
# Words about a problem, or about what a task decided by itself.
NOTABLE = re.compile(
    r"(?<!\bno )(?<!\b0 )\b(?:(?-i:[A-Z]\w*(?:Warning|Error))"
    r"|warn(ing|ings|ed)?|errors?|critical|assum(e|es|ed|ing|ption)|deprecated"
    r"|skip(s|ped|ping)?|ignor(e|es|ed|ing)|missing|left out|not said|unknown"
    r"|cannot|could not|no longer|truncated|clipped)\b",
    re.IGNORECASE,
)
STEMS = (
    *("warn", "error", "critical", "assum", "deprecated", "skip", "ignor", "missing"),
    *("left out", "not said", "unknown", "cannot", "could not", "no longer"),
    *("truncated", "clipped"),
)
STAMP = re.compile(r"\[?\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d\S*[\s;:|\]-]*")
LEVEL = re.compile(r"(?:[\w.]+[;:] +)?(DEBUG|INFO|WARNING|ERROR|CRITICAL)\b[\s;:|-]*")
OF_RUN = re.compile(r"(START|END) \S+ task$")  # by fractal-task-tools, in each log
TERMINAL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b\][^\x07]*\x07|[\x00-\x08\x0b-\x1f]")


def clean(log: str) -> str:
    """Return a log as text: without colors, and with the last state of a progress bar."""
    if not TERMINAL.search(log):  # of most logs; \r is among these
        return log.rstrip().strip("\n")
    lines = re.split(r"\r?\n", log)
    last = (line.rstrip("\r").rpartition("\r")[2] for line in lines)
    return "\n".join(TERMINAL.sub("", line).rstrip() for line in last).strip("\n")


def notable(log: str) -> Iterator[str]:
    """Yield the messages about problems, and about what a task decided by itself.

    A message goes on in indented lines, and after a colon to the next time stamp.

    Args:
        log: A log after `clean`.
    """
    message: list[str] = []
    lower = log.lower()
    if not any(stem in lower for stem in STEMS):  # much faster than the expression
        return
    for line in log.split("\n"):
        goes_on = line.startswith((" ", "\t")) or (
            message and message[0].endswith(":") and not STAMP.match(line)
        )
        if message and goes_on and line.strip():
            message.append(line)
            continue
        yield from _shown(message)
        text = STAMP.sub("", line, count=1)
        if level := LEVEL.match(text):
            is_calm = level[1] in ("DEBUG", "INFO")
            text = f"{'' if is_calm else level[1].lower() + ': '}{text[level.end() :]}"
        message = [text] if NOTABLE.search(text) else []
    yield from _shown(message)


def messages(log: str) -> list[str]:
    """Return the messages of a job by itself, without time, place and level."""
    texts = [STAMP.sub("", line, count=1) for line in clean(log).split("\n")]
    texts = [
        text[match.end() :] if (match := LEVEL.match(text)) else text for text in texts
    ]
    return [text for text in texts if text and not OF_RUN.match(text)]


def _shown(message: list[str]) -> Iterator[str]:
    """Yield a message, if there is one, in few lines."""
    if message:
        more = len(message) - MAX_LINES
        lines = message[:MAX_LINES]
        lines += [f"… {count_of(more, 'more line')}"] if more > 0 else []
        text = "\n".join(lines)
        yield text if len(text) <= MAX_MESSAGE else f"{text[:MAX_MESSAGE]}…"


def excerpt(log: str, most: int) -> str:
    """Return the beginning and the end of a log, with its notable messages between these.

    Args:
        log: The log of a job.
        most: Number of characters.
    """
    text = clean(log)
    if len(text) <= most:
        return text
    part = most // 3
    head, middle, tail = text[:part], text[part:-part], text[-part:]
    kept = ""
    for message in dict.fromkeys(notable(middle)):
        if len(kept) + len(message) > part:
            break
        kept += f"{message}\n"
    return f"{head}\n…\n{kept}…\n{tail}" if kept else f"{head}\n…\n{tail}"
