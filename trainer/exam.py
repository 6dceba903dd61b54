"""The exam: what a model is asked, and its marks. Pure: no file, no process, no clock.

The held-out text is scored once, in rows of T tokens. A model is given each row whole, so it must be shown that it
looks at no token before it predicts it. Between the scored batches come others, at secret places:

    suffix    a scored batch again, each row with other text after a secret cut, as plausible as the old where it begins.
              What the model believes before the cut must not change. In every other row all after the first new token
              is thrown by dice: no honest model foresees that, not even now and then.
    again     the first batch once more, at the very end. Nothing may have been learned from the exam.

And one check needs no question:

    last      the target of a row's last position has not been shown in any form when the model answers. There it must
              be as good as just before, whatever it remembers or recognises.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trainer.checks import Finding, Twin, check_again, check_dice, check_last, check_suffix
from trainer.paper import Shard, Splicer
from trainer.scoring import Answer, Doubles, Integers, Scorer

CUTS = 128  # rows with another suffix, at most
SUFFIX_ONE_IN = 4  # and at most one such batch for so many scored ones
LOOKS = 32  # positions of a row whose beliefs are compared


@dataclass(frozen=True)
class Question:
    """One batch to ask."""

    x: Integers  # (B, T)
    scored: tuple[str, int] | None = None  # "text", "secret" or "again", and which batch of it
    thrown: Integers | None = None  # positions of the flat batch whose next token is a throw of dice
    looks: tuple[tuple[Twin, bool], ...] = ()

    @property
    def ends(self) -> Integers:
        """Positions of the flat batch whose targets it does not show, and the next question may."""
        rows, length = self.x.shape
        return np.asarray(np.arange(1, rows + 1) * length - 1)

    @property
    def places(self) -> Integers:
        """Positions of the flat batch whose beliefs are wanted, one twin's after another's."""
        return np.concatenate([np.empty(0, np.int64), *(twin.positions.ravel() for twin, _ in self.looks)])


@dataclass(frozen=True)
class Marks:
    """What the exam showed. problem is "", "nan" or "leak"; detail says it to a person."""

    val_bpb: float | None
    secret_bpb: float | None
    problem: str
    detail: str
    checks: dict[str, float]


class Exam:
    """Ask the questions of each stage in their order, give every answer to `mark`, then read `marks`."""

    def __init__(
        self, shards: dict[str, Shard], batch_rows: int, vocab: int, dice: np.random.Generator,
        secret_below: float | None = None, scorer: Scorer | None = None,
    ) -> None:
        """shards: "text", and "secret" where there is one: asked when the text scored below `secret_below`, None: always."""
        self.shards, self.vocab, self.dice, self.secret_below = shards, vocab, dice, secret_below
        self.scorer = scorer or Scorer()
        self.batches = {name: shard.batches(batch_rows) for name, shard in shards.items()}
        self.length = shards["text"].x.shape[1]
        self.nats: dict[tuple[str, int], Doubles] = {}  # (B, T) of the targets
        self.first = Twin(self._looks(np.full(batch_rows, self.length)))
        self.suffix_twins: list[Twin] = []
        self.thrown: list[Doubles] = []  # nats of the throws
        self.unseen: list[int] = []  # batches whose last targets had not been shown

    def stages(self) -> Iterator[list[Question]]:
        """Lists of questions. A list depends on the answers to those before it."""
        yield self._text_and_suffixes()
        again = Question(self._rows("x", "text", 0), ("again", 0), looks=((self.first, False),))
        secret = range(len(self.batches["secret"]) if self._is_secret_due() else 0)
        yield [*(self._scored("secret", batch) for batch in secret), again]

    def mark(self, question: Question, answer: Answer) -> None:
        """Raises AnswerError."""
        nats, beliefs = self.scorer.read(answer, self._targets(question).ravel(), question.places)
        if question.scored:
            self.nats[question.scored] = nats.reshape(question.x.shape)
        if question.thrown is not None:
            self.thrown.append(nats[question.thrown])
        for twin, is_original in question.looks:
            seen, beliefs = np.split(beliefs, [twin.positions.size])
            twin.look(seen, is_original)

    def marks(self) -> Marks:
        text = self._bpb("text")
        secret = self._bpb("secret") if ("secret", 0) in self.nats else None
        if not math.isfinite(text) or not math.isfinite(secret or 0.0) or not self._are_beliefs_finite():
            return Marks(None, None, "nan", "The model's logits held NaN or infinity.", {})
        findings = self._findings()
        checks = {name: number for finding in findings for name, number in finding.numbers.items()}
        wrong = [finding.wrong for finding in findings if finding.wrong]
        if wrong:
            return Marks(None, None, "leak", wrong[0], checks)
        return Marks(text, secret, "", "", checks)

    # What is known of it

    @property
    def bpb_per_nat(self) -> float:
        """Of one token of the text, on average."""
        text = self.shards["text"]
        return float(text.weight.size / text.bytes / math.log(2))

    def targets(self, name: str, batch: int) -> Integers:
        return self._rows("y", name, batch)

    def counted(self, name: str, batch: int) -> NDArray[np.bool_]:
        return np.asarray(self._weight(name, batch) > 0)

    def rows_of(self, name: str) -> Doubles:
        """Nats of every target of a shard that was asked, (rows, T)."""
        found: Doubles = np.empty(self.shards[name].x.shape)
        for batch, rows in enumerate(self.batches[name]):
            found[rows[rows >= 0]] = self.nats[name, batch][rows >= 0]
        return found

    # What is asked

    def _text_and_suffixes(self) -> list[Question]:
        """Every batch of the text in order, and between them, at any place, some of them with other suffixes."""
        count, rows = self.batches["text"].shape
        questions = {float(batch): self._scored("text", batch) for batch in range(count)}
        first_shown = dict(zip(range(count), questions, strict=True))
        chosen = min(max(1, count // SUFFIX_ONE_IN), math.ceil(CUTS / rows))
        splicer = Splicer(self.shards["text"], self.vocab, self.dice)
        for batch in self.dice.choice(count, chosen, replace=False).tolist():
            place = float(self.dice.uniform(-1, count))
            questions[place] = altered = self._other_suffix(batch, splicer)
            questions[batch] = self._scored("text", batch, altered.looks[0][0])
            first_shown[batch] = min(place, first_shown[batch])
        self.unseen = [batch for batch in range(count - 1) if first_shown[batch + 1] > batch]
        return [questions[place] for place in sorted(questions)]

    def _scored(self, name: str, batch: int, *twins: Twin) -> Question:
        looks = [self.first, *twins] if (name, batch) == ("text", 0) else twins
        return Question(self._rows("x", name, batch), (name, batch), looks=tuple((twin, True) for twin in looks))

    def _other_suffix(self, batch: int, splicer: Splicer) -> Question:
        """The batch with another suffix in each row."""
        rows = self._real(self.batches["text"][batch])
        is_rolled = (np.arange(len(rows)) + self.dice.integers(2)) % 2 == 1
        spliced = [splicer.cut(row, rolled) for row, rolled in zip(rows.tolist(), is_rolled.tolist(), strict=True)]
        x, cuts = np.stack([row for row, _ in spliced]), np.array([cut for _, cut in spliced])
        ours, other = (np.take_along_axis(tokens, cuts[:, None], 1) for tokens in (self._rows("x", "text", batch), x))
        twin = Twin(self._looks(cuts), np.concatenate([ours, other], axis=1))
        self.suffix_twins.append(twin)
        places = np.arange(self.length)
        thrown = is_rolled[:, None] & (places >= cuts[:, None]) & (places < self.length - 1)
        return Question(x, thrown=np.flatnonzero(thrown), looks=((twin, False),))

    def _looks(self, ends: Integers) -> Integers:
        """Positions of each row before its end, the last one first, (B, LOOKS), in the flat batch."""
        places: Integers = np.floor(self.dice.random((len(ends), LOOKS)) * ends[:, None]).astype(np.int64)
        places[:, 0] = ends - 1
        return np.asarray(places + np.arange(len(ends))[:, None] * self.length)

    @staticmethod
    def _real(rows: Integers) -> Integers:
        return np.asarray(np.where(rows < 0, -1 - rows, rows))

    def _rows(self, part: str, name: str, batch: int) -> Integers:
        """x, y or weight of a batch, (B, T)."""
        return np.asarray(getattr(self.shards[name], part)[self._real(self.batches[name][batch])])

    def _targets(self, question: Question) -> Integers:
        """(B, T). What was replaced has the next token of its own as target."""
        if not question.scored:
            return np.roll(question.x, -1)
        name, batch = question.scored
        return self.targets("text" if name == "again" else name, batch)

    def _is_secret_due(self) -> bool:
        return "secret" in self.shards and (self.secret_below is None or self._bpb("text") < self.secret_below)

    # What the answers show

    def _bpb(self, name: str) -> float:
        """Bits per byte, always added up in the same order. A special token weighs nothing, and costs nothing."""
        nats, size = 0.0, 0
        for batch in range(len(self.batches[name])):
            weight = self._weight(name, batch)
            nats += float(self.nats[name, batch][weight > 0].sum())
            size += int(weight.sum())
        return nats / (math.log(2) * size)

    def _weight(self, name: str, batch: int) -> Integers:
        """Bytes of each target, (B, T); none for a row that is asked once too often."""
        return np.asarray(self._rows("weight", name, batch) * (self.batches[name][batch] >= 0)[:, None])

    def _are_beliefs_finite(self) -> bool:
        seen = [found for twin in [self.first, *self.suffix_twins] for found in twin.beliefs.values()]
        return all(np.isfinite(found).all() for found in seen) and not any(np.isnan(nats).any() for nats in self.thrown)

    def _findings(self) -> list[Finding]:
        """The more particular first: who rolls dice fails every check."""
        counted = self.counted("text", 0)
        return [
            check_again(self.first, self.nats["text", 0][counted], self.nats["again", 0][counted], self.bpb_per_nat),
            check_suffix(self.suffix_twins, self.bpb_per_nat),
            check_dice(np.concatenate(self.thrown), self.vocab),
            check_last(*self._last_and_before()),
        ]

    def _last_and_before(self) -> tuple[Doubles, Doubles]:
        """Nats at the last positions, where their targets had not been shown, and all over the quarter before."""
        last, before = [np.empty(0)], [np.empty(0)]
        for batch in range(len(self.batches["text"])):
            nats, counted = self.nats["text", batch], self._weight("text", batch) > 0
            late = slice(self.length - 1 - self.length // 4, self.length - 1)
            before.append(nats[:, late][counted[:, late]])
            if batch in self.unseen:
                last.append(nats[:, -1][counted[:, -1]])
        return np.concatenate(last), np.concatenate(before)
