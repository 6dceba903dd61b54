"""A log as a terminal would leave it: without colours, with what a carriage return overwrote gone. Pure."""

from __future__ import annotations

import re

# Colours, cursor moves, titles, links: all that a terminal acts on and does not show
_ESCAPES = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b[\]PX^_].*?(?:\x07|\x1b\\|$)|\x1b[ -/]*[0-~]|\x1b", re.DOTALL
)
_CONTROLS = re.compile(r"[\x00-\x07\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
MAX_LINE = 2_000  # characters shown of one line


def plain(text: str) -> str:
    text = _CONTROLS.sub("", _ESCAPES.sub("", text))
    return "\n".join(_overwritten(line) for line in text.split("\n"))


def last_lines(text: str, count: int) -> str:
    """The last lines that say something, each cut to MAX_LINE."""
    lines = [line for line in plain(text).split("\n") if line.strip()][-count:]
    return "\n".join(line if len(line) <= MAX_LINE else f"{line[:MAX_LINE]} …" for line in lines)


def _overwritten(line: str) -> str:
    """What stands on the line after its carriage returns and backspaces."""
    if "\r" not in line and "\b" not in line:
        return line
    shown: list[str] = []
    at = 0
    for part in re.split("([\r\b])", line):
        if part in {"\r", "\b"}:
            at = 0 if part == "\r" else max(0, at - 1)
        else:
            shown[at : at + len(part)] = part
            at += len(part)
    return "".join(shown)
