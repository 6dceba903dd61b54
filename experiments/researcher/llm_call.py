"""One call of one model through litellm: who is asked, with which key, where; and the pieces that come back."""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from . import keys
from .address import ForbiddenAddress, check_address, resolve
from .base import Called, Message, Piece, ResearcherError, Text, Thought, Usage
from .limits import Prices, cost_of, limits_of
from .llm_client import OPENAI_CLIENT, OWN_CLIENT, client_for, is_own_host
from .llm_errors import OR_THE_SWEEP, TryAgain, cost_nothing, explain, key_name
from .thoughts import Splitter

DEADLINE_FACTOR = 10  # a reply may take this many timeouts in all; one timeout is the longest silence
MAX_REPLY_CHARS = 400_000
REPLY_TOKENS = 32_000  # asked for where a provider wants a number; an edit needs far less, its thoughts may not
NEEDS_NUMBER = {"anthropic", "bedrock", "vertex_ai", "azure_ai"}  # with Claude: else litellm asks for too little
NEEDS_MARK = NEEDS_NUMBER | {"openrouter"}  # the others cache what begins alike by themselves


@dataclass(frozen=True)
class Door:
    """How a model is reached: everything that does not change from call to call."""

    model: str  # as litellm writes it
    provider: str
    name: str  # as the program page writes it
    api_base: str = ""
    key: str = ""  # "": litellm takes the provider's own from the environment
    key_name: str = ""
    by_hand: Prices | None = None
    trusted: tuple[str, ...] = ()

    @property
    def has_key(self) -> bool:
        return self.key != keys.NO_KEY and bool(self.shared_key)

    @property
    def shared_key(self) -> str:
        """What counts as the same key for a rate limit."""
        return self.key or os.environ.get(key_name(self.provider), "")


def provider_of(litellm: Any, name: str, *, has_address: bool) -> tuple[str, str]:
    """The model in litellm's spelling, and who serves it. Raises ResearcherError for one that nobody knows."""
    try:
        return name, str(litellm.get_llm_provider(name)[1])
    except litellm.exceptions.BadRequestError as error:
        if has_address:
            return f"openai/{name}", "openai"  # a server of one's own speaks OpenAI's protocol
        raise ResearcherError(
            f"No provider is known for the model {name!r}. "
            f"Write it as provider/model on the program page, such as openai/gpt-5, {OR_THE_SWEEP}"
        ) from error


def open_door(
    litellm: Any, name: str, api_base: str, *, keys_file: Path | None, by_hand: Prices | None, trusted: tuple[str, ...]
) -> Door:
    """Raises ResearcherError where there is no key, or where the address is not allowed."""
    model, provider = provider_of(litellm, name, has_address=bool(api_base))
    keys.load(keys_file)
    keys.tidy(provider)
    if not api_base:
        _check_keys(litellm, model, provider, keys_file)
        return Door(model, provider, name, key_name=key_name(provider), by_hand=by_hand)
    key, named = _key_for(provider, name, api_base, trusted)
    return Door(model, provider, name, api_base, key, named, by_hand, trusted)


def _check_keys(litellm: Any, model: str, provider: str, keys_file: Path | None) -> None:
    missing = [name for name in litellm.validate_environment(model)["missing_keys"] if name.endswith("_API_KEY")]
    if missing:
        where = f" in the environment or in {keys_file}," if keys_file else ""
        raise ResearcherError(f"No key for {provider}: set {' or '.join(missing)}{where} and restart, {OR_THE_SWEEP}")


def _key_for(provider: str, name: str, api_base: str, trusted: Collection[str]) -> tuple[str, str]:
    """(the key for this address, the variable it comes from). No provider's key goes to anybody else."""
    try:
        host = check_address(api_base, trusted)
    except ForbiddenAddress as error:
        raise ResearcherError(f"The API address {api_base} is not called: {error}") from error
    if provider not in OPENAI_CLIENT | OWN_CLIENT:
        raise ResearcherError(
            f"{name} cannot be asked at an address of your own: leave the address empty, or, where your server speaks "
            f"OpenAI's protocol, write the model as openai/… on the program page, {OR_THE_SWEEP}"
        )
    own = os.environ.get(key_name(provider), "")
    if own and is_own_host(provider, urlsplit(api_base).scheme, host):
        return own, key_name(provider)
    return keys.api_base_key(), keys.API_BASE_KEY


