"""Real judges and real trainings without the shim: what test_judge.py and the cheats are examined with."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.trainer.template_modules import TEMPLATE, environment
from trainer import launch
from trainer.launch import Data

ROOT = Path(__file__).resolve().parents[2]
CHEATS = ROOT / "tests" / "scripts" / "cheats"
VOCAB, T = 300, 64


@dataclass(frozen=True)
class Examined:
    report: dict[str, Any] | None  # exam.json
    output: str
    exit_code: int


@dataclass(frozen=True)
class Prepared:
    """A small data set of Python's own sources."""

    data: Data
    folder: Path
    more: dict[str, str] = field(default_factory=dict)  # of a training's environment

    @property
    def environment(self) -> dict[str, str]:
        own = {"AUTORESEARCH_SEED": "1", "TEMPLATE": str(TEMPLATE), **self.more}
        return {**environment(self.data.cache_dir), **self.data.environment(), **own}


def make_data(folder: Path) -> Prepared:
    text = folder / "text"
    text.mkdir(parents=True)
    for path in sorted(Path(sysconfig.get_path("stdlib")).glob("[a-m]*.py")):
        (text / path.name).write_bytes(path.read_bytes()[:6000])
    data = Data(folder / "cache", f"folder:{text}", VOCAB, T)
    return Prepared(data, launch.prepare(data))


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    return make_data(tmp_path_factory.mktemp("exams"))


class Zygote:
    def __init__(self) -> None:
        command = [sys.executable, str(Path(__file__).with_name("zygote.py"))]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def train(self, script: Path, env: dict[str, str], output: Path) -> int:
        assert self.process.stdin and self.process.stdout
        self.process.stdin.write(json.dumps({"script": str(script), "env": env, "output": str(output)}) + "\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())


@pytest.fixture(scope="session")
def zygote() -> Iterator[Zygote]:
    zygote = Zygote()
    yield zygote
    zygote.process.kill()
    zygote.process.wait()


class Judge:
    """A judge's process, and its channel's folder."""

    def __init__(self, workspace: Path, channel: Path, prepared: Prepared, **spec: Any) -> None:
        self.workspace, self.channel = workspace, channel
        exam = {"data_dir": str(prepared.folder), "seq_len": T, "deadline_seconds": 30.0, "secret_below": None}
        (workspace / "spec.json").write_text(json.dumps({"exam": {**exam, "folder": str(channel), **spec}}))
        command = [sys.executable, "-I", str(ROOT / "trainer" / "judge.py"), str(workspace)]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)

    def wait_ready(self) -> None:
        until = time.monotonic() + 20
        while not (self.channel / "ready").exists():
            assert self.process.poll() is None, self.words()
            assert time.monotonic() < until
            time.sleep(0.005)

    def words(self) -> str:
        """What it said on stderr, after its end."""
        return self.process.communicate(timeout=20)[1]

    @property
    def report(self) -> dict[str, Any] | None:
        path = self.workspace / "exam.json"
        return json.loads(path.read_text()) if path.exists() else None


@contextmanager
def judging(workspace: Path, prepared: Prepared, twice: bool = False, **spec: Any) -> Iterator[Judge]:
    """A judge that is ready."""
    memory = Path("/dev/shm")
    channel = Path(tempfile.mkdtemp(prefix="test-exam-", dir=memory if os.access(memory, os.W_OK) else workspace))
    second = Path(f"{channel}-second")
    second.mkdir()
    judge = Judge(workspace, channel, prepared, second=str(second) if twice else "", **spec)
    try:
        judge.wait_ready()
        yield judge
    finally:
        judge.process.kill()
        judge.process.wait()
        shutil.rmtree(channel)
        shutil.rmtree(second)


def examine(
    script: Path, workspace: Path, prepared: Prepared, zygote: Zygote, second: Path | None = None, **spec: Any
) -> Examined:
    """Train and sit the exam; where it is due and asked for, `twice=True`, in a second process too."""
    with judging(workspace, prepared, **spec) as judge:
        output, folder = workspace / "log", f"{judge.channel}-second"
        code = zygote.train(script, {**prepared.environment, "AUTORESEARCH_EXAM": str(judge.channel)}, output)
        if (judge.report or {}).get("twice") == "due":
            own = {"AUTORESEARCH_EXAM": folder, "AUTORESEARCH_TENSORS": str(workspace / "tensors")}
            env = {**prepared.environment, "AUTORESEARCH_BUDGET": "0.1", **own}
            zygote.train(second or script, env, workspace / "second.log")
            judge.process.terminate()
        if judge.report is not None:
            judge.process.wait(20)
        return Examined(judge.report, output.read_text(), code)
