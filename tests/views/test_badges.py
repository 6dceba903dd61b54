"""What is known about a score stands beside it; the secret score is for people, and for keeps only."""

from __future__ import annotations

import pytest
from django.test import Client
from django.urls import reverse

from experiments.states import State
from tests.factories import make_experiment, make_program, make_run

pytestmark = pytest.mark.django_db
EXAM = {
    "version": "bpb/1", "exam": 2, "dataset": "stdlib", "validation_hash": "3cb1384e4f73", "bytes": 131072, "seconds": 1.25,
    "batches": 21, "after_seconds": 22.4, "checks": {"causal": 0.0, "repeat": 0.0},
}  # fmt: skip


@pytest.fixture
def run():  # type: ignore[no-untyped-def]
    return make_run(make_program("small"))


def test_the_experiment_page_tells_what_the_exam_found(signed_in: Client, run) -> None:  # type: ignore[no-untyped-def]
    kept = make_experiment(
        run, State.KEPT, 1.5, number=0, badges=["verified"], exam=EXAM, sandbox="bubblewrap", secret_score=1.523456
    )
    page = signed_in.get(reverse("experiment", args=[kept.pk])).content.decode()
    told = ("verified", "the judge&#x27;s", "bpb/1", "131,072 bytes", "22.4 s, by the clock", "sealed", "1.523456")
    for words in (*told, "version 2, 1.2 s"):
        assert words in page, words


@pytest.mark.parametrize("state", [State.DISCARDED, State.CONFIRMING])
def test_the_secret_score_is_shown_for_keeps_only(signed_in: Client, run, state: State) -> None:  # type: ignore[no-untyped-def]
    other = make_experiment(run, state, 1.5, number=0, badges=["verified"], exam=EXAM, secret_score=1.523456)
    assert "1.523456" not in signed_in.get(reverse("experiment", args=[other.pk])).content.decode()


def test_the_table_shows_warnings_and_no_praise(signed_in: Client, run) -> None:  # type: ignore[no-untyped-def]
    make_experiment(run, State.KEPT, 1.5, number=0, badges=["verified"])
    make_experiment(run, State.DISCARDED, 1.4, number=1, badges=["verified", "overtime"])
    table = signed_in.get(reverse("run", args=[run.pk]), {"part": "table"}).content.decode()
    assert "overtime" in table and "verified" not in table


@pytest.mark.parametrize(("sandbox", "shown"), [("limits", True), ("bubblewrap", False), ("", False)])
def test_a_run_without_a_sandbox_says_so(signed_in: Client, run, sandbox: str, shown: bool) -> None:  # type: ignore[no-untyped-def]
    make_experiment(run, State.KEPT, 1.5, number=0, sandbox=sandbox)
    page = signed_in.get(reverse("run", args=[run.pk])).content.decode()
    assert ("Unprotected: trainings run without a sandbox" in page) is shown


def test_the_program_page_shows_its_preset_and_data(signed_in: Client) -> None:
    recipe = {"preset": "gpu-8gb", "dataset": "tinystories", "vocab_size": 2048, "seq_len": 512, "fixed": ["prepare.py"]}
    program = make_program("stories", **recipe)
    page = signed_in.get(reverse("program", args=[program.pk])).content.decode()
    for words in ("gpu-8gb", "tinystories", "2,048", "512"):
        assert words in page
