"""Several models, one after the other; redirects and addresses that are not followed; which key goes where."""

from __future__ import annotations

from collections.abc import Iterator
from email.utils import formatdate
from pathlib import Path
from time import time

import pytest

from experiments.researcher.base import Called, ResearcherAway, ResearcherError
from experiments.researcher.keys import API_BASE_KEY
from experiments.researcher.llm import LLMSettings
from experiments.researcher.llm_client import OPENAI_CLIENT, OWN_CLIENT, is_own_host
from tests.researcher.calling import ask, ask_in_vain, impatient, restarts_of, text_of, usage_of
from tests.standin_llm import StandIn

PROVIDERS = sorted(OPENAI_CLIENT | OWN_CLIENT)


@pytest.fixture
def server() -> Iterator[StandIn]:
    with StandIn() as running:
        yield running


def models_asked(server: StandIn) -> list[str]:
    return [request["model"] for request in server.requests]


@pytest.mark.parametrize("behaviour", ["401", "404", "400", "quota"])
def test_a_model_that_refuses_gives_way_to_the_next_at_once(server: StandIn, behaviour: str) -> None:
    server.script = [behaviour]
    pieces = ask(impatient("openai/first", server.api_base, fallbacks=["openai/second"]))
    assert models_asked(server) == ["first", "second"] and text_of(pieces).startswith("IDEA")
    assert restarts_of(pieces)[0].endswith("Now openai/second is asked")
    assert usage_of(pieces)[-1].model == "openai/second"


def test_a_model_that_stays_away_gives_way_after_its_tries(server: StandIn) -> None:
    server.script = ["500"] * 3
    pieces = ask(impatient("openai/first", server.api_base, fallbacks=["openai/second"], tries=3))
    assert models_asked(server) == ["first", "first", "first", "second"]
    assert [piece.model for piece in pieces if isinstance(piece, Called)] == ["openai/first"] * 3 + ["openai/second"]
    assert "gave no reply in 3 tries" in restarts_of(pieces)[-1]


def test_a_model_that_stays_away_is_passed_over_while_another_answers(server: StandIn, tmp_path: Path) -> None:
    shared = LLMSettings(folder=tmp_path, tries=2)
    researcher = impatient("openai/first", server.api_base, fallbacks=["openai/second"], shared=shared)
    server.script = ["500"] * 2
    ask(researcher)
    ask(researcher)
    assert models_asked(server) == ["first", "first", "second", "second"]
    server.script = ["500"] * 2
    ask(researcher)  # now the second one is away: the first is asked after all
    assert models_asked(server)[4:] == ["second", "second", "first"]
    for waits in tmp_path.glob("*/away-*"):
        waits.write_text("1")  # the five minutes are over
    assert restarts_of(ask(researcher)) == [] and models_asked(server)[-1] == "first"


def test_no_model_is_passed_over_that_refused_or_has_nobody_behind_it(server: StandIn, tmp_path: Path) -> None:
    shared = LLMSettings(folder=tmp_path, tries=1)
    researcher = impatient("openai/first", server.api_base, fallbacks=["openai/second"], shared=shared)
    server.script = ["500", "500", "401"]
    ask_in_vain(researcher)  # none answers: all are asked again
    ask(researcher)  # the first one refuses: that costs no time
    ask(researcher)
    assert models_asked(server) == ["first", "second", "first", "second", "first"]


@pytest.mark.parametrize(
    ("script", "kind"),
    [(["401", "404"], ResearcherError), (["401", "500"], ResearcherAway), (["500", "404"], ResearcherAway)],
)
def test_when_all_fail_the_error_names_each(server: StandIn, script: list[str], kind: type[ResearcherError]) -> None:
    server.script = [*script]
    _, error = ask_in_vain(impatient("openai/first", server.api_base, fallbacks=["openai/second"], tries=1))
    assert type(error) is kind
    assert str(error).startswith("None of 2 models answered. (1) ") and "(2) " in str(error)
    assert "openai/first" in str(error) and "openai/second" in str(error)
    assert str(error).count("built-in sweep") == 1


