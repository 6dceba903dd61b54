"""What the rows of a run say of how long its next training may take."""

from __future__ import annotations

import pytest

from experiments.loop.grants import LATELY, grant
from experiments.loop.overtime import Grant
from experiments.models import Run
from experiments.states import Kind, State
from tests.factories import make_experiment, make_program, make_run

pytestmark = pytest.mark.django_db


def make(run: Run, after: float, state: State = State.DISCARDED, **fields: object):  # type: ignore[no-untyped-def]
    exam = {"after_seconds": after, "loading_seconds": 0.5, "processor_seconds": 20.0}
    return make_experiment(run, state, 2.0, exam=exam, **fields)


def test_it_is_by_the_baseline_and_by_the_latest_of_the_run(settings) -> None:  # type: ignore[no-untyped-def]
    settings.THREADS = 3
    run = make_run(make_program(budget_seconds=20))
    make(run, 22.0, State.KEPT, kind=Kind.BASELINE)
    make_experiment(run, State.FAILED, None)
    for number in range(LATELY):
        make(run, 24.0 + number)
    found = grant(make(run, 99.0, device="cpu"))
    assert (found.baseline.after, found.baseline.processor, found.threads, found.cores) == (22.0, 20.0, 3, 3)
    assert sorted(found.others) == [2.5 + number for number in range(LATELY)]  # not the baseline, not its own
    assert grant(make(run, 99.0, device="0")).threads is None


def test_without_a_baseline_nothing_is_known() -> None:
    run = make_run(make_program())
    assert grant(make(run, 99.0, device="cpu")) == Grant()
