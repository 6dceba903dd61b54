"""What waits for a person, over all runs."""

from __future__ import annotations

from dataclasses import dataclass

from django.db.models import Q, QuerySet

from experiments.models import Experiment, Run
from experiments.states import RunState, State

_WAITING = Q(state__in=[State.REVIEWING, State.CONFIRMING]) & ~Q(run__state=RunState.ENDED)


@dataclass(frozen=True)
class Inbox:
    experiments: list[Experiment]
    runs: list[Run]

    @property
    def count(self) -> int:
        return len(self.experiments) + len(self.runs)


def count() -> int:
    return Experiment.objects.filter(_WAITING).count() + _paused().count()


def _paused() -> QuerySet[Run]:
    """Runs that paused by themselves: who paused one by hand knows it."""
    return Run.objects.filter(state=RunState.PAUSED).exclude(reason="by_hand")


def needs() -> Inbox:
    waiting = Experiment.objects.filter(_WAITING).select_related("run__program", "parent")
    waiting = waiting.defer("prompt", "edits", "diff", "parent__prompt", "parent__edits", "parent__diff")
    paused = _paused().select_related("program")
    return Inbox(list(waiting.order_by("proposed_at")), list(paused.order_by("pk")))
