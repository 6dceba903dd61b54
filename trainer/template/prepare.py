"""Data, tokenizer and metric. Fixed: the researcher edits train.py, never this file.

    python prepare.py      # prepares once, offline; later calls return at once

The corpus is the Python standard library's own source text, so nothing is downloaded. Whole files are held out for
validation by the hash of their text. Prepared data lie in AUTORESEARCH_CACHE_DIR (default ~/.cache/autoresearch).
torch, numpy and tiktoken are imported where they are used: a call that finds everything prepared needs none of them.
"""

import hashlib
import json
import math
import os
import platform
import sys
import sysconfig
import tempfile
import time
from pathlib import Path

# ---------------------------------------------------------------------------------------------------------------------
# Constants

MAX_SEQ_LEN = 256  # tokens of context, in training rows and in the evaluation
TIME_BUDGET = int(os.environ.get("AUTORESEARCH_BUDGET", 20))  # seconds of training
VOCAB_SIZE = 512  # tokens, the special ones included
EVAL_BYTES = 128 * 1024  # validation text that is scored; counted in bytes, so every vocabulary is asked the same text
PIECE_CHARS = 800  # a document is cut at line ends into pieces of at most this many characters
VAL_ONE_IN = 16  # one file in this many is held out
DATA_VERSION = 2  # raise it whenever the prepared data would come out different

CACHE_DIR = Path(os.environ.get("AUTORESEARCH_CACHE_DIR") or Path.home() / ".cache" / "autoresearch").absolute()
DATA_DIR = CACHE_DIR / f"stdlib-{platform.python_version()}-vocab{VOCAB_SIZE}-v{DATA_VERSION}"
FILES = ("train.bin", "val.bin", "tokenizer.json")

# A line break keeps its indentation, a word or an operator takes one leading space, digits stand alone.
SPLIT_PATTERN = r"\n *| ?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+|\s+"
SPECIAL_TOKENS = ("<|bos|>", "<|reserved_1|>", "<|reserved_2|>", "<|reserved_3|>")
# Tests, what is not the standard library, and large generated tables that teach nothing about code.
SKIPPED_FOLDERS = {"test", "tests", "idle_test", "site-packages", "dist-packages", "encodings", "pydoc_data"}


# ---------------------------------------------------------------------------------------------------------------------
# Corpus


def read_documents() -> list[str]:
    """Texts of the standard library's modules, without tests and tables, in the order of their paths."""
    root = Path(sysconfig.get_path("stdlib"))
    documents = []
    for path in sorted(root.rglob("*.py"), key=lambda path: path.relative_to(root).as_posix()):
        if SKIPPED_FOLDERS.isdisjoint(path.relative_to(root).parts):
            documents.append(path.read_bytes().decode("utf-8", errors="ignore").replace("\r\n", "\n"))
    if sum(map(len, documents)) < 1_000_000:
        raise SystemExit(f"prepare: the standard library's sources are not installed under {root}")
    return documents


def cut(document: str, limit: int = PIECE_CHARS) -> list[str]:
    """Consecutive pieces of at most limit characters, cut at line ends; a longer line is cut where it must be."""
    pieces = [""]
    for line in document.splitlines(keepends=True):
        for start in range(0, len(line), limit):
            part = line[start : start + limit]
            if len(pieces[-1]) + len(part) > limit:
                pieces.append("")
            pieces[-1] += part
    return [piece for piece in pieces if piece.strip()]


