"""How far the sweep may turn a constant: a coordinate for each, around its value in the best file. Pure."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from enum import Enum

from .constants import Constant, Number, round_to_three_digits

LEARNING_RATE = re.compile(r"(^|_)(LR|LEARNING_RATE)(_|$)")
SCHEDULE = re.compile(r"(FRACTION|FRAC|RATIO|WARMUP|WARMDOWN|COOLDOWN|DECAY|MOMENTUM|BETA\d?|DROPOUT)(_|$)")
# Sizes must divide one another; doubling and halving is the move least likely to break that.
HEAD = re.compile(r"HEAD_(DIM|SIZE)$")
DIMENSION = re.compile(
    r"(DEPTH|LAYERS?|DIM|WIDTH|HEADS?|BATCH|SIZE|TOKENS|ROWS?|CHANNELS|HIDDEN|BLOCKS?|EMBD?|LENGTH|LEN|WINDOW|RANK)(_|$)"
)
HIGHEST_FROM_ZERO = 0.2
LOWEST_FROM_ONE = 0.5
OTHERS = 2.0  # weight of what is neither a learning rate nor of a schedule, sizes among them
SMALLEST_STEP = 0.25  # of the reach, half an octave: a smaller step brings less than chance does


class Scale(Enum):
    FACTOR = "half to double"
    DOUBLE = "exactly half or double"
    COMPLEMENT = "one minus it, half to double"
    LINEAR = "between two bounds"


@dataclass(frozen=True)
class Knob:
    """A constant with its coordinate. The coordinate is log2 of the factor, or for LINEAR the value itself."""

    constant: Constant
    scale: Scale
    low: float
    high: float
    weight: float  # how readily it is picked

    @property
    def name(self) -> str:
        return self.constant.name

    def value_at(self, x: float) -> Number:
        base = self.constant.value
        if self.scale is Scale.LINEAR:
            value: float = x
        elif self.scale is Scale.COMPLEMENT:
            value = 1 - (1 - base) * 2**x
        else:
            value = base * 2**x
        if isinstance(base, int):
            return round(value)
        rounded = round_to_three_digits(value)
        return min(rounded, 1.0) if 0 <= base <= 1 else rounded

    def coordinate_of(self, value: Number) -> float:
        """Where `value` lies; outside of the reach: the nearer end."""
        base = self.constant.value
        if self.scale is Scale.LINEAR:
            x = float(value)
        elif self.scale is Scale.COMPLEMENT:
            x = _log2((1 - value) / (1 - base))
        else:
            x = _log2(value / base)
        x = min(max(x, self.low), self.high)
        return float(round(x)) if self.scale is Scale.DOUBLE else x

    def is_a_move(self, value: Number) -> bool:
        """Whether `value` is far enough from the base to be worth an experiment: noise hides a smaller step."""
        base = self.constant.value
        if isinstance(base, int):
            return value != base
        return abs(self.coordinate_of(value) - self.coordinate_of(base)) >= SMALLEST_STEP * (self.high - self.low)


def knob_for(constant: Constant) -> Knob | None:
    """None for a number that stands for something else: 0 and -1 as integers are switches."""
    value = constant.value
    if isinstance(value, int):
        return _integer_knob(constant, value)
    if LEARNING_RATE.search(constant.name):
        weight = 4.0
    else:
        weight = 3.0 if SCHEDULE.search(constant.name) else OTHERS
    if value == 0:
        return Knob(constant, Scale.LINEAR, 0.0, HIGHEST_FROM_ZERO, weight)
    if value == 1:
        return Knob(constant, Scale.LINEAR, LOWEST_FROM_ONE, 1.0, weight)
    if 0.5 < value < 1 and not LEARNING_RATE.search(constant.name):
        return Knob(constant, Scale.COMPLEMENT, -1.0, 1.0, weight)
    return Knob(constant, Scale.FACTOR, -1.0, min(1.0, -math.log2(value)) if 0 < value < 1 else 1.0, weight)


def _integer_knob(constant: Constant, value: int) -> Knob | None:
    if value in (0, -1):
        return None
    power_of_two = value > 0 and value & (value - 1) == 0
    if power_of_two or DIMENSION.search(constant.name):
        highest = 0.0 if HEAD.search(constant.name) and value % 2 == 0 else 1.0  # a larger head may not divide the width
        return Knob(constant, Scale.DOUBLE, -1.0 if value % 2 == 0 else 0.0, highest, OTHERS)
    return Knob(constant, Scale.FACTOR, -1.0, 1.0, OTHERS)


def _log2(ratio: float) -> float:
    return math.log2(ratio) if ratio > 0 else -math.inf
