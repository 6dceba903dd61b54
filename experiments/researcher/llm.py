"""A researcher that is an LLM, called through litellm: streams the reply, retries, explains what cannot pass."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Iterator
from typing import Any

from .base import Context, Message, Piece, ResearcherAway, ResearcherError, Restart, Text, Usage
from .llm_errors import OR_THE_SWEEP, TryAgain, explain, key_name
from .redact import redact

__all__ = ["LiteLLM", "redact"]

FIRST_WAIT_SECONDS = 2.0
LONGEST_WAIT_SECONDS = 60.0
LONGEST_ASKED_WAIT_SECONDS = 600.0  # a provider may ask for hours; the loop has its own patience
DEADLINE_FACTOR = 10  # a reply may take this many timeouts in all; one timeout is the longest silence
MAX_REPLY_CHARS = 400_000


class LiteLLM:
    """`model` as litellm writes it: provider/model. `api_base`: the address of an OpenAI-compatible server."""

    can_repair = True
    reads_prompt = True
    context_tokens: int | None = None

    def __init__(
        self,
        model: str,
        api_base: str = "",
        *,
        timeout_seconds: float = 120,
        tries: int = 5,
        sleep: Callable[[float], None] = time.sleep,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self.model = model
        self.api_base = api_base
        self.label = f"{model} (LLM through litellm)"
        self._timeout_seconds = timeout_seconds
        self._tries = tries
        self._sleep = sleep
        self._jitter = jitter

    def reply(self, messages: tuple[Message, ...], context: Context | None = None) -> Iterator[Piece]:
        """Stream the reply. Each call that cost tokens yields a Usage of its own: add them up."""
        del context  # the prompt holds all of it
        litellm = _import_litellm()
        model, provider = self._find_provider(litellm)
        for number in range(1, self._tries + 1):
            try:
                yield from self._call(litellm, model, provider, messages)
                return
            except TryAgain as failure:
                if number == self._tries:
                    raise ResearcherAway(
                        f"{self.model} gave no reply in {self._tries} tries; the last: {failure.why}. "
                        f"Check the provider and its limits, then resume the run, {OR_THE_SWEEP}"
                    ) from failure
                wait_seconds = self._wait_before(number + 1, failure.wait_seconds)
                yield Restart(f"{failure.why}, try {number + 1} of {self._tries} in {wait_seconds:.0f} s")
            self._sleep(wait_seconds)

    def _call(self, litellm: Any, model: str, provider: str, messages: tuple[Message, ...]) -> Iterator[Piece]:
        """One call. Raises TryAgain or ResearcherError."""
        import httpx
        import openai

        stream = None
        try:
            stream = litellm.completion(
                model=model,
                messages=[{"role": message.role, "content": message.content} for message in messages],
                api_base=self.api_base or None,
                api_key=self._api_key(provider),
                stream=True,
                stream_options={"include_usage": True},
                timeout=self._timeout_seconds,
                max_retries=0,
                drop_params=True,
            )
            yield from self._pieces(litellm, model, stream)
        except (openai.OpenAIError, httpx.HTTPError, ValueError) as error:
            raise explain(error, self.model, provider) from error
        finally:
            _close(stream)

    def _pieces(self, litellm: Any, model: str, stream: Any) -> Iterator[Piece]:
        deadline = time.monotonic() + DEADLINE_FACTOR * self._timeout_seconds
        length, blank, usage, reason = 0, True, None, None
        for chunk in stream:
            usage = getattr(chunk, "usage", None) or usage
            for choice in chunk.choices:
                reason = choice.finish_reason or reason
                text = choice.delta.content or ""
                length, blank = length + len(text), blank and not text.strip()
                if text:
                    yield Text(text)
            if length > MAX_REPLY_CHARS:
                raise TryAgain(f"the reply ran on past {MAX_REPLY_CHARS:,} characters")
            if time.monotonic() > deadline:
                raise TryAgain("the reply took too long")
        if usage is not None:
            yield _usage(litellm, model, usage)
        if _was_cut(stream, reason, usage):
            raise TryAgain("the reply was cut off")
        if reason == "length":
            raise TryAgain("the reply was longer than the model may write")
        if blank:
            raise TryAgain("the reply was empty")

    def _wait_before(self, number: int, asked_seconds: float | None) -> float:
        if asked_seconds is not None:
            return min(asked_seconds, LONGEST_ASKED_WAIT_SECONDS) + self._jitter()
        backoff = FIRST_WAIT_SECONDS * 2.0 ** (number - 2)
        return min(backoff, LONGEST_WAIT_SECONDS) * (1 + self._jitter()) / 1.5

    def _find_provider(self, litellm: Any) -> tuple[str, str]:
        """The model in litellm's spelling, and who serves it. Raises ResearcherError for an unknown one, or no key."""
        model = self.model
        try:
            provider = str(litellm.get_llm_provider(model)[1])
        except litellm.exceptions.BadRequestError as error:
            if not self.api_base:
                raise ResearcherError(
                    f"No provider is known for the model {model!r}. "
                    f"Write it as provider/model on the program page, such as openai/gpt-5, {OR_THE_SWEEP}"
                ) from error
            model, provider = f"openai/{model}", "openai"  # a server of one's own speaks OpenAI's protocol
        if not self.api_base:
            missing = litellm.validate_environment(model)["missing_keys"]
            keys = [name for name in missing if name.endswith("_API_KEY")]
            if keys:
                raise ResearcherError(f"No key for {provider}: set {' or '.join(keys)} and restart, {OR_THE_SWEEP}")
        return model, provider

    def _api_key(self, provider: str) -> str | None:
        """None: litellm reads the environment. A server of one's own often needs no key, but the client demands one."""
        if self.api_base and not os.environ.get(key_name(provider)):
            return "none"
        return None


def _import_litellm() -> Any:
    """Takes seconds, so it is put off to the first call; without the flag it would also download its price table."""
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
    os.environ.setdefault("LITELLM_MODE", "PRODUCTION")  # otherwise it reads a .env file from wherever we run
    import litellm

    litellm.telemetry = False
    litellm.suppress_debug_info = True
    return litellm


def _was_cut(stream: Any, reason: str | None, usage: Any) -> bool:
    """Whether the stream ended before the provider said so.

    litellm reports finish_reason 'stop', and since 1.106 also a usage that it has estimated itself, for a stream that
    just ends. What the provider really sent stands in `received_finish_reason`.
    """
    if hasattr(stream, "received_finish_reason"):
        return stream.received_finish_reason is None
    return reason is None or usage is None


def _usage(litellm: Any, model: str, usage: Any) -> Usage:
    try:
        cost: float | None = sum(litellm.cost_per_token(model=model, usage_object=usage))
    except Exception:  # litellm raises a bare Exception for a model without a price; a price never costs a reply
        cost = None
    return Usage(int(usage.prompt_tokens or 0), int(usage.completion_tokens or 0), cost)


def _close(stream: Any) -> None:
    """Hang up: who stops reading early should not pay for the rest."""
    close = getattr(getattr(stream, "completion_stream", None), "close", None)
    if callable(close):
        close()
