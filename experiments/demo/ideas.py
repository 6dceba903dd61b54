"""Edits of train.py as a researcher would try them, by theme. Pure.

A knob turns a constant, a swap puts another piece of code in the place of one; both are one changed line.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from experiments.states import Failure


@dataclass(frozen=True)
class Knob:
    theme: str
    name: str  # of the constant in train.py
    says: str
    why: str
    factors: tuple[float, ...] = (0.5, 0.7, 0.8, 0.9, 1.1, 1.25, 1.5, 2.0)
    values: tuple[float | str, ...] = ()  # where factors make no sense
    breaks: Failure = Failure.NAN  # how it fails when it does


@dataclass(frozen=True)
class Swap:
    theme: str
    find: str
    puts: tuple[tuple[str, str], ...]  # (code, description)
    why: str
    breaks: Failure = Failure.CRASH


@dataclass(frozen=True)
class Change:
    """One line of train.py becomes another."""

    theme: str
    line: int  # from 0
    text: str
    description: str
    hypothesis: str
    breaks: Failure


_OOM = Failure.OOM
KNOBS = (
    Knob("learning rate", "MATRIX_LR", "Matrix learning rate", "Muon's updates are normed, so its rate sets the pace."),
    Knob("learning rate", "EMBEDDING_LR", "Embedding learning rate", "Rare tokens get few updates: each should count."),
    Knob("learning rate", "UNEMBEDDING_LR", "Unembedding learning rate", "The output layer may lag behind the blocks."),
    Knob("learning rate", "SCALAR_LR", "Scalar learning rate", "The residual scales hardly move in so few steps."),
    Knob("batch", "BATCH_TOKENS", "Batch of", "Half the batch is twice the steps in the same time.",
         values=(2**17, 2**18, 3 * 2**17, 2**19, 2**20), breaks=_OOM),
    Knob("batch", "ROW_BATCH", "Rows of one forward pass:", "Fewer, larger passes keep the device busier.",
         values=(32, 64, 128, 256), breaks=_OOM),
    Knob("depth and width", "DEPTH", "Depth", "A deeper model learns more from each token, if it still gets enough steps.",
         values=(6, 7, 8, 9, 10, 12), breaks=_OOM),
    Knob("depth and width", "WIDTH", "Width", "A wider model uses the device better.",
         values=(384, 512, 640, 768), breaks=_OOM),
    Knob("depth and width", "MLP_RATIO", "MLP ratio", "Parameters may be worth more in attention.",
         values=(2, 3, 3.5, 4, 5), breaks=_OOM),
    Knob("optimizer", "WEIGHT_DECAY", "Weight decay", "One pass over the data hardly overfits; decay mostly slows."),
    Knob("optimizer", "MUON_MOMENTUM", "Muon momentum", "A short training wants a shorter memory.",
         values=(0.85, 0.9, 0.92, 0.95, 0.97)),
    Knob("optimizer", "MUON_ITERATIONS", "Polar express iterations", "One iteration less saves time in every step.",
         values=(3, 4, 5)),
    Knob("optimizer", "MUON_BETA2", "Muon beta2", "The variance of rows changes quickly early on.",
         values=(0.8, 0.9, 0.95, 0.98)),
    Knob("optimizer", "ADAM_BETA1", "Adam beta1", "Less momentum follows the schedule more closely.",
         values=(0.7, 0.75, 0.8, 0.85, 0.9)),
    Knob("optimizer", "ADAM_BETA2", "Adam beta2", "Embedding gradients are sparse: a longer memory steadies them.",
         values=(0.9, 0.95, 0.98, 0.99)),
    Knob("attention", "HEAD_DIM", "Head dimension", "More heads see more patterns at the same cost.",
         values=(64, 128), breaks=Failure.CRASH),
    Knob("attention", "WINDOW_PATTERN", "Window pattern", "Most of what helps is near; long windows in few blocks do.",
         values=("L", "SL", "SSL", "SSSL", "SSSSL"), breaks=Failure.CRASH),
    Knob("attention", "SHORT_WINDOW", "Short window", "A shorter window saves time for more steps.",
         values=(128, 256, 512, 1024), breaks=Failure.CRASH),
    Knob("attention", "ROPE_BASE", "RoPE base", "Slower rotations tell distant positions apart.",
         values=(5000.0, 10000.0, 50000.0, 100000.0, 200000.0)),
    Knob("activation", "LOGIT_SOFTCAP", "Logit softcap", "A looser cap lets sure predictions be sure.",
         values=(10.0, 12.0, 15.0, 20.0, 30.0)),
    Knob("embeddings", "VALUE_EMBEDDINGS", "Value embeddings", "They cost memory traffic in every step.", values=(0, 1)),
    Knob("embeddings", "SMEAR", "Smear", "The token before is worth a shortcut.", values=(0, 1)),
    Knob("schedule", "WARMUP_FRACTION", "Warm-up", "The first steps are the noisiest.",
         values=(0.0, 0.01, 0.02, 0.05)),
    Knob("schedule", "WARMDOWN_FRACTION", "Warmdown", "Most of the gain comes while the rate falls.",
         values=(0.3, 0.4, 0.5, 0.6, 0.7, 0.8)),
    Knob("schedule", "FINAL_LR_FRACTION", "Final learning rate", "The last steps should still move.",
         values=(0.0, 0.02, 0.05, 0.1)),
)  # fmt: skip
SWAPS = (
    Swap("activation", 'SquaredReLU.apply(hidden) if DEVICE == "cpu" else F.relu(hidden).square()', (
        ('F.gelu(hidden, approximate="tanh")', "GELU instead of squared ReLU"),
        ("F.silu(hidden)", "SiLU instead of squared ReLU"),
        ("F.relu(hidden).pow(1.5)", "ReLU to the power of 1.5"),
        ("F.leaky_relu(hidden, 0.5).square()", "Leaky ReLU squared, slope 0.5"),
    ), "A smoother activation may waste fewer channels."),
    Swap("attention", "2 * torch.sigmoid(", (
        ("1 + torch.tanh(", "Value gate: 1 + tanh instead of 2 * sigmoid"),
        ("1.5 * torch.sigmoid(", "Value gate: 1.5 * sigmoid"),
    ), "The gate saturates early."),
    Swap("attention", "min(32, WIDTH)", (
        ("min(16, WIDTH)", "16 gate channels"), ("min(48, WIDTH)", "48 gate channels"), ("WIDTH", "All channels gate"),
    ), "How much of x must the gate see?"),
    Swap("initialization", "self.unembedding, std=0.001", (
        ("self.unembedding, std=0.0003", "Unembedding starts at 0.0003"),
        ("self.unembedding, std=0.005", "Unembedding starts at 0.005"),
        ("self.unembedding, std=0.0", "Unembedding starts at zero"),
    ), "The first loss should be that of a uniform guess."),
    Swap("initialization", "self.embedding.weight, std=1.0", (
        ("self.embedding.weight, std=0.8", "Embedding starts at 0.8"),
        ("self.embedding.weight, std=0.5", "Embedding starts at 0.5"),
    ), "It is normed anyway: the scale sets how fast its direction turns."),
    Swap("initialization", "torch.full((DEPTH,), 0.1)", (
        ("torch.full((DEPTH,), 0.05)", "Embedding scale starts at 0.05"),
        ("torch.full((DEPTH,), 0.2)", "Embedding scale starts at 0.2"),
        ("torch.linspace(0.2, 0.0, DEPTH)", "Embedding scale falls with depth"),
    ), "Late blocks need less of the raw token."),
    Swap("initialization", "bound = (3 / WIDTH) ** 0.5", (
        ("bound = (2 / WIDTH) ** 0.5", "Smaller start of the block matrices"),
        ("bound = 0.68 * (3 / WIDTH) ** 0.5", "Block matrices start at 0.68 of theirs"),
    ), "Smaller weights turn faster under normed updates."),
)  # fmt: skip


def draw(lines: Sequence[str], random: Random) -> Change:
    """A change that fits the file as it stands."""
    while True:
        idea = random.choice(SWAPS) if random.random() < 0.12 else random.choice(KNOBS)
        change = _swap(idea, lines, random) if isinstance(idea, Swap) else _turn(idea, lines, random)
        if change is not None:
            return change


def _turn(knob: Knob, lines: Sequence[str], random: Random) -> Change | None:
    pattern = re.compile(rf"{knob.name} = (?P<value>[^#\n]+?)(?P<rest>  #.*)?$")
    for number, line in enumerate(lines):
        found = pattern.match(line.rstrip("\n"))
        if found is None:
            continue
        old = found["value"]
        new = _another(knob, old, random)
        if new == old:
            return None
        text = f"{knob.name} = {new}{found['rest'] or ''}\n"
        description = f"{knob.says} {_said(old)} → {_said(new)}"
        return Change(knob.theme, number, text, description, knob.why, knob.breaks)
    return None


def _another(knob: Knob, old: str, random: Random) -> str:
    if knob.values:
        return repr(random.choice(knob.values)).replace("'", '"')
    return f"{float(old) * random.choice(knob.factors):.2g}"


def _said(value: str) -> str:
    whole = value.replace("_", "")
    return f"{int(whole) // 1024}K tokens" if whole.isdigit() and int(whole) >= 2**16 else value.strip('"')


def _swap(swap: Swap, lines: Sequence[str], random: Random) -> Change | None:
    for number, line in enumerate(lines):
        if swap.find in line:
            code, description = random.choice(swap.puts)
            return Change(swap.theme, number, line.replace(swap.find, code), description, swap.why, swap.breaks)
    return None
