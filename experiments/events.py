"""The only writer to the channel layer. Messages are hints: a lost one is healed by a cursor or a resync."""

from __future__ import annotations

import asyncio
import logging
import threading
from functools import cache
from typing import Any, Literal, TypedDict

from channels.layers import get_channel_layer
from django.db import transaction

log = logging.getLogger(__name__)
HOME = "home"
PATIENCE_SECONDS = 5.0


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


def _send(groups: list[str], message: Any) -> None:
    async def send_all() -> None:
        layer = get_channel_layer()
        for group in groups:
            await asyncio.wait_for(layer.group_send(group, message), PATIENCE_SECONDS)

    try:
        asyncio.run_coroutine_threadsafe(send_all(), _loop()).result()
    except Exception as error:  # the edge to Redis: whatever fails there must not undo what was committed
        log.warning("a live update was not sent (%s); pages catch up by themselves", str(error) or type(error).__name__)
