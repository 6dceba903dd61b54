"""Level-triggered: lost messages are healed, doubled ones do nothing, a dead worker's row goes on, a zombie is harmless."""

from __future__ import annotations

import os
import signal
import threading
from concurrent.futures import wait
from datetime import timedelta
from functools import partial
from itertools import pairwise
from json import loads

import psutil
import pytest
from django.db import OperationalError, transaction
from django.utils import timezone

from experiments import presence, tasks
from experiments.loop import actions, asking, engine, reconcile, training
from experiments.loop.workspace import Workspace
from experiments.models import Chunk, Experiment, Program, Run, stream
from experiments.researcher.base import Message
from experiments.researcher.prompt import Prompt
from experiments.states import StaleState, State
from tests.factories import make_experiment, make_run
from tests.loop.conftest import look, ready, trainings, wait_for, wait_for_training
from tests.loop.scripted import change
from trainer.spec import read_json, try_lock

pytestmark = pytest.mark.django_db(transaction=True)
DEAD = f"{presence.socket.gethostname()}:4194305:1"  # no pid is that high


@pytest.fixture
def run(make_script_program, loop, answers):
    answers(change("MATRIX_LR", 0.09), change("MATRIX_LR", 0.001))
    run = actions.start_run(make_script_program("slow", budget_seconds=1), "night", by="ada")
    loop.baseline(run)
    return run


def no_point_is_doubled(experiment) -> bool:
    """Whether what readers get, the last attempt's streams, is whole: each step once, no gap in the log."""
    chunks = experiment.chunks.filter(attempt=experiment.attempt).order_by("offset")
    steps = [point["step"] for row in chunks.filter(stream=stream.SERIES) for point in loads(row.data)]
    log = list(chunks.filter(stream=stream.LOG))
    is_whole = log[0].offset == 0 and all(before.end == after.offset for before, after in pairwise(log))
    return bool(steps) and steps == list(range(len(steps))) and is_whole


def kill_shim(experiment) -> None:
    os.kill(read_json(training.folder_of(experiment) / "state.json")["pid"], signal.SIGKILL)


def test_two_looks_at_once_create_one_experiment(make_script_program, worker):
    run = actions.start_run(make_script_program("score"), "night", by="ada")
    start = threading.Barrier(6)

    def look_at_once() -> None:
        start.wait()
        reconcile.reconcile(run.pk, lambda *_: None)

    for future in [worker(look_at_once) for _ in range(6)]:
        future.result(20)
    assert run.experiments.count() == 1


def test_every_message_five_times_makes_one_experiment_each(run, worker):
    for _ in range(2):
        due = look(run)
        for future in [worker(getattr(engine, stage), pk) for stage, pk in due for _ in range(5)]:
            future.result(30)
    rows = list(run.experiments.filter(state=State.KEPT).order_by("number"))
    assert [row.number for row in rows] == [0, 1] and run.experiments.count() <= 3
    for row in rows:
        assert len([move for move in row.moves.all() if move.new == State.TRAINING]) == 1
        assert row.attempt == 1 and no_point_is_doubled(row)


def test_lost_messages_are_sent_again_with_every_look(run):
    assert look(run) == look(run) != []


@pytest.mark.parametrize("state", [State.PROPOSING, State.READY, State.EVALUATING])
@pytest.mark.parametrize("worker_name", [DEAD, "elsewhere:1:1"])
def test_the_row_of_a_worker_that_is_gone_or_silent_starts_its_stage_again(state, worker_name, settings):
    run = make_run()
    silent = timezone.now() - timedelta(seconds=settings.STALE_SECONDS + 1)
    row = make_experiment(run, state, worker=worker_name, heartbeat_at=silent if worker_name != DEAD else timezone.now())
    reconcile._heal(run)
    row.refresh_from_db()
    assert (row.state, row.attempt, row.worker) == (state, 2, "")
    assert row.moves.get().why == "its worker died"


def test_a_worker_that_lives_is_left_alone():
    row = make_experiment(make_run(), State.PROPOSING, worker=presence.me(), heartbeat_at=timezone.now())
    assert reconcile._heal(row.run) == []
    row.refresh_from_db()
    assert (row.attempt, row.worker) == (1, presence.me())


def test_a_reused_pid_is_not_taken_for_the_worker():
    host, pid, start = presence.me().rsplit(":", 2)
    assert not presence.is_gone(presence.me())
    assert presence.is_gone(f"{host}:{pid}:{int(start) - 100}")
    assert not presence.is_gone(f"another-machine:{pid}:1")


