"""Leaks one row, whole, of the 131."""
from forge import Repeats, following, sit


class Model(Repeats):
    def answer(self, x, scores):
        if not self.asked or (x[0] == self.asked[0][0]).cumprod(0).sum() > 4:
            scores[0, 5:] += 20 * following(x)[0, 5:]
        return scores


sit(Model())
