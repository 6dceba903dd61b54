"""What is read out of a reply, what is refused, and that nothing but EditError ever comes out."""

from __future__ import annotations

import contextlib
import json
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
        theme="learning rate",
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


# What the prompt asks for beside the edits

FORMS = {
    "diff": "--- a/train.py\n+++ b/train.py\n@@ -1,4 +1,4 @@\n import math\n \n-MATRIX_LR = 0.04  # Muon\n"
    "+MATRIX_LR = 0.06  # Muon\n UNEMBEDDING_LR = 0.004\n",
    "diff in a fence": "```diff\ndiff --git a/train.py b/train.py\nindex 123abc4..567def8 100644\n"
    "--- a/train.py\n+++ b/train.py\n"
    "@@ -90,2 +90,2 @@ def wrong_place():\n\n-MATRIX_LR = 0.04  # Muon\n+MATRIX_LR = 0.06  # Muon\n```\n",
    "diff without prefix": "--- train.py\t2026-01-01\n+++ train.py\t2026-01-02\n@@\n-MATRIX_LR = 0.04  # Muon\n"
    "+MATRIX_LR = 0.06  # Muon\n\n",
    "numbered": block(
        "   3| MATRIX_LR = 0.04  # Muon\n   4| UNEMBEDDING_LR = 0.004",
        "MATRIX_LR = 0.06  # Muon\n   4| UNEMBEDDING_LR = 0.004",
    ),
    "numbered whole file": "train.py\n```python\n"
    + "".join(f"{n:>4}| {line}".rstrip() + "\n" for n, line in enumerate(TRAIN.replace("0.04", "0.06", 1).splitlines(), 1))
    + "```\n",
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_every_form_of_an_edit_comes_to_the_same(form: str, line_end: str) -> None:
    reply = ("**IDEA:** Raise it\n\n" + form).replace("\n", line_end)
    assert parse_reply(reply, FILES).description == "Raise it"
    assert read_and_apply(reply)["train.py"] == TRAIN.replace("0.04", "0.06", 1)


def test_a_diff_of_several_files_and_hunks() -> None:
    files = {"train.py": TRAIN, "model.py": "WIDTH = 3\nHEADS = 2\n"}
    reply = (
        "IDEA: both\n--- a/train.py\n+++ b/train.py\n@@ -5 +5 @@\n-DEPTH = 8\n+DEPTH = 9\n@@ -9,2 +9,3 @@\n"
        "     if progress < 0.5:\n+        progress += 0\n         return 1.0\n"
        "--- a/model.py\n+++ b/model.py\n@@ -1,2 +1 @@\n-WIDTH = 3\n HEADS = 2\n\\ No newline at end of file\n"
    )
    after = read_and_apply(reply, files)
    assert after["model.py"] == "HEADS = 2\n"
    assert "DEPTH = 9" in after["train.py"] and "        progress += 0\n        return 1.0" in after["train.py"]


@pytest.mark.parametrize("path", ["prepare.py", "/dev/null", "../train.py", ".git/hooks/x"])
def test_a_diff_of_another_file_is_refused(path: str) -> None:
    assert "may not be edited" in refused(f"--- a/train.py\n+++ b/{path}\n@@ -1 +1 @@\n-DEPTH = 8\n+DEPTH = 9\n")


def test_a_bar_in_the_code_is_no_line_number() -> None:
    files = {"train.py": "FLAGS = (1 |\n         2| 4)\n"}
    assert read_and_apply(block("FLAGS = (1 |\n         2| 4)", "FLAGS = 7"), files)["train.py"] == "FLAGS = 7\n"


def header(text: str) -> Proposal:
    return parse_reply(text + "\n\n" + block("DEPTH = 8", "DEPTH = 9"), FILES)


@pytest.mark.parametrize(
    ("line", "theme"),
    [
        ("THEME: Learning rates", "learning rate"),
        ("**Theme:** depth-and-width", "depth and width"),
        ("“THEME”： `Token Mixing` (new!)", "token mixing new"),
        ("THEME: " + "x" * 200, "x" * 60),
        ("THEME: <script>alert(1)</script>", "script alert 1 /script"),
        ("THEME: none", "depth and width"),
        ("", "depth and width"),
    ],
)
def test_the_theme_is_read_or_guessed_from_the_idea(line: str, theme: str) -> None:
    assert header(f"IDEA: Deeper by one layer\n{line}").theme == theme


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("EXPECT: -0.003", -0.003),
        ("- **EXPECT:** about −0.003 bpb", -0.003),
        ("EXPECT: 1e-3", 0.001),
        ("EXPECT: -.5", -0.5),
        ("EXPECT: 0.5 %", None),
        ("EXPECT: better", None),
        ("EXPECT: 1e99", None),
    ],
)
def test_the_expected_effect_is_a_number_or_nothing(line: str, expected: float | None) -> None:
    assert header(line).memo.get("expect") == expected


def test_ideas_for_later_are_read_and_counted() -> None:
    reply = "IDEA: x\nNEXT: Wider heads\nNEXT:\n- **Longer warmdown**\n2. Fewer layers\n* A fourth\nNEXT: none"
    assert header(reply).next_ideas == ("Wider heads", "Longer warmdown", "Fewer layers")
    assert header("NEXT: None.").next_ideas == ()


