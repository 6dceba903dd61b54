"""What the experiment page says of a prompt: its size and what was left out of it. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from experiments.researcher.prompt_text import tokens_of


def said(messages: Sequence[Mapping[str, str]], cut: Sequence[str], limit: int | None) -> str:
    """"About 18,400 tokens of at most 26,000. Left out for lack of room: …."; "" where nothing was sent, or not by us."""
    if not messages or limit is None:
        return ""
    tokens = round(sum(tokens_of(str(message.get("content", ""))) for message in messages), -2)
    size = f"About {tokens:,} tokens of at most {limit:,}."
    return f"{size} Left out for lack of room: {'; '.join(cut)}." if cut else f"{size} Nothing was left out."
