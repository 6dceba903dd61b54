"""Data, tokenizer and metric. Fixed: the researcher edits train.py, never this file.

    python prepare.py            # prepares the data set once; later calls return at once
    python prepare.py --check    # only says what is there; --where: only the folder
    python prepare.py --try      # only multiplies on the device that a training would take

AUTORESEARCH_DATASET names the data set: stdlib (default: Python's own sources, offline), torch (its sources, offline),
tinystories, climbmix, or folder:PATH. Prepared data lie in AUTORESEARCH_CACHE_DIR (default ~/.cache/autoresearch): see
`prepare`.
torch, numpy and tiktoken are imported where they are used: a call that finds everything prepared needs none of them.
"""

import hashlib
import itertools
import json
import math
import os
import platform
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

# ---------------------------------------------------------------------------------------------------------------------
# Constants

# A line break keeps its indentation, a word or an operator takes one leading space, digits stand alone.
CODE = r"\n *| ?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+|\s+"
# GPT-4's, as in tiktoken's cl100k_base, with at most 2 digits instead of 3, as the upstream has it.
PROSE = r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,2}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+"
SPECIAL_TOKENS = ("<|bos|>", "<|reserved_1|>", "<|reserved_2|>", "<|reserved_3|>")


class DataSet(NamedTuple):
    vocab_size: int  # tokens, the special ones included
    seq_len: int  # tokens of context
    eval_bytes: int  # of validation text, at most; a secret part at least as large lies beside it
    pattern: str  # splits the text into words, which tokens do not cross
    version: int  # raise it whenever the prepared data would come out different


DATASETS = {
    "stdlib": DataSet(512, 256, 128 * 2**10, CODE, 4),
    "torch": DataSet(512, 256, 128 * 2**10, CODE, 4),
    "tinystories": DataSet(2048, 512, 2**20, PROSE, 3),
    "climbmix": DataSet(8192, 2048, 4 * 2**20, PROSE, 3),
    "folder": DataSet(2048, 512, 2**19, PROSE, 3),
}
SHARD_TOKENS = 2**25
TOKENIZER_CHARS, DOCUMENT_CHARS = 200_000_000, 10_000  # what the tokenizer learns from at most, in all and of one document


def number(name: str, default: int, least: float, whole: bool = True) -> int | float:
    """A number of the environment. Ends the process with the reason when it is none."""
    text = os.environ.get(name) or str(default)
    try:
        value = float(text)
        if value < least or not math.isfinite(value) or (whole and value % 1):
            raise ValueError
    except ValueError:
        kind = "a whole number" if whole else "a number"
        raise SystemExit(f"prepare: {name} is {text!r}; {kind} of at least {least} is expected.") from None
    return value if value % 1 else int(value)


DATASET = os.environ.get("AUTORESEARCH_DATASET") or "stdlib"
_name, _colon, _path = DATASET.partition(":")
if _name not in DATASETS or bool(_path) != (_name == "folder") or bool(_colon) != bool(_path):
    raise SystemExit(f"prepare: there is no data set {DATASET!r}. Take one of {', '.join(DATASETS)}:PATH.")
VOCAB_SIZE = number("AUTORESEARCH_VOCAB", DATASETS[_name].vocab_size, 256 + len(SPECIAL_TOKENS))
MAX_SEQ_LEN = number("AUTORESEARCH_SEQ_LEN", DATASETS[_name].seq_len, 2)  # tokens of context, in training and in the exam
TIME_BUDGET = number("AUTORESEARCH_BUDGET", 20, 0.1, whole=False)  # seconds of training
SEED = number("AUTORESEARCH_SEED", 42, 0)

CACHE_DIR = Path(os.environ.get("AUTORESEARCH_CACHE_DIR") or Path.home() / ".cache" / "autoresearch").absolute()
FILES = ("meta.json", "tokenizer.json", "train", "held_out/val.bin", "held_out/secret.bin")


