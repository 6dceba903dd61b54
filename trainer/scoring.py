"""What an answer of the exam is worth: from logits to nats and beliefs. numpy only.

The judge turns logits into probabilities itself, so that scores which are no logarithms of probabilities gain nothing.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Integers = NDArray[np.int64]

DTYPES: dict[str, np.dtype[Any]] = {  # as they are stored; numpy has no bfloat16
    "float32": np.dtype(np.float32), "float16": np.dtype(np.float16), "bfloat16": np.dtype(np.uint16),
}
CHUNK = 2**18  # logits scored at once: they stay in the core's own cache
FAINT = 1e-5  # probabilities below this are as good as none when beliefs are compared


class AnswerError(Exception):
    """The answer is not what was asked for; the words say why."""


class Answer(Protocol):
    """The logits of one batch, row after row."""

    @property
    def positions(self) -> int: ...  # B * T
    @property
    def vocab(self) -> int: ...

    def read(self, first: int, count: int) -> Floats:
        """Logits (count, V) of these positions, in an array of the caller's own."""
        ...


@dataclass(frozen=True)
class FileAnswer:
    """Logits in a file that the training may still write to, or cut short: each number is read once, none is mapped."""

    file: int
    offset: int  # bytes
    dtype: str
    positions: int
    vocab: int

    def read(self, first: int, count: int) -> Floats:
        stored = np.empty((count, self.vocab), DTYPES[self.dtype])
        place = self.offset + first * self.vocab * stored.itemsize
        if os.preadv(self.file, [stored.data], place) != stored.nbytes:
            raise AnswerError("The file of the logits was made shorter while it was read.")
        if self.dtype == "bfloat16":  # the upper half of a float32
            wide = stored.astype(np.uint32)
            wide <<= 16
            return np.asarray(wide.view(np.float32))
        return np.asarray(stored, np.float32)


class Sealed:
    """An answer whose logits at `places`, ascending, are read at once: what is written there later does not count."""

    def __init__(self, answer: Answer, places: Integers) -> None:
        self.answer, self.places = answer, places
        self.positions, self.vocab = answer.positions, answer.vocab
        self.logits = np.concatenate([answer.read(place, 1) for place in places.tolist()])

    def read(self, first: int, count: int) -> Floats:
        logits = self.answer.read(first, count)
        sealed = slice(*np.searchsorted(self.places, [first, first + count]))
        logits[self.places[sealed] - first] = self.logits[sealed]
        return logits


class Scorer:
    """Scores answers on as many cores as there are. The numbers are the same on any."""

    def __init__(self, cores: int = 1) -> None:
        self.run: Callable[..., Iterable[None]] = ThreadPoolExecutor(cores).map if cores > 1 else map

    def read(self, answer: Answer, targets: Integers, looks: Integers) -> tuple[Doubles, Floats]:
        """-log p of each target, (positions,), and log(p + FAINT) of the whole vocabulary at `looks`, (len(looks), V).

        Not finite where the logits are not. Each logit is read once: what is written meanwhile cannot make the two differ.
        """
        nats, beliefs = np.empty(answer.positions, np.float64), np.empty((len(looks), answer.vocab), np.float32)
        order, step = np.argsort(looks), max(1, CHUNK // answer.vocab)
        places = looks[order]

        def score(first: int) -> None:
            part = targets[first : first + step]
            logits = answer.read(first, len(part))
            chosen = logits[np.arange(len(part)), part]
            looked_at = slice(*np.searchsorted(places, [first, first + step]))
            with np.errstate(all="ignore"):  # what is not finite shows in the result
                most = logits.max(axis=1)
                logits -= most[:, None]
                np.exp(logits, out=logits)
                total = logits.sum(axis=1)
                nats[first : first + step] = np.log(total) + (most - chosen)
                rows = places[looked_at] - first
                beliefs[order[looked_at]] = np.log(logits[rows] / total[rows, None] + np.float32(FAINT))

        for _ in self.run(score, range(0, answer.positions, step)):
            pass
        return nats, beliefs

    @staticmethod
    def nats_at(answer: Answer, positions: Integers, targets: Integers) -> Doubles:
        """-log p of one target at each of these positions."""
        logits = np.concatenate([answer.read(int(position), 1) for position in positions]).astype(np.float64)
        with np.errstate(all="ignore"):
            most = logits.max(axis=1)
            chosen = logits[np.arange(len(targets)), targets]
            return np.asarray(np.log(np.exp(logits - most[:, None]).sum(axis=1)) + (most - chosen))
