"""What is learned from scores: slopes with several constants turned at once, through noise, at any scale."""

from __future__ import annotations

import numpy as np
import pytest

from experiments.researcher.surface import Belief, learn

SLOPES = np.array([-0.03, 0.02, 0.0, 0.0])


def believed(count: int, *, noise: float = 0.005, scale: float = 1.0, known: float | None = None, seed: int = 0) -> Belief:
    dice = np.random.default_rng(seed)
    points = dice.uniform(-1, 1, (count, 4))
    scores = 1.5 + points @ SLOPES + 0.01 * (points**2).sum(axis=1) + dice.normal(0, noise, count)
    return learn(points, scores * scale, np.ones(4), known)


def slopes(belief: Belief) -> np.ndarray:
    return belief.mean[1:5]


def spread(belief: Belief) -> float:
    dice = np.random.default_rng(1)
    return float(np.std([belief.draw(dice).slopes[0] for _ in range(200)]))


def test_slopes_are_found_though_all_constants_were_turned_at_once() -> None:
    assert slopes(believed(24)) == pytest.approx(SLOPES, abs=0.006)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 500.0])
def test_they_grow_with_the_scores(scale: float) -> None:
    assert slopes(believed(24, scale=scale)) / scale == pytest.approx(SLOPES, abs=0.006)


def test_draws_agree_more_the_more_is_known() -> None:
    assert spread(believed(40)) < spread(believed(10)) / 1.5
    assert spread(believed(20, known=0.001)) < spread(believed(20, known=0.05)) / 2


def test_a_catastrophe_says_no_more_than_bad() -> None:
    points = np.array([[0.0, 0], [0.5, 0], [0, 0.5], [0.5, 0.5]])
    scores = np.array([1.5, 1.49, 1.51, 1.5])
    one, other = (learn(np.vstack([points, [[0, -0.5]]]), np.append(scores, last), np.ones(2)) for last in (3.0, 300.0))
    assert one.mean == pytest.approx(other.mean)


def test_an_expected_change_comes_with_its_doubt() -> None:
    few, many = believed(5), believed(40)
    here, there = np.zeros(4), np.array([0.5, 0, 0, 0])
    change, sd = many.difference(here, there)
    assert change == pytest.approx(-0.015 + 0.0025, abs=0.004)
    assert 0 < sd < few.difference(here, there)[1]


def test_a_surface_has_its_optimum_where_no_step_gains() -> None:
    surface = believed(24).draw(np.random.default_rng(2))
    for constant in range(4):
        best = surface.optimum(constant)
        assert surface.gain(constant, best, best + 0.3) < 0
        assert surface.gain(constant, best + 0.3, best) > 0
