"""What a researcher is told, and how its streamed reply is taken down."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator, Sequence
from datetime import datetime

from django.db.models import F, Sum
from django.utils import timezone
from django.utils.timesince import timeuntil

from experiments.loop import told
from experiments.loop.account import Account
from experiments.loop.devices import names as device_names
from experiments.loop.dynamics import dynamics
from experiments.loop.workspace import Workspace
from experiments.models import Experiment, Idea, Run, stream
from experiments.models.idea import RESEARCHER
from experiments.models.text import version
from experiments.planning import sigma_of
from experiments.researcher.base import (
    Called,
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
    Thought,
    Usage,
)
from experiments.researcher.edit_error import EditError
from experiments.researcher.own_ideas import nearest_idea
from experiments.researcher.strategy import Plan
from experiments.states import Failure, State
from experiments.themes import theme

LOG_TAIL = 4000  # characters of a crashed training's log that the researcher sees
REPAIRS = 2  # how often a crash is given back to its author
IDEAS_SHOWN = 5  # of people's queue: the first is to be taken up, the others say what comes later
OWN_SHOWN = 8  # of what the researcher listed itself
CRASH_AGE = 3  # experiments after which nobody goes back to a crash
FLUSH_SECONDS = 0.1


def build_context(
    experiment: Experiment, parent: Experiment, ideas: Sequence[Idea] = (), plan: Plan | None = None,
    context_tokens: int | None = None,
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
        own_ideas=tuple(run.ideas.own().values_list("text", flat=True)[:OWN_SHOWN]),
        crash=_crash(experiment.subject) if experiment.subject else None,
        plan=plan,
        goal_number=best.number if best and best != parent else None,
        goal_score=best.score if best and best != parent else None,
        remaining=remaining(run),
        seed=run.seed,
        sigma=sigma_of(run),
        dynamics=dynamics(run),
        context_tokens=context_tokens,
    )


def sweep_context(experiment: Experiment, best: Experiment) -> Context:
    """What the next step of a sweep is chosen by: files, scores and values."""
    program = experiment.run.program
    return Context(
        brief="", brief_version=0, metric=program.metric, lower_is_better=program.lower_is_better,
        budget_seconds=program.budget_seconds, device="", fixed_files={},
        files=Workspace(program.repo).read(best.commit, program.editable), best_number=best.number,
        best_score=best.score, history=tuple(_history(experiment.run)), seed=experiment.run.seed,
    )


def ideas_for(experiment: Experiment, researcher: Researcher) -> list[Idea]:
    """The head of people's queue; nothing for a repair, which has its idea, or for a researcher that reads no ideas."""
    return directed(experiment) if researcher.reads_prompt else []


def directed(experiment: Experiment) -> list[Idea]:
    """What people want tried next: the queue down to the last idea of a person. What the researcher listed itself is
    only a reminder, unless somebody has put it before a person's idea, or this experiment has taken it up."""
    if experiment.subject_id:
        return []
    queue = list(experiment.run.ideas.offered_to(experiment))
    wanted = [at for at, idea in enumerate(queue) if idea.author != RESEARCHER or idea.used_by_id == experiment.pk]
    return _without_others(experiment, queue[: wanted[-1] + 1])[:IDEAS_SHOWN] if wanted else []


def _without_others(experiment: Experiment, queue: list[Idea]) -> list[Idea]:
    """Without what the ideas under way before it take up: of each the first one that was there when it was asked for."""
    rows = experiment.run.experiments.filter(state=State.PROPOSING, number__lt=experiment.number, subject=None, ideas=None)
    left = list(queue)
    for asked_at in rows.order_by("number").values_list("asked_at", flat=True):  # None: it will be in a moment
        there = (idea for idea in left if asked_at is None or idea.created_at < asked_at)
        taken = next((idea for idea in there if not idea.pinned and not idea.used_by_id), None)
        if taken is not None:
            left.remove(taken)
    return left


def note_ideas(experiment: Experiment, proposal: Proposal) -> None:
    """What the reply lists for later goes to the end of the queue; one of its own that it has taken up is used."""
    meant = nearest_idea(proposal.description, {idea.pk: idea.text for idea in experiment.run.ideas.own()})
    if meant is not None:
        experiment.run.ideas.get(pk=meant).take_up(experiment)
    if proposal.next_ideas:
        Idea.add_own(experiment.run, proposal.next_ideas, source=experiment.number)


def _history(run: Run) -> Iterator[Past]:
    # what is under way belongs to it: the next idea must be another one
    rows = run.experiments.exclude(state=State.PROPOSING).select_related("parent")
    found = list(rows.defer("prompt", "hypothesis", "parent__diff", "parent__prompt").order_by("number"))
    scores: dict[tuple[str, int], list[tuple[int, float]]] = {}
    for row in found:
        if row.commit and row.score is not None:
            scores.setdefault((row.commit, version(row.exam)), []).append((row.number, row.score))
    for row in found:
        again = [score for number, score in scores.get((row.commit, version(row.exam)), ()) if number != row.number]
        yield Past(
            number=row.number, kind=row.kind, state=row.state, reason=row.reason, description=row.description,
            score=row.score, delta=row.delta, diff=row.diff, why=told.why(row), memo=row.memo, strategy=row.strategy,
            theme=row.theme or theme(row.description), repeats=tuple(again), exam=version(row.exam),
        )


