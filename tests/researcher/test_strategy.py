"""What is due after which history; and a landscape whose local optimum is left by the turns, and not without them."""

from __future__ import annotations

import itertools
import random
from dataclasses import replace

import pytest

from experiments.researcher.base import Past
from experiments.researcher.strategy import GROWTH_LINES, PATIENCE, TURNS, Plan, Strategy, next_plan
from experiments.themes import THEMES

KEPT, MISS, FAIL = "kept", "discarded", "failed"

MISSED = Past(1, "idea", MISS, "", "", score=2.0, delta=0.1)


def ledger(*states: str, delta: float = 0.5, diff: str = "") -> list[Past]:
    """A baseline, then an idea for each state."""
    past = [Past(0, "baseline", KEPT, "", "", score=2.0)]
    for number, state in enumerate(states, 1):
        scored = {"score": 2.0, "delta": -0.1 if state == KEPT else delta} if state != FAIL else {}
        past.append(Past(number, "idea", state, "crash" if state == FAIL else "", f"idea {number}", diff=diff, **scored))
    return past


def test_near_the_best_while_it_goes_well():
    assert next_plan([]).strategy == next_plan(ledger()).strategy == Strategy.EXPLOIT
    plan = next_plan(ledger(MISS, MISS, MISS, KEPT), chain=[0, 4])
    assert plan == Plan(Strategy.EXPLOIT, "the last idea was a gain", 0) and not plan.is_plateau


def test_a_plateau_takes_turns_until_something_is_kept():
    chain = [0, 1, 2]
    seen = []
    for misses in range(PATIENCE, PATIENCE * 9):
        plan = next_plan(ledger(KEPT, KEPT, *[MISS] * misses, delta=0.001), chain=chain)
        assert plan.is_plateau and plan.since_keep == misses and f"{misses} ideas without a gain" in plan.why
        seen.append(plan.strategy)
    kinds = [strategy for strategy, _ in itertools.groupby(seen)]
    assert kinds[:4] == [Strategy.EXPLORE, Strategy.RETHINK, Strategy.COMBINE, Strategy.SIMPLIFY] and kinds[4] == kinds[0]
    assert all(len(list(group)) == PATIENCE for _, group in itertools.groupby(seen[: PATIENCE * 4]))


def test_failures_count_as_no_gain_and_repeats_do_not_count():
    assert next_plan(ledger(FAIL, FAIL, FAIL)).is_plateau
    past = ledger(KEPT, MISS)
    past += [Past(9 + n, "repeat", "discarded", "", "", score=2.0, delta=0.0) for n in range(9)]
    assert next_plan(past, chain=[0, 1]).since_keep == 1


def test_ideas_that_are_asked_for_at_once_rethink_from_different_keeps():
    past = ledger(*[KEPT] * 4, *[MISS] * PATIENCE * 2)
    assert [next_plan(past, chain=range(5), under_way=count).parent for count in range(3)] == [3, 2, 1]


def test_rethink_goes_one_keep_further_back_with_each_idea():
    misses = [PATIENCE * (2 + len(TURNS) * round_) + step for round_ in range(2) for step in range(PATIENCE)]
    plans = [next_plan(ledger(*[KEPT] * 4, *[MISS] * count), chain=range(5)) for count in misses]
    assert [plan.parent for plan in plans] == [3, 2, 1, 0, 3, 2]


def test_combine_names_the_nearest_misses():
    past = ledger(*[MISS] * PATIENCE * 3, delta=0.5)
    assert next_plan(past, chain=[0]).strategy == Strategy.EXPLORE  # nothing is near, and it says so
    assert "no two near-misses" in next_plan(past, chain=[0]).why
    close = [Past(90, "idea", MISS, "", "", score=2.0, delta=0.004), Past(91, "idea", MISS, "", "", score=2.0, delta=0.001)]
    plan = next_plan([*past[:-2], *close], chain=[0])
    assert (plan.strategy, plan.near_misses) == (Strategy.COMBINE, (91, 90))
    assert next_plan([*past[:-2], *close], chain=[0], sigma=0.0001).strategy == Strategy.EXPLORE  # known noise decides


def test_it_is_time_to_simplify_when_the_keeps_have_grown():
    diff = "--- a\n+++ b\n@@ -1 +1 @@\n" + "+line\n" * (GROWTH_LINES + 1)
    assert next_plan(ledger(KEPT, MISS, diff=diff), chain=[0, 1]).strategy == Strategy.SIMPLIFY
    assert next_plan(ledger(KEPT, MISS, diff=diff + "-line\n" * 2), chain=[0, 1]).strategy == Strategy.EXPLOIT


