"""Python sources as text: the standard library's, and torch's where that will not do. Fixed: never edited.

What is held out must be the same bytes on every machine, though each Python has a library of its own. So held_out.txt lists
pieces of code that CPython 3.11 to 3.15 have unchanged, by the first 8 digits of their hashes, a line for each module. Whole
modules are held out, which no training imports: the sandbox covers them, for they lie in Python's own installation.
"""

import hashlib
import importlib.util
import sysconfig
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

PIECE_CHARS = 800  # a document is cut at line ends into pieces of at most so many characters
LEAST_CHARS = 40  # of a held-out piece: a shorter one, such as `pass`, stands everywhere
LEAST_TRAIN_CHARS = 1_000_000
LIST = Path(__file__).with_name("held_out.txt")

# Of the standard library: tests, generated tables, what is installed beside it, and what some systems package apart.
SKIPPED = {
    "test", "tests", "idle_test", "site-packages", "dist-packages", "encodings", "pydoc_data", "__pycache__",
    "idlelib", "tkinter", "turtledemo", "turtle.py", "lib2to3", "ensurepip", "venv", "curses", "dbm",
}  # fmt: skip
# Of torch: tests that it carries along, which nothing else of it imports.
TORCH_VALIDATION = ("testing/_internal/common_modules.py", "testing/_internal/common_nn.py")
TORCH_SECRET = (
    "testing/_internal/common_optimizers.py", "testing/_internal/common_quantization.py",
    "testing/_internal/distributed/rpc",
)  # fmt: skip


class TooLittle(Exception):
    """These sources do not give the text that is needed; the words say what is missing."""


@dataclass(frozen=True)
class Sources:
    """Pieces of text on three sides, each in the order of its hashes."""

    name: str  # of the text: what two machines compare
    train: list[str]
    validation: list[str]
    secret: list[str]
    hidden: list[str]  # modules and packages, from a place that a machine knows: {stdlib} or {torch}


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


def held_pieces(document: str) -> list[str]:
    """Functions and methods one by one, so that what is new in one of them leaves the others as they are."""
    blocks: list[list[str]] = [[]]
    for line in document.splitlines(keepends=True):
        starts = line.removeprefix("    ").startswith(("def ", "async def ", "class ", "@"))
        if starts and not (blocks[-1] and blocks[-1][-1].lstrip().startswith("@")):
            blocks.append([])
        blocks[-1].append(line)
    texts = ("".join(block).strip("\n") + "\n" for block in blocks)
    return [piece for text in texts for piece in cut(text) if len(piece) >= LEAST_CHARS]


def read(path: Path) -> str:
    return path.read_bytes().decode("utf-8", errors="ignore").replace("\r\n", "\n")


def files(root: Path, skipped: Iterable[str]) -> Iterator[tuple[str, Path]]:
    """(its path from the root, file) of every Python source, in the order of paths."""
    left_out = set(skipped)
    for path in sorted(root.rglob("*.py"), key=lambda path: path.relative_to(root).as_posix()):
        if left_out.isdisjoint(path.relative_to(root).parts) and path.is_file():  # not a link to nowhere
            yield path.relative_to(root).as_posix(), path


def owner(name: str, modules: Iterable[str]) -> str:
    """Which of these modules and packages a file belongs to; "" where to none."""
    return next((module for module in modules if name == module or name.startswith(f"{module}/")), "")


def in_order(pieces: Iterable[str]) -> list[str]:
    return sorted(pieces, key=text_hash)


# The standard library


def read_list(path: Path = LIST) -> dict[str, tuple[str, set[str]]]:
    """Of each held-out module: its side, and the hashes of its pieces."""
    lines = [line.split() for line in path.read_text().splitlines() if not line.startswith("#")]
    return {module: (side, set(hashes)) for side, module, *hashes in lines}


def short_hash(piece: str) -> str:
    return f"{text_hash(piece):016x}"[:8]


def standard_library(root: Path | None = None) -> Sources:
    """Raises TooLittle where the sources are not installed."""
    root = root or Path(sysconfig.get_path("stdlib"))
    listed = read_list()
    train: list[str] = []
    sides: dict[str, set[str]] = {"validation": set(), "secret": set()}
    for name, path in files(root, SKIPPED):
        module = owner(name, listed)
        if module:
            side, hashes = listed[module]
            sides[side].update(piece for piece in held_pieces(read(path)) if short_hash(piece) in hashes)
        else:
            train.extend(cut(read(path)))
    if sum(map(len, train)) < LEAST_TRAIN_CHARS:
        raise TooLittle(f"the standard library's sources are not installed under {root}")
    wanted = {side: sum(len(hashes) for of, hashes in listed.values() if of == side) for side in sides}
    missing = [f"{wanted[side] - len(sides[side])} of {wanted[side]} pieces of {side}"
               for side in sides if len(sides[side]) < wanted[side]]  # fmt: skip
    name = f"stdlib/1 without {', '.join(missing)}" if missing else "stdlib/1"
    hidden = [f"{{stdlib}}/{module}" for module in listed]
    return Sources(name, in_order(train), in_order(sides["validation"]), in_order(sides["secret"]), hidden)


# torch


def torch_sources(root: Path | None = None) -> Sources:
    """Raises TooLittle where they are not installed."""
    root = root or torch_folder()
    if root is None:
        raise TooLittle("torch is not installed")
    sides: dict[str, set[str]] = {"validation": set(), "secret": set()}
    train: list[str] = []
    for name, path in files(root, ("__pycache__",)):
        if owner(name, TORCH_VALIDATION):
            sides["validation"].update(held_pieces(read(path)))
        elif owner(name, TORCH_SECRET):
            sides["secret"].update(held_pieces(read(path)))
        else:
            train.extend(cut(read(path)))
    hidden = [f"{{torch}}/{name}" for name in (*TORCH_VALIDATION, *TORCH_SECRET)]
    secret = in_order(sides["secret"] - sides["validation"])
    return Sources(f"torch {torch_version()}", in_order(train), in_order(sides["validation"]), secret, hidden)


def torch_folder() -> Path | None:
    """Where torch is installed, without importing it."""
    spec = importlib.util.find_spec("torch")
    places = spec.submodule_search_locations if spec else None
    return Path(next(iter(places))) if places else None


def torch_version() -> str:
    """Without what the build adds, as in 2.13.0+cpu: the sources are the same."""
    try:
        return metadata.version("torch").partition("+")[0]
    except metadata.PackageNotFoundError:
        return "none"