def remaining(run: Run) -> str:
    parts = []
    if run.max_experiments:
        parts.append(f"{max(0, run.max_experiments - run.experiments.count())} experiments")
    if run.deadline_at:
        parts.append(timeuntil(run.deadline_at, timezone.now()).replace("\xa0", " "))
    if run.max_cost or run.max_tokens:
        spent = run.experiments.aggregate(cost=Sum("cost"), tokens=Sum(F("tokens_in") + F("tokens_out")))
        parts += [f"${max(0.0, run.max_cost - (spent['cost'] or 0.0)):.2f}"] if run.max_cost else []
        parts += [f"{max(0, run.max_tokens - (spent['tokens'] or 0)):,} tokens"] if run.max_tokens else []
    if run.max_without_gain:
        parts.append(f"{max(0, run.max_without_gain - run.since_gain)} more without a gain")
    return ", ".join(parts) or "no limit is set"


def _crash(failed: Experiment) -> Crash:
    return Crash(
        number=failed.number, description=failed.description, reason=failed.reason, diff=failed.diff,
        log_tail=told.log_tail(failed, LOG_TAIL),
    )


def crash_to_repair(run: Run) -> Experiment | None:
    """The last crash that its author has not been shown yet, at most REPAIRS deep."""
    crashes = run.experiments.filter(state=State.FAILED, reason__in=[Failure.CRASH, Failure.OOM, Failure.NAN])
    last = crashes.order_by("-number").first()
    if last is None or not last.edits or run.experiments.filter(subject=last).exists():
        return None
    if run.experiments.filter(created_at__gt=last.finished_at).count() > CRASH_AGE:  # not those that were under way then
        return None
    depth, above = 0, last.subject
    while above is not None:
        depth, above = depth + 1, above.subject
    return last if depth < REPAIRS else None


class ReplyWriter:
    """Takes a reply down: into the streams `reply` and `thoughts`, a few times a second, and as the text to be parsed."""

    def __init__(self, experiment: Experiment, check: Callable[[], None]) -> None:
        self.check, self.account = check, Account(experiment)
        self.reply, self.thoughts = Growing(experiment, stream.REPLY), Growing(experiment, stream.THOUGHTS)
        self.proposal: Proposal | None = None  # where the researcher gives it itself: then the text is not parsed
        self.called_at: datetime | None = None  # the last call, where one was made

    def take(self, pieces: Iterator[Piece]) -> str:
        """All of one reply. `check` is called on the way and may raise to give up: then the researcher hangs up."""
        try:
            return self._take(pieces)
        except (ResearcherError, EditError):
            self._flush()  # the last words before it failed
            raise
        finally:  # who is not read to the end ends now: an agent would go on, and be paid
            if isinstance(pieces, Generator):
                pieces.close()

    def _take(self, pieces: Iterator[Piece]) -> str:
        text, self.proposal = "", None
        for piece in pieces:
            if isinstance(piece, Usage):  # before anything else: it is spent
                self.account.settle(piece)
            self.check()
            match piece:
                case Text():
                    clean = _storable(piece.text)
                    text += clean
                    self.reply.write(clean)
                case Shown():
                    self.reply.write(_storable(piece.text))
                case Thought():
                    self.thoughts.write(_storable(piece.text))
                case Proposal():
                    self.proposal = piece
                case Restart():
                    text, self.proposal = "", None
                    self.say(piece.why)
                case Called():
                    self.called_at = timezone.now()
                    self.account.begin(piece)
        self._flush()
        return text

    def _flush(self) -> None:
        self.reply.flush()
        self.thoughts.flush()

    def say(self, line: str) -> None:
        """A word of ours between the researcher's."""
        self.reply.say(line)
        if self.thoughts.has_begun:
            self.thoughts.say(line)


class Growing:
    """One text stream, written a few times a second."""

    def __init__(self, experiment: Experiment, name: str) -> None:
        self.experiment, self.name = experiment, name
        self.cursor = stream.cursor(experiment, name)
        self.waiting, self.flushed_at = "", 0.0

    @property
    def has_begun(self) -> bool:
        return bool(self.cursor or self.waiting)

    def say(self, line: str) -> None:
        self.write(f"\n\n[{line}]\n\n")
        self.flush()

    def write(self, text: str) -> None:
        self.waiting += text
        if time.monotonic() - self.flushed_at > FLUSH_SECONDS:
            self.flush()

    def flush(self) -> None:
        if self.waiting:
            end = self.cursor + len(self.waiting.encode())
            stream.append(self.experiment, self.name, self.cursor, end, self.waiting)
            self.cursor, self.waiting, self.flushed_at = end, "", time.monotonic()


def _storable(text: str) -> str:
    """Without what a database cannot hold: NUL, and halves of surrogate pairs."""
    return text.encode(errors="replace").decode().replace("\0", "")
