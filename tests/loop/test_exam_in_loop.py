"""The exam on an experiment's path: a real judge, a real sandbox, the judge's number in the row."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from django.conf import settings
from django.test import Client
from django.urls import reverse

from experiments.loop import actions, engine, training
from experiments.models import Program, Run
from experiments.states import Badge, Failure, Mode, RunState, State
from tests.conftest import Loop, end_as_before
from tests.factories import make_experiment
from trainer import launch

CHEATS = Path(__file__).resolve().parents[1] / "scripts" / "cheats"
BIGRAM = (CHEATS / "bigram.py").read_text()
pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.sqlite_is_enough, pytest.mark.timeout(240)]
HONEST = "from bigram import Bigram, sit\n\nSEED = 1\nsit(Bigram())\n"


@pytest.fixture
def program(tmp_path: Path) -> Program:
    """The template's fixed files, with a model that counts pairs of tokens."""
    folder = tmp_path / "template"
    folder.mkdir()
    (folder / "train.py").write_text(HONEST)
    (folder / "program.md").write_text("# Aim\n\nLower val_bpb.\n")
    made = actions.create_program("exam", template=folder, budget_seconds=2, grace_seconds=60)
    made.editable = ["train.py", "bigram.py"]
    made.save()
    return made


@pytest.fixture
def bigram(monkeypatch: pytest.MonkeyPatch) -> None:
    """bigram.py beside train.py, as if it were of the program's own."""
    export = engine.training.Workspace.export

    def with_bigram(self, commit: str, folder: Path) -> None:  # type: ignore[no-untyped-def]
        export(self, commit, folder)
        (folder / "bigram.py").write_text(BIGRAM)

    monkeypatch.setattr(engine.training.Workspace, "export", with_bigram)


def idea(text: str) -> str:
    return f"IDEA: try\n\ntrain.py\n<<<<<<< SEARCH\n{HONEST}=======\n{text}>>>>>>> REPLACE\n"


@pytest.fixture
def run(program: Program, bigram: None, loop: Loop) -> Run:
    run = actions.start_run(program, "exam", by="test", seed=3)
    loop.baseline(run)
    return run


