"""What an LLM's researcher needs of the settings and of its program, in its own words: it knows no Django."""

from __future__ import annotations

from pathlib import Path

from django.conf import settings

from experiments.models import Program
from experiments.researcher.limits import Prices
from experiments.researcher.llm import LLMSettings


def llm_settings() -> LLMSettings:
    return LLMSettings(
        timeout_seconds=settings.LLM_TIMEOUT_SECONDS,
        tries=settings.LLM_TRIES,
        keys_file=Path(settings.KEYS_FILE),
        folder=Path(settings.VAR_DIR) / "llm",
        parallel=settings.LLM_PARALLEL,
        trusted_hosts=tuple(settings.LLM_HOSTS),
    )


def prices_by_hand(program: Program) -> Prices | None:
    if program.price_in is None or program.price_out is None:
        return None
    return Prices(program.price_in, program.price_out)
