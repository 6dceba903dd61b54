"""The only writer to the channel layer. Messages are hints: a lost one is healed by a cursor or a resync."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import time
from functools import cache
from typing import Any, Literal, TypedDict

from channels.layers import get_channel_layer
from django.db import transaction

log = logging.getLogger(__name__)
HOME = "home"
PATIENCE_SECONDS = 5.0
_left_alone_until = 0.0  # by the monotonic clock


class StreamMessage(TypedDict):
    """New data of a stream. A reader whose cursor is not `offset` fetches the stream instead."""

    type: Literal["stream"]
    experiment: int
    stream: str
    attempt: int
    offset: int
    next: int
    data: str


class ChangedMessage(TypedDict):
    """Something of a run has changed; the page fetches the fragments that show it."""

    type: Literal["changed"]
    run: int
    experiment: int | None
    what: str


def run_group(run_id: int) -> str:
    return f"run-{run_id}"


def stream(run_id: int, message: StreamMessage) -> None:
    transaction.on_commit(lambda: _send([run_group(run_id)], message))


def changed(run_id: int, what: str, experiment_id: int | None = None) -> None:
    message: ChangedMessage = {"type": "changed", "run": run_id, "experiment": experiment_id, "what": what}
    transaction.on_commit(lambda: _send([run_group(run_id), HOME], message))


@cache
def _loop() -> asyncio.AbstractEventLoop:
    """Runs in a thread of its own, so that the connection to Redis stays open: to connect for each message costs 2.5 ms."""
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name="events", daemon=True).start()
    return loop


os.register_at_fork(after_in_child=_loop.cache_clear)  # its thread stays with the parent


def _send(groups: list[str], message: Any) -> None:
    """A Redis that hangs is waited for once, then left alone for as long: a person's click waits behind it."""
    global _left_alone_until
    if time.monotonic() < _left_alone_until:
        return

    async def send_all() -> None:
        layer = get_channel_layer()
        for group in groups:
            await asyncio.wait_for(layer.group_send(group, message), PATIENCE_SECONDS)

    try:
        asyncio.run_coroutine_threadsafe(send_all(), _loop()).result(PATIENCE_SECONDS * len(groups) + 1)
    except Exception as error:  # the edge to Redis: whatever fails there must not undo what was committed
        if isinstance(error, TimeoutError):
            _left_alone_until = time.monotonic() + PATIENCE_SECONDS
        log.warning("a live update was not sent (%s); pages catch up by themselves", str(error) or type(error).__name__)
