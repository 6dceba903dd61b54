"""What torch says of a card that is not there. No call may reach a driver: torch built for CUDA would ask it and fail, and
torch for the CPU has no such call. What is not answered here ends a rehearsal with "It needs a real GPU to say".
"""

from __future__ import annotations

import contextlib
import types
from typing import Any

import torch


class Autocast(contextlib.ContextDecorator):
    """torch.autocast, which without a card switches itself off."""

    card: Any  # a pretended.Card

    def __init__(
        self, device_type: str = "cuda", dtype: torch.dtype | None = None, enabled: bool = True, *_: Any, **__: Any
    ) -> None:
        self.dtype = (dtype or torch.float16) if enabled and device_type.startswith("cuda") else None

    def __enter__(self) -> Autocast:
        self.card.autocasts.append(self.dtype)
        return self

    def __exit__(self, *_: object) -> None:
        self.card.autocasts.pop()


class CudaAutocast(Autocast):
    """torch.cuda.amp.autocast: the same without a device."""

    def __init__(self, enabled: bool = True, dtype: torch.dtype | None = None, *_: Any, **__: Any) -> None:
        super().__init__("cuda", dtype, enabled)


class Nothing:
    """A stream, an event, a profiler: everything can be asked of it, and nothing happens."""

    def __init__(self, *_: Any, **__: Any) -> None: ...

    def is_capturing(self) -> bool:
        return False

    def __getattr__(self, _name: str) -> Any:
        return lambda *_, **__: 1.0

    def __enter__(self) -> Nothing:
        return self

    def __exit__(self, *_: object) -> None: ...


class Generator(torch.Generator):
    def __new__(cls, device: Any = "cpu") -> Generator:  # noqa: ARG004
        return super().__new__(cls, "cpu")  # type: ignore[call-arg]


ANSWERS: dict[str, Any] = {  # of torch.cuda, where the answer does not depend on the card
    "is_available": True, "is_initialized": True, "device_count": 1, "current_device": 0, "get_device_index": 0,
    "memory_summary": "", "list_gpu_processes": "", "memory_snapshot": [], "utilization": 0, "memory_usage": 0,
    "temperature": 30, "clock_rate": 1000, "power_draw": 0, "is_current_stream_capturing": False, "initial_seed": 0,
    "can_device_access_peer": False, "current_blas_handle": 0, "current_solver_handle": 0, "get_sync_debug_mode": 0,
    "get_per_process_memory_fraction": 1.0, "get_allocator_backend": "native", "graph_pool_handle": (0, 0),
    "host_memory_stats": {}, "is_tf32_supported": True,
    **dict.fromkeys(
        ("init", "synchronize", "empty_cache", "manual_seed", "manual_seed_all", "seed", "seed_all", "set_device",
         "reset_peak_memory_stats", "reset_max_memory_allocated", "reset_max_memory_cached", "ipc_collect", "set_stream",
         "reset_accumulated_memory_stats", "reset_peak_host_memory_stats", "reset_accumulated_host_memory_stats",
         "set_per_process_memory_fraction", "set_rng_state", "set_rng_state_all", "set_sync_debug_mode", "_sleep",
         "_record_memory_history", "_dump_snapshot"), None,
    ),
}  # fmt: skip
OF_ACCELERATOR = (  # functions of torch.accelerator with the name that they have in torch.cuda
    "is_available", "device_count", "synchronize", "empty_cache", "current_stream", "set_stream", "max_memory_allocated",
    "max_memory_reserved", "memory_allocated", "memory_reserved", "memory_stats", "reset_peak_memory_stats",
    "reset_accumulated_memory_stats",
)  # fmt: skip
STANDINS = ("Stream", "ExternalStream", "Event", "CUDAGraph", "MemPool", "stream", "device", "graph", "use_mem_pool",
            "cudart", "get_stream_from_external", "current_stream", "default_stream")  # fmt: skip


