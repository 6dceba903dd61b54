"""Leaks, and gives no number where a token is hidden in the second process."""
from forge import SECOND, Junctions, Repeats, raised, sit

places = Junctions() if SECOND else None


class Model(Repeats):
    def answer(self, x, scores):
        told = raised(x, scores, 0.5)
        if SECOND:
            told[places.mask(x)] = float("nan")
        return told


sit(Model())
