"""One training from a worker's side: lay out the workspace, start the shim, follow its files, end it when told to."""

from __future__ import annotations

import contextlib
import json
import logging
import math
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil
from django.conf import settings

from experiments.loop import devices
from experiments.loop.errors import StageError
from experiments.loop.workspace import Workspace
from experiments.models import Experiment, stream
from experiments.states import Failure, State
from trainer.output import LineSplitter, Point, is_whole_step, parse_step, strip_controls
from trainer.shim import Result, Spec, is_locked, read_json, write_json

log = logging.getLogger(__name__)

POLL_SECONDS, FLUSH_SECONDS, BEAT_SECONDS = 0.03, 0.1, 2.0
SHIM_START_SECONDS = 10.0  # from the spawn until the shim holds its lock
LOG_CAP_BYTES = 4_000_000
KILL_GRACE_SECONDS = 3.0
SHIM = Path(settings.BASE_DIR) / "trainer" / "shim.py"
# What of our environment a training may see. No key, no URL of ours.
PASSED = ("PATH", "LANG", "LC_ALL", "TZ", "LD_LIBRARY_PATH", "CUDA_HOME", "AUTORESEARCH_THREADS", "SYSTEMROOT")

_data_ready: set[Path] = set()
_data_lock = threading.Lock()


class ShimLost(Exception):
    """The shim is gone and left no result."""


@dataclass(frozen=True)
class Outcome:
    result: Result
    log: str  # the whole log, controls stripped


def folder_of(experiment: Experiment) -> Path:
    return Path(settings.WORK_DIR) / experiment.workspace


def start(experiment: Experiment) -> None:
    """Lay out a fresh workspace without .git, fixed files from our own checkout on top, and start the detached shim."""
    program, folder = experiment.run.program, folder_of(experiment)
    shutil.rmtree(folder, ignore_errors=True)
    source, home = folder / "src", folder / "home"
    source.mkdir(parents=True)
    home.mkdir()
    Workspace(program.repo).export(experiment.commit, source)
    for name in program.fixed:
        shutil.copy(Path(settings.TEMPLATE_DIR) / name, source / name)
    spec = Spec(
        command=[part.replace("{python}", sys.executable) for part in program.command],
        env=environment(experiment, home),
        deadline_seconds=program.deadline_seconds,
        grace_seconds=KILL_GRACE_SECONDS,
        log_cap_bytes=LOG_CAP_BYTES,
        device_lock=str(devices.lock_path(experiment.device)),
    )
    write_json(folder / "spec.json", asdict(spec))
    with (folder / "shim.log").open("ab") as errors:
        process = subprocess.Popen(
            [sys.executable, "-I", str(SHIM), str(folder)],
            stdin=subprocess.DEVNULL, stdout=errors, stderr=errors, start_new_session=True, cwd=folder,
            env={"PATH": os.environ.get("PATH", "")},
        )
    threading.Thread(target=process.wait, daemon=True).start()  # reaped when it ends, by whoever started it


def environment(experiment: Experiment, home: Path) -> dict[str, str]:
    """The training's whole environment: an allow-list, never ours with some names taken out."""
    passed = {name: os.environ[name] for name in PASSED if name in os.environ}
    return {
        **passed,
        **devices.environment(experiment.device),
        "HOME": str(home),
        "TMPDIR": str(home),
        "PYTHONUNBUFFERED": "1",
        "AUTORESEARCH_CACHE_DIR": str(settings.DATA_DIR),
        "AUTORESEARCH_BUDGET": str(experiment.run.program.budget_seconds),
        "AUTORESEARCH_SEED": str(experiment.seed),
        "AUTORESEARCH_WORKSPACE": str(folder_of(experiment)),  # by which sweep() finds what is left of it
    }


def prepare_data(experiment: Experiment) -> None:
    """Corpus and tokenizer, once per worker: by the fixed prepare.py, outside the training."""
    script = Path(settings.TEMPLATE_DIR) / "prepare.py"
    if "prepare.py" not in experiment.run.program.fixed or script in _data_ready:
        return
    with _data_lock:
        if script in _data_ready:
            return
        Path(settings.DATA_DIR).mkdir(parents=True, exist_ok=True)
        env = {**os.environ, "AUTORESEARCH_CACHE_DIR": str(settings.DATA_DIR)}
        done = subprocess.run([sys.executable, str(script)], env=env, capture_output=True, text=True, check=False)
        if done.returncode:
            tail = (done.stdout + done.stderr).strip()[-1500:]
            raise StageError(Failure.CRASH, f"The data could not be prepared. `python {script.name}` said:\n{tail}")
        _data_ready.add(script)


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
    return Experiment.objects.filter(workspace=workspace, state=State.TRAINING).exists()


def end_orphans() -> None:
    """End trainings on this machine that were called off while no worker followed them, and clear their folders."""
    for folder in Path(settings.WORK_DIR).glob("*"):
        if not is_wanted(folder.name):
            stop_folder(folder)
            shutil.rmtree(folder, ignore_errors=True)


def remove(experiment: Experiment) -> None:
    """The streams hold all that is kept of a training; the folder goes."""
    if experiment.workspace:
        shutil.rmtree(folder_of(experiment), ignore_errors=True)


def follow(experiment: Experiment, is_stopping: Callable[[], bool]) -> Outcome | None:
    """Turn the shim's files into streams until it ends. None: told to let go (the worker stops), or the row has moved.

    Raises ShimLost when the shim is gone without a result.
    """
    folder = folder_of(experiment)
    follower = Follower(experiment, folder / "log")
    began = beat_at = time.monotonic()
    while True:
        alive = is_locked(folder / "lock")  # asked before the files are read: what it wrote at its end is read
        result = read_json(folder / "result.json")
        follower.poll(last=result is not None)
        if result is not None:
            return Outcome(Result(**result), follower.text())
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
        """Store what is new, at most ten times a second."""
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
            text = strip_controls(fresh.decode(errors="replace"))
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

    def text(self) -> str:
        try:
            return strip_controls(self.path.read_bytes().decode(errors="replace"))
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
