"""The parts of `make bench-gpu ARGS=loop`: a real installation, whose trainings are timed, run out of memory, are killed."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from tests.bench.gpu import Bench, Part
from tests.faults.machine import Machine, is_running
from tests.installation import wait_for
from trainer import launch

EXPERIMENTS = 3
NOT_TRAINING_GOAL = 9.0  # seconds of an experiment, on an H100
START = """
from experiments import tasks
from experiments.loop import actions
program = actions.create_program("gpu", preset={preset!r}, dataset={dataset!r}, budget_seconds={budget!r})
print(tasks.start_run(program, "gpu", by="bench", max_experiments={experiments!r}).pk)
"""
ROWS = """
import json
from experiments.models import Experiment
rows = Experiment.objects.filter(run_id={run}, training_at__isnull=False).order_by("training_at")
print(json.dumps([{{
    "number": row.number, "state": row.state, "reason": row.reason, "began": row.training_at.timestamp(),
    "ended": row.trained_at and row.trained_at.timestamp(), "trained": (row.summary or {{}}).get("training_seconds"),
    "before": (row.exam or {{}}).get("after_seconds"), "exam": (row.exam or {{}}).get("seconds"),
}} for row in rows]))
"""
STOP = "from experiments.models import Run; Run.objects.get(pk={run}).stop(by='bench')"


@dataclass(frozen=True)
class Share:
    """Of one experiment: the seconds from its start until the next one's, and where they went."""

    number: int
    seconds: float
    training: float
    start_up: float | None
    exam: float | None

    @property
    def not_training(self) -> float:
        return self.seconds - self.training


def shares(rows: Sequence[dict[str, Any]]) -> list[Share]:
    """Of those that have trained to the end; the last one's seconds end with its exam."""
    ends = [*(after["began"] for _, after in pairwise(rows)), *(row["ended"] for row in rows[-1:])]
    return [
        Share(row["number"], end - row["began"], row["trained"],
              row["before"] - row["trained"] if row["before"] else None, row["exam"])
        for row, end in zip(rows, ends, strict=True) if row["trained"] and end
    ]  # fmt: skip


def parts(bench: Bench) -> list[Part]:
    around = 50.0 if bench.is_gpu else 15.0  # what a training of ours takes beside its seconds
    here: list[Machine] = []  # once it is up

    def up(bench: Bench) -> None:
        print(f"  {launch.prepare(bench.data)}")
        began = time.monotonic()
        machine = Machine(AUTORESEARCH_CACHE_DIR=str(bench.data.cache_dir), AUTORESEARCH_DEVICES=bench.device)
        here.append(bench.closing.enter_context(machine))
        bench.add("loop: from nothing to the first page", time.monotonic() - began, "s")

    def with_it(part: Callable[[Bench, Machine], None]) -> Callable[[Bench], None]:
        def run(bench: Bench) -> None:
            if not here:
                raise RuntimeError("nothing is up: see the part `up`")
            part(bench, here[0])

        return run

    return [
        Part("up", 40.0, up),
        Part("experiments", EXPERIMENTS * (bench.seconds + around), with_it(experiments)),
        Part("out of memory", 30.0, with_it(out_of_memory)),
        Part("gpu worker killed", 45.0, with_it(kill_worker)),
        Part("shim killed", 60.0, with_it(kill_shim)),
    ]


def experiments(bench: Bench, here: Machine) -> None:
    run = int(here.python(START.format(
        preset=bench.preset.name, dataset=bench.data.dataset, budget=int(bench.seconds), experiments=EXPERIMENTS,
    )))  # fmt: skip
    with contextlib.suppress(AssertionError):  # too slow: then what is there is shown
        wait_for(lambda: run_state(here, run) != "active", bench.left, every=0.5)
    rows = json.loads(here.python(ROWS.format(run=run)))
    if run_state(here, run) == "active":  # else it keeps the device from the parts after this
        here.python(STOP.format(run=run))
    found = shares(rows)
    for share in found:
        kind = "cold" if share is found[0] else "warm"
        prefix = f"loop, {bench.seconds:.0f} s, experiment {share.number} ({kind})"
        bench.add(f"{prefix}: start-up", share.start_up, "s")
        bench.add(f"{prefix}: exam", share.exam, "s")
        bench.add(f"{prefix}: not training", share.not_training, "s", NOT_TRAINING_GOAL if kind == "warm" else None)
        bench.add(f"{prefix}: share not training", 100 * share.not_training / share.seconds, "%")
    lost = [f"#{row['number']} {row['state']} {row['reason']}" for row in rows if row["state"] not in {"kept", "discarded"}]
    if len(found) < EXPERIMENTS or lost:
        raise RuntimeError(f"{len(found)} of {EXPERIMENTS} experiments have a score. {', '.join(lost)}")


def run_state(here: Machine, run: int) -> str:
    return str(here.ask("SELECT state FROM experiments_run WHERE id = ?", run)[0][0])


def out_of_memory(bench: Bench, here: Machine) -> None:
    began = time.monotonic()
    run = here.start_run("device_full", budget=20, tag="full", max_experiments=1)
    row = wait_for(lambda: (row := here.experiment(run))["state"] in {"failed", "kept", "discarded"} and row, bench.left)
    if (row["state"], row["reason"]) != ("failed", "oom"):
        raise RuntimeError(f"it ended as {row['state']} {row['reason']}, not as oom")
    bench.add("out of memory: ends as oom after", time.monotonic() - began, "s")


def kill_worker(bench: Bench, here: Machine) -> None:
    run = here.start_run("device_steps", budget=20, tag="worker", max_experiments=1)
    pids = here.wait_training(run, seconds=min(25.0, bench.left))
    here.kill(here.child("gpu"))
    began = time.monotonic()
    if here.wait_training(run, after_attempt=1, seconds=min(25.0, bench.left)) != pids:
        raise RuntimeError("the training was begun anew, not gone on with")
    bench.add("gpu worker killed: the training goes on; followed again after", time.monotonic() - began, "s")
    wait_for(lambda: here.experiment(run)["state"] == "kept", bench.left)


def kill_shim(bench: Bench, here: Machine) -> None:
    run = here.start_run("device_steps", budget=20, tag="shim", max_experiments=1)
    pids = here.wait_training(run, seconds=min(25.0, bench.left))
    here.kill(pids["pid"])
    began = time.monotonic()
    here.wait_training(run, after_attempt=1, seconds=min(25.0, bench.left))
    if is_running(pids["child"]):
        raise RuntimeError("the training outlived its shim")
    bench.add("shim killed: trains anew after", time.monotonic() - began, "s")
    wait_for(lambda: here.experiment(run)["state"] == "kept", bench.left)
