"""From what a training left to its score, badges, or the reason why there is none."""

from __future__ import annotations

from typing import Any

import pytest

from experiments.loop.judging import Judged, holds, implausible, judge, measured
from experiments.states import Badge, Failure
from trainer.output import parse_summary
from trainer.spec import Result

SUMMARY = "---\nval_bpb:          1.234567\n"
GOOD = {"val_bpb": 1.2345671, "secret_bpb": 1.3, "problem": "", "detail": ""}


def of(log: str = SUMMARY, report: dict[str, Any] | None = None, has_exam: bool = True, **result: Any) -> Judged:
    facts = {"ended": "exit", "exit_code": 0, "seconds": 30.0, "exam_after_seconds": 24.0, **result}
    return judge(
        Result(**facts), log, parse_summary(log), report, has_exam=has_exam, metric="val_bpb", budget_seconds=20,
        deadline_seconds=120, startup_seconds=3.0,
    )


def test_the_judges_number_is_the_score() -> None:
    assert of(report=GOOD) == Judged(1.2345671, 1.3, (Badge.VERIFIED,))


def test_without_a_working_sandbox_it_is_not_verified() -> None:
    assert of(report=GOOD, sandbox="limits").badges == (Badge.UNPROTECTED,)
    assert of(report=GOOD, sandbox="limits", exam_after_seconds=40.0).badges == (Badge.UNPROTECTED, Badge.OVERTIME)
    assert of(report=GOOD, sandbox="bubblewrap").badges == (Badge.VERIFIED,)


def test_a_training_that_prints_nothing_still_has_its_score() -> None:
    assert of("", GOOD).score == 1.2345671


def test_a_metric_of_ones_own_is_self_reported() -> None:
    assert of(has_exam=False) == Judged(1.234567, None, (Badge.SELF_REPORTED,))


@pytest.mark.parametrize(
    ("log", "report", "result", "reason", "words"),
    [
        (SUMMARY, None, {}, Failure.TAMPERED, "never sat the exam"),
        ("step 1", None, {}, Failure.NO_SCORE, "without calling evaluate_bpb"),
        ("---\nval_bpb: 1.1\n", GOOD, {}, Failure.TAMPERED, "printed 1.100000, the judge measured 1.234567"),
        (SUMMARY, GOOD, {"tampered": ["prepare.py"]}, Failure.TAMPERED, "prepare.py"),
        ("", {"val_bpb": None, "problem": "leak", "detail": "looks ahead"}, {"exit_code": 1}, Failure.LEAK, "looks ahead"),
        ("", {"val_bpb": None, "problem": "nan", "detail": "no numbers"}, {"exit_code": 1}, Failure.NAN, "no numbers"),
        ("", {"val_bpb": None, "problem": "timeout", "detail": "batch 3"}, {"exit_code": 1}, Failure.TIMEOUT, "batch 3"),
        ("", {"val_bpb": None, "problem": "oom", "detail": "smaller"}, {"exit_code": 1}, Failure.OOM, "smaller"),
        ("", {"val_bpb": None, "problem": "shape", "detail": "(8, 4)"}, {"exit_code": 1}, Failure.NO_SCORE, "(8, 4)"),
        ("ValueError: x", {"val_bpb": None, "problem": "unfinished"}, {"exit_code": 1}, Failure.CRASH, "ValueError: x"),
        ("CUDA out of memory", {"val_bpb": None, "problem": "unfinished"}, {"exit_code": 1}, Failure.OOM, "out of memory"),
        ("", {"val_bpb": None, "problem": "unfinished", "detail": "ended in it"}, {}, Failure.NO_SCORE, "ended in it"),
        ("", None, {"ended": "timeout", "exit_code": None}, Failure.TIMEOUT, "120 s"),
        ("", None, {"ended": "disk_full", "exit_code": None, "detail": "full"}, Failure.DISK_FULL, "Free some space"),
        ("boom", None, {"exit_code": 1}, Failure.CRASH, "boom"),
    ],
)
def test_each_way_to_fail_has_its_reason_and_words(
    log: str, report: dict[str, Any] | None, result: dict[str, Any], reason: Failure, words: str
) -> None:
    judged = of(log, report, **result)
    assert judged.failure is not None and judged.score is None
    assert judged.failure.reason == reason
    assert words in judged.failure.detail


@pytest.mark.parametrize(("after", "loading", "late"), [(24.2, 0.0, False), (24.2, 2.0, True), (21, 8.0, False)])
def test_what_was_loaded_before_its_turn_is_no_start_up_of_its_own(after: float, loading: float, late: bool) -> None:
    judged = of(report=GOOD, exam_after_seconds=after, loading_seconds=loading)
    assert (Badge.OVERTIME in judged.badges) is late


def test_overtime_keeps_the_score_and_wears_the_badge() -> None:
    judged = of(report=GOOD, exam_after_seconds=40.0)
    assert judged.score is not None and Badge.OVERTIME in judged.badges
    assert "its exam began after 40.0 s by the clock outside, of 24.3 s." in judged.overtime


def test_steps_are_as_long_as_they_were_printed() -> None:
    log = "".join(f"\rstep {n:05d} (1.0%) | loss: 3.1 | dt: {dt}ms | remaining: 1s" for n, dt in enumerate((900, 40, 50)))
    times = measured(Result("exit", 0, 30.0, exam_after_seconds=25.0, processor_seconds=24.0), log)
    assert (times["step_seconds"], times["longest_step_seconds"]) == (0.05, 0.9)
    assert (times["after_seconds"], times["processor_seconds"]) == (25.0, 24.0)
    assert measured(Result("exit", 0, 30.0), "no steps")["step_seconds"] is None


@pytest.mark.parametrize(
    ("score", "stood", "mfu", "words"),
    [
        (1.9, 2.0, None, ""),
        (1.61, 2.0, None, ""),
        (1.55, 2.0, None, "22% below 2.0000, the lowest score that has stood"),
        (0.04, 0.045, None, "no text is as predictable"),
        (1.99, 2.0, 1.5e300, "it says it used more than the whole device"),
    ],
)
def test_what_cannot_be_waits_for_a_person(score: float, stood: float, mfu: float | None, words: str) -> None:
    found = implausible(score, stood, mfu)
    assert words in found and bool(found) is bool(words) and len(found) < 100


def test_another_metric_than_bits_per_byte_may_be_small() -> None:
    assert implausible(0.04, 0.045, None) and not implausible(0.04, 0.045, None, is_bpb=False)


def test_half_of_a_strange_gain_must_show_again() -> None:
    assert holds(1.0, 1.5, 2.0) and not holds(1.0, 1.51, 2.0) and not holds(1.0, 2.1, 2.0)
