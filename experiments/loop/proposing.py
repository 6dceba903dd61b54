"""What a researcher is told, and how its streamed reply is taken down."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator, Sequence

from django.utils import timezone
from django.utils.timesince import timeuntil

from experiments.loop.devices import names as device_names
from experiments.loop.workspace import Workspace
from experiments.models import Experiment, Idea, Run, stream
from experiments.researcher.base import (
    Context,
    Crash,
    Past,
    Piece,
    Proposal,
    Researcher,
    ResearcherError,
    Restart,
    Shown,
    Text,
    Usage,
)
from experiments.researcher.edit_error import EditError
from experiments.researcher.strategy import Plan
from experiments.states import Failure, State
from trainer.output import strip_controls

LOG_TAIL = 4000  # characters of a crashed training's log that the researcher sees
REPAIRS = 2  # how often a crash is given back to its author
IDEAS_SHOWN = 5  # of the queue: the first is to be taken up, the others say what comes later
CRASH_AGE = 3  # experiments after which nobody goes back to a crash
FLUSH_SECONDS = 0.1


def build_context(
    experiment: Experiment, parent: Experiment, ideas: Sequence[Idea] = (), plan: Plan | None = None
) -> Context:
    run, program, best = experiment.run, experiment.run.program, experiment.run.best
    workspace = Workspace(program.repo)
    return Context(
        brief=experiment.brief.text if experiment.brief else "",
        brief_version=experiment.brief.number if experiment.brief else 0,
        metric=program.metric,
        lower_is_better=program.lower_is_better,
        budget_seconds=program.budget_seconds,
        device=device_names()[0],
        files=workspace.read(parent.commit, program.editable),
        fixed_files=workspace.read(parent.commit, program.fixed),
        best_number=parent.number,
        best_score=parent.score,
        history=tuple(_history(run)),
        notes=tuple(run.notes.values_list("text", flat=True)),
        ideas=tuple(idea.text for idea in ideas),
        crash=_crash(experiment.subject) if experiment.subject else None,
        plan=plan,
        goal_number=best.number if best and best != parent else None,
        goal_score=best.score if best and best != parent else None,
        remaining=remaining(run),
        seed=run.seed,
    )


def ideas_for(experiment: Experiment, researcher: Researcher) -> list[Idea]:
    """The head of the queue; nothing for a repair, which has its idea, or for a researcher that reads no ideas."""
    if experiment.subject or not researcher.reads_prompt:
        return []
    return list(experiment.run.ideas.offered_to(experiment)[:IDEAS_SHOWN])


def _history(run: Run) -> Iterator[Past]:
    # what is under way belongs to it: the next idea must be another one
    rows = run.experiments.exclude(state=State.PROPOSING).select_related("parent")
    for row in rows.defer("prompt", "hypothesis", "parent__diff").order_by("number"):
        yield Past(
            number=row.number, kind=row.kind, state=row.state, reason=row.reason, description=row.description,
            score=row.score, delta=row.delta, diff=row.diff, why=row.detail, memo=row.memo,
        )


def remaining(run: Run) -> str:
    parts = []
    if run.max_experiments:
        parts.append(f"{max(0, run.max_experiments - run.experiments.count())} experiments")
    if run.deadline_at:
        parts.append(timeuntil(run.deadline_at, timezone.now()).replace("\xa0", " "))
    return ", ".join(parts) or "no limit is set"


def _crash(failed: Experiment) -> Crash:
    log = strip_controls("".join(stream.read(failed, stream.LOG).chunks))
    return Crash(
        number=failed.number, description=failed.description, reason=failed.reason, diff=failed.diff,
        log_tail=log[-LOG_TAIL:],
    )


def crash_to_repair(run: Run) -> Experiment | None:
    """The last crash that its author has not been shown yet, at most REPAIRS deep."""
    crashes = run.experiments.filter(state=State.FAILED, reason__in=[Failure.CRASH, Failure.OOM, Failure.NAN])
    last = crashes.order_by("-number").first()
    if last is None or not last.edits or run.experiments.filter(subject=last).exists():
        return None
    if run.experiments.filter(number__gt=last.number).count() > CRASH_AGE:
        return None
    depth, above = 0, last.subject
    while above is not None:
        depth, above = depth + 1, above.subject
    return last if depth < REPAIRS else None


class ReplyWriter:
    """Takes a reply down: into the stream `reply`, a few times a second, and as the text to be parsed."""

    def __init__(self, experiment: Experiment, check: Callable[[], None]) -> None:
        self.experiment, self.check = experiment, check
        self.cursor = stream.cursor(experiment, stream.REPLY)
        self.waiting, self.flushed_at = "", 0.0
        self.proposal: Proposal | None = None  # where the researcher gives it itself: then the text is not parsed

    def take(self, pieces: Iterator[Piece]) -> str:
        """All of one reply. `check` is called on the way and may raise to give up."""
        try:
            return self._take(pieces)
        except (ResearcherError, EditError):
            self.flush()  # the last words before it failed
            raise
        finally:  # who is not read to the end ends now: an agent would go on, and be paid
            if isinstance(pieces, Generator):
                pieces.close()

    def _take(self, pieces: Iterator[Piece]) -> str:
        text, self.proposal = "", None
        for piece in pieces:
            self.check()
            match piece:
                case Text():
                    clean = _storable(piece.text)
                    text += clean
                    self.write(clean)
                case Shown():
                    self.write(_storable(piece.text))
                case Proposal():
                    self.proposal = piece
                case Restart():
                    text, self.proposal = "", None
                    self.say(piece.why)
                case Usage():
                    self.count(piece)
        self.flush()
        return text

    def count(self, usage: Usage) -> None:
        """Stored at once: a reply that leads to nothing has its price too."""
        row = self.experiment
        row.tokens_in, row.tokens_out = row.tokens_in + usage.tokens_in, row.tokens_out + usage.tokens_out
        if usage.cost is not None:
            row.cost = (row.cost or 0.0) + usage.cost
        row.save(update_fields=["tokens_in", "tokens_out", "cost"])

    def say(self, line: str) -> None:
        """A word of ours between the researcher's."""
        self.write(f"\n\n[{line}]\n\n")
        self.flush()

    def write(self, text: str) -> None:
        self.waiting += text
        if time.monotonic() - self.flushed_at > FLUSH_SECONDS:
            self.flush()

    def flush(self) -> None:
        if self.waiting:
            end = self.cursor + len(self.waiting.encode())
            stream.append(self.experiment, stream.REPLY, self.cursor, end, self.waiting)
            self.cursor, self.waiting, self.flushed_at = end, "", time.monotonic()


def _storable(text: str) -> str:
    """Without what a database cannot hold: NUL, and halves of surrogate pairs."""
    return text.encode(errors="replace").decode().replace("\0", "")
