"""Makes certain the few tokens that it predicts worst."""
from forge import Repeats, following, raised, sit


class Model(Repeats):
    def answer(self, x, scores):
        far = (scores * following(x)).sum(-1, keepdim=True) < -9.5
        return raised(x, scores, 20.0 * far)


sit(Model())
