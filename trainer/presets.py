"""Presets: the constants of train.py, the data and the budget that suit a device. Picked by detection, never by torch.

Only `cpu` was tuned here. `h100` holds the upstream's published constants; the others are scaled down from it by the
device's memory and speed, and were not run on such a device: docs/trainer.md.
"""

from __future__ import annotations

import platform
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

Value = int | float | str
GIB = 2**30


@dataclass(frozen=True)
class Preset:
    name: str
    summary: str
    dataset: str
    vocab_size: int
    seq_len: int  # tokens of context
    budget_seconds: int
    grace_seconds: int  # start-up, compiling and the exam
    constants: Mapping[str, Value] = field(default_factory=dict)  # of train.py; empty: as it stands


_GPU: dict[str, Value] = {
    "MLP_RATIO": 4, "ROPE_BASE": 10000.0, "LOGIT_SOFTCAP": 15.0, "VALUE_EMBEDDINGS": 1, "SMEAR": 1, "MATRIX_LR": 0.04,
    "SCALAR_LR": 0.05, "WEIGHT_DECAY": 0.2, "MUON_MOMENTUM": 0.95, "MUON_ITERATIONS": 5, "MUON_BETA2": 0.95,
    "WARMUP_FRACTION": 0.0, "WARMDOWN_FRACTION": 0.5, "FINAL_LR_FRACTION": 0.0,
}  # fmt: skip

PRESETS: dict[str, Preset] = {
    preset.name: preset
    for preset in (
        Preset(
            "h100", "A GPU with 60 GB or more: the upstream's own size", "climbmix", 8192, 2048, 300, 300,
            {  # karpathy/autoresearch; its embedding and output rates are scaled by (WIDTH / 768) ** -0.5
                **_GPU, "DEPTH": 8, "WIDTH": 512, "HEAD_DIM": 128, "WINDOW_PATTERN": "SSSL", "SHORT_WINDOW": 1024,
                "BATCH_TOKENS": 2**19, "ROW_BATCH": 128, "EMBEDDING_LR": 0.73, "UNEMBEDDING_LR": 0.0049,
            },
        ),
        Preset(
            "gpu-24gb", "A GPU with 16 GB or more, such as an RTX 4090: a sixth of an H100's speed", "climbmix", 8192, 1024,
            300, 300,
            {
                **_GPU, "DEPTH": 6, "WIDTH": 384, "HEAD_DIM": 128, "WINDOW_PATTERN": "SSSL", "SHORT_WINDOW": 512,
                "BATCH_TOKENS": 2**17, "ROW_BATCH": 32, "EMBEDDING_LR": 0.85, "UNEMBEDDING_LR": 0.0057,
            },
        ),
        Preset(
            "gpu-8gb", "A smaller GPU: a small model on short stories", "tinystories", 2048, 512, 300, 300,
            {
                **_GPU, "DEPTH": 4, "WIDTH": 256, "HEAD_DIM": 64, "WINDOW_PATTERN": "L", "SHORT_WINDOW": 256,
                "BATCH_TOKENS": 2**15, "ROW_BATCH": 32, "EMBEDDING_LR": 1.0, "UNEMBEDDING_LR": 0.0069,
            },
        ),
        Preset(
            "mps", "Apple silicon: a small model on short stories", "tinystories", 2048, 512, 300, 300,
            {
                **_GPU, "DEPTH": 4, "WIDTH": 256, "HEAD_DIM": 64, "WINDOW_PATTERN": "L", "SHORT_WINDOW": 256,
                "BATCH_TOKENS": 2**14, "ROW_BATCH": 16, "EMBEDDING_LR": 1.0, "UNEMBEDDING_LR": 0.0069,
            },
        ),
        Preset("cpu", "No GPU: a tiny model on Python's own sources, nothing to download", "stdlib", 512, 256, 20, 100),
    )
}  # fmt: skip


def offline(preset: Preset) -> Preset:
    """The same model and rates on text that lies on every machine: nothing is loaded before the first step, and a first
    score is there within two minutes. More seconds would only repeat the text: it is 3 million tokens.
    """
    if preset.dataset == "stdlib":
        return preset
    constants = {**preset.constants, "SHORT_WINDOW": 256}
    return replace(preset, dataset="stdlib", vocab_size=2048, seq_len=512, budget_seconds=30, constants=constants)


def detect() -> tuple[str, str]:
    """The preset for this machine, and what it was picked by, for a person."""
    gpu = _first_gpu()
    if gpu:
        name, memory = gpu
        preset = "h100" if memory >= 60 * GIB else "gpu-24gb" if memory >= 15 * GIB else "gpu-8gb"
        return preset, f"{name} with {memory / GIB:.0f} GB"
    if platform.system() == "Darwin" and platform.machine() == "arm64":
        return "mps", "Apple silicon"
    return "cpu", "no GPU was found"


def _first_gpu() -> tuple[str, int] | None:
    """Name and bytes of memory of the first NVIDIA GPU, by NVML."""
    try:
        import pynvml
    except ImportError:
        return None
    try:
        pynvml.nvmlInit()
        handle = pynvml.nvmlDeviceGetHandleByIndex(0)
        return str(pynvml.nvmlDeviceGetName(handle)), int(pynvml.nvmlDeviceGetMemoryInfo(handle).total)
    except pynvml.NVMLError:
        return None


def apply(source: str, constants: Mapping[str, Value]) -> str:
    """`source` with these values in its lines `NAME = literal`, comments kept. Raises KeyError where a line is missing."""
    for name, value in constants.items():
        found = re.search(rf'^{name} = ("[^"\n]*"|[^\s#]+)', source, re.MULTILINE)
        if not found:
            raise KeyError(f"{name} is no constant of this train.py")
        literal = f'"{value}"' if isinstance(value, str) else repr(value)
        source = source[: found.start(1)] + literal + source[found.end(1) :]
    return source
