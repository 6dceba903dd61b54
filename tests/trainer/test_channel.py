"""The shim and its judge: the channel's folder, who starts first, and what happens when one of the two dies.

The judge here is a stand-in of a few lines; the real one has tests of its own.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from tests.trainer.launching import log_of, result_of, wait_for
from trainer import channel
from trainer.box import Box
from trainer.channel import choose_folder, sweep
from trainer.spec import ExamSpec, Result, SecondSpec, Spec, write_json

ROOT = Path(__file__).resolve().parents[2]
READY = (
    "import json, os, sys, time\n"
    "folder = json.load(open('spec.json'))['exam']['folder']\n"
    "open(f'{folder}/ready', 'w').close()\n"
)
REPORT = "json.dump({{'problem': {problem!r}}}, open('new', 'w')); os.replace('new', 'exam.json')\n"
SHIM = (
    "import sys; from pathlib import Path; sys.path.insert(0, {root!r})\n"
    "from trainer import channel, shim\n"
    "channel.JUDGE, channel.READY_SECONDS, channel.FINISH_SECONDS = Path({judge!r}), 1.0, 2.0\n"
    "sys.exit(shim.main({workspace!r}))\n"
)


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    (tmp_path / "w" / "src").mkdir(parents=True)
    yield tmp_path / "w"
    for left in channel.SHARED_MEMORY.glob(f"{channel.PREFIX}test-*"):
        shutil.rmtree(left)


def start(folder: Path, judge: str, training: str, where: Path | None = None, **fields: Any) -> subprocess.Popen[bytes]:
    (folder / "judge.py").write_text(judge)
    exam = ExamSpec(str(folder / "data"), 256, 60.0, None, str(where or folder / "exam"))
    defaults: dict[str, Any] = {
        "command": [sys.executable, "-c", training], "deadline_seconds": 30.0, "grace_seconds": 0.3,
        "log_cap_bytes": 1_000_000,
        "env": {"PATH": os.environ["PATH"], "AUTORESEARCH_WORKSPACE": str(folder), "AUTORESEARCH_EXAM": exam.folder},
        "device_lock": str(folder / "device.lock"), "exam": exam,
    }
    write_json(folder / "spec.json", asdict(Spec(**{**defaults, **fields})))
    code = SHIM.format(root=str(ROOT), judge=str(folder / "judge.py"), workspace=str(folder))
    return subprocess.Popen([sys.executable, "-I", "-c", code])


def finish(folder: Path, judge: str, training: str, **fields: Any) -> Result:
    assert start(folder, judge, training, **fields).wait(30) == 0
    return result_of(folder)


def test_the_judge_is_ready_before_the_training_starts_and_its_folder_goes_with_it(folder: Path) -> None:
    where = channel.SHARED_MEMORY / f"{channel.PREFIX}test-{os.getpid()}"
    look = "import os; e = os.environ['AUTORESEARCH_EXAM']; print(os.listdir(e), oct(os.stat(e).st_mode)[-3:])"
    result = finish(folder, f"{READY}time.sleep(60)", look, where=where)
    assert log_of(folder) == "['ready'] 700\n"
    assert (result.ended, result.exit_code, result.exam_after_seconds) == ("exit", 0, None)
    assert not where.exists()


def test_when_the_exam_began_is_told_by_the_shims_own_clock(folder: Path) -> None:
    judge = f"{READY}time.sleep(1)\n{REPORT.format(problem='')}time.sleep(60)"
    result = finish(folder, judge, "import time; time.sleep(2)")
    assert result.exam_after_seconds == pytest.approx(1.0, abs=0.7) and result.seconds < 3


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="counted by /proc")
def test_what_the_training_spent_is_told_without_the_judge_and_apart_until_the_exam(folder: Path) -> None:
    spend = "\nwhile time.process_time() < {}: pass\n"
    judge = f"{READY}while not os.path.exists('src/half'): time.sleep(0.01)\n{REPORT.format(problem='')}{spend.format(1)}"
    result = finish(folder, judge, f"import time{spend.format(0.4)}open('half', 'w')\ntime.sleep(1.5){spend.format(0.9)}")
    assert result.processor_before is not None and 0.35 <= result.processor_before < 0.8, result
    assert result.processor_seconds is not None and 0.85 <= result.processor_seconds < 1.3, result


def test_a_judge_that_cannot_start_is_an_error_with_its_words(folder: Path) -> None:
    result = finish(folder, "raise SystemExit('the held-out text is not there')", "print('never')")
    assert result.ended == "judge_lost" and "exit code 1. It said:\nthe held-out text is not there" in result.detail
    assert not (folder / "log").exists()


def test_a_judge_that_never_gets_ready_is_not_waited_for(folder: Path) -> None:
    result = finish(folder, "import time; time.sleep(60)", "print('never')")
    assert result.ended == "judge_lost" and "was not ready after 1 s. It said nothing." in result.detail


def test_a_judge_that_dies_ends_the_training_which_can_have_no_score_any_more(folder: Path) -> None:
    result = finish(folder, f"{READY}time.sleep(0.5)\nraise SystemExit('out of memory')", "import time; time.sleep(60)")
    assert (result.ended, result.seconds < 10) == ("judge_lost", True) and "out of memory" in result.detail


def test_a_training_that_fails_early_waits_for_no_judge(folder: Path) -> None:
    began = time.monotonic()
    result = finish(folder, f"{READY}time.sleep(60)", "raise SystemExit(3)")
    assert result.exit_code == 3 and time.monotonic() - began < 2


def test_a_judge_may_finish_what_it_was_given(folder: Path) -> None:
    end = REPORT.format(problem="").replace("\n", "")
    judge = (
        f"import signal\n{READY}signal.signal(15, lambda *_: (time.sleep(0.5), exec({end!r}), sys.exit()))\n"
        f"{REPORT.format(problem='unfinished')}time.sleep(60)"
    )
    began = time.monotonic()
    finish(folder, judge, "import os, time\nwhile not os.path.exists('../exam.json'): time.sleep(0.05)")
    assert '"problem": ""' in (folder / "exam.json").read_text() and time.monotonic() - began < 4


DUE = "json.dump({'problem': '', 'twice': 'due'}, open('new', 'w')); os.replace('new', 'exam.json')\n"
ASKED = "import os, time\nwhile not os.path.exists('../exam.json'): time.sleep(0.02)\n"


def second(folder: Path) -> dict[str, Any]:
    (folder / "second").mkdir()
    return {"second": asdict(SecondSpec({"PATH": os.environ["PATH"]}, Box()))}


def test_a_training_that_crashes_after_its_exam_has_crashed(folder: Path) -> None:
    result = finish(folder, f"{READY}{DUE}time.sleep(60)", f"{ASKED}raise SystemExit(7)", **second(folder))
    assert (result.ended, result.exit_code) == ("exit", 7) and not (folder / "second.log").exists()


def test_a_judge_that_finishes_nothing_is_killed(folder: Path) -> None:
    judge = f"import signal\nsignal.signal(15, signal.SIG_IGN)\n{READY}{REPORT.format(problem='unfinished')}time.sleep(60)"
    began = time.monotonic()
    result = finish(folder, judge, "import time; time.sleep(0.5)")
    assert result.ended == "exit" and 2 < time.monotonic() - began < 6


def test_told_to_stop_while_the_judge_gets_ready_nothing_is_left(folder: Path) -> None:
    process = start(folder, "import os, time; open('pid', 'w').write(str(os.getpid())); time.sleep(60)", "print('never')")
    pid = int(wait_for(lambda: (folder / "pid").exists() and (folder / "pid").read_text()))
    process.terminate()
    process.wait(10)
    assert result_of(folder).ended == "stopped" and not (folder / "exam").exists()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_the_shim_killed_its_judge_dies_and_the_next_start_removes_its_folder(folder: Path) -> None:
    where = channel.SHARED_MEMORY / f"{channel.PREFIX}test-{os.getpid()}-killed"
    process = start(folder, f"open('pid', 'w').write(str(__import__('os').getpid()))\n{READY}time.sleep(60)",
                    "import time; print('waiting', flush=True); time.sleep(60)", where=where)
    wait_for(lambda: "waiting" in log_of(folder))
    os.utime(where, (1, 1))
    sweep()
    assert where.exists()  # its owner lives
    process.kill()
    process.wait()
    wait_for(lambda: not Path(f"/proc/{(folder / 'pid').read_text()}").exists())
    sweep()
    assert not where.exists()


def test_a_fresh_folder_without_a_lock_is_left_alone(tmp_path: Path) -> None:
    for name, age in (("autoresearch-fresh", 0), ("autoresearch-old", 3600), ("another", 3600)):
        (tmp_path / name).mkdir()
        os.utime(tmp_path / name, (time.time() - age,) * 2)
    sweep(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["another", "autoresearch-fresh"]


def test_without_room_in_shared_memory_it_is_in_the_workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert choose_folder(tmp_path / "w", tmp_path / "absent") == tmp_path / "w" / "exam"
    assert choose_folder(tmp_path / "w", tmp_path).parent == tmp_path
    monkeypatch.setattr(channel, "ROOM_BYTES", 2**70)
    assert choose_folder(tmp_path / "w", tmp_path) == tmp_path / "w" / "exam"


def test_a_fixed_file_that_changed_is_named(folder: Path) -> None:
    for name in ("prepare.py", "corpus.py", "gone.py"):
        (folder / "src" / name).write_text("text")
    code = "import os; open('prepare.py', 'a').write('x'); os.unlink('gone.py')"
    result = finish(folder, f"{READY}time.sleep(60)", code, fixed=["prepare.py", "corpus.py", "gone.py"])
    assert result.tampered == ["prepare.py", "gone.py"]


def test_a_result_of_an_older_version_is_read() -> None:
    assert Result(ended="exit", exit_code=0, seconds=1.0).tampered == []
