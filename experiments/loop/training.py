"""One training from a worker's side: launch it, follow its files, end it when told to."""

from __future__ import annotations

import contextlib
import json
import logging
import math
import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import psutil
from django.conf import settings

from experiments import events
from experiments.loop import answers, caches, devices
from experiments.loop.errors import NotReady
from experiments.loop.workspace import Workspace
from experiments.models import Experiment, Program, Run, stream
from experiments.models.text import Text
from experiments.states import Kind, RunState, State
from trainer import folders, launch
from trainer.output import LineSplitter, Point, is_whole_step, parse_step, strip_controls
from trainer.spec import AWAITED, GO, Result, is_locked, read_json

log = logging.getLogger(__name__)

POLL_SECONDS, FLUSH_SECONDS, BEAT_SECONDS = 0.03, 0.2, 2.0
SHIM_START_SECONDS = 10.0  # from the spawn until the shim holds its lock
KILL_GRACE_SECONDS = 3.0
READY = "ready"  # begins the name of a workspace that stands by
TELL_SECONDS = 1.5  # between two words to the pages on how far a download is


class ShimLost(Exception):
    """The shim is gone and left no result."""


@dataclass(frozen=True)
class Outcome:
    result: Result
    log: str  # the whole log, controls stripped
    report: dict[str, Any] | None = None  # the judge's, where the exam has begun
    before_exam: str = ""  # of the log: what is older than that


def folder_of(experiment: Experiment) -> Path:
    return Path(settings.WORK_DIR) / experiment.workspace


def start(experiment: Experiment) -> None:
    """Let go what stands by for it, else lay out a fresh workspace of its commit and start its shim. Raises NotReady.

    Whatever goes wrong, nothing is left that waits, or that has half of the code.
    """
    try:
        wish = job(experiment, experiment.device)
        if launch.grant(wish):
            return
        if is_locked(wish.folder / "lock"):
            stop_folder(wish.folder)
        process = launch.start(wish)
    except BaseException as error:
        clear(folder_of(experiment))
        if isinstance(error, launch.LaunchError):
            raise NotReady(error.cause, str(error)) from error
        raise
    threading.Thread(target=process.wait, daemon=True).start()  # reaped when it ends, by whoever started it


def job(experiment: Experiment, device: str) -> launch.Job:
    """Raises LaunchError."""
    program, data = experiment.run.program, data_of_run(experiment.run)
    return launch.Job(
        folder=folder_of(experiment),
        export=lambda source: Workspace(program.repo).export(experiment.commit, source),
        command=program.command,
        data=data,
        data_dir=launch.prepare(data) if program.has_exam else None,
        device=device,
        device_lock=devices.lock_path(device),
        compiled=caches.of_parent(experiment, device),
        budget_seconds=program.budget_seconds,
        deadline_seconds=program.deadline_seconds,
        exam_seconds=program.grace_seconds,
        secret_below=_best_score(experiment),
        references=answers.to_compare(experiment),
        seed=experiment.seed,
        kill_grace_seconds=KILL_GRACE_SECONDS,
        fixed=launch.fixed_files(program.fixed, Path(settings.TEMPLATE_DIR)),
        sandbox=sandbox_of(program),
        read=settings.SANDBOX_READ,
    )


def sandbox_of(program: Program) -> str:
    """The setting; where that leaves it to the machine, what an LLM or agent wrote needs a person's word to do without."""
    is_ours = program.researcher == Program.Researcher.SWEEP
    return settings.SANDBOX if is_ours or program.unprotected or settings.SANDBOX != "auto" else "ask"


def data_of(program: Program) -> launch.Data:
    return launch.Data(Path(settings.DATA_DIR), program.dataset, program.vocab_size, program.seq_len)


def data_of_run(run: Run, check: Callable[[], None] = lambda: None) -> launch.Data:
    """A run goes on with the text that it began on, whatever is set since: two cannot be compared. Raises LaunchError."""
    data, began = began_on(run)
    return launch.on_text(data, began.validation_hash, began.train_hash, check) if began else data


def began_on(run: Run) -> tuple[launch.Data, Text | None]:
    data, began = data_of(run.program), run.text if run.program.has_exam else None
    return (replace(data, dataset=began.dataset), began) if began else (data, None)


def _best_score(experiment: Experiment) -> float | None:
    """What a score must beat to be kept: only then is the secret shard scored too. None: it is kept whatever it scores."""
    best = experiment.run.best
    return best.score if best and experiment.kind != Kind.REEXAMINED else None


class NotWanted(Exception):
    """The data is not needed now: the run was paused, or this worker ends."""


