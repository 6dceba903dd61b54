"""Two people at one form of settings: who saves second is told what the first has saved, and overwrites nothing unseen."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any

from django import forms

MOST = 80  # characters of a value that the words repeat


def stamp(stored: Any, names: Iterable[str]) -> str:
    """The same as long as the fields `names` of a row hold the same; it travels with the form."""
    return hashlib.sha256(repr([(name, getattr(stored, name)) for name in names]).encode()).hexdigest()[:16]


def words(form: forms.BaseForm) -> str:
    """What is stored now where the form says something else."""
    differing = [f"{form.fields[name].label}: {_short(form[name].initial)}" for name in form.changed_data]
    there = f"Stored now: {'; '.join(differing)}." if differing else "It is the same as yours."
    return (
        f"Somebody saved this form while you had it open, so yours is not saved. {there} "
        "Your values are still below: look at both, then save again to put yours in their place."
    )


def _short(value: Any) -> str:
    text = " ".join(str("" if value is None else value).split()) or "empty"
    return text if len(text) <= MOST else f"{text[: MOST - 1]}…"
