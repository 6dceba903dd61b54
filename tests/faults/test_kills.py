"""kill -9 of everything that can be killed, in the middle of a training: the run goes on, nothing counts twice.

All tests share one installation, with runs of their own.
"""

from __future__ import annotations

import redis

from tests.faults.machine import Machine, is_running, is_whole
from tests.installation import wait_for
from trainer.processes import descendants


def test_the_gpu_worker_killed_the_training_goes_on_and_the_next_worker_adopts_it(here: Machine) -> None:
    run = here.start_run("slow", budget=6, tag="gpu", max_experiments=1)
    pids = here.wait_training(run)
    here.kill(here.child("gpu"))
    assert here.wait_training(run, after_attempt=1) == pids  # the very same processes
    row = here.wait_state(run, "kept")
    assert (row["attempt"], row["losses"], here.trained(run)) == (2, 0, 1)
    assert is_whole(here.steps(row))
    assert not is_running(pids["child"]) and not is_running(pids["pid"])


def test_the_shim_killed_the_training_is_tried_once_more_and_then_fails(here: Machine) -> None:
    run = here.start_run("slow", budget=6, tag="shim", max_experiments=1)
    first = here.wait_training(run)
    here.kill(first["pid"])
    second = here.wait_training(run, after_attempt=1)
    assert not is_running(first["child"])
    here.kill(second["pid"])
    row = here.wait_state(run, "failed")
    assert (row["reason"], here.trained(run)) == ("worker_lost", 2)
    wait_for(lambda: not is_running(second["child"]))


def test_redis_flushed_in_the_middle_the_run_goes_on(here: Machine) -> None:
    run = here.start_run("slow", budget=2, tag="flush", max_experiments=3)
    here.wait_training(run)
    redis.Redis(unix_socket_path=str(here.var / "redis.sock")).flushall()
    here.wait_training(run, 1)
    redis.Redis(unix_socket_path=str(here.var / "redis.sock")).flushall()
    wait_for(lambda: here.experiment(run, 2)["state"] in {"kept", "discarded"})
    assert [here.trained(run, number) for number in range(3)] == [1, 1, 1]


def test_redis_killed_in_the_middle_the_run_goes_on_and_the_page_answers(here: Machine) -> None:
    run = here.start_run("slow", budget=3, tag="redis", max_experiments=2)
    here.wait_training(run)
    here.kill(here.child("redis"))
    assert wait_for(here.answers)
    row = here.wait_state(run, "kept")
    assert (row["attempt"], is_whole(here.steps(row))) == (1, True)
    wait_for(lambda: here.experiment(run, 1)["state"] in {"kept", "discarded"})


def test_the_think_worker_killed_the_run_goes_on(here: Machine) -> None:
    run = here.start_run("slow", budget=2, tag="think", max_experiments=2)
    here.wait_training(run)
    here.kill(here.child("think"))
    wait_for(lambda: here.experiment(run, 1)["state"] in {"kept", "discarded"})
    assert [here.trained(run, number) for number in range(2)] == [1, 1]


def test_everything_but_the_training_killed_and_up_again_it_is_adopted(here: Machine) -> None:
    run = here.start_run("slow", budget=10, tag="up", max_experiments=1)
    pids = here.wait_training(run)
    mine = {pids["pid"], *descendants(pids["pid"])}
    here.kill(here.process.pid, *(pid for pid in here.processes() if pid not in mine))
    here.process.wait()
    here.start()
    assert is_running(pids["child"])
    row = here.wait_state(run, "kept")
    assert (row["attempt"], here.trained(run), is_whole(here.steps(row))) == (2, 1, True)


def test_really_everything_killed_and_up_again_the_run_goes_on(here: Machine) -> None:
    run = here.start_run("slow", budget=3, tag="all", max_experiments=2)
    here.wait_training(run)
    for _ in range(3):  # what one of them had just started
        here.kill(here.process.pid, *here.processes())
    here.process.wait()
    here.start()
    assert here.wait_state(run, "kept")["losses"] == 1
    wait_for(lambda: here.experiment(run, 1)["state"] in {"kept", "discarded"})


def test_after_all_that_only_the_processes_of_up_are_left(here: Machine) -> None:
    commands = ("manage.py up", "daphne", "-Q think", "-Q gpu", "unixsocket")

    def only_ours_are_left() -> bool:  # git comes and goes
        ours = [here.processes(command) for command in commands]
        return [len(pids) for pids in ours] == [1] * 5 and set(here.processes()) == {pid for pids in ours for pid in pids}

    wait_for(only_ours_are_left, 20)
    assert not list((here.var / "work").glob("*"))
