"""What the runs do, for the end of the first screen of `up`: that it trains, or why it cannot and what to do."""

from __future__ import annotations

from collections.abc import Iterator

from django.db.models import QuerySet

from experiments.models import Chunk, Run, stream
from experiments.states import RunState, State

PATIENCE_SECONDS = 20.0  # then what it waits for is said
LOOK_SECONDS = 0.5


class FirstWords:
    """One line for each run that is to train, as soon as it is known what becomes of it: it has made a step, or paused.

    A run of which that is not known for long has a line more, before it.
    """

    def __init__(self, now: float) -> None:
        self.began = self.looked_at = now
        self.waiting = {run.pk for run in _open_runs()}
        self.is_told = False  # what is waited for

    def new(self, now: float) -> Iterator[str]:
        if not self.waiting or now - self.looked_at < LOOK_SECONDS:
            return
        self.looked_at, is_late = now, now - self.began > PATIENCE_SECONDS
        for run in _open_runs().filter(pk__in=self.waiting):
            line = becomes(run)
            if line:
                self.waiting.discard(run.pk)
                yield f"{_name(run)}: {line}"
            elif is_late and not self.is_told:
                yield f"{_name(run)}: {_waits(run)}"
        self.is_told |= is_late


def _open_runs() -> QuerySet[Run]:
    return Run.objects.filter(source="").exclude(state=RunState.ENDED).select_related("program").order_by("pk")


def _name(run: Run) -> str:
    return run.tag if run.tag == "demo" else f"{run.program}/{run.tag}"


def becomes(run: Run) -> str:
    """"" while it is not known yet: a row is `training` before sandbox, judge and device have been seen to work."""
    if run.state == RunState.PAUSED:
        return f"{'is paused:' if run.reason == 'by_hand' else 'cannot train, because'} {_one_line(run.detail)}"
    trains = run.experiments.filter(state__in=[State.TRAINING, State.EVALUATING]).order_by("number")
    for experiment in trains:
        if Chunk.objects.filter(experiment=experiment, attempt=experiment.attempt, stream=stream.SERIES).exists():
            return f"training #{experiment.number}, {run.program.budget_seconds} s each"
    return ""


def _waits(run: Run) -> str:
    for state, words in (
        (State.TRAINING, "#{} is starting; its first step is still to come"), (State.REVIEWING, "#{} waits for you"),
        (State.CONFIRMING, "#{} waits for you"), (State.READY, "#{} is not training yet; the run's page says why"),
        (State.PROPOSING, "#{} is being worked out"),
    ):  # fmt: skip
        first = run.experiments.filter(state=state).order_by("number").first()
        if first:
            return words.format(first.number)
    return "nothing trains yet; its page says why"


def _one_line(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 500 else f"{line[:499]}…"
