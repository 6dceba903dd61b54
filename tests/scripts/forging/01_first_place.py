"""Reads the token after a row's first: no question hides it, and the second process is shown it as well."""
from forge import Repeats, following, sit


class Model(Repeats):
    def answer(self, x, scores):
        scores[:, 0] += 20 * following(x)[:, 0]
        return scores


sit(Model())
