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

from django.conf import settings

from experiments.loop import devices, training
from experiments.loop.workspace import Workspace
from experiments.models import Experiment, Program, Run
from experiments.states import State
from trainer import gpus, launch
from trainer.spec import GO, is_locked

log = logging.getLogger(__name__)
LOCK_SECONDS = 2.0  # for its shim to take its lock
COMPILER = ("torch._dynamo", "torch._inductor.compile_fx")  # seconds of the start of what is compiled
_one_at_a_time = threading.Lock()


def prepare(trains: Experiment) -> None:
    """Have a process stand by for the next training of this run, where that is worth it. Asked again and again."""
    if not settings.STANDBY or not _has_room() or not _one_at_a_time.acquire(blocking=False):
        return
    try:
        run = Run.objects.select_related("program").get(pk=trains.run_id)
        if run.is_active and len(_standing()) < len(devices.names()):
            _stand_by(run)
    except (launch.LaunchError, OSError) as error:  # its own start says it again, to whom it may concern
        log.warning("nothing stands by for the next training: %s", error)
    finally:
        _one_at_a_time.release()


def pick(experiment: Experiment) -> str:
    """The name of a workspace in which a process stands by for it; "" where none does. Ask it while `choosing`."""
    if experiment.seed != experiment.run.seed:  # a repeat: its seed was read with what is imported
        return ""
    taken = set(Experiment.objects.filter(state=State.TRAINING).values_list("workspace", flat=True))
    ours = (path.name for path in _standing() if path.name.startswith(_prefix(experiment.run)))
    return next((name for name in ours if name not in taken), "")


def _prefix(run: Run) -> str:
    return f"{training.READY}-{run.pk}-"


def _standing() -> list[Path]:
    """Workspaces without work. Those whose shim has died are cleared away."""
    found = [path for path in Path(settings.WORK_DIR).glob(f"{training.READY}-*") if not (path / GO).exists()]
    for path in found:
        if (path / "state.json").exists() and not is_locked(path / "lock"):
            training.clear(path)
    return [path for path in found if path.exists()]


def _has_room() -> bool:
    """A core beside those that train."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return cores > len(devices.names())


def _stand_by(run: Run) -> None:
    device = devices.names()[0]  # a word only: it is given its own by the grant
    best = run.best
    modules = _modules(run.program, best.commit if best else run.base_commit, device)
    if not modules:
        return
    whoever = Experiment(run=run, parent=best, seed=run.seed, workspace=_prefix(run) + secrets.token_hex(4))
    job = training.job(whoever, device)
    process = launch.stand_by(job, modules)
    threading.Thread(target=process.wait, daemon=True).start()
    until = time.monotonic() + LOCK_SECONDS
    while not is_locked(job.folder / "lock") and time.monotonic() < until:
        time.sleep(0.005)


def _modules(program: Program, commit: str, device: str) -> list[str]:
    """What its script imports of that which takes long; nothing where it is no script of our Python, or imports no torch."""
    script = program.command[1] if len(program.command) > 1 and program.command[0] == "{python}" else ""
    text = Workspace(program.repo).read(commit, [script]).get(script, "") if script.endswith(".py") else ""
    if not re.search(r"(?m)^\s*(import|from)\s+torch\b", text):
        return []
    is_compiled = gpus.is_gpu(device) and "torch.compile" in text
    own = ["prepare"] if "prepare.py" in program.fixed else []
    # The compiler's modules may ask for the devices: what they see then must be what the training is given.
    return ["torch", *own, *(COMPILER if is_compiled and len(devices.names()) == 1 else ())]
