"""A researcher that answers what the test says, and replies that change the scripts of tests/scripts."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

from experiments.researcher.base import Called, Context, Message, Piece, Text, Usage

SCRIPTS = Path(__file__).resolve().parent.parent / "scripts"
Reply = str | Exception | Callable[[Context], str]


class Scripted:
    """Gives its replies one after another, the last one again and again. An exception is raised instead."""

    label, can_repair, reads_prompt = "scripted", False, True
    context_tokens: int | None = None

    def __init__(self, *replies: Reply, can_repair: bool = False) -> None:
        self.replies, self.can_repair = list(replies), can_repair
        self.contexts: list[Context] = []
        self.messages: list[tuple[Message, ...]] = []

    def reply(self, messages: tuple[Message, ...], context: Context) -> Iterator[Piece]:
        self.contexts.append(context)
        self.messages.append(messages)
        now = self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]
        if isinstance(now, Exception):
            raise now
        yield Called("scripted")
        yield Text(now(context) if callable(now) else now)
        yield Usage(tokens_in=10, tokens_out=5, cost=0.01)


def change(name: str, value: float) -> Callable[[Context], str]:
    """A reply that gives a constant of train.py another value."""

    def reply(context: Context) -> str:
        line = re.search(rf"^{name} = .*$", context.files["train.py"], re.M)
        assert line is not None
        return edit(f"{name} {value}", line[0], f"{name} = {value}")

    return reply


def edit(idea: str, old: str, new: str, path: str = "train.py") -> str:
    return f"IDEA: {idea}\n\n{path}\n<<<<<<< SEARCH\n{old}\n=======\n{new}\n>>>>>>> REPLACE\n"


def become(script: str, mark: int | None = None) -> str:
    """A reply that makes train.py one of tests/scripts; with another mark it is another edit."""
    text = (SCRIPTS / f"{script}.py").read_text() + ("" if mark is None else f"\nMARK = {mark}\n")
    return f"IDEA: {script}\n\ntrain.py\n```python\n{text}```\n"
