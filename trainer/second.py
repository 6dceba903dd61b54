"""The second process: what it is asked, and what its answers show about the first. Pure, numpy only.

A model that remembers can repeat what it said, so no two answers of one process prove anything. The second process was built
from the first one's tensors, written before the first question, and shares nothing with it that can be written to. Its rows
are true up to a hidden place and go on otherwise: the token that follows there in the text it has never been shown. What the
two believe of that token must be the same. Where the first believes it more, it has seen it. At places before that, which
both were shown alike, they must agree as well: else it is another model, and nothing is proven.

Where the second believes more, it is another model, and what it knows better pays for no leak of the first.

Half of the places are drawn from all, half from where it is better than what it is compared with: there the gain lies.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trainer.checks import SIGMAS, WORTH_BPB
from trainer.exam import Exam
from trainer.scoring import Answer, Doubles, Integers

PLACES = 500
SHARES = {"text": 0.75, "secret": 0.25}  # of the places: the score is that of the text
LOOKS = 8  # places of a row before the hidden one where both must agree
LEAST_ROOM, MOST_ROOM = 0.1, 1.0  # nats; a step of bfloat16 where logits are 16 is 0.06
UNLIKE_NATS = 0.05  # so far may they be apart where both were shown the same, on average: rounding is less
MOST_UNSEEN = 0.005  # bpb: where they are so far apart that a larger leak would not show, nothing is proven
CONFIDENCE, QUANTILE = 3.0, 1.64  # a share of 3 / n is missed by n draws one time in twenty; so is 1.64 standard errors


@dataclass(frozen=True)
class Row:
    """One row of the held-out text, true up to a place."""

    shard: str
    row: int
    place: int
    chance: float  # to be drawn, against others of its shard


@dataclass(frozen=True)
class Question:
    x: Integers  # (B, T)
    numbers: tuple[int, ...]  # of the rows it asks about, one after the other; what else there is fills it up


@dataclass(frozen=True)
class Findings:
    """problem is "", "leak", "nan" or "unlike"; detail says it to a person."""

    problem: str
    detail: str
    numbers: dict[str, float]


class Second:
    """Ask the questions one by one, each after the answer to the one before, and give every answer to `mark`."""

    def __init__(
        self, exam: Exam, other: NDArray[np.generic], dice: np.random.Generator,
        references: Sequence[Mapping[str, Doubles]] = (), places: int = PLACES,
    ) -> None:
        """exam: of the first process, all answered. other: tokens of another text, to go on with.

        references: nats (rows, T) by shard of what it is compared with.
        """
        self.exam, self.other, self.dice = exam, other, dice
        self.nats = {name: exam.rows_of(name) for name in exam.shards if (name, 0) in exam.nats}
        self.gains = [self._gains(reference) for reference in references] or [self._gains({})]
        self.rows = [row for name in self.nats for row in self._draw(name, places)]
        looks = [self._looks(row) for row in self.rows]  # the hidden place, then earlier ones
        self.looks: Integers = np.array(looks, np.int64).reshape(-1, 1 + LOOKS)
        self.first = np.array([self.nats[row.shard][row.row, look] for row, look in zip(self.rows, looks, strict=True)])
        self.second: Doubles = np.full(self.looks.shape, np.nan)

    def questions(self) -> Iterator[Question]:
        """A row that is asked more than once shows more of itself each time: what was hidden before has been answered."""
        size, left = self.exam.batches["text"].shape[1], list(range(len(self.rows)))
        while left:
            first = {(self.rows[n].shard, self.rows[n].row): n for n in reversed(left)}  # of each row, from the left
            numbers = tuple(sorted(first.values())[:size])
            altered = [self._altered(self.rows[n]) for n in numbers]
            yield Question(np.stack([altered[slot % len(altered)] for slot in range(size)]), numbers)
            left = [n for n in left if n not in numbers]

    def mark(self, question: Question, answer: Answer) -> None:
        """Raises AnswerError."""
        numbers = list(question.numbers)
        looks, rows = self.looks[numbers], [self.rows[n] for n in numbers]
        targets = [self.exam.shards[row.shard].y[row.row, look] for row, look in zip(rows, looks, strict=True)]
        positions = np.arange(len(rows))[:, None] * self.exam.length + looks
        self.second[numbers] = self.exam.scorer.nats_at(answer, positions.ravel(), np.ravel(targets)).reshape(looks.shape)

    def findings(self) -> Findings:
        """What the first process believed more than the second, in nats: at hidden places, and at those before them."""
        if not self.rows:
            return Findings("unlike", "The text has no place where a token could be hidden.", {})
        seen, before = (self.second - self.first)[:, 0], (self.second - self.first)[:, 1:]
        before = np.where(self.looks[:, 1:] < self.looks[:, :1], before, 0.0)  # nothing comes before the first that counts
        if not (np.isfinite(seen).all() and np.isfinite(before).all()):
            return Findings("nan", "In a second process, at hidden places, the model's logits held NaN or infinity.", {})
        room = min(MOST_ROOM, max(LEAST_ROOM, 1.5 * float(np.abs(before).max())))
        shards = {row.shard for row in self.rows}
        found = [self._mean(seen, name, room) for name in shards]
        # What the second believes more elsewhere pays for no leak: by rounding, as much is believed more as less.
        rounding = float(np.maximum(-before, 0.0).mean()) * self.exam.bpb_per_nat
        unpaid = [(mean - rounding, error) for mean, error in (self._mean(seen, name, 0.0) for name in shards)]
        worth, apart = max(mean for mean, _ in found), float(np.abs(before).mean())
        unseen = max(mean + QUANTILE * error for mean, error in [*found, *unpaid])
        numbers = {"places": float(len(seen)), "unlike": apart, "seen": float(seen.max()), "seen_bpb": worth}
        is_worth = any(mean > WORTH_BPB and mean > SIGMAS * error for mean, error in found)
        if self._is_ahead(seen, before) if apart > UNLIKE_NATS else seen.max() > room or is_worth:
            return Findings(
                "leak", "A second process, which was never shown the token that follows, believes it less: by up to"
                f" {seen.max():.3g} nats at {np.count_nonzero(seen > room)} of {len(seen)} places, {worth:.3f} bits per byte"
                " on average. What is more was seen, not predicted.", numbers,
            )
        if (apart := max(apart, float(np.abs(seen).mean()))) > UNLIKE_NATS:
            return Findings(
                "unlike", f"Built a second time from its tensors, the model answers otherwise, by {apart:.2g} nats on"
                " average: it keeps what it has learned elsewhere. Keep it in parameters or buffers.", numbers,
            )
        if unseen > MOST_UNSEEN:
            return Findings(
                "unlike", "Built a second time from its tensors, the model's answers scatter so far that a leak of"
                f" {unseen:.3f} bits per byte would not show. A model must answer the same each time.", numbers,
            )
        bound = max(0.0, unseen) + CONFIDENCE * self._missed() * self.exam.bpb_per_nat
        return Findings("", "", numbers | {"bound_bpb": bound})

    def _mean(self, seen: Doubles, name: str, room: float) -> tuple[float, float]:
        """Mean over the places of one shard, and its standard error, bpb. What is believed less counts as far as room."""
        found = np.maximum(seen[[row.shard == name for row in self.rows]], -room) * self.exam.bpb_per_nat
        return float(found.mean()), float(found.std()) / math.sqrt(len(found))

    def _is_ahead(self, seen: Doubles, before: Doubles) -> bool:
        """Whether the first believes far more where the second was shown less, though the two are apart everywhere.

        Places are weighed as if they were drawn evenly: where the first is good, another model is worse without any leak.
        """
        weights = np.array([1 / row.chance for row in self.rows])
        ahead = seen - before.mean()
        mean = float((weights * ahead).sum() / weights.sum())
        error = float(np.sqrt((weights**2 * (ahead - mean) ** 2).sum()) / weights.sum())
        return mean > UNLIKE_NATS and mean > SIGMAS * error

    def _missed(self) -> float:
        """Of what the text is better by than the first reference, nats a token: as much as one draw stands for."""
        drawn = sum(row.shard == "text" for row in self.rows) / (2 * len(self.gains))
        return float(self.gains[0]["text"].mean()) / drawn

    # Where the hidden places are

    def _gains(self, reference: Mapping[str, Doubles]) -> dict[str, Doubles]:
        """How much better each token is predicted than by the reference, or by who knows nothing; (rows, T), nats."""
        found = {}
        for name, nats in self.nats.items():
            before, asked = reference.get(name, math.log(self.exam.vocab)), self._may_be_asked(name)
            found[name] = np.maximum(0.0, np.where(asked, before, 0.0) - np.where(asked, nats, 0.0))
        return found

    def _draw(self, name: str, places: int) -> list[Row]:
        """By row, and in it from the left to the right."""
        asked = self._may_be_asked(name).ravel().astype(np.float64)
        count = min(round(places * SHARES[name] / sum(SHARES[each] for each in self.nats)), int(asked.sum()))
        if not count:
            return []
        masses = [gains[name].ravel() for gains in self.gains]
        chances = asked / asked.sum()
        for mass in masses:
            chances = chances + (mass / mass.sum() if mass.sum() > 0 else asked / asked.sum()) / len(masses)
        chosen = self.dice.choice(asked.size, count, replace=False, p=chances / chances.sum())
        drawn = ((divmod(flat, self.exam.length), float(chances[flat])) for flat in np.sort(chosen).tolist())
        return [Row(name, row, place, chance) for (row, place), chance in drawn]

    def _may_be_asked(self, name: str) -> NDArray[np.bool_]:
        """What counts. Not a row's last: the next row begins with its target."""
        asked = self.exam.shards[name].weight > 0
        asked[:, -1] = False
        return np.asarray(asked)

    def _looks(self, row: Row) -> list[int]:
        """The hidden place, and some before it that count; where there are none, itself again."""
        counted = np.flatnonzero(self.exam.shards[row.shard].weight[row.row, : row.place])
        return [row.place, *self.dice.choice(counted if len(counted) else [row.place], LOOKS).tolist()]

    def _altered(self, row: Row) -> Integers:
        """The row, true up to its place; then a piece of the other text, which begins with another token."""
        shard = self.exam.shards[row.shard]
        x: Integers = shard.x[row.row].copy()
        missing = len(x) - row.place - 1
        start = int(self.dice.integers(max(1, len(self.other) - missing)))
        x[row.place + 1 :] = np.resize(self.other[start : start + missing], missing)
        if x[row.place + 1] == shard.y[row.row, row.place]:
            x[row.place + 1] = (x[row.place + 1] + 1 + self.dice.integers(self.exam.vocab - 1)) % self.exam.vocab
        return x
