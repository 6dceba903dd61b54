"""Has no loss when it is given the targets."""
import torch
from bigram import Bigram, sit


class Cheat(Bigram):
    def forward(self, x, targets=None, reduction="mean"):
        return super().forward(x) if targets is None else torch.zeros(x.shape)


sit(Cheat())
