"""One experiment's path, stage by stage: propose, train, decide. Read it from top to bottom.

Each stage claims the row, does its work, and ends with one move. It can be killed at any point and done again:
reconcile.py finds the row, and the attempt keeps a late writer out. A stage returns False where there was nothing to do:
its message was a double, or came too late.
"""

from __future__ import annotations

import errno
import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

from django.db import transaction
from django.utils import timezone

from experiments import events, presence
from experiments.loop import (
    answers,
    asking,
    barred,
    caches,
    chain,
    devices,
    gpu_trouble,
    grants,
    judging,
    outage,
    payload,
    reexamining,
    standby,
    strange_score,
    sweeping,
    told,
    training,
    verdict,
)
from experiments.loop.errors import LimitReached, MergeConflict, NotReady, StageError
from experiments.loop.lease import Lease, heartbeat
from experiments.loop.proposing import ReplyWriter, build_context, ideas_for, note_ideas
from experiments.loop.workspace import Workspace
from experiments.models import Experiment, Program, Run
from experiments.researcher.base import Researcher, ResearcherAway, ResearcherError
from experiments.researcher.edits import edits_to_json
from experiments.researcher.sameness import whole_key
from experiments.states import Badge, Failure, Kind, Mode, RunState, StaleState, State, StateError
from trainer.output import Summary, parse_summary

log = logging.getLogger(__name__)
stopping = threading.Event()  # set when this worker is told to end: let go of trainings, their shims go on


def load(experiment_id: int) -> Experiment:
    return Experiment.objects.select_related("run__program", "parent", "subject", "brief").get(pk=experiment_id)


@contextmanager
def stage(experiment: Experiment) -> Iterator[None]:
    """The one place where expected failures become states; a bug leaves the row to the next worker."""
    try:
        yield
    except StaleState as error:
        log.info("let go: %s", error)
    except StageError as error:
        _fail(experiment, error.reason, error.detail)
    except NotReady as error:
        _hold(experiment, error)
    except LimitReached as limit:
        _cancel(experiment, str(limit))
    except ResearcherAway as error:
        if experiment.run.program.researcher == Program.Researcher.COMMAND:  # it would be paid for once more, all night
            _fail(experiment, Failure.RESEARCHER_ERROR, str(error))
        else:
            _wait(experiment, str(error))
    except ResearcherError as error:
        _fail(experiment, Failure.RESEARCHER_ERROR, str(error))
        if experiment.strategy == outage.SWEEP:
            outage.repeat_from_now_on(experiment.run, str(error))
        else:
            _pause(experiment, "researcher", str(error))
    except OSError as error:
        if error.errno != errno.ENOSPC:
            experiment.release()
            raise
        _fail(experiment, Failure.DISK_FULL, f"The disk is full: {error}. Free some space, then resume the run.")
    except Exception:
        experiment.release()
        raise


def _fail(experiment: Experiment, reason: Failure, detail: str) -> None:
    try:
        experiment.fail(reason, detail, by="loop")
    except StaleState as error:
        log.info("let go: %s", error)


def _hold(experiment: Experiment, error: NotReady) -> None:
    try:
        experiment.requeue(by="loop", why=str(error)[:500], losses=0)  # after a resume it begins anew
        training.remove(experiment)
    except StaleState as stale:
        log.info("let go: %s", stale)
    _pause(experiment, error.cause, str(error))


def _cancel(experiment: Experiment, why: str) -> None:
    try:
        experiment.cancel(by="loop", why=why)
    except StaleState as error:
        log.info("let go: %s", error)


def _wait(experiment: Experiment, why: str) -> None:
    try:
        outage.went_away(experiment, why)
    except StaleState as error:
        log.info("let go: %s", error)


def _pause(experiment: Experiment, reason: str, why: str) -> None:
    try:
        experiment.run.pause(by="loop", now=False, reason=reason, why=why)
    except StateError as error:
        log.info("not paused: %s", error)


# 1. Propose