def call(litellm: Any, door: Door, messages: tuple[Message, ...], timeout_seconds: float) -> Iterator[Piece]:
    """One call: Called first, then the reply, then Usage where the provider said it. Raises TryAgain or ResearcherError."""
    stream, http = None, None
    _look_up(door)
    yield Called(door.name)
    try:
        options: dict[str, Any] = {}
        if door.api_base:
            client, http = client_for(door.provider, door.api_base, door.key, door.trusted)
            options = {"client": client, "api_base": door.api_base, "api_key": door.key}
        stream = litellm.completion(
            model=door.model, messages=_as_sent(messages, door), stream=True, stream_options={"include_usage": True},
            timeout=timeout_seconds, max_retries=0, drop_params=True, **_reply_tokens(door), **options,
        )
        yield from _pieces(litellm, door, stream, timeout_seconds)
    except (TryAgain, ResearcherError):
        raise
    except Exception as error:  # litellm raises whatever it likes; nothing of it may reach a log with a key in it
        if stream is not None and _reported(stream) is not None:
            is_whole = getattr(stream, "received_finish_reason", None) is not None
            yield _usage(litellm, door, _reported(stream), is_whole=is_whole)
        elif cost_nothing(error):
            yield Usage(0, 0, 0.0, model=door.name)
        raise explain(error, door.name, door.provider, door.key_name) from None
    finally:
        _close(stream)
        if http is not None:
            http.close()


def _look_up(door: Door) -> None:
    if not door.api_base:
        return
    parts = urlsplit(door.api_base)
    try:
        resolve(parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80), door.trusted)
    except ForbiddenAddress as error:
        raise ResearcherError(f"The API address {door.api_base} is not called: {error}") from error
    except OSError:
        pass  # the call itself says so, and tries again


def _as_sent(messages: tuple[Message, ...], door: Door) -> list[dict[str, Any]]:
    """As litellm takes them; where the provider caches only what is marked, the long beginning is.

    That is the system message, which all experiments share, and on a question back also the first prompt.
    """
    sent: list[dict[str, Any]] = [{"role": message.role, "content": message.content} for message in messages]
    if door.provider in NEEDS_MARK and "claude" in door.model.lower():
        for message in sent[: 2 if len(sent) > 2 else 1]:
            message["content"] = [{"type": "text", "text": message["content"], "cache_control": {"type": "ephemeral"}}]
    return sent


def _reply_tokens(door: Door) -> dict[str, int]:
    if door.provider not in NEEDS_NUMBER or "claude" not in door.model.lower():
        return {}
    most = limits_of(door.model, door.provider).output_tokens
    return {"max_tokens": min(most, REPLY_TOKENS)} if most else {}


def _pieces(litellm: Any, door: Door, stream: Any, timeout_seconds: float) -> Iterator[Piece]:
    deadline = time.monotonic() + DEADLINE_FACTOR * timeout_seconds
    length, blank, usage, reason, splitter = 0, True, None, None, Splitter()
    for chunk in stream:
        usage = getattr(chunk, "usage", None) or usage
        for choice in chunk.choices:
            reason = choice.finish_reason or reason
            thought, text = getattr(choice.delta, "reasoning_content", None) or "", choice.delta.content or ""
            length += len(thought) + len(text)
            if thought:
                yield Thought(thought)
            for piece in splitter.feed(text):
                blank = blank and not (isinstance(piece, Text) and piece.text.strip())
                yield piece
        if length > MAX_REPLY_CHARS:
            raise TryAgain(f"the reply ran on past {MAX_REPLY_CHARS:,} characters")
        if time.monotonic() > deadline:
            raise TryAgain("the reply took too long")
    for piece in splitter.rest():
        blank = blank and not (isinstance(piece, Text) and piece.text.strip())
        yield piece
    was_cut = _was_cut(stream, reason, usage)
    if usage is not None and _reported(stream) is not None:
        yield _usage(litellm, door, usage, is_whole=not was_cut)
    if was_cut:
        raise TryAgain("the reply was cut off")
    if reason == "length":
        raise TryAgain("the reply was longer than the model may write")
    if blank:
        raise TryAgain("the reply was empty")


def _was_cut(stream: Any, reason: str | None, usage: Any) -> bool:
    """Whether the stream ended before the provider said so.

    litellm reports finish_reason 'stop', and since 1.106 also a usage that it has estimated itself, for a stream that
    just ends. What the provider really sent stands in `received_finish_reason`.
    """
    if hasattr(stream, "received_finish_reason"):
        return stream.received_finish_reason is None
    return reason is None or usage is None


def _reported(stream: Any) -> Any:
    """The last usage that the provider sent itself, None where it sent none: litellm makes one up then."""
    found = [chunk.usage for chunk in getattr(stream, "chunks", None) or () if getattr(chunk, "usage", None) is not None]
    return found[-1] if found else None


def _usage(litellm: Any, door: Door, usage: Any, *, is_whole: bool) -> Usage:
    details = getattr(usage, "prompt_tokens_details", None)
    return Usage(
        tokens_in=int(usage.prompt_tokens or 0),
        tokens_out=int(usage.completion_tokens or 0),
        cost=cost_of(litellm, door.model, door.provider, usage, door.by_hand),
        tokens_cached=int(getattr(details, "cached_tokens", None) or getattr(usage, "cache_read_input_tokens", None) or 0),
        model=door.name,
        is_whole=is_whole,
    )


def _close(stream: Any) -> None:
    """Hang up: who stops reading early should not pay for the rest."""
    close = getattr(getattr(stream, "completion_stream", None), "close", None)
    if callable(close):
        close()
