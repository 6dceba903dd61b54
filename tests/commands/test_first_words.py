"""The end of the first screen: what each run does, or why it cannot and what to do. Never "ready" alone."""

from __future__ import annotations

import pytest

from experiments.management.first_words import PATIENCE_SECONDS, FirstWords
from experiments.states import Failure, RunState, State
from tests.factories import add_points, make_experiment, make_program, make_run

pytestmark = pytest.mark.django_db


@pytest.fixture
def run():  # type: ignore[no-untyped-def]
    return make_run()


def test_a_training_is_named_with_its_length_once_it_has_made_a_step(run) -> None:  # type: ignore[no-untyped-def]
    words = FirstWords(0.0)
    baseline = make_experiment(run, State.READY)
    assert list(words.new(1.0)) == []
    type(baseline).objects.update(state=State.TRAINING)
    assert list(words.new(2.0)) == [], "the sandbox or the judge may not work"
    add_points(baseline, [5.5])
    assert list(words.new(3.0)) == ["demo: training #0, 20 s each"]
    assert list(words.new(4.0)) == []


def test_a_training_that_breaks_at_its_start_was_no_training(run) -> None:  # type: ignore[no-untyped-def]
    words = FirstWords(0.0)
    baseline = make_experiment(run, State.TRAINING)
    assert list(words.new(1.0)) == []
    late = PATIENCE_SECONDS + 1
    assert list(words.new(late)) == ["demo: #0 is starting; its first step is still to come"]
    assert list(words.new(late + 1)) == [], "once"
    baseline.fail(Failure.CRASH, "The sandbox could not be set up: bwrap: …", by="loop")
    run.pause(by="loop", now=False, reason="baseline_failed", why="The unchanged program does not train: crash. Look at #0.")
    assert list(words.new(late + 2)) == [
        "demo: cannot train, because The unchanged program does not train: crash. Look at #0."
    ]


def test_a_run_that_cannot_train_says_why_and_what_to_do(run) -> None:  # type: ignore[no-untyped-def]
    words = FirstWords(0.0)
    why = "The data could not be prepared. `python prepare.py` said:\nprepare: torch is not installed. Install it."
    run.pause(by="loop", now=False, reason="data", why=why)
    (line,) = words.new(1.0)
    assert line.startswith("demo: cannot train, because The data could not be prepared.") and "\n" not in line
    assert line.endswith("torch is not installed. Install it.")


def test_a_pause_by_hand_is_no_trouble(run) -> None:  # type: ignore[no-untyped-def]
    run.pause(by="ada", now=False)
    assert list(FirstWords(0.0).new(1.0)) == ["demo: is paused: Paused by hand. Resume when ready."]


def test_after_a_while_it_says_what_is_waited_for(run) -> None:  # type: ignore[no-untyped-def]
    words = FirstWords(0.0)
    make_experiment(run, State.REVIEWING, number=3)
    assert list(words.new(1.0)) == []
    assert list(words.new(PATIENCE_SECONDS + 1)) == ["demo: #3 waits for you"]


def test_each_open_run_has_its_line_and_ended_ones_none(run) -> None:  # type: ignore[no-untyped-def]
    make_run(make_program("old"), tag="night", state=RunState.ENDED)
    make_run(make_program("copy"), tag="upstream", source="https://example.org/x")
    other = make_run(make_program("mine"), tag="night")
    words = FirstWords(0.0)
    for one in (run, other):
        add_points(make_experiment(one, State.TRAINING), [5.5])
    assert list(words.new(1.0)) == ["demo: training #0, 20 s each", "mine/night: training #0, 20 s each"]
