"""The socket's first words: what happened between the drawing of a page and its socket, whose hint found nobody."""

from __future__ import annotations

import time

import pytest
from asgiref.sync import async_to_sync
from channels.testing import WebsocketCommunicator
from django.conf import settings
from django.test import Client

from autoresearch_web.asgi import application
from experiments.consumers import DRAWING
from experiments.models import Run
from tests.factories import make_program, make_run

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("no_event_loop")]


@pytest.fixture
def run() -> Run:
    run = make_run()
    run.record("mara", "note", why="meanwhile")
    return run


def first_words(client: Client, path: str) -> str:
    """What a socket says of itself; "" where it waits for news."""
    cookie = f"{settings.SESSION_COOKIE_NAME}={client.cookies[settings.SESSION_COOKIE_NAME].value}"
    headers = [(b"origin", b"http://localhost"), (b"cookie", cookie.encode())]

    async def talk() -> str:
        socket = WebsocketCommunicator(application, path, headers)
        assert (await socket.connect())[0]
        said = "" if await socket.receive_nothing(0.2) else await socket.receive_from()
        await socket.disconnect()
        return said

    return str(async_to_sync(talk)())


@pytest.mark.parametrize("place", ["home", "runs/{}"])
def test_who_drew_before_a_change_is_told_and_who_drew_after_it_is_not(signed_in: Client, run: Run, place: str):
    path, now = f"/ws/{place.format(run.pk)}/", int(time.time())
    assert first_words(signed_in, f"{path}?drawn={now}") == '{"type":"changed"}'
    assert first_words(signed_in, f"{path}?drawn={now + 2 * int(DRAWING.total_seconds())}") == ""


def test_another_runs_change_is_no_news_to_its_page(signed_in: Client, run: Run):
    other = make_run(make_program("other"))
    assert first_words(signed_in, f"/ws/runs/{other.pk}/?drawn={int(time.time())}") == ""


@pytest.mark.parametrize("query", ["", "?drawn=", "?drawn=soon", "?drawn=-1", "?drawn=99999999999999", "?drawn=%C2%B2"])
def test_nonsense_is_as_if_nothing_was_said(signed_in: Client, run: Run, query: str):
    assert first_words(signed_in, f"/ws/runs/{run.pk}/{query}") == ""
