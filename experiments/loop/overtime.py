"""Whether a training took more time, or more of the processor, than it was given. Pure.

It goes by what is seen from outside: when it was let go, when its exam began, when each answer came, and what its
processes spent. What it says of itself counts for one step at most.

    before    Until its exam it has the budget, the baseline's start-up, the step that was under way when the budget
              ended (at most SLOWER times the baseline's), and the tolerance.
    in it     An answer takes what this exam's answers usually take, at most twice; the first also as much more as the
              baseline's first did. A slow model's answers are all alike slow, and it may be SLOWER times as slow as the
              baseline's. What is beyond was no forward pass, and is added to the time before the exam.
    tolerance FLOOR_SECONDS and a tenth of the baseline's start-up, more of a long one. Where the run's trainings scatter
              more, what is usual among them, at most MOST times as much.
    processor On a CPU: all its processes together no more than its threads could spend in that time. Late by the clock
              alone, on a machine that others kept busy, it is excused where it had spent no more than the baseline.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

FLOOR_SECONDS, FLOOR_SHARE = 1.0, 0.1
COMPILED_AFTER, COMPILED_SHARE = 10.0, 0.3  # what a start-up takes beyond that is a compiler's, and differs by model
ENOUGH, SIGMAS, MOST = 5, 4.0, 2.5  # trainings that show how much they scatter; how far from their median is usual
SLOWER = 4.0  # a model so many times as slow makes as many times fewer steps
PROCESSOR_SECONDS, PROCESSOR_SHARE = 1.0, 0.05  # its own end, and the clocks' grain
MAD = 1.4826  # of a normal distribution's median absolute deviation to its standard deviation


@dataclass(frozen=True)
class Times:
    """What was seen of one training, in seconds; None: not known, as of one by an earlier version."""

    after: float | None = None  # from its start until its exam began
    loading: float = 0.0  # on imports, before its start
    step: float | None = None  # the usual one, as it was printed
    longest_step: float = 0.0
    exam: float = 0.0
    answers: int = 0
    rows: int = 0  # of an answer
    first: float = 0.0  # answer
    usual: float = 0.0  # answer
    beyond: float = 0.0  # what the answers but the first took beyond twice the usual
    processor: float | None = None
    processor_before: float | None = None  # the exam

    @classmethod
    def of(cls, exam: Mapping[str, Any]) -> Times:
        """From what is stored of an exam: the judge's report, and `judging.measured`."""
        return cls(
            exam.get("after_seconds"), exam.get("loading_seconds") or 0.0, exam.get("step_seconds"),
            exam.get("longest_step_seconds") or 0.0, exam.get("seconds") or 0.0, exam.get("batches") or 0,
            exam.get("rows") or 0, exam.get("first_seconds") or 0.0, exam.get("usual_seconds") or 0.0,
            exam.get("beyond_seconds") or 0.0, exam.get("processor_seconds"), exam.get("processor_before"),
        )  # fmt: skip

    def late(self, budget_seconds: float, startup_seconds: float) -> float:
        """By how much its exam began after the budget and the start-up. What it had loaded before is none of its own."""
        return (self.after or 0.0) - budget_seconds - max(0.0, startup_seconds - self.loading)


@dataclass(frozen=True)
class Grant:
    """What a training of a run may take, by its baseline and by how late its other trainings were."""

    baseline: Times = Times()
    others: tuple[float, ...] = ()
    threads: int | None = None  # None: a GPU, or not known

    @property
    def cores(self) -> int | None:
        """On which it may be at once. A program whose baseline takes more than its threads does not ask for them."""
        spent = self.baseline.processor
        if self.threads is None or spent is None:
            return None
        return self.threads if spent <= _may_spend(self.baseline, self.threads) else None


def find(own: Times, budget_seconds: float, startup_seconds: float | None, grant: Grant) -> str:
    """What it took too much of, to a person; "" where it kept to its grant, or where there is no baseline to tell.

    `startup_seconds` is what the baseline needed on top of the budget.
    """
    if own.after is None or startup_seconds is None:
        return ""
    in_exam, step = beyond_answers(own, grant.baseline), min(own.longest_step, SLOWER * (grant.baseline.step or 0.0))
    late, allowed = own.late(budget_seconds, startup_seconds) + in_exam - step, tolerance(startup_seconds, grant.others)
    most = MOST * _floor(startup_seconds)
    if late > allowed and (late > most or _computed(own, startup_seconds, grant) + in_exam - step > allowed):
        return _words(own, in_exam, own.after + in_exam - late + allowed, grant.baseline)
    spent, may = own.processor, grant.cores and _may_spend(own, grant.cores)
    if spent is not None and may is not None and spent > may:
        return (
            f"It used more of the processor than it was given: {spent:.1f} s of processor time, where"
            f" {grant.cores} of AUTORESEARCH_THREADS can spend {may:.1f} s."
        )
    return ""


def beyond_answers(own: Times, baseline: Times) -> float:
    """Seconds of the exam that no forward pass explains. Of the baseline's own answers nothing may be known."""
    if not baseline.rows:
        return own.beyond
    usual = min(own.usual, SLOWER * baseline.usual / baseline.rows * own.rows)
    first = own.first - 2 * own.usual - max(0.0, baseline.first - baseline.usual)
    return own.beyond + max(0.0, first) + (own.usual - usual) * own.answers


def tolerance(startup_seconds: float, others: Sequence[float]) -> float:
    """How late an honest training may be: start-ups scatter, and a few are too few to tell how much."""
    floor, late = _floor(startup_seconds), [max(0.0, one) for one in others]
    if len(late) < ENOUGH:
        return floor
    middle = statistics.median(late)
    spread = MAD * statistics.median(abs(one - middle) for one in late)
    return min(max(floor, middle + SIGMAS * spread), MOST * floor)


def _floor(startup_seconds: float) -> float:
    compiled = max(0.0, startup_seconds - COMPILED_AFTER)
    return FLOOR_SECONDS + FLOOR_SHARE * (startup_seconds - compiled) + COMPILED_SHARE * compiled


def _computed(own: Times, startup_seconds: float, grant: Grant) -> float:
    """Seconds that it computed before its exam and the baseline did not; as many as there are where that is not known."""
    if grant.cores is None or own.processor_before is None or grant.baseline.processor_before is None:
        return float("inf")
    loaded = min(own.loading, startup_seconds)
    return (own.processor_before + loaded - grant.baseline.processor_before) / grant.cores


def _may_spend(own: Times, cores: int) -> float:
    return cores * ((own.after or 0.0) + own.exam) * (1 + PROCESSOR_SHARE) + PROCESSOR_SECONDS


def _words(own: Times, in_exam: float, granted: float, baseline: Times) -> str:
    words = f"It trained longer than the budget: its exam began after {own.after:.1f} s by the clock outside"
    if in_exam >= 0.1:
        words += f", and its answers took {in_exam:.1f} s more than a model's answers explain"
    words += f", of {granted:.1f} s."
    if baseline.rows and own.usual / own.rows > SLOWER * baseline.usual / baseline.rows:
        words += " If its model is that slow, start a run with it as the baseline."
    return words