def test_a_fallback_of_another_provider_is_not_asked_at_the_first_ones_address(
    server: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GROQ_API_KEY", raising=False)
    server.script = ["401"]
    _, error = ask_in_vain(impatient("openai/first", server.api_base, fallbacks=["groq/second"]))
    assert models_asked(server) == ["first"] and "No key for groq" in str(error)


def test_a_first_model_of_nobody_gives_way_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    _, error = ask_in_vain(impatient("no-such-model", fallbacks=["openai/gpt-4o"]))
    assert "(1) No provider is known for the model 'no-such-model'" in str(error) and "(2) No key for openai" in str(error)


def test_a_model_named_twice_is_asked_once(server: StandIn) -> None:
    server.script = ["401"] * 3
    ask_in_vain(impatient("openai/first", server.api_base, fallbacks=["openai/first", "openai/second", "openai/second"]))
    assert models_asked(server) == ["first", "second"]


# Waiting


@pytest.mark.parametrize(("behaviour", "header"), [("429", "{}"), ("503", "{}"), ("429", "date"), ("503", "date")])
def test_retry_after_is_heeded_in_seconds_and_as_a_date(server: StandIn, behaviour: str, header: str) -> None:
    server.script = [behaviour]
    server.retry_after = formatdate(time() + 41, usegmt=True) if header == "date" else "41"
    (why,) = restarts_of(ask(impatient("openai/standin", server.api_base)))
    seconds = int(why.rsplit(" in ", 1)[1].split()[0])
    assert 40 <= seconds <= 42


@pytest.mark.parametrize("header", ["soon", "-5", "nan", "inf", "Wed, 99 Nov 2026 00:00:00 GMT", ""])
def test_a_retry_after_that_makes_no_sense_is_passed_over(server: StandIn, header: str) -> None:
    server.script, server.retry_after = ["429"], header
    assert restarts_of(ask(impatient("openai/standin", server.api_base))) == ["rate limited (429), try 2 of 5 in 2 s"]


def test_nobody_waits_longer_than_ten_minutes_and_may_leave_each_minute(server: StandIn) -> None:
    server.script, server.retry_after = ["429"], "86400"
    slept: list[float] = []
    researcher = impatient("openai/standin", server.api_base)
    researcher._sleep = slept.append
    ask(researcher)
    assert sum(slept) == pytest.approx(600.5) and max(slept) == 60


# Keys and addresses


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize("behaviour", ["ok", "redirect"])
def test_no_providers_key_goes_to_an_address_of_ones_own_and_no_redirect_is_followed(
    server: StandIn, monkeypatch: pytest.MonkeyPatch, provider: str, behaviour: str
) -> None:
    for name in (provider, "openai", "anthropic", "gemini", "groq", "google", "ollama"):
        monkeypatch.setenv(f"{name.upper()}_API_KEY", f"sk-real-key-of-{name}")
    monkeypatch.setenv(API_BASE_KEY, "own-0123456789")
    with StandIn() as elsewhere:
        server.script, server.redirect_to = [behaviour], f"{elsewhere.api_base}/chat/completions"
        try:
            ask(impatient(f"{provider}/some-model", server.api_base, tries=1, timeout_seconds=5))
        except ResearcherError:  # the second kind speaks a protocol of its own
            assert behaviour == "redirect" or provider in {"anthropic", "gemini", "ollama", "ollama_chat"}
        assert elsewhere.requests == [] and len(server.requests) == 1
    assert "sk-real" not in str(server.headers) + str(server.requests)
    assert "own-0123456789" in str(server.headers) or provider in {"gemini", "ollama"}


def test_a_redirect_says_what_to_enter(server: StandIn) -> None:
    server.script, server.redirect_to = ["redirect"], "http://169.254.169.254/latest"
    _, error = ask_in_vain(impatient("openai/standin", server.api_base))
    assert "sends its callers on to another address" in str(error) and len(server.requests) == 1


def test_without_a_key_of_its_own_a_server_gets_none(server: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-real-key-of-openai")
    monkeypatch.delenv(API_BASE_KEY, raising=False)
    ask(impatient("openai/standin", server.api_base))
    assert server.headers[0]["authorization"] == "Bearer none"


def test_a_refused_key_of_ones_own_server_is_named(server: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(API_BASE_KEY, "own-0123456789")
    server.script = ["401"]
    _, error = ask_in_vain(impatient("openai/standin", server.api_base))
    assert f"Set {API_BASE_KEY} to a valid key" in str(error) and "own-0123456789" not in str(error)
    assert "refused the key for openai/standin: Incorrect API key provided" in str(error)


@pytest.mark.parametrize("provider", ["bedrock", "vertex_ai", "azure", "cohere"])
def test_a_provider_that_cannot_be_held_to_an_address_is_not_asked_there(server: StandIn, provider: str) -> None:
    _, error = ask_in_vain(impatient(f"{provider}/some-model", server.api_base))
    assert "cannot be asked at an address of your own" in str(error) and server.requests == []


@pytest.mark.parametrize(
    ("provider", "scheme", "host", "own"),
    [
        ("openai", "https", "api.openai.com", True),
        ("openai", "https", "eu.api.openai.com", True),
        ("openai", "http", "api.openai.com", False),
        ("openai", "https", "api.openai.com.evil.example", False),
        ("openai", "https", "evilapi.openai.com", False),
        ("openai", "https", "api.anthropic.com", False),
        ("hosted_vllm", "https", "api.openai.com", False),
    ],
)
def test_a_providers_key_goes_only_to_its_own_host(provider: str, scheme: str, host: str, own: bool) -> None:
    assert is_own_host(provider, scheme, host) is own


@pytest.mark.parametrize("address", ["http://169.254.169.254/v1", "http://0x7f000001/v1", "http://[::ffff:10.0.0.1]/v1"])
def test_a_forbidden_address_in_an_old_row_is_not_called(address: str) -> None:
    pieces, error = ask_in_vain(impatient("openai/standin", address))
    assert pieces == [] and "is not called" in str(error)


def test_a_name_that_leads_to_metadata_is_not_called(monkeypatch: pytest.MonkeyPatch) -> None:
    answer = [(2, 1, 6, "", ("169.254.169.254", 80))]
    monkeypatch.setattr("experiments.researcher.address.socket.getaddrinfo", lambda *_, **__: answer)
    pieces, error = ask_in_vain(impatient("openai/standin", "http://models.example/v1"))
    assert pieces == [] and "models.example leads to 169.254.169.254" in str(error)


def test_a_name_that_changes_between_the_look_and_the_call_is_not_called(
    server: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = int(server.api_base.rsplit(":", 1)[1].split("/")[0])
    answers = iter(["93.184.216.34", "127.0.0.1", "127.0.0.1"])  # a public address first, then this machine
    monkeypatch.setattr(
        "experiments.researcher.address.socket.getaddrinfo", lambda *_, **__: [(2, 1, 6, "", (next(answers), port))]
    )
    _, error = ask_in_vain(impatient("openai/standin", f"http://rebinding.example:{port}/v1", tries=1))
    assert "is this machine itself" in str(error) and server.requests == []
