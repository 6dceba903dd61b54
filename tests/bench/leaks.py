"""How surely the second process finds a leak, by its size and how it is spent. Two real trainings; the leaks are counted.

    python -m tests.bench.leaks --seconds 20

The preset `cpu` is trained as a best and, a little longer, as what would be kept. Then the second one's answers are made
better by a leak, hidden places are drawn as the judge draws them, and what it would find there is what was leaked.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from tests.trainer.launching import make_job, result_of, run
from trainer import launch, presets
from trainer.exam import Exam
from trainer.judge import ANSWERS, HeldOut
from trainer.paper import rows_per_batch
from trainer.scoring import Doubles
from trainer.second import Second

Leak = Callable[[Doubles, float, np.random.Generator], Doubles]  # nats (rows, T), nats to leak a token -> leaked at each
DRAWS = 100
SIZES = (0.02, 0.01, 0.005, 0.002)  # bpb


def one_in(many: int) -> Leak:
    def leak(nats: Doubles, mean: float, dice: np.random.Generator) -> Doubles:
        return np.minimum(nats, mean * many) * (dice.random(nats.shape) < 1 / many)

    return leak


def worst(nats: Doubles, mean: float, dice: np.random.Generator) -> Doubles:
    """As few tokens as can be: those that are predicted worst become as good as certain."""
    order = np.argsort(-nats, axis=None)
    chosen = order[np.cumsum(nats.ravel()[order]) <= mean * nats.size]
    leaked = np.zeros(nats.size)
    leaked[chosen] = nats.ravel()[chosen]
    return leaked.reshape(nats.shape)


SPENT: dict[str, Leak] = {
    "on every token": one_in(1), "on one in 10": one_in(10), "on one in 100": one_in(100), "on the worst predicted": worst,
}  # fmt: skip


def answers(folder: Path, seconds: float, seed: int) -> tuple[dict[str, Doubles], Path, int]:
    """Of one training: nats by shard, its data and the rows that it was asked at a time."""
    data = launch.Data(folder / "data")
    source = presets.apply((launch.TEMPLATE / "train.py").read_text(), presets.PRESETS["cpu"].constants)
    job = make_job(
        folder / f"seed-{seed}", source, data=data, data_dir=launch.prepare(data), exam=True, budget_seconds=seconds,
        deadline_seconds=seconds + 120, seed=seed, fixed=launch.fixed_files(["prepare.py"]),
    )  # fmt: skip
    run(replace(job, device_lock=folder / "lock"))
    assert result_of(job.folder).exit_code == 0
    with np.load(job.folder / ANSWERS) as stored:
        return {name: np.float64(stored[name]) for name in stored}, launch.prepare(data), 16


def examined(folder: Path, rows: int, nats: dict[str, Doubles], length: int) -> Exam:
    held_out, dice = HeldOut.load(folder, length), np.random.default_rng()
    exam = Exam(held_out.shards, rows_per_batch(rows, held_out.shards["text"], held_out.vocab), held_out.vocab, dice)
    for name, found in nats.items():
        for batch, numbers in enumerate(exam.batches[name]):
            exam.nats[name, batch] = found[np.where(numbers < 0, -1 - numbers, numbers)]
    return exam


def chance(exam: Exam, references: list[dict[str, Doubles]], leak: Leak, bpb: float) -> tuple[float, float]:
    """Share of exams that find it, and the bits per byte that it was worth."""
    dice = np.random.default_rng(1)
    found, worth = 0, []
    for _ in range(DRAWS):
        leaked = {name: leak(nats, bpb / exam.bpb_per_nat, dice) for name, nats in references[-1].items()}
        for name in leaked:
            for batch, numbers in enumerate(exam.batches[name]):
                rows = np.where(numbers < 0, -1 - numbers, numbers)
                exam.nats[name, batch] = (references[-1][name] - leaked[name])[rows]
        second = Second(exam, np.zeros(1), dice, references[:-1])
        seen = np.array([leaked[row.shard][row.row, row.place] for row in second.rows])
        second.second = second.first + np.pad(seen[:, None], ((0, 0), (0, second.first.shape[1] - 1)))
        found += second.findings().problem == "leak"
        worth.append(leaked["text"].mean() * exam.bpb_per_nat)
    return found / DRAWS, float(np.mean(worth))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=20)
    seconds = parser.parse_args().seconds
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        best, data, rows = answers(folder, seconds, 1)
        child, _, _ = answers(folder, 1.1 * seconds, 2)
        exam = examined(data, rows, child, child["text"].shape[1])
        print(f"| {'leak, bpb':>9} | how it is spent         | worth | found with a best | found in a baseline |")
        print("| --- | --- | --- | --- | --- |")
        for bpb in SIZES:
            for how, leak in SPENT.items():
                with_best, worth = chance(exam, [best, child], leak, bpb)
                alone, _ = chance(exam, [child], leak, bpb)
                print(f"| {bpb} | {how} | {worth:.4f} | {100 * with_best:.0f}% | {100 * alone:.0f}% |", flush=True)


if __name__ == "__main__":
    main()
