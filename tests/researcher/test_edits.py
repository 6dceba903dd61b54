"""What is read out of a reply, what is refused, and that nothing but EditError ever comes out."""

from __future__ import annotations

import contextlib
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments.researcher.base import Edit, Proposal
from experiments.researcher.edits import EditError, apply_edits, edits_from_json, edits_to_json, parse_reply

TRAIN = """import math

MATRIX_LR = 0.04  # Muon
UNEMBEDDING_LR = 0.004
DEPTH = 8


def schedule(progress):
    if progress < 0.5:
        return 1.0
    return 2 * (1 - progress)


def other(progress):
    return 1.0
"""
FILES = {"train.py": TRAIN}


def block(search: str, replace: str, path: str = "train.py") -> str:
    return f"{path}\n<<<<<<< SEARCH\n{search}\n=======\n{replace}\n>>>>>>> REPLACE\n"


PLAIN = "IDEA: Raise the matrix LR\nHYPOTHESIS: It is low\nfor this batch.\n" + 'MEMO: {"lr": 0.06}\n\n'
PLAIN += block("MATRIX_LR = 0.04  # Muon", "MATRIX_LR = 0.06  # Muon")


def read_and_apply(reply: str, files: dict[str, str] = FILES) -> dict[str, str]:
    return apply_edits(files, parse_reply(reply, files).edits)


def test_a_plain_reply_is_read_whole() -> None:
    proposal = parse_reply(PLAIN, FILES)

    assert proposal == Proposal(
        "Raise the matrix LR",
        "It is low for this batch.",
        (Edit("train.py", "MATRIX_LR = 0.04  # Muon", "MATRIX_LR = 0.06  # Muon"),),
        {"lr": 0.06},
    )


@pytest.mark.parametrize(
    "reply",
    [
        PLAIN,
        PLAIN.replace("\n", "\r\n"),
        PLAIN.replace("train.py\n", "**`train.py`**\n"),
        PLAIN.replace("train.py\n", "### File: train.py:\n"),
        PLAIN.replace("train.py\n", "./train.py\n\n"),
        PLAIN.replace("train.py\n", "```python\ntrain.py\n") + "```\n",
        PLAIN.replace("train.py\n", "train.py\n```python\n") + "```\n",
        PLAIN.replace("train.py\n", "```python train.py\n") + "```\n",
        PLAIN.replace("train.py\n", ""),
        PLAIN.replace("train.py\n", "Here is the change to make.\n"),
        PLAIN.replace("train.py\n<<<<<<< SEARCH", "<<<<<<< SEARCH train.py"),
        PLAIN.replace("SEARCH\n", "SEARCH   \n").replace("# Muon\n", "# Muon  \n"),
        PLAIN.replace("IDEA:", "**IDEA:**").replace("HYPOTHESIS:", "**Hypothesis**:").replace("MEMO:", "`MEMO`:"),
        PLAIN.replace("SEARCH\n", "SEARCH\n```python\n").replace("\n=======\n", "\n```\n=======\n"),
        "<think>I could write\n" + block("DEPTH = 8", "DEPTH = 9") + "</think>\n" + PLAIN,
        PLAIN.replace("<<<<<<<", "  <<<<<<<").replace("=======", "  ======="),
    ],
)
def test_habits_of_models_are_tolerated(reply: str) -> None:
    proposal = parse_reply(reply, FILES)

    assert proposal.description == "Raise the matrix LR"
    assert proposal.hypothesis.startswith("It is low for this batch.")
    assert proposal.memo == {"lr": 0.06}
    after = apply_edits(FILES, proposal.edits)["train.py"]
    assert after.replace("# Muon  ", "# Muon") == TRAIN.replace("MATRIX_LR = 0.04", "MATRIX_LR = 0.06")


def test_without_an_idea_line_the_first_line_serves() -> None:
    assert parse_reply("## Deeper is better\n" + block("a", "b"), FILES).description == "Deeper is better"
    assert parse_reply(block("a", "b"), FILES).description == "Change train.py"


def test_several_blocks_are_applied_in_order() -> None:
    reply = PLAIN + "\n<<<<<<< SEARCH\nMATRIX_LR = 0.06  # Muon\n=======\nMATRIX_LR = 0.07\n>>>>>>> REPLACE\n"

    assert "MATRIX_LR = 0.07\nUNEMBEDDING_LR" in read_and_apply(reply)["train.py"]


