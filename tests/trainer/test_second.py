"""The second process: where it is asked, in which order, and what its answers are taken for. No process here."""

from __future__ import annotations

import numpy as np
import pytest

from tests.trainer.test_exam import Given, Model
from trainer.exam import Exam
from trainer.paper import Shard
from trainer.scoring import Doubles, Floats, Integers
from trainer.second import PLACES, Findings, Second

VOCAB, T, ROWS = 64, 32, 128
SIZES = np.array([3] * (VOCAB - 1) + [0])
OTHER = np.random.default_rng(0).integers(VOCAB - 1, size=9999)
TABLE = np.random.default_rng(1).normal(0, 2, (VOCAB, VOCAB)).astype(np.float32)


def honest(x: Integers) -> Floats:
    return TABLE[x]


def leaking(nats: float, one_in: int = 1) -> Model:
    """Believes the token that follows by so much more, at one position in so many, chosen by its token and place."""

    def model(x: Integers) -> Floats:
        logits = honest(x)
        after = np.roll(x, -1, axis=1)
        chosen = (x * 7919 + np.arange(x.shape[1]) * 104729) % one_in == 0
        chosen[:, -1] = False
        rows, places = np.nonzero(chosen)
        logits[rows, places, after[rows, places]] += nats
        return logits

    return model


def shard(seed: int) -> Shard:
    tokens = np.random.default_rng(seed).integers(VOCAB - 1, size=ROWS * T + 1)
    return Shard.cut(tokens, T, SIZES, VOCAB - 1)


def sat(model: Model, **shards: Shard) -> Exam:
    """The first process's exam, all answered."""
    exam = Exam(shards or {"text": shard(1), "secret": shard(2)}, 8, VOCAB, np.random.default_rng(3))
    for questions in exam.stages():
        for question in questions:
            exam.mark(question, Given(model(question.x).reshape(-1, VOCAB)))
    return exam


def ask(
    exam: Exam, model: Model, seed: int = 4, references: tuple[dict[str, Doubles], ...] = (), places: int = PLACES
) -> Findings:
    second = Second(exam, OTHER, np.random.default_rng(seed), references, places)
    for question in second.questions():
        second.mark(question, Given(model(question.x).reshape(-1, VOCAB)))
    return second.findings()


def test_of_an_honest_model_both_say_the_same() -> None:
    found = ask(sat(honest), honest)
    assert found.problem == "" and found.numbers["places"] == PLACES
    assert found.numbers["seen"] == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize(("nats", "one_in"), [(0.05, 1), (0.5, 10), (4.0, 100)])
def test_a_leak_is_found_however_it_is_spent(nats: float, one_in: int) -> None:
    model = leaking(nats, one_in)
    exam = sat(model)
    for seed in range(5):
        assert ask(exam, model, seed).problem == "leak"


def test_a_leak_at_the_first_token_of_each_row_is_found() -> None:
    """Nothing comes before it that both could be asked about."""

    def first_place(x: Integers) -> Floats:
        logits = honest(x)
        logits[np.arange(len(x)), 0, x[:, 1]] += 5.0
        return logits

    exam = sat(first_place)
    assert {ask(exam, first_place, seed).problem for seed in range(5)} == {"leak"}


def test_a_second_that_knows_better_pays_for_no_leak() -> None:
    """It finds the hidden places, and is a better model there, by more than the first one leaks."""
    cheat = leaking(0.3)
    exam = sat(cheat)
    second = Second(exam, OTHER, np.random.default_rng(4))
    for question in second.questions():
        logits = cheat(question.x)
        for slot, row in enumerate(second.rows[number] for number in question.numbers):
            logits[slot, row.place] = honest(question.x)[slot, row.place]
            logits[slot, row.place, exam.shards[row.shard].y[row.row, row.place]] += 0.8
        second.mark(question, Given(logits.reshape(-1, VOCAB)))
    assert second.findings().problem == "unlike"


