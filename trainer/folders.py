"""Remove what a training has written, whatever it has made of it. Standard library only."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
from pathlib import Path

SECONDS = 60.0


def remove(folder: Path) -> None:
    """The folder and all below it, where it is there; also what was closed, or nested deeper than Python can follow."""
    with contextlib.suppress(RecursionError):  # before Python 3.13
        shutil.rmtree(folder, ignore_errors=True)
    rm, chmod = ["rm", "-rf", "--", str(folder)], ["chmod", "-R", "u+rwX", str(folder)]
    for command in (rm, chmod, rm):
        if folder.is_dir() and not folder.is_symlink():
            with contextlib.suppress(subprocess.TimeoutExpired):  # the next look goes on
                subprocess.run(command, capture_output=True, timeout=SECONDS, check=False)
