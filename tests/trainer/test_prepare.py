"""Preparing a data set: once, whole, with a tokenizer that counts raw bytes, and clear words where it cannot be done."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest.mock import MagicMock

import numpy as np
import pytest

from tests.trainer.template_modules import TEMPLATE, environment, load_template

torch = pytest.importorskip("torch")


def call(cache: Path, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(TEMPLATE / "prepare.py"), *arguments]
    return subprocess.run(command, env=environment(cache, **more), capture_output=True, text=True, timeout=120)


def write_folder(folder: Path, documents: int = 600) -> Path:
    folder.mkdir()
    for number in range(documents):
        text = "".join(f"Document {number}, line {line}: naïve 你好 🙂 and more.\n" for line in range(30))
        (folder / f"{number}.txt").write_text(text)
    return folder


# Making


def test_preparing_again_is_quick_and_changes_nothing(prepare: ModuleType, cache_dir: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in cache_dir.rglob("*")}
    started = os.times()
    command = [sys.executable, "-X", "importtime", str(TEMPLATE / "prepare.py")]
    result = subprocess.run(command, env=environment(cache_dir), capture_output=True, text=True, check=True)
    assert os.times().children_user - started.children_user < 0.5
    assert result.stdout.strip() == f"Data: already prepared in {prepare.DATA_DIR}"
    assert not re.search(r"\b(torch|numpy|tiktoken|pyarrow)\b", result.stderr)
    assert {path: path.stat().st_mtime_ns for path in cache_dir.rglob("*")} == before


def test_two_at_once_leave_one_complete_folder(prepare: ModuleType, cache_dir: Path) -> None:
    assert [path for path in cache_dir.iterdir() if path.is_dir()] == [prepare.DATA_DIR]
    assert {path.relative_to(prepare.DATA_DIR).as_posix() for path in prepare.DATA_DIR.rglob("*") if path.is_file()} == {
        "meta.json", "tokenizer.json", "train/00000.bin", "held_out/val.bin", "held_out/secret.bin",
    }  # fmt: skip


def test_meta_tells_what_is_there(prepare: ModuleType, tokenizer: Any) -> None:
    meta = json.loads((prepare.DATA_DIR / "meta.json").read_text())
    assert (meta["dataset"], meta["text"], meta["version"], meta["vocab_size"]) == ("stdlib", "stdlib/1", 4, 512)
    bos = tokenizer.get_bos_token_id()
    for name, files in (("train", "train/*"), ("validation", "held_out/val.bin"), ("secret", "held_out/secret.bin")):
        tokens = np.concatenate([np.fromfile(path, np.uint16) for path in sorted(prepare.DATA_DIR.glob(files))])
        pieces = np.split(tokens, np.flatnonzero(tokens == bos))[1:]
        texts = [tokenizer.decode(piece[1:].tolist()).encode() for piece in pieces]
        assert len(tokens) == meta[f"{name}_tokens"]
        assert tokens[0] == bos
        assert sum(map(len, texts)) == meta[f"{name}_bytes"]
        digest = hashlib.sha256(b"".join(len(text).to_bytes(8, "little") + text for text in texts))
        assert digest.hexdigest() == meta[f"{name}_hash"]
    assert meta["validation_bytes"] == 128 * 1024 < meta["secret_bytes"]
    assert "{stdlib}/xmlrpc" in meta["hidden"]


def test_the_validation_text_is_the_same_for_every_vocabulary(prepare: ModuleType, tmp_path: Path) -> None:
    done = call(tmp_path, AUTORESEARCH_VOCAB="300")
    meta = json.loads(next(tmp_path.glob("*/meta.json")).read_text())
    ours = json.loads((prepare.DATA_DIR / "meta.json").read_text())
    assert done.returncode == 0, done.stderr
    assert meta["vocab_size"] == 300
    assert all(meta[name] == ours[name] for name in ("validation_hash", "validation_bytes", "secret_hash", "train_hash"))


def touch(folder: Path, names: tuple[str, ...], text: str = "") -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


def test_an_incomplete_folder_is_replaced(prepare: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data, made = tmp_path / "data", tmp_path / "scratch" / "data"
    monkeypatch.setattr(prepare, "DATA_DIR", data)
    touch(data, prepare.FILES[:1])
    touch(made, prepare.FILES)
    prepare.publish(made)
    assert prepare.is_prepared()


def test_a_folder_finished_by_another_process_stays(
    prepare: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, made = tmp_path / "data", tmp_path / "scratch" / "data"
    monkeypatch.setattr(prepare, "DATA_DIR", data)
    touch(data, prepare.FILES, "first")
    touch(made, prepare.FILES, "second")
    prepare.publish(made)
    assert {(data / name).read_text() for name in prepare.FILES} == {"first"}


def test_a_large_text_goes_to_several_shards(
    prepare: ModuleType, tokenizer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prepare, "SHARD_TOKENS", 10_000)
    documents = [f"document {number}\n" * 10 for number in range(3000)]
    tokens, size, _ = prepare.write_tokens(tokenizer, iter(documents), tmp_path / "train" / "{:05d}.bin")
    shards = [np.fromfile(path, np.uint16) for path in sorted((tmp_path / "train").iterdir())]
    assert len(shards) == 3  # 1024 documents at a time
    assert sum(map(len, shards)) == tokens
    assert size == sum(map(len, documents))
    assert all(shard[0] == tokenizer.get_bos_token_id() for shard in shards)
    assert "".join(tokenizer.decode(shard.tolist()).replace("<|bos|>", "") for shard in shards) == "".join(documents)


def test_check_tells_what_is_there(prepare: ModuleType, cache_dir: Path, tmp_path: Path) -> None:
    there = call(cache_dir, "--check")
    assert there.returncode == 0
    assert re.search(r"validation: [\d,]+ tokens, 131,072 bytes, [0-9a-f]{12}", there.stdout)
    absent = call(tmp_path, "--check")
    assert absent.returncode == 1
    assert "Missing: meta.json" in absent.stdout and "Run `python prepare.py`" in absent.stdout
    shutil.copytree(prepare.DATA_DIR, tmp_path / prepare.DATA_DIR.name)
    os.truncate(tmp_path / prepare.DATA_DIR.name / "train" / "00000.bin", 1000)
    damaged = call(tmp_path, "--check")
    assert damaged.returncode == 1
    assert "Damaged: train has 500 tokens" in damaged.stdout


def test_an_unknown_argument_is_refused(cache_dir: Path) -> None:
    assert "python prepare.py --check" in call(cache_dir, "--chekc").stderr


# A folder of one's own, from beginning to end


def test_a_folder_of_ones_own_becomes_a_data_set(tmp_path: Path) -> None:
    write_folder(tmp_path / "mine")
    settings = {"AUTORESEARCH_DATASET": f"folder:{tmp_path / 'mine'}", "AUTORESEARCH_VOCAB": "400"}
    done = call(tmp_path / "cache", **settings, AUTORESEARCH_SEQ_LEN="64")
    assert done.returncode == 0, done.stderr
    data = Path(done.stdout.strip().rpartition(" in ")[2])
    assert data.name.startswith("folder-") and data.name.endswith("-vocab400-v3")
    meta = json.loads((data / "meta.json").read_text())
    assert meta["dataset"] == settings["AUTORESEARCH_DATASET"]
    assert set(meta["hidden"]) < {str(path) for path in (tmp_path / "mine").iterdir()}
    again = call(tmp_path / "cache", **settings, AUTORESEARCH_SEQ_LEN="1000000")
    assert again.returncode == 1
    assert "less than one row of 1,000,000. More text is needed, or a smaller AUTORESEARCH_SEQ_LEN" in again.stderr


def test_a_validation_set_shorter_than_a_row_is_refused(tmp_path: Path) -> None:
    write_folder(tmp_path / "mine", 200)
    done = call(tmp_path / "cache", AUTORESEARCH_DATASET=f"folder:{tmp_path / 'mine'}", AUTORESEARCH_SEQ_LEN="5000")
    assert done.returncode == 1
    assert re.search(r"prepare: validation has [\d,]+ tokens, less than one row of 5,000", done.stderr)
    assert not list((tmp_path / "cache").glob("folder-*/meta.json"))


# Bad settings


@pytest.mark.parametrize("place", ["file/data", "/proc/1/data"])  # also as root
def test_a_folder_that_cannot_be_written_is_named_without_a_traceback(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_text("in the way")
    cache = tmp_path / place
    done = call(cache)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert done.stderr.startswith(f"prepare: {cache}") and "AUTORESEARCH_CACHE_DIR can name another folder" in done.stderr


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("DATASET", "imagenet", "there is no data set 'imagenet'. Take one of stdlib, torch, tinystories, climbmix, folder"),
        ("DATASET", "folder", "there is no data set 'folder'"),
        ("DATASET", "folder:", "there is no data set 'folder:'"),
        ("DATASET", "stdlib:x", "there is no data set 'stdlib:x'"),
        ("VOCAB", "many", "AUTORESEARCH_VOCAB is 'many'; a whole number of at least 260 is expected"),
        ("VOCAB", "256", "AUTORESEARCH_VOCAB is '256'"),
        ("SEQ_LEN", "0", "AUTORESEARCH_SEQ_LEN is '0'; a whole number of at least 2 is expected"),
        ("SEQ_LEN", "12.5", "AUTORESEARCH_SEQ_LEN is '12.5'"),
        ("BUDGET", "nan", "AUTORESEARCH_BUDGET is 'nan'; a number of at least 0.1 is expected"),
        ("SEED", "-1", "AUTORESEARCH_SEED is '-1'"),
    ],
)
def test_a_bad_setting_is_named(tmp_path: Path, name: str, value: str, message: str) -> None:
    with pytest.raises(SystemExit, match=re.escape(message)):
        load_template("prepare", {"AUTORESEARCH_CACHE_DIR": str(tmp_path), f"AUTORESEARCH_{name}": value})


@pytest.mark.parametrize(("text", "value"), [("20", 20), ("2.5", 2.5), ("1e3", 1000), ("", 20)])
def test_a_budget_is_a_number_of_seconds(tmp_path: Path, text: str, value: float) -> None:
    module = load_template("prepare", {"AUTORESEARCH_CACHE_DIR": str(tmp_path), "AUTORESEARCH_BUDGET": text})
    assert value == module.TIME_BUDGET
    assert isinstance(module.TIME_BUDGET, type(value))


@pytest.mark.parametrize("dataset", ["stdlib", "torch", "tinystories", "climbmix", "folder:/data"])
def test_each_data_set_has_its_defaults(tmp_path: Path, dataset: str) -> None:
    module = load_template("prepare", {"AUTORESEARCH_CACHE_DIR": str(tmp_path), "AUTORESEARCH_DATASET": dataset})
    expected = {
        "stdlib": (512, 256), "torch": (512, 256), "tinystories": (2048, 512), "climbmix": (8192, 2048),
        "folder:/data": (2048, 512),
    }  # fmt: skip
    assert expected[dataset] == (module.VOCAB_SIZE, module.MAX_SEQ_LEN)
    version = 4 if dataset in ("stdlib", "torch") else 3
    assert module.DATA_DIR.name.endswith(f"-vocab{module.VOCAB_SIZE}-v{version}")


def test_an_earlier_text_is_found_by_its_folder_and_never_made(tmp_path: Path) -> None:
    done = call(tmp_path, AUTORESEARCH_DATA="stdlib-3.11.7-vocab512-v3")
    assert done.returncode == 1 and "Put that folder back, or start a new run" in done.stderr
    assert not list(tmp_path.iterdir())


def test_a_gpu_that_was_given_but_is_not_seen_is_no_silent_cpu(prepare: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    with pytest.raises(SystemExit, match=r"^prepare: torch .* cannot use the GPU 0: .*\. (Install|Does)"):
        prepare.pick_device()
    for said, told in (  # torch's own words
        ("The NVIDIA driver on your system is too old (found version 11040). Please update", r"11040\)\. Update the driver"),
        ("Unexpected error from cudaGetDeviceCount(). Did?\nError 802: system not yet initialized", "initialized. Does"),
    ):
        monkeypatch.setattr(torch.cuda, "init", MagicMock(side_effect=RuntimeError(said)))
        with pytest.raises(SystemExit, match=told):
            prepare.pick_device()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)  # as with ROCm, to which an empty list names all
    for nothing in ("", "-1"):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", nothing)
        assert prepare.pick_device() in ("cpu", "mps")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    assert prepare.pick_device() == "cuda"


# Tokenizer


def test_token_bytes_count_raw_bytes(prepare: ModuleType) -> None:
    # The two halves of é, a whole one, a whole and a half character of Chinese, and an emoji in two parts: decoded as
    # strings, each fragment would be U+FFFD, of 3 bytes.
    tokens = [bytes([value]) for value in range(256)]
    tokens += ["é".encode(), "é".encode() + b"\xe4", "你".encode(), "你".encode() + b"\xe5\xa5", b"\xf0\x9f", "🙂".encode()]
    tokenizer = prepare.Tokenizer(prepare.CODE, tokens)
    assert tokenizer.token_bytes() == [1] * 256 + [2, 3, 3, 5, 2, 4] + [0] * len(prepare.SPECIAL_TOKENS)


@pytest.mark.parametrize("text", ["你好，世界 🙂👩‍🔬", "Zoë naïve", "한국어", "\U0001f600" * 7, "a\x00b", "é" * 300])
def test_bytes_of_any_text_add_up(tokenizer: Any, text: str) -> None:
    sizes = tokenizer.token_bytes()
    assert sum(sizes[token] for token in tokenizer.encode(text)) == len(text.encode())
    assert tokenizer.encode_document(text).tolist() == tokenizer.encode(text, prepend=tokenizer.get_bos_token_id())


def test_token_bytes_come_as_a_tensor(prepare: ModuleType, tokenizer: Any) -> None:
    sizes = prepare.get_token_bytes()
    assert sizes.shape == (tokenizer.get_vocab_size(),)
    assert sizes.dtype == torch.int32
    assert sizes.tolist() == tokenizer.token_bytes()
    assert prepare.get_token_bytes(device="meta").device.type == "meta"


@pytest.mark.parametrize("text", ["", "def f(x):\n    return x + 1\n", "naïve 你好 🙂\r\n\t<|bos|>", "\n" * 20 + "  end"])
def test_text_survives_the_tokenizer(tokenizer: Any, text: str) -> None:
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    assert tokenizer.encode([text, "x"], prepend=tokenizer.get_bos_token_id()) == [
        [tokenizer.get_bos_token_id(), *ids],
        [tokenizer.get_bos_token_id(), *tokenizer.encode("x")],
    ]


def test_the_stored_tokenizer_is_plain_json(prepare: ModuleType, tokenizer: Any) -> None:
    stored = json.loads((prepare.DATA_DIR / "tokenizer.json").read_text())
    assert set(stored) == {"pattern", "tokens", "special"}
    assert stored["special"] == list(prepare.SPECIAL_TOKENS)
    assert tokenizer.get_vocab_size() == prepare.VOCAB_SIZE == len(stored["tokens"]) + len(prepare.SPECIAL_TOKENS)
    assert tokenizer.get_bos_token_id() == len(stored["tokens"])


def test_nothing_is_unpickled() -> None:
    sources = [path.read_text() for path in TEMPLATE.glob("*.py")]
    assert not [source for source in sources if re.search(r"pickle|torch\.load|joblib|marshal|import shelve", source)]


@pytest.mark.parametrize("changed", ["meta.json", "tokenizer.json", "both"])
def test_a_tokenizer_of_another_vocabulary_is_refused(
    prepare: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changed: str
) -> None:
    """Files of two data sets mixed, or a folder renamed by hand."""
    monkeypatch.setattr(prepare, "DATA_DIR", Path(shutil.copytree(prepare.DATA_DIR, tmp_path / "data")))
    if changed in ("meta.json", "both"):
        meta = json.loads((tmp_path / "data" / "meta.json").read_text())
        (tmp_path / "data" / "meta.json").write_text(json.dumps(meta | {"vocab_size": 513}))
    if changed in ("tokenizer.json", "both"):
        stored = json.loads((tmp_path / "data" / "tokenizer.json").read_text())
        stored["tokens"].append("00ff00")
        (tmp_path / "data" / "tokenizer.json").write_text(json.dumps(stored))
    with pytest.raises(SystemExit, match=r"do not belong together: delete .*data and run `python prepare\.py` again"):
        prepare.Tokenizer.from_directory()
