"""Seeds in disguise: a change of nothing but the random numbers is seen, and no honest edit is taken for one."""

from __future__ import annotations

from pathlib import Path

import pytest

from experiments.dice.form import only_dice_differ
from experiments.loop import actions
from experiments.researcher.constants import find_constants
from experiments.states import Badge, State
from tests.loop.conftest import answers  # noqa: F401  (a fixture)
from tests.loop.scripted import edit

ROOT = Path(__file__).resolve().parents[3]
TEMPLATE, UPSTREAM = (
    (ROOT / path).read_text() for path in ("trainer/template/train.py", "tests/scripts/upstream_style_train.py")
)
COMMAND = ["{python}", "train.py"]
PROGRAM = '''
"""A program of somebody's own."""
import os
import random
import numpy as np
import torch
import torch.nn as nn
from prepare import TIME_BUDGET, make_dataloader

SEED = int(os.environ.get("AUTORESEARCH_SEED", 42))
WIDTH = 128
RATE = 0.02
CLIP = 1.0
CONFIG = {"data_seed": 1337, "repeats": 1}


def set_seed(seed, strict=False):
    """All streams."""
    random.seed(seed)
    np.random.seed(seed)
    if strict:
        torch.use_deterministic_algorithms(True)


class Model(nn.Module):
    has_bias = True

    def __init__(self, width):
        super().__init__()
        self.first = nn.Linear(width, width)
        self.second = nn.Linear(width, width)
        nn.init.normal_(self.first.weight, std=0.02)
        nn.init.normal_(self.second.weight, std=0.02)
        nn.init.zeros_(self.first.bias)

    def forward(self, x):
        noise = torch.rand(1)
        return self.second(self.first(x)) + 0.0 * noise


def masks(step):
    torch.manual_seed(SEED + step)
    return torch.rand(WIDTH) < 0.5


def main():
    print(f"seed {SEED}")
    model = Model(WIDTH)
    data = make_dataloader(8, 64, seed=SEED, **CONFIG)
    shift = torch.randn(WIDTH)
    scale = torch.rand(WIDTH)
    order = torch.randperm(100)
    for step in range(100):
        loss = (model(next(data)) * scale + shift).mean() * masks(step).sum() * order[0]
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)
    return model


torch.manual_seed(SEED)
torch.cuda.manual_seed_all(SEED)
set_seed(SEED, True)
main()
'''
DISGUISES = {
    "another number": ("= int(os.environ.get(\"AUTORESEARCH_SEED\", 42))", "= 7"),
    "plus a number": ("torch.manual_seed(SEED)\n", "torch.manual_seed(SEED + 137)\n"),
    "nothing left of it": ("torch.manual_seed(SEED)\n", "torch.manual_seed(SEED * 0 + 137)\n"),
    "by bits": ("torch.manual_seed(SEED)\n", "torch.manual_seed(SEED ^ 5)\n"),
    "by its text": ("torch.manual_seed(SEED)\n", "torch.manual_seed(abs(hash(str(SEED) + \"b\")) % 2**31)\n"),
    "at the constant": ("42))\n", "42)) + 137\n"),
    "renamed": ("SEED", "S"),
    "by way of another constant": ("torch.manual_seed(SEED)", "LUCK: int = SEED + 3\ntorch.manual_seed(LUCK)"),
    "by the clock": ("torch.manual_seed(SEED)\n", "import time\ntorch.manual_seed(int(time.time()))\n"),
    "one more stream": ("torch.manual_seed(SEED)\n", "torch.manual_seed(SEED)\nnp.random.seed(7)\n"),
    "once more before the model": ("    model = Model(WIDTH)", "    torch.manual_seed(7)\n    model = Model(WIDTH)"),
    "not seeded at all": ("torch.cuda.manual_seed_all(SEED)\n", ""),
    "in a function of its own": ("set_seed(SEED, True)", "set_seed(SEED + 9, True)"),
    "by keyword": ("seed=SEED,", "seed=SEED + 1,"),
    "in a dictionary": ("1337", "1338"),
    "in every step": ("torch.manual_seed(SEED + step)", "torch.manual_seed(SEED + 137 + step)"),
    "a number thrown away": ("True)\nmain()", "True)\ntorch.rand(1)\nmain()"),
    "many thrown away": ("    model = Model", "    for _ in range(137):\n        torch.rand(1)\n    model = Model"),
    "thrown away into a name": ("    model = Model", "    _ = torch.empty(3).normal_()\n    model = Model"),
    "a generator of its own": (
        "    order = torch.randperm(100)",
        "    dice = torch.Generator().manual_seed(7)\n    order = torch.randperm(100, generator=dice)",
    ),
    "draws in another order": (
        "    shift = torch.randn(WIDTH)\n    scale = torch.rand(WIDTH)\n",
        "    scale = torch.rand(WIDTH)\n    shift = torch.randn(WIDTH)\n",
    ),
    "weights in another order": (
        "        nn.init.normal_(self.first.weight, std=0.02)\n        nn.init.normal_(self.second.weight, std=0.02)\n",
        "        nn.init.normal_(self.second.weight, std=0.02)\n        nn.init.normal_(self.first.weight, std=0.02)\n",
    ),
    "nothing: a comment": ("RATE = 0.02", "RATE = 0.02  # tuned"),
    "nothing: a docstring": ("\"\"\"All streams.\"\"\"", "\"\"\"All the streams.\"\"\""),
    "nothing: a print": ("print(f\"seed {SEED}\")", "print(\"go\")"),
    "nothing: an unused constant": ("RATE = 0.02", "RATE = 0.03"),
    "nothing: a variable's name": ("noise", "eps"),
}
HONEST = {
    "a constant": ("WIDTH = 128", "WIDTH = 160"),
    "a constant and the seed": ("42))\nWIDTH = 128", "7))\nWIDTH = 160"),
    "the seed and what follows it": ("torch.manual_seed(SEED)\n", "torch.manual_seed(7)\ntorch.set_num_threads(2)\n"),
    "a clip": ("CLIP = 1.0", "CLIP = 0.5"),
    "a clip of nothing": ("        torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)\n", ""),
    "the weights at the start": ("std=0.02", "std=0.03"),
    "one layer's weights at the start": ("second.weight, std=0.02", "second.weight, std=0.03"),
    "another start": ("nn.init.zeros_", "nn.init.ones_"),
    "another distribution": ("scale = torch.rand(WIDTH)", "scale = torch.randn(WIDTH)"),
    "no distribution": ("torch.randperm(100)", "torch.arange(100)"),
    "two names changed over": ("* scale + shift", "* shift + scale"),
    "longer": ("range(100)", "range(200)"),
    "more in a batch, seed beside it": ("make_dataloader(8, 64, seed=SEED", "make_dataloader(16, 64, seed=SEED + 1"),
    "the same mask in each step": ("SEED + step)", "SEED)"),
    "a mask for ten steps": ("SEED + step)", "SEED + step // 10)"),
    "more of a mask": ("< 0.5", "< 0.9"),
    "another flag beside the seed": ("set_seed(SEED, True)", "set_seed(SEED, False)"),
    "an entry beside the seed": ("\"repeats\": 1", "\"repeats\": 2"),
    "noise that counts": ("0.0 * noise", "0.1 * noise"),
    "noise of one kind in each step": (
        "torch.rand(1)\n", "torch.rand(1, generator=torch.Generator().manual_seed(0))\n",
    ),
    "a layer's name, and its width": ("self.second = nn.Linear(width, width)", "self.second = nn.Linear(width, width // 2)"),
    "what a class says of itself": ("has_bias = True", "has_bias = False"),
    "a method's name": ("def forward(self", "def backward(self"),
    "layers in another order": (
        "        self.first = nn.Linear(width, width)\n        self.second = nn.Linear(width, width)\n",
        "        self.second = nn.Linear(width, width)\n        self.first = nn.Linear(width, width)\n",
    ),
    "the same weights twice": (
        "        nn.init.normal_(self.second", "        torch.manual_seed(SEED)\n        nn.init.normal_(self.second",
    ),
    "equal streams where they were two": (
        "    shift = torch.randn(WIDTH)\n", "    torch.manual_seed(SEED)\n    shift = torch.randn(WIDTH)\n",
    ),
}


