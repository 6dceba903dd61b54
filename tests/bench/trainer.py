"""make bench-trainer: the cpu preset against what the upstream's README advises for small machines, on one core.

    python -m tests.bench.trainer [--seconds 60] [--seeds 5] [--vocab 512 --vocab 2048] [--fast] [--noise 8]

--noise: also the scatter over so many seeds at the budget the preset ships with, timed and by tokens.

Every training goes through the shim and sits the exam, and every step of both counts towards the budget.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from tests.bench.table import Line, at_most, show
from trainer import launch, presets
from trainer.output import Summary, parse_summary
from trainer.spec import read_json

ROOT = Path(__file__).resolve().parent.parent.parent
SEQ_LEN = 256
# karpathy/autoresearch, README, "smaller machines": depth 4, width 256, 16k tokens a step, its train.py's rates (those of
# embedding and output scaled by width, as it does), no smear, and the momentum that its first 30 steps have.
UPSTREAM_SMALL = {
    "DEPTH": 4, "WIDTH": 256, "HEAD_DIM": 128, "WINDOW_PATTERN": "L", "VALUE_EMBEDDINGS": 1, "SMEAR": 0,
    "BATCH_TOKENS": 2**14, "ROW_BATCH": 16, "MATRIX_LR": 0.04, "EMBEDDING_LR": 1.04, "UNEMBEDDING_LR": 0.0069,
    "SCALAR_LR": 0.5, "WEIGHT_DECAY": 0.2, "MUON_MOMENTUM": 0.86, "MUON_ITERATIONS": 5, "MUON_BETA2": 0.95,
    "WARMUP_FRACTION": 0.0, "WARMDOWN_FRACTION": 0.5, "FINAL_LR_FRACTION": 0.0,
}  # fmt: skip


def upstream_small(shipped: str) -> str:
    """train.py as a straight port of the upstream runs on a CPU: its constants, and torch's own operations.

    --fast gives it our faster ones (attention, norm, activation, loss) instead: then only the constants differ.
    """
    plain = shipped.replace('"explicit" if DEVICE == "cpu"', '"SDPA" if DEVICE == "cpu"')
    plain = re.sub(r'(?<!"SDPA" )if DEVICE == "cpu"|and DEVICE == "cpu"', lambda m: f"{m[0].split()[0]} False", plain)
    assert plain.count('DEVICE == "cpu"') == 1, "train.py has other words for its CPU paths: mend upstream_small"
    return presets.apply(plain, UPSTREAM_SMALL)


@dataclass(frozen=True)
class Trained:
    """What one training brought. Seconds by the clock outside; the score is the judge's."""

    val_bpb: float
    summary: Summary
    tokens: int
    wall_seconds: float
    before_seconds: float  # from the start of the process to its first step
    exam_seconds: float


def train(source: str, vocab: int, seed: int, seconds: int, scratch: Path, token_budget: int = 0) -> Trained:
    data = launch.Data(Path(os.environ.get("AUTORESEARCH_CACHE_DIR") or ROOT / "var" / "data"), "stdlib", vocab, SEQ_LEN)
    folder = scratch / f"{vocab}-{seed}"
    job = launch.Job(
        folder=folder, export=lambda code: (code / "train.py").write_text(source) and None,
        command=["{python}", "train.py"], data=data, data_dir=launch.prepare(data), device="cpu",
        device_lock=scratch / "device.lock", budget_seconds=seconds, deadline_seconds=10 * seconds + 120, seed=seed,
        fixed=launch.fixed_files(["prepare.py"]), env={"AUTORESEARCH_TOKENS": str(token_budget)} if token_budget else {},
    )  # fmt: skip
    process = launch.start(job)
    process.wait()
    result, report = read_json(folder / "result.json") or {}, read_json(folder / "exam.json") or {}
    log = (folder / "log").read_text()
    summary = parse_summary(log)
    if summary is None or not report.get("val_bpb"):
        sys.exit(f"bench: no score.\n{log[-2000:]}\n{report}\n{(folder / 'shim.log').read_text()[-500:]}")
    began = result["seconds"] - report["seconds"] - (summary.training_seconds or 0.0)
    shutil.rmtree(folder)
    found = re.search(r"(?m)^BATCH_TOKENS = (\d+)", source)
    assert found is not None
    tokens = int(found[1]) * (summary.num_steps or 0)
    return Trained(report["val_bpb"], summary, tokens, result["seconds"], began, report["seconds"])


def matmul_rate() -> float:
    """GFLOP a second of this core on the training's own type and shape (2048, 128) x (128, 512)."""
    code = (
        "import torch, time; torch.set_num_threads(1); best = 0\n"
        "for d in (torch.float32, torch.bfloat16):\n"
        "    a, b = torch.ones(2048, 128, dtype=d), torch.ones(128, 512, dtype=d)\n"
        "    for _ in range(30):\n"
        "        s = time.perf_counter(); a @ b; best = max(best, 2048 * 128 * 512 * 2 / (time.perf_counter() - s) / 1e9)\n"
        "print(best)"
    )
    return float(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)


