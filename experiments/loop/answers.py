"""What each token of the held-out text costs the models of a run, written by the judge for later judges: hidden places are
drawn from where a model is better than the best and the baseline. Without these files they are drawn blindly.

    var/answers/EXPERIMENT.npz

Kept for the baseline and the best of a run that goes on, and for what may still be kept.
"""

from __future__ import annotations

import logging
import os
import shutil
from pathlib import Path

from django.conf import settings

from experiments.loop import caches
from experiments.models import Experiment
from experiments.states import Kind, State
from trainer.judge import ANSWERS

log = logging.getLogger(__name__)


def to_compare(experiment: Experiment) -> list[Path]:
    """Of the best, then of the baseline, where they are there and not the same."""
    run = experiment.run
    baseline = run.experiments.filter(kind=Kind.BASELINE, state=State.KEPT).first()
    rows = dict.fromkeys(row.pk for row in (run.best, baseline) if row is not None and row != experiment)
    return [path for path in map(_path, rows) if path.exists()]


def take(experiment: Experiment, workspace: Path) -> None:
    """Of a training that has a score: it may be kept."""
    made = workspace / ANSWERS
    if not made.exists():
        return
    try:
        folder = Path(settings.ANSWERS_DIR)
        folder.mkdir(exist_ok=True)
        shutil.copy(made, fresh := folder / f"{experiment.pk}.new")
        os.replace(fresh, _path(experiment.pk))
        _prune(folder)
    except OSError as error:
        log.warning("the answers of #%s are not kept: %s", experiment.number, error)


def _path(pk: int) -> Path:
    return Path(settings.ANSWERS_DIR) / f"{pk}.npz"


def _prune(folder: Path) -> None:
    for path in folder.glob("*.npz"):
        if not caches.may_serve(path.stem, Kind.BASELINE):
            path.unlink(missing_ok=True)
