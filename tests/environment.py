"""Loaded before Django's settings (`-p tests.environment`): a data folder and a Redis of the test run's own."""

from __future__ import annotations

import atexit
import gc
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

VAR = Path(tempfile.mkdtemp(prefix="ar-test-"))
os.environ["AUTORESEARCH_VAR"] = str(VAR)
os.environ["AUTORESEARCH_CACHE_DIR"] = str(VAR / "data")
os.environ.setdefault("AUTORESEARCH_THREADS", "1")
os.environ["AUTORESEARCH_DEVICES"] = "cpu"
os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "true"  # Playwright's loop runs in the tests' own thread
sys.dont_write_bytecode = False  # compiled once: else each of a thousand processes compiles our modules again
for name in ("PYTHONDONTWRITEBYTECODE", "OPENAI_API_KEY", "ANTHROPIC_API_KEY", "PORT", "HOST"):
    os.environ.pop(name, None)


def _start_redis() -> subprocess.Popen[bytes]:
    from experiments.management.processes import redis_command

    socket = VAR / "redis.sock"
    _, command = redis_command(socket)
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    for _ in range(200):
        if socket.exists():
            return process
        time.sleep(0.02)
    raise RuntimeError("Redis for the tests did not start")


_redis = _start_redis()  # of each worker's own: two of them count their runs from 1 and would hear each other's live updates
os.environ["REDIS_URL"] = f"unix://{VAR / 'redis.sock'}"
atexit.register(lambda: (_redis.kill(), _redis.wait()))
atexit.register(shutil.rmtree, VAR, True)


def pytest_collection_finish() -> None:
    """What is imported by now stays: to look through it for rubbish again and again takes a tenth of the tests' time."""
    gc.collect()
    gc.freeze()
