"""The exam has changed while a run goes on: its best is trained and examined anew, and what follows is compared with that.

Scores of two exams are never compared. What was judged by the one before stays as it is.
"""

from __future__ import annotations

from django.utils import timezone

from experiments.loop.errors import StageError
from experiments.loop.workspace import Workspace
from experiments.models import Experiment, Run
from experiments.models.text import version
from experiments.states import LIVE, Failure, Kind, State
from trainer.output import last_words
from trainer.spec import EXAM

OLDER = f"was examined by an earlier exam than {EXAM}: the worker that trained it runs older code. Update or restart it."


def is_due(best: Experiment | None) -> bool:
    """Whether an earlier exam gave the best's score. Without a judge there is nothing to examine anew."""
    return best is not None and best.run.program.has_exam and 0 < version(best.exam) < EXAM


def settle_first(run: Run) -> bool:
    """Whether the best is to be examined anew before anything else trains: then there is a row for that, and one only."""
    best = run.best
    wanted = best if best is not None and is_due(best) else None
    rows = run.experiments.filter(kind=Kind.REEXAMINED, state__in=LIVE)
    for row in rows.filter(state=State.READY).exclude(subject=wanted):
        row.cancel(by="loop", why=f"#{row.subject.number if row.subject else '?'} is no longer the best")
    if wanted is not None and wanted.kind == Kind.REEXAMINED and wanted.description == _described(wanted.subject):
        run.pause(by="loop", now=False, reason="best_failed", why=f"#{wanted.number} {OLDER}")
    elif wanted is not None and not rows.filter(subject=wanted).exists():
        _create(run, wanted)
    return wanted is not None


def _create(run: Run, best: Experiment) -> None:
    made = Experiment.objects.create(
        run=run, number=run.next_number(), kind=Kind.REEXAMINED, state=State.READY, parent=best, subject=best,
        commit=best.commit, seed=best.seed, brief=best.brief, proposed_at=timezone.now(), theme=best.theme,
        description=_described(best),
    )
    Workspace(run.program.repo).set_ref(made.ref, made.commit)
    run.record("loop", f"#{made.number} created", why=f"{made.description}: exam {version(best.exam)} gave its score")


def _described(best: Experiment | None) -> str:
    return f"#{best.number if best else '?'} examined anew, by exam {EXAM}"


def decide(experiment: Experiment, best: Experiment | None) -> None:
    """Kept whatever its score is, which is compared with none. Raises StageError."""
    subject = experiment.subject
    if version(experiment.exam) < EXAM:
        raise StageError(Failure.NO_SCORE, f"It {OLDER}")
    if best is None or subject is None or best.pk != subject.pk:
        why = f"examined anew, but #{best.number if best else '?'} has become the best meanwhile"
        experiment.move_to(State.DISCARDED, by="verdict", why=why, detail=why)
        return
    why = (
        f"the best, #{subject.number}, by the exam of now: {experiment.score:.6f}. Exam {version(subject.exam)} gave it "
        f"{subject.score:.6f}; from here on all is compared with the new score"
    )
    experiment.keep(by="verdict", why=why, detail=why)


def said(failed: Experiment) -> str:
    """Why the run waits: the best has no score by the exam of now."""
    number, reason = failed.subject.number if failed.subject else "?", failed.reason.replace("_", " ")
    detail = last_words(failed.detail) if failed.reason == Failure.CRASH else failed.detail
    return (
        f"The best, #{number}, was examined anew by exam {EXAM}, and has no score by it: {reason}: "
        f"{detail[:300].rstrip('.')}. Look at #{failed.number}. Roll back to an earlier keep and resume: then that is "
        "examined anew. Or start a new run. If the cause was this machine, resume: it is tried once more."
    )
