"""An LLM that misbehaves, through the whole engine: each fault ends in a clear state and the loop goes on."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import pytest
from django.utils import timezone

from experiments.loop import actions, asking
from experiments.models import Run, stream
from experiments.researcher.llm import LiteLLM
from experiments.states import RunState, State
from tests.standin_llm import StandIn

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.sqlite_is_enough]
TRIES, EDITS = 2, 4  # calls of one reply; replies of one proposal (the first and three repairs)


@pytest.fixture
def server() -> Iterator[StandIn]:
    with StandIn() as running:
        yield running


@pytest.fixture
def run(make_script_program, loop, server, monkeypatch):
    monkeypatch.setenv("AUTORESEARCH_API_BASE_KEY", "sk-test-0123456789abcdef")
    impatient = partial(LiteLLM, timeout_seconds=2, tries=TRIES, sleep=lambda _: None)
    monkeypatch.setattr(asking, "choose", lambda kind, *, model, api_base, **_: impatient(model, api_base))
    program = make_script_program(
        "score", researcher="litellm", model="openai/standin", api_base=server.api_base
    )
    run = actions.start_run(program, "night", by="ada")
    loop.baseline(run)
    return run


def reply_of(experiment) -> str:
    return "".join(stream.read(experiment, stream.REPLY).chunks)


@pytest.mark.parametrize(
    ("behaviour", "words"),
    [("429", "rate limited"), ("500", "the provider failed"), ("timeout", "no answer in time"), ("refuse", "no connection"),
     ("cut", "cut off"), ("break", "connection broke"), ("empty", "was empty")],
)
def test_without_a_reply_the_idea_waits_and_is_asked_for_again(run, loop, server, behaviour, words):
    server.script = [behaviour] * TRIES
    loop.until(run, lambda: run.away_since is not None)
    idea = run.experiments.get(number=1)
    assert (idea.state, idea.training_at) == (State.PROPOSING, None)
    assert words in run.away_why and words in reply_of(idea)
    Run.objects.filter(pk=run.pk).update(ask_at=timezone.now())
    assert loop.finish(run, 2)[1].state in {State.KEPT, State.DISCARDED}
    assert run.is_active and run.away_since is None


@pytest.mark.parametrize(
    ("behaviour", "words"),
    [("garbage", "No edit found"), ("forbidden", "prepare.py"), ("empty-edit", "change")],
)
def test_an_edit_that_cannot_be_used_three_times_repaired_is_a_bad_patch(run, loop, server, behaviour, words):
    server.script = [behaviour] * EDITS
    bad, good = loop.finish(run, 3)[1:]
    assert (bad.state, bad.reason, bad.commit) == (State.FAILED, "bad_patch", "")
    assert words in bad.detail and "Asked again, 1 left" in reply_of(bad)
    assert bad.tokens_in > 0
    assert good.state in {State.KEPT, State.DISCARDED} and run.is_active


@pytest.mark.parametrize("behaviour", ["429", "500", "cut", "garbage", "forbidden", "empty-edit"])
def test_a_fault_that_passes_costs_nothing_but_a_call(run, loop, server, behaviour):
    server.script = [behaviour]
    idea = loop.finish(run, 2)[1]
    assert idea.state in {State.KEPT, State.DISCARDED}
    assert idea.tokens_in > 0 and "IDEA" in reply_of(idea)


@pytest.mark.parametrize("behaviour", ["401", "404"])
def test_what_only_a_person_can_mend_pauses_the_run_and_shows_no_key(run, loop, server, behaviour):
    server.script = [behaviour]
    loop.until(run, lambda: run.state == RunState.PAUSED)
    bad = run.experiments.get(number=1)
    assert (bad.state, bad.reason) == (State.FAILED, "researcher_error")
    assert "openai" in run.detail and "sk-test" not in run.detail + bad.detail + reply_of(bad)
    run.resume(by="ada")
    assert loop.finish(run, 3)[-1].state in {State.KEPT, State.DISCARDED}


def test_ten_garbage_replies_in_a_row_pause_the_run(run, loop, server):
    server.answer = lambda messages: "I would rather not."
    loop.until(run, lambda: run.state == RunState.PAUSED)
    assert run.reason == "circuit_breaker" and "10 experiments in a row failed" in run.detail
    assert len(server.requests) == 10 * EDITS


def test_an_edited_brief_stands_in_the_next_prompt_and_its_version_on_the_experiment(run, loop, server):
    before = loop.finish(run, 2)[1]
    run.program.save_brief("# Aim\n\nTry fewer heads.\n", by="ada", based_on=1)
    run.notes.create(text="Leave the depth alone.", author="ada")
    after = loop.finish(run, 4)[3]
    sent = str(server.requests[-1]["messages"])
    assert (before.brief.number, after.brief.number) == (1, 2)
    assert "Try fewer heads." in sent and "Leave the depth alone." in sent
