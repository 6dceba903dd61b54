"""The exam gets a new version while a run goes on: its best is examined anew, and all that follows is compared with that."""

from __future__ import annotations

import pytest

from experiments.loop import actions, engine, training
from experiments.loop.workspace import Workspace
from experiments.models import Experiment, Run
from experiments.planning import plan_for, sigma_of
from experiments.states import Failure, Kind, RunState, State
from tests.factories import make_experiment
from tests.loop.conftest import look
from trainer.spec import EXAM

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.sqlite_is_enough]

OLD = {"dataset": "stdlib", "validation_hash": "3cb1384e4f73", "version": "bpb/1"}  # as before exams had versions
NEW = {**OLD, "exam": EXAM}


@pytest.fixture
def run(make_script_program) -> Run:
    """Its baseline and one gain, examined before the update."""
    run = actions.start_run(make_script_program("score", fixed=["prepare.py"]), "night", by="ada")
    for score in (1.0, 0.9):
        make_experiment(run, State.KEPT, score, commit=run.base_commit, exam=OLD)
    return run


def anew(run: Run) -> list[Experiment]:
    return list(run.experiments.filter(kind=Kind.REEXAMINED).order_by("number"))


def edited(run: Run) -> str:
    """A commit that trains otherwise."""
    workspace = Workspace(run.program.repo)
    text = workspace.read(run.base_commit, ["train.py"])["train.py"].replace("STEPS = 4", "STEPS = 5")
    return workspace.commit(run.base_commit, {"train.py": text}, "five steps")


def decided(experiment: Experiment, score: float | None = None, **fields) -> Experiment:
    Experiment.objects.filter(pk=experiment.pk).update(state=State.EVALUATING, worker="", score=score, **fields)
    engine.decide(experiment.pk)
    experiment.refresh_from_db()
    return experiment


def reexamined(run: Run, score: float = 1.2) -> Experiment:
    look(run)
    return decided(anew(run)[-1], score, exam=NEW)


def test_the_best_is_trained_anew_before_anything_else(run):
    waiting = make_experiment(run, State.READY, commit=run.base_commit)
    for _ in range(2):  # a second look makes no second row, and asks for no idea
        due = look(run)
        (row,) = anew(run)
        assert due == [("train", row.pk)]
    assert row.description == f"#1 examined anew, by exam {EXAM}"
    assert (row.parent, row.subject, row.commit, row.seed) == (run.best, run.best, run.best.commit, run.best.seed)
    assert run.experiments.count() == 4
    decided(row, 1.2, exam=NEW)
    assert ("train", waiting.pk) in look(run)


def test_it_is_kept_whatever_its_score_and_is_no_gain_and_no_loss(run):
    make_experiment(run, State.DISCARDED, 0.95, exam=OLD)
    row = reexamined(run)
    assert (row.state, run.best, row.delta) == (State.KEPT, row, None)
    assert "Exam 1 gave it 0.900000" in row.detail and "from here on all is compared with the new score" in row.detail
    assert run.since_gain == 1
    assert sigma_of(run) is None  # scores of two exams tell no noise
    look(run)
    idea = run.experiments.get(state=State.PROPOSING)
    assert idea.parent == row and len(anew(run)) == 1
    tried = decided(idea, 1.1, exam=NEW, commit=edited(run))
    assert (tried.state, tried.delta) == (State.KEPT, pytest.approx(-0.1)), tried.detail


def test_a_worker_whose_older_code_has_judged_it_too_is_found_out(run):
    look(run)
    (row,) = anew(run)
    Experiment.objects.filter(pk=row.pk).update(state=State.KEPT, score=0.9, exam=OLD)
    look(run), look(run)
    assert (run.state, run.reason, len(anew(run))) == (RunState.PAUSED, "best_failed", 1)
    assert f"#{row.number} was examined by an earlier exam than {EXAM}" in run.detail


def test_nobody_branches_from_what_an_earlier_exam_has_judged(run):
    row = reexamined(run)
    run.strategy = "rethink"
    assert plan_for(run).parent in {None, row.number}


def test_what_trained_when_the_update_came_is_compared_with_the_best_of_its_exam(run):
    trains = make_experiment(run, State.TRAINING, commit=edited(run), exam=OLD)
    look(run)
    assert anew(run)[0].subject.number == 1
    assert decided(trains, 0.8, exam=OLD).state == State.KEPT
    look(run)
    before, now = anew(run)
    assert (before.state, before.detail) == (State.CANCELLED, "#1 is no longer the best")
    assert (now.state, now.subject) == (State.READY, trains)


def test_scores_of_two_exams_are_not_compared(run):
    discarded = make_experiment(run, State.DISCARDED, 0.95, exam=OLD)
    trains = make_experiment(run, State.TRAINING, commit=run.base_commit)
    reexamined(run)
    late = decided(trains, 0.1, exam=OLD)
    assert late.state == State.DISCARDED
    assert f"Exams 1 and {EXAM} gave its score and the best's: they cannot be compared." in late.detail
    discarded.refresh_from_db()
    assert (discarded.state, discarded.exam) == (State.DISCARDED, OLD)


def test_where_the_best_fails_the_exam_of_now_the_run_pauses_and_a_person_can_roll_back(run):
    look(run)
    anew(run)[0].fail(Failure.LEAK, "Beliefs before a cut changed.", by="loop", exam=NEW)
    assert look(run) == [] and (run.state, run.reason) == (RunState.PAUSED, "best_failed")
    assert f"The best, #1, was examined anew by exam {EXAM}, and has no score by it: leak: Beliefs before" in run.detail
    assert "Roll back to an earlier keep and resume" in run.detail and "start a new run" in run.detail
    run.make_best(run.experiments.get(number=0), by="ada")
    run.resume(by="ada")
    look(run)
    assert [row.subject.number for row in anew(run)] == [1, 0]
    assert reexamined(run).state == State.KEPT and run.best.commit == run.base_commit


def test_a_worker_with_older_code_is_found_out(run):
    look(run)
    row = decided(anew(run)[0], 0.9, exam=OLD)
    assert (row.state, row.reason) == (State.FAILED, Failure.NO_SCORE)
    look(run)
    assert run.reason == "best_failed" and "the worker that trained it runs older code" in run.detail
    run.resume(by="ada")
    assert [stage for stage, _ in look(run)] == ["train"]


def test_what_was_allowed_still_trains_where_the_limit_is_reached(run):
    waiting = make_experiment(run, State.READY, commit=run.base_commit)
    run.max_experiments = 3
    run.save()
    look(run)
    reexamined(run)
    assert look(run) == [("train", waiting.pk)]


@pytest.mark.parametrize("exam", [NEW, {}])
def test_what_the_exam_of_now_or_no_judge_has_scored_stays_the_best(run, exam):
    run.experiments.update(exam=exam)
    look(run)
    assert anew(run) == [] and run.experiments.filter(state=State.PROPOSING).exists()


def test_its_secret_text_is_scored_whatever_the_text_says(run):
    look(run)
    assert training._best_score(anew(run)[0]) is None
    assert training._best_score(run.best) == 0.9
