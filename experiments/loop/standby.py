"""While a run trains, a process stands ready for whatever it trains next: interpreter, torch, data. See trainer/ready.py.

Its workspace is WORK_DIR/ready-RUN-TOKEN. Whose training it becomes, and on which device, is said when that begins.
"""

from __future__ import annotations

import logging
import os
import re
import secrets
import threading
import time
from pathlib import Path

import psutil
from django.conf import settings

from experiments.loop import devices, training
from experiments.loop.workspace import Workspace
from experiments.models import Experiment, Program, Run
from experiments.states import Kind, State
from trainer import gpus, launch
from trainer.spec import GO, is_locked, mtime

log = logging.getLogger(__name__)
LOCK_SECONDS = 2.0  # for its shim to take its lock
DEAD_SECONDS = 60.0  # a workspace without a shim after that long never got one
ROOM_BYTES = 2 * 2**30  # memory that must be free: one that stands by takes a quarter of a gigabyte
TRIES = 2  # while one training runs; what dies again and again would only take its time
COMPILER = ("torch._dynamo", "torch._inductor.compile_fx")  # seconds of the start of what is compiled
_one_at_a_time = threading.Lock()


class Preparing:
    """Called again and again while an experiment trains: the next training of its run gets its process."""

    def __init__(self) -> None:
        self.tries = TRIES

    def __call__(self, trains: Experiment) -> None:
        if self.tries and settings.STANDBY and _has_room() and _one_at_a_time.acquire(blocking=False):
            try:
                self._prepare(trains.run_id)
            except Exception:  # the edge: the training that runs has no part in it; the next one's own start says it again
                self.tries = 0
                log.exception("nothing stands by for the next training")
            finally:
                _one_at_a_time.release()

    def _prepare(self, run_id: int) -> None:
        _clear_the_dead()
        run = Run.objects.select_related("program").get(pk=run_id)
        if run.is_active and len(_waiting(run)) < min(run.lanes, len(devices.names())):
            self.tries -= 1
            _stand_by(run)


def pick(experiment: Experiment) -> str:
    """The name of a workspace in which a process stands by for it; "" where none does. Ask it while `choosing`."""
    if experiment.kind == Kind.BASELINE:  # what a start takes is known by it
        return ""
    if experiment.seed != experiment.run.seed:  # a repeat: its seed was read with what is imported
        return ""
    return next((path.name for path in _waiting(experiment.run) if is_locked(path / "lock")), "")


def _prefix(run: Run) -> str:
    return f"{training.READY}-{run.pk}-"


def _waiting(run: Run) -> list[Path]:
    """Workspaces without work, those of a shim that has not started yet included."""
    taken = set(Experiment.objects.filter(state=State.TRAINING).values_list("workspace", flat=True))
    folders = Path(settings.WORK_DIR).glob(f"{_prefix(run)}*")
    return [path for path in folders if path.name not in taken and not (path / GO).exists()]


def _clear_the_dead() -> None:
    for folder in Path(settings.WORK_DIR).glob(f"{training.READY}-*"):
        started = (folder / "state.json").exists() or time.time() - mtime(folder, time.time()) > DEAD_SECONDS
        if started and not is_locked(folder / "lock") and not training.is_training(folder.name):
            training.clear(folder)


def _has_room() -> bool:
    """A core beside those that train, and memory."""
    return _cores() > len(devices.names()) * settings.THREADS and _free_memory() > ROOM_BYTES


def _cores() -> float:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota, period = (_of_container("cpu.max") or ["max", ""])[:2]
    return min(cores, int(quota) / int(period)) if quota.isdigit() else cores


def _free_memory() -> int:
    """Bytes. What a container keeps of files is not counted as used."""
    free = int(psutil.virtual_memory().available)
    limit, used = _of_container("memory.max"), _of_container("memory.stat")
    return min(free, int(limit[0]) - int(used[used.index("anon") + 1])) if limit and limit[0].isdigit() else free


def _of_container(name: str) -> list[str]:
    """The words of a file of its cgroup (version 2); none where there is no such limit."""
    file = Path("/sys/fs/cgroup", name)
    return file.read_text().split() if file.exists() else []


def _stand_by(run: Run) -> None:
    device = devices.names()[0]  # a word only: it is given its own by the grant
    best = run.best
    modules = _modules(run.program, best.commit if best else run.base_commit, device)
    if not modules:
        return
    whoever = Experiment(run=run, parent=best, seed=run.seed, workspace=_prefix(run) + secrets.token_hex(4))
    job = training.job(whoever, device)
    try:
        process = launch.stand_by(job, modules)
    except BaseException:
        training.clear(job.folder)
        raise
    threading.Thread(target=process.wait, daemon=True).start()
    until = time.monotonic() + LOCK_SECONDS
    while not is_locked(job.folder / "lock") and time.monotonic() < until:
        time.sleep(0.005)


def _modules(program: Program, commit: str, device: str) -> list[str]:
    """What its script imports of that which takes long; nothing where it is no script of our Python, or imports no torch.

    Nor where it sets the environment: that wants to be there before what reads it.
    """
    script = program.command[1] if len(program.command) > 1 and program.command[0] == "{python}" else ""
    text = Workspace(program.repo).read(commit, [script]).get(script, "") if script.endswith(".py") else ""
    if not re.search(r"(?m)^\s*(import|from)\s+torch\b", text) or launch.SETS.search(text):
        return []
    is_compiled = gpus.is_gpu(device) and "torch.compile" in text
    own = ["prepare"] if "prepare.py" in program.fixed else []
    # The compiler's modules may ask for the devices: what they see then must be what the training is given.
    return ["torch", *own, *(COMPILER if is_compiled and len(devices.names()) == 1 else ())]
