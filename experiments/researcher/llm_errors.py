"""What an error of litellm means: try again, or give up with a next step. Keys are redacted from all texts."""

from __future__ import annotations

import re
from typing import Any

from .base import ResearcherError
from .redact import redact

MAX_DETAIL_CHARS = 300
_CLASSES = re.compile(r"\A(?:(?:litellm\.)?\w+Error: |\w+Exception - )+")  # which litellm puts before what was said
OR_THE_SWEEP = "or choose the built-in sweep on the program page."


class TryAgain(Exception):
    """The call failed in a way that may pass. `wait_seconds`: how long the provider asked to wait, if it did."""

    def __init__(self, why: str, wait_seconds: float | None = None) -> None:
        super().__init__(redact(why))
        self.why = redact(why)
        self.wait_seconds = wait_seconds


def explain(error: Exception, model: str, provider: str) -> TryAgain | ResearcherError:
    """Sorts an exception of litellm, openai or httpx by its class and status; the text says what to do next."""
    from litellm import exceptions as known

    if isinstance(error, known.AuthenticationError | known.PermissionDeniedError):
        return ResearcherError(
            f"{provider} refused the key for {model}: {detail_of(error)}. "
            f"Set {key_name(provider)} to a valid key and restart, {OR_THE_SWEEP}"
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
    """The error's first line, redacted and cut."""
    lines = redact(str(error)).strip().splitlines() or [type(error).__name__]
    said = _CLASSES.sub("", lines[0]) or lines[0]
    return said[:MAX_DETAIL_CHARS].rstrip(".")


def key_name(provider: str) -> str:
    return f"{provider.upper()}_API_KEY"


def _rate_limited(error: Exception, model: str, provider: str) -> TryAgain | ResearcherError:
    # The same status 429 as for too many requests, but waiting does not help.
    if "insufficient_quota" in str(error) or "exceeded your current quota" in str(error):
        return ResearcherError(
            f"The account at {provider} has no credit left for {model}. Top it up and resume the run, {OR_THE_SWEEP}"
        )
    return TryAgain("rate limited (429)", _retry_after(error))


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


def _retry_after(error: Exception) -> float | None:
    """The Retry-After header in seconds; litellm keeps it in one of two places. A date is not read."""
    response = getattr(error, "response", None)
    for headers in (getattr(error, "litellm_response_headers", None), getattr(response, "headers", None)):
        value: Any = headers.get("retry-after") if headers else None
        try:
            seconds = float(value)
        except (TypeError, ValueError):
            continue
        if seconds >= 0:
            return seconds
    return None
