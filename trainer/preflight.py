"""Rehearses an edited program on the CPU, in a training's sandbox, before it may cost device time. No Django.

`rehearse` runs rehearsal/rehearse.py beside the code and judges what it reports. The edited code runs in that process and
could report what it likes: all it would gain is the training that this is to spare. What the rehearsal sees and what it
cannot is in docs/preflight.md.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from trainer import launch
from trainer.output import strip_controls
from trainer.spec import read_json

FOLDER = Path(__file__).resolve().parent / "rehearsal"
SPARE = 0.8  # of the machine's free memory: the rehearsal must not take it from others
OVER = 1.1  # an expected need of more than this share of the card is refused
POLL_SECONDS = 0.1
MOST_BYTES = 2**20  # of a report
NICE = 19  # a training may be running beside
ENVIRONMENT = {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "AUTORESEARCH_THREADS": "1"}
STAGES = ("import", "build", "step", "score", "end")  # in this order
UNSEEN_ON_CPU = ("the loss after the first steps", "leaks", "torch.compile")
UNSEEN_ON_CARD = ("any number: NaN, divergence", "CUDA kernels, FlashAttention and fp8 themselves", "torch.compile",
                  "memory lost to fragments", "leaks")  # fmt: skip


@dataclass(frozen=True)
class Card:
    """The GPU that a training would get; its memory is None where it is not known."""

    name: str = "NVIDIA GPU"
    capability: tuple[int, int] = (8, 0)
    memory_bytes: int | None = None


@dataclass(frozen=True)
class Preflight:
    """What the rehearsal found. `ok`: True it would train, False it would not, None it cannot be said."""

    ok: bool | None
    stage: str = ""  # of STAGES: how far it came
    error: str = ""  # why not, or why it cannot be said
    seconds: float = 0.0  # by the clock
    cpu_seconds: float | None = None  # of one core
    seen: tuple[str, ...] = ()
    not_seen: tuple[str, ...] = ()
    params: int | None = None
    memory_mb: float | None = None  # the most at once: on a CPU measured, for a GPU counted, without what a compiler saves
    resident_mb: float | None = None  # for a GPU: what stays between two steps

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def script_of(command: Sequence[str]) -> str:
    """The Python file that the command runs; "" where it is something else."""
    found = [part for part in command[1:] if not part.startswith("-")]
    is_python = bool(command) and ("python" in Path(command[0]).name or command[0] == "{python}")
    return found[0] if is_python and found and found[0].endswith(".py") else ""


def rehearse(job: launch.Job, card: Card | None, check: Callable[[], None] = lambda: None) -> Preflight:
    """Rehearse the job's program; its deadline is the rehearsal's. `check` is called meanwhile and may raise to give up.

    Nothing of what goes wrong with the rehearsal itself is the program's fault: then `ok` is None.
    """
    script = script_of(job.command)
    if not script or job.data_dir is None:
        return Preflight(None, error="The program does not run a Python file on the data of prepare.py.")
    began, free = time.monotonic(), free_memory()
    plan = {
        "script": script, "seconds": job.deadline_seconds, "budget": job.budget_seconds, "seq_len": job.data.seq_len,
        "nice": NICE, "memory_bytes": free, "card": card and {**asdict(card), "vocab_size": job.data.vocab_size},
    }  # fmt: skip
    rehearsed = replace(
        job, command=["{python}", str(FOLDER / "rehearse.py"), json.dumps(plan)], exam=False, device="cpu",
        device_lock=job.folder / "device.lock", read=[*job.read, str(FOLDER)], kill_grace_seconds=0.2,
        env={**job.env, **ENVIRONMENT},
    )  # fmt: skip
    try:
        _run(rehearsed, check)
        report = left(job.folder / "out" / "rehearsal.json")
        words = (read_json(job.folder / "result.json") or {}).get("detail", "")
    except (launch.LaunchError, FileNotFoundError) as error:
        return Preflight(None, error=f"The rehearsal did not start: {error}")
    finally:
        shutil.rmtree(job.folder, ignore_errors=True)
    return replace(judge(report, card, words, free), seconds=round(time.monotonic() - began, 2))


def left(path: Path) -> dict[str, Any] | None:
    """The report. What has been rehearsed may have laid anything there: a link, a pipe that nobody writes to, gigabytes."""
    plain = os.O_NOFOLLOW | os.O_NONBLOCK
    try:
        with open(path, "rb", opener=lambda name, flags: os.open(name, flags | plain)) as file:
            report = json.loads(file.read(MOST_BYTES))
    except (OSError, ValueError, RecursionError):
        return None
    return report if isinstance(report, dict) else None


def _run(job: launch.Job, check: Callable[[], None]) -> None:
    process = launch.start(job)
    try:
        while process.poll() is None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(POLL_SECONDS)
            check()
    finally:
        if process.poll() is None:
            process.terminate()  # the shim takes all it started with it
            process.wait(10)


def judge(report: Mapping[str, Any] | None, card: Card | None, words: str = "", free: int | None = None) -> Preflight:
    """What a report means. Every value of it may be anything."""
    if report is None:
        return Preflight(None, error=f"The rehearsal left no report. {words}".strip())
    stage = report.get("stage") if report.get("stage") in STAGES else STAGES[0]
    ended, error = str(report.get("ended")), _clean(report.get("error"))
    found = Preflight(
        True, str(stage), error, seen=tuple(_seen(report, str(stage))),
        not_seen=UNSEEN_ON_CARD if card else UNSEEN_ON_CPU, params=_number(report.get("params"), int),
        cpu_seconds=_number(report.get("cpu_seconds"), float),
        memory_mb=_number(report.get("memory_mb"), float), resident_mb=_number(report.get("resident_mb"), float),
    )  # fmt: skip
    if ended == "enough":
        return replace(found, not_seen=("its end: the steps took too long on one CPU core", *found.not_seen))
    if ended == "done":
        return _fits(found, card)
    if ended == "memory" and not card:
        room = f" {free / 2**30:.1f} GB were free." if free else ""
        return replace(found, ok=False, error=f"It needs more memory than this machine has left.{room} {error}")
    # In the middle of the loop it may be the folded budget that drives a loss up, or a number that was made up.
    early = stage != "step" or (not card and report.get("updates") == 0)
    if ended == "error" or (ended == "exit" and early):
        return replace(found, ok=False)
    reason = {
        "unfinished": "It was not done in time.", "memory": "This machine's memory is too small to rehearse it.",
        "exit": "It ended itself, perhaps only for the rehearsal's sake.",
    }.get(ended, "The rehearsal broke off." if not error else "")  # fmt: skip
    return replace(found, ok=None, error=f"{reason} {error}".strip())


def _fits(found: Preflight, card: Card | None) -> Preflight:
    """Whether what stays on the card between two steps has room: the least that any compiler leaves."""
    if card is None or card.memory_bytes is None or found.resident_mb is None:
        return found
    if found.resident_mb * 2**20 <= card.memory_bytes:
        return found
    return replace(
        found, ok=False, stage="step",
        error=f"Out of memory: weights and optimizer state alone are {_gb(found.resident_mb)}, the card has "
        f"{_gb(card.memory_bytes / 2**20)}.",
    )  # fmt: skip


def against(found: Preflight, card: Card | None, counted_mb: float | None, measured_mb: float | None) -> Preflight:
    """The same, with what is known of the program that it changes: what was counted for that, and what its training took.

    A count knows nothing of what a compiler saves; the relation of two counts does.
    """
    if not found.ok or card is None or not (found.memory_mb and counted_mb and measured_mb):
        return found
    expected, room = measured_mb * found.memory_mb / counted_mb, card.memory_bytes
    if room is None or expected * 2**20 <= OVER * room:
        return replace(found, seen=(*found.seen, f"about {_gb(expected)} of the card's memory"))
    return replace(
        found, ok=False, stage="step",
        # What the training before says that it took is not repeated: a researcher reads this.
        error=f"Out of memory: the rehearsal counts {found.memory_mb / counted_mb:.1f} times as much as before the edit. By "
        f"what that took, it is more than the card has, {_gb(room / 2**20)}.",
    )  # fmt: skip


def _seen(report: Mapping[str, Any], stage: str) -> list[str]:
    batches = _number(report.get("batches"), int) or 0
    seen = ["it is Python"] if stage != "import" else []
    if batches:
        seen.append("the model is built at full size")
    if batches > 1:
        unreal = ", shapes and types only" if report.get("pretended") else ""
        seen.append(f"{batches - 1} batches forward and backward{unreal}")
    if report.get("schedule"):
        seen.append("the loop ends with the budget")
    if report.get("scored"):
        seen.append("the exam gets logits of the right shape")
    if report.get("ended") == "done":
        seen.append("it runs to its last line")
    return seen


def _clean(text: Any) -> str:
    return strip_controls(str(text or ""))[:4000].strip()


def _number(value: Any, kind: type[int] | type[float]) -> Any:
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1e15:
        return kind(value)
    return None


def _gb(mb: float) -> str:
    return f"{mb / 1024:.1f} GB"


def free_memory() -> int | None:
    """Bytes that the rehearsal may take; None where the system does not say."""
    if not sys.platform.startswith("linux"):
        return None
    with contextlib.suppress(OSError):
        found = re.search(r"^MemAvailable:\s+(\d+) kB", Path("/proc/meminfo").read_text(), re.M)
        return int(int(found[1]) * 1024 * SPARE) if found else None
    return None
