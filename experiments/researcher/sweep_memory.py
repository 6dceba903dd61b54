"""What the history tells the sweep: which values scored what, which were tried, which sizes broke. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .base import Context, Past
from .constants import Number

LARGEST = 1e100  # what is larger is no score
# Failures that say something about the values; a lost worker or a full disk does not.
TELLING_FAILURES = frozenset({"crash", "oom", "nan", "timeout", "no_score"})

Params = Mapping[str, Number]
Told = tuple[Params, float | None]  # values and their score, lower is better; None: they failed


def told(context: Context, now: Params) -> list[Told]:
    """What the sweep's own experiments scored, and what they were compared with. `now`: the values of the best."""
    sign = 1.0 if context.lower_is_better else -1.0
    found: list[Told] = []

    def tell(values: Params, *scores: float) -> None:
        found.extend((values, sign * score) for score in scores if abs(score) < LARGEST)

    known, newest = set(), max((past.exam for past in context.history), default=0)
    for past in context.history:
        values, before = params(past), params_before(past)
        if past.score is not None and past.exam < newest:  # scores of two exams are not compared
            continue
        if values and past.score is not None:
            if past.delta is not None and frozenset(before.items()) not in known:
                known.add(frozenset(before.items()))
                tell(before, past.score - past.delta)
            known.add(frozenset(values.items()))
            tell(values, *([] if _is_refuted(past, sign) else [past.score]), *past.repeats)
        elif values and is_telling_failure(past):
            found.append((values, None))
    if context.best_score is not None and now not in [values for values, _ in found]:
        tell(now, context.best_score)
    return found


def _is_refuted(past: Past, sign: float) -> bool:
    """Better, and yet discarded once it was repeated: its own score is not believed."""
    return past.state == "discarded" and bool(past.repeats) and past.delta is not None and sign * past.delta < 0


def params(past: Past) -> dict[str, Number]:
    """The values that it was trained with; nothing where it is not the sweep's."""
    return numbers(past.memo.get("params"))


def params_before(past: Past) -> dict[str, Number]:
    """The values that its edit changed from."""
    return params(past) | numbers(past.memo.get("from"))


def first_params(history: Sequence[Past]) -> dict[str, Number]:
    """Each constant's value when the sweep first saw it."""
    first: dict[str, Number] = {}
    for past in history:
        first = params_before(past) | first
    return first


def combination(base: Params, values: Params) -> frozenset[tuple[str, Number]]:
    """`values` of the constants in `base`, and `base` where they say nothing."""
    return frozenset((name, values.get(name, value)) for name, value in base.items())


def broken(names: set[str], history: Sequence[Past]) -> set[tuple[str, Number]]:
    """Values of these constants that a failed experiment had set and no other trained with."""
    failed = [past for past in history if is_telling_failure(past)]
    changes = {item for past in failed for item in numbers(past.memo.get("changed")).items() if item[0] in names}
    return changes - {item for past in history if past.score is not None for item in params(past).items()}


def is_telling_failure(past: Past) -> bool:
    return past.state == "failed" and past.reason in TELLING_FAILURES


def numbers(stored: Any) -> dict[str, Number]:
    """A memo comes back from storage, and an LLM may have written it: only numbers count."""
    if not isinstance(stored, Mapping):
        return {}
    return {
        str(name): value
        for name, value in stored.items()
        if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300
    }