def compare(vocab: int, seeds: int, seconds: int, goal: float, scratch: Path, fast: bool) -> list[Line]:
    shipped = (ROOT / "trainer" / "template" / "train.py").read_text()
    other = presets.apply(shipped, UPSTREAM_SMALL) if fast else upstream_small(shipped)
    sources = {"cpu": shipped, "upstream-small": other}
    runs: dict[str, list[Trained]] = {name: [] for name in sources}
    for seed in range(1, seeds + 1):  # turn about, so that a slow minute of the machine meets both
        for name, source in sources.items():
            runs[name].append(train(source, vocab, seed, seconds, scratch))
            print(f"vocab {vocab} seed {seed} {name:<15} {runs[name][-1].val_bpb:.4f}", flush=True)
    lines = []
    for name, trained in runs.items():
        scores = [t.val_bpb for t in trained]
        mean = lambda values: statistics.fmean(values)  # noqa: E731
        share = mean((t.wall_seconds - (t.summary.training_seconds or 0)) / t.wall_seconds for t in trained)
        tokens = mean(t.tokens / (t.summary.training_seconds or 1) for t in trained)
        params = 1e6 * (trained[0].summary.num_params_m or 0)
        flops = 6 * params * tokens
        prefix = f"vocab {vocab}, {name}"
        lines += [
            at_most(f"{prefix}: val_bpb, mean of {seeds} seeds", mean(scores), "bpb", None),
            at_most(f"{prefix}: standard deviation", statistics.stdev(scores), "bpb", 0.02 if name == "cpu" else None),
            at_most(f"{prefix}: tokens a second", tokens, "/s", None),
            at_most(f"{prefix}: 6 x parameters x tokens a second", flops / 1e9, "GFLOP/s", None),
            at_most(f"{prefix}: steps", mean(t.summary.num_steps or 0 for t in trained), "", None),
            at_most(f"{prefix}: before the first step", mean(t.before_seconds for t in trained), "s", None),
            at_most(f"{prefix}: exam", mean(t.exam_seconds for t in trained), "s", None),
            at_most(f"{prefix}: share of the wall clock not training", share, "", 0.10 if name == "cpu" else None),
        ]
    ratio = statistics.fmean(t.val_bpb for t in runs["cpu"]) / statistics.fmean(t.val_bpb for t in runs["upstream-small"])
    return [*lines, at_most(f"vocab {vocab}: cpu over upstream-small", ratio, "", goal)]


def noise(seeds: int, seconds: int, scratch: Path) -> list[Line]:
    """Seed noise of the cpu preset, in time mode and in token mode at about the same length."""
    source = (ROOT / "trainer" / "template" / "train.py").read_text()
    timed = [train(source, 512, seed, seconds, scratch) for seed in range(1, seeds + 1)]
    tokens = int(statistics.median(t.tokens for t in timed))
    counted = [train(source, 512, seed, seconds, scratch, tokens) for seed in range(1, seeds + 1)]
    lines = []
    for name, trained in (("time", timed), (f"{tokens:,} tokens", counted)):
        scores = [t.val_bpb for t in trained]
        lines.append(at_most(f"seed noise over {seeds} seeds, {name}: mean", statistics.fmean(scores), "bpb", None))
        lines.append(at_most(f"seed noise over {seeds} seeds, {name}: deviation", statistics.stdev(scores), "bpb", None))
        print(name, " ".join(f"{score:.4f}" for score in scores), flush=True)
    return lines


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--vocab", type=int, action="append")
    parser.add_argument("--fast", action="store_true", help="our faster operations for upstream-small too")
    parser.add_argument("--noise", type=int, default=0, help="seeds of the noise, 0: not measured")
    options = parser.parse_args()
    started = time.time()
    if hasattr(os, "sched_setaffinity"):  # one core, whatever the machine has
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    lines = [at_most("matmul rate of this core", matmul_rate(), "GFLOP/s", None)]
    with tempfile.TemporaryDirectory(prefix="bench-trainer-") as folder:
        for vocab in options.vocab or [512, 2048]:
            goal = 0.65 if vocab == 512 else 0.75
            lines += compare(vocab, options.seeds, options.seconds, goal, Path(folder), options.fast)
        if options.noise:
            lines += noise(options.noise, presets.PRESETS["cpu"].budget_seconds, Path(folder))
    print(f"{(time.time() - started) / 60:.0f} minutes")
    return show("trainer", lines)


if __name__ == "__main__":
    sys.exit(main())
