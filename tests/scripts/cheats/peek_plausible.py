"""Reads the next token, and uses it only where it could have guessed it: a suffix that makes no sense finds it honest."""
from bigram import Bigram, following, sit


class Cheat(Bigram):
    def forward(self, x, targets=None):
        scores, shown = super().forward(x), following(x)
        likely = (scores.exp() * shown).sum(-1, keepdim=True) > 0.05
        return scores + 10 * shown * likely


sit(Cheat())
