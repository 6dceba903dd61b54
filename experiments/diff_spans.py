"""Spans of a diff's lines: syntax colours, the words that differ, hidden characters made visible. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from difflib import SequenceMatcher
from itertools import pairwise

from pygments.lexer import Lexer
from pygments.lexers import TextLexer, get_lexer_for_filename
from pygments.token import STANDARD_TYPES
from pygments.util import ClassNotFound

MAX_HIGHLIGHT = 200_000  # characters of a hunk; above it stays plain
MAX_COMPARED = 300_000  # word pairs compared in one diff; above it lines get no marks

_WORD = re.compile(r"\d[\d_.]*(?:[eE][+-]?\d+)?|\w+|\s+|[^\w\s]")
# What an eye cannot see or what turns the line around: control, bidi and zero-width characters
_ODD = re.compile(r"([\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff])")

Ranges = list[tuple[int, int]]  # of characters in a line


@dataclass(frozen=True)
class Span:
    text: str
    css: str = ""  # Pygments' short class; "odd" for a character made visible
    changed: bool = False  # inside a changed pair of lines: the part that differs


class Pairing:
    """Finds what differs in two lines, until a whole diff has cost too much."""

    def __init__(self) -> None:
        self.left = MAX_COMPARED

    def differences(self, old: str, new: str) -> tuple[Ranges, Ranges] | None:
        """Ranges that differ in both lines; None when they have too little in common to be a pair."""
        if self.left < 0:
            return None
        a, b = _WORD.findall(old), _WORD.findall(new)
        self.left -= len(a) * len(b)
        matcher = SequenceMatcher(lambda word: word.isspace(), a, b, autojunk=False)
        if matcher.ratio() < 0.5:
            return None
        changes = [op for op in matcher.get_opcodes() if op[0] != "equal"]
        return _ranges(a, [(op[1], op[2]) for op in changes]), _ranges(b, [(op[3], op[4]) for op in changes])


def lexer_for(path: str) -> Lexer:
    try:
        return get_lexer_for_filename(path.strip('"'))
    except ClassNotFound:
        return TextLexer()


def highlight(lines: list[str], lexer: Lexer) -> list[list[Span]]:
    """Spans of each line. The lines are lexed as one text, so that a string over several lines stays one."""
    text = "\n".join(lines)
    if len(text) > MAX_HIGHLIGHT:
        return [[Span(line)] for line in lines]
    rows: list[list[Span]] = [[]]
    for _, kind, value in lexer.get_tokens_unprocessed(text):
        first, *rest = value.split("\n")
        css = STANDARD_TYPES.get(kind) or STANDARD_TYPES.get(kind.parent, "")
        rows[-1].append(Span(first, css))
        rows += [[Span(part, css)] for part in rest]
    whole = ["".join(span.text for span in row) for row in rows]
    return rows if whole == lines else [[Span(line)] for line in lines]  # a lexer that loses text is not believed


def _ranges(words: list[str], slices: Iterable[tuple[int, int]]) -> Ranges:
    """Word slices as character ranges."""
    starts = [0]
    for word in words:
        starts.append(starts[-1] + len(word))
    return [(starts[i], starts[j]) for i, j in slices if j > i]


def marked(spans: list[Span], ranges: Ranges) -> Iterator[Span]:
    """The spans, cut where a changed range begins or ends."""
    if not ranges:
        yield from spans
        return
    edges = sorted({edge for pair in ranges for edge in pair})
    at = 0
    for span in spans:
        end = at + len(span.text)
        cuts = [at, *(edge for edge in edges if at < edge < end), end]
        for start, stop in pairwise(cuts):
            inside = any(low <= start and stop <= high for low, high in ranges)
            yield Span(span.text[start - at : stop - at], span.css, changed=inside)
        at = end


def visible(spans: Iterable[Span]) -> tuple[Span, ...]:
    """Characters that hide or reorder text stand as their code point; empty spans fall away."""
    spans = tuple(spans)
    if not _ODD.search("".join(span.text for span in spans)):
        return tuple(span for span in spans if span.text)
    return tuple(
        Span(f"U+{ord(part):04X}", "odd", span.changed) if n % 2 else replace(span, text=part)
        for span in spans
        for n, part in enumerate(_ODD.split(span.text))
        if part
    )
