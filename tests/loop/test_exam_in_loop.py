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
from experiments.loop.answers import to_compare
from experiments.loop.workspace import Workspace
from experiments.models import Experiment, Program, Run
from experiments.states import Badge, Failure, Kind, Mode, RunState, State
from tests.conftest import Loop, end_as_before
from tests.factories import make_experiment
from trainer import launch
from trainer.spec import EXAM, write_json

CHEATS = Path(__file__).resolve().parents[1] / "scripts" / "cheats"
BIGRAM = (CHEATS / "bigram.py").read_text()
pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.sqlite_is_enough, pytest.mark.timeout(240)]
SPEND = "import time\nuntil = time.process_time() + 2.5\nwhile time.process_time() < until:\n    pass\n"
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
    assert (baseline.exam["version"], baseline.exam["exam"]) == ("bpb/1", EXAM) and baseline.exam["after_seconds"] > 0
    assert baseline.exam["processor_seconds"] > baseline.exam["processor_before"] > 0
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
    tried = second(run, loop, answers, HONEST.replace("sit(", f"{SPEND}sit("))
    assert tried.state == State.DISCARDED
    assert Badge.OVERTIME in tried.badges and "longer than the budget" in tried.detail
    assert tried.exam["overtime"] and tried.exam["overtime"] in tried.detail


def test_answers_so_much_slower_than_the_baselines_are_never_kept(  # type: ignore[no-untyped-def]
    run: Run, loop: Loop, answers, monkeypatch
) -> None:
    def slower(experiment: Experiment) -> None:
        end_as_before(experiment)
        report = training.folder_of(experiment) / "exam.json"
        report.write_text(json.dumps({**json.loads(report.read_text()), "usual_seconds": 5.0}))

    monkeypatch.setattr(training, "start", slower)
    tried = second(run, loop, answers, HONEST + "SLOW = 1\n")
    assert tried.state == State.DISCARDED and Badge.OVERTIME in tried.badges
    assert "start a run with it as the baseline" in tried.detail


@pytest.fixture
def ends(run: Run, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """What trains after the baseline ends as it did, but for these facts of its result and of the judge's report."""

    def ends(result: dict[str, object], **report: object) -> None:
        def start(experiment: Experiment) -> None:
            end_as_before(experiment)
            for name, changed in (("result.json", result), ("exam.json", report)):
                path = training.folder_of(experiment) / name
                write_json(path, {**json.loads(path.read_text()), **changed})

        monkeypatch.setattr(training, "start", start)

    return ends


NEW = HONEST.replace("sit(Bigram())", "model = Bigram()\nmodel.scores = 1.01 * model.scores\nsit(model)")


def test_a_gain_that_no_second_process_confirms_is_not_kept(  # type: ignore[no-untyped-def]
    run: Run, ends, loop: Loop, answers
) -> None:
    ends({}, val_bpb=run.best.score - 0.0001, twice="unproven", why_not="It keeps what it has learned elsewhere.")  # type: ignore[union-attr]
    tried = second(run, loop, answers, NEW)
    assert (tried.state, tried.badges) == (State.DISCARDED, [Badge.UNPROVEN])
    assert "No second process could confirm" in tried.detail and "learned elsewhere" in tried.detail


def test_where_the_best_is_not_confirmed_either_it_is_kept_and_says_so(  # type: ignore[no-untyped-def]
    run: Run, ends, loop: Loop, answers
) -> None:
    run.experiments.update(badges=[Badge.UNPROVEN])
    ends({}, val_bpb=run.best.score - 0.0001, twice="unproven", why_not="So it is built.")  # type: ignore[union-attr]
    tried = second(run, loop, answers, NEW)
    assert (tried.state, tried.badges) == (State.KEPT, [Badge.UNPROVEN])


def test_without_a_sandbox_nothing_takes_the_place_of_what_had_one(  # type: ignore[no-untyped-def]
    run: Run, ends, loop: Loop, answers
) -> None:
    ends({"sandbox": "limits"}, val_bpb=run.best.score - 0.0001, twice="")  # type: ignore[union-attr]
    tried = second(run, loop, answers, NEW)
    assert (tried.state, tried.badges) == (State.DISCARDED, [Badge.UNPROTECTED])
    assert "without a working sandbox" in tried.detail


def test_what_was_no_gain_when_it_trained_is_no_gain_later(run: Run, ends, loop: Loop, answers) -> None:  # type: ignore[no-untyped-def]
    ends({}, val_bpb=run.best.score - 0.0001, twice="")  # type: ignore[union-attr]
    tried = second(run, loop, answers, NEW)
    assert tried.state == State.DISCARDED and "no second process was asked" in tried.detail


def test_a_judge_that_dies_is_not_the_ideas_fault(run: Run, ends, loop: Loop, answers) -> None:  # type: ignore[no-untyped-def]
    ends({"ended": "judge_lost", "detail": "The judge ended with exit code -9."})
    tried = second(run, loop, answers, NEW)
    assert (tried.state, tried.reason, tried.attempt) == (State.FAILED, Failure.WORKER_LOST, 2)
    assert tried.detail.startswith("Twice now: The judge ended with exit code -9.")
    assert tried.moves.filter(new=State.READY, why="The judge ended with exit code -9.").exists()


def test_the_answers_of_the_best_are_there_for_the_next_judge(run: Run) -> None:
    kept = Path(settings.ANSWERS_DIR) / f"{run.best.pk}.npz"  # type: ignore[union-attr]
    assert kept.exists()
    assert to_compare(make_experiment(run, State.READY, number=1)) == [kept]


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


def test_after_an_update_of_the_exam_the_best_sits_the_new_one(run: Run, again: None, loop: Loop, answers) -> None:  # type: ignore[no-untyped-def]
    answers(idea(HONEST + "AGAIN = 1\n"))
    baseline = run.experiments.get(number=0)
    baseline.exam.pop("exam")
    baseline.save()
    loop.until(run, lambda: run.best.number == 1)
    anew = run.experiments.get(number=1)
    assert (anew.kind, anew.commit, anew.exam["exam"]) == (Kind.REEXAMINED, baseline.commit, EXAM)
    assert (anew.score, anew.secret_score, anew.badges) == (baseline.score, baseline.secret_score, [Badge.VERIFIED])
    assert Workspace(run.program.repo).ref(f"refs/heads/{run.branch}") == anew.commit
    loop.until(run, lambda: run.experiments.filter(number=2, state=State.READY).exists())
    assert run.experiments.get(number=2).parent == anew


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
