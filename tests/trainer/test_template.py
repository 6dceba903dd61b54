"""The training that every new program starts from: it runs, its lines are read, its metric is right."""

import importlib.util
import json
import math
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import NamedTuple

import numpy as np
import pytest

from trainer.output import LineSplitter, classify_failure, parse_step, parse_summary

TEMPLATE = Path(__file__).resolve().parents[2] / "trainer" / "template"
torch = pytest.importorskip("torch")


@pytest.fixture(scope="session")
def cache_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Prepared data, made by two processes at once."""
    cache = tmp_path_factory.mktemp("cache")
    command = [sys.executable, str(TEMPLATE / "prepare.py")]
    both = [subprocess.Popen(command, env=environment(cache), stdout=subprocess.PIPE, text=True) for _ in range(2)]
    outputs = [process.communicate(timeout=120)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], outputs
    return cache


@pytest.fixture(scope="session")
def prepare(cache_dir: Path) -> Iterator[ModuleType]:
    """The template's prepare.py as a module, with the prepared cache as its own."""
    before = os.environ.get("AUTORESEARCH_CACHE_DIR")
    os.environ["AUTORESEARCH_CACHE_DIR"] = str(cache_dir)
    try:
        spec = importlib.util.spec_from_file_location("template_prepare", TEMPLATE / "prepare.py")
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    finally:
        os.environ.pop("AUTORESEARCH_CACHE_DIR")
        if before is not None:
            os.environ["AUTORESEARCH_CACHE_DIR"] = before
    yield module


@pytest.fixture(scope="session")
def tokenizer(prepare: ModuleType):
    return prepare.Tokenizer.from_directory()


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    for name in ("prepare.py", "train.py"):
        shutil.copy(TEMPLATE / name, tmp_path)
    return tmp_path


def environment(cache: Path, **more: str) -> dict[str, str]:
    return os.environ | {"AUTORESEARCH_CACHE_DIR": str(cache), "AUTORESEARCH_THREADS": "1"} | more


class Result(NamedTuple):
    returncode: int
    stdout: str


def train(workspace: Path, cache: Path, **more: str) -> Result:
    process = subprocess.run(
        [sys.executable, "train.py"],
        cwd=workspace,
        env=environment(cache, **more),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=120,
    )
    return Result(process.returncode, process.stdout.decode())  # not in text mode, which would turn \r into \n


def edit(workspace: Path, old: str, new: str) -> None:
    path = workspace / "train.py"
    source = path.read_text()
    assert len(re.findall(old, source)) == 1, old
    path.write_text(re.sub(old, new, source))


# Training


def test_a_training_prints_steps_and_a_summary(workspace: Path, cache_dir: Path) -> None:
    result = train(workspace, cache_dir, AUTORESEARCH_BUDGET="3")
    assert result.returncode == 0, result.stdout

    points = [point for line in LineSplitter().feed(result.stdout) if (point := parse_step(line))]
    summary = parse_summary(result.stdout)
    assert len(points) >= 3
    assert points[0].step == 0
    assert points[0].loss == pytest.approx(math.log(512), rel=0.02)
    assert points[-1].loss < points[0].loss
    assert points[-1].percent == 100.0
    assert points[-1].remaining_s == 0
    assert summary is not None
    assert summary.val_bpb is not None and 1 < summary.val_bpb < 4
    assert summary.num_steps == points[-1].step + 1
    assert summary.training_seconds == pytest.approx(3, abs=1.5)
    assert summary.total_seconds is not None and summary.total_seconds > summary.training_seconds
    assert summary.peak_vram_mb is not None and summary.peak_vram_mb > 50
    assert summary.extra == {}
    if not torch.cuda.is_available():
        assert points[-1].mfu is None
        assert "mfu: n/a" in result.stdout
        assert "mfu_percent:      n/a" in result.stdout


def test_a_training_without_numbers_fails_at_once(workspace: Path, cache_dir: Path) -> None:
    edit(workspace, r"(?m)^EMBEDDING_LR = [\d.]+", "EMBEDDING_LR = float('nan')")
    result = train(workspace, cache_dir, AUTORESEARCH_BUDGET="60")
    last = LineSplitter().feed(result.stdout)[-1]
    assert result.returncode == 1
    assert "FAIL" in last
    assert parse_step(last) is not None
    assert classify_failure(result.returncode, result.stdout[-500:]) == "nan"
    assert parse_summary(result.stdout) is None