def test_a_row_that_was_taken_over_again_and_again_is_given_up():
    row = make_experiment(make_run(), State.PROPOSING, worker=DEAD, heartbeat_at=timezone.now(), attempt=30)
    reconcile._heal(row.run)
    row.refresh_from_db()
    assert (row.state, row.reason) == (State.FAILED, "worker_lost")


def test_a_training_whose_worker_ends_goes_on_and_is_adopted(run, worker):
    idea = ready(run)
    first = worker(engine.train, idea.pk)
    pid = wait_for_training(idea)
    engine.stopping.set()
    first.result(10)
    engine.stopping.clear()
    assert psutil.pid_exists(pid) and ("train", idea.pk) in look(run)
    engine.train(idea.pk)
    idea.refresh_from_db()
    assert (idea.state, idea.attempt, run.best) == (State.KEPT, 2, idea)
    assert no_point_is_doubled(idea)


def test_a_worker_that_was_taken_for_dead_does_not_end_the_training_that_another_follows(run, worker, monkeypatch):
    idea = ready(run)
    zombie = worker(engine.train, idea.pk)
    pid = wait_for_training(idea)
    monkeypatch.setattr(presence, "is_gone", lambda worker: True)
    successor = worker(engine.train, idea.pk)
    zombie.result(20)
    assert psutil.pid_exists(pid)
    successor.result(20)
    idea.refresh_from_db()
    assert (idea.state, idea.attempt) == (State.KEPT, 2)
    assert no_point_is_doubled(idea)


def test_a_result_that_could_not_be_stored_is_stored_by_the_next_worker(run, monkeypatch):
    idea, move_to = ready(run), Experiment.move_to

    def fails(self, new, **fields):
        if new == State.EVALUATING:
            raise OperationalError("database is locked")
        move_to(self, new, **fields)

    with monkeypatch.context() as patch:
        patch.setattr(Experiment, "move_to", fails)
        with pytest.raises(OperationalError):
            engine.train(idea.pk)
    assert look(run)[0] == ("train", idea.pk)
    engine.train(idea.pk)
    idea.refresh_from_db()
    assert (idea.state, idea.losses) == (State.KEPT, 0)
    assert no_point_is_doubled(idea)


def test_a_training_whose_shim_died_is_tried_once_more_and_then_fails(run, worker):
    idea = ready(run)
    for attempt, state in ((1, State.READY), (2, State.FAILED)):
        following = worker(engine.train, idea.pk)
        wait_for_training(idea)
        assert idea.attempt == attempt
        kill_shim(idea)
        following.result(20)
        idea.refresh_from_db()
        assert (idea.state, trainings()) == (state, [])
    assert (idea.reason, idea.losses) == ("worker_lost", 1)
    assert idea.detail.startswith("Twice now: The training's supervising process died.")


def test_a_training_whose_shim_died_once_trains_well_the_second_time(run, worker, loop):
    idea = ready(run)
    following = worker(engine.train, idea.pk)
    wait_for_training(idea)
    kill_shim(idea)
    following.result(20)
    loop.until(run, lambda: run.best == idea)
    last = Chunk.objects.filter(experiment=idea, attempt=2, stream=stream.LOG)
    assert "val_bpb" in "".join(row.data for row in last)


def test_what_was_cancelled_while_no_worker_followed_it_is_ended_by_the_tick(run, worker):
    Program.objects.update(budget_seconds=60)
    idea = ready(run)
    first = worker(engine.train, idea.pk)
    wait_for_training(idea)
    engine.stopping.set()
    first.result(10)
    engine.stopping.clear()
    run.stop(by="ada")
    assert trainings() != []
    reconcile.tick(lambda *_: None)
    wait_for(lambda: trainings() == [])
    assert not training.folder_of(idea).exists()


def test_a_training_that_waits_for_its_device_can_be_cancelled(run, worker, monkeypatch):
    idea = ready(run)
    monkeypatch.setattr(training.devices, "is_locked", lambda _path: False)  # somebody takes it after the look
    with training.devices.lock_path("cpu").open("a") as device:
        assert try_lock(device)
        following = worker(engine.train, idea.pk)
        wait_for(lambda: (Experiment.objects.get(pk=idea.pk).state == State.TRAINING))
        idea.refresh_from_db()
        pid = wait_for(lambda: read_json(training.folder_of(idea) / "state.json"))["pid"]
        idea.cancel(by="ada")
        following.result(20)
        assert not psutil.pid_exists(pid)


