"""Which attention kernel is the fastest for a window, by a measurement at the start of a training on CUDA.

Fixed: the researcher edits train.py, never this file. A kernel must first be right: result and gradients agree with the
definition of attention. docs/trainer.md says what is tried.
"""

import time

import torch
from torch import Tensor

TOLERANCE = 0.01  # of a kernel's numbers, by norm: bf16 alone makes up to 0.006, a token too few in a window of 1,024 0.013


def flash_2(q: Tensor, k: Tensor, v: Tensor, width: int) -> Tensor:
    """The FlashAttention inside torch: SDPA calls it too, but has no windows."""
    T = q.size(1)
    sides = {"window_size_left": width - 1 if width < T else -1, "window_size_right": 0}
    return torch.ops.aten._flash_attention_forward(q, k, v, None, None, T, T, 0.0, True, False, **sides)[0]


def load_flash_3():
    """FlashAttention 3 by the kernels package."""
    from kernels import get_kernel

    flash_attn_func = get_kernel("kernels-community/flash-attn3").flash_attn_func

    def flash_3(q: Tensor, k: Tensor, v: Tensor, width: int) -> Tensor:
        y = flash_attn_func(q, k, v, causal=True, window_size=(width - 1, 0))
        return y if isinstance(y, Tensor) else y[0]  # some builds return the logarithms of the sums too

    return flash_3


def load_flash_4():
    """FlashAttention 4 by the package flash-attn-4: its two passes, as operations that torch.compile need not look into."""
    from flash_attn.cute.interface import _flash_attn_bwd, _flash_attn_fwd

    def sides(q: Tensor, width: int) -> dict:
        return {"causal": True, "window_size_left": width - 1 if width < q.size(1) else None, "window_size_right": 0}

    @torch.library.custom_op("train::flash_4", mutates_args=())
    def forward(q: Tensor, k: Tensor, v: Tensor, width: int) -> tuple[Tensor, Tensor]:
        y, sums, *_ = _flash_attn_fwd(q, k, v, return_lse=True, **sides(q, width))
        return y.contiguous(), sums.contiguous()  # (B, T, H, D), (B, H, T) float32

    @torch.library.custom_op("train::flash_4_backward", mutates_args=())
    def backward(dy: Tensor, q: Tensor, k: Tensor, v: Tensor, y: Tensor, sums: Tensor, width: int) -> list[Tensor]:
        return [t.contiguous() for t in _flash_attn_bwd(q, k, v, y, dy.contiguous(), sums, **sides(q, width))[:3]]

    def remember(ctx, inputs, output) -> None:
        ctx.save_for_backward(*inputs[:3], *output)
        ctx.width = inputs[3]

    def differentiate(ctx, dy: Tensor, _) -> tuple:
        return *backward(dy, *ctx.saved_tensors, ctx.width), None

    forward.register_fake(lambda q, *_: (q.new_empty(q.shape), q[..., 0].mT.float().contiguous()))
    backward.register_fake(lambda _, q, k, v, *__: [t.new_empty(t.shape) for t in (q, k, v)])
    forward.register_autograd(differentiate, setup_context=remember)
    return lambda *qkv_and_width: forward(*qkv_and_width)[0]


def load_flash() -> dict:
    """What is installed and may suit this card, by name: a function of q, k, v (B, T, H, D) and a window's width."""
    loaders = {}
    capability = (0, 0) if torch.version.hip else torch.cuda.get_device_capability()
    if capability == (9, 0):
        loaders["FlashAttention 3"] = load_flash_3
    if capability >= (9, 0):
        loaders["FlashAttention 4"] = load_flash_4
    kernels = {"FlashAttention 2": flash_2}
    for name, load in loaders.items():
        try:
            kernels[name] = load()
        except Exception as error:  # not installed, or not fetched yet and no network: slower, not worse
            print(f"{name} is not used: {error}")
    return kernels


def by_definition(q: Tensor, k: Tensor, v: Tensor, width: int) -> Tensor:
    """What a kernel must compute. q, k, v (B, T, H, D)."""
    position = torch.arange(q.size(1), device=q.device)
    distance = position[:, None] - position
    hidden = (distance < 0) | (distance >= width)
    logits = torch.einsum("bqhd,bkhd->bhqk", q, k) * q.size(-1) ** -0.5
    return torch.einsum("bhqk,bkhd->bqhd", logits.masked_fill(hidden, -torch.inf).softmax(-1), v)