@pytest.mark.parametrize(
    ("constant", "message"),
    [
        ("WIDTH = 100", "WIDTH 100 is not a multiple of HEAD_DIM"),
        ("BATCH_TOKENS = 1000", "BATCH_TOKENS 1000 is not a multiple of ROW_BATCH"),
        ("HEAD_DIM = 1", "HEAD_DIM 1 is odd"),
    ],
)
def test_constants_that_do_not_divide_are_refused(
    workspace: Path, cache_dir: Path, constant: str, message: str
) -> None:
    edit(workspace, rf"(?m)^{constant.split(' = ')[0]} = \d+", constant)
    result = train(workspace, cache_dir)
    assert result.returncode == 1
    assert message in result.stdout
    assert "Traceback" not in result.stdout


# Preparing


def test_preparing_again_is_quick_and_changes_nothing(prepare: ModuleType, cache_dir: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in cache_dir.rglob("*")}
    started = os.times()
    command = [sys.executable, "-X", "importtime", str(TEMPLATE / "prepare.py")]
    result = subprocess.run(command, env=environment(cache_dir), capture_output=True, text=True, check=True)
    assert os.times().children_user - started.children_user < 0.5
    assert "already prepared" in result.stdout
    assert not re.search(r"\b(torch|numpy|tiktoken)\b", result.stderr)
    assert {path: path.stat().st_mtime_ns for path in cache_dir.rglob("*")} == before


def test_two_at_once_leave_one_complete_folder(prepare: ModuleType, cache_dir: Path) -> None:
    assert list(cache_dir.iterdir()) == [prepare.DATA_DIR]
    assert {path.name for path in prepare.DATA_DIR.iterdir()} == set(prepare.FILES)


def test_an_incomplete_folder_is_replaced(prepare: ModuleType, tmp_path: Path, monkeypatch) -> None:
    data, made = tmp_path / "data", tmp_path / "scratch" / "data"
    monkeypatch.setattr(prepare, "DATA_DIR", data)
    for folder, names in ((data, prepare.FILES[:1]), (made, prepare.FILES)):
        folder.mkdir(parents=True)
        for name in names:
            (folder / name).touch()
    prepare.publish(made)
    assert prepare.is_prepared()


def test_a_folder_finished_by_another_process_stays(prepare: ModuleType, tmp_path: Path, monkeypatch) -> None:
    data, made = tmp_path / "data", tmp_path / "scratch" / "data"
    monkeypatch.setattr(prepare, "DATA_DIR", data)
    for folder, text in ((data, "first"), (made, "second")):
        folder.mkdir(parents=True)
        for name in prepare.FILES:
            (folder / name).write_text(text)
    prepare.publish(made)
    assert {(data / name).read_text() for name in prepare.FILES} == {"first"}


def test_pieces_are_short_and_lose_nothing(prepare: ModuleType) -> None:
    document = "a = 1\n" * 500 + "x" * 2000 + "\nend\n"
    pieces = prepare.cut(document)
    assert "".join(pieces) == document
    assert max(map(len, pieces)) == prepare.PIECE_CHARS
    assert pieces[0].endswith("\n")


def test_no_document_is_in_both_splits(prepare: ModuleType) -> None:
    documents = [f"# document {number}\n" + f"value_{number} = {number}\n" * 40 for number in range(400)]
    train_pieces, val_pieces = prepare.split_documents(documents)
    numbers = [
        {int(re.search(r"value_(\d+)", piece)[1]) for piece in pieces if "value_" in piece}
        for pieces in (train_pieces, val_pieces)
    ]
    assert numbers[0].isdisjoint(numbers[1])
    assert len(numbers[0] | numbers[1]) == 400
    assert prepare.split_documents(documents[::-1]) == (train_pieces, val_pieces)


def test_validation_is_a_fixed_number_of_bytes(prepare: ModuleType, tokenizer) -> None:
    tokens = np.fromfile(prepare.DATA_DIR / "val.bin", dtype=np.uint16)
    size = np.array(tokenizer.token_bytes())[tokens].sum()
    assert prepare.EVAL_BYTES - 4 < size <= prepare.EVAL_BYTES
    assert tokens[0] == tokenizer.get_bos_token_id()


# Tokenizer


