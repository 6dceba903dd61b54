"""What the LLM has cost: of a run, by day, by model. A price that is not known is said so, and never counted as 0."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from django.db.models import Q
from django.utils import timezone

from experiments.models import Run


class Row(NamedTuple):
    model: str
    created_at: datetime
    cost: float | None
    tokens_in: int
    tokens_out: int
    tokens_cached: int
    calls_unpriced: int


@dataclass(frozen=True)
class Spent:
    name: str  # of the day or model
    experiments: int  # that asked an LLM
    cost: float  # US dollars, of those whose price is known
    tokens_in: int
    tokens_out: int
    tokens_cached: int  # of tokens_in: from the provider's cache
    unpriced: int  # experiments with calls whose price is not known

    @property
    def tokens(self) -> int:
        return self.tokens_in + self.tokens_out


def rows_of(run: Run) -> list[Row]:
    """Those that used an LLM, oldest first."""
    rows = run.experiments.filter(Q(tokens_in__gt=0) | Q(calls_unpriced__gt=0)).order_by("number")
    return [Row(*values) for values in rows.values_list(*Row._fields)]


def by_day(rows: Iterable[Row]) -> list[Spent]:
    """Days of the server's time zone, oldest first."""
    return _grouped((f"{timezone.localtime(row.created_at):%Y-%m-%d}", row) for row in rows)


def by_model(rows: Iterable[Row]) -> list[Spent]:
    return _grouped((row.model or "not recorded", row) for row in rows)


def is_unpriced(cost: float | None, tokens: int, calls_unpriced: int) -> bool:
    """Whether it took more money than `cost`, or nobody knows how much."""
    return calls_unpriced > 0 or (cost is None and tokens > 0)


def _grouped(named: Iterable[tuple[str, Row]]) -> list[Spent]:
    groups: dict[str, list[Row]] = defaultdict(list)
    for name, row in named:
        groups[name].append(row)
    return [_sum(name, rows) for name, rows in groups.items()]


def _sum(name: str, rows: list[Row]) -> Spent:
    return Spent(
        name=name,
        experiments=len(rows),
        cost=sum(row.cost or 0.0 for row in rows),
        tokens_in=sum(row.tokens_in for row in rows),
        tokens_out=sum(row.tokens_out for row in rows),
        tokens_cached=sum(row.tokens_cached for row in rows),
        unpriced=sum(is_unpriced(row.cost, row.tokens_in + row.tokens_out, row.calls_unpriced) for row in rows),
    )
