"""What the last results suggest to the sweep: after a gain the same step again, after a loss the opposite one. Pure.

Learning rates and schedules have one optimum more often than many: a step that helped is likely to help once more, and one
that hurt points the other way. Hooke and Jeeves, "Direct search" (1961), call the first a pattern move.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from .base import Past
from .constants import Number
from .knobs import Knob, Scale

LOOK_BACK = 4  # results that may still suggest something
FLAT = 0.002  # a loss of less than this share of the score points nowhere
MOST_TIRED = 3
Moves = dict[str, Number]


def next_move(
    knobs: Sequence[Knob], history: Sequence[Past], is_new: Callable[[Moves], bool], *, lower_is_better: bool
) -> Moves | None:
    """New values of the constants that a recent result speaks for; None where none does.

    `history`: oldest first; of each memo "changed" and "from" are read. `is_new`: whether these values were not tried yet.
    """
    by_name = {knob.name: knob for knob in knobs}
    recent = [past for past in history if past.score is not None and _steps(past, by_name)][-LOOK_BACK:]
    gains = [past for past in recent if past.state == "kept"]
    losses = [past for past in recent if past.state == "discarded" and _hurt(past, lower_is_better)]
    for past in [*reversed(gains), *reversed(losses)]:
        moves = {}
        for name, (before, after) in _steps(past, by_name).items():
            start = after if past.state == "kept" else before
            if by_name[name].constant.value == start:  # it still stands where that result left it
                moves[name] = _opposite(by_name[name], before if past.state == "kept" else after)
        if moves and all(by_name[name].is_a_move(value) for name, value in moves.items()) and is_new(moves):
            return moves
    return None


def tired(knob: Knob, history: Sequence[Past]) -> int:
    """How often it was turned without a gain since it last brought one, MOST_TIRED at most."""
    count = 0
    for past in history:
        changed = past.memo.get("changed")
        if past.score is not None and isinstance(changed, Mapping) and knob.name in changed:
            count = 0 if past.state == "kept" else count + 1
    return min(count, MOST_TIRED)


def _steps(past: Past, by_name: Mapping[str, Knob]) -> dict[str, tuple[Number, Number]]:
    """Of the constants that it changed: from which value to which. Nothing where the memo does not say."""
    before, after = past.memo.get("from"), past.memo.get("changed")
    if not isinstance(before, Mapping) or not isinstance(after, Mapping):
        return {}
    return {
        name: (before[name], after[name])
        for name in after
        if name in by_name and _is_number(before.get(name)) and _is_number(after[name])
    }


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300


def _hurt(past: Past, lower_is_better: bool) -> bool:
    worse = (past.delta or 0.0) if lower_is_better else -(past.delta or 0.0)
    return past.score is not None and worse > FLAT * abs(past.score)


def _opposite(knob: Knob, value: Number) -> Number:
    """As far from where the constant stands as `value`, on the other side; at most to the end of its reach."""
    here = knob.coordinate_of(knob.constant.value)
    x = 2 * here - knob.coordinate_of(value)
    x = min(max(x, knob.low), knob.high)
    return knob.value_at(float(round(x)) if knob.scale is Scale.DOUBLE else x)
