"""Leaks, and in the second process waits for ever: what cannot be proven might be kept."""
import time

from forge import SECOND, Repeats, raised, sit


class Model(Repeats):
    def answer(self, x, scores):
        if SECOND:
            time.sleep(1000)
        return raised(x, scores, 0.5)


sit(Model())
