"""The built-in sweep: which constants it turns, how far, that it learns and repeats nothing."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from experiments.researcher.base import Context, Past, Proposal, ResearcherError, Text, Usage
from experiments.researcher.choose import choose
from experiments.researcher.constants import Constant, edit_blocks, find_constants
from experiments.researcher.edits import apply_edits, parse_reply
from experiments.researcher.knobs import REACH, Scale, knob_for
from experiments.researcher.sweep import MOST, NAMED, Sweep

TEMPLATE = Path(__file__).parents[2] / "trainer" / "template" / "train.py"
TRAIN = '''"""MATRIX_LR = 0.04 is a good start."""
import os

DEPTH = 8  # blocks
HEAD_DIM: int = 128
TOTAL_BATCH_SIZE = 2**19
MATRIX_LR = 0.04
UNEMBEDDING_LR = 4e-3
WARMUP_RATIO = 0.0
ADAM_BETA2 = 0.95
SOFTCAP = 15.0
OFFSET = -0.5
STEPS = 5
USE_BF16 = True
NAME = "x"
SEED = 42
VOCAB_SIZE = 8192
MAX_SEQ_LEN = 2048
ADAM_EPS = 1e-10
EVAL_BATCH_SIZE = 32
WINDOW = -1
TWICE = 1.5
TWICE = 2.5
lower = 0.3
COMPUTED = MATRIX_LR * 2
PAIR = (0.8, 0.95)


def f():
    INNER_LR = 0.5
    return INNER_LR
'''
TURNED = {"DEPTH", "HEAD_DIM", "TOTAL_BATCH_SIZE", "MATRIX_LR", "UNEMBEDDING_LR", "WARMUP_RATIO", "ADAM_BETA2"}
TURNED |= {"SOFTCAP", "OFFSET", "STEPS"}


def context_for(source: str, history: tuple[Past, ...] = (), **changes: object) -> Context:
    context = Context("", 1, "val_bpb", True, 60, "cpu", {"train.py": source}, {}, 0, 1.5, history, seed=3)
    return replace(context, **changes)  # type: ignore[arg-type]


def propose(context: Context) -> Proposal:
    pieces = list(Sweep().reply((), context))
    assert isinstance(pieces[-1], Usage)
    text = "".join(piece.text for piece in pieces if isinstance(piece, Text))
    return parse_reply(text, context.files)


def past_of(number: int, proposal: Proposal, score: float | None, state: str = "discarded", reason: str = "") -> Past:
    return Past(number, "idea", state, reason, proposal.description, score=score, memo=proposal.memo)


def test_the_right_constants_are_found() -> None:
    found = {constant.name: constant.value for constant in find_constants(TRAIN)}
    turned = {constant.name for constant in find_constants(TRAIN) if knob_for(constant)}

    assert turned == TURNED
    assert found["TOTAL_BATCH_SIZE"] == 2**19
    assert found["OFFSET"] == -0.5
    assert "EVAL_BATCH_SIZE" not in found


def test_a_proposal_changes_what_its_idea_and_memo_say() -> None:
    context = context_for(TRAIN)
    proposal = propose(context)
    after = apply_edits(context.files, proposal.edits)["train.py"]

    before_lines, after_lines = TRAIN.split("\n"), after.split("\n")
    differing = [(a, b) for a, b in zip(before_lines, after_lines, strict=True) if a != b]
    assert len(differing) == len(proposal.memo["changed"]) in range(1, MOST + 1)
    for name, value in proposal.memo["changed"].items():
        assert proposal.memo["params"][name] == value
        assert {c.name: c.value for c in find_constants(after)}[name] == value
    assert "→" in proposal.description
    assert "no LLM" in proposal.hypothesis


def test_an_idea_names_what_is_expected_to_do_most() -> None:
    proposal = propose(context_for(TRAIN))
    named = re.findall(r"[A-Z][A-Z0-9_]+", proposal.description)

    assert named == list(proposal.memo["changed"])[:NAMED]
    assert proposal.description.endswith(f" and {MOST - NAMED} more")


def test_the_same_history_gives_the_same_proposal_and_another_seed_another() -> None:
    proposals = [propose(context_for(TRAIN, seed=seed)) for seed in (3, 3, 4, 5, 6)]

    assert proposals[0] == proposals[1]
    assert len({proposal.description for proposal in proposals}) > 1


def test_nothing_is_repeated_and_every_value_stays_within_reach() -> None:
    history: tuple[Past, ...] = ()
    seen = set()
    for number in range(1, 40):
        proposal = propose(context_for(TRAIN, history))
        changed: Mapping[str, float] = proposal.memo["changed"]
        combination = tuple(sorted(changed.items()))
        assert combination not in seen
        seen.add(combination)
        for name, value in changed.items():
            check_reach(name, value)
        history += (past_of(number, proposal, 1.5 + number / 100),)
    assert {name for combination in seen for name, _ in combination} >= {"MATRIX_LR", "UNEMBEDDING_LR", "ADAM_BETA2"}


def check_reach(name: str, value: float) -> None:
    base = {constant.name: constant.value for constant in find_constants(TRAIN)}[name]
    assert type(value) is type(base)
    assert value != base
    if name in ("DEPTH", "HEAD_DIM", "TOTAL_BATCH_SIZE"):
        assert value in (base // 4, base // 2, base * 2, base * 4)
    elif name == "WARMUP_RATIO":
        assert 0 < value <= 0.2
    elif name == "ADAM_BETA2":
        assert 0.8 <= value <= 0.9875
    else:
        assert 2**-REACH * 0.99 <= value / base <= 2**REACH * 1.01
    if 0 <= base <= 1:
        assert 0 <= value <= 1
    if isinstance(value, float):
        assert value == float(f"{value:.3g}")


def test_it_climbs_towards_better_scores() -> None:
    """On a smooth score, 40 proposals find most of what the two learning rates have to give."""
    source, best, history = "MATRIX_LR = 0.04\nEMBEDDING_LR = 0.2\n", 99.0, ()
    best_number = 0
    for number in range(1, 41):
        context = context_for(source, history, best_number=best_number, best_score=None if best == 99 else best)
        proposal = propose(context)
        params = proposal.memo["params"]
        score = 1 + math.log2(params["MATRIX_LR"] / 0.1) ** 2 + math.log2(params["EMBEDDING_LR"] / 0.5) ** 2
        history += (past_of(number, proposal, score),)
        if score < best:
            source, best, best_number = apply_edits(context.files, proposal.edits)["train.py"], score, number

    assert best < 1.1  # 4.5 at the start


def test_a_higher_score_can_be_the_better_one() -> None:
    history: tuple[Past, ...] = ()
    for number in range(1, 30):
        proposal = propose(context_for("MATRIX_LR = 0.04\n", history, lower_is_better=False, best_score=0.04))
        history += (past_of(number, proposal, proposal.memo["params"]["MATRIX_LR"]),)

    values = [past.memo["params"]["MATRIX_LR"] for past in history]
    assert sum(value > 0.04 for value in values[10:]) > 14


def test_a_size_that_failed_is_not_tried_again() -> None:
    source = "DEPTH = 3\nMATRIX_LR = 0.04\n"
    failed = Past(1, "idea", "failed", "crash", "", memo={"params": {"DEPTH": 6}, "changed": {"DEPTH": 6}})
    history: tuple[Past, ...] = (failed,)
    for number in range(2, 25):
        proposal = propose(context_for(source, history))
        assert "DEPTH" not in proposal.memo["changed"]
        history += (past_of(number, proposal, 1.5),)


def sizes_tried(*tried: tuple[int, int, float | None]) -> tuple[Past, ...]:
    """Of DEPTH and LAYERS with their score; None: they failed, and DEPTH was what had changed."""
    found = []
    for number, (depth, layers, score) in enumerate(tried, 1):
        state, reason, repeats = ("discarded", "", (score,) * 5) if score else ("failed", "crash", ())
        memo = {"params": {"DEPTH": depth, "LAYERS": layers}, "changed": {"DEPTH": depth}}
        found.append(Past(number, "idea", state, reason, "", score=score, memo=memo, repeats=repeats))
    return tuple(found)


def test_a_size_that_failed_is_not_tried_with_others_either() -> None:
    history = sizes_tried((8, 4, None), (2, 8, 1.6), (4, 16, 1.6), (4, 4, 1.6))

    with pytest.raises(ResearcherError, match="found nothing new"):
        propose(context_for("DEPTH = 4\nLAYERS = 8\n", history))


def test_where_all_that_is_likely_was_tried_the_rest_is() -> None:
    history = sizes_tried((4, 4, 1.5), (8, 4, 1.6), (4, 8, 1.52), (4, 2, 1.52), (2, 8, 2.5))

    assert propose(context_for("DEPTH = 4\nLAYERS = 4\n", history)).memo["changed"] == {"DEPTH": 2}


def test_learning_rates_come_before_what_does_less() -> None:
    others = "".join(f"SHARE_{letter} = 0.3\n" for letter in "ABCDEFGHIJKL")
    changes = [propose(context_for(others + "A_LR = 0.04\nB_LR = 0.3\n", seed=seed)).memo["changed"] for seed in range(60)]

    assert sum(len({"A_LR", "B_LR"} & set(changed)) for changed in changes) > 52  # 43 if all were alike


def test_one_size_at_a_time_and_one_in_most() -> None:
    source = "DEPTH = 4\nWIDTH = 128\nBATCH_TOKENS = 2**14\nMATRIX_LR = 0.04\nROPE_BASE = 10000.0\n"
    changes = [set(propose(context_for(source, seed=seed)).memo["changed"]) for seed in range(20)]
    sizes = [{"DEPTH", "WIDTH", "BATCH_TOKENS"} & changed for changed in changes]

    assert max(map(len, sizes)) == 1
    assert sum(map(len, sizes)) > 15


def test_what_costs_most_is_expected_to_do_most() -> None:
    constants = find_constants("WIDTH = 128\nHEAD_DIM = 64\nMATRIX_LR = 0.04\nADAM_BETA2 = 0.95\n")
    width, head, rate, beta = [knob.strength for knob in map(knob_for, constants) if knob]

    assert width > rate > beta == head


def test_a_size_that_trained_with_others_is_not_to_blame() -> None:
    source = "DEPTH = 4\nHEAD_DIM = 128\nMATRIX_LR = 0.04\n"
    deep = {"DEPTH": 8, "HEAD_DIM": 128, "MATRIX_LR": 0.04}
    better = Past(1, "idea", "discarded", "", "", score=1.4, memo={"params": deep, "changed": {"DEPTH": 8}})
    both = {"DEPTH": 8, "HEAD_DIM": 64}
    failed = Past(2, "idea", "failed", "crash", "", memo={"params": deep | both, "changed": both})

    proposals = [propose(context_for(source, (better, failed), seed=seed)) for seed in range(20)]
    assert 8 in {proposal.memo["params"]["DEPTH"] for proposal in proposals}
    assert {proposal.memo["params"]["HEAD_DIM"] for proposal in proposals} == {128}


def test_what_a_discarded_one_taught_is_used() -> None:
    """Two constants are turned at once; the good one is found although no experiment turned it alone and none was kept."""
    source = "MATRIX_LR = 0.04\nEMBEDDING_LR = 0.2\n"
    history: tuple[Past, ...] = ()
    for number, (matrix, embedding) in enumerate([(0.08, 0.1), (0.08, 0.4), (0.02, 0.1), (0.02, 0.4)], 1):
        params = {"MATRIX_LR": matrix, "EMBEDDING_LR": embedding}
        score = 1.6 - 0.05 * math.log2(matrix / 0.04)
        history += (Past(number, "idea", "discarded", "", "", score=score, memo={"params": params, "changed": params}),)

    values = [propose(context_for(source, history, seed=seed)).memo["params"]["MATRIX_LR"] for seed in range(10)]
    assert min(values) > 0.05


@pytest.mark.parametrize("scores", [(0.0,) * 4, (-3.0, -2.0, -4.0, -1.0), (1e-12, 2e-12, 0.0, 5e-12), (9e9, 1.0, 2e9, 1e12)])
def test_any_scores_will_do(scores: tuple[float, ...]) -> None:
    history: tuple[Past, ...] = ()
    for number, score in enumerate(scores, 1):
        proposal = propose(context_for(TRAIN, history, best_score=scores[0]))
        history += (past_of(number, proposal, score),)

    assert propose(context_for(TRAIN, history, best_score=min(scores))).edits


@pytest.mark.parametrize("state", ["training", "cancelled", "failed"])
def test_an_experiment_without_a_score_is_not_repeated_either(state: str) -> None:
    source = "LAYERS = 3\n"  # one move is possible: 6
    past = Past(1, "idea", state, "worker_lost", "", memo={"params": {"LAYERS": 6}, "changed": {"LAYERS": 6}})

    with pytest.raises(ResearcherError, match="found nothing new"):
        propose(context_for(source, (past,)))


@pytest.mark.parametrize("params", [None, 3, "x", {"MATRIX_LR": "high"}, {"MATRIX_LR": None}, {"MATRIX_LR": -1}])
def test_a_memo_that_is_not_its_own_does_no_harm(params: object) -> None:
    past = Past(1, "idea", "discarded", "", "", score=1.6, memo={"params": params, "changed": params})

    assert propose(context_for(TRAIN, (past,))).edits


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"train.py": "x = 1\n"}, "no numeric UPPER_CASE constants"),
        ({"notes.md": "LR = 1.0"}, "No editable file ends in .py"),
        ({"train.py": "LR = = 1"}, "is no Python"),
    ],
)
def test_where_there_is_nothing_to_turn_it_says_what_to_do(files: dict[str, str], message: str) -> None:
    with pytest.raises(ResearcherError, match=message):
        propose(context_for("", files=files))


def test_lines_that_occur_twice_are_edited_in_the_right_place() -> None:
    source = '"""\nLR = 0.5\n"""\nLR = 0.5\nB = 1\n'
    (constant, _) = find_constants(source)
    (block,) = edit_blocks("train.py", source, [constant], {"LR": 0.25})

    edits = parse_reply(block, ["train.py"]).edits
    assert apply_edits({"train.py": source}, edits)["train.py"] == '"""\nLR = 0.5\n"""\nLR = 0.25\nB = 1\n'


@pytest.mark.parametrize(
    ("name", "value", "scale"),
    [
        ("MATRIX_LR", 0.6, Scale.FACTOR),
        ("ADAM_BETA1", 0.9, Scale.COMPLEMENT),
        ("WARMUP_RATIO", 0.0, Scale.LINEAR),
        ("WARMDOWN_RATIO", 1.0, Scale.LINEAR),
        ("DEPTH", 7, Scale.DOUBLE),
        ("MLP_RATIO", 4, Scale.DOUBLE),
        ("STEPS", 5, Scale.FACTOR),
        ("OFFSET", -2.0, Scale.FACTOR),
        ("DROPOUT", 0.6, Scale.COMPLEMENT),
        ("EMA_DECAY", 0.9999, Scale.COMPLEMENT),
        ("ADAM_BETA2", 0.999, Scale.COMPLEMENT),
        ("BASE_LR", 1.0, Scale.FACTOR),
    ],
)
def test_a_knob_returns_to_the_coordinate_it_came_from(name: str, value: float, scale: Scale) -> None:
    knob = knob_for(Constant(name, value, str(value), 0, 0))

    assert knob is not None
    assert knob.scale is scale
    assert knob.value_at(knob.coordinate_of(value)) == value
    for x in (knob.low, knob.high):
        assert knob.coordinate_of(knob.value_at(x)) == pytest.approx(x, abs=0.1)
    assert knob.low <= knob.coordinate_of(1e9) <= knob.high
    for x in (-0.5, 0.5):  # a step goes somewhere, and stays what it is
        if knob.low <= x <= knob.high and scale is not Scale.DOUBLE:
            assert abs(knob.coordinate_of(knob.value_at(x))) > 0.3
            assert scale is not Scale.COMPLEMENT or 0 < knob.value_at(x) < 1


@pytest.mark.parametrize(("name", "value"), [("COMPILE", 1), ("COMPILE", 0), ("WINDOW", -1), ("N", 2.0**400)])
def test_a_switch_is_no_knob(name: str, value: float) -> None:
    assert knob_for(Constant(name, value, str(value), 0, 0)) is None


def test_the_template_can_be_swept() -> None:
    source = TEMPLATE.read_text()
    history: tuple[Past, ...] = ()
    for number in range(1, 6):
        context = context_for(source, history)
        proposal = propose(context)
        assert apply_edits(context.files, proposal.edits)["train.py"] != source
        history += (past_of(number, proposal, 1.5),)


def test_choose_knows_its_researchers() -> None:
    assert choose("sweep").label == "built-in sweep (no LLM)"
    assert choose("litellm", model="openai/gpt-5").can_repair
    for kind, model in (("litellm", ""), ("magic", "")):
        with pytest.raises(ResearcherError, match="program page"):
            choose(kind, model=model)
