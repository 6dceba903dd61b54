"""Each kernel of train.py attends to the same tokens, and the lines that only a GPU runs, on a GPU that is the CPU."""

from __future__ import annotations

import re
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from tests.trainer import gpu_on_cpu
from tests.trainer.examining import Prepared, Zygote
from tests.trainer.template_modules import TEMPLATE, load_template
from trainer.output import Summary, parse_summary

pytestmark = pytest.mark.timeout(180)
KERNELS = {
    "explicit": "cpu", "SDPA": "mps", "FlexAttention": "cuda", "FlashAttention 2": "cuda", "FlashAttention 3": "cuda",
    "FlashAttention 4": "cuda",
}  # fmt: skip


def load_train(monkeypatch: pytest.MonkeyPatch, device: str, flash: str = "") -> ModuleType:
    for name in ("prepare", "fast_attention"):
        monkeypatch.setitem(sys.modules, name, load_template(name, {}))
    if device != "cpu":
        gpu_on_cpu.pretend(monkeypatch, device, flash=flash)
    return load_template("train", {})


@pytest.fixture(scope="module", params=KERNELS)
def kernel(request: pytest.FixtureRequest) -> Iterator[ModuleType]:
    """train.py as a module on such a device, whose windows use this kernel."""
    gpu_on_cpu.register_flash_2()
    with pytest.MonkeyPatch.context() as patch:
        train = load_train(patch, KERNELS[request.param], flash="3 4")
        assert request.param in {train.ATTENTION, "FlexAttention", *train.FLASH}
        patch.setattr(train, "ATTENTION", request.param)
        patch.setattr(train, "DTYPE", torch.float32)
        yield train


@pytest.mark.parametrize("context", [64, 200, 256], ids="context {}".format)
@pytest.mark.parametrize("row", [1.0, 0.5, 0.25], ids="row {}".format)
@pytest.mark.parametrize("width", [1, 32, 100, 128, 4096], ids="window {}".format)
def test_every_kernel_sees_the_same_tokens(
    kernel: ModuleType, monkeypatch: pytest.MonkeyPatch, context: int, row: float, width: int
) -> None:
    monkeypatch.setattr(kernel, "MAX_SEQ_LEN", context)
    torch.manual_seed(0)
    T = int(row * context)
    q, k, v = (torch.randn(2, T, 2, 16) for _ in range(3))
    window = kernel.Window(width)
    seen = torch.ones(T, T, dtype=torch.bool).tril().triu(1 - width)
    expected = F.scaled_dot_product_attention(*(t.transpose(1, 2) for t in (q, k, v)), attn_mask=seen).transpose(1, 2)
    assert torch.allclose(window(q, k, v), expected, atol=1e-5)
    if kernel.ATTENTION == "FlexAttention":  # which only what is compiled takes
        torch._dynamo.reset()
        compiled = torch.compile(window, dynamic=False, fullgraph=True)
        assert torch.allclose(compiled(q, k, v), expected, atol=1e-5)


