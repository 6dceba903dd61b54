"""Which device a training gets: one that nobody else has, and what is said while there is none."""

from __future__ import annotations

import threading
import time

import pytest
from django.db import connection

from experiments import activity, presence
from experiments.loop import actions, devices, engine, training
from experiments.states import State
from tests.factories import make_experiment
from tests.loop.conftest import look, ready
from tests.loop.scripted import change
from tests.standin_nvml import Handle, Process, StandInNvml
from trainer import gpus
from trainer.spec import try_lock

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(devices, "PATIENCE_SECONDS", 0.2)


@pytest.fixture
def start(make_script_program, loop, answers):
    """A run whose baseline is kept."""

    def start(name: str = "tiny"):
        run = actions.start_run(make_script_program("score", budget_seconds=1, name=name), "night", by="ada")
        answers(change("MATRIX_LR", 0.09))
        loop.baseline(run)
        return run

    return start


def test_two_runs_that_begin_at_once_get_two_devices(start, monkeypatch, worker):
    ideas = [ready(start("one")), ready(start("two"))]
    monkeypatch.setattr(devices, "names", lambda: ("first", "second"))
    monkeypatch.setattr(devices.gpus, "is_gpu", lambda _device: False)
    free, both = devices.free, threading.Barrier(2)

    def slowly(in_use):
        found = free(in_use)
        time.sleep(0.3)  # the other one chooses now
        return found

    monkeypatch.setattr(devices, "wait", lambda *_: both.wait(10))
    monkeypatch.setattr(devices, "free", slowly)
    for begun in [worker(engine.train, idea.pk) for idea in ideas]:
        begun.result(30)
    for idea in ideas:
        idea.refresh_from_db()
    assert {idea.device for idea in ideas} == {"first", "second"}
    connection.close()


def test_while_another_training_holds_the_device_an_idea_waits_in_its_place(start, loop):
    run = start()
    idea = ready(run)
    with devices.lock_path("cpu").open("a") as held:
        assert try_lock(held)
        assert engine.train(idea.pk) is False  # no message is sent for it; the next look tries again
        idea.refresh_from_db()
        assert (idea.state, idea.worker, idea.attempt, idea.training_at) == (State.READY, "", 1, None)
        assert idea.detail == "Waits: another training holds cpu."
        assert ("train", idea.pk) in look(run)
        assert activity._waits_for(run, idea, []) in {idea.detail, activity._no_worker("gpu")}
    loop.until(run, lambda: run.best == idea)
    idea.refresh_from_db()
    assert idea.detail.startswith("better by") and idea.hardware["torch"] and idea.hardware["device"]


def test_who_keeps_a_gpu_busy_is_named_and_waited_for(start, monkeypatch, settings):
    run = start()
    idea = ready(run)
    card = Handle("GPU-one", use=90, processes=[Process(1, 20 * 2**30)])
    monkeypatch.setattr(gpus, "pynvml", StandInNvml([card]))
    monkeypatch.setattr(devices, "names", lambda: ("0",))
    assert engine.train(idea.pk) is False
    idea.refresh_from_db()
    assert idea.detail.startswith("Waits: GPU 0 is used by ") and "(process 1, 20.0 GB)" in idea.detail
    card.use = 0  # a server that waits for the next question
    assert devices.free(()) == "0"
    card.use, settings.SHARE_GPUS = 90, True
    assert devices.free(()) == "0"


def test_a_device_whose_shim_has_not_begun_is_not_given_away_again(start, monkeypatch):
    run = start()
    monkeypatch.setattr(devices, "names", lambda: ("0", "1"))
    make_experiment(run, State.TRAINING, worker=presence.me(), device="0", number=9)
    assert devices.free(training.devices_in_use()) == "1"
    make_experiment(run, State.TRAINING, worker="another-machine:1:1", device="1", number=10)
    assert devices.free(training.devices_in_use()) == "1"
    make_experiment(run, State.TRAINING, worker=presence.me(), device="1", number=11)
    with pytest.raises(devices.AllBusy, match="holds GPU 0; another training holds GPU 1"):
        devices.free(training.devices_in_use())