def prepare_data(experiment: Experiment, check: Callable[[], None]) -> None:
    """Corpus and tokenizer, once per worker and data set: by the fixed prepare.py, outside the training. Raises NotReady.

    A download takes minutes: pages are told how far it is, and `check` may raise to give up.
    """
    if not experiment.run.program.has_exam:
        return
    progress, told_at = began_on(experiment.run)[0].progress, 0.0

    def look() -> None:
        nonlocal told_at
        check()
        if time.time() - told_at > TELL_SECONDS and progress.exists():
            told_at = time.time()
            events.changed(experiment.run_id, "data", experiment.pk)

    try:
        launch.prepare(data_of_run(experiment.run, look), look)
    except launch.LaunchError as error:
        raise NotReady(error.cause, str(error)) from error


def _report(run: Run, folder: Path) -> dict[str, Any] | None:
    """The judge's, and whether the text was an earlier one than a new run would get."""
    report, spec = read_json(folder / "exam.json"), read_json(folder / "spec.json") or {}
    used = spec.get("env", {}).get("AUTORESEARCH_DATA", "")
    return report and {**report, "earlier_text": bool(used) and launch.is_earlier(began_on(run)[0], used)}


def stop(experiment: Experiment) -> None:
    """End the shim with everything under it, and wait for that."""
    stop_folder(folder_of(experiment))


def stop_folder(folder: Path) -> None:
    state = read_json(folder / "state.json") or {}
    give_up = time.monotonic() + KILL_GRACE_SECONDS + 5
    while is_locked(folder / "lock") and time.monotonic() < give_up:
        state = state or read_json(folder / "state.json") or {}
        if state:
            with contextlib.suppress(ProcessLookupError):  # the lock is held, so the pid is the shim's own
                os.kill(state["pid"], signal.SIGTERM)
        time.sleep(0.1)
    sweep(folder)


def sweep(folder: Path) -> None:
    """Kill what a dead shim left behind: every process that carries the workspace's name in its environment."""
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.environ().get("AUTORESEARCH_WORKSPACE") == str(folder):
                process.kill()


def devices_in_use() -> set[str]:
    """Devices of this machine that a training has been given; its shim may not hold the lock yet."""
    here = Experiment.objects.filter(state=State.TRAINING, worker__startswith=f"{socket.gethostname()}:")
    return set(here.values_list("device", flat=True))


def is_wanted(workspace: str) -> bool:
    awaited = is_awaited(workspace)  # asked first: one that is given its training now has its row already
    return is_training(workspace) or awaited


def is_training(workspace: str) -> bool:
    return Experiment.objects.filter(workspace=workspace, state=State.TRAINING).exists()


def is_awaited(workspace: str) -> bool:
    """Whether it is one that stands by (see standby.py) for a run that goes on, and has no training yet."""
    kind, _, rest = workspace.partition("-")
    run, granted = rest.partition("-")[0], (Path(settings.WORK_DIR) / workspace / GO).exists()
    return kind == READY and not granted and run.isdigit() and Run.objects.filter(pk=run, state=RunState.ACTIVE).exists()


def end_orphans() -> None:
    """End what trains or stands by on this machine and was called off while nobody followed it, and clear its folder."""
    for folder in Path(settings.WORK_DIR).glob("*"):
        try:
            if not is_wanted(folder.name):
                clear(folder)
            elif launch.stands_by(folder):
                (folder / AWAITED).touch()
        except OSError as error:  # what one training has left must not stop the others
            log.warning("%s: %s", folder, error)


def clear(folder: Path) -> None:
    if folder.exists():
        stop_folder(folder)
        folders.remove(folder)


def remove(experiment: Experiment) -> None:
    """The streams hold all that is kept of a training; the folder goes."""
    if experiment.workspace:
        folders.remove(folder_of(experiment))


def follow(
    experiment: Experiment, is_stopping: Callable[[], bool], meanwhile: Callable[[Experiment], None] = lambda _: None
) -> Outcome | None:
    """Turn the shim's files into streams until it ends. None: told to let go (the worker stops), or the row has moved.

    `meanwhile` is called at every heartbeat. Raises ShimLost when the shim is gone without a result.
    """
    folder = folder_of(experiment)
    if launch.stands_by(folder):  # the worker died before it could give it its training
        stop_folder(folder)
        raise ShimLost
    follower = Follower(experiment, folder / "log")
    began = beat_at = time.monotonic()
    while True:
        alive = is_locked(folder / "lock")  # asked before the files are read: what it wrote at its end is read
        result = read_json(folder / "result.json")
        follower.poll(last=result is not None)
        if result is not None:
            ended = Result(**result)
            before = follower.text(ended.before_exam_bytes)
            return Outcome(ended, follower.text(), _report(experiment.run, folder), before)
        if not alive and time.monotonic() - began > SHIM_START_SECONDS:
            raise ShimLost
        if not alive and (folder / "state.json").exists() and not is_locked(folder / "lock"):
            if read_json(folder / "result.json") is None:
                raise ShimLost
            continue
        if is_stopping():
            return None
        if time.monotonic() - beat_at > BEAT_SECONDS:
            beat_at = time.monotonic()
            if not experiment.beat():
                return None
            meanwhile(experiment)
        time.sleep(POLL_SECONDS)


