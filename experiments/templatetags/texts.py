"""Text of people, models and trainings on a page: what hides or turns letters around is shown, not obeyed."""

from __future__ import annotations

import re

from django import template

register = template.Library()

LINE = 200  # characters of an idea where it is one line among others; its own page has all of it
# Controls, bidi overrides and isolates; joiners stay, since emoji and some scripts need them
_TURNING = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")
_ESCAPE = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b[\]PX^_][^\x07\x1b]{0,2000}(?:\x07|\x1b\\)")  # colours, titles, links


@register.filter
def calm(text: str) -> str:
    """The same without colours; other control characters stand as �."""
    return _TURNING.sub("\ufffd", _ESCAPE.sub("", str(text or "").replace("\r\n", "\n")))


@register.filter
def line(text: str) -> str:
    """The beginning of it, calm, as one line."""
    one = " ".join(calm(str(text or "")[: 20 * LINE]).split())
    return one if len(one) <= LINE else f"{one[: LINE - 1]}…"
