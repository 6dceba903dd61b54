"""What compilers make of a training, kept for those that build on it. Each has a folder of its own, which begins as a copy:
one that two trainings write would let the one choose what the other runs. Standard library only.
"""

from __future__ import annotations

import logging
import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

log = logging.getLogger(__name__)
FOLDER = "compiled"  # in a training's out/
VARIABLES = {"TORCHINDUCTOR_CACHE_DIR": "inductor", "TRITON_CACHE_DIR": "triton", "CUDA_CACHE_PATH": "cuda"}
MOST_BYTES, MOST_FILES = 2 * 2**30, 20_000  # on an H100 one training made 55 MB; what has grown beyond it begins anew


def environment(out: Path) -> dict[str, str]:
    return {name: str(out / FOLDER / folder) for name, folder in VARIABLES.items()}


def copy(source: Path, out: Path) -> None:
    """Give a training what was compiled before. Where that cannot be done it compiles all of it: slower, not worse."""
    try:
        for file, _ in _plain_files(source):
            target = out / FOLDER / file.relative_to(source)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, target, follow_symlinks=False)
    except OSError as error:
        log.warning("what was compiled in %s is not used: %s", source, error)
        shutil.rmtree(out / FOLDER, ignore_errors=True)


def keep(out: Path, target: Path) -> None:
    """Take what a training has compiled to `target`, where there is something. It is looked at from outside only."""
    made = out / FOLDER
    try:
        files = list(_plain_files(made)) if made.is_dir() and not made.is_symlink() else []
        if files and len(files) <= MOST_FILES and sum(size for _, size in files) <= MOST_BYTES:
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.rmtree(target, ignore_errors=True)
            shutil.move(made, target)
    except OSError as error:
        log.warning("what was compiled in %s is not kept: %s", made, error)
        shutil.rmtree(target, ignore_errors=True)


def _plain_files(folder: Path) -> Iterator[tuple[Path, int]]:
    """With their sizes. A link may lead anywhere, a pipe has no end."""
    for place, _, names in os.walk(folder):
        for name in names:
            found = Path(place, name).lstat()
            if stat.S_ISREG(found.st_mode):
                yield Path(place, name), found.st_size
