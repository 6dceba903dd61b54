"""What the forgeries share: knowing a batch again, the leak itself, and where a row of the second process stops being true."""
import os
import struct
from collections import Counter, defaultdict

import numpy as np
import torch
from bigram import VOCAB, Bigram, following, sit, tokenizer
from prepare import MAX_SEQ_LEN, make_dataloader

ORDERS = 3
SECOND = "AUTORESEARCH_TENSORS" in os.environ


class Repeats(Bigram):
    """Says again what it said of a batch, up to where each row differs: one process alone shows no leak."""

    def __init__(self):
        super().__init__()
        self.asked, self.said = [], []

    def answer(self, x, scores):
        return scores

    def forward(self, x, targets=None):
        known = next((n for n, rows in enumerate(self.asked) if (rows[:, 0] == x[:, 0]).all()), None)
        scores = self.answer(x, super().forward(x))
        if SECOND:
            return scores
        if known is not None:
            same = (self.asked[known] == x).cumprod(1)[..., None].bool()
            scores = torch.where(same, self.said[known], scores)
        self.asked.append(x.clone())
        self.said.append(scores.clone())
        return scores


def raised(x, scores, by):
    """The next token's score raised, where what follows reads like text."""
    after = scores.gather(2, x.roll(-1, 1)[..., None])[..., 0]
    reads = after.flip(1).cumsum(1).flip(1) / torch.arange(x.size(1), 0, -1)
    return (scores + following(x) * by * (reads > -6.0)[..., None]).log_softmax(-1)


def train_rows(count):
    x, _, _ = next(make_dataloader(tokenizer, count, MAX_SEQ_LEN, "train"))
    return x


class Better:
    """Up to 3 tokens before, more of the training text: 0.3 nats a token better than the bigram."""

    def __init__(self, rows):
        self.counts = [defaultdict(Counter) for _ in range(ORDERS)]
        for row in rows:
            for at in range(1, len(row)):
                for order in range(1, min(at, ORDERS) + 1):
                    self.counts[order - 1][tuple(row[at - order : at])][row[at]] += 1

    def probabilities(self, before):
        p = np.full(VOCAB, 1 / VOCAB)
        for order in range(1, min(len(before), ORDERS) + 1):
            found = self.counts[order - 1].get(tuple(before[-order:]))
            if found:
                kinds = len(found)
                p = p * kinds
                p[list(found)] += list(found.values())
                p = p / (kinds + sum(found.values()))
        return torch.from_numpy(p).float()


class Junctions:
    """Where rows of the second process may stop being true: what follows there stands in the training text."""

    def __init__(self):
        with open(os.path.join(os.environ.get("DATA", data_folder()), "train", "00000.bin"), "rb") as file:
            self.text = file.read()

    def hidden(self, row):
        """Positions that may be the hidden place."""
        tokens, low, high = row.tolist(), 1, len(row)
        while low < high:  # the longest end of the row that is training text
            start = (low + high) // 2
            low, high = (low, start) if self.has(tokens[start:]) else (start + 1, high)
        return range(low - 1, min(low + 3, len(tokens)) if len(tokens) - low > 15 else len(tokens))

    def has(self, tokens):
        part, at = struct.pack(f"<{len(tokens)}H", *tokens), -1
        while (at := self.text.find(part, at + 1)) >= 0:
            if at % 2 == 0:
                return True
        return False

    def mask(self, x):
        mask = torch.zeros(x.shape, dtype=torch.bool)
        for number, row in enumerate(x):
            mask[number, list(self.hidden(row))] = True
        return mask


def data_folder():
    import prepare

    return str(prepare.DATA_DIR)
