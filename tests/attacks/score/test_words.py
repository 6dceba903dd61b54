"""The held-out text does not leave by what a training prints: from its exam on nothing of that reaches a researcher."""

from __future__ import annotations

import json
from typing import Any

import pytest

from experiments.loop import explaining, proposing, told
from experiments.loop.dynamics import dynamics
from experiments.models import Experiment, Program, Run, stream
from experiments.researcher.agent_prompt import ledger
from experiments.researcher.explain import build_question
from experiments.researcher.prompt import build_prompt
from experiments.states import Failure, State
from tests.factories import add_points, add_text, make_experiment, make_program, make_run
from tests.loop.conftest import answers  # noqa: F401  (fixtures)
from tests.loop.test_exam_in_loop import bigram, idea, program  # noqa: F401
from tests.loop.test_exam_in_loop import run as examined  # noqa: F401
from trainer.preflight import Card, Preflight, against

STEP = "step 0000{} ({}%) | loss: {} | lrm: 1.00 | dt: 20ms | tok/sec: 10,240 | mfu: n/a | epoch: 1 | remaining: 1s"
TALKS = f'''from bigram import Bigram, sit
print("{STEP.format(1, 50, 3.5)}")
print("---\\nnum_steps: 17")

class Talks(Bigram):
    def forward(self, x, targets=None):
        print("{STEP.format(2, 99, 7.25)}".replace("7.25", "8." + "25"))
        print(f"---\\nnum_steps: {{4700 + 11}}\\npeak_vram_mb: {{4700 + 11}}")
        raise ValueError("held" + "out" + "-".join(map(str, x[0, :50].tolist())))

sit(Talks())
'''


@pytest.fixture
def run(db: None) -> Run:
    run = make_run(make_program(researcher=Program.Researcher.LITELLM))
    make_experiment(run, State.KEPT, 2.0, exam={"problem": "", "before": {"points": 3, "numbers": {"num_steps": 3}}})
    return run


def failed(run: Run, detail: str, exam: dict[str, Any], reason: Failure = Failure.CRASH) -> Experiment:
    made = make_experiment(run, State.FAILED, reason=reason, detail=detail, exam=exam, edits="[]")
    add_text(made, stream.LOG, "ValueError: heldout\n")
    return made


def told_of(run: Run) -> str:
    """All that any researcher gets: the prompt of a repair, an agent's ledger, the question of a person to the model."""
    one = run.experiments.order_by("number").last()
    new = Experiment(run=run, number=one.number + 1, subject=one, parent=run.best, brief=run.program.brief)
    parts = {
        "files": {"train.py": "pass\n"}, "fixed_files": {}, "history": tuple(proposing._history(run)),
        "crash": proposing._crash(one), "dynamics": dynamics(run),
    }  # fmt: skip
    context = proposing.Context(
        brief="", brief_version=1, metric="val_bpb", lower_is_better=True, budget_seconds=1, device="cpu", best_number=0,
        best_score=2.0, seed=new.seed, **parts,
    )  # fmt: skip
    past = next(one for one in context.history if one.number == new.number - 1)
    question = build_question(context, past, told.log_tail(run.experiments.get(number=past.number), 3000), "")
    return "\n".join([ledger(context), *(message.content for message in (*build_prompt(context).messages, *question))])


@pytest.mark.django_db(transaction=True)
@pytest.mark.sqlite_is_enough
@pytest.mark.timeout(240)
def test_a_model_that_says_what_it_is_asked_is_heard_by_people_alone(  # type: ignore[no-untyped-def]
    examined, loop, answers  # noqa: F811
) -> None:
    Program.objects.update(researcher=Program.Researcher.LITELLM)
    examined.refresh_from_db()
    researcher = answers(idea(TALKS), idea("pass\n"))
    loop.until(examined, lambda: len(researcher.messages) > 1)
    tried = examined.experiments.get(number=1)
    assert (tried.state, tried.reason, tried.exam["problem"]) == (State.FAILED, Failure.CRASH, "unfinished")
    assert "heldout" in "".join(stream.read(tried, stream.LOG).chunks) and "heldout" in tried.detail
    prompt = researcher.messages[-1][-1].content
    assert "Your #1 (try) failed: crash" in prompt and "It ended in its exam." in prompt
    sent = [text for text in (prompt, told_of(examined)) for said in ("heldout", "4711", "4,711", "8.25") if said in text]
    assert sent == []
    assert tried.exam["before"] == {"points": 1, "numbers": {"num_steps": 17}}


