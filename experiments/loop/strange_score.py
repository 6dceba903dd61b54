"""What becomes of a score that seems too good: a person looks at it, or another seed says whether it holds."""

from __future__ import annotations

from django.db.models import QuerySet

from experiments.loop import actions, judging
from experiments.models import Experiment, Run
from experiments.states import LIVE, NEVER_KEPT, Badge, Failure, Kind, Mode, State

REPEATS = 2  # tries to train again what seems too good
OF_THE_MACHINE = (Failure.WORKER_LOST, Failure.DISK_FULL)  # failures that say nothing of what was trained


def stood(run: Run, best: float) -> float:
    """The lowest score that has stood: the baseline's, and of a kept one what another seed showed too, or a person believed.

    A lucky or forged score that nobody has tried again does not count, so that many small ones are not strange one by one.
    """
    rows = run.experiments.values_list("kind", "state", "commit", "score", "badges")
    again: dict[str, float] = {}
    for kind, _, commit, score, badges in rows:
        if score is not None and kind == Kind.REPEAT and not NEVER_KEPT & set(badges):
            again[commit] = max(score, again.get(commit, score))
    believed = [
        max(score, again.get(commit, score)) for kind, state, commit, score, badges in rows
        if score is not None and state == State.KEPT
        and (kind in {Kind.BASELINE, Kind.REEXAMINED} or commit in again or Badge.IMPLAUSIBLE in badges)
    ]  # fmt: skip
    return min(believed, default=best)


def settle(experiment: Experiment, strange: str, why: str) -> None:
    """A score that seems too good waits for a person; in autopilot for another seed, which says whether it holds."""
    badges, again = experiment.badges, _repeated(experiment)
    if Mode(experiment.run.mode).asks_of_the_strange:
        why = f"Look at it before anything is built on it: {strange}. It is {why}"
        experiment.move_to(State.CONFIRMING, by="verdict", why=why, detail=why, badges=badges)
    elif again:
        why = f"{why}; {strange}, but it held with another seed: {again.score:.6f} in #{again.number}. Look at its diff"
        experiment.keep(by="verdict", why=why, detail=why, badges=badges)
    elif _repeats(experiment).filter(state__in=LIVE).exists():  # a doubled message: what it waits for is under way
        experiment.store(worker="", heartbeat_at=None)
    elif _repeats(experiment).exclude(reason__in=OF_THE_MACHINE).count() < REPEATS:
        made = actions.repeat(experiment, by="verdict")
        why = f"{why}; but {strange}: #{made.number} trains it again with another seed first"
        experiment.move_to(State.EVALUATING, by="verdict", why=why, detail=why, badges=badges)
    else:
        why = f"Not believed: {strange}, and it could not be trained again with another seed. It was {why}"
        experiment.move_to(State.DISCARDED, by="verdict", why=why, detail=why, badges=badges)


def _repeats(experiment: Experiment) -> QuerySet[Experiment]:
    return experiment.run.experiments.filter(kind=Kind.REPEAT, subject=experiment).order_by("number")


def _repeated(experiment: Experiment) -> Experiment | None:
    """The last repeat whose score counts."""
    scored = _repeats(experiment).filter(score__isnull=False).exclude(state__in=LIVE)
    return next((one for one in scored.reverse() if not NEVER_KEPT & set(one.badges)), None)


def refuted(experiment: Experiment, before: Experiment) -> str:
    """Why a gain over `before` that seemed too good is not one: another seed, or the secret text, does not show it."""
    again = _repeated(experiment) if Badge.IMPLAUSIBLE in experiment.badges else None
    if again is None or experiment.score is None or again.score is None or before.score is None:
        return ""
    if not judging.holds(experiment.score, again.score, before.score):
        return f"with another seed it scored {again.score:.6f} in #{again.number}"
    secret, secret_before = experiment.secret_score, before.secret_score
    if secret is not None and secret_before is not None:
        expected = secret_before - (before.score - experiment.score)
        if not judging.holds(expected, secret, secret_before):
            return "on text that no researcher has a number of, the gain is not there"
    return ""
