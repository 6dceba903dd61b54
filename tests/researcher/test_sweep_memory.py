"""What the sweep reads from the history: each score once, what it was compared with, failures that say something."""

from __future__ import annotations

from dataclasses import replace

import pytest

from experiments.researcher import sweep_memory as memory
from experiments.researcher.base import Context, Past

NOW = {"LR": 0.04, "DEPTH": 4}


def context(*history: Past, best: float | None = None, lower_is_better: bool = True) -> Context:
    return Context("", 1, "val_bpb", lower_is_better, 60, "cpu", {}, {}, 0, best, history)


def past(
    score: float | None, lr: float = 0.08, *, before: float = 0.04, reason: str = "", delta: float | None = None,
    repeats: tuple[float, ...] = (),
) -> Past:
    memo = {"params": {**NOW, "LR": lr}, "changed": {"LR": lr}, "from": {"LR": before}}
    state = "discarded" if score else "failed"
    return Past(1, "idea", state, reason, "", score=score, delta=delta, memo=memo, repeats=repeats)


def test_a_score_brings_that_of_its_parent_once() -> None:
    first, second = past(1.4, delta=-0.1), past(1.6, lr=0.02, delta=0.1)

    assert memory.told(context(first, second, best=1.5), NOW) == [
        (NOW, 1.5),
        ({**NOW, "LR": 0.08}, 1.4),
        ({**NOW, "LR": 0.02}, 1.6),
    ]


def test_what_is_best_now_is_known_without_any_history() -> None:
    assert memory.told(context(best=1.5), NOW) == [(NOW, 1.5)]
    assert memory.told(context(), NOW) == []


def test_repeats_count_as_scores_of_their_own() -> None:
    found = memory.told(context(past(1.4, repeats=(1.5, 1.6))), NOW)

    assert [score for _, score in found] == [1.4, 1.5, 1.6]


def test_a_higher_score_that_is_better_is_turned_round() -> None:
    assert memory.told(context(past(0.4, delta=0.1), lower_is_better=False), NOW)[0] == (NOW, pytest.approx(-0.3))


@pytest.mark.parametrize(("reason", "tells"), [("crash", True), ("oom", True), ("worker_lost", False), ("disk_full", False)])
def test_only_failures_that_the_values_may_have_caused_count(reason: str, tells: bool) -> None:
    assert memory.told(context(past(None, reason=reason)), NOW) == [({**NOW, "LR": 0.08}, None)] * tells


def test_what_is_not_the_sweeps_own_is_left_out() -> None:
    assert memory.told(context(Past(1, "idea", "kept", "", "an LLM's", score=1.2, delta=-0.1)), NOW) == []


def test_the_frame_is_where_each_constant_was_first_seen() -> None:
    moved = past(1.3, lr=0.16, before=0.08)

    assert memory.first_params([past(1.4), moved]) == NOW
    assert memory.first_params([moved])["LR"] == 0.08


def test_the_best_is_known_however_long_ago_it_scored() -> None:
    others = tuple(past(1.6, lr=0.04 + n / 1e4) for n in range(1, 430))
    found = memory.told(context(past(1.0, lr=0.04), *others, best=1.0), NOW)

    assert len(found) == 430 and found.count((NOW, 1.0)) == 1


@pytest.mark.parametrize("score", [float("inf"), float("nan"), 1e155])
def test_what_is_no_number_is_no_score(score: float) -> None:
    assert memory.told(context(past(score), best=1.5), NOW) == [(NOW, 1.5)]


def test_scores_of_an_earlier_exam_tell_nothing() -> None:
    old, new = past(1.0, lr=0.02), replace(past(1.4), exam=2)
    assert memory.told(context(old, new, best=1.5), NOW) == memory.told(context(new, best=1.5), NOW)
    assert memory.told(context(past(None, reason="crash"), new, best=1.5), NOW)[0][1] is None
