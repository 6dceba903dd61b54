"""The night as one picture that prints: the staircase of the best, what was tried beside it, what failed. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from experiments.charts import score_range, thin
from experiments.measures import number
from experiments.report_rows import Row
from experiments.states import State

WIDTH, HEIGHT = 1000, 200  # units of the drawing, which is stretched to where it stands
STRIP = 16  # below it, for what failed
EDGE = 5  # a point on the rim is drawn whole
MOST = 1500  # points of one kind


@dataclass(frozen=True)
class Picture:
    """Paths of an SVG of WIDTH x (HEIGHT + STRIP); a point is a line of no length with a round end."""

    stairs: str
    kept: str
    others: str
    failed: str
    top: float  # the scores at its upper and lower rim
    bottom: float
    last: int

    width, height, strip = WIDTH, HEIGHT, STRIP


def picture(rows: Iterable[Row]) -> Picture | None:
    """None where fewer than two experiments have a score: then there is nothing to see."""
    tried = sorted(rows, key=lambda row: row.number)
    scored = [(row, row.score or 0.0) for row in tried if number(row.score) is not None]
    kept = [(row.number, score) for row, score in scored if row.state == State.KEPT]
    others = [(row.number, score) for row, score in scored if row.state in {State.DISCARDED, State.REVERTED}]
    if len(kept) + len(others) < 2:
        return None
    low, high = score_range([score for _, score in kept], [score for _, score in others])
    last = max(row.number for row in tried)

    def across(place: int) -> float:
        return EDGE + place / max(last, 1) * (WIDTH - 2 * EDGE)

    def down(score: float) -> float:
        """What lies beyond the range stands at the rim."""
        return min(max((high - score) / (high - low), 0.0), 1.0) * (HEIGHT - 2 * EDGE) + EDGE

    def points(of: Sequence[tuple[int, float]]) -> str:
        return "".join(f"M{across(place):.1f} {down(score):.1f}h0" for place, score in thin(of, MOST))

    failed = thin([row.number for row in tried if row.state == State.FAILED], MOST)
    corners = [(across(place), down(score)) for place, score in kept]
    stairs = "".join(f"H{x:.1f}V{y:.1f}" for x, y in corners)
    return Picture(
        stairs=f"M{corners[0][0]:.1f} {corners[0][1]:.1f}{stairs}H{across(last):.1f}" if corners else "",
        kept=points(kept),
        others=points(others),
        failed="".join(f"M{across(place):.1f} {HEIGHT + 4}v{STRIP - 6}" for place in failed),
        top=high,
        bottom=low,
        last=last,
    )
