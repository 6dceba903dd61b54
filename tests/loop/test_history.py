"""Going back in a run: roll back and forward, revert one commit, and what waits while the best moves. Real git."""

from __future__ import annotations

import subprocess
import threading

import pytest
from django.utils import timezone

from experiments.activity import activity
from experiments.cards import program_cards
from experiments.loop import actions, engine
from experiments.loop.workspace import Workspace
from experiments.models import Experiment
from experiments.states import Kind, State, StateError
from experiments.tiles import tiles
from tests.loop.conftest import look
from tests.loop.scripted import change, edit

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def run(make_script_program):
    return actions.start_run(make_script_program("score"), "night", by="ada")


def tip(run) -> str:
    """As git itself says it, not by our own reader."""
    command = ["git", "-C", str(run.program.repo), "rev-parse", f"refs/heads/{run.branch}"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def text_of(experiment) -> str:
    return Workspace(experiment.run.program.repo).read(experiment.commit, ["train.py"])["train.py"]


def refs(run) -> str:
    command = ["git", "-C", str(run.program.repo), "for-each-ref", "--format=%(refname) %(objectname)"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_a_roll_back_moves_the_branch_and_a_roll_forward_moves_it_again(run, loop, answers):
    answers(change("MATRIX_LR", 0.06), change("WARMDOWN", 0.6), change("DECAY", 0.05))
    rows = loop.finish(run, 4)
    assert [row.state for row in rows] == [State.KEPT] * 4 and tip(run) == rows[3].commit
    run.make_best(rows[1], by="ada")
    look(run)
    assert tip(run) == rows[1].commit
    assert list(run.experiments.order_by("number").values_list("state", flat=True)[2:4]) == ["reverted"] * 2
    assert Workspace(run.program.repo).ref(rows[3].ref) == rows[3].commit
    rows[3].refresh_from_db()
    run.make_best(rows[3], by="ada")
    look(run)
    assert tip(run) == rows[3].commit


def test_after_a_roll_back_the_next_idea_builds_on_what_is_now_the_best(run, loop, answers):
    answers(change("MATRIX_LR", 0.06), change("WARMDOWN", 0.6), change("DECAY", 0.05))
    rows = loop.finish(run, 3)
    run.make_best(rows[1], by="ada")
    newest = loop.finish(run, 4)[3]
    assert (newest.parent, newest.state) == (rows[1], State.KEPT)
    assert "WARMDOWN = 0.5" in text_of(newest)


def test_a_revert_is_a_new_experiment_trained_and_judged(run, loop, answers):
    answers(change("MATRIX_LR", 0.06), change("DECAY", 0.05), change("STEPS", 5))
    rows = loop.finish(run, 3)
    made = actions.revert(rows[1], by="ada")
    assert (made.kind, made.state, made.parent, made.subject) == (Kind.REVERT, State.READY, rows[2], rows[1])
    assert "MATRIX_LR = 0.04" in text_of(made) and "DECAY = 0.05" in text_of(made)
    loop.until(run, lambda: run.experiments.get(pk=made.pk).state in {State.KEPT, State.DISCARDED})
    made.refresh_from_db()
    assert (made.state, made.score > rows[2].score) == (State.DISCARDED, True)
    assert made.detail.startswith("worse by")


def test_a_change_is_reverted_beside_a_later_one_on_the_next_line(run, loop, answers):
    answers(change("MATRIX_LR", 0.06), change("WARMDOWN", 0.6), change("STEPS", 5))
    rows = loop.finish(run, 3)
    made = actions.revert(rows[1], by="ada")
    assert "MATRIX_LR = 0.04" in text_of(made) and "WARMDOWN = 0.6" in text_of(made)


def test_a_revert_that_helps_is_kept(run, loop, answers):
    worse = edit("worse, but it prints less", "DECAY = 0.1", "DECAY = 0.1  # tuned")
    answers(change("MATRIX_LR", 0.06), worse)
    baseline, kept = loop.finish(run, 2)
    type(kept).objects.filter(pk=kept.pk).update(score=9.0)  # it was lucky: what it really is shows in the revert
    made = actions.revert(kept, by="ada")
    loop.until(run, lambda: run.best.pk == made.pk)
    assert text_of(run.best) == text_of(baseline) and tip(run) == run.best.commit


def test_a_revert_that_conflicts_says_so_and_changes_nothing(run, loop, answers):
    answers(change("MATRIX_LR", 0.06), change("MATRIX_LR", 0.08))
    rows = loop.finish(run, 3)
    before, count = refs(run), run.experiments.count()
    with pytest.raises(StateError, match=r"#1 cannot be reverted alone: .*train\.py.* Nothing was changed"):
        actions.revert(rows[1], by="ada")
    assert (refs(run), run.experiments.count()) == (before, count)


@pytest.mark.parametrize("number", [0, 2])
def test_only_a_kept_change_can_be_reverted(run, loop, answers, number):
    answers(change("MATRIX_LR", 0.06), change("MATRIX_LR", 0.001))
    rows = loop.finish(run, 3)
    with pytest.raises(StateError, match="not a kept change"):
        actions.revert(rows[number], by="ada")


def test_a_second_revert_of_the_same_is_refused(run, loop, answers):
    answers(change("MATRIX_LR", 0.06))
    kept = loop.finish(run, 2)[1]
    actions.revert(kept, by="ada")
    with pytest.raises(StateError, match="being reverted already"):
        actions.revert(kept, by="bob")


def two_ideas(run, loop):
    """Two ideas on the baseline, both proposed and not yet trained: a run with two lanes."""
    loop.baseline(run)
    run.lanes = 2
    run.save(update_fields=["lanes"])
    for _ in range(2):
        for stage, pk in look(run):
            if stage == "propose":
                engine.propose(pk)
    return list(run.experiments.filter(state=State.READY).order_by("number"))


def test_an_idea_that_waited_while_the_best_moved_is_put_on_the_new_best(run, loop, answers):
    answers(change("MATRIX_LR", 0.06), change("WARMDOWN", 0.6))
    first, second = two_ideas(run, loop)
    engine.train(second.pk)
    engine.train(first.pk)
    first.refresh_from_db()
    assert (first.state, first.parent) == (State.KEPT, second)
    assert "MATRIX_LR = 0.06" in text_of(first) and "WARMDOWN = 0.6" in text_of(first)
    assert "WARMDOWN" not in "".join(line for line in first.diff.splitlines() if line[:1] in "+-")
    assert Workspace(run.program.repo).ref(first.ref) == first.commit == tip(run)


def test_an_idea_that_no_longer_fits_is_asked_for_again(run, loop, answers):
    answers(change("MATRIX_LR", 0.06), change("MATRIX_LR", 0.07), change("DECAY", 0.05))
    first, second = two_ideas(run, loop)
    engine.train(second.pk)
    engine.train(first.pk)
    first.refresh_from_db()
    assert (first.state, first.attempt, first.parent) == (State.PROPOSING, 2, second)
    assert "does not fit" in first.moves.last().why
    loop.until(run, lambda: run.best.pk == first.pk)
    assert "MATRIX_LR = 0.07" in text_of(run.best) and "DECAY = 0.05" in text_of(run.best)


def test_a_winner_over_a_parent_that_is_no_longer_the_best_is_tried_again_on_it(run, loop, answers, monkeypatch):
    answers(change("MATRIX_LR", 0.09), change("WARMDOWN", 0.6), change("DECAY", 0.9))
    first, second = two_ideas(run, loop)
    with monkeypatch.context() as patch:
        patch.setattr(engine, "decide", lambda pk: None)
        engine.train(first.pk)
        engine.train(second.pk)
    engine.decide(second.pk)
    engine.decide(first.pk)
    first.refresh_from_db()
    again = run.experiments.get(kind=Kind.REBASE)
    assert (first.state, run.best, again.subject, again.state) == (State.DISCARDED, second, first, State.READY)
    assert f"tried again on #{second.number} as #{again.number}" in first.detail
    assert Workspace(run.program.repo).ref(again.ref) == again.commit
    loop.until(run, lambda: run.best.pk == again.pk)
    assert run.best.parent == second
    assert "MATRIX_LR = 0.09" in text_of(run.best) and "WARMDOWN = 0.6" in text_of(run.best)


def test_a_roll_back_while_one_trains_does_not_lose_it(run, loop, answers, monkeypatch):
    answers(change("MATRIX_LR", 0.06), change("WARMDOWN", 0.6), change("DECAY", 0.9))
    rows = loop.finish(run, 2)
    with monkeypatch.context() as patch:
        patch.setattr(engine, "decide", lambda pk: None)
        loop.until(run, lambda: run.experiments.filter(number=2, state=State.EVALUATING).exists())
    run.make_best(rows[0], by="ada")
    loop.until(run, lambda: run.best.kind == Kind.REBASE)
    assert "MATRIX_LR = 0.04" in text_of(run.best) and "WARMDOWN = 0.6" in text_of(run.best)
    assert tip(run) == run.best.commit


def test_two_reverts_at_once_make_one(run, loop, answers, worker):
    answers(change("MATRIX_LR", 0.06))
    kept = loop.finish(run, 2)[1]
    start = threading.Barrier(4)

    def revert() -> None:
        start.wait()
        actions.revert(kept, by="ada")

    errors = [future.exception(20) for future in [worker(revert) for _ in range(4)]]
    assert [type(error) for error in errors if error] == [StateError] * 3
    assert run.experiments.filter(kind=Kind.REVERT).count() == 1


def test_one_that_is_cancelled_while_it_is_put_on_a_new_best_stays_as_it_was(run, loop, answers, monkeypatch):
    answers(change("MATRIX_LR", 0.06), change("WARMDOWN", 0.6))
    first, second = two_ideas(run, loop)
    engine.train(second.pk)
    read = Workspace.read

    def read_after_a_cancel(self, *args):
        Experiment.objects.get(pk=first.pk).cancel(by="ada")
        return read(self, *args)

    with monkeypatch.context() as patch:
        patch.setattr(Workspace, "read", read_after_a_cancel)
        engine.train(first.pk)
    row = Experiment.objects.get(pk=first.pk)
    assert (row.state, row.commit, row.parent) == (State.CANCELLED, first.commit, first.parent)
    assert Workspace(run.program.repo).ref(row.ref) == row.commit


def test_the_best_is_the_last_of_the_chain_also_where_an_earlier_number_came_later(run, loop, answers):
    answers(change("MATRIX_LR", 0.06), change("WARMDOWN", 0.6))
    first, second = two_ideas(run, loop)
    engine.train(second.pk)
    engine.train(first.pk)
    assert (run.best, run.best.parent) == (first, second)
    assert tiles(run, timezone.now()).best_number == activity(run).best.number == first.number
    assert [card.best for card in program_cards()[0].runs] == [run.best.score]
