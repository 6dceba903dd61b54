"""The shim's side of an exam: the channel's folder and the judge's process. What passes through it is judge.py's.

The folder is in shared memory where there is room, with our lock on it: the next start removes those of the dead.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from trainer.processes import children_seconds, die_with_parent
from trainer.spec import ExamSpec, is_locked, read_json, try_lock

JUDGE = Path(__file__).resolve().parent / "judge.py"
SHARED_MEMORY, PREFIX = Path("/dev/shm"), "autoresearch-"
ROOM_BYTES = 5 * 2**29  # two slots of logits of at most 1 GiB, and what goes with them
READY_SECONDS, FINISH_SECONDS = 10.0, 10.0
FRESH_SECONDS = 60.0  # a folder may be made and not yet locked


class JudgeFailed(Exception):
    """The exam cannot be held; the words say why."""


def choose_folder(workspace: Path, shared_memory: Path = SHARED_MEMORY) -> Path:
    """Where the channel shall be: in shared memory, else in the workspace, which is slower and always there."""
    with contextlib.suppress(OSError):
        if os.access(shared_memory, os.W_OK) and shutil.disk_usage(shared_memory).free >= ROOM_BYTES:
            return shared_memory / f"{PREFIX}{secrets.token_hex(8)}"
    return workspace / "exam"


def sweep(shared_memory: Path = SHARED_MEMORY) -> None:
    """Remove the channels of shims that were killed."""
    for folder in shared_memory.glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError):
            if time.time() - folder.stat().st_mtime > FRESH_SECONDS and not is_locked(folder):
                shutil.rmtree(folder, ignore_errors=True)


class Channel:
    """`with Channel(...) as channel:` the judge is there, and ends with the block."""

    def __init__(self, workspace: Path, exam: ExamSpec) -> None:
        self.workspace, self.folder = workspace, Path(exam.folder)
        self.folders = [Path(folder) for folder in (exam.folder, exam.second) if folder]
        self.judge: subprocess.Popen[bytes] | None = None
        self.began_at: float | None = None  # by the monotonic clock
        self.judge_seconds = 0.0  # that it spent on processors, known when it has ended

    def __enter__(self) -> Channel:
        sweep()
        self.locks = [self._make(folder) for folder in self.folders]
        if self.folder.parent != self.workspace:
            (self.workspace / "exam").symlink_to(self.folder)
        with (self.workspace / "judge.log").open("ab") as log:
            self.judge = subprocess.Popen(
                [sys.executable, "-I", str(JUDGE), str(self.workspace)],
                cwd=self.workspace, env={"PATH": os.environ.get("PATH", "")}, stdin=subprocess.DEVNULL, stdout=log,
                stderr=log, start_new_session=True, preexec_fn=die_with_parent,
            )
        return self

    def __exit__(self, *_: object) -> None:
        if self.judge is not None:
            self.judge.kill()
            self.judge.wait()
        for folder, lock in zip(self.folders, self.locks, strict=True):
            shutil.rmtree(folder, ignore_errors=True)
            os.close(lock)

    @staticmethod
    def _make(folder: Path) -> int:
        folder.mkdir(mode=0o700)
        lock = os.open(folder, os.O_RDONLY)
        try_lock(lock)
        return lock

    @property
    def report(self) -> dict[str, object] | None:
        return read_json(self.workspace / "exam.json")

    def wait_ready(self, is_stopped: Callable[[], bool]) -> None:
        """Until the judge has made its files. Raises JudgeFailed."""
        until = time.monotonic() + READY_SECONDS
        while not (self.folder / "ready").exists() and not is_stopped():
            self.check()
            if time.monotonic() > until:
                raise JudgeFailed(f"The judge was not ready after {READY_SECONDS:.0f} s. {self._words()}")
            time.sleep(0.005)

    @property
    def has_begun(self) -> bool:
        self._note_begin()
        return self.began_at is not None

    def check(self) -> None:
        """See whether the exam has begun. Raises JudgeFailed when the judge has died: no score can come any more."""
        assert self.judge is not None
        self._note_begin()
        if self._judge_ended():
            raise JudgeFailed(f"The judge ended with exit code {self.judge.returncode}. {self._words()}")

    @property
    def is_second_due(self) -> bool:
        return (self.report or {}).get("twice") == "due"

    @property
    def has_ended(self) -> bool:
        return self._judge_ended() is not None

    def finish(self) -> None:
        """Whom it asks has ended: the judge may finish what it was given. SIGTERM tells it that no more comes."""
        assert self.judge is not None
        self._note_begin()
        before, until = self.report or {}, time.monotonic() + FINISH_SECONDS
        if before.get("problem") == "unfinished" or before.get("twice") == "due":
            with contextlib.suppress(ProcessLookupError):
                self.judge.send_signal(signal.SIGTERM)
            while self._judge_ended(0.01) is None and self.report == before and time.monotonic() < until:
                pass

    def _judge_ended(self, seconds: float = 0.0) -> int | None:
        """Wait so long for its exit code. What it spent is no part of the training's."""
        assert self.judge is not None
        before = children_seconds()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.judge.wait(seconds)
        self.judge_seconds += children_seconds() - before
        return self.judge.returncode

    def _note_begin(self) -> None:
        if self.began_at is None and (self.workspace / "exam.json").exists():
            self.began_at = time.monotonic()

    def _words(self) -> str:
        text = (self.workspace / "judge.log").read_text(errors="replace").strip()
        return f"It said:\n{text[-1500:]}" if text else "It said nothing."
