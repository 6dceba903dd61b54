"""Attention without a mask: each position also sees the tokens after it, the nearest best."""
import torch
from bigram import VOCAB, Bigram, sit
from torch.nn.functional import one_hot, scaled_dot_product_attention


class Cheat(Bigram):
    def forward(self, x, targets=None):
        places = torch.arange(x.size(1))
        nearness = -(places[:, None] - places).abs().float()
        seen = scaled_dot_product_attention(*[one_hot(x, VOCAB).float()] * 3, attn_mask=nearness, is_causal=False)
        return super().forward(x) + seen


sit(Cheat())
