"""How long a training may take before it is overtime: by its run's baseline, by how its start-ups scatter, by its exam."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from experiments.loop.overtime import Grant, Times, find, tolerance

BUDGET, STARTUP = 20, 3.0
# 21 answers of 16 rows; 23 s of the processor before the exam and one in it
SEEN = {
    "after_seconds": 23.0, "seconds": 1.2, "batches": 21, "rows": 16, "first_seconds": 0.1, "usual_seconds": 0.05,
    "beyond_seconds": 0.0, "step_seconds": 0.04, "longest_step_seconds": 0.05, "processor_seconds": 24.0,
    "processor_before": 23.0,
}  # fmt: skip
BASELINE = Times.of(SEEN)


def found(others: Sequence[float] = (), threads: int | None = None, baseline: Times = BASELINE, **seen: Any) -> str:
    return find(Times.of({**SEEN, **seen}), BUDGET, STARTUP, Grant(baseline, tuple(others), threads))


# Before the exam


@pytest.mark.parametrize(("after", "late"), [(23.0, False), (24.3, False), (24.5, True), (None, False)])
def test_a_training_has_its_budget_the_baselines_start_and_the_tolerance(after: float | None, late: bool) -> None:
    assert bool(found(after_seconds=after)) is late


def test_where_there_is_no_baseline_yet_nothing_can_be_told() -> None:
    assert not find(Times.of({**SEEN, "after_seconds": 99.0}), BUDGET, None, Grant())


@pytest.mark.parametrize(
    ("startup", "others", "seconds"),
    [
        (0.0, [], 1.0), (3.0, [], 1.3), (40.0, [], 11.0),  # few start-ups: a floor
        (3.0, [1.9, 2.0, 2.1, 2.2], 1.3),  # still too few
        (3.0, [0.0, 0.1, 0.0, 0.2, 0.1, 0.0], 1.3),
        (3.0, [1.0, 1.2, 0.8, 1.1, 0.9], 1.593),  # a machine that others keep busy
        (3.0, [1.0, 1.2, 0.8, 1.1, 0.9, 40.0], 1.9395),  # one that cheats moves it little
        (3.0, [5.0, 9.0, 1.0, 20.0, 14.0], 3.25),  # and all together not beyond this
        (3.0, [-8.0, -1.0, -9.0, 0.0, -7.0], 1.3),  # whose start was shorter gives nothing to the others
    ],
)  # fmt: skip
def test_the_tolerance_is_how_the_runs_own_trainings_scatter(startup: float, others: list[float], seconds: float) -> None:
    assert tolerance(startup, others) == pytest.approx(seconds, abs=1e-3)


def test_no_share_of_the_budget_is_given_away() -> None:
    late = Times.of({**SEEN, "after_seconds": 300 + STARTUP + 1.5})
    assert find(late, 300, STARTUP, Grant(BASELINE))


@pytest.mark.parametrize(
    ("own", "baselines", "after", "late"),
    [
        (2.0, 0.04, 24.4, False), (2.0, 0.04, 24.5, True),  # of the 2 s that it says, four of the baseline's are believed
        (2.0, 1.9, 26.2, False), (2.0, 1.9, 26.4, True), (2.0, None, 24.4, True),
    ],
)  # fmt: skip
def test_the_step_under_way_may_end(own: float, baselines: float | None, after: float, late: bool) -> None:
    baseline = Times.of({**SEEN, "step_seconds": baselines})
    assert bool(found(baseline=baseline, longest_step_seconds=own, after_seconds=after)) is late


# In the exam


@pytest.mark.parametrize(
    ("seen", "late"),
    [
        ({"first_seconds": 40.0}, True), ({"beyond_seconds": 40.0}, True),
        ({"usual_seconds": 0.15, "first_seconds": 0.3}, False),  # a model three times as slow
        ({"usual_seconds": 0.15, "first_seconds": 0.3, "rows": 4, "batches": 84}, True),  # twelve times as slow
        ({"usual_seconds": 0.8, "first_seconds": 1.6, "rows": 64, "batches": 6}, False),  # more rows at once
        ({"usual_seconds": 2.0, "first_seconds": 2.0}, True),
    ],
)  # fmt: skip
def test_what_no_forward_pass_explains_is_time_of_the_training(seen: dict[str, Any], late: bool) -> None:
    assert bool(found(**seen)) is late


def test_a_baseline_that_compiles_in_its_first_answer_lets_others_do_so() -> None:
    compiles = Times.of({**SEEN, "first_seconds": 20.0})
    assert not found(baseline=compiles, first_seconds=20.5)
    assert "its answers took 19.9 s more" in found(baseline=compiles, first_seconds=40.0)


def test_a_model_that_is_too_slow_is_told_the_next_step() -> None:
    assert "start a run with it as the baseline" in found(usual_seconds=0.5)
    assert "baseline" not in found(after_seconds=40.0)


def test_a_baseline_of_an_earlier_version_tells_only_its_start() -> None:
    earlier = Times.of({"after_seconds": 23.0, "seconds": 1.2, "batches": 21})
    assert not found(baseline=earlier, usual_seconds=0.5, threads=1, processor_seconds=60.0)
    assert found(baseline=earlier, beyond_seconds=40.0)


# The processor


@pytest.mark.parametrize(
    ("threads", "seconds", "late"),
    [(1, 26.4, False), (1, 26.5, True), (2, 45.0, False), (2, 60.0, True), (None, 99.0, False)],
)
def test_its_processes_spend_what_its_threads_can(threads: int | None, seconds: float, late: bool) -> None:
    words = found(threads=threads, processor_seconds=seconds)
    assert bool(words) is late
    if late:
        assert f"{seconds:.1f} s of processor time" in words


def test_a_program_that_asks_for_no_number_of_threads_has_all() -> None:
    greedy = Times.of({**SEEN, "processor_seconds": 45.0})
    assert not found(baseline=greedy, threads=1, processor_seconds=80.0)


@pytest.mark.parametrize(
    ("after", "before", "threads", "late"),
    [
        (25.5, 20.0, 1, False),  # it waited for a processor that others kept busy
        (25.5, 25.5, 1, True), (25.5, 20.0, None, True),
        (26.3, 10.0, 1, True),  # but for so long nobody waits
    ],
)  # fmt: skip
def test_late_by_the_clock_alone_is_no_training(after: float, before: float, threads: int | None, late: bool) -> None:
    seen = {"after_seconds": after, "processor_before": before, "processor_seconds": before + 1}
    assert bool(found(threads=threads, **seen)) is late
