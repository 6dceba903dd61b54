"""What litellm's table says of a model; what it lacks is unknown."""

from __future__ import annotations

import socket

import pytest

from experiments.researcher.limits import ModelLimits, limits_of
from tests.researcher.calling import impatient


@pytest.mark.parametrize("model", ["openai/gpt-4o", "gpt-4o"])
def test_a_known_model(model: str) -> None:
    assert limits_of(model) == ModelLimits(True, 128_000, 16_384, supports_tools=True, reasons=None, has_price=True)


@pytest.mark.parametrize(
    ("model", "provider"),
    [
        ("openai/no-such", ""), ("no-such", ""), ("hosted_vllm/gpt-4o", ""), ("openai/standin", "openai"), ("dall-e-3", ""),
        ("text-embedding-3-small", ""), ("", ""), ("huggingface/a/b", "huggingface"),
    ],
)  # fmt: skip
def test_an_unknown_model_or_one_that_does_not_chat(model: str, provider: str) -> None:
    assert limits_of(model, provider) == ModelLimits()


def test_a_model_that_thinks() -> None:
    assert limits_of("openai/o3-mini").reasons is True


def test_the_table_is_read_without_the_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("it went to the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    for model in ("ollama/llama3", "huggingface/org/model", "openai/gpt-4o", "lemonade/x"):
        limits_of(model)


@pytest.mark.parametrize(
    ("model", "fallbacks", "tokens"),
    [
        ("openai/gpt-4o", [], 128_000),
        ("openai/gpt-4o", ["openai/gpt-4"], 8_192),
        ("openai/gpt-4o", ["openai/no-such"], 128_000),
        ("openai/no-such", [], None),
    ],
)
def test_the_context_is_that_of_the_smallest_known_model(model: str, fallbacks: list[str], tokens: int | None) -> None:
    assert impatient(model, fallbacks=fallbacks).context_tokens == tokens


def test_a_model_of_nobody_has_no_context() -> None:
    assert impatient("no-such-model").context_tokens is None
