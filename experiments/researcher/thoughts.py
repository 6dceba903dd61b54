"""Parts thoughts from the reply where a server leaves them in it, between <think> and </think>. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from .base import Piece, Restart, Text, Thought

OPEN, CLOSE = "<think>", "</think>"
WERE_THOUGHTS = "what stands above were its thoughts"


class Splitter:
    """Feed it the reply in pieces of any size. Tags count at the reply's beginning only: an edit may quote them later."""

    def __init__(self) -> None:
        self._waiting = ""  # what may turn out to be a tag
        self._state = "start"  # start | thinking | unopened | reply

    def feed(self, text: str) -> Iterator[Piece]:
        self._waiting += text
        if self._state == "start":
            self._start()
        if self._state == "thinking":
            yield from self._thinking()
        elif self._state == "unopened":
            yield from self._unopened()
        if self._state == "reply" and self._waiting:
            yield Text(self._take(len(self._waiting)))

    def rest(self) -> Iterator[Piece]:
        """What was held back, at the end of the reply."""
        if self._waiting:
            rest = self._take(len(self._waiting))
            yield Thought(rest) if self._state == "thinking" else Text(rest)

    def _start(self) -> None:
        begin = self._waiting.lstrip()
        if begin.startswith(OPEN):
            self._waiting, self._state = begin[len(OPEN) :], "thinking"
        elif begin and not OPEN.startswith(begin):
            self._state = "unopened"

    def _thinking(self) -> Iterator[Piece]:
        at = self._waiting.find(CLOSE)
        thought = self._take(at if at >= 0 else _safe(self._waiting))
        if thought:
            yield Thought(thought)
        if at >= 0:
            self._waiting, self._state = self._waiting[len(CLOSE) :].lstrip(), "reply"

    def _unopened(self) -> Iterator[Piece]:
        """Some templates open the thoughts in the prompt: then only the closing tag is in the reply, on its own line."""
        at = self._waiting.find(f"\n{CLOSE}")
        text = self._take(at if at >= 0 else _safe(self._waiting, f"\n{CLOSE}"))
        if text:
            yield Text(text)
        if at >= 0:
            self._waiting, self._state = self._waiting[len(CLOSE) + 1 :].lstrip(), "reply"
            yield Restart(WERE_THOUGHTS)

    def _take(self, count: int) -> str:
        taken, self._waiting = self._waiting[:count], self._waiting[count:]
        return taken


def _safe(text: str, tag: str = CLOSE) -> int:
    """How many characters cannot be the beginning of `tag`."""
    for count in range(min(len(tag) - 1, len(text)), 0, -1):
        if tag.startswith(text[-count:]):
            return len(text) - count
    return len(text)
