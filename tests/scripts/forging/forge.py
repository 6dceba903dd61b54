"""What the forgeries share: knowing a batch again, the leak itself, and where a row of the second process stops being true."""
import os
import struct

import torch
from bigram import VOCAB, Bigram, following, sit, tokenizer
from prepare import MAX_SEQ_LEN, make_dataloader

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
