"""The states of experiments and runs and the legal moves between them. Pure: no Django, no I/O."""

from __future__ import annotations

from enum import StrEnum


class State(StrEnum):
    PROPOSING = "proposing"
    REVIEWING = "reviewing"  # a person approves the diff before it costs device time
    READY = "ready"
    TRAINING = "training"
    EVALUATING = "evaluating"
    CONFIRMING = "confirming"  # a person confirms the verdict
    KEPT = "kept"
    DISCARDED = "discarded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    REVERTED = "reverted"


LIVE = frozenset(
    {State.PROPOSING, State.REVIEWING, State.READY, State.TRAINING, State.EVALUATING, State.CONFIRMING}
)
WORKED = frozenset({State.PROPOSING, State.READY, State.TRAINING, State.EVALUATING})  # a worker holds the row, by heartbeat
ON_DEVICE = frozenset({State.TRAINING, State.EVALUATING, State.CONFIRMING})  # a lane is taken

_END = frozenset({State.FAILED, State.CANCELLED})
MOVES: dict[State, frozenset[State]] = {
    # to itself: a worker died, the stage is done again under the next attempt
    State.PROPOSING: frozenset({State.PROPOSING, State.REVIEWING, State.READY}) | _END,
    State.REVIEWING: frozenset({State.READY, State.PROPOSING}) | _END,
    # READY -> PROPOSING: the best has moved and the edit no longer applies
    State.READY: frozenset({State.READY, State.TRAINING, State.PROPOSING}) | _END,
    State.TRAINING: frozenset({State.READY, State.EVALUATING}) | _END,
    State.EVALUATING: frozenset({State.EVALUATING, State.CONFIRMING, State.KEPT, State.DISCARDED}) | _END,
    # CONFIRMING -> EVALUATING: it seemed too good, and nobody is asked any more: another seed says whether it holds
    State.CONFIRMING: frozenset({State.KEPT, State.DISCARDED, State.EVALUATING}) | _END,
    State.KEPT: frozenset({State.REVERTED}),
    State.REVERTED: frozenset({State.KEPT}),  # a roll back is undone by rolling to the later experiment
    State.DISCARDED: frozenset(),
    State.FAILED: frozenset(),
    State.CANCELLED: frozenset(),
}


class Failure(StrEnum):
    """Why an experiment FAILED. It explains; it never drives the machine."""

    BAD_PATCH = "bad_patch"
    DUPLICATE = "duplicate"  # the same change was tried before
    PREFLIGHT = "preflight"  # it would not train: found on the CPU, before it cost device time
    RESEARCHER_ERROR = "researcher_error"
    CRASH = "crash"
    OOM = "oom"
    NAN = "nan"
    TIMEOUT = "timeout"
    NO_SCORE = "no_score"
    TAMPERED = "tampered"
    LEAK = "leak"
    WORKER_LOST = "worker_lost"
    DISK_FULL = "disk_full"


class Badge(StrEnum):
    """What is known about a score. Kept with the experiment, shown with its score."""

    VERIFIED = "verified"  # the judge's number
    UNPROVEN = "unproven"  # the judge's number, and no second process could confirm it
    UNPROTECTED = "unprotected"  # the judge's number too, but no working sandbox kept the training from forging it
    SELF_REPORTED = "self-reported"  # the training's own: its program brings its own metric
    TAMPERED = "tampered"
    LEAK = "leak"
    OVERTIME = "overtime"
    SEED_ONLY = "seed-only"
    IMPLAUSIBLE = "implausible"


NEVER_KEPT = frozenset({Badge.TAMPERED, Badge.LEAK, Badge.OVERTIME, Badge.SEED_ONLY})


class Kind(StrEnum):
    BASELINE = "baseline"
    IDEA = "idea"
    MANUAL = "manual"
    REPEAT = "repeat"
    REBASE = "rebase"
    REEXAMINED = "reexamined"  # the best again, by the exam of now: what it is compared with must have sat the same
    REVERT = "revert"
    ABLATION = "ablation"


class RunState(StrEnum):
    ACTIVE = "active"
    PAUSED = "paused"
    ENDED = "ended"


RUN_MOVES: dict[RunState, frozenset[RunState]] = {
    RunState.ACTIVE: frozenset({RunState.PAUSED, RunState.ENDED}),
    RunState.PAUSED: frozenset({RunState.ACTIVE, RunState.ENDED}),
    RunState.ENDED: frozenset({RunState.ACTIVE}),
}


class Mode(StrEnum):
    AUTOPILOT = "autopilot"
    APPROVE_DIFFS = "approve_diffs"
    APPROVE_KEEPS = "approve_keeps"
    APPROVE_BOTH = "approve_both"

    @property
    def reviews_diffs(self) -> bool:
        return self in {Mode.APPROVE_DIFFS, Mode.APPROVE_BOTH}

    @property
    def confirms_keeps(self) -> bool:
        return self in {Mode.APPROVE_KEEPS, Mode.APPROVE_BOTH}

    @property
    def asks_of_the_strange(self) -> bool:
        """Whether a person says what becomes of a score that seems too good."""
        return self != Mode.AUTOPILOT


class Outage(StrEnum):
    """What trains while an LLM does not answer."""

    WAIT = ""
    SWEEP = "sweep"
    REPEAT = "repeat"


class StateError(Exception):
    """A move that cannot be made now. The text is shown to the person who asked for it."""


class IllegalMove(StateError):
    """The table of moves has no such move."""


class StaleState(StateError):
    """The row has moved in the meantime, or another worker holds it."""


def check_move(old: State, new: State) -> None:
    if new not in MOVES[old]:
        raise IllegalMove(f"An experiment that is {old} cannot become {new}.")


def check_run_move(old: RunState, new: RunState) -> None:
    if new not in RUN_MOVES[old]:
        raise IllegalMove(f"A run that is {old} cannot become {new}.")
