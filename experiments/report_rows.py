"""What a report is made from: one light row per experiment, and how far two scores differ by luck alone."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from statistics import stdev
from typing import Any

from django.db.models.functions import Left

from experiments.measures import number
from experiments.models import Run
from experiments.models.text import version_of
from experiments.states import LIVE, NEVER_KEPT, Kind, State

WORDS = 400  # characters of a reason that are read
SURE = 1.645 * math.sqrt(2)  # sigmas: of two equal trainings one in twenty differs by more, to the good side


@dataclass(frozen=True)
class Row:
    """One experiment as the report sees it; of `detail` only the beginning."""

    pk: int
    number: int
    kind: str
    state: str
    reason: str
    detail: str
    parent_id: int | None
    commit: str
    device: str
    description: str
    score: float | None
    secret_score: float | None
    badges: list[str] = field(default_factory=list)
    theme: str = ""  # as its researcher named it
    cost: float | None = None
    tokens_in: int = 0
    tokens_out: int = 0
    calls_unpriced: int = 0
    training_at: datetime | None = None
    trained_at: datetime | None = None
    finished_at: datetime | None = None
    version: str | int = "1"  # of the exam that gave the score

    @property
    def name(self) -> str:
        return self.description or ("the baseline" if self.kind == Kind.BASELINE else "no idea came")

    @property
    def is_idea(self) -> bool:
        """Something was changed: no baseline, and nothing that is trained once more."""
        return self.kind not in {Kind.BASELINE, Kind.REPEAT, Kind.REEXAMINED}

    def seconds(self, now: datetime) -> float:
        """How long it held a device."""
        end = self.trained_at or self.finished_at or (now if self.state in LIVE else None)
        return max(0.0, (end - self.training_at).total_seconds()) if self.training_at and end else 0.0


_PLAIN = [name for name in Row.__dataclass_fields__ if name != "detail"]


def rows_of(run: Run) -> list[Row]:
    """All experiments in order; a score that is no number counts as none."""
    rows = run.experiments.order_by("number").annotate(words=Left("detail", WORDS), version=version_of())
    found = rows.values("words", *_PLAIN)
    return [_row(values) for values in found.iterator()]


def _row(values: dict[str, Any]) -> Row:
    score, secret = (number(values.pop(name)) for name in ("score", "secret_score"))
    return Row(detail=values.pop("words"), score=score, secret_score=secret, **values)


def sigma(rows: Iterable[Row]) -> float | None:
    """Standard deviation of one commit's scores on one device by one exam, over all scored three times; None: not known."""
    groups: dict[tuple[str, str, str | int], list[float]] = defaultdict(list)
    for row in rows:
        if row.score is not None and row.commit and not NEVER_KEPT & set(row.badges):
            groups[row.commit, row.device, row.version].append(row.score)
    repeated = [scores for scores in groups.values() if len(scores) >= 3]
    freedom = sum(len(scores) - 1 for scores in repeated)
    if not freedom:
        return None
    squares = sum(stdev(scores) ** 2 * (len(scores) - 1) for scores in repeated)
    return math.sqrt(squares / freedom) or None  # the same to the last digit: one seed, which says nothing


def kept_in_order(rows: Sequence[Row]) -> list[Row]:
    """As they build on each other, the baseline first; the last one is the best of now."""
    parents = {row.pk: row.parent_id for row in rows}
    depths: dict[int | None, int] = {None: 0}
    for pk in parents:
        path: list[int] = []
        at: int | None = pk
        while at is not None and at not in depths and at in parents and at not in path:
            path.append(at)
            at = parents[at]
        for step, one in enumerate(reversed(path), start=1):
            depths[one] = depths.get(at, 0) + step
    kept = [row for row in rows if row.state == State.KEPT]
    return sorted(kept, key=lambda row: (row.kind != Kind.BASELINE, depths[row.pk], row.number))
