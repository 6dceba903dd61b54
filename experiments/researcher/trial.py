"""One short real call to a model: does its name, key and address work, how fast is it, what is known of it?"""

from __future__ import annotations

import time
from dataclasses import dataclass

from .base import Message, Piece, Text, Thought, Usage
from .limits import ModelLimits, limits_of
from .llm import LiteLLM

QUESTION = "Answer with the single word: ready"


@dataclass(frozen=True)
class Trial:
    model: str
    answer: str
    seconds: float
    had_key: bool
    usage: Usage | None  # None: the server does not say
    thought: bool
    limits: ModelLimits

    @property
    def words(self) -> str:
        return " ".join([
            f"{self.model} answered {self.answer[:40]!r} in {self.seconds:.1f} s.",
            "The key works." if self.had_key else "No key was sent, and none was asked for.",
            self._tokens(), self._price(), self._context(), self._thinking(),
        ])  # fmt: skip

    def _tokens(self) -> str:
        if self.usage is None:
            return "The server does not say how many tokens a call takes: they cannot be counted."
        return f"{self.usage.tokens_in} tokens in, {self.usage.tokens_out} out."

    def _price(self) -> str:
        if self.usage is None or self.usage.cost is None:
            return "Price unknown: it can be set by hand on the program page."
        return f"This call cost ${self.usage.cost:.6f}."

    def _context(self) -> str:
        context, output = self.limits.context_tokens, self.limits.output_tokens
        if context is None:
            return "Context window unknown."
        return f"Context window {context:,} tokens" + (f", replies up to {output:,}." if output else ".")

    def _thinking(self) -> str:
        if self.thought or self.limits.reasons:
            return "It thinks before it answers."
        return "It answers without thinking first." if self.limits.is_known else "It showed no thoughts."


def try_model(researcher: LiteLLM) -> Trial:
    """Raises ResearcherError or ResearcherAway, whose words say what is wrong."""
    began = time.monotonic()
    pieces: list[Piece] = list(researcher.reply((Message("user", QUESTION),)))
    seconds = time.monotonic() - began
    usage = [piece for piece in pieces if isinstance(piece, Usage) and piece.is_whole]
    door = researcher.door_of(researcher.model)
    return Trial(
        model=researcher.model,
        answer="".join(piece.text for piece in pieces if isinstance(piece, Text)).strip(),
        seconds=seconds,
        had_key=door.has_key,
        usage=usage[-1] if usage else None,
        thought=any(isinstance(piece, Thought) for piece in pieces),
        limits=limits_of(door.model, door.provider),
    )
