"""The texts of each data set, split into training, validation and secret. Fixed: the researcher edits train.py, never this.

`load` is all that prepare.py calls. Whole documents are held out, by the hash of their text or by their place in a file
that never changes, so that every machine with the same sources has the same split.
"""

import hashlib
import importlib.util
import itertools
import sysconfig
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

PIECE_CHARS = 800  # stdlib: a document is cut at line ends into pieces of at most so many characters

# stdlib: tests, what is not the standard library, and large generated tables that teach nothing about code
SKIPPED_FOLDERS = {"test", "tests", "idle_test", "site-packages", "dist-packages", "encodings", "pydoc_data"}
# stdlib: what may be held out, because no training imports it: the sandbox covers these files, for the text that is
# scored would else lie in Python's own installation.
APART = {
    "aifc", "asynchat", "asyncore", "cgi", "cgitb", "chunk", "crypt", "curses", "dbm", "filecmp", "ftplib", "idlelib",
    "imaplib", "imghdr", "lib2to3", "mailbox", "mailcap", "modulefinder", "msilib", "netrc", "nntplib", "pipes", "poplib",
    "pty", "pyclbr", "rlcompleter", "sched", "shelve", "smtpd", "smtplib", "sndhdr", "sunau", "tabnanny", "telnetlib",
    "tkinter", "turtle", "turtledemo", "uu", "wave", "webbrowser", "wsgiref", "xdrlib", "xmlrpc", "zipapp",
}  # fmt: skip
APART_ONE_IN = 4  # of those files, one in so many is held out

# climbmix: the upstream's shards, of about 100 MB each; the last one is for validation
CLIMBMIX = "https://huggingface.co/datasets/karpathy/climbmix-400b-shuffle/resolve/main/shard_{:05d}.parquet"
CLIMBMIX_SHARDS, CLIMBMIX_VALIDATION = 10, 6542
# tinystories: one file of 640 MB; the stories that its users hold out (10,000 for tests, then 10,000 for validation)
TINYSTORIES = "https://huggingface.co/datasets/karpathy/tinystories-gpt4-clean/resolve/main/tinystories_gpt4_clean.parquet"
TINYSTORIES_SECRET, TINYSTORIES_VALIDATION, TINYSTORIES_TRAIN = 0, 10_000, 20_000

PART_CHARS = 2048  # folder: a text is cut into parts of at most so many characters, and parts are held out
PART_ONE_IN = 16
CONTROLS = bytes(set(range(32)) - set(b"\t\n\f\r"))
BINARY_SHARE = 0.02  # of such characters, in what is not UTF-8


@dataclass(frozen=True)
class Texts:
    """train() gives the training documents anew at each call; validation and secret hold exactly the bytes asked for."""

    train: Callable[[], Iterable[str]]
    validation: list[str]
    secret: list[str]
    hidden: list[str] = field(default_factory=list)  # files whose text is held out, to be covered in the sandbox


class Damaged(Exception):
    """The parquet file cannot be read."""


def load(dataset: str, cache_dir: Path, eval_bytes: int) -> Texts:
    """Ends the process with a clear message when the texts cannot be had."""
    name, _, path = dataset.partition(":")
    if name == "folder":
        return load_folder(Path(path).expanduser().absolute(), eval_bytes)
    if name == "stdlib":
        return load_stdlib(eval_bytes)
    return {"climbmix": load_climbmix, "tinystories": load_tinystories}[name](cache_dir / "downloads" / name, eval_bytes)


