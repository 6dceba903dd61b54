"""A person in charge: approve and reject, pause and resume, stop and cancel, with trainings that really run."""

from __future__ import annotations

import pytest

from experiments.loop import actions, engine
from experiments.loop.workspace import Workspace
from experiments.models import Program, Run
from experiments.states import Mode, RunState, State, StateError
from tests.loop.conftest import look, ready, trainings, wait_for_training
from tests.loop.scripted import change

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def start(make_script_program, loop):
    """A run whose baseline is kept already."""

    def start(mode: Mode = Mode.AUTOPILOT, script: str = "score", **options):
        run = actions.start_run(make_script_program(script, budget_seconds=1), "night", by="ada", mode=mode, **options)
        loop.baseline(run)
        return run

    return start


def tip(run) -> str:
    return Workspace(run.program.repo).ref(f"refs/heads/{run.branch}")


def set_budget(run, seconds: int) -> None:
    Program.objects.filter(pk=run.program_id).update(budget_seconds=seconds)


def test_a_diff_waits_for_approval_and_then_trains(start, loop, answers):
    run = start(Mode.APPROVE_DIFFS)
    answers(change("MATRIX_LR", 0.09))
    loop.until(run, lambda: run.needs())
    idea = run.needs()[0]
    assert (idea.state, look(run)) == (State.REVIEWING, [])
    idea.approve(by="ada")
    loop.finish(run, 2)
    idea.refresh_from_db()
    assert (idea.state, run.best) == (State.KEPT, idea)


def test_the_next_proposal_knows_why_the_last_was_rejected(start, loop, answers):
    run = start(Mode.APPROVE_DIFFS)
    researcher = answers(change("MATRIX_LR", 0.09), change("MATRIX_LR", 0.045))
    loop.until(run, lambda: run.needs())
    run.needs()[0].reject(by="ada", why="Too hot: stay below 0.05, please.")
    loop.until(run, lambda: run.needs())
    rejected, following = run.experiments.order_by("number")[1:]
    assert (rejected.state, rejected.reason, rejected.training_at) == (State.CANCELLED, "rejected", None)
    assert "Too hot: stay below 0.05, please." in researcher.messages[-1][-1].content
    assert "Too hot: stay below 0.05, please." in str(following.prompt)


def test_a_keep_waits_for_confirmation(start, loop, answers):
    run = start(Mode.APPROVE_KEEPS)
    answers(change("MATRIX_LR", 0.09))
    loop.until(run, lambda: run.needs())
    winner, before = run.needs()[0], tip(run)
    assert (winner.state, run.best.number) == (State.CONFIRMING, 0)
    winner.approve(by="ada")
    look(run)
    assert (run.best, tip(run)) == (winner, winner.commit)
    assert before != winner.commit


def test_a_keep_that_is_not_confirmed_leaves_the_branch_and_stays_under_its_ref(start, loop, answers):
    run = start(Mode.APPROVE_KEEPS)
    answers(change("MATRIX_LR", 0.09))
    loop.until(run, lambda: run.needs())
    winner, before = run.needs()[0], tip(run)
    winner.reject(by="ada", why="I do not believe it.")
    look(run)
    assert (winner.state, winner.detail, tip(run)) == (State.DISCARDED, "I do not believe it.", before)
    assert Workspace(run.program.repo).ref(winner.ref) == winner.commit


def test_a_worse_one_needs_no_confirmation(start, loop, answers):
    run = start(Mode.APPROVE_KEEPS)
    answers(change("MATRIX_LR", 0.001))
    assert loop.finish(run, 2)[1].state == State.DISCARDED


def test_a_mode_that_is_switched_while_a_proposal_is_written_counts_for_it(start, loop, answers):
    run = start()

    def reply(context):
        run.set_mode(Mode.APPROVE_DIFFS, by="ada")
        return change("MATRIX_LR", 0.09)(context)

    answers(reply)
    loop.until(run, lambda: run.needs())
    assert run.needs()[0].state == State.REVIEWING


def test_paused_after_this_one_it_finishes_what_trains_and_starts_nothing(start, loop, answers, worker):
    run = start(script="slow")
    answers(change("MATRIX_LR", 0.09))
    idea = ready(run)
    training = worker(engine.train, idea.pk)
    wait_for_training(idea)
    run.pause(by="ada", now=False)
    training.result(20)
    idea.refresh_from_db()
    assert (idea.state, look(run), run.state) == (State.KEPT, [], RunState.PAUSED)
    run.resume(by="ada")
    assert [stage for stage, _ in look(run)] == ["propose"]


