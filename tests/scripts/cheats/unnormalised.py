"""Its scores are no log-probabilities: exp of them adds up to e^5."""
from bigram import Bigram, sit


class Cheat(Bigram):
    def forward(self, x, targets=None):
        return super().forward(x) + 5


sit(Cheat())
