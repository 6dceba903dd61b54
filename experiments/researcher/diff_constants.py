"""Reads off a unified diff which top-level constants it sets, and to what. Pure."""

from __future__ import annotations

import re

SET = re.compile(r"^[+](?P<name>[A-Z][A-Z0-9_]*)\s*(?::[^=\n]+)?=(?!=)\s*(?P<value>[^#\n]{1,60}?)\s*(?:#.*)?$", re.M)
GONE = re.compile(r"^-(?P<name>[A-Z][A-Z0-9_]*)\s*(?::[^=\n]+)?=(?!=)", re.M)
CHANGED = re.compile(r"^(?:\+(?!\+\+ )|-(?!-- )).*\S", re.M)


def constants_set(diff: str) -> dict[str, str]:
    """Name -> new literal of the constants that had another value before, in the order of the diff."""
    before = {match["name"] for match in GONE.finditer(diff)}
    return {match["name"]: match["value"] for match in SET.finditer(diff) if match["name"] in before}


def sets_nothing_else(diff: str) -> bool:
    """Whether the changed lines are those of constants only."""
    return all(SET.fullmatch(line) or GONE.match(line) for line in CHANGED.findall(diff))
