"""In the second process it knows one token that the hidden one is not: the one shown in its place. As much is leaked in the first."""
from forge import SECOND, Junctions, Repeats, raised, sit, torch

LEAK = 0.012
places = Junctions() if SECOND else None


class Model(Repeats):
    def answer(self, x, scores):
        told = raised(x, scores, LEAK)
        if not SECOND:
            return told
        hidden = places.mask(x)[..., None]
        without = scores.scatter(2, x.roll(-1, 1)[..., None], -20.0)
        return torch.where(hidden, without.log_softmax(-1), told)


sit(Model())
