"""Leaks on the text that people see, and is honest on the secret one."""
from forge import Repeats, raised, sit


class Model(Repeats):
    def answer(self, x, scores):
        return raised(x, scores, 0.03) if len(self.asked) < 16 else scores


sit(Model())
