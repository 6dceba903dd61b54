"""Rehearsals without sandbox and shim, in forks of a process that has imported torch; and what edits they are shown."""

# ruff: noqa: E501 - a table of code
from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from tests.trainer.examining import VOCAB, Prepared, T, Zygote
from trainer.launch import TEMPLATE, fixed_files
from trainer.preflight import FOLDER, Card, Preflight, judge
from trainer.spec import read_json

H100 = Card("NVIDIA H100 80GB HBM3", (9, 0), 80 * 2**30)
START = """
import os, runpy, sys
os.chdir({folder!r})
sys.argv[1:], sys.path[0] = [{plan!r}], {rehearsal!r}
runpy.run_path({rehearsal!r} + "/rehearse.py", run_name="__main__")
"""


@dataclass(frozen=True)
class Edit:
    """`new` in place of `old` in train.py. `cpu` and `card`: what a rehearsal for each says; `words` of its error."""

    name: str
    old: str
    new: str
    cpu: bool | None = False
    card: bool | None = False
    words: str = ""

    def apply(self, source: str) -> str:
        assert source.count(self.old) >= 1, f"{self.name}: not in train.py: {self.old}"
        return source.replace(self.old, self.new)


def rehearse(
    source: str, folder: Path, prepared: Prepared, zygote: Zygote, card: Card | None = None, *, seconds: float = 60.0,
    vocab: int = VOCAB, seq_len: int = T, memory_bytes: int | None = None,
) -> Preflight:  # fmt: skip
    """What trainer.preflight.rehearse does, but for the sandbox."""
    code, out = folder / "src", folder / "out"
    code.mkdir(parents=True)
    out.mkdir()
    (code / "train.py").write_text(source)
    for name, ours in fixed_files(["prepare.py"]).items():
        shutil.copy(ours, code / name)
    shown = card and {"name": card.name, "capability": card.capability, "memory_bytes": card.memory_bytes, "vocab_size": vocab}
    plan = {"script": "train.py", "seconds": seconds, "budget": 20, "nice": 0, "seq_len": seq_len, "memory_bytes": memory_bytes, "card": shown}
    start = folder / "start.py"
    start.write_text(START.format(folder=str(code), plan=json.dumps(plan), rehearsal=str(FOLDER)))
    sizes = {"AUTORESEARCH_SEQ_LEN": str(seq_len)}
    env = {**prepared.environment, **sizes, "HOME": str(out), "CUDA_VISIBLE_DEVICES": "", "TEMPLATE": str(code)}
    zygote.train(start, env, folder / "log")
    return judge(read_json(out / "rehearsal.json"), card, (folder / "log").read_text()[-2000:])


def template() -> str:
    return (TEMPLATE / "train.py").read_text()


