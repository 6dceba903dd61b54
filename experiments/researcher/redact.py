"""Masks secrets in text that people or logs will see."""

from __future__ import annotations

import os
import re

from . import keys

MASK = "[redacted]"
SECRET_NAME = re.compile(r"(_KEY|_TOKEN|_SECRET|PASSWORD)$", re.IGNORECASE)
SHORTEST_SECRET = 6  # a shorter value, such as 1, would blank out half of any text
SECRET_SHAPE = re.compile(
    r"\b(sk|pk|gsk|xai|hf|ghp|AIza)[-_A-Za-z0-9]*[-_][A-Za-z0-9_\-*]{6,}"
    r"|\bsk-[A-Za-z0-9_\-*]{4,}"
    r"|\bAIza[A-Za-z0-9_\-]{20,}"
    r"|(?<=://)[^/\s:@]+:[^/\s@]+(?=@)"
    r"|(?<=Bearer )[^\s)\"']+"
)


def redact(text: str) -> str:
    """`text` without the values of secret environment variables and of the keys file, and without what looks like a key."""
    values = {value for name, value in os.environ.items() if SECRET_NAME.search(name)} | keys.values()
    parts = {part for value in values for part in (value, *value.split()) if len(part) >= SHORTEST_SECRET}
    for value in sorted(parts, key=len, reverse=True):
        text = text.replace(value, MASK)
    return SECRET_SHAPE.sub(MASK, text)
