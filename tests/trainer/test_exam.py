"""The exam without processes: what is asked, how it is scored, and which models are caught."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest

from trainer.checks import check_dice
from trainer.exam import Exam, Marks
from trainer.paper import Shard, Splicer, rows_per_batch
from trainer.scoring import Floats, Integers, Scorer

VOCAB, T, BOS = 40, 64, 39
Model = Callable[[Integers], Floats]  # x (B, T) -> logits (B, T, V)


@dataclass
class Given:
    """An answer in memory."""

    logits: Floats  # (positions, V)

    @property
    def positions(self) -> int:
        return len(self.logits)

    @property
    def vocab(self) -> int:
        return self.logits.shape[1]

    def read(self, first: int, count: int) -> Floats:
        return self.logits[first : first + count].copy()


def make_text(seed: int, size: int) -> Integers:
    """Tokens of a Markov chain, each with few followers, a BOS now and then."""
    dice = np.random.default_rng(seed)
    followers = np.random.default_rng(0).integers(0, BOS, (VOCAB, 6))
    tokens = [BOS]
    for roll, is_bos in zip(dice.integers(6, size=size - 1), dice.random(size - 1) < 0.01, strict=True):
        tokens.append(BOS if is_bos else int(followers[tokens[-1], roll]))
    return np.array(tokens)


TOKEN_BYTES = np.array([1 + token % 3 for token in range(BOS)] + [0])
TEXT = Shard.cut(make_text(1, 8000), T, TOKEN_BYTES, BOS)
SECRET = Shard.cut(make_text(2, 3000), T, TOKEN_BYTES, BOS)
_counts = np.full((VOCAB, VOCAB), 0.05)
np.add.at(_counts, (lambda text: (text[:-1], text[1:]))(make_text(3, 20000)), 1)
BIGRAM = np.log(_counts / _counts.sum(1, keepdims=True)).astype(np.float32)


def honest(x: Integers) -> Floats:
    return BIGRAM[x]


def hold(model: Model, seed: int = 0, asked: int = 8, below: float | None = None, cores: int = 1) -> Marks:
    """A whole exam of this model."""
    rows = rows_per_batch(asked, TEXT, VOCAB)
    dice = np.random.default_rng(seed)
    exam = Exam({"text": TEXT, "secret": SECRET}, rows, VOCAB, dice, secret_below=below, scorer=Scorer(cores))
    for questions in exam.stages():
        for question in questions:
            exam.mark(question, Given(model(question.x).reshape(-1, VOCAB).astype(np.float32)))
    return exam.marks()


def plain_bpb(shard: Shard, model: Model) -> float:
    logits = model(shard.x).astype(np.float64)
    logp = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    nats = -np.take_along_axis(logp, shard.y[..., None], 2)[..., 0]
    return float(nats[shard.weight > 0].sum() / math.log(2) / shard.weight.sum())


# The number


def test_the_score_is_that_of_a_plain_evaluation_in_float64() -> None:
    marks = hold(honest)
    assert marks.problem == ""
    assert marks.val_bpb == pytest.approx(plain_bpb(TEXT, honest), rel=1e-6)
    assert marks.secret_bpb == pytest.approx(plain_bpb(SECRET, honest), rel=1e-6)


def test_the_same_model_gets_the_same_number_each_time_on_any_number_of_cores() -> None:
    marks = [hold(honest, seed, cores=cores) for seed, cores in ((1, 1), (2, 1), (3, 3))]
    assert {(mark.val_bpb, mark.secret_bpb) for mark in marks} == {(marks[0].val_bpb, marks[0].secret_bpb)}


@pytest.mark.parametrize("asked", [1, 3, 5, 8, 1000])
def test_every_row_is_scored_once_whatever_the_batch_size(asked: int) -> None:
    batches = TEXT.batches(rows_per_batch(asked, TEXT, VOCAB))
    assert sorted(batches[batches >= 0]) == list(range(len(TEXT.x)))
    assert hold(honest, asked=asked).val_bpb == pytest.approx(plain_bpb(TEXT, honest), rel=1e-6)


def test_the_last_row_is_filled_up_with_what_weighs_nothing() -> None:
    shard = Shard.cut(np.arange(10), 4, np.ones(40, np.int64) * (np.arange(40) != BOS), BOS)
    assert shard.x.tolist() == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, BOS, BOS]]
    assert shard.y.tolist()[-1] == [9, BOS, BOS, BOS]
    assert shard.bytes == 9


@pytest.mark.parametrize(("shift", "scale"), [(1000.0, 1.0), (-3.0, 1.0)])
def test_scores_that_are_no_log_probabilities_gain_nothing(shift: float, scale: float) -> None:
    assert hold(lambda x: honest(x) * scale + shift).val_bpb == pytest.approx(plain_bpb(TEXT, honest), rel=1e-5)


def test_the_secret_text_is_asked_only_of_a_good_model() -> None:
    score = plain_bpb(TEXT, honest)
    assert hold(honest, below=score - 0.01).secret_bpb is None
    assert hold(honest, below=score + 0.01).secret_bpb is not None


def test_the_memory_of_a_batch_is_bounded() -> None:
    text = Shard.cut(np.zeros(2**19, np.int64), 2048, TOKEN_BYTES, BOS)
    assert rows_per_batch(256, text, 8192) == 16
    assert rows_per_batch(256, text, 50_000_000) == 1


# What is asked


@pytest.mark.parametrize("is_rolled", [False, True])
def test_a_suffix_differs_from_its_first_token_on_and_the_text_before_it_stays(is_rolled: bool) -> None:
    splicer = Splicer(TEXT, VOCAB, np.random.default_rng(0))
    cuts = []
    for row in range(len(TEXT.x)):
        other, cut = splicer.cut(row, is_rolled)
        assert (other[:cut] == TEXT.x[row, :cut]).all()
        assert other[cut] != TEXT.x[row, cut]
        assert other.shape == (T,)
        cuts.append(cut)
    assert min(cuts) >= 1
    assert len(set(cuts)) > 10


def test_a_new_suffix_is_plausible_where_it_begins() -> None:
    splicer = Splicer(TEXT, VOCAB, np.random.default_rng(0))
    flat = TEXT.x.ravel()
    known = set(zip(flat, flat[1:], flat[2:], strict=False))
    spliced = [splicer.cut(row) for row in range(len(TEXT.x))]
    assert sum(tuple(other[cut - 2 : cut + 1]) in known for other, cut in spliced) > 0.9 * len(spliced)


def test_checks_are_a_small_share_of_the_questions() -> None:
    exam = Exam({"text": TEXT}, rows_per_batch(32, TEXT, VOCAB), VOCAB, np.random.default_rng(0))
    questions = [question for stage in exam.stages() for question in stage]
    scored = [question for question in questions if question.scored and question.scored[0] == "text"]
    assert (len(questions) - len(scored)) / len(scored) <= 0.35


def test_no_last_target_has_been_shown_before() -> None:
    exam = Exam({"text": TEXT}, 8, VOCAB, np.random.default_rng(5))
    questions = next(iter(exam.stages()))
    assert exam.unseen
    order = [question.scored for question in questions]
    for batch in exam.unseen:
        asked = [scored[1] for scored in order[: order.index(("text", batch)) + 1] if scored]
        shown = {int(row) for before in asked for row in exam.batches["text"][before]}
        assert not shown & {int(row) + 1 for row in exam.batches["text"][batch] if row >= 0}


# Who is caught


def one_hot(x: Integers) -> Floats:
    return np.eye(VOCAB, dtype=np.float32)[x]


def following(x: Integers) -> Floats:
    """The next token of each position, nothing at the last."""
    shown = one_hot(np.roll(x, -1, 1))
    shown[:, -1] = 0
    return shown


def plausible_only(x: Integers) -> Floats:
    logits = honest(x)
    likely = np.take_along_axis(logits, np.roll(x, -1, 1)[..., None], 2) > math.log(0.05)
    return logits + 20 * following(x) * likely


def block_mean(x: Integers) -> Floats:
    blocks = one_hot(x).reshape(len(x), T // 8, 8, VOCAB).mean(2).repeat(8, 1)
    return honest(x) + 2 * blocks


def now_and_then(x: Integers) -> Floats:
    """Peeks at one position in fifty, by what it has just read."""
    return honest(x) + 20 * following(x) * ((x * 7 + np.roll(x, 1, 1) * 13) % 50 == 0)[..., None]


LEAKS: dict[str, Model] = {
    "a peek": lambda x: honest(x) + 20 * following(x),
    "a small peek": lambda x: honest(x) + 0.02 * following(x),
    "a peek in half precision": lambda x: (honest(x) + 0.05 * following(x)).astype(np.float16).astype(np.float32),
    "a peek at plausible tokens": plausible_only,
    "a peek now and then": now_and_then,
    "a peek at the end of a block": lambda x: honest(x) + 20 * following(x) * (np.arange(T) % 16 == 15)[:, None],
    "a mean over blocks": block_mean,
    "the row before in the batch": lambda x: honest(x) + one_hot(np.roll(x, 1, 0)),
    "a mean over the batch": lambda x: honest(x) + 20 * one_hot(x).mean((0, 1)),
    "dice": lambda x: honest(x) + np.random.default_rng().normal(0, 0.5, (*x.shape, VOCAB)).astype(np.float32),
}


@pytest.mark.parametrize("name", LEAKS)
def test_a_leak_is_caught(name: str) -> None:
    for seed in range(5):
        marks = hold(LEAKS[name], seed)
        assert marks.problem == "leak", marks.checks
        assert marks.val_bpb is None
        assert len(marks.detail) > 80  # says what was seen and where to look


def test_a_small_leak_is_caught_under_the_noise_of_half_precision() -> None:
    noise = np.random.default_rng(0)

    def noisy(x: Integers) -> Floats:
        return honest(x) + noise.normal(0, 0.02, (*x.shape, VOCAB)).astype(np.float32)

    assert all(hold(noisy, seed).problem == "" for seed in range(10))
    assert all(hold(lambda x: noisy(x) + 0.1 * following(x), seed).problem == "leak" for seed in range(10))


def test_a_model_that_learns_from_the_questions_is_caught() -> None:
    counts = np.exp(BIGRAM.astype(np.float64)) * 50

    def learning(x: Integers) -> Floats:
        logits = np.log(counts)[x]
        np.add.at(counts, (x[:, :-1], x[:, 1:]), 1)
        return logits

    marks = hold(learning)
    assert marks.problem == "leak"
    assert "asked once more" in marks.detail


def remembering(model: Model) -> Model:
    """It knows every row again by its beginning, and gives the beliefs that it gave before, up to where the two differ."""
    seen: list[tuple[Integers, Floats]] = []

    def answer(x: Integers) -> Floats:
        logits = model(x).copy()
        for row, given in zip(x, logits, strict=True):
            same = [int(np.argmin(np.append(known == row, False))) for known, _ in seen]
            if same:
                longest = int(np.argmax(same))
                given[: same[longest]] = seen[longest][1][: same[longest]]
            seen.append((row, given))
        return logits

    return answer


def test_a_peek_that_remembers_its_answers_foresees_the_dice() -> None:
    for seed in range(3):
        marks = hold(remembering(LEAKS["a peek"]), seed)
        assert marks.problem == "leak"
        assert marks.checks["dice"] > math.log(1e6)
        assert marks.checks["causal"] == 0.0


def sensible_rows_only(x: Integers) -> Floats:
    """Peeks in rows that read as text does: there are no dice in them."""
    likely = np.take_along_axis(honest(x), np.roll(x, -1, 1)[..., None], 2) > math.log(0.05)
    return honest(x) + 20 * following(x) * (likely.mean(1, keepdims=True) > 0.8)


def test_a_peek_that_remembers_and_tells_the_dice_is_known_by_what_it_has_not_seen() -> None:
    for seed in range(3):
        marks = hold(remembering(sensible_rows_only), seed)
        assert marks.problem == "leak"
        assert "whose target cannot have been seen" in marks.detail


@pytest.mark.parametrize(("foreseen", "is_caught"), [(0, False), (1, False), (60, True)])
def test_dice_foreseen_now_and_then_are_no_luck(foreseen: int, is_caught: bool) -> None:
    nats = np.full(6000, math.log(500.0))
    nats[:foreseen] = 0.0
    assert bool(check_dice(nats, 500).wrong) == is_caught


def test_an_honest_model_is_never_accused() -> None:
    assert [hold(honest, seed).detail for seed in range(50)] == [""] * 50


def test_a_model_whose_numbers_depend_on_chance_a_little_is_not_accused() -> None:
    """Kernels that add up in another order each time."""
    noise = np.random.default_rng(0)
    marks = [hold(lambda x: honest(x) + noise.normal(0, 0.03, (*x.shape, VOCAB)), seed) for seed in range(20)]
    assert [mark.detail for mark in marks] == [""] * 20


# What is no number


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_gives_no_score(bad: float) -> None:
    marks = hold(lambda x: np.where(x[..., None] == 3, np.float32(bad), honest(x)))
    assert (marks.problem, marks.val_bpb) == ("nan", None)


def test_nan_only_after_a_secret_cut_is_seen_too() -> None:
    shown = {row.tobytes() for shard in (TEXT, SECRET) for row in shard.x}

    def model(x: Integers) -> Floats:
        logits = honest(x)
        logits[[row.tobytes() not in shown for row in x]] = np.nan
        return logits

    assert hold(model).problem == "nan"


def test_a_token_that_is_ruled_out_and_does_not_come_is_no_matter() -> None:
    logits = BIGRAM.copy()
    logits[:, BOS] = -np.inf  # weighs nothing
    assert hold(lambda x: logits[x]).problem == ""


def test_a_text_of_one_row_can_be_asked() -> None:
    short = Shard.cut(make_text(4, 20), T, TOKEN_BYTES, BOS)
    exam = Exam({"text": short}, rows_per_batch(32, short, VOCAB), VOCAB, np.random.default_rng(0))
    for questions in exam.stages():
        for question in questions:
            exam.mark(question, Given(honest(question.x).reshape(-1, VOCAB)))
    assert exam.marks().val_bpb == pytest.approx(plain_bpb(short, honest), rel=1e-6)
