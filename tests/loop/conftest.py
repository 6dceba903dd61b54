"""Fixtures for tests of the loop: a scripted researcher, stages in threads as a worker runs them, and no process left."""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import psutil
import pytest
from django.conf import settings
from django.db import connection

from experiments.loop import asking, engine, reconcile, training
from experiments.models import Experiment, Run
from experiments.states import State
from tests.loop.scripted import Reply, Scripted
from trainer.spec import read_json


def trainings() -> list[psutil.Process]:
    """Every living process that belongs to a training of this test run."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.environ().get("AUTORESEARCH_WORKSPACE", "").startswith(str(settings.WORK_DIR)):
                found.append(process)
    return found


@pytest.fixture(autouse=True)
def nothing_left(monkeypatch) -> Iterator[None]:
    """After each test: no process and no folder of a training. And hearts beat faster here."""
    monkeypatch.setattr(training, "BEAT_SECONDS", 0.1)
    monkeypatch.setattr(training, "KILL_GRACE_SECONDS", 0.3)
    yield
    left, folders = trainings(), os.listdir(settings.WORK_DIR) if settings.WORK_DIR.exists() else []
    for process in left:
        process.kill()
    shutil.rmtree(settings.WORK_DIR, ignore_errors=True)
    assert (left, folders) == ([], [])


@pytest.fixture
def answers(monkeypatch) -> Callable[..., Scripted]:
    """Have every proposal come from a scripted researcher."""

    def answers(*replies: Reply, **options: Any) -> Scripted:
        researcher = Scripted(*replies, **options)
        monkeypatch.setattr(asking, "choose", lambda *args, **kwargs: researcher)
        return researcher

    return answers


@pytest.fixture
def worker() -> Iterator[Callable[..., Future[Any]]]:
    """Run a stage in a thread, as a slot of a worker does."""
    with ThreadPoolExecutor(8) as pool:

        def run(work: Callable[..., Any], *args: Any) -> Future[Any]:
            def and_close() -> Any:
                try:
                    return work(*args)
                finally:
                    connection.close()

            return pool.submit(and_close)

        yield run


def look(run: Run) -> list[tuple[str, int]]:
    """What one look at the run finds due; none of it is done."""
    sent: list[tuple[str, int]] = []
    reconcile.reconcile(run.pk, lambda stage, pk: sent.append((stage, pk)))
    run.refresh_from_db()
    return sent


def ready(run: Run) -> Experiment:
    """The next idea, proposed and not yet trained."""
    for _ in range(5):
        for stage, pk in look(run):
            if stage == "propose":
                engine.propose(pk)
        found = run.experiments.filter(state=State.READY).first()
        if found:
            return found
    raise AssertionError("no idea became ready")


def wait_for(what: Callable[[], Any], seconds: float = 20) -> Any:
    until = time.monotonic() + seconds
    while not (value := what()):
        assert time.monotonic() < until, "did not happen"
        time.sleep(0.02)
    return value


def wait_for_training(experiment: Experiment) -> int:
    """Until its training prints. Returns the training's pid."""

    def printing() -> int:
        experiment.refresh_from_db()
        if experiment.state != State.TRAINING or not experiment.chunks.exists():
            return 0
        return (read_json(training.folder_of(experiment) / "state.json") or {}).get("child") or 0

    return int(wait_for(printing))
