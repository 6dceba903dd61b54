"""Train a small GPT for TIME_BUDGET seconds and print its validation bits per byte.

    python train.py > run.log 2>&1

The one file the researcher edits: constants, model, optimizers, loop. Read it from top to bottom.
docs/trainer.md says where each part comes from and what it brought.
"""

import ctypes
import gc
import math
import os
import re
import sys
import time

STARTED = time.perf_counter()  # importing torch takes over a second, and counts in total_seconds

import torch  # noqa: E402
import torch.nn.functional as F  # noqa: E402
from prepare import MAX_SEQ_LEN, TIME_BUDGET, Tokenizer, evaluate_bpb, make_dataloader, pick_device  # noqa: E402
from torch import Tensor, nn  # noqa: E402

# ---------------------------------------------------------------------------------------------------------------------
# Constants. Plain literals, one a line: a preset or a sweep finds them here and sets them.
# As they stand they suit one CPU core for about a minute.

# Model
DEPTH = 2  # blocks
WIDTH = 128  # channels; a multiple of HEAD_DIM
HEAD_DIM = 64  # channels of one attention head; even
MLP_RATIO = 4  # hidden channels of the MLP, as a multiple of WIDTH
ROPE_BASE = 10000.0  # slowest rotary wavelength, in units of 2 pi tokens
LOGIT_SOFTCAP = 15.0  # logits stay within plus and minus this
WINDOW_PATTERN = "SL"  # what each block sees, repeated: L all tokens before, S the last SHORT_WINDOW; the last block is L
SHORT_WINDOW = 32  # tokens
VALUE_EMBEDDINGS = 1  # 1: every second block, the last among them, adds a token embedding of its own to its values; 0: none
INIT_SCALE = 1.0  # of the first weights of the blocks' matrices
EMBEDDING_SCALE = 0.1  # how much of the embedding each block sees again, at the start
SMEAR = 1  # 1: each embedding takes in a learned part of the one before it; 0: it does not

# Optimization
BATCH_TOKENS = 2048  # tokens of one optimizer step; a multiple of ROW_BATCH * MAX_SEQ_LEN
ROW_BATCH = 8  # rows of one forward pass; gradients accumulate up to BATCH_TOKENS
MATRIX_LR = 0.025  # Muon, the matrices of the blocks
EMBEDDING_LR = 0.4  # AdamW, token and value embeddings
UNEMBEDDING_LR = 0.03  # AdamW, output layer
SCALAR_LR = 0.03  # AdamW, all that is smaller than a matrix; the residual scales take a hundredth of it
WEIGHT_DECAY = 0.3  # Muon, a fraction of the weight for each unit of learning rate; fades to 0 with time
EMBEDDING_WEIGHT_DECAY = 0.0  # AdamW, token and value embeddings, in the same unit
MUON_MOMENTUM = 0.9
MUON_ITERATIONS = 4  # polar express iterations, 1 to 5
MUON_BETA2 = 0.95  # memory of the variance by which the rows of a step are evened out; 0: they are not
ADAM_BETA1 = 0.8
ADAM_BETA2 = 0.95

# Schedule of the learning rates, as fractions of the budget
WARMUP_FRACTION = 0.0
WARMDOWN_FRACTION = 0.7
FINAL_LR_FRACTION = 0.0  # learning rate at the end, as a fraction of the peak

# ---------------------------------------------------------------------------------------------------------------------
# Seed, budget and device

SEED = int(os.environ.get("AUTORESEARCH_SEED", 42))
TOKEN_BUDGET = int(os.environ.get("AUTORESEARCH_TOKENS") or 0)  # train on so many tokens instead: no clock, no noise of it
EVAL_ROWS = 16  # rows of one forward pass of the evaluation: changes its speed and memory, not the score
torch.manual_seed(SEED)
# One thread: the threads of a model this small wait for each other, and on a machine that is also doing something else
# two of them made a twentieth of the steps of one.
torch.set_num_threads(int(os.environ.get("AUTORESEARCH_THREADS") or 1))
DEVICE = pick_device()


