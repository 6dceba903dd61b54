"""Words beside an experiment's state: what to look at before a verdict, what each action does, what the loop did next."""

from __future__ import annotations

from dataclasses import dataclass

from django.db.models import F, Q

from experiments import words
from experiments.models import Experiment, Run
from experiments.models.text import same_exam
from experiments.states import Badge, Kind, RunState, State


@dataclass(frozen=True)
class Sequel:
    text: str
    experiment: Experiment | None = None


def sequel(experiment: Experiment) -> Sequel:
    """What came after a failed experiment."""
    run, others = experiment.run, experiment.run.experiments
    repair = others.filter(subject=experiment, kind=Kind.IDEA).first()
    if repair:
        return Sequel("The researcher was shown how it failed and repaired it:", repair)
    following = others.filter(number__gt=experiment.number).exclude(subject=experiment).first()
    if following:
        return Sequel("The branch stayed as it was, and the loop went on with the next idea:", following)
    if run.state == RunState.PAUSED:
        return Sequel(f"The run is paused. {run.detail}".strip())
    if run.state == RunState.ENDED:
        return Sequel(f"The run ended with it. {run.detail}".strip())
    return Sequel("The branch stays as it was; the next idea comes in a moment.")


def spread(run: Run) -> float | None:
    """The largest difference between a commit and its repeat with another seed: a first measure of the noise."""
    scored = run.experiments.filter(kind=Kind.REPEAT, score__isnull=False, subject__score__isnull=False)
    unbelieved = Q(subject__badges__icontains=Badge.IMPLAUSIBLE, subject__state=State.DISCARDED)
    pairs = scored.filter(same_exam("subject__")).exclude(unbelieved).order_by().values_list("score", F("subject__score"))
    return max((abs(score - first) for score, first in pairs), default=None)


def noise_words(gain: float | None, noise: float | None) -> str:
    """Whether a difference stands out of what another seed alone makes; "" where that is not known."""
    if gain is None or noise is None or not gain:
        return ""
    if abs(gain) <= noise:
        return f"Another seed alone made a difference of {noise:.6f} in this run: this may be noise."
    return f"Larger than what another seed alone made in this run ({noise:.6f})."


def look_at(experiment: Experiment) -> list[str]:
    """What a person should look at before the verdict, the most important first."""
    parent = experiment.parent
    points = [words.BADGES[badge] for badge in experiment.badges if badge in words.BADGES and badge != Badge.VERIFIED]
    if parent:
        points.append(f"The curve: is it below that of #{parent.number} to the end, or only at the last step?")
        points += _memory(experiment, parent)
    added, removed = experiment.lines_changed
    points.append(f"The diff, {_lines(added, removed)}: is the gain worth the code?")
    return points


def _memory(experiment: Experiment, parent: Experiment) -> list[str]:
    mine, before = experiment.memory_gb, parent.memory_gb
    if not mine or not before or abs(mine - before) < 0.05 * before:
        return []
    return [f"Memory: {mine:.1f} GB, where #{parent.number} needed {before:.1f} GB."]


def _lines(added: int, removed: int) -> str:
    return f"+{added} −{removed} lines"


def effects(experiment: Experiment) -> dict[str, str]:
    """What approve, reject and cancel will do now, said beside their buttons."""
    state, program = State(experiment.state), experiment.run.program
    seconds = program.budget_seconds
    budget = f"{seconds / 60:.0f} min" if seconds >= 90 else f"{seconds} s"
    if state == State.REVIEWING:
        return {
            "approve_does": f"it trains for {budget} on the next free device.",
            "reject_does": "it never trains, and the researcher reads your reason.",
        }
    if state == State.CONFIRMING:
        return {
            "approve_does": f"the branch {experiment.run.branch} moves to it, and the next ideas build on it.",
            "reject_does": "the branch stays; commit, log and curve of it stay too.",
        }
    return {}


def cancel_does(experiment: Experiment) -> str:
    state = State(experiment.state)
    if experiment.is_repeated_first:
        return "It ends here without a verdict, and so does the training that was to say whether its score holds."
    if state in {State.TRAINING, State.EVALUATING}:
        return "The training ends at once. Its log and curve up to now stay, and the loop goes on with the next idea."
    if state == State.PROPOSING:
        return "The researcher's reply is no longer waited for. The loop goes on with another idea."
    return "It ends here, as cancelled, and is not trained. The loop goes on with the next idea. Its diff stays."
