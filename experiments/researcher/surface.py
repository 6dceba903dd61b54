"""What the scores so far say about the constants: a level, a slope and a bend for each, with their uncertainty. Pure.

A response surface after Box and Wilson (1951), learned as a Bayesian linear regression: many constants may be turned in one
experiment, and each score still tells of all of them. Which way to go is a draw from what is believed (Thompson, 1933):
where much is unknown it explores, where little is it takes the best.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

EFFECT = 0.005  # of the score, for an octave of a constant: what is expected before anything is known
EFFECTS = tuple(EFFECT * 2.0**i for i in range(-4, 5))
NOISE = (0.5, 1.0, 2.0, 4.0)  # times the effect
LEAST_NOISE = 1e-3  # of the effect: two scores that agree by chance are no proof
BEND = 0.5  # of the effect: a constant has an optimum, most often within two octaves
CATASTROPHE = 3.0  # a score worse than the median by so many times what the best is better says no more than "bad"


@dataclass(frozen=True)
class Surface:
    """A score above the level: slopes @ x + bends @ x**2. Lower is better."""

    slopes: Array  # [K]
    bends: Array  # [K], above 0

    def gain(self, constant: int, here: float, there: float) -> float:
        """How much the score falls if this constant alone goes from `here` to `there`."""
        return float(self.slopes[constant] * (here - there) + self.bends[constant] * (here**2 - there**2))

    def optimum(self, constant: int) -> float:
        return float(-self.slopes[constant] / (2 * self.bends[constant]))


@dataclass(frozen=True)
class Belief:
    """A normal distribution over weights: [1 + K + K] level, slopes, bends."""

    mean: Array
    covariance: Array
    least_bends: Array  # [K]

    def draw(self, dice: np.random.Generator) -> Surface:
        """One that may be true."""
        slopes, bends = np.split(dice.multivariate_normal(self.mean, self.covariance, method="cholesky")[1:], 2)
        return Surface(slopes, np.maximum(bends, self.least_bends))

    def difference(self, here: Array, there: Array) -> tuple[float, float]:
        """What the score is expected to change by from one point [K] to another [K], and its standard deviation."""
        apart = (_features(there[None]) - _features(here[None]))[0]
        return float(apart @ self.mean), math.sqrt(float(apart @ self.covariance @ apart))


def learn(points: Array, scores: Array, strengths: Array, noise: float | None = None) -> Belief:
    """From `scores` [N] at `points` [N, K] in octaves from anywhere.

    `strengths` [K]: how much each constant is expected to do, beside the others. `noise`: standard deviation of a score,
    where it is known. How large effects are, and noise where it is not known, is what makes the scores likeliest.
    """
    scores = _without_catastrophes(scores)
    unit = max(abs(float(np.median(scores))), float(np.ptp(scores)), 1e-9)
    features = _features(points)
    products = features.T @ features
    found = [
        _Fit(features, products, scores, strengths, share * unit, sd, _share_odds(share))
        for share in EFFECTS
        for sd in ([noise] if noise else [share * unit * ratio for ratio in NOISE])
    ]
    return max(found, key=lambda fit: fit.evidence).belief()


def _share_odds(share: float) -> float:
    return -0.5 * (math.log(share / EFFECT) / math.log(4)) ** 2


class _Fit:
    """What is believed if an octave does `effect` and noise is `noise`; `evidence` is the logarithm of how likely that is.

    `products` is features.T @ features: what is solved is as large as the weights are many [1 + 2K], whatever the scores.
    """

    def __init__(
        self, features: Array, products: Array, scores: Array, strengths: Array, effect: float, noise: float, odds: float
    ) -> None:
        noise = max(noise, LEAST_NOISE * effect)
        none, bends = np.zeros(len(strengths)), BEND * effect * strengths
        self.least_bends = bends / 2
        self.prior = np.concatenate([[scores[0]], none, bends])
        self.spread = np.concatenate([[10 * effect + noise], effect * strengths, bends])
        left = scores - features @ self.prior
        seen = products * np.outer(self.spread, self.spread) / noise**2
        self.root = np.linalg.cholesky(np.eye(len(self.prior)) + seen)
        self.explained = np.linalg.solve(self.root, self.spread * (features.T @ left) / noise**2)
        fit = float(left @ left) / noise**2 - float(self.explained @ self.explained)
        size = 2 * float(np.log(np.diag(self.root)).sum()) + 2 * len(scores) * math.log(noise)
        self.evidence = odds - (fit + size) / 2

    def belief(self) -> Belief:
        mean = self.prior + self.spread * np.linalg.solve(self.root.T, self.explained)
        half = np.linalg.solve(self.root, np.diag(self.spread))
        tiny = 1e-9 * float(self.spread.max() ** 2)
        return Belief(mean, half.T @ half + tiny * np.eye(len(mean)), self.least_bends)


def any_surface(constants: int, dice: np.random.Generator) -> Surface:
    """One that no score speaks for."""
    return Surface(dice.normal(size=constants), np.full(constants, 0.1))


def _features(points: Array) -> Array:
    return np.hstack([np.ones((len(points), 1)), points, points**2])


def _without_catastrophes(scores: Array) -> Array:
    middle = float(np.median(scores))
    return np.minimum(scores, middle + CATASTROPHE * max(middle - float(scores.min()), 1e-3 * abs(middle)))
