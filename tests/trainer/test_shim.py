"""The shim: one training in a process of its own, its deadline, its output, its end. Real processes."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.trainer.launching import all_of, result_of, wait_for
from trainer import shim, spec
from trainer.shim import CappedLog
from trainer.spec import Spec, is_locked, read_json, try_lock, write_json

SCRIPTS = Path(__file__).parent.parent / "scripts"
Start = Callable[..., subprocess.Popen[bytes]]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "src").mkdir()
    return tmp_path


@pytest.fixture
def start(folder: Path) -> Iterator[Start]:
    """Start a shim around a script of tests/scripts or a line of Python."""
    started: list[subprocess.Popen[bytes]] = []

    def start(code: str = "", *, script: str = "", into: Path | None = None, **fields: Any) -> subprocess.Popen[bytes]:
        workspace = into or folder
        command = [sys.executable, str(SCRIPTS / f"{script}.py")] if script else [sys.executable, "-c", code]
        defaults: dict[str, Any] = {
            "command": command, "env": {"PATH": os.environ["PATH"], "AUTORESEARCH_WORKSPACE": str(workspace)},
            "deadline_seconds": 30.0, "grace_seconds": 0.3, "log_cap_bytes": 4_000_000,
            "device_lock": str(folder / "device.lock"),
        }
        write_json(workspace / "spec.json", asdict(Spec(**{**defaults, **fields})))
        started.append(subprocess.Popen([sys.executable, "-I", shim.__file__, str(workspace)], start_new_session=True))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()
    kill_all(folder)


def kill_all(folder: Path) -> None:
    for process in all_of(folder):
        process.kill()


def is_waiting(folder: Path) -> bool:
    return (folder / "log").exists() and "waiting" in (folder / "log").read_text()


def test_a_training_that_ends_leaves_its_exit_code_and_all_its_output(folder: Path, start: Start) -> None:
    start("import sys; print('out'); print('err', file=sys.stderr); sys.exit(3)").wait(20)
    result = result_of(folder)
    assert (result.ended, result.exit_code) == ("exit", 3)
    assert sorted((folder / "log").read_text().split()) == ["err", "out"]
    assert not is_locked(folder / "lock")


def test_a_training_past_its_deadline_is_ended(folder: Path, start: Start) -> None:
    start(script="hang", deadline_seconds=0.5).wait(20)
    result = result_of(folder)
    assert result.ended == "timeout" and 0.5 <= result.seconds < 3
    assert all_of(folder) == []


def test_a_training_that_ignores_sigterm_is_killed_after_the_grace(folder: Path, start: Start) -> None:
    start(script="stubborn", deadline_seconds=1, grace_seconds=0.5).wait(20)
    result = result_of(folder)
    assert (result.ended, result.exit_code) == ("timeout", -signal.SIGKILL)
    assert result.seconds >= 1.5
    assert all_of(folder) == []


def test_a_grandchild_in_its_own_session_is_ended_too(folder: Path, start: Start) -> None:
    start(script="grandchild").wait(20)
    assert result_of(folder).ended == "exit"
    assert all_of(folder) == []


def test_told_to_stop_it_takes_the_training_along(folder: Path, start: Start) -> None:
    process = start(script="hang")
    wait_for(lambda: is_waiting(folder))
    process.terminate()
    process.wait(20)
    assert result_of(folder).ended == "stopped"
    assert all_of(folder) == []


def test_killed_it_takes_the_training_along(folder: Path, start: Start) -> None:
    process = start(script="hang")
    wait_for(lambda: is_waiting(folder))  # before, a print into the closed pipe would end it
    process.kill()
    process.wait(20)
    wait_for(lambda: all_of(folder) == [])
    assert not (folder / "result.json").exists() and not is_locked(folder / "lock")


def test_a_second_shim_leaves_the_workspace_alone(folder: Path, start: Start) -> None:
    start(script="hang")
    wait_for(lambda: (read_json(folder / "state.json") or {}).get("child"))
    state = read_json(folder / "state.json")
    assert start(script="hang").wait(20) == 3
    assert read_json(folder / "state.json") == state and len(all_of(folder)) == 1


def test_a_finished_workspace_is_not_trained_again(folder: Path, start: Start) -> None:
    start("print('once')").wait(20)
    assert start("print('twice')").wait(20) == 0
    assert (folder / "log").read_text() == "once\n"


def test_who_asks_for_the_lock_at_the_wrong_moment_costs_no_training(folder: Path, start: Start) -> None:
    with (folder / "lock").open("a") as asker:
        assert try_lock(asker)
        process = start("print('trained')")
        time.sleep(0.3)
    assert process.wait(20) == 0
    assert result_of(folder).exit_code == 0


def test_two_who_ask_do_not_see_each_other(folder: Path) -> None:
    (folder / "lock").touch()
    with (folder / "lock").open() as asker:
        spec.fcntl.flock(asker, spec.fcntl.LOCK_SH)
        assert not is_locked(folder / "lock")


def test_a_device_trains_one_at_a_time(folder: Path, start: Start) -> None:
    other = folder / "other"
    (other / "src").mkdir(parents=True)
    first = start(script="hang")
    wait_for(lambda: (read_json(folder / "state.json") or {}).get("child"))
    second = start("print('mine')", into=other)
    wait_for(lambda: read_json(other / "state.json"))
    time.sleep(0.2)
    assert not (other / "log").exists()
    first.terminate()
    second.wait(20)
    assert (other / "log").read_text() == "mine\n"


def test_one_that_waits_for_its_device_can_be_stopped(folder: Path, start: Start) -> None:
    with (folder / "device.lock").open("a") as device:
        assert try_lock(device)
        process = start("print('never')")
        state = wait_for(lambda: read_json(folder / "state.json"))
        os.kill(state["pid"], signal.SIGTERM)
        process.wait(20)
    assert result_of(folder).ended == "stopped" and not (folder / "log").exists()


def test_200_mb_of_output_keep_their_head_and_their_tail(folder: Path, start: Start) -> None:
    start(script="loud", log_cap_bytes=100_000).wait(60)
    log = (folder / "log").read_text()
    assert result_of(folder).exit_code == 0
    assert len(log) < 300_000 and log.startswith("xxxx")
    assert "bytes of output were not kept]" in log
    assert log.endswith("peak_vram_mb:     100.0\n")


def test_output_up_to_the_cap_is_kept_whole(tmp_path: Path) -> None:
    with (tmp_path / "log").open("wb") as file:
        log = CappedLog(file, cap=10)
        for piece in (b"12345", b"678", b"90abc", b"def"):
            log.write(piece)
        log.finish()
    assert (tmp_path / "log").read_bytes() == b"1234567890abcdef"


def test_a_command_that_does_not_exist_is_an_error_with_words(folder: Path, start: Start) -> None:
    start(command=["/no/such/program"]).wait(20)
    result = result_of(folder)
    assert result.ended == "error" and "/no/such/program" in result.detail


def test_a_training_that_closes_its_output_and_runs_on_is_waited_for_without_burning_a_core(
    folder: Path, start: Start
) -> None:
    process = start("import os, time; os.close(1); os.close(2); time.sleep(0.6)")
    wait_for(lambda: (read_json(folder / "state.json") or {}).get("child"))
    before = psutil.Process(process.pid).cpu_times().user
    time.sleep(0.4)
    assert psutil.Process(process.pid).cpu_times().user - before < 0.2
    process.wait(20)
    assert result_of(folder).exit_code == 0


def test_the_training_sees_exactly_the_environment_it_was_given(folder: Path, start: Start) -> None:
    start("import os; print(sorted(os.environ))", env={"PATH": "/bin", "LC_CTYPE": "C.UTF-8"}).wait(20)
    assert (folder / "log").read_text() == "['LC_CTYPE', 'PATH']\n"


def test_a_half_written_file_is_read_as_not_there(tmp_path: Path) -> None:
    (tmp_path / "state.json").write_text('{"pid": 1')
    assert read_json(tmp_path / "state.json") is None
    assert read_json(tmp_path / "nothing.json") is None


def test_a_lock_that_is_held_is_not_taken_and_one_that_comes_free_is(tmp_path):
    with (tmp_path / "lock").open("a") as held, (tmp_path / "lock").open("a") as asking:
        assert try_lock(held) and not try_lock(asking, seconds=0.1)
        threading.Timer(0.1, fcntl.flock, (held, fcntl.LOCK_UN)).start()
        assert try_lock(asking, seconds=10)
