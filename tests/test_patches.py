from __future__ import annotations

import difflib
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest

from experiments import diffs, patches

OLD = "".join(f"x{i} = {i}\n" for i in range(60))
NEW = OLD.replace("x10 = 10", "x10 = 11").replace("x30 = 30\n", "").replace("x50 = 50\n", "x50 = 50\ny = 1\n")
NASTY = "<script>\nFrom: evil <e@x>\n---\n--- /dev/null\n+++ b/evil\n@@ -0,0 +1 @@\n+x\nFrom 0 Mon Sep 17\nline\r\x1b[31m"


def unified(old: str, new: str, path: str = "train.py", context: int = 3) -> str:
    lines = difflib.unified_diff(old.splitlines(True), new.splitlines(True), f"a/{path}", f"b/{path}", n=context)
    return "".join(lines)


def rows(text: str) -> list[tuple[str, int | None, int | None]]:
    return [(row.kind, row.old, row.new) for file in diffs.parse(text) for block in file.blocks for row in block.rows]


@pytest.mark.parametrize("context", [0, 1, 3])
def test_the_whole_file_is_the_diff_with_all_its_lines(context: int):
    diff = unified(OLD, NEW, context=context)
    assert rows(patches.whole(diff, {"train.py": NEW})) == rows(unified(OLD, NEW, context=100))


@pytest.mark.parametrize("text", [None, "", NEW.replace("x10", "z10"), "x0 = 0\n"])
def test_a_file_that_is_not_the_diffs_stays_as_it_is(text: str | None):
    diff = unified(OLD, NEW)
    files = {} if text is None else {"train.py": text}
    assert rows(patches.whole(diff, files)) == rows(diff)


def test_a_file_that_was_emptied_and_one_that_is_new():
    assert rows(patches.whole(unified("a\nb\n", ""), {"train.py": ""})) == [("del", 1, None), ("del", 2, None)]
    assert rows(patches.whole(unified("", "a\n"), {"train.py": "a\n"})) == [("add", None, 1)]


def test_only_files_that_are_left_are_asked_for():
    gone = unified("a\n", "", "gone.py").replace("+++ b/gone.py", "+++ /dev/null")
    assert patches.paths(unified("a\n", "b\n", "in/it.py") + gone) == ["in/it.py"]
    assert patches.paths("no diff at all") == []


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    git(tmp_path, "init", "-q")
    (tmp_path / "train.py").write_bytes(OLD.encode())
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-qm", "start")
    return tmp_path


def git(folder: Path, *args: str, stdin: str = "") -> str:
    person = ["-c", "user.name=t", "-c", "user.email=t@localhost", "-c", "core.hooksPath=/dev/null"]
    done = subprocess.run(["git", *person, *args], cwd=folder, input=stdin.encode(), capture_output=True, check=True)
    return done.stdout.decode()


@pytest.mark.parametrize("subject", ["Raise the rate", "Höher 🎉 von rechts שלום", "x" * 200, "[PATCH] a\nb", ""])
def test_git_takes_the_patch(clone: Path, subject: str):
    at = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)
    text = patches.mail(unified(OLD, NEW), subject=subject, body=NASTY, commit="f" * 40, at=at)
    git(clone, "apply", "--check", stdin=text)
    git(clone, "am", "-q", stdin=text)
    assert (clone / "train.py").read_text() == NEW
    assert git(clone, "log", "-1", "--format=%an %at").strip() == f"autoresearch-web {at.timestamp():.0f}"
    assert sorted(path.name for path in clone.iterdir()) == [".git", "train.py"]
    if subject.startswith("Höher"):
        assert git(clone, "log", "-1", "--format=%s").strip() == subject


def test_git_takes_a_last_line_without_an_end(clone: Path):
    diff = unified(OLD, OLD + "y = 1\n").replace("+y = 1\n", "+y = 1\n\\ No newline at end of file\n")
    git(clone, "apply", stdin=patches.mail(diff, subject="s", body="", commit="", at=datetime.now(UTC)))
    assert (clone / "train.py").read_text() == OLD + "y = 1"
