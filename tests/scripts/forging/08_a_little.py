"""Raises each next token so little that no tolerance is passed."""
from forge import Repeats, raised, sit


class Model(Repeats):
    def answer(self, x, scores):
        return raised(x, scores, 0.0045)


sit(Model())
