"""A GPU whose tensors lie on the CPU, numbers and all: for the lines of train.py and prepare.py that a GPU alone runs.

What only the device itself can say, its kernels, its compiler, its streams, is not seen by this.
"""

from __future__ import annotations

import functools
import sys
import types
from typing import Any

import pytest
import torch
from torch import Tensor


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


def pretend(patch: pytest.MonkeyPatch, device: str, *, flash: bool = False) -> None:
    """From now on this device is found. `flash`: a Hopper with the kernels package installed."""
    patch.setattr(sys.modules["prepare"], "pick_device", lambda: Name(device))
    patch.setattr(torch.Tensor, "pin_memory", lambda self: self)
    patch.setattr(torch, "compile", functools.partial(torch.compile, backend="aot_eager"))  # traced, not compiled
    answers = {
        "get_device_name": "NVIDIA H100", "is_bf16_supported": False, "get_device_capability": (9, 0) if flash else (8, 0),
        "synchronize": None, "max_memory_allocated": 2**20,
    }  # fmt: skip
    for name, answer in answers.items():
        patch.setattr(torch.cuda, name, lambda *_, answer=answer, **__: answer)
    kernels: Any = types.ModuleType("kernels")
    one_operation = torch.compiler.allow_in_graph(flash_attention)  # as the real one is: not looked into
    kernels.get_kernel = lambda _name: types.SimpleNamespace(flash_attn_func=one_operation)
    patch.setitem(sys.modules, "kernels", kernels)


def flash_attention(q: Tensor, k: Tensor, v: Tensor, *, causal: bool, window_size: tuple[int, int]) -> Tensor:
    """What FlashAttention says that it computes: a query sees `window_size` keys before it and after it, and itself."""
    T = q.size(1)
    distance = torch.arange(T)[:, None] - torch.arange(T)
    left, right = window_size
    seen = (distance <= left) & (-distance <= (0 if causal else right))
    weights = (torch.einsum("bqhd,bkhd->bhqk", q, k) * q.size(-1) ** -0.5).masked_fill(~seen, -torch.inf).softmax(-1)
    return torch.einsum("bhqk,bkhd->bqhd", weights, v)


if __name__ == "__main__":  # python gpu_on_cpu.py, beside train.py and prepare.py; KIND: flash or anything else
    import os
    import runpy

    import prepare  # noqa: F401

    pretend(pytest.MonkeyPatch(), "cuda", flash=os.environ["KIND"] == "flash")
    runpy.run_path(os.path.join(os.path.dirname(__file__), "train.py"), run_name="__main__")
