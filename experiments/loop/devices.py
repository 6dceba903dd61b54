"""Which devices this machine trains on, and which is free. A device's lock is held by the shim, not by a worker."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Collection
from pathlib import Path

from django.conf import settings

from trainer.preflight import Card
from trainer.spec import is_locked


@functools.cache
def names() -> tuple[str, ...]:
    """AUTORESEARCH_DEVICES, else one per NVIDIA GPU (by NVML, never torch), else "mps" or "cpu"."""
    if settings.DEVICES:
        return tuple(settings.DEVICES)
    count = _nvidia_count()
    if count:
        visible = [part for part in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if part.strip()]
        return tuple(visible) or tuple(str(index) for index in range(count))
    return ("mps",) if sys.platform == "darwin" else ("cpu",)


def _nvidia_count() -> int:
    import pynvml

    try:
        pynvml.nvmlInit()
        return int(pynvml.nvmlDeviceGetCount())
    except pynvml.NVMLError:
        return 0


def is_gpu(device: str) -> bool:
    """Whether it is an NVIDIA GPU."""
    return device not in {"cpu", "mps"}


@functools.cache
def card(device: str) -> Card | None:
    """What NVML knows of an NVIDIA GPU; None for another device."""
    import pynvml

    if not is_gpu(device):
        return None
    try:
        pynvml.nvmlInit()
        handle = (
            pynvml.nvmlDeviceGetHandleByIndex(int(device)) if device.isdigit() else pynvml.nvmlDeviceGetHandleByUUID(device)
        )
        major, minor = pynvml.nvmlDeviceGetCudaComputeCapability(handle)
        memory = int(pynvml.nvmlDeviceGetMemoryInfo(handle).total)
        return Card(str(pynvml.nvmlDeviceGetName(handle)), (int(major), int(minor)), memory)
    except pynvml.NVMLError:
        return Card()


def lock_path(device: str) -> Path:
    folder = Path(settings.DEVICE_DIR)
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"{device.replace('/', '_')}.lock"


def free(in_use: Collection[str]) -> str:
    """A device that is not in use and that no shim holds; the first where all are busy (its shim then waits)."""
    idle = (name for name in names() if name not in in_use and not is_locked(lock_path(name)))
    return next(idle, names()[0])
