"""Tokens and money on the experiments are the server's own count, whatever becomes of the replies."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from django.db.models import Sum
from django.urls import reverse

from experiments.loop import actions, asking
from experiments.loop.account import Account
from experiments.loop.llm_settings import llm_settings
from experiments.models import Experiment, Run, stream
from experiments.researcher.base import Called, Usage
from experiments.researcher.limits import Prices
from experiments.researcher.llm import LiteLLM
from experiments.states import State
from tests.factories import make_experiment, make_run
from tests.standin_llm import THOUGHTS, StandIn

pytestmark = pytest.mark.django_db(transaction=True)
PRICE_IN, PRICE_OUT = 3.0, 15.0


@pytest.fixture
def server() -> Iterator[StandIn]:
    with StandIn() as running:
        yield running


@pytest.fixture
def run(make_script_program, loop, server, monkeypatch) -> Run:
    def choose(kind, *, model, api_base, fallbacks, by_hand, shared, **_):
        assert shared == llm_settings()
        patience = {"timeout_seconds": 5, "tries": 2, "sleep": lambda _: None}  # a busy machine takes two for a call
        return LiteLLM(model, api_base, fallbacks=fallbacks, by_hand=by_hand, **patience)

    monkeypatch.setattr(asking, "choose", choose)
    program = make_script_program(
        "score", researcher="litellm", model="openai/standin", api_base=server.api_base, fallbacks=["openai/second"],
        price_in=PRICE_IN, price_out=PRICE_OUT,
    )
    run = actions.start_run(program, "night", by="ada")
    loop.baseline(run)
    return run


def counted(run: Run) -> tuple[int, int, int]:
    sums = run.experiments.aggregate(a=Sum("tokens_in"), b=Sum("tokens_out"), c=Sum("tokens_cached"))
    return sums["a"], sums["b"], sums["c"]


def billed(server: StandIn) -> tuple[int, int, int]:
    cached = sum(one.get("prompt_tokens_details", {}).get("cached_tokens", 0) for one in server.billed)
    return sum(one["prompt_tokens"] for one in server.billed), sum(one["completion_tokens"] for one in server.billed), cached


def test_a_bad_night_is_counted_to_the_token(run, loop, server):
    server.cached_tokens = 64
    server.script = [
        "ok", "429", "ok", "empty", "ok", "garbage", "forbidden", "empty-edit", "garbage", "500", "500", "ok", "cut",
        "late-cut", "break", "think", "timeout", "think-tags", "refuse", "ok", "401", "401", "404", "ok",
    ]  # fmt: skip
    while server.script:
        loop.step(run)
        if not run.is_active:
            run.resume(by="ada")
    loop.finish(run, run.experiments.count())
    assert counted(run) == billed(server) and counted(run)[2] == 64 * len(server.billed)
    first = [row for row in run.experiments.exclude(cost=None) if row.model == "openai/standin" and not row.calls_unpriced]
    assert first
    for row in first:
        assert row.cost == pytest.approx((PRICE_IN * row.tokens_in + PRICE_OUT * row.tokens_out) / 1e6)
    assert run.experiments.filter(state=State.FAILED).exists()
    # cut, break and timeout, and what the server closed: the only calls that nobody can count
    assert run.experiments.aggregate(n=Sum("calls_uncounted"))["n"] == 4


def test_a_reply_that_cannot_be_used_has_its_price_with_all_its_repairs(run, loop, server):
    server.script = ["garbage"] * 4
    bad = loop.finish(run, 2)[1]
    assert (bad.state, bad.reason, len(server.billed)) == (State.FAILED, "bad_patch", 4)
    assert (bad.tokens_in, bad.tokens_out) == billed(server)[:2]
    assert bad.cost == pytest.approx((PRICE_IN * bad.tokens_in + PRICE_OUT * bad.tokens_out) / 1e6)
    assert (bad.calls_uncounted, bad.calls_unpriced) == (0, 0)


def test_a_fallback_without_a_price_makes_the_cost_at_least(run, loop, server, signed_in):
    server.script = ["garbage", "401", "ok"]
    idea = loop.finish(run, 2)[1]
    assert idea.model == "openai/second" and "Now openai/second is asked" in "".join(stream.read(idea, "reply").chunks)
    assert (idea.calls_uncounted, idea.calls_unpriced) == (0, 1) and idea.cost is not None
    assert (idea.tokens_in, idea.tokens_out) == billed(server)[:2]
    page = signed_in.get(reverse("experiment", args=[idea.pk])).text
    assert "out, at least $" in page and "The price of one call is not known" in page


def test_a_cancelled_proposal_hangs_up_and_keeps_what_was_counted(run, loop, server, signed_in):
    server.script, server.delay_seconds = ["garbage", "ok"], 0.05

    def cancel_in_the_second_reply() -> None:
        while len(server.requests) < 2:
            threading.Event().wait(0.01)
        Experiment.objects.get(run=run, number=1).cancel(by="ada")

    thread = threading.Thread(target=cancel_in_the_second_reply)
    thread.start()
    server.answer = lambda messages: "IDEA: long\n" + "word " * 200
    loop.until(run, lambda: run.experiments.filter(number=1, state=State.CANCELLED).exists())
    thread.join()
    gone = run.experiments.get(number=1)
    assert (gone.tokens_in, gone.tokens_out) == billed(server)[:2] and len(server.billed) == 1
    assert (gone.calls_uncounted, gone.calls_unpriced) == (1, 1)
    page = signed_in.get(reverse("experiment", args=[gone.pk])).text
    assert "at least" in page and "one call ended before the provider said what it took" in page


def test_an_attempt_that_was_lost_is_counted_too():
    ours = make_experiment(make_run(), State.PROPOSING)
    zombie = Account(ours)
    zombie.begin(Called("a/b"))
    assert Experiment.objects.get().calls_uncounted == 1  # a worker that is killed now leaves it so
    Experiment.objects.filter(pk=ours.pk).update(attempt=2, worker="another")
    other = Account(Experiment.objects.get())
    other.begin(Called("a/c"))
    other.settle(Usage(10, 5, 0.5, tokens_cached=3))
    zombie.settle(Usage(100, 50, None))
    row = Experiment.objects.get()
    assert (row.tokens_in, row.tokens_out, row.tokens_cached, row.cost) == (110, 55, 3, 0.5)
    assert (row.calls_uncounted, row.calls_unpriced, row.model) == (0, 1, "a/c")


@pytest.mark.parametrize(
    ("usage", "uncounted", "unpriced"),
    [([], 1, 1), ([Usage(1, 1, 0.1)], 0, 0), ([Usage(1, 1, None)], 0, 1), ([Usage(1, 1, 0.1, is_whole=False)], 1, 1)],
)
def test_a_call_is_open_until_the_provider_has_said_all(usage, uncounted, unpriced):
    account = Account(make_experiment(make_run(), State.PROPOSING))
    account.begin(Called("a/b"))
    for one in usage:
        account.settle(one)
    row = Experiment.objects.get()
    assert (row.calls_uncounted, row.calls_unpriced) == (uncounted, unpriced)


def test_a_usage_without_a_call_is_counted_and_closes_none():
    account = Account(make_experiment(make_run(), State.PROPOSING))
    account.settle(Usage(0, 0, 0.0))
    row = Experiment.objects.get()
    assert (row.calls_uncounted, row.calls_unpriced, row.cost) == (0, 0, 0.0)


# Thoughts


def test_thoughts_have_a_stream_of_their_own_and_are_never_sent_back(run, loop, server, signed_in):
    server.script = ["think", "ok"]
    server.answer = lambda messages: "I have no edit." if len(server.requests) == 1 else server_default(messages)

    def server_default(messages):
        from tests.standin_llm import propose

        return propose(messages, 0)

    idea = loop.finish(run, 2)[1]
    reply = "".join(stream.read(idea, stream.REPLY).chunks)
    thoughts = "".join(stream.read(idea, stream.THOUGHTS).chunks)
    assert thoughts.startswith(THOUGHTS) and THOUGHTS[:20] not in reply
    assert len(server.requests) == 2 and THOUGHTS[:20] not in str(server.requests[1]["messages"])
    page = signed_in.get(reverse("experiment", args=[idea.pk])).text
    assert 'data-stream="thoughts"' in page and page.index('id="thoughts"') < page.index('id="reply"')
    answer = signed_in.get(reverse("experiment-stream", args=[idea.pk, "thoughts"]))
    assert THOUGHTS[:20] in "".join(answer.json()["data"])


def test_prices_by_hand_need_both(make_script_program):
    from experiments.loop.llm_settings import prices_by_hand

    program = make_script_program("score", price_in=1.0)
    assert prices_by_hand(program) is None
    program.price_out = 2.0
    assert prices_by_hand(program) == Prices(1.0, 2.0)