@pytest.mark.parametrize("strategy", list(Strategy))
def test_a_person_may_force_one(strategy: Strategy):
    plan = next_plan(ledger(KEPT, MISS, MISS, delta=0.001), chain=[0, 1], forced=strategy)
    assert plan.strategy == strategy and plan.why == "a person chose it"


def test_one_that_has_nothing_to_work_with_becomes_explore():
    for strategy in (Strategy.RETHINK, Strategy.COMBINE):
        assert next_plan(ledger(), chain=[0], forced=strategy).strategy == Strategy.EXPLORE


def test_higher_may_be_better():
    past = ledger(*[MISS] * PATIENCE * 3, delta=-0.5)
    past[-2:] = [Past(90 + n, "idea", MISS, "", "", score=2.0, delta=-0.001) for n in range(2)]
    assert next_plan(past, chain=[0], lower_is_better=False).near_misses == (90, 91)


# A landscape in which every step from the best is worse, and a step from an older keep leads further down.
DOWN = {"": 2.0, "a": 1.9, "ab": 1.8, "c": 1.7, "cd": 1.5}


def walk(steps: int, *, greedy: bool, seed: int = 0) -> float:
    """Each idea adds one letter to its parent; none is tried twice. Returns the best score."""
    letters = random.Random(seed)
    past, names, chain = [Past(0, "baseline", KEPT, "", "", score=2.0)], {0: ""}, [0]
    for number in range(1, steps + 1):
        plan = next_plan(past, chain=chain, forced=Strategy.EXPLOIT if greedy else "")
        parent = chain[-1] if plan.parent is None else plan.parent
        untried = [letter for letter in "abcd" if names[parent] + letter not in names.values()]
        name = names[parent] + letters.choice(untried or "abcd")
        score, best = DOWN.get(name, 2.5), DOWN[names[chain[-1]]]
        kept = score < best
        names[number] = name
        past.append(Past(number, "idea", KEPT if kept else MISS, "", name, score=score, delta=score - DOWN[names[parent]]))
        if kept:
            chain = [*chain[: chain.index(parent) + 1], number]
    return DOWN[names[chain[-1]]]


def test_a_local_optimum_is_left_by_the_turns_and_not_without_them():
    """A hundred walks of 40 ideas; the one that begins with c needs no luck, so only the others tell."""
    stuck = [seed for seed in range(100) if walk(40, greedy=True, seed=seed) == 1.8]
    assert len(stuck) > 40
    left = [seed for seed in stuck if walk(40, greedy=False, seed=seed) < 1.8]
    assert len(left) > 0.8 * len(stuck)


def test_what_tried_no_idea_is_no_idea_without_a_gain():
    reasons = ["researcher_error", "bad_patch", "worker_lost"]
    away = [Past(9 + n, "idea", FAIL, reason, "") for n, reason in enumerate(reasons)]
    assert next_plan([*ledger(KEPT), *away], chain=[0, 1]).since_keep == 0
    assert next_plan([*ledger(KEPT), Past(9, "idea", FAIL, "duplicate", "")], chain=[0, 1]).since_keep == 1


def test_a_second_chance_on_a_moved_best_is_a_gain():
    past = [*ledger(MISS, MISS), Past(9, "rebase", KEPT, "", "", score=1.0, delta=-1.0)]
    assert next_plan(past, chain=[0, 9]).since_keep == 0


def test_it_is_asked_once_to_simplify_and_again_when_the_keeps_have_grown_again():
    diff = "+line\n" * (GROWTH_LINES + 1)
    past = ledger(KEPT, MISS, diff=diff)
    asked = Past(3, "idea", MISS, "", "", score=2.0, delta=0.1, strategy="simplify")
    assert next_plan(past, chain=[0, 1]).strategy == Strategy.SIMPLIFY
    assert next_plan([*past, asked], chain=[0, 1]).strategy == Strategy.EXPLOIT
    keep = Past(4, "idea", KEPT, "", "", score=1.0, delta=-1.0, diff=diff)
    grown = [*past, asked, keep, replace(asked, number=5, strategy="")]
    assert next_plan(grown, chain=[0, 1, 4]).strategy == Strategy.SIMPLIFY


def test_explore_names_themes_that_were_not_tried_or_least():
    past = [replace(one, theme="learning rate") for one in ledger(*[MISS] * PATIENCE)]
    plan = next_plan(past, chain=[0])
    assert plan.strategy == Strategy.EXPLORE and len(plan.untried) == 4 and not plan.least_tried
    assert not {"learning rate", "other", "seed"} & set(plan.untried)
    tried = [replace(MISSED, number=n, theme=theme) for n, theme in enumerate([*THEMES, *THEMES[:-3], "my own"], 1)]
    plan = next_plan(tried, forced="explore")
    assert not plan.untried and len(plan.least_tried) == 4 and "my own" in plan.least_tried
    assert next_plan(past[:1], chain=[0]).untried == ()
