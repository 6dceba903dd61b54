"""The built-in sweep: a researcher without LLM or key. It turns one or two constants at a time, by optuna's TPE."""

from __future__ import annotations

import json
import random
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from .base import Context, Message, Past, Piece, ResearcherError, Text, Usage
from .constants import Constant, Number, edit_blocks, find_constants
from .knobs import Knob, Scale, knob_for

if TYPE_CHECKING:
    import optuna

TRIES = 200
SHARE_OF_PAIRS = 0.3
# Failures that say something about the values; a lost worker or a full disk does not.
TELLING_FAILURES = frozenset({"crash", "oom", "nan", "timeout", "no_score"})


class Sweep:
    label = "built-in sweep (optuna, no LLM)"
    can_repair = False  # it would answer an error with the same edit
    reads_prompt = False  # it knows the constants and their scores, nothing else
    context_tokens = None

    def reply(self, messages: tuple[Message, ...], context: Context) -> Iterator[Piece]:
        del messages  # the sweep reads the context; the prompt is for LLMs
        path, source = _first_python_file(context.files)
        constants = find_constants(source)
        knobs = [knob for knob in map(knob_for, constants) if knob is not None]
        if not knobs:
            raise ResearcherError(
                f"{path} has no numeric UPPER_CASE constants at its top level for the built-in sweep to turn. "
                "Add some, such as MATRIX_LR = 0.04, or choose an LLM on the program page."
            )
        changed = _suggest(knobs, context)
        params = {constant.name: constant.value for constant in constants} | changed
        yield Text(f"IDEA: {_idea(constants, changed)}\n")
        yield Text(f"HYPOTHESIS: {_hypothesis(context)}\n")
        yield Text(f"MEMO: {json.dumps({'params': params, 'changed': changed})}\n\n")
        for block in edit_blocks(path, source, constants, changed):
            yield Text(block + "\n")
        yield Usage(tokens_in=0, tokens_out=0, cost=0.0)


def _first_python_file(files: Mapping[str, str]) -> tuple[str, str]:
    for path, source in files.items():
        if path.endswith(".py"):
            return path, source
    raise ResearcherError(
        "No editable file ends in .py, so the built-in sweep has nothing to turn. Choose an LLM on the program page."
    )


def _idea(constants: Sequence[Constant], changed: Mapping[str, Number]) -> str:
    shown = [c for c in constants if c.name in changed]
    return ", ".join(f"{c.name} {c.literal} → {c.written(changed[c.name])}" for c in shown)


def _hypothesis(context: Context) -> str:
    scored = sum(past.score is not None for past in context.history)
    return (
        "No hypothesis: the built-in sweep (optuna TPE) is not an LLM. It picks constants at random, learning rates and "
        f"schedules first, and values by the scores so far ({scored})."
    )


def _suggest(knobs: Sequence[Knob], context: Context) -> dict[str, Number]:
    """New values of one or two constants: a combination that history does not hold."""
    random_numbers = random.Random(f"{context.seed}:{len(context.history)}")
    study = _study(knobs, context, random_numbers.randrange(2**31))
    base = {knob.name: knob.constant.value for knob in knobs}
    tried = {_combination(base, {})} | {_combination(base, _params(past)) for past in context.history if _params(past)}
    broken = _broken_sizes(knobs, context.history)
    for _ in range(TRIES):
        trial = study.ask()
        picked = _pick(knobs, random_numbers)
        changed = {knob.name: _value(trial, knob) for knob in picked}
        if not all(knob.is_a_move(changed[knob.name]) for knob in picked):
            continue
        if _combination(base, changed) not in tried and not broken & changed.items():
            return changed
    raise ResearcherError(
        f"The built-in sweep found nothing new in {TRIES} tries: all it can turn within reach has been tried. "
        "Choose an LLM on the program page, or add constants to the file."
    )


def _combination(base: Mapping[str, Number], params: Mapping[str, Number]) -> frozenset[tuple[str, Number]]:
    return frozenset((name, params.get(name, value)) for name, value in base.items())


def _params(past: Past) -> dict[str, Number]:
    return _numbers(past.memo.get("params"))


def _numbers(stored: Any) -> dict[str, Number]:
    """A memo comes back from storage, and an LLM may have written it: only numbers count."""
    if not isinstance(stored, Mapping):
        return {}
    return {
        str(name): value
        for name, value in stored.items()
        if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300
    }


def _broken_sizes(knobs: Sequence[Knob], history: Sequence[Past]) -> set[tuple[str, Number]]:
    """Sizes that a failed experiment had changed: most often they do not divide, and would fail with anything."""
    sizes = {knob.name for knob in knobs if knob.scale is Scale.DOUBLE}
    failed = [past for past in history if past.state == "failed" and past.reason in TELLING_FAILURES]
    changes = [_numbers(past.memo.get("changed")).items() for past in failed]
    return {(name, value) for items in changes for name, value in items if name in sizes}


def _pick(knobs: Sequence[Knob], random_numbers: random.Random) -> list[Knob]:
    left = list(knobs)
    picked = []
    for _ in range(2 if len(knobs) > 1 and random_numbers.random() < SHARE_OF_PAIRS else 1):
        knob = random_numbers.choices(left, [knob.weight for knob in left])[0]
        left.remove(knob)
        picked.append(knob)
    return picked


def _value(trial: optuna.trial.Trial, knob: Knob) -> Number:
    step = 1.0 if knob.scale is Scale.DOUBLE else None
    return knob.value_at(trial.suggest_float(knob.name, knob.low, knob.high, step=step))


def _study(knobs: Sequence[Knob], context: Context, seed: int) -> optuna.Study:
    """A study in memory, told all that history holds; telling failures count as pruned, which TPE ranks last."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=5)
    study = optuna.create_study(direction="minimize" if context.lower_is_better else "maximize", sampler=sampler)
    if context.best_score is not None:
        study.add_trial(_trial(knobs, {}, context.best_score))
    for past in context.history:
        params = _params(past)
        if not params or past.number == context.best_number:
            continue
        if past.score is not None or (past.state == "failed" and past.reason in TELLING_FAILURES):
            # Only what it changed: all its other values would gather around the base, and TPE with them.
            told = _numbers(past.memo.get("changed")) or params
            study.add_trial(_trial([knob for knob in knobs if knob.name in told], params, past.score))
    return study


def _trial(knobs: Sequence[Knob], params: Mapping[str, Number], score: float | None) -> optuna.trial.FrozenTrial:
    import optuna

    steps = {knob.name: 1.0 if knob.scale is Scale.DOUBLE else None for knob in knobs}
    return optuna.trial.create_trial(
        params={knob.name: knob.coordinate_of(params.get(knob.name, knob.constant.value)) for knob in knobs},
        distributions={
            knob.name: optuna.distributions.FloatDistribution(knob.low, knob.high, step=steps[knob.name])
            for knob in knobs
        },
        value=score,
        state=optuna.trial.TrialState.PRUNED if score is None else optuna.trial.TrialState.COMPLETE,
    )
