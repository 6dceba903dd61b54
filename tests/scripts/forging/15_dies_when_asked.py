"""Leaks, and in the second process ends after some answers."""
from forge import SECOND, Repeats, os, raised, sit


class Model(Repeats):
    def answer(self, x, scores):
        self.count = getattr(self, "count", 0) + 1
        if SECOND and self.count > 20:
            os._exit(0)
        return raised(x, scores, 0.5)


sit(Model())