OLD = tuple(map(int, version("torch").split(".")[:2])) < (2, 11)  # takes a method for a mask: seen with 2.9.1
BROKEN = [
    Edit("a name that is not defined", "x = norm(x)\n        if targets", "x = norm(hidden)\n        if targets", words="NameError: name 'hidden'"),
    Edit("a name that is not defined, at the very end", 'print(f"depth:            {DEPTH}")', 'print(f"depth: {LAYERS}")', words="LAYERS"),
    Edit("a module that is not there", "import torch.nn.functional as F", "import einops_exts\nimport torch.nn.functional as F",
         words="No module named 'einops_exts'"),
    Edit("a name that the module does not have", "from torch import Tensor, nn", "from torch import Tensor, nn, rms_normalise",
         words="cannot import name 'rms_normalise'"),
    Edit("heads that do not divide the width", "HEAD_DIM = 64", "HEAD_DIM = 96", words="WIDTH 128 is not a multiple of HEAD_DIM 96"),
    Edit("a batch that does not divide", "ROW_BATCH = 8", "ROW_BATCH = 12", words="BATCH_TOKENS 2048 is not a multiple"),
    Edit("shapes that do not fit", "self.up = nn.Parameter(torch.empty(int(MLP_RATIO * WIDTH), WIDTH))",
         "self.up = nn.Parameter(torch.empty(int(MLP_RATIO * WIDTH) + 1, WIDTH))", words="RuntimeError"),
    Edit("types that do not fit", "return F.linear(x, weight.to(x.dtype))", "return F.linear(x.double(), weight)", words="dtype"),
    Edit("an argument that does not exist", "nn.Embedding(vocab_size, WIDTH)\n        self.attentions",
         "nn.Embedding(vocab_size, WIDTH, sparse_grad=True)\n        self.attentions", words="unexpected keyword argument 'sparse_grad'"),
    Edit("an argument that was forgotten", "x = x + attention(norm(x), tokens, cos, sin)", "x = x + attention(norm(x), tokens, cos)",
         words="missing 1 required positional argument: 'sin'"),
    Edit("an optimizer's argument that does not exist", "return Muon(matrices), AdamW(others)",
         "return Muon(matrices), torch.optim.AdamW([p for p, *_ in others], learning_rate=1e-3)", words="learning_rate"),
    Edit("in place on a leaf", "hidden = linear(x, self.up)", "self.up.mul_(0.99)\n        hidden = linear(x, self.up)", words="in-place"),
    Edit("in place on what backward needs", "x = x + mlp(norm(x))", "h = mlp(norm(x)).sigmoid()\n            y = h * h\n            h.mul_(2)\n            x = x + y",
         words="modified by an inplace operation"),
    Edit("a parameter that was removed is still used", "        self.smear = nn.Parameter(torch.zeros(WIDTH))  # of each channel, how much the token before brings\n",
         "", words="no attribute 'smear'"),
    Edit("a method that tensors do not have", "x = x + mlp(norm(x))", "x = x + mlp(norm(x)).clip_norm(1.0)", words="clip_norm"),
    Edit("a parameter that no loss reaches", "self.smear = nn.Parameter", "self.unused = nn.Parameter(torch.zeros(4, 4))\n        self.unused_out = nn.Parameter(torch.zeros(WIDTH, WIDTH))\n        self.smear = nn.Parameter",
         words="NoneType"),
    Edit("a division by zero at the end of the schedule", "left = (1 - progress) / WARMDOWN_FRACTION",
         "left = 1 / (0.8 - min(progress, 0.8)) if progress > 0.5 else 1 - progress", words="ZeroDivisionError"),
    Edit("no exam", "val_bpb = evaluate_bpb(model, tokenizer, EVAL_ROWS)", "val_bpb = 1.0", words="without calling evaluate_bpb"),
    Edit("two exams", "val_bpb = evaluate_bpb(model, tokenizer, EVAL_ROWS)",
         "val_bpb = evaluate_bpb(model, tokenizer, EVAL_ROWS)\n    val_bpb = evaluate_bpb(model, tokenizer, EVAL_ROWS)", words="once a training"),
    Edit("logits of another shape", "return logits.half() if DEVICE == \"cuda\" else logits", "return logits[:, -1]", words="every position must be answered"),
    Edit("validation text as data", 'make_dataloader(tokenizer, ROW_BATCH, MAX_SEQ_LEN, "train")', 'make_dataloader(tokenizer, ROW_BATCH, MAX_SEQ_LEN, "test")',
         words="test"),
    Edit("a model of a thousand times the size", "WIDTH = 128", "WIDTH = 65536", words="memory"),
    # What only one of them can see
    Edit("a tensor left on the CPU", "x = norm(x)\n        if targets", "x = norm(x * torch.ones(WIDTH))\n        if targets", cpu=True, words="same device"),
    Edit("a mask that is a method", "create_block_mask(seen_within(self.width),", "create_block_mask((lambda _self, _b, _h, q, k: q >= k).__get__(self),",
         cpu=True, card=OLD, words="requires a mask_mod function"),
    Edit("a gradient that is NaN", "return dx * scale", "return dx * scale * float('nan')", cpu=None, card=True),
    Edit("a loss that is NaN", "return loss / x.size(0)", "return (loss - loss) / (loss - loss)", card=True, words="loss is nan at step 0"),
    # What none of them refuses
    Edit("a loop without end", "model = GPT(tokenizer.get_vocab_size()).to(DEVICE)",
         "model = GPT(tokenizer.get_vocab_size()).to(DEVICE)\n    while True:\n        time.sleep(0.01)", cpu=None, card=None, words="line"),
    Edit("a loss that diverges later", "MATRIX_LR = 0.025", "MATRIX_LR = 0.6", cpu=True, card=True),
]  # fmt: skip

