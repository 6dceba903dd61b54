"""Starts, watches and ends the processes of one installation. The lock on var/up.lock says who holds the data."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import socket
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError
from django.db import DatabaseError

from experiments import loading
from experiments.loop import devices, training
from experiments.loop.ahead import ASKED_AT_ONCE
from experiments.management.first_words import FirstWords
from experiments.management.processes import Child, end_leftovers, identity, redis_command

START_SECONDS, STOP_SECONDS = 60, 4.0
THINK_THREADS = str(ASKED_AT_ONCE + 8)  # most of them wait, for an LLM or an agent; the others must not wait for these
RESTART_PAUSES = (0.2, 1.0, 3.0, 10.0)  # seconds before the first, second, … restart in a row
Say = Callable[[str], None]


class Supervisor:
    def __init__(self, say: Say) -> None:
        self.say = say
        self.var = Path(settings.VAR_DIR)
        self.children: dict[str, Child] = {}
        self.restarts: dict[str, list[float]] = {}
        self.stopping = False
        self.port = 0

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the data folder; a second `up` is told who does."""
        path = self.var / "up.lock"
        with path.open("a+") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                known = self._known()
                raise CommandError(
                    f"{self.var} is in use: process {known.get('pid', '?')} serves it at "
                    f"http://{settings.HOST}:{known.get('port', '?')}. Stop it with `kill -INT {known.get('pid', 'PID')}` "
                    "(or Ctrl-C in its terminal), or set AUTORESEARCH_VAR to another folder."
                ) from None
            left = end_leftovers(self._known().get("children", []))
            if left:
                self.say(f"ended {left} processes that an earlier, killed `up` had left")
            yield
            (self.var / "up.json").unlink(missing_ok=True)

    def _known(self) -> dict[str, Any]:
        try:
            value = json.loads((self.var / "up.json").read_text())
        except (FileNotFoundError, ValueError):
            return {}
        return value if isinstance(value, dict) else {}

    def remember(self) -> None:
        pids = [child.process.pid for child in self.children.values() if child.process and child.is_running]
        known = {"pid": os.getpid(), "port": self.port, "children": [identity(pid) for pid in pids]}
        (self.var / "up.json").write_text(json.dumps(known))

    # Starting

    def choose_port(self) -> None:
        """Before anything is started or written."""
        self.port = self._free_port()

    def start_redis(self) -> None:
        if os.environ.get("REDIS_URL"):
            self.say(f"redis   given   {settings.REDIS_URL.rpartition('@')[2]}")
            return
        path = Path(settings.REDIS_SOCKET)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        name, command = redis_command(path)
        self._start("redis", command)
        self._await("redis", path.exists)
        self.say(f"redis   ready   {name}, unix socket")

    def start_rest(self) -> None:
        """Web and workers, side by side; a line for each as it becomes ready."""
        python = sys.executable
        worker = [python, "-m", "celery", "-A", "autoresearch_web", "worker", "--pool", "threads", "--loglevel", "INFO"]
        worker += ["--without-gossip", "--without-mingle", "--without-heartbeat"]
        slots = str(len(devices.names()))
        host = ["-b", settings.HOST, "-p", str(self.port)]
        self._start("web", [python, "-m", "daphne", *host, "--no-server-name", "autoresearch_web.asgi:application"])
        self._start("think", [*worker, "-Q", "think", "-c", THINK_THREADS, "-n", "think@%h"])
        self._start("gpu", [*worker, "-Q", "gpu", "-c", slots, "-n", "gpu@%h"])
        self.remember()
        self._await("web", lambda: bool(self.health()))
        self.say(f"web     ready   {self.url}")
        self._await("think", lambda: self.health().get("workers", {}).get("think", 0) > 0)
        self.say("think   ready   proposals and decisions")
        self._await("gpu", lambda: self.health().get("workers", {}).get("gpu", 0) > 0)
        self.say(f"gpu     ready   trains on {', '.join(devices.names())}{devices.trouble()}")

    @property
    def url(self) -> str:
        return f"http://{settings.HOST}:{self.port}"

    def _start(self, name: str, command: list[str]) -> None:
        env = {**os.environ, "PYTHONUNBUFFERED": "1", "CELERY_SKIP_CHECKS": "1"}  # Django's: a second of each
        Path(settings.LOG_DIR).mkdir(exist_ok=True)
        log = Path(settings.LOG_DIR) / f"{name}.log"
        child = Child(name, command, cwd=Path(settings.BASE_DIR), env=env, log=log)
        child.start()
        self.children[name] = child

    def _await(self, name: str, is_ready: Callable[[], bool]) -> None:
        until = time.monotonic() + START_SECONDS
        while not is_ready():
            if self.stopping:
                raise KeyboardInterrupt
            child = self.children[name]
            if not child.is_running or time.monotonic() > until:
                raise CommandError(f"{name} did not start. The end of {child.log}:\n{child.tail()}")
            time.sleep(0.05)

    def health(self) -> dict[str, Any]:
        host = "127.0.0.1" if settings.HOST in {"0.0.0.0", ""} else settings.HOST
        try:
            with urllib.request.urlopen(f"http://{host}:{self.port}/healthz", timeout=5) as answer:
                value = json.load(answer)
        except (OSError, ValueError):
            return {}
        return value if isinstance(value, dict) else {}

    def _free_port(self) -> int:
        """PORT is taken as it is; without it the first free one from 8000 on."""
        if settings.PORT:
            if not self._is_free(settings.PORT):
                raise CommandError(f"Port {settings.PORT} is taken. Choose another: PORT={settings.PORT + 1} make run")
            return int(settings.PORT)
        for port in range(8000, 8100):
            if self._is_free(port):
                if port != 8000:
                    self.say(f"port 8000 is taken; using {port} (PORT=… fixes it)")
                return port
        raise CommandError("Ports 8000 to 8099 are all taken. Choose one: PORT=9000 make run")

    @staticmethod
    def _is_free(port: int) -> bool:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((settings.HOST, port))
            except OSError:
                return False
        return True

    # Watching and ending

    def watch(self) -> None:
        """Start again what dies, with a growing pause, until told to stop."""
        first, lines = FirstWords(time.monotonic()), loading.Lines()
        while not self.stopping:
            time.sleep(0.2)
            with contextlib.suppress(DatabaseError):  # away for a while: the pages say so
                for line in (*lines.new(time.monotonic()), *first.new(time.monotonic())):
                    self.say(line)
            for name, child in self.children.items():
                if not child.is_running and not self.stopping:
                    self._restart(name, child)

    def _restart(self, name: str, child: Child) -> None:
        now = time.monotonic()
        recent = [at for at in self.restarts.get(name, []) if now - at < 120]
        if recent and now - recent[-1] < RESTART_PAUSES[min(len(recent) - 1, len(RESTART_PAUSES) - 1)]:
            return
        code = child.process.returncode if child.process else None
        self.say(f"{name} ended ({code}); starting it again. Its log: {child.log}")
        self.restarts[name] = [*recent, now]
        if name == "redis":
            Path(settings.REDIS_SOCKET).unlink(missing_ok=True)
        child.start()
        self.remember()

    def end(self) -> None:
        """Workers first, then the trainings they let go of, then Redis: nothing is left, and all resumes."""
        self.say("stopping …")
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        others = [child for name, child in self.children.items() if name != "redis"]
        for child in others:
            if child.is_running and child.process:
                child.process.send_signal(signal.SIGTERM)
        until = time.monotonic() + STOP_SECONDS
        for child in others:
            child.wait(max(0.0, until - time.monotonic()))
        folders = [path for path in Path(settings.WORK_DIR).glob("*") if path.is_dir()]
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(training.stop_folder, folders))
        if "redis" in self.children:
            self.children["redis"].end_group(signal.SIGTERM)
            self.children["redis"].wait(2)
        self.say("stopped. `make run` goes on where it was.")