def text_hash(text: str) -> int:
    """A number that orders and splits texts the same way on every machine."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")


def split_documents(documents: list[str]) -> tuple[list[str], list[str]]:
    """Pieces for training and for validation, each in the order of their hashes.

    Whole files are held out, and equal files fall on the same side. Validation ends after EVAL_BYTES bytes.
    """
    train: list[str] = []
    held_out: list[str] = []
    for document in documents:
        (train if text_hash(document) % VAL_ONE_IN else held_out).extend(cut(document))
    val, missing = [], EVAL_BYTES
    for piece in sorted(held_out, key=text_hash):
        val.append(piece.encode()[:missing].decode("utf-8", errors="ignore"))
        missing -= len(piece.encode())
        if missing <= 0:
            break
    return sorted(train, key=text_hash), val


# ---------------------------------------------------------------------------------------------------------------------
# Preparing


def is_prepared() -> bool:
    # The folder appears in one move with everything in it; a name that is missing was deleted by hand.
    return all((DATA_DIR / name).exists() for name in FILES)


def prepare() -> None:
    """Make the data folder where it is missing. Safe at any number of calls at once: the first to finish wins."""
    if is_prepared():
        print(f"Data: already prepared in {DATA_DIR}")
        return
    started = time.perf_counter()
    train, val = split_documents(read_documents())
    print(f"Data: {len(train):,} pieces for training, {len(val):,} for validation", flush=True)
    CACHE_DIR.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE_DIR, prefix="preparing-") as scratch:
        made = Path(scratch) / "data"
        made.mkdir()
        train_tokenizer(train, made / "tokenizer.json")
        tokenizer = Tokenizer.from_directory(made)
        print(f"Tokenizer: {tokenizer.get_vocab_size()} tokens", flush=True)
        for name, pieces in (("train.bin", train), ("val.bin", val)):
            count = write_tokens(tokenizer, pieces, made / name)
            print(f"Data: {count:,} tokens in {name}", flush=True)
        publish(made)
    print(f"Data: prepared in {time.perf_counter() - started:.1f}s, in {DATA_DIR}")


def publish(made: Path) -> None:
    """Move a finished folder to its place, unless another process has just put the same one there."""
    if DATA_DIR.exists() and not is_prepared():
        os.replace(DATA_DIR, made.with_name("incomplete"))
    try:
        os.replace(made, DATA_DIR)
    except OSError:
        if not is_prepared():
            raise


def train_tokenizer(pieces: list[str], path: Path) -> None:
    """Learn byte-pair merges and store them as JSON: tokens in the order of their ids, bytes as hex."""
    import rustbpe

    learner = rustbpe.Tokenizer()
    learner.train_from_iterator(iter(pieces), VOCAB_SIZE - len(SPECIAL_TOKENS), pattern=SPLIT_PATTERN)
    ranked = sorted(learner.get_mergeable_ranks(), key=lambda item: item[1])
    stored = {"pattern": SPLIT_PATTERN, "tokens": [bytes(token).hex() for token, _ in ranked]}
    path.write_text(json.dumps(stored))


def write_tokens(tokenizer: "Tokenizer", pieces: list[str], path: Path) -> int:
    """Write the pieces as one flat row of uint16, a BOS before each; returns the number of tokens."""
    import numpy as np

    count = 0
    with path.open("wb") as file:
        for start in range(0, len(pieces), 1024):
            for ids in tokenizer.encode(pieces[start : start + 1024], prepend=tokenizer.get_bos_token_id()):
                file.write(np.array(ids, dtype=np.uint16).tobytes())
                count += len(ids)
    return count


# ---------------------------------------------------------------------------------------------------------------------
# What train.py imports


class Tokenizer:
    """Byte-pair tokenizer over raw bytes, run by tiktoken."""

    def __init__(self, pattern: str, tokens: list[bytes]):
        import tiktoken

        self.tokens = tokens
        self.encoding = tiktoken.Encoding(
            "autoresearch",
            pat_str=pattern,
            mergeable_ranks={token: rank for rank, token in enumerate(tokens)},
            special_tokens={name: len(tokens) + index for index, name in enumerate(SPECIAL_TOKENS)},
        )

    @classmethod
    def from_directory(cls, directory: str | Path | None = None) -> "Tokenizer":
        """The prepared tokenizer; without a directory the default one, prepared now if it is not there yet."""
        if directory is None and not is_prepared():
            prepare()
        stored = json.loads((Path(directory or DATA_DIR) / "tokenizer.json").read_text())
        return cls(stored["pattern"], [bytes.fromhex(token) for token in stored["tokens"]])

    def get_vocab_size(self) -> int:
        return self.encoding.n_vocab

    def get_bos_token_id(self) -> int:
        return self.encoding.encode_single_token(SPECIAL_TOKENS[0])

    def encode(self, text: str | list[str], prepend: int | None = None) -> list:
        """Ids of one text, or a list of ids for each text of a list; special tokens in the text stay plain text."""
        start = [] if prepend is None else [prepend]
        if isinstance(text, str):
            return start + self.encoding.encode_ordinary(text)
        return [start + ids for ids in self.encoding.encode_ordinary_batch(text, num_threads=2)]

    def decode(self, ids: list[int]) -> str:
        return self.encoding.decode(ids)

    def token_bytes(self) -> list[int]:
        """Raw bytes of each token, 0 for special tokens.

        From the bytes themselves: a decoded string would count a fragment of a character as the 3 bytes of U+FFFD.
        """
        return [len(token) for token in self.tokens] + [0] * len(SPECIAL_TOKENS)


def pick_device() -> str:
    import torch

    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def load_tokens(split: str):
    """The flat tokens of "train" or "val", uint16, mapped from disk."""
    import numpy as np

    if split not in ("train", "val"):
        raise ValueError(f"split is 'train' or 'val', not {split!r}")
    return np.memmap(DATA_DIR / f"{split}.bin", dtype=np.uint16, mode="r")


def make_dataloader(tokenizer: Tokenizer, B: int, T: int, split: str):  # noqa: ARG001, the tokenizer is upstream's
    """Endless (x, y, epoch): x and y (B, T) int64 on the training device, y one token ahead of x, epoch from 1.

    Every epoch cuts the text into rows at another offset and shuffles them; AUTORESEARCH_SEED chooses the order.
    """
    import numpy as np
    import torch

    device = pick_device()
    tokens = load_tokens(split)
    if len(tokens) < (B + 1) * T + 1:
        raise ValueError(f"{split} has {len(tokens):,} tokens, too few for batches of {B} rows of {T}")
    generator = np.random.default_rng(int(os.environ.get("AUTORESEARCH_SEED", 42)))
    window = np.arange(T + 1)
    epoch = 0
    while True:
        epoch += 1
        starts = generator.permutation(np.arange(generator.integers(T), len(tokens) - T, T))
        for first in range(0, len(starts) - B + 1, B):
            rows = torch.from_numpy(tokens[starts[first : first + B, None] + window].astype(np.int64)).to(device)
            yield rows[:, :-1].contiguous(), rows[:, 1:].contiguous(), epoch


def evaluate_bpb(model, tokenizer: Tokenizer, batch_size: int) -> float:
    """Validation bits per byte of model, lower is better.

    model(x) takes x (B, T) int64 and returns logits (B, T, V). All of the validation text is scored once, in rows of
    MAX_SEQ_LEN tokens; the last row is filled up with BOS. A special token is worth 0 bytes and costs nothing.
    """
    import torch

    device = pick_device()
    bos = tokenizer.get_bos_token_id()
    tokens = torch.from_numpy(load_tokens("val").astype("int64"))
    rows = math.ceil((len(tokens) - 1) / MAX_SEQ_LEN)
    padded = torch.full((rows * MAX_SEQ_LEN + 1,), bos)
    padded[: len(tokens)] = tokens
    inputs, targets = padded[:-1].view(rows, MAX_SEQ_LEN), padded[1:].view(rows, MAX_SEQ_LEN)
    token_bytes = torch.tensor(tokenizer.token_bytes(), device=device)

    nats, size = 0.0, 0
    with torch.no_grad():
        for x, y in zip(inputs.split(batch_size), targets.split(batch_size), strict=True):
            y = y.to(device).flatten()  # (B * T,)
            logits = model(x.to(device)).float().flatten(0, 1)  # (B * T, V)
            loss = torch.nn.functional.cross_entropy(logits, y, reduction="none")
            weight = token_bytes[y]
            nats += float((loss * (weight > 0)).sum())
            size += int(weight.sum())
    return nats / (math.log(2) * size)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        raise SystemExit(__doc__)
    prepare()