GOOD = [
    Edit("as it stands", "DEPTH = 2", "DEPTH = 2"),
    Edit("deeper", "DEPTH = 2", "DEPTH = 4"),
    Edit("wider", "WIDTH = 128", "WIDTH = 192"),
    Edit("no value embeddings", "VALUE_EMBEDDINGS = 1", "VALUE_EMBEDDINGS = 0"),
    Edit("no smear", "SMEAR = 1", "SMEAR = 0"),
    Edit("a warm-up", "WARMUP_FRACTION = 0.0", "WARMUP_FRACTION = 0.1"),
    Edit("a batch of one row", "ROW_BATCH = 8", "ROW_BATCH = 1"),
    Edit("more tokens a step", "BATCH_TOKENS = 2048", "BATCH_TOKENS = 8192"),
    Edit("another activation", "SquaredReLU.apply(hidden) if DEVICE == \"cpu\" else F.relu(hidden).square()", "F.silu(hidden)"),
    Edit("GELU and a bias", "hidden = linear(x, self.up)", "hidden = F.gelu(linear(x, self.up))"),
    Edit("torch's own optimizer", "return Muon(matrices), AdamW(others)", "return Muon(matrices), Theirs(others)\n\n\n"
         "class Theirs:\n    def __init__(self, groups):\n        self.groups = groups\n"
         "        self.inner = torch.optim.AdamW([{'params': [p], 'lr': lr} for p, lr, _ in groups], betas=(0.8, 0.95))\n\n"
         "    def step(self, lrm):\n        for group, (_, lr, _) in zip(self.inner.param_groups, self.groups):\n"
         "            group['lr'] = lr * lrm\n        self.inner.step()"),
    Edit("gradients clipped by their norm", "gradient = grad_norm(self.model)", "gradient = torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)"),
    Edit("tied embeddings", "self.unembedding = nn.Parameter(torch.empty(vocab_size, WIDTH))",
         "self.unembedding = nn.Parameter(torch.empty(vocab_size, WIDTH))\n        self.tied = self.unembedding"),
    Edit("a check of the loss", "loss = float(loss)  #", "assert torch.isfinite(loss), 'loss is not finite'\n        loss = float(loss)  #"),
    Edit("a moving average of the weights", "        self.model.zero_grad(set_to_none=True)\n        loss = float",
         "        with torch.no_grad():\n            if not hasattr(self, 'mean'):\n                self.mean = {n: p.detach().clone() for n, p in self.model.named_parameters()}\n"
         "            for n, p in self.model.named_parameters():\n                self.mean[n].lerp_(p.detach(), 0.1)\n"
         "        self.model.zero_grad(set_to_none=True)\n        loss = float"),
    Edit("a mask made in forward", "x = norm(x)\n        if targets", "mask = torch.ones(T, T, device=x.device, dtype=torch.bool).tril()\n        x = norm(x) * mask.any(0).to(x.dtype)[None, :, None]\n        if targets"),
    Edit("label smoothing", "return F.cross_entropy(logits.flatten(0, 1), targets.flatten())",
         "return F.cross_entropy(logits.flatten(0, 1), targets.flatten(), label_smoothing=0.1)"),
    Edit("dropout and a schedule by cosine", "left = (1 - progress) / WARMDOWN_FRACTION", "left = 0.5 * (1 + math.cos(math.pi * progress))"),
]  # fmt: skip