def propose(experiment_id: int) -> bool:
    """PROPOSING -> REVIEWING | READY: ask the researcher, take its edit, commit it."""
    experiment = load(experiment_id)
    if experiment.state != State.PROPOSING or not experiment.claim(presence.me()):
        return False
    with stage(experiment):
        run, program = experiment.run, experiment.run.program
        experiment.brief = program.brief
        experiment.store(asked_at=timezone.now())
        step = None if experiment.strategy == outage.SWEEP else sweeping.step_due(experiment)
        kind = "sweep" if experiment.strategy == outage.SWEEP else ""
        researcher: Researcher = step or asking.researcher_of(program, kind)
        plan, parent = asking.what_is_due(experiment, researcher)
        with heartbeat(experiment) as lease:
            writer = ReplyWriter(experiment, lease.check)
            ideas = ideas_for(experiment, researcher)
            context = build_context(experiment, parent, ideas, plan, context_tokens=researcher.context_tokens)
            proposal, files, change = asking.ask(experiment, context, researcher, writer, lease)
            if step is None and experiment.strategy != outage.SWEEP:
                outage.came_back(run, writer.called_at)
            heavy = payload.find(context.files, files)
            commit = chain.commit_files(experiment, parent, files, proposal.description)
            diff = Workspace(program.repo).diff(parent.commit, commit)
        mode = Mode(type(run).objects.values_list("mode", flat=True).get(pk=run.pk))
        if heavy and mode == Mode.AUTOPILOT:
            raise StageError(Failure.BAD_PATCH, heavy)
        with transaction.atomic():
            experiment.move_to(
                State.REVIEWING if mode.reviews_diffs or heavy else State.READY,
                by=researcher.label, why=proposal.description, detail=heavy,
                parent=parent, brief=experiment.brief, commit=commit, diff=diff, description=proposal.description[:200],
                hypothesis=proposal.hypothesis, edits=edits_to_json(proposal.edits), memo=dict(proposal.memo),
                proposed_at=timezone.now(), strategy=plan.strategy if researcher.reads_prompt else experiment.strategy,
                change_key=change.key, near_key=change.near_key[:400], whole_key=whole_key(files), theme=proposal.theme,
            )
            sweeping.note(experiment)
            note_ideas(experiment, proposal)
            for idea in ideas[:1]:  # it was at the head when this was proposed
                idea.take_up(experiment)
    return True


# 2. Train


def train(experiment_id: int, began: Callable[[int], None] | None = None) -> bool:
    """READY -> TRAINING -> EVALUATING | FAILED. A training whose worker died is adopted where it stands.

    `began` is told the run when the training has begun: there is room for the next idea.
    """
    experiment = load(experiment_id)
    with stage(experiment):
        if experiment.state == State.READY:
            if not experiment.run.is_active:
                return False
            try:
                devices.wait(training.devices_in_use)
                if not experiment.claim(presence.me()):
                    return False
                if not _begin(experiment):
                    return True
            except devices.AllBusy as busy:
                _wait_for_device(experiment, busy)
                return False  # the next look tries again
            if began:
                began(experiment.run_id)
        elif experiment.state != State.TRAINING or not _adopt(experiment):
            return False
        try:
            outcome = training.follow(experiment, stopping.is_set, standby.Preparing())
        except training.ShimLost:
            _lost(experiment)
            return True
        if outcome is None:
            _let_go(experiment)
        else:
            _finish(experiment, outcome)
    return True


def _begin(experiment: Experiment) -> bool:
    """Lay out the workspace and start the shim; False when the edit no longer fits the best, or the run was paused."""
    best, ready = experiment.run.best, True
    gpu_trouble.check_kind(experiment)
    with heartbeat(experiment) as lease:
        training.end_orphans()
        as_it_is = {Kind.REPEAT, Kind.REEXAMINED}
        moved = best is not None and experiment.parent_id != best.pk and experiment.kind not in as_it_is
        elsewhere = best is not None and moved and not experiment.branches_from(best)
        if best is not None and elsewhere and not _refit(experiment, best):
            return False
        Workspace(experiment.run.program.repo).set_ref(experiment.ref, experiment.commit)  # the row is the truth
        try:
            training.prepare_data(experiment, lambda: _still_wanted(experiment, lease))
        except training.NotWanted:
            ready = False
    if stopping.is_set():
        experiment.release()
        return False
    worker, now = presence.me(), timezone.now()
    with _chosen_device() as device, transaction.atomic():
        if not Run.locked(experiment.run_id).is_active or not ready:
            experiment.requeue(by="loop", why="the run was paused before the training began")
            return False
        experiment.move_to(
            State.TRAINING, by="loop", worker=worker, heartbeat_at=now, training_at=now, trained_at=None, detail="",
            workspace=standby.pick(experiment) or f"{experiment.pk}-{experiment.attempt}",
            device=device, hardware=devices.facts(device),
        )
    try:
        with heartbeat(experiment):
            training.start(experiment)
    except FileNotFoundError as error:
        raise StageError(Failure.CRASH, f"The workspace could not be laid out: {error}. Mend the recipe's files.") from error
    return True


@contextmanager
def _chosen_device() -> Iterator[str]:
    """The device is asked before the transaction: a driver that takes seconds must not hold the database."""
    with devices.choosing():
        device = devices.free(training.devices_in_use())
        devices.facts(device)
        yield device


