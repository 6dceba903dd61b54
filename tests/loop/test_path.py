"""One experiment's path, end to end, with real git and real processes."""

from __future__ import annotations

import pytest

from experiments.loop import actions
from experiments.loop.proposing import build_context
from experiments.loop.workspace import Workspace
from experiments.models import Experiment, stream
from experiments.results import results_tsv
from experiments.states import Kind, Mode, RunState, State
from tests.factories import make_experiment

pytestmark = pytest.mark.django_db(transaction=True)


def test_twenty_in_a_row_agree_in_table_git_and_tsv(make_script_program, loop):
    program = make_script_program("score")
    run = actions.start_run(program, "night", by="ada", max_experiments=20)
    loop.until(run, lambda: run.state == RunState.ENDED, limit=400)

    rows = list(run.experiments.order_by("number"))
    workspace = Workspace(program.repo)
    assert [row.number for row in rows] == list(range(20))
    assert {row.state for row in rows} <= {State.KEPT, State.DISCARDED}
    assert State.DISCARDED in {row.state for row in rows}
    assert all(workspace.ref(row.ref) == row.commit for row in rows)  # each discard still resolves
    assert workspace.ref(f"refs/heads/{run.branch}") == run.best.commit
    assert run.best.score == min(row.score for row in rows)
    lines = results_tsv(run).splitlines()
    assert lines[0] == "commit\tval_bpb\tmemory_gb\tstatus\tdescription"
    assert [line.split("\t")[0] for line in lines[1:]] == [row.commit[:7] for row in rows]
    assert run.reason == "experiments"


def test_streams_hold_the_curve_the_log_and_the_reply(make_script_program, loop):
    run = actions.start_run(make_script_program("score"), "night", by="ada")
    baseline, idea = loop.finish(run, 2)[:2]
    assert "val_bpb" in "".join(stream.read(baseline, stream.LOG).chunks)
    assert stream.read(baseline, stream.SERIES).next == 4
    assert "IDEA" in "".join(stream.read(idea, stream.REPLY).chunks)
    assert idea.kind == Kind.IDEA and idea.diff and idea.prompt


def test_the_next_idea_knows_what_is_under_way(make_script_program, loop):
    run = actions.start_run(make_script_program("score"), "night", by="ada", mode=Mode.APPROVE_DIFFS)
    loop.until(run, lambda: run.experiments.filter(state=State.REVIEWING).exists())
    waiting = run.experiments.get(state=State.REVIEWING)
    waiting.approve(by="ada")
    loop.step(run)  # trains it; the next is proposed beside it
    made = make_experiment(run, State.PROPOSING, parent=run.best, number=run.next_number(), commit="", diff="")
    Experiment.objects.filter(pk=waiting.pk).update(state=State.TRAINING)
    assert waiting.number in [past.number for past in build_context(made, run.best).history]
