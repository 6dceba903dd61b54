"""What litellm's own table says of a model: context, output, price, abilities. Offline; what it lacks is None: unknown."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .litellm_lazily import import_litellm

CHAT = {None, "chat", "completion", "responses"}
MILLION = 1_000_000
ASKS_A_SERVER = {"ollama", "ollama_chat", "lemonade", "huggingface"}  # litellm would, for a price


@dataclass(frozen=True)
class ModelLimits:
    is_known: bool = False
    context_tokens: int | None = None  # prompt, and with most providers the reply too
    output_tokens: int | None = None
    supports_tools: bool | None = None
    reasons: bool | None = None  # whether it thinks before it answers
    has_price: bool = False


@dataclass(frozen=True)
class Prices:
    """US dollars a million tokens, set by hand."""

    tokens_in: float
    tokens_out: float


def limits_of(model: str, provider: str = "") -> ModelLimits:
    """`model` as litellm writes it; `provider` where its name does not say it."""
    entry = entry_of(import_litellm(), model, provider)
    if entry is None:
        return ModelLimits()
    return ModelLimits(
        is_known=True,
        context_tokens=_tokens(entry.get("max_input_tokens")),
        output_tokens=_tokens(entry.get("max_output_tokens")),
        supports_tools=entry.get("supports_function_calling"),
        reasons=entry.get("supports_reasoning"),
        has_price=_has_price(entry),
    )


def entry_of(litellm: Any, model: str, provider: str = "") -> Mapping[str, Any] | None:
    """Its row in the table: litellm's get_model_info would ask a server for some providers."""
    prefix, slash, bare = model.partition("/")
    provider, bare = provider or (prefix if slash else ""), bare if slash else model
    for name in (model, f"{provider}/{bare}", bare):
        entry = litellm.model_cost.get(name)
        if entry is None or entry.get("mode") not in CHAT:
            continue
        if name != bare or not provider or str(entry.get("litellm_provider", "")).startswith(provider):
            return dict(entry)
    return None


def cost_of(litellm: Any, model: str, provider: str, usage: Any, by_hand: Prices | None) -> float | None:
    """US dollars of one call: by litellm's table, with its prices of cached tokens; else by hand; else None: unknown."""
    entry = entry_of(litellm, model, provider)
    if entry is not None and _has_price(entry):
        if provider in ASKS_A_SERVER:
            price_in, price_out = entry["input_cost_per_token"], entry["output_cost_per_token"]
            return float(price_in * usage.prompt_tokens + price_out * usage.completion_tokens)
        try:
            return float(sum(litellm.cost_per_token(model=model, custom_llm_provider=provider, usage_object=usage)))
        except Exception:  # litellm raises a bare Exception; a price never costs a reply
            return None
    if by_hand is None:
        return None
    return float(by_hand.tokens_in * usage.prompt_tokens + by_hand.tokens_out * usage.completion_tokens) / MILLION


def _has_price(entry: Mapping[str, Any]) -> bool:
    return entry.get("input_cost_per_token") is not None and entry.get("output_cost_per_token") is not None


def _tokens(value: Any) -> int | None:
    """The table holds numbers, and here and there a text."""
    return int(value) if isinstance(value, int | float) and value > 0 else None
