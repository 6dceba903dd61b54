"""The parts of `make bench-gpu ARGS=speed`: trainings without the loop, through sandbox, judge and device lock."""

from __future__ import annotations

import os
import re
import select
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from experiments.loop import alone
from tests.bench.gpu import Bench, Part
from tests.bench.table import Line, at_most
from tests.bench.trainer import upstream_small
from trainer import launch, presets

ROOT = Path(__file__).resolve().parent.parent.parent
STEP = re.compile(rb"step 0+ .*? dt: (\d+)ms.*?remaining")  # the first, as far as its end
TOKENS = re.compile(r"tok/sec: ([\d,]+)")


def parts(bench: Bench) -> list[Part]:
    caches = Path(bench.closing.enter_context(tempfile.TemporaryDirectory(prefix="bench-gpu-")))  # of the first compilation
    around = 75.0 if bench.is_gpu else 15.0  # start-up and exam
    seconds = bench.seconds + around
    name, ours, upstream = bench.preset.name, shipped(bench.preset), upstream_preset(bench)
    found = [
        Part("doctor", around, doctor),
        Part("data", 30.0, lambda bench: print(f"  {launch.prepare(bench.data)}")),
        Part(f"preset {name}", seconds, lambda bench: train(bench, bench.preset, ours, name, caches)),
        Part("warm start", around, lambda bench: start_again(bench, ours, caches)),
        Part("preset upstream", seconds, lambda bench: train(bench, upstream[0], upstream[1], "upstream")),
    ]
    if file := bench.file:
        found.append(Part(str(file), seconds, lambda bench: train(bench, upstream[0], file.read_text(), file.name)))
    return found


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
    data = replace(bench.data, vocab_size=preset.vocab_size, seq_len=preset.seq_len)
    with alone.scratch() as workspace:
        job = alone.job(workspace, alone.Wish(preset, data, bench.device, bench.seconds, source))
        out = workspace / "out"
        job = replace(job, deadline_seconds=bench.left, env={**job.env, **compile_caches(out)})
        launch.start(job).wait()
        ended = alone.conclude(job)
        if caches is not None:
            for path in map(Path, compile_caches(out).values()):
                if path.exists():
                    shutil.copytree(path, caches / path.name, dirs_exist_ok=True)
    attention = re.search(r"attention: (.*), seed", ended.log)
    if attention:
        bench.note(f"{name}: attention: {attention[1]}")
    if failure := ended.judged.failure:
        raise RuntimeError(f"no score ({failure.reason}). {failure.detail}")
    bench.note(f"{name}: {', '.join(ended.judged.badges)}, sandbox {ended.result.sandbox}")
    bench.lines += lines_of(name, ended)


def compile_caches(folder: Path) -> Mapping[str, str]:
    return {"TORCHINDUCTOR_CACHE_DIR": str(folder / "inductor"), "TRITON_CACHE_DIR": str(folder / "triton")}


def lines_of(name: str, ended: alone.Ended) -> list[Line]:
    """What one training brought; what it does not say is left out."""
    result, summary, report = ended.result, ended.summary, ended.report
    speeds = [int(text.replace(",", "")) for text in TOKENS.findall(ended.log)]
    trained = summary.training_seconds if summary else None
    before = result.exam_after_seconds
    values: list[tuple[str, float | None, str]] = [
        ("val_bpb", ended.judged.score, "bpb"),
        ("tokens a second, median of the steps", statistics.median(speeds) if speeds else None, "/s"),
        ("MFU by its own count", summary.mfu_percent if summary else None, "%"),
        ("start-up before the first counted step, cold", before - trained if before and trained else None, "s"),
        ("training", trained, "s"),
        ("exam", report.get("seconds"), "s"),
        ("peak memory", summary.peak_vram_mb if summary else None, "MB"),
        ("steps", summary.num_steps if summary else None, ""),
    ]
    return [at_most(f"{name}: {metric}", value, unit, None) for metric, value, unit in values if value is not None]


def start_again(bench: Bench, source: str, caches: Path) -> None:
    """The same train.py by hand, with what the first one's compiler has left, as far as its first step."""
    if bench.is_gpu and not any(caches.iterdir()):
        raise RuntimeError("the training before has left no compile cache to start with")
    with alone.scratch() as workspace:
        job = alone.job(workspace, alone.Wish(bench.preset, bench.data, bench.device, bench.seconds, source))
        code, out = workspace / "src", workspace / "out"
        for made in (code, out):
            made.mkdir(parents=True)
        job.export(code)
        for name, ours in job.fixed.items():
            shutil.copy(ours, code / name)
        env = {"PATH": os.environ.get("PATH", ""), **launch.environment(job, None), **compile_caches(caches)}
        began = time.monotonic()
        process = subprocess.Popen(
            [sys.executable, "train.py"], cwd=code, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            seconds = first_step(process, began, bench.left)
        finally:
            process.kill()
            process.wait()
    bench.add(f"{bench.preset.name}: start-up before the first counted step, warm", seconds, "s")
    size = sum(path.stat().st_size for path in caches.rglob("*") if path.is_file())
    bench.add(f"{bench.preset.name}: compile caches", size / 2**20, "MB")


def first_step(process: subprocess.Popen[bytes], began: float, patience: float) -> float:
    """Seconds from its start until its first step began. Raises RuntimeError with its last words where there was none."""
    assert process.stdout is not None
    text, until = b"", time.monotonic() + patience
    while time.monotonic() < until:
        if not select.select([process.stdout], [], [], 0.5)[0]:
            continue
        more = os.read(process.stdout.fileno(), 2**16)
        text += more
        if step := STEP.search(text):
            return time.monotonic() - began - int(step[1]) / 1000
        if not more:
            break
    raise RuntimeError(f"it made no step. The end of its output: {text[-500:].decode(errors='replace')}")
