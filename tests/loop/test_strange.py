"""A score that seems too good: trained again with another seed where nobody is asked, else a person looks at it."""

from __future__ import annotations

import pytest
from django.utils import timezone

from experiments.loop import actions, engine
from experiments.models import Experiment, Run
from experiments.states import Badge, Failure, Kind, Mode, RunState, State
from tests.loop.conftest import look, ready
from tests.loop.scripted import change, edit

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.sqlite_is_enough]

SCORE = "score = 1.0 +"
HOLDS = edit("much better", SCORE, "score = 0.5 +")
LUCKY = edit("lucky", SCORE, 'score = (0.5 if os.environ["AUTORESEARCH_SEED"] == "42" else 0.9) +')
DIES = edit("dies", SCORE, 'score = (0.5 if os.environ["AUTORESEARCH_SEED"] == "42" else sys.exit(1)) +')
ORDINARY = change("MATRIX_LR", 0.09)


@pytest.fixture
def start(make_script_program, loop, answers):
    """A run whose baseline is kept, and whose researcher gives these replies."""

    def start(*replies, mode: Mode = Mode.AUTOPILOT, **options):
        run = actions.start_run(make_script_program("score", budget_seconds=1), "night", by="ada", mode=mode, **options)
        answers(*replies)
        loop.baseline(run)
        return run

    return start


def strange_of(loop, run: Run) -> Experiment:
    """The first idea, once its score was found strange."""
    marked = run.experiments.filter(number=1, badges__icontains=Badge.IMPLAUSIBLE)
    loop.until(run, marked.exists)
    return marked.get()


def repeats(idea: Experiment) -> list[Experiment]:
    return list(idea.run.experiments.filter(kind=Kind.REPEAT, subject=idea).order_by("number"))


def test_in_autopilot_nothing_is_kept_before_another_seed_has_spoken(start, loop):
    run = start(HOLDS, ORDINARY)
    idea = strange_of(loop, run)
    assert (idea.state, run.best.number, run.needs()) == (State.EVALUATING, 0, [])
    again = repeats(idea)[0]
    assert (again.commit, again.state) == (idea.commit, State.READY) and again.seed != idea.seed
    for _ in range(2):  # two looks change nothing, and the repeat has the lane, before the idea that is ready too
        due = [(stage, pk) for stage, pk in look(run) if stage != "propose"]
        assert due == [("train", again.pk)]
        idea.refresh_from_db()
        assert (idea.state, len(repeats(idea)), run.best.number) == (State.EVALUATING, 1, 0)


def test_what_holds_is_kept_and_stays_marked(start, loop):
    run = start(HOLDS, ORDINARY)
    idea = strange_of(loop, run)
    loop.until(run, lambda: run.best == idea)
    idea.refresh_from_db()
    again = repeats(idea)[0]
    assert (idea.state, Badge.IMPLAUSIBLE in idea.badges, again.state) == (State.KEPT, True, State.DISCARDED)
    assert f"it held with another seed: {again.score:.6f} in #{again.number}" in idea.detail
    assert idea.badges.count(Badge.IMPLAUSIBLE) == 1


def test_what_does_not_hold_is_discarded_with_the_reason_and_the_run_goes_on(start, loop):
    run = start(LUCKY, ORDINARY)
    idea = strange_of(loop, run)
    loop.until(run, lambda: run.best.number > 1)
    idea.refresh_from_db()
    assert (idea.state, run.state) == (State.DISCARDED, RunState.ACTIVE)
    assert f"with another seed it scored {repeats(idea)[0].score:.6f}" in idea.detail


def test_what_cannot_be_trained_again_is_discarded_after_two_tries(start, loop):
    run = start(DIES, ORDINARY)
    idea = strange_of(loop, run)
    loop.until(run, lambda: run.best.number > 1)
    idea.refresh_from_db()
    assert (idea.state, [again.state for again in repeats(idea)]) == (State.DISCARDED, [State.FAILED] * 2)
    assert "could not be trained again" in idea.detail


def test_a_gain_that_the_secret_text_does_not_show_is_discarded_without_its_number(start, loop):
    run = start(HOLDS, ORDINARY)
    idea = strange_of(loop, run)
    run.experiments.filter(pk=run.best.pk).update(secret_score=1.31)
    run.experiments.filter(pk=idea.pk).update(secret_score=1.27)
    loop.until(run, lambda: Experiment.objects.get(pk=idea.pk).state != State.EVALUATING)
    idea.refresh_from_db()
    assert idea.state == State.DISCARDED and "the gain is not there" in idea.detail and "1.2700" not in idea.detail


