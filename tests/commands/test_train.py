"""manage.py train: one training, its score by the judge, and clear words where there is none."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.environment import VAR

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.timeout(180)


def start(*arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, str(ROOT / "manage.py"), "train", *arguments]
    return subprocess.Popen(command, env=os.environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def run(*arguments: str) -> tuple[int, str]:
    process = start(*arguments)
    output, _ = process.communicate(timeout=150)
    return process.returncode, output


def test_a_training_shows_its_steps_and_the_judges_score() -> None:
    code, output = run("--preset", "cpu", "--seconds", "2")
    assert code == 0, output
    assert "step 0" in output
    assert "by the judge (bpb/1, 131,072 bytes)" in output
    assert "start-up" in output and "sandbox:" in output
    assert not list((VAR / "train").iterdir())


def test_a_printed_score_without_an_exam_is_none(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text('print("---\\nval_bpb: 0.5")')
    code, output = run("--preset", "cpu", "--file", str(tmp_path / "mine.py"))
    assert code == 1 and "No score" in output and "by the judge" not in output


def test_a_crash_shows_the_end_of_the_log(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("raise ValueError('bad shape')")
    code, output = run("--preset", "cpu", "--file", str(tmp_path / "mine.py"))
    assert code == 1 and "ValueError: bad shape" in output and "No score (crash)" in output


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    code, output = run("--preset", "cpu", "--file", str(tmp_path / "none.py"))
    assert code == 1 and "none.py cannot be read" in output and "Traceback" not in output


def test_ctrl_c_ends_everything(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("import time\nprint('here', flush=True)\ntime.sleep(600)")
    process = start("--preset", "cpu", "--file", str(tmp_path / "mine.py"))
    until = time.monotonic() + 60
    while not list((VAR / "train").glob("*/workspace/log")) and time.monotonic() < until:
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=30)
    assert process.returncode == 130 and "Stopped" in output
    assert not list((VAR / "train").iterdir())
