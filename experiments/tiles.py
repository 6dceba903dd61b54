"""The numbers at the top of a run: is it better, alive, what does it cost, when does it end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from statistics import fmean, median
from typing import NamedTuple, Protocol

from experiments.costs import is_unpriced
from experiments.measures import number
from experiments.models import Run
from experiments.states import LIVE, Kind, RunState, State

RECENT = 20  # trainings that the rate is taken from


class Row(NamedTuple):
    number: int
    kind: str
    state: str
    score: float | None
    training_at: datetime | None
    trained_at: datetime | None
    finished_at: datetime | None
    cost: float | None
    tokens_in: int
    tokens_out: int
    calls_unpriced: int = 0


@dataclass(frozen=True)
class Tiles:
    best: float | None
    best_number: int | None
    baseline: float | None
    gain_percent: float | None  # positive is better
    total: int
    kept: int
    discarded: int
    failed: int
    others: int  # cancelled, reverted, examined anew
    live: int
    an_hour: float | None
    idle_percent: float | None
    cost: float  # US dollars, of what is priced
    unpriced: int  # experiments with calls whose price is not known
    tokens: int
    ends_at: datetime | None
    ends_by: str  # experiments | deadline | cost | ""

    @property
    def cost_a_keep(self) -> float | None:
        """US dollars; None where a price is missing, or nothing was kept beside the baseline."""
        return self.cost / (self.kept - 1) if self.cost and not self.unpriced and self.kept > 1 else None

    @property
    def done(self) -> int:
        return self.total - self.live


def tiles(run: Run, now: datetime) -> Tiles:
    return summarize(run, rows_of(run), now)


def rows_of(run: Run) -> list[Row]:
    return [Row(*values) for values in run.experiments.order_by("number").values_list(*Row._fields)]


def summarize(run: Run, rows: list[Row], now: datetime) -> Tiles:
    count = Counter(row.state for row in rows)
    kept = [row for row in rows if row.state == State.KEPT]
    kept.sort(key=lambda row: row.finished_at or now)  # each builds on the one kept before it
    best, anew = kept[-1] if kept else None, [row for row in kept if row.kind == Kind.REEXAMINED]
    baseline = next((row.score for row in rows if row.kind == Kind.BASELINE and row.score is not None), None)
    rate = an_hour(rows)
    live = sum(row.state in LIVE for row in rows)
    paid = [(row.cost or 0.0, row.tokens_in + row.tokens_out) for row in rows]
    ends_at, ends_by = forecast(run, len(rows), live, rate, now, paid) if run.is_active else (None, "")
    return Tiles(
        best=best.score if best else None,
        best_number=best.number if best else None,
        baseline=baseline,
        gain_percent=gain_percent(without_steps(kept), baseline, run.program.lower_is_better),
        total=len(rows),
        kept=count[State.KEPT] - len(anew),
        discarded=count[State.DISCARDED],
        failed=count[State.FAILED],
        others=count[State.CANCELLED] + count[State.REVERTED] + len(anew),
        live=live,
        an_hour=rate,
        idle_percent=idle_percent(rows, run.lanes, (run.is_active and now) or run.ended_at, turns_of(run)),
        cost=sum(row.cost or 0.0 for row in rows),
        unpriced=sum(is_unpriced(row.cost, tokens, row.calls_unpriced) for row, (_, tokens) in zip(rows, paid, strict=True)),
        tokens=sum(tokens for _, tokens in paid),
        ends_at=ends_at,
        ends_by=ends_by,
    )


class Scored(Protocol):
    @property
    def kind(self) -> str: ...
    @property
    def score(self) -> float | None: ...


def without_steps(kept: Sequence[Scored]) -> float | None:
    """The last score, less the steps where the best was only examined anew: they are nobody's gain or loss."""
    pairs = [(one.score, after.score) for one, after in pairwise(kept) if after.kind == Kind.REEXAMINED]
    steps = sum(after - before for before, after in pairs if before is not None and after is not None)
    return kept[-1].score - steps if kept and kept[-1].score is not None else None


def gain_percent(best: float | None, baseline: float | None, lower_is_better: bool = True) -> float | None:
    best, baseline = number(best), number(baseline)
    if best is None or not baseline:
        return None
    change = (best - baseline) / abs(baseline) * 100
    return -change if lower_is_better else change


def an_hour(rows: Iterable[Row]) -> float | None:
    """Trainings an hour, from the median time between the last ones: a pause does not count."""
    ends = sorted(row.trained_at for row in rows if row.trained_at and row.score is not None)[-RECENT - 1 :]
    gaps = [(b - a).total_seconds() for a, b in pairwise(ends)]
    typical = median(gaps) if gaps else 0.0
    return 3600 / typical if typical > 0 else None


def turns_of(run: Run) -> list[tuple[datetime, str]]:
    """When the run became active, paused or ended, in order."""
    states = [state.value for state in RunState]
    return list(run.moves.filter(experiment=None, new__in=states).order_by("pk").values_list("at", "new"))


def rest_seconds(turns: Iterable[tuple[datetime, str]], since: datetime, until: datetime) -> float:
    """How long between the two moments the run was paused or had ended: that time is nobody's idleness."""
    rest, stopped = 0.0, None
    for at, state in [*turns, (until, RunState.ACTIVE.value)]:
        if state == RunState.ACTIVE and stopped:
            rest += max(0.0, (min(at, until) - max(stopped, since)).total_seconds())
        stopped = (stopped or at) if state != RunState.ACTIVE else None
    return rest


def idle_percent(
    rows: Iterable[Row], lanes: int, until: datetime | None, turns: Iterable[tuple[datetime, str]] = ()
) -> float | None:
    """Share of the active time since the first training in which no training ran. `until` None: up to the last one."""
    trained = [(row.training_at, row.trained_at or row.finished_at) for row in rows if row.training_at]
    ended = [end for _, end in trained if end]
    end = until or max(ended, default=None)
    if not trained or end is None:
        return None
    first = min(start for start, _ in trained)
    wall = ((end - first).total_seconds() - rest_seconds(turns, first, end)) * max(1, lanes)
    if wall <= 0:
        return None
    busy = sum(max(0.0, (min(stop or end, end) - start).total_seconds()) for start, stop in trained)
    return max(0.0, min(100.0, 100 * (1 - busy / wall)))


def forecast(
    run: Run, made: int, live: int, rate: float | None, now: datetime, paid: Sequence[tuple[float, int]] = ()
) -> tuple[datetime | None, str]:
    """(when it ends, by which limit); (None, limit) when it has one and the rate is not known yet.

    `paid`: US dollars and tokens of each experiment.
    """
    ends: list[tuple[datetime, str]] = []
    if run.max_experiments and rate:
        left = max(0, run.max_experiments - made + live)
        ends.append((now + timedelta(hours=left / rate), "experiments"))
    if rate:
        spending = [_left(run.max_cost, [cost for cost, _ in paid]), _left(run.max_tokens, [tokens for _, tokens in paid])]
        ends += [(now + timedelta(hours=left / rate), "cost") for left in spending if left is not None]
    if run.deadline_at:
        ends.append((run.deadline_at, "deadline"))
    if ends:
        return min(ends)
    return None, "experiments" if run.max_experiments else ""


def _left(most: float | None, each: Sequence[float]) -> float | None:
    """How many experiments may still be paid for, if they go on as those did that cost anything."""
    paid = [value for value in each if value > 0]
    return max(0.0, most - sum(paid)) / fmean(paid) if most and paid else None
