"""Reads IDEA, HYPOTHESIS and MEMO out of a reply's prose. Never fails: what is missing or broken is empty."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

MAX_IDEA_CHARS = 200
MAX_HYPOTHESIS_CHARS = 4_000
MAX_MEMO_CHARS = 20_000

KEY = re.compile(
    r"[\s>*_#`\-]*(?P<key>IDEA|HYPOTHESIS|MEMO)[\s*_`]{0,8}:[\s*_`]*(?P<rest>.*)", re.IGNORECASE | re.DOTALL
)
FENCE_LINE = re.compile(r"\s*(`{3,}|~{3,})[\w+ -]*\s*")


@dataclass
class Header:
    idea: str = ""
    hypothesis: str = ""
    memo: Mapping[str, Any] = field(default_factory=dict)


def read_header(prose: Sequence[str | None]) -> Header:
    """`prose`: the lines outside the edits, None where an edit stood. Without an IDEA line the first line serves."""
    found: dict[str, list[str]] = {}
    key = ""
    for line in prose:
        if line is None:
            key = ""
            continue
        mark = KEY.fullmatch(line)
        if mark:
            name = mark["key"].upper()
            key = "" if name in found else name
            if key:
                found[key] = [mark["rest"]]
        elif key and not FENCE_LINE.fullmatch(line):
            found[key].append(line)
    idea = _one_line(found["IDEA"][:1]) if "IDEA" in found else ""
    return Header(
        idea=idea or _first_line(prose),
        hypothesis=_plain(" ".join("\n".join(found.get("HYPOTHESIS", [])).split()))[:MAX_HYPOTHESIS_CHARS],
        memo=_memo("\n".join(found.get("MEMO", []))),
    )


def _first_line(prose: Sequence[str | None]) -> str:
    usable = (line for line in prose if line and not KEY.fullmatch(line) and not FENCE_LINE.fullmatch(line))
    return next(filter(None, (_one_line([line]) for line in usable)), "")


def _one_line(lines: Sequence[str]) -> str:
    text = _plain(" ".join(" ".join(lines).split())).strip("*_`# ")
    return text if len(text) <= MAX_IDEA_CHARS else text[: MAX_IDEA_CHARS - 1].rstrip() + "…"


def _plain(text: str) -> str:
    return "".join(character for character in text if character.isprintable())


def _memo(text: str) -> Mapping[str, Any]:
    """A broken memo is dropped: it is no reason to lose the edit."""
    start = text.find("{")
    if start < 0 or len(text) > MAX_MEMO_CHARS:
        return {}
    try:
        memo, _ = json.JSONDecoder().raw_decode(text, start)
        stored = json.dumps(memo, allow_nan=False, ensure_ascii=False)
        stored.encode("utf-8")
    except (ValueError, RecursionError):
        return {}
    # PostgreSQL's jsonb takes no NUL.
    return {} if "\\u0000" in stored.replace("\\\\", "") else memo
