"""A rehearsal on an experiment's path: what is refused goes back to its author, and costs no device time."""

from __future__ import annotations

import pytest

from experiments import preflights
from experiments.loop import actions, barred, engine, manual, preflight
from experiments.states import Failure, State, StateError
from tests.loop.scripted import edit
from trainer.preflight import Preflight

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.sqlite_is_enough, pytest.mark.timeout(240)]


def found(ok, stage="step", error="", **fields) -> Preflight:
    return Preflight(ok, stage, error, seconds=1.5, seen=("it is Python",), not_seen=("leaks",), **fields)


@pytest.fixture
def start(make_script_program, loop, settings, monkeypatch):
    """A run whose rehearsals say what the test gives, one after another; of the parent, `parent`."""
    settings.PREFLIGHT_SECONDS = 30
    asked: list[bool] = []

    def start(*findings: Preflight, parent: Preflight | None = None):
        left = list(findings)

        def rehearse(experiment, _parent, files, *_):
            asked.append(bool(files))
            return (left.pop(0) if len(left) > 1 else left[0]) if files else parent or found(True, "end")

        monkeypatch.setattr(preflight, "_rehearse", rehearse)
        run = actions.start_run(make_script_program("score", budget_seconds=1), "night", by="ada")
        loop.finish(run, 1)
        monkeypatch.setattr(type(run.program), "has_exam", True)
        monkeypatch.setattr(engine.judging, "judge", _without_exam(engine.judging.judge))
        monkeypatch.setattr(engine.training, "job", _without_data(engine.training.job))
        monkeypatch.setattr(engine.training, "prepare_data", lambda *_: None)
        monkeypatch.setattr(barred, "trains_the_same", lambda *_, **__: False)  # the score is what it prints
        return run, asked

    return start


def _without_exam(judge):
    return lambda *args, **options: judge(*args, **{**options, "has_exam": False})


def _without_data(job):
    def made(experiment, device):
        program = experiment.run.program
        fixed, kind = program.fixed, type(program)
        has_exam, kind.has_exam = kind.has_exam, False
        try:
            return job(experiment, device)
        finally:
            kind.has_exam = has_exam
            assert program.fixed == fixed

    return made


IDEAS = [edit("Faster", "MATRIX_LR = 0.04", "MATRIX_LR = 0.05"), edit("Mended", "MATRIX_LR = 0.04", "MATRIX_LR = 0.09")]


def test_a_refused_edit_goes_back_with_the_error_and_the_mended_one_trains(start, loop, answers):
    run, _ = start(found(False, error="RuntimeError: shapes\n  train.py, line 7"), found(True, "end"))
    researcher = answers(*IDEAS, can_repair=True)
    idea = loop.finish(run, 2)[1]
    assert (idea.description, idea.state) == ("Mended", State.KEPT)
    assert idea.preflight["ok"] is True and (idea.preflight["rounds"], idea.preflight["refused"]) == (2, 1)
    sent = researcher.messages[1][-1].content
    assert "rehearsed on the CPU" in sent and "train.py, line 7" in sent
    assert "Faster" not in idea.diff and "0.09" in idea.diff


def test_who_cannot_mend_fails_without_device_time_and_the_edit_is_kept(start, loop, answers):
    run, _ = start(found(False, error="NameError: name 'x'"))
    answers(IDEAS[0])
    failed = loop.finish(run, 2)[1]
    assert (failed.state, failed.reason, failed.training_at) == (State.FAILED, Failure.PREFLIGHT, None)
    assert "NameError" in failed.detail and "MATRIX_LR = 0.05" in failed.diff and failed.commit


@pytest.mark.parametrize("parent", [found(False, "build", "its own fault"), found(None, "build", "blind")])
def test_what_fails_without_the_edit_too_refuses_nothing(start, loop, answers, parent):
    run, asked = start(found(False, "step", "RuntimeError"), parent=parent)
    answers(*IDEAS)
    idea = loop.finish(run, 2)[1]
    assert idea.training_at is not None and idea.preflight["ok"] is None
    assert "#0, which trained, fails in the rehearsal too" in idea.preflight["error"]
    assert asked.count(False) == 1  # the parent is asked once


def test_a_rehearsal_that_breaks_stops_nothing(start, loop, answers):
    run, _ = start(Preflight(None, error="no sandbox"))
    answers(IDEAS[0])
    assert loop.finish(run, 2)[1].training_at is not None


def test_a_program_of_its_own_metric_and_a_machine_without_rehearsals_are_left_alone(start, loop, answers, settings):
    run, asked = start(found(False, error="x"))
    settings.PREFLIGHT_SECONDS = -1  # by the device: the tests have a CPU
    answers(IDEAS[0])
    assert loop.finish(run, 2)[1].preflight == {} and asked == []


def test_a_person_trains_it_anyway_and_the_false_alarm_is_counted(start, loop, answers):
    run, _ = start(found(False, error="RuntimeError"))
    answers(IDEAS[0])
    failed = loop.finish(run, 2)[1]
    run.max_experiments = 2
    run.save()
    assert "1 of 1 edit stopped before the device" in preflights.count(run).line
    assert "false alarms not known" in preflights.count(run).line
    again = manual.train_anyway(failed, by="ada")
    with pytest.raises(StateError, match="It is trained already"):
        manual.train_anyway(failed, by="ada")
    loop.until(run, lambda: run.experiments.filter(pk=again.pk, state__in=[State.KEPT, State.DISCARDED]).exists())
    again.refresh_from_db()
    assert (again.kind, again.subject, again.commit) == ("manual", failed, failed.commit)
    assert "1 false alarm among 1 trained anyway" in preflights.count(run).line


def test_what_passed_and_crashed_is_counted_as_missed():
    rows = [
        ({"ok": True, "rounds": 2, "refused": 1, "total_seconds": 5.0}, State.FAILED, Failure.CRASH),
        ({"ok": True, "rounds": 1, "total_seconds": 1.0}, State.KEPT, ""),
        ({"ok": None, "rounds": 1}, State.FAILED, Failure.OOM), ({"ok": True, "control": True}, State.KEPT, ""),
    ]  # fmt: skip
    counted = preflights.tally(rows, [])
    assert (counted.rehearsed, counted.stopped, counted.missed, counted.unjudged) == (4, 1, 1, 1)
    assert counted.line == (
        "Rehearsals: 1 of 4 edits stopped before the device, 1.5 s each, 1 crash it did not see, "
        "false alarms not known: none of the stopped was trained anyway, 1 it could not judge."
    )
    assert preflights.tally([], []).line == ""