@pytest.fixture
def again(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """What trains after the baseline ends as it did: each examined training imports torch, which takes seconds."""
    monkeypatch.setattr(training, "start", end_as_before)


def second(run: Run, loop: Loop, answers: Callable[..., object], text: str):  # type: ignore[no-untyped-def]
    answers(idea(text))
    run.max_experiments = 2
    run.save()
    loop.until(run, lambda: run.experiments.filter(number=1).exclude(state__in=["proposing", "ready", "training"]).exists())
    return run.experiments.get(number=1)


def test_the_judges_number_is_the_baselines_score(run: Run) -> None:
    baseline = run.experiments.get(number=0)
    assert baseline.state == State.KEPT, baseline.detail
    assert baseline.badges == [Badge.VERIFIED]
    assert baseline.score == baseline.exam["val_bpb"]
    assert baseline.exam["version"] == "bpb/1" and baseline.exam["after_seconds"] > 0
    assert baseline.sandbox in {"bubblewrap", "limits"}
    assert baseline.secret_score is not None and "secret_bpb" not in baseline.exam
    assert run.startup_seconds is not None


def test_a_printed_score_without_an_exam_fails_as_tampered(run: Run, loop: Loop, answers) -> None:  # type: ignore[no-untyped-def]
    tried = second(run, loop, answers, "print('---')\nprint('val_bpb: 0.5')\n")
    assert (tried.state, tried.reason) == (State.FAILED, Failure.TAMPERED)
    assert tried.badges == [Badge.TAMPERED] and tried.score is None
    assert "never sat the exam" in tried.detail


def test_a_new_seed_alone_is_never_kept(run: Run, again: None, loop: Loop, answers) -> None:  # type: ignore[no-untyped-def]
    run.experiments.update(score=9.0)
    tried = second(run, loop, answers, HONEST.replace("SEED = 1", "SEED = 2"))
    assert tried.state == State.DISCARDED
    assert Badge.SEED_ONLY in tried.badges and "a lucky seed is no finding" in tried.detail


def test_a_gain_beyond_anything_seen_waits_for_a_person(  # type: ignore[no-untyped-def]
    run: Run, again: None, loop: Loop, answers
) -> None:
    run.set_mode(Mode.APPROVE_KEEPS, by="ada")
    baseline = run.experiments.get(number=0)
    type(baseline).objects.filter(pk=baseline.pk).update(score=baseline.score * 2)
    tried = second(run, loop, answers, HONEST + "[].sort()  # the same, and half the score of the baseline\n")
    assert tried.state == State.CONFIRMING
    assert Badge.IMPLAUSIBLE in tried.badges and "the lowest score that has stood" in tried.detail


def test_training_longer_than_the_budget_is_never_kept(run: Run, loop: Loop, answers) -> None:  # type: ignore[no-untyped-def]
    baseline = run.experiments.get(number=0)
    type(baseline).objects.filter(pk=baseline.pk).update(exam={**baseline.exam, "after_seconds": 2.0})
    tried = second(run, loop, answers, HONEST.replace("sit(", "import time\ntime.sleep(6)\nsit("))
    assert tried.state == State.DISCARDED
    assert Badge.OVERTIME in tried.badges and "longer than the budget" in tried.detail


def test_the_secret_score_is_in_no_prompt(run: Run, again: None, loop: Loop, answers) -> None:  # type: ignore[no-untyped-def]
    baseline = run.experiments.get(number=0)
    tried = second(run, loop, answers, HONEST + "AGAIN = 1\n")
    assert baseline.secret_score is not None and tried.prompt
    assert f"{baseline.secret_score:.4f}"[:6] not in json.dumps(tried.prompt)


def test_the_validation_text_is_prepared_once_for_all(run: Run) -> None:
    assert list(Path(settings.DATA_DIR).glob("stdlib-*/held_out/val.bin"))


def test_a_broken_edit_is_rehearsed_in_the_sandbox_and_never_trains(  # type: ignore[no-untyped-def]
    run: Run, loop: Loop, answers, settings, monkeypatch
) -> None:
    settings.PREFLIGHT_SECONDS = 100
    monkeypatch.setattr("trainer.preflight.NICE", 0)  # behind a machine's other tests it would wait too long
    tried = second(run, loop, answers, HONEST.replace("Bigram()", "Bigramme()"))
    assert (tried.state, tried.reason, tried.training_at) == (State.FAILED, Failure.PREFLIGHT, None), tried.preflight
    assert "NameError: name 'Bigramme' is not defined" in tried.detail and "train.py, line 4" in tried.detail
    baseline = run.experiments.get(number=0)
    assert baseline.preflight["ok"] is True and baseline.preflight["stage"] == "end", baseline.preflight
    assert not list(Path(settings.PREFLIGHT_DIR).glob("*/*"))


# The text that a run began on


@pytest.fixture
def own_data(settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:  # type: ignore[no-untyped-def]
    """Prepared data of this test alone, as after a start: nothing is remembered."""
    for made in Path(settings.DATA_DIR).glob("stdlib-*/meta.json"):
        shutil.copytree(made.parent, tmp_path / "data" / made.parent.name)
    settings.DATA_DIR = tmp_path / "data"
    monkeypatch.setattr(launch, "_prepared", {})
    return tmp_path / "data"


def test_a_run_goes_on_with_the_text_it_began_on_and_says_so(  # type: ignore[no-untyped-def]
    own_data: Path, run: Run, loop: Loop, answers, monkeypatch, signed_in: Client
) -> None:
    baseline = run.experiments.get(number=0)
    assert baseline.exam["earlier_text"] is False
    made = next(own_data.glob("stdlib-*"))
    made.rename(own_data / "stdlib-3.9.0-vocab512-v3")  # as an earlier version has left it
    monkeypatch.setattr(launch, "_prepared", {})
    tried = second(run, loop, answers, HONEST + "AGAIN = 1\n")
    assert tried.state in {State.KEPT, State.DISCARDED}, tried.detail
    assert tried.exam["earlier_text"] is True
    assert tried.exam["validation_hash"] == baseline.exam["validation_hash"]
    assert [path.parent.name for path in own_data.glob("*/meta.json")] == ["stdlib-3.9.0-vocab512-v3"]
    page = signed_in.get(reverse("run", args=[run.pk])).content.decode()
    assert "goes on with the text that it began on" in page and "stdlib/1 (85e0e9f2de6b)" in page
    report = signed_in.get(reverse("report", args=[run.pk])).content.decode()
    assert "Scored on stdlib/1 (85e0e9f2de6b). New runs are scored on another text" in report


def test_a_changed_data_set_holds_for_the_next_run(own_data: Path, run: Run, loop: Loop, answers) -> None:  # type: ignore[no-untyped-def]
    Program.objects.update(dataset="folder:/nowhere")
    run.program.refresh_from_db()
    assert second(run, loop, answers, HONEST + "AGAIN = 1\n").score is not None
    assert actions.start_run(run.program, "next", by="ada").text is None


def test_where_that_text_is_gone_the_run_pauses_and_the_idea_waits(  # type: ignore[no-untyped-def]
    own_data: Path, run: Run, loop: Loop, answers, signed_in: Client
) -> None:
    baseline = run.experiments.get(number=0)
    type(baseline).objects.filter(pk=baseline.pk).update(exam={**baseline.exam, "validation_hash": "0ld"})
    answers(idea(HONEST + "AGAIN = 1\n"))
    loop.until(run, lambda: run.state == RunState.PAUSED)
    waiting = run.experiments.get(number=1)
    assert (run.reason, waiting.state, waiting.score) == ("data", State.READY, None)
    assert "began on a text (0ld) that is no longer in" in run.detail
    page = signed_in.get(reverse("run", args=[run.pk])).content.decode()
    assert "the data cannot be prepared" in page and ">Try again</button>" in page


def test_data_that_cannot_be_prepared_pause_the_run_until_somebody_tries_again(  # type: ignore[no-untyped-def]
    own_data: Path, program: Program, bigram: None, loop: Loop, tmp_path: Path
) -> None:
    texts = tmp_path / "texts"
    Program.objects.update(dataset=f"folder:{texts}")
    run = actions.start_run(program, "night", by="ada")
    loop.until(run, lambda: run.state == RunState.PAUSED)
    baseline = run.experiments.get()
    assert (run.reason, baseline.state) == ("data", State.READY)
    assert f"names {texts}, which is not a folder" in run.detail
    texts.mkdir()
    (texts / "a.txt").write_text("".join(f"line {number} of a long text\n" for number in range(60_000)))
    run.resume(by="ada")
    assert loop.finish(run, 1)[0].state == State.KEPT


def test_a_score_on_another_text_is_never_kept(run: Run, loop: Loop) -> None:
    best = run.experiments.get(number=0)
    best.exam = {**best.exam, "validation_hash": "another", "text": ""}
    best.save()
    ours = {**best.exam, "validation_hash": "this"}
    made = make_experiment(run, State.EVALUATING, 0.5, number=1, exam=ours, commit=best.commit)
    engine.decide(made.pk)
    made.refresh_from_db()
    assert made.state == State.DISCARDED and "scored on another text than the best" in made.detail
