"""Before an edit costs device time: its rehearsal on this machine's CPU, and what follows from it."""

from __future__ import annotations

import logging
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from django.conf import settings

from experiments.loop import chain, devices, training
from experiments.loop.workspace import Workspace
from experiments.models import Experiment
from experiments.researcher.base import Context, Proposal
from experiments.researcher.edit_error import EditError
from experiments.researcher.edits import edits_to_json
from trainer import gpus, launch
from trainer.preflight import STAGES, Card, Preflight, against, rehearse
from trainer.spec import is_locked

log = logging.getLogger(__name__)
GPU_SECONDS = 60.0
OLD_SECONDS = 3600.0  # a folder that a killed worker left behind


class Refused(EditError):
    """The edited program would not train. The words are for the researcher."""


def check(
    experiment: Experiment, context: Context, proposal: Proposal, files: Mapping[str, str], is_ours: Callable[[], None]
) -> None:
    """Rehearse the edit where that is possible, and store what was found. Raises Refused.

    A refusal is believed only where the unedited parent comes further than the edit did: what fails without the edit too
    says nothing about it.
    """
    program, seconds = experiment.run.program, seconds_of(devices.names()[0])
    if not seconds or not program.has_exam:
        return
    assert context.best_number is not None, "an idea builds on something"
    parent = experiment.run.experiments.get(number=context.best_number)
    card = devices.card(devices.names()[0])
    found = _rehearse(experiment, parent, files, card, seconds, is_ours)
    if found.ok is False or (card and found.ok and parent.summary.get("peak_vram_mb")):
        control = _control(parent, card, seconds, is_ours)
        found = against(found, card, control.get("memory_mb"), parent.summary.get("peak_vram_mb"))
    if found.ok is False and not _goes_further(control, found.stage):
        why = f"#{parent.number}, which trained, fails in the rehearsal too: it says nothing here."
        found = replace(found, ok=None, error=f"{why} {found.error}")
    before = experiment.preflight
    tally = {
        "rounds": before.get("rounds", 0) + 1, "refused": before.get("refused", 0) + (found.ok is False),
        "total_seconds": round(before.get("total_seconds", 0.0) + found.seconds, 2), "device": card.name if card else "CPU",
    }  # fmt: skip
    experiment.store(preflight={**found.as_json(), **tally})
    if found.ok is False:
        _keep(experiment, parent, proposal, files)
        raise Refused(
            "The edited program was rehearsed on the CPU before its training, and fails "
            f"({_where(found.stage)}):\n{found.error}"
        )


def seconds_of(device: str) -> float:
    """The longest that a rehearsal may take on this machine; 0: none."""
    if settings.PREFLIGHT_SECONDS >= 0:
        return float(settings.PREFLIGHT_SECONDS)
    return GPU_SECONDS if gpus.is_gpu(device) else 0.0  # on a CPU it would take time from the training whose score counts


def _rehearse(
    experiment: Experiment, parent: Experiment, files: Mapping[str, str], card: Card | None, seconds: float,
    is_ours: Callable[[], None],
) -> Preflight:  # fmt: skip
    """The parent's commit with `files` over it."""
    program = experiment.run.program

    def export(source: Path) -> None:
        Workspace(program.repo).export(parent.commit, source)
        for path, text in files.items():
            (source / path).write_text(text)

    try:
        data = training.data_of_run(experiment.run)
        folder = _folder()
        job = launch.Job(
            folder=folder, export=export, command=program.command, data=data,
            data_dir=launch.prepare(data, is_ours), device="cpu", device_lock=folder,
            budget_seconds=program.budget_seconds, deadline_seconds=seconds, seed=experiment.seed,
            fixed=launch.fixed_files(program.fixed, Path(settings.TEMPLATE_DIR)), sandbox=training.sandbox_of(program),
            read=settings.SANDBOX_READ,
        )  # fmt: skip
        return rehearse(job, card, is_ours)
    except (launch.LaunchError, OSError) as error:
        log.warning("no rehearsal of #%s: %s", experiment.number, error)
        return Preflight(None, error=f"It could not be rehearsed: {error}")


def _control(parent: Experiment, card: Card | None, seconds: float, is_ours: Callable[[], None]) -> dict[str, Any]:
    """What the rehearsal says of the parent, which has trained. Asked once, for all its children."""
    known: dict[str, Any] = parent.preflight
    if not known.get("stage"):
        own = _rehearse(parent, parent, {}, card, seconds, is_ours)
        known = {**known, **own.as_json(), "device": card.name if card else "CPU"}
        type(parent).objects.filter(pk=parent.pk).update(preflight=known)
    return known


def _goes_further(control: Mapping[str, Any], stage: str) -> bool:
    """Whether the unedited program passes what the edited one failed at."""
    theirs = control.get("stage")
    return bool(control.get("ok")) or (theirs in STAGES and STAGES.index(theirs) > STAGES.index(stage))


def _keep(experiment: Experiment, parent: Experiment, proposal: Proposal, files: Mapping[str, str]) -> None:
    """What was refused stays: its commit and diff, for whoever wants to look or to train it anyway."""
    commit = chain.commit_files(experiment, parent, files, proposal.description)
    diff = Workspace(experiment.run.program.repo).diff(parent.commit, commit)
    experiment.store(
        commit=commit, diff=diff, parent=parent, description=proposal.description[:200], hypothesis=proposal.hypothesis,
        edits=edits_to_json(proposal.edits),
    )  # fmt: skip


def _folder() -> Path:
    """A place for one rehearsal; what dead ones left goes."""
    root = Path(settings.PREFLIGHT_DIR)
    root.mkdir(parents=True, exist_ok=True)
    for old in root.iterdir():
        if time.time() - old.stat().st_mtime > OLD_SECONDS and not any(is_locked(lock) for lock in old.glob("*/lock")):
            shutil.rmtree(old, ignore_errors=True)
    return Path(tempfile.mkdtemp(dir=root)) / "work"


def _where(stage: str) -> str:
    return {
        "import": "it cannot be read", "build": "before the first batch", "step": "in the first steps",
        "score": "in the exam", "end": "after the exam",
    }.get(stage, stage)  # fmt: skip
