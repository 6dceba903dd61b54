"""Which worker processes live: by pid on this machine, by a key in Redis for /healthz. Hints, never the truth."""

from __future__ import annotations

import functools
import logging
import os
import socket
import threading
from collections import Counter

import psutil
import redis
from django.conf import settings

log = logging.getLogger(__name__)
KEY, SECONDS = "autoresearch:worker", 10


@functools.cache
def me() -> str:
    """host:pid:start of this process; a pid that was reused has another start."""
    return f"{socket.gethostname()}:{os.getpid()}:{psutil.Process().create_time():.0f}"


def is_gone(worker: str) -> bool:
    """Whether this worker ran on this machine and is no longer there. Of another machine we cannot tell: False."""
    host, pid, start = worker.rsplit(":", 2)
    if host != socket.gethostname():
        return False
    try:
        process = psutil.Process(int(pid))
        return process.status() == psutil.STATUS_ZOMBIE or f"{process.create_time():.0f}" != start
    except psutil.NoSuchProcess:
        return True


def connect() -> redis.Redis:
    return redis.Redis.from_url(settings.REDIS_URL, socket_timeout=2, socket_connect_timeout=2)


def announce(kind: str, stopping: threading.Event) -> None:
    """Say every few seconds that this worker is there, until `stopping`. Runs in a thread of its own."""
    client = connect()
    while True:
        try:
            client.set(f"{KEY}:{kind}:{me()}", "1", ex=SECONDS)
        except redis.RedisError as error:
            log.warning("presence was not announced (%s)", error)
        if stopping.wait(SECONDS / 4):
            return


def workers() -> dict[str, int]:
    """How many workers of each kind were there in the last seconds. Raises redis.RedisError."""
    counts = Counter(key.decode().split(":")[2] for key in connect().scan_iter(f"{KEY}:*", count=1000))
    return {"think": counts["think"], "gpu": counts["gpu"]}
