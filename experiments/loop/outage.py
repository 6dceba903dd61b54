"""While the researcher does not answer: the idea waits and is asked for again, and what needs no researcher trains.

Nothing fails, and nobody is needed: a night of rate limits ends by itself. A run says by `outage` what trains meanwhile.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from django.db import transaction
from django.utils import timezone
from django.utils.timesince import timesince

from experiments.loop.actions import repeat
from experiments.models import Experiment, Run
from experiments.states import Kind, Outage, State

SHORTEST_WAIT = timedelta(seconds=15)
LONGEST_WAIT = timedelta(minutes=5)
SWEEP = "sweep"  # the strategy of an experiment that the built-in sweep proposes, whoever the program's researcher is


def went_away(experiment: Experiment, why: str) -> None:
    """Give the row back, to be proposed again later. Raises StaleState when it is no longer ours."""
    now = timezone.now()
    with transaction.atomic():
        run = Run.locked(experiment.run_id)
        if run.away_since is None:
            run.away_since = now
            run.record("loop", "researcher away", why=why)
        run.away_why, run.ask_at = why, now + wait_after(now - run.away_since)
        run.save(update_fields=["away_since", "away_why", "ask_at"])
        experiment.store(worker="", heartbeat_at=None)


def wait_after(away: timedelta) -> timedelta:
    """Half as long as it has been away, within bounds."""
    return min(max(away / 2, SHORTEST_WAIT), LONGEST_WAIT)


def came_back(run: Run, called_at: datetime | None) -> None:
    """It has answered. A call that was under way when it went away says nothing about now."""
    away_since = Run.objects.values_list("away_since", flat=True).get(pk=run.pk)
    if away_since is None or (called_at is not None and called_at < away_since):
        return
    with transaction.atomic():
        if Run.objects.filter(pk=run.pk, away_since=away_since).update(away_since=None, away_why="", ask_at=None):
            run.record("loop", "researcher back", why=f"after {timesince(away_since)}".replace("\xa0", " "))


def ask_now(run: Run, *, by: str) -> None:
    """Do not wait any longer before it is asked again."""
    with transaction.atomic():
        if Run.objects.filter(pk=run.pk, ask_at__gt=timezone.now()).update(ask_at=timezone.now()):
            run.record(by, "researcher asked again")


def waits(run: Run, now: datetime) -> bool:
    """Whether the researcher is left in peace for now."""
    return run.ask_at is not None and now < run.ask_at


def needs_researcher(run: Run) -> list[int]:
    """Ids of the experiments that wait for its answer."""
    rows = run.experiments.filter(state=State.PROPOSING).exclude(strategy=SWEEP)
    return list(rows.values_list("pk", flat=True))


def fill(run: Run, best: Experiment) -> Experiment:
    """The next experiment that needs no researcher, as the run's `outage` says."""
    if run.outage == Outage.SWEEP:
        made = Experiment.objects.create(
            run=run, number=run.next_number(), kind=Kind.IDEA, state=State.PROPOSING, parent=best, strategy=SWEEP,
            seed=run.seed,
        )
        run.record("loop", f"#{made.number} created", why="by the built-in sweep, while the researcher is away")
        return made
    return repeat(best, by="loop")


def repeat_from_now_on(run: Run, why: str) -> None:
    """The built-in sweep has nothing left to turn."""
    with transaction.atomic():
        Run.objects.filter(pk=run.pk).update(outage=Outage.REPEAT)
        run.record("loop", "while the researcher is away: repeat", why=why)
