"""The folder an external agent works in: laid out, looked at afterwards, removed. Nothing in it is trusted."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from trainer.spec import is_locked, try_lock

from .edit_error import EditError
from .edits import MAX_FILE_BYTES

IDEA = "IDEA.md"  # where an agent may say what its idea is
OWNER = "owner"  # a file that is locked while the folder is in use
PREFIX = "agent-"
MOST_NAMED, MOST_FOUND, DEEPEST = 8, 1000, 16


@contextmanager
def fresh_folder(folders: Path) -> Iterator[Path]:
    """A folder of one agent, removed at the end. What a worker that died has left behind is removed first."""
    folders.mkdir(parents=True, exist_ok=True)
    with (folders / "lock").open("a") as lock:
        try_lock(lock, seconds=10.0)  # a new folder is not yet locked: nobody may take it for a dead one's
        for old in folders.glob(f"{PREFIX}*"):
            if not is_locked(old / OWNER):
                remove(old)
        folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=folders))
        owner = (folder / OWNER).open("a")
        try_lock(owner)
    try:
        with owner:
            yield folder
    finally:
        remove(folder)


def remove(folder: Path) -> None:
    """Also what has been nested without end, or made unreadable."""
    with suppress(RecursionError):
        shutil.rmtree(folder, ignore_errors=True)
    if folder.exists():
        for command in (["chmod", "-R", "u+rwX", str(folder)], ["rm", "-rf", str(folder)]):
            subprocess.run(command, stderr=subprocess.DEVNULL, check=False)


def lay_out(folder: Path, texts: Mapping[str, str]) -> None:
    """Write the texts by their paths, which may have folders."""
    for path, text in texts.items():
        target = folder / path
        if not target.resolve().is_relative_to(folder.resolve()):
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(text.encode("utf-8", "replace"))


@dataclass(frozen=True)
class Changes:
    """What an agent has done to its files."""

    texts: Mapping[str, str]  # of editable files that differ, whole
    ignored: tuple[str, ...]  # in words: what else it changed, which does not count


def changes(folder: Path, editable: Mapping[str, str], others: Mapping[str, str]) -> Changes:
    """Compare the folder with what was laid out: `editable` and `others`. Raises EditError for an editable file that
    is gone or is no text file any more."""
    texts = {}
    for path, before in editable.items():
        after = _as_it_was(read_text(folder, path), before)
        if after != before:
            texts[path] = after
    known = {*editable, *others, IDEA}
    touched = [path for path, before in others.items() if not _is_same(folder / path, before)]
    new = [path for path in _files(folder) if path not in known]
    words = []
    if touched:
        words.append(f"{_named(touched)}: may not be edited")
    if new:
        words.append(f"{_named(new)}: not {'a file' if len(new) == 1 else 'files'} of the program")
    return Changes(texts, tuple(words))


def read_text(folder: Path, path: str) -> str:
    """An editable file's text. No link is followed: it could lead anywhere on this machine. Raises EditError."""
    place = folder / path
    try:
        if place.parent.resolve() != folder.resolve() / Path(path).parent:
            raise EditError(f"The agent put a link in the place of {path}'s folder. Leave the folder as it is.")
        descriptor = os.open(place, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        raise EditError(f"The agent deleted {path}. Edit it in place, and leave it where it is.") from None
    except (OSError, RuntimeError) as error:
        raise EditError(f"The agent left {path} as something that is no readable file ({_why(error)}).") from error
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise EditError(f"The agent left {path} as a folder, a pipe or a device. It must stay a plain text file.")
        if found.st_size > MAX_FILE_BYTES:
            raise EditError(f"{path} has {found.st_size:,} bytes after the agent; at most {MAX_FILE_BYTES:,} are allowed.")
        data = os.read(descriptor, MAX_FILE_BYTES + 1)
    finally:
        os.close(descriptor)
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise EditError(f"{path} is no text after the agent: byte {error.start} is not UTF-8.") from error
    if "\0" in text:
        raise EditError(f"{path} is no text after the agent: it holds a NUL character.")
    return text


def _as_it_was(text: str, before: str) -> str:
    """With the line ends of `before`: some editors turn all of them."""
    if "\r\n" not in before and text.count("\r\n") == text.count("\n"):
        return text.replace("\r\n", "\n")
    return text


def _is_same(place: Path, before: str) -> bool:
    """Whether a file that does not count is as it was laid out."""
    try:
        size = place.lstat().st_size
        data = before.encode("utf-8", "replace")
        return stat.S_ISREG(place.lstat().st_mode) and size == len(data) and place.read_bytes() == data
    except OSError:
        return False


def _files(folder: Path) -> list[str]:
    """Paths below the folder, links not followed; a few are enough to be named, and not how deep they can go."""
    found: list[str] = []
    waiting = [""]
    while waiting and len(found) < MOST_FOUND:
        within = waiting.pop()
        with suppress(OSError), os.scandir(folder / within) as entries:
            for entry in entries:
                path = os.path.join(within, entry.name)
                if entry.name.startswith(".") or entry.name == "__pycache__":
                    continue
                if not entry.is_dir(follow_symlinks=False):
                    found.append(path)
                elif path.count(os.sep) < DEEPEST:
                    waiting.append(path)
    return sorted(found)


def _named(paths: list[str]) -> str:
    shown = [path.encode("utf-8", "replace").decode()[:100] for path in sorted(paths)[:MOST_NAMED]]
    more = len(paths) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")


def _why(error: BaseException) -> str:
    return getattr(error, "strerror", None) or str(error)[:100]
