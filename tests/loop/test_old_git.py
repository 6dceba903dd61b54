"""The loop with a git of 2020: what merges must not need `merge-tree --write-tree`, nor anything else that came later."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import git
import pytest

from experiments.loop import actions, engine, manual
from experiments.loop.errors import MergeConflict
from experiments.loop.workspace import Workspace
from experiments.states import Kind, State, StateError
from tests.loop.conftest import look, ready
from tests.loop.scripted import change, edit
from tests.loop.test_history import text_of, tip, two_ideas

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.sqlite_is_enough, pytest.mark.usefixtures("old_git")]


@pytest.fixture
def run(make_script_program, old_git):
    return actions.start_run(make_script_program("score"), "night", by="ada")


def test_the_stand_in_refuses_what_came_later(tmp_path: Path):
    for later in (["init", "--initial-branch=main", str(tmp_path / "x")], ["merge-tree", "--write-tree", "a", "b"]):
        assert subprocess.run(["git", *later], capture_output=True, check=False).returncode == 129
    said = subprocess.run(["git", "--version"], capture_output=True, text=True, check=True).stdout
    assert said == "git version 2.25.1\n"


def test_a_revert_in_the_middle_of_a_chain(run, loop, answers):
    answers(change("MATRIX_LR", 0.06), change("DECAY", 0.05), change("STEPS", 5))
    rows = loop.finish(run, 3)
    made = actions.revert(rows[1], by="ada")
    assert "MATRIX_LR = 0.04" in text_of(made) and "DECAY = 0.05" in text_of(made)
    loop.until(run, lambda: run.experiments.get(pk=made.pk).state in {State.KEPT, State.DISCARDED})


def test_a_revert_that_waited_while_the_best_moved_is_put_on_the_new_best(run, loop, answers):
    answers(change("MATRIX_LR", 0.06), change("DECAY", 0.05), change("STEPS", 5))
    rows = loop.finish(run, 2)
    later = ready(run)
    made = actions.revert(rows[1], by="ada")
    engine.train(later.pk)
    engine.train(made.pk)
    made.refresh_from_db()
    later.refresh_from_db()
    assert (later.state, made.parent, made.kind) == (State.KEPT, later, Kind.REVERT)
    assert "MATRIX_LR = 0.04" in text_of(made) and "DECAY = 0.05" in text_of(made)


def test_an_idea_whose_edits_find_their_place_no_more_is_merged(run, loop, answers):
    """Its SEARCH text holds a line that the best has changed since."""
    long = "MATRIX_LR = 0.04\nWARMDOWN = 0.5\nDECAY = 0.1"
    answers(edit("less decay", long, long.replace("0.1", "0.05")), change("MATRIX_LR", 0.06))
    first, second = two_ideas(run, loop)
    engine.train(second.pk)
    engine.train(first.pk)
    first.refresh_from_db()
    assert (first.state, first.parent, first.attempt) == (State.KEPT, second, 1)
    assert "MATRIX_LR = 0.06" in text_of(first) and "DECAY = 0.05" in text_of(first) and tip(run) == first.commit


def test_an_idea_that_conflicts_is_asked_for_again(run, loop, answers):
    answers(change("MATRIX_LR", 0.06), change("MATRIX_LR", 0.07), change("DECAY", 0.05))
    first, second = two_ideas(run, loop)
    engine.train(second.pk)
    engine.train(first.pk)
    first.refresh_from_db()
    assert (first.state, first.attempt) == (State.PROPOSING, 2) and "train.py" in first.moves.last().why


def test_a_revert_that_conflicts_says_so(run, loop, answers):
    answers(change("MATRIX_LR", 0.06), change("MATRIX_LR", 0.08))
    rows = loop.finish(run, 3)
    with pytest.raises(StateError, match=r"#1 cannot be reverted alone: .*train\.py.* Nothing was changed"):
        actions.revert(rows[1], by="ada")


def test_the_editor_starts_from_a_change_put_on_the_best(run, loop, answers):
    answers(change("MATRIX_LR", 0.06), change("DECAY", 0.9), change("STEPS", 5))
    rows = loop.finish(run, 3)
    look(run)
    run.make_best(rows[0], by="ada")
    start = manual.start(run, rows[1])
    assert "MATRIX_LR = 0.06" in start.texts["train.py"] and "does not fit" not in start.word


def test_a_broken_configuration_of_the_person_is_not_read(tmp_path: Path, monkeypatch):
    (tmp_path / ".gitconfig").write_text("[not a configuration")
    (tmp_path / "git").mkdir()
    (tmp_path / "git" / "config").write_text("[nor this")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    repo, commit = Workspace.create(tmp_path / "r.git", {"train.py": "A = 1\n"}, "start")
    assert repo.merge(commit, commit, commit) == repo.tree(commit)


def test_a_new_repository_starts_with_main(tmp_path: Path):
    repo, commit = Workspace.create(tmp_path / "r.git", {"train.py": "A = 1\n"}, "start")
    assert repo.ref("HEAD") == commit == repo.ref("refs/heads/main")


def test_objects_are_flushed_to_the_disk_by_the_name_that_an_old_git_knows(tmp_path: Path, old_git: Path):
    Workspace.create(tmp_path / "r.git", {"train.py": "A = 1\n"}, "start")
    starts = [said["argv"] for line in old_git.read_text().splitlines() if (said := json.loads(line))["event"] == "start"]
    assert starts and all("core.fsyncObjectFiles=true" in argv and "core.fsync=all" not in argv for argv in starts)


def test_a_conflict_is_a_conflict_and_a_commit_that_is_missing_is_not(tmp_path: Path):
    repo, base = Workspace.create(tmp_path / "r.git", {"train.py": "A = 1\n"}, "start")
    sides = [repo.commit(base, {"train.py": f"A = {number}\n"}, "side") for number in (2, 3)]
    with pytest.raises(MergeConflict) as conflict:
        repo.merge(base, *sides)
    assert conflict.value.files == ["train.py"]
    with pytest.raises(git.GitCommandError, match="not a tree object"):
        repo.merge(base, sides[0], "1" * 40)