def test_what_no_answer_could_show_was_never_shown() -> None:
    """Neither the token that is hidden, nor, until it is answered, any row that shows more of it."""
    exam = sat(honest)
    second = Second(exam, OTHER, np.random.default_rng(5))
    shown: dict[tuple[str, int], int] = {}  # row -> how far it was shown
    for question in second.questions():
        rows = [second.rows[number] for number in question.numbers]
        assert len({(row.shard, row.row) for row in rows}) == len(rows)
        for slot in range(len(rows), len(question.x)):
            assert (question.x[slot] == question.x[slot % len(rows)]).all()
        for slot, row in enumerate(rows):
            text = exam.shards[row.shard]
            assert (question.x[slot, : row.place + 1] == text.x[row.row, : row.place + 1]).all()
            assert question.x[slot, row.place + 1] != text.y[row.row, row.place]
            assert shown.get((row.shard, row.row), -1) < row.place < T - 1  # the next row begins with what follows the last
            shown[row.shard, row.row] = row.place
    place, before = second.looks[:, :1], second.looks[:, 1:]
    assert ((before < place) | (place == 0)).all() and (place == 0).any()
    assert [sum(row.shard == name for row in second.rows) for name in ("text", "secret")] == [PLACES * 3 // 4, PLACES // 4]


def test_what_weighs_nothing_is_not_asked() -> None:
    tokens = np.full(ROWS * T + 1, VOCAB - 1)  # a special token
    tokens[: 40 * T : 5] = 3
    second = Second(sat(honest, text=Shard.cut(tokens, T, SIZES, VOCAB - 1)), OTHER, np.random.default_rng(6))
    assert second.rows and all(second.exam.shards["text"].y[row.row, row.place] == 3 for row in second.rows)


def test_a_text_that_can_hide_nothing_proves_nothing() -> None:
    tokens = np.full(ROWS * T + 1, VOCAB - 1)
    tokens[::T] = 3  # only ends of rows count
    found = ask(sat(honest, text=Shard.cut(tokens, T, SIZES, VOCAB - 1)), honest)
    assert (found.problem, found.numbers) == ("unlike", {})


def test_tokens_that_are_never_believed_where_they_do_not_count_are_no_trouble() -> None:
    def masked(x: Integers) -> Floats:
        logits = honest(x)
        logits[..., VOCAB - 1] = -np.inf
        return logits

    tokens = np.random.default_rng(9).integers(VOCAB, size=ROWS * T + 1)  # special ones among them
    exam = sat(masked, text=Shard.cut(tokens, T, SIZES, VOCAB - 1))
    before = {"text": np.full((ROWS, T), np.inf)}
    assert np.isfinite(list(ask(exam, masked).numbers.values())).all()
    before["text"][exam.shards["text"].weight > 0] = 9.0
    assert np.isfinite(list(ask(exam, masked, references=(before,)).numbers.values())).all()


def test_half_of_the_places_lie_where_the_gain_is() -> None:
    """A leak on one token in eight hundred is all that is better than before, and it is found every time."""
    before = {name: sat(honest).rows_of(name) for name in ("text", "secret")}
    model = leaking(1.5, 800)
    exam = sat(model)
    blind = [ask(exam, model, seed, places=100).problem for seed in range(8)]
    assert "" in blind
    assert {ask(exam, model, seed, (before,), places=100).problem for seed in range(8)} == {"leak"}


def test_the_bound_speaks_of_the_gain_over_the_best() -> None:
    exam = sat(honest)
    near = {name: exam.rows_of(name) + 0.01 for name in ("text", "secret")}
    alone, compared = ask(exam, honest).numbers["bound_bpb"], ask(exam, honest, references=(near, near)).numbers["bound_bpb"]
    assert compared < 0.001 < alone


@pytest.mark.parametrize("seed", range(2, 6))
def test_another_model_is_not_called_a_leak(seed: int) -> None:
    other = np.random.default_rng(seed).normal(0, 2, (VOCAB, VOCAB)).astype(np.float32)
    for model in (lambda x: np.roll(honest(x), 1, axis=2), lambda x: 0 * honest(x), lambda x: other[x]):
        found = ask(sat(honest), model, seed)
        assert found.problem == "unlike" and "Keep it in parameters or buffers" in found.detail


def test_a_leak_is_called_one_also_where_the_two_are_apart() -> None:
    """As of a model that looks ahead only where what follows reads like text."""

    def looks_ahead(x: Integers) -> Floats:
        logits = leaking(2.0)(x)
        return np.where((x[:, -1:] % 2 == 0)[..., None], logits, honest(x))

    found = ask(sat(looks_ahead), looks_ahead)
    assert found.problem == "leak" and found.numbers["unlike"] > 0.05


def test_numbers_that_are_missing_where_it_counts_are_no_answer() -> None:
    def silent(x: Integers) -> Floats:
        logits = honest(x)
        logits[x == x[0, 0]] = np.nan
        return logits

    assert ask(sat(honest), silent).problem == "nan"


def test_noise_made_on_purpose_opens_no_door() -> None:
    """The second process answers with noise: then a leak is found all the same, or nothing is proven."""
    cheat, dice = leaking(0.06), np.random.default_rng(8)
    exam = sat(cheat)
    for scale in (0.02, 0.1, 0.3, 1.0):

        def noisy(x: Integers, scale: float = scale) -> Floats:
            return (cheat(x) * (1 + scale * dice.normal(0, 1, (*x.shape, 1)))).astype(np.float32)

        def rare(x: Integers, scale: float = scale) -> Floats:
            logits = cheat(x)
            logits[dice.random(x.shape) < 0.01] *= 1 - 5 * scale
            return logits

        assert all(ask(exam, model, seed).problem for model in (noisy, rare) for seed in range(5))


def test_what_depends_on_its_neighbours_in_the_batch_is_no_leak() -> None:
    """As experts that are shared out do: where the same was shown it differs as much, so nothing is proven."""

    def mixed(x: Integers) -> Floats:
        logits = honest(x)
        logits += 0.5 * np.roll(logits, 1, axis=0).mean(axis=(1, 2), keepdims=True) * (x[..., None] % 7 == 0) * TABLE[0]
        return logits

    assert ask(sat(mixed), mixed).problem in {"", "unlike"}


def test_rounding_is_no_leak_and_hides_none() -> None:
    dice = np.random.default_rng(7)

    def rounded(model: Model) -> Model:
        return lambda x: (model(x) + dice.normal(0, 0.01, (*x.shape, VOCAB))).astype(np.float32)

    exam = sat(honest)
    assert {ask(exam, rounded(honest), seed).problem for seed in range(20)} == {""}
    cheat = leaking(0.06)
    assert ask(sat(cheat), rounded(cheat)).problem == "leak"
