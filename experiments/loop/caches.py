"""What was compiled for an experiment: its children start with a copy of it, if it was kept. Rows say who was kept.

    var/compiled/PROGRAM/DEVICE AND TORCH/EXPERIMENT

Lives as long as its experiment may still be kept, or is the best of a run that goes on. On GPUs alone: nothing of ours is
compiled on a CPU, and what one training can leave for another is as little as possible. A repeat gets nothing, nor does what
is examined anew: what it is to confirm must come of its own training.
"""

from __future__ import annotations

import logging
import re
from pathlib import Path

from django.conf import settings

from experiments.loop import devices
from experiments.models import Experiment, stream
from experiments.states import LIVE, Failure, Kind, RunState, State
from trainer import compiled, folders, gpus
from trainer.spec import read_json

log = logging.getLogger(__name__)
DOUBTED = ".doubted-by-"
COMPILER = re.compile(r"torch/_inductor|torch/_dynamo/package|/triton/")  # in a traceback


def of_parent(experiment: Experiment, device: str) -> Path | None:
    """What its training starts with; None: nothing."""
    parent = experiment.parent
    by_itself = experiment.kind in {Kind.REPEAT, Kind.REEXAMINED}
    if not _is_lent(device) or parent is None or parent.state != State.KEPT or by_itself:
        return None
    folder = _folder(parent, device)
    return folder if folder.is_dir() else None


def _is_lent(device: str) -> bool:
    return settings.KEEP_COMPILED and gpus.is_gpu(device)


def take(experiment: Experiment, workspace: Path) -> None:
    """Of a training that has a score: it may be kept."""
    if _is_lent(experiment.device):
        asked = experiment.run.program.has_exam  # what it has written since then may hold what it was asked
        compiled.keep(workspace / (compiled.BEFORE if asked else "out"), _folder(experiment, experiment.device))
    _prune()


def settle(experiment: Experiment) -> bool:
    """Whether its training got as far as a step. If it started without what was put aside, that is judged by it."""
    began = stream.cursor(experiment, stream.SERIES) > 0
    for doubted in _folder(experiment, experiment.device).parent.glob(f"*{DOUBTED}{experiment.pk}"):
        if began:
            folders.remove(doubted)
        else:
            _rename(doubted, doubted.with_name(doubted.name.partition(DOUBTED)[0]))
    return began


def are_to_blame(experiment: Experiment, workspace: Path, reason: Failure, exit_code: int | None, log: str) -> bool:
    """Whether it may have failed by what it was lent: then that is put aside, and it starts once more, cold."""
    lent = (read_json(workspace / "spec.json") or {}).get("compiled", "")
    by_signal = exit_code is not None and exit_code < 0
    is_likely = reason == Failure.TIMEOUT or (reason == Failure.CRASH and (by_signal or COMPILER.search(log)))
    if not lent or not is_likely:
        return False
    _rename(Path(lent), Path(f"{lent}{DOUBTED}{experiment.pk}"))
    return not Path(lent).exists()  # else it would start with it again


def _folder(experiment: Experiment, device: str) -> Path:
    facts = devices.facts(device)
    kind = re.sub(r"[^\w.+-]+", "-", f"{facts['device']}-torch-{facts['torch']}")
    return Path(settings.COMPILED_DIR) / str(experiment.run.program_id) / kind / str(experiment.pk)


def _rename(old: Path, new: Path) -> None:
    try:
        old.rename(new)
    except OSError as error:  # another child has put it aside, or it was removed
        log.info("%s was not renamed: %s", old, error)


def _prune() -> None:
    for path in Path(settings.COMPILED_DIR).glob("*/*/*"):
        pk, doubted, by = path.name.partition(DOUBTED)
        if not may_serve(pk) or (doubted and not _is_live(by)):
            folders.remove(path)


def may_serve(pk: str, *kinds: Kind) -> bool:
    """Whether this experiment may still be kept, or is the best of a run that goes on, or one of these kinds there."""
    row = Experiment.objects.filter(pk=int(pk)).select_related("run").first() if pk.isdigit() else None
    if row is None or row.state in LIVE:
        return row is not None
    return row.run.state != RunState.ENDED and (row.kind in kinds or row.run.best == row)


def _is_live(pk: str) -> bool:
    return pk.isdigit() and Experiment.objects.filter(pk=int(pk), state__in=LIVE).exists()
