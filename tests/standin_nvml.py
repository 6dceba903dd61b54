"""A stand-in for NVIDIA's library of cards: what a test says is in the machine, answered as NVML answers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

GIB = 2**30


class Memory(NamedTuple):
    used: int
    total: int


class Use(NamedTuple):
    gpu: int


class Process(NamedTuple):
    pid: int
    usedGpuMemory: int | None


@dataclass
class Handle:
    """A card, or a MIG device of one; None: it does not tell."""

    uuid: str
    name: str | bytes = "NVIDIA H100 80GB HBM3"
    total_gb: float = 80
    used_gb: float = 0
    use: int | None = 0
    degrees: int | None = 40
    watts: float | None = None
    capability: tuple[int, int] | None = (9, 0)
    processes: list[Process] = field(default_factory=list)
    migs: list[Handle] = field(default_factory=list)
    is_gone: bool = False  # off the bus


class StandInNvml:
    NVML_TEMPERATURE_GPU = 0
    NVML_ERROR_LIBRARY_NOT_FOUND = 12

    class NVMLError(Exception):
        value = 999

    def __init__(self, cards: Iterable[Handle] = (), *, has_driver: bool = True, trouble: str = "") -> None:
        self.cards, self.has_driver, self.trouble, self.opened = list(cards), has_driver, trouble, 0

    def _told(self, value: Any) -> Any:
        if value is None:
            raise self.NVMLError("not supported")
        return value

    def nvmlInit(self) -> None:
        if self.trouble:
            raise self.NVMLError(self.trouble)
        if not self.has_driver:
            error = self.NVMLError("NVML Shared Library Not Found")
            error.value = self.NVML_ERROR_LIBRARY_NOT_FOUND
            raise error
        self.opened += 1

    def nvmlShutdown(self) -> None:
        self.opened -= 1

    def nvmlSystemGetDriverVersion(self) -> str:
        return "580.65.06"

    def nvmlDeviceGetCount(self) -> int:
        return len(self.cards)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> Handle:
        if self.cards[index].is_gone:
            raise self.NVMLError("GPU is lost")
        return self.cards[index]

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> Handle:
        found = [one for card in self.cards for one in (card, *card.migs) if one.uuid == uuid and not card.is_gone]
        return self._told(next(iter(found), None))

    def nvmlDeviceGetName(self, card: Handle) -> str | bytes:
        return card.name

    def nvmlDeviceGetUUID(self, card: Handle) -> str:
        return card.uuid

    def nvmlDeviceGetMemoryInfo(self, card: Handle) -> Memory:
        return Memory(int(card.used_gb * GIB), int(card.total_gb * GIB))

    def nvmlDeviceGetCudaComputeCapability(self, card: Handle) -> tuple[int, int]:
        return self._told(card.capability)

    def nvmlDeviceGetUtilizationRates(self, card: Handle) -> Use:
        return Use(self._told(card.use))

    def nvmlDeviceGetTemperature(self, card: Handle, _which: int) -> int:
        return self._told(card.degrees)

    def nvmlDeviceGetPowerUsage(self, card: Handle) -> float:
        return self._told(card.watts) * 1000

    def nvmlDeviceGetComputeRunningProcesses(self, card: Handle) -> list[Process]:
        return card.processes

    def nvmlDeviceGetMigMode(self, card: Handle) -> list[int]:
        return [bool(card.migs), bool(card.migs)]

    def nvmlDeviceGetMaxMigDeviceCount(self, card: Handle) -> int:
        return 7

    def nvmlDeviceGetMigDeviceHandleByIndex(self, card: Handle, part: int) -> Handle:
        return self._told(card.migs[part] if part < len(card.migs) else None)
