"""What was compiled for an experiment: its children start with a copy of it, if it was kept. Rows say who was kept.

    var/compiled/PROGRAM/DEVICE AND TORCH/EXPERIMENT

Lives as long as its experiment may still be kept, or is the best of a run that goes on.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from pathlib import Path

from django.conf import settings

from experiments.loop import devices
from experiments.models import Experiment, stream
from experiments.states import LIVE, Failure, RunState, State
from trainer import compiled
from trainer.spec import read_json

DOUBTED = ".doubted-by-"
COMPILER = re.compile(r"torch/_inductor|torch/_dynamo/package|/triton/")  # in a traceback


def of_parent(experiment: Experiment, device: str) -> Path | None:
    """What its training starts with; None: nothing."""
    parent = experiment.parent
    if parent is None or parent.state != State.KEPT:
        return None
    folder = _folder(parent, device)
    return folder if folder.is_dir() else None


def take(experiment: Experiment, workspace: Path) -> None:
    """Of a training that has a score: it may be kept."""
    folder = _folder(experiment, experiment.device)
    compiled.keep(workspace / "out", folder)
    _prune(folder.parent)


def settle(experiment: Experiment) -> bool:
    """Whether its training got as far as a step. If it started without what was put aside, that is judged by it."""
    began = stream.cursor(experiment, stream.SERIES) > 0
    for doubted in _folder(experiment, experiment.device).parent.glob(f"*{DOUBTED}{experiment.pk}"):
        if began:
            shutil.rmtree(doubted, ignore_errors=True)
        else:
            doubted.rename(doubted.with_name(doubted.name.partition(DOUBTED)[0]))
    return began


def are_to_blame(experiment: Experiment, workspace: Path, reason: Failure, exit_code: int | None, log: str) -> bool:
    """Whether it may have failed by what it was lent: then that is put aside, and it starts once more, cold."""
    lent = (read_json(workspace / "spec.json") or {}).get("compiled", "")
    by_signal = exit_code is not None and exit_code < 0
    if not lent or reason != Failure.CRASH or not (by_signal or COMPILER.search(log)):
        return False
    with contextlib.suppress(OSError):  # another child has put it aside, or it was removed
        os.rename(lent, f"{lent}{DOUBTED}{experiment.pk}")
    return True


def _folder(experiment: Experiment, device: str) -> Path:
    facts = devices.facts(device)
    kind = re.sub(r"[^\w.+-]+", "-", f"{facts['device']}-torch-{facts['torch']}")
    return Path(settings.COMPILED_DIR) / str(experiment.run.program_id) / kind / str(experiment.pk)


def _prune(folder: Path) -> None:
    for path in folder.iterdir() if folder.is_dir() else ():
        pk = path.name.partition(DOUBTED)[0]
        row = Experiment.objects.filter(pk=int(pk)).select_related("run").first() if pk.isdigit() else None
        if row is None or not _may_serve(row):
            shutil.rmtree(path, ignore_errors=True)


def _may_serve(experiment: Experiment) -> bool:
    if experiment.state == State.KEPT:
        return experiment.run.state != RunState.ENDED and experiment.run.best == experiment
    return experiment.state in LIVE
