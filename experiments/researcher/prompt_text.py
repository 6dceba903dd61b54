"""Text for prompts: shortened, and fenced so that it cannot break out. Pure."""

from __future__ import annotations

import re


def shorten(text: str, limit: int) -> str:
    """The beginning and the end of `text`, with a line between them that says what is missing; at most `limit` long."""
    if len(text) <= limit:
        return text
    mark = f"\n[… {len(text) - limit:,} characters and more left out …]\n"
    keep = limit - len(mark)
    if keep <= 0:
        return ""
    head = keep * 2 // 3
    return text[:head] + mark + text[len(text) - (keep - head) :]


def fenced(text: str, language: str = "") -> str:
    """`text` in a fence longer than any in it."""
    longest = max((len(run) for run in re.findall(r"`{3,}", text)), default=2)
    ticks = "`" * (longest + 1)
    return f"{ticks}{language}\n{text.strip(chr(10))}\n{ticks}"
