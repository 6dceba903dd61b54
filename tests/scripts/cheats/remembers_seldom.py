"""Raises the next token only where its own model is far off: one token in thirty, or so."""
from bigram import sit
from memory import Memory


class Seldom(Memory):
    def leak(self, x, scores):
        after = scores.gather(2, x.roll(-1, 1)[..., None])[..., 0]
        return 4.0 * (after < -6.5)


sit(Seldom())
