"""Presets: the constants of train.py, the data and the budget that suit a device. Picked by detection, never by torch.

Only `cpu` was tuned here. The others are calculated from published constants and a card's memory and speed, and were not
run on such a card, but for `upstream`: docs/trainer.md, Presets.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from trainer import gpus

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


_GPU: dict[str, Value] = {  # karpathy/autoresearch
    "MLP_RATIO": 4, "ROPE_BASE": 10000.0, "LOGIT_SOFTCAP": 15.0, "VALUE_EMBEDDINGS": 1, "SMEAR": 1, "INIT_SCALE": 1.0,
    "EMBEDDING_SCALE": 0.1, "MATRIX_LR": 0.04, "SCALAR_LR": 0.05, "WEIGHT_DECAY": 0.2, "EMBEDDING_WEIGHT_DECAY": 0.0,
    "MUON_MOMENTUM": 0.95, "MUON_ITERATIONS": 5, "MUON_BETA2": 0.95, "WARMUP_FRACTION": 0.0, "WARMDOWN_FRACTION": 0.5,
    "FINAL_LR_FRACTION": 0.0,
}  # fmt: skip
_FOUND: dict[str, Value] = {  # what its published night on an H100 kept, of what does not hang on the size
    **_GPU, "ROPE_BASE": 200000.0, "INIT_SCALE": 0.68, "EMBEDDING_SCALE": 0.05, "EMBEDDING_WEIGHT_DECAY": 0.002,
    "WARMDOWN_FRACTION": 0.75, "FINAL_LR_FRACTION": 0.05, "WINDOW_PATTERN": "SSSSL",
}  # fmt: skip


def _rates(width: int, embedding: float, unembedding: float) -> dict[str, Value]:
    """The upstream's rule: rates of a width of 768, scaled by (WIDTH / 768) ** -0.5."""
    scale = (width / 768) ** -0.5
    return {"EMBEDDING_LR": round(embedding * scale, 3), "UNEMBEDDING_LR": round(unembedding * scale, 5)}


# Sizes of the cards below 72 GB: docs/trainer.md, Presets.
_24GB: dict[str, Value] = {
    **_FOUND, "DEPTH": 6, "WIDTH": 384, "HEAD_DIM": 128, "SHORT_WINDOW": 128, "BATCH_TOKENS": 2**17,
    **_rates(384, 0.9, 0.005),
}  # fmt: skip
_SMALL: dict[str, Value] = {
    **_GPU, "DEPTH": 4, "WIDTH": 256, "HEAD_DIM": 64, "WINDOW_PATTERN": "L", "SHORT_WINDOW": 256, **_rates(256, 0.6, 0.004),
}  # fmt: skip

PRESETS: dict[str, Preset] = {
    preset.name: preset
    for preset in (
        Preset(
            "h100", "A GPU with 72 GB or more: what the upstream's published night found", "climbmix", 8192, 2048, 300, 300,
            {
                **_FOUND, "DEPTH": 9, "WIDTH": 640, "HEAD_DIM": 128, "SHORT_WINDOW": 256, "BATCH_TOKENS": 2**18,
                "ROW_BATCH": 128, **_rates(640, 0.9, 0.005),
            },
        ),
        Preset(
            "upstream", "The same GPU: the upstream's own size, for comparisons", "climbmix", 8192, 2048, 300, 300,
            {
                **_GPU, "DEPTH": 8, "WIDTH": 512, "HEAD_DIM": 128, "WINDOW_PATTERN": "SSSL", "SHORT_WINDOW": 1024,
                "BATCH_TOKENS": 2**19, "ROW_BATCH": 128, **_rates(512, 0.6, 0.004),
            },
        ),
        Preset(
            "gpu-24gb", "A GPU with 22 GB or more, such as an RTX 4090: a sixth of an H100's speed", "climbmix", 8192, 1024,
            300, 300, {**_24GB, "ROW_BATCH": 128},
        ),
        Preset(
            "gpu-16gb", "A GPU with 14 GB or more: the same model, in halves of a batch", "climbmix", 8192, 1024, 300, 300,
            {**_24GB, "ROW_BATCH": 64},
        ),
        Preset(
            "gpu-8gb", "A smaller GPU: a small model on short stories", "tinystories", 2048, 512, 300, 300,
            {**_SMALL, "DEPTH": 5, "WIDTH": 320, "BATCH_TOKENS": 2**16, "ROW_BATCH": 128, **_rates(320, 0.6, 0.004)},
        ),
        Preset(
            "mps", "Apple silicon: a small model on short stories", "tinystories", 2048, 512, 300, 300,
            {**_SMALL, "BATCH_TOKENS": 2**14, "ROW_BATCH": 16},
        ),
        Preset("cpu", "No GPU: a tiny model on Python's own sources, nothing to download", "stdlib", 512, 256, 20, 100),
    )
}  # fmt: skip


BY_MEMORY = ((72, "h100"), (22, "gpu-24gb"), (14, "gpu-16gb"))  # least GB of a card


def offline(preset: Preset) -> Preset:
    """The same model and rates on text that lies on every machine: nothing is loaded before the first step, and a first
    score is there within two minutes. More seconds would only repeat the text: it is 3 million tokens.
    """
    if preset.dataset == "stdlib":
        return preset
    constants = {**preset.constants, "SHORT_WINDOW": 256}
    return replace(preset, dataset="stdlib", vocab_size=2048, seq_len=512, budget_seconds=30, constants=constants)


def detect(given: Sequence[str] = ()) -> tuple[str, str]:
    """The preset for the first device of this machine, and what it was picked by, for a person. `given`: gpus.devices."""
    device = gpus.devices(given)[0]
    if device == "mps":
        return "mps", "Apple silicon"
    if device == "cpu":
        return "cpu", "no GPU is used" if given or gpus.installed() else _none_found()
    gpu = gpus.find(device)
    if gpu is None:
        return "gpu-8gb", f"GPU {device}, which its driver does not know"
    if gpu.memory_bytes is None:
        return "gpu-8gb", f"{gpu.name}, which does not say its memory"
    memory = gpu.memory_bytes / GIB
    name = next((name for least, name in BY_MEMORY if memory >= least), "gpu-8gb")
    return name, f"{gpu.name} with {memory:.0f} GB"


def _none_found() -> str:
    trouble = gpus.trouble()
    return f"no GPU was found, and NVIDIA's driver does not answer ({trouble})" if trouble else "no GPU was found"


def of_machine(name: str, given: Sequence[str] = ()) -> Preset:
    """The preset of this name, or where that is "" the one for this machine."""
    return PRESETS[name or detect(given)[0]]


def apply(source: str, constants: Mapping[str, Value]) -> str:
    """`source` with these values in its lines `NAME = literal`, comments kept. Raises KeyError where a line is missing."""
    for name, value in constants.items():
        found = re.search(rf'^{name} = ("[^"\n]*"|[^\s#]+)', source, re.MULTILINE)
        if not found:
            raise KeyError(f"{name} is no constant of this train.py")
        literal = f'"{value}"' if isinstance(value, str) else repr(value)
        source = source[: found.start(1)] + literal + source[found.end(1) :]
    return source
