"""Live updates leave over one connection, and Redis may go away and come back."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from channels_redis.pubsub import RedisPubSubChannelLayer
from django.test import override_settings
from redis import Redis

from autoresearch_web.settings import channel_layer
from experiments import events
from experiments.management.processes import redis_command
from tests.installation import wait_for

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("no_event_loop")]


class Server:
    def __init__(self, socket: Path) -> None:
        self.socket, self.client = socket, Redis(unix_socket_path=str(socket))
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(redis_command(self.socket)[1], stdout=subprocess.DEVNULL)
        wait_for(lambda: self.socket.exists() and self.client.ping(), 20)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        self.socket.unlink(missing_ok=True)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path / "redis.sock")
    with override_settings(CHANNEL_LAYERS={"default": channel_layer(f"unix://{server.socket}")}):
        yield server
    server.kill()


def heard(server: Server, count: int) -> list[bytes]:
    """What is said on all channels while `count` changes are told."""
    with server.client.pubsub() as ear:
        ear.psubscribe("*")
        assert ear.get_message(timeout=5)
        for number in range(count):
            events.changed(7, f"change {number}")
        messages = [ear.get_message(timeout=5) for _ in range(2 * count)]  # to the run's page and to the first one
    return [message["data"] for message in messages if message]


def test_they_come_in_order_over_one_connection(server: Server):
    heard(server, 1)
    before = server.client.info("stats")["total_connections_received"]
    said = heard(server, 5)
    assert [b"change %d" % (n // 2) in data for n, data in enumerate(said)] == [True] * 10
    assert server.client.info("stats")["total_connections_received"] == before + 1  # the ear's own


@pytest.mark.parametrize(
    ("theirs", "told"), [("", True), ("?db=0", True), ("?db=1", False), ("?db=10&client_name=web", False)]
)
def test_an_installation_hears_those_of_its_own_number(server: Server, theirs: str, told: bool):
    other = channel_layer(f"unix://{server.socket}{theirs}")

    async def listen() -> bool:
        layer = RedisPubSubChannelLayer(**other["CONFIG"])
        channel = await layer.new_channel()
        await layer.group_add(events.run_group(7), channel)
        await asyncio.to_thread(events.changed, 7, "ours")
        with contextlib.suppress(TimeoutError):
            return bool(await asyncio.wait_for(layer.receive(channel), 0.3))
        return False

    assert asyncio.run(listen()) is told


def test_redis_away_fails_nothing_and_once_it_is_back_they_arrive_again(server: Server, caplog: pytest.LogCaptureFixture):
    heard(server, 1)
    server.kill()
    events.changed(7, "unheard")
    assert "a live update was not sent" in caplog.text
    server.start()
    assert len(heard(server, 2)) == 4


def test_a_redis_that_hangs_is_not_waited_for(
    server: Server, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(events, "PATIENCE_SECONDS", 0.5)
    heard(server, 1)
    server.process.send_signal(signal.SIGSTOP)
    for _ in range(20):  # ten seconds, if each waited
        events.changed(7, "unheard")
    server.process.send_signal(signal.SIGCONT)
    assert caplog.text.count("a live update was not sent (TimeoutError)") == 1
    wait_for(lambda: time.monotonic() > events._left_alone_until)
    assert len(heard(server, 2)) == 4


def test_a_process_that_was_forked_sends_too(server: Server):
    heard(server, 1)
    with server.client.pubsub() as ear:
        ear.psubscribe("*")
        assert ear.get_message(timeout=5)
        child = os.fork()
        if not child:
            signal.alarm(10)
            events._send([events.HOME], {"type": "changed", "run": 7, "experiment": None, "what": "of a child"})
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        said = ear.get_message(timeout=5)
    assert said and b"of a child" in said["data"]