def edited(old: str, new: str, program: str = PROGRAM) -> str:
    assert old in program
    return program.replace(old, new)


def differs_in_dice(before: str, after: str, path: str = "train.py") -> bool:
    return only_dice_differ({path: before}, {path: after}, COMMAND)


@pytest.mark.parametrize("name", DISGUISES)
def test_other_random_numbers_are_no_other_training(name: str) -> None:
    assert differs_in_dice(PROGRAM, edited(*DISGUISES[name]))


@pytest.mark.parametrize("name", HONEST)
def test_an_honest_edit_is_not_taken_for_a_seed(name: str) -> None:
    assert not differs_in_dice(PROGRAM, edited(*HONEST[name]))


@pytest.mark.parametrize("program", [TEMPLATE, UPSTREAM], ids=["ours", "upstream's"])
def test_no_constant_that_trains_is_taken_for_a_seed(program: str) -> None:
    constants, lines = find_constants(program), program.split("\n")
    for one in constants[::6]:
        line = lines[one.line]
        other = line[: one.column] + one.written(one.value + 1) + line[one.column + len(one.literal) :]
        after = "\n".join([*lines[: one.line], other, *lines[one.line + 1 :]])
        assert not differs_in_dice(program, after), one.name
    assert constants


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("torch.manual_seed(SEED)", "torch.manual_seed(SEED + 137)"),
        ("torch.manual_seed(SEED)", "torch.manual_seed(SEED)\nimport numpy as np\nnp.random.seed(7)"),
        ("    training = Training(model)\n", "    torch.rand(1)\n    training = Training(model)\n"),
        ("    model.eval()\n", "    model.eval()\n    # done\n"),
    ],
)
def test_the_templates_seed_is_seen_too(old: str, new: str) -> None:
    assert differs_in_dice(TEMPLATE, edited(old, new, TEMPLATE))


