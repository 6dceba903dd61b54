"""Where the time of a training step goes: measured for the cpu preset, counted for the h100 preset.

    python -m tests.bench.step

Floor: operations over the rate of this core's matrix product, bytes over its memory bandwidth, whichever is longer.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from trainer import presets

ROOT = Path(__file__).resolve().parent.parent.parent
TEMPLATE = ROOT / "trainer" / "template"
STEPS, SKIPPED = 60, 10
H100_FLOPS, H100_BANDWIDTH = 989e12, 3.35e12  # data sheet, SXM: dense bf16 FLOP/s, bytes/s


@dataclass(frozen=True)
class Part:
    name: str
    milliseconds: float
    gflop: float
    megabytes: float


def load_train(preset: presets.Preset) -> ModuleType:
    """train.py with the preset's constants, as a module. Once a process: prepare.py reads the environment once."""
    os.environ.setdefault("AUTORESEARCH_CACHE_DIR", str(ROOT / "var" / "data"))
    os.environ.update(AUTORESEARCH_SEQ_LEN=str(preset.seq_len), AUTORESEARCH_VOCAB=str(preset.vocab_size))
    sys.path.insert(0, str(TEMPLATE))
    path = Path(tempfile.mkdtemp(prefix="bench-step-")) / "train.py"
    path.write_text(presets.apply((TEMPLATE / "train.py").read_text(), preset.constants))
    spec = importlib.util.spec_from_file_location("train", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def best_seconds(function: Callable[[], Any], times: int = 30) -> float:
    function()
    taken = []
    for _ in range(times):
        started = time.perf_counter()
        function()
        taken.append(time.perf_counter() - started)
    return min(taken)


def measure_core(train: ModuleType) -> tuple[float, float]:
    """FLOP/s of the product in the training's type and shape; bytes/s of a copy far larger than the cache."""
    import torch

    rows, width = train.BATCH_TOKENS, train.WIDTH
    a, b = torch.ones(rows, width, dtype=train.DTYPE), torch.ones(width, 4 * width, dtype=train.DTYPE)
    big = torch.ones(2**26)  # 256 MiB
    copy = torch.empty_like(big)
    flops = 2 * rows * width * 4 * width / best_seconds(lambda: a @ b)
    return flops, 2 * big.numel() * 4 / best_seconds(lambda: copy.copy_(big), 5)


def measure_parts(train: ModuleType) -> dict[str, float]:
    """Mean milliseconds of each part of a step: the loop of train.py, taken apart."""
    import torch

    tokenizer = train.Tokenizer.from_directory()
    batches = train.make_dataloader(tokenizer, train.ROW_BATCH, train.MAX_SEQ_LEN, "train")
    model = train.GPT(tokenizer.get_vocab_size())
    muon, adamw = train.make_optimizers(model)
    seconds: dict[str, list[float]] = {}
    modules: dict[str, float] = {}

    def clock(name: str) -> None:
        nonlocal last
        now = time.perf_counter()
        seconds.setdefault(name, []).append(now - last)
        last = now

    def watch(module: torch.nn.Module, name: str) -> None:
        def before(*_: Any) -> None:
            modules[name] = modules.get(name, 0.0) - time.perf_counter()

        def after(*_: Any) -> None:
            modules[name] += time.perf_counter()

        module.register_forward_pre_hook(before)
        module.register_forward_hook(after)

    for attention, mlp in zip(model.attentions, model.mlps, strict=True):
        watch(attention, "forward: attention")
        watch(mlp, "forward: MLP")
    for step in range(STEPS):
        if step == SKIPPED:
            seconds.clear()
            modules.clear()
        last = time.perf_counter()
        for _ in range(train.BATCH_TOKENS // (train.ROW_BATCH * train.MAX_SEQ_LEN)):
            x, y, _epoch = next(batches)
            clock("data")
            loss = model(x, y)
            clock("forward and loss")
            loss.backward()
            clock("backward")
        with torch.no_grad():
            muon.step(1.0, train.WEIGHT_DECAY)
            clock("Muon")
            adamw.step(1.0)
            clock("AdamW")
        model.zero_grad(set_to_none=True)
    hidden = torch.randn(train.BATCH_TOKENS, train.WIDTH, dtype=train.DTYPE)
    targets = torch.randint(tokenizer.get_vocab_size(), (train.BATCH_TOKENS,))
    loss_seconds = best_seconds(lambda: train.ChunkedLoss.apply(hidden, model.unembedding.detach(), targets), 10)
    parts = {name: 1e3 * sum(values) / (STEPS - SKIPPED) for name, values in seconds.items()}
    inside = {name: 1e3 * value / (STEPS - SKIPPED) for name, value in modules.items()}
    parts["loss, with its gradient"] = 1e3 * loss_seconds
    rest = parts.pop("forward and loss") - sum(inside.values()) - parts["loss, with its gradient"]
    whole = 1e3 * sum(map(sum, seconds.values())) / (STEPS - SKIPPED)
    return {**inside, "forward: the rest": max(0.0, rest), **parts, "whole step": whole}


def count(train: ModuleType, vocab: int, tokens: int) -> tuple[float, float]:
    """Operations of one step as train.py counts them, and the bytes of its weights: read, gradient, moments, written."""
    model = train.GPT(vocab)
    params = sum(p.numel() for p in model.parameters())
    return train.flops_per_token(model) * tokens, 4.0 * params * 7


def count_h100() -> None:
    """What one step of the h100 preset must do, against the card's data sheet. Nothing is run on one."""
    preset = presets.PRESETS["h100"]
    train = load_train(preset)
    operations, traffic = count(train, preset.vocab_size, train.BATCH_TOKENS)
    # Read and written by fused kernels, forward and twice that backward, in bf16: 14 rows of WIDTH a block, the MLP's hidden
    # row twice; and the logits five times in float32.
    row = 2 * train.WIDTH * (14 + 2 * train.MLP_RATIO) * train.DEPTH * 3 + 4 * preset.vocab_size * 5
    activations = row * train.BATCH_TOKENS
    print(f"By counting, an H100's step of {train.BATCH_TOKENS:,} tokens (preset h100, vocabulary {preset.vocab_size}):")
    print(f"  operations   {operations / 1e12:8.1f} TFLOP at 989 TFLOP/s   {1e3 * operations / H100_FLOPS:7.1f} ms")
    print(f"  activations  {activations / 1e9:8.1f} GB at 3.35 TB/s        {1e3 * activations / H100_BANDWIDTH:7.1f} ms")
    print(f"  optimizer    {traffic / 1e9:8.1f} GB                     {1e3 * traffic / H100_BANDWIDTH:7.1f} ms")


def main() -> int:
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    if sys.argv[1:] == ["--count"]:
        count_h100()
        return 0
    measure()
    return subprocess.run([sys.executable, "-m", "tests.bench.step", "--count"], check=True).returncode


def measure() -> None:
    train = load_train(presets.PRESETS["cpu"])
    rate, bandwidth = measure_core(train)
    parts = measure_parts(train)
    vocab = train.Tokenizer.from_directory().get_vocab_size()
    operations, traffic = count(train, vocab, train.BATCH_TOKENS)
    total = parts.pop("whole step")
    print(f"This core: {rate / 1e9:.0f} GFLOP/s in {train.DTYPE}, {bandwidth / 1e9:.1f} GB/s.")
    print(f"A step of {train.BATCH_TOKENS} tokens, vocabulary {vocab}:")
    for name, milliseconds in parts.items():
        print(f"  {name:<26} {milliseconds:7.2f} ms {100 * milliseconds / total:5.1f}%")
    print(f"  {'whole step':<26} {total:7.2f} ms")
    print(f"  floor by operations        {1e3 * operations / rate:7.2f} ms ({operations / 1e9:.2f} GFLOP)")
    print(f"  floor by bytes of weights  {1e3 * traffic / bandwidth:7.2f} ms ({traffic / 1e6:.1f} MB)")
    print(f"  utilisation                {100 * operations / rate / (total / 1e3):7.1f} %")


if __name__ == "__main__":
    sys.exit(main())
