"""Level-triggered: looks at the rows of a run and sends what is due. Runs after every move and every few seconds.

A lost message is healed by the next look, a doubled one loses the compare-and-set.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable
from itertools import takewhile

from django.conf import settings
from django.db import transaction
from django.db.models import Case, Q, When
from django.utils import timezone

from experiments import presence
from experiments.loop import ahead, chain, outage, reexamining, training
from experiments.loop.proposing import crash_to_repair
from experiments.loop.workspace import Workspace
from experiments.models import Experiment, Program, Run
from experiments.states import LIVE, ON_DEVICE, WORKED, Badge, Failure, Kind, Mode, Outage, RunState, State, StateError
from trainer.output import last_words

log = logging.getLogger(__name__)
Enqueue = Callable[[str, int], None]  # stage name, experiment id
Due = list[tuple[str, int]]
MAX_ATTEMPTS = 30  # a row that was taken over so often meets a bug, not bad luck
REPAIRABLE = frozenset({Program.Researcher.LITELLM, Program.Researcher.COMMAND})


def tick(enqueue: Enqueue) -> None:
    training.end_orphans()
    open_runs = Run.objects.filter(~Q(state=RunState.ENDED) | Q(experiments__state__in=LIVE)).distinct()
    for run_id in open_runs.values_list("pk", flat=True):
        try:
            reconcile(run_id, enqueue)
        except Exception:  # the edge of the tick: one run's trouble must not stop the others
            log.exception("run %s could not be looked at; the next tick tries again", run_id)


def reconcile(run_id: int, enqueue: Enqueue) -> None:
    with transaction.atomic():
        run = Run.locked(run_id)  # two looks at once would create two experiments
        due = _heal(run)
        if run.is_active:
            _guard(run)
        if run.is_active:
            _ask_nobody_in_vain(run)
            _create_next(run)
        due += _due(run)
    if run.reason != "branch_moved" or run.is_active:
        chain.sync_branch(run)
    for stage, experiment_id in due:
        enqueue(stage, experiment_id)


def _heal(run: Run) -> Due:
    """Rows whose worker died go back to the start of their stage; a training is adopted where it stands."""
    due: Due = []
    for experiment in run.experiments.filter(state__in=WORKED).exclude(worker=""):
        if not (experiment.is_stale or presence.is_gone(experiment.worker)):
            continue
        if experiment.attempt >= MAX_ATTEMPTS:
            experiment.fail(Failure.WORKER_LOST, f"Given up after {MAX_ATTEMPTS} tries: see var/log.", by="loop")
        elif experiment.state == State.TRAINING:
            due.append(("train", experiment.pk))
        else:
            experiment.requeue(by="loop", why="its worker died")
    return due


def _guard(run: Run) -> None:
    """Pause or end the run where a limit or a fault asks for it."""
    free_mb = shutil.disk_usage(settings.VAR_DIR).free // 2**20
    streak = _failures_in_a_row(run)
    disk_full = streak[:1] and streak[0].reason == Failure.DISK_FULL
    baseline = next((row for row in streak if row.kind == Kind.BASELINE), None)
    reexamined = next((row for row in streak if row.kind == Kind.REEXAMINED), None)
    if free_mb < settings.MIN_FREE_MB or disk_full:
        run.pause(
            by="loop", now=False, reason="disk_full",
            why=f"The disk is nearly full: {free_mb} MB left for var/, {settings.MIN_FREE_MB} needed. "
            "Free some space, then resume. Nothing is lost.",
        )
    elif baseline:
        run.pause(
            by="loop", now=False, reason="baseline_failed",
            why=f"The unchanged program does not train: {_said(baseline)}. Look at #{baseline.number}, mend it, "
            "then resume: the baseline is trained again.",
        )
    elif reexamined:
        run.pause(by="loop", now=False, reason="best_failed", why=reexamining.said(reexamined))
    elif len(streak) >= settings.BREAKER_FAILURES:
        run.pause(
            by="loop", now=False, reason="circuit_breaker",
            why=f"{len(streak)} experiments in a row failed, the last with {streak[0].reason}: "
            f"{streak[0].detail[:300]} Mend the cause, then resume.",
        )
    else:
        _end_at_limit(run)


def _said(failed: Experiment) -> str:
    said = last_words(failed.detail) if failed.reason == Failure.CRASH else failed.detail
    return f"{failed.reason}: {said[:300].rstrip('.')}" if said else failed.reason


def _failures_in_a_row(run: Run) -> list[Experiment]:
    """The failures since the last success or resume, newest first."""
    done = run.experiments.filter(finished_at__gt=run.resumed_at).exclude(state=State.CANCELLED).defer("prompt", "diff")
    newest = done.order_by("-finished_at")[: settings.BREAKER_FAILURES]
    return list(takewhile(lambda row: row.state == State.FAILED, newest))


def _end_at_limit(run: Run) -> None:
    """Past a limit nothing new begins; what trains may finish."""
    limit = run.limit_reached()
    if limit is None:
        return
    reason, why = limit
    live = run.experiments.filter(state__in=LIVE)
    for_a_verdict = Q(kind=Kind.REPEAT, subject__state=State.EVALUATING)
    if reason in {"deadline", "cost"}:  # what was paid for may train, unless the time is over
        waiting = live.exclude(state__in=ON_DEVICE).exclude(for_a_verdict)
        for experiment in waiting if reason == "deadline" else live.filter(state=State.PROPOSING):
            experiment.cancel(by="loop", why=why)
    if not live.exists():
        run.stop(by="loop", reason=reason, why=why)


def _ask_nobody_in_vain(run: Run) -> None:
    """The mode was changed: what waits for a person who is no longer asked goes on."""
    mode = Mode(run.mode)
    why = f"the run is in {mode.replace('_', ' ')} now"
    for experiment in run.needs():
        is_strange = experiment.state == State.CONFIRMING and Badge.IMPLAUSIBLE in experiment.badges
        if experiment.state == State.REVIEWING:
            is_asked = mode.reviews_diffs or bool(experiment.detail)  # held back whatever the mode: see engine.propose
        else:
            is_asked = mode.confirms_keeps or (is_strange and mode.asks_of_the_strange)
        try:
            if experiment.state == State.REVIEWING and experiment.detail and mode == Mode.AUTOPILOT:
                experiment.fail(Failure.BAD_PATCH, experiment.detail, by="loop")
            elif is_strange and not is_asked:
                experiment.move_to(State.EVALUATING, by="loop", why=why)
            elif not is_asked:
                experiment.approve(by="loop", why=why)
        except StateError as error:  # the best has moved away from under it: only a person can say
            log.info("still waits: %s", error)


def _create_next(run: Run) -> None:
    """Keep experiments in the pipeline ahead of each lane: while one trains, the next is being proposed."""
    foundation = run.best or run.experiments.filter(kind=Kind.BASELINE, state__in=LIVE).first()
    in_line = run.experiments.filter(state__in=LIVE - ON_DEVICE)
    limited = run.limit_reached()
    if (not limited or in_line.exists()) and reexamining.settle_first(run):
        return
    if limited:
        return
    if foundation is None:  # what waits cannot train without one: a failed baseline is tried again
        number = run.next_number()
        baseline = Experiment.objects.create(
            run=run, number=number, kind=Kind.BASELINE, state=State.READY, commit=run.base_commit,
            description="baseline", seed=run.seed, brief=run.program.brief,
        )
        Workspace(run.program.repo).set_ref(baseline.ref, run.base_commit)
        run.record("loop", f"#{number} created", why="baseline")
        return
    instead = run.away_since is not None and run.outage != Outage.WAIT and run.best is not None
    if instead and in_line.exclude(pk__in=outage.needs_researcher(run)).count() < run.lanes:
        outage.fill(run, foundation)
    for _ in range(ahead.wanted(run) - in_line.count()):
        if not run.limit_reached():
            _create_idea(run, foundation)


def _create_idea(run: Run, foundation: Experiment) -> None:
    number = run.next_number()
    crash = crash_to_repair(run) if run.program.researcher in REPAIRABLE else None
    Experiment.objects.create(
        run=run, number=number, kind=Kind.IDEA, state=State.PROPOSING, parent=foundation, subject=crash, seed=run.seed,
        description=f"repair of #{crash.number}" if crash else "",
    )
    run.record("loop", f"#{number} created", why=f"repair of #{crash.number}" if crash else "next idea")


def _due(run: Run) -> Due:
    """What may be worked on now and has no worker."""
    free = run.experiments.filter(worker="").order_by("number")
    repeats = run.experiments.filter(kind=Kind.REPEAT, state__in=LIVE, subject__badges__icontains=Badge.IMPLAUSIBLE)
    repeated = Q(state=State.EVALUATING, pk__in=repeats.values("subject"))
    trained = free.filter(state=State.EVALUATING).exclude(repeated)  # the others wait for what another seed says
    due = [("decide", pk) for pk in trained.values_list("pk", flat=True)]
    if not run.is_active:
        return due
    ideas = free.filter(state=State.PROPOSING)
    if outage.waits(run, timezone.now()):
        ideas = ideas.filter(strategy=outage.SWEEP)
    due += [("propose", pk) for pk in ideas.values_list("pk", flat=True)[: ahead.room(run)]]
    starting = Q(state=State.READY) & ~Q(worker="")
    lanes = run.lanes - run.experiments.filter(Q(state__in=ON_DEVICE) | starting).exclude(repeated).count()
    waited_for = Q(kind=Kind.MANUAL) | Q(kind=Kind.REPEAT, subject__state=State.EVALUATING)  # by a person, by a verdict
    ready = free.filter(state=State.READY).order_by(Case(When(waited_for, then=0), default=1), "number")
    if run.best is None:
        ready = ready.filter(kind=Kind.BASELINE)  # an idea waits until there is something to compare it with
    elif reexamining.is_due(run.best):
        ready = ready.filter(kind=Kind.REEXAMINED, subject=run.best)
    if lanes > 0:
        due += [("train", pk) for pk in ready.values_list("pk", flat=True)[:lanes]]
    return due
