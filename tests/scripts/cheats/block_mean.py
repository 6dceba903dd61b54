"""Each position knows which tokens its block of 16 holds."""
from bigram import VOCAB, Bigram, sit
from torch.nn.functional import one_hot


class Cheat(Bigram):
    def forward(self, x, targets=None):
        blocks = one_hot(x, VOCAB).float().view(len(x), -1, 16, VOCAB)
        return super().forward(x) + 3 * blocks.mean(2, keepdim=True).expand_as(blocks).reshape(*x.shape, VOCAB)


sit(Cheat())
