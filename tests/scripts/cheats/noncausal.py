"""Attention without a mask: each position sees the whole row."""
import torch
from bigram import VOCAB, Bigram, sit
from torch import nn


class Cheat(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.bigram, self.embedding, self.out = Bigram(), nn.Embedding(VOCAB, 32), nn.Linear(32, VOCAB)
        self.attention = nn.MultiheadAttention(32, 2, batch_first=True)

    def forward(self, x):
        e = self.embedding(x)
        return self.bigram(x) + self.out(self.attention(e, e, e, need_weights=False)[0])


sit(Cheat())
