"""Edits made from two versions of a file: applied they give the second one, whatever both are; and they survive a move."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.researcher.agent_edits import diff_between, edits_between
from experiments.researcher.edits import apply_edits

LINES = st.sampled_from(["a = 1", "b = 2", "", "    c", "=======", "<<<<<<< SEARCH", ">>>>>>> REPLACE", "```", "# ...", "x"])
TEXTS = st.tuples(st.lists(LINES, max_size=25), st.sampled_from(["", "\n", "\n\n"])).map(lambda t: "\n".join(t[0]) + t[1])
FILE = "\n".join(f"NAME_{n} = {n}" for n in range(40)) + "\n"


@given(TEXTS, TEXTS, st.sampled_from(["\n", "\r\n"]))
def test_the_edits_of_two_texts_give_the_second(before: str, after: str, end: str) -> None:
    before, after = before.replace("\n", end), after.replace("\n", end)
    if before != after:
        edits = edits_between({"notes.txt": before}, {"notes.txt": after})
        assert apply_edits({"notes.txt": before}, edits) == {"notes.txt": after}


def test_edits_are_as_small_as_they_can_be_and_fit_a_file_that_has_moved_on() -> None:
    after = FILE.replace("NAME_7 = 7", "NAME_7 = 70").replace("NAME_30 = 30\n", "")
    edits = edits_between({"train.py": FILE}, {"train.py": after})
    assert len(edits) == 2 and all(edit.search and edit.search.count("\n") == 2 for edit in edits)
    moved = FILE.replace("NAME_20 = 20", "NAME_20 = 0\nMORE = 1")
    assert apply_edits({"train.py": moved}, edits)["train.py"] == after.replace("NAME_20 = 20", "NAME_20 = 0\nMORE = 1")


def test_a_change_among_equal_lines_gets_the_lines_it_needs() -> None:
    before = "def a():\n    x = 1\n    return x\n\n\ndef b():\n    x = 1\n    return x\n"
    after = before[::-1].replace("1", "2", 1)[::-1]
    (edit,) = edits_between({"train.py": before}, {"train.py": after})
    assert edit.search is not None
    assert apply_edits({"train.py": before}, (edit,)) == {"train.py": after}


@pytest.mark.parametrize(
    "after",
    [
        pytest.param("\n".join(str(n) for n in range(100_000)), id="very long"),
        pytest.param("\n".join("xy"[n % 2] for n in range(2_000)), id="two lines again and again"),
        pytest.param("\n".join(f"NAME_{n % 97}" for n in range(2_000)), id="many equal lines"),
    ],
)
def test_no_text_takes_long(after: str) -> None:
    before = {"notes.txt": "\n".join(f"NAME_{n * 31 % 89}" for n in range(2_000))}
    began = time.monotonic()
    edits = edits_between(before, {"notes.txt": after})
    assert len(diff_between(before, {"notes.txt": after})) < 70_000
    assert apply_edits(before, edits) == {"notes.txt": after}
    assert time.monotonic() - began < 10
