"""Rows for a diff page: unified diff text in, lines of highlighted spans out. Pure; any text is accepted."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from difflib import SequenceMatcher
from functools import lru_cache
from io import StringIO
from itertools import groupby, pairwise

from pygments.lexer import Lexer
from unidiff.errors import UnidiffParseError
from unidiff.patch import Hunk, Line, PatchedFile, PatchSet

from experiments.diff_spans import Pairing, Ranges, Span, highlight, lexer_for, marked, visible

MAX_ROWS = 2_000  # lines of a diff on one page
MAX_WIDTH = 1_000  # characters shown of one line
FOLD_OVER, FOLD_KEEP = 9, 3  # unchanged lines: so many in a row are folded, so many beside a change stay

_KINDS = {"+": "add", "-": "del", "\\": "note"}


@dataclass(frozen=True)
class Row:
    kind: str  # same | add | del | note
    old: int | None
    new: int | None
    spans: tuple[Span, ...]
    mate: int | None = None  # of a changed line: the number of its partner on the other side

    @property
    def sign(self) -> str:
        return {"add": "+", "del": "−"}.get(self.kind, " ")


Pair = tuple[Row | None, Row | None]  # the old side and the new; the same row twice where nothing changed


@dataclass(frozen=True)
class Block:
    """Rows in sequence. `heading` opens a hunk; `folded` rows are unchanged and far from a change."""

    rows: tuple[Row, ...]
    heading: str = ""
    folded: bool = False
    hidden: int = 0  # lines of the file between the hunk before and this one, which the diff leaves out

    @property
    def first(self) -> int | None:
        """Its first line on the new side."""
        return self.rows[0].new if self.rows else None

    @property
    def hidden_from(self) -> int:
        """The first hidden line, on the new side."""
        numbers = [row.new for row in self.rows if row.new]
        return numbers[0] - self.hidden if numbers else 1

    @property
    def pairs(self) -> list[Pair]:
        """The rows side by side: a changed line beside its partner."""
        pairs: list[Pair] = []
        for changed, run in groupby(self.rows, key=lambda row: row.kind in {"add", "del"}):
            rows = list(run)
            pairs += _aligned(rows) if changed else [(row, row) for row in rows]
        return pairs


def _aligned(rows: list[Row]) -> Iterator[Pair]:
    old, new = ([row for row in rows if row.kind == kind] for kind in ("del", "add"))
    i = j = 0
    while i < len(old) and j < len(new):
        alone_left, alone_right = old[i].mate is None, new[j].mate is None
        if alone_right and not alone_left:
            yield None, new[j]
            j += 1
        elif alone_left and not alone_right:
            yield old[i], None
            i += 1
        else:
            yield old[i], new[j]
            i, j = i + 1, j + 1
    yield from ((row, None) for row in old[i:])
    yield from ((None, row) for row in new[j:])


@dataclass(frozen=True)
class FileDiff:
    path: str
    change: str  # in words, when it is more than an edit: "new file", "deleted", "renamed from x", "binary"
    added: int
    removed: int
    blocks: tuple[Block, ...]
    left_out: int = 0  # lines after those that are shown
    lines: int = 0  # of all its hunks

    @property
    def number_width(self) -> int:
        """Digits of the largest line number."""
        numbers = [n for block in self.blocks for row in block.rows for n in (row.old, row.new) if n]
        return len(str(max(numbers, default=0)))


@dataclass
class _Budget:
    skip: int = 0  # rows on the pages before
    rows: int = MAX_ROWS
    pairing: Pairing = field(default_factory=Pairing)


@lru_cache(maxsize=64)
def parse(text: str, start: int = 0) -> tuple[FileDiff, ...]:
    """The files of a unified diff, MAX_ROWS lines of it from line `start` on.

    Text that is no diff comes back as one file of plain notes.
    """
    if not text.strip():
        return ()
    try:
        patch = PatchSet(StringIO(text, newline="\n"))
    except (UnidiffParseError, ValueError):
        return (_plain(text, start),)
    budget = _Budget(start)
    files = tuple(_file(patched, budget) for patched in patch)
    return files or (_plain(text, start),)


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


def _plain(text: str, start: int) -> FileDiff:
    lines = text.split("\n")
    end = start + MAX_ROWS
    rows = tuple(Row("note", None, None, visible([Span(_cut(line))])) for line in lines[start:end])
    left_out = max(0, len(lines) - end)
    return FileDiff("", "not a unified diff; shown as it is", 0, 0, (Block(rows),), left_out, len(lines))


def _file(patched: PatchedFile, budget: _Budget) -> FileDiff:
    lexer = lexer_for(patched.path)
    blocks: list[Block] = []
    left_out, end = 0, 1
    for hunk in patched:
        passed = min(budget.skip, len(hunk))
        budget.skip -= passed
        rows = _rows(list(hunk)[passed : passed + budget.rows], lexer, budget)
        left_out += len(hunk) - passed - len(rows)
        begin = hunk.target_start + (not hunk.target_length)
        if rows:
            first, *more = _folded(rows, _heading(hunk))
            blocks += [replace(first, hidden=0 if passed else max(0, begin - end)), *more]
        end = begin + hunk.target_length
    shown, lines = tuple(blocks), sum(len(hunk) for hunk in patched)
    return FileDiff(_name(patched.path), _change(patched), patched.added, patched.removed, shown, left_out, lines)


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


def _rows(lines: list[Line], lexer: Lexer, budget: _Budget) -> list[Row]:
    budget.rows -= len(lines)
    texts = [_cut(line.value.rstrip("\n")) for line in lines]
    old_side = [i for i, line in enumerate(lines) if line.line_type in " -"]
    new_side = [i for i, line in enumerate(lines) if line.line_type in " +"]
    spans: list[list[Span]] = [[Span(text)] for text in texts]
    for side in (old_side, new_side):  # the new side last: unchanged lines are coloured as they now stand
        for i, coloured in zip(side, highlight([texts[i] for i in side], lexer), strict=True):
            spans[i] = coloured
    marks, mates = _marks([line.line_type for line in lines], texts, budget.pairing)
    return [
        Row(
            _KINDS.get(line.line_type, "same"),
            line.source_line_no,
            line.target_line_no,
            visible(marked(spans[i], marks.get(i, []))),
            _number(lines[mates[i]]) if i in mates else None,
        )
        for i, line in enumerate(lines)
    ]


def _number(line: Line) -> int | None:
    number: int | None = line.target_line_no if line.line_type == "+" else line.source_line_no
    return number


def _cut(line: str) -> str:
    line = line.removesuffix("\r")
    more = len(line) - MAX_WIDTH
    return line if more <= 0 else f"{line[:MAX_WIDTH]} … {more:,} more characters"


def _marks(kinds: list[str], texts: list[str], pairing: Pairing) -> tuple[dict[int, Ranges], dict[int, int]]:
    """Line index -> character ranges that differ from the line it replaces or that replaces it; and to that line."""
    marks: dict[int, Ranges] = {}
    mates: dict[int, int] = {}
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
                    mates[i], mates[j] = j, i
                    at = position + 1
                    break
    return marks, mates


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
