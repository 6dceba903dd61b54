import math

import pytest

from experiments.charts import MOST_DISCARDS, Tried, lttb, noise_sigma, progress, score_range, sparkline, thin
from experiments.states import State


def tried(number: int, state: State, score: float | None, **fields: object) -> Tried:
    return Tried(pk=number + 100, number=number, state=state, score=score, text=f"idea {number}", **fields)  # type: ignore[arg-type]


def test_progress_sorts_experiments_by_what_became_of_them():
    data = progress(
        [
            tried(3, State.FAILED, None, why="oom"),
            tried(0, State.KEPT, 1.5),
            tried(1, State.DISCARDED, 1.6, parent_score=1.5),
            tried(2, State.KEPT, 1.4, parent_score=1.5),
            tried(4, State.CANCELLED, None),
            tried(5, State.REVERTED, 1.3, parent_score=1.4),
        ]
    )
    assert data["kept"]["number"] == [0, 2] and data["kept"]["pk"] == [100, 102]
    assert data["kept"]["gain"] == pytest.approx([0, -0.1])
    assert data["discarded"]["delta"] == pytest.approx([0.1])
    assert (data["failed"]["number"], data["failed"]["why"]) == ([3], ["oom"])
    assert data["reverted"]["number"] == [5]
    assert len({len(column) for column in data["kept"].values()}) == 1
    assert data["last"] == 5


def test_progress_of_nothing_has_a_range_to_draw():
    data = progress([])
    assert (data["kept"]["number"], data["last"], data["sigma"]) == ([], 0, None)
    assert data["range"][0] < data["range"][1]


def test_a_long_run_shows_some_of_its_discards_and_says_how_many_not():
    data = progress([tried(0, State.KEPT, 1.5), *(tried(n, State.DISCARDED, 1.6) for n in range(1, 5000))])
    assert len(data["discarded"]["number"]) == MOST_DISCARDS and data["discarded"]["number"][-1] == 4999
    assert data["left_out"] == 4999 - MOST_DISCARDS


def test_the_whole_range_holds_every_score():
    data = progress([tried(0, State.KEPT, 1.0), tried(1, State.KEPT, 0.97), tried(2, State.DISCARDED, 3.2)])
    assert data["range"][1] < 2 and data["whole"][0] < 0.97 and data["whole"][1] > 3.2


def test_the_whole_range_stays_above_zero_for_the_logarithm():
    """Where one score is far away, it is wanted most."""
    low, high = progress([tried(0, State.KEPT, 1.0), tried(1, State.DISCARDED, 42.0)])["whole"]
    assert 0 < low < 1.0 and high > 42
    assert progress([tried(0, State.KEPT, -1.0), tried(1, State.KEPT, 2.0)])["whole"][0] < -1


@pytest.mark.parametrize(
    ("scores", "sigma"),
    [
        ([], None),
        ([("a", 1.0), ("a", 1.2)], None),  # two say too little
        ([("a", 1.0), ("a", 1.1), ("a", 1.2)], 0.1),
        ([("a", 1.0), ("b", 1.1), ("c", 1.2)], None),
        ([("", 1.0), ("", 1.1), ("", 1.2)], None),  # imported without hashes
        ([("a", 1.0)] * 3, None),  # a table with the same row three times is no measurement
        ([("a", 1.0), ("a", 1.1), ("a", 1.2), ("b", 5.0), ("b", 5.3), ("b", 5.6)], math.sqrt((0.02 + 0.18) / 4)),
    ],
)
def test_the_noise_comes_from_scores_of_the_same_commit(scores, sigma):
    assert noise_sigma(scores) == (None if sigma is None else pytest.approx(sigma))


def test_a_wild_discard_does_not_flatten_the_staircase():
    low, high = score_range([1.0, 0.97], [0.98, 0.975, 3.2])
    assert low < 0.97
    assert 1.0 < high < 1.1


@pytest.mark.parametrize("kept", [[1.0], [0.0], [-2.0]])
def test_the_range_of_one_score_is_not_empty(kept):
    low, high = score_range(kept, [])
    assert low < kept[0] < high


def test_lttb_keeps_ends_spikes_and_the_order():
    rows = [{"step": i, "loss": math.exp(-i / 300) + (5.0 if i == 617 else 0.0)} for i in range(2000)]
    few = lttb(rows, 100)
    assert len(few) == 100
    assert few[0] is rows[0] and few[-1] is rows[-1]
    assert rows[617] in few
    assert [row["step"] for row in few] == sorted(row["step"] for row in few)


def test_lttb_takes_losses_that_are_not_finite():
    rows = [{"step": i, "loss": None if i > 50 else 1.0 / (i + 1)} for i in range(100)]
    assert len(lttb(rows, 10)) == 10


@pytest.mark.parametrize("n", [0, 1, 2, 3, 9])
def test_lttb_leaves_short_lines_alone(n):
    rows = [{"step": i, "loss": 1.0} for i in range(n)]
    assert lttb(rows, 10) == rows


def test_thin_keeps_both_ends():
    few = thin(list(range(1000)), 10)
    assert (few[0], few[-1], len(few)) == (0, 999, 10)


def test_sparkline_is_a_staircase_inside_its_box():
    points = [tuple(map(float, pair.split(","))) for pair in sparkline([(0, 2.0), (5, 1.0)], 10).split()]
    assert points == [(0.0, 3.0), (110.0, 3.0), (110.0, 41.0), (220.0, 41.0)]


@pytest.mark.parametrize(("points", "last", "drawn"), [([], 5, 0), ([(0, 1.0)], 0, 2), ([(0, 1.0), (1, 1.0)], 1, 4)])
def test_sparkline_of_little(points, last, drawn):
    assert len(sparkline(points, last).split()) == drawn
