"""Makes the researcher that a program asks for."""

from __future__ import annotations

from trainer.agent import Agent

from .base import Researcher, ResearcherError
from .command import CommandResearcher
from .llm import LiteLLM
from .sweep import Sweep


def choose(
    kind: str, *, model: str = "", api_base: str = "", timeout_seconds: float = 120, tries: int = 5,
    agent: Agent | None = None,
) -> Researcher:
    """`kind` is sweep, litellm or command; timeout and tries are those of one LLM call, `agent` is the command's.

    Raises ResearcherError for another kind, or for litellm without a model."""
    if kind == "sweep":
        return Sweep()
    if kind == "litellm":
        if not model:
            raise ResearcherError("No model is set for the LLM: name one on the program page, such as openai/gpt-5.")
        return LiteLLM(model, api_base, timeout_seconds=timeout_seconds, tries=tries)
    if kind == "command" and agent is not None:
        return CommandResearcher(agent)
    raise ResearcherError(f"There is no researcher called {kind!r}; choose sweep, litellm or command on the program page.")
