"""`manage.py up`: one per data folder, a free port, clear words for bad values, and an end that leaves nothing."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.faults.machine import Machine
from tests.installation import ROOT, wait_for


@pytest.fixture(scope="module")
def port_8000_taken() -> Iterator[None]:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with contextlib.suppress(OSError):  # somebody else has taken it already
            probe.bind(("127.0.0.1", 8000))
            probe.listen()
        yield


def up(env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "manage.py", "up"]
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=60, check=False)


def test_a_second_up_on_the_same_data_is_told_who_holds_it_and_how_to_stop_it(here: Machine) -> None:
    second = up(here.env)
    assert second.returncode == 1
    assert f"{here.var} is in use: process {here.process.pid} serves it at {here.url}" in second.stderr
    assert f"kill -INT {here.process.pid}" in second.stderr and "Traceback" not in second.stderr
    assert here.answers()


def test_a_port_that_was_asked_for_and_is_taken_stops_the_start_with_words(here: Machine, tmp_path) -> None:
    other = up({**here.env, "AUTORESEARCH_VAR": str(tmp_path)})
    assert other.returncode == 1 and f"Port {here.port} is taken. Choose another: PORT=" in other.stderr
    assert "Traceback" not in other.stderr and not (tmp_path / "db.sqlite3").exists(), "before anything is written"


def test_ctrl_c_ends_everything_within_ten_seconds_even_a_training_that_ignores_it(here: Machine) -> None:
    run = here.start_run("stubborn", budget=300, tag="stubborn")
    wait_for(lambda: here.experiment(run)["state"] == "training" and here.processes("train.py"))
    assert here.stop() < 10
    assert here.processes() == []
    assert "stopped. `make run` goes on where it was." in here.console
    assert not (here.var / "up.json").exists()


def test_up_again_what_was_stopped_trains_again(here: Machine) -> None:
    here.start()
    run = here.ask("SELECT id FROM experiments_run WHERE tag = 'stubborn'")[0][0]
    wait_for(lambda: here.experiment(run)["state"] == "training" and here.processes("train.py"))
    assert here.experiment(run)["losses"] == 0


def test_a_closed_terminal_ends_everything_too(here: Machine) -> None:
    os.kill(here.process.pid, signal.SIGHUP)
    here.process.wait(15)
    wait_for(lambda: here.processes() == [], 5)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("AUTORESEARCH_TICK", "soon", "AUTORESEARCH_TICK='soon': expected a whole number"),
        ("PORT", "123456", "PORT=123456: expected a number from 0 to 65535"),
        ("AUTORESEARCH_DEMO", "perhaps", "AUTORESEARCH_DEMO='perhaps': expected 1 or 0"),
        ("DATABASE_URL", "nonsense://x", "DATABASE_URL cannot be read"),
    ],
)
def test_a_bad_value_stops_the_start_and_says_what_was_expected(tmp_path, name, value, words) -> None:
    started = up({**os.environ, "AUTORESEARCH_VAR": str(tmp_path), "AUTORESEARCH_DEMO": "0", name: value})
    assert started.returncode != 0 and words in started.stderr
    assert "Traceback" not in started.stderr


def test_a_demo_that_cannot_train_is_no_ready_machine(tmp_path) -> None:
    """The data cannot be stored: every process is ready, and nothing would train."""
    (tmp_path / "file").write_text("in the way")
    with Machine(AUTORESEARCH_DEMO="1", AUTORESEARCH_CACHE_DIR=str(tmp_path / "file" / "data")) as machine:
        wait_for(lambda: "\ndemo: " in machine.console, 90)
        line = next(line for line in machine.console.splitlines() if line.startswith("demo: "))
        assert line.startswith("demo: cannot train, because ") and str(tmp_path / "file") in line


@pytest.fixture(scope="module")
def with_a_demo(port_8000_taken: None) -> Iterator[Machine]:
    """On no port that was asked for. It trains for as long as it lives: its tests are the last."""
    with Machine(AUTORESEARCH_DEMO="1", PORT="") as machine:
        yield machine


def test_the_default_port_taken_the_next_free_one_is_used(with_a_demo: Machine) -> None:
    assert "port 8000 is taken; using 80" in with_a_demo.console
    with_a_demo.port = int(with_a_demo.console.partition("using ")[2][:4])
    assert with_a_demo.answers()


def test_the_first_screen_ends_with_what_the_demo_does(with_a_demo: Machine) -> None:
    wait_for(lambda: "\ndemo: " in with_a_demo.console, 90)
    assert "demo: training #0, 20 s each" in with_a_demo.console
    assert with_a_demo.console.index("Sign in (once)") < with_a_demo.console.index("demo: training")