def _wait_for_device(experiment: Experiment, busy: devices.AllBusy) -> None:
    """The row stays in its place, with the reason; pages are told where that is new."""
    why = f"Waits: {busy}."
    news, claimed = experiment.detail != why, bool(experiment.worker)
    experiment.store(worker="", heartbeat_at=None, detail=why)
    if news or claimed:
        events.changed(experiment.run_id, "experiment", experiment.pk)


def _still_wanted(experiment: Experiment, lease: Lease) -> None:
    """Asked while its data is loaded. Raises StaleState when it was cancelled, NotWanted when it must not begin now."""
    lease.check()
    if stopping.is_set() or not Run.objects.filter(pk=experiment.run_id, state=RunState.ACTIVE).exists():
        raise training.NotWanted


def _refit(experiment: Experiment, best: Experiment) -> bool:
    try:
        chain.refit(experiment, best)
        return True
    except MergeConflict as conflict:
        why = f"the best is now #{best.number}, and the edit does not fit it: {conflict}"
        if experiment.kind != Kind.IDEA:
            raise StageError(Failure.BAD_PATCH, why) from conflict
    keys = {"change_key": "", "near_key": "", "whole_key": ""}
    experiment.move_to(State.PROPOSING, by="loop", why=why, attempt=experiment.attempt + 1, parent=best, **keys)
    return False


def _adopt(experiment: Experiment) -> bool:
    """Take a training over from a worker that died."""
    dead = experiment.is_stale or (experiment.worker and presence.is_gone(experiment.worker))
    return bool(dead and experiment.take_over(presence.me()))


def _lost(experiment: Experiment, why: str = "The training's supervising process died.") -> None:
    """What holds the training died and took it along: once is tried again, twice is a failure."""
    training.sweep(training.folder_of(experiment))
    training.remove(experiment)
    if experiment.losses:
        raise StageError(Failure.WORKER_LOST, f"Twice now: {why} Was it killed, or is memory short?")
    experiment.requeue(by="loop", why=why[:500], losses=1)


def _let_go(experiment: Experiment) -> None:
    """Either this worker ends (the shim goes on, the next worker adopts it), or the row has moved: then it is over.

    Unless we were taken for dead: then another worker follows this very training.
    """
    if stopping.is_set():
        experiment.release()
    elif not training.is_wanted(experiment.workspace):
        training.stop(experiment)
        training.remove(experiment)


def _finish(experiment: Experiment, outcome: training.Outcome) -> None:
    """Store the result, then remove the files: a database that is away for a while costs nothing."""
    summary, now = parse_summary(outcome.log), timezone.now()
    if outcome.result.ended == "stopped":  # by the shutdown of this machine's processes: not the training's fault
        experiment.requeue(by="loop", why="stopped with the server")
        training.remove(experiment)
        return
    if outcome.result.ended == "judge_lost":
        _lost(experiment, outcome.result.detail)
        return
    program = experiment.run.program
    seen = judging.measured(outcome.result, outcome.log)
    judged = judging.judge(
        outcome.result, outcome.log, summary, outcome.report, has_exam=program.has_exam, metric=program.metric,
        budget_seconds=program.budget_seconds, deadline_seconds=program.deadline_seconds,
        startup_seconds=experiment.run.startup_seconds, grant=grants.grant(experiment), seen=seen,
    )
    began = caches.settle(experiment)
    if judged.failure and not began and _starts_cold(experiment, judged.failure.reason, outcome):
        return
    if judged.failure and gpu_trouble.takes_back(experiment, judged.failure.reason, outcome.log):
        return
    report = {key: value for key, value in (outcome.report or {}).items() if key != "secret_bpb"}
    facts: dict[str, Any] = {"trained_at": now, "sandbox": outcome.result.sandbox, "badges": list(judged.badges)}
    if report:
        facts["exam"] = {
            **report, **seen, "overtime": judged.overtime, "before": told.before_exam(outcome.before_exam),
        }  # fmt: skip
    if judged.failure:
        reason = judged.failure.reason
        facts["badges"] = [reason] if reason in {Failure.TAMPERED, Failure.LEAK} else []
        experiment.fail(reason, judged.failure.detail, by="loop", **facts)
    else:
        caches.take(experiment, training.folder_of(experiment))
        answers.take(experiment, training.folder_of(experiment))
        values = {key: value for key, value in asdict(summary or Summary(None)).items() if isinstance(value, int | float)}
        experiment.move_to(
            State.EVALUATING, by="loop", score=judged.score, secret_score=judged.secret_score, summary=values, **facts
        )
    training.remove(experiment)
    if experiment.state == State.EVALUATING:
        decide(experiment.pk)


