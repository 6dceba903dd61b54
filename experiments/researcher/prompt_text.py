"""Text for prompts: measured, shortened, and fenced so that it cannot break out. Pure.

Sizes are bytes of UTF-8: a token is taken for BYTES_PER_TOKEN of them. That is on the safe side for code and prose in
Latin letters (3.5 to 4.5 in practice), and about right for other scripts, whose characters have more bytes.
"""

from __future__ import annotations

import re

from trainer.output import strip_controls

BYTES_PER_TOKEN = 3


def size(text: str) -> int:
    return len(text.encode("utf-8", "replace"))


def tokens_of(text: str) -> int:
    """About how many tokens a model counts, rather too many than too few."""
    return -(-size(text) // BYTES_PER_TOKEN)


def shorten(text: str, limit: int) -> str:
    """The beginning and the end of `text`, with a line between them that says what is missing; at most `limit` bytes."""
    if size(text) <= limit:
        return text
    mark = f"\n[… {size(text) - limit:,} characters and more left out …]\n"
    keep = limit - size(mark)
    if keep <= 0:
        return ""
    whole, head = text.encode("utf-8", "replace"), keep * 2 // 3
    tail = whole[len(whole) - (keep - head) :].decode("utf-8", "ignore")
    return whole[:head].decode("utf-8", "ignore") + mark + tail


def one_line(text: str, limit: int) -> str:
    """`text` in one line without control characters, at most `limit` bytes; … stands where it was cut."""
    line = " ".join(strip_controls(text).split())
    if size(line) <= limit:
        return line
    return line.encode("utf-8", "replace")[: max(0, limit - 3)].decode("utf-8", "ignore") + "…"


def data(text: str, limit: int, language: str = "") -> str:
    """Text that others wrote, as a fenced block: control characters gone, at most `limit` bytes of it."""
    return fenced(shorten(strip_controls(text), max(0, limit)), language)


def fenced(text: str, language: str = "") -> str:
    """`text` in a fence longer than any in it."""
    longest = max((len(run) for run in re.findall(r"`{3,}", text)), default=2)
    ticks = "`" * (longest + 1)
    return f"{ticks}{language}\n{text.strip(chr(10))}\n{ticks}"
