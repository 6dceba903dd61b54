"""A GPU whose tensors lie on the CPU, numbers and all: for the lines of train.py and prepare.py that a GPU alone runs.

What only the device itself can say, its kernels, its compiler, its streams, is not seen by this.
"""

from __future__ import annotations

import functools
import sys
import time
import types
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F


class Name(str):
    """The name of a device, which torch reads as "cpu" and our files as another."""

    shown: str

    def __new__(cls, shown: str) -> Name:
        name = super().__new__(cls, "cpu")
        name.shown = shown
        return name

    def __eq__(self, other: object) -> bool:
        return self.shown == other

    def __ne__(self, other: object) -> bool:  # str has one of its own
        return self.shown != other

    def __hash__(self) -> int:
        return hash(self.shown)


SLOW_SECONDS = 0.06  # of a kernel that is not to be chosen


def pretend(patch: pytest.MonkeyPatch, device: str, *, flash: str = "") -> None:
    """From now on this device is found. `flash`: a Hopper with FlashAttention "3" or "4" installed, or "3 4"."""
    patch.setattr(sys.modules["prepare"], "pick_device", lambda: Name(device))
    patch.setattr(torch.Tensor, "pin_memory", lambda self: self)
    patch.setattr(torch, "compile", functools.partial(torch.compile, backend="aot_eager"))  # traced, not compiled
    answers = {
        "get_device_name": "NVIDIA H100", "is_bf16_supported": False, "get_device_capability": (9, 0) if flash else (8, 0),
        "synchronize": None, "max_memory_allocated": 2**20, "empty_cache": None, "reset_peak_memory_stats": None,
    }  # fmt: skip
    for name, answer in answers.items():
        patch.setattr(torch.cuda, name, lambda *_, answer=answer, **__: answer)
    # On a CPU it refuses to learn, though what the tracing backend makes of it can
    patch.setattr("torch.nn.attention.flex_attention._validate_device", lambda *_: None)
    kernels: Any = types.ModuleType("kernels")
    one_operation = torch.compiler.allow_in_graph(flash_attention)  # as the real one is: not looked into
    kernels.get_kernel = lambda _name: types.SimpleNamespace(flash_attn_func=one_operation)
    patch.setitem(sys.modules, "kernels", kernels if "3" in flash else None)
    cute: Any = types.ModuleType("flash_attn.cute.interface")
    cute._flash_attn_fwd, cute._flash_attn_bwd = flash_4_forward, flash_4_backward
    patch.setitem(sys.modules, "flash_attn.cute.interface", cute if "4" in flash else None)
    for package in ("flash_attn", "flash_attn.cute"):
        patch.setitem(sys.modules, package, types.ModuleType(package))


def pretend_others_are_slow(patch: pytest.MonkeyPatch, *, flex: bool) -> None:
    """SDPA takes long outside the compiler, where it is measured. `flex`: FlexAttention works."""
    attend = F.scaled_dot_product_attention

    def slow(*args: Any, **options: Any) -> Tensor:
        if not torch.compiler.is_compiling():
            time.sleep(SLOW_SECONDS)
        return attend(*args, **options)

    def broken(*_: Any, **__: Any) -> Tensor:
        raise NotImplementedError("FlexAttention does not compile here")

    patch.setattr(F, "scaled_dot_product_attention", slow)
    if not flex:
        patch.setattr("torch.nn.attention.flex_attention.flex_attention", broken)


def weigh(q: Tensor, k: Tensor, left: int, right: int) -> tuple[Tensor, Tensor]:
    """What FlashAttention says that it computes: a query sees `left` keys before it, itself, and `right` keys after it.
    Returns the weights (B, H, T, T) and the logarithms of their sums (B, H, T).
    """
    distance = torch.arange(q.size(1))[:, None] - torch.arange(k.size(1))
    logits = torch.einsum("bqhd,bkhd->bhqk", q, k) * q.size(-1) ** -0.5
    logits = logits.masked_fill((distance > left) | (-distance > right), -torch.inf)
    return logits.softmax(-1), logits.logsumexp(-1)