def test_what_other_files_read_is_no_unused_constant() -> None:
    """A configuration is read by files that may not be edited: there only the name says what is a seed."""
    config = (("WIDTH = 160\nSEED = 1\n", False), ("WIDTH = 128\nSEED = 2\n", True), ("HIGH = 128\nSEED = 1\n", False))
    for after, dice in config:
        assert differs_in_dice("WIDTH = 128\nSEED = 1\n", after, "config.py") is dice
    for after, dice in (("seed: 2\nwidth: 128\n", True), ("seed: 1\nwidth: 160\n", False)):
        assert differs_in_dice("seed: 1\nwidth: 128\n", after, "config.yaml") is dice


def test_who_reads_names_by_their_text_uses_every_constant() -> None:
    program = "RATE = 1\nSEED = 2\nsettings = {name: globals()[name] for name in dir()}\ntrain(settings)\n"
    assert not differs_in_dice(program, edited("RATE = 1", "RATE = 2", program))
    assert differs_in_dice(program, edited("SEED = 2", "SEED = 3", program))
    program = "for name in (2, 3):\n    train(name, **globals())\n"
    assert not differs_in_dice(program, edited("name", "other", program))


def test_where_the_score_is_what_it_prints_that_counts() -> None:
    before, after = {"train.py": "rate = 1\nprint(rate)\n"}, {"train.py": "rate = 2\nprint(rate)\n"}
    assert only_dice_differ(before, after, COMMAND)
    assert not only_dice_differ(before, after, COMMAND, prints_count=True)


def test_streams_that_were_the_same_and_no_longer_are_do_count() -> None:
    program = "import numpy as np\na = np.random.default_rng(1)\nb = np.random.default_rng(1)\ntrain(a, b)\n"
    assert not differs_in_dice(program, edited("b = np.random.default_rng(1)", "b = np.random.default_rng(2)", program))
    assert differs_in_dice(program, edited("default_rng(1)", "default_rng(2)", program))


def test_weights_of_one_tensor_may_not_change_places() -> None:
    first, second = "init.normal_(m.a, std=1)\n", "init.normal_(m.b, std=2)\n"
    assert not differs_in_dice(first + second + "train(m)\n", second + first + "train(m)\n")


def test_a_seed_in_each_step_is_more_than_a_seed() -> None:
    program = "def mask():\n    torch.manual_seed(3)\n    return torch.rand(4)\nfor _ in range(9):\n    train(mask())\n"
    assert differs_in_dice(program, edited("seed(3)", "seed(4)", program))
    assert not differs_in_dice(program, edited("    torch.manual_seed(3)\n", "", program))
    assert not differs_in_dice(program, edited("seed(3)", "seed(time.time_ns())", "import time\n" + program))


@pytest.mark.parametrize("broken", ["def (", "\0", "x = " + "(" * 3000])
def test_what_is_no_python_is_compared_by_its_lines(broken: str) -> None:
    assert not differs_in_dice("x = 1\n", broken)
    assert differs_in_dice(broken + "\n# seed 1", broken + "\n# seed 2")


@pytest.mark.django_db(transaction=True)
@pytest.mark.sqlite_is_enough
def test_a_lucky_seed_in_disguise_is_not_kept(make_script_program, loop, answers) -> None:  # type: ignore[no-untyped-def]  # noqa: F811
    run = actions.start_run(make_script_program("lucky", budget_seconds=1), "night", by="ada", max_experiments=2)
    answers(edit("a better start", "random.seed(SEED)", "random.seed(SEED * 0 + 4)"))
    baseline, lucky = loop.finish(run, 2)
    assert lucky.score < baseline.score
    assert (lucky.state, Badge.SEED_ONLY in lucky.badges) == (State.DISCARDED, True)
    assert "a lucky seed is no finding" in lucky.detail
