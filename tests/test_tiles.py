from datetime import UTC, datetime, timedelta

import pytest

from experiments.models import Run
from experiments.states import State
from experiments.tiles import Row, an_hour, forecast, gain_percent, idle_percent

T0 = datetime(2026, 1, 1, tzinfo=UTC)


def minutes(n: float) -> datetime:
    return T0 + timedelta(minutes=n)


def row(number: int, start: float | None, end: float | None) -> Row:
    at = None if start is None else minutes(start)
    done = None if end is None else minutes(end)
    return Row(number, "idea", State.DISCARDED, 1.0, at, done, done, None, 0, 0)


def test_the_rate_ignores_a_pause():
    rows = [row(0, 0, 5), row(1, 5, 10), row(2, 10, 15), row(3, 600, 605), row(4, 605, 610)]
    assert an_hour(rows) == pytest.approx(12)


def test_the_rate_of_one_training_is_not_known():
    assert an_hour([row(0, 0, 5)]) is None


def test_idle_is_the_time_without_a_training():
    assert idle_percent([row(0, 0, 4), row(1, 5, 9)], 1, minutes(10)) == pytest.approx(20)


def test_a_pause_is_not_idle():
    turns = [(minutes(0), "active"), (minutes(4), "paused"), (minutes(4.5), "ended"), (minutes(9), "active")]
    assert idle_percent([row(0, 0, 4), row(1, 9, 14)], 1, minutes(15), turns) == pytest.approx(10)
    assert idle_percent([row(0, 0, 4)], 1, minutes(6), turns[:2]) == pytest.approx(0)


def test_a_training_under_way_is_not_idle():
    assert idle_percent([row(0, 0, None)], 1, minutes(10)) == 0


def test_idle_counts_every_lane():
    assert idle_percent([row(0, 0, 10)], 2, minutes(10)) == pytest.approx(50)


def test_idle_is_not_known_before_the_first_training():
    assert idle_percent([row(0, None, None)], 1, minutes(10)) is None


@pytest.mark.parametrize(
    ("best", "baseline", "lower", "gain"),
    [(0.9, 1.0, True, 10), (1.1, 1.0, True, -10), (1.1, 1.0, False, 10), (None, 1.0, True, None), (0.9, None, True, None)],
)
def test_gain_is_positive_where_it_is_better(best, baseline, lower, gain):
    assert gain_percent(best, baseline, lower) == (None if gain is None else pytest.approx(gain))


def test_the_run_ends_by_the_limit_that_comes_first():
    run = Run(max_experiments=20, deadline_at=minutes(600))
    assert forecast(run, 10, 1, 11.0, T0) == (minutes(60), "experiments")
    assert forecast(run, 10, 1, None, T0) == (minutes(600), "deadline")
    assert forecast(Run(max_experiments=20), 0, 0, None, T0) == (None, "experiments")
    assert forecast(Run(), 10, 1, 11.0, T0) == (None, "")
