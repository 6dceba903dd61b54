"""move_to, the only writer of an experiment's state: checked, compared and set, recorded."""

from __future__ import annotations

import pytest
from django.utils import timezone

from experiments.models import Experiment
from experiments.states import Failure, IllegalMove, StaleState, State
from tests.factories import make_experiment, make_run

pytestmark = pytest.mark.django_db


def test_a_move_sets_the_state_its_fields_and_a_line_in_the_audit_log():
    experiment = make_experiment(make_run(), State.EVALUATING, worker="w", heartbeat_at=timezone.now())
    experiment.move_to(State.KEPT, by="verdict", why="better", detail="better by 0.1")
    row = Experiment.objects.get(pk=experiment.pk)
    assert (row.state, row.detail, row.worker, row.heartbeat_at) == (State.KEPT, "better by 0.1", "", None)
    assert row.finished_at is not None and experiment.finished_at == row.finished_at
    move = row.moves.get()
    assert (move.run, move.old, move.new, move.by, move.why) == (row.run, "evaluating", "kept", "verdict", "better")


def test_a_move_that_the_table_does_not_have_changes_nothing():
    experiment = make_experiment(make_run(), State.DISCARDED)
    with pytest.raises(IllegalMove):
        experiment.move_to(State.KEPT, by="ada")
    assert Experiment.objects.get().state == State.DISCARDED
    assert not experiment.moves.exists()


def test_of_two_who_saw_the_same_state_only_the_first_moves_it():
    experiment = make_experiment(make_run(), State.REVIEWING)
    mine, theirs = Experiment.objects.get(), Experiment.objects.get()
    theirs.reject(by="bob", why="no")
    with pytest.raises(StaleState, match="no longer reviewing"):
        mine.approve(by="ada")
    assert Experiment.objects.get().state == State.CANCELLED
    assert [move.by for move in experiment.moves.all()] == ["bob"]


def test_another_attempt_is_refused():
    experiment = make_experiment(make_run(), State.TRAINING)
    Experiment.objects.update(attempt=2)
    with pytest.raises(StaleState):
        experiment.fail(Failure.CRASH, "too late", by="loop")
    assert Experiment.objects.get().state == State.TRAINING


def test_a_failure_keeps_its_reason_and_its_detail():
    experiment = make_experiment(make_run(), State.TRAINING)
    experiment.fail(Failure.OOM, "CUDA out of memory", by="loop")
    row = Experiment.objects.get()
    assert (row.state, row.reason, row.detail) == (State.FAILED, "oom", "CUDA out of memory")
    assert row.moves.get().why == "oom: CUDA out of memory"


def test_the_time_of_the_end_stays_when_a_keep_is_rolled_back():
    experiment = make_experiment(make_run(), State.KEPT, score=1.0)
    ended = experiment.finished_at
    experiment.move_to(State.REVERTED, by="ada")
    assert Experiment.objects.get().finished_at == ended


@pytest.mark.parametrize("state", [State.READY, State.TRAINING, State.KEPT, State.FAILED])
def test_there_is_nothing_to_approve_or_to_reject_but_what_waits_for_a_person(state):
    experiment = make_experiment(make_run(), state)
    with pytest.raises(Exception, match="nothing to approve"):
        experiment.approve(by="ada")
    with pytest.raises(Exception, match="nothing to reject"):
        experiment.reject(by="ada", why="no")
    assert not experiment.moves.exists()


def test_a_keep_is_not_confirmed_on_a_best_that_has_moved_away():
    run = make_run()
    make_experiment(run, State.KEPT, score=1.0)
    second = make_experiment(run, State.KEPT, score=0.9)
    waiting = make_experiment(run, State.CONFIRMING, score=0.8)
    second.move_to(State.REVERTED, by="ada")
    with pytest.raises(Exception, match="does not change the best of now"):
        waiting.approve(by="ada")
    second.move_to(State.KEPT, by="ada")
    waiting.approve(by="ada")
    assert run.best == waiting
