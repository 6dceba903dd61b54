"""The history section of the prompt: keeps with their diffs, all else in one line each. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from .base import Context, Past
from .prompt_text import fenced, shorten

MAX_DIFF_CHARS = 3_000
MAX_LINE_CHARS = 400
SHARE_OF_LINES = 0.5  # of the room: one-line entries get it first, diffs the rest


@dataclass(frozen=True)
class History:
    text: str
    cut: tuple[str, ...]


def history_section(context: Context, limit: int) -> History:
    """At most `limit` characters. The newest entries and the newest diffs win; the order stays oldest first."""
    past = context.history
    if not past:
        return History("", ())
    heading = f"# History, oldest first; a negative delta is {'better' if context.lower_is_better else 'worse'}\n\n"
    left = limit - len(heading)
    lines, left = _newest_lines(past, int(left * SHARE_OF_LINES), left)
    diffs = _newest_diffs(past, lines, left)
    entries = [lines[p.number] + diffs.get(p.number, "") for p in past if p.number in lines]
    cut = []
    if len(lines) < len(past):
        cut.append(f"{len(past) - len(lines)} older experiments")
    kept = [p for p in past if _is_kept(p) and p.diff]
    if len(diffs) < len(kept):
        cut.append(f"diffs of {len(kept) - len(diffs)} keeps")
    return History(heading + "\n".join(entries), tuple(cut))


def _newest_lines(past: tuple[Past, ...], limit: int, left: int) -> tuple[dict[int, str], int]:
    lines: dict[int, str] = {}
    for one in reversed(past):
        line = _line(one)
        if len(line) + 1 > limit:
            break
        lines[one.number] = line
        limit -= len(line) + 1
        left -= len(line) + 1
    return lines, left


def _newest_diffs(past: tuple[Past, ...], lines: dict[int, str], left: int) -> dict[int, str]:
    diffs = {}
    for one in reversed(past):
        if not (_is_kept(one) and one.diff and one.number in lines):
            continue
        block = "\n" + fenced(shorten(one.diff, MAX_DIFF_CHARS), "diff")
        if len(block) > left:
            break
        diffs[one.number] = block
        left -= len(block)
    return diffs


def _is_kept(past: Past) -> bool:
    return past.state == "kept"


def _line(past: Past) -> str:
    """#12 discarded 1.2345 (+0.0034): the idea. Why."""
    parts = [f"#{past.number}", "" if past.kind == "idea" else past.kind, past.state]
    if past.reason:
        parts.append(f"({past.reason})")
    if past.score is not None:
        parts.append(f"{past.score:.6g}")
    if past.delta is not None:
        parts.append(f"(delta {past.delta:+.4g})")
    line = " ".join(filter(None, parts)) + f": {past.description}"
    if past.why:
        line += f" [{past.why}]"
    line = " ".join(line.split())
    return line if len(line) <= MAX_LINE_CHARS else line[: MAX_LINE_CHARS - 1] + "…"
