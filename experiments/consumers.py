"""Forwards messages of one run, or of all (home), to a signed-in browser. It receives no commands, only pings."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs

from channels.db import database_sync_to_async
from channels.generic.websocket import AsyncWebsocketConsumer

from experiments import events
from experiments.models import Move

DRAWING = timedelta(seconds=5)  # at most between a page's first query and the time that it writes into its socket's address


class LiveConsumer(AsyncWebsocketConsumer):
    group: str = ""

    async def connect(self) -> None:
        if not self.scope["user"].is_authenticated:
            await self.close(code=4401)
            return
        run_id = self.scope["url_route"]["kwargs"].get("run_id")
        self.group = events.run_group(run_id) if run_id else events.HOME
        await self.channel_layer.group_add(self.group, self.channel_name)
        await self.accept()
        if await database_sync_to_async(self._has_moved)(run_id):
            await self.send('{"type":"changed"}')

    def _has_moved(self, run_id: int | None) -> bool:
        """Whether something happened while the page was drawn and on its way: that hint found nobody."""
        drawn = parse_qs(self.scope["query_string"].decode()).get("drawn", [""])[0]
        if not drawn.isdecimal():
            return False
        moves = Move.objects.filter(run_id=run_id) if run_id else Move.objects.all()
        last = moves.order_by("pk").last()
        return last is not None and last.at >= datetime.fromtimestamp(int(drawn[:10]), UTC) - DRAWING

    async def disconnect(self, code: int) -> None:  # noqa: ARG002  (the name is Channels')
        if self.group:
            await self.channel_layer.group_discard(self.group, self.channel_name)

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:  # noqa: ARG002
        """Answers a ping: so a page learns that its line is dead. Nothing else means anything; actions are POST requests."""
        if text_data == "ping":
            await self.send('{"type":"pong"}')

    async def stream(self, message: dict[str, Any]) -> None:
        await self.send(json.dumps(message))

    async def changed(self, message: dict[str, Any]) -> None:
        await self.send(json.dumps(message))