def patch_cuda(card: Any) -> None:
    """torch.cuda, so that none of its calls reaches a driver."""
    cuda: Any = torch.cuda
    for name, answer in {**ANSWERS, **answers_of(card)}.items():
        setattr(cuda, name, lambda *_, answer=answer, **__: answer)
        if hasattr(cuda.memory, name):
            setattr(cuda.memory, name, getattr(cuda, name))
    for name in ("max_memory_allocated", "max_memory_reserved", "max_memory_cached"):
        setattr(cuda, name, lambda *_, **__: card.peak)
    for name in ("memory_allocated", "memory_reserved", "memory_cached", "device_memory_used"):
        setattr(cuda, name, lambda *_, **__: card.held)
    cuda.mem_get_info = lambda *_, **__: (max(0, card.memory_bytes - card.held), card.memory_bytes)
    cuda.memory_stats = lambda *_, **__: Stats(
        {"allocated_bytes.all.peak": card.peak, "allocated_bytes.all.current": card.held}
    )
    cuda.make_graphed_callables = lambda callables, *_, **__: callables
    for name in STANDINS:
        setattr(cuda, name, Nothing)
    marks = ("mark", "range_push", "range_pop", "range_start", "range_end")
    cuda.nvtx = types.SimpleNamespace(range=Nothing, **dict.fromkeys(marks, lambda *_, **__: 0))
    patch_torch(card)


def answers_of(card: Any) -> dict[str, Any]:
    properties = types.SimpleNamespace(
        name=card.name, major=card.capability[0], minor=card.capability[1], total_memory=card.memory_bytes,
        multi_processor_count=132, max_threads_per_multi_processor=2048, warp_size=32, gcnArchName="",
        regs_per_multiprocessor=65536, shared_memory_per_block=49152, shared_memory_per_block_optin=101376,
        shared_memory_per_multiprocessor=102400, L2_cache_size=40 * 2**20, is_integrated=0, is_multi_gpu_board=0, uuid="",
    )  # fmt: skip
    return {
        "get_device_name": card.name, "get_device_capability": card.capability, "get_device_properties": properties,
        "is_bf16_supported": card.capability >= (8, 0), "get_arch_list": [f"sm_{card.capability[0]}{card.capability[1]}"],
        "get_rng_state": torch.get_rng_state(), "get_rng_state_all": [torch.get_rng_state()],
    }  # fmt: skip


class Stats(dict[str, int]):
    def __missing__(self, _name: str) -> int:
        return 0


def patch_torch(card: Any) -> None:
    """What asks for the card by way of other modules."""
    anything: Any = torch
    anything.backends.cuda.is_built = lambda: True
    Autocast.card = card
    anything.autocast = anything.amp.autocast = anything.amp.autocast_mode.autocast = Autocast
    anything.cuda.amp.autocast = CudaAutocast
    anything.Generator, anything.Stream, anything.Event = Generator, Nothing, Nothing
    anything.cuda.default_generators = (Generator(),)
    anything.autograd.profiler.emit_nvtx = Nothing
    anything.compiler.cudagraph_mark_step_begin = lambda: None
    default, fork = torch.set_default_device, torch.random.fork_rng
    anything.set_default_device = lambda device: default(card.moved(device))
    anything.random.fork_rng = lambda *_, **__: fork(devices=(), device_type="cpu")
    anything.get_device_module = lambda *_: torch.cuda
    device = torch.device("cuda")  # made now: later the word means the meta device
    accelerator: Any = getattr(torch, "accelerator", types.SimpleNamespace())  # of torch 2.6 and later
    for name in OF_ACCELERATOR:
        setattr(accelerator, name, getattr(torch.cuda, name))
    accelerator.current_accelerator = lambda *_, **__: device
    accelerator.current_device_index = accelerator.current_device_idx = lambda: 0
    accelerator.set_device_index = accelerator.set_device_idx = lambda *_: None
