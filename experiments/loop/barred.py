"""Why a score is never kept, whatever it is: it was measured otherwise than the best, or is no finding."""

from __future__ import annotations

import logging

from experiments.dice.form import only_dice_differ
from experiments.loop.workspace import Workspace
from experiments.models import Experiment
from experiments.models.text import differing, versions
from experiments.states import Badge, Kind

log = logging.getLogger(__name__)
EVIDENCE = (Badge.SELF_REPORTED, Badge.UNPROTECTED, Badge.UNPROVEN, Badge.VERIFIED)  # the better the later


def why_barred(experiment: Experiment, best: Experiment | None) -> str:
    """The reason, to a person; "" where nothing bars it."""
    if experiment.kind == Kind.REPEAT:
        number = experiment.subject.number if experiment.subject else "?"
        return f"A repeat of #{number} with another seed tells the noise, and is never kept."
    if best is not None and (why := _by_evidence(experiment, best)):
        return why
    if Badge.SEED_ONLY in experiment.badges:
        return "It trains the same with other random numbers: a lucky seed is no finding."
    if Badge.OVERTIME in experiment.badges:
        return str(experiment.exam.get("overtime") or "It trained longer than the budget.")
    return ""


def _by_evidence(experiment: Experiment, best: Experiment) -> str:
    if texts := differing([best.exam, experiment.exam]):
        return f"It was scored on another text than the best ({' and '.join(texts)}): they cannot be compared."
    if exams := versions([best.exam, experiment.exam]):
        return f"Exams {exams[0]} and {exams[1]} gave its score and the best's: they cannot be compared."
    if _rank(experiment) < _rank(best):
        if Badge.UNPROVEN in experiment.badges:
            return f"No second process could confirm that it saw no answer. {experiment.exam.get('why_not', '')}"
        return "It trained without a working sandbox, and the best in one: see `manage.py doctor`, then train it again."
    if Badge.VERIFIED in experiment.badges and experiment.exam.get("twice", "passed") != "passed":
        return "It was no gain when it trained, so no second process was asked whether it saw answers."
    return ""


def _rank(experiment: Experiment) -> int:
    return max((EVIDENCE.index(badge) for badge in EVIDENCE if badge in experiment.badges), default=0)


def trains_the_same(experiment: Experiment) -> bool:
    """Whether it is better than its parent, and differs from it in nothing but random numbers."""
    program, parent = experiment.run.program, experiment.parent
    if experiment.kind != Kind.IDEA or parent is None or parent.score is None or experiment.score is None:
        return False
    if (experiment.score >= parent.score) if program.lower_is_better else (experiment.score <= parent.score):
        return False
    workspace = Workspace(program.repo)
    before, after = (workspace.read(commit, program.editable) for commit in (parent.commit, experiment.commit))
    try:
        return only_dice_differ(before, after, program.command, prints_count=not program.has_exam)
    except RecursionError:  # nested deeper than Python's own tools can follow
        log.warning("whether #%s changes more than its random numbers is not known", experiment.number)
        return False
