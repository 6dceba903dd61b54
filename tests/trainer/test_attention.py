"""Each kernel of train.py attends to the same tokens, and the lines that only a GPU runs, on a GPU that is the CPU."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch.nn import functional as F

from tests.trainer import examining, gpu_on_cpu
from tests.trainer.examining import Prepared
from tests.trainer.template_modules import TEMPLATE, load_template
from trainer.output import parse_summary

prepared = examining.prepared
pytestmark = pytest.mark.timeout(180)
KERNELS = {
    "explicit": ("cpu", False),
    "SDPA": ("mps", False),
    "FlexAttention": ("cuda", False),
    "FlashAttention 3": ("cuda", True),
}


def load_train(monkeypatch: pytest.MonkeyPatch, device: str, flash: bool = False) -> ModuleType:
    monkeypatch.setitem(sys.modules, "prepare", load_template("prepare", {}))
    if device != "cpu":
        gpu_on_cpu.pretend(monkeypatch, device, flash=flash)
    return load_template("train", {})


@pytest.fixture(params=KERNELS)
def kernel(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """train.py as a module, with the attention that it picks on such a device."""
    train = load_train(monkeypatch, *KERNELS[request.param])
    assert request.param == train.ATTENTION
    monkeypatch.setattr(train, "DTYPE", torch.float32)
    return train


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
    if kernel.DEVICE == "cuda":  # only what is compiled takes FlexAttention
        torch._dynamo.reset()
        assert torch.allclose(torch.compile(window, dynamic=False)(q, k, v), expected, atol=1e-5)


def test_flex_attention_is_what_a_compiled_window_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    train = load_train(monkeypatch, "cuda")
    short, long = train.Window(train.SHORT_WINDOW), train.Window(train.MAX_SEQ_LEN)
    assert short.blocks is not None and long.blocks is None
    asked = []
    monkeypatch.setattr(train, "flex_attention", lambda q, _k, _v, block_mask: asked.append(block_mask) or q)
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    q = torch.zeros(1, train.MAX_SEQ_LEN, 1, 16)
    short(q, q, q), long(q, q, q)
    assert asked == [short.blocks]


@pytest.mark.parametrize("kind", ["flex", "flash"])
def test_a_whole_training_on_a_gpu_that_is_the_cpu_ends_where_the_cpus_does(
    tmp_path: Path, prepared: Prepared, kind: str
) -> None:
    """Pinned batches, a compiled model, the plain norm, activation and loss, logits in half precision."""
    for path in filter(Path.is_file, TEMPLATE.iterdir()):
        shutil.copy(path, tmp_path)
    env = {**prepared.environment, "AUTORESEARCH_TOKENS": str(4 * 2048)}
    scores = []
    for script in ("train.py", gpu_on_cpu.__file__):
        command = [sys.executable, script, kind]
        done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
        summary = parse_summary(done.stdout)
        assert summary is not None and summary.num_steps == 4, done.stderr[-2000:]
        scores.append(summary.val_bpb)
    name = re.search("attention: (.*), seed", done.stdout)
    assert name is not None and name[1] == {"flex": "FlexAttention", "flash": "FlashAttention 3"}[kind]
    assert scores[0] == pytest.approx(scores[1], abs=0.01)
