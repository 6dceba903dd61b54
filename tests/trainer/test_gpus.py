"""Which GPUs are used and what is known of them: by a stand-in for NVML, and by files as AMD's driver has them."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.standin_nvml import GIB, Handle, Process, StandInNvml
from trainer import gpus, presets

FIRST, SECOND = "GPU-11111111-aaaa", "GPU-22222222-bbbb"
MIG = "MIG-33333333-cccc"
Machine = Callable[..., StandInNvml]


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Machine:
    """A machine with these cards, and nothing said of them in the environment."""
    for name in ("CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(gpus, "AMD", tmp_path / "drm")

    def machine(*cards: Handle, has_driver: bool = True) -> StandInNvml:
        nvml = StandInNvml(cards, has_driver=has_driver)
        monkeypatch.setattr(gpus, "pynvml", nvml)
        return nvml

    return machine


def make_amd(folder: Path, address: str, card: int, **files: str) -> None:
    device = folder / "devices" / address
    device.mkdir(parents=True)
    for name, text in files.items():
        (device / name).write_text(f"{text}\n")
    (folder / "drm" / f"card{card}").mkdir(parents=True)
    (folder / "drm" / f"card{card}" / "device").symlink_to(device)


@pytest.mark.parametrize(
    ("visible", "used"),
    [
        (None, ("0", "1")),
        ("1", ("1",)),
        ("1,0", ("1", "0")),
        ("", ("cpu",)),
        ("-1", ("cpu",)),
        ("0,-1,1", ("0",)),  # CUDA reads no further
        ("7", ("cpu",)),
        (SECOND, (SECOND,)),
        ("GPU-2222", ("GPU-2222",)),
        ("GPU-", ("cpu",)),
        (" 1 , 0 ", ("1", "0")),
        ("no,1", ("cpu",)),
    ],
)
def test_what_is_visible_is_read_as_cuda_reads_it(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, visible: str | None, used: tuple[str, ...]
) -> None:
    machine(Handle(FIRST), Handle(SECOND))
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    monkeypatch.setattr("platform.system", lambda: "Linux")
    assert gpus.devices() == used


def test_what_a_person_has_set_is_taken_as_it_is(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    machine(Handle(FIRST), Handle(SECOND))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    assert gpus.devices(["1", "cpu"]) == ("1", "cpu")


def test_the_devices_of_a_card_that_is_cut_are_trained_on_one_by_one(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = Handle(MIG, "NVIDIA H100 MIG 1g.10gb", total_gb=10, capability=None)
    machine(Handle(FIRST, migs=[small, Handle("MIG-4", total_gb=20)]), Handle(SECOND))
    assert gpus.devices() == (MIG, "MIG-4", "1")
    mig = gpus.find(MIG)
    assert mig is not None and (mig.memory_bytes, mig.capability) == (10 * GIB, (9, 0))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "MIG-4")
    assert gpus.devices() == ("MIG-4",)
    assert presets.detect() == ("gpu-16gb", "NVIDIA H100 80GB HBM3 with 20 GB")


@pytest.mark.parametrize("has_driver", [False, True])
def test_without_a_card_or_without_a_driver_it_is_the_processor(machine: Machine, has_driver: bool) -> None:
    nvml = machine(has_driver=has_driver)
    assert (gpus.installed(), gpus.find("0"), gpus.users("0"), gpus.loads(), nvml.opened) == ((), None, [], [], 0)


def test_a_card_that_has_fallen_off_the_bus_takes_none_with_it(machine: Machine) -> None:
    nvml = machine(Handle(FIRST, is_gone=True), Handle(SECOND))
    assert gpus.devices() == ("1",)
    nvml.cards[1].is_gone = True
    assert gpus.users("1") == [] and gpus.loads() == [] and nvml.opened == 0


def test_a_card_says_what_it_does_and_not_what_it_does_not_know(machine: Machine) -> None:
    machine(Handle(FIRST, b"H100", used_gb=60, use=97, degrees=88), Handle(SECOND, use=None, degrees=None, watts=300))
    first, second = gpus.loads()
    assert (first.gpu.name, first.use_percent, first.memory_percent) == ("H100", 97, 75)
    assert first.is_hot and first.watts is None
    assert (second.use_percent, second.degrees, second.is_hot, second.watts) == (None, None, False, 300)


# Who else is there


@pytest.mark.parametrize(
    ("use", "held", "is_in_the_way"),
    [(80, 1.0, True), (0, 1.0, False), (0, 41.0, True), (80, None, True), (0, None, False), (None, 1.0, False)],
)
def test_who_keeps_a_card_busy_is_named_and_who_waits_is_let_be(
    machine: Machine, use: int | None, held: float | None, is_in_the_way: bool
) -> None:
    memory = None if held is None else int(held * GIB)
    machine(Handle(FIRST, use=use, processes=[Process(os.getpid(), memory)]))
    found = gpus.users("0")
    assert bool(found) is is_in_the_way
    if found:
        words = str(found[0])
        assert f"(process {os.getpid()}" in words and (f"{held} GB" in words) is (held is not None)


def test_nobody_is_in_the_way_on_a_card_that_is_busy_by_itself(machine: Machine) -> None:
    machine(Handle(FIRST, use=100))
    assert gpus.users("0") == []


# Presets


@pytest.mark.parametrize(
    ("given", "preset", "why"),
    [
        ([], "h100", "NVIDIA H100 80GB HBM3 with 80 GB"),
        (["1"], "gpu-8gb", "RTX 3070 with 8 GB"),
        (["cpu"], "cpu", "no GPU is used"),
        (["9"], "gpu-8gb", "GPU 9, which its driver does not know"),
        (["mps"], "mps", "Apple silicon"),
    ],
)
def test_the_preset_is_that_of_the_first_device(machine: Machine, given: list[str], preset: str, why: str) -> None:
    machine(Handle(FIRST), Handle(SECOND, "RTX 3070", total_gb=8))
    assert presets.detect(given) == (preset, why)
    assert presets.of_machine("", given).name == preset and presets.of_machine("mps", given).name == "mps"


@pytest.mark.parametrize(
    ("memory", "preset"),
    [(192, "h100"), (79.6, "h100"), (48, "gpu-24gb"), (23.5, "gpu-24gb"), (15.6, "gpu-16gb"), (11.9, "gpu-8gb")],
)
def test_the_memory_of_a_card_decides(machine: Machine, memory: float, preset: str) -> None:
    machine(Handle(FIRST, total_gb=memory))
    assert presets.detect()[0] == preset


def test_a_machine_whose_cards_are_hidden_is_said_to_have_some(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    machine(Handle(FIRST))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setattr("platform.system", lambda: "Linux")
    assert presets.detect() == ("cpu", "no GPU is used")


# AMD


def test_cards_of_amd_are_found_by_the_files_of_their_driver(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    machine(has_driver=False)
    small = {"mem_info_vram_total": str(16 * GIB), "product_name": "Radeon RX 7800 XT"}
    make_amd(tmp_path, "0000:83:00.0", 0, vendor="0x1002", **small)
    make_amd(
        tmp_path, "0000:03:00.0", 1, vendor="0x1002", mem_info_vram_total=str(192 * GIB), mem_info_vram_used=str(48 * GIB),
        product_name="Instinct MI300X", unique_id="abcdef0123", gpu_busy_percent="55",
    )  # fmt: skip
    make_amd(tmp_path, "0000:00:02.0", 2, vendor="0x8086")  # another maker's
    assert [(gpu.id, gpu.name, gpu.capability) for gpu in gpus.installed()] == [
        ("0", "Instinct MI300X", None), ("1", "Radeon RX 7800 XT", None),
    ]  # fmt: skip
    assert presets.detect() == ("h100", "Instinct MI300X with 192 GB")
    first, second = gpus.loads()
    assert (first.use_percent, first.memory_percent, second.use_percent) == (55, 25, None)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    monkeypatch.setenv("HIP_VISIBLE_DEVICES", "1")
    assert gpus.devices() == ("1",)
    assert gpus.users("1") == []


@pytest.mark.parametrize(
    ("rocr", "hip", "used"),
    [
        (None, None, ("0", "1", "2")), ("1,2", None, ("1", "2")), ("1,2", "1", ("2",)), ("GPU-b2", "0", ("2",)),
        ("2,0", "0,1", ("2", "0")), ("1", "1", ("cpu",)), ("-1", None, ("cpu",)),
    ],
)  # fmt: skip
def test_what_rocr_leaves_is_counted_anew_by_hip(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, rocr: str | None, hip: str | None, used: tuple[str]
) -> None:
    machine(has_driver=False)
    monkeypatch.setattr("platform.system", lambda: "Linux")
    for card in range(3):
        files = {"vendor": "0x1002", "mem_info_vram_total": str(16 * GIB), "unique_id": f"b{card}"}
        make_amd(tmp_path, f"0000:0{card}:00.0", card, **files)
    for name, value in (("ROCR_VISIBLE_DEVICES", rocr), ("HIP_VISIBLE_DEVICES", hip)):
        if value is not None:
            monkeypatch.setenv(name, value)
    assert gpus.devices() == used


def test_what_is_missing_is_what_nvml_could_name_and_does_not(machine: Machine) -> None:
    old = "MIG-GPU-1111/1/0"  # CUDA takes it, NVML has no such name any more
    machine(Handle(FIRST, "NVIDIA H100"))
    assert gpus.missing(["0", FIRST, "1", "GPU-9999", old]) == ["1", "GPU-9999"]
    machine(has_driver=False)
    assert gpus.missing(["0", "1"]) == []
