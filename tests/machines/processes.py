"""Processes that belong to a folder: by command line, environment, working directory or executable. Linux."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path


def of_folder(folder: Path) -> dict[int, str]:
    """pid -> command line of each, ours not included."""
    mark = f"{folder}/".encode()
    found = {}
    for entry in Path("/proc").glob("[0-9]*"):
        pid = int(entry.name)
        if pid != os.getpid() and mark in _all_that_names_folders(entry):
            found[pid] = _read(entry / "cmdline").replace(b"\0", b" ").decode(errors="replace").strip()
    return found


def _all_that_names_folders(entry: Path) -> bytes:
    seen = _read(entry / "cmdline") + b"\0" + _read(entry / "environ")
    for name in ("cwd", "exe"):
        with contextlib.suppress(OSError):  # it has ended, or is a kernel's thread
            seen += b"\0" + os.fsencode(os.readlink(entry / name)) + b"/"
    return seen


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:  # it has ended, or is somebody else's
        return b""


def end_all(folder: Path, seconds: float = 10) -> None:
    """Kill them until none is left: one that was just started may have been missed."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        pids = of_folder(folder)
        if not pids:
            return
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.1)
