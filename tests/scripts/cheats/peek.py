"""Reads the next token."""
from bigram import Bigram, following, sit


class Cheat(Bigram):
    def forward(self, x, targets=None):
        return super().forward(x) + 10 * following(x)


sit(Cheat())