def flash_attention(q: Tensor, k: Tensor, v: Tensor, *, causal: bool, window_size: tuple[int, int]) -> Tensor:
    """As the kernels package has it."""
    left, right = window_size
    return torch.einsum("bhqk,bkhd->bqhd", weigh(q, k, left, 0 if causal else right)[0], v)


def flash_4_forward(
    q: Tensor, k: Tensor, v: Tensor, *, causal: bool, window_size_left: int | None, window_size_right: int, return_lse: bool
) -> tuple[Tensor, Tensor, None]:
    """As flash-attn-4 has it: None is no limit, and more may come behind what is asked for."""
    assert causal and return_lse and window_size_right == 0
    weights, sums = weigh(q, k, q.size(1) if window_size_left is None else window_size_left, 0)
    return torch.einsum("bhqk,bkhd->bqhd", weights, v), sums, None


def flash_4_backward(
    q: Tensor, k: Tensor, v: Tensor, y: Tensor, dy: Tensor, sums: Tensor, **window: Any
) -> tuple[Tensor, Tensor, Tensor]:
    again, sums_again, _ = flash_4_forward(q, k, v, return_lse=True, **window)
    assert torch.allclose(again, y, atol=1e-4) and torch.allclose(sums_again, sums, atol=1e-4)
    left = window["window_size_left"]
    weights, _ = weigh(q, k, q.size(1) if left is None else left, 0)
    slope = torch.einsum("bqhd,bkhd->bhqk", dy, v)
    slope = weights * (slope - (slope * weights).sum(-1, keepdim=True)) * q.size(-1) ** -0.5
    return (
        torch.einsum("bhqk,bkhd->bqhd", slope, k), torch.einsum("bhqk,bqhd->bkhd", slope, q),
        torch.einsum("bhqk,bqhd->bkhd", weights, dy),
    )  # fmt: skip


@functools.cache
def register_flash_2() -> torch.library.Library:
    """The operation inside torch, which a CPU does not have. It stays for the life of the process."""
    library = torch.library.Library("aten", "IMPL")

    def sides(window_size_left: int, window_size_right: int) -> dict[str, Any]:
        left = None if window_size_left < 0 else window_size_left
        return {"causal": True, "window_size_left": left, "window_size_right": window_size_right}

    def forward(q: Tensor, k: Tensor, v: Tensor, *rest: Any, **window: int) -> tuple[Tensor, ...]:
        assert rest == (None, None, q.size(1), k.size(1), 0.0, True, False)
        y, sums, _ = flash_4_forward(q, k, v, return_lse=True, **sides(**window))
        return y.contiguous(), sums, q.new_empty(2, dtype=torch.uint64), q.new_empty((), dtype=torch.uint64), q.new_empty(0)

    def backward(dy: Tensor, q: Tensor, k: Tensor, v: Tensor, y: Tensor, sums: Tensor, *_: Any, **window: int) -> Any:
        return tuple(t.contiguous() for t in flash_4_backward(q, k, v, y, dy, sums, **sides(**window)))

    library.impl("_flash_attention_forward", forward, "CPU")
    library.impl("_flash_attention_backward", backward, "CPU")
    return library


if __name__ == "__main__":  # python gpu_on_cpu.py, beside train.py and prepare.py; KIND: the kernel that is the fastest
    import os
    import runpy

    import prepare  # noqa: F401

    kind = os.environ["KIND"]
    patch = pytest.MonkeyPatch()
    pretend(patch, "cuda", flash=kind.removeprefix("FlashAttention ") if kind.startswith("Flash") else "")
    pretend_others_are_slow(patch, flex=kind == "FlexAttention")
    runpy.run_path(os.path.join(os.path.dirname(__file__), "train.py"), run_name="__main__")