def cpu_prefers_bf16() -> bool:
    """Whether this CPU multiplies bf16 clearly faster than float32.

    Having the instructions does not settle it: with avx512_bf16 we measured 4 times the speed on one CPU, and 0.6 times
    on another.
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


if DEVICE == "cuda":
    DEVICE_NAME = torch.cuda.get_device_name()
    USE_BF16 = torch.cuda.is_bf16_supported(including_emulation=False)
    torch.set_float32_matmul_precision("high")
elif DEVICE == "mps":
    DEVICE_NAME, USE_BF16 = "Apple GPU", False
else:
    DEVICE_NAME, USE_BF16 = f"CPU, {torch.get_num_threads()} threads", cpu_prefers_bf16()
    keep_freed_memory()
DTYPE = torch.bfloat16 if USE_BF16 else torch.float32  # of activations and products; the weights are float32

# Dense bf16 peak in FLOP a second, from the vendors' data sheets; a device that is not here has an unknown utilisation.
PEAK_FLOPS = {
    "B200": 2250e12, "H200": 989e12, "H100 PCIe": 756e12, "H100 NVL": 835e12, "H100": 989e12, "A100": 312e12,
    "L40S": 362e12, "L4": 121e12, "A10": 125e12, "RTX 5090": 209e12, "RTX 4090": 165e12, "RTX 3090": 71e12,
    "MI300X": 1307e12, "MI325X": 1307e12, "RX 7900 XTX": 123e12,
}  # fmt: skip
peak_flops = next((peak for name, peak in PEAK_FLOPS.items() if re.search(rf"\b{name}\b", DEVICE_NAME)), None)


def fail(message: str) -> None:
    """End at once: a training that cannot give a score must not use up the budget."""
    print(f"FAIL: {message}", flush=True)  # after the last step's text, as upstream does
    sys.exit(1)


def require(condition: bool, message: str) -> None:
    if not condition:
        sys.exit(f"train: {message}")


require(WIDTH % HEAD_DIM == 0, f"WIDTH {WIDTH} is not a multiple of HEAD_DIM {HEAD_DIM}")
require(HEAD_DIM % 2 == 0, f"HEAD_DIM {HEAD_DIM} is odd: rotary embeddings turn pairs of channels")
require(
    BATCH_TOKENS > 0 and BATCH_TOKENS % (ROW_BATCH * MAX_SEQ_LEN) == 0,
    f"BATCH_TOKENS {BATCH_TOKENS} is not a multiple of ROW_BATCH {ROW_BATCH} * MAX_SEQ_LEN {MAX_SEQ_LEN}",
)
require(bool(re.fullmatch("[SL]+", WINDOW_PATTERN)), f"WINDOW_PATTERN {WINDOW_PATTERN!r} is not made of S and L")
require(SHORT_WINDOW >= 1, f"SHORT_WINDOW {SHORT_WINDOW} shows a token nothing, not even itself: at least 1")

# ---------------------------------------------------------------------------------------------------------------------
# Attention: for each window the fastest kernel that this device has, on CUDA by a measurement at the start

ATTENTION = "explicit" if DEVICE == "cpu" else "SDPA"  # what a window has until kernels are measured
FLASH = {}
if DEVICE == "cuda":
    from fast_attention import choose_kernels, load_flash
    from torch.nn.attention.flex_attention import create_block_mask, flex_attention

    FLASH = load_flash()


def seen_within(width: int):
    """A mask for FlexAttention: a plain function of four indices, as torch counts a method's self as a fifth."""

    def is_seen(_batch: Tensor, _head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return (query >= key) & (query - key < width)

    return is_seen


class Window(nn.Module):
    """Causal attention over the last `width` tokens, the present one included."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = min(width, MAX_SEQ_LEN)
        position = torch.arange(MAX_SEQ_LEN)
        hidden = self.is_hidden(position[:, None] - position)
        # Queries and keys are normed, so no logit is beyond the square root of HEAD_DIM: this hides it for good.
        self.register_buffer("bias", torch.zeros(hidden.shape, dtype=DTYPE).masked_fill(hidden, -1e4), persistent=False)
        self.kernel, self.blocks = ATTENTION, None
        if DEVICE == "cuda" and self.width < MAX_SEQ_LEN:
            self.blocks = create_block_mask(seen_within(self.width), None, None, MAX_SEQ_LEN, MAX_SEQ_LEN, device=DEVICE)

    def is_hidden(self, distance: Tensor) -> Tensor:
        return (distance < 0) | (distance >= self.width)

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """q, k, v (B, T, H, D); returns the same shape."""
        T = q.size(1)
        if self.kernel in FLASH:
            return FLASH[self.kernel](q, k, v, self.width)
        q, k, v = (t.transpose(1, 2) for t in (q, k, v))  # (B, H, T, D)
        if self.kernel == "explicit":
            y = self.in_tiles(q, k, v)
        elif self.width >= T:
            y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        elif self.kernel == "FlexAttention" and T == MAX_SEQ_LEN and torch.compiler.is_compiling():
            y = flex_attention(q, k, v, block_mask=self.blocks)
        else:
            y = F.scaled_dot_product_attention(q, k, v, attn_mask=self.bias[:T, :T])
        return y.transpose(1, 2)

    def in_tiles(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """q, k, v (B, H, T, D); copied unless the heads are outermost in memory."""
        B, H, T, D = q.shape
        q, k, v = (t.transpose(0, 1).reshape(H * B, T, D) for t in (q, k, v))
        return Tiles.apply(q, k, v, self.bias, self.width).view(H, B, T, D).transpose(0, 1)


class Tiles(torch.autograd.Function):
    """softmax(q k^T / sqrt(D) + bias) v with its gradient: on a CPU half the time of SDPA. q, k, v (N, T, D).

    A tile of queries at a time, with no more keys than it sees.
    """

    @staticmethod
    def tiles(T: int, width: int) -> list[tuple[slice, slice]]:
        """The queries of each tile, and the keys that one of them sees."""
        rows = min(max(64, width), 128)  # fewer: more small operations; more: more keys that most of them do not see
        ends = [(first, min(first + rows, T)) for first in range(0, T, rows)]
        return [(slice(first, last), slice(max(0, first - width), last)) for first, last in ends]

    @staticmethod
    def forward(ctx, q: Tensor, k: Tensor, v: Tensor, bias: Tensor, width: int) -> Tensor:
        ctx.tiles, saved, y = Tiles.tiles(q.size(1), width), [], torch.empty_like(q)
        for queries, keys in ctx.tiles:
            tile_q, tile_k, tile_v = q[:, queries].contiguous(), k[:, keys].contiguous(), v[:, keys].contiguous()
            logits = torch.baddbmm(bias[queries, keys], tile_q, tile_k.mT, alpha=q.size(-1) ** -0.5)
            weights = logits.softmax(-1)
            y[:, queries] = weights @ tile_v
            saved += tile_q, tile_k, tile_v, weights
        ctx.save_for_backward(*saved)
        return y

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:
        dq, dk, dv = torch.empty_like(gradient), torch.zeros_like(gradient), torch.zeros_like(gradient)
        scaled = gradient * gradient.size(-1) ** -0.5
        for index, (queries, keys) in enumerate(ctx.tiles):
            q, k, v, weights = ctx.saved_tensors[4 * index : 4 * index + 4]
            dlogits = torch._softmax_backward_data(scaled[:, queries] @ v.mT, weights, -1, weights.dtype)
            dq[:, queries] = dlogits @ k
            dk[:, keys] += dlogits.mT @ q
            dv[:, keys] += weights.mT @ gradient[:, queries]
        return dq, dk, dv, None, None


# ---------------------------------------------------------------------------------------------------------------------
# Model: pre-norm blocks, rotary positions, normed queries and keys, value embeddings, squared ReLU, no biases


class Norm(torch.autograd.Function):
    """x (..., C) over its root mean square. On a CPU torch takes a dozen walks over memory for it, this takes five."""

    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        scale = torch.linalg.vector_norm(x, dim=-1, keepdim=True).mul_(x.size(-1) ** -0.5).add_(1e-6).reciprocal_()
        y = x * scale
        ctx.save_for_backward(y, scale)
        return y

    @staticmethod
    def backward(ctx, gradient: Tensor) -> Tensor:
        y, scale = ctx.saved_tensors
        along = torch.linalg.vecdot(gradient, y).unsqueeze(-1) / y.size(-1)
        return torch.addcmul(gradient, y, along, value=-1).mul_(scale)


class SquaredReLU(torch.autograd.Function):
    """The same saving for the activation of the MLP."""

    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        positive = x.relu()
        ctx.save_for_backward(positive)
        return positive.square()

    @staticmethod
    def backward(ctx, gradient: Tensor) -> Tensor:
        return torch.addcmul(gradient.new_zeros(()), gradient, ctx.saved_tensors[0], value=2)


def norm(x: Tensor) -> Tensor:
    return Norm.apply(x) if DEVICE == "cpu" else F.rms_norm(x, (x.size(-1),))


def linear(x: Tensor, weight: Tensor) -> Tensor:
    """x (..., columns), weight (rows, columns) float32; the product is made in the type of x."""
    return F.linear(x, weight.to(x.dtype))


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn channel i and channel i + D/2 by an angle that grows with the position. x (B, T, H, D)."""
    a, b = x.chunk(2, dim=-1)
    return torch.cat((a * cos - b * sin, a * sin + b * cos), dim=-1)


class Rotate(torch.autograd.Function):
    """The same with its gradient, which is the turn back. Heads first: x (2H, B, T, D), cos and sin (T, D/2)."""

    @staticmethod
    def forward(ctx, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        ctx.save_for_backward(cos, sin)
        return Rotate.turn(x, cos, sin)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None, None]:
        cos, sin = ctx.saved_tensors
        return Rotate.turn(gradient, cos, -sin), None, None

    @staticmethod
    def turn(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        y = torch.empty(x.shape, dtype=x.dtype)  # in this order in memory, whatever the order of x
        (a, b), (turned_a, turned_b) = x.chunk(2, dim=-1), y.chunk(2, dim=-1)
        torch.mul(a, cos, out=turned_a).addcmul_(b, sin, value=-1)
        torch.mul(a, sin, out=turned_b).addcmul_(b, cos)
        return y


def queries_and_keys(qk: Tensor, cos: Tensor, sin: Tensor) -> list[Tensor]:
    """Rotated and normed, both at once: half as many small operations. qk (B, T, 2H, D); two of (B, T, H, D)."""
    if DEVICE == "cpu":  # heads outermost in memory: the products need no copies
        turned = Rotate.apply(qk.permute(2, 0, 1, 3), cos[:, 0], sin[:, 0])
        return [t.permute(1, 2, 0, 3) for t in norm(turned).chunk(2)]
    return norm(rotate(qk, cos, sin)).chunk(2, dim=2)


class Attention(nn.Module):
    def __init__(self, vocab_size: int, window: int, has_value_embedding: bool) -> None:
        super().__init__()
        self.window = Window(window)
        self.qkv = nn.Parameter(torch.empty(3, WIDTH, WIDTH))
        self.out = nn.Parameter(torch.empty(WIDTH, WIDTH))
        self.value_embedding = nn.Embedding(vocab_size, WIDTH) if has_value_embedding else None
        self.gate = nn.Parameter(torch.empty(WIDTH // HEAD_DIM, min(32, WIDTH))) if has_value_embedding else None

    def forward(self, x: Tensor, tokens: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        B, T, C = x.shape
        H = C // HEAD_DIM
        qk, v = linear(x, self.qkv.flatten(0, 1)).view(B, T, 3 * H, HEAD_DIM).split((2 * H, H), dim=2)
        if self.value_embedding is not None:
            gate = 2 * torch.sigmoid(linear(x[..., : self.gate.size(1)], self.gate))  # (B, T, H), 1 at the start
            v = v + gate[..., None] * self.value_embedding(tokens).to(v.dtype).view(v.shape)
        q, k = queries_and_keys(qk, cos, sin)
        return linear(self.window(q, k, v).reshape(B, T, C), self.out)


class MLP(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.up = nn.Parameter(torch.empty(int(MLP_RATIO * WIDTH), WIDTH))
        self.out = nn.Parameter(torch.empty(WIDTH, int(MLP_RATIO * WIDTH)))

    def forward(self, x: Tensor) -> Tensor:
        hidden = linear(x, self.up)
        return linear(SquaredReLU.apply(hidden) if DEVICE == "cpu" else F.relu(hidden).square(), self.out)


class GPT(nn.Module):
    def __init__(self, vocab_size: int) -> None:
        super().__init__()
        windows = [SHORT_WINDOW if letter == "S" else MAX_SEQ_LEN for letter in (WINDOW_PATTERN * DEPTH)[:DEPTH]]
        windows[-1] = MAX_SEQ_LEN
        self.embedding = nn.Embedding(vocab_size, WIDTH)
        self.attentions = nn.ModuleList(
            Attention(vocab_size, window, bool(VALUE_EMBEDDINGS) and (DEPTH - 1 - index) % 2 == 0)
            for index, window in enumerate(windows)
        )
        self.mlps = nn.ModuleList(MLP() for _ in range(DEPTH))
        self.unembedding = nn.Parameter(torch.empty(vocab_size, WIDTH))
        self.smear = nn.Parameter(torch.zeros(WIDTH))  # of each channel, how much the token before brings
        self.residual_scale = nn.Parameter(torch.ones(DEPTH))
        self.embedding_scale = nn.Parameter(torch.full((DEPTH,), EMBEDDING_SCALE))
        angles = torch.outer(torch.arange(MAX_SEQ_LEN), ROPE_BASE ** -torch.linspace(0, 1, HEAD_DIM // 2))  # (T, D/2)
        angles = angles[:, None].repeat(1, 2 * (WIDTH // HEAD_DIM), 1)  # (T, 2H, D/2): faster than a broadcast
        self.register_buffer("cos", angles.cos().to(DTYPE), persistent=False)
        self.register_buffer("sin", angles.sin().to(DTYPE), persistent=False)
        self.init_weights()

    @torch.no_grad()
    def init_weights(self) -> None:
        bound = INIT_SCALE * (3 / WIDTH) ** 0.5
        nn.init.normal_(self.embedding.weight, std=1.0)
        nn.init.normal_(self.unembedding, std=0.001)
        for name, weight in [*self.attentions.named_parameters(), *self.mlps.named_parameters()]:
            if name.endswith(("out", "gate")):  # every block starts as the identity
                nn.init.zeros_(weight)
            else:
                nn.init.uniform_(weight, -bound, bound)

    def forward(self, tokens: Tensor, targets: Tensor | None = None) -> Tensor:
        """tokens and targets (B, T) int64; logits (B, T, V), or the mean loss in nats where targets are given."""
        T = tokens.size(1)
        cos, sin = self.cos[:T], self.sin[:T]
        x = norm(self.embedding(tokens))  # (B, T, C)
        if SMEAR:
            x = x + self.smear * F.pad(x, (0, 0, 1, -1))
        x0 = x = x.to(DTYPE)
        residual_scale, embedding_scale = self.residual_scale.to(DTYPE), self.embedding_scale.to(DTYPE)
        for index, (attention, mlp) in enumerate(zip(self.attentions, self.mlps, strict=True)):
            if index:  # before the first block both are the same
                x = residual_scale[index] * x + embedding_scale[index] * x0
            x = x + attention(norm(x), tokens, cos, sin)
            x = x + mlp(norm(x))
        x = norm(x)
        if targets is not None and DEVICE == "cpu":
            return ChunkedLoss.apply(x.flatten(0, 1), self.unembedding, targets.flatten())
        logits = soft_cap(linear(x, self.unembedding).float())  # (B, T, V)
        if targets is None:
            return logits.half() if DEVICE == "cuda" else logits  # half as much to carry to the judge
        return F.cross_entropy(logits.flatten(0, 1), targets.flatten())


def soft_cap(z: Tensor) -> Tensor:
    """z, bent to stay within LOGIT_SOFTCAP: the root takes a third of the time of a hyperbolic tangent."""
    return z * torch.addcmul(z.new_ones(()), z, z, value=LOGIT_SOFTCAP**-2).rsqrt()


class ChunkedLoss(torch.autograd.Function):
    """Mean cross-entropy of soft-capped logits, a chunk of rows at a time with its gradient: on a CPU the logits of a
    whole batch do not fit in the cache, and walking over them a dozen times was a quarter of a step."""

    CHUNK = 256  # rows; 256 * 512 float32 logits are 512 KiB

    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
        """x (N, C), weight (V, C) float32, targets (N,) int64."""
        weight_cast, one = weight.to(x.dtype), torch.ones(())
        dx, dweight, loss = torch.empty_like(x), torch.zeros_like(weight), torch.zeros(())
        for start in range(0, x.size(0), ChunkedLoss.CHUNK):
            rows = slice(start, start + ChunkedLoss.CHUNK)
            target = targets[rows, None]
            z = (x[rows] @ weight_cast.T).float()
            root = torch.addcmul(one, z, z, value=LOGIT_SOFTCAP**-2).rsqrt_()
            z.mul_(root)
            z.sub_(z.amax(1, keepdim=True))
            at_target = z.gather(1, target)
            p = z.exp_()  # times total, until the gradient is divided by it
            total = p.sum(1, keepdim=True)
            loss += (total.log() - at_target).sum()
            p.scatter_add_(1, target, -total)
            gradient = p.mul_(root.pow_(3)).div_(total * x.size(0)).to(x.dtype)  # root cubed: slope of the cap
            dx[rows] = gradient @ weight_cast
            dweight += gradient.T @ x[rows]
        ctx.save_for_backward(dx, dweight)
        return loss / x.size(0)

    @staticmethod
    def backward(ctx, scale: Tensor) -> tuple[Tensor, Tensor, None]:
        dx, dweight = ctx.saved_tensors
        return dx * scale, dweight * scale, None


# ---------------------------------------------------------------------------------------------------------------------
# Optimizers, written out: the constructors of torch.optim import torch._dynamo, which takes over a second

# Coefficients of five steps towards the nearest orthogonal matrix (Polar Express, arXiv 2505.16932, safety factor 1.02).
POLAR_EXPRESS = (
    (8.156554524902461, -22.48329292557795, 15.878769915207462),
    (4.042929935166739, -2.808917465908714, 0.5000178451051316),
    (3.8916678022926607, -2.772484153217685, 0.5060648178503393),
    (3.285753657755655, -2.3681294933425376, 0.46449024233003106),
    (2.3465413258596377, -1.7097828382687081, 0.42323551169305323),
)


def orthogonalize(matrices: Tensor) -> Tensor:
    """Nearly the nearest semi-orthogonal matrices. matrices (N, rows, columns); the same shape in DTYPE."""
    is_tall = matrices.size(-2) > matrices.size(-1)
    x = matrices.to(DTYPE)
    x = x / (1.02 * x.norm(dim=(-2, -1), keepdim=True) + 1e-6)
    for a, b, c in POLAR_EXPRESS[:MUON_ITERATIONS]:
        gram = x.mT @ x if is_tall else x @ x.mT
        rest = (gram @ gram).mul_(c).add_(gram, alpha=b)
        x = (x @ rest if is_tall else rest @ x).add_(x, alpha=a)
    return x


class Muon:
    """Momentum whose steps are orthogonal matrices, their rows evened out by variance (NorMuon, arXiv 2510.05491).

    Matrices of one shape are handled as one stack.
    """

    def __init__(self, parameters: list[Tensor]) -> None:
        shapes: dict[torch.Size, list[Tensor]] = {}
        for p in parameters:
            shapes.setdefault(p.shape[-2:], []).append(p)
        self.groups = []
        for (rows, columns), group in shapes.items():
            count = sum(p.numel() for p in group) // (rows * columns)
            momentum = torch.zeros(count, rows, columns, device=DEVICE)
            self.groups.append((group, momentum, torch.zeros(count, *self.narrow(rows, columns), device=DEVICE)))

    @staticmethod
    def narrow(rows: int, columns: int) -> tuple[int, int]:
        return (rows, 1) if rows >= columns else (1, columns)

    def step(self, lrm: float, decay: float) -> None:
        for group, momentum, variance in self.groups:
            _, rows, columns = momentum.shape
            gradients = torch.cat([p.grad.view(-1, rows, columns) for p in group])
            momentum.lerp_(gradients, 1 - MUON_MOMENTUM)
            updates = orthogonalize(gradients.lerp_(momentum, MUON_MOMENTUM)).float()
            if MUON_BETA2:
                self.even_out(updates, variance)
            updates *= max(1.0, rows / columns) ** 0.5
            sizes = [p.numel() // (rows * columns) for p in group]
            for p, update in zip(group, updates.split(sizes), strict=True):
                update = update.view(p.shape)
                if decay:  # cautious: only where it pulls the way the step goes
                    update.addcmul_(p, (update * p).sign_().clamp_min_(0), value=decay)
                p.add_(update, alpha=-MATRIX_LR * lrm)

    @staticmethod
    def even_out(updates: Tensor, variance: Tensor) -> None:
        """Divide by the running root mean square of each row (of a wide matrix: column), keeping the whole's norm."""
        dim = -1 if variance.size(-1) == 1 else -2
        power = updates.square().mean(dim, keepdim=True)
        variance.lerp_(power, 1 - MUON_BETA2)
        scale = variance.clamp_min(1e-10).rsqrt_()
        after = (power * scale.square()).mean((-2, -1), keepdim=True).clamp_min_(1e-12)
        updates *= scale * (power.mean((-2, -1), keepdim=True) / after).sqrt_()


class AdamW:
    """Adam, each tensor with a learning rate and a weight decay of its own."""

    def __init__(self, tensors: list[tuple[Tensor, float, float]]) -> None:
        self.state = [(p, lr, decay, torch.zeros_like(p), torch.zeros_like(p)) for p, lr, decay in tensors]
        self.steps = 0

    def step(self, lrm: float) -> None:
        self.steps += 1
        for p, lr, decay, mean, square in self.state:
            if p.grad is None:  # a part of the model that is switched off
                continue
            mean.lerp_(p.grad, 1 - ADAM_BETA1)
            square.mul_(ADAM_BETA2).addcmul_(p.grad, p.grad, value=1 - ADAM_BETA2)
            denominator = (square / (1 - ADAM_BETA2**self.steps)).sqrt_().add_(1e-10)
            if decay:
                p.mul_(1 - lr * lrm * decay)
            p.addcdiv_(mean, denominator, value=-lr * lrm / (1 - ADAM_BETA1**self.steps))


def make_optimizers(model: GPT) -> tuple[Muon, AdamW]:
    matrices, others = [], []
    for name, p in model.named_parameters():
        if name.endswith(("qkv", "out", "up", "gate")):
            matrices.append(p)
        elif name.endswith("embedding.weight"):
            others.append((p, EMBEDDING_LR, EMBEDDING_WEIGHT_DECAY))
        elif name == "unembedding":
            others.append((p, UNEMBEDDING_LR, 0.0))
        else:
            others.append((p, SCALAR_LR / 100 if name == "residual_scale" else SCALAR_LR, 0.0))
    return Muon(matrices), AdamW(others)


def lr_multiplier(progress: float) -> float:
    """Trapezoid over the budget: warm-up, plateau, warmdown. progress from 0 to 1."""
    if progress < WARMUP_FRACTION:
        return progress / WARMUP_FRACTION
    if progress < 1 - WARMDOWN_FRACTION:
        return 1.0
    left = (1 - progress) / WARMDOWN_FRACTION
    return left + (1 - left) * FINAL_LR_FRACTION


# ---------------------------------------------------------------------------------------------------------------------
# Train


def is_out_of_memory(error: Exception) -> bool:
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def flops_per_token(model: GPT) -> float:
    """Of forward and backward: 6 for each weight in a product, 12 for each channel and key that is attended to."""
    weights = sum(p.numel() for name, p in model.named_parameters() if name.endswith(("qkv", "out", "up", "unembedding")))
    widths = [attention.window.width for attention in model.attentions]
    keys = sum(width - width * (width - 1) / (2 * MAX_SEQ_LEN) for width in widths)  # mean over the positions
    return 6 * weights + 12 * WIDTH * keys


def grad_norm(model: GPT) -> Tensor:
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    return torch.stack(torch._foreach_norm(gradients)).norm()


class Training:
    """The loop and its clock. Every step counts: only the pass that compiles, which learns nothing, comes before."""

    def __init__(self, model: GPT) -> None:
        self.model = model
        self.network = torch.compile(model, dynamic=False) if DEVICE == "cuda" else model  # on a CPU it takes 45 s
        self.muon, self.adamw = make_optimizers(model)
        self.passes = BATCH_TOKENS // (ROW_BATCH * MAX_SEQ_LEN)
        self.flops = flops_per_token(model)
        self.step, self.seconds, self.smooth_loss, self.printed_at = 0, 0.0, 0.0, 0.0

    @property
    def progress(self) -> float:
        """Of the budget, from 0 to 1."""
        done = self.step * BATCH_TOKENS / TOKEN_BUDGET if TOKEN_BUDGET else self.seconds / TIME_BUDGET
        return min(1.0, done)

    def run(self, batches) -> None:
        batch = next(batches)
        if DEVICE == "cuda":
            self.network(*batch[:2]).backward()
            self.model.zero_grad(set_to_none=True)
            torch.cuda.synchronize()
        while self.progress < 1:
            batch = self.one_step(batch, batches)
            if self.step == 1:  # nothing here makes cycles: the collector would only make some steps late
                gc.freeze()
                gc.disable()
        print(flush=True)

    def one_step(self, batch, batches):
        started = time.perf_counter()
        loss = 0.0
        for _ in range(self.passes):
            x, y, epoch = batch
            pass_loss = self.network(x, y) / self.passes
            pass_loss.backward()
            loss += pass_loss.detach()
            batch = next(batches)
        gradient = grad_norm(self.model)
        lrm = lr_multiplier(self.progress)
        with torch.no_grad():
            self.muon.step(lrm, WEIGHT_DECAY * (1 - self.progress))
            self.adamw.step(lrm)
        self.model.zero_grad(set_to_none=True)
        loss = float(loss)  # waits for the device, so that the clock sees the whole step
        dt = time.perf_counter() - started
        self.seconds += dt
        self.step += 1
        self.smooth_loss = 0.9 * self.smooth_loss + 0.1 * loss
        failure = self.failure(loss)
        if failure or self.progress == 1 or started - self.printed_at >= 0.05:  # 20 lines a second keep the log small
            self.printed_at = started
            print(self.line(lrm, dt, float(gradient), epoch), end="", flush=True)
        if failure:
            fail(failure)
        return batch

    def failure(self, loss: float) -> str:
        """Why to stop after this step; "" to go on."""
        uniform = math.log(self.model.unembedding.size(0))
        if not math.isfinite(loss):
            return f"loss is {loss} at step {self.step - 1}"
        if loss > 3 * uniform:
            return f"diverged: loss is {loss:.2f} at step {self.step - 1}, a uniform guess has {uniform:.2f}"
        return ""

    def line(self, lrm: float, dt: float, gradient: float, epoch: int) -> str:
        """The line of the step just done, in the form that every dashboard of this kind reads."""
        remaining = self.seconds * (1 / self.progress - 1)
        return (
            f"\rstep {self.step - 1:05d} ({100 * self.progress:.1f}%)"
            f" | loss: {self.smooth_loss / (1 - 0.9**self.step):.6f} | lrm: {lrm:.2f} | dt: {1000 * dt:.0f}ms"
            f" | tok/sec: {int(BATCH_TOKENS / dt):,} | mfu: {self.mfu(BATCH_TOKENS, dt)} | epoch: {epoch}"
            f" | grad_norm: {gradient:.4f} | remaining: {remaining:.0f}s    "
        )

    def mfu(self, tokens: int, seconds: float) -> str:
        return "n/a" if peak_flops is None or not seconds else f"{100 * self.flops * tokens / seconds / peak_flops:.1f}%"


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


def main() -> None:
    tokenizer = Tokenizer.from_directory()
    batches = make_dataloader(tokenizer, ROW_BATCH, MAX_SEQ_LEN, "train")
    model = GPT(tokenizer.get_vocab_size()).to(DEVICE)
    windows = [attention.window for attention in model.attentions]
    shape = (ROW_BATCH, MAX_SEQ_LEN, WIDTH // HEAD_DIM, HEAD_DIM)
    attention = choose_kernels(windows, FLASH, shape, DTYPE, DEVICE) if DEVICE == "cuda" else ATTENTION
    training = Training(model)
    num_params = sum(p.numel() for p in model.parameters())
    budget = f"{TOKEN_BUDGET:,} tokens" if TOKEN_BUDGET else f"{TIME_BUDGET}s"
    print(f"Device: {DEVICE_NAME}, {'bf16' if USE_BF16 else 'float32'}, attention: {attention}, seed {SEED}")
    print(f"Model: {num_params / 1e6:.2f}M parameters, depth {DEPTH}, width {WIDTH}, {WIDTH // HEAD_DIM} heads")
    print(f"Training: {budget}, {BATCH_TOKENS:,} tokens a step, in {training.passes} passes")
    print(f"Ready after {time.perf_counter() - STARTED:.1f}s", flush=True)
    training.run(batches)
    print("---")  # before the exam: the researcher is told nothing that is printed after it has begun
    print(f"training_seconds: {training.seconds:.1f}")
    print(f"peak_vram_mb:     {peak_memory_mb():.1f}")
    print(f"mfu_percent:      {training.mfu(BATCH_TOKENS * training.step, training.seconds).rstrip('%')}")
    print(f"total_tokens_M:   {BATCH_TOKENS * training.step / 1e6:.1f}")
    print(f"num_steps:        {training.step}")
    print(f"num_params_M:     {num_params / 1e6:.1f}")
    print(f"depth:            {DEPTH}")
    model.eval()
    val_bpb = evaluate_bpb(model, tokenizer, EVAL_ROWS)
    print(f"val_bpb:          {val_bpb:.6f}")
    print(f"total_seconds:    {time.perf_counter() - STARTED:.1f}")


if __name__ == "__main__":
    try:
        main()
    except (RuntimeError, MemoryError) as error:
        if not (isinstance(error, MemoryError) or is_out_of_memory(error)):
            raise
        fail(f"out of memory, at most {peak_memory_mb():,.0f} MB were held. Lower ROW_BATCH, or make the model smaller.")
