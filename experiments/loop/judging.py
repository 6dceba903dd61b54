"""What a finished training is worth: the judge's number, its badges, or the reason why there is no score. Pure."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from experiments.loop import overtime
from experiments.loop.errors import StageError
from experiments.loop.overtime import Grant, Times
from experiments.states import Badge, Failure
from trainer.box import LIMITS
from trainer.output import LINE_END, Summary, classify_failure, parse_step
from trainer.spec import Result

SAME = 1e-4  # relative: train.py prints six decimals of the judge's number
LEAST_BPB = 0.05  # no text is that predictable; of another metric nothing is known
JUMP_SHARE = 0.20  # below the lowest score that has stood: what one seed or one score showed widens nothing
HOLDS_SHARE = 0.5  # of such a gain, that another seed and the secret text must show too
PROBLEMS = {"leak": Failure.LEAK, "nan": Failure.NAN, "timeout": Failure.TIMEOUT, "oom": Failure.OOM}


@dataclass(frozen=True)
class Judged:
    """`failure` or a score, never both."""

    score: float | None = None
    secret_score: float | None = None
    badges: tuple[Badge, ...] = ()
    failure: StageError | None = None
    overtime: str = ""  # what it took too much of, where it did


def judge(
    result: Result, log: str, summary: Summary | None, report: Mapping[str, Any] | None, *,
    has_exam: bool, metric: str, budget_seconds: float, deadline_seconds: float, startup_seconds: float | None,
    grant: Grant = Grant(), seen: Mapping[str, float | None] | None = None,
) -> Judged:
    """The score of a training that has ended.

    `report` is the judge's exam.json; `startup_seconds` what the baseline needed on top of the budget before its exam,
    None where it is not known yet; `grant` what else of this run says how long a training may take; `seen` is
    `measured`, where it is known already.
    """
    failure = _ended_badly(result, deadline_seconds) or (_exam_failed(report, log, result, summary) if has_exam else None)
    failure = failure or _exited_badly(result, log)
    if failure:
        return Judged(failure=failure)
    printed = summary.val_bpb if summary else None
    if not has_exam:
        if printed is None:
            return Judged(failure=_no_score(metric, log))
        return Judged(printed, badges=(Badge.SELF_REPORTED,))
    assert report is not None
    score = float(report["val_bpb"])
    if printed is not None and abs(printed - score) > SAME * score:
        return Judged(failure=_tampered(f"It printed {printed:.6f}, the judge measured {score:.6f}."))
    times = Times.of({**report, **(seen or measured(result, log))})
    late = overtime.find(times, budget_seconds, startup_seconds, grant)
    known = _known(result.sandbox, report.get("twice", ""))
    return Judged(score, report.get("secret_bpb"), (known, Badge.OVERTIME) if late else (known,), overtime=late)


def _known(sandbox: str, twice: str) -> Badge:
    if sandbox == LIMITS:
        return Badge.UNPROTECTED
    return Badge.VERIFIED if twice in {"", "passed"} else Badge.UNPROVEN


def measured(result: Result, log: str) -> dict[str, float | None]:
    """What the shim saw of a training's time, and how long its steps were by its own words. In seconds."""
    points = (parse_step(line) for line in LINE_END.split(log))
    printed = (point.dt_ms / 1000 for point in points if point is not None and point.dt_ms is not None)
    steps = [seconds for seconds in printed if math.isfinite(seconds)]
    return {
        "after_seconds": result.exam_after_seconds, "loading_seconds": result.loading_seconds,
        "processor_seconds": result.processor_seconds, "processor_before": result.processor_before,
        "step_seconds": statistics.median(steps) if steps else None, "longest_step_seconds": max(steps, default=0.0),
    }  # fmt: skip


def _ended_badly(result: Result, deadline_seconds: float) -> StageError | None:
    if result.ended == "timeout":
        return StageError(
            Failure.TIMEOUT, f"Ended after {deadline_seconds:.0f} s: budget and grace of the recipe. Raise the grace?"
        )
    if result.ended == "disk_full":
        return StageError(Failure.DISK_FULL, f"The disk is full: {result.detail}. Free some space, then resume the run.")
    if result.ended in {"error", "judge_lost"}:
        return StageError(Failure.CRASH, result.detail)
    if result.tampered:
        return _tampered(f"Fixed files were changed while it ran: {', '.join(result.tampered)}.")
    return None


def _exam_failed(
    report: Mapping[str, Any] | None, log: str, result: Result, summary: Summary | None
) -> StageError | None:
    """Why the exam gave no number; None when it did, or when the training crashed of its own."""
    if report is None:
        if result.exit_code:
            return None
        if summary is not None and summary.val_bpb is not None:
            return _tampered("It printed a score, but never sat the exam. Call evaluate_bpb at the end, as train.py did.")
        return StageError(Failure.NO_SCORE, f"It ended without calling evaluate_bpb, so it has no score.{_tail(log)}")
    problem, detail = report.get("problem", ""), str(report.get("detail", ""))
    if problem in PROBLEMS:
        return StageError(PROBLEMS[problem], detail)
    if problem == "unfinished" and result.exit_code:
        return None
    if problem or report.get("val_bpb") is None:
        return StageError(Failure.NO_SCORE, detail or f"The exam was not finished.{_tail(log)}")
    return None


def _exited_badly(result: Result, log: str) -> StageError | None:
    if result.exit_code == 0:
        return None
    reason = Failure(classify_failure(result.exit_code, log[-8000:]))
    return StageError(reason, f"Exit code {result.exit_code}.{_tail(log)}")


def _no_score(metric: str, log: str) -> StageError:
    expected = f"It ended without a score: expected a line `---`, then `{metric}: 1.234567`."
    return StageError(Failure.NO_SCORE, f"{expected}{_tail(log)}")


def _tampered(what: str) -> StageError:
    return StageError(Failure.TAMPERED, what)


def _tail(log: str) -> str:
    return f" The end of the log:\n{log[-1500:].strip() or '(no output)'}"


def implausible(score: float, stood: float, mfu_percent: float | None, *, is_bpb: bool = True) -> str:
    """Why a person should look before anything is built on it; "" where nothing is strange. Lower is better.

    `stood`: the lowest score that has stood in this run (strange_score.py). The training's own numbers are not repeated
    here: they are printed after its exam, and these words reach the researcher.
    """
    if mfu_percent is not None and mfu_percent > 100:
        return "it says it used more than the whole device"
    if is_bpb and score < LEAST_BPB:
        return f"no text is as predictable as {score:.4f} bits per byte"
    if stood - score > JUMP_SHARE * stood:
        return f"it is {1 - score / stood:.0%} below {stood:.4f}, the lowest score that has stood in this run"
    return ""


def holds(score: float, again: float, best: float) -> bool:
    """Whether a strange gain over the best shows in another measurement of the same commit. Lower is better."""
    return best - again >= HOLDS_SHARE * (best - score)
