"""`make quick` and the order of the suite: which tests belong to a change, and which go first."""

from __future__ import annotations

import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests import quick, timing


@pytest.mark.parametrize(
    ("path", "expected", "not_expected"),
    [
        ("experiments/loop/engine.py", {"tests/loop/test_gate.py"}, "tests/trainer/test_exam.py"),
        ("experiments/charts.py", {"tests/test_charts.py"}, "tests/test_diffs.py"),
        ("experiments/models/run.py", {"tests/models/test_run.py", "tests/loop/test_gate.py"}, "tests/test_charts.py"),
        ("trainer/output.py", {"tests/trainer/test_output.py", "tests/attacks/test_cheats.py"}, "tests/views/test_home.py"),
        ("templates/home.html", {"tests/views/test_home.py", "tests/browser/test_pages.py"}, "tests/loop/test_gate.py"),
        ("static/js/live.js", {"tests/browser/test_live.py"}, "tests/views/test_home.py"),
        ("tests/loop/scripted.py", {"tests/loop/test_gate.py"}, "tests/test_charts.py"),
        ("tests/test_charts.py", {"tests/test_charts.py"}, "tests/test_diffs.py"),
        ("experiments/states.py", {"tests/test_states.py", "tests/test_costs.py"}, "tests/trainer/test_exam.py"),
    ],
)
def test_a_change_brings_the_tests_of_its_room_and_those_that_import_it(path: str, expected: set[str], not_expected: str):
    chosen, left = quick.choose([path], {}, most=1e9)
    assert expected <= set(chosen) and not_expected not in chosen and left == []


def test_what_has_no_room_in_the_time_is_named_and_what_was_changed_itself_comes_first():
    seconds = {"tests/loop/test_gate.py": 90.0, "tests/loop/test_path.py": 20.0}
    chosen, left = quick.choose(["experiments/loop/engine.py"], seconds, most=60.0)
    assert "tests/loop/test_path.py" in chosen and left == ["tests/loop/test_gate.py"]
    chosen, left = quick.choose(["experiments/loop/engine.py", "tests/loop/test_gate.py"], seconds, most=60.0)
    assert left == ["tests/loop/test_gate.py"] and "tests/loop/test_path.py" in chosen
    chosen, _ = quick.choose(["experiments/loop/engine.py", "tests/loop/test_gate.py"], seconds, most=95.0)
    assert chosen[0] == "tests/loop/test_gate.py" and "tests/loop/test_path.py" not in chosen


def test_the_change_is_what_git_calls_changed_or_the_last_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def git(*args: str) -> None:
        subprocess.run(["git", "-c", "user.name=a", "-c", "user.email=a@b", *args], cwd=tmp_path, check=True)

    monkeypatch.setattr(quick, "ROOT", tmp_path)
    git("init", "-q", "-b", "main")
    for name in ("one", "two"):
        (tmp_path / name).write_text(name)
        git("add", ".")
        git("commit", "-qm", name)
    assert quick.changed() == ["two"]
    assert quick.changed("HEAD~") == ["two"]
    (tmp_path / "one").write_text("changed")
    (tmp_path / "three").write_text("new")
    assert quick.changed() == ["one", "three"]
    assert quick.changed("HEAD~") == ["one", "three", "two"]


def test_a_browsers_files_go_first_then_the_longest_and_a_new_one_before_it(monkeypatch: pytest.MonkeyPatch):
    page = "tests/browser/page.py"
    monkeypatch.setattr(timing, "known", lambda: {"a.py": 1.0, "b.py": 9.0, page: 2.0})
    ids = ("a.py::1", "b.py::1", "new.py::1", "a.py::2", "b.py::2", f"{page}::1")
    items = [SimpleNamespace(nodeid=nodeid) for nodeid in ids]
    timing.pytest_collection_modifyitems(items)  # type: ignore[arg-type]
    assert [item.nodeid for item in items] == [f"{page}::1", "new.py::1", "b.py::1", "b.py::2", "a.py::1", "a.py::2"]


def test_every_file_that_has_a_time_is_there():
    assert set(timing.known()) <= set(quick.files_of_tests())
