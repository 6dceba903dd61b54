"""What a researcher is told of a training: nothing that it printed from its exam on, for that can hold the held-out text.

People see all of it. The judge's own words and numbers stay; so does what was printed before.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from experiments import words
from experiments.models import Experiment, stream
from experiments.states import Failure, State
from trainer.output import LineSplitter, Summary, parse_step, parse_summary, strip_controls

BY_JUDGE = frozenset({"leak", "nan", "timeout"})  # problems of the report whose words are all the judge's
IN_EXAM = {  # of the others, in our words
    "shape": "The model's answer was not logits of the shape (B, T, V) in float32, float16 or bfloat16 for x of (B, T).",
    "oom": "Memory ran out in the exam. Call evaluate_bpb with a smaller batch size.",
    "answer": "It did not answer the exam as evaluate_bpb does.",
    "unfinished": "It ended in its exam.",
}
NOT_SHOWN = "What it printed is not shown: its exam had begun."


def why(experiment: Experiment) -> str:
    """The verdict's reason, or the failure's."""
    if experiment.state != State.FAILED or not experiment.exam:
        return experiment.detail
    problem = str(experiment.exam.get("problem", ""))
    if problem in BY_JUDGE:
        return str(experiment.exam.get("detail", ""))
    if experiment.reason == Failure.TAMPERED:
        return words.FAILURES[Failure.TAMPERED]
    return f"{IN_EXAM.get(problem, 'It ended after its exam.')} {NOT_SHOWN}"


def log_tail(experiment: Experiment, characters: int) -> str:
    """The end of its log; nothing once its exam had begun, or of an earlier attempt, whose exam may have."""
    part = stream.read(experiment, stream.LOG)
    if experiment.exam or part.attempt != experiment.attempt:
        return ""
    return strip_controls("".join(part.chunks))[-characters:]


def before_exam(log: str) -> dict[str, Any]:
    """Of this part of a log: how many points of the curve it has, and the numbers of its summary."""
    splitter, steps = LineSplitter(), list[int]()
    for line in splitter.feed(log):
        point = parse_step(line)
        if point and point.step not in steps[-1:]:
            steps.append(point.step)
    summary = asdict(parse_summary(log) or Summary(None))
    found = {name: value for name, value in summary.items() if isinstance(value, int | float)}
    return {"points": len(steps), "numbers": found}


def numbers(experiment: Experiment) -> dict[str, Any]:
    """The training's own numbers."""
    return dict(experiment.exam.get("before", {}).get("numbers", {})) if experiment.exam else dict(experiment.summary)


def points(experiment: Experiment) -> int | None:
    """How many points of its curve; None: all."""
    return int(experiment.exam.get("before", {}).get("points", 0)) if experiment.exam else None
