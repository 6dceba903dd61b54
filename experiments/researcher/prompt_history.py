"""The run's ledger in the prompt: each keep with its diff and delta, and the newest experiments in a line each. Pure."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from statistics import mean

from .base import Context, Past
from .prompt_text import data, one_line, size
from .room import Part

MAX_DIFF_BYTES = 3_000
LEAST_DIFF_BYTES = 300  # a shorter piece of a diff says nothing
# Of a keep's line: bytes of its idea, and whether more than number and delta stands before it. The first at which all
# keeps have a line is taken.
KEEP_DETAIL = ((200, True), (100, True), (100, False), (60, False), (30, False))
NEWEST = 12  # experiments shown in a line each, beside those under way
MAX_LINE_BYTES = 700
MAX_MEMO_BYTES = 300
SURE = 1.645 * math.sqrt(2)  # sigmas: of two equal trainings one in twenty differs by more, to the good side
UNDER_WAY = frozenset({"reviewing", "ready", "training", "evaluating", "confirming"})


def is_kept(past: Past) -> bool:
    return past.state == "kept"


def noise_line(context: Context) -> str:
    if context.sigma is None:
        return "Noise: not measured in this run, so a small delta may be luck."
    return (
        f"Noise: another seed alone moves a score with sigma {context.sigma:.2g}; a delta within "
        f"{SURE * context.sigma:.2g} says nothing by itself."
    )


def keep_lines(context: Context, limit: int, most: int) -> Part:
    """A line of each keep: where `limit` is short they get fewer words, and go beyond it rather than get lost.

    Past `most` bytes, the oldest do get lost: a context that cannot hold a few words of each keep holds nothing else.
    """
    keeps = [one for one in context.history if is_kept(one)]
    lines: list[str] = []
    for allowed, in_full in KEEP_DETAIL:
        lines = [keep_line(one, context, allowed, in_full=in_full) for one in keeps]
        if sum(map(size, lines)) + len(lines) <= limit:
            break
    cut = []
    if lines and any(size(one_line(one.description, 10_000)) > allowed for one in keeps) and allowed < KEEP_DETAIL[0][0]:
        cut.append(f"the words of the keeps' ideas beyond {allowed} characters")
    cut += ["the scores of the keeps"] if lines and not in_full else []
    while lines and sum(map(size, lines)) + len(lines) > most:
        lines.pop(0)
    cut += [f"{len(keeps) - len(lines)} keeps, the oldest"] if len(lines) < len(keeps) else []
    return Part("\n".join(lines), tuple(cut))


def keep_line(past: Past, context: Context, idea_bytes: int, *, in_full: bool) -> str:
    """#12 1.2345 (delta -0.0034, within noise): the idea."""
    score = f" {past.score:.6g}" if past.score is not None and (in_full or past.delta is None) else ""
    kind = "" if past.kind == "idea" else f" {past.kind}"
    facts = [_delta(past), *([_noise(past, context.sigma), _expected(past)] if in_full else [])]
    if past.repeats and past.score is not None and in_full:
        facts.append(f"scored {len(past.repeats) + 1} times, mean {mean([past.score, *past.repeats]):.6g}")
    told = ", ".join(filter(None, facts))
    return f"#{past.number}{kind}{score}{f' ({told})' if told else ''}: {one_line(past.description, idea_bytes)}"


def with_diffs(lines: str, context: Context, limit: int) -> Part:
    """The keeps' lines, each with its diff below. The newest diffs get the room; the oldest are shortened, then left out."""
    told = lines.split("\n") if lines else []
    keeps = [one for one in context.history if is_kept(one)][-len(told) :] if told else []
    blocks, shortened, left = {}, 0, limit
    for past in reversed(keeps):
        whole = past.diff
        allowed = min(MAX_DIFF_BYTES, left - 30)  # 30: the fence
        if not whole or (allowed < LEAST_DIFF_BYTES and size(whole) > allowed):
            continue
        block = "\n" + data(whole, allowed, "diff")
        shortened += size(whole) > allowed
        blocks[past.number] = block
        left -= size(block)
    with_diff = sum(bool(past.diff) for past in keeps)
    missing = with_diff - len(blocks)
    cut = [f"the {_diffs(missing)}, the oldest first"] if missing else []
    cut += [f"parts of the {_diffs(shortened)}"] if shortened else []
    text = "\n".join(line + blocks.get(past.number, "") for past, line in zip(keeps, told, strict=True))
    return Part(text, tuple(cut))


def _diffs(count: int) -> str:
    return "diff of 1 keep" if count == 1 else f"diffs of {count} keeps"


def newest(context: Context) -> list[Past]:
    """What is not a keep, the newest and all that is under way; oldest first."""
    rest = [one for one in context.history if not is_kept(one)]
    ended = [one for one in rest if one.state not in UNDER_WAY]
    return sorted([*ended[-NEWEST:], *(one for one in rest if one.state in UNDER_WAY)], key=lambda one: one.number)


def newest_lines(shown: Sequence[Past], context: Context, limit: int) -> Part:
    lines: list[str] = []
    left = limit
    for past in reversed(shown):
        line = _line(past, context.sigma)
        if size(line) + 1 > left:
            break
        lines.insert(0, line)
        left -= size(line) + 1
    missing = len(shown) - len(lines)
    return Part("\n".join(lines), (f"{missing} of the {len(shown)} newest experiments",) if missing else ())


def _line(past: Past, sigma: float | None) -> str:
    """#12 discarded 1.2345 (delta +0.0034, within noise) [theme]: the idea. [Why.] Memo: {…}"""
    parts = [f"#{past.number}", "" if past.kind == "idea" else past.kind, past.state]
    parts += [f"({past.reason})"] if past.reason else []
    parts += [f"{past.score:.6g}"] if past.score is not None else []
    told = ", ".join(filter(None, [_delta(past), _noise(past, sigma), _expected(past)]))
    parts += [f"({told})"] if told else []
    parts += [f"[{past.theme}]"] if past.theme else []
    line = " ".join(filter(None, parts)) + f": {past.description}"
    line += f" [{one_line(past.why, 250)}]" if past.why else ""
    memo = memo_of(past.memo)
    return one_line(line + (f" Memo: {memo}" if memo else ""), MAX_LINE_BYTES)


def memo_of(memo: Mapping[str, object]) -> str:
    """What the researcher itself wanted to read again, without what is noted beside it."""
    own = {key: value for key, value in memo.items() if key not in {"sweep", "expect", "params", "changed"}}
    return one_line(json.dumps(own, ensure_ascii=False), MAX_MEMO_BYTES) if own else ""


def _delta(past: Past) -> str:
    return f"delta {past.delta:+.4g}" if past.delta is not None else ""


def _noise(past: Past, sigma: float | None) -> str:
    if sigma is None or past.delta is None or past.kind == "baseline":
        return ""
    return "within noise" if abs(past.delta) <= SURE * sigma else "beyond noise"


def _expected(past: Past) -> str:
    expected = past.memo.get("expect")
    return f"expected {expected:+.4g}" if isinstance(expected, int | float) and not isinstance(expected, bool) else ""
