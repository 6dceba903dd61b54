"""What counts as seen before in a run: a score is strange by what has stood, not by what one lucky or forged number said."""

from __future__ import annotations

import pytest

from experiments.loop import engine, judging
from experiments.loop.strange_score import stood
from experiments.models import Experiment, Run
from experiments.states import Badge, Kind, Mode, State
from tests.factories import make_experiment, make_program, make_run

pytestmark = pytest.mark.django_db


@pytest.fixture
def run() -> Run:
    """Three keeps, of which the second gained much. None of them was tried again."""
    run = make_run(make_program(), mode=Mode.APPROVE_KEEPS)
    for score in (2.10, 2.05, 1.70, 1.52):
        make_experiment(run, State.KEPT, score)
    return run


def tried_again(run: Run, number: int, score: float, **fields: object) -> Experiment:
    tried = run.experiments.get(number=number)
    return make_experiment(run, State.DISCARDED, score, kind=Kind.REPEAT, subject=tried, commit=tried.commit, **fields)


def strange(run: Run, score: float) -> str:
    return judging.implausible(score, stood(run, run.best.score), None)


def test_an_earlier_lucky_gain_makes_room_for_no_larger_one(run):
    assert stood(run, 1.52) == 2.10
    assert "55% below 2.1000" in strange(run, 0.94)


def test_what_another_seed_has_shown_is_measured_from(run):
    tried_again(run, 3, 1.54)
    assert (stood(run, 1.52), strange(run, 1.30)) == (1.54, "")
    assert "39% below 1.5400" in strange(run, 0.94)


def test_a_repeat_that_did_not_hold_or_cheated_shows_nothing(run):
    tried_again(run, 3, 2.06)
    tried_again(run, 2, 1.71, badges=[Badge.VERIFIED, Badge.OVERTIME])
    assert stood(run, 1.52) == 2.06


def test_what_a_person_has_believed_is_not_asked_about_again(run):
    run.experiments.filter(number=3).update(badges=[Badge.VERIFIED, Badge.IMPLAUSIBLE])
    assert stood(run, 1.52) == 1.52


def test_what_was_taken_back_no_longer_counts(run):
    tried_again(run, 3, 1.54)
    run.experiments.filter(number=3).update(state=State.REVERTED)
    assert stood(run, 1.70) == 2.10


def test_the_verdict_measures_by_it(run, monkeypatch):
    """38% at once, after a gain of a sixth: it was kept without a mark."""
    monkeypatch.setattr(engine.chain, "sync_branch", lambda run: None)
    forged = make_experiment(run, State.EVALUATING, 0.94, parent=run.best, kind=Kind.MANUAL)
    assert engine.decide(forged.pk)
    forged.refresh_from_db()
    assert (forged.state, Badge.IMPLAUSIBLE in forged.badges) == (State.CONFIRMING, True)
