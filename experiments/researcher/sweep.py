"""The built-in sweep: a researcher without LLM or key. It turns a few constants at a time, by a surface of the scores."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from . import sweep_memory as memory
from .base import Context, Message, Past, Piece, ResearcherError, Text, Usage
from .constants import Constant, Number, edit_blocks, find_constants
from .knobs import SMALLEST_STEP, STEP, Knob, Scale, knob_for

if TYPE_CHECKING:
    from .surface import Array, Surface

MOST = 5  # constants turned in one experiment
NAMED = 3  # of them in the idea
LEAST_LOSS = 0.01  # of the score, by a failure
TRIES = 50


class Sweep:
    label = "built-in sweep (no LLM)"
    can_repair = False  # it would answer an error with the same edit
    reads_prompt = False  # it knows the constants and their scores, nothing else
    context_tokens: int | None = None

    def reply(self, messages: tuple[Message, ...], context: Context) -> Iterator[Piece]:
        del messages  # the sweep reads the context; the prompt is for LLMs
        path, source = _first_python_file(context.files)
        constants = find_constants(source)
        knobs = _knobs(constants, context.history)
        if not knobs:
            raise ResearcherError(
                f"{path} has no numeric UPPER_CASE constants at its top level for the built-in sweep to turn. "
                "Add some, such as MATRIX_LR = 0.04, or choose an LLM on the program page."
            )
        now = {constant.name: constant.value for constant in constants}
        changed, hypothesis = _suggest(knobs, now, context)
        before = {name: now[name] for name in changed}
        yield Text(f"IDEA: {_idea(constants, changed)}\n")
        yield Text(f"HYPOTHESIS: {hypothesis}\n")
        yield Text(f"MEMO: {json.dumps({'params': now | changed, 'changed': changed, 'from': before})}\n\n")
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


def _idea(constants: Sequence[Constant], changed: memory.Params) -> str:
    """The first of `changed` in words; the diff shows the others."""
    by_name = {constant.name: constant for constant in constants}
    parts = [f"{name} {by_name[name].literal} → {by_name[name].written(value)}" for name, value in changed.items()]
    more = len(parts) - NAMED
    return ", ".join(parts[:NAMED]) + (f" and {more} more" if more > 0 else "")


def _knobs(constants: Sequence[Constant], history: Sequence[Past]) -> list[Knob]:
    """Around the values that the constants had when the sweep first saw them, so that all scores lie in one frame."""
    first = memory.first_params(history)
    knobs = []
    for constant in constants:
        framed = knob_for(replace(constant, value=first.get(constant.name, constant.value)))
        knobs.append(framed if framed and framed.reaches(constant.value) else knob_for(constant))
    return [knob for knob in knobs if knob]


def _suggest(knobs: Sequence[Knob], now: memory.Params, context: Context) -> tuple[dict[str, Number], str]:
    """New values of some constants, a combination that history does not hold; and what is expected of it."""
    import numpy as np

    from .surface import any_surface, learn

    def point(values: memory.Params) -> Array:
        return np.array([knob.coordinate_of(values.get(knob.name, now[knob.name])) for knob in knobs])

    told = memory.told(context, now)
    scored = [(values, score) for values, score in told if score is not None] or [(now, 1.0)]
    failed = _score_of_a_failure([score for _, score in scored])
    points, scores = zip(*scored, *((values, failed) for values, score in told if score is None), strict=True)
    strengths = np.array([knob.strength for knob in knobs])
    belief = learn(np.array([*map(point, points)]), np.array(scores), strengths, context.sigma)
    tried = {memory.combination(now, memory.params(past)) for past in context.history}
    broken = memory.broken({knob.name for knob in knobs if knob.scale is Scale.DOUBLE}, context.history)
    dice = np.random.default_rng([context.seed, len(context.history)])
    for attempt in range(TRIES):  # where what is likely has been tried: other steps, and at last any direction
        surface = belief.draw(dice) if attempt < TRIES / 2 else any_surface(len(knobs), dice)
        step = dice.uniform(SMALLEST_STEP, STEP) if attempt else STEP
        moves = _moves(knobs, now, step, surface, broken)
        if moves and memory.combination(now, moves) not in tried:
            change, sd = belief.difference(point(now), point({**now, **moves}))
            return moves, _hypothesis(len(scored), change if context.lower_is_better else -change, sd)
    raise ResearcherError(
        f"The built-in sweep found nothing new in {TRIES} tries: all it can turn within reach has been tried. "
        "Choose an LLM on the program page, or add constants to the file."
    )


def _hypothesis(scores: int, change: float, sd: float) -> str:
    known = f"{scores} score{'s' * (scores != 1)}"
    return (
        f"From {known} the built-in sweep, which is no LLM, expects {change:+.2g} against the best, give or take {sd:.2g}. "
        "Some of its steps are taken to learn."
    )


def _score_of_a_failure(scores: Sequence[float]) -> float:
    """Worse than the worst, by as much as that is worse than the best."""
    best, worst = min(scores), max(scores)
    return worst + max(worst - best, LEAST_LOSS * abs(worst))


def _moves(
    knobs: Sequence[Knob], now: memory.Params, step: float, surface: Surface, broken: set[tuple[str, Number]]
) -> dict[str, Number]:
    """The constants that gain most by a step of `step` octaves at most on this surface, one size at most; most first."""
    found = []
    for at, knob in enumerate(knobs):
        here = knob.coordinate_of(now[knob.name])
        for there in knob.steps_from(here, surface.optimum(at), step):
            value = knob.value_at(there)
            if value != now[knob.name] and (knob.name, value) not in broken:
                found.append((surface.gain(at, here, there), knob, value))
    found.sort(key=lambda one: -one[0])
    moves: dict[str, Number] = {}
    has_size = False
    for gain, knob, value in found:
        is_size = knob.scale is Scale.DOUBLE
        if len(moves) < MOST and (gain > 0 or not moves) and not (is_size and has_size):
            moves[knob.name] = value
            has_size = has_size or is_size
    return moves
