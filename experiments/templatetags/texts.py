"""Text of people, models and trainings on a page: what hides or turns letters around is shown, not obeyed."""

from __future__ import annotations

import re

from django import template

register = template.Library()

# Controls, bidi overrides and isolates; joiners stay, since emoji and some scripts need them
_TURNING = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
_ESCAPE = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]")


@register.filter
def calm(text: str) -> str:
    """The same without colours; other control characters stand as �."""
    return _TURNING.sub("\ufffd", _ESCAPE.sub("", str(text or "").replace("\r\n", "\n")))
