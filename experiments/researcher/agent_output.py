"""What an external agent prints: cleaned for people, and read for its idea and its cost. Pure."""

from __future__ import annotations

import json
import math
import re
from typing import Any

from trainer.output import LineSplitter, strip_controls

from .base import Usage
from .redact import redact

MOST_COST = 10_000.0  # US dollars; what is above it is no cost of one proposal
MOST_TOKENS = 2_000_000_000
MAX_IDEA_CHARS, MAX_HYPOTHESIS_CHARS = 200, 4_000
LAST_LINES = 8

AMOUNT = r"\$?([0-9][0-9,_]{0,20}(?:\.[0-9]{1,20})?(?:e-?[0-9]{1,3})?)(?=\s|$)"
COSTS = re.compile(rf"(?:^|(?<=\s))(COST_USD|TOKENS_IN|TOKENS_OUT)\s{{0,4}}=\s{{0,4}}{AMOUNT}", re.I)
SAID = re.compile(r"[\s>*_#`\-]{0,12}(IDEA|HYPOTHESIS|THEME)[\s*_`]{0,8}:[\s*_`]{0,8}(\S.*)", re.I)
TOKENS_IN = ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")


class Output:
    """Text as it arrives, and what has been learned from it so far."""

    def __init__(self) -> None:
        self.said: dict[str, str] = {}  # IDEA, HYPOTHESIS, THEME: the last of each
        self.last: list[str] = []  # lines with something in them
        self._numbers: dict[str, float] = {}
        self._splitter = LineSplitter()
        self._shown = 0  # characters of the unfinished line that were given out

    def feed(self, text: str) -> str:
        """What of it can be shown now: whole lines, without control codes and keys."""
        lines = self._splitter.feed(text)
        if not lines:
            return ""
        clean = redact(strip_controls("\n".join(lines)))
        for line in clean.split("\n"):
            self._look_at(line)
        start, self._shown = self._shown, 0
        return clean[start:] + "\n"

    def pending(self) -> str:
        """Of a line that does not end, the finished words: a key is one word, and is only masked when it is whole."""
        words = redact(strip_controls(self._splitter.pending.rpartition(" ")[0]))
        start, self._shown = self._shown, max(self._shown, len(words))
        return words[start:]

    def finish(self) -> str:
        return self.feed("\n") if self._splitter.pending else ""

    @property
    def usage(self) -> Usage | None:
        """None: it said nothing of what it cost."""
        if not self._numbers:
            return None
        tokens = [int(self._numbers.get(name, 0)) for name in ("TOKENS_IN", "TOKENS_OUT")]
        return Usage(tokens[0], tokens[1], self._numbers.get("COST_USD"))

    @property
    def last_words(self) -> str:
        return "\n".join(self.last)[-600:]

    def _look_at(self, line: str) -> None:
        if not line.strip():
            return
        self.last = [*self.last, line.strip()[:400]][-LAST_LINES:]
        if line.lstrip()[:1] in {"{", "["}:
            self._look_at_json(line)
        if COSTS.match(line.strip()):
            for name, number in COSTS.findall(line):
                self._count(name.upper(), number.replace(",", "").replace("_", ""))
        self.said.update(words_in(line))

    def _look_at_json(self, line: str) -> None:
        """A result as Claude Code prints it with --output-format json or stream-json."""
        try:
            found = json.loads(line)
        except (ValueError, RecursionError):
            return
        for result in found if isinstance(found, list) else [found]:
            if not isinstance(result, dict) or "total_cost_usd" not in result:
                continue
            self._count("COST_USD", result["total_cost_usd"])
            usage = result.get("usage")
            if isinstance(usage, dict):
                read = [number for name in TOKENS_IN if (number := _number(usage.get(name))) is not None]
                self._count("TOKENS_IN", sum(read) if read else None)
                self._count("TOKENS_OUT", usage.get("output_tokens"))
            if isinstance(result.get("result"), str):
                self.said.update(words_in(result["result"]))

    def _count(self, name: str, value: object) -> None:
        number = _number(value)
        if number is not None and number <= (MOST_COST if name == "COST_USD" else MOST_TOKENS):
            self._numbers[name] = number


def _number(value: Any) -> float | None:
    """A number that can be an amount; None for anything else, true and false included."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) and number >= 0 else None


def words_in(text: str) -> dict[str, str]:
    """IDEA, HYPOTHESIS and THEME lines, the last of each, on one line each."""
    found = {}
    for line in text.splitlines():
        match = SAID.fullmatch(line)
        if match:
            name = match[1].upper()
            found[name] = _one_line(match[2], MAX_HYPOTHESIS_CHARS if name == "HYPOTHESIS" else MAX_IDEA_CHARS)
    return {name: words for name, words in found.items() if words}


def words_of_file(text: str) -> dict[str, str]:
    """IDEA.md: its first line is the idea; HYPOTHESIS: and THEME: may go on over several lines."""
    found: dict[str, list[str]] = {}
    name = "IDEA"
    for line in redact(strip_controls(text)).splitlines():
        match = SAID.fullmatch(line)
        if match:
            name = match[1].upper()
            found[name] = [match[2]]
        elif line.strip() and (name != "IDEA" or not found.get(name)):
            found.setdefault(name, []).append(line.strip().lstrip("# "))
    limits = {"HYPOTHESIS": MAX_HYPOTHESIS_CHARS}
    said = {name: _one_line(" ".join(lines), limits.get(name, MAX_IDEA_CHARS)) for name, lines in found.items()}
    return {name: words for name, words in said.items() if words}


def _one_line(text: str, limit: int) -> str:
    plain = "".join(character for character in " ".join(text.split()) if character.isprintable())
    return plain.strip("*_` ")[:limit].rstrip()
