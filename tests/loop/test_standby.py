"""A process stands ready for a run's next training. Real shims; the script says whether torch was there before it."""

from __future__ import annotations

import errno
import importlib.util
import os
import signal
from pathlib import Path
from types import SimpleNamespace

import pytest
from django.conf import settings

from experiments.loop import actions, devices, engine, standby, training
from experiments.loop.workspace import Workspace
from experiments.models import Experiment, Run, stream
from experiments.states import Kind, State
from tests.loop.conftest import ready, trainings, wait_for, wait_for_training
from tests.loop.scripted import change, edit
from tests.loop.test_healing import DEAD
from trainer.spec import AWAITED, is_locked, read_json

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.sqlite_is_enough]

USES_TORCH = """
import os, sys
print("ready:", "torch" in sys.modules, os.path.basename(os.environ["AUTORESEARCH_WORKSPACE"]))
def later():
    import torch
"""


@pytest.fixture
def start(make_script_program, loop, answers, tmp_path, monkeypatch):
    """A run of `score`, which says whether torch was there already, with these replies; its baseline is kept."""

    def start(*replies, **options) -> Run:
        folder = make_script_program("score").repo and tmp_path / "template-score"
        text = USES_TORCH + (folder / "train.py").read_text()
        (folder / "train.py").write_text(text)
        program = actions.create_program("torch", template=folder, fixed=[], budget_seconds=1, grace_seconds=10)
        answers(*replies or [change("MATRIX_LR", 0.09)])
        run = actions.start_run(program, "night", by="ada", **options)
        with monkeypatch.context() as cold:
            cold.setattr(settings, "STANDBY", False)
            loop.finish(run, 1)
        return run

    monkeypatch.setattr(standby, "_has_room", lambda: True)
    yield start
    for folder in standing():
        training.clear(folder)


def standing() -> list[Path]:
    return sorted(Path(settings.WORK_DIR).glob("ready-*"))


def said(experiment: Experiment) -> list[str]:
    """Per attempt: whether torch was loaded before the script began, and the workspace."""
    log = "".join(stream.read(experiment, stream.LOG).chunks)
    return [line.removeprefix("ready: ").strip() for line in log.splitlines() if line.startswith("ready: ")]


def test_what_stands_by_becomes_the_next_training(start, loop):
    run = start()
    standby.Preparing()(run.best)
    [folder] = standing()
    idea = ready(run)
    engine.train(idea.pk)
    idea.refresh_from_db()
    assert said(idea) == [f"True {folder.name}"] and idea.score is not None
    assert not folder.exists()


def test_one_is_enough_for_one_device(start):
    run = start()
    for _ in range(3):
        standby.Preparing()(run.best)
    assert len(standing()) == 1


def test_while_one_trains_the_next_is_made_ready(start, loop):
    run = start(change("MATRIX_LR", 0.09), change("WARMDOWN", 0.8))
    first, second = loop.finish(run, 3)[1:]
    assert said(first)[0].startswith("False") and said(second)[0].startswith("True ready-")


@pytest.mark.parametrize("end", ["pause", "stop"])
def test_a_run_that_does_not_go_on_keeps_nothing_waiting(start, end):
    run = start()
    standby.Preparing()(run.best)
    assert len(standing()) == 1
    run.pause(by="ada", now=False) if end == "pause" else run.stop(by="ada")
    training.end_orphans()
    standby.Preparing()(run.best)
    assert standing() == [] and trainings() == []


def test_what_a_run_that_goes_on_has_ready_is_left_in_peace(start):
    run = start()
    standby.Preparing()(run.best)
    training.end_orphans()
    [folder] = standing()
    assert is_locked(folder / "lock")


def test_the_code_is_that_of_the_grant(start, loop):
    run = start(edit("says so", "MATRIX_LR = 0.04", 'print("this is the idea")\nMATRIX_LR = 0.09'))
    standby.Preparing()(run.best)
    idea = ready(run)
    engine.train(idea.pk)
    assert "this is the idea" in "".join(stream.read(idea, stream.LOG).chunks) and said(idea)[0].startswith("True")


def test_a_baseline_starts_by_itself_as_its_start_up_is_what_others_are_given(start):
    run = start()
    standby.Preparing()(run.best)
    assert standby.pick(ready(run)) and standby.pick(run.best) == ""


@pytest.mark.parametrize(
    ("files", "room"),
    [
        ({}, True), ({"cpu.max": "max 100000"}, True), ({"cpu.max": "100000 100000"}, False), ({"memory.max": "max"}, True),
        ({"memory.max": "3000000000", "memory.stat": "anon 500000000\nfile 9"}, True),
        ({"memory.max": "3000000000", "memory.stat": "anon 1500000000\nfile 9"}, False),
    ],
)  # fmt: skip
def test_the_limits_of_a_container_count(monkeypatch, files, room):
    monkeypatch.setattr(standby, "_of_container", lambda name: files.get(name, "").split())
    monkeypatch.setattr(standby.psutil, "virtual_memory", lambda: SimpleNamespace(available=2**35))
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2, 3})
    monkeypatch.setattr(devices, "names", lambda: ("cpu",))
    assert standby._has_room() is room


def test_a_repeat_starts_by_itself_and_leaves_it_to_the_next(start, loop):
    run = start()
    standby.Preparing()(run.best)
    again = actions.repeat(run.best, by="ada")
    assert again.kind == Kind.REPEAT and again.seed != run.seed
    engine.train(again.pk)
    assert said(again)[0].startswith("False") and len(standing()) == 1


