"""What an error of litellm means: try again, or give up with a next step. Keys are redacted from all texts."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from typing import Any

from .address import ForbiddenAddress
from .base import ResearcherError
from .redact import redact

MAX_DETAIL_CHARS = 300
CLASS_NAMES = re.compile(r"^(litellm\.)?(\w+(Error|Exception): )+(\w+Exception - )?")
OR_THE_SWEEP = "or choose the built-in sweep on the program page."


class TryAgain(Exception):
    """The call failed in a way that may pass. `wait_seconds`: how long the provider asked to wait, if it did."""

    def __init__(self, why: str, wait_seconds: float | None = None, *, is_limit: bool = False) -> None:
        super().__init__(redact(why))
        self.why = redact(why)
        self.wait_seconds = wait_seconds
        self.is_limit = is_limit or wait_seconds is not None  # who shares the key should wait, too


def explain(error: Exception, model: str, provider: str, key: str = "") -> TryAgain | ResearcherError:
    """Sorts an exception of litellm, openai or httpx by its class and status; the text says what to do next.

    `key`: the variable that the key came from.
    """
    from litellm import exceptions as known

    forbidden = next((one for one in _chain(error) if isinstance(one, ForbiddenAddress)), None)
    if forbidden is not None:
        return ResearcherError(f"The API address is not called: {forbidden}")
    if _status(error) in range(300, 400):
        return ResearcherError(
            f"The server of {model} sends its callers on to another address, which is not followed. "
            f"Enter the address where it answers itself on the program page, {OR_THE_SWEEP}"
        )
    if isinstance(error, known.AuthenticationError | known.PermissionDeniedError):
        return ResearcherError(
            f"{provider} refused the key for {model}: {detail_of(error)}. "
            f"Set {key or key_name(provider)} to a valid key and restart, {OR_THE_SWEEP}"
        )
    if isinstance(error, known.NotFoundError):
        return ResearcherError(
            f"{provider} knows no model {model}: {detail_of(error)}. "
            f"Correct its name on the program page, {OR_THE_SWEEP}"
        )
    if isinstance(error, known.ContextWindowExceededError):
        return ResearcherError(
            f"The prompt is too long for {model}: {detail_of(error)}. "
            f"Choose a model with a longer context on the program page, {OR_THE_SWEEP}"
        )
    if isinstance(error, known.BadRequestError | known.UnprocessableEntityError):
        return ResearcherError(
            f"{provider} refused the request for {model}: {detail_of(error)}. "
            f"Check the model and its address on the program page, {OR_THE_SWEEP}"
        )
    if isinstance(error, known.RateLimitError):
        return _rate_limited(error, model, provider)
    return TryAgain(_passing(error), _retry_after(error))


def detail_of(error: Exception) -> str:
    """The error's first line, without the names of classes before it, redacted and cut."""
    lines = redact(str(error)).strip().splitlines() or [type(error).__name__]
    return (CLASS_NAMES.sub("", lines[0]) or lines[0])[:MAX_DETAIL_CHARS].rstrip(".")


def key_name(provider: str) -> str:
    return f"{provider.upper()}_API_KEY"


def _rate_limited(error: Exception, model: str, provider: str) -> TryAgain | ResearcherError:
    # The same status 429 as for too many requests, but waiting does not help.
    if "insufficient_quota" in str(error) or "exceeded your current quota" in str(error):
        return ResearcherError(
            f"The account at {provider} has no credit left for {model}. Top it up and resume the run, {OR_THE_SWEEP}"
        )
    return TryAgain("rate limited (429)", _retry_after(error), is_limit=True)


def _passing(error: Exception) -> str:
    from litellm import exceptions as known

    if isinstance(error, known.Timeout):
        return "no answer in time"
    status = getattr(error, "status_code", None)
    if "Connection error" in str(error):
        return "no connection"
    if isinstance(error, known.MidStreamFallbackError | known.APIConnectionError):
        return f"the connection broke: {detail_of(error)}"
    if isinstance(status, int) and status >= 500:
        return f"the provider failed ({status}): {detail_of(error)}"
    return f"the call failed: {detail_of(error)}"


def cost_nothing(error: Exception) -> bool:
    """Whether the call surely took no tokens: it reached nobody, or was answered with an error instead of a reply."""
    import httpx

    if any(isinstance(one, httpx.ConnectError | httpx.ConnectTimeout | ForbiddenAddress) for one in _chain(error)):
        return True
    return _status(error) is not None


def _status(error: Exception) -> int | None:
    """The status that a server answered with; litellm's own exceptions carry one even where nobody answered."""
    import httpx
    import openai

    for one in _chain(error):
        if isinstance(one, openai.APIStatusError) and not type(one).__module__.startswith("litellm"):
            return one.status_code
        if isinstance(one, httpx.HTTPStatusError):
            return one.response.status_code
    return None


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """The exception and what it was made of."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def _retry_after(error: Exception) -> float | None:
    """The Retry-After header in seconds, also where it is a date; litellm keeps it in one of two places."""
    response = getattr(error, "response", None)
    for headers in (getattr(error, "litellm_response_headers", None), getattr(response, "headers", None)):
        value: Any = headers.get("retry-after") if headers else None
        seconds = _seconds(str(value)) if value is not None else None
        if seconds is not None:
            return seconds
    return None


def _seconds(value: str) -> float | None:
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
        except (ValueError, TypeError, IndexError, OverflowError):
            return None
    return seconds if 0 <= seconds < float("inf") else None
