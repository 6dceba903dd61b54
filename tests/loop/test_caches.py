"""What was compiled for an experiment serves its children, if it was kept. A script that writes a file is the compiler."""

from __future__ import annotations

from pathlib import Path

import pytest
from django.conf import settings

from experiments.loop import actions, caches, devices
from experiments.models import Experiment, Run, stream
from experiments.states import Failure, State
from tests.loop.conftest import ready
from tests.loop.scripted import change, edit
from trainer import gpus

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.sqlite_is_enough]

COMPILES = """
import os, pathlib, sys
mine = pathlib.Path(os.environ["TORCHINDUCTOR_CACHE_DIR"], "kernel")
found = mine.read_text() if mine.exists() else ""
print("found:", found or "nothing")
if "rubbish" in found and "-is-its-own-fault" not in found:
    raise RuntimeError(f"torch/_inductor/codecache.py could not read {found}")
MADE = "good"
mine.parent.mkdir(parents=True, exist_ok=True)
mine.write_text(MADE)
"""
BETTER, WORSE = change("MATRIX_LR", 0.09), edit("worse", "score = 1.0 +", "score = 1.5 +")
GAIN = edit("", "score = 1.0 +", "score = 0.9 +").partition("\n\n")[2]
RUBBISH = edit("rubbish", 'MADE = "good"', 'MADE = "rubbish"') + GAIN
BREAKS = edit("breaks", "MADE =", 'raise RuntimeError("torch/_inductor/lowering.py: no such thing")\nMADE =')
OTHER_FAULT = edit("other", "MADE =", 'raise RuntimeError("a word too much")\nMADE =')


@pytest.fixture
def start(make_script_program, loop, answers, tmp_path, monkeypatch):
    """A run of a script that compiles, with these replies; its baseline is kept."""

    def start(*replies) -> Run:
        program = make_script_program("score", budget_seconds=1)
        folder = tmp_path / "template-score"
        (folder / "train.py").write_text(COMPILES + (folder / "train.py").read_text())
        program = actions.create_program("compiles", template=folder, fixed=[], budget_seconds=1, grace_seconds=10)
        answers(*replies)
        run = actions.start_run(program, "night", by="ada")
        loop.finish(run, 1)
        return run

    monkeypatch.setattr(settings, "COMPILED_DIR", tmp_path / "compiled")
    monkeypatch.setattr(gpus, "is_gpu", lambda device: device == "cpu")  # where a compiler has something to do
    monkeypatch.setattr(devices, "facts", lambda device: {"device": "a GPU", "torch": "2.13"})
    monkeypatch.setattr(devices, "free", lambda in_use: "cpu")
    return start


def found(experiment: Experiment) -> list[str]:
    """What each of its attempts found compiled."""
    log = "".join(stream.read(experiment, stream.LOG).chunks)
    return [line.removeprefix("found: ").strip() for line in log.splitlines() if line.startswith("found: ")]


def kept() -> list[str]:
    """Whose files are kept, with what is in them."""
    return sorted(f"{path.parent.parent.name} {path.read_text()}" for path in Path(settings.COMPILED_DIR).rglob("kernel"))


def test_a_child_starts_with_what_was_compiled_for_its_parent(start, loop):
    run = start(BETTER, change("MATRIX_LR", 0.11))
    baseline = run.experiments.get(number=0)
    first = loop.finish(run, 2)[1]
    assert (found(baseline), found(first)) == (["nothing"], ["good"])
    assert first.state == State.KEPT and f"{first.pk} good" in kept()


def test_what_a_discarded_one_has_compiled_goes_nowhere(start, loop):
    run = start(WORSE, change("MATRIX_LR", 0.09))
    baseline, discarded, after = loop.finish(run, 3)
    assert discarded.state == State.DISCARDED and found(after) == ["good"]
    assert all(line.split()[0] in {str(baseline.pk), str(after.pk)} for line in kept())


def test_rubbish_costs_a_cold_start_and_nothing_else(start, loop):
    run = start(RUBBISH, change("MATRIX_LR", 0.09))
    kept_one, child = loop.finish(run, 3)[1:]
    assert (kept_one.state, child.parent_id) == (State.KEPT, kept_one.pk)
    assert (child.state, child.attempt) == (State.KEPT, 2) and found(child) == ["nothing"]
    assert kept() == [line for line in kept() if line.startswith(f"{child.pk} ")]


@pytest.mark.parametrize(("reply", "attempts"), [(BREAKS, 2), (OTHER_FAULT, 1)])
def test_an_edit_that_is_itself_to_blame_fails_and_the_cache_stays(start, loop, reply, attempts):
    run = start(reply, BETTER)
    failed, after = loop.finish(run, 3)[1:]
    assert (failed.state, failed.reason, failed.attempt) == (State.FAILED, Failure.CRASH, attempts)
    assert found(after) == ["good"]


def test_another_torch_or_device_begins_anew(start, loop, monkeypatch):
    run = start(BETTER)
    monkeypatch.setattr(devices, "facts", lambda device: {"device": "a GPU", "torch": "9.9"})
    assert found(loop.finish(run, 2)[1]) == ["nothing"]
    assert any("torch-9.9" in str(path) for path in Path(settings.COMPILED_DIR).rglob("kernel"))


def test_of_a_run_that_has_ended_nothing_is_kept(start, loop):
    run = start(BETTER)
    run.stop(by="ada")
    other = actions.start_run(run.program, "later", by="ada")
    loop.finish(other, 1)
    assert [line.split()[0] for line in kept()] == [str(other.best.pk)]


def test_without_a_folder_to_keep_it_in_all_goes_on(start, loop, monkeypatch, tmp_path):
    (tmp_path / "a-file").touch()
    monkeypatch.setattr(settings, "COMPILED_DIR", tmp_path / "a-file")
    run = start(BETTER)
    assert loop.finish(run, 2)[1].state in {State.KEPT, State.DISCARDED}


def test_one_is_lent_only_what_was_kept_and_a_repeat_nothing(start, loop):
    run = start(BETTER)
    idea = ready(run)
    assert caches.of_parent(idea, "cpu") is not None
    assert caches.of_parent(actions.repeat(run.best, by="ada"), "cpu") is None
    idea.parent.state = State.REVERTED
    assert caches.of_parent(idea, "cpu") is None


@pytest.mark.parametrize("off", ["a CPU", "the setting"])
def test_on_a_cpu_or_where_it_is_switched_off_nothing_passes_from_one_to_the_next(start, loop, monkeypatch, off):
    if off == "a CPU":
        monkeypatch.setattr(gpus, "is_gpu", lambda device: False)
    else:
        monkeypatch.setattr(settings, "KEEP_COMPILED", False)
    run = start(BETTER)
    assert found(loop.finish(run, 2)[1]) == ["nothing"] and kept() == []


def test_where_it_cannot_be_put_aside_it_is_not_tried_for_ever(start, loop, monkeypatch):
    monkeypatch.setattr(caches, "_rename", lambda old, new: None)  # as on a disk that has become read-only
    run = start(BREAKS)
    failed = loop.finish(run, 2)[1]
    assert (failed.state, failed.attempt) == (State.FAILED, 1)
