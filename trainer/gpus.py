"""The GPUs of this machine, by NVML and never by torch: which of them may be used, what each is, who else is on it.

Order and numbers are NVML's, those of `nvidia-smi`; a training is told so too (CUDA_DEVICE_ORDER=PCI_BUS_ID).
AMD's are read from the kernel's files. Unseen: nobody has run this on an AMD card yet.
"""

from __future__ import annotations

import math
import os
import platform
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import pynvml

T = TypeVar("T")
GIB = 2**30
HOT = 85  # degrees; cards of data centres slow down a little above
BUSY_PERCENT = 10  # of a card that somebody else uses
AMD = Path("/sys/class/drm")
AMDS_VENDOR = "0x1002"
OLD_MIG = "MIG-GPU-"  # names that CUDA still takes and NVML no longer gives


@dataclass(frozen=True)
class Gpu:
    """A card, or a MIG device of one. What is not known is None."""

    id: str  # as it was given, else its index; a MIG device's UUID
    index: int  # of the card
    name: str
    uuid: str = ""
    memory_bytes: int | None = None
    capability: tuple[int, int] | None = None  # NVIDIA's
    driver: str = ""

    def is_called(self, name: str) -> bool:
        """By CUDA's rules: its index, its UUID, or the beginning of that."""
        if name.isdigit():
            return int(name) == self.index
        return len(name) > len("GPU-") and self.uuid.startswith(name)


@dataclass(frozen=True)
class Load:
    """What a card does now. What it does not say is None."""

    gpu: Gpu
    use_percent: float | None = None
    used_bytes: int | None = None
    degrees: float | None = None
    watts: float | None = None

    @property
    def used_gb(self) -> float | None:
        return self.used_bytes / GIB if self.used_bytes is not None else None

    @property
    def total_gb(self) -> float | None:
        return self.gpu.memory_bytes / GIB if self.gpu.memory_bytes else None

    @property
    def memory_percent(self) -> float | None:
        return 100 * self.used_gb / self.total_gb if self.used_gb is not None and self.total_gb else None

    @property
    def is_hot(self) -> bool:
        return self.degrees is not None and self.degrees >= HOT


@dataclass(frozen=True)
class User:
    """A process that computes on a card."""

    pid: int
    name: str
    memory_bytes: int | None

    def __str__(self) -> str:
        memory = f", {self.memory_bytes / GIB:.1f} GB" if self.memory_bytes is not None else ""
        return f"{self.name} (process {self.pid}{memory})"


def devices(given: Sequence[str] = ()) -> tuple[str, ...]:
    """What this machine trains on: what is given (AUTORESEARCH_DEVICES), else its usable GPUs, else "mps" or "cpu"."""
    if given:
        return tuple(given)
    is_apple = platform.system() == "Darwin" and platform.machine() == "arm64"
    return tuple(gpu.id for gpu in usable()) or (("mps",) if is_apple else ("cpu",))


def is_gpu(device: str) -> bool:
    """Whether it is one of NVIDIA's or AMD's."""
    return device not in {"cpu", "mps"}


def called(device: str) -> str:
    """Its name, for a person."""
    return f"GPU {device}" if is_gpu(device) else device


def usable() -> tuple[Gpu, ...]:
    """Those that this process may use, in the order in which they were given to it; none without a driver.

    CUDA_VISIBLE_DEVICES is read as CUDA reads it: "" and "-1" are none, and what stands behind a name that is not there
    does not count. Of AMD's, ROCR_VISIBLE_DEVICES leaves some, among which HIP_VISIBLE_DEVICES (else CUDA's) counts anew; a
    training is given neither, but the place among all.
    """
    found, given = installed(), os.environ.get("CUDA_VISIBLE_DEVICES")
    if found and found[0].capability is None:
        left = _named(found, os.environ.get("ROCR_VISIBLE_DEVICES"))
        counted = tuple(replace(gpu, index=place) for place, gpu in enumerate(left))
        chosen = _named(counted, os.environ.get("HIP_VISIBLE_DEVICES", given))
        amds = (left[gpu.index] for gpu in chosen)
        return tuple(replace(gpu, id=str(gpu.index)) for gpu in amds)  # HIP takes places only
    return _named(found, given)


def _named(found: tuple[Gpu, ...], given: str | None) -> tuple[Gpu, ...]:
    """Those that this list names, up to the first name that none of them has; all without a list."""
    if given is None:
        return found
    chosen: list[Gpu] = []
    for name in map(str.strip, given.split(",")):
        gpu = next((gpu for gpu in found if gpu.is_called(name)), None)
        if gpu is None:
            break
        chosen.append(replace(gpu, id=name))
    return tuple(chosen)


def installed() -> tuple[Gpu, ...]:
    """All of this machine's. A card that is cut into MIG devices counts as these."""
    with _nvml() as is_there:
        if is_there:
            return tuple(gpu for index in range(_ask(pynvml.nvmlDeviceGetCount) or 0) for gpu in _nvidia(index))
    return tuple(_amd())


def find(name: str) -> Gpu | None:
    """The GPU that is called so."""
    return next((replace(gpu, id=name) for gpu in installed() if gpu.is_called(name)), None)


def missing(names: Collection[str]) -> list[str]:
    """Those that NVML does not know, or no longer. Without NVML nobody can say."""
    with _nvml() as is_there:
        found = installed() if is_there and names else ()
        known = [name for name in names if is_there and not name.startswith(OLD_MIG)]
        return [name for name in known if not any(gpu.is_called(name) for gpu in found)]