def slug(name: str, path: str) -> str:
    """The data set's name as part of a folder's: the sources of each Python and torch differ, and so do folders."""
    if name == "folder":
        return f"folder-{hashlib.sha256(str(Path(path).expanduser().absolute()).encode()).hexdigest()[:12]}"
    if name == "torch":
        from sources import torch_version

        return f"torch-{torch_version()}"
    return f"stdlib-{platform.python_version()}" if name == "stdlib" else name


# Given is only the folder of an earlier text, by who goes on with a run that began on it.
_folder = os.environ.get("AUTORESEARCH_DATA") or f"{slug(_name, _path)}-vocab{VOCAB_SIZE}-v{DATASETS[_name].version}"
DATA_DIR = CACHE_DIR / _folder
TOKEN_TYPE = "uint16" if VOCAB_SIZE <= 2**16 else "uint32"

# ---------------------------------------------------------------------------------------------------------------------
# Preparing


def is_prepared() -> bool:
    # The folder appears in one move with everything in it; a name that is missing was deleted by hand.
    # What is held out is not shown to a training in the sandbox.
    needed = FILES if (DATA_DIR / "held_out").exists() else FILES[:3]
    return all((DATA_DIR / name).exists() for name in needed)


def prepare() -> None:
    """Make the data folder where it is missing. Several calls at once: one works, the others wait for it.

    meta.json tells what it holds; train/ has flat tokens in shards, a BOS before each document; held_out/ has the
    validation text and the secret one, as tokens.
    """
    if not is_prepared():
        if os.environ.get("AUTORESEARCH_DATA"):  # of another version or Python: this one would make another text
            raise SystemExit(f"prepare: the text of {DATA_DIR} is gone. Put that folder back, or start a new run.")
        import corpus
        import download

        CACHE_DIR.mkdir(parents=True, exist_ok=True)
        with download.locked(DATA_DIR):
            if not is_prepared():
                try:
                    download.tell("text")
                    make(corpus.load(DATASET, CACHE_DIR, DATASETS[_name].eval_bytes))
                finally:
                    download.tell_end()
                return
    tokens = json.loads((DATA_DIR / "meta.json").read_text())["validation_tokens"]
    require_a_row(tokens, DATA_DIR)
    print(f"Data: already prepared in {DATA_DIR}")


def make(texts) -> None:
    """Tokenizer and tokens of a corpus.Texts, first in a scratch folder, then in one move in DATA_DIR."""
    from download import tell

    started, prefix = time.perf_counter(), f"preparing-{DATA_DIR.name}-"
    for left in CACHE_DIR.glob(f"{prefix}*"):  # by one that was killed: we hold the lock
        shutil.rmtree(left, ignore_errors=True)
    with tempfile.TemporaryDirectory(dir=CACHE_DIR, prefix=prefix) as scratch:
        made = Path(scratch) / "data"
        (made / "held_out").mkdir(parents=True)
        tell("tokenizer")
        train_tokenizer(texts.train(), made / "tokenizer.json")
        tokenizer = Tokenizer.from_directory(made)
        print(f"Tokenizer: {tokenizer.get_vocab_size()} tokens, after {time.perf_counter() - started:.1f}s", flush=True)
        meta = {"dataset": DATASET, "text": texts.name or DATASET, "version": DATASETS[_name].version,
                "vocab_size": tokenizer.get_vocab_size()}  # fmt: skip
        for name, folder, file, documents in (
            ("validation", "held_out", "val.bin", texts.validation),
            ("secret", "held_out", "secret.bin", texts.secret),
            ("train", "train", "{:05d}.bin", texts.train()),
        ):
            tell("tokens", part=name)
            tokens, size, digest = write_tokens(tokenizer, documents, made / folder / file)
            print(f"Data: {tokens:,} tokens of {size:,} bytes for {name}", flush=True)
            meta |= {f"{name}_tokens": tokens, f"{name}_bytes": size, f"{name}_hash": digest}
            require_a_row(tokens, name)
        (made / "meta.json").write_text(json.dumps({**meta, "hidden": texts.hidden}, indent=1))
        publish(made)
    print(f"Data: prepared in {time.perf_counter() - started:.1f}s, in {DATA_DIR}")