def _starts_cold(experiment: Experiment, reason: Failure, outcome: training.Outcome) -> bool:
    """Back into its place, where what was compiled for its parent may be to blame: the next try gets nothing of it."""
    folder, exit_code = training.folder_of(experiment), outcome.result.exit_code
    if not caches.are_to_blame(experiment, folder, reason, exit_code, outcome.log):
        return False
    experiment.requeue(by="loop", why="it failed in what was compiled for its parent: once more, without that")
    training.remove(experiment)
    return True


# 3. Decide


def decide(experiment_id: int) -> bool:
    """EVALUATING -> CONFIRMING | KEPT | DISCARDED, then the branch follows."""
    experiment = load(experiment_id)
    if experiment.state != State.EVALUATING or not experiment.claim(presence.me()):
        return False
    with stage(experiment):
        if barred.trains_the_same(experiment):  # asked before the database is held: it takes a while
            experiment.badges = [*experiment.badges, Badge.SEED_ONLY]
        with transaction.atomic():
            _rule(experiment)
    if experiment.state in {State.KEPT, State.DISCARDED}:
        chain.sync_branch(experiment.run)
        chain.note_metrics(experiment)
    return True


def _rule(experiment: Experiment) -> None:
    """Where it goes, by its score and all that is known of it."""
    assert experiment.score is not None
    run = Run.locked(experiment.run_id)  # two verdicts at once share no best
    best = run.best
    ruling = verdict.classic(
        experiment.score, best.score if best else None, best_number=best.number if best else None,
        lines=experiment.lines_changed, lower_is_better=run.program.lower_is_better,
    )
    bar, strange = barred.why_barred(experiment, best), ""
    if ruling.keep and best is not None and best.score is not None and run.program.lower_is_better:
        strange = judging.implausible(
            experiment.score, strange_score.stood(run, best.score), experiment.summary.get("mfu_percent"),
            is_bpb=run.program.has_exam or run.program.metric == "val_bpb",
        )
    if experiment.kind == Kind.REEXAMINED:
        reexamining.decide(experiment, best)
    elif bar or not ruling.keep:
        why = f"{bar} {ruling.why}".strip()
        experiment.move_to(State.DISCARDED, by="verdict", why=why, detail=why, badges=experiment.badges)
    elif best is not None and (refuted := strange_score.refuted(experiment, experiment.parent or best)):
        why = f"Not believed: {refuted}. It was {ruling.why}"
        experiment.move_to(State.DISCARDED, by="verdict", why=why, detail=why)
    elif best is not None and experiment.parent_id != best.pk and not experiment.branches_from(best):
        _try_on_best(experiment, best, ruling.why)
    elif strange and best is not None:
        experiment.badges = sorted({*experiment.badges, Badge.IMPLAUSIBLE}, key=list(Badge).index)
        strange_score.settle(experiment, strange, ruling.why)
    elif Mode(run.mode).confirms_keeps and best is not None:
        experiment.move_to(State.CONFIRMING, by="verdict", why=ruling.why, detail=ruling.why)
    else:
        experiment.keep(by="verdict", why=ruling.why, detail=ruling.why)


def _try_on_best(experiment: Experiment, best: Experiment, why: str) -> None:
    """It won, but over a parent that is no longer the best: the same change is tried on the best of now."""
    again = _create_on(experiment, best)
    experiment.move_to(
        State.DISCARDED, by="verdict", why=f"{why}; tried again on #{best.number} as #{again.number}",
        detail=f"{why}. It was trained on #{experiment.parent.number if experiment.parent else '?'}, "
        f"which is no longer the best: tried again on #{best.number} as #{again.number}.",
    )


def _create_on(experiment: Experiment, best: Experiment) -> Experiment:
    run = experiment.run
    again = Experiment.objects.create(
        run=run, number=run.next_number(), kind=Kind.REBASE, state=State.READY, parent=experiment.parent,
        subject=experiment, brief=experiment.brief, commit=experiment.commit, description=experiment.description,
        hypothesis=experiment.hypothesis, edits=experiment.edits, memo=experiment.memo, diff=experiment.diff,
        seed=experiment.seed, proposed_at=timezone.now(), theme=experiment.theme, change_key=experiment.change_key,
        near_key=experiment.near_key,
    )
    Workspace(run.program.repo).set_ref(again.ref, again.commit)
    run.record("loop", f"#{again.number} created", why=f"#{experiment.number} on #{best.number}")
    return again

