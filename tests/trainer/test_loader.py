"""The loader: every text is shown, in full rows, in an order of the seed, and faster than any training asks. The metric."""

from __future__ import annotations

import itertools
import math
import time
from collections import Counter
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
BOS = 99


def shard(*lengths: int) -> Any:
    """Documents of these lengths, their BOS included; every other token of the shard is another number."""
    numbers = itertools.count(1000)
    documents = [[BOS, *(next(numbers) for _ in range(length - 1))] for length in lengths]
    return np.array([token for document in documents for token in document], np.uint32)


def epoch_of(prepare: ModuleType, shards: list[Any], length: int, seed: int = 0) -> Any:
    """All rows of the first epoch."""
    rows = prepare.packed_rows(shards, BOS, length, np.random.default_rng(seed))
    return np.concatenate([part for part, _ in itertools.takewhile(lambda item: item[1] == 1, rows)])


# Packing


@pytest.mark.parametrize("length", [2, 9, 33, 257])
def test_every_token_is_a_target(prepare: ModuleType, length: int) -> None:
    lengths = np.random.default_rng(1).geometric(1 / 40, 3000) + 1
    tokens = shard(*lengths.tolist())
    rows = epoch_of(prepare, [tokens], length)
    targets = Counter(rows[:, 1:].ravel().tolist())
    asked = set(tokens.tolist()) - {BOS}
    assert len(asked - set(targets)) < length  # the last bit of the shard
    assert rows.size < 1.02 * len(tokens) * length / (length - 1)


def test_documents_that_fit_stay_whole(prepare: ModuleType) -> None:
    """Best fit: 6 + 4, 7 + 3 and 5 + 5 fill rows of ten, and nothing is cut."""
    tokens = shard(*[6, 4, 7, 3, 5, 5] * 10)
    rows = epoch_of(prepare, [tokens], 10)
    assert len(rows) == 30
    assert sorted(rows.ravel().tolist()) == sorted(tokens.tolist())
    assert (rows[:, 0] == BOS).all()
    for row in rows.tolist():
        assert all(after == before + 1 for before, after in itertools.pairwise(row) if BOS not in (before, after))


def test_a_long_document_goes_on_in_another_row(prepare: ModuleType) -> None:
    tokens = shard(100)
    rows = epoch_of(prepare, [tokens], 10)
    assert len(rows) == 11
    assert sorted(rows[:, 1:].ravel().tolist()) == tokens[1:].tolist()


def test_a_text_shorter_than_a_row_gives_none(prepare: ModuleType) -> None:
    rows = prepare.packed_rows([shard(5)], BOS, 10, np.random.default_rng(0))
    assert next(rows)[0].shape == (0, 10)


def test_another_epoch_has_another_order_of_shards_and_rows(prepare: ModuleType) -> None:
    shards = [shard(*[10] * 50), shard(*[10] * 50) + np.uint32(0)]
    rows = prepare.packed_rows(shards, BOS, 10, np.random.default_rng(0))
    first, second = (np.concatenate([part for part, _ in itertools.islice(rows, 2)]) for _ in range(2))
    assert not np.array_equal(first, second)
    assert sorted(map(tuple, first.tolist())) == sorted(map(tuple, second.tolist()))