def require_a_row(tokens: int, where: str | Path) -> None:
    if tokens <= MAX_SEQ_LEN:
        raise SystemExit(
            f"prepare: {where} has {tokens:,} tokens, less than one row of {MAX_SEQ_LEN:,}. More text is needed, or a "
            "smaller AUTORESEARCH_SEQ_LEN."
        )


def publish(made: Path) -> None:
    """Move a finished folder to its place, unless another process has just put the same one there."""
    if DATA_DIR.exists() and not is_prepared():
        os.replace(DATA_DIR, made.with_name("incomplete"))
    try:
        os.replace(made, DATA_DIR)
    except OSError:
        if not is_prepared():
            raise


def train_tokenizer(documents: Iterable[str], path: Path) -> None:
    """Learn byte-pair merges and store them as JSON: tokens in the order of their ids, bytes as hex."""
    import rustbpe

    def enough() -> Iterator[str]:
        left = TOKENIZER_CHARS
        for document in documents:
            yield document[:DOCUMENT_CHARS]
            left -= len(document[:DOCUMENT_CHARS])
            if left <= 0:
                return

    pattern = DATASETS[_name].pattern
    learner = rustbpe.Tokenizer()
    learner.train_from_iterator(enough(), VOCAB_SIZE - len(SPECIAL_TOKENS), pattern=pattern)
    ranked = sorted(learner.get_mergeable_ranks(), key=lambda item: item[1])
    tokens = [bytes(token).hex() for token, _ in ranked]
    path.write_text(json.dumps({"pattern": pattern, "tokens": tokens, "special": SPECIAL_TOKENS}))


def write_tokens(tokenizer: "Tokenizer", documents: Iterable[str], path: Path) -> tuple[int, int, str]:
    """Write documents flat, a BOS before each; a path with a number in it is a new one after SHARD_TOKENS.

    Some documents at a time, by all processors. Returns tokens, bytes and the SHA-256 of the text.
    """
    import numpy as np

    documents, shards, left = iter(documents), itertools.count(), 0
    tokens, size, digest = 0, 0, hashlib.sha256()
    path.parent.mkdir(exist_ok=True)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        while batch := list(itertools.islice(documents, 1024)):
            if left <= 0:
                shard, left = Path(str(path).format(next(shards))), SHARD_TOKENS
            for data in map(str.encode, batch):
                size += len(data)
                digest.update(len(data).to_bytes(8, "little") + data)
            with shard.open("ab") as file:
                for ids in pool.map(tokenizer.encode_document, batch):
                    file.write(ids.astype(np.dtype(TOKEN_TYPE)).tobytes())
                    tokens, left = tokens + len(ids), left - len(ids)
    return tokens, size, digest.hexdigest()


