"""What a worker, the shim and the judge tell each other through a workspace's files, and the locks that say who lives.

    WORKSPACE/spec.json    Spec, written by launch.py before the shim starts
    WORKSPACE/go           made by launch.py: what stands by has its device now, and spec.json says which
    WORKSPACE/awaited      touched by workers while they may still give it one
    WORKSPACE/state.json   the shim's pid and the training's
    WORKSPACE/result.json  Result, written last of all
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from trainer.box import LIMITS, Box, Level
from trainer.processes import FILE_BYTES

GO, AWAITED = "go", "awaited"
TENSORS = "tensors"  # a file, in the channel's folder as the training writes it, in the workspace as the judge has copied it
EXAM = 2  # the version of the exam: scores of two are never compared. What names none was examined by 1
READY = Path(__file__).resolve().parent / "ready.py"


@dataclass(frozen=True)
class ExamSpec:
    """What the judge needs to know. See judge.py."""

    data_dir: str  # prepared data, held_out/ included
    seq_len: int
    deadline_seconds: float  # of the exam alone
    secret_below: float | None  # score the secret shard too when val_bpb is below this; None: always
    folder: str  # the channel to the training, made by the shim
    version: int = 1  # EXAM of whoever starts the judge
    second: str = ""  # the one to the second process; "": what would be kept is not examined twice
    references: list[str] = field(default_factory=list)  # answers of the best so far, of the baseline: see judge.py


@dataclass(frozen=True)
class SecondSpec:
    """What differs for the second process: it runs the same command, to answer with the tensors of the first."""

    env: dict[str, str]
    sandbox: Box


@dataclass(frozen=True)
class Spec:
    """What to run. Written by the worker, read by the shim."""

    command: list[str]
    env: dict[str, str]
    deadline_seconds: float
    grace_seconds: float  # between SIGTERM and SIGKILL
    log_cap_bytes: int
    device_lock: str  # held while the training runs: one training per device
    fixed: list[str] = field(default_factory=list)  # names in src/ that must be the same at the end
    compiled: str = ""  # where what lies in out/compiled at the start was copied from
    ready: list[str] = field(default_factory=list)  # what to import while it stands by for `go`; none: it starts at once
    exam: ExamSpec | None = None  # None: no judge, the metric is self-reported
    level: Level = field(default_factory=lambda: Level(LIMITS))
    sandbox: Box | None = None  # None: only limits
    second: SecondSpec | None = None
    stdin: str = ""  # a file; "": nothing to read
    parent: int = 0  # the process that it ends with; 0: it outlives the one that started it
    most_processes: int = 0  # 0: any number
    nice: int = 0  # how far it steps back for others on the processor
    file_bytes: int = FILE_BYTES  # one file at most

    @classmethod
    def load(cls, workspace: Path) -> Spec:
        stored = json.loads((workspace / "spec.json").read_text())
        exam, box, level = stored.pop("exam", None), stored.pop("sandbox", None), stored.pop("level")
        second = stored.pop("second", None)
        return cls(
            **stored, exam=exam and ExamSpec(**exam), sandbox=box and Box(**box),
            second=second and SecondSpec(second["env"], Box(**second["sandbox"])),
            level=Level(level["name"], level["why"], tuple(level["by"])),
        )


@dataclass(frozen=True)
class Result:
    """How it ended: exit | timeout | stopped | crowded (too many processes) | disk_full | judge_lost | error."""

    ended: str
    exit_code: int | None
    seconds: float
    detail: str = ""
    exam_after_seconds: float | None = None  # from the command's start until the exam began; None: it never did
    before_exam_bytes: int = 0  # of the log: what was printed when the exam had not begun
    loading_seconds: float = 0.0  # spent on imports before it was its turn
    processor_seconds: float | None = None  # of all its processes, from the command's start; None: not known
    processor_before: float | None = None  # of these, until the exam began
    sandbox: str = ""  # the level it ran in
    tampered: list[str] = field(default_factory=list)  # fixed files that were not the same at the end


def write_json(path: Path, value: Any) -> None:
    """Atomic: a reader sees all of it or nothing."""
    fresh = path.with_name(f"{path.name}.new")
    fresh.write_text(json.dumps(value))
    os.replace(fresh, path)


def read_json(path: Path) -> dict[str, Any] | None:
    try:
        value = json.loads(path.read_text())
    except (FileNotFoundError, ValueError):
        return None
    return value if isinstance(value, dict) else None


def mtime(path: Path, otherwise: float) -> float:
    """Unix time of its last change."""
    try:
        return path.stat().st_mtime
    except OSError:
        return otherwise


def is_locked(path: Path) -> bool:
    """Whether a living process holds the lock on this file or folder. Askers, by a shared lock, do not see each other."""
    try:
        asked = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(asked, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in {errno.EWOULDBLOCK, errno.EACCES}:
            return True
        raise
    finally:
        os.close(asked)
    return False


def try_lock(file: IO[Any] | int, *, seconds: float = 0.0) -> bool:
    """Take the lock, trying for so long: is_locked, asked elsewhere, holds it for a moment."""
    until = time.monotonic() + seconds
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except OSError:
            if time.monotonic() >= until:
                return False
        time.sleep(0.02)
