"""The steps of a sweep that a researcher asked for: which values are due next, and the proposal that sets them. Pure.

The order is kept as JSON with the run, and each step in the memo of its experiment: who asked, its place, the values.
"""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from .base import Context, Message, Past, Piece, Proposal, SweepOrder, Text, Usage
from .constants import Constant, Number, edit_blocks, round_to_digits
from .diff_constants import constants_set, sets_nothing_else
from .edit_error import EditError
from .reply import parse_reply
from .sweep_memory import TELLING_FAILURES, numbers
from .sweep_order import is_whole, place_order

if TYPE_CHECKING:
    import optuna

TRIES = 60
STARTUP_TRIALS = 3  # of at most 12; then TPE is more than random
LOG_FROM = 4.0  # bounds that are so many times apart are searched by their logarithm


@dataclass(frozen=True)
class Step:
    """One experiment of a sweep."""

    asked_by: int  # the number of the experiment whose reply asked
    at: int  # from 1
    order: SweepOrder
    path: str
    constants: tuple[Constant, ...]
    values: Mapping[str, Number]

    @property
    def description(self) -> str:
        turned = ", ".join(
            f"{one.name} {one.literal} → {one.written(self.values[one.name])}"
            for one in self.constants
            if self.values[one.name] != one.value
        )
        return f"sweep {self.at} of {self.order.count} (asked by #{self.asked_by}): {turned}"

    @property
    def memo(self) -> dict[str, Any]:
        bounds = {name: list(pair) for name, pair in self.order.constants.items()}
        place = {"asked_by": self.asked_by, "at": self.at, "of": self.order.count, "constants": bounds}
        return {"sweep": {**place, "file": self.path, "values": dict(self.values)}}

    def blocks(self, source: str) -> str:
        changed = {one.name: self.values[one.name] for one in self.constants if self.values[one.name] != one.value}
        return "\n".join(edit_blocks(self.path, source, self.constants, changed))


class OrderedSweep:
    """Answers with one step of the sweep. No LLM is asked."""

    can_repair = False
    reads_prompt = False
    context_tokens: int | None = None

    def __init__(self, step: Step, theme: str) -> None:
        self.step, self.theme = step, theme
        self.label = f"sweep asked for by #{step.asked_by} (optuna, no LLM)"

    def reply(self, messages: tuple[Message, ...], context: Context) -> Iterator[Piece]:
        del messages
        yield Text(f"IDEA: {self.step.description}\n")
        yield Text(f"HYPOTHESIS: #{self.step.asked_by} asked to try values within these bounds; optuna's TPE chose these.\n")
        yield Text(f"THEME: {self.theme}\n" if self.theme else "")
        yield Text(f"MEMO: {json.dumps(self.step.memo)}\n\n{self.step.blocks(context.files[self.step.path])}\n")
        yield Usage(tokens_in=0, tokens_out=0, cost=0.0)


def first_step(proposal: Proposal, context: Context, number: int) -> Proposal:
    """`proposal`, which asks for a sweep, as its first experiment. Raises EditError where the order cannot be met."""
    assert proposal.sweep is not None
    step = next_step(proposal.sweep, context, asked_by=number, at=1)
    edits = parse_reply(step.blocks(context.files[step.path]), context.files.keys()).edits
    return replace(
        proposal, description=step.description, edits=edits, memo={**proposal.memo, **step.memo},
        hypothesis=f"{proposal.description}. {proposal.hypothesis}".strip(),
    )


def next_step(order: SweepOrder, context: Context, *, asked_by: int, at: int) -> Step:
    """By what this sweep's experiments scored so far. Raises EditError where its constants are gone or all is tried."""
    path, constants = place_order(order, context.files)
    told = [past for past in context.history if _place(past).get("asked_by") == asked_by]
    text = f"{context.seed}:{asked_by}:{at}:{len(told)}"
    seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") >> 1
    study = _new_study(seed, lower_is_better=context.lower_is_better)
    scales = [_Scale(one, order.constants[one.name]) for one in constants]
    if context.best_score is not None and all(scale.holds(scale.constant.value) for scale in scales):
        study.add_trial(_trial(scales, {one.name: one.value for one in constants}, context.best_score))
    for past in told:
        values = numbers(_place(past).get("values"))
        if values.keys() >= order.constants.keys() and (past.score is not None or past.reason in TELLING_FAILURES):
            study.add_trial(_trial(scales, values, past.score))
    tried = {_literals(_place(past).get("values")) for past in told} | {_literals(_now(constants))}
    changes = [frozenset(constants_set(past.diff).items()) for past in context.history if sets_nothing_else(past.diff)]
    for _ in range(TRIES):
        trial = study.ask()
        values = {scale.constant.name: scale.value(trial) for scale in scales}
        step = Step(asked_by, at, order, path, constants, values)
        new = frozenset((one.name, one.written(values[one.name])) for one in constants if values[one.name] != one.value)
        if _literals(values) not in tried and new not in changes:
            return step
    raise EditError(f"Nothing new was found between the bounds of the sweep in {TRIES} tries. Propose an edit.")


def order_from_json(stored: Mapping[str, Any]) -> SweepOrder:
    constants = {str(name): (float(low), float(high)) for name, (low, high) in stored["constants"].items()}
    return SweepOrder(constants, int(stored["of"]))


class _Scale:
    """A constant and its bounds, by the logarithm where they lie far apart."""

    def __init__(self, constant: Constant, bounds: tuple[float, float]) -> None:
        self.constant, (self.low, self.high) = constant, bounds
        self.whole = is_whole(constant, bounds)
        self.log = self.low > 0 and self.high / self.low >= LOG_FROM

    def value(self, trial: optuna.trial.Trial) -> Number:
        found = trial.suggest_float(self.constant.name, self.low, self.high, log=self.log)
        if self.whole:
            return round(found)
        return min(max(round_to_digits(found), self.low), self.high)

    def holds(self, value: Number) -> bool:
        return self.low <= value <= self.high

    @property
    def distribution(self) -> optuna.distributions.FloatDistribution:
        import optuna

        return optuna.distributions.FloatDistribution(self.low, self.high, log=self.log)


def _new_study(seed: int, *, lower_is_better: bool) -> optuna.Study:
    """An empty one in memory."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=STARTUP_TRIALS)
    return optuna.create_study(direction="minimize" if lower_is_better else "maximize", sampler=sampler)


def _trial(scales: Sequence[_Scale], values: Mapping[str, Number], score: float | None) -> optuna.trial.FrozenTrial:
    import optuna

    state = optuna.trial.TrialState.PRUNED if score is None else optuna.trial.TrialState.COMPLETE
    return optuna.trial.create_trial(
        params={one.constant.name: min(max(float(values[one.constant.name]), one.low), one.high) for one in scales},
        distributions={one.constant.name: one.distribution for one in scales}, value=score, state=state,
    )


def _place(past: Past) -> Mapping[str, Any]:
    found = past.memo.get("sweep")
    return found if isinstance(found, Mapping) else {}


def _now(constants: Sequence[Constant]) -> dict[str, Number]:
    return {one.name: one.value for one in constants}


def _literals(values: Any) -> frozenset[tuple[str, float]]:
    return frozenset((name, float(value)) for name, value in numbers(values).items())
