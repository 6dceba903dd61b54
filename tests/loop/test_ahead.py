"""How many ideas are worked out at once, and that those at once do not get in each other's way."""

from __future__ import annotations

from datetime import timedelta
from threading import Barrier

import pytest
from django.db.models import F
from django.utils import timezone

from experiments.loop import actions, ahead, engine, proposing, sweeping
from experiments.models import Experiment, Idea
from experiments.researcher.edits import EditError, parse_reply
from experiments.states import Kind, Mode, State
from tests.factories import make_experiment, make_run
from tests.loop.conftest import look, wait_for
from tests.loop.scripted import change

pytestmark = pytest.mark.django_db(transaction=True)


def night(idea_seconds: float, training_seconds: float, **fields):
    """A run of which each idea and each training took so long."""
    run, now = make_run(**fields), timezone.now()
    for _ in range(4):
        row = make_experiment(run, State.KEPT, 2.0)
        Experiment.objects.filter(pk=row.pk).update(
            asked_at=now, proposed_at=now + timedelta(seconds=idea_seconds),
            training_at=now, trained_at=now + timedelta(seconds=training_seconds),
        )
    return run


@pytest.mark.parametrize(
    ("idea", "training", "wanted"),
    [
        (10, 300, 1),  # there in time
        (230, 300, 1),
        (270, 300, 2),
        (10, 6, 3),
        (600, 300, 3),  # an agent that thinks for ten minutes
        (3600, 300, 6),  # at most
        (2, 0.5, 1),  # too short to speak of
    ],
)
def test_as_many_as_make_up_for_what_an_idea_takes_longer_than_a_training(idea, training, wanted):
    assert ahead.wanted(night(idea, training)) == wanted


def test_each_lane_has_its_own():
    assert ahead.wanted(night(600, 300, lanes=2)) == 6


def test_one_at_a_time_where_a_person_looks_at_each_or_it_is_set(settings):
    run = night(600, 300)
    assert ahead.wanted(run) == 3
    run.mode = Mode.APPROVE_DIFFS
    assert ahead.wanted(run) == 1
    run.mode, settings.AHEAD = Mode.AUTOPILOT, 1
    assert ahead.wanted(run) == 1


def test_nothing_is_known_at_first():
    assert ahead.wanted(make_run()) == 1


def test_one_that_waited_for_hours_in_an_outage_changes_nothing():
    run = night(10, 300)
    make_experiment(run, State.DISCARDED, 2.1)
    run.experiments.filter(number=4).update(asked_at=timezone.now() - timedelta(hours=3))
    assert ahead.wanted(run) == 1


def test_a_slow_researcher_is_asked_for_several(make_script_program, loop, monkeypatch):
    run = actions.start_run(make_script_program("score"), "night", by="ada")
    loop.baseline(run)
    monkeypatch.setattr(ahead, "wanted", lambda run: 3)
    for _ in range(5):
        look(run)
    assert run.experiments.filter(state=State.PROPOSING).count() == 3


def test_two_replies_at_once_with_the_same_edit_are_one_experiment(make_script_program, loop, answers, worker, monkeypatch):
    run = actions.start_run(make_script_program("score"), "night", by="ada")
    loop.baseline(run)
    monkeypatch.setattr(ahead, "wanted", lambda run: 2)
    both = Barrier(2)

    def at_once(context):
        both.wait(20)
        return change("WARMDOWN", 0.1)(context)

    answers(at_once)
    while run.experiments.filter(state=State.PROPOSING).count() < 2:
        look(run)
    first, second = run.experiments.filter(state=State.PROPOSING)
    for done in [worker(engine.propose, first.pk), worker(engine.propose, second.pk)]:
        done.result(60)
    one, other = sorted(run.experiments.filter(kind=Kind.IDEA), key=lambda row: row.state, reverse=True)
    assert (one.state, other.state, other.reason) == (State.READY, State.FAILED, "duplicate")
    # by the edit's key, or by the files': whichever of the other's two looks came after the first one's store
    told = (f"This was tried: #{one.number}", f"the files are those of an earlier one: #{one.number}")
    assert any(words in other.detail for words in told) and "is under way with it" in other.detail