def test_where_a_mode_asks_a_person_it_waits_until_they_have_spoken(start, loop):
    run = start(HOLDS, ORDINARY, mode=Mode.APPROVE_KEEPS)
    idea = strange_of(loop, run)
    run.set_mode(Mode.APPROVE_DIFFS, by="ada")  # asks of no ordinary gain
    look(run), look(run)
    idea.refresh_from_db()
    assert (idea.state, repeats(idea), run.needs()[0]) == (State.CONFIRMING, [], idea)
    idea.approve(by="ada")
    assert run.best == idea


def test_left_to_itself_a_run_trains_again_what_waited_for_a_person(start, loop):
    run = start(LUCKY, ORDINARY, mode=Mode.APPROVE_KEEPS)
    idea = strange_of(loop, run)
    run.set_mode(Mode.AUTOPILOT, by="ada")
    loop.until(run, lambda: not Experiment.objects.get(pk=idea.pk).is_live)
    idea.refresh_from_db()
    assert (idea.state, len(repeats(idea))) == (State.DISCARDED, 1)
    assert "the run is in autopilot now" in idea.moves.values_list("why", flat=True)


def test_a_run_at_its_limit_of_experiments_ends_after_the_verdict(start, loop):
    run = start(HOLDS, max_experiments=2)
    loop.until(run, lambda: run.state == RunState.ENDED)
    assert (run.best.number, run.reason, [row.kind for row in run.experiments.all()]) == (
        1, "experiments", [Kind.BASELINE, Kind.IDEA, Kind.REPEAT],
    )  # fmt: skip


def test_a_doubled_message_makes_no_second_repeat(start, loop):
    run = start(HOLDS, ORDINARY)
    idea = strange_of(loop, run)
    for _ in range(2):
        engine.decide(idea.pk)
    idea.refresh_from_db()
    assert (idea.state, idea.worker, len(repeats(idea))) == (State.EVALUATING, "", 1)


@pytest.mark.parametrize("reason", [Failure.WORKER_LOST, Failure.DISK_FULL])
def test_what_the_machine_did_to_a_repeat_does_not_count(start, loop, reason):
    run = start(HOLDS, ORDINARY)
    idea = strange_of(loop, run)
    for _ in range(3):
        repeats(idea)[-1].fail(reason, "the machine", by="test")
        engine.decide(idea.pk)
    idea.refresh_from_db()
    assert idea.state == State.EVALUATING
    assert [again.state for again in repeats(idea)] == [*[State.FAILED] * 3, State.READY]


def test_a_repeat_that_cheated_confirms_nothing(start, loop):
    run = start(HOLDS, ORDINARY)
    idea = strange_of(loop, run)
    again = repeats(idea)[0]
    loop.step(run)
    run.experiments.filter(pk=again.pk).update(badges=[Badge.SELF_REPORTED, Badge.OVERTIME])
    engine.decide(idea.pk)
    idea.refresh_from_db()
    assert (idea.state, len(repeats(idea))) == (State.EVALUATING, 2)


def test_at_the_deadline_the_repeat_may_still_train(start, loop):
    run = start(HOLDS)
    idea = strange_of(loop, run)
    run.deadline_at = timezone.now()
    run.save(update_fields=["deadline_at"])
    loop.until(run, lambda: run.state == RunState.ENDED)
    assert (run.best, run.reason) == (idea, "deadline")


def test_what_another_seed_refuted_is_not_tried_on_a_best_that_has_moved(start, loop):
    run = start(LUCKY, ORDINARY)
    idea = strange_of(loop, run)
    other = ready(run)
    Experiment.objects.filter(pk=other.pk).update(score=1.1)
    run.experiments.filter(pk=other.pk).update(state=State.KEPT)
    loop.until(run, lambda: not Experiment.objects.get(pk=idea.pk).is_live)
    idea.refresh_from_db()
    assert idea.state == State.DISCARDED and not run.experiments.filter(kind=Kind.REBASE).exists()
    assert "with another seed it scored" in idea.detail


def test_cancelled_it_takes_its_repeat_along(start, loop):
    run = start(HOLDS)
    idea = strange_of(loop, run)
    idea.cancel(by="ada")
    assert repeats(idea)[0].state == State.CANCELLED


def test_a_stop_ends_it_and_its_repeat(start, loop):
    run = start(HOLDS)
    idea = strange_of(loop, run)
    run.stop(by="ada")
    look(run)
    assert {row.state for row in (Experiment.objects.get(pk=idea.pk), *repeats(idea))} == {State.CANCELLED}
