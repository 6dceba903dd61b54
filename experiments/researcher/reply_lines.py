"""Takes the line numbers off lines that a model copied with them from the prompt. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence

NUMBERED = re.compile(r"\s{0,8}\d{1,7}\|(?: (?P<text>.*)|$)", re.DOTALL)


def without_numbers(old: Sequence[str], new: Sequence[str]) -> tuple[list[str], list[str]]:
    """`old` and `new` without the prompt's marks such as `  12| `.

    Only where all lines of `old` that hold text bear one: then `new` may mix lines with and without.
    """
    if not _all_numbered(old):
        return list(old), _stripped(new) if not any(line.strip() for line in old) and _all_numbered(new) else list(new)
    return _stripped(old), _stripped(new)


def _all_numbered(lines: Sequence[str]) -> bool:
    filled = [line for line in lines if line.strip()]
    return bool(filled) and all(NUMBERED.fullmatch(line) for line in filled)


def _stripped(lines: Sequence[str]) -> list[str]:
    return [(mark["text"] or "") if (mark := NUMBERED.fullmatch(line)) else line for line in lines]
