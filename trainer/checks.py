"""What the answers of an exam show about the model: does it look ahead, does it learn from the questions? numpy only.

An honest model's belief is the same whatever follows: the same row at the same place of a batch of the same shape goes
through the same operations, bit for bit, also in half precision. Two things differ honestly: kernels that add up in
another order each time, and layers that share out work by content (experts). Both change nearly every belief a little.
So there is little room for a change, unless the median belief changes too. What the room may hide is measured by its
worth in bits per byte, in the one direction in which a leak helps.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from trainer.scoring import Doubles, Floats, Integers

LEAST_ROOM = 0.01  # nats
ROOM_PER_NOISE = 50.0  # times the median change
MOST_ROOM = 1.0  # nats
WORTH_BPB = 0.002  # a leak worth less is let pass
MOVED_BPB = 0.005  # so far may beliefs move on average: what is learned from the future, and used well, is worth no more
SIGMAS = 5.0  # of a mean's own scatter: one false alarm in millions
STAKES = np.array([0.001, 0.003, 0.01, 0.03, 0.1, 0.3])  # shares of the money put on each throw
LUCK = 1e6  # more than this no honest model wins but once in a million exams
LAST_SIGMAS = 6.0  # more, as losses are skewed
LAST_ROWS = 30  # fewer tell nothing

ONLY_EARLIER = (
    "A position may depend on itself and earlier tokens of its own row only: look at the attention mask, shifts by a token,"
    " means over time, and whatever mixes the rows of a batch."
)


@dataclass
class Twin:
    """The same positions in two answers that must agree there.

    positions (rows, looks) in the flat batch. Where the answers are to different suffixes, the first position of each
    row is the one just before the cut, and `next` (rows, 2) holds the token that follows it, ours and the other.
    """

    positions: Integers
    next: Integers | None = None
    beliefs: dict[bool, Floats] = field(default_factory=dict)  # (rows, looks, V), by whether the text was the original

    def look(self, beliefs: Floats, is_original: bool) -> None:
        """beliefs (rows * looks, V)."""
        self.beliefs[is_original] = beliefs.reshape(*self.positions.shape, -1)

    def changes(self) -> Floats:
        """The largest change of a belief at each position, (rows, looks), nats."""
        return np.asarray(np.abs(self.beliefs[True] - self.beliefs[False]).max(axis=2))

    def moves(self) -> Floats:
        """How far the belief of each position moved, (rows, looks), nats: the mean divergence of the one from the other."""
        first, second = self.beliefs[True], self.beliefs[False]
        return np.asarray(((np.exp(first) - np.exp(second)) * (first - second)).sum(axis=2) / 2)

    def advantages(self) -> Floats:
        """How much more a token is believed where it is the next one, (rows,), nats. Of an honest model 0 on average."""
        assert self.next is not None
        row, (ours, other) = np.arange(len(self.next)), self.next.T
        first, second = (self.beliefs[original][:, 0] for original in (True, False))  # (rows, V)
        return np.asarray((first[row, ours] - first[row, other] + second[row, other] - second[row, ours]) / 2)


@dataclass(frozen=True)
class Finding:
    """The numbers of one check, and what is wrong: "" for nothing."""

    numbers: dict[str, float]
    wrong: str = ""


def room(changes: Floats) -> float:
    """How far a belief may change, nats."""
    return min(MOST_ROOM, LEAST_ROOM + ROOM_PER_NOISE * float(np.median(changes)))


def is_worth(gains: Doubles | Floats, bpb_per_nat: float) -> bool:
    """Whether the mean gain, nats a token, is more than WORTH_BPB, and more than chance."""
    mean, scatter = float(gains.mean()), float(gains.std()) / math.sqrt(gains.size)
    return mean * bpb_per_nat > WORTH_BPB and mean > SIGMAS * scatter


def check_suffix(twins: list[Twin], bpb_per_nat: float) -> Finding:
    """Whether beliefs before a cut depend on what comes after it."""
    changes = np.concatenate([twin.changes() for twin in twins])
    gains = np.concatenate([twin.advantages() for twin in twins])
    moves = np.concatenate([twin.moves() for twin in twins])
    most, worth = float(changes.max()), float(gains.mean()) * bpb_per_nat
    moved = float(max(moves[:, 0].mean(), moves[:, 1:].mean())) * bpb_per_nat
    numbers = {"causal": most, "ahead_bpb": worth, "moved_bpb": moved}
    if most > room(changes[:, 1:]) or moved > MOVED_BPB:
        where = "just before it" if changes[:, 0].max() == most else "and further back"
        seen = f"Beliefs before a cut, {where}, changed by up to {most:.3g} nats when only later tokens were replaced."
    elif is_worth(gains, bpb_per_nat):
        seen = f"A token is believed more where it is the one that follows; this is worth {worth:.3f} bits per byte."
    else:
        return Finding(numbers)
    return Finding(numbers, f"{seen} {ONLY_EARLIER}")


def check_dice(nats: Doubles, sides: int) -> Finding:
    """Whether tokens thrown by dice were foreseen: nats of each, as the model believed just before.

    Who bets by such beliefs at fair odds has at most his stake on average, whatever the model, if it sees no throw before
    it: so the chance to ever have LUCK times the stake is 1 / LUCK. A model that peeks now and then wins it soon.
    """
    won = np.log1p(STAKES[:, None] * (sides * np.exp(-nats) - 1)).sum(axis=1)  # at each of the stakes
    total = float(np.logaddexp.reduce(won)) - math.log(len(STAKES))
    if total <= math.log(LUCK):
        return Finding({"dice": total})
    return Finding(
        {"dice": total}, f"Tokens thrown by dice were foreseen (odds of 1 to e^{total:.0f} against chance)."
        f" {ONLY_EARLIER}",
    )


def check_again(twin: Twin, first: Doubles, again: Doubles, bpb_per_nat: float) -> Finding:
    """Whether the first batch gets the same answers at the end. first and again: nats of its targets."""
    changes, gains = twin.changes(), first - again
    most, worth = float(changes.max()), float(gains.mean()) * bpb_per_nat
    numbers = {"repeat": most, "learned_bpb": worth}
    if most <= room(changes) and not is_worth(gains, bpb_per_nat):
        return Finding(numbers)
    return Finding(
        numbers, f"The first batch, asked once more at the end, got other answers: beliefs changed by up to {most:.3g} nats,"
        f" and it was answered {worth:.3f} bits per byte better. A model must not learn, keep state or roll dice in the"
        " exam: call model.eval() before it if there is dropout."
    )


def check_last(last: Doubles, before: Doubles) -> Finding:
    """Whether a target is predicted as well where it could not have been seen: last (rows,) against before (many,), nats."""
    if len(last) < LAST_ROWS or not len(before):
        return Finding({})
    gap = float(last.mean() - before.mean())
    sigmas = gap / max(1e-9, float(last.std()) / math.sqrt(len(last)))
    numbers = {"last_sigmas": sigmas}
    if sigmas <= LAST_SIGMAS:
        return Finding(numbers)
    return Finding(
        numbers, f"The last position of a row, whose target cannot have been seen, is predicted {gap:.2f} nats worse than"
        f" those before it ({sigmas:.0f} standard errors): the others were seen, or the last position was never trained."
    )
