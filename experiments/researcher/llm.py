"""A researcher that is an LLM, called through litellm: one model after the other, each with its tries and waits."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from urllib.parse import urlsplit

from .base import Context, Message, Piece, ResearcherAway, ResearcherError, Restart, Text
from .limiter import Limiter, Slot
from .limits import Prices, limits_of
from .litellm_lazily import import_litellm
from .llm_call import Door, call, open_door, provider_of
from .llm_errors import OR_THE_SWEEP, TryAgain
from .redact import redact

__all__ = ["LLMSettings", "LiteLLM", "redact"]

FIRST_WAIT_SECONDS = 2.0
LONGEST_WAIT_SECONDS = 60.0
LONGEST_ASKED_WAIT_SECONDS = 600.0  # a provider may ask for hours; the loop has its own patience
LONGEST_SLEEP_SECONDS = 60.0  # then the reader may leave
POLL_SECONDS = 0.5  # for a free slot
PASSED_OVER_SECONDS = 300.0  # a model that used up its tries while a fallback answered


@dataclass(frozen=True)
class LLMSettings:
    """What holds for the whole installation. Without a file or a folder there are no such keys and no limit."""

    timeout_seconds: float = 120
    tries: int = 5
    keys_file: Path | None = None
    folder: Path | None = None  # where runs that share a key agree on their turns
    parallel: int = 4  # calls at once with one key
    trusted_hosts: tuple[str, ...] = ()  # an address may name them whatever they are


class LiteLLM:
    """`model` as litellm writes it: provider/model. `api_base`: the address of an OpenAI-compatible server.

    `fallbacks` are asked in order when it does not answer: those of the same provider at the same address, the others
    at their own. `by_hand` prices the first model, where litellm knows no price.
    """

    can_repair = True
    reads_prompt = True

    def __init__(
        self,
        model: str,
        api_base: str = "",
        *,
        fallbacks: Sequence[str] = (),
        by_hand: Prices | None = None,
        shared: LLMSettings | None = None,
        timeout_seconds: float | None = None,
        tries: int | None = None,
        sleep: Callable[[float], None] = time.sleep,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self.model, self.api_base = model, api_base
        self.models = tuple(dict.fromkeys((model, *fallbacks)))
        self.label = f"{model} (LLM through litellm)"
        self._by_hand = by_hand
        self._shared = shared or LLMSettings()
        self._timeout_seconds = self._shared.timeout_seconds if timeout_seconds is None else timeout_seconds
        self._tries = self._shared.tries if tries is None else tries
        self._sleep = sleep
        self._jitter = jitter

    @cached_property
    def context_tokens(self) -> int | None:
        """Of the smallest model that may be asked, as far as known. Imports litellm."""
        known = []
        for model in self.models:
            with suppress(ResearcherError):  # nobody knows it: the call says so
                name, provider, _ = self._where(model)
                known.append(limits_of(name, provider).context_tokens)
        return min(filter(None, known), default=None)

    def reply(self, messages: tuple[Message, ...], context: Context | None = None) -> Iterator[Piece]:
        """Stream the reply. Each call that cost tokens yields a Usage of its own: add them up."""
        del context  # the prompt holds all of it
        failures: list[ResearcherError] = []
        models = sorted(self.models, key=self._is_passed_over) if len(self.models) > 1 else self.models  # these last
        for number, model in enumerate(models, 1):
            try:
                yield from self._ask(model, messages)
                self._pass_over(models, failures)
                return
            except ResearcherError as error:
                failures.append(error)
                if number < len(models):
                    yield Restart(f"{_without_advice(error)} Now {models[number]} is asked")
        raise _all_failed(failures)

    def _ask(self, model: str, messages: tuple[Message, ...]) -> Iterator[Piece]:
        """All tries of one model. Raises ResearcherError, and ResearcherAway where it may answer later."""
        litellm = import_litellm()
        door = self.door_of(model)
        limiter = self._limiter(door)
        for number in range(1, self._tries + 1):
            try:
                with (yield from self._turn(limiter, door.provider)):
                    yield from call(litellm, door, messages, self._timeout_seconds)
                return
            except TryAgain as failure:
                wait_seconds = self._wait_before(number + 1, failure.wait_seconds)
                if failure.is_limit:
                    limiter.hold(wait_seconds)
                if number == self._tries:
                    raise ResearcherAway(
                        f"{model} gave no reply in {self._tries} tries; the last: {failure.why}. "
                        f"Check the provider and its limits, then resume the run, {OR_THE_SWEEP}"
                    ) from failure
                yield Restart(f"{failure.why}, try {number + 1} of {self._tries} in {wait_seconds:.0f} s")
            yield from self._pause(wait_seconds)

    def _is_passed_over(self, model: str) -> bool:
        with suppress(ResearcherError):  # no key, no provider: the call says so
            return self._limiter(self.door_of(model)).passed_over_seconds(model) > 0
        return False

    def _pass_over(self, models: Sequence[str], failures: Sequence[ResearcherError]) -> None:
        """Those that used up their tries: another one answers, so the next ideas need not wait for them."""
        for model, failure in zip(models, failures, strict=False):
            if isinstance(failure, ResearcherAway):
                self._limiter(self.door_of(model)).pass_over(model, PASSED_OVER_SECONDS)

    def _where(self, model: str) -> tuple[str, str, str]:
        """(litellm's name, the provider, the address) of a model: a fallback of another provider has its own address."""
        litellm = import_litellm()
        name, provider = provider_of(litellm, model, has_address=bool(self.api_base))
        if not self.api_base:
            return name, provider, ""
        _, first = provider_of(litellm, self.model, has_address=True)
        return name, provider, self.api_base if provider == first else ""

    def door_of(self, model: str) -> Door:
        return open_door(
            import_litellm(), model, self._where(model)[2], keys_file=self._shared.keys_file,
            by_hand=self._by_hand if model == self.model else None, trusted=self._shared.trusted_hosts,
        )

    def _limiter(self, door: Door) -> Limiter:
        server = urlsplit(door.api_base).netloc
        return Limiter(self._shared.folder, self._shared.parallel, door.provider, server, door.shared_key)

    def _turn(self, limiter: Limiter, provider: str) -> Generator[Piece, None, Slot]:
        """Waits until the provider may be asked and a slot is free."""
        told = False
        while True:
            wait_seconds = limiter.wait_seconds()
            slot = limiter.try_enter() if wait_seconds <= 0 else None
            if slot is not None:
                return slot
            if not told:
                told = True
                yield Restart(
                    f"{provider} has told another run with this key to wait: {wait_seconds:.0f} s are left"
                    if wait_seconds > 0
                    else f"{limiter.parallel} calls with this key are under way: waiting for one to end"
                )
            yield from self._pause(wait_seconds + self._jitter() * POLL_SECONDS if wait_seconds > 0 else POLL_SECONDS)

    def _pause(self, seconds: float) -> Iterator[Piece]:
        while seconds > 0:
            self._sleep(min(seconds, LONGEST_SLEEP_SECONDS))
            seconds -= LONGEST_SLEEP_SECONDS
            yield Text("")

    def _wait_before(self, number: int, asked_seconds: float | None) -> float:
        if asked_seconds is not None:
            return min(asked_seconds, LONGEST_ASKED_WAIT_SECONDS) + self._jitter()
        backoff = FIRST_WAIT_SECONDS * 2.0 ** (number - 2)
        return min(backoff, LONGEST_WAIT_SECONDS) * (1 + self._jitter()) / 1.5


def _without_advice(error: ResearcherError) -> str:
    """The error without the words on the sweep, which stand once at the end."""
    return str(error).removesuffix(OR_THE_SWEEP).rstrip(" ,.") + "."


def _all_failed(failures: list[ResearcherError]) -> ResearcherError:
    """The one error, or all of them in one: away if any of the models may come back by itself."""
    if len(failures) == 1:
        return failures[0]
    kind = ResearcherAway if any(isinstance(error, ResearcherAway) for error in failures) else ResearcherError
    told = " ".join(f"({number}) {_without_advice(error)}" for number, error in enumerate(failures, 1))
    return kind(f"None of {len(failures)} models answered. {told} Mend one of them, {OR_THE_SWEEP}")
