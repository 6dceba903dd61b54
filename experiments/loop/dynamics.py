"""How the last training and that of the best went: read from their streams, for the prompt."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

from experiments import stream_reading
from experiments.loop import told
from experiments.models import Experiment, Run, stream
from experiments.researcher.base import Dynamics, Sample

POINTS = 400  # of a curve, from which a few are taken
PLACES = (5, 10, 25, 50, 75, 100)  # percent of the time budget
FACTS = {  # of the training's own summary: the name in the prompt, with its unit
    "num_steps": "steps", "total_tokens_m": "million tokens", "mfu_percent": "MFU %", "peak_vram_mb": "peak memory MB",
    "num_params_m": "million parameters", "training_seconds": "training s",
}  # fmt: skip


def dynamics(run: Run) -> tuple[Dynamics, ...]:
    """Of the best, and of the last that has a score or a curve and is not the best."""
    best = run.best
    ended = run.experiments.exclude(trained_at=None)
    last = (ended.exclude(pk=best.pk) if best else ended).order_by("-number").first()
    found = [(best, "the best"), (last, "the last")]
    return tuple(dynamics_of(experiment, what) for experiment, what in found if experiment is not None)


def dynamics_of(experiment: Experiment, what: str) -> Dynamics:
    points, numbers = _points(experiment), told.numbers(experiment)
    values = {FACTS[name]: numbers.get(name) for name in FACTS}
    facts = {name: float(value) for name, value in values.items() if isinstance(value, int | float)}
    speeds = sorted(speed for row in points if isinstance(speed := row.get("tok_per_sec"), int | float))
    if speeds:
        facts["tokens/s"] = speeds[len(speeds) // 2]
    return Dynamics(experiment.number, what, tuple(_samples(points)), facts)


def _points(experiment: Experiment) -> list[dict[str, Any]]:
    part, rows = stream.read(experiment, stream.SERIES), list[dict[str, Any]]()
    while part.chunks and part.attempt == experiment.attempt:
        rows += [row for chunk in part.chunks for row in json.loads(chunk)]
        part = stream.read(experiment, stream.SERIES, after=part.next, attempt=part.attempt)
    rows = stream_reading.thin_curve(rows[: told.points(experiment)], POINTS)
    return [row for row in rows if isinstance(row.get("loss"), int | float) and math.isfinite(row["loss"])]


def _samples(points: Sequence[dict[str, Any]]) -> list[Sample]:
    """The points nearest to PLACES, by the percent that the training printed, or else by their order."""
    if not points:
        return []
    last = float(points[-1].get("step") or 0) or 1.0
    placed = [(float(row["percent"] if row.get("percent") is not None else 100 * row["step"] / last), row) for row in points]
    chosen = {id(row): (at, row) for place in PLACES for at, row in [min(placed, key=lambda pair: abs(pair[0] - place))]}
    return [Sample(at, row["loss"], _finite(row.get("grad_norm"))) for at, row in chosen.values()]


def _finite(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None
