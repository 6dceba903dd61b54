from __future__ import annotations

import difflib
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments import diff_spans, diffs
from experiments.diffs import FileDiff, Row
from tests.factories import DIFF


def rows_of(file: FileDiff) -> list[Row]:
    return [row for block in file.blocks for row in block.rows]


def text_of(row: Row) -> str:
    return "".join(span.text for span in row.spans)


def unified(old: str, new: str, path: str = "train.py", context: int = 3) -> str:
    lines = difflib.unified_diff(old.splitlines(True), new.splitlines(True), f"a/{path}", f"b/{path}", n=context)
    return "".join(lines)


def test_rows_have_the_line_numbers_of_their_side():
    (file,) = diffs.parse(DIFF)
    assert (file.path, file.added, file.removed, file.left_out) == ("train.py", 1, 1, 0)
    assert [(row.kind, row.old, row.new) for row in rows_of(file)] == [
        ("same", 10, 10), ("del", 11, None), ("add", None, 11), ("same", 12, 12),
    ]  # fmt: skip
    assert [row.sign for row in rows_of(file)] == [" ", "−", "+", " "]


def test_only_the_words_that_differ_are_marked():
    (file,) = diffs.parse(DIFF)
    changed = [[span.text for span in row.spans if span.changed] for row in rows_of(file)]
    assert changed == [[], ["0.06"], ["0.08"], []]


def test_a_changed_line_finds_its_partner_behind_a_new_comment():
    (file,) = diffs.parse(unified("LR = 0.06\n", "# higher, since the batch is larger\nLR = 0.08\n"))
    comment, line = [row for row in rows_of(file) if row.kind == "add"]
    assert not any(span.changed for span in comment.spans)
    assert [span.text for span in line.spans if span.changed] == ["0.08"]


def test_lines_with_nothing_in_common_are_not_marked():
    (file,) = diffs.parse(unified("import os\n", "x = model(batch, targets)\n"))
    assert not any(span.changed for row in rows_of(file) for span in row.spans)


def test_python_is_coloured_and_a_string_over_lines_stays_one():
    (file,) = diffs.parse(unified("", 'def f():\n    """One\n    two."""\n    return 1\n'))
    by_text = {span.text.strip(): span.css for row in rows_of(file) for span in row.spans}
    assert by_text["def"] == "k"
    assert by_text['"""One'] == by_text['two."""'] == "sd"
    assert by_text["1"] == "mi"


def test_hidden_characters_are_made_visible():
    (file,) = diffs.parse(unified("a = 1\n", "a = 1  # \u202e\u200b\x1b[31m\n"))
    odd = [span.text for row in rows_of(file) for span in row.spans if span.css == "odd"]
    assert odd == ["U+202E", "U+200B", "U+001B"]


def test_long_stretches_of_unchanged_lines_are_folded():
    old = "".join(f"x{i} = {i}\n" for i in range(40))
    (file,) = diffs.parse(unified(old, old.replace("x20 = 20", "x20 = 21"), context=20))
    shape = [(block.folded, len(block.rows)) for block in file.blocks if block.rows]
    assert shape == [(True, 17), (False, 8), (True, 16)]
    assert len(rows_of(file)) == 41


@pytest.mark.parametrize(
    ("text", "change"),
    [
        (unified("", "a\n").replace("--- a/train.py", "--- /dev/null"), "new file"),
        (unified("a\n", "").replace("+++ b/train.py", "+++ /dev/null"), "deleted"),
        ("diff --git a/x.bin b/x.bin\nBinary files a/x.bin and b/x.bin differ\n", "binary; no lines to show"),
        ("diff --git a/a.py b/b.py\nsimilarity index 100%\nrename from a.py\nrename to b.py\n", "renamed from a.py"),
        ("diff --git a/a.py b/a.py\nold mode 100644\nnew mode 100755\n", "no lines changed"),
    ],
)  # fmt: skip
def test_what_happened_to_a_file_is_said(text: str, change: str):
    (file,) = diffs.parse(text)
    assert file.change == change


def test_no_text_is_no_file():
    assert diffs.parse("") == diffs.parse(" \n") == ()


def test_text_that_is_no_diff_is_shown_as_it_is():
    (file,) = diffs.parse("--- a/x\n+++ b/x\n@@ -1,2 +1,2 @@\n <b>cut off")
    assert "not a unified diff" in file.change
    assert text_of(rows_of(file)[-1]) == " <b>cut off"