def test_token_bytes_count_raw_bytes(prepare: ModuleType) -> None:
    # The two halves of é, and a whole one: decoded as strings the halves would be U+FFFD, 3 bytes each.
    tokens = [bytes([value]) for value in range(256)] + ["é".encode(), "é".encode() + b"\xe4", "🙂".encode()]
    tokenizer = prepare.Tokenizer(prepare.SPLIT_PATTERN, tokens)
    assert tokenizer.token_bytes() == [1] * 256 + [2, 3, 4] + [0] * len(prepare.SPECIAL_TOKENS)


@pytest.mark.parametrize(
    "text", ["", "def f(x):\n    return x + 1\n", "naïve 你好 🙂\r\n\t<|bos|>", "\n" * 20 + "  end"]
)
def test_text_survives_the_tokenizer(tokenizer, text: str) -> None:
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    assert tokenizer.encode([text, "x"], prepend=tokenizer.get_bos_token_id()) == [
        [tokenizer.get_bos_token_id(), *ids],
        [tokenizer.get_bos_token_id(), *tokenizer.encode("x")],
    ]
    assert sum(tokenizer.token_bytes()[token] for token in ids) == len(text.encode())


def test_the_stored_tokenizer_is_plain_json(prepare: ModuleType, tokenizer) -> None:
    stored = json.loads((prepare.DATA_DIR / "tokenizer.json").read_text())
    assert set(stored) == {"pattern", "tokens"}
    assert tokenizer.get_vocab_size() == prepare.VOCAB_SIZE == len(stored["tokens"]) + len(prepare.SPECIAL_TOKENS)


# Loader and metric


def test_batches_are_shifted_by_one_and_the_seed_orders_them(prepare: ModuleType, tokenizer, monkeypatch) -> None:
    def first_batch(seed: str):
        monkeypatch.setenv("AUTORESEARCH_SEED", seed)
        return next(prepare.make_dataloader(tokenizer, 4, 32, "train"))

    x, y, epoch = first_batch("1")
    assert x.shape == y.shape == (4, 32)
    assert x.dtype == torch.int64
    assert torch.equal(x[:, 1:], y[:, :-1])
    assert epoch == 1
    assert torch.equal(first_batch("1")[0], x)
    assert not torch.equal(first_batch("2")[0], x)


def test_an_epoch_shows_each_row_once(prepare: ModuleType, tokenizer) -> None:
    rows = []
    for x, _, epoch in prepare.make_dataloader(tokenizer, 8, 256, "val"):
        if epoch == 2:
            break
        rows += [tuple(row) for row in x.tolist()]
    tokens = len(prepare.load_tokens("val"))
    assert len(set(rows)) == len(rows)
    assert tokens - 10 * 256 < len(rows) * 256 <= tokens


def test_an_unknown_split_is_refused(prepare: ModuleType, tokenizer) -> None:
    with pytest.raises(ValueError, match="'test'"):
        next(prepare.make_dataloader(tokenizer, 1, 8, "test"))


def uniform_model(vocab_size: int):
    return lambda x: torch.zeros(*x.shape, vocab_size, device=x.device)


@pytest.mark.parametrize("batch_size", [32, 1000])
def test_a_uniform_model_scores_the_closed_form(prepare: ModuleType, tokenizer, batch_size: int) -> None:
    tokens = np.array(prepare.load_tokens("val"))[1:]
    sizes = np.array(tokenizer.token_bytes())[tokens]
    expected = np.count_nonzero(sizes) * math.log2(tokenizer.get_vocab_size()) / sizes.sum()
    score = prepare.evaluate_bpb(uniform_model(tokenizer.get_vocab_size()), tokenizer, batch_size)
    assert score == pytest.approx(expected, rel=1e-5)


def test_special_tokens_cost_nothing(prepare: ModuleType, monkeypatch) -> None:
    tokens = np.array([4, 0, 1, 4, 1, 4], dtype=np.uint16)  # BOS is 4
    tokenizer = SimpleNamespace(get_bos_token_id=lambda: 4, token_bytes=lambda: [1, 3, 1, 1, 0])
    monkeypatch.setattr(prepare, "load_tokens", lambda split: tokens)
    # Three tokens of 1 + 3 + 3 bytes are scored, each with log2(5) bits; the BOS between and behind them are not.
    assert prepare.evaluate_bpb(uniform_model(5), tokenizer, 1) == pytest.approx(3 * math.log2(5) / 7, rel=1e-6)
