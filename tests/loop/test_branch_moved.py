"""A branch that was moved from outside: the run pauses and asks; a person's work is never reset."""

from __future__ import annotations

from concurrent.futures import wait

import pytest

from experiments.loop import actions, chain
from experiments.loop.workspace import ZERO, Workspace
from experiments.models import Run
from experiments.states import Kind, RunState, State, StateError
from tests.factories import make_experiment
from tests.loop.conftest import look
from tests.loop.scripted import change

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def run(make_script_program, loop, answers):
    answers(change("DECAY", 0.5))
    run = actions.start_run(make_script_program("score"), "night", by="ada")
    loop.baseline(run)
    return run


@pytest.fixture
def git(run):
    return Workspace(run.program.repo)


def move_from_outside(run, git) -> str:
    text = git.read(run.best.commit, ["train.py"])["train.py"].replace("MATRIX_LR = 0.04", "MATRIX_LR = 0.09")
    commit = git.commit(run.best.commit, {"train.py": text}, "By hand")
    git.set_ref(f"refs/heads/{run.branch}", commit)
    return commit


def test_the_run_pauses_and_says_what_the_choices_are(run, git):
    outside = move_from_outside(run, git)
    look(run)
    assert (run.state, run.reason) == (RunState.PAUSED, "branch_moved")
    assert f"moved from outside to {outside[:7]}" in run.detail and "Adopt" in run.detail and "Restore" in run.detail
    assert git.ref(f"refs/heads/{run.branch}") == outside


def test_restored_it_stands_at_the_best_and_the_outside_commit_stays_under_a_ref(run, git):
    outside = move_from_outside(run, git)
    look(run)
    actions.restore_branch(run, by="ada")
    assert (run.state, git.ref(f"refs/heads/{run.branch}")) == (RunState.ACTIVE, run.best.commit)
    assert git.ref(f"refs/autoresearch/{run.pk}/outside-{outside[:12]}") == outside
    look(run)
    assert run.is_active


def test_adopted_it_is_trained_and_judged_like_any_other(run, git, loop):
    outside = move_from_outside(run, git)
    look(run)
    made = actions.adopt_branch(run, by="ada")
    assert (made.kind, made.state, made.commit) == (Kind.MANUAL, State.READY, outside)
    loop.until(run, lambda: run.best.pk == made.pk)
    assert "MATRIX_LR = 0.09" in made.diff
    assert git.ref(f"refs/heads/{run.branch}") == outside


def test_the_last_experiment_that_is_allowed_can_be_an_adopted_one(run, git):
    move_from_outside(run, git)
    look(run)
    run.set_limits(max_experiments=run.experiments.count() + 1, hours=None, by="ada")
    actions.adopt_branch(run, by="ada")
    assert run.is_active


def test_an_adoption_that_cannot_be_resumed_changes_nothing(run, git):
    outside = move_from_outside(run, git)
    look(run)
    count = run.experiments.count()
    run.set_limits(max_experiments=None, hours=-1, by="ada")
    with pytest.raises(StateError, match="deadline"):
        actions.adopt_branch(run, by="ada")
    row = Run.objects.get()
    assert (row.experiments.count(), row.state, row.reason) == (count, RunState.PAUSED, "branch_moved")
    assert git.ref(f"refs/heads/{run.branch}") == outside


def test_a_deleted_branch_is_asked_about_and_restored(run, git):
    git._git("update-ref", "-d", f"refs/heads/{run.branch}")
    look(run)
    assert run.reason == "branch_moved" and "it was deleted" in run.detail
    with pytest.raises(StateError, match="Use Restore"):
        actions.adopt_branch(run, by="ada")
    actions.restore_branch(run, by="ada")
    assert git.ref(f"refs/heads/{run.branch}") == run.best.commit


def test_there_is_nothing_to_adopt_or_restore_on_a_branch_that_nobody_moved(run):
    for act in (actions.adopt_branch, actions.restore_branch):
        with pytest.raises(StateError, match="not moved from outside"):
            act(run, by="ada")


def test_a_paused_run_is_asked_about_when_it_is_resumed(run, git):
    run.pause(by="ada", now=False)
    outside = move_from_outside(run, git)
    look(run)
    assert (run.reason, git.ref(f"refs/heads/{run.branch}")) == ("by_hand", outside)
    run.resume(by="ada")
    look(run)
    assert run.reason == "branch_moved"


def test_a_keep_while_the_branch_is_looked_at_is_not_taken_for_somebody_outside(run, git, worker, monkeypatch):
    commit = git.commit(run.best.commit, {"train.py": "LR = 1\n"}, "A winner")
    winner = make_experiment(run, State.EVALUATING, 0.5, number=50, commit=commit)
    ref, keeping = Workspace.ref, []

    def keep() -> None:
        winner.move_to(State.KEPT, by="verdict")
        chain.sync_branch(Run.objects.get())

    def ref_after_a_keep(self, name):
        if not keeping:
            keeping.append(worker(keep))
            wait(keeping, timeout=0.5)
        return ref(self, name)

    monkeypatch.setattr(Workspace, "ref", ref_after_a_keep)
    chain.sync_branch(Run.objects.get())
    keeping[0].result(30)
    assert Run.objects.get().is_active
    assert git.ref(f"refs/heads/{run.branch}") == commit == Run.objects.get().tip


def test_a_ref_is_set_only_where_it_was_expected(run, git):
    with pytest.raises(Exception, match="the branch stands at"):
        git.set_ref(f"refs/heads/{run.branch}", run.best.commit, ZERO)


def test_a_branch_that_was_there_before_the_run_is_not_overwritten(make_script_program):
    program = make_script_program("score", name="another")
    git = Workspace(program.repo)
    theirs = git.commit(git.ref("refs/heads/main"), {"train.py": "LR = 1\n"}, "By hand")
    git.set_ref("refs/heads/autoresearch/night", theirs)
    started = actions.start_run(program, "night", by="ada")
    assert (started.state, started.reason) == (RunState.PAUSED, "branch_moved")
    assert git.ref("refs/heads/autoresearch/night") == theirs
    actions.restore_branch(started, by="ada")
    assert git.ref("refs/heads/autoresearch/night") == started.base_commit
    assert git.ref(f"refs/autoresearch/{started.pk}/outside-{theirs[:12]}") == theirs


def test_a_run_that_has_ended_asks_too(run, git):
    run.stop(by="ada")
    outside = move_from_outside(run, git)
    look(run)
    assert (run.state, run.reason) == (RunState.ENDED, "branch_moved")
    assert git.ref(f"refs/heads/{run.branch}") == outside
    actions.restore_branch(run, by="ada")
    assert git.ref(f"refs/heads/{run.branch}") == run.best.commit
