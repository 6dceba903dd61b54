"""What the activity card of a run shows: what is under way, what comes next, what came out last."""

from __future__ import annotations

from dataclasses import dataclass, field

from django.utils import timezone
from redis.exceptions import RedisError

from experiments import diffs, loading, planning, presence
from experiments.loading import Loading
from experiments.models import Experiment, Program, Run
from experiments.researcher.strategy import Plan
from experiments.states import ON_DEVICE, Badge, RunState, State

AXES = (("seconds", "Seconds"), ("step", "Steps"), ("tokens", "Tokens"))  # of a curve: field of a point, word
_BIG = ON_DEVICE | {State.REVIEWING}
_ASKING = {State.REVIEWING, State.CONFIRMING}
_ORDER = [State.TRAINING, State.EVALUATING, State.CONFIRMING, State.REVIEWING, State.READY, State.PROPOSING]


@dataclass(frozen=True)
class Item:
    experiment: Experiment
    waits_for: str = ""  # READY, or a stage that nobody has taken up yet
    loading: Loading | None = None  # how far the data is that it waits for
    aside: str = ""  # what a person should know before they decide

    @property
    def files(self) -> tuple[diffs.FileDiff, ...]:
        return diffs.parse(self.experiment.diff)


@dataclass(frozen=True)
class Activity:
    now: list[Item] = field(default_factory=list)  # shown in full
    coming: list[Item] = field(default_factory=list)  # one line each
    last: Item | None = None
    best: Experiment | None = None
    idle: str = ""  # nothing is under way: what will come
    axes: tuple[tuple[str, str], ...] = AXES
    plan: Plan | None = None  # which kind of idea is due; None where nobody would read it

    @property
    def asks(self) -> Experiment | None:
        """The first that waits for a person: the keys A and R are its."""
        return next((item.experiment for item in self.now if item.experiment.state in _ASKING), None)


def activity(run: Run) -> Activity:
    light = run.experiments.defer("prompt", "edits", "memo")
    live = sorted(light.filter(state__in=_ORDER), key=_place)
    on_device = [one for one in live if one.state in ON_DEVICE and not one.is_repeated_first]
    best = run.best
    items = [Item(one, _waits_for(run, one, on_device), _loading(run, one), _aside(one, best)) for one in live]
    now = [item for item in items if item.experiment.state in _BIG and not item.experiment.is_repeated_first] or items[:1]
    last = light.filter(finished_at__isnull=False).select_related("parent").order_by("-finished_at", "-number").first()
    return Activity(
        now=now,
        coming=[item for item in items if item not in now],
        last=Item(last) if last else None,
        best=best,
        idle="" if items else _idle(run),
        plan=planning.plan_for(run) if _plans(run) else None,
    )


def _place(experiment: Experiment) -> tuple[bool, int, int]:
    """What only waits for another training comes last."""
    return experiment.is_repeated_first, _ORDER.index(State(experiment.state)), experiment.number


def _loading(run: Run, experiment: Experiment) -> Loading | None:
    return loading.of_run(run) if experiment.state == State.READY and experiment.worker else None


def _plans(run: Run) -> bool:
    """The built-in sweep has a plan of its own."""
    return run.state != RunState.ENDED and run.program.researcher != Program.Researcher.SWEEP


def _waits_for(run: Run, experiment: Experiment, on_device: list[Experiment]) -> str:
    if experiment.is_repeated_first:
        return "Its score seems too good: another seed says whether it holds."
    if experiment.state == State.READY:
        if run.state == RunState.PAUSED:
            return "The run is paused. It trains after you resume."
        if on_device:
            numbers = ", ".join(f"#{other.number}" for other in on_device)
            return f"It trains as soon as {numbers} is through."
        return _no_worker("gpu") or experiment.detail or f"It starts as soon as a device is free{_holders(run)}."
    if experiment.state == State.PROPOSING and not experiment.worker:
        if run.state == RunState.PAUSED:
            return "The run is paused. The idea is worked out after you resume."
        if run.ask_at and run.ask_at > timezone.now() and experiment.strategy != "sweep":
            return "The researcher did not answer. It is asked again soon: see above."
        return _no_worker("think") or "A worker takes it up in a moment."
    return ""


def _holders(run: Run) -> str:
    """What other runs train on the devices."""
    others = Experiment.objects.filter(state__in=ON_DEVICE).exclude(run=run).select_related("run__program").order_by("pk")
    others = others.exclude(state=State.EVALUATING, badges__icontains=Badge.IMPLAUSIBLE)
    found = [f"#{other.number} of {other.run}" for other in others.defer("prompt", "edits", "memo", "diff")[:3]]
    return f": now {', '.join(found)} {'train' if len(found) > 1 else 'trains'}" if found else ""


def _aside(experiment: Experiment, best: Experiment | None) -> str:
    moved = best is not None and experiment.parent_id != best.pk and not experiment.branches_from(best)
    if experiment.state == State.REVIEWING and best and moved:
        return (
            f"The best is #{best.number} by now. Approved, the same change is put on it; where it does not fit, "
            "another one is worked out and you are asked again."
        )
    if experiment.attempt > 1 and experiment.state in {State.PROPOSING, State.REVIEWING}:
        again = experiment.moves.filter(old=State.READY, new=State.PROPOSING).order_by("-pk").first()
        return f"Worked out anew: {again.why}." if again else ""
    return ""


def _no_worker(queue: str) -> str:
    try:
        found = presence.workers().get(queue, 0)
    except (RedisError, OSError):
        return "Redis does not answer, so no worker can be asked. Start it; the run goes on by itself."
    if found:
        return ""
    return f"No {queue} worker is running. Start one with: python manage.py up. The run then goes on by itself."


def _idle(run: Run) -> str:
    if run.state == RunState.PAUSED:
        return "Paused: nothing starts until you resume."
    if run.state == RunState.ENDED:
        if run.source:
            return "This run was imported: a record of what was tried elsewhere."
        return "This run has ended. Resume it to go on from the best."
    limit = run.limit_reached()
    return limit[1] if limit else _no_worker("think") or "The next experiment starts in a moment."