def test_a_huge_diff_is_cut_and_says_so():
    (file,) = diffs.parse(unified("", "".join(f"x{i} = {i}\n" for i in range(diffs.MAX_ROWS + 5))))
    assert len(rows_of(file)) == diffs.MAX_ROWS
    assert file.left_out == 5


def test_a_very_long_line_is_cut_and_says_so():
    (file,) = diffs.parse(unified("", "x" * 5000 + "\n"))
    assert text_of(rows_of(file)[0]).endswith("x … 4,000 more characters")


def test_marks_end_when_they_cost_too_much(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(diff_spans, "MAX_COMPARED", 10)
    (file,) = diffs.parse(unified("alpha = 1\nx\nbeta = 1\n", "alpha = 2\nx\nbeta = 2\n"))
    assert [row.old or row.new for row in rows_of(file) for span in row.spans if span.changed] == [1, 1]


def test_the_worst_diff_is_quick():
    old = "".join(f"{'a, ' * 300}{i}\n" for i in range(1500))
    text = unified(old, old.replace("a, ", "b, "))
    started = time.monotonic()
    for file in diffs.parse.__wrapped__(text):
        assert sum(len(block.pairs) for block in file.blocks) <= len(rows_of(file))
    assert time.monotonic() - started < 20


def test_a_huge_diff_comes_in_pages():
    lines = [f"x{i} = {i}\n" for i in range(diffs.MAX_ROWS + 5)]
    text = unified("", "".join(lines)) + unified("a\n", "b\n", "other.py")
    huge, other = diffs.parse(text, diffs.MAX_ROWS)
    assert [text_of(row) for row in rows_of(huge)] == [line.rstrip() for line in lines[-5:]]
    assert (rows_of(huge)[0].new, huge.left_out, huge.lines) == (diffs.MAX_ROWS + 1, 0, diffs.MAX_ROWS + 5)
    assert len(rows_of(other)) == 2
    (first, _) = diffs.parse(text, diffs.MAX_ROWS + 5)
    assert (first.blocks, first.left_out) == ((), 0)


def test_side_by_side_a_changed_line_stands_beside_its_partner():
    (file,) = diffs.parse(unified("a\nLR = 0.06\ngone\nz\n", "a\n# higher\nLR = 0.08\nz\nend\n"))
    sides = [tuple(text_of(row) if row else None for row in pair) for block in file.blocks for pair in block.pairs]
    assert sides == [
        ("a", "a"), (None, "# higher"), ("LR = 0.06", "LR = 0.08"), ("gone", None), ("z", "z"), (None, "end"),
    ]  # fmt: skip


def test_a_hunk_knows_how_many_lines_are_hidden_before_it():
    old = "".join(f"x{i} = {i}\n" for i in range(60))
    (file,) = diffs.parse(unified(old, old.replace("x20 = 20", "x20 = 21").replace("x50 = 50", "x50 = 51")))
    assert [(block.hidden, block.hidden_from) for block in file.blocks] == [(17, 1), (23, 25)]


@pytest.mark.parametrize(
    ("old", "new", "kinds"),
    [
        ("a\nb\n", "a\nc\n", ["same", "del", "add"]),
        ("a\n", "a\r\n", []),
        ("a\x0cb\u2028c\n", "a\x0cb\u2028d\n", ["del", "add"]),
        ("", "a\n", ["add"]),
        ("-- a\n", "++ b\n", ["del", "add"]),
    ],
)
def test_between_two_texts(old: str, new: str, kinds: list[str]):
    files = diffs.between(old, new, "program.md")
    assert [row.kind for file in files for row in rows_of(file)] == kinds


@given(st.text(), st.text())
def test_any_two_texts_come_out_whole(old: str, new: str):
    shown = [row for file in diffs.between(old, new, "train.py") for row in rows_of(file)]
    assert all(isinstance(text_of(row), str) for row in shown)
    assert not shown or {row.kind for row in shown} <= {"same", "add", "del"}


@given(st.text(alphabet="+-@ \\\nabdiff/123,\t\r\x00"))
def test_any_text_is_accepted(text: str):
    for file in diffs.parse.__wrapped__(text):
        assert sum(len(block.pairs) for block in file.blocks) <= len(rows_of(file))
