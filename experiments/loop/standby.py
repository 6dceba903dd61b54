"""While one experiment trains, the process of the next one stands ready: interpreter, torch, data. See trainer/ready.py."""

from __future__ import annotations

import logging
import os
import re
import threading
import time
from pathlib import Path

from django.conf import settings

from experiments.loop import ahead, devices, training
from experiments.loop.workspace import Workspace
from experiments.models import Experiment
from trainer import gpus, launch
from trainer.spec import is_locked

log = logging.getLogger(__name__)
LOCK_SECONDS = 2.0  # for its shim to take its lock
COMPILER = ("torch._dynamo", "torch._inductor.compile_fx")  # seconds of the start of what is compiled
_one_at_a_time = threading.Lock()


def prepare(trains: Experiment) -> None:
    """Have the next in line stand by, where that is worth it. Asked again and again while `trains` does."""
    if not settings.STANDBY or not _has_room() or not _one_at_a_time.acquire(blocking=False):
        return
    try:
        experiment = ahead.in_line(trains.run).select_related("run__program", "parent").first()
        if experiment and not training.place_of(experiment).exists() and _standing() < len(devices.names()):
            _stand_by(experiment)
    except (launch.LaunchError, OSError) as error:  # its own start says it again, to whom it may concern
        log.warning("nothing stands by for the next training: %s", error)
    finally:
        _one_at_a_time.release()


def _has_room() -> bool:
    """A core beside the one that trains."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return cores > len(devices.names())


def _standing() -> int:
    return sum(training.is_awaited(path.name) for path in Path(settings.WORK_DIR).iterdir())


def _stand_by(experiment: Experiment) -> None:
    device = devices.names()[0]  # a word only: it is given its own by the grant
    modules = _modules(experiment, device)
    if not modules:
        return
    with devices.choosing():  # no other worker begins it meanwhile
        if not training.is_awaited(training.place_of(experiment).name):
            return
        process = launch.stand_by(training.job(experiment, device), modules)
        until = time.monotonic() + LOCK_SECONDS
        while not is_locked(training.place_of(experiment) / "lock") and time.monotonic() < until:
            time.sleep(0.005)
    threading.Thread(target=process.wait, daemon=True).start()


def _modules(experiment: Experiment, device: str) -> list[str]:
    """What its script imports of that which takes long; nothing where it is no script of our Python, or imports no torch."""
    program = experiment.run.program
    script = program.command[1] if len(program.command) > 1 and program.command[0] == "{python}" else ""
    text = Workspace(program.repo).read(experiment.commit, [script]).get(script, "") if script.endswith(".py") else ""
    if not re.search(r"(?m)^\s*(import|from)\s+torch\b", text):
        return []
    is_compiled = gpus.is_gpu(device) and "torch.compile" in text
    own = ["prepare"] if "prepare.py" in program.fixed else []
    # The compiler's modules may ask for the devices: what they see then must be what the training is given.
    return ["torch", *own, *(COMPILER if is_compiled and len(devices.names()) == 1 else ())]
