"""The table of moves, for all pairs, and what follows from it."""

from __future__ import annotations

from itertools import product

import pytest

from experiments.states import (
    LIVE,
    MOVES,
    ON_DEVICE,
    RUN_MOVES,
    WORKED,
    IllegalMove,
    Mode,
    RunState,
    State,
    check_move,
    check_run_move,
)

# One line per state that has a way out, spelled here a second time on purpose: the table is the product's promise.
LEGAL = {
    "proposing": "proposing reviewing ready failed cancelled",
    "reviewing": "ready proposing failed cancelled",
    "ready": "ready training proposing failed cancelled",
    "training": "ready evaluating failed cancelled",
    "evaluating": "evaluating confirming kept discarded failed cancelled",
    "confirming": "kept discarded evaluating failed cancelled",
    "kept": "reverted",
    "reverted": "kept",
}
RUN_LEGAL = {"active": "paused ended", "paused": "active ended", "ended": "active"}


@pytest.mark.parametrize(("old", "new"), list(product(State, State)))
def test_a_move_is_legal_exactly_where_the_table_says_so(old, new):
    if new in LEGAL.get(old, "").split():
        check_move(old, new)
    else:
        with pytest.raises(IllegalMove, match=f"that is {old} cannot become {new}"):
            check_move(old, new)


@pytest.mark.parametrize(("old", "new"), list(product(RunState, RunState)))
def test_a_run_moves_exactly_where_the_table_says_so(old, new):
    if new in RUN_LEGAL[old].split():
        check_run_move(old, new)
    else:
        with pytest.raises(IllegalMove, match=f"that is {old} cannot become {new}"):
            check_run_move(old, new)


def test_every_state_has_its_line_in_the_table():
    assert set(MOVES) == set(State) and set(RUN_MOVES) == set(RunState)


def test_what_lives_can_always_fail_and_be_cancelled_and_nothing_else_can():
    assert {state for state in State if State.FAILED in MOVES[state]} == LIVE
    assert {state for state in State if State.CANCELLED in MOVES[state]} == LIVE


def test_every_end_is_reached_from_the_start_and_only_ends_are_dead_ends():
    reached, queue = {State.PROPOSING}, [State.PROPOSING]
    while queue:
        fresh = MOVES[queue.pop()] - reached
        reached |= fresh
        queue += fresh
    assert reached == set(State)
    assert {state for state in State if not MOVES[state]} == {State.DISCARDED, State.FAILED, State.CANCELLED}


def test_what_a_worker_holds_or_a_device_trains_is_alive():
    assert WORKED < LIVE and ON_DEVICE < LIVE
    assert {State.REVIEWING, State.CONFIRMING} == LIVE - WORKED  # these wait for a person


@pytest.mark.parametrize(
    ("mode", "reviews", "confirms"),
    [("autopilot", False, False), ("approve_diffs", True, False), ("approve_keeps", False, True),
     ("approve_both", True, True)],
)
def test_a_mode_says_what_a_person_decides(mode, reviews, confirms):
    assert (Mode(mode).reviews_diffs, Mode(mode).confirms_keeps) == (reviews, confirms)
