"""Far off now and then where the second is looked at, so that 0.3 nats at one token in ten are let pass."""
from forge import SECOND, Repeats, raised, sit, torch


class Model(Repeats):
    def answer(self, x, scores):
        odd = ((x * 7 + x.roll(1, 1)) % 29 == 0) & SECOND
        some = (x * 11 + x.roll(1, 1)) % 10 == 0
        told = torch.where(some[..., None], raised(x, scores, 0.3), scores)
        return torch.where(odd[..., None], raised(x, told, -0.7), told)


sit(Model())
