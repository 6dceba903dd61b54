"""Streams: append-only, repeated appends do nothing, read by a cursor, one attempt at a time."""

from __future__ import annotations

import pytest

from experiments.models import Chunk, stream
from experiments.states import State
from tests.factories import add_text, make_experiment, make_run

pytestmark = pytest.mark.django_db


@pytest.fixture
def experiment():
    return make_experiment(make_run(), State.TRAINING)


def test_what_is_appended_is_read_in_order(experiment):
    for word in ("one ", "two ", "three"):
        add_text(experiment, stream.LOG, word)
    part = stream.read(experiment, stream.LOG)
    assert "".join(part.chunks) == "one two three"
    assert (part.offset, part.next) == (0, 13)


def test_a_repeated_append_does_nothing(experiment):
    for _ in range(5):
        stream.append(experiment, stream.LOG, 0, 5, "hello")
    assert Chunk.objects.count() == 1
    assert stream.cursor(experiment, stream.LOG) == 5


def test_a_reader_gets_what_is_new_behind_its_cursor(experiment):
    add_text(experiment, stream.LOG, "old ")
    seen = stream.read(experiment, stream.LOG)
    add_text(experiment, stream.LOG, "new")
    part = stream.read(experiment, stream.LOG, after=seen.next, attempt=seen.attempt)
    assert (part.offset, part.next, part.chunks) == (4, 7, ("new",))


def test_a_reader_at_the_end_gets_nothing_and_keeps_its_cursor(experiment):
    add_text(experiment, stream.LOG, "all")
    part = stream.read(experiment, stream.LOG, after=3, attempt=1)
    assert (part.offset, part.next, part.chunks) == (3, 3, ())


def test_a_reader_of_another_attempt_starts_again_from_zero(experiment):
    add_text(experiment, stream.LOG, "first attempt")
    experiment.requeue(by="loop", why="its worker died")
    add_text(experiment, stream.LOG, "second")
    part = stream.read(experiment, stream.LOG, after=13, attempt=1)
    assert (part.attempt, part.offset, part.next, part.chunks) == (2, 0, 6, ("second",))


def test_before_the_next_attempt_writes_the_last_one_is_shown(experiment):
    add_text(experiment, stream.LOG, "first attempt")
    experiment.requeue(by="loop", why="its worker died")
    assert stream.read(experiment, stream.LOG).chunks == ("first attempt",)


def test_streams_do_not_mix(experiment):
    other = make_experiment(experiment.run, State.READY)
    add_text(experiment, stream.LOG, "log")
    add_text(experiment, stream.REPLY, "reply")
    add_text(other, stream.LOG, "other")
    assert stream.read(experiment, stream.LOG).chunks == ("log",)
    assert stream.read(experiment, stream.REPLY).chunks == ("reply",)
    assert stream.read(experiment, stream.SERIES).chunks == ()


def test_a_long_stream_comes_in_parts(experiment, monkeypatch):
    monkeypatch.setattr(stream, "READ_LIMIT", 10)
    for _ in range(5):
        add_text(experiment, stream.LOG, "12345678")
    text, part = "", stream.read(experiment, stream.LOG)
    for _ in range(10):
        text += "".join(part.chunks)
        part = stream.read(experiment, stream.LOG, after=part.next, attempt=part.attempt)
    assert text == "12345678" * 5
