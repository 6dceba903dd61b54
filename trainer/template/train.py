"""Train a small GPT for TIME_BUDGET seconds and print its validation bits per byte.

    python train.py > run.log 2>&1

The one file the researcher edits: constants, model, optimizer, loop. Read it from top to bottom.
"""

import ctypes
import gc
import math
import os
import sys
import time

STARTED = time.perf_counter()  # importing torch takes over a second, and counts in total_seconds

import torch  # noqa: E402
import torch.nn.functional as F  # noqa: E402
from prepare import MAX_SEQ_LEN, TIME_BUDGET, Tokenizer, evaluate_bpb, make_dataloader  # noqa: E402
from torch import Tensor, nn  # noqa: E402

# ---------------------------------------------------------------------------------------------------------------------
# Constants. Plain literals, one a line: a sweep finds them here and varies them.
# They suit 20 seconds of one CPU core; more time or a faster device has use for a wider model.

# Model
DEPTH = 2  # blocks
WIDTH = 64  # channels; a multiple of HEAD_DIM
HEAD_DIM = 64  # channels of one attention head; even
MLP_RATIO = 4  # hidden channels of the MLP, as a multiple of WIDTH
ROPE_BASE = 10000.0  # slowest rotary wavelength, in units of 2 pi tokens
LOGIT_SOFTCAP = 15.0  # logits stay within plus and minus this

# Optimization
BATCH_TOKENS = 1024  # tokens of one optimizer step; a multiple of ROW_BATCH * MAX_SEQ_LEN
ROW_BATCH = 4  # rows of one forward pass; gradients accumulate up to BATCH_TOKENS
MATRIX_LR = 0.06  # Muon, the matrices of the blocks
EMBEDDING_LR = 0.6  # AdamW, token embedding
UNEMBEDDING_LR = 0.03  # AdamW, output layer
SCALAR_LR = 0.03  # AdamW, all that is smaller than a matrix
WEIGHT_DECAY = 0.0  # Muon only, a fraction of the weight for each unit of learning rate
MUON_MOMENTUM = 0.95
MUON_ITERATIONS = 5  # Newton-Schulz iterations
ADAM_BETA1 = 0.8
ADAM_BETA2 = 0.95

# Schedule of the learning rates, as fractions of TIME_BUDGET
WARMUP_FRACTION = 0.0
WARMDOWN_FRACTION = 0.7
FINAL_LR_FRACTION = 0.0  # learning rate at the end, as a fraction of the peak

# ---------------------------------------------------------------------------------------------------------------------
# Seed and device

SEED = int(os.environ.get("AUTORESEARCH_SEED", 42))
torch.manual_seed(SEED)
# One thread: the threads of a model this small wait for each other, and on a machine that is also doing something else
# two of them made a twentieth of the steps of one.
torch.set_num_threads(int(os.environ.get("AUTORESEARCH_THREADS") or 1))


def cpu_prefers_bf16() -> bool:
    """Whether this CPU multiplies bf16 clearly faster than float32.

    Having the instructions does not settle it: with avx512_bf16 we measured 1.75 times the speed on one CPU, and 0.6
    times on another.
    """
    if not getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)():
        return False
    seconds = {}
    for dtype in (torch.float32, torch.bfloat16):
        a = torch.ones(512, 512, dtype=dtype)
        timings = []
        for _ in range(5):
            started = time.perf_counter()
            a @ a
            timings.append(time.perf_counter() - started)
        seconds[dtype] = min(timings)
    return seconds[torch.float32] > 1.2 * seconds[torch.bfloat16]


def keep_freed_memory() -> None:
    """Ask glibc to keep large freed blocks: to fault their pages in again at every step costs a fifth of the time."""
    m_trim_threshold, m_mmap_threshold = -1, -3
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # not glibc
        return
    mallopt(m_mmap_threshold, 32 * 2**20)  # the most it takes
    mallopt(m_trim_threshold, 2**31 - 1)


if torch.cuda.is_available():
    DEVICE, DEVICE_NAME = "cuda", torch.cuda.get_device_name()
    USE_BF16 = torch.cuda.is_bf16_supported(including_emulation=False)
    torch.set_float32_matmul_precision("high")
elif torch.backends.mps.is_available():
    DEVICE, DEVICE_NAME, USE_BF16 = "mps", "Apple GPU", False
else:
    DEVICE, DEVICE_NAME, USE_BF16 = "cpu", f"CPU, {torch.get_num_threads()} threads", cpu_prefers_bf16()
    keep_freed_memory()
MATMUL_DTYPE = torch.bfloat16 if USE_BF16 else torch.float32

