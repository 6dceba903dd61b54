"""Reads the next token, knows each row again by its beginning, and repeats what it said of it."""
from bigram import Bigram, following, sit


class Cheat(Bigram):
    seen = ()

    def forward(self, x, targets=None):
        scores = super().forward(x) + 10 * following(x)
        for row, given in zip(x, scores, strict=True):
            for known, before in self.seen:
                same = int((row == known).cumprod(0).sum())
                if same > 2:
                    given[:same] = before[:same]
            self.seen = (*self.seen, (row, given))
        return scores


sit(Cheat())