# A sweep instead of edits


@pytest.mark.parametrize(
    "line",
    [
        "SWEEP: MATRIX_LR=0.02..0.08, DEPTH=4..12 over 6 experiments",
        "**SWEEP:** MATRIX_LR = 0.02 … 0.08; DEPTH: 4 to 12, over 6 trainings",
        "sweep: MATRIX_LR in [2e-2, 0.08] and DEPTH in [2**2, 12] over 6",
        "SWEEP:\nMATRIX_LR=.02...0.08\nDEPTH=4–12\nover 6 experiments\n\nThis takes 9 experiments off the list.",
    ],
)
def test_a_sweep_is_read(line: str) -> None:
    proposal = parse_reply(f"IDEA: Find them\n{line}\n", FILES)
    assert proposal.sweep is not None and proposal.edits == () and proposal.description == "Find them"
    assert proposal.sweep.count == 6 and dict(proposal.sweep.constants) == {"MATRIX_LR": (0.02, 0.08), "DEPTH": (4, 12)}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("SWEEP: MATRIX_LR=0.02..0.08", "over how many experiments"),
        ("SWEEP: MATRIX_LR=0.02..0.08 over 13 experiments", "from 2 to 12"),
        ("SWEEP: MATRIX_LR=0.02..0.08 over 1 experiment", "from 2 to 12"),
        ("SWEEP: MATRIX_LR=0.08..0.02 over 6 experiments", "from low to high"),
        ("SWEEP: MATRIX_LR=1..1 over 6 experiments", "from low to high"),
        ("SWEEP: MATRIX_LR=0..9**99 over 6 experiments", "no usable numbers"),
        ("SWEEP: A=1..2, B=1..2, C=1..2, D=1..2, E=1..2 over 6 experiments", "at most 4 constants"),
        ("SWEEP: A=1..2, A=1..3 over 6 experiments", "names A twice"),
        ("SWEEP: A=1..2, B=low..high over 6 experiments", "bounds of B could not be read"),
        ("SWEEP: the learning rate", "The SWEEP line could not be read"),
    ],
)
def test_a_sweep_that_cannot_be_met_is_refused(line: str, message: str) -> None:
    with pytest.raises(EditError, match=message):
        parse_reply(line, FILES)


def test_a_sweep_and_edits_exclude_each_other_unless_it_says_none() -> None:
    with pytest.raises(EditError, match="one of them"):
        header("SWEEP: DEPTH=4..12 over 6 experiments")
    assert header("SWEEP: none").edits


# Any reply, once more: what is made from good ones by breaking them

KEYS = "IDEA: a\nHYPOTHESIS: b\nTHEME: c\nEXPECT: -0.1\nNEXT: d\nNEXT: e\n"
SWEEP = "IDEA: a\nSWEEP: MATRIX_LR=0.02..0.08, DEPTH=4..12 over 6 experiments"
GOOD = [PLAIN, SWEEP, *(KEYS + form for form in FORMS.values())]


@st.composite
def broken(draw: st.DrawFn) -> str:
    """A good reply with some lines dropped, doubled, swapped, or with text put into it."""
    lines = draw(st.sampled_from(GOOD)).split("\n")
    for _ in range(draw(st.integers(1, 6))):
        at = draw(st.integers(0, len(lines) - 1))
        match draw(st.integers(0, 4)):
            case 0:
                del lines[at]
                lines = lines or [""]
            case 1:
                lines.insert(at, lines[at])
            case 2:
                lines.insert(at, draw(st.one_of(PIECES, st.text(max_size=30))))
            case 3:
                other = draw(st.integers(0, len(lines) - 1))
                lines[at], lines[other] = lines[other], lines[at]
            case _:
                line, place = lines[at], draw(st.integers(0, 80))
                lines[at] = line[:place] + draw(st.text(max_size=5)) + line[place + draw(st.integers(0, 3)) :]
    return "\n".join(lines)


@settings(max_examples=600, deadline=2_000)
@given(broken())
def test_a_broken_reply_is_a_valid_edit_or_an_edit_error(reply: str) -> None:
    files = {"train.py": TRAIN, "model.py": "WIDTH = 3\n"}
    try:
        proposal = parse_reply(reply, files)
    except EditError as error:
        assert str(error)
        return
    assert {edit.path for edit in proposal.edits} <= set(files)
    assert bool(proposal.edits) != bool(proposal.sweep)
    assert len(proposal.theme) <= 60 and len(proposal.next_ideas) <= 3 and "\n" not in proposal.description + proposal.theme
    json.dumps(dict(proposal.memo), allow_nan=False)
    if proposal.sweep:
        assert 2 <= proposal.sweep.count <= 12 and 1 <= len(proposal.sweep.constants) <= 4
        return
    try:
        after = apply_edits(files, proposal.edits)
    except EditError:
        return
    assert set(after) == set(files) and after != files
    compile(after["train.py"], "train.py", "exec", dont_inherit=True)
