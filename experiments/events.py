"""The only writer to the channel layer. Messages are hints: a lost one is healed by a cursor or a resync."""

from __future__ import annotations

import logging
from typing import Any, Literal, TypedDict

from asgiref.sync import async_to_sync
from channels.layers import get_channel_layer
from django.db import transaction

log = logging.getLogger(__name__)
HOME = "home"


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


def _send(groups: list[str], message: Any) -> None:
    async def send_all() -> None:
        layer = get_channel_layer()
        for group in groups:
            await layer.group_send(group, message)

    try:
        async_to_sync(send_all)()
    except Exception as error:  # the edge to Redis: whatever fails there must not undo what was committed
        log.warning("a live update was not sent (%s); pages catch up by themselves", error)
