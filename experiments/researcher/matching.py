"""Finds the one place in a file that a SEARCH text means, and puts the new lines there. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

from .edit_error import EditError

MAX_SEARCH_LINES = 2_000
MAX_CANDIDATES = 1_000
NEAREST_LINES = 8
LINES_NAMED = 10
LINES_COMPARED = 20_000
CHARS_COMPARED = 200

Fit = Callable[[Sequence[str], Sequence[str]], "Shift | None"]


@dataclass(frozen=True)
class Shift:
    """How the file's indentation differs from the reply's: `add` is put before each line, or `cut` taken away."""

    add: str = ""
    cut: str = ""

    def apply(self, line: str) -> str:
        if not line.strip():
            return line
        return self.add + line.removeprefix(self.cut)


def replace_once(text: str, search: str, replace: str, path: str) -> str:
    """`text` with the one place that `search` means replaced.

    Whole lines are compared: exactly, then without trailing spaces, then shifted by one indentation for all lines;
    last, a part of one line. Raises EditError when no place fits, or more than one.
    """
    if search.count("\n") > MAX_SEARCH_LINES:
        raise EditError(f"A SEARCH text for {path} has more than {MAX_SEARCH_LINES:,} lines. Quote only what changes.")
    lines, old, new = text.split("\n"), search.split("\n"), replace.split("\n") if replace else []
    for wanted, put in ((old, new), (_trimmed(old), _trimmed(new))):
        if not any(line.strip() for line in wanted):
            break
        starts = _candidates(lines, wanted)
        for fit in (_exactly, _without_trailing_spaces, _shifted):
            if (result := _replace_lines(lines, starts, wanted, put, fit, path)) is not None:
                return result
    if not search.strip():
        return _fill_empty(text, replace, path)
    if (changed := _replace_part_of_line(text, search.strip(), replace.strip(), path)) is not None:
        return changed
    raise EditError(
        f"The SEARCH text is not in {path}; it must be copied from the file, line by line. {_nearest(lines, _trimmed(old))}"
    )


def _candidates(lines: list[str], old: list[str]) -> list[int]:
    """Where the lines agree but for spaces at both ends, as line numbers from 0; at most MAX_CANDIDATES."""
    text = "\n".join(["", *(line.strip() for line in lines), ""])
    wanted = "\n".join(["", *(line.strip() for line in old), ""])
    starts: list[int] = []
    line, counted, at = 0, 0, text.find(wanted)
    while at >= 0 and len(starts) < MAX_CANDIDATES:
        line += text.count("\n", counted, at)
        counted = at
        starts.append(line)
        at = text.find(wanted, at + 1)
    return starts


def _replace_lines(lines: list[str], starts: list[int], old: list[str], new: list[str], fit: Fit, path: str) -> str | None:
    found = [(start, fit(lines[start : start + len(old)], old)) for start in starts]
    places = [(start, shift) for start, shift in found if shift is not None]
    if not places:
        return None
    if len(places) > 1:
        raise _ambiguous(path, len(places), [start + 1 for start, _ in places[:LINES_NAMED]])
    start, shift = places[0]
    return "\n".join([*lines[:start], *map(shift.apply, new), *lines[start + len(old) :]])


def _exactly(window: Sequence[str], old: Sequence[str]) -> Shift | None:
    return Shift() if window == old else None


def _without_trailing_spaces(window: Sequence[str], old: Sequence[str]) -> Shift | None:
    return Shift() if all(a.rstrip() == b.rstrip() for a, b in zip(window, old, strict=True)) else None


def _shifted(window: Sequence[str], old: Sequence[str]) -> Shift | None:
    shift = None
    for there, given in zip(window, old, strict=True):
        if there.strip() != given.strip():
            return None
        if not given.strip():
            continue
        this = _shift_between(_indentation(there), _indentation(given))
        if this is None or (shift is not None and this != shift):
            return None
        shift = this
    return shift


def _shift_between(there: str, given: str) -> Shift | None:
    if there.endswith(given):
        return Shift(add=there[: len(there) - len(given)])
    if given.endswith(there):
        return Shift(cut=given[: len(given) - len(there)])
    return None


def _indentation(line: str) -> str:
    return line[: len(line) - len(line.lstrip())]


def _trimmed(lines: list[str]) -> list[str]:
    """Without blank lines at both ends."""
    filled = [at for at, line in enumerate(lines) if line.strip()]
    return lines[filled[0] : filled[-1] + 1] if filled else []


def _fill_empty(text: str, replace: str, path: str) -> str:
    if text.strip():
        raise EditError(f"The SEARCH text for {path} is empty; it must hold the lines that are replaced.")
    return replace + "\n"


def _replace_part_of_line(text: str, search: str, replace: str, path: str) -> str | None:
    if "\n" in search:
        return None
    # Not inside a longer word or number: "LR = 0.4" must not be found in "MATRIX_LR = 0.45".
    places = [match.start() for match in re.finditer(rf"(?<![\w.]){re.escape(search)}(?![\w.])", text)]
    if not places:
        return None
    if len(places) > 1:
        raise _ambiguous(path, len(places), [text.count("\n", 0, place) + 1 for place in places[:LINES_NAMED]])
    return text[: places[0]] + replace + text[places[0] + len(search) :]


def _ambiguous(path: str, count: int, line_numbers: list[int]) -> EditError:
    shown = ", ".join(map(str, line_numbers)) + (", …" if count > len(line_numbers) else "")
    return EditError(
        f"The SEARCH text fits {count} places in {path} (lines {shown}); "
        f"it must fit exactly one: add lines above or below it."
    )


def _nearest(lines: list[str], old: list[str]) -> str:
    """The file's lines most like the first line that was searched for."""
    first = old[0].strip()[:CHARS_COMPARED]
    matcher = SequenceMatcher(b=first, autojunk=False)
    best, best_ratio = -1, 0.3
    for at, line in enumerate(lines[:LINES_COMPARED]):
        matcher.set_seq1(line.strip()[:CHARS_COMPARED])
        if matcher.real_quick_ratio() > best_ratio and matcher.quick_ratio() > best_ratio:
            ratio = matcher.ratio()
            if ratio > best_ratio:
                best, best_ratio = at, ratio
    if best < 0:
        return "Nothing in the file resembles its first line."
    shown = lines[best : best + min(max(len(old), 1), NEAREST_LINES)]
    return f"Nearest lines, from line {best + 1}:\n" + "\n".join(line[:CHARS_COMPARED] for line in shown)
