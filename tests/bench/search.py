"""make bench-researcher, the search: the built-in sweep against random search and against luck, on the cpu preset.

    python -m tests.bench.search [--experiments 24] [--seconds 15] [--repeats 2] [--notes FILE]

Three arms, each as a run does it: the best so far is built on, a lower score is a keep.
- sweep: what the program proposes (experiments/researcher/sweep.py).
- random: the same constants, drawn evenly within an octave, one or two at a time: no weights, no memory.
- unguided: train.py as it is, with another seed each time. Its best is luck, and shows what a number alone is worth.

Afterwards the best of each arm, and each keep of the sweep, is trained again with seeds that it has not seen, and their mean
counts: the best number of a night is in part luck. Asked: after how many experiments the sweep had a train.py as good as
random search's best. Predicted before the first run: the seeds alone move the score by 0.012; the sweep ends 0.03 below
random search and is level with random's best after 12 to 16 of 24.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from experiments.researcher.base import Context, Past, Text
from experiments.researcher.constants import edit_blocks, find_constants
from experiments.researcher.edit_error import EditError
from experiments.researcher.edits import apply_edits, parse_reply
from experiments.researcher.knobs import Knob, Scale, knob_for
from experiments.researcher.sweep import Sweep
from tests.bench.table import Line, at_most, show
from tests.bench.trainer import ROOT, train
from trainer import presets

VOCAB, FIRST_SEED, FRESH_SEEDS = 512, 42, (1001, 1002, 1003)
HALF = 0.5  # goal: so many of random search's experiments to reach its best


@dataclass
class Night:
    """One arm of one repeat: what was tried, and the best so far after each experiment."""

    source: str  # of the best
    seed: int
    past: list[Past] = field(default_factory=list)
    best: float = float("inf")
    best_number: int = 0
    keeps: dict[int, str] = field(default_factory=dict)  # what was the best, by the experiments it had taken

    def take(self, source: str, past: Past, score: float | None) -> None:
        kept = score is not None and score < self.best
        delta = None if score is None or not self.past else score - self.best
        state = "kept" if kept else "failed" if score is None else "discarded"
        self.past.append(Past(
            number=past.number, kind=past.kind, state=state, reason="" if score is not None else "crash",
            description=past.description, score=score, delta=delta, memo=past.memo,
        ))
        if kept and score is not None:
            self.source, self.best, self.best_number = source, score, past.number
            self.keeps[len(self.past)] = source

    @property
    def context(self) -> Context:
        return Context(
            brief="", brief_version=1, metric="val_bpb", lower_is_better=True, budget_seconds=15, device="cpu",
            files={"train.py": self.source}, fixed_files={}, best_number=self.best_number, best_score=self.best,
            history=tuple(self.past), seed=self.seed,
        )


Arm = Callable[[Night], tuple[str, Past, int]]  # the next source, what it is, and the seed it is trained with


def sweep(night: Night) -> tuple[str, Past, int]:
    text = "".join(piece.text for piece in Sweep().reply((), night.context) if isinstance(piece, Text))
    proposal = parse_reply(text, ["train.py"])
    source = apply_edits({"train.py": night.source}, proposal.edits)["train.py"]
    return source, Past(len(night.past), "idea", "", "", proposal.description, memo=proposal.memo), night.seed


def random_search(night: Night) -> tuple[str, Past, int]:
    dice = random.Random(f"random:{night.seed}:{len(night.past)}")
    constants = find_constants(night.source)
    knobs = [knob for knob in map(knob_for, constants) if knob is not None]
    changed = {knob.name: knob.value_at(_coordinate(knob, dice)) for knob in dice.sample(knobs, dice.choice((1, 1, 1, 2)))}
    text = "IDEA: at random\n\n" + "\n".join(edit_blocks("train.py", night.source, constants, changed))
    try:
        source = apply_edits({"train.py": night.source}, parse_reply(text, ["train.py"]).edits)["train.py"]
    except EditError:  # the value that stands there already: a wasted draw, as random search has them
        source = night.source
    return source, Past(len(night.past), "idea", "", "", str(changed)), night.seed


def _coordinate(knob: Knob, dice: random.Random) -> float:
    low, high = max(knob.low, -1.0), min(knob.high, 1.0)
    return dice.choice((low, high)) if knob.scale is Scale.DOUBLE else dice.uniform(low, high)


def unguided(night: Night) -> tuple[str, Past, int]:
    return night.source, Past(len(night.past), "repeat", "", "", "as it is"), night.seed + len(night.past)


ARMS: dict[str, Arm] = {"sweep": sweep, "random": random_search, "unguided": unguided}


@dataclass
class Lab:
    """Trains, and remembers what it has trained: a bench that was broken off goes on where it was."""

    seconds: int
    scratch: Path
    notes: Path | None
    scores: dict[str, float | None] = field(default_factory=dict)

    def score(self, source: str, seed: int) -> float | None:
        """The judge's; None where it did not train."""
        key = hashlib.sha1(f"{self.seconds} {seed} {source}".encode()).hexdigest()
        if key not in self.scores:
            try:
                self.scores[key] = train(source, VOCAB, seed, self.seconds, self.scratch).val_bpb
            except SystemExit:
                self.scores[key] = None
            if self.notes:
                self.notes.write_text(json.dumps(self.scores))
        return self.scores[key]


