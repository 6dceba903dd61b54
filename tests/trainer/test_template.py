"""The training that every new program starts from: it runs, and its lines are read."""

import math
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.trainer.examining import Zygote
from tests.trainer.template_modules import TEMPLATE, environment
from trainer.output import LineSplitter, classify_failure, parse_step, parse_summary

torch = pytest.importorskip("torch")


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    for path in filter(Path.is_file, TEMPLATE.iterdir()):
        shutil.copy(path, tmp_path)
    return tmp_path


class Result(NamedTuple):
    returncode: int
    stdout: str


def train(workspace: Path, cache: Path, **more: str) -> Result:
    process = subprocess.run(
        [sys.executable, "train.py"],
        cwd=workspace,
        env=environment(cache, **more),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=120,
    )
    return Result(process.returncode, process.stdout.decode())  # not in text mode, which would turn \r into \n


def fork(zygote: Zygote, workspace: Path, cache: Path, **more: str) -> Result:
    """The same in a process that has torch imported."""
    env, log = environment(cache, TEMPLATE=str(workspace), **more), workspace / "log"
    return Result(zygote.train(workspace / "train.py", env, log), log.read_bytes().decode())


def edit(workspace: Path, old: str, new: str) -> None:
    path = workspace / "train.py"
    source = path.read_text()
    assert len(re.findall(old, source)) == 1, old
    path.write_text(re.sub(old, new, source))


# Training


def test_a_training_prints_steps_and_a_summary(workspace: Path, cache_dir: Path) -> None:
    result = train(workspace, cache_dir, AUTORESEARCH_BUDGET="3")
    assert result.returncode == 0, result.stdout

    points = [point for line in LineSplitter().feed(result.stdout) if (point := parse_step(line))]
    summary = parse_summary(result.stdout)
    assert len(points) >= 3
    assert points[0].step == 0
    assert points[0].loss == pytest.approx(math.log(512), rel=0.02)
    assert points[-1].loss < points[0].loss
    assert points[-1].percent == 100.0
    assert points[-1].remaining_s == 0
    assert summary is not None
    assert summary.val_bpb is not None and 1 < summary.val_bpb < 4
    assert summary.num_steps == points[-1].step + 1
    assert summary.training_seconds == pytest.approx(3, abs=1.5)
    assert summary.total_seconds is not None and summary.total_seconds > summary.training_seconds
    assert summary.peak_vram_mb is not None and summary.peak_vram_mb > 50
    assert summary.extra == {}
    if not torch.cuda.is_available():
        assert points[-1].mfu is None
        assert "mfu: n/a" in result.stdout
        assert "mfu_percent:      n/a" in result.stdout


def test_a_training_without_numbers_fails_at_once(workspace: Path, cache_dir: Path, zygote: Zygote) -> None:
    edit(workspace, r"(?m)^EMBEDDING_LR = [\d.]+", "EMBEDDING_LR = float('nan')")
    result = fork(zygote, workspace, cache_dir, AUTORESEARCH_BUDGET="60")
    last = LineSplitter().feed(result.stdout)[-1]
    assert result.returncode == 1
    assert "FAIL" in last
    assert parse_step(last) is not None
    assert classify_failure(result.returncode, result.stdout[-500:]) == "nan"
    assert parse_summary(result.stdout) is None


@pytest.mark.parametrize(
    ("constant", "message"),
    [
        ("WIDTH = 100", "WIDTH 100 is not a multiple of HEAD_DIM"),
        ("BATCH_TOKENS = 1000", "BATCH_TOKENS 1000 is not a multiple of ROW_BATCH"),
        ("HEAD_DIM = 1", "HEAD_DIM 1 is odd"),
    ],
)
def test_constants_that_do_not_divide_are_refused(
    workspace: Path, cache_dir: Path, zygote: Zygote, constant: str, message: str
) -> None:
    edit(workspace, rf"(?m)^{constant.split(' = ')[0]} = \d+", constant)
    result = fork(zygote, workspace, cache_dir)
    assert result.returncode == 1
    assert message in result.stdout
    assert "Traceback" not in result.stdout
