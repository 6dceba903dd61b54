"""Start a training as the app does, without the app: a job around a few lines of Python, and what is left of it."""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

from trainer import launch
from trainer.launch import Data, Job
from trainer.spec import Result, read_json


def all_of(folder: Path) -> list[psutil.Process]:
    """Every living process that carries the workspace's name in its environment."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.environ().get("AUTORESEARCH_WORKSPACE") == str(folder):
                found.append(process)
    return found


def wait_for(what: Callable[[], Any], seconds: float = 10) -> Any:
    until = time.monotonic() + seconds
    while not (value := what()):
        assert time.monotonic() < until, "did not happen"
        time.sleep(0.02)
    return value


def make_job(folder: Path, code: str, **fields: Any) -> Job:
    """A training of these lines of Python in `folder`, without data and exam unless `fields` name them."""
    defaults: dict[str, Any] = {
        "folder": folder, "export": lambda source: (source / "train.py").write_text(code),
        "command": ["{python}", "train.py"], "data": Data(folder.parent / "cache"), "data_dir": None, "exam": False,
        "device": "cpu", "device_lock": folder.parent / "device.lock", "budget_seconds": 5, "deadline_seconds": 30.0,
        "kill_grace_seconds": 1.0,
    }
    return Job(**{**defaults, **fields})


def run(job: Job) -> tuple[Result, str]:
    """Start it and wait for its end: the result and the log."""
    process = launch.start(job)
    try:
        process.wait(60)
    except subprocess.TimeoutExpired:
        process.terminate()
        raise
    return result_of(job.folder), log_of(job.folder)


def result_of(folder: Path) -> Result:
    stored = read_json(folder / "result.json")
    assert stored is not None, (folder / "shim.log").read_text()
    return Result(**stored)


def log_of(folder: Path) -> str:
    return (folder / "log").read_text() if (folder / "log").exists() else ""