def test_paused_now_the_training_ends_and_trains_again_after_a_resume(start, loop, answers, worker):
    run = start(script="slow")
    answers(change("MATRIX_LR", 0.09))
    idea = ready(run)
    set_budget(run, 60)
    training = worker(engine.train, idea.pk)
    wait_for_training(idea)
    run.pause(by="ada", now=True)
    training.result(10)
    idea.refresh_from_db()
    assert (idea.state, idea.attempt, trainings(), look(run)) == (State.READY, 2, [], [])
    set_budget(run, 1)
    run.resume(by="ada")
    loop.until(run, lambda: run.best == idea)


def test_a_stop_cancels_what_trains_and_keeps_its_evidence(start, loop, answers, worker):
    run = start(script="slow")
    answers(change("MATRIX_LR", 0.09))
    idea = ready(run)
    set_budget(run, 60)
    training = worker(engine.train, idea.pk)
    wait_for_training(idea)
    run.stop(by="ada")
    training.result(10)
    idea.refresh_from_db()
    assert (idea.state, trainings(), run.state, run.reason) == (State.CANCELLED, [], RunState.ENDED, "by_hand")
    assert Workspace(run.program.repo).ref(idea.ref) == idea.commit and idea.chunks.exists()
    assert look(run) == []


def test_a_cancelled_training_ends_and_the_loop_goes_on(start, loop, answers, worker):
    run = start(script="slow")
    answers(change("MATRIX_LR", 0.09))
    idea = ready(run)
    set_budget(run, 60)
    training = worker(engine.train, idea.pk)
    wait_for_training(idea)
    idea.cancel(by="ada")
    training.result(10)
    assert trainings() == []
    set_budget(run, 1)
    assert loop.finish(run, 3)[-1].state == State.KEPT


def test_a_proposal_that_is_cancelled_while_it_is_written_is_not_committed(start, loop, answers):
    run = start()

    def reply(context):
        run.experiments.get(state=State.PROPOSING).cancel(by="ada")
        return change("MATRIX_LR", 0.09)(context)

    answers(reply)
    loop.step(run)
    idea = run.experiments.get(number=1)
    assert (idea.state, idea.commit) == (State.CANCELLED, "")


def test_a_run_ends_when_its_experiments_are_done_and_resumes_only_behind_a_higher_limit(start, loop, answers):
    run = start(max_experiments=2)
    answers(change("MATRIX_LR", 0.09))
    loop.until(run, lambda: run.state == RunState.ENDED)
    assert (run.reason, run.experiments.count()) == ("experiments", 2)
    with pytest.raises(StateError, match="Raise the limit first"):
        run.resume(by="ada")
    run.set_limits(max_experiments=3, hours=None, by="ada")
    run.resume(by="ada")
    loop.until(run, lambda: run.state == RunState.ENDED)
    assert run.experiments.count() == 3


def test_a_pause_while_the_workspace_is_laid_out_starts_no_training(start, loop, answers, monkeypatch):
    run = start()
    answers(change("MATRIX_LR", 0.09))
    idea = ready(run)
    with monkeypatch.context() as patch:
        patch.setattr("experiments.loop.training.prepare_data", lambda *_: Run.objects.get().pause(by="ada", now=True))
        engine.train(idea.pk)
    idea.refresh_from_db()
    assert (idea.state, idea.worker, idea.training_at, look(run)) == (State.READY, "", None, [])
    run.resume(by="ada")
    loop.until(run, lambda: run.best == idea)


@pytest.mark.parametrize(("mode", "waits"), [(Mode.APPROVE_DIFFS, State.REVIEWING), (Mode.APPROVE_KEEPS, State.CONFIRMING)])
def test_what_waits_for_a_person_goes_on_when_the_run_is_left_to_itself(start, loop, answers, mode, waits):
    run = start(mode)
    answers(change("MATRIX_LR", 0.09))
    loop.until(run, lambda: run.needs())
    idea = run.needs()[0]
    assert idea.state == waits
    run.set_mode(Mode.AUTOPILOT, by="ada")
    loop.until(run, lambda: run.best == idea, limit=5)
    assert "the run is in autopilot now" in idea.moves.values_list("why", flat=True)


def test_a_mode_that_still_asks_leaves_what_waits_alone(start, loop, answers):
    run = start(Mode.APPROVE_BOTH)
    answers(change("MATRIX_LR", 0.09))
    loop.until(run, lambda: run.needs())
    run.set_mode(Mode.APPROVE_DIFFS, by="ada")
    assert look(run) == [] and run.needs()[0].state == State.REVIEWING
