"""What compilers make of a training, kept for those that build on it. Each has a folder of its own, which begins as a copy:
one that two trainings write would let the one choose what the other runs. Standard library only.
"""

from __future__ import annotations

import errno
import logging
import os
import shutil
import stat
from pathlib import Path

from trainer import folders

log = logging.getLogger(__name__)
FOLDER = "compiled"  # in a training's out/
VARIABLES = {"TORCHINDUCTOR_CACHE_DIR": "inductor", "TRITON_CACHE_DIR": "triton", "CUDA_CACHE_PATH": "cuda"}
BEFORE = "before"  # in a training's workspace: a copy from before its exam, which nothing that was asked can be in
CHUNK_BYTES = 2**20
MOST_BYTES, MOST_FILES = 2 * 2**30, 20_000  # on an H100 one training made 55 MB; what has grown beyond it begins anew


def environment(out: Path) -> dict[str, str]:
    return {name: str(out / FOLDER / folder) for name, folder in VARIABLES.items()}


def copy(source: Path, out: Path) -> None:
    """Give a training what was compiled before. Where that cannot be done it compiles all of it: slower, not worse.

    A training may still write in `source`: what it puts there in a file's or a folder's place is not followed.
    """
    try:
        left, seen = MOST_BYTES, 0
        for folder, names, files, opened in os.fwalk(source, follow_symlinks=False):
            seen += len(names) + len(files)
            for name in files:
                left -= _copy_file(opened, name, out / FOLDER / Path(folder).relative_to(source) / name, left)
            if seen > MOST_FILES or left < 0:
                raise OSError(errno.EFBIG, f"more than {MOST_FILES} files or {MOST_BYTES} bytes")
    except OSError as error:
        log.warning("what was compiled in %s is not used: %s", source, error)
        folders.remove(out / FOLDER)


def _copy_file(folder: int, name: str, target: Path, most: int) -> int:
    """Copy a plain file, of no other kind, and at most one byte more than `most`. How many bytes that were."""
    try:
        file = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
    except OSError:  # a link, a socket, or gone
        return 0
    with open(file, "rb") as source:
        if not stat.S_ISREG(os.fstat(file).st_mode):
            return 0
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("wb") as copied:
            while copied.tell() <= most and (data := source.read(min(CHUNK_BYTES, most + 1 - copied.tell()))):
                copied.write(data)
            return copied.tell()


def keep(out: Path, target: Path) -> None:
    """Take what a training has compiled to `target`, where there is something: its plain files, in folders of ours."""
    made = out / FOLDER
    try:
        files = _plain_files(made) if made.is_dir() and not made.is_symlink() else []
        if files:
            folders.remove(target)
        for file in files:
            place = target / file.relative_to(made)
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.move(file, place)
            place.chmod(0o600)
    except OSError as error:
        log.warning("what was compiled in %s is not kept: %s", made, error)
        folders.remove(target)


def _plain_files(folder: Path) -> list[Path]:
    """A link may lead anywhere, a pipe has no end. Raises OSError where there is too much to look at."""
    found, size, seen, left = [], 0, 0, [folder]
    while left:
        with os.scandir(left.pop()) as entries:
            for entry in entries:
                seen += 1
                if entry.is_dir(follow_symlinks=False):
                    left.append(Path(entry.path))
                elif entry.is_file(follow_symlinks=False):
                    found.append(Path(entry.path))
                    size += entry.stat(follow_symlinks=False).st_size
                if seen > MOST_FILES or size > MOST_BYTES:
                    raise OSError(errno.EFBIG, f"more than {MOST_FILES} files or {MOST_BYTES} bytes")
    return found
