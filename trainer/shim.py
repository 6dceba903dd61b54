"""Holds one training: its deadline, output and result. A process of its own: no worker's death costs a training.

    python -I trainer/shim.py WORKSPACE

The workspace holds `spec.json` (written by the worker) and gets `state.json`, `log` and, last of all, `result.json`.
Alive means: the lock on `WORKSPACE/lock` is held. Ends on SIGTERM, and takes everything it started with it.
Standard library only; it runs none of the edited code itself.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import json
import os
import select
import signal
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
READ_SIZE = 65536
TAIL_BYTES = 65536  # what is kept of the end, when the log has outgrown its cap


@dataclass(frozen=True)
class Spec:
    """What to run. Written by the worker, read by the shim."""

    command: list[str]
    env: dict[str, str]
    deadline_seconds: float
    grace_seconds: float  # between SIGTERM and SIGKILL
    log_cap_bytes: int
    device_lock: str  # held while the training runs: one training per device


@dataclass(frozen=True)
class Result:
    """How it ended: exit | timeout | stopped | disk_full | error."""

    ended: str
    exit_code: int | None
    seconds: float
    detail: str = ""


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


def is_locked(path: Path) -> bool:
    """Whether a living process holds the lock on this file. Asked with a shared lock: askers do not see each other."""
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except OSError as error:
        if error.errno in {errno.EWOULDBLOCK, errno.EACCES}:
            return True
        raise
    return False


def try_lock(file: IO[Any], *, seconds: float = 0.0) -> bool:
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


def die_with_parent() -> None:
    """In a child, before exec: get SIGKILL when the parent ends. Linux only, elsewhere nothing."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def descendants(pid: int) -> list[int]:
    """Every process below `pid`, by /proc; empty where there is none."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError, ValueError, IndexError):
            fields = entry.read_text().rpartition(")")[2].split()
            children.setdefault(int(fields[1]), []).append(int(entry.parent.name))
    found, queue = [], [pid]
    while queue:
        below = children.get(queue.pop(), [])
        found += below
        queue += below
    return found


def signal_all(pids: list[int], number: int) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)


class CappedLog:
    """A log file that keeps the head up to a cap and, at the end, the tail: a summary after 200 MB is still read."""

    def __init__(self, file: IO[bytes], cap: int) -> None:
        self.file, self.cap = file, cap
        self.size = self.dropped = 0
        self.tail = b""

    def write(self, data: bytes) -> None:
        room = max(0, self.cap - self.size)
        head, rest = data[:room], data[room:]
        if head:
            self.file.write(head)
            self.size += len(head)
        if rest:
            kept = self.tail + rest
            self.dropped += max(0, len(kept) - TAIL_BYTES)
            self.tail = kept[-TAIL_BYTES:]

    def finish(self) -> None:
        if self.dropped:
            self.file.write(f"\n[{self.dropped:,} bytes of output were not kept]\n".encode())
        self.file.write(self.tail)


class Shim:
    def __init__(self, workspace: Path) -> None:
        self.workspace = workspace
        self.spec = Spec(**json.loads((workspace / "spec.json").read_text()))
        self.stopped = False

    def run(self) -> Result:
        signal.signal(signal.SIGTERM, self._stop)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        self._say_state(child=None)  # before the wait for the device: who cancels needs our pid
        if sys.platform == "linux":  # orphaned grandchildren come to us, so that we can end them
            ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)
        with Path(self.spec.device_lock).open("a") as device:
            while not try_lock(device):
                if self.stopped:
                    return Result("stopped", None, 0.0)
                time.sleep(0.05)
            return self._train()

    def _say_state(self, *, child: int | None) -> None:
        write_json(self.workspace / "state.json", {"pid": os.getpid(), "child": child, "started_at": time.time()})

    def _train(self) -> Result:
        started = time.monotonic()
        try:
            process = subprocess.Popen(
                self.spec.command,
                cwd=self.workspace / "src",
                env=self.spec.env,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=die_with_parent,
            )
        except OSError as error:
            return Result("error", None, 0.0, f"The command could not be started: {error}")
        self._say_state(child=process.pid)
        ended, detail = "exit", ""
        try:
            ended = self._follow(process, started)
        except OSError as error:
            ended, detail = ("disk_full" if error.errno == errno.ENOSPC else "error"), str(error)
        finally:
            self._end(process)
        return Result(ended, process.returncode, time.monotonic() - started, detail)

    def _follow(self, process: subprocess.Popen[bytes], started: float) -> str:
        """Copy the output until the training ends, its time is up, or we are told to stop."""
        assert process.stdout is not None
        pipe = process.stdout.fileno()
        os.set_blocking(pipe, False)
        with (self.workspace / "log").open("ab", buffering=0) as file:
            log = CappedLog(file, self.spec.log_cap_bytes)
            try:
                while True:
                    done = process.poll() is not None  # asked before the read: what was written before the end is read
                    at_end = self._drain(pipe, log)
                    if done:
                        return "exit"
                    if self.stopped:
                        return "stopped"
                    if time.monotonic() - started > self.spec.deadline_seconds:
                        return "timeout"
                    if at_end:  # it closed its output, but runs on: a closed pipe is always readable
                        time.sleep(0.02)
                    else:
                        select.select([pipe], [], [], 0.1)
            finally:
                log.finish()

    @staticmethod
    def _drain(pipe: int, log: CappedLog) -> bool:
        """Read what is there; True at the end of the output."""
        for _ in range(64):  # a training that prints without end must not keep us from the clock
            try:
                data = os.read(pipe, READ_SIZE)
            except BlockingIOError:
                return False
            if not data:
                return True
            log.write(data)
        return False

    def _end(self, process: subprocess.Popen[bytes]) -> None:
        """End the training and all it started: SIGTERM, the grace, SIGKILL. Then reap."""
        if process.poll() is None:
            signal_all([*descendants(os.getpid()), process.pid], signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(self.spec.grace_seconds)
        for _ in range(100):
            left = descendants(os.getpid())
            if process.poll() is not None and not left:
                return
            signal_all(left, signal.SIGKILL)
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            process.poll()
            self._reap(process.pid)
            time.sleep(0.02)

    @staticmethod
    def _reap(child: int) -> None:
        for pid in descendants(os.getpid()):
            if pid != child:
                with contextlib.suppress(ChildProcessError):
                    os.waitpid(pid, os.WNOHANG)

    def _stop(self, *_: object) -> None:
        self.stopped = True


def main(folder: str) -> int:
    workspace = Path(folder)
    with (workspace / "lock").open("a") as lock:
        if not try_lock(lock, seconds=1.0):
            return 3  # another shim holds this workspace
        if (workspace / "result.json").exists():
            return 0
        result = Shim(workspace).run()
        write_json(workspace / "result.json", asdict(result))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
