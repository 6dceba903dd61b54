"""Rows for tests of pages and models, without git or training."""

from __future__ import annotations

import json
from typing import Any

from django.utils import timezone

from experiments.models import BriefVersion, Experiment, Program, Run, stream
from experiments.states import Kind, State

DIFF = """--- a/train.py
+++ b/train.py
@@ -10,3 +10,3 @@
 DEPTH = 2
-MATRIX_LR = 0.06
+MATRIX_LR = 0.08
 WARMDOWN = 0.5
"""


def make_program(name: str = "small-gpt", **fields: Any) -> Program:
    defaults: dict[str, Any] = {
        "command": ["{python}", "train.py"], "editable": ["train.py"], "fixed": ["prepare.py"], "budget_seconds": 20,
    }
    program = Program.objects.create(name=name, **{**defaults, **fields})
    BriefVersion.objects.create(program=program, number=1, text="# Aim\n\nLower val_bpb.\n", author="template")
    return program


def make_run(program: Program | None = None, tag: str = "demo", **fields: Any) -> Run:
    program = program or make_program()
    return Run.objects.create(program=program, tag=tag, base_commit="0" * 40, tip="0" * 40, **fields)


def make_experiment(run: Run, state: State = State.KEPT, score: float | None = None, **fields: Any) -> Experiment:
    number = fields.pop("number", run.experiments.count())
    defaults: dict[str, Any] = {
        "kind": Kind.IDEA if number else Kind.BASELINE, "parent": run.best, "brief": run.program.brief,
        "description": f"MATRIX_LR 0.06 → 0.{number:02d}" if number else "baseline", "diff": DIFF if number else "",
        "commit": f"{number:040x}", "summary": {"peak_vram_mb": 512.0, "num_steps": 300, "training_seconds": 20.0},
        "proposed_at": timezone.now(),
    }
    if state not in {State.PROPOSING, State.REVIEWING, State.READY}:
        defaults["training_at"] = timezone.now()
    if state in {State.KEPT, State.DISCARDED, State.FAILED}:
        defaults["finished_at"] = defaults["trained_at"] = timezone.now()
    return Experiment.objects.create(run=run, number=number, state=state, score=score, **{**defaults, **fields})


def add_text(experiment: Experiment, name: str, text: str) -> None:
    start = stream.cursor(experiment, name)
    stream.append(experiment, name, start, start + len(text.encode()), text)


def add_points(experiment: Experiment, losses: list[float]) -> None:
    """Points as the loop writes them: see experiments/loop/training.py."""
    start = stream.cursor(experiment, stream.SERIES)
    points = [
        {"step": start + i, "loss": loss, "seconds": (start + i) * 0.06, "tokens": (start + i) * 2048,
         "percent": (start + i) / 3, "lrm": 1.0, "dt_ms": 60.0, "tok_per_sec": 34000.0, "mfu": None,
         "remaining_s": 20 - (start + i) * 0.06}
        for i, loss in enumerate(losses)
    ]
    stream.append(experiment, stream.SERIES, start, start + len(points), json.dumps(points))
