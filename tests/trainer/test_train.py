"""The parts of train.py, against plain definitions; its modes and its ends, as a process."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from tests.trainer.examining import Prepared, Zygote
from trainer.output import classify_failure, parse_step, parse_summary

TEMPLATE = Path(__file__).resolve().parents[2] / "trainer" / "template"
pytestmark = pytest.mark.timeout(180)


@pytest.fixture(scope="module")
def train() -> ModuleType:
    """train.py as a module; it trains only when run."""
    sys.path.insert(0, str(TEMPLATE))
    try:
        spec = importlib.util.spec_from_file_location("template_train", TEMPLATE / "train.py")
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(TEMPLATE))
    return module


def write(folder: Path, constants: dict[str, str] | None = None) -> Path:
    """The template in this folder, with these constants changed."""
    source = (TEMPLATE / "train.py").read_text()
    for name, value in (constants or {}).items():
        source, found = re.subn(rf"(?m)^{name} = \S+", f"{name} = {value}", source, count=1)
        assert found, name
    for path in filter(Path.is_file, TEMPLATE.iterdir()):
        shutil.copy(path, folder)
    (folder / "train.py").write_text(source)
    return folder / "train.py"


Run = Callable[..., tuple[int, str]]


@pytest.fixture
def run(tmp_path: Path, prepared: Prepared, zygote: Zygote) -> Run:
    """Train with these constants. Returns the exit code and all that it printed."""

    def run(constants: dict[str, str] | None = None, **env: str) -> tuple[int, str]:
        log = tmp_path / "log"
        env = {**prepared.environment, "AUTORESEARCH_BUDGET": "60", "TEMPLATE": str(tmp_path), **env}
        code = zygote.train(write(tmp_path, constants), env, log)
        return code, log.read_bytes().decode()  # not in text mode, which would turn \r into \n

    return run


# Parts


@pytest.mark.parametrize("width", [1, 16, 64, 100, 128, 256])
def test_a_window_sees_the_last_tokens_and_no_other(train: ModuleType, width: int) -> None:
    torch.manual_seed(0)
    q, k, v = (torch.randn(2, train.MAX_SEQ_LEN, 2, 16) for _ in range(3))
    window = train.Window(width)
    window.bias = window.bias.float()
    seen = torch.ones(train.MAX_SEQ_LEN, train.MAX_SEQ_LEN, dtype=torch.bool).tril().triu(1 - width)
    expected = F.scaled_dot_product_attention(*(t.transpose(1, 2) for t in (q, k, v)), attn_mask=seen).transpose(1, 2)
    assert torch.allclose(window(q, k, v), expected, atol=1e-5)


def test_the_chunked_loss_and_its_gradients_are_those_of_the_plain_one(train: ModuleType) -> None:
    torch.manual_seed(0)
    x, weight = torch.randn(700, 32, dtype=torch.float64), torch.randn(50, 32, dtype=torch.float64)
    targets = torch.randint(50, (700,))
    results = []
    for loss in (
        lambda x, w: train.ChunkedLoss.apply(x, w, targets),
        lambda x, w: F.cross_entropy(train.soft_cap(x @ w.T), targets),
    ):
        a, b = x.float().requires_grad_(), (2 * weight).float().requires_grad_()  # some logits are well beyond the cap
        value = loss(a, b)
        (3 * value).backward()
        results.append((value.detach(), a.grad, b.grad))
    for ours, plain in zip(*results, strict=True):
        assert torch.allclose(ours, plain, rtol=1e-4, atol=1e-6)


def gradients(function: Callable[..., Tensor], upstream: Tensor, *inputs: Tensor) -> list[Tensor]:
    """The value, and for this upstream gradient the gradient of each input, which keeps its strides."""
    leaves = [t.detach().requires_grad_() for t in inputs]
    value = function(*leaves)
    value.backward(upstream)
    return [value.detach(), *(leaf.grad for leaf in leaves)]


def assert_same(ours: list[Tensor], plain: list[Tensor]) -> None:
    for a, b in zip(ours, plain, strict=True):
        assert torch.allclose(a, b, atol=1e-5), (a - b).abs().max()


@pytest.mark.parametrize(
    ("name", "torchs"), [("Norm", lambda x: F.rms_norm(x, (32,))), ("SquaredReLU", lambda x: F.relu(x).square())]
)
@pytest.mark.parametrize("order", [(0, 1, 2), (1, 0, 2)], ids=["in order", "permuted"])
@pytest.mark.parametrize("upstream", [torch.randn(4, 25, 32), torch.ones(()).expand(4, 25, 32)], ids=["dense", "expanded"])
def test_a_part_written_out_is_that_of_torch(
    train: ModuleType, name: str, torchs: Callable[[Tensor], Tensor], order: tuple[int, ...], upstream: Tensor
) -> None:
    torch.manual_seed(0)
    x = torch.randn(4, 25, 32).mul(3).permute(order)
    upstream = upstream.permute(order)
    assert_same(gradients(getattr(train, name).apply, upstream, x), gradients(torchs, upstream, x))


def test_a_norm_of_nothing_is_nothing_and_has_a_gradient(train: ModuleType) -> None:
    value, gradient = gradients(train.Norm.apply, torch.randn(3, 32), torch.zeros(3, 32))
    assert not value.any() and gradient.isfinite().all()


@pytest.mark.parametrize("width", [1, 32, 100, 256])
@pytest.mark.parametrize("T", [1, 64, 200, 256])
def test_attention_in_tiles_has_the_gradients_of_torchs(train: ModuleType, width: int, T: int) -> None:
    torch.manual_seed(0)
    q, k, v, upstream = (torch.randn(4, T, 16, dtype=torch.float64) for _ in range(4))
    seen = torch.ones(T, T, dtype=torch.bool).tril().triu(1 - width)
    bias = torch.zeros(256, 256, dtype=torch.float64)
    bias[:T, :T].masked_fill_(~seen, -1e4)
    ours = gradients(lambda q, k, v: train.Tiles.apply(q, k, v, bias, width), upstream, q, k, v)
    assert_same(ours, gradients(lambda q, k, v: F.scaled_dot_product_attention(q, k, v, attn_mask=seen), upstream, q, k, v))


def test_queries_and_keys_of_a_cpu_are_those_of_a_gpu(train: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    model, H, D = train.GPT(64), train.WIDTH // train.HEAD_DIM, train.HEAD_DIM
    cos, sin = model.cos.double(), model.sin.double()
    qk, upstream = (torch.randn(2, train.MAX_SEQ_LEN, 2 * H, D, dtype=torch.float64) for _ in range(2))
    results = []
    for device in ("cpu", "mps"):
        monkeypatch.setattr(train, "DEVICE", device)
        results.append(gradients(lambda t: torch.cat(train.queries_and_keys(t, cos, sin), dim=2), upstream, qk))
    assert_same(*results)


@pytest.mark.parametrize("shape", [(3, 64, 64), (2, 32, 128), (2, 128, 32)])
def test_orthogonalize_brings_singular_values_near_one(
    train: ModuleType, monkeypatch: pytest.MonkeyPatch, shape: tuple[int, ...]
) -> None:
    monkeypatch.setattr(train, "MUON_ITERATIONS", 5)
    torch.manual_seed(0)
    values = torch.linalg.svdvals(train.orthogonalize(torch.randn(shape)).float())
    assert values.max() < 1.4
    assert values.quantile(0.05) > 0.5  # a square matrix may have one near zero, which five steps do not lift


@pytest.mark.parametrize("shape", [(16, 8), (8, 16)])
def test_a_weight_decays_only_where_that_is_the_way_of_the_step(train: ModuleType, shape: tuple[int, int]) -> None:
    torch.manual_seed(0)
    weight, gradient = torch.randn(shape), torch.randn(shape)
    steps = []
    for decay in (0.0, 0.5):
        p = weight.clone()
        p.grad = gradient.clone()
        train.Muon([p]).step(1.0, decay)
        steps.append(p - weight)
    expected = torch.where(steps[0] * weight < 0, -train.MATRIX_LR * 0.5 * weight, 0)
    assert torch.allclose(steps[1] - steps[0], expected, atol=1e-6)


def test_the_rotation_of_a_pair_depends_on_the_distance_alone(train: ModuleType) -> None:
    model = train.GPT(64)
    q, k = torch.randn(train.HEAD_DIM), torch.randn(train.HEAD_DIM)
    cos, sin = model.cos[:, :1].float(), model.sin[:, :1].float()
    turned = [train.rotate(t.expand(1, train.MAX_SEQ_LEN, 1, -1), cos, sin)[0, :, 0] for t in (q, k)]
    assert torch.allclose(turned[0][10] @ turned[1][3], turned[0][110] @ turned[1][103], atol=0.05)
    assert not torch.allclose(turned[0][10] @ turned[1][3], turned[0][10] @ turned[1][9], atol=0.05)


def test_the_model_looks_at_no_later_token(train: ModuleType) -> None:
    torch.manual_seed(0)
    model = train.GPT(64)
    for p in model.parameters():  # blocks start as the identity: make them do something
        torch.nn.init.normal_(p, std=0.2)
    tokens = torch.randint(64, (2, train.MAX_SEQ_LEN))
    changed = tokens.clone()
    changed[:, 100:] = torch.randint(64, changed[:, 100:].shape)
    before, after = model(tokens), model(changed)
    assert torch.equal(before[:, :100], after[:, :100])
    assert not torch.equal(before[:, 100:], after[:, 100:])


@pytest.mark.parametrize(("progress", "lrm"), [(0, 1), (0.29, 1), (0.65, 0.5), (1, 0)])
def test_the_rates_fall_to_zero(
    train: ModuleType, monkeypatch: pytest.MonkeyPatch, progress: float, lrm: float
) -> None:
    monkeypatch.setattr(train, "WARMUP_FRACTION", 0.0)
    monkeypatch.setattr(train, "WARMDOWN_FRACTION", 0.7)
    monkeypatch.setattr(train, "FINAL_LR_FRACTION", 0.0)
    assert train.lr_multiplier(progress) == pytest.approx(lrm)


# A whole training


def test_in_token_mode_one_seed_gives_one_score(run: Run) -> None:
    tokens = {"AUTORESEARCH_TOKENS": str(4 * 2048)}
    first, second = (parse_summary(run(**tokens, AUTORESEARCH_SEED="3")[1]) for _ in range(2))
    other = parse_summary(run(**tokens, AUTORESEARCH_SEED="4")[1])
    assert first is not None and second is not None and other is not None
    assert first.val_bpb == second.val_bpb != other.val_bpb
    assert first.num_steps == 4


def test_a_step_line_has_the_upstreams_fields_and_the_gradients_norm(tmp_path: Path, prepared: Prepared) -> None:
    """A process of its own."""
    write(tmp_path)
    env = {**prepared.environment, "AUTORESEARCH_TOKENS": str(4 * 2048)}
    done = subprocess.run([sys.executable, "train.py"], cwd=tmp_path, env=env, capture_output=True, check=True)
    lines = [line for line in re.split(r"[\r\n]", done.stdout.decode()) if line.startswith("step ")]
    point = parse_step(lines[-1])
    assert point is not None and point.step == 3 and point.percent == 100.0 and point.remaining_s == 0
    keys = [part.split(":")[0].strip() for part in lines[0].split("|")[1:]]
    assert keys == ["loss", "lrm", "dt", "tok/sec", "mfu", "epoch", "grad_norm", "remaining"]
    assert float(lines[-1].split("grad_norm:")[1].split("|")[0]) > 0


@pytest.mark.parametrize(
    ("constants", "reason", "words"),
    [
        ({"EMBEDDING_LR": "float('nan')"}, "nan", "loss is nan at step"),
        ({"UNEMBEDDING_LR": "5.0", "LOGIT_SOFTCAP": "500.0"}, "nan", "diverged: loss is"),
        ({"MLP_RATIO": "4000000", "BATCH_TOKENS": "256", "ROW_BATCH": "1"}, "oom", "out of memory"),
    ],
)
def test_it_ends_at_once_and_names_the_reason(run: Run, constants: dict[str, str], reason: str, words: str) -> None:
    code, output = run(constants, **({"LIMIT": str(8 * 2**30)} if reason == "oom" else {}))
    assert code == 1, output[-500:]
    assert re.search(rf"FAIL: .*{words}|FAIL: {words}", output[-400:]), output
    assert classify_failure(code, output[-8000:]) == reason
    assert parse_summary(output) is None


@pytest.mark.parametrize(
    ("constants", "words"),
    [
        ({"WIDTH": "100"}, "WIDTH 100 is not a multiple of HEAD_DIM"),
        ({"BATCH_TOKENS": "2000"}, "BATCH_TOKENS 2000 is not a multiple of ROW_BATCH"),
        ({"WINDOW_PATTERN": '"LX"'}, "WINDOW_PATTERN 'LX' is not made of S and L"),
        ({"SHORT_WINDOW": "0"}, "SHORT_WINDOW 0 shows a token nothing"),
    ],
)
def test_constants_that_do_not_fit_are_named(run: Run, constants: dict[str, str], words: str) -> None:
    code, output = run(constants)
    assert code == 1 and words in output
