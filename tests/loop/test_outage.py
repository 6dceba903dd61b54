"""The researcher does not answer: the idea waits, what needs no researcher trains, and nothing fails or is lost."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from experiments.loop import actions, ahead, outage
from experiments.models import Run
from experiments.researcher.base import ResearcherAway
from experiments.states import Kind, Outage, State
from tests.loop.conftest import look
from tests.loop.scripted import change

pytestmark = pytest.mark.django_db(transaction=True)
AWAY = ResearcherAway("no reply in 5 tries")


@pytest.fixture
def run(make_script_program, loop):
    run = actions.start_run(make_script_program("score"), "night", by="ada")
    loop.baseline(run)
    return run


def ask_again(run: Run) -> None:
    """As if the time had come."""
    Run.objects.filter(pk=run.pk).update(ask_at=timezone.now())


def moves(run: Run) -> list[str]:
    return list(run.moves.filter(experiment=None).values_list("new", flat=True))


def test_the_idea_waits_and_is_asked_for_again(run, loop, answers):
    answers(AWAY, AWAY, change("MATRIX_LR", 0.09))
    loop.step(run)
    loop.step(run)
    waiting = run.experiments.get(number=1)
    assert (waiting.state, waiting.worker, waiting.attempt) == (State.PROPOSING, "", 1)
    assert (run.away_why, run.away_since is None, run.ask_at > timezone.now()) == (AWAY.args[0], False, True)
    assert look(run) == []  # it is left in peace
    for _ in range(2):
        ask_again(run)
        loop.step(run)
    waiting.refresh_from_db()
    run.refresh_from_db()
    assert (waiting.state, waiting.description) == (State.READY, "MATRIX_LR 0.09")
    assert (run.away_since, run.ask_at, run.away_why) == (None, None, "")
    assert [move for move in moves(run) if "researcher" in move] == ["researcher away", "researcher back"]


def test_a_reply_under_way_when_it_went_away_does_not_say_that_it_is_back(run, loop, answers):
    def meanwhile(context):  # another idea's call fails while this reply is on its way
        Run.objects.filter(pk=run.pk).update(away_since=timezone.now(), ask_at=timezone.now() + timedelta(minutes=1))
        return change("MATRIX_LR", 0.09)(context)

    answers(meanwhile, change("MATRIX_LR", 0.5))
    loop.step(run)
    loop.step(run)
    run.refresh_from_db()
    assert (run.experiments.get(number=1).description, run.away_since is None) == ("MATRIX_LR 0.09", False)
    ask_again(run)
    loop.until(run, lambda: run.moves.filter(new="researcher back").exists())
    assert moves(run).count("researcher back") == 1


@pytest.mark.parametrize(("away_minutes", "wait_seconds"), [(0, 15), (2, 60), (60, 300), (600, 300)])
def test_the_longer_it_is_away_the_longer_it_is_left_in_peace(away_minutes, wait_seconds):
    assert outage.wait_after(timedelta(minutes=away_minutes)) == timedelta(seconds=wait_seconds)


def test_a_person_may_have_it_asked_at_once(run, loop, answers):
    answers(AWAY)
    loop.step(run)
    loop.step(run)
    outage.ask_now(run, by="ada")
    assert [stage for stage, _ in look(run)] == ["propose"]
    outage.ask_now(run, by="ada")
    assert moves(run).count("researcher asked again") == 1


def test_nothing_is_trained_instead_unless_a_person_chose_it(run, loop, answers):
    answers(AWAY)
    for _ in range(5):
        loop.step(run)
    assert run.experiments.count() == 2


def test_the_best_is_repeated_with_other_seeds_and_never_kept_anew(run, loop, answers):
    answers(AWAY)
    Run.objects.filter(pk=run.pk).update(outage=Outage.REPEAT)
    best = run.best
    loop.until(run, lambda: run.experiments.filter(kind=Kind.REPEAT, state=State.DISCARDED).count() == 2)
    repeats = list(run.experiments.filter(kind=Kind.REPEAT, state=State.DISCARDED).order_by("number"))
    assert [(one.seed, one.commit, one.subject, one.diff) for one in repeats] == [
        (best.seed + 1, best.commit, best, ""), (best.seed + 2, best.commit, best, ""),
    ]  # fmt: skip
    assert repeats[0].detail.startswith("A repeat of #0 with another seed tells the noise, and is never kept.")
    assert run.best == best and run.experiments.get(number=1).state == State.PROPOSING
    assert not run.experiments.filter(state=State.FAILED).exists()


def test_as_many_ideas_as_ever_wait_meanwhile_and_are_asked_for_together(run, loop, answers, monkeypatch):
    answers(AWAY)
    Run.objects.filter(pk=run.pk).update(outage=Outage.REPEAT)
    loop.until(run, lambda: run.away_since is not None)
    monkeypatch.setattr(ahead, "wanted", lambda run: 3)
    loop.until(run, lambda: run.experiments.filter(kind=Kind.REPEAT, state=State.DISCARDED).count() == 2)
    waiting = set(run.experiments.filter(state=State.PROPOSING).values_list("pk", flat=True))
    assert len(waiting) >= 2  # and a repeat in line makes three
    ask_again(run)
    assert waiting <= {pk for stage, pk in look(run) if stage == "propose"}


def test_a_repeat_is_trained_as_it_is_when_the_best_has_moved(run, loop, answers):
    answers(change("MATRIX_LR", 0.09))
    made = actions.repeat(run.best, by="ada")
    loop.finish(run, 3)
    made.refresh_from_db()
    assert run.best.number != 0
    assert (made.state, made.commit) == (State.DISCARDED, run.base_commit)


def test_the_sweep_goes_on_and_ends_when_the_researcher_is_back(run, loop, monkeypatch):
    from experiments.loop import asking
    from experiments.researcher.choose import choose
    from tests.loop.scripted import Scripted

    model = Scripted(AWAY, AWAY, change("MATRIX_LR", 0.5))
    monkeypatch.setattr(asking, "choose", lambda kind, **rest: choose(kind) if kind == "sweep" else model)
    Run.objects.filter(pk=run.pk).update(outage=Outage.SWEEP)
    run.program.researcher, run.program.model = "litellm", "openai/standin"
    run.program.save()
    swept = run.experiments.filter(strategy="sweep").exclude(description="")
    loop.until(run, lambda: swept.exclude(score=None).count() == 2)
    assert {one.kind for one in swept} == {Kind.IDEA}
    ask_again(run)
    loop.step(run)
    ask_again(run)
    loop.until(run, lambda: run.experiments.get(number=1).state == State.READY)
    loop.until(run, lambda: run.experiments.filter(strategy="", state=State.PROPOSING).exists() or len(model.messages) > 3)
    count = swept.count()
    loop.finish(run, run.experiments.count() + 1)
    assert swept.count() <= count + 1  # one may have been in line


def test_a_sweep_with_nothing_left_turns_to_repeats(run, loop, answers, monkeypatch):
    from experiments.loop import asking
    from experiments.researcher.base import ResearcherError
    from tests.loop.scripted import Scripted

    researchers = {"sweep": Scripted(ResearcherError("nothing new in 200 tries")), "litellm": Scripted(AWAY)}
    monkeypatch.setattr(asking, "choose", lambda kind, **rest: researchers[kind])
    Run.objects.filter(pk=run.pk).update(outage=Outage.SWEEP)
    run.program.researcher = "litellm"
    run.program.save()
    loop.until(run, lambda: run.experiments.filter(kind=Kind.REPEAT).exists())
    assert (run.state, run.outage) == ("active", Outage.REPEAT)
