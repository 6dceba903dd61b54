"""A process stands ready for a run's next training. Real shims; the script says whether torch was there before it."""

from __future__ import annotations

import importlib.util
import os
import signal
from pathlib import Path

import pytest
from django.conf import settings

from experiments.loop import actions, devices, engine, standby, training
from experiments.loop.workspace import Workspace
from experiments.models import Experiment, Run, stream
from experiments.states import Kind, State
from tests.loop.conftest import ready, trainings, wait_for
from tests.loop.scripted import change, edit
from trainer.spec import is_locked, read_json

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
    standby.prepare(run.best)
    [folder] = standing()
    idea = ready(run)
    engine.train(idea.pk)
    idea.refresh_from_db()
    assert said(idea) == [f"True {folder.name}"] and idea.score is not None
    assert not folder.exists()


def test_one_is_enough_for_one_device(start):
    run = start()
    for _ in range(3):
        standby.prepare(run.best)
    assert len(standing()) == 1


def test_while_one_trains_the_next_is_made_ready(start, loop):
    run = start(change("MATRIX_LR", 0.09), change("WARMDOWN", 0.8))
    first, second = loop.finish(run, 3)[1:]
    assert said(first)[0].startswith("False") and said(second)[0].startswith("True ready-")


@pytest.mark.parametrize("end", ["pause", "stop"])
def test_a_run_that_does_not_go_on_keeps_nothing_waiting(start, end):
    run = start()
    standby.prepare(run.best)
    assert len(standing()) == 1
    run.pause(by="ada", now=False) if end == "pause" else run.stop(by="ada")
    training.end_orphans()
    standby.prepare(run.best)
    assert standing() == [] and trainings() == []


def test_what_a_run_that_goes_on_has_ready_is_left_in_peace(start):
    run = start()
    standby.prepare(run.best)
    training.end_orphans()
    [folder] = standing()
    assert is_locked(folder / "lock")


def test_the_code_is_that_of_the_grant(start, loop):
    run = start(edit("says so", "MATRIX_LR = 0.04", 'print("this is the idea")\nMATRIX_LR = 0.09'))
    standby.prepare(run.best)
    idea = ready(run)
    engine.train(idea.pk)
    assert "this is the idea" in "".join(stream.read(idea, stream.LOG).chunks) and said(idea)[0].startswith("True")


def test_a_repeat_starts_by_itself_and_leaves_it_to_the_next(start, loop):
    run = start()
    standby.prepare(run.best)
    again = actions.repeat(run.best, by="ada")
    assert again.kind == Kind.REPEAT and again.seed != run.seed
    engine.train(again.pk)
    assert said(again)[0].startswith("False") and len(standing()) == 1


def test_one_that_died_is_cleared_away_and_another_takes_its_place(start, loop):
    run = start()
    standby.prepare(run.best)
    [folder] = standing()
    os.kill((read_json(folder / "state.json") or {})["pid"], signal.SIGKILL)
    wait_for(lambda: not is_locked(folder / "lock"))
    standby.prepare(run.best)
    [other] = standing()
    assert other != folder
    idea = ready(run)
    engine.train(idea.pk)
    assert said(idea) == [f"True {other.name}"]


def test_one_for_another_recipe_gives_way_to_a_start_of_its_own(start, loop):
    run = start()
    standby.prepare(run.best)
    run.program.budget_seconds = 2
    run.program.save()
    idea = ready(run)
    engine.train(idea.pk)
    idea.refresh_from_db()
    assert said(idea)[0].startswith("False") and idea.score is not None


def test_it_is_taken_by_one_of_two(start, loop):
    run = start()
    standby.prepare(run.best)
    idea = ready(run)
    name = standby.pick(idea)
    assert name == standing()[0].name
    Experiment.objects.filter(pk=run.best.pk).update(state=State.TRAINING, workspace=name)
    assert standby.pick(idea) == ""


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
    standby.prepare(run.experiments.first() or Experiment(run=run))
    assert standing() == []


COMPILES = "import torch\nnet = torch.compile(net)\n"


@pytest.mark.parametrize(
    ("names", "text", "expected"),
    [
        (("0",), COMPILES, ["torch", "prepare", *standby.COMPILER]), (("0", "1"), COMPILES, ["torch", "prepare"]),
        (("0",), "from torch import nn\n", ["torch", "prepare"]), (("cpu",), COMPILES, ["torch", "prepare"]),
        (("0",), "import numpy  # no torch\n", []),
    ],
)  # fmt: skip
def test_the_compiler_is_loaded_for_the_one_gpu_that_there_is(monkeypatch, db, tmp_path, names, text, expected):
    program = actions.create_program("torch")
    commit = Workspace(program.repo).commit(None, {"train.py": text}, "a program")
    monkeypatch.setattr(devices, "names", lambda: names)
    assert standby._modules(program, commit, names[0]) == expected
    assert all(importlib.util.find_spec(name) for name in expected if name != "prepare")