def spend(arms: Sequence[str], repeat: int, count: int, lab: Lab) -> dict[str, Night]:
    """The nights of all arms, an experiment of each in turn: what slows the machine for a while slows them alike."""
    shipped = (ROOT / "trainer" / "template" / "train.py").read_text()
    source = presets.apply(shipped, presets.PRESETS["cpu"].constants)
    nights = {arm: Night(source, FIRST_SEED + 1000 * repeat) for arm in arms}
    for arm, night in [(arm, night) for _ in range(count) for arm, night in nights.items()]:
        if night.past:
            source, past, seed = ARMS[arm](night)
        else:
            source, past, seed = night.source, Past(0, "baseline", "", "", "baseline"), night.seed
        night.take(source, past, lab.score(source, seed))
        last = night.past[-1]
        print(f"{arm} {repeat} #{last.number:<3} {last.state:<10} {last.score or 0:.4f} {last.description[:80]}", flush=True)
    return nights


@dataclass(frozen=True)
class Outcome:
    """What is left of a night. `verified`: scores with fresh seeds, by the experiments that the keep had taken."""

    best: float
    failed: int
    verified: dict[int, list[float]]

    @property
    def fresh(self) -> list[float]:
        """Of the best."""
        return self.verified[max(self.verified)]

    def level_with(self, target: float) -> int | None:
        """After how many experiments a keep was, with fresh seeds, at least as good."""
        means = {count: statistics.fmean(scores) for count, scores in self.verified.items() if scores}
        return next((count for count in sorted(means) if means[count] <= target), None)


def outcomes(arms: Sequence[str], repeat: int, count: int, lab: Lab) -> dict[str, Outcome]:
    nights = spend(arms, repeat, count, lab)
    wanted = {(arm, max(night.keeps)) for arm, night in nights.items()}
    wanted |= {(arm, taken) for arm, night in nights.items() if arm == "sweep" for taken in night.keeps}
    verified: dict[str, dict[int, list[float]]] = {arm: {} for arm in arms}
    for seed, (arm, taken) in [(seed, keep) for seed in FRESH_SEEDS for keep in sorted(wanted)]:
        value = lab.score(nights[arm].keeps[taken], seed)
        verified[arm].setdefault(taken, []).extend([] if value is None else [value])
        print(f"{arm} {repeat} after {taken}, seed {seed}: {value}", flush=True)
    return {
        arm: Outcome(night.best, sum(past.score is None for past in night.past), verified[arm])
        for arm, night in nights.items()
    }


def lines_of(found: dict[str, list[Outcome]], count: int) -> Iterator[Line]:
    for arm, nights in found.items():
        bests, fresh = [night.best for night in nights], [value for night in nights for value in night.fresh]
        yield at_most(f"{arm}: best val_bpb of {count}, mean of {len(nights)}", statistics.fmean(bests), "bpb", None)
        yield at_most(f"{arm}: the same with fresh seeds", statistics.fmean(fresh), "bpb", None)
        yield at_most(f"{arm}: trainings that failed", sum(night.failed for night in nights), "", None)
    for repeat, (ours, theirs) in enumerate(zip(found.get("sweep", []), found.get("random", []), strict=False)):
        at = ours.level_with(statistics.fmean(theirs.fresh)) or 2 * count
        yield at_most(f"night {repeat}: random's best was its experiment", max(theirs.verified), "", None)
        yield at_most(f"night {repeat}: the sweep was as good after ({2 * count}: never)", at, "", HALF * count)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--experiments", type=int, default=24)
    parser.add_argument("--seconds", type=int, default=15)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--arm", action="append", choices=list(ARMS), help="all, if none is named")
    parser.add_argument("--notes", type=Path, help="a JSON file: what is done already is taken from there, the rest added")
    given = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):  # one core, whatever the machine has
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    found: dict[str, list[Outcome]] = {}
    with tempfile.TemporaryDirectory(prefix="bench-search-") as folder:
        lab = Lab(given.seconds, Path(folder), given.notes)
        if given.notes and given.notes.exists():
            lab.scores = json.loads(given.notes.read_text())
        for repeat in range(given.repeats):
            for arm, one in outcomes(given.arm or list(ARMS), repeat, given.experiments, lab).items():
                found.setdefault(arm, []).append(one)
    return show("search", list(lines_of(found, given.experiments)))


if __name__ == "__main__":
    sys.exit(main())
