"""Whether a proposal is one of the ideas that the researcher had listed before. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from difflib import SequenceMatcher

ALIKE = 0.75  # of the words' characters
COMPARED = 200  # characters


def nearest_idea(description: str, ideas: Mapping[int, str]) -> int | None:
    """The key of the idea that `description` puts in about the same words; None where there is none."""
    wanted = _plain(description)
    best, found = ALIKE, None
    for key, text in ideas.items():
        matcher = SequenceMatcher(None, wanted, _plain(text), autojunk=False)
        if matcher.quick_ratio() >= best and (ratio := matcher.ratio()) >= best and _numbers(description) == _numbers(text):
            best, found = ratio, key
    return found


def _plain(text: str) -> str:
    return " ".join(re.findall(r"\w+", text.casefold()))[:COMPARED]


def _numbers(text: str) -> list[str]:
    """A learning rate of 0.02 is another idea than one of 0.03."""
    return re.findall(r"\d+(?:\.\d+)?", text)[:20]
