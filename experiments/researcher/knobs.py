"""How far the sweep may turn a constant: a coordinate for each, in octaves from the value it had at first. Pure."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

from .constants import Constant, Number, round_to_digits

LEARNING_RATE = re.compile(r"(^|_)(LR|LEARNING_RATE)(_|$)")
# Sizes must divide one another; doubling and halving is the move least likely to break that.
HEAD = re.compile(r"HEAD_(DIM|SIZE)$")
DIMENSION = re.compile(
    r"(DEPTH|LAYERS?|DIM|WIDTH|HEADS?|BATCH|SIZE|TOKENS|ROWS?|CHANNELS|HIDDEN|BLOCKS?|EMBD?|LENGTH|LEN|WINDOW|RANK)(_|$)"
)
# These decide how much a step costs, and so how many steps fit into the budget: nothing else does as much.
COST = re.compile(r"(DEPTH|LAYERS?|WIDTH|DIM|HIDDEN|EMBD?|BATCH)(_|$)")
LARGEST = 1e100  # a number beyond is left alone
REACH = 4.0  # octaves to either side
REACH_OF_SHARES = 2.0  # of those that are 0 or 1 at first
STEP = 0.5  # octaves, at most, in one experiment; a size takes a whole one
RATE_STRENGTH, COST_STRENGTH = 2.0, 4.0  # what an octave is expected to do, beside that of others
SMALLEST_STEP = 0.25  # noise hides a smaller one
ROUNDING = 0.1  # octaves that a written value may be off
FROM_ZERO = 0.1  # what counts as an octave of a share that is 0 now
FROM_ONE = 0.25  # and of one that is 1


class Scale(Enum):
    FACTOR = "times a power of two"
    DOUBLE = "halved or doubled"
    COMPLEMENT = "one minus it, times a power of two"
    LINEAR = "plus a share"


@dataclass(frozen=True)
class Knob:
    """A constant with its coordinate in octaves: 0 at the value of `constant`, sizes at whole ones only."""

    constant: Constant
    scale: Scale
    low: float
    high: float
    strength: float = 1.0  # see RATE_STRENGTH

    @property
    def name(self) -> str:
        return self.constant.name

    def value_at(self, x: float) -> Number:
        base = self.constant.value
        if self.scale is Scale.COMPLEMENT:
            return round(1 - round_to_digits((1 - base) * 2**x, digits=2), 12)  # 0.999 has two sound digits, 0.001
        value: float = base + x * _unit(base) if self.scale is Scale.LINEAR else base * 2**x
        return round(value) if isinstance(base, int) else round_to_digits(value)

    def coordinate_of(self, value: Number) -> float:
        """Where `value` lies; outside of the reach: the nearer end."""
        x = min(max(self._octaves_to(value), self.low), self.high)
        return float(round(x)) if self.scale is Scale.DOUBLE else x

    def reaches(self, value: Number) -> bool:
        """Whether a coordinate stands for `value`, and not only for something near it."""
        if type(value) is not type(self.constant.value):
            return False
        if isinstance(value, int):
            return self.value_at(self.coordinate_of(value)) == value
        return self.low - ROUNDING <= self._octaves_to(value) <= self.high + ROUNDING

    def _octaves_to(self, value: Number) -> float:
        base = self.constant.value
        if self.scale is Scale.LINEAR:
            return (value - base) / _unit(base)
        return _log2((1 - value) / (1 - base) if self.scale is Scale.COMPLEMENT else value / base)

    def steps_from(self, here: float, optimum: float, step: float) -> Iterator[float]:
        """The coordinates that an experiment may go to: towards `optimum`; to both sides if that is near, or for a size."""
        towards = min(max(optimum, here - step, self.low), here + step, self.high)
        if self.scale is Scale.DOUBLE:
            steps = [here - 1, here + 1]
        elif abs(towards - here) >= SMALLEST_STEP:
            steps = [towards]
        else:
            steps = [here - step, here + step]
        yield from (x for x in steps if self.low <= x <= self.high)


def knob_for(constant: Constant) -> Knob | None:
    """None for a number that stands for something else: as integers 0, -1 and most often 1 are switches."""
    value = constant.value
    if abs(value) > LARGEST:
        return None
    if isinstance(value, int):
        return _integer_knob(constant, value)
    if LEARNING_RATE.search(constant.name) and value > 0:
        return Knob(constant, Scale.FACTOR, -REACH, REACH, RATE_STRENGTH)
    if value == 0:
        return Knob(constant, Scale.LINEAR, 0.0, REACH_OF_SHARES)
    if value == 1:
        return Knob(constant, Scale.LINEAR, -REACH_OF_SHARES, 0.0)
    if 0.5 < value < 1:
        return Knob(constant, Scale.COMPLEMENT, -REACH, min(REACH, -math.log2(1 - value)))
    return Knob(constant, Scale.FACTOR, -REACH, min(REACH, -math.log2(value)) if 0 < value < 1 else REACH)


def _integer_knob(constant: Constant, value: int) -> Knob | None:
    is_size = DIMENSION.search(constant.name)
    if value in (0, -1) or (value == 1 and not is_size):
        return None
    if not is_size and (value < 0 or value & (value - 1)):
        return Knob(constant, Scale.FACTOR, -REACH, REACH)
    highest = 0.0 if HEAD.search(constant.name) and value % 2 == 0 else REACH  # a larger head may not divide the width
    halves = (value & -value).bit_length() - 1  # how often it can be halved
    costs = COST.search(constant.name) and not HEAD.search(constant.name)
    return Knob(constant, Scale.DOUBLE, -min(REACH, float(halves)), highest, COST_STRENGTH if costs else 1.0)


def _unit(base: Number) -> float:
    return FROM_ZERO if base == 0 else FROM_ONE


def _log2(ratio: float) -> float:
    return math.log2(ratio) if ratio > 0 else -math.inf