class Follower:
    """Reads a growing log into the streams `log` and `series`. Starts again from the beginning after a take-over:
    what the streams already hold is skipped by their cursors."""

    def __init__(self, experiment: Experiment, path: Path) -> None:
        self.experiment, self.path = experiment, path
        self.read_bytes = self.points_seen = 0
        self.log_cursor = stream.cursor(experiment, stream.LOG)
        self.series_cursor = stream.cursor(experiment, stream.SERIES)
        self.splitter = LineSplitter()
        self.last_step = -1
        self.seconds = self.tokens = 0.0
        self.flushed_at = 0.0

    def poll(self, *, last: bool = False) -> None:
        """Store what is new, at most five times a second: each costs the worker, the server and every open page."""
        if not last and time.monotonic() - self.flushed_at < FLUSH_SECONDS:
            return
        while self._poll_once() and last:
            pass

    def _poll_once(self) -> bool:
        try:
            with self.path.open("rb") as file:
                file.seek(self.read_bytes)
                data = file.read(256_000)
        except FileNotFoundError:
            return False
        data = _whole_characters(data)
        if not data:
            return False
        self.flushed_at = time.monotonic()
        start, self.read_bytes = self.read_bytes, self.read_bytes + len(data)
        text = data.decode(errors="replace")
        self._store_log(start, data)
        self._store_points(self._points(text))
        return True

    def _store_log(self, start: int, data: bytes) -> None:
        fresh = data[max(0, self.log_cursor - start) :]
        if fresh:
            begin = start + len(data) - len(fresh)
            text = strip_controls(fresh.decode(errors="replace"), colours=True)
            stream.append(self.experiment, stream.LOG, begin, begin + len(fresh), text)

    def _points(self, text: str) -> list[dict[str, Any]]:
        lines = self.splitter.feed(text)
        if is_whole_step(self.splitter.pending):
            lines = [*lines, self.splitter.pending]
        points = []
        for line in lines:
            point = parse_step(line)
            if point is None or point.step == self.last_step:
                continue
            self.last_step = point.step
            self._advance(point)
            points.append(self._as_row(point))
        return points

    def _advance(self, point: Point) -> None:
        """Seconds and tokens so far: a log line gives only this step's share, or what remains of the budget."""
        budget = self.experiment.run.program.budget_seconds
        if point.percent is not None and point.percent > 0:
            self.seconds = budget * min(point.percent, 100.0) / 100
        elif point.dt_ms is not None:
            self.seconds += 0.0 if point.percent == 0 else point.dt_ms / 1000
        if point.dt_ms is not None and point.tok_per_sec is not None:
            self.tokens = point.dt_ms / 1000 * point.tok_per_sec * (point.step + 1)

    def _as_row(self, point: Point) -> dict[str, Any]:
        row = {**asdict(point), "seconds": round(self.seconds, 3), "tokens": round(self.tokens)}
        return {key: (value if _is_finite(value) else None) for key, value in row.items()}

    def _store_points(self, points: list[dict[str, Any]]) -> None:
        start = self.points_seen
        self.points_seen += len(points)
        fresh = points[max(0, self.series_cursor - start) :]
        if fresh:
            begin = self.points_seen - len(fresh)
            stream.append(self.experiment, stream.SERIES, begin, self.points_seen, json.dumps(fresh))

    def text(self, most_bytes: int | None = None) -> str:
        try:
            return strip_controls(self.path.read_bytes()[:most_bytes].decode(errors="replace"))
        except FileNotFoundError:
            return ""


def _is_finite(value: Any) -> bool:
    return not isinstance(value, float) or math.isfinite(value)


def _whole_characters(data: bytes) -> bytes:
    """Without a UTF-8 character that is cut at the end (at most 3 bytes)."""
    for back in range(1, min(4, len(data) + 1)):
        byte = data[-back]
        if byte & 0xC0 == 0x80:
            continue
        size = 4 if byte >= 0xF0 else 3 if byte >= 0xE0 else 2 if byte >= 0xC0 else 1
        return data[:-back] if size > back else data
    return data
