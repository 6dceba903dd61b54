"""What a new user does on a machine: `make run`, wait for two experiments, Ctrl-C. And what is seen of it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.machines import processes
from tests.machines.installation import Installation
from tests.machines.machine import Machine

FINISHED = {"kept", "discarded"}
WANTED, LEVEL, BADGE = 2, "bubblewrap", "verified"
STOPPING_SECONDS = 20
ANSWERS = """
import http.client, sys
page = http.client.HTTPConnection("127.0.0.1", int(sys.argv[1]), timeout=2)
page.request("GET", "/healthz")
sys.exit(page.getresponse().status != 200)
"""


class Red(Exception):
    """This machine does not do what the README says; the words say what was seen."""


@dataclass
class Seen:
    installed: bool = False
    page_seconds: float | None = None
    experiments_seconds: float | None = None
    stop_seconds: float | None = None
    levels: list[str] = field(default_factory=list)
    badges: list[str] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    why: str = ""  # it is red


def try_out(machine: Machine, installation: Installation, minutes: float) -> Seen:
    """In so many minutes with an installation, and in half of them without."""
    seen = Seen(installed=not installation.is_there)
    until = time.monotonic() + 60 * minutes / (1 if seen.installed else 2)
    began = time.monotonic()
    try:
        if seen.installed and any(condition.name == "no-network" for condition in machine.row.conditions):
            _install_before(machine, installation, until)
        process = machine.start("make", "run", f"PYTHON={installation.python}")
        try:
            _await(lambda: _answers(machine, process), process, until, "no page")
            seen.page_seconds = time.monotonic() - began
            began = time.monotonic()
            _await(lambda: _has_two(machine, process, installation), process, until, f"fewer than {WANTED} experiments")
            seen.experiments_seconds = time.monotonic() - began
            _look_at(seen, machine.clone / "var" / "db.sqlite3")
        except Red as red:  # before the terminal says that it was stopped
            raise Red(f"{red}: {last_words(machine)}") from None
        finally:
            seen.stop_seconds = _stop(process)
        _check_end(seen, machine.folder.parent)
    except Red as red:
        seen.why = str(red)
    return seen


def _install_before(machine: Machine, installation: Installation, until: float) -> None:
    """With a network, which the row's own processes have not."""
    command, seconds = ["make", "setup", f"PYTHON={installation.python}"], until - time.monotonic()
    try:
        with machine.terminal.open("ab") as out:
            subprocess.run(
                command, cwd=machine.clone, env=machine.env, stdout=out, stderr=out, check=True, timeout=seconds
            )
    except subprocess.SubprocessError:
        raise Red(f"no installation: {last_words(machine)}") from None


def _await(what: Callable[[], bool], process: subprocess.Popen[bytes], until: float, missing: str) -> None:
    began = time.monotonic()
    while not what():
        if process.poll() is not None:
            raise Red(f"{missing}, `make run` ended with {process.returncode}")
        if time.monotonic() > until:
            raise Red(f"{missing} in {time.monotonic() - began:.0f} s")
        time.sleep(1)


def _answers(machine: Machine, process: subprocess.Popen[bytes]) -> bool:
    return machine.beside(process, sys.executable, "-c", ANSWERS, str(machine.port)).returncode == 0


def _has_two(machine: Machine, process: subprocess.Popen[bytes], installation: Installation) -> bool:
    """Raises Red when no run goes on: then none will come."""
    time.sleep(2)  # to ask costs a second of one core
    command = [str(installation.interpreter), str(machine.clone / "manage.py"), "status", "--json"]
    answer = machine.beside(process, *machine.as_user, *command).stdout
    runs = json.loads(answer)["runs"] if answer.startswith("{") else []
    if runs and all(run["state"] not in {"active", "pausing"} for run in runs):
        raise Red(f"the run is {runs[0]['state']}")
    return count_finished(runs) >= WANTED


def count_finished(runs: list[dict[str, Any]]) -> int:
    rows = [row for run in runs for row in run["experiments"]]
    return sum(row["state"] in FINISHED and bool(row.get("val_bpb")) for row in rows)


def _look_at(seen: Seen, database: Path) -> None:
    """What `status --json` does not tell: level, badges, text."""
    finished = "SELECT sandbox, badges, exam FROM experiments_experiment WHERE state IN ('kept', 'discarded')"
    with _reading(database) as rows:
        for level, badges, exam in rows.execute(finished):
            seen.levels.append(level)
            seen.badges += json.loads(badges)
            seen.texts.append(str(json.loads(exam).get("validation_hash", ""))[:12])


@contextlib.contextmanager
def _reading(database: Path) -> Iterator[sqlite3.Connection]:
    with contextlib.closing(sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True)) as rows:
        yield rows


def _stop(process: subprocess.Popen[bytes]) -> float:
    """Ctrl-C; seconds until it has ended, STOPPING_SECONDS or more: it has not."""
    began = time.monotonic()
    with contextlib.suppress(ProcessLookupError, subprocess.TimeoutExpired):
        os.killpg(process.pid, signal.SIGINT)
        process.wait(STOPPING_SECONDS)
    return time.monotonic() - began


def _check_end(seen: Seen, root: Path) -> None:
    if seen.stop_seconds is None or seen.stop_seconds >= STOPPING_SECONDS:
        raise Red(f"not ended {STOPPING_SECONDS} s after Ctrl-C")
    time.sleep(1)
    left = processes.of_folder(root)
    if left:
        raise Red(f"{len(left)} processes left after Ctrl-C: {next(iter(left.values()))[:80]}")
    if set(seen.levels) != {LEVEL}:
        raise Red(f"level {', '.join(sorted(set(seen.levels)))}, not {LEVEL}")
    if seen.badges.count(BADGE) < len(seen.levels):
        raise Red(f"not all are {BADGE}")


def last_words(machine: Machine) -> str:
    """Why there was nothing: what the last failed experiment or the run says, else the end of the terminal."""
    database = machine.clone / "var" / "db.sqlite3"
    queries = (
        "SELECT detail FROM experiments_experiment WHERE state = 'failed' AND detail != '' ORDER BY id DESC LIMIT 1",
        "SELECT detail FROM experiments_run WHERE detail != '' ORDER BY id DESC LIMIT 1",
    )
    with contextlib.suppress(sqlite3.Error), _reading(database) as rows:  # no such file yet, or no tables in it
        for query in queries:
            for (detail,) in rows.execute(query):
                return in_few_words(detail)
    return in_few_words(machine.terminal.read_text(errors="replace") if machine.terminal.exists() else "")


def in_few_words(text: str, most: int = 200) -> str:
    lines = [" ".join(line.split()) for line in text.splitlines() if line.strip() and not line.startswith("make: ")]
    words = lines[-1] if lines else ""
    return words if len(words) <= most else f"{words[:most].rstrip()} …"