def test_rows_do_not_come_by_the_length_of_their_documents(prepare: ModuleType) -> None:
    tokens = shard(*[100] * 100, *[10] * 1000)
    rows = next(prepare.packed_rows([tokens], BOS, 100, np.random.default_rng(0)))[0]
    has_one_document = ((rows == BOS).sum(axis=1) == 1).tolist()
    assert 10 < sum(has_one_document[: len(rows) // 2]) < sum(has_one_document) - 10


def test_packing_wastes_less_than_cropping_would(prepare: ModuleType, tokenizer: Any) -> None:
    """Of Python's sources in rows of 256: nearly all text is shown, and nearly no position is spent twice."""
    tokens = prepare.load_tokens("train")[0]
    bos = tokenizer.get_bos_token_id()
    rows = prepare.packed_rows([tokens], bos, 257, np.random.default_rng(0))
    shown = sum(len(part) for part, _ in itertools.takewhile(lambda item: item[1] == 1, rows)) * 256
    asked = len(tokens) - 1
    assert shown == pytest.approx(asked, rel=0.005)


# Batches


def batches(prepare: ModuleType, tokenizer: Any, monkeypatch: pytest.MonkeyPatch, seed: int, *shape: int) -> Any:
    monkeypatch.setattr(prepare, "SEED", seed)
    return prepare.make_dataloader(tokenizer, *shape, "train")


def test_batches_are_shifted_by_one_and_the_seed_orders_them(
    prepare: ModuleType, tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    x, y, epoch = next(batches(prepare, tokenizer, monkeypatch, 1, 4, 32))
    assert x.shape == y.shape == (4, 32)
    assert x.dtype == y.dtype == torch.int64
    assert x.is_contiguous() and y.is_contiguous()
    assert torch.equal(x[:, 1:], y[:, :-1])
    assert epoch == 1
    assert torch.equal(next(batches(prepare, tokenizer, monkeypatch, 1, 4, 32))[0], x)
    assert not torch.equal(next(batches(prepare, tokenizer, monkeypatch, 2, 4, 32))[0], x)


def test_a_batch_given_is_never_changed(prepare: ModuleType, tokenizer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    loader = batches(prepare, tokenizer, monkeypatch, 1, 3, 16)
    x, y, _ = next(loader)
    before = x.clone(), y.clone()
    for _ in range(50):
        next(loader)
    assert torch.equal(x, before[0]) and torch.equal(y, before[1])


def test_batches_larger_than_a_chunk_come_whole(
    prepare: ModuleType, tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    loader = batches(prepare, tokenizer, monkeypatch, 1, 4000, 256)
    epochs = []
    for _ in range(4):
        x, _, epoch = next(loader)
        assert x.shape == (4000, 256)
        epochs.append(epoch)
    assert epochs == [1, 1, 1, 2]


def test_it_is_never_the_bottleneck(prepare: ModuleType, tokenizer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A training on one core takes 150 rows a second; at 20,000 the loader costs it under a hundredth."""
    loader = batches(prepare, tokenizer, monkeypatch, 1, 8, 256)
    next(loader)
    best = 0.0
    for _ in range(3):  # the machine does other things, too
        started = time.process_time()
        for _ in range(1000):
            next(loader)
        best = max(best, 8000 / (time.process_time() - started))
    assert best > 20_000


@pytest.mark.parametrize(("rows", "length"), [(0, 8), (8, 0), (-1, 8)])
def test_a_batch_of_nothing_is_refused(prepare: ModuleType, tokenizer: Any, rows: int, length: int) -> None:
    with pytest.raises(ValueError, match=f"a batch of {rows} rows of {length} tokens is not possible"):
        next(prepare.make_dataloader(tokenizer, rows, length, "train"))


def test_a_batch_that_the_text_cannot_fill_is_refused(prepare: ModuleType, tokenizer: Any) -> None:
    with pytest.raises(ValueError, match=r"val has [\d,]+ tokens, too few for a batch of 8 rows of 100000"):
        next(prepare.make_dataloader(tokenizer, 8, 100_000, "val"))


def test_an_unknown_split_is_refused(prepare: ModuleType, tokenizer: Any) -> None:
    with pytest.raises(ValueError, match="split is 'train' or 'val', not 'test'"):
        next(prepare.make_dataloader(tokenizer, 1, 8, "test"))


def test_text_that_only_the_judge_has_is_named(
    prepare: ModuleType, tokenizer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prepare, "DATA_DIR", tmp_path)
    for split in ("val", "train"):
        with pytest.raises(SystemExit, match=f"there is no {split} data in .* In the sandbox only the judge has"):
            prepare.load_tokens(split)
    with pytest.raises(SystemExit, match="only the judge has the validation text"):
        prepare.evaluate_bpb(uniform_model(512), tokenizer, 8)


# Metric


def uniform_model(vocab_size: int) -> Any:
    return lambda x: torch.zeros(*x.shape, vocab_size, device=x.device)


class WithTargets(torch.nn.Module):
    """As many trainings have it: targets are not optional, None asks for logits."""

    def forward(self, idx: Any, targets: Any) -> Any:
        assert targets is None
        return torch.zeros(*idx.shape, 512)


class Upstream(torch.nn.Module):
    def forward(self, idx: Any, targets: Any = None, reduction: str = "mean") -> Any:
        assert targets is None
        return torch.zeros(*idx.shape, 512)


@pytest.mark.parametrize("batch_size", [1, 32, 1000])
def test_a_uniform_model_scores_the_closed_form(prepare: ModuleType, tokenizer: Any, batch_size: int) -> None:
    tokens = np.array(prepare.load_tokens("val")[0])[1:]
    sizes = np.array(tokenizer.token_bytes())[tokens]
    expected = np.count_nonzero(sizes) * math.log2(tokenizer.get_vocab_size()) / sizes.sum()
    score = prepare.evaluate_bpb(uniform_model(tokenizer.get_vocab_size()), tokenizer, batch_size)
    assert score == pytest.approx(expected, rel=1e-6)
    assert sizes.sum() == 128 * 1024


@pytest.mark.parametrize("model", [WithTargets(), Upstream(), torch.compile(Upstream(), backend="eager")])
def test_models_with_and_without_targets_are_asked_for_logits(prepare: ModuleType, tokenizer: Any, model: Any) -> None:
    expected = prepare.evaluate_bpb(uniform_model(512), tokenizer, 64)
    assert prepare.evaluate_bpb(model, tokenizer, 64) == pytest.approx(expected, rel=1e-9)


def test_special_tokens_cost_nothing(prepare: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    tokens = np.array([4, 0, 1, 4, 1, 4], dtype=np.uint16)  # BOS is 4
    tokenizer = SimpleNamespace(get_bos_token_id=lambda: 4, token_bytes=lambda: [1, 3, 1, 1, 0])
    monkeypatch.setattr(prepare, "load_tokens", lambda split: [tokens])
    # Three tokens of 1 + 3 + 3 bytes are scored, each with log2(5) bits; the BOS between and behind them are not.
    assert prepare.evaluate_bpb(uniform_model(5), tokenizer, 1) == pytest.approx(3 * math.log2(5) / 7, rel=1e-6)


def test_an_evaluation_in_batches_of_nothing_is_refused(prepare: ModuleType, tokenizer: Any) -> None:
    with pytest.raises(ValueError, match="batch_size is 0"):
        prepare.evaluate_bpb(uniform_model(512), tokenizer, 0)


@pytest.mark.parametrize("wrong", [lambda x: (torch.zeros(*x.shape, 512), None), lambda x: torch.zeros(*x.shape)])
def test_what_is_no_logits_is_named(prepare: ModuleType, tokenizer: Any, wrong: Any) -> None:
    with pytest.raises(
        SystemExit, match=r"prepare: model\(x\) with x of \(32, 256\) must give logits of \(32, 256, 512\), and gave"
    ):
        prepare.evaluate_bpb(wrong, tokenizer, 32)


def test_with_a_judge_the_model_sits_its_exam(prepare: ModuleType, tokenizer: Any, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("AUTORESEARCH_EXAM", str(tmp_path))
    with pytest.raises(SystemExit, match="exam: no judge is waiting"):
        prepare.evaluate_bpb(uniform_model(512), tokenizer, 32)