def test_an_empty_replacement_deletes_the_lines() -> None:
    assert read_and_apply("train.py\n<<<<<<< SEARCH\nDEPTH = 8\n=======\n>>>>>>> REPLACE")["train.py"] == TRAIN.replace(
        "DEPTH = 8\n", ""
    )


@pytest.mark.parametrize(
    ("search", "replace"),
    [
        ("if progress < 0.5:\n    return 1.0", "if progress < 0.4:\n    return 1.0"),
        ("        if progress < 0.5:\n            return 1.0", "        if progress < 0.4:\n            return 1.0"),
        ("    if progress < 0.5:   \n        return 1.0", "    if progress < 0.4:\n        return 1.0"),
        ("\n    if progress < 0.5:\n        return 1.0\n", "\n    if progress < 0.4:\n        return 1.0\n"),
        ("progress < 0.5", "progress < 0.4"),
    ],
)
def test_whitespace_is_matched_tolerantly(search: str, replace: str) -> None:
    assert read_and_apply(block(search, replace))["train.py"] == TRAIN.replace("0.5:", "0.4:")


def test_line_ends_of_the_file_are_kept() -> None:
    files = {"train.py": TRAIN.replace("\n", "\r\n")}

    assert read_and_apply(PLAIN, files)["train.py"] == TRAIN.replace("0.04", "0.06", 1).replace("\n", "\r\n")


def test_a_whole_file_in_a_fence_is_taken() -> None:
    text = TRAIN.replace("DEPTH = 8", "DEPTH = 6")

    assert read_and_apply(f"IDEA: shallower\n\n**train.py**\n```python\n{text}```\nDone.")["train.py"] == text


def refused(reply: str, files: dict[str, str] = FILES) -> str:
    with pytest.raises(EditError) as caught:
        read_and_apply(reply, files)
    return str(caught.value)


@pytest.mark.parametrize("path", ["prepare.py", "/etc/passwd", "../train.py", "src/../train.py", "C:\\train.py", ".git/x"])
def test_only_editable_paths_are_accepted(path: str) -> None:
    for reply in (
        block("a", "b", path),
        f"{path}\n```\nx = 1\n```\n",
        block("a", "b").replace("SEARCH", f"SEARCH {path}"),
    ):
        if reply.startswith("train.py"):
            reply = reply.removeprefix("train.py\n")
        message = refused(reply)
        assert "may not be edited" in message
        assert "train.py" in message
    with pytest.raises(EditError, match="may not be edited"):
        apply_edits(FILES, [Edit(path, None, "x = 1\n")])


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        ("", "No edit found"),
        ("I have no idea.", "No edit found"),
        ("```python\nx = 1\n```", "No edit found"),
        (PLAIN.replace(">>>>>>> REPLACE\n", ""), "was the reply cut"),
        (PLAIN.replace("=======\n", ""), "======= was expected"),
        (PLAIN + PLAIN.replace("=======\n", "=======\n=======\n"), "REPLACE was expected"),
        (block("        return 1.0", "return"), "is no Python"),  # the exact line wins
        (block("return 1.0", "return 3.0"), "fits 2 places in train.py (lines 10, 15)"),
        (block("MATRIX_LR = 0.05", "x = 1"), "Nearest lines, from line 3:\nMATRIX_LR = 0.04  # Muon"),
        (block("LR = 0.04", "LR = 0.1"), "is not in train.py"),
        (block("        return 1.0\n    return 2 *", "x"), "is not in train.py"),
        (block("", "x = 1"), "is empty"),
        (block("DEPTH = 8", "DEPTH = 8"), "change nothing in train.py"),
        (block("DEPTH = 8", "DEPTH = = 8"), "is no Python after the edit: line 5: invalid syntax: DEPTH = = 8"),
        (block("DEPTH = 8", "DEPTH = 8\n\0"), "NUL"),
        (block("DEPTH = 8", "x = '" + "é" * 600_000 + "'"), "at most 1,000,000"),
        (block("DEPTH = 8", "x = " + "(" * 5000), "Python"),
        (block("a\n" * 3000, "b"), "more than 2,000 lines"),
        ("train.py\n```python\nx = 1\n", "not closed"),
        (f"train.py\n```python\nx = 1\n# ... rest of the file unchanged\n{TRAIN}```\n", "leaves lines out"),
        ("train.py\n```python\nx = 1\n```\ntrain.py\n```python\nx = 1\n```\n", "twice"),
        (block("a", "b") * 201, "at most 200"),
        ("x" * 4_000_001, "at most 4,000,000"),
    ],
)
def test_what_is_refused_is_named(reply: str, message: str) -> None:
    assert message in refused(reply)


