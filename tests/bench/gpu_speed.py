"""The parts of `make bench-gpu ARGS=speed`: trainings without the loop, through sandbox, judge and device lock."""

from __future__ import annotations

import re
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from django.conf import settings

from experiments.loop import alone
from tests.bench.gpu import Bench, Part
from tests.bench.table import Line, at_most
from tests.bench.trainer import upstream_small
from trainer import compiled, launch, presets

ROOT = Path(__file__).resolve().parent.parent.parent
TOKENS = re.compile(r"tok/sec: ([\d,]+)")


def parts(bench: Bench) -> list[Part]:
    scratch = bench.closing.enter_context(tempfile.TemporaryDirectory(prefix="bench-gpu-", dir=settings.VAR_DIR))
    caches = Path(scratch) / "compiled"  # by the first training
    around = 75.0 if bench.is_gpu else 15.0  # start-up and exam
    seconds = bench.seconds + around
    name, ours, upstream = bench.preset.name, shipped(bench.preset), upstream_preset(bench)
    found = [
        Part("doctor", around, doctor),
        Part("data", 30.0, lambda bench: print(f"  {launch.prepare(bench.data)}")),
        Part(f"preset {name}", seconds, lambda bench: train(bench, bench.preset, ours, name, caches)),
        Part("warm start", around, lambda bench: start_again(bench, ours, caches)),
    ]
    if file := bench.file:
        found.append(Part(str(file), seconds, lambda bench: train(bench, upstream[0], file.read_text(), file.name)))
    return [*found, Part("preset upstream", seconds, lambda bench: train(bench, upstream[0], upstream[1], "upstream"))]


def shipped(preset: presets.Preset) -> str:
    return presets.apply((launch.TEMPLATE / "train.py").read_text(), preset.constants)


def upstream_preset(bench: Bench) -> tuple[presets.Preset, str]:
    """The upstream's sizes; on a CPU those that its README has for small machines."""
    if bench.is_gpu:
        return presets.PRESETS["upstream"], shipped(presets.PRESETS["upstream"])
    return bench.preset, upstream_small(shipped(bench.preset))


def doctor(bench: Bench) -> None:
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, str(ROOT / "manage.py"), "doctor"], capture_output=True, text=True, timeout=bench.left, check=False
    )
    bench.add("doctor", time.monotonic() - began, "s")
    lines = (done.stdout + done.stderr).strip().splitlines()
    print("\n".join(f"  {line}" for line in lines))
    for line in lines:
        if line.startswith("✗"):
            bench.note(f"doctor: {line}")


def train(bench: Bench, preset: presets.Preset, source: str, name: str, caches: Path | None = None) -> None:
    """One training and its exam. `caches`: where to keep what its compiler has left, for the next start."""
    ended = run(bench, preset, source, bench.seconds, keep=caches)
    if attention := re.search(r"attention: (.*), seed", ended.log):
        bench.note(f"{name}: attention: {attention[1]}")
    bench.note(f"{name}: {', '.join(ended.judged.badges)}, sandbox {ended.result.sandbox}")
    bench.lines += lines_of(name, ended)


def start_again(bench: Bench, source: str, caches: Path) -> None:
    """The same train.py for a second, with what the first one's compiler has left."""
    if bench.is_gpu and not caches.exists():
        raise RuntimeError("the training before has left nothing compiled to start with")
    ended = run(bench, bench.preset, source, 1.0, lend=caches)
    bench.add(f"{bench.preset.name}: start-up before the first counted step, warm", start_up(ended), "s")
    size = sum(path.stat().st_size for path in caches.rglob("*") if path.is_file())
    bench.add(f"{bench.preset.name}: compile caches", size / 2**20, "MB")


def run(
    bench: Bench, preset: presets.Preset, source: str, seconds: float, keep: Path | None = None, lend: Path | None = None
) -> alone.Ended:
    """Raises RuntimeError where it has no score."""
    data = replace(bench.data, vocab_size=preset.vocab_size, seq_len=preset.seq_len)
    with alone.scratch() as workspace:
        job = alone.job(workspace, alone.Wish(preset, data, bench.device, seconds, source))
        job = replace(job, deadline_seconds=bench.left, compiled=lend if lend and lend.exists() else None)
        launch.start(job).wait(bench.left)
        ended = alone.conclude(job)
        if keep:
            compiled.keep(workspace / "out", keep)
    if failure := ended.judged.failure:
        raise RuntimeError(f"no score ({failure.reason}). {failure.detail}")
    return ended


def start_up(ended: alone.Ended) -> float | None:
    """From the start of the process to its first counted step."""
    before, trained = ended.result.exam_after_seconds, ended.summary and ended.summary.training_seconds
    return before - trained if before and trained else None


def lines_of(name: str, ended: alone.Ended) -> list[Line]:
    """What one training brought; what it does not say is left out."""
    summary, report = ended.summary, ended.report
    speeds = [int(text.replace(",", "")) for text in TOKENS.findall(ended.log)]
    trained = summary.training_seconds if summary else None
    values: list[tuple[str, float | None, str]] = [
        ("val_bpb", ended.judged.score, "bpb"),
        ("tokens a second, median of the steps", statistics.median(speeds) if speeds else None, "/s"),
        ("MFU by its own count", summary.mfu_percent if summary else None, "%"),
        ("start-up before the first counted step, cold", start_up(ended), "s"),
        ("training", trained, "s"),
        ("exam", report.get("seconds"), "s"),
        ("peak memory", summary.peak_vram_mb if summary else None, "MB"),
        ("steps", summary.num_steps if summary else None, ""),
    ]
    return [at_most(f"{name}: {metric}", value, unit, None) for metric, value, unit in values if value is not None]
