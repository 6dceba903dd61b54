"""The one error that parsing a reply or applying its edits may raise."""

from __future__ import annotations


class EditError(Exception):
    """The reply cannot be used. The text names the problem and what was expected; it is sent back to the researcher."""
