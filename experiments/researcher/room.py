"""How much a prompt may hold, who gets it first, and what was cut for lack of it. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field

from .prompt_text import BYTES_PER_TOKEN, size

UNKNOWN_CONTEXT = 32_000  # tokens; taken where the model's own limit is not known
MOST_TOKENS = 48_000  # of a prompt, whatever the model can take: each experiment pays for it
LEAST_TOKENS = 3_000  # below that there is no room to say what is wanted
REPLY_TOKENS = 6_000  # kept free for the reply, or a quarter of a small context


@dataclass(frozen=True)
class Part:
    """A section of the prompt, and what is missing in it, in words."""

    text: str = ""
    cut: tuple[str, ...] = ()


@dataclass
class Room:
    """Bytes that are left. Parts are put in by priority: who comes first is cut last."""

    total: int
    left: int = field(init=False)
    cut: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.left = self.total

    def share(self, part: float) -> int:
        """What a section may take: a part of the whole, and no more than is left."""
        return max(0, min(int(self.total * part), self.left))

    def put(self, part: Part) -> str:
        self.left -= size(part.text) + 2 if part.text else 0  # 2: the blank line after it
        self.cut += part.cut
        return part.text


def prompt_tokens(context_tokens: int | None) -> int:
    """How long the prompt may be for a model that takes so much in all."""
    window = context_tokens or UNKNOWN_CONTEXT
    return max(LEAST_TOKENS, min(window - min(REPLY_TOKENS, window // 4), MOST_TOKENS))


def bytes_of(tokens: int) -> int:
    return tokens * BYTES_PER_TOKEN
