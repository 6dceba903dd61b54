"""What the runs do, for the end of the first screen of `up`: that it trains, or why it cannot and what to do."""

from __future__ import annotations

from collections.abc import Iterator

from django.db.models import QuerySet

from experiments.models import Experiment, Run
from experiments.states import RunState, State

PATIENCE_SECONDS = 20.0  # then what it waits for is said
LOOK_SECONDS = 0.5


class FirstWords:
    """One line for each run that is to train: as soon as it is known what becomes of it."""

    def __init__(self, now: float) -> None:
        self.began = self.looked_at = now
        self.waiting = {run.pk for run in _open_runs()}

    def new(self, now: float) -> Iterator[str]:
        if not self.waiting or now - self.looked_at < LOOK_SECONDS:
            return
        self.looked_at = now
        for run in _open_runs().filter(pk__in=self.waiting):
            line = says(run, is_late=now - self.began > PATIENCE_SECONDS)
            if line:
                self.waiting.discard(run.pk)
                yield line


def _open_runs() -> QuerySet[Run]:
    return Run.objects.filter(source="").exclude(state=RunState.ENDED).select_related("program").order_by("pk")


def says(run: Run, *, is_late: bool) -> str:
    """"" while it is not known yet."""
    name = run.tag if run.tag == "demo" else f"{run.program}/{run.tag}"
    if run.state == RunState.PAUSED:
        return f"{name}: {'cannot train, because' if run.reason != 'by_hand' else 'is paused:'} {_one_line(run.detail)}"
    trains = run.experiments.filter(state__in=[State.TRAINING, State.EVALUATING]).order_by("number").first()
    if trains:
        return f"{name}: training #{trains.number}, {run.program.budget_seconds} s each"
    return f"{name}: {_waits(run)}" if is_late else ""


def _waits(run: Run) -> str:
    asks = run.experiments.filter(state__in=[State.REVIEWING, State.CONFIRMING]).order_by("number").first()
    if asks:
        return f"#{asks.number} waits for you"
    ready: Experiment | None = run.experiments.filter(state=State.READY).order_by("number").first()
    return f"nothing trains yet; its page says why{f', at #{ready.number}' if ready else ''}"


def _one_line(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 500 else f"{line[:499]}…"
