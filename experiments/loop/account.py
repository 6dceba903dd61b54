"""Counts what the calls for one experiment take: at once, in the database, and whoever holds the row by then.

Money that is spent is spent, also on a reply that leads to nothing or for an attempt that was lost. A call counts as
uncounted from before it begins until the provider has said what it took: a killed worker or a cut reply leaves it so,
and the sums are then "at least".
"""

from __future__ import annotations

from django.db.models import F, Value
from django.db.models.functions import Coalesce

from experiments.models import Experiment
from experiments.researcher.base import Called, Usage


class Account:
    def __init__(self, experiment: Experiment) -> None:
        self.rows = Experiment.objects.filter(pk=experiment.pk)
        self.is_open = False  # a call has begun whose usage has not come

    def begin(self, call: Called) -> None:
        self.is_open = True
        self.rows.update(
            model=call.model[:120], calls_uncounted=F("calls_uncounted") + 1, calls_unpriced=F("calls_unpriced") + 1
        )

    def settle(self, usage: Usage) -> None:
        counted = 1 if self.is_open and usage.is_whole else 0
        priced = counted if usage.cost is not None else 0
        self.is_open = self.is_open and not usage.is_whole
        self.rows.update(
            tokens_in=F("tokens_in") + usage.tokens_in,
            tokens_out=F("tokens_out") + usage.tokens_out,
            tokens_cached=F("tokens_cached") + usage.tokens_cached,
            cost=F("cost") if usage.cost is None else Coalesce(F("cost"), Value(0.0)) + usage.cost,
            calls_uncounted=F("calls_uncounted") - counted,
            calls_unpriced=F("calls_unpriced") - priced,
        )
