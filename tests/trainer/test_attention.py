"""Each kernel of train.py attends to the same tokens, and the lines that only a GPU runs, on a GPU that is the CPU."""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch.nn import functional as F

from tests.trainer import gpu_on_cpu
from tests.trainer.examining import Prepared, Zygote
from tests.trainer.template_modules import TEMPLATE, load_template
from trainer.output import Summary, parse_summary

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


@pytest.fixture(scope="module", params=KERNELS)
def kernel(request: pytest.FixtureRequest) -> Iterator[ModuleType]:
    """train.py as a module, with the attention that it picks on such a device."""
    with pytest.MonkeyPatch.context() as patch:
        train = load_train(patch, *KERNELS[request.param])
        assert request.param == train.ATTENTION
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
    if kernel.DEVICE == "cuda":  # only what is compiled takes FlexAttention
        torch._dynamo.reset()
        compiled = torch.compile(window, dynamic=False, backend="eager")  # traced; the whole trainings do more
        assert torch.allclose(compiled(q, k, v), expected, atol=1e-5)


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


@pytest.mark.parametrize("kind", ["flex", "flash"])
def test_a_whole_training_on_a_gpu_that_is_the_cpu_ends_where_the_cpus_does(
    tmp_path: Path, prepared: Prepared, zygote: Zygote, on_the_cpu: Summary, kind: str
) -> None:
    """Pinned batches, a compiled model, the plain norm, activation and loss, logits in half precision."""
    shutil.copy(gpu_on_cpu.__file__, tmp_path)
    summary, output = train(tmp_path, prepared, zygote, "gpu_on_cpu.py", kind)
    name = re.search("attention: (.*), seed", output)
    assert name is not None and name[1] == {"flex": "FlexAttention", "flash": "FlashAttention 3"}[kind]
    assert on_the_cpu.val_bpb == pytest.approx(summary.val_bpb, abs=0.01)
