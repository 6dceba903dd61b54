"""What this machine does: GPUs by NVML, processor, memory and disk; and over all machines: workers, queues, leases."""

from __future__ import annotations

import os
import shutil
import socket
from dataclasses import dataclass
from datetime import datetime, timedelta

import psutil
from django.conf import settings
from redis.exceptions import RedisError

from experiments import presence
from experiments.models import Experiment
from experiments.states import LIVE, ON_DEVICE, WORKED, RunState, State
from trainer import gpus

GB = 1024**3
LOW_SHARE, LOW_GB = 0.05, 2.0  # of the disk: less is worth a warning


@dataclass(frozen=True)
class Host:
    name: str
    cores: int
    load: tuple[float, float, float]  # waiting or running processes, over 1, 5 and 15 minutes
    used_gb: float
    total_gb: float
    folder: str
    disk_free_gb: float
    disk_total_gb: float

    @property
    def load_percent(self) -> float:
        return 100 * self.load[0] / max(1, self.cores)

    @property
    def memory_percent(self) -> float:
        return 100 * self.used_gb / self.total_gb if self.total_gb else 0.0

    @property
    def disk_percent(self) -> float:
        """Used."""
        return 100 * (1 - self.disk_free_gb / self.disk_total_gb) if self.disk_total_gb else 0.0

    @property
    def is_disk_low(self) -> bool:
        return self.disk_free_gb < max(LOW_GB, LOW_SHARE * min(self.disk_total_gb, 200))


@dataclass(frozen=True)
class Queue:
    name: str
    waiting: int | None  # None: Redis does not answer
    workers: int | None
    does: str


@dataclass(frozen=True)
class Held:
    """An experiment under way, and who holds it."""

    experiment: Experiment
    age_seconds: float | None  # since the last heartbeat; None: nobody works on it now
    is_stale: bool

    @property
    def host(self) -> str:
        return self.experiment.worker.split(":", 1)[0]

    @property
    def pid(self) -> str:
        parts = self.experiment.worker.rsplit(":", 2)
        return parts[1] if len(parts) == 3 else ""

    @property
    def on_device(self) -> bool:
        return self.experiment.state in ON_DEVICE and not self.experiment.is_repeated_first

    @property
    def waits_for_a_person(self) -> bool:
        return self.experiment.state in {State.REVIEWING, State.CONFIRMING}


# This machine


def loads(rows: list[Held]) -> list[tuple[gpus.Load, Held | None, list[gpus.User]]]:
    """What each of its GPUs does, and what of ours trains there; where nothing does, who else is on it."""
    mine = [one for one in rows if one.on_device and one.host in {socket.gethostname(), ""}]
    found = []
    for load in gpus.loads():
        one = next((one for one in mine if load.gpu.is_called(one.experiment.device)), None)
        found.append((load, one, [] if one else gpus.users(load.gpu.id)))
    return found


def host() -> Host:
    memory, folder = psutil.virtual_memory(), settings.VAR_DIR
    disk = shutil.disk_usage(folder)
    return Host(
        socket.gethostname(), os.cpu_count() or 1, os.getloadavg(),
        (memory.total - memory.available) / GB, memory.total / GB, str(folder), disk.free / GB, disk.total / GB,
    )  # fmt: skip


# All machines

_DOES = {"think": "asks the researcher, decides", "gpu": "trains and scores"}


def queues() -> tuple[list[Queue], str]:
    """(the queues, why nothing is known of them or "")."""
    try:
        counts, client = presence.workers(), presence.connect()
        return [Queue(name, int(client.llen(name)), counts.get(name, 0), does) for name, does in _DOES.items()], ""
    except (RedisError, OSError) as error:
        return [Queue(name, None, None, does) for name, does in _DOES.items()], type(error).__name__


def held(now: datetime) -> list[Held]:
    """What is under way in runs that have not ended: on a device first, then what is worked on, then what waits."""
    light = Experiment.objects.filter(state__in=LIVE).exclude(run__state=RunState.ENDED).select_related("run__program")
    light = light.only(
        "number", "state", "badges", "description", "worker", "heartbeat_at", "device", "attempt", "training_at",
        "created_at", "run__tag", "run__state", "run__program__name",
    )  # fmt: skip
    found = [_held(experiment, now) for experiment in light]
    return sorted(found, key=lambda one: (not one.on_device, not one.experiment.worker, one.experiment.pk))


def _held(experiment: Experiment, now: datetime) -> Held:
    beat = experiment.heartbeat_at if experiment.worker else None
    age = max(0.0, (now - beat).total_seconds()) if beat else None
    late = age is not None and timedelta(seconds=age) > timedelta(seconds=settings.STALE_SECONDS)
    return Held(experiment, age, is_stale=late and experiment.state in WORKED)
