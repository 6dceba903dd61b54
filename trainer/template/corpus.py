"""The texts of each data set, split into training, validation and secret. Fixed: the researcher edits train.py, never this.

`load` is all that prepare.py calls. Whole documents are held out, by the hash of their text or by their place in a file
that never changes, so that every machine with the same sources has the same split.
"""

import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import sources
from sources import cut, text_hash

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
    """train() gives the training documents anew at each call; validation has the bytes asked for, secret at least these."""

    train: Callable[[], Iterable[str]]
    validation: list[str]
    secret: list[str]
    hidden: list[str] = field(default_factory=list)  # what is to be covered in the sandbox: paths, {stdlib}/… or {torch}/…
    name: str = ""  # of the text, where the data set's does not say all


class Damaged(Exception):
    """The parquet file cannot be read."""


def load(dataset: str, cache_dir: Path, eval_bytes: int) -> Texts:
    """Ends the process with a clear message when the texts cannot be had."""
    name, _, path = dataset.partition(":")
    if name == "folder":
        return load_folder(Path(path).expanduser().absolute(), eval_bytes)
    if name in ("stdlib", "torch"):
        return {"stdlib": load_stdlib, "torch": load_torch}[name](eval_bytes)
    return {"climbmix": load_climbmix, "tinystories": load_tinystories}[name](cache_dir / "downloads" / name, eval_bytes)


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
# stdlib and torch


def load_stdlib(eval_bytes: int) -> Texts:
    """The sources of Python's standard library; where they do not do, torch's, which are installed for certain."""
    try:
        return of_sources(sources.standard_library(), eval_bytes)
    except sources.TooLittle as error:
        print(f"Data: {error}; torch's own sources are taken instead", flush=True)
        return load_torch(eval_bytes)


def load_torch(eval_bytes: int) -> Texts:
    """The sources of the torch that trains."""
    try:
        return of_sources(sources.torch_sources(), eval_bytes)
    except sources.TooLittle as error:
        raise SystemExit(f"prepare: {error}. {NO_SOURCES}") from None


NO_SOURCES = "Install a Python with its sources (your system's, uv's), or take AUTORESEARCH_DATASET=folder:PATH."


def of_sources(found: sources.Sources, eval_bytes: int) -> Texts:
    """Validation text of exactly so many bytes, and all of the secret one. Raises TooLittle."""
    for side in ("validation", "secret"):
        if (size := bytes_of(getattr(found, side))) < eval_bytes:
            raise sources.TooLittle(f"{found.name} gives {size:,} bytes of {side} text, {eval_bytes:,} are needed")
    return Texts(lambda: found.train, take_bytes(found.validation, eval_bytes), found.secret, found.hidden, found.name)


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