def check() -> bool:
    """Print what is there; False when something is missing."""
    print(f"Data set {DATASET}, vocabulary {VOCAB_SIZE}, rows of {MAX_SEQ_LEN} tokens: {DATA_DIR}")
    missing = [name for name in FILES if not (DATA_DIR / name).exists()]
    if missing:
        print(f"Missing: {', '.join(missing)}. Run `python prepare.py`.")
        return False
    meta = json.loads((DATA_DIR / "meta.json").read_text())
    print(f"Text: {meta.get('text', DATASET)}")
    for name in ("train", "validation", "secret"):
        print(f"{name}: {meta[f'{name}_tokens']:,} tokens, {meta[f'{name}_bytes']:,} bytes, {meta[f'{name}_hash'][:12]}")
    there = sum(path.stat().st_size for path in (DATA_DIR / "train").iterdir()) * 8 // int(TOKEN_TYPE[4:])
    if there != meta["train_tokens"]:
        print(f"Damaged: train has {there:,} tokens. Delete {DATA_DIR} and run `python prepare.py`.")
    return there == meta["train_tokens"]


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
        folder = Path(directory or DATA_DIR)
        stored = json.loads((folder / "tokenizer.json").read_text())
        tokenizer = cls(stored["pattern"], [bytes.fromhex(token) for token in stored["tokens"]])
        size, meta = tokenizer.get_vocab_size(), folder / "meta.json"
        noted = json.loads(meta.read_text())["vocab_size"] if meta.exists() else size
        if size != noted or (directory is None and size > VOCAB_SIZE):
            raise SystemExit(
                f"prepare: the tokenizer in {folder} has {size} tokens; its meta.json says {noted}, and AUTORESEARCH_VOCAB "
                f"{VOCAB_SIZE}. They do not belong together: delete {folder} and run `python prepare.py` again."
            )
        return tokenizer

    def get_vocab_size(self) -> int:
        return self.encoding.n_vocab

    def get_bos_token_id(self) -> int:
        return self.encoding.encode_single_token(SPECIAL_TOKENS[0])

    def encode(self, text: str | list[str], prepend: int | None = None, num_threads: int = 2) -> list:
        """Ids of one text, or a list of ids for each text of a list; special tokens in the text stay plain text."""
        start = [] if prepend is None else [prepend]
        if isinstance(text, str):
            return start + self.encoding.encode_ordinary(text)
        return [start + ids for ids in self.encoding.encode_ordinary_batch(text, num_threads=num_threads)]

    def encode_document(self, text: str):
        """BOS and the ids of one text, uint32 array. Other threads run meanwhile."""
        import numpy as np

        return np.append(np.uint32(self.get_bos_token_id()), self.encoding.encode_to_numpy(text, disallowed_special=()))

    def decode(self, ids: list[int]) -> str:
        return self.encoding.decode(ids)

    def token_bytes(self) -> list[int]:
        """Raw bytes of each token, 0 for special tokens.

        From the bytes themselves: a decoded string would count a fragment of a character as the 3 bytes of U+FFFD.
        """
        return [len(token) for token in self.tokens] + [0] * len(SPECIAL_TOKENS)


def get_token_bytes(device: str = "cpu"):
    """Raw bytes of each token, (V,) int32; 0 for special tokens."""
    import torch

    return torch.tensor(Tokenizer.from_directory().token_bytes(), dtype=torch.int32, device=device)


def pick_device() -> str:
    """cuda, mps or cpu. A GPU that was given but cannot be used ends the process: silently slow is worse."""
    import torch

    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    is_none = given in ("", "-1")  # asked here too: to ROCm an empty list names all
    if not is_none and torch.cuda.is_available():
        return "cuda"
    if given and not is_none:
        raise SystemExit(f"prepare: torch {torch.__version__} cannot use the GPU {given}: {why_no_gpu()}")
    return "mps" if torch.backends.mps.is_available() else "cpu"


def why_no_gpu() -> str:
    """What torch says of it, and what to do, in one line."""
    import torch

    try:
        torch.cuda.init()
        said = "it sees none."
    except (RuntimeError, AssertionError) as error:
        said = " ".join(str(error).split()).partition(" Please ")[0][:300].rstrip(".") + "."
    if "too old" in said or "insufficient" in said:
        return f"{said} Update the driver, or install a torch built for it: https://pytorch.org/get-started/locally"
    if "not compiled" in said:
        return f"{said} Install a torch built for this GPU: https://pytorch.org/get-started/locally"
    return f"{said} Does `nvidia-smi` (`rocm-smi`) show it?"


def try_device() -> None:
    """Ends the process with the reason where the device cannot multiply."""
    import torch

    device = pick_device()
    try:
        ones = torch.ones(64, 64, device=device)
        total = float((ones @ ones).sum())
    except RuntimeError as error:
        said = str(error).splitlines()[0]
        raise SystemExit(f"prepare: torch {torch.__version__} cannot use this {device}: {said}") from None
    if total != 64**3:
        raise SystemExit(f"prepare: this {device} multiplies wrongly: {total:g} instead of {64**3}.")


