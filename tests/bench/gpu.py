"""make bench-gpu: what this machine's GPU does with the trainer and the loop. Offline, in two calls that keep their time.

    make bench-gpu ARGS=speed [FILE=PATH]    # 360 s: doctor, start-up, tokens/s, MFU, exam, memory; FILE: another train.py
    make bench-gpu ARGS=loop                 # 240 s: three experiments, what of each was not training; out of memory; kills

A part that may not fit into what is left is skipped, with words. Each call replaces its own half of var/bench/gpu.json.
Without a GPU the same runs on the CPU, shorter: that shows that the bench works, and nothing of a GPU.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tests.bench.table import Line, at_most, folder, print_table
from trainer import gpus, launch, presets

REHEARSAL = "no GPU: a rehearsal of this bench on the CPU"
LIMITS = {"speed": 360.0, "loop": 240.0}  # seconds
SPARE_SECONDS = 10.0  # kept to end all that was started


@dataclass
class Bench:
    """One call: what it runs on, when it has to be over, and what came of it."""

    device: str
    preset: presets.Preset
    data: launch.Data
    seconds: float  # of a training
    until: float  # on the monotonic clock
    file: Path | None = None  # a train.py in the upstream's manner
    lines: list[Line] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    failed: bool = False
    closing: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)  # what ends with the call

    @property
    def is_gpu(self) -> bool:
        return gpus.is_gpu(self.device)

    @property
    def left(self) -> float:
        return self.until - SPARE_SECONDS - time.monotonic()

    def add(self, metric: str, value: float | None, unit: str = "", goal: float | None = None) -> None:
        """A line of the table; a value that is not known makes none."""
        if value is not None:
            self.lines.append(at_most(metric, value, unit, goal if self.is_gpu else None))

    def note(self, words: str) -> None:
        self.notes.append(words)
        print(f"  {words}", flush=True)


@dataclass(frozen=True)
class Part:
    name: str
    needs_seconds: float  # what it may take, generously: with less left it is not begun
    run: Callable[[Bench], None]


def run_parts(bench: Bench, parts: Sequence[Part]) -> None:
    """One after the other, as far as the time goes. What is wrong with one part is words, and the others still run."""
    began = time.monotonic()
    for part in parts:
        if bench.left < part.needs_seconds:
            left = f"it may take {part.needs_seconds:.0f} s, and {max(0.0, bench.left):.0f} are left"
            bench.note(f"{part.name}: skipped, {left}")
            continue
        print(f"[{time.monotonic() - began:3.0f} s] {part.name}", flush=True)
        try:
            part.run(bench)
        except Exception as error:  # the edge of the bench
            bench.failed = True
            words = str(error).strip().splitlines() or [type(error).__name__]
            bench.note(f"{part.name}: failed: {words[-1][:300]}")


def store(call: str, bench: Bench, facts: dict[str, Any], seconds: float) -> Path:
    """This call's half of gpu.json; the other half stays, if it can be read."""
    path = folder() / "gpu.json"
    try:
        halves = json.loads(path.read_text())
    except (OSError, ValueError):
        halves = {}
    halves[call] = {
        **facts, "rehearsal": not bench.is_gpu, "seconds": round(seconds, 1), "notes": bench.notes,
        "lines": [asdict(line) for line in bench.lines],
    }  # fmt: skip
    path.write_text(json.dumps(halves, indent=1))
    return path


def show(call: str, bench: Bench, facts: dict[str, Any], seconds: float, limit: float) -> int:
    """Print and store; 1 where a part failed or a goal was missed."""
    if bench.lines:
        print_table(f"bench-gpu {call}", bench.lines)
    print("".join(f"\n- {words}" for words in bench.notes))
    path = store(call, bench, facts, seconds)
    print(f"{seconds:.0f} s of at most {limit:.0f}; in {path}")
    if not bench.is_gpu:
        print(REHEARSAL)
    return int(bench.failed or not all(line.ok for line in bench.lines))


def chosen(options: argparse.Namespace) -> Bench:
    from django.conf import settings

    from experiments.loop import devices

    device = devices.names()[0]
    preset = presets.of_machine(settings.PRESET, settings.DEVICES)
    data = launch.Data(
        Path(settings.DATA_DIR), options.dataset or ("torch" if gpus.is_gpu(device) else "stdlib"), preset.vocab_size,
        preset.seq_len,
    )  # fmt: skip
    usual = {"speed": 40.0, "loop": 10.0} if gpus.is_gpu(device) else {"speed": 4.0, "loop": 4.0}
    until = time.monotonic() + options.limit
    return Bench(device, preset, data, options.seconds or usual[options.call], until, options.file)


def arguments(given: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("call", choices=LIMITS)
    parser.add_argument("--file", type=Path, help="a train.py in the upstream's manner, for `speed`")
    parser.add_argument("--dataset", help="default: torch, which every machine has; folder:PATH, or what doctor lists")
    parser.add_argument("--seconds", type=float, help="of a training; default: 40 (speed) and 10 (loop), 4 without a GPU")
    parser.add_argument("--limit", type=float, help="seconds for the whole call, instead of its own")
    options = parser.parse_args(given)
    options.limit = options.limit or LIMITS[options.call]
    if options.file and not options.file.is_file():
        parser.error(f"{options.file} is not a file. Expected a train.py, for example the upstream's.")
    return options


def main() -> int:
    began = time.monotonic()
    options = arguments()
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "autoresearch_web.settings")
    import django

    django.setup()
    from experiments.loop import devices
    from tests.bench import gpu_loop, gpu_speed

    bench = chosen(options)
    facts = {**devices.facts(bench.device), "python": platform.python_version(), "preset": bench.preset.name,
             "data": bench.data.dataset}  # fmt: skip
    print(", ".join(f"{name} {value}" for name, value in facts.items()), flush=True)
    if not bench.is_gpu:
        print(REHEARSAL, flush=True)
    with bench.closing:
        run_parts(bench, (gpu_speed if options.call == "speed" else gpu_loop).parts(bench))
        return show(options.call, bench, facts, time.monotonic() - began, options.limit)


if __name__ == "__main__":
    sys.exit(main())