def text_hash(text: str) -> int:
    """A number that orders and splits texts the same way on every machine."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")


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


def bytes_of(pieces: Iterable[str]) -> int:
    return sum(len(piece.encode()) for piece in pieces)


def take_bytes(pieces: Iterable[str], size: int) -> list[str]:
    """The first pieces, up to so many bytes of UTF-8; the last one is cut to fit, at a whole character."""
    taken = []
    for piece in pieces:
        data = piece.encode()
        taken.append(data[:size].decode(errors="ignore"))
        size -= len(data)
        if size <= 0:
            break
    return [piece for piece in taken if piece]


# ---------------------------------------------------------------------------------------------------------------------
# stdlib


def load_stdlib(eval_bytes: int) -> Texts:
    """The sources of Python's standard library."""
    root = Path(sysconfig.get_path("stdlib"))
    train: list[str] = []
    held: list[tuple[Path, list[str]]] = []
    for path in sorted(root.rglob("*.py"), key=lambda path: path.relative_to(root).as_posix()):
        parts = path.relative_to(root).parts
        if not SKIPPED_FOLDERS.isdisjoint(parts):
            continue
        document = path.read_bytes().decode("utf-8", errors="ignore").replace("\r\n", "\n")
        if parts[0].removesuffix(".py") in APART and text_hash(document) % APART_ONE_IN == 0:
            held.append((path, cut(document)))
        else:
            train.extend(cut(document))
    if sum(map(len, train)) < 1_000_000:
        raise SystemExit(f"prepare: the standard library's sources are not installed under {root}.")
    sides: tuple[list[str], list[str]] = ([], [])
    for _, pieces in held:  # whole files to either side
        sides[text_hash("".join(pieces)) // APART_ONE_IN % 2].extend(pieces)
    validation, secret = (take_bytes(sorted(side, key=text_hash), eval_bytes) for side in sides)
    for name, side in (("validation", validation), ("secret", secret)):
        if bytes_of(side) < eval_bytes - 4:
            raise SystemExit(
                f"prepare: this Python's standard library gives {bytes_of(side):,} bytes of {name} text, {eval_bytes:,} are "
                "needed. Is it a full installation (idlelib, tkinter, lib2to3)? Or take AUTORESEARCH_DATASET=folder:PATH."
            )
    hidden = [str(file) for path, _ in held for file in (path, *compiled(path))]
    return Texts(lambda: sorted(train, key=text_hash), validation, secret, hidden)


def compiled(path: Path) -> list[Path]:
    """The bytecode that Python has stored of a source: it holds every name and string of it."""
    folder = Path(importlib.util.cache_from_source(str(path))).parent
    return sorted(folder.glob(f"{path.stem}.*.pyc"))


# ---------------------------------------------------------------------------------------------------------------------
# climbmix and tinystories


def load_climbmix(folder: Path, eval_bytes: int) -> Texts:
    """The upstream's web text: parquet shards, shuffled by their makers."""
    urls = {folder / Path(url).name: url for url in map(CLIMBMIX.format, (*range(CLIMBMIX_SHARDS), CLIMBMIX_VALIDATION))}
    *train, validation = urls
    fetch(urls)
    held_out = downloaded(validation, urls)
    return checked(Texts(
        lambda: itertools.chain.from_iterable(downloaded(path, urls) for path in train),
        take_bytes(held_out, eval_bytes), take_bytes(held_out, eval_bytes),
    ), eval_bytes, validation)  # fmt: skip


def load_tinystories(folder: Path, eval_bytes: int) -> Texts:
    """Short stories in the words of a small child, written by GPT-4."""
    path = folder / Path(TINYSTORIES).name
    urls = {path: TINYSTORIES}
    fetch(urls)

    def stories(first: int, stop: int | None = None) -> Iterator[str]:
        return itertools.islice(downloaded(path, urls), first, stop)

    return checked(Texts(
        lambda: stories(TINYSTORIES_TRAIN),
        take_bytes(stories(TINYSTORIES_VALIDATION, TINYSTORIES_TRAIN), eval_bytes),
        take_bytes(stories(TINYSTORIES_SECRET, TINYSTORIES_VALIDATION), eval_bytes),
    ), eval_bytes, path)  # fmt: skip


def checked(texts: Texts, eval_bytes: int, source: Path) -> Texts:
    """Of a file that never changes; another content under its name would be another metric."""
    for name, side in (("validation", texts.validation), ("secret", texts.secret)):
        if bytes_of(side) < eval_bytes - 4:
            raise SystemExit(f"prepare: {source} gives {bytes_of(side):,} bytes of {name} text, {eval_bytes:,} are needed.")
    return texts


def fetch(urls: dict[Path, str]) -> None:
    import download

    download.fetch_all(urls)


def downloaded(path: Path, urls: dict[Path, str]) -> Iterator[str]:
    """The texts of a downloaded parquet file. One that cannot be read is downloaded anew, once."""
    given = 0
    for is_second in (False, True):
        try:
            for text in itertools.islice(parquet_texts(path), given, None):
                given += 1
                yield text
            return
        except Damaged as error:
            path.unlink(missing_ok=True)
            if is_second:
                raise SystemExit(f"prepare: {error}, also downloaded anew. Is {urls[path]} what it should be?") from None
            print(f"Data: {error}; downloading it anew", flush=True)
            fetch({path: urls[path]})


def parquet_texts(path: Path) -> Iterator[str]:
    """The column "text", or the only column of strings, a row group at a time. Raises Damaged."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise SystemExit(f"prepare: to read {path}, pyarrow must be installed: `pip install pyarrow`.") from None
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            schema = file.schema_arrow
            names = [name for name in schema.names if schema.field(name).type in (pyarrow.string(), pyarrow.large_string())]
            column = "text" if "text" in names else names[0] if len(names) == 1 else None
            if column is None:
                raise SystemExit(
                    f"prepare: {path} has no column of strings named text, and not just one column of strings: it has "
                    f"{', '.join(f'{name} ({schema.field(name).type})' for name in schema.names)}."
                )
            for batch in file.iter_batches(batch_size=1024, columns=[column]):
                yield from (text for text in batch.column(0).to_pylist() if text)
    except (pyarrow.ArrowException, OSError) as error:
        raise Damaged(f"{path} cannot be read as parquet ({str(error).splitlines()[0][:120]})") from None


# ---------------------------------------------------------------------------------------------------------------------
# folder:PATH


@dataclass
class Seen:
    """What was met in a folder."""

    parts: int = 0
    characters: int = 0
    files: dict[str, list[str]] = field(default_factory=dict)  # names by encoding, or "parquet" or "binary"

    def add(self, kind: str, path: Path) -> None:
        self.files.setdefault(kind, []).append(path.name)


def load_folder(folder: Path, eval_bytes: int) -> Texts:
    """Text and parquet files of one's own. One part in 16 is held out, by hash: half for validation, half for the secret."""
    if not folder.is_dir():
        raise SystemExit(f"prepare: AUTORESEARCH_DATASET=folder:PATH names {folder}, which is not a folder.")
    seen = Seen()
    held: dict[int, tuple[str, str]] = {}  # by hash: the part, and the file it is from
    characters = 0
    for path, document in folder_documents(folder, seen):
        for part in cut(document, PART_CHARS):
            seen.parts += 1
            seen.characters += len(part)
            if is_held_out(part):
                held[text_hash(part)] = (part, str(path))
                characters += len(part)
        if characters > 16 * eval_bytes:  # the first in the order of hashes are enough
            held = dict(first_of(sorted(held.items()), 4 * eval_bytes))
            characters = sum(len(part) for part, _ in held.values())
    report(folder, seen)
    parts = [held[key] for key in sorted(held)]
    size = min(eval_bytes, bytes_of(part for part, _ in parts) // 2)
    used: list[str] = []
    texts = (used.append(path) or part for part, path in parts)
    validation, secret = take_bytes(texts, size), take_bytes(texts, size)
    if not validation or not secret:
        raise SystemExit(
            f"prepare: {folder} has {seen.characters:,} characters of text in {seen.parts:,} parts, of which {len(parts)} "
            f"are held out ({2 * size:,} bytes): too little for a validation text and a secret one. Add text: some "
            f"{8 * PART_ONE_IN * PART_CHARS:,} characters will do."
        )
    return Texts(lambda: folder_training(folder), validation, secret, sorted(set(used)))


def folder_training(folder: Path) -> Iterator[str]:
    """What lies between the parts that are held out."""
    for _, document in folder_documents(folder, Seen()):
        for is_out, run in itertools.groupby(cut(document, PART_CHARS), is_held_out):
            if not is_out:
                yield "".join(run)


def is_held_out(part: str) -> bool:
    return text_hash(part) % PART_ONE_IN == 0


def first_of(held: list[tuple[int, tuple[str, str]]], characters: int) -> Iterator[tuple[int, tuple[str, str]]]:
    for key, (part, path) in held:
        if characters <= 0:
            return
        characters -= len(part)
        yield key, (part, path)


def folder_documents(folder: Path, seen: Seen) -> Iterator[tuple[Path, str]]:
    """(file, text) of everything readable under the folder but hidden files, in the order of paths."""
    paths = (path for path in folder.rglob("*") if path.is_file())
    for path in sorted(paths, key=lambda path: path.relative_to(folder).as_posix()):
        if any(part.startswith(".") for part in path.relative_to(folder).parts):
            continue
        if path.suffix == ".parquet":
            seen.add("parquet", path)
            try:
                yield from ((path, text) for text in parquet_texts(path))
            except Damaged as error:
                raise SystemExit(f"prepare: {error}. Is it whole? Repair it, or move it out of {folder}.") from None
            continue
        text, encoding = decode(path.read_bytes())
        seen.add(encoding, path)
        if text.strip():
            yield path, text.replace("\r\n", "\n")


def decode(data: bytes) -> tuple[str, str]:
    """(text, its encoding); ("", "binary") of what is no text."""
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return data.decode("utf-16", errors="ignore"), "UTF-16"
    if b"\0" in data:
        return "", "binary"
    try:
        return data.decode("utf-8-sig"), "UTF-8"
    except UnicodeDecodeError:
        controls = len(data) - len(data.translate(None, CONTROLS))
        return ("", "binary") if controls > BINARY_SHARE * len(data) else (data.decode("latin-1"), "Latin-1")


def report(folder: Path, seen: Seen) -> None:
    """Say what was found. Ends the process where there is no text."""
    found = ", ".join(f"{len(names):,} {kind}" for kind, names in sorted(seen.files.items())) or "none"
    if not seen.parts:
        raise SystemExit(f"prepare: {folder} holds no text. Files: {found}. Text or parquet files are expected there.")
    print(f"Data: {folder} holds {seen.characters:,} characters of text. Files: {found}", flush=True)
    for kind, fate in (("Latin-1", "are not UTF-8 and were read as Latin-1"), ("binary", "are no text and were skipped")):
        if names := seen.files.get(kind):
            print(f"Data: {len(names):,} files {fate}: {', '.join(names[:3])}{' ...' * (len(names) > 3)}", flush=True)
