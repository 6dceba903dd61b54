"""Data for figures: the progress chart, downsampling, sparklines. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import variance
from typing import Any, TypeVar

from experiments.measures import number
from experiments.states import State

T = TypeVar("T")
MOST_DISCARDS = 1500  # drawn; beyond that the chart shows every n-th
MOST_FAILED = 800
PAD = 0.06  # of the span, above and below
TEXT, LABEL = 70, 120  # characters that the hover of a point shows, and the words beside a keep may have
SAME = 3  # scores of one commit that say how large the noise is


@dataclass(frozen=True)
class Tried:
    """One experiment as the progress chart sees it."""

    pk: int
    number: int
    state: str
    score: float | None
    text: str
    why: str = ""
    parent_score: float | None = None
    commit: str = ""
    exam: str | int = "1"  # the version that gave the score


def progress(rows: Iterable[Tried], *, metric: str = "val_bpb", lower_is_better: bool = True) -> dict[str, Any]:
    """Points of the progress chart by what became of them, each kind as columns, and the range that is worth showing.

    `range`: where the staircase is; `whole`: of every score; `sigma`: of the noise, None where it is not known.
    """
    tried = sorted(rows, key=lambda row: row.number)
    scored = [row for row in tried if number(row.score) is not None]
    kept = [row for row in scored if row.state == State.KEPT]
    discarded = [row for row in scored if row.state == State.DISCARDED]
    reverted = [row for row in scored if row.state == State.REVERTED]
    failed = [row for row in tried if row.state == State.FAILED]
    scores = [row.score or 0.0 for row in kept]
    gains = [_step(*pair) for pair in zip([*kept[:1], *kept], kept, strict=False)]
    failed_shown = thin(failed, MOST_FAILED)
    return {
        "metric": metric,
        "lower_is_better": lower_is_better,
        "last": max((row.number for row in tried if row.state in _SHOWN), default=0),
        "range": score_range(scores, [row.score or 0.0 for row in discarded]),
        "whole": whole_range([row.score or 0.0 for row in [*kept, *discarded, *reverted]]),
        "sigma": noise_sigma((row.commit and f"{row.commit} {row.exam}", row.score or 0.0) for row in scored),
        "kept": _columns(kept, LABEL) | {"gain": _rounded(gains)},
        "discarded": _columns(thin(discarded, MOST_DISCARDS)),
        "reverted": _columns(reverted),
        "failed": _columns(failed_shown) | {"why": [row.why.replace("_", " ") for row in failed_shown]},
        "left_out": max(0, len(discarded) - MOST_DISCARDS),
    }


def _step(before: Tried, after: Tried) -> float | None:
    """None where the best was examined anew: that is no gain and no loss."""
    return (after.score or 0.0) - (before.score or 0.0) if before.exam == after.exam else None


_SHOWN = {State.KEPT, State.DISCARDED, State.REVERTED, State.FAILED}


def _columns(rows: Sequence[Tried], width: int = TEXT) -> dict[str, list[Any]]:
    return {
        "pk": [row.pk for row in rows],
        "number": [row.number for row in rows],
        "score": _rounded(row.score for row in rows),
        "delta": _rounded(None if row.parent_score is None else (row.score or 0.0) - row.parent_score for row in rows),
        "text": [row.text if len(row.text) <= width else f"{row.text[: width - 1]}…" for row in rows],
    }


def _rounded(values: Iterable[float | None]) -> list[float | None]:
    """Seven digits behind the point say all: the rest is a third of the bytes. What is not finite would be no JSON."""
    return [None if number(value) is None else round(value or 0.0, 7) for value in values]


def noise_sigma(scores: Iterable[tuple[str, float]]) -> float | None:
    """Standard deviation of scores of the same commit, pooled over all that were scored three times or more.

    `scores`: (commit, score). None where no commit was, or where they are all equal: then nothing is known.
    """
    groups: dict[str, list[float]] = {}
    for commit, score in scores:
        if commit and number(score) is not None:
            groups.setdefault(commit, []).append(score)
    enough = [group for group in groups.values() if len(group) >= SAME]
    freedom = sum(len(group) - 1 for group in enough)
    squares = sum(variance(group) * (len(group) - 1) for group in enough)
    return math.sqrt(squares / freedom) if squares > 0 else None


def score_range(kept: Sequence[float], discarded: Sequence[float]) -> tuple[float, float]:
    """(low, high): all keeps, and the discards near them. A few wild ones must not flatten the staircase."""
    core = sorted(kept or discarded)
    if not core:
        return 0.0, 1.0
    low, high = core[0], core[-1]
    reach = (high - low) * 0.6
    if discarded:
        wide = sorted(discarded)
        most, least = wide[int((len(wide) - 1) * 0.95)], wide[int((len(wide) - 1) * 0.05)]
        high = max(high, min(most, high + reach) if reach else most)
        low = min(low, max(least, low - reach) if reach else least)
    pad = (high - low) * PAD or abs(high) * 0.01 or 0.01
    return low - pad, high + pad


def whole_range(scores: Sequence[float]) -> tuple[float, float]:
    """(low, high) with every score inside; above zero where all of them are, for the logarithm."""
    low, high = score_range(scores, [])
    least = min(scores, default=0.0)
    return (max(low, least / 2), high) if least > 0 else (low, high)


def thin(items: Sequence[T], most: int) -> Sequence[T]:
    """At most `most` of them, evenly spread, the last one always."""
    if len(items) <= most:
        return items
    step = (len(items) - 1) / (most - 1)
    return [items[round(i * step)] for i in range(most)]


def lttb(rows: Sequence[dict[str, Any]], most: int, x: str = "step", y: str = "loss") -> list[dict[str, Any]]:
    """At most `most` of the rows, chosen so that the line y(x) keeps its shape; a y of None stays out of the reckoning.

    Largest triangle three buckets: Steinarsson, Downsampling Time Series for Visual Representation, 2013.
    First and last always stay.
    """
    if most < 3 or len(rows) <= most:
        return list(rows)
    points = [(float(row[x] or 0), row[y]) for row in rows]
    level = next((value for _, value in points if value is not None), 0.0)
    line: list[tuple[float, float]] = []
    for at, value in points:
        level = level if value is None else float(value)
        line.append((at, level))
    return [rows[i] for i in _triangles(line, most)]


def _triangles(points: Sequence[tuple[float, float]], most: int) -> list[int]:
    """Of each bucket the index that spans the largest triangle with the one before and the mean of the next bucket."""
    every, last = (len(points) - 2) / (most - 2), len(points)
    xs, ys = zip(*points, strict=True)
    chosen, at = [0], 0
    for bucket in range(most - 2):
        start, end = int(bucket * every) + 1, int((bucket + 1) * every) + 1
        until = min(max(end + 1, int((bucket + 2) * every) + 1), last)
        x0, y0 = xs[at], ys[at]
        dx = x0 - sum(xs[end:until]) / (until - end)
        dy = sum(ys[end:until]) / (until - end) - y0
        largest, at = -1.0, start
        for place in range(start, end):
            area = abs(dx * (ys[place] - y0) - (x0 - xs[place]) * dy)
            if area > largest:
                largest, at = area, place
        chosen.append(at)
    return [*chosen, last - 1]


def sparkline(points: Sequence[tuple[int, float]], last: int, width: int = 220, height: int = 44) -> str:
    """`points` of an SVG polyline: the staircase of (number, best) up to experiment `last`; "" where there is none."""
    if not points:
        return ""
    scores = [score for _, score in points]
    low, span = min(scores), (max(scores) - min(scores))
    across = max(last, points[-1][0], 1)

    def at(place: int, score: float) -> str:
        y = height / 2 if not span else 3 + (1 - (score - low) / span) * (height - 6)
        return f"{place / across * width:.1f},{y:.1f}"

    out = [at(*points[0])]
    for (_, before), (at_number, score) in pairwise(points):
        out += [at(at_number, before), at(at_number, score)]
    return " ".join([*out, at(across, scores[-1])])
