"""Every way in which a training goes wrong ends in a clear state, and the loop goes on. Real processes.

That nothing is left of them, no process and no folder, is checked after each test in conftest.py.
"""

from __future__ import annotations

import json
import re

import pytest

from experiments.loop import actions
from experiments.models import stream
from experiments.states import Failure, RunState, State
from tests.loop.scripted import become, change

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.sqlite_is_enough]

FAILS = [
    ("crash", "crash", r"Exit code 1.*ValueError: shapes \(3,4\) and \(5,6\) do not match"),
    ("nan", "nan", "Exit code 1.*loss: nan"),
    ("oom", "oom", "CUDA out of memory. Tried to allocate 20.00 GiB"),
    ("silent", "no_score", r"ended without a score: expected a line `---`, then `val_bpb: 1.234567`.*\(no output\)"),
    ("hang", "timeout", "Ended after 3 s: budget and grace of the recipe"),
    ("stubborn", "timeout", "Ended after 3 s"),
]
SCORES = ["loud", "binary", "grandchild"]


@pytest.fixture
def run(make_script_program):
    return actions.start_run(make_script_program("score", budget_seconds=1, grace_seconds=2), "night", by="ada")


@pytest.mark.parametrize(("script", "reason", "words"), FAILS)
def test_a_training_without_a_score_fails_with_its_reason_and_the_loop_goes_on(
    run, loop, answers, script, reason, words
):
    answers(become(script), change("MATRIX_LR", 0.09))
    baseline, bad, good = loop.finish(run, 3)
    assert (bad.state, bad.reason, bad.score) == (State.FAILED, reason, None)
    assert re.search(words, bad.detail, re.DOTALL), bad.detail
    assert (baseline.state, good.state, run.best) == (State.KEPT, State.KEPT, good)


@pytest.mark.parametrize("script", SCORES)
def test_a_training_with_a_score_counts_however_it_behaves(run, loop, answers, script):
    answers(become(script), change("LR", 0.05))
    odd = loop.finish(run, 2)[1]
    assert (odd.state, odd.score, odd.summary["peak_vram_mb"]) == (State.KEPT, 1.0, 100.0)


def test_200_mb_of_output_are_stored_as_their_head_and_their_tail(run, loop, answers):
    answers(become("loud"))
    loud = loop.finish(run, 2)[1]
    log = "".join(loud.chunks.filter(stream=stream.LOG).order_by("offset").values_list("data", flat=True))
    assert len(log) < 5_000_000 and log.startswith("xxx")
    assert "bytes of output were not kept" in log and log.endswith("peak_vram_mb:     100.0\n")


def test_binary_output_is_stored_without_what_a_page_or_a_database_cannot_hold(run, loop, answers):
    answers(become("binary"))
    binary = loop.finish(run, 2)[1]
    log = "".join(stream.read(binary, stream.LOG).chunks)
    assert "\0" not in log and "\x1b" not in log and "ABCDEF" in log


@pytest.mark.parametrize(
    ("text", "reason"), [("def (:\n", "crash"), ("raise SystemExit(1)\n", "crash"), ("", "no_score"), ("\0", "crash")]
)
def test_a_program_that_does_not_train_pauses_its_run_and_says_why(tmp_path, loop, text, reason):
    (tmp_path / "train.py").write_text(text)
    run = actions.start_run(actions.create_program("broken", template=tmp_path, fixed=[]), "night", by="ada")
    baseline = loop.finish(run, 1)[0]
    assert not loop.step(run)
    assert (baseline.state, baseline.reason) == (State.FAILED, reason)
    assert (run.state, run.reason) == (RunState.PAUSED, "baseline_failed")
    assert "The unchanged program does not train" in run.detail and "#0" in run.detail
    assert text != "def (:\n" or "crash: SyntaxError: invalid syntax. Look at #0" in run.detail


def test_a_training_sees_no_secret_of_ours_and_no_git(make_script_program, loop, monkeypatch):
    for name in ("OPENAI_API_KEY", "SECRET_KEY", "HF_TOKEN", "DB_PASSWORD", "CELERY_BROKER_URL", "DATABASE_URL"):
        monkeypatch.setenv(name, "hidden-4711")
    run = actions.start_run(make_script_program("environment"), "night", by="ada")
    log = "".join(stream.read(loop.finish(run, 1)[0], stream.LOG).chunks)
    seen = {line.split(" ", 1)[0]: json.loads(line.split(" ", 1)[1]) for line in log.splitlines() if line[:1] in "EF"}
    words = ("KEY", "SECRET", "TOKEN", "PASSWORD", "REDIS", "DATABASE", "URL", "DJANGO")
    assert [name for name in seen["ENV"] if any(word in name for word in words)] == []
    assert "hidden-4711" not in log and "redis" not in log
    assert seen["FILES"] == ["program.md", "train.py"]


def test_where_a_sandbox_is_required_and_missing_nothing_trains_and_the_words_say_how_to_get_it(
    run, loop, settings, without_a_sandbox
):
    settings.SANDBOX = "require"
    loop.until(run, lambda: run.state == RunState.PAUSED)
    without_a_sandbox.undo()
    assert (run.reason, run.experiments.get().state) == ("sandbox", State.READY)  # no fault of what was to train
    assert "AUTORESEARCH_SANDBOX=require, and there is no sandbox: bubblewrap is not installed" in run.detail
    run.resume(by="ada")
    assert loop.finish(run, 1)[0].state == State.KEPT


def test_a_nan_in_the_summary_is_no_score(run, loop, answers):
    answers(lambda context: become("silent").replace("LR = 0.04", 'LR = 0.04\nprint("---\\nval_bpb: nan")'))
    odd = loop.finish(run, 2)[1]
    assert (odd.state, odd.reason, odd.score) == (State.FAILED, "no_score", None)


def test_a_fixed_file_that_is_missing_is_named(make_script_program, loop):
    run = actions.start_run(make_script_program("score", fixed=["no_such.py"]), "night", by="ada")
    baseline = loop.finish(run, 1)[0]
    assert baseline.reason == Failure.CRASH and "no_such.py" in baseline.detail