def both_passes(attend, inputs: list[Tensor], dy: Tensor) -> list[Tensor]:
    """The result, and the gradients of the inputs."""
    y = attend(*inputs)
    return [y.detach(), *torch.autograd.grad(y, inputs, dy)]


def error_of(attend, width: int, inputs: list[Tensor], dy: Tensor) -> float:
    """How far result and gradients are off, by norm, the worst of them: of two heads of two rows, in float32."""

    def few(t: Tensor) -> Tensor:
        return t.detach()[[0, -1]][:, :, [0, -1]].float()

    right = both_passes(lambda *qkv: by_definition(*qkv, width), [few(t).requires_grad_() for t in inputs], few(dy))
    found = map(few, both_passes(attend, inputs, dy))
    least = 0.01 * few(dy).norm()  # a window of one token has no gradient of q and k
    return max(float((a - b).norm() / (b.norm() + least)) for a, b in zip(found, right, strict=True))


def milliseconds(attend, inputs: list[Tensor], dy: Tensor) -> float:
    """Of both passes, the best of three looks."""
    seconds = []
    for _ in range(3):
        torch.cuda.synchronize()
        started = time.perf_counter()
        for _ in range(3):
            both_passes(attend, inputs, dy)
        torch.cuda.synchronize()
        seconds.append(time.perf_counter() - started)
    return 1000 / 3 * min(seconds)


def choose_kernel(window, flash: dict, inputs: list[Tensor], dy: Tensor) -> str:
    """Have it use the fastest kernel that is right; one that is not is left out, with words. Returns the times, in words."""
    times, default = {}, window.kernel
    for kernel in ("SDPA", *(["FlexAttention"] if window.blocks else []), *flash):
        window.kernel = kernel
        is_one_operation = kernel not in ("FlexAttention", "FlashAttention 3")  # to the compiler, which adds nothing to it
        attend = window if is_one_operation else torch.compile(window, dynamic=False, fullgraph=True)
        try:
            error = error_of(attend, window.width, inputs, dy)
            if not error <= TOLERANCE:
                raise ArithmeticError(f"its numbers are off by {error:.1%}")
            times[kernel] = milliseconds(attend, inputs, dy)
        except Exception as error:
            is_memory = isinstance(error, torch.OutOfMemoryError)
            why = "it does not fit into memory" if is_memory else " ".join(str(error).split())[:200]
            print(f"{kernel} is not used for a window of {window.width}: {why or type(error).__name__}")
    window.kernel = min(times, key=times.get, default=default)
    others = ", ".join(f"{kernel} {ms:.1f}" for kernel, ms in times.items() if kernel != window.kernel)
    best = f" {times[window.kernel]:.1f} ms" if times else ""
    return f"window {window.width} {window.kernel}{best}" + (f" ({others})" if others else "")


def choose_kernels(windows: list, flash: dict, shape: tuple[int, int, int, int], dtype: torch.dtype, device: str) -> str:
    """For each width once, on tensors of the training's size, whose random numbers stay what they were. Returns the times.

    A window is train.py's: `width` in tokens, `kernel` the name of what it uses, `blocks` where it may be FlexAttention; it
    is called with q, k, v of `shape`, (B, T, H, D). `flash` as by load_flash.
    """
    generator, (B, T, H, D) = torch.Generator(device).manual_seed(0), shape
    qk, v, dy = (torch.randn(B, T, n, D, generator=generator, device=device, dtype=dtype) for n in (2 * H, H, H))
    inputs = [t.requires_grad_() for t in (*qk.chunk(2, dim=2), v)]  # in memory as they lie in the model
    firsts = {window.width: window for window in sorted(windows, key=lambda window: window.width)}
    words = ", ".join(choose_kernel(window, flash, inputs, dy) for window in firsts.values())
    for window in windows:
        window.kernel = firsts[window.width].kernel
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()  # what the training needs is counted, not this
    return words
