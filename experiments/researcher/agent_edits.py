"""From two versions of a file to edits that give the one from the other, and that still fit when the file moves on. Pure."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping

from .base import Edit
from .edit_error import EditError
from .edits import apply_edits
from .reply import MAX_EDITS

MOST_LINES = 2_000  # a longer file is sent whole: comparing its lines could take minutes
CONTEXTS = (1, 2, 3, 5, 8, 13, 21, 34)  # lines around a change, until they occur only once
MAX_DIFF_CHARS = 60_000


def edits_between(before: Mapping[str, str], after: Mapping[str, str]) -> tuple[Edit, ...]:
    """`after`: whole texts of some files of `before`. SEARCH/REPLACE where that gives exactly them, else whole files."""
    edits: list[Edit] = []
    for path, text in after.items():
        blocks = list(_blocks(path, before[path], text))
        edits += blocks if _gives(blocks, path, before[path], text) else [Edit(path, None, text)]
    return tuple(edits)


def _blocks(path: str, before: str, after: str) -> Iterator[Edit]:
    """From the last change to the first, so that the lines above keep their numbers."""
    old, new = (text.replace("\r\n", "\n").split("\n") for text in (before, after))
    if max(len(old), len(new)) > MOST_LINES:
        return
    now = list(old)
    changes = [change for change in difflib.SequenceMatcher(None, old, new).get_opcodes() if change[0] != "equal"]
    for _, start, end, new_start, new_end in reversed(changes[:MAX_EDITS]):
        for context in CONTEXTS:
            top, bottom = max(0, start - context), min(len(now), end + context)
            # below the change `now` already holds the later changes
            search, put = now[top:bottom], now[top:start] + new[new_start:new_end] + now[end:bottom]
            if _occurs_once(now, search):
                yield Edit(path, "\n".join(search), "\n".join(put))
                break
        else:
            return
        now[start:end] = new[new_start:new_end]


def _occurs_once(lines: list[str], wanted: list[str]) -> bool:
    if not any(line.strip() for line in wanted):
        return False
    text, part = "\n".join(["", *lines, ""]), "\n".join(["", *wanted, ""])
    first = text.find(part)
    return first >= 0 and text.find(part, first + 1) < 0


def _gives(blocks: list[Edit], path: str, before: str, after: str) -> bool:
    try:
        return bool(blocks) and apply_edits({path: before}, blocks) == {path: after}
    except EditError:
        return False


def diff_between(before: Mapping[str, str], after: Mapping[str, str]) -> str:
    """Unified, for people."""
    parts: list[str] = []
    for path, text in after.items():
        old, new = before[path].splitlines(), text.splitlines()
        if max(len(old), len(new)) <= MOST_LINES:
            parts += difflib.unified_diff(old, new, f"a/{path}", f"b/{path}", lineterm="")
    diff = "\n".join(parts)
    return diff if len(diff) <= MAX_DIFF_CHARS else f"{diff[:MAX_DIFF_CHARS]}\n[the rest of the diff is not shown]"
