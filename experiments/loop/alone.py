"""One training without the loop, through the same sandbox, judge and device lock: what `train` and `doctor` run."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.conf import settings

from experiments.loop import devices, training
from experiments.loop.judging import Judged, judge
from trainer import launch, presets
from trainer.output import Summary, parse_summary, strip_controls
from trainer.spec import Result, is_locked, read_json, try_lock

TOKEN_DEADLINE = 20  # times the budget: a number of tokens takes as long as it takes
SHIM_LOG_CHARACTERS = 1500


@dataclass(frozen=True)
class Wish:
    preset: presets.Preset
    data: launch.Data
    device: str
    seconds: float
    source: str | None = None  # of train.py; None: the preset's
    tokens: int = 0  # train on so many instead of the seconds
    seed: int = 42
    sandbox: str = ""  # "": as it is set


@dataclass(frozen=True)
class Ended:
    """What came of it."""

    judged: Judged
    result: Result
    log: str
    summary: Summary | None
    report: dict[str, Any]  # the judge's, {} where there was no exam


@contextlib.contextmanager
def scratch() -> Iterator[Path]:
    """A place for one training under VAR_DIR/train, gone afterwards; what commands that were killed have left goes first."""
    work = Path(settings.VAR_DIR) / "train"
    work.mkdir(parents=True, exist_ok=True)
    _end_leftovers(work)
    folder = Path(tempfile.mkdtemp(dir=work))
    lock = os.open(folder, os.O_RDONLY)
    try_lock(lock)  # ours as long as we live
    try:
        yield folder / "workspace"
    finally:
        training.stop_folder(folder / "workspace")  # where it still trains, or waits for its device
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def _end_leftovers(work: Path) -> None:
    for folder in work.iterdir():
        if not is_locked(folder):
            training.stop_folder(folder / "workspace")
            shutil.rmtree(folder, ignore_errors=True)


def job(folder: Path, wish: Wish) -> launch.Job:
    """Its data must be prepared. Raises LaunchError."""
    preset = wish.preset
    source = wish.source
    if source is None:
        source = presets.apply((launch.TEMPLATE / "train.py").read_text(), preset.constants)

    def export(code: Path, text: str = source) -> None:
        (code / "train.py").write_text(text)

    return launch.Job(
        folder=folder, export=export, command=["{python}", "train.py"], data=wish.data, data_dir=launch.prepare(wish.data),
        device=wish.device, device_lock=devices.lock_path(wish.device), budget_seconds=wish.seconds,
        deadline_seconds=wish.seconds * (TOKEN_DEADLINE if wish.tokens else 1) + preset.grace_seconds,
        exam_seconds=preset.grace_seconds,
        seed=wish.seed, fixed=launch.fixed_files(["prepare.py"]), sandbox=wish.sandbox or settings.SANDBOX,
        read=settings.SANDBOX_READ, env={"AUTORESEARCH_TOKENS": str(wish.tokens)} if wish.tokens else {},
    )  # fmt: skip


def conclude(job: launch.Job) -> Ended:
    """What it is worth, by the rules of the loop. Raises LaunchError where its shim left no result."""
    stored, report = read_json(job.folder / "result.json"), read_json(job.folder / "exam.json")
    if stored is None:
        words = (job.folder / "shim.log").read_text(errors="replace")[-SHIM_LOG_CHARACTERS:].strip()
        raise launch.LaunchError(f"The training's shim ended without a result. {words}")
    result, log = Result(**stored), _log(job.folder)
    summary = parse_summary(log)
    judged = judge(
        result, log, summary, report, has_exam=True, metric="val_bpb", budget_seconds=job.budget_seconds,
        deadline_seconds=job.deadline_seconds, startup_seconds=None,
    )  # fmt: skip
    return Ended(judged, result, log, summary, report or {})


def _log(folder: Path) -> str:
    try:
        return strip_controls((folder / "log").read_text(errors="replace"))
    except FileNotFoundError:  # it never started
        return ""
