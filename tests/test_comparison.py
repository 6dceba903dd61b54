"""Which experiments were chosen, and the table of their numbers."""

from __future__ import annotations

from itertools import pairwise

import pytest

from experiments import comparison
from experiments.comparison import Picks, read_picks
from experiments.states import State
from tests.factories import make_experiment, make_program, make_run


@pytest.fixture
def run(db):
    return make_run()


def tried(run, number: int, score: float | None = 1.0, **fields):
    return make_experiment(run, fields.pop("state", State.DISCARDED), score, number=number, **fields)


def sides_of(*experiments):
    sides, problems = comparison.load(Picks(tuple(one.pk for one in experiments)))
    assert problems == ()
    return sides


def rows_of(*experiments) -> dict[str, comparison.Row]:
    return {row.label: row for row in comparison.table(sides_of(*experiments))}


@pytest.mark.parametrize(
    ("values", "pks"),
    [
        ([], ()), (["1,2,3"], (1, 2, 3)), (["1", "2"], (1, 2)), (["3,1", "2,3"], (3, 1, 2)), ([" 1 ,, 2,"], (1, 2)),
        (["x,1,-2,1.5,٣"], (1,)), (["9" * 30], ()), ([",".join(str(n) for n in range(1, 80))], tuple(range(1, 51))),
    ],
)  # fmt: skip
def test_choices_are_read_in_order_and_once(values, pks):
    assert read_picks(values).pks == pks


def test_a_good_choice_has_no_problem():
    assert read_picks(["1,2"]).problems == ()


def test_what_is_left_out_is_said():
    assert "x, -2: no id" in read_picks(["x,1,-2"]).problems[0]
    assert "60 experiments were chosen" in read_picks([",".join(str(n) for n in range(60))]).problems[0]


def test_colour_and_dash_together_tell_fifty_curves_apart(run):
    sides = sides_of(*(tried(run, n) for n in range(50)))
    assert len({(side.colour, side.dash) for side in sides}) == 50
    assert all(a.colour != b.colour and a.dash != b.dash for a, b in pairwise(sides))


@pytest.mark.parametrize(("lower", "best"), [(True, 1), (False, 2)])
def test_the_best_score_follows_the_direction_of_the_metric(db, lower, best):
    run = make_run(make_program(lower_is_better=lower))
    row = rows_of(tried(run, 1, 1.5), tried(run, 2, 1.4), tried(run, 3, 1.6), tried(run, 4, None))["val_bpb"]
    assert [cell.is_best for cell in row.cells].index(True) == best
    assert row.aim == ("lower is better" if lower else "higher is better")


def test_nothing_is_best_where_all_are_equal_or_alone(run):
    a, b = tried(run, 1, 1.5), tried(run, 2, 1.5)
    assert not any(cell.is_best for cell in rows_of(a, b)["val_bpb"].cells)
    assert not any(cell.is_best for cell in rows_of(a)["val_bpb"].cells)


def test_differences_to_the_first_and_to_the_best(run):
    rows = rows_of(tried(run, 1, 1.5), tried(run, 2, 1.4), tried(run, 3, None))
    assert [cell.text for cell in rows["to the first, #1"].cells] == ["=", "−0.100000", ""]
    assert [cell.text for cell in rows["to the best, #2"].cells] == ["+0.100000", "=", ""]
    assert [cell.tone for cell in rows["to the first, #1"].cells] == ["", "good", ""]


def test_the_best_is_the_first_needs_no_second_row(run):
    assert not any(label.startswith("to the best") for label in rows_of(tried(run, 1, 1.3), tried(run, 2, 1.4)))


def test_different_metrics_are_not_measured_against_each_other(run):
    other = make_run(make_program("two", metric="accuracy", lower_is_better=False))
    rows = rows_of(tried(run, 1, 1.5), tried(other, 1, 0.9))
    assert not any(cell.is_best for cell in rows["accuracy / val_bpb"].cells)
    assert not any(label.startswith("to the") for label in rows)


def test_odd_numbers_of_a_training_are_left_blank(run):
    a = tried(run, 1, 1.5, summary={"peak_vram_mb": "much", "mfu_percent": True, "depth": 4})
    b = tried(run, 2, 1.4, summary={"peak_vram_mb": 1024.0, "mfu_percent": 40.0})
    rows = rows_of(a, b)
    assert [cell.text for cell in rows["Memory"].cells] == ["", "1.0 GB"]
    assert [cell.text for cell in rows["MFU"].cells] == ["", "40.0 %"]
    assert not rows["Seed"].differs and rows["Depth"].differs


def test_what_it_was_made_of(run):
    base = tried(run, 0, 2.0, state=State.KEPT, cost=0.0)
    rows = rows_of(base, tried(run, 7, 1.5, badges=["verified", "overtime"], cost=0.0123, tokens_in=1200, tokens_out=34))
    assert [cell.text for cell in rows["Parent"].cells] == ["", "#0"]
    assert rows["Score is"].cells[1].text == "verified, overtime"
    assert [cell.text for cell in rows["LLM cost"].cells] == ["", "$0.0123"] and rows["LLM tokens"].cells[1].text == "1,234"
    assert rows["Lines changed"].cells[1].text == "+1 −1"


def test_which_two_the_diff_is_of(run):
    a, b, c = sides = sides_of(*(tried(run, n) for n in (1, 2, 3)))
    usual = comparison.pair(sides, "", "nonsense")
    assert usual is not None and (usual.a, usual.b) == (a, c)
    chosen = comparison.pair(sides, str(c.experiment.pk), str(b.experiment.pk))
    assert chosen is not None and (chosen.a, chosen.b, chosen.problem) == (c, b, "")
    assert comparison.pair(sides[:1], "", "") is None


def test_why_there_is_no_diff(run):
    a, b = sides_of(tried(run, 1), tried(run, 2, None, commit=""))
    pair = comparison.pair([a, b], "", "")
    assert pair is not None and pair.problem == "#2 has no commit: it came to no edit."