def load_tokens(split: str) -> list:
    """The flat tokens of "train" or "val", one array a shard, mapped from disk."""
    import numpy as np

    if split not in ("train", "val"):
        raise ValueError(f"split is 'train' or 'val', not {split!r}")
    paths = sorted((DATA_DIR / "train").glob("*.bin")) if split == "train" else [DATA_DIR / "held_out" / "val.bin"]
    if not paths or not paths[0].exists():
        raise SystemExit(
            f"prepare: there is no {split} data in {DATA_DIR}. In the sandbox only the judge has the validation text; by "
            "hand, delete that folder and run `python prepare.py` again."
        )
    return [np.memmap(path, dtype=TOKEN_TYPE, mode="r").view(np.ndarray) for path in paths]


class Packer:
    """Fills rows with documents by best fit: the longest that fits, again and again; where none fits, the longest is cut.

    The rest of a document that was cut begins with the last token used, as each row of the exam begins with the token
    before it. So nothing is thrown away and nothing padded: but for a last bit of each shard, every token is a target in
    every epoch.
    """

    CHUNK = 1024  # documents packed at a time

    def __init__(self, length: int) -> None:
        self.length = length
        self.starts: dict[int, list[int]] = {}  # of the pieces of each length
        self.lengths = 0  # bit n: there is a piece of n tokens

    def add(self, start: int, length: int) -> None:
        """A piece whose first token is only seen, not asked for: BOS, or the last token used of a document that was cut."""
        while length > 1:
            part = min(length, self.length)
            self.starts.setdefault(part, []).append(start)
            self.lengths |= 1 << part
            start, length = start + part - 1, length - part + 1

    def take(self, fitting: int) -> tuple[int, int]:
        """(start, length) of the longest piece among those lengths."""
        length = fitting.bit_length() - 1
        start = self.starts[length].pop()
        if not self.starts[length]:
            self.lengths ^= 1 << length
        return start, length

    def row(self) -> list[tuple[int, int]]:
        """The pieces of a full row; none when too little is left, which then waits."""
        left, pieces = self.length, []
        while left and self.lengths:
            start, length = self.take(self.lengths & ((2 << left) - 1) or self.lengths)
            pieces.append((start, min(length, left)))
            if length > left:
                self.add(start + left - 1, length - left + 1)
            left -= pieces[-1][1]
        if left:
            for piece in pieces:
                self.add(*piece)
        return [] if left else pieces


def packed_rows(shards: list, bos: int, length: int, generator):
    """Endless (rows, epoch): rows (N, length) int64, all of a chunk of documents; epoch from 1.

    Every epoch shuffles shards and documents anew, and the rows of each chunk, which come by length.
    """
    import numpy as np

    for epoch in itertools.count(1):
        for shard in generator.permutation(len(shards)):
            tokens, packer = shards[shard], Packer(length)
            starts = np.flatnonzero(tokens == bos)
            documents = np.stack((starts, np.diff(starts, append=len(tokens))), axis=1)[generator.permutation(len(starts))]
            for first in range(0, len(documents), Packer.CHUNK):
                for start, size in documents[first : first + Packer.CHUNK].tolist():
                    packer.add(start, size)
                pieces = np.array([piece for row in iter(packer.row, []) for piece in row], np.int64).reshape(-1, 2)
                places = np.cumsum(pieces[:, 1]) - pieces[:, 1]  # where each piece goes
                sources = np.repeat(pieces[:, 0] - places, pieces[:, 1]) + np.arange(pieces[:, 1].sum())
                yield generator.permutation(tokens[sources].astype(np.int64).reshape(-1, length)), epoch


