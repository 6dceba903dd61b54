"""Thoughts between tags: apart from the reply, however the pieces are cut."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from experiments.researcher.thoughts import Splitter
from tests.researcher.calling import restarts_of, text_of, thoughts_of


def split(pieces: list[str]) -> tuple[str, str]:
    """(reply, thoughts)"""
    splitter = Splitter()
    found = [piece for text in pieces for piece in splitter.feed(text)] + list(splitter.rest())
    return text_of(found), thoughts_of(found)


def cut(text: str, size: int) -> list[str]:
    return [text[at : at + size] for at in range(0, len(text), size)]


@pytest.mark.parametrize("size", [1, 2, 3, 5, 100])
@pytest.mark.parametrize(
    ("text", "reply", "thoughts"),
    [
        ("<think>Hm.</think>IDEA: x", "IDEA: x", "Hm."),
        ("\n <think>\nHm. </thin </think>\n\nIDEA: x", "IDEA: x", "\nHm. </thin "),
        ("Hm.\n</think>\n\nIDEA: x", "IDEA: x", ""),
        ("IDEA: x", "IDEA: x", ""),
        ("<b>IDEA", "<b>IDEA", ""),
        ("IDEA: the tag <think> and </think> in a line", "IDEA: the tag <think> and </think> in a line", ""),
        ("<think>never closed", "", "never closed"),
        ("<thi", "<thi", ""),
        ("", "", ""),
        ("<think></think>IDEA", "IDEA", ""),
    ],
)
def test_reply_and_thoughts_come_apart(size: int, text: str, reply: str, thoughts: str) -> None:
    found = split(cut(text, size))
    assert (found[0].strip(), found[1]) == (reply, thoughts)


def test_what_was_shown_as_reply_is_taken_back() -> None:
    splitter = Splitter()
    pieces = [*splitter.feed("Hm.\n"), *splitter.feed("</think>IDEA")]
    assert restarts_of(pieces) == ["what stands above were its thoughts"]


@settings(deadline=None)
@given(some.lists(some.sampled_from(["<think>", "</think>", "<", "\n", "th", "a ", "</"]), max_size=12), some.integers(1, 9))
def test_how_it_is_cut_changes_nothing(parts: list[str], size: int) -> None:
    text = "".join(parts)
    whole, pieces = split([text]), split(cut(text, size))
    assert (whole[0].split(), whole[1]) == (pieces[0].split(), pieces[1])