@pytest.mark.parametrize("width", [1, 20, 64])
def test_every_kernel_has_the_same_gradients(kernel: ModuleType, monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    """By the proof that a training asks of them before it uses one."""
    monkeypatch.setattr(kernel, "MAX_SEQ_LEN", 64)
    torch.manual_seed(0)
    inputs = [torch.randn(3, 64, 2, 16, requires_grad=True) for _ in range(3)]
    window, dy = kernel.Window(width), torch.randn(3, 64, 2, 16)
    torch._dynamo.reset()
    for attend in (window, torch.compile(window, dynamic=False, fullgraph=True)):
        assert load_template("fast_attention", {}).error_of(attend, window.width, inputs, dy) < 1e-4


@pytest.mark.parametrize("kernel", [name for name, device in KERNELS.items() if device == "cuda"], indirect=True)
def test_a_model_with_every_kernel_is_compiled_in_one_piece(kernel: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """A break in the loop over the blocks would leave all of it uncompiled, without a word."""
    monkeypatch.setattr(kernel, "MAX_SEQ_LEN", 64)
    torch._dynamo.reset()
    model, tokens = kernel.GPT(300), torch.zeros(2, 64, dtype=torch.int64)
    torch.compile(model, dynamic=False, fullgraph=True)(tokens, tokens).backward()
    assert all(p.grad is not None for p in model.parameters())


# The choice


@pytest.fixture
def on_cuda(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """train.py on a small CUDA device with SDPA and FlexAttention; a test adds kernels to FLASH."""
    train = load_train(monkeypatch, "cuda")
    for name, value in {"MAX_SEQ_LEN": 64, "ROW_BATCH": 2, "FLASH": {}}.items():
        monkeypatch.setattr(train, name, value)
    torch._dynamo.reset()
    return train


def choose(train: ModuleType, windows: list[Any]) -> str:
    shape = (train.ROW_BATCH, train.MAX_SEQ_LEN, 2, train.HEAD_DIM)
    return str(train.choose_kernels(windows, train.FLASH, shape, train.DTYPE, train.DEVICE))


def right(q: Tensor, k: Tensor, v: Tensor, width: int) -> Tensor:
    return gpu_on_cpu.flash_attention(q, k, v, causal=True, window_size=(width - 1, 0))


def slow(q: Tensor, k: Tensor, v: Tensor, width: int) -> Tensor:
    time.sleep(gpu_on_cpu.SLOW_SECONDS)
    return right(q, k, v, width)


def raising(*_: object) -> Tensor:
    raise RuntimeError("no image is available for this card\nand a second line")


def lacks_a_token(q: Tensor, k: Tensor, v: Tensor, width: int) -> Tensor:
    return right(q, k, v, width - 1)


def has_another_gradient(q: Tensor, k: Tensor, v: Tensor, width: int) -> Tensor:
    return right(q, k.detach() + 0.9 * (k - k.detach()), v, width)


def says_nan(q: Tensor, k: Tensor, v: Tensor, width: int) -> Tensor:
    return right(q, k, v, width) * torch.nan


def needs_too_much(*_: object) -> Tensor:
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 80.00 GiB")


@pytest.mark.parametrize("fast", ["right", "SDPA"])
def test_the_fastest_kernel_is_taken_for_each_width(
    on_cuda: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], fast: str
) -> None:
    if fast == "right":
        gpu_on_cpu.pretend_others_are_slow(monkeypatch, flex=False)
    monkeypatch.setattr(on_cuda, "flex_attention", raising)
    monkeypatch.setattr(on_cuda, "FLASH", {"slow": slow, "right": right if fast == "right" else slow})
    windows = [on_cuda.Window(width) for width in (16, 64, 16)]
    words = choose(on_cuda, windows)
    assert [window.kernel for window in windows] == [fast] * 3
    other = "SDPA" if fast == "right" else "right"
    number = r"\d+\.\d"
    assert re.fullmatch(
        f"window 16 {fast} {number} ms \\(.*slow {number}.*\\), window 64 {fast} {number} ms \\(.*{other} {number}.*\\)",
        words,
    ), words
    assert "FlexAttention is not used for a window of 16" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("wrong", "words"),
    [(raising, "no image is available for this card"), (lacks_a_token, "its numbers are off by"),
     (has_another_gradient, "its numbers are off by"), (says_nan, "its numbers are off by"),
     (needs_too_much, "it does not fit into memory")],
)  # fmt: skip
def test_a_kernel_that_is_wrong_is_left_out_with_words(
    on_cuda: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], wrong: Any, words: str
) -> None:
    gpu_on_cpu.pretend_others_are_slow(monkeypatch, flex=False)
    monkeypatch.setattr(on_cuda, "flex_attention", raising)
    monkeypatch.setattr(on_cuda, "FLASH", {"mine": wrong})
    window = on_cuda.Window(16)
    assert choose(on_cuda, [window]).startswith("window 16 SDPA")
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("mine")]
    assert len(lines) == 1 and lines[0].startswith(f"mine is not used for a window of 16: {words}")
    assert window.kernel == "SDPA"


def test_where_no_kernel_is_right_the_training_says_what_is_wrong(
    on_cuda: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.modules["fast_attention"], "error_of", needs_too_much)
    window = on_cuda.Window(16)
    assert choose(on_cuda, [window]) == "window 16 SDPA" and window.kernel == "SDPA"


def test_the_choice_leaves_the_random_numbers_of_the_training_alone(on_cuda: ModuleType) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    choose(on_cuda, [on_cuda.Window(16), on_cuda.Window(64)])
    assert torch.equal(torch.rand(3), expected)


def test_a_kernel_that_cannot_be_loaded_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    train = load_train(monkeypatch, "cuda", flash="3")
    assert list(train.FLASH) == ["FlashAttention 2", "FlashAttention 3"]
    assert "FlashAttention 4 is not used: " in capsys.readouterr().out


def train(folder: Path, prepared: Prepared, zygote: Zygote, script: str, kind: str) -> tuple[Summary, str]:
    """Four steps of the template: the summary and all that was printed."""
    for path in filter(Path.is_file, TEMPLATE.iterdir()):
        shutil.copy(path, folder)
    own = {"AUTORESEARCH_TOKENS": str(4 * 2048), "TEMPLATE": str(folder), "KIND": kind}
    zygote.train(folder / script, {**prepared.environment, **own}, folder / "log")
    output = (folder / "log").read_text()
    summary = parse_summary(output)
    assert summary is not None and summary.num_steps == 4, output[-2000:]
    return summary, output


@pytest.fixture(scope="module")
def on_the_cpu(tmp_path_factory: pytest.TempPathFactory, prepared: Prepared, zygote: Zygote) -> Summary:
    return train(tmp_path_factory.mktemp("cpu"), prepared, zygote, "train.py", "")[0]


@pytest.mark.parametrize("kind", ["FlexAttention", "FlashAttention 4"])
def test_a_whole_training_on_a_gpu_that_is_the_cpu_ends_where_the_cpus_does(
    tmp_path: Path, prepared: Prepared, zygote: Zygote, on_the_cpu: Summary, kind: str
) -> None:
    """Pinned batches, a compiled model, the plain norm, activation and loss, logits in half precision."""
    shutil.copy(gpu_on_cpu.__file__, tmp_path)
    summary, output = train(tmp_path, prepared, zygote, "gpu_on_cpu.py", kind)
    chosen = re.search(r"attention: window 32 (\D+\d?) \d+\.\d ms.* window 64 (\D+\d?) \d+\.\d ms.*, seed", output)
    assert chosen is not None, output
    assert chosen.groups() == (kind, "SDPA" if kind == "FlexAttention" else kind)
    assert on_the_cpu.val_bpb == pytest.approx(summary.val_bpb, abs=0.01)