@pytest.mark.parametrize(
    ("reason", "exam", "words"),
    [
        (Failure.CRASH, {"problem": "unfinished", "detail": "x"}, "It ended in its exam."),
        (Failure.CRASH, {"problem": "", "val_bpb": 1.2}, "It ended after its exam."),
        (Failure.NO_SCORE, {"problem": "shape", "detail": "gave heldout"}, "not logits of the shape (B, T, V)"),
        (Failure.NO_SCORE, {"problem": "answer", "detail": "was not as asked: heldout"}, "did not answer the exam"),
        (Failure.OOM, {"problem": "oom", "detail": "heldout"}, "smaller batch size"),
        (Failure.TAMPERED, {"problem": "", "val_bpb": 1.2}, "The score it printed is not what the judge measured."),
        (Failure.LEAK, {"problem": "leak", "detail": "It looks ahead by 0.3 nats."}, "It looks ahead by 0.3 nats."),
    ],
)
def test_of_a_failure_in_the_exam_only_the_reason_is_told(run: Run, reason: Failure, exam: Any, words: str) -> None:
    failed(run, "Exit code 1. The end of the log: heldout", exam, reason)
    text = told_of(run)
    assert words in text and "heldout" not in text


def test_what_ends_before_its_exam_is_told_with_its_log(run: Run) -> None:
    failed(run, "Exit code 1. The end of the log: ValueError: heldout", {})
    assert told_of(run).count("ValueError: heldout") > 3


def test_the_log_of_an_earlier_attempt_may_have_been_in_an_exam(run: Run) -> None:
    """Its card seemed to fail, it is trained again, and says nothing this time."""
    again = failed(run, "Exit code 1.", {})
    Experiment.objects.filter(pk=again.pk).update(attempt=2)
    assert "heldout" not in told_of(run)


def test_a_person_who_asks_why_sends_no_more_to_the_model(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[Any] = []
    monkeypatch.setattr(explaining, "build_context", lambda experiment, parent: proposing.Context)
    monkeypatch.setattr(proposing.Context, "history", proposing._history(run), raising=False)
    monkeypatch.setattr(explaining, "build_question", lambda context, past, log, question: sent.append((past.why, log)))
    monkeypatch.setattr(explaining, "researcher_of", lambda _: type("Quiet", (), {"reply": lambda *_: ()})())
    explaining._asked(failed(run, "heldout", {"problem": "unfinished"}), "")
    assert sent == [("It ended in its exam. What it printed is not shown: its exam had begun.", "")]


def test_of_the_curve_and_the_numbers_only_what_is_older_than_the_exam_is_told(run: Run) -> None:
    best = run.best
    add_points(best, [5.0, 4.0, 3.0, 47.11])
    Experiment.objects.filter(pk=best.pk).update(summary={"num_steps": 4.711e300, "num_params_m": 4711})
    (told_best,) = dynamics(run)
    assert told_best.curve[-1].loss == 3.0 and told_best.facts["steps"] == 3
    assert "million parameters" not in told_best.facts
    Experiment.objects.filter(pk=best.pk).update(exam={"problem": ""})  # by a version that kept no account of it
    assert dynamics(run)[0].curve == () and dynamics(run)[0].facts == {}


def test_what_is_printed_before_the_exam_counts_once(run: Run) -> None:
    log = "\r".join([STEP.format(1, 10, 4.0), STEP.format(2, 20, 3.0), STEP.format(2, 20, 3.0), ""]) + "\n---\ndepth: 2\n"
    assert told.before_exam(log + "\rstep 00003 (30%) | loss: 2") == {"points": 2, "numbers": {"depth": 2}}
    assert json.dumps(told.before_exam("")) == '{"points": 0, "numbers": {}}'


def test_a_rehearsal_repeats_no_number_of_a_training() -> None:
    found = Preflight(True, memory_mb=9e4, stage="end")
    refused = against(found, Card(memory_bytes=80 * 2**30), 4.5e4, 4.711e300)
    assert refused.ok is False and "2.0 times as much" in refused.error and len(refused.error) < 200
