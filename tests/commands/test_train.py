"""manage.py train: one training, its score by the judge, and clear words where there is none."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from django.core.management import ManagementUtility

from experiments.loop import devices
from experiments.management.progress import as_line
from tests.environment import VAR
from tests.trainer.examining import Prepared
from trainer.output import parse_step
from trainer.processes import descendants

ROOT = Path(__file__).resolve().parents[2]
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
Run = Callable[..., tuple[int, str]]
pytestmark = pytest.mark.timeout(180)


def start(*arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, str(ROOT / "manage.py"), "train", *arguments]
    return subprocess.Popen(command, env=os.environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def run(*arguments: str) -> tuple[int, str]:
    process = start(*arguments)
    output, _ = process.communicate(timeout=150)
    return process.returncode, output


@pytest.fixture
def here(capfd: pytest.CaptureFixture[str]) -> Iterator[Run]:
    """The command in this process, as manage.py calls it: it says what it says, and no Django is started for it."""
    handlers = {number: signal.getsignal(number) for number in SIGNALS}

    def run(*arguments: str) -> tuple[int, str]:
        code: object = 0
        try:
            ManagementUtility(["manage.py", "train", *arguments]).execute()
        except SystemExit as end:
            code = end.code
        captured = capfd.readouterr()
        return int(str(code or 0)), captured.out + captured.err

    yield run
    for number, handler in handlers.items():
        signal.signal(number, handler)


def write(folder: Path, text: str) -> Path:
    (folder / "mine.py").write_text(text)
    return folder / "mine.py"


def wait_for(done, seconds: float = 60) -> None:  # type: ignore[no-untyped-def]
    until = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < until, "it took too long"
        time.sleep(0.05)


def start_hanging(tmp_path: Path) -> subprocess.Popen[str]:
    """A training that never ends, with a child of its own; returns when it runs."""
    code = "import subprocess\nprint('here', flush=True)\nsubprocess.run(['sleep', '600'])"
    process = start("--preset", "cpu", "--file", str(write(tmp_path, code)))
    wait_for(lambda: any("here" in path.read_text() for path in (VAR / "train").glob("*/workspace/log")))
    return process


def test_a_training_shows_its_steps_and_the_judges_score() -> None:
    code, output = run("--preset", "cpu", "--seconds", "3")
    assert code == 0, output
    assert "tok/s" in output and "100.0%" in output, "the last step is shown, whenever it came"
    assert "verified: by the judge (bpb/1, 131,072 bytes)" in output
    assert "start-up" in output and "peak memory" in output and "sandbox:" in output and "?" not in output
    assert not list((VAR / "train").iterdir())


def test_a_budget_shorter_than_one_start_still_gives_a_score(here: Run, prepared: Prepared) -> None:
    wish = ("--preset", "cpu", "--dataset", prepared.data.dataset, "--seconds", "0.1")
    code, output = here(*wish)
    assert code == 0 and "0.1 s on cpu" in output and "verified: by the judge" in output, output


def test_so_many_tokens_give_the_same_score_twice(here: Run, prepared: Prepared) -> None:
    """On a little text: most of such a training would be the exam."""
    scores = set()
    for _ in range(2):
        wish = ("--preset", "cpu", "--dataset", prepared.data.dataset, "--tokens", "10000", "--seed", "7", "--no-sandbox")
        code, output = here(*wish)
        assert code == 0 and "sandbox: limits" in output, output
        scores.add(next(line for line in output.splitlines() if line.startswith("val_bpb")))
    assert len(scores) == 1


def test_a_printed_score_without_an_exam_is_none(tmp_path: Path) -> None:
    code, output = run("--preset", "cpu", "--file", str(write(tmp_path, 'print("---\\nval_bpb: 0.5")')))
    assert code == 1 and "No score (tampered)" in output and "by the judge" not in output


@pytest.mark.parametrize(
    ("text", "reason", "words"),
    [
        ("raise ValueError('bad shape')", "crash", "ValueError: bad shape"),
        ("raise MemoryError", "oom", "MemoryError"),
        ("print('FAIL: loss is nan')\nraise SystemExit(1)", "nan", "loss is nan"),
        ("print('hello')", "no_score", "evaluate_bpb"),
    ],
)
def test_a_failure_shows_the_end_of_the_log_and_the_reason(
    tmp_path: Path, here: Run, text: str, reason: str, words: str
) -> None:
    code, output = here("--preset", "cpu", "--file", str(write(tmp_path, text)))
    assert code == 1 and words in output and f"No score ({reason})" in output and "commands/train.py" not in output


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--file", "/nowhere/none.py"), "none.py cannot be read"),
        (("--dataset", "nothing"), "there is no data set 'nothing'"),
        (("--vocab", "100"), "at least 260"),
        (("--seconds", "0"), "not at least 0.1"),
        (("--seconds", "nan"), "not at least 0.1"),
        (("--tokens", "0"), "not above 0"),
        (("--preset", "gpu-1tb"), "invalid choice"),
    ],
)
def test_a_wrong_option_is_told_in_words(here: Run, arguments: tuple[str, ...], words: str) -> None:
    code, output = here(*arguments)
    assert code != 0 and words in output and "Traceback" not in output
    assert not list((VAR / "train").glob("*"))


def is_alive(pid: int) -> bool:
    """A process whose parent has not taken note of its end is not alive."""
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def test_it_waits_for_a_training_on_the_same_device_and_says_so(tmp_path: Path) -> None:
    file = write(tmp_path, "raise ValueError('it ran')")
    with devices.lock_path("cpu").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        process = start("--preset", "cpu", "--file", str(file))
        wait_for(lambda: list((VAR / "train").glob("*/workspace/state.json")))
        time.sleep(0.5)
        assert process.poll() is None and not list((VAR / "train").glob("*/workspace/log"))
    output, _ = process.communicate(timeout=60)
    assert "Waits: another training holds cpu" in output and "it ran" in output


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_ctrl_c_or_a_closed_terminal_ends_everything(tmp_path: Path, number: int) -> None:
    process = start_hanging(tmp_path)
    below = descendants(process.pid)
    process.send_signal(number)
    output, _ = process.communicate(timeout=30)
    assert process.returncode == 130 and "Stopped, with everything" in output
    assert len(below) >= 3 and not any(map(is_alive, below))
    assert not list((VAR / "train").iterdir())


def test_a_second_command_leaves_the_first_ones_training_alone(tmp_path: Path) -> None:
    first = start_hanging(tmp_path)
    second = start("--preset", "cpu", "--file", str(tmp_path / "mine.py"))
    wait_for(lambda: len(list((VAR / "train").glob("*/workspace/state.json"))) == 2)
    second.send_signal(signal.SIGINT)
    output, _ = second.communicate(timeout=30)
    assert "Waits: another training holds cpu" in output and "Stopped" in output
    assert first.poll() is None and len(list((VAR / "train").iterdir())) == 1
    first.send_signal(signal.SIGINT)
    first.communicate(timeout=30)


def test_what_a_killed_command_left_is_ended_by_the_next(tmp_path: Path) -> None:
    process = start_hanging(tmp_path)
    below = descendants(process.pid)
    process.kill()
    process.communicate()
    code, output = run("--preset", "cpu", "--file", str(write(tmp_path, "raise ValueError('next')")))
    assert code == 1 and "ValueError: next" in output and "Waits" not in output
    wait_for(lambda: not any(map(is_alive, below)))
    assert not list((VAR / "train").iterdir())


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        (
            "step 00007 (12.5%) | loss: 3.14159 | lrm: 1.00 | dt: 40ms | tok/sec: 51,200 | mfu: 41.5% | remaining: 17s",
            "step 7  12.5%  loss 3.142  51,200 tok/s  mfu 41.5%  17 s left",
        ),
        ("step 3 | loss: 2.0 | mfu: n/a", "step 3  loss 2.000"),
    ],
)
def test_the_live_line_has_what_is_known(line: str, shown: str) -> None:
    point = parse_step(line)
    assert point is not None and as_line(point) == shown
