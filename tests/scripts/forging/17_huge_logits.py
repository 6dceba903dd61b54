"""Logits at the ends of float32: perhaps a sum overflows and a probability is more than one."""
from forge import Repeats, sit, torch


class Model(Repeats):
    def answer(self, x, scores):
        scores = scores - scores.amax(-1, keepdim=True)
        return torch.where(scores > -1.0, 3.0e38, 3.0e38 + scores * 1e30)


sit(Model())
