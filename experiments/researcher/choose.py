"""Makes the researcher that a program asks for."""

from __future__ import annotations

from .base import Researcher, ResearcherError
from .llm import LiteLLM
from .sweep import Sweep


def choose(
    kind: str, *, model: str = "", api_base: str = "", timeout_seconds: float = 120, tries: int = 5
) -> Researcher:
    """`kind` is sweep or litellm; timeout and tries are those of one LLM call.

    Raises ResearcherError for another kind, or for litellm without a model."""
    if kind == "sweep":
        return Sweep()
    if kind == "litellm":
        if not model:
            raise ResearcherError("No model is set for the LLM: name one on the program page, such as openai/gpt-5.")
        return LiteLLM(model, api_base, timeout_seconds=timeout_seconds, tries=tries)
    raise ResearcherError(f"There is no researcher called {kind!r}; choose sweep or litellm on the program page.")
