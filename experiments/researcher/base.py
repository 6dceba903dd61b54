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
    theme: str = ""
    strategy: str = ""  # of strategy.Strategy: what kind of idea was due
    repeats: tuple[float, ...] = ()  # further scores of the same commit
    exam: int = 0  # the version that gave the scores; 0: no judge


@dataclass(frozen=True)
class Sample:
    """One place of a training's curve."""

    percent: float  # of the time budget
    loss: float
    grad_norm: float | None = None


@dataclass(frozen=True)
class Dynamics:
    """How a training went, by its curve and its own numbers."""

    number: int
    what: str  # "the best" | "the last"
    curve: tuple[Sample, ...] = ()
    facts: Mapping[str, float] = field(default_factory=dict)  # name with its unit -> value


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
    ideas: tuple[str, ...] = ()  # the head of people's queue, the next one first
    own_ideas: tuple[str, ...] = ()  # what the researcher listed in earlier replies and did not use
    crash: Crash | None = None
    plan: Plan | None = None  # which kind of idea is due
    goal_number: int | None = None  # the best, where the files are those of an older keep
    goal_score: float | None = None
    remaining: str = ""  # "12 experiments, 1 h 4 min"
    seed: int = 0
    sigma: float | None = None  # standard deviation of a score by the seed alone; None: not known
    dynamics: tuple[Dynamics, ...] = ()
    context_tokens: int | None = None  # what the model can take in all; None: not known


@dataclass(frozen=True)
class Message:
    role: str  # system | user | assistant
    content: str


@dataclass(frozen=True)
class Text:
    """A piece of the reply, in order. An empty one only gives the reader a moment to leave."""

    text: str


@dataclass(frozen=True)
class Thought:
    """A piece of what a model thinks before it answers: shown folded, never parsed, never sent back."""

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
class Called:
    """A model is about to be called. What the call takes is unknown until its Usage comes, and stays so if none does."""

    model: str


@dataclass(frozen=True)
class Usage:
    """What one call took, by the provider's own count. Several add up."""

    tokens_in: int
    tokens_out: int
    cost: float | None  # US dollars; None: unknown price
    tokens_cached: int = 0  # of tokens_in: read from the provider's cache
    model: str = ""
    is_whole: bool = True  # False: the call broke off before the provider's last word; it took at least so much


@dataclass(frozen=True)
class Edit:
    """One change: `search` is replaced by `replace`; with search None the whole file becomes `replace`."""

    path: str
    search: str | None
    replace: str


@dataclass(frozen=True)
class SweepOrder:
    """A researcher asks for `count` experiments that turn these constants within these bounds (low, high)."""

    constants: Mapping[str, tuple[float, float]]
    count: int


@dataclass(frozen=True)
class Proposal:
    description: str  # the idea in one line
    hypothesis: str
    edits: tuple[Edit, ...]
    memo: Mapping[str, Any] = field(default_factory=dict)
    theme: str = ""
    next_ideas: tuple[str, ...] = ()  # listed for later
    sweep: SweepOrder | None = None  # asked for instead of edits


# A Proposal: what is proposed stands there, not in the text.
Piece = Text | Shown | Thought | Restart | Called | Usage | Proposal


class Researcher(Protocol):
    """Proposes the next edit. The engine parses the text; a parser's error comes back as one more user message."""

    label: str  # shown to people, says openly what it is
    can_repair: bool  # whether it makes sense to send it an error and ask again
    reads_prompt: bool  # whether notes and ideas reach it

    @property
    def context_tokens(self) -> int | None:
        """What prompt and reply may take together; None: not known, or no such limit."""
        ...

    def reply(self, messages: tuple[Message, ...], context: Context) -> Iterator[Piece]:
        """Stream the reply. Raises ResearcherError when there is none to be had, EditError when it cannot be used."""
        ...