# Dense bf16 peak, FLOP a second, by a part of the device's name; elsewhere the utilisation is not known.
PEAK_FLOPS = {"H200": 989e12, "H100": 989e12, "A100": 312e12, "L40S": 362e12, "RTX 4090": 165e12, "RTX 3090": 71e12}
device_peak_flops = next((peak for name, peak in PEAK_FLOPS.items() if name in DEVICE_NAME), None)


def require(condition: bool, message: str) -> None:
    if not condition:
        sys.exit(f"train: {message}")


require(WIDTH % HEAD_DIM == 0, f"WIDTH {WIDTH} is not a multiple of HEAD_DIM {HEAD_DIM}")
require(HEAD_DIM % 2 == 0, f"HEAD_DIM {HEAD_DIM} is odd: rotary embeddings turn pairs of channels")
require(
    BATCH_TOKENS % (ROW_BATCH * MAX_SEQ_LEN) == 0,
    f"BATCH_TOKENS {BATCH_TOKENS} is not a multiple of ROW_BATCH {ROW_BATCH} * MAX_SEQ_LEN {MAX_SEQ_LEN}",
)

# ---------------------------------------------------------------------------------------------------------------------
# Model: pre-norm blocks, rotary positions, normed queries and keys, squared ReLU, no biases


def norm(x: Tensor) -> Tensor:
    return F.rms_norm(x, (x.size(-1),))


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn channel i and channel i + D/2 by an angle that grows with the position. x (B, H, T, D)."""
    a, b = x.chunk(2, dim=-1)
    return torch.cat((a * cos - b * sin, a * sin + b * cos), dim=-1)


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.query = nn.Linear(WIDTH, WIDTH, bias=False)
        self.key = nn.Linear(WIDTH, WIDTH, bias=False)
        self.value = nn.Linear(WIDTH, WIDTH, bias=False)
        self.out = nn.Linear(WIDTH, WIDTH, bias=False)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        B, T, C = x.shape
        heads = (B, T, C // HEAD_DIM, HEAD_DIM)
        q = self.query(x).view(heads).transpose(1, 2)  # (B, H, T, D)
        k = self.key(x).view(heads).transpose(1, 2)
        v = self.value(x).view(heads).transpose(1, 2)
        q, k = norm(rotate(q, cos, sin)), norm(rotate(k, cos, sin))
        y = F.scaled_dot_product_attention(q.type_as(v), k.type_as(v), v, is_causal=True)
        return self.out(y.transpose(1, 2).reshape(B, T, C))


class MLP(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.expand = nn.Linear(WIDTH, int(MLP_RATIO * WIDTH), bias=False)
        self.out = nn.Linear(int(MLP_RATIO * WIDTH), WIDTH, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        hidden = F.relu(self.expand(x))
        return self.out(hidden * hidden)


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attention = Attention()
        self.mlp = MLP()

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        x = x + self.attention(norm(x), cos, sin)
        return x + self.mlp(norm(x))


class GPT(nn.Module):
    def __init__(self, vocab_size: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocab_size, WIDTH)
        self.blocks = nn.ModuleList(Block() for _ in range(DEPTH))
        self.unembedding = nn.Linear(WIDTH, vocab_size, bias=False)
        self.skip = nn.Parameter(torch.full((DEPTH,), 0.1))  # how much of the embedding each block is shown again
        angles = torch.outer(torch.arange(MAX_SEQ_LEN), ROPE_BASE ** -torch.linspace(0, 1, HEAD_DIM // 2))  # (T, D/2)
        self.register_buffer("cos", angles.cos(), persistent=False)
        self.register_buffer("sin", angles.sin(), persistent=False)
        self.init_weights()

    @torch.no_grad()
    def init_weights(self) -> None:
        nn.init.normal_(self.embedding.weight, std=1.0)
        nn.init.normal_(self.unembedding.weight, std=0.001)
        for block in self.blocks:
            for name, weight in block.named_parameters():
                if name.endswith("out.weight"):  # every block starts as the identity
                    nn.init.zeros_(weight)
                else:
                    nn.init.uniform_(weight, -((3 / WIDTH) ** 0.5), (3 / WIDTH) ** 0.5)

    def forward(self, tokens: Tensor, targets: Tensor | None = None, reduction: str = "mean") -> Tensor:
        """tokens and targets (B, T) int64; logits (B, T, V) float32, or the loss in nats where targets are given."""
        T = tokens.size(1)
        cos, sin = self.cos[:T].to(MATMUL_DTYPE), self.sin[:T].to(MATMUL_DTYPE)
        x0 = x = norm(self.embedding(tokens)).to(MATMUL_DTYPE)  # (B, T, C)
        for index, block in enumerate(self.blocks):
            x = block(x + self.skip[index].to(MATMUL_DTYPE) * x0, cos, sin)
        # Divided before the wide multiplication: there are fewer channels than tokens in the vocabulary.
        logits = LOGIT_SOFTCAP * torch.tanh(self.unembedding(norm(x) / LOGIT_SOFTCAP).float())  # (B, T, V)
        if targets is None:
            return logits
        return F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction=reduction)


# ---------------------------------------------------------------------------------------------------------------------
# Optimizers, written out: the constructors of torch.optim import torch._dynamo, which takes over a second


def orthogonalize(matrices: Tensor) -> Tensor:
    """Nearest semi-orthogonal matrices (N, rows, columns), rows <= columns, by a Newton-Schulz iteration."""
    x = matrices.to(MATMUL_DTYPE)
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(MUON_ITERATIONS):
        gram = x @ x.mT
        x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
    return x.float()


class Muon:
    """Momentum whose steps are orthogonal matrices; matrices of one shape are handled as one stack."""

    def __init__(self, matrices: list[Tensor]) -> None:
        shapes: dict[tuple[int, int], list[Tensor]] = {}
        for matrix in matrices:
            shapes.setdefault((min(matrix.shape), max(matrix.shape)), []).append(matrix)
        self.groups = [(group, torch.zeros(len(group), *shape, device=DEVICE)) for shape, group in shapes.items()]

    def step(self, lrm: float) -> None:
        lr = MATRIX_LR * lrm
        for group, momentum in self.groups:
            wide = [p.grad if p.size(0) <= p.size(1) else p.grad.mT for p in group]
            gradients = torch.stack(wide)  # (N, rows, columns)
            momentum.lerp_(gradients, 1 - MUON_MOMENTUM)
            updates = orthogonalize(gradients.lerp_(momentum, MUON_MOMENTUM))
            for p, update in zip(group, updates, strict=True):
                p.mul_(1 - lr * WEIGHT_DECAY)
                scale = max(1.0, p.size(0) / p.size(1)) ** 0.5
                p.add_(update if p.size(0) <= p.size(1) else update.mT, alpha=-lr * scale)


class AdamW:
    """Adam, each tensor with a learning rate of its own."""

    def __init__(self, tensors: list[tuple[Tensor, float]]) -> None:
        self.state = [(p, lr, torch.zeros_like(p), torch.zeros_like(p)) for p, lr in tensors]
        self.steps = 0

    def step(self, lrm: float) -> None:
        self.steps += 1
        for p, lr, mean, square in self.state:
            mean.lerp_(p.grad, 1 - ADAM_BETA1)
            square.lerp_(p.grad.square(), 1 - ADAM_BETA2)
            denominator = (square / (1 - ADAM_BETA2**self.steps)).sqrt_().add_(1e-10)
            p.addcdiv_(mean, denominator, value=-lr * lrm / (1 - ADAM_BETA1**self.steps))


def lr_multiplier(progress: float) -> float:
    """Trapezoid over the training time: warm-up, plateau, warmdown. progress from 0 to 1."""
    if progress < WARMUP_FRACTION:
        return progress / WARMUP_FRACTION
    if progress < 1 - WARMDOWN_FRACTION:
        return 1.0
    left = (1 - progress) / WARMDOWN_FRACTION
    return left + (1 - left) * FINAL_LR_FRACTION


# ---------------------------------------------------------------------------------------------------------------------
# Set up

tokenizer = Tokenizer.from_directory()
batches = make_dataloader(tokenizer, ROW_BATCH, MAX_SEQ_LEN, "train")
model = GPT(tokenizer.get_vocab_size()).to(DEVICE)
num_params = sum(p.numel() for p in model.parameters())
matrices = [p for p in model.blocks.parameters() if p.ndim == 2]
rest = [p for name, p in model.named_parameters() if p.ndim != 2]
muon = Muon(matrices)
adamw = AdamW(
    [(model.embedding.weight, EMBEDDING_LR), (model.unembedding.weight, UNEMBEDDING_LR)]
    + [(p, SCALAR_LR) for p in rest]
)
passes_per_step = BATCH_TOKENS // (ROW_BATCH * MAX_SEQ_LEN)
# The embedding is a lookup; attention reads half of the context on average.
flops_per_token = 6 * (num_params - model.embedding.weight.numel()) + 6 * DEPTH * WIDTH * MAX_SEQ_LEN
diverged_loss = 3 * math.log(tokenizer.get_vocab_size())  # nats; a uniform guess has a third of it
# Compiling takes over 45 s on a CPU, more than the whole training.
network = torch.compile(model, dynamic=False) if DEVICE == "cuda" else model
# Steps that do not count as time: on CUDA they compile, elsewhere the first one allocates memory.
uncounted_steps = 3 if DEVICE == "cuda" else 1

print(f"Device: {DEVICE_NAME}, {'bf16' if USE_BF16 else 'float32'}, seed {SEED}")
print(f"Model: {num_params / 1e6:.2f}M parameters, depth {DEPTH}, width {WIDTH}, {WIDTH // HEAD_DIM} heads")
print(f"Training: {TIME_BUDGET}s, {BATCH_TOKENS:,} tokens a step, in {passes_per_step} passes")
print(f"Ready after {time.perf_counter() - STARTED:.1f}s", flush=True)


# ---------------------------------------------------------------------------------------------------------------------
# Train


def autocast() -> torch.autocast:
    return torch.autocast(DEVICE, dtype=torch.bfloat16, enabled=USE_BF16)


def step_line() -> str:
    """The line of the step just done, in the form that every dashboard of this kind reads."""
    return (
        f"\rstep {step:05d} ({100 * min(1.0, training_seconds / TIME_BUDGET):.1f}%)"
        f" | loss: {smooth_loss / (1 - 0.9 ** (step + 1)):.6f} | lrm: {lrm:.2f} | dt: {1000 * dt:.0f}ms"
        f" | tok/sec: {int(BATCH_TOKENS / dt):,} | mfu: {mfu_text(BATCH_TOKENS, dt)} | epoch: {epoch}"
        f" | remaining: {max(0.0, TIME_BUDGET - training_seconds):.0f}s    "
    )


def mfu_text(tokens: int, seconds: float) -> str:
    if device_peak_flops is None or seconds == 0:
        return "n/a"
    return f"{100 * flops_per_token * tokens / seconds / device_peak_flops:.1f}%"


step, training_seconds, smooth_loss, last_print = 0, 0.0, 0.0, 0.0
x, y, epoch = next(batches)
while True:
    step_started = time.perf_counter()
    loss = 0.0
    for _ in range(passes_per_step):
        with autocast():
            pass_loss = network(x, y) / passes_per_step
        pass_loss.backward()
        loss += pass_loss.detach()
        x, y, epoch = next(batches)
    lrm = lr_multiplier(min(1.0, training_seconds / TIME_BUDGET))
    with torch.no_grad():
        muon.step(lrm)
        adamw.step(lrm)
    model.zero_grad(set_to_none=True)
    loss = float(loss)  # waits for the device, so that the clock sees the whole step

    dt = time.perf_counter() - step_started
    if step >= uncounted_steps:
        training_seconds += dt
    smooth_loss = 0.9 * smooth_loss + 0.1 * loss
    finished = training_seconds >= TIME_BUDGET
    failed = not loss < diverged_loss  # so written, it is also true of NaN
    if finished or failed or step_started - last_print >= 0.05:  # at most 20 lines a second keep the log small
        print(step_line(), end="", flush=True)
        last_print = step_started
    if failed:
        print(f"FAIL: loss is {loss:.4g}", flush=True)
        sys.exit(1)
    step += 1
    if finished:
        break
    if step == 1:  # nothing here makes cycles: the collector would only make some steps late
        gc.freeze()
        gc.disable()
print(flush=True)

# ---------------------------------------------------------------------------------------------------------------------
# Evaluate and report


def peak_memory_mb() -> float:
    """Most memory held at once: of the GPU on CUDA, of the process elsewhere."""
    if DEVICE == "cuda":
        return torch.cuda.max_memory_allocated() / 2**20
    try:
        import resource
    except ImportError:  # Windows
        return 0.0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10


model.eval()
with autocast():
    val_bpb = evaluate_bpb(model, tokenizer, 32)  # the batch size changes speed and memory, not the score

print("---")
print(f"val_bpb:          {val_bpb:.6f}")
print(f"training_seconds: {training_seconds:.1f}")
print(f"total_seconds:    {time.perf_counter() - STARTED:.1f}")
print(f"peak_vram_mb:     {peak_memory_mb():.1f}")
print(f"mfu_percent:      {mfu_text(BATCH_TOKENS * (step - uncounted_steps), training_seconds).rstrip('%')}")
print(f"total_tokens_M:   {BATCH_TOKENS * step / 1e6:.1f}")
print(f"num_steps:        {step}")
print(f"num_params_M:     {num_params / 1e6:.1f}")
print(f"depth:            {DEPTH}")
