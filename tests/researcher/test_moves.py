"""The sweep goes on in the direction of a gain and turns round after a loss."""

from __future__ import annotations

import pytest

from experiments.researcher.base import Past
from experiments.researcher.constants import Constant, Number
from experiments.researcher.knobs import Knob, knob_for
from experiments.researcher.moves import next_move, tired


def knob(name: str = "MATRIX_LR", value: Number = 0.04) -> Knob:
    found = knob_for(Constant(name, value, repr(value), 0, 0))
    assert found is not None
    return found


def past(state: str, before: Number, after: Number, delta: float | None = 0.05, name: str = "MATRIX_LR") -> Past:
    memo = {"changed": {name: after}, "from": {name: before}}
    score = None if delta is None else 1.5 + delta
    return Past(1, "idea", state, "", "", score=score, delta=delta, memo=memo)


def suggested(knobs: list[Knob], *history: Past, tried: tuple[Number, ...] = ()) -> dict[str, Number] | None:
    return next_move(knobs, history, lambda moves: not set(moves.values()) & set(tried), lower_is_better=True)


@pytest.mark.parametrize(
    ("standing", "result", "wanted"),
    [
        (0.06, past("kept", 0.04, 0.06, -0.02), 0.09),  # the same factor once more
        (0.02, past("kept", 0.04, 0.02, -0.02), 0.01),
        (0.04, past("discarded", 0.04, 0.08), 0.02),  # the other way
        (0.04, past("discarded", 0.04, 0.028), 0.0571),
    ],
)
def test_a_gain_is_followed_and_a_loss_turned_round(standing, result, wanted):
    assert suggested([knob(value=standing)], result) == {"MATRIX_LR": pytest.approx(wanted, rel=0.01)}


@pytest.mark.parametrize(
    "result",
    [
        past("discarded", 0.04, 0.08, 0.001),  # flat: it points nowhere
        past("discarded", 0.04, 0.05),  # a step that noise hides, and so is its opposite
        past("discarded", 0.05, 0.08),  # the constant has moved since
        past("failed", 0.04, 0.08, None),
        past("discarded", 0.04, 0.08, name="GONE_LR"),
        Past(1, "idea", "kept", "", "", score=1.4, delta=-0.1, memo={"changed": {"MATRIX_LR": 0.04}}),
        Past(1, "idea", "kept", "", "", score=1.4, delta=-0.1, memo={"changed": "x", "from": [1]}),
    ],
)
def test_what_says_nothing_suggests_nothing(result):
    assert suggested([knob()], result) is None


def test_what_was_tried_gives_way_to_what_an_older_result_suggests():
    history = [past("discarded", 0.5, 0.3, name="MUON_LR"), past("discarded", 0.04, 0.08)]
    knobs = [knob(), knob("MUON_LR", 0.5)]
    assert suggested(knobs, *history, tried=(0.02,)) == {"MUON_LR": pytest.approx(0.833, rel=0.01)}
    assert suggested(knobs, *history, tried=(0.02, 0.833)) is None


def test_a_gain_speaks_before_a_later_loss():
    history = [past("kept", 0.04, 0.06, -0.02), past("discarded", 0.5, 0.3, name="MUON_LR")]
    assert suggested([knob(value=0.06), knob("MUON_LR", 0.5)], *history) == {"MATRIX_LR": 0.09}


def test_a_size_is_doubled_once_more_and_a_share_stays_within_its_bounds():
    assert suggested([knob("DEPTH", 4)], past("kept", 2, 4, -0.02, name="DEPTH")) == {"DEPTH": 8}
    end = suggested([knob("WARMDOWN_FRACTION", 0.9)], past("kept", 0.8, 0.9, -0.02, name="WARMDOWN_FRACTION"))
    assert end is not None and 0.9 < end["WARMDOWN_FRACTION"] <= 1


def test_a_constant_tires_until_it_brings_a_gain():
    lost, won = past("discarded", 0.04, 0.08), past("kept", 0.04, 0.02, -0.1)
    assert [tired(knob(), history) for history in ([], [lost], [lost, lost], [lost, won])] == [0, 1, 2, 0]
