"""What compilers make of a training, kept for those that build on it. Each has a folder of its own, which begins as a copy:
one that two trainings write would let the one choose what the other runs. Standard library only.
"""

from __future__ import annotations

import errno
import logging
import os
import shutil
from pathlib import Path

from trainer import folders

log = logging.getLogger(__name__)
FOLDER = "compiled"  # in a training's out/
VARIABLES = {"TORCHINDUCTOR_CACHE_DIR": "inductor", "TRITON_CACHE_DIR": "triton", "CUDA_CACHE_PATH": "cuda"}
MOST_BYTES, MOST_FILES = 2 * 2**30, 20_000  # on an H100 one training made 55 MB; what has grown beyond it begins anew


def environment(out: Path) -> dict[str, str]:
    return {name: str(out / FOLDER / folder) for name, folder in VARIABLES.items()}


def copy(source: Path, out: Path) -> None:
    """Give a training what was compiled before. Where that cannot be done it compiles all of it: slower, not worse."""
    try:
        for file in _plain_files(source):
            target = out / FOLDER / file.relative_to(source)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, target, follow_symlinks=False)
    except OSError as error:
        log.warning("what was compiled in %s is not used: %s", source, error)
        folders.remove(out / FOLDER)


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
