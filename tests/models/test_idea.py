"""The queue of ideas: an order that people change, used up one by one; a pinned idea stays."""

from __future__ import annotations

import pytest

from experiments.models import Idea, Run, idea
from experiments.states import State, StateError
from tests.factories import make_experiment, make_run

pytestmark = pytest.mark.django_db


@pytest.fixture
def run() -> Run:
    run = make_run()
    for text in ("one", "two", "three"):
        Idea.add(run, text, by="ada")
    return run


def queue(run: Run) -> list[str]:
    return [one.text for one in run.ideas.waiting()]


def named(run: Run, text: str) -> Idea:
    return run.ideas.get(text=text)


@pytest.mark.parametrize(
    ("text", "place", "order"),
    [
        ("three", 0, ["three", "one", "two"]),
        ("one", 1, ["two", "one", "three"]),
        ("one", 99, ["two", "three", "one"]),
        ("two", 1, ["one", "two", "three"]),
    ],
)
def test_an_idea_is_put_in_another_place(run, text, place, order):
    before = run.moves.count()
    named(run, text).place(place, by="bo")
    assert queue(run) == order
    assert run.moves.count() - before == (order != ["one", "two", "three"])


def test_one_step_up_and_down_stops_at_the_ends(run):
    named(run, "three").shift(-1, by="ada")
    named(run, "one").shift(-1, by="ada")
    assert queue(run) == ["one", "three", "two"]
    named(run, "two").shift(1, by="ada")
    assert queue(run) == ["one", "three", "two"]


def test_what_was_used_or_dropped_can_no_longer_be_changed(run):
    assert named(run, "one").take_up(make_experiment(run, State.READY, number=1))
    named(run, "two").drop(by="ada")
    assert queue(run) == ["three"]
    for text in ("one", "two"):
        for name, args in (("edit", ["other"]), ("drop", []), ("pin", [True]), ("place", [0])):
            with pytest.raises(StateError, match="used or dropped in the meantime"):
                getattr(named(run, text), name)(*args, by="ada")
    assert not named(run, "one").take_up(make_experiment(run, State.READY, number=2))


def test_a_pinned_idea_comes_again_when_nothing_else_waits(run):
    named(run, "one").pin(True, by="ada")
    assert queue(run) == ["two", "three", "one"]
    for number, text in enumerate(["two", "three", "one", "one"], 1):
        experiment = make_experiment(run, State.READY, number=number)
        first = run.ideas.offered_to(experiment)[0]
        assert first.text == text and first.take_up(experiment)
    assert queue(run) == ["one"]
    assert [(used.text, used.used_by.number) for used in run.ideas.used()] == [
        ("one", 4), ("one", 3), ("three", 2), ("two", 1),
    ]  # fmt: skip
    run.ideas.waiting().get().pin(False, by="ada")
    assert "idea pinned" in run.moves.values_list("new", flat=True) and not run.ideas.waiting().get().pinned


def test_the_queue_has_an_end(run, monkeypatch):
    monkeypatch.setattr(idea, "MOST_OPEN", 3)
    with pytest.raises(StateError, match="3 ideas are waiting already"):
        Idea.add(run, "four", by="ada")


def test_an_imported_run_takes_no_ideas():
    with pytest.raises(StateError, match="imported run is a record"):
        Idea.add(make_run(source="/somewhere"), "one", by="ada")
