"""What a call took: by the server's own count, with what was cached, priced by table, by hand or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from experiments.researcher.base import Called, Message, Restart, Text, Thought, Usage
from experiments.researcher.limits import Prices
from tests.researcher.calling import MESSAGES, ask, ask_in_vain, impatient, restarts_of, text_of, thoughts_of, usage_of
from tests.standin_anthropic import StandInAnthropic
from tests.standin_llm import THOUGHTS, StandIn


@pytest.fixture
def server() -> Iterator[StandIn]:
    with StandIn() as running:
        yield running


def sums(usage: list[Usage]) -> tuple[int, int]:
    return sum(one.tokens_in for one in usage), sum(one.tokens_out for one in usage)


def own_count(server: StandIn) -> tuple[int, int]:
    return sum(one["prompt_tokens"] for one in server.billed), sum(one["completion_tokens"] for one in server.billed)


def test_a_call_is_announced_before_it_is_made_and_then_counted(server: StandIn) -> None:
    pieces = ask(impatient("openai/standin", server.api_base))
    assert pieces[0] == Called("openai/standin")
    assert usage_of(pieces)[-1].model == "openai/standin"
    assert sums(usage_of(pieces)) == own_count(server)


@pytest.mark.parametrize(
    "script", [["empty", "ok"], ["429", "ok"], ["500", "empty", "ok"], ["late-cut", "ok"], ["refuse", "ok"]]
)
def test_every_call_is_counted_as_the_server_counts(server: StandIn, script: list[Any]) -> None:
    server.script = script
    pieces = ask(impatient("openai/standin", server.api_base))
    assert sum(isinstance(piece, Called) for piece in pieces) == len(server.requests)
    assert sums(usage_of(pieces)) == own_count(server)
    assert all(one.is_whole for one in usage_of(pieces))


@pytest.mark.parametrize(
    ("behaviour", "free"), [("429", True), ("500", True), ("503", True), ("cut", False), ("break", False)]
)
def test_an_answer_of_error_is_free_and_a_cut_reply_stays_unknown(server: StandIn, behaviour: str, free: bool) -> None:
    server.script = [behaviour, "ok"]
    pieces = ask(impatient("openai/standin", server.api_base))
    first = pieces[: next(number for number, piece in enumerate(pieces) if isinstance(piece, Restart))]
    assert usage_of(first) == ([Usage(0, 0, 0.0, model="openai/standin")] if free else [])


def test_what_litellm_makes_up_for_a_server_that_does_not_count_is_not_believed(server: StandIn) -> None:
    server.reports_usage = False
    assert usage_of(ask(impatient("openai/standin", server.api_base))) == []


@pytest.mark.parametrize("behaviour", ["401", "404", "400"])
def test_a_refused_call_is_counted_as_free(server: StandIn, behaviour: str) -> None:
    server.script = [behaviour]
    pieces, _ = ask_in_vain(impatient("openai/standin", server.api_base))
    assert pieces == [Called("openai/standin"), Usage(0, 0, 0.0, model="openai/standin")]


# Money


def test_cached_tokens_are_counted_and_cheaper_by_the_table(server: StandIn) -> None:
    full = usage_of(ask(impatient("openai/gpt-4o", server.api_base)))[-1]
    server.cached_tokens = 100
    cached = usage_of(ask(impatient("openai/gpt-4o", server.api_base)))[-1]
    assert (full.tokens_cached, cached.tokens_cached, cached.tokens_in) == (0, 100, full.tokens_in)
    assert full.cost is not None and cached.cost is not None
    assert full.cost == pytest.approx((2.5 * full.tokens_in + 10 * full.tokens_out) / 1e6)
    saved = full.cost - cached.cost - 10 * (full.tokens_out - cached.tokens_out) / 1e6
    assert saved == pytest.approx(100 * 1.25 / 1e6)


def test_a_price_by_hand_holds_where_litellm_knows_none_and_nowhere_else(server: StandIn) -> None:
    by_hand = Prices(tokens_in=3.0, tokens_out=12.0)
    unknown = usage_of(ask(impatient("openai/standin", server.api_base, by_hand=by_hand)))[-1]
    known = usage_of(ask(impatient("openai/gpt-4o", server.api_base, by_hand=by_hand)))[-1]
    assert unknown.cost == pytest.approx((3 * unknown.tokens_in + 12 * unknown.tokens_out) / 1e6)
    assert known.cost == pytest.approx((2.5 * known.tokens_in + 10 * known.tokens_out) / 1e6)


def test_without_a_price_the_cost_is_unknown_and_not_nothing(server: StandIn) -> None:
    assert usage_of(ask(impatient("openai/standin", server.api_base)))[-1].cost is None


# Thoughts


@pytest.mark.parametrize("behaviour", ["think", "think-tags"])
def test_thoughts_are_no_part_of_the_reply(server: StandIn, behaviour: str) -> None:
    server.script = [behaviour]
    pieces = ask(impatient("openai/standin", server.api_base))
    assert thoughts_of(pieces).strip() == THOUGHTS
    assert text_of(pieces).startswith("IDEA") and THOUGHTS[:12] not in text_of(pieces)


def test_thoughts_whose_beginning_stood_in_the_prompt_are_taken_back(server: StandIn) -> None:
    server.script = ["think-unopened"]
    pieces = ask(impatient("openai/standin", server.api_base))
    assert text_of(pieces).startswith("IDEA") and len(server.requests) == 1
    assert restarts_of(pieces) == ["what stands above were its thoughts"]


def test_thoughts_alone_are_an_empty_reply(server: StandIn) -> None:
    server.script = [lambda messages: "<think>Hm.</think>\n", "ok"]
    pieces = ask(impatient("openai/standin", server.api_base))
    assert restarts_of(pieces) == ["the reply was empty, try 2 of 5 in 2 s"]


# Anthropic's way


@pytest.fixture
def claude() -> Iterator[StandInAnthropic]:
    with StandInAnthropic() as running:
        yield running


def marks(request: dict[str, Any]) -> list[str]:
    """Where the request asks for a cache mark."""
    blocks = [("system", block) for block in request["system"]]
    blocks += [(message["role"], block) for message in request["messages"] for block in message["content"]]
    return [role for role, block in blocks if "cache_control" in block]


def test_claude_is_counted_whole_with_its_cache_and_its_thoughts(claude: StandInAnthropic) -> None:
    pieces = ask(impatient("anthropic/claude-sonnet-4-5", claude.api_base))
    usage = usage_of(pieces)[-1]
    assert (usage.tokens_in, usage.tokens_cached, usage.tokens_out, usage.is_whole) == (1000, 900, 42, True)
    assert usage.cost == pytest.approx((3 * 100 + 0.3 * 900 + 15 * 42) / 1e6)
    assert (text_of(pieces), thoughts_of(pieces)) == ("IDEA: less warmdown", "Let me think.")


def test_claude_gets_marks_on_what_stays_and_room_for_a_reply(claude: StandInAnthropic) -> None:
    researcher = impatient("anthropic/claude-sonnet-4-5", claude.api_base)
    ask(researcher)
    ask(researcher, (*MESSAGES, Message("assistant", "IDEA"), Message("user", "That does not fit.")))
    assert [marks(request) for request in claude.requests] == [["system"], ["system", "user"]]
    assert claude.requests[0]["max_tokens"] == 32_000


def test_no_other_provider_gets_a_mark_or_a_number(server: StandIn) -> None:
    ask(impatient("openai/standin", server.api_base))
    assert "cache_control" not in str(server.requests[0]) and "max_tokens" not in server.requests[0]


def test_a_cut_reply_of_claude_is_counted_as_at_least(claude: StandInAnthropic) -> None:
    claude.cut = True
    pieces, _ = ask_in_vain(impatient("anthropic/claude-sonnet-4-5", claude.api_base, tries=1))
    usage = usage_of(pieces)
    assert [(one.tokens_in, one.is_whole) for one in usage] == [(1000, False)]
    assert any(isinstance(piece, Text) for piece in pieces) and any(isinstance(piece, Thought) for piece in pieces)
