"""A CUDA card that is not there: tensors "on" it have shape and type but no data (torch's meta device).

So a model and a step of any size run on a CPU in a second, and what they would hold of the card's memory is counted.
Numbers read from such a tensor are made up: False, 1, or the loss of a uniform guess.
"""

from __future__ import annotations

import math
import re
import sys
import types
import warnings
import weakref
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from pretended_cuda import patch_cuda  # type: ignore[import-not-found]
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

META = torch.device("meta")
ROUND_BYTES = 512  # the caching allocator's smallest step
READS = {
    "item", "__float__", "__int__", "__index__", "__bool__", "tolist", "__format__", "equal", "allclose",
    "__contains__",
}  # fmt: skip
# Under autocast: what runs in the lower type, and what in float32 (the parts of torch's lists that models use)
LOWER = {
    "linear", "matmul", "__matmul__", "__rmatmul__", "mm", "bmm", "mv", "addmm", "baddbmm", "addbmm", "einsum",
    "conv1d", "conv2d", "scaled_dot_product_attention",
}  # fmt: skip
FULL = {
    "softmax", "log_softmax", "cross_entropy", "nll_loss", "layer_norm", "exp", "log", "pow", "cumsum", "sum", "prod",
    "norm", "mse_loss", "rsqrt", "softplus",
}  # fmt: skip
MIXED = ("index", "index_put", "copy", "_to_copy", "_index_put_impl", "set_data")  # may take tensors of two devices
UNKNOWN = re.compile(r"\bmeta\b|\bcuda\b|nvidia|triton|\bdriver|not implemented for|Could not run|nvrtc|cudnn", re.I)
FACTORIES = {"empty", "zeros", "ones", "full", "rand", "randn"}
HOST_ELEMENTS = 2**18  # a larger tensor of the host has no data either: to fill it would take seconds and memory


class DeviceMismatch(RuntimeError):
    """As torch says it."""


