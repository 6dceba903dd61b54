"""Contexts for tests of the prompt: one with something in every part, and one of a long run."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

from experiments.researcher.base import Context, Crash, Dynamics, Past, Sample
from experiments.researcher.strategy import Plan, Strategy
from experiments.themes import THEMES

TEMPLATE = Path(__file__).parents[2] / "trainer" / "template"
KEEP = Past(
    1, "idea", "kept", "", "More LR", score=1.4, delta=-0.1, diff="-LR = 0.1\n+LR = 0.2", theme="learning rate",
    memo={"expect": -0.05}, repeats=(1.41, 1.39),
)  # fmt: skip
DISCARD = Past(
    2, "idea", "discarded", "", "Less LR", score=1.5, delta=0.1, diff="-LR = 0.2\n+LR = 0.1", why="worse",
    theme="learning rate", memo={"expect": -0.01, "seen": "noisy"},
)  # fmt: skip
CRASHED = Past(3, "idea", "failed", "oom", "Wider", diff="-W = 1\n+W = 9", why="CUDA out of memory", theme="depth and width")
REJECTED = Past(4, "idea", "cancelled", "rejected", "New tokenizer", why="Ada: not\nwhat we study", theme="tokenizer")
SMALL = Past(5, "idea", "kept", "", "Softcap 15", score=1.399, delta=-0.001, diff="-CAP = 30\n+CAP = 15", theme="activation")
TRAINS = Past(6, "idea", "training", "", "Longer warmdown", diff="-WD = 0.5\n+WD = 0.6", theme="schedule")
CONTEXT = Context(
    brief="Find a better **schedule**.",
    brief_version=7,
    metric="val_bpb",
    lower_is_better=True,
    budget_seconds=300,
    device="NVIDIA H100",
    files={"train.py": "LR = 0.2\n\nprint(LR)\n"},
    fixed_files={"prepare.py": "TIME_BUDGET = 300\n"},
    best_number=5,
    best_score=1.399,
    history=(Past(0, "baseline", "kept", "", "baseline", score=1.5), KEEP, DISCARD, CRASHED, REJECTED, SMALL, TRAINS),
    notes=("Leave the width alone.",),
    own_ideas=("Value embeddings on half of the layers",),
    plan=Plan(Strategy.EXPLORE, "3 ideas without a gain", 3, untried=("schedule", "attention"), least_tried=("activation",)),
    remaining="12 experiments, 1 h 4 min",
    sigma=0.004,
    dynamics=(
        Dynamics(5, "the best", (Sample(5, 3.2, 1.5), Sample(50, 1.6, 0.7), Sample(100, 1.41, 0.5)), {"steps": 953}),
        Dynamics(2, "the last", (Sample(50, 1.7), Sample(100, 1.52)), {"steps": 940, "tokens/s": 1_650_000, "MFU %": 39.8}),
    ),
)
WITH_QUEUE = replace(
    CONTEXT, plan=None, ideas=("Wider heads\nand fewer of them", "A longer warmdown"),
    crash=Crash(3, "Wider", "oom", "-W = 1\n+W = 9", "step 00001\nCUDA out of memory"),
)  # fmt: skip


def long_run(count: int, *, seed: int = 1, **changes: object) -> Context:
    """A run of `count` experiments of which about 22% are kept, on the template's own files."""
    numbers = random.Random(seed)
    history = [Past(0, "baseline", "kept", "", "baseline", score=1.0)]
    best = 1.0
    for number in range(1, count):
        history.append(past := _one(number, best, numbers))
        best = past.score if past.state == "kept" and past.score is not None else best
    context = replace(
        CONTEXT, files={"train.py": (TEMPLATE / "train.py").read_text()}, history=tuple(history), best_score=best,
        fixed_files={"prepare.py": (TEMPLATE / "prepare.py").read_text()}, brief=(TEMPLATE / "program.md").read_text(),
        notes=tuple(f"Note {n}: stay below {60 + n} GB, and try the optimizer before the depth." for n in range(12)),
        best_number=max(one.number for one in history if one.state == "kept"),
    )  # fmt: skip
    return replace(context, **changes)  # type: ignore[arg-type]


def _one(number: int, best: float, numbers: random.Random) -> Past:
    theme, chance = numbers.choice(THEMES), numbers.random()
    name, value = numbers.choice(["MATRIX_LR", "WARMDOWN_RATIO", "WEIGHT_DECAY", "DEPTH"]), round(numbers.random(), 3)
    diff = f"--- a/train.py\n+++ b/train.py\n@@ -1 +1 @@\n-{name} = 0.5\n+{name} = {value}\n"
    if numbers.random() < 0.5:
        diff += "".join(f"+    x = x + {n} * y  # of #{number}\n" for n in range(numbers.randrange(2, 30)))
    words = numbers.choices(["scale", "the", "norm", "of", "each", "head", "by"], k=14)
    idea = f"Idea {number} of {theme}: {' '.join(words)}"
    if chance < 0.08:
        return Past(number, "idea", "failed", numbers.choice(["oom", "crash"]), idea, diff=diff, why="Died.", theme=theme)
    kept = chance > 0.78
    delta = -numbers.random() * 0.001 if kept else numbers.random() * 0.01
    state, why = ("kept", "better by a little") if kept else ("discarded", f"worse by {delta:.6f}")
    return Past(number, "idea", state, "", idea, score=best + delta, delta=delta, diff=diff, theme=theme, why=why)
