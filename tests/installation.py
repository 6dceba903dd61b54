"""A real installation for a test: its own data folder, `manage.py up` as a process, and ways to look and to kill."""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from tests.console import ROOT, Console

SCRIPTS = ROOT / "tests" / "scripts"
MARKS = {"web": "daphne", "think": "-Q think", "gpu": "-Q gpu", "redis": "unixsocket"}  # in the command line of a child

END = """
from experiments.models import Run
Run.objects.filter(state="active").update(state="paused")  # then the loop writes no more, and all locks are ours
for run in Run.objects.exclude(state="ended"): run.stop(by="test")
"""
FORGET = """
from django.apps import apps
from django.db import transaction
with transaction.atomic():  # numbers go on: what a worker still holds in its hands is nobody else's
    for model in apps.get_app_config("experiments").get_models():
        model.objects.all()._raw_delete("default")
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(what: Callable[[], Any], seconds: float = 60, every: float = 0.2) -> Any:
    """The first true value of `what`; AssertionError after `seconds`."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        value = what()
        if value:
            return value
        time.sleep(every)
    raise AssertionError(f"did not happen in {seconds} s: {getattr(what, '__name__', what)}")


@cache
def migrated() -> Path:
    """A database as the migrations make it, made once for each process of tests; installations begin with a copy."""
    folder = Path(tempfile.mkdtemp(prefix="ar-migrated-"))
    atexit.register(shutil.rmtree, folder, True)
    env = {**clean_environment(), "AUTORESEARCH_VAR": str(folder)}
    subprocess.run([sys.executable, "manage.py", "migrate", "--verbosity", "0"], cwd=ROOT, env=env, check=True)
    return folder / "db.sqlite3"


def clean_environment() -> dict[str, str]:
    return {key: value for key, value in os.environ.items() if key not in {"REDIS_URL", "DATABASE_URL"}}


class Installation:
    """`with Installation() as here:` is up and answers; at the end nothing of it is left."""

    def __init__(self, **env: str) -> None:
        self.var = Path(tempfile.mkdtemp(prefix="ar-"))
        self.port = free_port()
        self.env = {
            **clean_environment(), "AUTORESEARCH_VAR": str(self.var), "AUTORESEARCH_CACHE_DIR": str(self.var / "data"),
            "AUTORESEARCH_DEMO": "0", "AUTORESEARCH_TICK": "1", "AUTORESEARCH_STALE": "4", "PORT": str(self.port),
            "DJANGO_SETTINGS_MODULE": "autoresearch_web.settings", **env,
        }
        self.process: subprocess.Popen[bytes] | None = None
        self.python = Console(self.env)  # runs lines inside this installation's Django

    def __enter__(self) -> Installation:
        shutil.copy(migrated(), self.var / "db.sqlite3")
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self.python.close()
        for pid in self.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        shutil.rmtree(self.var, ignore_errors=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def console(self) -> str:
        return (self.var / "console").read_text(errors="replace")

    def start(self) -> None:
        self.start_process()
        self.wait_ready()

    def start_process(self) -> None:
        self.written = len(self.console) if (self.var / "console").exists() else 0
        with (self.var / "console").open("ab") as out:
            self.process = subprocess.Popen(
                [sys.executable, "manage.py", "up"], cwd=ROOT, env=self.env, stdout=out, stderr=out,
                stdin=subprocess.DEVNULL, start_new_session=True,
            )

    def wait_ready(self) -> None:
        wait_for(lambda: "Sign in" in self.console[self.written :] or self.process.poll() is not None, 90)
        assert self.process.poll() is None, self.console

    def stop(self) -> float:
        """Ctrl-C; seconds until it has ended."""
        began = time.monotonic()
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            self.process.wait(30)
        return time.monotonic() - began

    def manage(self, *args: str) -> str:
        return self.python(f"from django.core.management import call_command; call_command(*{args!r})")

    def start_run(self, script: str = "slow", *, budget: int = 3, tag: str = "night", **options: Any) -> int:
        """A program around one of tests/scripts and a run of it. Returns the run's id."""
        template = self.var / f"template-{script}"
        template.mkdir(exist_ok=True)
        shutil.copy(SCRIPTS / f"{script}.py", template / "train.py")
        (template / "program.md").write_text("# Aim\n\nLower val_bpb.\n")
        fields = options.pop("program", {})
        return int(self.python(
            "from pathlib import Path\nfrom experiments import tasks\nfrom experiments.loop import actions\n"
            f"p = actions.create_program({script!r} + {tag!r}, template=Path({str(template)!r}), fixed=[], "
            f"budget_seconds={budget}, grace_seconds=20, **{fields!r})\n"
            f"print(tasks.start_run(p, {tag!r}, by='test', **{options!r}).pk)"
        ))

    def answers(self) -> bool:
        try:
            return bool(self.health())
        except OSError:
            return False

    def clear(self) -> None:
        """Nobody's runs and programs, as at the start; the people stay, and their sessions."""
        self.python(END)
        wait_for(lambda: not self.processes("shim.py"))
        self.python(FORGET)

    def health(self) -> dict[str, Any]:
        with urllib.request.urlopen(f"{self.url}/healthz", timeout=5) as answer:
            return json.load(answer)

    def rows(self, run: int = 1) -> list[dict[str, Any]]:
        runs = json.loads(self.manage("status", "--json"))["runs"]
        return next((entry["experiments"] for entry in runs if entry["id"] == run), [])

    def finished(self, run: int = 1) -> list[dict[str, Any]]:
        return [row for row in self.rows(run) if row["state"] in {"kept", "discarded"}]

    def sign_in_link(self) -> str:
        return self.manage("signin").strip()

    def processes(self, containing: str = "") -> list[int]:
        """Every process whose command line or environment names our data folder."""
        found = []
        for entry in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                command = (entry / "cmdline").read_bytes()
                text = command + (entry / "environ").read_bytes()
                is_ours = str(self.var).encode() in text and int(entry.name) not in {os.getpid(), self.python.pid}
                if is_ours and containing.encode() in command.replace(b"\0", b" "):
                    found.append(int(entry.name))
        return found

    def child(self, name: str) -> int:
        """pid of one of `up`'s processes: web, think or gpu."""
        return min(self.processes(MARKS[name]))

    def is_replaced(self, name: str, dead: int) -> bool:
        """Whether another process is in the place of the one that was killed."""
        return any(pid != dead for pid in self.processes(MARKS[name]))
