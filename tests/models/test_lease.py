"""The lease on a row: claimed by one, renewed by a heartbeat, taken over from the dead, fenced by the attempt."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest
from django.db import connection
from django.utils import timezone

from experiments.models import Experiment, stream
from experiments.states import StaleState, State
from tests.factories import add_text, make_experiment, make_run

pytestmark = pytest.mark.django_db


def test_a_claim_is_won_by_one_only():
    make_experiment(make_run(), State.READY)
    first, second = Experiment.objects.get(), Experiment.objects.get()
    assert first.claim("host:1:1")
    assert not second.claim("host:2:2")
    assert Experiment.objects.get().worker == "host:1:1"


@pytest.mark.django_db(transaction=True)
def test_of_eight_threads_at_once_one_wins_the_claim():
    make_experiment(make_run(), State.READY)
    rows = [Experiment.objects.get() for _ in range(8)]
    start, won = threading.Barrier(8), []

    def claim(number: int) -> None:
        start.wait()
        won.append(rows[number].claim(f"host:{number}:0"))
        connection.close()

    threads = [threading.Thread(target=claim, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(won) == [False] * 7 + [True]


def test_a_row_that_has_moved_cannot_be_claimed():
    experiment = make_experiment(make_run(), State.READY)
    Experiment.objects.get().cancel(by="ada")
    assert not experiment.claim("host:1:1")


def test_a_zombie_can_write_nothing_after_a_take_over():
    experiment = make_experiment(make_run(), State.TRAINING, worker="host:1:1", heartbeat_at=timezone.now())
    zombie, successor = Experiment.objects.get(), Experiment.objects.get()
    assert successor.take_over("host:2:2")
    assert not zombie.beat()
    zombie.release()
    with pytest.raises(StaleState):
        zombie.move_to(State.EVALUATING, by="loop", score=0.1)
    row = Experiment.objects.get(pk=experiment.pk)
    assert (row.state, row.attempt, row.worker, row.score) == (State.TRAINING, 2, "host:2:2", None)
    assert successor.beat()


def test_a_take_over_is_won_by_one_only():
    make_experiment(make_run(), State.TRAINING, worker="host:1:1", heartbeat_at=timezone.now())
    first, second = Experiment.objects.get(), Experiment.objects.get()
    assert first.take_over("host:2:2")
    assert not second.take_over("host:3:3")


def test_the_streams_come_along_with_a_take_over():
    experiment = make_experiment(make_run(), State.TRAINING, worker="host:1:1", heartbeat_at=timezone.now())
    add_text(experiment, stream.LOG, "step 1\n")
    assert experiment.take_over("host:2:2")
    assert stream.cursor(experiment, stream.LOG) == 7
    part = stream.read(experiment, stream.LOG)
    assert (part.attempt, part.chunks) == (2, ("step 1\n",))


def test_a_silent_worker_is_stale_and_a_released_row_at_once(settings):
    now = timezone.now()
    experiment = make_experiment(make_run(), State.TRAINING, worker="host:1:1", heartbeat_at=now)
    assert not experiment.is_stale
    experiment.heartbeat_at = now - timedelta(seconds=settings.STALE_SECONDS + 1)
    assert experiment.is_stale
    assert experiment.beat()
    assert not Experiment.objects.get().is_stale
    experiment.release()
    assert Experiment.objects.get().is_stale


@pytest.mark.parametrize("state", [State.REVIEWING, State.CONFIRMING, State.KEPT])
def test_what_waits_for_a_person_is_never_stale(state):
    long_ago = timezone.now() - timedelta(days=3)
    assert not make_experiment(make_run(), state, worker="host:1:1", heartbeat_at=long_ago).is_stale


def test_a_requeue_starts_the_stage_again_under_the_next_attempt():
    experiment = make_experiment(make_run(), State.TRAINING, worker="host:1:1", heartbeat_at=timezone.now())
    experiment.requeue(by="loop", why="its worker died")
    row = Experiment.objects.get()
    assert (row.state, row.attempt, row.worker) == (State.READY, 2, "")
