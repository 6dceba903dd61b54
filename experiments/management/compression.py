"""Static files also as .gz beside them, once: whitenoise sends those, and a first visit weighs a third."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

KINDS = {".js", ".css", ".svg"}
WORTH_BYTES = 1400  # below it fits one packet anyway


def compress(folder: Path) -> str:
    """What could not be written, for a person; empty: all is there."""
    for path in folder.rglob("*"):
        if path.suffix in KINDS and path.stat().st_size > WORTH_BYTES:
            small = path.with_name(f"{path.name}.gz")
            if small.exists() and small.stat().st_mtime_ns >= path.stat().st_mtime_ns:
                continue
            try:
                _write(small, gzip.compress(path.read_bytes(), 9, mtime=0))
            except OSError as error:
                return f"Pages load more bytes than they need: {small} cannot be written ({error.strerror})."
    return ""


def _write(path: Path, data: bytes) -> None:
    """Whole or not at all: several installations may start from one checkout."""
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    draft.write_bytes(data)
    draft.replace(path)
