"""Makes the researcher that a program asks for."""

from __future__ import annotations

from collections.abc import Sequence

from trainer.agent import Agent

from .base import Researcher, ResearcherError
from .command import CommandResearcher
from .limits import Prices
from .llm import LiteLLM, LLMSettings
from .sweep import Sweep


def choose(
    kind: str, *, model: str = "", api_base: str = "", fallbacks: Sequence[str] = (), by_hand: Prices | None = None,
    shared: LLMSettings | None = None, agent: Agent | None = None,
) -> Researcher:
    """`kind` is sweep, litellm or command; `agent` is the command's, the rest is for an LLM, and `shared` what holds for all
    of them here.

    Raises ResearcherError for another kind, or for litellm without a model."""
    if kind == "sweep":
        return Sweep()
    if kind == "litellm":
        if not model:
            raise ResearcherError("No model is set for the LLM: name one on the program page, such as openai/gpt-5.")
        return LiteLLM(model, api_base, fallbacks=fallbacks, by_hand=by_hand, shared=shared)
    if kind == "command" and agent is not None:
        return CommandResearcher(agent)
    raise ResearcherError(f"There is no researcher called {kind!r}; choose sweep, litellm or command on the program page.")
