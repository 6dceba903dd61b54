"""What pauses or ends a run by itself: failures in a row, a broken baseline, a full disk, a limit. And crashes repaired."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from experiments.loop import actions, engine
from experiments.models import Experiment, Program
from experiments.researcher.base import ResearcherError
from experiments.states import Failure, Kind, RunState, State
from tests.factories import make_experiment, make_run
from tests.loop.conftest import look, ready, wait_for_training
from tests.loop.scripted import become, change

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def run(make_script_program, loop):
    run = actions.start_run(make_script_program("score"), "night", by="ada")
    loop.baseline(run)
    return run


def failed(run) -> int:
    return run.experiments.filter(state=State.FAILED).count()


def test_ten_failures_in_a_row_pause_the_run_with_the_reason(run, loop, answers):
    answers("no edit at all")
    loop.until(run, lambda: run.state == RunState.PAUSED)
    assert (run.reason, failed(run)) == ("circuit_breaker", 10)
    assert "10 experiments in a row failed, the last with bad_patch: No edit found" in run.detail
    assert look(run) == []


def test_a_success_in_between_starts_the_count_again(run, loop, answers, settings):
    settings.BREAKER_FAILURES = 3
    answers("no", "no", change("MATRIX_LR", 0.05), "no", "no", change("MATRIX_LR", 0.06), "no")
    loop.until(run, lambda: run.state == RunState.PAUSED)
    assert failed(run) == 7


def test_a_resume_starts_the_count_again(run, loop, answers, settings):
    settings.BREAKER_FAILURES = 3
    answers("no")
    loop.until(run, lambda: run.state == RunState.PAUSED)
    run.resume(by="ada")
    loop.until(run, lambda: run.state == RunState.PAUSED)
    assert failed(run) == 6


def test_what_is_spent_is_asked_before_each_call(run, loop, answers):
    researcher = answers("no edit at all", change("MATRIX_LR", 0.09), can_repair=True)  # a reply costs 0.01
    run.set_limits(max_experiments=None, hours=None, max_cost=0.005, by="ada")
    loop.until(run, lambda: run.state == RunState.ENDED)
    last = run.experiments.order_by("number").last()
    assert (run.reason, run.detail) == ("cost", "$0.01 of at most $0.01 are spent.")
    assert (last.state, last.cost, len(researcher.messages)) == (State.CANCELLED, 0.01, 1)
    assert last.detail == "$0.01 of at most $0.01 are spent. The researcher was not asked."


def test_what_only_a_person_can_mend_pauses_at_once_with_its_words(run, loop, answers):
    answers(ResearcherError("No key for openai: set OPENAI_API_KEY and restart."), change("MATRIX_LR", 0.09))
    loop.until(run, lambda: run.state == RunState.PAUSED)
    assert (failed(run), run.detail) == (1, "No key for openai: set OPENAI_API_KEY and restart.")
    run.resume(by="ada")
    assert loop.finish(run, 3)[-1].state == State.KEPT


def test_a_researcher_that_cannot_even_be_made_pauses_with_words(run, loop):
    Program.objects.update(researcher="litellm", model="")
    loop.until(run, lambda: run.state == RunState.PAUSED)
    assert "No model is set for the LLM" in run.detail


def test_a_failed_baseline_is_trained_again_after_a_resume_though_an_idea_waits():
    run = make_run()
    baseline = make_experiment(run, State.FAILED, reason=Failure.CRASH)
    make_experiment(run, State.READY, parent=baseline)
    look_without_git(run)
    assert (run.state, run.reason) == (RunState.PAUSED, "baseline_failed")
    run.resume(by="ada")
    look_without_git(run)
    assert [row.kind for row in run.experiments.filter(state=State.READY)] == [Kind.IDEA, Kind.BASELINE]


def look_without_git(run) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("experiments.loop.chain.sync_branch", lambda run: None)
        patch.setattr("experiments.loop.workspace.Workspace.set_ref", lambda *args: None)
        look(run)


def test_a_baseline_that_failed_before_an_idea_did_pauses_too():
    run = make_run()
    make_experiment(run, State.FAILED, reason=Failure.CRASH)
    make_experiment(run, State.FAILED, reason=Failure.BAD_PATCH)
    look_without_git(run)
    assert run.reason == "baseline_failed" and "#0" in run.detail


def test_a_disk_nearly_full_pauses_with_words_and_a_resume_goes_on(run, loop, answers, settings):
    answers(change("MATRIX_LR", 0.09))
    settings.MIN_FREE_MB = 10**9
    assert look(run) == []
    assert (run.state, run.reason) == (RunState.PAUSED, "disk_full")
    assert "The disk is nearly full" in run.detail and "1000000000 needed" in run.detail
    settings.MIN_FREE_MB = 1
    run.resume(by="ada")
    assert loop.finish(run, 2)[1].state == State.KEPT


def test_a_disk_that_fills_while_a_workspace_is_written_fails_that_one_and_pauses(run, loop, answers, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    answers(change("MATRIX_LR", 0.09))
    with monkeypatch.context() as patch:
        patch.setattr("trainer.launch.write_json", full)
        loop.until(run, lambda: run.state == RunState.PAUSED)
    assert (run.reason, run.experiments.get(number=1).reason) == ("disk_full", "disk_full")
    run.resume(by="ada")
    assert loop.finish(run, 3)[-1].state == State.KEPT


def test_behind_the_deadline_what_trains_finishes_and_nothing_else_begins(make_script_program, loop, answers, worker):
    run = actions.start_run(make_script_program("slow", budget_seconds=1), "slow", by="ada", hours=1)
    answers(change("MATRIX_LR", 0.09))
    loop.baseline(run)
    idea = ready(run)
    training = worker(engine.train, idea.pk)
    wait_for_training(idea)
    look(run)
    run.deadline_at = timezone.now() - timedelta(seconds=1)
    run.save(update_fields=["deadline_at"])
    look(run)
    assert run.experiments.get(number=2).state == State.CANCELLED and run.is_active
    training.result(20)
    look(run)
    assert (run.state, run.reason, run.best) == (RunState.ENDED, "deadline", idea)


def repairs(run) -> list[int | None]:
    return [row.subject.number if row.subject else None for row in run.experiments.filter(kind=Kind.IDEA)]


def test_a_crash_is_given_back_to_an_llm_at_most_twice(run, loop, answers):
    Program.objects.update(researcher=Program.Researcher.LITELLM)
    researcher = answers(*[become("crash", mark) for mark in range(4)], change("MATRIX_LR", 0.09))
    loop.finish(run, 6)
    assert repairs(run)[:5] == [None, 1, 2, None, 4]
    crash = researcher.contexts[1].crash
    assert (crash.number, crash.reason) == (1, "crash")
    assert "ValueError: shapes" in crash.log_tail and "raise ValueError" in crash.diff
    assert "shapes (3,4) and (5,6) do not match" in str(run.experiments.get(number=2).prompt)


def test_the_sweep_is_not_asked_to_repair(run, loop, answers):
    answers(become("crash"), change("MATRIX_LR", 0.09))
    loop.finish(run, 3)
    assert repairs(run)[:2] == [None, None]


def test_a_malformed_edit_goes_back_with_the_parsers_words_three_times(run, loop, answers):
    researcher = answers("one", "two", "three", change("MATRIX_LR", 0.09), can_repair=True)
    idea = loop.finish(run, 2)[1]
    assert (idea.state, len(researcher.messages)) == (State.KEPT, 4)
    assert "No edit found in the reply" in researcher.messages[3][-1].content
    assert (idea.tokens_in, idea.tokens_out, round(idea.cost, 2)) == (40, 20, 0.04)


def test_what_a_failed_proposal_cost_is_counted(run, loop, answers):
    answers("nothing usable")
    idea = loop.finish(run, 2)[1]
    assert (idea.state, idea.reason, idea.tokens_in, idea.cost) == (State.FAILED, "bad_patch", 10, 0.01)


def test_a_reply_with_what_no_database_can_hold_is_stored_without_it(run, loop, answers):
    answers("IDEA: \0 \ud800 odd\n\nno edit", can_repair=True)
    idea = loop.finish(run, 2)[1]
    assert (idea.state, idea.reason) == (State.FAILED, "bad_patch")
    assert "odd" in str(Experiment.objects.get(pk=idea.pk).prompt)
