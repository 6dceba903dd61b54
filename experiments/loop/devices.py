"""Which devices this machine trains on, and which is free. A device's lock is held by the shim, not by a worker."""

from __future__ import annotations

import fcntl
import functools
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

from django.conf import settings

from experiments.loop.errors import NotReady
from trainer import gpus
from trainer.preflight import Card
from trainer.spec import is_locked

PATIENCE_SECONDS = 6.0


class AllBusy(Exception):
    """No device is free; in words, who holds them. `ours`: one of them a training of this installation."""

    def __init__(self, words: str, *, ours: bool) -> None:
        self.ours = ours
        super().__init__(words)


@functools.cache
def names() -> tuple[str, ...]:
    return gpus.devices(settings.DEVICES)


def trouble() -> str:
    """Words behind the names, where a GPU may be missing among them."""
    why = "" if settings.DEVICES or any(map(gpus.is_gpu, names())) else gpus.trouble()
    return f": NVIDIA's driver does not answer ({why}), see `python manage.py doctor`" if why else ""


@functools.cache
def card(device: str) -> Card | None:
    """What is known of a GPU; None for another device."""
    if not gpus.is_gpu(device):
        return None
    gpu = gpus.find(device)
    return Card(gpu.name, gpu.capability or Card.capability, gpu.memory_bytes) if gpu else Card()


@functools.cache
def facts(device: str) -> dict[str, Any]:
    """What a score depends on beside the code, stored with each experiment: device, driver, torch."""
    gpu = gpus.find(device) if gpus.is_gpu(device) else None
    found: dict[str, Any] = {"device": gpu.name if gpu else gpus.processor() if device == "cpu" else device}
    if gpu:
        found |= {"memory_bytes": gpu.memory_bytes, "driver": gpu.driver}
    return {**found, "torch": version("torch")}


def lock_path(device: str) -> Path:
    return _folder() / f"{device.replace('/', '_')}.lock"


def _folder() -> Path:
    folder = Path(settings.DEVICE_DIR)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@contextmanager
def choosing() -> Iterator[None]:
    """Held from the choice of a device until it is written down: two runs at once would choose the same one."""
    with (_folder() / "choice").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def free(in_use: Collection[str]) -> str:
    """A device that is not in use, that no shim holds and on which nobody else computes.

    Raises AllBusy, or NotReady where not one is there any more.
    """
    missing = gpus.missing([name for name in names() if gpus.is_gpu(name)])
    there = [name for name in names() if name not in missing]
    if not there:
        raise NotReady("device", f"{are_missing(missing)}.")
    held = [name for name in there if name in in_use or is_locked(lock_path(name))]
    words = [f"another training holds {gpus.called(name)}" for name in held]
    for name in (name for name in there if name not in held):
        others = [] if settings.SHARE_GPUS or not gpus.is_gpu(name) else gpus.users(name)
        if not others:
            return name
        words.append(f"{gpus.called(name)} is used by {', '.join(map(str, others))}")
    words += [are_missing(missing)] if missing else []
    raise AllBusy("; ".join(words), ours=bool(held))


def wait(in_use: Callable[[], Collection[str]]) -> None:
    """Until one is free, as long as one of our trainings needs to end that was called off. Raises AllBusy."""
    until = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            free(in_use())
            return
        except AllBusy as busy:
            if not busy.ours or time.monotonic() > until:
                raise
        time.sleep(0.1)


def are_missing(names: Collection[str]) -> str:
    """In words, with the next step."""
    are, them = ("is", "it") if len(names) == 1 else ("are", "them")
    return (
        f"{', '.join(map(gpus.called, names))} {are} not there: NVIDIA's driver does not list {them}. See `nvidia-smi`; a "
        "card that was lost comes back when the machine restarts. AUTORESEARCH_DEVICES can name another"
    )