def test_a_fragment_is_not_taken_for_the_whole_file() -> None:
    files = {"train.py": "".join(f"x{i} = {i}\n" for i in range(100))}

    assert "looks like a part" in refused("train.py\n```python\nx1 = 2\n```\n", files)


def test_a_block_must_name_its_file_where_several_are_editable() -> None:
    files = {"train.py": TRAIN, "model.py": "WIDTH = 3\n"}

    assert "names no file" in refused("<<<<<<< SEARCH\nWIDTH = 3\n=======\nWIDTH = 4\n>>>>>>> REPLACE", files)
    assert read_and_apply(block("WIDTH = 3", "WIDTH = 4", "model.py"), files) == {**files, "model.py": "WIDTH = 4\n"}


@pytest.mark.parametrize(
    "memo", ["{", "[1]", '{"a": NaN}', '{"a": 1e999}', '{"a": "\\ud800"}', '{"a": "\\u0000"}', "[" * 9999]
)
def test_a_broken_memo_is_dropped_and_the_edit_kept(memo: str) -> None:
    assert parse_reply(f"MEMO: {memo}\n" + block("a", "b"), FILES).memo == {}


def test_edits_survive_json() -> None:
    edits = (Edit("train.py", "a\n", "b"), Edit("train.py", None, "é\n"))

    assert edits_from_json(edits_to_json(edits)) == edits


@pytest.mark.parametrize(
    "text", ["", "{}", "[1]", '[{"path": "a"}]', '[{"path": 1, "search": null, "replace": ""}]', "[" * 99999]
)
def test_stored_edits_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(EditError):
        edits_from_json(text)


SLOW = {
    "spaces": "train.py\n```python\n" + " " * 1_000_000 + "\n```\n",
    "fences": "```\n" * 200_000,
    "keys": "IDEA" + " " * 1_000_000 + "x",
    "equal lines": block("a = 1\n" * 1_999 + "b = 1", "c"),
    "equal parts": block("b = b", "c"),
}


@pytest.mark.parametrize("reply", SLOW.values(), ids=SLOW)
def test_no_reply_takes_long(reply: str) -> None:
    """Some of these once took from ten seconds to minutes."""
    files = {"train.py": "a = 1\n" * 100_000 + "b = b = " * 10_000}
    started = time.monotonic()

    with contextlib.suppress(EditError):
        read_and_apply(reply, files)

    assert time.monotonic() - started < 10


MARKS = ("<<<<<<< SEARCH", "=======", ">>>>>>> REPLACE", "```python", "```", "<think>")
WORDS = ("IDEA: x", "HYPOTHESIS:", "MEMO: {", "train.py", "prepare.py", "../x.py", "", "\0")
CODE = ("MATRIX_LR = 0.04  # Muon", "DEPTH = 8", "DEPTH = (", "  return 1.0")
PIECES = st.sampled_from(MARKS + WORDS + CODE)
REPLIES = st.one_of(st.text(), st.lists(st.one_of(PIECES, PIECES, st.text(max_size=20)), max_size=25).map("\n".join))


@settings(max_examples=400, deadline=None)
@given(REPLIES, st.sampled_from([["train.py"], ["train.py", "prepare.py"], []]))
def test_any_text_is_a_proposal_or_an_edit_error(text: str, editable: list[str]) -> None:
    try:
        proposal = parse_reply(text, editable)
    except EditError as error:
        assert str(error)
        return
    assert proposal.description
    assert "\n" not in proposal.description
    assert proposal.edits
    assert {edit.path for edit in proposal.edits} <= set(editable)
    try:
        after = apply_edits(dict.fromkeys(editable, TRAIN), proposal.edits)
    except EditError as error:
        assert str(error)
    else:
        assert set(after) == set(editable)
        assert any(text != TRAIN for text in after.values())


@settings(max_examples=300, deadline=None)
@given(st.text(), st.one_of(st.none(), st.text()), st.text(), st.sampled_from(["train.py", "notes.md"]))
def test_any_edit_is_applied_or_refused(text: str, search: str | None, replace: str, path: str) -> None:
    try:
        after = apply_edits({path: text}, [Edit(path, search, replace)])
    except EditError:
        return
    assert after[path] != text


@settings(max_examples=200, deadline=None)
@given(st.text())
def test_any_stored_text_is_edits_or_an_edit_error(text: str) -> None:
    with contextlib.suppress(EditError):
        edits_from_json(text)
