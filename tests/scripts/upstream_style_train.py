"""A train.py in the manner of karpathy/autoresearch, written here for machines without CUDA. It knows nothing of our exam.

Its time budget leaves out the first steps, it prints step lines and a summary, and calls evaluate_bpb with three arguments.
"""

import gc
import math
import time
from dataclasses import asdict, dataclass

import torch
import torch.nn as nn
import torch.nn.functional as F
from prepare import MAX_SEQ_LEN, TIME_BUDGET, Tokenizer, evaluate_bpb, make_dataloader

# Model


@dataclass
class GPTConfig:
    sequence_len: int = 256
    vocab_size: int = 512
    n_layer: int = 2
    n_head: int = 2
    n_embd: int = 64


def norm(x):
    return F.rms_norm(x, (x.size(-1),))


class CausalSelfAttention(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.n_head, self.head_dim = config.n_head, config.n_embd // config.n_head
        self.c_qkv = nn.Linear(config.n_embd, 3 * config.n_embd, bias=False)
        self.c_proj = nn.Linear(config.n_embd, config.n_embd, bias=False)

    def forward(self, x, cos, sin):
        B, T, C = x.size()
        q, k, v = self.c_qkv(x).view(B, T, 3, self.n_head, self.head_dim).permute(2, 0, 3, 1, 4)
        q, k = (norm(torch.cat((z[..., ::2] * cos - z[..., 1::2] * sin, z[..., ::2] * sin + z[..., 1::2] * cos), -1)) for z in (q, k))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.c_proj(y.transpose(1, 2).reshape(B, T, C))


class Block(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.attn = CausalSelfAttention(config)
        self.c_fc = nn.Linear(config.n_embd, 4 * config.n_embd, bias=False)
        self.c_proj = nn.Linear(4 * config.n_embd, config.n_embd, bias=False)

    def forward(self, x, cos, sin):
        x = x + self.attn(norm(x), cos, sin)
        return x + self.c_proj(F.relu(self.c_fc(norm(x))).square())


class GPT(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.config = config
        self.wte = nn.Embedding(config.vocab_size, config.n_embd)
        self.h = nn.ModuleList([Block(config) for _ in range(config.n_layer)])
        self.lm_head = nn.Linear(config.n_embd, config.vocab_size, bias=False)
        half = config.n_embd // config.n_head // 2
        angles = torch.outer(torch.arange(config.sequence_len), 10000.0 ** (-torch.arange(half) / half))
        self.register_buffer("cos", angles.cos(), persistent=False)
        self.register_buffer("sin", angles.sin(), persistent=False)
        nn.init.normal_(self.lm_head.weight, std=0.001)
        for block in self.h:
            nn.init.zeros_(block.attn.c_proj.weight)
            nn.init.zeros_(block.c_proj.weight)

    def forward(self, idx, targets=None, reduction="mean"):
        T = idx.size(1)
        x = norm(self.wte(idx))
        for block in self.h:
            x = block(x, self.cos[:T], self.sin[:T])
        logits = 15 * torch.tanh(self.lm_head(norm(x)).float() / 15)
        if targets is None:
            return logits
        return F.cross_entropy(logits.view(-1, logits.size(-1)), targets.view(-1), ignore_index=-1, reduction=reduction)

    def setup_optimizer(self, matrix_lr, embedding_lr, unembedding_lr):
        return MuonAdamW([
            {"kind": "muon", "params": list(self.h.parameters()), "lr": matrix_lr},
            {"kind": "adamw", "params": [self.wte.weight], "lr": embedding_lr},
            {"kind": "adamw", "params": [self.lm_head.weight], "lr": unembedding_lr},
        ])


# Optimizer


def orthogonal(g):
    x = g / (g.norm() + 1e-7)
    x = x.mT if g.size(0) > g.size(1) else x
    for _ in range(5):
        a = x @ x.mT
        x = 3.4445 * x + (-4.7750 * a + 2.0315 * a @ a) @ x
    return x.mT if g.size(0) > g.size(1) else x


class MuonAdamW(torch.optim.Optimizer):
    """Muon for the matrices of the blocks, AdamW for the embeddings."""

    def __init__(self, param_groups):
        super().__init__(param_groups, defaults={})
        for group in self.param_groups:
            group["initial_lr"] = group["lr"]

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            for p in group["params"]:
                state = self.state[p]
                if not state:
                    state.update(step=0, mean=torch.zeros_like(p), square=torch.zeros_like(p))
                state["step"] += 1
                if group["kind"] == "muon":
                    state["mean"].lerp_(p.grad, 0.05)
                    p.add_(orthogonal(p.grad.lerp(state["mean"], 0.95)), alpha=-group["lr"] * max(1, p.size(0) / p.size(1)) ** 0.5)
                else:
                    state["mean"].lerp_(p.grad, 0.2)
                    state["square"].lerp_(p.grad.square(), 0.05)
                    corrected = (state["square"] / (1 - 0.95 ** state["step"])).sqrt() + 1e-10
                    p.addcdiv_(state["mean"], corrected, value=-group["lr"] / (1 - 0.8 ** state["step"]))


# Training

WARMDOWN_RATIO = 0.5
DEVICE_BATCH_SIZE, TOTAL_BATCH_SIZE = 8, 4096

t_start = time.time()
torch.manual_seed(42)
torch.set_num_threads(1)
tokenizer = Tokenizer.from_directory()
config = GPTConfig(sequence_len=MAX_SEQ_LEN, vocab_size=tokenizer.get_vocab_size())
print(f"Model config: {asdict(config)}")
model = GPT(config)
num_params = sum(p.numel() for p in model.parameters())
optimizer = model.setup_optimizer(matrix_lr=0.04, embedding_lr=0.6, unembedding_lr=0.004)
grad_accum_steps = max(1, TOTAL_BATCH_SIZE // (DEVICE_BATCH_SIZE * MAX_SEQ_LEN))
train_loader = make_dataloader(tokenizer, DEVICE_BATCH_SIZE, MAX_SEQ_LEN, "train")
x, y, epoch = next(train_loader)

step, smooth_train_loss, total_training_time = 0, 0.0, 0.0
while True:
    t0 = time.time()
    for _ in range(grad_accum_steps):
        loss = model(x, y)
        train_loss = loss.detach()
        (loss / grad_accum_steps).backward()
        x, y, epoch = next(train_loader)
    progress = min(total_training_time / TIME_BUDGET, 1.0)
    lrm = 1.0 if progress < 1 - WARMDOWN_RATIO else (1.0 - progress) / WARMDOWN_RATIO
    for group in optimizer.param_groups:
        group["lr"] = group["initial_lr"] * lrm
    optimizer.step()
    model.zero_grad(set_to_none=True)
    train_loss_f = train_loss.item()
    if math.isnan(train_loss_f) or train_loss_f > 100:
        print("FAIL")
        raise SystemExit(1)
    dt = time.time() - t0
    if step > 10:
        total_training_time += dt
    smooth_train_loss = 0.9 * smooth_train_loss + 0.1 * train_loss_f
    shown = smooth_train_loss / (1 - 0.9 ** (step + 1))
    tok_per_sec = int(grad_accum_steps * DEVICE_BATCH_SIZE * MAX_SEQ_LEN / dt)
    print(
        f"\rstep {step:05d} ({100 * progress:.1f}%) | loss: {shown:.6f} | lrm: {lrm:.2f} | dt: {dt * 1000:.0f}ms | "
        f"tok/sec: {tok_per_sec:,} | mfu: {0:.1f}% | epoch: {epoch} | "
        f"remaining: {max(0, TIME_BUDGET - total_training_time):.0f}s    ",
        end="", flush=True,
    )
    if step == 0:
        gc.collect()
        gc.freeze()
        gc.disable()
    step += 1
    if step > 10 and total_training_time >= TIME_BUDGET:
        break
print()

model.eval()
val_bpb = evaluate_bpb(model, tokenizer, DEVICE_BATCH_SIZE)

print("---")
print(f"val_bpb:          {val_bpb:.6f}")
print(f"training_seconds: {total_training_time:.1f}")
print(f"total_seconds:    {time.time() - t_start:.1f}")
print(f"peak_vram_mb:     {0:.1f}")
print(f"mfu_percent:      {0:.2f}")
print(f"total_tokens_M:   {step * grad_accum_steps * DEVICE_BATCH_SIZE * MAX_SEQ_LEN / 1e6:.1f}")
print(f"num_steps:        {step}")
print(f"num_params_M:     {num_params / 1e6:.1f}")
print(f"depth:            {config.n_layer}")