def test_one_that_died_is_cleared_away_and_another_takes_its_place(start, loop):
    run = start()
    standby.Preparing()(run.best)
    [folder] = standing()
    os.kill((read_json(folder / "state.json") or {})["pid"], signal.SIGKILL)
    wait_for(lambda: not is_locked(folder / "lock"))
    standby.Preparing()(run.best)
    [other] = standing()
    assert other != folder
    idea = ready(run)
    engine.train(idea.pk)
    assert said(idea) == [f"True {other.name}"]


def test_one_for_another_recipe_gives_way_to_a_start_of_its_own(start, loop):
    run = start()
    standby.Preparing()(run.best)
    run.program.budget_seconds = 2
    run.program.save()
    idea = ready(run)
    engine.train(idea.pk)
    idea.refresh_from_db()
    assert said(idea)[0].startswith("False") and idea.score is not None


def test_it_is_taken_by_one_of_two(start, loop):
    run = start()
    standby.Preparing()(run.best)
    idea = ready(run)
    name = standby.pick(idea)
    assert name == standing()[0].name
    Experiment.objects.filter(pk=run.best.pk).update(state=State.TRAINING, workspace=name)
    assert standby.pick(idea) == ""


def test_a_worker_that_died_before_the_grant_leaves_nothing_that_hangs(start, loop, monkeypatch):
    run = start()
    standby.Preparing()(run.best)
    [folder] = standing()
    idea = ready(run)
    with monkeypatch.context() as killed:
        killed.setattr(training, "start", lambda experiment: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            engine.train(idea.pk)
    idea.refresh_from_db()
    assert (idea.state, idea.workspace) == (State.TRAINING, folder.name) and is_locked(folder / "lock")
    Experiment.objects.filter(pk=idea.pk).update(worker=DEAD)
    loop.until(run, run.experiments.filter(pk=idea.pk, score__isnull=False).exists)
    idea.refresh_from_db()
    assert idea.losses == 1 and not folder.exists()


def test_whatever_goes_wrong_at_the_grant_the_next_training_has_none_of_it(start, loop, monkeypatch):
    run = start()
    standby.Preparing()(run.best)
    idea = ready(run)

    def half(self, commit, folder):
        (folder / "left.py").write_text("")
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as full:
        full.setattr(Workspace, "export", half)
        engine.train(idea.pk)
    idea.refresh_from_db()
    assert idea.reason == "disk_full" and standing() == [] and trainings() == []


def test_a_granted_one_that_is_cancelled_ends(start, loop, worker):
    run = start(edit("long", "STEPS = 4", "STEPS = 4000"))
    standby.Preparing()(run.best)
    idea = ready(run)
    done = worker(engine.train, idea.pk)
    wait_for_training(idea)
    assert idea.workspace.startswith("ready-")
    Experiment.objects.get(pk=idea.pk).cancel(by="ada")
    done.result(20)
    assert not (Path(settings.WORK_DIR) / idea.workspace).exists()
    assert all(idea.workspace not in process.environ().get("AUTORESEARCH_WORKSPACE", "") for process in trainings())


def test_a_failure_to_prepare_costs_the_training_nothing_and_is_not_tried_again(start, monkeypatch, caplog):
    run, tries = start(), []
    monkeypatch.setattr(standby, "_stand_by", lambda run: tries.append(run) or 1 / 0)
    preparing = standby.Preparing()
    for _ in range(3):
        preparing(run.best)
    assert len(tries) == 1 and "nothing stands by" in caplog.text


def test_of_what_dies_again_and_again_there_are_two(start, monkeypatch):
    run, tries = start(), []
    monkeypatch.setattr(standby, "_stand_by", tries.append)
    preparing = standby.Preparing()
    for _ in range(5):
        preparing(run.best)
    assert len(tries) == standby.TRIES


def test_one_that_no_worker_asks_for_any_more_goes_by_itself(start, monkeypatch):
    run = start()
    standby.Preparing()(run.best)
    [folder] = standing()
    training.end_orphans()
    assert (folder / AWAITED).exists()
    os.utime(folder / AWAITED, (0, 0))
    wait_for(lambda: not is_locked(folder / "lock"))
    assert trainings() == []


@pytest.mark.parametrize("setting", ["off", "no room", "no torch", "a shell"])
def test_where_it_is_not_worth_it_nothing_stands_by(start, make_script_program, loop, monkeypatch, setting):
    run = start()
    assert standing() == []
    if setting == "off":
        monkeypatch.setattr(settings, "STANDBY", False)
    elif setting == "no room":
        monkeypatch.setattr(standby, "_has_room", lambda: False)
    elif setting == "no torch":
        run = actions.start_run(make_script_program("slow"), "plain", by="ada")
    else:
        run.program.command = ["sh", "-c", "python train.py"]
        run.program.save()
    standby.Preparing()(run.experiments.first() or Experiment(run=run))
    assert standing() == []


COMPILES = "import torch\nnet = torch.compile(net)\n"


@pytest.mark.parametrize(
    ("names", "text", "expected"),
    [
        (("0",), COMPILES, ["torch", "prepare", *standby.COMPILER]), (("0", "1"), COMPILES, ["torch", "prepare"]),
        (("0",), "from torch import nn\n", ["torch", "prepare"]), (("cpu",), COMPILES, ["torch", "prepare"]),
        (("0",), "import numpy  # no torch\n", []), (("0",), 'import os\nos.environ["A"] = "b"\nimport torch\n', []),
    ],
)  # fmt: skip
def test_the_compiler_is_loaded_for_the_one_gpu_that_there_is(monkeypatch, db, tmp_path, names, text, expected):
    program = actions.create_program("torch")
    commit = Workspace(program.repo).commit(None, {"train.py": text}, "a program")
    monkeypatch.setattr(devices, "names", lambda: names)
    assert standby._modules(program, commit, names[0]) == expected
    assert all(importlib.util.find_spec(name) for name in expected if name != "prepare")