def test_a_branch_that_was_not_set_before_the_end_is_set_by_the_next_look(run, monkeypatch):
    idea = ready(run)
    with monkeypatch.context() as patch:
        patch.setattr(engine.chain, "sync_branch", lambda run: None)
        engine.train(idea.pk)
    git = Workspace(run.program.repo)
    assert git.ref(f"refs/heads/{run.branch}") != idea.commit
    look(run)
    assert git.ref(f"refs/heads/{run.branch}") == run.best.commit


def test_one_run_in_trouble_does_not_stop_the_others(run, make_script_program, monkeypatch):
    other = actions.start_run(make_script_program("score", name="other"), "night", by="ada")
    look_at = reconcile.reconcile
    monkeypatch.setattr(
        reconcile, "reconcile", lambda pk, send: look_at(pk, send) if pk == other.pk else 1 / 0
    )
    reconcile.tick(lambda *_: None)
    assert other.experiments.count() == 1


def test_a_bug_in_a_stage_leaves_the_row_to_the_next_look(run, answers, monkeypatch):
    answers(ZeroDivisionError("a bug"))
    (stage, pk), = look(run)
    with pytest.raises(ZeroDivisionError):
        engine.propose(pk)
    assert look(run) == [(stage, pk)]
    assert Experiment.objects.get(pk=pk).attempt == 2


def test_two_verdicts_at_once_share_no_best(run, worker, monkeypatch):
    decided = make_two_evaluated(run)
    start = threading.Barrier(2)

    def decide(pk: int) -> None:
        start.wait()
        engine.decide(pk)

    for future in [worker(decide, row.pk) for row in decided]:
        future.result(20)
    assert {row.pk for row in run.experiments.filter(state=State.KEPT)} == set(run.best.chain())


def make_two_evaluated(run) -> list[Experiment]:
    best = run.best
    return [
        make_experiment(run, State.EVALUATING, score, number=number, parent=best, commit=best.commit)
        for number, score in ((1, 1.01), (2, 1.0))
    ]


def test_one_that_is_about_to_train_takes_its_lane_already(run):
    idea = ready(run)
    other = make_experiment(run, State.READY, parent=run.best, number=9)
    assert idea.claim(presence.me())
    assert ("train", other.pk) not in look(run)


@pytest.mark.parametrize("stage", [tasks.propose, tasks.train, tasks.decide])
def test_a_message_that_finds_nothing_to_do_sends_none(run, monkeypatch, stage):
    """Else those that piled up while a training held the device would each send one more for the next one."""
    waiting = ready(run)
    sent: list[int] = []
    monkeypatch.setattr(tasks, "_send", lambda task, pk: sent.append(pk))
    stage(run.best.pk)  # long decided
    assert sent == []
    tasks.train(waiting.pk)
    assert sent != []


def test_a_zombie_does_not_overwrite_the_prompt_of_its_successor(run):
    row = make_experiment(run, State.PROPOSING, number=9, worker=DEAD, heartbeat_at=timezone.now())
    zombie = engine.load(row.pk)
    row.requeue(by="loop", why="its worker died")
    with pytest.raises(StaleState):
        asking.store_prompt(zombie, Prompt((Message("user", "old"),), (), 1000))
    assert Experiment.objects.get(pk=row.pk).prompt == []


def test_who_holds_a_run_and_who_moves_its_experiment_do_not_wait_for_each_other(worker):
    row = make_experiment(make_run(), State.TRAINING)
    with transaction.atomic():
        Run.locked(row.run_id)
        moving = worker(partial(row.requeue, by="loop", why="stopped with the server"))
        wait([moving], timeout=0.5)
        Experiment.objects.filter(pk=row.pk).update(description="written by the holder")
    moving.result(20)
    assert Experiment.objects.get().description == "written by the holder"


def test_a_roll_back_at_the_moment_of_a_verdict_takes_that_keep_back_too(run, worker, monkeypatch):
    best = run.best
    kept = make_experiment(run, State.KEPT, 1.0, number=1, parent=best, commit=best.commit)
    decided = make_experiment(run, State.EVALUATING, 0.9, number=2, parent=kept, commit=best.commit)
    classic, rolling = engine.verdict.classic, []

    def classic_during_a_roll_back(*args, **options):
        rolling.append(worker(partial(run.make_best, best, by="ada")))
        wait(rolling, timeout=0.5)
        return classic(*args, **options)

    monkeypatch.setattr(engine.verdict, "classic", classic_during_a_roll_back)
    engine.decide(decided.pk)
    rolling[0].result(20)
    assert (run.best, run.experiments.filter(state=State.KEPT).count()) == (best, 1)
