import pytest
from django.db import DatabaseError, connection
from redis.exceptions import ConnectionError as RedisAway

from experiments import presence


def away() -> dict[str, int]:
    raise RedisAway("no such socket")


@pytest.mark.django_db
def test_a_stranger_may_ask(client, monkeypatch):
    monkeypatch.setattr(presence, "workers", lambda: {"gpu": 2})
    answer = client.get("/healthz")
    assert answer.status_code == 200
    assert answer.json() == {"ok": True, "database": "ok", "redis": "ok", "workers": {"think": 0, "gpu": 2}}


@pytest.mark.django_db
def test_without_redis_pages_still_answer(client, monkeypatch):
    monkeypatch.setattr(presence, "workers", away)
    answer = client.get("/healthz")
    assert (answer.status_code, answer.json()["redis"]) == (200, "ConnectionError")


@pytest.mark.django_db
def test_without_a_database_it_is_not_healthy(client, monkeypatch):
    def broken():
        raise DatabaseError("disk I/O error")

    monkeypatch.setattr(presence, "workers", dict)
    monkeypatch.setattr(connection, "cursor", broken)
    answer = client.get("/healthz")
    assert (answer.status_code, answer.json()["ok"]) == (503, False)
    assert "I/O" not in answer.content.decode()
