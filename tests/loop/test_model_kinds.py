"""Eight kinds of models through the whole loop, over HTTP: what each costs, and that nothing hostile gets through."""

from __future__ import annotations

import pytest
from django.conf import settings

from experiments.loop import actions, asking
from experiments.models import Experiment, Run, stream
from experiments.states import Failure, State
from tests.model_kinds import Kind, kinds
from tests.standin_llm import StandIn

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.sqlite_is_enough]
KEY = "sk-secret-0123456789abcdef"
EXPERIMENTS = 7  # once through what a kind does in turn; make bench-researcher has 20 of each
OF_ONE_KIND = 4  # where it does the same each time


@pytest.fixture
def played(make_script_program, loop, monkeypatch, request):
    """A run of some ideas by one kind of model."""
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setattr(settings, "BREAKER_FAILURES", 1000)
    kind: Kind = request.param
    count = OF_ONE_KIND if kind.name in {"perfect", "chatty", "fenced", "whole file"} else EXPERIMENTS
    with StandIn() as server:
        server.next_behaviour = lambda asked, headers=None: server.requests.append(asked) or kind.behave(asked["messages"])
        program = make_script_program("score", researcher="litellm", model="openai/standin", api_base=server.api_base)
        monkeypatch.setattr("experiments.researcher.llm.FIRST_WAIT_SECONDS", 0.0)
        run = actions.start_run(program, "night", by="ada")
        loop.baseline(run)
        loop.finish(run, 1 + count)
        yield kind, run, server, count


def ideas(run: Run) -> list[Experiment]:
    return list(run.experiments.exclude(number=0).exclude(state__in=[State.PROPOSING, State.READY]).order_by("number"))


@pytest.mark.parametrize("played", [kind for kind in kinds() if kind.name != "hostile"], indirect=True, ids=lambda k: k.name)
def test_no_device_second_is_spent_on_what_cannot_be_applied_or_was_tried(played):
    kind, run, _, count = played
    done = ideas(run)
    trained = [one for one in done if one.training_at is not None]
    assert all(one.training_at is None for one in done if one.reason in {Failure.BAD_PATCH, Failure.DUPLICATE})
    keys = [one.change_key for one in trained]
    assert "" not in keys and len(keys) == len(set(keys))
    if kind.name == "one idea":
        assert {one.reason for one in done if one.training_at is None} == {Failure.DUPLICATE}
    else:
        assert len(trained) >= count - 1, [(one.state, one.reason, one.detail) for one in done]


@pytest.mark.parametrize("played", [kind for kind in kinds() if kind.name == "hostile"], indirect=True, ids=["hostile"])
def test_nothing_hostile_gets_through(played, admin_client):
    _, run, server, _ = played
    done = ideas(run)
    assert {one.state for one in done} & {State.KEPT, State.DISCARDED}
    for one in done:  # only train.py is ever changed
        changed = {line[6:] for line in one.diff.splitlines() if line.startswith("+++ b/")}
        assert changed <= {"train.py"}
    logs = "".join("".join(stream.read(one, stream.LOG).chunks) for one in done)
    assert "stolen:" in logs and KEY not in logs
    rows = str(list(Experiment.objects.values())) + str(list(run.moves.values()))
    assert KEY not in rows and KEY not in str([asked["messages"] for asked in server.requests])
    for address in [f"/runs/{run.pk}/", f"/runs/{run.pk}/report/", "/", *(f"/experiments/{one.pk}/" for one in done)]:
        page = admin_client.get(address).content.decode()
        assert "<script>alert" not in page and "<img src=x" not in page and "<b hx-post" not in page
        assert "\x1b" not in page and "\x00" not in page and KEY not in page
    assert run.is_active and asking.EDIT_REPAIRS == 3
