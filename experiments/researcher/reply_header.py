"""Reads the named lines (IDEA, HYPOTHESIS, THEME, …) out of a reply's prose. What is missing or broken is empty."""

from __future__ import annotations

import itertools
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from experiments.themes import THEMES

MAX_IDEA_CHARS = 200
MAX_HYPOTHESIS_CHARS = 4_000
MAX_MEMO_CHARS = 20_000

MAX_THEME_CHARS = 60
MAX_NEXT = 3  # ideas for later in one reply
MAX_NEXT_CHARS = 500

QUOTES = "\"'“”„‘’«»"
KEY = re.compile(
    rf"[\s>*_#`{QUOTES}\-]*(?P<key>IDEA|HYPOTHESIS|THEME|EXPECT|MEMO|NEXT|SWEEP)"
    rf"[\s*_`{QUOTES}]{{0,8}}[:：][\s*_`]*(?P<rest>.*)",
    re.IGNORECASE | re.DOTALL,
)
ITEM = re.compile(r"\s{0,8}(?:[-*•]|\d{1,2}[.)])\s+(?P<rest>\S.*)")
EXPECTED = re.compile(r"(?<![\w.])[-+−–]?(?:\d{1,9}(?:\.\d{0,12})?|\.\d{1,12})(?:[eE][-+]?\d{1,2})?(?![\w%]|\.\d| ?%)")
NOT_THEME = re.compile(r"[^\w +/&-]+")
FENCE_LINE = re.compile(r"\s*(`{3,}|~{3,})[\w+ -]*\s*")


@dataclass
class Header:
    idea: str = ""
    hypothesis: str = ""
    memo: Mapping[str, Any] = field(default_factory=dict)
    theme: str = ""
    expect: float | None = None
    next_ideas: tuple[str, ...] = ()
    sweep: str = ""  # the order as it was written


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
            if name == "NEXT":  # as many lines as there are ideas
                key = name
                found.setdefault(name, []).append(mark["rest"])
                continue
            key = "" if name in found else name
            if key:
                found[key] = [mark["rest"]]
        elif key == "NEXT":
            item = ITEM.fullmatch(line[: 2 * MAX_NEXT_CHARS])
            found[key] += [item["rest"]] if item else []
        elif key and not FENCE_LINE.fullmatch(line):
            found[key].append(line)
    idea = _one_line(found["IDEA"][:1]) if "IDEA" in found else ""
    return Header(
        idea=idea or _first_line(prose),
        hypothesis=_plain(" ".join("\n".join(found.get("HYPOTHESIS", [])).split()))[:MAX_HYPOTHESIS_CHARS],
        memo=_memo("\n".join(found.get("MEMO", []))),
        theme=normal_theme("".join(found.get("THEME", [])[:1])),
        expect=_expected("".join(found.get("EXPECT", [])[:1])),
        next_ideas=_next_ideas(found.get("NEXT", [])),
        sweep=_paragraph(found.get("SWEEP", [])),
    )


def normal_theme(text: str) -> str:
    """A theme in small letters without marks; one of themes.THEMES where it is that one in the plural or with hyphens."""
    plain = " ".join(NOT_THEME.sub(" ", _plain(text[:400]).lower()).split())[:MAX_THEME_CHARS].strip(" -_/+&")
    if plain in {"none", "n a", "other"}:
        return ""
    for known in THEMES:
        if plain.replace("-", " ") in {known, f"{known}s"} or f"{plain}s" == known:
            return known
    return plain


def _paragraph(lines: Sequence[str]) -> str:
    """What was written up to the first blank line, as one line."""
    told = itertools.takewhile(str.strip, lines[1:])
    return " ".join(" ".join([*lines[:1], *told]).split())[:1_000]


def _expected(text: str) -> float | None:
    """The first number; None for a share in percent: of what?"""
    found = EXPECTED.search(text[:200])
    if found is None:
        return None
    value = float(found[0].replace("−", "-").replace("–", "-"))
    return value if math.isfinite(value) and abs(value) < 1e6 else None


def _next_ideas(lines: Sequence[str]) -> tuple[str, ...]:
    told = (_plain(" ".join(line[: 2 * MAX_NEXT_CHARS].split())).strip("*_`# ")[:MAX_NEXT_CHARS] for line in lines)
    ideas = dict.fromkeys(idea for idea in told if len(idea) > 3 and idea.lower().strip(".") not in {"none", "n/a"})
    return tuple(ideas)[:MAX_NEXT]


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
