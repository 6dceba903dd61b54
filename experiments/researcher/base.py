"""What a researcher is given and what it gives back. No Django, no I/O: words for prompt, parser and researchers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from .strategy import Plan


class ResearcherError(Exception):
    """No reply can be had until a person acts. The text says what is wrong and what to do next; it is shown to people."""


class ResearcherAway(ResearcherError):
    """No reply could be had this time; asking again later may help by itself."""


@dataclass(frozen=True)
class Past:
    """One earlier experiment, as far as a proposer needs it."""

    number: int
    kind: str
    state: str  # a value of states.State
    reason: str  # FAILED/CANCELLED reason, else ""
    description: str
    hypothesis: str = ""
    score: float | None = None
    delta: float | None = None  # score minus the score of its parent; negative is better
    diff: str = ""  # unified diff against its parent
    why: str = ""  # the verdict, the failure's detail, or a person's reason for rejecting it
    memo: Mapping[str, Any] = field(default_factory=dict)  # what the researcher asked to remember


@dataclass(frozen=True)
class Crash:
    """An experiment of the researcher's own that died in training; it may be repaired or dropped."""

    number: int
    description: str
    reason: str
    diff: str
    log_tail: str


@dataclass(frozen=True)
class Context:
    """Everything known when the next edit is asked for."""

    brief: str  # program.md
    brief_version: int
    metric: str  # "val_bpb"
    lower_is_better: bool
    budget_seconds: int
    device: str
    files: Mapping[str, str]  # editable: path -> text at the best commit
    fixed_files: Mapping[str, str]  # read-only: path -> text
    best_number: int | None
    best_score: float | None
    history: tuple[Past, ...] = ()  # oldest first
    notes: tuple[str, ...] = ()  # what people told the researcher
    ideas: tuple[str, ...] = ()  # the head of the queue, the next one first
    crash: Crash | None = None
    plan: Plan | None = None  # which kind of idea is due
    goal_number: int | None = None  # the best, where the files are those of an older keep
    goal_score: float | None = None
    remaining: str = ""  # "12 experiments, 1 h 4 min"
    seed: int = 0


@dataclass(frozen=True)
class Message:
    role: str  # system | user | assistant
    content: str


@dataclass(frozen=True)
class Text:
    """A piece of the reply, in order."""

    text: str


@dataclass(frozen=True)
class Shown:
    """A piece for people alone: it stands in the reply stream and is never parsed. "" only says that it goes on."""

    text: str


@dataclass(frozen=True)
class Restart:
    """What came so far does not count: the call is made again. `why` is shown in the reply stream."""

    why: str


@dataclass(frozen=True)
class Usage:
    tokens_in: int
    tokens_out: int
    cost: float | None  # US dollars; None: unknown price


@dataclass(frozen=True)
class Edit:
    """One change: `search` is replaced by `replace`; with search None the whole file becomes `replace`."""

    path: str
    search: str | None
    replace: str


@dataclass(frozen=True)
class Proposal:
    description: str  # the idea in one line
    hypothesis: str
    edits: tuple[Edit, ...]
    memo: Mapping[str, Any] = field(default_factory=dict)


Piece = Text | Shown | Restart | Usage | Proposal  # a Proposal: what is proposed stands here, not in the text


class Researcher(Protocol):
    """Proposes the next edit. The engine parses the text; a parser's error comes back as one more user message."""

    label: str  # shown to people, says openly what it is
    can_repair: bool  # whether it makes sense to send it an error and ask again
    reads_prompt: bool  # whether notes and ideas reach it

    def reply(self, messages: tuple[Message, ...], context: Context) -> Iterator[Piece]:
        """Stream the reply. Raises ResearcherError when there is none to be had, EditError when it cannot be used."""
        ...
