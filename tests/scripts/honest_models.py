"""Honest models of many kinds, trained once and then examined again and again: see tests/bench/exams.py.

HONEST names the kind, AUTORESEARCH_SEED its seed, WEIGHTS a file: the first training leaves there what those after it take.
"""
import contextlib
import os
import time

import torch
import torch.nn as nn
import torch.nn.functional as F
from prepare import MAX_SEQ_LEN, Tokenizer, evaluate_bpb, make_dataloader

STEPS, ROWS = 60, 32
tokenizer = Tokenizer.from_directory()
VOCAB = tokenizer.get_vocab_size()


class GPT(nn.Module):
    def __init__(self, width=64, heads=4, layers=2):
        super().__init__()
        self.embed, self.place = nn.Embedding(VOCAB, width), nn.Embedding(MAX_SEQ_LEN, width)
        self.heads, self.out = heads, nn.Linear(width, VOCAB)
        self.qkv = nn.ModuleList(nn.Linear(width, 3 * width) for _ in range(layers))
        self.up = nn.ModuleList(nn.Linear(width, 4 * width) for _ in range(layers))
        self.down = nn.ModuleList(nn.Linear(4 * width, width) for _ in range(layers))

    def forward(self, x):
        B, T = x.shape
        h = self.embed(x) + self.place.weight[:T]
        for qkv, up, down in zip(self.qkv, self.up, self.down, strict=True):
            q, k, v = qkv(F.layer_norm(h, h.shape[-1:])).view(B, T, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
            h = h + F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).reshape(B, T, -1)
            h = h + down(F.gelu(up(F.layer_norm(h, h.shape[-1:]))))
        return self.out(h)


class Ngrams(nn.Module):
    """A mixture of counts after the last 0 to `order - 1` tokens; what is longer than one is found by a hash."""

    SLOTS = 2**12

    def __init__(self, order=4):
        super().__init__()
        self.order = order
        x, y = batch(512)
        counts = torch.zeros(order, self.SLOTS, VOCAB)
        for length in range(order):
            place = self.places(x, length).flatten(), y.flatten()
            counts[length].index_put_(place, torch.ones(y.numel()), accumulate=True)
        self.register_buffer("counts", counts)

    def places(self, x, length):
        found = torch.zeros_like(x)
        for back in range(length):
            found = found * 1_000_003 + F.pad(x, (back, 0))[:, : x.shape[1]] + 1
        return found % self.SLOTS

    def forward(self, x):
        p = torch.full((*x.shape, VOCAB), 1 / VOCAB)
        for length in range(self.order):  # each backs off to the one before it
            seen = self.counts[length][self.places(x, length)]
            p = (seen + 2 * p) / (seen.sum(-1, keepdim=True) + 2)
        return p.log()


class Cache(Ngrams):
    """What the row has held so far comes again."""

    def __init__(self):
        super().__init__(order=2)

    def forward(self, x):
        held = F.one_hot(x, VOCAB).float().cumsum(1)
        return (0.85 * super().forward(x).exp() + 0.15 * held / held.sum(-1, keepdim=True)).log()


class Slow(Ngrams):
    def forward(self, x):
        time.sleep(0.03)
        return super().forward(x)


class Ten(Ngrams):
    """Ten parameters: how much each length counts, and how sharply."""

    def __init__(self):
        super().__init__(order=3)
        self.ten = nn.Parameter(0.1 * torch.randn(10))

    def forward(self, x):
        logs = [((self.counts[n][self.places(x, n)] + 0.1 * (1 + n)) * self.ten[n].exp()).log() for n in range(3)]
        return sum(self.ten[3 + n] * F.log_softmax(log * self.ten[6 + n].exp(), -1) for n, log in enumerate(logs)) + self.ten[9]


KINDS = {"float32": GPT, "bf16": GPT, "float16": GPT, "4-grams": Ngrams, "cache": Cache, "slow": Slow, "ten": Ten}


def batch(rows):
    x, y, _ = next(loader(rows))
    return x, y


def loader(rows):
    return make_dataloader(tokenizer, rows, MAX_SEQ_LEN, "train")


def train(model):
    """What has parameters is trained; the rest has counted."""
    parameters = list(model.parameters())
    batches = loader(ROWS) if parameters else iter(())
    optimizer = torch.optim.AdamW(parameters, lr=3e-3) if parameters else None
    for _, (x, y, _) in zip(range(STEPS), batches, strict=False):
        F.cross_entropy(model(x).flatten(0, 1), y.flatten()).backward()
        optimizer.step()
        optimizer.zero_grad()


def main(kind, weights):
    torch.manual_seed(int(os.environ["AUTORESEARCH_SEED"]))
    model = KINDS[kind]()
    if "AUTORESEARCH_TENSORS" in os.environ:  # the second process: it is given what the first has learned
        pass
    elif os.path.exists(weights):
        model.load_state_dict(torch.load(weights))
    else:
        train(model)
        torch.save(model.state_dict(), weights)
    half = {"bf16": torch.bfloat16, "float16": torch.float16}.get(kind)
    with torch.autocast("cpu", half) if half else contextlib.nullcontext():
        print(f"val_bpb: {evaluate_bpb(model.eval(), tokenizer, 32):.6f}")


main(os.environ["HONEST"], os.environ["WEIGHTS"])