def make_dataloader(tokenizer: Tokenizer, B: int, T: int, split: str):
    """Endless (x, y, epoch): x and y (B, T) int64 on the training device, y one token ahead of x, epoch from 1.

    Documents are packed into rows by best fit, see Packer, in an order that AUTORESEARCH_SEED chooses. On CUDA the next
    batch is on its way before this one is given.
    """
    import numpy as np
    import torch

    if B < 1 or T < 1:
        raise ValueError(f"a batch of {B} rows of {T} tokens is not possible: both must be at least 1")
    device, shards = pick_device(), load_tokens(split)
    if (total := sum(map(len, shards))) < B * (T + 1):
        raise ValueError(f"{split} has {total:,} tokens, too few for a batch of {B} rows of {T}")
    waiting, ahead = np.empty((0, T + 1), np.int64), None
    for rows, epoch in packed_rows(shards, tokenizer.get_bos_token_id(), T + 1, np.random.default_rng(SEED)):
        waiting = np.concatenate((waiting, rows))
        for _ in range(len(waiting) // B):
            batch, waiting = torch.from_numpy(waiting[:B]), waiting[B:]
            if device == "cuda":
                batch = batch.pin_memory()
            batch = batch.to(device, non_blocking=True)
            batch = batch[:, :-1].contiguous(), batch[:, 1:].contiguous(), epoch
            if device == "cuda":
                batch, ahead = ahead, batch
            if batch:
                yield batch


def evaluate_bpb(model, tokenizer: Tokenizer, batch_size: int) -> float:
    """Validation bits per byte of model, lower is better.

    model(x) takes x (B, T) int64 and returns logits (B, T, V). With a judge (AUTORESEARCH_EXAM) the model sits its exam:
    it is asked, and never sees the answers. By hand all of the validation text is scored here, by the same metric.
    """
    if batch_size < 1:
        raise ValueError(f"evaluate_bpb: batch_size is {batch_size}; at least 1 is expected")
    from sitting import sit_exam

    device = pick_device()
    if os.environ.get("AUTORESEARCH_EXAM"):
        return sit_exam(model, Path(os.environ["AUTORESEARCH_EXAM"]), batch_size, device)
    return score_locally(model, tokenizer, batch_size, device)


def score_locally(model, tokenizer: Tokenizer, batch_size: int, device: str) -> float:
    """The metric bpb/1 in plain words: nats over the tokens of the text, by ln 2, by the raw bytes of those tokens.

    Rows of MAX_SEQ_LEN tokens, the last one filled up with BOS. A special token is worth 0 bytes and costs nothing.
    """
    import torch
    from sitting import find_problem, needs_targets

    tokens = torch.from_numpy(load_tokens("val")[0].astype("int64"))
    rows = math.ceil((len(tokens) - 1) / MAX_SEQ_LEN)
    padded = torch.full((rows * MAX_SEQ_LEN + 1,), tokenizer.get_bos_token_id())
    padded[: len(tokens)] = tokens
    inputs, targets = padded[:-1].view(rows, MAX_SEQ_LEN), padded[1:].view(rows, MAX_SEQ_LEN)
    token_bytes = torch.tensor(tokenizer.token_bytes())
    arguments = (None,) if needs_targets(model) else ()
    nats, size = 0.0, 0
    with torch.no_grad():
        for x, y in zip(inputs.split(batch_size), targets.split(batch_size), strict=True):
            logits = model(x.to(device), *arguments)  # (B, T, V)
            if problem := find_problem(logits, (*x.shape, len(token_bytes))):
                raise SystemExit(f"prepare: {problem}")
            loss = torch.nn.functional.cross_entropy(logits.float().flatten(0, 1), y.to(device).flatten(), reduction="none")
            weight = token_bytes[y].flatten()
            nats += float((loss.cpu().double() * (weight > 0)).sum())  # on MPS there is no float64
            size += int(weight.sum())
    return nats / (math.log(2) * size)


if __name__ == "__main__":
    if sys.argv[1:] == ["--check"]:
        sys.exit(not check())
    if sys.argv[1:] == ["--where"]:
        print(DATA_DIR)
    elif sys.argv[1:] == ["--try"]:
        try_device()
    elif sys.argv[1:]:
        raise SystemExit(__doc__)
    else:
        signal.signal(signal.SIGTERM, lambda *_: sys.exit("prepare: stopped; what was downloaded is kept."))
        try:
            prepare()
        except OSError as error:
            place = error.filename or CACHE_DIR
            raise SystemExit(
                f"prepare: {place}: {error.strerror or error}. AUTORESEARCH_CACHE_DIR can name another folder."
            ) from None
