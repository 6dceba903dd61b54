"""The rehearsal on the experiment's page and in the report, and the button that goes past it."""

from __future__ import annotations

import pytest
from django.urls import reverse

from experiments import tasks
from experiments.states import Failure, Kind, RunState, State
from tests.factories import make_experiment, make_run

pytestmark = pytest.mark.django_db
REFUSED = {
    "ok": False, "stage": "step", "error": "RuntimeError: <b>shapes</b>\n  train.py, line 305, in forward", "seconds": 2.1,
    "seen": ["it is Python", "the model is built at full size"], "not_seen": ["leaks"], "params": 50_332_688,
    "memory_mb": 45_000.0, "device": "NVIDIA H100", "rounds": 3, "refused": 3, "total_seconds": 6.3,
}  # fmt: skip


@pytest.fixture
def run():
    run = make_run()
    make_experiment(run, score=1.3)
    return run


@pytest.fixture
def refused(run):
    return make_experiment(
        run, State.FAILED, reason=Failure.PREFLIGHT, detail="It fails.", preflight=REFUSED, training_at=None
    )


def page_of(client, experiment):
    return client.get(reverse("experiment", args=[experiment.pk])).text


def test_the_page_says_what_was_seen_and_what_not(signed_in, refused):
    page = page_of(signed_in, refused)
    for words in ("would not train", "2.1 s, for NVIDIA H100, 50.33M parameters, 43.9 GB counted, 3 of 3 edits sent back",
                  "it is Python; the model is built at full size", "leaks", "&lt;b&gt;shapes&lt;/b&gt;"):  # fmt: skip
        assert words in page
    assert signed_in.get(reverse("experiment", args=[refused.pk]) + "?part=rehearsal").status_code == 200


def test_without_a_rehearsal_there_is_no_card(signed_in, run):
    assert "<h2>Rehearsal</h2>" not in page_of(signed_in, run.experiments.get())


@pytest.mark.parametrize(
    ("found", "word"),
    [({**REFUSED, "ok": True}, "passed"), ({"ok": None, "error": "no sandbox", "seconds": 0.1}, "not judged")],
)
def test_each_outcome_has_its_word(signed_in, run, found, word):
    page = page_of(signed_in, make_experiment(run, State.KEPT, 1.2, preflight=found))
    assert f">{word}</span>" in page


def test_only_what_was_refused_and_can_be_trained_offers_it(signed_in, run, refused):
    assert "Train it anyway" in page_of(signed_in, refused)
    assert "Train it anyway" not in page_of(signed_in, make_experiment(run, State.FAILED, reason=Failure.CRASH))
    type(run).objects.filter(pk=run.pk).update(state=RunState.ENDED)
    assert "Train it anyway" not in page_of(signed_in, refused)


def test_the_button_makes_an_experiment_and_only_for_who_may(client, signed_in, run, refused, monkeypatch):
    asked = []

    def train_anyway(experiment, *, by):
        asked.append((experiment, by))
        return make_experiment(run, State.READY, kind=Kind.MANUAL, subject=refused)

    monkeypatch.setattr(tasks, "train_anyway", train_anyway)
    url = reverse("experiment-train-anyway", args=[refused.pk])
    signed_in.get(url)
    assert not asked
    assert signed_in.post(url).status_code == 302
    assert asked == [(refused, "owner")]
    assert "trains anyway #1" in page_of(signed_in, run.experiments.get(number=2))
    signed_in.logout()
    assert signed_in.post(url).status_code in {302, 403} and len(asked) == 1


def test_the_report_counts(signed_in, run, refused):
    words = (
        "Rehearsals: 3 of 3 edits stopped before the device, 2.1 s each, 0 crashes it did not see, false alarms not known"
    )
    assert words in signed_in.get(reverse("report", args=[run.pk])).text
    assert words in signed_in.get(reverse("report-markdown", args=[run.pk])).text
    assert "Rehearsals:" not in signed_in.get(reverse("report", args=[make_run(run.program, "other").pk])).text