def test_ideas_of_the_queue_are_shared_out(make_script_program, loop, answers, worker, monkeypatch):
    run = actions.start_run(make_script_program("score"), "night", by="ada")
    loop.baseline(run)
    monkeypatch.setattr(ahead, "wanted", lambda run: 2)
    for text in ("first", "second", "third"):
        Idea.add(run, text, by="ada")
    both = Barrier(2)

    def at_once(context):
        both.wait(20)
        return change("WARMDOWN", len(context.ideas) / 10)(context)

    researcher = answers(at_once)
    while run.experiments.filter(state=State.PROPOSING).count() < 2:
        look(run)
    rows = list(run.experiments.filter(state=State.PROPOSING).order_by("number"))
    for done in [worker(engine.propose, row.pk) for row in rows]:
        done.result(60)
    wait_for(lambda: len(researcher.contexts) == 2)
    assert sorted(context.ideas[0] for context in researcher.contexts) == ["first", "second"]
    assert [run.ideas.get(text=text).used_by_id for text in ("first", "second", "third")] == [rows[0].pk, rows[1].pk, None]


def test_a_first_idea_that_takes_long_counts_before_it_comes():
    run, now = make_run(), timezone.now()
    Experiment.objects.filter(pk=make_experiment(run, State.KEPT, 2.0).pk).update(
        created_at=now, proposed_at=None, training_at=now, trained_at=now + timedelta(seconds=10)
    )
    first = make_experiment(run, State.PROPOSING, worker="think:1:1", proposed_at=None)
    Experiment.objects.filter(pk=first.pk).update(asked_at=now - timedelta(seconds=15))
    assert ahead.wanted(run) == 3
    Experiment.objects.filter(pk=first.pk).update(worker="")  # it waits through a pause
    assert ahead.wanted(run) == 1


def test_nobody_more_is_asked_in_a_sweep_or_where_money_is_limited():
    run = night(600, 300)
    run.sweep_order = {"left": 3}
    assert ahead.wanted(run) == 1 and ahead.room(run) == 1
    run.sweep_order, run.max_cost = {}, 10.0
    assert ahead.wanted(run) == 1


def test_threads_are_left_to_look_at_the_runs():
    run = make_run()
    assert ahead.room(run) == ahead.ASKED_AT_ONCE
    for _ in range(ahead.ASKED_AT_ONCE - 1):
        make_experiment(run, State.PROPOSING, worker="think:1:1")
    assert ahead.room(run) == 1
    make_experiment(run, State.PROPOSING, worker="think:1:1")
    assert ahead.room(run) == 0


def test_an_idea_of_a_person_waits_only_for_those_asked_after_it_came():
    run, now = make_run(), timezone.now()
    make_experiment(run, State.KEPT, 2.0)
    for _ in range(3):
        make_experiment(run, State.PROPOSING, worker="think:1:1", asked_at=now - timedelta(minutes=5))
    idea = Idea.add(run, "try this", by="ada")
    mine = make_experiment(run, State.PROPOSING)
    assert proposing.directed(mine) == [idea]
    run.experiments.filter(number=3).update(asked_at=timezone.now())
    assert proposing.directed(mine) == []
    run.ideas.update(pinned=True)  # it comes again and again
    assert proposing.directed(mine) == [idea]


def test_one_sweep_at_a_time(make_script_program, loop, answers, worker, monkeypatch):
    run = actions.start_run(make_script_program("score"), "night", by="ada")
    loop.baseline(run)
    monkeypatch.setattr(ahead, "wanted", lambda run: 2)
    asks = "IDEA: Find the rates\nSWEEP: MATRIX_LR=0.05..0.12 over 4 experiments\n"
    researcher = answers(asks, asks, change("WARMDOWN", 0.1), can_repair=True)
    while run.experiments.filter(state=State.PROPOSING).count() < 2:
        look(run)
    first, second = run.experiments.filter(state=State.PROPOSING).order_by("number")
    second.claim("think:1:1")  # it was asked before there was a sweep
    engine.propose(first.pk)
    run.refresh_from_db()
    assert run.sweep_order["asked_by"] == first.number
    proposal = parse_reply(asks, ["train.py"])
    with pytest.raises(EditError, match=f"A sweep that #{first.number} asked for is under way"):
        sweeping.settled(proposal, second, researcher, proposing.sweep_context(second, run.best))


def test_a_crash_is_given_back_though_more_ideas_are_under_way():
    run = make_run()
    make_experiment(run, State.KEPT, 2.0)
    for _ in range(5):
        make_experiment(run, State.PROPOSING)
    crash = make_experiment(run, State.FAILED, reason="crash", edits=[{"path": "train.py"}])
    run.experiments.filter(state=State.PROPOSING).update(number=F("number") + 100)
    assert proposing.crash_to_repair(run) == crash
    for _ in range(4):
        make_experiment(run, State.DISCARDED, 2.1, number=run.next_number())
    assert proposing.crash_to_repair(run) is None
