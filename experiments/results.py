"""results.tsv of a run, in the upstream's exact form."""

from __future__ import annotations

import math

from experiments.models import Experiment, Run
from experiments.states import State
from trainer.output import strip_controls

HEADER = ("commit", "val_bpb", "memory_gb", "status", "description")
_STATUS = {State.KEPT: "keep", State.REVERTED: "keep", State.DISCARDED: "discard", State.FAILED: "crash"}


def results_tsv(run: Run) -> str:
    """One line per experiment that trained or failed, in order; a crash has zeros, as upstream.

    Of an imported run every row, also those that came without a commit.
    """
    done = run.experiments.filter(state__in=_STATUS).order_by("number").defer("prompt", "diff", "memo")
    if not run.source:
        done = done.filter(commit__gt="")
    return "".join("\t".join(row) + "\n" for row in [HEADER, *(_row(experiment) for experiment in done)])


def _row(experiment: Experiment) -> tuple[str, ...]:
    status = _STATUS[State(experiment.state)]
    crashed = status == "crash" or experiment.score is None or not math.isfinite(experiment.score)
    score, memory = (0.0, 0.0) if crashed else (experiment.score or 0.0, experiment.memory_gb)
    description = " ".join(strip_controls(experiment.description).split())  # a tab would be another column
    commit = experiment.commit if experiment.commit == "baseline" else experiment.commit[:7] or "unknown"
    return commit, f"{score:.6f}", f"{memory:.1f}", status, description