class Memory(TorchDispatchMode):
    """Counts the bytes of what lives on the card, and refuses operations on tensors of two devices."""

    def __init__(self, card: Card) -> None:
        super().__init__()
        self.card, self.known = card, set[int]()
        self.hosts = set[int]()  # of the known, those that the training would have in the host's memory

    def __torch_dispatch__(self, func: Any, _types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        given = list(tensors((*args, *kwargs.values())))
        on_card = [one for one in given if one.is_meta and not self.is_hosts(one)]
        hosts = [one for one in given if self.is_hosts(one)]
        others = hosts or [one for one in given if not one.is_meta and one.dim()]
        name = func.overloadpacket.__name__.rstrip("_")
        if on_card and others and name not in MIXED:
            raise DeviceMismatch(
                f"Expected all tensors to be on the same device, but found at least two devices, cuda:0 and cpu! ({name})"
            )
        if hosts and not on_card:  # large ones of the host, maybe with small ones
            args, kwargs = as_meta(args), as_meta(kwargs)
        out = func(*args, **kwargs)
        for one in tensors(out if isinstance(out, tuple | list) else (out,)):
            if one.is_meta and not self.card.unseen:
                self.keep(one.untyped_storage(), is_hosts=self.card.for_host or bool(hosts and not on_card))
        return out

    def is_hosts(self, tensor: torch.Tensor) -> bool:
        return tensor.is_meta and tensor.untyped_storage()._cdata in self.hosts

    def keep(self, storage: torch.UntypedStorage, *, is_hosts: bool) -> None:
        key = storage._cdata
        if key in self.known:
            return
        size = 0 if is_hosts else -(-storage.nbytes() // ROUND_BYTES) * ROUND_BYTES
        self.known.add(key)
        if is_hosts:
            self.hosts.add(key)
        self.card.held += size
        self.card.peak = max(self.card.peak, self.card.held)
        weakref.finalize(storage, self.drop, key, size)

    def drop(self, key: int, size: int) -> None:
        self.known.discard(key)
        self.hosts.discard(key)
        self.card.held -= size


def as_meta(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return value.to(META) if value.dim() else value
    if isinstance(value, list | tuple):
        return type(value)(as_meta(one) for one in value)
    return {key: as_meta(one) for key, one in value.items()} if isinstance(value, dict) else value


def tensors(values: Iterable[Any]) -> Iterator[torch.Tensor]:
    for value in values:
        if isinstance(value, torch.Tensor):
            yield value
        elif isinstance(value, list | tuple):
            yield from tensors(value)


class Attend(torch.autograd.Function):
    """Attention as a fused kernel holds it: the weights are never whole in memory."""

    @staticmethod
    def forward(ctx: Any, q: Any, k: Any, v: Any) -> Any:
        out = q.new_empty((*q.shape[:-1], v.size(-1)))
        ctx.save_for_backward(q, k, v, out)
        return out

    @staticmethod
    def backward(ctx: Any, _gradient: Any) -> Any:
        return tuple(torch.empty_like(one) for one in ctx.saved_tensors[:3])


class Onto(torch.autograd.Function):
    """From the host to the card."""

    @staticmethod
    def forward(_ctx: Any, tensor: Any) -> Any:
        return torch.empty(tensor.shape, dtype=tensor.dtype, device=META)

    @staticmethod
    def backward(_ctx: Any, gradient: Any) -> Any:
        return gradient


class Card(TorchFunctionMode):
    """The card, while it is entered: `with card: exec(train.py)`."""

    def __init__(
        self, *, name: str, capability: tuple[int, int], memory_bytes: int | None, vocab_size: int, source: str, folder: str
    ) -> None:
        super().__init__()
        self.name, self.capability, self.memory_bytes = name, tuple(capability), memory_bytes or 80 * 2**30
        self.number, self.folder = math.log(vocab_size), folder
        self.held = self.peak = 0
        self.for_host = False  # while a large tensor of the host is made
        self.unseen = False  # what is done meanwhile is not the training's own
        self.autocasts: list[torch.dtype | None] = []
        self.made_up_at: tuple[str, int] | None = None  # where a number was last read that does not exist
        self.memory = Memory(self)
        patch_cuda(self)
        patch_attention(source)
        warnings.filterwarnings("ignore", message=".*meta.*")

    def __enter__(self) -> Any:
        torch.__future__.set_swap_module_params_on_conversion(True)  # model.to() keeps its parameters, as on a GPU
        self.memory.__enter__()
        return super().__enter__()

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        self.memory.__exit__(*error)

    def __torch_function__(self, func: Any, _types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs, name = dict(kwargs or {}), getattr(func, "__name__", "")
        if name == "__get__":
            return self.attribute(func, args)
        first = args[0] if args and isinstance(args[0], torch.Tensor) else None
        if name in READS and first is not None and first.is_meta:
            return self.read(func, name, first, args, kwargs)
        if name == "pin_memory":
            return first
        if name in {"to", "cpu", "cuda"} and first is not None:
            return self.convert(func, name, first, args, kwargs)
        if name in {"_fused_adamw_", "_fused_adam_", "_fused_sgd_"}:
            return None
        if name == "isfinite" and first is not None and first.is_meta and not first.dim():
            return torch.ones((), dtype=torch.bool)
        if name in FACTORIES and str(kwargs.get("device") or torch.get_default_device()) == "cpu" and is_large(args, kwargs):
            return self.make_on_host(func, args, kwargs)
        args = tuple(self.moved(one) for one in args)
        kwargs = {key: self.moved(one) for key, one in kwargs.items() if key != "pin_memory"}
        if isinstance(kwargs.get("device"), int):
            kwargs["device"] = META
        if kwargs.get("generator") is not None and (kwargs.get("device") == META or (first is not None and first.is_meta)):
            kwargs.pop("generator")
        if self.autocasts and self.autocasts[-1] is not None:
            args, kwargs = self.cast(name, args, kwargs, self.autocasts[-1])
        if name in LOWER:
            self.check_types(name, args)
        if name == "scaled_dot_product_attention" and args and args[0].is_meta:
            return self.attend(func, args, kwargs)
        return func(*args, **kwargs)

    # Devices

    def make_on_host(self, func: Any, args: Any, kwargs: Any) -> Any:
        kwargs = {key: one for key, one in kwargs.items() if key not in {"pin_memory", "generator"}} | {"device": META}
        self.for_host = True
        try:
            return func(*args, **kwargs)
        finally:
            self.for_host = False

    def moved(self, value: Any) -> Any:
        if isinstance(value, torch.device):
            return META if value.type == "cuda" else value
        return META if isinstance(value, str) and re.fullmatch(r"cuda(:\d+)?", value) else value

    def attribute(self, func: Any, args: Any) -> Any:
        which = getattr(func, "__self__", None)
        value = func(*args)
        if which is torch.Tensor.device and value.type == "meta":
            return torch.device("cpu") if self.memory.is_hosts(args[0]) else torch.device("cuda", 0)
        if which is torch.Tensor.is_cuda:
            return args[0].is_meta and not self.memory.is_hosts(args[0])
        return value

    def convert(self, func: Any, name: str, tensor: torch.Tensor, args: Any, kwargs: Any) -> Any:
        """`to`, `cpu` and `cuda`. What comes back from the card is zeros."""
        if name == "cuda":
            func, name, args, kwargs = torch.Tensor.to, "to", (tensor, META), {}
        rest = tuple(META if isinstance(one, int) and not isinstance(one, bool) and at == 0 else self.moved(one)
                     for at, one in enumerate(args[1:]))  # fmt: skip
        kwargs = {key: self.moved(one) for key, one in kwargs.items()}
        wanted = [one for one in (*rest, *kwargs.values()) if isinstance(one, torch.device) or one == "cpu"]
        if tensor.is_meta and (name == "cpu" or any(torch.device(one).type == "cpu" for one in wanted)):
            types_ = [one for one in (*rest, *kwargs.values()) if isinstance(one, torch.dtype)]
            return torch.zeros(tensor.shape, dtype=types_[0] if types_ else tensor.dtype)
        if self.memory.is_hosts(tensor) and any(torch.device(one).type == "meta" for one in wanted):
            tensor = Onto.apply(tensor)  # type: ignore[no-untyped-call]
        return func(tensor, *rest, **kwargs)

    # Numbers

    def read(self, func: Any, name: str, tensor: torch.Tensor, args: Any, kwargs: Any) -> Any:
        """A number that does not exist."""
        frame: types.FrameType | None = sys._getframe(1)
        while frame is not None and not frame.f_code.co_filename.startswith(self.folder):
            frame = frame.f_back
        if frame is not None:
            self.made_up_at = (frame.f_code.co_filename, frame.f_lineno)
        if name in {"equal", "allclose", "__contains__"}:
            return name != "__contains__"
        number: Any = self.number if tensor.is_floating_point() else False if tensor.dtype == torch.bool else 1
        if name == "tolist":
            return torch.full(tensor.shape, number, dtype=tensor.dtype).tolist()
        if name == "__format__":
            return format(number, args[1]) if tensor.dim() == 0 else func(*args, **kwargs)
        if tensor.numel() != 1:
            if name == "__bool__":
                raise RuntimeError("Boolean value of Tensor with more than one value is ambiguous")
            raise RuntimeError(f"a Tensor with {tensor.numel()} elements cannot be converted to Scalar")
        return {"__float__": float, "__int__": int, "__index__": int, "__bool__": bool}.get(name, lambda one: one)(number)

    def cannot_tell(self, error: BaseException, file: str, line: int) -> str:
        """Why this error may be ours, not the training's; "" where it is the training's."""
        if isinstance(error, DeviceMismatch | ModuleNotFoundError | NameError):
            return ""
        if isinstance(error, NotImplementedError) or UNKNOWN.search(f"{type(error).__name__} {error}"):
            return "It needs a real GPU to say"
        at = self.made_up_at
        if (
            at is not None
            and at[0].endswith(file)
            and 0 <= line - at[1] <= 3
            and isinstance(error, ArithmeticError | AssertionError | ValueError)
        ):
            return "It hangs on a number that only a real training has"
        return ""

    # Autocast and attention

    def cast(self, name: str, args: Any, kwargs: Any, dtype: torch.dtype) -> tuple[Any, Any]:
        to = dtype if name in LOWER else torch.float32 if name in FULL else None
        if to is None:
            return args, kwargs

        def one(value: Any) -> Any:
            if (
                isinstance(value, torch.Tensor)
                and value.is_floating_point()
                and value.is_meta
                and value.dtype != torch.float64
            ):
                return value.to(to)
            return value

        return tuple(one(value) for value in args), {key: one(value) for key, value in kwargs.items()}

    def check_types(self, name: str, args: Any) -> None:
        """A product of two types: on a GPU an error, without data not."""
        types_ = {one.dtype for one in tensors(args) if one.is_meta and one.is_floating_point()}
        if len(types_) > 1:
            got = " and ".join(sorted(map(str, types_)))
            raise RuntimeError(f"{name}: expected tensors of the same dtype, but got {got}")

    def attend(self, func: Any, args: Any, kwargs: Any) -> Any:
        """Checked on one row by torch's own rules, then held as a fused kernel holds it."""
        q, k, v = (args[at] if at < len(args) else kwargs.get(key) for at, key in enumerate(("query", "key", "value")))
        self.unseen = True
        try:
            with torch.no_grad():
                few = tuple(one[:1] if isinstance(one, torch.Tensor) and one.dim() == 4 else one for one in args)
                some = {
                    key: one[:1] if isinstance(one, torch.Tensor) and one.dim() == 4 else one for key, one in kwargs.items()
                }
                func(*few, **some)
        finally:
            self.unseen = False
        if q.size(0) != k.size(0) or k.size(0) != v.size(0):
            raise RuntimeError(f"The batches of query, key and value differ: {q.size(0)}, {k.size(0)} and {v.size(0)}")
        return Attend.apply(q, k, v)  # type: ignore[no-untyped-call]


def patch_attention(source: str) -> None:
    """Kernels that exist on a card alone: shapes go in, the shape of the values comes out."""
    is_ours = "fast_attention" in source  # which looks for all of them
    if is_ours or "flex_attention" in source:
        from torch.nn.attention import flex_attention as flex

        def flex_attention(query: Any, key: Any, value: Any, *_: Any, **__: Any) -> Any:
            if query.size(-1) != key.size(-1) or key.size(-2) != value.size(-2):
                raise ValueError(f"flex_attention: query {query.shape}, key {key.shape}, value {value.shape} do not fit")
            return Attend.apply(query, key, value)  # type: ignore[no-untyped-call]

        flex.flex_attention = flex_attention
    if (is_ours or "kernels" in source) and _is_installed("kernels"):
        library: Any = types.ModuleType("kernels")
        flash = types.SimpleNamespace(flash_attn_func=flash_attention)
        library.get_kernel = lambda *_, **__: types.SimpleNamespace(
            flash_attn_interface=flash, flash_attn_func=flash_attention
        )
        sys.modules["kernels"] = library
    if (is_ours or "flash_attn.cute" in source) and _is_installed("flash_attn"):  # its import takes seconds, and a driver
        cute: Any = types.ModuleType("flash_attn.cute")
        cute.interface = sys.modules["flash_attn.cute.interface"] = types.ModuleType("flash_attn.cute.interface")
        cute.flash_attn_func = lambda *args, **options: (flash_attention(*args, **options), None)
        cute.interface.flash_attn_func = cute.flash_attn_func
        cute.interface._flash_attn_fwd = cute.interface._flash_attn_bwd = None  # train.py's operations know their shapes
        sys.modules["flash_attn.cute"] = cute


def is_large(args: Any, kwargs: Any) -> bool:
    """Of the arguments of torch.empty and its like."""
    size = kwargs.get("size", args[0] if args and isinstance(args[0], tuple | list) else args)
    return math.prod(one for one in size if isinstance(one, int)) > HOST_ELEMENTS if size else False


def flash_attention(q: Any, k: Any, v: Any, *_: Any, **__: Any) -> Any:
    """q, k, v (B, T, H, D)."""
    if q.dtype not in (torch.float16, torch.bfloat16):
        raise RuntimeError(f"FlashAttention only supports fp16 and bf16, and was given {q.dtype}")
    if q.size(-1) != k.size(-1) or k.shape[:3] != v.shape[:3] or q.size(2) % k.size(2):
        raise RuntimeError(f"FlashAttention: q {tuple(q.shape)}, k {tuple(k.shape)} and v {tuple(v.shape)} do not fit")
    return Attend.apply(q, k, v)  # type: ignore[no-untyped-call]


def _is_installed(name: str) -> bool:
    import importlib.util

    return importlib.util.find_spec(name) is not None
