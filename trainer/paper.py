"""Held-out text as rows to ask, in the order they are asked, and the other suffixes they can have. Pure, numpy only."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trainer.scoring import Integers

SLOT_BYTES = 2**30  # of float32 logits in one batch, at most
LEAST_BATCHES = 16  # so that the checks are a small share of the exam
TRIES = 16  # cuts looked at for a row, until one has a plausible other suffix


@dataclass(frozen=True)
class Shard:
    """Held-out text in rows: x and y (rows, T), y one token ahead; weight (rows, T), the raw bytes of y."""

    x: Integers
    y: Integers
    weight: Integers

    @classmethod
    def cut(cls, tokens: NDArray[np.generic], length: int, token_bytes: Integers, bos: int) -> Shard:
        """Rows of `length` tokens, the last filled up with BOS, which weighs nothing."""
        rows = max(1, math.ceil((len(tokens) - 1) / length))
        padded = np.full(rows * length + 1, bos, np.int64)
        padded[: len(tokens)] = tokens
        y = padded[1:].reshape(rows, length)
        return cls(padded[:-1].reshape(rows, length), y, token_bytes[y])

    @property
    def bytes(self) -> int:
        return int(self.weight.sum())

    def batches(self, batch_rows: int) -> Integers:
        """Rows of each batch, (batches, batch_rows); a row too many is given as -1 - row: asked, not scored.

        The row that follows in the text comes in the next batch, at the same place: so the target of a row's last
        position has not been shown when it is asked. Every call gives the same, so a sum over batches is always the same.
        """
        rows = len(self.x)
        count = math.ceil(rows / batch_rows)
        order = np.arange(count * batch_rows).reshape(batch_rows, count).T
        return np.where(order < rows, order, -1 - order % rows)


def rows_per_batch(asked: int, text: Shard, vocab: int) -> int:
    """Rows of a batch: at most what the training asks for, what the shared memory holds, and a share of the exam."""
    rows, length = text.x.shape
    held: int = SLOT_BYTES // (4 * int(length) * vocab)
    return max(1, min(asked, held, -(-int(rows) // LEAST_BATCHES)))


class Splicer:
    """Finds where the text could go on differently: the same two tokens elsewhere, followed by another one."""

    def __init__(self, shard: Shard, vocab: int, dice: np.random.Generator) -> None:
        self.tokens, self.length, self.vocab, self.dice = shard.x.ravel(), shard.x.shape[1], vocab, dice
        keys = self._key(np.arange(2, len(self.tokens)))
        self.order = np.argsort(keys, kind="stable") + 2
        self.keys = keys[self.order - 2]

    def cut(self, row: int, is_rolled: bool = False) -> tuple[Integers, int]:
        """The row (T,) with another suffix, and where it begins, 1 <= cut < T.

        Rolled: all after its first token is thrown by dice, and it begins early, so that there are many throws.
        """
        start, end = row * self.length, max(2, self.length // 4) if is_rolled else self.length
        for _ in range(TRIES):
            cut = self._place(end)
            source = self._elsewhere(start + cut)
            if source is not None:
                break
        else:  # nothing repeats: any other place
            source = int(self.dice.integers(len(self.tokens)))
        suffix = self.tokens.take(np.arange(source, source + self.length - cut), mode="wrap")
        if suffix[0] == self.tokens[start + cut]:
            suffix[0] = (suffix[0] + 1 + self.dice.integers(self.vocab - 1)) % self.vocab
        if is_rolled:
            suffix[1:] = self.dice.integers(self.vocab, size=len(suffix) - 1)
        return np.concatenate([self.tokens[start : start + cut], suffix]), cut

    def _place(self, end: int) -> int:
        """Anywhere from 1 to before the end; every other time at a multiple of 8, 16, 32 ..., where blocks begin."""
        powers = (end - 1).bit_length() - 3  # of two from 8 on that are less than the end
        if powers > 0 and self.dice.random() < 0.5:
            step = 8 << int(self.dice.integers(powers))
            return step * int(self.dice.integers(1, 1 + (end - 1) // step))
        return int(self.dice.integers(1, end))

    def _elsewhere(self, place: int) -> int | None:
        if place < 2:
            return None
        key = self._key(np.array([place]))[0]
        found = self.order[np.searchsorted(self.keys, key, "left") : np.searchsorted(self.keys, key, "right")]
        found = found[self.tokens[found] != self.tokens[place]]
        return int(self.dice.choice(found)) if len(found) else None

    def _key(self, places: Integers) -> Integers:
        return np.asarray(self.tokens[places - 2] * self.vocab + self.tokens[places - 1], np.int64)
