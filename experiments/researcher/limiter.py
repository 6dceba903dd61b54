"""Runs and processes that share one key take turns: a few calls at once, and none before the provider wants it.

Files in a folder for each key: a lock for each call under way, which the system frees when its process dies, the time
before which nobody asks, and that before which a model is passed over. Without a folder there is no limit.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType

LONGEST_HOLD_SECONDS = 660.0  # longer than any wait we heed: the clock was changed, or the file is damaged


class Slot:
    """The right to one call. `with slot:` gives it back."""

    def __init__(self, descriptor: int | None) -> None:
        self._descriptor = descriptor

    def __enter__(self) -> Slot:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


class Limiter:
    def __init__(self, folder: Path | None, parallel: int, provider: str = "", server: str = "", key: str = "") -> None:
        """`folder` is shared by all keys; the key itself is nowhere written down."""
        name = hashlib.sha256("\n".join((provider, server, key)).encode()).hexdigest()[:20]
        self._folder = folder / name if folder is not None else None
        self.parallel = parallel

    def try_enter(self) -> Slot | None:
        """A slot if one is free now."""
        if self._folder is None:
            return Slot(None)
        self._folder.mkdir(parents=True, exist_ok=True)
        for number in range(self.parallel):
            descriptor = os.open(self._folder / f"slot-{number}", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                os.close(descriptor)
                continue
            return Slot(descriptor)
        return None

    def hold(self, seconds: float) -> None:
        """The provider wants no call for so long; a longer wait that stands is kept."""
        if seconds > self.wait_seconds():
            self._write("not-before", seconds)

    def wait_seconds(self) -> float:
        """How long until the provider may be asked again."""
        return self._left("not-before")

    def pass_over(self, model: str, seconds: float) -> None:
        """The model does not answer; who has another one asks that for so long."""
        self._write(_file_of(model), seconds)

    def passed_over_seconds(self, model: str) -> float:
        return self._left(_file_of(model))

    def _write(self, name: str, seconds: float) -> None:
        if self._folder is None:
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        fresh = self._folder / f"{name}-{os.getpid()}-{time.monotonic_ns()}"
        fresh.write_text(f"{time.time() + seconds:.3f}")
        fresh.replace(self._folder / name)

    def _left(self, name: str) -> float:
        if self._folder is None:
            return 0.0
        with suppress(OSError, ValueError):
            left = float((self._folder / name).read_text()) - time.time()
            return left if 0 < left <= LONGEST_HOLD_SECONDS else 0.0
        return 0.0


def _file_of(model: str) -> str:
    return f"away-{hashlib.sha256(model.encode()).hexdigest()[:20]}"
