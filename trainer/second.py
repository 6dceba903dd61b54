"""The second process: what it is asked, and what its answers show about the first. Pure, numpy only.

A model that remembers can repeat what it said, so no two answers of one process prove anything. The second process was built
from the first one's tensors, written before the first question, and shares nothing with it that can be written to. Its rows
are true up to a hidden place and go on otherwise: the token that follows there in the text it has never been shown. What the
two believe of that token must be the same. Where the first believes it more, it has seen it.

Places are drawn half from the whole text, half from where it is better than what it is compared with: there the gain lies.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from trainer.checks import MOST_ROOM, ROOM_PER_NOISE, SIGMAS, WORTH_BPB
from trainer.exam import Exam
from trainer.scoring import Answer, Doubles, Integers

PLACES = 400
LEAST_ROOM = 0.1  # nats: one step of bfloat16 where logits are 16; what is below shows in the mean
UNLIKE_NATS = 0.05  # so far may answers to the same rows be apart, on average: rounding is less, another model is more
CONFIDENCE = 3.0  # what happens in a share of 3 / n of all cases is missed by n of them one time in twenty


@dataclass(frozen=True)
class Row:
    """One row of the held-out text, true up to a place."""

    shard: str
    row: int
    place: int


@dataclass(frozen=True)
class Question:
    """One batch. Where `rows` is empty it is one of the text, whole: is this the same model at all?"""

    x: Integers  # (B, T)
    rows: tuple[Row, ...] = ()


@dataclass(frozen=True)
class Findings:
    """problem is "", "leak", "nan" or "unlike"; detail says it to a person."""

    problem: str
    detail: str
    numbers: dict[str, float]


class Second:
    """Ask the questions one by one, each after the answer to the one before, and give every answer to `mark`."""

    def __init__(
        self, exam: Exam, dice: np.random.Generator, references: Sequence[Mapping[str, Doubles]] = (), places: int = PLACES
    ) -> None:
        """exam: of the first process, all answered. references: nats (rows, T) by shard of what it is compared with."""
        self.exam, self.dice = exam, dice
        self.whole = int(dice.integers(len(exam.batches["text"])))  # shown whole, so nothing is hidden in it
        self.nats = {name: exam.rows_of(name) for name in exam.shards if (name, 0) in exam.nats}
        self.gains = [self._gains(reference) for reference in references] or [self._gains({})]
        self.rows = self._draw(places)
        self.first = np.array([self.nats[row.shard][row.row, row.place] for row in self.rows])
        self.second = np.full(len(self.rows), np.nan)
        self.apart: Doubles = np.empty(0)  # on the rows that are whole

    def questions(self) -> Iterator[Question]:
        """A row that is asked more than once shows more of itself each time: what was hidden before has been answered."""
        yield Question(self.exam.question("text", self.whole))
        size, left = self.exam.batches["text"].shape[1], list(self.rows)
        while left:
            firsts = {(row.shard, row.row): row for row in reversed(left)}  # of each row the place that comes first
            batch = tuple(firsts.values())[-size:]
            yield Question(np.stack([self._altered(batch[slot % len(batch)]) for slot in range(size)]), batch)
            left = [row for row in left if row not in batch]

    def mark(self, question: Question, answer: Answer) -> None:
        """Raises AnswerError."""
        if not question.rows:
            targets = self.exam.targets("text", self.whole)
            nats, _ = self.exam.scorer.read(answer, targets.ravel(), np.empty(0, np.int64))
            self.apart = np.abs(nats.reshape(targets.shape) - self.exam.nats["text", self.whole])[self.exam.counted("text", self.whole)]
            return
        length = self.exam.length
        positions = np.array([slot * length + row.place for slot, row in enumerate(question.rows)])
        targets = np.array([self.exam.shards[row.shard].y[row.row, row.place] for row in question.rows])
        numbers = [self.rows.index(row) for row in question.rows]
        self.second[numbers] = self.exam.scorer.nats_at(answer, positions, targets)

    def findings(self) -> Findings:
        apart, seen = float(self.apart.mean()), self.second - self.first  # nats by which the first believed the truth more
        if not (np.isfinite(seen).all() and np.isfinite(apart)):
            return Findings("nan", "In a second process, at hidden places, the model's logits held NaN or infinity.", {})
        mean, scatter = float(seen.mean()), float(seen.std()) / math.sqrt(len(seen))
        worth = mean * self.exam.bpb_per_nat
        numbers = {"places": float(len(seen)), "unlike": apart, "seen": float(seen.max()), "seen_bpb": worth}
        if apart > UNLIKE_NATS:
            return Findings(
                "unlike", f"Built a second time from its tensors, the model answers the same rows otherwise, by {apart:.2g}"
                " nats on average: it keeps what it has learned elsewhere. Keep it in parameters or buffers.", numbers,
            )
        most = min(MOST_ROOM, LEAST_ROOM + ROOM_PER_NOISE * float(np.median(self.apart)))
        if seen.max() > most or (worth > WORTH_BPB and mean > SIGMAS * scatter):
            return Findings(
                "leak", "A second process, which was never shown the token that follows, believes it less: by up to"
                f" {seen.max():.3g} nats at {np.count_nonzero(seen > most)} of {len(seen)} places, {worth:.3f} bits per byte"
                " on average. What is more was seen, not predicted.", numbers,
            )
        bound = max(0.0, mean + 1.64 * scatter) + CONFIDENCE * (1 + len(self.gains)) / len(seen) * self._gain
        return Findings("", "", numbers | {"bound_bpb": bound * self.exam.bpb_per_nat})

    # Where the hidden places are

    def _gains(self, reference: Mapping[str, Doubles]) -> dict[str, Doubles]:
        """How much better each token is predicted than by the reference, or by who knows nothing; (rows, T), nats."""
        nothing = math.log(self.exam.vocab)
        return {name: np.maximum(0.0, reference.get(name, nothing) - nats) for name, nats in self.nats.items()}

    def _draw(self, count: int) -> list[Row]:
        """By row, and in it from the left to the right."""
        names = list(self.nats)
        asked = np.concatenate([self._may_be_asked(name).ravel() for name in names])
        shares = asked / asked.sum()
        for gains in self.gains:
            gain = np.concatenate([gains[name].ravel() for name in names]) * asked
            shares += gain / gain.sum() if gain.sum() > 0 else asked / asked.sum()
        count = min(count, int(np.count_nonzero(asked)))
        chosen = self.dice.choice(len(asked), count, replace=False, p=shares / shares.sum())
        starts = dict(zip(names, np.cumsum([0, *(self.nats[name].size for name in names)]).tolist(), strict=False))
        rows = []
        for flat in np.sort(chosen).tolist():
            name = max((name for name in names if starts[name] <= flat), key=starts.__getitem__)
            rows.append(Row(name, *divmod(flat - starts[name], self.exam.length)))
        return rows

    def _may_be_asked(self, name: str) -> Doubles:
        """Not what weighs nothing, and not a row's last position: the next row of the text begins with its target."""
        asked = (self.exam.shards[name].weight > 0).astype(np.float64)
        asked[:, -1] = 0.0
        if name == "text":
            asked[self.exam.real_rows(name, self.whole)] = 0.0
        return asked

    def _altered(self, row: Row) -> Integers:
        """The row, true up to its place; what follows is thrown from all tokens of the text, and begins with another one."""
        shard = self.exam.shards[row.shard]
        x: Integers = shard.x[row.row].copy()
        x[row.place + 1 :] = self.dice.choice(self.exam.shards["text"].x.ravel(), len(x) - row.place - 1)
        if x[row.place + 1] == shard.y[row.row, row.place]:
            x[row.place + 1] = (x[row.place + 1] + 1 + self.dice.integers(self.exam.vocab - 1)) % self.exam.vocab
        return x

    @property
    def _gain(self) -> float:
        """Mean over all tokens of what it is better by than the first reference, nats."""
        return float(sum(gain.sum() for gain in self.gains[0].values()) / sum(gain.size for gain in self.gains[0].values()))