def trouble() -> str:
    """Why NVIDIA's driver does not answer, though it is installed; "" where it does, or there is none."""
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        return "" if error.value == pynvml.NVML_ERROR_LIBRARY_NOT_FOUND else str(error)
    _ask(pynvml.nvmlShutdown)
    return ""


def users(name: str) -> list[User]:
    """Who computes on this card now and keeps it busy, as far as NVML tells: in a container it may see nobody.

    A program that waits with its memory in place (a model's server between two questions) is let be, unless it holds
    more than half of it.
    """
    with _nvml() as is_there:
        gpu = find(name) if is_there else None
        if gpu is None:
            return []
        running = _ask(lambda: pynvml.nvmlDeviceGetComputeRunningProcesses(_handle(gpu))) or []
        use = _ask(lambda: pynvml.nvmlDeviceGetUtilizationRates(_handle(gpu)).gpu) or 0
        found = [User(one.pid, _process_name(one.pid), one.usedGpuMemory) for one in running]
        held = sum(user.memory_bytes or 0 for user in found)
        return found if use >= BUSY_PERCENT or held > (gpu.memory_bytes or math.inf) / 2 else []


def loads() -> list[Load]:
    """What each of this machine's GPUs does now."""
    with _nvml() as is_there:
        return [_load(gpu) if is_there else _amds_load(gpu) for gpu in installed()]


def _load(gpu: Gpu) -> Load:
    card = _ask(lambda: _handle(gpu))
    if card is None:
        return Load(gpu)
    use = _ask(lambda: pynvml.nvmlDeviceGetUtilizationRates(card))
    memory = _ask(lambda: pynvml.nvmlDeviceGetMemoryInfo(card))
    degrees = _ask(lambda: pynvml.nvmlDeviceGetTemperature(card, pynvml.NVML_TEMPERATURE_GPU))
    milliwatts = _ask(lambda: pynvml.nvmlDeviceGetPowerUsage(card))
    return Load(
        gpu, float(use.gpu) if use else None, int(memory.used) if memory else None,
        float(degrees) if degrees is not None else None, milliwatts / 1000 if milliwatts else None,
    )  # fmt: skip


def _amds_load(gpu: Gpu) -> Load:
    card = _amds_cards()[gpu.index]
    use, used = _read(card / "gpu_busy_percent"), _read(card / "mem_info_vram_used")
    return Load(gpu, float(use) if use.isdigit() else None, int(used) if used.isdigit() else None)


def processor() -> str:
    """The name of this machine's processor, as /proc/cpuinfo has it."""
    lines = _read(Path("/proc/cpuinfo")).splitlines()
    name = next((line.partition(":")[2] for line in lines if line.startswith("model name")), "")
    return name.strip() or platform.processor() or platform.machine()


@contextmanager
def _nvml() -> Iterator[bool]:
    """False: no NVIDIA driver."""
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        yield False
        return
    try:
        yield True
    finally:
        _ask(pynvml.nvmlShutdown)


def _ask(question: Callable[[], T]) -> T | None:
    """Not every card answers everything."""
    try:
        return question()
    except pynvml.NVMLError:
        return None


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value or "")


def _handle(gpu: Gpu) -> Any:
    return pynvml.nvmlDeviceGetHandleByUUID(gpu.uuid) if gpu.uuid else pynvml.nvmlDeviceGetHandleByIndex(gpu.index)


def _nvidia(index: int) -> list[Gpu]:
    card = _ask(lambda: pynvml.nvmlDeviceGetHandleByIndex(index))
    if card is None:  # it has fallen off the bus: the others still train
        return []
    whole = _described(card, index)
    mode = _ask(lambda: pynvml.nvmlDeviceGetMigMode(card)) or [0]
    if not mode[0]:
        return [whole]
    parts = range(_ask(lambda: pynvml.nvmlDeviceGetMaxMigDeviceCount(card)) or 0)
    handles = [_ask(partial(pynvml.nvmlDeviceGetMigDeviceHandleByIndex, card, part)) for part in parts]
    migs = [_described(handle, index) for handle in handles if handle is not None]
    return [replace(mig, id=mig.uuid, capability=whole.capability) for mig in migs if mig.uuid]


def _described(handle: Any, index: int) -> Gpu:
    memory = _ask(lambda: pynvml.nvmlDeviceGetMemoryInfo(handle))
    capability = _ask(lambda: pynvml.nvmlDeviceGetCudaComputeCapability(handle)) or (8, 0)
    return Gpu(
        str(index), index, _text(_ask(lambda: pynvml.nvmlDeviceGetName(handle))) or "NVIDIA GPU",
        _text(_ask(lambda: pynvml.nvmlDeviceGetUUID(handle))), int(memory.total) if memory else None,
        (int(capability[0]), int(capability[1])), _text(_ask(pynvml.nvmlSystemGetDriverVersion)),
    )  # fmt: skip


def _amd() -> Iterator[Gpu]:
    """By the files of the amdgpu driver, in the order of the bus."""
    for index, card in enumerate(_amds_cards()):
        name, uuid = _read(card / "product_name") or "AMD GPU", _read(card / "unique_id")
        yield Gpu(str(index), index, name, f"GPU-{uuid}" if uuid else "", int(_read(card / "mem_info_vram_total")))


def _amds_cards() -> list[Path]:
    """Folders of the cards that have memory of their own or a share of the machine's."""
    cards = [path.parent for path in AMD.glob("card*/device/vendor") if _read(path) == AMDS_VENDOR]
    with_memory = (card for card in cards if _read(card / "mem_info_vram_total").isdigit())
    return sorted(with_memory, key=lambda card: card.resolve().name)


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return ""


def _process_name(pid: int) -> str:
    return _read(Path(f"/proc/{pid}/comm")) or "a process"
