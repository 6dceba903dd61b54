"""What people do with a run: pause, resume, stop, limits, mode, roll back. Rows only; the loop has its own tests."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
from django.utils import timezone

from experiments.models import Experiment, Run
from experiments.states import IllegalMove, Mode, RunState, StaleState, State, StateError
from tests.factories import make_experiment, make_run

pytestmark = pytest.mark.django_db


def test_a_pause_leaves_what_trains_alone():
    run = make_run()
    training = make_experiment(run, State.TRAINING)
    run.pause(by="ada", now=False)
    training.refresh_from_db()
    assert (run.state, run.reason, training.state) == (RunState.PAUSED, "by_hand", State.TRAINING)


def test_a_pause_now_puts_what_trains_back_under_the_next_attempt():
    run = make_run()
    training = make_experiment(run, State.TRAINING)
    run.pause(by="ada", now=True)
    training.refresh_from_db()
    assert (training.state, training.attempt) == (State.READY, 2)


def test_a_pause_after_this_one_can_become_a_pause_now():
    run = make_run()
    training = make_experiment(run, State.TRAINING)
    run.pause(by="ada", now=False)
    run.pause(by="ada", now=True)
    training.refresh_from_db()
    assert (run.state, training.state) == (RunState.PAUSED, State.READY)


def test_a_second_pause_is_refused():
    run = make_run()
    run.pause(by="ada", now=False)
    with pytest.raises(IllegalMove):
        run.pause(by="bob", now=False)


def test_of_two_who_saw_the_same_run_only_the_first_moves_it():
    run = make_run()
    Run.objects.get().stop(by="bob")
    with pytest.raises(StaleState):
        run.pause(by="ada", now=False)
    assert Run.objects.get().state == RunState.ENDED


def test_a_stop_cancels_what_lives_and_leaves_what_is_finished():
    run = make_run()
    kept = make_experiment(run, State.KEPT, score=1.0)
    live = [make_experiment(run, state) for state in (State.TRAINING, State.REVIEWING, State.PROPOSING)]
    run.stop(by="ada")
    assert set(run.experiments.filter(pk__in=[row.pk for row in live]).values_list("state", flat=True)) == {"cancelled"}
    kept.refresh_from_db()
    assert (kept.state, run.state, run.ended_at is None) == (State.KEPT, RunState.ENDED, False)


def test_resume_is_refused_while_a_limit_is_reached():
    run = make_run(max_experiments=1, state=RunState.ENDED)
    make_experiment(run, State.KEPT, score=1.0)
    with pytest.raises(StateError, match=r"The limit of experiments is reached: 1\. Raise the limit first"):
        run.resume(by="ada")
    run.set_limits(max_experiments=2, hours=None, by="ada")
    run.resume(by="ada")
    assert (run.state, run.detail, run.ended_at) == (RunState.ACTIVE, "", None)


@pytest.mark.parametrize(
    ("limits", "reason", "words"),
    [
        ({"max_cost": 0.50}, "cost", r"\$0\.60 of at most \$0\.50 are spent"),
        ({"max_tokens": 4000}, "cost", "4,400 of at most 4,000 tokens are spent"),
        ({"max_without_gain": 2}, "no_gain", "2 experiments in a row brought no gain"),
        ({"max_cost": 0.70, "max_tokens": 5000, "max_without_gain": 3}, None, ""),
    ],
)
def test_what_is_spent_and_brings_nothing_ends_a_run(limits, reason, words):
    run = make_run()
    make_experiment(run, State.KEPT, score=1.0)
    for state in (State.DISCARDED, State.FAILED):
        make_experiment(run, state, cost=0.30, tokens_in=2000, tokens_out=200)
    make_experiment(run, State.CANCELLED)  # a person's doing: it says nothing of the ideas
    run.set_limits(max_experiments=None, hours=None, by="ada", **limits)
    found = run.limit_reached()
    assert (found and found[0]) == reason
    assert found is None or re.search(words, found[1])


def test_the_last_experiment_that_was_allowed_may_be_finished_after_a_pause():
    run = make_run(max_experiments=1)
    make_experiment(run, State.READY)
    run.pause(by="ada", now=False)
    run.resume(by="ada")
    assert run.is_active


def test_resume_is_refused_behind_the_deadline():
    run = make_run(deadline_at=timezone.now() - timedelta(hours=1), state=RunState.PAUSED)
    make_experiment(run, State.READY)
    with pytest.raises(StateError, match=r"deadline of .* has passed\. Raise the limit first"):
        run.resume(by="ada")


def test_a_change_of_mode_stands_in_the_audit_log():
    run = make_run()
    run.set_mode(Mode.APPROVE_BOTH, by="ada")
    move = run.moves.get()
    assert (move.old, move.new, move.by) == ("mode: autopilot", "mode: approve both", "ada")
    assert Run.objects.get().mode == Mode.APPROVE_BOTH


def keeps(run: Run, count: int) -> list:
    return [make_experiment(run, State.KEPT, score=1.0 - number / 10) for number in range(count)]


def states(run: Run) -> list[str]:
    return list(run.experiments.order_by("number").values_list("state", flat=True))


def test_a_roll_back_marks_the_later_keeps_and_a_roll_forward_takes_them_again():
    run = make_run()
    rows = keeps(run, 4)
    run.make_best(rows[1], by="ada")
    assert states(run) == ["kept", "kept", "reverted", "reverted"]
    assert run.best == rows[1]
    rows[2].refresh_from_db()
    run.make_best(rows[2], by="ada")
    assert states(run) == ["kept", "kept", "kept", "reverted"]
    assert run.best == rows[2]


def test_a_roll_to_another_branch_of_the_tree_keeps_exactly_its_chain():
    run = make_run()
    rows = keeps(run, 3)
    run.make_best(rows[0], by="ada")
    other = make_experiment(run, State.KEPT, score=0.5)
    assert other.parent == rows[0]
    rows[2].refresh_from_db()
    run.make_best(rows[2], by="ada")
    assert states(run) == ["kept", "kept", "kept", "reverted"]


@pytest.mark.parametrize("state", [State.DISCARDED, State.FAILED, State.TRAINING])
def test_only_a_keep_can_be_rolled_back_to(state):
    run = make_run()
    keeps(run, 2)
    with pytest.raises(StateError, match="was never kept"):
        run.make_best(make_experiment(run, state), by="ada")
    assert states(run)[:2] == ["kept", "kept"]


def test_a_pause_now_ends_a_proposal_under_way():
    run = make_run()
    idea = make_experiment(run, State.PROPOSING, worker="host:1:2", commit="")
    run.pause(by="ada", now=True)
    fresh = Experiment.objects.get(pk=idea.pk)
    assert (fresh.state, fresh.attempt, fresh.worker) == (State.PROPOSING, 2, "")
    assert not idea.beat()  # whoever works on it learns that it is no longer theirs
