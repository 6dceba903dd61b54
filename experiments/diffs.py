"""Rows for a diff page: unified diff text in, lines of highlighted spans out. Pure; any text is accepted."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from functools import lru_cache
from io import StringIO
from itertools import groupby, pairwise

from pygments.lexer import Lexer
from unidiff.errors import UnidiffParseError
from unidiff.patch import Hunk, PatchedFile, PatchSet

from experiments.diff_spans import Pairing, Ranges, Span, highlight, lexer_for, marked, visible

MAX_ROWS = 3_000  # lines shown of one diff
MAX_WIDTH = 1_000  # characters shown of one line
FOLD_OVER, FOLD_KEEP = 9, 3  # unchanged lines: so many in a row are folded, so many beside a change stay

_KINDS = {"+": "add", "-": "del", "\\": "note"}


@dataclass(frozen=True)
class Row:
    kind: str  # same | add | del | note
    old: int | None
    new: int | None
    spans: tuple[Span, ...]

    @property
    def sign(self) -> str:
        return {"add": "+", "del": "−"}.get(self.kind, " ")


@dataclass(frozen=True)
class Block:
    """Rows in sequence. `heading` opens a hunk; `folded` rows are unchanged and far from a change."""

    rows: tuple[Row, ...]
    heading: str = ""
    folded: bool = False


@dataclass(frozen=True)
class FileDiff:
    path: str
    change: str  # in words, when it is more than an edit: "new file", "deleted", "renamed from x", "binary"
    added: int
    removed: int
    blocks: tuple[Block, ...]
    left_out: int = 0  # lines beyond MAX_ROWS

    @property
    def number_width(self) -> int:
        """Digits of the largest line number."""
        numbers = [n for block in self.blocks for row in block.rows for n in (row.old, row.new) if n]
        return len(str(max(numbers, default=0)))


@dataclass
class _Budget:
    rows: int = MAX_ROWS
    pairing: Pairing = field(default_factory=Pairing)


@lru_cache(maxsize=64)
def parse(text: str) -> tuple[FileDiff, ...]:
    """The files of a unified diff. Text that is no diff comes back as one file of plain notes."""
    if not text.strip():
        return ()
    try:
        patch = PatchSet(StringIO(text, newline="\n"))
    except (UnidiffParseError, ValueError):
        return (_plain(text),)
    budget = _Budget()
    files = tuple(_file(patched, budget) for patched in patch)
    return files or (_plain(text),)


def between(old: str, new: str, path: str) -> tuple[FileDiff, ...]:
    """The diff of two texts, shown as `path`."""
    from_lines, to_lines = (_ended(text) for text in (old, new))
    matcher = SequenceMatcher(None, from_lines, to_lines, autojunk=len(from_lines) + len(to_lines) > 4_000)
    out = [f"--- a/{path}\n", f"+++ b/{path}\n"]
    for group in matcher.get_grouped_opcodes(FOLD_KEEP):
        first, last = group[0], group[-1]
        sides = [_range(first[1], last[2]), _range(first[3], last[4])]
        out.append(f"@@ -{sides[0]} +{sides[1]} @@\n")
        for tag, i1, i2, j1, j2 in group:
            if tag == "equal":
                out += [" " + line for line in from_lines[i1:i2]]
            else:
                out += ["-" + line for line in from_lines[i1:i2]] + ["+" + line for line in to_lines[j1:j2]]
    return parse("".join(out)) if len(out) > 2 else ()


def _ended(text: str) -> list[str]:
    """Lines by newline alone; difflib's and str's other line ends would break the diff apart."""
    lines = text.replace("\r\n", "\n").split("\n")
    return [line + "\n" for line in (lines[:-1] if lines[-1] == "" else lines)]


def _range(start: int, end: int) -> str:
    return f"{start + 1 if end > start else start},{end - start}"


def _plain(text: str) -> FileDiff:
    lines = text.split("\n")
    rows = tuple(Row("note", None, None, visible([Span(line[:MAX_WIDTH])])) for line in lines[:MAX_ROWS])
    return FileDiff("", "not a unified diff; shown as it is", 0, 0, (Block(rows),), max(0, len(lines) - MAX_ROWS))


def _file(patched: PatchedFile, budget: _Budget) -> FileDiff:
    lexer = lexer_for(patched.path)
    blocks: list[Block] = []
    left_out = 0
    for hunk in patched:
        rows = _rows(hunk, lexer, budget)
        left_out += len(hunk) - len(rows)
        if rows:
            blocks += _folded(rows, _heading(hunk))
    return FileDiff(_name(patched.path), _change(patched), patched.added, patched.removed, tuple(blocks), left_out)


def _name(path: str) -> str:
    return "".join(span.text for span in visible([Span(path[:MAX_WIDTH])]))


def _change(patched: PatchedFile) -> str:
    if patched.is_binary_file:
        return "binary; no lines to show"
    if patched.is_added_file:
        return "new file"
    if patched.is_removed_file:
        return "deleted"
    if patched.is_rename:
        return f"renamed from {_name(patched.source_file.removeprefix('a/'))}"
    return "" if patched else "no lines changed"


def _heading(hunk: Hunk) -> str:
    where = f"line {hunk.target_start or hunk.source_start}"
    section = _name(hunk.section_header.strip()[:120])
    return f"{where} · {section}" if section else where


def _rows(hunk: Hunk, lexer: Lexer, budget: _Budget) -> list[Row]:
    lines = list(hunk)[: budget.rows]
    budget.rows -= len(lines)
    texts = [_cut(line.value.rstrip("\n")) for line in lines]
    old_side = [i for i, line in enumerate(lines) if line.line_type in " -"]
    new_side = [i for i, line in enumerate(lines) if line.line_type in " +"]
    spans: list[list[Span]] = [[Span(text)] for text in texts]
    for side in (old_side, new_side):  # the new side last: unchanged lines are coloured as they now stand
        for i, coloured in zip(side, highlight([texts[i] for i in side], lexer), strict=True):
            spans[i] = coloured
    marks = _marks([line.line_type for line in lines], texts, budget.pairing)
    return [
        Row(
            _KINDS.get(line.line_type, "same"),
            line.source_line_no,
            line.target_line_no,
            visible(marked(spans[i], marks.get(i, []))),
        )
        for i, line in enumerate(lines)
    ]


def _cut(line: str) -> str:
    line = line.removesuffix("\r")
    more = len(line) - MAX_WIDTH
    return line if more <= 0 else f"{line[:MAX_WIDTH]} … {more:,} more characters"


def _marks(kinds: list[str], texts: list[str], pairing: Pairing) -> dict[int, Ranges]:
    """Line index -> character ranges that differ from the line it replaces or that replaces it."""
    marks: dict[int, Ranges] = {}
    runs = [(kind, [i for i, _ in run]) for kind, run in groupby(enumerate(kinds), key=lambda pair: pair[1])]
    for (kind, removed), (next_kind, added) in pairwise(runs):
        if (kind, next_kind) != ("-", "+"):
            continue
        at = 0
        for i in removed:
            for position in range(at, min(at + 8, len(added))):
                j = added[position]
                found = pairing.differences(texts[i], texts[j])
                if found:
                    marks[i], marks[j] = found
                    at = position + 1
                    break
    return marks


def _folded(rows: list[Row], heading: str) -> Iterator[Block]:
    """Blocks of a hunk: long stretches of unchanged lines apart, so that they can stay closed."""
    runs = [(same, list(run)) for same, run in groupby(rows, key=lambda row: row.kind == "same")]
    shown: list[Row] = []
    for n, (same, run) in enumerate(runs):
        head = 0 if n == 0 else FOLD_KEEP
        tail = 0 if n == len(runs) - 1 else FOLD_KEEP
        if not same or len(run) - head - tail < FOLD_OVER:
            shown += run
            continue
        if shown or run[:head] or heading:
            yield Block((*shown, *run[:head]), heading)
        yield Block(tuple(run[head : len(run) - tail]), folded=True)
        shown, heading = run[len(run) - tail :], ""
    if shown:
        yield Block(tuple(shown), heading)
