"""What the tests of the LLM researcher share: a short prompt, a researcher that does not sleep, what its pieces say."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from experiments.researcher.base import Context, Message, Piece, ResearcherError, Restart, Text, Thought, Usage
from experiments.researcher.llm import LiteLLM
from experiments.researcher.prompt import build_prompt

TRAIN = "MATRIX_LR = 0.04\nWARMDOWN_RATIO = 0.5\nDEPTH = 8\n"
CONTEXT = Context("brief", 1, "val_bpb", True, 60, "cpu", {"train.py": TRAIN}, {"prepare.py": "F = 0.1\n"}, 0, 1.5)
MESSAGES = build_prompt(CONTEXT).messages


def impatient(model: str, api_base: str = "", **options: Any) -> LiteLLM:
    return LiteLLM(model, api_base, sleep=lambda _: None, jitter=lambda: 0.5, **options)


def ask(researcher: LiteLLM, messages: tuple[Message, ...] = MESSAGES) -> list[Piece]:
    return list(researcher.reply(messages, CONTEXT))


def ask_in_vain(researcher: LiteLLM) -> tuple[list[Piece], ResearcherError]:
    """What came, and the error at its end."""
    pieces: list[Piece] = []
    try:
        for piece in researcher.reply(MESSAGES, CONTEXT):
            pieces.append(piece)
    except ResearcherError as error:
        return pieces, error
    raise AssertionError(f"it answered: {pieces}")


def text_of(pieces: Iterable[Piece]) -> str:
    text = ""
    for piece in pieces:
        text = "" if isinstance(piece, Restart) else text + (piece.text if isinstance(piece, Text) else "")
    return text


def thoughts_of(pieces: Iterable[Piece]) -> str:
    return "".join(piece.text for piece in pieces if isinstance(piece, Thought))


def restarts_of(pieces: Iterable[Piece]) -> list[str]:
    return [piece.why for piece in pieces if isinstance(piece, Restart)]


def usage_of(pieces: Iterable[Piece]) -> list[Usage]:
    return [piece for piece in pieces if isinstance(piece, Usage)]
